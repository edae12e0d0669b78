/* calls.h - the tools a model may call, and the commands that answer. */
#ifndef RILL_TOOLS_CALLS_H
#define RILL_TOOLS_CALLS_H

#include <jansson.h>

#include "base/err.h"
#include "text/chat.h"
#include "text/toolcall.h"
#include "tools/lib/opt.h"

struct calls {
    json_t *tools;                // as requests have them, or NULL
    const struct opt_list *execs; // NAME=COMMAND
    /* Asked before a call runs. */
    bool (*allow)(void *ctx, const char *name, const char *arguments);
    bool (*stop)(void); // ends a command when it returns true; or NULL
    void *ctx;
};

/* A file's list of tools as requests have them; {"name", "parameters"} alone will do. */
int calls_read(json_t **tools, const char *path, struct err *e);
/* How calls are written, in *format the template's way or NULL: as named (NULL: not), which may be
 * "generic" where the template knows no tools; the chat then tells of them. path is what errors
 * call the template. */
int calls_format(const struct toolcall_format **format, struct chat *chat, const char *named,
                 const char *path, struct err *e);

/* Reads a list of tools; each --exec must name one, a tool without a command is noted. */
int calls_open(struct calls *c, const char *path, const struct opt_list *execs, struct err *e);
void calls_close(struct calls *c); // of a zeroed one, too

/* What answers a call ({"id", "function": {"name", "arguments"}}): a message of the role tool. Only
 * what is our own failure is an error; the command's is the message. */
int calls_answer(const struct calls *c, const json_t *call, json_t **message, struct err *e);

#endif
