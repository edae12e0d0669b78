/* iq2_xs.h - 256 weights as groups of eight out of a list of 512 points, with signs: 2.3125 bits
 * per weight.
 *
 * A group is a word of 16 bits: the point's number (9) and, above it, the sign number (7).
 * scales[p] has the 4-bit scales of weights 32 * p and 32 * p + 16. w = d * (0.5 + scale) / 4 *
 * point * sign.
 */
#ifndef RILL_QUANT_IQ2_XS_H
#define RILL_QUANT_IQ2_XS_H

#include "quant/half.h"
#include "quant/grids.h"

struct iq2_xs {
    uint16_t d; // binary16
    uint16_t qs[32];
    uint8_t scales[8];
};
FMT_SIZE(struct iq2_xs, 74);

FMT_FN float iq2_xs_get(const struct iq2_xs *b, int i)
{
    unsigned word = b->qs[i / 8];
    int v = grid8(FMT_GRID(iq2_xs_grid), word & 511u, i % 8);
    int scale = b->scales[i / 32] >> (i / 16 % 2 * 4) & 15;
    float s = f16_to_f32(b->d) * (0.5f + (float)scale) * 0.25f;

    return s * (float)(iq_signs(word >> 9) >> (i % 8) & 1u ? -v : v);
}

FMT_FN void iq2_xs_codes(const struct iq2_xs *b, int8_t *q)
{
    for (int g = 0; g < 32; g++)
        grid8_signed(FMT_GRID(iq2_xs_grid)[b->qs[g] & 511u], iq_signs(b->qs[g] >> 9), q + 8 * g);
}

FMT_FN void iq2_xs_scales(const struct iq2_xs *b, float *s, float *m)
{
    float d = f16_to_f32(b->d);

    for (int p = 0; p < 16; p++) {
        s[p] = d * (0.5f + (float)(b->scales[p / 2] >> (p % 2 * 4) & 15)) * 0.25f;
        m[p] = 0.0f;
    }
}

FMT_DECODE(iq2_xs, 256, 16)

#endif

#ifdef FMT_HOOK
#define FMT       iq2_xs
#define FMT_ID    FMT_IQ2_XS
#define FMT_NAME  "IQ2_XS"
#define FMT_BLOCK 256
#define FMT_BYTES 74
#define FMT_SUB   16
#define FMT_MIN   0
#define FMT_ACT   ACT_Q8
#define FMT_TOL   5e-3f
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
