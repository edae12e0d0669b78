/* test_persist.c - a step of one row as one launch gives the bits of the step's launches, step for
 * step, whatever order its blocks run in; plans that it cannot do say why; and the emulation finds
 * a wait that is missing, and one that nobody ends. */
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "file/gguf.h"
#include "kernels/cuda/persist.h"
#include "model/random.h"
#include "quant/half.h"
#include "rill.h"
#include "tests/model/runner.h"
#include "tests/simt/simt_run.h"

#define SMALL "tiny,ffn=256,vocab=304"

/* Steps, of which the second is of a few rows. */
enum { N = 4, FEW = 9 };

static const char *make(const char *shape, const char *type, const char *arch)
{
    const struct random_model m = {.shape = shape, .type = type, .arch = arch, .seed = 3};
    const char *path = tmpfile_path("random.gguf");
    struct err e = {0};

    ck_ok(random_model_write(path, &m, &e), &e);
    return path;
}

/* -- architectures: the models of tests/golden/arch two or four times as wide, so that rows are
 *    whole groups of 32 -- */

static bool ends_with(struct slice s, const char *with)
{
    const size_t n = strlen(with);

    return s.n >= n && memcmp(s.p + s.n - n, with, n) == 0;
}

static void widen_key(struct gguf_out *w, const struct gguf *g, const struct gguf_key *k,
                      uint32_t by)
{
    static const char *const widths[] = {".embedding_length", ".feed_forward_length",
                                         ".key_length", ".value_length", ".dimension_count"};
    char name[64];
    uint32_t n;

    gguf_put_key(w, k);
    snprintf(name, sizeof name, "%.*s", (int)k->name.n, (const char *)k->name.p);
    for (size_t i = 0; i < ARRAY_LEN(widths); i++)
        if (ends_with(k->name, widths[i]) && gguf_get_u32(g, name, &n, NULL) == 1)
            gguf_put_u32(w, name, by * n);
}

/* Matrices become BF16; tables, and norms by heads, keep their rows. Returns the type. */
static uint32_t widen_shape(const struct gguf_tensor *t, uint32_t by, uint64_t ne[2])
{
    const bool norm = t->n_dims < 2 || ends_with(t->name, "_norm.weight");
    const bool keep = norm || ends_with(t->name, "_embd.weight") ||
                      slice_is(t->name, "output.weight");

    ne[0] = by * t->ne[0];
    ne[1] = keep ? t->ne[1] : by * t->ne[1];
    return norm ? FMT_F32 : FMT_BF16;
}

static void widen_data(struct gguf_out *w, const struct gguf_tensor *t, uint32_t by, struct err *e)
{
    const float *from = (const float *)t->p;
    uint64_t ne[2];
    const uint32_t type = widen_shape(t, by, ne);

    for (uint64_t r = 0; r < ne[1]; r++)
        for (uint64_t c = 0; c < ne[0]; c++) {
            const float x = from[r % t->ne[1] * t->ne[0] + (c + r / t->ne[1]) % t->ne[0]];
            const uint16_t half = f32_to_bf16(x);

            ck_ok(type == FMT_F32 ? gguf_data(w, &x, 4, e) : gguf_data(w, &half, 2, e), e);
        }
}

/* Whether there is such a file: its weights must have no more than two dimensions. */
static bool widen(const char *from, const char *to)
{
    struct gguf_out *w;
    struct gguf *g;
    struct err e = {0};
    uint32_t by = 2;
    bool good = true;

    ck_ok(gguf_open(&g, from, GGUF_READ, &e), &e);
    for (uint32_t i = 0; i < g->n_tensor; i++) {
        good = good && g->tensor[i].n_dims <= 2 && g->tensor[i].type == 0;
        if (g->tensor[i].n_dims == 2 && g->tensor[i].ne[0] % 16)
            by = 4;
    }
    if (good) {
        ck_ok(gguf_create(&w, to, 0, &e), &e);
        for (uint32_t i = 0; i < g->n_key; i++)
            widen_key(w, g, &g->key[i], by);
        for (uint32_t i = 0; i < g->n_tensor; i++) {
            const struct gguf_tensor *t = &g->tensor[i];
            uint64_t ne[2];
            const uint32_t type = widen_shape(t, by, ne);

            gguf_put_tensor(w, t->name, type, t->n_dims, ne);
        }
        ck_ok(gguf_begin(w, &e), &e);
        for (uint32_t i = 0; i < g->n_tensor; i++)
            widen_data(w, &g->tensor[i], by, &e);
        ck_ok(gguf_finish(w, &e), &e);
    }
    gguf_close(g);
    return good;
}

static bool on_gpu(void)
{
#ifdef RILL_GPU
    test_skip("for the host");
    return true;
#else
    return false;
#endif
}

/* What became of N rows, one by one, under RILL_CUDA_STEP=step. */
struct outcome {
    float *x; // [N][cols]
    int cols;
    long launches;  // of the last step
    char note[160]; // the kernel that says how steps are done
};

static void run(struct outcome *to, const char *path, const char *step, int kv_type)
{
    const struct model_opts opts = MODEL_OPTS;
    struct model_opts o = opts;
    struct runner r;

    setenv("RILL_CUDA_STEP", step, 1);
    o.device = "cuda:0";
    o.n_ctx = 64;
    o.kv_type[0] = o.kv_type[1] = kv_type;
    runner_open(&r, path, &o);
    *to = (struct outcome){.cols = runner_cols(&r)};
    to->x = mem_array((uint64_t)to->cols * N, sizeof *to->x, NULL);
    float *rows = mem_array((uint64_t)to->cols * FEW, sizeof *rows, NULL);
    for (int i = 0; i < r.seg.to - r.seg.from; i++)
        if (strstr(r.seg.kernel[i], "one launch"))
            snprintf(to->note, sizeof to->note, "%s", r.seg.kernel[i]);
    for (int i = 0; i < N; i++) {
        const int n = i == 1 ? FEW : 1;
        const long before = simt_launches;
        int32_t id[FEW];

        for (int k = 0; k < n; k++)
            id[k] = ((i + k) * 37 + 11) % r.m->h.n_vocab;
        runner_step(&r, id, n, i == 2, rows);
        memcpy(to->x + to->cols * i, rows + to->cols * (n - 1), (size_t)to->cols * sizeof *rows);
        to->launches = simt_launches - before;
    }
    mem_free(rows);
    runner_close(&r);
    unsetenv("RILL_CUDA_STEP");
}

/* Whether steps are one launch; the same bits as of many, for every seed from one to another. */
static bool same(const char *path, const char *what, int kv_type, int seed, int end,
                 struct outcome *got)
{
    struct outcome want;

    run(&want, path, "graph", kv_type);
    ck_assert_str_eq(want.note, "");
    for (; seed < end; seed++) {
        simt_seed = (uint64_t)seed;
        run(got, path, "persist", kv_type);
        ck_assert_msg(strstr(got->note, "one launch"), "%s: '%s'", what, got->note);
        for (int i = 0; i < N; i++)
            ck_assert_msg(memcmp(want.x + i * want.cols, got->x + i * want.cols,
                                 (size_t)want.cols * sizeof *want.x) == 0,
                          "%s, seed %d: other bits at step %d", what, seed, i);
        mem_free(got->x);
    }
    simt_seed = 0;
    mem_free(want.x);
#ifndef RILL_GPU
    ck_assert_int_eq(got->launches == 1, strstr(got->note, "is one launch") != NULL);
#endif
    return strstr(got->note, "is one launch");
}

/* why: what is said where it is not one launch; NULL: it is. */
static void check(const char *shape, const char *type, const char *arch, int seed, int end,
                  const char *why)
{
    const char *path = make(shape, type, arch);
    struct outcome got;
    char what[64];

    snprintf(what, sizeof what, "%s %s", arch, type);
    ck_assert_msg(same(path, what, FMT_F16, seed, end, &got) == !why, "%s: %s", what, got.note);
    ck_assert_msg(!why || strstr(got.note, why), "%s: %s", what, got.note);
    unlink(path);
}

START_TEST(same_bits)
{
    const char *l = getenv("LONG");
    const int seeds = l && *l ? 8 : 1;

    check(SMALL, "Q4_K", "llama", 1, 1 + seeds, NULL);
    check(SMALL, "Q8_0", "qwen3", 1, 1 + seeds, NULL);
    check(SMALL, "BF16", "llama", 2, 2 + seeds, NULL);
}
END_TEST

START_TEST(what_it_cannot_do)
{
    check(SMALL ",experts=8,used=2", "Q4_0", "qwen3moe", 0, 1,
          "not in one launch: it is not known");

    struct rill_model *m;
    struct err e = {0};
    const struct rill_model_opts mo = {.device = "cuda:0", .n_ctx = 64};
    setenv("RILL_CUDA_STEP", "both", 1);
    ck_assert_int_eq(rill_model_open(&m, srcfile("tests/golden/arch/llama.gguf"), &mo, &e),
                     E_USAGE);
    ck_assert_msg(strstr(e.text, "'both': graph or persist"), "%s", e.text);
    unsetenv("RILL_CUDA_STEP");
}
END_TEST

static bool wide(const char *name, int seed, int kv_type)
{
    const char *path = tmpfile_path("wide.gguf");
    struct outcome got;
    char from[128];
    bool one = false;

    snprintf(from, sizeof from, "tests/golden/arch/%s", name);
    if (widen(srcfile(from), path)) {
        one = same(path, name, kv_type, seed, seed + 1, &got);
        if (!one)
            printf("%s: %s\n", name, got.note);
    }
    unlink(path);
    return one;
}

/* Caps of scores and logits, norms behind a layer's halves, windows; norms of heads and two
 * rotations by layer; norms with a mean, biases, positions of a table; q, k and v as one matrix;
 * keys and values in blocks. */
START_TEST(architectures)
{
    ck_assert(wide("gemma2.gguf", 1, FMT_F16));
    ck_assert(wide("gemma3.gguf", 4, FMT_F16));
    ck_assert(wide("gpt2.gguf", 2, FMT_BF16));
    ck_assert(wide("phi3-short.gguf", 3, FMT_Q8_0));
}
END_TEST

/* With LONG: all of tests/golden/arch behind which text goes on, without recurrent ones. */
START_TEST(every_architecture)
{
    const char *l = getenv("LONG");
    int one = 0;
    glob_t g;

    if (!l || !*l || on_gpu()) {
        test_skip("LONG is not set");
        return;
    }
    ck_assert_int_eq(glob(srcfile("tests/golden/arch/*.gguf"), 0, NULL, &g), 0);
    for (size_t i = 0; i < g.gl_pathc; i++) {
        const char *name = strrchr(g.gl_pathv[i], '/') + 1;

        if (!strstr(name, "bert") && !strstr(name, "hybrid") && !strstr(name, "rwkv"))
            one += wide(name, (int)i, FMT_F16);
    }
    printf("%d of %d in one launch\n", one, (int)g.gl_pathc);
    ck_assert_int_ge(one, 21);
    globfree(&g);
}
END_TEST

/* -- tokens -- */

enum { DRAWN = 5 };

/* Greedy tokens of an engine whose device draws. */
static void answer(const char *path, const char *step, int32_t id[DRAWN])
{
    const struct rill_model_opts mo = {.device = "cuda:0", .n_ctx = 64};
    const struct rill_engine_opts eo = {.max_seq = 1, .max_batch = 16, .n_ctx = 64};
    const int32_t prompt[3] = {3, 1, 4};
    struct rill_request q = {.ids = prompt, .n_ids = 3, .max_tokens = DRAWN, .ignore_eos = true};
    struct rill_engine *g;
    struct rill_model *m;
    struct rill_stats stats;
    struct rill_event ev;
    struct err e = {0};
    int number, n = 0, rc;

    setenv("RILL_CUDA_STEP", step, 1);
    q.sampling = rill_sampling_defaults();
    q.sampling.temperature = 0;
    ck_ok(rill_model_open(&m, path, &mo, &e), &e);
    ck_ok(rill_engine_open(&g, m, &eo, &e), &e);
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    while ((rc = rill_engine_step(g, &ev, 1, &e)) > 0)
        if (ev.kind == RILL_TOKEN)
            id[n++] = ev.id;
    ck_ok(rc, &e);
    ck_assert_int_eq(n, DRAWN);
    rill_engine_stats(g, &stats);
    ck_assert_int_eq((int)stats.device_drawn, DRAWN);
    rill_engine_close(g);
    rill_model_close(m);
    unsetenv("RILL_CUDA_STEP");
}

START_TEST(same_tokens)
{
    const char *path = make(SMALL, "Q8_0", "llama");
    int32_t want[DRAWN], got[DRAWN];

    answer(path, "graph", want);
    answer(path, "persist", got);
    ck_assert_mem_eq(got, want, sizeof got);
    unlink(path);
}
END_TEST

/* -- one launch by itself -- */

enum { BLOCKS = 3 };

static void launch(const struct persist_work *w, int n, uint32_t count[4])
{
    const struct persist_args p = {.work = w,
                                   .n = n,
                                   .matrix = n,
                                   .stages = 2,
                                   .stage = 1024,
                                   .room = 4096,
                                   .count = count,
                                   .step = count + 2};
    const struct rt_launch l = {.k = &kern_persist,
                                .grid = {BLOCKS, 1, 1},
                                .block = PERSIST_THREADS,
                                .shared = persist_head_bytes() + 4096 + PERSIST_WARPS * 2048,
                                .args = &p};

    memset(count, 0, 4 * sizeof *count);
    simt_run(&l);
}

enum { COLS = 64 };

/* a to b by one block, b to c by another, which waits for the first, or for nobody, or for what
 * nobody raises; returns whether c is a. */
static bool pass_on(int wait, uint32_t want)
{
    static float a[COLS], b[COLS], c[COLS];
    static int32_t n[4] = {1, 1, 1, 0};
    struct persist_work w[2];
    uint32_t count[4];

    for (int i = 0; i < COLS; i++) {
        a[i] = (float)i;
        b[i] = c[i] = -1.0f;
    }
    for (int i = 0; i < 2; i++)
        w[i] = (struct persist_work){.kind = PERSIST_MAP,
                                     .first = i,
                                     .blocks = 1,
                                     .wait = i ? wait : -1,
                                     .want = want,
                                     .raise = i,
                                     .n_y = 1,
                                     .n_z = 1,
                                     .a.map = {.s = {.n = n},
                                               .x = {i ? b : a, COLS},
                                               .out = {i ? c : b, COLS},
                                               .cols = COLS,
                                               .kind = MAP_COPY,
                                               .rows = ROWS_T}};
    launch(w, 2, count);
    return memcmp(a, c, sizeof a) == 0;
}

static char said[256];

static void wait_for_nobody(void)
{
    if (freopen(said, "w", stderr) && setvbuf(stderr, NULL, _IONBF, 0) == 0)
        pass_on(0, 2);
}

START_TEST(waits)
{
    int lost = 0, status;
    char line[256] = "";

    if (on_gpu())
        return;
    for (simt_seed = 0; simt_seed < 8; simt_seed++) {
        ck_assert(pass_on(0, 1));
        lost += !pass_on(-1, 0);
    }
    simt_seed = 0;
    ck_assert_int_gt(lost, 0);
    snprintf(said, sizeof said, "%s", tmpfile_path("said"));
    status = child_status(wait_for_nobody);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    FILE *f = fopen(said, "r");
    ck_assert(f && fgets(line, sizeof line, f));
    fclose(f);
    unlink(said);
    ck_assert_msg(strstr(line, "all blocks wait"), "%s", line);
}
END_TEST

TEST_MAIN("simt/persist", same_bits, what_it_cannot_do, architectures, every_architecture,
          same_tokens, waits)
