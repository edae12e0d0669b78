/* constrain_emit.c - from sets of JSON values to rules of a grammar.
 *
 * A goal is a rule, an object a state of its own kind (constrain_gram.h), with a rule for each
 * member. How values and names are spelt is constrain_write.c's.
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
    int n;                       // counters
    uint32_t size[MAX_COUNTERS]; // of each: 0 to size - 1
    uint32_t *state;             // [product of sizes] + 1
    uint32_t *todo;              // codes whose edges are to be made
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

/* Those of values that are all an item can be: it is one of them. */
static uint32_t apart(const struct shape_arr *a)
{
    uint32_t set = 0;

    for (uint32_t i = 0; i < a->n_has; i++)
        set |= (uint32_t)a->has[i].apart << i;
    return set;
}

/* Counters: items so far (the last value: that many or more), then matches of each `has`. */
static void arr_items(struct places *p, const struct shape_arr *a, const uint32_t *c, uint32_t goal,
                      uint32_t from)
{
    struct js *j = p->j;
    uint32_t *next = (uint32_t[MAX_COUNTERS]){0};
    const uint32_t one = apart(a);

    for (uint32_t set = 0; set < 1u << a->n_has; set++) { // which it is said to match
        uint32_t g = goal;
        bool fits = true;

        if (one && __builtin_popcount(set & one) != 1)
            continue;
        memcpy(next, c, sizeof(uint32_t[MAX_COUNTERS]));
        next[0] = up(c[0], p->size[0]);
        for (uint32_t i = 0; i < a->n_has && fits; i++) {
            const struct has *h = &a->has[i];
            bool counts = c[0] >= h->from;

            if (set >> i & 1) {
                fits = counts && (h->max == NO_LIMIT || c[1 + i] < h->max);
                g = goal_and(j, g, h->goal);
                next[1 + i] = up(c[1 + i], p->size[1 + i]);
            } else if (h->max != NO_LIMIT && counts && !h->apart) {
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
    uint32_t together;
    uint32_t c[MAX_COUNTERS] = {0}, top = 1; // the first item has no comma before it

    rx open = write_sign(j, '['), close = write_sign(j, ']'), next = write_comma(j);

    top = a->n_pre > top ? a->n_pre : top;
    top = a->min > top ? a->min : top;
    together = a->n_has - (uint32_t)__builtin_popcount(apart(a));
    if (a->n_has > (together ? 6 : MAX_COUNTERS - 1)) {
        js_fail(j, E_RANGE, "", "too many 'contains', or values of uniqueItems beside one");
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

/* Nothing keeps two others from having one name: in generated text only one counts for
 * minProperties. */
struct obj_emit {
    struct js *j;
    const struct shape_obj *o;
    uint32_t rule; // of the object
    rx names;      // of all its properties
    bool top;      // the arguments of a call
};

static void emit_value(struct js *j, uint32_t rule, const struct value *v);

/* In rule r from mid to its end: a value. name NULL: of one of the others. */
static void obj_value(struct obj_emit *x, const struct slice *name, uint32_t r, uint32_t mid,
                      uint32_t goal)
{
    struct js *j = x->j;
    const json_t *props = json_object_get(j->root, "properties");
    uint32_t end = j->g->rule[r].end, rule, state[2];
    struct value v;
    unsigned types;

    if (!x->top || j->form->kind != FORM_PARAMS) {
        read_goal(j, mid, goal, end);
        return;
    }
    v = goal_value(j, goal);
    types = schema_types(j->root, name ? json_object_get(props, name->p) : NULL);
    gram_read(j->g, mid, write_param(j, &v, types), end);
    rule = gram_rule(j->g);
    for (int i = 0; i < 2; i++)
        state[i] = gram_state(j->g, r);
    if (j->g->bad)
        return;
    gram_read(j->g, mid, j->form->mid_json, state[0]);
    gram_edge(j->g, state[0], rule, state[1]);
    gram_read(j->g, state[1], j->form->close, end);
    emit_value(j, rule, &v);
}

/* A move that reads a member: one of these names, and a value. */
static void obj_member(struct obj_emit *x, struct gram_move m, rx text, const struct slice *name,
                       uint32_t goal)
{
    struct js *j = x->j;

    for (int later = 0; later < 2; later++) {
        rx key = write_name(j, text, !later, x->top);
        uint32_t r = gram_rule(j->g), mid = gram_state(j->g, r);

        if (j->g->bad)
            return;
        if (key == RX_NONE && name && !j->s->bad && x->o->prop[m.prop].need)
            js_fail(j, E_UNSUPPORTED, "", "a required property cannot be named in this format");
        gram_read(j->g, j->g->rule[r].start, key, mid);
        obj_value(x, name, r, mid, goal);
        m.rule[later] = r;
    }
    gram_move(j->g, m);
}

static void obj_prop(struct obj_emit *x, uint32_t i)
{
    struct js *j = x->j;
    const struct prop *k = &x->o->prop[i];
    struct gram_move m = {.prop = i};
    rx text = rx_lit(j->s, k->name);
    uint32_t named = 0; // conditions on such a name

    for (uint32_t s = 0; s < x->o->n_some; s++)
        named |= (uint32_t)rx_match(j->s, x->o->some[s].key, k->name) << s;
    for (uint32_t set = 0; set <= named; set++) {
        uint32_t goal = k->goal;

        for (uint32_t s = 0; s < x->o->n_some; s++)
            goal = set >> s & 1 ? goal_and(j, goal, x->o->some[s].goal) : goal;
        m.some = (uint8_t)set;
        if (!(set & ~named) && goal != GOAL_NONE)
            obj_member(x, m, text, &k->name, goal);
    }
}

/* One of the others that meets these conditions of `some`, where those were met before. */
static void obj_other(struct obj_emit *x, const struct keys *k, uint32_t set, uint32_t met)
{
    struct js *j = x->j;
    struct gram_move m = {.prop = OBJ_OTHER, .some = (uint8_t)set, .met = (uint8_t)met};
    rx key = rx_minus(j->s, k->key, x->names);
    uint32_t goal = k->goal;

    m.only_met = j->opts.line && x->o->n_some;
    for (uint32_t s = 0; s < x->o->n_some; s++) {
        const struct keys *some = &x->o->some[s];

        if (set >> s & 1) {
            key = rx_and(j->s, key, some->key);
            goal = goal_and(j, goal, some->goal);
        } else if (met >> s & 1) {
            key = rx_minus(j->s, key, some->key); // or the name could be written twice
        }
    }
    if (goal != GOAL_NONE && rx_live(j->s, key))
        obj_member(x, m, key, NULL, goal);
}

static bool obj_names(struct obj_emit *x, bool *need)
{
    const struct shape_obj *o = x->o;
    struct slice *name = js_mem(x->j, o->n_prop, sizeof *name);

    if (!name)
        return false;
    for (uint32_t i = 0; i < o->n_prop; i++) {
        name[i] = o->prop[i].name;
        need[i] = o->prop[i].need;
    }
    x->names = rx_texts(x->j->s, name, o->n_prop);
    return true;
}

static void emit_obj(struct js *j, const struct shape_obj *o, uint32_t rule, bool top)
{
    struct obj_emit x = {.j = j, .o = o, .rule = rule, .top = top};
    struct gram_obj g = {.n_prop = o->n_prop,
                         .min = o->min,
                         .max = o->max,
                         .ordered = j->opts.ordered,
                         .others_once = j->opts.line};
    bool bare = top && (j->form->kind == FORM_PARAMS || j->form->kind == FORM_PYTHON);
    bool *need = js_mem(j, o->n_prop, sizeof *need);
    uint32_t all = (1u << o->n_some) - 1, at;

    if (o->n_some > OBJ_MAX_SOME) {
        js_fail(j, E_RANGE, "", "too many conditions on some property");
        return;
    }
    if (!need || !obj_names(&x, need))
        return;
    g.some = (uint8_t)all;
    at = gram_obj(j->g, rule, g, need);
    gram_read(j->g, j->g->rule[rule].start, bare ? j->form->begin : write_sign(j, '{'), at);
    gram_read(j->g, at, bare ? j->form->end : write_sign(j, '}'), j->g->rule[rule].end);
    for (uint32_t i = 0; i < o->n_prop && !j->g->bad; i++)
        obj_prop(&x, i);
    for (uint32_t k = 0; k < o->n_keys; k++)
        for (uint32_t set = 0; set <= all; set++)
            for (uint32_t met = 0; met <= (j->opts.line ? all : 0) && !j->g->bad; met++)
                if (!(set & met))
                    obj_other(&x, &o->keys[k], set, met);
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
