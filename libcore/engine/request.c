/* request.c - see request.h. */
#include "engine/request.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/rng.h"
#include "engine/sampler.h"

static int check_embed(const struct rill_request *in, const struct request_limits *lim,
                       struct err *e)
{
    if (!in->embed && lim->encoder)
        return err_set(e, E_UNSUPPORTED,
                       "the model is an encoder: it gives vectors and cannot continue a text");
    if (!in->embed)
        return 0;
    if (!lim->embed)
        return err_set(e, E_UNSUPPORTED, "the engine was not opened to give vectors");
    if (in->embed < 0 || in->embed > RILL_EMBED_RANK)
        return err_set(e, E_RANGE, "pooling %d: there is no such kind", in->embed);
    if (in->embed == RILL_EMBED_RANK && !lim->n_score)
        return err_set(e, E_UNSUPPORTED, "the model has no scores: it is no reranker");
    if (in->n > 1 || in->constraint || in->n_lora)
        return err_set(e, E_UNSUPPORTED,
                       "a request for vectors has one answer, no constraint and no adapters");
    for (size_t i = 0; in->types && i < in->n_ids; i++)
        if (in->types[i] > 0 && in->types[i] >= lim->n_type)
            return err_set(e, E_RANGE, "token %zu of the prompt has type %d: the model has %d", i,
                           in->types[i], lim->n_type);
    return 0;
}

static int check(const struct rill_request *in, const struct request_limits *lim, struct err *e)
{
    int rc;

    if (in->n_ids == 0)
        return err_set(e, E_RANGE, "the prompt has no tokens");
    if ((rc = check_embed(in, lim, e)) < 0)
        return rc;
    if (in->embed && in->n_ids > (size_t)lim->n_ctx)
        return err_set(e, E_CONTEXT, "the text has %zu tokens, the context %d", in->n_ids,
                       lim->n_ctx);
    if (!in->embed && in->n_ids >= (size_t)lim->n_ctx)
        return err_set(e, E_CONTEXT,
                       "the prompt has %zu tokens, more than the context of %d leaves room for",
                       in->n_ids, lim->n_ctx);
    for (size_t i = 0; i < in->n_ids; i++)
        if (in->ids[i] < 0 || in->ids[i] >= lim->n_vocab)
            return err_set(e, E_RANGE, "token %zu of the prompt is %d: the vocabulary has %d", i,
                           in->ids[i], lim->n_vocab);
    if (in->max_tokens < 0)
        return err_set(e, E_RANGE, "max_tokens %d: must not be negative", in->max_tokens);
    if (in->min_tokens < 0 || (in->max_tokens > 0 && in->min_tokens > in->max_tokens))
        return err_set(e, E_RANGE, "min_tokens %d: must be from 0 to max_tokens", in->min_tokens);
    if (in->top_logprobs < 0 || in->top_logprobs > RILL_TOP)
        return err_set(e, E_RANGE, "top_logprobs %d: must be from 0 to %d", in->top_logprobs,
                       RILL_TOP);
    if (in->logits_from < 0)
        return err_set(e, E_RANGE, "logits_from %d: must not be negative", in->logits_from);
    if (in->draft < 0 || in->draft > lim->max_draft)
        return err_set(e, E_RANGE, "draft %d: must be from 0 to the engine's %d", in->draft,
                       lim->max_draft);
    if (in->priority < -100 || in->priority > 100)
        return err_set(e, E_RANGE, "priority %d: must be from -100 to 100", in->priority);
    if (in->client < 0 || in->client >= RILL_CLIENTS)
        return err_set(e, E_RANGE, "client %d: must be from 0 to %d", in->client, RILL_CLIENTS - 1);
    if (!(in->weight >= 0 && in->weight <= 1e6f))
        return err_set(e, E_RANGE, "weight %g: must be from 0 to 1000000", (double)in->weight);
    if (!(in->deadline >= 0))
        return err_set(e, E_RANGE, "deadline %g: must not be negative", in->deadline);
    return in->embed ? 0 : sampler_check(&in->sampling, lim->n_vocab, e);
}

/* Positions it may come to hold. */
static int32_t room_for(const struct rill_request *in, const struct request_limits *lim)
{
    int64_t n = (int64_t)in->n_ids + in->max_tokens;

    if (in->embed)
        return (int32_t)in->n_ids;
    return in->max_tokens == 0 || n > lim->n_ctx ? lim->n_ctx : (int32_t)n;
}

/* Rows of a step whose likeliest tokens its events tell: those that draw, and prompt rows. */
static uint64_t top_rows(const struct rill_request *in, const struct request_limits *lim)
{
    uint64_t drawing = 1 + (uint64_t)in->draft;

    if (!in->prompt_logits)
        return drawing;
    return drawing + (in->n_ids < (size_t)lim->max_out ? in->n_ids : (uint64_t)lim->max_out);
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
    size_t turns = in->constraint ? OBEY_AHEAD + 1 : 1; // tokens of a step
    int rc = stop_init(&r->stop, in->stop, in->n_stop, text, e);

    if (rc < 0)
        return rc;
    r->ids = mem_array((uint64_t)r->room, sizeof *r->ids, e);
    r->paths = mem_array((uint64_t)r->room / KV_PAGE + 1, sizeof *r->paths, e);
    r->bias = mem_array((uint64_t)n_bias, sizeof *r->bias, e);
    r->allowed = mem_array((uint64_t)in->sampling.n_allowed, sizeof *r->allowed, e);
    r->top = mem_array((uint64_t)in->top_logprobs * top_rows(in, lim), sizeof *r->top, e);
    if (!r->ids || !r->paths || !r->bias || !r->allowed || !r->top ||
        !buf_reserve(&r->piece, text) ||
        !buf_reserve(&r->shown, (turns + 1 + (size_t)in->draft) * text + r->stop.held.cap))
        return err_nomem(e, (uint64_t)r->room * 4);
    if (r->embed) {
        uint64_t width = (uint64_t)(lim->width > lim->n_score ? lim->width : lim->n_score);

        r->sum = mem_array((uint64_t)lim->width, sizeof *r->sum, e);
        r->vector = mem_array(width, sizeof *r->vector, e);
        r->types = in->types ? mem_dup(in->types, in->n_ids, e) : NULL;
        if (!r->sum || !r->vector || (in->types && !r->types))
            return err_nomem(e, width * 12);
    }
    memcpy(r->ids, in->ids, in->n_ids * sizeof *r->ids);
    for (size_t i = 0; in->made && !lim->one_path && i < in->n_ids; i++)
        if (in->made[i])
            r->paths[i / KV_PAGE] |= (uint32_t)1 << (i % KV_PAGE);
    if (n_bias)
        memcpy(r->bias, in->sampling.bias, (size_t)n_bias * sizeof *r->bias);
    if (in->sampling.n_allowed)
        memcpy(r->allowed, in->sampling.allowed,
               (size_t)in->sampling.n_allowed * sizeof *r->allowed);
    r->sampling.bias = r->bias;
    if (in->sampling.n_dry_breaker) {
        uint32_t named = lim->tok ? tok_count(lim->tok) : 0;

        r->breaker = mem_new((size_t)lim->n_vocab, e);
        if (!r->breaker)
            return E_NOMEM;
        sampler_breakers(r->breaker, lim->tok,
                         named < (uint32_t)lim->n_vocab ? (int)named : lim->n_vocab,
                         in->sampling.dry_breaker, in->sampling.n_dry_breaker);
    }
    r->sampling.dry_breaker = NULL;
    r->sampling.allowed = r->allowed;
    return 0;
}

int request_new(struct request **out, const struct rill_request *in, int number, int choice,
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
    r->choice = choice;
    r->seq = -1;
    r->swap = -1;
    r->draft_seq = -1;
    r->min_tokens = in->min_tokens;
    r->weight = in->weight > 0 ? in->weight : 1;
    r->key = in->salt;
    r->logprobs = in->logprobs;
    r->n_top = in->logprobs ? in->top_logprobs : 0;
    r->pin = in->pin;
    r->progress = in->progress;
    /* what a grammar forces comes ahead instead */
    r->draft = in->constraint || in->embed ? 0 : in->draft;
    r->draft_now = r->draft < 3 ? r->draft : 3;
    r->no_forward = in->no_forward;
    r->embed = in->embed == RILL_EMBED_MODEL ? lim->pooling : in->embed;
    r->raw_vector = in->raw_vector;
    r->whole = lim->encoder;
    r->room = room_for(in, lim);
    r->n_prompt = r->n = (int32_t)in->n_ids;
    r->room_is_context = in->max_tokens == 0 || in->max_tokens > r->room - r->n;
    r->sampling = in->sampling;
    r->mirostat = 2 * (double)in->sampling.mirostat_tau;
    r->seed =
        in->sampling.has_seed ? in->sampling.seed : rng_bits(lim->seed, 0, (uint64_t)number, 0);
    r->ignore_eos = in->ignore_eos;
    r->logits = in->logits;
    r->steer = in->steer;
    r->prompt_logits = in->prompt_logits;
    r->told = in->logits_from;
    r->user = in->user;
    r->s =
        (struct sched_req){.state = SCHED_WAITING, .priority = in->priority, .client = in->client};
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
    obey_leave(r->obey);
    stop_fini(&r->stop);
    buf_fini(&r->piece);
    buf_fini(&r->shown);
    mem_free(r->ids);
    mem_free(r->paths);
    mem_free(r->bias);
    mem_free(r->allowed);
    mem_free(r->breaker);
    mem_free(r->top);
    mem_free(r->types);
    mem_free(r->sum);
    mem_free(r->vector);
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

void request_look(struct request *r)
{
    struct sched_req *s = &r->s;
    int32_t end = r->stored;

    s->prompt = request_is_prompt(r, end);
    s->apart = r->embed != 0;
    s->whole = r->whole;
    while (end < r->n && request_is_prompt(r, end) == s->prompt)
        end = s->prompt && !r->paths[end / KV_PAGE] && r->n_prompt - end > KV_PAGE
                  ? (end / KV_PAGE + 1) * KV_PAGE // a whole block of prompt rows
                  : end + 1;
    if (r->mark > r->stored && r->mark < end)
        end = r->mark;
    s->outputs = 0;
    if (s->prompt && r->prompt_logits) {
        if (r->stored < r->told && r->told < end)
            end = r->told;
        s->outputs = r->stored < r->told ? 0 : end - r->stored;
    }
    s->stored = r->stored;
    if (r->n_draft) { // a token is drawn behind each of these rows
        end += r->n_draft;
        s->outputs = end - r->stored;
    }
    s->rows = end - r->stored;
    s->pending = r->n + r->n_draft - r->stored;
}

void request_token(struct request *r, int32_t id, const struct request_limits *lim)
{
    bool early = r->n - r->n_prompt < r->min_tokens;
    bool end = lim->tok && tok_is_end(lim->tok, id) && !r->ignore_eos && !early;

    if (!lim->one_path)
        r->paths[r->n / KV_PAGE] |= (uint32_t)1 << (r->n % KV_PAGE);
    r->ids[r->n++] = id;
    buf_clear(&r->piece);
    if (lim->tok && (!end || (r->detok.flags & DETOK_SHOW)))
        detok_add(&r->detok, id, &r->piece);
    if (early) {
        buf_slice(&r->shown, buf_view(&r->piece));
    } else if (stop_add(&r->stop, buf_view(&r->piece), &r->shown)) {
        r->finish = RILL_STOP;
        return;
    }
    if (end)
        request_end(r, RILL_STOP);
    else if (r->n == r->room)
        request_end(r, r->room_is_context ? RILL_CONTEXT : RILL_LENGTH);
}
