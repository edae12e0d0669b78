/* kern.h - the kernels and what they take: structures that host and device lay out alike.
 *
 * All pointers are device addresses. How each kernel keeps a row's bytes apart from what else is in
 * the batch is said where it is defined.
 */
#ifndef RILL_KERNELS_CUDA_KERN_H
#define RILL_KERNELS_CUDA_KERN_H

#include "kernels/cuda/rt.h"
#include "plan/backend.h"
#include "plan/batch.h"
#include "plan/plan.h"
#include "quant/fmt.h"

#define ATTN_THREADS  128
#define ATTN_ROWS     16 // queries that a product of attention takes at once (attn.cuh)
#define ATTN_SPLIT    32 // rows of a step up to which several blocks share one
#define MERGE_CHUNKS  64 // chunks of positions that are merged at a time
#define MERGE_SHARED  8528
#define GEMV_THREADS  128 // four warps, a row of the matrix each
#define GEMV_MANY     8   // rows of inputs for which a weight is read once
#define PANEL         4   // rows of a matrix that panel.cuh keeps together
#define GEMM_THREADS  256
#define SMALL_THREADS 256
#define SMALL_COLS    32
#define RING_THREADS  512 // a block a multiprocessor (ring.cuh)
#define RING_SHARED   222208
#define GEMM_COLS     128 // columns of the result that a block makes with the tensor cores
#define GEMM_ROWS     64  // and for as many rows of inputs
#define GEMM_SHARED   36864
#define HALF_THREADS  256 // matrices of 16 bits a weight: eight warps,
#define HALF_COLS     16  // which make as many columns
#define HALF_ROWS     8   // for as many rows of inputs
#define HALF_SHARED   49152
#define WIDE_THREADS  384 // a warpgroup copies, two multiply (wide.cu)
#define WIDE_COLS     128
#define WIDE_ROWS     256
#define WIDE_SHARED   198656
#define MAP_THREADS   128
#define MAP_COLS      1024 // columns that a block of an element-wise kernel takes at least
#define ROUTE_GROUPS  64
#define SORT_THREADS  256
#define RWKV_COLS     256
#define CUDA_SLOTS    4096 // rows of the page tables, at most
#define DRAW_THREADS  1024
#define DRAW_LANES    1024 // in which a sum over a row is made, whatever the threads
#define DRAW_SORT     2048 // candidates that a draw can put in order
#define DRAW_SHARED   49152
#define DRAW_ROWS     32 // of a launch
#define DRAW_PARTS    32 // blocks that a row is dealt to, at most

/* Row r of a value is p + r * ld. p NULL: none. */
struct view {
    float *p;
    int64_t ld;
};

/* The adapters of a row: places in the table of them, -1: none, and how much of each. */
struct lora_use {
    int32_t slot[LORA_MIX];
    float scale[LORA_MIX];
};

/* What changes from step to step, in one block of device memory; its places never do. */
struct step {
    const int32_t *n;    // [6] rows T, rows S, runs, whether embd holds rows, tiles of rows that
                         // begin alike, the row whose partials come first
    const int32_t *id;   // [T] token; -1-s: last[s]
    const int32_t *last; // [CUDA_SLOTS] what each slot drew last
    const int32_t *pos;  // [T]
    const int32_t *rot;  // [T] rotary position
    const int32_t *see;  // [T] last position the row may see
    const int32_t *type; // [T] token type
    const int32_t *slot; // [T] row of the page tables
    const int32_t *out;  // [S]
    const int32_t *own;  // [T] the first partial that is not made for several sequences at once
    const int32_t *tile; // [][4] rows that begin alike: first, end, partials in common, and those
                         // of the tiles before (cuda_share)
    const int32_t *run;  // [T][4] rows of one sequence: first, end, state slots read and written
    const float *embd;   // [T x width]
    const struct lora_use *use; // [T], NULL: no record wants them
};

/* 32 inputs as quantized weights read them: x ~= d * q. */
struct q32 {
    int8_t q[32];
    float d;
    float sum_32;    // d times the sum of the codes
    float sum_16[2]; // the same of each half
};

/* 32 inputs as weights of 16 bits read them: x ~= hi + lo, both bf16. */
struct x16 {
    uint16_t hi[32], lo[32];
};

struct pack_args {
    struct step s;
    struct view x;
    struct q32 *to;          // [rows][n_head][cols / 32]
    struct x16 *halves;      // or these, the last filled up with zeros
    int64_t cols;            // of one head
    int32_t rows, n_used;    // enum row_kind
    int32_t n_head, head_in; // heads lie head_in columns apart
};

struct mat {
    const uint8_t *w;
    const float *bias;
    int64_t rows;
    int64_t at; // its first column in the result
};

enum gemv_mode { GEMV_ROWS, GEMV_HEADS, GEMV_PAIRS };

struct gemv_args {
    struct step s;
    struct view x;        // inputs as they are
    const struct q32 *xq; // or packed: a row has cols / 32 for each head
    const struct x16 *xh; // or in halves: likewise, rounded up
    struct view out, add;
    struct view gate; // of a glu whose gate was made by a launch before
    struct mat m[4];  // side by side; glu: gate and up
    int32_t n_m, glu;
    int64_t cols, row_bytes;
    int64_t each, bias_each; // from one matrix of a stack to the next
    int32_t mode, rows, n_used;
    int32_t act;
    float scale, limit;
    int32_t n_head, head_in, head_out; // GEMV_HEADS
    /* one row: what is done with columns of the result by the last block that makes some of them
     * (tickets of which are 0): a group of 32 is packed, or a head goes where it is wanted */
    struct q32 *to;
    struct x16 *halves;
    const struct heads_args *heads;
    int32_t head, head_cols; // of the result's first column, and of each head
    int32_t *ticket;
    int32_t together;             // 2^together rows of the matrix lie together and are row_bytes
    int32_t split;                // warps that share columns of the result
    int32_t div;                  // GEMV_PAIRS: the input's row is the pair's number / div
    const int32_t *n_tile, *tile; // [1], [tiles][3] expert, first place in pair, count
    const int32_t *pair;
};

/* Rows of a table: token's, position's (added to out), or all of them. */
enum fetch_mode { FETCH_TOKEN, FETCH_POSITION, FETCH_TYPE, FETCH_ALL };
struct fetch_args {
    struct step s;
    const uint8_t *w;
    int64_t row_bytes, cols;
    struct view out;
    float scale;
    int32_t mode;
};

/* Rows in the file's order to panels (panel.cuh). */
struct repack_args {
    const uint8_t *from;
    uint8_t *to;
    int64_t cols, row_bytes, panel_bytes;
};

/* A kernel with what a block of it makes: columns of the result for rows of inputs. */
struct fmt_launch {
    struct rt_kern k;
    int32_t rows, cols;
    uint32_t block, shared;
    int32_t sums; // rows of inputs whose chains lie in shared memory (panel.cuh); 0: none do
};

enum fmt_input { INPUT_PLAIN, INPUT_Q32, INPUT_X16 };

/* The kernels of a format: for one row of inputs, for a few, and for many, which make half the
 * columns of gate and up (k.name NULL: `many` does). */
struct fmt_kern {
    struct fmt_launch few, many, tiles;
    struct rt_kern fetch;
    enum fmt_input input;
    struct rt_kern repack; // k.name NULL: rows lie as in the file
    int32_t slice;         // bytes of 256 columns of a panel's rows
    struct rt_kern heads;  // few, with heads behind it; name NULL: there is none
};

struct norm_args {
    struct step s;
    struct view x, add, out;
    const float *w, *b;
    int32_t group, n_w;
    float eps;
    int32_t center; // layernorm
    int32_t rows, n_used;
    struct q32 *to;     // the result packed too, where a row is one group
    struct x16 *halves; // or in halves
};

struct rope_table_args {
    struct step s;
    float *tab;        // [T][2 n_rot]
    const float *freq; // [n_rot / 2]
    struct rope_args r;
};

struct rope_run_args {
    struct step s;
    struct view x, out;
    const float *tab;
    struct rope_args r;
};

enum map_kind { MAP_ADD, MAP_MUL, MAP_SCALE, MAP_ACT, MAP_SOFTCAP, MAP_COPY, MAP_LERP, MAP_TAKE };
struct map_args {
    struct step s;
    struct view x, b, c, out;
    const float *w;
    int64_t cols;
    int64_t in_cols; // lerp: of a and b
    float scale;
    int32_t kind, act, rows, n_used;
};

/* A layer's place in key/value memory: K of a page is [n_kv][KV_PAGE][dk], V is
 * [n_kv][KV_PAGE][dv]; for formats of blocks a head's codes come first, then its scales. */
struct kv_args {
    uint8_t *pool;
    const int32_t *table; // of the layer's group: [max_seq][max_page]
    int32_t max_page;
    uint32_t at, v_at;
    int32_t type_k, type_v;
    int32_t n_kv, dk, dv;
    int32_t turned; // K and queries (attn.cu)
};

struct store_args {
    struct step s;
    struct kv_args kv;
    struct view k, v;
};

/* Heads that are normed (w not NULL), rotated, and stored where they are keys. */
struct head_part {
    struct view x, out;
    const float *w, *tab;
    int32_t n_w;
    float eps;
    struct rope_args r;
};

struct heads_args {
    struct step s;
    struct head_part q, k;
    struct kv_args kv;
    struct view v;
};

/* What a block of attention makes, and how its shared memory lies: offsets in bytes. */
struct attn_shape {
    int32_t heads, per; // query heads, and rows of one sequence
    int32_t subs;       // blocks that share the query heads of a key/value head
    int32_t n_stage, stage, stage_v; // pages on their way; where V begins in one
    int32_t by_k, by_v; // 2^20 / pieces of 16 bytes that a row is in panels, rounded up
    int32_t parts, parts_k, parts_v; // numbers of 16 bits that one is taken apart into
    int32_t part_k, part_v;          // bytes of such a part of a tile
    int32_t unpack_k, unpack_v;      // whether it is not the stage that is multiplied with,
    int32_t at_k, at_v;              // but what is unpacked to here
    int32_t at_q, part_q;            // ATTN_ROWS queries
    int32_t at_many, part_many;      // the queries of all warps
    int32_t at_p, part_p, ld_p;      // e^score of ATTN_ROWS queries
    int32_t at_max, at_scale, at_scratch;
};

struct attn_run_args {
    struct step s;
    struct kv_args kv;
    struct view q, out;
    const float *sink, *slope;
    float *part;        // [rows][n_head][n_chunk][dv + 2]; NULL: rows are never shared
    struct q32 *to;     // the result packed too, where heads are whole groups of 32
    struct x16 *halves; // or in halves
    int32_t *ticket;    // [tiles][blocks a tile], all 0: who comes last merges
    int32_t n_chunk, n_split; // n_split: blocks that share a row where it is the only one
    int32_t n_head, dk, dv, window, v_in_k;
    int32_t apart;  // few: only sequences all rows of which a tile can have
    int32_t shared; // few: partials that rows have in common were made by a launch before
    float scale, softcap;
    struct attn_shape at;
};

/* A partial of attention is of the positions of a chunk: 512 each up to position 8,192, from there
 * on an eighth of a power of two, so that there are 8 more each time the text doubles. */
#ifdef __CUDACC__
#define BOTH_SIDES __host__ __device__
#else
#define BOTH_SIDES
#endif
static inline BOTH_SIDES int32_t attn_chunk_of(int32_t pos)
{
    int32_t k = 0;

    for (int32_t p = pos >> 13; p; p >>= 1)
        k++;
    return k ? 16 + 8 * (k - 1) + (pos >> (9 + k)) - 8 : pos >> 9;
}

static inline BOTH_SIDES int32_t attn_chunk_at(int32_t c) // its first position
{
    return c < 16 ? c << 9 : (8 + c % 8) << (10 + (c - 16) / 8);
}

struct route_args {
    struct step s;
    struct view logits;
    const float *bias;
    int32_t *id; // [T][n_used]
    float *w;    // [T][n_used]
    struct moe_args m;
};

struct sort_args {
    struct step s;
    const int32_t *id;
    int32_t n_expert, n_used, per; // per: pairs in a tile
    int32_t *n_tile, *tile, *pair;
};

struct combine_args {
    struct step s;
    const float *x; // [E][cols]
    const float *w; // [E]
    struct view add, out;
    int64_t cols;
    int32_t n_used;
    float scale;
};

/* An adapter's pair for one matrix, or in a what is added behind a layer; rank 0: none. */
struct lora_pair {
    const float *a, *b; // [rank x cols], [columns of the result x rank]
    int32_t rank;
    float scale;
};

struct lora_args {
    struct step s;
    const struct lora_pair *pair; // of slot i at pair + i * n_pair
    int64_t n_pair;
    float *low; // [rows][LORA_MIX][LORA_RANK] A x
    struct view x, out;
    int64_t cols, out_cols;
    int32_t rows, n_used;
};

struct state_args {
    struct step s;
    uint8_t *state; // [slots][slot_bytes], this record's bytes at state_at
    uint8_t *spare; // [runs][state_bytes]: where states go that nobody keeps
    uint64_t slot_bytes;
    struct scan_args a;
    struct view x, dt, out;
    const float *w[5];
    int64_t cols;
};

/* A draw: struct draw, its lists at places of arrays. */
struct draw_row {
    int32_t row; // < 0: the host draws
    int32_t slot;
    int32_t edit, n_edit;
    int32_t mask, n_mask; // n_mask -1: all may come
    int32_t late;         // so many of what the slot drew last count, too
    struct draw_rule rule;
};

/* Several blocks a row: the largest of each one's part of the vocabulary. */
struct draw_part {
    uint64_t best;
    int32_t bad;
};

struct draw_from {
    const float *logits;
    int64_t ld;
    const struct draw_edit *edit;
    const uint32_t *mask;   // [masks][n_word]
    float *work;            // [rows][n_word * 32]
    struct draw_part *part; // [rows][DRAW_PARTS]
    int32_t *ticket;        // [rows], all 0
    int32_t *out;           // pinned memory of the host
    int32_t *last;          // by slot; k_draw: NULL: nobody wants to know
    int32_t n_vocab, n_word;
};

struct draw_args {
    struct draw_from from;
    struct draw_row row[DRAW_ROWS]; // late: 0 or 1
};

/* Memory read and nothing else. */
struct read_args {
    const struct words {
        uint32_t w[4];
    } * p; // [n]
    int64_t n;
    uint32_t *out; // written if the sum is a number that does not come up
};

#ifdef __cplusplus
extern "C" {
#endif
extern const struct rt_kern kern_draw, kern_read;
extern const struct rt_kern kern_pack, kern_norm, kern_rope_table, kern_rope_run, kern_map;
extern const struct rt_kern kern_heads, kern_store;
/* Attention by few queries a block (attn.cu), and by many (attn_many.cu, attn_wide.cu). */
enum attn_few { FEW_HALF, FEW_HALF_LARGE, FEW_PARTS, FEW_PARTS_LARGE, FEW_KERNS };
enum attn_many { MANY_HALF_64, MANY_HALF_128, MANY_HALF_256, MANY_PARTS, MANY_KERNS };
enum attn_wide { WIDE_64, WIDE_128, WIDE_KERNS };
extern const struct rt_kern kern_attn_few[FEW_KERNS], kern_attn_many[MANY_KERNS];
extern const struct rt_kern kern_attn_shared[MANY_KERNS]; // partials of rows that begin alike
extern const struct rt_kern kern_route, kern_sort, kern_combine;
extern const struct rt_kern kern_lora_low, kern_lora_add, kern_steer;
extern const struct rt_kern kern_conv, kern_shift, kern_scan, kern_rwkv;

const struct rt_kern *attn_wide(void); // [WIDE_KERNS] on sm_90 alone, with other bits; NULL: none
/* One table of formats a file; NULL: it does not have this one. */
const struct fmt_kern *gemv_half(int fmt);
const struct fmt_kern *gemv_plain(int fmt);
const struct fmt_kern *gemv_small(int fmt);
const struct fmt_kern *gemv_large(int fmt);
const struct fmt_kern *gemv_points(int fmt);
const struct fmt_kern *gemv_panels(int fmt); // of matrices that were repacked
/* For up to 8, 16 and 32 rows of inputs: each weight is read once. */
const struct fmt_launch *gemv_half_some(int fmt);
const struct fmt_launch *gemv_small_panels(int fmt);
/* For many rows of inputs, on sm_90 alone, with other bits than the others; NULL: none. */
const struct fmt_launch *gemv_wide(int fmt, int64_t cols);
/* For one row of inputs: through rings, [0] by pieces, [1] in bulk (from sm_90 on). */
const struct fmt_launch *gemv_rings(int fmt);
#ifdef __cplusplus
}
#endif
#endif
