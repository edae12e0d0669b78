/* utf8.h - strict UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef RILL_BASE_UTF8_H
#define RILL_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length (1-4) of the character at p[0, n) and its code point, or 0 when the bytes there are not
 * a complete valid character (or n is 0). *cp is untouched then. */
int utf8_decode(const char *p, size_t n, uint32_t *cp);

/* Writes cp (a scalar value) to out; returns its length, or 0 when cp is none. */
int utf8_encode(uint32_t cp, char out[4]);

bool utf8_valid(const char *p, size_t n);

/* How many bytes at the front of p[0, n) can be shown now: all but a last character that is so
 * far valid and lacks only further bytes (at most 3). Bytes that can never become valid count. */
size_t utf8_whole(const char *p, size_t n);

/* False for what must not reach a terminal as it is: control characters, line and paragraph
 * separators, and the marks that turn the direction of text around them. */
bool utf8_shown(uint32_t cp);

#endif
