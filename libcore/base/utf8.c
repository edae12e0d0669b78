/* utf8.c - see utf8.h. */
#include "utf8.h"

/* Length by first byte (0: cannot start a character), and the range of the second byte, after
 * table 3-7 of the Unicode standard ("well-formed UTF-8 byte sequences"). */
static int lead(unsigned char c, unsigned char *lo, unsigned char *hi)
{
    *lo = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    *hi = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (c < 0x80)
        return 1;
    if (c < 0xc2)
        return 0;
    if (c < 0xe0)
        return 2;
    if (c < 0xf0)
        return 3;
    return c < 0xf5 ? 4 : 0;
}

/* How many of the first bytes belong to one well-formed character; *want is its full length. */
static int prefix(const unsigned char *s, size_t n, int *want)
{
    unsigned char lo, hi;
    int len = n ? lead(s[0], &lo, &hi) : 0;
    int i = 1;

    *want = len;
    if (len == 0)
        return 0;
    for (; i < len && (size_t)i < n; i++) {
        if (s[i] < lo || s[i] > hi)
            return 0;
        lo = 0x80;
        hi = 0xbf;
    }
    return i;
}

int utf8_decode(const char *p, size_t n, uint32_t *cp)
{
    static const unsigned char mask[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    const unsigned char *s = (const unsigned char *)p;
    int len;
    uint32_t v;

    if (prefix(s, n, &len) != len || len == 0)
        return 0;
    v = s[0] & mask[len];
    for (int i = 1; i < len; i++)
        v = v << 6 | (s[i] & 0x3f);
    *cp = v;
    return len;
}

int utf8_encode(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
        return 0;
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

bool utf8_valid(const char *p, size_t n)
{
    uint32_t cp;

    for (size_t i = 0; i < n;) {
        int len = (unsigned char)p[i] < 0x80 ? 1 : utf8_decode(p + i, n - i, &cp);

        if (len == 0)
            return false;
        i += (size_t)len;
    }
    return true;
}

size_t utf8_whole(const char *p, size_t n)
{
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        int want;
        int have = prefix((const unsigned char *)p + n - back, back, &want);

        if (have > 0)
            return have == (int)back && want > have ? n - back : n;
    }
    return n;
}

bool utf8_shown(uint32_t cp)
{
    if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0))
        return false;
    if (cp == 0x061c || cp == 0x200e || cp == 0x200f || cp == 0xfeff)
        return false;
    return !(cp >= 0x2028 && cp <= 0x202e) && !(cp >= 0x2066 && cp <= 0x2069);
}
