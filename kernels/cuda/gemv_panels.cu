/* gemv_panels.cu - formats whose matrices are repacked when they are loaded. */
#include "kernels/cuda/panel.cuh"

#define FMT_HOOK "kernels/cuda/panel.inc"
#include "quant/q4_0.h"
#include "quant/q8_0.h"
#include "quant/mxfp4.h"
#include "quant/q4_k.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/iq4_xs.h"
#undef FMT_HOOK

extern "C" const struct fmt_kern *gemv_panels(int fmt)
{
    switch (fmt) {
#define FMT_HOOK "kernels/cuda/gemv_case.inc"
#include "quant/q4_0.h"
#include "quant/q8_0.h"
#include "quant/mxfp4.h"
#include "quant/q4_k.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/iq4_xs.h"
#undef FMT_HOOK
    }
    return NULL;
}
