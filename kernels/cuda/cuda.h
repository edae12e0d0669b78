/* cuda.h - inside the CUDA backend: a plan's records as launches.
 *
 * prepare.c owns a segment's memory and its launches, lower*.c say what launches a record is, and
 * cuda.c opens devices and runs steps. A launch's arguments never change: what differs from step to
 * step lies in one block of device memory (struct step), and kernels read from there how many rows
 * there are.
 */
#ifndef RILL_KERNELS_CUDA_CUDA_H
#define RILL_KERNELS_CUDA_CUDA_H

#include "base/thread.h"
#include "kernels/cuda/kern.h"
#include "kernels/cuda/rt.h"
#include "plan/backend.h"
#include "quant/quant.h"

struct persist_draws;

struct dev {
    struct rt *rt;
    struct rt_info info;
    uint64_t limit, taken; // most bytes that may be taken, and those that are
    bool plain;            // every record has launches of its own (RILL_CUDA_FUSE=0)
    bool wide;             // prompts through wide.cu (RILL_CUDA_GEMM=wgmma)
    bool wide_attn;        // and through attn_wide.cu (RILL_CUDA_ATTN=wgmma)
    bool persist;          // a step of one row as one launch (RILL_CUDA_STEP=persist)
    /* what rows have in common is made once (RILL_CUDA_SHARE): where it is less work; 0, 1 */
    enum sharing { SHARE_LESS, SHARE_NEVER, SHARE_ALWAYS } share;
    /* matrices that can be repacked: how they lie, and how they are read */
    enum layout { LAYOUT_PANELS, LAYOUT_FILE, LAYOUT_DP4A, LAYOUT_PIECES, LAYOUT_BULK } layout;
    uint32_t ticket, draws;
    uint32_t decoding; // steps in a row without a prompt, up to the last
    double gap;        // seconds that the device had nothing to do between such steps
    uint64_t gaps;
    uint32_t gap_of;    // the last step that was counted
    uint32_t run_of[2]; // the step that a draw belongs to, by turn
    int32_t *last;      // [CUDA_SLOTS] what each slot drew last
    uint8_t *stage;     // pinned, two halves: small things on their way to the device
    uint64_t stage_at;
    int half;
    uint8_t *pieces; // pinned, two: large things on their way, CUDA_PIECE bytes each
    int piece;
    struct team *movers;
};

#define CUDA_PIECE (4u << 20)

/* Marks of the stream: a step has ended, its draws too; ids came back; half of the stage has been
 * read; a step has begun; a piece has been read. */
enum {
    CUDA_RUNS = 4,
    CUDA_DRAWS = 2,
    MARK_RUN = 0,
    MARK_DRAW = MARK_RUN + CUDA_RUNS,
    MARK_STAGE = MARK_DRAW + CUDA_DRAWS,
    MARK_BEGIN = MARK_STAGE + 2,
    MARK_PIECE = MARK_BEGIN + CUDA_RUNS
};
_Static_assert(MARK_PIECE + 2 <= RT_MARKS, "one mark each");

/* Device memory within the limit; NULL: there is none left. */
void *cuda_take(struct dev *d, uint64_t bytes);
void cuda_give(struct dev *d, void *p, uint64_t bytes);
uint64_t cuda_free_bytes(const struct dev *d);

/* Kernels and grids are chosen by the number of rows, only among those that make the same bytes. */
enum variant { ONE_ROW, UP_TO_8, UP_TO_16, UP_TO_32, MANY_ROWS, VARIANTS };
#define ALWAYS 31u // a bit for each variant

enum {
    BUCKETS = 11,       // graphs for 1, 2, 4 ... 1024 rows
    TILES = ROWS_1 + 1, // a block for each tile of pairs
    RUNS,               // and for each run of rows of one sequence
    SPANS               // or for `per` rows of a run (attn.cuh, tile_base)
};

#define SHARE_ROWS 4 // rows that begin alike, at least: their block takes as long as two of one

/* Rows that begin alike (share.c): how many make a tile, and how many of a sequence may be among
 * them; rows that there is room for partials of; partials times rows that must be spared. */
struct share_rule {
    int32_t rows, run, room;
    int64_t least;
};

struct launch {
    const struct rt_kern *k;
    void *args;
    uint32_t when; // bits of variants it is for
    uint32_t rows; // what the grid's first dimension counts: enum row_kind, TILES, RUNS
    uint32_t per;  // of them a block takes
    uint32_t grid_y, grid_z, block, shared;
    int32_t n_expert; // TILES
    int32_t record;   // of the segment's, from 0
    bool shared_only; // in steps whose rows begin alike
};

/* Memory that records use one after the other; its size is the largest wish. */
enum slot {
    SLOT_PACK,
    SLOT_PACK_GLU,
    SLOT_SORT,
    SLOT_PAIRS,
    SLOT_PARTS,
    SLOT_SPARE,
    SLOT_LORA,
    SLOT_TICKET,
    SLOTS
};

struct cuda_seg {
    struct launch *l;
    int n, cap;
    struct {
        void *p;
        uint64_t bytes;
    } * mem; // device memory to be given back
    int n_mem;
    void *host[CUDA_RUNS]; // pinned copies of the block below
    bool used[CUDA_RUNS];
    void *block; // what changes from step to step
    uint64_t block_bytes, block_pitch; // of all, and of each array, numbers of rows first
    float *embd;
    int64_t embd_width; // 0: no record reads them
    struct step step;
    struct lora_pair *pair; // [n_lora][n_pair] adapters as the device has them; NULL: none wanted
    int64_t n_pair;         // weights, then layers
    struct {
        void *p;
        uint64_t bytes;
    } * adapter; // [n_lora] their matrices
    struct share_rule share;            // rows 0: no record makes use of it
    struct rt_graph *graph[2][BUCKETS]; // [1]: of steps whose rows begin alike
    struct cuda_choose *choose; // NULL: no logits are made here
    struct persist *persist;    // NULL: a step of one row is launches
    char note[160];             // on that, a record's kernel for people
};

int cuda_prepare(struct dev *d, struct segment *s, struct err *e);
void cuda_unprepare(struct dev *d, struct segment *s);
/* Brings what s->lora[slot] holds now to the device. */
int cuda_adapt(struct dev *d, struct segment *s, int slot, struct err *e);
/* Starts all launches for so many rows; grids are for at least those. shared: some begin alike. */
int cuda_enqueue(struct dev *d, const struct segment *s, int64_t n_t, int64_t n_s, int64_t n_run,
                 bool shared);
int cuda_bucket(const struct segment *s, int64_t n_t, int64_t n_s); // -1: none

/* A step has ended: how long the device had waited for it, where no prompt was in it. */
void cuda_gap(struct dev *d, uint32_t ticket);

/* As the backend's run, by the graph or the list; or one launch that draws (persist.h). */
int cuda_run_with(struct dev *d, struct segment *s, const struct batch *b,
                  const struct persist_draws *draws);

/* -- share.c -- */

/* Tiles of rows that begin alike (struct step), and own[] of all rows; how many. */
int32_t cuda_share(const struct share_rule *r, const struct batch *b, int32_t (*tile)[4],
                   int32_t *own);

/* -- choose.c -- */

struct prep;
bool cuda_choose_lay(struct prep *p); // false: p->rc says why
void cuda_choose_free(struct dev *d, struct cuda_choose *c);
int cuda_draw(struct dev *d, struct segment *s, const struct draw *in, int n);
int cuda_drawn(struct dev *d, struct segment *s, int ticket, int32_t *id, int n);
uint32_t cuda_draw_parts(const struct dev *d, const struct cuda_choose *c, int n);
int cuda_steps(struct dev *d, struct segment *s, const struct batch *b, const struct draw *in,
               int n);
int cuda_step(struct dev *d, struct segment *s, int ticket, int i, int32_t *id);
void cuda_enough(struct dev *d, struct segment *s, int ticket);

/* -- lower_persist.c -- */

/* Has a step of one row be one launch, where that was asked for and can be. */
void cuda_persist_lay(struct prep *p);
/* draws NULL: a step that draws nothing. */
int cuda_persist_run(struct dev *d, const struct cuda_seg *g, const struct persist_draws *draws);

/* -- weights.c -- */

#define GEMV_WARPS_ENOUGH 16 // of a multiprocessor that ask for weights at once

const struct fmt_kern *cuda_fmt(int fmt); // for rows as in the file; NULL: there are none
const struct fmt_kern *cuda_kern(const struct weight *w); // for where it lies
/* Of a row, or of the rows of a panel. */
int64_t cuda_row_bytes(const struct fmt_kern *k, int fmt, int64_t cols);

/* A kernel's shared memory, its blocks for all columns of the result, and how many warps share some
 * of these: no bit depends on it. units: the device's multiprocessors. */
struct gemv_shape {
    uint32_t shared, grid_y;
    int32_t split;
};
struct gemv_shape cuda_gemv_shape(const struct fmt_launch *f, int64_t cols, int64_t n_out, bool glu,
                                  int units);

/* n bytes of the host's, which may be gone or changed afterwards; -1: rt_error() has the reason.
 * While a piece is on its way, the next is brought from the disk or the page cache. */
int cuda_bring(struct dev *d, void *to, const void *from, uint64_t n);
bool cuda_wants_panels(const struct dev *d, const struct weight *w);
/* part[0] of w, which the host has, as panels in new memory. */
int cuda_repack(struct dev *d, const struct weight *w, struct mem *out, struct err *e);

/* -- lower_attn.c -- */

/* A kernel of attention, k NULL: none fits. */
struct attn_kern {
    const struct rt_kern *k;
    struct attn_shape at;
    uint32_t block, shared, grid_y;
};
struct attn_kern cuda_attn_few(const struct attn_run_args *a, int sm);
/* What few does, by a block of persist.cu: k is the kernel of few. Shared memory that it should
 * have, and may have. */
struct attn_kern cuda_attn_persist(const struct attn_run_args *a, int32_t room, int32_t most);
struct attn_kern cuda_attn_many(const struct attn_run_args *a, int sm);
/* Partials of what rows of several sequences have in common. */
struct attn_kern cuda_attn_shared(const struct attn_run_args *a, int sm);
struct attn_kern cuda_attn_wide(const struct attn_run_args *a, int sm); // with other bits

/* -- lower.c -- */

struct table {
    struct rope_args a;
    int16_t factors;
    float *tab, *freq;
    bool emitted;
};

/* What a segment is prepared with. Records are gone through twice: first to learn sizes. */
struct prep {
    struct dev *d;
    struct segment *s;
    const struct plan *p;
    struct cuda_seg *g;
    struct err *e;
    int rc;
    uint64_t want[SLOTS];
    void *slot[SLOTS];
    float **vec; // [n_w] weights as floats, made when first asked for
    struct table table[64];
    int n_table;
    struct ref packed; // what packed_at holds; v < 0: nothing
    void *packed_at;
    int32_t packed_heads;
    enum fmt_input packed_form;
    struct made {
        int32_t launch, end; // for one row, and the number of launches behind it
        float *out;
        int64_t cols;
        const void *xq, *xh;         // what it was made of
        const struct rt_kern *heads; // the kernel that goes on with heads
    } glu;               // the last one whose kernel can pack its result; out NULL: none
    struct made made[4]; // the last record's matrices whose kernels can go on with heads
    int n_made;
    struct heads_args *heads; // [n_heads] of the device, once they were counted
    int n_heads;
    int32_t sorted; // value whose pairs SLOT_SORT holds, -1: none
    int32_t sorted_per[VARIANTS];
    struct {
        float alibi;
        int32_t n_head;
        const float *dev;
    } slope[8];
    int n_slope;
};

void cuda_prep_fail(struct prep *p, const struct op *op, const char *what);
/* Device memory of the segment; NULL after an error. */
void *cuda_prep_mem(struct prep *p, uint64_t bytes);
/* A launch with a copy of its arguments; never NULL. */
struct launch *cuda_prep_launch(struct prep *p, const struct rt_kern *k, const void *args,
                                int rows);

bool cuda_can(const struct dev *d, const struct plan *p, const struct op *op);
void cuda_lower(struct prep *p, const struct op *op);
int cuda_most_runs(const struct segment *s); // sequences with recurrent state in one step

#endif
