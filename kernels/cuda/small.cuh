/* small.cuh - a few rows of inputs times panels, by the tensor cores: each weight is read once.
 *
 * A block makes SMALL_COLS columns of the result (with gate and up half as many, of both) for 8 NT
 * rows of inputs, segment after segment. A segment of its eight panels and of the inputs comes to
 * shared memory, stages ahead. Warp w has chain w: the products of a unit are exact integers,
 * scaled and added in the order of gemv.cuh; then the eight chains are added in order, a number of
 * the result a thread. So the bits are those of the kernel for one row.
 */
#ifndef RILL_KERNELS_CUDA_SMALL_CUH
#define RILL_KERNELS_CUDA_SMALL_CUH

#include "kernels/cuda/panel.cuh"
#include "kernels/cuda/ring.cuh"

#define SMALL_PANELS (SMALL_COLS / PANEL)

/* Words of panels 4 rows apart would fall on the same banks. */
template <class P, int NT> struct small_of {
    enum {
        ROWS = 8 * NT,
        PANEL_BYTES = ring_of<P>::STAGE + 64,
        X_BYTES = SEGMENT * ROWS * (int)sizeof(struct q32),
        STAGE = X_BYTES + SMALL_PANELS * PANEL_BYTES,
        STAGES = NT == 1 && ring_of<P>::STAGE < 3000 ? 3 : 2,
        PART = CHAINS * SMALL_COLS * ROWS * (int)sizeof(float),
        SHARED = STAGES * STAGE + PART
    };
    static_assert(SHARED <= 227 << 10, "what a block can have");
};

/* What a warp copies: one of the panels, every eighth row of inputs. */
template <int NT> struct small_from {
    const uint8_t *panel;
    const uint8_t *x[NT];
    int64_t units, slices;
};

/* Pieces of 16 bytes of segment seg; what: weights, inputs or both. */
template <class P, int NT>
DEVICE void small_ask(const struct small_from<NT> &f, int64_t seg, uint8_t *stage, bool weights,
                      bool inputs)
{
    typedef small_of<P, NT> S;
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    uint8_t *w = stage + S::X_BYTES + warp * S::PANEL_BYTES;
    const int64_t left = f.slices - seg * SLICES;
    const int n = (int)(left < SLICES ? left : SLICES);

    if (n <= 0)
        return;
    if (weights)
        by_pieces::copy(w, f.panel + seg * SLICES * P::SLICE_BYTES, n * P::SLICE_BYTES, NULL);
    if (weights && P::TAIL > 0)
        by_pieces::copy(w + ring_of<P>::SLICES_BYTES,
                        f.panel + f.slices * P::SLICE_BYTES + seg * SLICES * P::TAIL,
                        (n * P::TAIL + 15) / 16 * 16, NULL);
#pragma unroll
    for (int j = 0; j < NT; j++)
#pragma unroll
        for (int i = 0; i < 3; i++) { // a row's units are three pieces each
            const int piece = i * WARP + lane, unit = piece / 3;
            if (inputs && seg * SEGMENT + unit < f.units)
                copy_16(stage + ((unit * S::ROWS + j * 8 + warp) * 3 + piece % 3) * 16,
                        f.x[j] + (seg * SEGMENT * 3 + piece) * 16);
        }
}

/* Unit k of the warp's chain: its products join acc, [gate and up or 2 x 16 columns][8 rows]. */
template <class F, int NT> DEVICE void small_unit(float (*acc)[NT][4], const uint8_t *stage, int k)
{
    typedef typename F::panel P;
    typedef small_of<P, NT> S;
    const int lane = (int)threadIdx.x % WARP, chain = (int)threadIdx.x / WARP, g = lane / 4,
              t = lane % 4;
    const struct q32 *x = (const struct q32 *)stage + (k * SLICE + chain) * S::ROWS;

#pragma unroll
    for (int i = 0; i < 2; i++) {
        float s[2][2], m[2][2];
        int a[4];

#pragma unroll
        for (int h = 0; h < 2; h++) { // rows g and g + 8
            const uint8_t *panel =
                stage + S::X_BYTES + (i * 4 + h * 2 + g / PANEL) * S::PANEL_BYTES;
            const int at = chain * PANEL + g % PANEL;
            typename P::raw r = {};
            uint32_t w[8];

            P::template load_word<from_shared>(&r, panel + k * P::SLICE_BYTES,
                                               panel + ring_of<P>::SLICES_BYTES + k * P::TAIL, at,
                                               t);
            P::unpack(r, at, w, s[h], m[h]);
            a[h] = (int)w[0];
            a[2 + h] = (int)w[4];
        }
#pragma unroll
        for (int j = 0; j < NT; j++) {
            const struct q32 *in = x + j * 8 + g;
            const int b[2] = {((const int *)in->q)[t], ((const int *)in->q)[4 + t]};
            int c[2][4];

            unit_products<F::SUB>(c, a, b);
            in = x + j * 8 + 2 * t;
#pragma unroll
            for (int n = 0; n < 4; n++)
                acc[i][j][n] = unit_scaled<F::SUB, F::MIN>(acc[i][j][n], c[0][n], c[1][n], s[n / 2],
                                                           m[n / 2], *(const float4 *)&in[n % 2].d);
        }
    }
}

template <class F, int NT> DEVICE void panel_small(const struct gemv_args &a)
{
    typedef typename F::panel P;
    typedef small_of<P, NT> S;
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    uint8_t *stages = (uint8_t *)shared_memory();
    float *part = (float *)(stages + S::STAGES * S::STAGE); // [CHAINS][SMALL_COLS][ROWS]
    const int up = a.glu ? warp / (SMALL_PANELS / 2) : 0;
    const int64_t first = (int64_t)blockIdx.y * (a.glu ? SMALL_COLS / 2 : SMALL_COLS);
    const int64_t c = first + (a.glu ? warp % (SMALL_PANELS / 2) : warp) * PANEL;
    struct small_from<NT> from = {
        NULL, {NULL}, a.cols / 32, panel_slices(a.cols)
    };
    const int64_t segments = (from.slices + SLICES - 1) / SLICES;
    float total[NT] = {0};
    const bool early = a.mode != GEMV_PAIRS;

    if (early) {
        from.panel = gemv_weights(a, a.mode == GEMV_HEADS ? (int32_t)blockIdx.z : 0, c, up);
        for (int s = 0; s < S::STAGES; s++)
            small_ask<P, NT>(from, s, stages + s * S::STAGE, true, false);
    }
    grid_wait();
    const struct tile_rows rows = tile_rows_of(a, S::ROWS);

    if (rows.n <= 0) {
        copies_group(); // only what is in a group is waited for
        copies_wait<0>();
        return;
    }
    from.panel = gemv_weights(a, rows.matrix, c, up);
#pragma unroll
    for (int j = 0; j < NT; j++)
        from.x[j] = (const uint8_t *)gemv_input(a, tile_in(a, rows, j * 8 + warp), rows.matrix);
    for (int s = 0; s < S::STAGES; s++) {
        small_ask<P, NT>(from, s, stages + s * S::STAGE, !early, true);
        copies_group(); // the first has the weights asked for before, too
    }
    for (int64_t seg = 0; seg < segments; seg++) {
        uint8_t *stage = stages + seg % S::STAGES * S::STAGE;
        float acc[2][NT][4] = {{{0}}};

        copies_wait<S::STAGES - 1>();
        __syncthreads();
#pragma unroll
        for (int k = 0; k < SLICES; k++)
            if (seg * SEGMENT + k * SLICE + warp < from.units)
                small_unit<F, NT>(acc, stage, k);
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
            for (int j = 0; j < NT; j++)
#pragma unroll
                for (int n = 0; n < 4; n++)
                    part[(warp * SMALL_COLS + i * 16 + n / 2 * 8 + lane / 4) * S::ROWS + j * 8 +
                         lane % 4 * 2 + n % 2] = acc[i][j][n];
        __syncthreads();
        small_ask<P, NT>(from, seg + S::STAGES, stage, true, true);
        copies_group();
#pragma unroll
        for (int j = 0; j < NT; j++)
#pragma unroll
            for (int w = 0; w < CHAINS; w++)
                total[j] += part[w * SMALL_COLS * S::ROWS + j * SMALL_THREADS + (int)threadIdx.x];
    }
    copies_wait<0>();
    __syncthreads();
#pragma unroll
    for (int j = 0; j < NT; j++)
        part[j * SMALL_THREADS + (int)threadIdx.x] = total[j];
    __syncthreads();
#pragma unroll 1
    for (int i = (int)threadIdx.x; i < S::ROWS * SMALL_COLS; i += SMALL_THREADS) {
        const int row = i % S::ROWS, col = i / S::ROWS;
        int64_t at = first + col;
        const int m = gemv_matrix(a, &at);

        if (row >= rows.n || m == a.n_m || (a.glu && col >= SMALL_COLS / 2))
            continue;
        gemv_finish(a, a.m[m], at, tile_out(a, rows, row), rows.matrix, part[i],
                    part[a.glu ? i + SMALL_COLS / 2 * S::ROWS : i]);
    }
}

#endif
