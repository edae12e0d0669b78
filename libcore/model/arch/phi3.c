/* phi3.c - Phi 3 and Phi 4 (mini): one matrix for queries, keys and values, one for gate and up;
 * longrope. */
#include "model/blocks.h"

static const char *const hf[] = {"Phi3ForCausalLM", NULL};

static const struct key_row keys[] = {
    KEYS_SIZES, KEYS_HEADS, KEYS_FF, KEY_RMS_EPS, KEYS_ROPE, KEY_WINDOW, KEYS_END,
};

#define A "model.layers.%d.self_attn."
#define M "model.layers.%d.mlp."
static const struct weight_row weights[] = {
    W_EMBD("model.embed_tokens.weight"),
    W_OUT_NORM("model.norm.weight"),
    W_OUT("lm_head.weight"),
    W_ROPE_FACTORS,
    WNORM("attn_norm.weight", "model.layers.%d.input_layernorm.weight"),
    WMAT("attn_qkv.weight", A "qkv_proj.weight", NONE, QKV, EMBD),
    W_ATTN_OUT(A "o_proj.weight"),
    WNORM("ffn_norm.weight", "model.layers.%d.post_attention_layernorm.weight"),
    WMAT("ffn_up.weight", M "gate_up_proj.weight", NONE, FF2, EMBD),
    WMAT("ffn_down.weight", M "down_proj.weight", COLS, EMBD, FF),
    W_END,
};

static int build(struct builder *b, const struct hparams *h)
{
    const struct self_attn at = {.mode = ROPE_NEOX};
    val x = b_embed(b, W(b, "token_embd", -1), -1, 1.0f);

    for (int l = 0; l < h->n_layer; l++) {
        b_layer(b, l);
        val n = b_rmsnorm(b, x, W(b, "attn_norm", l), h->eps, 0, B_NONE);
        x = blk_attn_out(b, h, l, n, &at, 1.0f, x);
        n = b_rmsnorm(b, x, W(b, "ffn_norm", l), h->eps, 0, B_NONE);
        x = blk_ffn(b, h, l, n, ACT_SILU, 1.0f, x);
    }
    b_layer(b, -1);
    x = b_rmsnorm(b, b_take_rows(b, x), W(b, "output_norm", -1), h->eps, 0, B_NONE);
    blk_logits(b, h, x);
    return b_status(b);
}

const struct arch arch_phi3 = {
    .name = "phi3", .hf = hf, .keys = keys, .weights = weights, .build = build};
