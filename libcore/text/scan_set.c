/* scan_set.c - expressions that match a run of characters out of one set: "\s?\p{L}+",
 * "[0-9][0-9][0-9]",
 * "\p{N}{1,3}" and the like, read from their text.
 */
#include <string.h>

#include "base/utf8.h"
#include "scan.h"
#include "text/uclass.h"

/* -- reading --------------------------------------------------------------------------------- */

struct reader {
    const char *p;
    bool bad; // not of this form
};

static bool skip(struct reader *r, const char *text)
{
    size_t n = strlen(text);
    bool here = strncmp(r->p, text, n) == 0;

    r->p += here ? n : 0;
    return here;
}

static uint32_t read_number(struct reader *r, uint32_t base)
{
    uint32_t v = 0;
    const char *start = r->p;

    for (;; r->p++) {
        char c = *r->p;
        uint32_t d = c >= '0' && c <= '9'                     ? (uint32_t)(c - '0')
                     : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (uint32_t)((c | 0x20) - 'a' + 10)
                                                              : 99;

        if (d >= base || v > 0x110000)
            break;
        v = v * base + d;
    }
    r->bad |= r->p == start;
    return v;
}

/* The classes behind \p, or 0. */
static uint32_t read_class(struct reader *r)
{
    static const struct {
        const char *name;
        uint32_t bits;
    } names[] = {{"{L}", UC_L}, {"{N}", UC_N},   {"{P}", UC_P},   {"{S}", UC_SYM},
                 {"{M}", UC_M}, {"{Nd}", UC_ND}, {"{Mn}", UC_MN}, {"{Pc}", UC_PC}};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (skip(r, names[i].name))
            return names[i].bits;
    r->bad = true;
    return 0;
}

/* A character, or classes (then *bits is not 0). */
static uint32_t read_item(struct reader *r, uint32_t *bits)
{
    uint32_t cp = 0;
    int len;

    *bits = 0;
    if (*r->p != '\\') {
        len = utf8_decode(r->p, strlen(r->p), &cp);
        r->bad |= len == 0;
        r->p += len;
        return cp;
    }
    r->p++;
    switch (*r->p++) {
    case 'p':
        *bits = read_class(r);
        return 0;
    case 's':
        *bits = UC_S;
        return 0;
    case 'd':
        *bits = UC_ND;
        return 0;
    case 'r':
        return '\r';
    case 'n':
        return '\n';
    case 't':
        return '\t';
    case 'x':
        r->bad |= !skip(r, "{");
        cp = read_number(r, 16);
        r->bad |= !skip(r, "}");
        return cp;
    default:
        /* a letter or digit would be some other escape; the end is one, too */
        cp = (uint8_t)r->p[-1];
        r->bad |= cp < 0x21 || cp > 0x7e || !(uclass_ascii[cp] & (UC_P | UC_SYM));
        if (r->bad)
            r->p--;
        return cp;
    }
}

static void add_range(struct reader *r, struct scan_set *s, uint32_t lo, uint32_t hi)
{
    unsigned i = s->n_range;

    for (; lo <= hi && lo < 128; lo++)
        s->ascii[lo] = 1;
    if (lo > hi)
        return;
    if (i == SCAN_MAX_RANGE || hi > 0x10ffff) {
        r->bad = true;
        return;
    }
    for (; i > 0 && s->range[i - 1][0] > lo; i--)
        memcpy(s->range[i], s->range[i - 1], sizeof s->range[i]);
    s->range[i][0] = lo;
    s->range[i][1] = hi;
    s->n_range++;
}

/* Ranges that overlap become one. */
static void join_ranges(struct scan_set *s)
{
    unsigned n = 0;

    for (unsigned i = 0; i < s->n_range; i++) {
        if (n && s->range[i][0] <= s->range[n - 1][1]) {
            if (s->range[i][1] > s->range[n - 1][1])
                s->range[n - 1][1] = s->range[i][1];
        } else {
            memcpy(s->range[n++], s->range[i], sizeof s->range[i]);
        }
    }
    s->n_range = n;
}

/* [...] or a single item. */
static void read_set(struct reader *r, struct scan_set *s)
{
    bool brackets = skip(r, "[");

    *s = (struct scan_set){.other = brackets && skip(r, "^")};
    do {
        const char *from = r->p;
        uint32_t bits, lo = read_item(r, &bits), hi = lo, more;

        if (bits) {
            s->any |= bits;
            continue;
        }
        if (*from != '\\') /* what means something else there */
            r->bad |= lo < 128 && strchr(brackets ? "[&" : ".^$|()*+?{", (int)lo) != NULL;
        if (brackets && r->p[0] == '-' && r->p[1] != ']') {
            r->p++;
            hi = read_item(r, &more);
            r->bad |= more != 0 || hi < lo;
        }
        if (r->bad)
            return;
        add_range(r, s, lo, hi);
    } while (brackets && !r->bad && *r->p && !skip(r, "]"));
    r->bad |= brackets && r->p[-1] != ']';
    for (unsigned c = 0; c < 128; c++) {
        if (uclass_ascii[c] & s->any)
            s->ascii[c] = 1;
        if (s->other)
            s->ascii[c] ^= 1;
    }
    join_ranges(s);
}

static void read_count(struct reader *r, struct scan_rule *rule)
{
    rule->least = rule->most = 1;
    if (skip(r, "+")) {
        rule->most = 0;
    } else if (skip(r, "{")) {
        rule->least = rule->most = read_number(r, 10);
        if (skip(r, ","))
            rule->most = *r->p == '}' ? 0 : read_number(r, 10);
        r->bad |= !skip(r, "}") || rule->least == 0 || (rule->most && rule->most < rule->least);
    }
}

bool scan_parse(struct scan_rule *rule, const char *pattern)
{
    struct reader r = {.p = pattern};
    const char *atom;
    size_t n;

    *rule = (struct scan_rule){.kind = SCAN_RUN};
    if (skip(&r, " ?"))
        rule->flags = SCAN_SPACE;
    else if (skip(&r, "\\s?"))
        rule->flags = SCAN_BLANK;
    atom = r.p;
    if (!*atom)
        return false;
    read_set(&r, &rule->set);
    if (r.bad)
        return false;
    n = (size_t)(r.p - atom);
    for (unsigned c = 0; c < 128; c++)
        if (rule->flags & SCAN_BLANK ? uclass_ascii[c] & UC_S : rule->flags && c == ' ')
            rule->set.ascii[c] |= 2;
    read_count(&r, rule);
    while (!r.bad && rule->most == 1 && *r.p && strncmp(r.p, atom, n) == 0) {
        r.p += n; /* the same set again */
        rule->least++;
        rule->most = rule->least;
        while (strncmp(r.p, atom, n) == 0) {
            r.p += n;
            rule->most = ++rule->least;
        }
    }
    return !r.bad && *r.p == '\0';
}

/* -- scanning -------------------------------------------------------------------------------- */

static bool in_ranges(const struct scan_set *s, uint32_t cp)
{
    unsigned lo = 0, hi = s->n_range;

    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;

        if (cp > s->range[mid][1])
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < s->n_range && cp >= s->range[lo][0];
}

/* Whether the character at `at` is in the set; false at the end. */
static inline bool in_set(const struct scan_set *s, const uint8_t *p, size_t at, size_t n, int *len)
{
    uint32_t cp;

    *len = 0;
    if (at >= n)
        return false;
    if (p[at] < 128) {
        *len = 1;
        return s->ascii[p[at]] & 1;
    }
    *len = utf8_next(p + at, &cp);
    return ((s->any && uclass_of(cp) & s->any) || (s->n_range && in_ranges(s, cp))) != s->other;
}

/* The end of the match at `at`, or 0; *next is where to look on. */
static size_t match(const struct scan_rule *r, const uint8_t *p, size_t at, size_t n, size_t *next)
{
    size_t end = at;
    unsigned count = 0;
    int len;

    if (!in_set(&r->set, p, at, n, &len)) {
        uint32_t cp;

        *next = end = at + (size_t)len;
        if (r->flags == 0 || !in_set(&r->set, p, end, n, &len))
            return 0;
        utf8_next(p + at, &cp);
        if (!(r->flags & SCAN_BLANK ? uclass_of(cp) & UC_S : cp == ' '))
            return 0;
    }
    if (r->most == 0 && r->least == 1)
        for (count = 1; end < n && p[end] < 128 && r->set.ascii[p[end]] & 1; end++)
            ;
    for (; (r->most == 0 || count < r->most) && in_set(&r->set, p, end, n, &len); count++)
        end += (size_t)len;
    *next = end;
    return count >= r->least ? end : 0;
}

/* Behind ASCII characters with which no match can begin. */
static inline size_t skip_ascii(const struct scan_rule *r, const uint8_t *p, size_t at, size_t n)
{
    while (at < n && p[at] < 128 && !r->set.ascii[p[at]])
        at++;
    return at;
}

size_t scan_run(const struct scan_rule *r, const uint8_t *p, size_t at, size_t n)
{
    size_t next, end = match(r, p, at, n, &next);

    if (end)
        return end;
    /* up to the next match; what a leading space belongs to begins with the space */
    for (at = skip_ascii(r, p, next, n); at < n && !match(r, p, at, n, &next);)
        at = skip_ascii(r, p, next, n);
    return at;
}
