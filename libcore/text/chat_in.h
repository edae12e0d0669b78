/* chat_in.h - what chat.c and chat_fit.c share. */
#ifndef RILL_TEXT_CHAT_IN_H
#define RILL_TEXT_CHAT_IN_H

#include "text/chat.h"

struct derived;

struct chat {
    struct jinja *t;
    const struct tok *tok;
    json_t *fixed; // bos_token and its like
    bool is_default;
    bool is_plain; // the default without ChatML's tokens
    bool knows_tools;
    bool shows_system;
    bool takes_parts;    // content as a list of parts,
    bool wants_parts;    //   only so
    bool text_arguments; // of tool calls: a string, not an object
    bool null_content;   // beside tool calls
    bool tools_in_text;  // tools, calls and results are written out in the messages
    const struct toolcall_format *calls;
    const struct reasoning *reasoning;
    struct derived *derived; // where the table has no row for the template; or NULL
};

/* The messages of a request as the template wants them: a new list. Fails with a sentence that
 * names the message. */
int chat_fit(const struct chat *c, const json_t *messages, const json_t *tools, json_t **out,
             struct err *e);
int chat_check_tools(const struct chat *c, const json_t *tools, struct err *e);

/* Renders with the variables as they are. */
int chat_run(const struct chat *c, json_t *messages, const json_t *vars, int64_t now,
             struct jinja_text *out, struct err *e);
/* The same for a small conversation of our own, within limits: a code, and no sentence. */
int chat_probe(const struct chat *c, json_t *messages, const json_t *vars, struct jinja_text *out);

#endif
