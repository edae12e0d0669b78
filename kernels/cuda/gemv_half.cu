/* gemv_half.cu - weights of 16 bits. */
#include "kernels/cuda/half.cuh"

#include "quant/formats.def"

#define FMT_HOOK "kernels/cuda/half.inc"
#include "quant/f16.h"
#include "quant/bf16.h"
#undef FMT_HOOK

extern "C" const struct fmt_kern *gemv_half(int fmt)
{
    switch (fmt) {
#define FMT_HOOK "kernels/cuda/gemv_case.inc"
#include "quant/f16.h"
#include "quant/bf16.h"
#undef FMT_HOOK
    }
    return NULL;
}
