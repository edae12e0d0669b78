/* test_arch.c - every architecture against its original: logits of tiny random models at 40
 * positions (scripts/ref-arch.py), in one piece, in several, and with nothing fused; of encoders
 * the rows, in one piece. */
#include "tests/model/arch_cases.h"
#include "tests/model/runner.h"

#include <math.h>

/* Another room's test may name another device, and what it is allowed to be off. */
#ifndef ARCH_DEVICE
#define ARCH_DEVICE "cpu:2"
#define ARCH_TOL    1e-4f
#define ARCH_NAME   "model/arch"
#define ARCH_PATHS  2
#define ARCH_STEP   7 // pieces of 1, 17, 24 ...
#endif

enum { N = 40 };

/* What is wrong with this case, or NULL. tol: of the largest logit of the position. */
static const char *far_off(const float *got, const float *want, int n_vocab, float tol, char *text,
                           size_t size)
{
    for (int i = 0; i < N; i++) {
        float most = 0, diff = 0;
        for (int k = 0; k < n_vocab; k++) {
            float d = fabsf(got[i * n_vocab + k] - want[i * n_vocab + k]);
            most = fmaxf(most, fabsf(want[i * n_vocab + k]));
            diff = d > diff || isnan(d) ? d : diff;
        }
        if (!(diff <= tol * most)) {
            snprintf(text, size, "position %d: off by %g of %g", i, (double)diff, (double)most);
            return text;
        }
    }
    return NULL;
}

/* And n_score numbers behind them. */
static float *read_logits(const char *name, int cols, int n_score)
{
    size_t n = (size_t)N * (size_t)cols + (size_t)n_score;
    float *p = mem_array(n, sizeof *p, NULL);
    FILE *f = fopen(srcfile(name), "rb");

    ck_assert_msg(f != NULL, "%s is missing", name);
    ck_assert_msg(fread(p, sizeof *p, n, f) == n && fgetc(f) == EOF, "%s: size", name);
    fclose(f);
    return p;
}

static void check_case(const char *name)
{
    const struct model_opts opts = MODEL_OPTS;
    struct model_opts o = opts;
    char path[128], why[128];
    int32_t ids[N];
    struct runner r;
    float *want, *all, *cut, score[4];

    o.device = ARCH_DEVICE;
    o.n_ctx = 64; /* phi3-long was trained with fewer, phi3-short with as many */
    snprintf(path, sizeof path, "tests/golden/arch/%s.gguf", name);
    runner_open(&r, srcfile(path), &o);
    const int cols = runner_cols(&r), n_score = r.m->plan->encoder ? r.m->h.n_score : 0;
    size_t n = (size_t)N * (size_t)cols;
    snprintf(path, sizeof path, "tests/golden/arch/%s.logits", name);
    want = read_logits(path, cols, n_score);
    ck_assert_int_eq(r.m->n_unknown, 0);
    all = mem_array(n, sizeof *all, NULL);
    cut = mem_array(n, sizeof *cut, NULL);
    for (int i = 0; i < N; i++)
        ids[i] = (i * 37 + 11) % r.m->h.n_vocab;

    for (int generated = 0; generated < ARCH_PATHS; generated++) {
        runner_list(&r, ids, N, N, generated, all);
        ck_assert_msg(!far_off(all, want, cols, ARCH_TOL, why, sizeof why), "%s: %s", name, why);
        ck_assert_int_eq(runner_scores(&r, score, 4), n_score);
        for (int i = 0; i < n_score; i++)
            ck_assert_msg(fabsf(score[i] - want[n + (size_t)i]) <= ARCH_TOL * fabsf(want[n]),
                          "%s: score %g", name, (double)score[i]);
        if (r.m->plan->encoder)
            continue;
        for (int piece = 1; piece < N; piece += piece == 1 ? 16 : ARCH_STEP) {
            runner_list(&r, ids, N, piece, generated, cut);
            ck_assert_msg(memcmp(all, cut, n * sizeof *all) == 0, "%s: differs in pieces of %d",
                          name, piece);
        }
    }
    /* a plan with nothing fused gives the same bytes */
    runner_list(&r, ids, N, N, false, all);
    int fused = r.m->plan->n_op;
    runner_close(&r);
    o.nofuse = true;
    snprintf(path, sizeof path, "tests/golden/arch/%s.gguf", name);
    runner_open(&r, srcfile(path), &o);
    ck_assert_int_gt(r.m->plan->n_op, fused);
    runner_list(&r, ids, N, N, false, cut);
    ck_assert_msg(memcmp(all, cut, n * sizeof *all) == 0, "%s: fusing changes it", name);
    runner_close(&r);
    mem_free(want);
    mem_free(all);
    mem_free(cut);
}

ARCH_CASES(ARCH_TEST)

int main(int argc, char **argv)
{
    const TTest *const all[] = {ARCH_CASES(ARCH_ITEM)};

#ifdef ARCH_SOME
    if (argc < 2 && !(getenv("LONG") && *getenv("LONG")))
        return suite_main(ARCH_NAME, all, (int)ARRAY_LEN(all), ARCH_SOME);
#endif
    return suite_main(ARCH_NAME, all, (int)ARRAY_LEN(all), argc, argv);
}
