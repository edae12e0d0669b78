/* ring.cuh - a row of inputs times panels that come through rings in shared memory.
 *
 * One block a multiprocessor; each of its warps has a ring of its own, asks for a segment of a
 * panel as soon as the one before it there was used, and waits for nobody but its own copies: what
 * is under way crosses from panel to panel, from gate to up, and begins before the kernel in front
 * has ended. The segments of the block's panels are dealt to the warps in turn; their chains lie in
 * shared memory until a batch of panels is whole. The order of additions is that of panel.cuh.
 *
 * Bytes under way a multiprocessor: RING_WARPS * stages * STAGE, for Q4_K 16 * 5 * 2,304 = 180 KiB,
 * where 3.0 TB/s and 0.8 us want 18.
 */
#ifndef RILL_KERNELS_CUDA_RING_CUH
#define RILL_KERNELS_CUDA_RING_CUH

#include "kernels/cuda/panel.cuh"

#define RING_WARPS (RING_THREADS / WARP)
#define RING_BYTES 12288 // of a warp
#define RING_SUMS  24576
#define RING_HEAD  1024 // the barriers

static_assert(RING_SHARED == RING_HEAD + RING_SUMS + RING_WARPS * RING_BYTES, "what is asked for");

template <class P> struct ring_of {
    enum {
        SLICES_BYTES = SLICES * P::SLICE_BYTES,
        STAGE = SLICES_BYTES + (SLICES * P::TAIL + 15) / 16 * 16,
        STAGES = RING_BYTES / STAGE
    };
    static_assert(STAGES >= 2 && STAGES * RING_WARPS * 8 <= RING_HEAD, "a ring");
};

/* Pieces of 16 bytes, a lane each. */
struct by_pieces {
    PANEL_FN void begin(uint64_t *, int)
    {
    }
    PANEL_FN void copy(uint8_t *to, const uint8_t *from, int bytes, uint64_t *)
    {
        for (int i = (int)(threadIdx.x % WARP) * 16; i < bytes; i += WARP * 16)
            copy_16(to + i, from + i);
    }
    PANEL_FN void expect(uint64_t *, int)
    {
    }
    PANEL_FN void asked(void)
    {
        copies_group();
    }
    template <int LEFT> PANEL_FN void wait(uint64_t *, int)
    {
        copies_wait<LEFT>();
        __syncwarp();
    }
};

/* All at once, by the copy engine; a barrier of shared memory counts the bytes. */
struct by_bulk {
    PANEL_FN void begin(uint64_t *bar, int n)
    {
        if (threadIdx.x % WARP == 0)
            for (int i = 0; i < n; i++)
                bulk_open(bar + i);
        bulk_opened();
        __syncwarp();
    }
    PANEL_FN void copy(uint8_t *to, const uint8_t *from, int bytes, uint64_t *bar)
    {
        if (threadIdx.x % WARP == 0)
            bulk_copy(to, from, (uint32_t)bytes, bar);
    }
    PANEL_FN void expect(uint64_t *bar, int bytes)
    {
        if (threadIdx.x % WARP == 0)
            bulk_expect(bar, (uint32_t)bytes);
    }
    PANEL_FN void asked(void)
    {
        __syncwarp(); // nobody waits for what was not asked for
    }
    template <int> PANEL_FN void wait(uint64_t *bar, int turn)
    {
        bulk_wait(bar, (uint32_t)turn);
    }
};

/* What a block does: its panels, and how many segments each is. */
struct ring_work {
    int32_t first, end, segments, items, slices, matrix;
};

DEVICE struct ring_work ring_work_of(const struct gemv_args &a)
{
    const struct mat &last = a.m[a.glu ? 0 : a.n_m - 1];
    const int64_t panels = (last.at + last.rows) / PANEL, g = gridDim.y;
    struct ring_work w;

    w.first = (int32_t)(panels * blockIdx.y / g);
    w.end = (int32_t)(panels * (blockIdx.y + 1) / g);
    w.slices = (int32_t)panel_slices(a.cols);
    w.segments = (w.slices + SLICES - 1) / SLICES;
    w.items = a.glu ? 2 * w.segments : w.segments;
    w.matrix = a.mode == GEMV_HEADS ? (int32_t)blockIdx.z : 0;
    return w;
}

/* Asks for the block's segment `id`; behind the last one for nothing. */
template <class P, class C>
DEVICE void ring_ask(const struct gemv_args &a, const struct ring_work &w, int32_t id,
                     uint8_t *stage, uint64_t *bar)
{
    typedef ring_of<P> R;

    if (id < (w.end - w.first) * w.items) {
        const int32_t item = id % w.items, seg = item % w.segments;
        int64_t c = (int64_t)(w.first + id / w.items) * PANEL;
        const int k = gemv_matrix(a, &c);
        const uint8_t *panel =
            a.m[a.glu ? item / w.segments : k].w + w.matrix * a.each + c / PANEL * a.row_bytes;
        const int n = w.slices - seg * SLICES < SLICES ? w.slices - seg * SLICES : SLICES;

        const int bytes = n * P::SLICE_BYTES, tail = (n * P::TAIL + 15) / 16 * 16;

        C::expect(bar, bytes + tail);
        C::copy(stage, panel + (int64_t)seg * R::SLICES_BYTES, bytes, bar);
        if (P::TAIL > 0)
            C::copy(stage + R::SLICES_BYTES,
                    panel + (int64_t)w.slices * P::SLICE_BYTES + seg * SLICES * P::TAIL, tail, bar);
    }
    C::asked();
}

/* The lane's chain of a segment that lies in shared memory. */
template <class F>
DEVICE float ring_chain(const uint8_t *stage, const void *x, int64_t seg, int64_t units)
{
    typedef typename F::panel P;
    const int lane = (int)threadIdx.x % WARP;
    const uint8_t *tail = stage + ring_of<P>::SLICES_BYTES;
    float chain[1] = {0.0f};

#pragma unroll
    for (int k = 0; k < SLICES; k++) {
        const int64_t u = seg * SEGMENT + k * SLICE + lane / PANEL;
        typename P::raw r;
        uint32_t w[8];
        float s[2], m[2];

        if (u >= units)
            continue;
        P::template load<from_shared>(&r, stage + k * P::SLICE_BYTES, tail + k * P::TAIL, lane);
        P::unpack(r, lane, w, s, m);
        unit_join<F::SUB, F::MIN, 1>(chain, w, s, m, &x, u, 1);
    }
    return chain[0];
}

/* Column i of a batch of panels. */
DEVICE void ring_finish(const struct gemv_args &a, const struct ring_work &w, const float *sums,
                        int32_t panel, int i, int32_t row)
{
    int64_t c = (int64_t)(panel + i / PANEL) * PANEL + i % PANEL;
    const int k = gemv_matrix(a, &c);
    const float *at = sums + i / PANEL * w.items * WARP + i % PANEL;
    float gate = 0.0f, total = 0.0f;

    for (int s = 0; s < w.items; s++, at += WARP) {
        if (a.glu && s == w.segments) {
            gate = total;
            total = 0.0f;
        }
#pragma unroll
        for (int chain = 0; chain < CHAINS; chain++)
            total += at[chain * PANEL];
    }
    gemv_finish(a, a.m[a.glu ? 0 : k], c, row, w.matrix, gate, total);
}

template <class F, class C> DEVICE void ring_gemv(const struct gemv_args &a)
{
    typedef typename F::panel P;
    typedef ring_of<P> R;
    const int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP;
    uint64_t *bar = (uint64_t *)shared_memory() + warp * R::STAGES;
    float *sums = (float *)(shared_memory() + RING_HEAD);
    uint8_t *ring = (uint8_t *)shared_memory() + RING_HEAD + RING_SUMS + warp * RING_BYTES;
    const struct ring_work w = ring_work_of(a);
    const int64_t units = a.cols / 32;
    const int32_t per = RING_SUMS / (w.items * WARP * (int32_t)sizeof(float));
    int32_t xr[1], yr[1] = {0}, matrix, id = warp, batch = w.first;
    int stage = 0, turn = 0;

    C::begin(bar, R::STAGES);
    for (int s = 0; s < R::STAGES; s++)
        ring_ask<P, C>(a, w, warp + s * RING_WARPS, ring + s * R::STAGE, bar + s);
    grid_wait();
    const int n = gemv_rows<1>(a, xr, yr, &matrix);
    const void *x = n > 0 ? gemv_input(a, xr[0], matrix) : NULL;

    for (; batch < w.end; batch += per) {
        const int32_t end = batch + per < w.end ? batch + per : w.end;

        for (; id < (end - w.first) * w.items; id += RING_WARPS) {
            C::template wait<R::STAGES - 1>(bar + stage, turn);
            if (n > 0)
                sums[(id - (batch - w.first) * w.items) * WARP + lane] =
                    ring_chain<F>(ring + stage * R::STAGE, x, id % w.items % w.segments, units);
            __syncwarp();
            ring_ask<P, C>(a, w, id + R::STAGES * RING_WARPS, ring + stage * R::STAGE, bar + stage);
            stage = stage + 1 < R::STAGES ? stage + 1 : 0;
            turn ^= stage == 0;
        }
        __syncthreads();
        for (int i = (int)threadIdx.x; n > 0 && i < (end - batch) * PANEL; i += RING_THREADS)
            ring_finish(a, w, sums, batch, i, yr[0]);
        __syncthreads();
    }
}

#endif
