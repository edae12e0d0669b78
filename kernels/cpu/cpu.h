/* cpu.h - inside the CPU backend: a plan's records as steps of a thread team.
 *
 * prepare.c turns each record into one to four steps and finds out before which of them the team
 * must meet. A step is a function that every member calls; it does the member's share. The run_*.c
 * files hold those functions, the table of cpu_kernels.h the arithmetic.
 */
#ifndef RILL_KERNELS_CPU_CPU_H
#define RILL_KERNELS_CPU_CPU_H

#include "base/thread.h"
#include "kernels/cpu/cpu_kernels.h"
#include "plan/backend.h"
#include "quant/quant.h"

#define CPU_TILE    36864 // floats of one tile of results: 128 rows of a matrix and 288 of x
#define CPU_QUERIES 128   // rows times heads that read a page together
#define CPU_HEADS   16    // heads of one group that do
#define PIECES_EACH 16    // of attention for a member: with fewer, chunks are dealt out
#define CPU_COLS    64    // columns of a state that one member works on at a time

struct dev {
    const struct cpu_kernels *k;
    const struct cpu_tiles *tiles; // NULL: prompt rows go the way of all rows
    struct team *team;
    uint64_t small; // multiplications in a step that are not worth a team
};

/* Columns of a value: row r is at arena + at + r * ld floats. */
struct cpu_val {
    uint64_t at;
    int64_t ld;
    int32_t cols;
    uint8_t rows; // enum row_kind
    bool used;
};

/* A matrix, or a stack of n, with the functions for its format. */
struct cpu_mat {
    int fmt;
    const struct cpu_dot *dot;     // NULL: none
    const struct cpu_groups *wide; // for more rows than the dot's are for; NULL: none
    const uint8_t *w;
    size_t row_bytes;
    uint64_t each; // bytes of one matrix
    int64_t n, rows, cols;
    const float *bias; // [n x bias_each] or NULL
    int64_t bias_each;
};

/* A linear's input: values as they are (slot < 0), or packed rows in a scratch slot, and behind
 * them the same side by side in groups, where the step has many. */
struct cpu_input {
    int slot;
    size_t stride;
    uint64_t groups_at; // from the slot's begin
    size_t group;       // bytes of one; 0: there are none
    uint64_t wide_at;   // likewise wider groups
    size_t wide;
    bool rest; // only the rows behind those that go the second path are there
};

struct cpu_ctx;
struct cpu_step;
typedef void cpu_fn(const struct cpu_ctx *c, const struct cpu_step *s);

struct cpu_step {
    cpu_fn *fn;
    const struct op *op;
    bool barrier; // before it
    int n_m;
    struct cpu_val in[4], out[2];
    struct cpu_mat m[4];
    struct cpu_input x;
    const struct cpu_tiles *tiles; // of prompt rows, which then have their input in xt
    struct cpu_input xt;           // or experts' rows in sorted order
    struct cpu_input to;           // where prompt rows of a result go, as its only reader's xt;
                                   // slot < 0: they go to out[0]
    int slot[2];                   // other scratch: routing order, tables, partials
    uint64_t slot_bytes;           // of slot[0], where a step must know
    const float *vec[6];
    int32_t n_vec; // columns of vec[0]
};

struct cpu_seg {
    struct cpu_step *step;
    int n_step;
    uint8_t *scratch;
    uint64_t bytes;    // of scratch
    uint64_t *slot_at; // [n_slot] offsets in scratch
    int n_slot;
    uint64_t own_at, own_bytes; // each member's private part
    float **vec;                // vectors that had to be converted
    int n_vec;
    uint32_t *next; // [2][n_step] units of each step, of its second path, that members have taken
    uint64_t work;  // multiplications of a row in its matrices
};

/* One run as one member sees it. */
struct cpu_ctx {
    const struct cpu_kernels *k;
    const struct cpu_seg *g;
    const struct segment *seg;
    const struct batch *b;
    struct team *team;
    uint8_t *arena;
    uint8_t *own;
    int64_t n_t, n_s;
    int member, n;
};

int cpu_prepare(struct dev *d, struct segment *s, struct err *e); // prepare.c
void cpu_unprepare(struct segment *s);
bool cpu_can(const struct dev *d, const struct plan *p, const struct op *op);

static inline float *val_row(const struct cpu_ctx *c, const struct cpu_val *v, int64_t row)
{
    return (float *)(c->arena + v->at) + row * v->ld;
}

static inline uint8_t *slot_ptr(const struct cpu_ctx *c, int slot)
{
    return c->g->scratch + c->g->slot_at[slot];
}

/* Member's share [*a, *b) of n things dealt out in units. */
static inline void share(const struct cpu_ctx *c, int64_t n, int64_t unit, int64_t *a, int64_t *b)
{
    int64_t units = (n + unit - 1) / unit;

    *a = units * c->member / c->n * unit;
    *b = units * (c->member + 1) / c->n * unit;
    *a = *a < n ? *a : n;
    *b = *b < n ? *b : n;
}

/* The next piece [*a, *b) of n things, in units, to whoever comes; false: none is left. Each piece
 * is a member's half share of what is left, so they become small towards the end, where members
 * wait for each other: processors are not equally fast, and nobody knows what else they do. No bit
 * depends on who works. */
static inline bool take_of(const struct cpu_ctx *c, uint32_t *next, int64_t n, int64_t unit,
                           int64_t *a, int64_t *b)
{
    const uint32_t units = (uint32_t)((n + unit - 1) / unit), half = 2 * (uint32_t)c->n;
    uint32_t at = __atomic_load_n(next, __ATOMIC_RELAXED), size;

    do {
        if (at >= units)
            return false;
        size = c->n == 1 ? units : (units - at + half - 1) / half;
    } while (!__atomic_compare_exchange_n(next, &at, at + size, true, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    *a = at * unit;
    *b = *a + size * unit < n ? *a + size * unit : n;
    return true;
}

static inline bool take(const struct cpu_ctx *c, const struct cpu_step *s, int64_t n, int64_t unit,
                        int64_t *a, int64_t *b)
{
    return take_of(c, &c->g->next[s - c->g->step], n, unit, a, b);
}

/* Likewise of a step's second path. */
static inline bool take_tiles(const struct cpu_ctx *c, const struct cpu_step *s, int64_t n,
                              int64_t unit, int64_t *a, int64_t *b)
{
    return take_of(c, &c->g->next[c->g->n_step + (s - c->g->step)], n, unit, a, b);
}

static inline int64_t rows_of(const struct cpu_ctx *c, int rows)
{
    switch (rows) {
    case ROWS_T:
        return c->n_t;
    case ROWS_S:
        return c->n_s;
    case ROWS_E:
        return c->n_t * c->seg->plan->n_used;
    default:
        return 1;
    }
}

/* Rows of a group when those of a step behind the first ones lie in such groups, of so many bytes;
 * 0: they do not. */
static inline int in_groups(const struct cpu_ctx *c, const struct cpu_step *s,
                            const struct cpu_groups *g, size_t bytes, int64_t first)
{
    const int64_t n = rows_of(c, s->in[0].rows) - first;

    return bytes && n >= cpu_put_from(g) ? cpu_group(g->most, n) : 0;
}

/* Rows of a step that go its second path: they come first. */
static inline int64_t tiled_rows(const struct cpu_ctx *c, const struct cpu_step *s)
{
    return s->tiles ? c->b->n_p : 0;
}

/* Member's rows of a value; pairs go with their token. */
static inline void share_rows(const struct cpu_ctx *c, int rows, int64_t *a, int64_t *b)
{
    int64_t unit = rows == ROWS_E ? c->seg->plan->n_used : 1;

    share(c, rows_of(c, rows), unit, a, b);
}

/* The steps. run_rows.c: each member works on its own rows. */
cpu_fn run_embed, run_take_rows, run_copy, run_rmsnorm, run_layernorm, run_rope_table, run_rope,
    run_add, run_mul, run_scale, run_act, run_softcap, run_lerp, run_pack, run_pack_rest,
    run_pack_tiles, run_pack_heads;
/* run_linear.c: each member works on its own columns of the result. */
cpu_fn run_linear, run_linear_heads, run_glu;
/* n sums x of row i, columns [r, r + n) of m, which are columns at + those of the result: they get
 * bias, activation, scale and residual. x is used up. */
void linear_finish(const struct cpu_ctx *c, const struct cpu_step *s, const struct cpu_mat *m,
                   int64_t at, float *x, int64_t r, int64_t n, int64_t i);
/* run_tiles.c: the prompt rows of linear and glu on their second path. */
cpu_fn tiles_linear, tiles_glu;
uint64_t tiles_own(const struct cpu_tiles *t);
/* run_attn_tiles.c: the prompt rows of attn on its second path. */
cpu_fn tiles_attn;
/* run_lora.c: each member works on its own rows or columns of the result. */
cpu_fn run_lora, run_steer;
/* run_moe.c */
cpu_fn run_route, run_sort, run_gather, run_pack_sorted, run_moe_glu, run_moe_down;
/* run_attn.c */
cpu_fn run_kv_store, run_attn, run_attn_merge;
/* run_state.c: each member works on its own heads or columns. */
cpu_fn run_conv1d, run_shift, run_ssm_scan, run_rwkv;

/* Floats of an attention partial: max, sum, from PART_AT on dv columns; whole cache lines. */
static inline int64_t part_floats(const struct attn_args *a)
{
    return PART_AT + (a->dv + 15) / 16 * 16;
}

/* Bytes a member needs of its own, and of shared scratch, for a record. */
uint64_t lora_own(const struct cpu_kernels *k, int32_t cols);
uint64_t attn_own(const struct attn_args *a);
uint64_t attn_tiles_own(const struct cpu_tile_attn *t, const struct attn_args *a);
uint64_t moe_down_own(const struct segment *s, const struct op *op);
uint64_t sort_bytes(const struct segment *s, int32_t n_expert);
/* How n packed rows of cols lie in sorted order; returns the bytes of their slot. */
uint64_t sorted_rows(struct cpu_input *x, const struct cpu_dot *d, int64_t cols, uint64_t n,
                     int32_t n_expert);

#endif
