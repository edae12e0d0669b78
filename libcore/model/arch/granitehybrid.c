/* granitehybrid.c - Granite 4: Mamba-2 layers with attention between, dense or with experts. */
#include <string.h>

#include "model/blocks.h"
#include "model/config.h"

static const char *const hf[] = {"GraniteMoeHybridForCausalLM", "BambaForCausalLM", NULL};

static const struct key_row keys[] = {
    KEYS_SIZES,
    KEYS_HEADS,
    KEYS_FF,
    KEY_RMS_EPS,
    KEYS_ROPE,
    KEYS_EXPERTS,
    KEYS_SCALES,
    KEY_ATTN_SCALE("attention_multiplier"),
    /* a switch in this family: false for models without positions */
    KEY(BOOL, "rope.scaling.finetuned", NULL, rope_on, false, 0, 1, 1),
    KEY(INT, "expert_shared_feed_forward_length", "shared_intermediate_size", n_ff_shexp, false, 0,
        1048576, 0),
    KEY(INT, "ssm.conv_kernel", "mamba_d_conv", ssm_conv, true, 2, 64, 0),
    KEY(INT, "ssm.inner_size", NULL, ssm_inner, true, 1, MAX_EMBD, 0),
    KEY(INT, "ssm.state_size", "mamba_d_state", ssm_state, true, 1, 4096, 0),
    KEY(INT, "ssm.time_step_rank", "mamba_n_heads", ssm_heads, true, 1, 4096, 0),
    KEY(INT, "ssm.group_count", "mamba_n_groups", ssm_group, true, 1, 4096, 0),
    KEYS_END,
};

#define A                                  "model.layers.%d.self_attn."
#define S                                  "model.layers.%d.mamba."
#define M                                  "model.layers.%d.shared_mlp."
#define E                                  "model.layers.%d.block_sparse_moe."
#define SSM_VEC(name, hf, flags, tr, r, c) WROW(name, hf, WR_F32 | flags, SSM, tr, NONE, ONE, r, c)
static const struct weight_row weights[] = {
    W_EMBD("model.embed_tokens.weight"),
    W_OUT_NORM("model.norm.weight"),
    W_OUT("lm_head.weight"),
    WNORM("attn_norm.weight", "model.layers.%d.input_layernorm.weight"),
    WROW("ssm_in.weight", S "in_proj.weight", 0, SSM, NONE, NONE, ONE, SSM_IN, EMBD),
    SSM_VEC("ssm_conv1d.weight", S "conv1d.weight", 0, NONE, SSM_CONV, SSM_TAPS),
    SSM_VEC("ssm_conv1d.bias", S "conv1d.bias", WR_OPT, NONE, ONE, SSM_CONV),
    SSM_VEC("ssm_dt.bias", S "dt_bias", 0, NONE, ONE, SSM_HEADS),
    SSM_VEC("ssm_a", S "A_log", WR_COL, NEG_EXP, ONE, SSM_HEADS),
    SSM_VEC("ssm_d", S "D", WR_COL, NONE, ONE, SSM_HEADS),
    SSM_VEC("ssm_norm.weight", S "norm.weight", 0, NONE, SSM_GROUPS, SSM_GROUP),
    WROW("ssm_out.weight", S "out_proj.weight", 0, SSM, NONE, NONE, ONE, EMBD, SSM_INNER),
    W_QKV(A, ROPE_Q, ROPE_K),
    W_QKV_BIAS(A, ROPE_Q, ROPE_K),
    W_ATTN_OUT(A "o_proj.weight"),
    W_ATTN_OUT_BIAS(A "o_proj.bias"),
    WNORM("ffn_norm.weight", "model.layers.%d.post_attention_layernorm.weight"),
    WROW("ffn_gate.weight", M "input_linear.weight", 0, DENSE, FIRST_HALF, ROWS, ONE, FF, EMBD),
    WROW("ffn_up.weight", M "input_linear.weight", 0, DENSE, SECOND_HALF, ROWS, ONE, FF, EMBD),
    WROW("ffn_down.weight", M "output_linear.weight", 0, DENSE, NONE, COLS, ONE, EMBD, FF),
    W_EXPERTS_FUSED(E "router.layer.weight", E "input_linear.weight", E "output_linear.weight"),
    W_SHARED_FUSED(M),
    W_END,
};

static int config(struct config *c, struct err *e)
{
    static const char *const attends[] = {"attention", "full_attention", NULL};
    int64_t n = cfg_int_or(c, "num_hidden_layers", 0);
    uint32_t kv[MAX_LAYER];
    const char *positions = cfg_str(c, "position_embedding_type");
    bool rope = positions && strcmp(positions, "rope") == 0;

    (void)e;
    for (int64_t l = 0; l < n && l < MAX_LAYER; l++)
        kv[l] = cfg_layer_is(c, l, attends) != 0
                    ? (uint32_t)cfg_int_or(c, "num_key_value_heads", 0)
                    : 0;
    if (n > 0 && n <= MAX_LAYER)
        cfg_put_ints(c, "attention.head_count_kv", kv, (int)n);
    if (cfg_int_or(c, "num_local_experts", 0) == 0)
        cfg_put_int(c, "feed_forward_length", cfg_int_or(c, "shared_intermediate_size", 0));
    cfg_put_int(c, "ssm.inner_size",
                cfg_int_or(c, "mamba_expand", 2) * cfg_int_or(c, "hidden_size", 0));
    cfg_put_bool(c, "rope.scaling.finetuned", rope);
    if (!rope) /* nothing ends where training did */
        cfg_put_int(c, "context_length", 1 << 20);
    return 0;
}

static int derive(struct hparams *h, struct err *e)
{
    if (!h->n_ff_exp)
        h->n_ff_exp = h->n_ff[0];
    if (h->logit_scale != 0.0f)
        h->logit_scale = 1.0f / h->logit_scale; /* the file has the divisor */
    if (h->ssm_inner % h->ssm_heads || h->ssm_heads % h->ssm_group)
        return err_set(e, E_FORMAT, "state space of %d columns, %d heads, %d groups", h->ssm_inner,
                       h->ssm_heads, h->ssm_group);
    return 0;
}

static val mamba(struct builder *b, const struct hparams *h, int l, val n, val add)
{
    int inner = h->ssm_inner, conv = inner + 2 * h->ssm_group * h->ssm_state;
    val all = b_linear(b, n, W(b, "ssm_in", l), -1);
    val z = b_cols(b, all, 0, inner);
    val dt = b_cols(b, all, inner + conv, h->ssm_heads);
    val xbc = b_conv1d(b, b_cols(b, all, inner, conv), W(b, "ssm_conv1d", l),
                       Bopt(b, "ssm_conv1d", l), ACT_SILU);
    val y = b_ssm_scan(b, xbc, dt, Wraw(b, "ssm_a", l), Wraw(b, "ssm_d", l), Wb(b, "ssm_dt", l),
                       h->ssm_heads, inner / h->ssm_heads, h->ssm_group, h->ssm_state);

    y = b_rmsnorm(b, b_mul(b, y, z, ACT_SILU), W(b, "ssm_norm", l), h->eps, inner / h->ssm_group,
                  B_NONE);
    return b_linear_add(b, y, W(b, "ssm_out", l), -1, h->residual_scale, add);
}

static val feed_forward(struct builder *b, const struct hparams *h, int l, val n, val add)
{
    static const char *const shared[3] = {"ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"};
    const struct experts ex = {
        .gate = GATE_SOFTMAX, .act = ACT_SILU, .norm = true, .out_scale = h->residual_scale};

    if (!h->n_expert)
        return blk_ffn(b, h, l, n, ACT_SILU, h->residual_scale, add);
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
        x = h->n_head_kv[l] ? blk_attn_out(b, h, l, n, &at, h->residual_scale, x)
                            : mamba(b, h, l, n, x);
        n = b_rmsnorm(b, x, W(b, "ffn_norm", l), h->eps, 0, B_NONE);
        x = feed_forward(b, h, l, n, x);
    }
    b_layer(b, -1);
    x = b_rmsnorm(b, b_take_rows(b, x), W(b, "output_norm", -1), h->eps, 0, B_NONE);
    blk_logits(b, h, x);
    return b_status(b);
}

const struct arch arch_granitehybrid = {.name = "granitehybrid",
                                        .hf = hf,
                                        .keys = keys,
                                        .weights = weights,
                                        .derive = derive,
                                        .config = config,
                                        .build = build};
