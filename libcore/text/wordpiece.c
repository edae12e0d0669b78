/* wordpiece.c - BERT: normalize, cut into words and punctuation, and take the longest token each
 * time from the front of a word. A word that cannot be written so is the unknown token.
 *
 * A piece that begins a word has a space in front here, one that goes on has none.
 */
#include "tok_in.h"

#include <utf8proc.h>

#include "text/uclass.h"
#include "text/ulib.h"

static int put_unknown(struct enc *x)
{
    return x->t->role[TOK_UNK] >= 0 ? put(x, (uint32_t)x->t->role[TOK_UNK]) : 0;
}

/* The word in x->text, behind its space. Leaves the space. */
static int end_word(struct enc *x)
{
    const struct tok *t = x->t;
    const char *p = x->text.p;
    const char *inside = t->inside_text;
    size_t most = t->max_word, n = x->text.n, n_ids = x->out->n, chars = 0, at = t->no_inside;
    int rc = 0;

    if (x->text.bad)
        return err_nomem(x->e, n);
    if (n == 1)
        return 0;
    for (size_t i = 1; i < n && chars <= most; i++)
        chars += ((uint8_t)p[i] & 0xc0) != 0x80;
    while (at < n && chars <= most) {
        size_t end = n - at < t->max_piece ? n : at + t->max_piece;
        uint32_t id = NO_ID;

        for (; end > at + (at == 0) && id == NO_ID; end--) {
            if (end < n && ((uint8_t)p[end] & 0xc0) == 0x80)
                continue;
            id = piece_get(&t->merged, p + at, end - at);
            /* the library finds a word spelt as what goes on is spelt */
            if (id == NO_ID && t->pipe && at == 0 && t->n_inside && end > t->n_inside + 1 &&
                memcmp(p + 1, inside, t->n_inside) == 0)
                id = piece_get(&t->merged, p + 1 + t->n_inside, end - 1 - t->n_inside);
        }
        if (id == NO_ID)
            break;
        at = end + 1;
        if ((rc = put(x, id)) < 0)
            return rc;
    }
    if (at < n) {
        x->out->n = n_ids;
        rc = put_unknown(x);
    }
    x->text.n = 1;
    return rc;
}

/* The ranges the original takes for ideographs (2b920: its own slip for 2b820). */
static bool is_ideograph(uint32_t cp)
{
    static const uint32_t range[][2] = {
        {0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xf900, 0xfaff},   {0x20000, 0x2a6df},
        {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, {0x2f800, 0x2fa1f},
    };

    for (size_t i = 0; i < ARRAY_LEN(range) && cp >= range[i][0]; i++)
        if (cp <= range[i][1])
            return true;
    return false;
}

/* A normalized character joins the word, or is a word of its own. */
static int add_char(struct enc *x, uint32_t cp)
{
    bool punctuation = ulib_punct(cp);
    char s[4];
    int rc = 0;

    if (punctuation && (rc = end_word(x)) < 0)
        return rc;
    buf_add(&x->text, s, (size_t)utf8_encode(cp, s));
    return punctuation ? end_word(x) : 0;
}

/* One character of the text, as the original's steps have it: control characters go, ideographs
 * stand alone, accents go, then lower case. */
static int add_text(struct enc *x, uint32_t cp)
{
    const struct tok *t = x->t;
    uint32_t c = uclass_of(cp);
    utf8proc_int32_t part[32];
    utf8proc_ssize_t n = 1;
    bool alone = cp >= 0x3400 && is_ideograph(cp);
    int bound = 0, rc = 0;

    if (ulib_bert_control(cp))
        return 0;
    if (c & UC_S || alone)
        rc = end_word(x);
    if (c & UC_S || rc < 0)
        return rc;
    part[0] = (utf8proc_int32_t)cp;
    if (t->strip_accents && cp >= 128 && !ulib_later(cp))
        n = utf8proc_decompose_char((utf8proc_int32_t)cp, part, ARRAY_LEN(part), UTF8PROC_DECOMPOSE,
                                    &bound);
    for (utf8proc_ssize_t i = 0; i < n && rc == 0; i++) {
        uint32_t d = (uint32_t)part[i];

        if (t->strip_accents && ulib_bert_accent(d))
            continue;
        if (t->lowercase)
            d = ulib_lower(d);
        rc = add_char(x, d);
        if (rc == 0 && part[i] == 0x130 && t->lowercase)
            rc = add_char(x, 0x307); /* the only lower case of two characters */
    }
    return alone && rc == 0 ? end_word(x) : rc;
}

int encode_word(struct enc *x, struct slice s)
{
    buf_clear(&x->text);
    buf_byte(&x->text, ' ');
    buf_slice(&x->text, s);
    return end_word(x);
}

int encode_whole(struct enc *x, struct slice s)
{
    uint32_t id;

    buf_clear(&x->text);
    buf_byte(&x->text, ' ');
    buf_slice(&x->text, s);
    if (x->text.bad)
        return err_nomem(x->e, s.n);
    id = piece_get(&x->t->merged, x->text.p, x->text.n);
    return id < x->t->n ? put(x, id) : put_unknown(x);
}

int encode_wpm(struct enc *x, struct slice text)
{
    int rc = 0, len;

    buf_clear(&x->text);
    buf_byte(&x->text, ' ');
    for (size_t at = 0; at < text.n && rc == 0; at += (size_t)len) {
        uint32_t cp = 0xfffd;

        len = utf8_decode(text.p + at, text.n - at, &cp);
        len += len == 0;
        rc = add_text(x, cp);
    }
    return rc < 0 ? rc : end_word(x);
}
