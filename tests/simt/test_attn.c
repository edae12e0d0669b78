/* test_attn.c - attention's kernels by themselves: whoever makes a chunk, a row or a query, for
 * one sequence or for several that begin alike, the bits are the same, and they are near the
 * definition; chunks cover all positions.
 *
 * On the host in make check; make gpu-kit links the same program with the CUDA runtime. */
#include "tests/suite.h"

#include <math.h>

#include "base/mem.h"
#include "base/rng.h"
#include "kernels/cuda/cuda.h"
#include "quant/half.h"
#include "tests/simt/simt_run.h"

START_TEST(chunks_follow_each_other)
{
    int32_t before = -1;

    for (int32_t c = 0; c < 120; c++) {
        const int32_t at = attn_chunk_at(c), end = attn_chunk_at(c + 1);

        ck_assert_msg(at == before + 1 && end - at >= 512 && (end - at) % 512 == 0, "chunk %d", c);
        ck_assert_int_eq(attn_chunk_of(at), c);
        ck_assert_int_eq(attn_chunk_of(end - 1), c);
        ck_assert_msg(at < 8192 || (end - at) * 16 > at, "chunk %d is short", c);
        before = end - 1;
    }
}
END_TEST

struct layer {
    int group, n_kv, dk, dv, type_k, type_v, window;
    bool v_in_k, sinks, alibi;
    float softcap;
    int len, rows; // positions, of which the last `rows` attend: too many for a tile of few
    double tol;    // 0: the definition is not looked at
};

static const struct layer layers[] = {
    {8, 1, 16, 16, FMT_F16, FMT_F16, 0, false, false, false, 0, 8800, 3, 2e-3},
    {4, 1, 128, 128, FMT_F16, FMT_F16, 0, false, true, true, 0, 600, 5, 2e-3},
    {8, 1, 64, 48, FMT_F16, FMT_F16, 530, false, false, false, 3, 560, 4, 2e-3},
    {2, 1, 64, 64, FMT_F16, FMT_F16, 300, false, true, false, 0, 1100, 9, 2e-3}, // a chunk behind
    {1, 2, 80, 80, FMT_F16, FMT_F16, 0, false, false, false, 0, 100, 33, 2e-3},
    {2, 1, 256, 192, FMT_F16, FMT_F16, 0, false, false, false, 0, 130, 10, 2e-3},
    {20, 1, 144, 128, FMT_F16, FMT_F16, 0, true, false, false, 0, 130, 3, 2e-3},
    {16, 1, 576, 512, FMT_F16, FMT_F16, 0, true, false, false, 0, 70, 2, 2e-3},
    {4, 2, 64, 96, FMT_Q8_0, FMT_KV_F8, 0, false, false, false, 0, 530, 5, 0},
    {4, 1, 128, 64, FMT_Q4_0, FMT_Q4_0, 0, false, false, false, 0, 140, 5, 0},
    {4, 1, 64, 64, FMT_BF16, FMT_BF16, 0, false, true, false, 0, 540, 5, 1e-4},
    {3, 2, 40, 33, FMT_F32, FMT_F32, 150, false, true, false, 2, 520, 6, 1e-5},
    {6, 1, 24, 7, FMT_F16, FMT_F32, 0, false, false, true, 0, 130, 3, 1e-5},
    {2, 1, 64, 160, FMT_KV_F8, FMT_BF16, 0, false, false, false, 0, 70, 9, 0},
};

struct world {
    struct rt *rt;
    const struct layer *l;
    struct rt_info info;
    struct attn_run_args a;
    float *x, *q, *want; // what was stored: [len][n_kv][dk + dv]; queries; all rows by themselves
    struct {
        uint8_t *pool;
        float *x, *q, *y, *part, *sink, *slope;
        int32_t *table, *ticket, *step;
    } dev;
};

static void *device(struct rt *rt, const void *from, uint64_t n)
{
    void *p = rt_alloc(rt, n);

    ck_assert_msg(p != NULL, "%s", rt_error());
    ck_assert(from ? rt_copy(rt, p, from, n) == 0 : rt_zero(rt, p, n) == 0);
    ck_assert(rt_sync(rt) == 0);
    return p;
}

static void start(struct world *w, const struct rt_kern *k, uint32_t x, uint32_t y, uint32_t z,
                  uint32_t block, uint32_t shared, const void *args)
{
    simt_seed++;
    ck_assert_msg(rt_launch(w->rt, &(struct rt_launch){k, {x, y, z}, block, shared, args}) == 0 &&
                      rt_sync(w->rt) == 0,
                  "%s: %s", k->name, rt_error());
}

static float *numbers(struct rng *r, uint64_t n, float scale)
{
    float *x = mem_array(n, sizeof *x, NULL);

    for (uint64_t i = 0; i < n; i++)
        x[i] = (float)rng_next_normal(r) * scale;
    return x;
}

/* A step of rows [from, from + n) of those that attend; all: of every position. */
static struct step step_of(struct world *w, int from, int n, bool all)
{
    const int len = w->l->len, first = all ? 0 : len - w->l->rows + from;
    const int m = (n + 3) / 4 * 4;
    int32_t *host = mem_array((uint64_t)(8 + 2 * m), sizeof *host, NULL), *s = w->dev.step;

    host[0] = n;
    host[2] = 1;
    host[5] = n;
    for (int i = 0; i < n; i++)
        host[8 + i] = first + i;
    ck_assert(rt_copy(w->rt, s, host, (uint64_t)(8 + 2 * m) * 4) == 0 && rt_sync(w->rt) == 0);
    mem_free(host);
    return (struct step){.n = s, .run = s + 4, .pos = s + 8, .see = s + 8, .slot = s + 8 + m};
}

static void open_world(struct world *w, const struct layer *l)
{
    const uint64_t head_k = KV_PAGE * plan_kv_row(l->type_k, l->dk),
                   head_v = l->v_in_k ? 0 : KV_PAGE * plan_kv_row(l->type_v, l->dv);
    const uint64_t page = ((uint64_t)l->n_kv * (head_k + head_v) + 1023) / 1024;
    const int pages = (l->len + KV_PAGE - 1) / KV_PAGE, n_head = l->group * l->n_kv;
    const uint64_t cols = (uint64_t)l->n_kv * (uint64_t)(l->dk + (l->v_in_k ? 0 : l->dv));
    int32_t *table = mem_array((uint64_t)pages, sizeof *table, NULL);
    uint8_t *bad = mem_array(((uint64_t)pages + 1) * page, 1024, NULL);
    struct rng rng = {11, 0};
    float *sink;

    *w = (struct world){.l = l};
    ck_assert_msg(rt_open(&w->rt, 0) == 0, "%s", rt_error());
    rt_info(w->rt, &w->info);
    for (int i = 0; i < pages; i++) // scattered, none at 0
        table[i] = (int32_t)(page * (uint64_t)(1 + (i * 7 + 3) % pages));
    for (int i = 0; pages % 7 == 0 && i < pages; i++)
        table[i] = (int32_t)(page * (uint64_t)(1 + i));
    memset(bad, 0xff, ((uint64_t)pages + 1) * page * 1024); // not a number where nothing is stored
    w->x = numbers(&rng, (uint64_t)l->len * cols, 1.0f);
    w->q = numbers(&rng, (uint64_t)(l->rows * n_head * l->dk), 1.0f);
    sink = numbers(&rng, 2 * (uint64_t)n_head, 0.3f);
    w->dev.pool = device(w->rt, bad, ((uint64_t)pages + 1) * page * 1024);
    w->dev.table = device(w->rt, table, (uint64_t)pages * 4);
    w->dev.x = device(w->rt, w->x, (uint64_t)l->len * cols * 4);
    w->dev.q = device(w->rt, w->q, (uint64_t)(l->rows * n_head * l->dk) * 4);
    w->dev.y = device(w->rt, NULL, (uint64_t)(l->rows * n_head * l->dv) * 4);
    w->dev.sink = device(w->rt, sink, (uint64_t)n_head * 4);
    w->dev.slope = device(w->rt, sink + n_head, (uint64_t)n_head * 4);
    w->dev.ticket = device(w->rt, NULL, 4096);
    w->dev.step = device(w->rt, NULL, ((uint64_t)l->len * 2 + 16) * 4);
    w->a = (struct attn_run_args){.kv = {.pool = w->dev.pool,
                                         .table = w->dev.table,
                                         .max_page = pages,
                                         .v_at = (uint32_t)((uint64_t)l->n_kv * head_k),
                                         .type_k = l->type_k,
                                         .type_v = l->type_v,
                                         .n_kv = l->n_kv,
                                         .dk = l->dk,
                                         .dv = l->dv,
                                         .turned = l->type_k == FMT_Q4_0 && !l->v_in_k},
                                  .q = {w->dev.q, n_head * l->dk},
                                  .out = {w->dev.y, n_head * l->dv},
                                  .sink = l->sinks ? w->dev.sink : NULL,
                                  .slope = l->alibi ? w->dev.slope : NULL,
                                  .n_chunk = attn_chunk_of(l->len - 1) + 1,
                                  .n_head = n_head,
                                  .dk = l->dk,
                                  .dv = l->dv,
                                  .window = l->window,
                                  .v_in_k = l->v_in_k,
                                  .scale = 1.5f / sqrtf((float)l->dk),
                                  .softcap = l->softcap};
    w->dev.part =
        device(w->rt, NULL, (uint64_t)(ATTN_SPLIT * n_head * w->a.n_chunk * (l->dv + 2)) * 4);
    struct store_args store = {.s = step_of(w, 0, l->len, true),
                               .kv = w->a.kv,
                               .k = {w->dev.x, (int64_t)cols},
                               .v = {l->v_in_k ? NULL : w->dev.x + l->n_kv * l->dk, (int64_t)cols}};
    start(w, &kern_store, (uint32_t)l->len, (uint32_t)l->n_kv, 1, ATTN_THREADS,
          (uint32_t)(l->dk > l->dv ? l->dk : l->dv) * 4, &store);
    mem_free(table);
    mem_free(bad);
    mem_free(sink);
}

static void close_world(struct world *w)
{
    void *all[] = {w->dev.pool, w->dev.table, w->dev.x,      w->dev.q,    w->dev.y,
                   w->dev.sink, w->dev.slope, w->dev.ticket, w->dev.step, w->dev.part};

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        rt_free(w->rt, all[i]);
    mem_free(w->x);
    mem_free(w->q);
    mem_free(w->want);
    rt_close(w->rt);
}

/* Rows [from, from + n) by so many blocks each; what they are goes to y. */
static void attend(struct world *w, const struct attn_kern *k, int from, int n, int blocks,
                   float *y)
{
    const int64_t row = w->a.n_head * w->l->dv;
    struct attn_run_args a = w->a;

    a.at = k->at;
    a.s = step_of(w, from, n, false);
    a.q.p += (int64_t)from * a.q.ld;
    a.out.p += (int64_t)from * a.out.ld;
    a.part = blocks > 1 ? w->dev.part : NULL;
    a.ticket = w->dev.ticket;
    a.n_split = blocks * (k->at.per > 1 ? (n + k->at.per - 1) / k->at.per + 1 : n);
    ck_assert(rt_zero(w->rt, a.out.p, (uint64_t)(n * row) * 4) == 0);
    start(w, k->k, (uint32_t)(k->at.per > 1 ? 1 + n / k->at.per : n), k->grid_y, (uint32_t)blocks,
          k->block, k->shared, &a);
    ck_assert(rt_copy(w->rt, y, a.out.p, (uint64_t)(n * row) * 4) == 0 && rt_sync(w->rt) == 0);
}

static double stored(int type, float x)
{
    return type == FMT_F16    ? (double)f16_to_f32(f32_to_f16(x))
           : type == FMT_BF16 ? (double)bf16_to_f32(f32_to_bf16(x))
                              : (double)x;
}

/* Row r's head h by the definition. */
static void define(const struct world *w, int r, int h, const float *sink, double *out)
{
    const struct layer *l = w->l;
    const int pos = l->len - l->rows + r, kv = h / l->group;
    const int from = l->window && pos - l->window + 1 > 0 ? pos - l->window + 1 : 0;
    const int64_t cols = (int64_t)l->n_kv * (l->dk + (l->v_in_k ? 0 : l->dv));
    const float *q = w->q + (int64_t)(r * w->a.n_head + h) * l->dk;
    double *s = mem_array((uint64_t)l->len, sizeof *s, NULL),
           max = l->sinks ? (double)sink[h] : -1e300;
    double sum;

    for (int j = from; j <= pos; j++) {
        const float *k = w->x + j * cols + (int64_t)kv * l->dk;
        s[j] = 0;
        for (int d = 0; d < l->dk; d++)
            s[j] += (double)q[d] * stored(l->type_k, k[d]);
        s[j] *= (double)w->a.scale;
        if (l->softcap != 0)
            s[j] = (double)l->softcap * tanh(s[j] / (double)l->softcap);
        if (l->alibi)
            s[j] += (double)sink[w->a.n_head + h] * (j - pos);
        max = s[j] > max ? s[j] : max;
    }
    sum = l->sinks ? exp((double)sink[h] - max) : 0;
    for (int d = 0; d < l->dv; d++)
        out[d] = 0;
    for (int j = from; j <= pos; j++) {
        const float *v = w->x + j * cols + (l->v_in_k ? 0 : (int64_t)l->n_kv * l->dk + kv * l->dv);
        const double e = exp(s[j] - max);
        sum += e;
        for (int d = 0; d < l->dv; d++)
            out[d] += e * stored(l->v_in_k ? l->type_k : l->type_v, v[d]);
    }
    for (int d = 0; d < l->dv; d++)
        out[d] /= sum;
    mem_free(s);
}

static void check_definition(const struct world *w)
{
    const struct layer *l = w->l;
    float sink[2 * 64];
    double out[512];

    ck_assert(rt_copy(w->rt, sink, w->dev.sink, (uint64_t)w->a.n_head * 4) == 0);
    ck_assert(rt_copy(w->rt, sink + w->a.n_head, w->dev.slope, (uint64_t)w->a.n_head * 4) == 0 &&
              rt_sync(w->rt) == 0);
    for (int r = 0; r < l->rows; r += l->rows - 1)
        for (int h = 0; h < w->a.n_head; h += 3) {
            const float *got = w->want + (int64_t)(r * w->a.n_head + h) * l->dv;
            double off = 0, big = 1e-30;

            define(w, r, h, sink, out);
            for (int d = 0; d < l->dv; d++) {
                off = fmax(off, fabs((double)got[d] - out[d]));
                big = fmax(big, fabs(out[d]));
            }
            ck_assert_msg(off <= l->tol * big, "row %d, head %d: off by %g of %g", r, h, off, big);
        }
}

static void check_same(const struct world *w, const float *got, const char *how, int blocks)
{
    const int64_t n = (int64_t)w->l->rows * w->a.n_head * w->l->dv;

    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(memcmp(&got[i], &w->want[i], sizeof *got) == 0,
                      "%d positions, %s, %d blocks a row: number %d is %.9g, expected %.9g",
                      w->l->len, how, blocks, (int)i, (double)got[i],
                      (double)w->want[i]);
}

START_TEST(all_ways_make_the_same_bits)
{
    static const int blocks[] = {2, 3, 40};

    for (size_t i = 0; i < ARRAY_LEN(layers); i++) {
        struct world w;

        open_world(&w, &layers[i]);
        const struct attn_kern few = cuda_attn_few(&w.a, w.info.sm),
                               many = cuda_attn_many(&w.a, w.info.sm);
        const int rows = layers[i].rows, row = w.a.n_head * w.a.dv;
        const uint64_t n = (uint64_t)(rows * row);
        float *got = mem_array(n, sizeof *got, NULL);

        ck_assert_ptr_nonnull(few.k);
        ck_assert(layers[i].window == 0 || !cuda_attn_shared(&w.a, w.info.sm).k);
        w.want = mem_array(n, sizeof *got, NULL);
        for (int r = 0; r < rows; r++)
            attend(&w, &few, r, 1, 1, w.want + r * row);
        if (layers[i].tol > 0)
            check_definition(&w);
        for (size_t k = 0; k < ARRAY_LEN(blocks); k++) {
            for (int r = 0; r < rows; r += k ? 5 : 1)
                attend(&w, &few, r, r + (k ? 5 : 1) < rows ? k ? 5 : 1 : rows - r, blocks[k],
                       got + r * row);
            check_same(&w, got, few.k->name, blocks[k]);
        }
        attend(&w, &few, 0, rows, 1, got);
        check_same(&w, got, few.k->name, 1);
        if (many.k) {
            attend(&w, &many, 0, rows, 1, got);
            check_same(&w, got, many.k->name, 1);
        }
        mem_free(got);
        close_world(&w);
    }
}
END_TEST

/* -- rows of several sequences that begin alike -- */

enum { ALIKE_ROWS = 40 };

/* alike[q]: pages that sequence q has in common with the one before it. */
struct alike {
    int32_t seq[ALIKE_ROWS], pos[ALIKE_ROWS], alike[ALIKE_ROWS];
    int32_t own[ALIKE_ROWS], tile[ALIKE_ROWS / 4][4], n_tile;
    struct batch b;
};

static void lay_alike(struct alike *k, int rows, int each, int pos0, const struct share_rule *rule)
{
    for (int t = 0; t < rows; t++) {
        k->seq[t] = t / each;
        k->pos[t] = pos0 + t;
    }
    k->b = (struct batch){
        .n_g = rows, .n_seq = rows, .seq = k->seq, .pos = k->pos, .alike = k->alike};
    k->n_tile = cuda_share(rule, &k->b, k->tile, k->own);
}

/* Tiles end where more would be lost than won, when they are full, at what rows see themselves. */
START_TEST(tiles_of_rows_that_begin_alike)
{
    static const struct share_rule rule = {.rows = 6, .run = 2, .room = 32};
    struct share_rule r = rule;
    struct alike k = {.alike = {0, 3, 64, 64, 70, 64, 16, 16, 17, 15, 33, 33, 33}};

    lay_alike(&k, 13, 1, 2100, &r);
    ck_assert_int_eq(k.n_tile, 2);
    ck_assert_mem_eq(k.tile, ((int32_t[2][4]){{1, 6, 4, 0}, {9, 13, 2, 4}}), 32);
    ck_assert_mem_eq(k.own, ((int32_t[]){0, 4, 4, 4, 4, 4, 0, 0, 0, 2, 2, 2, 2}), 13 * 4);
    r.least = 5 * 4 + 4 * 2;
    lay_alike(&k, 13, 1, 2100, &r);
    ck_assert_int_eq(k.n_tile, 2);
    r.least++;
    lay_alike(&k, 13, 1, 2100, &r);
    ck_assert_int_eq(k.n_tile, 0);
    for (int t = 0; t < 13; t++)
        ck_assert_int_eq(k.own[t], 0);
    r = rule;
    r.room = 11;
    lay_alike(&k, 13, 1, 2100, &r);
    ck_assert_int_eq(k.n_tile, 1);
    lay_alike(&k, 13, 1, 1000, &rule); // they see one and a part of the next
    ck_assert_int_eq(k.own[1], 1);
    for (int t = 0; t < ALIKE_ROWS; t++)
        k.alike[t] = INT32_MAX;
    lay_alike(&k, ALIKE_ROWS, 1, 511, &rule);
    ck_assert_mem_eq(k.tile[0], ((int32_t[4]){1, 7, 1, 0}), 16);
    k.b.alike = NULL;
    ck_assert_int_eq(cuda_share(&rule, &k.b, k.tile, k.own), 0);
    for (int t = 0; t < 30; t++) // two sequences of three rows, then ten of two
        k.seq[t] = t < 6 ? t / 3 : 2 + (t - 6) / 2;
    k.b.n_g = 26;
    k.b.alike = k.alike;
    ck_assert_int_eq(cuda_share(&rule, &k.b, k.tile, k.own), 3);
    ck_assert_mem_eq(k.tile[0], ((int32_t[4]){6, 12, 1, 0}), 16);
}
END_TEST

static const struct layer alike_layers[] = {
    {1, 2, 16, 16, FMT_F16, FMT_F16, 0, false, false, false, 0, 1100, 40, 0},
    {4, 1, 128, 96, FMT_F16, FMT_F16, 0, false, true, true, 2, 1060, 9, 0},
    {4, 1, 64, 64, FMT_Q4_0, FMT_Q8_0, 0, false, false, false, 0, 560, 34, 0},
    {1, 1, 160, 160, FMT_F16, FMT_F16, 0, false, true, false, 0, 580, 7, 0},
    {3, 1, 40, 33, FMT_F32, FMT_BF16, 0, false, false, false, 0, 590, 6, 0},
    {2, 1, 16, 16, FMT_F16, FMT_F16, 0, true, false, false, 0, 8800, 5, 0},
};

/* The pages of each row's sequence: those that the first row of a tile has in its stead are not
 * there. */
static int32_t *tables_of(struct world *w, const struct alike *k)
{
    const uint64_t rows = (uint64_t)w->l->rows, pages = (uint64_t)w->a.kv.max_page;
    int32_t *all = mem_array(rows * pages, sizeof *all, NULL), *dev;

    ck_assert(rt_copy(w->rt, all, w->dev.table, pages * 4) == 0 && rt_sync(w->rt) == 0);
    for (uint64_t r = 1; r < rows; r++)
        memcpy(all + r * pages, all, pages * 4);
    for (int i = 0; i < k->n_tile; i++)
        for (int t = k->tile[i][0]; t < k->tile[i][1]; t++)
            if (k->seq[t] != k->seq[k->tile[i][0]])
                memset(all + (uint64_t)k->seq[t] * pages, 0,
                       (size_t)attn_chunk_at(k->tile[i][2]) / KV_PAGE * sizeof *all);
    dev = device(w->rt, all, rows * pages * 4);
    mem_free(all);
    return dev;
}

/* All rows at once. */
static void attend_alike(struct world *w, const struct alike *k, const struct attn_kern *shared,
                         const struct attn_kern *few, int blocks, float *y)
{
    const int rows = w->l->rows;
    const int64_t n = rows * w->a.out.ld;
    const int n_seq = k->seq[rows - 1] + 1;
    int32_t host[8 + 8 * ALIKE_ROWS] = {
        rows, 0, n_seq, 0, k->n_tile, rows > ATTN_SPLIT ? k->tile[0][0] : 0};
    int32_t *run = host + 8, *pos = run + 4 * rows, *slot = pos + rows, *own = slot + rows;
    struct attn_run_args a = w->a;
    int32_t *s = device(w->rt, NULL, sizeof host), *table = tables_of(w, k);

    for (int t = 0; t < rows; t++) {
        if (t == 0 || k->seq[t] != k->seq[t - 1])
            run[4 * k->seq[t]] = t;
        run[4 * k->seq[t] + 1] = t + 1;
        pos[t] = k->pos[t];
        slot[t] = k->seq[t];
        own[t] = k->own[t];
    }
    memcpy(own + rows, k->tile, 16 * (size_t)k->n_tile);
    ck_assert(rt_copy(w->rt, s, host, sizeof host) == 0 && rt_sync(w->rt) == 0);
    a.kv.table = table;
    a.s = (struct step){.n = s,
                        .run = s + 8,
                        .pos = s + (pos - host),
                        .see = s + (pos - host),
                        .slot = s + (slot - host),
                        .own = s + (own - host),
                        .tile = s + (own - host) + rows};
    a.part = w->dev.part;
    a.ticket = w->dev.ticket;
    a.shared = 1;
    a.n_split = blocks * (n_seq + rows / few->at.per);
    a.at = shared->at;
    ck_assert(rt_zero(w->rt, a.out.p, (uint64_t)n * 4) == 0);
    start(w, shared->k, 1, 1, 3, shared->block, shared->shared, &a);
    a.at = few->at;
    start(w, few->k, (uint32_t)(few->at.per > 1 ? n_seq + rows / few->at.per : rows),
          few->grid_y, (uint32_t)blocks, few->block, few->shared, &a);
    ck_assert(rt_copy(w->rt, y, a.out.p, (uint64_t)n * 4) == 0 && rt_sync(w->rt) == 0);
    rt_free(w->rt, s);
    rt_free(w->rt, table);
}

START_TEST(beginnings_in_common_make_the_same_bits)
{
    for (size_t i = 0; i < ARRAY_LEN(alike_layers); i++) {
        const struct layer *l = &alike_layers[i];
        struct alike k = {.n_tile = 0};
        struct world w;

        open_world(&w, l);
        const struct attn_kern few = cuda_attn_few(&w.a, w.info.sm),
                               shared = cuda_attn_shared(&w.a, w.info.sm);
        const uint64_t n = (uint64_t)(l->rows * w.a.out.ld);
        float *got = mem_array(n, sizeof *got, NULL);

        ck_assert_ptr_nonnull(shared.k);
        const struct share_rule rule = {
            .rows = shared.at.per, .run = ATTN_ROWS / shared.at.heads, .room = ATTN_SPLIT};
        for (int t = 0; t < l->rows; t++) // the first is alone, some leave early
            k.alike[t] = t < 2 ? 0 : t > 20 && t < 26 ? 17 : l->len / KV_PAGE - 1;
        lay_alike(&k, l->rows, l->rows == 9 ? 2 : 1, l->len - l->rows, &rule);
        ck_assert_int_eq(k.own[0], 0);
        ck_assert_int_gt(k.own[l->rows < 33 ? l->rows - 1 : 20], 0);
        w.want = mem_array(n, sizeof *got, NULL);
        for (int r = 0; r < l->rows; r++)
            attend(&w, &few, r, 1, 1, w.want + r * w.a.out.ld);
        for (int blocks = 1; blocks < (l->rows > ATTN_SPLIT ? 2 : 4); blocks += 2) {
            attend_alike(&w, &k, &shared, &few, blocks, got);
            check_same(&w, got, shared.k->name, blocks);
        }
        mem_free(got);
        close_world(&w);
    }
}
END_TEST

/* Warpgroups' products, which the host has not: close to the others, not the same bits. */
START_TEST(warpgroups_come_close)
{
    for (size_t i = 0; i < ARRAY_LEN(layers); i++) {
        struct world w;

        if (!attn_wide())
            break;
        open_world(&w, &layers[i]);
        const struct attn_kern few = cuda_attn_few(&w.a, w.info.sm),
                               wide = cuda_attn_wide(&w.a, w.info.sm);
        const int64_t n = layers[i].rows * w.a.out.ld;
        float *got = mem_array((uint64_t)n, sizeof *got, NULL);
        double square = 0;

        w.want = mem_array((uint64_t)n, sizeof *got, NULL);
        if (wide.k) {
            attend(&w, &few, 0, layers[i].rows, 1, w.want);
            attend(&w, &wide, 0, layers[i].rows, 1, got);
        }
        for (int64_t k = 0; k < n; k++)
            square += (double)w.want[k] * (double)w.want[k] / (double)n;
        for (int64_t k = 0; k < n; k++)
            ck_assert_msg(fabs((double)(got[k] - w.want[k])) <= 0.01 * sqrt(square) || !wide.k,
                          "layer %d: number %d is %g, expected %g", (int)i, (int)k, (double)got[k],
                          (double)w.want[k]);
        mem_free(got);
        close_world(&w);
    }
}
END_TEST

TEST_MAIN("simt/attn", warpgroups_come_close, chunks_follow_each_other,
          all_ways_make_the_same_bits, tiles_of_rows_that_begin_alike,
          beginnings_in_common_make_the_same_bits)
