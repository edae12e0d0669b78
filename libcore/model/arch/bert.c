/* bert.c - BERT and the embedding models and rerankers made of it: learned positions and token
 * types, all rows see each other, norms behind the residuals.
 */
#include <string.h>

#include "model/blocks.h"
#include "model/config.h"

static const char *const hf[] = {"BertModel", "BertForMaskedLM", "BertForSequenceClassification",
                                 NULL};

static const struct key_row keys[] = {
    KEYS_SIZES, KEYS_HEADS, KEYS_FF, KEY_LN_EPS, KEY_CAUSAL, KEYS_END,
};

#define L "encoder.layer.%d."
static const struct weight_row weights[] = {
    W_EMBD("embeddings.word_embeddings.weight"),
    WROW("position_embd.weight", "embeddings.position_embeddings.weight", WR_MODEL, ALWAYS, NONE,
         NONE, ONE, CTX, EMBD),
    W_TOKEN_TYPES("embeddings.token_type_embeddings.weight"),
    W_EMBD_NORM("embeddings.LayerNorm"),
    WMAT("attn_q.weight", L "attention.self.query.weight", ROWS, Q, EMBD),
    WVEC_OPT("attn_q.bias", L "attention.self.query.bias", Q),
    WMAT("attn_k.weight", L "attention.self.key.weight", ROWS, K, EMBD),
    WVEC_OPT("attn_k.bias", L "attention.self.key.bias", K),
    WMAT("attn_v.weight", L "attention.self.value.weight", ROWS, V, EMBD),
    WVEC_OPT("attn_v.bias", L "attention.self.value.bias", V),
    WMAT("attn_output.weight", L "attention.output.dense.weight", COLS, EMBD, O),
    WVEC_OPT("attn_output.bias", L "attention.output.dense.bias", EMBD),
    WNORM("attn_output_norm.weight", L "attention.output.LayerNorm.weight"),
    WNORM("attn_output_norm.bias", L "attention.output.LayerNorm.bias"),
    WMAT("ffn_up.weight", L "intermediate.dense.weight", ROWS, FF, EMBD),
    WVEC_OPT("ffn_up.bias", L "intermediate.dense.bias", FF),
    WMAT("ffn_down.weight", L "output.dense.weight", COLS, EMBD, FF),
    WVEC_OPT("ffn_down.bias", L "output.dense.bias", EMBD),
    WNORM("layer_output_norm.weight", L "output.LayerNorm.weight"),
    WNORM("layer_output_norm.bias", L "output.LayerNorm.bias"),
    WROW("cls.weight", "pooler.dense.weight", WR_MODEL | WR_OPT, SCORES, NONE, NONE, ONE, EMBD,
         EMBD),
    WROW("cls.bias", "pooler.dense.bias", WR_MODEL | WR_OPT | WR_F32, SCORES, NONE, NONE, ONE, ONE,
         EMBD),
    WROW("cls.output.weight", "classifier.weight", WR_MODEL | WR_OPT, SCORES, NONE, NONE, ONE,
         SCORES, EMBD),
    WROW("cls.output.bias", "classifier.bias", WR_MODEL | WR_OPT | WR_F32, SCORES, NONE, NONE, ONE,
         ONE, SCORES),
    W_END,
};

/* The names of a classifier's scores; one that leaves them out has two. */
static void put_labels(struct config *c)
{
    const json_t *labels = cfg_find(c, "id2label");
    int64_t n = cfg_int_or(c, "num_labels", labels ? (int64_t)json_object_size(labels) : 2);
    struct slice name[64];
    char spelt[64][16];

    if (n < 1 || n > 64) {
        c->rc = err_set(c->e, E_UNSUPPORTED, "%s: a classifier with %lld scores", c->path,
                        (long long)n);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const json_t *s;

        snprintf(spelt[i], sizeof spelt[i], "%lld", (long long)i);
        s = json_object_get(labels, spelt[i]);
        snprintf(spelt[i], sizeof spelt[i], "LABEL_%lld", (long long)i);
        name[i] = s && json_is_string(s)
                      ? (struct slice){json_string_value(s), json_string_length(s)}
                      : slice_of(spelt[i]);
    }
    gguf_put_strs(c->w, "bert.classifier.output_labels", name, (uint64_t)n);
    cfg_put_int(c, "pooling_type", POOL_RANK);
}

static int config(struct config *c, struct err *e)
{
    const char *act = cfg_str(c, "hidden_act"), *pos = cfg_str(c, "position_embedding_type");
    const json_t *first = json_array_get(json_object_get(c->root, "architectures"), 0);
    bool decoder;

    if (act && strcmp(act, "gelu") != 0)
        return err_set(e, E_UNSUPPORTED, "%s: activation '%.40s' in bert is not supported", c->path,
                       act);
    if (pos && strcmp(pos, "absolute") != 0)
        return err_set(e, E_UNSUPPORTED, "%s: positions '%.40s' in bert are not supported", c->path,
                       pos);
    if (cfg_bool(c, "is_decoder", &decoder) && decoder)
        return err_set(e, E_UNSUPPORTED, "%s: bert as a decoder is not supported", c->path);
    if (cfg_find(c, "type_vocab_size"))
        gguf_put_u32(c->w, "tokenizer.ggml.token_type_count",
                     (uint32_t)cfg_int_or(c, "type_vocab_size", 0));
    cfg_put_bool(c, "attention.causal", false);
    if (strcmp(json_string_value(first), "BertForSequenceClassification") == 0)
        put_labels(c);
    return c->rc;
}

static int build(struct builder *b, const struct hparams *h)
{
    const struct self_attn at = {.no_rope = true};

    blk_encoder(b, h,
                b_embed_typed(b, W(b, "token_embd", -1), W(b, "position_embd", -1),
                              Wopt(b, "token_types", -1)),
                &at, ACT_GELU);
    return b_status(b);
}

const struct arch arch_bert = {.name = "bert",
                               .hf = hf,
                               .keys = keys,
                               .weights = weights,
                               .derive = blk_encoder_derive,
                               .config = config,
                               .build = build};
