/* blocks.h - pieces that several architectures' plans are made of. */
#ifndef RILL_MODEL_BLOCKS_H
#define RILL_MODEL_BLOCKS_H

#include "model/arch.h"

/* blocks_attn.c */

enum qk_norm {
    QK_NONE,
    QK_HEAD,    // rmsnorm of each head
    QK_ROW,     // rmsnorm of all heads together
    QK_HEAD_LN, // layernorm of each head, where the file has its weights
};

struct self_attn {
    enum rope_mode mode;
    bool no_rope;
    enum qk_norm norm; // attn_q_norm, attn_k_norm, before rotation
    bool sinks;        // attn_sinks
    bool ramp_exact;   // see struct rope_args
    float scale;       // 0: h->attn_scale, else 1/sqrt(dk)
};

/* Rotation of a model's heads; local: as layers with a window do it. */
struct rope_args blk_rope(const struct hparams *h, int n_head, bool local);
/* The tensor that divides its frequencies: rope_freqs, or of longrope's two the one for the plan's
 * context; -1: none. */
wref blk_rope_factors(struct builder *b, const struct hparams *h);

/* Attention of layer l over the normed rows x, before the output projection: [T x heads dv]. */
val blk_attn(struct builder *b, const struct hparams *h, int l, val x, const struct self_attn *a);
/* The same and the projection, times scale, plus add (B_NONE: none). */
val blk_attn_out(struct builder *b, const struct hparams *h, int l, val x,
                 const struct self_attn *a, float scale, val add);

/* blocks_encoder.c */

/* Layers of an encoder over the embedded rows x: each part normed behind its residual
 * (attn_output_norm, layer_output_norm). Ends the plan. */
void blk_encoder(struct builder *b, const struct hparams *h, val x, const struct self_attn *a,
                 enum act_kind act);
/* What the architectures of encoders check and put alike. */
int blk_encoder_derive(struct hparams *h, struct err *e);

/* blocks_ffn.c */

/* gate, up and down; or gate and up in one (ffn_up with twice the rows); or up and down alone. */
val blk_ffn(struct builder *b, const struct hparams *h, int l, val x, enum act_kind act,
            float scale, val add);
/* The same with other names: gate, up, down. */
val blk_ffn_named(struct builder *b, int l, val x, const char *const name[3], enum act_kind act,
                  float scale, val add);

struct experts {
    enum gate_kind gate;
    enum act_kind act;
    bool norm;       // divide the weights by their sum
    float scale;     // of the weights; 0: 1
    float limit;     // of ACT_SWIGLU_OAI
    float out_scale; // of the sum; 0: 1
};
/* Router, chosen experts, plus add. */
val blk_moe(struct builder *b, const struct hparams *h, int l, val x, const struct experts *x_args,
            val add);

/* x times the table, or times the token table where a model has no output.weight. */
void blk_logits(struct builder *b, const struct hparams *h, val x);

#endif
