/* iq1_m.h - 256 weights as groups of eight out of the points of iq1_s: 1.75 bits per weight.
 *
 * Group g has a nibble in qh[g / 2]: the high three bits of its point's number and the sign of its
 * shift by 1/8. scales is four words of 16 bits: sixteen 3-bit scales below, and in the four top
 * nibbles, lowest first, the binary16 factor d. w = d * (2 * scale + 1) * (point +- 1/8).
 */
#ifndef RILL_QUANT_IQ1_M_H
#define RILL_QUANT_IQ1_M_H

#include "quant/half.h"
#include "quant/grids.h"

struct iq1_m {
    uint8_t qs[32];
    uint8_t qh[16];
    uint8_t scales[8];
};
FMT_SIZE(struct iq1_m, 56);

FMT_FN float iq1_m_d(const struct iq1_m *b)
{
    unsigned d = 0;

    for (int k = 0; k < 4; k++)
        d |= (unsigned)(b->scales[2 * k + 1] >> 4) << 4 * k;
    return f16_to_f32((uint16_t)d);
}

FMT_FN unsigned iq1_m_scale(const struct iq1_m *b, int p)
{
    return fmt_u16(b->scales + p / 4 * 2) >> (p % 4 * 3) & 7u;
}

FMT_FN unsigned iq1_m_nibble(const struct iq1_m *b, int g)
{
    return b->qh[g / 2] >> (g % 2 * 4) & 15u;
}

FMT_FN float iq1_m_get(const struct iq1_m *b, int i)
{
    unsigned nibble = iq1_m_nibble(b, i / 8);
    int v = grid8(FMT_GRID(iq1_s_grid), b->qs[i / 8] | (nibble & 7u) << 8, i % 8);
    float s = iq1_m_d(b) * (float)(2 * iq1_m_scale(b, i / 16) + 1);

    return s * ((float)v + (nibble & 8u ? -0.125f : 0.125f));
}

FMT_FN void iq1_m_codes(const struct iq1_m *b, int8_t *q)
{
    for (int g = 0; g < 32; g++) {
        unsigned nibble = iq1_m_nibble(b, g);

        grid8_shifted(FMT_GRID(iq1_s_grid)[b->qs[g] | (nibble & 7u) << 8], nibble & 8u ? -1 : 1,
                      q + 8 * g);
    }
}

FMT_FN void iq1_m_scales(const struct iq1_m *b, float *s, float *m)
{
    float d = iq1_m_d(b);

    for (int p = 0; p < 16; p++) {
        s[p] = d * (float)(2 * iq1_m_scale(b, p) + 1) * 0.125f;
        m[p] = 0.0f;
    }
}

FMT_DECODE(iq1_m, 256, 16)

#endif

#ifdef FMT_HOOK
#define FMT       iq1_m
#define FMT_ID    FMT_IQ1_M
#define FMT_NAME  "IQ1_M"
#define FMT_BLOCK 256
#define FMT_BYTES 56
#define FMT_SUB   16
#define FMT_MIN   0
#define FMT_ACT   ACT_Q8
#define FMT_TOL   5e-3f
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
