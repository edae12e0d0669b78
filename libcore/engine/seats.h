/* seats.h - who runs: requests get their place and their memory, and lose them. */
#ifndef RILL_ENGINE_SEATS_H
#define RILL_ENGINE_SEATS_H

#include "engine/engine.h"

/* Asks the scheduler and does what it says. On return g->pick.part holds parts of the step whose
 * memory is there; there may be none though requests wait (call again: the next time it will
 * do). */
int seats_pick(struct rill_engine *g, struct err *e);

/* Copies owed to the pool: must happen before the step runs, or memory is read. */
int seats_copies(struct rill_engine *g);

/* Rows of a part have been computed: blocks become known, states are kept. */
int seats_publish(struct rill_engine *g, struct request *r);

/* One slot of recurrent state to another. */
int seats_copy_state(struct rill_engine *g, int to, int from);

/* A place for a request that begins where another stands: false when there is none. */
bool seats_fork(struct rill_engine *g, const struct request *from, struct request *to);

/* Between steps: all of it will be computed again, as when it lost its place. */
void seats_again(struct rill_engine *g, struct request *r);

/* It ends: place, memory and what is kept in host memory go back. */
void seats_leave(struct rill_engine *g, struct request *r);

#endif
