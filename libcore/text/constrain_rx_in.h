/* constrain_rx_in.h - what constrain_rx.c and constrain_dfa.c share. */
#ifndef RILL_TEXT_CONSTRAIN_RX_IN_H
#define RILL_TEXT_CONSTRAIN_RX_IN_H

#include "constrain_rx.h"

enum rx_kind {
    RX_EMPTY, // the empty word
    RX_SET,   // one byte of set[a]
    RX_CAT,   // a, then b
    RX_OR,    // one of pool[a, a + b)
    RX_AND,   // all of pool[a, a + b)
    RX_NOT,   // no word of a
    RX_REP,   // lo to hi times a
    RX_LEN,   // lo to hi characters
    RX_JSON,  // a in a JSON string: b enum rx_escapes, st place in an escape, lo its digits so far
    RX_CMP,   // digit[a]: b digits before the point (low half) and behind; lo read, hi the order
    RX_MUL    // a the modulus, b its scale, lo the remainder, hi digits left behind the point
};

rx rx_intern(struct rxs *s, struct rx_node k, const struct rx_set *set);
rx rx_list(struct rxs *s, int kind, const rx *v, uint32_t n);
bool rx_room(struct rxs *s, void **p, uint32_t *cap, uint64_t need, size_t size);
bool rx_enter(struct rxs *s); // one level deeper; leave with s->depth--

#endif
