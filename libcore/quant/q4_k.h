/* q4_k.h - 256 weights of 4 bits in eight parts: w = d * scale * q - dmin * min. 4.5 bits per
 * weight.
 *
 * Bytes 32 * c .. 32 * c + 31 of qs hold part 2 * c in their low, part 2 * c + 1 in their high four
 * bits. Scales and mins are packed as k_scales.h says.
 */
#ifndef RILL_QUANT_Q4_K_H
#define RILL_QUANT_Q4_K_H

#include "quant/half.h"
#include "quant/k_scales.h"

struct q4_k {
    uint16_t d;    // binary16
    uint16_t dmin; // binary16
    uint8_t scales[12];
    uint8_t qs[128];
};
FMT_SIZE(struct q4_k, 144);

FMT_FN float q4_k_get(const struct q4_k *b, int i)
{
    int q = b->qs[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
    float s = f16_to_f32(b->d) * (float)k_scale(b->scales, i / 32);
    float m = f16_to_f32(b->dmin) * (float)k_min(b->scales, i / 32);

    return s * (float)q - m;
}

FMT_FN void q4_k_codes(const struct q4_k *b, int8_t *q)
{
    for (int c = 0; c < 4; c++)
        for (int l = 0; l < 32; l++) {
            q[64 * c + l] = (int8_t)(b->qs[32 * c + l] & 15);
            q[64 * c + 32 + l] = (int8_t)(b->qs[32 * c + l] >> 4);
        }
}

FMT_FN void q4_k_scales(const struct q4_k *b, float *s, float *m)
{
    float d = f16_to_f32(b->d);
    float dmin = f16_to_f32(b->dmin);

    for (int p = 0; p < 8; p++) {
        s[p] = d * (float)k_scale(b->scales, p);
        m[p] = -(dmin * (float)k_min(b->scales, p));
    }
}

FMT_DECODE_MIN(q4_k, 256, 32)

FMT_FN void q4_k_encode(const float *in, const float *column, float mean2, struct q4_k *b)
{
    float s[8], m[8];
    uint8_t code[256];

    (void)mean2;
    memset(b, 0, sizeof *b);
    k_fit_block(in, column, 15, code, b->scales, &b->d, &b->dmin);
    q4_k_scales(b, s, m);
    for (int i = 0; i < 256; i++) {
        float d = s[i / 32];
        int q = d != 0.0f ? k_round((in[i] - m[i / 32]) / d, 0, 15) : code[i];

        b->qs[i / 64 * 32 + i % 32] |= (uint8_t)(q << (i / 32 % 2 * 4));
    }
}

#endif

#ifdef FMT_HOOK
#define FMT        q4_k
#define FMT_ID     FMT_Q4_K
#define FMT_NAME   "Q4_K"
#define FMT_BLOCK  256
#define FMT_BYTES  144
#define FMT_SUB    32
#define FMT_MIN    1
#define FMT_ACT    ACT_Q8
#define FMT_TOL    5e-3f
#define FMT_ENCODE 2
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
