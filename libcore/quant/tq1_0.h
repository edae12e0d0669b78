/* tq1_0.h - 256 weights of -1, 0, 1 and one scale, five to a byte: 1.6875 bits per weight.
 *
 * A byte is the fraction n / 243 of 256, rounded up, of the number n whose ternary digits, first
 * digit highest, are its weights plus one: times 3^k, the next digit is the carry of another times
 * 3. The 32 bytes qs[0..31] hold weights l + 32 * k, the 16 behind them weights 160 + l + 16 * k,
 * the 4 bytes of qh (four digits each) weights 240 + l + 4 * k.
 */
#ifndef RILL_QUANT_TQ1_0_H
#define RILL_QUANT_TQ1_0_H

#include "quant/half.h"

struct tq1_0 {
    uint8_t qs[48];
    uint8_t qh[4];
    uint16_t d; // binary16
};
FMT_SIZE(struct tq1_0, 54);

/* Digit k of a byte, less one. */
FMT_FN int tq1_0_digit(uint8_t byte, int k)
{
    unsigned v = byte;

    while (k-- > 0)
        v = v * 3u & 255u;
    return (int)(v * 3u >> 8) - 1;
}

/* The byte that holds weight i, and which digit of it. */
FMT_FN int tq1_0_place(int i, int *digit)
{
    if (i < 160) {
        *digit = i / 32;
        return i % 32;
    }
    if (i < 240) {
        *digit = (i - 160) / 16;
        return 32 + i % 16;
    }
    *digit = (i - 240) / 4;
    return 48 + i % 4;
}

FMT_FN int tq1_0_code(const struct tq1_0 *b, int i)
{
    int k;
    int at = tq1_0_place(i, &k);

    return tq1_0_digit(at < 48 ? b->qs[at] : b->qh[at - 48], k);
}

FMT_FN float tq1_0_get(const struct tq1_0 *b, int i)
{
    return f16_to_f32(b->d) * (float)tq1_0_code(b, i);
}

FMT_FN void tq1_0_codes(const struct tq1_0 *b, int8_t *q)
{
    for (int i = 0; i < 256; i++)
        q[i] = (int8_t)tq1_0_code(b, i);
}

FMT_FN void tq1_0_scales(const struct tq1_0 *b, float *s, float *m)
{
    for (int p = 0; p < 8; p++) {
        s[p] = f16_to_f32(b->d);
        m[p] = 0.0f;
    }
}

FMT_DECODE(tq1_0, 256, 32)

FMT_FN void tq1_0_encode(const float *in, struct tq1_0 *b)
{
    static const uint8_t power[5] = {81, 27, 9, 3, 1};
    unsigned number[52] = {0};
    float high = 0.0f;

    for (int j = 0; j < 256; j++) {
        float a = in[j] < 0.0f ? -in[j] : in[j];

        high = a > high ? a : high;
    }
    float inv = high != 0.0f ? 1.0f / high : 0.0f;

    b->d = f32_to_f16(high);
    for (int i = 0; i < 256; i++) {
        int k;
        int at = tq1_0_place(i, &k);

        number[at] += (unsigned)(fmt_round(in[i] * inv, -1, 1) + 1) * power[k];
    }
    for (int j = 0; j < 48; j++)
        b->qs[j] = (uint8_t)((number[j] * 256u + 242u) / 243u);
    for (int j = 0; j < 4; j++)
        b->qh[j] = (uint8_t)((number[48 + j] * 256u + 242u) / 243u);
}

#endif

#ifdef FMT_HOOK
#define FMT        tq1_0
#define FMT_ID     FMT_TQ1_0
#define FMT_NAME   "TQ1_0"
#define FMT_BLOCK  256
#define FMT_BYTES  54
#define FMT_SUB    32
#define FMT_MIN    0
#define FMT_ACT    ACT_Q8
#define FMT_TOL    5e-3f
#define FMT_ENCODE 1
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
