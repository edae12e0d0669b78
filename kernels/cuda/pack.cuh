/* pack.cuh - numbers in the form in which matrices read them. */
#ifndef RILL_KERNELS_CUDA_PACK_CUH
#define RILL_KERNELS_CUDA_PACK_CUH

#include "kernels/cuda/common.cuh"

/* 32 inputs, one a lane, to int8: the largest magnitude becomes 127 (kernels/cpu/dot_q8.h has the
 * definition: the same bits). Or to halves. */
DEVICE void pack_lanes(float x, struct q32 *to, struct x16 *halves)
{
    const int lane = (int)threadIdx.x % WARP;

    if (halves) {
        halves->hi[lane] = f32_to_bf16(x);
        halves->lo[lane] = f32_to_bf16(x - bf16_to_f32(f32_to_bf16(x)));
        return;
    }
    const uint32_t top = (uint32_t)warp_max_int((int)(f32_bits(x) & 0x7fffffffu));
    const float high = f32_of_bits(top);
    float d = 0.0f;
    int q = 0, low, sum;

    if (top >= 0x7f800000u) {
        d = f32_of_bits(0x7fc00000u);
    } else if (high >= 0x1p-100f) {
        d = high / 127.0f;
        q = (int)(x * (127.0f / high) + 12582912.0f - 12582912.0f);
    }
    low = warp_sum_int(lane < 16 ? q : 0);
    sum = warp_sum_int(q);
    to->q[lane] = (int8_t)q;
    if (lane == 0) {
        to->d = d;
        to->sum_32 = d * (float)sum;
        to->sum_16[0] = d * (float)low;
        to->sum_16[1] = d * (float)(sum - low);
    }
}

/* 32 inputs, of which n are there. A warp's work. */
DEVICE void pack_32(const float *in, int64_t n, struct q32 *to, struct x16 *halves)
{
    const int lane = (int)threadIdx.x % WARP;

    pack_lanes(lane < n ? in[lane] : 0.0f, to, halves);
}

/* Columns [at, at + n) of row r of y, which the block has written, where they are whole groups of a
 * row of `groups`. All threads of the block. */
DEVICE void pack_columns(const float *y, int64_t r, int64_t at, int n, int64_t groups,
                         struct q32 *to, struct x16 *halves)
{
    __syncthreads();
    for (int g = (int)threadIdx.x / WARP; g < n / 32; g += (int)blockDim.x / WARP) {
        const int64_t i = r * groups + at / 32 + g;

        pack_32(y + at + 32 * g, 32, to ? to + i : NULL, halves ? halves + i : NULL);
    }
}

#endif
