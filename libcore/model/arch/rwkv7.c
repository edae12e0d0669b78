/* rwkv7.c - RWKV generation 7: no attention, a matrix of state per head (arXiv 2503.14456). */
#include "model/blocks.h"

#include <math.h>

#include "model/config.h"

static const char *const hf[] = {"RWKV7ForCausalLM", NULL};

static const struct key_row keys[] = {
    KEYS_SIZES,
    KEYS_FF,
    KEY_LN_EPS,
    KEY(INT, "wkv.head_size", "head_dim", wkv_head, true, 1, 1024, 0),
    KEY(INT, "attention.decay_lora_rank", "decay_low_rank_dim", lora_w, true, 1, 65536, 0),
    KEY(INT, "attention.iclr_lora_rank", "a_low_rank_dim", lora_a, true, 1, 65536, 0),
    KEY(INT, "attention.value_residual_mix_lora_rank", "v_low_rank_dim", lora_v, true, 1, 65536, 0),
    KEY(INT, "attention.gate_lora_rank", "gate_low_rank_dim", lora_g, true, 1, 65536, 0),
    KEYS_END,
};

#define L "model.layers.%d."
#define A L "attn."
#define F L "ffn."
static const struct weight_row weights[] = {
    W_EMBD("model.embeddings.weight"),
    WROW("token_embd_norm.weight", "model.layers.0.pre_norm.weight", WR_MODEL | WR_F32, ALWAYS,
         NONE, NONE, ONE, ONE, EMBD),
    WROW("token_embd_norm.bias", "model.layers.0.pre_norm.bias", WR_MODEL | WR_F32, ALWAYS, NONE,
         NONE, ONE, ONE, EMBD),
    W_OUT_NORM("model.norm.weight"),
    W_OUT_NORM_BIAS("model.norm.bias"),
    W_OUT("lm_head.weight"),
    WNORM("attn_norm.weight", L "attn_norm.weight"),
    WNORM("attn_norm.bias", L "attn_norm.bias"),
    WNORM("attn_norm_2.weight", L "ffn_norm.weight"),
    WNORM("attn_norm_2.bias", L "ffn_norm.bias"),
    WROW("time_mix_lerp_fused.weight", A "x_%x", WR_F32, ALWAYS, EACH_ROW, NONE, ONE, SIX, EMBD),
    WVEC("time_mix_w0.weight", A "w_lora.lora.2.bias", EMBD),
    WMAT("time_mix_w1.weight", A "w_lora.lora.0.weight", NONE, LORA_W, EMBD),
    WMAT("time_mix_w2.weight", A "w_lora.lora.2.weight", NONE, EMBD, LORA_W),
    WVEC("time_mix_a0.weight", A "a_lora.lora.2.bias", EMBD),
    WMAT("time_mix_a1.weight", A "a_lora.lora.0.weight", NONE, LORA_A, EMBD),
    WMAT("time_mix_a2.weight", A "a_lora.lora.2.weight", NONE, EMBD, LORA_A),
    WROW("time_mix_v0.weight", A "v_lora.lora.2.bias", WR_F32, LATER, NONE, NONE, ONE, ONE, EMBD),
    WROW("time_mix_v1.weight", A "v_lora.lora.0.weight", 0, LATER, NONE, NONE, ONE, LORA_V, EMBD),
    WROW("time_mix_v2.weight", A "v_lora.lora.2.weight", 0, LATER, NONE, NONE, ONE, EMBD, LORA_V),
    /* files have them in the first layer too, where nothing reads them: copies */
    WROW("time_mix_v0.weight", A "a_lora.lora.2.bias", WR_F32 | WR_OPT, FIRST, NONE, NONE, ONE, ONE,
         EMBD),
    WROW("time_mix_v1.weight", A "a_lora.lora.0.weight", WR_OPT, FIRST, NONE, NONE, ONE, LORA_A,
         EMBD),
    WROW("time_mix_v2.weight", A "a_lora.lora.2.weight", WR_OPT, FIRST, NONE, NONE, ONE, EMBD,
         LORA_A),
    WMAT("time_mix_g1.weight", A "g_lora.lora.0.weight", NONE, LORA_G, EMBD),
    WMAT("time_mix_g2.weight", A "g_lora.lora.2.weight", NONE, EMBD, LORA_G),
    WVEC("time_mix_k_k.weight", A "k_k", EMBD),
    WVEC("time_mix_k_a.weight", A "k_a", EMBD),
    WVEC("time_mix_r_k.weight", A "r_k", EMBD),
    WMAT("time_mix_receptance.weight", A "r_proj.weight", NONE, EMBD, EMBD),
    WMAT("time_mix_key.weight", A "k_proj.weight", NONE, EMBD, EMBD),
    WMAT("time_mix_value.weight", A "v_proj.weight", NONE, EMBD, EMBD),
    WMAT("time_mix_output.weight", A "o_proj.weight", NONE, EMBD, EMBD),
    WVEC("time_mix_ln.weight", A "g_norm.weight", EMBD),
    WVEC("time_mix_ln.bias", A "g_norm.bias", EMBD),
    WVEC("channel_mix_lerp_k.weight", F "x_k", EMBD),
    WMAT("channel_mix_key.weight", F "key.weight", NONE, FF, EMBD),
    WMAT("channel_mix_value.weight", F "value.weight", NONE, EMBD, FF),
    W_END,
};

/* What files leave to the sizes when they say null. */
static void put_rank(struct config *c, const char *key, double exponent, double factor)
{
    double n = rint(pow((double)cfg_int_or(c, "hidden_size", 0), exponent) * factor / 32);

    if (cfg_lacks(c, key))
        cfg_put_int(c, key, (n < 1 ? 1 : (int64_t)n) * 32);
}

static int config(struct config *c, struct err *e)
{
    if (cfg_find(c, "attn"))
        return err_set(e, E_UNSUPPORTED, "%s: \"attn\": layers with attention are not supported",
                       c->path);
    put_rank(c, "attention.decay_lora_rank", 0.5, 1.8);
    put_rank(c, "attention.iclr_lora_rank", 0.5, 1.8);
    put_rank(c, "attention.value_residual_mix_lora_rank", 0.5, 1.3);
    put_rank(c, "attention.gate_lora_rank", 0.8, 0.6);
    if (cfg_lacks(c, "feed_forward_length"))
        cfg_put_int(c, "feed_forward_length", 4 * cfg_int_or(c, "hidden_size", 0));
    cfg_put_int(c, "context_length", 1048576); /* there is no limit; readers want a number */
    cfg_put_int(c, "attention.head_count", 0); /* likewise */
    return 0;
}

static int derive(struct hparams *h, struct err *e)
{
    if (h->n_embd % h->wkv_head)
        return err_set(e, E_FORMAT, "%d columns in heads of %d", h->n_embd, h->wkv_head);
    return 0;
}

/* A matrix of low rank: (act(x w1)) w2 + bias. */
static val low_rank(struct builder *b, int l, val x, const char *const w[3], enum act_kind act)
{
    val y = b_linear_act(b, x, W(b, w[1], l), -1, act);

    return b_linear(b, y, W(b, w[2], l), w[0] ? W(b, w[0], l) : -1);
}

/* *v_first: the first layer's values, which later layers mix with their own. */
static val time_mix(struct builder *b, const struct hparams *h, int l, val n, val add, val *v_first)
{
    static const char *const lw[3] = {"time_mix_w0", "time_mix_w1", "time_mix_w2"};
    static const char *const la[3] = {"time_mix_a0", "time_mix_a1", "time_mix_a2"};
    static const char *const lv[3] = {"time_mix_v0", "time_mix_v1", "time_mix_v2"};
    static const char *const lg[3] = {NULL, "time_mix_g1", "time_mix_g2"};
    const float group_eps = 64e-5f; /* the paper's, of the norm over each head */
    int d = h->n_embd;
    val mixed = b_lerp(b, n, b_shift(b, n), W(b, "time_mix_lerp_fused", l));
    val in = b_value(b, ROWS_T, 5 * d); /* r, w, k, v, a */
    val x[6], v, y;

    for (int i = 0; i < 6; i++) /* r, w, k, v, a, g */
        x[i] = b_cols(b, mixed, i * d, d);
    b_linear_to(b, b_cols(b, in, 0, d), x[0], W(b, "time_mix_receptance", l), -1, ACT_NONE);
    b_act_to(b, b_cols(b, in, d, d), low_rank(b, l, x[1], lw, ACT_TANH), ACT_SIGMOID);
    b_linear_to(b, b_cols(b, in, 2 * d, d), x[2], W(b, "time_mix_key", l), -1, ACT_NONE);
    if (l == 0) {
        *v_first =
            b_linear_to(b, b_cols(b, in, 3 * d, d), x[3], W(b, "time_mix_value", l), -1, ACT_NONE);
    } else {
        v = b_linear(b, x[3], W(b, "time_mix_value", l), -1);
        v = b_lerp_by(b, v, *v_first, b_act(b, low_rank(b, l, x[3], lv, ACT_NONE), ACT_SIGMOID));
        b_copy_to(b, b_cols(b, in, 3 * d, d), v);
    }
    b_act_to(b, b_cols(b, in, 4 * d, d), low_rank(b, l, x[4], la, ACT_NONE), ACT_SIGMOID);
    y = b_rwkv(b, in, W(b, "time_mix_k_k", l), W(b, "time_mix_k_a", l), W(b, "time_mix_r_k", l),
               W(b, "time_mix_ln", l), Wb(b, "time_mix_ln", l), d / h->wkv_head, h->wkv_head,
               group_eps);
    y = b_mul(b, y, low_rank(b, l, x[5], lg, ACT_SIGMOID), ACT_NONE);
    return b_linear_add(b, y, W(b, "time_mix_output", l), -1, 1.0f, add);
}

static val channel_mix(struct builder *b, int l, val n, val add)
{
    val k = b_lerp(b, n, b_shift(b, n), W(b, "channel_mix_lerp_k", l));

    k = b_linear_act(b, k, W(b, "channel_mix_key", l), -1, ACT_RELU2);
    return b_linear_add(b, k, W(b, "channel_mix_value", l), -1, 1.0f, add);
}

static val norm(struct builder *b, const struct hparams *h, val x, const char *name, int l)
{
    return b_layernorm(b, x, W(b, name, l), Wb(b, name, l), h->eps, 0, B_NONE);
}

static int build(struct builder *b, const struct hparams *h)
{
    val x = norm(b, h, b_embed(b, W(b, "token_embd", -1), -1, 1.0f), "token_embd_norm", -1);
    val v_first = B_NONE;

    for (int l = 0; l < h->n_layer; l++) {
        b_layer(b, l);
        x = time_mix(b, h, l, norm(b, h, x, "attn_norm", l), x, &v_first);
        x = channel_mix(b, l, norm(b, h, x, "attn_norm_2", l), x);
    }
    b_layer(b, -1);
    blk_logits(b, h, norm(b, h, b_take_rows(b, x), "output_norm", -1));
    return b_status(b);
}

const struct arch arch_rwkv7 = {.name = "rwkv7",
                                .hf = hf,
                                .keys = keys,
                                .weights = weights,
                                .derive = derive,
                                .config = config,
                                .build = build};
