/* test_synth.c - random blocks have the deviation asked for and depend on their number only. */
#include "quant/synth.h"

#include <math.h>

#include "base/mem.h"
#include "tests/suite.h"

#define WEIGHTS 65536

START_TEST(deviation)
{
    static const float devs[] = {1.0f, 0.0221f, 0.004f};
    static _Alignas(8) uint8_t blocks[WEIGHTS * 8];
    static float w[WEIGHTS];

    for (size_t r = 0; fmt_at(r); r++) {
        const struct fmt_info *f = fmt_at(r);
        size_t n = WEIGHTS / (size_t)f->block;

        if (!synth_can(f)) {
            ck_assert_msg(f->name[0] == 'I' && f->name[1] != 'Q', "%s cannot be made", f->name);
            continue;
        }
        for (size_t k = 0; k < ARRAY_LEN(devs); k++) {
            double sum = 0.0, sq = 0.0, dev;

            if (f->id == FMT_NVFP4 && devs[k] < 0.006f)
                continue; /* its least scale alone is more */
            synth_blocks(f, blocks, 5, n, devs[k], 3);
            f->decode(blocks, w, n);
            for (int i = 0; i < WEIGHTS; i++) {
                sum += (double)w[i];
                sq += (double)w[i] * (double)w[i];
            }
            dev = sqrt(sq / WEIGHTS) / (double)devs[k];
            ck_assert_msg(fabs(dev - 1.0) < (f->id == FMT_NVFP4 ? 0.1 : 0.06),
                          "%s: deviation %g of that asked", f->name, dev);
            ck_assert_msg(fabs(sum / WEIGHTS) < 0.05 * (double)devs[k], "%s: mean %g", f->name,
                          sum / WEIGHTS);
        }
    }
}
END_TEST

START_TEST(pieces_in_any_order)
{
    for (size_t r = 0; fmt_at(r); r++) {
        const struct fmt_info *f = fmt_at(r);
        _Alignas(8) uint8_t whole[24 * FMT_BYTES_MAX], piece[24 * FMT_BYTES_MAX];
        size_t b = (size_t)f->bytes;

        if (!synth_can(f))
            continue;
        synth_blocks(f, whole, 100, 24, 0.02f, 9);
        synth_blocks(f, piece + 16 * b, 116, 8, 0.02f, 9);
        synth_blocks(f, piece, 100, 16, 0.02f, 9);
        ck_assert_msg(memcmp(whole, piece, 24 * b) == 0, "%s", f->name);
        ck_assert_msg(memcmp(whole, whole + 8 * b, 8 * b) != 0, "%s repeats", f->name);
        synth_blocks(f, piece, 100, 24, 0.02f, 10);
        ck_assert_msg(memcmp(whole, piece, 24 * b) != 0, "%s: the seed has no effect", f->name);
    }
}
END_TEST

TEST_MAIN("quant/synth", deviation, pieces_in_any_order)
