/* sched.h - which requests hold memory and which rows run next. Pure: no clock, no I/O, no memory
 * of earlier calls.
 *
 * A request is waiting (it holds no pages) or running. What it has still to compute are its pending
 * rows; when they are done a token is drawn and there is one pending row again. A step takes rows
 * of running requests, those that draw next first, then admits waiting ones while there is room in
 * the step, in memory and among the sequences. Where memory is short the least of the running ones
 * are sent back to wait: they lose their pages, not their tokens.
 *
 * Order: priority, which grows by one with every `patience` steps of waiting, so that nobody
 * starves; those sent back before fresh ones; the client that has been served least for its weight;
 * arrival.
 *
 * Memory is counted in one unit of the caller's choice. Knows nothing of pages' places, tokens or
 * devices.
 */
#ifndef RILL_ENGINE_SCHED_H
#define RILL_ENGINE_SCHED_H

#include <stdbool.h>
#include <stdint.h>

enum sched_state { SCHED_WAITING, SCHED_RUNNING };

/* What a pick must know of a request. */
struct sched_req {
    int32_t state;    // enum sched_state
    int32_t priority; // higher first
    uint64_t arrival; // lower first among equals
    int32_t client;   // index into sched_limits.served
    uint64_t since;   // step in which it came or was sent back
    bool again;       // it has run before
    bool prompt;      // its next rows are prompt rows
    bool apart;       // they run apart from the others', and give no logits
    bool whole;       // they cannot be cut
    int32_t stored;   // positions computed
    int32_t rows;     // pending rows of one kind, that can go into one step
    int32_t pending;  // all pending rows
    int32_t outputs;  // of rows, those from the front that all want logits; 0: only the last one,
                      // if rows == pending
    int64_t held;     // memory it would give back
    int64_t need;     // memory for all pending rows, beyond what it holds
};

struct sched_limits {
    int32_t max_rows; // of a step
    int32_t max_out;  // rows with logits
    int32_t max_apart; // rows that run apart
    int32_t granule;  // a prompt is cut only at multiples of this
    int32_t page;     // positions of a block
    int64_t block;    // memory of a block
    int64_t left;     // memory that can be had
    int32_t seqs;     // sequences that can be had
    uint64_t step;    // number of this step
    uint64_t patience;
    const double *served; // [clients] what each was served, divided by its weight
    double budget;        // seconds a step may take, 0: any; prompts get half of what the rest of
                          // it takes even so
    double fixed;         // seconds of a step, whatever is in it
    double per_row;       // of a row
    double per_pos;       // of a row for each position it sees
    /* Called for a waiting request that may be admitted, to bring *r up to date (stored, rows,
     * pending, need); false: not in this step. NULL: what the array says. */
    bool (*ask)(void *ctx, int i, struct sched_req *r);
    void *ctx;
};

/* Part of a step: the request's next rows. */
struct sched_part {
    int32_t req; // index into the array given
    int32_t rows;
};

/* Filled by sched_pick; each array has a place for every request. */
struct sched_pick {
    struct sched_part *part; // prompt parts come before the others, as a batch wants them
    int32_t *admit;          // waiting requests that now run, in order
    int32_t *evict;          // running requests sent back to wait, before anything is admitted
    int32_t *order;          // scratch
    bool *seen;              // scratch
    int n_part, n_admit, n_evict;
};

void sched_pick(const struct sched_req *req, int n, const struct sched_limits *lim,
                struct sched_pick *out);

/* Whether a comes before b in the order above. */
bool sched_before(const struct sched_req *a, const struct sched_req *b,
                  const struct sched_limits *lim);

/* The running request to send back first: lowest priority, then the latest to arrive. Those with
 * skip[i] set (may be NULL) are left out; -1: there is none. */
int sched_victim(const struct sched_req *req, int n, const bool *skip);

#endif
