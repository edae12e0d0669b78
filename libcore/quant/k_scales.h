/* k_scales.h - the eight scales and eight mins of 6 bits that Q4_K and Q5_K pack into 12 bytes.
 *
 * Those of parts 0-3 are the low six bits of bytes 0-3 (scales) and 4-7 (mins). Of parts 4-7, the
 * low four bits are the low (scale) and high (min) nibbles of bytes 8-11, and the high two are the
 * top two bits of bytes 0-3 (scales) and 4-7 (mins).
 */
#ifndef RILL_QUANT_K_SCALES_H
#define RILL_QUANT_K_SCALES_H

#include "quant/k_fit.h"

/* Scale of part p, 0..63. */
FMT_FN int k_scale(const uint8_t *scales, int p)
{
    if (p < 4)
        return scales[p] & 63;
    return (scales[p + 4] & 15) | scales[p - 4] >> 6 << 4;
}

/* Min of part p, 0..63. */
FMT_FN int k_min(const uint8_t *scales, int p)
{
    if (p < 4)
        return scales[p + 4] & 63;
    return scales[p + 4] >> 4 | scales[p] >> 6 << 4;
}

/* Sets scale and min of part p; the bytes were 0 before. */
FMT_FN void k_put(uint8_t *scales, int p, int scale, int min)
{
    if (p < 4) {
        scales[p] |= (uint8_t)scale;
        scales[p + 4] |= (uint8_t)min;
        return;
    }
    scales[p + 4] = (uint8_t)((scale & 15) | (min & 15) << 4);
    scales[p - 4] |= (uint8_t)(scale >> 4 << 6);
    scales[p] |= (uint8_t)(min >> 4 << 6);
}

/* Rounds eight scales and mins to 6 bits each, and their common factors d and dmin. */
FMT_FN void k_scales_put(uint8_t *scales, uint16_t *d, uint16_t *dmin, const float *scale,
                         const float *min)
{
    float high = k_max(8, scale), high_min = k_max(8, min);
    float inv = high > 0.0f ? 63.0f / high : 0.0f;
    float inv_min = high_min > 0.0f ? 63.0f / high_min : 0.0f;

    *d = f32_to_f16(high / 63.0f);
    *dmin = f32_to_f16(high_min / 63.0f);
    for (int p = 0; p < 8; p++)
        k_put(scales, p, k_round(inv * scale[p], 0, 63), k_round(inv_min * min[p], 0, 63));
}

/* Scale and min of 32 weights, each counted by its magnitude plus the root mean square of all. */
FMT_FN float k_fit_part(const float *x, int top, float first, int steps, uint8_t *code, float *min)
{
    float weight[32], rms = sqrtf(k_mean2(32, x));

    for (int i = 0; i < 32; i++)
        weight[i] = rms + k_abs(x[i]);
    return k_fit_min(32, top, x, weight, first, 0.1f, steps, true, code, min);
}

/* What Q4_K and Q5_K choose: codes 0..top of 256 weights, and the packed scales. column: how much
 * the columns count; NULL: all alike. */
FMT_FN void k_fit_block(const float *in, const float *column, int top, uint8_t *code,
                        uint8_t *scales, uint16_t *d, uint16_t *dmin)
{
    float scale[8], min[8], sum[8], weight[32];
    uint8_t s[8], m[8];

    memset(scales, 0, 12);
    if (!column) {
        for (int p = 0; p < 8; p++)
            scale[p] = k_fit_part(in + 32 * p, top, top == 15 ? -1.0f : -0.5f, top == 15 ? 20 : 15,
                                  code + 32 * p, &min[p]);
        k_scales_put(scales, d, dmin, scale, min);
        return;
    }
    float mean2 = 2.0f * k_mean2(256, in); /* doubled as in the reference */

    for (int p = 0; p < 8; p++) {
        sum[p] = k_weigh(32, in + 32 * p, column + 32 * p, mean2, weight);
        scale[p] =
            k_fit_min(32, top, in + 32 * p, weight, -0.9f, 0.05f, 36, true, code + 32 * p, &min[p]);
    }
    *d = f32_to_f16(k_fit_positive(8, 63, scale, sum, s));
    *dmin = f32_to_f16(k_fit_positive(8, 63, min, sum, m));
    for (int p = 0; p < 8; p++)
        k_put(scales, p, s[p], m[p]);
}

#endif
