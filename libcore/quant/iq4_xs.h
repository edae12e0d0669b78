/* iq4_xs.h - 256 weights of iq4_nl's values in eight parts: w = d * (scale - 32) * value[q]. 4.25
 * bits per weight.
 *
 * Part p's scale has its low four bits in nibble p of scales_l and its high two in scales_h at bit
 * 2 * p. Its weights are 16 bytes of qs, laid out as in iq4_nl.
 */
#ifndef RILL_QUANT_IQ4_XS_H
#define RILL_QUANT_IQ4_XS_H

#include "quant/iq4_fit.h"

struct iq4_xs {
    uint16_t d; // binary16
    uint16_t scales_h;
    uint8_t scales_l[4];
    uint8_t qs[128];
};
FMT_SIZE(struct iq4_xs, 136);

/* Scale of part p, -32..31. */
FMT_FN int iq4_xs_scale(const struct iq4_xs *b, int p)
{
    int low = b->scales_l[p / 2] >> (p % 2 * 4) & 15;
    int high = b->scales_h >> 2 * p & 3;

    return (low | high << 4) - 32;
}

FMT_FN float iq4_xs_get(const struct iq4_xs *b, int i)
{
    int c = b->qs[i / 32 * 16 + i % 16] >> (i / 16 % 2 * 4) & 15;
    float s = f16_to_f32(b->d) * (float)iq4_xs_scale(b, i / 32);

    return s * (float)FMT_GRID(iq4_values)[c];
}

FMT_FN void iq4_xs_codes(const struct iq4_xs *b, int8_t *q)
{
    for (int p = 0; p < 8; p++)
        for (int j = 0; j < 16; j++) {
            q[32 * p + j] = FMT_GRID(iq4_values)[b->qs[16 * p + j] & 15];
            q[32 * p + 16 + j] = FMT_GRID(iq4_values)[b->qs[16 * p + j] >> 4];
        }
}

FMT_FN void iq4_xs_scales(const struct iq4_xs *b, float *s, float *m)
{
    float d = f16_to_f32(b->d);

    for (int p = 0; p < 8; p++) {
        s[p] = d * (float)iq4_xs_scale(b, p);
        m[p] = 0.0f;
    }
}

FMT_DECODE(iq4_xs, 256, 32)

FMT_FN void iq4_xs_encode(const float *in, const float *column, float mean2, struct iq4_xs *b)
{
    float scale[8];

    mean2 = column ? iq4_mean2(256, in) : 0.0f;
    for (int p = 0; p < 8; p++)
        scale[p] = iq4_scale(in + 32 * p, column ? column + 32 * p : NULL, mean2);
    float d = -k_top(8, scale) / 32.0f;
    float inv = d != 0.0f ? 1.0f / d : 0.0f;

    memset(b, 0, sizeof *b);
    b->d = f32_to_f16(d);
    for (int p = 0; p < 8; p++) {
        const float *x = in + 32 * p;
        int l = k_round(inv * scale[p], -32, 31);
        float step = d * (float)l;
        float to = step != 0.0f ? 1.0f / step : 0.0f;

        b->scales_l[p / 2] |= (uint8_t)(((l + 32) & 15) << (p % 2 * 4));
        b->scales_h |= (uint16_t)((l + 32) >> 4 << 2 * p);
        for (int j = 0; j < 16; j++)
            b->qs[16 * p + j] =
                (uint8_t)(iq4_nearest(to * x[j]) | iq4_nearest(to * x[j + 16]) << 4);
    }
}

#endif

#ifdef FMT_HOOK
#define FMT        iq4_xs
#define FMT_ID     FMT_IQ4_XS
#define FMT_NAME   "IQ4_XS"
#define FMT_BLOCK  256
#define FMT_BYTES  136
#define FMT_SUB    32
#define FMT_MIN    0
#define FMT_ACT    ACT_Q8
#define FMT_TOL    5e-3f
#define FMT_ENCODE 2
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
