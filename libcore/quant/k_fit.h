/* k_fit.h - how the K formats choose scales: searches for the least weighted error of a part.
 *
 * These are the reference's searches, sums in its order, so that the same blocks come out. Common
 * subset of C11 and C++17.
 */
#ifndef RILL_QUANT_K_FIT_H
#define RILL_QUANT_K_FIT_H

#include <math.h>
#include <stdbool.h>

#include "quant/half.h"

/* Parts whose largest magnitude is below this are zero. */
#define K_FIT_NONE 1e-15f

/* Rounds to nearest, halves to even, within [lo, hi], lo <= 0 <= hi; not a number gives 0. */
FMT_FN int k_round(float x, int lo, int hi)
{
    if (!(x > (float)lo))
        return x < 0.0f ? lo : 0;
    if (x >= (float)hi)
        return hi;
    return (int)(x + 12582912.0f - 12582912.0f); /* 1.5 * 2^23: the sum has no fraction bits */
}

FMT_FN float k_abs(float x)
{
    return x < 0.0f ? -x : x;
}

/* The value of largest magnitude, with its sign. */
FMT_FN float k_top(int n, const float *x)
{
    float top = 0.0f;

    for (int i = 0; i < n; i++)
        if (k_abs(x[i]) > k_abs(top))
            top = x[i];
    return top;
}

/* Codes 0..top at one scale 1 / inv and least value low, and their error. */
FMT_FN float k_try(int n, int top, const float *x, const float *weight, float inv, float low,
                   float scale, float least, bool squared, uint8_t *code)
{
    float error = 0.0f;

    for (int i = 0; i < n; i++) {
        code[i] = (uint8_t)k_round(inv * (x[i] - low), 0, top);
        float off = scale * (float)code[i] + least - x[i];
        error += weight[i] * (squared ? off * off : k_abs(off));
    }
    return error;
}

/* x is about scale * code - min, code 0..top, min >= 0. Tries steps + 1 ranges from first on, step
 * of a code apart, each with the scale and min of least squares. Returns the scale. n is at most
 * 32. */
FMT_FN float k_fit_min(int n, int top, const float *x, const float *weight, float first, float step,
                       int steps, bool squared, uint8_t *code, float *min)
{
    float low = x[0], high = x[0], sum_w = weight[0], sum_x = sum_w * x[0];
    uint8_t trial[32];

    for (int i = 1; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
        sum_w += weight[i];
        sum_x += weight[i] * x[i];
    }
    low = low > 0.0f ? 0.0f : low;
    *min = -low;
    memset(code, 0, (size_t)n);
    if (high == low)
        return 0.0f;
    float inv = (float)top / (high - low);
    float scale = 1.0f / inv, least = low;
    float best = k_try(n, top, x, weight, inv, low, scale, low, squared, code);

    for (int t = 0; t <= steps; t++) {
        float sum_q = 0.0f, sum_q2 = 0.0f, sum_xq = 0.0f;

        inv = (first + step * (float)t + (float)top) / (high - least);
        for (int i = 0; i < n; i++) {
            float q = (float)k_round(inv * (x[i] - least), 0, top);
            float w = weight[i];

            sum_q += w * q;
            sum_q2 += w * q * q;
            sum_xq += w * q * x[i];
        }
        float det = sum_w * sum_q2 - sum_q * sum_q;

        if (!(det > 0.0f))
            continue;
        float new_scale = (sum_w * sum_xq - sum_x * sum_q) / det;
        float new_least = (sum_q2 * sum_x - sum_q * sum_xq) / det;

        if (new_least > 0.0f) {
            new_least = 0.0f;
            new_scale = sum_xq / sum_q2;
        }
        float error = k_try(n, top, x, weight, inv, least, new_scale, new_least, squared, trial);

        if (error < best) {
            memcpy(code, trial, (size_t)n);
            best = error;
            scale = new_scale;
            least = new_least;
        }
    }
    *min = -least;
    return scale;
}

/* x is about scale * (code - top), code 0..2*top-1; weight NULL: x * x. Tries nineteen scales
 * around the one that brings the value of largest magnitude to -top. Returns the best scale. */
FMT_FN float k_fit_signed(int n, int top, const float *x, const float *weight, uint8_t *code)
{
    float far = k_top(n, x);
    float scale = 0.0f, best = 0.0f;

    memset(code, 0, (size_t)n);
    if (!(k_abs(far) >= K_FIT_NONE))
        return 0.0f;
    for (int t = 0; t < 19; t++) {
        int step = t == 0 ? 0 : t < 10 ? t - 10 : t - 9; /* 0, then -9..-1, 1..9 */
        float inv = -((float)top + 0.1f * (float)step) / far;
        float sum_xq = 0.0f, sum_q2 = 0.0f;

        for (int i = 0; i < n; i++) {
            float q = (float)k_round(inv * x[i], -top, top - 1);
            float w = weight ? weight[i] : x[i] * x[i];

            sum_xq += w * x[i] * q;
            sum_q2 += w * q * q;
        }
        if (t == 0 || (sum_q2 > 0.0f && sum_xq * sum_xq > best * sum_q2)) {
            scale = sum_q2 != 0.0f ? sum_xq / sum_q2 : 0.0f;
            best = scale * sum_xq;
            for (int i = 0; i < n; i++)
                code[i] = (uint8_t)(k_round(inv * x[i], -top, top - 1) + top);
        }
    }
    return scale;
}

/* The same by another search, for few codes: starts at that scale and moves one code at a time to
 * where least squares wants it, in at most five rounds. */
FMT_FN float k_fit_moves(int n, int top, const float *x, uint8_t *code)
{
    float far = k_top(n, x);
    float sum_xq = 0.0f, sum_q2 = 0.0f;
    bool moved = true;

    memset(code, 0, (size_t)n);
    if (!(k_abs(far) >= K_FIT_NONE))
        return 0.0f;
    float inv = -(float)top / far;

    for (int i = 0; i < n; i++) {
        float w = x[i] * x[i], q;

        code[i] = (uint8_t)(k_round(inv * x[i], -top, top - 1) + top);
        q = (float)(code[i] - top);
        sum_xq += w * x[i] * q;
        sum_q2 += w * q * q;
    }
    for (int round = 0; round < 5 && moved; round++) {
        moved = false;
        for (int i = 0; i < n; i++) {
            float w = x[i] * x[i], q = (float)(code[i] - top);
            float xq = sum_xq - w * x[i] * q;
            float q2 = sum_q2 - w * q * q;

            if (!(xq > 0.0f))
                continue;
            int to = k_round(x[i] * q2 / xq, -top, top - 1);

            if (to == code[i] - top)
                continue;
            xq += w * x[i] * (float)to;
            q2 += w * (float)to * (float)to;
            if (q2 > 0.0f && xq * xq * sum_q2 > sum_xq * sum_xq * q2) {
                code[i] = (uint8_t)(to + top);
                sum_xq = xq;
                sum_q2 = q2;
                moved = true;
            }
        }
    }
    return sum_q2 > 0.0f ? sum_xq / sum_q2 : 0.0f;
}

/* x >= 0 is about scale * code, code 0..top: of nine scales around the one that brings the largest
 * to top the one of least error, then moves as above. Returns the scale. */
FMT_FN float k_fit_positive(int n, int top, const float *x, const float *weight, uint8_t *code)
{
    float high = 0.0f, sum_xq = 0.0f, sum_q2 = 0.0f, inv = 0.0f, best = 0.0f;
    bool moved = true;

    memset(code, 0, (size_t)n);
    for (int i = 0; i < n; i++)
        high = x[i] > high ? x[i] : high;
    if (!(high >= K_FIT_NONE))
        return 0.0f;
    for (int t = 0; t < 9; t++) {
        int step = t == 0 ? 0 : t < 5 ? t - 5 : t - 4; /* 0, then -4..-1, 1..4 */
        float to = step ? (0.1f * (float)step + (float)top) / high : (float)top / high;
        float scale = 1.0f / to, error = 0.0f;

        for (int i = 0; i < n; i++) {
            float off = x[i] - scale * (float)k_round(to * x[i], 0, top);

            error += weight[i] * off * off;
        }
        if (t == 0 || error < best) {
            best = error;
            inv = to;
        }
    }
    for (int i = 0; i < n; i++) {
        code[i] = (uint8_t)k_round(inv * x[i], 0, top);
        sum_xq += weight[i] * x[i] * (float)code[i];
        sum_q2 += weight[i] * (float)code[i] * (float)code[i];
    }
    for (int round = 0; round < 5 && moved; round++) {
        moved = false;
        for (int i = 0; i < n; i++) {
            float w = weight[i], q = (float)code[i];
            float xq = sum_xq - w * x[i] * q;
            float q2 = sum_q2 - w * q * q;

            if (!(xq > 0.0f && q2 > 0.0f))
                continue;
            int to = k_round(x[i] * q2 / xq, 0, top);

            if (to == code[i])
                continue;
            xq += w * x[i] * (float)to;
            q2 += w * (float)to * (float)to;
            if (xq * xq * sum_q2 > sum_xq * sum_xq * q2) {
                code[i] = (uint8_t)to;
                sum_xq = xq;
                sum_q2 = q2;
                moved = true;
            }
        }
    }
    return sum_q2 > 0.0f ? sum_xq / sum_q2 : 0.0f;
}

/* Mean of the squares of n values. */
FMT_FN float k_mean2(int n, const float *x)
{
    float sum = 0.0f;

    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum / (float)n;
}

/* How much each of n values counts: the importance of its column times its own size, to which
 * mean2 lends some of its neighbours'. Returns the sum. */
FMT_FN float k_weigh(int n, const float *x, const float *column, float mean2, float *weight)
{
    float sum = 0.0f;

    for (int i = 0; i < n; i++)
        weight[i] = column[i] * sqrtf(mean2 + x[i] * x[i]);
    for (int i = 0; i < n; i++)
        sum += weight[i];
    return sum;
}

/* The largest of n values, at least 0. */
FMT_FN float k_max(int n, const float *x)
{
    float high = 0.0f;

    for (int i = 0; i < n; i++)
        high = x[i] > high ? x[i] : high;
    return high;
}

#endif
