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
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/fmath.h"

#define SLOTS_MAX 64
#define TOUCH_MAX 256
#define PACKS     3             // inputs kept packed at a time
#define PARTS_MAX (32ull << 20) // bytes of attention partials, unless one row needs more

enum space { IN_ARENA, IN_SLOT, IN_KV, IN_STATE };

struct touch {
    int space;
    uint64_t lo, hi;    // bytes of the arena; otherwise a number and the one after it
    int32_t col0, col1; // columns of a value
    uint32_t key;       // equal keys: the same rows lie in the same places
    uint8_t by;         // how rows are dealt out: 0 not by rows, else 1 + enum row_kind
    bool write;
};

struct packed {
    struct ref ref;
    void (*pack)(const float *restrict x, int64_t n, void *restrict out);
    struct cpu_input x;
    int slot;
    uint32_t key;
    bool valid;
};

struct table {
    struct rope_args a;
    int16_t factors;
    int slot;
};

struct prep {
    struct segment *s;
    const struct plan *p;
    const struct cpu_kernels *k;
    struct cpu_seg *g;
    struct err *e;
    int rc;
    int n_member, cap;
    uint64_t slot_bytes[SLOTS_MAX];
    struct touch touch[TOUCH_MAX];
    int n_touch, n_old; // [0, n_old): of steps since the last meeting; the rest: of this step
    struct packed pack[PACKS];
    int turn;
    uint32_t key;
    int32_t sorted; // value of ids that the order slot holds, -1: none
    int sort_slot, part_slot;
    struct table table[SLOTS_MAX];
    int n_table;
    uint64_t own;
};

static void fail(struct prep *p, int code, const char *what, const struct op *op)
{
    if (p->rc == 0)
        p->rc = err_set(p->e, code, "cpu: record %d: %s", (int)(op - p->p->op), what);
}

static bool want(struct prep *p, bool good, const struct op *op, const char *what)
{
    if (!good)
        fail(p, E_UNSUPPORTED, what, op);
    return p->rc == 0;
}

static void own(struct prep *p, uint64_t bytes)
{
    p->own = p->own > bytes ? p->own : bytes;
}

/* -- memory of the segment -- */

static int new_slot(struct prep *p, uint64_t bytes)
{
    if (p->g->n_slot == SLOTS_MAX) {
        if (p->rc == 0)
            p->rc = err_set(p->e, E_UNSUPPORTED, "cpu: more than %d kinds of scratch", SLOTS_MAX);
        return 0;
    }
    p->slot_bytes[p->g->n_slot] = bytes;
    return p->g->n_slot++;
}

static void grow_slot(struct prep *p, int slot, uint64_t bytes)
{
    if (p->slot_bytes[slot] < bytes)
        p->slot_bytes[slot] = bytes;
}

/* n floats that live as long as the segment; NULL after an error. */
static float *keep(struct prep *p, uint64_t n)
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
static const float *vector(struct prep *p, int w, int64_t *n)
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
    v = keep(p, total);
    if (v)
        f->decode(from->part[0].p, v, (size_t)(total / (uint64_t)f->block));
    return v;
}

static void matrix(struct prep *p, struct cpu_step *s, int w, int bias)
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
    m->dot = &p->k->dot[from->fmt];
    m->w = from->part[0].p;
    m->row_bytes = (size_t)bytes;
    m->each = bytes * (uint64_t)from->rows;
    m->n = from->n;
    m->rows = from->rows;
    m->cols = from->cols;
    m->bias = vector(p, bias, NULL);
    m->bias_each = from->rows;
}

/* -- steps -- */

static int64_t max_rows(const struct prep *p, int rows)
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

static uint8_t by_rows(int rows)
{
    return (uint8_t)(1 + (rows == ROWS_E ? ROWS_T : rows));
}

static void touches(struct prep *p, struct touch t)
{
    if (p->n_touch < TOUCH_MAX)
        p->touch[p->n_touch++] = t;
}

static struct cpu_val value(const struct prep *p, struct ref r)
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

/* by: by_rows(...) or 0. */
static void touch_value(struct prep *p, struct ref r, uint8_t by, bool write)
{
    const struct value *v;

    if (r.v < 0)
        return;
    v = &p->p->value[r.v];
    touches(p, (struct touch){IN_ARENA, p->s->at[r.v],
                              p->s->at[r.v] + (uint64_t)(max_rows(p, v->rows) * v->cols) * 4, r.at,
                              r.at + r.cols, (uint32_t)r.v, by, write});
    for (int i = 0; write && i < PACKS; i++)
        if (p->pack[i].ref.v == r.v)
            p->pack[i].valid = false;
    if (write && p->sorted == r.v)
        p->sorted = -1;
}

static void touch_slot(struct prep *p, int slot, uint32_t key, uint8_t by, bool write)
{
    touches(p, (struct touch){IN_SLOT, (uint64_t)slot, (uint64_t)slot + 1, 0, 1, key, by, write});
}

static void touch_other(struct prep *p, int space, int32_t number, bool write, uint8_t by)
{
    touches(p, (struct touch){space, (uint64_t)number, (uint64_t)number + 1, 0, 1, 0, by, write});
}

static bool clash(const struct touch *a, const struct touch *b)
{
    if (a->space != b->space || (!a->write && !b->write) || a->hi <= b->lo || b->hi <= a->lo)
        return false;
    if (a->key != b->key)
        return true;
    return a->col0 < b->col1 && b->col0 < a->col1 && !(a->by && a->by == b->by);
}

static struct cpu_step *begin(struct prep *p, cpu_fn *fn, const struct op *op)
{
    struct cpu_step *s = &p->g->step[p->g->n_step];

    if (p->g->n_step < p->cap)
        p->g->n_step++;
    memset(s, 0, sizeof *s);
    s->fn = fn;
    s->op = op;
    s->x.slot = -1;
    for (int i = 0; i < 4; i++)
        s->in[i] = value(p, op->in[i]);
    for (int i = 0; i < 2; i++)
        s->out[i] = value(p, op->out[i]);
    p->n_old = p->n_touch;
    return s;
}

/* The step's touches are all named: must the team meet before it? */
static void end(struct prep *p, struct cpu_step *s)
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
static struct cpu_step *by_row(struct prep *p, cpu_fn *fn, const struct op *op)
{
    struct cpu_step *s = begin(p, fn, op);
    uint8_t by = by_rows(s->out[0].rows);

    for (int i = 0; i < 4; i++)
        touch_value(p, op->in[i], by, false);
    for (int i = 0; i < 2; i++)
        touch_value(p, op->out[i], by, true);
    return s;
}

static struct cpu_step *by_column(struct prep *p, cpu_fn *fn, const struct op *op)
{
    struct cpu_step *s = begin(p, fn, op);

    for (int i = 0; i < 4; i++)
        touch_value(p, op->in[i], 0, false);
    for (int i = 0; i < 2; i++)
        touch_value(p, op->out[i], 0, true);
    return s;
}

/* -- packed inputs -- */

/* f32 inputs of whole vectors need no packing: values are read where they are. */
static bool reads_plain(const struct prep *p, const struct cpu_mat *m)
{
    return m->dot->pack == p->k->dot[FMT_F32].pack &&
           m->dot->packed(m->cols) == (size_t)m->cols * 4;
}

/* A place for in[0] of op packed for m; *found when it is there already. */
static struct packed *pack_place(struct prep *p, struct ref r, const struct cpu_mat *m, bool *found)
{
    struct packed *k;

    for (int i = 0; i < PACKS; i++) {
        k = &p->pack[i];
        *found = k->valid && k->pack == m->dot->pack && k->ref.v == r.v && k->ref.at == r.at &&
                 k->ref.cols == r.cols;
        if (*found)
            return k;
    }
    k = &p->pack[p->turn++ % PACKS];
    *k = (struct packed){r, m->dot->pack, {k->slot, 0}, k->slot, ++p->key, true};
    k->x.stride = (m->dot->packed(m->cols) + 63) / 64 * 64;
    return k;
}

/* Makes in[0] available in the form that matrix w wants, by a step if need be; *key names it. */
static struct cpu_input input_for(struct prep *p, const struct op *op, int w, uint32_t *key)
{
    struct cpu_step probe = {.n_m = 0};
    struct packed *k;
    bool found;

    *key = 0;
    matrix(p, &probe, w, -1);
    if (p->rc ||
        !want(p, probe.m[0].cols == op->in[0].cols, op, "input is not as wide as the matrix"))
        return (struct cpu_input){-1, 0};
    if (reads_plain(p, &probe.m[0]))
        return (struct cpu_input){-1, (size_t)p->p->value[op->in[0].v].cols * sizeof(float)};
    k = pack_place(p, op->in[0], &probe.m[0], &found);
    *key = k->key;
    if (!found) {
        struct cpu_step *s = begin(p, run_pack, op);
        uint8_t by = by_rows(s->in[0].rows);

        s->m[0] = probe.m[0];
        s->n_m = 1;
        s->x = k->x;
        grow_slot(p, k->slot, k->x.stride * (uint64_t)max_rows(p, s->in[0].rows));
        touch_value(p, op->in[0], by, false);
        touch_slot(p, k->slot, k->key, by, true);
        end(p, s);
    }
    return k->x;
}

/* -- records -- */

static void low_embed(struct prep *p, const struct op *op)
{
    struct cpu_step *s = by_row(p, run_embed, op);

    matrix(p, s, op->w[0], -1);
    if (op->w[1] >= 0)
        matrix(p, s, op->w[1], -1);
    for (int i = 0; i < s->n_m; i++)
        want(p, s->m[i].cols == op->out[0].cols, op, "table is not as wide as the value");
    own(p, (uint64_t)op->out[0].cols * sizeof(float));
    end(p, s);
}

static void low_take_rows(struct prep *p, const struct op *op)
{
    end(p, by_column(p, run_take_rows, op));
}

static void low_norm(struct prep *p, const struct op *op)
{
    const bool layer = op->kind == OP_layernorm;
    struct cpu_step *s = by_row(p, layer ? run_layernorm : run_rmsnorm, op);
    const int32_t n = op->out[0].cols, group = op->a.norm.group ? op->a.norm.group : n;
    int64_t n_w = 0, n_b = 0;

    s->vec[0] = vector(p, op->w[0], &n_w);
    if (layer)
        s->vec[1] = vector(p, op->w[1], &n_b);
    n_w = n_w ? n_w : n_b;
    s->n_vec = (int32_t)(n_w ? n_w : n);
    want(p,
         group > 0 && n % group == 0 && (n_w == 0 || n_w == n || n_w == group) &&
             (n_b == 0 || n_b == n_w) && op->in[0].cols == n,
         op, "widths of the norm disagree");
    end(p, s);
}

static void low_linear(struct prep *p, const struct op *op)
{
    const bool multi = op->kind == OP_linear_multi;
    int64_t total = 0;
    uint32_t key;
    struct cpu_input x = input_for(p, op, op->w[0], &key);
    struct cpu_step *s = by_column(p, run_linear, op);

    for (int i = 0; i < (multi ? 4 : 1) && op->w[i] >= 0 && p->rc == 0; i++) {
        matrix(p, s, op->w[i], op->w[multi ? 4 + i : 1]);
        total += s->m[i].rows;
        if (s->m[i].dot && s->m[i].dot->pack != s->m[0].dot->pack)
            fail(p, E_UNSUPPORTED, "matrices of one input want it in different forms", op);
    }
    want(p, total == op->out[0].cols, op, "result is not as wide as the matrices");
    s->x = x;
    if (x.slot >= 0)
        touch_slot(p, x.slot, key, 0, false);
    own(p, CPU_TILE * sizeof(float));
    end(p, s);
}

static void low_linear_heads(struct prep *p, const struct op *op)
{
    struct cpu_step probe = {.n_m = 0};
    struct cpu_step *s;
    struct cpu_input x = {-1, 0};
    uint32_t key = 0;

    matrix(p, &probe, op->w[0], -1);
    if (p->rc || !want(p,
                       probe.m[0].n == op->a.heads.n_head && probe.m[0].cols == op->a.heads.n_in &&
                           probe.m[0].rows == op->a.heads.n_out,
                       op, "stack of matrices and heads disagree"))
        return;
    if (reads_plain(p, &probe.m[0])) {
        x.stride = (size_t)p->p->value[op->in[0].v].cols * sizeof(float);
    } else {
        struct packed *k = &p->pack[p->turn++ % PACKS];

        k->valid = false; // by heads: of no use to others
        key = ++p->key;
        x = (struct cpu_input){k->slot, (probe.m[0].dot->packed(probe.m[0].cols) + 63) / 64 * 64};
        s = begin(p, run_pack_heads, op);
        s->m[0] = probe.m[0];
        s->x = x;
        grow_slot(p, x.slot,
                  x.stride * (uint64_t)(max_rows(p, s->in[0].rows) * op->a.heads.n_head));
        touch_value(p, op->in[0], by_rows(s->in[0].rows), false);
        touch_slot(p, x.slot, key, by_rows(s->in[0].rows), true);
        end(p, s);
    }
    s = by_column(p, run_linear_heads, op);
    s->m[0] = probe.m[0];
    s->x = x;
    if (x.slot >= 0)
        touch_slot(p, x.slot, key, 0, false);
    own(p, CPU_TILE * sizeof(float));
    end(p, s);
}

/* Gate and up of a step: two matrices, or the halves of one. */
static void gate_up(struct prep *p, struct cpu_step *s, const struct op *op, bool fused)
{
    matrix(p, s, op->w[0], op->w[2]);
    if (!fused) {
        matrix(p, s, op->w[1], op->w[3]);
        return;
    }
    s->m[0].rows /= 2;
    s->m[1] = s->m[0];
    s->n_m = 2;
    if (p->rc == 0)
        s->m[1].w += (uint64_t)s->m[0].rows * s->m[0].row_bytes;
    if (s->m[0].bias)
        s->m[1].bias = s->m[0].bias + s->m[0].rows;
}

static void low_glu(struct prep *p, const struct op *op)
{
    uint32_t key;
    struct cpu_input x = input_for(p, op, op->w[0], &key);
    struct cpu_step *s = by_column(p, run_glu, op);

    gate_up(p, s, op, op->a.lin.fused || op->w[1] < 0);
    if (p->rc == 0 && want(p, s->m[0].rows == op->out[0].cols && s->m[1].rows == s->m[0].rows, op,
                           "result is not as wide as the matrices"))
        want(p, s->m[0].dot->pack == s->m[1].dot->pack, op,
             "gate and up want their input in different forms");
    s->x = x;
    if (x.slot >= 0)
        touch_slot(p, x.slot, key, 0, false);
    own(p, 2 * CPU_TILE * sizeof(float));
    end(p, s);
}

/* -- rotary positions -- */

/* The pair whose wave turns b times within the original context. */
static double yarn_pair(const struct rope_args *a, double b)
{
    return a->n_rot * d_log(a->n_ctx_orig / (b * 6.283185307179586)) / (2.0 * d_log(a->base));
}

/* Radians per position of each pair, rounded once to single precision. */
static void frequencies(float *freq, const struct rope_args *a, const float *factor)
{
    double low = 0.0, high = 0.0;

    if (a->ext_factor != 0.0f) {
        low = yarn_pair(a, a->beta_fast);
        high = yarn_pair(a, a->beta_slow);
        if (!a->ramp_exact) {
            low = (double)(int64_t)low - ((double)(int64_t)low > low);
            high = (double)(int64_t)high + ((double)(int64_t)high < high);
        }
        low = low < 0.0 ? 0.0 : low;
        high = high > a->n_rot - 1 ? a->n_rot - 1 : high;
    }
    for (int i = 0; i < a->n_rot / 2; i++) {
        double f = d_exp(-2.0 * i / a->n_rot * d_log(a->base)), mix = 0.0;

        if (factor)
            f /= factor[i];
        if (a->ext_factor != 0.0f) {
            double ramp = (i - low) / (high - low > 0.001 ? high - low : 0.001);
            mix = (1.0 - (ramp < 0.0 ? 0.0 : ramp > 1.0 ? 1.0 : ramp)) * a->ext_factor;
        }
        freq[i] = (float)(f * a->freq_scale * (1.0 - mix) + f * mix);
    }
}

static bool same_rotation(const struct rope_args *a, const struct rope_args *b)
{
    return a->n_rot == b->n_rot && a->mode == b->mode && a->n_ctx_orig == b->n_ctx_orig &&
           a->base == b->base && a->freq_scale == b->freq_scale && a->ext_factor == b->ext_factor &&
           a->attn_factor == b->attn_factor && a->beta_fast == b->beta_fast &&
           a->beta_slow == b->beta_slow && a->ramp_exact == b->ramp_exact;
}

/* The slot of a table for this rotation, with a step that fills it if none does yet. */
static int rope_table(struct prep *p, const struct op *op)
{
    const struct rope_args *a = &op->a.rope;
    const int16_t factors = op->w[0];
    struct cpu_step *s;
    int64_t n_factor;
    const float *factor;
    float *freq;
    int slot;

    for (int i = 0; i < p->n_table; i++)
        if (p->table[i].factors == factors && same_rotation(&p->table[i].a, a))
            return p->table[i].slot;
    if (!want(p, a->n_rot > 0 && a->n_rot % 2 == 0 && a->base > 0.0f, op, "bad rotation"))
        return 0;
    factor = vector(p, factors, &n_factor);
    want(p, !factor || n_factor >= a->n_rot / 2, op, "too few rotation factors");
    slot = new_slot(p, (uint64_t)p->s->max_t * 2 * (uint64_t)a->n_rot * sizeof(float));
    freq = keep(p, (uint64_t)a->n_rot / 2);
    if (p->rc)
        return 0;
    frequencies(freq, a, factor);
    p->table[p->n_table++] = (struct table){*a, factors, slot};
    s = begin(p, run_rope_table, op);
    s->slot[0] = slot;
    s->vec[0] = freq;
    touch_slot(p, slot, 0, by_rows(ROWS_T), true);
    end(p, s);
    return slot;
}

static void low_rope(struct prep *p, const struct op *op)
{
    const struct rope_args *a = &op->a.rope;
    int slot = rope_table(p, op);
    struct cpu_step *s;

    if (!want(p,
              a->n_head > 0 && a->at_in + a->n_rot <= a->head_in &&
                  a->at_out + a->n_rot <= a->head_out &&
                  (int64_t)a->n_head * a->head_in <= op->in[0].cols &&
                  (int64_t)a->n_head * a->head_out <= op->out[0].cols,
              op, "heads do not fit the values"))
        return;
    s = by_row(p, run_rope, op);
    s->slot[0] = slot;
    touch_slot(p, slot, 0, by_rows(ROWS_T), false);
    end(p, s);
}

/* -- attention -- */

static bool attn_fits(struct prep *p, const struct op *op)
{
    const struct attn_args *a = &op->a.attn;
    const struct plan *pl = p->p;

    if (!want(p, a->kv >= 0 && a->kv < pl->n_kv, op, "no such key/value layer") ||
        !want(p,
              (pl->kv_type_k == FMT_F32 || pl->kv_type_k == FMT_F16) &&
                  (pl->kv_type_v == FMT_F32 || pl->kv_type_v == FMT_F16),
              op, "key/value memory must be F32 or F16"))
        return false;
    const struct kv_layer *l = &pl->kv[a->kv];
    return want(p, l->n_kv == a->n_kv && l->dk == a->dk && (a->v_in_k || l->dv == a->dv), op,
                "key/value layer has another shape");
}

static void low_kv_store(struct prep *p, const struct op *op)
{
    struct cpu_step *s;

    if (!attn_fits(p, op))
        return;
    s = begin(p, run_kv_store, op);
    touch_value(p, op->in[0], by_rows(ROWS_T), false);
    touch_value(p, op->in[1], by_rows(ROWS_T), false);
    touch_other(p, IN_KV, op->a.attn.kv, true, by_rows(ROWS_T));
    want(p, (int64_t)op->a.attn.n_kv * op->a.attn.dk == op->in[0].cols, op, "K has another width");
    end(p, s);
}

/* Slopes of attention with linear biases (arXiv 2108.12409): powers of 2^(-alibi / n) for n heads,
 * n the power of two below; heads past it take the odd half steps between. */
static const float *slopes(struct prep *p, const struct attn_args *a)
{
    int pow2 = 1;
    float *s;

    if (a->alibi == 0.0f)
        return NULL;
    while (pow2 * 2 <= a->n_head)
        pow2 *= 2;
    s = keep(p, (uint64_t)a->n_head);
    for (int h = 0; s && h < a->n_head; h++) {
        double step = h < pow2 ? h + 1.0 : h - pow2 + 0.5;
        s[h] = (float)d_exp(-a->alibi * step / pow2 * 0.6931471805599453);
    }
    return s;
}

/* Room for partials: every chunk of a row's history, for as many rows as may be dealt out by chunks
 * (run_attn.c) and PARTS_MAX has place for. */
static uint64_t parts_bytes(const struct prep *p, const struct attn_args *a)
{
    const uint64_t n_chunk = ((uint64_t)p->p->n_ctx + CPU_CHUNK - 1) / CPU_CHUNK;
    const uint64_t row = (uint64_t)a->n_head * n_chunk * (uint64_t)part_floats(a) * sizeof(float);
    uint64_t rows = 4 * (uint64_t)p->n_member / (uint64_t)a->n_kv;

    if (p->n_member == 1 || n_chunk < 2)
        return 0;
    rows = rows < PARTS_MAX / row ? rows : PARTS_MAX / row;
    rows = rows < (uint64_t)p->s->max_t ? rows : (uint64_t)p->s->max_t;
    return row * (rows ? rows : 1);
}

static void low_attn(struct prep *p, const struct op *op)
{
    const struct attn_args *a = &op->a.attn;
    struct cpu_step *s;
    const float *sink, *slope;
    int64_t n_sink;

    if (!attn_fits(p, op) || !want(p,
                                   a->n_kv > 0 && a->n_head % a->n_kv == 0 &&
                                       (int64_t)a->n_head * a->dk == op->in[0].cols &&
                                       (int64_t)a->n_head * a->dv == op->out[0].cols &&
                                       a->dv <= a->dk + (a->v_in_k ? 0 : a->dv),
                                   op, "heads and widths disagree"))
        return;
    sink = vector(p, op->w[0], &n_sink);
    want(p, !sink || n_sink == a->n_head, op, "one sink per head expected");
    slope = slopes(p, a);
    if (p->part_slot < 0)
        p->part_slot = new_slot(p, 0);
    own(p, attn_own(a));
    for (int i = 0; i < 2; i++) {
        s = i == 0 ? by_column(p, run_attn, op) : begin(p, run_attn_merge, op);
        s->vec[0] = sink;
        s->vec[1] = slope;
        s->slot[0] = p->part_slot;
        s->slot_bytes = parts_bytes(p, a);
        grow_slot(p, p->part_slot, s->slot_bytes);
        touch_slot(p, p->part_slot, 0, 0, i == 0);
        if (i == 0)
            touch_other(p, IN_KV, a->kv, false, 0);
        else
            touch_value(p, op->out[0], by_rows(ROWS_T), true);
        end(p, s);
    }
}

/* -- experts -- */

static bool whole(const struct prep *p, struct ref r)
{
    return r.v >= 0 && r.at == 0 && r.cols == p->p->value[r.v].cols;
}

static void low_route(struct prep *p, const struct op *op)
{
    const struct moe_args *a = &op->a.moe;
    struct cpu_step *s = by_row(p, run_route, op);
    int64_t n_bias;

    s->vec[0] = vector(p, op->w[0], &n_bias);
    want(p,
         a->n_expert > 0 && a->n_used > 0 && a->n_used <= a->n_expert &&
             a->n_used == p->p->n_used && op->in[0].cols == a->n_expert &&
             (!s->vec[0] || n_bias == a->n_expert) && a->n_group <= MOE_GROUPS_MAX &&
             (a->n_group < 2 || a->n_expert % a->n_group == 0) && whole(p, op->out[0]) &&
             whole(p, op->out[1]),
         op, "router and experts disagree");
    own(p, 2 * (uint64_t)a->n_expert * sizeof(float));
    end(p, s);
}

/* The order of pairs by expert, for ids in in[1]. */
static void sorted(struct prep *p, const struct op *op)
{
    struct cpu_step *s;

    if (p->sort_slot < 0)
        p->sort_slot = new_slot(p, 0);
    grow_slot(p, p->sort_slot, sort_bytes(p->s, op->a.moe.n_expert));
    if (p->sorted == op->in[1].v)
        return;
    s = begin(p, run_sort, op);
    s->slot[0] = p->sort_slot;
    touch_value(p, op->in[1], 0, false);
    touch_slot(p, p->sort_slot, 0, 0, true);
    end(p, s);
    p->sorted = op->in[1].v;
}

static void low_moe_glu(struct prep *p, const struct op *op)
{
    const struct moe_args *a = &op->a.moe;
    uint32_t key, key2 = ++p->key;
    struct cpu_input x = input_for(p, op, op->w[0], &key);
    struct cpu_step *s = NULL;
    struct packed *k = &p->pack[p->turn++ % PACKS];

    if (p->rc || !want(p, whole(p, op->in[1]), op, "expert ids must be a whole value"))
        return;
    if (k->slot == x.slot)
        k = &p->pack[p->turn++ % PACKS];
    k->valid = false;
    sorted(p, op);
    for (int i = 0; i < 2; i++) {
        s = i == 0 ? begin(p, run_gather, op) : by_column(p, run_moe_glu, op);
        gate_up(p, s, op, op->w[1] < 0);
        s->x = x;
        s->slot[0] = p->sort_slot;
        s->slot[1] = k->slot;
        if (i == 0)
            touch_value(p, op->in[0], 0, false);
        if (x.slot >= 0)
            touch_slot(p, x.slot, key, 0, false);
        touch_slot(p, p->sort_slot, 0, 0, false);
        touch_slot(p, k->slot, key2, 0, i == 0);
        end(p, s);
    }
    if (p->rc == 0 && want(p,
                           s->m[0].rows == op->out[0].cols && s->m[1].rows == s->m[0].rows &&
                               s->m[0].n == a->n_expert && s->m[1].n == a->n_expert &&
                               s->m[0].dot->pack == s->m[1].dot->pack,
                           op, "experts' matrices disagree"))
        grow_slot(p, k->slot, s->m[0].dot->packed(s->m[0].cols) * (uint64_t)max_rows(p, ROWS_E));
    own(p, 2 * CPU_TILE * sizeof(float));
}

static void low_moe_down(struct prep *p, const struct op *op)
{
    const struct moe_args *a = &op->a.moe;
    struct packed *k = &p->pack[p->turn++ % PACKS];
    uint32_t key = ++p->key;
    struct cpu_step *s = NULL;

    if (!want(p, whole(p, op->in[1]) && whole(p, op->in[2]), op,
              "ids and weights must be whole values"))
        return;
    k->valid = false;
    sorted(p, op);
    for (int i = 0; i < 2; i++) {
        s = i == 0 ? begin(p, run_pack_sorted, op) : by_column(p, run_moe_down, op);
        matrix(p, s, op->w[0], op->w[1]);
        if (p->rc)
            return;
        s->x = (struct cpu_input){k->slot, (s->m[0].dot->packed(s->m[0].cols) + 63) / 64 * 64};
        s->slot[0] = p->sort_slot;
        if (i == 0)
            touch_value(p, op->in[0], 0, false);
        touch_slot(p, p->sort_slot, 0, 0, false);
        touch_slot(p, k->slot, key, 0, i == 0);
        end(p, s);
    }
    want(p,
         s->m[0].rows == op->out[0].cols && s->m[0].cols == op->in[0].cols &&
             s->m[0].n == a->n_expert,
         op, "experts' matrices disagree");
    grow_slot(p, k->slot, s->x.stride * (uint64_t)max_rows(p, ROWS_E));
    own(p, moe_down_own(p->s, op));
}

/* -- recurrent records -- */

static struct cpu_step *recurrent(struct prep *p, cpu_fn *fn, const struct op *op, uint64_t state)
{
    struct cpu_step *s = by_column(p, fn, op);
    const struct scan_args *a = &op->a.scan;

    want(p,
         a->state_bytes >= state && a->state_at % 4 == 0 &&
             (uint64_t)a->state_at + a->state_bytes <= p->p->state_bytes,
         op, "no room for its state");
    own(p, state);
    return s;
}

static void low_conv1d(struct prep *p, const struct op *op)
{
    const struct scan_args *a = &op->a.scan;
    const int64_t n = op->in[0].cols;
    struct cpu_step *s = recurrent(p, run_conv1d, op, (uint64_t)(a->width - 1) * (uint64_t)n * 4);
    int64_t n_w, n_b;
    const float *w = vector(p, op->w[0], &n_w);
    float *across;

    s->vec[1] = vector(p, op->w[1], &n_b);
    if (!want(p,
              a->width > 0 && n_w == n * a->width && (n_b == 0 || n_b == n) && op->out[0].cols == n,
              op, "widths of the convolution disagree"))
        return;
    across = keep(p, (uint64_t)n_w); // [width][n]: columns are worked on side by side
    for (int64_t i = 0; across && w && i < n_w; i++)
        across[i % a->width * n + i / a->width] = w[i];
    s->vec[0] = across;
    end(p, s);
}

static void low_shift(struct prep *p, const struct op *op)
{
    end(p, recurrent(p, run_shift, op, (uint64_t)op->in[0].cols * 4));
}

static void low_ssm_scan(struct prep *p, const struct op *op)
{
    const struct scan_args *a = &op->a.scan;
    const int64_t inner = (int64_t)a->n_head * a->head_dim;
    struct cpu_step *s = recurrent(p, run_ssm_scan, op, (uint64_t)inner * (uint64_t)a->d_state * 4);
    int64_t n[3];

    for (int i = 0; i < 3; i++) {
        s->vec[i] = vector(p, op->w[i], &n[i]);
        want(p, i > 0 ? n[i] == 0 || n[i] == a->n_head : n[i] == a->n_head, op,
             "one number per head expected");
    }
    want(p,
         a->n_group > 0 && a->n_head % a->n_group == 0 && op->out[0].cols == inner &&
             op->in[0].cols == inner + 2 * (int64_t)a->n_group * a->d_state &&
             op->in[1].cols == a->n_head,
         op, "widths of the scan disagree");
    end(p, s);
}

static void low_rwkv(struct prep *p, const struct op *op)
{
    const struct scan_args *a = &op->a.scan;
    const int64_t width = (int64_t)a->n_head * a->head_dim;
    struct cpu_step *s = recurrent(p, run_rwkv, op, (uint64_t)width * (uint64_t)a->head_dim * 4);
    int64_t n;

    for (int i = 0; i < 5; i++) {
        s->vec[i] = vector(p, op->w[i], &n);
        want(p, n == width, op, "a vector of another width");
    }
    want(p, a->head_dim <= RWKV_MAX && op->in[0].cols == 5 * width && op->out[0].cols == width, op,
         "widths of the mixing disagree");
    end(p, s);
}

/* -- plain records -- */

static void low_copy(struct prep *p, const struct op *op)
{
    end(p, by_row(p, run_copy, op));
}
static void low_add(struct prep *p, const struct op *op)
{
    end(p, by_row(p, run_add, op));
}
static void low_mul(struct prep *p, const struct op *op)
{
    end(p, by_row(p, run_mul, op));
}
static void low_scale(struct prep *p, const struct op *op)
{
    end(p, by_row(p, run_scale, op));
}
static void low_act(struct prep *p, const struct op *op)
{
    end(p, by_row(p, run_act, op));
}
static void low_softcap(struct prep *p, const struct op *op)
{
    end(p, by_column(p, run_softcap, op));
}

static void low_lerp(struct prep *p, const struct op *op)
{
    struct cpu_step *s = by_row(p, run_lerp, op);
    int64_t n;

    s->vec[0] = vector(p, op->w[0], &n);
    want(p,
         op->in[0].cols > 0 && op->out[0].cols % op->in[0].cols == 0 &&
             (op->in[2].v >= 0 ? op->in[2].cols : n) == op->out[0].cols,
         op, "widths of the mix disagree");
    end(p, s);
}

static void (*const lower[OP_KINDS])(struct prep *p, const struct op *op) = {
    [OP_embed] = low_embed,
    [OP_take_rows] = low_take_rows,
    [OP_copy] = low_copy,
    [OP_rmsnorm] = low_norm,
    [OP_layernorm] = low_norm,
    [OP_linear] = low_linear,
    [OP_linear_multi] = low_linear,
    [OP_linear_heads] = low_linear_heads,
    [OP_glu] = low_glu,
    [OP_rope] = low_rope,
    [OP_kv_store] = low_kv_store,
    [OP_attn] = low_attn,
    [OP_moe_route] = low_route,
    [OP_moe_glu] = low_moe_glu,
    [OP_moe_down] = low_moe_down,
    [OP_conv1d] = low_conv1d,
    [OP_shift] = low_shift,
    [OP_lerp] = low_lerp,
    [OP_ssm_scan] = low_ssm_scan,
    [OP_rwkv] = low_rwkv,
    [OP_add] = low_add,
    [OP_mul] = low_mul,
    [OP_scale] = low_scale,
    [OP_act] = low_act,
    [OP_softcap] = low_softcap,
};

bool cpu_can(const struct dev *d, const struct plan *p, const struct op *op)
{
    const struct weight *w;

    if (op->kind >= OP_KINDS || !lower[op->kind])
        return false;
    if (op->kind != OP_linear_multi)
        return true;
    w = &p->w[op->w[0]];
    for (int i = 0; i < 4 && op->w[i] >= 0; i++) { // one packed input must serve them all
        const struct weight *o = &p->w[op->w[i]];
        if (o->fmt < 0 || o->fmt >= CPU_FMT_MAX || w->fmt < 0 || w->fmt >= CPU_FMT_MAX ||
            d->k->dot[o->fmt].pack != d->k->dot[w->fmt].pack)
            return false;
    }
    return true;
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
    g->own_at = (at + 4095) / 4096 * 4096;
    g->own_bytes = (p->own + 4095) / 4096 * 4096;
    g->bytes = g->own_at + g->own_bytes * (uint64_t)p->n_member;
    g->scratch = mem_pages(g->bytes, p->e);
    return g->scratch != NULL;
}

static const char *kernel_name(const struct prep *p, int first)
{
    const struct cpu_step *last = &p->g->step[p->g->n_step - 1];

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

        if (op->kind >= OP_KINDS || !lower[op->kind])
            fail(p, E_UNSUPPORTED, "no such kind", op);
        else
            lower[op->kind](p, op);
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
                       .e = e,
                       .n_member = team_size(d->team),
                       .cap = n * 5 + 1,
                       .sorted = -1,
                       .sort_slot = -1,
                       .part_slot = -1};
    s->kernel = mem_array((uint64_t)n, sizeof *s->kernel, e);
    s->impl = p->g = mem_new(sizeof *p->g, e);
    if (!s->kernel || !p->g)
        goto out;
    p->g->step = mem_array((uint64_t)p->cap + 1, sizeof *p->g->step, e);
    if (!p->g->step)
        goto out;
    for (int i = 0; i < PACKS; i++)
        p->pack[i] = (struct packed){.ref = {-1, 0, 0}, .slot = new_slot(p, 0)};
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
