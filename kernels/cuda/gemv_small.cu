/* gemv_small.cu - formats of small blocks. */
#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/parts.cuh"

#define FMT_HOOK "kernels/cuda/gemv.inc"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q8_0.h"
#include "quant/mxfp4.h"
#include "quant/nvfp4.h"
#undef FMT_HOOK

extern "C" const struct fmt_kern *gemv_small(int fmt)
{
    switch (fmt) {
#define FMT_HOOK "kernels/cuda/gemv_case.inc"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q8_0.h"
#include "quant/mxfp4.h"
#include "quant/nvfp4.h"
#undef FMT_HOOK
    }
    return NULL;
}
