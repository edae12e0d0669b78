/* test_serve_work.c - rill-serve when work has to end early: clients that leave while their prompt
 * is computed, key/value memory that is too small for all, a device that fails.
 */
#include "base/rng.h"
#include "tests/tools/client.h"

#define CHAT "/v1/chat/completions"
#define TEXT "/v1/completions"
#define USER "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

enum { LEAVING = 300, ROWS = 8, WORDS = 700 };

/* A prompt of some hundred tokens like no other. */
static void put_long(struct buf *b, uint64_t seed, int n)
{
    static const char *const words[] = {" fox", " bear", " wood", " went", " to", " the", " a"};

    buf_str(b, "{\"prompt\":\"");
    for (int i = 0; i < n; i++)
        buf_str(b, words[rng_bits(seed, 1, (uint64_t)i, 0) % ARRAY_LEN(words)]);
    buf_str(b, "\",\"max_tokens\":20,\"temperature\":1,\"seed\":3,\"ignore_eos\":true}");
}

/* What a reply says, to be compared: its text. */
static void text_of(const struct reply *r, char *out, size_t n)
{
    const char *p = r->body.p ? strstr(r->body.p, "\"text\":") : NULL;

    ck_assert_msg(r->status == 200 && p, "%d: %s", r->status, r->body.p);
    snprintf(out, n, "%.*s", (int)strcspn(p, "}"), p);
}

/* Hundreds leave while their prompts are computed or wait for it: what a place was doing ends with
 * the step, the prompts of the others are never begun, and who stays gets what he would alone. */
START_TEST(leaving_prompts)
{
    static const char *const small[] = {"--parallel",   "8", "--max-queue", "1000", "-t", "1",
                                        "--batch-rows", "8", "-c",          "1024", NULL};
    static int fd[LEAVING];
    char alone[1000], among[1000];
    struct buf stay = {0}, go = {0};
    double before, drawn, steps;
    struct reply r;
    int mine;

    if (!serve_start(small))
        return;
    wait_ready();
    put_long(&stay, 1, 300);
    ask(&r, "POST", TEXT, "", stay.p);
    text_of(&r, alone, sizeof alone);
    reply_fini(&r);
    for (int i = 0; i < LEAVING; i++) {
        buf_clear(&go);
        put_long(&go, 100 + (uint64_t)i, WORDS);
        fd[i] = dial();
        put_request(fd[i], "POST", TEXT, "", go.p);
    }
    for (int i = 0; i < 1000 && metric("rill_requests_waiting") < LEAVING - 8; i++)
        client_nap(5);
    mine = dial();
    put_request(mine, "POST", TEXT, "", stay.p);
    drawn = metric("rill_drawn_tokens_total");
    before = metric("rill_steps_total");
    for (int i = 0; i < LEAVING; i++)
        close(fd[i]);
    get_reply(mine, &r);
    text_of(&r, among, sizeof among);
    reply_fini(&r);
    close(mine);
    ck_assert_str_eq(among, alone);
    wait_idle(20);
    steps = metric("rill_steps_total") - before;
    printf("%.0f steps behind the leaving\n", steps);
    /* 58 are those of the one that stayed; the rest passes until all are seen to be gone. Of the
     * others each would take 88 alone, and draw 20 tokens: 26,000 and 6,000. */
    ck_assert_msg(steps < 2000, "%.0f steps", steps);
    ck_assert_double_le(metric("rill_drawn_tokens_total") - drawn, 1000);
    ck_assert_double_eq(metric("rill_kv_used_ratio"), 0);
    buf_fini(&stay);
    buf_fini(&go);
    serve_stop();
}
END_TEST

/* Memory for 354 tokens, which two of these eight fill: the others wait or lose their places, and
 * all are answered as they are alone. What can never be answered is refused. */
START_TEST(little_memory)
{
    static const char *const little[] = {
        "--parallel", "8", "-t", "1", "-c", "1024", "--kv-mem", "2300K", "--no-prefix-cache", NULL};
    static char alone[8][1000], among[1000];
    struct buf b = {0};
    struct reply r;
    int fd[8];

    if (!serve_start(little))
        return;
    wait_ready();
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < 8; i++) {
            buf_clear(&b);
            put_long(&b, (uint64_t)i, 150);
            if (turn == 0) {
                ask(&r, "POST", TEXT, "", b.p);
                text_of(&r, alone[i], sizeof alone[i]);
                reply_fini(&r);
            } else {
                fd[i] = dial();
                put_request(fd[i], "POST", TEXT, "", b.p);
            }
        }
    }
    for (int i = 0; i < 8; i++) {
        get_reply(fd[i], &r);
        text_of(&r, among, sizeof among);
        ck_assert_str_eq(among, alone[i]);
        reply_fini(&r);
        close(fd[i]);
    }
    buf_clear(&b);
    put_long(&b, 9, 400);
    expect_status("POST", TEXT, "", b.p, 400, "maximum context length is 354 tokens");
    buf_fini(&b);
    serve_stop();
}
END_TEST

/* One place for three requests: the others wait, and the time that they did is told. */
START_TEST(waiting)
{
    static const char *const one[] = {"--parallel", "1", "-t", "1", "-c", "1024", NULL};
    static const char body[] = "{\"prompt\":\"The fox\",\"max_tokens\":400,\"ignore_eos\":true}";
    double running = 0, wait = 0;
    struct reply r;
    int fd[3];

    if (!serve_start(one))
        return;
    wait_ready();
    for (int i = 0; i < 3; i++) {
        fd[i] = dial();
        put_request(fd[i], "POST", TEXT, "", body);
    }
    for (int i = 0; i < 1000 && !(wait == 2 && running == 1); i++) {
        wait = metric("rill_requests_waiting");
        running = metric("vllm:num_requests_running");
    }
    ck_assert_double_eq(wait, 2);
    ck_assert_double_eq(running, 1);
    for (int i = 0; i < 3; i++) {
        get_reply(fd[i], &r);
        ck_assert_int_eq(r.status, 200);
        reply_fini(&r);
        close(fd[i]);
    }
    wait_idle(5);
    ck_assert_double_eq(metric("rill_queue_seconds_count"), 3);
    /* one answer's time, and two: together half of that of all three from their beginnings on */
    ck_assert_double_gt(metric("rill_queue_seconds_sum"),
                        0.35 * metric("rill_request_seconds_sum"));
    serve_stop();
}
END_TEST

/* -- a device that fails -- */

/* All requests fail and say why, a stream with its last event; the next ones are answered. */
START_TEST(device_fails)
{
    struct reply r, stream;
    int fd, whole;

    if (!serve_script("{\"token_ms\":20,\"fail_after\":12,\"answers\":[{\"text\":\"word \","
                      "\"repeat\":100,\"when\":\"long\"},{\"text\":\"One.\"}]}",
                      NULL))
        return;
    wait_ready();
    for (int turn = 0; turn < 3; turn++) {
        static const char want[] = "the device has failed";

        fd = dial();
        put_request(fd, "POST", CHAT, "",
                    "{\"messages\":[{\"role\":\"user\",\"content\":\"long\"}],\"stream\":true}");
        get_head(fd, &stream);
        ck_assert_int_eq(stream.status, 200);
        whole = dial();
        put_request(whole, "POST", CHAT, "",
                    "{\"messages\":[{\"role\":\"user\",\"content\":\"long\"}]}");
        while (get_chunk(fd, &stream))
            ;
        buf_byte(&stream.body, 0);
        ck_assert(!stream.closed);
        ck_assert_ptr_nonnull(strstr(stream.body.p, want));
        ck_assert_ptr_null(strstr(stream.body.p, "[DONE]"));
        get_reply(whole, &r);
        ck_assert_msg(r.status == 500 && strstr(r.body.p, want), "%d: %s", r.status, r.body.p);
        reply_fini(&r);
        reply_fini(&stream);
        close(fd);
        close(whole);
        expect_status("POST", CHAT, "", "{" USER "}", 200, "One.");
        expect_status("GET", "/ready", "", NULL, 200, NULL);
    }
    ck_assert_int_eq((int)metric("rill_requests_finished_total{model_name=\"tales\",reason="
                                 "\"failed\"}"),
                     6);
    ck_assert_int_eq((int)metric("rill_requests_running"), 0);
    serve_stop();
}
END_TEST

/* Where it cannot be opened again the server answers what it has and ends, for its supervisor. */
START_TEST(device_gone)
{
    struct reply r;
    int fd[4], status = -1;

    if (!serve_script("{\"token_ms\":20,\"parallel\":2,\"fail_after\":12,\"fail_open\":0,"
                      "\"answers\":[{\"text\":\"word \",\"repeat\":100}]}",
                      NULL))
        return;
    wait_ready();
    for (int i = 0; i < 4; i++) {
        fd[i] = dial();
        put_request(fd[i], "POST", CHAT, "", "{" USER "}");
    }
    for (int i = 0; i < 4; i++) {
        get_reply(fd[i], &r);
        ck_assert_msg(r.status == 500 && strstr(r.body.p, "the device"), "%d: %s", r.status,
                      r.body.p ? r.body.p : "");
        reply_fini(&r);
        close(fd[i]);
    }
    waitpid(served.pid, &status, 0);
    unlink(served.script);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 4, "%x", (unsigned)status);
}
END_TEST

TEST_MAIN("tools/serve_work", leaving_prompts, little_memory, waiting, device_fails, device_gone)
