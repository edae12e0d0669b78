/* fmt.h - what every format header stands on: type ids, activation forms, the decode template.
 *
 * Common subset of C11 and C++17, because the format headers are compiled by nvcc too. A program
 * that only wants to know sizes and names includes quant.h; a kernel includes the format headers.
 */
#ifndef RILL_QUANT_FMT_H
#define RILL_QUANT_FMT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The type numbers of GGUF. Numbers missing here were given up (4, 5, 31-33, 36-38) or name
 * activations that no file holds (9 Q8_1, 15 Q8_K). */
enum fmt_id {
    FMT_F32 = 0,
    FMT_F16 = 1,
    FMT_Q4_0 = 2,
    FMT_Q4_1 = 3,
    FMT_Q5_0 = 6,
    FMT_Q5_1 = 7,
    FMT_Q8_0 = 8,
    FMT_Q8_1 = 9,
    FMT_Q2_K = 10,
    FMT_Q3_K = 11,
    FMT_Q4_K = 12,
    FMT_Q5_K = 13,
    FMT_Q6_K = 14,
    FMT_Q8_K = 15,
    FMT_IQ2_XXS = 16,
    FMT_IQ2_XS = 17,
    FMT_IQ3_XXS = 18,
    FMT_IQ1_S = 19,
    FMT_IQ4_NL = 20,
    FMT_IQ3_S = 21,
    FMT_IQ2_S = 22,
    FMT_IQ4_XS = 23,
    FMT_I8 = 24,
    FMT_I16 = 25,
    FMT_I32 = 26,
    FMT_I64 = 27,
    FMT_F64 = 28,
    FMT_IQ1_M = 29,
    FMT_BF16 = 30,
    FMT_TQ1_0 = 34,
    FMT_TQ2_0 = 35,
    FMT_MXFP4 = 39,
    FMT_NVFP4 = 40,
    FMT_ID_END, // one past the last number
    FMT_KV_F8 = 255, // keys and values only: 8 bits e4m3, in no file of GGUF (half.h)
};

/* The form of activations a format's dot product wants. */
enum fmt_act { ACT_F32, ACT_Q8 };

/* How the functions of formats are declared; a device compiler may have said otherwise. */
#ifndef FMT_FN
#ifdef __CUDACC__
#define FMT_FN static inline __host__ __device__
#else
#define FMT_FN static inline
#endif
#endif

#ifdef __cplusplus
#define FMT_SIZE(type, bytes) static_assert(sizeof(type) == (bytes), "layout of " #type)
#else
#define FMT_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "layout of " #type)
#endif

/* For hooks: FMT_F(get) is q4_k_get where FMT is q4_k; FMT_T is struct q4_k. */
#define FMT_PASTE2(a, b) a##_##b
#define FMT_PASTE(a, b)  FMT_PASTE2(a, b)
#define FMT_F(what)      FMT_PASTE(FMT, what)
#define FMT_T            struct FMT

/* Little-endian words inside byte arrays, which have no alignment of their own. */
FMT_FN unsigned fmt_u16(const uint8_t *p)
{
    return (unsigned)p[0] | (unsigned)p[1] << 8;
}

FMT_FN uint32_t fmt_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Rounds to nearest, halves away from zero, and keeps the result within [lo, hi], lo <= 0 <= hi;
 * not a number gives 0. What encoders use: no input makes the conversion undefined. */
FMT_FN int fmt_round(float x, int lo, int hi)
{
    if (!(x > (float)lo - 1.0f))
        return x < 0.0f ? lo : 0;
    if (x >= (float)hi)
        return hi;
    int t = (int)x;
    float rest = x - (float)t;
    t += (rest >= 0.5f) - (rest <= -0.5f);
    return t < lo ? lo : t > hi ? hi : t;
}

/* Cuts towards zero, within [lo, hi], lo <= 0 <= hi; not a number gives 0. */
FMT_FN int fmt_cut(float x, int lo, int hi)
{
    if (!(x > (float)lo))
        return x < 0.0f ? lo : 0;
    return x >= (float)hi ? hi : (int)x;
}

/* A whole block from codes and scales. It equals get() in every bit, because each format's scale is
 * computed in the order get() computes it. Without a min nothing is added: -0 stays -0. */
#define FMT_DECODE(name, block, sub)                                                               \
    FMT_FN void name##_decode(const struct name *b, float *out)                                    \
    {                                                                                              \
        int8_t q[block];                                                                           \
        float s[(block) / (sub)], m[(block) / (sub)];                                              \
        name##_codes(b, q);                                                                        \
        name##_scales(b, s, m);                                                                    \
        for (int i = 0; i < (block); i++)                                                          \
            out[i] = s[i / (sub)] * (float)q[i];                                                   \
    }
#define FMT_DECODE_MIN(name, block, sub)                                                           \
    FMT_FN void name##_decode(const struct name *b, float *out)                                    \
    {                                                                                              \
        int8_t q[block];                                                                           \
        float s[(block) / (sub)], m[(block) / (sub)];                                              \
        name##_codes(b, q);                                                                        \
        name##_scales(b, s, m);                                                                    \
        for (int i = 0; i < (block); i++)                                                          \
            out[i] = s[i / (sub)] * (float)q[i] + m[i / (sub)];                                    \
    }

#endif
