/* rwkv7.c - RWKV generation 7: no attention, a matrix of state per head (arXiv 2503.14456). */
#include "model/blocks.h"

static const char *const hf[] = {"Rwkv7ForCausalLM", "RWKV7ForCausalLM", NULL};

static const struct key_row keys[] = {
    KEYS_SIZES,
    KEYS_FF,
    KEY_LN_EPS,
    KEY(INT, "wkv.head_size", "head_size", wkv_head, true, 1, 1024, 0),
    KEY(INT, "attention.decay_lora_rank", NULL, lora_w, true, 1, 65536, 0),
    KEY(INT, "attention.iclr_lora_rank", NULL, lora_a, true, 1, 65536, 0),
    KEY(INT, "attention.value_residual_mix_lora_rank", NULL, lora_v, true, 1, 65536, 0),
    KEY(INT, "attention.gate_lora_rank", NULL, lora_g, true, 1, 65536, 0),
    KEYS_END,
};

#define A "model.blocks.%d.attention."
#define F "model.blocks.%d.feed_forward."
static const struct weight_row weights[] = {
    W_EMBD("model.embeddings.weight"),
    WROW("token_embd_norm.weight", "model.blocks.0.pre_ln.weight", WR_MODEL | WR_F32, ALWAYS, NONE,
         NONE, ONE, ONE, EMBD),
    WROW("token_embd_norm.bias", "model.blocks.0.pre_ln.bias", WR_MODEL | WR_F32, ALWAYS, NONE,
         NONE, ONE, ONE, EMBD),
    W_OUT_NORM("model.ln_out.weight"),
    W_OUT_NORM_BIAS("model.ln_out.bias"),
    W_OUT("head.weight"),
    WNORM("attn_norm.weight", "model.blocks.%d.ln1.weight"),
    WNORM("attn_norm.bias", "model.blocks.%d.ln1.bias"),
    WNORM("attn_norm_2.weight", "model.blocks.%d.ln2.weight"),
    WNORM("attn_norm_2.bias", "model.blocks.%d.ln2.bias"),
    WROW("time_mix_lerp_fused.weight", A "x_rwkvag", WR_F32, ALWAYS, NONE, NONE, ONE, SIX, EMBD),
    WVEC("time_mix_w0.weight", A "w0", EMBD),
    WMAT("time_mix_w1.weight", A "w1", NONE, LORA_W, EMBD),
    WMAT("time_mix_w2.weight", A "w2", NONE, EMBD, LORA_W),
    WVEC("time_mix_a0.weight", A "a0", EMBD),
    WMAT("time_mix_a1.weight", A "a1", NONE, LORA_A, EMBD),
    WMAT("time_mix_a2.weight", A "a2", NONE, EMBD, LORA_A),
    WROW("time_mix_v0.weight", A "v0", WR_F32, LATER, NONE, NONE, ONE, ONE, EMBD),
    WROW("time_mix_v1.weight", A "v1", 0, LATER, NONE, NONE, ONE, LORA_V, EMBD),
    WROW("time_mix_v2.weight", A "v2", 0, LATER, NONE, NONE, ONE, EMBD, LORA_V),
    /* files have them in the first layer too, where nothing reads them */
    WROW("time_mix_v0.weight", NULL, WR_F32 | WR_OPT, FIRST, NONE, NONE, ONE, ONE, EMBD),
    WROW("time_mix_v1.weight", NULL, WR_OPT, FIRST, NONE, NONE, ONE, LORA_A, EMBD),
    WROW("time_mix_v2.weight", NULL, WR_OPT, FIRST, NONE, NONE, ONE, EMBD, LORA_A),
    WMAT("time_mix_g1.weight", A "g1", NONE, LORA_G, EMBD),
    WMAT("time_mix_g2.weight", A "g2", NONE, EMBD, LORA_G),
    WVEC("time_mix_k_k.weight", A "k_k", EMBD),
    WVEC("time_mix_k_a.weight", A "k_a", EMBD),
    WVEC("time_mix_r_k.weight", A "r_k", EMBD),
    WMAT("time_mix_receptance.weight", A "receptance.weight", NONE, EMBD, EMBD),
    WMAT("time_mix_key.weight", A "key.weight", NONE, EMBD, EMBD),
    WMAT("time_mix_value.weight", A "value.weight", NONE, EMBD, EMBD),
    WMAT("time_mix_output.weight", A "output.weight", NONE, EMBD, EMBD),
    WVEC("time_mix_ln.weight", A "ln_x.weight", EMBD),
    WVEC("time_mix_ln.bias", A "ln_x.bias", EMBD),
    WVEC("channel_mix_lerp_k.weight", F "x_k", EMBD),
    WMAT("channel_mix_key.weight", F "key.weight", NONE, FF, EMBD),
    WMAT("channel_mix_value.weight", F "value.weight", NONE, EMBD, FF),
    W_END,
};

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

const struct arch arch_rwkv7 = {
    .name = "rwkv7", .hf = hf, .keys = keys, .weights = weights, .derive = derive, .build = build};
