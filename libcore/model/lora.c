/* lora.c - see lora.h: both kinds of adapter files, as pairs of F32. */
#include "model/lora.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "file/gguf.h"
#include "file/safetensors.h"
#include "model/config.h"
#include "model/hf_cache.h"
#include "model/hf_names.h"
#include "model/hf_place.h"
#include "quant/quant.h"

enum { MAX_RANK = 1 << 16, MAX_ADAPTER_CONFIG = 1 << 20 };

/* Room for a pair's numbers. */
static int new_pair(struct lora *l, struct lora_pair **out, const struct weight_spec *s,
                    int64_t rank, struct err *e)
{
    struct lora_pair *p = &l->pair[l->n_pair];
    uint64_t n_a = 0, n_b = 0;

    *p = (struct lora_pair){.n = s->n, .rank = rank, .rows = s->rows, .cols = s->cols};
    memcpy(p->name, s->name, sizeof p->name);
    if (!mul_ok((uint64_t)(s->n * rank), (uint64_t)s->cols, &n_a) ||
        !mul_ok((uint64_t)(s->n * rank), (uint64_t)s->rows, &n_b) ||
        n_a > SIZE_MAX / sizeof(float) || n_b > SIZE_MAX / sizeof(float))
        return err_set(e, E_RANGE, "%s: '%s' is too large", l->path, p->name);
    p->a = weight_copy_new(&l->copies, n_a * sizeof(float), e);
    p->b = weight_copy_new(&l->copies, n_b * sizeof(float), e);
    if (!p->a || !p->b)
        return E_NOMEM;
    *out = p;
    return 0;
}

static bool is_tokens(const char *name)
{
    return strcmp(name, "token_embd.weight") == 0;
}

/* out[c][r] = in[r][c] */
static void transpose(float *out, const float *in, int64_t rows, int64_t cols)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++)
            out[c * rows + r] = in[r * cols + c];
}

static int add_pair(struct lora *l, struct lora_pair *p, double alpha, struct err *e)
{
    p->alpha = (float)alpha;
    p->scale = (float)(alpha / (double)p->rank);
    if (!isfinite(p->scale))
        return err_set(e, E_FORMAT, "%s: the scale of '%s' is no number", l->path, p->name);
    l->n_pair++;
    return 0;
}

/* -- a GGUF adapter -- */

static int gguf_must_say(const struct gguf *g, const char *key, const char *want, struct err *e)
{
    struct slice is = {0};
    char shown[64];
    int rc = gguf_get_str(g, key, &is, e);

    if (rc < 0)
        return rc;
    if (!slice_is(is, want))
        return err_set(e, E_FORMAT, "%s: '%s' is '%s', not '%s'", g->path, key,
                       gguf_show(shown, sizeof shown, is), want);
    return 0;
}

static int decode_tensor(const struct gguf *g, const struct gguf_tensor *t, float *out,
                         struct err *e)
{
    const struct fmt_info *f = fmt_find((int)t->type);
    char shown[96];

    if (!f || !f->decode)
        return err_set(e, E_UNSUPPORTED, "%s: tensor '%s' has type %u, which is not supported",
                       g->path, gguf_show(shown, sizeof shown, t->name), t->type);
    f->decode(t->p, out, t->bytes / (uint64_t)f->bytes);
    return 0;
}

static bool has_shape(const struct gguf_tensor *t, int64_t c, int64_t r, int64_t n)
{
    return t->ne[0] == (uint64_t)c && t->ne[1] == (uint64_t)r && t->ne[2] == (uint64_t)n &&
           t->ne[3] == 1;
}

/* The table of tokens has A and B the other way round: its A is a row per token, its B stands. */
static int gguf_pair(struct lora *l, const struct gguf *g, const struct weight_spec *s,
                     const struct gguf_tensor *a, const struct gguf_tensor *b, float alpha,
                     struct err *e)
{
    bool tokens = is_tokens(s->name);
    int64_t rank = (int64_t)b->ne[0];
    const struct gguf_tensor *ours_a = tokens ? b : a, *ours_b = tokens ? a : b;
    struct lora_pair *p;
    float *turned;
    int rc;

    if (rank > MAX_RANK || !has_shape(ours_b, rank, s->rows, s->n) ||
        !(tokens ? has_shape(b, rank, s->cols, 1) : has_shape(a, s->cols, rank, s->n)))
        return err_set(e, E_FORMAT, "%s: the shape of '%s' does not fit a matrix of %lld x %lld",
                       l->path, s->name, (long long)s->rows, (long long)s->cols);
    if ((rc = new_pair(l, &p, s, rank, e)) < 0 || (rc = decode_tensor(g, ours_a, p->a, e)) < 0 ||
        (rc = decode_tensor(g, ours_b, p->b, e)) < 0)
        return rc;
    p->type = (int)a->type;
    if (tokens) {
        if (!(turned = weight_copy_new(&l->copies, (uint64_t)(rank * s->cols) * sizeof(float), e)))
            return E_NOMEM;
        transpose(turned, p->a, s->cols, rank);
        p->a = turned;
    }
    return add_pair(l, p, alpha != 0 ? (double)alpha : (double)rank, e);
}

static int gguf_pairs(struct lora *l, const struct gguf *g, const struct arch *arch,
                      const struct weight_spec *spec, int n, struct err *e)
{
    float alpha = 0;
    uint32_t found = 0;
    char name[96], shown[96];
    int rc;

    if ((rc = gguf_must_say(g, "general.type", "adapter", e)) < 0 ||
        (rc = gguf_must_say(g, "adapter.type", "lora", e)) < 0 ||
        (rc = gguf_must_say(g, "general.architecture", arch->name, e)) < 0 ||
        (rc = gguf_get_f32(g, "adapter.lora.alpha", &alpha, e)) < 0)
        return rc;
    for (int i = 0; i < n; i++) {
        const struct gguf_tensor *a, *b;

        snprintf(name, sizeof name, "%s.lora_a", spec[i].name);
        a = gguf_tensor(g, name);
        snprintf(name, sizeof name, "%s.lora_b", spec[i].name);
        b = gguf_tensor(g, name);
        if (!a && !b)
            continue;
        if (!a || !b)
            return err_set(e, E_FORMAT, "%s: '%s' has only one of its two tensors", l->path,
                           spec[i].name);
        if ((rc = gguf_pair(l, g, &spec[i], a, b, alpha, e)) < 0)
            return rc;
        found += 2;
    }
    for (uint32_t i = 0; i < g->n_tensor && found < g->n_tensor; i++) {
        struct slice t = g->tensor[i].name;

        if (t.n <= 7 || (!slice_ends(t, SLICE(".lora_a")) && !slice_ends(t, SLICE(".lora_b"))))
            return err_set(e, E_UNSUPPORTED, "%s: tensor '%s' is none of a pair: not supported",
                           l->path, gguf_show(shown, sizeof shown, t));
        t.n -= 7;
        if (!lora_find(l, t))
            return err_set(e, E_FORMAT, "%s: the model has no matrix '%s'", l->path,
                           gguf_show(shown, sizeof shown, t));
    }
    return 0;
}

static int open_gguf(struct lora *l, const struct arch *arch, const struct weight_spec *spec, int n,
                     struct err *e)
{
    struct gguf *g;
    int rc = gguf_open(&g, l->path, 0, e);

    if (rc < 0)
        return rc;
    rc = gguf_pairs(l, g, arch, spec, n, e);
    gguf_close(g);
    return rc;
}

/* -- a PEFT directory -- */

struct peft {
    struct lora *l;
    const struct arch *arch;
    const struct hparams *h;
    struct safetensors *st;
    uint8_t *used; // [st->n_tensor]
    json_t *config;
    double alpha;
    bool root_scale; // rslora: alpha / sqrt(rank)
};

static int read_config(json_t **out, const char *dir, struct err *e)
{
    struct file_view v = {0};
    struct buf path = {0};
    int rc;

    *out = NULL;
    buf_printf(&path, "%s/adapter_config.json", dir);
    if (path.bad)
        return err_nomem(e, strlen(dir));
    if ((rc = file_read(&v, path.p, MAX_ADAPTER_CONFIG, e)) == 0)
        rc = config_json(out, path.p, (struct slice){(const char *)v.p, v.n}, e);
    file_unmap(&v);
    buf_fini(&path);
    return rc;
}

/* What changes more than W by a product of two would silently be left out. */
static int check_config(struct peft *p, struct err *e)
{
    static const char *const none[] = {
        "use_dora",          "modules_to_save",         "lora_bias",        "use_qalora",
        "target_parameters", "trainable_token_indices", "layer_replication"};
    const json_t *type = json_object_get(p->config, "peft_type");
    const json_t *alpha = json_object_get(p->config, "lora_alpha");
    const json_t *bias = json_object_get(p->config, "bias");

    if (!json_is_string(type) || strcmp(json_string_value(type), "LORA") != 0)
        return err_set(e, E_UNSUPPORTED, "%s: \"peft_type\" is not LORA", p->l->path);
    if (json_is_string(bias) && strcmp(json_string_value(bias), "none") != 0)
        return err_set(e, E_UNSUPPORTED, "%s: \"bias\": trained biases are not supported",
                       p->l->path);
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        const json_t *v = json_object_get(p->config, none[i]);

        if (json_is_true(v) || json_array_size(v) || json_object_size(v))
            return err_set(e, E_UNSUPPORTED, "%s: \"%s\" is not supported", p->l->path, none[i]);
    }
    if (!json_is_number(alpha))
        return err_set(e, E_FORMAT, "%s: no \"lora_alpha\"", p->l->path);
    p->alpha = json_number_value(alpha);
    p->root_scale = json_is_true(json_object_get(p->config, "use_rslora"));
    return 0;
}

/* "alpha_pattern": the ends of modules' names. They may be regular expressions; those with more
 * than letters, digits, '_' and '.' in them are not read. */
static int module_alpha(const struct peft *p, const char *module, double *out, struct err *e)
{
    json_t *all = json_object_get(p->config, "alpha_pattern"), *v;
    const char *key;
    size_t n = strlen(module);

    *out = p->alpha;
    json_object_foreach(all, key, v)
    {
        size_t k = strlen(key);

        if (key[strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")])
            return err_set(e, E_UNSUPPORTED, "%s: \"alpha_pattern\": expressions are not supported",
                           p->l->path);
        if (!json_is_number(v))
            return err_set(e, E_FORMAT, "%s: \"alpha_pattern\" has no numbers", p->l->path);
        if (n >= k && strcmp(module + n - k, key) == 0 && (n == k || module[n - k - 1] == '.')) {
            *out = json_number_value(v);
            return 0;
        }
    }
    return 0;
}

static const struct st_tensor *peft_use(struct peft *p, const char *module, const char *tail)
{
    static const char *const front[] = {"base_model.model.", ""};
    char full[HF_MAX_NAME + 64];

    for (size_t i = 0; i < ARRAY_LEN(front); i++) {
        const struct st_tensor *t;

        snprintf(full, sizeof full, "%s%s%s", front[i], module, tail);
        if ((t = st_find(p->st, slice_of(full)))) {
            p->used[t - p->st->tensor] = 1;
            return t;
        }
    }
    return NULL;
}

/* A and B of one module, as the file has them. */
struct halves {
    const struct st_tensor *a, *b;
    char module[HF_MAX_NAME];
};

/* A module's two tensors under any spelling. 1: found; 0: it has none. */
static int find_halves(struct peft *p, const char *weight, struct halves *out, struct err *e)
{
    static const char *const tail[][2] = {{".lora_A.weight", ".lora_B.weight"},
                                          {".lora_A.default.weight", ".lora_B.default.weight"},
                                          {".lora_embedding_A", ".lora_embedding_B"}};
    size_t n;

    *out = (struct halves){0};
    for (int i = 0; i < HF_N_NAMES; i++) {
        if (!hf_name(out->module, weight, i))
            continue;
        n = strlen(out->module);
        if (n > 7 && strcmp(out->module + n - 7, ".weight") == 0)
            out->module[n - 7] = 0;
        for (size_t k = 0; k < ARRAY_LEN(tail); k++) {
            out->a = peft_use(p, out->module, tail[k][0]);
            out->b = peft_use(p, out->module, tail[k][1]);
            if (out->a && out->b)
                return 1;
            if (out->a || out->b)
                return err_set(e, E_FORMAT, "%s: '%s' has only one of its two tensors", p->l->path,
                               out->module);
        }
    }
    return 0;
}

/* The shape of the original matrix that A and B belong to. */
static void original_shape(const struct peft *p, const struct weight_spec *s, bool apart,
                           int64_t *rows, int64_t *cols)
{
    int tr = s->row->transform;

    *cols = tr == TR_SPLIT_K || tr == TR_SPLIT_V ? p->h->kv_lora : s->cols;
    *rows = (int64_t)hf_numbers(s, p->h, apart) / *cols;
    if (is_tokens(s->name)) { /* an embedding's product is transposed */
        *rows = s->cols;
        *cols = s->rows;
    }
}

static int check_halves(const struct peft *p, const struct weight_spec *s, bool apart,
                        const struct halves *x, int64_t rank, struct err *e)
{
    int64_t rows, cols;

    original_shape(p, s, apart, &rows, &cols);
    if (x->a->n_dims != 2 || x->b->n_dims != 2 || (int64_t)x->a->shape[0] != rank || rank <= 0 ||
        rank > MAX_RANK || (int64_t)x->b->shape[1] != rank || (int64_t)x->a->shape[1] != cols ||
        (int64_t)x->b->shape[0] != rows)
        return err_set(e, E_FORMAT, "%s: the shape of '%s' does not fit a matrix of %lld x %lld",
                       p->l->path, x->module, (long long)rows, (long long)cols);
    if (x->a->type > ST_BF16 || x->b->type > ST_BF16)
        return err_set(e, E_UNSUPPORTED, "%s: '%s' has type %s", p->l->path, x->module,
                       st_type_name(x->a->type > ST_BF16 ? x->a->type : x->b->type));
    return 0;
}

static void numbers(float *out, const struct st_tensor *t, uint64_t from, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        out[i] = (float)st_number(t->type, t->p, from + i);
}

/* The row of the original matrix that row r of matrix m is. */
static int64_t original_row(const struct peft *p, const struct weight_spec *s, bool apart,
                            int64_t m, int64_t r)
{
    struct hf_run run = hf_place(s, p->h, apart, m, r);

    return s->row->transform == TR_TRANSPOSE ? r : (int64_t)run.base / s->cols;
}

/* Fills matrix m of a pair. */
static void fill(const struct peft *p, const struct weight_spec *s, bool apart,
                 struct lora_pair *to, const struct halves *x, int64_t m)
{
    int64_t rank = to->rank, head = p->h->dk_mla - p->h->n_rot + p->h->dv_mla;
    float *a = to->a + m * rank * to->cols, *b = to->b + m * to->rows * rank;

    if (is_tokens(s->name)) {
        for (int64_t k = 0; k < rank; k++)
            for (int64_t i = 0; i < to->rows; i++)
                numbers(b + i * rank + k, x->a, (uint64_t)(k * to->rows + i), 1);
        for (int64_t k = 0; k < rank; k++)
            for (int64_t i = 0; i < to->cols; i++)
                numbers(a + k * to->cols + i, x->b, (uint64_t)(i * rank + k), 1);
        return;
    }
    if (s->row->transform == TR_SPLIT_K) { /* each head's rows of the product, transposed */
        for (int64_t k = 0; k < rank; k++)
            for (int64_t i = 0; i < to->cols; i++)
                numbers(a + k * to->cols + i, x->b, (uint64_t)((m * head + i) * rank + k), 1);
        for (int64_t k = 0; k < rank; k++)
            for (int64_t i = 0; i < to->rows; i++)
                numbers(b + i * rank + k, x->a, (uint64_t)(k * to->rows + i), 1);
        return;
    }
    numbers(a, x->a, 0, (uint64_t)(rank * to->cols));
    for (int64_t r = 0; r < to->rows; r++)
        numbers(b + r * rank, x->b, (uint64_t)(original_row(p, s, apart, m, r) * rank),
                (uint64_t)rank);
}

/* Pairs can be made for what is a matrix there, and for experts that are one each. Positions are
 * looked up and not multiplied. */
static bool adaptable(const struct weight_spec *s, bool apart)
{
    int tr = s->row->transform;

    return s->rows > 1 && strcmp(s->name, "position_embd.weight") != 0 &&
           (s->n == 1 || apart || tr == TR_SPLIT_K || tr == TR_SPLIT_V);
}

static int peft_pair(struct peft *p, const struct weight_spec *s, struct err *e)
{
    static const uint8_t types[] = {FMT_F32, FMT_F32, FMT_F16, FMT_BF16};
    bool apart = strstr(s->row->hf, "%e") != NULL;
    struct lora_pair *to = NULL;
    double alpha = 0;

    if (!adaptable(s, apart))
        return 0;
    for (int64_t m = 0; m < s->n; m++) {
        char name[HF_MAX_NAME];
        struct halves x;
        double own;
        int rc;

        if (!hf_spell(name, s->row->hf, s->layer, m))
            return err_set(e, E_FORMAT, "%s: '%s': a name too long", p->l->path, s->name);
        if ((rc = find_halves(p, name, &x, e)) < 0)
            return rc;
        if (rc == 0)
            continue;
        if ((rc = check_halves(p, s, apart, &x, to ? to->rank : (int64_t)x.a->shape[0], e)) < 0 ||
            (rc = module_alpha(p, x.module, &own, e)) < 0 ||
            (!to && (rc = new_pair(p->l, &to, s, (int64_t)x.a->shape[0], e)) < 0))
            return rc;
        if (alpha != 0 && own != alpha)
            return err_set(e, E_UNSUPPORTED, "%s: experts of '%s' have several alphas", p->l->path,
                           s->name);
        alpha = own;
        to->type = types[x.a->type];
        fill(p, s, apart, to, &x, m);
    }
    return to ? add_pair(p->l, to, p->root_scale ? alpha * sqrt((double)to->rank) : alpha, e) : 0;
}

static int peft_pairs(struct peft *p, const struct weight_spec *spec, int n, struct err *e)
{
    char shown[96];
    int rc;

    for (int i = 0; i < n; i++)
        if (spec[i].row->hf && (rc = peft_pair(p, &spec[i], e)) < 0)
            return rc;
    for (uint32_t i = 0; i < p->st->n_tensor; i++)
        if (!p->used[i])
            return err_set(e, E_UNSUPPORTED, "%s: tensor '%s' has no place in a model of kind %s",
                           p->l->path, gguf_show(shown, sizeof shown, p->st->tensor[i].name),
                           p->arch->name);
    return 0;
}

static int open_dir(struct lora *l, const struct arch *arch, const struct hparams *h,
                    const struct weight_spec *spec, int n, struct err *e)
{
    struct peft p = {.l = l, .arch = arch, .h = h};
    struct buf path = {0};
    int rc = read_config(&p.config, l->path, e);

    if (rc == 0 && (rc = check_config(&p, e)) == 0) {
        buf_printf(&path, "%s/adapter_model.safetensors", l->path);
        rc = path.bad ? err_nomem(e, strlen(l->path)) : st_open(&p.st, path.p, e);
    }
    if (rc == 0 && !(p.used = mem_new(p.st->n_tensor, e)))
        rc = E_NOMEM;
    if (rc == 0)
        rc = peft_pairs(&p, spec, n, e);
    json_decref(p.config);
    mem_free(p.used);
    st_close(p.st);
    buf_fini(&path);
    return rc;
}

/* -- public -- */

int lora_is_dir(const char *path, struct buf *base, struct err *e)
{
    struct buf file = {0};
    json_t *config;
    bool is;
    int rc;

    buf_printf(&file, "%s/adapter_config.json", path);
    is = !file.bad && file_exists(file.p);
    buf_fini(&file);
    if (!is)
        return 0;
    if ((rc = read_config(&config, path, e)) < 0)
        return rc;
    if (base && json_is_string(json_object_get(config, "base_model_name_or_path")))
        buf_str(base, json_string_value(json_object_get(config, "base_model_name_or_path")));
    json_decref(config);
    return 1;
}

static int open_any(struct lora *l, const struct arch *a, const struct hparams *h, struct err *e)
{
    struct weight_spec *spec;
    int n, rc;

    if ((rc = weights_list(&spec, &n, a, h, e)) < 0)
        return rc;
    if (!(l->pair = mem_array((uint64_t)n, sizeof *l->pair, e)))
        rc = E_NOMEM;
    else if (file_is_dir(l->path))
        rc = open_dir(l, a, h, spec, n, e);
    else
        rc = open_gguf(l, a, spec, n, e);
    if (rc == 0 && l->n_pair == 0)
        rc = err_set(e, E_FORMAT, "%s: an adapter without tensors", l->path);
    mem_free(spec);
    return rc;
}

int lora_open(struct lora **out, const char *path, const struct arch *a, const struct hparams *h,
              struct err *e)
{
    struct lora *l = mem_new(sizeof *l, e);
    struct buf found = {0};
    int rc = E_NOMEM;

    *out = NULL;
    if (!l)
        return rc;
    if (strncmp(path, "hf:", 3) == 0) {
        if ((rc = hf_cache_find(&found, path + 3, e)) < 0)
            goto fail;
        path = found.p;
    }
    rc = E_NOMEM;
    if (!(l->path = mem_dup(path, strlen(path), e)) || (rc = open_any(l, a, h, e)) < 0)
        goto fail;
    buf_fini(&found);
    *out = l;
    return 0;
fail:
    buf_fini(&found);
    lora_close(l);
    return rc;
}

int lora_open_for(struct lora **out, const char *path, const struct gguf *model,
                  const struct arch **arch, struct err *e)
{
    struct hparams *h = mem_new(sizeof *h, e);
    const struct arch *a = NULL;
    struct slice name;
    int rc = E_NOMEM;

    *out = NULL;
    if (!h)
        return rc;
    if ((rc = gguf_get_str(model, "general.architecture", &name, e)) == 0)
        rc = gguf_missing(model, "general.architecture", e);
    if (rc > 0 && !(a = arch_find(name, e)))
        rc = E_UNSUPPORTED;
    if (rc > 0 && (rc = hparams_read(h, model, a, e)) == 0)
        rc = lora_open(out, path, a, h, e);
    if (arch)
        *arch = a;
    mem_free(h);
    return rc;
}

void lora_close(struct lora *l)
{
    if (!l)
        return;
    weight_copies_free(l->copies);
    mem_free(l->pair);
    mem_free(l->path);
    mem_free(l);
}

const struct lora_pair *lora_find(const struct lora *l, struct slice name)
{
    for (uint32_t i = 0; i < l->n_pair; i++)
        if (slice_is(name, l->pair[i].name))
            return &l->pair[i];
    return NULL;
}

void lora_add_row(const struct lora_pair *p, float s, int64_t m, int64_t r, float *row)
{
    const float *a = p->a + m * p->rank * p->cols, *b = p->b + (m * p->rows + r) * p->rank;

    for (int64_t k = 0; k < p->rank; k++) {
        float f = s * p->scale * b[k];

        for (int64_t c = 0; c < p->cols; c++)
            row[c] += f * a[k * p->cols + c];
    }
}
