/* batch.h - what a backend may rely on once it has looked at a batch. */
#ifndef RILL_KERNELS_BATCH_H
#define RILL_KERNELS_BATCH_H

#include "plan/backend.h"

/* Whether everything in a batch that is used as an index is within the segment's memory: rows,
 * sequences, positions, slots, token ids, and positions where there is a table of them. */
bool batch_good(const struct segment *s, const struct batch *b);

/* How many pages at their beginnings row t and the one before it have in common where both have
 * one; INT32_MAX: all, they are of one sequence. */
int32_t batch_alike(const struct batch *b, int64_t t);

#endif
