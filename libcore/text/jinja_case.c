/* jinja_case.c - characters: white space, what can be printed, upper and lower case; stripping,
 * replacing and splitting strings by them. */
#include "jinja_in.h"

#include <utf8proc.h>

#include "base/utf8.h"

/* -- characters -- */

bool ju_space(uint32_t cp)
{
    if (cp < 0x80)
        return cp == ' ' || (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x1f);
    return cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

bool ju_printable(uint32_t cp)
{
    if (cp < 0x7f)
        return cp >= 0x20;
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

/* Characters that become several (SpecialCasing.txt, the unconditional rows of everyday scripts):
 * character, upper case, title case. */
static const struct {
    uint16_t cp;
    uint16_t upper[3], title[3];
} special[] = {
    {0x00df, {0x53, 0x53}, {0x53, 0x73}},
    {0x0149, {0x2bc, 0x4e}, {0x2bc, 0x4e}},
    {0x01f0, {0x4a, 0x30c}, {0x4a, 0x30c}},
    {0x0390, {0x399, 0x308, 0x301}, {0x399, 0x308, 0x301}},
    {0x03b0, {0x3a5, 0x308, 0x301}, {0x3a5, 0x308, 0x301}},
    {0x0587, {0x535, 0x552}, {0x535, 0x582}},
    {0x1e96, {0x48, 0x331}, {0x48, 0x331}},
    {0x1e97, {0x54, 0x308}, {0x54, 0x308}},
    {0x1e98, {0x57, 0x30a}, {0x57, 0x30a}},
    {0x1e99, {0x59, 0x30a}, {0x59, 0x30a}},
    {0x1e9a, {0x41, 0x2be}, {0x41, 0x2be}},
    {0xfb00, {0x46, 0x46}, {0x46, 0x66}},
    {0xfb01, {0x46, 0x49}, {0x46, 0x69}},
    {0xfb02, {0x46, 0x4c}, {0x46, 0x6c}},
    {0xfb03, {0x46, 0x46, 0x49}, {0x46, 0x66, 0x69}},
    {0xfb04, {0x46, 0x46, 0x4c}, {0x46, 0x66, 0x6c}},
    {0xfb05, {0x53, 0x54}, {0x53, 0x74}},
    {0xfb06, {0x53, 0x54}, {0x53, 0x74}},
};

int ju_case(uint32_t cp, char to, uint32_t out[3])
{
    utf8proc_int32_t c = (utf8proc_int32_t)cp;

    if (cp < 0x80) {
        bool lower = cp >= 'a' && cp <= 'z', upper = cp >= 'A' && cp <= 'Z';

        out[0] = to == 'l' ? (upper ? cp + 32 : cp) : lower ? cp - 32 : cp;
        return 1;
    }
    if (to == 'l') {
        out[0] = (uint32_t)utf8proc_tolower(c);
        if (cp == 0x130) { // the one character whose lower case is two
            out[0] = 'i';
            out[1] = 0x307;
            return 2;
        }
        return 1;
    }
    for (size_t i = 0; i < ARRAY_LEN(special); i++) {
        const uint16_t *as = to == 'u' ? special[i].upper : special[i].title;
        int n = 0;

        if (special[i].cp != cp)
            continue;
        for (; n < 3 && as[n]; n++)
            out[n] = as[n];
        return n;
    }
    out[0] = (uint32_t)(to == 'u' ? utf8proc_toupper(c) : utf8proc_totitle(c));
    return 1;
}

/* -- strings by their characters -- */

static bool cased(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);

    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT;
}

/* A capital sigma ends a word when a letter is in front and none behind. */
static bool sigma_ends(const struct jstr *s, size_t at, bool letter_before)
{
    uint32_t cp;

    return letter_before && (utf8_decode(s->p + at + 2, s->n - at - 2, &cp) == 0 || !cased(cp));
}

static char direction(char how, bool first, bool in_word, uint32_t cp)
{
    switch (how) {
    case 'c':
        return first ? 't' : 'l';
    case 't':
        return in_word ? 'l' : 't';
    case 's':
        return utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_LL ? 'u' : 'l';
    default:
        return how;
    }
}

/* Roles, mostly: nothing to change, or a copy with the same marks. */
static const struct jstr *ascii_case(struct jstate *J, const struct jstr *s, char how)
{
    const char first = how == 'l' ? 'A' : 'a';
    struct jstr *r;
    size_t same = 0;
    char *p;

    while (same < s->n && (unsigned char)(s->p[same] - first) >= 26)
        same++;
    if (same == s->n || !jstep(J, s->n / 64))
        return s;
    p = jalloc(J, s->n, 1);
    r = jalloc(J, 1, sizeof *r);
    if (!p || !r)
        return &jstr_empty;
    for (size_t i = 0; i < s->n; i++)
        p[i] = (char)((unsigned char)(s->p[i] - first) < 26 ? s->p[i] ^ 32 : s->p[i]);
    *r = *s;
    r->p = p;
    r->hash = 0;
    return r;
}

const struct jstr *jstr_case(struct jstate *J, const struct jstr *s, char how)
{
    struct jbuf b = {.J = J};
    bool in_word = false;

    if (s->n_cp == s->n && (how == 'l' || how == 'u'))
        return ascii_case(J, s, how);

    for (size_t i = 0; i < s->n && !J->failed;) {
        uint32_t cp = 0, to[3];
        int n = utf8_decode(s->p + i, s->n - i, &cp), k;
        char way = direction(how, i == 0, in_word, cp);

        k = ju_case(cp, way, to);
        if (cp == 0x3a3 && way == 'l')
            to[0] = sigma_ends(s, i, in_word) ? 0x3c2 : 0x3c3;
        for (int c = 0; c < k; c++)
            jb_cp(&b, to[c], jstr_mark_at(s, i));
        in_word = cased(cp);
        i += n > 0 ? (size_t)n : 1;
    }
    return jstr_safe(J, jb_str_of(&b), s->safe);
}

static bool strips(const struct jstr *chars, const char *p, size_t n)
{
    uint32_t cp;

    if (!chars)
        return utf8_decode(p, n, &cp) > 0 && ju_space(cp);
    for (size_t i = 0; i + n <= chars->n; i++)
        if (memcmp(chars->p + i, p, n) == 0)
            return true;
    return false;
}

const struct jstr *jstr_strip(struct jstate *J, const struct jstr *s, const struct jstr *chars,
                              int sides)
{
    size_t a = 0, z = s->n, n;
    uint32_t cp;

    while (sides & 1 && a < z && jstep(J, chars ? chars->n / 64 : 0)) {
        n = (size_t)utf8_decode(s->p + a, z - a, &cp);
        if (n == 0 || !strips(chars, s->p + a, n))
            break;
        a += n;
    }
    while (sides & 2 && z > a && jstep(J, chars ? chars->n / 64 : 0)) {
        for (n = 1; z - n > a && ((unsigned char)s->p[z - n] & 0xc0) == 0x80;)
            n++;
        if (!strips(chars, s->p + z - n, n))
            break;
        z -= n;
    }
    return jstr_sub(J, s, a, z - a);
}

/* Between all characters, when what is replaced is empty. */
static const struct jstr *spread(struct jstate *J, const struct jstr *s, const struct jstr *to,
                                 int64_t most)
{
    struct jbuf b = {.J = J};

    for (size_t i = 0; i < s->n && !J->failed; i++) {
        if (((unsigned char)s->p[i] & 0xc0) != 0x80 && most != 0) {
            jb_str(&b, to);
            most--;
        }
        jb_sub(&b, s, i, 1);
    }
    if (most != 0)
        jb_str(&b, to);
    return jb_str_of(&b);
}

const struct jstr *jstr_replace(struct jstate *J, const struct jstr *s, const struct jstr *from,
                                const struct jstr *to, int64_t most)
{
    struct jbuf b = {.J = J};
    size_t at = 0, hit;

    if (from->n == 0)
        return spread(J, s, to, most);
    while (most != 0 && jstep(J, 1) && (hit = jstr_find(s, at, s->n, from, false)) != SIZE_MAX) {
        jb_sub(&b, s, at, hit - at);
        jb_str(&b, to);
        at = hit + from->n;
        most--;
    }
    if (at == 0)
        return jstr_safe(J, s, false);
    jb_sub(&b, s, at, s->n - at);
    return jb_str_of(&b);
}

/* The length of a line's end at p, or 0. */
static size_t line_end(const char *p, size_t n)
{
    uint32_t cp = 0;
    int k = utf8_decode(p, n, &cp);

    if (cp == '\r')
        return n > 1 && p[1] == '\n' ? 2 : 1;
    return (cp >= 10 && cp <= 12) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 || cp == 0x2028 ||
                   cp == 0x2029
               ? (size_t)k
               : 0;
}

struct jlist *jstr_lines(struct jstate *J, const struct jstr *s, bool keep_ends)
{
    struct jlist *l = jlist_new(J, 0);
    size_t start = 0;

    for (size_t i = 0; i < s->n && !J->failed;) {
        size_t n = line_end(s->p + i, s->n - i);

        if (n) {
            jlist_add(J, l, jv_str(jstr_sub(J, s, start, i + (keep_ends ? n : 0) - start)));
            start = i + n;
        }
        i += n ? n : 1;
    }
    if (start < s->n)
        jlist_add(J, l, jv_str(jstr_sub(J, s, start, s->n - start)));
    return l;
}

const struct jstr *jstr_join(struct jstate *J, const struct jstr *with, const struct jlist *l)
{
    struct jbuf b = {.J = J};

    for (size_t i = 0; i < l->n && !J->failed; i++) {
        if (i)
            jb_str(&b, with);
        jv_write(&b, l->v[i], false);
    }
    return jb_str_of(&b);
}
