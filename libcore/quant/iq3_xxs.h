/* iq3_xxs.h - 256 weights as groups of four out of a list of 256 points, with signs: 3.0625 bits
 * per weight.
 *
 * qs[g] is the number of group g's point. Part p (32 weights) has a 32-bit word in signs: four
 * sign numbers of 7 bits, each for eight weights, and a scale of 4 bits at the top. w = d * (0.5 +
 * scale) / 2 * point * sign.
 */
#ifndef RILL_QUANT_IQ3_XXS_H
#define RILL_QUANT_IQ3_XXS_H

#include "quant/half.h"
#include "quant/grids.h"

struct iq3_xxs {
    uint16_t d; // binary16
    uint8_t qs[64];
    uint8_t signs[32];
};
FMT_SIZE(struct iq3_xxs, 98);

FMT_FN float iq3_xxs_get(const struct iq3_xxs *b, int i)
{
    uint32_t word = fmt_u32(b->signs + i / 32 * 4);
    int v = grid4(FMT_GRID(iq3_xxs_grid), b->qs[i / 4], i % 4);
    float s = f16_to_f32(b->d) * (0.5f + (float)(word >> 28)) * 0.5f;

    return s * (float)(iq_signs(word >> (i % 32 / 8 * 7) & 127u) >> (i % 8) & 1u ? -v : v);
}

FMT_FN void iq3_xxs_codes(const struct iq3_xxs *b, int8_t *q)
{
    for (int p = 0; p < 8; p++) {
        uint32_t word = fmt_u32(b->signs + 4 * p);

        for (int g = 0; g < 4; g++) {
            const uint8_t *pair = b->qs + 8 * p + 2 * g;
            uint64_t low = FMT_GRID(iq3_xxs_grid)[pair[0]];
            uint64_t high = FMT_GRID(iq3_xxs_grid)[pair[1]];

            grid8_signed(low | high << 32, iq_signs(word >> 7 * g & 127u), q + 32 * p + 8 * g);
        }
    }
}

FMT_FN void iq3_xxs_scales(const struct iq3_xxs *b, float *s, float *m)
{
    float d = f16_to_f32(b->d);

    for (int p = 0; p < 8; p++) {
        s[p] = d * (0.5f + (float)(b->signs[4 * p + 3] >> 4)) * 0.5f;
        m[p] = 0.0f;
    }
}

FMT_DECODE(iq3_xxs, 256, 32)

#endif

#ifdef FMT_HOOK
#define FMT       iq3_xxs
#define FMT_ID    FMT_IQ3_XXS
#define FMT_NAME  "IQ3_XXS"
#define FMT_BLOCK 256
#define FMT_BYTES 98
#define FMT_SUB   32
#define FMT_MIN   0
#define FMT_ACT   ACT_Q8
#define FMT_TOL   5e-3f
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
