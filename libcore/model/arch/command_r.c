/* command_r.c - Command R: one layernorm without bias before attention and feed-forward, which run
 * side by side; logits scaled. */
#include "model/blocks.h"

static const char *const hf[] = {"CohereForCausalLM", NULL};

static const struct key_row keys[] = {
    KEYS_SIZES, KEYS_HEADS,
    KEYS_FF,    KEY_LN_EPS,
    KEYS_ROPE,  KEY(REAL, "logit_scale", "logit_scale", logit_scale, true, -1e6, 1e6, 1),
    KEYS_END,
};

#define A "model.layers.%d.self_attn."
static const struct weight_row weights[] = {
    W_EMBD("model.embed_tokens.weight"),
    W_OUT_NORM("model.norm.weight"),
    W_OUT("lm_head.weight"),
    WNORM("attn_norm.weight", "model.layers.%d.input_layernorm.weight"),
    W_QKV(A, NONE, NONE),
    W_QKV_BIAS(A, NONE, NONE),
    /* only in the large models; a weight for each column of each head */
    WROW("attn_q_norm.weight", A "q_norm.weight", WR_F32 | WR_OPT, ALWAYS, NONE, NONE, ONE, HEADS,
         DK),
    WROW("attn_k_norm.weight", A "k_norm.weight", WR_F32 | WR_OPT, ALWAYS, NONE, NONE, ONE,
         HEADS_KV, DK),
    W_ATTN_OUT(A "o_proj.weight"),
    W_ATTN_OUT_BIAS(A "o_proj.bias"),
    W_FFN("model.layers.%d.mlp."),
    W_END,
};

static int build(struct builder *b, const struct hparams *h)
{
    const struct self_attn at = {.mode = ROPE_NORM, .norm = QK_HEAD_LN};
    val x = b_embed(b, W(b, "token_embd", -1), -1, 1.0f);

    for (int l = 0; l < h->n_layer; l++) {
        b_layer(b, l);
        val n = b_layernorm(b, x, W(b, "attn_norm", l), -1, h->eps, 0, B_NONE);
        x = blk_attn_out(b, h, l, n, &at, 1.0f, x);
        x = blk_ffn(b, h, l, n, ACT_SILU, 1.0f, x);
    }
    b_layer(b, -1);
    x = b_layernorm(b, b_take_rows(b, x), W(b, "output_norm", -1), Bopt(b, "output_norm", -1),
                    h->eps, 0, B_NONE);
    blk_logits(b, h, x);
    return b_status(b);
}

const struct arch arch_command_r = {
    .name = "command-r", .hf = hf, .keys = keys, .weights = weights, .build = build};
