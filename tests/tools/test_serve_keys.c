/* test_serve_keys.c - the limits of a key of rill-serve: requests at once, tokens a minute,
 * requests a second; and what the counters say of it.
 */
#include "tests/tools/client.h"

#define CHAT "/v1/chat/completions"
#define USER "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
/* sha256sum of key-number-one-1 and key-number-two-2 */
#define HASH_1 "d810fcdce54bfe2d3349cff81ab558b320ef645b9f4a2f329a36af9450ca6879"
#define HASH_2 "938523f9de92b17388095976312d7172d764f438483011b9fd2374a137eeaefe"

static const char one[] = "Authorization: Bearer key-number-one-1\r\n";
static const char two[] = "x-api-key: key-number-two-2\r\n";

static bool start(const char *script, const char *settings)
{
    static char path[1100];
    static const char *const with[] = {"--keys", path, NULL};
    struct reply r;
    FILE *f;
    int status = 0;

    snprintf(path, sizeof path, "%s", tmpfile_path("keys"));
    f = fopen(path, "w");
    fprintf(f, HASH_1 " alice %s\n" HASH_2 " bob\n", settings);
    fclose(f);
    if (!serve_script(script, with)) {
        unlink(path);
        return false;
    }
    for (int i = 0; i < 500 && status != 200; i++) {
        client_nap(10);
        ask(&r, "GET", "/ready", "", NULL);
        status = r.status;
        reply_fini(&r);
    }
    unlink(path);
    return true;
}

/* A counter of a key. */
static double counter(const char *name)
{
    char line[100];
    struct reply r;
    const char *p;
    double v = -1;

    snprintf(line, sizeof line, "\n%s{key=\"alice\"} ", name);
    ask(&r, "GET", "/metrics", two, NULL);
    p = strstr(r.body.p, line);
    if (p)
        v = strtod(p + strlen(line), NULL);
    reply_fini(&r);
    return v;
}

START_TEST(at_once)
{
    struct reply r;
    int fd[2];

    if (!start("{\"prompt_ms\":60000,\"answers\":[{\"text\":\"a\"}]}", "concurrent=2"))
        return;
    for (int i = 0; i < 2; i++) {
        fd[i] = dial();
        put_request(fd[i], "POST", CHAT, one, "{" USER "}");
    }
    for (int i = 0; i < 300 && counter("rill_key_requests_total") < 2; i++)
        client_nap(10);
    expect_status("POST", CHAT, one, "{" USER "}", 429, "retry-after-ms: ");
    close(fd[0]); // its place is free again
    for (int i = 0; i < 300; i++) {
        int status;

        ask(&r, "POST", "/tokenize", one, "{\"content\":\"a\"}");
        status = r.status;
        reply_fini(&r);
        if (status == 200)
            break;
        ck_assert_int_eq(status, 429);
        client_nap(10);
        ck_assert_int_lt(i, 299);
    }
    expect_status("POST", "/tokenize", two, "{\"content\":\"a\"}", 200, NULL);
    close(fd[1]);
    serve_stop();
}
END_TEST

/* What a request takes is known when it has ended: the bucket goes below zero, and fills again. */
START_TEST(tokens)
{
    if (!start("{\"answers\":[{\"text\":\"word \",\"repeat\":100}]}", "tokens=60"))
        return;
    expect_status("POST", CHAT, one, "{" USER "}", 200, NULL);
    expect_status("POST", CHAT, one, "{" USER "}", 429, "the limit of this key is reached");
    ck_assert_double_ge(counter("rill_key_drawn_tokens_total"), 100);
    ck_assert_double_ge(counter("rill_key_prompt_tokens_total"), 5);
    ck_assert_double_eq(counter("rill_key_requests_total"), 1);
    expect_status("POST", CHAT, two, "{" USER "}", 200, NULL);
    serve_stop();
}
END_TEST

START_TEST(rate)
{
    double from = client_now();
    struct reply r;
    int good = 0, status;

    if (!start("{\"answers\":[{\"text\":\"a\"}]}", "rate=20"))
        return;
    from = client_now();
    while (client_now() - from < 1) {
        ask(&r, "POST", CHAT, one, "{" USER "}");
        status = r.status;
        reply_fini(&r);
        ck_assert(status == 200 || status == 429);
        good += status == 200;
    }
    ck_assert_msg(good >= 15 && good <= 20 + (int)(20 * (client_now() - from)) + 1, "%d", good);
    serve_stop();
}
END_TEST

/* A file with a mistake is no file of keys. */
START_TEST(wrong_files)
{
    static const char *const lines[] = {"",
                                        "# none\n",
                                        "abc alice\n",
                                        HASH_1 "\n",
                                        HASH_1 " alice rate=x\n",
                                        HASH_1 " alice scopes=none\n",
                                        HASH_1 " alice colour=red\n"};
    const char *path = tmpfile_path("keys");
    char tool[1100], model[1100];

    snprintf(tool, sizeof tool, "%s/rill-serve", RILL_BUILDDIR);
    snprintf(model, sizeof model, "%s", srcfile("share/rill-tales.gguf"));
    if (access(tool, X_OK) < 0) {
        test_skip("no rill-serve (libevent)");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        FILE *f = fopen(path, "w");
        int status;

        fputs(lines[i], f);
        fclose(f);
        if (fork() == 0) {
            if (!freopen("/dev/null", "w", stderr))
                _exit(127);
            execl(tool, "rill-serve", "-q", "--port", "0", "-m", model, "--keys", path,
                  (char *)NULL);
            _exit(127);
        }
        wait(&status);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 3, "%s: %x", lines[i],
                      (unsigned)status);
    }
    unlink(path);
}
END_TEST

TEST_MAIN("tools/serve_keys", at_once, tokens, rate, wrong_files)
