/* f32.h - IEEE binary32: the value itself.
 */
#ifndef RILL_QUANT_F32_H
#define RILL_QUANT_F32_H

#include "quant/half.h"

struct f32 {
    float v;
};
FMT_SIZE(struct f32, 4);

FMT_FN float f32_get(const struct f32 *b, int i)
{
    (void)i;
    return b->v;
}

FMT_FN void f32_decode(const struct f32 *b, float *out)
{
    *out = f32_get(b, 0);
}

FMT_FN void f32_encode(const float *in, struct f32 *b)
{
    b->v = *in;
}

#endif

#ifdef FMT_HOOK
#define FMT        f32
#define FMT_ID     FMT_F32
#define FMT_NAME   "F32"
#define FMT_BLOCK  1
#define FMT_BYTES  4
#define FMT_SUB    0
#define FMT_MIN    0
#define FMT_ACT    ACT_F32
#define FMT_TOL    1e-5f
#define FMT_ENCODE 1
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
