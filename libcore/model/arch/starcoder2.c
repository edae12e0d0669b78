/* starcoder2.c - StarCoder 2: layernorm, biases everywhere, grouped queries, rotated halves. */
#include "model/blocks.h"

static const char *const hf[] = {"Starcoder2ForCausalLM", NULL};

static const struct key_row keys[] = {
    KEYS_SIZES, KEYS_HEADS,
    KEYS_FF,    KEY(REAL, "attention.layer_norm_epsilon", "norm_epsilon", eps, true, 0, 1, 0),
    KEYS_ROPE,  KEY_WINDOW,
    KEYS_END,
};

#define A "model.layers.%d.self_attn."
#define M "model.layers.%d.mlp."
static const struct weight_row weights[] = {
    W_EMBD("model.embed_tokens.weight"),
    W_OUT_NORM("model.norm.weight"),
    W_OUT("lm_head.weight"),
    W_OUT_NORM_BIAS("model.norm.bias"),
    WNORM("attn_norm.weight", "model.layers.%d.input_layernorm.weight"),
    WNORM("attn_norm.bias", "model.layers.%d.input_layernorm.bias"),
    W_QKV(A, NONE, NONE),
    W_QKV_BIAS(A, NONE, NONE),
    W_ATTN_OUT(A "o_proj.weight"),
    W_ATTN_OUT_BIAS(A "o_proj.bias"),
    WNORM("ffn_norm.weight", "model.layers.%d.post_attention_layernorm.weight"),
    WNORM("ffn_norm.bias", "model.layers.%d.post_attention_layernorm.bias"),
    WMAT("ffn_up.weight", M "c_fc.weight", ROWS, FF, EMBD),
    WVEC_OPT("ffn_up.bias", M "c_fc.bias", FF),
    WMAT("ffn_down.weight", M "c_proj.weight", COLS, EMBD, FF),
    WVEC_OPT("ffn_down.bias", M "c_proj.bias", EMBD),
    W_END,
};

static int build(struct builder *b, const struct hparams *h)
{
    const struct self_attn at = {.mode = ROPE_NEOX};
    val x = b_embed(b, W(b, "token_embd", -1), -1, 1.0f);

    for (int l = 0; l < h->n_layer; l++) {
        b_layer(b, l);
        val n = b_layernorm(b, x, W(b, "attn_norm", l), Wb(b, "attn_norm", l), h->eps, 0, B_NONE);
        x = blk_attn_out(b, h, l, n, &at, 1.0f, x);
        n = b_layernorm(b, x, W(b, "ffn_norm", l), Wb(b, "ffn_norm", l), h->eps, 0, B_NONE);
        x = blk_ffn(b, h, l, n, ACT_GELU_TANH, 1.0f, x);
    }
    b_layer(b, -1);
    x = b_layernorm(b, b_take_rows(b, x), W(b, "output_norm", -1), Bopt(b, "output_norm", -1),
                    h->eps, 0, B_NONE);
    blk_logits(b, h, x);
    return b_status(b);
}

const struct arch arch_starcoder2 = {
    .name = "starcoder2", .hf = hf, .keys = keys, .weights = weights, .build = build};
