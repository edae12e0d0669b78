/* scan.h - the three commonest pre-tokenizer expressions, written out by hand.
 *
 * Each says where the piece that begins at a place ends. They are equal to the regular expressions
 * in pre.c (their definition; tests/text/test_pre.c compares them) and several times faster.
 */
#ifndef RILL_TEXT_SCAN_H
#define RILL_TEXT_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum scan_kind {
    SCAN_NONE,
    SCAN_GPT2,  // 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
    SCAN_WORDS, // (?i:'s|...)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|...
    SCAN_CASED  // [^\r\n\p{L}\p{N}]?[upper]*[lower]+(?i:'s|...)?|...: o200k and its like
};

enum {
    SCAN_SUFFIX = 1, // 's, 't and the others are pieces (WORDS) or end words (CASED)
    SCAN_MARKS = 2,  // WORDS: \p{M} goes with \p{L}
    SCAN_SLASH = 4,  // behind punctuation [\r\n/]* instead of [\r\n]*
    SCAN_HAN = 8     // CASED: \p{Han}+ comes first and is in no word (Kimi)
};

struct scan_rule {
    enum scan_kind kind;
    unsigned flags;
    unsigned digits; // \p{N}{1,digits}; 0: \p{N}+
};

/* The end of the piece at `at` (< n) of valid UTF-8; always beyond `at`. */
typedef size_t scan_fn(const struct scan_rule *r, const uint8_t *p, size_t at, size_t n);

scan_fn *scan_of(enum scan_kind kind); // NULL for SCAN_NONE

#endif
