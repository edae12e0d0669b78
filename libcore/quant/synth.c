/* synth.c - see synth.h.
 *
 * A block is random bytes; then the bytes of its scale are overwritten. How is a table column.
 */
#include "quant/synth.h"

#include <assert.h>
#include <math.h>

#include "base/mem.h"
#include "base/rng.h"
#include "quant/half.h"

enum kind { HALF, IQ1_M, TERNARY, E8M0, UE4M3, FLOATS };

/* spread is the deviation of the weights of a random block whose scale is 1 (measured; the test
 * measures it again). A min is ratio times the scale, which brings the mean to 0. */
struct recipe {
    enum fmt_id id;
    enum kind kind;
    int at;     // byte of the binary16 scale
    int at_min; // byte of the binary16 min; 0: none
    float ratio;
    float spread;
};

static const struct recipe recipes[] = {
    {FMT_F32, FLOATS, 0, 0, 0.0f, 1.0f},        {FMT_F16, FLOATS, 0, 0, 0.0f, 1.0f},
    {FMT_BF16, FLOATS, 0, 0, 0.0f, 1.0f},       {FMT_F64, FLOATS, 0, 0, 0.0f, 1.0f},
    {FMT_Q4_0, HALF, 0, 0, 0.0f, 4.637f},       {FMT_Q4_1, HALF, 0, 2, -7.5f, 4.61f},
    {FMT_Q5_0, HALF, 0, 0, 0.0f, 9.247f},       {FMT_Q5_1, HALF, 0, 2, -15.5f, 9.233f},
    {FMT_Q8_0, HALF, 0, 0, 0.0f, 73.9f},        {FMT_Q2_K, HALF, 80, 82, 1.5f, 13.92f},
    {FMT_Q3_K, HALF, 108, 0, 0.0f, 43.46f},     {FMT_Q4_K, HALF, 0, 2, 7.5f, 257.6f},
    {FMT_Q5_K, HALF, 0, 2, 15.5f, 530.3f},      {FMT_Q6_K, HALF, 208, 0, 0.0f, 1369.0f},
    {FMT_IQ2_XXS, HALF, 0, 0, 0.0f, 53.6f},     {FMT_IQ2_XS, HALF, 0, 0, 0.0f, 56.0f},
    {FMT_IQ2_S, HALF, 0, 0, 0.0f, 56.6f},       {FMT_IQ3_XXS, HALF, 0, 0, 0.0f, 143.0f},
    {FMT_IQ3_S, HALF, 0, 0, 0.0f, 140.0f},      {FMT_IQ1_S, HALF, 0, 0, 0.0f, 7.2f},
    {FMT_IQ1_M, IQ1_M, 0, 0, 0.0f, 7.2f},       {FMT_IQ4_NL, HALF, 0, 0, 0.0f, 67.5f},
    {FMT_IQ4_XS, HALF, 0, 0, 0.0f, 1251.0f},    {FMT_TQ1_0, HALF, 52, 0, 0.0f, 0.8165f},
    {FMT_TQ2_0, TERNARY, 64, 0, 0.0f, 0.7071f}, {FMT_MXFP4, E8M0, 0, 0, 0.0f, 5.852f},
    {FMT_NVFP4, UE4M3, 0, 0, 0.0f, 5.852f},
};

static const struct recipe *recipe_find(enum fmt_id id)
{
    for (size_t i = 0; i < ARRAY_LEN(recipes); i++)
        if (recipes[i].id == id)
            return &recipes[i];
    return NULL;
}

/* Nearly normal, deviation 1: four uniform numbers of 16 bits, at most 3.5. */
static float normal(uint64_t bits)
{
    int32_t sum =
        (int32_t)((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48)) -
        2 * 65535;

    return (float)sum * (1.7320508f / 65536.0f);
}

static void float_put(enum fmt_id id, void *out, size_t i, float v)
{
    if (id == FMT_F32)
        ((float *)out)[i] = v;
    else if (id == FMT_F64)
        ((double *)out)[i] = (double)v;
    else
        ((uint16_t *)out)[i] = id == FMT_F16 ? f32_to_f16(v) : f32_to_bf16(v);
}

static void half_put(uint8_t *at, float v)
{
    uint16_t h = f32_to_f16(v);

    memcpy(at, &h, sizeof h);
}

/* A power of two whose square is on average the square of d: 2^k, or in some blocks 2^(k + 1). */
static uint8_t e8m0_near(float d, float unit)
{
    int k;
    float f = 2.0f * frexpf(d, &k); /* d = f * 2^(k-1), f in [1, 2) */
    int e = k - 1 + 128 + (3.0f * unit < f * f - 1.0f);

    return (uint8_t)(e < 0 ? 0 : e > 254 ? 254 : e);
}

/* Puts the scale d into a block of random bytes; extra is 64 more random bits. */
static void scale_put(const struct recipe *r, uint8_t *b, float d, uint64_t extra)
{
    /* 3/4 to 5/4 of d, of either sign (format by format codes lean to one side), the mean square
     * being d * d: the root of the mean of (3/4 + u/2)^2 is 1.0104 */
    float unit = (float)(extra >> 40) * 0x1p-24f;
    float jittered = d * (0.75f + 0.5f * unit) / 1.0104f * (extra & 1 ? -1.0f : 1.0f);

    switch (r->kind) {
    case TERNARY:
        for (int i = 0; i < r->at; i++) /* 3 would mean 2 */
            b[i] = (uint8_t)(b[i] & ~((b[i] & b[i] >> 1 & 0x55) << 1));
        half_put(b + r->at, jittered);
        break;
    case HALF:
        half_put(b + r->at, jittered);
        if (r->at_min)
            half_put(b + r->at_min, jittered * r->ratio);
        break;
    case IQ1_M:
        for (int k = 0; k < 4; k++)
            b[49 + 2 * k] =
                (uint8_t)((b[49 + 2 * k] & 15) | (f32_to_f16(jittered) >> 4 * k & 15) << 4);
        break;
    case E8M0:
        b[0] = e8m0_near(d, unit);
        break;
    case UE4M3:
        for (int p = 0; p < 4; p++) {
            uint8_t e = f32_to_ue4m3(2.0f * fabsf(jittered));

            b[p] = e ? e : 1;
        }
        break;
    case FLOATS:
        break;
    }
}

bool synth_can(const struct fmt_info *f)
{
    return recipe_find(f->id) != NULL;
}

void synth_blocks(const struct fmt_info *f, void *out, uint64_t first, size_t n, float dev,
                  uint64_t seed)
{
    const struct recipe *r = recipe_find(f->id);
    uint64_t words = (uint64_t)(f->bytes + 7) / 8 + 1;
    uint8_t *b = (uint8_t *)out;

    assert(r);
    if (r->kind == FLOATS) {
        for (size_t i = 0; i < n; i++)
            float_put(f->id, out, i, dev * normal(rng_bits(seed, 0, first + i, 0)));
        return;
    }
    for (size_t i = 0; i < n; i++, b += f->bytes) {
        struct rng rng = {seed, (first + i) * words};

        for (int k = 0; k < f->bytes; k += 8) {
            uint64_t bits = rng_next(&rng);

            memcpy(b + k, &bits, f->bytes - k < 8 ? (size_t)(f->bytes - k) : 8);
        }
        scale_put(r, b, dev / r->spread, rng_next(&rng));
    }
}
