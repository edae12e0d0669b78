/* constrain_rx.h - regular languages over bytes, as hash-consed expressions with derivatives.
 *
 * An expression is a number in a store; equal expressions have equal numbers (up to the laws used
 * when they are made). The derivative of e by a byte c is what may follow c in e's words, so a
 * store is a deterministic automaton built as far as it is looked at: its states are expressions.
 * Beside the usual operators there are intersection, complement, and four primitive automata that
 * would be huge when spelt out: lengths in characters, JSON's string escapes around a language of
 * the text they stand for, comparison of a decimal number with a bound, and divisibility.
 *
 * Sources: Brzozowski 1964; Owens, Reppy, Turon 2009 (derivatives with character classes).
 *
 * A store fails stickily (bad): out of memory, or at its limit of nodes. Operations then give
 * RX_NONE and nothing made since may be trusted.
 */
#ifndef RILL_TEXT_CONSTRAIN_RX_H
#define RILL_TEXT_CONSTRAIN_RX_H

#include "base/err.h"
#include "base/slice.h"

typedef uint32_t rx;

enum { RX_NONE = 0, RX_EPS = 1, RX_ALL = 2 }; // no word; the empty word; every word
#define RX_INF UINT32_MAX

struct rx_set {
    uint64_t w[4];
};
static inline bool rx_has(const struct rx_set *s, unsigned c)
{
    return s->w[c >> 6] >> (c & 63) & 1;
}
static inline void rx_put(struct rx_set *s, unsigned c)
{
    s->w[c >> 6] |= 1ull << (c & 63);
}

struct rx_node {
    uint8_t kind;
    bool nullable; // the empty word is in it
    bool plain;    // made of sets, joins, choices and repeats only: not empty unless RX_NONE
    uint8_t st;    // state within a primitive
    uint32_t a, b;
    uint32_t lo, hi;
};

struct rxs {
    struct rx_node *node;
    uint8_t *live;      // [node] 0 unknown, 1 has words, 2 has none
    uint32_t n, cap;
    uint32_t *pool;     // children of choices and intersections
    uint32_t n_pool, cap_pool;
    struct rx_set *set;
    uint32_t n_set, cap_set;
    char *digit;        // bounds' digits and moduli, packed
    uint32_t n_digit, cap_digit;
    uint32_t *hash;     // [cap_hash] node + 1
    uint32_t cap_hash;
    struct rx_memo {
        uint64_t key;   // (node << 8 | byte) + 1, 0: free
        rx to;
    } * memo;           // [cap_memo] derivatives
    uint32_t n_memo, cap_memo;
    uint32_t seen_sets; // n_set when the classes were made
    uint8_t cls[256];   // byte -> class
    uint8_t rep[256];   // class -> a byte
    int n_cls;
    uint32_t limit;     // nodes
    uint64_t work;      // derivatives taken, children counted
    uint64_t max_work;  // 0: no limit
    int depth;
    rx any;             // any text of whole UTF-8 characters
    int bad;            // E_NOMEM or E_RANGE
};

/* limit: nodes the store may hold. */
int rxs_init(struct rxs *s, uint32_t limit, struct err *e);
void rxs_fini(struct rxs *s);
/* A copy that grows on its own. */
int rxs_copy(struct rxs *to, const struct rxs *from, uint32_t limit, struct err *e);
/* The sentence of a failed store; s->bad. what: "the grammar" */
int rxs_error(const struct rxs *s, const char *what, struct err *e);

rx rx_bytes(struct rxs *s, const struct rx_set *set);
rx rx_byte(struct rxs *s, unsigned c);
rx rx_lit(struct rxs *s, struct slice text);
rx rx_cat(struct rxs *s, rx a, rx b);
rx rx_or(struct rxs *s, rx a, rx b);
rx rx_or_n(struct rxs *s, const rx *v, uint32_t n);
rx rx_and(struct rxs *s, rx a, rx b);
rx rx_not(struct rxs *s, rx a);
rx rx_minus(struct rxs *s, rx a, rx b);
rx rx_rep(struct rxs *s, rx a, uint32_t lo, uint32_t hi); // hi RX_INF: no bound
rx rx_opt(struct rxs *s, rx a);
/* Exactly these texts; a common front is shared. Sorts text. */
rx rx_texts(struct rxs *s, struct slice *text, uint32_t n);

/* The UTF-8 of a character in one of n ranges of code points (from, to); surrogates drop out. */
struct rx_range {
    uint32_t from, to;
};
rx rx_chars(struct rxs *s, const struct rx_range *r, uint32_t n);
rx rx_char(struct rxs *s, uint32_t cp);

/* -- primitives -- */

/* Words of lo to hi characters; every byte but 0x80-0xbf begins one. */
rx rx_len(struct rxs *s, uint32_t lo, uint32_t hi);

/* A JSON string behind its opening quote: every spelling of the words of text, and the closing
 * quote. RX_ESC_FEW: escapes only where they are of use: \" \\ \b \f \n \r \t, \u and four digits
 * for other controls and for what is not ASCII; RX_ESC_BMP: and none in pairs. */
enum rx_escapes { RX_ESC_ALL, RX_ESC_FEW, RX_ESC_BMP };
rx rx_json(struct rxs *s, rx text, enum rx_escapes escapes);

/* Digits with an optional fraction ("12", "12.50") whose value compares so with bound, which is
 * spelt in the same way. Only to be used within an intersection with such numbers without leading
 * zeros. */
enum rx_order { RX_LT, RX_LE, RX_GT, RX_GE };
rx rx_cmp(struct rxs *s, struct slice bound, enum rx_order order);

/* The same numbers, multiples of m / 10^scale. m: 1 to 400,000,000; scale at most 18. */
rx rx_multiple(struct rxs *s, uint32_t m, uint32_t scale);

/* -- the automaton -- */

rx rx_deriv(struct rxs *s, rx e, unsigned c);
static inline bool rx_nullable(const struct rxs *s, rx e)
{
    return s->node[e].nullable;
}
/* Whether e has words. Looks at as much of the automaton as it takes. */
bool rx_live(struct rxs *s, rx e);
/* The same for other words than the empty one. */
bool rx_more(struct rxs *s, rx e);
bool rx_match(struct rxs *s, rx e, struct slice text);
/* Whether every text of at most so many characters (0: of any number) that is plain within a JSON
 * string can follow and leave a word of e possible. False: not, or not seen at a glance. */
bool rx_takes_plain(const struct rxs *s, rx e, uint32_t chars);
/* Bytes that no expression of the store tells apart share a class (cls, rep, n_cls). */
void rx_classes(struct rxs *s);

#endif
