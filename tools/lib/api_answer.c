/* api_answer.c - see api.h: an answer from the engine's events. */
#include "tools/lib/api.h"

#include <math.h>

#include "base/mem.h"

/* -- log-probabilities -- */

static struct slice piece(const struct api_opts *o, int32_t id)
{
    struct slice s;

    s.p = rill_piece(o->model, id, true, &s.n);
    return s;
}

static void put_number(struct buf *b, double v)
{
    if (isfinite(v))
        buf_printf(b, "%.6g", v);
    else
        buf_str(b, "null");
}

static void put_bytes(struct buf *b, struct slice s)
{
    buf_str(b, ",\"bytes\":[");
    for (size_t i = 0; i < s.n; i++)
        buf_printf(b, i ? ",%u" : "%u", (unsigned char)s.p[i]);
    buf_byte(b, ']');
}

/* The chat form has numbers only: what cannot come is as unlikely as can be written. */
static void put_chat_token(struct buf *b, const struct api_opts *o, int32_t id, double logprob)
{
    buf_str(b, "{\"token\":");
    buf_json(b, piece(o, id));
    buf_str(b, ",\"logprob\":");
    put_number(b, isfinite(logprob) ? logprob : -9999.0);
    put_bytes(b, piece(o, id));
}

static void chat_token(struct api_answer *a, const struct api_opts *o, const struct rill_event *ev)
{
    if (a->logprobs.n)
        buf_byte(&a->logprobs, ',');
    put_chat_token(&a->logprobs, o, ev->id, (double)ev->logprob);
    buf_str(&a->logprobs, ",\"top_logprobs\":[");
    for (int i = 0; i < ev->n_top; i++) {
        if (i)
            buf_byte(&a->logprobs, ',');
        put_chat_token(&a->logprobs, o, ev->top[i].id, (double)ev->top[i].logprob);
        buf_byte(&a->logprobs, '}');
    }
    buf_str(&a->logprobs, "]}");
}

/* The older form: four lists side by side. ev has the likeliest tokens (NULL: nothing tells of
 * this one); offset: of the token in the text. */
static void text_token(struct api_answer *a, const struct api_opts *o, int32_t id, double logprob,
                       const struct rill_event *ev, size_t offset)
{
    const char *comma = a->tokens.n ? "," : "";

    buf_str(&a->tokens, comma);
    buf_json(&a->tokens, piece(o, id));
    buf_str(&a->logprobs, comma);
    put_number(&a->logprobs, logprob);
    buf_printf(&a->offsets, "%s%zu", comma, offset);
    buf_printf(&a->top, ev ? "%s{" : "%snull", comma);
    for (int i = 0; ev && i < ev->n_top; i++) {
        if (i)
            buf_byte(&a->top, ',');
        buf_json(&a->top, piece(o, ev->top[i].id));
        buf_byte(&a->top, ':');
        put_number(&a->top, (double)ev->top[i].logprob);
    }
    if (ev)
        buf_byte(&a->top, '}');
}

/* The row of a prompt token tells how likely the next one was; nothing tells of the first. */
static void prompt_token(struct api_answer *a, const struct api_prompt *p, const struct api_opts *o,
                         const struct rill_event *ev)
{
    size_t n;

    if (ev->pos == 0)
        text_token(a, o, p->ids[0], -INFINITY, NULL, 0);
    rill_piece(o->model, p->ids[ev->pos], false, &n);
    a->at += n;
    if ((size_t)ev->pos + 1 < p->n)
        text_token(a, o, p->ids[ev->pos + 1], (double)ev->logprob, ev, a->at);
}

static void count_token(struct api_answer *a, const struct api_request *r, const struct api_opts *o,
                        const struct api_prompt *p, const struct rill_event *ev)
{
    if (ev->kind == RILL_TOKEN) {
        a->n_drawn++;
        a->logprob += (double)ev->logprob;
    }
    if (r->logprobs < 0)
        return;
    if (ev->kind == RILL_LOGITS)
        prompt_token(a, p, o, ev);
    else if (r->chat)
        chat_token(a, o, ev);
    else
        text_token(a, o, ev->id, (double)ev->logprob, ev, a->shown);
}

/* -- text -- */

int api_answer_begin(struct api_answer *a, const struct api_request *r, const struct api_opts *o,
                     const struct api_prompt *p, int choice, struct err *e)
{
    *a = (struct api_answer){0};
    if (r->echo) {
        buf_slice(&a->text, buf_view(&p->text));
        a->shown = a->text.n;
    }
    if (r->chat && (r->format || api_chat_reasoning(o->chat)))
        return api_chat_parser(o->chat, &a->parser, r->format, r->tools, p->open,
                               r->q.sampling.seed + (uint64_t)choice, e);
    return a->text.bad ? err_nomem(e, p->text.n) : 0;
}

/* The text of an event without that of control tokens nobody wants to see: those that end the
 * answer, and those that are no marks. *control: what is left is the mark of one. */
static struct slice clean(const struct api_answer *a, const struct api_request *r,
                          const struct api_opts *o, const struct rill_event *ev, bool *control)
{
    struct slice text = {ev->text, ev->n_text};
    struct slice own;
    size_t n;

    *control = false;
    if (!a->parser || ev->kind != RILL_TOKEN)
        return text;
    rill_piece(o->model, ev->id, false, &n);
    own.p = rill_piece(o->model, ev->id, true, &own.n);
    if (n > 0 || own.n == 0 || !slice_ends(text, own))
        return text;
    if (api_chat_is_mark(o->chat, ev->id) && !rill_is_end(o->model, ev->id))
        *control = true;
    else if (!r->show_control)
        text.n -= own.n;
    return text;
}

static void add_call(struct api_answer *a, const struct toolcall_event *ev)
{
    buf_str(&a->calls, a->n_calls++ ? ",{\"id\":" : "{\"id\":");
    buf_json(&a->calls, ev->id);
    buf_str(&a->calls, ",\"type\":\"function\",\"function\":{\"name\":");
    buf_json(&a->calls, ev->name);
    buf_str(&a->calls, ",\"arguments\":");
    buf_clear(&a->args);
}

/* A piece joins what a whole reply has. */
static void keep(struct api_answer *a, const struct toolcall_event *ev)
{
    switch (ev->kind) {
    case TC_TEXT:
        buf_slice(&a->text, ev->text);
        break;
    case TC_REASON:
        buf_slice(&a->reasoning, ev->text);
        break;
    case TC_BEGIN:
        add_call(a, ev);
        break;
    case TC_ARGS:
        buf_slice(&a->args, ev->text);
        break;
    case TC_END:
        buf_json(&a->calls, buf_view(&a->args));
        buf_str(&a->calls, "}}");
        break;
    case TC_ERROR:
        buf_str(&a->errors, a->errors.n ? "," : "");
        buf_json(&a->errors, ev->text);
        break;
    }
}

static bool bad(const struct api_answer *a)
{
    return a->text.bad || a->reasoning.bad || a->calls.bad || a->args.bad || a->logprobs.bad ||
           a->offsets.bad || a->tokens.bad || a->top.bad || a->errors.bad;
}

/* What the parser handed out; of several calls only the first where more were not wanted. */
static int take_pieces(struct api_answer *a, const struct api_request *r,
                       const struct toolcall_event *ev, int n)
{
    int k = 0;

    while (k < n && !(r->one_call && ev[k].kind >= TC_BEGIN && ev[k].index > 0))
        keep(a, &ev[k++]);
    return k;
}

int api_take(struct api_answer *a, const struct api_request *r, const struct api_opts *o,
             const struct api_prompt *p, const struct rill_event *ev, struct err *e)
{
    const bool untold = r->score_only && ev->kind != RILL_LOGITS;
    bool control;
    size_t n = 0;

    if (untold && ev->kind == RILL_TOKEN)
        return 0;
    if (ev->kind == RILL_TOKEN || ev->kind == RILL_LOGITS)
        count_token(a, r, o, p, ev);
    if (ev->kind == RILL_DONE) {
        a->finish = ev->finish;
        a->stop = ev->stop;
        a->cached = ev->cached;
        a->ending = true;
    }
    if (untold) {
        a->finish = a->finish == RILL_STOP ? RILL_LENGTH : a->finish;
        return 0;
    }
    a->shown += ev->n_text;
    a->drawn = ev->kind == RILL_TOKEN;
    a->feed = clean(a, r, o, ev, &control);
    if (control) // what was held back for a stop string comes in front of the mark
        rill_piece(o->model, ev->id, true, &n);
    a->feed.n -= n;
    a->mark = (struct slice){a->feed.p + a->feed.n, n};
    return bad(a) ? err_nomem(e, a->text.n) : 0;
}

int api_pieces(struct api_answer *a, const struct api_request *r,
               const struct toolcall_event **pieces, struct err *e)
{
    int k = 0;

    if (!a->parser) {
        a->plain = (struct toolcall_event){.kind = TC_TEXT, .text = a->feed};
        *pieces = &a->plain;
        a->feed.n = 0;
        a->ending = false;
        k = take_pieces(a, r, &a->plain, a->plain.text.n > 0);
        return bad(a) ? err_nomem(e, a->text.n) : k;
    }
    while (k == 0 && (a->feed.n || a->mark.n || a->ending)) {
        struct slice *next = a->feed.n ? &a->feed : &a->mark;

        if (a->drawn && toolcall_in_reasoning(a->parser)) {
            a->n_reasoning++;
            a->drawn = false;
        }
        if (next->n) {
            k = toolcall_feed(a->parser, *next, next == &a->mark, pieces, e);
            next->n = 0;
        } else {
            k = toolcall_finish(a->parser, pieces, e);
            a->ending = false;
        }
        if (k < 0)
            return k;
        k = take_pieces(a, r, *pieces, k);
    }
    return bad(a) ? err_nomem(e, a->text.n) : k;
}

void api_answer_fini(struct api_answer *a)
{
    buf_fini(&a->text);
    buf_fini(&a->reasoning);
    buf_fini(&a->calls);
    buf_fini(&a->args);
    buf_fini(&a->logprobs);
    buf_fini(&a->offsets);
    buf_fini(&a->tokens);
    buf_fini(&a->top);
    buf_fini(&a->errors);
    toolcall_free(a->parser);
    a->parser = NULL;
}
