/* rt_simt.cc - rt.h on the host: a device with 512 MiB whose launches simt.cc runs.
 *
 * What is enqueued is done as late as can be: when somebody waits for it. So the host is as far
 * ahead as it may be, and pinned memory that is written again too early is found out. Pageable
 * memory is read at once, and a copy to it is waited for.
 *
 * Device memory ends where unreadable memory begins, up to its alignment of 16, and does not start
 * as zeros.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "tests/simt/simt_run.h"

struct piece {
    char *map;
    uint64_t map_bytes;
    char *p;
    uint64_t n;
    struct piece *next;
};

enum work_kind { WORK_LAUNCH, WORK_REPLAY, WORK_COPY, WORK_ZERO, WORK_MARK };
struct work {
    enum work_kind kind;
    struct rt_launch l;
    void *own; // what is freed afterwards: arguments, or what is copied
    struct rt_graph *graph;
    void *to;
    const void *from;
    uint64_t n;
    int mark;
    struct work *next;
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
    struct work *first, **end;
    int marked[RT_MARKS]; // how many times each waits to be passed
    struct timespec passed[RT_MARKS];
};

struct simt_count simt_count;
uint64_t simt_total = UINT64_C(512) << 20;
long simt_fail = -1;

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
    if (!*out)
        return bad("out of memory");
    (*out)->end = &(*out)->first;
    return 0;
}

/* -- what is enqueued -- */

static void *need(uint64_t n)
{
    void *p = malloc(n ? n : 1);

    if (!p)
        abort();
    return p;
}

static void enqueue(struct rt *d, const struct work *w)
{
    struct work *k = (struct work *)need(sizeof *k);

    *k = *w;
    k->next = NULL;
    *d->end = k;
    d->end = &k->next;
}

static void do_first(struct rt *d)
{
    struct work *w = d->first;

    d->first = w->next;
    if (!d->first)
        d->end = &d->first;
    switch (w->kind) {
    case WORK_LAUNCH:
        simt_run(&w->l);
        break;
    case WORK_REPLAY:
        for (int i = 0; i < w->graph->n; i++)
            simt_run(&w->graph->l[i]);
        break;
    case WORK_COPY:
        memmove(w->to, w->from, w->n);
        break;
    case WORK_ZERO:
        memset(w->to, 0, w->n);
        break;
    case WORK_MARK:
        d->marked[w->mark]--;
        clock_gettime(CLOCK_MONOTONIC, &d->passed[w->mark]);
        break;
    }
    free(w->own);
    free(w);
}

static void do_all(struct rt *d)
{
    while (d->first)
        do_first(d);
}

static bool known(const struct rt *d, const void *p)
{
    for (const struct piece *k = d->list; k; k = k->next)
        if ((const char *)p >= k->p && (const char *)p < k->p + k->n)
            return true;
    return false;
}

void rt_free(struct rt *d, void *p)
{
    do_all(d);
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
    do_all(d);
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
    out->shared = simt_shared_most;
    out->total = simt_total;
    out->free = simt_total - d->used;
}

void *rt_alloc(struct rt *d, uint64_t n)
{
    const uint64_t page = 4096, body = (n + 15) / 16 * 16, bytes = (body + page - 1) / page * page;
    struct piece *k;

    simt_count.allocs++;
    if (simt_fail >= 0 && simt_fail-- == 0)
        return NULL;
    if (n > simt_total || d->used + bytes + page > simt_total)
        return NULL;
    k = (struct piece *)calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->map_bytes = bytes + page;
    k->map = (char *)mmap(NULL, k->map_bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (k->map == MAP_FAILED || mprotect(k->map + bytes, page, PROT_NONE) != 0)
        abort();
    k->p = k->map + bytes - body;
    k->n = n ? n : 1;
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
    struct work w = {};

    if (failed())
        return -1;
    w.kind = WORK_ZERO;
    w.to = p;
    w.n = n;
    enqueue(d, &w);
    return 0;
}

int rt_copy(struct rt *d, void *to, const void *from, uint64_t n)
{
    struct work w = {};

    if (failed())
        return -1;
    w.kind = WORK_COPY;
    w.to = to;
    w.from = from;
    w.n = n;
    if (n && !known(d, from) && known(d, to))
        w.from = w.own = memcpy(need(n), from, n);
    enqueue(d, &w);
    if (!known(d, to))
        do_all(d);
    return 0;
}

int rt_copy_parts(struct rt *d, void *to, const void *from, uint64_t n, uint64_t pitch, int parts)
{
    int rc = 0;

    for (int i = 0; i < parts && rc == 0; i++)
        rc = rt_copy(d, (uint8_t *)to + (uint64_t)i * pitch,
                     (const uint8_t *)from + (uint64_t)i * pitch, n);
    return rc;
}

/* A device that has failed does nothing more. */
static void drop_all(struct rt *d)
{
    while (d->first) {
        struct work *w = d->first;

        d->first = w->next;
        free(w->own);
        free(w);
    }
    d->end = &d->first;
    memset(d->marked, 0, sizeof d->marked);
}

int rt_sync(struct rt *d)
{
    if (failed()) {
        drop_all(d);
        return -1;
    }
    simt_count.syncs++;
    do_all(d);
    return 0;
}

/* As the runtime does: the arguments are taken now. */
static struct rt_launch with_args(const struct rt_launch *l, void **own)
{
    struct rt_launch k = *l;

    k.args = *own = memcpy(need(l->k->bytes), l->args, l->k->bytes);
    return k;
}

int rt_launch(struct rt *d, const struct rt_launch *l)
{
    struct rt_graph *g = d->graph;
    struct work w = {};
    void *own;

    if (failed())
        return -1;
    if (!d->recording) {
        w.kind = WORK_LAUNCH;
        w.l = with_args(l, &w.own);
        enqueue(d, &w);
        return 0;
    }
    g->l = (struct rt_launch *)realloc(g->l, (size_t)(g->n + 1) * sizeof *g->l);
    if (!g->l)
        abort();
    g->l[g->n++] = with_args(l, &own);
    return 0;
}

int rt_record_begin(struct rt *d)
{
    simt_count.recorded++;
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
    struct work w = {};

    if (failed())
        return -1;
    w.kind = WORK_REPLAY;
    w.graph = g;
    enqueue(d, &w);
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
    struct work w = {};

    if (failed())
        return -1;
    w.kind = WORK_MARK;
    w.mark = i;
    d->marked[i]++;
    enqueue(d, &w);
    return 0;
}

int rt_reached(struct rt *d, int i)
{
    if (failed())
        return -1;
    while (d->marked[i])
        do_first(d);
    simt_count.ahead += d->first != NULL;
    return 0;
}

int rt_watch(struct rt *d, const volatile int32_t *word, int32_t was, int mark, int32_t *out)
{
    if (failed())
        return -1;
    while (*word == was && d->marked[mark])
        do_first(d);
    simt_count.ahead += d->first != NULL;
    return (*out = *word) != was ? 0 : bad("a word that never came");
}

int rt_between(struct rt *d, int a, int b, double *seconds)
{
    const struct timespec *x = &d->passed[a], *y = &d->passed[b];

    if (d->marked[a] || d->marked[b])
        return bad("a mark was not passed yet");
    *seconds = (double)(y->tv_sec - x->tv_sec) + 1e-9 * (double)(y->tv_nsec - x->tv_nsec);
    return 0;
}
