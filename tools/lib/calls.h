/* calls.h - the tools a model may call, and the commands that answer. */
#ifndef RILL_TOOLS_CALLS_H
#define RILL_TOOLS_CALLS_H

#include <jansson.h>

#include "base/err.h"
#include "tools/lib/opt.h"

struct calls {
    json_t *tools;                // as requests have them, or NULL
    const struct opt_list *execs; // NAME=COMMAND
    /* Asked before a call runs. */
    bool (*allow)(void *ctx, const char *name, const char *arguments);
    bool (*stop)(void); // ends a command when it returns true; or NULL
    void *ctx;
};

/* Reads a list of tools; each --exec must name one, a tool without a command is noted. */
int calls_open(struct calls *c, const char *path, const struct opt_list *execs, struct err *e);
void calls_close(struct calls *c); // of a zeroed one, too

/* What answers a call ({"id", "function": {"name", "arguments"}}): a message of the role tool. Only
 * what is our own failure is an error; the command's is the message. */
int calls_answer(const struct calls *c, const json_t *call, json_t **message, struct err *e);

#endif
