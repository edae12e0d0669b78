/* derive_think.c - see derive.h: the marks around reasoning. */
#include "derive_in.h"

#include "base/mem.h"

/* Without white space; what is put into an output when the time for thoughts is over is the
 * table's sentence (reasoning.c). */
struct found {
    struct slice open, close, answer_open, answer_close;
    struct slice behind; // close and all up to the answer
};

/* Text around the reasoning of a turn that has some. */
static bool from_turn(struct dv *v, struct found *f)
{
    const struct dv_talk thought = {
        .text = DV_TEXT, .reason = DV_REASON, .then = DV_LAST, .think = 1};
    const struct dv_talk plain[] = {{.alone = true, .prompt = true, .think = 1},
                                    {.text = DV_TEXT, .then = DV_USERS, .think = 1},
                                    {.text = DV_TEXT, .then = DV_LAST, .think = 1},
                                    {.alone = true, .prompt = true, .think = 0}};
    struct slice t = dv_render(v, &thought), tail = {"", 0}, end;
    size_t reason = t.p ? dv_find(t, 0, DV_REASON) : DV_NOWHERE, n;
    size_t text = t.p ? dv_find(t, 0, DV_TEXT) : DV_NOWHERE;

    if (reason == DV_NOWHERE || text == DV_NOWHERE || reason > text)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        struct slice p = dv_render(v, &plain[i]), open;
        size_t at = p.p ? dv_find(p, 0, DV_TEXT) : DV_NOWHERE;

        if (!p.p || (!plain[i].alone && at == DV_NOWHERE))
            continue;
        if (!plain[i].alone && plain[i].then == DV_LAST)
            tail = dv_part(p, at + strlen(DV_TEXT), p.n);
        p.n = plain[i].alone ? p.n : at;
        n = dv_common_head(p, dv_part(t, 0, reason)); // both begin the assistant's turn
        open = dv_strip(dv_part(t, n, reason));
        if (open.n && (f->open.n == 0 || open.n < f->open.n))
            f->open = open;
    }
    f->behind = dv_part(t, reason + strlen(DV_REASON), text);
    f->close = dv_strip(f->behind);
    n = dv_tag(f->close);
    f->answer_open = n ? dv_strip(dv_part(f->close, n, f->close.n)) : f->answer_open;
    if (n)
        f->close.n = n;
    end = dv_part(t, text + strlen(DV_TEXT), t.n);
    n = dv_common_tail(end, tail);
    f->answer_close = dv_strip(dv_part(end, 0, end.n - n));
    return f->open.n && f->close.n && (f->answer_open.n > 0) == (f->answer_close.n > 0);
}

/* What the prompt has where thinking is turned off, and has not where it is on: a closed block. */
static bool from_prompt(struct dv *v, struct found *f)
{
    const struct dv_talk on = {.alone = true, .prompt = true, .think = 1};
    const struct dv_talk off = {.alone = true, .prompt = true, .think = 0};
    struct slice a = dv_render(v, &on), b = dv_render(v, &off), rest;
    size_t n;

    if (!a.p || !b.p || !slice_starts(b, a) || b.n == a.n)
        return false;
    rest = dv_strip(dv_part(b, a.n, b.n));
    n = dv_tag(rest);
    if (n == 0)
        return false;
    f->open = dv_part(rest, 0, n);
    f->close = dv_strip(dv_part(rest, n, rest.n));
    if (f->close.n == 0) { // the prompt opens the block in either case
        f->close = f->open;
        a = dv_strip(a);
        while (a.n && a.p[0] != '<' && a.p[0] != '[')
            a = dv_part(a, 1, a.n);
        while ((n = dv_tag(a)) && n < a.n) // to the last tag
            for (a = dv_part(a, 1, a.n); a.n && a.p[0] != '<' && a.p[0] != '[';)
                a = dv_part(a, 1, a.n);
        f->open = dv_part(a, 0, n);
    }
    f->behind = f->close;
    return f->open.n && dv_tag(f->close) == f->close.n;
}

int derive_reasoning(struct derived *d, const struct chat *c, struct err *e)
{
    struct dv v = {.c = c, .d = d, .e = e};
    struct found f = {.open = {"", 0}, .answer_open = {"", 0}, .answer_close = {"", 0}};
    struct reasoning *r = &d->reasoning;
    struct buf spent = {0};
    bool found = !jinja_spells(c->t, DV_SIGN) &&
                 (from_turn(&v, &f) ||
                  (f = (struct found){.answer_open = {"", 0}, .answer_close = {"", 0}}, false) ||
                  from_prompt(&v, &f));

    if (found && v.rc == 0 && f.open.n < 100 && f.behind.n < 200 && f.answer_close.n < 100 &&
        !slice_eq(f.open, f.close)) {
        buf_str(&spent, REASONING_ENOUGH);
        buf_slice(&spent, f.behind);
        if (spent.bad)
            v.rc = err_nomem(e, spent.n);
        *r = (struct reasoning){.name = "derived",
                                .open = dv_keep(&v, f.open),
                                .close = dv_keep(&v, f.close),
                                .answer_open = dv_keep(&v, f.answer_open),
                                .answer_close = dv_keep(&v, f.answer_close),
                                .spent = dv_keep(&v, buf_view(&spent)),
                                .trim = true};
        d->thinks = v.rc == 0 && r->open && r->close && r->spent;
        buf_fini(&spent);
    }
    dv_fini(&v);
    return v.rc;
}
