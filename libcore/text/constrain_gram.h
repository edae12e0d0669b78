/* constrain_gram.h - context-free grammars over regular terminals: what every front end makes.
 *
 * A rule is a small automaton whose edges read a terminal (a language of constrain_rx.h), or
 * another rule, or nothing. gram_finish() takes the empty steps out, removes what can lead to no
 * end, and leaves the form that the recognizer walks.
 *
 * The members of a JSON object come in any order, each at most once: as an automaton that would
 * have a state for every set of them. A state may be an object's instead: it has a list of moves,
 * each of which reads a rule, and the recognizer keeps the set of what was read (constrain_obj.h).
 */
#ifndef RILL_TEXT_CONSTRAIN_GRAM_H
#define RILL_TEXT_CONSTRAIN_GRAM_H

#include "constrain_rx.h"

#define GRAM_MAX_STATES 400000u // of all rules together
#define GRAM_MAX_EDGES  2000000u

#define SYM_TERM  0x80000000u // set: a terminal, else a rule
#define SYM_EMPTY UINT32_MAX

struct gram_edge {
    uint32_t sym, to;
};

enum { OBJ_OTHER = UINT32_MAX, OBJ_NO_LIMIT = UINT32_MAX, OBJ_MAX_SOME = 6 };

struct gram_move {
    uint32_t rule[2]; // as the first, behind others
    uint32_t prop;    // of n_prop, once; or OBJ_OTHER
    uint8_t some;     // conditions it meets, none of which were met before
    uint8_t met;      // with only_met: those met before are exactly these
    bool only_met;
};

struct gram_obj {
    uint32_t state;        // where nothing was read yet; its edges are those of the end
    uint32_t move, n_move; // into move
    uint32_t need;         // into bits: which of the properties must be read
    uint32_t n_prop, n_need;
    uint32_t min, max;     // so many are read; max OBJ_NO_LIMIT
    uint8_t some;          // conditions that must be met
    bool ordered;          // properties come in order, others behind them
    bool others_once;      // however many others are read, one counts for min
};

struct gram {
    struct rxs rx;
    rx *term;           // [n_term]
    uint32_t n_term, cap_term;
    struct gram_rule {
        uint32_t start, end;
    } * rule;           // [n_rule]; end while building
    uint32_t n_rule, cap_rule;
    uint32_t root;
    uint32_t n_state, cap_owner;
    uint32_t *owner;    // [n_state] the rule a state is in
    bool *accept;       // [n_state] the rule may end here
    uint32_t *at;       // [n_state + 1] into edge
    struct gram_edge *edge; // sorted by symbol within a state
    uint32_t n_edge;
    struct gram_raw {   // while building
        uint32_t from, sym, to;
    } * raw;
    uint32_t n_raw, cap_raw;
    struct gram_obj *obj; // [n_obj]
    struct gram_move *move;
    uint32_t *bits;
    uint32_t n_obj, cap_obj, n_move, cap_move, n_bits, cap_bits;
    uint32_t *obj_of;   // [n_state] index + 1, or NULL: there is none
    int bad;            // sticky: E_NOMEM, E_RANGE
};

int gram_init(struct gram *g, struct err *e);
void gram_fini(struct gram *g); // accepts half-made ones

uint32_t gram_rule(struct gram *g);  // with a start and an end
uint32_t gram_state(struct gram *g, uint32_t rule);
uint32_t gram_term(struct gram *g, rx e);
void gram_edge(struct gram *g, uint32_t from, uint32_t sym, uint32_t to);
void gram_empty(struct gram *g, uint32_t from, uint32_t to);
/* A terminal; one that may be empty is also an empty step. */
void gram_read(struct gram *g, uint32_t from, rx e, uint32_t to);

/* An object whose members are read from a state on, which is made; the caller adds the edges of its
 * end. o: n_prop, min, max, some, ordered and others_once; need: [n_prop]. Its moves follow, before
 * another object's. */
uint32_t gram_obj(struct gram *g, uint32_t rule, struct gram_obj o, const bool *need);
void gram_move(struct gram *g, struct gram_move m);

/* Makes the final form for this root. E_RANGE at a limit; E_FORMAT when the grammar has no words.
 */
int gram_finish(struct gram *g, uint32_t root, struct err *e);

#endif
