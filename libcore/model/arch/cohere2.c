/* cohere2.c - Command R7B and A: as Command R; three layers of four have a window and rotate, the
 * fourth sees all and has no positions. */
#include "model/blocks.h"

static const char *const hf[] = {"Cohere2ForCausalLM", NULL};

static const struct key_row keys[] = {
    KEYS_SIZES,
    KEYS_HEADS,
    KEYS_FF,
    KEY_LN_EPS,
    KEYS_ROPE,
    KEY_WINDOW,
    KEY(REAL, "logit_scale", "logit_scale", logit_scale, true, -1e6, 1e6, 1),
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
    W_ATTN_OUT(A "o_proj.weight"),
    W_ATTN_OUT_BIAS(A "o_proj.bias"),
    W_FFN("model.layers.%d.mlp."),
    W_END,
};

static int derive(struct hparams *h, struct err *e)
{
    (void)e;
    if (!h->window_every)
        h->window_every = 4;
    return 0;
}

static int build(struct builder *b, const struct hparams *h)
{
    const struct self_attn turned = {.mode = ROPE_NORM}, plain = {.no_rope = true};
    val x = b_embed(b, W(b, "token_embd", -1), -1, 1.0f);

    for (int l = 0; l < h->n_layer; l++) {
        b_layer(b, l);
        val n = b_layernorm(b, x, W(b, "attn_norm", l), -1, h->eps, 0, B_NONE);
        x = blk_attn_out(b, h, l, n, hparams_local(h, l) ? &turned : &plain, 1.0f, x);
        x = blk_ffn(b, h, l, n, ACT_SILU, 1.0f, x);
    }
    b_layer(b, -1);
    x = b_layernorm(b, b_take_rows(b, x), W(b, "output_norm", -1), Bopt(b, "output_norm", -1),
                    h->eps, 0, B_NONE);
    blk_logits(b, h, x);
    return b_status(b);
}

const struct arch arch_cohere2 = {.name = "cohere2",
                                  .hf = hf,
                                  .keys = keys,
                                  .weights = weights,
                                  .derive = derive,
                                  .build = build};
