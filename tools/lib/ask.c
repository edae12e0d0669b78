/* ask.c - see ask.h. */
#include "tools/lib/ask.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

int ask_open(struct ask *a, const struct rill_model *m, const char *name, struct slice source,
             struct err *e)
{
    struct rill_model_info info;
    int rc;

    rill_model_info(m, &info);
    if (!rill_vocab(m))
        return err_set(e, E_UNSUPPORTED, "%s: no vocabulary to chat with", info.path);
    if (!source.p) {
        source = slice_of(info.chat_template ? info.chat_template : "");
        name = info.path;
    }
    rc = chat_open(&a->chat, name, source, rill_vocab(m), e);
    if (rc < 0)
        return rc;
    a->model = m;
    a->reasoning = chat_reasoning(a->chat);
    a->format = chat_calls(a->chat);
    a->set = json_object();
    a->source = mem_dup(source.p, source.n, e);
    a->name = name;
    return a->set && a->source ? 0 : err_nomem(e, 0);
}

void ask_close(struct ask *a)
{
    chat_close(a->chat);
    rill_chat_close(a->public);
    mem_free(a->source);
    json_decref(a->set);
    *a = (struct ask){0};
}

int ask_variable(json_t *set, const char *text, char mark, struct err *e)
{
    const char *at = strchr(text, mark);
    char name[64];
    json_t *v;

    if (!at || at == text || (size_t)(at - text) >= sizeof name)
        return err_set(e, E_USAGE, "'%.60s': not NAME%cVALUE", text, mark);
    snprintf(name, sizeof name, "%.*s", (int)(at - text), text);
    v = json_loads(at + 1, JSON_DECODE_ANY, NULL);
    v = v ? v : json_string(at + 1);
    return json_object_set_new(set, name, v) == 0
               ? 0
               : err_set(e, E_FORMAT, "%s: the value is no UTF-8", name);
}

void ask_prompt_fini(struct ask_prompt *p)
{
    buf_fini(&p->text);
    mem_free(p->ids);
    json_decref(p->tools);
    json_decref(p->calls);
    *p = (struct ask_prompt){0};
}

/* The answer's beginning, as a last message that goes on; the variables, where the request has none
 * of that name. */
static int complete(const struct ask *a, json_t *request, struct err *e)
{
    json_t *begun;
    int bad = 0;

    if (json_object_size(a->set)) {
        json_t *own = json_object_get(request, "chat_template_kwargs");
        json_t *all = json_copy(a->set);

        if (json_is_object(own))
            json_object_update(all, own);
        bad |= json_object_set_new(request, "chat_template_kwargs", all);
    }
    if (a->prefill) {
        begun = json_pack("{ssss}", "role", "assistant", "content", a->prefill);
        if (!begun)
            return err_set(e, E_FORMAT, "the answer's beginning must be UTF-8");
        bad |= json_array_append_new(json_object_get(request, "messages"), begun);
        bad |= json_object_set_new(request, "continue_final_message", json_true());
    }
    return bad ? err_nomem(e, sizeof(json_t)) : 0;
}

/* The tools that the prompt will tell of: the request's, or else those of --tools. */
static int add_tools(const struct ask *a, json_t *request, struct ask_prompt *out, struct err *e)
{
    json_t *own = json_object_get(request, "tools");

    if (a->tools && json_array_size(own))
        return err_set(e, E_USAGE, "there are tools already: not with --tools");
    if (a->tools && json_object_set(request, "tools", (json_t *)(uintptr_t)a->tools) < 0)
        return err_nomem(e, sizeof(json_t));
    own = json_object_get(request, "tools");
    if (!json_array_size(own))
        return 0;
    out->tools = json_incref(own);
    out->calls = json_pack("{sOsO*sO*}", "tools", own, "tool_choice",
                           json_object_get(request, "tool_choice"), "parallel_tool_calls",
                           json_object_get(request, "parallel_tool_calls"));
    return out->calls ? 0 : err_nomem(e, sizeof(json_t));
}

int ask_calls(struct ask *a, const struct ask_prompt *p, struct rill_constraint **out,
              struct err *e)
{
    struct rill_prompt prompt = {p->text.p, p->text.n, p->ids, p->n};
    char *text = p->calls ? json_dumps(p->calls, JSON_COMPACT) : NULL;
    int rc = 0;

    *out = NULL;
    if (!text)
        return p->calls ? err_nomem(e, 0) : 0;
    if (!a->public)
        rc = rill_chat_open(&a->public, a->model, a->name, a->source, strlen(a->source), e);
    if (rc == 0)
        rc = rill_chat_tools(out, a->public, a->format->name, text, strlen(text), &prompt, e);
    free(text); // jansson's
    return rc;
}

static void take(struct ask_prompt *out, const struct ask *a, struct jinja_text *t,
                 struct tok_ids *ids)
{
    out->open = reasoning_is_open(a->reasoning, buf_view(&t->text));
    out->text = t->text;
    out->ids = ids->id;
    out->n = ids->n;
    t->text = (struct buf){0};
    *ids = (struct tok_ids){0};
}

/* request is taken. */
static int make(const struct ask *a, json_t *request, struct ask_prompt *out, struct err *e)
{
    struct jinja_text t = {0};
    struct tok_ids ids = {0};
    int rc = complete(a, request, e);

    rc = rc < 0 ? rc : add_tools(a, request, out, e);
    if (rc == 0)
        rc = chat_render(a->chat, request, (int64_t)time(NULL), &t, e);
    if (rc == 0)
        rc = chat_encode(a->chat, &t, &ids, e);
    if (rc == 0)
        take(out, a, &t, &ids);
    jinja_text_fini(&t);
    tok_ids_fini(&ids);
    json_decref(request);
    return rc;
}

static json_t *question(const char *system, struct slice text, struct err *e)
{
    json_t *r = chat_ask(system, text);

    if (!r)
        err_set(e, E_FORMAT, "a message of a chat must be UTF-8");
    return r;
}

int ask_user(const struct ask *a, struct slice text, struct ask_prompt *out, struct err *e)
{
    json_t *r = question(a->system, text, e);

    *out = (struct ask_prompt){0};
    return r ? make(a, r, out, e) : e->code;
}

int ask_next(const struct ask *a, struct slice text, int32_t last, struct ask_prompt *out,
             struct err *e)
{
    const struct tok *tok = rill_vocab(a->model);
    json_t *r = question(NULL, text, e);
    struct jinja_text t = {0};
    struct tok_ids ids = {0};
    int rc = r ? complete(a, r, e) : e->code;

    *out = (struct ask_prompt){0};
    if (rc == 0)
        rc = chat_render_next(a->chat, r, (int64_t)time(NULL), &t, e);
    if (rc == 0)
        rc = tok_encode_parts(tok, buf_view(&t.text), t.content, t.n_content, TOK_PARSE | TOK_AFTER,
                              &ids, e);
    if (rc == 0 && ids.n && ids.id[0] == last && rill_is_end(a->model, last)) {
        struct slice end = tok_piece(tok, last); // it was drawn

        ids.n--;
        memmove(ids.id, ids.id + 1, ids.n * sizeof *ids.id);
        t.text.n -= end.n;
        memmove(t.text.p, t.text.p + end.n, t.text.n);
    }
    if (rc == 0)
        take(out, a, &t, &ids);
    jinja_text_fini(&t);
    tok_ids_fini(&ids);
    json_decref(r);
    return rc;
}

int ask_messages(const struct ask *a, struct slice text, struct ask_prompt *out, struct err *e)
{
    json_error_t je;
    json_t *r = json_loadb(text.p, text.n, JSON_ALLOW_NUL, &je);

    *out = (struct ask_prompt){0};
    if (!r)
        return err_set(e, E_FORMAT, "line %d, column %d: %.200s", je.line, je.column, je.text);
    if (json_is_array(r))
        r = json_pack("{so}", "messages", r);
    if (!r)
        return err_nomem(e, text.n);
    return make(a, r, out, e);
}
