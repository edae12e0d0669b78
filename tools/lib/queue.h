/* queue.h - what crosses from one thread to another: pointers, and runs of bytes. */
#ifndef RILL_TOOLS_QUEUE_H
#define RILL_TOOLS_QUEUE_H

#include "base/buf.h"

/* Pointers, first in, first out. */
struct queue;
int queue_new(struct queue **out, struct err *e);
void queue_free(struct queue *q); // accepts NULL; what is in it is not looked at
int queue_put(struct queue *q, void *item, struct err *e);
/* The next one; where there is none NULL at once, or with wait (seconds, negative: for ever) when
 * that long has passed without one. */
void *queue_take(struct queue *q, double wait);

/* Bytes for one reader that waits for a descriptor to become readable. */
struct bytes_queue;
int bytes_new(struct bytes_queue **out, size_t limit, struct err *e);
void bytes_free(struct bytes_queue *q); // accepts NULL
int bytes_fd(const struct bytes_queue *q);
/* Adds all of b and empties it; waits while more than the limit is there and the reader has not
 * closed. False: no memory. */
bool bytes_put(struct bytes_queue *q, struct buf *b);
/* All there is: b's memory is given for it, and what was in b is forgotten. */
void bytes_take(struct bytes_queue *q, struct buf *b);
/* The reader will not come again: nobody waits for it. */
void bytes_close(struct bytes_queue *q);

#endif
