/* wrap.h - text that streams to a terminal: lines break between words, nothing but text gets there.
 *
 * A word is held until it ends, so that it is never torn at the edge. Control characters that a
 * terminal would obey are shown as U+FFFD. To anything but a terminal bytes go as they are.
 */
#ifndef RILL_TOOLS_WRAP_H
#define RILL_TOOLS_WRAP_H

#include <stdio.h>

#include "base/buf.h"

struct wrap {
    FILE *to;
    bool on;   // to is a terminal
    bool dims; // it knows dim text
    int width; // columns
    int col;
    bool dim;        // what is written now
    struct buf word; // held
    int word_width;
    bool word_anywhere; // it may end behind any of its characters
    struct buf part;    // a character that is not whole
};

void wrap_begin(struct wrap *w, FILE *to, bool dims); // asks for the width
void wrap_put(struct wrap *w, struct slice text, bool dim);
void wrap_line(struct wrap *w); // ends the line, where one is begun
void wrap_end(struct wrap *w);  // what is held goes out
void wrap_fini(struct wrap *w);

#endif
