/* api_reply.c - see api.h: writing replies. */
#include "tools/lib/api.h"

#include <math.h>

#include "base/mem.h"

const char *api_finish(int finish)
{
    switch (finish) {
    case RILL_STOP:
        return "stop";
    case RILL_CANCELLED:
        return "cancelled";
    case RILL_DEADLINE:
        return "timeout";
    default:
        return "length";
    }
}

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

static void put_chat_token(struct buf *b, const struct api_opts *o, int32_t id, double logprob)
{
    buf_str(b, "{\"token\":");
    buf_json(b, piece(o, id));
    buf_str(b, ",\"logprob\":");
    put_number(b, logprob);
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

/* The older form: four lists side by side. offset: of the token in the text. */
static void text_token(struct api_answer *a, const struct api_opts *o, int32_t id, double logprob,
                       const struct rill_event *top, size_t offset)
{
    const char *comma = a->tokens.n ? "," : "";

    buf_str(&a->tokens, comma);
    buf_json(&a->tokens, piece(o, id));
    buf_str(&a->logprobs, comma);
    put_number(&a->logprobs, logprob);
    buf_printf(&a->offsets, "%s%zu", comma, offset);
    buf_printf(&a->top, "%s%s", comma, top && top->n_top ? "{" : "null");
    for (int i = 0; top && i < top->n_top; i++) {
        if (i)
            buf_byte(&a->top, ',');
        buf_json(&a->top, piece(o, top->top[i].id));
        buf_byte(&a->top, ':');
        put_number(&a->top, (double)top->top[i].logprob);
        if (i + 1 == top->n_top)
            buf_byte(&a->top, '}');
    }
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
        text_token(a, o, p->ids[ev->pos + 1], (double)ev->logprob, NULL, a->at);
}

void api_answer_begin(struct api_answer *a, const struct api_request *r, const struct api_prompt *p)
{
    if (r->echo)
        buf_slice(&a->text, buf_view(&p->text));
}

void api_token(struct api_answer *a, const struct api_request *r, const struct api_prompt *p,
               const struct api_opts *o, const struct rill_event *ev)
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
        text_token(a, o, ev->id, (double)ev->logprob, ev, a->text.n);
}

void api_answer_fini(struct api_answer *a)
{
    buf_fini(&a->text);
    buf_fini(&a->logprobs);
    buf_fini(&a->offsets);
    buf_fini(&a->tokens);
    buf_fini(&a->top);
}

/* -- replies -- */

static void put_logprobs(struct buf *b, const struct api_request *r, const struct api_answer *a)
{
    if (r->logprobs < 0) {
        buf_str(b, "null");
        return;
    }
    if (r->chat) {
        buf_str(b, "{\"content\":[");
        buf_slice(b, buf_view(&a->logprobs));
        buf_str(b, "]}");
        return;
    }
    buf_str(b, "{\"tokens\":[");
    buf_slice(b, buf_view(&a->tokens));
    buf_str(b, "],\"token_logprobs\":[");
    buf_slice(b, buf_view(&a->logprobs));
    buf_str(b, "],\"top_logprobs\":");
    if (r->logprobs > 0) {
        buf_byte(b, '[');
        buf_slice(b, buf_view(&a->top));
        buf_byte(b, ']');
    } else {
        buf_str(b, "null");
    }
    buf_str(b, ",\"text_offset\":[");
    buf_slice(b, buf_view(&a->offsets));
    buf_str(b, "]}");
}

static void put_choice(struct buf *b, const struct api_request *r, const struct api_answer *a,
                       int index)
{
    buf_printf(b, "%s{\"index\":%d,", index ? "," : "", index);
    buf_str(b, r->chat ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"text\":");
    buf_json(b, buf_view(&a->text));
    buf_str(b, r->chat ? "},\"logprobs\":" : ",\"logprobs\":");
    put_logprobs(b, r, a);
    buf_printf(b, ",\"finish_reason\":\"%s\"}", api_finish(a->finish));
}

/* Marks the n answers to one prompt that are likeliest by token, the first among equals. */
static void choose(struct api_answer *a, int of, int n)
{
    for (int k = 0; k < n; k++) {
        int best = -1;
        double most = 0;

        for (int i = 0; i < of; i++) {
            double mean = a[i].n_drawn ? a[i].logprob / a[i].n_drawn : 0;

            if (!a[i].chosen && (best < 0 || mean > most)) {
                best = i;
                most = mean;
            }
        }
        a[best].chosen = true;
    }
}

static void put_id(struct buf *b, const char *prefix, const struct api_who *who)
{
    struct buf id = {0};

    buf_str(&id, prefix);
    if (who->custom_id)
        buf_str(&id, who->custom_id);
    else
        buf_printf(&id, "%llu", (unsigned long long)who->line);
    buf_json(b, buf_view(&id));
    buf_fini(&id);
}

/* "x", or the line's number where it has no name. */
static void put_custom_id(struct buf *b, const struct api_who *who)
{
    buf_str(b, "\"custom_id\":");
    if (who->custom_id)
        buf_json(b, slice_of(who->custom_id));
    else
        buf_printf(b, "%llu", (unsigned long long)who->line);
}

static void open_line(struct buf *b, const struct api_who *who, int status)
{
    buf_byte(b, '{');
    if (!who->batch)
        return;
    buf_str(b, "\"id\":");
    put_id(b, "batch_req_", who);
    buf_byte(b, ',');
    put_custom_id(b, who);
    buf_printf(b, ",\"response\":{\"status_code\":%d,\"request_id\":", status);
    put_id(b, "req_", who);
    buf_str(b, ",\"body\":{");
}

static void close_line(struct buf *b, const struct api_who *who)
{
    if (!who->batch) {
        buf_byte(b, ',');
        put_custom_id(b, who);
    }
    buf_str(b, who->batch ? "}},\"error\":null}\n" : "}\n");
}

void api_reply(struct buf *b, const struct api_request *r, const struct api_opts *o,
               const struct api_who *who, struct api_answer *answers, const char *timings)
{
    size_t prompt = 0, drawn = 0;
    int index = 0;

    open_line(b, who, 200);
    buf_str(b, "\"id\":");
    put_id(b, r->chat ? "chatcmpl-" : "cmpl-", who);
    buf_printf(b, ",\"object\":\"%s\",\"created\":%lld,\"model\":",
               r->chat ? "chat.completion" : "text_completion", o->created);
    buf_json(b, slice_of(o->name));
    buf_str(b, ",\"choices\":[");
    for (int p = 0; p < r->n_prompt; p++) {
        struct api_answer *a = answers + (ptrdiff_t)p * r->best_of;

        prompt += r->prompt[p].n;
        choose(a, r->best_of, r->n);
        for (int k = 0; k < r->best_of; k++) {
            drawn += (size_t)a[k].n_drawn;
            if (a[k].chosen)
                put_choice(b, r, &a[k], index++);
        }
    }
    buf_printf(b,
               "],\"usage\":{\"prompt_tokens\":%zu,\"completion_tokens\":%zu,"
               "\"total_tokens\":%zu}",
               prompt, drawn, prompt + drawn);
    if (r->warnings.n) {
        buf_str(b, ",\"warnings\":[");
        buf_slice(b, buf_view(&r->warnings));
        buf_byte(b, ']');
    }
    buf_str(b, timings);
    close_line(b, who);
}

void api_reply_error(struct buf *b, const struct api_who *who, const struct err *why)
{
    bool ours = err_exit_status(why->code) == 4;

    open_line(b, who, ours ? 500 : 400);
    buf_str(b, "\"error\":{\"message\":");
    buf_json(b, slice_of(why->text));
    buf_printf(b, ",\"type\":\"%s\",\"param\":null,\"code\":",
               ours ? "server_error" : "invalid_request_error");
    buf_json(b, slice_of(err_name(why->code)));
    buf_byte(b, '}');
    close_line(b, who);
}
