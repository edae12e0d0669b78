/* swap.c - see swap.h. */
#include "engine/swap.h"

#include <string.h>

#include "base/mem.h"
#include "engine/pages.h"

#define MAX_KEPT 256

struct swap {
    struct swap_device d;
    struct pages pages;
    struct mem block, state;
    int max_page;
    int n_kept; // requests that can be kept
    bool used[MAX_KEPT];
    int32_t *page; // [n_kept][n_group][max_page]
};

static int32_t *kept_row(const struct swap *s, int handle, int g)
{
    return s->page + ((int64_t)handle * s->d.n_group + g) * s->max_page;
}

static int copy_page(const struct swap *s, int g, int32_t host, int32_t dev, bool out)
{
    const struct swap_device *d = &s->d;
    uint64_t h = (uint64_t)host * 1024, p = (uint64_t)dev * 1024, n = d->group[g].bytes;

    return out ? d->be->copy(d->dev, s->block, h, d->kv->pool, p, n)
               : d->be->copy(d->dev, d->kv->pool, p, s->block, h, n);
}

static int copy_state(const struct swap *s, int handle, int seq, bool out)
{
    const struct swap_device *d = &s->d;
    uint64_t n = d->state_bytes, h = n * (uint64_t)handle, p = n * (uint64_t)seq;

    if (n == 0)
        return 0;
    return out ? d->be->copy(d->dev, s->state, h, d->kv->state, p, n)
               : d->be->copy(d->dev, d->kv->state, p, s->state, h, n);
}

int swap_out(struct swap *s, int seq, int n_pos)
{
    int handle = 0;

    while (handle < s->n_kept && s->used[handle])
        handle++;
    if (handle == s->n_kept)
        return -1;
    s->used[handle] = true;
    for (int g = 0; g < s->d.n_group; g++)
        memset(kept_row(s, handle, g), 0, (size_t)s->max_page * sizeof *s->page);
    for (int g = 0; g < s->d.n_group; g++)
        for (int i = 0; i * KV_PAGE < n_pos; i++) {
            int32_t dev = kv_page(s->d.pool, g, seq, i);
            int32_t host = dev ? pages_take(&s->pages, g) : 0;

            kept_row(s, handle, g)[i] = host;
            if (dev && (!host || copy_page(s, g, host, dev, true) < 0)) {
                swap_drop(s, handle);
                return -1;
            }
        }
    if (copy_state(s, handle, seq, true) == 0)
        return handle;
    swap_drop(s, handle);
    return -1;
}

int swap_in(struct swap *s, int handle, int seq, int from)
{
    for (int g = 0; g < s->d.n_group; g++)
        for (int i = from / KV_PAGE; i < s->max_page; i++) {
            int32_t host = kept_row(s, handle, g)[i];
            int32_t dev = kv_page(s->d.pool, g, seq, i);
            int rc = host && dev ? copy_page(s, g, host, dev, false) : 0;

            if (rc < 0)
                return rc;
        }
    return copy_state(s, handle, seq, false);
}

void swap_drop(struct swap *s, int handle)
{
    if (handle < 0)
        return;
    for (int g = 0; g < s->d.n_group; g++)
        for (int i = 0; i < s->max_page; i++)
            if (kept_row(s, handle, g)[i])
                pages_drop(&s->pages, g, kept_row(s, handle, g)[i]);
    s->used[handle] = false;
}

/* Recurrent states have places of their own, out of the same bytes: half of these at most where
 * there are pages, too. */
static int share_out(struct swap *s, uint64_t *bytes, struct err *e)
{
    const uint64_t each = s->d.state_bytes, most = s->d.n_group ? *bytes / 2 : *bytes;

    s->n_kept = each == 0 || most / each > MAX_KEPT ? MAX_KEPT : (int)(most / each);
    if (s->n_kept == 0)
        return err_set(e, E_RANGE, "%llu bytes: a state has %llu, at least %llu are needed",
                       (unsigned long long)*bytes, (unsigned long long)each,
                       (unsigned long long)(s->d.n_group ? 2 * each : each));
    *bytes -= (uint64_t)s->n_kept * each;
    return 0;
}

int swap_open(struct swap **out, const struct swap_device *d, uint64_t bytes, struct err *e)
{
    struct swap *s = mem_new(sizeof *s, e);
    uint64_t kept;
    int rc;

    if (!s)
        return E_NOMEM;
    s->d = *d;
    s->max_page = kv_max_page(d->pool);
    rc = share_out(s, &bytes, e);
    rc = rc < 0 ? rc : pages_init(&s->pages, d->group, d->n_group, bytes, e);
    if (rc < 0) {
        err_prefix(e, "host memory for requests that wait");
        goto fail;
    }
    kept = (uint64_t)s->n_kept * (uint64_t)d->n_group * (uint64_t)s->max_page;
    rc = E_NOMEM;
    s->page = mem_array(kept, sizeof *s->page, e);
    if (!s->page)
        goto fail;
    if (d->n_group && (rc = d->be->mem(d->dev, bytes, MEM_PINNED, NULL, &s->block, e)) < 0)
        goto fail;
    if (d->state_bytes &&
        (rc = d->be->mem(d->dev, (uint64_t)d->state_bytes * (uint64_t)s->n_kept, MEM_PINNED, NULL,
                         &s->state, e)) < 0)
        goto fail;
    *out = s;
    return 0;
fail:
    swap_close(s);
    return rc;
}

void swap_close(struct swap *s)
{
    if (!s)
        return;
    if (s->block.p)
        s->d.be->unmem(s->d.dev, &s->block);
    if (s->state.p)
        s->d.be->unmem(s->d.dev, &s->state);
    pages_fini(&s->pages);
    mem_free(s->page);
    mem_free(s);
}
