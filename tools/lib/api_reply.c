/* api_reply.c - see api.h: writing whole replies and errors. */
#include "tools/lib/api.h"

#include "base/mem.h"

const char *api_finish(const struct api_answer *a, bool chat)
{
    if (a->finish != RILL_STOP)
        return "length";
    return chat && a->n_calls > 0 ? "tool_calls" : "stop";
}

void api_logprobs(struct buf *b, const struct api_request *r, const struct api_answer *a)
{
    if (r->logprobs < 0) {
        buf_str(b, "null");
        return;
    }
    if (r->chat) {
        buf_str(b, "{\"content\":[");
        buf_slice(b, buf_view(&a->logprobs));
        buf_str(b, "],\"refusal\":null}");
        return;
    }
    buf_str(b, "{\"tokens\":[");
    buf_slice(b, buf_view(&a->tokens));
    buf_str(b, "],\"token_logprobs\":[");
    buf_slice(b, buf_view(&a->logprobs));
    if (r->logprobs > 0) {
        buf_str(b, "],\"top_logprobs\":[");
        buf_slice(b, buf_view(&a->top));
    }
    buf_str(b, "],\"text_offset\":[");
    buf_slice(b, buf_view(&a->offsets));
    buf_str(b, "]}");
}

static void put_message(struct buf *b, const struct api_answer *a)
{
    buf_str(b, "\"message\":{\"role\":\"assistant\",\"content\":");
    if (a->n_calls && !a->text.n)
        buf_str(b, "null");
    else
        buf_json(b, buf_view(&a->text));
    buf_str(b, ",\"refusal\":null");
    if (a->reasoning.n) {
        buf_str(b, ",\"reasoning_content\":");
        buf_json(b, buf_view(&a->reasoning));
    }
    if (a->n_calls) {
        buf_str(b, ",\"tool_calls\":[");
        buf_slice(b, buf_view(&a->calls));
        buf_byte(b, ']');
    }
    buf_byte(b, '}');
}

static void put_choice(struct buf *b, const struct api_request *r, const struct api_answer *a,
                       int index)
{
    buf_printf(b, "%s{\"index\":%d,", index ? "," : "", index);
    if (r->chat) {
        put_message(b, a);
    } else {
        buf_str(b, "\"text\":");
        buf_json(b, buf_view(&a->text));
    }
    buf_str(b, ",\"logprobs\":");
    api_logprobs(b, r, a);
    buf_printf(b, ",\"finish_reason\":\"%s\"}", api_finish(a, r->chat));
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

static void name_id(struct buf *id, const char *prefix, const struct api_who *who)
{
    buf_str(id, prefix);
    if (who->custom_id)
        buf_str(id, who->custom_id);
    else
        buf_printf(id, "%llu", (unsigned long long)who->line);
}

static void put_id(struct buf *b, const char *prefix, const struct api_who *who)
{
    struct buf id = {0};

    name_id(&id, prefix, who);
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

void api_usage(struct buf *b, const struct api_request *r, const struct api_opts *o,
               const struct api_answer *answers)
{
    size_t prompt = 0, drawn = 0, reasoned = 0, cached = 0;

    for (int p = 0; p < r->n_prompt; p++) {
        const struct api_answer *a = answers + (ptrdiff_t)p * r->best_of;

        prompt += r->prompt[p].n;
        cached += (size_t)a->cached;
        for (int k = 0; k < r->best_of; k++) {
            drawn += (size_t)a[k].n_drawn;
            reasoned += (size_t)a[k].n_reasoning;
        }
    }
    buf_printf(b,
               "\"usage\":{\"prompt_tokens\":%zu,\"completion_tokens\":%zu,"
               "\"total_tokens\":%zu",
               prompt, drawn, prompt + drawn);
    if (o->details)
        buf_printf(b, ",\"prompt_tokens_details\":{\"cached_tokens\":%zu}", cached);
    if (reasoned || o->details)
        buf_printf(b, ",\"completion_tokens_details\":{\"reasoning_tokens\":%zu}", reasoned);
    buf_byte(b, '}');
}

void api_put_warnings(struct buf *b, const struct api_request *r, const struct api_answer *a, int n)
{
    bool any = r && r->warnings.n > 0;

    buf_str(b, ",\"warnings\":[");
    if (any)
        buf_slice(b, buf_view(&r->warnings));
    for (int i = 0; i < n; i++)
        if (a[i].errors.n) {
            buf_str(b, any ? "," : "");
            buf_slice(b, buf_view(&a[i].errors));
            any = true;
        }
    if (any)
        buf_byte(b, ']');
    else if (!b->bad)
        b->n -= sizeof ",\"warnings\":[" - 1;
}

void api_body(struct buf *b, const struct api_request *r, const struct api_opts *o, struct slice id,
              struct api_answer *answers, const char *timings)
{
    int index = 0;

    buf_str(b, "\"id\":");
    buf_json(b, id);
    buf_printf(b, ",\"object\":\"%s\",\"created\":%lld,\"model\":",
               r->chat ? "chat.completion" : "text_completion", o->created);
    buf_json(b, slice_of(o->name));
    buf_str(b, ",\"choices\":[");
    for (int p = 0; p < r->n_prompt; p++) {
        struct api_answer *a = answers + (ptrdiff_t)p * r->best_of;

        choose(a, r->best_of, r->n);
        for (int k = 0; k < r->best_of; k++)
            if (a[k].chosen)
                put_choice(b, r, &a[k], index++);
    }
    buf_str(b, "],");
    api_usage(b, r, o, answers);
    api_put_warnings(b, r, answers, r->n_prompt * r->best_of);
    buf_str(b, timings);
}

void api_reply(struct buf *b, const struct api_request *r, const struct api_opts *o,
               const struct api_who *who, struct api_answer *answers, const char *timings)
{
    struct buf id = {0};

    open_line(b, who, 200);
    name_id(&id, r->chat ? "chatcmpl-" : "cmpl-", who);
    api_body(b, r, o, buf_view(&id), answers, timings);
    buf_fini(&id);
    close_line(b, who);
}

/* -- errors -- */

struct api_status api_status(const struct err *why)
{
    static const char bad[] = "invalid_request_error";

    switch (why->code) {
    case E_CONTEXT:
        return (struct api_status){400, bad, "context_length_exceeded"};
    case E_BUSY:
        return (struct api_status){429, "rate_limit_error", "rate_limit_exceeded"};
    case E_DENIED:
        return (struct api_status){403, "permission_error", "not_allowed"};
    case E_NOTFOUND:
        return (struct api_status){404, bad, "not_found"};
    case E_USAGE:
    case E_FORMAT:
    case E_RANGE:
    case E_UNSUPPORTED:
        return (struct api_status){400, bad, NULL};
    case E_NOMEM: // of the machine, or for keys and values: later there may be some
        return (struct api_status){503, "server_error", "out_of_memory"};
    case E_CANCELLED:
        return (struct api_status){503, "server_error", "cancelled"};
    default:
        return (struct api_status){500, "server_error", "internal_error"};
    }
}

void api_error(struct buf *b, const struct api_status *s, const char *message, const char *param)
{
    buf_str(b, "{\"error\":{\"message\":");
    buf_json(b, slice_of(message));
    buf_printf(b, ",\"type\":\"%s\",\"param\":", s->type);
    if (param)
        buf_json(b, slice_of(param));
    else
        buf_str(b, "null");
    buf_str(b, ",\"code\":");
    if (s->code)
        buf_json(b, slice_of(s->code));
    else
        buf_str(b, "null");
    buf_str(b, "}}");
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
