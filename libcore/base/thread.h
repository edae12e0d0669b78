/* thread.h - the CPU backend's team: n threads that run one function together.
 *
 * The caller is member 0. Between calls the others spin for a short while, then sleep.
 */
#ifndef RILL_BASE_THREAD_H
#define RILL_BASE_THREAD_H

#include "err.h"

struct team;

/* n >= 1 threads, the caller included. Only the thread that calls team_run may use the team. */
int team_new(struct team **out, int n, struct err *e);
void team_free(struct team *t); // accepts NULL
int team_size(const struct team *t);

/* Runs fn(arg, member, n) on all members and returns when all have returned. */
void team_run(struct team *t, void (*fn)(void *arg, int member, int n), void *arg);

/* Inside fn: waits until all members are here. What was written before is seen after. */
void team_barrier(struct team *t);

/* Processors this process may run on (affinity respected), at least 1. */
int thread_cpus(void);

/* Flush-to-zero and denormals-are-zero for the calling thread: every team and engine thread. */
void thread_ftz(void);
/* The contrary: numbers below 2^-126 as IEEE 754 has them, for what encodes weights. */
void thread_ieee(void);

#endif
