/* test_gguf_read.c - what well-formed files give, and the sentence for each way to be malformed. */
#include "tests/file/gguf_make.h"

static const uint64_t edges[] = {
    0,          1,          2,          3,          31,         33,         64,
    127,        128,        255,        65535,      0x7fffffff, 0x80000000, 0xffffffff,
    1ull << 32, 1ull << 60, 1ull << 61, 1ull << 62, INT64_MAX,  1ull << 63, UINT64_MAX - 7,
    UINT64_MAX,
};

START_TEST(sample_is_read)
{
    struct make m = {0};
    struct gguf *g;
    struct gguf_array a;
    struct slice s;
    struct err e;
    void *copy;
    int64_t i64;
    float f;
    bool yes = false;
    const struct gguf_tensor *t;

    mk_sample(&m);
    ck_ok(mk_open(&g, m.b.p, m.b.n, &copy, &e), &e);
    ck_assert_uint_eq(g->version, 3);
    ck_assert_uint_eq(g->n_key, 7);
    ck_assert_uint_eq(g->n_tensor, 3);
    ck_assert_uint_eq(g->alignment, 32);
    ck_assert_uint_eq(g->file_bytes, m.b.n);
    ck_assert_int_eq(gguf_get_str(g, "general.architecture", &s, &e), 1);
    ck_assert(slice_is(s, "llama"));
    ck_assert_int_eq(gguf_get_i64(g, "a.u8", &i64, &e), 1);
    ck_assert_int_eq(i64, 200);
    ck_assert_int_eq(gguf_get_i64(g, "a.i64", &i64, &e), 1);
    ck_assert_int_eq(i64, -5);
    ck_assert_int_eq(gguf_get_f32(g, "a.f32", &f, &e), 1);
    ck_assert(f == 1.5f);
    ck_assert_int_eq(gguf_get_bool(g, "a.yes", &yes, &e), 1);
    ck_assert(yes);
    ck_assert_int_eq(gguf_get_ints(g, "a.ints", &a, &e), 1);
    ck_assert_uint_eq(a.n, 3);
    ck_assert_int_eq(gguf_int_at(&a, 0), -1);
    ck_assert_int_eq(gguf_int_at(&a, 2), 1);
    ck_assert_int_eq(gguf_get_strs(g, "a.words", &a, &e), 1);
    ck_assert(slice_is(gguf_str_at(&a, 0), "one"));
    ck_assert(slice_is(gguf_str_at(&a, 1), ""));
    ck_assert(slice_is(gguf_str_at(&a, 2), "three"));
    t = gguf_tensor(g, "t.q4_0");
    ck_assert_ptr_nonnull(t);
    ck_assert_uint_eq(t->bytes, 36);
    ck_assert_uint_eq(t->ne[1], 2);
    ck_assert_uint_eq(t->ne[3], 1);
    ck_assert_ptr_eq(t->p, (uint8_t *)copy + g->part[0].data_at + 32);
    ck_assert_ptr_null(gguf_tensor(g, "t.q4"));
    ck_assert_ptr_null(gguf_find(g, ""));
    gguf_close(g);
    free(copy);
    buf_fini(&m.b);
}
END_TEST

/* Each field with each number: opens or is refused with a sentence, as its kind allows. */
START_TEST(every_field_with_every_edge)
{
    struct make m = {0};
    int refused = 0;

    mk_sample(&m);
    for (int i = 0; i < m.n; i++) {
        const struct field *f = &m.field[i];
        char *p = m.b.p + f->at;
        char old[8];

        memcpy(old, p, (size_t)f->bytes);
        for (size_t k = 0; k < ARRAY_LEN(edges); k++) {
            uint64_t v = edges[k];
            struct gguf *g;
            struct err e;
            void *copy;
            int rc;

            for (int j = 0; j < f->bytes; j++)
                p[j] = (char)(v >> (8 * j));
            rc = mk_open(&g, m.b.p, m.b.n, &copy, &e);
            if (rc < 0) {
                ck_assert_msg(err_exit_status(rc) == 3 && f->kind != FREE, "%s = %llu: %s", f->what,
                              (unsigned long long)v, e.text);
                ck_assert_msg(strncmp(e.text, "x.gguf: ", 8) == 0, "%s", e.text);
                refused++;
            } else {
                ck_assert_msg(f->kind != BOUND || memcmp(p, old, (size_t)f->bytes) == 0,
                              "%s = %llu was accepted", f->what, (unsigned long long)v);
                gguf_close(g);
            }
            free(copy);
        }
        memcpy(p, old, (size_t)f->bytes);
    }
    ck_assert_int_gt(refused, 700);
    buf_fini(&m.b);
}
END_TEST

START_TEST(every_truncation)
{
    struct make m = {0};

    mk_sample(&m);
    for (size_t n = 0; n < m.b.n; n++) {
        struct gguf *g;
        struct err e;
        void *copy;
        int rc = mk_open(&g, m.b.p, n, &copy, &e);

        ck_assert_msg(rc == E_FORMAT, "%zu bytes gave %d", n, rc);
        ck_assert_msg(strncmp(e.text, "x.gguf: ", 8) == 0, "%s", e.text);
        free(copy);
    }
    buf_fini(&m.b);
}
END_TEST

/* Two spoilt bytes at once, at random: no crash, and whatever opens can be walked. */
START_TEST(random_damage)
{
    struct make m = {0};
    uint32_t x = 12345;
    volatile uint8_t last_byte = 0;

    mk_sample(&m);
    for (int round = 0; round < 20000; round++) {
        struct gguf *g;
        struct err e;
        void *copy;
        char old[2];
        size_t at[2];

        for (int i = 0; i < 2; i++) {
            x = x * 1664525 + 1013904223;
            at[i] = (x >> 8) % m.b.n;
            old[i] = m.b.p[at[i]];
            m.b.p[at[i]] = (char)(x >> 24);
        }
        if (mk_open(&g, m.b.p, m.b.n, &copy, &e) == 0) {
            for (uint32_t i = 0; i < g->n_tensor; i++)
                if (g->tensor[i].bytes) /* outside the file the sanitizer would say so */
                    last_byte = g->tensor[i].p[g->tensor[i].bytes - 1];
            (void)last_byte;
            gguf_close(g);
        } else {
            ck_assert_int_eq(err_exit_status(e.code), 3);
        }
        free(copy);
        for (int i = 2; i-- > 0;)
            m.b.p[at[i]] = old[i];
    }
    buf_fini(&m.b);
}
END_TEST

START_TEST(header_sentences)
{
    struct make m = {0};

    buf_str(&m.b, "ggml\3\0\0\0");
    mk_refuse(&m, "not a GGUF file");
    m = (struct make){0};
    mk_refuse(&m, "not a GGUF file");
    m = (struct make){0};
    buf_str(&m.b, "GGUF");
    mk_uint(&m, 1, 4, 0, "");
    mk_uint(&m, 0, 8, 0, "");
    mk_refuse(&m, "GGUF version 1; 2 and 3 are read");
    m = (struct make){0};
    buf_str(&m.b, "GGUF");
    mk_uint(&m, 3u << 24, 4, 0, "");
    mk_refuse(&m, "big-endian");
    m = (struct make){0};
    mk_head(&m, 0, 1ull << 61);
    mk_data(&m, 100);
    mk_refuse(&m, "2305843009213693952 keys in 100 bytes");
    m = (struct make){0};
    mk_head(&m, UINT64_MAX, 0);
    mk_refuse(&m, "18446744073709551615 tensors in 0 bytes");
}
END_TEST

START_TEST(key_sentences)
{
    struct make m = {0};

    mk_head(&m, 0, 2);
    mk_key_uint(&m, "k", GGUF_U8, 1, 1);
    mk_key_uint(&m, "k", GGUF_U8, 1, 1);
    mk_refuse(&m, "key 'k': occurs twice");
    m = (struct make){0};
    mk_head(&m, 0, 1);
    mk_key_uint(&m, "", GGUF_U64, 1, 8);
    mk_refuse(&m, "key 1 of 1 has a name of 0 bytes");
    m = (struct make){0};
    mk_head(&m, 0, 1);
    mk_key_uint(&m, "k", 13, 1, 8);
    mk_refuse(&m, "key 'k': unknown type 13");
    m = (struct make){0};
    mk_head(&m, 0, 1);
    mk_key_uint(&m, "k", GGUF_BOOL, 2, 1);
    mk_refuse(&m, "key 'k': a truth value is neither 0 nor 1");
    m = (struct make){0};
    mk_head(&m, 0, 1);
    mk_key_arr(&m, "k", GGUF_F32, 1000000000000000000);
    mk_refuse(&m, "key 'k': an array of 1000000000000000000 elements in the last 0 bytes");
    m = (struct make){0};
    mk_head(&m, 0, 1);
    mk_key_arr(&m, "k", GGUF_ARR, 1);
    mk_refuse(&m, "key 'k': arrays of arrays are not supported");
    m = (struct make){0};
    mk_head(&m, 0, 1);
    mk_key_arr(&m, "k", GGUF_STR, 2);
    mk_str(&m, "fine", "");
    mk_uint(&m, UINT64_MAX, 8, 0, "");
    mk_refuse(&m, "key 'k': the file ends inside string 2 of 2");
    m = (struct make){0};
    mk_head(&m, 0, 1);
    mk_key_str(&m, "\033[31m\xe2\x80\xae", "v");
    m.b.n--;
    mk_refuse(&m, "key '\\x1b[31m\\xe2\\x80\\xae': the file ends inside its value");
}
END_TEST

/* A file with one key, general.alignment. */
static void one_alignment(struct make *m, uint32_t type, uint64_t v, int bytes)
{
    *m = (struct make){0};
    mk_head(m, 0, 1);
    mk_key_uint(m, "general.alignment", type, v, bytes);
}

START_TEST(alignment)
{
    static const uint32_t bad[] = {0, 1, 4, 12, 33, 1u << 25, 1u << 31, UINT32_MAX};
    struct make m;
    struct gguf *g;
    struct err e;
    void *copy;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        one_alignment(&m, GGUF_U32, bad[i], 4);
        mk_refuse(&m, "key 'general.alignment': ");
    }
    one_alignment(&m, GGUF_F32, 32, 4);
    mk_refuse(&m, "key 'general.alignment' is a float, expected an integer");
    one_alignment(&m, GGUF_U64, 64, 8);
    ck_ok(mk_open(&g, m.b.p, m.b.n, &copy, &e), &e);
    ck_assert_uint_eq(g->alignment, 64);
    gguf_close(g);
    free(copy);
    buf_fini(&m.b);
}
END_TEST

/* Two tensors of the given shapes and places before 256 bytes of data. */
static void two_tensors(struct make *m, uint32_t type, uint64_t ne0, uint64_t ne1, uint64_t at0,
                        uint64_t at1)
{
    *m = (struct make){0};
    mk_head(m, 2, 0);
    mk_tensor(m, "a", type, 2, (uint64_t[]){ne0, ne1}, at0);
    mk_tensor(m, "b", 0, 1, (uint64_t[]){16}, at1);
    mk_pad(m, 32);
    mk_data(m, 256);
}

START_TEST(tensor_sentences)
{
    struct make m;
    uint64_t big = 1ull << 32;

    two_tensors(&m, 0, 16, 1, 32, 64);
    mk_refuse(&m, "tensor 'b': overlaps tensor 'a'");
    two_tensors(&m, 0, 16, 1, 64, 32);
    mk_refuse(&m, "tensor 'a': overlaps tensor 'b'");
    two_tensors(&m, 0, 16, 1, 0, 0);
    mk_refuse(&m, "overlaps");
    two_tensors(&m, 0, 16, 1, 4, 64);
    mk_refuse(&m, "tensor 'a': offset 4 is not a multiple of the alignment 32");
    two_tensors(&m, 0, 0, 1, 0, 64);
    mk_refuse(&m, "tensor 'a': dimension 0 is 0");
    two_tensors(&m, 0, big, big, 0, 64);
    mk_refuse(&m, "tensor 'a': 4294967296 x 4294967296 x 1 x 1 elements are too many");
    two_tensors(&m, 28, 1ull << 61, 1, 0, 64);
    mk_refuse(&m, "tensor 'a': 2305843009213693952 elements are too many");
    two_tensors(&m, 0, 1ull << 60, 1, 0, 64);
    mk_refuse(&m, "tensor 'a': needs 4611686018427387904 bytes at 0 of a data section of 256");
    two_tensors(&m, 0, 16, 1, 0, 224);
    mk_refuse(&m, "tensor 'b': needs 64 bytes at 224 of a data section of 256 bytes");
    two_tensors(&m, 0, 16, 1, 0, UINT64_MAX - 31);
    mk_refuse(&m, "tensor 'b': needs 64 bytes at 18446744073709551584");
    two_tensors(&m, 2, 48, 1, 0, 64);
    mk_refuse(&m, "tensor 'a': rows of 48 elements in a type with blocks of 32");
    m = (struct make){0};
    mk_head(&m, 1, 0);
    mk_tensor(&m, "a", 0, 5, (uint64_t[]){1, 1, 1, 1, 1}, 0);
    mk_refuse(&m, "tensor 'a': 5 dimensions, at most 4 are known");
    m = (struct make){0};
    mk_head(&m, 2, 0);
    mk_tensor(&m, "a", 0, 1, (uint64_t[]){1}, 0);
    mk_tensor(&m, "a", 0, 1, (uint64_t[]){1}, 32);
    mk_pad(&m, 32);
    mk_data(&m, 36);
    mk_refuse(&m, "tensor 'a': occurs twice");
}
END_TEST

START_TEST(unknown_types_are_listed)
{
    struct make m;
    struct gguf *g;
    struct err e;
    void *copy;
    const struct gguf_tensor *t;

    two_tensors(&m, 250, 7, 1, 0, 64);
    ck_ok(mk_open(&g, m.b.p, m.b.n, &copy, &e), &e);
    t = gguf_tensor(g, "a");
    ck_assert_uint_eq(t->type, 250);
    ck_assert_uint_eq(t->bytes, 0);
    ck_assert_ptr_null(t->p);
    gguf_willneed(g, t);
    gguf_close(g);
    free(copy);
    buf_fini(&m.b);
}
END_TEST

START_TEST(scalars_and_no_tensors)
{
    struct make m = {0};
    struct gguf *g;
    struct err e;
    void *copy;

    mk_head(&m, 1, 0);
    mk_tensor(&m, "s", 0, 0, NULL, 0);
    mk_pad(&m, 32);
    mk_data(&m, 4);
    ck_ok(mk_open(&g, m.b.p, m.b.n, &copy, &e), &e);
    ck_assert_uint_eq(gguf_tensor(g, "s")->bytes, 4);
    gguf_close(g);
    free(copy);
    buf_fini(&m.b);

    m = (struct make){0};
    mk_head(&m, 0, 0);
    ck_ok(mk_open(&g, m.b.p, m.b.n, &copy, &e), &e);
    ck_assert_uint_eq(g->n_tensor, 0);
    gguf_close(g);
    free(copy);
    buf_fini(&m.b);
}
END_TEST

/* Names that differ only behind a NUL byte are two names. */
START_TEST(names_are_bytes)
{
    struct make m = {0};
    struct gguf *g;
    struct err e;
    void *copy;

    mk_head(&m, 0, 2);
    for (int i = 0; i < 2; i++) {
        mk_uint(&m, 3, 8, 0, "");
        buf_add(&m.b, i ? "a\0b" : "a\0c", 3);
        mk_uint(&m, GGUF_U8, 4, 0, "");
        mk_uint(&m, 1, 1, 0, "");
    }
    ck_ok(mk_open(&g, m.b.p, m.b.n, &copy, &e), &e);
    ck_assert_uint_eq(g->n_key, 2);
    gguf_close(g);
    free(copy);
    buf_fini(&m.b);
}
END_TEST

TEST_MAIN("file/gguf_read", sample_is_read, every_field_with_every_edge, every_truncation,
          random_damage, header_sentences, key_sentences, alignment, tensor_sentences,
          unknown_types_are_listed, scalars_and_no_tensors, names_are_bytes)
