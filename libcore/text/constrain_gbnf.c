/* constrain_gbnf.c - grammars in GBNF, the notation of the field's grammar files.
 *
 *     root ::= "yes" | "no" | list      # a comment
 *     list ::= ([a-z0-9] ", "?){1,5}
 *
 * Rules that do not lead back to themselves are regular, and become one terminal with all they use:
 * the automaton of a terminal is the fast path. Left recursion is welcome.
 */
#include "base/map.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "constrain_in.h"
#include "constrain_regex.h"

#define MAX_DEPTH  200
#define MAX_REPEAT 100000
#define MAX_CHAIN  400 // rules within rules that become one terminal

enum term_kind { T_TEXT, T_RULE, T_CAT, T_ALT, T_REP };

struct term {
    enum term_kind kind;
    rx text;              // TEXT
    uint32_t rule;        // RULE
    uint32_t lo, hi;      // REP
    uint32_t child, next; // 0: none
};

enum { NOT_LOOKED, LOOKING, REGULAR, RECURSIVE };

struct rule {
    struct slice name;
    uint32_t body;   // 0: not defined
    uint32_t sym;    // its rule of the grammar, where it is recursive
    uint8_t state;   // NOT_LOOKED ...
    rx text;         // REGULAR
    int line;        // of its first use
    bool made;
};

struct gbnf {
    struct gram *g;
    struct rxs *s;
    struct slice src;
    size_t at;
    int line, depth;
    struct term *term;
    uint32_t n_term, cap_term;
    struct rule *rule;
    uint32_t n_rule, cap_rule;
    struct err *e;
    int rc;
};

static uint32_t fail(struct gbnf *p, int code, const char *what)
{
    if (p->rc == 0)
        p->rc = err_set(p->e, code, "grammar, line %d: %s", p->line, what);
    return 0;
}

/* -- reading --------------------------------------------------------------------------------- */

static uint32_t term_new(struct gbnf *p, struct term t)
{
    if (p->n_term == p->cap_term) {
        uint32_t cap = p->cap_term ? p->cap_term * 2 : 128;
        struct term *q = mem_resize(p->term, p->cap_term, cap, sizeof *q, NULL);

        if (!q)
            return fail(p, E_NOMEM, "out of memory");
        p->term = q;
        p->cap_term = cap;
        p->n_term = p->n_term ? p->n_term : 1;
    }
    p->term[p->n_term] = t;
    return p->n_term++;
}

static bool more(const struct gbnf *p)
{
    return p->rc == 0 && p->at < p->src.n;
}

static char peek(const struct gbnf *p)
{
    return more(p) ? p->src.p[p->at] : 0;
}

static bool take(struct gbnf *p, char c)
{
    if (!more(p) || p->src.p[p->at] != c)
        return false;
    p->at++;
    return true;
}

/* Blanks and comments; line ends only where the rule goes on over them. */
static void space(struct gbnf *p, bool lines)
{
    while (more(p)) {
        char c = p->src.p[p->at];

        if (c == '#') {
            while (more(p) && peek(p) != '\n')
                p->at++;
        } else if (c == ' ' || c == '\t' || (lines && (c == '\r' || c == '\n'))) {
            p->line += c == '\n';
            p->at++;
        } else {
            return;
        }
    }
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '-' || c == '_';
}

static struct slice word(struct gbnf *p)
{
    size_t from = p->at;

    while (is_word(peek(p)))
        p->at++;
    if (p->at == from)
        fail(p, E_FORMAT, "a name is missing");
    return (struct slice){p->src.p + from, p->at - from};
}

/* The rule of this name, known or not yet. */
static uint32_t rule_named(struct gbnf *p, struct slice name, struct map *names)
{
    uint32_t i;

    if (map_get(names, name, &i))
        return i;
    if (p->n_rule == p->cap_rule) {
        uint32_t cap = p->cap_rule ? p->cap_rule * 2 : 64;
        struct rule *q = mem_resize(p->rule, p->cap_rule, cap, sizeof *q, NULL);

        if (!q)
            return fail(p, E_NOMEM, "out of memory");
        p->rule = q;
        p->cap_rule = cap;
    }
    p->rule[p->n_rule] = (struct rule){.name = name, .line = p->line};
    if (map_put(names, name, p->n_rule, p->e) < 0)
        return fail(p, E_NOMEM, "out of memory");
    return p->n_rule++;
}

static uint32_t hex(struct gbnf *p, int n)
{
    uint32_t v = 0;

    for (int i = 0; i < n; i++, p->at++) {
        char c = peek(p), d = (char)(c | 0x20);

        if (c >= '0' && c <= '9')
            v = v << 4 | (uint32_t)(c - '0');
        else if (d >= 'a' && d <= 'f')
            v = v << 4 | (uint32_t)(d - 'a' + 10);
        else
            return fail(p, E_FORMAT, "a hexadecimal digit is missing");
    }
    return v;
}

/* One character of a text or a class, escapes read. */
static uint32_t character(struct gbnf *p)
{
    static const char name[] = "nrt\\\"[]^-.", stands[] = "\n\r\t\\\"[]^-.";
    uint32_t cp = 0;
    const char *k;
    int n;

    if (take(p, '\\')) {
        char c = peek(p);

        p->at++;
        if (c == 'x' || c == 'u' || c == 'U')
            cp = hex(p, c == 'x' ? 2 : c == 'u' ? 4 : 8);
        else if (c && (k = strchr(name, c)))
            cp = (unsigned char)stands[k - name];
        else
            fail(p, E_FORMAT, "an unknown escape");
        if (cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
            fail(p, E_RANGE, "an escape that is no character");
        return cp;
    }
    n = utf8_decode(p->src.p + p->at, p->src.n - p->at, &cp);
    if (n == 0)
        fail(p, E_FORMAT, more(p) ? "no valid UTF-8" : "the end of the file within a text");
    p->line += cp == '\n';
    p->at += (size_t)n;
    return cp;
}

static rx text(struct gbnf *p) // behind the quote
{
    struct buf b = {0};
    rx e;

    while (more(p) && peek(p) != '"') {
        char c[4];
        int n = utf8_encode(character(p), c);

        buf_add(&b, c, (size_t)n);
    }
    if (!take(p, '"'))
        fail(p, E_FORMAT, "a text without its closing quote");
    if (b.bad)
        fail(p, E_NOMEM, "out of memory");
    e = rx_lit(p->s, buf_view(&b));
    buf_fini(&b);
    return e;
}

static rx class(struct gbnf *p) // behind the bracket
{
    bool negate = take(p, '^');
    struct rx_ranges l = {0};
    rx e;

    while (more(p) && peek(p) != ']') {
        uint32_t from = character(p), to = from;

        if (peek(p) == '-' && p->at + 1 < p->src.n && p->src.p[p->at + 1] != ']') {
            p->at++;
            to = character(p);
        }
        if (to < from)
            fail(p, E_FORMAT, "a range that ends before it begins");
        else
            rx_ranges_add(&l, from, to);
    }
    if (!take(p, ']'))
        fail(p, E_FORMAT, "a class without its ]");
    e = rx_ranges_rx(p->s, &l, negate);
    rx_ranges_fini(&l);
    return e;
}

/* <[123]>: a token by its number. */
static rx token(struct gbnf *p) // behind the <
{
    char t[16];
    uint32_t id = 0;

    if (!take(p, '[')) {
        fail(p, E_UNSUPPORTED, "a token can only be named by its number, <[12]>");
        return RX_NONE;
    }
    for (; peek(p) >= '0' && peek(p) <= '9' && id < 100000000; p->at++)
        id = id * 10 + (uint32_t)(peek(p) - '0');
    if (!take(p, ']') || !take(p, '>'))
        fail(p, E_FORMAT, "a token without its ]>");
    return rx_lit(p->s, con_token_text((int32_t)id, t));
}

static uint32_t alternatives(struct gbnf *p, struct map *names, bool nested);

static uint32_t primary(struct gbnf *p, struct map *names)
{
    const struct rx_range all = {0, 0x10ffff};
    uint32_t k;

    if (take(p, '"'))
        return term_new(p, (struct term){.kind = T_TEXT, .text = text(p)});
    if (take(p, '['))
        return term_new(p, (struct term){.kind = T_TEXT, .text = class(p)});
    if (take(p, '.'))
        return term_new(p, (struct term){.kind = T_TEXT, .text = rx_chars(p->s, &all, 1)});
    if (take(p, '<'))
        return term_new(p, (struct term){.kind = T_TEXT, .text = token(p)});
    if (take(p, '(')) {
        if (p->depth++ >= MAX_DEPTH)
            return fail(p, E_RANGE, "groups are nested too deeply");
        space(p, true);
        k = alternatives(p, names, true);
        p->depth--;
        if (!take(p, ')'))
            fail(p, E_FORMAT, "a group without its )");
        return k;
    }
    if (!is_word(peek(p)))
        return fail(p, E_FORMAT, "a text, a class, a name or a group is missing");
    k = rule_named(p, word(p), names);
    return term_new(p, (struct term){.kind = T_RULE, .rule = k});
}

static bool number(struct gbnf *p, uint32_t *v)
{
    size_t from = p->at;

    for (*v = 0; peek(p) >= '0' && peek(p) <= '9'; p->at++)
        if (*v <= MAX_REPEAT)
            *v = *v * 10 + (uint32_t)(peek(p) - '0');
    return p->at > from;
}

static void braces(struct gbnf *p, uint32_t *lo, uint32_t *hi, bool nested)
{
    space(p, nested);
    if (!number(p, lo))
        *lo = peek(p) == ',' ? 0 : (fail(p, E_FORMAT, "{ without a number"), 0);
    space(p, nested);
    *hi = *lo;
    if (take(p, ',')) {
        space(p, nested);
        if (!number(p, hi))
            *hi = RX_INF;
        space(p, nested);
    }
    if (!take(p, '}'))
        fail(p, E_FORMAT, "{ without its }");
}

static uint32_t sequence(struct gbnf *p, struct map *names, bool nested)
{
    uint32_t first = 0, last = 0;

    while (more(p) && (strchr("\"[.<(", peek(p)) || is_word(peek(p)))) {
        uint32_t k = primary(p, names), lo, hi;

        space(p, nested);
        while (more(p) && strchr("*+?{", peek(p))) {
            char c = p->src.p[p->at++];

            lo = c == '+';
            hi = c == '?' ? 1 : RX_INF;
            if (c == '{')
                braces(p, &lo, &hi, nested);
            if (lo > MAX_REPEAT || (hi != RX_INF && hi > MAX_REPEAT) || lo > hi)
                return fail(p, E_RANGE, "a repetition out of range");
            k = term_new(p, (struct term){.kind = T_REP, .child = k, .lo = lo, .hi = hi});
            space(p, nested);
        }
        if (p->rc < 0)
            return 0;
        if (last)
            p->term[last].next = k;
        else
            first = k;
        last = k;
    }
    return term_new(p, (struct term){.kind = T_CAT, .child = first});
}

static uint32_t alternatives(struct gbnf *p, struct map *names, bool nested)
{
    uint32_t first = sequence(p, names, nested), last = first;

    while (take(p, '|')) {
        uint32_t k;

        space(p, true);
        k = sequence(p, names, nested);
        if (p->rc < 0)
            return 0;
        p->term[last].next = k;
        last = k;
    }
    return p->rc < 0 ? 0 : term_new(p, (struct term){.kind = T_ALT, .child = first});
}

static void read_rule(struct gbnf *p, struct map *names)
{
    uint32_t r = rule_named(p, word(p), names), body;
    size_t at;

    space(p, false);
    at = p->at;
    if (p->rc == 0 && (p->src.n - at < 3 || memcmp(p->src.p + at, "::=", 3) != 0))
        fail(p, E_FORMAT, "::= is missing");
    if (p->rc < 0)
        return;
    p->at += 3;
    space(p, true);
    body = alternatives(p, names, false);
    if (more(p) && peek(p) != '\n' && peek(p) != '\r')
        fail(p, E_FORMAT, "something that belongs to no rule");
    if (p->rc < 0)
        return;
    if (p->rule[r].body)
        fail(p, E_FORMAT, "a rule that was given before");
    p->rule[r].body = body;
    space(p, true);
}

/* -- making the grammar ---------------------------------------------------------------------- */

static rx regular(struct gbnf *p, uint32_t k, int depth);

/* The children's languages joined; RX_NONE with p->rc 0 and *ok false when one is recursive. */
static rx all_regular(struct gbnf *p, uint32_t k, int depth, bool *ok)
{
    bool cat = p->term[k].kind == T_CAT;
    struct buf list = {0};
    rx e = cat ? RX_EPS : RX_NONE;
    size_t n;
    rx *v;

    for (uint32_t c = p->term[k].child; c && *ok; c = p->term[c].next) {
        rx x = regular(p, c, depth);

        if (x == UINT32_MAX)
            *ok = false;
        buf_add(&list, &x, sizeof x);
    }
    if (list.bad)
        fail(p, E_NOMEM, "out of memory");
    v = (rx *)(void *)list.p;
    n = list.n / sizeof *v;
    if (*ok && p->rc == 0 && !cat)
        e = rx_or_n(p->s, v, (uint32_t)n);
    for (size_t i = n; *ok && p->rc == 0 && cat && i-- > 0;)
        e = rx_cat(p->s, v[i], e);
    buf_fini(&list);
    return e;
}

/* The language of a part, or UINT32_MAX where it is not known to be regular. */
static rx regular(struct gbnf *p, uint32_t k, int depth)
{
    struct term t = p->term[k];
    struct rule *r;
    bool ok = true;
    rx e;

    switch (t.kind) {
    case T_TEXT:
        return t.text;
    case T_REP:
        e = regular(p, t.child, depth);
        return e == UINT32_MAX ? e : rx_rep(p->s, e, t.lo, t.hi);
    case T_RULE:
        r = &p->rule[t.rule];
        if (r->state == NOT_LOOKED && r->body && depth < MAX_CHAIN) {
            r->state = LOOKING;
            e = regular(p, r->body, depth + 1);
            r = &p->rule[t.rule];
            r->text = e;
            r->state = e == UINT32_MAX ? RECURSIVE : REGULAR;
        } else if (r->state == LOOKING || r->state == NOT_LOOKED) {
            r->state = RECURSIVE;
        }
        return r->state == REGULAR ? r->text : UINT32_MAX;
    default:
        e = all_regular(p, k, depth, &ok);
        return ok ? e : UINT32_MAX;
    }
}

static void emit(struct gbnf *p, uint32_t owner, uint32_t k, uint32_t from, uint32_t to);

/* lo to hi times, written out; a loop where there is no end. */
static void emit_rep(struct gbnf *p, uint32_t owner, struct term t, uint32_t from, uint32_t to)
{
    uint32_t at = from, n = t.hi == RX_INF ? t.lo : t.hi;

    for (uint32_t i = 0; i < n && !p->g->bad && p->rc == 0; i++) {
        uint32_t next = gram_state(p->g, owner);

        if (i >= t.lo)
            gram_empty(p->g, at, to);
        emit(p, owner, t.child, at, next);
        at = next;
    }
    if (t.hi == RX_INF) {
        uint32_t loop = gram_state(p->g, owner);

        gram_empty(p->g, at, loop);
        emit(p, owner, t.child, loop, loop);
        at = loop;
    }
    gram_empty(p->g, at, to);
}

/* A sequence; neighbours that are regular are read as one terminal. */
static void emit_cat(struct gbnf *p, uint32_t owner, uint32_t k, uint32_t from, uint32_t to)
{
    rx run = RX_EPS;

    for (uint32_t c = p->term[k].child; c && p->rc == 0; c = p->term[c].next) {
        rx e = regular(p, c, 0);
        uint32_t mid;

        if (e != UINT32_MAX) {
            run = rx_cat(p->s, run, e);
            continue;
        }
        mid = gram_state(p->g, owner);
        gram_read(p->g, from, run, mid);
        run = RX_EPS;
        from = gram_state(p->g, owner);
        emit(p, owner, c, mid, from);
    }
    gram_read(p->g, from, run, to);
}

static uint32_t rule_sym(struct gbnf *p, uint32_t r)
{
    if (!p->rule[r].made) {
        p->rule[r].sym = gram_rule(p->g);
        p->rule[r].made = true;
    }
    return p->rule[r].sym;
}

static void emit(struct gbnf *p, uint32_t owner, uint32_t k, uint32_t from, uint32_t to)
{
    struct term t = p->term[k];
    rx e = regular(p, k, 0);

    if (p->g->bad || p->rc < 0 || p->s->bad)
        return;
    if (e != UINT32_MAX)
        gram_read(p->g, from, e, to);
    else if (t.kind == T_RULE)
        gram_edge(p->g, from, rule_sym(p, t.rule), to);
    else if (t.kind == T_REP)
        emit_rep(p, owner, t, from, to);
    else if (t.kind == T_CAT)
        emit_cat(p, owner, k, from, to);
    else
        for (uint32_t c = t.child; c; c = p->term[c].next)
            emit(p, owner, c, from, to);
}

static int make(struct gbnf *p, uint32_t first, uint32_t *root)
{
    for (uint32_t i = 0; i < p->n_rule; i++)
        if (!p->rule[i].body)
            return err_set(p->e, E_FORMAT, "grammar, line %d: rule '%.*s' is not defined",
                           p->rule[i].line, (int)p->rule[i].name.n, p->rule[i].name.p);
    for (uint32_t i = 0; i < p->n_rule; i++) // settles what is regular before any is made
        regular(p, term_new(p, (struct term){.kind = T_RULE, .rule = i}), 0);
    *root = rule_sym(p, first);
    for (uint32_t i = 0; i < p->n_rule && p->rc == 0 && !p->g->bad; i++) {
        uint32_t sym;

        if (p->rule[i].state == REGULAR && i != first)
            continue;
        sym = rule_sym(p, i);
        if (!p->g->bad)
            emit(p, sym, p->rule[i].body, p->g->rule[sym].start, p->g->rule[sym].end);
    }
    return p->rc;
}

static int front_gbnf(struct gram *g, void *arg, const struct con_opts *o, uint32_t *root,
                      struct err *e)
{
    struct gbnf p = {.g = g, .s = &g->rx, .src = *(const struct slice *)arg, .line = 1, .e = e};
    struct map names;
    uint32_t first;
    int rc = map_init(&names, 64, e);

    (void)o;
    if (rc < 0)
        return rc;
    space(&p, true);
    while (more(&p))
        read_rule(&p, &names);
    if (p.rc == 0 && !map_get(&names, SLICE("root"), &first))
        p.rc = err_set(e, E_FORMAT, "grammar: there is no rule named root");
    if (p.rc == 0)
        p.rc = make(&p, first, root);
    map_fini(&names);
    mem_free(p.term);
    mem_free(p.rule);
    return p.rc;
}

int con_gbnf(struct con **out, struct slice src, const struct con_opts *opts, struct err *e)
{
    return con_compile(out, front_gbnf, &src, opts, e);
}
