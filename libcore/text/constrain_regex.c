/* constrain_regex.c - see constrain_regex.h.
 *
 * A parsed expression is turned into a language from its end to its start: what may follow a part
 * is known when the part is met, so that assertions about what follows are intersections. ^ asks
 * whether anything precedes: what follows is kept twice, for the start and for later places.
 */
#include "constrain_regex.h"

#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "base/utf8.h"

#define MAX_DEPTH  200
#define MAX_REPEAT 100000
#define MAX_UNROLL 64 // of a repetition with assertions in it

enum part_kind { P_EMPTY, P_CHARS, P_CAT, P_ALT, P_REP, P_START, P_END, P_LOOK };

struct part {
    enum part_kind kind;
    bool asserts;         // it or a part of it is an assertion
    bool negative;        // LOOK
    rx chars;
    uint32_t lo, hi;      // REP
    uint32_t child, next; // 0: none
};

struct parser {
    struct rxs *s;
    struct slice src;
    size_t at;
    int depth;
    struct part *part; // part[0] is unused
    uint32_t n, cap;
    struct err *e;
    int rc;
};

/* -- ranges ---------------------------------------------------------------------------------- */

void rx_ranges_add(struct rx_ranges *l, uint32_t from, uint32_t to)
{
    if (l->bad)
        return;
    if (l->n == l->cap) {
        uint32_t cap = l->cap ? l->cap * 2 : 16;
        struct rx_range *r = mem_resize(l->r, l->cap, cap, sizeof *r, NULL);

        if (!r) {
            l->bad = true;
            return;
        }
        l->r = r;
        l->cap = cap;
    }
    l->r[l->n++] = (struct rx_range){from, to};
}

void rx_ranges_fini(struct rx_ranges *l)
{
    mem_free(l->r);
    *l = (struct rx_ranges){0};
}

static int by_from(const void *a, const void *b)
{
    uint32_t x = ((const struct rx_range *)a)->from, y = ((const struct rx_range *)b)->from;

    return (x > y) - (x < y);
}

rx rx_ranges_rx(struct rxs *s, struct rx_ranges *l, bool negate)
{
    struct rx_ranges out = {0};
    uint32_t next = 0;
    rx e;

    if (l->n)
        qsort(l->r, l->n, sizeof *l->r, by_from);
    for (uint32_t i = 0; negate && i < l->n; i++) {
        if (l->r[i].from > next)
            rx_ranges_add(&out, next, l->r[i].from - 1);
        if (l->r[i].to + 1 > next)
            next = l->r[i].to + 1;
    }
    if (negate && next <= 0x10ffff)
        rx_ranges_add(&out, next, 0x10ffff);
    e = negate ? rx_chars(s, out.r, out.n) : rx_chars(s, l->r, l->n);
    if (l->bad || out.bad)
        s->bad = E_NOMEM;
    rx_ranges_fini(&out);
    return e;
}

static void add_all(struct rx_ranges *l, const struct rx_range *r, size_t n, bool negate)
{
    uint32_t next = 0;

    for (size_t i = 0; i < n; i++) {
        if (!negate)
            rx_ranges_add(l, r[i].from, r[i].to);
        else if (r[i].from > next)
            rx_ranges_add(l, next, r[i].from - 1);
        next = r[i].to + 1;
    }
    if (negate)
        rx_ranges_add(l, next, 0x10ffff);
}

static const struct rx_range digits[] = {{'0', '9'}};
static const struct rx_range words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const struct rx_range spaces[] = {
    {9, 13},           {32, 32},         {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
    {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};
static const struct rx_range line_ends[] = {{10, 10}, {13, 13}, {0x2028, 0x2029}};

/* \d \w \s and opposites; false when c is none of them. */
static bool add_named(struct rx_ranges *l, char c)
{
    switch (c) {
    case 'd':
    case 'D':
        add_all(l, digits, ARRAY_LEN(digits), c == 'D');
        return true;
    case 'w':
    case 'W':
        add_all(l, words, ARRAY_LEN(words), c == 'W');
        return true;
    case 's':
    case 'S':
        add_all(l, spaces, ARRAY_LEN(spaces), c == 'S');
        return true;
    default:
        return false;
    }
}

/* -- reading --------------------------------------------------------------------------------- */

static int fail(struct parser *p, int code, const char *what)
{
    if (p->rc == 0)
        p->rc = err_set(p->e, code, "regular expression, byte %zu: %s", p->at, what);
    return p->rc;
}

static uint32_t part_new(struct parser *p, struct part k)
{
    if (p->n == p->cap) {
        uint32_t cap = p->cap ? p->cap * 2 : 32;
        struct part *q = mem_resize(p->part, p->cap, cap, sizeof *q, NULL);

        if (!q) {
            fail(p, E_NOMEM, "out of memory");
            return 0;
        }
        p->part = q;
        p->cap = cap;
        if (p->n == 0)
            p->n = 1;
    }
    p->part[p->n] = k;
    return p->n++;
}

static bool more(const struct parser *p)
{
    return p->rc == 0 && p->at < p->src.n;
}

static bool next_is(const struct parser *p, const char *s)
{
    size_t n = strlen(s);

    return p->src.n - p->at >= n && memcmp(p->src.p + p->at, s, n) == 0;
}

static bool take(struct parser *p, const char *s)
{
    if (!next_is(p, s))
        return false;
    p->at += strlen(s);
    return true;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint32_t hex(struct parser *p, int n)
{
    uint32_t v = 0;

    for (int i = 0; i < n; i++) {
        int d = p->at < p->src.n ? hex_value(p->src.p[p->at]) : -1;

        if (d < 0) {
            fail(p, E_FORMAT, "a hexadecimal digit is missing");
            return 0;
        }
        v = v << 4 | (uint32_t)d;
        p->at++;
    }
    return v;
}

static uint32_t braced_hex(struct parser *p)
{
    uint32_t v = 0;
    int n = 0;

    for (; more(p) && p->src.p[p->at] != '}'; n++)
        v = v << 4 | hex(p, 1);
    if (n == 0 || n > 6 || v > 0x10ffff || !take(p, "}"))
        fail(p, E_FORMAT, "\\u{...}: no code point");
    return v;
}

/* Behind \u. Two escapes of a surrogate pair are one character. */
static uint32_t unicode_escape(struct parser *p)
{
    uint32_t v;
    size_t at;

    if (take(p, "{"))
        return braced_hex(p);
    v = hex(p, 4);
    at = p->at;
    if (v >= 0xd800 && v < 0xdc00 && take(p, "\\u")) {
        uint32_t low = hex(p, 4);

        if (low >= 0xdc00 && low < 0xe000)
            return 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00);
        p->at = at;
    }
    return v;
}

/* \p{...}: a general category, by its short or long name. */
static void property(struct parser *p, struct rx_ranges *l, bool negate)
{
    static const char *const name[] = {
        "Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps",
        "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co"};
    static const struct {
        const char *name, *is;
    } names[] = {{"Letter", "L"},          {"Number", "N"},          {"digit", "Nd"},
                 {"Decimal_Number", "Nd"}, {"Punctuation", "P"},     {"Symbol", "S"},
                 {"Separator", "Z"},       {"Mark", "M"},            {"Uppercase_Letter", "Lu"},
                 {"Lowercase_Letter", "Ll"}, {"Space_Separator", "Zs"}, {"Other", "C"}};
    const char *open = p->src.p + p->at, *end;
    char want[24];
    uint32_t from = UINT32_MAX;
    bool known = false;

    end = memchr(open, '}', p->src.n - p->at);
    if (p->at >= p->src.n || *open != '{' || !end || end - open - 1 >= (int)sizeof want) {
        fail(p, E_FORMAT, "\\p without {name}");
        return;
    }
    memcpy(want, open + 1, (size_t)(end - open) - 1);
    want[end - open - 1] = 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(want, names[i].name) == 0)
            snprintf(want, sizeof want, "%s", names[i].is);
    for (size_t i = 0; i < ARRAY_LEN(name); i++)
        known = known || strncmp(name[i], want, strlen(want)) == 0;
    if (!known || !want[0]) {
        fail(p, E_UNSUPPORTED, "\\p{...}: only general categories are known");
        return;
    }
    p->at += (size_t)(end - open) + 1;
    for (uint32_t c = 0; c <= 0x110000; c++) {
        const char *cat = c < 0x110000 ? name[utf8proc_category((utf8proc_int32_t)c)] : "";
        bool in = c < 0x110000 && (strncmp(cat, want, strlen(want)) == 0) != negate;

        if (in && from == UINT32_MAX)
            from = c;
        if (!in && from != UINT32_MAX) {
            rx_ranges_add(l, from, c - 1);
            from = UINT32_MAX;
        }
    }
}

/* Behind a backslash: adds characters to l. One character: true and *cp. */
static bool escape(struct parser *p, struct rx_ranges *l, bool in_class, uint32_t *cp)
{
    static const char name[] = "tnvfr", stands[] = "\t\n\v\f\r";
    const char *k;
    int n;
    char c;

    if (!more(p)) {
        fail(p, E_FORMAT, "nothing behind the backslash");
        return false;
    }
    c = p->src.p[p->at];
    n = utf8_decode(p->src.p + p->at, p->src.n - p->at, cp);
    p->at += n ? (size_t)n : 1;
    if (add_named(l, c))
        return false;
    if (c == 'p' || c == 'P') {
        property(p, l, c == 'P');
        return false;
    }
    k = c ? strchr(name, c) : NULL;
    if (k)
        *cp = (unsigned char)stands[k - name];
    else if (c == 'x')
        *cp = hex(p, 2);
    else if (c == 'u')
        *cp = unicode_escape(p);
    else if (c == 'c' && more(p))
        *cp = (unsigned char)p->src.p[p->at++] & 31u;
    else if (c == '0')
        *cp = 0;
    else if (c == 'b' && in_class)
        *cp = 8;
    else if (c == 'b' || c == 'B')
        fail(p, E_UNSUPPORTED, "the assertion \\b cannot be enforced");
    else if ((c >= '1' && c <= '9') || c == 'k')
        fail(p, E_UNSUPPORTED, "back references cannot be enforced");
    else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || n == 0)
        fail(p, E_FORMAT, "an unknown escape");
    return p->rc == 0;
}

/* One character as it is. */
static uint32_t plain_char(struct parser *p)
{
    uint32_t cp = 0;
    int n = utf8_decode(p->src.p + p->at, p->src.n - p->at, &cp);

    if (n == 0)
        fail(p, E_FORMAT, "no valid UTF-8");
    p->at += (size_t)n;
    return cp;
}

/* A character or a set within a class; true when it is one character. */
static bool class_atom(struct parser *p, struct rx_ranges *l, uint32_t *cp)
{
    if (take(p, "\\"))
        return escape(p, l, true, cp);
    *cp = plain_char(p);
    return p->rc == 0;
}

/* Behind "[". */
static rx char_class(struct parser *p)
{
    struct rx_ranges l = {0};
    bool negate = take(p, "^");
    rx e;

    while (more(p) && p->src.p[p->at] != ']') {
        uint32_t from, to;

        if (!class_atom(p, &l, &from))
            continue;
        to = from;
        if (p->src.n - p->at >= 2 && p->src.p[p->at] == '-' && p->src.p[p->at + 1] != ']') {
            p->at++;
            if (!class_atom(p, &l, &to)) { // [a-\d]: the dash is a dash
                rx_ranges_add(&l, '-', '-');
                to = from;
            }
        }
        if (to < from)
            fail(p, E_FORMAT, "a range that ends before it begins");
        else
            rx_ranges_add(&l, from, to);
    }
    if (!take(p, "]"))
        fail(p, E_FORMAT, "a class without its ]");
    e = p->rc == 0 ? rx_ranges_rx(p->s, &l, negate) : RX_NONE;
    rx_ranges_fini(&l);
    return e;
}

static uint32_t chars(struct parser *p, rx e)
{
    return part_new(p, (struct part){.kind = P_CHARS, .chars = e});
}

static uint32_t alternatives(struct parser *p);

static void close_group(struct parser *p)
{
    if (!take(p, ")"))
        fail(p, E_FORMAT, "a group without its )");
}

/* Behind "(". */
static uint32_t group(struct parser *p)
{
    bool look = false, negative = false;
    uint32_t k;

    if (take(p, "?=") || take(p, "?!")) {
        look = true;
        negative = p->src.p[p->at - 1] == '!';
    } else if (next_is(p, "?<=") || next_is(p, "?<!")) {
        fail(p, E_UNSUPPORTED, "lookbehind cannot be enforced");
    } else if (take(p, "?<") || take(p, "?P<")) {
        while (more(p) && p->src.p[p->at] != '>')
            p->at++;
        if (!take(p, ">"))
            fail(p, E_FORMAT, "a group's name without its >");
    } else if (!take(p, "?:") && next_is(p, "?")) {
        fail(p, E_UNSUPPORTED, "a group of a kind that is not known");
    }
    if (p->depth++ > MAX_DEPTH)
        fail(p, E_RANGE, "groups are nested too deeply");
    k = alternatives(p);
    p->depth--;
    close_group(p);
    if (!look)
        return k;
    return part_new(p, (struct part){.kind = P_LOOK, .child = k, .negative = negative,
                                     .asserts = true});
}

static uint32_t atom(struct parser *p)
{
    struct rx_ranges l = {0};
    uint32_t cp, k;
    rx e;

    if (take(p, "("))
        return group(p);
    if (take(p, "^"))
        return part_new(p, (struct part){.kind = P_START, .asserts = true});
    if (take(p, "$"))
        return part_new(p, (struct part){.kind = P_END, .asserts = true});
    if (take(p, "["))
        return chars(p, char_class(p));
    if (take(p, ".")) {
        add_all(&l, line_ends, ARRAY_LEN(line_ends), true);
        e = rx_ranges_rx(p->s, &l, false);
    } else if (take(p, "\\")) {
        e = escape(p, &l, false, &cp) ? rx_char(p->s, cp)
            : p->rc == 0              ? rx_ranges_rx(p->s, &l, false)
                                      : RX_NONE;
    } else {
        if (next_is(p, "*") || next_is(p, "+") || next_is(p, "?"))
            fail(p, E_FORMAT, "nothing to repeat");
        e = rx_char(p->s, plain_char(p));
    }
    k = chars(p, e);
    rx_ranges_fini(&l);
    return k;
}

static bool number(struct parser *p, uint32_t *v)
{
    size_t from = p->at;

    for (*v = 0; more(p) && p->src.p[p->at] >= '0' && p->src.p[p->at] <= '9'; p->at++)
        if (*v <= MAX_REPEAT)
            *v = *v * 10 + (uint32_t)(p->src.p[p->at] - '0');
    return p->at > from;
}

/* {m}, {m,} or {m,n}; anything else that begins with a brace is text. */
static bool braces(struct parser *p, uint32_t *lo, uint32_t *hi)
{
    size_t from = p->at;

    if (take(p, "{") && number(p, lo)) {
        *hi = *lo;
        if (take(p, ",") && !number(p, hi))
            *hi = RX_INF;
        if (take(p, "}"))
            return true;
    }
    p->at = from;
    return false;
}

static uint32_t repeated(struct parser *p)
{
    uint32_t k = atom(p), lo = 0, hi = RX_INF;

    while (more(p)) {
        if (take(p, "*"))
            lo = 0, hi = RX_INF;
        else if (take(p, "+"))
            lo = 1, hi = RX_INF;
        else if (take(p, "?"))
            lo = 0, hi = 1;
        else if (!braces(p, &lo, &hi))
            break;
        if ((lo > MAX_REPEAT || (hi != RX_INF && hi > MAX_REPEAT)) || lo > hi)
            fail(p, E_RANGE, "a repetition out of range");
        take(p, "?"); // lazy: the same language
        if (p->rc == 0)
            k = part_new(p, (struct part){.kind = P_REP, .child = k, .lo = lo, .hi = hi,
                                          .asserts = p->part[k].asserts});
    }
    return k;
}

static uint32_t sequence(struct parser *p)
{
    uint32_t first = 0, last = 0;
    bool asserts = false;

    while (more(p) && !next_is(p, "|") && !next_is(p, ")")) {
        uint32_t k = repeated(p);

        if (p->rc < 0)
            return 0;
        asserts = asserts || p->part[k].asserts;
        if (last)
            p->part[last].next = k;
        else
            first = k;
        last = k;
    }
    if (!first)
        return part_new(p, (struct part){.kind = P_EMPTY});
    return part_new(p, (struct part){.kind = P_CAT, .child = first, .asserts = asserts});
}

static uint32_t alternatives(struct parser *p)
{
    uint32_t first = sequence(p), last = first;
    bool asserts = p->rc == 0 && p->part[first].asserts;

    while (more(p) && take(p, "|")) {
        uint32_t k = sequence(p);

        if (p->rc < 0)
            return 0;
        asserts = asserts || p->part[k].asserts;
        p->part[last].next = k;
        last = k;
    }
    return p->rc < 0 ? 0
                     : part_new(p, (struct part){.kind = P_ALT, .child = first,
                                                 .asserts = asserts});
}

/* -- making the language --------------------------------------------------------------------- */

/* The children of part k, in order, on the heap. */
static uint32_t *children(struct parser *p, uint32_t k, uint32_t *n)
{
    uint32_t *v, i = 0;

    *n = 0;
    for (uint32_t c = p->part[k].child; c; c = p->part[c].next)
        ++*n;
    v = mem_array(*n, sizeof *v, NULL);
    if (!v) {
        p->s->bad = E_NOMEM;
        return NULL;
    }
    for (uint32_t c = p->part[k].child; c; c = p->part[c].next)
        v[i++] = c;
    return v;
}

/* The language of a part without assertions. */
static rx plain(struct parser *p, uint32_t k)
{
    const struct part *x = &p->part[k];
    rx e = RX_EPS;
    uint32_t n, *v;

    switch (x->kind) {
    case P_CHARS:
        return x->chars;
    case P_REP:
        return rx_rep(p->s, plain(p, x->child), x->lo, x->hi);
    case P_CAT:
    case P_ALT:
        if (!(v = children(p, k, &n)))
            return RX_NONE;
        if (x->kind == P_ALT) {
            for (uint32_t i = 0; i < n; i++)
                v[i] = plain(p, v[i]);
            e = rx_or_n(p->s, v, n);
        } else {
            for (uint32_t i = n; i-- > 0;)
                e = rx_cat(p->s, plain(p, v[i]), e);
        }
        mem_free(v);
        return e;
    default:
        return RX_EPS;
    }
}

/* What follows a place: at the start of the text, and elsewhere. */
struct rest {
    rx start, later;
};

static struct rest make(struct parser *p, uint32_t k, struct rest to);

static struct rest make_list(struct parser *p, uint32_t k, struct rest to)
{
    bool cat = p->part[k].kind == P_CAT;
    struct rest r = cat ? to : (struct rest){RX_NONE, RX_NONE};
    uint32_t n, *v = children(p, k, &n);

    for (uint32_t i = n; v && i-- > 0;) {
        struct rest one = make(p, v[i], cat ? r : to);

        if (cat) {
            r = one;
        } else {
            r.start = rx_or(p->s, r.start, one.start);
            r.later = rx_or(p->s, r.later, one.later);
        }
    }
    mem_free(v);
    return r;
}

/* A repetition with assertions in it, written out. */
static struct rest make_rep(struct parser *p, const struct part *x, struct rest to)
{
    struct rest r = to;

    if (x->hi > MAX_UNROLL) {
        fail(p, E_UNSUPPORTED, "an assertion within an unbounded repetition cannot be enforced");
        return to;
    }
    for (uint32_t i = x->hi; i > 0 && p->rc == 0; i--) {
        r = make(p, x->child, r);
        if (i > x->lo) {
            r.start = rx_or(p->s, r.start, to.start);
            r.later = rx_or(p->s, r.later, to.later);
        }
    }
    return r;
}

static struct rest make_plain(struct parser *p, uint32_t k, struct rest to)
{
    rx e = plain(p, k), some = rx_minus(p->s, e, RX_EPS);
    struct rest r;

    r.later = rx_cat(p->s, e, to.later);
    if (to.start == to.later) {
        r.start = r.later;
    } else if (!rx_nullable(p->s, e)) {
        r.start = r.later;
    } else {
        r.start = rx_or(p->s, to.start, rx_cat(p->s, some, to.later));
    }
    return r;
}

static struct rest make(struct parser *p, uint32_t k, struct rest to)
{
    struct part x = p->part[k];
    struct rest r;

    if (!x.asserts)
        return make_plain(p, k, to);
    switch (x.kind) {
    case P_START:
        return (struct rest){to.start, RX_NONE};
    case P_END:
        return (struct rest){rx_and(p->s, to.start, RX_EPS), rx_and(p->s, to.later, RX_EPS)};
    case P_LOOK:
        r = make(p, x.child, (struct rest){p->s->any, p->s->any});
        if (x.negative) {
            r.start = rx_not(p->s, r.start);
            r.later = rx_not(p->s, r.later);
        }
        return (struct rest){rx_and(p->s, r.start, to.start), rx_and(p->s, r.later, to.later)};
    case P_REP:
        return make_rep(p, &x, to);
    default:
        return make_list(p, k, to);
    }
}

int rx_parse(struct rxs *s, struct slice src, bool search, rx *out, struct err *e)
{
    struct parser p = {.s = s, .src = src, .e = e};
    struct rest to = {search ? s->any : RX_EPS, search ? s->any : RX_EPS};
    const struct rx_range all = {0, 0x10ffff};
    uint32_t root = alternatives(&p);
    struct rest r;

    *out = RX_NONE;
    if (p.rc == 0 && p.at < src.n)
        fail(&p, E_FORMAT, "a ) without its (");
    if (p.rc == 0) {
        r = make(&p, root, to);
        *out = r.start;
        if (search && r.later != RX_NONE)
            *out = rx_or(s, r.start,
                         rx_cat(s, rx_rep(s, rx_chars(s, &all, 1), 1, RX_INF), r.later));
    }
    mem_free(p.part);
    if (p.rc == 0 && s->bad)
        return rxs_error(s, "a regular expression", e);
    return p.rc;
}
