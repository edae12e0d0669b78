/* constrain_run.h - the recognizer: an Earley automaton over bytes, built as far as it is walked.
 *
 * A place in a text is a set: terminals being read (each a state of its automaton, and where it
 * goes on), and the closure of the rules' states reached just here. A closure is named by what it
 * holds, not by where it was met, and so is a set: the same place in a loop is the same number, and
 * a step from a set by a byte is looked up once it was taken once.
 *
 * One thread at a time. Memory grows with what is walked, up to a limit; then the run is bad and
 * every step leads nowhere.
 */
#ifndef RILL_TEXT_CONSTRAIN_RUN_H
#define RILL_TEXT_CONSTRAIN_RUN_H

#include "base/mem.h"
#include "constrain_gram.h"

enum { RUN_DEAD = 0 }; // no text goes on so
#define RUN_UNKNOWN UINT32_MAX
#define RUN_NIL     (UINT32_MAX - 1) // where the root rule returns to; no closure

struct run_item {
    uint32_t state, origin; // origin: a closure. States behind the grammar's are records
};
struct run_wait {
    uint32_t sym, to, origin; // on sym, a rule goes on in state to
};
#define RUN_PROMISE 0x80000000u // in to: the record behind a move, once it is needed
struct run_promise {
    uint32_t from, move; // a record, a move of the grammar
};
struct run_scan {
    rx q;
    uint32_t term, origin;
};

struct run_closure {
    uint32_t hash;
    uint32_t item, n_item; // into items
    uint32_t wait, n_wait; // into waits, sorted by symbol
    uint32_t n_rules;      // of those, on rules; the others are on terminals
};

struct run_set {
    uint32_t hash;
    uint32_t scan, n_scan; // into scans
    uint32_t closure;      // or RUN_NIL
    uint32_t next;         // into nexts: n_cls sets; UINT32_MAX: none yet
    bool accept;           // the text may end here
};

struct vec { // of one type each
    void *p;
    uint32_t n, cap;
};

struct con_run {
    const struct gram *g;
    struct rxs rx;       // own copy: it grows
    uint8_t cls[256];    // bytes that no terminal tells apart share a class
    uint8_t rep[256];    // class -> a byte
    int n_cls;
    uint32_t *row_at;    // [rx node] into rows, UINT32_MAX: none
    uint8_t *more;       // [rx node] 0 unknown, 1 has words behind the empty one, 2 has none
    uint8_t *level;      // [rx node] 0 unknown, else 1 + slices held (constrain_mask.c)
    uint32_t cap_node;
    struct vec rows;     // rx
    struct vec closures, items, waits;
    struct vec sets, scans, nexts;
    struct vec closure_hash, set_hash; // [n] number + 1, n a power of two
    struct vec records;  // of objects: the object's number, and what constrain_obj.h says
    struct vec record_at, record_hash, promises;
    uint32_t start;      // the set before any text
    /* work of a step */
    struct vec new_items, new_scans, new_waits, done, work;
    struct vec seen;     // hash of done
    uint32_t seen_stamp;
    uint32_t *rule_mark; // [n_rule]
    uint32_t mark;
    uint64_t bytes, limit;
    int bad;             // E_NOMEM, E_RANGE
};

int run_init(struct con_run *r, const struct gram *g, uint64_t limit, struct err *e);
void run_fini(struct con_run *r);

/* The set behind byte class c in set s. */
uint32_t run_step(struct con_run *r, uint32_t s, unsigned c);

static inline const struct run_set *run_set(const struct con_run *r, uint32_t s)
{
    return (const struct run_set *)r->sets.p + s;
}

static inline uint32_t run_next(struct con_run *r, uint32_t s, unsigned c)
{
    const struct run_set *x = run_set(r, s);
    uint32_t to = x->next == UINT32_MAX ? RUN_UNKNOWN : ((const uint32_t *)r->nexts.p)[x->next + c];

    return likely(to != RUN_UNKNOWN) ? to : run_step(r, s, c);
}

/* The derivative of terminal state q by a byte class; RX_NONE when nothing can come of it. */
rx run_deriv(struct con_run *r, rx q, unsigned c);

#endif
