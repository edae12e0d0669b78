/* constrain_run.c - see constrain_run.h.
 *
 * Sources: Earley 1970; Aycock and Horspool 2002 (rules that may be empty).
 */
#include "constrain_run.h"

#include <stdlib.h>

#include "base/mem.h"
#include "constrain_obj.h"

#define AT(v, type, i) (((type *)(v).p)[i])

/* -- memory ---------------------------------------------------------------------------------- */

static bool fits(struct con_run *r, uint64_t more)
{
    if (r->bad || r->bytes + more > r->limit) {
        r->bad = r->bad ? r->bad : E_RANGE;
        return false;
    }
    r->bytes += more;
    return true;
}

/* Room for n more of a vector. */
static bool room(struct con_run *r, struct vec *v, uint32_t n, size_t size)
{
    uint64_t need = (uint64_t)v->n + n, cap = v->cap ? v->cap : 64;
    void *p;

    if (r->bad)
        return false;
    if (need <= v->cap)
        return true;
    while (cap < need)
        cap *= 2;
    if (cap >= UINT32_MAX || !fits(r, (cap - v->cap) * size))
        return false;
    p = mem_resize(v->p, v->cap, cap, size, NULL);
    if (!p) {
        r->bad = E_NOMEM;
        return false;
    }
    v->p = p;
    v->cap = (uint32_t)cap;
    return true;
}

static uint32_t mix(uint32_t h, uint32_t v)
{
    h = (h ^ v) * 0x9e3779b1u;
    return h ^ h >> 15;
}

static uint32_t hash_words(const void *p, size_t n, uint32_t h)
{
    const uint32_t *w = p;

    for (size_t i = 0; i < n; i++)
        h = mix(h, w[i]);
    return h;
}

/* -- terminals ------------------------------------------------------------------------------- */

/* Room for what is kept per expression. */
static bool node_room(struct con_run *r)
{
    uint32_t old = r->cap_node, n = r->rx.cap;
    uint32_t *row;
    uint8_t *more, *level;

    if (r->rx.bad) {
        r->bad = r->bad ? r->bad : r->rx.bad;
        return false;
    }
    if (n <= old)
        return true;
    if (!fits(r, (uint64_t)(n - old) * 40)) // with the store's own
        return false;
    row = mem_resize(r->row_at, old, n, sizeof *row, NULL);
    r->row_at = row ? row : r->row_at;
    more = mem_resize(r->more, old, n, 1, NULL);
    r->more = more ? more : r->more;
    level = mem_resize(r->level, old, n, 1, NULL);
    r->level = level ? level : r->level;
    if (!row || !more || !level) {
        r->bad = E_NOMEM;
        return false;
    }
    for (uint32_t i = old; i < n; i++)
        row[i] = UINT32_MAX;
    r->cap_node = n;
    return true;
}

rx run_deriv(struct con_run *r, rx q, unsigned c)
{
    uint32_t n = (uint32_t)r->n_cls;
    uint32_t at;
    rx to;

    if (!node_room(r))
        return RX_NONE;
    at = r->row_at[q];
    if (at == UINT32_MAX) {
        if (!room(r, &r->rows, n, sizeof(rx)))
            return RX_NONE;
        at = r->row_at[q] = r->rows.n;
        for (uint32_t i = 0; i < n; i++)
            AT(r->rows, rx, at + i) = RUN_UNKNOWN;
        r->rows.n += n;
    }
    to = AT(r->rows, rx, at + c);
    if (to != RUN_UNKNOWN)
        return to;
    to = rx_deriv(&r->rx, q, r->rep[c]);
    if (!rx_live(&r->rx, to))
        to = RX_NONE;
    if (!node_room(r))
        return RX_NONE;
    AT(r->rows, rx, at + c) = to;
    return to;
}

/* Whether more than the empty word is in q. */
static bool has_more(struct con_run *r, rx q)
{
    if (!r->rx.node[q].nullable)
        return true;
    if (r->more[q] == 0) {
        bool more = rx_more(&r->rx, q);

        if (!node_room(r))
            return false;
        r->more[q] = more ? 1 : 2;
    }
    return r->more[q] == 1;
}

/* -- tables of closures and sets ------------------------------------------------------------- */

static bool grow_hash(struct con_run *r, struct vec *h, uint32_t n, const uint32_t *hash,
                      size_t stride)
{
    uint32_t cap = h->n ? h->n * 2 : 256;
    uint32_t *p;

    if (!fits(r, (uint64_t)(cap - h->n) * 4))
        return false;
    p = mem_array(cap, 4, NULL);
    if (!p) {
        r->bad = E_NOMEM;
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = *(const uint32_t *)(const void *)((const char *)hash + i * stride);

        for (at &= cap - 1; p[at]; at = (at + 1) & (cap - 1))
            ;
        p[at] = i + 1;
    }
    mem_free(h->p);
    h->p = p;
    h->n = h->cap = cap;
    return true;
}

static int by_wait(const void *a, const void *b)
{
    const struct run_wait *x = a, *y = b;

    if (x->sym != y->sym)
        return x->sym < y->sym ? -1 : 1;
    if (x->to != y->to)
        return x->to < y->to ? -1 : 1;
    return (x->origin > y->origin) - (x->origin < y->origin);
}

static void sort_waits(struct run_wait *w, uint32_t n)
{
    if (n > 24) {
        qsort(w, n, sizeof *w, by_wait);
        return;
    }
    for (uint32_t i = 1; i < n; i++) {
        struct run_wait x = w[i];
        uint32_t k = i;

        for (; k > 0 && by_wait(&w[k - 1], &x) > 0; k--)
            w[k] = w[k - 1];
        w[k] = x;
    }
}

/* -- objects --------------------------------------------------------------------------------- */

struct record {
    uint32_t hash, at; // into records
};

/* The state that stands for what lies in work: an object's number and its record. */
static uint32_t record_of(struct con_run *r)
{
    const uint32_t *w = r->work.p;
    uint32_t n = 1 + obj_words(&r->g->obj[w[0]]), h = hash_words(w, n, n), at;

    if (r->record_at.n * 2 >= r->record_hash.n &&
        !grow_hash(r, &r->record_hash, r->record_at.n,
                   r->record_at.p ? &((struct record *)r->record_at.p)->hash : NULL,
                   sizeof(struct record)))
        return 0;
    for (at = h & (r->record_hash.n - 1); AT(r->record_hash, uint32_t, at);
         at = (at + 1) & (r->record_hash.n - 1)) {
        uint32_t k = AT(r->record_hash, uint32_t, at) - 1;
        const struct record *x = &AT(r->record_at, struct record, k);
        const uint32_t *v = &AT(r->records, uint32_t, x->at);

        if (x->hash == h && v[0] == w[0] && memcmp(v, w, n * 4u) == 0)
            return r->g->n_state + k;
    }
    if (!room(r, &r->record_at, 1, sizeof(struct record)) || !room(r, &r->records, n, 4))
        return 0;
    memcpy(&AT(r->records, uint32_t, r->records.n), w, n * 4u);
    AT(r->record_at, struct record, r->record_at.n) = (struct record){h, r->records.n};
    r->records.n += n;
    AT(r->record_hash, uint32_t, at) = ++r->record_at.n;
    return r->g->n_state + r->record_at.n - 1;
}

/* The number of an object and its record into the first half of work; there is room for another in
 * the second (the return). NULL: no room. */
static uint32_t *load_record(struct con_run *r, uint32_t state)
{
    const struct gram *g = r->g;
    const uint32_t *from = NULL;
    uint32_t obj, n, *w;

    if (state >= g->n_state)
        from = &AT(r->records, uint32_t, AT(r->record_at, struct record, state - g->n_state).at);
    obj = from ? from[0] : g->obj_of[state] - 1;
    n = 1 + obj_words(&g->obj[obj]);
    r->work.n = 0;
    if (!room(r, &r->work, 2 * n, 4))
        return NULL;
    w = r->work.p;
    memset(w, 0, n * 4u);
    if (from)
        memcpy(w, from, n * 4u);
    w[0] = obj;
    return w + n;
}

static bool is_object(const struct gram *g, uint32_t state)
{
    return state >= g->n_state || (g->obj_of && g->obj_of[state]);
}

/* The moves of an object, and its end. */
static bool add_moves(struct con_run *r, uint32_t state, uint32_t origin)
{
    const struct gram *g = r->g;
    uint32_t *next = load_record(r, state), *rec, from;
    const struct gram_obj *o;

    if (!next)
        return false;
    from = record_of(r);
    rec = (uint32_t *)r->work.p + 1;
    o = &g->obj[rec[-1]];
    if (r->bad || !room(r, &r->new_waits, o->n_move + g->at[o->state + 1] - g->at[o->state],
                        sizeof(struct run_wait)) ||
        !room(r, &r->promises, o->n_move, sizeof(struct run_promise)))
        return false;
    for (uint32_t k = o->move; k < o->move + o->n_move; k++) {
        if (!obj_may(g, o, rec, &g->move[k], next))
            continue;
        AT(r->new_waits, struct run_wait, r->new_waits.n++) =
            (struct run_wait){g->move[k].rule[rec[OBJ_NAMED] + rec[OBJ_OTHERS] > 0],
                              RUN_PROMISE | r->promises.n, origin};
        AT(r->promises, struct run_promise, r->promises.n++) = (struct run_promise){from, k};
    }
    for (uint32_t i = g->at[o->state]; i < g->at[o->state + 1] && obj_may_end(g, o, rec); i++)
        AT(r->new_waits, struct run_wait, r->new_waits.n++) =
            (struct run_wait){g->edge[i].sym, g->edge[i].to, origin};
    return true;
}

/* The record that was promised. */
static uint32_t kept_promise(struct con_run *r, uint32_t promise)
{
    struct run_promise p = AT(r->promises, struct run_promise, promise & ~RUN_PROMISE);
    uint32_t *next = load_record(r, p.from), *w = r->work.p;
    const struct gram_obj *o;

    if (!next)
        return 0;
    o = &r->g->obj[w[0]];
    next[0] = w[0];
    obj_move(r->g, o, w + 1, &r->g->move[p.move], next + 1);
    memcpy(w, next, (1 + obj_words(o)) * 4u);
    return record_of(r);
}

/* -- closures -------------------------------------------------------------------------------- */

/* The edges of a state, waiting on behalf of origin. */
static bool add_waits(struct con_run *r, uint32_t state, uint32_t origin)
{
    const struct gram *g = r->g;
    uint32_t from, n;

    if (is_object(g, state))
        return add_moves(r, state, origin);
    from = g->at[state];
    n = g->at[state + 1] - from;
    if (!room(r, &r->new_waits, n, sizeof(struct run_wait)))
        return false;
    for (uint32_t i = 0; i < n; i++)
        AT(r->new_waits, struct run_wait, r->new_waits.n++) =
            (struct run_wait){g->edge[from + i].sym, g->edge[from + i].to, origin};
    return true;
}

/* Fills in what a new closure c waits for: its items' edges, and those of the rules they read. */
static bool expand(struct con_run *r, uint32_t c, struct run_closure *x)
{
    struct run_wait *w;
    uint32_t n = 0;

    r->new_waits.n = 0;
    r->mark++;
    for (uint32_t i = 0; i < x->n_item; i++) {
        struct run_item k = AT(r->items, struct run_item, x->item + i);

        if (!add_waits(r, k.state, k.origin))
            return false;
    }
    for (uint32_t i = 0; i < r->new_waits.n; i++) {
        uint32_t sym = AT(r->new_waits, struct run_wait, i).sym;

        if ((sym & SYM_TERM) || r->rule_mark[sym] == r->mark)
            continue;
        r->rule_mark[sym] = r->mark;
        if (!add_waits(r, r->g->rule[sym].start, c))
            return false;
    }
    w = r->new_waits.p;
    sort_waits(w, r->new_waits.n);
    if (!room(r, &r->waits, r->new_waits.n, sizeof *w))
        return false;
    x->wait = r->waits.n;
    for (uint32_t i = 0; i < r->new_waits.n; i++) {
        if (i && by_wait(&w[i], &w[i - 1]) == 0)
            continue;
        AT(r->waits, struct run_wait, x->wait + n++) = w[i];
        x->n_rules += !(w[i].sym & SYM_TERM);
    }
    x->n_wait = n;
    r->waits.n += n;
    return true;
}

/* Sorts n records of a few words each; most lists are short. */
static void sort_words(uint32_t *v, uint32_t n, uint32_t words,
                       int (*by)(const void *, const void *))
{
    uint32_t x[3];

    if (n > 24) {
        qsort(v, n, words * sizeof *v, by);
        return;
    }
    for (uint32_t i = 1; i < n; i++) {
        uint32_t k = i;

        memcpy(x, v + i * words, words * sizeof *v);
        for (; k > 0 && by(v + (k - 1) * words, x) > 0; k--)
            memcpy(v + k * words, v + (k - 1) * words, words * sizeof *v);
        memcpy(v + k * words, x, words * sizeof *v);
    }
}

static int by_item(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct run_item));
}

/* The closure of the items in new_items, which are sorted here. RUN_NIL: none. */
static uint32_t closure_of(struct con_run *r)
{
    struct run_item *v = r->new_items.p;
    uint32_t n = 0, at, h;
    struct run_closure x = {0};

    if (r->new_items.n == 0 || r->bad)
        return RUN_NIL;
    sort_words((uint32_t *)r->new_items.p, r->new_items.n, 2, by_item);
    for (uint32_t i = 0; i < r->new_items.n; i++)
        if (i == 0 || by_item(&v[i], &v[n - 1]) != 0)
            v[n++] = v[i];
    h = hash_words(v, n * 2, n);
    if (r->closures.n * 2 >= r->closure_hash.n &&
        !grow_hash(r, &r->closure_hash, r->closures.n,
                   r->closures.p ? &((struct run_closure *)r->closures.p)->hash : NULL,
                   sizeof(struct run_closure)))
        return RUN_NIL;
    for (at = h & (r->closure_hash.n - 1); AT(r->closure_hash, uint32_t, at);
         at = (at + 1) & (r->closure_hash.n - 1)) {
        uint32_t c = AT(r->closure_hash, uint32_t, at) - 1;
        const struct run_closure *y = &AT(r->closures, struct run_closure, c);

        if (y->hash == h && y->n_item == n &&
            memcmp(&AT(r->items, struct run_item, y->item), v, n * sizeof *v) == 0)
            return c;
    }
    if (!room(r, &r->closures, 1, sizeof x) || !room(r, &r->items, n, sizeof *v))
        return RUN_NIL;
    x.hash = h;
    x.item = r->items.n;
    x.n_item = n;
    memcpy(&AT(r->items, struct run_item, x.item), v, n * sizeof *v);
    r->items.n += n;
    if (!expand(r, r->closures.n, &x))
        return RUN_NIL;
    AT(r->closures, struct run_closure, r->closures.n) = x;
    AT(r->closure_hash, uint32_t, at) = ++r->closures.n;
    return r->closures.n - 1;
}

static int by_scan(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct run_scan));
}

/* The set of new_scans, a closure and accept. */
static uint32_t set_of(struct con_run *r, uint32_t closure, bool accept)
{
    struct run_scan *v = r->new_scans.p;
    uint32_t n = r->new_scans.n, k = 0, h, at;

    if (r->bad || (n == 0 && closure == RUN_NIL && !accept))
        return RUN_DEAD;
    sort_words((uint32_t *)r->new_scans.p, n, 3, by_scan);
    for (uint32_t i = 0; i < n; i++)
        if (i == 0 || by_scan(&v[i], &v[k - 1]) != 0)
            v[k++] = v[i];
    h = hash_words(v, k * 3, closure + accept);
    if (r->sets.n * 2 >= r->set_hash.n &&
        !grow_hash(r, &r->set_hash, r->sets.n,
                   r->sets.p ? &((struct run_set *)r->sets.p)->hash : NULL, sizeof(struct run_set)))
        return RUN_DEAD;
    for (at = h & (r->set_hash.n - 1); AT(r->set_hash, uint32_t, at);
         at = (at + 1) & (r->set_hash.n - 1)) {
        uint32_t s = AT(r->set_hash, uint32_t, at) - 1;
        const struct run_set *y = run_set(r, s);

        if (y->hash == h && y->n_scan == k && y->closure == closure && y->accept == accept &&
            (!k || memcmp(&AT(r->scans, struct run_scan, y->scan), v, k * sizeof *v) == 0))
            return s;
    }
    if (!room(r, &r->sets, 1, sizeof(struct run_set)) || !room(r, &r->scans, k, sizeof *v))
        return RUN_DEAD;
    AT(r->sets, struct run_set, r->sets.n) = (struct run_set){
        .hash = h, .scan = r->scans.n, .n_scan = k, .closure = closure, .next = UINT32_MAX,
        .accept = accept};
    if (k)
        memcpy(&AT(r->scans, struct run_scan, r->scans.n), v, k * sizeof *v);
    r->scans.n += k;
    AT(r->set_hash, uint32_t, at) = ++r->sets.n;
    return r->sets.n - 1;
}

/* -- a step ---------------------------------------------------------------------------------- */

struct seen {
    uint32_t sym, origin, stamp;
};

/* Notes that sym has been read from origin on; once. */
static void complete(struct con_run *r, uint32_t sym, uint32_t origin)
{
    uint32_t at;

    if (r->done.n * 2 >= r->seen.n) {
        struct seen *p;
        uint32_t cap = r->seen.n ? r->seen.n * 2 : 256;

        if (!fits(r, (uint64_t)(cap - r->seen.n) * sizeof *p) ||
            !(p = mem_array(cap, sizeof *p, NULL))) {
            r->bad = r->bad ? r->bad : E_NOMEM;
            return;
        }
        mem_free(r->seen.p);
        r->seen = (struct vec){p, cap, cap};
        for (uint32_t i = 0; i < r->done.n; i++) {
            struct run_item *d = &AT(r->done, struct run_item, i);

            for (at = mix(d->state, d->origin) & (cap - 1); p[at].stamp == r->seen_stamp;
                 at = (at + 1) & (cap - 1))
                ;
            p[at] = (struct seen){d->state, d->origin, r->seen_stamp};
        }
    }
    for (at = mix(sym, origin) & (r->seen.n - 1);
         AT(r->seen, struct seen, at).stamp == r->seen_stamp; at = (at + 1) & (r->seen.n - 1)) {
        const struct seen *x = &AT(r->seen, struct seen, at);

        if (x->sym == sym && x->origin == origin)
            return;
    }
    if (!room(r, &r->done, 1, sizeof(struct run_item)))
        return;
    AT(r->seen, struct seen, at) = (struct seen){sym, origin, r->seen_stamp};
    AT(r->done, struct run_item, r->done.n++) = (struct run_item){sym, origin};
}

static void scan(struct con_run *r, rx q, uint32_t term, uint32_t origin, unsigned c)
{
    rx to = run_deriv(r, q, c);

    if (to == RX_NONE || r->bad)
        return;
    if (has_more(r, to) && room(r, &r->new_scans, 1, sizeof(struct run_scan)))
        AT(r->new_scans, struct run_scan, r->new_scans.n++) = (struct run_scan){to, term, origin};
    if (r->rx.node[to].nullable)
        complete(r, SYM_TERM | term, origin);
}

/* The first of a closure's waits on sym. */
static uint32_t find_wait(const struct con_run *r, const struct run_closure *x, uint32_t sym)
{
    uint32_t lo = x->wait, hi = x->wait + x->n_wait;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (AT(r->waits, struct run_wait, mid).sym < sym)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Moves on whatever waited for what is done; true when the root rule has ended. */
static bool advance(struct con_run *r)
{
    const struct gram *g = r->g;
    bool accept = false;

    for (uint32_t i = 0; i < r->done.n && !r->bad; i++) {
        struct run_item d = AT(r->done, struct run_item, i); // state: the symbol
        struct run_closure x = AT(r->closures, struct run_closure, d.origin);

        for (uint32_t k = find_wait(r, &x, d.state); k < x.wait + x.n_wait; k++) {
            struct run_wait w = AT(r->waits, struct run_wait, k);

            if (w.sym != d.state)
                break;
            if (w.to & RUN_PROMISE)
                w.to = kept_promise(r, w.to);
            if (is_object(g, w.to)) {
                if (room(r, &r->new_items, 1, sizeof(struct run_item)))
                    AT(r->new_items, struct run_item, r->new_items.n++) =
                        (struct run_item){w.to, w.origin};
                continue;
            }
            if (g->at[w.to] < g->at[w.to + 1] &&
                room(r, &r->new_items, 1, sizeof(struct run_item)))
                AT(r->new_items, struct run_item, r->new_items.n++) =
                    (struct run_item){w.to, w.origin};
            if (g->accept[w.to] && w.origin == RUN_NIL)
                accept = true;
            else if (g->accept[w.to])
                complete(r, g->owner[w.to], w.origin);
        }
    }
    return accept;
}

static void set_next(struct con_run *r, uint32_t s, unsigned c, uint32_t to)
{
    uint32_t n = (uint32_t)r->n_cls;
    struct run_set *x = &AT(r->sets, struct run_set, s);

    if (x->next == UINT32_MAX) {
        if (!room(r, &r->nexts, n, 4))
            return;
        x->next = r->nexts.n;
        for (uint32_t i = 0; i < n; i++)
            AT(r->nexts, uint32_t, x->next + i) = RUN_UNKNOWN;
        r->nexts.n += n;
    }
    AT(r->nexts, uint32_t, x->next + c) = to;
}

uint32_t run_step(struct con_run *r, uint32_t s, unsigned c)
{
    struct run_set x = *run_set(r, s);
    uint32_t last = SYM_EMPTY, to;
    bool accept;

    if (r->bad || s == RUN_DEAD)
        return RUN_DEAD;
    r->new_items.n = r->new_scans.n = r->done.n = 0;
    r->seen_stamp++;
    for (uint32_t i = 0; i < x.n_scan; i++) {
        struct run_scan k = AT(r->scans, struct run_scan, x.scan + i);

        scan(r, k.q, k.term, k.origin, c);
    }
    if (x.closure != RUN_NIL) {
        struct run_closure k = AT(r->closures, struct run_closure, x.closure);

        for (uint32_t i = k.n_rules; i < k.n_wait; i++) {
            uint32_t sym = AT(r->waits, struct run_wait, k.wait + i).sym;

            if (sym != last)
                scan(r, r->g->term[sym & ~SYM_TERM], sym & ~SYM_TERM, x.closure, c);
            last = sym;
        }
    }
    accept = advance(r);
    to = set_of(r, closure_of(r), accept);
    if (r->bad)
        return RUN_DEAD;
    set_next(r, s, c, to);
    return r->bad ? RUN_DEAD : to;
}

/* -- the run --------------------------------------------------------------------------------- */

int run_init(struct con_run *r, const struct gram *g, uint64_t limit, struct err *e)
{
    uint32_t root = g->rule[g->root].start;
    bool empty = g->accept[root];
    int rc;

    *r = (struct con_run){.g = g, .limit = limit};
    rc = rxs_copy(&r->rx, &g->rx, (uint32_t)(limit / 64), e);
    if (rc < 0)
        return rc;
    rx_classes(&r->rx);
    memcpy(r->cls, r->rx.cls, sizeof r->cls);
    memcpy(r->rep, r->rx.rep, sizeof r->rep);
    r->n_cls = r->rx.n_cls;
    r->rule_mark = mem_array(g->n_rule, 4, e);
    if (!r->rule_mark) {
        run_fini(r);
        return E_NOMEM;
    }
    if (node_room(r) && room(r, &r->sets, 1, sizeof(struct run_set)) &&
        room(r, &r->new_items, 1, sizeof(struct run_item))) {
        AT(r->sets, struct run_set, r->sets.n++) =
            (struct run_set){.hash = 0, .closure = RUN_NIL, .next = UINT32_MAX}; // RUN_DEAD
        AT(r->new_items, struct run_item, r->new_items.n++) = (struct run_item){root, RUN_NIL};
        r->start = set_of(r, closure_of(r), empty);
    }
    if (r->bad) {
        rc = r->bad == E_RANGE ? err_set(e, E_RANGE, "the grammar needs more than %llu MiB",
                                         (unsigned long long)(limit >> 20))
                               : err_nomem(e, 1 << 20);
        run_fini(r);
        return rc;
    }
    return 0;
}

void run_fini(struct con_run *r)
{
    struct vec *v[] = {&r->rows,      &r->closures,  &r->items,     &r->waits, &r->sets,
                       &r->scans,     &r->nexts,     &r->closure_hash, &r->set_hash,
                       &r->new_items, &r->new_scans, &r->new_waits, &r->done,  &r->seen,
                       &r->records,   &r->record_at, &r->record_hash, &r->promises, &r->work};

    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        mem_free(v[i]->p);
    rxs_fini(&r->rx);
    mem_free(r->row_at);
    mem_free(r->more);
    mem_free(r->level);
    mem_free(r->rule_mark);
    *r = (struct con_run){0};
}
