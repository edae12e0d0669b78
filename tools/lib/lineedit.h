/* lineedit.h - what a person types, or a pipe brings: an entry at a time.
 *
 * On a terminal: editing, history, completion, pastes of any size and lines (one of several lines
 * is shown as a placeholder and is there when the entry is sent), and a backslash at a line's end
 * goes on. On a dumb terminal and in a pipe: a line each, or a piece ended by NUL.
 */
#ifndef RILL_TOOLS_LINEEDIT_H
#define RILL_TOOLS_LINEEDIT_H

#include <signal.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

struct lineedit;

struct lineedit_opts {
    const char *name;         // of the program, for ~/.editrc
    const char *history;      // file, or NULL
    const char *const *words; // completed at the beginning of an entry; NULL-ended, or NULL
    bool nul;                 // pieces ended by NUL instead of lines
    volatile sig_atomic_t *interrupted; // set by SIGINT, whose handler must not restart calls
};

enum { LINE_END, LINE_TEXT, LINE_INTERRUPTED };

int lineedit_open(struct lineedit **out, const struct lineedit_opts *o, struct err *e);
void lineedit_close(struct lineedit *l);             // accepts NULL; writes the history
bool lineedit_on_terminal(const struct lineedit *l); // somebody types

/* The next entry, which lives until the next call. */
int lineedit_read(struct lineedit *l, const char *prompt, struct slice *out, struct err *e);

#endif
