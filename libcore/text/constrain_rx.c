/* constrain_rx.c - see constrain_rx.h: making expressions. Derivatives are in constrain_dfa.c. */
#include "constrain_rx_in.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/utf8.h"

#define MAX_DEPTH 1500 // of recursion over nested expressions

/* -- the store ------------------------------------------------------------------------------- */

bool rx_room(struct rxs *s, void **p, uint32_t *cap, uint64_t need, size_t size)
{
    uint64_t n = *cap;
    void *q;

    if (s->bad)
        return false;
    if (need <= n)
        return true;
    n = n ? n * 2 : 64;
    if (n < need)
        n = need;
    q = n < UINT32_MAX ? mem_resize(*p, *cap, n, size, NULL) : NULL;
    if (!q) {
        s->bad = E_NOMEM;
        return false;
    }
    *p = q;
    *cap = (uint32_t)n;
    return true;
}

bool rx_enter(struct rxs *s)
{
    if (s->depth >= MAX_DEPTH && !s->bad)
        s->bad = E_RANGE;
    if (s->bad)
        return false;
    s->depth++;
    return true;
}

static uint32_t mix(uint32_t h, uint32_t v)
{
    h = (h ^ v) * 0x9e3779b1u;
    return h ^ h >> 15;
}

static uint32_t hash_of(const struct rxs *s, const struct rx_node *k, const struct rx_set *set)
{
    uint32_t h = mix(k->kind * 31u + k->st, k->lo);

    h = mix(h, k->hi);
    if (k->kind == RX_SET) {
        for (int i = 0; i < 4; i++)
            h = mix(mix(h, (uint32_t)set->w[i]), (uint32_t)(set->w[i] >> 32));
    } else if (k->kind == RX_OR || k->kind == RX_AND) {
        for (uint32_t i = 0; i < k->b; i++)
            h = mix(h, s->pool[k->a + i]);
    } else {
        h = mix(mix(h, k->a), k->b);
    }
    return h;
}

static bool same(const struct rxs *s, const struct rx_node *x, const struct rx_node *k,
                 const struct rx_set *set)
{
    if (x->kind != k->kind || x->st != k->st || x->lo != k->lo || x->hi != k->hi)
        return false;
    if (k->kind == RX_SET)
        return memcmp(&s->set[x->a], set, sizeof *set) == 0;
    if (k->kind == RX_OR || k->kind == RX_AND)
        return x->b == k->b && memcmp(&s->pool[x->a], &s->pool[k->a], k->b * 4u) == 0;
    return x->a == k->a && x->b == k->b;
}

static bool rehash(struct rxs *s)
{
    uint32_t cap = s->cap_hash ? s->cap_hash * 2 : 256;
    uint32_t *h = mem_array(cap, sizeof *h, NULL);

    if (!h) {
        s->bad = E_NOMEM;
        return false;
    }
    for (uint32_t i = 0; i < s->n; i++) {
        const struct rx_node *k = &s->node[i];
        uint32_t at = hash_of(s, k, k->kind == RX_SET ? &s->set[k->a] : NULL) & (cap - 1);

        while (h[at])
            at = (at + 1) & (cap - 1);
        h[at] = i + 1;
    }
    mem_free(s->hash);
    s->hash = h;
    s->cap_hash = cap;
    return true;
}

/* The number of the node like *k. The children of a new choice lie at the pool's end. */
rx rx_intern(struct rxs *s, struct rx_node k, const struct rx_set *set)
{
    uint32_t at, cap = s->cap;

    if (s->bad || (s->n * 2 >= s->cap_hash && !rehash(s)))
        return RX_NONE;
    at = hash_of(s, &k, set) & (s->cap_hash - 1);
    for (; s->hash[at]; at = (at + 1) & (s->cap_hash - 1))
        if (same(s, &s->node[s->hash[at] - 1], &k, set))
            return s->hash[at] - 1;
    if (s->n >= s->limit) {
        s->bad = E_RANGE;
        return RX_NONE;
    }
    if (k.kind == RX_SET) {
        if (!rx_room(s, (void **)&s->set, &s->cap_set, s->n_set + 1ull, sizeof *s->set))
            return RX_NONE;
        k.a = s->n_set;
        s->set[s->n_set++] = *set;
    }
    if (!rx_room(s, (void **)&s->node, &s->cap, s->n + 1ull, sizeof *s->node) ||
        !rx_room(s, (void **)&s->live, &cap, s->n + 1ull, 1))
        return RX_NONE;
    if (k.kind == RX_OR || k.kind == RX_AND)
        s->n_pool = k.a + k.b;
    s->node[s->n] = k;
    s->live[s->n] = 0;
    s->hash[at] = s->n + 1;
    return s->n++;
}

int rxs_init(struct rxs *s, uint32_t limit, struct err *e)
{
    const struct rx_range all = {0, 0x10ffff};

    *s = (struct rxs){.limit = limit, .n_cls = 1};
    rx_intern(s, (struct rx_node){.kind = RX_OR, .plain = true}, NULL);        // RX_NONE
    rx_intern(s, (struct rx_node){.kind = RX_EMPTY, .nullable = true, .plain = true}, NULL);
    rx_intern(s, (struct rx_node){.kind = RX_NOT, .a = RX_NONE, .nullable = true, .plain = true},
              NULL);                                                           // RX_ALL
    s->any = rx_rep(s, rx_chars(s, &all, 1), 0, RX_INF);
    if (s->bad) {
        rxs_fini(s);
        return err_nomem(e, 4096);
    }
    return 0;
}

void rxs_fini(struct rxs *s)
{
    mem_free(s->node);
    mem_free(s->live);
    mem_free(s->pool);
    mem_free(s->set);
    mem_free(s->digit);
    mem_free(s->hash);
    mem_free(s->memo);
    *s = (struct rxs){0};
}

static void *copy_of(const void *p, uint64_t n, uint64_t cap, size_t size, bool *ok)
{
    void *q = mem_array(cap, size, NULL);

    if (!q)
        *ok = false;
    else if (n)
        memcpy(q, p, n * size);
    return q;
}

int rxs_copy(struct rxs *to, const struct rxs *from, uint32_t limit, struct err *e)
{
    bool ok = true;

    *to = *from;
    to->limit = limit;
    to->node = copy_of(from->node, from->n, from->cap, sizeof *from->node, &ok);
    to->live = copy_of(from->live, from->n, from->cap, 1, &ok);
    to->pool = copy_of(from->pool, from->n_pool, from->cap_pool, sizeof *from->pool, &ok);
    to->set = copy_of(from->set, from->n_set, from->cap_set, sizeof *from->set, &ok);
    to->digit = copy_of(from->digit, from->n_digit, from->cap_digit, 1, &ok);
    to->hash = copy_of(from->hash, from->cap_hash, from->cap_hash, sizeof *from->hash, &ok);
    to->max_work = 0;
    to->memo = NULL;
    to->n_memo = to->cap_memo = 0;
    if (ok)
        return 0;
    rxs_fini(to);
    return err_nomem(e, (uint64_t)from->n * sizeof *from->node);
}

int rxs_error(const struct rxs *s, const char *what, struct err *e)
{
    if (s->bad == E_RANGE)
        return err_set(e, E_RANGE,
                       "%s is too large: more than %u states, nested too deeply, or too much work",
                       what, s->limit);
    return s->bad ? err_set(e, E_NOMEM, "%s: out of memory", what) : 0;
}

/* -- sets and joins -------------------------------------------------------------------------- */

rx rx_bytes(struct rxs *s, const struct rx_set *set)
{
    if (!(set->w[0] | set->w[1] | set->w[2] | set->w[3]))
        return RX_NONE;
    return rx_intern(s, (struct rx_node){.kind = RX_SET, .plain = true}, set);
}

rx rx_byte(struct rxs *s, unsigned c)
{
    struct rx_set set = {{0}};

    rx_put(&set, c);
    return rx_bytes(s, &set);
}

static rx cat2(struct rxs *s, rx a, rx b)
{
    const struct rx_node *x = &s->node[a], *y = &s->node[b];

    return rx_intern(s,
                     (struct rx_node){.kind = RX_CAT,
                                      .a = a,
                                      .b = b,
                                      .nullable = x->nullable && y->nullable,
                                      .plain = x->plain && y->plain},
                     NULL);
}

rx rx_cat(struct rxs *s, rx a, rx b)
{
    uint32_t from = s->n_pool, at = from;

    if (a == RX_NONE || b == RX_NONE)
        return RX_NONE;
    if (a == RX_EPS)
        return b;
    if (b == RX_EPS || (a == RX_ALL && b == RX_ALL))
        return a;
    for (; s->node[a].kind == RX_CAT; a = s->node[a].b) { // joins lean to the right
        if (!rx_room(s, (void **)&s->pool, &s->cap_pool, at + 1ull, sizeof *s->pool))
            return RX_NONE;
        s->pool[at++] = s->node[a].a;
    }
    b = cat2(s, a, b);
    while (at > from && !s->bad)
        b = cat2(s, s->pool[--at], b);
    return s->bad ? RX_NONE : b;
}

rx rx_lit(struct rxs *s, struct slice text)
{
    rx e = RX_EPS;

    for (size_t i = text.n; i-- > 0;)
        e = rx_cat(s, rx_byte(s, (unsigned char)text.p[i]), e);
    return e;
}

rx rx_rep(struct rxs *s, rx a, uint32_t lo, uint32_t hi)
{
    const struct rx_node *x;

    if (hi == 0 || a == RX_EPS)
        return RX_EPS;
    if (a == RX_NONE) // also where no memory was left for nodes
        return lo == 0 ? RX_EPS : RX_NONE;
    if (lo == 1 && hi == 1)
        return a;
    x = &s->node[a];
    if (x->nullable)
        lo = 0;
    if (a == RX_ALL || (x->kind == RX_REP && x->lo == 0 && x->hi == RX_INF))
        return a;
    return rx_intern(s,
                     (struct rx_node){.kind = RX_REP,
                                      .a = a,
                                      .lo = lo,
                                      .hi = hi,
                                      .nullable = lo == 0,
                                      .plain = x->plain},
                     NULL);
}

rx rx_opt(struct rxs *s, rx a)
{
    return rx_or(s, RX_EPS, a);
}

/* -- choices and intersections --------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const rx *)a, y = *(const rx *)b;

    return (x > y) - (x < y);
}

/* Adds e, or its children when it is a list of the same kind, at the pool's end. */
static bool add_child(struct rxs *s, int kind, rx e, uint32_t *at)
{
    const struct rx_node *x = &s->node[e];
    uint32_t from = x->a, n = x->kind == kind ? x->b : 1;

    if (!rx_room(s, (void **)&s->pool, &s->cap_pool, (uint64_t)*at + n, sizeof *s->pool))
        return false;
    if (x->kind == kind)
        memmove(&s->pool[*at], &s->pool[from], n * 4u);
    else
        s->pool[*at] = e;
    *at += n;
    return true;
}

/* Sets in the sorted list v are joined into one: or-ed or and-ed. Returns the new length. */
static uint32_t join_sets(struct rxs *s, int kind, uint32_t from, uint32_t n)
{
    struct rx_set all = {{0}};
    uint32_t k = 0, sets = 0;
    rx e;

    if (kind == RX_AND)
        all = (struct rx_set){{~0ull, ~0ull, ~0ull, ~0ull}};
    for (uint32_t i = 0; i < n; i++) {
        rx c = s->pool[from + i];

        if (s->node[c].kind != RX_SET) {
            s->pool[from + k++] = c;
            continue;
        }
        sets++;
        for (int w = 0; w < 4; w++) {
            uint64_t x = s->set[s->node[c].a].w[w];

            all.w[w] = kind == RX_OR ? all.w[w] | x : all.w[w] & x;
        }
    }
    if (sets == 0)
        return n;
    s->n_pool = from + k; // keeps the list while the set is made
    e = rx_bytes(s, &all);
    if (e == RX_NONE && kind == RX_AND) {
        s->pool[from] = RX_NONE;
        return 1;
    }
    s->pool[from + k++] = e;
    qsort(&s->pool[from], k, 4, by_number);
    return k;
}

/* The node for the unsorted list of children at pool[from, to). */
static rx make_list(struct rxs *s, int kind, uint32_t from, uint32_t to)
{
    rx zero = kind == RX_OR ? RX_ALL : RX_NONE, one = kind == RX_OR ? RX_NONE : RX_ALL;
    bool nullable = kind == RX_AND, plain = kind == RX_OR;
    uint32_t n = 0;

    qsort(&s->pool[from], to - from, 4, by_number);
    for (uint32_t i = from; i < to; i++) {
        rx c = s->pool[i];

        if (c == zero)
            return zero;
        if (c != one && (n == 0 || s->pool[from + n - 1] != c))
            s->pool[from + n++] = c;
    }
    n = join_sets(s, kind, from, n);
    if (n == 0)
        return one;
    for (uint32_t i = 0; i < n; i++) {
        const struct rx_node *x = &s->node[s->pool[from + i]];

        if (s->pool[from + i] == zero)
            return zero;
        if (kind == RX_AND && s->pool[from + i] == RX_EPS) {
            for (uint32_t j = 0; j < n; j++) // the empty word, or nothing
                if (!s->node[s->pool[from + j]].nullable)
                    return RX_NONE;
            return RX_EPS;
        }
        nullable = kind == RX_OR ? nullable || x->nullable : nullable && x->nullable;
        plain = plain && x->plain;
    }
    if (n == 1)
        return s->pool[from];
    return rx_intern(
        s, (struct rx_node){.kind = (uint8_t)kind, .a = from, .b = n, .nullable = nullable,
                            .plain = plain},
        NULL);
}

rx rx_list(struct rxs *s, int kind, const rx *v, uint32_t n)
{
    uint32_t from = s->n_pool, at = from;
    rx e;

    for (uint32_t i = 0; i < n; i++)
        if (!add_child(s, kind, v[i], &at))
            return RX_NONE;
    s->n_pool = at;
    e = make_list(s, kind, from, at);
    if (s->n && (s->node[s->n - 1].kind != kind || s->node[s->n - 1].a != from))
        s->n_pool = from;
    return s->bad ? RX_NONE : e;
}

rx rx_or_n(struct rxs *s, const rx *v, uint32_t n)
{
    return rx_list(s, RX_OR, v, n);
}

rx rx_or(struct rxs *s, rx a, rx b)
{
    return a == b || b == RX_NONE ? a : a == RX_NONE ? b : rx_list(s, RX_OR, (rx[]){a, b}, 2);
}

rx rx_and(struct rxs *s, rx a, rx b)
{
    return a == b || b == RX_ALL ? a : a == RX_ALL ? b : rx_list(s, RX_AND, (rx[]){a, b}, 2);
}

rx rx_not(struct rxs *s, rx a)
{
    const struct rx_node *x = &s->node[a];

    if (a == RX_NONE)
        return RX_ALL;
    if (x->kind == RX_NOT)
        return x->a;
    return rx_intern(s, (struct rx_node){.kind = RX_NOT, .a = a, .nullable = !x->nullable}, NULL);
}

rx rx_minus(struct rxs *s, rx a, rx b)
{
    return rx_and(s, a, rx_not(s, b));
}

static int by_text(const void *a, const void *b)
{
    const struct slice *x = a, *y = b;
    size_t n = x->n < y->n ? x->n : y->n;
    int d = n ? memcmp(x->p, y->p, n) : 0;

    return d ? d : (x->n > y->n) - (x->n < y->n);
}

/* Sorted texts, all alike in their first skip bytes. */
static rx texts(struct rxs *s, const struct slice *t, uint32_t n, size_t skip)
{
    const struct slice *last = &t[n - 1];
    size_t front = skip;
    rx e = RX_NONE;

    while (front < t->n && front < last->n && t->p[front] == last->p[front])
        front++;
    if (!rx_enter(s))
        return RX_NONE;
    if (t->n == front)
        e = RX_EPS;
    for (uint32_t i = 0, k; i < n; i = k) {
        for (k = i; k < n && t[k].n == front; k++)
            ;
        if (k > i)
            continue;
        while (k < n && t[k].p[front] == t[i].p[front])
            k++;
        if (k == i + 1)
            e = rx_or(s, e, rx_lit(s, (struct slice){t[i].p + front, t[i].n - front}));
        else
            e = rx_or(s, e, texts(s, t + i, k - i, front));
    }
    s->depth--;
    return rx_cat(s, rx_lit(s, (struct slice){t->p + skip, front - skip}), e);
}

rx rx_texts(struct rxs *s, struct slice *t, uint32_t n)
{
    if (n == 0)
        return RX_NONE;
    qsort(t, n, sizeof *t, by_text);
    return texts(s, t, n, 0);
}

/* -- characters ------------------------------------------------------------------------------ */

static rx byte_range(struct rxs *s, unsigned from, unsigned to)
{
    struct rx_set set = {{0}};

    for (unsigned c = from; c <= to; c++)
        rx_put(&set, c);
    return rx_bytes(s, &set);
}

/* Characters from..to of n bytes, of which the first i are settled; split where the bytes that
 * follow are not free. */
static rx same_length(struct rxs *s, uint32_t from, uint32_t to, int n)
{
    uint32_t low;
    char a[4], b[4];
    rx e = RX_EPS;

    for (int i = 1; i < n; i++) {
        low = (1u << (6 * i)) - 1;
        if ((from | low) == (to | low))
            continue;
        if (from & low)
            return rx_or(s, same_length(s, from, from | low, n),
                         same_length(s, (from | low) + 1, to, n));
        if ((to & low) != low)
            return rx_or(s, same_length(s, from, (to & ~low) - 1, n),
                         same_length(s, to & ~low, to, n));
    }
    utf8_encode(from, a);
    utf8_encode(to, b);
    for (int i = n; i-- > 0;)
        e = rx_cat(s, byte_range(s, (unsigned char)a[i], (unsigned char)b[i]), e);
    return e;
}

static rx one_range(struct rxs *s, uint32_t from, uint32_t to)
{
    static const uint32_t cut[] = {0x80, 0x800, 0xd800, 0xe000, 0x10000, 0x110000};
    static const int len[] = {1, 2, 3, 0, 3, 4};
    rx e = RX_NONE;
    uint32_t at = from;

    for (int i = 0; i < 6 && at <= to; i++) {
        uint32_t end = to < cut[i] ? to : cut[i] - 1;

        if (at >= cut[i])
            continue;
        if (len[i])
            e = rx_or(s, e, same_length(s, at, end, len[i]));
        at = end + 1;
    }
    return e;
}

rx rx_chars(struct rxs *s, const struct rx_range *r, uint32_t n)
{
    struct rx_set ascii = {{0}};
    rx e = RX_NONE;

    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t c = r[i].from; c < 0x80 && c <= r[i].to; c++)
            rx_put(&ascii, c);
        if (r[i].to >= 0x80)
            e = rx_or(s, e, one_range(s, r[i].from < 0x80 ? 0x80 : r[i].from, r[i].to));
    }
    return rx_or(s, rx_bytes(s, &ascii), e);
}

rx rx_char(struct rxs *s, uint32_t cp)
{
    return rx_chars(s, &(struct rx_range){cp, cp}, 1);
}
