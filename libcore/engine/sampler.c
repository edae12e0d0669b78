/* sampler.c - see sampler.h. */
#include "engine/sampler.h"

#include <math.h>
#include <string.h>

#include "base/exp64.h"
#include "base/mem.h"
#include "base/rng.h"

#define SUM_LANES 1024

struct rill_sampling rill_sampling_defaults(void)
{
    return (struct rill_sampling){.temperature = 0.8f,
                                  .top_p = 0.95f,
                                  .min_p = 0.05f,
                                  .typical_p = 1,
                                  .dynatemp_exponent = 1,
                                  .xtc_threshold = 0.1f,
                                  .mirostat_tau = 5,
                                  .mirostat_eta = 0.1f,
                                  .dry_base = 1.75f,
                                  .dry_allowed_length = 2,
                                  .dry_last = -1,
                                  .repetition_penalty = 1,
                                  .penalty_last = -1};
}

int sampler_work_init(struct sampler_work *w, int n_vocab, int n_ctx, struct err *e)
{
    w->n_vocab = n_vocab;
    w->n_ctx = n_ctx;
    w->match = mem_array((uint64_t)n_ctx, sizeof *w->match, e);
    w->breaker = mem_array((uint64_t)n_vocab, sizeof *w->breaker, e);
    w->c = mem_array((uint64_t)n_vocab, sizeof *w->c, e);
    w->row = mem_array((uint64_t)n_vocab, sizeof *w->row, e);
    w->count = mem_array((uint64_t)n_vocab, sizeof *w->count, e);
    if (w->c && w->row && w->count && w->match && w->breaker)
        return 0;
    sampler_work_fini(w);
    return E_NOMEM;
}

void sampler_work_fini(struct sampler_work *w)
{
    mem_free(w->c);
    mem_free(w->row);
    mem_free(w->count);
    mem_free(w->match);
    mem_free(w->breaker);
    *w = (struct sampler_work){0};
}

static int check_range(const char *name, double v, double lo, double hi, struct err *e)
{
    if (v >= lo && v <= hi) // false for a NaN
        return 0;
    return err_set(e, E_RANGE, "%s %g: must be from %g to %g", name, v, lo, hi);
}

static int check_bias(const struct rill_sampling *s, int n_vocab, struct err *e)
{
    for (int i = 0; i < s->n_bias; i++) {
        if (s->bias[i].id < 0 || s->bias[i].id >= n_vocab)
            return err_set(e, E_RANGE, "logit_bias: token %d is not below %d", s->bias[i].id,
                           n_vocab);
        if (isnan(s->bias[i].add) || s->bias[i].add == INFINITY)
            return err_set(e, E_RANGE, "logit_bias: the bias of token %d is not finite",
                           s->bias[i].id);
    }
    for (int i = 0; i < s->n_allowed; i++)
        if (s->allowed[i] < 0 || s->allowed[i] >= n_vocab)
            return err_set(e, E_RANGE, "allowed: token %d is not below %d", s->allowed[i], n_vocab);
    return 0;
}

static bool holds(struct slice piece, struct rill_stop part)
{
    for (size_t i = 0; part.n && i + part.n <= piece.n; i++)
        if (memcmp(piece.p + i, part.p, part.n) == 0)
            return true;
    return false;
}

void sampler_breakers(uint8_t *out, const struct tok *t, int n_vocab, const struct rill_stop *text,
                      int n)
{
    for (int i = 0; i < n_vocab; i++)
        for (int k = 0; k < n && !out[i]; k++)
            out[i] = holds(tok_piece(t, i), text[k]);
}

int sampler_check(const struct rill_sampling *s, int n_vocab, struct err *e)
{
    const struct {
        const char *name;
        double value, lo, hi;
    } all[] = {
        {"temperature", s->temperature, 0, 100},
        {"dynatemp_range", s->dynatemp_range, 0, 100},
        {"dynatemp_exponent", s->dynatemp_exponent, 0, 100},
        {"top_k", s->top_k, 0, INT32_MAX},
        {"top_p", s->top_p, 0, 1},
        {"min_p", s->min_p, 0, 1},
        {"typical_p", s->typical_p, 0, 1},
        {"top_n_sigma", s->top_n_sigma, 0, 1000},
        {"xtc_probability", s->xtc_probability, 0, 1},
        {"xtc_threshold", s->xtc_threshold, 0, 1},
        {"mirostat", s->mirostat, 0, 2},
        {"mirostat_tau", s->mirostat_tau, 0, 100},
        {"mirostat_eta", s->mirostat_eta, 0, 100},
        {"repetition_penalty", s->repetition_penalty, 0.01, 100},
        {"presence_penalty", s->presence_penalty, -100, 100},
        {"frequency_penalty", s->frequency_penalty, -100, 100},
        {"penalty_last", s->penalty_last, -1, INT32_MAX},
        {"dry_multiplier", s->dry_multiplier, 0, 100},
        {"dry_base", s->dry_base, 1, 100},
        {"dry_allowed_length", s->dry_allowed_length, 0, INT32_MAX},
        {"dry_last", s->dry_last, -1, INT32_MAX},
        {"no_repeat_ngram", s->no_repeat_ngram, 0, INT32_MAX},
        {"n_bias", s->n_bias, 0, n_vocab},
        {"n_allowed", s->n_allowed, 0, n_vocab},
    };
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(all); i++)
        rc = check_range(all[i].name, all[i].value, all[i].lo, all[i].hi, e);
    if (rc == 0 && !filters_order_good(s->order))
        rc = err_set(e, E_RANGE, "order: filters must be known, and each named once");
    return rc < 0 ? rc : check_bias(s, n_vocab, e);
}

/* Top-k, top-p, min-p and temperature in their usual order, and no other filter. */
static bool common(const struct rill_sampling *s)
{
    return !s->order[0] && !s->mirostat && s->typical_p >= 1 && s->top_n_sigma <= 0 &&
           s->xtc_probability <= 0 && s->dynatemp_range <= 0;
}

static bool penalizes(const struct rill_sampling *s)
{
    return s->penalty_last != 0 &&
           (s->repetition_penalty != 1 || s->presence_penalty != 0 || s->frequency_penalty != 0);
}

/* The place of a token in a list of edits, at its end if it is new; count[] remembers. */
static struct draw_edit *edit_of(struct sampler_work *w, int32_t id, struct draw_edit *list, int *n)
{
    if (!w->count[id]) {
        list[*n] = (struct draw_edit){.id = id};
        w->count[id] = ++*n;
    }
    return &list[w->count[id] - 1];
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

/* -- repetition of sequences -- */

/* match[i] for i in [from, n - 1): how many tokens up to and with history[i] equal the last
 * ones. Z-algorithm over the reversed text (Gusfield, "Algorithms on Strings, Trees, and
 * Sequences", 1.4). */
static void find_matches(struct sampler_work *w, const int32_t *history, int from, int n)
{
    const int len = n - from;
    const int32_t *end = history + n - 1; // end[-j] is the reversed text
    int32_t *z = w->match;                // z[j]: at place n - 1 - j
    int l = 0, r = 0;

    for (int j = 1; j < len; j++) {
        int k = j < r ? (z[j - l] < r - j ? z[j - l] : r - j) : 0;

        while (j + k < len && end[-k] == end[-(j + k)])
            k++;
        z[j] = k;
        if (j + k > r) {
            l = j;
            r = j + k;
        }
    }
}

/* Tokens that would go on with a sequence that was there before are made less likely, the more the
 * longer it is. */
static void dry(struct sampler_work *w, const struct rill_sampling *s, const uint8_t *breaker,
                const int32_t *history, int n)
{
    int from = s->dry_last >= 0 && s->dry_last < n ? n - s->dry_last : 0;
    int most = 0;

    while (most < n - from && !breaker[history[n - 1 - most]])
        most++;
    if (most == 0)
        return;
    find_matches(w, history, from, n);
    for (int j = 1; j < n - from; j++) {
        int32_t id = history[n - j]; // what came behind place n - 1 - j
        int len = w->match[j] < most ? w->match[j] : most;

        if (len > w->count[id])
            w->count[id] = len;
    }
    for (int j = 1; j < n - from; j++) {
        int32_t id = history[n - j];
        int over = w->count[id] - s->dry_allowed_length;

        if (w->count[id] > 0 && over >= 0)
            w->row[id] -=
                (float)fmin((double)s->dry_multiplier * pow((double)s->dry_base, over), 1e30);
        w->count[id] = 0;
    }
}

static void no_repeat(struct sampler_work *w, int size, const int32_t *history, int n)
{
    for (int i = 0; i + size <= n; i++)
        if (memcmp(history + i, history + n - (size - 1), (size_t)(size - 1) * sizeof *history) ==
            0)
            w->row[history[i + size - 1]] = -INFINITY;
}

static void only_allowed(struct sampler_work *w, const struct rill_sampling *s)
{
    for (int i = 0; i < s->n_allowed; i++)
        w->count[s->allowed[i]] = 1;
    for (int i = 0; i < w->n_vocab; i++)
        if (!w->count[i])
            w->row[i] = -INFINITY;
    for (int i = 0; i < s->n_allowed; i++)
        w->count[s->allowed[i]] = 0;
}

/* -- the common case: top-k, top-p and min-p before temperature, without sorting all -- */

/* Sum of e^(logit - top), in the order that a device with a block of SUM_LANES threads adds in. */
static double sum_of(const float *row, int n, double top)
{
    double lane[SUM_LANES] = {0};

    for (int i = 0; i < n; i += SUM_LANES)
        for (int j = 0; j < SUM_LANES && i + j < n; j++)
            lane[j] += exp64((double)row[i + j] - top);
    for (int m = SUM_LANES / 2; m; m /= 2)
        for (int j = 0; j < m; j++)
            lane[j] += lane[j + m];
    return lane[0];
}

/* Candidates within reach of the best: min-p bounds the distance of a logit from the largest,
 * *least, so most of a large vocabulary never enters the heap. Only when top-p is to be measured
 * against what top-k leaves must they all be there. Returns how many, or E_NUMERIC. */
static int gather(struct sampler_work *w, const struct rill_sampling *s, double *sum, float *least)
{
    const bool all = s->top_k > 0 && s->top_p < 1;
    float top = -INFINITY;
    int n = 0;

    for (int i = 0; i < w->n_vocab; i++) {
        if (isnan(w->row[i]))
            return E_NUMERIC;
        if (w->row[i] > top)
            top = w->row[i];
    }
    if (!(top > -INFINITY && top < INFINITY))
        return E_NUMERIC;
    *least = s->min_p > 0 ? top + logf(s->min_p) : -INFINITY;
    *sum = s->top_p < 1 && s->top_k == 0 ? sum_of(w->row, w->n_vocab, top) : 0;
    for (int i = 0; i < w->n_vocab; i++) {
        if ((all || w->row[i] >= *least) && w->row[i] > -INFINITY)
            w->c[n++] = (struct candidate){w->row[i], w->row[i], i};
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
    filters_heap(c, n);
    top = c[0].logit;
    if (s->top_p < 1 && s->top_k > 0) { // top-p works on what top-k left
        while (n - heap < most)
            heap = filters_pop(c, heap);
        for (int i = heap; i < n; i++)
            sum += exp64(c[i].logit - top);
        for (int i = n - 1; i >= heap; i--) {
            seen += exp64(c[i].logit - top);
            if (seen >= s->top_p * sum)
                return n - i;
        }
        return most;
    }
    while (n - heap < most) {
        heap = filters_pop(c, heap);
        seen += exp64(c[heap].logit - top);
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
        sum += exp64((c[i].logit - top) / temperature);
    for (int i = n - 1; i >= n - k; i--) {
        at += exp64((c[i].logit - top) / temperature);
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

/* All that may come, for filters that need to see them; their number, or E_NUMERIC. */
static int gather_all(struct sampler_work *w)
{
    int n = 0;

    for (int i = 0; i < w->n_vocab; i++) {
        if (isnan(w->row[i]) || w->row[i] == INFINITY)
            return E_NUMERIC;
        if (w->row[i] > -INFINITY)
            w->c[n++] = (struct candidate){w->row[i], w->row[i], i};
    }
    return n ? n : E_NUMERIC;
}

static void prepare_row(struct sampler_work *w, const struct sampler_in *in)
{
    const struct rill_sampling *s = in->sampling;

    memcpy(w->row, in->logits, (size_t)w->n_vocab * sizeof *w->row);
    for (int i = 0; in->mask && i < w->n_vocab; i++)
        if (i >= in->n_mask || !(in->mask[i / 32] >> i % 32 & 1))
            w->row[i] = -INFINITY;
    if (s->n_allowed)
        only_allowed(w, s);
    for (int i = 0; i < s->n_bias; i++)
        w->row[s->bias[i].id] += s->bias[i].add;
    if (penalizes(s))
        penalize(w, s, in->history, in->n);
    if (s->dry_multiplier > 0)
        dry(w, s, in->breaker ? in->breaker : w->breaker, in->history, in->n);
    if (s->no_repeat_ngram > 0)
        no_repeat(w, s->no_repeat_ngram, in->history, in->n);
    for (int i = 0; i < in->n_ban; i++)
        w->row[in->ban[i]] = -INFINITY;
}

int sampler_draw(struct sampler_work *w, const struct sampler_in *in)
{
    const struct rill_sampling *s = in->sampling;
    const uint64_t at = (uint64_t)in->n;
    const struct chances u = {.token = rng_unit(in->seed, in->choice, at, 0),
                              .xtc = rng_unit(in->seed, in->choice, at, 1),
                              .mu = in->mu,
                              .n_vocab = w->n_vocab};
    double sum = 0;
    float least = -INFINITY;
    int n, k;

    prepare_row(w, in);
    if (s->temperature == 0)
        return greedy(w);
    n = common(s) ? gather(w, s, &sum, &least) : gather_all(w);
    if (n < 0)
        return n;
    if (!common(s))
        return filters_draw(w->c, n, s, u);
    k = keep(w->c, n, s, sum);
    while (k > 1 && s->top_k > 0 && w->c[n - k].logit < least)
        k--;
    return draw(w->c, n, k, s->temperature, u.token);
}

bool sampler_as_draw(struct sampler_work *w, const struct sampler_in *in, struct draw *out,
                     struct draw_edit *room, int cap)
{
    const struct rill_sampling *s = in->sampling;
    const bool penal = penalizes(s);
    const int from = !penal                                           ? in->n
                     : s->penalty_last > 0 && s->penalty_last < in->n ? in->n - s->penalty_last
                                                                      : 0;
    const int late = in->n_late < in->n - from ? in->n_late : in->n - from;
    int n = 0;

    if (!common(s) || s->n_allowed || s->dry_multiplier > 0 || s->no_repeat_ngram > 0 ||
        (int64_t)s->n_bias + in->n - from + in->n_ban > cap)
        return false;
    for (int i = 0; i < s->n_bias; i++)
        edit_of(w, s->bias[i].id, room, &n)->add += s->bias[i].add;
    const bool twice = n < s->n_bias; // two numbers for one token: their sum would round otherwise
    for (int i = from; i < in->n - in->n_late; i++)
        edit_of(w, in->history[i], room, &n)->count++;
    for (int i = 0; i < in->n_ban; i++)
        edit_of(w, in->ban[i], room, &n)->count = -1;
    for (int i = 0; i < n; i++)
        w->count[room[i].id] = 0;
    *out = (struct draw){.edit = room,
                         .n_edit = n,
                         .mask = in->mask,
                         .n_mask = in->n_mask,
                         .late = late,
                         .rule = {.repetition = s->repetition_penalty,
                                  .presence = s->presence_penalty,
                                  .frequency = s->frequency_penalty,
                                  .temperature = s->temperature,
                                  .top_k = s->top_k,
                                  .top_p = s->top_p,
                                  .has_min = s->min_p > 0,
                                  .least = s->min_p > 0 ? logf(s->min_p) : 0.0f,
                                  .u = rng_unit(in->seed, in->choice, (uint64_t)in->n, 0)}};
    return !twice;
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
