/* toolcall_value.h - argument values, byte by byte: JSON checked and passed on, Python literals and
 * Gemma's notation made JSON. What is added to out is always whole UTF-8 characters.
 */
#ifndef RILL_TEXT_TOOLCALL_VALUE_H
#define RILL_TEXT_TOOLCALL_VALUE_H

#include <jansson.h>

#include "base/buf.h"

enum { VALUE_DEPTH = 128, VALUE_SCALAR = 320 };

enum value_rc {
    VALUE_MORE,   // the byte belongs to the value, which goes on
    VALUE_DONE,   // the byte ends the value
    VALUE_BEFORE, // the value had ended before this byte
    VALUE_BAD     // no value of this kind goes on so; out has what came before the byte
};

/* Bytes made valid UTF-8: what is none becomes U+FFFD. */
struct utf8_fix {
    char held[4];
    uint8_t n;
};
void fix_byte(struct utf8_fix *f, char c, struct buf *out); // out may be NULL
void fix_end(struct utf8_fix *f, struct buf *out);
/* The same, escaped as inside a JSON string. */
void fix_json(struct utf8_fix *f, char c, struct buf *out);

/* JSON: passed on as written, but for control characters in strings (escaped), invalid UTF-8 and
 * lone surrogate escapes (U+FFFD). */
struct json_scan {
    uint8_t st;
    uint8_t sub; // of a number, a literal, an escape
    bool key;    // the string is a key
    uint16_t depth;
    uint32_t unit; // \u escape being read
    uint32_t high; // a high surrogate waiting for its low one
    uint8_t in_array[VALUE_DEPTH / 8];
    struct utf8_fix fix;
};
enum value_rc json_byte(struct json_scan *s, char c, struct buf *out);
/* The text has ended: whether the value was whole (a number needs this to be known). */
bool json_whole(const struct json_scan *s);

/* The inside of a JSON string, decoded: 1 a byte more, 0 the closing quote, -1 no string. */
struct json_string {
    uint8_t sub;
    uint32_t unit;
    uint32_t high;
};
int json_string_byte(struct json_string *s, char c, struct buf *out);

/* Python literals (delim NULL) or Gemma's notation: strings between two delim, bare keys. */
struct literal_scan {
    const char *delim;
    uint8_t st;
    uint8_t sub;
    char quote;
    bool triple, raw, first;
    uint16_t depth;
    char stack[VALUE_DEPTH];
    char word[VALUE_SCALAR];
    uint16_t n_word;
    uint32_t unit;
    uint8_t left; // digits of an escape still to come
    struct utf8_fix fix;
};
void literal_begin(struct literal_scan *s, const char *delim);
enum value_rc literal_byte(struct literal_scan *s, char c, struct buf *out);
void literal_rest(struct literal_scan *s, struct buf *out); // behind VALUE_BAD: what was held back

/* -- what a schema says of a value -- */

enum value_types {
    VALUE_STRING = 1,
    VALUE_NUMBER = 2,
    VALUE_INTEGER = 4,
    VALUE_BOOLEAN = 8,
    VALUE_OBJECT = 16,
    VALUE_ARRAY = 32,
    VALUE_NULL = 64,
    VALUE_ANY = 127
};
/* The types a schema allows; VALUE_ANY where it does not say. root: where "$ref" looks. */
unsigned schema_types(const json_t *root, const json_t *schema);

/* Adds text, written for a parameter of these types, as JSON: a value of an allowed type where it
 * is one (True, False and None count), else a string. known: a schema says so. */
void value_add(unsigned types, bool known, struct slice text, struct buf *out);

#endif
