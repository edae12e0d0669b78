/* gemv_rings.cu - panels that come through rings in shared memory. */
#include "kernels/cuda/ring.cuh"

#define FMT_HOOK "kernels/cuda/ring.inc"
#include "quant/q4_0.h"
#include "quant/q8_0.h"
#include "quant/mxfp4.h"
#include "quant/q4_k.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/iq4_xs.h"
#undef FMT_HOOK

extern "C" const struct fmt_launch *gemv_rings(int fmt)
{
    switch (fmt) {
#define FMT_HOOK "kernels/cuda/ring_case.inc"
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
