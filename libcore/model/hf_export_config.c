/* hf_export_config.c - config.json out of the keys of a GGUF file.
 *
 * The architecture's table says where config.json has a key's value; what config.h computes from
 * several is taken apart again here. Whether that was enough is for hf_export.c to find out.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "file/gguf.h"
#include "model/arch.h"
#include "model/hf_export.h"
#include "text/tok.h"

struct making {
    const struct exported *x;
    const struct hparams *h;
    json_t *root, *rope;
    bool bad;
};

static void set(struct making *m, json_t *o, const char *key, json_t *take)
{
    if (json_object_set_new(o, key, take) < 0)
        m->bad = true;
}

static void set_int(struct making *m, const char *key, int64_t v)
{
    set(m, m->root, key, json_integer(v));
}

static void set_str(struct making *m, const char *key, const char *v)
{
    set(m, m->root, key, json_string(v));
}

static void set_bool(struct making *m, const char *key, bool v)
{
    set(m, m->root, key, json_boolean(v));
}

/* The shortest decimal that is this float again. */
static json_t *real(float v)
{
    char text[40];
    int digits = 6;

    do
        snprintf(text, sizeof text, "%.*g", digits, (double)v);
    while (strtof(text, NULL) != v && ++digits < 10);
    return json_real(strtod(text, NULL));
}

static bool has_tensor(const struct making *m, const char *name)
{
    return gguf_tensor(m->x->g, name) != NULL;
}

static const struct gguf_key *find_key(const struct making *m, const char *key)
{
    char full[128];

    snprintf(full, sizeof full, "%s.%s", m->x->arch->name, key);
    return gguf_find(m->x->g, full);
}

/* -- names -- */

/* Which of the architecture's originals it is, and what its configuration calls itself. */
static void put_names(struct making *m)
{
    static const struct {
        const char *arch, *class, *type;
    } names[] = {{"llama", "LlamaForCausalLM", "llama"},
                 {"qwen2", "Qwen2ForCausalLM", "qwen2"},
                 {"qwen3", "Qwen3ForCausalLM", "qwen3"},
                 {"qwen3moe", "Qwen3MoeForCausalLM", "qwen3_moe"},
                 {"gemma", "GemmaForCausalLM", "gemma"},
                 {"gemma2", "Gemma2ForCausalLM", "gemma2"},
                 {"gemma3", "Gemma3ForCausalLM", "gemma3_text"},
                 {"phi3", "Phi3ForCausalLM", "phi3"},
                 {"gpt2", "GPT2LMHeadModel", "gpt2"},
                 {"gptneox", "GPTNeoXForCausalLM", "gpt_neox"},
                 {"starcoder2", "Starcoder2ForCausalLM", "starcoder2"},
                 {"olmo2", "Olmo2ForCausalLM", "olmo2"},
                 {"command-r", "CohereForCausalLM", "cohere"},
                 {"cohere2", "Cohere2ForCausalLM", "cohere2"},
                 {"granite", "GraniteForCausalLM", "granite"},
                 {"granitemoe", "GraniteMoeForCausalLM", "granitemoe"},
                 {"granitehybrid", "GraniteMoeHybridForCausalLM", "granitemoehybrid"},
                 {"deepseek2", "DeepseekV3ForCausalLM", "deepseek_v3"},
                 {"gpt-oss", "GptOssForCausalLM", "gpt_oss"},
                 {"rwkv7", "RWKV7ForCausalLM", "rwkv7"},
                 {"bert", "BertModel", "bert"},
                 {"nomic-bert", "NomicBertModel", "nomic_bert"}};
    const char *class = m->x->arch->hf ? m->x->arch->hf[0] : m->x->arch->name, *type = NULL;

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(m->x->arch->name, names[i].arch) == 0) {
            class = names[i].class;
            type = names[i].type;
        }
    if (type && strcmp(type, "llama") == 0 && m->h->n_expert) {
        class = "MixtralForCausalLM";
        type = "mixtral";
    } else if (type && strcmp(type, "deepseek_v3") == 0 && m->h->gating != 2) {
        class = "DeepseekV2ForCausalLM";
        type = "deepseek_v2";
    } else if (type && strcmp(type, "granitemoe") == 0 && m->h->n_ff_shexp) {
        class = "GraniteMoeSharedForCausalLM";
        type = "granitemoeshared";
    } else if (type && strcmp(type, "bert") == 0 && m->h->n_score) {
        class = "BertForSequenceClassification";
    } else if (type && strcmp(type, "olmo2") == 0 && m->h->window) {
        class = "Olmo3ForCausalLM";
        type = "olmo3";
    }
    set(m, m->root, "architectures", json_pack("[s]", class));
    if (type)
        set_str(m, "model_type", type);
}

/* -- keys of the table -- */

static json_t *int_list(const int32_t *v, int n)
{
    json_t *list = json_array();

    for (int i = 1; i < n; i++)
        if (v[i] != v[0]) {
            for (int k = 0; k < n; k++)
                json_array_append_new(list, json_integer(v[k]));
            return list;
        }
    json_decref(list);
    return json_integer(v[0]);
}

static void put_row(struct making *m, const struct key_row *k)
{
    const char *at = (const char *)m->h + k->at, *name = k->hf;
    json_t *to = m->root;
    char key[128];
    float v;
    int32_t n;

    if (strncmp(name, "rope_scaling.", 13) == 0) {
        to = m->rope;
        name += 13;
    }
    if (strchr(name, '.'))
        return;
    switch (k->type) {
    case KEY_INTS:
        set(m, to, name, int_list((const int32_t *)(const void *)at, m->h->n_layer));
        break;
    case KEY_INT:
        memcpy(&n, at, sizeof n);
        /* a window of 0 is one that nothing is seen through */
        set(m, to, name,
            n == 0 && k->at == offsetof(struct hparams, window) ? json_null() : json_integer(n));
        break;
    case KEY_BOOL:
        set(m, to, name, json_boolean(*(const bool *)at));
        break;
    default: /* derive() may have made another number of it */
        memcpy(&v, at, sizeof v);
        snprintf(key, sizeof key, "%s.%s", m->x->arch->name, k->key);
        gguf_get_f32(m->x->g, key, &v, NULL);
        set(m, to, name, real(v));
        break;
    }
}

static void put_table(struct making *m)
{
    for (const struct key_row *k = m->x->arch->keys; k->key; k++)
        if (k->hf && find_key(m, k->key))
            put_row(m, k);
}

/* -- positions -- */

static void put_list(struct making *m, const char *key, const char *tensor)
{
    const struct gguf_tensor *t = gguf_tensor(m->x->g, tensor);
    json_t *list = json_array();
    float v;

    for (uint64_t i = 0; t && t->p && t->type == 0 && i < t->ne[0]; i++) {
        memcpy(&v, t->p + 4 * i, 4);
        json_array_append_new(list, real(v));
    }
    set(m, m->rope, key, list);
}

/* Llama 3's stretching: long waves by factor, short ones not, those between by what is between.
 * low and high are 1 and 4 in all of its models; a wave between tells the length that the model was
 * trained with at first. Whether all that is right shows when the directory is read again. */
static void put_llama3(struct making *m)
{
    const struct gguf_tensor *t = gguf_tensor(m->x->g, "rope_freqs.weight");
    double base = m->h->rope_base, orig = 8192, factor = 1, wave, ramp;
    float v;

    for (int pass = 0; pass < 2; pass++)
        for (uint64_t i = 0; t->p && t->type == 0 && i < t->ne[0]; i++) {
            memcpy(&v, t->p + 4 * i, 4);
            wave = 2 * 3.14159265358979323846 * pow(base, (double)i / (double)t->ne[0]);
            ramp = (1 / (double)v - 1 / factor) / (1 - 1 / factor);
            if (pass == 0)
                factor = (double)v > factor ? (double)v : factor;
            else if (ramp > 0.01 && ramp < 0.99)
                orig = rint(wave * (3 * ramp + 1));
        }
    set(m, m->rope, "rope_type", json_string("llama3"));
    set(m, m->rope, "factor", real((float)factor));
    set(m, m->rope, "low_freq_factor", json_real(1));
    set(m, m->rope, "high_freq_factor", json_real(4));
    set(m, m->rope, "original_max_position_embeddings", json_integer((json_int_t)orig));
}

static void put_rope(struct making *m)
{
    const struct gguf_key *type = find_key(m, "rope.scaling.type");
    int32_t dim = m->h->dk_mla ? m->h->dk_mla : m->h->dk;
    const struct hparams *h = m->h;
    double part;

    if (h->n_rot && dim && h->n_rot != dim && !h->dk_mla) {
        part = (double)h->n_rot / dim;
        if ((int64_t)(dim * part) != h->n_rot)
            part = nextafter(part, 2);
        set(m, m->root, "partial_rotary_factor", json_real(part));
    }
    if (has_tensor(m, "rope_factors_long.weight")) {
        set(m, m->rope, "rope_type", json_string("longrope"));
        set(m, m->rope, "attention_factor", real(h->rope_attn ? h->rope_attn : 1));
        json_object_del(m->rope, "factor");
        put_list(m, "long_factor", "rope_factors_long.weight");
        put_list(m, "short_factor", "rope_factors_short.weight");
        set_int(m, "original_max_position_embeddings", h->n_ctx_orig);
    } else if (has_tensor(m, "rope_freqs.weight")) {
        put_llama3(m);
    } else if (type && slice_is(type->raw, "yarn")) {
        set(m, m->rope, "rope_type", json_string("yarn"));
        if (h->rope_attn)
            set(m, m->rope, "attention_factor", real(h->rope_attn));
        if (h->yarn_log_mul)
            set(m, m->rope, "mscale_all_dim", real(h->yarn_log_mul * 10));
        if (h->yarn_log_mul)
            set(m, m->rope, "mscale", real(h->yarn_log_mul * 10));
    } else if (type && slice_is(type->raw, "linear")) {
        set(m, m->rope, "rope_type", json_string("linear"));
    } else {
        json_object_clear(m->rope);
    }
    if (json_object_size(m->rope)) {
        json_t *v = json_object_get(m->rope, "rope_type");

        json_object_set(m->rope, "type", v);
        set(m, m->root, "rope_scaling", json_incref(m->rope));
    }
}

/* -- what the table does not say -- */

/* "layer_types" where layers differ. */
static void put_layers(struct making *m)
{
    bool ssm = m->h->ssm_inner > 0;
    json_t *list;

    if (!m->h->window && !ssm)
        return;
    list = json_array();
    for (int l = 0; l < m->h->n_layer; l++)
        json_array_append_new(list, json_string(ssm ? m->h->n_head_kv[l] ? "attention" : "mamba"
                                                : hparams_local(m->h, l) ? "sliding_attention"
                                                                         : "full_attention"));
    set(m, m->root, "layer_types", list);
    if (m->h->window)
        set_int(m, "sliding_window", m->h->window);
}

static void put_mla(struct making *m)
{
    set_int(m, "qk_rope_head_dim", m->h->n_rot);
    set_int(m, "qk_nope_head_dim", m->h->dk_mla - m->h->n_rot);
    set_int(m, "num_key_value_heads", m->h->n_head[0]);
    set_str(m, "scoring_func", m->h->gating == 2 ? "sigmoid" : "softmax");
    set_str(m, "topk_method",
            m->h->gating == 2   ? "noaux_tc"
            : m->h->n_group > 1 ? "group_limited_greedy"
                                : "greedy");
    json_object_del(m->root, "head_dim");
    if (m->h->n_expert)
        set_int(m, "n_routed_experts", m->h->n_expert);
    if (!m->h->q_lora)
        set(m, m->root, "q_lora_rank", json_null());
}

static void put_ssm(struct making *m)
{
    int kv = 0;

    for (int l = 0; l < m->h->n_layer; l++)
        kv = m->h->n_head_kv[l] > kv ? m->h->n_head_kv[l] : kv;
    set_int(m, "num_key_value_heads", kv);
    set_int(m, "mamba_expand", m->h->ssm_inner / m->h->n_embd);
    if (m->h->ssm_heads)
        set_int(m, "mamba_d_head", m->h->ssm_inner / m->h->ssm_heads);
    set_str(m, "position_embedding_type", m->h->rope_on ? "rope" : "nope");
    if (!m->h->n_expert)
        set_int(m, "num_local_experts", 0);
}

/* The names of a classifier's scores. */
static void put_labels(struct making *m)
{
    json_t *of = json_object(), *ids = json_object();
    struct gguf_array a;
    char key[128], at[16], usual[32];
    bool named;

    snprintf(key, sizeof key, "%s.classifier.output_labels", m->x->arch->name);
    named = gguf_get_strs(m->x->g, key, &a, NULL) > 0 && a.n == (uint64_t)m->h->n_score;
    for (int i = 0; i < m->h->n_score; i++) {
        struct slice s;

        snprintf(usual, sizeof usual, "LABEL_%d", i);
        s = named ? gguf_str_at(&a, (uint64_t)i) : slice_of(usual);
        snprintf(at, sizeof at, "%d", i);
        set(m, of, at, json_stringn(s.p, s.n));
        if (json_object_setn_new(ids, s.p, s.n, json_integer(i)) < 0)
            m->bad = true;
    }
    set(m, m->root, "id2label", of);
    set(m, m->root, "label2id", ids);
}

static void put_rest(struct making *m)
{
    const struct hparams *h = m->h;
    const char *name = m->x->arch->name;

    set_int(m, "vocab_size", h->n_vocab);
    set_str(m, "dtype", m->x->type);
    set_str(m, "torch_dtype", m->x->type);
    set_bool(m, "tie_word_embeddings", !has_tensor(m, "output.weight"));
    if (has_tensor(m, "blk.0.attn_q.bias"))
        set_bool(m, "attention_bias", true);
    if (has_tensor(m, "blk.0.ffn_up.bias") && strcmp(name, "llama") == 0)
        set_bool(m, "mlp_bias", true);
    if (has_tensor(m, "blk.0.attn_q_norm.weight") && strcmp(name, "command-r") == 0)
        set_bool(m, "use_qk_norm", true);
    if (strcmp(name, "starcoder2") == 0)
        set_bool(m, "use_bias", has_tensor(m, "blk.0.ffn_up.bias"));
    if (strncmp(name, "gemma", 5) == 0 && strcmp(name, "gemma") != 0)
        set(m, m->root, "query_pre_attn_scalar",
            h->attn_scale ? json_integer((json_int_t)rint(
                                1 / ((double)h->attn_scale * (double)h->attn_scale)))
                          : json_integer(h->dk));
    if (strcmp(name, "qwen3moe") == 0) /* its class's default is false, as in no model */
        set_bool(m, "norm_topk_prob", true);
    if (strcmp(name, "nomic-bert") == 0)
        set_int(m, "max_position_embeddings", h->n_ctx_train);
    if (h->n_score)
        put_labels(m);
    if (h->n_type)
        set_int(m, "type_vocab_size", h->n_type);
    if (strcmp(name, "gpt2") == 0) {
        set_int(m, "n_inner", h->n_ff[0]);
        set_int(m, "n_positions", h->n_ctx_train);
    }
    if (strcmp(name, "gptneox") == 0)
        set(m, m->root, "rotary_pct", real((float)h->n_rot / (float)h->dk));
    if (strcmp(name, "gpt-oss") == 0 && json_object_size(m->rope))
        set(m, m->rope, "truncate", json_false());
    if (h->kv_lora)
        put_mla(m);
    if (h->ssm_inner)
        put_ssm(m);
}

static void put_ends(struct making *m)
{
    static const char *const keys[][2] = {{"tokenizer.ggml.bos_token_id", "bos_token_id"},
                                          {"tokenizer.ggml.eos_token_id", "eos_token_id"},
                                          {"tokenizer.ggml.padding_token_id", "pad_token_id"}};
    uint32_t id;

    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (gguf_get_u32(m->x->g, keys[i][0], &id, NULL) > 0)
            set_int(m, keys[i][1], id);
        else /* where the original's class has one for granted */
            set(m, m->root, keys[i][1], json_null());
}

/* How vectors are pooled is said beside the model, as sentence-transformers keeps it. */
static int put_pooling(struct exported *x, struct err *e)
{
    static const char modules[] =
        "[{\"idx\": 0, \"name\": \"0\", \"path\": \"\", \"type\": "
        "\"sentence_transformers.models.Transformer\"},\n"
        " {\"idx\": 1, \"name\": \"1\", \"path\": \"" HF_POOLING_DIR "\", \"type\": "
        "\"sentence_transformers.models.Pooling\"}]\n";
    const int pool = x->h->pooling;
    struct buf text = {0};
    int rc;

    if (pool != POOL_MEAN && pool != POOL_CLS && pool != POOL_LAST)
        return 0;
    buf_printf(&text, "%s/" HF_POOLING_DIR, x->dir);
    rc = text.bad ? err_nomem(e, text.n) : file_make_dir(text.p, e);
    x->made_pooling = rc > 0;
    buf_clear(&text);
    buf_printf(&text,
               "{\"word_embedding_dimension\": %d, \"pooling_mode_cls_token\": %s, "
               "\"pooling_mode_mean_tokens\": %s, \"pooling_mode_max_tokens\": false, "
               "\"pooling_mode_mean_sqrt_len_tokens\": false, \"pooling_mode_lasttoken\": %s}\n",
               (int)x->h->n_embd, pool == POOL_CLS ? "true" : "false",
               pool == POOL_MEAN ? "true" : "false", pool == POOL_LAST ? "true" : "false");
    if (rc >= 0)
        rc = text.bad ? err_nomem(e, text.n)
                      : hf_export_file(x, HF_POOLING_DIR "/config.json", text.p, text.n, e);
    if (rc == 0)
        rc = hf_export_file(x, "modules.json", modules, sizeof modules - 1, e);
    buf_fini(&text);
    return rc;
}

int hf_export_config(struct exported *x, struct err *e)
{
    struct making m = {.x = x, .h = x->h, .root = json_object(), .rope = json_object()};
    char *text = NULL;
    int rc;

    if (m.root && m.rope) {
        put_names(&m);
        put_table(&m);
        put_rope(&m);
        put_layers(&m);
        put_rest(&m);
        put_ends(&m);
        if (!m.bad)
            text = json_dumps(m.root, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    }
    rc = text ? hf_export_file(x, "config.json", text, strlen(text), e) : err_nomem(e, 4096);
    if (rc == 0)
        rc = put_pooling(x, e);
    free(text); /* jansson's */
    json_decref(m.root);
    json_decref(m.rope);
    return rc;
}
