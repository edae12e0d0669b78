/* tile.cuh - what the tensor cores' kernels share: which rows and columns a block makes, and what
 * becomes of its sums.
 *
 * A block of eight warps makes GEMM_COLS columns of the result for GEMM_ROWS rows of inputs, a warp
 * 32 by 32 of them: two by four tiles of 16 by 8, whose numbers lie in the lanes as ptx.cuh says.
 * With gate and up a warp has 16 columns of each.
 */
#ifndef RILL_KERNELS_CUDA_TILE_CUH
#define RILL_KERNELS_CUDA_TILE_CUH

#include "kernels/cuda/gemv.cuh"

#define GEMM_LD 132 // from row to row of the results in shared memory: 4 banks on

/* The block's rows: of the result row j is first + j, or the pair that stands there. */
struct tile_rows {
    int32_t n, first, matrix;
};

DEVICE struct tile_rows tile_rows_of(const struct gemv_args &a, int rows)
{
    struct tile_rows t = {0, (int32_t)blockIdx.x * rows, 0};

    if (a.mode == GEMV_PAIRS) {
        const int32_t *tile = a.tile + 3 * (int64_t)blockIdx.x;
        if ((int)blockIdx.x < a.n_tile[0])
            t = {tile[2], tile[1], tile[0]};
        return t;
    }
    t.n = n_rows(&a.s, a.rows, a.n_used) - t.first;
    t.n = t.n < rows ? t.n : rows;
    t.matrix = a.mode == GEMV_HEADS ? (int32_t)blockIdx.z : 0;
    return t;
}

DEVICE int32_t tile_out(const struct gemv_args &a, const struct tile_rows &t, int j)
{
    const int32_t at = t.first + (j < t.n ? j : 0);

    return a.mode == GEMV_PAIRS ? a.pair[at] : at;
}

DEVICE int32_t tile_in(const struct gemv_args &a, const struct tile_rows &t, int j)
{
    const int32_t at = tile_out(a, t, j);

    return a.mode == GEMV_PAIRS ? at / a.div : at;
}

/* The column of the result that row i of the matrix tile makes, and whether it is of `up`. */
DEVICE int64_t tile_column(const struct gemv_args &a, int i, int *up)
{
    *up = a.glu ? i / 16 % 2 : 0;
    return a.glu ? (int64_t)blockIdx.y * (GEMM_COLS / 2) + i / 32 * 16 + i % 16
                 : (int64_t)blockIdx.y * GEMM_COLS + i;
}

/* Where row i of the matrix tile lies. */
DEVICE const uint8_t *tile_weights(const struct gemv_args &a, const struct tile_rows &t, int i)
{
    int up;
    const int64_t c = tile_column(a, i, &up);

    return gemv_weights(a, t.matrix, c, up);
}

/* A chain of sums is at its end: it is added to those before, and the next begins from 0. */
DEVICE void tile_fold(float (*total)[4][4], float (*acc)[4][4])
{
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int k = 0; k < 4; k++) {
                total[i][j][k] += acc[i][j][k];
                acc[i][j][k] = 0.0f;
            }
}

/* The sums go through shared memory, so that each number is finished in one place of the code and
 * neighbouring threads write neighbouring columns. */
DEVICE void tile_end(const struct gemv_args &a, const struct tile_rows &t,
                     const float (*total)[4][4])
{
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    float *tile = (float *)shared_memory(); // [GEMM_ROWS][GEMM_LD]

    __syncthreads();
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int k = 0; k < 4; k++)
                tile[(warp / 4 * 32 + j * 8 + lane % 4 * 2 + k % 2) * GEMM_LD + warp % 4 * 32 +
                     i * 16 + k / 2 * 8 + lane / 4] = total[i][j][k];
    __syncthreads();
    const int i = (int)threadIdx.x % GEMM_COLS;
    int up;
    int64_t c = tile_column(a, i, &up);
    const int m = gemv_matrix(a, &c);

    if (m == a.n_m || up)
        return;
#pragma unroll 1
    for (int row = (int)threadIdx.x / GEMM_COLS; row < t.n; row += GEMM_THREADS / GEMM_COLS) {
        const float *at = tile + row * GEMM_LD + i;
        gemv_finish(a, a.m[m], c, tile_out(a, t, row), t.matrix, at[0], at[a.glu ? 16 : 0]);
    }
}

#endif
