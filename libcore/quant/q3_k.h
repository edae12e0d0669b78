/* q3_k.h - 256 weights of 3 bits in sixteen parts: w = d * (scale - 32) * (q - 4). 3.4375 bits per
 * weight.
 *
 * The low two bits are kept as in q2_k; bit i / 32 of hmask[i % 32] is the third. Scales have 6
 * bits: the low four in nibbles of the first 8 bytes, the high two in pairs of bits of the last 4.
 */
#ifndef RILL_QUANT_Q3_K_H
#define RILL_QUANT_Q3_K_H

#include "quant/k_fit.h"

struct q3_k {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d; // binary16
};
FMT_SIZE(struct q3_k, 110);

/* Scale of part p, -32..31. */
FMT_FN int q3_k_scale(const struct q3_k *b, int p)
{
    int low = b->scales[p % 8] >> (p / 8 * 4) & 15;
    int high = b->scales[8 + p % 4] >> (p / 4 * 2) & 3;

    return (low | high << 4) - 32;
}

FMT_FN float q3_k_get(const struct q3_k *b, int i)
{
    int low = b->qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
    int high = b->hmask[i % 32] >> (i / 32) & 1;
    float s = f16_to_f32(b->d) * (float)q3_k_scale(b, i / 16);

    return s * (float)((low | high << 2) - 4);
}

FMT_FN void q3_k_codes(const struct q3_k *b, int8_t *q)
{
    for (int g = 0; g < 8; g++)
        for (int l = 0; l < 32; l++) {
            int low = b->qs[g / 4 * 32 + l] >> (g % 4 * 2) & 3;
            int high = b->hmask[l] >> g & 1;

            q[32 * g + l] = (int8_t)((low | high << 2) - 4);
        }
}

FMT_FN void q3_k_scales(const struct q3_k *b, float *s, float *m)
{
    float d = f16_to_f32(b->d);

    for (int p = 0; p < 16; p++) {
        s[p] = d * (float)q3_k_scale(b, p);
        m[p] = 0.0f;
    }
}

FMT_DECODE(q3_k, 256, 16)

/* Puts scale l (0..63) of part p; the bytes were 0 before. */
FMT_FN void q3_k_put(struct q3_k *b, int p, int l)
{
    b->scales[p % 8] |= (uint8_t)((l & 15) << (p / 8 * 4));
    b->scales[8 + p % 4] |= (uint8_t)(l >> 4 << (p / 4 * 2));
}

/* Rounds sixteen scales to 6 bits, and their common factor; sum: how much the parts count, or
 * NULL. The bytes were 0 before. */
FMT_FN void q3_k_scales_put(struct q3_k *b, const float *scale, const float *sum)
{
    float top = k_top(16, scale);
    float inv = top != 0.0f ? -32.0f / top : 0.0f;
    uint8_t l[16];

    if (sum) {
        b->d = f32_to_f16(k_fit_signed(16, 32, scale, sum, l));
        for (int p = 0; p < 16; p++)
            q3_k_put(b, p, l[p]);
        return;
    }
    b->d = f32_to_f16(top != 0.0f ? 1.0f / inv : 0.0f);
    for (int p = 0; top != 0.0f && p < 16; p++)
        q3_k_put(b, p, k_round(inv * scale[p], -32, 31) + 32);
}

FMT_FN void q3_k_encode(const float *in, const float *column, float mean2, struct q3_k *b)
{
    float scale[16], sum[16], weight[16], s[16], m[16];
    uint8_t code[256];

    mean2 = column ? 2.0f * k_mean2(256, in) : 0.0f; /* doubled as in the reference */
    for (int p = 0; p < 16; p++) {
        const float *x = in + 16 * p;

        if (column)
            sum[p] = k_weigh(16, x, column + 16 * p, mean2, weight);
        scale[p] = column ? k_fit_signed(16, 4, x, weight, code + 16 * p)
                          : k_fit_moves(16, 4, x, code + 16 * p);
    }
    memset(b, 0, sizeof *b);
    q3_k_scales_put(b, scale, column ? sum : NULL);
    q3_k_scales(b, s, m);
    for (int i = 0; i < 256; i++) {
        float d = s[i / 16];
        int q = d != 0.0f ? k_round(in[i] / d, -4, 3) + 4 : code[i];

        b->hmask[i % 32] |= (uint8_t)(q >> 2 << (i / 32));
        b->qs[i / 128 * 32 + i % 32] |= (uint8_t)((q & 3) << (i % 128 / 32 * 2));
    }
}

#endif

#ifdef FMT_HOOK
#define FMT        q3_k
#define FMT_ID     FMT_Q3_K
#define FMT_NAME   "Q3_K"
#define FMT_BLOCK  256
#define FMT_BYTES  110
#define FMT_SUB    16
#define FMT_MIN    0
#define FMT_ACT    ACT_Q8
#define FMT_TOL    5e-3f
#define FMT_ENCODE 2
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
