/* gptneox.c - GPT-NeoX and Pythia: attention and feed-forward side by side, part of a head rotated.
 */
#include "model/blocks.h"
#include "model/config.h"

static const char *const hf[] = {"GPTNeoXForCausalLM", NULL};

static const struct key_row keys[] = {
    KEYS_SIZES,
    KEYS_HEADS,
    KEYS_FF,
    KEY_LN_EPS,
    KEYS_ROPE,
    KEY(BOOL, "use_parallel_residual", "use_parallel_residual", parallel, false, 0, 1, 1),
    KEYS_END,
};

#define L "gpt_neox.layers.%d."
static const struct weight_row weights[] = {
    W_EMBD("gpt_neox.embed_in.weight"),
    W_OUT_NORM("gpt_neox.final_layer_norm.weight"),
    W_OUT_NORM_BIAS("gpt_neox.final_layer_norm.bias"),
    W_OUT("embed_out.weight"),
    WNORM("attn_norm.weight", L "input_layernorm.weight"),
    WNORM("attn_norm.bias", L "input_layernorm.bias"),
    WROW("attn_qkv.weight", L "attention.query_key_value.weight", 0, ALWAYS, QKV_HEADS, NONE, ONE,
         QKV, EMBD),
    WROW("attn_qkv.bias", L "attention.query_key_value.bias", WR_F32 | WR_OPT, ALWAYS, QKV_HEADS,
         NONE, ONE, ONE, QKV),
    WMAT("attn_output.weight", L "attention.dense.weight", COLS, EMBD, O),
    WVEC_OPT("attn_output.bias", L "attention.dense.bias", EMBD),
    WNORM("ffn_norm.weight", L "post_attention_layernorm.weight"),
    WNORM("ffn_norm.bias", L "post_attention_layernorm.bias"),
    WMAT("ffn_up.weight", L "mlp.dense_h_to_4h.weight", ROWS, FF, EMBD),
    WVEC("ffn_up.bias", L "mlp.dense_h_to_4h.bias", FF),
    WMAT("ffn_down.weight", L "mlp.dense_4h_to_h.weight", COLS, EMBD, FF),
    WVEC("ffn_down.bias", L "mlp.dense_4h_to_h.bias", EMBD),
    W_END,
};

static int config(struct config *c, struct err *e)
{
    (void)e; /* every head has keys and values, whatever else is said */
    cfg_put_int(c, "attention.head_count_kv", cfg_int_or(c, "num_attention_heads", 0));
    return 0;
}

static int build(struct builder *b, const struct hparams *h)
{
    const struct self_attn at = {.mode = ROPE_NEOX};
    val x = b_embed(b, W(b, "token_embd", -1), -1, 1.0f);

    for (int l = 0; l < h->n_layer; l++) {
        b_layer(b, l);
        val n = b_layernorm(b, x, W(b, "attn_norm", l), Wb(b, "attn_norm", l), h->eps, 0, B_NONE);
        val y = blk_attn_out(b, h, l, n, &at, 1.0f, x);
        n = b_layernorm(b, h->parallel ? x : y, W(b, "ffn_norm", l), Wb(b, "ffn_norm", l), h->eps,
                        0, B_NONE);
        x = blk_ffn(b, h, l, n, ACT_GELU, 1.0f, y);
    }
    b_layer(b, -1);
    x = b_layernorm(b, b_take_rows(b, x), W(b, "output_norm", -1), Bopt(b, "output_norm", -1),
                    h->eps, 0, B_NONE);
    blk_logits(b, h, x);
    return b_status(b);
}

const struct arch arch_gptneox = {.name = "gptneox",
                                  .hf = hf,
                                  .keys = keys,
                                  .weights = weights,
                                  .config = config,
                                  .build = build};
