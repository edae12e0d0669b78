/* test_serve_admin.c - rill-serve's adapters and sessions: listed, loaded, scaled, unloaded; saved,
 * restored, forked, erased; names that are none; and answers that show it.
 */
#include <jansson.h>
#include <sys/stat.h>

#include "tests/tools/client.h"

#define TEXT "/v1/completions"
#define FOX  "{\"prompt\":\"Once upon a time the fox\",\"max_tokens\":24,\"temperature\":0"

static json_t *reply_to(const char *method, const char *path, const char *body)
{
    struct reply r;
    json_t *v;

    ask(&r, method, path, "", body);
    ck_assert_msg(r.status == 200, "%s %s: %s", path, body ? body : "", r.body.p);
    v = json_loads(r.body.p, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_ptr_nonnull(v);
    reply_fini(&r);
    return v;
}

/* The text of an answer; the caller frees it. */
static char *answer_to(const char *body)
{
    json_t *v = reply_to("POST", TEXT, body);
    char *text = strdup(json_string_value(
        json_object_get(json_array_get(json_object_get(v, "choices"), 0), "text")));

    json_decref(v);
    return text;
}

static void same(const char *body, const char *want, bool equal)
{
    char *text = answer_to(body);

    ck_assert_msg((strcmp(text, want) == 0) == equal, "%s: '%s' and '%s'", body, text, want);
    free(text);
}

static size_t adapters(const json_t *list)
{
    return json_array_size(json_object_get(list, "data"));
}

START_TEST(lora)
{
    const char *dir = srcfile("tests/golden");
    const char *const with[] = {"--lora-dir", dir, "-t", "1", NULL};
    char *plain, *tuned;
    json_t *v;

    if (!serve_start(with))
        return;
    wait_ready();
    v = reply_to("GET", "/lora", NULL);
    ck_assert_uint_eq(adapters(v), 0);
    json_decref(v);
    plain = answer_to(FOX "}");
    v = reply_to("POST", "/lora", "{\"load\":\"tales-lora.gguf\"}");
    ck_assert_uint_eq(adapters(v), 1);
    json_decref(v);
    same(FOX "}", plain, true); // with scale 0 it is in no request that does not choose it
    tuned = answer_to(FOX ",\"lora\":[{\"id\":0,\"scale\":1}]}");
    ck_assert_str_ne(plain, tuned);
    json_decref(reply_to("POST", "/lora", "{\"id\":0,\"scale\":1}"));
    same(FOX "}", tuned, true);
    same(FOX ",\"lora\":[]}", plain, true);
    v = reply_to("GET", "/lora", NULL);
    ck_assert_double_eq(
        json_number_value(json_object_get(json_array_get(json_object_get(v, "data"), 0), "scale")),
        1);
    json_decref(v);
    expect_status("POST", "/lora", "", "{\"load\":\"../../etc/passwd\"}", 400, "must be a name");
    expect_status("POST", "/lora", "", "{\"load\":\".hidden\"}", 400, "must be a name");
    expect_status("POST", "/lora", "", "{\"load\":\"none\"}", 404, NULL);
    expect_status("POST", "/lora", "", "{\"unload\":7}", 404, "no adapter");
    expect_status("POST", "/lora", "", "{\"id\":0,\"scale\":\"x\"}", 400, "\"param\":\"scale\"");
    expect_status("POST", TEXT, "", FOX ",\"lora\":[{\"id\":9}]}", 400, NULL);
    v = reply_to("POST", "/lora", "{\"unload\":0}");
    ck_assert_uint_eq(adapters(v), 0);
    json_decref(v);
    same(FOX "}", plain, true);
    free(plain);
    free(tuned);
    expect_status("DELETE", "/lora", "", NULL, 405, "Allow: GET, HEAD, POST, OPTIONS");
    serve_stop();
}
END_TEST

/* One given at the start is in all requests. */
START_TEST(lora_given)
{
    char file[1100];
    const char *const with[] = {"--lora", file, "-t", "1", NULL};
    char *plain, *tuned;

    snprintf(file, sizeof file, "%s=1", srcfile("tests/golden/tales-lora.gguf"));
    if (!serve_start(with))
        return;
    wait_ready();
    tuned = answer_to(FOX "}");
    plain = answer_to(FOX ",\"lora\":[]}");
    ck_assert_str_ne(plain, tuned);
    same(FOX ",\"lora\":[{\"id\":0}]}", tuned, true);
    expect_status("POST", "/lora", "", "{\"load\":\"x\"}", 400, "--lora-dir");
    free(plain);
    free(tuned);
    serve_stop();
}
END_TEST

static int cached(const json_t *v)
{
    return (int)json_integer_value(json_object_get(
        json_object_get(json_object_get(v, "usage"), "prompt_tokens_details"), "cached_tokens"));
}

START_TEST(sessions)
{
    const char *dir = tmpfile_path("sessions");
    const char *const with[] = {"--sessions", dir, "-t", "1", "-c", "1024", NULL};
    struct buf prompt = {0}, body = {0};
    json_t *v;
    int known;

    mkdir(dir, 0700);
    if (!serve_start(with)) {
        rmdir(dir);
        return;
    }
    for (int i = 0; i < 40; i++)
        buf_str(&prompt, "The fox and the bear went to the wood. ");
    buf_printf(&body, "{\"prompt\":\"%s\",\"max_tokens\":2}", prompt.p);
    wait_ready();
    v = reply_to("POST", TEXT, body.p);
    ck_assert_int_eq(cached(v), 0);
    json_decref(v);
    v = reply_to("POST", TEXT, body.p);
    known = cached(v);
    ck_assert_int_gt(known, 100);
    json_decref(v);
    buf_clear(&body);
    buf_printf(&body, "{\"save\":\"wood-1\",\"prompt\":\"%s\"}", prompt.p);
    v = reply_to("POST", "/sessions", body.p);
    ck_assert_int_ge((int)json_integer_value(json_object_get(v, "positions")), known);
    json_decref(v);
    json_decref(reply_to("POST", "/sessions", "{\"fork\":\"wood-1\",\"as\":\"wood-2\"}"));
    expect_status("POST", "/sessions", "", "{\"fork\":\"wood-1\",\"as\":\"wood-2\"}", 400,
                  "of that name");
    json_decref(reply_to("POST", "/sessions", "{\"erase\":\"wood-1\"}"));
    expect_status("POST", "/sessions", "", "{\"erase\":\"wood-1\"}", 404, "no session");
    expect_status("POST", "/sessions", "", "{\"restore\":\"wood-1\"}", 404, "no session");
    expect_status("POST", "/sessions", "", "{\"restore\":\"../wood\"}", 400, "must be a name");
    expect_status("POST", "/sessions", "", "{\"restore\":7}", 400, "must be a name");
    expect_status("POST", "/sessions", "", "{}", 400, "must be given");
    expect_status("POST", "/sessions", "", "{\"save\":\"x\"}", 400, "neither prompt nor messages");
    serve_stop();
    /* another server goes on from there */
    serve_start(with);
    wait_ready();
    v = reply_to("GET", "/sessions", NULL);
    ck_assert_uint_eq(json_array_size(json_object_get(v, "data")), 1);
    json_decref(v);
    json_decref(reply_to("POST", "/sessions", "{\"restore\":\"wood-2\"}"));
    buf_clear(&body);
    buf_printf(&body, "{\"prompt\":\"%s\",\"max_tokens\":2}", prompt.p);
    v = reply_to("POST", TEXT, body.p);
    ck_assert_int_ge(cached(v), known);
    json_decref(v);
    json_decref(reply_to("POST", "/sessions", "{\"erase\":\"wood-2\"}"));
    serve_stop();
    ck_assert_int_eq(rmdir(dir), 0);
    buf_fini(&prompt);
    buf_fini(&body);
}
END_TEST

/* Without the folders, without the scope, without an engine. */
START_TEST(not_here)
{
    const char *path = tmpfile_path("keys");
    const char *const with[] = {"--keys", path, NULL};
    static const char one[] = "x-api-key: key-number-one-1\r\n";
    static const char two[] = "x-api-key: key-number-two-2\r\n";
    FILE *f = fopen(path, "w");

    fputs("d810fcdce54bfe2d3349cff81ab558b320ef645b9f4a2f329a36af9450ca6879 alice\n"
          "938523f9de92b17388095976312d7172d764f438483011b9fd2374a137eeaefe bob "
          "scopes=infer,admin\n",
          f);
    fclose(f);
    if (!serve_script("{\"answers\":[{\"text\":\"a\"}]}", with)) {
        unlink(path);
        return;
    }
    wait_ready();
    expect_status("POST", "/lora", one, "{\"load\":\"x\"}", 403, "scope_not_allowed");
    expect_status("POST", "/sessions", one, "{\"restore\":\"x\"}", 403, "scope_not_allowed");
    expect_status("POST", "/lora", two, "{\"load\":\"x\"}", 400, "no engine is here");
    expect_status("GET", "/sessions", two, NULL, 400, "was not given a folder");
    unlink(path);
    serve_stop();
}
END_TEST

TEST_MAIN("tools/serve_admin", lora, lora_given, sessions, not_here)
