/* fuzz_api.c - any bytes as the body of a request, for each API that is spoken: its fields, and a
 * short answer to it. What is refused has a sentence; replies and the events of streams are JSON.
 * The model is the vocabulary of the embedded one, which lies below $SRCDIR (else here).
 *
 * Compiling constraints took four fifths of the time, and has a fuzzer of its own: only short
 * inputs that say so get theirs. Must be linked with
 * -Wl,--wrap=rill_constraint_new,--wrap=rill_chat_tools.
 */
#include "tests/fuzz/replay.h"

#include <stdlib.h>
#include <string.h>

#include "tools/lib/api_messages.h"
#include "tools/lib/api_responses.h"
#include "tools/lib/api_vectors.h"

enum { CHAT, TEXT, MESSAGES, COUNT, RESPONSES, EMBED, RANK, LINE, KINDS };

static struct {
    struct rill_model *model;
    struct api_chat *chat[2]; // the default template, and one with marks of reasoning and calls
    bool constraints;         // of this input
} on;

typedef int constraint_fn(struct rill_constraint **out, enum rill_constraint_kind kind,
                          const struct rill_stop *text, int n, const struct rill_constraint_opts *o,
                          struct err *e);
typedef int tools_fn(struct rill_constraint **out, const struct rill_chat *c, const char *format,
                     const char *json, size_t n, const struct rill_prompt *p, struct err *e);
constraint_fn __real_rill_constraint_new, __wrap_rill_constraint_new;
tools_fn __real_rill_chat_tools, __wrap_rill_chat_tools;

int __wrap_rill_constraint_new(struct rill_constraint **out, enum rill_constraint_kind kind,
                               const struct rill_stop *text, int n,
                               const struct rill_constraint_opts *o, struct err *e)
{
    *out = NULL;
    return on.constraints ? __real_rill_constraint_new(out, kind, text, n, o, e) : 0;
}

int __wrap_rill_chat_tools(struct rill_constraint **out, const struct rill_chat *c,
                           const char *format, const char *json, size_t n,
                           const struct rill_prompt *p, struct err *e)
{
    *out = NULL;
    return on.constraints ? __real_rill_chat_tools(out, c, format, json, n, p, e) : 0;
}

static void need(bool ok)
{
    if (!ok)
        abort();
}

static void open_model(void)
{
    static const char marks[] =
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls %}"
        "<tool_call>{\"name\": \"{{ c.function.name }}\"{% endfor %}{% endfor %}{% if tools %}"
        "{{ tools | tojson }}{% endif %}{# <think> </think> #}";
    const struct rill_model_opts o = {.vocab_only = true};
    const char *dir = getenv("SRCDIR");
    struct err e = {0};
    char path[1000];

    snprintf(path, sizeof path, "%s/share/rill-tales.gguf", dir ? dir : ".");
    need(rill_model_open(&on.model, path, &o, &e) == 0);
    need(api_chat_open(&on.chat[0], on.model, NULL, (struct slice){NULL, 0}, NULL, &e) == 0);
    need(api_chat_open(&on.chat[1], on.model, "marks", slice_of(marks), NULL, &e) == 0);
}

static void check_json(struct slice s)
{
    json_error_t why;
    json_t *v = json_loadb(s.p ? s.p : "", s.n, JSON_ALLOW_NUL, &why);

    need(v != NULL);
    json_decref(v);
}

/* Server-sent events, each with JSON but for the last of all. */
static void check_events(const struct buf *b)
{
    const char *p = b->p ? b->p : "", *end = p + b->n;

    while (p < end) {
        const char *data = strstr(p, "data: "), *stop = strstr(p, "\n\n");

        need(stop && data && data < stop);
        if (strncmp(data + 6, "[DONE]", 6) != 0)
            check_json((struct slice){data + 6, (size_t)(stop - data) - 6});
        p = stop + 2;
    }
}

static int parse(int kind, struct api_request *r, const struct api_opts *o, struct slice body,
                 struct err *e)
{
    switch (kind) {
    case CHAT:
    case TEXT:
        return api_parse_body(r, o, kind == CHAT, body, e);
    case MESSAGES:
    case COUNT:
        return messages_parse(r, o, kind == COUNT, body, e);
    case RESPONSES:
        return responses_parse(r, o, body, e);
    case EMBED:
    case RANK:
        return vectors_parse(r, o, kind == RANK, body, e);
    default:
        return api_parse(r, o, body, e);
    }
}

/* One answer, event by event, in the words of the API. */
static void answer(int kind, const struct api_request *r, const struct api_opts *o,
                   struct api_answer *a, struct buf *events, struct buf *whole)
{
    const struct rill_event ev[] = {
        {.kind = RILL_TOKEN,
         .id = 300,
         .text = "<think>a \xe2\x82\xac</think>b<tool",
         .n_text = 26},
        {.kind = RILL_TOKEN, .id = 301, .text = "_call>{\"name\": \"f\", ", .n_text = 19},
        {.kind = RILL_TOKEN, .id = 302, .text = "\"arguments\": {}}</tool_call>", .n_text = 28},
        {.kind = RILL_DONE, .finish = RILL_STOP, .stop = r->q.n_stop, .text = "x", .n_text = 1}};
    struct messages_stream ms = {0};
    struct responses rs = {0};
    struct api_stream st = {0};
    struct err e = {0};
    int rc = 0;

    if (kind == MESSAGES)
        messages_begin(&ms, events, r, o, SLICE("msg_1"));
    else if (kind == RESPONSES)
        responses_begin(&rs, events, r, o, "1");
    else
        rc = api_stream_begin(&st, r, o, SLICE("id"), a, &e);
    for (size_t i = 0; i < sizeof ev / sizeof *ev && rc == 0; i++) {
        if (kind == MESSAGES)
            rc = messages_event(&ms, events, r, o, a, &ev[i], &e);
        else if (kind == RESPONSES)
            rc = responses_event(&rs, events, a, &ev[i], &e);
        else
            for (int p = 0; p < r->n_prompt && rc == 0; p++)
                rc = api_stream_event(&st, events, p, &ev[i], &e);
    }
    need(rc == 0);
    if (kind == MESSAGES) {
        messages_end(&ms, events, r, a);
        messages_reply(whole, r, o, SLICE("msg_1"), a);
    } else if (kind == RESPONSES) {
        responses_end(&rs, events, a);
        responses_reply(&rs, whole, a);
        responses_fini(&rs);
    } else {
        api_stream_end(&st, events, "");
        buf_byte(whole, '{');
        api_body(whole, r, o, SLICE("id"), a, "");
        buf_byte(whole, '}');
        api_stream_fini(&st);
    }
}

static void check_answer(int kind, const struct api_request *r, const struct api_opts *o)
{
    const int n = r->n_prompt * r->best_of;
    struct buf events = {0}, whole = {0};
    struct api_answer *a;
    struct err e = {0};

    if (n > 64)
        return;
    a = calloc((size_t)n, sizeof *a);
    need(a != NULL);
    for (int i = 0; i < n; i++)
        need(api_answer_begin(&a[i], r, o, &r->prompt[i / r->best_of], i % r->best_of, &e) == 0);
    if (kind == EMBED || kind == RANK) {
        static const float x[3] = {0.6F, 0, 0.8F};
        const struct rill_event ev = {.kind = RILL_VECTOR, .vector = x, .n_vector = 3};

        for (int i = 0; i < n; i++)
            need(vectors_take(&a[i], &ev, &e) == 0);
        vectors_reply(&whole, r, o, SLICE("id"), a);
    } else {
        answer(kind, r, o, a, &events, &whole);
        check_events(&events);
    }
    check_json(buf_view(&whole));
    for (int i = 0; i < n; i++)
        api_answer_fini(&a[i]);
    free(a);
    buf_fini(&events);
    buf_fini(&whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct api_opts o = {.name = "m", .n_ctx = 2000};
    struct api_request r;
    struct err e = {0};
    int kind, rc;

    if (n < 2)
        return 0;
    if (!on.model)
        open_model();
    kind = data[0] % KINDS;
    o.model = on.model;
    o.sampling = rill_sampling_of(on.model);
    o.lenient = data[1] & 1;
    o.stream = data[1] & 2;
    o.details = data[1] & 4;
    on.constraints = data[1] >> 5 == 7 && n < 200;
    o.chat = data[1] & 8 ? NULL : on.chat[data[1] >> 4 & 1];
    rc = parse(kind, &r, &o, (struct slice){(const char *)data + 2, n - 2}, &e);
    need(rc == 0 || (rc < 0 && rc == e.code && e.text[0] && rc != E_NOMEM));
    if (rc == 0) {
        need(r.n_prompt > 0 && r.best_of >= r.n && r.n >= 1);
        if (kind != COUNT)
            check_answer(kind == LINE ? CHAT : kind, &r, &o);
    }
    api_fini(&r);
    return 0;
}
