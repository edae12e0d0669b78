/* api_messages.c - see api_messages.h. */
#include "tools/lib/api_messages.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tools/lib/api_fields.h"
#include "tools/lib/js.h"

/* -- requests: what is said -- */

/* A block that tells of billing changes with every request: with it no prompt would begin like the
 * one before it. */
static bool is_noise(const json_t *text)
{
    const char *s = json_string_value(text);

    return s && strncmp(s, "x-anthropic-", 12) == 0;
}

static int add_text(struct buf *b, const json_t *block, const char *where, struct err *e)
{
    const json_t *text = json_object_get(block, "text");

    if (!js_type_is(block, "text") || !json_is_string(text))
        return err_set(e, E_UNSUPPORTED, "%s: a block of type '%.40s' is not supported", where,
                       js_str(block, "type") ? js_str(block, "type") : "?");
    if (b->n)
        buf_byte(b, '\n');
    buf_add(b, json_string_value(text), json_string_length(text));
    return 0;
}

/* A string, or the texts of blocks. */
static int join_text(struct buf *b, const json_t *v, const char *where, bool system, struct err *e)
{
    const json_t *block;
    size_t i;
    int rc = 0;

    if (json_is_string(v)) {
        if (!system || !is_noise(v))
            buf_add(b, json_string_value(v), json_string_length(v));
        return 0;
    }
    if (!json_is_array(v))
        return err_set(e, E_RANGE, "%s: must be a string or a list of blocks", where);
    json_array_foreach(v, i,
                       block) if (rc == 0 && !(system && is_noise(json_object_get(block, "text"))))
        rc = add_text(b, block, where, e);
    return rc;
}

static int add_system(json_t *list, const json_t *body, struct err *e)
{
    const json_t *system = json_object_get(body, "system");
    struct buf b = {0};
    int rc;

    if (!system || json_is_null(system))
        return 0;
    rc = join_text(&b, system, "system", true, e);
    if (rc == 0 && b.n)
        rc = js_append(list, json_pack("{ssso}", "role", "system", "content", js_text(&b)), e);
    buf_fini(&b);
    return rc;
}

/* The results of tools come in front of what the user says with them. */
static int add_result(json_t *list, const json_t *block, struct err *e)
{
    const json_t *content = json_object_get(block, "content");
    struct buf b = {0};
    int rc =
        content && !json_is_null(content) ? join_text(&b, content, "tool_result", false, e) : 0;

    if (rc == 0)
        rc = js_append(list,
                       json_pack("{sssOso}", "role", "tool", "tool_call_id",
                                 json_object_get(block, "tool_use_id"), "content", js_text(&b)),
                       e);
    buf_fini(&b);
    return rc;
}

static int add_user(json_t *list, const json_t *content, struct err *e)
{
    const json_t *block;
    struct buf b = {0};
    size_t i;
    int rc = 0;
    bool any = false;

    if (json_is_string(content))
        return js_append(list, json_pack("{sssO}", "role", "user", "content", content), e);
    if (!json_is_array(content))
        return err_set(e, E_RANGE, "messages: content must be a string or a list of blocks");
    json_array_foreach(content, i, block)
    {
        if (rc == 0 && js_type_is(block, "tool_result")) {
            rc = json_is_string(json_object_get(block, "tool_use_id"))
                     ? add_result(list, block, e)
                     : err_set(e, E_RANGE, "messages: a tool_result without a tool_use_id");
        } else if (rc == 0) {
            rc = add_text(&b, block, "messages", e);
            any = true;
        }
    }
    if (rc == 0 && any)
        rc = js_append(list, json_pack("{ssso}", "role", "user", "content", js_text(&b)), e);
    buf_fini(&b);
    return rc;
}

static int add_use(json_t *calls, const json_t *block, struct err *e)
{
    const json_t *input = json_object_get(block, "input");
    char *args = json_dumps(input, JSON_ENCODE_ANY);
    int rc = 0;

    if (!json_is_object(input) || !js_str(block, "id") || !js_str(block, "name"))
        rc = err_set(e, E_RANGE, "messages: a tool_use needs id, name and input");
    else
        rc = js_append(calls,
                       json_pack("{sOsss{sOss}}", "id", json_object_get(block, "id"), "type",
                                 "function", "function", "name", json_object_get(block, "name"),
                                 "arguments", args ? args : "{}"),
                       e);
    free(args); // jansson's
    return rc;
}

static int add_assistant(json_t *list, const json_t *content, struct err *e)
{
    json_t *m = json_pack("{ss}", "role", "assistant"), *calls = json_array();
    struct buf text = {0}, thought = {0};
    const json_t *block;
    size_t i;
    int rc = m && calls ? 0 : err_nomem(e, 0);

    if (rc == 0 && json_is_string(content))
        buf_add(&text, json_string_value(content), json_string_length(content));
    else if (rc == 0 && !json_is_array(content))
        rc = err_set(e, E_RANGE, "messages: content must be a string or a list of blocks");
    json_array_foreach(content, i, block)
    {
        const json_t *thinking = json_object_get(block, "thinking");

        if (rc < 0)
            break;
        if (js_type_is(block, "thinking"))
            buf_add(&thought, json_is_string(thinking) ? json_string_value(thinking) : "",
                    json_string_length(thinking));
        else if (js_type_is(block, "tool_use"))
            rc = add_use(calls, block, e);
        else if (!js_type_is(block, "redacted_thinking"))
            rc = add_text(&text, block, "messages", e);
    }
    rc = rc < 0 ? rc : js_set(m, "content", js_text(&text), e);
    if (rc == 0 && thought.n)
        rc = js_set(m, "reasoning_content", js_text(&thought), e);
    if (rc == 0 && json_array_size(calls))
        rc = js_set(m, "tool_calls", json_incref(calls), e);
    rc = rc < 0 ? rc : js_append(list, json_incref(m), e);
    buf_fini(&text);
    buf_fini(&thought);
    json_decref(calls);
    json_decref(m);
    return rc;
}

/* A conversation that ends with what the assistant says is one that it goes on with. */
static int go_on(json_t *out, const json_t *list, struct err *e)
{
    const json_t *last = json_array_get(list, json_array_size(list) - 1);
    const char *role = js_str(last, "role"), *content = js_str(last, "content");

    if (!role || strcmp(role, "assistant") != 0 || !content || !*content ||
        json_object_get(last, "tool_calls") || json_object_get(out, "add_generation_prompt"))
        return 0;
    return js_set(out, "continue_final_message", json_true(), e);
}

static int add_messages(json_t *out, const json_t *body, struct err *e)
{
    const json_t *given = json_object_get(body, "messages"), *m;
    json_t *list = json_array();
    size_t i;
    int rc = js_set(out, "messages", list, e);

    rc = rc < 0 ? rc : add_system(list, body, e);
    if (rc == 0 && !json_is_array(given))
        rc = err_set(e, E_RANGE, "messages: must be a list");
    json_array_foreach(given, i, m)
    {
        const char *role = js_str(m, "role");
        const json_t *content = json_object_get(m, "content");

        if (rc < 0)
            break;
        if (role && strcmp(role, "assistant") == 0)
            rc = add_assistant(list, content, e);
        else if (role && strcmp(role, "user") == 0)
            rc = add_user(list, content, e);
        else
            rc = err_set(e, E_RANGE, "messages: a role must be user or assistant");
    }
    return rc < 0 ? rc : go_on(out, list, e);
}

/* -- requests: tools and settings -- */

static int add_tools(json_t *out, const json_t *tools, struct api_request *r, struct err *e)
{
    json_t *list = json_array();
    const json_t *t;
    size_t i;
    int rc = list ? 0 : err_nomem(e, 0);

    json_array_foreach(tools, i, t)
    {
        const char *type = js_str(t, "type");
        json_t *f;

        if (rc < 0)
            break;
        if (type && strcmp(type, "custom") != 0) { // what only their servers can do
            api_warn(r, "tool of type '%s' is not there: left out", type);
            continue;
        }
        if (!js_str(t, "name")) {
            rc = err_set(e, E_RANGE, "tools: entry %zu has no name", i);
            break;
        }
        f = json_pack("{sO}", "name", json_object_get(t, "name"));
        if (f && json_object_get(t, "description"))
            json_object_set(f, "description", json_object_get(t, "description"));
        if (f && json_object_get(t, "input_schema"))
            json_object_set(f, "parameters", json_object_get(t, "input_schema"));
        rc = js_append(list, json_pack("{ssso}", "type", "function", "function", f), e);
    }
    if (rc == 0 && json_array_size(list))
        rc = js_set(out, "tools", json_incref(list), e);
    json_decref(list);
    return rc;
}

static int add_choice(json_t *out, const json_t *v, struct err *e)
{
    int rc = 0;

    if (js_type_is(v, "any"))
        rc = js_set(out, "tool_choice", json_string("required"), e);
    else if (js_type_is(v, "tool") && js_str(v, "name"))
        rc = js_set(out, "tool_choice",
                    json_pack("{sss{sO}}", "type", "function", "function", "name",
                              json_object_get(v, "name")),
                    e);
    else if (js_type_is(v, "none") || js_type_is(v, "auto"))
        rc = js_set(out, "tool_choice", json_string(js_str(v, "type")), e);
    else
        rc = err_set(e, E_RANGE, "tool_choice: its type must be auto, any, tool or none");
    if (rc == 0 && json_is_true(json_object_get(v, "disable_parallel_tool_use")))
        rc = js_set(out, "parallel_tool_calls", json_false(), e);
    return rc;
}

static int translate(json_t *out, const json_t *body, struct api_request *noted, struct err *e)
{
    const json_t *choice = json_object_get(body, "tool_choice");
    const json_t *thinking = json_object_get(body, "thinking");
    int rc;

    noted->param = "messages";
    rc = add_messages(out, body, e);
    noted->param = rc < 0 ? noted->param : "tools";
    rc = rc < 0 ? rc : add_tools(out, json_object_get(body, "tools"), noted, e);
    noted->param = rc < 0 ? noted->param : "tool_choice";
    if (rc == 0 && json_is_object(choice))
        rc = add_choice(out, choice, e);
    if (rc == 0 && json_is_object(thinking))
        rc = js_set(out, "enable_thinking", json_boolean(!js_type_is(thinking, "disabled")), e);
    return rc;
}

int messages_parse(struct api_request *r, const struct api_opts *o, bool count, struct slice body,
                   struct err *e)
{
    struct err why = {0};
    int rc = api_parse_form(r, o, API_MESSAGES, translate, body, &why);

    if (rc == E_CONTEXT)
        return err_set(e, rc, "prompt is too long: %zu tokens > %d maximum", r->prompt[0].n,
                       o->n_ctx);
    if (rc < 0)
        return err_set(e, rc, "%s", why.text);
    if (!count && !json_object_get(r->json, "max_tokens")) {
        r->param = "max_tokens";
        return err_set(e, E_RANGE, "max_tokens: a whole number from 1 on is required");
    }
    return 0;
}

/* -- replies -- */

/* The request's stop string that ended an answer, or NULL: behind its own come the template's. */
static const struct rill_stop *stop_of(const struct api_request *r, const struct api_answer *a)
{
    const json_t *stop = json_object_get(r->json, "stop");
    const size_t own = json_is_array(stop) ? json_array_size(stop) : json_is_string(stop);

    return a->stop > 0 && (size_t)a->stop <= own ? &r->stop[a->stop - 1] : NULL;
}

static void put_stop(struct buf *b, const struct api_request *r, const struct api_answer *a)
{
    const struct rill_stop *which = NULL;
    const char *why = "end_turn";

    if (a->finish == RILL_CONTEXT)
        why = "model_context_window_exceeded";
    else if (a->finish != RILL_STOP)
        why = "max_tokens";
    else if (a->n_calls > 0)
        why = "tool_use";
    else if ((which = stop_of(r, a)) != NULL)
        why = "stop_sequence";
    buf_printf(b, "\"stop_reason\":\"%s\",\"stop_sequence\":", why);
    if (which)
        buf_json(b, (struct slice){which->p, which->n});
    else
        buf_str(b, "null");
}

static void put_usage(struct buf *b, const struct api_request *r, const struct api_answer *a)
{
    size_t cached = a ? (size_t)a->cached : 0;

    buf_printf(b,
               "\"usage\":{\"input_tokens\":%zu,\"cache_creation_input_tokens\":0,"
               "\"cache_read_input_tokens\":%zu,\"output_tokens\":%d}",
               r->prompt[0].n - cached, cached, a ? a->n_drawn : 0);
}

static void open_message(struct buf *b, const struct api_opts *o, struct slice id)
{
    buf_str(b, "{\"id\":");
    buf_json(b, id);
    buf_str(b, ",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    buf_json(b, slice_of(o->name));
    buf_str(b, ",\"content\":[");
}

static void put_calls(struct buf *b, const struct api_answer *a, bool comma)
{
    struct buf list = {0};
    json_t *calls, *c;
    size_t i;

    buf_byte(&list, '[');
    buf_slice(&list, buf_view(&a->calls));
    buf_byte(&list, ']');
    calls = json_loadb(list.p, list.n, JSON_ALLOW_NUL, NULL);
    json_array_foreach(calls, i, c)
    {
        const json_t *f = json_object_get(c, "function");
        const char *args = js_str(f, "arguments");
        json_t *input = args ? json_loads(args, 0, NULL) : NULL;

        buf_str(b,
                comma || i ? ",{\"type\":\"tool_use\",\"id\":" : "{\"type\":\"tool_use\",\"id\":");
        buf_json(b, slice_of(js_str(c, "id")));
        buf_str(b, ",\"name\":");
        buf_json(b, slice_of(js_str(f, "name")));
        buf_str(b, ",\"input\":");
        buf_str(b, json_is_object(input) ? args : "{}");
        buf_byte(b, '}');
        json_decref(input);
    }
    json_decref(calls);
    buf_fini(&list);
}

void messages_reply(struct buf *b, const struct api_request *r, const struct api_opts *o,
                    struct slice id, const struct api_answer *a)
{
    bool any = false;

    open_message(b, o, id);
    if (a->reasoning.n) {
        buf_str(b, "{\"type\":\"thinking\",\"thinking\":");
        buf_json(b, buf_view(&a->reasoning));
        buf_str(b, ",\"signature\":\"none\"}");
        any = true;
    }
    if (a->text.n || !a->n_calls) {
        buf_str(b, any ? ",{\"type\":\"text\",\"text\":" : "{\"type\":\"text\",\"text\":");
        buf_json(b, buf_view(&a->text));
        buf_byte(b, '}');
        any = true;
    }
    if (a->n_calls)
        put_calls(b, a, any);
    buf_str(b, "],");
    put_stop(b, r, a);
    buf_byte(b, ',');
    put_usage(b, r, a);
    api_put_warnings(b, r, a, 1);
    buf_byte(b, '}');
}

void messages_error(struct buf *b, const struct api_status *s, const char *message,
                    const char *request_id)
{
    static const struct {
        int status;
        const char *type;
    } types[] = {{401, "authentication_error"}, {403, "permission_error"}, {404, "not_found_error"},
                 {413, "request_too_large"},    {429, "rate_limit_error"}, {500, "api_error"},
                 {503, "overloaded_error"}};
    const char *type = "invalid_request_error";

    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (types[i].status == s->status)
            type = types[i].type;
    buf_printf(b, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", type);
    buf_json(b, slice_of(message));
    buf_str(b, "},\"request_id\":");
    buf_json(b, slice_of(request_id));
    buf_byte(b, '}');
}

/* -- streams -- */

void messages_begin(struct messages_stream *m, struct buf *b, const struct api_request *r,
                    const struct api_opts *o, struct slice id)
{
    *m = (struct messages_stream){.open = -1};
    buf_str(b, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":");
    open_message(b, o, id);
    buf_str(b, "],\"stop_reason\":null,\"stop_sequence\":null,");
    put_usage(b, r, NULL);
    api_put_warnings(b, r, NULL, 0);
    buf_str(b, "}}\n\n");
}

static void close_block(struct messages_stream *m, struct buf *b)
{
    if (m->open < 0)
        return;
    if (m->open == TC_REASON)
        buf_printf(b,
                   "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":"
                   "%d,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"none\"}}\n\n",
                   m->index);
    buf_printf(b,
               "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":%d}"
               "\n\n",
               m->index++);
    m->open = -1;
}

static void open_block(struct messages_stream *m, struct buf *b, const struct toolcall_event *ev)
{
    if (m->open == (int)ev->kind && ev->kind != TC_BEGIN)
        return;
    close_block(m, b);
    m->open = (int)ev->kind;
    buf_printf(b,
               "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":%d,"
               "\"content_block\":",
               m->index);
    if (ev->kind == TC_TEXT) {
        buf_str(b, "{\"type\":\"text\",\"text\":\"\"}");
    } else if (ev->kind == TC_REASON) {
        buf_str(b, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
    } else {
        buf_str(b, "{\"type\":\"tool_use\",\"id\":");
        buf_json(b, ev->id);
        buf_str(b, ",\"name\":");
        buf_json(b, ev->name);
        buf_str(b, ",\"input\":{}}");
    }
    buf_str(b, "}\n\n");
}

static void put_delta(const struct messages_stream *m, struct buf *b, const char *type,
                      const char *member, struct slice text)
{
    if (!text.n)
        return;
    buf_printf(b,
               "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":%d,"
               "\"delta\":{\"type\":\"%s\",\"%s\":",
               m->index, type, member);
    buf_json(b, text);
    buf_str(b, "}}\n\n");
}

static void put_piece(struct messages_stream *m, struct buf *b, const struct toolcall_event *ev)
{
    switch (ev->kind) {
    case TC_TEXT:
        open_block(m, b, ev);
        put_delta(m, b, "text_delta", "text", ev->text);
        break;
    case TC_REASON:
        open_block(m, b, ev);
        put_delta(m, b, "thinking_delta", "thinking", ev->text);
        break;
    case TC_BEGIN:
        open_block(m, b, ev);
        break;
    case TC_ARGS:
        put_delta(m, b, "input_json_delta", "partial_json", ev->text);
        break;
    case TC_END:
        close_block(m, b);
        break;
    default:
        break;
    }
}

int messages_event(struct messages_stream *m, struct buf *b, const struct api_request *r,
                   const struct api_opts *o, struct api_answer *a, const struct rill_event *ev,
                   struct err *e)
{
    const struct toolcall_event *piece;
    int rc = api_take(a, r, o, &r->prompt[0], ev, e);
    int n = rc;

    while (rc == 0 && (n = api_pieces(a, r, &piece, e)) > 0)
        for (int i = 0; i < n; i++)
            put_piece(m, b, &piece[i]);
    return n < 0 ? n : b->bad ? err_nomem(e, b->n) : 0;
}

void messages_end(struct messages_stream *m, struct buf *b, const struct api_request *r,
                  const struct api_answer *a)
{
    close_block(m, b);
    buf_str(b, "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{");
    put_stop(b, r, a);
    buf_str(b, "},");
    put_usage(b, r, a);
    buf_str(b, "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
}
