/* q5_k.h - 256 weights of 5 bits in eight parts: w = d * scale * q - dmin * min. 5.5 bits per
 * weight.
 *
 * Scales, mins and the low four bits are kept as in q4_k; bit p of qh[l] is the fifth bit of
 * weight l of part p.
 */
#ifndef RILL_QUANT_Q5_K_H
#define RILL_QUANT_Q5_K_H

#include "quant/half.h"
#include "quant/k_scales.h"

struct q5_k {
    uint16_t d;    // binary16
    uint16_t dmin; // binary16
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
};
FMT_SIZE(struct q5_k, 176);

FMT_FN float q5_k_get(const struct q5_k *b, int i)
{
    int low = b->qs[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
    int high = b->qh[i % 32] >> (i / 32) & 1;
    float s = f16_to_f32(b->d) * (float)k_scale(b->scales, i / 32);
    float m = f16_to_f32(b->dmin) * (float)k_min(b->scales, i / 32);

    return s * (float)(low | high << 4) - m;
}

FMT_FN void q5_k_codes(const struct q5_k *b, int8_t *q)
{
    for (int p = 0; p < 8; p++)
        for (int l = 0; l < 32; l++) {
            int low = b->qs[p / 2 * 32 + l] >> (p % 2 * 4) & 15;
            int high = b->qh[l] >> p & 1;

            q[32 * p + l] = (int8_t)(low | high << 4);
        }
}

FMT_FN void q5_k_scales(const struct q5_k *b, float *s, float *m)
{
    float d = f16_to_f32(b->d);
    float dmin = f16_to_f32(b->dmin);

    for (int p = 0; p < 8; p++) {
        s[p] = d * (float)k_scale(b->scales, p);
        m[p] = -(dmin * (float)k_min(b->scales, p));
    }
}

FMT_DECODE_MIN(q5_k, 256, 32)

FMT_FN void q5_k_encode(const float *in, const float *column, float mean2, struct q5_k *b)
{
    float s[8], m[8];
    uint8_t code[256];

    (void)mean2;
    memset(b, 0, sizeof *b);
    k_fit_block(in, column, 31, code, b->scales, &b->d, &b->dmin);
    q5_k_scales(b, s, m);
    for (int i = 0; i < 256; i++) {
        float d = s[i / 32];
        int q = d != 0.0f ? k_round((in[i] - m[i / 32]) / d, 0, 31) : code[i];

        b->qs[i / 64 * 32 + i % 32] |= (uint8_t)((q & 15) << (i / 32 % 2 * 4));
        b->qh[i % 32] |= (uint8_t)(q >> 4 << (i / 32));
    }
}

#endif

#ifdef FMT_HOOK
#define FMT        q5_k
#define FMT_ID     FMT_Q5_K
#define FMT_NAME   "Q5_K"
#define FMT_BLOCK  256
#define FMT_BYTES  176
#define FMT_SUB    32
#define FMT_MIN    1
#define FMT_ACT    ACT_Q8
#define FMT_TOL    5e-3f
#define FMT_ENCODE 2
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
