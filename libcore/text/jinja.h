/* jinja.h - the template language of chat templates: parse once, render many times.
 *
 * The language is Jinja 3.1 with trim_blocks, lstrip_blocks, loop controls and generation blocks,
 * in the immutable sandbox chat templates are released for: lists and dicts never change, there is
 * no loader, no attribute of anything but what the language defines, no file, no clock but the one
 * given. Autoescaping, template inheritance and includes are refused.
 *
 * A rendering knows of every byte whether the template wrote it or whether it came from a string of
 * the context (a message, a tool): the runs of the second kind are `content`. However a template
 * cuts, joins, changes the case of or replaces in strings, bytes keep their mark; numbers and truth
 * values have none. So a tokenizer can be told to look for control tokens in what the template
 * wrote only, and text that imitates one stays text.
 *
 * A parsed template is read-only: any number of threads may render with it.
 */
#ifndef RILL_TEXT_JINJA_H
#define RILL_TEXT_JINJA_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

struct jinja;

/* Parses source, which is copied; name is what sentences call it ("m.gguf: chat template"). A
 * mistake is E_FORMAT with "name:LINE:COLUMN: ...". Any source of up to 4 MiB is parsed or refused
 * in bounded time, memory and stack. */
int jinja_parse(struct jinja **out, const char *name, struct slice source, struct err *e);
void jinja_free(struct jinja *t); // accepts NULL

/* Whether the template mentions a variable of that name at all; whether it has a string literal
 * that contains these bytes, or they stand in its text. */
bool jinja_names(const struct jinja *t, const char *variable);
bool jinja_spells(const struct jinja *t, const char *bytes);

/* What a rendering may use, each a limit of its own; 0: the default. */
struct jinja_limits {
    uint64_t steps; // 10,000,000: an expression, an item, 64 bytes copied
    uint64_t bytes; // 256 MiB: memory of all values made, the output included
    int depth;      // 1000: operators, calls and containers in each other
};

enum jinja_mark {
    JINJA_CONTENT, // strings are content
    JINJA_TRUSTED, // strings are the template's own
    JINJA_MESSAGES // content, but for "role" of each element of the list
};

/* A variable of the context. The JSON is borrowed and not changed. */
struct jinja_var {
    const char *name;
    const json_t *value;
    enum jinja_mark mark;
};

/* A rendered text; zeroed it is an empty one. content: [n_content] ascending, never adjacent. */
struct jinja_text {
    struct buf text;
    struct byte_span *content;
    size_t n_content;
};
void jinja_text_fini(struct jinja_text *t);

/* Renders into *out (an empty one, or one rendered before). now: the clock of strftime_now, seconds
 * since 1970; local time. Errors: E_FORMAT, what the template raised or does wrong, with line and
 * column; E_RANGE, a limit; E_NOMEM. On failure *out is empty. */
int jinja_render(const struct jinja *t, const struct jinja_var *var, size_t n_var, int64_t now,
                 const struct jinja_limits *limits, struct jinja_text *out, struct err *e);

#endif
