/* i8.h - signed whole numbers of 8 bits (tables of indices; no matrix is kept so).
 */
#ifndef RILL_QUANT_I8_H
#define RILL_QUANT_I8_H

#include "quant/half.h"

struct i8 {
    int8_t v;
};
FMT_SIZE(struct i8, 1);

FMT_FN float i8_get(const struct i8 *b, int i)
{
    (void)i;
    return (float)b->v;
}

FMT_FN void i8_decode(const struct i8 *b, float *out)
{
    *out = i8_get(b, 0);
}

#endif

#ifdef FMT_HOOK
#define FMT       i8
#define FMT_ID    FMT_I8
#define FMT_NAME  "I8"
#define FMT_BLOCK 1
#define FMT_BYTES 1
#define FMT_SUB   0
#define FMT_MIN   0
#define FMT_ACT   ACT_F32
#define FMT_TOL   1e-5f
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
