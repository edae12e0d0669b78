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
struct pipe_queue;
int pipe_new(struct pipe_queue **out, size_t limit, struct err *e);
void pipe_free(struct pipe_queue *q); // accepts NULL
int pipe_fd(const struct pipe_queue *q);
/* Adds all of b and empties it; waits while more than the limit is there and the reader has not
 * closed. False: no memory. */
bool pipe_put(struct pipe_queue *q, struct buf *b);
/* All there is: b's memory is given for it, and what was in b is forgotten. */
void pipe_take(struct pipe_queue *q, struct buf *b);
/* The reader will not come again: nobody waits for it. */
void pipe_close(struct pipe_queue *q);

#endif
