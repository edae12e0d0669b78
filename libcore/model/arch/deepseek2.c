/* deepseek2.c - DeepSeek V2 and V3: latent attention, many small experts beside shared ones.
 *
 * Keys and values of a position are one compressed row; attn_k_b takes each head's query to that
 * row's space and attn_v_b brings the result back, so attention runs on the compressed rows
 * themselves (arXiv 2405.04434, section 2.1.2).
 */
#include <math.h>
#include <string.h>

#include "model/blocks.h"
#include "model/config.h"

static const char *const hf[] = {"DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM", NULL};

static const struct key_row keys[] = {
    KEYS_SIZES,
    KEY(INT, "nextn_predict_layers", "num_nextn_predict_layers", n_nextn, false, 0, 16, 0),
    KEYS_HEADS,
    KEYS_FF,
    KEY_RMS_EPS,
    KEYS_ROPE,
    KEYS_EXPERTS,
    KEY(REAL, "rope.scaling.yarn_log_multiplier", NULL, yarn_log_mul, false, 0, 10, 0),
    KEY(INT, "attention.q_lora_rank", "q_lora_rank", q_lora, false, 0, 65536, 0),
    KEY(INT, "attention.kv_lora_rank", "kv_lora_rank", kv_lora, true, 1, 65536, 0),
    KEY(INT, "attention.key_length_mla", NULL, dk_mla, false, 1, 8192, 0),
    KEY(INT, "attention.value_length_mla", "v_head_dim", dv_mla, false, 1, 8192, 0),
    KEY(INT, "leading_dense_block_count", "first_k_dense_replace", n_dense, false, 0, MAX_LAYER, 0),
    KEY(INT, "expert_shared_count", "n_shared_experts", n_shared, false, 0, 64, 0),
    KEY(INT, "expert_group_count", "n_group", n_group, false, 0, 256, 0),
    KEY(INT, "expert_group_used_count", "topk_group", n_group_used, false, 0, 256, 0),
    KEY(INT, "expert_gating_func", NULL, gating, false, 0, 3, 0),
    KEY(BOOL, "expert_weights_norm", "norm_topk_prob", expert_norm, false, 0, 1, 0),
    KEY(REAL, "expert_weights_scale", "routed_scaling_factor", expert_scale, false, 0, 1e4, 1),
    KEYS_END,
};

#define A "model.layers.%d.self_attn."
#define M "model.layers.%d.mlp."
static const struct weight_row weights[] = {
    W_EMBD("model.embed_tokens.weight"),
    W_OUT_NORM("model.norm.weight"),
    W_OUT("lm_head.weight"),
    WNORM("attn_norm.weight", "model.layers.%d.input_layernorm.weight"),
    WROW("attn_q.weight", A "q_proj.weight", 0, NO_Q_LORA, NONE, ROWS, ONE, MLA_Q, EMBD),
    WROW("attn_q_a.weight", A "q_a_proj.weight", 0, Q_LORA, NONE, NONE, ONE, Q_LORA, EMBD),
    WROW("attn_q_a_norm.weight", A "q_a_layernorm.weight", WR_F32, Q_LORA, NONE, NONE, ONE, ONE,
         Q_LORA),
    WROW("attn_q_b.weight", A "q_b_proj.weight", 0, Q_LORA, NONE, ROWS, ONE, MLA_Q, Q_LORA),
    WMAT("attn_kv_a_mqa.weight", A "kv_a_proj_with_mqa.weight", NONE, KV_A, EMBD),
    WVEC("attn_kv_a_norm.weight", A "kv_a_layernorm.weight", KV_LORA),
    WROW("attn_kv_b.weight", NULL, WR_OPT, ALWAYS, NONE, NONE, ONE, MLA_KV, KV_LORA),
    WROW("attn_k_b.weight", A "kv_b_proj.weight", WR_OPT, ALWAYS, SPLIT_K, ROWS, HEADS, KV_LORA,
         MLA_NOPE),
    WROW("attn_v_b.weight", A "kv_b_proj.weight", WR_OPT, ALWAYS, SPLIT_V, ROWS, HEADS, MLA_V,
         KV_LORA),
    WMAT("attn_output.weight", A "o_proj.weight", COLS, EMBD, MLA_O),
    WNORM("ffn_norm.weight", "model.layers.%d.post_attention_layernorm.weight"),
    W_FFN(M),
    W_EXPERTS(M "gate.weight", M "experts.%e.gate_proj.weight", M "experts.%e.up_proj.weight",
              M "experts.%e.down_proj.weight"),
    WROW("exp_probs_b.bias", M "gate.e_score_correction_bias", WR_F32 | WR_OPT, MOE, NONE, NONE,
         ONE, ONE, EXPERT),
    W_SHARED(M "shared_experts."),
    W_END,
};

static int config(struct config *c, struct err *e)
{
    int64_t rope = cfg_int_or(c, "qk_rope_head_dim", 0), lora = cfg_int_or(c, "kv_lora_rank", 0);
    const char *score = cfg_str(c, "scoring_func"),
               *first = json_string_value(json_array_get(cfg_find(c, "architectures"), 0));
    bool sigmoid = score ? strcmp(score, "sigmoid") == 0 : strstr(first, "V3") != NULL;
    double all;

    (void)e;
    cfg_put_int(c, "attention.head_count_kv", 1);
    cfg_put_int(c, "attention.key_length", lora + rope);
    cfg_put_int(c, "attention.value_length", lora);
    cfg_put_int(c, "attention.key_length_mla", cfg_int_or(c, "qk_nope_head_dim", 0) + rope);
    cfg_put_int(c, "expert_gating_func", sigmoid ? 2 : 1);
    cfg_put_int(c, "nextn_predict_layers", 0); /* they lie behind the others and are left out */
    if (cfg_real(c, "rope_scaling.mscale_all_dim", &all))
        cfg_put_real(c, "rope.scaling.yarn_log_multiplier", 0.1 * all);
    return 0;
}

static int derive(struct hparams *h, struct err *e)
{
    /* older files say the uncompressed sizes where newer ones say those of the compressed row */
    if (!h->dk_mla)
        h->dk_mla = h->dk;
    if (!h->dv_mla)
        h->dv_mla = h->dv;
    h->n_ff_shexp = h->n_shared * h->n_ff_exp;
    if (h->n_rot >= h->dk_mla)
        return err_set(e, E_FORMAT, "%d rotated of %d columns of a head", h->n_rot, h->dk_mla);
    return 0;
}

/* One row per position: the normed compressed row, then the rotated columns all heads share. */
static val latent(struct builder *b, const struct hparams *h, int l, val n, struct rope_args rope)
{
    val kv = b_linear(b, n, W(b, "attn_kv_a_mqa", l), -1);
    val k = b_value(b, ROWS_T, h->kv_lora + h->n_rot);

    rope.n_head = 1;
    rope.head_in = rope.head_out = h->n_rot;
    b_rmsnorm_to(b, b_cols(b, k, 0, h->kv_lora), b_cols(b, kv, 0, h->kv_lora),
                 W(b, "attn_kv_a_norm", l), h->eps, 0);
    b_rope_to(b, b_cols(b, k, h->kv_lora, h->n_rot), b_cols(b, kv, h->kv_lora, h->n_rot), &rope,
              -1);
    return k;
}

/* Each head's query in the space of those rows. */
static val queries(struct builder *b, const struct hparams *h, int l, val n, struct rope_args rope)
{
    int heads = h->n_head[l], width = h->kv_lora + h->n_rot, nope = h->dk_mla - h->n_rot;
    val to = b_value(b, ROWS_T, heads * width);
    val q;

    if (h->q_lora) {
        q = b_linear(b, n, W(b, "attn_q_a", l), -1);
        q = b_rmsnorm(b, q, W(b, "attn_q_a_norm", l), h->eps, 0, B_NONE);
        q = b_linear(b, q, W(b, "attn_q_b", l), -1);
    } else {
        q = b_linear(b, n, W(b, "attn_q", l), -1);
    }
    rope.n_head = heads;
    rope.head_in = h->dk_mla;
    rope.at_in = nope;
    rope.head_out = width;
    rope.at_out = h->kv_lora;
    b_rope_to(b, to, q, &rope, -1);
    return b_linear_heads(b, to, q, W(b, "attn_k_b", l), heads, h->dk_mla, 0, width, 0);
}

static val attention(struct builder *b, const struct hparams *h, int l, val n, val add)
{
    struct rope_args rope = blk_rope(h, 1, false);
    float m = 1.0f;
    struct attn_args at = {.n_head = h->n_head[l],
                           .n_kv = 1,
                           .dk = h->kv_lora + h->n_rot,
                           .dv = h->kv_lora,
                           .v_in_k = true};
    val q, y, heads;

    /* the model was trained with YaRN's factor on the scores, not on the rotated columns */
    if (h->rope_scaling == ROPE_SCALE_YARN && h->yarn_log_mul > 0.0f) {
        m = 1.0f + h->yarn_log_mul * logf(h->rope_factor > 0.0f ? h->rope_factor : 1.0f);
        rope.attn_factor = 1.0f;
    }
    at.scale = m * m / sqrtf((float)h->dk_mla);
    at.kv = b_kv_store(b, latent(b, h, l, n, rope), B_NONE, 1, at.dk, 0, 0);
    q = queries(b, h, l, n, rope);
    heads = b_attn(b, q, &at, -1);
    y = b_value(b, ROWS_T, h->n_head[l] * h->dv_mla);
    b_linear_heads(b, y, heads, W(b, "attn_v_b", l), h->n_head[l], h->kv_lora, 0, h->dv_mla, 0);
    return b_linear_add(b, y, W(b, "attn_output", l), -1, 1.0f, add);
}

static val feed_forward(struct builder *b, const struct hparams *h, int l, val n, val add)
{
    static const char *const shared[3] = {"ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"};
    const struct experts ex = {.gate = h->gating == 2 ? GATE_SIGMOID : GATE_SOFTMAX,
                               .act = ACT_SILU,
                               .norm = h->expert_norm,
                               .scale = h->expert_scale};

    if (!when_holds(h, WHEN_MOE, l))
        return blk_ffn(b, h, l, n, ACT_SILU, 1.0f, add);
    if (when_holds(h, WHEN_SHARED, l))
        add = blk_ffn_named(b, l, n, shared, ACT_SILU, 1.0f, add);
    return blk_moe(b, h, l, n, &ex, add);
}

static int build(struct builder *b, const struct hparams *h)
{
    val x = b_embed(b, W(b, "token_embd", -1), -1, 1.0f);

    for (int l = 0; l < h->n_layer; l++) {
        b_layer(b, l);
        val n = b_rmsnorm(b, x, W(b, "attn_norm", l), h->eps, 0, B_NONE);
        x = attention(b, h, l, n, x);
        n = b_rmsnorm(b, x, W(b, "ffn_norm", l), h->eps, 0, B_NONE);
        x = feed_forward(b, h, l, n, x);
    }
    b_layer(b, -1);
    x = b_rmsnorm(b, b_take_rows(b, x), W(b, "output_norm", -1), h->eps, 0, B_NONE);
    blk_logits(b, h, x);
    return b_status(b);
}

const struct arch arch_deepseek2 = {.name = "deepseek2",
                                    .hf = hf,
                                    .keys = keys,
                                    .weights = weights,
                                    .derive = derive,
                                    .config = config,
                                    .build = build};
