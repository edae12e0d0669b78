/* decode.c - from ids to bytes: all at once, or as a stream of whole characters. */
#include "tok_in.h"

/* Whether encoding puts a space in front of text. */
static bool has_prefix(const struct tok *t)
{
    if (t->shown)
        return t->shown_front;
    return t->model == TOK_WPM || t->model == TOK_WORD ||
           ((t->model == TOK_SPM || t->model == TOK_UNIGRAM || t->by_char) && t->add_space_prefix);
}

/* The bytes of one token of a stream. *inside: the last one was text; *last: that token. */
static struct slice next_piece(const struct tok *t, int32_t id, unsigned flags, bool *inside,
                               int32_t *last)
{
    struct slice s = tok_piece(t, id);
    enum tok_kind kind = tok_kind_of(t, id);

    if (unlikely(t->shown_once)) {
        if (id == *last)
            return (struct slice){"", 0};
        *last = id;
    }
    if (kind == TOK_USER && t->shown)
        kind = TOK_NORMAL;
    if (kind == TOK_CONTROL || kind == TOK_UNKNOWN || kind == TOK_USER) {
        /* encoding puts a space behind it again, except in WordPiece */
        if (t->model != TOK_WPM && t->model != TOK_WORD)
            *inside = false;
        else if (flags & TOK_SHOW || kind == TOK_USER)
            *inside = true;
        return flags & TOK_SHOW || kind == TOK_USER ? s : (struct slice){"", 0};
    }
    if (!*inside && s.n && s.p[0] == ' ' && has_prefix(t))
        s = (struct slice){s.p + 1, s.n - 1};
    *inside = true;
    return s;
}

void tok_decode(const struct tok *t, const int32_t *id, size_t n, unsigned flags, struct buf *out)
{
    bool inside = flags & TOK_INSIDE;
    int32_t last = -1;

    for (size_t i = 0; i < n; i++)
        buf_slice(out, next_piece(t, id[i], flags, &inside, &last));
}

void detok_init(struct detok *d, const struct tok *t, unsigned flags)
{
    *d = (struct detok){.tok = t, .flags = flags, .inside = flags & DETOK_INSIDE, .last = -1};
}

/* Adds p[0, n), which ends with a whole character or is to end anyhow. */
static void add_whole(const struct detok *d, const char *p, size_t n, struct buf *out)
{
    if (d->flags & DETOK_RAW) {
        buf_add(out, p, n);
        return;
    }
    for (size_t at = 0; at < n;) {
        uint32_t cp;
        int len = utf8_decode(p + at, n - at, &cp);

        if (len) {
            buf_add(out, p + at, (size_t)len);
            at += (size_t)len;
            continue;
        }
        /* one U+FFFD for what began like a character, as browsers do */
        buf_str(out, "\xef\xbf\xbd");
        for (len = 3; len > 1 && !(at + (size_t)len <= n && utf8_whole(p + at, (size_t)len) == 0);)
            len--;
        at += (size_t)len;
    }
}

void detok_add(struct detok *d, int32_t id, struct buf *out)
{
    struct slice s = next_piece(d->tok, id, d->flags, &d->inside, &d->last);
    char joined[8];
    size_t whole;

    /* a held character is finished byte by byte: one byte may show that it never will be */
    while (d->n_held && s.n) {
        memcpy(joined, d->held, d->n_held);
        joined[d->n_held] = s.p[0];
        whole = utf8_whole(joined, d->n_held + 1u);
        s = (struct slice){s.p + 1, s.n - 1};
        if (whole == 0) {
            d->held[d->n_held] = joined[d->n_held];
            d->n_held++;
            continue;
        }
        add_whole(d, joined, whole, out);
        memcpy(d->held, joined + whole, d->n_held + 1u - whole);
        d->n_held = (uint8_t)(d->n_held + 1u - whole);
    }
    if (s.n == 0)
        return;
    whole = utf8_whole(s.p, s.n);
    add_whole(d, s.p, whole, out);
    memcpy(d->held, s.p + whole, s.n - whole);
    d->n_held = (uint8_t)(s.n - whole);
}

void detok_end(struct detok *d, struct buf *out)
{
    add_whole(d, d->held, d->n_held, out);
    d->n_held = 0;
    d->inside = d->flags & DETOK_INSIDE;
    d->last = -1;
}
