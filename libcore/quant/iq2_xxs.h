/* iq2_xxs.h - 256 weights as groups of eight out of a list of 256 points, with signs: 2.0625 bits
 * per weight.
 *
 * Part p (32 weights) has two 32-bit words: the first is four point numbers of 8 bits; the second
 * has four sign numbers of 7 bits and, at the top, a scale of 4 bits. w = d * (0.5 + scale) / 4 *
 * point * sign.
 */
#ifndef RILL_QUANT_IQ2_XXS_H
#define RILL_QUANT_IQ2_XXS_H

#include "quant/half.h"
#include "quant/grids.h"

struct iq2_xxs {
    uint16_t d; // binary16
    uint8_t qs[64];
};
FMT_SIZE(struct iq2_xxs, 66);

FMT_FN float iq2_xxs_get(const struct iq2_xxs *b, int i)
{
    const uint8_t *part = b->qs + i / 32 * 8;
    int g = i % 32 / 8;
    uint32_t word = fmt_u32(part + 4);
    int v = grid8(FMT_GRID(iq2_xxs_grid), part[g], i % 8);
    float s = f16_to_f32(b->d) * (0.5f + (float)(word >> 28)) * 0.25f;

    return s * (float)(iq_signs(word >> 7 * g & 127u) >> (i % 8) & 1u ? -v : v);
}

FMT_FN void iq2_xxs_codes(const struct iq2_xxs *b, int8_t *q)
{
    for (int p = 0; p < 8; p++) {
        uint32_t word = fmt_u32(b->qs + 8 * p + 4);

        for (int g = 0; g < 4; g++)
            grid8_signed(FMT_GRID(iq2_xxs_grid)[b->qs[8 * p + g]], iq_signs(word >> 7 * g & 127u),
                         q + 32 * p + 8 * g);
    }
}

FMT_FN void iq2_xxs_scales(const struct iq2_xxs *b, float *s, float *m)
{
    float d = f16_to_f32(b->d);

    for (int p = 0; p < 8; p++) {
        s[p] = d * (0.5f + (float)(b->qs[8 * p + 7] >> 4)) * 0.25f;
        m[p] = 0.0f;
    }
}

FMT_DECODE(iq2_xxs, 256, 32)

#endif

#ifdef FMT_HOOK
#define FMT       iq2_xxs
#define FMT_ID    FMT_IQ2_XXS
#define FMT_NAME  "IQ2_XXS"
#define FMT_BLOCK 256
#define FMT_BYTES 66
#define FMT_SUB   32
#define FMT_MIN   0
#define FMT_ACT   ACT_Q8
#define FMT_TOL   5e-3f
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
