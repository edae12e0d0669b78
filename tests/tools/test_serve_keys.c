/* test_serve_keys.c - the limits of a key of rill-serve: requests at once, tokens a minute,
 * requests a second, adapters, proposed tokens; its share of the engine; and what the counters say
 * of it.
 */
#include <jansson.h>

#include "base/clock.h"
#include "tests/tools/client.h"

#define CHAT "/v1/chat/completions"
#define USER "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
/* sha256sum of key-number-one-1 and key-number-two-2 */
#define HASH_1 "d810fcdce54bfe2d3349cff81ab558b320ef645b9f4a2f329a36af9450ca6879"
#define HASH_2 "938523f9de92b17388095976312d7172d764f438483011b9fd2374a137eeaefe"

static const char one[] = "Authorization: Bearer key-number-one-1\r\n";
static const char two[] = "x-api-key: key-number-two-2\r\n";

/* script NULL: the embedded model answers, with these options. */
static bool start_with(const char *script, const char *alice, const char *bob,
                       const char *const *more)
{
    static char path[1100];
    const char *with[20] = {"--keys", path};
    struct reply r;
    FILE *f;
    int status = 0, n = 2;

    while (more && *more && n < 19)
        with[n++] = *more++;
    snprintf(path, sizeof path, "%s", tmpfile_path("keys"));
    f = fopen(path, "w");
    fprintf(f, HASH_1 " alice %s\n" HASH_2 " bob %s\n", alice, bob);
    fclose(f);
    if (!(script ? serve_script(script, with) : serve_start(with))) {
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

static bool start(const char *script, const char *settings)
{
    return start_with(script, settings, "", NULL);
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
    double from = clock_seconds();
    struct reply r;
    int good = 0, status;

    if (!start("{\"answers\":[{\"text\":\"a\"}]}", "rate=20"))
        return;
    from = clock_seconds();
    while (clock_seconds() - from < 1) {
        ask(&r, "POST", CHAT, one, "{" USER "}");
        status = r.status;
        reply_fini(&r);
        ck_assert(status == 200 || status == 429);
        good += status == 200;
    }
    ck_assert_msg(good >= 15 && good <= 20 + (int)(20 * (clock_seconds() - from)) + 1, "%d", good);
    serve_stop();
}
END_TEST

/* -- what a key may use -- */

#define TEXT "/v1/completions"
#define FOX  "{\"prompt\":\"Once upon a time the fox\",\"max_tokens\":24,\"temperature\":0"

static char *said_to(const char *key, const char *body)
{
    struct reply r;
    json_t *v;
    char *text;

    ask(&r, "POST", TEXT, key, body);
    ck_assert_msg(r.status == 200, "%s: %s", body, r.body.p);
    v = json_loads(r.body.p, 0, NULL);
    text = strdup(json_string_value(
        json_object_get(json_array_get(json_object_get(v, "choices"), 0), "text")));
    json_decref(v);
    reply_fini(&r);
    return text;
}

/* The adapter of the server's requests is not alice's, who may choose another only; bob's requests
 * have it at half its strength unless they choose. */
START_TEST(adapters)
{
    char lora[1100];
    const char *const with[] = {"--lora", lora, "-t", "1", "-c", "512", NULL};
    char *plain, *half, *whole, *text;

    snprintf(lora, sizeof lora, "%s=1", srcfile("tests/golden/tales-lora.gguf"));
    if (!start_with(NULL, "adapters=other.gguf,another", "lora=tales-lora.gguf=0.5", with))
        return;
    plain = said_to(two, FOX ",\"lora\":[]}");
    half = said_to(two, FOX ",\"lora\":[{\"id\":0,\"scale\":0.5}]}");
    whole = said_to(two, FOX ",\"lora\":[{\"id\":0,\"scale\":1}]}");
    ck_assert_str_ne(plain, whole);
    ck_assert_str_ne(half, whole);
    text = said_to(one, FOX "}");
    ck_assert_str_eq(text, plain);
    free(text);
    text = said_to(two, FOX "}");
    ck_assert_str_eq(text, half);
    free(text);
    expect_status("POST", TEXT, one, FOX ",\"lora\":[{\"id\":0}]}", 403,
                  "may not use the adapter 'tales-lora.gguf'\",\"type\":\"permission_error\","
                  "\"param\":\"lora\",\"code\":\"not_allowed\"");
    free(plain);
    free(half);
    free(whole);
    serve_stop();
    if (!start_with(NULL, "lora=none.gguf", "", with))
        return;
    expect_status("POST", TEXT, one, FOX "}", 404, "the adapter 'none.gguf' is not loaded");
    expect_status("POST", TEXT, two, FOX "}", 200, NULL);
    serve_stop();
}
END_TEST

/* Tokens are proposed for those who want that; nobody's answer is another. */
START_TEST(drafts)
{
    char model[1100];
    const char *const with[] = {"--draft", model, "-t", "1", "-c", "512", NULL};
    char *text, *other;

    snprintf(model, sizeof model, "tales=%s", srcfile("share/rill-tales.gguf"));
    if (!start_with(NULL, "draft=0", "", with))
        return;
    text = said_to(one, FOX "}");
    ck_assert_double_eq(metric("rill_drafted_tokens_total"), -1); // no key, no number
    ck_assert_double_ge(counter("rill_key_drawn_tokens_total"), 24);
    {
        struct reply r;

        ask(&r, "GET", "/metrics", two, NULL);
        ck_assert_ptr_nonnull(
            strstr(r.body.p, "rill_drafted_tokens_total{model_name=\"tales\"} 0\n"));
        reply_fini(&r);
        other = said_to(two, FOX "}");
        ck_assert_str_eq(other, text);
        ask(&r, "GET", "/metrics", two, NULL);
        ck_assert_ptr_null(strstr(r.body.p, "rill_drafted_tokens_total{model_name=\"tales\"} 0\n"));
        ck_assert_ptr_null(
            strstr(r.body.p, "rill_accepted_tokens_total{model_name=\"tales\"} 0\n"));
        reply_fini(&r);
    }
    free(text);
    free(other);
    serve_stop();
}
END_TEST

/* The embedded model without a third of its weights: it proposes what nobody says. */
static void write_worse(const char *path)
{
    FILE *in = fopen(srcfile("share/rill-tales.gguf"), "r"), *out = fopen(path, "w");
    static char bytes[8 << 20];
    size_t n = fread(bytes, 1, sizeof bytes, in);

    memset(bytes + n / 2, 0, n / 3);
    fwrite(bytes, 1, n, out);
    fclose(in);
    fclose(out);
}

static double of_model(const char *name)
{
    char line[100];
    struct reply r;
    const char *p;
    double v;

    snprintf(line, sizeof line, "\n%s{model_name=\"tales\"} ", name);
    ask(&r, "GET", "/metrics", two, NULL);
    p = strstr(r.body.p, line);
    ck_assert_ptr_nonnull(p);
    v = strtod(p + strlen(line), NULL);
    reply_fini(&r);
    return v;
}

/* Two models may propose: alice's key names the worse one, bob's none, so that he has the first. */
START_TEST(named_drafts)
{
    char good[1100], worse[1100], key[200];
    const char *const with[] = {"--draft", good, "--draft", worse, "-t", "1", "-c", "512", NULL};
    const char *path = tmpfile_path("worse.gguf"), *slash = strrchr(path, '/');
    double drafted, accepted;
    char *text, *other;

    write_worse(path);
    snprintf(good, sizeof good, "tales=%s", srcfile("share/rill-tales.gguf"));
    snprintf(worse, sizeof worse, "tales=%s", path);
    snprintf(key, sizeof key, "draft=%s", slash ? slash + 1 : path);
    *strstr(key, ".gguf") = 0;
    if (!start_with(NULL, key, "", with)) {
        unlink(path);
        return;
    }
    text = said_to(one, FOX "}");
    drafted = of_model("rill_drafted_tokens_total");
    accepted = of_model("rill_accepted_tokens_total");
    ck_assert_double_gt(drafted, 0);
    ck_assert_double_lt(accepted, drafted / 2);
    other = said_to(two, FOX "}");
    ck_assert_str_eq(other, text);
    drafted = of_model("rill_drafted_tokens_total") - drafted;
    accepted = of_model("rill_accepted_tokens_total") - accepted;
    ck_assert_double_gt(drafted, 0);
    ck_assert_double_gt(accepted, drafted * 3 / 4);
    free(text);
    free(other);
    serve_stop();
    unlink(path);
}
END_TEST

/* Two clients ask for the same at once, and one place is there: of the first twelve answers three
 * quarters are of the one with three times the weight. */
START_TEST(weight)
{
    static const char *const with[] = {"--parallel", "1", "-t", "1", "-c", "512", NULL};
    static const char body[] = "{\"prompt\":\"The fox\",\"max_tokens\":12,\"ignore_eos\":true}";
    struct pollfd p[24];
    struct reply r;
    int first[2], done = 0, alice = 0;

    if (!start_with(NULL, "weight=3", "weight=1", with))
        return;
    for (int i = 0; i < 2; i++) { // all others come while these are answered, to each its share
        first[i] = dial();
        put_request(first[i], "POST", TEXT, i ? one : two,
                    i ? "{\"prompt\":\"A\",\"max_tokens\":240,\"ignore_eos\":true}"
                      : "{\"prompt\":\"A\",\"max_tokens\":80,\"ignore_eos\":true}");
    }
    for (int i = 0; i < 24; i++) {
        p[i] = (struct pollfd){dial(), POLLIN, 0};
        put_request(p[i].fd, "POST", TEXT, i % 2 ? one : two, body);
    }
    while (done < 12) {
        ck_assert_int_gt(poll(p, 24, 60000), 0);
        for (int i = 0; i < 24 && done < 12; i++)
            if (p[i].revents & POLLIN) {
                get_reply(p[i].fd, &r);
                ck_assert_int_eq(r.status, 200);
                reply_fini(&r);
                close(p[i].fd);
                p[i].fd = -1;
                p[i].revents = 0;
                alice += i % 2;
                done++;
            }
    }
    ck_assert_msg(alice >= 8 && alice <= 10, "%d of 12", alice);
    for (int i = 0; i < 24; i++)
        if (p[i].fd >= 0)
            close(p[i].fd);
    close(first[0]);
    close(first[1]);
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
                                        HASH_1 " alice scopes=infer,metric\n",
                                        HASH_1 " alice models=\n",
                                        HASH_1 " alice\n" HASH_2 " alice models=big\n",
                                        HASH_1 " alice colour=red\n",
                                        HASH_1 " alice lora=\n",
                                        HASH_1 " alice lora=a=x\n",
                                        HASH_1 " alice draft=-1\n",
                                        HASH_1 " alice draft=small=x\n",
                                        HASH_1 " alice draft==2\n"};
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

TEST_MAIN("tools/serve_keys", at_once, tokens, rate, adapters, drafts, named_drafts, weight,
          wrong_files)
