/* constrain_dfa.c - derivatives, liveness, byte classes; the primitive automata. */
#include "constrain_rx_in.h"

#include "base/mem.h"
#include "base/utf8.h"

/* -- lengths --------------------------------------------------------------------------------- */

rx rx_len(struct rxs *s, uint32_t lo, uint32_t hi)
{
    struct rx_set cont = {{0, 0, ~0ull, 0}};

    if (lo == 0 && hi == RX_INF)
        return RX_ALL;
    if (lo > hi)
        return RX_NONE;
    rx_bytes(s, &cont);
    return rx_intern(s, (struct rx_node){.kind = RX_LEN, .lo = lo, .hi = hi, .nullable = lo == 0},
                     NULL);
}

static rx len_step(struct rxs *s, struct rx_node k, rx self, unsigned c)
{
    if (c >= 0x80 && c < 0xc0)
        return self;
    if (k.hi == 0)
        return RX_NONE;
    return rx_len(s, k.lo ? k.lo - 1 : 0, k.hi == RX_INF ? RX_INF : k.hi - 1);
}

/* -- JSON strings ---------------------------------------------------------------------------- */

/* Places within an escape. */
enum { J_TEXT, J_BACKSLASH, J_HEX, J_PAIR = J_HEX + 4, J_PAIR_U, J_LOW, J_END = J_LOW + 4 };

static rx json_at(struct rxs *s, rx text, uint32_t escapes, int st, uint32_t digits)
{
    if (text == RX_NONE)
        return RX_NONE;
    return rx_intern(s,
                     (struct rx_node){.kind = RX_JSON,
                                      .a = text,
                                      .b = escapes,
                                      .st = (uint8_t)st,
                                      .lo = digits,
                                      .plain = st == J_TEXT && s->node[text].plain},
                     NULL);
}

rx rx_json(struct rxs *s, rx text, enum rx_escapes escapes)
{
    struct rx_set low = {{0xffffffffu, 0, 0, 0}};

    rx_bytes(s, &low);
    for (const char *p = "\"\\/bfnrtu0123456789acdeABCDEF"; *p; p++)
        rx_byte(s, (unsigned char)*p);
    return json_at(s, text, escapes, J_TEXT, 0);
}

static int hex_of(unsigned c)
{
    if (c >= '0' && c <= '9')
        return (int)c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? (int)c - 'a' + 10 : -1;
}

/* The escape stood for cp. */
static rx json_char(struct rxs *s, struct rx_node k, uint32_t cp)
{
    char b[4];
    int n = utf8_encode(cp, b);
    rx text = k.a;

    for (int i = 0; i < n; i++)
        text = rx_deriv(s, text, (unsigned char)b[i]);
    return n ? json_at(s, text, k.b, J_TEXT, 0) : RX_NONE;
}

static rx json_hex(struct rxs *s, struct rx_node k, unsigned c)
{
    int v = hex_of(c);
    uint32_t d = k.lo << 4 | (uint32_t)v;
    bool low = k.st >= J_LOW;

    if (v < 0)
        return RX_NONE;
    if (k.st != J_HEX + 3 && k.st != J_LOW + 3)
        return json_at(s, k.a, k.b, k.st + 1, d);
    if (low) { // the high half's 16 bits are above
        uint32_t hi = d >> 16, lo = d & 0xffff;

        if (lo < 0xdc00 || lo > 0xdfff)
            return RX_NONE;
        return json_char(s, k, 0x10000 + ((hi - 0xd800) << 10) + (lo - 0xdc00));
    }
    if (d >= 0xd800 && d <= 0xdbff)
        return k.b == RX_ESC_BMP ? RX_NONE : json_at(s, k.a, k.b, J_PAIR, d);
    if (k.b && ((d >= 0x20 && d < 0x80) || (d >= 8 && d <= 13 && d != 11)))
        return RX_NONE;
    return json_char(s, k, d);
}

static rx json_step(struct rxs *s, struct rx_node k, unsigned c)
{
    static const char name[] = "\"\\bfnrt/", stands[] = "\"\\\b\f\n\r\t/";
    const char *p;

    switch (k.st) {
    case J_TEXT:
        if (c == '"')
            return s->node[k.a].nullable ? RX_EPS : RX_NONE;
        if (c == '\\')
            return json_at(s, k.a, k.b, J_BACKSLASH, 0);
        return c < 0x20 ? RX_NONE : json_at(s, rx_deriv(s, k.a, c), k.b, J_TEXT, 0);
    case J_BACKSLASH:
        if (c == 'u')
            return json_at(s, k.a, k.b, J_HEX, 0);
        p = c ? strchr(name, (int)c) : NULL;
        if (!p || (k.b && c == '/'))
            return RX_NONE;
        return json_char(s, k, (unsigned char)stands[p - name]);
    case J_PAIR:
        return c == '\\' ? json_at(s, k.a, k.b, J_PAIR_U, k.lo) : RX_NONE;
    case J_PAIR_U:
        return c == 'u' ? json_at(s, k.a, k.b, J_LOW, k.lo) : RX_NONE;
    default:
        return json_hex(s, k, c);
    }
}

/* -- decimal numbers ------------------------------------------------------------------------- */

static void digits_apart(struct rxs *s)
{
    for (const char *p = "0123456789."; *p; p++)
        rx_byte(s, (unsigned char)*p);
}

static bool holds(int order, int sign)
{
    return order == RX_LT   ? sign < 0
           : order == RX_LE ? sign <= 0
           : order == RX_GT ? sign > 0
                            : sign >= 0;
}

enum { CMP_EQ, CMP_LESS, CMP_MORE, CMP_FRAC = 4 };

/* A state of a comparison; k.lo digits of the part were read and gave k.st. */
static rx cmp_at(struct rxs *s, struct rx_node k)
{
    uint32_t n_int = k.b & 0xffff, n_frac = k.b >> 16;
    int ord = k.st & 3;
    int sign = ord == CMP_LESS ? -1 : ord == CMP_MORE;

    if (!(k.st & CMP_FRAC)) {
        if (k.lo < n_int)
            sign = -1;
        else if (sign == 0 && n_frac)
            sign = -1;
    } else if (sign == 0 && k.lo < n_frac) {
        sign = -1;
    }
    k.nullable = holds((int)k.hi, sign);
    return rx_intern(s, k, NULL);
}

static rx cmp_final(const struct rx_node *k, int sign)
{
    return holds((int)k->hi, sign) ? RX_ALL : RX_NONE;
}

static rx cmp_step(struct rxs *s, struct rx_node k, unsigned c)
{
    uint32_t n_int = k.b & 0xffff, n_frac = k.b >> 16;
    int ord = k.st & 3;
    char bound;

    if (k.st & CMP_FRAC) {
        if (c < '0' || c > '9')
            return RX_NONE;
        if (k.lo >= n_frac) // all of the bound was met
            return c > '0' ? cmp_final(&k, 1) : cmp_at(s, k);
        bound = s->digit[k.a + n_int + k.lo];
        if ((char)c != bound)
            return cmp_final(&k, (char)c < bound ? -1 : 1);
        k.lo++;
        return cmp_at(s, k);
    }
    if (c == '.') {
        if (k.lo < n_int || ord != CMP_EQ)
            return cmp_final(&k, k.lo < n_int || ord == CMP_LESS ? -1 : 1);
        k.lo = 0;
        k.st = CMP_FRAC;
        return cmp_at(s, k);
    }
    if (c < '0' || c > '9')
        return RX_NONE;
    if (k.lo >= n_int)
        return cmp_final(&k, 1);
    bound = s->digit[k.a + k.lo++];
    if (ord == CMP_EQ && (char)c != bound)
        k.st = (char)c < bound ? CMP_LESS : CMP_MORE;
    return cmp_at(s, k);
}

rx rx_cmp(struct rxs *s, struct slice bound, enum rx_order order)
{
    const char *dot = memchr(bound.p, '.', bound.n);
    size_t n_int = dot ? (size_t)(dot - bound.p) : bound.n;
    size_t n_frac = dot ? bound.n - n_int - 1 : 0;
    uint32_t at = s->n_digit;

    while (n_frac && dot[n_frac] == '0')
        n_frac--;
    if (n_int > 0xffff || n_frac > 0xffff) {
        s->bad = s->bad ? s->bad : E_RANGE;
        return RX_NONE;
    }
    digits_apart(s);
    if (!rx_room(s, (void **)&s->digit, &s->cap_digit, (uint64_t)at + n_int + n_frac, 1))
        return RX_NONE;
    memcpy(s->digit + at, bound.p, n_int);
    if (n_frac)
        memcpy(s->digit + at + n_int, dot + 1, n_frac);
    s->n_digit += (uint32_t)(n_int + n_frac);
    return cmp_at(s, (struct rx_node){.kind = RX_CMP,
                                      .a = at,
                                      .b = (uint32_t)(n_int | n_frac << 16),
                                      .hi = order});
}

/* st: behind the point. hi digits there may still count; further ones must be 0. */
static rx mul_at(struct rxs *s, struct rx_node k)
{
    uint64_t r = k.lo;

    for (uint32_t i = 0; i < k.hi; i++)
        r = r * 10 % k.a;
    k.nullable = r == 0;
    return rx_intern(s, k, NULL);
}

static rx mul_step(struct rxs *s, struct rx_node k, unsigned c)
{
    if (c == '.' && !k.st) {
        k.st = 1;
        return mul_at(s, k);
    }
    if (c < '0' || c > '9')
        return RX_NONE;
    if (k.st && k.hi == 0)
        return c == '0' ? mul_at(s, k) : RX_NONE;
    k.lo = (uint32_t)(((uint64_t)k.lo * 10 + (c - '0')) % k.a);
    if (k.st)
        k.hi--;
    return mul_at(s, k);
}

rx rx_multiple(struct rxs *s, uint32_t m, uint32_t scale)
{
    digits_apart(s);
    return mul_at(s, (struct rx_node){.kind = RX_MUL, .a = m, .b = scale, .hi = scale});
}

/* -- derivatives ----------------------------------------------------------------------------- */

static struct rx_memo *memo_slot(const struct rxs *s, uint64_t key)
{
    uint32_t at = (uint32_t)((key * 0x9e3779b97f4a7c15ull) >> 32) & (s->cap_memo - 1);

    while (s->memo[at].key && s->memo[at].key != key)
        at = (at + 1) & (s->cap_memo - 1);
    return &s->memo[at];
}

static bool memo_grow(struct rxs *s)
{
    struct rx_memo *old = s->memo;
    uint32_t cap = s->cap_memo;
    struct rx_memo *m = mem_array(cap ? cap * 2ull : 512, sizeof *m, NULL);

    if (!m) {
        s->bad = E_NOMEM;
        return false;
    }
    s->memo = m;
    s->cap_memo = cap ? cap * 2 : 512;
    for (uint32_t i = 0; i < cap; i++)
        if (old[i].key)
            *memo_slot(s, old[i].key) = old[i];
    mem_free(old);
    return true;
}

static rx list_step(struct rxs *s, struct rx_node k, unsigned c)
{
    rx few[16], *v = few, e;

    if (k.b > 16 && !(v = mem_array(k.b, sizeof *v, NULL))) {
        s->bad = E_NOMEM;
        return RX_NONE;
    }
    for (uint32_t i = 0; i < k.b; i++)
        v[i] = rx_deriv(s, s->pool[k.a + i], c);
    e = rx_list(s, k.kind, v, k.b);
    if (v != few)
        mem_free(v);
    return e;
}

/* Along the spine of a join: of each part, while those before it can be empty. */
static rx cat_step(struct rxs *s, rx e, unsigned c)
{
    rx sum = RX_NONE;

    for (;;) {
        struct rx_node k = s->node[e];

        if (k.kind != RX_CAT)
            return rx_or(s, sum, rx_deriv(s, e, c));
        sum = rx_or(s, sum, rx_cat(s, rx_deriv(s, k.a, c), k.b));
        if (!s->node[k.a].nullable)
            return sum;
        e = k.b;
    }
}

static rx step(struct rxs *s, rx e, unsigned c)
{
    struct rx_node k = s->node[e];
    rx d;

    switch (k.kind) {
    case RX_SET:
        return rx_has(&s->set[k.a], c) ? RX_EPS : RX_NONE;
    case RX_CAT:
        return cat_step(s, e, c);
    case RX_OR:
    case RX_AND:
        return list_step(s, k, c);
    case RX_NOT:
        return rx_not(s, rx_deriv(s, k.a, c));
    case RX_REP:
        d = rx_deriv(s, k.a, c);
        return rx_cat(s, d, rx_rep(s, k.a, k.lo ? k.lo - 1 : 0, k.hi == RX_INF ? k.hi : k.hi - 1));
    case RX_LEN:
        return len_step(s, k, e, c);
    case RX_JSON:
        return json_step(s, k, c);
    case RX_CMP:
        return cmp_step(s, k, c);
    case RX_MUL:
        return mul_step(s, k, c);
    default:
        return RX_NONE;
    }
}

rx rx_deriv(struct rxs *s, rx e, unsigned c)
{
    uint64_t key = ((uint64_t)e << 8 | c) + 1;
    struct rx_memo *m;
    rx d;

    if (e <= RX_ALL || s->bad)
        return e == RX_ALL ? RX_ALL : RX_NONE;
    if (s->node[e].kind == RX_SET)
        return rx_has(&s->set[s->node[e].a], c) ? RX_EPS : RX_NONE;
    if (s->n_memo * 2 >= s->cap_memo && !memo_grow(s))
        return RX_NONE;
    m = memo_slot(s, key);
    if (m->key)
        return m->to;
    s->work += s->node[e].kind == RX_OR || s->node[e].kind == RX_AND ? 4 + s->node[e].b : 4;
    if (s->max_work && s->work > s->max_work)
        s->bad = E_RANGE;
    if (!rx_enter(s))
        return RX_NONE;
    d = step(s, e, c);
    s->depth--;
    if (s->bad)
        return RX_NONE;
    m = memo_slot(s, key); // the table may have grown
    if (!m->key) {
        *m = (struct rx_memo){key, d};
        s->n_memo++;
    }
    return d;
}

void rx_classes(struct rxs *s)
{
    for (; s->seen_sets < s->n_set; s->seen_sets++) {
        const struct rx_set *set = &s->set[s->seen_sets];
        int other[256]; // class -> the class of its bytes in the set, once both kinds were met
        bool in[256], out[256];
        int n = s->n_cls;

        memset(in, 0, sizeof in);
        memset(out, 0, sizeof out);
        for (int c = 0; c < 256; c++)
            *(rx_has(set, (unsigned)c) ? &in[s->cls[c]] : &out[s->cls[c]]) = true;
        for (int i = 0; i < n; i++)
            other[i] = in[i] && out[i] ? s->n_cls++ : i;
        for (int c = 0; c < 256; c++)
            if (rx_has(set, (unsigned)c))
                s->cls[c] = (uint8_t)other[s->cls[c]];
    }
    for (int c = 255; c >= 0; c--)
        s->rep[s->cls[c]] = (uint8_t)c;
}

/* -- liveness -------------------------------------------------------------------------------- */

struct search {
    struct {
        rx e;
        int cls;
    } * at;             // the path
    uint32_t n, cap;
    rx *seen;
    uint32_t n_seen, cap_seen;
};

static bool search_push(struct rxs *s, struct search *f, rx e)
{
    if (!rx_room(s, (void **)&f->at, &f->cap, f->n + 1ull, sizeof *f->at) ||
        !rx_room(s, (void **)&f->seen, &f->cap_seen, f->n_seen + 1ull, sizeof *f->seen))
        return false;
    f->at[f->n].e = e;
    f->at[f->n++].cls = 0;
    f->seen[f->n_seen++] = e;
    s->live[e] = 3;
    return true;
}

static bool known_live(const struct rxs *s, rx e)
{
    return s->node[e].nullable || (s->node[e].plain && e != RX_NONE) || s->live[e] == 1;
}

/* Depth first, so that a long way to a word is gone once. Whatever led to a word is live. */
static bool search_live(struct rxs *s, struct search *f, rx e)
{
    if (!search_push(s, f, e))
        return false;
    while (f->n) {
        rx from = f->at[f->n - 1].e, d;

        if (f->at[f->n - 1].cls >= s->n_cls) {
            f->n--;
            continue;
        }
        d = rx_deriv(s, from, s->rep[f->at[f->n - 1].cls++]);
        if (s->bad)
            return false;
        if (known_live(s, d))
            return true;
        if (d != RX_NONE && s->live[d] == 0 && !search_push(s, f, d))
            return false;
    }
    return false;
}

static bool search_from(struct rxs *s, rx e)
{
    struct search f = {0};
    bool live;

    rx_classes(s);
    live = search_live(s, &f, e);
    for (uint32_t i = 0; i < f.n_seen; i++) // without an answer: all that was seen is dead
        s->live[f.seen[i]] = live || s->bad ? 0 : 2;
    for (uint32_t i = 0; live && i < f.n; i++)
        s->live[f.at[i].e] = 1;
    mem_free(f.at);
    mem_free(f.seen);
    return live;
}

/* Code points that an escape may still come to: from..to of the first half, in 16 bits. */
static void units(const struct rx_node *k, uint32_t from, uint32_t to, struct rx_range *r,
                  uint32_t *n)
{
    static const struct rx_range strict[] = {{0, 7}, {11, 11}, {14, 31}, {0x80, 0xffff}};
    static const struct rx_range all[] = {{0, 0xffff}};
    const struct rx_range *ok = k->b ? strict : all;
    uint32_t lo = from > 0xd800 ? from : 0xd800, hi = to < 0xdbff ? to : 0xdbff;

    for (int i = 0; i < (k->b ? 4 : 1); i++) {
        uint32_t a = from > ok[i].from ? from : ok[i].from, b = to < ok[i].to ? to : ok[i].to;

        if (a <= b)
            r[(*n)++] = (struct rx_range){a, b};
    }
    if (lo <= hi && k->b != RX_ESC_BMP)
        r[(*n)++] = (struct rx_range){0x10000 + ((lo - 0xd800) << 10),
                                      0x10000 + ((hi - 0xd800) << 10) + 0x3ff};
}

/* Words of the text that go on with what an escape begun may stand for. */
static rx json_rest(struct rxs *s, struct rx_node k)
{
    struct rx_range r[16];
    uint32_t n = 0, left, from, base;

    if (k.st == J_TEXT)
        return k.a;
    if (k.st == J_BACKSLASH) {
        for (const char *p = "\"\\\b\f\n\r\t/"; *p; p++)
            if (*p != '/' || !k.b)
                r[n++] = (struct rx_range){(unsigned char)*p, (unsigned char)*p};
        units(&k, 0, 0xffff, r, &n);
    } else if (k.st < J_PAIR) {
        left = 4 * (uint32_t)(J_PAIR - k.st);
        units(&k, k.lo << left, (k.lo << left) + (1u << left) - 1, r, &n);
    } else {
        left = k.st < J_LOW ? 16 : 4 * (uint32_t)(J_END - k.st);
        base = k.st < J_LOW ? k.lo : k.lo >> (16 - left);
        from = k.st < J_LOW ? 0 : (k.lo << left) & 0xffff;
        for (uint32_t lo = 0xdc00; lo <= 0xdfff; lo++) // at most 1024, one range
            if (lo >= from && lo < from + (1u << left)) {
                uint32_t cp = 0x10000 + ((base - 0xd800) << 10) + (lo - 0xdc00);

                if (n == 0)
                    r[n++] = (struct rx_range){cp, cp};
                r[0].to = cp;
            }
    }
    return rx_and(s, k.a, rx_cat(s, rx_chars(s, r, n), RX_ALL));
}

/* Joins, choices and strings are live by their parts; the rest is searched. */
static bool parts_live(struct rxs *s, rx e)
{
    struct rx_node k = s->node[e];

    switch (k.kind) {
    case RX_CAT:
        for (; s->node[e].kind == RX_CAT; e = s->node[e].b)
            if (!rx_live(s, s->node[e].a))
                return false;
        return rx_live(s, e);
    case RX_OR:
        for (uint32_t i = 0; i < k.b; i++)
            if (rx_live(s, s->pool[k.a + i]))
                return true;
        return false;
    case RX_REP:
        return rx_live(s, k.a);
    case RX_JSON:
        return rx_live(s, json_rest(s, k));
    default:
        return search_from(s, e);
    }
}

bool rx_live(struct rxs *s, rx e)
{
    bool live;

    if (s->bad)
        return false;
    if (known_live(s, e) || e == RX_NONE || s->live[e])
        return e != RX_NONE && s->live[e] != 2;
    if (!rx_enter(s))
        return false;
    live = parts_live(s, e);
    s->depth--;
    if (!s->bad)
        s->live[e] = live ? 1 : 2;
    return live;
}

bool rx_more(struct rxs *s, rx e)
{
    struct rx_node k = s->node[e];
    bool more = false;

    if (e == RX_EPS || !k.nullable)
        return e != RX_EPS && rx_live(s, e);
    if (k.plain)
        return true;
    if (!rx_enter(s))
        return false;
    if (k.kind == RX_OR)
        for (uint32_t i = 0; i < k.b && !more; i++)
            more = rx_more(s, s->pool[k.a + i]);
    else if (k.kind == RX_CAT)
        more = rx_more(s, k.a) || rx_more(s, k.b);
    else if (k.kind == RX_REP)
        more = rx_more(s, k.a);
    else
        more = rx_live(s, rx_minus(s, e, RX_EPS));
    s->depth--;
    return more;
}

/* Whether e is a list of words, as names are; left: nodes that may still be looked at. */
static bool is_list(const struct rxs *s, rx e, int *left)
{
    struct rx_node k = s->node[e];

    for (; --*left >= 0 && k.kind == RX_CAT; k = s->node[k.b])
        if (s->node[k.a].kind != RX_SET)
            return false;
    if (k.kind == RX_OR) {
        for (uint32_t i = 0; i < k.b; i++)
            if (!is_list(s, s->pool[k.a + i], left))
                return false;
        return true;
    }
    return *left >= 0 && (k.kind == RX_SET || k.kind == RX_EMPTY);
}

/* Whether every text of so many characters is the front of one that e allows: e is any text, any of
 * some length, any but some words. */
static bool takes_any(const struct rxs *s, rx e, uint32_t chars)
{
    struct rx_node k = s->node[e];
    bool bounded = false, less = false;
    int left = 4096;

    if (k.kind != RX_AND)
        return e == s->any || (k.kind == RX_LEN && (k.hi == RX_INF || (chars && k.hi >= chars)));
    for (uint32_t i = 0; i < k.b; i++) {
        rx part = s->pool[k.a + i];
        struct rx_node p = s->node[part];

        if (p.kind == RX_NOT && !is_list(s, p.a, &left))
            return false;
        less = less || p.kind == RX_NOT;
        bounded = bounded || (p.kind == RX_LEN && p.hi != RX_INF);
        if (p.kind != RX_NOT && part != s->any && (p.kind != RX_LEN || !takes_any(s, part, chars)))
            return false;
    }
    return !bounded || !less; // the last words left could be those
}

bool rx_takes_plain(const struct rxs *s, rx e, uint32_t chars)
{
    struct rx_node k = s->node[e];

    while (k.kind == RX_CAT)
        k = s->node[k.a];
    return k.kind == RX_JSON && k.st == J_TEXT && takes_any(s, k.a, chars);
}

bool rx_match(struct rxs *s, rx e, struct slice text)
{
    for (size_t i = 0; i < text.n && e != RX_NONE; i++)
        e = rx_deriv(s, e, (unsigned char)text.p[i]);
    return s->node[e].nullable;
}
