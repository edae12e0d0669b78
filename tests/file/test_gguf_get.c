/* test_gguf_get.c - getters tell absent, wrong and out of range apart; real files open. */
#include "tests/file/gguf_make.h"

#include <math.h>

/* A file with one key "k" whose value is n raw bytes. */
static struct gguf *one_key(uint32_t type, const void *v, size_t n, void **copy)
{
    struct make m = {0};
    struct gguf *g;
    struct err e;

    mk_head(&m, 0, 1);
    mk_key(&m, "k", type);
    buf_add(&m.b, v, n);
    ck_ok(mk_open(&g, m.b.p, m.b.n, copy, &e), &e);
    buf_fini(&m.b);
    return g;
}

/* What each integer getter makes of a value: 1 found, -1 refused. */
static void integer_case(uint32_t type, uint64_t bits, int u32, int i32, int u64, int i64)
{
    void *copy;
    struct gguf *g =
        one_key(type, &bits,
                gguf_type_is_int(type) ? (size_t) "\1\1\2\2\4\4\0\0\0\0\10\10"[type] : 4, &copy);
    uint32_t a;
    int32_t b;
    uint64_t c;
    int64_t d;

    ck_assert_int_eq(gguf_get_u32(g, "k", &a, NULL), u32 > 0 ? 1 : E_FORMAT);
    ck_assert_int_eq(gguf_get_i32(g, "k", &b, NULL), i32 > 0 ? 1 : E_FORMAT);
    ck_assert_int_eq(gguf_get_u64(g, "k", &c, NULL), u64 > 0 ? 1 : E_FORMAT);
    ck_assert_int_eq(gguf_get_i64(g, "k", &d, NULL), i64 > 0 ? 1 : E_FORMAT);
    if (u32 > 0)
        ck_assert_uint_eq(a, bits);
    if (u64 > 0)
        ck_assert_uint_eq(c, bits);
    if (i32 > 0 && i64 > 0)
        ck_assert_int_eq(b, d);
    gguf_close(g);
    free(copy);
}

START_TEST(integers_of_any_type_are_range_checked)
{
    integer_case(GGUF_U8, 255, 1, 1, 1, 1);
    integer_case(GGUF_I8, 0xff, -1, 1, -1, 1);
    integer_case(GGUF_I8, 0x7f, 1, 1, 1, 1);
    integer_case(GGUF_U16, 0xffff, 1, 1, 1, 1);
    integer_case(GGUF_I16, 0x8000, -1, 1, -1, 1);
    integer_case(GGUF_U32, 0xffffffff, 1, -1, 1, 1);
    integer_case(GGUF_I32, 0x80000000, -1, 1, -1, 1);
    integer_case(GGUF_U64, 1ull << 32, -1, -1, 1, 1);
    integer_case(GGUF_U64, 1ull << 63, -1, -1, 1, -1);
    integer_case(GGUF_I64, UINT64_MAX, -1, 1, -1, 1);
    integer_case(GGUF_F32, 0, -1, -1, -1, -1);
}
END_TEST

START_TEST(absent_leaves_the_default)
{
    void *copy;
    struct gguf *g = one_key(GGUF_U8, "\1", 1, &copy);
    struct err e = {0};
    struct gguf_array a = {.n = 7};
    struct slice s = SLICE("default");
    uint32_t u = 5;
    float f = 2;
    bool b = true;

    ck_assert_int_eq(gguf_get_u32(g, "x", &u, &e), 0);
    ck_assert_int_eq(gguf_get_f32(g, "x", &f, &e), 0);
    ck_assert_int_eq(gguf_get_bool(g, "x", &b, &e), 0);
    ck_assert_int_eq(gguf_get_str(g, "x", &s, &e), 0);
    ck_assert_int_eq(gguf_get_strs(g, "x", &a, &e), 0);
    ck_assert_int_eq(gguf_get_u32s(g, "x", &u, 1, &e), 0);
    ck_assert(u == 5 && f == 2 && b && slice_is(s, "default") && a.n == 7 && e.code == 0);
    ck_fails(gguf_missing(g, "llama.block_count", &e), &e, E_FORMAT,
             "x.gguf: key 'llama.block_count' is missing");
    gguf_close(g);
    free(copy);
}
END_TEST

START_TEST(wrong_types_are_named)
{
    void *copy;
    struct gguf *g = one_key(GGUF_STR, "\1\0\0\0\0\0\0\0x", 9, &copy);
    struct err e = {0};
    struct gguf_array a;
    uint32_t u;
    float f;
    bool b;

    ck_fails(gguf_get_u32(g, "k", &u, &e), &e, E_FORMAT,
             "x.gguf: key 'k' is a string, expected an integer");
    e = (struct err){0};
    ck_fails(gguf_get_f32(g, "k", &f, &e), &e, E_FORMAT, "expected a number");
    e = (struct err){0};
    ck_fails(gguf_get_bool(g, "k", &b, &e), &e, E_FORMAT, "expected a truth value");
    e = (struct err){0};
    ck_fails(gguf_get_array(g, "k", &a, &e), &e, E_FORMAT, "expected an array");
    e = (struct err){0};
    ck_fails(gguf_get_u32s(g, "k", &u, 1, &e), &e, E_FORMAT, "expected integers");
    gguf_close(g);
    free(copy);

    g = one_key(GGUF_ARR, "\6\0\0\0\1\0\0\0\0\0\0\0\0\0\200\77", 16, &copy);
    e = (struct err){0};
    ck_fails(gguf_get_strs(g, "k", &a, &e), &e, E_FORMAT,
             "key 'k' is an array (an element is a float), expected an array of strings");
    e = (struct err){0};
    ck_fails(gguf_get_ints(g, "k", &a, &e), &e, E_FORMAT, "expected an array of integers");
    e = (struct err){0};
    ck_assert_int_eq(gguf_get_floats(g, "k", &a, &e), 1);
    ck_assert(gguf_float_at(&a, 0) == 1.0);
    ck_assert_int_eq(gguf_int_at(&a, 0), 0);
    ck_assert_uint_eq(gguf_str_at(&a, 0).n, 0);
    gguf_close(g);
    free(copy);
}
END_TEST

START_TEST(floats_and_bools_take_integers)
{
    void *copy;
    struct gguf *g = one_key(GGUF_I8, "\377", 1, &copy);
    float f;
    bool b;

    ck_assert_int_eq(gguf_get_f32(g, "k", &f, NULL), 1);
    ck_assert(f == -1);
    ck_assert_int_eq(gguf_get_bool(g, "k", &b, NULL), E_FORMAT);
    gguf_close(g);
    free(copy);
    g = one_key(GGUF_F64, "\0\0\0\0\0\0\370\177", 8, &copy);
    ck_assert_int_eq(gguf_get_f32(g, "k", &f, NULL), 1);
    ck_assert(isnan(f));
    gguf_close(g);
    free(copy);
    g = one_key(GGUF_U32, "\1\0\0\0", 4, &copy);
    ck_assert_int_eq(gguf_get_bool(g, "k", &b, NULL), 1);
    ck_assert(b);
    gguf_close(g);
    free(copy);
}
END_TEST

START_TEST(one_value_or_one_per_layer)
{
    void *copy;
    struct gguf *g = one_key(GGUF_U16, "\10\0", 2, &copy);
    struct err e = {0};
    uint32_t u[3];
    float f[3];
    bool b[2];

    ck_assert_int_eq(gguf_get_u32s(g, "k", u, 3, &e), 1);
    ck_assert(u[0] == 8 && u[2] == 8);
    ck_assert_int_eq(gguf_get_f32s(g, "k", f, 3, &e), 1);
    ck_assert(f[2] == 8);
    ck_assert_int_eq(gguf_get_bools(g, "k", b, 2, NULL), E_FORMAT);
    gguf_close(g);
    free(copy);
    g = one_key(GGUF_ARR, "\1\0\0\0\2\0\0\0\0\0\0\0\1\0", 14, &copy);
    ck_assert_int_eq(gguf_get_u32s(g, "k", u, 2, &e), 1);
    ck_assert(u[0] == 1 && u[1] == 0);
    ck_assert_int_eq(gguf_get_bools(g, "k", b, 2, &e), 1);
    ck_assert(b[0] && !b[1]);
    ck_fails(gguf_get_u32s(g, "k", u, 3, &e), &e, E_FORMAT, "key 'k' has 2 elements, expected 3");
    gguf_close(g);
    free(copy);
}
END_TEST

START_TEST(text_for_sentences)
{
    char out[24];

    ck_assert_str_eq(gguf_show(out, sizeof out, SLICE("blk.0.attn_q")), "blk.0.attn_q");
    ck_assert_str_eq(gguf_show(out, sizeof out, SLICE("a\n\x7f\xff\xc3\xa9")),
                     "a\\x0a\\x7f\\xff\xc3\xa9");
    ck_assert_str_eq(gguf_show(out, sizeof out,
                               SLICE("\xc2\x9b"
                                     "31m")),
                     "\\xc2\\x9b"
                     "31m");
    ck_assert_str_eq(gguf_show(out, sizeof out, SLICE("0123456789012345678901234567")),
                     "01234567890123456789...");
    ck_assert_str_eq(gguf_show(out, sizeof out, (struct slice){NULL, 0}), "");
}
END_TEST

START_TEST(real_files_open)
{
    static const char *const name[] = {
        "models/stories260K/stories260K.gguf",
        "models/stories260K/stories260K.BF16.gguf",
        "models/llama-2-tiny-random/llama-2-tiny-random.gguf",
        "tokenizers/ggml-vocab/ggml-vocab-llama-spm.gguf",
        "tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf",
        "tokenizers/ggml-vocab/ggml-vocab-falcon.gguf",
        "tokenizers/ggml-vocab/ggml-vocab-deepseek-coder.gguf",
        "tokenizers/ggml-vocab/ggml-vocab-bert-bge.gguf",
    };
    static const uint32_t tokens[] = {512, 512, 32000, 32000, 50257, 65024, 32256, 30522};

    for (size_t i = 0; i < ARRAY_LEN(name); i++) {
        const char *path = testdata(name[i]);
        struct gguf *g;
        struct gguf_array a;
        struct err e = {0};

        if (!path)
            return;
        ck_ok(gguf_open(&g, path, 0, &e), &e);
        ck_assert_int_eq(gguf_get_strs(g, "tokenizer.ggml.tokens", &a, &e), 1);
        ck_assert_uint_eq(a.n, tokens[i]);
        gguf_close(g);
    }
}
END_TEST

START_TEST(an_old_style_file)
{
    const char *path = testdata("models/stories260K/stories260K.gguf");
    struct gguf *g;
    struct err e = {0};
    uint32_t id = 0;
    const struct gguf_tensor *t;

    if (!path)
        return;
    ck_ok(gguf_open(&g, path, 0, &e), &e);
    ck_assert_uint_eq(g->alignment, 32);
    ck_assert_ptr_null(gguf_find(g, "general.alignment"));
    ck_assert_int_eq(gguf_get_u32(g, "tokenizer.ggml.padding_token_id", &id, &e), 1);
    ck_assert_uint_eq(id, 0xffffffff);
    t = gguf_tensor(g, "token_embd.weight");
    ck_assert_ptr_nonnull(t);
    ck_assert_uint_eq(t->bytes, 512 * 64 * 4);
    gguf_willneed(g, t);
    gguf_dontneed(g, t);
    gguf_close(g);
}
END_TEST

TEST_MAIN("file/gguf_get", integers_of_any_type_are_range_checked, absent_leaves_the_default,
          wrong_types_are_named, floats_and_bools_take_integers, one_value_or_one_per_layer,
          text_for_sentences, real_files_open, an_old_style_file)
