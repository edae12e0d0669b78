/* qwen3.c - Qwen 3: as Qwen 2, without biases, queries and keys normed per head. */
#include "model/blocks.h"

static const char *const hf[] = {"Qwen3ForCausalLM", NULL};

static const struct key_row keys[] = {KEYS_SIZES,  KEYS_HEADS, KEYS_FF,
                                      KEY_RMS_EPS, KEYS_ROPE,  KEYS_END};

#define A "model.layers.%d.self_attn."
static const struct weight_row weights[] = {
    W_EMBD("model.embed_tokens.weight"),
    W_OUT_NORM("model.norm.weight"),
    W_OUT("lm_head.weight"),
    WNORM("attn_norm.weight", "model.layers.%d.input_layernorm.weight"),
    W_QKV(A, NONE, NONE),
    W_QKV_BIAS(A, NONE, NONE),
    WVEC("attn_q_norm.weight", A "q_norm.weight", DK),
    WVEC("attn_k_norm.weight", A "k_norm.weight", DK),
    W_ATTN_OUT(A "o_proj.weight"),
    WNORM("ffn_norm.weight", "model.layers.%d.post_attention_layernorm.weight"),
    W_FFN("model.layers.%d.mlp."),
    W_END,
};

static int build(struct builder *b, const struct hparams *h)
{
    const struct self_attn at = {.mode = ROPE_NEOX, .norm = QK_HEAD};
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

const struct arch arch_qwen3 = {
    .name = "qwen3", .hf = hf, .keys = keys, .weights = weights, .build = build};
