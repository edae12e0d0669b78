/* api_chat.c - see api_chat.h. */
#include "tools/lib/api_chat.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "text/chat.h"

enum { MARKS = 64 };

struct api_chat {
    struct rill_chat *public;
    struct chat *chat; // the same
    const struct rill_model *model;
    const char *named;                    // the format that was asked for, or NULL
    const struct toolcall_format *format; // NULL: how calls are written is not known
    int32_t mark[MARKS];                  // control tokens that are marks
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

/* Whoever names the format for models without tools wants it told of in the system message. */
static int set_format(struct api_chat *c, const char *named, struct err *e)
{
    c->named = named;
    c->format = named ? toolcall_find(named, e) : chat_calls(c->chat);
    if (named && !c->format)
        return E_USAGE;
    if (named && strcmp(named, "generic") == 0 && !chat_knows_tools(c->chat))
        chat_prompt_tools(c->chat);
    return 0;
}

int api_chat_open(struct api_chat **out, const struct rill_model *m, const char *name,
                  struct slice source, const char *format, struct err *e)
{
    struct toolcall_opts po = {.is_control = learn_mark};
    struct toolcall *t = NULL;
    struct api_chat *c = mem_new(sizeof *c, e);
    int rc;

    *out = NULL;
    if (!c)
        return E_NOMEM;
    c->model = m;
    rc = rill_chat_open(&c->public, m, name, source.p, source.n, e);
    if (rc == 0) {
        c->chat = rill_chat_text(c->public);
        rc = set_format(c, format, e);
    }
    if (rc == 0) {
        po.format = c->format;
        po.reasoning = chat_reasoning(c->chat);
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
    if (c)
        rill_chat_close(c->public);
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
    return chat_reasoning(c->chat);
}

const struct toolcall_format *api_chat_format(const struct api_chat *c)
{
    return c->format;
}

/* -- prompts -- */

/* The body as the template is to see it: its own list of tools or none. */
static json_t *request_of(const json_t *body, const json_t *tools, struct err *e)
{
    json_t *r = json_copy((json_t *)(uintptr_t)body);
    int bad = !r;

    json_object_del(r, "tools");
    if (r && tools)
        bad = json_object_set(r, "tools", (json_t *)(uintptr_t)tools);
    if (!bad)
        return r;
    err_nomem(e, 0);
    json_decref(r);
    return NULL;
}

int api_chat_prompt(const struct api_chat *c, const json_t *body, const json_t *tools,
                    long long when, struct api_prompt *out, struct err *e)
{
    json_t *request = request_of(body, tools, e);
    struct jinja_text t = {0};
    struct tok_ids ids = {0};
    int rc = request ? 0 : E_NOMEM;

    if (rc == 0 && tools && chat_knows_tools(c->chat) && !c->format)
        rc = err_set(e, E_UNSUPPORTED,
                     "how the model writes tool calls is not known (--tool-format says it)");
    if (rc == 0)
        rc = chat_render(c->chat, request, when ? (int64_t)when : (int64_t)time(NULL), &t, e);
    if (rc == 0)
        rc = chat_encode(c->chat, &t, &ids, e);
    if (rc == 0) {
        out->text = t.text;
        out->ids = ids.id;
        out->n = ids.n;
        out->open = reasoning_is_open(chat_reasoning(c->chat), buf_view(&t.text));
        t.text = (struct buf){0};
        ids = (struct tok_ids){0};
    }
    jinja_text_fini(&t);
    tok_ids_fini(&ids);
    json_decref(request);
    return rc;
}

int api_chat_constraint(const struct api_chat *c, const json_t *tools, const json_t *choice,
                        const json_t *form, bool one_call, const struct api_prompt *p,
                        struct rill_constraint **out, struct err *e)
{
    const struct rill_prompt prompt = {p->text.p, p->text.n, p->ids, p->n};
    json_t *request = json_pack("{sOsOsbsO*}", "tools", tools, "tool_choice",
                                choice ? choice : json_null(), "parallel_tool_calls", !one_call,
                                "response_format", form);
    char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
    int rc = text ? rill_chat_tools(out, c->public, c->named, text, strlen(text), &prompt, e)
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
                               .reasoning = chat_reasoning(c->chat),
                               .in_reasoning = open,
                               .tools = tools,
                               .seed = seed,
                               .is_control = control_mark,
                               .ctx = (void *)(uintptr_t)c};

    return toolcall_new(out, &po, e);
}
