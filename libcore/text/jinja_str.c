/* jinja_str.c - strings of the template engine: characters, marks, and building new ones. */
#include "jinja_in.h"

#include "base/utf8.h"

const struct jstr jstr_empty = {.p = "", .hash = 2166136261u};

/* FNV-1a over at most 64 bytes from both ends: keys are short, contents are not looked up. */
static uint32_t hash_of(const char *p, size_t n)
{
    uint32_t h = 2166136261u;
    size_t head = n > 64 ? 32 : n;

    for (size_t i = 0; i < head; i++)
        h = (h ^ (unsigned char)p[i]) * 16777619u;
    for (size_t i = n > 64 ? n - 32 : n; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * 16777619u;
    h = n > 64 ? (h ^ (uint32_t)n) * 16777619u : h;
    return h ? h : 1;
}

uint32_t jstr_hash(const struct jstr *s)
{
    return s->hash ? s->hash : hash_of(s->p, s->n);
}

/* Bytes that do not continue a character, eight at a time. */
static size_t count_chars(const char *p, size_t n)
{
    const uint64_t ones = 0x0101010101010101u;
    size_t k = n, i = 0;

    for (; n - i >= 8; i += 8) {
        uint64_t v;

        memcpy(&v, p + i, 8);
        v = v >> 7 & ~(v >> 6) & ones; // 10xxxxxx
        k -= v ? (size_t)(v * ones >> 56) : 0;
    }
    for (; i < n; i++)
        k -= ((unsigned char)p[i] & 0xc0) == 0x80;
    return k;
}

const struct jstr *jstr_make(struct jstate *J, const char *p, size_t n, uint8_t mark)
{
    struct jstr *s;

    if (n == 0 || !jstep(J, n / 64) || !(s = jalloc(J, 1, sizeof *s)))
        return &jstr_empty;
    s->p = p;
    s->n = n;
    s->n_cp = count_chars(p, n);
    s->mark = mark;
    return s;
}

const struct jstr *jstr_key(struct jstate *J, const char *p, size_t n, uint8_t mark)
{
    const struct jstr *s = jstr_make(J, p, n, mark);

    if (s != &jstr_empty)
        ((struct jstr *)s)->hash = hash_of(p, n); // just made
    return s;
}

const struct jstr *jstr_lit(struct jstate *J, const char *lit)
{
    return jstr_make(J, lit, strlen(lit), M_OWN);
}

/* A mixed string whose bytes turn out to have one mark only loses its mask. */
static const struct jstr *masked(struct jstate *J, const char *p, size_t n, const uint8_t *mask)
{
    const struct jstr *s = jstr_make(J, p, n, n ? mask[0] : M_OWN);

    if (s->n && memchr(mask, !mask[0], n)) {
        ((struct jstr *)s)->mask = mask; // just made
        ((struct jstr *)s)->mark = M_MIXED;
    }
    return s;
}

const struct jstr *jstr_sub(struct jstate *J, const struct jstr *s, size_t at, size_t n)
{
    const struct jstr *r;

    if (at == 0 && n == s->n)
        return s;
    if (s->mark == M_MIXED)
        r = masked(J, s->p + at, n, s->mask + at);
    else
        r = jstr_make(J, s->p + at, n, s->mark);
    return s->safe ? jstr_safe(J, r, true) : r;
}

const struct jstr *jstr_safe(struct jstate *J, const struct jstr *s, bool safe)
{
    struct jstr *r;

    if (s->safe == safe || !(r = jalloc(J, 1, sizeof *r)))
        return s;
    *r = *s;
    r->safe = safe;
    return r;
}

const struct jstr *jstr_escape(struct jstate *J, const struct jstr *s)
{
    static const char *const as[][2] = {
        {"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"'", "&#39;"}, {"\"", "&#34;"}};
    struct jbuf b = {.J = J};

    if (s->safe)
        return s;
    for (size_t i = 0; i < s->n; i++) {
        size_t k = 0;

        while (k < ARRAY_LEN(as) && as[k][0][0] != s->p[i])
            k++;
        if (k < ARRAY_LEN(as))
            jb_add(&b, as[k][1], strlen(as[k][1]), jstr_mark_at(s, i));
        else
            jb_sub(&b, s, i, 1);
    }
    return jstr_safe(J, jb_str_of(&b), true);
}

const struct jstr *jstr_cat(struct jstate *J, const struct jstr *a, const struct jstr *b)
{
    struct jbuf r = {.J = J};
    bool safe = a->safe || b->safe;

    if (safe) {
        a = jstr_escape(J, a);
        b = jstr_escape(J, b);
    }
    jb_expect(&r, a->n + b->n);
    jb_str(&r, a);
    jb_str(&r, b);
    return safe ? jstr_safe(J, jb_str_of(&r), true) : jb_str_of(&r);
}

bool jstr_eq(const struct jstr *a, const struct jstr *b)
{
    return a == b || (a->n == b->n && memcmp(a->p, b->p, a->n) == 0);
}

bool jstr_is(const struct jstr *a, const char *lit)
{
    return slice_is(jstr_slice(a), lit);
}

int jstr_cmp(const struct jstr *a, const struct jstr *b)
{
    size_t n = a->n < b->n ? a->n : b->n;
    int c = memcmp(a->p, b->p, n); // UTF-8 sorts as its characters do

    return c ? (c > 0) - (c < 0) : a->n < b->n ? -1 : a->n > b->n;
}

size_t jstr_at(const struct jstr *s, size_t cp)
{
    size_t i = 0;

    if (s->n_cp == s->n || cp >= s->n_cp)
        return cp >= s->n_cp ? s->n : cp;
    for (i = 0; cp > 0; cp--) {
        i++;
        while (i < s->n && ((unsigned char)s->p[i] & 0xc0) == 0x80)
            i++;
    }
    return i;
}

size_t jstr_chars(const struct jstr *s, size_t byte)
{
    return s->n_cp == s->n ? byte : count_chars(s->p, byte);
}

size_t jstr_find(const struct jstr *s, size_t from, size_t to, const struct jstr *what, bool last)
{
    if (to > s->n)
        to = s->n;
    if (from > to || what->n > to - from)
        return SIZE_MAX;
    if (what->n == 0)
        return last ? to : from;
    if (last) {
        for (size_t i = to - what->n + 1; i-- > from;)
            if (s->p[i] == what->p[0] && memcmp(s->p + i, what->p, what->n) == 0)
                return i;
        return SIZE_MAX;
    }
    for (size_t i = from; i + what->n <= to; i++) {
        const char *hit = memchr(s->p + i, what->p[0], to - what->n + 1 - i);

        if (!hit)
            break;
        i = (size_t)(hit - s->p);
        if (memcmp(hit, what->p, what->n) == 0)
            return i;
    }
    return SIZE_MAX;
}

uint8_t jstr_mark_at(const struct jstr *s, size_t byte)
{
    return s->mark != M_MIXED ? s->mark : byte < s->n ? s->mask[byte] : M_OWN;
}

/* -- building -- */

static bool room(struct jbuf *b, size_t n)
{
    uint64_t need, cap = b->cap ? b->cap : 48;
    char *p;
    uint8_t *m = NULL;

    if (!jstep(b->J, n / 64))
        return false;
    if (likely(n <= b->cap - b->n))
        return true;
    if (!add_ok(b->n, n, &need))
        return false;
    while (cap < need)
        cap += cap / 2;
    if (b->mask && !(m = jalloc(b->J, cap, 1)))
        return false;
    p = jgrow(b->J, b->p, b->cap, cap, 1);
    if (!p)
        return false;
    if (m)
        memcpy(m, b->mask, b->n);
    b->mask = m;
    b->p = p;
    b->cap = (size_t)cap;
    return true;
}

void jb_expect(struct jbuf *b, size_t n)
{
    b->p = jalloc(b->J, n, 1);
    b->cap = b->p ? n : 0;
}

/* From here on marks are told byte by byte. */
static bool unmix(struct jbuf *b)
{
    if (b->mask)
        return true;
    b->mask = jalloc(b->J, b->cap, 1);
    if (!b->mask)
        return false;
    memset(b->mask, b->one, b->n);
    return true;
}

void jb_add(struct jbuf *b, const char *p, size_t n, uint8_t mark)
{
    if (n == 0 || !room(b, n))
        return;
    if (b->n == 0 && !b->mask)
        b->one = mark;
    if (b->mask || b->one != mark) {
        if (!unmix(b))
            return;
        memset(b->mask + b->n, mark, n);
    }
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

void jb_lit(struct jbuf *b, const char *s)
{
    jb_add(b, s, strlen(s), M_OWN);
}

void jb_sub(struct jbuf *b, const struct jstr *s, size_t at, size_t n)
{
    if (s->mark != M_MIXED) {
        jb_add(b, s->p + at, n, s->mark);
        return;
    }
    if (n == 0 || !room(b, n) || !unmix(b))
        return;
    memcpy(b->p + b->n, s->p + at, n);
    memcpy(b->mask + b->n, s->mask + at, n);
    b->n += n;
}

void jb_str(struct jbuf *b, const struct jstr *s)
{
    jb_sub(b, s, 0, s->n);
}

void jb_cp(struct jbuf *b, uint32_t cp, uint8_t mark)
{
    char c[4];

    jb_add(b, c, (size_t)utf8_encode(cp, c), mark);
}

void jb_fill(struct jbuf *b, char c, size_t n)
{
    if (n == 0 || !room(b, n))
        return;
    for (; n > 0; n--)
        jb_add(b, &c, 1, M_OWN);
}

const struct jstr *jb_str_of(struct jbuf *b)
{
    if (b->J->failed || b->n == 0)
        return &jstr_empty;
    return b->mask ? masked(b->J, b->p, b->n, b->mask) : jstr_make(b->J, b->p, b->n, b->one);
}

struct jv jb_done(struct jbuf *b)
{
    return jv_str(jb_str_of(b));
}
