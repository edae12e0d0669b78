/* gemma3.c - Gemma 3 (text): as Gemma 2 without caps, heads normed, five layers of six with a
 * window and a rotation base of their own. */
#include <math.h>

#include "base/mem.h"
#include "model/blocks.h"
#include "model/config.h"

static const char *const hf[] = {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration", NULL};

static const struct key_row keys[] = {
    KEYS_SIZES,
    KEYS_HEADS,
    KEYS_FF,
    KEY_RMS_EPS,
    KEYS_ROPE,
    KEY(REAL, "rope.freq_base_swa", "rope_local_base_freq", rope_base_local, false, 1e-3, 1e12,
        10000),
    KEY_WINDOW,
    KEY_ATTN_SCALE(NULL),
    KEY(REAL, "final_logit_softcapping", "final_logit_softcapping", final_softcap, false, 0, 1e6,
        0),
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
    WROW("attn_q_norm.weight", A "q_norm.weight", WR_F32, ALWAYS, ADD_ONE, NONE, ONE, ONE, DK),
    WROW("attn_k_norm.weight", A "k_norm.weight", WR_F32, ALWAYS, ADD_ONE, NONE, ONE, ONE, DK),
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
    if (cfg_find(c, "model_type") && c->text != c->root) { /* what short text_configs leave out */
        static const struct {
            const char *key;
            int64_t v;
        } usual[] = {{"attention.head_count", 8},   {"attention.head_count_kv", 4},
                     {"attention.key_length", 256}, {"attention.value_length", 256},
                     {"context_length", 131072},    {"vocab_size", 262208}};

        for (size_t i = 0; i < ARRAY_LEN(usual); i++)
            if (cfg_lacks(c, usual[i].key))
                cfg_put_int(c, usual[i].key, usual[i].v);
        if (cfg_lacks(c, "attention.layer_norm_rms_epsilon"))
            cfg_put_real(c, "attention.layer_norm_rms_epsilon", 1e-6);
        if (cfg_lacks(c, "rope.freq_base"))
            cfg_put_real(c, "rope.freq_base", 1e6);
    }
    if (cfg_real(c, "query_pre_attn_scalar", &scalar) && scalar > 0 &&
        cfg_int(c, "head_dim", &dim) && scalar != (double)dim)
        cfg_put_real(c, "attention.scale", 1 / sqrt(scalar));
    return 0;
}

static int derive(struct hparams *h, struct err *e)
{
    (void)e;
    if (!h->window_every)
        h->window_every = 6;
    /* the file does not say query_pre_attn_scalar; only the 27B model's is not the head's width */
    if (h->attn_scale == 0.0f && h->n_layer == 62)
        h->attn_scale = 1.0f / sqrtf((float)(h->n_embd / h->n_head[0]));
    return 0;
}

static int build(struct builder *b, const struct hparams *h)
{
    const struct self_attn at = {.mode = ROPE_NEOX, .norm = QK_HEAD};
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

const struct arch arch_gemma3 = {.name = "gemma3",
                                 .hf = hf,
                                 .keys = keys,
                                 .weights = weights,
                                 .derive = derive,
                                 .config = config,
                                 .build = build};
