/* test_buf.c - growing buffers, their sticky failure, and JSON strings. */
#include "base/buf.h"

#include "base/mem.h"
#include "tests/suite.h"

START_TEST(grows_and_stays_nul_ended)
{
    struct buf b = {0};

    ck_assert_str_eq(buf_view(&b).p, "");
    for (int i = 0; i < 10000; i++) {
        buf_byte(&b, (char)('a' + i % 26));
        ck_assert_int_eq(b.p[b.n], 0);
    }
    ck_assert_uint_eq(b.n, 10000);
    ck_assert_int_eq(b.p[9999], 'a' + 9999 % 26);
    buf_clear(&b);
    ck_assert_str_eq(b.p, "");
    buf_str(&b, "x=");
    buf_printf(&b, "%d %s", 42, "tokens");
    buf_slice(&b, SLICE("a\0b"));
    buf_add(&b, NULL, 0);
    ck_assert_uint_eq(b.n, 14);
    ck_assert_mem_eq(b.p, "x=42 tokensa\0b", 15);
    ck_assert(!b.bad);
    buf_fini(&b);
    ck_assert_ptr_null(b.p);
}
END_TEST

START_TEST(failure_is_sticky)
{
    struct buf b = {0};

    buf_str(&b, "kept");
    mem_fail_after(0);
    ck_assert(!buf_reserve(&b, 1000));
    ck_assert(b.bad);
    buf_str(&b, "dropped");
    buf_printf(&b, "%d", 1);
    buf_json(&b, SLICE("dropped"));
    ck_assert_str_eq(b.p, "kept");
    buf_clear(&b);
    buf_str(&b, "again");
    ck_assert_str_eq(b.p, "again");
    ck_assert(!buf_reserve(&b, SIZE_MAX - 2));
    ck_assert(b.bad);
    mem_fail_after(-1);
    buf_fini(&b);
}
END_TEST

START_TEST(json_strings)
{
    static const struct {
        struct slice in;
        const char *out;
    } t[] = {
        {{"", 0}, "\"\""},
        {{"plain", 5}, "\"plain\""},
        {{"\"\\/", 3}, "\"\\\"\\\\/\""},
        {{"\b\f\n\r\t", 5}, "\"\\b\\f\\n\\r\\t\""},
        {{"\0\x1f\x7f", 3}, "\"\\u0000\\u001f\\u007f\""},
        {{"\xc3\xa9\xf0\x9f\x99\x82", 6}, "\"\xc3\xa9\xf0\x9f\x99\x82\""},
        {{"a\xffz", 3}, "\"a\xef\xbf\xbdz\""},
        {{"\xc2\x9b\xe2\x80\xae", 5}, "\"\\u009b\\u202e\""},
        {{"\xc3", 1}, "\"\xef\xbf\xbd\""},
        {{"\xed\xa0\x80", 3}, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    };

    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct buf b = {0};

        buf_json(&b, t[i].in);
        ck_assert_str_eq(b.p, t[i].out);
        buf_fini(&b);
    }
}
END_TEST

START_TEST(slices)
{
    struct slice a = SLICE("gguf");

    ck_assert(slice_is(a, "gguf") && !slice_is(a, "ggu") && !slice_is(a, "gguf2"));
    ck_assert(slice_eq((struct slice){0}, SLICE("")));
    ck_assert(slice_starts(a, SLICE("gg")) && slice_starts(a, (struct slice){0}));
    ck_assert(!slice_starts(SLICE("gg"), a));
    ck_assert_uint_eq(slice_of(NULL).n, 0);
}
END_TEST

START_TEST(cursor_reads_little_endian)
{
    static const uint8_t data[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 'a', 'b'};
    struct cur c = {.p = data, .n = sizeof data};

    ck_assert_uint_eq(cur_u8(&c), 1);
    ck_assert_uint_eq(cur_u32(&c), 0x05040302);
    ck_assert(cur_u64(&c) == 0x0d0c0b0a09080706u);
    ck_assert(slice_is(cur_slice(&c, 2), "ab"));
    ck_assert(!c.bad);
    ck_assert_uint_eq(cur_slice(&c, 0).n, 0);
    ck_assert(!c.bad);
}
END_TEST

START_TEST(cursor_is_bad_for_ever)
{
    static const uint8_t data[] = {1, 2, 3, 4, 5};
    struct cur c = {.p = data, .n = sizeof data};

    ck_assert_uint_eq(cur_u32(&c), 0x04030201);
    ck_assert_uint_eq(cur_u32(&c), 0);
    ck_assert(c.bad);
    ck_assert_uint_eq(cur_u8(&c), 0);
    ck_assert_uint_eq(c.at, 4);
    c = (struct cur){.p = data, .n = sizeof data};
    ck_assert_uint_eq(cur_slice(&c, UINT64_MAX).n, 0);
    ck_assert(c.bad);
}
END_TEST

TEST_MAIN("base/buf", grows_and_stays_nul_ended, failure_is_sticky, json_strings, slices,
          cursor_reads_little_endian, cursor_is_bad_for_ever)
