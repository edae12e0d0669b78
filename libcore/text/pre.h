/* pre.h - pre-tokenizers: how text is cut into pieces before byte-level BPE merges each by itself.
 *
 * A pre-tokenizer is a list of steps. The first cuts the text into what it matches and what lies
 * between; each further step cuts every piece of the one before.
 */
#ifndef RILL_TEXT_PRE_H
#define RILL_TEXT_PRE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"
#include "text/scan.h"

enum {
    PRE_WHOLE_FIRST = 1, // the piece itself is looked up before it is merged
    PRE_ADD_BOS = 2,     // BOS unless the file says otherwise
    PRE_ADD_BOTH = 4,    // <s> text </s> unless the file says otherwise (RoBERTa)
    PRE_RAW = 16,        // raw_bpe
    PRE_WHOLE_NL = 32    // pieces of newlines only are looked up before they are merged
};

struct pre_row {
    const char *names; // separated by spaces
    const char *const *steps;
    unsigned flags;
};

const struct pre_row *pre_find(const char *name); // NULL: unknown
const struct pre_row *pre_row_at(size_t i);       // NULL: no more

struct pre;      // compiled, read-only
struct pre_work; // what one thread needs to use it

/* scan: use the hand-written scanners where there are any (tests compare both). */
int pre_new(struct pre **out, const struct pre_row *row, bool scan, struct err *e);
void pre_free(struct pre *p);
int pre_work_new(struct pre_work **out, const struct pre *p, struct err *e);
void pre_work_free(struct pre_work *w);

/* Calls piece(arg, slice) for each piece of a text of valid UTF-8, in order; stops at the first
 * negative answer and returns it. */
int pre_split(const struct pre *p, struct pre_work *w, struct slice text,
              int (*piece)(void *arg, struct slice s), void *arg, struct err *e);

/* One expression, as Hugging Face files spell it (Oniguruma's way), for other uses than splitting
 * front to back. */
struct pre_re;
int pre_re_new(struct pre_re **out, const char *pattern, struct err *e);
void pre_re_free(struct pre_re *r); // accepts NULL
/* What one thread needs to match. */
struct pre_match;
int pre_match_new(struct pre_match **out, struct err *e);
void pre_match_free(struct pre_match *m); // accepts NULL
/* 1: the next match at or behind `at` is text[*from, *to); 0: none. text is valid UTF-8. */
int pre_re_find(const struct pre_re *r, struct pre_match *m, struct slice text, size_t at,
                size_t *from, size_t *to, struct err *e);
/* The expression with what PCRE2 reads otherwise than Oniguruma spelt for PCRE2; the result can be
 * a step of a pre_row. */
void pre_re_spell(const char *pattern, struct buf *out);

/* The scanner, when it is all there is: then its caller may run the loop itself. */
scan_fn *pre_scan(const struct pre *p, const struct scan_rule **rule);

#endif
