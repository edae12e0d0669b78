/* gguf_packed.c - see gguf_packed.h, and gguf.h for what others call. */
#include "file/gguf_packed.h"

#include "base/mem.h"
#include "base/sysmem.h"
#include "file/gguf_inner.h"
#include "file/zst.h"

enum {
    HEAD_FIRST = 1 << 20,             // bytes of a file without a table decompressed first
    BEHIND_MOST = GGUF_MAX_ALIGNMENT, // bytes behind the last tensor that are nobody's
};

struct gguf_packed {
    const char *path;
    struct file_view v; // compressed
    struct zst *z;
    uint8_t *head; // [n_head] the front, decompressed
    uint64_t n_head;
    void *all; // [n_all] everything, decompressed; NULL: not yet
    uint64_t n_all;
};

int packed_open(struct gguf_packed **out, const char *path, struct file_view *take, struct err *e)
{
    struct gguf_packed *p = mem_new(sizeof *p, e);
    int rc;

    *out = p;
    if (!p)
        return E_NOMEM;
    p->path = path;
    p->v = *take;
    *take = (struct file_view){0};
    if ((rc = zst_open(&p->z, path, &p->v, e)) < 0) {
        packed_close(p);
        *out = NULL;
    }
    return rc;
}

void packed_close(struct gguf_packed *p)
{
    if (!p)
        return;
    zst_close(p->z);
    file_unmap(&p->v);
    mem_free(p->head);
    mem_unpages(p->all, p->n_all);
    mem_free(p);
}

int packed_head(struct gguf_packed *p, uint64_t n, struct file_view *out, bool *more, struct err *e)
{
    uint64_t got = 0;
    uint8_t *head;
    int rc;

    if (n > zst_bytes(p->z))
        n = zst_bytes(p->z);
    if (n > p->n_head) {
        if (!(head = mem_resize(p->head, p->n_head, n, 1, e)))
            return E_NOMEM;
        p->head = head;
        rc = zst_read(p->z, p->n_head, head + p->n_head, n - p->n_head, &got, NULL, e);
        if (rc < 0)
            return rc;
        p->n_head += got;
    }
    *more = p->n_head >= n && n < zst_bytes(p->z);
    *out = (struct file_view){p->head, (size_t)p->n_head, false, NULL};
    return 0;
}

uint64_t packed_front(const struct gguf_packed *p)
{
    return zst_front(p->z) ? zst_front(p->z) : HEAD_FIRST;
}

uint64_t packed_bytes(const struct gguf_packed *p)
{
    return zst_bytes(p->z);
}

/* -- tensors -- */

/* Where the tensors of a part end; UINT64_MAX: too far. */
static uint64_t end_of_part(const struct gguf *g, uint32_t part)
{
    uint64_t end = 0;

    for (uint32_t i = 0; i < g->n_tensor; i++)
        if (g->tensor[i].part == part && g->tensor[i].offset + g->tensor[i].bytes > end)
            end = g->tensor[i].offset + g->tensor[i].bytes; /* both below 2^63, checked */
    return add_ok(end, g->part[part].data_at, &end) ? end : UINT64_MAX;
}

void gguf_packing(const struct gguf *g, struct gguf_packing *out)
{
    *out = (struct gguf_packing){0};
    for (uint32_t i = 0; i < g->n_part; i++) {
        const struct gguf_packed *p = g->part[i].packed;
        uint64_t n = p ? zst_bytes(p->z) : g->part[i].view.n;

        out->packed |= p != NULL;
        out->frames += p ? zst_frames(p->z) : 0;
        out->bytes += n != UINT64_MAX ? n : end_of_part(g, i);
    }
    if (!out->packed)
        out->bytes = 0;
}

static int ends_early(const struct gguf *g, uint32_t part, struct err *e)
{
    return err_set(e, E_FORMAT, "%s: ends inside the tensors' data",
                   gguf_path_tail(g->part[part].path));
}

int gguf_unpack_tensor(const struct gguf *g, const struct gguf_tensor *t, void *out,
                       struct team *team, struct err *e)
{
    const struct gguf_part *part = &g->part[t->part];
    uint64_t got;
    int rc = zst_read(part->packed->z, part->data_at + t->offset, out, t->bytes, &got, team, e);

    return rc == 0 && got < t->bytes ? ends_early(g, t->part, e) : rc;
}

/* -- everything -- */

/* What comes behind the tensors is read too, for the sake of checksums. */
static int read_rest(struct gguf_packed *p, uint64_t at, struct err *e)
{
    uint8_t unused[4096];
    uint64_t got = 1, n = 0;
    int rc = 0;

    while (rc == 0 && got && n <= BEHIND_MOST) {
        rc = zst_read(p->z, at, unused, sizeof unused, &got, NULL, e);
        at += got;
        n += got;
    }
    if (rc == 0 && n > BEHIND_MOST)
        rc =
            err_set(e, E_FORMAT, "%s: goes on far behind its last tensor", gguf_path_tail(p->path));
    return rc;
}

static int unpack_part(struct gguf *g, uint32_t i, struct team *team, struct err *e)
{
    struct gguf_part *part = &g->part[i];
    struct gguf_packed *p = part->packed;
    uint64_t n = zst_bytes(p->z), got;
    struct sysmem m;
    int rc;

    if (n == UINT64_MAX)
        n = end_of_part(g, i);
    sysmem_get(&m, "");
    if (n > m.free)
        return err_set(e, E_NOMEM,
                       "%s: takes %.1f GB of memory, for it is compressed, and %.1f GB are free",
                       gguf_path_tail(part->path), (double)n / 1e9, (double)m.free / 1e9);
    if (!(p->all = mem_pages(n, e)))
        return E_NOMEM;
    p->n_all = n;
    if ((rc = zst_read(p->z, 0, p->all, n, &got, team, e)) == 0 && got < n)
        rc = ends_early(g, i, e);
    if (rc == 0 && zst_bytes(p->z) == UINT64_MAX)
        rc = read_rest(p, n, e);
    if (rc < 0) {
        mem_unpages(p->all, p->n_all);
        p->all = NULL;
        return rc;
    }
    part->view = (struct file_view){p->all, (size_t)n, false, NULL};
    for (uint32_t k = 0; k < g->n_tensor; k++) {
        struct gguf_tensor *t = &g->tensor[k];

        if (t->part == i && t->bytes)
            t->p = part->view.p + part->data_at + t->offset;
    }
    return 0;
}

int gguf_unpack(struct gguf *g, struct err *e)
{
    struct team *team = NULL;
    int n = thread_cpus() < ZST_THREADS ? thread_cpus() : ZST_THREADS, rc = 0;

    for (uint32_t i = 0; i < g->n_part && rc == 0; i++) {
        if (!g->part[i].packed || g->part[i].packed->all)
            continue;
        if (team || (rc = team_new(&team, n, e)) == 0)
            rc = unpack_part(g, i, team, e);
    }
    team_free(team);
    return rc;
}
