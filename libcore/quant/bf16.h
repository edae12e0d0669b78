/* bf16.h - bfloat16: the upper half of an IEEE binary32.
 */
#ifndef RILL_QUANT_BF16_H
#define RILL_QUANT_BF16_H

#include "quant/half.h"

struct bf16 {
    uint16_t v;
};
FMT_SIZE(struct bf16, 2);

FMT_FN float bf16_get(const struct bf16 *b, int i)
{
    (void)i;
    return bf16_to_f32(b->v);
}

FMT_FN void bf16_decode(const struct bf16 *b, float *out)
{
    *out = bf16_get(b, 0);
}

FMT_FN void bf16_encode(const float *in, struct bf16 *b)
{
    b->v = f32_to_bf16(*in);
}

#endif

#ifdef FMT_HOOK
#define FMT        bf16
#define FMT_ID     FMT_BF16
#define FMT_NAME   "BF16"
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
