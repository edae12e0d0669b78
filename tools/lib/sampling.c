/* sampling.c - see sampling.h. */
#include "tools/lib/sampling.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

int sampling_bias(void *options, const char *value, struct err *e)
{
    struct sampling_options *o = options;
    char *end;
    long id;
    double add;

    errno = 0;
    id = strtol(value, &end, 10);
    if (errno || end == value || *end != '=' || id < 0 || id > INT32_MAX)
        return err_set(e, E_USAGE, "'%s': must be ID=X", value);
    value = end + 1;
    add = strtod(value, &end);
    if (end == value || *end || isnan(add) || add == INFINITY)
        return err_set(e, E_USAGE, "'%s' is no bias: a number or -inf", value);
    if (o->n_bias == (int)ARRAY_LEN(o->list))
        return err_set(e, E_USAGE, "more than %zu biases", ARRAY_LEN(o->list));
    o->list[o->n_bias++] = (struct rill_bias){(int32_t)id, (float)add};
    return 0;
}

int sampling_allowed(void *options, const char *value, struct err *e)
{
    struct sampling_options *o = options;
    char *end;
    long id;

    errno = 0;
    id = strtol(value, &end, 10);
    if (errno || end == value || *end || id < 0 || id > INT32_MAX)
        return err_set(e, E_USAGE, "'%s' is no token id", value);
    if (o->n_allowed == (int)ARRAY_LEN(o->allowed))
        return err_set(e, E_USAGE, "more than %zu tokens", ARRAY_LEN(o->allowed));
    o->allowed[o->n_allowed++] = (int32_t)id;
    return 0;
}

int sampling_breaker(void *options, const char *value, struct err *e)
{
    struct sampling_options *o = options;

    if (o->n_breaker == (int)ARRAY_LEN(o->breaker))
        return err_set(e, E_USAGE, "more than %zu texts", ARRAY_LEN(o->breaker));
    o->breaker[o->n_breaker++] = (struct rill_stop){value, strlen(value)};
    return 0;
}

static const char *const filters[RILL_FILTERS] = {
    [RILL_TOP_N_SIGMA] = "top_n_sigma",
    [RILL_TOP_K] = "top_k",
    [RILL_TYPICAL] = "typical_p",
    [RILL_TOP_P] = "top_p",
    [RILL_MIN_P] = "min_p",
    [RILL_XTC] = "xtc",
    [RILL_TEMPERATURE] = "temperature",
    [RILL_MIROSTAT] = "mirostat",
};

int sampling_filter(const char *name, size_t n)
{
    for (int i = 1; i < RILL_FILTERS; i++)
        if (strlen(filters[i]) == n && memcmp(filters[i], name, n) == 0)
            return i;
    return 0;
}

const char *sampling_filter_name(int filter)
{
    return filters[filter];
}

int sampling_order(void *options, const char *value, struct err *e)
{
    struct sampling_options *o = options;
    int n = 0;

    memset(o->order, 0, sizeof o->order);
    while (*value) {
        size_t len = strcspn(value, ",;");
        int filter = sampling_filter(value, len);

        if (!filter)
            return err_set(e, E_USAGE,
                           "'%.*s' is no filter: top_n_sigma, top_k, typical_p, top_p, "
                           "min_p, xtc, temperature or mirostat",
                           (int)len, value);
        if (memchr(o->order, filter, (size_t)n))
            return err_set(e, E_USAGE, "'%s' is named twice", filters[filter]);
        o->order[n++] = (unsigned char)filter;
        value += len + (value[len] != 0);
    }
    return n ? 0 : err_set(e, E_USAGE, "no filter is named");
}

void sampling_apply(const struct sampling_options *o, struct rill_sampling *s)
{
    if (o->has_temperature)
        s->temperature = (float)o->temperature;
    if (o->has_top_k)
        s->top_k = o->top_k;
    if (o->has_top_p)
        s->top_p = (float)o->top_p;
    if (o->has_min_p)
        s->min_p = (float)o->min_p;
    if (o->has_repetition)
        s->repetition_penalty = (float)o->repetition;
    if (o->has_presence)
        s->presence_penalty = (float)o->presence;
    if (o->has_frequency)
        s->frequency_penalty = (float)o->frequency;
    if (o->has_last)
        s->penalty_last = o->last;
    if (o->has_typical)
        s->typical_p = (float)o->typical;
    if (o->has_sigma)
        s->top_n_sigma = (float)o->sigma;
    if (o->has_xtc)
        s->xtc_probability = (float)o->xtc;
    if (o->has_xtc_threshold)
        s->xtc_threshold = (float)o->xtc_threshold;
    if (o->has_dyn_range)
        s->dynatemp_range = (float)o->dyn_range;
    if (o->has_dyn_exponent)
        s->dynatemp_exponent = (float)o->dyn_exponent;
    if (o->has_dry)
        s->dry_multiplier = (float)o->dry;
    if (o->has_dry_base)
        s->dry_base = (float)o->dry_base;
    if (o->has_dry_length)
        s->dry_allowed_length = o->dry_length;
    if (o->has_dry_last)
        s->dry_last = o->dry_last;
    s->dry_breaker = o->breaker;
    s->n_dry_breaker = o->n_breaker;
    if (o->has_mirostat)
        s->mirostat = o->mirostat;
    if (o->has_tau)
        s->mirostat_tau = (float)o->tau;
    if (o->has_eta)
        s->mirostat_eta = (float)o->eta;
    if (o->has_ngram)
        s->no_repeat_ngram = o->ngram;
    memcpy(s->order, o->order, sizeof s->order);
    s->allowed = o->allowed;
    s->n_allowed = o->n_allowed;
    s->has_seed = true;
    s->seed = o->seed;
    s->bias = o->list;
    s->n_bias = o->n_bias;
}
