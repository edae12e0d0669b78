/* test_memory.c - the CUDA backend's memory, on the host: what is said when it runs out, that
 * nothing stays behind then, and arrays of more than 2^32 bytes. */
#include "tests/suite.h"

#include "base/mem.h"
#include "base/rng.h"
#include "kernels/cuda/cuda.h"
#include "rill.h"
#include "tests/simt/simt_run.h"

/* -- running out -- */

static const char *refusal(const char *device)
{
    static struct err e;
    const struct rill_model_opts mo = {.device = device, .n_ctx = 64};
    const struct rill_engine_opts eo = {.max_seq = 2, .max_batch = 16, .n_ctx = 64};
    struct rill_model *m = NULL;
    struct rill_engine *g = NULL;
    int rc;

    memset(&e, 0, sizeof e);
    rc = rill_model_open(&m, srcfile("tests/golden/arch/llama.gguf"), &mo, &e);
    if (rc == 0)
        rc = rill_engine_open(&g, m, &eo, &e);
    rill_engine_close(g);
    rill_model_close(m);
    return rc == 0 ? NULL : e.text;
}

/* Weights, pages and values, room to work in: whichever does not fit is told with its size. */
START_TEST(what_is_wanted_and_what_is_free_is_said)
{
    int said = 0;

    for (int kib = 40; kib < 4096; kib += kib / 4) {
        char device[32];
        const char *text;

        snprintf(device, sizeof device, "cuda:0@%d", kib << 10);
        text = refusal(device);
        if (!text)
            break;
        ck_assert_msg((strstr(text, " bytes wanted") && strstr(text, " free")) ||
                          strstr(text, "key/value memory"),
                      "%s: %s", device, text);
        said++;
    }
    ck_assert_int_gt(said, 4);
    ck_assert_ptr_null(refusal("cuda:0"));
}
END_TEST

#ifndef RILL_GPU
/* The device itself has none left, at every allocation once; it aborts if something is kept. */
START_TEST(every_allocation_may_fail)
{
    const char *text = "";

    for (long n = 0; text; n++) {
        simt_fail = n;
        text = refusal("cuda:0");
        ck_assert_msg(!text || text[0], "allocation %ld", n);
        ck_assert_int_lt(n, 500);
    }
    simt_fail = -1;
}
END_TEST
#else
START_TEST(every_allocation_may_fail)
{
}
END_TEST
#endif

/* What percentages of rill-bench are of: the device's own rate, and nothing for the host's. */
START_TEST(reading_is_measured)
{
    static const char *const device[] = {"cuda:0@20000000", "cpu"};

    for (int i = 0; i < 2; i++) {
        const struct rill_model_opts mo = {.device = device[i], .n_ctx = 64};
        struct rill_model *m;
        struct err e = {0};

        ck_ok(rill_model_open(&m, srcfile("tests/golden/arch/llama.gguf"), &mo, &e), &e);
        ck_assert_int_eq(rill_model_read(m) > 0, i == 0);
        rill_model_close(m);
    }
}
END_TEST

/* -- more than 2^32 bytes -- */

enum { COLS = 256, ROWS = 9 };
#define FAR (UINT64_C(600) << 20) // from a row to the next: 9 of them are more than 2^32 bytes
#define BIG (ROWS * FAR)

static void *take(struct rt *rt, uint64_t n)
{
    void *p = rt_alloc(rt, n);

    ck_assert_msg(p != NULL, "%llu bytes of the device", (unsigned long long)n);
    return p;
}

static void send(struct rt *rt, void *to, const void *from, uint64_t n)
{
    ck_assert_msg(rt_copy(rt, to, from, n) == 0 && rt_sync(rt) == 0, "%s", rt_error());
}

static void start(struct rt *rt, const struct rt_kern *k, uint32_t x, uint32_t y, uint32_t block,
                  uint32_t shared, const void *args)
{
    const struct rt_launch l = {k, {x, y, 1}, block, shared, args};

    ck_assert_msg(rt_launch(rt, &l) == 0, "%s: %s", k->name, rt_error());
}

struct far {
    struct rt *rt;
    uint8_t *big;
    float *x, *y;
    struct q32 *q;
    struct x16 *h;
    int32_t *n;
    float host[ROWS * COLS];
};

static void open_far(struct far *f)
{
    const int32_t n[4] = {ROWS, 0, 0, 0};
    struct rng r = {3, 0};

#ifndef RILL_GPU
    simt_total = UINT64_C(64) << 30;
#endif
    *f = (struct far){0};
    ck_assert_int_eq(rt_open(&f->rt, 0), 0);
    f->big = take(f->rt, BIG);
    f->x = take(f->rt, sizeof f->host);
    f->y = take(f->rt, ROWS * ROWS * sizeof(float));
    f->q = take(f->rt, ROWS * COLS / 32 * sizeof *f->q);
    f->h = take(f->rt, ROWS * COLS / 32 * sizeof *f->h);
    f->n = take(f->rt, sizeof n);
    for (int i = 0; i < ROWS * COLS; i++)
        f->host[i] = (float)rng_next_normal(&r);
    send(f->rt, f->x, f->host, sizeof f->host);
    send(f->rt, f->n, n, sizeof n);
}

static void close_far(struct far *f)
{
    rt_free(f->rt, f->big);
    rt_free(f->rt, f->x);
    rt_free(f->rt, f->y);
    rt_free(f->rt, f->q);
    rt_free(f->rt, f->h);
    rt_free(f->rt, f->n);
    rt_close(f->rt);
}

/* ROWS inputs times a matrix whose rows lie so far apart. */
static void multiply(struct far *f, const struct fmt_kern *k, const struct fmt_launch *l,
                     const uint8_t *w, uint64_t row, float *out)
{
    struct gemv_args a = {.s = {.n = f->n},
                          .x = {f->x, COLS},
                          .xq = k->input == INPUT_Q32 ? f->q : NULL,
                          .xh = k->input == INPUT_X16 ? f->h : NULL,
                          .out = {f->y, ROWS},
                          .m = {{w, NULL, ROWS, 0}},
                          .n_m = 1,
                          .cols = COLS,
                          .row_bytes = (int64_t)row,
                          .rows = ROWS_T,
                          .scale = 1.0f,
                          .n_head = 1,
                          .div = 1};
    struct pack_args p = {.s = a.s,
                          .x = a.x,
                          .to = f->q,
                          .halves = k->input == INPUT_X16 ? f->h : NULL,
                          .cols = COLS,
                          .rows = ROWS_T,
                          .n_head = 1};

    start(f->rt, &kern_pack, ROWS, 2, GEMV_THREADS, 0, &p);
    start(f->rt, &l->k, (uint32_t)((ROWS + l->rows - 1) / l->rows),
          (uint32_t)((ROWS + l->cols - 1) / l->cols), l->block, l->shared, &a);
    send(f->rt, out, f->y, ROWS * ROWS * sizeof *out);
}

/* A format of each file of kernels, by one row, by a few, by tiles. */
START_TEST(matrices_of_more_than_32_bits)
{
    static const int formats[] = {FMT_F32, FMT_F16, FMT_Q8_0, FMT_Q4_K, FMT_IQ4_XS, FMT_MXFP4};
    struct far f;

    open_far(&f);
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        const struct fmt_kern *k = cuda_fmt(formats[i]);
        const struct fmt_launch *l[] = {&k->few, &k->many, &k->tiles};
        uint8_t near[ROWS * COLS * 4];
        struct rng r = {i, 0};
        uint64_t row;

        ck_assert(fmt_row_bytes(formats[i], COLS, &row));
        for (uint64_t b = 0; b < ROWS * row; b++)
            near[b] = (uint8_t)(rng_next(&r) % 60); // small numbers in any format
        for (uint64_t n = 0; n < ROWS; n++)
            send(f.rt, f.big + n * FAR, near + n * row, row);
        for (size_t v = 0; v < ARRAY_LEN(l) && l[v]->k.name; v++) {
            float want[ROWS * ROWS], got[ROWS * ROWS];
            uint8_t *w = take(f.rt, ROWS * row);

            send(f.rt, w, near, ROWS * row);
            multiply(&f, k, l[v], w, row, want);
            multiply(&f, k, l[v], f.big, FAR, got);
            ck_assert_msg(memcmp(want, got, sizeof want) == 0, "%s", l[v]->k.name);
            rt_free(f.rt, w);
        }
    }
    close_far(&f);
}
END_TEST

/* Panels, four rows in each, that lie as far apart. */
START_TEST(panels_of_more_than_32_bits)
{
    enum { N = ROWS * PANEL };
    const struct fmt_kern *k = gemv_panels(FMT_Q8_0);
    const struct fmt_launch *l[] = {&k->few, &k->many, &k->tiles};
    const int64_t panel = cuda_row_bytes(k, FMT_Q8_0, COLS);
    struct rng r = {5, 0};
    uint8_t near[N * COLS * 34 / 32];
    uint64_t row;
    struct far f;

    ck_assert(fmt_row_bytes(FMT_Q8_0, COLS, &row));
    for (uint64_t b = 0; b < N * row; b++)
        near[b] = (uint8_t)(rng_next(&r) % 60);
    open_far(&f);
    uint8_t *w = take(f.rt, sizeof near), *panels = take(f.rt, ROWS * (uint64_t)panel);
    float *y = take(f.rt, ROWS * N * sizeof *y);
    const struct repack_args repack = {
        .from = w, .to = panels, .cols = COLS, .row_bytes = (int64_t)row, .panel_bytes = panel};
    const struct pack_args pack = {
        .s = {.n = f.n}, .x = {f.x, COLS}, .to = f.q, .cols = COLS, .rows = ROWS_T, .n_head = 1};
    send(f.rt, w, near, sizeof near);
    start(f.rt, &k->repack, ROWS, 1, MAP_THREADS, 0, &repack);
    start(f.rt, &kern_pack, ROWS, 2, GEMV_THREADS, 0, &pack);
    for (uint64_t i = 0; i < ROWS; i++)
        send(f.rt, f.big + i * FAR, panels + i * (uint64_t)panel, (uint64_t)panel);
    for (size_t v = 0; v < ARRAY_LEN(l) && l[v]->k.name; v++) {
        const struct gemv_shape shape = cuda_gemv_shape(l[v], COLS, N, false, 1);
        float made[2][ROWS * N];

        for (int far = 0; far < 2; far++) {
            const struct gemv_args a = {.s = {.n = f.n},
                                        .x = {f.x, COLS},
                                        .xq = f.q,
                                        .out = {y, N},
                                        .m = {{far ? f.big : panels, NULL, N, 0}},
                                        .n_m = 1,
                                        .cols = COLS,
                                        .row_bytes = far ? (int64_t)FAR : panel,
                                        .rows = ROWS_T,
                                        .together = 2,
                                        .split = shape.split,
                                        .scale = 1.0f,
                                        .n_head = 1,
                                        .div = 1};

            start(f.rt, &l[v]->k, (uint32_t)((ROWS + l[v]->rows - 1) / l[v]->rows), shape.grid_y,
                  l[v]->block, shape.shared, &a);
            send(f.rt, made[far], y, sizeof made[far]);
        }
        ck_assert_msg(memcmp(made[0], made[1], sizeof made[0]) == 0, "%s", l[v]->k.name);
    }
    rt_free(f.rt, w);
    rt_free(f.rt, panels);
    rt_free(f.rt, y);
    close_far(&f);
}
END_TEST

/* Rows of a table by token, and row by row kernels over values whose rows lie far apart. */
START_TEST(rows_of_more_than_32_bits)
{
    const int64_t ld = (int64_t)(FAR / sizeof(float)), token = (int64_t)(BIG / (COLS * 4)) - 1;
    const int32_t ids[ROWS] = {(int32_t)token, (int32_t)token, 0, 0, 0, 0, 0, 0, (int32_t)token};
    float got[ROWS * COLS];
    struct far f;

    open_far(&f);
    int32_t *id = take(f.rt, sizeof ids);
    float *out = take(f.rt, sizeof got);
    send(f.rt, id, ids, sizeof ids);
    send(f.rt, f.big, f.host, COLS * 4);
    send(f.rt, f.big + (uint64_t)token * COLS * 4, f.host + COLS, COLS * 4);
    const struct fetch_args fetch = {.s = {.n = f.n, .id = id},
                                     .w = f.big,
                                     .cols = COLS,
                                     .out = {out, COLS},
                                     .scale = 1.0f,
                                     .mode = FETCH_TOKEN};
    start(f.rt, &cuda_fmt(FMT_F32)->fetch, ROWS, 1, MAP_THREADS, 0, &fetch);
    send(f.rt, got, out, sizeof got);
    for (int i = 0; i < ROWS; i++)
        ck_assert_mem_eq(got + i * COLS, f.host + (ids[i] ? COLS : 0), COLS * 4);

    const struct map_args spread = {.s = {.n = f.n},
                                    .x = {f.x, COLS},
                                    .out = {(float *)(void *)f.big, ld},
                                    .cols = COLS,
                                    .in_cols = COLS,
                                    .scale = 1.0f,
                                    .kind = MAP_SCALE};
    struct norm_args norm = {.s = {.n = f.n},
                             .x = {(float *)(void *)f.big, ld},
                             .out = {(float *)(void *)f.big, ld},
                             .group = COLS,
                             .n_w = COLS,
                             .eps = 1e-5f};
    float want[ROWS * COLS];
    start(f.rt, &kern_map, ROWS, 1, MAP_THREADS, 0, &spread);
    start(f.rt, &kern_norm, ROWS, 1, 32, 64, &norm);
    norm.x = (struct view){f.x, COLS};
    norm.out = (struct view){out, COLS};
    start(f.rt, &kern_norm, ROWS, 1, 32, 64, &norm);
    send(f.rt, want, out, sizeof want);
    for (uint64_t i = 0; i < ROWS; i++)
        send(f.rt, got + i * COLS, f.big + i * FAR, COLS * 4);
    ck_assert_mem_eq(want, got, sizeof want);
    rt_free(f.rt, id);
    rt_free(f.rt, out);
    close_far(&f);
}
END_TEST

/* -- keys and values, recurrent state, logits -- */

enum { DK = 32, STEPS = 3 };

/* Attention over pages that begin at `page` KiB. */
static void attend(struct far *f, int32_t page, float *out)
{
    const int32_t host[] = {STEPS, 0, 0, 0, 0, 1, 2, 0, 0, 0, page};
    int32_t *s = take(f->rt, sizeof host);
    float *y = take(f->rt, STEPS * DK * 4);
    const struct step step = {.n = s, .pos = s + 4, .see = s + 4, .slot = s + 7};
    const struct kv_args kv = {.pool = f->big,
                               .table = s + 10,
                               .max_page = 1,
                               .v_at = KV_PAGE * DK * 2,
                               .type_k = FMT_F16,
                               .type_v = FMT_F16,
                               .n_kv = 1,
                               .dk = DK,
                               .dv = DK};
    const struct store_args store = {step, kv, {f->x, COLS}, {f->x + DK, COLS}};
    const struct attn_run_args attn = {.s = step,
                                       .kv = kv,
                                       .q = {f->x + 2 * DK, COLS},
                                       .out = {y, DK},
                                       .n_chunk = 1,
                                       .n_split = 1,
                                       .n_head = 1,
                                       .dk = DK,
                                       .dv = DK,
                                       .wide = 1,
                                       .scale = 0.3f};

    send(f->rt, s, host, sizeof host);
    start(f->rt, &kern_store, STEPS, 1, ATTN_THREADS, DK * 4, &store);
    start(f->rt, &kern_attn_run[0], STEPS, 1, ATTN_THREADS, (2 * DK + ATTN_CHUNK + 2) * 4, &attn);
    send(f->rt, out, y, STEPS * DK * 4);
    rt_free(f->rt, s);
    rt_free(f->rt, y);
}

static void shift(struct far *f, uint64_t slot_bytes, int32_t slot, float *out)
{
    const int32_t host[] = {1, 0, 1, 0, 0, 1, slot, slot};
    int32_t *s = take(f->rt, sizeof host);
    float *y = take(f->rt, COLS * 4);
    const struct state_args a = {.s = {.n = s, .run = s + 4},
                                 .state = f->big,
                                 .spare = f->big,
                                 .slot_bytes = slot_bytes,
                                 .a = {.state_bytes = COLS * 4},
                                 .x = {f->x, COLS},
                                 .out = {y, COLS},
                                 .cols = COLS};

    send(f->rt, s, host, sizeof host);
    for (int i = 0; i < 2; i++)
        start(f->rt, &kern_shift, 1, 2, MAP_THREADS, 0, &a);
    send(f->rt, out, y, COLS * 4);
    rt_free(f->rt, s);
    rt_free(f->rt, y);
}

static int32_t drawn(struct far *f, int64_t ld)
{
    const struct draw_row r = {
        .row = ROWS - 1, .n_mask = -1, .rule = {.top_p = 1, .repetition = 1}};
    struct draw_row *row = take(f->rt, sizeof r);
    float *work = take(f->rt, COLS * 4);
    int32_t *out = take(f->rt, 4), id;
    const struct draw_args a = {.logits = ld == COLS ? f->x : (float *)(void *)f->big,
                                .ld = ld,
                                .row = row,
                                .work = work,
                                .out = out,
                                .n_vocab = COLS};

    send(f->rt, row, &r, sizeof r);
    start(f->rt, &kern_draw, 1, 1, DRAW_THREADS, DRAW_SHARED, &a);
    send(f->rt, &id, out, 4);
    rt_free(f->rt, row);
    rt_free(f->rt, work);
    rt_free(f->rt, out);
    return id;
}

START_TEST(pages_states_and_logits_of_more_than_32_bits)
{
    float want[COLS], got[COLS];
    struct far f;

    open_far(&f);
    attend(&f, 1, want);
    attend(&f, (int32_t)((BIG >> 10) - 8), got);
    ck_assert_mem_eq(want, got, STEPS * DK * 4);
    shift(&f, COLS * 4, 1, want);
    shift(&f, FAR, ROWS - 1, got);
    ck_assert_mem_eq(want, got, sizeof want);
    send(f.rt, f.big + (ROWS - 1) * FAR, f.host + (ROWS - 1) * COLS, COLS * 4);
    ck_assert_int_eq(drawn(&f, (int64_t)(FAR / 4)), drawn(&f, COLS));
    close_far(&f);
}
END_TEST

TEST_MAIN("simt/memory", what_is_wanted_and_what_is_free_is_said, every_allocation_may_fail,
          reading_is_measured, matrices_of_more_than_32_bits, panels_of_more_than_32_bits,
          rows_of_more_than_32_bits, pages_states_and_logits_of_more_than_32_bits)
