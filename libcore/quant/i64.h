/* i64.h - signed whole numbers of 64 bits (tables of indices; no matrix is kept so).
 */
#ifndef RILL_QUANT_I64_H
#define RILL_QUANT_I64_H

#include "quant/half.h"

struct i64 {
    int64_t v;
};
FMT_SIZE(struct i64, 8);

FMT_FN float i64_get(const struct i64 *b, int i)
{
    (void)i;
    return (float)b->v;
}

FMT_FN void i64_decode(const struct i64 *b, float *out)
{
    *out = i64_get(b, 0);
}

#endif

#ifdef FMT_HOOK
#define FMT       i64
#define FMT_ID    FMT_I64
#define FMT_NAME  "I64"
#define FMT_BLOCK 1
#define FMT_BYTES 8
#define FMT_SUB   0
#define FMT_MIN   0
#define FMT_ACT   ACT_F32
#define FMT_TOL   1e-5f
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
