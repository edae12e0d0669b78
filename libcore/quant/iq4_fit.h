/* iq4_fit.h - how IQ4_NL and IQ4_XS choose codes and scales, as the reference does. */
#ifndef RILL_QUANT_IQ4_FIT_H
#define RILL_QUANT_IQ4_FIT_H

#include "quant/grids.h"
#include "quant/k_fit.h"

/* Number of the value nearest to x; halfway it is the upper one. */
FMT_FN unsigned iq4_nearest(float x)
{
    unsigned c = 0;

    while (c < 15 && x + x >= (float)(FMT_GRID(iq4_values)[c] + FMT_GRID(iq4_values)[c + 1]))
        c++;
    return c;
}

/* The scale of least squares for the codes that the factor inv gives. */
FMT_FN float iq4_fit(const float *in, const float *weight, float inv, float *sum_qx, float *sum_q2)
{
    *sum_qx = *sum_q2 = 0.0f;
    for (int j = 0; j < 32; j++) {
        float q = (float)FMT_GRID(iq4_values)[iq4_nearest(inv * in[j])];

        *sum_qx += weight[j] * q * in[j];
        *sum_q2 += weight[j] * q * q;
    }
    return *sum_q2 > 0.0f ? *sum_qx / *sum_q2 : 0.0f;
}

/* The scale of 32 weights: of fifteen around the one that maps the largest magnitude to the end of
 * the list, the one that takes most of the squared error away, each weight counted by its square or
 * as k_weigh() has it; 0 for weights of 0. */
FMT_FN float iq4_scale(const float *in, const float *column, float mean2)
{
    float weight[32], first = (float)FMT_GRID(iq4_values)[0];
    float top = k_top(32, in);
    float sum_qx, sum_q2;

    if (!(k_abs(top) >= K_FIT_NONE))
        return 0.0f;
    for (int j = 0; j < 32; j++)
        weight[j] = in[j] * in[j];
    if (column)
        k_weigh(32, in, column, mean2, weight);
    float d = iq4_fit(in, weight, 1.0f / (-top / first), &sum_qx, &sum_q2);
    float best = d * sum_qx;

    for (int t = -7; t <= 7; t++) {
        float fit = iq4_fit(in, weight, ((float)t + first) / top, &sum_qx, &sum_q2);

        if (sum_q2 > 0.0f && sum_qx * sum_qx > best * sum_q2) {
            d = fit;
            best = d * sum_qx;
        }
    }
    return d;
}

/* Twice the mean of the squares of n values, as the reference rounds it. */
FMT_FN float iq4_mean2(int n, const float *x)
{
    float sum = 0.0f;

    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum * (2.0f / (float)n);
}

#endif
