/* chat_fit.c - looks at the messages of a request, and brings them into the form a template wants.
 */
#include "chat_in.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "text/toolcall.h"

/* Finds the calls that were made, to go with their results. */
struct fit {
    const struct chat *c;
    json_t *out;   // [messages]
    json_t *calls; // id: name of the function
    size_t n_calls, n_results;
    size_t at; // index of the message
    struct err *e;
};

static int wrong(const struct fit *f, const char *what, const char *detail)
{
    return err_set(f->e, E_FORMAT, "messages[%zu]: %s%.200s", f->at, what, detail);
}

static int nomem(const struct fit *f)
{
    return err_nomem(f->e, sizeof(json_t));
}

/* A role that the template spells in quotes is one that it knows. */
static bool known_role(const struct chat *c, const char *role)
{
    static const char *const roles[] = {"system", "developer", "user", "assistant", "tool"};
    char quoted[2][40];

    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (strcmp(role, roles[i]) == 0)
            return true;
    if (!*role || strlen(role) > 32)
        return false;
    for (const char *p = role; *p; p++)
        if (!((*p | 32) >= 'a' && (*p | 32) <= 'z') && *p != '_' && *p != '-')
            return false;
    snprintf(quoted[0], sizeof quoted[0], "'%s'", role);
    snprintf(quoted[1], sizeof quoted[1], "\"%s\"", role);
    return jinja_spells(c->t, quoted[0]) || jinja_spells(c->t, quoted[1]);
}

/* -- content -- */

static const char *part_text(const json_t *part)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    const json_t *text = json_object_get(part, "text");

    if (type && strcmp(type, "text") != 0 && strcmp(type, "input_text") != 0 &&
        strcmp(type, "output_text") != 0)
        return NULL;
    return json_string_value(text);
}

static int parts_text(const struct fit *f, const json_t *parts, struct buf *b)
{
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i);
        const char *type = json_string_value(json_object_get(part, "type"));
        const char *text = part_text(part);

        if (!text && type && strcmp(type, "text") != 0)
            return err_set(f->e, E_UNSUPPORTED,
                           "messages[%zu]: content[%zu] is of type '%.40s'; only text is taken",
                           f->at, i, type);
        if (!text)
            return err_set(f->e, E_FORMAT, "messages[%zu]: content[%zu] has no text", f->at, i);
        if (i)
            buf_byte(b, '\n');
        buf_add(b, text, json_string_length(json_object_get(part, "text")));
    }
    return b->bad ? nomem(f) : 0;
}

/* Content in parts stays so where the template takes that; otherwise it is joined by newlines. */
static int fit_content(const struct fit *f, json_t *m)
{
    const json_t *content = json_object_get(m, "content");
    json_t *to = NULL;
    struct buf b = {0};
    int rc = 0;

    if (!content || json_is_null(content)) {
        if (json_object_get(m, "tool_calls"))
            return json_object_set_new(m, "content",
                                       f->c->null_content ? json_null() : json_string("")) < 0
                       ? nomem(f)
                       : 0;
        if (json_object_get(m, "reasoning_content"))
            return json_object_set_new(m, "content", json_string("")) < 0 ? nomem(f) : 0;
        return wrong(f, "it has no content", "");
    }
    if (json_is_array(content)) {
        rc = parts_text(f, content, &b);
        if (rc == 0 && !f->c->takes_parts)
            to = json_stringn(b.p ? b.p : "", b.n);
    } else if (!json_is_string(content)) {
        return wrong(f, "content must be a string, null or a list of parts", "");
    } else if (f->c->wants_parts) {
        to = json_pack("[{sssO}]", "type", "text", "text", content);
    }
    buf_fini(&b);
    if (rc == 0 && to && json_object_set_new(m, "content", to) < 0)
        rc = nomem(f);
    return rc;
}

/* -- tool calls and their results -- */

static int fit_arguments(const struct fit *f, json_t *fn)
{
    const json_t *a = json_object_get(fn, "arguments");
    json_error_t je;
    json_t *to = NULL;
    char *text;

    if (!a) {
        to = f->c->text_arguments ? json_string("{}") : json_object();
    } else if (json_is_string(a)) {
        const char *s = json_string_value(a);
        bool blank = s[strspn(s, " \t\r\n")] == 0; // a call of a function without parameters

        to = blank ? json_object() : json_loads(s, JSON_ALLOW_NUL, &je);
        if (!to)
            return wrong(f, "the arguments of a tool call are not JSON: ", je.text);
        if (!json_is_object(to)) {
            json_decref(to);
            return wrong(f, "the arguments of a tool call are no JSON object", "");
        }
        if (f->c->text_arguments && !blank) {
            json_decref(to); // as they were written
            return 0;
        }
    } else if (!json_is_object(a)) {
        return wrong(f, "the arguments of a tool call are no JSON object", "");
    }
    if (f->c->text_arguments && (!to || json_is_object(to))) {
        text = json_dumps(to ? to : a, 0);
        json_decref(to);
        to = text ? json_string(text) : NULL;
        free(text);
        if (!to)
            return nomem(f);
    }
    return to && json_object_set_new(fn, "arguments", to) < 0 ? nomem(f) : 0;
}

static int fit_calls(struct fit *f, json_t *m)
{
    const json_t *calls = json_object_get(m, "tool_calls");

    if (json_is_null(calls) || (json_is_array(calls) && json_array_size(calls) == 0)) {
        json_object_del(m, "tool_calls");
        return 0;
    }
    if (!json_is_array(calls))
        return wrong(f, "tool_calls must be a list", "");
    for (size_t i = 0; i < json_array_size(calls); i++) {
        json_t *call = json_array_get(calls, i), *fn = json_object_get(call, "function");
        const char *name = json_string_value(json_object_get(fn, "name"));
        const char *id = json_string_value(json_object_get(call, "id"));
        int rc;

        if (!name || !*name)
            return wrong(f, "a tool call names no function", "");
        if (!json_object_get(call, "type") &&
            json_object_set_new(call, "type", json_string("function")) < 0)
            return nomem(f);
        if ((rc = fit_arguments(f, fn)) < 0)
            return rc;
        if (id && json_object_set_new(f->calls, id, json_string(name)) < 0)
            return nomem(f);
        f->n_calls++;
    }
    return 0;
}

/* A result belongs to a call made before it; templates want the name of its function, too. */
static int fit_result(struct fit *f, json_t *m)
{
    const char *id = json_string_value(json_object_get(m, "tool_call_id"));
    json_t *name = id ? json_object_get(f->calls, id) : NULL;

    if (id && !name)
        return wrong(f, "a tool result without a call: no call has the id ", id);
    if (!id && f->n_results >= f->n_calls)
        return wrong(f, "a tool result without a call", "");
    f->n_results++;
    if (name && !json_object_get(m, "name") && json_object_set(m, "name", name) < 0)
        return nomem(f);
    return 0;
}

/* Templates know the reasoning of a turn by one of several names. */
static int fit_reasoning(const struct fit *f, json_t *m)
{
    static const char *const names[] = {"reasoning_content", "reasoning", "thinking"};
    json_t *text = NULL;

    for (size_t i = 0; i < ARRAY_LEN(names) && !text; i++) {
        json_t *v = json_object_get(m, names[i]);

        text = json_is_string(v) ? v : NULL;
    }
    if (!text)
        return 0;
    json_incref(text);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (!json_is_string(json_object_get(m, names[i])) &&
            json_object_set(m, names[i], text) < 0) {
            json_decref(text);
            return nomem(f);
        }
    json_decref(text);
    return 0;
}

/* -- messages -- */

static int fit_one(struct fit *f, json_t *m)
{
    const char *role = json_string_value(json_object_get(m, "role"));
    int rc = 0;

    if (!json_is_object(m))
        return wrong(f, "it is no object", "");
    if (!role)
        return wrong(f, "it has no role", "");
    if (!known_role(f->c, role) || json_string_length(json_object_get(m, "role")) != strlen(role))
        return wrong(f, "unknown role ", role);
    if (strcmp(role, "developer") == 0 && !jinja_spells(f->c->t, "developer")) {
        role = "system"; // what it pointed to goes with the old value
        if (json_object_set_new(m, "role", json_string(role)) < 0)
            return nomem(f);
    }
    if (json_object_get(m, "tool_calls"))
        rc = strcmp(role, "assistant") == 0
                 ? fit_calls(f, m)
                 : wrong(f, "only the assistant makes tool calls, not ", role);
    if (rc == 0 && strcmp(role, "tool") == 0)
        rc = fit_result(f, m);
    if (rc == 0)
        rc = fit_reasoning(f, m);
    return rc < 0 ? rc : fit_content(f, m);
}

/* The text of a fitted message's content. */
static struct slice text_of(const json_t *m)
{
    const json_t *c = json_object_get(m, "content");

    if (json_is_array(c))
        c = json_object_get(json_array_get(c, 0), "text");
    return json_is_string(c) ? (struct slice){json_string_value(c), json_string_length(c)}
                             : (struct slice){"", 0};
}

static int set_text(const struct fit *f, json_t *m, struct slice s)
{
    json_t *c = json_object_get(m, "content");
    json_t *text = json_stringn(s.p, s.n);

    if (json_is_array(c) && json_array_size(c))
        return json_object_set_new(json_array_get(c, 0), "text", text) < 0 ? nomem(f) : 0;
    return json_object_set_new(m, "content", text) < 0 ? nomem(f) : 0;
}

/* System text in front of the next user message; a system message that none follows becomes one. */
static int merge_system(struct fit *f)
{
    json_t *held = NULL;
    int rc = 0;

    for (size_t i = 0; i < json_array_size(f->out) && rc == 0;) {
        json_t *m = json_array_get(f->out, i);
        const char *role = json_string_value(json_object_get(m, "role"));
        struct buf b = {0};

        if (held && (strcmp(role, "user") == 0 || strcmp(role, "system") == 0)) {
            buf_slice(&b, text_of(held));
            buf_byte(&b, '\n');
            buf_slice(&b, text_of(m));
            rc = b.bad ? nomem(f) : set_text(f, m, buf_view(&b));
            buf_fini(&b);
            json_decref(held);
            held = NULL;
        }
        if (rc == 0 && strcmp(role, "system") == 0) {
            held = json_incref(m);
            json_array_remove(f->out, i);
        } else {
            i++;
        }
    }
    if (rc == 0 && held &&
        (json_object_set_new(held, "role", json_string("user")) < 0 ||
         json_array_append(f->out, held) < 0))
        rc = nomem(f);
    json_decref(held);
    return rc;
}

/* -- tools in the text, for templates that know none -- */

/* The system message tells of the tools, behind what else it says. */
static int tell_of_tools(struct fit *f, const json_t *tools)
{
    json_t *first = json_array_get(f->out, 0);
    const char *role = json_string_value(json_object_get(first, "role"));
    bool has = role && strcmp(role, "system") == 0;
    struct buf b = {0};
    int rc;

    if (json_array_size(tools) == 0)
        return 0;
    if (has) {
        buf_slice(&b, text_of(first));
        buf_str(&b, "\n\n");
    }
    rc = toolcall_instructions(tools, &b, f->e);
    if (rc == 0 && !has) {
        first = f->c->wants_parts ? json_pack("{sss[{ssss}]}", "role", "system", "content", "type",
                                              "text", "text", "")
                                  : json_pack("{ssss}", "role", "system", "content", "");
        rc = first && json_array_insert_new(f->out, 0, first) == 0 ? 0 : nomem(f);
    }
    rc = rc < 0 ? rc : set_text(f, first, buf_view(&b));
    buf_fini(&b);
    return rc;
}

/* Calls become what the model wrote to make them. */
static int write_calls(struct fit *f, json_t *m)
{
    const json_t *calls = json_object_get(m, "tool_calls");
    struct buf b = {0};
    size_t n = json_array_size(calls);
    struct toolcall_call *v = mem_array(n, sizeof *v, f->e);
    int rc = v ? 0 : E_NOMEM;

    for (size_t i = 0; i < n && rc == 0; i++) {
        const json_t *fn = json_object_get(json_array_get(calls, i), "function");

        v[i] =
            (struct toolcall_call){.name = slice_of(json_string_value(json_object_get(fn, "name"))),
                                   .arguments = json_object_get(fn, "arguments")};
    }
    buf_slice(&b, text_of(m));
    if (b.n)
        buf_byte(&b, '\n');
    if (rc == 0)
        rc = toolcall_write(toolcall_find("generic", f->e), v, n, &b, f->e);
    rc = rc < 0 ? rc : set_text(f, m, buf_view(&b));
    json_object_del(m, "tool_calls");
    mem_free(v);
    buf_fini(&b);
    return rc;
}

/* A result becomes the user's message, or a part of the one of the result before it. */
static int write_result(struct fit *f, json_t *m, json_t *before)
{
    const char *name = json_string_value(json_object_get(m, "name"));
    json_t *to = before ? before : m;
    struct buf b = {0};
    int rc;

    if (before) {
        buf_slice(&b, text_of(before));
        buf_str(&b, "\n\n");
    }
    buf_printf(&b, "Result of %.128s:\n", name ? name : "the call");
    buf_slice(&b, text_of(m));
    rc = b.bad ? nomem(f) : set_text(f, to, buf_view(&b));
    if (rc == 0 && !before && json_object_set_new(m, "role", json_string("user")) < 0)
        rc = nomem(f);
    buf_fini(&b);
    return rc;
}

static int tools_as_text(struct fit *f, const json_t *tools)
{
    json_t *before = NULL; // the message that holds results
    int rc = tell_of_tools(f, tools);

    for (size_t i = 0; i < json_array_size(f->out) && rc == 0;) {
        json_t *m = json_array_get(f->out, i);
        const char *role = json_string_value(json_object_get(m, "role"));
        bool result = strcmp(role, "tool") == 0;

        if (result)
            rc = write_result(f, m, before);
        else if (json_object_get(m, "tool_calls"))
            rc = write_calls(f, m);
        if (result && before) {
            json_array_remove(f->out, i);
            continue;
        }
        before = result ? m : NULL;
        i++;
    }
    return rc;
}

int chat_fit(const struct chat *c, const json_t *messages, const json_t *tools, json_t **out,
             struct err *e)
{
    struct fit f = {.c = c, .e = e};
    int rc = 0;

    *out = NULL;
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return err_set(e, E_FORMAT, "messages must be a list of at least one message");
    f.out = json_deep_copy(messages);
    f.calls = json_object();
    if (!f.out || !f.calls)
        rc = nomem(&f);
    for (; rc == 0 && f.at < json_array_size(f.out); f.at++)
        rc = fit_one(&f, json_array_get(f.out, f.at));
    if (rc == 0 && c->tools_in_text)
        rc = tools_as_text(&f, tools);
    if (rc == 0 && !c->shows_system)
        rc = merge_system(&f);
    json_decref(f.calls);
    if (rc < 0) {
        json_decref(f.out);
        return rc;
    }
    *out = f.out;
    return 0;
}

int chat_check_tools(const struct chat *c, const json_t *tools, struct err *e)
{
    if (!tools || json_is_null(tools) || (json_is_array(tools) && json_array_size(tools) == 0))
        return 0;
    if (!json_is_array(tools))
        return err_set(e, E_FORMAT, "tools must be a list");
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *fn = json_object_get(json_array_get(tools, i), "function");

        if (!json_is_string(json_object_get(fn, "name")))
            return err_set(e, E_FORMAT, "tools[%zu]: it names no function", i);
    }
    if (!c->knows_tools && !c->tools_in_text)
        return err_set(e, E_UNSUPPORTED,
                       "the chat template knows no tools (--tool-format generic asks for calls in "
                       "the system message)");
    return 0;
}
