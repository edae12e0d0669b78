/* sched.h - which rows run next. Pure: no clock, no I/O, no memory of earlier calls.
 *
 * Knows states, counts and priorities. Knows nothing of pages' places, tokens or devices.
 */
#ifndef RILL_ENGINE_SCHED_H
#define RILL_ENGINE_SCHED_H

#include <stdbool.h>
#include <stdint.h>

enum sched_state { SCHED_WAITING, SCHED_PROMPT, SCHED_DECODE };

/* What a pick must know of a request. */
struct sched_req {
    int32_t state;    // enum sched_state
    int32_t priority; // higher first
    uint64_t arrival; // lower first among equals
    int32_t rows;     // prompt rows not yet computed
    int32_t outputs;  // of those, rows from the front that all want logits (0: only the last)
};

struct sched_limits {
    int32_t max_rows; // of a step
    int32_t max_out;  // rows with logits
    int32_t granule;  // a prompt is cut only at multiples of this
};

/* Part of a step: the request's next rows (1 for one that decodes). */
struct sched_part {
    int32_t req; // index into the array given
    int32_t rows;
};

/* Fills part[n] for a step; returns how many, 0 when nothing can run. Every decoding request gets
 * its row first, oldest of the highest priority first; prompts share what is left in that order,
 * cut where the step is full. Prompt parts come before decode parts, as a batch wants them. part
 * has n places. order is scratch of n places. */
int sched_pick(const struct sched_req *req, int n, const struct sched_limits *lim,
               struct sched_part *part, int32_t *order);

/* The waiting request that may start next, or -1. */
int sched_next_waiting(const struct sched_req *req, int n);

#endif
