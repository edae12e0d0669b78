/* gemv_half.cu - weights of 16 bits. */
#include "kernels/cuda/half.cuh"

#include "quant/formats.def"

#define FMT_HOOK "kernels/cuda/half.inc"
#include "quant/f16.h"
#include "quant/bf16.h"
#undef FMT_HOOK

extern "C" const struct fmt_launch *gemv_half_some(int fmt)
{
    return fmt == FMT_F16 ? f16_some : fmt == FMT_BF16 ? bf16_some : NULL;
}

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
