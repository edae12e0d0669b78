/* granitemoe.c - Granite with experts, and a shared one in some models. */
#include "model/blocks.h"

static const char *const hf[] = {"GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM", NULL};

static const struct key_row keys[] = {
    KEYS_SIZES,
    KEYS_HEADS,
    KEYS_FF,
    KEY_RMS_EPS,
    KEYS_ROPE,
    KEYS_EXPERTS,
    KEYS_SCALES,
    KEY_ATTN_SCALE("attention_multiplier"),
    KEY(BOOL, "rope.scaling.finetuned", NULL, rope_on, false, 0, 1, 1),
    KEY(INT, "expert_shared_feed_forward_length", "shared_intermediate_size", n_ff_shexp, false, 0,
        1048576, 0),
    KEYS_END,
};

#define A "model.layers.%d.self_attn."
#define S "model.layers.%d.shared_mlp."
#define E "model.layers.%d.block_sparse_moe."
static const struct weight_row weights[] = {
    W_EMBD("model.embed_tokens.weight"),
    W_OUT_NORM("model.norm.weight"),
    W_OUT("lm_head.weight"),
    WNORM("attn_norm.weight", "model.layers.%d.input_layernorm.weight"),
    W_QKV(A, ROPE_Q, ROPE_K),
    W_QKV_BIAS(A, ROPE_Q, ROPE_K),
    W_ATTN_OUT(A "o_proj.weight"),
    W_ATTN_OUT_BIAS(A "o_proj.bias"),
    WNORM("ffn_norm.weight", "model.layers.%d.post_attention_layernorm.weight"),
    W_EXPERTS_FUSED(E "router.layer.weight", E "input_linear.weight", E "output_linear.weight"),
    W_SHARED_FUSED(S),
    W_END,
};

static int derive(struct hparams *h, struct err *e)
{
    if (!h->n_expert)
        return err_set(e, E_FORMAT, "no experts");
    if (!h->n_ff_exp)
        h->n_ff_exp = h->n_ff[0];
    if (h->logit_scale != 0.0f)
        h->logit_scale = 1.0f / h->logit_scale; /* the file has the divisor */
    return 0;
}

static val feed_forward(struct builder *b, const struct hparams *h, int l, val n, val add)
{
    static const char *const shared[3] = {"ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"};
    const struct experts ex = {
        .gate = GATE_SOFTMAX, .act = ACT_SILU, .norm = true, .out_scale = h->residual_scale};

    if (h->n_ff_shexp)
        add = blk_ffn_named(b, l, n, shared, ACT_SILU, h->residual_scale, add);
    return blk_moe(b, h, l, n, &ex, add);
}

static int build(struct builder *b, const struct hparams *h)
{
    const struct self_attn at = {.mode = ROPE_NORM, .no_rope = !h->rope_on};
    val x = b_embed(b, W(b, "token_embd", -1), -1, h->embd_scale);

    for (int l = 0; l < h->n_layer; l++) {
        b_layer(b, l);
        val n = b_rmsnorm(b, x, W(b, "attn_norm", l), h->eps, 0, B_NONE);
        x = blk_attn_out(b, h, l, n, &at, h->residual_scale, x);
        n = b_rmsnorm(b, x, W(b, "ffn_norm", l), h->eps, 0, B_NONE);
        x = feed_forward(b, h, l, n, x);
    }
    b_layer(b, -1);
    x = b_rmsnorm(b, b_take_rows(b, x), W(b, "output_norm", -1), h->eps, 0, B_NONE);
    blk_logits(b, h, x);
    return b_status(b);
}

const struct arch arch_granitemoe = {.name = "granitemoe",
                                     .hf = hf,
                                     .keys = keys,
                                     .weights = weights,
                                     .derive = derive,
                                     .build = build};
