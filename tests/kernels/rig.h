/* rig.h - small plans made by hand, run on a backend under any schedule of batches.
 *
 * A test describes a plan (values, weights, records), and sequences of token ids. play() feeds them
 * to the backend cut into batches as a schedule says, on a level and a number of threads, and keeps
 * the last value's row of every position. ref.h computes the same rows in double precision.
 */
#ifndef RILL_TESTS_KERNELS_RIG_H
#define RILL_TESTS_KERNELS_RIG_H

#include "base/mem.h"
#include "base/rng.h"
#include "kernels/cpu/cpu_kernels.h"
#include "plan/backend.h"
#include "quant/quant.h"
#include "tests/suite.h"

/* Which backend, and on what levels: another room's test may have said otherwise. */
#ifndef RIG_BACKEND
#define RIG_BACKEND cpu_backend
#ifndef RIG_LEVEL
static inline const char *rig_level(int l)
{
    return cpu_level(l) ? cpu_level(l)->name : NULL;
}
#endif
static inline void rig_use(const char *level)
{
    setenv("RILL_CPU", level, 1);
}
static inline void rig_spec(char spec[16], int n_thread)
{
    snprintf(spec, 16, "%d", n_thread);
}
/* Whether schedule i of ref.h's is left out. */
static inline bool rig_leaves(int i)
{
    (void)i;
    return false;
}
#endif
extern const struct backend RIG_BACKEND;

#define RIG_OPS   64
#define RIG_SEQS  4
#define RIG_VOCAB 61
#define RIG_TYPES 3
#define RIG_LEN   1400 // longest sequence

struct rig {
    struct plan p;
    struct op op[RIG_OPS];
    struct value value[RIG_OPS];
    struct weight w[RIG_OPS];
    struct kv_layer kv[4];
    struct kv_group group[4];
    struct rng rng;
    int n_seq;
    int len[RIG_SEQS];
    int32_t out;    // the value that is looked at: rows T
    bool see_all;   // rows of a batch see the whole batch of their sequence
    bool generates; // pieces of one row are generated rows
    int n_lora;     // adapters; sequence q uses q of them
    struct lora_mat lora[2][RIG_OPS];
};

/* How much of adapter k sequence q wants. */
static inline float rig_lora_scale(int q, int k)
{
    return 0.5f * (float)(q + k);
}

static inline int rig_token(int seq, int pos)
{
    return (int)(rng_bits(7, (uint32_t)seq, (uint64_t)pos, 0) % RIG_VOCAB);
}

static inline int rig_type(int seq, int pos)
{
    return (seq + pos) % RIG_TYPES;
}

static inline struct rig *rig_new(uint64_t seed)
{
    struct rig *r = mem_new(sizeof *r, NULL);

    r->rng.seed = seed;
    r->p = (struct plan){.op = r->op,
                         .value = r->value,
                         .w = r->w,
                         .kv = r->kv,
                         .group = r->group,
                         .kv_type_k = FMT_F32,
                         .kv_type_v = FMT_F32,
                         .logits = -1,
                         .hidden = -1,
                         .n_ctx = RIG_LEN + 64};
    return r;
}

static inline void rig_free(struct rig *r)
{
    for (int i = 0; i < r->p.n_w; i++)
        mem_free(r->w[i].part[0].p);
    for (int k = 0; k < r->n_lora; k++)
        for (int i = 0; i < r->p.n_w; i++) {
            mem_free((void *)(uintptr_t)r->lora[k][i].a);
            mem_free((void *)(uintptr_t)r->lora[k][i].b);
        }
    mem_free(r);
}

static inline struct ref rig_value(struct rig *r, int rows, int cols)
{
    int v = r->p.n_value++;

    r->value[v] = (struct value){.rows = (uint8_t)rows, .cols = cols};
    return (struct ref){v, 0, cols};
}

/* n matrices of normal numbers times scale plus offset, in any format with an encoder. */
static inline int rig_weight_at(struct rig *r, int fmt, int n, int rows, int cols, double scale,
                                double offset)
{
    const struct fmt_info *f = fmt_find(fmt);
    const size_t total = (size_t)n * (size_t)rows * (size_t)cols;
    const int w = r->p.n_w++;
    float *x = mem_array(total, sizeof *x, NULL);
    const size_t bytes = total / (size_t)f->block * (size_t)f->bytes;

    for (size_t i = 0; i < total; i++)
        x[i] = (float)(rng_next_normal(&r->rng) * scale + offset);
    r->w[w] = (struct weight){.fmt = fmt, .n = n, .rows = rows, .cols = cols};
    snprintf(r->w[w].name, sizeof r->w[w].name, "w%d", w);
    r->w[w].part[0] = (struct mem){.p = mem_new(bytes, NULL), .bytes = bytes, .host = true};
    f->encode(x, r->w[w].part[0].p, total / (size_t)f->block);
    mem_free(x);
    return w;
}

static inline int rig_weight(struct rig *r, int n, int rows, int cols, double scale)
{
    return rig_weight_at(r, FMT_F32, n, rows, cols, scale, 0.0);
}

static inline int rig_vec(struct rig *r, int n)
{
    return rig_weight_at(r, FMT_F32, 1, 1, n, 0.3, 1.0);
}

static inline struct op *rig_op(struct rig *r, int kind, struct ref out, struct ref in)
{
    struct op *op = &r->op[r->p.n_op++];

    *op = (struct op){.kind = (uint8_t)kind, .layer = -1, .out = {out, {-1, 0, 0}}};
    for (int i = 0; i < 4; i++)
        op->in[i] = (struct ref){-1, 0, 0};
    op->in[0] = in;
    for (int i = 0; i < 12; i++)
        op->w[i] = -1;
    r->out = out.v;
    return op;
}

static inline struct ref rig_cols(struct ref v, int at, int cols)
{
    return (struct ref){v.v, v.at + at, cols};
}

static inline struct ref rig_embed(struct rig *r, int cols)
{
    struct ref x = rig_value(r, ROWS_T, cols);
    struct op *op = rig_op(r, OP_embed, x, (struct ref){-1, 0, 0});

    op->w[0] = (int16_t)rig_weight(r, 1, RIG_VOCAB, cols, 1.0);
    op->a.lin.scale = 1.0f;
    return x;
}

static inline struct ref rig_linear(struct rig *r, struct ref x, int cols, int fmt)
{
    struct ref y = rig_value(r, r->value[x.v].rows, cols);
    struct op *op = rig_op(r, OP_linear, y, x);

    op->w[0] = (int16_t)rig_weight_at(r, fmt, 1, cols, x.cols, 1.0 / __builtin_sqrt(x.cols), 0.0);
    return y;
}

static inline float *rig_numbers(struct rig *r, int64_t n, double scale)
{
    float *x = mem_array((uint64_t)n, sizeof *x, NULL);

    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(rng_next_normal(&r->rng) * scale);
    return x;
}

/* An adapter's record behind the linear that made y of x; rank 0: this adapter has none. */
static inline void rig_lora(struct rig *r, struct ref x, struct ref y, int rank0, int rank1)
{
    const int w = r->op[r->p.n_op - 1].w[0];
    struct op *op = rig_op(r, OP_lora, y, x);

    op->in[1] = y;
    op->w[0] = (int16_t)w;
    r->n_lora = 2;
    for (int k = 0; k < 2; k++) {
        const int rank = k ? rank1 : rank0;
        if (rank)
            r->lora[k][w] =
                (struct lora_mat){rig_numbers(r, (int64_t)rank * x.cols, 0.2),
                                  rig_numbers(r, (int64_t)rank * y.cols, 0.2), rank, 1.5f};
    }
}

/* A key/value layer of its own group. */
static inline int rig_kv(struct rig *r, int n_kv, int dk, int dv, int window)
{
    const int k = r->p.n_kv++, g = r->p.n_group++;
    const uint32_t size_k = plan_kv_row(r->p.kv_type_k, dk),
                   size_v = dv ? plan_kv_row(r->p.kv_type_v, dv) : 0;
    const uint32_t bytes = KV_PAGE * (uint32_t)n_kv * (size_k + size_v);

    r->kv[k] = (struct kv_layer){g, n_kv, dk, dv, 64};
    r->group[g] = (struct kv_group){window, 1, (bytes + 64 + 1023) / 1024 * 1024};
    return k;
}

static inline uint32_t rig_state(struct rig *r, uint32_t bytes)
{
    uint32_t at = r->p.state_bytes;

    r->p.state_bytes += (bytes + 63) / 64 * 64;
    return at;
}

/* -- schedules: batches of pieces; a piece is positions [from, to) of a sequence -- */

struct piece_of {
    int batch, seq, from, to;
};

struct schedule {
    struct piece_of piece[RIG_SEQS * RIG_LEN];
    int n, n_batch;
};

/* Every sequence in pieces of step positions; together: the k-th pieces of all go in one batch. */
static inline struct schedule *schedule_new(const struct rig *r, int step, bool together)
{
    struct schedule *s = mem_new(sizeof *s, NULL);
    int batch = 0;

    for (int q = 0; q < r->n_seq; q++)
        for (int k = 0; k * step < r->len[q]; k++) {
            int to = (k + 1) * step < r->len[q] ? (k + 1) * step : r->len[q];
            int b = together ? k : batch++;
            s->piece[s->n++] = (struct piece_of){b, q, k * step, to};
            s->n_batch = s->n_batch > b + 1 ? s->n_batch : b + 1;
        }
    return s;
}

/* Pieces of changing length, all sequences in each batch. */
static inline struct schedule *schedule_ragged(const struct rig *r, uint64_t seed)
{
    struct schedule *s = mem_new(sizeof *s, NULL);
    struct rng g = {seed, 0};

    for (int q = 0; q < r->n_seq; q++)
        for (int from = 0, b = 0; from < r->len[q]; b++) {
            int to = from + 1 + (int)(rng_next(&g) % 90);
            to = to < r->len[q] ? to : r->len[q];
            s->piece[s->n++] = (struct piece_of){b, q, from, to};
            s->n_batch = s->n_batch > b + 1 ? s->n_batch : b + 1;
            from = to;
        }
    return s;
}

/* -- running -- */

struct played {
    float *row[RIG_SEQS]; // [len x cols]
    int cols;
};

static inline void played_free(struct played *p)
{
    for (int q = 0; q < RIG_SEQS; q++)
        mem_free(p->row[q]);
}

struct rows {
    int32_t id[RIG_SEQS * RIG_LEN], seq[RIG_SEQS * RIG_LEN], pos[RIG_SEQS * RIG_LEN],
        see[RIG_SEQS * RIG_LEN], type[RIG_SEQS * RIG_LEN];
    struct seq_in seqs[RIG_SEQS];
};

/* The rows of batch b, all sequences listed (those without rows too). Where a rig generates, pieces
 * of one row are generated rows, and have to come last in the schedule. */
static inline struct batch make_batch(const struct rig *r, const struct schedule *s, int b,
                                      struct rows *to)
{
    int n = 0, n_g = 0;

    for (int q = 0; q < r->n_seq; q++) {
        to->seqs[q] =
            (struct seq_in){.slot = r->n_seq - 1 - q, .state_read = -1, .state_write = -1};
        for (int k = 0; k < r->n_lora && k < q; k++) {
            to->seqs[q].lora[k].slot = k;
            to->seqs[q].lora[k].scale = rig_lora_scale(q, k);
            to->seqs[q].n_lora++;
        }
    }
    for (int i = 0; i < s->n; i++) {
        const struct piece_of *p = &s->piece[i];

        if (p->batch != b)
            continue;
        n_g += r->generates && p->to == p->from + 1;
        to->seqs[p->seq].len = p->to;
        to->seqs[p->seq].state_read = p->from ? p->seq + RIG_SEQS * (p->from % 2) : -1;
        to->seqs[p->seq].state_write = p->seq + RIG_SEQS * (p->to % 2);
        for (int k = p->from; k < p->to; k++, n++) {
            to->id[n] = rig_token(p->seq, k);
            to->seq[n] = p->seq;
            to->pos[n] = k;
            to->see[n] = p->to - 1;
            to->type[n] = rig_type(p->seq, k);
        }
    }
    return (struct batch){.n_p = n - n_g,
                          .n_g = n_g,
                          .n_seq = r->n_seq,
                          .id = to->id,
                          .seq = to->seq,
                          .pos = to->pos,
                          .see = r->see_all ? to->see : NULL,
                          .type = to->type,
                          .seqs = to->seqs};
}

/* Every byte 255: not a number wherever nothing was stored. */
static inline void rig_spoil(struct dev *d, struct mem to)
{
    void *p = mem_array(to.bytes + 1, 1, NULL);
    struct mem from = {.p = p, .bytes = to.bytes, .host = true};

    memset(p, 0xff, to.bytes);
    ck_assert_int_eq(RIG_BACKEND.copy(d, to, 0, from, 0, to.bytes), 0);
    mem_free(p);
}

/* Page tables: pages of a sequence are scattered over the pool, and never page 0. */
static inline void fill_tables(const struct rig *r, struct dev *d, struct segment *s,
                               uint64_t pool_kib)
{
    int32_t *t = mem_array(s->kv.table.bytes, 1, NULL);
    struct mem from = {.p = t, .bytes = s->kv.table.bytes, .host = true};
    uint64_t next = 0;

    for (int g = 0; g < r->p.n_group; g++) {
        const uint64_t kib = r->group[g].bytes / 1024;
        for (int k = 0; k < s->kv.max_page; k++)
            for (int q = 0; q < s->kv.max_seq; q++, next += kib) {
                ck_assert_uint_le(next + kib, pool_kib - 64);
                t[(g * s->kv.max_seq + q) * s->kv.max_page + k] = (int32_t)(64 + next);
            }
    }
    ck_assert_int_eq(RIG_BACKEND.copy(d, s->kv.table, 0, from, 0, from.bytes), 0);
    mem_free(t);
}

static inline void rig_kv_bind(const struct rig *r, struct dev *d, struct segment *s)
{
    const int pages = (RIG_LEN + KV_PAGE - 1) / KV_PAGE;
    uint64_t kib = 64;
    struct err e = {0};

    for (int g = 0; g < r->p.n_group; g++)
        kib += (uint64_t)pages * RIG_SEQS * (r->group[g].bytes / 1024);
    s->kv.max_seq = RIG_SEQS;
    s->kv.max_page = pages;
    ck_ok(RIG_BACKEND.mem(d, kib * 1024, MEM_DEVICE, NULL, &s->kv.pool, &e), &e);
    rig_spoil(d, s->kv.pool);
    ck_ok(RIG_BACKEND.mem(d, (uint64_t)(r->p.n_group * RIG_SEQS * pages + 1) * 4, MEM_DEVICE, NULL,
                          &s->kv.table, &e),
          &e);
    fill_tables(r, d, s, kib);
    ck_ok(RIG_BACKEND.mem(d, (uint64_t)r->p.state_bytes * RIG_SEQS * 2, MEM_DEVICE, NULL,
                          &s->kv.state, &e),
          &e);
    rig_spoil(d, s->kv.state);
}

static inline int64_t rig_rows(const struct rig *r, int v, int64_t n_t)
{
    switch (r->value[v].rows) {
    case ROWS_T:
        return n_t;
    case ROWS_E:
        return n_t * r->p.n_used;
    default:
        return 1;
    }
}

/* Every value has memory of its own here. */
static inline uint64_t rig_arena(const struct rig *r, int64_t n_t, uint64_t *at)
{
    uint64_t sum = 0;

    for (int v = 0; v < r->p.n_value; v++) {
        at[v] = sum;
        sum += ((uint64_t)(rig_rows(r, v, n_t) * r->value[v].cols) * 4 + 63) / 64 * 64;
    }
    return sum;
}

static inline void keep_rows(const struct rig *r, struct dev *d, const struct segment *s,
                             const struct batch *b, struct played *to)
{
    const int n = b->n_p + b->n_g;
    const uint64_t bytes = (uint64_t)(n * (int64_t)to->cols) * sizeof(float);
    float *row = mem_array(bytes + 1, 1, NULL);
    struct mem host = {.p = row, .bytes = bytes, .host = true};

    ck_assert_int_eq(RIG_BACKEND.copy(d, host, 0, s->arena, s->at[r->out], bytes), 0);
    for (int t = 0; t < n; t++)
        memcpy(to->row[b->seq[t]] + (int64_t)b->pos[t] * to->cols, row + (int64_t)t * to->cols,
               (size_t)to->cols * sizeof(float));
    mem_free(row);
}

/* The plan with weights of its own in the device's memory. */
static inline struct plan rig_loaded(const struct rig *r, struct dev *d, struct weight *w)
{
    struct plan p = r->p;
    struct err e = {0};

    memcpy(w, r->w, sizeof r->w);
    p.w = w;
    for (int i = 0; i < p.n_w; i++) {
        w[i].part[0].adopted = true;
        ck_ok(RIG_BACKEND.load(d, &w[i], &e), &e);
    }
    return p;
}

static inline struct played play(const struct rig *r, const char *level, int n_thread,
                                 const struct schedule *s)
{
    uint64_t at[RIG_OPS];
    struct rows *rows = mem_new(sizeof *rows, NULL);
    struct weight w[RIG_OPS];
    struct plan plan;
    const struct lora_slot adapters[2] = {{.mat = r->lora[0]}, {.mat = r->lora[1]}};
    struct segment seg = {.plan = &plan,
                          .to = r->p.n_op,
                          .max_s = 1,
                          .at = at,
                          .lora = adapters,
                          .n_lora = r->n_lora};
    struct played out = {.cols = r->value[r->out].cols};
    struct err e = {0};
    struct dev *d;
    char spec[16];

    for (int q = 0; q < r->n_seq; q++) {
        out.row[q] = mem_array((uint64_t)r->len[q] * (uint64_t)out.cols, sizeof(float), NULL);
        seg.max_t += r->len[q];
    }
    rig_use(level);
    rig_spec(spec, n_thread);
    ck_ok(RIG_BACKEND.open(&d, spec, &e), &e);
    plan = rig_loaded(r, d, w);
    ck_ok(RIG_BACKEND.mem(d, rig_arena(r, seg.max_t, at), MEM_DEVICE, NULL, &seg.arena, &e), &e);
    rig_spoil(d, seg.arena);
    rig_kv_bind(r, d, &seg);
    ck_ok(RIG_BACKEND.prepare(d, &seg, &e), &e);
    for (int b = 0; b < s->n_batch; b++) {
        struct batch batch = make_batch(r, s, b, rows);
        int ticket = RIG_BACKEND.run(d, &seg, &batch);
        ck_assert_int_ge(ticket, 0);
        ck_assert_int_ge(RIG_BACKEND.wait(d, ticket), 0);
        keep_rows(r, d, &seg, &batch, &out);
    }
    seg.to = seg.from;
    ck_ok(RIG_BACKEND.prepare(d, &seg, &e), &e);
    for (int i = 0; i < plan.n_w; i++)
        RIG_BACKEND.unmem(d, &w[i].part[0]);
    RIG_BACKEND.unmem(d, &seg.arena);
    RIG_BACKEND.unmem(d, &seg.kv.pool);
    RIG_BACKEND.unmem(d, &seg.kv.table);
    RIG_BACKEND.unmem(d, &seg.kv.state);
    RIG_BACKEND.close(d);
    mem_free(rows);
    return out;
}

/* -- comparing -- */

static inline bool same_bits(const struct rig *r, const struct played *a, const struct played *b)
{
    for (int q = 0; q < r->n_seq; q++)
        for (int64_t i = 0; i < (int64_t)r->len[q] * a->cols; i++)
            if (memcmp(&a->row[q][i], &b->row[q][i], sizeof(float)) != 0) {
                printf("sequence %d, position %d, column %d: %.9g and %.9g\n", q,
                       (int)(i / a->cols), (int)(i % a->cols), (double)a->row[q][i],
                       (double)b->row[q][i]);
                return false;
            }
    return true;
}

/* Largest difference from want in a row, relative to that row's largest magnitude. */
static inline double worst(const struct rig *r, const struct played *got, double *const *want)
{
    double most = 0.0;

    for (int q = 0; q < r->n_seq; q++)
        for (int t = 0; t < r->len[q]; t++) {
            const float *g = got->row[q] + (int64_t)t * got->cols;
            const double *w = want[q] + (int64_t)t * got->cols;
            double big = 1e-30, off = 0.0;
            for (int i = 0; i < got->cols; i++) {
                double d = g[i] - w[i];
                big = w[i] > big ? w[i] : -w[i] > big ? -w[i] : big;
                d = d < 0 ? -d : d;
                off = d > off ? d : off;
                if (d != d)
                    return 1e30;
            }
            most = off / big > most ? off / big : most;
        }
    return most;
}

#endif
