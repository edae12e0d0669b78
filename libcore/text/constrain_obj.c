/* constrain_obj.c - see constrain_obj.h. */
#include "constrain_obj.h"

uint32_t obj_words(const struct gram_obj *o)
{
    return OBJ_READ + (o->ordered ? 1 : (o->n_prop + 31) / 32);
}

static bool bit(const uint32_t *w, uint32_t i)
{
    return w[i / 32] >> i % 32 & 1;
}

/* Members are counted up to this; beyond it nothing depends on their number. */
static uint32_t counted(const struct gram_obj *o)
{
    uint32_t n = o->min > o->n_need ? o->min : 1;

    return o->max != OBJ_NO_LIMIT && o->max > n ? o->max : n;
}

static bool was_read(const struct gram_obj *o, const uint32_t *rec, uint32_t prop)
{
    return o->ordered ? prop < rec[OBJ_READ] : bit(rec + OBJ_READ, prop);
}

/* Needed ones that were not read. */
static uint32_t still_needed(const struct gram *g, const struct gram_obj *o, const uint32_t *rec)
{
    const uint32_t *need;
    uint32_t n = 0;

    if (o->n_prop == 0) // then there may be no bits at all
        return 0;
    need = g->bits + o->need;
    if (o->ordered) {
        for (uint32_t i = rec[OBJ_READ]; i < o->n_prop; i++)
            n += bit(need, i);
        return n;
    }
    for (uint32_t i = 0; i < (o->n_prop + 31) / 32; i++)
        n += (uint32_t)__builtin_popcount(need[i] & ~rec[OBJ_READ + i]);
    return n;
}

static uint32_t for_min(const struct gram_obj *o, const uint32_t *rec)
{
    return rec[OBJ_NAMED] + (o->others_once && rec[OBJ_OTHERS] ? 1 : rec[OBJ_OTHERS]);
}

/* Whether a move is open, but for limits. */
static bool open_move(const struct gram_obj *o, const uint32_t *rec, const struct gram_move *m)
{
    return !(m->some & rec[OBJ_MET]) && (!m->only_met || m->met == rec[OBJ_MET]) &&
           (m->prop == OBJ_OTHER || !was_read(o, rec, m->prop));
}

/* How many members can still come, each property once; and conditions that can still be met. */
static uint32_t available(const struct gram *g, const struct gram_obj *o, const uint32_t *rec,
                          uint8_t *some)
{
    uint32_t n = 0, last = OBJ_OTHER;
    bool others = false;

    *some = 0;
    for (uint32_t k = o->move; k < o->move + o->n_move; k++) {
        const struct gram_move *m = &g->move[k];

        if (!open_move(o, rec, m))
            continue;
        *some |= m->some;
        others = others || m->prop == OBJ_OTHER;
        n += m->prop != last; // a property's moves are adjacent, the others' come last
        last = m->prop;
    }
    if (others && !o->others_once)
        return OBJ_NO_LIMIT;
    return n + (others && !rec[OBJ_OTHERS]);
}

/* The fewest members with which what is left can be met. */
static uint32_t fewest(const struct gram *g, const struct gram_obj *o, const uint32_t *rec)
{
    uint32_t n = still_needed(g, o, rec), extra = 0;
    uint8_t met = (uint8_t)rec[OBJ_MET];

    for (uint32_t k = o->move; k < o->move + o->n_move; k++) { // needed ones may meet some
        const struct gram_move *m = &g->move[k];

        if (m->prop != OBJ_OTHER && bit(g->bits + o->need, m->prop) && !was_read(o, rec, m->prop))
            met |= m->some;
    }
    for (int i = 0; i < OBJ_MAX_SOME; i++)
        extra += (o->some & ~met) >> i & 1;
    return n + extra;
}

/* Whether the object can be ended from rec on. */
static bool can_end(const struct gram *g, const struct gram_obj *o, const uint32_t *rec)
{
    uint32_t all = rec[OBJ_NAMED] + rec[OBJ_OTHERS], have = for_min(o, rec), left;
    uint8_t some = 0;

    if (o->max != OBJ_NO_LIMIT && all + fewest(g, o, rec) > o->max)
        return false;
    if (have >= o->min && rec[OBJ_MET] == o->some)
        return true;
    left = available(g, o, rec, &some);
    if (o->max != OBJ_NO_LIMIT && left > o->max - all)
        left = o->max - all;
    return (have >= o->min || left >= o->min - have) && !(o->some & ~(rec[OBJ_MET] | some));
}

void obj_move(const struct gram *g, const struct gram_obj *o, const uint32_t *rec,
              const struct gram_move *m, uint32_t *to)
{
    uint32_t words = obj_words(o), most = counted(o);
    uint32_t count = m->prop == OBJ_OTHER ? OBJ_OTHERS : OBJ_NAMED;

    (void)g;
    for (uint32_t i = 0; i < words; i++)
        to[i] = rec[i];
    if (to[count] < most)
        to[count]++;
    to[OBJ_MET] |= m->some;
    if (o->ordered)
        to[OBJ_READ] = m->prop == OBJ_OTHER ? o->n_prop : m->prop + 1;
    else if (m->prop != OBJ_OTHER)
        to[OBJ_READ + m->prop / 32] |= 1u << m->prop % 32;
}

bool obj_may(const struct gram *g, const struct gram_obj *o, const uint32_t *rec,
             const struct gram_move *m, uint32_t *work)
{
    uint32_t last = m->prop == OBJ_OTHER ? o->n_prop : m->prop;

    if (!open_move(o, rec, m))
        return false;
    for (uint32_t i = rec[OBJ_READ]; o->ordered && i < last; i++)
        if (bit(g->bits + o->need, i)) // an object without properties has none
            return false;
    if (o->max == OBJ_NO_LIMIT && o->min <= o->n_need && !o->some)
        return true;
    if (o->max != OBJ_NO_LIMIT && rec[OBJ_NAMED] + rec[OBJ_OTHERS] >= o->max)
        return false;
    obj_move(g, o, rec, m, work);
    return can_end(g, o, work);
}

bool obj_may_end(const struct gram *g, const struct gram_obj *o, const uint32_t *rec)
{
    return rec[OBJ_MET] == o->some && still_needed(g, o, rec) == 0 &&
           (o->min <= o->n_need || for_min(o, rec) >= o->min);
}

bool obj_possible(const struct gram *g, const struct gram_obj *o, const bool *useful)
{
    uint32_t need = 0, n = 0, last = OBJ_OTHER;
    bool others = false;
    uint8_t some = 0;

    for (uint32_t k = o->move; k < o->move + o->n_move; k++) {
        const struct gram_move *m = &g->move[k];

        if (!useful[g->rule[m->rule[0]].start])
            continue;
        some |= m->some;
        others = others || m->prop == OBJ_OTHER;
        if (m->prop == OBJ_OTHER || m->prop == last)
            continue;
        last = m->prop;
        n++;
        need += bit(g->bits + o->need, m->prop);
    }
    if (others)
        n = o->others_once ? n + 1 : OBJ_NO_LIMIT;
    return need == o->n_need && n >= o->min && o->min <= o->max && need <= o->max &&
           !(o->some & ~some) && (!o->some || o->max > 0);
}
