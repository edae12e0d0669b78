/* sampler.h - from a row of logits to a token.
 *
 * Order: allowed tokens, logit bias, penalties, DRY, n-grams that may not come again, what is
 * banned for now; then the filters (filters.h) in the request's order, and the draw. With
 * temperature 0 the largest logit wins, the lowest id among equals. A draw is a pure function of
 * (seed, choice, position): random numbers are counter-based (base/rng.h).
 *
 * Sources: repetition penalty, Keskar et al. 2019 (arXiv 1909.05858); n-grams, Paulus et al. 2017
 * (arXiv 1705.04304); DRY, oobabooga/text-generation-webui, pull request 5677.
 */
#ifndef RILL_ENGINE_SAMPLER_H
#define RILL_ENGINE_SAMPLER_H

#include "engine/filters.h"
#include "plan/backend.h"
#include "text/tok.h"

/* Memory shared by all requests of an engine, for one draw at a time. */
struct sampler_work {
    int32_t n_vocab;
    struct candidate *c; // [n_vocab]
    float *row;          // [n_vocab]
    int32_t *count;      // [n_vocab], all 0 between draws
    int32_t *match;      // [n_ctx] how much of the end each place of the text repeats
    uint8_t *breaker;    // [n_vocab] tokens that DRY never reaches across
    int32_t n_ctx;
};
int sampler_work_init(struct sampler_work *w, int n_vocab, int n_ctx, struct err *e);
void sampler_work_fini(struct sampler_work *w);

/* Marks the tokens whose text has one of these in it. */
void sampler_breakers(uint8_t *out, const struct tok *t, int n_vocab, const struct rill_stop *text,
                      int n);

/* Checks ranges; E_RANGE with a sentence that names the field. */
int sampler_check(const struct rill_sampling *s, int n_vocab, struct err *e);

/* One draw. */
struct sampler_in {
    const struct rill_sampling *sampling;
    const float *logits;    // [n_vocab]
    const int32_t *history; // [n] tokens of the sequence so far, prompt included
    int n, n_prompt;
    int n_late; // the last so many are not known to the host yet; for sampler_as_draw alone
    uint64_t seed;
    uint32_t choice;
    const int32_t *ban; // [n_ban] tokens that may not come now
    int n_ban;
    const uint8_t *breaker; // [n_vocab] the request's own; NULL: those of the engine
    const uint32_t *mask;   // bit i: token i may come; NULL: all may
    int n_mask;             // tokens it has bits for; others may not come
    double *mu;             // of mirostat, brought up to date; NULL: it does not act
};

/* The token for this row, or E_NUMERIC when the row holds a NaN, an infinity above all, or nothing
 * that may be drawn. */
int sampler_draw(struct sampler_work *w, const struct sampler_in *in);

/* The same draw as a device takes it; its list of tokens whose logits change goes to room[cap].
 * False: this request's settings are for the host. */
bool sampler_as_draw(struct sampler_work *w, const struct sampler_in *in, struct draw *out,
                     struct draw_edit *room, int cap);

/* The log-probability of id in a row of logits, before anything is done to it, and the n_top
 * likeliest tokens, the lowest id first among equals. */
float sampler_logprobs(struct sampler_work *w, const float *logits, int32_t id,
                       struct rill_top *top, int n_top);

#endif
