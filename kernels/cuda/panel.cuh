/* panel.cuh - the order in which load() lays a quantized matrix out: that in which warps read it.
 *
 * PANEL rows lie together, and of them a slice at a time: 8 units of 32 weights of each row. Lane l
 * of a warp has unit l / PANEL of row l % PANEL, which is chain l / PANEL of gemv.cuh. A slice has
 * its codes first, so that a load of the warp is 512 neighbouring bytes, 16 a lane, from a multiple
 * of 16; then high bits, 4 or 8 bytes a lane; then scales. Where a slice would not be a multiple of
 * 16 bytes its last number goes behind the panel's slices (Q6_K: d). No weight takes more bytes
 * than in the file; a row whose columns are no multiple of 256 is filled up to one.
 *
 * <format>_panel has SLICE_BYTES and TAIL, of a slice and behind the panel; load() brings what a
 * lane needs of one, load_word() the same with codes 4 t to 4 t + 3 and those 16 on in the first
 * words, unpack() gives codes, scales and mins, the same numbers as <format>_part, and
 * put() writes a unit of the file's order. Codes of 4 bits lie as in Q4_0: weight i of a unit in
 * the low, weight i + 16 in the high half of byte i.
 */
#ifndef RILL_KERNELS_CUDA_PANEL_CUH
#define RILL_KERNELS_CUDA_PANEL_CUH

#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/heads.cuh"
#include "kernels/cuda/parts.cuh"

#define SLICE  8 // units of a row
#define SLICES 4 // of a segment

static_assert(SLICE == CHAINS && SLICES * SLICE == SEGMENT, "a lane has a chain");

DEVICE int64_t panel_slices(int64_t cols)
{
    return (cols + 32 * SLICE - 1) / (32 * SLICE);
}

/* Where loads come from: memory that nobody writes while the kernel runs, or shared memory. */
struct from_memory {
    static __device__ __forceinline__ uint4 v16(const uint8_t *p)
    {
        return stream_16(p);
    }
    static __device__ __forceinline__ uint2 v8(const uint8_t *p)
    {
        return stream_8(p);
    }
    static __device__ __forceinline__ uint32_t v4(const uint8_t *p)
    {
        return stream_4(p);
    }
    static __device__ __forceinline__ uint32_t v2(const uint8_t *p)
    {
        return stream_2(p);
    }
};
struct from_shared {
    static __device__ __forceinline__ uint4 v16(const uint8_t *p)
    {
        return *(const uint4 *)p;
    }
    static __device__ __forceinline__ uint2 v8(const uint8_t *p)
    {
        return *(const uint2 *)p;
    }
    static __device__ __forceinline__ uint32_t v4(const uint8_t *p)
    {
        return *(const uint32_t *)p;
    }
    static __device__ __forceinline__ uint32_t v2(const uint8_t *p)
    {
        return *(const uint16_t *)p;
    }
};

#define PANEL_FN static __device__ __forceinline__

/* -- pieces that formats share -- */

DEVICE void nibbles_of(uint32_t *w, const uint4 &v)
{
    const uint32_t raw[4] = {v.x, v.y, v.z, v.w};

#pragma unroll
    for (int i = 0; i < 4; i++) {
        w[i] = raw[i] & 0x0f0f0f0fu;
        w[i + 4] = raw[i] >> 4 & 0x0f0f0f0fu;
    }
}

/* Codes of 4 bits, a byte each, to where a lane has them. */
DEVICE void put_nibbles(uint8_t *slice, int lane, const uint8_t *code)
{
    for (int i = 0; i < 16; i++)
        slice[lane * 16 + i] = (uint8_t)((code[i] & 15) | (code[i + 16] & 15) << 4);
}

/* The same with codes that stand for a list's numbers: a word's low half has four codes, the high
 * half those 16 on. */
DEVICE void put_listed(uint8_t *slice, int lane, const uint8_t *code)
{
    for (int i = 0; i < 16; i++)
        slice[lane * 16 + i] =
            (uint8_t)((code[i % 4 / 2 * 16 + i / 4 * 4 + i % 2 * 2] & 15) |
                      (code[i % 4 / 2 * 16 + i / 4 * 4 + i % 2 * 2 + 1] & 15) << 4);
}

/* From 16 bytes as in Q4_0. */
DEVICE void put_file_nibbles(uint8_t *slice, int lane, const uint8_t *qs)
{
    uint8_t code[32];

    for (int i = 0; i < 32; i++)
        code[i] = (uint8_t)(qs[i % 16] >> i / 16 * 4);
    put_listed(slice, lane, code);
}

/* Of each half of v's words four numbers of the list that low and high hold, eight each. */
DEVICE void listed_of(uint32_t *w, const uint4 &v, uint2 low, uint2 high)
{
    const uint32_t raw[4] = {v.x, v.y, v.z, v.w};

#pragma unroll
    for (int i = 0; i < 8; i++) {
        const uint32_t codes = i < 4 ? raw[i] : raw[i - 4] >> 16;
        const uint32_t at = codes & 0x7777u, which = 0x3210u + (codes >> 1 & 0x4444u);
        w[i] = byte_perm(byte_perm(low.x, low.y, at), byte_perm(high.x, high.y, at), which);
    }
}

/* -- small blocks -- */

struct q4_0_panel {
    enum { SLICE_BYTES = 576, TAIL = 0 };
    struct raw {
        uint4 low;
        uint32_t d;
    };
    template <class L> PANEL_FN void load(raw *r, const uint8_t *slice, const uint8_t *, int lane)
    {
        r->low = L::v16(slice + lane * 16);
        r->d = L::v2(slice + 512 + lane * 2);
    }
    template <class L>
    PANEL_FN void load_word(raw *r, const uint8_t *slice, const uint8_t *, int lane, int t)
    {
        r->low.x = L::v4(slice + lane * 16 + t * 4);
        r->d = L::v2(slice + 512 + lane * 2);
    }
    PANEL_FN void unpack(const raw &r, int, uint32_t *w, float *s, float *m)
    {
        nibbles_of(w, r.low);
#pragma unroll
        for (int i = 0; i < 8; i++)
            w[i] = four_less(w[i], 8u);
        s[0] = f16_to_f32((uint16_t)r.d);
        m[0] = 0.0f;
    }
    PANEL_FN void put(uint8_t *slice, uint8_t *, int lane, const struct q4_0 *b, int)
    {
        memcpy(slice + lane * 16, b->qs, 16);
        memcpy(slice + 512 + lane * 2, &b->d, 2);
    }
};

struct q8_0_panel {
    enum { SLICE_BYTES = 1088, TAIL = 0 };
    struct raw {
        uint4 a, b;
        uint32_t d;
    };
    template <class L> PANEL_FN void load(raw *r, const uint8_t *slice, const uint8_t *, int lane)
    {
        r->a = L::v16(slice + lane * 16);
        r->b = L::v16(slice + 512 + lane * 16);
        r->d = L::v2(slice + 1024 + lane * 2);
    }
    template <class L>
    PANEL_FN void load_word(raw *r, const uint8_t *slice, const uint8_t *, int lane, int t)
    {
        r->a.x = L::v4(slice + lane * 16 + t * 4);
        r->b.x = L::v4(slice + 512 + lane * 16 + t * 4);
        r->d = L::v2(slice + 1024 + lane * 2);
    }
    PANEL_FN void unpack(const raw &r, int, uint32_t *w, float *s, float *m)
    {
        w[0] = r.a.x, w[1] = r.a.y, w[2] = r.a.z, w[3] = r.a.w;
        w[4] = r.b.x, w[5] = r.b.y, w[6] = r.b.z, w[7] = r.b.w;
        s[0] = f16_to_f32((uint16_t)r.d);
        m[0] = 0.0f;
    }
    PANEL_FN void put(uint8_t *slice, uint8_t *, int lane, const struct q8_0 *b, int)
    {
        memcpy(slice + lane * 16, b->qs, 16);
        memcpy(slice + 512 + lane * 16, b->qs + 16, 16);
        memcpy(slice + 1024 + lane * 2, &b->d, 2);
    }
};

struct mxfp4_panel {
    enum { SLICE_BYTES = 544, TAIL = 0 };
    struct raw {
        uint4 low;
        uint32_t e;
    };
    template <class L> PANEL_FN void load(raw *r, const uint8_t *slice, const uint8_t *, int lane)
    {
        r->low = L::v16(slice + lane * 16);
        r->e = L::v2(slice + 512 + lane / 2 * 2) >> lane % 2 * 8;
    }
    template <class L>
    PANEL_FN void load_word(raw *r, const uint8_t *slice, const uint8_t *, int lane, int t)
    {
        r->low.x = L::v4(slice + lane * 16 + t * 4);
        r->e = L::v2(slice + 512 + lane / 2 * 2) >> lane % 2 * 8;
    }
    /* e2m1_doubled: 0 1 2 3 4 6 8 12, then the same below zero */
    PANEL_FN void unpack(const raw &r, int, uint32_t *w, float *s, float *m)
    {
        listed_of(w, r.low, uint2{0x03020100u, 0x0c080604u}, uint2{0xfdfeff00u, 0xf4f8fafcu});
        s[0] = e8m0_half_to_f32((uint8_t)r.e);
        m[0] = 0.0f;
    }
    PANEL_FN void put(uint8_t *slice, uint8_t *, int lane, const struct mxfp4 *b, int)
    {
        put_file_nibbles(slice, lane, b->qs);
        slice[512 + lane] = b->e;
    }
};

/* -- blocks of 256: a slice of a row is a block -- */

struct q4_k_panel {
    enum { SLICE_BYTES = 576, TAIL = 0 };
    struct raw {
        uint4 low, head;
    };
    template <class L> PANEL_FN void load(raw *r, const uint8_t *slice, const uint8_t *, int lane)
    {
        r->low = L::v16(slice + lane * 16);
        r->head = L::v16(slice + 512 + lane % PANEL * 16);
    }
    template <class L>
    PANEL_FN void load_word(raw *r, const uint8_t *slice, const uint8_t *, int lane, int t)
    {
        r->low.x = L::v4(slice + lane * 16 + t * 4);
        r->head = L::v16(slice + 512 + lane % PANEL * 16);
    }
    PANEL_FN void unpack(const raw &r, int lane, uint32_t *w, float *s, float *m)
    {
        nibbles_of(w, r.low);
        k_head(r.head, lane / PANEL, s, m);
    }
    PANEL_FN void put(uint8_t *slice, uint8_t *, int lane, const struct q4_k *b, int p)
    {
        uint8_t code[32];

        for (int i = 0; i < 32; i++)
            code[i] = (uint8_t)(b->qs[p / 2 * 32 + i] >> p % 2 * 4);
        put_nibbles(slice, lane, code);
        if (p == 0)
            memcpy(slice + 512 + lane % PANEL * 16, b, 16);
    }
};

struct q5_k_panel {
    enum { SLICE_BYTES = 704, TAIL = 0 };
    struct raw {
        uint4 low, head;
        uint32_t high;
    };
    template <class L> PANEL_FN void load(raw *r, const uint8_t *slice, const uint8_t *, int lane)
    {
        r->low = L::v16(slice + lane * 16);
        r->high = L::v4(slice + 512 + lane * 4);
        r->head = L::v16(slice + 640 + lane % PANEL * 16);
    }
    template <class L>
    PANEL_FN void load_word(raw *r, const uint8_t *slice, const uint8_t *, int lane, int t)
    {
        r->low.x = L::v4(slice + lane * 16 + t * 4);
        r->high = L::v4(slice + 512 + lane * 4) >> t;
        r->head = L::v16(slice + 640 + lane % PANEL * 16);
    }
    PANEL_FN void unpack(const raw &r, int lane, uint32_t *w, float *s, float *m)
    {
        nibbles_of(w, r.low);
#pragma unroll
        for (int i = 0; i < 8; i++)
            w[i] |= (r.high >> i & 0x01010101u) << 4;
        k_head(r.head, lane / PANEL, s, m);
    }
    /* bit i of byte k is the fifth of code 4 i + k */
    PANEL_FN void put(uint8_t *slice, uint8_t *, int lane, const struct q5_k *b, int p)
    {
        uint8_t code[32], high[4] = {0};

        for (int i = 0; i < 32; i++) {
            code[i] = (uint8_t)(b->qs[p / 2 * 32 + i] >> p % 2 * 4);
            high[i % 4] |= (uint8_t)((b->qh[i] >> p & 1) << i / 4);
        }
        put_nibbles(slice, lane, code);
        memcpy(slice + 512 + lane * 4, high, 4);
        if (p == 0)
            memcpy(slice + 640 + lane % PANEL * 16, b, 16);
    }
};

struct q6_k_panel {
    enum { SLICE_BYTES = 832, TAIL = 8 };
    struct raw {
        uint4 low;
        uint2 high;
        uint32_t scales, d;
    };
    template <class L>
    PANEL_FN void load(raw *r, const uint8_t *slice, const uint8_t *tail, int lane)
    {
        r->low = L::v16(slice + lane * 16);
        r->high = L::v8(slice + 512 + lane * 8);
        r->scales = L::v2(slice + 768 + lane * 2);
        r->d = L::v2(tail + lane % PANEL * 2);
    }
    template <class L>
    PANEL_FN void load_word(raw *r, const uint8_t *slice, const uint8_t *tail, int lane, int t)
    {
        r->low.x = L::v4(slice + lane * 16 + t * 4);
        r->high = L::v8(slice + 512 + lane * 8);
        r->high.x >>= 2 * t;
        r->high.y >>= 2 * t;
        r->scales = L::v2(slice + 768 + lane * 2);
        r->d = L::v2(tail + lane % PANEL * 2);
    }
    PANEL_FN void unpack(const raw &r, int, uint32_t *w, float *s, float *m)
    {
        const float d = f16_to_f32((uint16_t)r.d);

        nibbles_of(w, r.low);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const uint32_t high = (i < 4 ? r.high.x : r.high.y) >> i % 4 * 2;
            w[i] = four_less(w[i] | (high & 0x03030303u) << 4, 32u);
        }
        s[0] = d * (float)(int8_t)r.scales;
        s[1] = d * (float)(int8_t)(r.scales >> 8);
        m[0] = m[1] = 0.0f;
    }
    /* bits 2 i and 2 i + 1 of byte k are the highest of code 4 i + k, of the first half and the
     * second */
    PANEL_FN void put(uint8_t *slice, uint8_t *tail, int lane, const struct q6_k *b, int p)
    {
        const int h = p / 4, k = p % 4;
        uint8_t code[32], high[8] = {0};

        for (int i = 0; i < 32; i++) {
            code[i] = (uint8_t)(b->ql[64 * h + 32 * (k % 2) + i] >> k / 2 * 4);
            high[i / 16 * 4 + i % 4] |=
                (uint8_t)((b->qh[32 * h + i] >> 2 * k & 3) << i % 16 / 4 * 2);
        }
        put_nibbles(slice, lane, code);
        memcpy(slice + 512 + lane * 8, high, 8);
        memcpy(slice + 768 + lane * 2, b->scales + 2 * p, 2);
        if (p == 0)
            memcpy(tail + lane % PANEL * 2, &b->d, 2);
    }
};

struct iq4_xs_panel {
    enum { SLICE_BYTES = 544, TAIL = 0 };
    struct raw {
        uint4 low;
        uint2 head;
    };
    template <class L> PANEL_FN void load(raw *r, const uint8_t *slice, const uint8_t *, int lane)
    {
        r->low = L::v16(slice + lane * 16);
        r->head = L::v8(slice + 512 + lane % PANEL * 8);
    }
    template <class L>
    PANEL_FN void load_word(raw *r, const uint8_t *slice, const uint8_t *, int lane, int t)
    {
        r->low.x = L::v4(slice + lane * 16 + t * 4);
        r->head = L::v8(slice + 512 + lane % PANEL * 8);
    }
    /* iq4_values: -127 -104 -83 -65, -49 -35 -22 -10, 1 13 25 38, 53 69 89 113 */
    PANEL_FN void unpack(const raw &r, int lane, uint32_t *w, float *s, float *m)
    {
        const int p = lane / PANEL;
        const int low = (int)(r.head.y >> 4 * p & 15u), high = (int)(r.head.x >> (16 + 2 * p) & 3u);

        listed_of(w, r.low, uint2{0xbfad9881u, 0xf6eaddcfu}, uint2{0x26190d01u, 0x71594535u});
        s[0] = f16_to_f32((uint16_t)r.head.x) * (float)((low | high << 4) - 32);
        m[0] = 0.0f;
    }
    PANEL_FN void put(uint8_t *slice, uint8_t *, int lane, const struct iq4_xs *b, int p)
    {
        put_file_nibbles(slice, lane, b->qs + 16 * p);
        if (p == 0)
            memcpy(slice + 512 + lane % PANEL * 8, b, 8);
    }
};

/* -- rows of inputs times panels -- */

/* What a lane needs of segment `seg`, as far as the panel goes. */
template <class P>
DEVICE void panel_load(typename P::raw *r, const uint8_t *panel, int64_t seg, int64_t slices,
                       int lane)
{
    const uint8_t *tail = panel + slices * P::SLICE_BYTES;

#pragma unroll
    for (int k = 0; k < SLICES; k++) {
        const int64_t i = seg * SLICES + k;
        if (i < slices)
            P::template load<from_memory>(&r[k], panel + i * P::SLICE_BYTES, tail + i * P::TAIL,
                                          lane);
    }
}

/* The lane's chain of segment `seg`. */
template <class F, int NX>
DEVICE void panel_chain(float *chain, const typename F::panel::raw *r, const void *const *x,
                        int64_t seg, int64_t units, int n, int lane)
{
#pragma unroll
    for (int k = 0; k < SLICES; k++) {
        const int64_t u = seg * SEGMENT + k * SLICE + lane / PANEL;
        uint32_t w[8];
        float s[2], m[2];

        if (u >= units)
            continue;
        F::panel::unpack(r[k], lane, w, s, m);
        unit_join<F::SUB, F::MIN, NX>(chain, w, s, m, x, u, n);
    }
}

/* The panels of a block: a.split warps share one and take its segments, and with gate and up those
 * of both, in turn; a segment's chains lie in shared memory until all are there. */
struct panel_place {
    int lane, part, slot, slots;
    int64_t segments, items;
};

DEVICE struct panel_place panel_place_of(const struct gemv_args &a)
{
    const int warp = (int)threadIdx.x / WARP, split = a.split;
    const int64_t segments = (a.cols / 32 + SEGMENT - 1) / SEGMENT;

    return {(int)threadIdx.x % WARP, warp % split, warp / split,
            GEMV_WARPS / split,      segments,     a.glu ? 2 * segments : segments};
}

/* Where the panel lies that item i of column c's work reads; k: the column's matrix. */
DEVICE const uint8_t *panel_at(const struct gemv_args &a, const struct panel_place &p, int k,
                               int64_t c, int32_t matrix, int64_t item)
{
    const int m = a.glu ? (int)(item / p.segments) : k;

    return a.m[m].w + matrix * a.each + c / PANEL * a.row_bytes;
}

/* The sums of a column in their order, turn 1 of gate and up behind turn 0. */
template <int NX>
DEVICE float panel_total(const float *sums, const struct panel_place &p, int turn, int j)
{
    const float *at = sums + ((p.slot * p.items + turn * p.segments) * NX + j) * WARP;
    float total = 0.0f;

    for (int64_t i = 0; i < p.segments; i++, at += NX * WARP)
#pragma unroll
        for (int chain = 0; chain < CHAINS; chain++)
            total += at[chain * PANEL + p.lane % PANEL];
    return total;
}

/* Weights do not depend on the kernel in front: the first are asked for before that has ended. */
template <class F, int NX, bool HEADS = false> DEVICE void panel_gemv(const struct gemv_args &a)
{
    const struct panel_place p = panel_place_of(a);
    float *sums = (float *)shared_memory(); // [slots][items][NX][WARP]
    const int64_t step = (int64_t)gridDim.y * p.slots * PANEL, units = a.cols / 32,
                  slices = panel_slices(a.cols);
    int64_t first = (int64_t)blockIdx.y * p.slots * PANEL, c = first + p.slot * PANEL;
    typename F::panel::raw r[SLICES];
    int32_t xr[NX], yr[NX], matrix = a.mode == GEMV_HEADS ? (int32_t)blockIdx.z : 0;
    const void *x[NX];
    bool early = a.mode != GEMV_PAIRS && p.part < p.items;

    memset(r, 0, sizeof r);
    int k = gemv_matrix(a, &c);
    early = early && k < a.n_m;
    if (early)
        panel_load<typename F::panel>(r, panel_at(a, p, k, c, matrix, p.part), p.part % p.segments,
                                      slices, p.lane);
    grid_wait();
    const int n = gemv_rows<NX>(a, xr, yr, &matrix);

    if (n <= 0)
        return;
#pragma unroll
    for (int j = 0; j < NX; j++)
        x[j] = gemv_input(a, xr[j], matrix);
    for (;; first += step, early = false) {
        int64_t begin = first;

        if (gemv_matrix(a, &begin) == a.n_m)
            return;
        c = first + p.slot * PANEL;
        k = gemv_matrix(a, &c);
        for (int64_t item = p.part; k < a.n_m && item < p.items; item += a.split) {
            const int64_t seg = item % p.segments;
            float chain[NX] = {0};

            if (!early)
                panel_load<typename F::panel>(r, panel_at(a, p, k, c, matrix, item), seg, slices,
                                              p.lane);
            early = false;
            panel_chain<F, NX>(chain, r, x, seg, units, n, p.lane);
#pragma unroll
            for (int j = 0; j < NX; j++)
                sums[((p.slot * p.items + item) * NX + j) * WARP + p.lane] = chain[j];
        }
        __syncthreads();
        const int j = p.lane / PANEL;
        if (p.part == 0 && k < a.n_m && j < n) {
            const float gate = a.glu ? panel_total<NX>(sums, p, 0, j) : 0.0f;
            int32_t row = 0;
#pragma unroll
            for (int i = 0; i < NX; i++)
                row = i == j ? yr[i] : row;
            gemv_finish(a, a.m[a.glu ? 0 : k], c + p.lane % PANEL, row, matrix, gate,
                        panel_total<NX>(sums, p, a.glu != 0, j));
        }
        __syncthreads();
        if (NX == 1)
            columns_behind<HEADS>(a, first, p.slots * PANEL);
    }
}

/* For gemm.cuh: unit u of the thread's row of a panel. */
template <class F> struct panel_reader {
    enum { SUB = F::SUB, MIN = F::MIN };
    static __device__ __forceinline__ void unit(const uint8_t *panel, int64_t u, int64_t units,
                                                struct w32 *to)
    {
        typedef typename F::panel P;
        const int64_t slices = panel_slices(units * 32), i = u / SLICE;
        const int lane = (int)(u % SLICE) * PANEL + (int)threadIdx.x % PANEL;
        typename P::raw r;

        P::template load<from_memory>(&r, panel + i * P::SLICE_BYTES,
                                      panel + slices * P::SLICE_BYTES + i * P::TAIL, lane);
        P::unpack(r, lane, (uint32_t *)to->q, to->s, to->m);
    }
};

/* Rows of a table whose rows lie in panels. A thread makes a unit. */
template <class F> DEVICE void panel_fetch(const struct fetch_args &a)
{
    typedef typename F::panel P;
    const int64_t t = blockIdx.x, units = a.cols / 32, slices = panel_slices(a.cols);
    const int64_t row = fetch_row(a, t);
    const uint8_t *panel = a.w + row / PANEL * a.row_bytes, *tail = panel + slices * P::SLICE_BYTES;

    if (row == FETCH_NONE || fetch_embd(a, t, row))
        return;
    for (int64_t u = threadIdx.x; u < units; u += MAP_THREADS) {
        const int64_t i = u / SLICE;
        const int lane = (int)(u % SLICE) * PANEL + (int)(row % PANEL);
        float *y = at_row(a.out, t) + 32 * u;
        typename P::raw r;
        uint32_t w[8];
        float s[2], m[2];

        P::template load<from_memory>(&r, panel + i * P::SLICE_BYTES, tail + i * P::TAIL, lane);
        P::unpack(r, lane, w, s, m);
#pragma unroll
        for (int k = 0; k < 32; k++) {
            const float q = (float)(int8_t)(w[k / 4] >> k % 4 * 8);
            const float v = F::MIN ? s[k / F::SUB] * q + m[k / F::SUB] : s[k / F::SUB] * q;
            fetch_put(a, &y[k], v);
        }
    }
}

/* From the file's order; a thread takes a unit, a block a panel. */
template <class F> DEVICE void panel_repack(const struct repack_args &a)
{
    typedef typename F::panel P;
    const int64_t slices = panel_slices(a.cols), units = a.cols / 32;
    uint8_t *panel = a.to + (int64_t)blockIdx.x * a.panel_bytes;

    for (int64_t i = threadIdx.x; i < slices * WARP; i += MAP_THREADS) {
        const int lane = (int)(i % WARP);
        const int64_t u = i / WARP * SLICE + lane / PANEL;
        const uint8_t *row = a.from + ((int64_t)blockIdx.x * PANEL + lane % PANEL) * a.row_bytes;

        if (u < units)
            P::put(panel + i / WARP * P::SLICE_BYTES,
                   panel + slices * P::SLICE_BYTES + i / WARP * P::TAIL, lane,
                   (const typename F::block *)row + u / F::PER_BLOCK, (int)(u % F::PER_BLOCK));
    }
}

#endif
