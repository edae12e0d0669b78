/* test_formats.c - matrices of every format on the CUDA backend's kernels: against the format's
 * definition, and the same bits for any number of rows at once.
 *
 * On the host in make check; make gpu-kit links the same program with the CUDA runtime. */
#include "tests/suite.h"

#include <math.h>

#include "base/mem.h"
#include "base/rng.h"
#include "kernels/cuda/cuda.h"
#include "quant/quant.h"
#include "quant/synth.h"
#include "tests/simt/simt_run.h"

enum { ROWS = 9, INPUTS = 11 };
enum kernel { BY_ONE, BY_FEW, BY_TILES, BY_RINGS, BY_BULK, BY_SMALL, BY_WIDE = BY_SMALL + 3 };

struct problem {
    struct rt *rt;
    const struct fmt_info *f;
    int64_t cols;
    int rows, inputs;
    uint64_t row_bytes;
    uint8_t *w;
    float *x;
    struct q32 *q;
    struct {
        uint8_t *w, *panels;
        float *x, *y;
        struct q32 *q;
        struct x16 *h;
        int32_t *n;
    } dev;
};

static void *need(uint64_t n)
{
    void *p = mem_aligned(n + 64, 64, NULL);

    ck_assert_ptr_nonnull(p);
    return p;
}

static void *device(struct rt *rt, const void *from, uint64_t n)
{
    void *p = rt_alloc(rt, n);

    ck_assert_ptr_nonnull(p);
    if (from)
        ck_assert_msg(rt_copy(rt, p, from, n) == 0 && rt_sync(rt) == 0, "%s", rt_error());
    return p;
}

static struct problem problem_new(struct rt *rt, const struct fmt_info *f, int64_t cols, int rows,
                                  int inputs)
{
    struct problem p = {.rt = rt, .f = f, .cols = cols, .rows = rows, .inputs = inputs};
    const uint64_t q_bytes = (uint64_t)(inputs * cols / 32 + 1) * sizeof *p.q;
    const uint64_t x_bytes = (uint64_t)(inputs * cols) * sizeof *p.x;
    struct rng rng = {(uint64_t)cols, 0};
    uint64_t n;

    ck_assert(fmt_row_bytes((int)f->id, (uint64_t)cols, &p.row_bytes));
    n = (uint64_t)rows * p.row_bytes;
    p.w = need(n);
    if (synth_can(f))
        synth_blocks(f, p.w, 0, (size_t)rows * (size_t)cols / (size_t)f->block, 0.05f, 7);
    else
        for (uint64_t i = 0; i < n; i++)
            p.w[i] = (uint8_t)(rng_next(&rng) % 7);
    p.x = need(x_bytes);
    p.q = need(q_bytes);
    for (int64_t i = 0; i < inputs * cols; i++)
        p.x[i] = i / cols == 3 ? 0.0f : (float)rng_next_normal(&rng);
    p.dev.w = device(rt, p.w, n);
    p.dev.x = device(rt, p.x, x_bytes);
    p.dev.q = device(rt, NULL, q_bytes);
    p.dev.h = device(rt, NULL, (uint64_t)(inputs * ((cols + 31) / 32)) * sizeof *p.dev.h);
    p.dev.y = device(rt, NULL, (uint64_t)rows * 1280 * sizeof(float));
    p.dev.n = device(rt, NULL, 16);
    return p;
}

static void problem_free(struct problem *p)
{
    mem_free(p->w);
    mem_free(p->x);
    mem_free(p->q);
    rt_free(p->rt, p->dev.w);
    if (p->dev.panels)
        rt_free(p->rt, p->dev.panels);
    rt_free(p->rt, p->dev.x);
    rt_free(p->rt, p->dev.q);
    rt_free(p->rt, p->dev.h);
    rt_free(p->rt, p->dev.y);
    rt_free(p->rt, p->dev.n);
}

static void start(struct rt *rt, const struct rt_launch *l)
{
    simt_seed++;
    ck_assert_msg(rt_launch(rt, l) == 0, "%s: %s", l->k->name, rt_error());
}

static void fetch(const struct problem *p, void *to, const void *from, uint64_t n)
{
    ck_assert_msg(rt_copy(p->rt, to, from, n) == 0 && rt_sync(p->rt) == 0, "%s", rt_error());
}

/* The results for n rows of inputs. With glu the matrix is gate and up, of half the rows each. To
 * panels: rows lie so, and as if the device had so many multiprocessors; 0: as in the file. */
static void multiply(struct problem *p, int n, enum kernel which, bool glu, int panels, float *y)
{
    const struct fmt_kern *k = panels ? gemv_panels((int)p->f->id) : cuda_fmt((int)p->f->id);
    const struct fmt_launch *some =
        panels ? gemv_small_panels((int)p->f->id) : gemv_half_some((int)p->f->id);
    const struct fmt_launch *f = which == BY_WIDE    ? gemv_wide((int)p->f->id, p->cols)
                                 : which >= BY_SMALL ? &some[which - BY_SMALL]
                                 : which >= BY_RINGS ? &gemv_rings((int)p->f->id)[which - BY_RINGS]
                                 : which == BY_TILES ? &k->tiles
                                 : which == BY_FEW   ? &k->many
                                                     : &k->few;
    const int64_t cols = glu ? p->rows / 2 : p->rows;
    const struct gemv_shape shape = cuda_gemv_shape(f, p->cols, cols, glu, panels);
    const uint32_t per = (uint32_t)f->rows;
    struct gemv_args a = {.s = {.n = p->dev.n},
                          .x = {p->dev.x, p->cols},
                          .xq = k->input == INPUT_Q32 ? p->dev.q : NULL,
                          .xh = k->input == INPUT_X16 ? p->dev.h : NULL,
                          .out = {p->dev.y, cols},
                          .m = {{panels ? p->dev.panels : p->dev.w, NULL, cols, 0}},
                          .n_m = glu ? 2 : 1,
                          .glu = glu,
                          .act = ACT_SILU,
                          .cols = p->cols,
                          .row_bytes = cuda_row_bytes(k, (int)p->f->id, p->cols),
                          .rows = ROWS_T,
                          .together = panels ? 2 : 0,
                          .split = shape.split,
                          .scale = 1.0f,
                          .n_head = 1,
                          .div = 1};
    const struct rt_launch l = {&f->k,
                                {((uint32_t)n + per - 1) / per,
                                 which >= BY_TILES || shape.grid_y < 2 ? shape.grid_y : 2, 1},
                                f->block,
                                shape.shared,
                                &a};

    const int32_t rows[4] = {n, 0, 0, 0};
    ck_assert_int_eq(rt_copy(p->rt, p->dev.n, rows, sizeof rows), 0);
    if (!glu)
        a.act = ACT_NONE;
    a.m[1] = a.m[0];
    a.m[1].w += (cols >> a.together) * a.row_bytes;
    if (k->input != INPUT_PLAIN) {
        struct pack_args pack = {.s = a.s,
                                 .x = a.x,
                                 .to = p->dev.q,
                                 .halves = k->input == INPUT_X16 ? p->dev.h : NULL,
                                 .cols = p->cols,
                                 .rows = ROWS_T,
                                 .n_head = 1};
        start(p->rt, &(struct rt_launch){&kern_pack, {(uint32_t)n, 2, 1}, GEMV_THREADS, 0, &pack});
    }
    start(p->rt, &l);
    if (p->f->sub)
        fetch(p, p->q, p->dev.q, (uint64_t)n * (uint64_t)p->cols / 32 * sizeof *p->q);
    fetch(p, y, p->dev.y, (uint64_t)(n * cols) * sizeof *y);
}

static void check_values(const struct problem *p, const float *y)
{
    for (int i = 0; i < INPUTS; i++)
        for (int r = 0; r < ROWS; r++) {
            double rounded = 0, exact = 0, ww = 0, xx = 0, terms = 0;
            for (int64_t c = 0; c < p->cols; c++) {
                const double w =
                    (double)p->f->get(p->w + (uint64_t)r * p->row_bytes +
                                          (uint64_t)(c / p->f->block) * (uint64_t)p->f->bytes,
                                      (int)(c % p->f->block));
                const double x = (double)p->x[i * p->cols + c];
                const struct q32 *q = &p->q[(i * p->cols + c) / 32];
                const double in = p->f->sub ? (double)q->d * q->q[c % 32] : x;

                rounded += w * in;
                exact += w * x;
                terms += fabs(w * in);
                ww += w * w;
                xx += x * x;
            }
            ck_assert_msg(fabs((double)y[i * ROWS + r] - rounded) <= 1e-4 * terms + 1e-30 &&
                              fabs((double)y[i * ROWS + r] - exact) <=
                                  (double)p->f->tol * sqrt(ww * xx) + 1e-30,
                          "%s, %d columns, row %d, input %d: %.9g, expected %.9g (exact %.9g)",
                          p->f->name, (int)p->cols, r, i, (double)y[i * ROWS + r], rounded, exact);
        }
}

static void check_format(struct rt *rt, const struct fmt_info *f, int64_t cols)
{
    struct problem p = problem_new(rt, f, cols, ROWS, INPUTS);
    float *all = need(INPUTS * ROWS * sizeof *all), *some = need(INPUTS * ROWS * sizeof *some);

    multiply(&p, INPUTS, BY_ONE, false, 0, all);
    check_values(&p, all);
    for (int n = 1; n <= INPUTS; n += n < 3 ? 1 : 4) {
        multiply(&p, n, BY_FEW, false, 0, some);
        ck_assert_msg(memcmp(all, some, (size_t)n * ROWS * sizeof *all) == 0,
                      "%s: other bits for %d rows of inputs", f->name, n);
    }
    for (int x = 0; gemv_half_some((int)f->id) && x < 3; x++) {
        multiply(&p, INPUTS, BY_SMALL + (enum kernel)x, false, 0, some);
        ck_assert_msg(memcmp(all, some, (size_t)INPUTS * ROWS * sizeof *all) == 0,
                      "%s: other bits for %d rows at once", f->name, 8 << x);
    }
    mem_free(all);
    mem_free(some);
    problem_free(&p);
}

/* The tensor cores' kernel against the one for single rows. */
static void check_tiles(struct rt *rt, const struct fmt_info *f, int64_t cols, int rows, int inputs)
{
    struct problem p = problem_new(rt, f, cols, rows, inputs);
    const size_t n = (size_t)rows * (size_t)inputs;
    float *want = need(n * sizeof *want), *got = need(n * sizeof *got);

    for (int glu = 0; glu < 2; glu++) {
        const size_t made = glu ? n / 2 : n;
        multiply(&p, inputs, BY_ONE, glu, 0, want);
        multiply(&p, inputs, BY_TILES, glu, 0, got);
        ck_assert_msg(memcmp(want, got, made * sizeof *want) == 0,
                      "%s: other bits by tiles: %d columns, %d rows, %d inputs%s", f->name,
                      (int)cols, rows, inputs, glu ? ", gate and up" : "");
    }
    mem_free(want);
    mem_free(got);
    problem_free(&p);
}

static struct rt *open_device(void)
{
    struct rt *rt = NULL;

    ck_assert_msg(rt_open(&rt, 0) == 0, "%s", rt_error());
    return rt;
}

START_TEST(every_format_multiplies)
{
    struct rt *rt = open_device();

    for (size_t i = 0; fmt_at(i); i++) {
        const struct fmt_info *f = fmt_at(i);
        static const int64_t plain[] = {1, 7, 64, 300, 513}, blocks[] = {32, 64, 256, 288, 1280};

        ck_assert_msg(cuda_fmt((int)f->id) != NULL, "%s has no kernel", f->name);
        for (size_t k = 0; k < ARRAY_LEN(plain); k++) {
            const int64_t cols = f->sub ? blocks[k] : plain[k];
            if (cols % f->block == 0)
                check_format(rt, f, cols);
        }
    }
    rt_close(rt);
}
END_TEST

/* Rows of a table, number by number, are what the format's decoder makes. */
START_TEST(every_format_gives_rows)
{
    struct rt *rt = open_device();

    for (size_t i = 0; fmt_at(i); i++) {
        const struct fmt_info *f = fmt_at(i);
        struct problem p = problem_new(rt, f, 512, ROWS, INPUTS);
        float *y = need(ROWS * 512 * sizeof *y), *want = need(ROWS * 512 * sizeof *want);
        const struct fetch_args a = {
            .w = p.dev.w, .cols = 512, .out = {p.dev.y, 512}, .scale = 1.0f, .mode = FETCH_ALL};

        f->decode(p.w, want, (size_t)(ROWS * 512 / f->block));
        start(rt,
              &(struct rt_launch){&cuda_fmt((int)f->id)->fetch, {ROWS, 1, 1}, MAP_THREADS, 0, &a});
        fetch(&p, y, p.dev.y, ROWS * 512 * sizeof *y);
        ck_assert_msg(memcmp(y, want, ROWS * 512 * sizeof *y) == 0, "%s", f->name);
        mem_free(y);
        mem_free(want);
        problem_free(&p);
    }
    rt_close(rt);
}
END_TEST

START_TEST(tiles_make_the_same_bits)
{
    struct rt *rt = open_device();

    for (size_t i = 0; fmt_at(i); i++) {
        const struct fmt_info *f = fmt_at(i);

        if (!cuda_fmt((int)f->id)->tiles.k.name) {
            ck_assert_msg(f->sub == 0 && f->id != FMT_F16 && f->id != FMT_BF16,
                          "%s has no kernel for many rows", f->name);
            continue;
        }
        check_tiles(rt, f, 256, 130, 66);
        if (f->sub == 0) {
            check_tiles(rt, f, 1537, 30, 10);
            continue;
        }
        check_tiles(rt, f, f->block == 256 ? 2304 : 320, 20, 3);
    }
    rt_close(rt);
}
END_TEST

static void to_panels(struct problem *p)
{
    const struct fmt_kern *k = gemv_panels((int)p->f->id);
    struct repack_args a = {.from = p->dev.w,
                            .cols = p->cols,
                            .row_bytes = (int64_t)p->row_bytes,
                            .panel_bytes = cuda_row_bytes(k, (int)p->f->id, p->cols)};
    const uint32_t panels = (uint32_t)(p->rows / PANEL);

    ck_assert_msg(p->cols % 256 || a.panel_bytes < (int64_t)(PANEL * p->row_bytes + 16), "%s: %d",
                  p->f->name, (int)a.panel_bytes);
    a.to = p->dev.panels = device(p->rt, NULL, panels * (uint64_t)a.panel_bytes);
    start(p->rt, &(struct rt_launch){&k->repack, {panels, 1, 1}, MAP_THREADS, 0, &a});
}

/* Rows of a table that lie in panels. */
static void check_rows(struct problem *p)
{
    const struct fmt_kern *k = gemv_panels((int)p->f->id);
    const size_t n = (size_t)p->rows * (size_t)p->cols;
    float *y = need(n * sizeof *y), *want = need(n * sizeof *want),
          *dev = device(p->rt, NULL, n * sizeof *y);
    const struct fetch_args a = {.w = p->dev.panels,
                                 .row_bytes = cuda_row_bytes(k, (int)p->f->id, p->cols),
                                 .cols = p->cols,
                                 .out = {dev, p->cols},
                                 .scale = 1.0f,
                                 .mode = FETCH_ALL};

    p->f->decode(p->w, want, n / (size_t)p->f->block);
    start(p->rt, &(struct rt_launch){&k->fetch, {(uint32_t)p->rows, 1, 1}, MAP_THREADS, 0, &a});
    fetch(p, y, dev, n * sizeof *y);
    ck_assert_msg(memcmp(y, want, n * sizeof *y) == 0, "%s: other rows of panels", p->f->name);
    rt_free(p->rt, dev);
    mem_free(y);
    mem_free(want);
}

static void check_panels(struct rt *rt, const struct fmt_info *f, int64_t cols, int rows,
                         int inputs)
{
    static const int units[] = {1, 2,
                                1000}; // warps that share a panel: 1, 2 or more, as many as can
    static const char *const how[] = {"",        "for few rows", "by tiles", "through rings",
                                      "in bulk", "x8",           "x16",      "x32"};
    struct problem p = problem_new(rt, f, cols, rows, inputs);
    const size_t n = (size_t)rows * (size_t)inputs;
    float *want = need(n * sizeof *want), *got = need(n * sizeof *got);

    to_panels(&p);
    check_rows(&p);
    for (int glu = 0; glu < 2; glu++) {
        const size_t bytes = (glu ? n / 2 : n) * sizeof *want;

        multiply(&p, inputs, BY_ONE, glu, 0, want);
        for (size_t i = 0; i < ARRAY_LEN(units); i++) {
            multiply(&p, inputs, BY_ONE, glu, units[i], got);
            ck_assert_msg(memcmp(want, got, bytes) == 0,
                          "%s: other bits of panels: %d columns, %d rows, %d inputs%s, units %d",
                          f->name, (int)cols, rows, inputs, glu ? ", gate and up" : "", units[i]);
        }
        for (enum kernel k = BY_FEW; k < BY_WIDE; k++) {
            multiply(&p, inputs, k, glu, 3, got);
            ck_assert_msg(memcmp(want, got, bytes) == 0,
                          "%s: other bits of panels %s: %d columns, %d rows, %d inputs%s", f->name,
                          how[k], (int)cols, rows, inputs, glu ? ", gate and up" : "");
        }
    }
    mem_free(want);
    mem_free(got);
    problem_free(&p);
}

START_TEST(panels_make_the_same_bits)
{
    struct rt *rt = open_device();
    int n = 0;

    for (size_t i = 0; fmt_at(i); i++) {
        const struct fmt_info *f = fmt_at(i);

        if (!gemv_panels((int)f->id))
            continue;
        n++;
        check_panels(rt, f, 256, 136, 10);
        check_panels(rt, f, f->block == 256 ? 2304 : 1376, 16, 3);
        check_panels(rt, f, f->block == 256 ? 1280 : 32, 24, 9);
    }
    ck_assert_int_ge(n, 7);
    rt_close(rt);
}
END_TEST

/* Warpgroups' products, which the host has not: close to the others, not the same bits. */
START_TEST(warpgroups_come_close)
{
    struct rt *rt = open_device();
    struct rt_info info;

    rt_info(rt, &info);
    for (int64_t cols = 64; info.sm == 90 && gemv_wide(FMT_BF16, cols) && cols <= 4096; cols *= 4)
        for (int glu = 0; glu < 2; glu++) {
            enum { WIDE_N = 300, WIDE_M = 400 };
            struct problem p = problem_new(rt, fmt_find(FMT_BF16), cols, WIDE_M, WIDE_N);
            const size_t n = (size_t)WIDE_N * (glu ? WIDE_M / 2 : WIDE_M);
            float *want = need(n * sizeof *want), *got = need(n * sizeof *got);
            double square = 0;

            multiply(&p, WIDE_N, BY_TILES, glu, 0, want);
            multiply(&p, WIDE_N, BY_WIDE, glu, 0, got);
            for (size_t i = 0; i < n; i++)
                square += (double)want[i] * (double)want[i];
            for (size_t i = 0; i < n; i++)
                ck_assert_msg(fabs((double)(got[i] - want[i])) <= 0.05 * sqrt(square / (double)n),
                              "%d columns%s: number %zu is %g, expected %g", (int)cols,
                              glu ? ", gate and up" : "", i, (double)got[i], (double)want[i]);
            mem_free(want);
            mem_free(got);
            problem_free(&p);
        }
    rt_close(rt);
}
END_TEST

/* -- keys and values -- */

enum { HEADS = 2, WIDE = 96, PLACES = 5 };

/* Codes and scales of a row as its format's encoder makes them. */
static void check_row(const struct fmt_info *f, const float *x, const uint8_t *head, int at)
{
    const int n = WIDE / 32, codes = f->bytes - 2;
    uint8_t want[WIDE * 4];

    if (f->encode)
        f->encode(x, want, (size_t)n);
    else
        f->encode_weighted(x, NULL, 0.0f, want, (size_t)n);
    for (int b = 0; b < n; b++) {
        const uint8_t *block = want + b * f->bytes;
        const uint8_t *code = head + (at * n + b) * codes,
                      *scale = head + KV_PAGE * n * codes + (at * n + b) * 2;
        ck_assert_msg(memcmp(code, block + 2, (size_t)codes) == 0 && memcmp(scale, block, 2) == 0,
                      "%s: position %d, block %d", f->name, at, b);
    }
}

START_TEST(what_is_stored_is_what_the_format_makes)
{
    static const int types[] = {FMT_Q8_0, FMT_Q4_0};
    struct rt *rt = open_device();
    struct rng rng = {9, 0};
    float x[PLACES * HEADS * WIDE];

    for (int i = 0; i < PLACES * HEADS * WIDE; i++)
        x[i] = (float)rng_next_normal(&rng) * (i % 37 == 0 ? 30.0f : i / WIDE == 3 ? 0.0f : 1.0f);
    x[70] = -x[64]; // two as large, x[64] counts
    for (size_t k = 0; k < ARRAY_LEN(types); k++) {
        const struct fmt_info *f = fmt_find(types[k]);
        const int32_t step[4 + 2 * PLACES] = {PLACES, 0, 0, 0, 3, 4, 31, 0, 7}, table[1] = {1};
        const size_t head = KV_PAGE * WIDE / 32 * (size_t)f->bytes;
        uint8_t *pool = device(rt, NULL, 64 << 10), *got = need(64 << 10);
        int32_t *n = device(rt, step, sizeof step), *t = device(rt, table, sizeof table);
        float *dev = device(rt, x, sizeof x);
        const struct store_args a = {.s = {.n = n, .pos = n + 4, .slot = n + 4 + PLACES},
                                     .kv = {.pool = pool,
                                            .table = t,
                                            .max_page = 1,
                                            .v_at = (uint32_t)(HEADS * head),
                                            .type_k = types[k],
                                            .type_v = types[k],
                                            .n_kv = HEADS,
                                            .dk = WIDE,
                                            .dv = WIDE},
                                     .k = {dev, HEADS * WIDE},
                                     .v = {dev, HEADS * WIDE}};

        start(rt, &(struct rt_launch){
                      &kern_store, {PLACES, HEADS, 1}, ATTN_THREADS, WIDE * sizeof(float), &a});
        ck_assert(rt_copy(rt, got, pool, 64 << 10) == 0 && rt_sync(rt) == 0);
        for (int i = 0; i < 2 * PLACES * HEADS; i++)
            check_row(f, x + i / 2 * WIDE,
                      got + 1024 + (size_t)(i % 2 * HEADS + i / 2 % HEADS) * head,
                      step[4 + i / 2 / HEADS]);
        rt_free(rt, pool);
        rt_free(rt, n);
        rt_free(rt, t);
        rt_free(rt, dev);
        mem_free(got);
    }
    rt_close(rt);
}
END_TEST

TEST_MAIN("simt/formats", warpgroups_come_close, every_format_multiplies, tiles_make_the_same_bits,
          panels_make_the_same_bits, every_format_gives_rows,
          what_is_stored_is_what_the_format_makes)
