/* scan.c - see scan.h. */
#include "scan.h"

#include "base/mem.h"
#include "text/uclass.h"

/* Class of the character at `at` and its length; 0 and 0 at the end. */
static inline uint32_t class_at(const uint8_t *p, size_t at, size_t n, int *len)
{
    uint32_t cp;

    if (unlikely(at >= n)) {
        *len = 0;
        return 0;
    }
    if (likely(p[at] < 128)) {
        *len = 1;
        return uclass_ascii[p[at]];
    }
    *len = utf8_next(p + at, &cp);
    return uclass_of(cp);
}

/* The end of the run of characters with any of the bits in `any`. */
static inline size_t run_of(const uint8_t *p, size_t at, size_t n, uint32_t any)
{
    int len;

    while (class_at(p, at, n, &len) & any)
        at += (size_t)len;
    return at;
}

/* The end of the run of characters with none of the bits. */
static inline size_t run_without(const uint8_t *p, size_t at, size_t n, uint32_t none)
{
    while (at < n) {
        int len;

        if (class_at(p, at, n, &len) & none)
            break;
        at += (size_t)len;
    }
    return at;
}

/* \s+(?!\S)|\s+ at the start of a run of white space that ends at `end`. */
static size_t blanks(const uint8_t *p, size_t at, size_t end, size_t n)
{
    size_t last = end - 1;

    if (end == n)
        return end;
    while ((p[last] & 0xc0) == 0x80)
        last--;
    return last > at ? last : end;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t spaces(const uint8_t *p, size_t at, size_t n)
{
    size_t end = at, newline = 0;
    int len;

    for (; class_at(p, end, n, &len) & UC_S; end += (size_t)len)
        if (p[end] == '\r' || p[end] == '\n')
            newline = end + 1;
    return newline ? newline : blanks(p, at, end, n);
}

/* Length of s|t|re|ve|m|ll|d at `at`, or 0. */
static size_t suffix_plain(const uint8_t *p, size_t at, size_t n)
{
    uint8_t a = at < n ? p[at] : 0, b = at + 1 < n ? p[at + 1] : 0;

    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 1;
    return ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l') ? 2 : 0;
}

/* The same in any case. U+017F is another lower case of S. */
static size_t suffix_any_case(const uint8_t *p, size_t at, size_t n)
{
    uint8_t a = at < n ? p[at] | 0x20 : 0, b = at + 1 < n ? p[at + 1] | 0x20 : 0;

    if (at + 1 < n && p[at] == 0xc5 && p[at + 1] == 0xbf)
        return 2;
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 1;
    return ((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l') ? 2 : 0;
}

static size_t scan_gpt2(const struct scan_rule *r, const uint8_t *p, size_t at, size_t n)
{
    size_t from = at, more;
    uint32_t c;
    int len;

    (void)r;
    if (p[at] == '\'' && (more = suffix_plain(p, at + 1, n)) > 0)
        return at + 1 + more;
    c = class_at(p, at, n, &len);
    if (p[at] == ' ' && at + 1 < n) {
        int next;
        uint32_t d = class_at(p, at + 1, n, &next);

        if (!(d & UC_S)) {
            c = d;
            from++;
        }
    }
    if (c & UC_L)
        return run_of(p, from, n, UC_L);
    if (c & UC_N)
        return run_of(p, from, n, UC_N);
    if (!(c & UC_S))
        return run_without(p, from, n, UC_S | UC_L | UC_N);
    return blanks(p, at, run_of(p, at, n, UC_S), n);
}

/* What both families below end with: numbers, punctuation, white space. c is the class at `at`. */
static size_t scan_rest(const struct scan_rule *r, const uint8_t *p, size_t at, size_t n,
                        uint32_t c, uint32_t word)
{
    size_t from = at, end;
    int len;

    if (c & UC_N) {
        if (r->most == 0)
            return run_of(p, at, n, UC_N);
        for (unsigned i = 0; i < r->most && class_at(p, at, n, &len) & UC_N; i++)
            at += (size_t)len;
        return at;
    }
    if (p[at] == ' ' && at + 1 < n && !(class_at(p, at + 1, n, &len) & (UC_S | UC_N | word)))
        from++;
    if (from > at || !(c & UC_S)) {
        end = run_without(p, from, n, UC_S | UC_N | word);
        while (end < n &&
               (p[end] == '\r' || p[end] == '\n' || (p[end] == '/' && r->flags & SCAN_SLASH)))
            end++;
        return end;
    }
    return spaces(p, at, n);
}

static size_t scan_words(const struct scan_rule *r, const uint8_t *p, size_t at, size_t n)
{
    uint32_t word = r->flags & SCAN_MARKS ? UC_L | UC_M : UC_L;
    size_t more;
    uint32_t c;
    int len, next;

    if (p[at] == '\'' && r->flags & SCAN_SUFFIX && (more = suffix_any_case(p, at + 1, n)) > 0)
        return at + 1 + more;
    c = class_at(p, at, n, &len);
    if (c & word)
        return run_of(p, at + (size_t)len, n, word);
    if (!(c & (UC_NL | UC_N)) && class_at(p, at + (size_t)len, n, &next) & word)
        return run_of(p, at + (size_t)(len + next), n, word);
    return scan_rest(r, p, at, n, c, word);
}

/* Class for the cased words: Han characters are in none of the sets where the rule says so. */
static inline uint32_t cased_class(const struct scan_rule *r, const uint8_t *p, size_t at, size_t n,
                                   int *len)
{
    uint32_t c = class_at(p, at, n, len);

    if (unlikely(r->flags & SCAN_HAN) && *len > 2) {
        uint32_t cp;

        utf8_next(p + at, &cp);
        if (uclass_han(cp))
            c = (c & ~(uint32_t)(UC_UP | UC_LOW)) | UC_HAN;
    }
    return c;
}

/* [upper]*[lower]+ at `at`: the end, or 0. *upper is the end of the run of [upper].
 * The greedy first set gives back what the second needs: with a lower-case character behind the run
 * nothing, else all that follows the run's last character that is in both sets. */
static size_t upper_lower(const struct scan_rule *r, const uint8_t *p, size_t at, size_t n,
                          size_t *upper)
{
    size_t both = 0;
    uint32_t c;
    int len;

    while ((c = cased_class(r, p, at, n, &len)) & UC_UP) {
        at += (size_t)len;
        if (c & UC_LOW)
            both = at;
    }
    *upper = at;
    if (!(c & UC_LOW))
        return both;
    do
        at += (size_t)len;
    while (cased_class(r, p, at, n, &len) & UC_LOW);
    return at;
}

static size_t with_suffix(const struct scan_rule *r, const uint8_t *p, size_t end, size_t n)
{
    size_t more = 0;

    if (r->flags & SCAN_SUFFIX && end < n && p[end] == '\'')
        more = suffix_any_case(p, end + 1, n);
    return more ? end + 1 + more : end;
}

static size_t scan_cased(const struct scan_rule *r, const uint8_t *p, size_t at, size_t n)
{
    size_t end, upper_in = 0, upper = 0;
    bool lead;
    int len;
    uint32_t c = cased_class(r, p, at, n, &len);

    if (c & UC_HAN) {
        do
            at += (size_t)len;
        while (cased_class(r, p, at, n, &len) & UC_HAN);
        return at;
    }
    lead = !(c & (UC_NL | UC_L | UC_N));
    if (lead && (end = upper_lower(r, p, at + (size_t)len, n, &upper_in)) > 0)
        return with_suffix(r, p, end, n);
    if ((!lead || c & UC_UP) && (end = upper_lower(r, p, at, n, &upper)) > 0)
        return with_suffix(r, p, end, n);
    if (lead && upper_in > at + (size_t)len)
        return with_suffix(r, p, upper_in, n);
    if (c & UC_UP)
        return with_suffix(r, p, upper, n);
    return scan_rest(r, p, at, n, c, UC_L);
}

/* -- marked: DeepSeek-V3 and its like -------------------------------------------------------- */

/* The end of the match at `at`, or 0. What nothing matches is numbers and control characters. */
static size_t match_marked(const struct scan_rule *r, const uint8_t *p, size_t at, size_t n)
{
    int len, next;
    uint32_t c = class_at(p, at, n, &len), d;
    size_t end;

    if (p[at] < 128 && c & (UC_P | UC_SYM) && at + 1 < n &&
        (uint8_t)((p[at + 1] | 0x20) - 'a') < 26) {
        for (end = at + 1; end < n && (uint8_t)((p[end] | 0x20) - 'a') < 26;)
            end++;
        return end;
    }
    if (c & (UC_L | UC_M))
        return run_of(p, at, n, UC_L | UC_M);
    d = class_at(p, at + (size_t)len, n, &next);
    if (!(c & (UC_NL | UC_P | UC_SYM)) && d & (UC_L | UC_M))
        return run_of(p, at + (size_t)len, n, UC_L | UC_M);
    if (c & (UC_P | UC_SYM) || (p[at] == ' ' && d & (UC_P | UC_SYM))) {
        end = run_of(p, at + (size_t)len, n, UC_P | UC_SYM);
        while (end < n && !(r->flags & SCAN_ONE_NL) && (p[end] == '\r' || p[end] == '\n'))
            end++;
        return end;
    }
    if (!(c & UC_S))
        return 0;
    if (!(r->flags & SCAN_ONE_NL))
        return spaces(p, at, n);
    return c & UC_NL ? at + 1 : blanks(p, at, run_of(p, at, n, UC_S), n);
}

static size_t scan_marked(const struct scan_rule *r, const uint8_t *p, size_t at, size_t n)
{
    size_t end = match_marked(r, p, at, n);
    uint32_t cp;

    if (end)
        return end;
    do
        at += (size_t)utf8_next(p + at, &cp);
    while (at < n && !match_marked(r, p, at, n));
    return at;
}

/* White space that reaches the end of the text is a piece, and so is what lies before it. */
static size_t scan_tail(const struct scan_rule *r, const uint8_t *p, size_t at, size_t n)
{
    size_t tail = n;

    (void)r;
    while (tail > at) {
        size_t last = tail - 1;
        int len;

        while (last > at && (p[last] & 0xc0) == 0x80)
            last--;
        if (!(class_at(p, last, n, &len) & UC_S))
            break;
        tail = last;
    }
    return tail > at ? tail : n;
}

scan_fn *scan_of(enum scan_kind kind)
{
    static scan_fn *const of_kind[] = {
        [SCAN_GPT2] = scan_gpt2,     [SCAN_WORDS] = scan_words, [SCAN_CASED] = scan_cased,
        [SCAN_MARKED] = scan_marked, [SCAN_RUN] = scan_run,     [SCAN_TAIL] = scan_tail,
    };

    return of_kind[kind];
}
