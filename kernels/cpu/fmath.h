/* fmath.h - exp, tanh, erf and what activations are made of, over vec.h; never libm's.
 *
 * One text for every level: with one lane it is the definition, wider ones differ by fused
 * multiply-adds alone. Coefficients are least-maximum-error fits made for this file. Errors
 * (tests/kernels/test_fmath.c, every level): exp and tanh 2 units in the last place, sigmoid 3, erf
 * 3; results below 2^-126 are 0. Not a number stays one.
 */
#ifndef RILL_KERNELS_CPU_FMATH_H
#define RILL_KERNELS_CPU_FMATH_H

#include "kernels/cpu/vec.h"

/* e^x. ln 2 is split so that n * LN2_HI is exact for |n| < 2^8. */
#define EXP_LO (-87.33654f)

V_FN vf v_exp_within(vf c) // no less than EXP_LO, no more than 88.7
{
    vf n = v_round(v_mul(c, v_set(0x1.715476p+0f)));
    vf r = v_fma(n, v_set(-0x1.62e4p-1f), c);
    vf q;

    r = v_fma(n, v_set(-0x1.7f7d1cp-20f), r);
    q = v_fma(v_set(0x1.6c6a16p-10f), r, v_set(0x1.120b9cp-7f));
    q = v_fma(q, r, v_set(0x1.5555bap-5f));
    q = v_fma(q, r, v_set(0x1.5554dcp-3f));
    q = v_fma(q, r, v_set(0.5f));
    q = v_add(v_fma(v_mul(q, r), r, r), v_set(1.0f));
    return v_exp2i(q, n);
}

V_FN vf v_exp(vf x)
{
    const vf lo = v_set(EXP_LO), hi = v_set(88.72283f);
    vf q = v_exp_within(v_max(lo, v_min(hi, x)));

    q = v_lt(x, lo, v_set(0.0f), q);
    return v_lt(hi, x, v_set(f32_of_bits(0x7f800000u)), q);
}

/* The same of what is not above 0. */
V_FN vf v_exp_down(vf x)
{
    const vf lo = v_set(EXP_LO);

    return v_lt(x, lo, v_set(0.0f), v_exp_within(v_max(lo, x)));
}

V_FN vf v_sigmoid(vf x)
{
    return v_div(v_set(1.0f), v_add(v_set(1.0f), v_exp(v_sub(v_set(0.0f), x))));
}

V_FN vf v_silu(vf x)
{
    return v_div(x, v_add(v_set(1.0f), v_exp(v_sub(v_set(0.0f), x))));
}

/* A polynomial near 0, where 1 - 2 / (e^2x + 1) would cancel; saturated above 9.1. */
V_FN vf v_tanh(vf x)
{
    vf a = v_abs(x), u = v_mul(x, x), p, e;

    p = v_fma(v_set(-0x1.938e8cp-8f), u, v_set(0x1.58b22ep-6f));
    p = v_fma(p, u, v_set(-0x1.b93798p-5f));
    p = v_fma(p, u, v_set(0x1.110e68p-3f));
    p = v_fma(p, u, v_set(-0x1.555552p-2f));
    p = v_fma(v_mul(p, u), a, a);
    e = v_exp(v_add(a, a));
    e = v_sub(v_set(1.0f), v_div(v_set(2.0f), v_add(e, v_set(1.0f))));
    return v_sign(v_lt(a, v_set(0.5625f), p, e), x);
}

/* erfc(|z|), taken at 1 and at 12 outside those: e^(-a^2) R(t) / (a + 2), t = (a - 2) / (a + 2).
 * The square is split in two: its rounding error would count whole in the exponent. */
V_FN vf v_erfc_tail(vf z)
{
    const vf two = v_set(2.0f);
    vf a = v_min(v_set(12.0f), v_max(v_set(1.0f), v_abs(z)));
    vf d = v_add(a, two), t = v_div(v_sub(a, two), d), r;
    vf h = v_sub(v_add(a, v_set(49152.0f)), v_set(49152.0f)); // 12 bits: the square is exact
    vf l = v_mul(v_sub(h, a), v_add(h, a));                   // h^2 - a^2

    r = v_fma(v_set(0x1.1f633ap-12f), t, v_set(-0x1.87b81cp-11f));
    r = v_fma(r, t, v_set(-0x1.cacf58p-11f));
    r = v_fma(r, t, v_set(0x1.9853e6p-9f));
    r = v_fma(r, t, v_set(0x1.a8aa5ep-8f));
    r = v_fma(r, t, v_set(-0x1.607686p-6f));
    r = v_fma(r, t, v_set(-0x1.2a88b8p-5f));
    r = v_fma(r, t, v_set(0x1.1e2df2p-2f));
    r = v_fma(r, t, v_set(-0x1.5fd386p-1f));
    r = v_fma(r, t, v_set(0x1.058672p+0f));
    r = v_mul(v_div(r, d), v_exp(l));
    return v_mul(r, v_exp(v_sub(v_set(0.0f), v_mul(h, h))));
}

V_FN vf v_erf_near(vf x) // |x| <= 1
{
    vf u = v_mul(x, x), p;

    p = v_fma(v_set(-0x1.4384p-17f), u, v_set(0x1.d82690p-14f));
    p = v_fma(p, u, v_set(-0x1.bcbe9ap-11f));
    p = v_fma(p, u, v_set(0x1.5628eep-8f));
    p = v_fma(p, u, v_set(-0x1.b829a8p-6f));
    p = v_fma(p, u, v_set(0x1.ce2f08p-4f));
    p = v_fma(p, u, v_set(-0x1.812746p-2f));
    p = v_fma(p, u, v_set(0x1.20dd76p+0f));
    return v_mul(p, x);
}

V_FN vf v_erf(vf x)
{
    const vf one = v_set(1.0f);
    vf a = v_abs(x);
    vf far = v_sign(v_sub(one, v_erfc_tail(a)), x);

    return v_lt(a, one, v_erf_near(x), far);
}

/* x Phi(x). The left tail comes from erfc itself: 1 + erf would lose it. */
V_FN vf v_gelu(vf x)
{
    const vf one = v_set(1.0f), half = v_set(0.5f);
    vf z = v_mul(x, v_set(0x1.6a09e6p-1f)), a = v_abs(z);
    vf tail = v_erfc_tail(a);
    vf near = v_fma(half, v_erf_near(z), half);
    vf far = v_lt(z, v_set(0.0f), v_mul(half, tail), v_sub(one, v_mul(half, tail)));

    return v_mul(x, v_lt(a, one, near, far));
}

/* x / 2 (1 + tanh(u)) = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3). */
V_FN vf v_gelu_tanh(vf x)
{
    vf c = v_fma(v_mul(x, x), v_set(0.044715f), v_set(1.0f));
    vf u = v_mul(v_mul(v_set(-1.5957691f), x), c);

    return v_div(x, v_add(v_set(1.0f), v_exp(u)));
}

/* -- few values: double precision, one lane -- */

/* e^x for |x| < 700, and its inverse for normal x > 0: within 2 units in the last place */
V_FN double d_exp(double x)
{
    double n = x * 1.4426950408889634 + 6755399441055744.0 - 6755399441055744.0;
    double r = x - n * 0x1.62e42feep-1 - n * 0x1.a39ef35793c76p-33, p = 1.0;
    int64_t bits;

    for (int i = 14; i > 0; i--)
        p = 1.0 + p * r / i;
    memcpy(&bits, &p, sizeof bits);
    bits += (int64_t)n * ((int64_t)1 << 52);
    memcpy(&p, &bits, sizeof bits);
    return p;
}

V_FN double d_log(double x)
{
    uint64_t bits;
    int e;
    double m, s, u, p = 0.0;

    memcpy(&bits, &x, sizeof bits);
    e = (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | (uint64_t)1023 << 52;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        e++;
    }
    s = (m - 1.0) / (m + 1.0);
    u = s * s;
    for (int i = 21; i >= 3; i -= 2)
        p = (p + 1.0 / i) * u;
    return e * 0x1.62e42fefa39efp-1 + 2.0 * (s + s * p);
}

/* log(1 + e^x) */
V_FN float f_softplus(float x)
{
    if (x > 20.0f)
        return x;
    if (!(x >= -80.0f))
        return x < 0.0f ? 0.0f : x;
    double t = d_exp(x);
    return (float)(t < 1e-5 ? t - t * t / 2 : d_log(1.0 + t));
}

/* Sine and cosine of any |x| < 2^29: x less its multiple of pi/2, taken in three steps (the first
 * two parts of pi/2 have 24 bits, so their products with a count are exact). */
V_FN void d_sincos(double x, double *sin_x, double *cos_x)
{
    double n = x * 0.63661977236758134 + 6755399441055744.0 - 6755399441055744.0;
    double r =
        ((x - n * 0x1.921fb40000000p+0) - n * 0x1.4442d10000000p-24) - n * 0x1.08d313198a2e0p-49;
    double u = r * r, s = 1.0, c = 1.0;
    unsigned quarter = (unsigned)(int64_t)n & 3u;

    for (int i = 16; i >= 2; i -= 2) {
        s = 1.0 - s * u / (i * (i + 1));
        c = 1.0 - c * u / (i * (i - 1));
    }
    s *= r;
    *sin_x = quarter & 1 ? c : s;
    *cos_x = quarter & 1 ? s : c;
    if (quarter & 2)
        *sin_x = -*sin_x;
    if (quarter == 1 || quarter == 2)
        *cos_x = -*cos_x;
}

#endif
