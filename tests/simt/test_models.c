/* test_models.c - random models in every format of matrices, and in every type of keys and values,
 * give on the CUDA backend the logits that the CPU gives.
 *
 * On the host a few of them, with a few rows; the program of make gpu-kit, and make check-long,
 * take all. Prints the largest mean KL divergence. */
#include <math.h>

#include "kernels/cuda/cuda.h"
#include "model/random.h"
#include "tests/model/runner.h"

#define MOST_KL 2e-3

enum { ALL_ROWS = 40 };

static bool all_of(void)
{
#ifdef RILL_GPU
    return true;
#else
    const char *l = getenv("LONG");
    return l && *l;
#endif
}

static float *logits(const char *path, const char *device, int kv_type, int n, int *cols)
{
    const struct model_opts opts = MODEL_OPTS;
    struct model_opts o = opts;
    int32_t ids[ALL_ROWS];
    struct runner r;
    float *out;

    o.device = device;
    o.n_ctx = 64;
    o.kv_type[0] = o.kv_type[1] = kv_type;
    runner_open(&r, path, &o);
    *cols = runner_cols(&r);
    out = mem_array((uint64_t)n * (uint64_t)*cols, sizeof *out, NULL);
    for (int i = 0; i < n; i++)
        ids[i] = (i * 37 + 11) % r.m->h.n_vocab;
    runner_step(&r, ids, 1, false, out);
    runner_step(&r, ids + 1, n - 1, false, out + *cols);
    runner_close(&r);
    return out;
}

static double sum_of(const float *x, int n, double high)
{
    double s = 0;

    for (int i = 0; i < n; i++)
        s += exp((double)x[i] - high);
    return s;
}

static double divergence(const float *want, const float *got, int n)
{
    double high = -INFINITY, low = -INFINITY, kl = 0;

    for (int i = 0; i < n; i++) {
        high = fmax(high, (double)want[i]);
        low = fmax(low, (double)got[i]);
    }
    const double a = log(sum_of(want, n, high)) + high, b = log(sum_of(got, n, low)) + low;
    for (int i = 0; i < n; i++)
        kl += exp((double)want[i] - a) * (((double)want[i] - a) - ((double)got[i] - b));
    return kl;
}

/* The mean divergence of the device's logits from the CPU's. */
static double compare(const char *path, int kv_type)
{
    const int rows = all_of() ? ALL_ROWS : 6;
    double kl = 0;
    int cols;
    float *want = logits(path, "cpu", kv_type, rows, &cols),
          *got = logits(path, "cuda:0", kv_type, rows, &cols);

    for (int i = 0; i < rows; i++)
        kl += divergence(want + i * cols, got + i * cols, cols) / rows;
    mem_free(want);
    mem_free(got);
    return kl;
}

static const char *make(const char *type)
{
    const struct random_model m = {.shape = "tiny", .type = type};
    const char *path = tmpfile_path("random.gguf");
    struct err e = {0};

    ck_ok(random_model_write(path, &m, &e), &e);
    return path;
}

START_TEST(every_format_of_matrices)
{
    double most = 0;

    for (size_t i = 0; fmt_at(i); i++) {
        const struct fmt_info *f = fmt_at(i);
        const bool number = f->id == FMT_F32 || f->id == FMT_F16 || f->id == FMT_BF16;

        if ((f->sub == 0 && !number) || (!all_of() && f->id != FMT_Q4_K && f->id != FMT_F16))
            continue;
        const char *path = make(f->name);
        const double kl = compare(path, FMT_F16);
        ck_assert_msg(kl < MOST_KL, "%s: KL divergence %g", f->name, kl);
        most = kl > most ? kl : most;
        unlink(path);
    }
    printf("matrices: mean KL divergence from the CPU at most %.2g\n", most);
}
END_TEST

START_TEST(every_type_of_keys_and_values)
{
    static const int types[] = {FMT_Q8_0, FMT_F32, FMT_F16, FMT_BF16, FMT_KV_F8, FMT_Q4_0};
    const char *path = make("BF16");
    double most = 0;

    for (size_t i = 0; i < (all_of() ? ARRAY_LEN(types) : 1); i++) {
        const double kl = compare(path, types[i]);
        ck_assert_msg(kl < MOST_KL, "type %d: KL divergence %g", types[i], kl);
        most = kl > most ? kl : most;
    }
    printf("keys and values: mean KL divergence from the CPU at most %.2g\n", most);
    unlink(path);
}
END_TEST

TEST_MAIN("simt/models", every_format_of_matrices, every_type_of_keys_and_values)
