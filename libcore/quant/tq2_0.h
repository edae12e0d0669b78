/* tq2_0.h - 256 weights of -1, 0, 1 (or 2) and one scale: w = d * (q - 1). 2.0625 bits per weight.
 *
 * Weight i of a half (128 weights) is in byte i % 32 of that half's 32, at bit 2 * (i / 32).
 */
#ifndef RILL_QUANT_TQ2_0_H
#define RILL_QUANT_TQ2_0_H

#include "quant/half.h"

struct tq2_0 {
    uint8_t qs[64];
    uint16_t d; // binary16
};
FMT_SIZE(struct tq2_0, 66);

FMT_FN float tq2_0_get(const struct tq2_0 *b, int i)
{
    int q = b->qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;

    return f16_to_f32(b->d) * (float)(q - 1);
}

FMT_FN void tq2_0_codes(const struct tq2_0 *b, int8_t *q)
{
    for (int h = 0; h < 2; h++)
        for (int k = 0; k < 4; k++)
            for (int l = 0; l < 32; l++)
                q[128 * h + 32 * k + l] = (int8_t)((b->qs[32 * h + l] >> 2 * k & 3) - 1);
}

FMT_FN void tq2_0_scales(const struct tq2_0 *b, float *s, float *m)
{
    for (int p = 0; p < 8; p++) {
        s[p] = f16_to_f32(b->d);
        m[p] = 0.0f;
    }
}

FMT_DECODE(tq2_0, 256, 32)

FMT_FN void tq2_0_encode(const float *in, struct tq2_0 *b)
{
    float high = 0.0f;

    for (int j = 0; j < 256; j++) {
        float a = in[j] < 0.0f ? -in[j] : in[j];

        high = a > high ? a : high;
    }
    float inv = high != 0.0f ? 1.0f / high : 0.0f;

    b->d = f32_to_f16(high);
    for (int h = 0; h < 2; h++)
        for (int l = 0; l < 32; l++) {
            int byte = 0;

            for (int k = 0; k < 4; k++)
                byte |= (fmt_round(in[128 * h + 32 * k + l] * inv, -1, 1) + 1) << 2 * k;
            b->qs[32 * h + l] = (uint8_t)byte;
        }
}

#endif

#ifdef FMT_HOOK
#define FMT        tq2_0
#define FMT_ID     FMT_TQ2_0
#define FMT_NAME   "TQ2_0"
#define FMT_BLOCK  256
#define FMT_BYTES  66
#define FMT_SUB    32
#define FMT_MIN    0
#define FMT_ACT    ACT_Q8
#define FMT_TOL    5e-3f
#define FMT_ENCODE 1
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
