/* hfdir.c - a directory of safetensors as a source: which tensors there are, and their rows. */
#include "model/hfdir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "file/safetensors.h"
#include "model/config.h"
#include "model/hf_cache.h"
#include "model/hf_names.h"
#include "model/hf_place.h"
#include "model/hf_vocab.h"
#include "model/vocab.h"
#include "quant/half.h"
#include "quant/quant.h"

enum { MX_BLOCK = 17 };

/* A tensor of the source, and what it is made of. */
struct piece {
    struct weight_spec spec;
    const struct st_tensor **from;  // [n_from] one, or one per expert, or per row (TR_EACH_ROW)
    const struct st_tensor **scale; // [n_from] of 8-bit floats; entries may be NULL
    int64_t n_from;
    const float *made;                 // made by the configuration; from is NULL then
    const struct st_tensor *mx_scales; // of MXFP4 blocks, which from holds
};

struct hfdir {
    struct source s;
    char *path;
    struct config c;
    struct safetensors *st;
    uint8_t *used; // [st->n_tensor]
    struct hparams h;
    struct buf head;     // the GGUF head that s.g is parsed from
    struct piece *piece; // [n_piece] as s.g->tensor
    uint32_t n_piece;
    struct weight_copy *copies;
    struct hf_vocab *vocab;
};

static struct hfdir *dir_of(const struct source *s)
{
    return (struct hfdir *)((char *)(uintptr_t)s - offsetof(struct hfdir, s));
}

/* -- names -- */

static const struct st_tensor *use(struct hfdir *d, const char *name)
{
    const struct st_tensor *t = st_find(d->st, slice_of(name));

    if (t)
        d->used[t - d->st->tensor] = 1;
    return t;
}

/* The tensor under any of its spellings. */
static const struct st_tensor *find_tensor(struct hfdir *d, const char *name)
{
    const struct st_tensor *t = NULL;
    char full[HF_MAX_NAME];

    for (int i = 0; i < HF_N_NAMES && !t; i++)
        if (hf_name(full, name, i))
            t = use(d, full);
    return t;
}

/* NAME_scale_inv or NAME_scale. */
static const struct st_tensor *find_scale(struct hfdir *d, const char *name)
{
    char full[HF_MAX_NAME + 16];
    const struct st_tensor *t;

    snprintf(full, sizeof full, "%s_scale_inv", name);
    if ((t = find_tensor(d, full)))
        return t;
    snprintf(full, sizeof full, "%s_scale", name);
    return find_tensor(d, full);
}

/* -- what each tensor is made of -- */

static int bad_tensor(const struct hfdir *d, const char *name, int code, const char *what,
                      struct err *e)
{
    char shown[96];

    return err_set(e, code, "%s: tensor '%s' %s", d->path,
                   gguf_show(shown, sizeof shown, slice_of(name)), what);
}

static bool is_float8(int type)
{
    return type == ST_F8_E4M3 || type == ST_F8_E5M2;
}

static int check_from(const struct hfdir *d, const struct piece *p, const char *name, int64_t i,
                      struct err *e)
{
    const struct st_tensor *t = p->from[i], *s = p->scale[i];
    uint64_t want = hf_numbers(&p->spec, &d->h, p->n_from > 1);
    char what[160];

    if (t->n != want) {
        snprintf(what, sizeof what, "has %llu numbers, expected %llu", (unsigned long long)t->n,
                 (unsigned long long)want);
        return bad_tensor(d, name, E_FORMAT, what, e);
    }
    if (t->type > ST_F8_E5M2) {
        snprintf(what, sizeof what, "has type %s, which weights cannot have here",
                 st_type_name(t->type));
        return bad_tensor(d, name, E_UNSUPPORTED, what, e);
    }
    if (t->type != p->from[0]->type)
        return bad_tensor(d, name, E_UNSUPPORTED, "has another type than the other experts", e);
    if (s &&
        (!is_float8(t->type) || s->type > ST_BF16 || s->n == 0 || s->n_dims > 2 || t->n_dims != 2))
        return bad_tensor(d, name, E_UNSUPPORTED, "has scales of a form that is not supported", e);
    return 0;
}

/* gpt-oss: NAME_blocks and NAME_scales, 32 numbers of four bits and one exponent. */
static int find_mx(struct hfdir *d, struct piece *p, const char *name, struct err *e)
{
    const struct weight_spec *s = &p->spec;
    char full[HF_MAX_NAME + 16];
    uint64_t twice = s->row->transform == TR_TRANSPOSE ? 1 : 2;
    uint64_t n = (uint64_t)s->n * (uint64_t)s->rows * (uint64_t)s->cols / 32 * twice;

    snprintf(full, sizeof full, "%s_scales", name);
    p->mx_scales = find_tensor(d, full);
    snprintf(full, sizeof full, "%s_blocks", name);
    p->from[0] = find_tensor(d, full);
    if (!p->mx_scales || !p->from[0])
        return 0;
    if (p->from[0]->type != ST_U8 || p->mx_scales->type != ST_U8 || p->from[0]->n != n * 16 ||
        p->mx_scales->n != n || s->cols % 32)
        return bad_tensor(d, full, E_FORMAT, "has not the size its shape asks for", e);
    return 1;
}

/* 1: found; 0: absent, which is fine; negative: absent or misshapen. */
static int find_piece(struct hfdir *d, struct piece *p, struct err *e)
{
    const struct weight_row *row = p->spec.row;
    bool apart = strstr(row->hf, "%e") != NULL;
    char name[HF_MAX_NAME];
    int rc;

    p->n_from = apart ? p->spec.n : row->transform == TR_EACH_ROW ? p->spec.rows : 1;
    p->from = mem_array((uint64_t)p->n_from, sizeof *p->from, e);
    p->scale = mem_array((uint64_t)p->n_from, sizeof *p->scale, e);
    if (!p->from || !p->scale)
        return E_NOMEM;
    for (int64_t i = 0; i < p->n_from; i++) {
        if (!hf_spell(name, row->hf, p->spec.layer, i))
            return bad_tensor(d, row->hf, E_FORMAT, "has a name that is too long", e);
        p->from[i] = find_tensor(d, name);
        if (!p->from[i] && p->spec.n > 1 && !apart && (rc = find_mx(d, p, name, e)) != 0)
            return rc;
        if (!p->from[i] && row->flags & WR_OPT)
            return 0;
        if (!p->from[i])
            return bad_tensor(d, name, E_FORMAT, "is missing", e);
        if (is_float8(p->from[i]->type))
            p->scale[i] = find_scale(d, name);
        if ((rc = check_from(d, p, name, i, e)) < 0)
            return rc;
    }
    return 1;
}

/* A table tied to the embedding is not stored twice, and where it is it does not count. */
static bool left_out(const struct hfdir *d, const struct weight_spec *s)
{
    bool tied = false;

    return strcmp(s->name, "output.weight") == 0 && cfg_bool(&d->c, "tie_word_embeddings", &tied) &&
           tied;
}

static void piece_fini(struct piece *p)
{
    mem_free(p->from);
    mem_free(p->scale);
}

static bool find_made(const struct hfdir *d, struct piece *p)
{
    for (int i = 0; i < d->c.n_made; i++)
        if (strcmp(d->c.made[i].name, p->spec.name) == 0 &&
            d->c.made[i].n == (uint64_t)p->spec.cols) {
            p->made = d->c.made[i].v;
            return true;
        }
    return false;
}

/* Fills d->piece from the architecture's table. */
static int find_pieces(struct hfdir *d, struct err *e)
{
    struct weight_spec *spec;
    int n, rc;

    if ((rc = weights_list(&spec, &n, d->c.arch, &d->h, e)) < 0)
        return rc;
    if (!(d->piece = mem_array((uint64_t)n, sizeof *d->piece, e)))
        rc = E_NOMEM;
    for (int i = 0; i < n && rc >= 0; i++) {
        struct piece *p = &d->piece[d->n_piece];

        *p = (struct piece){.spec = spec[i]};
        if (left_out(d, &spec[i]))
            continue;
        rc = find_made(d, p) ? 1 : spec[i].row->hf ? find_piece(d, p, e) : 0;
        if (rc > 0)
            d->n_piece++;
        else
            piece_fini(p);
    }
    mem_free(spec);
    return rc < 0 ? rc : 0;
}

/* -- as GGUF has it -- */

static uint32_t type_of(const struct piece *p)
{
    static const uint8_t of[] = {FMT_F32, FMT_F32, FMT_F16, FMT_BF16, FMT_BF16, FMT_BF16};

    if (p->mx_scales)
        return FMT_MXFP4;
    if (p->made || p->spec.row->flags & WR_F32 ||
        strcmp(p->spec.row->name, "ffn_gate_inp.weight") == 0)
        return FMT_F32;
    return of[p->from[0]->type];
}

static void put_tensor(struct gguf_out *w, const struct piece *p)
{
    const struct weight_row *row = p->spec.row;
    uint64_t ne[4] = {(uint64_t)p->spec.cols, (uint64_t)p->spec.rows, (uint64_t)p->spec.n, 1};
    uint32_t n_dims = row->dim[0] != D_ONE ? 3 : row->dim[1] != D_ONE ? 2 : 1;

    if (row->flags & WR_COL && n_dims == 1) {
        ne[1] = ne[0];
        ne[0] = 1;
        n_dims = 2;
    }
    if (row->transform == TR_EACH_ROW) { /* as the reference converter stacks them */
        ne[3] = ne[1];
        ne[1] = 1;
        n_dims = 4;
    }
    gguf_put_tensor(w, slice_of(p->spec.name), type_of(p), n_dims, ne);
}

/* Parses the head that w makes into a struct gguf whose bytes lie in *head. */
static int parse_head(struct gguf **g, struct buf *head, struct gguf_out *w, const char *path,
                      struct err *e)
{
    uint64_t data_at;
    int rc;

    buf_clear(head);
    if ((rc = gguf_head(w, head, e)) < 0)
        return rc;
    return gguf_open_head(g, path, head->p, head->n, &data_at, e);
}

/* The numbers of the model: hparams_read wants the size of the vocabulary from a tensor. */
static int read_numbers(struct hfdir *d, struct gguf_out *w, struct err *e)
{
    const struct st_tensor *t = NULL;
    struct gguf *g = NULL;
    struct buf head = {0};
    uint64_t ne[2];
    int rc;

    for (const struct weight_row *r = d->c.arch->weights; r->name && !t; r++)
        if (strcmp(r->name, "token_embd.weight") == 0 && r->hf)
            t = find_tensor(d, r->hf);
    if (!t || t->n_dims != 2 || !t->n)
        return err_set(e, E_FORMAT, "%s: the table of tokens is missing", d->path);
    ne[0] = t->shape[1];
    ne[1] = t->shape[0];
    gguf_put_tensor(w, SLICE("token_embd.weight"), FMT_F32, 2, ne);
    if ((rc = parse_head(&g, &head, w, d->c.path, e)) == 0)
        rc = hparams_read(&d->h, g, d->c.arch, e);
    gguf_close(g);
    buf_fini(&head);
    return rc;
}

/* Layers with a window that do not lie as the architecture usually has them. */
static void put_pattern(struct hfdir *d)
{
    static const char *const local[] = {"sliding_attention", "chunked_attention", NULL};
    bool pattern[MAX_LAYER], differs = false;
    int n = d->h.n_layer;
    char key[96];

    if (!d->h.window || cfg_layer_is(&d->c, 0, local) < 0)
        return;
    for (int l = 0; l < n; l++) {
        pattern[l] = cfg_layer_is(&d->c, l, local) == 1;
        differs |= pattern[l] != hparams_local(&d->h, l);
    }
    snprintf(key, sizeof key, "%s.attention.sliding_window_pattern", d->c.arch->name);
    if (differs)
        gguf_put_array(d->c.w, key, GGUF_BOOL, pattern, (uint64_t)n);
}

static const char *last_name(const char *path, char out[128])
{
    size_t n = strlen(path), from;

    while (n > 1 && path[n - 1] == '/')
        n--;
    for (from = n; from > 0 && path[from - 1] != '/';)
        from--;
    snprintf(out, 128, "%.*s", (int)(n - from), path + from);
    return out;
}

static void put_general(struct hfdir *d)
{
    char name[128];

    gguf_put_str(d->c.w, "general.type", SLICE("model"));
    gguf_put_str(d->c.w, "general.name", slice_of(last_name(d->path, name)));
}

/* Most of the matrices' bytes decide: as the reference's numbers for file types have it. */
static uint32_t file_type(const struct hfdir *d)
{
    uint64_t bytes[3] = {0};
    static const uint32_t number[] = {0, 1, 32}; /* all F32, mostly F16, mostly BF16 */
    int best = 0;

    for (uint32_t i = 0; i < d->n_piece; i++) {
        uint32_t type = type_of(&d->piece[i]);
        const struct weight_spec *s = &d->piece[i].spec;
        uint64_t n = (uint64_t)s->n * (uint64_t)s->rows * (uint64_t)s->cols;

        if (s->rows > 1)
            bytes[type == FMT_F16 ? 1 : type == FMT_BF16 ? 2 : 0] += n;
    }
    for (int i = 1; i < 3; i++)
        if (bytes[i] > bytes[best])
            best = i;
    return number[best];
}

/* Keys in one writer, heads out of it twice: once to learn the numbers, once with all tensors. */
static int make_head(struct hfdir *d, bool vocab_only, struct err *e)
{
    struct gguf_out *numbers = NULL;
    int rc;

    if ((rc = gguf_create(&d->c.w, NULL, 0, e)) < 0)
        return rc;
    put_general(d);
    if ((d->c.root && (rc = config_keys(&d->c, e)) < 0) ||
        (rc = hf_vocab_keys(d->vocab, d->c.w, &d->c, e)) < 0)
        goto done;
    if (!vocab_only) {
        struct gguf *g = NULL;
        struct buf head = {0};

        if ((rc = gguf_create(&numbers, NULL, 0, e)) < 0 ||
            (rc = parse_head(&g, &head, d->c.w, d->c.path, e)) < 0)
            goto done_numbers;
        for (uint32_t i = 0; i < g->n_key; i++)
            gguf_put_key(numbers, &g->key[i]);
        if ((rc = read_numbers(d, numbers, e)) < 0)
            goto done_numbers;
        put_pattern(d);
        rc = find_pieces(d, e);
done_numbers:
        gguf_close(g);
        buf_fini(&head);
        if (rc < 0)
            goto done;
        gguf_put_u32(d->c.w, "general.file_type", file_type(d));
        for (uint32_t i = 0; i < d->n_piece; i++)
            put_tensor(d->c.w, &d->piece[i]);
    }
    rc = parse_head(&d->s.g, &d->head, d->c.w, d->path, e);
done:
    gguf_abort(numbers);
    gguf_abort(d->c.w);
    d->c.w = NULL;
    return rc;
}

/* -- rows -- */

static float scale_at(const struct st_tensor *t, const struct st_tensor *s, uint64_t i)
{
    uint64_t rows = t->shape[0], cols = t->shape[1];
    uint64_t s_rows = s->n_dims > 0 ? s->shape[0] : 1, s_cols = s->n_dims > 1 ? s->shape[1] : 1;
    uint64_t of = (rows + s_rows - 1) / s_rows, by = (cols + s_cols - 1) / s_cols;
    uint64_t at = i / cols / of * s_cols + i % cols / by;

    return (float)st_number(s->type, s->p, at < s->n ? at : s->n - 1);
}

static float number_at(const struct st_tensor *t, const struct st_tensor *s, uint64_t i)
{
    float v;

    switch (t->type) {
    case ST_F32:
        memcpy(&v, t->p + i * 4, 4);
        return v;
    case ST_BF16:
        return bf16_to_f32((uint16_t)(t->p[i * 2] | t->p[i * 2 + 1] << 8));
    case ST_F16:
        return f16_to_f32((uint16_t)(t->p[i * 2] | t->p[i * 2 + 1] << 8));
    default:
        v = (float)st_number(t->type, t->p, i);
        return s ? v * scale_at(t, s, i) : v;
    }
}

static void store(uint32_t type, void *out, uint64_t i, float v)
{
    uint16_t half;

    if (type == FMT_F32) {
        memcpy((char *)out + i * 4, &v, 4);
        return;
    }
    half = type == FMT_F16 ? f32_to_f16(v) : f32_to_bf16(v);
    memcpy((char *)out + i * 2, &half, 2);
}

/* n numbers of a run into out[at...]. */
static void gather(const struct piece *p, const struct st_tensor *t, const struct st_tensor *scale,
                   struct hf_run run, uint32_t type, uint64_t at, uint64_t n, void *out)
{
    static const uint8_t same[] = {FMT_F64, FMT_F32, FMT_F16, FMT_BF16};
    int tr = p->spec.row->transform;
    uint64_t size = type == FMT_F32 ? 4 : 2;

    if (t->type < ARRAY_LEN(same) && same[t->type] == type && tr != TR_ADD_ONE &&
        tr != TR_NEG_EXP) {
        if (run.stride == 1)
            memcpy((char *)out + at * size, t->p + run.base * size, n * size);
        else
            for (uint64_t c = 0; c < n; c++)
                memcpy((char *)out + (at + c) * size, t->p + (run.base + c * run.stride) * size,
                       size);
        return;
    }
    for (uint64_t c = 0; c < n; c++)
        store(type, out, at + c, hf_number(tr, number_at(t, scale, run.base + c * run.stride)));
}

/* One row of MXFP4: neighbours share a byte there, halves of a block here. */
static void mx_row(const struct piece *p, int64_t m, int64_t r, uint8_t *out)
{
    const struct weight_spec *s = &p->spec;
    int tr = s->row->transform;
    uint64_t blocks = (uint64_t)s->cols / 32, row;

    row = tr == TR_TRANSPOSE ? (uint64_t)(m * s->rows + r)
                             : (uint64_t)(m * s->rows + r) * 2 + (tr == TR_ODD_COLS);
    for (uint64_t b = 0; b < blocks; b++, out += MX_BLOCK) {
        const uint8_t *from = p->from[0]->p + (row * blocks + b) * 16;

        out[0] = p->mx_scales->p[row * blocks + b];
        for (int j = 0; j < 16; j++) {
            uint8_t lo = from[j / 2], hi = from[8 + j / 2];

            out[1 + j] = j % 2 ? (uint8_t)(lo >> 4 | (hi & 0xf0))
                               : (uint8_t)((lo & 15) | (uint8_t)(hi << 4));
        }
    }
}

static void one_row(const struct hfdir *d, const struct piece *p, uint32_t type, uint64_t row,
                    uint8_t *out)
{
    uint64_t rows = (uint64_t)p->spec.rows, cols = (uint64_t)p->spec.cols, m = row / rows;
    bool each = p->spec.row->transform == TR_EACH_ROW, apart = p->n_from > 1 && !each;
    const struct st_tensor *t, *scale;

    if (p->made) {
        memcpy(out, p->made + row * cols, cols * sizeof *p->made);
        return;
    }
    if (p->mx_scales) {
        mx_row(p, (int64_t)m, (int64_t)(row % rows), out);
        return;
    }
    t = p->from[each ? row % rows : apart ? m : 0];
    scale = p->scale[each ? row % rows : apart ? m : 0];
    if (hf_rearranged(&p->spec)) {
        for (uint64_t c = 0; c < cols; c++)
            gather(p, t, scale, hf_place(&p->spec, &d->h, apart, 0, (int64_t)c), type, c, 1, out);
        return;
    }
    gather(p, t, scale, hf_place(&p->spec, &d->h, apart, (int64_t)m, (int64_t)(row % rows)), type,
           0, cols, out);
}

static int hf_rows(struct source *s, uint32_t i, uint64_t row, uint64_t n, void *out, struct err *e)
{
    const struct hfdir *d = dir_of(s);
    const struct gguf_tensor *t = &s->g->tensor[i];
    const struct piece *p = &d->piece[i];
    uint64_t bytes = source_row_bytes(t);

    (void)e;
    if (p->spec.row->flags & WR_COL) { /* a column is one row of the file's tensor */
        uint8_t *all = out;

        for (uint64_t k = 0; k < n; k++)
            gather(p, p->from[0], NULL, (struct hf_run){row + k, 1}, t->type, k, 1, all);
        return 0;
    }
    for (uint64_t k = 0; k < n; k++)
        one_row(d, p, t->type, row + k, (uint8_t *)out + k * bytes);
    return 0;
}

static void hf_done(struct source *s, uint32_t i)
{
    const struct hfdir *d = dir_of(s);
    const struct piece *p = &d->piece[i];

    for (int64_t k = 0; p->from && k < p->n_from; k++)
        st_dontneed(d->st, p->from[k]);
}

static void hf_close(struct source *s)
{
    struct hfdir *d = dir_of(s);

    for (uint32_t i = 0; i < d->n_piece; i++)
        piece_fini(&d->piece[i]);
    mem_free(d->piece);
    weight_copies_free(d->copies);
    gguf_close(s->g);
    buf_fini(&d->head);
    hf_vocab_close(d->vocab);
    mem_free(d->used);
    st_close(d->st);
    config_close(&d->c);
    mem_free(d->path);
    mem_free(d);
}

static const struct source_ops hf_ops = {hf_rows, NULL, hf_done, hf_close};

/* Tensors that lie in the file as they are wanted need no copy. */
static void point_at_rows(struct hfdir *d)
{
    for (uint32_t i = 0; i < d->n_piece; i++) {
        const struct piece *p = &d->piece[i];
        struct gguf_tensor *t = &d->s.g->tensor[i];
        static const uint8_t same[] = {FMT_F64, FMT_F32, FMT_F16, FMT_BF16};

        if (p->from && p->n_from == 1 && !p->mx_scales && p->spec.row->transform == TR_NONE &&
            p->from[0]->type < ARRAY_LEN(same) && same[p->from[0]->type] == t->type &&
            (uintptr_t)p->from[0]->p % st_type_bytes(p->from[0]->type) == 0)
            t->p = p->from[0]->p;
    }
}

static int hf_open(struct source **out, const char *path, unsigned flags, struct err *e)
{
    struct hfdir *d = mem_new(sizeof *d, e);
    bool vocab_only = flags & HF_VOCAB_ONLY;
    struct err own = {0};
    int rc = E_NOMEM;

    e = e ? e : &own;
    if (!d)
        return rc;
    d->s.ops = &hf_ops;
    if (!(d->path = mem_dup(path, strlen(path), e)))
        goto fail;
    rc = config_open(&d->c, path, e);
    if (rc == E_NOTFOUND && vocab_only) { /* tokenizer files alone will do */
        *e = (struct err){0};
        rc = 0;
    }
    if (rc < 0 || (rc = hf_vocab_open(&d->vocab, path, e)) < 0)
        goto fail;
    if (!vocab_only && (rc = st_open(&d->st, path, e)) < 0)
        goto fail;
    if (d->st && !(d->used = mem_new(d->st->n_tensor, e))) {
        rc = E_NOMEM;
        goto fail;
    }
    if ((rc = make_head(d, vocab_only, e)) < 0)
        goto fail;
    point_at_rows(d);
    d->s.g->file_bytes = 0;
    for (uint32_t i = 0; d->st && i < d->st->n_part; i++)
        d->s.g->file_bytes += d->st->part[i].view.n;
    *out = &d->s;
    return 0;
fail:
    hf_close(&d->s);
    return rc;
}

/* -- public -- */

int model_source(struct source **out, const char *path, unsigned flags, struct err *e)
{
    struct buf found = {0};
    int rc = 0;

    *out = NULL;
    if (strncmp(path, "hf:", 3) == 0) {
        if ((rc = hf_cache_find(&found, path + 3, e)) == 0)
            rc = model_source(out, found.p, flags, e);
        buf_fini(&found);
        return rc;
    }
    if (file_is_dir(path))
        return hf_open(out, path, flags, e);
    return source_open(out, path, flags & GGUF_READ, e);
}

int model_source_load(struct source *s, struct err *e)
{
    struct hfdir *d = dir_of(s);
    int rc = 0;

    if (s->ops != &hf_ops)
        return source_load(s, e);
    for (uint32_t i = 0; i < s->g->n_tensor && rc == 0; i++) {
        struct gguf_tensor *t = &s->g->tensor[i];
        void *p;

        if (t->p)
            continue;
        if (!(p = weight_copy_new(&d->copies, t->bytes, e)))
            return E_NOMEM;
        rc = hf_rows(s, i, 0, source_n_rows(t), p, e);
        hf_done(s, i);
        t->p = p;
    }
    return rc;
}

int model_source_vocab(struct tok **out, const struct source *s, struct err *e)
{
    if (s->ops == &hf_ops && hf_vocab_own(dir_of(s)->vocab))
        return hf_vocab_tok(out, dir_of(s)->vocab, e);
    return vocab_from_gguf(out, s->g, e);
}

uint32_t model_source_unused(const struct source *s, struct slice *first)
{
    const struct hfdir *d = dir_of(s);
    uint32_t n = 0;

    if (s->ops != &hf_ops || !d->st)
        return 0;
    for (uint32_t i = 0; i < d->st->n_tensor; i++)
        if (!d->used[i] && n++ == 0)
            *first = d->st->tensor[i].name;
    return n;
}
