/* plan.h - the plan: a model's work for one batch, written once at load.
 *
 * A plan is a flat array of plain records. A record names values (row-major matrices, f32 or i32)
 * and weights by index. Backends run it from first to last; there is no other way to compute.
 * Nothing here knows a kernel or a file.
 */
#ifndef RILL_PLAN_PLAN_H
#define RILL_PLAN_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct buf;

enum op_kind {
#define OP(name, inputs, weights, flops, bytes, text) OP_##name,
#include "plan/ops.def"
#undef OP
    OP_KINDS
};

/* Rows of a value: the batch's tokens, the rows that want logits, token-expert pairs (tokens times
 * experts per token, a token's pairs adjacent in rank order), or one. */
enum row_kind { ROWS_T, ROWS_S, ROWS_E, ROWS_1 };

enum value_type { VAL_F32, VAL_I32 };

struct value {
    uint8_t rows; // enum row_kind
    uint8_t type; // enum value_type
    int32_t cols;
    int32_t born; // record that first writes it
    int32_t dies; // record that last reads it
};

/* Columns [at, at + cols) of a value. v < 0: none. A row's stride is the value's own cols. */
struct ref {
    int32_t v;
    int32_t at;
    int32_t cols;
};

enum act_kind {
    ACT_NONE,
    ACT_SILU,
    ACT_GELU,       // with erf
    ACT_GELU_TANH,  // tanh approximation
    ACT_RELU,
    ACT_RELU2,      // relu(x)^2
    ACT_SIGMOID,
    ACT_TANH,
    ACT_SWIGLU_OAI, // gate and up clamped to limit: g * sigmoid(1.702 g) * (u + 1); only in glu
    ACT_KINDS
};

enum rope_mode { ROPE_NORM, ROPE_NEOX }; // pairs (2i, 2i+1), or (i, i + n_rot/2)
enum gate_kind { GATE_SOFTMAX, GATE_SIGMOID, GATE_SOFTMAX_TOPK }; // last: softmax of the chosen

struct rope_args {
    int32_t n_head;
    int32_t head_in, head_out; // columns from one head to the next, in the input and the output
    int32_t at_in, at_out;     // first rotated column within a head
    int32_t n_rot;             // rotated columns; the others of a head are copied when
                               // head_in == head_out, left alone otherwise
    int32_t mode;              // enum rope_mode
    int32_t n_ctx_orig;        // YaRN: the context the model was trained with
    float base, freq_scale;    // theta_i = pos * freq_scale * base^(-2i/n_rot) / factor_i
    float ext_factor, attn_factor, beta_fast, beta_slow; // YaRN (arXiv 2309.00071); ext 0: none
    bool ramp_exact; // YaRN's first and last blended pair are not rounded outwards (gpt-oss)
};

struct attn_args {
    int32_t kv;           // index into plan.kv
    int32_t n_head, n_kv; // query heads per key/value head: n_head / n_kv
    int32_t dk, dv;       // columns per head of K and V
    int32_t window;       // positions seen, the row's own included; 0: all
    bool v_in_k;          // V is the first dv columns of K (multi-head latent attention)
    float scale;          // of q . k
    float softcap;        // 0: none
    float alibi;          // largest bias of ALiBi; 0: none
};

struct moe_args {
    int32_t n_expert, n_used;
    int32_t gate;              // enum gate_kind
    int32_t n_group, n_group_used; // 0: no groups; ranked by their best expert with GATE_SOFTMAX
                                   // (DeepSeek V2), else by the sum of the two best (V3)
    bool norm;                 // divide the weights by their sum
    int32_t act;
    float scale;               // of the weights
    float limit;               // of ACT_SWIGLU_OAI
};

struct scan_args {
    int32_t n_head, head_dim;
    int32_t n_group, d_state; // ssm_scan
    int32_t width;            // conv1d: taps
    int32_t act;              // conv1d: afterwards
    uint32_t state_at;        // byte offset of this record's state in a slot
    uint32_t state_bytes;
    float eps;                // rwkv: of its group norm
};

/* A plain record. */
struct op {
    uint8_t kind;  // enum op_kind
    uint8_t act;   // linear, glu, mul, act: enum act_kind
    int16_t layer; // -1: outside the layers
    struct ref out[2];
    struct ref in[4];
    int16_t w[12]; // indices of weights, -1: none
    union {
        struct {
            float eps;
            int32_t group; // columns normalized together; 0: all
        } norm;
        struct {
            float scale; // linear: before the residual; embed: of the token's row; scale; softcap
            float limit; // ACT_SWIGLU_OAI
            bool fused;  // glu: w[0] holds gate and up, one after the other
        } lin;
        struct {
            int32_t n_head;
            int32_t head_in, head_out, at_in, at_out, n_in, n_out; // as in rope_args
        } heads;
        struct rope_args rope;
        struct attn_args attn; // also kv_store
        struct moe_args moe;
        struct scan_args scan;
    } a;
};
#ifdef __cplusplus
static_assert(sizeof(struct op) <= 256, "a record is at most 256 bytes");
#else
_Static_assert(sizeof(struct op) <= 256, "a record is at most 256 bytes");
#endif

/* -- weights -- */

enum mem_kind { MEM_HOST, MEM_DEVICE, MEM_PINNED };

/* Memory of a device. p is an address there; host code may follow it only if host is set. */
struct mem {
    void *p;
    uint64_t bytes;
    uint8_t kind; // enum mem_kind
    bool host;
    bool adopted; // someone else's memory: unmem lets go, frees nothing
};

/* A matrix of the model, or a stack of n of them (experts), or a vector (rows 1). Parts: codes,
 * scales, zeros or second scale, permutation; GGUF formats have one part. */
struct weight {
    char name[64];       // as in GGUF: "blk.3.attn_q.weight"
    int32_t fmt;         // enum fmt_id
    int32_t n;           // matrices stacked
    int64_t rows, cols;  // of one matrix; cols is the input's width
    uint8_t split;       // enum split_axis, for tensor parallelism
    struct mem part[4];  // where the model file has them
    void *dev;           // what the backend's load() made of it; NULL: the parts themselves
};

enum split_axis { SPLIT_NONE, SPLIT_ROWS, SPLIT_COLS };

/* -- key/value memory and recurrent state, as the plan describes it -- */

#define KV_PAGE 32 // positions in a page

/* One attention layer's rows in a page of its group. */
struct kv_layer {
    int32_t group;
    int32_t n_kv, dk, dv; // dv 0: V lies in K
    uint32_t at;          // byte offset in the page; K first, V behind
};

/* Layers with equal window and equal bytes per position; a sequence has a page table per group. */
struct kv_group {
    int32_t window; // 0: all positions are kept
    int32_t n_layer;
    uint32_t bytes; // of one page, a multiple of 1024
};

struct plan {
    struct op *op;
    int32_t n_op;
    struct value *value;
    int32_t n_value;
    struct weight *w; // the model's, borrowed
    int32_t n_w;
    struct kv_layer *kv;
    int32_t n_kv;
    struct kv_group *group;
    int32_t n_group;
    int32_t kv_type_k, kv_type_v; // enum fmt_id; a backend can() run some
    uint32_t state_bytes;         // of one recurrent slot; 0: none
    int32_t granule;              // prompts may be cut only at multiples of this
    int32_t n_used;               // experts per token (rows E = rows T * n_used), or 0
    int32_t logits;               // value [S x vocabulary], or -1
    int32_t hidden;               // value [S x width] that logits are made of
    bool encoder;                 // rows see all of their sequence, which runs in one step; hidden
                                  // is the result, logits are scores of it or -1
    int32_t n_ctx;                // positions the plan was built for
};

void plan_free(struct plan *p); // accepts NULL; the weights stay
/* A copy that ends once the hidden rows are there. */
int plan_head(struct plan **out, const struct plan *p, struct err *e);

/* Lays the key/value layers into pages for these types: sets kv[].at and group[].bytes. Fails for a
 * type that cannot hold such rows. */
int plan_kv_layout(struct plan *p, int type_k, int type_v, struct err *e);

/* Bytes of n columns of one position in K or V; 0: this type cannot hold them. */
uint32_t plan_kv_row(int type, int32_t n);

/* -- arena.c: one block of memory for all values -- */

/* Offsets of all values for batches of at most n_t rows, n_s of which want logits. Values that are
 * never alive together share memory. at[] has p->n_value places. Returns the block's bytes. */
uint64_t plan_arena(const struct plan *p, int64_t n_t, int64_t n_s, uint64_t *at);
int64_t plan_rows(const struct plan *p, int rows, int64_t n_t, int64_t n_s);

/* Sets value.born and .dies from the records: b_take and plan_fuse do so. A value no record writes
 * has -1 and takes no memory; logits and hidden live until the next run. */
void plan_lifetimes(struct plan *p);

/* -- fuse.c: pairs of records that one record can do -- */

struct fuse_ask {
    bool (*can)(const void *ctx, const struct op *op);
    const void *ctx;
};
/* Rewrites p by the table; only where can() agrees. Returns how many records went, or negative. */
int plan_fuse(struct plan *p, const struct fuse_ask *ask, struct err *e);

/* -- print.c -- */

/* One line a record; kernel(ctx, op) names the kernel chosen for it (may be NULL). */
void plan_print(const struct plan *p, struct buf *out,
                const char *(*kernel)(const void *ctx, const struct op *op), const void *ctx);

#endif
