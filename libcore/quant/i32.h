/* i32.h - signed whole numbers of 32 bits (tables of indices; no matrix is kept so).
 */
#ifndef RILL_QUANT_I32_H
#define RILL_QUANT_I32_H

#include "quant/half.h"

struct i32 {
    int32_t v;
};
FMT_SIZE(struct i32, 4);

FMT_FN float i32_get(const struct i32 *b, int i)
{
    (void)i;
    return (float)b->v;
}

FMT_FN void i32_decode(const struct i32 *b, float *out)
{
    *out = i32_get(b, 0);
}

#endif

#ifdef FMT_HOOK
#define FMT       i32
#define FMT_ID    FMT_I32
#define FMT_NAME  "I32"
#define FMT_BLOCK 1
#define FMT_BYTES 4
#define FMT_SUB   0
#define FMT_MIN   0
#define FMT_ACT   ACT_F32
#define FMT_TOL   1e-5f
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
