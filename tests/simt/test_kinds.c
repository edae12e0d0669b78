/* test_kinds.c - every kind of record that a plan may hold has a test that runs it on the CUDA
 * backend: the list of them, and those kinds that tests of small plans leave out.
 */
#include "tests/suite.h"

#include "base/mem.h"
#include "kernels/cuda/cuda.h"
#include "plan/ops.h"
#include "tests/simt/simt_run.h"

/* Where a kind is run. Of simt/ops the tests are those of tests/kernels/test_ops.c. */
static const struct {
    const char *kind, *program, *test;
} run_by[] = {
    {"embed", "ops", "embed_scales_and_adds_positions"},
    {"take_rows", "kinds", "rows_are_taken"},
    {"copy", "ops", "column_by_column"},
    {"rmsnorm", "ops", "norms"},
    {"layernorm", "ops", "norms"},
    {"linear", "ops", "linears"},
    {"linear_multi", "ops", "linear_of_columns_and_many"},
    {"linear_heads", "ops", "linear_per_head"},
    {"lora", "ops", "adapters"},
    {"steer", "kinds", "rows_are_steered"},
    {"glu", "ops", "gated_networks"},
    {"rope", "ops", "rotary_positions"},
    {"kv_store", "ops", "attention_over_packed_pages"},
    {"attn", "ops", "attention"},
    {"moe_route", "ops", "experts"},
    {"moe_glu", "ops", "experts"},
    {"moe_down", "ops", "experts"},
    {"conv1d", "ops", "convolution_and_shift"},
    {"shift", "ops", "convolution_and_shift"},
    {"lerp", "ops", "mixes"},
    {"ssm_scan", "ops", "state_space_scan"},
    {"rwkv", "ops", "rwkv_time_mixing"},
    {"add", "ops", "column_by_column"},
    {"mul", "ops", "column_by_column"},
    {"scale", "ops", "column_by_column"},
    {"act", "ops", "column_by_column"},
    {"softcap", "ops", "column_by_column"},
};

static bool has(const char *path, const char *test)
{
    char line[256], want[128];
    FILE *f = fopen(srcfile(path), "r");
    bool found = false;

    if (!f) // a kit has programs without their text
        return true;
    snprintf(want, sizeof want, "START_TEST(%s)", test);
    while (!found && fgets(line, sizeof line, f))
        found = strncmp(line, want, strlen(want)) == 0;
    fclose(f);
    return found;
}

START_TEST(every_kind_has_a_test)
{
    ck_assert_int_eq((int)ARRAY_LEN(run_by), OP_KINDS);
    for (int k = 0; k < OP_KINDS; k++) {
        const char *ops = strcmp(run_by[k].program, "ops") == 0 ? "tests/kernels/test_ops.c"
                                                                : "tests/simt/test_kinds.c";

        ck_assert_str_eq(run_by[k].kind, op_name(k));
        ck_assert_msg(has(ops, run_by[k].test), "%s: no test %s in %s", run_by[k].kind,
                      run_by[k].test, ops);
    }
}
END_TEST

enum { ROWS = 5, COLS = 150 };

struct bench {
    struct rt *rt;
    float *x, *y, host[ROWS * COLS], got[ROWS * COLS];
    int32_t *n;
};

static void *device(struct bench *b, const void *from, uint64_t n)
{
    void *p = rt_alloc(b->rt, n);

    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(rt_copy(b->rt, p, from, n), 0);
    return p;
}

static void open_bench(struct bench *b, int rows, int taken)
{
    const int32_t n[4] = {rows, taken, 0, 0};

    ck_assert_int_eq(rt_open(&b->rt, 0), 0);
    for (int i = 0; i < ROWS * COLS; i++)
        b->host[i] = (float)i * 0.25f;
    b->x = device(b, b->host, sizeof b->host);
    b->y = device(b, b->host, sizeof b->host);
    b->n = device(b, n, sizeof n);
}

static void play(struct bench *b, const struct rt_kern *k, const void *args, const float *from)
{
    const struct rt_launch l = {k, {ROWS, 2, 1}, MAP_THREADS, 0, args};

    simt_seed++;
    ck_assert_int_eq(rt_launch(b->rt, &l), 0);
    ck_assert_int_eq(rt_copy(b->rt, b->got, from, sizeof b->got), 0);
    ck_assert_int_eq(rt_sync(b->rt), 0);
}

static void close_bench(struct bench *b)
{
    rt_free(b->rt, b->x);
    rt_free(b->rt, b->y);
    rt_free(b->rt, b->n);
    rt_close(b->rt);
}

/* The rows that want logits, in their order; blocks for more of them end at once. */
START_TEST(rows_are_taken)
{
    const int32_t out[ROWS] = {4, 1, 2, 77, 77};
    struct bench b;

    open_bench(&b, ROWS, 3);
    int32_t *list = device(&b, out, sizeof out);
    const struct map_args a = {.s = {.n = b.n, .out = list},
                               .x = {b.x, COLS},
                               .out = {b.y, COLS},
                               .cols = COLS,
                               .kind = MAP_TAKE,
                               .rows = ROWS_S};
    play(&b, &kern_map, &a, b.y);
    for (int r = 0; r < ROWS; r++)
        ck_assert_mem_eq(b.got + r * COLS, b.host + (r < 3 ? out[r] : r) * COLS, COLS * 4);
    rt_free(b.rt, list);
    close_bench(&b);
}
END_TEST

/* Directions of a row's adapters join it in their order; a row without any stays as it is. */
START_TEST(rows_are_steered)
{
    struct lora_use use[ROWS];
    float dir[2 * COLS];
    struct bench b;

    for (int i = 0; i < 2 * COLS; i++)
        dir[i] = 1.0f / (float)(1 + i);
    for (int r = 0; r < ROWS; r++)
        for (int k = 0; k < LORA_MIX; k++) {
            use[r].slot[k] = k < r && k < 2 ? 1 - k : -1; // 0, 1, 2 ... of them
            use[r].scale[k] = 0.5f + (float)r;
        }
    open_bench(&b, ROWS, 0);
    float *far_dir = device(&b, dir, sizeof dir);
    struct lora_use *far_use = device(&b, use, sizeof use);
    const struct lora_pair pair[2] = {{far_dir, NULL, 1, 1.0f}, {far_dir + COLS, NULL, 1, 2.0f}};
    struct lora_pair *far_pair = device(&b, pair, sizeof pair);
    const struct lora_args a = {.s = {.n = b.n, .use = far_use},
                                .pair = far_pair,
                                .n_pair = 1,
                                .out = {b.x, COLS},
                                .out_cols = COLS,
                                .rows = ROWS_T};
    play(&b, &kern_steer, &a, b.x);
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLS; c++) {
            float want = b.host[r * COLS + c];

            if (r > 0)
                want += dir[COLS + c] * (2.0f * (0.5f + (float)r));
            if (r > 1)
                want += dir[c] * (0.5f + (float)r);
            ck_assert_msg(b.got[r * COLS + c] == want, "row %d, column %d: %g, not %g", r, c,
                          (double)b.got[r * COLS + c], (double)want);
        }
    rt_free(b.rt, far_dir);
    rt_free(b.rt, far_use);
    rt_free(b.rt, far_pair);
    close_bench(&b);
}
END_TEST

TEST_MAIN("simt/kinds", every_kind_has_a_test, rows_are_taken, rows_are_steered)
