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
struct lineedit_words;

struct lineedit_opts {
    const char *name;                   // of the program, for ~/.editrc
    const char *history;                // file, or NULL
    bool nul;                           // pieces ended by NUL instead of lines
    volatile sig_atomic_t *interrupted; // set by SIGINT, whose handler must not restart calls
    /* Says what the line up to the cursor may go on as: lineedit_offer for each. NULL: nothing. */
    void (*complete)(void *ctx, const char *line, struct lineedit_words *w);
    void *ctx;
};

enum { LINE_END, LINE_TEXT, LINE_INTERRUPTED };

int lineedit_open(struct lineedit **out, const struct lineedit_opts *o, struct err *e);
void lineedit_close(struct lineedit *l);             // accepts NULL; writes the history
bool lineedit_on_terminal(const struct lineedit *l); // somebody types

/* The next entry, which lives until the next call. */
int lineedit_read(struct lineedit *l, const char *prompt, struct slice *out, struct err *e);
/* An answer of one line to a question, which the history does not keep. */
int lineedit_ask(struct lineedit *l, const char *question, struct slice *out, struct err *e);

/* The bytes of the line from the from-th on may become text (which begins with them); more: the
 * word goes on behind it, else a space does. */
void lineedit_offer(struct lineedit_words *w, size_t from, const char *text, bool more);
/* All files and folders that the line from there on may name. */
void lineedit_offer_files(struct lineedit_words *w, const char *line, size_t from);

#endif
