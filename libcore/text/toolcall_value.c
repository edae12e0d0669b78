/* toolcall_value.c - JSON, Python literals and Gemma's notation, a byte at a time. */
#include "text/toolcall_value.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

static void put(struct buf *out, const char *s, size_t n)
{
    if (out)
        buf_add(out, s, n);
}

static void put_str(struct buf *out, const char *s)
{
    put(out, s, strlen(s));
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int hex_digit(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* -- UTF-8 -- */

void fix_end(struct utf8_fix *f, struct buf *out)
{
    if (f->n)
        put_str(out, "\xef\xbf\xbd");
    f->n = 0;
}

void fix_byte(struct utf8_fix *f, char c, struct buf *out)
{
    uint32_t cp;

    if (f->n) {
        f->held[f->n] = c;
        if (utf8_decode(f->held, f->n + 1u, &cp)) {
            put(out, f->held, f->n + 1u);
            f->n = 0;
            return;
        }
        if (utf8_whole(f->held, f->n + 1u) == 0) { // still the front of a character
            f->n++;
            return;
        }
        fix_end(f, out);
    }
    if ((uint8_t)c < 0x80) {
        put(out, &c, 1);
        return;
    }
    f->held[0] = c;
    f->n = 1;
    if (utf8_whole(f->held, 1) != 0)
        fix_end(f, out);
}

void fix_json(struct utf8_fix *f, char c, struct buf *out)
{
    static const char digits[] = "0123456789abcdef";
    char s[6] = {'\\', c, '0', '0', 0, 0};

    if ((uint8_t)c >= 0x20 && c != '"' && c != '\\') {
        fix_byte(f, c, out);
        return;
    }
    fix_end(f, out);
    switch (c) {
    case '\n':
        s[1] = 'n';
        break;
    case '\t':
        s[1] = 't';
        break;
    case '\r':
        s[1] = 'r';
        break;
    case '"':
    case '\\':
        break;
    default:
        s[1] = 'u';
        s[4] = digits[(uint8_t)c >> 4];
        s[5] = digits[c & 15];
        put(out, s, 6);
        return;
    }
    put(out, s, 2);
}

static void put_cp(struct utf8_fix *f, uint32_t cp, struct buf *out)
{
    char s[4];
    int n = utf8_encode(cp, s);

    if (n == 0)
        n = utf8_encode(0xfffd, s);
    for (int i = 0; i < n; i++)
        fix_json(f, s[i], out);
}

/* -- JSON -- */

enum { J_VALUE, J_OBJ0, J_KEY, J_COLON, J_ARR0, J_NEXT, J_STR, J_ESC, J_HEX, J_NUM, J_LIT, J_OVER };
enum { N_MINUS, N_ZERO, N_INT, N_DOT, N_FRAC, N_E, N_SIGN, N_EXP };

static const char *const literals[] = {"true", "false", "null"};

static enum value_rc json_ended(struct json_scan *s)
{
    s->st = s->depth ? J_NEXT : J_OVER;
    return s->depth ? VALUE_MORE : VALUE_DONE;
}

static bool in_array(const struct json_scan *s)
{
    unsigned d = s->depth - 1u;

    return s->in_array[d / 8] >> (d % 8) & 1;
}

static bool json_open(struct json_scan *s, bool array)
{
    unsigned d = s->depth;

    if (d == VALUE_DEPTH)
        return false;
    s->in_array[d / 8] &= (uint8_t) ~(1u << (d % 8));
    s->in_array[d / 8] |= (uint8_t)(array << (d % 8));
    s->depth++;
    s->st = array ? J_ARR0 : J_OBJ0;
    return true;
}

static bool json_close(struct json_scan *s, char c)
{
    if (!s->depth || in_array(s) != (c == ']'))
        return false;
    s->depth--;
    return true;
}

static bool number_byte(struct json_scan *s, char c)
{
    bool d = is_digit(c);
    bool exp = c == 'e' || c == 'E';
    int to = -1;

    switch (s->sub) {
    case N_MINUS:
        to = !d ? -1 : c == '0' ? N_ZERO : N_INT;
        break;
    case N_ZERO:
    case N_INT:
        to = d && s->sub == N_INT ? N_INT : c == '.' ? N_DOT : exp ? N_E : -1;
        break;
    case N_DOT:
    case N_FRAC:
        to = d ? N_FRAC : exp && s->sub == N_FRAC ? N_E : -1;
        break;
    case N_E:
        to = d ? N_EXP : c == '+' || c == '-' ? N_SIGN : -1;
        break;
    default:
        to = d ? N_EXP : -1;
    }
    if (to >= 0)
        s->sub = (uint8_t)to;
    return to >= 0;
}

static bool number_whole(const struct json_scan *s)
{
    return s->sub == N_ZERO || s->sub == N_INT || s->sub == N_FRAC || s->sub == N_EXP;
}

static enum value_rc value_begin(struct json_scan *s, char c, struct buf *out)
{
    if (is_space(c)) {
        put(out, &c, 1);
        return VALUE_MORE;
    }
    if (c == '{' || c == '[') {
        if (!json_open(s, c == '['))
            return VALUE_BAD;
    } else if (c == '"') {
        s->st = J_STR;
        s->key = false;
    } else if (c == '-' || is_digit(c)) {
        s->st = J_NUM;
        s->sub = c == '-' ? N_MINUS : c == '0' ? N_ZERO : N_INT;
    } else {
        unsigned i;

        for (i = 0; i < 3 && literals[i][0] != c; i++)
            ;
        if (i == 3)
            return VALUE_BAD;
        s->st = J_LIT;
        s->sub = (uint8_t)(i << 4 | 1);
    }
    put(out, &c, 1);
    return VALUE_MORE;
}

static void drop_high(struct json_scan *s, struct buf *out)
{
    if (s->high)
        put_str(out, "\\ufffd");
    s->high = 0;
}

static void put_unit(uint32_t u, struct buf *out)
{
    if (out)
        buf_printf(out, "\\u%04x", (unsigned)u);
}

/* A finished \u escape: a pair goes out whole, half a pair as U+FFFD. */
static void end_unit(struct json_scan *s, struct buf *out)
{
    if (s->unit >= 0xdc00 && s->unit < 0xe000 && s->high) {
        put_unit(s->high, out);
        put_unit(s->unit, out);
        s->high = 0;
        return;
    }
    drop_high(s, out);
    if (s->unit >= 0xd800 && s->unit < 0xdc00)
        s->high = s->unit;
    else
        put_unit(s->unit >= 0xd800 && s->unit < 0xe000 ? 0xfffd : s->unit, out);
}

static enum value_rc string_byte(struct json_scan *s, char c, struct buf *out)
{
    char esc[2] = {'\\', c};
    int h;

    if (s->st == J_ESC && c == 'u') {
        s->st = J_HEX;
        s->sub = 0;
        s->unit = 0;
        return VALUE_MORE;
    }
    if (s->st == J_ESC) {
        if (!c || !strchr("\"\\/bfnrt", c))
            return VALUE_BAD;
        drop_high(s, out);
        put(out, esc, 2);
        s->st = J_STR;
        return VALUE_MORE;
    }
    if (s->st == J_HEX) {
        if ((h = hex_digit(c)) < 0)
            return VALUE_BAD;
        s->unit = s->unit << 4 | (uint32_t)h;
        if (++s->sub == 4) {
            end_unit(s, out);
            s->st = J_STR;
        }
        return VALUE_MORE;
    }
    if (c == '\\') {
        fix_end(&s->fix, out);
        s->st = J_ESC;
        return VALUE_MORE;
    }
    drop_high(s, out);
    if (c != '"') {
        fix_json(&s->fix, c, out);
        return VALUE_MORE;
    }
    fix_end(&s->fix, out);
    put(out, &c, 1);
    if (!s->key)
        return json_ended(s);
    s->st = J_COLON;
    return VALUE_MORE;
}

static enum value_rc literal_letter(struct json_scan *s, char c, struct buf *out)
{
    const char *want = literals[s->sub >> 4];

    if (c != want[s->sub & 15])
        return VALUE_BAD;
    put(out, &c, 1);
    s->sub++;
    return want[s->sub & 15] ? VALUE_MORE : json_ended(s);
}

/* Between values: white space, commas, colons, closing brackets, keys. */
static enum value_rc between(struct json_scan *s, char c, struct buf *out)
{
    bool close = c == '}' || c == ']';

    if (close && (s->st == J_NEXT || s->st == (c == ']' ? J_ARR0 : J_OBJ0))) {
        if (!json_close(s, c))
            return VALUE_BAD;
        put(out, &c, 1);
        return json_ended(s);
    }
    if (is_space(c)) {
        put(out, &c, 1);
        return VALUE_MORE;
    }
    if (s->st == J_NEXT && c == ',') {
        s->st = in_array(s) ? J_VALUE : J_KEY;
    } else if (s->st == J_COLON && c == ':') {
        s->st = J_VALUE;
    } else if ((s->st == J_KEY || s->st == J_OBJ0) && c == '"') {
        s->st = J_STR;
        s->key = true;
    } else if (s->st == J_ARR0) {
        return value_begin(s, c, out);
    } else {
        return VALUE_BAD;
    }
    put(out, &c, 1);
    return VALUE_MORE;
}

enum value_rc json_byte(struct json_scan *s, char c, struct buf *out)
{
    switch (s->st) {
    case J_VALUE:
        return value_begin(s, c, out);
    case J_STR:
    case J_ESC:
    case J_HEX:
        return string_byte(s, c, out);
    case J_LIT:
        return literal_letter(s, c, out);
    case J_NUM:
        if (number_byte(s, c)) {
            put(out, &c, 1);
            return VALUE_MORE;
        }
        if (!number_whole(s))
            return VALUE_BAD;
        if (json_ended(s) == VALUE_DONE)
            return VALUE_BEFORE;
        return between(s, c, out);
    case J_OVER:
        return VALUE_BEFORE;
    default:
        return between(s, c, out);
    }
}

bool json_whole(const struct json_scan *s)
{
    return s->st == J_OVER || (s->st == J_NUM && !s->depth && number_whole(s));
}

int json_string_byte(struct json_string *s, char c, struct buf *out)
{
    enum { PLAIN, ESC, HEX };
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    uint8_t st = s->sub & 3;
    const char *at;
    char u[4];
    int h;

    if (s->high && !(st == PLAIN && c == '\\') && !(st == ESC && c == 'u') && st != HEX) {
        put_str(out, "\xef\xbf\xbd");
        s->high = 0;
    }
    if (st == PLAIN) {
        if (c == '"')
            return 0;
        if (c == '\\')
            s->sub = ESC;
        else
            put(out, &c, 1);
        return 1;
    }
    if (st == ESC) {
        if (c == 'u') {
            s->sub = HEX;
            s->unit = 0;
            return 1;
        }
        if (!c || !(at = strchr(from, c)))
            return -1;
        put(out, &to[at - from], 1);
        s->sub = PLAIN;
        return 1;
    }
    if ((h = hex_digit(c)) < 0)
        return -1;
    s->unit = s->unit << 4 | (uint32_t)h;
    s->sub = (uint8_t)(s->sub + 4);
    if (s->sub < HEX + 16)
        return 1;
    s->sub = PLAIN;
    if (s->unit >= 0xdc00 && s->unit < 0xe000 && s->high) {
        s->unit = 0x10000 + ((s->high - 0xd800) << 10) + (s->unit - 0xdc00);
        s->high = 0;
    } else if (s->high) {
        put_str(out, "\xef\xbf\xbd");
        s->high = 0;
    }
    if (s->unit >= 0xd800 && s->unit < 0xdc00) {
        s->high = s->unit;
        return 1;
    }
    h = utf8_encode(s->unit, u);
    if (h)
        put(out, u, (size_t)h);
    else
        put_str(out, "\xef\xbf\xbd");
    return 1;
}

/* -- literals -- */

enum {
    L_VALUE,
    L_KEY,
    L_COLON,
    L_NEXT,
    L_QUOTE,
    L_STR,
    L_ESC,
    L_HEX,
    L_OCT,
    L_WORD,
    L_DELIM,
    L_OVER
};

void literal_begin(struct literal_scan *s, const char *delim)
{
    memset(s, 0, sizeof *s);
    s->delim = delim;
    s->first = true;
}

static bool at_key(const struct literal_scan *s)
{
    return s->sub & 128;
}

/* A value (or key) has ended. */
static enum value_rc ended(struct literal_scan *s, enum value_rc done)
{
    if (at_key(s)) {
        s->st = L_COLON;
        s->sub = 0;
        return VALUE_MORE;
    }
    s->st = s->depth ? L_NEXT : L_OVER;
    return s->depth ? VALUE_MORE : done;
}

static bool all_json(struct slice t, unsigned *type)
{
    struct json_scan j = {0};
    size_t i;

    for (i = 0; i < t.n; i++) {
        enum value_rc rc = json_byte(&j, t.p[i], NULL);

        if (rc == VALUE_DONE) {
            for (i++; i < t.n && is_space(t.p[i]); i++)
                ;
            break;
        }
        if (rc != VALUE_MORE)
            return false;
    }
    if (i != t.n || !json_whole(&j))
        return false;
    for (i = 0; is_space(t.p[i]); i++)
        ;
    switch (t.p[i]) {
    case '{':
        *type = VALUE_OBJECT;
        break;
    case '[':
        *type = VALUE_ARRAY;
        break;
    case '"':
        *type = VALUE_STRING;
        break;
    case 't':
    case 'f':
        *type = VALUE_BOOLEAN;
        break;
    case 'n':
        *type = VALUE_NULL;
        break;
    default:
        *type = VALUE_INTEGER;
        for (; i < t.n; i++)
            if (t.p[i] == '.' || t.p[i] == 'e' || t.p[i] == 'E')
                *type = VALUE_NUMBER;
    }
    return true;
}

/* Python's ways to write a number that JSON lacks: signs, points at an end, _, 0x. */
static bool put_number(struct slice w, struct buf *out)
{
    char s[VALUE_SCALAR + 4];
    size_t n = 0;
    unsigned type;
    char *end;

    if (w.n > 2 && w.p[0] == '0' && (w.p[1] == 'x' || w.p[1] == 'X') && w.n <= 18) {
        unsigned long long v;

        memcpy(s, w.p, w.n);
        s[w.n] = '\0';
        v = strtoull(s + 2, &end, 16);
        if (*end || hex_digit(s[2]) < 0)
            return false;
        if (out)
            buf_printf(out, "%llu", v);
        return true;
    }
    for (size_t i = 0; i < w.n; i++) {
        char c = w.p[i];

        if (c == '_' && i > 0 && i + 1 < w.n)
            continue;
        if (c == '+' && i == 0)
            continue;
        if (c == '.' && (n == 0 || !is_digit(s[n - 1])))
            s[n++] = '0';
        s[n++] = c;
        if (c == '.' && (i + 1 == w.n || !is_digit(w.p[i + 1])))
            s[n++] = '0';
        if (n > VALUE_SCALAR)
            return false;
    }
    if (!all_json((struct slice){s, n}, &type) || !(type & (VALUE_INTEGER | VALUE_NUMBER)))
        return false;
    put(out, s, n);
    return true;
}

static const char *python_word(struct slice w)
{
    static const char *const map[][2] = {{"True", "true"}, {"False", "false"}, {"None", "null"},
                                         {"true", "true"}, {"false", "false"}, {"null", "null"}};

    for (size_t i = 0; i < sizeof map / sizeof *map; i++)
        if (slice_is(w, map[i][0]))
            return map[i][1];
    return NULL;
}

static void put_quoted(struct slice w, struct buf *out)
{
    struct utf8_fix f = {{0}, 0};

    put_str(out, "\"");
    for (size_t i = 0; i < w.n; i++)
        fix_json(&f, w.p[i], out);
    fix_end(&f, out);
    put_str(out, "\"");
}

/* The end of a word: a number, True and the like, or with Gemma a key or a bare string. */
static enum value_rc word_end(struct literal_scan *s, struct buf *out)
{
    struct slice w = {s->word, s->n_word};
    const char *lit = python_word(w);

    if (at_key(s)) {
        if (!s->delim && !put_number(w, NULL))
            return VALUE_BAD;
        put_quoted(w, out);
    } else if (lit) {
        put_str(out, lit);
    } else if (!put_number(w, out)) {
        if (!s->delim)
            return VALUE_BAD;
        put_quoted(w, out);
    }
    return ended(s, VALUE_BEFORE);
}

static bool word_char(const struct literal_scan *s, char c)
{
    if (is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_')
        return true;
    if (c == '.' || c == '-' || c == '+')
        return true;
    return s->delim && ((uint8_t)c >= 0x80 || c == '$' || c == '@' || c == '/');
}

static enum value_rc begin_value(struct literal_scan *s, char c, struct buf *out, bool key)
{
    char open = c == '(' ? '[' : c;

    if (is_space(c))
        return VALUE_MORE;
    if (s->depth && c == s->stack[s->depth - 1] &&
        (key || c != '}')) { // empty, or behind a last comma
        put_str(out, c == '}' ? "}" : "]");
        s->depth--;
        s->first = false;
        s->sub = 0;
        return ended(s, VALUE_DONE);
    }
    if (s->depth && !s->first && (key || s->stack[s->depth - 1] != '}'))
        put_str(out, ", ");
    s->first = false;
    s->sub = key ? 128 : 0;
    s->raw = s->triple = false;
    s->n_word = 0;
    if (c == '"' || (c == '\'' && !s->delim)) {
        s->st = L_QUOTE;
        s->quote = c;
    } else if (s->delim && c == s->delim[0]) {
        s->st = L_DELIM;
        s->sub |= 1;
    } else if (!key && (c == '[' || c == '{' || (c == '(' && !s->delim))) {
        if (s->depth == VALUE_DEPTH)
            return VALUE_BAD;
        s->stack[s->depth++] = c == '[' ? ']' : c == '{' ? '}' : ')';
        put(out, &open, 1);
        s->first = true;
        s->st = c == '{' ? L_KEY : L_VALUE;
    } else if (word_char(s, c)) {
        s->word[s->n_word++] = c;
        s->st = L_WORD;
    } else {
        return VALUE_BAD;
    }
    return VALUE_MORE;
}

static enum value_rc string_end(struct literal_scan *s, struct buf *out)
{
    fix_end(&s->fix, out);
    put_str(out, "\"");
    return ended(s, VALUE_DONE);
}

/* Behind an opening quote: an empty string, a triple quote, or the first character. */
static enum value_rc quote_byte(struct literal_scan *s, char c, struct buf *out);

static enum value_rc escape_byte(struct literal_scan *s, char c, struct buf *out)
{
    static const char from[] = "n\\'\"trabfv", to[] = "\n\\'\"\t\r\a\b\f\v";
    const char *at = c ? strchr(from, c) : NULL;

    s->st = L_STR;
    if (c == '\n')
        return VALUE_MORE; // a continued line
    if (at) {
        fix_json(&s->fix, to[at - from], out);
    } else if (c == '/' && s->quote == '"') { // as JSON writes it
        fix_json(&s->fix, c, out);
    } else if (c == 'x' || c == 'u' || c == 'U') {
        s->left = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        s->unit = 0;
        s->st = L_HEX;
    } else if (c >= '0' && c <= '7') {
        s->unit = (uint32_t)(c - '0');
        s->left = 2;
        s->st = L_OCT;
    } else {
        fix_json(&s->fix, '\\', out);
        fix_json(&s->fix, c, out);
    }
    return VALUE_MORE;
}

static enum value_rc in_string(struct literal_scan *s, char c, struct buf *out)
{
    unsigned run = s->sub & 127;

    if (s->delim && !s->quote) {
        while (run && c != s->delim[run]) { // the mark's first byte does not come again within it
            for (unsigned i = 0; i < run; i++)
                fix_json(&s->fix, s->delim[i], out);
            run = 0;
        }
        s->sub = s->sub & 128;
        if (c != s->delim[run]) {
            fix_json(&s->fix, c, out);
            return VALUE_MORE;
        }
        s->sub |= (uint8_t)(run + 1);
        return s->delim[run + 1] ? VALUE_MORE : string_end(s, out);
    }
    if (c == s->quote) {
        if (!s->triple)
            return string_end(s, out);
        if (run == 2)
            return string_end(s, out);
        s->sub++;
        return VALUE_MORE;
    }
    for (unsigned i = 0; i < run; i++)
        fix_json(&s->fix, s->quote, out);
    s->sub &= 128;
    if (c == '\\' && !s->raw)
        s->st = L_ESC;
    else
        fix_json(&s->fix, c, out);
    return VALUE_MORE;
}

static enum value_rc quote_byte(struct literal_scan *s, char c, struct buf *out)
{
    unsigned run = s->sub & 127;

    if (c == s->quote && !s->delim) {
        if (run == 0) {
            s->sub++;
            return VALUE_MORE;
        }
        s->triple = true;
        s->sub &= 128;
        s->st = L_STR;
        put_str(out, "\"");
        return VALUE_MORE;
    }
    put_str(out, "\"");
    s->sub &= 128;
    if (run == 0) {
        s->st = L_STR;
        return in_string(s, c, out);
    }
    put_str(out, "\"");
    if (ended(s, VALUE_BEFORE) == VALUE_BEFORE)
        return VALUE_BEFORE;
    return literal_byte(s, c, out);
}

static enum value_rc digit_byte(struct literal_scan *s, char c, struct buf *out)
{
    int h = hex_digit(c);

    if (s->st == L_OCT && (c < '0' || c > '7')) {
        put_cp(&s->fix, s->unit, out);
        s->st = L_STR;
        return in_string(s, c, out);
    }
    if (h < 0)
        return VALUE_BAD;
    s->unit = s->st == L_OCT ? s->unit << 3 | (uint32_t)h : s->unit << 4 | (uint32_t)h;
    if (--s->left == 0) {
        put_cp(&s->fix, s->unit, out);
        s->st = L_STR;
    }
    return VALUE_MORE;
}

static enum value_rc word_byte(struct literal_scan *s, char c, struct buf *out)
{
    enum value_rc rc;

    if ((c == '"' || c == '\'') && s->n_word == 1 && !s->delim && strchr("rRuU", s->word[0])) {
        s->raw = s->word[0] == 'r' || s->word[0] == 'R';
        s->quote = c;
        s->st = L_QUOTE;
        return VALUE_MORE;
    }
    if (word_char(s, c)) {
        if (s->n_word == VALUE_SCALAR)
            return VALUE_BAD;
        s->word[s->n_word++] = c;
        return VALUE_MORE;
    }
    if ((rc = word_end(s, out)) != VALUE_MORE)
        return rc;
    return literal_byte(s, c, out);
}

static enum value_rc next_byte(struct literal_scan *s, char c, struct buf *out)
{
    char top = s->stack[s->depth - 1];

    if (is_space(c))
        return VALUE_MORE;
    if (c == ',') {
        s->st = top == '}' ? L_KEY : L_VALUE;
        return VALUE_MORE;
    }
    if (c != top)
        return VALUE_BAD;
    put_str(out, c == '}' ? "}" : "]");
    s->depth--;
    s->sub = 0;
    return ended(s, VALUE_DONE);
}

enum value_rc literal_byte(struct literal_scan *s, char c, struct buf *out)
{
    switch (s->st) {
    case L_VALUE:
        return begin_value(s, c, out, false);
    case L_KEY:
        return begin_value(s, c, out, true);
    case L_COLON:
        if (is_space(c))
            return VALUE_MORE;
        if (c != ':')
            return VALUE_BAD;
        put_str(out, ": ");
        s->st = L_VALUE;
        return VALUE_MORE;
    case L_NEXT:
        return next_byte(s, c, out);
    case L_QUOTE:
        return quote_byte(s, c, out);
    case L_STR:
        return in_string(s, c, out);
    case L_ESC:
        return escape_byte(s, c, out);
    case L_HEX:
    case L_OCT:
        return digit_byte(s, c, out);
    case L_WORD:
        return word_byte(s, c, out);
    case L_DELIM:
        if (c != s->delim[s->sub & 127])
            return VALUE_BAD;
        s->sub++;
        if (!s->delim[s->sub & 127]) {
            s->sub &= 128;
            s->quote = '\0';
            s->st = L_STR;
            put_str(out, "\"");
        }
        return VALUE_MORE;
    default:
        return VALUE_BEFORE;
    }
}

void literal_rest(struct literal_scan *s, struct buf *out)
{
    if (s->st == L_WORD)
        put(out, s->word, s->n_word);
    fix_end(&s->fix, out);
}

/* -- schemas -- */

static const json_t *resolve(const json_t *root, const json_t *s)
{
    for (int i = 0; i < 8; i++) {
        const char *ref = json_string_value(json_object_get(s, "$ref"));
        const json_t *at = root;

        if (!ref)
            return s;
        if (ref[0] != '#')
            return NULL;
        for (ref++; *ref == '/' && at;) {
            size_t n = strcspn(++ref, "/");
            char key[128];

            if (n >= sizeof key)
                return NULL;
            memcpy(key, ref, n);
            key[n] = '\0';
            at = json_object_get(at, key);
            ref += n;
        }
        s = at;
    }
    return NULL;
}

static unsigned type_named(const char *name)
{
    static const char *const names[] = {"string", "number", "integer", "boolean",
                                        "object", "array",  "null"};

    for (unsigned i = 0; name && i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return i == 1 ? VALUE_NUMBER | VALUE_INTEGER : 1u << i;
    return 0;
}

static unsigned type_of(const json_t *v)
{
    static const unsigned of[] = {
        [JSON_OBJECT] = VALUE_OBJECT,   [JSON_ARRAY] = VALUE_ARRAY, [JSON_STRING] = VALUE_STRING,
        [JSON_INTEGER] = VALUE_INTEGER, [JSON_REAL] = VALUE_NUMBER, [JSON_TRUE] = VALUE_BOOLEAN,
        [JSON_FALSE] = VALUE_BOOLEAN,   [JSON_NULL] = VALUE_NULL};

    return of[json_typeof(v)];
}

/* left: schemas that may still be looked at, so that nested alternatives cannot multiply. */
static unsigned types_at(const json_t *root, const json_t *schema, int *left)
{
    static const char *const any[] = {"anyOf", "oneOf"};
    const json_t *s = resolve(root, schema);
    const json_t *type = json_object_get(s, "type");
    const json_t *v;
    unsigned t = 0;
    size_t i;

    if (!json_is_object(s) || --*left < 0)
        return VALUE_ANY;
    if (json_is_string(type))
        t = type_named(json_string_value(type));
    json_array_foreach(type, i, v) t |= type_named(json_string_value(v));
    json_array_foreach(json_object_get(s, "enum"), i, v) t |= type ? 0 : type_of(v);
    if ((v = json_object_get(s, "const")) && !t)
        t = type_of(v);
    for (int k = 0; k < 2 && !t; k++)
        json_array_foreach(json_object_get(s, any[k]), i, v) t |= types_at(root, v, left);
    json_array_foreach(json_object_get(s, "allOf"), i, v) if (!type) t =
        (t ? t : VALUE_ANY) & types_at(root, v, left);
    if (t && json_is_true(json_object_get(s, "nullable")))
        t |= VALUE_NULL;
    return t ? t : VALUE_ANY;
}

unsigned schema_types(const json_t *root, const json_t *schema)
{
    int left = 256;

    return types_at(root, schema, &left);
}

void value_add(unsigned types, bool known, struct slice text, struct buf *out)
{
    struct slice t = text;
    const char *lit;
    unsigned type = 0;

    while (t.n && is_space(t.p[0]))
        t = (struct slice){t.p + 1, t.n - 1};
    while (t.n && is_space(t.p[t.n - 1]))
        t.n--;
    lit = python_word(t);
    if (lit && lit[0] != t.p[0]) { // True, False, None
        type = lit[0] == 'n' ? VALUE_NULL : VALUE_BOOLEAN;
        if (known && types != VALUE_ANY && types & type) {
            put_str(out, lit);
            return;
        }
        type = 0;
    } else if (t.n && !all_json(t, &type)) {
        type = 0;
    }
    if (type == VALUE_INTEGER && types & VALUE_NUMBER)
        type = VALUE_NUMBER;
    if (type && type != VALUE_STRING && types & type) {
        struct json_scan j = {0};

        for (size_t i = 0; i < t.n; i++)
            json_byte(&j, t.p[i], out);
        return;
    }
    put_quoted(text, out);
}
