/* iq3_s.h - 256 weights as groups of four out of a list of 512 points, with signs: 3.4375 bits per
 * weight.
 *
 * Group g has the low 8 bits of its point's number in qs[g] and the ninth in qh[g / 8] at bit g %
 * 8. signs has a bit per weight; scales[p] the 4-bit scales of weights 64 * p and 64 * p + 32. w =
 * d * (1 + 2 * scale) * point * sign.
 */
#ifndef RILL_QUANT_IQ3_S_H
#define RILL_QUANT_IQ3_S_H

#include "quant/half.h"
#include "quant/grids.h"

struct iq3_s {
    uint16_t d; // binary16
    uint8_t qs[64];
    uint8_t qh[8];
    uint8_t signs[32];
    uint8_t scales[4];
};
FMT_SIZE(struct iq3_s, 110);

FMT_FN unsigned iq3_s_point(const struct iq3_s *b, int g)
{
    return b->qs[g] | (b->qh[g / 8] >> (g % 8) & 1u) << 8;
}

FMT_FN float iq3_s_get(const struct iq3_s *b, int i)
{
    int v = grid4(FMT_GRID(iq3_s_grid), iq3_s_point(b, i / 4), i % 4);
    int scale = b->scales[i / 64] >> (i / 32 % 2 * 4) & 15;
    float s = f16_to_f32(b->d) * (float)(1 + 2 * scale);

    return s * (float)(b->signs[i / 8] >> (i % 8) & 1 ? -v : v);
}

FMT_FN void iq3_s_codes(const struct iq3_s *b, int8_t *q)
{
    for (int g = 0; g < 32; g++) {
        uint64_t low = FMT_GRID(iq3_s_grid)[iq3_s_point(b, 2 * g)];
        uint64_t high = FMT_GRID(iq3_s_grid)[iq3_s_point(b, 2 * g + 1)];

        grid8_signed(low | high << 32, b->signs[g], q + 8 * g);
    }
}

FMT_FN void iq3_s_scales(const struct iq3_s *b, float *s, float *m)
{
    float d = f16_to_f32(b->d);

    for (int p = 0; p < 8; p++) {
        s[p] = d * (float)(1 + 2 * (b->scales[p / 2] >> (p % 2 * 4) & 15));
        m[p] = 0.0f;
    }
}

FMT_DECODE(iq3_s, 256, 32)

#endif

#ifdef FMT_HOOK
#define FMT       iq3_s
#define FMT_ID    FMT_IQ3_S
#define FMT_NAME  "IQ3_S"
#define FMT_BLOCK 256
#define FMT_BYTES 110
#define FMT_SUB   32
#define FMT_MIN   0
#define FMT_ACT   ACT_Q8
#define FMT_TOL   5e-3f
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
