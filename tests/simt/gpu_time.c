/* gpu_time.c - what a device can do: bytes read a second, the gap between launches, the cost of a
 * graph's node and of copying a step's numbers, and matrices of every format times one row and
 * eight rows against that rate, and times the rows of a prompt.
 *
 * Part of make gpu-kit: gpu_time [MIB of a matrix, default 512; 0: only names the device]. Also
 * linked with the host's runtime, where it only shows that it runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/cuda/cuda.h"
#include "quant/quant.h"

#define COLS   4096
#define INPUTS 8
#define PROMPT 512 // rows of a prompt, times a matrix of as many columns as COLS

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

/* Seconds of a step's numbers on their way: all of them for 2,048 rows, or those of one row. */
static double copy_time(struct rt *rt, bool all)
{
    enum { N = 1000, PITCH = 8192, ARRAYS = 12 };
    uint8_t *to = device(rt, PITCH * ARRAYS), *from = rt_alloc_host(rt, PITCH * ARRAYS);
    double seconds = 0;

    must(from ? 0 : -1, "memory");
    memset(from, 0, PITCH * ARRAYS);
    must(rt_mark(rt, 0), "clock");
    for (int i = 0; i < N; i++)
        must(all ? rt_copy(rt, to, from, PITCH * ARRAYS)
                 : rt_copy_parts(rt, to, from, 16, PITCH, 9),
             "copy");
    must(rt_mark(rt, 1), "clock");
    must(rt_reached(rt, 1), "clock");
    must(rt_between(rt, 0, 1, &seconds), "clock");
    rt_free_host(rt, from);
    rt_free(rt, to);
    return seconds / N;
}

/* Seconds of a matrix times so many rows of inputs. */
static double matrix_time(struct rt *rt, const struct fmt_launch *f, const struct gemv_args *a,
                          int rows)
{
    const int64_t tiles = (a->m[0].rows + f->cols - 1) / f->cols;
    const struct rt_launch l = {
        &f->k,
        {(uint32_t)((rows + f->rows - 1) / f->rows), (uint32_t)(tiles < 32768 ? tiles : 32768), 1},
        f->block,
        f->shared,
        a};

    return time_of(rt, &l, 10, false) / 10;
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
    if (!bytes) { // only whether there is one
        rt_close(rt);
        return 0;
    }
    uint8_t *w = device(rt, bytes);
    float *x = device(rt, PROMPT * COLS * sizeof *x);
    const uint64_t made = INPUTS * (bytes / 256), prompt = (uint64_t)PROMPT * COLS;
    float *y = device(rt, (made > prompt ? made : prompt) * sizeof *y);
    struct q32 *q = device(rt, PROMPT * COLS / 32 * sizeof *q);
    struct x16 *h = device(rt, PROMPT * COLS / 32 * sizeof *h);
    int32_t *n = device(rt, sizeof rows);
    must(rt_copy(rt, n, rows, sizeof rows), "copy");

    struct map_args tiny = {
        .s = {.n = n}, .x = {x, 32}, .out = {x, 32}, .cols = 32, .scale = 1.0f, .kind = MAP_SCALE};
    struct rt_launch l = {&kern_map, {1, 1, 1}, MAP_THREADS, 0, &tiny};
    printf("launch_us\t%.2f\n", time_of(rt, &l, 1000, false) * 1e3);
    printf("graph_node_us\t%.2f\n", time_of(rt, &l, 1000, true) * 1e3);

    printf("copy_96_KB_us\t%.2f\n", copy_time(rt, true) * 1e6);
    printf("copy_one_row_us\t%.2f\n", copy_time(rt, false) * 1e6);

    printf("format\tMB\tus_1\tGB_s_1\tpercent_of_F32\tus_8\tGB_s_8\tTFLOP_s_512\n");
    for (size_t i = 0; fmt_at(i); i++) {
        const struct fmt_info *f = fmt_at(i);
        const struct fmt_kern *k = cuda_fmt((int)f->id);
        uint64_t row = 0;
        double t[3] = {0};

        fmt_row_bytes((int)f->id, COLS, &row);
        struct gemv_args a = {.s = {.n = n},
                              .x = {x, COLS},
                              .xq = k->input == INPUT_Q32 ? q : NULL,
                              .xh = k->input == INPUT_X16 ? h : NULL,
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
        t[0] = matrix_time(rt, &k->few, &a, 1);
        t[1] = matrix_time(rt, &k->many, &a, INPUTS);
        const double size = (double)a.m[0].rows * (double)row;
        if (f->id == FMT_F32)
            read = size / t[0];
        if (k->tiles.k.name && row * COLS <= bytes) {
            must(rt_copy(rt, n, (const int32_t[4]){PROMPT}, sizeof rows), "copy");
            a.m[0].rows = a.out.ld = COLS;
            t[2] = matrix_time(rt, &k->tiles, &a, PROMPT);
            must(rt_copy(rt, n, rows, sizeof rows), "copy");
        }
        printf("%s\t%.1f\t%.1f\t%.1f\t%.0f\t%.1f\t%.1f\t%.1f\n", f->name, size * 1e-6, t[0] * 1e6,
               size / t[0] * 1e-9, 100 * size / t[0] / read, t[1] * 1e6, size / t[1] * 1e-9,
               t[2] > 0 ? 2e-12 * PROMPT * COLS * COLS / t[2] : 0.0);
        fflush(stdout);
    }
    rt_free(rt, w);
    rt_free(rt, x);
    rt_free(rt, y);
    rt_free(rt, q);
    rt_free(rt, h);
    rt_free(rt, n);
    rt_close(rt);
    return 0;
}
