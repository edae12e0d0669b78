/* pre.c - see pre.h.
 *
 * The expressions are those of the tokenizer files the models were published with. Three things
 * differ in form, none in meaning: \s is spelt out (PCRE2 counts U+180E as a space, the engines
 * these were written for do not), sets too large to read are written in hexadecimal, and what would
 * take quadratic time or deep recursion in a backtracking matcher is possessive, looks behind, or
 * is one of the steps written in C (their names begin with '@').
 */
#include "pre.h"

#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/buf.h"
#include "base/mem.h"
#include "text/uclass.h"

/* -- the table ------------------------------------------------------------------------------- */

#define SUFFIX        "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define BLANKS        "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT2          "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define LETTERS       "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define OTHERS        " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define WORDS(digits) SUFFIX "|" LETTERS "|" digits "|" OTHERS "|" BLANKS
#define UPPER         "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER         "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(end)                                                                                 \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" end "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER     \
    "*" end
#define OTHERS_SLASH " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*"
#define ASCII_PUNCT  "[!-/:-@\\[-`{-~]"
#define MARKED       ASCII_PUNCT "[A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+"
#define CJK_KANA     "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+"
#define CJK_WIDE     "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"
#define NOT_HAN      "(?!\\p{sc:Han})"

#define PLAIN_WORDS LETTERS "|\\p{N}|" OTHERS "|" BLANKS
#define MARK_WORDS                                                                                 \
    SUFFIX "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| "                                       \
           "?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" BLANKS
#define O200K(digits) CASED(SUFFIX "?") "|" digits "|" OTHERS_SLASH "|" BLANKS
#define TEKKEN        CASED("") "|\\p{N}|" OTHERS_SLASH "|" BLANKS
#define KIMI                                                                                       \
    "\\p{sc:Han}+|[^\\r\\n\\p{L}\\p{N}]?(?:" NOT_HAN UPPER ")*(?:" NOT_HAN LOWER ")+" SUFFIX       \
    "?|[^\\r\\n\\p{L}\\p{N}]?(?:" NOT_HAN UPPER ")+(?:" NOT_HAN LOWER ")*" SUFFIX                  \
    "?|\\p{N}{1,3}|" OTHERS "|" BLANKS
#define DEEPSEEK MARKED "[\\r\\n]*|" BLANKS
#define SPARK    MARKED "|[\\r\\n]|\\s+(?!\\S)|\\s+"
#define TAIL     "(?<!\\s)\\s++$"

#define STEPS(...)                                                                                 \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

#define LATIN_TO_ADLAM                                                                             \
    "\\s?[A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-"   \
    "\\x{293}"                                                                                     \
    "\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}"          \
    "\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-\\x{"    \
    "52f}"                                                                                         \
    "\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{"     \
    "1cba}"                                                                                        \
    "\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{"   \
    "1f15}"                                                                                        \
    "\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{"    \
    "1f5b}"                                                                                        \
    "\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{"    \
    "1fc4}"                                                                                        \
    "\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{"   \
    "1ff4}"                                                                                        \
    "\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{"     \
    "2124}"                                                                                        \
    "\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}"         \
    "\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}"         \
    "\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{"    \
    "a76f}"                                                                                        \
    "\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{"   \
    "fb17}"                                                                                        \
    "\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}"             \
    "\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}"         \
    "\\x{1e900}-\\x{1e943}]+"

#define BLOOM " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+"

static const struct pre_row rows[] = {
    {"default", STEPS("[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"), 0},
    {"gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum modern-bert mpt "
     "olmo "
     "jais trillion granite-docling exaone4",
     STEPS(GPT2), 0},
    {"roberta-bpe jina-v1-en jina-v2-code", STEPS(GPT2), PRE_ADD_BOTH},
    {"starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", STEPS("\\p{N}", GPT2),
     0},
    {"falcon", STEPS("[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"), 0},
    {"llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
     STEPS(WORDS("\\p{N}{1,3}")), PRE_WHOLE_FIRST | PRE_ADD_BOS},
    {"dbrx smaug-bpe", STEPS(WORDS("\\p{N}{1,3}")), 0},
    {"chatglm-bpe glm4", STEPS(WORDS("\\p{N}{1,3}")), 0},
    {"qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2",
     STEPS(WORDS("\\p{N}")), 0},
    {"ufakzeka", STEPS(PLAIN_WORDS), 0},
    {"qwen35", STEPS(MARK_WORDS), 0},
    {"minicpm5", STEPS("\\p{N}{1,3}", WORDS("\\p{N}+")), PRE_WHOLE_FIRST},
    {"laguna", STEPS("\\n+", WORDS("\\p{N}")), 0},
    {"gpt-4o llama4 kanana2 talkie minimax-m2", STEPS(O200K("\\p{N}{1,3}")), 0},
    {"granite-embed-multi-97m", STEPS(O200K("\\p{N}{1,3}")), PRE_WHOLE_FIRST},
    {"tiny_aya cohere2moe", STEPS("@thousands", O200K("\\p{N}{1,3}")), 0},
    {"tekken", STEPS(TEKKEN), PRE_WHOLE_FIRST | PRE_ADD_BOS},
    {"kimi-k2", STEPS(KIMI), 0},
    {"youtu",
     STEPS(
         "[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+|[\\x{ff01}\\x{2026}\\x{201c}\\x{201d}\\x{2018}"
         "\\x{2019}\\x{2014}\\x{ff1a}\\x{ff1b}\\x{ff0c}\\x{3001}-\\x{303f}\\x{fe30}-\\x{fe4f}]+|"
         "[\\x{3105}-\\x{312f}]+|" CJK_KANA,
         O200K("\\p{N}")),
     PRE_WHOLE_FIRST},
    {"jais-2",
     STEPS(SUFFIX "|" LETTERS "|\\p{N}{1,3}|" OTHERS
                  "|\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|"
                  "\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)|"
                  "\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s"),
     0},
    {"deepseek-llm",
     STEPS("[\\r\\n]", LATIN_TO_ADLAM,
           "\\s?[!-/"
           ":-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+",
           TAIL, CJK_WIDE, "\\p{N}+"),
     0},
    {"deepseek-coder", STEPS("[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", CJK_WIDE, "\\p{N}"), 0},
    {"deepseek-v3 hunyuan-dense joyai-llm hy_v4", STEPS("\\p{N}{1,3}", CJK_KANA, DEEPSEEK), 0},
    {"spark2_5", STEPS("\\p{N}{1,3}", CJK_KANA, SPARK, "\\p{N}"), 0},
    {"afmoe",
     STEPS("@groups",
           "[\\x{4e00}-\\x{9fff}\\x{3400}-\\x{4dbf}\\x{f900}-\\x{faff}\\x{3040}-\\x{309f}"
           "\\x{30a0}-\\x{30ff}\\x{ff65}-\\x{ff9f}\\x{2f00}-\\x{2fdf}\\x{e40}-\\x{e7f}"
           "\\x{e80}-\\x{eff}\\x{1780}-\\x{17ff}\\x{1000}-\\x{109f}\\x{aa60}-\\x{aa7f}"
           "\\x{a9e0}-\\x{a9ff}\\x{ac00}-\\x{d7af}\\x{1100}-\\x{11ff}]+",
           DEEPSEEK),
     0},
    {"poro-chat bloom gpt3-finnish", STEPS(BLOOM), 0},
    {"viking", STEPS(BLOOM, "\\p{N}"), 0},
    {"chameleon",
     STEPS("<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )",
           "\\p{N}", "[\\p{P}!-/:-@\\[-`{-~]", GPT2),
     PRE_ADD_BOS},
    {"superbpe", STEPS("\\p{N}+", "@cuts"), 0},
    {"bailingmoe bailingmoe2 llada-moe",
     STEPS("'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| "
           "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
           "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"),
     0},
    {"seed-coder", STEPS(SUFFIX "|" LETTERS "|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" BLANKS), 0},
    {"exaone-moe",
     STEPS(SUFFIX "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*+(?: \\p{L}\\p{M}*+)*+)++|\\p{N}|"
                  " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"),
     0},
    {"gemma4 granite-embed-multi-311m", STEPS("\\n+"), PRE_RAW | PRE_WHOLE_NL},
    {"sarvam-moe", STEPS("\\n+"), PRE_RAW},
};

/* Whether name is one of the words of names. */
static bool names_have(const char *names, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = names; n && (p = strstr(p, name)); p += n)
        if ((p == names || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0') && !strchr(name, ' '))
            return true;
    return false;
}

const struct pre_row *pre_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (names_have(rows[i].names, name))
            return &rows[i];
    return NULL;
}

const struct pre_row *pre_row_at(size_t i)
{
    return i < ARRAY_LEN(rows) ? &rows[i] : NULL;
}

/* -- compiling ------------------------------------------------------------------------------- */

enum { MAX_STEPS = 16, /* bits of pre.can */ MAX_PATTERN = 1 << 16 };

struct step {
    enum { STEP_REGEX, STEP_SCAN, STEP_GROUPS, STEP_THOUSANDS, STEP_CUTS } kind;
    pcre2_code *code;
    struct scan_rule rule;
    scan_fn *scan;
};

struct pre {
    struct step step[MAX_STEPS];
    int n;
    uint16_t can[128]; // bit k: step k may match something that has this character
    pcre2_general_context *memory;
};

struct pre_work {
    pcre2_match_data *match[MAX_STEPS];
    pcre2_match_context *limits;
};

static void *give(size_t n, void *data)
{
    (void)data;
    return mem_new(n, NULL);
}

static void take(void *p, void *data)
{
    (void)data;
    mem_free(p);
}

/* Whether PCRE2 lacks the characters of uclass_added. */
static bool lacks_added(void)
{
    char version[32] = "";

    if (pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, NULL) <= (int)sizeof version)
        pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, version);
    return strtol(version, NULL, 10) < 16;
}

static void add_range(struct buf *out, uint32_t from, uint32_t to)
{
    if (from == to)
        buf_printf(out, "\\x{%x}", (unsigned)from);
    else
        buf_printf(out, "\\x{%x}-\\x{%x}", (unsigned)from, (unsigned)to);
}

/* The characters of a property that PCRE2 does not know, as members of a set. */
static void add_later(struct slice name, struct buf *out)
{
    static const struct {
        const char *script;
        uint32_t from, to;
    } scripts[] = {{"sc:Han", 0x2b739, 0x2b739},      {"sc:Han", 0x2ebf0, 0x2ee5d},
                   {"sc:Han", 0x31350, 0x323af},      {"sc:Hiragana", 0x1b132, 0x1b132},
                   {"sc:Katakana", 0x1b155, 0x1b155}, {"sc:Cyrillic", 0x1c89, 0x1c8a},
                   {"sc:Cyrillic", 0x1e030, 0x1e06d}, {"sc:Cyrillic", 0x1e08f, 0x1e08f},
                   {"sc:Arabic", 0x897, 0x897},       {"sc:Arabic", 0x10ec2, 0x10ec4},
                   {"sc:Arabic", 0x10efc, 0x10eff}};

    for (size_t i = 0; i < ARRAY_LEN(scripts); i++)
        if (slice_is(name, scripts[i].script))
            add_range(out, scripts[i].from, scripts[i].to);
    for (const struct uclass_added *a = uclass_added; a->category && name.n <= 2; a++)
        if (name.n && memcmp(a->category, name.p, name.n) == 0)
            add_range(out, a->from, a->to);
}

/* \p{C}, or \P, without them. */
static void spell_others(char p, struct slice name, struct buf *out)
{
    buf_str(out, p == 'p' ? "(?:(?![" : "[");
    for (const struct uclass_added *a = uclass_added; a->category; a++)
        if (a->category[0] != 'C')
            add_range(out, a->from, a->to);
    buf_printf(out, p == 'p' ? "])\\p{%.*s})" : "\\P{%.*s}]", (int)name.n, name.p);
}

/* \p{name}, or \P, with the characters that PCRE2 does not know. What would have less of them
 * inside a set stays as it is. */
static void spell_property(char p, struct slice name, bool inside, struct buf *out)
{
    if (!inside && (slice_is(name, "C") || slice_is(name, "Cn"))) {
        spell_others(p, name, out);
        return;
    }
    if (!inside)
        buf_str(out, p == 'P' ? "[^" : "[");
    buf_printf(out, "\\%c{%.*s}", inside ? p : 'p', (int)name.n, name.p);
    if (p == 'p' || !inside)
        add_later(name, out);
    if (!inside)
        buf_byte(out, ']');
}

/* The name behind \p or \P, with braces or of one letter; the bytes of all that, 0: none. */
static size_t property_name(const char *s, struct slice *name)
{
    const char *end = s[2] == '{' ? strchr(s, '}') : NULL;

    if (end)
        *name = (struct slice){s + 3, (size_t)(end - s - 3)};
    else if (s[2] >= 'A' && s[2] <= 'Z')
        *name = (struct slice){s + 2, 1};
    else
        return 0;
    return end ? (size_t)(end - s) + 1 : 3;
}

/* Spells \s and \S out as White_Space, and properties with what is newer than PCRE2. */
static void spell_out(const char *s, struct buf *out)
{
    const bool more = lacks_added();
    struct slice name;
    size_t n;
    static const char space[] = "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}"
                                "\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";
    bool inside = false;

    for (; *s; s++) {
        if (*s == '\\' && s[1] == 's') {
            buf_printf(out, inside ? "%s" : "[%s]", space);
            s++;
        } else if (*s == '\\' && s[1] == 'S' && !inside) {
            buf_printf(out, "[^%s]", space);
            s++;
        } else if (more && *s == '\\' && (s[1] == 'd' || (s[1] == 'D' && !inside))) {
            spell_property(s[1] == 'd' ? 'p' : 'P', SLICE("Nd"), inside, out);
            s++;
        } else if (more && *s == '\\' && (s[1] == 'p' || s[1] == 'P') &&
                   (n = property_name(s, &name)) > 0) {
            spell_property(s[1], name, inside, out);
            s += n - 1;
        } else if (*s == '\\' && s[1]) {
            buf_add(out, s, 2);
            s++;
        } else {
            if (*s == '[')
                inside = true;
            if (*s == ']')
                inside = false;
            buf_byte(out, *s);
        }
    }
}

static int compile(struct pre *p, const char *pattern, pcre2_code **out, struct err *e)
{
    pcre2_compile_context *ctx = pcre2_compile_context_create(p->memory);
    struct buf b = {0};
    PCRE2_UCHAR text[120];
    PCRE2_SIZE at;
    int code, rc = 0;

    spell_out(pattern, &b);
    if (!ctx || b.bad) {
        rc = err_nomem(e, b.n);
        goto done;
    }
    if (b.n > MAX_PATTERN) {
        rc = err_set(e, E_RANGE, "pre-tokenizer: expression of %zu bytes", b.n);
        goto done;
    }
    *out = pcre2_compile((PCRE2_SPTR)b.p, b.n,
                         PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY,
                         &code, &at, ctx);
    if (*out) {
        pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); /* without it matching is slower, no more */
    } else if (code == PCRE2_ERROR_HEAP_FAILED) {
        rc = err_nomem(e, b.n);
    } else {
        pcre2_get_error_message(code, text, sizeof text);
        rc = err_set(e, E_UNSUPPORTED, "pre-tokenizer: %s at byte %zu of '%.100s'", (char *)text,
                     (size_t)at, b.p);
    }
done:
    if (ctx)
        pcre2_compile_context_free(ctx);
    buf_fini(&b);
    return rc;
}

/* Expressions with a scanner of their own; those of sets are read from their text. */
static const struct {
    const char *pattern;
    struct scan_rule rule;
} fast[] = {
    {GPT2, {.kind = SCAN_GPT2}},
    {WORDS("\\p{N}"), {.kind = SCAN_WORDS, .flags = SCAN_SUFFIX, .most = 1}},
    {WORDS("\\p{N}{1,3}"), {.kind = SCAN_WORDS, .flags = SCAN_SUFFIX, .most = 3}},
    {WORDS("\\p{N}+"), {.kind = SCAN_WORDS, .flags = SCAN_SUFFIX}},
    {PLAIN_WORDS, {.kind = SCAN_WORDS, .most = 1}},
    {MARK_WORDS, {.kind = SCAN_WORDS, .flags = SCAN_SUFFIX | SCAN_MARKS, .most = 1}},
    {O200K("\\p{N}{1,3}"), {.kind = SCAN_CASED, .flags = SCAN_SUFFIX | SCAN_SLASH, .most = 3}},
    {O200K("\\p{N}"), {.kind = SCAN_CASED, .flags = SCAN_SUFFIX | SCAN_SLASH, .most = 1}},
    {TEKKEN, {.kind = SCAN_CASED, .flags = SCAN_SLASH, .most = 1}},
    {KIMI, {.kind = SCAN_CASED, .flags = SCAN_SUFFIX | SCAN_HAN, .most = 3}},
    {DEEPSEEK, {.kind = SCAN_MARKED}},
    {SPARK, {.kind = SCAN_MARKED, .flags = SCAN_ONE_NL}},
    {TAIL, {.kind = SCAN_TAIL}},
};

static bool find_scan(struct step *t, const char *pattern)
{
    bool found = scan_parse(&t->rule, pattern);

    for (size_t i = 0; i < ARRAY_LEN(fast) && !found; i++)
        if (strcmp(fast[i].pattern, pattern) == 0) {
            t->rule = fast[i].rule;
            found = true;
        }
    if (found) {
        t->kind = STEP_SCAN;
        t->scan = scan_of(t->rule.kind);
    }
    return found;
}

static int add_step(struct pre *p, const char *s, bool scan, struct err *e)
{
    struct step *t = &p->step[p->n];

    if (p->n == MAX_STEPS)
        return err_set(e, E_RANGE, "pre-tokenizer: more than %d expressions", MAX_STEPS);
    p->n++;
    if (strcmp(s, "@groups") == 0)
        t->kind = STEP_GROUPS;
    else if (strcmp(s, "@thousands") == 0)
        t->kind = STEP_THOUSANDS;
    else if (strcmp(s, "@cuts") == 0)
        t->kind = STEP_CUTS;
    else if (!scan || !find_scan(t, s))
        return compile(p, s, &t->code, e);
    return 0;
}

static bool step_can(const struct step *t, unsigned c)
{
    if (t->kind == STEP_REGEX)
        return true;
    if (t->kind != STEP_SCAN)
        return uclass_ascii[c] & UC_N;
    if (t->rule.kind == SCAN_TAIL)
        return uclass_ascii[c] & UC_S;
    return t->rule.kind != SCAN_RUN || t->rule.set.ascii[c] & 1;
}

int pre_new(struct pre **out, const struct pre_row *row, bool scan, struct err *e)
{
    struct pre *p = mem_new(sizeof *p, e);
    int rc = E_NOMEM;

    if (!p)
        return rc;
    p->memory = pcre2_general_context_create(give, take, NULL);
    if (!p->memory) {
        err_nomem(e, sizeof *p);
        goto fail;
    }
    for (int i = 0; row->steps[i]; i++)
        if ((rc = add_step(p, row->steps[i], scan, e)) < 0)
            goto fail;
    for (int k = 0; k < p->n; k++)
        for (unsigned c = 0; c < 128; c++)
            p->can[c] |= (uint16_t)(step_can(&p->step[k], c) << k);
    *out = p;
    return 0;
fail:
    pre_free(p);
    return rc;
}

void pre_free(struct pre *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->n; i++)
        if (p->step[i].code)
            pcre2_code_free(p->step[i].code);
    if (p->memory)
        pcre2_general_context_free(p->memory);
    mem_free(p);
}

int pre_work_new(struct pre_work **out, const struct pre *p, struct err *e)
{
    struct pre_work *w = mem_new(sizeof *w, e);

    *out = w;
    if (!w)
        return E_NOMEM;
    w->limits = pcre2_match_context_create(p->memory);
    if (!w->limits)
        return err_nomem(e, sizeof *w);
    /* ten units a byte of a megabyte: no expression here needs more than two */
    pcre2_set_match_limit(w->limits, 10000000);
    pcre2_set_heap_limit(w->limits, 64 * 1024);
    for (int i = 0; i < p->n; i++) {
        if (!p->step[i].code)
            continue;
        w->match[i] = pcre2_match_data_create(1, p->memory);
        if (!w->match[i])
            return err_nomem(e, sizeof *w);
    }
    return 0;
}

void pre_work_free(struct pre_work *w)
{
    if (!w)
        return;
    for (int i = 0; i < MAX_STEPS; i++)
        if (w->match[i])
            pcre2_match_data_free(w->match[i]);
    if (w->limits)
        pcre2_match_context_free(w->limits);
    mem_free(w);
}

scan_fn *pre_scan(const struct pre *p, const struct scan_rule **rule)
{
    *rule = &p->step[0].rule;
    return p->n == 1 && p->step[0].kind == STEP_SCAN ? p->step[0].scan : NULL;
}

/* -- splitting ------------------------------------------------------------------------------- */

struct split {
    const struct pre *p;
    struct pre_work *w;
    int (*piece)(void *arg, struct slice s);
    void *arg;
    struct err *e;
};

static int split_by(struct split *s, int k, struct slice text);

/* Hands text[from, to) to the next step after k that can match some of it. Most pieces are words,
 * in which no later step has anything to do. */
static int pass(struct split *s, int k, struct slice text, size_t from, size_t to)
{
    unsigned can = 0;

    if (from >= to)
        return 0;
    k++;
    if (to - from <= 32 && k < s->p->n) {
        for (size_t i = from; i < to; i++)
            can |= (uint8_t)text.p[i] < 128 ? s->p->can[(uint8_t)text.p[i]] : UINT16_MAX;
        while (k < s->p->n && !(can >> k & 1))
            k++;
    }
    return split_by(s, k, (struct slice){text.p + from, to - from});
}

static int split_regex(struct split *s, int k, struct slice text)
{
    pcre2_match_data *m = s->w->match[k];
    size_t at = 0, done = 0;
    int rc;

    while (at < text.n) {
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(m);
        int got = pcre2_match(s->p->step[k].code, (PCRE2_SPTR)text.p, text.n, at,
                              PCRE2_NO_UTF_CHECK, m, s->w->limits);

        if (got == PCRE2_ERROR_JIT_STACKLIMIT)
            got = pcre2_match(s->p->step[k].code, (PCRE2_SPTR)text.p, text.n, at,
                              PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, m, s->w->limits);
        if (got == PCRE2_ERROR_NOMATCH)
            break;
        if (got == PCRE2_ERROR_NOMEMORY)
            return err_nomem(s->e, text.n);
        if (got < 0)
            return err_set(s->e, E_RANGE, "pre-tokenizer gave up on a piece of %zu bytes (%d)",
                           text.n, got);
        if ((rc = pass(s, k, text, done, span[0])) < 0 ||
            (rc = pass(s, k, text, span[0], span[1])) < 0)
            return rc;
        at = done = span[1];
        if (span[1] == span[0]) {
            uint32_t cp;

            at += at < text.n ? (size_t)utf8_next((const uint8_t *)text.p + at, &cp) : 1;
        }
    }
    return pass(s, k, text, done, text.n);
}

static int split_scan(struct split *s, int k, struct slice text)
{
    const struct step *t = &s->p->step[k];
    int rc;

    for (size_t at = 0, end; at < text.n; at = end) {
        end = t->scan(&t->rule, (const uint8_t *)text.p, at, text.n);
        if ((rc = pass(s, k, text, at, end)) < 0)
            return rc;
    }
    return 0;
}

static uint32_t class_here(struct slice text, size_t at, int *len)
{
    uint32_t cp;

    *len = 0;
    if (at >= text.n)
        return 0;
    *len = utf8_next((const uint8_t *)text.p + at, &cp);
    return uclass_of(cp);
}

static bool is_word(struct slice text, size_t at)
{
    uint32_t cp;

    utf8_next((const uint8_t *)text.p + at, &cp);
    return uclass_word(cp);
}

/* Passes the digits of text[from, to), count of them, in threes counted from the right. whole: what
 * is too short for three is a piece too, else it stays with what lies before it. Returns where the
 * part that was passed ends. */
static int pass_threes(struct split *s, int k, struct slice text, size_t *done, size_t from,
                       size_t to, size_t count, bool whole)
{
    size_t group = count % 3 ? count % 3 : 3;
    int rc;

    if (whole && (rc = pass(s, k, text, *done, from)) < 0)
        return rc;
    if (whole)
        *done = from;
    if (!whole && count % 3 == 0 && (rc = pass(s, k, text, *done, from)) < 0)
        return rc;
    if (!whole && count % 3 == 0)
        *done = from;
    while (from < to) {
        int len;

        for (size_t i = 0; i < group; i++, from += (size_t)len)
            class_here(text, from, &len);
        if (!whole && from >= to)
            break; /* no cut behind the last digit */
        if ((rc = pass(s, k, text, *done, from)) < 0)
            return rc;
        *done = from;
        group = 3;
    }
    return 0;
}

/* Numbers in groups of three counted from the right:
 *   @groups     \p{N}+ is isolated and cut so
 *   @thousands  \d{1,3}(?=(?:\d{3})*\b)
 *   @cuts       cuts where (?=(\d{3})+(?!\d)) matches, and nowhere else
 * As expressions they look ahead to the end of the number from each of its digits. */
static int split_numbers(struct split *s, int k, struct slice text)
{
    int kind = s->p->step[k].kind;
    uint32_t digit = kind == STEP_GROUPS ? UC_N : UC_ND;
    size_t at = 0, done = 0;
    int len, rc;

    while (at < text.n) {
        size_t from = at, count = 0;

        for (; class_here(text, at, &len) & digit; at += (size_t)len)
            count++;
        if (count == 0) {
            at += (size_t)len;
            continue;
        }
        if (kind == STEP_THOUSANDS && at < text.n && is_word(text, at)) /* no \b here */
            continue;
        if ((rc = pass_threes(s, k, text, &done, from, at, count, kind != STEP_CUTS)) < 0)
            return rc;
    }
    return pass(s, k, text, done, text.n);
}

static int split_by(struct split *s, int k, struct slice text)
{
    if (k == s->p->n)
        return s->piece(s->arg, text);
    switch (s->p->step[k].kind) {
    case STEP_REGEX:
        return split_regex(s, k, text);
    case STEP_SCAN:
        return split_scan(s, k, text);
    default:
        return split_numbers(s, k, text);
    }
}

int pre_split(const struct pre *p, struct pre_work *w, struct slice text,
              int (*piece)(void *arg, struct slice s), void *arg, struct err *e)
{
    struct split s = {p, w, piece, arg, e};

    return text.n ? split_by(&s, 0, text) : 0;
}

/* -- single expressions ---------------------------------------------------------------------- */

struct pre_re {
    pcre2_code *code;
    pcre2_general_context *memory;
};

struct pre_match {
    pcre2_match_data *data;
    pcre2_match_context *limits;
    pcre2_general_context *memory;
};

/* \p{Han} is a script there, and a script with its extensions here. */
static bool is_script(struct slice s)
{
    static const char *const names[] = {
        "Han",        "Hiragana", "Katakana",  "Hangul",    "Thai",     "Arabic",    "Cyrillic",
        "Greek",      "Latin",    "Hebrew",    "Armenian",  "Bengali",  "Bopomofo",  "Common",
        "Devanagari", "Ethiopic", "Georgian",  "Gujarati",  "Gurmukhi", "Inherited", "Kannada",
        "Khmer",      "Lao",      "Malayalam", "Mongolian", "Myanmar",  "Oriya",     "Sinhala",
        "Syriac",     "Tamil",    "Telugu",    "Thaana",    "Tibetan"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (slice_is(s, names[i]))
            return true;
    return false;
}

/* What \w has there (uclass_word). */
#define WORD                                                                                       \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"     \
    "\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"
#define ALPHABETIC "\\p{L}\\p{Nl}"

#define HEX "0-9A-Fa-f"

/* All but a class cannot be said inside of another: that is left. */
static bool spell_class(const char *set, bool negated, bool inside, struct buf *out)
{
    if (inside && negated)
        return false;
    buf_str(out, inside ? "" : negated ? "[^" : "[");
    buf_str(out, set);
    buf_str(out, inside ? "" : "]");
    return true;
}

/* What a letter behind a backslash is there; false: the same as here. */
static bool spell_letter(char c, bool inside, struct buf *out)
{
    switch (c) {
    case 'w':
    case 'W':
        return spell_class(WORD, c == 'W', inside, out);
    case 'h': /* not blanks */
    case 'H':
        return spell_class(HEX, c == 'H', inside, out);
    case 'b':
        if (!inside)
            buf_str(out, "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))");
        return !inside;
    case 'B':
        if (!inside)
            buf_str(out, "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))");
        return !inside;
    default:
        return false;
    }
}

/* A class with a name, "[:punct:]"; returns its bytes, 0: the same as here, or none. */
static size_t spell_named(const char *s, struct buf *out)
{
    static const struct {
        const char *name, *set;
    } sets[] = {{"[:punct:]", "\\p{P}\\p{S}"},
                {"[:word:]", WORD},
                {"[:alnum:]", ALPHABETIC "\\p{Nd}"},
                {"[:alpha:]", ALPHABETIC},
                {"[:digit:]", "\\p{Nd}"}};

    for (size_t i = 0; i < ARRAY_LEN(sets); i++)
        if (strncmp(s, sets[i].name, strlen(sets[i].name)) == 0) {
            buf_str(out, sets[i].set);
            return strlen(sets[i].name);
        }
    return 0;
}

/* A set inside a set joins it there and is text here. */
void pre_re_spell(const char *s, struct buf *out)
{
    int depth = 0;
    size_t n;

    for (; *s; s++) {
        const char *end = strchr(s, '}');

        if (*s == '\\' && (s[1] == 'p' || s[1] == 'P') && s[2] == '{' && end &&
            is_script((struct slice){s + 3, (size_t)(end - s - 3)})) {
            buf_printf(out, "\\%c{sc:%.*s", s[1], (int)(end - s - 3), s + 3);
            s = end - 1;
        } else if (*s == '\\' && s[1] && spell_letter(s[1], depth > 0, out)) {
            s++;
        } else if (*s == '[' && depth > 0 && (n = spell_named(s, out)) > 0) {
            s += n - 1;
        } else if (*s == '\\' && s[1]) {
            buf_add(out, s++, 2);
        } else if (*s == '[' && (depth == 0 || s[1] == ':')) {
            depth += s[1] != ':' || depth == 0;
            buf_byte(out, *s);
            if (depth == 1 && s[1] == '^')
                buf_byte(out, *++s);
        } else if (*s == '[') {
            depth++;
        } else if (*s == ']' && depth > 0) {
            if (s[-1] == ':' || --depth == 0)
                buf_byte(out, *s);
        } else {
            buf_byte(out, *s);
        }
    }
}

int pre_re_new(struct pre_re **out, const char *pattern, struct err *e)
{
    struct pre_re *r = mem_new(sizeof *r, e);
    struct buf b = {0};
    int rc = E_NOMEM;

    *out = NULL;
    if (!r)
        return rc;
    pre_re_spell(pattern, &b);
    r->memory = pcre2_general_context_create(give, take, NULL);
    if (!r->memory || b.bad) {
        rc = err_nomem(e, sizeof *r);
    } else {
        struct pre p = {.memory = r->memory};

        rc = compile(&p, b.p ? b.p : "", &r->code, e);
    }
    buf_fini(&b);
    if (rc < 0)
        pre_re_free(r);
    else
        *out = r;
    return rc;
}

void pre_re_free(struct pre_re *r)
{
    if (!r)
        return;
    if (r->code)
        pcre2_code_free(r->code);
    if (r->memory)
        pcre2_general_context_free(r->memory);
    mem_free(r);
}

int pre_match_new(struct pre_match **out, struct err *e)
{
    struct pre_match *m = mem_new(sizeof *m, e);

    *out = m;
    if (!m)
        return E_NOMEM;
    m->memory = pcre2_general_context_create(give, take, NULL);
    m->limits = m->memory ? pcre2_match_context_create(m->memory) : NULL;
    m->data = m->memory ? pcre2_match_data_create(1, m->memory) : NULL;
    if (!m->limits || !m->data)
        return err_nomem(e, sizeof *m);
    pcre2_set_match_limit(m->limits, 10000000);
    pcre2_set_heap_limit(m->limits, 64 * 1024);
    return 0;
}

void pre_match_free(struct pre_match *m)
{
    if (!m)
        return;
    if (m->data)
        pcre2_match_data_free(m->data);
    if (m->limits)
        pcre2_match_context_free(m->limits);
    if (m->memory)
        pcre2_general_context_free(m->memory);
    mem_free(m);
}

int pre_re_find(const struct pre_re *r, struct pre_match *m, struct slice text, size_t at,
                size_t *from, size_t *to, struct err *e)
{
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(m->data);
    int got = pcre2_match(r->code, (PCRE2_SPTR)text.p, text.n, at, PCRE2_NO_UTF_CHECK, m->data,
                          m->limits);

    if (got == PCRE2_ERROR_JIT_STACKLIMIT)
        got = pcre2_match(r->code, (PCRE2_SPTR)text.p, text.n, at,
                          PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, m->data, m->limits);
    if (got == PCRE2_ERROR_NOMATCH)
        return 0;
    if (got == PCRE2_ERROR_NOMEMORY)
        return err_nomem(e, text.n);
    if (got < 0)
        return err_set(e, E_RANGE, "an expression gave up on a piece of %zu bytes (%d)", text.n,
                       got);
    *from = span[0];
    *to = span[1];
    return 1;
}
