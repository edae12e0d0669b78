/* iq1_s.h - 256 weights as groups of eight out of a list of 2048 points of -1, 0, 1: 1.5625 bits
 * per weight.
 *
 * Part p (32 weights) has four groups: the low 8 bits of their points' numbers in qs, the high
 * three in qh[p] at bit 3 * (g % 4); bits 12-14 of qh[p] are the scale and bit 15 the sign of the
 * shift by 1/8. w = d * (2 * scale + 1) * (point +- 1/8), or code = 8 * point +- 1 with an eighth
 * of the scale.
 */
#ifndef RILL_QUANT_IQ1_S_H
#define RILL_QUANT_IQ1_S_H

#include "quant/half.h"
#include "quant/grids.h"

struct iq1_s {
    uint16_t d; // binary16
    uint8_t qs[32];
    uint16_t qh[8];
};
FMT_SIZE(struct iq1_s, 50);

FMT_FN unsigned iq1_s_point(const struct iq1_s *b, int g)
{
    return b->qs[g] | (b->qh[g / 4] >> (g % 4 * 3) & 7u) << 8;
}

FMT_FN float iq1_s_get(const struct iq1_s *b, int i)
{
    unsigned word = b->qh[i / 32];
    int v = grid8(FMT_GRID(iq1_s_grid), iq1_s_point(b, i / 8), i % 8);
    float s = f16_to_f32(b->d) * (float)(2 * (word >> 12 & 7u) + 1);

    return s * ((float)v + (word & 0x8000u ? -0.125f : 0.125f));
}

FMT_FN void iq1_s_codes(const struct iq1_s *b, int8_t *q)
{
    for (int g = 0; g < 32; g++)
        grid8_shifted(FMT_GRID(iq1_s_grid)[iq1_s_point(b, g)], b->qh[g / 4] & 0x8000u ? -1 : 1,
                      q + 8 * g);
}

FMT_FN void iq1_s_scales(const struct iq1_s *b, float *s, float *m)
{
    float d = f16_to_f32(b->d);

    for (int p = 0; p < 8; p++) {
        s[p] = d * (float)(2 * (b->qh[p] >> 12 & 7) + 1) * 0.125f;
        m[p] = 0.0f;
    }
}

FMT_DECODE(iq1_s, 256, 32)

#endif

#ifdef FMT_HOOK
#define FMT       iq1_s
#define FMT_ID    FMT_IQ1_S
#define FMT_NAME  "IQ1_S"
#define FMT_BLOCK 256
#define FMT_BYTES 50
#define FMT_SUB   32
#define FMT_MIN   0
#define FMT_ACT   ACT_Q8
#define FMT_TOL   5e-3f
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
