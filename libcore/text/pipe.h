/* pipe.h - what stands around the model in a tokenizer.json: added tokens, normalizers and
 * pre-tokenizers, each a list of steps.
 *
 * The text is cut at added tokens that are looked for as it is; what lies between is normalized,
 * cut at added tokens that are looked for in normalized text, cut into pieces by the pre-tokenizer,
 * and each piece goes to the model by itself.
 *
 * Not for other rooms: tok.h takes a whole pipe from tokjson.h.
 */
#ifndef RILL_TEXT_PIPE_H
#define RILL_TEXT_PIPE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"
#include "text/pre.h"
#include "text/trie.h"

enum norm_kind {
    NORM_NFC,
    NORM_NFD,
    NORM_NFKC,
    NORM_NFKD,
    NORM_LOWER,
    NORM_STRIP_ACCENTS, // marks go; what is composed stays
    NORM_STRIP,         // white space at the ends: left, right
    NORM_NMT,
    NORM_REPLACE, // text or expression by text
    NORM_PREPEND,
    NORM_CHARSMAP,
    NORM_BERT,  // clean, ideographs apart, without accents, lower
    NORM_BYTES, // each byte becomes its letter
    NORM_SPACE, // one in front unless there is one (ByteLevel's add_prefix_space)
};

struct norm_step {
    enum norm_kind kind;
    bool left, right;                  // STRIP
    bool clean, apart, accents, lower; // BERT; accents: they go
    struct buf from, to;               // REPLACE, PREPEND (to), CHARSMAP (from)
    struct pre_re *re;                 // REPLACE
};

enum cut_kind {
    CUT_MATCH,   // by text or expression
    CUT_SPACE,   // at white space, which goes
    CUT_WORDS,   // \w+|[^\w\s]+, the rest goes
    CUT_BERT,    // white space goes, punctuation is alone
    CUT_PUNCT,   // punctuation
    CUT_NUMBERS, // numbers, each digit a match or the whole run
    CUT_MARKS,   // Metaspace: U+2581 for spaces, one in front, cut before each
    CUT_LENGTH,  // pieces of so many characters
    CUT_SCRIPTS, // where another script begins
    CUT_BYTES,   // ByteLevel: its own expression, then each byte becomes its letter
};

/* What becomes of a match. */
enum cut_way { CUT_REMOVED, CUT_ISOLATED, CUT_CONTIGUOUS, CUT_WITH_PREVIOUS, CUT_WITH_NEXT };

struct cut_step {
    enum cut_kind kind;
    enum cut_way way;
    bool invert;     // what does not match is the match
    bool single;     // NUMBERS: each by itself
    bool prefix;     // MARKS, BYTES: a mark or space in front,
    bool first_only; //   MARKS: of the text only
    bool split;      // MARKS, BYTES: cut at all
    uint32_t length; // LENGTH
    struct buf text; // MATCH: the text; MARKS: the mark
    struct pre_re *re;
};

enum {
    ADDED_WORD = 1, // only where no word goes on at its ends
    ADDED_LSTRIP = 2,
    ADDED_RSTRIP = 4,
    ADDED_NORMALIZED = 8, // looked for in normalized text
    ADDED_SPECIAL = 16    // found only with TOK_PARSE
};

struct added {
    int32_t id;
    struct slice text;
    unsigned flags;
};

enum { MAX_NORM = 24, MAX_CUT = 16 };

struct pipe {
    struct norm_step norm[MAX_NORM];
    int n_norm;
    struct cut_step cut[MAX_CUT]; // none: the whole is one piece (unless fast)
    int n_cut;
    bool fast;  // the tokenizer's own pre-tokenizer cuts the normalized text
    bool marks; // the model has spaces where the pieces have U+2581,
    bool bytes; //   or bytes where they have letters
    struct added *added;
    uint32_t n_added;
    struct trie raw[2], normal[2]; // [1]: with special ones; values are indices of added
    struct buf texts;              // what added[].text lies in
};

struct enc;
int pipe_encode(struct enc *x, const struct pipe *p, struct slice text);

/* Fills the tries; the steps and added tokens are there. */
int pipe_build(struct pipe *p, struct err *e);
void pipe_free(struct pipe *p); // accepts NULL and half-made ones

/* pipe_norm.c. text is valid UTF-8 and what they add to out is. */
int pipe_normalize(const struct norm_step *s, struct pre_match *m, struct slice text,
                   struct buf *out, struct err *e);

/* NFC, NFD, NFKC or NFKD of text, valid UTF-8, as the library has them (ulib.h); adds to out. */
int tok_normal_form(enum norm_kind kind, struct slice text, struct buf *out, struct err *e);

/* pipe_cut.c. Calls piece for each piece of the text; in order. */
struct cutter {
    const struct pipe *p;
    struct pre_match *m;
    bool first; // the front of the whole text
    int (*piece)(void *arg, struct slice s);
    void *arg;
    struct err *e;
};
int pipe_cut(const struct cutter *c, struct slice text);
bool pipe_is_word(uint32_t cp); // \w

#endif
