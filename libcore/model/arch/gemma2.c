/* gemma2.c - Gemma 2: norms before and after each block, every other layer with a window, capped
 * scores and logits. */
#include <math.h>

#include "model/blocks.h"
#include "model/config.h"

static const char *const hf[] = {"Gemma2ForCausalLM", NULL};

static const struct key_row keys[] = {
    KEYS_SIZES,
    KEYS_HEADS,
    KEYS_FF,
    KEY_RMS_EPS,
    KEYS_ROPE,
    KEY(INT, "attention.sliding_window", "sliding_window", window, false, 0, MAX_CTX, 4096),
    KEY_ATTN_SCALE(NULL),
    KEY(REAL, "attn_logit_softcapping", "attn_logit_softcapping", attn_softcap, false, 0, 1e6, 50),
    KEY(REAL, "final_logit_softcapping", "final_logit_softcapping", final_softcap, false, 0, 1e6,
        30),
    KEYS_END,
};

#define A "model.layers.%d.self_attn."
static const struct weight_row weights[] = {
    W_EMBD("model.embed_tokens.weight"),
    WROW("output_norm.weight", "model.norm.weight", WR_MODEL | WR_F32, ALWAYS, ADD_ONE, NONE, ONE,
         ONE, EMBD),
    W_OUT("lm_head.weight"),
    WGEMMA("attn_norm.weight", "model.layers.%d.input_layernorm.weight"),
    W_QKV(A, NONE, NONE),
    W_ATTN_OUT(A "o_proj.weight"),
    WGEMMA("post_attention_norm.weight", "model.layers.%d.post_attention_layernorm.weight"),
    WGEMMA("ffn_norm.weight", "model.layers.%d.pre_feedforward_layernorm.weight"),
    W_FFN("model.layers.%d.mlp."),
    WGEMMA("post_ffw_norm.weight", "model.layers.%d.post_feedforward_layernorm.weight"),
    W_END,
};

static int config(struct config *c, struct err *e)
{
    double scalar;
    int64_t dim;

    (void)e;
    if (cfg_real(c, "query_pre_attn_scalar", &scalar) && scalar > 0 &&
        cfg_int(c, "head_dim", &dim) && scalar != (double)dim)
        cfg_put_real(c, "attention.scale", 1 / sqrt(scalar));
    return 0;
}

static int derive(struct hparams *h, struct err *e)
{
    (void)e;
    if (!h->window_every)
        h->window_every = 2;
    /* the file does not say query_pre_attn_scalar; only the 27B model's is not the head's width */
    if (h->attn_scale == 0.0f && h->n_layer == 46)
        h->attn_scale = 1.0f / sqrtf((float)(h->n_embd / h->n_head[0]));
    return 0;
}

static int build(struct builder *b, const struct hparams *h)
{
    const struct self_attn at = {.mode = ROPE_NEOX};
    val x = b_embed(b, W(b, "token_embd", -1), -1, sqrtf((float)h->n_embd));

    for (int l = 0; l < h->n_layer; l++) {
        b_layer(b, l);
        val n = b_rmsnorm(b, x, W(b, "attn_norm", l), h->eps, 0, B_NONE);
        n = blk_attn_out(b, h, l, n, &at, 1.0f, B_NONE);
        x = b_rmsnorm(b, n, W(b, "post_attention_norm", l), h->eps, 0, x);
        n = b_rmsnorm(b, x, W(b, "ffn_norm", l), h->eps, 0, B_NONE);
        n = blk_ffn(b, h, l, n, ACT_GELU_TANH, 1.0f, B_NONE);
        x = b_rmsnorm(b, n, W(b, "post_ffw_norm", l), h->eps, 0, x);
    }
    b_layer(b, -1);
    x = b_rmsnorm(b, b_take_rows(b, x), W(b, "output_norm", -1), h->eps, 0, B_NONE);
    blk_logits(b, h, x);
    return b_status(b);
}

const struct arch arch_gemma2 = {.name = "gemma2",
                                 .hf = hf,
                                 .keys = keys,
                                 .weights = weights,
                                 .derive = derive,
                                 .config = config,
                                 .build = build};
