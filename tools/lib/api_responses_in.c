/* api_responses_in.c - see api_responses.h: requests. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tools/lib/api_fields.h"
#include "tools/lib/api_responses.h"
#include "tools/lib/js.h"

/* -- the conversation -- */

/* A string, or the texts of parts. */
static int join_parts(struct buf *b, const json_t *v, struct err *e)
{
    const json_t *part;
    size_t i;

    if (json_is_string(v))
        buf_add(b, json_string_value(v), json_string_length(v));
    json_array_foreach(v, i, part)
    {
        const json_t *text = json_object_get(part, "text");

        if (!json_is_string(text))
            return err_set(e, E_UNSUPPORTED, "input: a part of type '%.40s' is not supported",
                           js_str(part, "type") ? js_str(part, "type") : "?");
        if (b->n)
            buf_byte(b, '\n');
        buf_add(b, json_string_value(text), json_string_length(text));
    }
    return json_is_string(v) || json_is_array(v) || json_is_null(v) || !v
               ? 0
               : err_set(e, E_RANGE, "input: content must be a string or a list of parts");
}

/* The assistant's message that calls and reasoning belong to: the last one, or a new one. */
static json_t *assistant(json_t *list, bool fresh, struct err *e)
{
    json_t *last = json_array_get(list, json_array_size(list) - 1);
    const char *role = js_str(last, "role");

    if (!fresh && role && strcmp(role, "assistant") == 0)
        return last;
    last = json_pack("{ssss}", "role", "assistant", "content", "");
    return js_append(list, last, e) == 0 ? last : NULL;
}

static int add_message(json_t *list, const json_t *item, struct err *e)
{
    const char *role = js_str(item, "role");
    struct buf b = {0};
    json_t *m;
    int rc = join_parts(&b, json_object_get(item, "content"), e);

    if (rc == 0 && !role)
        rc = err_set(e, E_RANGE, "input: a message without a role");
    if (rc == 0 && strcmp(role, "assistant") == 0) {
        const json_t *old = json_array_get(list, json_array_size(list) - 1);

        /* reasoning that came in front of it is its own */
        m = assistant(list, !(js_str(old, "content") && !*js_str(old, "content")), e);
        rc = m ? js_set(m, "content", js_text(&b), e) : E_NOMEM;
    } else if (rc == 0) {
        rc = js_append(list, json_pack("{ssso}", "role", role, "content", js_text(&b)), e);
    }
    buf_fini(&b);
    return rc;
}

static int add_call(json_t *list, const json_t *item, struct err *e)
{
    json_t *m = assistant(list, false, e), *calls;

    if (!m)
        return E_NOMEM;
    if (!js_str(item, "call_id") || !js_str(item, "name") || !js_str(item, "arguments"))
        return err_set(e, E_RANGE, "input: a function_call needs call_id, name and arguments");
    calls = json_object_get(m, "tool_calls");
    if (!calls && (calls = json_array()) && json_object_set_new(m, "tool_calls", calls) < 0)
        return err_nomem(e, 0);
    return js_append(calls,
                     json_pack("{sOsss{sOsO}}", "id", json_object_get(item, "call_id"), "type",
                               "function", "function", "name", json_object_get(item, "name"),
                               "arguments", json_object_get(item, "arguments")),
                     e);
}

static int add_output(json_t *list, const json_t *item, struct err *e)
{
    struct buf b = {0};
    int rc = join_parts(&b, json_object_get(item, "output"), e);

    if (rc == 0 && !js_str(item, "call_id"))
        rc = err_set(e, E_RANGE, "input: a function_call_output without a call_id");
    if (rc == 0)
        rc = js_append(list,
                       json_pack("{sssOso}", "role", "tool", "tool_call_id",
                                 json_object_get(item, "call_id"), "content", js_text(&b)),
                       e);
    buf_fini(&b);
    return rc;
}

static int add_reasoning(json_t *list, const json_t *item, struct err *e)
{
    struct buf b = {0};
    json_t *m;
    int rc = join_parts(&b, json_object_get(item, "content"), e);

    if (rc == 0 && b.n) {
        m = assistant(list, true, e);
        rc = m ? js_set(m, "reasoning_content", js_text(&b), e) : E_NOMEM;
    }
    buf_fini(&b);
    return rc;
}

static int add_item(json_t *list, const json_t *item, struct api_request *r, struct err *e)
{
    const char *type = js_str(item, "type");

    if (!json_is_object(item))
        return err_set(e, E_RANGE, "input: an item is no object");
    if (!type || strcmp(type, "message") == 0)
        return add_message(list, item, e);
    if (strcmp(type, "function_call") == 0)
        return add_call(list, item, e);
    if (strcmp(type, "function_call_output") == 0)
        return add_output(list, item, e);
    if (strcmp(type, "reasoning") == 0)
        return add_reasoning(list, item, e);
    if (strcmp(type, "item_reference") == 0)
        return err_set(e, E_UNSUPPORTED,
                       "input: nothing is stored here, so items cannot be "
                       "referred to: send them");
    api_warn(r, "input item of type '%s' is not known: left out", type);
    return 0;
}

static int add_input(json_t *out, const json_t *body, struct api_request *r, struct err *e)
{
    const json_t *input = json_object_get(body, "input"), *item;
    const json_t *instructions = json_object_get(body, "instructions");
    json_t *list = json_array();
    size_t i;
    int rc = js_set(out, "messages", list, e);

    if (rc == 0 && json_is_string(instructions))
        rc = js_append(list, json_pack("{sssO}", "role", "system", "content", instructions), e);
    if (rc == 0 && json_is_string(input))
        rc = js_append(list, json_pack("{sssO}", "role", "user", "content", input), e);
    else if (rc == 0 && !json_is_array(input))
        rc = err_set(e, E_RANGE, "input: must be a string or a list of items");
    json_array_foreach(input, i, item) if (rc == 0) rc = add_item(list, item, r, e);
    return rc;
}

/* -- tools and settings -- */

static int add_tools(json_t *out, const json_t *tools, struct api_request *r, struct err *e)
{
    json_t *list = json_array();
    const json_t *t;
    size_t i;
    int rc = list ? 0 : err_nomem(e, 0);

    json_array_foreach(tools, i, t)
    {
        json_t *f;

        if (rc < 0)
            break;
        if (!js_type_is(t, "function") || !js_str(t, "name")) {
            api_warn(r, "tool of type '%s' is not there: left out",
                     js_str(t, "type") ? js_str(t, "type") : "?");
            continue;
        }
        f = json_copy((json_t *)(uintptr_t)t);
        if (f)
            json_object_del(f, "type");
        rc = js_append(list, json_pack("{ssso}", "type", "function", "function", f), e);
    }
    if (rc == 0 && json_array_size(list))
        rc = js_set(out, "tools", json_incref(list), e);
    json_decref(list);
    return rc;
}

static int add_choice(json_t *out, const json_t *v, struct err *e)
{
    if (!v || json_is_null(v) || !json_object_get(out, "tools"))
        return 0;
    if (json_is_object(v) && js_type_is(v, "function") && js_str(v, "name"))
        return js_set(out, "tool_choice",
                      json_pack("{sss{sO}}", "type", "function", "function", "name",
                                json_object_get(v, "name")),
                      e);
    return json_is_string(v) ? js_set(out, "tool_choice", json_incref((json_t *)(uintptr_t)v), e)
                             : 0;
}

/* text.format is response_format without its inner object. */
static int add_format(json_t *out, const json_t *text, struct err *e)
{
    json_t *f = json_object_get(json_object_get(text, "format"), "type")
                    ? json_object_get(text, "format")
                    : NULL;

    if (!f)
        return 0;
    if (js_type_is(f, "json_schema"))
        return js_set(out, "response_format",
                      json_pack("{sssO}", "type", "json_schema", "json_schema", f), e);
    return js_set(out, "response_format", json_incref(f), e);
}

/* What is to be told beside the answer: of all that can be named, its log-probabilities. */
static int add_include(json_t *out, const json_t *body, struct api_request *r, struct err *e)
{
    const json_t *list = json_object_get(body, "include"), *top, *v;
    size_t i;
    int rc = 0;

    r->param = "include";
    if (list && !json_is_null(list) && !json_is_array(list))
        return err_set(e, E_RANGE, "include: must be a list");
    json_array_foreach(list, i, v)
    {
        const char *what = json_string_value(v);

        if (what && strcmp(what, "message.output_text.logprobs") == 0)
            rc = js_set(out, "logprobs", json_true(), e);
        else
            api_warn(r, "including '%.60s' has no effect here", what ? what : "?");
    }
    top = json_object_get(body, "top_logprobs");
    if (rc == 0 && top && !json_is_null(top) && !(json_is_integer(top) && !json_integer_value(top)))
        rc = js_set(out, "top_logprobs", json_incref((json_t *)(uintptr_t)top), e);
    return rc;
}

static int stateless(const json_t *body, struct api_request *r, struct err *e)
{
    static const char *const names[] = {"previous_response_id", "conversation"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const json_t *v = json_object_get(body, names[i]);

        r->param = names[i];
        if (v && !json_is_null(v))
            return err_set(e, E_UNSUPPORTED,
                           "%s: nothing is stored here: send the whole conversation as input",
                           names[i]);
    }
    r->param = "background";
    if (json_is_true(json_object_get(body, "background")))
        return err_set(e, E_UNSUPPORTED, "background: nothing is stored here: ask and wait");
    return 0;
}

static int translate(json_t *out, const json_t *body, struct api_request *r, struct err *e)
{
    const json_t *effort = json_object_get(json_object_get(body, "reasoning"), "effort");
    int rc = stateless(body, r, e);

    r->param = rc < 0 ? r->param : "input";
    rc = rc < 0 ? rc : add_input(out, body, r, e);
    r->param = rc < 0 ? r->param : "tools";
    rc = rc < 0 ? rc : add_tools(out, json_object_get(body, "tools"), r, e);
    rc = rc < 0 ? rc : add_choice(out, json_object_get(body, "tool_choice"), e);
    rc = rc < 0 ? rc : add_format(out, json_object_get(body, "text"), e);
    rc = rc < 0 ? rc : add_include(out, body, r, e);
    if (rc == 0 && json_is_string(effort))
        rc = js_set(out, "reasoning_effort", json_incref((json_t *)(uintptr_t)effort), e);
    return rc;
}

/* Members of the reply that repeat the request: given, or as text where it was not. */
static void echo(struct buf *b, const json_t *body, const char *name, const char *otherwise)
{
    const json_t *v = json_object_get(body, name);
    char *text = v && !json_is_null(v) ? json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;

    buf_printf(b, ",\"%s\":", name);
    buf_str(b, text ? text : otherwise);
    free(text); // jansson's
}

/* Tools as the reply has them: strict and parameters are always there. */
static void echo_tools(struct buf *b, const json_t *tools)
{
    const json_t *t;
    bool any = false;
    size_t i;

    buf_str(b, ",\"tools\":[");
    json_array_foreach(tools, i, t)
    {
        json_t *copy = js_type_is(t, "function") ? json_copy((json_t *)(uintptr_t)t) : NULL;
        char *text;

        if (!copy)
            continue;
        if (!json_object_get(copy, "strict"))
            json_object_set_new(copy, "strict", json_null());
        if (!json_object_get(copy, "parameters"))
            json_object_set_new(copy, "parameters", json_null());
        text = json_dumps(copy, JSON_COMPACT);
        buf_str(b, any ? "," : "");
        buf_str(b, text ? text : "{}");
        free(text); // jansson's
        json_decref(copy);
        any = true;
    }
    buf_byte(b, ']');
}

static void echo_all(struct buf *b, const json_t *body, const struct api_request *r)
{
    char number[40];

    echo(b, body, "instructions", "null");
    echo(b, body, "metadata", "{}");
    echo(b, body, "max_output_tokens", "null");
    echo(b, body, "parallel_tool_calls", "true");
    echo(b, body, "reasoning", "{\"effort\":null,\"summary\":null}");
    echo(b, body, "text", "{\"format\":{\"type\":\"text\"}}");
    snprintf(number, sizeof number, "%g", (double)r->q.sampling.temperature);
    echo(b, body, "temperature", number);
    snprintf(number, sizeof number, "%g", (double)r->q.sampling.top_p);
    echo(b, body, "top_p", number);
    echo(b, body, "tool_choice", "\"auto\"");
    echo_tools(b, json_object_get(body, "tools"));
    echo(b, body, "top_logprobs", "0");
    buf_str(b, ",\"previous_response_id\":null,\"store\":false,\"truncation\":\"disabled\"");
}

int responses_parse(struct api_request *r, const struct api_opts *o, struct slice body,
                    struct err *e)
{
    int rc = api_parse_form(r, o, API_RESPONSES, translate, body, e);

    if (rc < 0 && r->param && strcmp(r->param, "messages") == 0)
        r->param = "input";
    if (rc == 0)
        echo_all(&r->repeated, r->form, r);
    return rc;
}
