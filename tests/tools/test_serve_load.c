/* test_serve_load.c - rill-serve with the embedded model under all kinds of requests and clients at
 * once, some of which leave: afterwards nothing runs, and memory has not grown. A second and a
 * half, in make check-long nine minutes.
 */
#include "base/rng.h"
#include "tests/tools/client.h"

enum { CLIENTS = 8 };

#define FOX "Tell of the fox"

static const struct {
    const char *path, *body;
    int status;
} kinds[] = {
    {"/v1/chat/completions",
     "{\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"" FOX "\"}]}", 200},
    {"/v1/chat/completions",
     "{\"max_tokens\":20,\"stream\":true,\"stream_options\":{\"include_usage\":true},\"n\":2,"
     "\"messages\":[{\"role\":\"user\",\"content\":\"" FOX "\"}],\"logprobs\":true}",
     200},
    {"/v1/completions",
     "{\"prompt\":[\"The fox\",\"A bear\"],\"max_tokens\":7,\"echo\":true,\"logprobs\":2}", 200},
    {"/v1/messages",
     "{\"max_tokens\":9,\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"" FOX
     "\"}]}",
     200},
    {"/v1/responses", "{\"input\":\"" FOX "\",\"max_output_tokens\":9,\"stream\":true}", 200},
    {"/v1/responses", "{\"input\":\"" FOX "\",\"max_output_tokens\":4}", 200},
    {"/v1/embeddings", "{\"input\":[\"fox\",\"the bear\"]}", 200},
    {"/v1/chat/completions",
     "{\"max_tokens\":30,\"messages\":[{\"role\":\"user\",\"content\":\"" FOX "\"}],"
     "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"schema\":{"
     "\"type\":\"object\",\"properties\":{\"a\":{\"enum\":[\"fox\"]}},\"required\":[\"a\"],"
     "\"additionalProperties\":false}}}}",
     200},
    {"/v1/messages/count_tokens", "{\"messages\":[{\"role\":\"user\",\"content\":\"" FOX "\"}]}",
     200},
    {"/tokenize", "{\"content\":\"" FOX "\"}", 200},
    {"/v1/chat/completions", "{\"messages\":7}", 400},
    {"/v1/completions", "{not json", 400},
};

/* One connection with some requests; negative: a reply was wrong. */
static int one(uint64_t seed, uint64_t turn)
{
    uint64_t bits = rng_bits(seed, 1, turn, 0);
    int n = 1 + (int)(bits % 3), fd = dial(), k = 0, bad = 0;

    for (int i = 0; i < n && !bad; i++) {
        struct reply r;

        bits = rng_bits(seed, 2, turn, (uint32_t)i);
        k = (int)(bits % ARRAY_LEN(kinds));
        put_request(fd, "POST", kinds[k].path, "", kinds[k].body);
        bits >>= 8;
        if (bits % 4 == 0) { // leaves, at once or a little later
            if (bits / 4 % 2)
                client_nap((int)(bits / 8 % 50));
            break;
        }
        if (bits % 16 == 1) { // ends its side
            shutdown(fd, SHUT_WR);
            n = 0;
        }
        get_reply(fd, &r);
        if (r.status != kinds[k].status || r.closed) {
            printf("%s: %d %s: %.200s\n", kinds[k].path, r.status, r.closed ? "cut" : "",
                   r.body.p ? r.body.p : "");
            bad = -1;
        }
        reply_fini(&r);
    }
    close(fd);
    return bad;
}

static long rss(void)
{
    char path[64], line[200];
    long kb = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/status", (int)served.pid);
    f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "VmRSS:", 6) == 0)
            kb = strtol(line + 6, NULL, 10);
    if (f)
        fclose(f);
    return kb;
}

static void load(double seconds, uint64_t seed)
{
    const double until = client_now() + seconds;
    int status;

    for (int i = 0; i < CLIENTS; i++)
        if (fork() == 0) {
            int bad = 0;

            for (uint64_t k = 0; client_now() < until && !bad; k++)
                bad = one(seed + (uint64_t)i, k);
            fflush(stdout);
            _exit(bad ? 1 : 0);
        }
    for (int i = 0; i < CLIENTS; i++) {
        wait(&status);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a client ended with %x",
                      (unsigned)status);
    }
}

START_TEST(mixed)
{
    static const char *const with[] = {"-t", "1", "--parallel", "6", "-c", "1024", NULL};
    const bool whole = getenv("LONG") && *getenv("LONG");
    long before, after;
    double errors;

    if (!serve_start(with))
        return;
    wait_ready();
    errors = metric("rill_http_replies_total{class=\"5xx\"}"); // from before it was ready
    load(whole ? 180 : 0.7, 1);
    wait_idle(20);
    before = rss();
    load(whole ? 360 : 0.7, 1000);
    wait_idle(20);
    after = rss();
    if (whole) // of a short run the second half still makes the heap what it has to be
        ck_assert_msg(after < before + before / 20 + 4096, "%ld kB, then %ld", before, after);
    ck_assert_int_eq((int)metric("rill_connections"), 1);
    ck_assert_double_eq(metric("rill_http_replies_total{class=\"5xx\"}"), errors);
    printf("%ld kB, then %ld; %.0f requests\n", before, after,
           metric("rill_http_replies_total{class=\"2xx\"}"));
    serve_stop();
}
END_TEST

TEST_MAIN("tools/serve_load", mixed)
