/* hparams.h - the numbers a model file says about its model, read through an architecture's table.
 *
 * Every architecture uses the same struct; its keys[] table says which GGUF key fills which field,
 * between which bounds, and what holds when the key is absent.
 */
#ifndef RILL_MODEL_HPARAMS_H
#define RILL_MODEL_HPARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct gguf;
struct arch;

enum { MAX_LAYER = 512 };

enum rope_scaling { ROPE_SCALE_NONE, ROPE_SCALE_LINEAR, ROPE_SCALE_YARN, ROPE_SCALE_LONG };

/* As files have it in <architecture>.pooling_type. */
enum pooling { POOL_UNSAID = -1, POOL_NONE, POOL_MEAN, POOL_CLS, POOL_LAST, POOL_RANK };

struct hparams {
    int32_t n_layer; // layers that run: those of a draft head are not among them
    int32_t n_nextn; // layers of a draft head, behind the others
    int32_t n_embd;
    int32_t n_vocab; // rows of the token table
    int32_t n_ctx_train;
    float eps; // of the norms

    int32_t n_head[MAX_LAYER];
    int32_t n_head_kv[MAX_LAYER]; // 0: no attention in this layer
    int32_t dk, dv;               // columns per head
    int32_t window;               // 0: none
    int32_t window_every;         // of so many layers the last sees all; 0, 1: as window says
    float attn_scale;             // 0: 1/sqrt(dk)
    float attn_softcap;
    float alibi;
    float clamp_qkv;

    int32_t n_rot;
    float rope_base, rope_base_local; // the second for layers with a window; 0: as the first
    int32_t rope_scaling;             // enum rope_scaling
    float rope_factor;                // stretches positions by this; 0: 1
    float rope_attn; // longrope, YaRN: factor of cos and sin; 0: as the method says
    float rope_ext;  // YaRN; 0: 1
    float beta_fast, beta_slow;
    float yarn_log_mul; // DeepSeek: 0.1 * mscale_all_dim
    int32_t n_ctx_orig; // 0: n_ctx_train
    bool rope_on;       // granitehybrid: positions are rotated at all

    int32_t n_ff[MAX_LAYER];
    int32_t n_expert, n_used;
    int32_t n_ff_exp, n_ff_shexp;
    int32_t n_shared; // shared experts
    int32_t n_dense;  // leading layers without experts
    int32_t n_group, n_group_used;
    int32_t gating; // 0: as the architecture says, 1 softmax, 2 sigmoid, 3 of the chosen
    bool expert_norm;
    float expert_scale;
    bool parallel; // attention and FFN read the same input

    float embd_scale, residual_scale, logit_scale; // 0: 1
    float final_softcap;

    int32_t q_lora, kv_lora; // multi-head latent attention
    int32_t dk_mla, dv_mla;  // columns per head before they are compressed; 0: dk and dv

    int32_t ssm_conv, ssm_inner, ssm_state, ssm_heads, ssm_group;
    int32_t wkv_head; // RWKV: columns of a head

    int32_t pooling; // of vectors: enum pooling
    bool causal;     // bert: said to see only what stands before
    int32_t n_type;  // token types; 0: none
    int32_t n_score; // of a classifier's or reranker's head; 0: none
    int32_t lora_w, lora_a, lora_v, lora_g;
};

enum key_type { KEY_INT, KEY_REAL, KEY_BOOL, KEY_INTS }; // INTS: one per layer, or one for all

struct key_row {
    const char *key; // behind "<architecture>."
    const char *hf;  // where config.json says it; NULL: nowhere
    uint16_t at;     // offset in struct hparams
    uint8_t type;    // enum key_type
    bool need;
    double min, max;
    double def; // when it is absent
};

/* Fills *h from the keys of arch's table, then what follows from them. */
int hparams_read(struct hparams *h, const struct gguf *g, const struct arch *a, struct err *e);

/* Does layer l look back only h->window positions? */
bool hparams_local(const struct hparams *h, int l);

#endif
