/* q4_1.h - 32 weights of 4 bits, a scale and a minimum: w = d * q + m. 5 bits per weight.
 *
 * Byte j of qs holds weight j in its low and weight j + 16 in its high four bits.
 */
#ifndef RILL_QUANT_Q4_1_H
#define RILL_QUANT_Q4_1_H

#include "quant/k_fit.h"

struct q4_1 {
    uint16_t d; // binary16
    uint16_t m; // binary16
    uint8_t qs[16];
};
FMT_SIZE(struct q4_1, 20);

FMT_FN float q4_1_get(const struct q4_1 *b, int i)
{
    int q = b->qs[i % 16] >> (i / 16 * 4) & 15;

    return f16_to_f32(b->d) * (float)q + f16_to_f32(b->m);
}

FMT_FN void q4_1_codes(const struct q4_1 *b, int8_t *q)
{
    for (int j = 0; j < 16; j++) {
        q[j] = (int8_t)(b->qs[j] & 15);
        q[j + 16] = (int8_t)(b->qs[j] >> 4);
    }
}

FMT_FN void q4_1_scales(const struct q4_1 *b, float *s, float *m)
{
    s[0] = f16_to_f32(b->d);
    m[0] = f16_to_f32(b->m);
}

FMT_DECODE_MIN(q4_1, 32, 32)

/* Scale and min of least error where columns count differently. */
FMT_FN void q4_1_encode_weighted(const float *in, const float *column, float mean2, struct q4_1 *b)
{
    float weight[32], min;
    uint8_t code[32];

    k_weigh(32, in, column, mean2, weight);
    b->d = f32_to_f16(k_fit_min(32, 15, in, weight, -0.9f, 0.05f, 36, true, code, &min));
    b->m = f32_to_f16(-min);
    for (int j = 0; j < 16; j++)
        b->qs[j] = (uint8_t)(code[j] | code[j + 16] << 4);
}

FMT_FN void q4_1_encode(const float *in, const float *column, float mean2, struct q4_1 *b)
{
    if (column) {
        q4_1_encode_weighted(in, column, mean2, b);
        return;
    }
    float low = 3.402823466e38f, high = -3.402823466e38f;

    for (int j = 0; j < 32; j++) {
        low = in[j] < low ? in[j] : low;
        high = in[j] > high ? in[j] : high;
    }
    float d = (high - low) / 15.0f;
    float inv = d != 0.0f ? 1.0f / d : 0.0f;

    b->d = f32_to_f16(d);
    b->m = f32_to_f16(low);
    for (int j = 0; j < 16; j++) {
        int lo = fmt_cut((in[j] - low) * inv + 0.5f, 0, 15);
        int hi = fmt_cut((in[j + 16] - low) * inv + 0.5f, 0, 15);

        b->qs[j] = (uint8_t)(lo | hi << 4);
    }
}

#endif

#ifdef FMT_HOOK
#define FMT        q4_1
#define FMT_ID     FMT_Q4_1
#define FMT_NAME   "Q4_1"
#define FMT_BLOCK  32
#define FMT_BYTES  20
#define FMT_SUB    32
#define FMT_MIN    1
#define FMT_ACT    ACT_Q8
#define FMT_TOL    5e-3f
#define FMT_ENCODE 2
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
