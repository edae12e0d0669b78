/* q5_0.h - 32 weights of 5 bits and one scale: w = d * (q - 16). 5.5 bits per weight.
 *
 * Four bits are kept as in q4_0; bit i of qh is the fifth of weight i.
 */
#ifndef RILL_QUANT_Q5_0_H
#define RILL_QUANT_Q5_0_H

#include "quant/k_fit.h"

struct q5_0 {
    uint16_t d; // binary16
    uint8_t qh[4];
    uint8_t qs[16];
};
FMT_SIZE(struct q5_0, 22);

FMT_FN float q5_0_get(const struct q5_0 *b, int i)
{
    int q = (b->qs[i % 16] >> (i / 16 * 4) & 15) | (b->qh[i / 8] >> (i % 8) & 1) << 4;

    return f16_to_f32(b->d) * (float)(q - 16);
}

FMT_FN void q5_0_codes(const struct q5_0 *b, int8_t *q)
{
    uint32_t fifth = fmt_u32(b->qh);

    for (int j = 0; j < 16; j++) {
        q[j] = (int8_t)((int)((b->qs[j] & 15u) | (fifth >> j & 1u) << 4) - 16);
        q[j + 16] = (int8_t)((int)((b->qs[j] >> 4) | (fifth >> (j + 16) & 1u) << 4) - 16);
    }
}

FMT_FN void q5_0_scales(const struct q5_0 *b, float *s, float *m)
{
    s[0] = f16_to_f32(b->d);
    m[0] = 0.0f;
}

FMT_DECODE(q5_0, 32, 32)

/* The value of largest magnitude becomes -16, so that the scale takes its sign. */
FMT_FN void q5_0_put(const uint8_t *code, uint8_t *qs, uint8_t *qh)
{
    uint32_t fifth = 0;

    for (int j = 0; j < 16; j++) {
        qs[j] = (uint8_t)((code[j] & 15) | (code[j + 16] & 15) << 4);
        fifth |= (uint32_t)(code[j] >> 4) << j | (uint32_t)(code[j + 16] >> 4) << (j + 16);
    }
    for (int k = 0; k < 4; k++)
        qh[k] = (uint8_t)(fifth >> 8 * k);
}

/* As in q4_0.h, with one bit more. */
FMT_FN void q5_0_encode(const float *in, const float *column, float mean2, struct q5_0 *b)
{
    uint8_t code[32];

    if (column) {
        float weight[32];

        k_weigh(32, in, column, mean2, weight);
        b->d = f32_to_f16(k_fit_signed(32, 16, in, weight, code));
    } else {
        float d = k_top(32, in) / -16.0f;
        float inv = d != 0.0f ? 1.0f / d : 0.0f;

        b->d = f32_to_f16(d);
        for (int j = 0; j < 32; j++)
            code[j] = (uint8_t)fmt_cut(in[j] * inv + 16.5f, 0, 31);
    }
    q5_0_put(code, b->qs, b->qh);
}

#endif

#ifdef FMT_HOOK
#define FMT        q5_0
#define FMT_ID     FMT_Q5_0
#define FMT_NAME   "Q5_0"
#define FMT_BLOCK  32
#define FMT_BYTES  22
#define FMT_SUB    32
#define FMT_MIN    0
#define FMT_ACT    ACT_Q8
#define FMT_TOL    5e-3f
#define FMT_ENCODE 2
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
