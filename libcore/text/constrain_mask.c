/* constrain_mask.c - matchers: masks, tokens and bytes accepted, forced text. */
#include "base/mem.h"
#include "constrain_in.h"
#include "constrain_run.h"

#define KEPT 64 // masks remembered

struct con_matcher {
    struct con_run run;
    const struct con_vocab *v;
    uint8_t *move[SLICE_N];         // [n_cls * SLICE_STATES] states of a slice a class leads to
    uint32_t at[VOCAB_MAX_DEPTH + 1];
    uint32_t *mask;                 // [KEPT * n_word]
    uint32_t of[KEPT];              // the set each belongs to, 0: none
    uint32_t used[KEPT], clock;
};

/* For each class of bytes and each place in a slice's character, the places its bytes lead to. */
static int slice_moves(struct con_matcher *m, struct err *e)
{
    for (int s = 0; s < SLICE_N; s++) {
        m->move[s] = mem_array((uint64_t)m->run.n_cls * SLICE_STATES, 1, e);
        if (!m->move[s])
            return E_NOMEM;
        for (unsigned c = 0; c < 256; c++)
            for (int st = 0; st < SLICE_STATES; st++) {
                int to = slice_step(s, st, c);

                if (to >= 0)
                    m->move[s][m->run.cls[c] * SLICE_STATES + st] |= (uint8_t)(1u << to);
            }
    }
    return 0;
}

int con_matcher_new(struct con_matcher **out, const struct con *c, const struct con_vocab *v,
                    uint64_t limit, struct err *e)
{
    struct con_matcher *m = mem_new(sizeof *m, e);
    int rc = m ? run_init(&m->run, &c->g, limit ? limit : CON_LIMIT, e) : E_NOMEM;

    if (rc == 0)
        rc = slice_moves(m, e);
    if (rc == 0 && v) {
        m->v = v;
        m->mask = mem_array((uint64_t)KEPT * v->n_word, 4, e);
        rc = m->mask ? 0 : E_NOMEM;
    }
    if (rc < 0) {
        con_matcher_free(m);
        return rc;
    }
    *out = m;
    return 0;
}

void con_matcher_free(struct con_matcher *m)
{
    if (!m)
        return;
    run_fini(&m->run);
    for (int s = 0; s < SLICE_N; s++)
        mem_free(m->move[s]);
    mem_free(m->mask);
    mem_free(m);
}

uint64_t con_matcher_bytes(const struct con_matcher *m)
{
    return m->run.bytes;
}

struct con_state con_begin(const struct con_matcher *m)
{
    return (struct con_state){m->run.start};
}

static int check(const struct con_matcher *m, struct err *e)
{
    if (m->run.bad == E_RANGE)
        return err_set(e, E_RANGE, "the grammar needs more than %llu MiB here",
                       (unsigned long long)(m->run.limit >> 20));
    return m->run.bad ? err_set(e, E_NOMEM, "the grammar: out of memory") : 0;
}

/* -- slices ---------------------------------------------------------------------------------- */

#define MAX_PAIRS 700 // looked at before a terminal counts as holding no slice

struct pair {
    rx q;
    uint8_t st, chars;
};

struct pairs {
    struct pair v[MAX_PAIRS];
    uint32_t seen[2048]; // hash of q and st, + 1
    int n;
};

/* False when there is no room. */
static bool pair_add(struct pairs *p, struct pair x)
{
    const uint32_t key = x.q * SLICE_STATES + x.st + 1;
    uint32_t at = key * 0x9e3779b1u >> 21;

    for (; p->seen[at]; at = (at + 1) & 2047)
        if (p->seen[at] == key)
            return true;
    if (p->n == MAX_PAIRS)
        return false;
    p->seen[at] = key;
    p->v[p->n++] = x;
    return true;
}

/* Whether from q on, every text of at most chars characters of a slice stays within the terminal
 * (chars 0: of any length). Breadth first: a pair is met with the fewest characters before it. */
static bool holds_slice(struct con_run *r, const uint8_t *move, rx q, int chars)
{
    struct pairs v;

    for (const char *p = "aE7"; *p; p++) // most that hold none are seen at once
        if (run_deriv(r, q, r->cls[(unsigned char)*p]) == RX_NONE)
            return false;
    memset(v.seen, 0, sizeof v.seen);
    v.n = 0;
    pair_add(&v, (struct pair){q, 0, 0});
    for (int i = 0; i < v.n; i++) {
        struct pair p = v.v[i];

        if (p.st == 0 && chars && p.chars == chars)
            continue;
        for (int c = 0; c < r->n_cls; c++) {
            uint8_t to = move[c * SLICE_STATES + p.st];
            rx d = to ? run_deriv(r, p.q, (unsigned)c) : RX_NONE;

            if (to && d == RX_NONE)
                return false;
            for (int st = 0; to >> st; st++)
                if (to >> st & 1 &&
                    !pair_add(&v, (struct pair){d, (uint8_t)st,
                                                (uint8_t)(p.chars + (chars && p.st == 0))}))
                    return false;
        }
    }
    return true;
}

/* The largest slice q holds, or -1. */
static int slice_held(struct con_matcher *m, rx q)
{
    static const struct {
        int slice, chars;
    } by_size[] = {{SLICE_LONG, 0}, {SLICE_PLAIN, SLICE_SHORT}, {SLICE_WORD, SLICE_SHORT}};
    struct con_run *r = &m->run;
    int held = -1;

    if (r->bad || q >= r->cap_node)
        return -1;
    for (size_t i = 0; r->level[q] == 0 && held < 0 && i < ARRAY_LEN(by_size); i++)
        if ((by_size[i].slice != SLICE_WORD && rx_takes_plain(&r->rx, q, by_size[i].chars)) ||
            holds_slice(r, m->move[by_size[i].slice], q, by_size[i].chars))
            held = by_size[i].slice;
    if (r->bad)
        return -1;
    if (r->level[q] == 0)
        r->level[q] = (uint8_t)(held + 2);
    return r->level[q] - 2;
}

/* The better of two slices. */
static int better(int a, int b)
{
    static const uint8_t rank[] = {0, 2, 3, 1}; // of none, SLICE_PLAIN, SLICE_LONG, SLICE_WORD

    return rank[a + 1] >= rank[b + 1] ? a : b;
}

/* -- masks ----------------------------------------------------------------------------------- */

static void walk(struct con_matcher *m, const struct vocab_trie *t, uint32_t set, uint32_t *mask)
{
    struct con_run *r = &m->run;
    const uint8_t *cls = r->cls;
    const struct vocab_node *node = t->node;

    m->at[0] = set;
    for (uint32_t i = 0; i < t->n;) {
        const struct vocab_node *k = &node[i];
        uint32_t to = run_next(r, m->at[k->depth - 1], cls[k->byte]);

        if (to == RUN_DEAD) {
            i = k->skip;
            continue;
        }
        m->at[k->depth] = to;
        for (int32_t id = k->token; id >= 0; id = m->v->same[id])
            mask[id / 32] |= 1u << id % 32;
        i++;
    }
}

static int best_slice(struct con_matcher *m, uint32_t set)
{
    const struct run_set x = *run_set(&m->run, set);
    int best = -1;

    for (uint32_t i = 0; i < x.n_scan && best != SLICE_LONG; i++) {
        rx q = ((const struct run_scan *)m->run.scans.p)[x.scan + i].q;

        best = better(best, slice_held(m, q));
    }
    if (x.closure != RUN_NIL) {
        struct run_closure c = ((const struct run_closure *)m->run.closures.p)[x.closure];

        for (uint32_t i = c.n_rules; i < c.n_wait && best != SLICE_LONG; i++) {
            uint32_t sym = ((const struct run_wait *)m->run.waits.p)[c.wait + i].sym;

            best = better(best, slice_held(m, m->run.g->term[sym & ~SYM_TERM]));
        }
    }
    return best;
}

static void compute(struct con_matcher *m, uint32_t set, uint32_t *mask)
{
    const struct con_vocab *v = m->v;
    int held = best_slice(m, set);

    if (held >= 0)
        memcpy(mask, v->slice[held], v->n_word * 4u);
    else
        memset(mask, 0, v->n_word * 4u);
    walk(m, held >= 0 ? &v->rest[held] : &v->all, set, mask);
    for (uint32_t i = 0; run_set(&m->run, set)->accept && i < v->n_word; i++)
        mask[i] |= v->end[i];
}

int con_mask(struct con_matcher *m, struct con_state s, uint32_t *mask, struct err *e)
{
    uint32_t oldest = 0, *kept;
    int rc;

    for (uint32_t i = 0; i < KEPT; i++) {
        if (m->of[i] == s.set && s.set != RUN_DEAD) {
            m->used[i] = ++m->clock;
            memcpy(mask, m->mask + (size_t)i * m->v->n_word, m->v->n_word * 4u);
            return 0;
        }
        if (m->used[i] < m->used[oldest])
            oldest = i;
    }
    kept = m->mask + (size_t)oldest * m->v->n_word;
    m->of[oldest] = 0;
    compute(m, s.set, kept);
    if ((rc = check(m, e)) < 0)
        return rc;
    m->of[oldest] = s.set;
    m->used[oldest] = ++m->clock;
    memcpy(mask, kept, m->v->n_word * 4u);
    return 0;
}

/* -- going on -------------------------------------------------------------------------------- */

int64_t con_bytes(struct con_matcher *m, struct con_state *s, struct slice text, struct err *e)
{
    for (size_t i = 0; i < text.n; i++) {
        uint32_t to = run_next(&m->run, s->set, m->run.cls[(unsigned char)text.p[i]]);
        int rc = check(m, e);

        if (rc < 0)
            return rc;
        if (to == RUN_DEAD)
            return (int64_t)i;
        s->set = to;
    }
    return (int64_t)text.n;
}

int con_accept(struct con_matcher *m, struct con_state *s, int32_t token, struct err *e)
{
    const struct con_vocab *v = m->v;
    struct con_state next = *s;
    int64_t n;

    if (token < 0 || (uint32_t)token >= v->n)
        return 0;
    if (v->end[token / 32] >> token % 32 & 1 && con_can_stop(m, *s))
        return 1;
    if (v->text[token].n == 0)
        return 0;
    n = con_bytes(m, &next, v->text[token], e);
    if (n < 0)
        return (int)n;
    if ((size_t)n < v->text[token].n)
        return 0;
    *s = next;
    return 1;
}

bool con_can_stop(const struct con_matcher *m, struct con_state s)
{
    return run_set(&m->run, s.set)->accept;
}

/* The one byte that may come, -1 when there are several, -2 when there is none. */
static int only_byte(struct con_matcher *m, uint32_t set)
{
    const struct con_run *x = &m->run;
    int found = -2;

    for (int c = 0; c < x->n_cls; c++) {
        if (run_next(&m->run, set, (unsigned)c) == RUN_DEAD)
            continue;
        if (found >= 0)
            return -1;
        found = x->rep[c];
        for (int b = x->rep[c] + 1; b < 256; b++)
            if (x->cls[b] == c)
                return -1;
    }
    return found;
}

bool con_is_done(struct con_matcher *m, struct con_state s)
{
    return con_can_stop(m, s) && only_byte(m, s.set) == -2;
}

/* -- forced text ----------------------------------------------------------------------------- */

int con_forced(struct con_matcher *m, struct con_state s, size_t max, struct buf *out,
               struct err *e)
{
    for (size_t n = 0; n < max && !con_can_stop(m, s); n++) {
        int c = only_byte(m, s.set);
        int rc = check(m, e);

        if (rc < 0)
            return rc;
        if (c < 0)
            break;
        buf_byte(out, (char)c);
        s.set = run_next(&m->run, s.set, m->run.cls[c]);
    }
    return out->bad ? err_nomem(e, out->n) : 0;
}

/* Whether a token longer than text begins with it and may come in s. */
static bool longer_allowed(struct con_matcher *m, struct con_state s, struct slice text)
{
    const struct vocab_trie *t = &m->v->all;
    uint32_t i = 0;

    m->at[0] = s.set;
    while (i < t->n) {
        const struct vocab_node *k = &t->node[i];
        size_t d = k->depth;
        uint32_t to;

        if (d <= text.n && k->byte != (uint8_t)text.p[d - 1]) {
            i = k->skip;
            continue;
        }
        to = run_next(&m->run, m->at[d - 1], m->run.cls[k->byte]);
        if (to == RUN_DEAD) {
            i = k->skip;
            continue;
        }
        m->at[d] = to;
        if (d > text.n && k->token >= 0)
            return true;
        i++;
    }
    return false;
}

int con_forced_tokens(struct con_matcher *m, struct con_state s, const struct tok *t, int32_t *id,
                      int max, struct err *e)
{
    struct buf text = {0};
    struct tok_ids ids = {0};
    size_t at = 0;
    int n = 0, rc;

    if ((rc = con_forced(m, s, 4096, &text, e)) == 0 && text.n)
        rc = tok_encode(t, buf_view(&text), TOK_AFTER, &ids, e);
    for (size_t i = 0; rc == 0 && i < ids.n && n < max; i++) {
        struct slice piece = m->v->text[ids.id[i]];
        struct slice left = {text.p + at, text.n - at};

        /* a spelling that is not the bytes (an added space): leave it to sampling */
        if (piece.n == 0 || !slice_starts(left, piece) || longer_allowed(m, s, left))
            break;
        if ((rc = con_accept(m, &s, ids.id[i], e)) <= 0)
            break;
        rc = 0;
        id[n++] = ids.id[i];
        at += piece.n;
    }
    if (rc == 0)
        rc = check(m, e);
    buf_fini(&text);
    tok_ids_fini(&ids);
    return rc < 0 ? rc : n;
}
