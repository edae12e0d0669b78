/* gpt2.c - GPT-2: learned positions, layernorm, GELU. */
#include "model/blocks.h"
#include "model/config.h"

static const char *const hf[] = {"GPT2LMHeadModel", NULL};

static const struct key_row keys[] = {
    KEY(INT, "block_count", "n_layer", n_layer, true, 1, MAX_LAYER, 0),
    KEY(INT, "embedding_length", "n_embd", n_embd, true, 1, MAX_EMBD, 0),
    KEY(INT, "context_length", "n_ctx", n_ctx_train, true, 1, MAX_CTX, 0),
    KEY(INTS, "attention.head_count", "n_head", n_head, true, 1, 4096, 0),
    KEY(INTS, "attention.head_count_kv", NULL, n_head_kv, false, 1, 4096, 0),
    KEYS_FF,
    KEY(REAL, "attention.layer_norm_epsilon", "layer_norm_epsilon", eps, true, 0, 1, 0),
    KEYS_END,
};

#define L "transformer.h.%d."
static const struct weight_row weights[] = {
    W_EMBD("transformer.wte.weight"),
    WROW("position_embd.weight", "transformer.wpe.weight", WR_MODEL, ALWAYS, NONE, NONE, ONE, CTX,
         EMBD),
    W_OUT_NORM("transformer.ln_f.weight"),
    W_OUT_NORM_BIAS("transformer.ln_f.bias"),
    W_OUT("lm_head.weight"),
    WNORM("attn_norm.weight", L "ln_1.weight"),
    WNORM("attn_norm.bias", L "ln_1.bias"),
    WROW("attn_qkv.weight", L "attn.c_attn.weight", 0, ALWAYS, TRANSPOSE, NONE, ONE, QKV, EMBD),
    WVEC("attn_qkv.bias", L "attn.c_attn.bias", QKV),
    WROW("attn_output.weight", L "attn.c_proj.weight", 0, ALWAYS, TRANSPOSE, COLS, ONE, EMBD, O),
    WNORM("attn_output.bias", L "attn.c_proj.bias"),
    WNORM("ffn_norm.weight", L "ln_2.weight"),
    WNORM("ffn_norm.bias", L "ln_2.bias"),
    WROW("ffn_up.weight", L "mlp.c_fc.weight", 0, ALWAYS, TRANSPOSE, ROWS, ONE, FF, EMBD),
    WVEC("ffn_up.bias", L "mlp.c_fc.bias", FF),
    WROW("ffn_down.weight", L "mlp.c_proj.weight", 0, ALWAYS, TRANSPOSE, COLS, ONE, EMBD, FF),
    WNORM("ffn_down.bias", L "mlp.c_proj.bias"),
    W_END,
};

static int config(struct config *c, struct err *e)
{
    (void)e;
    if (cfg_lacks(c, "feed_forward_length"))
        cfg_put_int(c, "feed_forward_length", 4 * cfg_int_or(c, "hidden_size", 0));
    return 0;
}

static int build(struct builder *b, const struct hparams *h)
{
    const struct self_attn at = {.no_rope = true};
    val x = b_embed(b, W(b, "token_embd", -1), W(b, "position_embd", -1), 1.0f);

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

const struct arch arch_gpt2 = {
    .name = "gpt2", .hf = hf, .keys = keys, .weights = weights, .config = config, .build = build};
