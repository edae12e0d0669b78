/* constrain_regex.h - regular expressions as schemas and users write them (ECMA 262's syntax, with
 * Unicode), made into languages of constrain_rx.h.
 *
 * Known: characters and escapes (\t \n \v \f \r \0 \cX \xHH \uHHHH \u{H}), . \d \w \s and their
 * opposites, \p{General_Category}, classes, groups of all kinds, | * + ? {m,n} (lazy ones too: the
 * language is the same), ^ $ and lookahead. Refused, as no regular language or none that is worth
 * it: back references, lookbehind, \b, flags, assertions within an unbounded repetition.
 */
#ifndef RILL_TEXT_CONSTRAIN_REGEX_H
#define RILL_TEXT_CONSTRAIN_REGEX_H

#include "constrain_rx.h"

/* Texts in which the expression is found somewhere (search), or that it matches from end to end.
 * E_FORMAT and E_UNSUPPORTED name the byte. All texts are whole UTF-8. */
int rx_parse(struct rxs *s, struct slice src, bool search, rx *out, struct err *e);

/* A list of ranges being put together. */
struct rx_ranges {
    struct rx_range *r;
    uint32_t n, cap;
    bool bad;
};
void rx_ranges_add(struct rx_ranges *l, uint32_t from, uint32_t to);
void rx_ranges_fini(struct rx_ranges *l);
/* The characters in the list, or (negate) those not in it. */
rx rx_ranges_rx(struct rxs *s, struct rx_ranges *l, bool negate);

#endif
