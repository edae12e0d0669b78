/* iq2_s.h - 256 weights as groups of eight out of a list of 1024 points, with signs: 2.5625 bits
 * per weight.
 *
 * Group g has the low 8 bits of its point's number in qs[g], the high two in qh[g / 4] at bit 2 *
 * (g % 4), and one bit per sign in signs[g]. Scales as in iq2_xs.
 */
#ifndef RILL_QUANT_IQ2_S_H
#define RILL_QUANT_IQ2_S_H

#include "quant/half.h"
#include "quant/grids.h"

struct iq2_s {
    uint16_t d; // binary16
    uint8_t qs[32];
    uint8_t signs[32];
    uint8_t qh[8];
    uint8_t scales[8];
};
FMT_SIZE(struct iq2_s, 82);

FMT_FN unsigned iq2_s_point(const struct iq2_s *b, int g)
{
    return b->qs[g] | (b->qh[g / 4] >> (g % 4 * 2) & 3u) << 8;
}

FMT_FN float iq2_s_get(const struct iq2_s *b, int i)
{
    int v = grid8(FMT_GRID(iq2_s_grid), iq2_s_point(b, i / 8), i % 8);
    int scale = b->scales[i / 32] >> (i / 16 % 2 * 4) & 15;
    float s = f16_to_f32(b->d) * (0.5f + (float)scale) * 0.25f;

    return s * (float)(b->signs[i / 8] >> (i % 8) & 1 ? -v : v);
}

FMT_FN void iq2_s_codes(const struct iq2_s *b, int8_t *q)
{
    for (int g = 0; g < 32; g++)
        grid8_signed(FMT_GRID(iq2_s_grid)[iq2_s_point(b, g)], b->signs[g], q + 8 * g);
}

FMT_FN void iq2_s_scales(const struct iq2_s *b, float *s, float *m)
{
    float d = f16_to_f32(b->d);

    for (int p = 0; p < 16; p++) {
        s[p] = d * (0.5f + (float)(b->scales[p / 2] >> (p % 2 * 4) & 15)) * 0.25f;
        m[p] = 0.0f;
    }
}

FMT_DECODE(iq2_s, 256, 16)

#endif

#ifdef FMT_HOOK
#define FMT       iq2_s
#define FMT_ID    FMT_IQ2_S
#define FMT_NAME  "IQ2_S"
#define FMT_BLOCK 256
#define FMT_BYTES 82
#define FMT_SUB   16
#define FMT_MIN   0
#define FMT_ACT   ACT_Q8
#define FMT_TOL   5e-3f
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
