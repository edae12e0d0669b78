/* encode.c - from text to ids: special tokens are cut out first, each segment between them is
 * normalized and goes to the vocabulary's model. */
#include "tok_in.h"

#include "text/uclass.h"

#define MARK "\xe2\x96\x81"

void tok_ids_fini(struct tok_ids *l)
{
    mem_free(l->id);
    l->id = NULL;
    l->n = l->cap = 0;
}

/* Room for one more. Capacity never passes max, so that the check is in the slow path only. */
int tok_ids_grow(struct tok_ids *l, struct err *e)
{
    size_t cap = l->cap ? l->cap * 2 : 64;
    int32_t *p;

    if (l->max && l->n >= l->max)
        return err_set(e, E_CONTEXT, "the text has more than %zu tokens", l->max);
    if (l->max && cap > l->max)
        cap = l->max;
    p = mem_resize(l->id, l->cap, cap, sizeof *p, e);
    if (!p)
        return E_NOMEM;
    l->id = p;
    l->cap = cap;
    return 0;
}

int tok_ids_add(struct tok_ids *l, int32_t id, struct err *e)
{
    int rc = l->n == l->cap ? tok_ids_grow(l, e) : 0;

    if (rc == 0)
        l->id[l->n++] = id;
    return rc;
}

void enc_fini(struct enc *x)
{
    pre_work_free(x->pre);
    mem_free(x->cache);
    mem_free(x->self);
    mem_free(x->sym);
    mem_free(x->heap);
    mem_free(x->best);
    buf_fini(&x->text);
    buf_fini(&x->composed);
    buf_fini(&x->kept);
}

/* -- normalizing ----------------------------------------------------------------------------- */

/* What the front of text becomes; returns the bytes it takes. */
static size_t normalize_char(const struct tok *t, struct slice text, struct slice *to)
{
    size_t n = t->n_charsmap ? charsmap_find(t->charsmap, t->n_charsmap, text, to) : 0;
    uint32_t cp;

    if (n)
        return n;
    n = (size_t)utf8_decode(text.p, text.n, &cp);
    *to = n ? (struct slice){text.p, n} : SLICE("\xef\xbf\xbd");
    return n ? n : 1;
}

/* SentencePiece's normalizer: its table, then spaces at the ends and runs of them go where the
 * description says so, then one is put in front. */
static void normalize_spaces(struct enc *x, struct slice text)
{
    const struct tok *t = x->t;
    bool after_space = t->remove_extra_spaces, any = false;

    while (text.n) {
        struct slice to;
        size_t n = normalize_char(t, text, &to);

        text = (struct slice){text.p + n, text.n - n};
        while (after_space && to.n && to.p[0] == ' ')
            to = (struct slice){to.p + 1, to.n - 1};
        if (to.n == 0)
            continue;
        if (!any && t->add_space_prefix && !x->after)
            buf_byte(&x->text, ' ');
        any = true;
        if (slice_is(to, MARK))
            buf_byte(&x->text, ' ');
        else
            buf_slice(&x->text, to);
        after_space = t->remove_extra_spaces && to.p[to.n - 1] == ' ';
    }
    while (t->remove_extra_spaces && x->text.n && x->text.p[x->text.n - 1] == ' ')
        x->text.n--;
}

static size_t find_mark(struct slice s)
{
    size_t at = 0;

    while (at + 2 < s.n) {
        const char *p = memchr(s.p + at, '\xe2', s.n - 2 - at);

        if (!p)
            break;
        at = (size_t)(p - s.p);
        if (memcmp(p, MARK, 3) == 0)
            return at;
        at++;
    }
    return s.n;
}

/* Spaces for marks, one in front, and nothing else. */
static void copy_marks(struct enc *x, struct slice text, bool prefix)
{
    if (prefix)
        buf_byte(&x->text, ' ');
    while (text.n && !(x->flags & TOK_EXACT)) {
        size_t n = find_mark(text);

        buf_add(&x->text, text.p, n);
        if (n < text.n) {
            buf_byte(&x->text, ' ');
            n += 3;
        }
        text = (struct slice){text.p + n, text.n - n};
    }
    buf_slice(&x->text, text);
}

/* NFC of text, into x->composed. Left as it is where it is no valid UTF-8. */
static int compose(struct enc *x, struct slice *text)
{
    size_t i = 0;
    int rc;

    while (i < text->n && (uint8_t)text->p[i] < 0x80)
        i++;
    if (i == text->n || !utf8_valid(text->p, text->n) || text->n > INT32_MAX / 8)
        return 0;
    buf_clear(&x->composed);
    rc = tok_normal_form(NORM_NFC, *text, &x->composed, x->e);
    *text = buf_view(&x->composed);
    return rc < 0 ? rc : x->composed.bad ? err_nomem(x->e, text->n) : 0;
}

/* -- segments -------------------------------------------------------------------------------- */

/* A segment for the models that see spaces as part of tokens. */
static int encode_spaced(struct enc *x, struct slice text)
{
    const struct tok *t = x->t;

    buf_clear(&x->text);
    if (t->model == TOK_UNIGRAM || t->n_charsmap || t->remove_extra_spaces)
        normalize_spaces(x, text);
    else
        copy_marks(x, text, t->add_space_prefix && t->model == TOK_SPM && !x->after);
    if (x->text.bad)
        return err_nomem(x->e, text.n);
    text = buf_view(&x->text);
    switch (t->model) {
    case TOK_SPM:
        return encode_spm(x, text);
    case TOK_UNIGRAM:
        return encode_unigram(x, text);
    default:
        return encode_bpe(x, text);
    }
}

static int encode_segment(struct enc *x, struct slice text)
{
    const struct tok *t = x->t;
    int rc;

    if (text.n == 0)
        return 0;
    x->unknown_end = SIZE_MAX;
    if (t->nfc && (rc = compose(x, &text)) < 0)
        return rc;
    switch (t->model) {
    case TOK_BPE:
        return t->by_char ? encode_spaced(x, text) : encode_bpe(x, text);
    case TOK_WPM:
        return encode_wpm(x, text);
    case TOK_RWKV:
        return encode_rwkv(x, text);
    default:
        return encode_spaced(x, text);
    }
}

/* How many bytes of white space text begins, or ends, with. */
static size_t blank_front(struct slice s)
{
    size_t n = 0;
    uint32_t cp;
    int len;

    while ((len = utf8_decode(s.p + n, s.n - n, &cp)) > 0 && uclass_of(cp) & UC_S)
        n += (size_t)len;
    return n;
}

static size_t blank_back(struct slice s)
{
    size_t n = s.n;
    uint32_t cp;

    while (n > 0) {
        size_t at = n - 1;

        while (at > 0 && n - at < 4 && ((uint8_t)s.p[at] & 0xc0) == 0x80)
            at--;
        if (utf8_decode(s.p + at, n - at, &cp) != (int)(n - at) || !(uclass_of(cp) & UC_S))
            break;
        n = at;
    }
    return s.n - n;
}

/* The longest special token at a place; its length, 0: none. Of those that need TOK_PARSE only what
 * ends before content begins; *k is the first span that does not end before the place. */
static size_t special_at(const struct enc *x, struct slice text, size_t at, size_t *k, uint32_t *id)
{
    const struct tok *t = x->t;
    struct slice rest = {text.p + at, text.n - at}, own = rest;
    size_t n = 0, m;
    uint32_t other;

    if (!(x->flags & TOK_PARSE))
        return trie_longest(&t->special[0], rest, id);
    while (*k < x->n_content && x->content[*k].at + x->content[*k].n <= at)
        ++*k;
    if (*k == x->n_content)
        return trie_longest(&t->special[1], rest, id);
    own.n = x->content[*k].at > at ? x->content[*k].at - at : 0;
    own.n = own.n < rest.n ? own.n : rest.n;
    if (own.n)
        n = trie_longest(&t->special[1], own, id);
    m = t->has_special[0] ? trie_longest(&t->special[0], rest, &other) : 0;
    if (m > n)
        *id = other;
    return m > n ? m : n;
}

/* Cuts special tokens out: the leftmost, of those the longest. */
static int encode_text(struct enc *x, struct slice text)
{
    const struct tok *t = x->t;
    int set = x->flags & TOK_PARSE ? 1 : 0, rc;
    const struct trie *special = t->has_special[set] ? &t->special[set] : NULL;
    size_t from = 0, k = 0;

    for (size_t at = 0; special && at < text.n;) {
        struct slice left = {text.p + from, at - from};
        uint32_t id;
        size_t n;

        if (!special->first[(uint8_t)text.p[at]] || (n = special_at(x, text, at, &k, &id)) == 0) {
            at++;
            continue;
        }
        if (t->flag[id] & FLAG_LSTRIP)
            left.n -= blank_back(left);
        if ((rc = encode_segment(x, left)) < 0 || (rc = put(x, id)) < 0)
            return rc;
        x->after = false;
        at += n;
        if (t->flag[id] & FLAG_RSTRIP)
            at += blank_front((struct slice){text.p + at, text.n - at});
        from = at;
    }
    return encode_segment(x, (struct slice){text.p + from, text.n - from});
}

/* What remembers pieces of this text, where it is long enough. */
static int memory_new(struct enc *x, size_t n)
{
    uint32_t size = 256;

    if (n < SELF_MIN || (x->t->model != TOK_SPM && x->t->model != TOK_BPE))
        return 0;
    x->self = mem_new(x->t->n / 4 + 1, x->e);
    if (!x->self)
        return E_NOMEM;
    if (n < CACHE_MIN)
        return 0;
    while (size < CACHE_MAX && size * 16 < n)
        size *= 2;
    x->cache_mask = size - 1;
    x->cache = mem_array(size, sizeof *x->cache, x->e);
    return x->cache ? 0 : E_NOMEM;
}

int tok_encode(const struct tok *t, struct slice text, unsigned flags, struct tok_ids *out,
               struct err *e)
{
    return tok_encode_parts(t, text, NULL, 0, flags, out, e);
}

int tok_encode_parts(const struct tok *t, struct slice text, const struct byte_span *content,
                     size_t n_content, unsigned flags, struct tok_ids *out, struct err *e)
{
    struct enc x = {.t = t,
                    .out = out,
                    .e = e,
                    .flags = flags,
                    .after = flags & TOK_AFTER,
                    .content = content,
                    .n_content = n_content};
    bool add = flags & TOK_ADD;
    size_t before = out->n;
    int rc = 0;

    if (t->model == TOK_NONE && text.n)
        return err_set(e, E_UNSUPPORTED, "the model has no vocabulary");
    if (text.n > UINT32_MAX - 16)
        return err_set(e, E_RANGE, "a text of %zu bytes", text.n);
    for (uint32_t i = 0; add && i < t->n_front && rc == 0; i++)
        rc = put(&x, (uint32_t)t->ends[i]);
    if (rc == 0 && add && t->add_bos && !t->pipe)
        rc = put(&x, (uint32_t)t->role[t->model == TOK_WPM ? TOK_CLS : TOK_BOS]);
    if (rc == 0)
        rc = memory_new(&x, text.n);
    if (rc == 0)
        rc = t->pipe ? pipe_encode(&x, t->pipe, text) : encode_text(&x, text);
    for (uint32_t i = 0; add && i < t->n_back && rc == 0; i++)
        rc = put(&x, (uint32_t)t->ends[t->n_front + i]);
    add = add && !t->pipe;
    if (rc == 0 && add && t->add_sep)
        rc = put(&x, (uint32_t)t->role[TOK_SEP]);
    if (rc == 0 && add && t->add_eos && !(t->add_sep && t->role[TOK_SEP] == t->role[TOK_EOS]))
        rc = put(&x, (uint32_t)t->role[TOK_EOS]);
    if (rc < 0)
        out->n = before;
    enc_fini(&x);
    return rc;
}

/* -- pairs ----------------------------------------------------------------------------------- */

/* Types of the tokens that lack them. */
static int fill_types(struct buf *types, size_t n, uint8_t type, struct err *e)
{
    while (types->n < n && !types->bad)
        buf_byte(types, (char)type);
    return types->bad ? err_nomem(e, n) : 0;
}

/* The form that the description has. */
static int pair_parts(const struct tok *t, const struct slice text[2], unsigned flags,
                      struct tok_ids *out, struct buf *types, size_t base, struct err *e)
{
    int rc = 0;

    for (uint32_t i = 0; i < t->n_both && rc == 0; i++) {
        const struct tok_part *p = &t->both[i];

        if (p->id < 0)
            rc = tok_encode(t, text[p->id == TOK_SECOND], flags & ~(unsigned)TOK_ADD, out, e);
        else if (flags & TOK_ADD)
            rc = tok_ids_add(out, p->id, e);
        if (rc == 0)
            rc = fill_types(types, base + out->n, p->type, e);
    }
    return rc;
}

/* Without one: what goes in front of a text goes in front of the first only. */
static int pair_usual(const struct tok *t, const struct slice text[2], unsigned flags,
                      struct tok_ids *out, struct buf *types, size_t base, struct err *e)
{
    const size_t front = !(flags & TOK_ADD) ? 0 : t->pipe ? t->n_front : t->add_bos;
    size_t at;
    int rc = tok_encode(t, text[0], flags, out, e);

    if (rc == 0 && flags & TOK_ADD && t->sep_between)
        rc = tok_ids_add(out, t->role[TOK_SEP], e);
    if (rc == 0)
        rc = fill_types(types, base + out->n, 0, e);
    at = out->n;
    if (rc == 0)
        rc = tok_encode(t, text[1], flags, out, e);
    if (rc < 0)
        return rc;
    if (front) {
        memmove(out->id + at, out->id + at + front, (out->n - at - front) * sizeof *out->id);
        out->n -= front;
    }
    return fill_types(types, base + out->n, 1, e);
}

int tok_encode_pair(const struct tok *t, struct slice first, struct slice second, unsigned flags,
                    struct tok_ids *out, struct buf *types, struct err *e)
{
    const struct slice text[2] = {first, second};
    const size_t n = out->n, n_types = types->n;
    int rc = (t->n_both ? pair_parts : pair_usual)(t, text, flags, out, types, n_types - n, e);

    if (rc < 0) {
        out->n = n;
        types->n = n_types;
    }
    return rc;
}
