/* constrain_value.c - see constrain_value.h: literals, goals, and the logic of value sets. */
#include "constrain_value.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#define MAX_WORK   200000u // shapes combined in one schema
#define MAX_SHAPES 2000    // of one set
#define MAX_DEPTH  256
#define MAX_LITS   100000u

/* -- memory and failures --------------------------------------------------------------------- */

void *js_mem(struct js *j, uint64_t n, size_t size)
{
    uint64_t bytes = 0;
    struct chunk *c = j->mem;
    void *p;

    if (!mul_ok(n, size, &bytes) || bytes > 1u << 30 || !pad_ok(bytes, 16, &bytes)) {
        js_fail(j, E_RANGE, "", "too large");
        return NULL;
    }
    if (!c || c->cap - c->used < bytes) {
        size_t cap = bytes > 65536 ? (size_t)bytes : 65536;

        c = mem_new(sizeof *c + 16 + cap, NULL);
        if (!c) {
            js_fail(j, E_NOMEM, "", "out of memory");
            return NULL;
        }
        c->next = j->mem;
        c->cap = cap;
        j->mem = c;
    }
    p = (char *)(c + 1) + c->used;
    c->used += (size_t)bytes;
    return p;
}

int js_fail(struct js *j, int code, const char *path, const char *what)
{
    if (j->rc == 0)
        j->rc = err_set(j->e, code, "schema, %s: %s", path[0] ? path : "#", what);
    return j->rc;
}

const char *js_path(struct js *j, const char *base, const char *key, size_t n)
{
    size_t k = strlen(base);
    char *p = js_mem(j, k + 2 * n + 2, 1), *q;

    if (!p)
        return "";
    memcpy(p, base, k);
    q = p + k;
    *q++ = '/';
    for (size_t i = 0; i < n; i++) {
        if (key[i] == '~' || key[i] == '/')
            *q++ = '~';
        *q++ = key[i] == '~' ? '0' : key[i] == '/' ? '1' : key[i];
    }
    *q = 0;
    return p;
}

const char *js_path_at(struct js *j, const char *base, size_t index)
{
    char n[24];

    snprintf(n, sizeof n, "%zu", index);
    return js_path(j, base, n, strlen(n));
}

/* -- literals and goals ---------------------------------------------------------------------- */

static void *list_room(struct js *j, void *p, uint32_t n, uint32_t *cap, size_t size)
{
    uint32_t want = *cap ? *cap * 2 : 64;
    void *q;

    if (n < *cap)
        return p;
    if (n >= MAX_LITS) {
        js_fail(j, E_RANGE, "", "too many schemas are combined");
        return NULL;
    }
    q = mem_resize(p, *cap, want, size, NULL);
    if (!q) {
        js_fail(j, E_NOMEM, "", "out of memory");
        return NULL;
    }
    *cap = want;
    return q;
}

uint32_t lit_of(struct js *j, const json_t *node, bool constant, const char *path)
{
    struct lit *l;

    for (uint32_t i = j->n_lit; i-- > 0;) // recent ones first
        if (j->lit[i].node == node && j->lit[i].constant == constant)
            return i;
    l = list_room(j, j->lit, j->n_lit, &j->cap_lit, sizeof *l);
    if (!l)
        return 0;
    j->lit = l;
    j->lit[j->n_lit] = (struct lit){.node = node, .constant = constant, .path = path};
    return j->n_lit++;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

uint32_t goal_of(struct js *j, const uint32_t *lit, uint32_t n)
{
    uint32_t few[32], *v = n <= 32 ? few : js_mem(j, n, 4), k = 0;
    struct goal *g;

    if (!v)
        return GOAL_NONE;
    if (n)
        memcpy(v, lit, n * 4u);
    qsort(v, n, 4, by_number);
    for (uint32_t i = 0; i < n; i++) {
        if (k && v[k - 1] == v[i])
            continue;
        if (k && (v[k - 1] ^ 1) == v[i])
            return GOAL_NONE;
        v[k++] = v[i];
    }
    if (k == 0)
        return GOAL_ANY;
    for (uint32_t i = 2; i < j->n_goal; i++)
        if (j->goal[i].n == k && memcmp(j->goal[i].lit, v, k * 4u) == 0)
            return i;
    g = list_room(j, j->goal, j->n_goal, &j->cap_goal, sizeof *g);
    if (!g)
        return GOAL_NONE;
    j->goal = g;
    g += j->n_goal;
    *g = (struct goal){.n = k, .lit = js_mem(j, k, 4)};
    if (!g->lit)
        return GOAL_NONE;
    memcpy(g->lit, v, k * 4u);
    return j->n_goal++;
}

uint32_t goal_and(struct js *j, uint32_t a, uint32_t b)
{
    uint32_t n, *v;

    if (a == GOAL_NONE || b == GOAL_NONE)
        return GOAL_NONE;
    if (a == b || b == GOAL_ANY)
        return a;
    if (a == GOAL_ANY)
        return b;
    n = j->goal[a].n + j->goal[b].n;
    v = js_mem(j, n, 4);
    if (!v)
        return GOAL_NONE;
    memcpy(v, j->goal[a].lit, j->goal[a].n * 4u);
    memcpy(v + j->goal[a].n, j->goal[b].lit, j->goal[b].n * 4u);
    return goal_of(j, v, n);
}

uint32_t goal_schema(struct js *j, const json_t *schema, const char *path)
{
    uint32_t l;

    if (json_is_true(schema) || (json_is_object(schema) && json_object_size(schema) == 0))
        return GOAL_ANY;
    if (json_is_false(schema))
        return GOAL_NONE;
    l = lit_of(j, schema, false, path) * 2;
    return goal_of(j, &l, 1);
}

uint32_t goal_const(struct js *j, const json_t *value, const char *path)
{
    uint32_t l = lit_of(j, value, true, path) * 2;

    return goal_of(j, &l, 1);
}

/* -- shapes ---------------------------------------------------------------------------------- */

struct shape_obj *obj_new(struct js *j, uint32_t n_prop, uint32_t n_keys, uint32_t n_some)
{
    struct shape_obj *o = js_mem(j, 1, sizeof *o);

    if (!o)
        return NULL;
    o->prop = js_mem(j, n_prop, sizeof *o->prop);
    o->keys = js_mem(j, n_keys, sizeof *o->keys);
    o->some = js_mem(j, n_some, sizeof *o->some);
    o->max = NO_LIMIT;
    return o->prop && o->keys && o->some ? o : NULL;
}

struct shape_arr *arr_new(struct js *j, uint32_t n_pre, uint32_t n_has)
{
    struct shape_arr *a = js_mem(j, 1, sizeof *a);

    if (!a)
        return NULL;
    a->pre = js_mem(j, n_pre, sizeof *a->pre);
    a->has = js_mem(j, n_has, sizeof *a->has);
    a->max = NO_LIMIT;
    return a->pre && a->has ? a : NULL;
}

static bool is_any_obj(const struct js *j, const struct shape_obj *o)
{
    return o->n_prop == 0 && o->n_keys == 1 && o->keys[0].key == j->s->any &&
           o->keys[0].goal == GOAL_ANY && o->n_some == 0 && o->min == 0 && o->max == NO_LIMIT;
}

static bool is_any_arr(const struct shape_arr *a)
{
    return a->n_pre == 0 && a->n_has == 0 && a->rest == GOAL_ANY && a->min == 0 &&
           a->max == NO_LIMIT;
}

struct value value_all(struct js *j)
{
    struct value v = {.null = true, .yes = true, .no = true, .exp = true};

    if (j->all.obj)
        return j->all;
    v.num = j->dec;
    v.str = j->s->any;
    v.arr = arr_new(j, 0, 0);
    v.obj = obj_new(j, 0, 1, 0);
    if (v.obj) {
        v.obj->n_keys = 1;
        v.obj->keys[0] = (struct keys){j->s->any, GOAL_ANY};
    }
    return j->all = v;
}

/* What a shape asks of a property called name. */
static uint32_t goal_named(struct js *j, const struct shape_obj *o, struct slice name, bool *need)
{
    for (uint32_t i = 0; i < o->n_prop; i++)
        if (slice_eq(o->prop[i].name, name)) {
            *need = *need || o->prop[i].need;
            return o->prop[i].goal;
        }
    for (uint32_t i = 0; i < o->n_keys; i++)
        if (o->keys[i].key == j->s->any || rx_match(j->s, o->keys[i].key, name))
            return o->keys[i].goal;
    return GOAL_NONE;
}

static rx key_and(struct js *j, rx a, rx b)
{
    rx e = a == j->s->any ? b : b == j->s->any ? a : rx_and(j->s, a, b);

    return rx_live(j->s, e) ? e : RX_NONE;
}

/* NULL: nothing is in both, or j->rc. */
static struct shape_obj *obj_and(struct js *j, const struct shape_obj *a,
                                 const struct shape_obj *b)
{
    struct shape_obj *o = obj_new(j, a->n_prop + b->n_prop, a->n_keys * b->n_keys,
                                  a->n_some + b->n_some);
    uint32_t needed = 0;

    if (!o)
        return NULL;
    for (uint32_t i = 0; i < a->n_prop + b->n_prop; i++) {
        const struct shape_obj *from = i < a->n_prop ? a : b, *other = i < a->n_prop ? b : a;
        struct prop p = from->prop[i < a->n_prop ? i : i - a->n_prop];
        bool known = false;

        for (uint32_t k = 0; k < a->n_prop && from == b; k++)
            known = known || slice_eq(a->prop[k].name, p.name);
        if (known)
            continue;
        p.goal = goal_and(j, p.goal, goal_named(j, other, p.name, &p.need));
        if (p.need && p.goal == GOAL_NONE)
            return NULL;
        needed += p.need;
        o->prop[o->n_prop++] = p;
    }
    for (uint32_t i = 0; i < a->n_keys; i++)
        for (uint32_t k = 0; k < b->n_keys; k++) {
            uint32_t goal = goal_and(j, a->keys[i].goal, b->keys[k].goal);
            rx key = goal == GOAL_NONE ? RX_NONE : key_and(j, a->keys[i].key, b->keys[k].key);

            if (key != RX_NONE)
                o->keys[o->n_keys++] = (struct keys){key, goal};
        }
    if (a->n_some)
        memcpy(o->some, a->some, a->n_some * sizeof *o->some);
    if (b->n_some)
        memcpy(o->some + a->n_some, b->some, b->n_some * sizeof *o->some);
    o->n_some = a->n_some + b->n_some;
    o->min = a->min > b->min ? a->min : b->min;
    o->max = a->max < b->max ? a->max : b->max;
    return o->min > o->max || needed > o->max ? NULL : o;
}

static bool is_unique(const struct shape_arr *a)
{
    for (uint32_t i = 0; i < a->n_has; i++)
        if (a->has[i].apart)
            return true;
    return false;
}

static struct shape_arr *arr_and(struct js *j, const struct shape_arr *a,
                                 const struct shape_arr *b)
{
    uint32_t n = a->n_pre > b->n_pre ? a->n_pre : b->n_pre;
    struct shape_arr *o = arr_new(j, n, a->n_has + b->n_has);

    if (!o)
        return NULL;
    if (is_unique(a) && is_unique(b))
        js_fail(j, E_UNSUPPORTED, "", "uniqueItems twice for one array");
    o->n_pre = n;
    o->rest = goal_and(j, a->rest, b->rest);
    o->min = a->min > b->min ? a->min : b->min;
    o->max = a->max < b->max ? a->max : b->max;
    for (uint32_t i = 0; i < n; i++) {
        o->pre[i] = goal_and(j, i < a->n_pre ? a->pre[i] : a->rest,
                             i < b->n_pre ? b->pre[i] : b->rest);
        if (o->pre[i] == GOAL_NONE && i < o->max)
            o->max = i;
    }
    if (o->rest == GOAL_NONE && o->max > n)
        o->max = n;
    if (a->n_has)
        memcpy(o->has, a->has, a->n_has * sizeof *o->has);
    if (b->n_has)
        memcpy(o->has + a->n_has, b->has, b->n_has * sizeof *o->has);
    o->n_has = a->n_has + b->n_has;
    return o->min > o->max ? NULL : o;
}

/* -- union and intersection ------------------------------------------------------------------ */

static bool working(struct js *j)
{
    if (j->rc < 0 || j->s->bad)
        return false;
    if (++j->work > MAX_WORK)
        js_fail(j, E_RANGE, "", "its parts combine in too many ways");
    return j->rc == 0;
}

struct value value_or(struct js *j, struct value a, struct value b)
{
    bool a_num = a.exp || a.num != RX_NONE, b_num = b.exp || b.num != RX_NONE;
    struct value v = {.null = a.null || b.null, .yes = a.yes || b.yes, .no = a.no || b.no,
                      .exp = a.exp || b.exp, .arr = a.arr, .obj = a.obj};
    int n = 0;

    v.canon = a_num && b_num ? a.canon && b.canon : a_num ? a.canon : b.canon;
    v.num = rx_or(j->s, a.num, b.num);
    v.str = rx_or(j->s, a.str, b.str);
    for (const struct shape_arr *x = b.arr; x && working(j); x = x->next) {
        struct shape_arr *c = js_mem(j, 1, sizeof *c), **end = &v.arr;

        if (!c || (v.arr && is_any_arr(v.arr)))
            break;
        if (is_any_arr(x))
            v.arr = NULL;
        if (v.arr == a.arr && a.arr) { // a's list stays as it is
            struct shape_arr *copy = NULL, **at = &copy;

            for (const struct shape_arr *y = a.arr; y; y = y->next, at = &(*at)->next) {
                *at = js_mem(j, 1, sizeof **at);
                if (!*at)
                    return v;
                **at = *y;
                (*at)->next = NULL;
            }
            v.arr = copy;
        }
        for (end = &v.arr; *end; end = &(*end)->next)
            n++;
        *c = *x;
        c->next = NULL;
        *end = c;
    }
    for (const struct shape_obj *x = b.obj; x && working(j); x = x->next) {
        struct shape_obj *c = js_mem(j, 1, sizeof *c), **end = &v.obj;

        if (!c || (v.obj && is_any_obj(j, v.obj)))
            break;
        if (is_any_obj(j, x))
            v.obj = NULL;
        if (v.obj == a.obj && a.obj) {
            struct shape_obj *copy = NULL, **at = &copy;

            for (const struct shape_obj *y = a.obj; y; y = y->next, at = &(*at)->next) {
                *at = js_mem(j, 1, sizeof **at);
                if (!*at)
                    return v;
                **at = *y;
                (*at)->next = NULL;
            }
            v.obj = copy;
        }
        for (end = &v.obj; *end; end = &(*end)->next)
            n++;
        *c = *x;
        c->next = NULL;
        *end = c;
    }
    if (n > MAX_SHAPES * 100)
        js_fail(j, E_RANGE, "", "its parts combine in too many ways");
    return v;
}

struct value value_and(struct js *j, struct value a, struct value b)
{
    struct value v = {.null = a.null && b.null, .yes = a.yes && b.yes, .no = a.no && b.no,
                      .exp = a.exp && b.exp, .canon = a.canon || b.canon};
    struct shape_arr **at = &v.arr;
    struct shape_obj **ot = &v.obj;

    v.num = a.num == j->dec ? b.num : b.num == j->dec ? a.num : rx_and(j->s, a.num, b.num);
    v.str = a.str == j->s->any   ? b.str
            : b.str == j->s->any ? a.str
                                 : rx_and(j->s, a.str, b.str);
    if (a.arr == j->all.arr)
        v.arr = b.arr;
    else if (b.arr == j->all.arr)
        v.arr = a.arr;
    for (const struct shape_arr *x = v.arr ? NULL : a.arr; x; x = x->next)
        for (const struct shape_arr *y = b.arr; y && working(j); y = y->next) {
            struct shape_arr *o = arr_and(j, x, y);

            if (o) {
                *at = o;
                at = &o->next;
            }
        }
    if (a.obj == j->all.obj)
        v.obj = b.obj;
    else if (b.obj == j->all.obj)
        v.obj = a.obj;
    for (const struct shape_obj *x = v.obj ? NULL : a.obj; x; x = x->next)
        for (const struct shape_obj *y = b.obj; y && working(j); y = y->next) {
            struct shape_obj *o = obj_and(j, x, y);

            if (o) {
                *ot = o;
                ot = &o->next;
            }
        }
    return v;
}

/* -- complement ------------------------------------------------------------------------------ */

/* A value that is none but of one kind. */
static struct value only_arr(struct shape_arr *a)
{
    return (struct value){.arr = a};
}

static struct value only_obj(struct shape_obj *o)
{
    return (struct value){.obj = o};
}

static struct shape_obj *free_obj(struct js *j, uint32_t n_prop, uint32_t n_some)
{
    struct shape_obj *o = obj_new(j, n_prop, 1, n_some);

    if (o) {
        o->n_keys = 1;
        o->keys[0] = (struct keys){j->s->any, GOAL_ANY};
        o->n_prop = n_prop;
        o->n_some = n_some;
    }
    return o;
}

/* The goals of which one holds where goal does not: one for each literal. */
static uint32_t opposite(struct js *j, uint32_t goal, uint32_t i)
{
    uint32_t l;

    if (goal == GOAL_NONE)
        return GOAL_ANY;
    l = j->goal[goal].lit[i] ^ 1;
    return goal_of(j, &l, 1);
}

static uint32_t n_opposites(const struct js *j, uint32_t goal)
{
    return goal == GOAL_ANY ? 0 : goal == GOAL_NONE ? 1 : j->goal[goal].n;
}

/* Objects that have a property of such a name with a value not in goal. */
static struct value some_not(struct js *j, rx key, uint32_t goal)
{
    struct value v = {0};

    for (uint32_t i = 0; i < n_opposites(j, goal); i++) {
        struct shape_obj *o = free_obj(j, 0, 1);

        if (!o)
            return v;
        o->some[0] = (struct keys){key, opposite(j, goal, i)};
        v = value_or(j, v, only_obj(o));
    }
    return v;
}

/* Objects without any property of such a name that holds such a value. */
static struct value none_such(struct js *j, struct keys k, const char *path)
{
    struct shape_obj *o = obj_new(j, 0, 2, 0);
    uint32_t not_goal = GOAL_NONE;

    if (!o)
        return (struct value){0};
    if (k.goal != GOAL_ANY) {
        if (k.goal != GOAL_NONE && j->goal[k.goal].n > 1)
            js_fail(j, E_UNSUPPORTED, path, "this 'not' cannot be enforced");
        else
            not_goal = opposite(j, k.goal, 0);
    }
    if (not_goal != GOAL_NONE)
        o->keys[o->n_keys++] = (struct keys){k.key, not_goal};
    o->keys[o->n_keys++] = (struct keys){rx_minus(j->s, j->s->any, k.key), GOAL_ANY};
    return only_obj(o);
}

static struct value prop_not(struct js *j, const struct prop *p)
{
    struct value v = {0};

    for (uint32_t i = 0; i < n_opposites(j, p->goal); i++) {
        struct shape_obj *o = free_obj(j, 1, 0);

        if (!o)
            return v;
        o->prop[0] = (struct prop){p->name, opposite(j, p->goal, i), true};
        v = value_or(j, v, only_obj(o));
    }
    if (p->need) {
        struct shape_obj *o = free_obj(j, 1, 0);

        if (!o)
            return v;
        o->prop[0] = (struct prop){p->name, GOAL_NONE, false};
        v = value_or(j, v, only_obj(o));
    }
    return v;
}

/* Objects that are not of this shape. */
static struct value obj_not(struct js *j, const struct shape_obj *x, const char *path)
{
    struct slice *name = js_mem(j, x->n_prop, sizeof *name);
    struct value v = {0};
    rx names, other;

    if (!name)
        return v;
    for (uint32_t i = 0; i < x->n_prop; i++) {
        v = value_or(j, v, prop_not(j, &x->prop[i]));
        name[i] = x->prop[i].name;
    }
    names = rx_texts(j->s, name, x->n_prop);
    other = rx_minus(j->s, j->s->any, names);
    for (uint32_t i = 0; i < x->n_keys; i++) {
        v = value_or(j, v, some_not(j, rx_minus(j->s, x->keys[i].key, names), x->keys[i].goal));
        other = x->keys[i].key == j->s->any ? RX_NONE : rx_minus(j->s, other, x->keys[i].key);
    }
    if (rx_live(j->s, other))
        v = value_or(j, v, some_not(j, other, GOAL_NONE));
    for (uint32_t i = 0; i < x->n_some; i++)
        v = value_or(j, v, none_such(j, x->some[i], path));
    for (int i = 0; i < 2; i++) {
        struct shape_obj *o;

        if (i ? x->max == NO_LIMIT : x->min == 0)
            continue;
        if (!(o = free_obj(j, 0, 0)))
            return v;
        if (i)
            o->min = x->max + 1;
        else
            o->max = x->min - 1;
        v = value_or(j, v, only_obj(o));
    }
    return v;
}

static struct value arr_has(struct js *j, uint32_t goal, uint32_t from, uint32_t min, uint32_t max)
{
    struct shape_arr *a = arr_new(j, 0, 1);

    if (!a)
        return (struct value){0};
    a->n_has = 1;
    a->has[0] = (struct has){goal, min, max, from, false};
    return only_arr(a);
}

/* Arrays that are not of this shape. */
static struct value arr_not(struct js *j, const struct shape_arr *x)
{
    struct value v = {0};

    for (uint32_t i = 0; i < x->n_pre; i++)
        for (uint32_t k = 0; k < n_opposites(j, x->pre[i]); k++) {
            struct shape_arr *a = arr_new(j, i + 1, 0);

            if (!a)
                return v;
            a->n_pre = a->min = i + 1;
            a->pre[i] = opposite(j, x->pre[i], k);
            v = value_or(j, v, only_arr(a));
        }
    for (uint32_t k = 0; k < n_opposites(j, x->rest); k++)
        v = value_or(j, v, arr_has(j, opposite(j, x->rest, k), x->n_pre, 1, NO_LIMIT));
    for (uint32_t i = 0; i < x->n_has; i++) {
        const struct has *h = &x->has[i];

        if (h->min)
            v = value_or(j, v, arr_has(j, h->goal, h->from, 0, h->min - 1));
        if (h->max != NO_LIMIT)
            v = value_or(j, v, arr_has(j, h->goal, h->from, h->max + 1, NO_LIMIT));
    }
    for (int i = 0; i < 2; i++) {
        struct shape_arr *a;

        if (i ? x->max == NO_LIMIT : x->min == 0)
            continue;
        if (!(a = arr_new(j, 0, 0)))
            return v;
        if (i)
            a->min = x->max + 1;
        else
            a->max = x->min - 1;
        v = value_or(j, v, only_arr(a));
    }
    return v;
}

struct value value_not(struct js *j, struct value v, const char *path)
{
    struct value all = value_all(j), r = all;

    if (j->rc < 0)
        return v;
    r.null = !v.null;
    r.yes = !v.yes;
    r.no = !v.no;
    r.exp = v.num == RX_NONE && !v.exp;
    r.num = v.num == j->dec ? RX_NONE : rx_minus(j->s, j->dec, v.num);
    r.str = v.str == j->s->any ? RX_NONE : rx_minus(j->s, j->s->any, v.str);
    for (const struct shape_arr *x = v.arr; x && working(j); x = x->next) {
        struct value one = all;

        one.arr = arr_not(j, x).arr;
        r = value_and(j, r, one);
    }
    for (const struct shape_obj *x = v.obj; x && working(j); x = x->next) {
        struct value one = all;

        one.obj = obj_not(j, x, path).obj;
        r = value_and(j, r, one);
    }
    return r;
}

/* -- the values of literals and goals -------------------------------------------------------- */

static struct value lit_value(struct js *j, uint32_t lit)
{
    uint32_t i = lit / 2, neg = lit & 1;
    struct lit l = j->lit[i];
    struct value v;

    if (l.state[neg] == 2)
        return l.value[neg];
    if (l.state[neg] == 1 || j->depth >= MAX_DEPTH) {
        js_fail(j, l.state[neg] == 1 ? E_FORMAT : E_RANGE, l.path,
                l.state[neg] == 1 ? "a reference that leads to itself" : "nested too deeply");
        return (struct value){0};
    }
    j->lit[i].state[neg] = 1;
    j->depth++;
    if (neg)
        v = value_not(j, lit_value(j, lit ^ 1), l.path);
    else
        v = l.constant ? const_value(j, l.node, l.path) : schema_value(j, l.node, l.path);
    j->depth--;
    j->lit[i].state[neg] = 2;
    j->lit[i].value[neg] = v;
    return v;
}

struct value goal_value(struct js *j, uint32_t goal)
{
    struct value v;
    uint32_t n;

    if (goal == GOAL_ANY)
        return value_all(j);
    if (goal == GOAL_NONE)
        return (struct value){0};
    if (j->goal[goal].state == 2)
        return j->goal[goal].value;
    n = j->goal[goal].n;
    v = lit_value(j, j->goal[goal].lit[0]);
    for (uint32_t i = 1; i < n && j->rc == 0; i++)
        v = value_and(j, v, lit_value(j, j->goal[goal].lit[i]));
    j->goal[goal].state = 2;
    j->goal[goal].value = v;
    return v;
}

static bool goal_empty(struct js *j, uint32_t goal)
{
    struct value v;
    bool empty;

    if (goal <= GOAL_NONE)
        return goal == GOAL_NONE;
    if (j->goal[goal].empty || j->depth >= MAX_DEPTH / 4)
        return j->goal[goal].empty == 2;
    j->goal[goal].empty = 1; // while this is open it counts as not empty
    j->depth++;
    v = goal_value(j, goal);
    empty = j->rc == 0 && value_empty(j, &v);
    j->depth--;
    j->goal[goal].empty = empty ? 2 : 3;
    return empty;
}

static bool arr_empty(struct js *j, const struct shape_arr *a)
{
    for (uint32_t i = 0; i < a->min; i++) {
        if (i >= a->n_pre)
            return goal_empty(j, a->rest);
        if (goal_empty(j, a->pre[i]))
            return true;
    }
    return false;
}

static bool obj_empty(struct js *j, const struct shape_obj *o)
{
    for (uint32_t i = 0; i < o->n_prop; i++)
        if (o->prop[i].need && goal_empty(j, o->prop[i].goal))
            return true;
    return false;
}

bool value_empty(struct js *j, const struct value *v)
{
    if (v->null || v->yes || v->no || v->exp || rx_live(j->s, v->num) || rx_live(j->s, v->str))
        return false;
    for (const struct shape_arr *a = v->arr; a; a = a->next)
        if (!arr_empty(j, a))
            return false;
    for (const struct shape_obj *o = v->obj; o; o = o->next)
        if (!obj_empty(j, o))
            return false;
    return true;
}
