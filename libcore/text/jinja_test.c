/* jinja_test.c - the tests behind "is", and the global functions. */
#include "jinja_in.h"

#include "base/utf8.h"

#define TEST(name)                                                                                 \
    static struct jv name(struct jstate *J, struct jv v, const struct jv *a,                       \
                          const struct jargs *all)
#define UNUSED (void)J, (void)v, (void)a, (void)all

static bool is_callable(struct jv v)
{
    return v.type == J_MACRO || v.type == J_METHOD || v.type == J_FUNC || v.type == J_JOINER ||
           v.type == J_LOOP || v.type == J_UNDEF;
}

TEST(t_boolean)
{
    UNUSED;
    return jv_bool(v.type == J_BOOL);
}

TEST(t_callable)
{
    UNUSED;
    return jv_bool(is_callable(v));
}

TEST(t_defined)
{
    UNUSED;
    return jv_bool(v.type != J_UNDEF);
}

TEST(t_undefined)
{
    UNUSED;
    return jv_bool(v.type == J_UNDEF);
}

TEST(t_escaped)
{
    UNUSED;
    return jv_bool(v.type == J_STR && v.u.s->safe);
}

TEST(t_true)
{
    UNUSED;
    return jv_bool(v.type == J_BOOL && v.u.i);
}

TEST(t_false)
{
    UNUSED;
    return jv_bool(v.type == J_BOOL && !v.u.i);
}

TEST(t_filter)
{
    UNUSED;
    return jv_bool(v.type == J_STR && jfilter_find(jstr_slice(v.u.s)));
}

TEST(t_test)
{
    UNUSED;
    return jv_bool(v.type == J_STR && jtest_find(jstr_slice(v.u.s)));
}

TEST(t_float)
{
    UNUSED;
    return jv_bool(v.type == J_FLOAT);
}

TEST(t_integer)
{
    UNUSED;
    return jv_bool(v.type == J_INT);
}

TEST(t_number)
{
    UNUSED;
    return jv_bool(jv_is_num(v));
}

TEST(t_iterable)
{
    size_t n;

    UNUSED;
    return jv_bool(v.type == J_GEN || jv_length(J, v, &n));
}

TEST(t_mapping)
{
    UNUSED;
    return jv_bool(v.type == J_DICT);
}

/* What has a length and items by number or key. */
TEST(t_sequence)
{
    UNUSED;
    return jv_bool(v.type == J_STR || v.type == J_LIST || v.type == J_TUPLE || v.type == J_DICT ||
                   v.type == J_RANGE || v.type == J_UNDEF);
}

TEST(t_none)
{
    UNUSED;
    return jv_bool(v.type == J_NONE);
}

TEST(t_string)
{
    UNUSED;
    return jv_bool(v.type == J_STR);
}

static struct jv remainder_is(struct jstate *J, struct jv v, struct jv by, int64_t want)
{
    struct jv r = jop_arith(J, N_MOD, v, by);

    return jv_bool(jv_is_num(r) && jv_num(r) == (double)want);
}

TEST(t_even)
{
    UNUSED;
    return remainder_is(J, v, jv_int(2), 0);
}

TEST(t_odd)
{
    UNUSED;
    return remainder_is(J, v, jv_int(2), 1);
}

TEST(t_divisibleby)
{
    UNUSED;
    return remainder_is(J, v, a[0], 0);
}

/* str.islower, str.isupper: a letter of that case and none of the other. */
static bool all_case(struct jstate *J, struct jv v, char want)
{
    const struct jstr *s = jv_to_str(J, v);
    bool any = false;

    for (size_t i = 0; i < s->n && jstep(J, 1);) {
        uint32_t cp = 0, to[3];
        int n = utf8_decode(s->p + i, s->n - i, &cp);
        bool moves = ju_case(cp, want == 'l' ? 'u' : 'l', to) > 1 || to[0] != cp;

        if (ju_case(cp, want, to) > 1 || to[0] != cp)
            return false;
        any = any || moves;
        i += n > 0 ? (size_t)n : 1;
    }
    return any;
}

TEST(t_lower)
{
    UNUSED;
    return jv_bool(all_case(J, v, 'l'));
}

TEST(t_upper)
{
    UNUSED;
    return jv_bool(all_case(J, v, 'u'));
}

TEST(t_sameas)
{
    bool same = v.type == a[0].type && (v.type == J_FLOAT ? v.u.f == a[0].u.f
                                        : v.type == J_STR ? jstr_eq(v.u.s, a[0].u.s)
                                                          : v.type == J_NONE || v.u.i == a[0].u.i);

    UNUSED;
    return jv_bool(same);
}

TEST(t_in)
{
    UNUSED;
    return jv_bool(jv_in(J, v, a[0]));
}

TEST(t_eq)
{
    UNUSED;
    return jv_bool(jop_compare(J, C_EQ, v, a[0]));
}

TEST(t_ne)
{
    UNUSED;
    return jv_bool(jop_compare(J, C_NE, v, a[0]));
}

TEST(t_lt)
{
    UNUSED;
    return jv_bool(jop_compare(J, C_LT, v, a[0]));
}

TEST(t_le)
{
    UNUSED;
    return jv_bool(jop_compare(J, C_LE, v, a[0]));
}

TEST(t_gt)
{
    UNUSED;
    return jv_bool(jop_compare(J, C_GT, v, a[0]));
}

TEST(t_ge)
{
    UNUSED;
    return jv_bool(jop_compare(J, C_GE, v, a[0]));
}

const struct jfn *jtest_find(struct slice name)
{
    static const struct jfn table[] = {
        {"boolean", t_boolean, "", 0},
        {"callable", t_callable, "", 0},
        {"defined", t_defined, "", 0},
        {"divisibleby", t_divisibleby, "num", 1},
        {"eq", t_eq, "b", 1},
        {"equalto", t_eq, "b", 1},
        {"==", t_eq, "b", 1},
        {"escaped", t_escaped, "", 0},
        {"even", t_even, "", 0},
        {"false", t_false, "", 0},
        {"filter", t_filter, "", 0},
        {"float", t_float, "", 0},
        {"ge", t_ge, "b", 1},
        {">=", t_ge, "b", 1},
        {"greaterthan", t_gt, "b", 1},
        {"gt", t_gt, "b", 1},
        {">", t_gt, "b", 1},
        {"in", t_in, "seq", 1},
        {"integer", t_integer, "", 0},
        {"iterable", t_iterable, "", 0},
        {"le", t_le, "b", 1},
        {"<=", t_le, "b", 1},
        {"lessthan", t_lt, "b", 1},
        {"lower", t_lower, "", 0},
        {"lt", t_lt, "b", 1},
        {"<", t_lt, "b", 1},
        {"mapping", t_mapping, "", 0},
        {"ne", t_ne, "b", 1},
        {"!=", t_ne, "b", 1},
        {"none", t_none, "", 0},
        {"number", t_number, "", 0},
        {"odd", t_odd, "", 0},
        {"sameas", t_sameas, "other", 1},
        {"sequence", t_sequence, "", 0},
        {"string", t_string, "", 0},
        {"test", t_test, "", 0},
        {"true", t_true, "", 0},
        {"undefined", t_undefined, "", 0},
        {"upper", t_upper, "", 0},
    };

    return jfn_find(table, ARRAY_LEN(table), name);
}

/* -- global functions -- */

TEST(g_raise)
{
    const struct jstr *s = jv_to_str(J, a[0]);

    UNUSED;
    return jfail(J, "%.*s", (int)(s->n < 300 ? utf8_whole(s->p, s->n) : utf8_whole(s->p, 300)),
                 s->p);
}

TEST(g_strftime)
{
    UNUSED;
    if (a[0].type != J_STR)
        return jfail(J, "strftime_now: the format must be a string");
    return jv_str(jstrftime(J, a[0].u.s));
}

enum { RANGE_MAX = 100000 }; // the reference's, too

TEST(g_range)
{
    struct jrange *r = jalloc(J, 1, sizeof *r);
    int64_t start = 0, stop, step = 1;
    __int128 n;

    UNUSED;
    for (int i = 0; i < 3; i++)
        if (a[i].type != J_MISSING && !jv_is_int(a[i]))
            return a[i].type == J_UNDEF
                       ? jfail_undef(J, a[i])
                       : jfail(J, "'%s' object cannot be interpreted as an integer",
                               jtype_name(a[i]));
    stop = a[0].u.i;
    if (a[1].type != J_MISSING) {
        start = stop;
        stop = a[1].u.i;
    }
    if (a[2].type != J_MISSING)
        step = a[2].u.i;
    if (!r)
        return jv_none();
    if (step == 0)
        return jfail(J, "range() arg 3 must not be zero");
    n = step > 0 ? ((__int128)stop - start + step - 1) / step
                 : ((__int128)start - stop - step - 1) / -(__int128)step;
    if (n > RANGE_MAX)
        return jfail(J, "a range of more than %d items", RANGE_MAX);
    r->start = start;
    r->step = step;
    r->n = n > 0 ? (size_t)n : 0;
    return (struct jv){.type = J_RANGE, .u.r = r};
}

/* dict() and namespace(): of a mapping or pairs, and of keywords. */
static struct jdict *dict_of(struct jstate *J, const struct jargs *all)
{
    struct jdict *d = jdict_new(J, all->n_kw);
    struct jlist *l;

    if (all->n_pos > 1)
        jfail(J, "expected at most 1 argument, got %zu", all->n_pos);
    if (all->n_pos == 1 && all->pos[0].type == J_DICT) {
        for (size_t i = 0; i < all->pos[0].u.d->n && !J->failed; i++)
            jdict_put(J, d, all->pos[0].u.d->e[i].key, all->pos[0].u.d->e[i].val);
    } else if (all->n_pos == 1) {
        l = jv_items(J, all->pos[0]);
        for (size_t i = 0; i < l->n && !J->failed; i++) {
            struct jlist *pair = jv_items(J, l->v[i]);

            if (pair->n != 2)
                jfail(J, "dictionary update sequence element has length %zu; 2 is required",
                      pair->n);
            else
                jdict_put(J, d, pair->v[0], pair->v[1]);
        }
    }
    for (size_t i = 0; i < all->n_kw && !J->failed; i++)
        jdict_put(J, d, jv_str(all->kw[i].name), all->kw[i].v);
    return d;
}

TEST(g_dict)
{
    UNUSED;
    return jv_dict(dict_of(J, all));
}

TEST(g_namespace)
{
    struct jdict *d = dict_of(J, all);

    UNUSED;
    for (size_t i = 0; i < d->n; i++)
        if (d->e[i].key.type == J_STR && d->e[i].key.u.s->p[0] == '_')
            return jfail(J, "a namespace has no attributes that begin with an underscore");
    return (struct jv){.type = J_NS, .u.d = d};
}

TEST(g_joiner)
{
    struct jcycler *c = jalloc(J, 1, sizeof *c);

    UNUSED;
    if (!c)
        return jv_none();
    c->sep = a[0].type == J_MISSING ? jv_str(jstr_lit(J, ", ")) : a[0];
    return (struct jv){.type = J_JOINER, .u.cy = c};
}

TEST(g_cycler)
{
    struct jcycler *c = jalloc(J, 1, sizeof *c);

    UNUSED;
    if (all->n_pos == 0 || all->n_kw)
        return jfail(J, "cycler() needs at least one item");
    if (!c)
        return jv_none();
    c->l = jlist_new(J, all->n_pos);
    for (size_t i = 0; i < all->n_pos; i++)
        jlist_add(J, c->l, all->pos[i]);
    return J->failed ? jv_none() : (struct jv){.type = J_CYCLER, .u.cy = c};
}

const struct jfn *jglobal_find(struct slice name)
{
    static const struct jfn table[] = {
        {"cycler", g_cycler, "*", 0},
        {"dict", g_dict, "*", 0},
        {"joiner", g_joiner, "sep", 0},
        {"namespace", g_namespace, "*", 0},
        {"raise_exception", g_raise, "message", 1},
        {"range", g_range, "start stop step", 1},
        {"strftime_now", g_strftime, "format", 1},
    };

    return jfn_find(table, ARRAY_LEN(table), name);
}
