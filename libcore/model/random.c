/* random.c - see random.h.
 *
 * The blocks of each matrix are made at random (quant/synth.h), never quantized: a file of a
 * gigabyte takes seconds and a megabyte of memory. Weights have a deviation that keeps activations
 * near 1, so that logits are finite; the text is noise. The vocabulary is SPM-like: byte tokens and
 * words made of letters.
 */
#include "model/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "file/gguf.h"
#include "quant/synth.h"

#define CHUNK (1u << 20)

struct shape {
    const char *name;
    const char *arch; // "llama", "qwen3", "qwen3moe"
    uint32_t dim, layers, heads, kv, head, ffn, vocab, ctx, tied;
    uint32_t experts, used; // each as wide as ffn
    double rope;            // base of the rotary frequencies
    double rope_factor;     // of llama3's scaling; 0: none
    double eps;
};

static const struct shape shapes[] = {
    {"tiny", "llama", 256, 2, 4, 2, 64, 512, 512, 1024, 0, 0, 0, 1e4, 0, 1e-5},
    {"1.1B", "llama", 2048, 16, 32, 8, 64, 8192, 32000, 4096, 0, 0, 0, 1e4, 0, 1e-5},
    {"Llama-3.2-1B", "llama", 2048, 16, 32, 8, 64, 8192, 128256, 131072, 1, 0, 0, 5e5, 32, 1e-5},
    {"Llama-3.2-3B", "llama", 3072, 28, 24, 8, 128, 8192, 128256, 131072, 1, 0, 0, 5e5, 32, 1e-5},
    {"Llama-3.1-8B", "llama", 4096, 32, 32, 8, 128, 14336, 128256, 131072, 0, 0, 0, 5e5, 8, 1e-5},
    {"Llama-3.1-70B", "llama", 8192, 80, 64, 8, 128, 28672, 128256, 131072, 0, 0, 0, 5e5, 8, 1e-5},
    {"Mistral-7B", "llama", 4096, 32, 32, 8, 128, 14336, 32768, 32768, 0, 0, 0, 1e6, 0, 1e-5},
    {"Qwen3-0.6B", "qwen3", 1024, 28, 16, 8, 128, 3072, 151936, 40960, 1, 0, 0, 1e6, 0, 1e-6},
    {"Qwen3-1.7B", "qwen3", 2048, 28, 16, 8, 128, 6144, 151936, 40960, 1, 0, 0, 1e6, 0, 1e-6},
    {"Qwen3-4B", "qwen3", 2560, 36, 32, 8, 128, 9728, 151936, 40960, 1, 0, 0, 1e6, 0, 1e-6},
    {"Qwen3-8B", "qwen3", 4096, 36, 32, 8, 128, 12288, 151936, 40960, 0, 0, 0, 1e6, 0, 1e-6},
    {"Qwen3-14B", "qwen3", 5120, 40, 40, 8, 128, 17408, 151936, 40960, 0, 0, 0, 1e6, 0, 1e-6},
    {"Qwen3-32B", "qwen3", 5120, 64, 64, 8, 128, 25600, 151936, 40960, 0, 0, 0, 1e6, 0, 1e-6},
    {"Qwen3-30B-A3B", "qwen3moe", 2048, 48, 32, 4, 128, 768, 151936, 40960, 0, 128, 8, 1e6, 0,
     1e-6},
};

static const char *const fields[] = {"dim",   "layers", "heads", "kv",      "head", "ffn",
                                     "vocab", "ctx",    "tied",  "experts", "used"};

static uint32_t *field_of(struct shape *s, size_t i)
{
    uint32_t *const at[] = {&s->dim,   &s->layers, &s->heads, &s->kv,      &s->head, &s->ffn,
                            &s->vocab, &s->ctx,    &s->tied,  &s->experts, &s->used};

    return at[i];
}

bool random_shape(size_t i, char *text, size_t cap)
{
    struct shape s;
    int n;

    if (i >= ARRAY_LEN(shapes))
        return false;
    s = shapes[i];
    n = snprintf(text, cap, "%-14s %s:", s.name, s.arch);
    for (size_t k = 0; k < ARRAY_LEN(fields) && n > 0 && (size_t)n < cap; k++)
        n += snprintf(text + n, cap - (size_t)n, "%c%s=%u", k ? ',' : ' ', fields[k],
                      *field_of(&s, k));
    return true;
}

/* The shape of this name, and how long the name is; NULL: none. */
static const struct shape *shape_named(const char *text, size_t n)
{
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        if (strlen(shapes[i].name) == n && strncasecmp(shapes[i].name, text, n) == 0)
            return &shapes[i];
    return NULL;
}

/* "dim=64,layers=2", "Qwen3-30B-A3B,layers=4": what is not said stays as in the shape named first,
 * or the tiny one, where head follows dim and heads. */
static int shape_parse(struct shape *s, const char *text, struct err *e)
{
    const size_t n_name = strcspn(text, ",");
    const struct shape *named = shape_named(text, n_name);
    bool head_given = named != NULL;

    *s = named ? *named : shapes[0];
    if (!named)
        s->name = "custom";
    else
        text += text[n_name] ? n_name + 1 : n_name;
    while (*text) {
        size_t i = 0, n = strcspn(text, "=");
        char *end;
        unsigned long v;

        while (i < ARRAY_LEN(fields) && !slice_is((struct slice){text, n}, fields[i]))
            i++;
        if (i == ARRAY_LEN(fields) || text[n] != '=')
            return err_set(e, E_USAGE, "no shape or field '%.*s'", n > 40 ? 40 : (int)n, text);
        v = strtoul(text + n + 1, &end, 10);
        if (end == text + n + 1 || (*end && *end != ',') || v > 1000000000)
            return err_set(e, E_USAGE, "shape: %s: not a number below a billion", fields[i]);
        *field_of(s, i) = (uint32_t)v;
        head_given = head_given || strcmp(fields[i], "head") == 0;
        text = *end ? end + 1 : end;
    }
    if (!head_given && s->heads)
        s->head = s->dim / s->heads;
    return 0;
}

static int shape_check(const struct shape *s, struct err *e)
{
    if (!s->dim || !s->layers || !s->heads || !s->kv || !s->ffn || !s->ctx)
        return err_set(e, E_USAGE, "shape: a zero among dim, layers, heads, kv, ffn, ctx");
    if (s->heads % s->kv || !s->head || s->head % 2)
        return err_set(e, E_USAGE, "shape: heads must be a multiple of kv, head even and not 0");
    if (s->vocab < 300 || s->vocab > 400000)
        return err_set(e, E_USAGE,
                       "shape: vocab must be 300 to 400000 (259 are control and byte tokens)");
    if (strcmp(s->arch, "llama") != 0 && strcmp(s->arch, "qwen3") != 0 &&
        strcmp(s->arch, "qwen3moe") != 0)
        return err_set(e, E_USAGE, "shape: '%s' is none of llama, qwen3, qwen3moe", s->arch);
    if ((strcmp(s->arch, "qwen3moe") == 0) != (s->experts > 0) || s->used > s->experts ||
        (s->experts && !s->used) || s->experts > 4096)
        return err_set(e, E_USAGE,
                       "shape: qwen3moe, and no other, has up to 4096 experts, of which "
                       "some are used");
    return 0;
}

static int shape_read(struct shape *s, const struct random_model *m, struct err *e)
{
    int rc = shape_parse(s, m->shape, e);

    if (m->arch)
        s->arch = m->arch;
    return rc < 0 ? rc : shape_check(s, e);
}

static const struct fmt_info *type_read(const char *name, struct err *e)
{
    const struct fmt_info *f = fmt_by_name(slice_of(name));

    if (!f)
        err_set(e, E_USAGE, "no format '%s'; did you mean %s?", name,
                fmt_nearest(slice_of(name))->name);
    else if (!synth_can(f))
        err_set(e, E_USAGE, "%s holds no weights", f->name);
    else
        return f;
    return NULL;
}

/* ---- vocabulary ---- */

/* Word number n in order of length, a to z, aa to zz, ...: each but the last letter is a word too,
 * so that merging letter by letter reaches every one. */
static int word(char *out, size_t cap, uint32_t n, bool spaced)
{
    uint32_t len = 1, count = 26;
    char letters[8];

    while (n >= count) {
        n -= count;
        count *= 26;
        len++;
    }
    for (uint32_t i = len; i-- > 0; n /= 26)
        letters[i] = (char)('a' + n % 26);
    return snprintf(out, cap, "%s%.*s", spaced ? "\xe2\x96\x81" : "", (int)len, letters);
}

static void piece(char *out, size_t cap, uint32_t id, int32_t *type)
{
    static const char *const control[] = {"<unk>", "<s>", "</s>"};
    uint32_t n = id - 259;

    *type = id == 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1; /* unknown, control, byte, normal */
    if (id < 3)
        snprintf(out, cap, "%s", control[id]);
    else if (id < 259)
        snprintf(out, cap, "<0x%02X>", id - 3);
    else if (n == 0)
        snprintf(out, cap, "\xe2\x96\x81");
    else
        word(out, cap, (n - 1) / 2, (n - 1) % 2 == 0);
}

static int vocab_put(struct gguf_out *w, uint32_t n, struct err *e)
{
    enum { CAP = 16 };
    char *text = mem_array(n, CAP, e);
    struct slice *s = mem_array(n, sizeof *s, e);
    float *score = mem_array(n, sizeof *score, e);
    int32_t *type = mem_array(n, sizeof *type, e);
    int rc = E_NOMEM;

    if (!text || !s || !score || !type)
        goto fail;
    for (uint32_t i = 0; i < n; i++) {
        piece(text + (size_t)i * CAP, CAP, i, &type[i]);
        s[i] = slice_of(text + (size_t)i * CAP);
        score[i] = type[i] == 1 ? -(float)(i - 259) : 0.0f;
    }
    gguf_put_str(w, "tokenizer.ggml.model", SLICE("llama"));
    gguf_put_strs(w, "tokenizer.ggml.tokens", s, n);
    gguf_put_array(w, "tokenizer.ggml.scores", GGUF_F32, score, n);
    gguf_put_array(w, "tokenizer.ggml.token_type", GGUF_I32, type, n);
    gguf_put_u32(w, "tokenizer.ggml.bos_token_id", 1);
    gguf_put_u32(w, "tokenizer.ggml.eos_token_id", 2);
    gguf_put_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    rc = 0;
fail:
    mem_free(text);
    mem_free(s);
    mem_free(score);
    mem_free(type);
    return rc;
}

/* ---- keys and tensors ---- */

static void key_put(struct gguf_out *w, const struct shape *s, const char *name, uint32_t v)
{
    char key[96];

    snprintf(key, sizeof key, "%s.%s", s->arch, name);
    gguf_put_u32(w, key, v);
}

static void key_put_f32(struct gguf_out *w, const struct shape *s, const char *name, double v)
{
    char key[96];

    snprintf(key, sizeof key, "%s.%s", s->arch, name);
    gguf_put_f32(w, key, (float)v);
}

static void keys_put(struct gguf_out *w, const struct shape *s, const struct fmt_info *type)
{
    char name[64];

    snprintf(name, sizeof name, "random %s %s", s->name, type->name);
    gguf_put_str(w, "general.architecture", slice_of(s->arch));
    gguf_put_str(w, "general.name", slice_of(name));
    gguf_put_u32(w, "general.quantization_version", 2);
    key_put(w, s, "block_count", s->layers);
    key_put(w, s, "context_length", s->ctx);
    key_put(w, s, "embedding_length", s->dim);
    key_put(w, s, "feed_forward_length", s->ffn);
    key_put(w, s, "attention.head_count", s->heads);
    key_put(w, s, "attention.head_count_kv", s->kv);
    key_put(w, s, "attention.key_length", s->head);
    key_put(w, s, "attention.value_length", s->head);
    key_put(w, s, "rope.dimension_count", s->head);
    if (s->experts) {
        key_put(w, s, "expert_count", s->experts);
        key_put(w, s, "expert_used_count", s->used);
        key_put(w, s, "expert_feed_forward_length", s->ffn);
    }
    key_put(w, s, "vocab_size", s->vocab);
    key_put_f32(w, s, "rope.freq_base", s->rope);
    key_put_f32(w, s, "attention.layer_norm_rms_epsilon", s->eps);
}

enum fill { FILL_ONES, FILL_ROPE, FILL_RANDOM };

struct tensor {
    char name[64];
    const struct fmt_info *type;
    enum fill fill;
    uint64_t cols, rows; // rows 0: a vector
    uint64_t n;          // matrices, one behind another
    float dev;
};

struct tensors {
    struct tensor *at;
    size_t n, cap;
};

static void vector_add(struct tensors *t, const char *name, uint32_t n, enum fill fill)
{
    struct tensor *x = &t->at[t->n++];

    snprintf(x->name, sizeof x->name, "%s", name);
    x->type = fmt_find(FMT_F32);
    x->fill = fill;
    x->cols = n;
}

static void matrix_add(struct tensors *t, const char *name, const struct fmt_info *type,
                       uint64_t cols, uint64_t rows, double dev)
{
    struct tensor *x = &t->at[t->n++];

    snprintf(x->name, sizeof x->name, "%s", name);
    x->type = type;
    x->fill = FILL_RANDOM;
    x->cols = cols;
    x->rows = rows;
    x->n = 1;
    x->dev = (float)dev;
}

/* A matrix for each expert; the router is of plain numbers. */
static void experts_add(struct tensors *t, const struct shape *s, const struct fmt_info *type,
                        uint32_t l, double in, double out)
{
    static const char *const part[] = {"gate", "up", "down"};
    char name[64];

    snprintf(name, sizeof name, "blk.%u.ffn_gate_inp.weight", l);
    matrix_add(t, name, fmt_find(FMT_F32), s->dim, s->experts, in);
    for (int k = 0; k < 3; k++) {
        snprintf(name, sizeof name, "blk.%u.ffn_%s_exps.weight", l, part[k]);
        matrix_add(t, name, type, k < 2 ? s->dim : s->ffn, k < 2 ? s->ffn : s->dim,
                   k < 2 ? in : out / sqrt(s->ffn));
        t->at[t->n - 1].n = s->experts;
    }
}

static void layer_add(struct tensors *t, const struct shape *s, const struct fmt_info *type,
                      uint32_t l)
{
    uint32_t q = s->heads * s->head, kv = s->kv * s->head;
    double in = 1.0 / sqrt(s->dim), out = 1.0 / sqrt(2.0 * s->layers);
    char name[64];

#define NAME(part) (snprintf(name, sizeof name, "blk.%u." part ".weight", l), name)
    vector_add(t, NAME("attn_norm"), s->dim, FILL_ONES);
    matrix_add(t, NAME("attn_q"), type, s->dim, q, in);
    matrix_add(t, NAME("attn_k"), type, s->dim, kv, in);
    matrix_add(t, NAME("attn_v"), type, s->dim, kv, in);
    if (strcmp(s->arch, "llama") != 0) {
        vector_add(t, NAME("attn_q_norm"), s->head, FILL_ONES);
        vector_add(t, NAME("attn_k_norm"), s->head, FILL_ONES);
    }
    matrix_add(t, NAME("attn_output"), type, q, s->dim, out / sqrt(q));
    vector_add(t, NAME("ffn_norm"), s->dim, FILL_ONES);
    if (s->experts) {
        experts_add(t, s, type, l, in, out);
        return;
    }
    matrix_add(t, NAME("ffn_gate"), type, s->dim, s->ffn, in);
    matrix_add(t, NAME("ffn_up"), type, s->dim, s->ffn, in);
    matrix_add(t, NAME("ffn_down"), type, s->ffn, s->dim, out / sqrt(s->ffn));
#undef NAME
}

static int tensors_list(struct tensors *t, const struct shape *s, const struct fmt_info *type,
                        const struct fmt_info *embd, struct err *e)
{
    t->at = mem_array(12 * (uint64_t)s->layers + 4, sizeof *t->at, e);
    if (!t->at)
        return E_NOMEM;
    /* a tied embedding makes the logits too: their deviation is 3 */
    matrix_add(t, "token_embd.weight", embd, s->dim, s->vocab, 3.0 / sqrt(s->dim));
    if (s->rope_factor > 0)
        vector_add(t, "rope_freqs.weight", s->head / 2, FILL_ROPE);
    for (uint32_t l = 0; l < s->layers; l++)
        layer_add(t, s, type, l);
    vector_add(t, "output_norm.weight", s->dim, FILL_ONES);
    if (!s->tied)
        matrix_add(t, "output.weight", embd, s->dim, s->vocab, 3.0 / sqrt(s->dim));
    return 0;
}

/* Llama 3's divisors of rotary frequencies: long waves by the factor, short ones by 1, those
 * between a quarter and the whole of the first context (8192) in between. */
static float rope_divisor(const struct shape *s, uint64_t i)
{
    double wave = 2 * 3.14159265358979 * pow(s->rope, 2.0 * (double)i / s->head);
    double smooth = (8192.0 / wave - 1.0) / 3.0;

    if (smooth <= 0)
        return (float)s->rope_factor;
    if (smooth >= 1)
        return 1.0f;
    return (float)(1.0 / ((1.0 - smooth) / s->rope_factor + smooth));
}

static int vector_write(struct gguf_out *w, const struct shape *s, const struct tensor *t,
                        float *buf, struct err *e)
{
    for (uint64_t i = 0; i < t->cols; i++) {
        float v = t->fill == FILL_ROPE ? rope_divisor(s, i) : 1.0f;

        buf[i % (CHUNK / 4)] = v;
        if ((i + 1) % (CHUNK / 4) == 0 || i + 1 == t->cols) {
            int rc = gguf_data(w, buf, 4 * (i % (CHUNK / 4) + 1), e);

            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

static int matrix_write(struct gguf_out *w, const struct tensor *t, uint64_t key, void *buf,
                        struct err *e)
{
    uint64_t blocks = t->cols / (uint64_t)t->type->block * t->rows * t->n;
    uint64_t most = CHUNK / (uint64_t)t->type->bytes;

    for (uint64_t at = 0; at < blocks;) {
        uint64_t n = blocks - at < most ? blocks - at : most;
        int rc;

        synth_blocks(t->type, buf, at, (size_t)n, t->dev, key);
        if ((rc = gguf_data(w, buf, n * (uint64_t)t->type->bytes, e)) < 0)
            return rc;
        at += n;
    }
    return 0;
}

static bool stopped(const struct random_model *m)
{
    return m->stop && m->stop();
}

static int model_write(const char *path, const struct random_model *m, const struct shape *s,
                       const struct fmt_info *type, const struct fmt_info *embd, struct err *e)
{
    struct tensors t = {0};
    struct gguf_out *w = NULL;
    void *buf = mem_aligned(CHUNK, 64, e);
    int rc = E_NOMEM;

    if (!buf || (rc = tensors_list(&t, s, type, embd, e)) < 0)
        goto fail;
    if ((rc = gguf_create(&w, path, 0, e)) < 0)
        goto fail;
    keys_put(w, s, type);
    if ((rc = vocab_put(w, s->vocab, e)) < 0)
        goto fail;
    for (size_t i = 0; i < t.n; i++) {
        const struct tensor *x = &t.at[i];
        uint64_t ne[3] = {x->cols, x->rows, x->n};

        gguf_put_tensor(w, slice_of(x->name), (uint32_t)x->type->id,
                        x->n > 1  ? 3
                        : x->rows ? 2
                                  : 1,
                        ne);
    }
    if ((rc = gguf_begin(w, e)) < 0)
        goto fail;
    for (size_t i = 0; i < t.n && rc == 0 && !stopped(m); i++)
        rc = t.at[i].fill == FILL_RANDOM ? matrix_write(w, &t.at[i], m->seed * 1000003 + i, buf, e)
                                         : vector_write(w, s, &t.at[i], buf, e);
    if (rc == 0 && !stopped(m)) {
        rc = gguf_finish(w, e);
        w = NULL;
    }
fail:
    gguf_abort(w);
    mem_free(buf);
    mem_free(t.at);
    return rc;
}

int random_model_write(const char *path, const struct random_model *m, struct err *e)
{
    const struct fmt_info *type = type_read(m->type, e);
    const struct fmt_info *embd = m->embd_type ? type_read(m->embd_type, e) : type;
    struct shape s;
    int rc;

    if (!type || !embd)
        return E_USAGE;
    rc = shape_read(&s, m, e);
    return rc < 0 ? rc : model_write(path, m, &s, type, embd, e);
}
