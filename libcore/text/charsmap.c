/* charsmap.c - the normalization tables SentencePiece models carry (precompiled_charsmap).
 *
 * Four bytes: the size of a double-array trie (the layout of darts-clone), then its 32-bit units,
 * then NUL-ended replacements that leaves of the trie point to. Units are data from a file: every
 * index is checked when it is used.
 */
#include "tok_in.h"

static uint32_t word_at(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

int charsmap_check(const uint8_t *p, size_t n, struct err *e)
{
    uint32_t trie = n >= 4 ? word_at(p) : 0;

    if (n < 8 || trie < 4 || trie % 4 || trie > n - 5)
        return err_set(e, E_FORMAT, "precompiled_charsmap: %zu bytes, a trie of %u", n,
                       (unsigned)trie);
    if (p[n - 1] != 0)
        return err_set(e, E_FORMAT, "precompiled_charsmap: the last replacement has no end");
    return 0;
}

static uint32_t offset_of(uint32_t unit)
{
    return (unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* The longest entry at the front of text, or the shortest: its bytes, 0 where there is none. */
static size_t find(const uint8_t *map, size_t n, struct slice text, bool shortest,
                   struct slice *with)
{
    const uint8_t *units = map + 4;
    uint32_t n_unit = word_at(map) / 4;
    const char *strings = (const char *)map + 4 + (size_t)n_unit * 4;
    size_t n_strings = n - 4 - (size_t)n_unit * 4, found = 0;
    uint32_t node = offset_of(word_at(units)), value = 0;

    for (size_t i = 0; i < text.n && text.p[i]; i++) {
        uint8_t c = (uint8_t)text.p[i];
        uint32_t unit;

        node ^= c;
        if (node >= n_unit)
            break;
        unit = word_at(units + (size_t)node * 4);
        if ((unit & (1u << 31 | 0xff)) != c)
            break;
        node ^= offset_of(unit);
        if (!(unit >> 8 & 1))
            continue;
        if (node >= n_unit)
            break;
        value = word_at(units + (size_t)node * 4) & 0x7fffffff;
        found = i + 1;
        if (shortest)
            break;
    }
    if (found == 0 || value >= n_strings)
        return 0;
    *with = slice_of(strings + value); /* the last byte is NUL: charsmap_check */
    return found;
}

size_t charsmap_find(const uint8_t *map, size_t n, struct slice text, struct slice *with)
{
    return find(map, n, text, false, with);
}

bool charsmap_shortest(const uint8_t *map, size_t n, struct slice text, struct slice *with)
{
    return find(map, n, text, true, with) > 0;
}
