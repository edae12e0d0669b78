/* weights.c - the table of weights against the tensors of a file. */
#include "model/weights.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "file/gguf.h"
#include "quant/quant.h"

/* -- the table, spelt out -- */

static int spell(struct weight_spec *s, const struct weight_row *r, const struct hparams *h, int l,
                 struct err *e)
{
    if (l >= 0)
        snprintf(s->name, sizeof s->name, "blk.%d.%s", l, r->name);
    else
        snprintf(s->name, sizeof s->name, "%s", r->name);
    s->row = r;
    s->layer = l;
    s->n = dim_size(h, r->dim[0], l);
    s->rows = dim_size(h, r->dim[1], l);
    s->cols = dim_size(h, r->dim[2], l);
    if (s->n <= 0 || s->rows <= 0 || s->cols <= 0 || s->n > INT32_MAX || s->rows > INT32_MAX ||
        s->cols > INT32_MAX)
        return err_set(e, E_FORMAT, "tensor '%s' would be %lld x %lld x %lld", s->name,
                       (long long)s->n, (long long)s->rows, (long long)s->cols);
    return 0;
}

/* A weight whose size is zero is not there, if it may be absent. */
static bool exists(const struct weight_row *r, const struct hparams *h, int l)
{
    if (!when_holds(h, r->when, l))
        return false;
    for (int i = 0; i < 3; i++)
        if ((r->flags & WR_OPT) && dim_size(h, r->dim[i], l) <= 0)
            return false;
    return true;
}

int weights_list(struct weight_spec **out, int *n, const struct arch *a, const struct hparams *h,
                 struct err *e)
{
    struct weight_spec *s;
    int rows = 0, k = 0, rc;

    while (a->weights[rows].name)
        rows++;
    if (!(s = mem_array((uint64_t)rows * (uint64_t)(h->n_layer + 1), sizeof *s, e)))
        return E_NOMEM;
    for (int l = -1; l < h->n_layer; l++)
        for (const struct weight_row *r = a->weights; r->name; r++) {
            if (((r->flags & WR_MODEL) != 0) != (l < 0) || !exists(r, h, l))
                continue;
            if ((rc = spell(&s[k++], r, h, l, e)) < 0) {
                mem_free(s);
                return rc;
            }
        }
    *out = s;
    *n = k;
    return 0;
}

/* -- the file -- */

void weight_copies_free(struct weight_copy *c)
{
    while (c) {
        struct weight_copy *next = c->next;
        mem_free(c->p);
        mem_free(c);
        c = next;
    }
}

void *weight_copy_new(struct weight_copy **list, uint64_t bytes, struct err *e)
{
    struct weight_copy *c = mem_new(sizeof *c, e);

    if (!c)
        return NULL;
    if (!(c->p = mem_aligned(bytes, 64, e))) {
        mem_free(c);
        return NULL;
    }
    c->next = *list;
    *list = c;
    return c->p;
}

/* Dimensions of size one do not count: [4 x 1 x 64] is [4 x 64]. */
static bool same_shape(const struct weight_spec *s, const struct gguf_tensor *t)
{
    const int64_t want[3] = {s->cols, s->rows, s->n};
    uint32_t k = 0;

    for (int i = 0; i < 3; i++) {
        if (want[i] == 1)
            continue;
        while (k < t->n_dims && t->ne[k] == 1)
            k++;
        if (k >= t->n_dims || t->ne[k] != (uint64_t)want[i])
            return false;
        k++;
    }
    while (k < t->n_dims && t->ne[k] == 1)
        k++;
    return k >= t->n_dims;
}

static int wrong_shape(const struct gguf *g, const struct weight_spec *s,
                       const struct gguf_tensor *t, struct err *e)
{
    char is[96], want[96];
    int at = 0;

    for (uint32_t i = t->n_dims; i-- > 0;)
        at += snprintf(is + at, sizeof is - (size_t)at, "%s%llu", at ? " x " : "",
                       (unsigned long long)t->ne[i]);
    at = s->n > 1 ? snprintf(want, sizeof want, "%lld x ", (long long)s->n) : 0;
    at += s->n > 1 || s->rows > 1
              ? snprintf(want + at, sizeof want - (size_t)at, "%lld x ", (long long)s->rows)
              : 0;
    snprintf(want + at, sizeof want - (size_t)at, "%lld", (long long)s->cols);
    return err_set(e, E_FORMAT, "%s: tensor '%s' is %s, expected %s", g->path, s->name,
                   t->n_dims ? is : "one number", want);
}

bool weight_row_f32(const struct weight *w, int64_t m, int64_t r, float *out)
{
    const struct fmt_info *f = fmt_find(w->fmt);
    uint64_t bytes;

    if (!f || !f->decode || !fmt_row_bytes(w->fmt, (uint64_t)w->cols, &bytes))
        return false;
    f->decode((const uint8_t *)w->part[0].p + (uint64_t)(m * w->rows + r) * bytes, out,
              (size_t)(w->cols / f->block));
    return true;
}

/* Vectors are read as numbers: an F16 one becomes F32. */
static int to_f32(struct weight *w, struct weight_copy **copies, const char *path, struct err *e)
{
    uint64_t total = (uint64_t)w->n * (uint64_t)w->rows * (uint64_t)w->cols;
    float *p = total > UINT64_MAX / 8 ? NULL : weight_copy_new(copies, total * sizeof *p, e);

    if (!p)
        return err_nomem(e, total);
    for (int64_t m = 0; m < w->n; m++)
        for (int64_t r = 0; r < w->rows; r++)
            if (!weight_row_f32(w, m, r, p + (m * w->rows + r) * w->cols))
                return err_set(e, E_UNSUPPORTED, "%s: tensor '%s' has a type that is not supported",
                               path, w->name);
    w->fmt = FMT_F32;
    w->part[0].p = p;
    w->part[0].bytes = total * sizeof *p;
    return 0;
}

static int find_one(struct weight *w, struct weight_copy **copies, const struct gguf *g,
                    const struct weight_spec *s, const struct gguf_tensor *t, struct err *e)
{
    if (!same_shape(s, t))
        return wrong_shape(g, s, t, e);
    if (!t->bytes || !fmt_find((int)t->type))
        return err_set(e, E_UNSUPPORTED, "%s: tensor '%s' has type %u, which is not supported",
                       g->path, s->name, t->type);
    snprintf(w->name, sizeof w->name, "%s", s->name);
    w->fmt = (int32_t)t->type;
    w->n = (int32_t)s->n;
    w->rows = s->rows;
    w->cols = s->cols;
    w->split = s->row->split;
    /* never written through: the parts of a file's weights are read-only */
    w->part[0] = (struct mem){.p = (void *)(uintptr_t)t->p,
                              .bytes = t->bytes,
                              .kind = MEM_HOST,
                              .host = true,
                              .adopted = true};
    /* a row of blocks cannot be told from one of another width when it was squeezed */
    if (t->ne[0] != (uint64_t)w->cols && fmt_find(w->fmt)->block != 1)
        return wrong_shape(g, s, t, e);
    if ((s->row->flags & WR_F32) && w->fmt != FMT_F32)
        return to_f32(w, copies, g->path, e);
    return 0;
}

int weights_find(struct weight **out, int *n, struct weight_copy **copies, const struct gguf *g,
                 const struct arch *a, const struct hparams *h, struct err *e)
{
    struct weight_spec *s = NULL;
    struct weight *w = NULL;
    int n_spec, k = 0, rc;

    if ((rc = weights_list(&s, &n_spec, a, h, e)) < 0)
        return rc;
    if (!(w = mem_array((uint64_t)n_spec, sizeof *w, e))) {
        rc = E_NOMEM;
        goto fail;
    }
    for (int i = 0; i < n_spec; i++) {
        const struct gguf_tensor *t = gguf_tensor(g, s[i].name);
        if (!t && (s[i].row->flags & WR_OPT))
            continue;
        if (!t) {
            rc = err_set(e, E_FORMAT, "%s: tensor '%s' is missing", g->path, s[i].name);
            goto fail;
        }
        if ((rc = find_one(&w[k++], copies, g, &s[i], t, e)) < 0)
            goto fail;
    }
    mem_free(s);
    *out = w;
    *n = k;
    return 0;
fail:
    mem_free(s);
    mem_free(w);
    return rc;
}

int weights_add(struct weight **w, int *n, struct weight_copy **copies, const char *name, int64_t m,
                int64_t rows, int64_t cols, float **data, struct err *e)
{
    uint64_t bytes;
    struct weight *all;

    if (!mul_ok((uint64_t)m * (uint64_t)rows, (uint64_t)cols * sizeof **data, &bytes))
        return err_nomem(e, UINT64_MAX);
    if (!(all = mem_resize(*w, (uint64_t)*n, (uint64_t)*n + 1, sizeof *all, e)))
        return E_NOMEM;
    *w = all;
    if (!(*data = weight_copy_new(copies, bytes, e)))
        return E_NOMEM;
    all += (*n)++;
    snprintf(all->name, sizeof all->name, "%s", name);
    all->fmt = FMT_F32;
    all->n = (int32_t)m;
    all->rows = rows;
    all->cols = cols;
    all->part[0] =
        (struct mem){.p = *data, .bytes = bytes, .kind = MEM_HOST, .host = true, .adopted = true};
    return 0;
}
