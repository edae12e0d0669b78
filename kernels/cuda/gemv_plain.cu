/* gemv_plain.cu - weights that are plain numbers. */
#include "kernels/cuda/gemv.cuh"
#include "kernels/cuda/parts.cuh"

#define FMT_HOOK "kernels/cuda/gemv.inc"
#include "quant/f32.h"
/* not formats of weights: no need for speed */
#undef GEMV_AT_ONCE
#define GEMV_AT_ONCE 1
#include "quant/f64.h"
#include "quant/i8.h"
#include "quant/i16.h"
#include "quant/i32.h"
#include "quant/i64.h"
#undef FMT_HOOK

extern "C" const struct fmt_kern *gemv_plain(int fmt)
{
    switch (fmt) {
#define FMT_HOOK "kernels/cuda/gemv_case.inc"
#include "quant/f32.h"
#include "quant/f64.h"
#include "quant/i8.h"
#include "quant/i16.h"
#include "quant/i32.h"
#include "quant/i64.h"
#undef FMT_HOOK
    }
    return NULL;
}
