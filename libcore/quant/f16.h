/* f16.h - IEEE binary16: 1 sign, 5 exponent, 10 fraction bits.
 */
#ifndef RILL_QUANT_F16_H
#define RILL_QUANT_F16_H

#include "quant/half.h"

struct f16 {
    uint16_t v;
};
FMT_SIZE(struct f16, 2);

FMT_FN float f16_get(const struct f16 *b, int i)
{
    (void)i;
    return f16_to_f32(b->v);
}

FMT_FN void f16_decode(const struct f16 *b, float *out)
{
    *out = f16_get(b, 0);
}

FMT_FN void f16_encode(const float *in, struct f16 *b)
{
    b->v = f32_to_f16(*in);
}

#endif

#ifdef FMT_HOOK
#define FMT        f16
#define FMT_ID     FMT_F16
#define FMT_NAME   "F16"
#define FMT_BLOCK  1
#define FMT_BYTES  2
#define FMT_SUB    0
#define FMT_MIN    0
#define FMT_ACT    ACT_F32
#define FMT_TOL    1e-5f
#define FMT_ENCODE 1
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
