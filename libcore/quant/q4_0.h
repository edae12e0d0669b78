/* q4_0.h - 32 weights of 4 bits and one scale: w = d * (q - 8). 4.5 bits per weight.
 *
 * Byte j of qs holds weight j in its low and weight j + 16 in its high four bits.
 */
#ifndef RILL_QUANT_Q4_0_H
#define RILL_QUANT_Q4_0_H

#include "quant/k_fit.h"

struct q4_0 {
    uint16_t d; // binary16
    uint8_t qs[16];
};
FMT_SIZE(struct q4_0, 18);

FMT_FN float q4_0_get(const struct q4_0 *b, int i)
{
    int q = b->qs[i % 16] >> (i / 16 * 4) & 15;

    return f16_to_f32(b->d) * (float)(q - 8);
}

FMT_FN void q4_0_codes(const struct q4_0 *b, int8_t *q)
{
    for (int j = 0; j < 16; j++) {
        q[j] = (int8_t)((b->qs[j] & 15) - 8);
        q[j + 16] = (int8_t)((b->qs[j] >> 4) - 8);
    }
}

FMT_FN void q4_0_scales(const struct q4_0 *b, float *s, float *m)
{
    s[0] = f16_to_f32(b->d);
    m[0] = 0.0f;
}

FMT_DECODE(q4_0, 32, 32)

/* The scale of least error where columns count differently. */
FMT_FN void q4_0_encode_weighted(const float *in, const float *column, float mean2, struct q4_0 *b)
{
    float weight[32];
    uint8_t code[32];

    k_weigh(32, in, column, mean2, weight);
    b->d = f32_to_f16(k_fit_signed(32, 8, in, weight, code));
    for (int j = 0; j < 16; j++)
        b->qs[j] = (uint8_t)(code[j] | code[j + 16] << 4);
}

/* The value of largest magnitude becomes -8, so that the scale takes its sign. */
FMT_FN void q4_0_encode(const float *in, const float *column, float mean2, struct q4_0 *b)
{
    if (column) {
        q4_0_encode_weighted(in, column, mean2, b);
        return;
    }
    float d = k_top(32, in) / -8.0f;
    float inv = d != 0.0f ? 1.0f / d : 0.0f;

    b->d = f32_to_f16(d);
    for (int j = 0; j < 16; j++) {
        int lo = fmt_cut(in[j] * inv + 8.5f, 0, 15);
        int hi = fmt_cut(in[j + 16] * inv + 8.5f, 0, 15);

        b->qs[j] = (uint8_t)(lo | hi << 4);
    }
}

#endif

#ifdef FMT_HOOK
#define FMT        q4_0
#define FMT_ID     FMT_Q4_0
#define FMT_NAME   "Q4_0"
#define FMT_BLOCK  32
#define FMT_BYTES  18
#define FMT_SUB    32
#define FMT_MIN    0
#define FMT_ACT    ACT_Q8
#define FMT_TOL    5e-3f
#define FMT_ENCODE 2
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
