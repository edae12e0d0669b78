/* prepare.c - turns a plan's records into steps, and finds where the team must meet.
 *
 * Every step says which memory it reads and writes, and whether a member touches its own rows of a
 * value only. Two steps need a meeting between them if they touch the same memory, one of them
 * writes, and they are not both by rows of the same value. So a norm, the packing of its result, a
 * rotation and a key/value store follow each other freely, and a layer of attention and a gated
 * network meets ten times (tests/kernels/test_cpu.c counts).
 */
#include <string.h>

#include "base/mem.h"
#include "kernels/cpu/prep.h"

void prep_fail(struct prep *p, int code, const char *what, const struct op *op)
{
    if (p->rc == 0)
        p->rc = err_set(p->e, code, "cpu: record %d: %s", (int)(op - p->p->op), what);
}

bool prep_want(struct prep *p, bool good, const struct op *op, const char *what)
{
    if (!good)
        prep_fail(p, E_UNSUPPORTED, what, op);
    return p->rc == 0;
}

void prep_own(struct prep *p, uint64_t bytes)
{
    p->own = p->own > bytes ? p->own : bytes;
}

/* -- memory of the segment -- */

int prep_new_slot(struct prep *p, uint64_t bytes)
{
    if (p->g->n_slot == SLOTS_MAX) {
        if (p->rc == 0)
            p->rc = err_set(p->e, E_UNSUPPORTED, "cpu: more than %d kinds of scratch", SLOTS_MAX);
        return 0;
    }
    p->slot_bytes[p->g->n_slot] = bytes;
    return p->g->n_slot++;
}

void prep_grow_slot(struct prep *p, int slot, uint64_t bytes)
{
    if (p->slot_bytes[slot] < bytes)
        p->slot_bytes[slot] = bytes;
}

/* n floats that live as long as the segment; NULL after an error. */
float *prep_keep(struct prep *p, uint64_t n)
{
    struct cpu_seg *g = p->g;
    float **list =
        mem_resize(g->vec, (uint64_t)g->n_vec, (uint64_t)g->n_vec + 1, sizeof *list, p->e);
    float *v = NULL;

    if (list) {
        g->vec = list;
        v = mem_array(n, sizeof *v, p->e);
    }
    if (!v) {
        p->rc = p->rc ? p->rc : E_NOMEM;
        return NULL;
    }
    g->vec[g->n_vec++] = v;
    return v;
}

/* A weight as plain floats: itself when it is F32, else converted. NULL for -1. */
const float *prep_vector(struct prep *p, int w, int64_t *n)
{
    const struct weight *from = w < 0 ? NULL : &p->p->w[w];
    const struct fmt_info *f = from ? fmt_find(from->fmt) : NULL;
    uint64_t total;
    float *v;

    if (n)
        *n = 0;
    if (!from || p->rc)
        return NULL;
    total = (uint64_t)from->n * (uint64_t)from->rows * (uint64_t)from->cols;
    if (n)
        *n = (int64_t)total;
    if (!f || total % (uint64_t)f->block) {
        p->rc = err_set(p->e, E_UNSUPPORTED, "cpu: %s: no such format", from->name);
        return NULL;
    }
    if (f->id == FMT_F32 && (uintptr_t)from->part[0].p % sizeof *v == 0)
        return from->part[0].p;
    v = prep_keep(p, total);
    if (v)
        f->decode(from->part[0].p, v, (size_t)(total / (uint64_t)f->block));
    return v;
}

void prep_matrix(struct prep *p, struct cpu_step *s, int w, int bias)
{
    const struct weight *from = &p->p->w[w];
    struct cpu_mat *m = &s->m[s->n_m++];
    uint64_t bytes;

    if (from->fmt < 0 || from->fmt >= CPU_FMT_MAX || !p->k->dot[from->fmt].rows ||
        !fmt_row_bytes(from->fmt, (uint64_t)from->cols, &bytes)) {
        if (p->rc == 0)
            p->rc = err_set(p->e, E_UNSUPPORTED, "cpu: %s: no kernel for its format", from->name);
        return;
    }
    m->fmt = from->fmt;
    m->dot = &p->k->dot[from->fmt];
    m->wide = cpu_wide_rows(p->tiles, m->dot);
    m->w = from->part[0].p;
    m->row_bytes = (size_t)bytes;
    m->each = bytes * (uint64_t)from->rows;
    m->n = from->n;
    m->rows = from->rows;
    m->cols = from->cols;
    m->bias = prep_vector(p, bias, NULL);
    m->bias_each = from->rows;
}

/* -- steps -- */

int64_t prep_max_rows(const struct prep *p, int rows)
{
    switch (rows) {
    case ROWS_T:
        return p->s->max_t;
    case ROWS_S:
        return p->s->max_s;
    case ROWS_E:
        return (int64_t)p->s->max_t * p->p->n_used;
    default:
        return 1;
    }
}

uint8_t prep_by_rows(int rows)
{
    return (uint8_t)(1 + (rows == ROWS_E ? ROWS_T : rows));
}

static void touches(struct prep *p, struct touch t)
{
    if (p->n_touch < TOUCH_MAX)
        p->touch[p->n_touch++] = t;
}

static struct cpu_val prep_value(const struct prep *p, struct ref r)
{
    const struct value *v;

    if (r.v < 0)
        return (struct cpu_val){0};
    v = &p->p->value[r.v];
    return (struct cpu_val){
        .at = p->s->at[r.v] + (uint64_t)r.at * sizeof(float),
        .ld = v->cols,
        .cols = r.cols,
        .rows = v->rows,
        .used = true,
    };
}

void prep_touch_value(struct prep *p, struct ref r, uint8_t by, bool write)
{
    const struct value *v;

    if (r.v < 0)
        return;
    v = &p->p->value[r.v];
    touches(p, (struct touch){IN_ARENA, p->s->at[r.v],
                              p->s->at[r.v] + (uint64_t)(prep_max_rows(p, v->rows) * v->cols) * 4,
                              r.at, r.at + r.cols, (uint32_t)r.v, by, write});
    for (int i = 0; write && i < PACKS; i++)
        if (p->pack[i].ref.v == r.v)
            p->pack[i].valid = false;
    if (write && p->sorted == r.v)
        p->sorted = -1;
}

void prep_touch_slot(struct prep *p, int slot, uint32_t key, uint8_t by, bool write)
{
    touches(p, (struct touch){IN_SLOT, (uint64_t)slot, (uint64_t)slot + 1, 0, 1, key, by, write});
}

void prep_touch_kv(struct prep *p, int32_t layer, bool write, uint8_t by)
{
    touches(p, (struct touch){IN_KV, (uint64_t)layer, (uint64_t)layer + 1, 0, 1, 0, by, write});
}

static bool clash(const struct touch *a, const struct touch *b)
{
    if (a->space != b->space || (!a->write && !b->write) || a->hi <= b->lo || b->hi <= a->lo)
        return false;
    if (a->key != b->key)
        return true;
    return a->col0 < b->col1 && b->col0 < a->col1 && !(a->by && a->by == b->by);
}

struct cpu_step *prep_begin(struct prep *p, cpu_fn *fn, const struct op *op)
{
    struct cpu_step *s = &p->g->step[p->g->n_step];

    if (p->g->n_step < p->cap)
        p->g->n_step++;
    memset(s, 0, sizeof *s);
    s->fn = fn;
    s->op = op;
    s->x.slot = s->to.slot = -1;
    for (int i = 0; i < 4; i++)
        s->in[i] = prep_value(p, op->in[i]);
    for (int i = 0; i < 2; i++)
        s->out[i] = prep_value(p, op->out[i]);
    p->n_old = p->n_touch;
    return s;
}

/* The step's touches are all named: must the team meet before it? */
void prep_end(struct prep *p, struct cpu_step *s)
{
    bool meet = p->n_touch == TOUCH_MAX; // some may be missing: the safe side

    for (int i = p->n_old; i < p->n_touch && !meet; i++)
        for (int j = 0; j < p->n_old && !meet; j++)
            meet = clash(&p->touch[i], &p->touch[j]);
    s->barrier = meet;
    if (meet) {
        memmove(p->touch, p->touch + p->n_old, (size_t)(p->n_touch - p->n_old) * sizeof *p->touch);
        p->n_touch -= p->n_old;
    }
    p->n_old = p->n_touch;
}

/* A step by rows: reads its inputs, writes its outputs. */
struct cpu_step *prep_by_row(struct prep *p, cpu_fn *fn, const struct op *op)
{
    struct cpu_step *s = prep_begin(p, fn, op);
    uint8_t by = prep_by_rows(s->out[0].rows);

    for (int i = 0; i < 4; i++)
        prep_touch_value(p, op->in[i], by, false);
    for (int i = 0; i < 2; i++)
        prep_touch_value(p, op->out[i], by, true);
    return s;
}

struct cpu_step *prep_by_column(struct prep *p, cpu_fn *fn, const struct op *op)
{
    struct cpu_step *s = prep_begin(p, fn, op);

    for (int i = 0; i < 4; i++)
        prep_touch_value(p, op->in[i], 0, false);
    for (int i = 0; i < 2; i++)
        prep_touch_value(p, op->out[i], 0, true);
    return s;
}

/* -- packed inputs -- */

/* f32 inputs of whole vectors need no packing: values are read where they are. */
bool prep_reads_plain(const struct prep *p, const struct cpu_mat *m)
{
    return m->dot->pack == p->k->dot[FMT_F32].pack &&
           m->dot->packed(m->cols) == (size_t)m->cols * 4;
}

static bool same_ref(struct ref a, struct ref b)
{
    return a.v == b.v && a.at == b.at && a.cols == b.cols;
}

/* A place for a value packed by a function in such a step; *found when it is there already. What
 * all rows have will do for some. */
static struct packed *pack_place(struct prep *p, struct ref r, cpu_fn *by,
                                 void (*pack)(const float *restrict, int64_t, void *restrict),
                                 size_t bytes, bool *found)
{
    struct packed *k;

    for (int i = 0; i < PACKS; i++) {
        k = &p->pack[i];
        *found = k->valid && k->pack == pack && (k->by == by || k->by == run_pack) &&
                 same_ref(k->ref, r);
        if (*found)
            return k;
    }
    k = &p->pack[p->turn++ % PACKS];
    *k = (struct packed){r, pack, by, {.slot = k->slot}, k->slot, ++p->key, true};
    k->x.stride = (bytes + 63) / 64 * 64;
    k->x.rest = by == run_pack_rest;
    return k;
}

/* Bytes of n packed rows that lie in such strides: tiles are read 32 rows at a time. */
static uint64_t packed_bytes(const struct prep *p, const struct packed *k, int rows)
{
    return k->x.stride * ((uint64_t)(prep_max_rows(p, rows) + 31) / 32 * 32);
}

/* in[0] packed for a matrix by run_pack, run_pack_rest or run_pack_tiles. */
static struct cpu_input packed_input(struct prep *p, const struct op *op, const struct cpu_mat *m,
                                     cpu_fn *by, uint32_t *key)
{
    const bool tiles = by == run_pack_tiles;
    bool found;
    struct packed *k =
        pack_place(p, op->in[0], by, tiles ? NULL : m->dot->pack,
                   tiles ? p->tiles->packed(m->cols) : m->dot->packed(m->cols), &found);

    *key = k->key;
    if (!found) {
        struct cpu_step *s = prep_begin(p, by, op);
        const uint8_t rows = prep_by_rows(s->in[0].rows);
        const struct cpu_groups *g = &m->dot->groups;
        uint64_t end = packed_bytes(p, k, s->in[0].rows);
        const uint64_t n = end / k->x.stride;

        if (!tiles && g->most) {
            k->x.groups_at = end;
            k->x.group = g->bytes(m->cols);
            end += (n + (uint64_t)g->most - 1) / (uint64_t)g->most * k->x.group;
            g = cpu_wide(p->tiles, m->dot);
            if (g) { /* matrices of any format may read them */
                k->x.wide_at = end;
                k->x.wide = g->bytes(m->cols);
                end += (n + (uint64_t)g->most - 1) / (uint64_t)g->most * k->x.wide;
            }
        }
        s->m[0] = *m;
        s->n_m = 1;
        s->m[0].wide = k->x.wide ? cpu_wide(p->tiles, m->dot) : NULL;
        s->tiles = tiles ? p->tiles : NULL;
        s->x = s->xt = k->x;
        prep_grow_slot(p, k->slot, end);
        prep_touch_value(p, op->in[0], rows, false);
        prep_touch_slot(p, k->slot, k->key, rows, true);
        prep_end(p, s);
    }
    return k->x;
}

/* Makes in[0] available in the form that matrix w wants, by a step if need be; *key names it. */
static struct cpu_input input_for(struct prep *p, const struct op *op, int w, cpu_fn *by,
                                  uint32_t *key)
{
    struct cpu_step probe = {.n_m = 0};

    *key = 0;
    prep_matrix(p, &probe, w, -1);
    if (p->rc ||
        !prep_want(p, probe.m[0].cols == op->in[0].cols, op, "input is not as wide as the matrix"))
        return (struct cpu_input){-1, 0};
    if (by != run_pack_tiles && prep_reads_plain(p, &probe.m[0]))
        return (struct cpu_input){-1, (size_t)p->p->value[op->in[0].v].cols * sizeof(float)};
    return packed_input(p, op, &probe.m[0], by, key);
}

struct cpu_input prep_input_for(struct prep *p, const struct op *op, int w, uint32_t *key)
{
    return input_for(p, op, w, run_pack, key);
}

/* Prompt rows go the second path where every matrix has it, and rows are the batch's. */
static bool tiled(const struct prep *p, const struct op *op, int n_w)
{
    if (!p->tiles || op->in[0].v < 0 || p->p->value[op->in[0].v].rows != ROWS_T)
        return false;
    for (int i = 0; i < n_w; i++) {
        const int fmt = op->w[i] < 0 ? -1 : p->p->w[op->w[i]].fmt;

        if (op->w[i] < 0)
            continue;
        if (fmt < 0 || fmt >= CPU_FMT_MAX || !p->tiles->takes(fmt))
            return false;
    }
    return true;
}

/* Whether all that ever reads what op writes to out[0] is the next record, a linear whose prompt
 * rows go the second path. */
static bool next_takes_tiles(const struct prep *p, const struct op *op)
{
    const int32_t at = (int32_t)(op - p->p->op) + 1, v = op->out[0].v;
    const struct op *next = &p->p->op[at];

    if (v == p->p->logits || v == p->p->hidden || at >= p->s->to || next->kind != OP_linear ||
        !same_ref(next->in[0], op->out[0]) || next->in[1].v == v || !tiled(p, next, 1))
        return false;
    for (int32_t i = at; i < p->p->n_op; i++) {
        const struct op *o = &p->p->op[i];

        for (int k = 0; k < 4 && i > at; k++)
            if (o->in[k].v == v)
                return false;
        if (o->out[0].v == v || o->out[1].v == v)
            break;
    }
    return true;
}

void prep_result(struct prep *p, struct cpu_step *s)
{
    const struct ref r = s->op->out[0];
    struct packed *k;
    bool found;

    if (!s->tiles || !next_takes_tiles(p, s->op))
        return;
    while (p->pack[p->turn % PACKS].slot == s->x.slot || /* they are being read */
           p->pack[p->turn % PACKS].slot == s->xt.slot)
        p->turn++;
    k = pack_place(p, r, run_pack_tiles, NULL, p->tiles->packed(r.cols), &found);
    prep_grow_slot(p, k->slot, packed_bytes(p, k, s->out[0].rows));
    prep_touch_slot(p, k->slot, k->key, 0, true);
    s->to = k->x;
}

bool prep_rounds(const struct prep *p)
{
    for (int32_t i = 0; i < p->p->n_op; i++) {
        const struct op *op = &p->p->op[i];

        if ((op->kind == OP_linear && tiled(p, op, 1)) ||
            (op->kind == OP_linear_multi && tiled(p, op, 4)) ||
            (op->kind == OP_glu && tiled(p, op, op->a.lin.fused ? 1 : 2)))
            return true;
    }
    return false;
}

struct prep_inputs prep_inputs_for(struct prep *p, const struct op *op, int n_w)
{
    struct prep_inputs in = {.tiles = tiled(p, op, n_w) ? p->tiles : NULL};

    if (in.tiles)
        in.xt = input_for(p, op, op->w[0], run_pack_tiles, &in.key_t);
    in.x = input_for(p, op, op->w[0], in.tiles ? run_pack_rest : run_pack, &in.key);
    return in;
}

void prep_use(struct prep *p, struct cpu_step *s, const struct prep_inputs *in)
{
    s->x = in->x;
    s->xt = in->xt;
    s->tiles = in->tiles;
    if (in->x.slot >= 0)
        prep_touch_slot(p, in->x.slot, in->key, 0, false);
    if (!in->tiles)
        return;
    prep_touch_slot(p, in->xt.slot, in->key_t, 0, false);
    prep_own(p, tiles_own(in->tiles));
    p->s->one_path = false;
}

int prep_pack_slot(struct prep *p)
{
    struct packed *k = &p->pack[p->turn++ % PACKS];

    k->valid = false;
    return k->slot;
}

/* -- the whole segment -- */

static bool lay_out(struct prep *p)
{
    struct cpu_seg *g = p->g;
    uint64_t at = 0;

    g->slot_at = mem_array((uint64_t)g->n_slot, sizeof *g->slot_at, p->e);
    if (!g->slot_at)
        return false;
    for (int i = 0; i < g->n_slot; i++) {
        g->slot_at[i] = at;
        at +=
            (p->slot_bytes[i] + 63) / 64 * 64 + 64; // 64: rows may be read a vector past their end
    }
    g->next = mem_array(2 * (uint64_t)g->n_step, sizeof *g->next, p->e);
    if (!g->next)
        return false;
    g->own_at = (at + 4095) / 4096 * 4096;
    g->own_bytes = (p->own + 4095) / 4096 * 4096;
    g->bytes = g->own_at + g->own_bytes * (uint64_t)p->n_member;
    g->scratch = mem_pages(g->bytes, p->e);
    return g->scratch != NULL;
}

static const char *kernel_name(const struct prep *p, int first)
{
    const struct cpu_step *last = &p->g->step[p->g->n_step - 1];

    if (p->g->n_step > first && last->tiles) /* attention has no matrix */
        return last->n_m > 0 ? last->tiles->takes(last->m[0].fmt) : "bf16 tiles";
    if (p->g->n_step > first && last->n_m > 0 && last->fn != run_embed && last->m[0].dot)
        return last->m[0].dot->name;
    return p->k->name;
}

/* Multiplications of one row; of a stack of experts those that it uses. */
static uint64_t work_of(const struct prep *p)
{
    uint64_t sum = 0;

    for (int i = 0; i < p->g->n_step; i++) {
        const struct cpu_step *s = &p->g->step[i];
        const bool routed = s->fn == run_moe_glu || s->fn == run_moe_down;

        if (s->fn != run_linear && s->fn != run_glu && s->fn != run_linear_heads && !routed)
            continue;
        for (int k = 0; k < 4; k++)
            sum += (uint64_t)(s->m[k].rows * s->m[k].cols) *
                   (uint64_t)(routed ? p->p->n_used : s->m[k].n);
    }
    return sum;
}

void cpu_unprepare(struct segment *s)
{
    struct cpu_seg *g = s->impl;

    if (g) {
        for (int i = 0; i < g->n_vec; i++)
            mem_free(g->vec[i]);
        mem_free(g->vec);
        mem_free(g->step);
        mem_free(g->slot_at);
        mem_free(g->next);
        mem_unpages(g->scratch, g->bytes);
        mem_free(g);
    }
    mem_free(s->kernel);
    s->impl = NULL;
    s->kernel = NULL;
}

static int all_records(struct prep *p)
{
    for (int32_t i = p->s->from; i < p->s->to && p->rc == 0; i++) {
        const struct op *op = &p->p->op[i];
        const int first = p->g->n_step;

        cpu_lower(p, op);
        if (p->rc == 0)
            p->s->kernel[i - p->s->from] = kernel_name(p, first);
    }
    return p->rc;
}

int cpu_prepare(struct dev *d, struct segment *s, struct err *e)
{
    const int n = s->to - s->from;
    struct prep *p;
    int rc = E_NOMEM;

    cpu_unprepare(s);
    if (n <= 0)
        return 0;
    p = mem_new(sizeof *p, e);
    if (!p)
        return E_NOMEM;
    *p = (struct prep){.s = s,
                       .p = s->plan,
                       .k = d->k,
                       .tiles = d->tiles,
                       .e = e,
                       .n_member = team_size(d->team),
                       .cap = n * 5 + 1,
                       .sorted = -1,
                       .sort_slot = -1,
                       .part_slot = -1};
    s->kernel = mem_array((uint64_t)n, sizeof *s->kernel, e);
    s->one_path =
        true; // kernels do not ask what kind of row they work on, but for tiles (prep_use)
    s->impl = p->g = mem_new(sizeof *p->g, e);
    if (!s->kernel || !p->g)
        goto out;
    p->g->step = mem_array((uint64_t)p->cap + 1, sizeof *p->g->step, e);
    if (!p->g->step)
        goto out;
    for (int i = 0; i < PACKS; i++)
        p->pack[i] = (struct packed){.ref = {-1, 0, 0}, .slot = prep_new_slot(p, 0)};
    rc = all_records(p);
    if (rc == 0 && !lay_out(p))
        rc = E_NOMEM;
    p->g->work = work_of(p);
out:
    mem_free(p);
    if (rc < 0)
        cpu_unprepare(s);
    return rc;
}
