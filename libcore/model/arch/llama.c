/* llama.c - Llama and what is built like it: Mistral, Ministral, Mixtral, TinyLlama, SmolLM, Yi. */
#include "model/blocks.h"

static const char *const hf[] = {"LlamaForCausalLM", "MistralForCausalLM", "MixtralForCausalLM",
                                 "LLaMAForCausalLM", "YiForCausalLM",      NULL};

static const struct key_row keys[] = {
    KEYS_SIZES, KEYS_HEADS, KEYS_FF, KEY_RMS_EPS, KEYS_ROPE, KEYS_EXPERTS, KEY_WINDOW, KEYS_END,
};

#define P "model.layers.%d.self_attn."
#define E "model.layers.%d.block_sparse_moe."
static const struct weight_row weights[] = {
    W_EMBD("model.embed_tokens.weight"),
    W_OUT_NORM("model.norm.weight"),
    W_OUT("lm_head.weight"),
    W_ROPE_FREQS,
    W_ROPE_FACTORS,
    WVEC("attn_norm.weight", "model.layers.%d.input_layernorm.weight", EMBD),
    W_QKV(P, ROPE_Q, ROPE_K),
    W_QKV_BIAS(P, ROPE_Q, ROPE_K),
    W_ATTN_OUT(P "o_proj.weight"),
    W_ATTN_OUT_BIAS(P "o_proj.bias"),
    WVEC("ffn_norm.weight", "model.layers.%d.post_attention_layernorm.weight", EMBD),
    W_FFN("model.layers.%d.mlp."),
    WROW("ffn_gate.bias", "model.layers.%d.mlp.gate_proj.bias", WR_F32 | WR_OPT, DENSE, NONE, ROWS,
         ONE, ONE, FF),
    WROW("ffn_up.bias", "model.layers.%d.mlp.up_proj.bias", WR_F32 | WR_OPT, DENSE, NONE, ROWS, ONE,
         ONE, FF),
    WROW("ffn_down.bias", "model.layers.%d.mlp.down_proj.bias", WR_F32 | WR_OPT, DENSE, NONE, NONE,
         ONE, ONE, EMBD),
    W_EXPERTS(E "gate.weight", E "experts.%e.w1.weight", E "experts.%e.w3.weight",
              E "experts.%e.w2.weight"),
    W_END,
};

/* Mixtral's experts are as wide as the file's feed_forward_length. */
static int derive(struct hparams *h, struct err *e)
{
    (void)e;
    if (!h->n_ff_exp)
        h->n_ff_exp = h->n_ff[0];
    return 0;
}

static int build(struct builder *b, const struct hparams *h)
{
    const struct self_attn at = {.mode = ROPE_NORM};
    const struct experts ex = {.gate = GATE_SOFTMAX, .act = ACT_SILU, .norm = true};
    val x = b_embed(b, W(b, "token_embd", -1), -1, 1.0f);

    for (int l = 0; l < h->n_layer; l++) {
        b_layer(b, l);
        val n = b_rmsnorm(b, x, W(b, "attn_norm", l), h->eps, 0, B_NONE);
        x = blk_attn_out(b, h, l, n, &at, 1.0f, x);
        n = b_rmsnorm(b, x, W(b, "ffn_norm", l), h->eps, 0, B_NONE);
        x = h->n_expert ? blk_moe(b, h, l, n, &ex, x) : blk_ffn(b, h, l, n, ACT_SILU, 1.0f, x);
    }
    b_layer(b, -1);
    x = b_rmsnorm(b, b_take_rows(b, x), W(b, "output_norm", -1), h->eps, 0, B_NONE);
    blk_logits(b, h, x);
    return b_status(b);
}

const struct arch arch_llama = {
    .name = "llama", .hf = hf, .keys = keys, .weights = weights, .derive = derive, .build = build};
