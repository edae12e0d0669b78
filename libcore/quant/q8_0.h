/* q8_0.h - 32 weights of 8 bits and one scale: w = d * q. 8.5 bits per weight.
 */
#ifndef RILL_QUANT_Q8_0_H
#define RILL_QUANT_Q8_0_H

#include "quant/half.h"

struct q8_0 {
    uint16_t d; // binary16
    int8_t qs[32];
};
FMT_SIZE(struct q8_0, 34);

FMT_FN float q8_0_get(const struct q8_0 *b, int i)
{
    return f16_to_f32(b->d) * (float)b->qs[i];
}

FMT_FN void q8_0_codes(const struct q8_0 *b, int8_t *q)
{
    memcpy(q, b->qs, 32);
}

FMT_FN void q8_0_scales(const struct q8_0 *b, float *s, float *m)
{
    s[0] = f16_to_f32(b->d);
    m[0] = 0.0f;
}

FMT_DECODE(q8_0, 32, 32)

FMT_FN void q8_0_encode(const float *in, struct q8_0 *b)
{
    float high = 0.0f;

    for (int j = 0; j < 32; j++) {
        float a = in[j] < 0.0f ? -in[j] : in[j];

        high = a > high ? a : high;
    }
    float d = high / 127.0f;
    float inv = d != 0.0f ? 1.0f / d : 0.0f;

    b->d = f32_to_f16(d);
    for (int j = 0; j < 32; j++)
        b->qs[j] = (int8_t)fmt_round(in[j] * inv, -128, 127);
}

#endif

#ifdef FMT_HOOK
#define FMT        q8_0
#define FMT_ID     FMT_Q8_0
#define FMT_NAME   "Q8_0"
#define FMT_BLOCK  32
#define FMT_BYTES  34
#define FMT_SUB    32
#define FMT_MIN    0
#define FMT_ACT    ACT_Q8
#define FMT_TOL    5e-3f
#define FMT_ENCODE 1
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
