/* test_quant.c - every format against the reference implementation's bits and against itself. */
#include "quant/quant.h"

#include <math.h>

#include "base/mem.h"
#include "base/rng.h"
#include "tests/suite.h"

/* libcheck notes every passed assertion in a file: too slow inside loops over values. */
#define CHECK(ok, ...)                                                                             \
    do {                                                                                           \
        if (!(ok))                                                                                 \
            ck_abort_msg(__VA_ARGS__);                                                             \
    } while (0)

#define MAX_BLOCKS 64

/* Reads up to cap bytes of a file of the source tree or of the test data. */
static size_t slurp(const char *path, void *out, size_t cap)
{
    FILE *f = fopen(path, "rb");
    size_t n;

    if (!f)
        return 0;
    n = fread(out, 1, cap, f);
    ck_assert_msg(n < cap, "%s: larger than %zu bytes", path, cap);
    fclose(f);
    return n;
}

static const char *lower(const char *name)
{
    static char out[16];
    size_t i = 0;

    for (; name[i] && i < sizeof out - 1; i++)
        out[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] - 'A' + 'a' : name[i]);
    out[i] = 0;
    return out;
}

static size_t golden(const struct fmt_info *f, const char *suffix, void *out, size_t cap)
{
    char name[64];

    snprintf(name, sizeof name, "tests/golden/quant/%s%s", lower(f->name), suffix);
    return slurp(srcfile(name), out, cap);
}

static bool same(float a, float b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

/* get, decode, codes and scales of one block tell the same weights. */
static void check_block(const struct fmt_info *f, const void *block)
{
    float out[FMT_BLOCK_MAX], s[FMT_SUBS_MAX], m[FMT_SUBS_MAX];
    int8_t q[FMT_BLOCK_MAX];
    float top = 0.0f;
    bool finite = true;

    f->decode(block, out, 1);
    for (int i = 0; i < f->block; i++) {
        float w = f->get(block, i);

        CHECK(same(out[i], w), "%s: weight %d: decode %a, get %a", f->name, i, (double)out[i],
              (double)w);
        top = fmaxf(top, fabsf(w));
        finite = finite && isfinite(w);
    }
    if (!f->sub || !finite)
        return;
    f->codes(block, q);
    f->scales(block, s, m);
    for (int i = 0; i < f->block; i++) {
        double w = (double)s[i / f->sub] * q[i] + (double)m[i / f->sub];
        double bound = 1e-6 * fmax((double)top, fabs((double)s[i / f->sub]) * abs(q[i]));

        CHECK(fabs(w - (double)out[i]) <= bound, "%s: weight %d: %g from code %d, not %g", f->name,
              i, w, q[i], (double)out[i]);
        CHECK(f->has_min || m[i / f->sub] == 0.0f, "%s: a min", f->name);
    }
}

/* Blocks whose weights the Python package gguf has decoded. */
START_TEST(decodes_as_the_reference)
{
    static _Alignas(8) uint8_t file[65536];
    int with_golden = 0;

    for (size_t r = 0; fmt_at(r); r++) {
        const struct fmt_info *f = fmt_at(r);
        size_t n = golden(f, ".dec", file, sizeof file);
        size_t each = (size_t)f->bytes + 4 * (size_t)f->block;
        float out[FMT_BLOCK_MAX];

        if (n == 0) {
            CHECK(f->sub == 0, "%s: no golden file", f->name);
            continue;
        }
        with_golden++;
        ck_assert_msg(n % each == 0, "%s: golden file of %zu bytes", f->name, n);
        n /= each;
        for (size_t i = 0; i < n; i++) {
            const uint8_t *block = file + i * (size_t)f->bytes;
            const uint8_t *want = file + n * (size_t)f->bytes + 4 * i * (size_t)f->block;

            f->decode(block, out, 1);
            for (int j = 0; j < f->block; j++) {
                float w;

                memcpy(&w, want + 4 * j, 4);
                CHECK(memcmp(&w, &out[j], 4) == 0, "%s: block %zu, weight %d: %a, not %a", f->name,
                      i, j, (double)out[j], (double)w);
            }
            check_block(f, block);
        }
    }
    ck_assert_int_eq(with_golden, 25);
}
END_TEST

START_TEST(encodes_as_the_reference)
{
    static float in[1537];
    static uint8_t want[8192], got[8192];
    int with_golden = 0;

    ck_assert_uint_eq(slurp(srcfile("tests/golden/quant/in.f32"), in, sizeof in), 1536 * 4);
    for (size_t r = 0; fmt_at(r); r++) {
        const struct fmt_info *f = fmt_at(r);
        size_t n = golden(f, ".enc", want, sizeof want);
        size_t blocks = 1536 / (size_t)f->block;

        if (n == 0)
            continue;
        with_golden++;
        ck_assert_msg(f->encode != NULL, "%s: no encoder", f->name);
        ck_assert_uint_eq(n, blocks * (size_t)f->bytes);
        f->encode(in, got, blocks);
        for (size_t i = 0; i < n; i++)
            CHECK(got[i] == want[i], "%s: block %zu, byte %zu: %02x, not %02x", f->name,
                  i / (size_t)f->bytes, i % (size_t)f->bytes, got[i], want[i]);
    }
    ck_assert_int_eq(with_golden, 10);
}
END_TEST

/* The reference's own quantizer in C (made on another machine): our decoder reads its blocks back
 * to within a step of the input, and our encoders, where there are any, make the same bytes. */
START_TEST(agrees_with_foreign_blocks)
{
    static const struct {
        const char *name;
        size_t row;
        double off; // root mean square error over root mean square, at most
    } files[] = {{"q4_0", 64, 0.12},  {"q4_1", 64, 0.10},  {"q5_0", 64, 0.06},
                 {"q5_1", 64, 0.05},  {"q8_0", 64, 0.01},  {"iq4_nl", 64, 0.10},
                 {"q2_k", 512, 0.40}, {"q3_k", 512, 0.20}, {"q4_k", 512, 0.10},
                 {"q5_k", 512, 0.05}, {"q6_k", 512, 0.03}};

    for (size_t k = 0; k < ARRAY_LEN(files); k++) {
        static float in[1025], out[1024];
        static _Alignas(8) uint8_t want[2048], got[2048];
        const struct fmt_info *f = fmt_by_name(slice_of(files[k].name));
        size_t n = 2 * files[k].row;
        char name[96];
        const char *path;
        double off = 0.0, all = 0.0;

        snprintf(name, sizeof name, "quant/ggml_quants/%s_%zu_noim_input.bin", files[k].name,
                 files[k].row);
        path = testdata(name);
        if (!path)
            return;
        ck_assert_uint_eq(slurp(path, in, sizeof in), 4 * n);
        snprintf(name, sizeof name, "quant/ggml_quants/%s_%zu_noim_expected.bin", files[k].name,
                 files[k].row);
        path = testdata(name);
        if (!path)
            return;
        ck_assert_uint_eq(slurp(path, want, sizeof want), n / (size_t)f->block * (size_t)f->bytes);
        f->decode(want, out, n / (size_t)f->block);
        for (size_t i = 0; i < n; i++) {
            off += ((double)out[i] - (double)in[i]) * ((double)out[i] - (double)in[i]);
            all += (double)in[i] * (double)in[i];
        }
        ck_assert_msg(sqrt(off / all) < files[k].off, "%s: error %g", f->name, sqrt(off / all));
        if (!f->encode)
            continue;
        f->encode(in, got, n / (size_t)f->block);
        for (size_t i = 0; i < n / (size_t)f->block * (size_t)f->bytes; i++)
            CHECK(got[i] == want[i], "%s: byte %zu: %02x, not %02x", f->name, i, got[i], want[i]);
    }
}
END_TEST

/* Any bytes decode without leaving a table or a defined shift (the sanitizers watch). */
START_TEST(any_bytes_decode)
{
    struct rng rng = {7, 0};

    for (size_t r = 0; fmt_at(r); r++) {
        const struct fmt_info *f = fmt_at(r);
        _Alignas(8) uint8_t block[FMT_BYTES_MAX];

        for (int fill = 0; fill < 256; fill += fill == 0 ? 127 : 128) {
            memset(block, fill, sizeof block);
            check_block(f, block);
        }
        for (int n = 0; n < 300; n++) {
            for (int i = 0; i < f->bytes; i++)
                block[i] = (uint8_t)rng_next(&rng);
            check_block(f, block);
        }
    }
}
END_TEST

/* Values no weight should have: encoders give some block, and do not fall over. */
START_TEST(any_values_encode)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY, 3.4e38f, -3.4e38f, 1e-45f, -0.0f, 0.0f};
    struct rng rng = {8, 0};

    for (size_t r = 0; fmt_at(r); r++) {
        const struct fmt_info *f = fmt_at(r);
        _Alignas(8) uint8_t block[FMT_BYTES_MAX];
        float in[FMT_BLOCK_MAX];

        for (int n = 0; f->encode && n < 200; n++) {
            for (int i = 0; i < f->block; i++) {
                uint64_t bits = rng_next(&rng);
                uint32_t any = (uint32_t)bits;

                in[i] = odd[bits >> 40 & 7];
                if (bits >> 50 & 1)
                    memcpy(&in[i], &any, 4);
            }
            f->encode(in, block, 1);
            check_block(f, block);
        }
    }
}
END_TEST

/* Normal weights come back to within what the bits of a format allow. */
START_TEST(encoding_keeps_weights)
{
    static float in[2048], out[2048];
    static _Alignas(8) uint8_t blocks[16384];
    struct rng rng = {11, 0};

    for (size_t i = 0; i < ARRAY_LEN(in); i++)
        in[i] = 0.02f * (float)rng_next_normal(&rng);
    for (size_t r = 0; fmt_at(r); r++) {
        const struct fmt_info *f = fmt_at(r);
        double off = 0.0, all = 0.0;

        if (!f->encode || f->id == FMT_TQ1_0 || f->id == FMT_TQ2_0 || f->id == FMT_NVFP4)
            continue; /* three values keep little; without a tensor scale e4m3 is too coarse */
        f->encode(in, blocks, ARRAY_LEN(in) / (size_t)f->block);
        f->decode(blocks, out, ARRAY_LEN(in) / (size_t)f->block);
        for (size_t i = 0; i < ARRAY_LEN(in); i++) {
            off += ((double)out[i] - (double)in[i]) * ((double)out[i] - (double)in[i]);
            all += (double)in[i] * (double)in[i];
        }
        off = sqrt(off / all);
        if (f->sub)
            ck_assert_msg(off < 2.8 * exp2(-fmt_bpw(f->id)), "%s: error %g", f->name, off);
        else
            ck_assert_msg(off < 3e-3, "%s: error %g", f->name, off);
        if (f->id == FMT_IQ4_XS || f->id == FMT_Q4_K)
            ck_assert_msg(off < 0.08, "%s: error %g", f->name, off);
    }
}
END_TEST

START_TEST(zero_blocks_stay_zero)
{
    for (size_t r = 0; fmt_at(r); r++) {
        const struct fmt_info *f = fmt_at(r);
        _Alignas(8) uint8_t block[FMT_BYTES_MAX];
        float in[FMT_BLOCK_MAX] = {0}, out[FMT_BLOCK_MAX];

        if (!f->encode)
            continue;
        memset(block, 0xff, sizeof block);
        f->encode(in, block, 1);
        f->decode(block, out, 1);
        for (int i = 0; i < f->block; i++)
            CHECK(out[i] == 0.0f, "%s: weight %d is %g", f->name, i, (double)out[i]);
    }
}
END_TEST

START_TEST(table_is_in_order)
{
    static const struct {
        int id, block, bytes;
    } ggml[] = {{0, 1, 4},      {1, 1, 2},      {2, 32, 18},    {3, 32, 20},    {6, 32, 22},
                {7, 32, 24},    {8, 32, 34},    {10, 256, 84},  {11, 256, 110}, {12, 256, 144},
                {13, 256, 176}, {14, 256, 210}, {16, 256, 66},  {17, 256, 74},  {18, 256, 98},
                {19, 256, 50},  {20, 32, 18},   {21, 256, 110}, {22, 256, 82},  {23, 256, 136},
                {24, 1, 1},     {25, 1, 2},     {26, 1, 4},     {27, 1, 8},     {28, 1, 8},
                {29, 256, 56},  {30, 1, 2},     {34, 256, 54},  {35, 256, 66},  {39, 32, 17},
                {40, 64, 36}};
    size_t r = 0;

    for (; fmt_at(r); r++) {
        const struct fmt_info *f = fmt_at(r);

        ck_assert_uint_lt(r, ARRAY_LEN(ggml));
        ck_assert_int_eq(f->id, ggml[r].id);
        ck_assert_int_eq(f->block, ggml[r].block);
        ck_assert_int_eq(f->bytes, ggml[r].bytes);
        ck_assert(f->sub == 0 || f->sub == 16 || f->sub == 32);
        ck_assert(!f->codes == !f->sub && !f->scales == !f->sub);
        ck_assert(f->act == (f->sub ? ACT_Q8 : ACT_F32));
        ck_assert(f->tol > 0.0f && f->tol < 0.1f);
        ck_assert_ptr_eq(fmt_find(f->id), f);
        ck_assert_ptr_eq(fmt_by_name(slice_of(f->name)), f);
        ck_assert_ptr_eq(fmt_by_name(slice_of(lower(f->name))), f);
        ck_assert_ptr_eq(fmt_nearest(slice_of(f->name)), f);
    }
    ck_assert_uint_eq(r, ARRAY_LEN(ggml));
}
END_TEST

START_TEST(names)
{
    static const int none[] = {-1, 4, 5, 9, 15, 31, 32, 33, 36, 37, 38, 1000, INT32_MAX, INT32_MIN};
    char longer[100];

    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        ck_assert_ptr_null(fmt_find(none[i]));
    ck_assert_ptr_null(fmt_by_name(SLICE("")));
    ck_assert_ptr_null(fmt_by_name(SLICE("Q4")));
    ck_assert_ptr_null(fmt_by_name(SLICE("Q4_K_M")));
    ck_assert_ptr_null(fmt_by_name((struct slice){NULL, 0}));
    ck_assert_ptr_null(fmt_by_name((struct slice){"F32", 4}));
    ck_assert_int_eq(fmt_by_name((struct slice){"q4_0x", 4})->id, FMT_Q4_0);
    ck_assert_str_eq(fmt_nearest(SLICE("q4k"))->name, "Q4_K");
    ck_assert_str_eq(fmt_nearest(SLICE("iq3xxs"))->name, "IQ3_XXS");
    ck_assert_str_eq(fmt_nearest(SLICE("bfloat16"))->name, "BF16");
    ck_assert_ptr_nonnull(fmt_nearest(SLICE("")));
    memset(longer, 'q', sizeof longer);
    ck_assert_ptr_nonnull(fmt_nearest((struct slice){longer, sizeof longer}));
}
END_TEST

START_TEST(row_bytes)
{
    uint64_t n = 0;

    ck_assert(fmt_row_bytes(FMT_Q4_K, 4096, &n) && n == 16 * 144);
    ck_assert(fmt_row_bytes(FMT_MXFP4, 32, &n) && n == 17);
    ck_assert(fmt_row_bytes(FMT_F32, 0, &n) && n == 0);
    ck_assert(!fmt_row_bytes(FMT_Q4_K, 4095, &n));
    ck_assert(!fmt_row_bytes(FMT_Q4_0, 31, &n));
    ck_assert(!fmt_row_bytes(4, 32, &n));
    ck_assert(!fmt_row_bytes(FMT_Q8_K, 256, &n));
    ck_assert(!fmt_row_bytes(FMT_F32, UINT64_MAX / 4 + 1, &n));
    ck_assert(fmt_row_bytes(FMT_F32, UINT64_MAX / 4, &n) && n == UINT64_MAX - 3);
    ck_assert(!fmt_row_bytes(FMT_Q8_0, UINT64_MAX / 32 * 32, &n));
    ck_assert(fmt_row_bytes(FMT_Q4_0, UINT64_MAX / 32 * 32, &n));
    ck_assert(fmt_bpw(FMT_Q4_K) == 4.5 && fmt_bpw(FMT_IQ1_S) == 1.5625 && fmt_bpw(5) == 0.0);
}
END_TEST

/* The table of rill-formats(5) is this table. */
START_TEST(man_page)
{
    static char page[65536];
    size_t n = slurp(srcfile("man/rill-formats.5"), page, sizeof page);

    ck_assert_uint_gt(n, 0);
    for (size_t r = 0; fmt_at(r); r++) {
        const struct fmt_info *f = fmt_at(r);
        char row[64];

        snprintf(row, sizeof row, "\n.It %s%s Ta %d Ta %d Ta %d Ta %g Ta ", f->name,
                 f->encode ? " *" : "", f->id, f->block, f->bytes, fmt_bpw(f->id));
        CHECK(strstr(page, row), "rill-formats(5) lacks '%s'", row + 1);
    }
}
END_TEST

TEST_MAIN("quant/quant", decodes_as_the_reference, encodes_as_the_reference,
          agrees_with_foreign_blocks, any_bytes_decode, any_values_encode, encoding_keeps_weights,
          zero_blocks_stay_zero, table_is_in_order, names, row_bytes, man_page)
