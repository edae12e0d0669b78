/* cpu_kernels.h - the table of functions an instruction-set level provides.
 *
 * Each isa_<level>.c compiles the .inc files once with its own flags and exports one table. All
 * functions are pure: no allocation, no errors, no state. Rows are contiguous unless a stride is
 * given; sizes are in elements, strides of packed data in bytes. A row's result depends in no bit
 * on how many rows, columns or positions a call was given beside it. out may be the input itself
 * where the names are y and x, and must not overlap it otherwise.
 */
#ifndef RILL_KERNELS_CPU_KERNELS_H
#define RILL_KERNELS_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plan/plan.h"

#define CPU_FMT_MAX    48  // ids of quant/quant.h are below this
#define CPU_CHUNK      512 // positions of an attention partial, counted from position 0
#define PART_AT        16  // floats in front of its columns, which begin a cache line
#define RWKV_MAX       256 // columns of a head in rwkv
#define MOE_GROUPS_MAX 64  // groups of experts

/* Bytes from one part to the next of steps of codes (panel.open): no power of two, for caches'
 * sake. */
static inline int64_t cpu_part_bytes(int64_t steps)
{
    return steps * 512 + 64;
}

/* How a format's rows become panels of a second path's groups (struct cpu_tiles). */
struct cpu_panel {
    /* Columns [c, c1) of rows of n as they lie, for tiles of int8: signed codes, to which off has
     * been added, [8 parts][steps of 256 columns][16 rows][32], cpu_part_bytes from part to part;
     * then, [8][steps][16 rows] each, scales and lines of mins: none; mins; or -dmin and two mins.
     * Rows behind the n_r at w are the last again. NULL: parts have 16 columns, or
     * inputs one scale. */
    void (*open)(char *restrict out, const char *w, size_t row_bytes, int n_r, int64_t c,
                 int64_t c1, int64_t n);
    int min; // such lines
    int off;
    int one; // its id, where 256 inputs have one scale (dot_one512.h); else 0
};

struct cpu_dot;

/* Packed rows side by side, a group at a time, for kernels of many. */
struct cpu_groups {
    int most;                   // rows of a group; 0: none
    int least;                  // rows from which on they serve
    size_t (*bytes)(int64_t n); // of a group of rows of n inputs
    /* Packed rows, stride bytes apart, become numbers [at, at + count) of a group. */
    void (*put)(const void *restrict rows, size_t stride, int count, int64_t n, int at,
                void *restrict group);
    /* y[i*ldy + r] for r in [0, n_r), i in [0, n_x), of rows that lie in groups of per, the first
     * of which begins with the first of them. The same bits as d->rows makes. */
    void (*many)(const struct cpu_dot *d, float *restrict y, int64_t ldy, const void *restrict w,
                 size_t row_bytes, const void *restrict groups, int per, int64_t n, int64_t n_r,
                 int64_t n_x);
    int put_from; // rows from which on they are made: formats that read the same differ; 0: least
};

/* Rows from which on groups are made. */
static inline int cpu_put_from(const struct cpu_groups *g)
{
    return g->put_from ? g->put_from : g->least;
}

/* Rows that go together when n are to: as evenly as may be. */
static inline int cpu_group(int most, int64_t n)
{
    const int64_t groups = (n + most - 1) / most;

    return groups ? (int)((n + groups - 1) / groups) : most;
}

/* Of packed rows those from a to b to groups of per, the first of which begins with row 0. */
static inline void cpu_put_groups(const struct cpu_groups *g, const void *rows, size_t stride,
                                  int64_t n, int per, void *groups, size_t bytes, int64_t a,
                                  int64_t b)
{
    for (int64_t i = a, i1; i < b; i = i1) {
        const int64_t k = i / per;

        i1 = (k + 1) * per < b ? (k + 1) * per : b;
        g->put((const char *)rows + (size_t)i * stride, stride, (int)(i1 - i), n, (int)(i % per),
               (char *)groups + (size_t)k * bytes);
    }
}

/* Matrix times vectors for one weight format (linear.inc). */
struct cpu_dot {
    /* Bytes of a row of n inputs in the form the format reads (f32, or int8 with scales). */
    size_t (*packed)(int64_t n);
    /* Rounds one row of n inputs to that form, once per input whatever reads it. */
    void (*pack)(const float *restrict x, int64_t n, void *restrict out);
    /* y[i*ldy + r] = w[r,:] . x[i,:] for r in [r0, r1), i in [0, n_x). w: rows of row_bytes;
     * x: packed rows of x_bytes. A result depends in no bit on n_x, r0 or r1. */
    void (*rows)(float *restrict y, int64_t ldy, const void *restrict w, size_t row_bytes,
                 const void *restrict x, size_t x_bytes, int64_t n, int64_t r0, int64_t r1,
                 int64_t n_x);
    struct cpu_groups groups;
    const char *name; // "q4_0: avx512vnni"
    struct cpu_panel panel;
};

/* Rows of a matrix times rows of inputs in a cpu_tiles' form. */
struct cpu_tile_job {
    int fmt;
    const void *w, *w2; // of the same format and size, NULL: there is one
    size_t row_bytes;
    const void *x;  // groups of 32 rows: those behind n_x may hold anything
    size_t x_bytes; // of a row
    int64_t n, n_r, n_x;
};

/* Attention of queries that are of one sequence and share a key/value head: n_head of each row,
 * numbered row by row. Nothing a query gets depends on the others. */
struct cpu_attn_job {
    int dk, dv;
    bool v_in_k;
    int n_row, n_head;
    float scale, cap;               // of q . k; cap 0: none
    const float *slope;             // [n_head]; NULL: none
    const int32_t *pos, *from, *to; // [n_row]: the row's own, and those it sees: [from, to)
    void (*softcap)(float *y, const float *x, int64_t n, float c);
    void *own; // 64-byte aligned
};

/* Queries are put one by one, the job begins, spans of positions pass, partials are taken. */
struct cpu_tile_attn {
    int span;                             // positions of a span, whole pages
    int block;                            // queries whose partials are taken together
    size_t (*own)(int dk, int dv, int n); // bytes for n queries
    void (*query)(const struct cpu_attn_job *j, int i, const float *x);
    void (*begin)(const struct cpu_attn_job *j);
    /* Page i of a span, as qk and pv read it. */
    void (*page)(const struct cpu_attn_job *j, int i, const void *k, const void *v, bool half_k,
                 bool half_v);
    /* Positions from base on, a multiple of span, of which so many pages have been put. */
    void (*pages)(const struct cpu_attn_job *j, int32_t base, int n_page);
    /* Partials of queries [b * block, (b + 1) * block), each floats apart, dv rounded up to 16. */
    void (*end)(const struct cpu_attn_job *j, int b, float *part, int64_t each);
};

/* A second path of a level, for prompt rows: other roundings than dot's, and its own form of
 * inputs.
 */
struct cpu_tiles {
    const char *name;
    /* Bytes of a row of n inputs. Rows lie in groups of 32, aligned to 64 bytes; pack: x, rows of n
     * that are ld apart, become rows [at, at + rows) of a group. */
    size_t (*packed)(int64_t n);
    void (*pack)(const float *restrict x, int64_t ld, int64_t n, int at, int rows,
                 void *restrict group);
    size_t own;                    // bytes that rows needs, 64-byte aligned
    const char *(*takes)(int fmt); // "Q4_0: bf16 tiles"; NULL: rows of this format do not pass
    /* y[r*ldy + i] = w[r,:] . x[i,:]; those of w2 behind it, from n_r rounded up to 32 on. y has
     * room for n_r and n_x rounded up to 32, and is filled so. A result depends in no bit on n_r or
     * n_x. */
    void (*rows)(float *restrict y, int64_t ldy, const struct cpu_tile_job *j, void *own);
    /* What rows made of 16 inputs, as rows: out[i*ldo + r] = y[r*ldy + i], r in [0, n_r). */
    void (*back)(float *restrict out, int64_t ldo, const float *restrict y, int64_t ldy,
                 int64_t n_r);
    /* And of 32 inputs, as the first columns of a group: zeros behind n_r up to whole 32. */
    void (*repack)(const float *restrict y, int64_t ldy, int64_t n_r, void *restrict group);
    const struct cpu_tile_attn *attn; // NULL: attention has one path
    struct cpu_groups groups;         // beside a dot's, where panel.open is there; most 0: none
    struct cpu_groups digits;         // those for panel.one
    bool (*works)(void);              // multiplies as it should on this machine
    uint64_t (*peak)(uint64_t n);     // as cpu_kernels' peak
};

/* The groups that a format's inputs make for a second path, whether or not its rows do. */
static inline const struct cpu_groups *cpu_wide(const struct cpu_tiles *t, const struct cpu_dot *d)
{
    const struct cpu_groups *g = t && d->panel.one ? &t->digits : t ? &t->groups : NULL;

    return g && g->most ? g : NULL;
}

/* And those that its rows are multiplied with; NULL where they do not pass. */
static inline const struct cpu_groups *cpu_wide_rows(const struct cpu_tiles *t,
                                                     const struct cpu_dot *d)
{
    return d->panel.open || d->panel.one ? cpu_wide(t, d) : NULL;
}

/* One head of a sequence's rows in ssm_scan; x, dt and y point at the head's first column. */
struct cpu_scan {
    const float *x, *b, *c, *dt; // [n_t] rows
    int64_t ldx, ldb, lddt;      // b and c share ldb
    float *y;
    int64_t ldy;
    float a, d, dt_bias;
    int32_t head_dim, d_state;
    int64_t n_t;
};

/* One head of a sequence's rows in rwkv; all point at the head's first column. */
struct cpu_rwkv {
    const float *r, *w, *k, *v, *a; // [n_t] rows
    int64_t ldx;
    float *y;
    int64_t ldy;
    const float *k_k, *k_a, *r_k, *ln_w, *ln_b; // [head_dim]
    float eps;
    int32_t head_dim;
    int64_t n_t;
};

/* Keys and values that are wanted soon, in the order in which they will be. For each line of its
 * own that it works on a kernel asks for step bytes of them, 64 at most. Processors look ahead
 * within 4 KB, and pages lie further apart; asked for as rows are worked on memory and products go
 * side by side, all at once they do not. In four places more comes than in one. */
struct cpu_part {
    uintptr_t at[4];
    int64_t bytes; // of all four; 0: the last part
};
struct cpu_ask {
    uintptr_t a, b, c, d;        // where; a comes next
    int64_t left;                // bytes of this part
    const struct cpu_part *part; // the next ones
    int64_t step;
};

struct cpu_kernels {
    const char *name;
    struct cpu_dot dot[CPU_FMT_MAX]; // rows NULL: no such format

    /* norm.inc: one row of n, in groups; weights (NULL: none) repeat after n_w columns. */
    void (*rmsnorm)(float *y, const float *x, const float *w, const float *add, int n, int group,
                    int n_w, float eps);
    void (*layernorm)(float *y, const float *x, const float *w, const float *bias, const float *add,
                      int n, int group, int n_w, float eps);

    /* rope.inc: table of one position: [n_rot] cosines, then [n_rot] sines as the rotation uses
     * them; then one row of heads by it. freq: [n_rot/2] radians per position. */
    void (*rope_table)(float *tab, const float *freq, int pos, const struct rope_args *a);
    void (*rope)(float *y, const float *x, const float *tab, const struct rope_args *a);

    /* act.inc: element by element */
    void (*act)(float *y, const float *x, int64_t n, int act);
    void (*mul_act)(float *y, const float *x, const float *b, int64_t n, int act); // x * act(b)
    /* out may be g */
    void (*glu)(float *out, const float *g, const float *u, int64_t n, int act, float limit);
    void (*add)(float *y, const float *x, const float *b, int64_t n);
    void (*scale)(float *y, const float *x, int64_t n, float s);
    void (*softcap)(float *y, const float *x, int64_t n, float c);
    void (*lerp)(float *y, const float *x, const float *b, const float *w, int64_t n);
    /* act(x + bias) * s + add; bias and add may be NULL; x is used up */
    void (*finish)(float *y, float *x, const float *bias, const float *add, int64_t n, int act,
                   float s);
    void (*mul_add)(float *y, const float *x, int64_t n, float s,
                    bool first); // y = (first ? 0 : y) + s x

    /* attn.inc: K of a page is [n_kv][dk][KV_PAGE], V is [n_kv][KV_PAGE][dv]; type F32 or F16,
     * and what kv_packed.inc stores and opens. */
    void (*put_k)(void *page, int type, const float *x, int n_kv, int dk, int at);
    void (*put_v)(void *page, int type, const float *x, int n_kv, int dv, int at);
    /* s[i][0..KV_PAGE) = q[i] . k for m queries; k has dk rows */
    void (*qk)(float *s, int64_t lds, const float *q, int64_t ldq, const void *k, int type, int dk,
               int m, struct cpu_ask *ask);
    /* s[a..b) becomes e^(score - *max); slope > 0: score + slope * (position - row), row being
     * the index in s of the row's own position. Returns the sum. */
    float (*soft)(float *s, int a, int b, float cap, float slope, int row, float *max,
                  struct cpu_ask *ask);
    /* acc[i] += sum of p[i][j] * v_j for j in [a, b) of a chunk; v[j / KV_PAGE] are its pages,
     * with a row for each j */
    void (*pv)(float *acc, int64_t lda, const float *p, int64_t ldp, const void *const *v, int type,
               int dv, int a, int b, int m, struct cpu_ask *ask);
    void (*unfold)(float *v, const void *k, int type, int dv); // [dv][KV_PAGE] to [KV_PAGE][dv]
    /* n_head rows of n columns, of K or of queries, turned so that their products stay. */
    void (*turn)(float *x, int n, int n_head, bool query);
    /* One head's K or V of a page, BF16, Q8_0 or Q4_0, as f32. */
    void (*open)(float *restrict out, const void *restrict head, int type, int n, bool keys);
    /* A partial is max, sum, then acc[dv]; the second is merged into the first. */
    void (*merge)(float *to, const float *part, int dv);
    void (*settle)(float *out, const float *part, int dv, const float *sink);
    /* kv_whole.inc: the same for Q8_0 and Q4_0 as they are, by sums of whole numbers; NULL: there
     * is none. Queries are made whole numbers first, n of them at q, in place. */
    void (*whole_q)(float *q, int type, int64_t n);
    void (*whole_qk)(float *s, int64_t lds, const float *q, int64_t ldq, const void *k, int type,
                     int dk, int m, struct cpu_ask *ask);
    void (*whole_pv)(float *acc, int64_t lda, const float *p, int64_t ldp, const void *const *v,
                     int type, int dv, int a, int b, int m, struct cpu_ask *ask);

    /* moe.inc: tmp has 2 * n_expert places. */
    void (*route)(int32_t *id, float *w, const float *logits, const float *bias, float *tmp,
                  const struct moe_args *a);

    /* ssm.inc, rwkv.inc: state is updated in place. conv: columns [c0, c1) of a sequence's rows;
     * w: [width][ld], state [width - 1][ld] oldest first. */
    void (*conv)(float *out, int64_t ldo, const float *x, int64_t ldx, float *state, const float *w,
                 const float *bias, int64_t ld, int c0, int c1, int width, int64_t n_t, int act);
    void (*scan)(float *state, const struct cpu_scan *a); // [d_state][head_dim]
    void (*rwkv)(float *state, const struct cpu_rwkv *a); // [key][value]

    /* encode.inc: weights to blocks and halves to floats, the same bytes as quant/quant.h's
     * encode_weighted and decode. NULL: no faster way than those. */
    void (*encode[CPU_FMT_MAX])(const float *in, const float *column, float mean2, void *blocks,
                                size_t n_blocks);
    void (*decode_f16)(const void *blocks, float *out, size_t n);

    /* peak.inc: n rounds of the fastest products there are, in registers alone; how many were
     * made. */
    uint64_t (*peak)(uint64_t n);
};

/* The level named by RILL_CPU, or the best one this machine can run; *tiles (which may be NULL) is
 * its second path, NULL when it has none. NULL and *e when a forced level is unknown, was not built
 * or cannot run here. */
const struct cpu_kernels *cpu_detect(const struct cpu_tiles **tiles, struct err *e);

/* Level i of all that were built and can run here, the plainest first; NULL past the end. */
const struct cpu_kernels *cpu_level(int i);

/* The second path of level i of those that have one and can run here; *k is the level's table. */
const struct cpu_tiles *cpu_tiles_level(int i, const struct cpu_kernels **k);

#endif
