/* bpe.c - merging: SentencePiece BPE (by score) and byte-level BPE (by rank).
 *
 * Both repeat the best merge of two neighbours until there is none, the leftmost of equals first.
 * Short pieces scan an array for it, long ones keep a heap, so that a megabyte without a cut costs
 * n log n. Text is cut before that wherever two bytes meet that stand side by side in no symbol:
 * no merge can cross such a place.
 */
#include "tok_in.h"

#define NO_RANK UINT32_MAX

enum { SMALL = 40 }; // symbols up to which scanning beats a heap

int put_bytes(struct enc *x, const char *p, size_t n)
{
    const struct tok *t = x->t;
    bool spelt = false;
    int rc = 0;

    for (size_t i = 0; i < n; i++)
        spelt |= t->byte_id[(uint8_t)p[i]] >= 0;
    if (!spelt && n > 0 && t->role[TOK_UNK] >= 0) {
        if (t->fuse_unknown && x->unknown_end == x->out->n && x->out->n)
            return 0;
        rc = put(x, (uint32_t)t->role[TOK_UNK]);
        x->unknown_end = x->out->n;
        return rc;
    }
    for (size_t i = 0; i < n && rc == 0; i++) {
        int32_t id = t->byte_id[(uint8_t)p[i]];

        if (id < 0)
            id = t->role[TOK_UNK];
        rc = id >= 0 ? put(x, (uint32_t)id) : 0; /* nothing can write it */
    }
    return rc;
}

/* The rank of merging the symbols l and r, whose text together is p[0, n). */
static inline uint32_t rank_of(const struct tok *t, uint32_t l, uint32_t r, const char *p, size_t n,
                               uint32_t *into)
{
    const struct pair_slot *s;

    if (t->by_text) {
        uint32_t id = n <= t->max_piece ? piece_get(&t->merged, p, n) : NO_ID;

        *into = id;
        return id == NO_ID ? NO_RANK : t->prio[id];
    }
    if (l == NO_ID || r == NO_ID)
        return NO_RANK;
    s = pair_get(&t->pair, l, r);
    if (!s)
        return NO_RANK;
    *into = s->into;
    return s->rank;
}

/* A character that says where in its word it stands. */
static uint32_t marked_symbol(const struct tok *t, const char *p, size_t len, bool inside, bool end)
{
    char text[8];
    size_t n = 0;

    if (inside && t->marks_inside)
        text[n++] = MARK_INSIDE;
    memcpy(text + n, p, len);
    n += len;
    if (end && t->marks_end)
        text[n++] = MARK_END;
    return piece_get(&t->merged, text, n);
}

/* The first symbol of the word p[0, n) behind at, and its length. */
static inline uint32_t first_symbol(const struct tok *t, const char *p, size_t at, size_t n,
                                    size_t *len)
{
    if (!t->by_char) {
        *len = 1;
        return t->byte_sym[(uint8_t)p[at]];
    }
    *len = char_len(p + at, n - at);
    if (unlikely(t->marks_end || t->marks_inside))
        return marked_symbol(t, p + at, *len, at > 0, at + *len == n);
    return piece_get(&t->merged, p + at, *len);
}

struct small {
    const char *p;
    int n;
    struct part {
        uint32_t start, id;
        uint32_t rank, into; // of the merge with the next one
    } part[SMALL + 1];
};

/* Fills in the first symbols; false when there are too many. */
static bool small_begin(const struct tok *t, struct small *s, const char *p, size_t n)
{
    size_t len;

    s->p = p;
    s->n = 0;
    for (size_t at = 0; at < n; at += len) {
        if (s->n == SMALL)
            return false;
        s->part[s->n].id = first_symbol(t, p, at, n, &len);
        s->part[s->n++].start = (uint32_t)at;
    }
    s->part[s->n].start = (uint32_t)n;
    return true;
}

static inline void small_rank(const struct tok *t, struct small *s, int i)
{
    struct part *a = &s->part[i];

    a->rank = i + 1 < s->n ? rank_of(t, a[0].id, a[1].id, s->p + a[0].start,
                                     a[2].start - a[0].start, &a->into)
                           : NO_RANK;
}

/* Merges until nothing merges, or until `least` symbols are left. */
static void small_merge(const struct tok *t, struct small *s, int least)
{
    for (int i = 0; i < s->n; i++)
        small_rank(t, s, i);
    while (s->n > least) {
        uint32_t best = NO_RANK;
        int at = 0;

        for (int i = 0; i < s->n - 1; i++)
            if (s->part[i].rank < best) {
                best = s->part[i].rank;
                at = i;
            }
        if (best == NO_RANK)
            break;
        s->part[at].id = s->part[at].into;
        s->n--;
        for (int i = at + 1; i <= s->n; i++) /* memmove costs more for so few */
            s->part[i] = s->part[i + 1];
        small_rank(t, s, at);
        if (at > 0)
            small_rank(t, s, at - 1);
    }
}

/* Puts what symbol id, text p[0, n), stands for. An unused token is only a step on the way to
 * others: SentencePiece takes it apart again at its last merge. */
static int put_symbol(struct enc *x, uint32_t id, const char *p, size_t n)
{
    const struct tok *t = x->t;
    struct small s;
    int rc = 0;

    if (unlikely(id >= t->n))
        return put_bytes(x, p, n);
    if (likely(t->kind[id] != TOK_UNUSED || t->model != TOK_SPM))
        return put(x, id);
    if (!small_begin(t, &s, p, n) || s.n < 2)
        return put(x, id);
    small_merge(t, &s, 2);
    for (int i = 0; i < s.n && rc == 0; i++)
        rc =
            put_symbol(x, s.part[i].id, p + s.part[i].start, s.part[i + 1].start - s.part[i].start);
    return rc;
}

/* -- long pieces ----------------------------------------------------------------------------- */

/* A heap of rank << 32 | symbol, four children a node: fewer cache lines on the way down. */
static void heap_down(uint64_t *h, size_t n, size_t i)
{
    uint64_t v = h[i];

    for (;;) {
        size_t first = 4 * i + 1, last = first + 4 < n ? first + 4 : n, best = first;

        if (first >= n)
            break;
        for (size_t k = first + 1; k < last; k++)
            if (h[k] < h[best])
                best = k;
        if (h[best] >= v)
            break;
        h[i] = h[best];
        i = best;
    }
    h[i] = v;
}

static void heap_push(uint64_t *h, size_t *n, uint64_t v)
{
    size_t i = (*n)++;

    while (i > 0 && h[(i - 1) / 4] > v) {
        h[i] = h[(i - 1) / 4];
        i = (i - 1) / 4;
    }
    h[i] = v;
}

static int long_room(struct enc *x, uint64_t n)
{
    struct symbol *sym;
    uint64_t *heap;

    if (n <= x->cap_sym)
        return 0;
    heap = mem_resize(x->heap, 0, 2 * n, sizeof *heap, x->e);
    if (!heap)
        return E_NOMEM;
    x->heap = heap;
    sym = mem_resize(x->sym, 0, n, sizeof *sym, x->e);
    if (!sym)
        return E_NOMEM;
    x->sym = sym;
    x->cap_sym = n;
    return 0;
}

static void long_rank(const struct tok *t, struct symbol *sym, uint32_t i, const char *p, size_t n)
{
    uint32_t k = sym[i].next;
    size_t end = k == NO_SYMBOL || sym[k].next == NO_SYMBOL ? n : sym[sym[k].next].start;

    sym[i].rank = k == NO_SYMBOL ? NO_RANK
                                 : rank_of(t, sym[i].id, sym[k].id, p + sym[i].start,
                                           end - sym[i].start, &sym[i].into);
}

static int merge_long(struct enc *x, const char *p, size_t n)
{
    const struct tok *t = x->t;
    struct symbol *sym;
    uint32_t n_sym = 0;
    size_t len, n_heap = 0;
    int rc = long_room(x, n);

    if (rc < 0)
        return rc;
    sym = x->sym;
    for (size_t at = 0; at < n; at += len, n_sym++) {
        sym[n_sym].id = first_symbol(t, p, at, n, &len);
        sym[n_sym].start = (uint32_t)at;
        sym[n_sym].prev = n_sym ? n_sym - 1 : NO_SYMBOL;
        sym[n_sym].next = at + len < n ? n_sym + 1 : NO_SYMBOL;
    }
    for (uint32_t i = 0; i < n_sym; i++) {
        long_rank(t, sym, i, p, n);
        if (sym[i].rank != NO_RANK)
            x->heap[n_heap++] = (uint64_t)sym[i].rank << 32 | i;
    }
    for (size_t i = n_heap / 4 + 1; i-- > 0;)
        if (i < n_heap)
            heap_down(x->heap, n_heap, i);
    while (n_heap) {
        uint64_t top = x->heap[0];
        uint32_t i = (uint32_t)top, k;

        x->heap[0] = x->heap[--n_heap];
        heap_down(x->heap, n_heap, 0);
        if (sym[i].rank != top >> 32)
            continue; /* merged meanwhile */
        k = sym[i].next;
        sym[i].id = sym[i].into;
        sym[i].next = sym[k].next;
        if (sym[k].next != NO_SYMBOL)
            sym[sym[k].next].prev = i;
        sym[k].rank = NO_RANK;
        long_rank(t, sym, i, p, n);
        if (sym[i].rank != NO_RANK)
            heap_push(x->heap, &n_heap, (uint64_t)sym[i].rank << 32 | i);
        if ((k = sym[i].prev) == NO_SYMBOL)
            continue;
        long_rank(t, sym, k, p, n);
        if (sym[k].rank != NO_RANK)
            heap_push(x->heap, &n_heap, (uint64_t)sym[k].rank << 32 | k);
    }
    for (uint32_t i = 0; i != NO_SYMBOL; i = sym[i].next) {
        size_t end = sym[i].next == NO_SYMBOL ? n : sym[sym[i].next].start;

        if ((rc = put_symbol(x, sym[i].id, p + sym[i].start, end - sym[i].start)) < 0)
            return rc;
    }
    return 0;
}

/* -- pieces ---------------------------------------------------------------------------------- */

int merge_chunk(struct enc *x, const char *p, size_t n)
{
    struct small s;
    int rc = 0;

    if (!small_begin(x->t, &s, p, n))
        return merge_long(x, p, n);
    small_merge(x->t, &s, 1);
    for (int i = 0; i < s.n && rc == 0; i++)
        rc =
            put_symbol(x, s.part[i].id, p + s.part[i].start, s.part[i + 1].start - s.part[i].start);
    return rc;
}

/* The same by way of the cache. What ends or begins with an unknown character is not kept: whether
 * it is written depends on what stands beside it. */
static int merge_cached(struct enc *x, const char *p, size_t n)
{
    uint64_t lo, hi = 0;
    size_t before = x->out->n, unknown = x->unknown_end, more;
    struct merged *m;
    int rc;

    if (!x->cache || n > 16)
        return merge_chunk(x, p, n);
    lo = load_key(p, n < 8 ? n : 8);
    if (n > 8)
        hi = load_key(p + 8, n - 8);
    m = &x->cache[mix(lo ^ mix(hi ^ n)) & x->cache_mask];
    if (m->lo == lo && m->hi == hi && m->n == n) {
        for (int i = 0; i < m->n_id; i++)
            if ((rc = put(x, (uint32_t)m->id[i])) < 0)
                return rc;
        return 0;
    }
    rc = merge_chunk(x, p, n);
    more = x->out->n - before;
    if (rc == 0 && more <= ARRAY_LEN(m->id) && unknown == x->unknown_end && unknown != before) {
        *m = (struct merged){lo, hi, (uint8_t)n, (uint8_t)more, {0}};
        memcpy(m->id, x->out->id + before, more * sizeof *m->id);
    }
    return rc;
}

/* Merges a piece that is the text of token id. Whether that gives the token is found out once in a
 * call: English is nine tenths such pieces, and trying all tokens when a vocabulary is opened would
 * cost as much as all the rest of that. */
static int merge_token(struct enc *x, uint32_t id, const char *p, size_t n)
{
    uint8_t *s = &x->self[id / 4];
    unsigned shift = id % 4 * 2;
    size_t before = x->out->n;
    int rc;

    if (*s >> shift & 1)
        return merge_cached(x, p, n);
    rc = merge_chunk(x, p, n);
    if (rc == 0) {
        bool self = x->out->n == before + 1 && x->out->id[before] == (int32_t)id;

        *s |= (uint8_t)((self ? 3 : 1) << shift);
    }
    return rc;
}

static inline int merge_found(struct enc *x, uint32_t id, const char *p, size_t n)
{
    if (unlikely(!x->self) || id >= x->t->n)
        return merge_cached(x, p, n);
    if (likely(x->self[id / 4] >> id % 4 * 2 & 2))
        return put(x, id);
    return merge_token(x, id, p, n);
}

/* Merges text that may be cut where no symbol can cross. */
static int merge_cut(struct enc *x, const char *p, size_t n)
{
    const struct tok *t = x->t;
    int rc;

    for (size_t from = 0, at; from < n; from = at) {
        uint32_t id;
        size_t len = t->by_char ? char_len(p + from, n - from) : 1;

        for (at = from + len; at < n; at += len) {
            if (!is_inside(t, (uint8_t)p[at - 1], (uint8_t)p[at]))
                break;
            len = t->by_char ? char_len(p + at, n - at) : 1;
        }
        id = at - from <= t->max_piece ? piece_get(&t->merged, p + from, at - from) : NO_ID;
        if ((rc = merge_found(x, id, p + from, at - from)) < 0)
            return rc;
    }
    return 0;
}

/* The piece without bytes that nothing can write; false: there are none. */
static bool drop_bytes(struct enc *x, const char **p, size_t *n)
{
    const int32_t *byte = x->t->byte_id;
    size_t i = 0;

    while (i < *n && byte[(uint8_t)(*p)[i]] >= 0)
        i++;
    if (i == *n)
        return false;
    buf_clear(&x->kept);
    buf_add(&x->kept, *p, i);
    for (; i < *n; i++)
        if (byte[(uint8_t)(*p)[i]] >= 0)
            buf_byte(&x->kept, (*p)[i]);
    *p = x->kept.p;
    *n = x->kept.n;
    return true;
}

/* One piece of the pre-tokenizer. */
static inline int merge_piece(struct enc *x, const char *p, size_t n)
{
    const struct tok *t = x->t;
    uint32_t id;

    if (unlikely(t->drops) && drop_bytes(x, &p, &n)) {
        if (x->kept.bad)
            return err_nomem(x->e, n);
        if (n == 0)
            return 0;
    }
    id = n <= t->max_piece ? piece_get(&t->merged, p, n) : NO_ID;
    if (t->whole_some && id < t->n && (t->whole_first || t->flag[id] & FLAG_WHOLE))
        return put(x, id);
    return t->by_char || n > SMALL ? merge_cut(x, p, n) : merge_found(x, id, p, n);
}

static int on_piece(void *arg, struct slice s)
{
    return merge_piece(arg, s.p, s.n);
}

int encode_piece(struct enc *x, struct slice s)
{
    const bool marked = x->t->marks_end || x->t->marks_inside;

    return marked ? merge_chunk(x, s.p, s.n) : merge_piece(x, s.p, s.n);
}

/* Bytes at the front that are no valid UTF-8; with valid set, those that are. */
static size_t run_utf8(const char *p, size_t n, bool valid)
{
    size_t at = 0;

    while (at < n) {
        uint32_t cp;
        uint64_t eight;
        int len;

        if (valid && at + 8 <= n) {
            memcpy(&eight, p + at, 8);
            if (!(eight & 0x8080808080808080u)) {
                at += 8;
                continue;
            }
        }
        len = utf8_decode(p + at, n - at, &cp);
        if ((len > 0) != valid)
            break;
        at += valid ? (size_t)len : 1;
    }
    return at;
}

/* Expressions speak of characters, so what is no UTF-8 is a piece of its own. */
int encode_bpe(struct enc *x, struct slice text)
{
    const struct scan_rule *rule;
    scan_fn *scan = pre_scan(x->t->pre, &rule);
    int rc;

    if (!scan && !x->pre && (rc = pre_work_new(&x->pre, x->t->pre, x->e)) < 0)
        return rc;
    while (text.n) {
        size_t n = run_utf8(text.p, text.n, true);

        for (size_t at = 0, end; scan && at < n; at = end) {
            end = scan(rule, (const uint8_t *)text.p, at, n);
            if ((rc = merge_piece(x, text.p + at, end - at)) < 0)
                return rc;
        }
        if (!scan &&
            (rc = pre_split(x->t->pre, x->pre, (struct slice){text.p, n}, on_piece, x, x->e)) < 0)
            return rc;
        text = (struct slice){text.p + n, text.n - n};
        n = run_utf8(text.p, text.n, false);
        if (n && (rc = merge_piece(x, text.p, n)) < 0)
            return rc;
        text = (struct slice){text.p + n, text.n - n};
    }
    return 0;
}

int encode_spm(struct enc *x, struct slice text)
{
    return merge_cut(x, text.p, text.n);
}
