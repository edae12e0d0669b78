/* iq4_nl.h - 32 weights, each one of sixteen unevenly spaced values, and a scale: 4.5 bits per
 * weight.
 *
 * Byte j of qs holds weight j in its low and weight j + 16 in its high four bits. w = d *
 * value[q].
 */
#ifndef RILL_QUANT_IQ4_NL_H
#define RILL_QUANT_IQ4_NL_H

#include "quant/iq4_fit.h"

struct iq4_nl {
    uint16_t d; // binary16
    uint8_t qs[16];
};
FMT_SIZE(struct iq4_nl, 18);

FMT_FN float iq4_nl_get(const struct iq4_nl *b, int i)
{
    return f16_to_f32(b->d) * (float)FMT_GRID(iq4_values)[b->qs[i % 16] >> (i / 16 * 4) & 15];
}

FMT_FN void iq4_nl_codes(const struct iq4_nl *b, int8_t *q)
{
    for (int j = 0; j < 16; j++) {
        q[j] = FMT_GRID(iq4_values)[b->qs[j] & 15];
        q[j + 16] = FMT_GRID(iq4_values)[b->qs[j] >> 4];
    }
}

FMT_FN void iq4_nl_scales(const struct iq4_nl *b, float *s, float *m)
{
    s[0] = f16_to_f32(b->d);
    m[0] = 0.0f;
}

FMT_DECODE(iq4_nl, 32, 32)

FMT_FN void iq4_nl_encode(const float *in, const float *column, float mean2, struct iq4_nl *b)
{
    mean2 = column ? iq4_mean2(32, in) : 0.0f;
    float d = iq4_scale(in, column, mean2);
    float inv = d != 0.0f ? 1.0f / d : 0.0f;

    b->d = f32_to_f16(d);
    for (int j = 0; j < 16; j++)
        b->qs[j] = (uint8_t)(iq4_nearest(inv * in[j]) | iq4_nearest(inv * in[j + 16]) << 4);
}

#endif

#ifdef FMT_HOOK
#define FMT        iq4_nl
#define FMT_ID     FMT_IQ4_NL
#define FMT_NAME   "IQ4_NL"
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
