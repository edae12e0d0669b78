/* public_chat.c - the chat part of rill.h: a template and a vocabulary together. */
#include "engine/public.h"

#include <stdio.h>
#include <time.h>

#include "base/mem.h"
#include "text/chat.h"
#include "text/constrain_tools.h"

struct rill_chat {
    struct chat *c;
    const struct tok *tok;
};

int rill_chat_open(struct rill_chat **out, const struct rill_model *m, const char *name,
                   const char *source, size_t n, struct err *e)
{
    struct rill_chat *c;
    struct slice text;
    char own[300];
    int rc;

    *out = NULL;
    if (!m->tok || tok_model_of(m->tok) == TOK_NONE)
        return err_set(e, E_UNSUPPORTED, "%s: no vocabulary to chat with", m->path);
    if (!source && m->chat_template) {
        snprintf(own, sizeof own, "%.250s: chat template", m->path);
        name = own;
        source = m->chat_template;
        n = strlen(source);
    }
    c = mem_new(sizeof *c, e);
    if (!c)
        return E_NOMEM;
    text = (struct slice){source ? source : "", source ? n : 0};
    c->tok = m->tok;
    rc = chat_open(&c->c, name, text, m->tok, e);
    if (rc < 0) {
        rill_chat_close(c);
        return rc;
    }
    *out = c;
    return 0;
}

void rill_chat_close(struct rill_chat *c)
{
    if (c)
        chat_close(c->c);
    mem_free(c);
}

struct chat *rill_chat_text(struct rill_chat *c)
{
    return c->c;
}

const char *rill_chat_stop(const struct rill_chat *c)
{
    return chat_stop(c->c);
}

void rill_prompt_free(struct rill_prompt *p)
{
    mem_free(p->text);
    mem_free(p->ids);
    *p = (struct rill_prompt){0};
}

/* The request is taken. */
static int prompt(const struct rill_chat *c, json_t *take, struct rill_prompt *out, struct err *e)
{
    struct jinja_text t = {0};
    struct tok_ids ids = {0};
    int rc = chat_render(c->c, take, (int64_t)time(NULL), &t, e);

    if (rc == 0)
        rc = chat_encode(c->c, &t, &ids, e);
    if (rc == 0) {
        *out = (struct rill_prompt){t.text.p, t.text.n, ids.id, ids.n};
        t.text = (struct buf){0};
        ids = (struct tok_ids){0};
    }
    jinja_text_fini(&t);
    tok_ids_fini(&ids);
    json_decref(take);
    return rc;
}

int rill_chat_prompt(const struct rill_chat *c, const char *json, size_t n, struct rill_prompt *out,
                     struct err *e)
{
    json_error_t je;
    json_t *j = json_loadb(json, n, JSON_ALLOW_NUL, &je);

    *out = (struct rill_prompt){0};
    if (!j)
        return err_set(e, E_FORMAT, "line %d, column %d: %.200s", je.line, je.column, je.text);
    if (json_is_array(j)) {
        json_t *list = j;

        j = json_pack("{so}", "messages", list);
        if (!j)
            return err_nomem(e, n);
    }
    return prompt(c, j, out, e);
}

/* -- constraints on tool calls --------------------------------------------------------------- */

/* The schema that response_format asks for; a new reference, or NULL. */
static json_t *answer_of(const json_t *format)
{
    const char *type = json_string_value(json_object_get(format, "type"));
    const json_t *named = json_object_get(format, "json_schema");
    json_t *schema = json_object_get(named ? named : format, "schema");

    if (!type || strcmp(type, "text") == 0)
        return NULL;
    return schema ? json_incref(schema) : json_pack("{ss}", "type", "object");
}

static int tools_of(struct rill_constraint **out, const struct con_tools *in, const json_t *request,
                    struct err *e)
{
    const json_t *parallel = json_object_get(request, "parallel_tool_calls");
    json_t *only = NULL, *answer = answer_of(json_object_get(request, "response_format"));
    struct con_tools t = *in;
    struct con *c = NULL;
    int rc = con_choice_parse(&t.choice, &only, json_object_get(request, "tool_choice"), e);

    t.tools = json_object_get(request, "tools");
    t.only = only;
    t.answer = answer;
    t.parallel = !json_is_false(parallel);
    if (rc == 0 && (!t.tools || json_is_null(t.tools) || json_array_size(t.tools) == 0))
        rc = t.choice == CON_REQUIRED
                 ? err_set(e, E_FORMAT, "tool_choice asks for a call, but there are no tools")
                 : 0;
    else if (rc == 0 && !t.format)
        rc = err_set(e, E_UNSUPPORTED, "the chat template knows no tools: name a tool-call format");
    else if (rc == 0)
        rc = con_tools(&c, &t, e);
    json_decref(answer);
    json_decref(only);
    *out = (struct rill_constraint *)c;
    return rc;
}

int rill_chat_tools(struct rill_constraint **out, const struct rill_chat *c, const char *format,
                    const char *json, size_t n, const struct rill_prompt *p, struct err *e)
{
    struct slice prompt = {p ? p->text : "", p ? p->n_text : 0};
    struct con_tools t = {
        .format = chat_calls(c->c), .reasoning = chat_reasoning(c->c), .tok = c->tok};
    json_error_t je;
    json_t *j;
    int rc;

    *out = NULL;
    if (format && !(t.format = toolcall_find(format, e)))
        return E_USAGE;
    j = json_loadb(json, n, JSON_ALLOW_NUL, &je);
    if (!j)
        return err_set(e, E_FORMAT, "line %d, column %d: %.200s", je.line, je.column, je.text);
    t.in_reasoning = reasoning_is_open(t.reasoning, prompt);
    rc = tools_of(out, &t, j, e);
    json_decref(j);
    return rc;
}
