/* test_search.c - scales that are searched for: no block gets worse, rows get better, in the layout
 * of the format, whatever the weights are. */
#include "tests/suite.h"

#include <math.h>

#include "base/mem.h"
#include "base/rng.h"
#include "quant/quant.h"
#include "quant/search.h"

enum { N = 2048 };

static float uniform(uint64_t i, uint64_t draw)
{
    return (float)((double)(rng_bits(7, i, draw, 0) >> 11) * 0x1p-53);
}

/* Something like weights: sums of uniform numbers, a few of them far out. */
static void fill(float *x, int kind)
{
    for (uint64_t i = 0; i < N; i++) {
        float v = uniform(i, 1) + uniform(i, 2) + uniform(i, 3) - 1.5f;

        switch (kind) {
        case 0:
            x[i] = 0.04f * v;
            break;
        case 1:
            x[i] = uniform(i, 4) < 0.01f ? 2.0f * v : 0.02f * v;
            break;
        case 2:
            x[i] = 0.5f + 0.1f * v;
            break; /* one sign */
        case 3:
            x[i] = i / 64 % 2 ? 0.0f : 1e-7f * v;
            break; /* zeros, tiny ones */
        case 4:
            x[i] = 3e4f * v;
            break; /* large ones */
        default:
            x[i] = i % 32 == 5 ? -1.0f : 0.0f;
            break; /* one in each part */
        }
    }
}

static double error_of(const float *x, const float *y, const float *w, int n)
{
    double sum = 0.0;

    for (int i = 0; i < n; i++)
        sum += (double)w[i] * ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    return sum;
}

static void encode(const struct fmt_info *f, const float *x, const float *w, uint8_t *out)
{
    if (!f->encode_weighted) {
        f->encode(x, out, N / (size_t)f->block);
        return;
    }
    f->encode_weighted(x, w, 0.01f, out, N / (size_t)f->block);
}

static void check(const struct fmt_info *f, int kind, bool weighted)
{
    static float x[N], y[N], z[N], w[N], column[N];
    static uint8_t first[N * 4], then[N * 4], again[N * 4];
    size_t bytes = N / (size_t)f->block * (size_t)f->bytes;
    double before, after;

    fill(x, kind);
    for (uint64_t i = 0; i < N; i++)
        w[i] = i % 97 == 0 ? 0.0f : 0.1f + 3.0f * uniform(i, 9);
    if (weighted) /* from here on, what the error is counted by */
        memcpy(column, w, sizeof column);
    for (int i = 0; i < N; i += f->block)
        search_weigh(f->block, x + i, weighted ? column + i : NULL, w + i);
    encode(f, x, weighted ? column : NULL, first);
    memcpy(then, first, bytes);
    search_row(f->id, x, weighted ? column : NULL, N, then);
    f->decode(first, y, N / (size_t)f->block);
    f->decode(then, z, N / (size_t)f->block);
    for (int i = 0; i < N; i += f->block) {
        before = error_of(x + i, y + i, w + i, f->block);
        after = error_of(x + i, z + i, w + i, f->block);
        ck_assert_msg(after <= before * 1.000001, "%s, kind %d: block %d: %g, was %g", f->name,
                      kind, i / f->block, after, before);
    }
    before = error_of(x, y, w, N);
    after = error_of(x, z, w, N);
    if (kind < 3)
        ck_assert_msg(after < before, "%s, kind %d: %g, was %g", f->name, kind, after, before);
    /* a row is its blocks, in any cut */
    memcpy(again, first, bytes);
    for (int i = 0; i < N; i += f->block)
        search_row(f->id, x + i, weighted ? column + i : NULL, (uint64_t)f->block,
                   again + i / f->block * f->bytes);
    ck_assert_mem_eq(again, then, bytes);
}

START_TEST(errors_drop)
{
    int n = 0;

    for (size_t i = 0; fmt_at(i); i++) {
        const struct fmt_info *f = fmt_at(i);

        if (!search_exists(f->id))
            continue;
        n++;
        for (int kind = 0; kind < 6; kind++)
            for (int weighted = 0; weighted < 2; weighted++)
                check(f, kind, weighted);
    }
    ck_assert_int_eq(n, 12);
}
END_TEST

/* Blocks as they may come from anywhere: scales that are infinite or NaN, codes of all kinds. */
START_TEST(any_block_will_do)
{
    static float x[256];
    uint8_t block[FMT_BYTES_MAX];

    for (uint64_t i = 0; i < 256; i++)
        x[i] = uniform(i, 1) - 0.5f;
    for (size_t i = 0; fmt_at(i); i++)
        for (uint64_t round = 0; search_exists(fmt_at(i)->id) && round < 200; round++) {
            for (uint64_t k = 0; k < sizeof block; k++)
                block[k] = (uint8_t)rng_bits(3, round, k, 0);
            search_row(fmt_at(i)->id, x, NULL, (uint64_t)fmt_at(i)->block, block);
        }
}
END_TEST

START_TEST(others_stay)
{
    static const float x[256] = {1.0f};
    uint8_t block[FMT_BYTES_MAX], was[FMT_BYTES_MAX];

    memset(block, 0x5a, sizeof block);
    memcpy(was, block, sizeof was);
    ck_assert(!search_exists(FMT_IQ2_XS) && !search_exists(FMT_F16) && !search_exists(-1) &&
              !search_exists(FMT_ID_END));
    search_row(FMT_IQ2_XS, x, NULL, 256, block);
    ck_assert_mem_eq(block, was, sizeof was);
}
END_TEST

TEST_MAIN("quant/search", errors_drop, any_block_will_do, others_stay)
