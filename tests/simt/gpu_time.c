/* gpu_time.c - what a device can do: bytes read a second, the gap between launches, the cost of a
 * graph's node, and matrices of every format times one row and eight rows against that rate.
 *
 * Part of make gpu-kit: gpu_time [MIB of a matrix, default 512]. Also linked with the host's
 * runtime, where it only shows that it runs.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "kernels/cuda/kern.h"
#include "quant/quant.h"

#define COLS   4096
#define INPUTS 8

static const struct fmt_kern *kernels(int fmt)
{
    const struct fmt_kern *k = gemv_plain(fmt);

    k = k ? k : gemv_small(fmt);
    k = k ? k : gemv_large(fmt);
    return k ? k : gemv_points(fmt);
}

static void must(int rc, const char *what)
{
    if (rc == 0)
        return;
    fprintf(stderr, "gpu_time: %s: %s\n", what, rt_error());
    exit(4);
}

static void *device(struct rt *rt, uint64_t n)
{
    void *p = rt_alloc(rt, n);

    must(p ? 0 : -1, "memory");
    must(rt_zero(rt, p, n), "memory");
    return p;
}

/* Seconds of n launches, or of a graph of them. */
static double time_of(struct rt *rt, const struct rt_launch *l, int n, bool graph)
{
    struct rt_graph *g = NULL;
    double seconds = 0;

    if (graph) {
        must(rt_record_begin(rt), "graph");
        for (int i = 0; i < n; i++)
            must(rt_launch(rt, l), l->k->name);
        must(rt_record_end(rt, &g), "graph");
        must(rt_replay(rt, g), "graph");
    }
    must(rt_launch(rt, l), l->k->name);
    must(rt_mark(rt, 0), "clock");
    for (int i = 0; i < (graph ? 1 : n); i++)
        must(graph ? rt_replay(rt, g) : rt_launch(rt, l), l->k->name);
    must(rt_mark(rt, 1), "clock");
    must(rt_reached(rt, 1), "clock");
    must(rt_between(rt, 0, 1, &seconds), "clock");
    rt_graph_free(g);
    return seconds;
}

int main(int argc, char **argv)
{
    const uint64_t bytes = (argc > 1 ? strtoul(argv[1], NULL, 10) : 512) << 20;
    const int32_t rows[4] = {INPUTS, 0, 0, 0};
    struct rt *rt = NULL;
    struct rt_info info;
    double read = 0;

    must(rt_open(&rt, 0), "no device");
    rt_info(rt, &info);
    printf("device\t%s\nmultiprocessors\t%d\ncapability\t%d\nfree_bytes\t%llu\n", info.name,
           info.units, info.sm, (unsigned long long)info.free);
    uint8_t *w = device(rt, bytes);
    float *x = device(rt, INPUTS * COLS * sizeof *x);
    float *y = device(rt, INPUTS * (bytes / 256) * sizeof *y);
    struct q32 *q = device(rt, INPUTS * COLS / 32 * sizeof *q);
    int32_t *n = device(rt, sizeof rows);
    must(rt_copy(rt, n, rows, sizeof rows), "copy");

    struct map_args tiny = {
        .s = {.n = n}, .x = {x, 32}, .out = {x, 32}, .cols = 32, .scale = 1.0f, .kind = MAP_SCALE};
    struct rt_launch l = {&kern_map, {1, 1, 1}, MAP_THREADS, 0, &tiny};
    printf("launch_us\t%.2f\n", time_of(rt, &l, 1000, false) * 1e3);
    printf("graph_node_us\t%.2f\n", time_of(rt, &l, 1000, true) * 1e3);

    printf("format\tMB\tus_1\tGB_s_1\tpercent_of_F32\tus_8\tGB_s_8\n");
    for (size_t i = 0; fmt_at(i); i++) {
        const struct fmt_info *f = fmt_at(i);
        const struct fmt_kern *k = kernels((int)f->id);
        uint64_t row = 0;
        double t[2];

        fmt_row_bytes((int)f->id, COLS, &row);
        struct gemv_args a = {.s = {.n = n},
                              .x = {x, COLS},
                              .xq = f->sub ? q : NULL,
                              .n_m = 1,
                              .cols = COLS,
                              .row_bytes = (int64_t)row,
                              .rows = ROWS_T,
                              .scale = 1.0f,
                              .n_head = 1,
                              .div = 1};
        a.m[0] = (struct mat){w, NULL,
                              (int64_t)(bytes / row < bytes / 256 ? bytes / row : bytes / 256), 0};
        a.out = (struct view){y, a.m[0].rows};
        l = (struct rt_launch){&k->few, {1, 32768, 1}, GEMV_THREADS, 0, &a};
        if ((uint64_t)a.m[0].rows / 4 < l.grid[1])
            l.grid[1] = (uint32_t)((a.m[0].rows + 3) / 4);
        t[0] = time_of(rt, &l, 10, false) / 10;
        l.k = &k->many;
        l.grid[0] = (uint32_t)(INPUTS / k->at_once);
        t[1] = time_of(rt, &l, 10, false) / 10;
        const double size = (double)a.m[0].rows * (double)row;
        if (f->id == FMT_F32)
            read = size / t[0];
        printf("%s\t%.1f\t%.1f\t%.1f\t%.0f\t%.1f\t%.1f\n", f->name, size * 1e-6, t[0] * 1e6,
               size / t[0] * 1e-9, 100 * size / t[0] / read, t[1] * 1e6, size / t[1] * 1e-9);
        fflush(stdout);
    }
    rt_free(rt, w);
    rt_free(rt, x);
    rt_free(rt, y);
    rt_free(rt, q);
    rt_free(rt, n);
    rt_close(rt);
    return 0;
}
