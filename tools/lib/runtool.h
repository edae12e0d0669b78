/* runtool.h - a command that answers a tool call: arguments as JSON on its standard input, the
 * result on its standard output. No shell. */
#ifndef RILL_TOOLS_RUNTOOL_H
#define RILL_TOOLS_RUNTOOL_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

enum { RUNTOOL_BYTES = 1 << 20 }; // of a result

struct runtool {
    struct buf result; // what the model is told: the output, or what went wrong
    bool failed;
};

/* Runs a command (words separated by white space; the first is the program) for at most that many
 * seconds. Its failures are results; errors are ours (no memory, no process). stop, where not NULL:
 * ends the command when it returns true. */
int runtool(struct runtool *r, const char *command, struct slice arguments, double seconds,
            bool (*stop)(void), struct err *e);

#endif
