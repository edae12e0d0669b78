/* mxfp4.h - 32 weights of e2m1 and one power of two (OCP Microscaling Formats 1.0): 4.25 bits per
 * weight.
 *
 * Byte j of qs holds weight j in its low and weight j + 16 in its high four bits. Codes are the
 * e2m1 values doubled, the scale 2^(e - 127) halved.
 */
#ifndef RILL_QUANT_MXFP4_H
#define RILL_QUANT_MXFP4_H

#include <math.h>

#include "quant/half.h"

struct mxfp4 {
    uint8_t e;
    uint8_t qs[16];
};
FMT_SIZE(struct mxfp4, 17);

FMT_FN float mxfp4_get(const struct mxfp4 *b, int i)
{
    unsigned c = b->qs[i % 16] >> (i / 16 * 4) & 15u;

    return e8m0_half_to_f32(b->e) * (float)e2m1_doubled(c);
}

FMT_FN void mxfp4_codes(const struct mxfp4 *b, int8_t *q)
{
    for (int j = 0; j < 16; j++) {
        q[j] = e2m1_doubled(b->qs[j] & 15u);
        q[j + 16] = e2m1_doubled(b->qs[j] >> 4);
    }
}

FMT_FN void mxfp4_scales(const struct mxfp4 *b, float *s, float *m)
{
    s[0] = e8m0_half_to_f32(b->e);
    m[0] = 0.0f;
}

FMT_DECODE(mxfp4, 32, 32)

/* The exponent of the largest magnitude becomes that of 4, the highest e2m1 has. */
FMT_FN void mxfp4_encode(const float *in, struct mxfp4 *b)
{
    float high = 0.0f;

    for (int j = 0; j < 32; j++) {
        float a = in[j] < 0.0f ? -in[j] : in[j];

        high = a > high ? a : high;
    }
    int e = high > 0.0f ? fmt_cut(floorf(log2f(high)) + 125.0f, 0, 254) : 0;

    b->e = (uint8_t)e;
    float d = e8m0_half_to_f32(b->e);

    for (int j = 0; j < 16; j++)
        b->qs[j] = (uint8_t)(e2m1_nearest(in[j], d) | e2m1_nearest(in[j + 16], d) << 4);
}

#endif

#ifdef FMT_HOOK
#define FMT        mxfp4
#define FMT_ID     FMT_MXFP4
#define FMT_NAME   "MXFP4"
#define FMT_BLOCK  32
#define FMT_BYTES  17
#define FMT_SUB    32
#define FMT_MIN    0
#define FMT_ACT    ACT_Q8
#define FMT_TOL    5e-3f
#define FMT_ENCODE 1
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
