/* config.c - see config.h. */
#include "model/config.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { MAX_CONFIG = 16 << 20 };

/* -- finding -- */

/* Other names of the same thing. */
static const char *const aliases[][5] = {
    {"num_hidden_layers", "n_layer", "num_layers", "n_layers"},
    {"hidden_size", "n_embd", "d_model"},
    {"n_ctx", "n_positions", "max_position_embeddings"},
    {"max_position_embeddings", "n_positions", "max_seq_len"},
    {"num_attention_heads", "n_head"},
    {"intermediate_size", "n_inner"},
    {"layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"},
    {"layer_norm_epsilon", "layer_norm_eps"},
    {"rms_norm_eps", "layer_norm_eps"},
    {"num_local_experts", "num_experts", "n_routed_experts"},
    {"rope_theta", "rope_parameters.rope_theta", "rope_parameters.full_attention.rope_theta",
     "rotary_emb_base"},
    {"rope_local_base_freq", "rope_parameters.sliding_attention.rope_theta"},
    {"partial_rotary_factor", "rotary_pct", "rope_parameters.partial_rotary_factor"},
    {"tie_word_embeddings", "tie_embeddings"},
};

/* "a.b" in an object. */
static json_t *walk(json_t *o, const char *name)
{
    char part[64];
    const char *dot;

    while ((dot = strchr(name, '.'))) {
        if ((size_t)(dot - name) >= sizeof part)
            return NULL;
        memcpy(part, name, (size_t)(dot - name));
        part[dot - name] = 0;
        o = json_object_get(o, part);
        name = dot + 1;
    }
    o = json_object_get(o, name);
    return json_is_null(o) ? NULL : o;
}

static json_t *find_one(const struct config *c, const char *name)
{
    json_t *v = walk(c->text, name);

    return v ? v : walk(c->root, name);
}

/* rope_scaling.X is in rope_parameters in newer files, there perhaps by kind of layer. */
static json_t *find_rope(const struct config *c, const char *name)
{
    static const char *const in[] = {"rope_scaling", "rope_parameters.full_attention",
                                     "rope_parameters"};
    char full[96];
    json_t *v = NULL;

    for (size_t i = 0; i < ARRAY_LEN(in) && !v; i++) {
        snprintf(full, sizeof full, "%s.%s", in[i], name);
        v = find_one(c, full);
    }
    return v;
}

const json_t *cfg_find(const struct config *c, const char *name)
{
    json_t *v =
        strncmp(name, "rope_scaling.", 13) == 0 ? find_rope(c, name + 13) : find_one(c, name);

    for (size_t i = 0; i < ARRAY_LEN(aliases) && !v; i++)
        for (int k = 1; strcmp(aliases[i][0], name) == 0 && k < 5 && aliases[i][k] && !v; k++)
            v = find_one(c, aliases[i][k]);
    return v;
}

bool cfg_int(const struct config *c, const char *name, int64_t *out)
{
    const json_t *v = cfg_find(c, name);
    double d = json_real_value(v);

    if (json_is_integer(v))
        *out = json_integer_value(v);
    else if (json_is_real(v) && d == floor(d) && fabs(d) < 9e15)
        *out = (int64_t)d;
    else
        return false;
    return true;
}

bool cfg_real(const struct config *c, const char *name, double *out)
{
    const json_t *v = cfg_find(c, name);

    if (!json_is_number(v))
        return false;
    *out = json_number_value(v);
    return true;
}

bool cfg_bool(const struct config *c, const char *name, bool *out)
{
    const json_t *v = cfg_find(c, name);

    if (!json_is_boolean(v))
        return false;
    *out = json_is_true(v);
    return true;
}

const char *cfg_str(const struct config *c, const char *name)
{
    return json_string_value(cfg_find(c, name));
}

int64_t cfg_int_or(const struct config *c, const char *name, int64_t or_this)
{
    cfg_int(c, name, &or_this);
    return or_this;
}

double cfg_real_or(const struct config *c, const char *name, double or_this)
{
    cfg_real(c, name, &or_this);
    return or_this;
}

int cfg_layer_is(const struct config *c, int64_t l, const char *const *words)
{
    const json_t *list = cfg_find(c, "layer_types");
    const char *type;

    if (!list)
        list = cfg_find(c, "layers_block_type");
    if (!json_is_array(list))
        return -1;
    type = json_string_value(json_array_get(list, (size_t)l));
    for (; type && *words; words++)
        if (strcmp(type, *words) == 0)
            return 1;
    return 0;
}

/* -- putting -- */

static const char *full_key(struct config *c, const char *key, char out[128])
{
    for (int i = 0; c->arch->keys[i].key; i++)
        if (strcmp(c->arch->keys[i].key, key) == 0)
            c->have |= (uint64_t)1 << (i & 63);
    snprintf(out, 128, "%s.%s", c->arch->name, key);
    return out;
}

bool cfg_lacks(const struct config *c, const char *key)
{
    for (int i = 0; c->arch->keys[i].key; i++)
        if (strcmp(c->arch->keys[i].key, key) == 0)
            return !(c->have >> (i & 63) & 1);
    return true;
}

void cfg_put_int(struct config *c, const char *key, int64_t v)
{
    char full[128];

    full_key(c, key, full);
    if (v >= 0 && v <= UINT32_MAX)
        gguf_put_u32(c->w, full, (uint32_t)v);
    else
        gguf_put_i64(c->w, full, v); /* the reader says what is wrong with it */
}

void cfg_put_real(struct config *c, const char *key, double v)
{
    char full[128];

    gguf_put_f32(c->w, full_key(c, key, full), (float)v);
}

void cfg_put_bool(struct config *c, const char *key, bool v)
{
    char full[128];

    gguf_put_bool(c->w, full_key(c, key, full), v);
}

void cfg_put_str(struct config *c, const char *key, const char *v)
{
    char full[128];

    gguf_put_str(c->w, full_key(c, key, full), slice_of(v));
}

void cfg_put_ints(struct config *c, const char *key, const uint32_t *v, int n)
{
    char full[128];

    gguf_put_array(c->w, full_key(c, key, full), GGUF_U32, v, (uint64_t)n);
}

float *cfg_put_made(struct config *c, const char *name, int64_t n)
{
    struct made *m = &c->made[c->n_made];

    if (c->n_made == MAX_MADE || n <= 0 || n > MAX_EMBD) {
        c->rc = err_set(c->e, E_FORMAT, "%s: tensor '%s' would have %lld numbers", c->path, name,
                        (long long)n);
        return NULL;
    }
    if (!(m->v = mem_array((uint64_t)n, sizeof *m->v, c->e))) {
        c->rc = E_NOMEM;
        return NULL;
    }
    m->name = name;
    m->n = (uint64_t)n;
    c->n_made++;
    return m->v;
}

/* -- rope -- */

static int64_t head_dim(const struct config *c)
{
    int64_t d = 0, embd = cfg_int_or(c, "hidden_size", 0),
            heads = cfg_int_or(c, "num_attention_heads", 0);

    if (!cfg_int(c, "head_dim", &d) && heads > 0)
        d = embd / heads;
    return d;
}

static int64_t rotated(const struct config *c)
{
    double part = 1;
    int64_t n = 0;

    if (cfg_int(c, "qk_rope_head_dim", &n))
        return n;
    cfg_real(c, "partial_rotary_factor", &part);
    return (int64_t)((double)head_dim(c) * part);
}

/* Llama 3: long waves are stretched, short ones are not, between is a ramp. */
static void put_llama3(struct config *c, int64_t n_rot)
{
    double base = cfg_real_or(c, "rope_theta", 10000), factor, low, high, orig;
    float *v;

    factor = cfg_real_or(c, "rope_scaling.factor", 8);
    low = cfg_real_or(c, "rope_scaling.low_freq_factor", 1);
    high = cfg_real_or(c, "rope_scaling.high_freq_factor", 4);
    orig = cfg_real_or(c, "rope_scaling.original_max_position_embeddings", 8192);
    if (!(v = cfg_put_made(c, "rope_freqs.weight", n_rot / 2)))
        return;
    for (int64_t i = 0; i < n_rot / 2; i++) {
        double wave = 2 * 3.14159265358979323846 * pow(base, 2.0 * (double)i / (double)n_rot);
        double smooth = (orig / wave - low) / (high - low);

        if (wave < orig / high)
            v[i] = 1;
        else if (wave > orig / low)
            v[i] = (float)factor;
        else
            v[i] = (float)(1 / ((1 - smooth) / factor + smooth));
    }
}

static void put_factors(struct config *c, const char *name, const char *from, int64_t n_rot)
{
    const json_t *list = cfg_find(c, from);
    size_t n = json_array_size(list);
    float *v;

    if (!json_is_array(list) || (int64_t)n != n_rot / 2) {
        c->rc = err_set(c->e, E_FORMAT, "%s: '%s' has %zu numbers, expected %lld", c->path, from, n,
                        (long long)(n_rot / 2));
        return;
    }
    if ((v = cfg_put_made(c, name, (int64_t)n)))
        for (size_t i = 0; i < n; i++)
            v[i] = (float)json_number_value(json_array_get(list, i));
}

static void put_longrope(struct config *c, int64_t n_rot)
{
    double most = cfg_real_or(c, "max_position_embeddings", 0), orig = most, scale, attn;

    if (!cfg_real(c, "rope_scaling.original_max_position_embeddings", &orig))
        cfg_real(c, "original_max_position_embeddings", &orig);
    scale = orig > 0 ? most / orig : 1;
    attn = scale > 1 && orig > 1 ? sqrt(1 + log(scale) / log(orig)) : 1;
    cfg_real(c, "rope_scaling.attention_factor", &attn);
    cfg_put_int(c, "rope.scaling.original_context_length", (int64_t)orig);
    cfg_put_real(c, "rope.scaling.attn_factor", attn);
    put_factors(c, "rope_factors_long.weight", "rope_scaling.long_factor", n_rot);
    put_factors(c, "rope_factors_short.weight", "rope_scaling.short_factor", n_rot);
}

static void put_yarn(struct config *c)
{
    double v;

    cfg_put_str(c, "rope.scaling.type", "yarn");
    cfg_put_real(c, "rope.scaling.factor", cfg_real_or(c, "rope_scaling.factor", 1));
    cfg_put_int(c, "rope.scaling.original_context_length",
                cfg_int_or(c, "rope_scaling.original_max_position_embeddings",
                           cfg_int_or(c, "max_position_embeddings", 0)));
    if (cfg_real(c, "rope_scaling.beta_fast", &v))
        cfg_put_real(c, "rope.scaling.yarn_beta_fast", v);
    if (cfg_real(c, "rope_scaling.beta_slow", &v))
        cfg_put_real(c, "rope.scaling.yarn_beta_slow", v);
    if (cfg_real(c, "rope_scaling.attention_factor", &v))
        cfg_put_real(c, "rope.scaling.attn_factor", v);
}

static bool has_field(const struct arch *a, size_t at)
{
    for (const struct key_row *k = a->keys; k->key; k++)
        if (k->at == at)
            return true;
    return false;
}

static int put_rope(struct config *c)
{
    const char *type = cfg_str(c, "rope_scaling.rope_type");
    int64_t n_rot = rotated(c);

    if (!has_field(c->arch, offsetof(struct hparams, rope_base)))
        return 0;
    cfg_put_int(c, "rope.dimension_count", n_rot);
    if (!type)
        type = cfg_str(c, "rope_scaling.type");
    if (!type || strcmp(type, "default") == 0 || strcmp(type, "none") == 0 ||
        strcmp(type, "dynamic") == 0 || strcmp(type, "mrope") == 0)
        return 0;
    if (strcmp(type, "linear") == 0) {
        cfg_put_str(c, "rope.scaling.type", "linear");
        cfg_put_real(c, "rope.scaling.factor", cfg_real_or(c, "rope_scaling.factor", 1));
    } else if (strcmp(type, "yarn") == 0) {
        put_yarn(c);
    } else if (strcmp(type, "llama3") == 0) {
        put_llama3(c, n_rot);
    } else if (strcmp(type, "longrope") == 0 || strcmp(type, "su") == 0) {
        put_longrope(c, n_rot);
    } else {
        return err_set(c->e, E_UNSUPPORTED, "%s: rope scaling '%.40s' is not supported", c->path,
                       type);
    }
    return c->rc;
}

/* -- the tables' keys -- */

static int wrong(const struct config *c, const struct key_row *k, const char *what)
{
    return err_set(c->e, E_FORMAT, "%s: '%s' is %s", c->path, k->hf ? k->hf : k->key, what);
}

static int put_list(struct config *c, const struct key_row *k, const json_t *list)
{
    uint32_t v[MAX_LAYER];
    size_t n = json_array_size(list);

    if (n == 0 || n > MAX_LAYER)
        return wrong(c, k, "a list of no or too many numbers");
    for (size_t i = 0; i < n; i++) {
        json_int_t x = json_integer_value(json_array_get(list, i));

        if (!json_is_integer(json_array_get(list, i)) || x < 0 || x > INT32_MAX)
            return wrong(c, k, "a list with something else than counts in it");
        v[i] = (uint32_t)x;
    }
    cfg_put_ints(c, k->key, v, (int)n);
    return 0;
}

static int put_key(struct config *c, const struct key_row *k)
{
    const json_t *v = cfg_find(c, k->hf);
    int64_t i;
    double d;
    bool b;

    if (!v)
        return 0;
    switch (k->type) {
    case KEY_INTS:
        if (json_is_array(v))
            return put_list(c, k, v);
        /* fall through */
    case KEY_INT:
        if (!cfg_int(c, k->hf, &i))
            return wrong(c, k, "no whole number");
        cfg_put_int(c, k->key, i);
        return 0;
    case KEY_BOOL:
        if (!cfg_bool(c, k->hf, &b))
            return wrong(c, k, "neither true nor false");
        cfg_put_bool(c, k->key, b);
        return 0;
    default:
        if (!cfg_real(c, k->hf, &d))
            return wrong(c, k, "no number");
        cfg_put_real(c, k->key, d);
        return 0;
    }
}

/* A window that is switched off is none; one the architecture's plan has not is an error. */
static int check_window(const struct config *c, bool *on)
{
    int64_t window = 0;
    bool use = true;

    cfg_bool(c, "use_sliding_window", &use);
    *on = use && cfg_int(c, "sliding_window", &window) && window > 0;
    if (*on && use && cfg_find(c, "use_sliding_window") &&
        !has_field(c->arch, offsetof(struct hparams, window)))
        return err_set(c->e, E_UNSUPPORTED, "%s: a sliding window in %s is not supported", c->path,
                       c->arch->name);
    return 0;
}

/* -- pooling: what sentence-transformers keeps beside the model -- */

/* The one way of pooling a file names, or POOL_UNSAID. */
static int pooling_of(const json_t *o)
{
    static const struct {
        const char *name, *flag;
        int pool;
    } ways[] = {{"mean", "pooling_mode_mean_tokens", POOL_MEAN},
                {"cls", "pooling_mode_cls_token", POOL_CLS},
                {"lasttoken", "pooling_mode_lasttoken", POOL_LAST},
                {"max", "pooling_mode_max_tokens", POOL_UNSAID},
                {"mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", POOL_UNSAID},
                {"weightedmean", "pooling_mode_weightedmean_tokens", POOL_UNSAID}};
    const char *mode = json_string_value(json_object_get(o, "pooling_mode"));
    int found = POOL_UNSAID, n = 0;

    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        if (mode ? strcmp(mode, ways[i].name) : !json_is_true(json_object_get(o, ways[i].flag)))
            continue;
        found = ways[i].pool;
        n++;
    }
    return n == 1 ? found : POOL_UNSAID;
}

static int put_pooling(struct config *c)
{
    const char *slash = strrchr(c->path, '/');
    struct file_view v = {0};
    struct buf path = {0};
    json_t *o = NULL;
    int pool, rc = 0;

    buf_printf(&path, "%.*s/1_Pooling/config.json", slash ? (int)(slash - c->path) : 0, c->path);
    if (path.bad)
        return err_nomem(c->e, path.n);
    if (!file_exists(path.p) || (rc = file_read(&v, path.p, MAX_CONFIG, c->e)) < 0)
        goto done;
    if ((rc = config_json(&o, path.p, (struct slice){(const char *)v.p, v.n}, c->e)) < 0)
        goto done;
    if ((pool = pooling_of(o)) == POOL_UNSAID)
        rc = err_set(c->e, E_UNSUPPORTED, "%s: neither mean, first nor last token", path.p);
    else
        cfg_put_int(c, "pooling_type", pool);
done:
    json_decref(o);
    file_unmap(&v);
    buf_fini(&path);
    return rc;
}

int config_keys(struct config *c, struct err *e)
{
    int64_t n_vocab;
    bool window;
    int rc;

    c->e = e;
    gguf_put_str(c->w, "general.architecture", slice_of(c->arch->name));
    if ((rc = check_window(c, &window)) < 0)
        return rc;
    for (const struct key_row *k = c->arch->keys; k->key; k++) {
        if (!k->hf || strncmp(k->hf, "rope_scaling.", 13) == 0)
            continue;
        if (k->at == offsetof(struct hparams, n_used) &&
            cfg_int_or(c, "num_local_experts", 1) == 0)
            continue; /* of no experts none are used: other readers insist */
        if (k->at == offsetof(struct hparams, window) && !window) {
            if (k->def != 0)
                cfg_put_int(c, k->key, 0);
            continue;
        }
        if ((rc = put_key(c, k)) < 0)
            return rc;
    }
    if (cfg_int(c, "vocab_size", &n_vocab))
        cfg_put_int(c, "vocab_size", n_vocab);
    if ((rc = put_rope(c)) < 0 || (rc = put_pooling(c)) < 0)
        return rc;
    if (c->arch->config && (rc = c->arch->config(c, e)) < 0)
        return rc;
    for (const struct key_row *k = c->arch->keys; k->key; k++)
        if (k->need && cfg_lacks(c, k->key))
            return wrong(c, k, "missing");
    return c->rc;
}

/* -- opening -- */

static int find_arch(struct config *c, struct err *e)
{
    const json_t *list = json_object_get(c->root, "architectures"), *first;
    char shown[64];

    if (!json_is_array(list) || json_array_size(list) == 0)
        return err_set(e, E_FORMAT, "%s: no \"architectures\"", c->path);
    first = json_array_get(list, 0);
    if (!json_is_string(first))
        return err_set(e, E_FORMAT, "%s: \"architectures\" has no name in it", c->path);
    for (int i = 0; arch_at(i); i++)
        for (const char *const *p = arch_at(i)->hf; p && *p; p++)
            if (strcmp(*p, json_string_value(first)) == 0)
                c->arch = arch_at(i);
    if (!c->arch)
        return err_set(e, E_UNSUPPORTED, "%s: architecture '%s' is not supported", c->path,
                       gguf_show(shown, sizeof shown, slice_of(json_string_value(first))));
    return 0;
}

/* Where a whole number ends that is too long for 64 bits ("no limit" is spelt 10^30 in such files),
 * or 0: its digits behind the 18th are blanked, which leaves a number that is large enough. */
static size_t long_number(const char *p, size_t i, size_t n)
{
    size_t end = i;

    if (i > 0 && (isdigit((unsigned char)p[i - 1]) || strchr(".eE+", p[i - 1])))
        return 0;
    while (end < n && isdigit((unsigned char)p[end]))
        end++;
    return end - i > 18 && (end == n || !strchr(".eE", p[end])) ? end : 0;
}

/* Python writes Infinity and NaN, which are no JSON: they are null here. */
static void blank_numbers(char *p, size_t n)
{
    static const char *const words[] = {"-Infinity", "Infinity", "NaN"};
    bool inside = false;
    size_t end;

    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\\' && inside)
            i++;
        else if (p[i] == '"')
            inside = !inside;
        else if (!inside && (end = long_number(p, i, n)) > 0)
            memset(p + i + 18, ' ', end - i - 18);
        for (size_t k = 0; k < ARRAY_LEN(words) && !inside && i < n; k++) {
            size_t len = strlen(words[k]);

            if (n - i >= len && memcmp(p + i, words[k], len) == 0) {
                memset(p + i, ' ', len);
                memcpy(p + i, len == 3 ? "0.0" : "null", len == 3 ? 3 : 4);
                i += len - 1;
                break;
            }
        }
    }
}

int config_json(json_t **out, const char *path, struct slice text, struct err *e)
{
    char *copy = mem_dup(text.p, text.n, e);
    json_error_t why;

    *out = NULL;
    if (!copy)
        return E_NOMEM;
    blank_numbers(copy, text.n);
    *out = json_loadb(copy, text.n, 0, &why);
    mem_free(copy);
    if (json_is_object(*out))
        return 0;
    err_set(e, E_FORMAT, "%s: line %d: %s", path, *out ? 1 : why.line,
            *out ? "no object" : why.text);
    json_decref(*out);
    *out = NULL;
    return E_FORMAT;
}

int config_open(struct config *c, const char *dir, struct err *e)
{
    struct buf path = {0};
    struct file_view v = {0};
    int rc;

    memset(c, 0, sizeof *c);
    c->e = e;
    buf_printf(&path, "%s/config.json", dir);
    if (path.bad)
        return err_nomem(e, strlen(dir));
    c->path = path.p; /* freed by config_close */
    if ((rc = file_read(&v, c->path, MAX_CONFIG, e)) < 0)
        goto fail;
    rc = config_json(&c->root, c->path, (struct slice){(const char *)v.p, v.n}, e);
    file_unmap(&v);
    if (rc < 0)
        goto fail;
    c->text = json_object_get(c->root, "text_config");
    if (!json_is_object(c->text))
        c->text = c->root;
    if ((rc = find_arch(c, e)) < 0)
        goto fail;
    return 0;
fail:
    config_close(c);
    return rc;
}

void config_close(struct config *c)
{
    for (int i = 0; i < c->n_made; i++)
        mem_free(c->made[i].v);
    json_decref(c->root);
    mem_free((char *)(uintptr_t)c->path);
    memset(c, 0, sizeof *c);
}
