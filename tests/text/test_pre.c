/* test_pre.c - pre-tokenizers: hand-written scanners against the expressions that define them, and
 * the steps written in C against their meaning. */
#include "tests/text/vocabs.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/file.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "text/pre.h"
#include "text/uclass.h"

/* make check-long */
static bool in_long(void)
{
    return getenv("LONG") && *getenv("LONG");
}

/* Where pieces end. */
struct cuts {
    const char *start;
    size_t at[1 << 18];
    size_t n;
};

static int note(void *arg, struct slice s)
{
    struct cuts *c = arg;

    ck_assert(c->n < ARRAY_LEN(c->at));
    ck_assert(s.n > 0);
    ck_assert(s.p == c->start + (c->n ? c->at[c->n - 1] : 0));
    c->at[c->n++] = (size_t)(s.p - c->start) + s.n;
    return 0;
}

struct both {
    struct pre *pre[2]; // expressions, scanners
    struct pre_work *work[2];
};

static void both_open(struct both *b, const struct pre_row *row)
{
    struct err e = {0};

    for (int i = 0; i < 2; i++) {
        ck_ok(pre_new(&b->pre[i], row, i == 1, &e), &e);
        ck_ok(pre_work_new(&b->work[i], b->pre[i], &e), &e);
    }
}

static void both_close(struct both *b)
{
    for (int i = 0; i < 2; i++) {
        pre_work_free(b->work[i]);
        pre_free(b->pre[i]);
    }
}

static void both_equal(struct both *b, const char *name, struct slice text)
{
    static struct cuts c[2];
    struct err e = {0};
    bool same;

    for (int i = 0; i < 2; i++) {
        c[i].n = 0;
        c[i].start = text.p;
        ck_ok(pre_split(b->pre[i], b->work[i], text, note, &c[i], &e), &e);
        ck_assert(text.n == 0 || c[i].at[c[i].n - 1] == text.n);
    }
    same = c[0].n == c[1].n && memcmp(c[0].at, c[1].at, c[0].n * sizeof *c[0].at) == 0;
    if (!same) {
        struct buf shown = {0};
        size_t k = 0;

        while (k < c[0].n && k < c[1].n && c[0].at[k] == c[1].at[k])
            k++;
        buf_json(&shown, text);
        ck_abort_msg("%.40s: piece %zu ends at %zu, scanner %zu, in %s", name, k, c[0].at[k],
                     c[1].at[k], shown.p);
    }
}

/* PCRE2's tables are of another Unicode version: characters it does not know are left out. */
static pcre2_code *assigned;
static pcre2_match_data *match;

static bool in_both(uint32_t cp)
{
    char s[4];
    int n = utf8_encode(cp, s), code;
    PCRE2_SIZE at;

    if (!assigned) {
        assigned = pcre2_compile((PCRE2_SPTR) "^\\P{Cn}$", PCRE2_ZERO_TERMINATED,
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_DOLLAR_ENDONLY, &code, &at, NULL);
        pcre2_jit_compile(assigned, PCRE2_JIT_COMPLETE);
        match = pcre2_match_data_create(1, NULL);
    }
    return n > 0 && pcre2_match(assigned, (PCRE2_SPTR)s, (size_t)n, 0, 0, match, NULL) > 0;
}

/* A character of the kinds the expressions tell apart, each often. */
static uint32_t any_char(struct rng *r)
{
    static const char common[] =
        "  \t\n\r\n  aAsStTdDmMrReEvVlL'''.,!?-/()<>$+=^~|`_\"0123456789\x0b\x1c\x01";
    static const uint32_t some[] = {
        0x17f,   0xe9,   0xc9,   0x1c5,  0x2b0,  0x301,    0x903,   0x5d0,   0x3042, 0x30a2,
        0x4e00,  0x9fa5, 0x3007, 0x2e80, 0xac00, 0x3131,   0xff01,  0x3002,  0x2026, 0x2019,
        0x2028,  0x85,   0xa0,   0x3000, 0x180e, 0x200b,   0xfeff,  0x660,   0xbd,   0x2160,
        0x1f600, 0x20ac, 0xb2,   0xad,   0x378,  0x10ffff, 0x1e900, 0x10400, 0x61,   0x41,
        0x1fbe,  0x212a, 0xaa,   0x964,  0x60c,  0xfffd,   0xe000,  0x2bc};
    uint32_t cp;

    switch (rng_next(r) % 8) {
    case 0:
    case 1:
    case 2:
    case 3:
        return (uint8_t)common[rng_next(r) % (sizeof common - 1)];
    case 4:
    case 5:
        return some[rng_next(r) % ARRAY_LEN(some)];
    case 6:
        return (uint32_t)(rng_next(r) % 0x3000);
    default:
        do
            cp = (uint32_t)(rng_next(r) % 0x110000);
        while (cp >= 0xd800 && cp < 0xe000);
        return cp;
    }
}

static struct slice any_text(struct rng *r, char *to, size_t room)
{
    size_t n = 0, chars = rng_next(r) % 24;

    for (size_t i = 0; i < chars && n + 16 < room; i++) {
        uint32_t cp = any_char(r);
        size_t times = rng_next(r) % 6 == 0 ? 1 + rng_next(r) % 4 : 1;

        if (cp < 128 || in_both(cp))
            for (size_t k = 0; k < times; k++)
                n += (size_t)utf8_encode(cp, to + n);
    }
    return (struct slice){to, n};
}

START_TEST(scanners_are_their_expressions)
{
    const struct pre_row *row;
    const int rounds = in_long() ? 10000 : 800;
    char text[256];

    for (size_t i = 0; (row = pre_row_at(i)); i++) {
        struct rng r = {.seed = 77 + i};
        struct both b;

        both_open(&b, row);
        for (int k = 0; k < rounds; k++)
            both_equal(&b, row->names, any_text(&r, text, sizeof text));
        both_close(&b);
    }
}
END_TEST

START_TEST(scanners_on_books)
{
    static const char *const names[] = {"texts/promessi_sposi.it.txt", "texts/HumanEval.jsonl",
                                        "texts/mt_bench.question.jsonl"};
    const struct pre_row *row;

    for (size_t f = 0; f < ARRAY_LEN(names); f++) {
        const char *path = testdata(names[f]);
        struct file_view v;
        struct err e = {0};

        if (!path)
            return;
        ck_ok(file_map(&v, path, &e), &e);
        for (size_t i = 0; (row = pre_row_at(i)); i++) {
            struct both b;
            size_t n = in_long() ? 20000 : 5000;

            while (!utf8_valid((const char *)v.p, n))
                n--;
            both_open(&b, row);
            both_equal(&b, row->names, (struct slice){(const char *)v.p, n});
            both_close(&b);
        }
        file_unmap(&v);
    }
}
END_TEST

/* Classes of every character both libraries know. */
START_TEST(classes_are_pcre2s)
{
    static bool known[0x110000];
    static const struct {
        const char *pattern;
        uint32_t bits;
    } sets[] = {{"\\p{L}", UC_L},
                {"\\p{N}", UC_N},
                {"\\p{Nd}", UC_ND},
                {"\\p{M}", UC_M},
                {"\\p{Mn}", UC_MN},
                {"\\p{P}", UC_P},
                {"\\p{S}", UC_SYM},
                {"\\p{Pc}", UC_PC},
                {"[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]", UC_UP},
                {"[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]", UC_LOW},
                {"\\p{C}", UC_C},
                {"\\p{sc:Han}", UC_HAN}};
    int newer = 0;

    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        if (cp >= 0x40000 && cp < 0xe0000 && !in_long())
            continue; /* no character there */
        known[cp] = in_both(cp);
        newer += !known[cp] && !(uclass_of(cp) & UC_C);
    }
    printf("characters newer than PCRE2's tables: %d\n", newer);
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        int code;
        PCRE2_SIZE at;
        pcre2_code *c = pcre2_compile((PCRE2_SPTR)sets[i].pattern, PCRE2_ZERO_TERMINATED,
                                      PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);

        ck_assert_ptr_nonnull(c);
        pcre2_jit_compile(c, PCRE2_JIT_COMPLETE);
        for (uint32_t cp = 0; cp < 0x110000; cp += cp < 0x3400 || in_long() ? 1 : 37) {
            char s[4];
            int n = utf8_encode(cp, s);
            bool in, ours = (uclass_of(cp) | uclass_han(cp)) & sets[i].bits;

            if (!known[cp] || cp == 0x1171e) /* of another category since Unicode 15 */
                continue;
            in = pcre2_match(c, (PCRE2_SPTR)s, (size_t)n, 0, 0, match, NULL) > 0;
            ck_assert_msg(in == ours, "U+%04X: %s %d, class %d", (unsigned)cp, sets[i].pattern, in,
                          ours);
        }
        pcre2_code_free(c);
    }
}
END_TEST

/* text with '|' between the pieces that are expected */
static void expect_pieces(const char *pre, const char *want)
{
    static struct cuts c;
    const struct pre_row *row = pre_find(pre);
    struct buf text = {0}, got = {0};
    struct err e = {0};
    struct pre *p;
    struct pre_work *w;

    ck_assert_ptr_nonnull(row);
    for (const char *s = want; *s; s++)
        if (*s != '|')
            buf_byte(&text, *s);
    ck_ok(pre_new(&p, row, true, &e), &e);
    ck_ok(pre_work_new(&w, p, &e), &e);
    c.n = 0;
    c.start = text.p;
    ck_ok(pre_split(p, w, buf_view(&text), note, &c, &e), &e);
    for (size_t i = 0, at = 0; i < c.n; at = c.at[i++]) {
        if (i)
            buf_byte(&got, '|');
        buf_add(&got, text.p + at, c.at[i] - at);
    }
    ck_assert_str_eq(got.p, want);
    buf_fini(&text);
    buf_fini(&got);
    pre_work_free(w);
    pre_free(p);
}

START_TEST(pieces_of_the_names)
{
    expect_pieces("gpt-2", "I|'ve| 2345| times|   | seen|...|\n|\n|it");
    expect_pieces("llama-bpe", "I|'VE| |234|5| times|  | seen|...\n\n|it");
    expect_pieces("qwen2", "I|'ve| |2|3|4|5");
    expect_pieces("gpt-4o", "HTMLParser's| Camel|Case|/note|/:/\n|x");
    expect_pieces("tekken", "Camel|Case|'s| |1|2");
    expect_pieces("starcoder", "a| |1|2|b");
    expect_pieces("falcon", "1|,|234|5| it|'|s");
    expect_pieces("superbpe", "and so on |1|234|567| times");
    expect_pieces("superbpe", "123|456|x");
    expect_pieces("afmoe", "12|345|678| |1");
    expect_pieces("tiny_aya", "12|345|678| x|12|a| |1|.");
    expect_pieces("bloom", "Hello|,| world|.");
    expect_pieces("kimi-k2", "\xe4\xb8\xad\xe6\x96\x87|abc|\xe4\xb8\xad");
    expect_pieces("gemma4", "a b  c|\n\n|d");
    expect_pieces("deepseek-v3", "abc|123|4| |\xe4\xb8\xad|?x");
}
END_TEST

START_TEST(names)
{
    ck_assert_ptr_nonnull(pre_find("default"));
    ck_assert_ptr_nonnull(pre_find("jina-v2-de"));
    ck_assert_ptr_null(pre_find("jina"));
    ck_assert_ptr_null(pre_find("gpt-2 phi-2"));
    ck_assert_ptr_null(pre_find(""));
    ck_assert_ptr_eq(pre_find("mpt"), pre_find("gpt-2"));
}
END_TEST

static int count_only(void *arg, struct slice s)
{
    *(size_t *)arg += s.n;
    return 0;
}

/* A megabyte of one thing: no expression may take quadratic time or run out of stack. */
START_TEST(long_runs)
{
    static const char *const unit[] = {
        "a",   " ",  "\n",       "1", "\xf4\x8f\xbf\xbf", "\xf0\x9f\x98\x80", "a ", "A",
        " \n", "'s", "\xcc\x81", "(", "\xe4\xb8\xad"};
    const size_t n = in_long() ? 1 << 18 : 1 << 14;
    const struct pre_row *row;
    char *text = mem_new(n + 8, NULL);

    for (size_t u = 0; u < ARRAY_LEN(unit); u++) {
        size_t k = strlen(unit[u]), len = n / k * k;

        for (size_t i = 0; i < len; i += k)
            memcpy(text + i, unit[u], k);
        text[len] = 'x'; /* so that trailing white space is none */
        for (size_t i = 0; (row = pre_row_at(i)); i++)
            for (int scan = 0; scan < 2; scan++) {
                struct err e = {0};
                struct pre *p;
                struct pre_work *w;
                size_t total = 0;

                if (strstr(row->names, "kimi") && !scan)
                    continue; /* its expression is for comparing with only */
                ck_ok(pre_new(&p, row, scan, &e), &e);
                ck_ok(pre_work_new(&w, p, &e), &e);
                ck_ok(pre_split(p, w, (struct slice){text, len + 1}, count_only, &total, &e), &e);
                ck_assert_msg(total == len + 1, "%.30s, unit %zu: %zu", row->names, u, total);
                pre_work_free(w);
                pre_free(p);
            }
    }
    mem_free(text);
}
END_TEST

TEST_MAIN("text/pre", scanners_are_their_expressions, scanners_on_books, classes_are_pcre2s,
          pieces_of_the_names, names, long_runs)
