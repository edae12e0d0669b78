/* rt_simt.cc - rt.h on the host: a device with 512 MiB whose launches simt.cc runs at once.
 *
 * Device memory ends where unreadable memory begins, up to its alignment of 16, and does not start
 * as zeros.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/simt/simt_run.h"

static const uint64_t total = UINT64_C(512) << 20;

struct piece {
    char *map;
    uint64_t map_bytes;
    char *p;
    struct piece *next;
};

struct rt_graph {
    struct rt_launch *l;
    int n;
};

struct rt {
    struct piece *list;
    uint64_t used;
    bool recording;
    struct rt_graph *graph;
};

static const char *reason = "no error";

int64_t simt_fail_after = -1;

static int bad(const char *why)
{
    reason = why;
    return -1;
}

/* Once a call has failed all others do, as on a device. */
static bool failed(void)
{
    if (simt_fail_after < 0)
        return false;
    if (simt_fail_after > 0) {
        simt_fail_after--;
        return false;
    }
    reason = "an illegal memory access was encountered";
    return true;
}

const char *rt_error(void)
{
    return reason;
}

int rt_count(int *n)
{
    *n = 1;
    return 0;
}

int rt_open(struct rt **out, int index)
{
    if (index != 0)
        return bad("no such device");
    *out = (struct rt *)calloc(1, sizeof **out);
    return *out ? 0 : bad("out of memory");
}

void rt_free(struct rt *d, void *p)
{
    for (struct piece **at = &d->list; *at; at = &(*at)->next)
        if ((*at)->p == p) {
            struct piece *gone = *at;
            *at = gone->next;
            d->used -= gone->map_bytes;
            munmap(gone->map, gone->map_bytes);
            free(gone);
            return;
        }
    abort(); // not memory of this device
}

void rt_close(struct rt *d)
{
    if (!d)
        return;
    if (d->list)
        abort(); // not everything was given back
    free(d);
}

void rt_info(const struct rt *d, struct rt_info *out)
{
    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "0: emulated");
    out->units = 4;
    out->sm = 90;
    out->total = total;
    out->free = total - d->used;
}

void *rt_alloc(struct rt *d, uint64_t n)
{
    const uint64_t page = 4096, body = (n + 15) / 16 * 16, bytes = (body + page - 1) / page * page;
    struct piece *k;

    if (n > total || d->used + bytes + page > total)
        return NULL;
    k = (struct piece *)calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->map_bytes = bytes + page;
    k->map = (char *)mmap(NULL, k->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                          -1, 0);
    if (k->map == MAP_FAILED || mprotect(k->map + bytes, page, PROT_NONE) != 0)
        abort();
    k->p = k->map + bytes - body;
    if (n < (64u << 20))
        memset(k->p, 0xff, n);
    k->next = d->list;
    d->list = k;
    d->used += k->map_bytes;
    return k->p;
}

void *rt_alloc_host(struct rt *d, uint64_t n)
{
    return rt_alloc(d, n);
}

void rt_free_host(struct rt *d, void *p)
{
    rt_free(d, p);
}

int rt_zero(struct rt *d, void *p, uint64_t n)
{
    (void)d;
    if (failed())
        return -1;
    memset(p, 0, n);
    return 0;
}

int rt_copy(struct rt *d, void *to, const void *from, uint64_t n)
{
    (void)d;
    if (failed())
        return -1;
    memmove(to, from, n);
    return 0;
}

int rt_sync(struct rt *d)
{
    (void)d;
    return failed() ? -1 : 0;
}

int rt_launch(struct rt *d, const struct rt_launch *l)
{
    struct rt_graph *g = d->graph;
    void *args;

    if (failed())
        return -1;
    if (!d->recording) {
        simt_run(l);
        return 0;
    }
    g->l = (struct rt_launch *)realloc(g->l, (size_t)(g->n + 1) * sizeof *g->l);
    args = malloc(l->k->bytes);
    if (!g->l || !args)
        abort();
    memcpy(args, l->args, l->k->bytes); // as the runtime does: the arguments are taken now
    g->l[g->n] = *l;
    g->l[g->n++].args = args;
    return 0;
}

int rt_record_begin(struct rt *d)
{
    d->recording = true;
    d->graph = (struct rt_graph *)calloc(1, sizeof *d->graph);
    return d->graph ? 0 : bad("out of memory");
}

int rt_record_end(struct rt *d, struct rt_graph **out)
{
    d->recording = false;
    *out = d->graph;
    return 0;
}

int rt_replay(struct rt *d, struct rt_graph *g)
{
    (void)d;
    if (failed())
        return -1;
    for (int i = 0; i < g->n; i++)
        simt_run(&g->l[i]);
    return 0;
}

void rt_graph_free(struct rt_graph *g)
{
    if (!g)
        return;
    for (int i = 0; i < g->n; i++)
        free((void *)(uintptr_t)g->l[i].args);
    free(g->l);
    free(g);
}

int rt_mark(struct rt *d, int i)
{
    (void)d;
    (void)i;
    return failed() ? -1 : 0;
}

int rt_reached(struct rt *d, int i)
{
    (void)d;
    (void)i;
    return failed() ? -1 : 0;
}

int rt_between(struct rt *d, int a, int b, double *seconds)
{
    (void)d;
    (void)a;
    (void)b;
    *seconds = 0.0;
    return 0;
}
