/* test_detok.c - decoding: exact bytes, and streams of whole characters. */
#include "base/utf8.h"
#include "tests/text/small.h"

static const struct small_token tokens[] = {{"<unk>", 0, TOK_UNKNOWN, 0},
                                            {"<s>", 0, TOK_CONTROL, 0},
                                            {"\xe2\x96\x81", -10, 0, 0},
                                            {"a", -20, 0, 0},
                                            {"\xe2\x96\x81"
                                             "a",
                                             -1, 0, 0},
                                            {"<x>", 0, TOK_USER, 0},
                                            {0}};
enum { UNK, BOS, SPACE, A, SPACE_A, X, BYTE };

static struct tok *vocab(void)
{
    static struct small_vocab v;

    small_begin(&v, TOK_SPM, tokens, true);
    v.spec.role[TOK_UNK] = UNK;
    v.spec.add_space_prefix = true;
    return small_end(&v);
}

static void decodes(const struct tok *t, const int32_t *id, size_t n, unsigned flags,
                    const char *want)
{
    struct buf b = {0};

    tok_decode(t, id, n, flags, &b);
    ck_assert(slice_is(buf_view(&b), want));
    buf_fini(&b);
}

START_TEST(all_at_once)
{
    struct tok *t = vocab();
    const int32_t ids[] = {BOS, SPACE_A, A, SPACE_A, X, SPACE_A, UNK, -1, 100000};

    decodes(t, ids, 9, 0, "aa a<x>a");
    decodes(t, ids, 9, TOK_SHOW, "<s>aa a<x>a<unk>");
    decodes(t, ids + 1, 3, TOK_INSIDE, " aa a");
    decodes(t, (int32_t[]){SPACE, SPACE}, 2, 0, " ");
    decodes(t, ids, 0, 0, "");
    tok_free(t);
}
END_TEST

/* Adds ids one at a time; between them everything is whole. want has '|' between the additions. */
static void streams(unsigned flags, const int32_t *id, size_t n, const char *want)
{
    struct tok *t = vocab();
    struct detok d;
    struct buf b = {0}, all = {0};

    detok_init(&d, t, flags);
    for (size_t i = 0; i <= n; i++) {
        buf_clear(&b);
        if (i < n)
            detok_add(&d, id[i], &b);
        else
            detok_end(&d, &b);
        ck_assert(flags & DETOK_RAW || utf8_valid(b.p ? b.p : "", b.n));
        if (i)
            buf_byte(&all, '|');
        buf_slice(&all, buf_view(&b));
    }
    ck_assert_str_eq(all.p, want);
    buf_fini(&b);
    buf_fini(&all);
    tok_free(t);
}

#define B(x) (BYTE + (x))

START_TEST(stream)
{
    streams(0, (int32_t[]){BOS, SPACE_A, SPACE_A}, 3, "|a| a|");
    streams(DETOK_INSIDE, (int32_t[]){SPACE_A}, 1, " a|");
    streams(DETOK_SHOW, (int32_t[]){BOS, SPACE_A}, 2, "<s>|a|");
    streams(0, (int32_t[]){B(0xf0), B(0x9f), B(0x98), B(0x80)}, 4, "|||\xf0\x9f\x98\x80|");
    streams(0, (int32_t[]){B(0xe2), A, B(0x82)}, 3,
            "|\xef\xbf\xbd"
            "a|\xef\xbf\xbd|");
    streams(0, (int32_t[]){B(0xe2), B(0x82)}, 2, "||\xef\xbf\xbd"); // one for a broken character
    streams(0, (int32_t[]){B(0xe2), B(0x82), B(0xc3), B(0xa9)}, 4, "||\xef\xbf\xbd|\xc3\xa9|");
    streams(0, (int32_t[]){B(0xff), B(0xc0), A}, 3, "\xef\xbf\xbd|\xef\xbf\xbd|a|");
    streams(0, (int32_t[]){B(0xed), B(0xa0)}, 2, "|\xef\xbf\xbd\xef\xbf\xbd|"); // a surrogate
    streams(0, (int32_t[]){B(0xe2), BOS, B(0x82), B(0xac)}, 4, "|||\xe2\x82\xac|");
    streams(DETOK_RAW, (int32_t[]){B(0xff), B(0xe2), A, B(0xe2)}, 4,
            "\xff||\xe2"
            "a||\xe2");
}
END_TEST

/* Any bytes at all: the raw stream gives them back, the other is valid and the same where they are.
 */
START_TEST(random_bytes)
{
    struct tok *t = vocab();
    uint32_t r = 7;

    for (int round = 0; round < 3000; round++) {
        struct detok d, raw;
        struct buf text = {0}, bytes = {0}, want = {0};

        detok_init(&d, t, DETOK_INSIDE); /* a first 0x20 is a space of the text */
        detok_init(&raw, t, DETOK_RAW | DETOK_INSIDE);
        for (int i = 0; i < 12; i++) {
            static const uint8_t likely[] = {0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80,
                                             0xc3, 0xa9, 'x',  0xed, 0xa0, 0xf4, 0x90};
            uint8_t c;

            r = r * 1664525u + 1013904223u;
            c = r >> 30 ? likely[(r >> 16) % sizeof likely] : (uint8_t)(r >> 8);
            buf_byte(&want, (char)c);
            detok_add(&d, B(c), &text);
            detok_add(&raw, B(c), &bytes);
            ck_assert(utf8_valid(text.p ? text.p : "", text.n));
        }
        detok_end(&d, &text);
        detok_end(&raw, &bytes);
        ck_assert(utf8_valid(text.p, text.n));
        ck_assert(slice_eq(buf_view(&bytes), buf_view(&want)));
        if (utf8_valid(want.p, want.n))
            ck_assert(slice_eq(buf_view(&text), buf_view(&want)));
        buf_fini(&text);
        buf_fini(&bytes);
        buf_fini(&want);
    }
    tok_free(t);
}
END_TEST

TEST_MAIN("text/detok", all_at_once, stream, random_bytes)
