/* i16.h - signed whole numbers of 16 bits (tables of indices; no matrix is kept so).
 */
#ifndef RILL_QUANT_I16_H
#define RILL_QUANT_I16_H

#include "quant/half.h"

struct i16 {
    int16_t v;
};
FMT_SIZE(struct i16, 2);

FMT_FN float i16_get(const struct i16 *b, int i)
{
    (void)i;
    return (float)b->v;
}

FMT_FN void i16_decode(const struct i16 *b, float *out)
{
    *out = i16_get(b, 0);
}

#endif

#ifdef FMT_HOOK
#define FMT       i16
#define FMT_ID    FMT_I16
#define FMT_NAME  "I16"
#define FMT_BLOCK 1
#define FMT_BYTES 2
#define FMT_SUB   0
#define FMT_MIN   0
#define FMT_ACT   ACT_F32
#define FMT_TOL   1e-5f
#include FMT_HOOK
#include "quant/fmt_end.h"
#endif
