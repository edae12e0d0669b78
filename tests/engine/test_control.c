/* test_control.c - control vectors: the logits are those of transformers with the same directions
 * added (scripts/ref-control.py), and nobody else in the engine sees anything of them. */
#include <math.h>

#include "base/mem.h"
#include "engine/engine.h"
#include "file/gguf.h"
#include "quant/quant.h"
#include "tests/suite.h"

/* Another room's test may name another device, and what it is allowed to be off. */
#ifndef CONTROL_DEVICE
#define CONTROL_DEVICE "cpu"
#define CONTROL_NAME   "engine/control"
#define CONTROL_TOL    1e-5
#define CONTROL_MODELS "llama", "gemma3", "command-r", "qwen3moe"
#endif

enum { ROWS = 40, VOCAB = 64, ASKS = 6, SIZE = ROWS * VOCAB };

static const char *file(const char *dir, const char *name, const char *end)
{
    static char path[2][128];
    static int turn;
    char *to = path[turn++ % 2];

    snprintf(to, sizeof path[0], "tests/golden/%s/%s.%s", dir, name, end);
    return srcfile(to);
}

static void golden(const char *dir, const char *name, float *row)
{
    FILE *f = fopen(file(dir, name, "logits"), "rb");

    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fread(row, sizeof *row, SIZE, f), SIZE);
    fclose(f);
}

static struct rill_model *open_model(const char *name, int threads)
{
    struct rill_model_opts o = {.device = CONTROL_DEVICE, .threads = threads, .n_ctx = 64};
    struct rill_model *m;
    struct err e = {0};

    ck_ok(rill_model_open(&m, file("arch", name, "gguf"), &o, &e), &e);
    return m;
}

static void submit(struct rill_engine *g, float scale)
{
    const struct rill_lora_use use = {0, scale};
    int32_t ids[ROWS];
    struct rill_request q = {.ids = ids,
                             .n_ids = ROWS,
                             .max_tokens = 1,
                             .prompt_logits = true,
                             .lora = &use,
                             .n_lora = 1};
    struct err e = {0};
    int number;

    for (int i = 0; i < ROWS; i++)
        ids[i] = (i * 37 + 11) % VOCAB;
    q.sampling = rill_sampling_defaults();
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
}

/* n requests at once, each with its scale; row: [n][SIZE]. */
static void ask(struct rill_model *m, const char *control, const float *scale, int n, float *row)
{
    struct rill_engine_opts o = {.max_seq = n, .max_batch = 50, .max_lora = 1};
    struct rill_engine *g;
    struct rill_event ev;
    struct rill_lora l;
    struct err e = {0};
    int id, rc;

    ck_ok(rill_engine_open(&g, m, &o, &e), &e);
    ck_ok(rill_engine_lora_load(g, control, &id, &e), &e);
    ck_assert_int_eq(rill_engine_lora_list(g, &l, 1), 1);
    ck_assert_int_eq(l.n_matrix, 0);
    ck_assert_int_gt(l.n_layer, 0);
    for (int i = 0; i < n; i++)
        submit(g, scale[i]);
    engine_guard(g, true);
    while ((rc = rill_engine_step(g, &ev, 1, &e)) > 0) {
        ck_assert_msg(ev.finish != RILL_FAILED, "%s", ev.message);
        if (ev.kind == RILL_LOGITS)
            memcpy(row + (ptrdiff_t)ev.request * SIZE + (ptrdiff_t)ev.pos * VOCAB, ev.logits,
                   VOCAB * sizeof *row);
    }
    ck_assert_msg(rc == 0, "%s", e.text);
    rill_engine_close(g);
}

static double off(const float *want, const float *got)
{
    double most = 0, big = 0;

    for (int i = 0; i < SIZE; i++) {
        const double d = fabs((double)want[i] - (double)got[i]), w = fabs((double)want[i]);

        if (!(d <= most)) // what is not a number is as far off as can be
            most = isnan(d) ? INFINITY : d;
        if (w > big)
            big = w;
    }
    return most / big;
}

/* Dense, with windows and two norms behind each half, with parallel halves, with experts. */
START_TEST(as_transformers_does_it)
{
    static const char *const names[] = {CONTROL_MODELS};
    static const float scale[ASKS] = {1.5f, 0, -0.5f, 1.5f, 3, 0};
    static float plain[SIZE], want[SIZE], alone[SIZE], all[ASKS * SIZE];

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *control = file("control", names[i], "gguf");
        char path[256];
        struct rill_model *m = open_model(names[i], 1 + (int)i % 2 * 2);

        snprintf(path, sizeof path, "%s", control);
        golden("arch", names[i], plain);
        golden("control", names[i], want);
        ck_assert_double_gt(off(want, plain), 0.05);
        ask(m, path, scale, ASKS, all);
        ck_assert_msg(off(want, all) < CONTROL_TOL, "%s: %g", names[i], off(want, all));
        ck_assert_msg(off(plain, all + SIZE) < CONTROL_TOL, "%s", names[i]);
        ck_assert_mem_eq(all, all + 3 * SIZE, sizeof alone);
        ck_assert_mem_eq(all + SIZE, all + 5 * SIZE, sizeof alone);
        for (int k = 0; k < ASKS; k++) {
            ask(m, path, scale + k, 1, alone);
            ck_assert_mem_eq(alone, all + (ptrdiff_t)k * SIZE, sizeof alone);
        }
        rill_model_close(m);
    }
}
END_TEST

/* -- files that are not as they should be -- */

static void write_control(const char *path, const char *name, int n, float value)
{
    struct gguf_out *w;
    float v[64];
    const uint64_t ne[1] = {(uint64_t)n};
    struct err e = {0};

    for (int i = 0; i < n; i++)
        v[i] = value;
    ck_ok(gguf_create(&w, path, 0, &e), &e);
    gguf_put_str(w, "general.architecture", SLICE("controlvector"));
    if (name)
        gguf_put_tensor(w, slice_of(name), FMT_F32, 1, ne);
    ck_ok(gguf_begin(w, &e), &e);
    ck_ok(gguf_data(w, v, (uint64_t)n * sizeof *v, &e), &e);
    ck_ok(gguf_finish(w, &e), &e);
}

START_TEST(refusals)
{
    static const struct {
        const char *name;
        int n;
        float value;
        const char *say;
    } bad[] = {
        {NULL, 0, 0, "without directions"},           {"direction.0", 32, 1, "no layer"},
        {"direction.2", 32, 1, "no layer"},           {"direction.x", 32, 1, "no layer"},
        {"direction.1", 31, 1, "32 numbers"},         {"direction.1", 32, NAN, "not finite"},
        {"direction.99999999999", 32, 1, "no layer"},
    };
    struct rill_model *m = open_model("llama", 1);
    struct rill_engine_opts o = {.max_seq = 1, .max_lora = 1};
    const char *path = tmpfile_path("bad.gguf");
    struct rill_engine *g;
    struct err e = {0};
    int id, rc = -1;

    ck_ok(rill_engine_open(&g, m, &o, &e), &e);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        write_control(path, bad[i].name, bad[i].n, bad[i].value);
        memset(&e, 0, sizeof e);
        ck_fails(rill_engine_lora_load(g, path, &id, &e), &e, E_FORMAT, bad[i].say);
    }
    write_control(path, "direction.1", 32, 0.1f);
    for (int n = 1; rc < 0; n++) { // memory runs out anywhere
        memset(&e, 0, sizeof e);
        mem_fail_after(n);
        rc = rill_engine_lora_load(g, path, &id, &e);
        mem_fail_after(-1);
        ck_assert(rc == 0 || e.text[0]);
    }
    ck_ok(rill_engine_lora_unload(g, id, &e), &e);
    rill_engine_close(g);
    rill_model_close(m);
    unlink(path);
}
END_TEST

TEST_MAIN(CONTROL_NAME, as_transformers_does_it, refusals)
