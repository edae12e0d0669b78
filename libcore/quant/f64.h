/* f64.h - IEEE binary64, read as the nearest binary32.
 */
#ifndef RILL_QUANT_F64_H
#define RILL_QUANT_F64_H

#include "quant/half.h"

struct f64 {
    double v;
};
FMT_SIZE(struct f64, 8);

FMT_FN float f64_get(const struct f64 *b, int i)
{
    (void)i;
    return (float)b->v;
}

FMT_FN void f64_decode(const struct f64 *b, float *out)
{
    *out = f64_get(b, 0);
}

FMT_FN void f64_encode(const float *in, struct f64 *b)
{
    b->v = (double)*in;
}

#endif

#ifdef FMT_HOOK
#define FMT        f64
#define FMT_ID     FMT_F64
#define FMT_NAME   "F64"
#define FMT_BLOCK  1
#define FMT_BYTES  8
#define FMT_SUB    0
#define FMT_MIN    0
#define FMT_ACT    ACT_F32
#define FMT_TOL    1e-5f
#define FMT_ENCODE 1
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
