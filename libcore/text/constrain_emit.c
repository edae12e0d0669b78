/* constrain_emit.c - from sets of JSON values to rules of a grammar.
 *
 * A goal is a rule. Properties come in the order in which the schema names them, others behind
 * them. How values and names are spelt is constrain_write.c's.
 */
#include "base/mem.h"
#include "constrain_value.h"
#include "text/toolcall_value.h"

#define MAX_PLACES 200000 // of one shape: places times what is counted

/* -- goals ----------------------------------------------------------------------------------- */

static uint32_t rule_of(struct js *j, uint32_t goal)
{
    if (!j->goal[goal].made) {
        j->goal[goal].made = true;
        j->goal[goal].rule = gram_rule(j->g);
    }
    return j->goal[goal].rule;
}

static void read_goal(struct js *j, uint32_t from, uint32_t goal, uint32_t to)
{
    if (goal != GOAL_NONE)
        gram_edge(j->g, from, rule_of(j, goal), to);
}

/* -- places ---------------------------------------------------------------------------------- */

/* Places within a shape are vectors of small counters; each becomes a state when it is met. */
#define MAX_COUNTERS 12

struct places {
    struct js *j;
    uint32_t rule;
    int n;                      // counters
    uint32_t size[MAX_COUNTERS]; // of each: 0 to size - 1
    uint32_t *state;            // [product of sizes] + 1
    uint32_t *todo;             // codes whose edges are to be made
    uint32_t n_todo;
};

static bool places_init(struct places *p, const char *what)
{
    uint64_t all = 1;

    for (int i = 0; i < p->n; i++)
        if (!mul_ok(all, p->size[i], &all) || all > MAX_PLACES) {
            js_fail(p->j, E_RANGE, "", what);
            return false;
        }
    p->state = mem_array(all, 4, NULL);
    p->todo = mem_array(all, 4, NULL);
    if (!p->state || !p->todo)
        js_fail(p->j, E_NOMEM, "", "out of memory");
    return p->state && p->todo;
}

static void places_fini(struct places *p)
{
    mem_free(p->state);
    mem_free(p->todo);
}

static uint32_t place(struct places *p, const uint32_t *c)
{
    uint32_t code = 0;

    for (int i = 0; i < p->n; i++)
        code = code * p->size[i] + c[i];
    if (!p->state[code]) {
        p->state[code] = gram_state(p->j->g, p->rule) + 1;
        p->todo[p->n_todo++] = code;
    }
    return p->state[code] - 1;
}

static bool next_place(struct places *p, uint32_t *c)
{
    uint32_t code;

    if (p->n_todo == 0 || p->j->g->bad || p->j->s->bad || p->j->rc < 0)
        return false;
    code = p->todo[--p->n_todo];
    for (int i = p->n; i-- > 0;) {
        c[i] = code % p->size[i];
        code /= p->size[i];
    }
    return true;
}

static uint32_t up(uint32_t v, uint32_t size)
{
    return v + 1 < size ? v + 1 : v;
}

/* -- arrays ---------------------------------------------------------------------------------- */

/* Counters: items so far (the last value: that many or more), then matches of each `has`. */
static void arr_items(struct places *p, const struct shape_arr *a, const uint32_t *c,
                      uint32_t goal, uint32_t from)
{
    struct js *j = p->j;
    uint32_t *next = (uint32_t[MAX_COUNTERS]){0};

    for (uint32_t set = 0; set < 1u << a->n_has; set++) { // which it is said to match
        uint32_t g = goal;
        bool fits = true;

        memcpy(next, c, sizeof(uint32_t[MAX_COUNTERS]));
        next[0] = up(c[0], p->size[0]);
        for (uint32_t i = 0; i < a->n_has && fits; i++) {
            const struct has *h = &a->has[i];
            bool counts = c[0] >= h->from;

            if (set >> i & 1) {
                fits = counts && (h->max == NO_LIMIT || c[1 + i] < h->max);
                g = goal_and(j, g, h->goal);
                next[1 + i] = up(c[1 + i], p->size[1 + i]);
            } else if (h->max != NO_LIMIT && counts) {
                uint32_t l;

                if (h->goal == GOAL_ANY) {
                    fits = false;
                } else if (h->goal != GOAL_NONE) {
                    if (j->goal[h->goal].n > 1)
                        js_fail(j, E_UNSUPPORTED, "", "maxContains of this kind");
                    l = j->goal[h->goal].lit[0] ^ 1;
                    g = goal_and(j, g, goal_of(j, &l, 1));
                }
            }
        }
        if (fits && g != GOAL_NONE)
            read_goal(j, from, g, place(p, next));
    }
}

static void emit_arr(struct js *j, const struct shape_arr *a, uint32_t rule)
{
    struct places p = {.j = j, .rule = rule, .n = (int)a->n_has + 1};
    uint32_t c[MAX_COUNTERS] = {0}, top = 1; // the first item has no comma before it

    rx open = write_sign(j, '['), close = write_sign(j, ']'), next = write_comma(j);

    top = a->n_pre > top ? a->n_pre : top;
    top = a->min > top ? a->min : top;
    if (a->n_has > 6) {
        js_fail(j, E_RANGE, "", "too many 'contains' at once");
        return;
    }
    for (uint32_t i = 0; i < a->n_has; i++) {
        const struct has *h = &a->has[i];

        top = h->from > top ? h->from : top;
        p.size[1 + i] = (h->max == NO_LIMIT ? h->min : h->max) + 1;
    }
    p.size[0] = (a->max == NO_LIMIT ? top : a->max) + 1;
    if (!places_init(&p, "arrays this long are counted in too many ways"))
        goto end;
    gram_read(j->g, j->g->rule[rule].start, open, place(&p, c));
    while (next_place(&p, c)) {
        uint32_t at = place(&p, c), from = at;
        bool enough = c[0] >= a->min;

        for (uint32_t i = 0; i < a->n_has; i++)
            enough = enough && c[1 + i] >= a->has[i].min;
        if (enough)
            gram_read(j->g, at, close, j->g->rule[rule].end);
        if (a->max != NO_LIMIT && c[0] >= a->max)
            continue;
        if (c[0] > 0) {
            from = gram_state(j->g, rule);
            gram_read(j->g, at, next, from);
        }
        arr_items(&p, a, c, c[0] < a->n_pre ? a->pre[c[0]] : a->rest, from);
    }
end:
    places_fini(&p);
}

/* -- objects --------------------------------------------------------------------------------- */

/* Counters: the next property in order (n_prop: the others), or, in any order, which of the needed
 * ones were there; whether anything was written, how many
 * were for minProperties, how many for maxProperties, whether one of the others was, and which of
 * `some` were met. */
enum { C_PROP, C_WRITTEN, C_MIN, C_MAX, C_OTHER, C_SOME, C_N };

static void emit_value(struct js *j, uint32_t rule, const struct value *v);

struct obj_emit {
    struct places p;
    const struct shape_obj *o;
    rx names;     // of all properties in order
    rx *key[2];   // [n_prop] terminals: first, later
    bool any_order;
    bool top;      // the arguments of a call
    bool bare;     // without braces
    uint32_t *bit; // [n_prop] in any order: of a needed one, else 0
    uint32_t all;  // those
};

static void counted(const struct obj_emit *x, const uint32_t *c, bool other, uint32_t *next)
{
    memcpy(next, c, C_N * sizeof *next);
    next[C_WRITTEN] = 1;
    /* nothing keeps two others from having one name: in generated text only one counts */
    if (!other || !x->p.j->opts.line || !c[C_OTHER])
        next[C_MIN] = up(c[C_MIN], x->p.size[C_MIN]);
    next[C_MAX] = up(c[C_MAX], x->p.size[C_MAX]);
    next[C_OTHER] = other ? up(c[C_OTHER], x->p.size[C_OTHER]) : c[C_OTHER];
}

/* What a property holds: name NULL: one of the others. */
static void obj_value(struct obj_emit *x, const struct slice *name, uint32_t mid, uint32_t goal,
                      uint32_t to)
{
    struct js *j = x->p.j;
    const json_t *props = json_object_get(j->root, "properties");
    struct value v;
    uint32_t rule, state[2];
    unsigned types;

    if (!x->top || j->form->kind != FORM_PARAMS || goal == GOAL_NONE) {
        read_goal(j, mid, goal, to);
        return;
    }
    v = goal_value(j, goal);
    types = schema_types(j->root, name ? json_object_get(props, name->p) : NULL);
    gram_read(j->g, mid, write_param(j, &v, types), to);
    rule = gram_rule(j->g);
    for (int i = 0; i < 2; i++)
        state[i] = gram_state(j->g, x->p.rule);
    if (j->g->bad)
        return;
    gram_read(j->g, mid, j->form->mid_json, state[0]);
    gram_edge(j->g, state[0], rule, state[1]);
    gram_read(j->g, state[1], j->form->close, to);
    emit_value(j, rule, &v);
}

/* The property in order, and what it may hold. */
static void obj_prop(struct obj_emit *x, const uint32_t *c, uint32_t i, uint32_t at)
{
    struct js *j = x->p.j;
    const struct prop *k = &x->o->prop[i];
    uint32_t mid = gram_state(j->g, x->p.rule), next[C_N];

    gram_read(j->g, at, x->key[c[C_WRITTEN]][i], mid);
    counted(x, c, false, next);
    next[C_PROP] = x->any_order ? c[C_PROP] | x->bit[i] : i + 1;
    obj_value(x, &k->name, mid, k->goal, place(&x->p, next));
    for (uint32_t s = 0; s < x->o->n_some; s++)
        if (!(c[C_SOME] >> s & 1) && rx_match(j->s, x->o->some[s].key, k->name)) {
            next[C_SOME] = c[C_SOME] | 1u << s;
            obj_value(x, &k->name, mid, goal_and(j, k->goal, x->o->some[s].goal),
                      place(&x->p, next));
            next[C_SOME] = c[C_SOME];
        }
}

/* One of the others. set: which of `some` it is to meet. */
static void obj_other(struct obj_emit *x, const uint32_t *c, const struct keys *k, uint32_t set,
                      uint32_t at)
{
    struct js *j = x->p.j;
    rx key = rx_minus(j->s, k->key, x->names);
    uint32_t goal = k->goal, mid, next[C_N];

    for (uint32_t s = 0; s < x->o->n_some; s++) {
        const struct keys *some = &x->o->some[s];

        if (set >> s & 1) {
            key = rx_and(j->s, key, some->key);
            goal = goal_and(j, goal, some->goal);
        } else if (c[C_SOME] >> s & 1 && j->opts.line) {
            key = rx_minus(j->s, key, some->key); // or the name could be written twice
        }
    }
    if (goal == GOAL_NONE || !rx_live(j->s, key))
        return;
    counted(x, c, true, next);
    next[C_SOME] = c[C_SOME] | set;
    mid = gram_state(j->g, x->p.rule);
    gram_read(j->g, at, write_name(j, key, !c[C_WRITTEN], x->top), mid);
    obj_value(x, NULL, mid, goal, place(&x->p, next));
}

static void obj_place(struct obj_emit *x, const uint32_t *c)
{
    struct js *j = x->p.j;
    const struct shape_obj *o = x->o;
    uint32_t at = place(&x->p, c), all = (1u << o->n_some) - 1, last[C_N];
    bool full = o->max != NO_LIMIT && c[C_MAX] >= o->max;

    for (uint32_t i = x->any_order ? 0 : c[C_PROP]; i < o->n_prop; i++) {
        if (!full && o->prop[i].goal != GOAL_NONE)
            obj_prop(x, c, i, at);
        if (o->prop[i].need && !x->any_order)
            return;
    }
    if (c[C_MIN] >= o->min && c[C_SOME] == all && (!x->any_order || c[C_PROP] == x->all))
        gram_read(j->g, at, x->bare ? RX_EPS : write_sign(j, '}'), j->g->rule[x->p.rule].end);
    memcpy(last, c, sizeof last);
    if (!x->any_order)
        last[C_PROP] = o->n_prop;
    for (uint32_t k = 0; k < o->n_keys && !full; k++)
        for (uint32_t set = 0; set <= all; set++)
            if (!(set & c[C_SOME]))
                obj_other(x, last, &o->keys[k], set, at);
}

/* In any order what was written is remembered in sets, as long as these are few. */
static bool obj_order(struct obj_emit *x, uint32_t needed)
{
    const struct shape_obj *o = x->o;

    if (!x->p.j->opts.any_order || needed > 8 || o->n_prop << needed > 4096)
        return false;
    x->bit = js_mem(x->p.j, o->n_prop, sizeof *x->bit);
    for (uint32_t i = 0, n = 0; x->bit && i < o->n_prop; i++)
        if (o->prop[i].need)
            x->all |= x->bit[i] = 1u << n++;
    return x->bit != NULL;
}

static bool obj_names(struct obj_emit *x)
{
    const struct shape_obj *o = x->o;
    struct js *j = x->p.j;
    struct slice *name = js_mem(j, o->n_prop, sizeof *name);

    for (int i = 0; i < 2; i++)
        x->key[i] = js_mem(j, o->n_prop, sizeof(rx));
    if (!name || !x->key[0] || !x->key[1])
        return false;
    for (uint32_t i = 0; i < o->n_prop; i++) {
        rx text = rx_lit(j->s, o->prop[i].name);

        name[i] = o->prop[i].name;
        x->key[0][i] = write_name(j, text, true, x->top);
        x->key[1][i] = write_name(j, text, false, x->top);
        if (o->prop[i].need && x->key[0][i] == RX_NONE && !j->s->bad)
            js_fail(j, E_UNSUPPORTED, "", "a required property cannot be named in this format");
    }
    x->names = rx_texts(j->s, name, o->n_prop);
    return true;
}

static void emit_obj(struct js *j, const struct shape_obj *o, uint32_t rule, bool top)
{
    struct obj_emit x = {.o = o, .p = {.j = j, .rule = rule, .n = C_N}, .top = top};
    uint32_t c[C_N] = {0}, needed = 0, *size = x.p.size;
    bool counts_min, counts_max;

    for (uint32_t i = 0; i < o->n_prop; i++)
        needed += o->prop[i].need;
    if (o->n_some > 6) {
        js_fail(j, E_RANGE, "", "too many conditions on some property");
        return;
    }
    x.any_order = obj_order(&x, needed);
    x.bare = top && (j->form->kind == FORM_PARAMS || j->form->kind == FORM_PYTHON);
    counts_min = o->min > needed;
    counts_max = o->max != NO_LIMIT && (x.any_order || o->n_keys || o->max < o->n_prop);
    size[C_PROP] = x.any_order ? 1u << needed : o->n_prop + 1;
    size[C_WRITTEN] = 2;
    size[C_MIN] = counts_min ? o->min + 1 : 1;
    size[C_MAX] = counts_max ? o->max + 1 : 1;
    size[C_OTHER] = counts_min && j->opts.line ? 2 : 1;
    size[C_SOME] = 1u << o->n_some;
    if (obj_names(&x) && places_init(&x.p, "objects this large are counted in too many ways")) {
        struct shape_obj free = *o;

        free.min = counts_min ? o->min : 0;
        free.max = counts_max ? o->max : NO_LIMIT;
        x.o = &free;
        gram_read(j->g, j->g->rule[rule].start, x.bare ? RX_EPS : write_sign(j, '{'),
                  place(&x.p, c));
        while (next_place(&x.p, c))
            obj_place(&x, c);
    }
    places_fini(&x.p);
}

/* -- rules ----------------------------------------------------------------------------------- */

static void emit_value(struct js *j, uint32_t rule, const struct value *v)
{
    uint32_t start = j->g->rule[rule].start, end = j->g->rule[rule].end;

    gram_read(j->g, start, write_scalars(j, v), end);
    for (const struct shape_arr *a = v->arr; a && j->rc == 0; a = a->next)
        emit_arr(j, a, rule);
    for (const struct shape_obj *o = v->obj; o && j->rc == 0; o = o->next)
        emit_obj(j, o, rule, false);
}

static void emit_goal(struct js *j, uint32_t goal)
{
    struct value v = goal_value(j, goal);

    if (j->rc == 0 && !j->g->bad)
        emit_value(j, j->goal[goal].rule, &v);
}

/* The whole text: white space behind it too; the arguments of a call. */
static uint32_t outermost(struct js *j, uint32_t goal)
{
    uint32_t r = gram_rule(j->g), mid = gram_state(j->g, r);
    struct value v;

    if (j->g->bad)
        return r;
    if (j->form) {
        v = goal_value(j, goal);
        for (const struct shape_obj *o = v.obj; o && j->rc == 0; o = o->next)
            emit_obj(j, o, r, true);
        return r;
    }
    read_goal(j, j->g->rule[r].start, goal, mid);
    gram_read(j->g, mid, write_space(j), j->g->rule[r].end);
    return r;
}

int emit_all(struct js *j, uint32_t root, uint32_t *rule)
{
    bool again = true;

    *rule = outermost(j, root);
    while (again && j->rc == 0 && !j->g->bad && !j->s->bad) {
        again = false;
        for (uint32_t i = 0; i < j->n_goal && j->rc == 0; i++)
            if (j->goal[i].made && !j->goal[i].done) {
                j->goal[i].done = true;
                emit_goal(j, i);
                again = true;
            }
    }
    return j->rc;
}
