/* olmo2.c - OLMo 2 (and 3): norms behind the blocks, none before; queries and keys normed as rows.
 */
#include "model/blocks.h"

static const char *const hf[] = {"Olmo2ForCausalLM", "Olmo3ForCausalLM", NULL};

static const struct key_row keys[] = {
    KEYS_SIZES, KEYS_HEADS, KEYS_FF, KEY_RMS_EPS, KEYS_ROPE, KEY_WINDOW, KEYS_END,
};

#define A "model.layers.%d.self_attn."
static const struct weight_row weights[] = {
    W_EMBD("model.embed_tokens.weight"),
    W_OUT_NORM("model.norm.weight"),
    W_OUT("lm_head.weight"),
    W_QKV(A, NONE, NONE),
    WVEC("attn_q_norm.weight", A "q_norm.weight", Q),
    WVEC("attn_k_norm.weight", A "k_norm.weight", K),
    W_ATTN_OUT(A "o_proj.weight"),
    WNORM("post_attention_norm.weight", "model.layers.%d.post_attention_layernorm.weight"),
    W_FFN("model.layers.%d.mlp."),
    WNORM("post_ffw_norm.weight", "model.layers.%d.post_feedforward_layernorm.weight"),
    W_END,
};

/* OLMo 3: three layers of four have a window, and positions there are not stretched. */
static int derive(struct hparams *h, struct err *e)
{
    (void)e;
    if (h->window && !h->window_every)
        h->window_every = 4;
    h->rope_base_local = h->rope_base;
    return 0;
}

static int build(struct builder *b, const struct hparams *h)
{
    const struct self_attn at = {.mode = ROPE_NEOX, .norm = QK_ROW};
    val x = b_embed(b, W(b, "token_embd", -1), -1, 1.0f);

    for (int l = 0; l < h->n_layer; l++) {
        b_layer(b, l);
        val n = blk_attn_out(b, h, l, x, &at, 1.0f, B_NONE);
        x = b_rmsnorm(b, n, W(b, "post_attention_norm", l), h->eps, 0, x);
        n = blk_ffn(b, h, l, x, ACT_SILU, 1.0f, B_NONE);
        x = b_rmsnorm(b, n, W(b, "post_ffw_norm", l), h->eps, 0, x);
    }
    b_layer(b, -1);
    x = b_rmsnorm(b, b_take_rows(b, x), W(b, "output_norm", -1), h->eps, 0, B_NONE);
    blk_logits(b, h, x);
    return b_status(b);
}

const struct arch arch_olmo2 = {
    .name = "olmo2", .hf = hf, .keys = keys, .weights = weights, .derive = derive, .build = build};
