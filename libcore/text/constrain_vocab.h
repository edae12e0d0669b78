/* constrain_vocab.h - a vocabulary's tokens as a trie of their bytes, laid out for walking.
 *
 * Nodes lie in depth-first order with the number of the first node outside their branch, so that a
 * walk reads forwards and leaves a branch by one jump. Beside the trie of all tokens there are
 * tries without those that stay within a JSON string whatever string it is: a place inside such a
 * string allows all of these at once (the slice), and the walk sees the rest only.
 */
#ifndef RILL_TEXT_CONSTRAIN_VOCAB_H
#define RILL_TEXT_CONSTRAIN_VOCAB_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"
#include "text/tok.h"

struct vocab_node {
    uint32_t skip; // the first node outside this branch
    int32_t token; // that ends here, or -1
    uint16_t depth;
    uint8_t byte;
};

struct vocab_trie {
    struct vocab_node *node;
    uint32_t n;
};

/* Tokens of at most SLICE_SHORT characters that are plain within a JSON string; such tokens of any
 * length; tokens of at most SLICE_SHORT ASCII letters and digits, as names are made of. */
enum { SLICE_PLAIN, SLICE_LONG, SLICE_WORD, SLICE_N, SLICE_SHORT = 12 };
#define VOCAB_MAX_DEPTH 256 // bytes; longer tokens are never allowed

struct con_vocab {
    uint32_t n;             // tokens
    uint32_t n_word;        // 32-bit words of a mask
    struct vocab_trie all, rest[SLICE_N];
    uint32_t *slice[SLICE_N]; // [n_word] masks
    uint32_t *end;          // [n_word] tokens that end a generation
    int32_t *same;          // [n] the next token of the same bytes, or -1
    struct slice *text;     // [n] what each stands for; empty: never allowed
    char *special;          // texts of control tokens
    uint32_t max_len;
};

/* Which bytes a slice's characters are made of: states of UTF-8. -1: not of these. */
int slice_step(int slice, int state, unsigned c);
enum { SLICE_STATES = 8 };

/* What a control token is in a grammar: no text spells these bytes. out: at least 16 bytes. */
struct slice con_token_text(int32_t id, char *out);

/* The control tokens of a vocabulary. */
struct con_controls {
    const struct tok *tok; // NULL: there are none
    int32_t *id;           // [n]
    uint32_t n;
};
int con_controls_init(struct con_controls *c, const struct tok *t, struct err *e);
void con_controls_fini(struct con_controls *c); // of a zeroed one too
/* Adds text with its control tokens as a grammar has them. */
void con_controls_put(const struct con_controls *c, struct slice text, struct buf *out);

int con_vocab_new(struct con_vocab **out, const struct tok *t, struct err *e);
void con_vocab_free(struct con_vocab *v); // accepts NULL

#endif
