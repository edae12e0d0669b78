/* gemv_large.cu - formats of 256 weights without lists of points. */
#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/parts.cuh"

#define FMT_HOOK "kernels/cuda/gemv.inc"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_k.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/tq1_0.h"
#include "quant/tq2_0.h"
#undef FMT_HOOK

extern "C" const struct fmt_kern *gemv_large(int fmt)
{
    switch (fmt) {
#define FMT_HOOK "kernels/cuda/gemv_case.inc"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_k.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/tq1_0.h"
#include "quant/tq2_0.h"
#undef FMT_HOOK
    }
    return NULL;
}
