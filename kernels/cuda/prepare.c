/* prepare.c - a segment's launches, their memory, and graphs of them for few rows.
 *
 * All memory is taken here: nothing is allocated in a step. A graph is recorded for 1, 2, 4 ...
 * 1,024 rows as far as the engine's sequences go; its grids are for that many rows, and blocks
 * beyond the step's rows end at once. A graph is never changed.
 */
#include <string.h>

#include "base/mem.h"
#include "kernels/cuda/lower.h"
#include "plan/ops.h"

void cuda_prep_fail(struct prep *p, const struct op *op, const char *what)
{
    if (p->rc == 0)
        p->rc = err_set(p->e, E_UNSUPPORTED, "cuda: record %d (%s): %s", (int)(op - p->p->op),
                        op_name(op->kind), what);
}

void *cuda_prep_mem(struct prep *p, uint64_t bytes)
{
    struct cuda_seg *g = p->g;
    void *list =
        mem_resize(g->mem, (uint64_t)g->n_mem, (uint64_t)g->n_mem + 1, sizeof *g->mem, p->e);
    void *m;

    if (!list) {
        p->rc = p->rc ? p->rc : E_NOMEM;
        return NULL;
    }
    g->mem = list;
    m = cuda_take(p->d, bytes);
    if (!m) {
        if (p->rc == 0)
            p->rc = err_set(p->e, E_DEVICE, "cuda:%s: %llu bytes wanted to work in, %llu free",
                            p->d->info.name, (unsigned long long)bytes,
                            (unsigned long long)cuda_free_bytes(p->d));
        return NULL;
    }
    g->mem[g->n_mem].p = m;
    g->mem[g->n_mem++].bytes = bytes;
    return m;
}

struct launch *cuda_prep_launch(struct prep *p, const struct rt_kern *k, const void *args, int rows)
{
    struct cuda_seg *g = p->g;
    struct launch *l = &g->l[g->n < g->cap ? g->n++ : g->cap];

    mem_free(l->args); // of a launch past the end, which an error follows
    *l = (struct launch){.k = k,
                         .when = ALWAYS,
                         .rows = (uint32_t)rows,
                         .per = 1,
                         .grid_y = 1,
                         .grid_z = 1,
                         .block = MAP_THREADS};
    l->args = mem_new(k->bytes, p->e);
    if (l->args)
        memcpy(l->args, args, k->bytes);
    else if (p->rc == 0)
        p->rc = E_NOMEM;
    return l;
}

/* -- starting -- */

static int64_t most_blocks(const struct segment *s, const struct launch *l, int64_t n_t,
                           int64_t n_s, int64_t n_run)
{
    const int64_t n_e = n_t * s->plan->n_used, per = l->per;
    int64_t n;

    switch (l->rows) {
    case TILES: // every expert's last tile may be short
        n = (n_e + per - 1) / per + (per > 1 ? l->n_expert : 0);
        return n < n_e ? n : n_e;
    case RUNS:
        return n_run;
    case SPANS:
        return per > 1 ? n_run + n_t / per : n_t;
    default:
        n = l->rows == ROWS_T ? n_t : l->rows == ROWS_S ? n_s : l->rows == ROWS_E ? n_e : 1;
        return (n + per - 1) / per;
    }
}

static int variant_of(int64_t n_t)
{
    static const int32_t up_to[MANY_ROWS] = {1, 8, 16, 32};
    int v = 0;

    while (v < MANY_ROWS && n_t > up_to[v])
        v++;
    return v;
}

int cuda_enqueue(struct dev *d, const struct segment *s, int64_t n_t, int64_t n_s, int64_t n_run,
                 bool shared)
{
    const struct cuda_seg *g = s->impl;
    const int v = variant_of(n_t);

    if (n_t == 1 && g->persist)
        return cuda_persist_run(d, g, NULL);
    for (int i = 0; i < g->n; i++) {
        const struct launch *l = &g->l[i];
        const int64_t x = most_blocks(s, l, n_t, n_s, n_run);
        const struct rt_launch r = {
            l->k, {(uint32_t)x, l->grid_y, l->grid_z}, l->block, l->shared, l->args};

        if (x > 0 && (l->when >> v & 1) && (shared || !l->shared_only) && rt_launch(d->rt, &r) < 0)
            return -1;
    }
    return 0;
}

/* -- graphs -- */

/* Rows with logits that a graph of so many rows has room for. */
static int64_t bucket_s(const struct segment *s, int64_t n_t)
{
    return n_t < s->max_s ? n_t : s->max_s;
}

int cuda_bucket(const struct segment *s, int64_t n_t, int64_t n_s)
{
    for (int i = 0; i < BUCKETS; i++)
        if (n_t <= INT64_C(1) << i && n_s <= bucket_s(s, INT64_C(1) << i))
            return i;
    return -1;
}

static int record_graphs(struct prep *p, bool shared)
{
    for (int i = 0; i < BUCKETS; i++) {
        const int64_t n = INT64_C(1) << i;
        int rc;

        if (n > p->s->max_t || (i > 0 && n / 2 >= p->s->kv.max_seq))
            break;
        if (shared && n < SHARE_ROWS)
            continue;
        if (rt_record_begin(p->d->rt) < 0)
            return -1;
        rc = cuda_enqueue(p->d, p->s, n, bucket_s(p->s, n), n, shared);
        if (rt_record_end(p->d->rt, &p->g->graph[shared][i]) < 0 || rc < 0)
            return -1;
    }
    return 0;
}

static const int32_t *part_of(const struct cuda_seg *g, uint64_t *at, uint64_t n)
{
    const int32_t *p = (const int32_t *)g->block + *at;

    *at += (n + 3) / 4 * 4;
    return p;
}

static bool lay_step(struct prep *p)
{
    struct cuda_seg *g = p->g;
    const uint64_t most = (uint64_t)(p->s->max_t > p->s->max_s ? p->s->max_t : p->s->max_s);
    const uint64_t t = most < 8 ? 8 : (most + 3) / 4 * 4;
    const uint64_t use = p->s->n_lora > 0 ? t * sizeof(struct lora_use) / sizeof(int32_t) : 0;
    uint64_t at = 0;

    g->block_pitch = t * sizeof(int32_t);
    g->block_bytes = (14 * t + use) * sizeof(int32_t);
    g->block = cuda_prep_mem(p, g->block_bytes);
    for (int i = 0; i < CUDA_RUNS && g->block; i++) {
        g->host[i] = rt_alloc_host(p->d->rt, g->block_bytes);
        if (!g->host[i]) {
            p->rc = err_set(p->e, E_DEVICE, "cuda: no pinned memory for a step's numbers");
            return false;
        }
        memset(g->host[i], 0, g->block_bytes);
    }
    if (!g->block)
        return false;
    g->step.n = part_of(g, &at, t);
    g->step.id = part_of(g, &at, t);
    g->step.pos = part_of(g, &at, t);
    g->step.rot = part_of(g, &at, t);
    g->step.see = part_of(g, &at, t);
    g->step.type = part_of(g, &at, t);
    g->step.slot = part_of(g, &at, t);
    g->step.out = part_of(g, &at, t);
    g->step.own = part_of(g, &at, t);
    g->step.tile = part_of(g, &at, t);
    g->step.run = part_of(g, &at, 4 * t);
    if (use)
        g->step.use = (const struct lora_use *)part_of(g, &at, use);
    for (int i = p->s->from; i < p->s->to; i++)
        if (p->p->op[i].kind == OP_embed)
            g->embd_width = p->p->op[i].out[0].cols;
    if (g->embd_width)
        g->embd = cuda_prep_mem(p, (uint64_t)p->s->max_t * (uint64_t)g->embd_width * sizeof(float));
    g->step.embd = g->embd;
    g->step.last = p->d->last;
    p->s->keeps = p->s->kv.max_seq <= CUDA_SLOTS;
    return p->rc == 0;
}

/* -- adapters -- */

static bool wants_adapters(const struct segment *s)
{
    for (int32_t i = s->from; i < s->to && s->n_lora > 0; i++)
        if (s->plan->op[i].kind == OP_lora || s->plan->op[i].kind == OP_steer)
            return true;
    return false;
}

/* Pairs of an adapter: one for each weight, and for each layer its direction in a's place. */
static int64_t pairs_of(const struct plan *p)
{
    int64_t n = p->n_w;

    for (int32_t i = 0; i < p->n_op; i++)
        if (p->op[i].layer >= n - p->n_w)
            n = (int64_t)p->n_w + p->op[i].layer + 1;
    return n;
}

static bool lay_adapters(struct prep *p)
{
    struct cuda_seg *g = p->g;
    const uint64_t n = (uint64_t)p->s->n_lora;
    uint64_t bytes;

    if (!wants_adapters(p->s))
        return true;
    g->adapter = mem_array(n, sizeof *g->adapter, p->e);
    if (!g->adapter)
        p->rc = p->rc ? p->rc : E_NOMEM;
    g->n_pair = pairs_of(p->p);
    bytes = n * (uint64_t)g->n_pair * sizeof *g->pair;
    g->pair = cuda_prep_mem(p, bytes);
    if (p->rc == 0 && rt_zero(p->d->rt, g->pair, bytes) < 0)
        p->rc = err_set(p->e, E_DEVICE, "cuda: %s", rt_error());
    return p->rc == 0;
}

static void drop_adapter(struct dev *d, struct cuda_seg *g, int slot)
{
    if (g->adapter && g->adapter[slot].p) {
        cuda_give(d, g->adapter[slot].p, g->adapter[slot].bytes);
        g->adapter[slot].p = NULL;
    }
}

/* n floats to the next multiple of 16 bytes; to NULL: only counts them. */
static int put_floats(struct dev *d, const float **out, const float *x, uint64_t n, uint8_t *to,
                      uint64_t *bytes)
{
    int rc = 0;

    if (to) {
        *out = (const float *)(const void *)(to + *bytes);
        rc = rt_copy(d->rt, to + *bytes, x, n * sizeof *x);
    }
    *bytes += (n * sizeof *x + 15) / 16 * 16;
    return rc;
}

/* Goes through what records of the segment want of an adapter, as put_floats does; row[] tells
 * where it is. */
static int walk_adapter(struct dev *d, const struct segment *s, const struct lora_slot *from,
                        uint8_t *to, struct lora_pair *row, uint64_t *bytes)
{
    int rc = 0;

    *bytes = 0;
    for (int32_t i = s->from; i < s->to && rc == 0; i++) {
        const struct op *op = &s->plan->op[i];
        const struct lora_mat *m = op->kind == OP_lora && from->mat ? &from->mat[op->w[0]] : NULL;
        const float *dir = op->kind == OP_steer && from->dir ? from->dir[op->layer] : NULL;
        struct lora_pair p = {.rank = 1, .scale = 1.0f};

        if (dir) {
            rc = put_floats(d, &p.a, dir, (uint64_t)op->out[0].cols, to, bytes);
            row[s->plan->n_w + op->layer] = p;
        } else if (m && m->rank > 0) {
            p = (struct lora_pair){.rank = m->rank, .scale = m->scale};
            rc = put_floats(d, &p.a, m->a, (uint64_t)m->rank * (uint64_t)op->in[0].cols, to, bytes);
            if (rc == 0)
                rc = put_floats(d, &p.b, m->b, (uint64_t)m->rank * (uint64_t)op->out[0].cols, to,
                                bytes);
            row[op->w[0]] = p;
        }
    }
    return rc;
}

int cuda_adapt(struct dev *d, struct segment *s, int slot, struct err *e)
{
    struct cuda_seg *g = s->impl;
    const uint64_t n = g ? (uint64_t)g->n_pair : 0;
    struct lora_pair *row;
    uint64_t bytes = 0;
    int rc = 0;

    if (!g || !g->pair)
        return 0;
    row = mem_array(n, sizeof *row, e);
    if (!row)
        return E_NOMEM;
    rc = rt_sync(d->rt);
    drop_adapter(d, g, slot);
    walk_adapter(d, s, &s->lora[slot], NULL, row, &bytes);
    if (bytes && !(g->adapter[slot].p = cuda_take(d, bytes))) {
        err_set(e, E_DEVICE, "cuda:%s: %llu bytes wanted for an adapter, %llu free", d->info.name,
                (unsigned long long)bytes, (unsigned long long)cuda_free_bytes(d));
        mem_free(row);
        return E_DEVICE;
    }
    g->adapter[slot].bytes = bytes;
    if (rc == 0 && bytes)
        rc = walk_adapter(d, s, &s->lora[slot], g->adapter[slot].p, row, &bytes);
    rc = rc < 0 ? rc : rt_copy(d->rt, g->pair + (uint64_t)slot * n, row, n * sizeof *row);
    rc = rc < 0 ? rc : rt_sync(d->rt);
    mem_free(row);
    return rc < 0 ? err_set(e, E_DEVICE, "cuda: an adapter cannot be copied: %s", rt_error()) : 0;
}

/* -- the segment -- */

static void drop_launches(struct cuda_seg *g)
{
    for (int i = 0; g->l && i <= g->cap; i++) {
        mem_free(g->l[i].args);
        g->l[i].args = NULL;
    }
    g->n = 0;
}

static int pass(struct prep *p)
{
    drop_launches(p->g);
    p->packed = (struct ref){-1, 0, 0};
    p->glu.out = NULL;
    p->sorted = -1;
    p->n_made = p->n_heads = 0;
    for (int i = 0; i < p->n_table; i++)
        p->table[i].emitted = false;
    for (int32_t i = p->s->from; i < p->s->to && p->rc == 0; i++) // in front of what may need them
        if (p->p->op[i].kind == OP_rope)
            cuda_rope_table(p, &p->p->op[i]);
    for (int32_t i = p->s->from; i < p->s->to && p->rc == 0; i++) {
        const struct op *op = &p->p->op[i];
        const int first = p->g->n;
        int done;

        if (!cuda_can(p->d, p->p, op)) {
            cuda_prep_fail(p, op, "has no kernel on this device");
            break;
        }
        done = cuda_low_heads(p, i);
        for (int k = 1; k < done; k++)
            p->s->kernel[i++ - p->s->from] = kern_heads.name;
        if (!done)
            cuda_lower(p, op);
        if (p->g->n == p->g->cap)
            cuda_prep_fail(p, op, "too many launches");
        for (int k = first; k < p->g->n; k++)
            p->g->l[k].record = i - p->s->from;
        p->s->kernel[i - p->s->from] = p->g->n > first ? p->g->l[p->g->n - 1].k->name : "cuda";
    }
    return p->rc;
}

void cuda_unprepare(struct dev *d, struct segment *s)
{
    struct cuda_seg *g = s->impl;

    if (g) {
        rt_sync(d->rt);
        for (int i = 0; i < BUCKETS; i++) {
            rt_graph_free(g->graph[0][i]);
            rt_graph_free(g->graph[1][i]);
        }
        drop_launches(g);
        for (int i = 0; g->adapter && i < s->n_lora; i++)
            drop_adapter(d, g, i);
        mem_free(g->adapter);
        mem_free(g->persist);
        cuda_choose_free(d, g->choose);
        for (int i = 0; i < g->n_mem; i++)
            cuda_give(d, g->mem[i].p, g->mem[i].bytes);
        for (int i = 0; i < CUDA_RUNS; i++)
            if (g->host[i])
                rt_free_host(d->rt, g->host[i]);
        mem_free(g->mem);
        mem_free(g->l);
        mem_free(g);
    }
    mem_free(s->kernel);
    s->impl = NULL;
    s->kernel = NULL;
}

static int build(struct prep *p)
{
    int rc;

    if (!lay_step(p) || !lay_adapters(p) || !cuda_choose_lay(p) || (rc = pass(p)) < 0)
        return p->rc ? p->rc : E_NOMEM;
    if (p->n_heads)
        p->heads = cuda_prep_mem(p, (uint64_t)p->n_heads * sizeof *p->heads);
    for (int i = 0; i < SLOTS && p->rc == 0; i++)
        if (p->want[i]) {
            p->slot[i] = cuda_prep_mem(p, p->want[i]);
            if (p->slot[i] && i == SLOT_TICKET && rt_zero(p->d->rt, p->slot[i], p->want[i]) < 0)
                p->rc = err_set(p->e, E_DEVICE, "cuda: %s", rt_error());
        }
    if (p->rc == 0 && pass(p) == 0)
        cuda_persist_lay(p);
    p->s->one_path = !p->d->wide && !p->d->wide_attn;
    if (p->rc == 0 && (record_graphs(p, false) < 0 ||
                       (p->g->share.rows && record_graphs(p, true) < 0) || rt_sync(p->d->rt) < 0))
        p->rc = err_set(p->e, E_DEVICE, "cuda: launches cannot be recorded: %s", rt_error());
    for (int i = 0; p->rc == 0 && p->g->adapter && i < p->s->n_lora; i++)
        p->rc = cuda_adapt(p->d, p->s, i, p->e);
    return p->rc;
}

int cuda_prepare(struct dev *d, struct segment *s, struct err *e)
{
    const int n = s->to - s->from;
    struct prep *p;
    struct cuda_seg *g;
    int rc = E_NOMEM;

    cuda_unprepare(d, s);
    if (n <= 0)
        return 0;
    p = mem_new(sizeof *p, e);
    if (!p)
        return E_NOMEM;
    *p = (struct prep){.d = d, .s = s, .p = s->plan, .e = e};
    s->kernel = mem_array((uint64_t)n, sizeof *s->kernel, e);
    s->impl = g = p->g = mem_new(sizeof *g, e);
    p->vec = mem_array((uint64_t)p->p->n_w + 1, sizeof *p->vec, e);
    if (s->kernel && g && p->vec) {
        g->cap = n * 24 + 1;
        g->l = mem_array((uint64_t)g->cap + 1, sizeof *g->l, e);
        if (g->l)
            rc = build(p);
    }
    mem_free(p->vec);
    mem_free(p);
    if (rc < 0)
        cuda_unprepare(d, s);
    return rc;
}
