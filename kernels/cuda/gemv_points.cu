/* gemv_points.cu - formats whose codes are numbers of points in a list: one copy of the lists. */
#define RILL_CUDA_GRIDS 1
#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/parts.cuh"

#define FMT_HOOK "kernels/cuda/gemv.inc"
#include "quant/iq2_xxs.h"
#include "quant/iq2_xs.h"
#include "quant/iq3_xxs.h"
#include "quant/iq1_s.h"
#include "quant/iq4_nl.h"
#include "quant/iq3_s.h"
#include "quant/iq2_s.h"
#include "quant/iq4_xs.h"
#include "quant/iq1_m.h"
#undef FMT_HOOK

extern "C" const struct fmt_kern *gemv_points(int fmt)
{
    switch (fmt) {
#define FMT_HOOK "kernels/cuda/gemv_case.inc"
#include "quant/iq2_xxs.h"
#include "quant/iq2_xs.h"
#include "quant/iq3_xxs.h"
#include "quant/iq1_s.h"
#include "quant/iq4_nl.h"
#include "quant/iq3_s.h"
#include "quant/iq2_s.h"
#include "quant/iq4_xs.h"
#include "quant/iq1_m.h"
#undef FMT_HOOK
    }
    return NULL;
}
