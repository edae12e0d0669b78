/* gpt_oss.c - gpt-oss: experts with clamped gates, attention sinks, every other layer with a
 * window. */
#include "model/blocks.h"
#include "model/config.h"

static const char *const hf[] = {"GptOssForCausalLM", NULL};

static const struct key_row keys[] = {
    KEYS_SIZES,
    KEYS_HEADS,
    KEY(INTS, "feed_forward_length", "intermediate_size", n_ff, false, 0, 1048576, 0),
    KEY_RMS_EPS,
    KEYS_ROPE,
    KEYS_EXPERTS,
    KEY_WINDOW,
    KEYS_END,
};

#define A                                  "model.layers.%d.self_attn."
#define M                                  "model.layers.%d.mlp."
#define EXPERTS(name, hf, tr, split, r, c) WROW(name, hf, 0, ALWAYS, tr, split, EXPERT, r, c)
#define EXPERTS_BIAS(name, hf, tr, c)      WROW(name, hf, WR_F32, ALWAYS, tr, NONE, ONE, EXPERT, c)
static const struct weight_row weights[] = {
    W_EMBD("model.embed_tokens.weight"),
    W_OUT_NORM("model.norm.weight"),
    W_OUT("lm_head.weight"),
    WNORM("attn_norm.weight", "model.layers.%d.input_layernorm.weight"),
    W_QKV(A, NONE, NONE),
    W_QKV_BIAS(A, NONE, NONE),
    WVEC("attn_sinks.weight", A "sinks", HEADS),
    W_ATTN_OUT(A "o_proj.weight"),
    W_ATTN_OUT_BIAS(A "o_proj.bias"),
    WNORM("post_attention_norm.weight", "model.layers.%d.post_attention_layernorm.weight"),
    WMAT("ffn_gate_inp.weight", M "router.weight", NONE, EXPERT, EMBD),
    WVEC("ffn_gate_inp.bias", M "router.bias", EXPERT),
    EXPERTS("ffn_gate_exps.weight", M "experts.gate_up_proj", EVEN_COLS, ROWS, FF_EXP, EMBD),
    EXPERTS("ffn_up_exps.weight", M "experts.gate_up_proj", ODD_COLS, ROWS, FF_EXP, EMBD),
    EXPERTS("ffn_down_exps.weight", M "experts.down_proj", TRANSPOSE, COLS, EMBD, FF_EXP),
    EXPERTS_BIAS("ffn_gate_exps.bias", M "experts.gate_up_proj_bias", EVEN, FF_EXP),
    EXPERTS_BIAS("ffn_up_exps.bias", M "experts.gate_up_proj_bias", ODD, FF_EXP),
    EXPERTS_BIAS("ffn_down_exps.bias", M "experts.down_proj_bias", NONE, EMBD),
    W_END,
};

static int config(struct config *c, struct err *e)
{
    (void)e;
    cfg_put_int(c, "expert_feed_forward_length", cfg_int_or(c, "intermediate_size", 0));
    return 0;
}

static int derive(struct hparams *h, struct err *e)
{
    if (!h->n_expert)
        return err_set(e, E_FORMAT, "no experts");
    if (!h->n_ff_exp)
        h->n_ff_exp = h->n_ff[0];
    if (!h->window_every)
        h->window_every = 2;
    return 0;
}

static int build(struct builder *b, const struct hparams *h)
{
    const struct self_attn at = {.mode = ROPE_NEOX, .sinks = true, .ramp_exact = true};
    const struct experts ex = {.gate = GATE_SOFTMAX_TOPK, .act = ACT_SWIGLU_OAI, .limit = 7.0f};
    val x = b_embed(b, W(b, "token_embd", -1), -1, 1.0f);

    for (int l = 0; l < h->n_layer; l++) {
        b_layer(b, l);
        val n = b_rmsnorm(b, x, W(b, "attn_norm", l), h->eps, 0, B_NONE);
        x = blk_attn_out(b, h, l, n, &at, 1.0f, x);
        n = b_rmsnorm(b, x, W(b, "post_attention_norm", l), h->eps, 0, B_NONE);
        x = blk_moe(b, h, l, n, &ex, x);
    }
    b_layer(b, -1);
    x = b_rmsnorm(b, b_take_rows(b, x), W(b, "output_norm", -1), h->eps, 0, B_NONE);
    blk_logits(b, h, x);
    return b_status(b);
}

const struct arch arch_gpt_oss = {.name = "gpt-oss",
                                  .hf = hf,
                                  .keys = keys,
                                  .weights = weights,
                                  .derive = derive,
                                  .config = config,
                                  .build = build};
