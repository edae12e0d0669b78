/* test_formats.c - matrices of every format on the CUDA backend's kernels, run on the host: against
 * the format's definition, and the same bits for any number of rows at once. */
#include "tests/suite.h"

#include <math.h>

#include "base/mem.h"
#include "base/rng.h"
#include "kernels/cuda/kern.h"
#include "quant/quant.h"
#include "quant/synth.h"
#include "tests/simt/simt_run.h"

enum { ROWS = 9, INPUTS = 11 };

static const struct fmt_kern *kernels(int fmt)
{
    const struct fmt_kern *k = gemv_plain(fmt);

    k = k ? k : gemv_small(fmt);
    k = k ? k : gemv_large(fmt);
    return k ? k : gemv_points(fmt);
}

struct problem {
    const struct fmt_info *f;
    int64_t cols;
    uint64_t row_bytes;
    uint8_t *w;
    float *x;
    struct q32 *q;
    struct step s;
    int32_t n[4];
};

static void *need(uint64_t n)
{
    void *p = mem_aligned(n + 64, 64, NULL);

    ck_assert_ptr_nonnull(p);
    return p;
}

static struct problem problem_new(const struct fmt_info *f, int64_t cols)
{
    struct problem p = {.f = f, .cols = cols};
    struct rng rng = {(uint64_t)cols, 0};
    uint64_t n;

    ck_assert(fmt_row_bytes((int)f->id, (uint64_t)cols, &p.row_bytes));
    n = ROWS * p.row_bytes;
    p.w = need(n);
    if (synth_can(f))
        synth_blocks(f, p.w, 0, ROWS * (size_t)cols / (size_t)f->block, 0.05f, 7);
    else
        for (uint64_t i = 0; i < n; i++)
            p.w[i] = (uint8_t)(rng_next(&rng) % 7);
    p.x = need((uint64_t)(INPUTS * cols) * sizeof *p.x);
    p.q = need((uint64_t)(INPUTS * cols / 32 + 1) * sizeof *p.q);
    for (int64_t i = 0; i < INPUTS * cols; i++)
        p.x[i] = i / cols == 3 ? 0.0f : (float)rng_next_normal(&rng);
    return p;
}

static void problem_free(struct problem *p)
{
    mem_free(p->w);
    mem_free(p->x);
    mem_free(p->q);
}

static void start(const struct rt_kern *k, const void *args, uint32_t x, uint32_t y, uint32_t block)
{
    const struct rt_launch l = {k, {x, y, 1}, block, 0, args};

    simt_seed++;
    simt_run(&l);
}

/* The results for n rows of inputs, by the kernel for one row or for many. */
static void multiply(struct problem *p, int n, bool many, float *y)
{
    const struct fmt_kern *k = kernels((int)p->f->id);
    const uint32_t per = many ? (uint32_t)k->at_once : 1;
    struct gemv_args a = {.s = {.n = p->n},
                          .x = {p->x, p->cols},
                          .xq = p->f->sub ? p->q : NULL,
                          .out = {y, ROWS},
                          .m = {{p->w, NULL, ROWS, 0}},
                          .n_m = 1,
                          .cols = p->cols,
                          .row_bytes = (int64_t)p->row_bytes,
                          .rows = ROWS_T,
                          .scale = 1.0f,
                          .n_head = 1,
                          .div = 1};

    p->n[0] = n;
    if (p->f->sub) {
        struct pack_args pack = {
            .s = a.s, .x = a.x, .to = p->q, .cols = p->cols, .rows = ROWS_T, .n_head = 1};
        start(&kern_pack, &pack, (uint32_t)n, 2, GEMV_THREADS);
    }
    start(many ? &k->many : &k->few, &a, ((uint32_t)n + per - 1) / per, 2, GEMV_THREADS);
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

static void check_format(const struct fmt_info *f, int64_t cols)
{
    struct problem p = problem_new(f, cols);
    float *all = need(INPUTS * ROWS * sizeof *all), *some = need(INPUTS * ROWS * sizeof *some);

    multiply(&p, INPUTS, false, all);
    check_values(&p, all);
    for (int n = 1; n <= INPUTS; n += n < 3 ? 1 : 4) {
        multiply(&p, n, true, some);
        ck_assert_msg(memcmp(all, some, (size_t)n * ROWS * sizeof *all) == 0,
                      "%s: other bits for %d rows of inputs", f->name, n);
    }
    mem_free(all);
    mem_free(some);
    problem_free(&p);
}

START_TEST(every_format_multiplies)
{
    for (size_t i = 0; fmt_at(i); i++) {
        const struct fmt_info *f = fmt_at(i);
        static const int64_t plain[] = {1, 7, 64, 300, 513}, blocks[] = {32, 64, 256, 288, 1280};

        ck_assert_msg(kernels((int)f->id) != NULL, "%s has no kernel", f->name);
        for (size_t k = 0; k < ARRAY_LEN(plain); k++) {
            const int64_t cols = f->sub ? blocks[k] : plain[k];
            if (cols % f->block == 0)
                check_format(f, cols);
        }
    }
}
END_TEST

/* Rows of a table, number by number, are what the format's decoder makes. */
START_TEST(every_format_gives_rows)
{
    for (size_t i = 0; fmt_at(i); i++) {
        const struct fmt_info *f = fmt_at(i);
        struct problem p = problem_new(f, 512);
        float *y = need(ROWS * 512 * sizeof *y), *want = need(ROWS * 512 * sizeof *want);
        const struct fetch_args a = {
            .w = p.w, .cols = 512, .out = {y, 512}, .scale = 1.0f, .mode = FETCH_ALL};

        f->decode(p.w, want, (size_t)(ROWS * 512 / f->block));
        start(&kernels((int)f->id)->fetch, &a, ROWS, 1, MAP_THREADS);
        ck_assert_msg(memcmp(y, want, ROWS * 512 * sizeof *y) == 0, "%s", f->name);
        mem_free(y);
        mem_free(want);
        problem_free(&p);
    }
}
END_TEST

TEST_MAIN("simt/formats", every_format_multiplies, every_format_gives_rows)
