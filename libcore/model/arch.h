/* arch.h - what an architecture is: names, a table of keys, a table of weights, and build().
 *
 * The tables are all that the loader, the converter and the tools need to know of a model; build()
 * writes its plan. A new architecture is a file in arch/ and a row of arch.def.
 */
#ifndef RILL_MODEL_ARCH_H
#define RILL_MODEL_ARCH_H

#include "base/slice.h"
#include "model/hparams.h"
#include "plan/build.h"

/* Sizes of weights by name; l is the layer. */
#define DIM_LIST(X)                                                                                \
    X(ONE, 1)                                                                                      \
    X(EMBD, h->n_embd)                                                                             \
    X(VOCAB, h->n_vocab)                                                                           \
    X(CTX, h->n_ctx_train)                                                                         \
    X(HEADS, h->n_head[l])                                                                         \
    X(HEADS_KV, h->n_head_kv[l])                                                                   \
    X(DK, h->dk)                                                                                   \
    X(Q, h->n_head[l] * h->dk)                                                                     \
    X(K, h->n_head_kv[l] * h->dk)                                                                  \
    X(V, h->n_head_kv[l] * h->dv)                                                                  \
    X(QKV, h->n_head[l] * h->dk + h->n_head_kv[l] * (h->dk + h->dv))                               \
    X(O, h->n_head[l] * h->dv)                                                                     \
    X(ROT2, h->n_rot / 2)                                                                          \
    X(FF, h->n_ff[l])                                                                              \
    X(FF2, 2 * h->n_ff[l])                                                                         \
    X(EXPERT, h->n_expert)                                                                         \
    X(FF_EXP, h->n_ff_exp)                                                                         \
    X(FF_SHEXP, h->n_ff_shexp)                                                                     \
    X(Q_LORA, h->q_lora)                                                                           \
    X(KV_LORA, h->kv_lora)                                                                         \
    X(KV_A, h->kv_lora + h->n_rot)                                                                 \
    X(MLA_Q, h->n_head[l] * h->dk_mla)                                                             \
    X(MLA_NOPE, h->dk_mla - h->n_rot)                                                              \
    X(MLA_V, h->dv_mla)                                                                            \
    X(MLA_KV, h->n_head[l] * (h->dk_mla - h->n_rot + h->dv_mla))                                   \
    X(MLA_O, h->n_head[l] * h->dv_mla)                                                             \
    X(SSM_IN, 2 * h->ssm_inner + 2 * h->ssm_group * h->ssm_state + h->ssm_heads)                   \
    X(SSM_CONV, h->ssm_inner + 2 * h->ssm_group * h->ssm_state)                                    \
    X(SSM_TAPS, h->ssm_conv)                                                                       \
    X(SSM_HEADS, h->ssm_heads)                                                                     \
    X(SSM_INNER, h->ssm_inner)                                                                     \
    X(SSM_GROUPS, h->ssm_group)                                                                    \
    X(SSM_GROUP, h->ssm_inner / (h->ssm_group > 0 ? h->ssm_group : 1))                             \
    X(SIX, 6)                                                                                      \
    X(LORA_W, h->lora_w)                                                                           \
    X(LORA_A, h->lora_a)                                                                           \
    X(LORA_V, h->lora_v)                                                                           \
    X(LORA_G, h->lora_g)                                                                           \
    X(TYPES, h->n_type)                                                                            \
    X(SCORES, h->n_score)

enum dim {
#define X(name, size) D_##name,
    DIM_LIST(X)
#undef X
        D_KINDS
};

/* Where a weight exists; l is the layer. */
#define WHEN_LIST(X)                                                                               \
    X(ALWAYS, true)                                                                                \
    X(ATTN, h->n_head_kv[l] > 0)                                                                   \
    X(SSM, h->n_head_kv[l] == 0)                                                                   \
    X(DENSE, h->n_expert == 0 || l < h->n_dense)                                                   \
    X(MOE, h->n_expert > 0 && l >= h->n_dense)                                                     \
    X(SHARED, h->n_expert > 0 && l >= h->n_dense && h->n_ff_shexp > 0)                             \
    X(Q_LORA, h->q_lora > 0)                                                                       \
    X(NO_Q_LORA, h->q_lora == 0)                                                                   \
    X(SCORES, h->n_score > 0)                                                                      \
    X(FIRST, l == 0)                                                                               \
    X(LATER, l > 0)

enum when {
#define X(name, condition) WHEN_##name,
    WHEN_LIST(X)
#undef X
        WHEN_KINDS
};

enum {
    WR_MODEL = 1, // once, not per layer
    WR_OPT = 2,   // may be absent
    WR_F32 = 4,   // read as numbers, not multiplied as a matrix: kept in F32
    WR_COL = 8,   // a vector that files have as a column, one number a row
};

/* What becomes of the Hugging Face tensor (hf_place.h). */
enum transform {
    TR_NONE,
    TR_ROPE_Q, // rows of each head from halves to pairs
    TR_ROPE_K,
    TR_ADD_ONE,    // Gemma's norms are stored around zero
    TR_TRANSPOSE,  // GPT-2's Conv1D, gpt-oss's experts: [inputs x outputs]
    TR_NEG_EXP,    // A = -exp(A_log)
    TR_QKV_HEADS,  // GPT-NeoX: q, k, v interleaved per head
    TR_SPLIT_K,    // DeepSeek: the key half of kv_b_proj, transposed per head
    TR_SPLIT_V,    // and its value half
    TR_FIRST_HALF, // rows of a fused gate and up
    TR_SECOND_HALF,
    TR_EVEN_COLS, // gpt-oss: gate and up alternate, [inputs x outputs]
    TR_ODD_COLS,
    TR_EVEN, // and their biases
    TR_ODD,
    TR_EACH_ROW, // RWKV-7: every row is a tensor of its own (%x in the name)
};

struct weight_row {
    const char *name; // GGUF name, behind "blk.<l>." unless WR_MODEL
    const char *hf;   // %d: layer, %e: expert; NULL: made by other means
    uint8_t flags;
    uint8_t when;      // enum when
    uint8_t transform; // enum transform
    uint8_t split;     // enum split_axis
    uint8_t dim[3];    // enum dim: matrices, rows, columns
};

struct config;

struct arch {
    const char *name;                                // general.architecture
    const char *const *hf;                           // "architectures" of config.json, NULL-ended
    const struct key_row *keys;                      // ended by key NULL
    const struct weight_row *weights;                // ended by name NULL
    int (*derive)(struct hparams *h, struct err *e); // after the keys are read; may be NULL
    /* puts the keys that config.json says otherwise than the table has it (config.h); may be NULL
     */
    int (*config)(struct config *c, struct err *e);
    int (*build)(struct builder *b, const struct hparams *h);
};

/* NULL and *e filled (E_UNSUPPORTED: names it, the nearest one and all there are). */
const struct arch *arch_find(struct slice name, struct err *e);
const struct arch *arch_at(int i);                // in the order of arch.def; NULL behind the last
const struct arch *arch_by_hf(struct slice name); // NULL: none

int64_t dim_size(const struct hparams *h, int dim, int l);
bool when_holds(const struct hparams *h, int when, int l);

/* -- rows many tables share -- */

#define KEY(type_, key_, hf_, field, need_, min_, max_, def_)                                      \
    {                                                                                              \
        .key = key_, .hf = hf_, .at = offsetof(struct hparams, field), .type = KEY_##type_,        \
        .need = need_, .min = min_, .max = max_, .def = def_                                       \
    }
#define MAX_EMBD 262144
#define MAX_CTX  1073741824

#define KEYS_SIZES                                                                                 \
    KEY(INT, "block_count", "num_hidden_layers", n_layer, true, 1, MAX_LAYER, 0),                  \
        KEY(INT, "embedding_length", "hidden_size", n_embd, true, 1, MAX_EMBD, 0),                 \
        KEY(INT, "context_length", "max_position_embeddings", n_ctx_train, true, 1, MAX_CTX, 0)
#define KEYS_HEADS                                                                                 \
    KEY(INTS, "attention.head_count", "num_attention_heads", n_head, true, 1, 4096, 0),            \
        KEY(INTS, "attention.head_count_kv", "num_key_value_heads", n_head_kv, false, 1, 4096, 0), \
        KEY(INT, "attention.key_length", "head_dim", dk, false, 1, 8192, 0),                       \
        KEY(INT, "attention.value_length", "head_dim", dv, false, 1, 8192, 0)
#define KEYS_FF KEY(INTS, "feed_forward_length", "intermediate_size", n_ff, true, 0, 1048576, 0)
#define KEY_RMS_EPS                                                                                \
    KEY(REAL, "attention.layer_norm_rms_epsilon", "rms_norm_eps", eps, true, 0, 1, 0)
#define KEY_CAUSAL KEY(BOOL, "attention.causal", NULL, causal, false, 0, 1, 0)
#define KEY_LN_EPS KEY(REAL, "attention.layer_norm_epsilon", "layer_norm_eps", eps, true, 0, 1, 0)
#define KEYS_ROPE                                                                                  \
    KEY(INT, "rope.dimension_count", NULL, n_rot, false, 2, 8192, 0),                              \
        KEY(REAL, "rope.freq_base", "rope_theta", rope_base, false, 1e-3, 1e12, 10000),            \
        KEY(REAL, "rope.scaling.factor", "rope_scaling.factor", rope_factor, false, 0, 1e6, 0),    \
        KEY(REAL, "rope.scale_linear", NULL, rope_factor, false, 0, 1e6, 0),                       \
        KEY(REAL, "rope.scaling.attn_factor", NULL, rope_attn, false, 0, 1e3, 0),                  \
        KEY(REAL, "rope.scaling.yarn_attn_factor", NULL, rope_attn, false, 0, 1e3, 0),             \
        KEY(REAL, "rope.scaling.yarn_ext_factor", NULL, rope_ext, false, 0, 1e3, 0),               \
        KEY(REAL, "rope.scaling.yarn_beta_fast", "rope_scaling.beta_fast", beta_fast, false, 0,    \
            1e4, 32),                                                                              \
        KEY(REAL, "rope.scaling.yarn_beta_slow", "rope_scaling.beta_slow", beta_slow, false, 0,    \
            1e4, 1),                                                                               \
        KEY(INT, "rope.scaling.original_context_length",                                           \
            "rope_scaling.original_max_position_embeddings", n_ctx_orig, false, 1, MAX_CTX, 0)
#define KEYS_EXPERTS                                                                               \
    KEY(INT, "expert_count", "num_local_experts", n_expert, false, 0, 4096, 0),                    \
        KEY(INT, "expert_used_count", "num_experts_per_tok", n_used, false, 0, 256, 0),            \
        KEY(INT, "expert_feed_forward_length", "moe_intermediate_size", n_ff_exp, false, 0,        \
            1048576, 0)
#define KEYS_SCALES                                                                                \
    KEY(REAL, "embedding_scale", "embedding_multiplier", embd_scale, false, -1e6, 1e6, 1),         \
        KEY(REAL, "residual_scale", "residual_multiplier", residual_scale, false, -1e6, 1e6, 1),   \
        KEY(REAL, "logit_scale", "logits_scaling", logit_scale, false, -1e6, 1e6, 1)
#define KEY_ATTN_SCALE(hf) KEY(REAL, "attention.scale", hf, attn_scale, false, 0, 1e6, 0)
#define KEY_WINDOW                                                                                 \
    KEY(INT, "attention.sliding_window", "sliding_window", window, false, 0, MAX_CTX, 0)
#define KEYS_END                                                                                   \
    {                                                                                              \
        .key = NULL                                                                                \
    }

#define WROW(name_, hf_, flags_, when_, tr_, split_, n_, r_, c_)                                   \
    {                                                                                              \
        .name = name_, .hf = hf_, .flags = flags_, .when = WHEN_##when_, .transform = TR_##tr_,    \
        .split = SPLIT_##split_, .dim = {                                                          \
            D_##n_,                                                                                \
            D_##r_,                                                                                \
            D_##c_                                                                                 \
        }                                                                                          \
    }
/* A matrix, and a vector, of every layer. */
#define WMAT(name, hf, split, r, c) WROW(name, hf, 0, ALWAYS, NONE, split, ONE, r, c)
#define WVEC(name, hf, c)           WROW(name, hf, WR_F32, ALWAYS, NONE, NONE, ONE, ONE, c)
#define WVEC_OPT(name, hf, c)       WROW(name, hf, WR_F32 | WR_OPT, ALWAYS, NONE, NONE, ONE, ONE, c)
#define WNORM(name, hf)             WVEC(name, hf, EMBD)
#define WGEMMA(name, hf)            WROW(name, hf, WR_F32, ALWAYS, ADD_ONE, NONE, ONE, ONE, EMBD)

#define W_EMBD(hf) WROW("token_embd.weight", hf, WR_MODEL, ALWAYS, NONE, ROWS, ONE, VOCAB, EMBD)
#define W_TOKEN_TYPES(hf)                                                                          \
    WROW("token_types.weight", hf, WR_MODEL | WR_OPT, ALWAYS, NONE, NONE, ONE, TYPES, EMBD)
#define W_EMBD_NORM(hf)                                                                            \
    WROW("token_embd_norm.weight", hf ".weight", WR_MODEL | WR_F32, ALWAYS, NONE, NONE, ONE, ONE,  \
         EMBD),                                                                                    \
        WROW("token_embd_norm.bias", hf ".bias", WR_MODEL | WR_F32, ALWAYS, NONE, NONE, ONE, ONE,  \
             EMBD)
#define W_OUT_NORM(hf)                                                                             \
    WROW("output_norm.weight", hf, WR_MODEL | WR_F32, ALWAYS, NONE, NONE, ONE, ONE, EMBD)
#define W_OUT_NORM_BIAS(hf)                                                                        \
    WROW("output_norm.bias", hf, WR_MODEL | WR_F32, ALWAYS, NONE, NONE, ONE, ONE, EMBD)
#define W_OUT(hf) /* absent: the token table */                                                    \
    WROW("output.weight", hf, WR_MODEL | WR_OPT, ALWAYS, NONE, ROWS, ONE, VOCAB, EMBD)
#define W_QKV(p, tr_q, tr_k)                                                                       \
    WROW("attn_q.weight", p "q_proj.weight", 0, ATTN, tr_q, ROWS, ONE, Q, EMBD),                   \
        WROW("attn_k.weight", p "k_proj.weight", 0, ATTN, tr_k, ROWS, ONE, K, EMBD),               \
        WROW("attn_v.weight", p "v_proj.weight", 0, ATTN, NONE, ROWS, ONE, V, EMBD)
#define W_QKV_BIAS(p, tr_q, tr_k)                                                                  \
    WROW("attn_q.bias", p "q_proj.bias", WR_F32 | WR_OPT, ATTN, tr_q, ROWS, ONE, ONE, Q),          \
        WROW("attn_k.bias", p "k_proj.bias", WR_F32 | WR_OPT, ATTN, tr_k, ROWS, ONE, ONE, K),      \
        WROW("attn_v.bias", p "v_proj.bias", WR_F32 | WR_OPT, ATTN, NONE, ROWS, ONE, ONE, V)
#define W_ATTN_OUT(hf) WROW("attn_output.weight", hf, 0, ATTN, NONE, COLS, ONE, EMBD, O)
#define W_ATTN_OUT_BIAS(hf)                                                                        \
    WROW("attn_output.bias", hf, WR_F32 | WR_OPT, ATTN, NONE, NONE, ONE, ONE, EMBD)
#define W_FFN(p)                                                                                   \
    WROW("ffn_gate.weight", p "gate_proj.weight", 0, DENSE, NONE, ROWS, ONE, FF, EMBD),            \
        WROW("ffn_up.weight", p "up_proj.weight", 0, DENSE, NONE, ROWS, ONE, FF, EMBD),            \
        WROW("ffn_down.weight", p "down_proj.weight", 0, DENSE, NONE, COLS, ONE, EMBD, FF)
#define W_EXPERTS(router, gate, up, down)                                                          \
    WROW("ffn_gate_inp.weight", router, 0, MOE, NONE, NONE, ONE, EXPERT, EMBD),                    \
        WROW("ffn_gate_exps.weight", gate, 0, MOE, NONE, ROWS, EXPERT, FF_EXP, EMBD),              \
        WROW("ffn_up_exps.weight", up, 0, MOE, NONE, ROWS, EXPERT, FF_EXP, EMBD),                  \
        WROW("ffn_down_exps.weight", down, 0, MOE, NONE, COLS, EXPERT, EMBD, FF_EXP)
#define W_SHARED(p)                                                                                \
    WROW("ffn_gate_shexp.weight", p "gate_proj.weight", 0, SHARED, NONE, ROWS, ONE, FF_SHEXP,      \
         EMBD),                                                                                    \
        WROW("ffn_up_shexp.weight", p "up_proj.weight", 0, SHARED, NONE, ROWS, ONE, FF_SHEXP,      \
             EMBD),                                                                                \
        WROW("ffn_down_shexp.weight", p "down_proj.weight", 0, SHARED, NONE, COLS, ONE, EMBD,      \
             FF_SHEXP)
/* The same where the original has gate and up in one tensor. */
#define W_EXPERTS_FUSED(router, gate_up, down)                                                     \
    WROW("ffn_gate_inp.weight", router, 0, MOE, NONE, NONE, ONE, EXPERT, EMBD),                    \
        WROW("ffn_gate_exps.weight", gate_up, 0, MOE, FIRST_HALF, ROWS, EXPERT, FF_EXP, EMBD),     \
        WROW("ffn_up_exps.weight", gate_up, 0, MOE, SECOND_HALF, ROWS, EXPERT, FF_EXP, EMBD),      \
        WROW("ffn_down_exps.weight", down, 0, MOE, NONE, COLS, EXPERT, EMBD, FF_EXP)
#define W_SHARED_FUSED(p)                                                                          \
    WROW("ffn_gate_shexp.weight", p "input_linear.weight", 0, SHARED, FIRST_HALF, ROWS, ONE,       \
         FF_SHEXP, EMBD),                                                                          \
        WROW("ffn_up_shexp.weight", p "input_linear.weight", 0, SHARED, SECOND_HALF, ROWS, ONE,    \
             FF_SHEXP, EMBD),                                                                      \
        WROW("ffn_down_shexp.weight", p "output_linear.weight", 0, SHARED, NONE, COLS, ONE, EMBD,  \
             FF_SHEXP)
#define W_ROPE_FREQS                                                                               \
    WROW("rope_freqs.weight", NULL, WR_MODEL | WR_OPT | WR_F32, ALWAYS, NONE, NONE, ONE, ONE, ROT2)
#define W_ROPE_FACTORS                                                                             \
    WROW("rope_factors_long.weight", NULL, WR_MODEL | WR_OPT | WR_F32, ALWAYS, NONE, NONE, ONE,    \
         ONE, ROT2),                                                                               \
        WROW("rope_factors_short.weight", NULL, WR_MODEL | WR_OPT | WR_F32, ALWAYS, NONE, NONE,    \
             ONE, ONE, ROT2)
#define W_END                                                                                      \
    {                                                                                              \
        .name = NULL                                                                               \
    }

#endif
