/* request.c - see request.h. */
#include "engine/request.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/rng.h"
#include "engine/sampler.h"

static int check(const struct rill_request *in, const struct request_limits *lim, struct err *e)
{
    if (in->n_ids == 0)
        return err_set(e, E_RANGE, "the prompt has no tokens");
    if (in->n_ids >= (size_t)lim->n_ctx)
        return err_set(e, E_CONTEXT,
                       "the prompt has %zu tokens, more than the context of %d leaves room for",
                       in->n_ids, lim->n_ctx);
    for (size_t i = 0; i < in->n_ids; i++)
        if (in->ids[i] < 0 || in->ids[i] >= lim->n_vocab)
            return err_set(e, E_RANGE, "token %zu of the prompt is %d: the vocabulary has %d", i,
                           in->ids[i], lim->n_vocab);
    if (in->max_tokens < 0)
        return err_set(e, E_RANGE, "max_tokens %d: must not be negative", in->max_tokens);
    return sampler_check(&in->sampling, lim->n_vocab, e);
}

/* Positions it may come to hold. */
static int32_t room_for(const struct rill_request *in, const struct request_limits *lim)
{
    int64_t n = (int64_t)in->n_ids + in->max_tokens;

    return in->max_tokens == 0 || n > lim->n_ctx ? lim->n_ctx : (int32_t)n;
}

/* Whether the prompt has text: a first token behind it keeps its leading space. */
static bool has_text(const struct rill_request *in, const struct tok *t)
{
    for (size_t i = 0; t && i < in->n_ids; i++)
        if (tok_kind_of(t, in->ids[i]) != TOK_CONTROL)
            return true;
    return false;
}

static int copy(struct request *r, const struct rill_request *in, const struct request_limits *lim,
                struct err *e)
{
    int n_bias = in->sampling.n_bias;
    /* a piece, a replacement for up to 3 held bytes, and text held for a stop string */
    size_t text = lim->max_piece + 16;
    int rc = stop_init(&r->stop, in->stop, in->n_stop, text, e);

    if (rc < 0)
        return rc;
    r->ids = mem_array((uint64_t)r->room, sizeof *r->ids, e);
    r->bias = mem_array((uint64_t)n_bias, sizeof *r->bias, e);
    if (!r->ids || !r->bias || !buf_reserve(&r->piece, text) ||
        !buf_reserve(&r->shown, 2 * text + r->stop.held.cap))
        return err_nomem(e, (uint64_t)r->room * 4);
    memcpy(r->ids, in->ids, in->n_ids * sizeof *r->ids);
    if (n_bias)
        memcpy(r->bias, in->sampling.bias, (size_t)n_bias * sizeof *r->bias);
    r->sampling.bias = r->bias;
    return 0;
}

int request_new(struct request **out, const struct rill_request *in, int number,
                const struct request_limits *lim, struct err *e)
{
    int rc = check(in, lim, e);
    struct request *r;

    if (rc < 0)
        return rc;
    r = mem_new(sizeof *r, e);
    if (!r)
        return E_NOMEM;
    r->number = number;
    r->seq = -1;
    r->room = room_for(in, lim);
    r->n_prompt = r->n = (int32_t)in->n_ids;
    r->room_is_context = in->max_tokens == 0 || in->max_tokens > r->room - r->n;
    r->sampling = in->sampling;
    r->seed = in->sampling.has_seed ? in->sampling.seed
                                    : rng_bits(lim->seed, 0, (uint64_t)number, 0);
    r->ignore_eos = in->ignore_eos;
    r->logits = in->logits;
    r->prompt_logits = in->prompt_logits;
    r->user = in->user;
    r->s = (struct sched_req){.state = SCHED_WAITING,
                              .priority = in->priority,
                              .arrival = (uint64_t)number,
                              .rows = r->n,
                              .outputs = in->prompt_logits ? r->n : 0};
    detok_init(&r->detok, lim->tok,
               (has_text(in, lim->tok) ? DETOK_INSIDE : 0) | (in->show_control ? DETOK_SHOW : 0));
    rc = copy(r, in, lim, e);
    if (rc < 0) {
        request_free(r);
        return rc;
    }
    *out = r;
    return 0;
}

void request_free(struct request *r)
{
    if (!r)
        return;
    stop_fini(&r->stop);
    buf_fini(&r->piece);
    buf_fini(&r->shown);
    mem_free(r->ids);
    mem_free(r->bias);
    mem_free(r);
}

void request_end(struct request *r, int finish)
{
    r->finish = finish;
    buf_clear(&r->piece);
    if (r->detok.tok)
        detok_end(&r->detok, &r->piece);
    if (!stop_add(&r->stop, buf_view(&r->piece), &r->shown))
        stop_flush(&r->stop, &r->shown);
}

void request_fail(struct request *r, int code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(r->message, sizeof r->message, fmt, ap);
    va_end(ap);
    r->finish = RILL_FAILED;
    r->code = code;
}

void request_token(struct request *r, int32_t id, const struct request_limits *lim)
{
    bool end = lim->tok && tok_is_end(lim->tok, id) && !r->ignore_eos;

    r->ids[r->n++] = id;
    buf_clear(&r->piece);
    if (lim->tok && (!end || (r->detok.flags & DETOK_SHOW)))
        detok_add(&r->detok, id, &r->piece);
    if (stop_add(&r->stop, buf_view(&r->piece), &r->shown)) {
        r->finish = RILL_STOP;
        return;
    }
    if (end)
        request_end(r, RILL_STOP);
    else if (r->n == r->room)
        request_end(r, r->room_is_context ? RILL_CONTEXT : RILL_LENGTH);
}
