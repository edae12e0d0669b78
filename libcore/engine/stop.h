/* stop.h - stop strings in a stream of text: what can be shown, what must be held back. */
#ifndef RILL_ENGINE_STOP_H
#define RILL_ENGINE_STOP_H

#include "base/buf.h"
#include "rill.h"

struct stop {
    char *bytes;     // all strings, one after the other
    struct slice *s; // [n]
    int n;
    int met;         // which of them was met, from 1 on; 0: none yet
    struct buf held; // text that may be the beginning of a stop string
};

/* Copies the strings. more: bytes that one addition may bring, so that none allocates later. */
int stop_init(struct stop *st, const struct rill_stop *s, int n, size_t more, struct err *e);
void stop_fini(struct stop *st);

/* Adds text; moves what can be shown to out. True when a stop string was met: out then ends before
 * it, the rest is dropped. */
bool stop_add(struct stop *st, struct slice text, struct buf *out);

/* The text ends here: what is held back can be shown. */
void stop_flush(struct stop *st, struct buf *out);

#endif
