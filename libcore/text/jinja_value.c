/* jinja_value.c - lists and dicts, and what values are equal, ordered, true, written as. */
#include "jinja_in.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"

/* -- lists -- */

struct jlist *jlist_new(struct jstate *J, size_t cap)
{
    struct jlist *l = jalloc(J, 1, sizeof *l);

    if (!l)
        return &J->no_list;
    if (cap && (l->v = jalloc(J, cap, sizeof *l->v)))
        l->cap = cap;
    return l;
}

void jlist_add(struct jstate *J, struct jlist *l, struct jv v)
{
    if (l == &J->no_list || !jstep(J, 1))
        return;
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 8;
        struct jv *p = jgrow(J, l->v, l->cap, cap, sizeof *p);

        if (!p)
            return;
        l->v = p;
        l->cap = cap;
    }
    l->v[l->n++] = v;
}

struct jv jgen_new(struct jstate *J, struct jlist *l)
{
    struct jgen *g = jalloc(J, 1, sizeof *g);

    if (!g)
        return jv_undef(JU_PLAIN, NULL);
    g->l = l;
    return (struct jv){.type = J_GEN, .u.g = g};
}

/* -- dicts -- */

enum { DICT_SMALL = 8 };

/* Keys that are equal have one hash: 1, 1.0 and true. */
static uint32_t hash_value(struct jstate *J, struct jv v)
{
    uint32_t h = 17;

    switch (v.type) {
    case J_STR:
        return jstr_hash(v.u.s);
    case J_FLOAT:
        if (v.u.f != floor(v.u.f) || fabs(v.u.f) > 9e15)
            return (uint32_t)(int64_t)fmod(v.u.f * 1048576, 4294967296.0);
        v.u.i = (int64_t)v.u.f;
        /* fall through */
    case J_INT:
    case J_BOOL:
        return (uint32_t)((uint64_t)v.u.i * 0x9e3779b97f4a7c15u >> 32);
    case J_TUPLE:
        if (!jenter(J))
            return 0;
        for (size_t i = 0; i < v.u.l->n; i++)
            h = h * 31 + hash_value(J, v.u.l->v[i]);
        jleave(J);
        return h;
    case J_LIST:
    case J_DICT:
        jfail(J, "unhashable type: '%s'", jtype_name(v));
        return 0;
    default:
        return v.type;
    }
}

struct jdict *jdict_new(struct jstate *J, size_t cap)
{
    struct jdict *d = jalloc(J, 1, sizeof *d);

    if (!d)
        return &J->no_dict;
    if (cap && (d->e = jalloc(J, cap, sizeof *d->e)))
        d->cap = cap;
    return d;
}

static struct jentry *find_str(const struct jdict *d, const struct jstr *key, uint32_t hash)
{
    size_t k = hash & (d->n_index - 1);
    struct jentry *e;

    if (!d->index) {
        for (size_t i = 0; i < d->n; i++)
            if (d->e[i].hash == hash && d->e[i].key.type == J_STR && jstr_eq(d->e[i].key.u.s, key))
                return &d->e[i];
        return NULL;
    }
    for (; d->index[k]; k = (k + 1) & (d->n_index - 1)) {
        e = &d->e[d->index[k] - 1];
        if (e->hash == hash && e->key.type == J_STR && jstr_eq(e->key.u.s, key))
            return e;
    }
    return NULL;
}

static struct jentry *find(struct jstate *J, const struct jdict *d, struct jv key, uint32_t hash)
{
    if (key.type == J_STR)
        return jstep(J, key.u.s->n / 256) ? find_str(d, key.u.s, hash) : NULL;
    if (!d->index) {
        for (size_t i = 0; i < d->n; i++)
            if (d->e[i].hash == hash && jv_eq(J, d->e[i].key, key))
                return &d->e[i];
        return NULL;
    }
    for (size_t k = hash & (d->n_index - 1);; k = (k + 1) & (d->n_index - 1)) {
        struct jentry *e;

        if (!d->index[k])
            return NULL;
        e = &d->e[d->index[k] - 1];
        if (e->hash == hash && jv_eq(J, e->key, key))
            return e;
    }
}

static void index_entry(struct jdict *d, size_t i)
{
    size_t k = d->e[i].hash & (d->n_index - 1);

    while (d->index[k])
        k = (k + 1) & (d->n_index - 1);
    d->index[k] = (uint32_t)(i + 1);
}

static bool dict_room(struct jstate *J, struct jdict *d)
{
    size_t cap = d->cap ? d->cap * 2 : 4;
    struct jentry *e;

    if (d->n < d->cap)
        return true;
    if (cap > UINT32_MAX / 2)
        return false;
    e = jgrow(J, d->e, d->cap, cap, sizeof *e);
    if (!e)
        return false;
    d->e = e;
    d->cap = cap;
    return true;
}

void jdict_put(struct jstate *J, struct jdict *d, struct jv key, struct jv val)
{
    uint32_t h = hash_value(J, key);
    struct jentry *e;

    if (d == &J->no_dict || !jstep(J, 1))
        return;
    e = find(J, d, key, h);
    if (e) {
        e->val = val;
        return;
    }
    if (!dict_room(J, d))
        return;
    d->e[d->n++] = (struct jentry){key, val, h};
    if (d->n > DICT_SMALL && d->n * 2 > d->n_index) {
        size_t n = d->n_index ? d->n_index * 2 : 4 * DICT_SMALL;
        uint32_t *index = jalloc(J, n, sizeof *index);

        if (!index)
            return;
        d->index = index;
        d->n_index = n;
        for (size_t i = 0; i < d->n; i++)
            index_entry(d, i);
    } else if (d->index) {
        index_entry(d, d->n - 1);
    }
}

bool jdict_get(struct jstate *J, const struct jdict *d, struct jv key, struct jv *val)
{
    uint32_t h = hash_value(J, key);
    struct jentry *e = J->failed ? NULL : find(J, d, key, h);

    if (e)
        *val = e->val;
    return e != NULL;
}

bool jdict_get_str(struct jstate *J, const struct jdict *d, const struct jstr *key, struct jv *val)
{
    const struct jentry *e = jstep(J, key->n / 256) ? find_str(d, key, jstr_hash(key)) : NULL;

    if (e)
        *val = e->val;
    return e != NULL;
}

/* -- kinds -- */

const char *jtype_name(struct jv v)
{
    static const char *const name[] = {
        "missing", "Undefined", "NoneType", "bool",        "int",       "float",      "str",
        "list",    "tuple",     "dict",     "range",       "generator", "dict_items", "Namespace",
        "Macro",   "method",    "function", "LoopContext", "Cycler",    "Joiner"};

    if (v.type == J_VIEW)
        return v.sub == 'k' ? "dict_keys" : v.sub == 'v' ? "dict_values" : "dict_items";
    return name[v.type];
}

struct jv jfail_undef(struct jstate *J, struct jv v)
{
    static const char *const of[] = {
        "missing",      "undefined",        "None",        "bool object",      "int object",
        "float object", "str object",       "list object", "tuple object",     "dict object",
        "range object", "generator object", "dict view",   "namespace object", "macro object",
        "method",       "function",         "loop",        "cycler object",    "joiner object"};
    const struct jstr *s = v.u.s ? v.u.s : &jstr_empty;
    int n = (int)(s->n < 80 ? s->n : 80);

    if (v.sub >= JU_ATTR)
        return jfail(J, "'%s' has no attribute '%.*s'", of[v.sub - JU_ATTR], n, s->p);
    if (v.sub == JU_UNSAFE)
        return jfail(J, "access to attribute '%.*s' is unsafe", n, s->p);
    if (v.sub == JU_PARAM)
        return jfail(J, "parameter '%.*s' was not provided", n, s->p);
    if (v.sub == JU_NAME)
        return jfail(J, "'%.*s' is undefined", n, s->p);
    return jfail(J, "an undefined value is used");
}

bool jv_true(struct jstate *J, struct jv v)
{
    size_t n;

    switch (v.type) {
    case J_UNDEF:
    case J_MISSING:
    case J_NONE:
        return false;
    case J_BOOL:
    case J_INT:
        return v.u.i != 0;
    case J_FLOAT:
        return v.u.f != 0;
    case J_STR:
        return v.u.s->n > 0;
    default:
        return !jv_length(J, v, &n) || n > 0;
    }
}

bool jv_length(struct jstate *J, struct jv v, size_t *n)
{
    (void)J;
    switch (v.type) {
    case J_UNDEF:
        *n = 0;
        return true;
    case J_STR:
        *n = v.u.s->n_cp;
        return true;
    case J_LIST:
    case J_TUPLE:
        *n = v.u.l->n;
        return true;
    case J_DICT:
    case J_VIEW:
        *n = v.u.d->n;
        return true;
    case J_RANGE:
        *n = v.u.r->n;
        return true;
    case J_LOOP:
        *n = v.u.lo->items->n;
        return true;
    default:
        return false;
    }
}

/* -- equality and order -- */

static bool lists_eq(struct jstate *J, const struct jlist *a, const struct jlist *b)
{
    bool same = a->n == b->n;

    if (a == b)
        return true;
    if (!same || !jenter(J))
        return false;
    for (size_t i = 0; same && i < a->n; i++)
        same = jstep(J, 1) && jv_eq(J, a->v[i], b->v[i]);
    jleave(J);
    return same;
}

static bool dicts_eq(struct jstate *J, const struct jdict *a, const struct jdict *b)
{
    bool same = a->n == b->n;

    if (a == b)
        return true;
    if (!same || !jenter(J))
        return false;
    for (size_t i = 0; same && i < a->n; i++) {
        const struct jentry *e = jstep(J, 1) ? find(J, b, a->e[i].key, a->e[i].hash) : NULL;

        same = e && jv_eq(J, a->e[i].val, e->val);
    }
    jleave(J);
    return same;
}

bool jv_eq(struct jstate *J, struct jv a, struct jv b)
{
    if (jv_is_num(a) && jv_is_num(b)) {
        if (a.type != J_FLOAT && b.type != J_FLOAT)
            return a.u.i == b.u.i;
        return jv_num(a) == jv_num(b);
    }
    if (a.type != b.type)
        return false;
    switch (a.type) {
    case J_STR:
        return jstep(J, a.u.s->n / 256) && jstr_eq(a.u.s, b.u.s);
    case J_LIST:
    case J_TUPLE:
        return lists_eq(J, a.u.l, b.u.l);
    case J_DICT:
        return dicts_eq(J, a.u.d, b.u.d);
    case J_RANGE:
        return a.u.r->n == b.u.r->n &&
               (a.u.r->n == 0 ||
                (a.u.r->start == b.u.r->start && (a.u.r->n == 1 || a.u.r->step == b.u.r->step)));
    case J_NONE:
    case J_UNDEF:
    case J_MISSING:
        return true;
    case J_VIEW:
        return a.sub == b.sub && a.u.d == b.u.d;
    default:
        return a.u.l == b.u.l;
    }
}

int jv_cmp(struct jstate *J, struct jv a, struct jv b, const char *op)
{
    if (jv_is_num(a) && jv_is_num(b)) {
        double x = jv_num(a), y = jv_num(b);

        if (a.type != J_FLOAT && b.type != J_FLOAT)
            return a.u.i < b.u.i ? -1 : a.u.i > b.u.i;
        return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
    }
    if (a.type == J_STR && b.type == J_STR)
        return jstep(J, 1) ? jstr_cmp(a.u.s, b.u.s) : 0;
    if ((a.type == J_LIST || a.type == J_TUPLE) && a.type == b.type) {
        int c = 0;

        if (!jenter(J))
            return 0;
        for (size_t i = 0; c == 0 && jstep(J, 1); i++) {
            if (i == a.u.l->n || i == b.u.l->n) {
                c = a.u.l->n < b.u.l->n ? -1 : a.u.l->n > b.u.l->n;
                break;
            }
            if (!jv_eq(J, a.u.l->v[i], b.u.l->v[i]))
                c = jv_cmp(J, a.u.l->v[i], b.u.l->v[i], op);
        }
        jleave(J);
        return c;
    }
    if (a.type == J_UNDEF || b.type == J_UNDEF)
        jfail_undef(J, a.type == J_UNDEF ? a : b);
    else
        jfail(J, "'%s' not supported between instances of '%s' and '%s'", op, jtype_name(a),
              jtype_name(b));
    return 0;
}

bool jv_in(struct jstate *J, struct jv item, struct jv v)
{
    struct jlist *l;
    struct jv dummy;

    if (v.type == J_STR) {
        if (item.type != J_STR) {
            jfail(J, "'in <string>' requires string as left operand, not %s", jtype_name(item));
            return false;
        }
        return jstep(J, v.u.s->n / 64) &&
               jstr_find(v.u.s, 0, v.u.s->n, item.u.s, false) != SIZE_MAX;
    }
    if (v.type == J_DICT || (v.type == J_VIEW && v.sub == 'k'))
        return jdict_get(J, v.u.d, item, &dummy);
    if (!jv_length(J, v, &(size_t){0}) && v.type != J_GEN) {
        jfail(J, "argument of type '%s' is not iterable", jtype_name(v));
        return false;
    }
    l = jv_items(J, v);
    for (size_t i = 0; i < l->n && jstep(J, 1); i++)
        if (jv_eq(J, l->v[i], item))
            return true;
    return false;
}

/* -- going through -- */

static struct jlist *chars(struct jstate *J, const struct jstr *s)
{
    struct jlist *l = jlist_new(J, s->n_cp);

    for (size_t i = 0; i < s->n && !J->failed;) {
        size_t n = 1;

        while (i + n < s->n && ((unsigned char)s->p[i + n] & 0xc0) == 0x80)
            n++;
        jlist_add(J, l, jv_str(jstr_sub(J, s, i, n)));
        i += n;
    }
    return l;
}

static struct jlist *entries(struct jstate *J, const struct jdict *d, char what)
{
    struct jlist *l = jlist_new(J, d->n);

    for (size_t i = 0; i < d->n && !J->failed; i++) {
        if (what == 'i') {
            struct jlist *pair = jlist_new(J, 2);

            jlist_add(J, pair, d->e[i].key);
            jlist_add(J, pair, d->e[i].val);
            jlist_add(J, l, jv_tuple(pair));
        } else {
            jlist_add(J, l, what == 'k' ? d->e[i].key : d->e[i].val);
        }
    }
    return l;
}

struct jlist *jv_items(struct jstate *J, struct jv v)
{
    struct jlist *l;

    switch (v.type) {
    case J_LIST:
    case J_TUPLE:
        return v.u.l;
    case J_STR:
        return chars(J, v.u.s);
    case J_DICT:
        return entries(J, v.u.d, 'k');
    case J_VIEW:
        return entries(J, v.u.d, (char)v.sub);
    case J_RANGE:
        l = jlist_new(J, v.u.r->n);
        for (size_t i = 0; i < v.u.r->n && !J->failed; i++)
            jlist_add(J, l, jv_int(v.u.r->start + (int64_t)i * v.u.r->step));
        return l;
    case J_GEN:
        l = jlist_new(J, v.u.g->l->n - v.u.g->at);
        while (v.u.g->at < v.u.g->l->n && !J->failed)
            jlist_add(J, l, v.u.g->l->v[v.u.g->at++]);
        return l;
    case J_UNDEF:
        return jlist_new(J, 0);
    default:
        jfail(J, "'%s' object is not iterable", jtype_name(v));
        return &J->no_list;
    }
}

/* -- writing -- */

const char *jfloat_repr(double f, char buf[64])
{
    char digits[40];
    int exp10, n;
    char *e;

    if (isnan(f) || isinf(f)) {
        snprintf(buf, 64, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return buf;
    }
    for (int p = 0; p < 17; p++) { // the fewest digits that give the number back
        snprintf(digits, sizeof digits, "%.*e", p, f);
        if (strtod(digits, NULL) == f)
            break;
    }
    e = strchr(digits, 'e');
    exp10 = (int)strtol(e + 1, NULL, 10);
    n = (int)(e - digits) - (digits[0] == '-') - (strchr(digits, '.') != NULL);
    if (exp10 < -4 || exp10 >= 16) {
        *e = 0;
        snprintf(buf, 64, "%se%c%02d", digits, exp10 < 0 ? '-' : '+', abs(exp10));
    } else {
        int after = n - 1 - exp10;

        snprintf(buf, 64, "%.*f", after < 1 ? 1 : after, f);
    }
    return buf;
}

static void repr_str(struct jbuf *b, const struct jstr *s)
{
    bool single = memchr(s->p, '\'', s->n) != NULL, twice = memchr(s->p, '"', s->n) != NULL;
    char quote = single && !twice ? '"' : '\'';

    jb_add(b, &quote, 1, M_OWN);
    for (size_t i = 0; i < s->n && !b->J->failed;) {
        uint32_t cp = 0;
        int n = utf8_decode(s->p + i, s->n - i, &cp);
        uint8_t mark = jstr_mark_at(s, i);
        char text[16];

        n = n ? n : 1;
        if (cp == (unsigned char)quote || cp == '\\')
            snprintf(text, sizeof text, "\\%c", (char)cp);
        else if (cp == '\n' || cp == '\r' || cp == '\t')
            snprintf(text, sizeof text, "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't');
        else if (ju_printable(cp))
            text[0] = 0;
        else
            snprintf(text, sizeof text,
                     cp < 0x100     ? "\\x%02x"
                     : cp < 0x10000 ? "\\u%04x"
                                    : "\\U%08x",
                     (unsigned)cp);
        if (text[0])
            jb_add(b, text, strlen(text), mark);
        else
            jb_sub(b, s, i, (size_t)n);
        i += (size_t)n;
    }
    jb_add(b, &quote, 1, M_OWN);
}

static void repr_list(struct jbuf *b, const struct jlist *l, const char *open, const char *close,
                      bool tuple)
{
    if (!jenter(b->J))
        return;
    jb_lit(b, open);
    for (size_t i = 0; i < l->n && jstep(b->J, 1); i++) {
        if (i)
            jb_lit(b, ", ");
        jv_write(b, l->v[i], true);
    }
    if (tuple && l->n == 1)
        jb_lit(b, ",");
    jb_lit(b, close);
    jleave(b->J);
}

static void repr_dict(struct jbuf *b, const struct jdict *d)
{
    if (!jenter(b->J))
        return;
    jb_lit(b, "{");
    for (size_t i = 0; i < d->n && jstep(b->J, 1); i++) {
        if (i)
            jb_lit(b, ", ");
        jv_write(b, d->e[i].key, true);
        jb_lit(b, ": ");
        jv_write(b, d->e[i].val, true);
    }
    jb_lit(b, "}");
    jleave(b->J);
}

static void write_range(struct jbuf *b, const struct jrange *r)
{
    char text[96];
    int64_t stop = r->start + (int64_t)r->n * r->step;

    if (r->step == 1)
        snprintf(text, sizeof text, "range(%lld, %lld)", (long long)r->start, (long long)stop);
    else
        snprintf(text, sizeof text, "range(%lld, %lld, %lld)", (long long)r->start, (long long)stop,
                 (long long)r->step);
    jb_lit(b, text);
}

/* Things that have no spelling of their own. */
static void write_other(struct jbuf *b, struct jv v)
{
    char text[96];
    const char *name = v.type == J_FUNC ? v.u.fn->name : NULL;

    if (v.type == J_METHOD)
        name = v.u.me->fn->name;
    if (v.type == J_LOOP)
        snprintf(text, sizeof text, "<LoopContext %zu/%zu>", v.u.lo->at + 1, v.u.lo->items->n);
    else if (name)
        snprintf(text, sizeof text, "<%s %s>", jtype_name(v), name);
    else
        snprintf(text, sizeof text, "<%s object>", jtype_name(v));
    jb_lit(b, text);
}

static void write_int(struct jbuf *b, int64_t i)
{
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    char text[24], *p = text + sizeof text;

    do
        *--p = (char)('0' + u % 10);
    while (u /= 10);
    if (i < 0)
        *--p = '-';
    jb_add(b, p, (size_t)(text + sizeof text - p), M_OWN);
}

void jv_write(struct jbuf *b, struct jv v, bool repr)
{
    char text[64];

    switch (v.type) {
    case J_UNDEF:
        if (repr)
            jb_lit(b, "Undefined");
        break;
    case J_NONE:
        jb_lit(b, "None");
        break;
    case J_BOOL:
        jb_lit(b, v.u.i ? "True" : "False");
        break;
    case J_INT:
        write_int(b, v.u.i);
        break;
    case J_FLOAT:
        jb_lit(b, jfloat_repr(v.u.f, text));
        break;
    case J_STR:
        if (!repr) {
            jb_str(b, v.u.s);
            break;
        }
        if (v.u.s->safe)
            jb_lit(b, "Markup(");
        repr_str(b, v.u.s);
        if (v.u.s->safe)
            jb_lit(b, ")");
        break;
    case J_LIST:
        repr_list(b, v.u.l, "[", "]", false);
        break;
    case J_TUPLE:
        repr_list(b, v.u.l, "(", ")", true);
        break;
    case J_DICT:
        repr_dict(b, v.u.d);
        break;
    case J_NS:
        jb_lit(b, "<Namespace ");
        repr_dict(b, v.u.d);
        jb_lit(b, ">");
        break;
    case J_VIEW:
        jb_lit(b, jtype_name(v));
        repr_list(b, entries(b->J, v.u.d, (char)v.sub), "([", "])", false);
        break;
    case J_RANGE:
        write_range(b, v.u.r);
        break;
    default:
        write_other(b, v);
    }
}

const struct jstr *jv_to_str(struct jstate *J, struct jv v)
{
    struct jbuf b = {.J = J};

    if (v.type == J_STR)
        return v.u.s;
    jv_write(&b, v, false);
    return jb_str_of(&b);
}
