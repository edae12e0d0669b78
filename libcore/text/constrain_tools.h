/* constrain_tools.h - answers that call tools: a format of toolcall.h, a list of tools and what the
 * caller chose, as a grammar.
 *
 * Where a call may come the text before it is free up to the format's opening mark; from there on
 * only a listed tool's name can follow, and arguments that obey that tool's schema. So whatever is
 * generated, the parser of toolcall.h makes valid calls of it, or text. Calls are written as the
 * format's own templates write them (toolcall_form), JSON on one line.
 *
 * A reasoning block in front of it all is free but for its end, which must come.
 */
#ifndef RILL_TEXT_CONSTRAIN_TOOLS_H
#define RILL_TEXT_CONSTRAIN_TOOLS_H

#include <jansson.h>

#include "text/constrain.h"
#include "text/toolcall.h"

enum con_choice {
    CON_AUTO,    // text, or calls, or text and then calls
    CON_NONE,    // text
    CON_REQUIRED // calls
};

struct con_tools {
    const struct toolcall_format *format;
    const json_t *tools; // as in toolcall_opts
    enum con_choice choice;
    const json_t *only;  // a list of names; NULL: every tool may be called
    const json_t *answer; // the schema of an answer that calls nothing, without text before calls
                          // then; NULL: free text. E_UNSUPPORTED where calls are JSON themselves
    bool parallel;       // several calls in one answer, where the format has a way
    const struct reasoning *reasoning; // NULL: none
    bool in_reasoning;                 // the prompt has opened the block
    const struct tok *tok; // whose control tokens marks may be; NULL: all is text
};

/* E_FORMAT: the list is wrong, or a schema (the tool is named); E_UNSUPPORTED: the format cannot
 * write what a schema asks for, or a schema cannot be enforced; E_RANGE: a limit. */
int con_tools(struct con **out, const struct con_tools *t, struct err *e);

/* What tool_choice of a request says: a string, {"type": "function", "function": {"name": ...}} or
 * {"type": "allowed_tools", "allowed_tools": {"mode": ..., "tools": [...]}}; NULL or null: auto.
 * *only: a list of names (a new reference), or NULL. */
int con_choice_parse(enum con_choice *out, json_t **only, const json_t *tool_choice,
                     struct err *e);

#endif
