/* test_fmath.c - the mathematics kernels use, against libm in double precision, on every level. */
#include <math.h>

#include "base/mem.h"
#include "kernels/cpu/cpu_kernels.h"
#include "plan/plan.h"
#include "quant/half.h"
#include "tests/suite.h"

/* The scalar functions are compiled here; activations are reached through the levels' tables. */
#define V_SCALAR
#include "kernels/cpu/fmath.h"

#define N 4096

static double ulps(float got, double want)
{
    int e;

    if (want == 0.0 || fabs(want) < 0x1p-126)
        return fabs(got) < 0x1p-125f ? 0.0 : 1e9;
    frexp(want, &e);
    return fabs(got - want) / ldexp(1.0, e - 24);
}

static double silu(double x)
{
    return x / (1 + exp(-x));
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double gelu(double x)
{
    return x * 0.5 * erfc(-x / sqrt(2));
}

static double gelu_tanh(double x)
{
    return x / (1 + exp(-2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static const struct {
    int act;
    double (*f)(double);
    float from, to;
    double ulps;
} curves[] = {
    {ACT_TANH, tanh, -12, 12, 2},       {ACT_TANH, tanh, -1e-3f, 1e-3f, 2},
    {ACT_SIGMOID, sigmoid, -86, 90, 3}, {ACT_SILU, silu, -80, 90, 3},
    {ACT_GELU, gelu, -3, 12, 32},       {ACT_GELU_TANH, gelu_tanh, -3, 12, 32},
    {ACT_GELU, gelu, -0.1f, 0.1f, 4},   {ACT_GELU_TANH, gelu_tanh, -0.1f, 0.1f, 4},
};

START_TEST(activations_are_close)
{
    float x[N], y[N];

    for (int l = 0; cpu_level(l); l++)
        for (size_t c = 0; c < ARRAY_LEN(curves); c++)
            for (int part = 0; part < 8; part++) {
                for (int i = 0; i < N; i++)
                    x[i] = curves[c].from +
                           (curves[c].to - curves[c].from) * ((float)(part * N + i) / (8 * N));
                cpu_level(l)->act(y, x, N, curves[c].act);
                for (int i = 0; i < N; i++)
                    ck_assert_msg(ulps(y[i], curves[c].f(x[i])) <= curves[c].ulps,
                                  "%s: activation %d of %.9g: %.9g, expected %.9g",
                                  cpu_level(l)->name, curves[c].act, (double)x[i], (double)y[i],
                                  curves[c].f(x[i]));
            }
}
END_TEST

START_TEST(exp_is_close_and_flushes)
{
    for (int i = 0; i < 400000; i++) {
        float x = -87.3f + 176.0f * ((float)i / 400000);
        ck_assert_msg(ulps(v_exp(x), exp(x)) <= 2, "exp(%.9g) = %.9g", (double)x, (double)v_exp(x));
    }
    ck_assert_float_eq(v_exp(0.0f), 1.0f);
    ck_assert_float_eq(v_exp(-88.0f), 0.0f);
    ck_assert(isinf(v_exp(89.0f)));
    ck_assert(isnan(v_exp(NAN)));
}
END_TEST

START_TEST(erf_is_close)
{
    for (int i = 0; i < 200000; i++) {
        float x = -5.0f + 10.0f * ((float)i / 200000);
        ck_assert_msg(ulps(v_erf(x), erf(x)) <= 3, "erf(%.9g) = %.9g", (double)x, (double)v_erf(x));
    }
    ck_assert_float_eq(v_erf(INFINITY), 1.0f);
}
END_TEST

/* Infinities and not-a-numbers keep their meaning on every level, in every lane. */
START_TEST(special_values)
{
    for (int l = 0; cpu_level(l); l++) {
        const struct cpu_kernels *k = cpu_level(l);
        float x[17], y[17];

        for (int at = 0; at < 17; at++) {
            for (int i = 0; i < 17; i++)
                x[i] = i == at ? NAN : INFINITY;
            k->act(y, x, 17, ACT_TANH);
            for (int i = 0; i < 17; i++)
                ck_assert(i == at ? isnan(y[i]) : y[i] == 1.0f);
            k->act(y, x, 17, ACT_SIGMOID);
            for (int i = 0; i < 17; i++)
                ck_assert(i == at ? isnan(y[i]) : y[i] == 1.0f);
        }
    }
}
END_TEST

START_TEST(double_functions)
{
    for (int i = 0; i < 100000; i++) {
        double x = -600 + 0.012 * i, z = 1e-6 * (i + 1.0) * (i + 1.0), s, c;

        ck_assert_double_lt(fabs(d_exp(x) / exp(x) - 1), 1e-15);
        ck_assert_double_lt(fabs(d_log(z) - log(z)), 1e-15 * (1 + fabs(log(z))));
        d_sincos(i * 5171.23 - 1e8, &s, &c);
        ck_assert_double_lt(fabs(s - sin(i * 5171.23 - 1e8)), 4e-16);
        ck_assert_double_lt(fabs(c - cos(i * 5171.23 - 1e8)), 4e-16);
    }
    for (int i = 0; i < 20000; i++) {
        float x = -100.0f + 0.01f * (float)i;
        double want = x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
        ck_assert_double_lt(fabs(f_softplus(x) - want), 2e-7 * want + 1e-34);
    }
    ck_assert(isnan(f_softplus(NAN)));
}
END_TEST

/* The table of a position far out: the angle is right to the last place. */
START_TEST(rotations_far_out)
{
    const struct rope_args a = {.n_rot = 8, .mode = ROPE_NEOX, .attn_factor = 1.0f};
    const float freq[4] = {1.0f, 0.3162277f, 0.01f, 1e-4f};
    float tab[16];

    for (int pos = 1; pos < 20000000; pos = pos * 3 + 1) {
        cpu_level(0)->rope_table(tab, freq, pos, &a);
        for (int i = 0; i < 4; i++) {
            ck_assert_double_lt(fabs(tab[i] - cos((double)pos * freq[i])), 6e-8);
            ck_assert_double_lt(fabs(tab[12 + i] - sin((double)pos * freq[i])), 6e-8);
        }
    }
}
END_TEST

TEST_MAIN("kernels/fmath", activations_are_close, exp_is_close_and_flushes, erf_is_close,
          special_values, double_functions, rotations_far_out)
