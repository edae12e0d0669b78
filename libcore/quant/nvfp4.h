/* nvfp4.h - 64 weights of e2m1 in four parts, each with an unsigned E4M3 scale: 4.5 bits per
 * weight.
 *
 * Byte 8 * p + j of qs holds weight 16 * p + j in its low and weight 16 * p + j + 8 in its high
 * four bits. Codes are the e2m1 values doubled, the scale is halved. A tensor may have a second
 * scale of its own, kept as another tensor: not part of the block.
 */
#ifndef RILL_QUANT_NVFP4_H
#define RILL_QUANT_NVFP4_H

#include "quant/half.h"

struct nvfp4 {
    uint8_t d[4];
    uint8_t qs[32];
};
FMT_SIZE(struct nvfp4, 36);

FMT_FN float nvfp4_get(const struct nvfp4 *b, int i)
{
    unsigned c = b->qs[i / 16 * 8 + i % 8] >> (i / 8 % 2 * 4) & 15u;

    return ue4m3_half_to_f32(b->d[i / 16]) * (float)e2m1_doubled(c);
}

FMT_FN void nvfp4_codes(const struct nvfp4 *b, int8_t *q)
{
    for (int p = 0; p < 4; p++)
        for (int j = 0; j < 8; j++) {
            q[16 * p + j] = e2m1_doubled(b->qs[8 * p + j] & 15u);
            q[16 * p + 8 + j] = e2m1_doubled(b->qs[8 * p + j] >> 4);
        }
}

FMT_FN void nvfp4_scales(const struct nvfp4 *b, float *s, float *m)
{
    for (int p = 0; p < 4; p++) {
        s[p] = ue4m3_half_to_f32(b->d[p]);
        m[p] = 0.0f;
    }
}

FMT_DECODE(nvfp4, 64, 16)

/* Each part's largest magnitude becomes 6. */
FMT_FN void nvfp4_encode(const float *in, struct nvfp4 *b)
{
    for (int p = 0; p < 4; p++) {
        const float *x = in + 16 * p;
        float high = 0.0f;

        for (int j = 0; j < 16; j++) {
            float a = x[j] < 0.0f ? -x[j] : x[j];

            high = a > high ? a : high;
        }
        b->d[p] = f32_to_ue4m3(high / 6.0f);
        float d = ue4m3_half_to_f32(b->d[p]);

        for (int j = 0; j < 8; j++)
            b->qs[8 * p + j] = (uint8_t)(e2m1_nearest(x[j], d) | e2m1_nearest(x[j + 8], d) << 4);
    }
}

#endif

#ifdef FMT_HOOK
#define FMT        nvfp4
#define FMT_ID     FMT_NVFP4
#define FMT_NAME   "NVFP4"
#define FMT_BLOCK  64
#define FMT_BYTES  36
#define FMT_SUB    16
#define FMT_MIN    0
#define FMT_ACT    ACT_Q8
#define FMT_TOL    5e-3f
#define FMT_ENCODE 1
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
