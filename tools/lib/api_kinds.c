/* api_kinds.c - see api.h: requests of each kind, read by who knows it; text between two others. */
#include <string.h>

#include "base/mem.h"
#include "tools/lib/api_messages.h"
#include "tools/lib/api_responses.h"
#include "tools/lib/api_vectors.h"
#include "tools/lib/js.h"

/* {"input_prefix", "input_suffix", "prompt": what is typed between them already}, as editors ask,
 * to a prompt with a suffix. */
static int infill_body(json_t *v, struct err *e)
{
    static const char *const names[] = {"input_prefix", "prompt", "input_suffix"};
    struct buf b = {0};
    int rc = json_is_object(v) ? 0 : err_set(e, E_FORMAT, "the body is not a JSON object");

    for (int i = 0; i < 3 && rc == 0; i++) {
        const json_t *part = json_object_get(v, names[i]);

        if (i == 2)
            rc = js_set(v, "prompt", js_text(&b), e);
        if (part && !json_is_string(part))
            rc = err_set(e, E_RANGE, "%s: must be a string", names[i]);
        else if (rc == 0 && i == 2)
            rc = js_set(v, "suffix",
                        part ? json_incref((json_t *)(uintptr_t)part) : json_string(""), e);
        else if (part)
            buf_add(&b, json_string_value(part), json_string_length(part));
    }
    buf_fini(&b);
    return rc;
}

static int infill_parse(struct api_request *r, const struct api_opts *o, struct slice body,
                        struct err *e)
{
    json_t *v = api_json(body, e);
    int rc = v ? infill_body(v, e) : e->code;

    if (rc == 0)
        return api_parse_json(r, o, API_TEXT | API_INFILL, v, e);
    json_decref(v);
    return rc;
}

int api_parse_kind(struct api_request *r, const struct api_opts *o, enum api_kind kind,
                   struct slice body, struct err *e)
{
    switch (kind) {
    case API_MESSAGES:
        return messages_parse(r, o, false, body, e);
    case API_RESPONSES:
        return responses_parse(r, o, body, e);
    case API_EMBED:
    case API_RANK:
        return vectors_parse(r, o, kind == API_RANK, body, e);
    case API_INFILL:
        return infill_parse(r, o, body, e);
    default:
        return api_parse_body(r, o, kind == API_CHAT, body, e);
    }
}

int api_kind_of(const char *path)
{
    static const struct {
        const char *path;
        enum api_kind kind;
    } known[] = {{"chat/completions", API_CHAT}, {"completions", API_TEXT},
                 {"messages", API_MESSAGES},     {"responses", API_RESPONSES},
                 {"embeddings", API_EMBED},      {"rerank", API_RANK},
                 {"infill", API_INFILL}};
    size_t n;

    path += strspn(path, "/");
    path += strncmp(path, "v1/", 3) == 0 ? 3 : 0;
    for (n = strlen(path); n > 0 && path[n - 1] == '/';)
        n--;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (slice_is((struct slice){path, n}, known[i].path))
            return (int)known[i].kind;
    return 0;
}
