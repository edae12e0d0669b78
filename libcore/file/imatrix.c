/* imatrix.c - see imatrix.h. */
#include "file/imatrix.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "file/gguf.h"
#include "quant/quant.h"

#define SUMS   ".in_sum2"
#define COUNTS ".counts"

enum { OLD_MAX_VALUES = 1 << 28 };

static void entry_fini(struct imatrix_entry *x)
{
    mem_free(x->name);
    mem_free(x->sum);
    mem_free(x->count);
}

void imatrix_free(struct imatrix *m)
{
    if (!m)
        return;
    for (uint32_t i = 0; i < m->n; i++)
        entry_fini(&m->entry[i]);
    for (uint32_t i = 0; i < m->n_dataset; i++)
        mem_free(m->dataset[i]);
    mem_free(m->dataset);
    mem_free(m->entry);
    map_fini(&m->by_name);
    mem_free(m);
}

int imatrix_new(struct imatrix **out, struct err *e)
{
    if (!(*out = mem_new(sizeof **out, e)))
        return E_NOMEM;
    if (map_init(&(*out)->by_name, 256, e) == 0)
        return 0;
    imatrix_free(*out);
    *out = NULL;
    return E_NOMEM;
}

struct imatrix_entry *imatrix_find(const struct imatrix *m, struct slice name)
{
    uint32_t i;

    return map_get(&m->by_name, name, &i) ? &m->entry[i] : NULL;
}

static int add_new(struct imatrix *m, struct slice name, uint32_t cols, uint32_t mats,
                   struct imatrix_entry **out, struct err *e)
{
    struct imatrix_entry x = {.cols = cols, .mats = mats};
    uint64_t values;
    int rc = E_NOMEM;

    if (m->n == m->cap) {
        uint32_t cap = m->cap ? 2 * m->cap : 64;
        void *p = mem_resize(m->entry, m->cap, cap, sizeof *m->entry, e);

        if (!p)
            return E_NOMEM;
        m->entry = p;
        m->cap = cap;
    }
    if (!mul_ok(cols, mats, &values))
        return err_set(e, E_RANGE, "an importance matrix of %u x %u values", mats, cols);
    if (!(x.name = mem_dup(name.p, name.n, e)) || !(x.sum = mem_array(values, sizeof *x.sum, e)) ||
        !(x.count = mem_array(mats, sizeof *x.count, e)))
        goto fail;
    if ((rc = map_put(&m->by_name, (struct slice){x.name, name.n}, m->n, e)) < 0)
        goto fail;
    m->entry[m->n] = x;
    *out = &m->entry[m->n++];
    return 0;
fail:
    entry_fini(&x);
    return rc;
}

int imatrix_add(struct imatrix *m, struct slice name, uint32_t cols, uint32_t mats,
                struct imatrix_entry **out, struct err *e)
{
    struct imatrix_entry *x = imatrix_find(m, name);
    char shown[96];

    if (!x)
        return add_new(m, name, cols, mats, out, e);
    if (x->cols != cols || x->mats != mats)
        return err_set(e, E_FORMAT, "tensor '%s': %u x %u values of importance here, %u x %u there",
                       gguf_show(shown, sizeof shown, name), x->mats, x->cols, mats, cols);
    *out = x;
    return 0;
}

int imatrix_add_dataset(struct imatrix *m, struct slice name, struct err *e)
{
    char **p;

    for (uint32_t i = 0; i < m->n_dataset; i++)
        if (slice_is(name, m->dataset[i]))
            return 0;
    if (!(p = mem_resize(m->dataset, m->n_dataset, m->n_dataset + 1u, sizeof *p, e)))
        return E_NOMEM;
    m->dataset = p;
    if (!(p[m->n_dataset] = mem_dup(name.p, name.n, e)))
        return E_NOMEM;
    m->n_dataset++;
    return 0;
}

int imatrix_merge(struct imatrix *m, const struct imatrix *from, struct err *e)
{
    int rc = 0;

    for (uint32_t i = 0; i < from->n && rc == 0; i++) {
        const struct imatrix_entry *f = &from->entry[i];
        struct imatrix_entry *x;

        if ((rc = imatrix_add(m, slice_of(f->name), f->cols, f->mats, &x, e)) < 0)
            break;
        for (uint64_t j = 0; j < (uint64_t)f->cols * f->mats; j++)
            x->sum[j] += f->sum[j];
        for (uint32_t j = 0; j < f->mats; j++)
            x->count[j] += f->count[j];
    }
    for (uint32_t i = 0; i < from->n_dataset && rc == 0; i++)
        rc = imatrix_add_dataset(m, slice_of(from->dataset[i]), e);
    if (!m->chunk_size)
        m->chunk_size = from->chunk_size;
    m->chunks += from->chunks;
    return rc;
}

void imatrix_means(const struct imatrix_entry *x, float *out)
{
    for (uint32_t m = 0; m < x->mats; m++)
        for (uint32_t c = 0; c < x->cols; c++) {
            uint64_t i = (uint64_t)m * x->cols + c;

            out[i] = x->count[m] > 0.0f ? x->sum[i] / x->count[m] : 1.0f;
        }
}

/* -- reading -- */

static int check_values(const char *path, const struct imatrix_entry *x, struct err *e)
{
    uint64_t n = (uint64_t)x->cols * x->mats;
    bool ok = true;

    for (uint64_t i = 0; i < n && ok; i++)
        ok = isfinite(x->sum[i]) && x->sum[i] >= 0.0f;
    for (uint32_t i = 0; i < x->mats && ok; i++)
        ok = isfinite(x->count[i]) && x->count[i] >= 0.0f;
    return ok ? 0
              : err_set(e, E_FORMAT, "%s: tensor '%s': an importance that is no number or below 0",
                        path, x->name);
}

static bool ends_with(struct slice s, const char *tail, struct slice *front)
{
    size_t n = strlen(tail);

    *front = (struct slice){s.p, s.n > n ? s.n - n : 0};
    return s.n > n && slice_ends(s, slice_of(tail));
}

static int read_entry(struct imatrix *m, const struct gguf *g, const struct gguf_tensor *t,
                      struct slice name, struct err *e)
{
    char wanted[GGUF_MAX_NAME + sizeof COUNTS];
    struct imatrix_entry *x;
    const struct gguf_tensor *c;
    int rc;

    memcpy(wanted, name.p, name.n);
    memcpy(wanted + name.n, COUNTS, sizeof COUNTS);
    c = gguf_tensor(g, wanted);
    wanted[name.n] = 0;
    if (!c)
        return err_set(e, E_FORMAT, "%s: tensor '%s' has no counts", g->path, wanted);
    if (t->type != FMT_F32 || c->type != FMT_F32 || t->ne[2] * t->ne[3] != 1 || c->ne[0] != 1 ||
        c->ne[1] != t->ne[1] || t->ne[0] > UINT32_MAX || t->ne[1] > UINT32_MAX)
        return err_set(e, E_FORMAT, "%s: the sums and counts of tensor '%s' do not fit", g->path,
                       wanted);
    if ((rc = imatrix_add(m, name, (uint32_t)t->ne[0], (uint32_t)t->ne[1], &x, e)) < 0)
        return rc;
    memcpy(x->sum, t->p, (size_t)t->bytes);
    memcpy(x->count, c->p, (size_t)c->bytes);
    return check_values(g->path, x, e);
}

static int read_gguf(struct imatrix *m, const char *path, struct err *e)
{
    struct gguf *g = NULL;
    struct slice type = {0}, name;
    struct gguf_array sets = {0};
    int rc;

    if ((rc = gguf_open(&g, path, 0, e)) < 0)
        return rc;
    if ((rc = gguf_get_str(g, "general.type", &type, e)) >= 0 && !slice_is(type, "imatrix"))
        rc = err_set(e, E_FORMAT, "%s: a GGUF file, but no importance matrix", path);
    if (rc >= 0 && (rc = gguf_get_u32(g, "imatrix.chunk_count", &m->chunks, e)) >= 0 &&
        (rc = gguf_get_u32(g, "imatrix.chunk_size", &m->chunk_size, e)) >= 0)
        rc = gguf_get_strs(g, "imatrix.datasets", &sets, e);
    for (uint64_t i = 0; i < sets.n && rc >= 0; i++)
        rc = imatrix_add_dataset(m, gguf_str_at(&sets, i), e);
    for (uint32_t i = 0; i < g->n_tensor && rc >= 0; i++)
        if (ends_with(g->tensor[i].name, SUMS, &name))
            rc = read_entry(m, g, &g->tensor[i], name, e);
    gguf_close(g);
    return rc < 0 ? rc : 0;
}

/* int32 entries, each: int32 and a name, int32 calls, int32 and values; then int32 chunks and
 * int32 and the name of the text, which may be missing. Values are sums over the calls. */
static int read_old(struct imatrix *m, const char *path, const struct file_view *v, struct err *e)
{
    struct cur c = {.p = v->p, .n = v->n};
    uint32_t n = cur_u32(&c);
    int rc = 0;

    if (n == 0 || n > GGUF_MAX_ITEMS)
        return err_set(e, E_FORMAT, "%s: no importance matrix", path);
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        struct slice name = cur_slice(&c, cur_u32(&c));
        uint32_t calls = cur_u32(&c), values = cur_u32(&c);
        struct imatrix_entry *x;
        const uint8_t *p;

        if (c.bad || name.n == 0 || name.n > GGUF_MAX_NAME || values == 0 ||
            values > OLD_MAX_VALUES || !(p = cur_take(&c, 4ull * values)))
            return err_set(e, E_FORMAT, "%s: entry %u of %u is malformed", path, i + 1, n);
        if ((rc = imatrix_add(m, name, values, 1, &x, e)) < 0)
            break;
        memcpy(x->sum, p, 4ull * values);
        x->count[0] = (float)calls;
        rc = check_values(path, x, e);
    }
    if (rc == 0 && c.at < c.n) {
        uint32_t chunks = cur_u32(&c);
        struct slice set = cur_slice(&c, cur_u32(&c));

        if (!c.bad) {
            m->chunks = chunks;
            rc = imatrix_add_dataset(m, set, e);
        }
    }
    return rc;
}

int imatrix_open(struct imatrix **out, const char *path, struct err *e)
{
    struct file_view v = {0};
    struct imatrix *m = NULL;
    int rc = imatrix_new(&m, e);

    *out = NULL;
    if (rc == 0 && (rc = file_map(&v, path, e)) == 0)
        rc = gguf_magic(v.p, v.n) ? read_gguf(m, path, e) : read_old(m, path, &v, e);
    file_unmap(&v);
    if (rc == 0 && m->n == 0)
        rc = err_set(e, E_FORMAT, "%s: no importance matrix", path);
    if (rc < 0) {
        imatrix_free(m);
        return rc;
    }
    *out = m;
    return 0;
}

/* -- writing -- */

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct imatrix_entry *const *)a)->name,
                  (*(struct imatrix_entry *const *)b)->name);
}

static int write_data(struct gguf_out *w, struct imatrix_entry *const *x, uint32_t n, struct err *e)
{
    int rc = gguf_begin(w, e);

    for (uint32_t i = 0; i < n && rc == 0; i++) {
        rc = gguf_data(w, x[i]->sum, 4ull * x[i]->cols * x[i]->mats, e);
        if (rc == 0)
            rc = gguf_data(w, x[i]->count, 4ull * x[i]->mats, e);
    }
    return rc;
}

static void declare(struct gguf_out *w, const struct imatrix_entry *x, const char *tail,
                    uint64_t cols)
{
    char name[2 * GGUF_MAX_NAME];
    size_t n = strlen(x->name), m = strlen(tail);

    memcpy(name, x->name, n);
    memcpy(name + n, tail, m);
    gguf_put_tensor(w, (struct slice){name, n + m}, FMT_F32, 2, (uint64_t[]){cols, x->mats});
}

int imatrix_save(const struct imatrix *m, const char *path, struct err *e)
{
    struct imatrix_entry **order = mem_array(m->n, sizeof *order, e);
    struct slice *sets = mem_array(m->n_dataset + 1u, sizeof *sets, e);
    struct gguf_out *w = NULL;
    int rc = E_NOMEM;

    if (!order || !sets || (rc = gguf_create(&w, path, 0, e)) < 0)
        goto done;
    for (uint32_t i = 0; i < m->n_dataset; i++)
        sets[i] = slice_of(m->dataset[i]);
    for (uint32_t i = 0; i < m->n; i++)
        order[i] = &m->entry[i];
    qsort(order, m->n, sizeof *order, by_name);
    gguf_put_str(w, "general.type", SLICE("imatrix"));
    gguf_put_strs(w, "imatrix.datasets", sets, m->n_dataset);
    gguf_put_u32(w, "imatrix.chunk_count", m->chunks);
    gguf_put_u32(w, "imatrix.chunk_size", m->chunk_size);
    for (uint32_t i = 0; i < m->n; i++) {
        declare(w, order[i], SUMS, order[i]->cols);
        declare(w, order[i], COUNTS, 1);
    }
    rc = write_data(w, order, m->n, e);
    if (rc == 0)
        rc = gguf_finish(w, e);
    else
        gguf_abort(w);
done:
    mem_free(order);
    mem_free(sets);
    return rc;
}
