/* hf_export.c - see hf_export.h: the tensors. */
#include "model/hf_export.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "file/safetensors.h"
#include "model/hf_names.h"
#include "model/hf_place.h"
#include "model/hfdir.h"
#include "model/weights.h"
#include "quant/half.h"
#include "quant/quant.h"

/* Part of a tensor of the directory: one matrix of a GGUF tensor, or one row (TR_EACH_ROW), or all
 * of it (both -1). */
struct share {
    char name[HF_MAX_NAME];
    int spec;
    int64_t matrix, row;
    uint32_t next; // of the same tensor; NONE: no more
};

struct out_tensor {
    const char *name;
    uint32_t n_dims;
    uint64_t shape[3], n;
    int type; // enum st_type
    uint32_t first;
};

#define NONE UINT32_MAX

struct export
{
    struct source *s;
    struct exported x;
    const struct hf_export_opts *o;
    struct hparams *h;
    struct weight_spec *spec; // [n_spec]
    uint32_t *tensor;         // [n_spec] index of the GGUF tensor; NONE: it has none
    int n_spec;
    struct share *share;  // [n_share]
    struct out_tensor *t; // [n_t]
    uint32_t n_share, n_t;
    struct map names; // to t
    int main;         // enum st_type of most matrices
    bool made_dir;
};

/* -- which tensors there are -- */

static void set_shape(struct out_tensor *t, const struct weight_spec *s, const struct hparams *h,
                      bool apart)
{
    uint64_t rows = (uint64_t)s->rows, cols = (uint64_t)s->cols, n = apart ? 1 : (uint64_t)s->n;
    uint64_t shape[3] = {n, rows, cols};
    uint32_t dims = n > 1 ? 3 : rows > 1 ? 2 : 1;

    switch (s->row->transform) {
    case TR_TRANSPOSE:
        shape[1] = cols;
        shape[2] = rows;
        break;
    case TR_FIRST_HALF:
    case TR_SECOND_HALF:
        shape[1] = 2 * rows;
        break;
    case TR_EVEN_COLS:
    case TR_ODD_COLS:
        shape[1] = cols;
        shape[2] = 2 * rows;
        break;
    case TR_EVEN:
    case TR_ODD:
        shape[2] = 2 * cols;
        break;
    case TR_SPLIT_K:
    case TR_SPLIT_V:
        shape[2] = (uint64_t)h->kv_lora;
        shape[1] = hf_numbers(s, h, apart) / shape[2];
        dims = 2;
        break;
    case TR_EACH_ROW:
        shape[0] = shape[1] = 1;
        dims = 3;
        break;
    default:
        break;
    }
    if (strstr(s->name, "ssm_conv1d.weight")) { /* a convolution of one channel each */
        shape[0] = rows;
        shape[1] = 1;
        dims = 3;
    } else if (strcmp(s->name, "cls.output.weight") == 0) { /* also with one score */
        dims = 2;
    } else if (strstr(s->name, "ssm_norm.weight")) { /* of groups, told in one */
        shape[2] = rows * cols;
        dims = 1;
    } else if (strstr(s->name, "time_mix_r_k")) {
        shape[1] = cols / (uint64_t)h->wkv_head;
        shape[2] = (uint64_t)h->wkv_head;
        dims = 2;
    }
    t->n_dims = dims;
    t->n = 1;
    for (uint32_t i = 0; i < dims; i++) {
        t->shape[i] = shape[3 - dims + i];
        t->n *= t->shape[i];
    }
}

/* Whether a tensor's name says that it lies below a BERT's classifier. */
static bool in_body(const struct export *x, const char *name)
{
    return x->h->n_score && strcmp(x->x.arch->name, "bert") == 0 &&
           strncmp(name, "classifier.", 11) != 0;
}

static int add_share(struct export *x, int spec, int64_t matrix, int64_t row, struct err *e)
{
    const struct weight_spec *s = &x->spec[spec];
    struct share *part = &x->share[x->n_share];
    char name[HF_MAX_NAME];
    uint32_t at;
    int rc;

    *part = (struct share){.spec = spec, .matrix = matrix, .row = row, .next = NONE};
    if (!hf_spell(name, s->row->hf, s->layer, row >= 0 ? row : matrix) ||
        snprintf(part->name, sizeof part->name, "%s%s", in_body(x, name) ? "bert." : "", name) >=
            (int)sizeof part->name)
        return err_set(e, E_RANGE, "'%s': a name too long", s->name);
    if (map_get(&x->names, slice_of(part->name), &at)) {
        part->next = x->t[at].first;
        x->t[at].first = x->n_share++;
        return 0;
    }
    if ((rc = map_put(&x->names, slice_of(part->name), x->n_t, e)) < 0)
        return rc;
    x->t[x->n_t] = (struct out_tensor){.name = part->name, .first = x->n_share++};
    set_shape(&x->t[x->n_t++], s, x->h, matrix >= 0);
    return 0;
}

static bool apart(const struct weight_spec *s)
{
    return strstr(s->row->hf, "%e") != NULL;
}

/* A copy that files of some kinds have for their readers' sake. */
static bool is_copy(const struct weight_spec *s)
{
    return s->row->when == WHEN_FIRST && s->row->flags & WR_OPT;
}

static int64_t n_shares(const struct weight_spec *s)
{
    return apart(s) ? s->n : s->row->transform == TR_EACH_ROW ? s->rows : 1;
}

/* What config.json says instead. */
static bool said_elsewhere(struct slice name)
{
    return slice_starts(name, SLICE("rope_f"));
}

static int check_tensor(const struct export *x, int i, struct err *e)
{
    const struct weight_spec *s = &x->spec[i];
    const struct gguf_tensor *t = &x->s->g->tensor[x->tensor[i]];
    const struct fmt_info *f = fmt_find((int)t->type);
    uint64_t row = s->row->flags & WR_COL ? t->ne[0] * source_n_rows(t) : t->ne[0];

    if (row != (uint64_t)s->cols ||
        source_n_rows(t) * t->ne[0] != (uint64_t)s->n * (uint64_t)s->rows * (uint64_t)s->cols)
        return err_set(e, E_FORMAT, "%s: tensor '%s' has another shape than %lld x %lld x %lld",
                       x->s->g->path, s->name, (long long)s->n, (long long)s->rows,
                       (long long)s->cols);
    if (!f || !f->decode)
        return err_set(e, E_UNSUPPORTED, "%s: tensor '%s' has type %u, which is not supported",
                       x->s->g->path, s->name, t->type);
    if (f->block > 1 && x->o->type < 0)
        return err_set(e, E_UNSUPPORTED,
                       "%s: tensor '%s' is %s, which no directory has: --type BF16, F16 or F32 "
                       "makes floats of it",
                       x->s->g->path, s->name, f->name);
    return 0;
}

/* Fills spec and tensor: which GGUF tensor each row of the table is; all must be some row's. */
static int match_tensors(struct export *x, struct err *e)
{
    const struct gguf *g = x->s->g;
    uint8_t *seen = mem_new(g->n_tensor, e);
    char shown[96];
    int rc = seen ? 0 : E_NOMEM;

    for (int i = 0; i < x->n_spec && rc == 0; i++) {
        const struct gguf_tensor *t = gguf_tensor(g, x->spec[i].name);

        x->tensor[i] = NONE;
        if (!t || !x->spec[i].row->hf)
            continue;
        seen[t - g->tensor] = 1;
        if (is_copy(&x->spec[i]))
            continue;
        x->tensor[i] = (uint32_t)(t - g->tensor);
        rc = check_tensor(x, i, e);
    }
    for (uint32_t i = 0; i < g->n_tensor && rc == 0; i++)
        if (!seen[i] && !said_elsewhere(g->tensor[i].name))
            rc = err_set(e, E_UNSUPPORTED, "%s: tensor '%s' has no place in a directory", g->path,
                         gguf_show(shown, sizeof shown, g->tensor[i].name));
    mem_free(seen);
    return rc;
}

static int list_tensors(struct export *x, struct err *e)
{
    uint64_t n = 0;
    int rc;

    for (int i = 0; i < x->n_spec; i++)
        n += x->tensor[i] == NONE ? 0 : (uint64_t)n_shares(&x->spec[i]);
    if (n >= NONE / 2)
        return err_set(e, E_RANGE, "%s: too many tensors", x->s->g->path);
    if (!(x->share = mem_array(n, sizeof *x->share, e)) ||
        !(x->t = mem_array(n, sizeof *x->t, e)) || (rc = map_init(&x->names, n, e)) < 0)
        return E_NOMEM;
    for (int i = 0; i < x->n_spec; i++) {
        const struct weight_spec *s = &x->spec[i];

        for (int64_t k = 0; x->tensor[i] != NONE && k < n_shares(s); k++)
            if ((rc = add_share(x, i, apart(s) ? k : -1, s->row->transform == TR_EACH_ROW ? k : -1,
                                e)) < 0)
                return rc;
    }
    return 0;
}

/* -- numbers -- */

static float undone(int transform, float v)
{
    return transform == TR_ADD_ONE ? v - 1.0f : transform == TR_NEG_EXP ? logf(-v) : v;
}

static void store(int type, uint8_t *out, uint64_t i, float v)
{
    uint16_t half;

    if (type == ST_F32) {
        memcpy(out + 4 * i, &v, 4);
        return;
    }
    half = type == ST_F16 ? f32_to_f16(v) : f32_to_bf16(v);
    memcpy(out + 2 * i, &half, 2);
}

static bool same_type(int fmt, int type)
{
    return (fmt == FMT_F32 && type == ST_F32) || (fmt == FMT_F16 && type == ST_F16) ||
           (fmt == FMT_BF16 && type == ST_BF16);
}

/* One GGUF row of n numbers, being put where they belong. */
struct row {
    const struct weight_spec *s;
    const struct fmt_info *f;
    uint8_t *raw;
    float *v;
    uint64_t n;
};

static void put_row(const struct row *r, int type, uint8_t *out, struct hf_run run)
{
    int tr = r->s->row->transform;
    uint64_t size = st_type_bytes(type);

    if (same_type((int)r->f->id, type) && tr != TR_ADD_ONE && tr != TR_NEG_EXP) {
        if (run.stride == 1)
            memcpy(out + run.base * size, r->raw, r->n * size);
        else
            for (uint64_t c = 0; c < r->n; c++)
                memcpy(out + (run.base + c * run.stride) * size, r->raw + c * size, size);
        return;
    }
    r->f->decode(r->raw, r->v, r->n / (uint64_t)r->f->block);
    for (uint64_t c = 0; c < r->n; c++)
        store(type, out, run.base + c * run.stride, undone(tr, r->v[c]));
}

static int put_share(struct export *x, const struct share *part, int type, uint8_t *out,
                     uint64_t *filled, struct err *e)
{
    const struct weight_spec *s = &x->spec[part->spec];
    uint32_t i = x->tensor[part->spec];
    const struct gguf_tensor *t = &x->s->g->tensor[i];
    bool col = s->row->flags & WR_COL, each = part->row >= 0, vector = hf_rearranged(s);
    uint64_t per = (uint64_t)s->rows, from = 0, n = (uint64_t)s->n * per;
    struct row r = {.s = s, .f = fmt_find((int)t->type), .n = (uint64_t)s->cols};
    uint64_t bytes = col ? t->bytes : source_row_bytes(t);
    int rc = 0;

    if (part->matrix >= 0 || each) {
        from = each ? (uint64_t)part->row : (uint64_t)part->matrix * per;
        n = each ? 1 : per;
    }
    r.raw = mem_aligned(bytes, 64, e);
    r.v = mem_array(r.n, sizeof *r.v, e);
    if (!r.raw || !r.v)
        rc = E_NOMEM;
    for (uint64_t k = 0; k < n && rc == 0; k++) {
        uint64_t at = from + k;

        rc = source_rows(x->s, i, col ? 0 : at, col ? source_n_rows(t) : 1, r.raw, e);
        if (rc < 0)
            break;
        if (each || col) {
            put_row(&r, type, out, (struct hf_run){0, 1});
        } else if (vector) {
            const uint64_t size = (uint64_t)r.f->bytes;
            struct row one = r;

            one.n = 1;
            for (uint64_t c = 0; c < r.n; c++, one.raw += size)
                put_row(&one, type, out, hf_place(s, x->h, false, 0, (int64_t)c));
        } else {
            put_row(&r, type, out,
                    hf_place(s, x->h, part->matrix >= 0, (int64_t)(at / per), (int64_t)(at % per)));
        }
        *filled += r.n;
    }
    mem_free(r.raw);
    mem_free(r.v);
    return rc;
}

/* All numbers of a tensor of the directory, in a type; *out is the caller's. */
static int gather(struct export *x, const struct out_tensor *t, int type, uint8_t **out,
                  struct err *e)
{
    uint64_t filled = 0;
    int rc = 0;

    if (!(*out = mem_aligned(t->n * st_type_bytes(type), 64, e)))
        return E_NOMEM;
    for (uint32_t i = t->first; i != NONE && rc == 0; i = x->share[i].next)
        rc = put_share(x, &x->share[i], type, *out, &filled, e);
    if (rc == 0 && filled != t->n)
        rc = err_set(e, E_FORMAT, "%s: only %llu of the %llu numbers of '%s' are there",
                     x->s->g->path, (unsigned long long)filled, (unsigned long long)t->n, t->name);
    return rc;
}

/* -- types -- */

static int st_of(int fmt)
{
    return fmt == FMT_F16 ? ST_F16 : fmt == FMT_BF16 ? ST_BF16 : ST_F32;
}

/* The type that most numbers of matrices have. */
static int main_type(const struct export *x)
{
    uint64_t n[ST_N_TYPES] = {0};
    int best = ST_F32;

    if (x->o->type >= 0)
        return st_of(x->o->type);
    for (int i = 0; i < x->n_spec; i++)
        if (x->tensor[i] != NONE && x->spec[i].rows > 1)
            n[st_of((int)x->s->g->tensor[x->tensor[i]].type)] +=
                (uint64_t)(x->spec[i].n * x->spec[i].rows * x->spec[i].cols);
    for (int k = 0; k < ST_N_TYPES; k++)
        if (n[k] > n[best])
            best = k;
    return best;
}

/* Whether the F32 numbers are ones of a narrower type. */
static bool fits(const float *v, uint64_t n, int type)
{
    for (uint64_t i = 0; i < n; i++) {
        float back = type == ST_F16 ? f16_to_f32(f32_to_f16(v[i])) : bf16_to_f32(f32_to_bf16(v[i]));

        if (memcmp(&back, &v[i], sizeof back) != 0)
            return false;
    }
    return true;
}

static int choose_type(struct export *x, struct out_tensor *t, struct err *e)
{
    const struct weight_spec *s = &x->spec[x->share[t->first].spec];
    const struct gguf_tensor *from = &x->s->g->tensor[x->tensor[x->share[t->first].spec]];
    uint8_t *v = NULL;
    int rc = 0;

    t->type = st_of((int)from->type);
    if (from->type != FMT_F32 || x->main == ST_F32) {
        if (x->o->type >= 0 && from->type != FMT_F32)
            t->type = x->main;
        return 0;
    }
    /* GGUF has vectors and routers in F32 whatever they were */
    if (!(s->row->flags & WR_F32) && !strstr(s->name, "ffn_gate_inp")) {
        t->type = x->o->type >= 0 ? x->main : ST_F32;
        return 0;
    }
    if ((rc = gather(x, t, ST_F32, &v, e)) == 0 &&
        fits((const float *)(const void *)v, t->n, x->main))
        t->type = x->main;
    mem_free(v);
    return rc;
}

/* -- files -- */

static int path_of(struct buf *out, const char *dir, const char *name, struct err *e)
{
    buf_clear(out);
    buf_printf(out, "%s/%s", dir, name);
    return out->bad ? err_nomem(e, strlen(dir)) : 0;
}

static void note_made(struct exported *x, const char *name)
{
    x->made[x->n_made++] = name;
}

int hf_export_file(struct exported *x, const char *name, const void *p, size_t n, struct err *e)
{
    struct file_out *f = NULL;
    struct buf path = {0};
    int rc = path_of(&path, x->dir, name, e);

    if (rc == 0 && (rc = file_create(&f, path.p, e)) == 0) {
        if ((rc = file_write(f, p, n, e)) == 0)
            rc = file_commit(f, e);
        else
            file_abort(f);
    }
    if (rc == 0)
        note_made(x, name);
    buf_fini(&path);
    return rc;
}

static int write_data(struct export *x, struct st_out *w, int size, struct err *e)
{
    uint64_t done = 0;
    int rc = 0;

    for (uint32_t i = 0; i < x->n_t && rc == 0; i++) {
        const struct out_tensor *t = &x->t[i];
        uint8_t *v = NULL;

        if ((int)st_type_bytes(t->type) != size)
            continue;
        if ((rc = gather(x, t, t->type, &v, e)) == 0)
            rc = st_data(w, v, t->n * (uint64_t)size, e);
        mem_free(v);
        for (uint32_t k = t->first; k != NONE; k = x->share[k].next)
            source_done(x->s, x->tensor[x->share[k].spec]);
        done += t->n * (uint64_t)size;
        if (rc == 0 && x->o->step)
            rc = x->o->step(x->o->ctx, done, e);
    }
    return rc;
}

static int write_weights(struct export *x, struct err *e)
{
    struct st_out *w = NULL;
    struct buf path = {0};
    int rc = path_of(&path, x->x.dir, "model.safetensors", e);

    if (rc == 0 && (rc = st_create(&w, path.p, e)) == 0) {
        st_put_meta(w, "format", SLICE("pt"));
        for (int size = 4; size >= 2; size -= 2) /* wider types first */
            for (uint32_t i = 0; i < x->n_t; i++)
                if ((int)st_type_bytes(x->t[i].type) == size)
                    st_put_tensor(w, slice_of(x->t[i].name), x->t[i].type, x->t[i].n_dims,
                                  x->t[i].shape);
        rc = st_begin(w, e);
        if (rc == 0 && (rc = write_data(x, w, 4, e)) == 0)
            rc = write_data(x, w, 2, e);
        if (rc == 0)
            rc = st_finish(w, e);
        else
            st_abort(w);
    }
    if (rc == 0)
        note_made(&x->x, "model.safetensors");
    buf_fini(&path);
    return rc;
}

/* -- whether it is the same -- */

/* The key whose number the directory has otherwise, or "". */
static const char *differing(const struct arch *a, const struct hparams *x, const struct hparams *y)
{
    for (const struct key_row *k = a->keys; k->key; k++) {
        size_t size = k->type == KEY_INTS ? sizeof x->n_head : k->type == KEY_BOOL ? 1 : 4;

        if (memcmp((const char *)x + k->at, (const char *)y + k->at, size) != 0)
            return k->key;
    }
    return "";
}

/* F32, whose last bits are those of whoever computed them. */
static bool close_to(const uint8_t *p, const uint8_t *q, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        float a, b;

        memcpy(&a, p + i * sizeof a, sizeof a);
        memcpy(&b, q + i * sizeof b, sizeof b);
        if (!(fabsf(a - b) <= 1e-6f * fabsf(a)))
            return false;
    }
    return true;
}

/* Every tensor is there again, in its shape; what config.json has to say for one, number by number.
 */
static int same_tensors(const struct export *x, struct source *again, struct err *e)
{
    const struct gguf *g = x->s->g;
    char shown[96], name[GGUF_MAX_NAME + 1];
    int rc = 0;

    for (uint32_t i = 0; i < g->n_tensor && rc == 0; i++) {
        const struct gguf_tensor *t = &g->tensor[i], *o;
        uint8_t *a = NULL, *b = NULL;
        bool same;

        snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.p);
        o = gguf_tensor(again->g, name);
        same = o && o->ne[0] == t->ne[0] && source_n_rows(o) == source_n_rows(t);
        if (same && said_elsewhere(t->name)) {
            same = o->type == FMT_F32 && t->type == FMT_F32;
            a = mem_new(t->bytes, e);
            b = mem_new(t->bytes, e);
            rc = !a || !b ? E_NOMEM : source_rows(x->s, i, 0, source_n_rows(t), a, e);
            if (rc == 0 && same)
                rc =
                    source_rows(again, (uint32_t)(o - again->g->tensor), 0, source_n_rows(t), b, e);
            same = same && rc == 0 && close_to(a, b, t->bytes / sizeof(float));
        }
        if (rc == 0 && !same)
            rc = err_set(e, E_UNSUPPORTED, "its tensor '%s' would be another",
                         gguf_show(shown, sizeof shown, t->name));
        mem_free(a);
        mem_free(b);
    }
    return rc;
}

static int check_again(const struct export *x, struct err *e)
{
    struct hparams *h = mem_new(sizeof *h, e);
    struct source *again = NULL;
    char why[400];
    int rc = h ? model_source(&again, x->x.dir, 0, e) : E_NOMEM;

    if (rc == 0)
        rc = hparams_read(h, again->g, x->x.arch, e);
    if (rc == 0)
        rc = same_tensors(x, again, e);
    if (rc < 0) {
        snprintf(why, sizeof why, "%.399s", e->text);
        *e = (struct err){0};
        rc = err_set(e, E_UNSUPPORTED, "%s cannot be told by a directory: %s", x->s->g->path, why);
    } else if (memcmp(h, x->h, sizeof *h) != 0) {
        rc = err_set(e, E_UNSUPPORTED,
                     "%s cannot be told by a directory: config.json has no way to say '%s.%s'",
                     x->s->g->path, x->x.arch->name, differing(x->x.arch, h, x->h));
    }
    source_close(again);
    mem_free(h);
    return rc;
}

static int make_dir(struct export *x, struct err *e)
{
    struct buf path = {0};
    int rc = path_of(&path, x->x.dir, "config.json", e);

    if (rc == 0 && file_exists(path.p))
        rc = err_set(e, E_USAGE, "%s: there is a model already", x->x.dir);
    if (rc == 0 && (rc = file_make_dir(x->x.dir, e)) > 0) {
        x->made_dir = true;
        rc = 0;
    }
    buf_fini(&path);
    return rc;
}

static void undo(struct export *x)
{
    struct buf path = {0};

    for (int i = 0; i < x->x.n_made; i++)
        if (path_of(&path, x->x.dir, x->x.made[i], NULL) == 0)
            file_remove(path.p);
    if (x->x.made_pooling && path_of(&path, x->x.dir, HF_POOLING_DIR, NULL) == 0)
        file_remove(path.p);
    if (x->made_dir)
        file_remove(x->x.dir);
    buf_fini(&path);
}

static int begin(struct export *x, struct err *e)
{
    struct slice name;
    int rc = gguf_get_str(x->s->g, "general.architecture", &name, e);

    if (rc <= 0)
        return rc < 0 ? rc : gguf_missing(x->s->g, "general.architecture", e);
    if (!(x->x.arch = arch_find(name, e)))
        return E_UNSUPPORTED;
    if (!(x->h = mem_new(sizeof *x->h, e)))
        return E_NOMEM;
    if ((rc = hparams_read(x->h, x->s->g, x->x.arch, e)) < 0 ||
        (rc = weights_list(&x->spec, &x->n_spec, x->x.arch, x->h, e)) < 0)
        return rc;
    if (!(x->tensor = mem_array((uint64_t)x->n_spec, sizeof *x->tensor, e)))
        return E_NOMEM;
    return 0;
}

int hf_export(struct source *s, const char *dir, const struct hf_export_opts *o, struct err *e)
{
    static const char *const types[] = {"", "float32", "float16", "bfloat16"};
    struct export x = {.s = s, .o = o, .x = {.dir = dir, .g = s->g}};
    struct err own = {0};
    int rc;

    e = e ? e : &own;
    if (s->stream)
        return err_set(e, E_USAGE,
                       "%s: a pipe is read once, in order: no directory can be made "
                       "of it",
                       s->g->path);
    if ((rc = begin(&x, e)) == 0 && (rc = match_tensors(&x, e)) == 0)
        rc = list_tensors(&x, e);
    x.main = rc == 0 ? main_type(&x) : ST_F32;
    for (uint32_t i = 0; i < x.n_t && rc == 0; i++)
        rc = choose_type(&x, &x.t[i], e);
    x.x.h = x.h;
    x.x.type = types[x.main];
    if (rc == 0 && (rc = make_dir(&x, e)) == 0 && (rc = write_weights(&x, e)) == 0 &&
        (rc = hf_export_vocab(&x.x, e)) == 0 && (rc = hf_export_config(&x.x, e)) == 0)
        rc = check_again(&x, e);
    if (rc < 0)
        undo(&x);
    map_fini(&x.names);
    mem_free(x.share);
    mem_free(x.t);
    mem_free(x.tensor);
    mem_free(x.spec);
    mem_free(x.h);
    return rc;
}
