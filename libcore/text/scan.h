/* scan.h - the commonest pre-tokenizer expressions, written out by hand.
 *
 * Each says where the piece that begins at a place ends: what the expression matches there, or what
 * it does not match up to its next match. They are equal to the regular expressions in pre.c (their
 * definition; tests/text/test_pre.c compares them) and several times faster.
 */
#ifndef RILL_TEXT_SCAN_H
#define RILL_TEXT_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum scan_kind {
    SCAN_NONE,
    SCAN_GPT2,   // 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
    SCAN_WORDS,  // (?i:'s|...)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|...
    SCAN_CASED,  // [^\r\n\p{L}\p{N}]?[upper]*[lower]+(?i:'s|...)?|...: o200k and its like
    SCAN_MARKED, // [!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|...: DeepSeek-V3
    SCAN_RUN,    // \s?[set]{least,most}: any expression of that form (scan_set.c)
    SCAN_TAIL    // (?<!\s)\s++$
};

enum {
    SCAN_SUFFIX = 1, // 's, 't and the others are pieces (WORDS) or end words (CASED)
    SCAN_MARKS = 2,  // WORDS: \p{M} goes with \p{L}
    SCAN_SLASH = 4,  // behind punctuation [\r\n/]* instead of [\r\n]*
    SCAN_HAN = 8,    // CASED: \p{Han}+ comes first and is in no word (Kimi)
    SCAN_SPACE = 16, // RUN: a space may lead,
    SCAN_BLANK = 32, //   or any white space
    SCAN_ONE_NL = 64 // MARKED: a newline is a piece
};

enum { SCAN_MAX_RANGE = 112 };

/* A set of characters. */
struct scan_set {
    uint8_t ascii[128];                // 1: in it, 2: may lead a run
    uint32_t any;                      // classes of the others (uclass.h)
    uint32_t range[SCAN_MAX_RANGE][2]; // and ranges of them, ascending
    unsigned n_range;
    bool other; // what is not in classes and ranges
};

struct scan_rule {
    enum scan_kind kind;
    unsigned flags;
    unsigned most;  // numbers (WORDS, CASED) or characters (RUN) in one piece; 0: any number
    unsigned least; // RUN
    struct scan_set set;
};

/* The end of the piece at `at` (< n) of valid UTF-8; always beyond `at`. */
typedef size_t scan_fn(const struct scan_rule *r, const uint8_t *p, size_t at, size_t n);

scan_fn *scan_of(enum scan_kind kind); // NULL for SCAN_NONE

/* Fills *r when the expression has the form of SCAN_RUN. */
bool scan_parse(struct scan_rule *r, const char *pattern);
size_t scan_run(const struct scan_rule *r, const uint8_t *p, size_t at, size_t n);

#endif
