/* filters.c - see filters.h. */
#include "engine/filters.h"

#include <math.h>

#define SURPRISES 100 // of the likeliest tokens, from which mirostat 1 estimates their law

/* Candidates c[from, n), falling from the back. */
struct chain {
    struct candidate *c;
    int from, n;
};

/* -- order -- */

static bool better(const struct candidate *a, const struct candidate *b)
{
    return a->key > b->key || (a->key == b->key && a->id < b->id);
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

void filters_heap(struct candidate *c, int n)
{
    for (int i = n / 2 - 1; i >= 0; i--)
        sift(c, n, i);
}

int filters_pop(struct candidate *c, int n)
{
    struct candidate best = c[0];

    c[0] = c[n - 1];
    sift(c, n - 1, 0);
    c[n - 1] = best;
    return n - 1;
}

static void sort(struct candidate *c, int n)
{
    filters_heap(c, n);
    while (n > 1)
        n = filters_pop(c, n);
}

static void sort_by_logit(struct chain *k)
{
    for (int i = k->from; i < k->n; i++)
        k->c[i].key = k->c[i].logit;
    sort(k->c + k->from, k->n - k->from);
}

/* -- filters -- */

static const struct candidate *best(const struct chain *k)
{
    return &k->c[k->n - 1];
}

static double weight(const struct chain *k, int i)
{
    return exp((double)k->c[i].logit - best(k)->logit);
}

/* Of weights that are 1 for the best. */
static double total(const struct chain *k)
{
    double sum = 0;

    for (int i = k->n - 1; i >= k->from; i--)
        sum += weight(k, i);
    return sum;
}

static double entropy(const struct chain *k, double sum)
{
    double h = 0;

    for (int i = k->n - 1; i >= k->from; i--) {
        double p = weight(k, i) / sum;

        h -= p > 0 ? p * log(p) : 0;
    }
    return h;
}

static void top_k(struct chain *k, const struct rill_sampling *s)
{
    if (s->top_k > 0 && k->n - k->from > s->top_k)
        k->from = k->n - s->top_k;
}

/* The fewest from the back that make up p of the sum, at least one. */
static int make_up(const struct chain *k, double p, double sum)
{
    double seen = 0;

    for (int i = k->n - 1; i > k->from; i--) {
        seen += weight(k, i);
        if (seen >= p * sum)
            return i;
    }
    return k->from;
}

static void top_p(struct chain *k, const struct rill_sampling *s)
{
    if (s->top_p < 1)
        k->from = make_up(k, s->top_p, total(k));
}

static void min_p(struct chain *k, const struct rill_sampling *s)
{
    while (s->min_p > 0 && k->from < k->n - 1 && weight(k, k->from) < (double)s->min_p)
        k->from++;
}

static void top_n_sigma(struct chain *k, const struct rill_sampling *s)
{
    const int n = k->n - k->from;
    double mean = 0, var = 0, least;

    if (s->top_n_sigma <= 0)
        return;
    for (int i = k->n - 1; i >= k->from; i--)
        mean += (double)k->c[i].logit / n;
    for (int i = k->n - 1; i >= k->from; i--)
        var += (k->c[i].logit - mean) * (k->c[i].logit - mean) / n;
    least = (double)best(k)->logit - (double)s->top_n_sigma * sqrt(var);
    while (k->from < k->n - 1 && k->c[k->from].logit < least)
        k->from++;
}

/* Those whose surprise is nearest to the expected one. */
static void typical(struct chain *k, const struct rill_sampling *s)
{
    double sum, h, top, seen = 0;
    int i;

    if (s->typical_p >= 1)
        return;
    sum = total(k);
    h = entropy(k, sum);
    top = best(k)->logit;
    for (i = k->from; i < k->n; i++)
        k->c[i].key = (float)-fabs(log(sum) - ((double)k->c[i].logit - top) - h);
    sort(k->c + k->from, k->n - k->from);
    for (i = k->n - 1; i > k->from; i--) {
        seen += exp((double)k->c[i].logit - top) / sum;
        if (seen >= (double)s->typical_p)
            break;
    }
    k->from = i;
    sort_by_logit(k);
}

/* Now and then all that are likely enough but the least likely of them are left out. */
static void xtc(struct chain *k, const struct rill_sampling *s, double u)
{
    double sum;
    int i = k->n;

    if (s->xtc_probability <= 0 || u >= (double)s->xtc_probability)
        return;
    sum = total(k);
    while (i > k->from && weight(k, i - 1) / sum >= (double)s->xtc_threshold)
        i--;
    if (k->n - i >= 2)
        k->n = i + 1;
}

static void temperature(struct chain *k, const struct rill_sampling *s)
{
    double t = (double)s->temperature;
    const int n = k->n - k->from;

    if (s->dynatemp_range > 0 && n > 1) {
        double low = t > (double)s->dynatemp_range ? t - (double)s->dynatemp_range : 0;
        double part = entropy(k, total(k)) / log(n);

        t = low + (t + (double)s->dynatemp_range - low) * pow(part, (double)s->dynatemp_exponent);
        t = t > 1e-4 ? t : 1e-4;
    }
    for (int i = k->from; i < k->n; i++)
        k->c[i].logit = (float)((double)k->c[i].logit / t);
}

/* How many tokens surprise by no more than mu bits if the probability of the i-th likeliest of n
 * goes by 1 / i^s: s as the pairs of neighbours among the first suggest. */
static double zipf_reach(const struct chain *k, double mu, int n_vocab)
{
    const int n = k->n - k->from < SURPRISES ? k->n - k->from : SURPRISES;
    double up = 0, down = 0, s, eps;

    for (int i = 0; i + 1 < n; i++) {
        double t = log((i + 2.0) / (i + 1.0));
        const struct candidate *c = &k->c[k->n - 1 - i];

        up += t * ((double)c[0].logit - c[-1].logit);
        down += t * t;
    }
    s = down > 0 ? up / down : 0;
    eps = s - 1;
    if (fabs(eps) < 1e-9 || s <= 0) // the sum's own limit; or no law at all
        return s <= 0 ? n_vocab : exp2(mu) / log(n_vocab > 1 ? n_vocab : 2);
    return pow(eps * exp2(mu) / (1 - pow(n_vocab, -eps)), 1 / s);
}

static void mirostat(struct chain *k, const struct rill_sampling *s, struct chances u)
{
    double reach, sum;

    if (!s->mirostat || !u.mu)
        return;
    if (s->mirostat == 1) {
        reach = zipf_reach(k, *u.mu, u.n_vocab);
        if (reach < k->n - k->from)
            k->from = k->n - (reach > 1 ? (int)reach : 1);
        return;
    }
    sum = total(k);
    while (k->from < k->n - 1 && -log2(weight(k, k->from) / sum) > *u.mu)
        k->from++;
}

/* -- the chain -- */

bool filters_order_good(const unsigned char *order)
{
    bool seen[RILL_FILTERS] = {false};
    int i = 0;

    for (; i < RILL_FILTERS && order[i]; i++) {
        if (order[i] >= RILL_FILTERS || seen[order[i]])
            return false;
        seen[order[i]] = true;
    }
    return i < RILL_FILTERS;
}

static void filter(struct chain *k, int which, const struct rill_sampling *s, struct chances u)
{
    switch (which) {
    case RILL_TOP_N_SIGMA:
        top_n_sigma(k, s);
        break;
    case RILL_TOP_K:
        top_k(k, s);
        break;
    case RILL_TYPICAL:
        typical(k, s);
        break;
    case RILL_TOP_P:
        top_p(k, s);
        break;
    case RILL_MIN_P:
        min_p(k, s);
        break;
    case RILL_XTC:
        xtc(k, s, u.xtc);
        break;
    case RILL_TEMPERATURE:
        temperature(k, s);
        break;
    case RILL_MIROSTAT:
        mirostat(k, s, u);
        break;
    default:
        break;
    }
}

int32_t filters_draw(struct candidate *c, int n, const struct rill_sampling *s, struct chances u)
{
    struct chain k = {c, 0, n};
    double sum, at = 0;
    int i;

    sort_by_logit(&k);
    for (i = 1; i < RILL_FILTERS; i++)
        filter(&k, s->order[0] ? s->order[i - 1] : i, s, u);
    sum = total(&k);
    for (i = k.n - 1; i > k.from; i--) {
        at += weight(&k, i);
        if (at > u.token * sum)
            break;
    }
    if (s->mirostat && u.mu)
        *u.mu -= (double)s->mirostat_eta * (-log2(weight(&k, i) / sum) - (double)s->mirostat_tau);
    return k.c[i].id;
}
