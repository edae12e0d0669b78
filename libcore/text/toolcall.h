/* toolcall.h - tool calls in a model's output: the formats there are, and one incremental parser.
 *
 * A format is a row of a table: how a call is written (as data, from which a constrained decoder
 * can force one and tests can write one) and how it is read. The parser takes an output in pieces
 * of any length, a byte or all of it, and hands out events: text, reasoning, and for each call its
 * beginning, pieces of its arguments and its end. How the output was cut changes only how deltas
 * are cut. Time is linear, memory bounded.
 *
 * What only looks like a call stays text, byte for byte: a call begins (TC_BEGIN) when its name and
 * the beginning of its arguments are there, and until then everything is held back (at most `hold`
 * bytes). Arguments are handed out as JSON whatever the format writes; where one has parameters
 * without types (XML, Python), the tool's schema decides between strings and other values. White
 * space before and behind a call and inside the marks of a reasoning block is dropped.
 *
 * Arguments that stop being JSON: TC_ERROR says at which byte, the rest of the call follows as it
 * is (bytes that are no UTF-8 replaced), and its TC_END is not complete. An output that ends inside
 * a call: TC_ERROR, TC_END not complete; before TC_BEGIN it is text.
 *
 * Knows nothing of templates' rendering, tokens or grammars.
 */
#ifndef RILL_TEXT_TOOLCALL_H
#define RILL_TEXT_TOOLCALL_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"
#include "text/reasoning.h"

/* How the arguments are written. */
enum toolcall_args {
    TOOLCALL_JSON,   // an object that satisfies the tool's schema
    TOOLCALL_PARAMS, // a run of parameters, see struct toolcall_form
    TOOLCALL_PYTHON, // key=literal, ...
    TOOLCALL_GEMMA   // {key:value,...}, strings between two string_mark
};

/* How calls are written: begin call (between call)* end, where a call is
 * open NAME mid ARGUMENTS close. An id, where the format has one, stands where open, mid or close
 * has %i (kept unique by the writer); %n there is the name once more, %d the call's index. */
struct toolcall_form {
    const char *begin;
    const char *open;
    const char *mid;
    const char *close;
    const char *between;
    const char *end;
    enum toolcall_args args;
    /* TOOLCALL_PARAMS: param_open KEY param_mid VALUE param_close, one behind the other. */
    const char *param_open;
    const char *param_mid;      // before a string
    const char *param_mid_json; // before another value
    const char *param_close;
    const char *string_mark; // TOOLCALL_GEMMA
    bool name_is_json;       // NAME is written as inside a JSON string
};

struct toolcall_format {
    const char *name;
    const char *about; // a call, for people
    struct toolcall_form form;
    bool weak;                        // needs a known name and an arguments key to be a call
    const char *need[3];              // detection: a template has all of these; none: by name only
    const struct toolcall_read *read; // for the parser
};

const struct toolcall_format *toolcall_at(size_t i); // NULL past the end
/* By name; NULL and a sentence with the names there are (E_USAGE) when there is none such. */
const struct toolcall_format *toolcall_find(const char *name, struct err *e);
/* The format a template's source writes calls in; NULL: it knows no tools. */
const struct toolcall_format *toolcall_detect(struct slice template_text);

/* -- the parser -- */

enum toolcall_kind {
    TC_TEXT,   // text
    TC_REASON, // reasoning
    TC_BEGIN,  // call index: id, name
    TC_ARGS,   // text: more of the arguments of call index
    TC_END,  // of call index: complete or not; id: the model's, where it came too late for TC_BEGIN
    TC_ERROR // text: what is wrong with call index
};

struct toolcall_event {
    enum toolcall_kind kind;
    int index; // of the call, from 0
    struct slice text;
    struct slice id;
    struct slice name;
    bool complete;
};

struct toolcall_opts {
    const struct toolcall_format *format; // NULL: no calls are looked for
    const struct reasoning *reasoning;    // NULL: no reasoning is looked for
    bool in_reasoning;                    // the prompt has opened the block
    const json_t *tools; // [{type, function: {name, parameters}}] or [{name, parameters}], or NULL;
                         // kept (a reference is held)
    bool only_known;     // calls of tools that are not in tools are text
    uint64_t seed;       // of the ids of calls that come without one
    size_t hold;         // bytes held back at most; 0: 256 KiB
    /* Whether a mark is one control token of the vocabulary; it then counts only where it was fed
     * as one. NULL: none is. */
    bool (*is_control)(void *ctx, struct slice mark);
    void *ctx;
};

struct toolcall;

int toolcall_new(struct toolcall **out, const struct toolcall_opts *o, struct err *e);
void toolcall_free(struct toolcall *t); // accepts NULL

/* Feeds bytes; control: they are the text of a control token. Returns how many events *ev has, or
 * E_NOMEM, after which the parser can only be freed. Events live until the next call. */
int toolcall_feed(struct toolcall *t, struct slice bytes, bool control,
                  const struct toolcall_event **ev, struct err *e);
/* The output has ended: what was held back is decided. Once. */
int toolcall_finish(struct toolcall *t, const struct toolcall_event **ev, struct err *e);

bool toolcall_in_reasoning(const struct toolcall *t); // for budgets
int toolcall_count(const struct toolcall *t);         // calls begun

/* -- writing -- */

struct toolcall_call {
    struct slice id; // may be empty where the format has none
    struct slice name;
    const json_t *arguments; // an object
};

/* Calls as the format writes them, as a template would render them. */
int toolcall_write(const struct toolcall_format *f, const struct toolcall_call *c, size_t n,
                   struct buf *out, struct err *e);

/* What to tell a model whose template knows no tools, so that it calls them in the format
 * "generic": added to a system message. */
int toolcall_instructions(const json_t *tools, struct buf *out, struct err *e);

#endif
