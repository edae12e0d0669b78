/* q6_k.h - 256 weights of 6 bits in sixteen parts: w = d * scale * (q - 32). 6.5625 bits per
 * weight.
 *
 * Of a half (128 weights) row k = 0..3 has 32 weights: their low four bits are in bytes 32 * (k %
 * 2) of that half's 64 of ql, low nibble for rows 0 and 1, high for 2 and 3; their high two bits
 * are bits 2 * k of that half's 32 bytes of qh.
 */
#ifndef RILL_QUANT_Q6_K_H
#define RILL_QUANT_Q6_K_H

#include "quant/k_fit.h"

struct q6_k {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d; // binary16
};
FMT_SIZE(struct q6_k, 210);

FMT_FN float q6_k_get(const struct q6_k *b, int i)
{
    int h = i / 128, k = i % 128 / 32, l = i % 32;
    int low = b->ql[64 * h + 32 * (k % 2) + l] >> (k / 2 * 4) & 15;
    int high = b->qh[32 * h + l] >> 2 * k & 3;

    return f16_to_f32(b->d) * (float)b->scales[i / 16] * (float)((low | high << 4) - 32);
}

FMT_FN void q6_k_codes(const struct q6_k *b, int8_t *q)
{
    for (int h = 0; h < 2; h++)
        for (int k = 0; k < 4; k++)
            for (int l = 0; l < 32; l++) {
                int low = b->ql[64 * h + 32 * (k % 2) + l] >> (k / 2 * 4) & 15;
                int high = b->qh[32 * h + l] >> 2 * k & 3;

                q[128 * h + 32 * k + l] = (int8_t)((low | high << 4) - 32);
            }
}

FMT_FN void q6_k_scales(const struct q6_k *b, float *s, float *m)
{
    float d = f16_to_f32(b->d);

    for (int p = 0; p < 16; p++) {
        s[p] = d * (float)b->scales[p];
        m[p] = 0.0f;
    }
}

FMT_DECODE(q6_k, 256, 16)

FMT_FN void q6_k_encode(const float *in, const float *column, float mean2, struct q6_k *b)
{
    float scale[16], s[16], m[16];
    uint8_t code[256];

    (void)mean2;
    for (int p = 0; p < 16; p++)
        scale[p] =
            k_fit_signed(16, 32, in + 16 * p, column ? column + 16 * p : NULL, code + 16 * p);
    float top = k_top(16, scale);

    memset(b, 0, sizeof *b);
    if (!(k_abs(top) >= K_FIT_NONE))
        return;
    float inv = -128.0f / top;

    b->d = f32_to_f16(1.0f / inv);
    for (int p = 0; p < 16; p++)
        b->scales[p] = (int8_t)k_round(inv * scale[p], -128, 127);
    q6_k_scales(b, s, m);
    for (int i = 0; i < 256; i++) {
        int h = i / 128, k = i % 128 / 32, l = i % 32;
        float d = s[i / 16];
        int q = d != 0.0f ? k_round(in[i] / d, -32, 31) + 32 : code[i];

        b->ql[64 * h + 32 * (k % 2) + l] |= (uint8_t)((q & 15) << (k / 2 * 4));
        b->qh[32 * h + l] |= (uint8_t)(q >> 4 << 2 * k);
    }
}

#endif

#ifdef FMT_HOOK
#define FMT        q6_k
#define FMT_ID     FMT_Q6_K
#define FMT_NAME   "Q6_K"
#define FMT_BLOCK  256
#define FMT_BYTES  210
#define FMT_SUB    16
#define FMT_MIN    0
#define FMT_ACT    ACT_Q8
#define FMT_TOL    5e-3f
#define FMT_ENCODE 2
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
