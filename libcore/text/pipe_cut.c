/* pipe_cut.c - pre-tokenizers of a tokenizer.json: each step cuts the pieces of the one before. */
#define _GNU_SOURCE
#include <utf8proc.h>

#include "base/mem.h"
#include "text/pipe.h"
#include "text/tok_in.h"
#include "text/uclass.h"
#include "text/ulib.h"
#include "text/uscript.h"

/* What a step makes of one piece: spans one after the other, some of them matches. */
struct span {
    size_t from, to;
    bool match;
};

struct spans {
    struct span *s;
    size_t n, cap;
};

struct cut {
    const struct cutter *c;
    const struct cut_step *step;
    int k; // its number
    struct spans out;
};

static int cut_from(const struct cutter *c, int k, struct slice text, bool first);

static int add(struct cut *t, size_t from, size_t to, bool match)
{
    struct spans *o = &t->out;

    if (from == to)
        return 0;
    if (o->n == o->cap) {
        size_t cap = o->cap ? o->cap * 2 : 32;
        struct span *s = mem_resize(o->s, o->cap, cap, sizeof *s, t->c->e);

        if (!s)
            return E_NOMEM;
        o->s = s;
        o->cap = cap;
    }
    o->s[o->n++] = (struct span){from, to, match};
    return 0;
}

/* -- finding matches -- */

/* Classes of characters: those of one in a row are a span, unless each is alone. */
enum { MATCH = 1, OTHER = 2, ALONE = 4 };

static int by_char(struct cut *t, struct slice text, unsigned (*class_of)(uint32_t cp))
{
    size_t from = 0, at = 0;
    unsigned last = 0;
    int rc = 0;

    while (at < text.n && rc == 0) {
        uint32_t cp;
        size_t n = (size_t)utf8_next((const uint8_t *)text.p + at, &cp);
        unsigned now = class_of(cp);

        if (at > 0 && (now != last || now & ALONE)) {
            rc = add(t, from, at, last & MATCH);
            from = at;
        }
        last = now;
        at += n;
    }
    return rc < 0 ? rc : add(t, from, text.n, last & MATCH);
}

static unsigned class_space(uint32_t cp)
{
    return uclass_of(cp) & UC_S ? MATCH : 0;
}

static unsigned class_bert(uint32_t cp)
{
    return uclass_of(cp) & UC_S ? MATCH : ulib_punct(cp) ? OTHER | ALONE : 0;
}

static unsigned class_punct(uint32_t cp)
{
    return ulib_punct(cp) ? MATCH | ALONE : 0;
}

static unsigned class_number(uint32_t cp)
{
    return ulib_number(cp) ? MATCH : 0;
}

static unsigned class_digit(uint32_t cp)
{
    return ulib_number(cp) ? MATCH | ALONE : 0;
}

/* \w of the library's own engine: letters, marks, digits, numbers that are letters, connectors,
 * circled letters and joiners. */
static bool is_word_char(uint32_t cp)
{
    bool latin = cp == 0xb2 || cp == 0xb3 || cp == 0xb9 || (cp >= 0xbc && cp <= 0xbe);

    return !latin && (cp == 0x200c || cp == 0x200d || uclass_word(cp));
}

bool pipe_is_word(uint32_t cp)
{
    return is_word_char(cp);
}

static unsigned class_word(uint32_t cp)
{
    return is_word_char(cp) ? 0 : uclass_of(cp) & UC_S ? MATCH : OTHER;
}

static int by_regex(struct cut *t, struct slice text)
{
    size_t at = 0, done = 0, from, to;
    int rc = 0;

    while (at < text.n) {
        rc = pre_re_find(t->step->re, t->c->m, text, at, &from, &to, t->c->e);
        if (rc <= 0)
            break;
        if ((rc = add(t, done, from, false)) < 0 || (rc = add(t, from, to, true)) < 0)
            return rc;
        at = done = to;
        if (from == to) {
            uint32_t cp;

            at += at < text.n ? (size_t)utf8_next((const uint8_t *)text.p + at, &cp) : 1;
        }
    }
    return rc < 0 ? rc : add(t, done, text.n, false);
}

static int by_text(struct cut *t, struct slice text)
{
    const struct buf *want = &t->step->text;
    size_t done = 0;
    const char *p;
    int rc;

    while (want->n == 0 && done < text.n) { /* nothing is between all characters */
        const size_t n = char_len(text.p + done, text.n - done);

        if ((rc = add(t, done, done + n, false)) < 0)
            return rc;
        done += n;
    }
    while (want->n && (p = memmem(text.p + done, text.n - done, want->p, want->n))) {
        size_t from = (size_t)(p - text.p);

        if ((rc = add(t, done, from, false)) < 0 || (rc = add(t, from, from + want->n, true)) < 0)
            return rc;
        done = from + want->n;
    }
    return add(t, done, text.n, false);
}

static int by_length(struct cut *t, struct slice text)
{
    size_t from = 0, at = 0;
    uint32_t n = 0, cp;
    int rc = 0;

    while (at < text.n && rc == 0) {
        at += (size_t)utf8_next((const uint8_t *)text.p + at, &cp);
        if (++n == t->step->length) {
            rc = add(t, from, at, true);
            from = at;
            n = 0;
        }
    }
    return rc < 0 ? rc : add(t, from, text.n, true);
}

/* Before each character of another script; those of none go with what is before them. What is in
 * front of the first goes, as in the library. */
static int by_script(struct cut *t, struct slice text)
{
    size_t from = 0, at = 0, n;
    uint32_t cp, last = USCRIPT_ANY, now;
    int rc = 0;

    for (; at < text.n && rc == 0; at += n) {
        n = (size_t)utf8_next((const uint8_t *)text.p + at, &cp);
        now = uscript_of(cp);
        if (now == USCRIPT_ANY || now == last)
            continue;
        rc = add(t, from, at, last == USCRIPT_ANY);
        from = at;
        last = now;
    }
    return rc < 0 ? rc : add(t, from, text.n, last == USCRIPT_ANY);
}

/* -- what becomes of them -- */

/* Joins spans in place as the step says; removed ones are left out. */
static void join(struct spans *o, enum cut_way way)
{
    bool last = false;
    size_t n = 0;

    if (way == CUT_WITH_NEXT) {
        size_t to = o->n;

        for (size_t i = o->n; i-- > 0;) {
            struct span s = o->s[i];

            if (s.match && !last && to < o->n)
                o->s[to].from = s.from;
            else
                o->s[--to] = s;
            last = s.match;
        }
        memmove(o->s, o->s + to, (o->n - to) * sizeof *o->s);
        o->n -= to;
        return;
    }
    for (size_t i = 0; i < o->n; i++) {
        struct span s = o->s[i];
        bool with = n > 0 && ((way == CUT_CONTIGUOUS && s.match == last) ||
                              (way == CUT_WITH_PREVIOUS && s.match && !last));

        last = s.match;
        if (way == CUT_REMOVED && s.match)
            continue;
        if (with)
            o->s[n - 1].to = s.to;
        else
            o->s[n++] = s;
    }
    o->n = n;
}

static int hand_on(struct cut *t, struct slice text, bool first)
{
    int rc = 0;

    for (size_t i = 0; i < t->out.n && rc == 0; i++) {
        const struct span *s = &t->out.s[i];

        rc = cut_from(t->c, t->k + 1, (struct slice){text.p + s->from, s->to - s->from},
                      first && s->from == 0);
    }
    return rc;
}

/* -- steps that change the text -- */

/* Metaspace: spaces become marks, one comes in front, and each begins a piece. */
static int cut_marks(struct cut *t, struct slice text, bool first)
{
    const struct cut_step *s = t->step;
    struct slice mark = buf_view(&s->text);
    struct buf b = {0};
    int rc = 0;

    if (s->prefix && (first || !s->first_only) && !slice_starts(text, mark) &&
        !(text.n && text.p[0] == ' '))
        buf_slice(&b, mark);
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] == ' ')
            buf_slice(&b, mark);
        else
            buf_byte(&b, text.p[i]);
    if (b.bad)
        rc = err_nomem(t->c->e, text.n);
    if (rc == 0 && !s->split)
        rc = add(t, 0, b.n, false);
    else if (rc == 0 && (rc = by_text(t, buf_view(&b))) == 0)
        join(&t->out, CUT_WITH_NEXT);
    if (rc == 0)
        rc = hand_on(t, buf_view(&b), first);
    buf_fini(&b);
    return rc;
}

/* ByteLevel: later steps see letters for bytes. */
static int cut_bytes(struct cut *t, struct slice text, bool first)
{
    struct buf b = {0}, letters = {0};
    int rc = 0;

    if (t->step->prefix && text.n && text.p[0] != ' ') {
        buf_byte(&b, ' ');
        buf_slice(&b, text);
        text = buf_view(&b);
        if (b.bad)
            rc = err_nomem(t->c->e, text.n);
    }
    if (rc == 0)
        rc = t->step->split ? by_regex(t, text) : add(t, 0, text.n, false);
    for (size_t i = 0; i < t->out.n && rc == 0; i++) {
        struct span *s = &t->out.s[i];
        size_t from = letters.n;

        tok_to_alphabet((struct slice){text.p + s->from, s->to - s->from}, &letters);
        *s = (struct span){from, letters.n, s->match};
    }
    if (rc == 0 && letters.bad)
        rc = err_nomem(t->c->e, text.n);
    if (rc == 0)
        rc = hand_on(t, buf_view(&letters), first);
    buf_fini(&b);
    buf_fini(&letters);
    return rc;
}

/* -- steps -- */

static int cut_step(struct cut *t, struct slice text, bool first)
{
    const struct cut_step *s = t->step;
    enum cut_way way = s->way;
    int rc;

    switch (s->kind) {
    case CUT_MARKS:
        return cut_marks(t, text, first);
    case CUT_BYTES:
        return cut_bytes(t, text, first);
    case CUT_MATCH:
        rc = s->re ? by_regex(t, text) : by_text(t, text);
        break;
    case CUT_SPACE:
        rc = by_char(t, text, class_space);
        way = CUT_REMOVED;
        break;
    case CUT_WORDS:
        rc = by_char(t, text, class_word);
        way = CUT_REMOVED;
        break;
    case CUT_BERT:
        rc = by_char(t, text, class_bert);
        way = CUT_REMOVED;
        break;
    case CUT_PUNCT:
        rc = by_char(t, text, class_punct);
        break;
    case CUT_NUMBERS:
        rc = by_char(t, text, s->single ? class_digit : class_number);
        way = CUT_ISOLATED;
        break;
    case CUT_SCRIPTS:
        rc = by_script(t, text);
        way = CUT_REMOVED;
        break;
    default:
        rc = by_length(t, text);
        way = CUT_ISOLATED;
        break;
    }
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < t->out.n && s->invert; i++)
        t->out.s[i].match = !t->out.s[i].match;
    join(&t->out, way);
    return hand_on(t, text, first);
}

static int cut_from(const struct cutter *c, int k, struct slice text, bool first)
{
    struct cut t = {.c = c, .k = k, .step = &c->p->cut[k]};
    int rc;

    if (text.n == 0)
        return 0;
    if (k == c->p->n_cut)
        return c->piece(c->arg, text);
    rc = cut_step(&t, text, first);
    mem_free(t.out.s);
    return rc;
}

int pipe_cut(const struct cutter *c, struct slice text)
{
    return cut_from(c, 0, text, c->first);
}
