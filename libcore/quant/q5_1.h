/* q5_1.h - 32 weights of 5 bits, a scale and a minimum: w = d * q + m. 6 bits per weight.
 *
 * Four bits are kept as in q4_1; bit i of qh is the fifth of weight i.
 */
#ifndef RILL_QUANT_Q5_1_H
#define RILL_QUANT_Q5_1_H

#include "quant/k_fit.h"

struct q5_1 {
    uint16_t d; // binary16
    uint16_t m; // binary16
    uint8_t qh[4];
    uint8_t qs[16];
};
FMT_SIZE(struct q5_1, 24);

FMT_FN float q5_1_get(const struct q5_1 *b, int i)
{
    int q = (b->qs[i % 16] >> (i / 16 * 4) & 15) | (b->qh[i / 8] >> (i % 8) & 1) << 4;

    return f16_to_f32(b->d) * (float)q + f16_to_f32(b->m);
}

FMT_FN void q5_1_codes(const struct q5_1 *b, int8_t *q)
{
    uint32_t fifth = fmt_u32(b->qh);

    for (int j = 0; j < 16; j++) {
        q[j] = (int8_t)((b->qs[j] & 15u) | (fifth >> j & 1u) << 4);
        q[j + 16] = (int8_t)((b->qs[j] >> 4) | (fifth >> (j + 16) & 1u) << 4);
    }
}

FMT_FN void q5_1_scales(const struct q5_1 *b, float *s, float *m)
{
    s[0] = f16_to_f32(b->d);
    m[0] = f16_to_f32(b->m);
}

FMT_DECODE_MIN(q5_1, 32, 32)

FMT_FN void q5_1_put(const uint8_t *code, uint8_t *qs, uint8_t *qh)
{
    uint32_t fifth = 0;

    for (int j = 0; j < 16; j++) {
        qs[j] = (uint8_t)((code[j] & 15) | (code[j + 16] & 15) << 4);
        fifth |= (uint32_t)(code[j] >> 4) << j | (uint32_t)(code[j + 16] >> 4) << (j + 16);
    }
    for (int k = 0; k < 4; k++)
        qh[k] = (uint8_t)(fifth >> 8 * k);
}

/* Scale and min of least error where columns count differently. */
FMT_FN void q5_1_encode_weighted(const float *in, const float *column, float mean2, struct q5_1 *b)
{
    float weight[32], min;
    uint8_t code[32];

    k_weigh(32, in, column, mean2, weight);
    b->d = f32_to_f16(k_fit_min(32, 31, in, weight, -0.9f, 0.05f, 36, true, code, &min));
    b->m = f32_to_f16(-min);
    q5_1_put(code, b->qs, b->qh);
}

FMT_FN void q5_1_encode(const float *in, const float *column, float mean2, struct q5_1 *b)
{
    float low = 3.402823466e38f, high = -3.402823466e38f;
    uint8_t code[32];

    if (column) {
        q5_1_encode_weighted(in, column, mean2, b);
        return;
    }
    for (int j = 0; j < 32; j++) {
        low = in[j] < low ? in[j] : low;
        high = in[j] > high ? in[j] : high;
    }
    float d = (high - low) / 31.0f;
    float inv = d != 0.0f ? 1.0f / d : 0.0f;

    b->d = f32_to_f16(d);
    b->m = f32_to_f16(low);
    for (int j = 0; j < 32; j++)
        code[j] = (uint8_t)fmt_cut((in[j] - low) * inv + 0.5f, 0, 31);
    q5_1_put(code, b->qs, b->qh);
}

#endif

#ifdef FMT_HOOK
#define FMT        q5_1
#define FMT_ID     FMT_Q5_1
#define FMT_NAME   "Q5_1"
#define FMT_BLOCK  32
#define FMT_BYTES  24
#define FMT_SUB    32
#define FMT_MIN    1
#define FMT_ACT    ACT_Q8
#define FMT_TOL    5e-3f
#define FMT_ENCODE 2
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
