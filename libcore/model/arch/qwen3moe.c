/* qwen3moe.c - Qwen 3 with experts in every layer. */
#include "model/blocks.h"

static const char *const hf[] = {"Qwen3MoeForCausalLM", NULL};

static const struct key_row keys[] = {
    KEYS_SIZES,
    KEYS_HEADS,
    KEYS_FF,
    KEY_RMS_EPS,
    KEYS_ROPE,
    KEYS_EXPERTS,
    KEY(BOOL, "expert_weights_norm", "norm_topk_prob", expert_norm, false, 0, 1, 1),
    KEYS_END,
};

#define A "model.layers.%d.self_attn."
#define M "model.layers.%d.mlp."
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
    W_EXPERTS(M "gate.weight", M "experts.%e.gate_proj.weight", M "experts.%e.up_proj.weight",
              M "experts.%e.down_proj.weight"),
    W_END,
};

static int derive(struct hparams *h, struct err *e)
{
    if (!h->n_expert)
        return err_set(e, E_FORMAT, "no experts");
    if (!h->n_ff_exp) /* older files leave it out */
        h->n_ff_exp = h->n_ff[0] / h->n_used;
    return 0;
}

static int build(struct builder *b, const struct hparams *h)
{
    const struct self_attn at = {.mode = ROPE_NEOX, .norm = QK_HEAD};
    const struct experts ex = {.gate = GATE_SOFTMAX, .act = ACT_SILU, .norm = h->expert_norm};
    val x = b_embed(b, W(b, "token_embd", -1), -1, 1.0f);

    for (int l = 0; l < h->n_layer; l++) {
        b_layer(b, l);
        val n = b_rmsnorm(b, x, W(b, "attn_norm", l), h->eps, 0, B_NONE);
        x = blk_attn_out(b, h, l, n, &at, 1.0f, x);
        n = b_rmsnorm(b, x, W(b, "ffn_norm", l), h->eps, 0, B_NONE);
        x = blk_moe(b, h, l, n, &ex, x);
    }
    b_layer(b, -1);
    x = b_rmsnorm(b, b_take_rows(b, x), W(b, "output_norm", -1), h->eps, 0, B_NONE);
    blk_logits(b, h, x);
    return b_status(b);
}

const struct arch arch_qwen3moe = {.name = "qwen3moe",
                                   .hf = hf,
                                   .keys = keys,
                                   .weights = weights,
                                   .derive = derive,
                                   .build = build};
