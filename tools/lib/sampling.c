/* sampling.c - see sampling.h. */
#include "tools/lib/sampling.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

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

void sampling_apply(struct sampling_options *o, struct rill_sampling *s)
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
    s->has_seed = true;
    s->seed = o->seed;
    s->bias = o->list;
    s->n_bias = o->n_bias;
}
