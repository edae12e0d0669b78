/* jinja_filter.c - filters on sequences, dicts and numbers; those on strings are in
 * jinja_filter_str.c. */
#include "jinja_in.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define FILTER(name)                                                                               \
    static struct jv name(struct jstate *J, struct jv v, const struct jv *a,                       \
                          const struct jargs *all)
#define UNUSED (void)J, (void)v, (void)a, (void)all

static bool given(struct jv v)
{
    return v.type != J_MISSING && v.type != J_NONE;
}

static struct jv nothing(void)
{
    return jv_undef(JU_PLAIN, NULL);
}

/* -- keys: an attribute of an item, in lower case unless case matters -- */

/* "a.0.b" of an item; what is undefined on the way becomes `otherwise`, where that is given. */
static struct jv one_attribute(struct jstate *J, struct jv item, const struct jstr *path,
                               struct jv otherwise)
{
    size_t at = 0;

    while (!J->failed) {
        const char *dot = memchr(path->p + at, '.', path->n - at);
        size_t end = dot ? (size_t)(dot - path->p) : path->n;
        const struct jstr *part = jstr_sub(J, path, at, end - at);
        bool digits = part->n > 0 && part->n < 18;

        for (size_t i = 0; i < part->n; i++)
            digits = digits && part->p[i] >= '0' && part->p[i] <= '9';
        if (digits) {
            char text[20];

            memcpy(text, part->p, part->n);
            text[part->n] = 0;
            item = jv_item(J, item, jv_int(strtoll(text, NULL, 10)));
        } else {
            item = jv_item(J, item, jv_str(part));
        }
        if (item.type == J_UNDEF && given(otherwise))
            item = otherwise;
        if (!dot)
            return item;
        at = end + 1;
    }
    return nothing();
}

static struct jv attribute(struct jstate *J, struct jv item, struct jv path)
{
    if (path.type == J_STR)
        return one_attribute(J, item, path.u.s, jv_none());
    return jv_item(J, item, path);
}

static struct jv fold(struct jstate *J, struct jv v, bool case_sensitive)
{
    return v.type == J_STR && !case_sensitive ? jv_str(jstr_case(J, v.u.s, 'l')) : v;
}

struct keyed {
    struct jv key, item;
};

/* The key of sort(attribute="a,b") is a list of both. */
static struct jv sort_key(struct jstate *J, struct jv item, struct jv attr, bool case_sensitive)
{
    struct jlist *l;
    size_t at = 0;

    if (!given(attr))
        return fold(J, item, case_sensitive);
    if (attr.type != J_STR || !memchr(attr.u.s->p, ',', attr.u.s->n))
        return fold(J, attribute(J, item, attr), case_sensitive);
    l = jlist_new(J, 2);
    while (at <= attr.u.s->n && !J->failed) {
        const char *comma = memchr(attr.u.s->p + at, ',', attr.u.s->n - at);
        size_t end = comma ? (size_t)(comma - attr.u.s->p) : attr.u.s->n;
        struct jv part = jv_str(jstr_sub(J, attr.u.s, at, end - at));

        jlist_add(J, l, fold(J, attribute(J, item, part), case_sensitive));
        at = end + 1;
    }
    return jv_list(l);
}

/* Equal keys need no order: [none, none] can be sorted. */
static bool before(struct jstate *J, struct jv a, struct jv b)
{
    return !jv_eq(J, a, b) && jv_cmp(J, a, b, "<") < 0;
}

/* A stable merge sort; reverse keeps the order of equals too. */
static void sort_keyed(struct jstate *J, struct keyed *k, struct keyed *tmp, size_t n, bool reverse)
{
    size_t half = n / 2, i = 0, j = half, o = 0;

    if (n < 2 || J->failed)
        return;
    sort_keyed(J, k, tmp, half, reverse);
    sort_keyed(J, k + half, tmp, n - half, reverse);
    while (i < half && j < n && jstep(J, 1)) {
        bool right = reverse ? before(J, k[i].key, k[j].key) : before(J, k[j].key, k[i].key);

        tmp[o++] = right ? k[j++] : k[i++];
    }
    while (i < half)
        tmp[o++] = k[i++];
    memcpy(k, tmp, o * sizeof *k);
}

static struct keyed *sorted(struct jstate *J, const struct jlist *l, struct jv attr,
                            bool case_sensitive, bool reverse)
{
    struct keyed *k = jalloc(J, l->n, sizeof *k), *tmp = jalloc(J, l->n, sizeof *tmp);

    if (!k || !tmp)
        return NULL;
    for (size_t i = 0; i < l->n && !J->failed; i++)
        k[i] = (struct keyed){sort_key(J, l->v[i], attr, case_sensitive), l->v[i]};
    sort_keyed(J, k, tmp, l->n, reverse);
    return J->failed ? NULL : k;
}

/* -- the filters -- */

FILTER(f_abs)
{
    UNUSED;
    if (v.type == J_FLOAT)
        return jv_float(fabs(v.u.f));
    if (!jv_is_int(v))
        return v.type == J_UNDEF ? jfail_undef(J, v)
                                 : jfail(J, "bad operand type for abs: '%s'", jtype_name(v));
    return v.u.i < 0 ? jop_neg(J, v) : jv_int(v.u.i);
}

FILTER(f_attr)
{
    struct jv r;

    UNUSED;
    if (a[0].type != J_STR)
        return jfail(J, "attr: the name must be a string");
    if (v.type == J_DICT) // attributes only, never items
        return jv_method(J, v, a[0].u.s, &r) ? r : jv_undef(JU_ATTR + J_DICT, a[0].u.s);
    return jv_attr(J, v, a[0].u.s);
}

FILTER(f_batch)
{
    struct jlist *l = jv_items(J, v), *r = jlist_new(J, 0), *row = NULL;

    UNUSED;
    if (!jv_is_int(a[0]) || a[0].u.i < 1)
        return jfail(J, "batch: the count must be a number above 0");
    for (size_t i = 0; i < l->n && !J->failed; i++) {
        if (i % (uint64_t)a[0].u.i == 0) {
            row = jlist_new(J, 0);
            jlist_add(J, r, jv_list(row));
        }
        jlist_add(J, row, l->v[i]);
    }
    while (row && given(a[1]) && (int64_t)row->n < a[0].u.i && !J->failed)
        jlist_add(J, row, a[1]);
    return jgen_new(J, r);
}

FILTER(f_slice)
{
    struct jlist *l = jv_items(J, v), *r = jlist_new(J, 0);
    size_t n, at = 0;

    UNUSED;
    if (!jv_is_int(a[0]) || a[0].u.i < 1)
        return jfail(J, "slice: the count must be a number above 0");
    n = (size_t)a[0].u.i;
    for (size_t i = 0; i < n && !J->failed; i++) {
        struct jlist *row = jlist_new(J, 0);
        size_t take = l->n / n + (i < l->n % n);

        for (size_t k = 0; k < take && !J->failed; k++)
            jlist_add(J, row, l->v[at++]);
        if (given(a[1]) && i >= l->n % n && l->n % n)
            jlist_add(J, row, a[1]);
        jlist_add(J, r, jv_list(row));
    }
    return jgen_new(J, r);
}

FILTER(f_default)
{
    bool use = v.type == J_UNDEF;

    UNUSED;
    if (!use && a[1].type != J_MISSING && jv_true(J, a[1]))
        use = !jv_true(J, v);
    return !use ? v : a[0].type == J_MISSING ? jv_str(&jstr_empty) : a[0];
}

FILTER(f_dictsort)
{
    bool by_value = a[1].type == J_STR && jstr_is(a[1].u.s, "value");
    struct jlist *l, *r = jlist_new(J, 0);
    struct keyed *k;

    UNUSED;
    if (v.type != J_DICT)
        return v.type == J_UNDEF ? jfail_undef(J, v)
                                 : jfail(J, "dictsort: '%s' is not a mapping", jtype_name(v));
    if (a[1].type != J_MISSING && !by_value && !(a[1].type == J_STR && jstr_is(a[1].u.s, "key")))
        return jfail(J, "dictsort: by must be 'key' or 'value'");
    l = jv_items(J, (struct jv){.type = J_VIEW, .sub = 'i', .u.d = v.u.d});
    k = sorted(J, l, jv_int(by_value), jv_true(J, a[0]), jv_true(J, a[2]));
    for (size_t i = 0; k && i < l->n && !J->failed; i++)
        jlist_add(J, r, k[i].item);
    return jv_list(r);
}

FILTER(f_first)
{
    struct jlist *l;

    UNUSED;
    if (v.type == J_GEN)
        return v.u.g->at < v.u.g->l->n ? v.u.g->l->v[v.u.g->at++] : nothing();
    l = jv_items(J, v);
    return l->n ? l->v[0] : nothing();
}

FILTER(f_last)
{
    struct jlist *l;

    UNUSED;
    if (v.type == J_GEN)
        return jfail(J, "'generator' object is not reversible");
    l = jv_items(J, v);
    return l->n ? l->v[l->n - 1] : nothing();
}

FILTER(f_groupby)
{
    struct jlist *l = jv_items(J, v), *r = jlist_new(J, 0), *items = NULL;
    bool cs = jv_true(J, a[2]);
    struct keyed *k = sorted(J, l, a[0], cs, false);

    UNUSED;
    for (size_t i = 0; k && i < l->n && !J->failed; i++) {
        if (i == 0 || !jv_eq(J, k[i].key, k[i - 1].key)) {
            struct jlist *pair = jlist_new(J, 2);
            struct jv t = jv_tuple(pair);

            items = jlist_new(J, 0);
            jlist_add(J, pair, attribute(J, k[i].item, a[0]));
            jlist_add(J, pair, jv_list(items));
            t.sub = 1; // has the attributes grouper and list
            jlist_add(J, r, t);
        }
        jlist_add(J, items, k[i].item);
    }
    return jv_list(r);
}

FILTER(f_items)
{
    UNUSED;
    if (v.type == J_UNDEF)
        return jgen_new(J, jv_items(J, v));
    if (v.type != J_DICT)
        return jfail(J, "can only get item pairs from a mapping");
    return jgen_new(J, jv_items(J, (struct jv){.type = J_VIEW, .sub = 'i', .u.d = v.u.d}));
}

FILTER(f_length)
{
    size_t n;

    UNUSED;
    if (jv_length(J, v, &n))
        return jv_int((int64_t)n);
    return jfail(J, "object of type '%s' has no length", jtype_name(v));
}

FILTER(f_list)
{
    struct jlist *l = jv_items(J, v), *r = jlist_new(J, l->n);

    UNUSED;
    for (size_t i = 0; i < l->n && !J->failed; i++)
        jlist_add(J, r, l->v[i]);
    return jv_list(r);
}

static struct jv call_by_name(struct jstate *J, bool test, struct jv v, const struct jargs *all,
                              size_t skip)
{
    const struct jstr *name = all->pos[skip].type == J_STR ? all->pos[skip].u.s : &jstr_empty;
    struct jargs rest = {all->pos + skip + 1, all->n_pos - skip - 1, all->kw, all->n_kw};
    const struct jfn *fn = test ? jtest_find(jstr_slice(name)) : jfilter_find(jstr_slice(name));

    if (!fn)
        return jfail(J, "no %s named '%.*s'", test ? "test" : "filter",
                     (int)(name->n < 60 ? name->n : 60), name->p);
    return jcall_fn(J, fn, test ? "test" : "filter", v, &rest);
}

/* What map and its like go through; they take anything that is false for nothing. */
static struct jlist *lazy_items(struct jstate *J, struct jv v)
{
    return jv_true(J, v) ? jv_items(J, v) : jlist_new(J, 0);
}

FILTER(f_map)
{
    struct jlist *l = lazy_items(J, v), *r = jlist_new(J, l->n);
    struct jv attr = nothing(), otherwise = jv_none();

    UNUSED;
    for (size_t i = 0; i < all->n_kw && all->n_pos == 0; i++) {
        if (jstr_is(all->kw[i].name, "attribute"))
            attr = all->kw[i].v;
        else if (jstr_is(all->kw[i].name, "default"))
            otherwise = all->kw[i].v;
        else
            return jfail(J, "map: unexpected keyword argument '%s'", all->kw[i].name->p);
    }
    if (all->n_pos == 0 && attr.type == J_UNDEF)
        return jfail(J, "map requires a filter argument");
    for (size_t i = 0; i < l->n && !J->failed; i++) {
        struct jv x;

        if (all->n_pos) {
            x = call_by_name(J, false, l->v[i], all, 0);
        } else if (attr.type == J_STR) {
            x = one_attribute(J, l->v[i], attr.u.s, otherwise);
        } else {
            x = jv_item(J, l->v[i], attr);
        }
        jlist_add(J, r, x);
    }
    return jgen_new(J, r);
}

static struct jv pick(struct jstate *J, struct jv v, const struct jargs *all, bool by_attr,
                      bool want)
{
    struct jlist *l = lazy_items(J, v), *r = jlist_new(J, 0);
    size_t skip = by_attr;

    if (by_attr && all->n_pos == 0)
        return jfail(J, "selectattr and rejectattr need the name of an attribute");
    for (size_t i = 0; i < l->n && !J->failed; i++) {
        struct jv x = by_attr ? attribute(J, l->v[i], all->pos[0]) : l->v[i];

        if (J->failed)
            break;
        if (all->n_pos > skip)
            x = call_by_name(J, true, x, all, skip);
        if (jv_true(J, x) == want)
            jlist_add(J, r, l->v[i]);
    }
    return jgen_new(J, r);
}

FILTER(f_select)
{
    UNUSED;
    return pick(J, v, all, false, true);
}

FILTER(f_reject)
{
    UNUSED;
    return pick(J, v, all, false, false);
}

FILTER(f_selectattr)
{
    UNUSED;
    return pick(J, v, all, true, true);
}

FILTER(f_rejectattr)
{
    UNUSED;
    return pick(J, v, all, true, false);
}

static struct jv extreme(struct jstate *J, struct jv v, const struct jv *a, int sign)
{
    struct jlist *l = jv_items(J, v);
    struct jv best = nothing(), best_key = nothing();

    for (size_t i = 0; i < l->n && !J->failed; i++) {
        struct jv k = sort_key(J, l->v[i], a[1], jv_true(J, a[0]));
        int c = i ? jv_cmp(J, k, best_key, sign < 0 ? "<" : ">") : sign;

        if (c != 2 && c * sign > 0) {
            best = l->v[i];
            best_key = k;
        }
    }
    return best;
}

FILTER(f_max)
{
    UNUSED;
    return extreme(J, v, a, 1);
}

FILTER(f_min)
{
    UNUSED;
    return extreme(J, v, a, -1);
}

FILTER(f_reverse)
{
    struct jlist *l = jv_items(J, v), *r = jlist_new(J, l->n);
    struct jbuf b = {.J = J};

    UNUSED;
    for (size_t i = l->n; i-- > 0 && !J->failed;) {
        if (v.type == J_STR)
            jb_str(&b, l->v[i].u.s);
        else
            jlist_add(J, r, l->v[i]);
    }
    return v.type == J_STR ? jb_done(&b) : jgen_new(J, r);
}

FILTER(f_round)
{
    int64_t digits = jv_is_int(a[0]) ? a[0].u.i : 0;
    double f, ten;
    char text[420];

    UNUSED;
    if (!jv_is_num(v))
        return v.type == J_UNDEF ? jfail_undef(J, v)
                                 : jfail(J, "round: '%s' is not a number", jtype_name(v));
    f = jv_num(v);
    if (digits < -300 || digits > 300 || !isfinite(f))
        return v;
    if (a[1].type == J_STR && !jstr_is(a[1].u.s, "common")) {
        ten = pow(10, (double)digits);
        if (jstr_is(a[1].u.s, "ceil"))
            return jv_float(ceil(f * ten) / ten);
        if (jstr_is(a[1].u.s, "floor"))
            return jv_float(floor(f * ten) / ten);
        return jfail(J, "round: method must be common, ceil or floor");
    }
    if (jv_is_int(v) && digits >= 0)
        return jv_int(v.u.i);
    if (digits < 0) {
        ten = pow(10, (double)-digits);
        f = nearbyint(f / ten) * ten;
        return jv_is_int(v) ? jv_int((int64_t)f) : jv_float(f);
    }
    snprintf(text, sizeof text, "%.*f", (int)(digits > 60 ? 60 : digits), f);
    return jv_float(strtod(text, NULL));
}

FILTER(f_sort)
{
    struct jlist *l = jv_items(J, v), *r = jlist_new(J, l->n);
    struct keyed *k = sorted(J, l, a[2], jv_true(J, a[1]), jv_true(J, a[0]));

    UNUSED;
    for (size_t i = 0; k && i < l->n && !J->failed; i++)
        jlist_add(J, r, k[i].item);
    return jv_list(r);
}

FILTER(f_sum)
{
    struct jlist *l = jv_items(J, v);
    struct jv r = a[1].type == J_MISSING ? jv_int(0) : a[1];

    UNUSED;
    for (size_t i = 0; i < l->n && !J->failed; i++)
        r = jop_arith(J, N_ADD, r, given(a[0]) ? attribute(J, l->v[i], a[0]) : l->v[i]);
    return r;
}

FILTER(f_unique)
{
    struct jlist *l = jv_items(J, v), *r = jlist_new(J, 0);
    struct jdict *seen = jdict_new(J, 0);
    struct jv dummy;

    UNUSED;
    for (size_t i = 0; i < l->n && !J->failed; i++) {
        struct jv k = sort_key(J, l->v[i], a[1], jv_true(J, a[0]));

        if (jdict_get(J, seen, k, &dummy))
            continue;
        jdict_put(J, seen, k, jv_none());
        jlist_add(J, r, l->v[i]);
    }
    return jgen_new(J, r);
}

/* A number at the whole of a string, white space aside; base 0: what its prefix says. */
static bool parse_int(struct jstate *J, const struct jstr *s, int base, int64_t *out)
{
    const struct jstr *t = jstr_strip(J, s, NULL, 3);
    char text[80];
    char *end;
    size_t n = 0;

    for (size_t i = 0; i < t->n && n + 1 < sizeof text; i++) {
        if (t->p[i] == '_' && i > 0 && i + 1 < t->n)
            continue;
        text[n++] = t->p[i];
    }
    text[n] = 0;
    if (n == 0 || t->n + 1 >= sizeof text || base == 1 || base < 0 || base > 36)
        return false;
    if ((base == 2 || base == 8) && n > 2 && (text[1] | 32) == (base == 2 ? 'b' : 'o'))
        memset(text, '0', 2);
    errno = 0;
    *out = strtoll(text, &end, base);
    return *end == 0 && errno == 0;
}

static bool parse_float(struct jstate *J, const struct jstr *s, double *out)
{
    const struct jstr *t = jstr_strip(J, s, NULL, 3);
    char text[400];
    char *end;

    if (t->n == 0 || t->n >= sizeof text || memchr(t->p, 'x', t->n) || memchr(t->p, 'X', t->n))
        return false;
    memcpy(text, t->p, t->n);
    text[t->n] = 0;
    *out = strtod(text, &end);
    return *end == 0;
}

FILTER(f_int)
{
    int64_t i;
    double f = jv_is_num(v) ? jv_num(v) : 0;
    int base = jv_is_int(a[1]) && a[1].u.i >= 0 && a[1].u.i <= 36 ? (int)a[1].u.i : 10;

    UNUSED;
    if (jv_is_int(v))
        return jv_int(v.u.i);
    if (v.type == J_STR && parse_int(J, v.u.s, base, &i))
        return jv_int(i);
    if (v.type == J_FLOAT || (v.type == J_STR && parse_float(J, v.u.s, &f)))
        if (fabs(f) < 9.2e18)
            return jv_int((int64_t)f);
    return a[0].type == J_MISSING ? jv_int(0) : a[0];
}

FILTER(f_float)
{
    double f;

    UNUSED;
    if (jv_is_num(v))
        return jv_float(jv_num(v));
    if (v.type == J_STR && parse_float(J, v.u.s, &f))
        return jv_float(f);
    return a[0].type == J_MISSING ? jv_float(0) : a[0];
}

const struct jfn *jfn_find(const struct jfn *table, size_t n, struct slice name)
{
    for (size_t i = 0; i < n; i++)
        if (slice_is(name, table[i].name))
            return &table[i];
    return NULL;
}

const struct jfn *jfilter_find(struct slice name)
{
    static const struct jfn table[] = {
        {"abs", f_abs, "", 0},
        {"attr", f_attr, "name", 1},
        {"batch", f_batch, "linecount fill_with", 1},
        {"count", f_length, "", 0},
        {"d", f_default, "default_value boolean", 0},
        {"default", f_default, "default_value boolean", 0},
        {"dictsort", f_dictsort, "case_sensitive by reverse", 0},
        {"first", f_first, "", 0},
        {"float", f_float, "default", 0},
        {"groupby", f_groupby, "attribute default case_sensitive", 1},
        {"int", f_int, "default base", 0},
        {"items", f_items, "", 0},
        {"last", f_last, "", 0},
        {"length", f_length, "", 0},
        {"list", f_list, "", 0},
        {"map", f_map, "*", 0},
        {"max", f_max, "case_sensitive attribute", 0},
        {"min", f_min, "case_sensitive attribute", 0},
        {"reject", f_reject, "*", 0},
        {"rejectattr", f_rejectattr, "*", 0},
        {"reverse", f_reverse, "", 0},
        {"round", f_round, "precision method", 0},
        {"select", f_select, "*", 0},
        {"selectattr", f_selectattr, "*", 0},
        {"slice", f_slice, "slices fill_with", 1},
        {"sort", f_sort, "reverse case_sensitive attribute", 0},
        {"sum", f_sum, "attribute start", 0},
        {"tojson", jf_tojson, "ensure_ascii indent separators sort_keys", 0},
        {"unique", f_unique, "case_sensitive attribute", 0},
    };
    const struct jfn *f = jfn_find(table, ARRAY_LEN(table), name);

    return f ? f : jfilter_str_find(name);
}
