/* jinja_method.c - methods of dicts, lists, loops and cyclers. What changes a value is not here:
 * the sandbox refuses it. */
#include "jinja_in.h"

#define METHOD(name)                                                                               \
    static struct jv name(struct jstate *J, struct jv v, const struct jv *a,                       \
                          const struct jargs *all)
#define UNUSED (void)J, (void)v, (void)a, (void)all

METHOD(d_get)
{
    struct jv r;

    UNUSED;
    if (jdict_get(J, v.u.d, a[0], &r))
        return r;
    return a[1].type == J_MISSING ? jv_none() : a[1];
}

METHOD(d_items)
{
    UNUSED;
    return (struct jv){.type = J_VIEW, .sub = 'i', .u.d = v.u.d};
}

METHOD(d_keys)
{
    UNUSED;
    return (struct jv){.type = J_VIEW, .sub = 'k', .u.d = v.u.d};
}

METHOD(d_values)
{
    UNUSED;
    return (struct jv){.type = J_VIEW, .sub = 'v', .u.d = v.u.d};
}

METHOD(copy) // values never change: the same one serves
{
    UNUSED;
    return v;
}

METHOD(l_count)
{
    struct jlist *l = jv_items(J, v);
    int64_t n = 0;

    UNUSED;
    for (size_t i = 0; i < l->n && jstep(J, 1); i++)
        n += jv_eq(J, l->v[i], a[0]);
    return jv_int(n);
}

METHOD(l_index)
{
    struct jlist *l = jv_items(J, v);
    int64_t from = jv_is_int(a[1]) ? a[1].u.i : 0, to = jv_is_int(a[2]) ? a[2].u.i : INT64_MAX;
    int64_t n = (int64_t)l->n;

    UNUSED;
    from = from < 0 ? from + n : from;
    to = to < 0 ? to + n : to > n ? n : to;
    for (int64_t i = from < 0 ? 0 : from; i < to && jstep(J, 1); i++)
        if (jv_eq(J, l->v[i], a[0]))
            return jv_int(i);
    return jfail(J, "the value is not in the list");
}

METHOD(loop_cycle)
{
    UNUSED;
    if (all->n_pos == 0)
        return jfail(J, "no items for cycling given");
    return all->pos[v.u.lo->at % all->n_pos];
}

METHOD(loop_changed)
{
    struct jlist *l = jlist_new(J, all->n_pos);
    struct jloop *lo = v.u.lo;

    UNUSED;
    for (size_t i = 0; i < all->n_pos; i++)
        jlist_add(J, l, all->pos[i]);
    if (lo->changed && jv_eq(J, jv_tuple(lo->changed), jv_tuple(l)))
        return jv_bool(false);
    lo->changed = l;
    return jv_bool(true);
}

METHOD(c_next)
{
    struct jcycler *c = v.u.cy;
    struct jv r = c->l->v[c->at];

    UNUSED;
    c->at = (c->at + 1) % c->l->n;
    return r;
}

METHOD(c_reset)
{
    UNUSED;
    v.u.cy->at = 0;
    return jv_none();
}

const struct jfn *jmethod_find(uint8_t type, struct slice name)
{
    static const struct jfn dict[] = {{"copy", copy, "", 0},
                                      {"get", d_get, "key default", 1},
                                      {"items", d_items, "", 0},
                                      {"keys", d_keys, "", 0},
                                      {"values", d_values, "", 0}};
    static const struct jfn list[] = {{"copy", copy, "", 0},
                                      {"count", l_count, "value", 1},
                                      {"index", l_index, "value start stop", 1}};
    static const struct jfn loop[] = {{"changed", loop_changed, "*", 0},
                                      {"cycle", loop_cycle, "*", 0}};
    static const struct jfn cycler[] = {{"next", c_next, "", 0}, {"reset", c_reset, "", 0}};

    switch (type) {
    case J_STR:
        return jmethod_str_find(name);
    case J_DICT:
        return jfn_find(dict, ARRAY_LEN(dict), name);
    case J_LIST:
        return jfn_find(list, ARRAY_LEN(list), name);
    case J_TUPLE:
    case J_RANGE:
        return jfn_find(list + 1, ARRAY_LEN(list) - 1, name);
    case J_LOOP:
        return jfn_find(loop, ARRAY_LEN(loop), name);
    case J_CYCLER:
        return jfn_find(cycler, ARRAY_LEN(cycler), name);
    default:
        return NULL;
    }
}
