/* cpu.c - the CPU backend: opens a team of threads, checks a batch, runs a segment's steps. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sysmem.h"
#include "kernels/batch.h"
#include "kernels/cpu/cpu.h"
#include "kernels/registry.h"

/* Multiplications in a step below which one member does it all: some 30 microseconds, in which a
 * team would meet fifty times. Which members worked changes no bit. */
#define SMALL (1u << 20)

static void cpu_close(struct dev *d)
{
    if (!d)
        return;
    team_free(d->team);
    mem_free(d);
}

static int cpu_open(struct dev **out, const char *spec, struct err *e)
{
    struct dev *d;
    char *end = NULL;
    long n = thread_cpus();
    int rc;

    if (spec && *spec) {
        n = strtol(spec, &end, 10);
        if (*end || n < 1 || n > 1024)
            return err_set(e, E_USAGE, "cpu:%s: expected a number of threads, 1 to 1024", spec);
    }
    d = mem_new(sizeof *d, e);
    if (!d)
        return E_NOMEM;
    d->small = spec && *spec ? 0 : SMALL;
    d->k = cpu_detect(&d->tiles, e);
    rc = d->k ? team_new(&d->team, (int)n, e) : e ? e->code : E_DEVICE;
    if (rc < 0)
        goto fail;
    *out = d;
    return 0;
fail:
    cpu_close(d);
    return rc;
}

static void cpu_info(const struct dev *d, struct dev_info *out)
{
    const int n = team_size(d->team);
    struct sysmem m;

    sysmem_get(&m, "");
    *out = (struct dev_info){
        .bytes_total = m.total,
        .bytes_free = m.free,
        .units = n,
        .host = true,
    };
    snprintf(out->level, sizeof out->level, "%s", d->tiles ? d->tiles->name : d->k->name);
    snprintf(out->name, sizeof out->name, "cpu: %s, %d thread%s", out->level, n,
             n == 1 ? "" : "s");
}

static int cpu_mem(struct dev *d, uint64_t n, enum mem_kind k, void *host, struct mem *out,
                   struct err *e)
{
    void *p = host ? host : mem_pages(n, e);

    (void)d;
    if (!p)
        return E_NOMEM;
    *out = (struct mem){.p = p, .bytes = n, .kind = (uint8_t)k, .host = true, .adopted = host};
    return 0;
}

static void cpu_unmem(struct dev *d, struct mem *m)
{
    (void)d;
    if (!m->adopted)
        mem_unpages(m->p, m->bytes);
    *m = (struct mem){0};
}

static int cpu_copy(struct dev *d, struct mem to, uint64_t at, struct mem from, uint64_t from_at,
                    uint64_t n)
{
    (void)d;
    if (at > to.bytes || n > to.bytes - at || from_at > from.bytes || n > from.bytes - from_at)
        return E_RANGE;
    memmove((uint8_t *)to.p + at, (const uint8_t *)from.p + from_at, n);
    return 0;
}

/* Weights are used where the model file has them. */
static int cpu_load(struct dev *d, struct weight *w, struct err *e)
{
    if (w->fmt < 0 || w->fmt >= CPU_FMT_MAX || !d->k->dot[w->fmt].rows)
        return err_set(e, E_UNSUPPORTED, "%s: no kernel for its format", w->name);
    return 0;
}

/* -- running -- */

static void member_run(void *arg, int member, int n)
{
    struct cpu_ctx c = *(const struct cpu_ctx *)arg;
    const struct cpu_seg *g = c.g;

    c.member = member;
    c.n = n;
    c.own = g->scratch + g->own_at + (uint64_t)member * g->own_bytes;
    for (int i = 0; i < g->n_step; i++) {
        if (g->step[i].barrier && n > 1)
            team_barrier(c.team);
        g->step[i].fn(&c, &g->step[i]);
    }
}

static int cpu_run(struct dev *d, struct segment *s, const struct batch *b)
{
    struct cpu_ctx c = {
        .k = d->k,
        .g = s->impl,
        .seg = s,
        .b = b,
        .team = d->team,
        .arena = s->arena.p,
        .n_t = (int64_t)b->n_p + b->n_g,
        .n_s = b->n_out,
    };

    if (!batch_good(s, b))
        return E_RANGE;
    thread_ftz();
    memset(c.g->next, 0, 2 * (size_t)c.g->n_step * sizeof *c.g->next);
    if ((uint64_t)c.n_t * c.g->work < d->small)
        member_run(&c, 0, 1);
    else
        team_run(d->team, member_run, &c);
    return 0;
}

static int cpu_wait(struct dev *d, int ticket)
{
    (void)d;
    return ticket < 0 ? ticket : 0; // run() returns when all is done
}

const struct backend cpu_backend = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .info = cpu_info,
    .mem = cpu_mem,
    .unmem = cpu_unmem,
    .copy = cpu_copy,
    .load = cpu_load,
    .can = cpu_can,
    .prepare = cpu_prepare,
    .run = cpu_run,
    .wait = cpu_wait,
};
