/* test_serve_clients.c - what the OpenAI and Anthropic clients for Python and JavaScript send, byte
 * for byte (made by scripts/ref-clients.py and .js), to rill-serve with the answers that they had:
 * status, words of the reply, and its form by OpenAI's description.
 */
#include <jansson.h>

#include "tests/tools/client.h"
#include "tests/tools/openapi.h"

#define DIR "tests/golden/clients/"

static const char *text(const json_t *v, const char *key)
{
    const char *s = json_string_value(json_object_get(v, key));

    return s ? s : "";
}

/* The schema of a whole reply to a request, or NULL. */
static const char *schema_of(const char *request)
{
    static const char *const known[][2] = {
        {"POST /v1/chat/completions ", "CreateChatCompletionResponse"},
        {"POST /v1/completions ", "CreateCompletionResponse"},
        {"POST /v1/responses ", "Response"},
        {"GET /v1/models ", "ListModelsResponse"},
    };

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strncmp(request, known[i][0], strlen(known[i][0])) == 0)
            return known[i][1];
    return NULL;
}

/* Each piece of a stream is JSON, but for the last word. */
static void check_stream(const char *name, const char *p)
{
    int n = 0;

    while (*p) {
        const char *data = strstr(p, "data: "), *end = strstr(p, "\n\n");
        json_t *v;

        ck_assert_msg(data && end && data < end, "%s: %s", name, p);
        if (strncmp(data, "data: [DONE]", 12) != 0) {
            v = json_loadb(data + 6, (size_t)(end - data) - 6, 0, NULL);
            ck_assert_msg(json_is_object(v), "%s: %s", name, data);
            json_decref(v);
        }
        p = end + 2;
        n++;
    }
    ck_assert_msg(n > 3, "%s: %d events", name, n);
}

static void send_again(const json_t *line)
{
    const char *name = text(line, "session"), *request = text(line, "request");
    int fd = dial(), status = (int)json_integer_value(json_object_get(line, "status"));
    struct reply r;
    char *p;

    put_text(fd, request);
    get_reply(fd, &r);
    close(fd);
    ck_assert_msg(r.status == status, "%s: %d, not %d: %s", name, r.status, status, r.body.p);
    if (strstr(r.head.p, "text/event-stream"))
        check_stream(name, r.body.p);
    else if (status == 200 && openapi.root && schema_of(request) &&
             !strstr(request, "anthropic-version"))
        openapi_valid(schema_of(request), r.body.p, strlen(r.body.p));
    while ((p = strstr(r.body.p, "\\\"")) != NULL) // arguments are JSON in JSON
        memmove(p, p + 1, strlen(p));
    ck_assert_msg(strstr(r.body.p, text(line, "has")) != NULL, "%s: no '%s' in %s", name,
                  text(line, "has"), r.body.p);
    reply_fini(&r);
}

static void sessions_of(const char *file, int least)
{
    static char script[1100], template[1100], line[16384];
    static const char *const with[] = {"--script", script, "--template", template, NULL};
    FILE *f = fopen(srcfile(file), "r");
    int n = 0;

    snprintf(script, sizeof script, "%s", srcfile(DIR "script.json"));
    snprintf(template, sizeof template, "%s", srcfile(DIR "template.jinja"));
    ck_assert_ptr_nonnull(f);
    if (!serve_start(with)) {
        fclose(f);
        return;
    }
    openapi_open();
    wait_ready();
    while (fgets(line, sizeof line, f)) {
        json_t *v = json_loads(line, 0, NULL);

        ck_assert_ptr_nonnull(v);
        send_again(v);
        json_decref(v);
        n++;
    }
    ck_assert_int_ge(n, least);
    fclose(f);
    openapi_close();
    serve_stop();
}

START_TEST(python)
{
    sessions_of(DIR "requests.jsonl", 28);
}
END_TEST

START_TEST(javascript)
{
    sessions_of(DIR "requests-js.jsonl", 23);
}
END_TEST

TEST_MAIN("tools/serve_clients", python, javascript)
