/* nomic_bert.c - Nomic Embed: BERT with rotated halves, a gated FFN and no biases. */
#include <string.h>

#include "model/blocks.h"
#include "model/config.h"

static const char *const hf[] = {"NomicBertModel", NULL};

static const struct key_row keys[] = {
    KEY(INT, "block_count", "num_hidden_layers", n_layer, true, 1, MAX_LAYER, 0),
    KEY(INT, "embedding_length", "hidden_size", n_embd, true, 1, MAX_EMBD, 0),
    KEY(INT, "context_length", NULL, n_ctx_train, true, 1, MAX_CTX, 0),
    KEYS_HEADS,
    KEYS_FF,
    KEY_LN_EPS,
    KEYS_ROPE,
    KEY_CAUSAL,
    KEYS_END,
};

#define L "encoder.layers.%d."
static const struct weight_row weights[] = {
    W_EMBD("embeddings.word_embeddings.weight"),
    W_TOKEN_TYPES("embeddings.token_type_embeddings.weight"),
    W_EMBD_NORM("emb_ln"),
    WMAT("attn_qkv.weight", L "attn.Wqkv.weight", NONE, QKV, EMBD),
    WVEC_OPT("attn_qkv.bias", L "attn.Wqkv.bias", QKV),
    WMAT("attn_output.weight", L "attn.out_proj.weight", COLS, EMBD, O),
    WVEC_OPT("attn_output.bias", L "attn.out_proj.bias", EMBD),
    WNORM("attn_output_norm.weight", L "norm1.weight"),
    WNORM("attn_output_norm.bias", L "norm1.bias"),
    WMAT("ffn_up.weight", L "mlp.fc11.weight", ROWS, FF, EMBD),
    WMAT("ffn_gate.weight", L "mlp.fc12.weight", ROWS, FF, EMBD),
    WMAT("ffn_down.weight", L "mlp.fc2.weight", COLS, EMBD, FF),
    WNORM("layer_output_norm.weight", L "norm2.weight"),
    WNORM("layer_output_norm.bias", L "norm2.bias"),
    W_END,
};

/* What the original code could do otherwise, and no model of the family does. */
static int config(struct config *c, struct err *e)
{
    static const struct {
        const char *name;
        bool want;
    } flags[] = {{"prenorm", false},
                 {"causal", false},
                 {"parallel_block", false},
                 {"rotary_emb_interleaved", false},
                 {"use_rms_norm", false}};
    const char *act = cfg_str(c, "activation_function");
    bool is;

    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (cfg_bool(c, flags[i].name, &is) && is != flags[i].want)
            return err_set(e, E_UNSUPPORTED, "%s: '%s' in nomic-bert is not supported", c->path,
                           flags[i].name);
    if (!act)
        act = cfg_str(c, "hidden_act");
    if (act && strcmp(act, "swiglu") != 0 && strcmp(act, "silu") != 0)
        return err_set(e, E_UNSUPPORTED, "%s: activation '%.40s' in nomic-bert is not supported",
                       c->path, act);
    if (cfg_real_or(c, "rotary_emb_fraction", 1) != 1 || cfg_real_or(c, "num_experts", 0) > 0)
        return err_set(e, E_UNSUPPORTED,
                       "%s: nomic-bert with experts or with heads rotated in part", c->path);
    /* more positions than it was trained with need rope scaling */
    cfg_put_int(
        c, "context_length",
        cfg_int_or(c, "max_trained_positions", cfg_int_or(c, "max_position_embeddings", 2048)));
    if (cfg_lacks(c, "rope.freq_base"))
        cfg_put_real(c, "rope.freq_base", 1000);
    if (cfg_find(c, "type_vocab_size"))
        gguf_put_u32(c->w, "tokenizer.ggml.token_type_count",
                     (uint32_t)cfg_int_or(c, "type_vocab_size", 0));
    cfg_put_bool(c, "attention.causal", false);
    return 0;
}

static int build(struct builder *b, const struct hparams *h)
{
    const struct self_attn at = {.mode = ROPE_NEOX};

    blk_encoder(b, h, b_embed_typed(b, W(b, "token_embd", -1), -1, Wopt(b, "token_types", -1)), &at,
                ACT_SILU);
    return b_status(b);
}

const struct arch arch_nomic_bert = {.name = "nomic-bert",
                                     .hf = hf,
                                     .keys = keys,
                                     .weights = weights,
                                     .derive = blk_encoder_derive,
                                     .config = config,
                                     .build = build};
