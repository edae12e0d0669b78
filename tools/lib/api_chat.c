/* api_chat.c - see api_chat.h. */
#include "tools/lib/api_chat.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "text/chat.h"

enum { MARKS = 64 };

struct api_chat {
    struct chat *chat;
    struct rill_chat *public; // the same, for what rill.h makes of it
    const struct rill_model *model;
    const struct toolcall_format *format;
    const struct reasoning *reasoning;
    bool knows_tools;
    int32_t mark[MARKS]; // control tokens that are marks
    int n_mark;
};

void api_prompt_fini(struct api_prompt *p)
{
    mem_free(p->ids);
    mem_free(p->types);
    buf_fini(&p->text);
    *p = (struct api_prompt){0};
}

/* -- marks -- */

/* The control token that a mark is, or -1. */
static int32_t mark_id(const struct rill_model *m, struct slice mark)
{
    struct err e = {0};
    int32_t *ids, id = -1;
    size_t n, len;

    if (rill_tokenize(m, mark.p, mark.n, RILL_PARSE_SPECIAL | RILL_AFTER, &ids, &n, &e) < 0)
        return -1;
    if (n == 1 && (rill_piece(m, ids[0], false, &len), len == 0))
        id = ids[0];
    rill_free(ids);
    return id;
}

static bool control_mark(void *ctx, struct slice mark)
{
    const struct api_chat *c = ctx;

    for (int i = 0; i < c->n_mark; i++) {
        struct slice piece;

        piece.p = rill_piece(c->model, c->mark[i], true, &piece.n);
        if (slice_eq(piece, mark))
            return true;
    }
    return false;
}

static bool learn_mark(void *ctx, struct slice mark)
{
    struct api_chat *c = ctx;
    int32_t id = mark_id(c->model, mark);

    if (id >= 0 && c->n_mark < MARKS && !api_chat_is_mark(c, id))
        c->mark[c->n_mark++] = id;
    return id >= 0;
}

bool api_chat_is_mark(const struct api_chat *c, int32_t id)
{
    for (int i = 0; i < c->n_mark; i++)
        if (c->mark[i] == id)
            return true;
    return false;
}

/* -- opening -- */

int api_chat_template(struct chat **out, const struct rill_model *m, const char **name,
                      struct slice *source, struct err *e)
{
    struct rill_model_info info;

    *out = NULL;
    rill_model_info(m, &info);
    if (!rill_vocab(m))
        return err_set(e, E_UNSUPPORTED, "%s: no vocabulary to chat with", info.path);
    if (!source->p) {
        *source = slice_of(info.chat_template ? info.chat_template : "");
        *name = info.path;
    }
    return chat_open(out, *name, *source, rill_vocab(m), e);
}

int api_chat_open(struct api_chat **out, const struct rill_model *m, const char *name,
                  struct slice source, struct err *e)
{
    struct toolcall_opts po = {.is_control = learn_mark};
    struct toolcall *t = NULL;
    struct api_chat *c = mem_new(sizeof *c, e);
    int rc;

    *out = NULL;
    if (!c)
        return E_NOMEM;
    c->model = m;
    rc = api_chat_template(&c->chat, m, &name, &source, e);
    if (rc == 0)
        rc = rill_chat_open(&c->public, m, name, source.p, source.n, e);
    if (rc == 0) {
        c->knows_tools = chat_knows_tools(c->chat);
        c->format = c->knows_tools ? toolcall_detect(source) : NULL;
        if (!c->format)
            c->format = toolcall_find("generic", e);
        c->reasoning = reasoning_detect(source);
        po.format = c->format;
        po.reasoning = c->reasoning;
        po.ctx = c;
        rc = toolcall_new(&t, &po, e);
    }
    toolcall_free(t);
    if (rc < 0) {
        api_chat_close(c);
        return rc;
    }
    *out = c;
    return 0;
}

void api_chat_close(struct api_chat *c)
{
    if (c) {
        chat_close(c->chat);
        rill_chat_close(c->public);
    }
    mem_free(c);
}

const char *api_chat_stop(const struct api_chat *c)
{
    return chat_stop(c->chat);
}

bool api_chat_is_default(const struct api_chat *c)
{
    return chat_is_default(c->chat);
}

const struct reasoning *api_chat_reasoning(const struct api_chat *c)
{
    return c->reasoning;
}

const struct toolcall_format *api_chat_format(const struct api_chat *c)
{
    return c->format;
}

/* -- prompts -- */

/* A model whose template knows no tools is told of them by its system message. */
static int instruct(json_t *request, const json_t *tools, struct err *e)
{
    json_t *list = json_copy(json_object_get(request, "messages"));
    json_t *first = json_array_get(list, 0);
    const char *role = json_string_value(json_object_get(first, "role"));
    const json_t *old = json_object_get(first, "content");
    struct buf b = {0};
    int rc = json_is_array(list) ? 0 : err_set(e, E_FORMAT, "messages: must be a list");

    if (rc == 0 && role && strcmp(role, "system") == 0 && json_is_string(old)) {
        buf_add(&b, json_string_value(old), json_string_length(old));
        buf_str(&b, "\n\n");
        json_array_remove(list, 0);
    }
    rc = rc < 0 ? rc : toolcall_instructions(tools, &b, e);
    if (rc == 0) {
        first = json_pack("{ssss%}", "role", "system", "content", b.p ? b.p : "", b.n);
        if (!first || json_array_insert_new(list, 0, first) < 0 ||
            json_object_set(request, "messages", list) < 0)
            rc = err_nomem(e, b.n);
    }
    buf_fini(&b);
    json_decref(list);
    return rc;
}

/* The body as the template is to see it: its own list of tools or none. */
static json_t *request_of(const struct api_chat *c, const json_t *body, const json_t *tools,
                          struct err *e)
{
    json_t *r = json_copy((json_t *)(uintptr_t)body);
    int rc = r ? 0 : err_nomem(e, 0);

    if (rc == 0) {
        json_object_del(r, "tools");
        if (tools && c->knows_tools)
            rc = json_object_set(r, "tools", (json_t *)(uintptr_t)tools);
        else if (tools)
            rc = instruct(r, tools, e);
    }
    if (rc < 0) {
        err_set(e, E_NOMEM, "no memory for a request");
        json_decref(r);
        return NULL;
    }
    return r;
}

int api_chat_prompt(const struct api_chat *c, const json_t *body, const json_t *tools,
                    struct api_prompt *out, struct err *e)
{
    json_t *request = request_of(c, body, tools, e);
    struct jinja_text t = {0};
    struct tok_ids ids = {0};
    int rc = request ? chat_render(c->chat, request, (int64_t)time(NULL), &t, e) : e->code;

    if (rc == 0)
        rc = chat_encode(c->chat, &t, &ids, e);
    if (rc == 0) {
        out->text = t.text;
        out->ids = ids.id;
        out->n = ids.n;
        out->open = reasoning_is_open(c->reasoning, buf_view(&t.text));
        t.text = (struct buf){0};
        ids = (struct tok_ids){0};
    }
    jinja_text_fini(&t);
    tok_ids_fini(&ids);
    json_decref(request);
    return rc;
}

int api_chat_constraint(const struct api_chat *c, const json_t *tools, const json_t *choice,
                        bool one_call, const struct api_prompt *p, struct rill_constraint **out,
                        struct err *e)
{
    const struct rill_prompt prompt = {p->text.p, p->text.n, p->ids, p->n};
    json_t *request = json_pack("{sOsOsb}", "tools", tools, "tool_choice",
                                choice ? choice : json_null(), "parallel_tool_calls", !one_call);
    char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
    int rc = text ? rill_chat_tools(out, c->public, c->format->name, text, strlen(text), &prompt, e)
                  : err_nomem(e, 0);

    free(text); // jansson's
    json_decref(request);
    return rc;
}

int api_chat_parser(const struct api_chat *c, struct toolcall **out,
                    const struct toolcall_format *format, const json_t *tools, bool open,
                    uint64_t seed, struct err *e)
{
    struct toolcall_opts po = {.format = format,
                               .reasoning = c->reasoning,
                               .in_reasoning = open,
                               .tools = tools,
                               .seed = seed,
                               .is_control = control_mark,
                               .ctx = (void *)(uintptr_t)c};

    return toolcall_new(out, &po, e);
}
