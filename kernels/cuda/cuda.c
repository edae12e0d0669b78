/* cuda.c - the CUDA backend: opens a device, keeps its memory, runs a segment's steps.
 *
 * A step is one copy of a block of numbers and one graph (few rows) or a list of launches. run()
 * returns at once; the pinned copies form a ring, so that the next step can be laid out meanwhile.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/batch.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/there.h"
#include "kernels/registry.h"

#define STAGE  (64u << 10) // bytes of half of it
#define MOVERS 8           // threads at most that bring weights into pinned memory

static int fail(struct err *e, const char *what)
{
    return err_set(e, E_DEVICE, "cuda: %s: %s", what, rt_error());
}

static void cuda_close(struct dev *d)
{
    if (!d)
        return;
    team_free(d->movers);
    if (d->stage)
        rt_free_host(d->rt, d->stage);
    if (d->pieces)
        rt_free_host(d->rt, d->pieces);
    if (d->last)
        cuda_give(d, d->last, CUDA_SLOTS * sizeof *d->last);
    rt_close(d->rt);
    mem_free(d);
}

/* "", "0", "1", ..., with "@BYTES" behind it the most memory to take. */
static int parse_spec(const char *spec, int n, uint64_t *limit, struct err *e)
{
    char *end;
    long i = strtol(spec, &end, 10);
    const bool some = end != spec || *spec == '@' || !*spec;

    *limit = UINT64_MAX;
    if (*end == '@' && end[1] >= '0' && end[1] <= '9')
        *limit = strtoull(end + 1, &end, 10);
    if (*end || !some || i < 0 || i >= n)
        return err_set(e, E_DEVICE, "cuda:%s: there are %d devices, from 0", spec, n);
    return (int)i;
}

static bool env_is(const char *name, const char *value)
{
    const char *v = getenv(name);

    return v && strcmp(v, value) == 0;
}

/* For measuring: how matrices lie and are read. dp4a: a few rows without tensor cores; pieces and
 * bulk: one row through rings. */
static int parse_layout(const char *want, int sm, struct err *e)
{
    static const char *const name[] = {"panels", "file", "dp4a", "pieces", "bulk"};

    for (int i = 0; i < (int)ARRAY_LEN(name); i++)
        if (!want || !*want || strcmp(want, name[i]) == 0)
            return i == LAYOUT_BULK && sm < 90 ? LAYOUT_PIECES : i;
    return err_set(e, E_USAGE, "RILL_CUDA_GEMV is '%s': panels, file, dp4a, pieces or bulk", want);
}

/* Likewise: whether a step of one row is one launch, where it can be. */
static int parse_step(const char *want, struct err *e)
{
    if (!want || !*want || strcmp(want, "graph") == 0)
        return 0;
    if (strcmp(want, "persist") == 0)
        return 1;
    return err_set(e, E_USAGE, "RILL_CUDA_STEP is '%s': graph or persist", want);
}

bool cuda_there(void)
{
    int n;

    return rt_count(&n) == 0 && n > 0;
}

static int cuda_open(struct dev **out, const char *spec, struct err *e)
{
    struct dev *d;
    uint64_t limit;
    int n = 0;

    if (rt_count(&n) < 0)
        return fail(e, "no device can be used");
    n = parse_spec(spec ? spec : "", n, &limit, e);
    if (n < 0)
        return n;
    d = mem_new(sizeof *d, e);
    if (!d)
        return E_NOMEM;
    if (rt_open(&d->rt, n) < 0) {
        cuda_close(d);
        return fail(e, "the device cannot be opened");
    }
    rt_info(d->rt, &d->info);
    d->limit = limit;
    n = parse_layout(getenv("RILL_CUDA_GEMV"), d->info.sm, e);
    d->layout = n < 0 ? LAYOUT_PANELS : (enum layout)n;
    n = n < 0 ? n : parse_step(getenv("RILL_CUDA_STEP"), e);
    d->persist = n == 1;
    if (n < 0) {
        cuda_close(d);
        return n;
    }
    d->wide = d->info.sm == 90 && env_is("RILL_CUDA_GEMM", "wgmma");
    d->wide_attn = d->info.sm == 90 && env_is("RILL_CUDA_ATTN", "wgmma");
    d->plain = env_is("RILL_CUDA_FUSE", "0");
    d->share = env_is("RILL_CUDA_SHARE", "0")   ? SHARE_NEVER
               : env_is("RILL_CUDA_SHARE", "1") ? SHARE_ALWAYS
                                                : SHARE_LESS;
    d->last = cuda_take(d, CUDA_SLOTS * sizeof *d->last);
    d->stage = rt_alloc_host(d->rt, 2 * STAGE);
    d->pieces = rt_alloc_host(d->rt, 2 * CUDA_PIECE);
    if (!d->last || !d->stage || !d->pieces ||
        rt_zero(d->rt, d->last, CUDA_SLOTS * sizeof *d->last) < 0)
        n = err_set(e, E_DEVICE, "cuda:%s: no memory is free", d->info.name);
    else
        n = team_new(&d->movers, thread_cpus() < MOVERS ? thread_cpus() : MOVERS, e);
    if (n < 0)
        cuda_close(d);
    else
        *out = d;
    return n < 0 ? n : 0;
}

/* -- memory -- */

uint64_t cuda_free_bytes(const struct dev *d)
{
    const uint64_t left = d->limit - d->taken;
    struct rt_info i;

    rt_info(d->rt, &i);
    return i.free < left ? i.free : left;
}

void *cuda_take(struct dev *d, uint64_t bytes)
{
    void *p = bytes > d->limit - d->taken ? NULL : rt_alloc(d->rt, bytes);

    d->taken += p ? bytes : 0;
    return p;
}

void cuda_give(struct dev *d, void *p, uint64_t bytes)
{
    rt_free(d->rt, p);
    d->taken -= bytes;
}

static void cuda_info(const struct dev *d, struct dev_info *out)
{
    struct rt_info i;

    rt_info(d->rt, &i);
    *out = (struct dev_info){
        .bytes_total = i.total, .bytes_free = cuda_free_bytes(d), .units = i.units};
    snprintf(out->name, sizeof out->name, "cuda:%.50s", i.name);
}

static void cuda_unmem(struct dev *d, struct mem *m)
{
    if (m->p && !m->adopted) {
        if (m->host)
            rt_free_host(d->rt, m->p);
        else
            cuda_give(d, m->p, m->bytes);
    }
    *m = (struct mem){0};
}

static int cuda_mem(struct dev *d, uint64_t n, enum mem_kind k, void *host, struct mem *out,
                    struct err *e)
{
    struct dev_info info;

    *out = (struct mem){.bytes = n, .kind = (uint8_t)k, .p = host, .host = true, .adopted = true};
    if (host) // stays where it is: load() copies from there
        return 0;
    out->adopted = false;
    out->host = k != MEM_DEVICE;
    out->p = out->host ? rt_alloc_host(d->rt, n) : cuda_take(d, n);
    if (out->p && rt_zero(d->rt, out->p, n) == 0 && rt_sync(d->rt) == 0)
        return 0;
    cuda_unmem(d, out);
    cuda_info(d, &info);
    return err_set(e, E_DEVICE, "%s: %llu bytes wanted, %llu free", info.name,
                   (unsigned long long)n, (unsigned long long)info.bytes_free);
}

/* Small things wait for nobody: they go by way of pinned memory, whose halves are used again when
 * they have been read. */
static int send_small(struct dev *d, void *to, const void *from, uint64_t n)
{
    uint8_t *p;

    if (d->stage_at + n > STAGE) {
        if (rt_mark(d->rt, MARK_STAGE + d->half) < 0)
            return -1;
        d->half = !d->half;
        d->stage_at = 0;
        if (rt_reached(d->rt, MARK_STAGE + d->half) < 0)
            return -1;
    }
    p = memcpy(d->stage + (uint64_t)d->half * STAGE + d->stage_at, from, n);
    d->stage_at += n;
    return rt_copy(d->rt, to, p, n);
}

static int cuda_copy(struct dev *d, struct mem to, uint64_t at, struct mem from, uint64_t from_at,
                     uint64_t n)
{
    if (at > to.bytes || n > to.bytes - at || from_at > from.bytes || n > from.bytes - from_at)
        return E_RANGE;
    if (!to.host && from.host && n <= STAGE / 4)
        return send_small(d, (uint8_t *)to.p + at, (const uint8_t *)from.p + from_at, n) < 0
                   ? E_DEVICE
                   : 0;
    if (n && rt_copy(d->rt, (uint8_t *)to.p + at, (const uint8_t *)from.p + from_at, n) < 0)
        return E_DEVICE;
    return (to.host || from.host) && rt_sync(d->rt) < 0 ? E_DEVICE : 0;
}

/* In device memory as the kernels read them: panels, or as the file has them. */
static int cuda_load(struct dev *d, struct weight *w, struct err *e)
{
    for (unsigned i = 0; i < ARRAY_LEN(w->part) && w->part[i].p; i++) {
        struct mem m;
        int rc;

        if (!w->part[i].host)
            continue;
        if (i == 0 && cuda_wants_panels(d, w)) {
            if ((rc = cuda_repack(d, w, &m, e)) < 0)
                return rc;
            w->dev = m.p;
        } else {
            rc = cuda_mem(d, w->part[i].bytes, MEM_DEVICE, NULL, &m, e);
            if (rc < 0)
                return err_prefix(e, w->name);
            rc = cuda_bring(d, m.p, w->part[i].p, m.bytes) < 0 ? E_DEVICE : 0;
        }
        cuda_unmem(d, &w->part[i]);
        w->part[i] = m;
        if (rc < 0)
            return err_set(e, E_DEVICE, "cuda: tensor '%s' cannot be copied", w->name);
    }
    return 0;
}

/* -- running -- */

static void fill_use(struct lora_use *u, const struct seq_in *q)
{
    for (int k = 0; k < LORA_MIX; k++) {
        u->slot[k] = k < q->n_lora ? q->lora[k].slot : -1;
        u->scale[k] = k < q->n_lora ? q->lora[k].scale : 0.0f;
    }
}

/* The step's numbers in a pinned block, laid out as struct step has them on the device. */
static int64_t fill(const struct segment *s, const struct batch *b, uint8_t *host)
{
    const struct cuda_seg *g = s->impl;
    const int64_t n_t = (int64_t)b->n_p + b->n_g;
    const uint8_t *base = g->block;
#define AT(field) ((int32_t *)(host + ((const uint8_t *)g->step.field - base)))
    int32_t *run = AT(run), *n = AT(n), *rot = AT(rot), *slot = AT(slot), *type = AT(type);
    int32_t *own = AT(own), (*tile)[4] = (int32_t(*)[4])AT(tile);
    int64_t n_run = 0;

    memcpy(AT(id), b->id, (size_t)n_t * sizeof(int32_t));
    memcpy(AT(pos), b->pos, (size_t)n_t * sizeof(int32_t));
    memcpy(AT(see), b->see ? b->see : b->pos, (size_t)n_t * sizeof(int32_t));
    memcpy(AT(out), b->out ? b->out : AT(out), (size_t)b->n_out * sizeof(int32_t));
    for (int64_t t = 0; t < n_t; t++) {
        const struct seq_in *q = &b->seqs[b->seq[t]];

        rot[t] = b->rpos ? b->rpos[t][0] : b->pos[t];
        slot[t] = q->slot;
        type[t] = b->type ? b->type[t] : 0;
        if (g->step.use)
            fill_use((struct lora_use *)AT(use) + t, q);
        if (t == 0 || b->seq[t] != b->seq[t - 1]) {
            memcpy(run + 4 * n_run++, (int32_t[]){(int32_t)t, 0, q->state_read, q->state_write},
                   16);
        }
        run[4 * (n_run - 1) + 1] = (int32_t)t + 1;
    }
#undef AT
    n[0] = (int32_t)n_t;
    n[1] = b->n_out;
    n[2] = (int32_t)n_run;
    n[3] = b->embd != NULL;
    n[4] = n[5] = 0;
    if (g->share.rows) {
        n[4] = cuda_share(&g->share, b, tile, own);
        n[5] = n[4] && n_t > ATTN_SPLIT ? tile[0][0] : 0;
    }
    return n_run;
}

/* The block goes to the device: of its arrays only what the rows have, where that is little. */
static int send(struct dev *d, const struct cuda_seg *g, const struct batch *b, int64_t n_run,
                int turn)
{
    enum { ARRAYS = 11, HEAD = 8 }; // up to the runs, of which each has four numbers
    const int64_t n_t = (int64_t)b->n_p + b->n_g, n = n_t > b->n_out ? n_t : b->n_out;
    const int64_t most = n > 4 * n_run ? n : 4 * n_run;
    const uint64_t bytes = (uint64_t)(most > HEAD ? most : HEAD) * sizeof(int32_t);

    if (g->step.use || 2 * bytes > g->block_pitch)
        return rt_copy(d->rt, g->block, g->host[turn], g->block_bytes);
    return rt_copy_parts(d->rt, g->block, g->host[turn], bytes, g->block_pitch, ARRAYS);
}

int cuda_run_with(struct dev *d, struct segment *s, const struct batch *b,
                  const struct persist_draws *draws)
{
    struct cuda_seg *g = s->impl;
    const int64_t n_t = (int64_t)b->n_p + b->n_g;
    const int turn = (int)(d->ticket % CUDA_RUNS);
    int64_t n_run;
    int bucket;
    bool shared;

    if (!batch_good(s, b))
        return E_RANGE;
    if (n_t == 0)
        return 0;
    if (g->used[turn] && rt_reached(d->rt, MARK_RUN + turn) < 0)
        return E_DEVICE;
    d->decoding = b->n_p ? 0 : d->decoding + 1;
    n_run = fill(s, b, g->host[turn]);
    shared = ((const int32_t *)g->host[turn])[4] > 0;
    if (s->plan->state_bytes && n_run > cuda_most_runs(s))
        return E_RANGE;
    if (rt_mark(d->rt, MARK_BEGIN + turn) < 0 ||
        send(d, g, b, n_run, turn) < 0)
        return E_DEVICE;
    if (b->embd && g->embd_width &&
        rt_copy(d->rt, g->embd, b->embd, (uint64_t)(n_t * g->embd_width) * sizeof(float)) < 0)
        return E_DEVICE;
    bucket = cuda_bucket(s, n_t, b->n_out);
    if (draws ? cuda_persist_run(d, g, draws) < 0
        : bucket >= 0 && g->graph[shared][bucket]
            ? rt_replay(d->rt, g->graph[shared][bucket]) < 0
            : cuda_enqueue(d, s, n_t, b->n_out, n_run, shared) < 0)
        return E_DEVICE;
    g->used[turn] = true;
    if (rt_mark(d->rt, MARK_RUN + turn) < 0)
        return E_DEVICE;
    return (int)(d->ticket++ & 0x3fffffff);
}

static int cuda_run(struct dev *d, struct segment *s, const struct batch *b)
{
    return cuda_run_with(d, s, b, NULL);
}

void cuda_gap(struct dev *d, uint32_t ticket)
{
    const uint32_t behind = d->ticket - 1 - ticket; // steps that were started since
    double gap;

    if (behind > 1 || d->decoding < 2 + behind || ticket == d->gap_of)
        return;
    d->gap_of = ticket;
    if (rt_between(d->rt, MARK_RUN + (int)((ticket - 1) % CUDA_RUNS),
                   MARK_BEGIN + (int)(ticket % CUDA_RUNS), &gap) == 0) {
        d->gap += gap;
        d->gaps++;
    }
}

static int cuda_wait(struct dev *d, int ticket)
{
    if (ticket < 0)
        return ticket;
    if (rt_reached(d->rt, MARK_RUN + ticket % CUDA_RUNS) < 0)
        return E_DEVICE;
    cuda_gap(d, (uint32_t)ticket);
    return 0;
}

static double cuda_mean_gap(const struct dev *d)
{
    return d->gaps ? d->gap / (double)d->gaps : 0;
}

/* The best of some passes over memory that no cache holds. */
static double cuda_read(struct dev *d)
{
    const uint64_t bytes = UINT64_C(1) << 30, n = cuda_free_bytes(d) / 2;
    const uint64_t room = (n < bytes ? n : bytes) / 16 * 16;
    void *p = cuda_take(d, room);
    const struct read_args a = {.p = p, .n = (int64_t)(room / 16), .out = p};
    const struct rt_launch l = {
        &kern_read, {(uint32_t)d->info.units * 16, 1, 1}, MAP_THREADS, 0, &a};
    double best = 0;

    if (p && rt_zero(d->rt, p, room) == 0)
        for (int i = 0; i < 6; i++) {
            double s;

            if (rt_mark(d->rt, MARK_BEGIN) < 0 || rt_launch(d->rt, &l) < 0 ||
                rt_mark(d->rt, MARK_STAGE + !d->half) < 0 || rt_sync(d->rt) < 0 ||
                rt_between(d->rt, MARK_BEGIN, MARK_STAGE + !d->half, &s) < 0)
                break;
            if (i > 0 && s > 0 && (double)room / s > best)
                best = (double)room / s;
        }
    if (p)
        cuda_give(d, p, room);
    return best;
}

extern const struct backend cuda_backend;
const struct backend cuda_backend = {
    .name = "cuda",
    .open = cuda_open,
    .close = cuda_close,
    .info = cuda_info,
    .mem = cuda_mem,
    .unmem = cuda_unmem,
    .copy = cuda_copy,
    .load = cuda_load,
    .can = cuda_can,
    .adapt = cuda_adapt,
    .prepare = cuda_prepare,
    .run = cuda_run,
    .wait = cuda_wait,
    .read = cuda_read,
    .gap = cuda_mean_gap,
    .draw = cuda_draw,
    .drawn = cuda_drawn,
    .steps = cuda_steps,
    .step = cuda_step,
    .enough = cuda_enough,
};
