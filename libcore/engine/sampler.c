/* sampler.c - see sampler.h. */
#include "engine/sampler.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

struct rill_sampling rill_sampling_defaults(void)
{
    return (struct rill_sampling){.temperature = 0.8f,
                                  .top_p = 0.95f,
                                  .min_p = 0.05f,
                                  .repetition_penalty = 1,
                                  .penalty_last = -1};
}

int sampler_work_init(struct sampler_work *w, int n_vocab, struct err *e)
{
    w->n_vocab = n_vocab;
    w->c = mem_array((uint64_t)n_vocab, sizeof *w->c, e);
    w->row = mem_array((uint64_t)n_vocab, sizeof *w->row, e);
    w->count = mem_array((uint64_t)n_vocab, sizeof *w->count, e);
    if (w->c && w->row && w->count)
        return 0;
    sampler_work_fini(w);
    return E_NOMEM;
}

void sampler_work_fini(struct sampler_work *w)
{
    mem_free(w->c);
    mem_free(w->row);
    mem_free(w->count);
    *w = (struct sampler_work){0};
}

static int check_range(const char *name, double v, double lo, double hi, struct err *e)
{
    if (v >= lo && v <= hi) // false for a NaN
        return 0;
    return err_set(e, E_RANGE, "%s %g: must be from %g to %g", name, v, lo, hi);
}

int sampler_check(const struct rill_sampling *s, int n_vocab, struct err *e)
{
    int rc = check_range("temperature", s->temperature, 0, 100, e);

    rc = rc < 0 ? rc : check_range("top_k", s->top_k, 0, INT32_MAX, e);
    rc = rc < 0 ? rc : check_range("top_p", s->top_p, 0, 1, e);
    rc = rc < 0 ? rc : check_range("min_p", s->min_p, 0, 1, e);
    rc = rc < 0 ? rc : check_range("repetition_penalty", s->repetition_penalty, 0.01, 100, e);
    rc = rc < 0 ? rc : check_range("presence_penalty", s->presence_penalty, -100, 100, e);
    rc = rc < 0 ? rc : check_range("frequency_penalty", s->frequency_penalty, -100, 100, e);
    rc = rc < 0 ? rc : check_range("penalty_last", s->penalty_last, -1, INT32_MAX, e);
    rc = rc < 0 ? rc : check_range("n_bias", s->n_bias, 0, n_vocab, e);
    for (int i = 0; rc == 0 && i < s->n_bias; i++) {
        if (s->bias[i].id < 0 || s->bias[i].id >= n_vocab)
            return err_set(e, E_RANGE, "logit_bias: token %d is not below %d", s->bias[i].id,
                           n_vocab);
        if (isnan(s->bias[i].add) || s->bias[i].add == INFINITY)
            return err_set(e, E_RANGE, "logit_bias: the bias of token %d is not finite",
                           s->bias[i].id);
    }
    return rc;
}

static bool penalizes(const struct rill_sampling *s)
{
    return s->penalty_last != 0 &&
           (s->repetition_penalty != 1 || s->presence_penalty != 0 || s->frequency_penalty != 0);
}

static void penalize(struct sampler_work *w, const struct rill_sampling *s, const int32_t *history,
                     int n)
{
    int from = s->penalty_last > 0 && s->penalty_last < n ? n - s->penalty_last : 0;

    for (int i = from; i < n; i++)
        w->count[history[i]]++;
    for (int i = from; i < n; i++) {
        int32_t id = history[i];
        float *l = &w->row[id];

        if (!w->count[id])
            continue;
        *l = *l > 0 ? *l / s->repetition_penalty : *l * s->repetition_penalty;
        *l -= s->presence_penalty + s->frequency_penalty * (float)w->count[id];
        w->count[id] = 0;
    }
}

/* Largest first; the lower id among equals. */
static bool better(const struct candidate *a, const struct candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static void sift(struct candidate *c, int n, int i)
{
    struct candidate v = c[i];

    for (int k = 2 * i + 1; k < n; k = 2 * i + 1) {
        if (k + 1 < n && better(&c[k + 1], &c[k]))
            k++;
        if (!better(&c[k], &v))
            break;
        c[i] = c[k];
        i = k;
    }
    c[i] = v;
}

/* Moves the best of the heap c[0, n) behind it; returns the new size. */
static int pop(struct candidate *c, int n)
{
    struct candidate best = c[0];

    c[0] = c[n - 1];
    sift(c, n - 1, 0);
    c[n - 1] = best;
    return n - 1;
}

/* Candidates within reach of the best: min-p bounds the distance of a logit from the largest, so
 * most of a large vocabulary never enters the heap. Returns how many, or E_NUMERIC. */
static int gather(struct sampler_work *w, const struct rill_sampling *s, double *sum)
{
    float top = -INFINITY;
    float least;
    int n = 0;

    *sum = 0;
    for (int i = 0; i < w->n_vocab; i++) {
        if (isnan(w->row[i]))
            return E_NUMERIC;
        if (w->row[i] > top)
            top = w->row[i];
    }
    if (!(top > -INFINITY && top < INFINITY))
        return E_NUMERIC;
    least = s->min_p > 0 ? top + logf(s->min_p) : -INFINITY;
    for (int i = 0; i < w->n_vocab; i++) {
        if (s->top_p < 1 && s->top_k == 0)
            *sum += exp((double)w->row[i] - top);
        if (w->row[i] >= least && w->row[i] > -INFINITY)
            w->c[n++] = (struct candidate){w->row[i], 0, i};
    }
    return n;
}

/* Keeps the first k of the order that top-k and top-p allow; they end up at the end of c[0, n) in
 * falling order from the back. sum: of exp(logit - top) over all, when top-k is off. */
static int keep(struct candidate *c, int n, const struct rill_sampling *s, double sum)
{
    int most = s->top_k > 0 && s->top_k < n ? s->top_k : n;
    int heap = n;
    double top, seen = 0;

    if (most == n && s->top_p >= 1)
        return n; // all of them: their order does not matter
    for (int i = n / 2 - 1; i >= 0; i--)
        sift(c, n, i);
    top = c[0].logit;
    if (s->top_p < 1 && s->top_k > 0) { // top-p works on what top-k left
        while (n - heap < most)
            heap = pop(c, heap);
        for (int i = heap; i < n; i++)
            sum += exp(c[i].logit - top);
        for (int i = n - 1; i >= heap; i--) {
            seen += exp(c[i].logit - top);
            if (seen >= s->top_p * sum)
                return n - i;
        }
        return most;
    }
    while (n - heap < most) {
        heap = pop(c, heap);
        seen += exp(c[heap].logit - top);
        if (s->top_p < 1 && seen >= s->top_p * sum)
            break;
    }
    return n - heap;
}

static int32_t draw(const struct candidate *c, int n, int k, float temperature, double u)
{
    double top = c[n - 1].logit;
    double sum = 0, at = 0;

    for (int i = n - k; i < n; i++)
        top = c[i].logit > top ? c[i].logit : top;
    for (int i = n - 1; i >= n - k; i--)
        sum += exp((c[i].logit - top) / temperature);
    for (int i = n - 1; i >= n - k; i--) {
        at += exp((c[i].logit - top) / temperature);
        if (at > u * sum)
            return c[i].id;
    }
    return c[n - k].id;
}

static int32_t greedy(const struct sampler_work *w)
{
    int32_t best = -1;

    for (int i = 0; i < w->n_vocab; i++) {
        if (isnan(w->row[i]))
            return E_NUMERIC;
        if (best < 0 || w->row[i] > w->row[best])
            best = i;
    }
    return fabsf(w->row[best]) < INFINITY ? best : E_NUMERIC;
}

int sampler_draw(struct sampler_work *w, const struct sampler_in *in)
{
    const struct rill_sampling *s = in->sampling;
    double sum;
    int n_cand, k;

    memcpy(w->row, in->logits, (size_t)w->n_vocab * sizeof *w->row);
    for (int i = 0; i < s->n_bias; i++)
        w->row[s->bias[i].id] += s->bias[i].add;
    if (penalizes(s))
        penalize(w, s, in->history, in->n);
    for (int i = 0; i < in->n_ban; i++)
        w->row[in->ban[i]] = -INFINITY;
    if (s->temperature == 0)
        return greedy(w);
    n_cand = gather(w, s, &sum);
    if (n_cand < 0)
        return n_cand;
    k = keep(w->c, n_cand, s, sum);
    return draw(w->c, n_cand, k, s->temperature,
                rng_unit(in->seed, in->choice, (uint64_t)in->n, 0));
}

float sampler_logprobs(struct sampler_work *w, const float *logits, int32_t id,
                       struct rill_top *top, int n_top)
{
    float most = -INFINITY;
    double sum = 0;
    int n = 0;

    for (int i = 0; i < w->n_vocab; i++)
        most = logits[i] > most ? logits[i] : most;
    for (int i = 0; i < w->n_vocab; i++) {
        int k = n;

        sum += exp((double)logits[i] - most);
        if (n_top == 0 || (n == n_top && logits[i] <= top[n - 1].logprob))
            continue;
        k = n < n_top ? n++ : n_top - 1;
        for (; k > 0 && logits[i] > top[k - 1].logprob; k--)
            top[k] = top[k - 1];
        top[k] = (struct rill_top){i, logits[i]};
    }
    for (int k = 0; k < n; k++)
        top[k].logprob = (float)((double)top[k].logprob - most - log(sum));
    return (float)((double)logits[id] - most - log(sum));
}
