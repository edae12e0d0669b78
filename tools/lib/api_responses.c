/* api_responses.c - see api_responses.h: events and replies. An answer is a list of items: what was
 * reasoned, said and called, in the order it came.
 */
#include "tools/lib/api_responses.h"

#include <stdio.h>

#include "base/mem.h"

/* -- the response object -- */

static const char *incomplete(const struct api_answer *a)
{
    return a->finish == RILL_LENGTH || a->finish == RILL_CONTEXT || a->finish == RILL_DEADLINE
               ? "max_output_tokens"
               : NULL;
}

static void put_usage(struct buf *b, const struct api_request *r, const struct api_answer *a)
{
    size_t in = r->prompt[0].n;

    buf_printf(b,
               ",\"usage\":{\"input_tokens\":%zu,\"input_tokens_details\":{\"cached_tokens\":%d,"
               "\"cache_write_tokens\":0},\"output_tokens\":%d,\"output_tokens_details\":{"
               "\"reasoning_tokens\":%d},\"total_tokens\":%zu}",
               in, a->cached, a->n_drawn, a->n_reasoning, in + (size_t)a->n_drawn);
}

/* a NULL: it has only begun. */
static void put_response(const struct responses *s, struct buf *b, const struct api_answer *a)
{
    const char *why = a ? incomplete(a) : NULL;

    buf_printf(b,
               "{\"id\":\"resp_%s\",\"object\":\"response\",\"created_at\":%lld,\"status\":", s->id,
               s->o->created);
    buf_str(b, !a ? "\"in_progress\"" : why ? "\"incomplete\"" : "\"completed\"");
    buf_str(b, ",\"error\":null,\"incomplete_details\":");
    if (why)
        buf_printf(b, "{\"reason\":\"%s\"}", why);
    else
        buf_str(b, "null");
    buf_str(b, ",\"model\":");
    buf_json(b, slice_of(s->o->name));
    buf_slice(b, buf_view(&s->r->repeated));
    buf_str(b, ",\"output\":[");
    buf_slice(b, buf_view(&s->output));
    buf_byte(b, ']');
    if (a)
        put_usage(b, s->r, a);
    if (a)
        api_put_warnings(b, s->r, a, 1);
    buf_byte(b, '}');
}

/* -- events -- */

/* Begins an event; the caller adds members that begin with a comma, then close_event. */
static void open_event(struct responses *s, struct buf *b, const char *type)
{
    buf_printf(b, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%d", type, type,
               s->sequence++);
}

static void close_event(struct buf *b)
{
    buf_str(b, "}\n\n");
}

static void response_event(struct responses *s, struct buf *b, const char *type,
                           const struct api_answer *a)
{
    open_event(s, b, type);
    buf_str(b, ",\"response\":");
    put_response(s, b, a);
    close_event(b);
}

static void item_id(const struct responses *s, struct buf *b)
{
    const char *prefix = s->open == TC_TEXT ? "msg" : s->open == TC_REASON ? "rs" : "fc";

    buf_printf(b, "\"%s_%s_%d\"", prefix, s->id, s->index);
}

static void put_logprobs(struct buf *b, struct slice list)
{
    buf_str(b, ",\"logprobs\":[");
    buf_slice(b, list);
    buf_byte(b, ']');
}

static void put_part(const struct responses *s, struct buf *b, bool done)
{
    if (s->open == TC_TEXT) {
        buf_str(b, "{\"type\":\"output_text\",\"annotations\":[]");
        put_logprobs(b, done ? buf_view(&s->logprobs) : (struct slice){"", 0});
    } else {
        buf_str(b, "{\"type\":\"reasoning_text\"");
    }
    buf_str(b, ",\"text\":");
    buf_json(b, done ? buf_view(&s->text) : (struct slice){"", 0});
    buf_byte(b, '}');
}

static void put_item(const struct responses *s, struct buf *b, bool done)
{
    const char *status = done ? "completed" : "in_progress";

    buf_str(b, "{\"id\":");
    item_id(s, b);
    buf_printf(b, ",\"status\":\"%s\",", status);
    if (s->open == TC_BEGIN) {
        buf_str(b, "\"type\":\"function_call\",");
        buf_slice(b, buf_view(&s->name));
        buf_str(b, ",\"arguments\":");
        buf_json(b, done ? buf_view(&s->text) : (struct slice){"", 0});
    } else {
        buf_str(b, s->open == TC_TEXT ? "\"type\":\"message\",\"role\":\"assistant\",\"content\":["
                                      : "\"type\":\"reasoning\",\"summary\":[],\"content\":[");
        if (done)
            put_part(s, b, true);
        buf_byte(b, ']');
    }
    buf_byte(b, '}');
}

static void item_event(struct responses *s, struct buf *b, const char *type, bool done)
{
    open_event(s, b, type);
    buf_printf(b, ",\"output_index\":%d,\"item\":", s->index);
    put_item(s, b, done);
    close_event(b);
}

/* The head of an event about what the open item holds. */
static void inner_event(struct responses *s, struct buf *b, const char *type)
{
    open_event(s, b, type);
    buf_str(b, ",\"item_id\":");
    item_id(s, b);
    buf_printf(b, ",\"output_index\":%d", s->index);
    if (s->open != TC_BEGIN)
        buf_str(b, ",\"content_index\":0");
}

static void part_event(struct responses *s, struct buf *b, const char *type, bool done)
{
    inner_event(s, b, type);
    buf_str(b, ",\"part\":");
    put_part(s, b, done);
    close_event(b);
}

static void text_event(struct responses *s, struct buf *b, const char *type, const char *member,
                       struct slice text, struct slice logprobs)
{
    inner_event(s, b, type);
    buf_printf(b, ",\"%s\":", member);
    buf_json(b, text);
    if (s->open == TC_TEXT)
        put_logprobs(b, logprobs);
    if (s->open == TC_BEGIN && member[0] == 'a') {
        buf_byte(b, ',');
        buf_slice(b, buf_view(&s->name));
    }
    close_event(b);
}

static const char *const deltas[] = {[TC_TEXT] = "response.output_text.delta",
                                     [TC_REASON] = "response.reasoning_text.delta",
                                     [TC_BEGIN] = "response.function_call_arguments.delta"};
static const char *const dones[] = {[TC_TEXT] = "response.output_text.done",
                                    [TC_REASON] = "response.reasoning_text.done",
                                    [TC_BEGIN] = "response.function_call_arguments.done"};

static void close_item(struct responses *s, struct buf *b)
{
    if (s->open < 0)
        return;
    text_event(s, b, dones[s->open], s->open == TC_BEGIN ? "arguments" : "text", buf_view(&s->text),
               buf_view(&s->logprobs));
    if (s->open != TC_BEGIN)
        part_event(s, b, "response.content_part.done", true);
    item_event(s, b, "response.output_item.done", true);
    buf_str(&s->output, s->output.n ? "," : "");
    put_item(s, &s->output, true);
    s->index++;
    s->open = -1;
}

static void open_item(struct responses *s, struct buf *b, const struct toolcall_event *ev)
{
    if (s->open == (int)ev->kind && ev->kind != TC_BEGIN)
        return;
    close_item(s, b);
    s->open = (int)ev->kind;
    buf_clear(&s->text);
    buf_clear(&s->name);
    buf_clear(&s->logprobs);
    if (ev->kind == TC_BEGIN) {
        buf_str(&s->name, "\"call_id\":");
        buf_json(&s->name, ev->id);
        buf_str(&s->name, ",\"name\":");
        buf_json(&s->name, ev->name);
    }
    item_event(s, b, "response.output_item.added", false);
    if (ev->kind != TC_BEGIN)
        part_event(s, b, "response.content_part.added", false);
}

/* The log-probabilities of a text go with it; those of what else is said are not told. */
static void take_text(struct responses *s, struct buf *b, struct buf *logprobs, struct slice text)
{
    buf_slice(&s->text, text);
    if (s->open != TC_TEXT)
        buf_clear(logprobs);
    text_event(s, b, deltas[s->open], "delta", text, buf_view(logprobs));
    if (logprobs->n && s->logprobs.n)
        buf_byte(&s->logprobs, ',');
    buf_slice(&s->logprobs, buf_view(logprobs));
    buf_clear(logprobs);
}

static void take_piece(struct responses *s, struct buf *b, struct buf *logprobs,
                       const struct toolcall_event *ev)
{
    if (ev->kind == TC_ERROR)
        return;
    if (ev->kind == TC_END) {
        close_item(s, b);
        return;
    }
    if (ev->kind != TC_ARGS)
        open_item(s, b, ev);
    if (ev->kind != TC_BEGIN && ev->text.n)
        take_text(s, b, logprobs, ev->text);
}

void responses_begin(struct responses *s, struct buf *b, const struct api_request *r,
                     const struct api_opts *o, const char *id)
{
    *s = (struct responses){.r = r, .o = o, .open = -1};
    snprintf(s->id, sizeof s->id, "%s", id);
    response_event(s, b, "response.created", NULL);
    response_event(s, b, "response.in_progress", NULL);
}

int responses_event(struct responses *s, struct buf *b, struct api_answer *a,
                    const struct rill_event *ev, struct err *e)
{
    const struct toolcall_event *piece;
    int n = api_take(a, s->r, s->o, &s->r->prompt[0], ev, e);

    while (n >= 0 && (n = api_pieces(a, s->r, &piece, e)) > 0)
        for (int i = 0; i < n; i++)
            take_piece(s, b, &a->logprobs, &piece[i]);
    if (n < 0)
        return n;
    return b->bad || s->text.bad || s->output.bad || s->name.bad || s->logprobs.bad
               ? err_nomem(e, b->n)
               : 0;
}

void responses_end(struct responses *s, struct buf *b, const struct api_answer *a)
{
    close_item(s, b);
    response_event(s, b, incomplete(a) ? "response.incomplete" : "response.completed", a);
}

void responses_reply(struct responses *s, struct buf *b, const struct api_answer *a)
{
    struct buf events = {0};

    close_item(s, &events);
    buf_fini(&events);
    put_response(s, b, a);
}

void responses_fini(struct responses *s)
{
    buf_fini(&s->text);
    buf_fini(&s->name);
    buf_fini(&s->logprobs);
    buf_fini(&s->output);
}
