/* test_memory.c - the CUDA backend's memory, on the host: what is said when it runs out, that
 * nothing stays behind then, and arrays of more than 2^32 bytes. */
#include "tests/suite.h"

#include <math.h>

#include "base/mem.h"
#include "base/rng.h"
#include "kernels/cuda/cuda.h"
#include "rill.h"
#include "tests/simt/simt_run.h"

extern const struct backend cuda_backend;

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

/* Kernels load whole slices: what lies behind a row's end is nobody's, but not left over either. */
START_TEST(ends_of_panels_are_zero)
{
    enum { COLUMNS = 256 + 32, N = 2 * PANEL, SLICE_BYTES = 576 };
    const uint64_t panel = (uint64_t)cuda_row_bytes(gemv_panels(FMT_Q4_0), FMT_Q4_0, COLUMNS);
    uint8_t file[N * COLUMNS / 32 * 18], got[N / PANEL * 2 * SLICE_BYTES];
    struct weight w = {.name = "w", .fmt = FMT_Q4_0, .n = 1, .rows = N, .cols = COLUMNS};
    struct dev *d;
    struct err e = {0};

    memset(file, 0x77, sizeof file);
    w.part[0] = (struct mem){.p = file, .bytes = sizeof file, .host = true, .adopted = true};
    ck_assert_uint_eq(panel * N / PANEL, sizeof got);
    ck_ok(cuda_backend.open(&d, "0", &e), &e);
    ck_ok(cuda_backend.load(d, &w, &e), &e);
    ck_assert_ptr_nonnull(w.dev);
    const struct mem host = {.p = got, .bytes = sizeof got, .host = true};
    ck_assert_int_eq(cuda_backend.copy(d, host, 0, w.part[0], 0, sizeof got), 0);
    for (uint64_t p = 0; p < sizeof got; p += panel)
        for (uint64_t i = 0; i < SLICE_BYTES; i++) { // of the second slice; its first unit is there
            const bool code = i < 512, mine = (code ? i / 16 : (i - 512) / 2) < PANEL;

            ck_assert_int_eq(got[p + SLICE_BYTES + i] != 0, mine);
        }
    cuda_backend.unmem(d, &w.part[0]);
    cuda_backend.close(d);
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

/* Attention over pages that begin at `page` KiB, of type F16, or of Q4_0 with keys turned. */
static void attend(struct far *f, int type, int32_t page, float *out)
{
    const int32_t host[] = {STEPS, 0, 1, 0, 0, 1, 2, 0, 0, 0, page, 0, STEPS, -1, -1};
    const bool four = type == FMT_Q4_0;
    int32_t *s = take(f->rt, sizeof host);
    float *y = take(f->rt, STEPS * DK * 4);
    const struct step step = {.n = s, .pos = s + 4, .see = s + 4, .slot = s + 7, .run = s + 11};
    const struct kv_args kv = {.pool = f->big,
                               .table = s + 10,
                               .max_page = 1,
                               .v_at = KV_PAGE * (four ? DK / 2 + 2 : DK * 2),
                               .type_k = type,
                               .type_v = type,
                               .n_kv = 1,
                               .dk = DK,
                               .dv = DK,
                               .turned = four};
    const struct store_args store = {step, kv, {f->x, COLS}, {f->x + DK, COLS}};
    struct attn_run_args attn = {.s = step,
                                 .kv = kv,
                                 .q = {f->x + 2 * DK, COLS},
                                 .out = {y, DK},
                                 .n_chunk = 1,
                                 .n_split = 1,
                                 .n_head = 1,
                                 .dk = DK,
                                 .dv = DK,
                                 .scale = 0.3f};
    struct rt_info info;

    rt_info(f->rt, &info);
    const struct attn_kern k = cuda_attn_few(&attn, info.sm);
    attn.at = k.at;
    send(f->rt, s, host, sizeof host);
    start(f->rt, &kern_store, STEPS, 1, ATTN_THREADS, DK * 4, &store);
    start(f->rt, k.k, STEPS, k.grid_y, k.block, k.shared, &attn);
    send(f->rt, out, y, STEPS * DK * 4);
    rt_free(f->rt, s);
    rt_free(f->rt, y);
}

struct recurrent {
    const struct rt_kern *k;
    struct scan_args a;
    int cols, dt, out; // columns
    uint32_t blocks, threads, shared;
};

/* The last three rows of a sequence, twice, behind what was made of it before; state and rows near
 * each other, or FAR apart. */
static void recur(struct far *f, const struct recurrent *r, bool far, float *out)
{
    const int32_t first = ROWS - STEPS, slot = far ? ROWS - 1 : 1;
    const int32_t host[] = {ROWS, 0, 1, 0, first, ROWS, slot, slot};
    const int64_t ld = far ? (int64_t)(FAR / 4) : COLS;
    const uint64_t state = r->a.state_bytes;
    uint8_t *near = take(f->rt, 2 * state + 2 * sizeof f->host);
    uint8_t *base = far ? f->big : near, *rows = far ? f->big + (1 << 20) : near + 2 * state;
    int32_t *s = take(f->rt, sizeof host);
    float *x = (float *)(void *)rows, *y = x + (far ? COLS : ROWS * COLS);
    struct state_args a = {.s = {.n = s, .run = s + 4},
                           .state = base,
                           .spare = base,
                           .slot_bytes = far ? FAR : state,
                           .a = r->a,
                           .x = {x, ld},
                           .dt = {x + r->cols, ld},
                           .out = {y, ld},
                           .cols = r->cols};

    for (size_t i = 0; i < ARRAY_LEN(a.w); i++)
        a.w[i] = f->x + 32 * i;
    send(f->rt, s, host, sizeof host);
    send(f->rt, base + (uint64_t)slot * a.slot_bytes, f->host, state);
    for (int64_t i = first; i < ROWS; i++)
        send(f->rt, x + i * ld, f->host + i * COLS, COLS * 4);
    for (int i = 0; i < 2; i++) {
        const struct rt_launch l = {r->k, {1, r->blocks, 1}, r->threads, r->shared, &a};
        ck_assert_int_eq(rt_launch(f->rt, &l), 0);
    }
    for (int i = 0; i < STEPS; i++)
        send(f->rt, out + i * r->out, y + (first + i) * ld, (uint64_t)r->out * 4);
    send(f->rt, out + STEPS * r->out, base + (uint64_t)slot * a.slot_bytes, state);
    rt_free(f->rt, near);
    rt_free(f->rt, s);
}

static int32_t drawn(struct far *f, int64_t ld)
{
    float *work = take(f->rt, COLS * 4);
    int32_t *out = take(f->rt, 4), id;
    const struct draw_args a = {
        .from = {.logits = ld == COLS ? f->x : (float *)(void *)f->big,
                 .ld = ld,
                 .work = work,
                 .out = out,
                 .n_vocab = COLS,
                 .n_word = COLS / 32},
        .row = {{.row = ROWS - 1, .n_mask = -1, .rule = {.top_p = 1, .repetition = 1}}}};

    start(f->rt, &kern_draw, 1, 1, DRAW_THREADS, DRAW_SHARED, &a);
    send(f->rt, &id, out, 4);
    rt_free(f->rt, work);
    rt_free(f->rt, out);
    return id;
}

/* -- experts -- */

/* A pair an expert, whose matrix lies `each` bytes behind the one before. */
static void of_experts(struct far *f, const struct fmt_kern *k, const struct fmt_launch *l,
                       const uint8_t *w, uint64_t each, int64_t row, float *out)
{
    enum { N = 2 * PANEL };
    const struct gemv_shape shape = cuda_gemv_shape(l, COLS, N, false, 1);
    int32_t pairs[1 + 4 * ROWS] = {ROWS};
    int32_t *p = take(f->rt, sizeof pairs);
    const struct gemv_args a = {.s = {.n = f->n},
                                .x = {f->x, COLS},
                                .xq = k->input == INPUT_Q32 ? f->q : NULL,
                                .xh = k->input == INPUT_X16 ? f->h : NULL,
                                .out = {f->y, N},
                                .m = {{w, NULL, N, 0}},
                                .n_m = 1,
                                .cols = COLS,
                                .row_bytes = row,
                                .each = (int64_t)each,
                                .together = k->slice ? 2 : 0,
                                .split = shape.split,
                                .mode = GEMV_PAIRS,
                                .rows = ROWS_E,
                                .n_used = 1,
                                .scale = 1.0f,
                                .n_head = 1,
                                .n_tile = p,
                                .tile = p + 1,
                                .pair = p + 1 + 3 * ROWS,
                                .div = 1};
    const struct pack_args pack = {.s = a.s,
                                   .x = a.x,
                                   .to = f->q,
                                   .halves = k->input == INPUT_X16 ? f->h : NULL,
                                   .cols = COLS,
                                   .rows = ROWS_T,
                                   .n_head = 1};

    for (int i = 0; i < ROWS; i++) {
        pairs[1 + 3 * i] = pairs[2 + 3 * i] = pairs[1 + 3 * ROWS + i] = i;
        pairs[3 + 3 * i] = 1;
    }
    send(f->rt, p, pairs, sizeof pairs);
    start(f->rt, &kern_pack, ROWS, 2, GEMV_THREADS, 0, &pack);
    start(f->rt, &l->k, ROWS, shape.grid_y, l->block, shape.shared, &a);
    send(f->rt, out, f->y, ROWS * N * sizeof *out);
    rt_free(f->rt, p);
}

START_TEST(experts_of_more_than_32_bits)
{
    enum { N = 2 * PANEL };
    static const int formats[] = {FMT_F32, FMT_BF16, FMT_Q5_1, FMT_Q4_K, -FMT_Q8_0};
    struct far f;

    open_far(&f);
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        const int fmt = formats[i] < 0 ? -formats[i] : formats[i];
        const struct fmt_kern *k = formats[i] < 0 ? gemv_panels(fmt) : cuda_fmt(fmt);
        const int64_t row = cuda_row_bytes(k, fmt, COLS);
        const uint64_t each = (uint64_t)row * (k->slice ? N / PANEL : N);
        const struct fmt_launch *few = k->slice ? gemv_small_panels(fmt) : gemv_half_some(fmt);
        const struct fmt_launch *l[] = {&k->few, &k->many, &k->tiles, few};
        uint8_t near[N * COLS * 4], *w = take(f.rt, ROWS * each);
        struct rng r = {i, 0};

        for (uint64_t n = 0; n < ROWS; n++) {
            for (uint64_t b = 0; b < each; b++)
                near[b] = (uint8_t)(rng_next(&r) % 60);
            send(f.rt, w + n * each, near, each);
            send(f.rt, f.big + n * FAR, near, each);
        }
        for (size_t v = 0; v < ARRAY_LEN(l); v++) {
            float want[ROWS * N], got[ROWS * N];

            if (!l[v] || !l[v]->k.name)
                continue;
            of_experts(&f, k, l[v], w, each, row, want);
            of_experts(&f, k, l[v], f.big, FAR, row, got);
            ck_assert_msg(memcmp(want, got, sizeof want) == 0, "%s", l[v]->k.name);
        }
        rt_free(f.rt, w);
    }
    close_far(&f);
}
END_TEST

/* The last row's experts, whose results lie behind those of all the others. */
START_TEST(sums_of_experts_of_more_than_32_bits)
{
    enum { USED = 2 };
    const uint64_t row = COLS * 4, n = BIG / row / USED;
    const int32_t many[4] = {(int32_t)n, 0, 0, 0}, one[4] = {1, 0, 0, 0};
    const float weight[USED] = {0.7f, -1.3f};
    float want[COLS], got[COLS];
    struct far f;

    open_far(&f);
    float *w = take(f.rt, n * sizeof weight), *out = take(f.rt, n * row);
    struct combine_args a = {.s = {.n = f.n},
                             .x = f.x,
                             .w = w,
                             .out = {out, COLS},
                             .cols = COLS,
                             .n_used = USED,
                             .scale = 0.5f};

    send(f.rt, f.n, one, sizeof one);
    send(f.rt, w, weight, sizeof weight);
    start(f.rt, &kern_combine, 1, 1, MAP_THREADS, 0, &a);
    send(f.rt, want, out, sizeof want);
    send(f.rt, f.n, many, sizeof many);
    send(f.rt, w + (n - 1) * USED, weight, sizeof weight);
    send(f.rt, f.big + (n - 1) * USED * row, f.host, USED * row);
    a.x = (float *)(void *)f.big;
    simt_first[0] = (uint32_t)n - 1;
    start(f.rt, &kern_combine, (uint32_t)n, 1, MAP_THREADS, 0, &a);
    send(f.rt, got, out + (n - 1) * COLS, sizeof got);
    simt_first[0] = 0;
    ck_assert_mem_eq(want, got, sizeof want);
    rt_free(f.rt, w);
    rt_free(f.rt, out);
    close_far(&f);
}
END_TEST

/* -- rotation -- */

/* Rows of x, `ld` numbers apart, rotated to where they are; the last of them to out. */
static void rotate(struct far *f, const float *tab, float *x, int64_t ld, float *out)
{
    const struct rope_run_args a = {.s = {.n = f->n},
                                    .x = {x, ld},
                                    .out = {x, ld},
                                    .tab = tab,
                                    .r = {.n_head = 2, .head_in = 64, .head_out = 64, .n_rot = 64}};

    for (uint64_t i = 0; i < ROWS; i++)
        send(f->rt, x + (int64_t)i * ld, f->host + i * COLS, COLS * 4);
    start(f->rt, &kern_rope_run, ROWS, 2, 32, 0, &a);
    send(f->rt, out, x + (ROWS - 1) * ld, COLS * 4);
}

/* Queries, keys and values in rows so far apart, stored to a page there; both come back. */
static void heads(struct far *f, const float *tab, float *x, int64_t ld, int32_t kib, float *out)
{
    const int32_t host[1 + 2 * ROWS] = {kib, 0, 1, 2, 3, 4, 5, 6, 7, 8};
    const uint64_t page = (uint64_t)(uint32_t)kib * 1024;
    int32_t *s = take(f->rt, sizeof host);
    const struct rope_args r = {.n_head = 1, .head_in = DK, .head_out = DK, .n_rot = DK};
    const struct heads_args a = {.s = {.n = f->n, .pos = s + 1, .slot = s + 1 + ROWS},
                                 .q = {.x = {x, ld}, .out = {x, ld}, .tab = tab, .r = r},
                                 .k = {.x = {x + DK, ld}, .out = {x + DK, ld}, .tab = tab, .r = r},
                                 .kv = {.pool = f->big,
                                        .table = s,
                                        .max_page = 1,
                                        .v_at = KV_PAGE * DK * 4,
                                        .type_k = FMT_F32,
                                        .type_v = FMT_F32,
                                        .n_kv = 1,
                                        .dk = DK,
                                        .dv = DK},
                                 .v = {x + 2 * DK, ld}};

    send(f->rt, s, host, sizeof host);
    for (uint64_t i = 0; i < ROWS; i++)
        send(f->rt, x + (int64_t)i * ld, f->host + i * COLS, COLS * 4);
    start(f->rt, &kern_heads, ROWS, 3, 32, DK * 4, &a);
    send(f->rt, out, x + (ROWS - 1) * ld, DK * 4);
    send(f->rt, out + DK, f->big + page + (ROWS - 1) * DK * 4, DK * 4);
    send(f->rt, out + 2 * DK, f->big + page + (KV_PAGE + ROWS - 1) * DK * 4, DK * 4);
    rt_free(f->rt, s);
}

START_TEST(rotation_of_more_than_32_bits)
{
    enum { TAB = ROWS * 2 * 64 };
    float want[COLS], got[COLS], angle[TAB];
    struct far f;

    open_far(&f);
    float *tab = take(f.rt, sizeof angle), *x = take(f.rt, sizeof f.host);
    for (int i = 0; i < TAB; i++)
        angle[i] = f.host[i];
    send(f.rt, tab, angle, sizeof angle);
    rotate(&f, tab, x, COLS, want);
    rotate(&f, tab, (float *)(void *)f.big, FAR / 4, got);
    ck_assert_mem_eq(want, got, sizeof want);
    heads(&f, tab, x, COLS, 1, want);
    heads(&f, tab, (float *)(void *)(f.big + 65536), FAR / 4, (int32_t)((BIG >> 10) - 16), got);
    ck_assert_mem_eq(want, got, 3 * DK * 4);
    rt_free(f.rt, tab);
    rt_free(f.rt, x);
    close_far(&f);
}
END_TEST

/* -- adapters: A of so many columns, B of so many rows -- */

START_TEST(adapters_of_more_than_32_bits)
{
    enum { USE = 128 }; // of all those columns
    const uint64_t n = BIG / 4 / LORA_RANK, bytes = n * 4;
    const int32_t one[4] = {1, 0, 0, 0};
    struct lora_use use = {.scale = {1.0f}};
    struct lora_pair pair[2] = {{.rank = LORA_RANK, .scale = 0.5f}, {.rank = LORA_RANK}};
    float want[USE], got[USE], low[LORA_RANK];
    struct far f;

    open_far(&f);
    for (int k = 1; k < LORA_MIX; k++)
        use.slot[k] = -1;
    float *x = take(f.rt, bytes), *y = take(f.rt, bytes), *made = take(f.rt, sizeof low * LORA_MIX),
          *b = take(f.rt, USE * sizeof low);
    struct lora_use *dev_use = take(f.rt, sizeof use);
    struct lora_pair *dev_pair = take(f.rt, sizeof pair);
    struct lora_args a = {.s = {.n = f.n, .use = dev_use},
                          .pair = dev_pair,
                          .n_pair = 1,
                          .low = made,
                          .x = {x, (int64_t)n},
                          .out = {y, (int64_t)n},
                          .cols = (int64_t)n,
                          .out_cols = (int64_t)n,
                          .rows = ROWS_T};

    send(f.rt, f.n, one, sizeof one);
    send(f.rt, dev_use, &use, sizeof use);
    /* A: what the last of its rows has in its last columns */
    pair[0].a = (float *)(void *)f.big;
    send(f.rt, dev_pair, pair, sizeof pair);
    ck_assert_int_eq(rt_zero(f.rt, x, bytes), 0);
    ck_assert_int_eq(rt_zero(f.rt, f.big + (LORA_RANK - 1) * bytes, bytes), 0);
    send(f.rt, x + n - USE, f.host, USE * 4);
    send(f.rt, f.big + LORA_RANK * bytes - USE * 4, f.host + USE, USE * 4);
    const struct rt_launch l = {
        &kern_lora_low, {1, 1, LORA_RANK / (MAP_THREADS / 32)}, MAP_THREADS, 0, &a};
    simt_first[2] = l.grid[2] - 1;
    ck_assert_int_eq(rt_launch(f.rt, &l), 0);
    send(f.rt, low, made, sizeof low);
    simt_first[2] = 0;
    double sum = 0;
    for (int i = 0; i < USE; i++)
        sum += (double)f.host[i] * (double)f.host[USE + i];
    ck_assert_msg(fabs((double)low[LORA_RANK - 1] - sum) < 1e-4 * fabs(sum) + 1e-5, "%g, not %g",
                  (double)low[LORA_RANK - 1], sum);

    /* B: its last rows, beside as many of a small one */
    for (int i = 0; i < LORA_RANK; i++)
        low[i] = f.host[i];
    send(f.rt, made, low, sizeof low);
    for (uint64_t i = 0; i < USE; i++) {
        send(f.rt, b + i * LORA_RANK, f.host + i, sizeof low);
        send(f.rt, f.big + (n - USE + i) * sizeof low, f.host + i, sizeof low);
    }
    for (int far = 0; far < 2; far++) {
        const uint32_t blocks = far ? (uint32_t)(n / MAP_THREADS) : 1;

        pair[0].b = far ? (float *)(void *)f.big : b;
        a.out_cols = far ? (int64_t)n : USE;
        send(f.rt, dev_pair, pair, sizeof pair);
        send(f.rt, y + a.out_cols - USE, f.host, USE * 4);
        simt_first[1] = blocks - 1;
        start(f.rt, &kern_lora_add, 1, blocks, MAP_THREADS, 0, &a);
        send(f.rt, far ? got : want, y + a.out_cols - USE, sizeof got);
        simt_first[1] = 0;
    }
    ck_assert_mem_eq(want, got, sizeof want);
    rt_free(f.rt, x);
    rt_free(f.rt, y);
    rt_free(f.rt, made);
    rt_free(f.rt, b);
    rt_free(f.rt, dev_use);
    rt_free(f.rt, dev_pair);
    close_far(&f);
}
END_TEST

START_TEST(states_of_more_than_32_bits)
{
    enum { MOST = STEPS * COLS + 1024 };
    const struct recurrent kinds[] = {
        {&kern_shift, {.state_bytes = 200 * 4}, 200, 0, 200, 2, MAP_THREADS, 0},
        {&kern_conv, {.width = 4, .state_bytes = 3 * 200 * 4}, 200, 0, 200, 2, MAP_THREADS, 0},
        {&kern_scan,
         {.n_head = 2, .head_dim = 24, .n_group = 1, .d_state = 16, .state_bytes = 2 * 24 * 16 * 4},
         2 * 24 + 2 * 16,
         2,
         2 * 24,
         2,
         32,
         0},
        {&kern_rwkv,
         {.n_head = 2, .head_dim = 16, .eps = 1e-5f, .state_bytes = 2 * 16 * 16 * 4},
         5 * 32,
         0,
         32,
         2,
         32,
         (5 * 16 + 32) * 4}};
    static float want[MOST], got[MOST];
    struct far f;

    open_far(&f);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        recur(&f, &kinds[i], false, want);
        recur(&f, &kinds[i], true, got);
        ck_assert_msg(
            memcmp(want, got, (size_t)(STEPS * kinds[i].out) * 4 + kinds[i].a.state_bytes) == 0,
            "%s", kinds[i].k->name);
    }
    close_far(&f);
}
END_TEST

START_TEST(pages_and_logits_of_more_than_32_bits)
{
    float want[COLS], got[COLS];
    struct far f;

    open_far(&f);
    for (int i = 0; i < 2; i++) {
        attend(&f, i ? FMT_Q4_0 : FMT_F16, 1, want);
        attend(&f, i ? FMT_Q4_0 : FMT_F16, (int32_t)((BIG >> 10) - 8), got);
        ck_assert_mem_eq(want, got, STEPS * DK * 4);
    }
    send(f.rt, f.big + (ROWS - 1) * FAR, f.host + (ROWS - 1) * COLS, COLS * 4);
    ck_assert_int_eq(drawn(&f, (int64_t)(FAR / 4)), drawn(&f, COLS));
    close_far(&f);
}
END_TEST

TEST_MAIN("simt/memory", what_is_wanted_and_what_is_free_is_said, every_allocation_may_fail,
          reading_is_measured, ends_of_panels_are_zero, matrices_of_more_than_32_bits,
          panels_of_more_than_32_bits, rows_of_more_than_32_bits, experts_of_more_than_32_bits,
          sums_of_experts_of_more_than_32_bits, rotation_of_more_than_32_bits,
          adapters_of_more_than_32_bits, states_of_more_than_32_bits,
          pages_and_logits_of_more_than_32_bits)
