/* test_half.c - the small floating-point types, every value of each. */
#include "quant/half.h"

#include <math.h>

#include "base/mem.h"
#include "tests/suite.h"

/* libcheck notes every passed assertion in a file: too slow inside loops over values. */
#define CHECK(ok, ...)                                                                             \
    do {                                                                                           \
        if (!(ok))                                                                                 \
            ck_abort_msg(__VA_ARGS__);                                                             \
    } while (0)

/* The definition, in f64: sign * 2^(e - bias) * 1.f, or 0.f at the lowest exponent. */
static double value_of(unsigned bits, int exponent_bits, int fraction_bits, int bias)
{
    unsigned e = bits >> fraction_bits & ((1u << exponent_bits) - 1);
    unsigned f = bits & ((1u << fraction_bits) - 1);
    double m = (double)f / (double)(1u << fraction_bits);
    double v = e ? ldexp(1.0 + m, (int)e - bias) : ldexp(m, 1 - bias);

    return bits >> (exponent_bits + fraction_bits) & 1u ? -v : v;
}

START_TEST(f16_every_value)
{
    for (unsigned h = 0; h < 65536; h++) {
        float f = f16_to_f32((uint16_t)h);

        if ((h & 0x7c00) == 0x7c00) {
            CHECK(h & 0x3ff ? isnan(f) != 0 : isinf(f) != 0, "%04x", h);
            CHECK((signbit(f) != 0) == (int)(h >> 15 & 1), "%04x", h);
            /* a signalling one comes back quiet */
            CHECK(f32_to_f16(f) == (h & 0x3ff ? (h | 0x200u) : h), "%04x", h);
            continue;
        }
        CHECK((double)f == value_of(h, 5, 10, 15), "%04x", h);
        CHECK(f32_to_f16(f) == (h), "%04x", h);
    }
}
END_TEST

/* Between two neighbours the nearer is taken, the even one in the middle. */
START_TEST(f16_rounds_to_even)
{
    for (unsigned h = 0; h < 0x7bff; h++) {
        double a = value_of(h, 5, 10, 15), b = value_of(h + 1, 5, 10, 15);
        float mid = (float)((a + b) / 2);

        CHECK(f32_to_f16(mid) == (h & 1 ? h + 1 : h), "%04x", h);
        CHECK(f32_to_f16(-mid) == ((h & 1 ? h + 1 : h) | 0x8000u), "%04x", h);
        CHECK(f32_to_f16(nextafterf(mid, 0.0f)) == (h), "%04x", h);
        CHECK(f32_to_f16(nextafterf(mid, 1e9f)) == (h + 1), "%04x", h);
    }
    ck_assert_uint_eq(f32_to_f16(65519.99f), 0x7bff);
    ck_assert_uint_eq(f32_to_f16(65520.0f), 0x7c00);
    ck_assert_uint_eq(f32_to_f16(1e-45f), 0);
    ck_assert_uint_eq(f32_to_f16(-1e-45f), 0x8000);
}
END_TEST

START_TEST(bf16_every_value)
{
    for (unsigned h = 0; h < 65536; h++) {
        float f = bf16_to_f32((uint16_t)h);

        if ((h & 0x7f80) == 0x7f80 && h & 0x7f) {
            CHECK(isnan(f), "%04x", h);
            CHECK(f32_to_bf16(f) == (h | 0x40u), "%04x", h);
            continue;
        }
        CHECK(f32_bits(f) == (h << 16), "%04x", h);
        CHECK(f32_to_bf16(f) == (h), "%04x", h);
        if ((h & 0x7f80) != 0x7f80) {
            CHECK(f32_to_bf16(f32_of_bits(h << 16 | 0x8000u)) == (h + (h & 1)), "%04x", h);
            CHECK(f32_to_bf16(f32_of_bits(h << 16 | 0x7fffu)) == (h), "%04x", h);
            CHECK(f32_to_bf16(f32_of_bits(h << 16 | 0x8001u)) == (h + 1), "%04x", h);
        }
    }
}
END_TEST

START_TEST(scales_of_8_bits)
{
    for (int e = 0; e < 256; e++) {
        ck_assert((double)e8m0_half_to_f32((uint8_t)e) == ldexp(1.0, e - 128));
        if (e != 0x7f)
            ck_assert((double)ue4m3_half_to_f32((uint8_t)e) ==
                      value_of((unsigned)e & 0x7f, 4, 3, 7) / 2);
        if (e < 0x78)
            ck_assert_uint_eq(f32_to_ue4m3(2 * ue4m3_half_to_f32((uint8_t)e)), e);
    }
    ck_assert(ue4m3_half_to_f32(0x7f) == 0.0f);
    ck_assert_uint_eq(f32_to_ue4m3(NAN), 0);
    ck_assert_uint_eq(f32_to_ue4m3(-1.0f), 0);
    ck_assert_uint_eq(f32_to_ue4m3(INFINITY), 0x7e);
    ck_assert_uint_eq(f32_to_ue4m3(250.0f), 0x7e);
    ck_assert_uint_eq(f32_to_ue4m3(1.0f / 1024), 1); /* half of the least value goes up */
    ck_assert_uint_eq(f32_to_ue4m3(0.0009f), 0);
    ck_assert_uint_eq(f32_to_ue4m3(0.0156f), 7); /* the reference does not carry here */
}
END_TEST

START_TEST(e2m1_values)
{
    static const int8_t want[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

    for (unsigned c = 0; c < 16; c++) {
        ck_assert_int_eq(e2m1_doubled(c), want[c]);
        ck_assert_uint_eq(e2m1_nearest((float)want[c] * 0.5f, 0.5f), c == 8 ? 0 : c);
    }
    ck_assert_uint_eq(e2m1_nearest(2.5f, 1.0f), 2); /* of two equally near the first */
    ck_assert_uint_eq(e2m1_nearest(100.0f, 1.0f), 7);
    ck_assert_uint_eq(e2m1_nearest(NAN, 1.0f), 0);
}
END_TEST

START_TEST(rounding)
{
    ck_assert_int_eq(fmt_round(2.5f, -128, 127), 3);
    ck_assert_int_eq(fmt_round(-2.5f, -128, 127), -3);
    ck_assert_int_eq(fmt_round(0.49999997f, -128, 127), 0);
    ck_assert_int_eq(fmt_round(-127.7f, -128, 127), -128);
    ck_assert_int_eq(fmt_round(1e30f, -128, 127), 127);
    ck_assert_int_eq(fmt_round(-1e30f, -128, 127), -128);
    ck_assert_int_eq(fmt_round(NAN, -128, 127), 0);
    ck_assert_int_eq(fmt_cut(15.9f, 0, 31), 15);
    ck_assert_int_eq(fmt_cut(-0.9f, 0, 31), 0);
    ck_assert_int_eq(fmt_cut(NAN, 0, 31), 0);
    ck_assert_int_eq(fmt_cut(INFINITY, 0, 31), 31);
}
END_TEST

START_TEST(f8_every_value)
{
    for (unsigned v = 0; v < 0x7f; v++) {
        const float f = f8_to_f32((uint8_t)v), next = f8_to_f32((uint8_t)(v + 1));

        CHECK(f32_to_f8(f) == v && f32_to_f8(-f) == (v | 0x80), "%02x", v);
        CHECK(v < 8 ? f == (float)v / 512 : f == ldexpf((float)(8 + v % 8), (int)(v / 8) - 10),
              "%02x", v);
        if (v == 0x7e)
            break;
        CHECK(f32_to_f8((f + next) / 2) == v + v % 2, "%02x", v); /* halfway: to even */
        CHECK(f32_to_f8(nextafterf((f + next) / 2, next)) == v + 1, "%02x", v);
        CHECK(f32_to_f8(nextafterf((f + next) / 2, f)) == v, "%02x", v);
    }
    ck_assert_uint_eq(f32_to_f8(449), 0x7e);
    ck_assert_uint_eq(f32_to_f8(-INFINITY), 0xfe);
    ck_assert_uint_eq(f32_to_f8(NAN) & 0x7f, 0x7f);
    ck_assert(isnan(f8_to_f32(0x7f)));
}
END_TEST

TEST_MAIN("quant/half", f16_every_value, f16_rounds_to_even, bf16_every_value, f8_every_value,
          scales_of_8_bits, e2m1_values, rounding)
