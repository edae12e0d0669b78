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

        ck_assert(encoder_exists(f->id) == (f->encode || f->id <= FMT_IQ2_S || f->id == FMT_IQ1_M));
        if (!encoder_exists(f->id)) {
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
        ck_assert_msg(off < (fmt_bpw(f->id) < 3.0 ? 0.5 : 0.05) * all, "%s: %g", f->name,
                      off / all);
        encoder_free(c);
    }
}
END_TEST

static bool part_of_zeros(const float *x)
{
    bool any = false;

    for (int p = 0; p < 8; p++) {
        bool zero = true;

        for (int i = 0; i < 32; i++)
            zero = zero && x[32 * p + i] == 0.0f;
        any = any || zero;
    }
    return any;
}

/* What the reference makes of the same weights, columns counting differently. Its IQ3_S puts what
 * follows a part of zeros in the wrong place; ours does not. */
START_TEST(bytes_of_the_reference)
{
    float x[8192], column[256];
    uint8_t want[65536], got[65536];
    struct err e = {0};
    FILE *f = fopen(srcfile("tests/golden/quant/in.f32"), "rb");
    size_t n, seen = 0;

    ck_assert(f != NULL);
    n = fread(x, sizeof *x, ARRAY_LEN(x), f) / 256;
    fclose(f);
    thread_ieee();
    for (int c = 0; c < 256; c++) {
        float u = (float)(c * 37 % 256) / 256.0f;

        column[c] = u * u + 1.0f / 64.0f;
    }
    for (size_t i = 0; fmt_at(i); i++) {
        char path[64];
        size_t k, row = 256 / (size_t)fmt_at(i)->block * (size_t)fmt_at(i)->bytes;
        struct encoder *c;

        k = (size_t)snprintf(path, sizeof path, "tests/golden/quant/%s.wenc", fmt_at(i)->name);
        for (size_t j = sizeof "tests/golden/quant/" - 1; j < k - 5; j++)
            path[j] = (char)(path[j] >= 'A' && path[j] <= 'Z' ? path[j] + 32 : path[j]);
        f = fopen(srcfile(path), "rb");
        if (!f)
            continue;
        ck_assert_uint_eq(fread(want, 1, sizeof want, f), n * row);
        fclose(f);
        ck_ok(encoder_new(&c, fmt_at(i)->id, &e), &e);
        for (size_t r = 0; r < n; r++)
            encode_row(c, x + 256 * r, column, 256, got + r * row);
        for (size_t b = 0; b < n * row; b++)
            if (got[b] != want[b] &&
                !(fmt_at(i)->id == FMT_IQ3_S && part_of_zeros(x + b / row * 256)))
                ck_abort_msg("%s: row %zu byte %zu is %u, not %u", fmt_at(i)->name, b / row,
                             b % row, got[b], want[b]);
        encoder_free(c);
        seen++;
    }
    ck_assert_uint_eq(seen, 17);
}
END_TEST

TEST_MAIN("kernels/encode", levels_agree, halves_come_back, rows_by_the_door,
          bytes_of_the_reference)
