/* constrain_gram.c - see constrain_gram.h. */
#include "constrain_gram.h"

#include <stdlib.h>

#include "base/mem.h"
#include "constrain_obj.h"

#define MAX_NODES 200000u  // of a grammar's expressions
#define MAX_WORK  6000000u // derivatives while compiling: about half a second

int gram_init(struct gram *g, struct err *e)
{
    int rc;

    *g = (struct gram){0};
    rc = rxs_init(&g->rx, MAX_NODES, e);
    g->rx.max_work = MAX_WORK;
    return rc;
}

void gram_fini(struct gram *g)
{
    rxs_fini(&g->rx);
    mem_free(g->term);
    mem_free(g->rule);
    mem_free(g->owner);
    mem_free(g->accept);
    mem_free(g->at);
    mem_free(g->edge);
    mem_free(g->raw);
    mem_free(g->obj);
    mem_free(g->move);
    mem_free(g->bits);
    mem_free(g->obj_of);
    *g = (struct gram){0};
}

/* -- building -------------------------------------------------------------------------------- */

static bool room(struct gram *g, void **p, uint32_t *cap, uint32_t n, size_t size, uint32_t limit)
{
    uint32_t want = *cap ? *cap * 2 : 64;
    void *q;

    if (g->bad)
        return false;
    if (n < *cap)
        return true;
    if (n >= limit) {
        g->bad = E_RANGE;
        return false;
    }
    q = mem_resize(*p, *cap, want, size, NULL);
    if (!q) {
        g->bad = E_NOMEM;
        return false;
    }
    *p = q;
    *cap = want;
    return true;
}

uint32_t gram_state(struct gram *g, uint32_t rule)
{
    if (!room(g, (void **)&g->owner, &g->cap_owner, g->n_state, 4, GRAM_MAX_STATES))
        return 0;
    g->owner[g->n_state] = rule;
    return g->n_state++;
}

uint32_t gram_rule(struct gram *g)
{
    uint32_t r = g->n_rule, start, end;

    if (!room(g, (void **)&g->rule, &g->cap_rule, r, sizeof *g->rule, GRAM_MAX_STATES))
        return 0;
    g->n_rule++;
    start = gram_state(g, r);
    end = gram_state(g, r);
    g->rule[r] = (struct gram_rule){start, end};
    return r;
}

uint32_t gram_term(struct gram *g, rx e)
{
    if (!room(g, (void **)&g->term, &g->cap_term, g->n_term, sizeof *g->term, GRAM_MAX_STATES))
        return SYM_TERM;
    g->term[g->n_term] = e;
    return SYM_TERM | g->n_term++;
}

void gram_edge(struct gram *g, uint32_t from, uint32_t sym, uint32_t to)
{
    if (room(g, (void **)&g->raw, &g->cap_raw, g->n_raw, sizeof *g->raw, GRAM_MAX_EDGES))
        g->raw[g->n_raw++] = (struct gram_raw){from, sym, to};
}

void gram_empty(struct gram *g, uint32_t from, uint32_t to)
{
    gram_edge(g, from, SYM_EMPTY, to);
}

void gram_read(struct gram *g, uint32_t from, rx e, uint32_t to)
{
    if (rx_nullable(&g->rx, e)) {
        gram_empty(g, from, to);
        e = rx_minus(&g->rx, e, RX_EPS);
    }
    if (e != RX_NONE)
        gram_edge(g, from, gram_term(g, e), to);
}

uint32_t gram_obj(struct gram *g, uint32_t rule, struct gram_obj o, const bool *need)
{
    uint32_t words = (o.n_prop + 31) / 32;

    o.state = gram_state(g, rule);
    o.move = g->n_move;
    o.n_move = o.n_need = 0;
    o.need = g->n_bits;
    for (uint32_t i = 0; i < words; i++) {
        if (!room(g, (void **)&g->bits, &g->cap_bits, g->n_bits, 4, GRAM_MAX_STATES))
            return 0;
        g->bits[g->n_bits++] = 0;
    }
    for (uint32_t i = 0; i < o.n_prop; i++) {
        g->bits[o.need + i / 32] |= (uint32_t)need[i] << i % 32;
        o.n_need += need[i];
    }
    if (!room(g, (void **)&g->obj, &g->cap_obj, g->n_obj, sizeof o, GRAM_MAX_STATES))
        return 0;
    g->obj[g->n_obj++] = o;
    return o.state;
}

void gram_move(struct gram *g, struct gram_move m)
{
    if (!room(g, (void **)&g->move, &g->cap_move, g->n_move, sizeof m, GRAM_MAX_EDGES))
        return;
    g->move[g->n_move++] = m;
    g->obj[g->n_obj - 1].n_move++;
}

/* -- finishing ------------------------------------------------------------------------------- */

struct finish {
    struct gram *g;
    uint32_t *at;      // [n_state + 1] into raw, sorted by from
    bool *nullable;    // [n_rule]
    uint32_t *mark;    // [n_state] the last closure it was in, + 1
    uint32_t *stack;
    struct gram_raw *out; // without empty steps
    uint32_t n_out, cap_out;
    bool *accept;
    bool *used;        // states that are a start or behind an edge
    bool *useful;      // states from which the end of the rule can be reached
};

static int by_raw(const void *a, const void *b)
{
    const struct gram_raw *x = a, *y = b;

    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    if (x->sym != y->sym)
        return x->sym < y->sym ? -1 : 1;
    return (x->to > y->to) - (x->to < y->to);
}

static int by_term(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return x[0] != y[0] ? (x[0] > y[0]) - (x[0] < y[0]) : (x[1] > y[1]) - (x[1] < y[1]);
}

/* Terminals of one language are one; those without words go with their edges. */
static int settle_terms(struct gram *g, struct err *e)
{
    uint32_t (*v)[2] = mem_array(g->n_term + 1ull, sizeof *v, e);
    uint32_t *to = mem_array(g->n_term + 1ull, sizeof *to, e), k = 0, n = 0;

    for (uint32_t i = 0; v && to && i < g->n_term; i++) {
        v[i][0] = g->term[i];
        v[i][1] = i;
    }
    if (!v || !to) {
        mem_free(v);
        mem_free(to);
        return E_NOMEM;
    }
    qsort(v, g->n_term, sizeof *v, by_term);
    for (uint32_t i = 0; i < g->n_term; i++) {
        bool first = i == 0 || v[i][0] != v[i - 1][0];

        if (first && !rx_live(&g->rx, v[i][0]))
            v[i][0] = RX_NONE;
        else if (first)
            n++;
        else if (to[v[i - 1][1]] == SYM_EMPTY)
            v[i][0] = RX_NONE;
        to[v[i][1]] = v[i][0] == RX_NONE ? SYM_EMPTY : n - 1;
    }
    for (uint32_t i = 0; i < g->n_raw; i++) {
        struct gram_raw r = g->raw[i];

        if (r.sym != SYM_EMPTY && (r.sym & SYM_TERM)) {
            if (to[r.sym & ~SYM_TERM] == SYM_EMPTY)
                continue;
            r.sym = SYM_TERM | to[r.sym & ~SYM_TERM];
        }
        g->raw[k++] = r;
    }
    g->n_raw = k;
    for (uint32_t i = 0; i < g->n_term; i++)
        if (v[i][0] != RX_NONE)
            g->term[to[v[i][1]]] = v[i][0];
    g->n_term = n;
    mem_free(v);
    mem_free(to);
    return rxs_error(&g->rx, "the grammar", e);
}

static bool passable(const struct finish *f, uint32_t sym)
{
    return sym == SYM_EMPTY || (!(sym & SYM_TERM) && f->nullable[sym]);
}

/* All states reached from s without reading, into f->stack; returns how many. */
static uint32_t closure(struct finish *f, uint32_t s, uint32_t stamp)
{
    uint32_t n = 1;

    f->stack[0] = s;
    f->mark[s] = stamp;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = f->at[f->stack[i]]; k < f->at[f->stack[i] + 1]; k++) {
            const struct gram_raw *r = &f->g->raw[k];

            if (passable(f, r->sym) && f->mark[r->to] != stamp) {
                f->mark[r->to] = stamp;
                f->stack[n++] = r->to;
            }
        }
    return n;
}

static void find_nullable(struct finish *f, uint32_t *stamp)
{
    struct gram *g = f->g;
    bool again = true;

    while (again) {
        again = false;
        for (uint32_t i = 0; i < 2 * g->n_rule; i++) { // there and back: chains either way
            uint32_t r = i < g->n_rule ? i : 2 * g->n_rule - 1 - i;

            if (f->nullable[r])
                continue;
            closure(f, g->rule[r].start, ++*stamp);
            if (f->mark[g->rule[r].end] == *stamp)
                again = f->nullable[r] = true;
        }
    }
}

static bool put_out(struct finish *f, struct gram_raw r)
{
    if (!room(f->g, (void **)&f->out, &f->cap_out, f->n_out, sizeof *f->out, GRAM_MAX_EDGES))
        return false;
    f->out[f->n_out++] = r;
    return true;
}

/* Edges that read, gathered over all that can be reached without reading. */
static void gather(struct finish *f, uint32_t *stamp)
{
    struct gram *g = f->g;

    for (uint32_t i = 0; i < g->n_rule; i++)
        f->used[g->rule[i].start] = true;
    for (uint32_t i = 0; i < g->n_raw; i++)
        if (g->raw[i].sym != SYM_EMPTY)
            f->used[g->raw[i].to] = true;
    for (uint32_t s = 0; s < g->n_state; s++) {
        uint32_t n;

        if (!f->used[s])
            continue;
        n = closure(f, s, ++*stamp);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t c = f->stack[i];

            if (c == g->rule[g->owner[s]].end)
                f->accept[s] = true;
            for (uint32_t k = f->at[c]; k < f->at[c + 1]; k++)
                if (g->raw[k].sym != SYM_EMPTY &&
                    !put_out(f, (struct gram_raw){s, g->raw[k].sym, g->raw[k].to}))
                    return;
        }
    }
}

/* Out-edges by where they lead, and by the rule they read. */
struct backward {
    uint32_t *to_at, *sym_at, *by_to, *by_sym;
};

static int backward_init(struct backward *b, const struct finish *f, struct err *e)
{
    const struct gram *g = f->g;

    b->to_at = mem_array(g->n_state + 2ull, 4, e);
    b->sym_at = mem_array(g->n_rule + 2ull, 4, e);
    b->by_to = mem_array(f->n_out + 1ull, 4, e);
    b->by_sym = mem_array(f->n_out + 1ull, 4, e);
    if (!b->to_at || !b->sym_at || !b->by_to || !b->by_sym)
        return E_NOMEM;
    for (uint32_t i = 0; i < f->n_out; i++) {
        b->to_at[f->out[i].to + 2]++;
        if (!(f->out[i].sym & SYM_TERM))
            b->sym_at[f->out[i].sym + 2]++;
    }
    for (uint32_t i = 2; i < g->n_state + 2; i++)
        b->to_at[i] += b->to_at[i - 1];
    for (uint32_t i = 2; i < g->n_rule + 2; i++)
        b->sym_at[i] += b->sym_at[i - 1];
    for (uint32_t i = 0; i < f->n_out; i++) {
        b->by_to[b->to_at[f->out[i].to + 1]++] = i;
        if (!(f->out[i].sym & SYM_TERM))
            b->by_sym[b->sym_at[f->out[i].sym + 1]++] = i;
    }
    return 0;
}

static void backward_fini(struct backward *b)
{
    mem_free(b->to_at);
    mem_free(b->sym_at);
    mem_free(b->by_to);
    mem_free(b->by_sym);
}

/* From the n states on the stack backwards; objects' states are decided elsewhere. */
static void spread(struct finish *f, const struct backward *b, uint32_t n)
{
    struct gram *g = f->g;

    while (n) {
        uint32_t s = f->stack[--n], r = g->owner[s];

        for (uint32_t k = b->to_at[s]; k < b->to_at[s + 1]; k++) {
            const struct gram_raw *x = &f->out[b->by_to[k]];

            if (!f->useful[x->from] && !(g->obj_of && g->obj_of[x->from]) &&
                ((x->sym & SYM_TERM) || f->useful[g->rule[x->sym].start])) {
                f->useful[x->from] = true;
                f->stack[n++] = x->from;
            }
        }
        for (uint32_t k = b->sym_at[r]; s == g->rule[r].start && k < b->sym_at[r + 1]; k++) {
            const struct gram_raw *x = &f->out[b->by_sym[k]];

            if (!f->useful[x->from] && f->useful[x->to]) {
                f->useful[x->from] = true;
                f->stack[n++] = x->from;
            }
        }
    }
}

/* Moves that cannot be made go. */
static void drop_moves(struct finish *f)
{
    struct gram *g = f->g;

    for (uint32_t i = 0; i < g->n_obj; i++) {
        struct gram_obj *o = &g->obj[i];
        uint32_t n = 0;

        for (uint32_t k = o->move; k < o->move + o->n_move; k++)
            if (f->useful[g->rule[g->move[k].rule[0]].start])
                g->move[o->move + n++] = g->move[k];
        o->n_move = n;
    }
}

/* Marks the states from which their rule's end can be reached: backwards from the ends; a rule's
 * edges count once the rule itself has an end, an object once it can have all it needs. */
static int find_useful(struct finish *f, struct err *e)
{
    struct gram *g = f->g;
    struct backward b = {0};
    uint32_t n = 0;
    int rc = backward_init(&b, f, e);

    for (uint32_t s = 0; rc == 0 && s < g->n_state; s++)
        if (f->accept[s]) {
            f->useful[s] = true;
            f->stack[n++] = s;
        }
    if (rc == 0)
        spread(f, &b, n);
    for (bool again = rc == 0 && g->n_obj; again;) {
        again = false;
        for (uint32_t i = g->n_obj; i-- > 0;) { // inner ones were made later
            uint32_t s = g->obj[i].state;

            if (f->useful[s] || !obj_possible(g, &g->obj[i], f->useful))
                continue;
            again = f->useful[s] = true;
            f->stack[0] = s;
            spread(f, &b, 1);
        }
    }
    if (rc == 0)
        drop_moves(f);
    backward_fini(&b);
    return rc;
}

/* The final tables, from the useful edges. */
static int tables(struct finish *f, struct err *e)
{
    struct gram *g = f->g;
    uint32_t n = 0;

    g->at = mem_array(g->n_state + 1ull, 4, e);
    g->edge = mem_array(f->n_out + 1ull, sizeof *g->edge, e);
    if (!g->at || !g->edge)
        return E_NOMEM;
    if (f->n_out)
        qsort(f->out, f->n_out, sizeof *f->out, by_raw);
    for (uint32_t i = 0, s = 0; s < g->n_state; s++) {
        g->at[s] = n;
        for (; i < f->n_out && f->out[i].from == s; i++) {
            const struct gram_raw *r = &f->out[i];
            bool known = i && by_raw(r, r - 1) == 0;

            if (!known && f->useful[r->to] &&
                ((r->sym & SYM_TERM) || f->useful[g->rule[r->sym].start]))
                g->edge[n++] = (struct gram_edge){r->sym, r->to};
        }
    }
    g->at[g->n_state] = g->n_edge = n;
    g->accept = f->accept;
    f->accept = NULL;
    return 0;
}

static int finish(struct finish *f, struct err *e)
{
    struct gram *g = f->g;
    uint32_t stamp = 0;
    int rc = settle_terms(g, e);

    if (rc < 0)
        return rc;
    f->at = mem_array(g->n_state + 1ull, 4, e);
    f->nullable = mem_array(g->n_rule, 1, e);
    f->mark = mem_array(g->n_state, 4, e);
    f->stack = mem_array(g->n_state + 1ull, 4, e);
    f->accept = mem_array(g->n_state, 1, e);
    f->used = mem_array(g->n_state, 1, e);
    f->useful = mem_array(g->n_state, 1, e);
    if (!f->at || !f->nullable || !f->mark || !f->stack || !f->accept || !f->used || !f->useful)
        return E_NOMEM;
    if (g->n_raw)
        qsort(g->raw, g->n_raw, sizeof *g->raw, by_raw);
    for (uint32_t i = 0, s = 0; s <= g->n_state; s++) {
        f->at[s] = i;
        while (i < g->n_raw && g->raw[i].from == s)
            i++;
    }
    if (g->n_obj) {
        g->obj_of = mem_array(g->n_state, 4, e);
        if (!g->obj_of)
            return E_NOMEM;
    }
    for (uint32_t i = 0; i < g->n_obj; i++)
        g->obj_of[g->obj[i].state] = i + 1;
    find_nullable(f, &stamp);
    gather(f, &stamp);
    if (g->bad)
        return 0; // said by the caller
    if ((rc = find_useful(f, e)) < 0 || (rc = tables(f, e)) < 0)
        return rc;
    if (!f->useful[g->rule[g->root].start])
        return err_set(e, E_FORMAT, "no text satisfies it");
    return 0;
}

int gram_finish(struct gram *g, uint32_t root, struct err *e)
{
    struct finish f = {.g = g};
    int rc;

    g->root = root;
    if (g->rx.bad)
        return rxs_error(&g->rx, "the grammar", e);
    rc = g->bad ? 0 : finish(&f, e);
    mem_free(f.at);
    mem_free(f.nullable);
    mem_free(f.mark);
    mem_free(f.stack);
    mem_free(f.out);
    mem_free(f.accept);
    mem_free(f.used);
    mem_free(f.useful);
    mem_free(g->raw);
    g->raw = NULL;
    g->n_raw = g->cap_raw = 0;
    if (g->bad == E_RANGE)
        return err_set(e, E_RANGE, "the grammar is too large: more than %u states or %u edges",
                       GRAM_MAX_STATES, GRAM_MAX_EDGES);
    return g->bad ? err_set(e, g->bad, "the grammar: out of memory") : rc;
}
