/* hparams.c - reads a model's numbers through the architecture's table of keys. */
#include "model/hparams.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "file/gguf.h"
#include "model/arch.h"

static int out_of_range(const struct gguf *g, const char *key, double v, const struct key_row *k,
                        struct err *e)
{
    return err_set(e, E_RANGE, "%s: key '%s' is %g, expected %g to %g", g->path, key, v, k->min,
                   k->max);
}

/* One value per layer; a scalar stands for all. Absent: the default. */
static int read_layers(struct hparams *h, const struct gguf *g, const char *key,
                       const struct key_row *k, struct err *e)
{
    int32_t *to = (int32_t *)((char *)h + k->at);
    uint32_t v[MAX_LAYER];
    int rc = gguf_get_u32s(g, key, v, (uint32_t)h->n_layer, e);

    for (int l = 0; rc > 0 && l < h->n_layer; l++)
        if (v[l] > k->max)
            return out_of_range(g, key, v[l], k, e);
    /* an array may have zeros where a layer has no such thing */
    for (int l = 0; l < h->n_layer; l++)
        to[l] = rc > 0 ? (int32_t)v[l] : (int32_t)k->def;
    if (rc > 0 && gguf_find(g, key)->type != GGUF_ARR && to[0] < k->min)
        return out_of_range(g, key, to[0], k, e);
    return rc;
}

static int read_key(struct hparams *h, const struct gguf *g, const char *key,
                    const struct key_row *k, struct err *e)
{
    void *to = (char *)h + k->at;
    int32_t i = 0;
    float f = 0;
    double v;
    int rc;

    switch (k->type) {
    case KEY_INTS:
        return read_layers(h, g, key, k, e);
    case KEY_BOOL:
        *(bool *)to = k->def != 0;
        return gguf_get_bool(g, key, to, e);
    case KEY_INT:
        rc = gguf_get_i32(g, key, &i, e);
        v = i;
        break;
    default:
        rc = gguf_get_f32(g, key, &f, e);
        v = (double)f;
        break;
    }
    if (rc < 0)
        return rc;
    if (rc > 0 && !(v >= k->min && v <= k->max))
        return out_of_range(g, key, v, k, e);
    if (k->type == KEY_INT)
        *(int32_t *)to = rc > 0 ? i : (int32_t)k->def;
    else if (rc > 0 || *(float *)to == 0.0f) /* an older name of the same field may have set it */
        *(float *)to = rc > 0 ? f : (float)k->def;
    return rc;
}

static int read_scaling(struct hparams *h, const struct gguf *g, const char *arch, struct err *e)
{
    static const struct {
        const char *name;
        int kind;
    } kinds[] = {{"none", ROPE_SCALE_NONE},
                 {"linear", ROPE_SCALE_LINEAR},
                 {"yarn", ROPE_SCALE_YARN},
                 {"longrope", ROPE_SCALE_LONG}};
    struct slice s;
    char key[96], shown[48];
    int rc;

    snprintf(key, sizeof key, "%s.rope.scaling.type", arch);
    if ((rc = gguf_get_str(g, key, &s, e)) < 0)
        return rc;
    h->rope_scaling = h->rope_factor > 0.0f ? ROPE_SCALE_LINEAR : ROPE_SCALE_NONE;
    if (rc == 0)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (slice_is(s, kinds[i].name)) {
            h->rope_scaling = kinds[i].kind;
            return 0;
        }
    return err_set(e, E_UNSUPPORTED, "%s: key '%s' is '%s', which is not supported", g->path, key,
                   gguf_show(shown, sizeof shown, s));
}

/* The window pattern: a number of layers, of which the last sees all (0: none does), or a truth
 * value per layer that repeats such a number. */
static int read_pattern(struct hparams *h, const struct gguf *g, const char *arch, struct err *e)
{
    bool local[MAX_LAYER];
    uint32_t every;
    char key[96];
    int n = 0;
    int rc;

    snprintf(key, sizeof key, "%s.attention.sliding_window_pattern", arch);
    if (!gguf_find(g, key))
        return 0;
    if (gguf_find(g, key)->type != GGUF_ARR) {
        if ((rc = gguf_get_u32(g, key, &every, e)) < 0)
            return rc;
        if (every > MAX_LAYER)
            return err_set(e, E_RANGE, "%s: key '%s' is %u", g->path, key, every);
        h->window_every = every ? (int32_t)every : 1; /* as everywhere here: 1 is every layer */
        if (every == 1)
            h->window = 0;
        return 0;
    }
    if ((rc = gguf_get_bools(g, key, local, (uint32_t)h->n_layer, e)) < 0)
        return rc;
    while (n < h->n_layer && local[n])
        n++;
    h->window_every = n < h->n_layer ? n + 1 : 1;
    if (n == 0)
        h->window = 0;
    for (int l = 0; l < h->n_layer; l++)
        if (local[l] != hparams_local(h, l))
            return err_set(e, E_UNSUPPORTED, "%s: key '%s' does not repeat itself", g->path, key);
    return 0;
}

static int read_pooling(struct hparams *h, const struct gguf *g, const char *arch, struct err *e)
{
    char key[96];
    int rc;

    h->pooling = POOL_UNSAID;
    snprintf(key, sizeof key, "%s.pooling_type", arch);
    rc = gguf_get_i32(g, key, &h->pooling, e);
    if (rc > 0 && (h->pooling < POOL_UNSAID || h->pooling > POOL_RANK))
        return err_set(e, E_RANGE, "%s: key '%s' is %d, expected %d to %d", g->path, key,
                       h->pooling, POOL_UNSAID, POOL_RANK);
    return rc;
}

/* Rows of a table, or how many a key says where there is none yet. */
static int read_rows(int32_t *out, const struct gguf *g, const char *tensor, struct err *e)
{
    const struct gguf_tensor *t = gguf_tensor(g, tensor);

    if (!t)
        return 0;
    if (t->ne[1] > INT32_MAX)
        return err_set(e, E_RANGE, "%s: tensor '%s' has too many rows", g->path, tensor);
    *out = (int32_t)t->ne[1];
    return 1;
}

/* Token types and the scores of a head; a head of one score has a row that files may squeeze. */
static int read_encoder(struct hparams *h, const struct gguf *g, const char *arch, struct err *e)
{
    const struct gguf_key *k;
    char key[96];
    int rc;

    if ((rc = read_rows(&h->n_type, g, "token_types.weight", e)) < 0)
        return rc;
    if (rc == 0 && (rc = gguf_get_i32(g, "tokenizer.ggml.token_type_count", &h->n_type, e)) < 0)
        return rc;
    if (h->n_type < 0)
        return err_set(e, E_RANGE, "%s: %d token types", g->path, h->n_type);
    if ((rc = read_rows(&h->n_score, g, "cls.output.weight", e)) != 0)
        return rc;
    snprintf(key, sizeof key, "%s.classifier.output_labels", arch);
    k = gguf_find(g, key);
    if (k && k->type == GGUF_ARR && k->array.n <= INT32_MAX)
        h->n_score = (int32_t)k->array.n;
    return 0;
}

/* The rows of the token table; of a file of keys alone what they say. */
static int count_tokens(struct hparams *h, const struct gguf *g, const struct arch *a,
                        struct err *e)
{
    const struct gguf_tensor *t = gguf_tensor(g, "token_embd.weight");
    char key[96];
    int rc;

    if (t && t->ne[1] > INT32_MAX)
        return err_set(e, E_RANGE, "%s: tensor 'token_embd.weight' has too many rows", g->path);
    if (t) {
        h->n_vocab = (int32_t)t->ne[1];
        return 0;
    }
    snprintf(key, sizeof key, "%s.vocab_size", a->name);
    if (g->n_tensor == 0 && (rc = gguf_get_i32(g, key, &h->n_vocab, e)) != 0)
        return rc < 0 ? rc : 0;
    return err_set(e, E_FORMAT, "%s: tensor 'token_embd.weight' is missing", g->path);
}

/* What follows from the keys when a file leaves it out. */
static int fill(struct hparams *h, const struct gguf *g, const struct arch *a, struct err *e)
{
    int most = 0, rc = count_tokens(h, g, a, e);

    if (rc < 0)
        return rc;
    for (int l = 0; l < h->n_layer; l++) {
        most = h->n_head[l] > most ? h->n_head[l] : most;
        if (h->n_head_kv[l] && (h->n_head[l] <= 0 || h->n_head[l] % h->n_head_kv[l]))
            return err_set(e, E_FORMAT, "%s: layer %d: %d heads over %d key/value heads", g->path,
                           l, h->n_head[l], h->n_head_kv[l]);
    }
    if (!h->dk && most)
        h->dk = h->n_embd / most;
    if (!h->dv)
        h->dv = h->dk;
    if (!h->n_rot)
        h->n_rot = h->dk;
    if (!h->n_ctx_orig)
        h->n_ctx_orig = h->n_ctx_train;
    if (!h->n_expert)
        h->n_used = 0;
    if (h->n_used > h->n_expert)
        return err_set(e, E_FORMAT, "%s: %d of %d experts", g->path, h->n_used, h->n_expert);
    if (h->n_expert && !h->n_used)
        return err_set(e, E_FORMAT, "%s: none of %d experts is used", g->path, h->n_expert);
    return 0;
}

int hparams_read(struct hparams *h, const struct gguf *g, const struct arch *a, struct err *e)
{
    char key[96];
    int rc;

    memset(h, 0, sizeof *h);
    for (const struct key_row *k = a->keys; k->key; k++) {
        snprintf(key, sizeof key, "%s.%s", a->name, k->key);
        if ((rc = read_key(h, g, key, k, e)) < 0)
            return rc;
        if (rc == 0 && k->need)
            return gguf_missing(g, key, e);
        if (k->at == offsetof(struct hparams, n_nextn)) {
            if (h->n_nextn >= h->n_layer)
                return err_set(e, E_FORMAT, "%s: %d of %d layers belong to a draft head", g->path,
                               h->n_nextn, h->n_layer);
            h->n_layer -= h->n_nextn;
        }
        /* absent: every head has keys and values of its own */
        if (rc == 0 && k->at == offsetof(struct hparams, n_head_kv))
            memcpy(h->n_head_kv, h->n_head, sizeof h->n_head_kv);
    }
    if ((rc = read_scaling(h, g, a->name, e)) < 0 || (rc = read_pattern(h, g, a->name, e)) < 0 ||
        (rc = read_pooling(h, g, a->name, e)) < 0 || (rc = read_encoder(h, g, a->name, e)) < 0 ||
        (rc = fill(h, g, a, e)) < 0)
        return rc;
    if (a->derive && (rc = a->derive(h, e)) < 0)
        return err_prefix(e, g->path);
    return 0;
}

bool hparams_local(const struct hparams *h, int l)
{
    return h->window > 0 && (h->window_every <= 1 || l % h->window_every < h->window_every - 1);
}
