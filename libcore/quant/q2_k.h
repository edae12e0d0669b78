/* q2_k.h - 256 weights of 2 bits in sixteen parts: w = d * scale * q - dmin * min. 2.625 bits per
 * weight.
 *
 * scales[p] holds part p's scale in its low and its min in its high four bits. Weight i of a half
 * (128 weights) is in byte i % 32 of that half's 32, at bit 2 * (i / 32).
 */
#ifndef RILL_QUANT_Q2_K_H
#define RILL_QUANT_Q2_K_H

#include "quant/k_fit.h"

struct q2_k {
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d;    // binary16
    uint16_t dmin; // binary16
};
FMT_SIZE(struct q2_k, 84);

FMT_FN float q2_k_get(const struct q2_k *b, int i)
{
    int q = b->qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
    float s = f16_to_f32(b->d) * (float)(b->scales[i / 16] & 15);
    float m = f16_to_f32(b->dmin) * (float)(b->scales[i / 16] >> 4);

    return s * (float)q - m;
}

FMT_FN void q2_k_codes(const struct q2_k *b, int8_t *q)
{
    for (int h = 0; h < 2; h++)
        for (int k = 0; k < 4; k++)
            for (int l = 0; l < 32; l++)
                q[128 * h + 32 * k + l] = (int8_t)(b->qs[32 * h + l] >> 2 * k & 3);
}

FMT_FN void q2_k_scales(const struct q2_k *b, float *s, float *m)
{
    float d = f16_to_f32(b->d);
    float dmin = f16_to_f32(b->dmin);

    for (int p = 0; p < 16; p++) {
        s[p] = d * (float)(b->scales[p] & 15);
        m[p] = -(dmin * (float)(b->scales[p] >> 4));
    }
}

FMT_DECODE_MIN(q2_k, 256, 16)

/* Rounds sixteen scales and mins to 4 bits each, and their common factors. */
FMT_FN void q2_k_put(struct q2_k *b, const float *scale, const float *min)
{
    float high = k_max(16, scale), high_min = k_max(16, min);
    float inv = high > 0.0f ? 15.0f / high : 0.0f;
    float inv_min = high_min > 0.0f ? 15.0f / high_min : 0.0f;

    b->d = f32_to_f16(high / 15.0f);
    b->dmin = f32_to_f16(high_min / 15.0f);
    for (int p = 0; p < 16; p++)
        b->scales[p] =
            (uint8_t)(k_round(inv * scale[p], 0, 15) | k_round(inv_min * min[p], 0, 15) << 4);
}

/* The same where the parts count sum[] each. */
FMT_FN void q2_k_put_weighted(struct q2_k *b, const float *scale, const float *min,
                              const float *sum)
{
    uint8_t s[16], m[16];

    b->d = f32_to_f16(k_fit_positive(16, 15, scale, sum, s));
    b->dmin = f32_to_f16(k_fit_positive(16, 15, min, sum, m));
    for (int p = 0; p < 16; p++)
        b->scales[p] = (uint8_t)(s[p] | m[p] << 4);
}

FMT_FN void q2_k_encode(const float *in, const float *column, float mean2, struct q2_k *b)
{
    float scale[16], min[16], sum[16], weight[16], s[16], m[16];
    uint8_t code[256];

    mean2 = column ? k_mean2(256, in) : 0.0f;
    for (int p = 0; p < 16; p++) {
        const float *x = in + 16 * p;

        for (int i = 0; i < 16; i++)
            weight[i] = k_abs(x[i]);
        if (column)
            sum[p] = k_weigh(16, x, column + 16 * p, mean2, weight);
        scale[p] =
            column ? k_fit_min(16, 3, x, weight, -0.9f, 0.05f, 36, true, code + 16 * p, &min[p])
                   : k_fit_min(16, 3, x, weight, -0.5f, 0.1f, 15, false, code + 16 * p, &min[p]);
    }
    if (column)
        q2_k_put_weighted(b, scale, min, sum);
    else
        q2_k_put(b, scale, min);
    memset(b->qs, 0, sizeof b->qs);
    q2_k_scales(b, s, m);
    for (int i = 0; i < 256; i++) {
        float d = s[i / 16];
        int q = d != 0.0f ? k_round((in[i] - m[i / 16]) / d, 0, 3) : code[i];

        b->qs[i / 128 * 32 + i % 32] |= (uint8_t)(q << (i % 128 / 32 * 2));
    }
}

#endif

#ifdef FMT_HOOK
#define FMT        q2_k
#define FMT_ID     FMT_Q2_K
#define FMT_NAME   "Q2_K"
#define FMT_BLOCK  256
#define FMT_BYTES  84
#define FMT_SUB    16
#define FMT_MIN    1
#define FMT_ACT    ACT_Q8
#define FMT_TOL    5e-3f
#define FMT_ENCODE 2
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
