/* pipe_norm.c - normalizers of a tokenizer.json, one step at a time. */
#define _GNU_SOURCE
#include <utf8proc.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/pipe.h"
#include "text/tok_in.h"
#include "text/uclass.h"
#include "text/ulib.h"

static void add_char(struct buf *out, uint32_t cp)
{
    char s[4];

    buf_add(out, s, (size_t)utf8_encode(cp, s));
}

static uint32_t next_char(struct slice *s)
{
    uint32_t cp;
    int n = utf8_next((const uint8_t *)s->p, &cp);

    *s = (struct slice){s->p + n, s->n - (size_t)n};
    return cp;
}

static bool ascii_only(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] >= 0x80)
            return false;
    return true;
}

/* What has no character that the library's tables do not know. */
static int form_known(enum norm_kind kind, struct slice text, struct buf *out, struct err *e)
{
    static const int how[] = {UTF8PROC_STABLE | UTF8PROC_COMPOSE,
                              UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
                              UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
                              UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT};
    utf8proc_option_t o = (utf8proc_option_t)how[kind];
    utf8proc_int32_t *cps;
    utf8proc_ssize_t n;

    if (ascii_only(text)) {
        buf_slice(out, text);
        return 0;
    }
    if (text.n > INT32_MAX / 8)
        return err_set(e, E_RANGE, "a text of %zu bytes is too long to be normalized", text.n);
    n = utf8proc_decompose((const utf8proc_uint8_t *)text.p, (utf8proc_ssize_t)text.n, NULL, 0, o);
    if (n < 0)
        return err_set(e, E_FORMAT, "text that cannot be normalized");
    if (!(cps = mem_array((uint64_t)n + 1, sizeof *cps, e)))
        return E_NOMEM;
    n = utf8proc_decompose((const utf8proc_uint8_t *)text.p, (utf8proc_ssize_t)text.n, cps, n, o);
    n = utf8proc_normalize_utf32(cps, n, o);
    for (utf8proc_ssize_t i = 0; i < n; i++)
        add_char(out, (uint32_t)cps[i]);
    mem_free(cps);
    return 0;
}

int tok_normal_form(enum norm_kind kind, struct slice text, struct buf *out, struct err *e)
{
    size_t from = 0, at = 0, n;
    uint32_t cp;
    int rc = 0;

    for (; at < text.n && rc == 0; at += n) {
        n = (size_t)utf8_next((const uint8_t *)text.p + at, &cp);
        if (!ulib_later(cp))
            continue;
        rc = form_known(kind, (struct slice){text.p + from, at - from}, out, e);
        buf_add(out, text.p + at, n);
        from = at + n;
    }
    return rc < 0 ? rc : form_known(kind, (struct slice){text.p + from, text.n - from}, out, e);
}

/* The small letter of every letter by itself; one has two characters. */
static void add_lower(struct buf *out, uint32_t cp)
{
    add_char(out, ulib_lower(cp));
    if (cp == 0x130)
        add_char(out, 0x307);
}

static void strip(const struct norm_step *s, struct slice text, struct buf *out)
{
    struct slice rest = text;

    while (s->left && rest.n) {
        struct slice after = rest;

        if (!(uclass_of(next_char(&after)) & UC_S))
            break;
        rest = after;
    }
    while (s->right && rest.n) {
        size_t at = rest.n - 1;
        struct slice last;

        while (at > 0 && ((uint8_t)rest.p[at] & 0xc0) == 0x80)
            at--;
        last = (struct slice){rest.p + at, rest.n - at};
        if (!(uclass_of(next_char(&last)) & UC_S))
            break;
        rest.n = at;
    }
    buf_slice(out, rest);
}

/* What the NMT normalizer of SentencePiece drops, and what it takes for a space. */
static bool nmt_drops(uint32_t cp)
{
    return (cp >= 1 && cp <= 8) || cp == 0xb || (cp >= 0xe && cp <= 0x1f) || cp == 0x7f ||
           cp == 0x8f || cp == 0x9f;
}

static bool nmt_space(uint32_t cp)
{
    return cp == 9 || cp == 0xa || cp == 0xc || cp == 0xd || cp == 0x1680 ||
           (cp >= 0x200b && cp <= 0x200f) || cp == 0x2028 || cp == 0x2029 || cp == 0x2581 ||
           cp == 0xfeff || cp == 0xfffd;
}

static int replace(const struct norm_step *s, struct pre_match *m, struct slice text,
                   struct buf *out, struct err *e)
{
    size_t at = 0, done = 0;

    while (at <= text.n) {
        size_t from = text.n, to = text.n;
        const char *p;

        if (s->re) {
            int rc = pre_re_find(s->re, m, text, at, &from, &to, e);

            if (rc < 0)
                return rc;
            if (rc == 0)
                break;
        } else {
            p = s->from.n ? memmem(text.p + at, text.n - at, s->from.p, s->from.n) : NULL;
            if (!p)
                break;
            from = (size_t)(p - text.p);
            to = from + s->from.n;
        }
        if (to == from) { /* nothing is not replaced */
            uint32_t cp;

            if (to >= text.n)
                break;
            at = to + (size_t)utf8_next((const uint8_t *)text.p + to, &cp);
            continue;
        }
        buf_add(out, text.p + done, from - done);
        buf_slice(out, buf_view(&s->to));
        at = done = to;
    }
    buf_add(out, text.p + done, text.n - done);
    return 0;
}

/* What text is mapped to by the first, shortest, entry at its front, as the library has it. */
static bool map_chunk(const struct norm_step *s, struct slice text, struct buf *out)
{
    struct slice with;

    if (!charsmap_shortest((const uint8_t *)s->from.p, s->from.n, text, &with))
        return false;
    buf_slice(out, with);
    return true;
}

/* What utf8proc is asked about instead of cp: a mark that it may not know yet goes with the
 * character before it as any other does. (The library's graphemes are of Unicode 17.) */
static utf8proc_int32_t known_mark(uint32_t cp)
{
    const bool late = (cp >= 0x1acf && cp <= 0x1add) || (cp >= 0x1ae0 && cp <= 0x1aeb);

    return late || uclass_of(cp) & UC_MN ? 0x300 : (utf8proc_int32_t)cp;
}

/* Graphemes of less than six bytes as a whole, the characters of others one by one. */
static void charsmap(const struct norm_step *s, struct slice text, struct buf *out)
{
    while (text.n) {
        struct slice rest = text, chunk;
        utf8proc_int32_t state = 0;
        uint32_t cp = next_char(&rest);

        while (rest.n) {
            struct slice after = rest;
            uint32_t next = next_char(&after);

            if (utf8proc_grapheme_break_stateful(known_mark(cp), known_mark(next), &state))
                break;
            cp = next;
            rest = after;
        }
        chunk = (struct slice){text.p, text.n - rest.n};
        text = rest;
        if (chunk.n < 6 && map_chunk(s, chunk, out))
            continue;
        while (chunk.n) {
            struct slice one = chunk;

            next_char(&chunk);
            one.n -= chunk.n;
            if (!map_chunk(s, one, out))
                buf_slice(out, one);
        }
    }
}

static bool is_ideograph(uint32_t cp)
{
    static const uint32_t range[][2] = {
        {0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xf900, 0xfaff},   {0x20000, 0x2a6df},
        {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, {0x2f800, 0x2fa1f},
    };

    for (size_t i = 0; i < ARRAY_LEN(range) && cp >= range[i][0]; i++)
        if (cp <= range[i][1])
            return true;
    return false;
}

static int bert(const struct norm_step *s, struct slice text, struct buf *out, struct err *e)
{
    struct buf a = {0}, b = {0};
    struct slice rest = text;
    int rc = 0;

    while (rest.n) {
        uint32_t cp = next_char(&rest);
        bool apart = s->apart && cp >= 0x3400 && is_ideograph(cp);

        if (s->clean && ulib_bert_control(cp))
            continue;
        if (s->clean && uclass_of(cp) & UC_S)
            cp = ' ';
        if (apart)
            buf_byte(&a, ' ');
        add_char(&a, cp);
        if (apart)
            buf_byte(&a, ' ');
    }
    if (s->accents) {
        rc = tok_normal_form(NORM_NFD, buf_view(&a), &b, e);
        buf_clear(&a);
        for (rest = buf_view(&b); rest.n;) {
            uint32_t cp = next_char(&rest);

            if (!ulib_bert_accent(cp))
                add_char(&a, cp);
        }
    }
    for (rest = buf_view(&a); rest.n && s->lower;)
        add_lower(out, next_char(&rest));
    if (!s->lower)
        buf_slice(out, buf_view(&a));
    if (a.bad || b.bad)
        rc = err_nomem(e, text.n);
    buf_fini(&a);
    buf_fini(&b);
    return rc;
}

int pipe_normalize(const struct norm_step *s, struct pre_match *m, struct slice text,
                   struct buf *out, struct err *e)
{
    int rc = 0;

    switch (s->kind) {
    case NORM_NFC:
    case NORM_NFD:
    case NORM_NFKC:
    case NORM_NFKD:
        rc = tok_normal_form(s->kind, text, out, e);
        break;
    case NORM_LOWER:
        while (text.n)
            add_lower(out, next_char(&text));
        break;
    case NORM_STRIP_ACCENTS:
        while (text.n) {
            uint32_t cp = next_char(&text);

            if (!ulib_accent(cp))
                add_char(out, cp);
        }
        break;
    case NORM_STRIP:
        strip(s, text, out);
        break;
    case NORM_NMT:
        while (text.n) {
            uint32_t cp = next_char(&text);

            if (!nmt_drops(cp))
                add_char(out, nmt_space(cp) ? ' ' : cp);
        }
        break;
    case NORM_REPLACE:
        rc = replace(s, m, text, out, e);
        break;
    case NORM_PREPEND:
        if (text.n)
            buf_slice(out, buf_view(&s->to));
        buf_slice(out, text);
        break;
    case NORM_CHARSMAP:
        charsmap(s, text, out);
        break;
    case NORM_BERT:
        rc = bert(s, text, out, e);
        break;
    case NORM_BYTES:
        tok_to_alphabet(text, out);
        break;
    case NORM_SPACE:
        if (text.n && text.p[0] != ' ')
            buf_byte(out, ' ');
        buf_slice(out, text);
        break;
    }
    return rc < 0 ? rc : out->bad ? err_nomem(e, text.n) : 0;
}
