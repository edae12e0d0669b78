/* constrain_gram.h - context-free grammars over regular terminals: what every front end makes.
 *
 * A rule is a small automaton whose edges read a terminal (a language of constrain_rx.h), or
 * another rule, or nothing. gram_finish() takes the empty steps out, removes what can lead to no
 * end, and leaves the form that the recognizer walks.
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

/* Makes the final form for this root. E_RANGE at a limit; E_FORMAT when the grammar has no words.
 */
int gram_finish(struct gram *g, uint32_t root, struct err *e);

#endif
