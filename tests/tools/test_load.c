/* test_load.c - the load generator against rill-serve with answers from a file: how many requests
 * and tokens there are, that times are those of the answers, and what traces come to.
 */
#include "tools/lib/load.h"

#include "tests/tools/client.h"

#define SCRIPT                                                                                     \
    "{\"prompt_ms\":60,\"token_ms\":20,\"answers\":[{\"text\":\"word \",\"repeat\":100}]}"

static struct load_item items[64];

static void same_items(int n, double apart)
{
    for (int i = 0; i < n; i++)
        items[i] = (struct load_item){.at = i * apart, .n_prompt = 12, .n_gen = 10};
}

static struct load_opts opts_for(char url[64], int n, int at_once)
{
    snprintf(url, 64, "http://127.0.0.1:%d", served.port);
    return (struct load_opts){.url = url, .item = items, .n = (size_t)n, .at_once = at_once};
}

START_TEST(closed)
{
    struct load_result r;
    struct load_opts o;
    struct err e = {0};
    char url[64];

    if (!serve_script(SCRIPT, NULL))
        return;
    wait_ready();
    same_items(20, 0);
    o = opts_for(url, 20, 5);
    o.model = "tales";
    o.to_end = true;
    ck_ok(load_run(&r, &o, NULL, &e), &e);
    ck_assert_uint_eq(r.done, 20);
    ck_assert_uint_eq(r.failed, 0);
    ck_assert_uint_eq(r.tokens, 200);
    ck_assert_uint_gt(r.prompt_tokens, 20 * 12);
    ck_assert_uint_eq(r.first.ms.n, 20 * sizeof(float));
    ck_assert_uint_eq(r.between.ms.n, 20 * 9 * sizeof(float));
    ck_assert_double_ge(load_quantile(&r.first, 0), 60);
    ck_assert_double_ge(load_quantile(&r.between, 0.5), 15);
    ck_assert_double_ge(load_quantile(&r.total, 0), 60 + 9 * 20 - 2);
    ck_assert_double_le(load_quantile(&r.total, 0.5), load_quantile(&r.total, 1));
    ck_assert_double_ge(r.seconds, 4 * 0.24); // four behind each other, as five at once are twenty
    load_fini(&r);
    serve_stop();
}
END_TEST

/* Answers one request on each of n connections, and closes it without having said so. */
static void answer_and_close(int listener, int n)
{
    static const char reply[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                "24\r\ndata: {\"delta\":{\"content\":\"word\"}}\n\n\r\n0\r\n\r\n";

    for (int i = 0; i < n; i++) {
        char bytes[4096];
        int fd = accept(listener, NULL, NULL);

        ck_assert_int_gt(recv(fd, bytes, sizeof bytes, 0), 0);
        client_nap(5); // what is left of the body
        while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
            ;
        put_text(fd, reply);
        close(fd);
    }
    _exit(0);
}

/* A server may close a connection behind any reply: the next request goes out on another. */
START_TEST(closing_server)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct load_result r;
    struct load_opts o;
    struct err e = {0};
    char url[64];
    pid_t pid;

    ck_assert(bind(fd, (void *)&a, sizeof a) == 0 && listen(fd, 8) == 0);
    getsockname(fd, (void *)&a, &n);
    served.port = ntohs(a.sin_port);
    pid = fork();
    if (pid == 0)
        answer_and_close(fd, 6);
    close(fd);
    same_items(6, 0);
    o = opts_for(url, 6, 1);
    ck_ok(load_run(&r, &o, NULL, &e), &e);
    ck_assert_msg(r.failed == 0, "%s", r.why);
    ck_assert_uint_eq(r.done, 6);
    ck_assert_uint_eq(r.tokens, 6);
    load_fini(&r);
    waitpid(pid, NULL, 0);
}
END_TEST

/* An open loop begins requests when they are due, whatever has ended. */
START_TEST(open_loop)
{
    struct load_result r;
    struct load_opts o;
    struct err e = {0};
    char url[64];

    if (!serve_script("{\"prompt_ms\":1000,\"answers\":[{\"text\":\"word\"}]}", NULL))
        return;
    wait_ready();
    same_items(10, 0.03);
    o = opts_for(url, 10, 0);
    ck_ok(load_run(&r, &o, NULL, &e), &e);
    ck_assert_uint_eq(r.done, 10);
    ck_assert_double_ge(r.seconds, 1.2);
    ck_assert_double_lt(r.seconds, 5); // 10 s one behind the other
    load_fini(&r);
    serve_stop();
}
END_TEST

/* Refused, cut off, not there: counted with the reason, or an error. */
START_TEST(failures)
{
    static const char *const strict[] = {"--strict-model", "--request-seconds", "0", NULL};
    struct load_result r;
    struct load_opts o;
    struct err e = {0};
    char url[64];

    same_items(3, 0);
    o = (struct load_opts){.url = "http://127.0.0.1:1", .item = items, .n = 3, .at_once = 1};
    ck_fails(load_run(&r, &o, NULL, &e), &e, E_IO, "refused");
    load_fini(&r);
    e = (struct err){0};
    o.url = "https://127.0.0.1";
    ck_fails(load_run(&r, &o, NULL, &e), &e, E_USAGE, "http://");
    load_fini(&r);
    e = (struct err){0};
    if (!serve_script("{\"prompt_ms\":60000,\"answers\":[{\"text\":\"word\"}]}", strict))
        return;
    wait_ready();
    o = opts_for(url, 3, 1);
    o.model = "none";
    ck_fails(load_run(&r, &o, NULL, &e), &e, E_IO, "status 404");
    ck_assert_uint_eq(r.failed, 3);
    load_fini(&r);
    e = (struct err){0};
    o.model = "tales";
    o.seconds = 0.2;
    ck_fails(load_run(&r, &o, NULL, &e), &e, E_IO, "time");
    load_fini(&r);
    e = (struct err){0};
    wait_idle(10);
    serve_stop();
}
END_TEST

START_TEST(traces)
{
    const char *json = testdata("traces/mooncake_conversation_trace.jsonl");
    const char *csv = testdata("traces/AzureLLMInferenceTrace_code.csv");
    const char *path = tmpfile_path("trace");
    struct load_trace t;
    struct err e = {0};
    FILE *f = fopen(path, "w");

    fputs(
        "{\"timestamp\": 500, \"input_length\": 700, \"output_length\": 3, \"hash_ids\": [7, 9]}\n"
        "{\"timestamp\": 1500, \"input_length\": 4, \"output_length\": 5}\n",
        f);
    fclose(f);
    ck_ok(load_trace_read(&t, path, 2, 100, &e), &e);
    ck_assert_uint_eq(t.n, 2);
    ck_assert_double_eq(t.item[0].at, 0);
    ck_assert_double_eq(t.item[1].at, 0.5);
    ck_assert(t.item[0].n_prompt == 700 && t.item[0].n_gen == 3 && t.item[0].n_block == 2);
    ck_assert(t.item[0].block[0] == 7 && t.item[0].block[1] == 9);
    ck_assert(t.item[1].block == NULL && t.item[1].n_gen == 5);
    load_trace_free(&t);
    f = fopen(path, "w");
    fputs("nothing\n", f);
    fclose(f);
    ck_fails(load_trace_read(&t, path, 1, 100, &e), &e, E_FORMAT, "no request");
    e = (struct err){0};
    unlink(path);
    if (!json || !csv)
        return;
    ck_ok(load_trace_read(&t, json, 1, 1000000, &e), &e);
    ck_assert_uint_eq(t.n, 12031);
    load_trace_free(&t);
    ck_ok(load_trace_read(&t, csv, 1, 1000000, &e), &e);
    ck_assert_uint_eq(t.n, 8819);
    ck_assert_int_eq(t.item[0].n_prompt, 4808);
    load_trace_free(&t);
}
END_TEST

TEST_MAIN("tools/load", closed, closing_server, open_loop, failures, traces)
