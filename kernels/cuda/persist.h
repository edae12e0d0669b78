/* persist.h - steps of one row as one launch: the list that lower_persist.c makes of a segment's
 * launches and persist.cu works through, once for each step.
 */
#ifndef RILL_KERNELS_CUDA_PERSIST_H
#define RILL_KERNELS_CUDA_PERSIST_H

#include <stdalign.h>

#include "kernels/cuda/kern.h"

#define PERSIST_THREADS RING_THREADS // a block a multiprocessor
#define PERSIST_WARPS   (PERSIST_THREADS / 32)
#define PERSIST_STAGES  8      // of a warp's ring, at most
#define PERSIST_PIECE   128    // columns of 16 rows that lie in a stage, where weights have 16 bits
#define PERSIST_SUMS    16384
#define PERSIST_HEADS   16384 // a head a warp
#define PERSIST_DRAWS   ((DRAW_SORT + PERSIST_THREADS) * 16) // what a draw works in

#define PERSIST_STEPS 8 // of a launch, at most

enum persist_kind {
    PERSIST_INPUT, // the norm in front of a matrix, which every block makes for itself
    PERSIST_MATRIX,
    PERSIST_NORM,
    PERSIST_FETCH,
    PERSIST_ANGLES,
    PERSIST_TURN,
    PERSIST_STORE,
    PERSIST_HEAD,
    PERSIST_ATTN,
    PERSIST_MAP,
    PERSIST_DRAW // the last one, if any
};

enum {
    PERSIST_PACK = -1, // the input as it is
    PERSIST_AGAIN = -2 // the input of the matrix in front
};

/* What the blocks do together. Block b has a part in it if (b - first) % blocks of the launch is
 * below `blocks`; it begins when count[wait] says that all parts in front are done. */
struct persist_work {
    alignas(16) int32_t kind;
    int32_t fmt;
    int32_t first, blocks;
    int32_t wait, raise; // places of count; wait -1: nothing
    uint32_t want;       // parts that are counted at `wait`, each step
    int32_t next;        // MATRIX: the next one in the list; the last one's: as many as there are
    int32_t n_y, n_z;    // the grid of the launch that it was
    int32_t how;         // MATRIX: the INPUT's place in the list, or below; NORM and INPUT: threads
                         // that add; ATTN: which of kern_attn_few
    union {
        struct gemv_args gemv;
        struct norm_args norm;
        struct fetch_args fetch;
        struct rope_table_args angles;
        struct rope_run_args turn;
        struct store_args store;
        struct heads_args heads;
        struct attn_run_args attn;
        struct map_args map;
    } a;
};

/* Tokens that a launch draws: step i by row[i], to from.out[i]. What is drawn is the next step's
 * row, one position on. */
struct persist_draws {
    int32_t n; // steps; 0: one, and nothing is drawn
    struct draw_from from;
    struct step s;         // which goes on
    int32_t *recent;       // [PERSIST_STEPS + 1] what the slot drew, last before the launch
    const int32_t *enough; // the host's: not 0: no further step is wanted
    struct draw_row row[PERSIST_STEPS];
};

struct persist_args {
    const struct persist_work *work;
    int32_t n, matrix;     // entries, and the first that is a matrix; n: none
    int32_t stages, stage; // of a warp's ring, and bytes of one
    int32_t input, room;   // bytes: of a matrix' input, and of all in front of the rings
    uint32_t *count;       // parts done since the segment was made
    uint32_t *step;        // [3] steps done; a ticket, 0 between steps; whether one more follows
    struct persist_draws draws;
};

#ifdef __cplusplus
extern "C" {
#endif
extern const struct rt_kern kern_persist;
/* Shared memory in front of `room`. */
uint32_t persist_head_bytes(void);
#ifdef __cplusplus
}
#endif
#endif
