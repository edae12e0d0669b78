/* jinja_lex.c - a template's source to tokens.
 *
 * White space follows trim_blocks and lstrip_blocks: the newline behind a block or comment goes,
 * and so do blanks in front of one that begins its line; "-" at a delimiter takes all white space
 * on that side, "+" keeps it. A delimiter inside brackets is made of operators.
 */
#include "jinja_in.h"

#include <stdlib.h>

#include "base/utf8.h"
#include "uclass.h"

struct lexer {
    struct jstate *J;
    const char *p;
    size_t n, at;
    struct jtoks *out;
    bool line_start; // the last match ended a line
    int depth;       // brackets open
    char open[256];
};

static struct jtok *push(struct lexer *x, uint8_t kind, size_t pos)
{
    struct jtoks *o = x->out;
    struct jtok *t;

    if (o->n == o->cap) {
        size_t cap = o->cap ? o->cap * 2 : 256;

        t = jgrow(x->J, o->t, o->cap, cap, sizeof *t);
        if (!t)
            return NULL;
        o->t = t;
        o->cap = cap;
    }
    t = &o->t[o->n++];
    *t = (struct jtok){.kind = kind, .pos = (uint32_t)pos};
    return t;
}

static bool lex_fail(struct lexer *x, size_t pos, const char *what)
{
    x->J->pos = (uint32_t)pos;
    jfail(x->J, "%s", what);
    return false;
}

static size_t skip_space(const struct lexer *x, size_t at)
{
    uint32_t cp;
    int n;

    while (at < x->n && (n = utf8_decode(x->p + at, x->n - at, &cp)) > 0 && ju_space(cp))
        at += (size_t)n;
    return at;
}

static bool here(const struct lexer *x, size_t at, const char *s)
{
    size_t n = strlen(s);

    return x->n - at >= n && memcmp(x->p + at, s, n) == 0;
}

/* The end of x->p[from, to) without white space at its end. */
static size_t rstrip(const struct lexer *x, size_t from, size_t to)
{
    while (to > from) {
        size_t i = to - 1;
        uint32_t cp;

        while (i > from && ((unsigned char)x->p[i] & 0xc0) == 0x80)
            i--;
        if (utf8_decode(x->p + i, to - i, &cp) == 0 || !ju_space(cp))
            break;
        to = i;
    }
    return to;
}

/* Text in front of a delimiter at `to`, whose sign is '-', '+' or another character. */
static void push_text(struct lexer *x, size_t from, size_t to, char sign, bool is_var)
{
    size_t end = to, line = to;
    struct jtok *t;

    if (sign == '-') {
        end = rstrip(x, from, to);
    } else if (sign != '+' && !is_var) {
        while (line > from && x->p[line - 1] != '\n')
            line--;
        if ((line > from || x->line_start) && line < to && skip_space(x, line) >= to)
            end = line;
    }
    if (end > from && (t = push(x, T_TEXT, from)))
        t->s = (struct slice){x->p + from, end - from};
}

/* If a delimiter that ends with close ("%}") stands at `at`, returns where the text behind it goes
 * on, else 0. newline: it takes a newline with it. */
static size_t close_at(const struct lexer *x, size_t at, const char *close, bool plus, bool newline)
{
    char sign = at < x->n ? x->p[at] : 0;
    size_t i = at + (sign == '-' || (plus && sign == '+'));

    if (at >= x->n || !here(x, i, close))
        return 0;
    i += 2;
    if (sign == '-')
        return skip_space(x, i);
    if (newline && sign != '+' && i < x->n && x->p[i] == '\n')
        i++;
    return i;
}

static void moved(struct lexer *x, size_t to)
{
    x->line_start = to > 0 && x->p[to - 1] == '\n';
    x->at = to;
}

static bool comment(struct lexer *x, size_t from)
{
    for (size_t i = x->at; i + 1 < x->n; i++) {
        size_t end = close_at(x, i, "#}", true, true);

        if (end) {
            moved(x, end);
            return true;
        }
    }
    return lex_fail(x, from, "a comment is not closed");
}

/* Behind "{%" at x->at: whether "raw %}" follows; moves behind it. */
static bool raw_begin(struct lexer *x, size_t at, size_t *body)
{
    size_t i = at + (at < x->n && (x->p[at] == '-' || x->p[at] == '+'));

    i = skip_space(x, i);
    if (!here(x, i, "raw"))
        return false;
    i = skip_space(x, i + 3);
    if (here(x, i, "-%}")) {
        *body = skip_space(x, i + 3);
        return true;
    }
    *body = i + 2;
    return here(x, i, "%}");
}

static bool raw(struct lexer *x, size_t from, size_t body)
{
    moved(x, body);
    for (size_t i = body; i + 1 < x->n; i++) {
        char sign;
        size_t j, end;

        if (!here(x, i, "{%"))
            continue;
        sign = i + 2 < x->n ? x->p[i + 2] : 0;
        j = skip_space(x, i + 2 + (sign == '-' || sign == '+'));
        if (!here(x, j, "endraw"))
            continue;
        end = close_at(x, skip_space(x, j + 6), "%}", true, true);
        if (end) {
            push_text(x, body, i, sign, false);
            moved(x, end);
            return true;
        }
    }
    return lex_fail(x, from, "a raw block is not closed");
}

/* -- inside {{ }} and {% %} -- */

static bool word_char(uint32_t cp, bool first)
{
    uint32_t c;

    if (cp < 0x80)
        return cp == '_' || (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z') ||
               (!first && cp >= '0' && cp <= '9');
    c = uclass_of(cp);
    return (c & UC_L) || (!first && (c & (UC_M | UC_ND | UC_PC)));
}

static bool digit_of(char c, int base)
{
    if (base == 16)
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    return c >= '0' && c < '0' + base;
}

/* The end of digits with single underscores between them, from i on. */
static size_t digits(const struct lexer *x, size_t i, int base)
{
    size_t start = i;

    while (i < x->n && (digit_of(x->p[i], base) || (i > start && x->p[i] == '_' && i + 1 < x->n &&
                                                    digit_of(x->p[i + 1], base))))
        i++;
    return i;
}

static void spell_number(const struct lexer *x, size_t from, size_t to, char *out, size_t room)
{
    size_t n = 0;

    for (size_t i = from; i < to && n + 1 < room; i++)
        if (x->p[i] != '_')
            out[n++] = x->p[i];
    out[n] = 0;
}

static bool push_int(struct lexer *x, size_t from, size_t start, size_t to, int base)
{
    char text[80];
    struct jtok *t;
    int64_t v = 0;

    spell_number(x, start, to, text, sizeof text);
    for (const char *c = text; *c; c++) {
        int d = *c <= '9' ? *c - '0' : (*c | 32) - 'a' + 10;

        if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, d, &v))
            return lex_fail(x, from, "a number is beyond 64 bits");
    }
    t = push(x, T_INT, from);
    if (t)
        t->v = jv_int(v);
    x->at = to;
    return t != NULL;
}

static bool number(struct lexer *x)
{
    size_t from = x->at, to = digits(x, from, 10), end = to, e;
    bool behind_dot = from > 0 && x->p[from - 1] == '.';
    char text[400];
    struct jtok *t;

    if (x->p[from] == '0' && from + 1 < x->n) {
        char c = (char)(x->p[from + 1] | 32);
        int base = c == 'b' ? 2 : c == 'o' ? 8 : c == 'x' ? 16 : 0;
        size_t i = from + 2 + (from + 2 < x->n && x->p[from + 2] == '_');

        if (base && digits(x, i, base) > i)
            return push_int(x, from, i, digits(x, i, base), base);
    }
    if (!behind_dot && to < x->n && x->p[to] == '.' && digits(x, to + 1, 10) > to + 1)
        end = digits(x, to + 1, 10);
    if (!behind_dot && end < x->n && (x->p[end] | 32) == 'e') {
        e = end + 1 + (end + 1 < x->n && (x->p[end + 1] == '+' || x->p[end + 1] == '-'));
        if (digits(x, e, 10) > e)
            end = digits(x, e, 10);
    }
    if (end == to) {
        if (x->p[from] == '0') // 0 and 00, but 0 and 7 of 07
            for (to = from; to < x->n && (x->p[to] == '0'); to++)
                ;
        return push_int(x, from, from, to, 10);
    }
    if (end - from >= sizeof text)
        return lex_fail(x, from, "a number is too long");
    spell_number(x, from, end, text, sizeof text);
    t = push(x, T_FLOAT, from);
    if (t)
        t->v = jv_float(strtod(text, NULL));
    x->at = end;
    return t != NULL;
}

static int hex_value(const char *p, size_t n, uint32_t *out)
{
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        if (!digit_of(p[i], 16))
            return 0;
        *out = *out * 16 + (uint32_t)(p[i] <= '9' ? p[i] - '0' : (p[i] | 32) - 'a' + 10);
    }
    return 1;
}

/* One escape at s[i] (behind the backslash); returns its length, 0 for an unknown one, which stays
 * as it is written, -1 for a broken one. */
static int escape(struct slice s, size_t i, uint32_t *cp, bool *nothing)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char *hit = s.p[i] ? strchr(from, s.p[i]) : NULL;
    size_t n = s.p[i] == 'x' ? 2 : s.p[i] == 'u' ? 4 : s.p[i] == 'U' ? 8 : 0;
    uint32_t low;

    *nothing = s.p[i] == '\n';
    if (*nothing)
        return 1;
    if (hit) {
        *cp = (unsigned char)to[hit - from];
        return 1;
    }
    if (s.p[i] >= '0' && s.p[i] <= '7') {
        int k = 0;

        for (*cp = 0; k < 3 && i + (size_t)k < s.n && digit_of(s.p[i + (size_t)k], 8); k++)
            *cp = *cp * 8 + (uint32_t)(s.p[i + (size_t)k] - '0');
        return k;
    }
    if (n == 0)
        return s.p[i] == 'N' ? -1 : 0;
    if (s.n - i - 1 < n || !hex_value(s.p + i + 1, n, cp))
        return -1;
    if (*cp >= 0xd800 && *cp < 0xdc00 && n == 4 && s.n - i >= 11 && s.p[i + 5] == '\\' &&
        s.p[i + 6] == 'u' && hex_value(s.p + i + 7, 4, &low) && low >= 0xdc00 && low < 0xe000) {
        *cp = 0x10000 + ((*cp - 0xd800) << 10) + (low - 0xdc00);
        return 11;
    }
    return *cp > 0x10ffff || (*cp >= 0xd800 && *cp < 0xe000) ? -1 : (int)n + 1;
}

static bool string(struct lexer *x)
{
    size_t from = x->at, i = from + 1;
    char quote = x->p[from];
    bool plain = true;
    struct jbuf b = {.J = x->J};
    struct slice s;
    struct jtok *t;

    while (i < x->n && x->p[i] != quote) {
        plain = plain && x->p[i] != '\\';
        i += x->p[i] == '\\' ? 2 : 1;
    }
    if (i >= x->n)
        return lex_fail(x, from, "a string is not closed");
    s = (struct slice){x->p + from + 1, i - from - 1};
    t = push(x, T_STR, from);
    if (!t)
        return false;
    x->at = i + 1;
    for (size_t k = 0; !plain && k < s.n; k++) {
        uint32_t cp;
        bool nothing;
        int n = s.p[k] == '\\' ? escape(s, k + 1, &cp, &nothing) : 0;

        if (n < 0)
            return lex_fail(x, from + 1 + k, "a wrong escape in a string");
        if (n == 0)
            jb_add(&b, s.p + k, 1, M_OWN);
        else if (!nothing)
            jb_cp(&b, cp, M_OWN);
        k += (size_t)n;
    }
    t = &x->out->t[x->out->n - 1];
    t->v = plain ? jv_str(jstr_key(x->J, s.p, s.n, M_OWN)) : jb_done(&b);
    return !x->J->failed;
}

static bool operator_(struct lexer *x)
{
    static const char *const two[] = {"//", "**", "==", "!=", ">=", "<="};
    struct jtok *t = push(x, T_OP, x->at);
    char c = x->p[x->at];

    if (!t)
        return false;
    t->op[0] = c;
    for (size_t i = 0; i < ARRAY_LEN(two); i++)
        if (here(x, x->at, two[i]))
            t->op[1] = two[i][1];
    if (!t->op[1] && !strchr("+-/*%~[](){}><=.:|,;", c))
        return lex_fail(x, x->at, "an unexpected character");
    if (c == '(' || c == '[' || c == '{') {
        if (x->depth == (int)sizeof x->open)
            return lex_fail(x, x->at, "brackets are nested too deep");
        x->open[x->depth++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
        if (x->depth == 0 || x->open[x->depth - 1] != c)
            return lex_fail(x, x->at, "a bracket closes what is not open");
        x->depth--;
    }
    x->at += t->op[1] ? 2 : 1;
    return true;
}

/* The tokens up to the delimiter that closes a block or a variable. */
static bool inside(struct lexer *x, bool is_var, size_t from)
{
    x->depth = 0;
    for (;;) {
        size_t start, end = 0;
        uint32_t cp;
        int n;
        struct jtok *t;

        if (x->depth == 0)
            end = close_at(x, x->at, is_var ? "}}" : "%}", !is_var, !is_var);
        if (end) {
            push(x, is_var ? T_VAR_END : T_BLOCK_END, x->at);
            moved(x, end);
            return !x->J->failed;
        }
        start = skip_space(x, x->at);
        if (start > x->at) {
            x->at = start;
            continue;
        }
        if (x->at >= x->n)
            return lex_fail(x, from, is_var ? "a '{{' is not closed" : "a '{%' is not closed");
        n = utf8_decode(x->p + x->at, x->n - x->at, &cp);
        if (cp >= '0' && cp <= '9') {
            if (!number(x))
                return false;
        } else if (word_char(cp, true)) {
            do
                x->at += (size_t)n;
            while (x->at < x->n && (n = utf8_decode(x->p + x->at, x->n - x->at, &cp)) > 0 &&
                   word_char(cp, false));
            if ((t = push(x, T_NAME, start)))
                t->s = (struct slice){x->p + start, x->at - start};
        } else if (cp == '\'' || cp == '"') {
            if (!string(x))
                return false;
        } else if (!operator_(x)) {
            return false;
        }
        if (x->J->failed)
            return false;
    }
}

static bool one(struct lexer *x)
{
    size_t from = x->at, i = from, body = 0;
    char kind, sign;

    for (;; i++) {
        const char *hit = i < x->n ? memchr(x->p + i, '{', x->n - i) : NULL;

        i = hit ? (size_t)(hit - x->p) : x->n;
        if (i + 1 >= x->n) {
            i = x->n;
            break;
        }
        if (x->p[i + 1] == '{' || x->p[i + 1] == '%' || x->p[i + 1] == '#')
            break;
    }
    if (i == x->n) {
        push_text(x, from, i, '+', false);
        x->at = x->n;
        return !x->J->failed;
    }
    kind = x->p[i + 1];
    sign = i + 2 < x->n ? x->p[i + 2] : 0;
    push_text(x, from, i, sign, kind == '{');
    x->at = i + 2 + (sign == '-' || sign == '+');
    x->line_start = false;
    if (kind == '#')
        return comment(x, i);
    if (kind == '%' && raw_begin(x, i + 2, &body))
        return raw(x, i, body);
    push(x, kind == '{' ? T_VAR_BEGIN : T_BLOCK_BEGIN, i);
    return !x->J->failed && inside(x, kind == '{', i);
}

void jlex(struct jstate *J, struct jtoks *out)
{
    struct lexer x = {.J = J, .p = J->t->src, .n = J->t->n_src, .out = out, .line_start = true};

    while (x.at < x.n && one(&x))
        ;
    push(&x, T_END, x.n);
}
