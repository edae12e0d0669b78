/* gpu_matrix.c - the kernels there are for a matrix, side by side, on the shapes of real models:
 * one row of inputs and a few, each against the rate at which memory can be read at all.
 *
 * Part of make gpu-kit: gpu_matrix [MIB, default 512]. A launch after the other, in a graph, each
 * on a matrix of its own within so many MiB, so that no cache has it. Columns: format, columns and
 * rows of the matrix (two: gate and up), rows of inputs, kernel, microseconds, GB/s, percent. Also
 * linked with the host's runtime, where it only shows that it runs.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "kernels/cuda/cuda.h"
#include "quant/quant.h"

enum { LAUNCHES = 48, PROMPT = 2048, COLS_MAX = 14336, ROWS_MAX = 128256 };

struct bench {
    struct rt *rt;
    struct rt_info info;
    uint64_t bytes;
    uint8_t *w;
    float *x, *y;
    void *packed;
    int32_t *n;
    double read; // bytes a second
};

static void must(int rc, const char *what)
{
    if (rc == 0)
        return;
    fprintf(stderr, "gpu_matrix: %s: %s\n", what, rt_error());
    exit(4);
}

static void *device(struct rt *rt, uint64_t n)
{
    void *p = rt_alloc(rt, n);

    must(p ? 0 : -1, "memory");
    must(rt_zero(rt, p, n), "memory");
    return p;
}

/* Seconds of a graph of n launches, the second time that it runs. */
static double graph_time(struct rt *rt, struct rt_launch *l, int n,
                         void (*next)(struct rt_launch *))
{
    struct rt_graph *g = NULL;
    double seconds = 0;

    must(rt_record_begin(rt), "graph");
    for (int i = 0; i < n; i++) {
        next(l);
        must(rt_launch(rt, l), l->k->name);
    }
    must(rt_record_end(rt, &g), "graph");
    must(rt_replay(rt, g), l->k->name);
    must(rt_mark(rt, 0), "clock");
    must(rt_replay(rt, g), l->k->name);
    must(rt_mark(rt, 1), "clock");
    must(rt_reached(rt, 1), "clock");
    must(rt_between(rt, 0, 1, &seconds), "clock");
    rt_graph_free(g);
    return seconds;
}

static void same(struct rt_launch *l)
{
    (void)l;
}

static void read_rate(struct bench *b)
{
    struct read_args a = {
        .p = (const void *)b->w, .n = (int64_t)(b->bytes / 16), .out = (uint32_t *)(void *)b->y};
    double best = 0;

    for (uint32_t per = 4; per <= 16; per *= 2) {
        struct rt_launch l = {
            &kern_read, {(uint32_t)b->info.units * per, 1, 1}, MAP_THREADS, 0, &a};
        const double rate = (double)b->bytes * 4 / graph_time(b->rt, &l, 4, same);
        printf("read\t%u blocks\t%.1f GB/s\n", l.grid[0], rate * 1e-9);
        best = rate > best ? rate : best;
    }
    b->read = best;
}

/* -- a matrix -- */

struct matrix {
    struct gemv_args a;
    const uint8_t *first, *end;
    uint64_t bytes; // of it, or of gate and up
};

static void next_matrix(struct rt_launch *l)
{
    struct matrix *m = (struct matrix *)(uintptr_t)l->args; // whose first member are the arguments

    m->a.m[0].w += m->bytes;
    if (m->a.m[0].w + m->bytes > m->end)
        m->a.m[0].w = m->first;
    m->a.m[1].w = m->a.m[0].w + m->bytes / 2;
}

static void time_kernel(struct bench *b, const struct fmt_info *f, const struct fmt_kern *k,
                        const struct fmt_launch *how, int64_t cols, int64_t rows, int glu,
                        int inputs)
{
    const struct gemv_shape shape = cuda_gemv_shape(how, cols, rows, glu, b->info.units);
    struct matrix m = {.a = {.s = {.n = b->n},
                             .x = {b->x, cols},
                             .xq = k->input == INPUT_Q32 ? b->packed : NULL,
                             .xh = k->input == INPUT_X16 ? b->packed : NULL,
                             .out = {b->y, rows},
                             .m = {{b->w, NULL, rows, 0}, {b->w, NULL, rows, 0}},
                             .n_m = glu ? 2 : 1,
                             .glu = glu,
                             .cols = cols,
                             .row_bytes = cuda_row_bytes(k, (int)f->id, cols),
                             .rows = ROWS_T,
                             .scale = 1.0f,
                             .act = glu ? ACT_SILU : ACT_NONE,
                             .n_head = 1,
                             .together = k->slice ? 2 : 0,
                             .split = shape.split,
                             .div = 1},
                       .first = b->w,
                       .end = b->w + b->bytes};
    struct rt_launch l = {&how->k,
                          {(uint32_t)((inputs + how->rows - 1) / how->rows), shape.grid_y, 1},
                          how->block,
                          shape.shared,
                          &m};

    m.bytes = (uint64_t)(rows >> m.a.together) * (uint64_t)m.a.row_bytes * (glu ? 2 : 1);
    if (m.bytes > b->bytes || shape.shared > b->info.shared)
        return;
    must(rt_copy(b->rt, b->n, (const int32_t[4]){inputs}, 16), "copy");
    must(rt_sync(b->rt), "copy");
    const int times = inputs > 64 ? 4 : LAUNCHES;
    const double t = graph_time(b->rt, &l, times, next_matrix) / times;
    printf("%s\t%lld\t%lld%s\t%d\t%s\t%.2f\t%.0f\t%.1f\t%.1f\n", f->name, (long long)cols,
           (long long)rows, glu ? " two" : "", inputs, how->k.name, t * 1e6,
           (double)m.bytes / t * 1e-9, 100 * (double)m.bytes / t / b->read,
           2e-12 * (double)(cols * rows) * (glu ? 2 : 1) * inputs / t);
    fflush(stdout);
}

static void time_shape(struct bench *b, const struct fmt_info *f, int64_t cols, int64_t rows,
                       int glu)
{
    static const int some[] = {2, 8, 16, 32, 64};
    const struct fmt_kern *file = cuda_fmt((int)f->id), *panels = gemv_panels((int)f->id);

    const struct fmt_launch *few =
        panels ? gemv_small_panels((int)f->id) : gemv_half_some((int)f->id);

    time_kernel(b, f, file, &file->few, cols, rows, glu, 1);
    if (panels) {
        const struct fmt_launch *ring = gemv_rings((int)f->id);
        time_kernel(b, f, panels, &panels->few, cols, rows, glu, 1);
        time_kernel(b, f, panels, &ring[0], cols, rows, glu, 1);
        if (b->info.sm >= 90)
            time_kernel(b, f, panels, &ring[1], cols, rows, glu, 1);
    }
    for (size_t i = 0; i < ARRAY_LEN(some); i++) {
        const struct fmt_kern *k = panels ? panels : file;
        if (some[i] <= 16)
            time_kernel(b, f, k, &k->many, cols, rows, glu, some[i]);
        for (int x = 0; x < 3 && some[i] <= 32; x++)
            if (few[x].rows >= some[i])
                time_kernel(b, f, k, &few[x], cols, rows, glu, some[i]);
        if (some[i] >= 16)
            time_kernel(b, f, k, &k->tiles, cols, rows, glu, some[i]);
    }
    for (int n = 512; n <= PROMPT && b->bytes >= 64u << 20; n *= 4) {
        const struct fmt_kern *k = panels ? panels : file;
        time_kernel(b, f, k, &k->tiles, cols, rows, glu, n);
        if (b->info.sm == 90 && gemv_wide((int)f->id, cols))
            time_kernel(b, f, k, gemv_wide((int)f->id, cols), cols, rows, glu, n);
    }
}

int main(int argc, char **argv)
{
    static const int format[] = {FMT_Q4_K, FMT_Q6_K,  FMT_Q8_0,   FMT_BF16, FMT_Q4_0,
                                 FMT_Q5_K, FMT_MXFP4, FMT_IQ4_XS, FMT_F16};
    struct bench b = {.bytes = (argc > 1 ? strtoull(argv[1], NULL, 10) : 512) << 20};
    const bool all = b.bytes >= 64u << 20;
    const uint64_t inputs = all ? PROMPT : 64;

    must(rt_open(&b.rt, 0), "no device");
    rt_info(b.rt, &b.info);
    b.w = device(b.rt, b.bytes);
    b.x = device(b.rt, inputs * COLS_MAX * sizeof *b.x);
    b.y = device(b.rt, inputs * (all ? ROWS_MAX : 4096) * sizeof *b.y);
    b.packed = device(b.rt, inputs * COLS_MAX / 32 * sizeof(struct x16));
    b.n = device(b.rt, 16);
    read_rate(&b);
    for (size_t i = 0; i < ARRAY_LEN(format); i++) {
        const struct fmt_info *f = fmt_find(format[i]);
        if (!all) { // the host
            time_shape(&b, f, 256, 64, 1);
            continue;
        }
        time_shape(&b, f, 2048, 2048, 0);   // 1B: output
        time_shape(&b, f, 2048, 8192, 1);   // 1B: gate and up
        time_shape(&b, f, 8192, 2048, 0);   // 1B: down
        time_shape(&b, f, 4096, 6144, 0);   // 8B: q, k, v
        time_shape(&b, f, 4096, 14336, 1);  // 8B: gate and up
        time_shape(&b, f, 14336, 4096, 0);  // 8B: down
        time_shape(&b, f, 4096, 128256, 0); // 8B: head
    }
    rt_free(b.rt, b.w);
    rt_free(b.rt, b.x);
    rt_free(b.rt, b.y);
    rt_free(b.rt, b.packed);
    rt_free(b.rt, b.n);
    rt_close(b.rt);
    return 0;
}
