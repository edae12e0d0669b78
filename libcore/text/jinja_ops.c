/* jinja_ops.c - operators, attributes, items and slices of values. */
#include "jinja_in.h"

#include <math.h>
#include <stdio.h>

/* -- operators -- */

static struct jv type_error(struct jstate *J, const char *op, struct jv a, struct jv b)
{
    if (a.type == J_UNDEF || b.type == J_UNDEF)
        return jfail_undef(J, a.type == J_UNDEF ? a : b);
    return jfail(J, "unsupported operand types for %s: '%s' and '%s'", op, jtype_name(a),
                 jtype_name(b));
}

static struct jv too_big(struct jstate *J)
{
    return jfail(J, "the result is beyond 64 bits");
}

static struct jv int_pow(struct jstate *J, int64_t a, int64_t b)
{
    int64_t r = 1;

    for (; b > 0 && jstep(J, 1); b >>= 1) {
        if ((b & 1) && __builtin_mul_overflow(r, a, &r))
            return too_big(J);
        if (b > 1 && __builtin_mul_overflow(a, a, &a))
            return too_big(J);
    }
    return jv_int(r);
}

static struct jv int_op(struct jstate *J, uint8_t kind, int64_t a, int64_t b)
{
    int64_t r = 0;
    bool over = false;

    switch (kind) {
    case N_ADD:
        over = __builtin_add_overflow(a, b, &r);
        break;
    case N_SUB:
        over = __builtin_sub_overflow(a, b, &r);
        break;
    case N_MUL:
        over = __builtin_mul_overflow(a, b, &r);
        break;
    case N_DIV:
        return b ? jv_float((double)a / (double)b) : jfail(J, "division by zero");
    case N_FLOORDIV:
    case N_MOD:
        if (b == 0)
            return jfail(J, "integer division or modulo by zero");
        if (b == -1) {
            over = kind == N_FLOORDIV && __builtin_sub_overflow(0, a, &r);
            break;
        }
        r = kind == N_FLOORDIV ? a / b : a % b;
        if (a % b && (a % b < 0) != (b < 0))
            r += kind == N_FLOORDIV ? -1 : b;
        break;
    default:
        if (b >= 0)
            return int_pow(J, a, b);
        return a ? jv_float(pow((double)a, (double)b)) : jfail(J, "division by zero");
    }
    return over ? too_big(J) : jv_int(r);
}

static struct jv float_op(struct jstate *J, uint8_t kind, double a, double b)
{
    double m;

    switch (kind) {
    case N_ADD:
        return jv_float(a + b);
    case N_SUB:
        return jv_float(a - b);
    case N_MUL:
        return jv_float(a * b);
    case N_POW:
        return a == 0 && b < 0 ? jfail(J, "division by zero") : jv_float(pow(a, b));
    default:
        break;
    }
    if (b == 0)
        return jfail(J, "division by zero");
    if (kind == N_DIV)
        return jv_float(a / b);
    m = fmod(a, b);
    if (kind == N_FLOORDIV)
        return jv_float(floor((a - m) / b + 0.5) - (m != 0 && (m < 0) != (b < 0)));
    return jv_float(m != 0 && (m < 0) != (b < 0) ? m + b : m == 0 ? copysign(0.0, b) : m);
}

static struct jv repeat(struct jstate *J, struct jv v, int64_t times)
{
    struct jbuf b = {.J = J};
    struct jlist *l;

    if (v.type == J_STR) {
        for (int64_t i = 0; i < times && v.u.s->n && jstep(J, 1); i++)
            jb_str(&b, v.u.s);
        return jv_str(jstr_safe(J, jb_str_of(&b), v.u.s->safe));
    }
    l = jlist_new(J, 0);
    for (int64_t i = 0; i < times && v.u.l->n && jstep(J, 1); i++)
        for (size_t k = 0; k < v.u.l->n && !J->failed; k++)
            jlist_add(J, l, v.u.l->v[k]);
    return v.type == J_LIST ? jv_list(l) : jv_tuple(l);
}

/* Templates gather messages by x = x + [y]: the sum leaves room behind it, and the next sum that
 * begins with this one takes that instead of copying all. */
static struct jlist *lists_joined(struct jstate *J, const struct jlist *a, const struct jlist *b)
{
    const size_t n = a->n + b->n;
    struct jlist *l = jlist_new(J, 0);

    if (!jstep(J, n))
        return l;
    if (a->taken && *a->taken == a->n && n <= a->cap) {
        *l = *a;
    } else {
        l->v = jalloc(J, 2 * (uint64_t)n, sizeof *l->v);
        l->taken = jalloc(J, 1, sizeof *l->taken);
        if (!l->v || !l->taken)
            return &J->no_list;
        l->cap = 2 * n;
        if (a->n)
            memcpy(l->v, a->v, a->n * sizeof *l->v);
    }
    if (b->n)
        memcpy(l->v + a->n, b->v, b->n * sizeof *l->v);
    l->n = n;
    *l->taken = n;
    return l;
}

static struct jv joined(struct jstate *J, struct jv a, struct jv b)
{
    struct jlist *l;

    if (a.type == J_STR)
        return jv_str(jstr_cat(J, a.u.s, b.u.s));
    l = lists_joined(J, a.u.l, b.u.l);
    return a.type == J_LIST ? jv_list(l) : jv_tuple(l);
}

static bool is_sequence(struct jv v)
{
    return v.type == J_STR || v.type == J_LIST || v.type == J_TUPLE;
}

struct jv jop_arith(struct jstate *J, uint8_t kind, struct jv a, struct jv b)
{
    static const char *const sign[] = {
        [N_ADD] = "+",       [N_SUB] = "-", [N_MUL] = "*", [N_DIV] = "/",
        [N_FLOORDIV] = "//", [N_MOD] = "%", [N_POW] = "**"};

    if (jv_is_int(a) && jv_is_int(b))
        return int_op(J, kind, a.u.i, b.u.i);
    if (jv_is_num(a) && jv_is_num(b))
        return float_op(J, kind, jv_num(a), jv_num(b));
    if (kind == N_ADD && a.type == b.type && is_sequence(a))
        return joined(J, a, b);
    if (kind == N_MUL && is_sequence(a) && jv_is_int(b))
        return repeat(J, a, b.u.i);
    if (kind == N_MUL && is_sequence(b) && jv_is_int(a))
        return repeat(J, b, a.u.i);
    if (kind == N_MOD && a.type == J_STR)
        return jv_str(jformat_percent(J, a.u.s, b));
    return type_error(J, sign[kind], a, b);
}

struct jv jop_neg(struct jstate *J, struct jv a)
{
    if (a.type == J_FLOAT)
        return jv_float(-a.u.f);
    if (jv_is_int(a))
        return a.u.i == INT64_MIN ? too_big(J) : jv_int(-a.u.i);
    if (a.type == J_UNDEF)
        return jfail_undef(J, a);
    return jfail(J, "bad operand type for unary -: '%s'", jtype_name(a));
}

bool jop_compare(struct jstate *J, uint8_t op, struct jv a, struct jv b)
{
    static const char *const sign[] = {"==", "!=", "<", "<=", ">", ">="};
    int c;

    switch (op) {
    case C_EQ:
        return jv_eq(J, a, b);
    case C_NE:
        return !jv_eq(J, a, b);
    case C_IN:
        return jv_in(J, a, b);
    case C_NOTIN:
        return !jv_in(J, a, b);
    default:
        break;
    }
    c = jv_cmp(J, a, b, sign[op]);
    if (c == 2)
        return false;
    return op == C_LT ? c < 0 : op == C_LE ? c <= 0 : op == C_GT ? c > 0 : c >= 0;
}

/* -- attributes -- */

enum loop_attr {
    L_INDEX = 1,
    L_INDEX0,
    L_REVINDEX,
    L_REVINDEX0,
    L_LENGTH,
    L_DEPTH,
    L_DEPTH0,
    L_FIRST,
    L_LAST,
    L_PREV,
    L_NEXT
};

int jloop_attr(struct slice name)
{
    static const char *const names[] = {
        [L_INDEX] = "index",         [L_INDEX0] = "index0", [L_REVINDEX] = "revindex",
        [L_REVINDEX0] = "revindex0", [L_LENGTH] = "length", [L_DEPTH] = "depth",
        [L_DEPTH0] = "depth0",       [L_FIRST] = "first",   [L_LAST] = "last",
        [L_PREV] = "previtem",       [L_NEXT] = "nextitem"};

    for (int i = 1; i < (int)ARRAY_LEN(names); i++)
        if (slice_is(name, names[i]))
            return i;
    return 0;
}

struct jv jloop_get(const struct jloop *o, int attr)
{
    const size_t n = o->items->n;

    switch (attr) {
    case L_INDEX:
        return jv_int((int64_t)o->at + 1);
    case L_INDEX0:
        return jv_int((int64_t)o->at);
    case L_REVINDEX:
        return jv_int((int64_t)(n - o->at));
    case L_REVINDEX0:
        return jv_int((int64_t)(n - o->at) - 1);
    case L_LENGTH:
        return jv_int((int64_t)n);
    case L_DEPTH:
        return jv_int(o->depth0 + 1);
    case L_DEPTH0:
        return jv_int(o->depth0);
    case L_FIRST:
        return jv_bool(o->at == 0);
    case L_LAST:
        return jv_bool(o->at + 1 == n);
    case L_PREV:
        return o->at > 0 ? o->items->v[o->at - 1] : jv_undef(JU_PLAIN, NULL);
    default:
        return o->at + 1 < n ? o->items->v[o->at + 1] : jv_undef(JU_PLAIN, NULL);
    }
}

static struct jv macro_attr(struct jstate *J, struct jv v, const struct jstr *name)
{
    const struct jnode *m = v.u.m->node;
    struct slice s = jstr_slice(name);
    struct jlist *l;

    if (slice_is(s, "name"))
        return jv_str(J->t->sym[m->sym]);
    if (slice_is(s, "catch_kwargs"))
        return jv_bool(m->op & JM_KWARGS);
    if (slice_is(s, "catch_varargs"))
        return jv_bool(m->op & JM_VARARGS);
    if (slice_is(s, "caller"))
        return jv_bool(m->op & JM_CALLER);
    if (!slice_is(s, "arguments"))
        return jv_undef(JU_ATTR + J_MACRO, name);
    l = jlist_new(J, 0);
    for (const struct jnode *a = m->list; a; a = a->next)
        jlist_add(J, l, jv_str(J->t->sym[a->sym]));
    return jv_tuple(l);
}

/* What changes a value, and so is refused. */
static bool changes(uint8_t type, struct slice name)
{
    static const char *const list[] = {"append", "clear",   "extend", "insert", "pop",
                                       "remove", "reverse", "sort",   NULL};
    static const char *const dict[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
    const char *const *n = type == J_LIST ? list : type == J_DICT ? dict : list + 8;

    while (*n && !slice_is(name, *n))
        n++;
    return *n != NULL;
}

bool jv_method(struct jstate *J, struct jv v, const struct jstr *name, struct jv *out)
{
    const struct jfn *fn = jmethod_find(v.type, jstr_slice(name));
    struct jmethod *m;

    if (!fn) {
        *out = jv_undef(JU_UNSAFE, name);
        return changes(v.type, jstr_slice(name)) || slice_starts(jstr_slice(name), SLICE("__"));
    }
    m = jalloc(J, 1, sizeof *m);
    *out = jv_undef(JU_PLAIN, NULL);
    if (m) {
        m->self = v;
        m->fn = fn;
        *out = (struct jv){.type = J_METHOD, .u.me = m};
    }
    return true;
}

static struct jv range_attr(struct jv v, const struct jstr *name)
{
    const struct jrange *r = v.u.r;

    if (jstr_is(name, "start"))
        return jv_int(r->start);
    if (jstr_is(name, "step"))
        return jv_int(r->step);
    if (jstr_is(name, "stop"))
        return jv_int(r->start + (int64_t)r->n * r->step);
    return jv_undef(JU_ATTR + J_RANGE, name);
}

bool jmethod_named(struct slice name)
{
    static const uint8_t types[] = {J_STR, J_DICT, J_LIST, J_LOOP, J_CYCLER};

    if (slice_starts(name, SLICE("__")))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (jmethod_find(types[i], name) || changes(types[i], name))
            return true;
    return false;
}

struct jv jv_attr(struct jstate *J, struct jv v, const struct jstr *name)
{
    struct jv r;

    if (v.type == J_UNDEF)
        return jfail_undef(J, v);
    if (v.type == J_NS)
        return jdict_get_str(J, v.u.d, name, &r) ? r : jv_undef(JU_ATTR + J_NS, name);
    if (v.type == J_MACRO)
        return macro_attr(J, v, name);
    if (v.type == J_CYCLER && jstr_is(name, "current"))
        return v.u.cy->l->v[v.u.cy->at];
    if (jv_method(J, v, name, &r))
        return r;
    if (v.type == J_DICT && jdict_get_str(J, v.u.d, name, &r))
        return r;
    if (v.type == J_TUPLE && v.sub && (jstr_is(name, "grouper") || jstr_is(name, "list")))
        return v.u.l->v[name->p[0] == 'l']; // what groupby yields
    if (v.type == J_LOOP && jloop_attr(jstr_slice(name)))
        return jloop_get(v.u.lo, jloop_attr(jstr_slice(name)));
    if (v.type == J_RANGE)
        return range_attr(v, name);
    return jv_undef((uint8_t)(JU_ATTR + v.type), name);
}

static bool item_at(struct jstate *J, struct jv v, int64_t i, struct jv *out)
{
    size_t n = 0, at, len = 1;

    if (!jv_length(J, v, &n))
        return false;
    i += i < 0 ? (int64_t)n : 0;
    if (i < 0 || (uint64_t)i >= n)
        return false;
    if (v.type == J_LIST || v.type == J_TUPLE) {
        *out = v.u.l->v[i];
    } else if (v.type == J_RANGE) {
        *out = jv_int(v.u.r->start + i * v.u.r->step);
    } else if (v.type == J_STR) {
        at = jstr_at(v.u.s, (size_t)i);
        while (at + len < v.u.s->n && ((unsigned char)v.u.s->p[at + len] & 0xc0) == 0x80)
            len++;
        jstep(J, at / 64);
        *out = jv_str(jstr_sub(J, v.u.s, at, len));
    } else {
        return false;
    }
    return true;
}

struct jv jv_item(struct jstate *J, struct jv v, struct jv key)
{
    struct jv r;

    if (v.type == J_UNDEF)
        return jfail_undef(J, v);
    if (v.type == J_DICT && jdict_get(J, v.u.d, key, &r))
        return r;
    if (jv_is_int(key) && v.type != J_DICT && item_at(J, v, key.u.i, &r))
        return r;
    if (key.type != J_STR)
        return jv_undef((uint8_t)(JU_ATTR + v.type), jv_to_str(J, key));
    if (v.type == J_DICT) // a method of that name, else nothing
        return jv_method(J, v, key.u.s, &r) ? r : jv_undef(JU_ATTR + J_DICT, key.u.s);
    return jv_attr(J, v, key.u.s);
}

/* -- slices -- */

static bool bound(struct jstate *J, struct jv v, int64_t n, bool back, int64_t absent, int64_t *out)
{
    int64_t low = back ? -1 : 0, high = back ? n - 1 : n;

    *out = absent;
    if (v.type == J_NONE)
        return true;
    if (!jv_is_int(v)) {
        jfail(J, "slice indices must be integers or None, not %s", jtype_name(v));
        return false;
    }
    *out = v.u.i < 0 ? v.u.i + n : v.u.i;
    *out = *out < low ? low : *out > high ? high : *out;
    return true;
}

static struct jv sliced_str(struct jstate *J, const struct jstr *s, int64_t from, int64_t to,
                            int64_t step)
{
    struct jbuf b = {.J = J};
    struct jlist *l;

    if (step == 1) {
        size_t a, z;

        if (to <= from)
            return jv_str(&jstr_empty);
        jstep(J, s->n / 64);
        a = jstr_at(s, (size_t)from);
        z = jstr_at(s, (size_t)to);
        return jv_str(jstr_sub(J, s, a, z - a));
    }
    l = jv_items(J, jv_str(s));
    for (int64_t i = from; (step > 0 ? i < to : i > to) && jstep(J, 1); i += step)
        if ((size_t)i < l->n)
            jb_str(&b, l->v[i].u.s);
    return jb_done(&b);
}

static struct jv sliced_range(struct jstate *J, const struct jrange *r, int64_t from, int64_t to,
                              int64_t step)
{
    struct jrange *out = jalloc(J, 1, sizeof *out);
    int64_t way = step > 0 ? to - from : from - to, by = step > 0 ? step : -step;

    if (!out)
        return jv_undef(JU_PLAIN, NULL);
    out->n = way > 0 ? (size_t)((way + by - 1) / by) : 0;
    out->start = r->start + from * r->step;
    if (__builtin_mul_overflow(r->step, step, &out->step))
        return too_big(J);
    return (struct jv){.type = J_RANGE, .u.r = out};
}

struct jv jv_slice(struct jstate *J, struct jv v, struct jv from, struct jv to, struct jv step)
{
    int64_t by = 1, a, z;
    size_t n;
    struct jlist *l, *r;

    if (v.type == J_UNDEF)
        return jfail_undef(J, v);
    if (v.type != J_STR && v.type != J_LIST && v.type != J_TUPLE && v.type != J_RANGE)
        return jfail(J, "'%s' object cannot be sliced", jtype_name(v));
    if (step.type != J_NONE) {
        if (!jv_is_int(step) || step.u.i == 0)
            return jfail(J, "slice step must be a number other than zero");
        by = step.u.i < -(INT64_C(1) << 40) ? -(INT64_C(1) << 40) : step.u.i;
        by = by > INT64_C(1) << 40 ? INT64_C(1) << 40 : by;
    }
    jv_length(J, v, &n);
    if (!bound(J, from, (int64_t)n, by < 0, by < 0 ? (int64_t)n - 1 : 0, &a) ||
        !bound(J, to, (int64_t)n, by < 0, by < 0 ? -1 : (int64_t)n, &z))
        return jv_undef(JU_PLAIN, NULL);
    if (v.type == J_STR)
        return sliced_str(J, v.u.s, a, z, by);
    if (v.type == J_RANGE)
        return sliced_range(J, v.u.r, a, z, by);
    l = jv_items(J, v);
    r = jlist_new(J, by == 1 && z > a ? (size_t)(z - a) : 0);
    for (int64_t i = a; (by > 0 ? i < z : i > z) && jstep(J, 1); i += by)
        if ((size_t)i < l->n)
            jlist_add(J, r, l->v[i]);
    return v.type == J_TUPLE ? jv_tuple(r) : jv_list(r);
}
