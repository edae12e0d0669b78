/* tables.h - numbers that every backend computes on the host when a plan is prepared. */
#ifndef RILL_KERNELS_TABLES_H
#define RILL_KERNELS_TABLES_H

#include "kernels/cpu/fmath.h"
#include "plan/plan.h"

/* The pair whose wave turns b times within the original context. */
static inline double yarn_pair(const struct rope_args *a, double b)
{
    return a->n_rot * d_log(a->n_ctx_orig / (b * 6.283185307179586)) / (2.0 * d_log(a->base));
}

/* Radians per position of each pair, rounded once to single precision. */
static inline void rope_frequencies(float *freq, const struct rope_args *a, const float *factor)
{
    double low = 0.0, high = 0.0;

    if (a->ext_factor != 0.0f) {
        low = yarn_pair(a, a->beta_fast);
        high = yarn_pair(a, a->beta_slow);
        if (!a->ramp_exact) {
            low = (double)(int64_t)low - ((double)(int64_t)low > low);
            high = (double)(int64_t)high + ((double)(int64_t)high < high);
        }
        low = low < 0.0 ? 0.0 : low;
        high = high > a->n_rot - 1 ? a->n_rot - 1 : high;
    }
    for (int i = 0; i < a->n_rot / 2; i++) {
        double f = d_exp(-2.0 * i / a->n_rot * d_log(a->base)), mix = 0.0;

        if (factor)
            f /= factor[i];
        if (a->ext_factor != 0.0f) {
            double ramp = (i - low) / (high - low > 0.001 ? high - low : 0.001);
            mix = (1.0 - (ramp < 0.0 ? 0.0 : ramp > 1.0 ? 1.0 : ramp)) * a->ext_factor;
        }
        freq[i] = (float)(f * a->freq_scale * (1.0 - mix) + f * mix);
    }
}

/* Slopes of attention with linear biases (arXiv 2108.12409): powers of 2^(-alibi / n) for n heads,
 * n the power of two below; heads past it take the odd half steps between. */
static inline void alibi_slopes(float *slope, const struct attn_args *a)
{
    int pow2 = 1;

    while (pow2 * 2 <= a->n_head)
        pow2 *= 2;
    for (int h = 0; h < a->n_head; h++) {
        double step = h < pow2 ? h + 1.0 : h - pow2 + 0.5;
        slope[h] = (float)d_exp(-a->alibi * step / pow2 * 0.6931471805599453);
    }
}

#endif
