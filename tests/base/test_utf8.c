/* test_utf8.c - every class of invalid sequence, all characters both ways, and cuts in streams. */
#include "base/utf8.h"

#include "base/mem.h"
#include "base/slice.h"
#include "tests/suite.h"

START_TEST(all_characters_both_ways)
{
    for (uint32_t cp = 0; cp < 0x110400; cp++) {
        char s[4];
        uint32_t back = 1;
        int n = utf8_encode(cp, s);
        int want = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;

        if (cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
            want = 0;
        /* not an assertion each time: libcheck writes to a pipe for every one */
        if (n != want || (n && (utf8_decode(s, (size_t)n, &back) != n || back != cp)))
            ck_abort_msg("U+%04X", cp);
        for (int k = 0; k < n; k++)
            if (utf8_decode(s, (size_t)k, &back) != 0)
                ck_abort_msg("U+%04X cut to %d bytes", cp, k);
    }
}
END_TEST

/* Of all strings of three bytes just as many are one character as RFC 3629 has. The first bytes
 * left out begin characters of one byte, or none. */
START_TEST(three_bytes_exhaustively)
{
    long good = 0;

    for (uint32_t v = 0xc00000; v < 1u << 24; v++) {
        char s[3] = {(char)(v >> 16), (char)(v >> 8), (char)v};
        uint32_t cp;

        if (utf8_decode(s, 3, &cp) == 3)
            good++;
    }
    ck_assert_int_eq(good, 0x10000 - 0x800 - 0x800); /* less those of 1-2 bytes and surrogates */
}
END_TEST

START_TEST(invalid_classes)
{
    static const struct slice bad[] = {
        SLICE("\x80"), /* a continuation byte alone */
        SLICE("\xbf"),
        SLICE("\xc0\x80"), /* overlong, 2 bytes */
        SLICE("\xc1\xbf"),
        SLICE("\xe0\x80\x80"), /* overlong, 3 bytes */
        SLICE("\xe0\x9f\xbf"),
        SLICE("\xf0\x80\x80\x80"), /* overlong, 4 bytes */
        SLICE("\xf0\x8f\xbf\xbf"),
        SLICE("\xed\xa0\x80"), /* surrogates */
        SLICE("\xed\xbf\xbf"),
        SLICE("\xf4\x90\x80\x80"), /* above U+10FFFF */
        SLICE("\xf5\x80\x80\x80"),
        SLICE("\xf8\x88\x80\x80\x80"), /* five and six bytes */
        SLICE("\xfc\x84\x80\x80\x80\x80"),
        SLICE("\xfe"), /* never a byte of UTF-8 */
        SLICE("\xff"),
        SLICE("\xc3"), /* cut off */
        SLICE("\xe2\x82"),
        SLICE("\xf0\x9f\x99"),
        SLICE("\xc3\x28"), /* a wrong second, third, fourth byte */
        SLICE("\xe2\x28\xac"),
        SLICE("\xe2\x82\x28"),
        SLICE("\xf0\x9f\x28\x82"),
        SLICE("\xf0\x9f\x99\x28"),
        SLICE("\xc3\xc3\xa9"),
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char s[16] = "ab";
        uint32_t cp = 77;

        ck_assert_msg(utf8_decode(bad[i].p, bad[i].n, &cp) == 0, "row %zu decodes", i);
        ck_assert_uint_eq(cp, 77);
        ck_assert_msg(!utf8_valid(bad[i].p, bad[i].n), "row %zu is valid", i);
        memcpy(s + 2, bad[i].p, bad[i].n);
        ck_assert_msg(!utf8_valid(s, 2 + bad[i].n), "row %zu after text", i);
    }
    ck_assert(utf8_valid("", 0));
    ck_assert(utf8_valid("a\0\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82", 11));
}
END_TEST

/* What is held back at the end of a stream: only what a further byte can complete. */
START_TEST(whole_characters_of_a_stream)
{
    static const struct {
        struct slice s;
        size_t whole;
    } t[] = {
        {SLICE(""), 0},
        {SLICE("ab"), 2},
        {SLICE("a\xc3"), 1},
        {SLICE("a\xc3\xa9"), 3},
        {SLICE("a\xe2"), 1},
        {SLICE("a\xe2\x82"), 1},
        {SLICE("a\xe2\x82\xac"), 4},
        {SLICE("a\xf0\x9f\x99"), 1},
        {SLICE("a\xf0\x9f\x99\x82"), 5},
        {SLICE("a\xed\xa0"), 3}, /* a surrogate's beginning can never become valid */
        {SLICE("a\xf4\x90"), 3},
        {SLICE("a\x82\x82\x82\x82"), 5},
        {SLICE("a\xff"), 2},
        {SLICE("\xf0\x9f\x99"), 0},
        {SLICE("\xc3\xc3"), 1},
    };

    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        ck_assert_msg(utf8_whole(t[i].s.p, t[i].s.n) == t[i].whole, "row %zu: %zu", i,
                      utf8_whole(t[i].s.p, t[i].s.n));
}
END_TEST

START_TEST(shown_characters)
{
    static const uint32_t hidden[] = {0,      0x0a,   0x1b,   0x7f,   0x80,   0x9b,   0x9f,
                                      0x061c, 0x200e, 0x200f, 0x2028, 0x202e, 0x2066, 0xfeff};
    static const uint32_t shown[] = {0x20, 0x7e, 0xa0, 0xe9, 0x200d, 0x2027, 0x202f, 0x1f642};

    for (size_t i = 0; i < ARRAY_LEN(hidden); i++)
        ck_assert_msg(!utf8_shown(hidden[i]), "U+%04X", hidden[i]);
    for (size_t i = 0; i < ARRAY_LEN(shown); i++)
        ck_assert_msg(utf8_shown(shown[i]), "U+%04X", shown[i]);
}
END_TEST

TEST_MAIN("base/utf8", all_characters_both_ways, three_bytes_exhaustively, invalid_classes,
          whole_characters_of_a_stream, shown_characters)
