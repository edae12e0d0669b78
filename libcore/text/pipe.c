/* pipe.c - see pipe.h: added tokens, and the way of a text through the steps. */
#include "text/pipe.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "text/tok_in.h"
#include "text/uclass.h"

/* -- building -- */

static int build_trie(const struct pipe *p, struct trie *out, bool special, bool normalized,
                      struct err *e)
{
    struct slice *key = mem_array(p->n_added, sizeof *key, e);
    uint32_t *value = mem_array(p->n_added, sizeof *value, e), n = 0;
    int rc = key && value ? 0 : E_NOMEM;

    for (uint32_t i = 0; i < p->n_added && rc == 0; i++) {
        const struct added *a = &p->added[i];

        if (a->text.n == 0 || (a->flags & ADDED_SPECIAL && !special) ||
            !!(a->flags & ADDED_NORMALIZED) != normalized)
            continue;
        key[n] = a->text;
        value[n++] = i;
    }
    if (rc == 0 && n)
        rc = trie_new(out, key, value, n, e);
    mem_free(key);
    mem_free(value);
    return rc;
}

/* Runs the normalizers over text: *out is text itself or lies in one of b. */
static int normalize(const struct pipe *p, struct pre_match *m, struct slice text, struct buf b[2],
                     struct slice *out, struct err *e)
{
    int rc = 0;

    *out = text;
    for (int i = 0; i < p->n_norm && rc == 0; i++) {
        struct buf *to = &b[i % 2];

        buf_clear(to);
        rc = pipe_normalize(&p->norm[i], m, *out, to, e);
        *out = buf_view(to);
    }
    return rc;
}

/* Added tokens that are looked for in normalized text are normalized themselves. */
static int normalize_added(struct pipe *p, struct err *e)
{
    struct pre_match *m = NULL;
    struct buf b[2] = {{0}}, all = {0};
    size_t *at = mem_array((uint64_t)p->n_added + 1, sizeof *at, e);
    int rc = at ? pre_match_new(&m, e) : E_NOMEM;

    for (uint32_t i = 0; i < p->n_added && rc == 0; i++) {
        struct slice text = p->added[i].text;

        if (p->added[i].flags & ADDED_NORMALIZED)
            rc = normalize(p, m, text, b, &text, e);
        at[i] = all.n;
        buf_slice(&all, text);
    }
    if (rc == 0 && all.bad)
        rc = err_nomem(e, all.n);
    for (uint32_t i = 0; i < p->n_added && rc == 0; i++) {
        size_t end = i + 1 < p->n_added ? at[i + 1] : all.n;

        p->added[i].text = (struct slice){buf_view(&all).p + at[i], end - at[i]};
    }
    buf_fini(&b[0]);
    buf_fini(&b[1]);
    pre_match_free(m);
    mem_free(at);
    if (rc < 0) {
        buf_fini(&all);
        return rc;
    }
    buf_fini(&p->texts);
    p->texts = all;
    return 0;
}

int pipe_build(struct pipe *p, struct err *e)
{
    int rc = normalize_added(p, e);

    for (int special = 0; special < 2 && rc == 0; special++)
        if ((rc = build_trie(p, &p->raw[special], special, false, e)) == 0)
            rc = build_trie(p, &p->normal[special], special, true, e);
    return rc;
}

void pipe_free(struct pipe *p)
{
    if (!p)
        return;
    for (int i = 0; i < MAX_NORM; i++) {
        buf_fini(&p->norm[i].from);
        buf_fini(&p->norm[i].to);
        pre_re_free(p->norm[i].re);
    }
    for (int i = 0; i < MAX_CUT; i++) {
        buf_fini(&p->cut[i].text);
        pre_re_free(p->cut[i].re);
    }
    for (int i = 0; i < 2; i++) {
        trie_fini(&p->raw[i]);
        trie_fini(&p->normal[i]);
    }
    mem_free(p->added);
    buf_fini(&p->texts);
    mem_free(p);
}

/* -- a text's way -- */

struct run {
    struct enc *x;
    const struct pipe *p;
    struct pre_match *m;
    struct buf norm[2]; // of one segment
    struct buf spaced;  // a piece with spaces for marks
    bool moved;         // something lies in front of what comes next
    struct slice whole; // the text, where its bytes are those that enc.content counts
};

static size_t blank_front(struct slice s)
{
    size_t n = 0;
    uint32_t cp;
    int len;

    while (n < s.n && (len = utf8_next((const uint8_t *)s.p + n, &cp)) > 0 && uclass_of(cp) & UC_S)
        n += (size_t)len;
    return n;
}

/* The character in front of s.p[at], or a space. */
static uint32_t char_before(struct slice s, size_t at)
{
    uint32_t cp = ' ';
    size_t from = at;

    if (at == 0)
        return cp;
    do
        from--;
    while (from > 0 && ((uint8_t)s.p[from] & 0xc0) == 0x80);
    utf8_next((const uint8_t *)s.p + from, &cp);
    return cp;
}

static size_t blank_back(struct slice s)
{
    size_t n = s.n;

    while (n > 0 && uclass_of(char_before(s, n)) & UC_S) {
        do
            n--;
        while (n > 0 && ((uint8_t)s.p[n] & 0xc0) == 0x80);
    }
    return s.n - n;
}

/* Whether a token found at text[at, end) stands for itself there. */
static bool stands_alone(const struct added *a, struct slice text, size_t at, size_t end)
{
    uint32_t after = ' ';

    if (!(a->flags & ADDED_WORD))
        return true;
    if (end < text.n)
        utf8_next((const uint8_t *)text.p + end, &after);
    return !pipe_is_word(char_before(text, at)) && !pipe_is_word(after);
}

/* How many of the n bytes at p content does not touch. What cannot be told, after normalizing, is
 * content where there is any. */
static size_t before_content(const struct run *r, const char *p, size_t n)
{
    const struct byte_span *c = r->x->content;
    const uintptr_t at = (uintptr_t)p, begin = (uintptr_t)r->whole.p;
    size_t lo = 0, hi = r->x->n_content;

    if (hi == 0)
        return n;
    if (!begin || at < begin || at + n > begin + r->whole.n)
        return 0;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        if (c[mid].at + c[mid].n <= at - begin)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == r->x->n_content)
        return n;
    hi = c[lo].at > at - begin ? c[lo].at - (at - begin) : 0;
    return hi < n ? hi : n;
}

/* The longest added token at the beginning of s; its length, 0: none. The second trie, which has
 * the control tokens too, counts only with TOK_PARSE and before content begins. */
static size_t added_at(const struct run *r, const struct trie *t, struct slice s, uint32_t *i)
{
    const size_t own = r->x->flags & TOK_PARSE ? before_content(r, s.p, s.n) : 0;
    size_t n = 0, m = 0;
    uint32_t other = 0;

    if (own && t[1].node && t[1].first[(uint8_t)s.p[0]])
        n = trie_longest(&t[1], (struct slice){s.p, own}, i);
    if (own < s.n && t[0].node && t[0].first[(uint8_t)s.p[0]])
        m = trie_longest(&t[0], s, &other);
    if (m > n)
        *i = other;
    return m > n ? m : n;
}

/* Cuts text at added tokens (two tries); what lies between goes to rest. */
static int cut_added(struct run *r, const struct trie *t, struct slice text,
                     int (*rest)(struct run *r, struct slice text))
{
    const struct trie *all = &t[r->x->flags & TOK_PARSE ? 1 : 0];
    size_t from = 0;
    int rc;

    for (size_t at = 0; all->node && at < text.n;) {
        size_t n = 0, left = at;
        uint32_t i = 0;

        if (all->first[(uint8_t)text.p[at]])
            n = added_at(r, t, (struct slice){text.p + at, text.n - at}, &i);
        if (n == 0 || !stands_alone(&r->p->added[i], text, at, at + n)) {
            at += n ? n : 1;
            continue;
        }
        if (r->p->added[i].flags & ADDED_LSTRIP)
            left -= blank_back((struct slice){text.p + from, at - from});
        if ((left > from && (rc = rest(r, (struct slice){text.p + from, left - from})) < 0) ||
            (rc = put(r->x, (uint32_t)r->p->added[i].id)) < 0)
            return rc;
        r->moved = true;
        at += n;
        if (r->p->added[i].flags & ADDED_RSTRIP)
            at += blank_front((struct slice){text.p + at, text.n - at});
        from = at;
    }
    return from < text.n ? rest(r, (struct slice){text.p + from, text.n - from}) : 0;
}

static int on_piece(void *arg, struct slice s)
{
    struct run *r = arg;

    r->x->unknown_end = SIZE_MAX;
    if (r->p->marks || r->p->bytes) {
        buf_clear(&r->spaced);
        if (r->p->marks)
            tok_spell_marks(s, &r->spaced);
        else
            tok_spell_alphabet(s, &r->spaced);
        s = buf_view(&r->spaced);
        if (r->spaced.bad)
            return err_nomem(r->x->e, s.n);
    }
    switch (r->x->t->model) {
    case TOK_UNIGRAM:
        return encode_unigram(r->x, s);
    case TOK_WPM:
        return encode_word(r->x, s);
    case TOK_WORD:
        return encode_whole(r->x, s);
    default:
        return encode_piece(r->x, s);
    }
}

static int on_normal(struct run *r, struct slice text)
{
    const struct cutter c = {
        .p = r->p, .m = r->m, .first = !r->moved, .piece = on_piece, .arg = r, .e = r->x->e};

    r->moved = true;
    if (!r->p->fast)
        return pipe_cut(&c, text);
    r->x->unknown_end = SIZE_MAX;
    return encode_bpe(r->x, text);
}

/* A segment between tokens found in the text as it is. */
static int on_raw(struct run *r, struct slice text)
{
    struct slice norm;
    int rc = normalize(r->p, r->m, text, r->norm, &norm, r->x->e);

    return rc < 0 ? rc : cut_added(r, r->p->normal, norm, on_normal);
}

/* Bytes that are no UTF-8 become U+FFFD, except where nothing but the fast way sees them. */
static void make_valid(struct slice text, struct buf *out)
{
    for (size_t at = 0; at < text.n;) {
        uint32_t cp;
        int n = utf8_decode(text.p + at, text.n - at, &cp);

        if (n)
            buf_add(out, text.p + at, (size_t)n);
        else
            buf_str(out, "\xef\xbf\xbd");
        at += n ? (size_t)n : 1;
    }
}

int pipe_encode(struct enc *x, const struct pipe *p, struct slice text)
{
    struct run r = {.x = x, .p = p, .whole = text};
    struct buf valid = {0};
    int rc;

    if ((rc = pre_match_new(&r.m, x->e)) < 0)
        goto done;
    if (!utf8_valid(text.p, text.n)) {
        if (p->fast && p->n_norm == 0) {
            rc = encode_bpe(x, text);
            goto done;
        }
        make_valid(text, &valid);
        text = buf_view(&valid);
        r.whole = (struct slice){0};
        if (valid.bad) {
            rc = err_nomem(x->e, text.n);
            goto done;
        }
    }
    rc = text.n ? cut_added(&r, p->raw, text, on_raw) : 0;
done:
    pre_match_free(r.m);
    buf_fini(&r.norm[0]);
    buf_fini(&r.norm[1]);
    buf_fini(&r.spaced);
    buf_fini(&valid);
    return rc;
}
