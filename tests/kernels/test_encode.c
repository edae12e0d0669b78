/* test_encode.c - every level's encoders give the bytes of the definition. */
#include "kernels/encode.h"

#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"
#include "kernels/cpu/cpu_kernels.h"
#include "quant/k_fit.h"
#include "quant/quant.h"
#include "tests/suite.h"

enum { COLS = 256 * 5, ROWS = 24, ROW_BYTES = COLS * 8 };

/* Weights such as models have, and rows that searches stumble over. */
static void make_row(int r, float *x)
{
    for (int i = 0; i < COLS; i++) {
        float a = (float)rng_unit(1, (uint32_t)r, (uint64_t)i, 0);
        float b = (float)rng_unit(1, (uint32_t)r, (uint64_t)i, 1);

        x[i] = (a + b - 1.0f) * 0.05f;
        x[i] *= (float)rng_unit(2, (uint32_t)r, (uint64_t)i / 16, 0) < 0.1f ? 20.0f : 1.0f;
        switch (r) {
        case 0:
            x[i] = 0.0f;
            break;
        case 1:
            x[i] = -0.0f;
            break;
        case 2:
            x[i] = 0.125f;
            break;
        case 3:
            x[i] = -3.0f;
            break;
        case 4:
            x[i] = k_abs(x[i]);
            break;
        case 5:
            x[i] = -k_abs(x[i]);
            break;
        case 6:
            x[i] = i % 7 ? 0.0f : x[i];
            break;
        case 7:
            x[i] = i % 2 ? 1.0f : -1.0f;
            break;
        case 8:
            x[i] *= 1e-20f;
            break;
        case 9:
            x[i] *= 1e5f;
            break;
        case 10:
            x[i] = (float)(i % 16);
            break;
        case 11:
            x[i] = i < 300 ? 0.0f : x[i];
            break;
        case 12:
            x[i] *= 1e-38f;
            break;
        case 13:
            x[i] = i % 3 ? 0.0f : -0.0f;
            break;
        default:
            break;
        }
    }
}

static void compare(const struct cpu_kernels *k, const struct fmt_info *f, int r, const float *x,
                    const float *column, int cols)
{
    uint8_t want[ROW_BYTES], got[ROW_BYTES];
    size_t blocks = (size_t)(cols / f->block), bytes = blocks * (size_t)f->bytes;
    float mean2 = k_mean2(cols, x);

    memset(got, 0xa5, sizeof got);
    if (f->encode_weighted)
        f->encode_weighted(x, column, mean2, want, blocks);
    else
        f->encode(x, want, blocks);
    k->encode[f->id](x, column, mean2, got, blocks);
    for (size_t i = 0; i < bytes; i++)
        if (want[i] != got[i])
            ck_abort_msg("%s, %s%s, row %d, %d columns: block %zu byte %zu is %u, not %u", k->name,
                         f->name, column ? " weighted" : "", r, cols, i / (size_t)f->bytes,
                         i % (size_t)f->bytes, got[i], want[i]);
    ck_assert(got[bytes] == 0xa5);
}

START_TEST(levels_agree)
{
    float x[COLS], column[COLS];
    const struct cpu_kernels *k;

    thread_ieee();
    for (int i = 0; i < COLS; i++) {
        float u = (float)rng_unit(3, 0, (uint64_t)i, 0);

        column[i] = i % 50 == 3 ? 0.0f : u * u * u * 4.0f;
    }
    for (int l = 0; (k = cpu_level(l)) != NULL; l++)
        for (int r = 0; r < ROWS; r++) {
            make_row(r, x);
            for (int id = 0; id < FMT_ID_END; id++)
                for (int cols = COLS; k->encode[id] && cols >= 256; cols -= 512) {
                    compare(k, fmt_find(id), r, x, NULL, cols);
                    if (fmt_find(id)->encode_weighted)
                        compare(k, fmt_find(id), r, x, column, cols);
                }
        }
}
END_TEST

START_TEST(halves_come_back)
{
    const struct cpu_kernels *k;
    uint16_t *h = mem_array(65536, sizeof *h, NULL);
    float *x = mem_array(65536, sizeof *x, NULL);

    for (int i = 0; i < 65536; i++)
        h[i] = (uint16_t)i;
    for (int l = 0; (k = cpu_level(l)) != NULL; l++) {
        if (!k->decode_f16)
            continue;
        k->decode_f16(h, x, 65535);
        for (int i = 0; i < 65535; i++)
            if (f32_bits(x[i]) != f32_bits(f16_to_f32(h[i])))
                ck_abort_msg("%s: %04x", k->name, (unsigned)i);
    }
    mem_free(h);
    mem_free(x);
}
END_TEST

START_TEST(rows_by_the_door)
{
    float x[COLS], back[COLS];
    uint8_t out[ROW_BYTES];
    struct err e = {0};

    make_row(20, x);
    for (size_t i = 0; fmt_at(i); i++) {
        const struct fmt_info *f = fmt_at(i);
        struct encoder *c;
        struct decoder d;
        double off = 0.0, all = 0.0;

        if (!f->encode) {
            ck_assert_int_eq(encoder_new(&c, f->id, &e), E_UNSUPPORTED);
            e = (struct err){0};
            continue;
        }
        ck_ok(encoder_new(&c, f->id, &e), &e);
        encode_row(c, x, NULL, COLS, out);
        ck_ok(decoder_find(&d, f->id, &e), &e);
        decode_row(&d, out, COLS, back);
        for (int j = 0; j < COLS; j++) {
            off += (double)(back[j] - x[j]) * (double)(back[j] - x[j]);
            all += (double)x[j] * (double)x[j];
        }
        ck_assert_msg(off < (fmt_bpw(f->id) < 3.0 ? 0.4 : 0.05) * all, "%s: %g", f->name,
                      off / all);
        encoder_free(c);
    }
}
END_TEST

TEST_MAIN("kernels/encode", levels_agree, halves_come_back, rows_by_the_door)
