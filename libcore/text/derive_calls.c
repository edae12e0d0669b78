/* derive_calls.c - see derive.h: from renderings of calls to how they are written. */
#include "derive_in.h"

#include "base/mem.h"

/* -- the calls of a rendering ---------------------------------------------------------------- */

/* What renderings are taken apart into. */
struct parts {
    struct slice one, two, three; // turns with a call, with two, with one of three arguments
    struct slice begin, open, mid, close, between, end;
    struct slice param_open, param_mid, param_mid_json, param_close, mark;
    enum toolcall_args args;
    struct buf second; // the text before the second call, its number made the first one's
    bool counts;       // open has the call's number
};

/* Where a call's name ends and its arguments lie. */
struct call_at {
    size_t name, name_end, args, args_end;
};

/* A JSON object that is `want`, the first behind `from`: its bytes. */
static bool json_at(struct slice t, size_t from, const json_t *want, struct call_at *c)
{
    for (int k = 0; k < 4 && (from = dv_find(t, from, "{")) != DV_NOWHERE; k++, from++) {
        json_error_t je;
        json_t *j = json_loadb(t.p + from, t.n - from, JSON_DISABLE_EOF_CHECK, &je);
        bool is = json_equal(j, want);

        json_decref(j);
        if (!is)
            continue;
        c->args = from;
        c->args_end = from + (size_t)je.position;
        return true;
    }
    return false;
}

/* The k-th call of a turn, behind byte `from`, with arguments of the kind `kind`. */
static bool call_at(const struct parts *p, struct slice t, size_t from, int k, enum dv_args kind,
                    struct call_at *c)
{
    json_t *want;
    size_t at, n;
    bool found;

    if (!t.p || (c->name = dv_find(t, from, dv_name[k])) == DV_NOWHERE)
        return false;
    c->name_end = c->name + strlen(dv_name[k]);
    if (p->args == TOOLCALL_JSON) {
        want = dv_arguments(kind, k);
        found = json_at(t, c->name_end, want, c);
        json_decref(want);
        return found;
    }
    c->args = c->name_end + p->mid.n;
    if ((at = dv_find(t, c->name_end, dv_value[kind == DV_ONE ? k : 1])) == DV_NOWHERE)
        return false;
    at += strlen(dv_value[0]);
    n = p->param_close.n;
    c->args_end = at + n;
    return c->args_end <= t.n && (n == 0 || memcmp(t.p + at, p->param_close.p, n) == 0);
}

/* -- how arguments are written --------------------------------------------------------------- */

/* Parameters: what stands before a key, between it and its value, behind a value. White space
 * before a key belongs to what is behind the one before, where the last one has it too. */
static bool find_params(struct dv *v, struct parts *p, struct slice t, size_t name_end)
{
    size_t k1 = dv_find(t, name_end, dv_key[0]), v1 = dv_find(t, name_end, dv_value[0]);
    size_t kn = dv_find(t, name_end, DV_NUMBER_KEY), vn = dv_find(t, name_end, DV_NUMBER_IS);
    size_t k2 = dv_find(t, name_end, dv_key[1]), v2 = dv_find(t, name_end, dv_value[1]);
    const size_t key = strlen(DV_NUMBER_KEY), value = strlen(dv_value[0]);
    const size_t num = strlen(DV_NUMBER_IS);
    struct slice a, b, bn, rest, mid2;
    size_t n;

    if (k2 == DV_NOWHERE || v2 == DV_NOWHERE || vn == DV_NOWHERE || k1 > v1 || v1 > kn || kn > vn ||
        vn > k2 || k2 > v2)
        return dv_no(v, "arguments are in no order that is known");
    a = dv_part(t, name_end, k1);
    b = dv_part(t, v1 + value, kn);
    bn = dv_part(t, vn + num, k2);
    p->param_mid = dv_part(t, k1 + key, v1);
    p->param_mid_json = dv_part(t, kn + key, vn);
    mid2 = dv_part(t, k2 + key, v2);
    rest = dv_part(t, v2 + value, t.n);
    if (!slice_eq(p->param_mid, mid2))
        return dv_no(v, "two arguments are written differently");
    if (slice_is(p->param_mid_json, "=") && slice_is(a, "(") && slice_is(bn, ", ") &&
        (slice_is(mid2, "='") || slice_is(mid2, "=\""))) {
        p->args = TOOLCALL_PYTHON;
        p->mid = a;
        p->param_close = dv_part(mid2, 1, 2); // the quote
        return true;
    }
    if (slice_is(p->param_mid_json, ":") && a.n && a.p[a.n - 1] == '{' && slice_is(bn, ",") &&
        mid2.n > 2 && mid2.p[0] == ':') {
        p->args = TOOLCALL_GEMMA;
        p->mid = dv_part(a, 0, a.n - 1);
        p->mark = dv_part(mid2, 1, mid2.n);
        if (rest.n <= p->mark.n || !slice_starts(rest, p->mark) || rest.p[p->mark.n] != '}')
            return dv_no(v, "the arguments do not end with a brace");
        p->param_close = dv_part(rest, 0, p->mark.n + 1);
        return true;
    }
    if (!slice_eq(b, bn))
        return dv_no(v, "strings and numbers are written differently");
    p->args = TOOLCALL_PARAMS;
    p->param_open = dv_part(a, a.n - dv_common_tail(a, b), a.n);
    for (n = 0; n < p->param_open.n && tc_is_space(p->param_open.p[n]);)
        n++;
    for (;; n--) { // white space moves, a byte less each time
        struct slice open = dv_part(p->param_open, n, p->param_open.n);
        struct slice close = dv_part(b, 0, b.n - open.n), mid = dv_part(a, 0, a.n - open.n);

        if (slice_starts(rest, close)) {
            p->param_open = open;
            p->param_close = close;
            p->mid = mid;
            return open.n && dv_strip(close).n && mid2.n ? true
                                                         : dv_no(v, "parameters have no marks");
        }
        if (n == 0)
            return dv_no(v, "the last argument ends in another way than the others");
    }
}

static bool find_args(struct dv *v, struct parts *p)
{
    size_t name = p->three.p ? dv_find(p->three, 0, dv_name[0]) : DV_NOWHERE;
    struct call_at c;

    if (!p->one.p || dv_find(p->one, 0, dv_name[0]) == DV_NOWHERE)
        return dv_no(v, "the template does not show calls");
    if (name == DV_NOWHERE)
        return dv_no(v, "the template does not show a call with three arguments");
    p->args = TOOLCALL_JSON;
    if (call_at(p, p->one, 0, 0, DV_ONE, &c)) {
        p->mid = dv_part(p->one, c.name_end, c.args);
        return true;
    }
    return find_params(v, p, p->three, name + strlen(dv_name[0]));
}

/* -- what is around the calls ---------------------------------------------------------------- */

/* The text before the first name that belongs to the call. The turn's beginning is known from words
 * before a call, or from turns without one. */
static bool find_lead(struct dv *v, struct parts *p, struct slice *lead)
{
    static const struct dv_talk said[] = {
        {.text = DV_TEXT, .n_calls = 1, .then = DV_RESULTS, .think = DV_NONE},
        {.text = DV_TEXT, .think = DV_NONE},
        {.text = DV_TEXT, .then = DV_USERS, .think = DV_NONE},
        {.alone = true, .prompt = true, .think = DV_NONE}};
    struct slice before = dv_part(p->one, 0, dv_find(p->one, 0, dv_name[0])), best = {NULL, 0};

    for (size_t i = 0; i < ARRAY_LEN(said); i++) {
        struct slice t = dv_render(v, &said[i]), s;
        size_t text = t.p ? dv_find(t, 0, DV_TEXT) : DV_NOWHERE;
        size_t name = t.p ? dv_find(t, 0, dv_name[0]) : DV_NOWHERE;

        if (!t.p || (text == DV_NOWHERE && !said[i].alone))
            continue;
        if (said[i].n_calls) {
            if (name == DV_NOWHERE || name < text)
                continue;
            s = dv_part(t, text + strlen(DV_TEXT), name);
            s = dv_part(s, s.n - dv_common_tail(s, before), s.n);
        } else {
            struct slice head = dv_part(t, 0, said[i].alone ? t.n : text);

            if (!slice_starts(before, head))
                continue;
            s = dv_part(before, head.n, before.n);
        }
        while (s.n && tc_is_space(s.p[0]))
            s = dv_part(s, 1, s.n);
        if (s.n && (!best.p || s.n < best.n))
            best = s;
    }
    *lead = best;
    return best.p ? true : dv_no(v, "nothing stands before a call");
}

/* The text behind the last arguments that belongs to the calls: without what ends every turn. */
static bool find_tail(struct dv *v, struct parts *p, struct slice *tail)
{
    struct dv_talk last = {.n_calls = 1, .args = DV_ONE, .think = DV_NONE};
    struct dv_talk said = {.text = DV_TEXT, .think = DV_NONE};
    struct slice x, t, e;
    struct call_at c;
    size_t at, best = 0, best_at = 0;

    if (!call_at(p, p->one, 0, 0, DV_ONE, &c))
        return dv_no(v, "the arguments of a call are not found");
    x = dv_part(p->one, c.args_end, p->one.n);
    t = dv_render(v, &last);
    e = dv_render(v, &said);
    at = e.p ? dv_find(e, 0, DV_TEXT) : DV_NOWHERE;
    if (at != DV_NOWHERE && call_at(p, t, 0, 0, DV_ONE, &c)) {
        e = dv_part(e, at + strlen(DV_TEXT), e.n);
        t = dv_part(t, c.args_end, t.n);
        t.n -= dv_common_tail(t, e);
        if (slice_starts(x, t)) {
            *tail = t;
            return true;
        }
    }
    said.then = DV_USERS; // what follows a turn, wherever it is most alike
    e = dv_render(v, &said);
    at = e.p ? dv_find(e, 0, DV_TEXT) : DV_NOWHERE;
    if (at == DV_NOWHERE)
        return dv_no(v, "the end of a turn is not found");
    e = dv_part(e, at + strlen(DV_TEXT), e.n);
    for (size_t i = 0; i < x.n && x.n - i > best; i++) {
        size_t n = 0;

        while (n < e.n && i + n < x.n && e.p[n] == x.p[i + n])
            n++;
        if (n > best) {
            best = n;
            best_at = i;
        }
    }
    if (dv_strip(dv_part(x, best_at, best_at + best)).n < 3)
        return dv_no(v, "the end of a turn is not found");
    *tail = dv_part(x, 0, best_at);
    return true;
}

/* The text between two calls; the second one's id, and its number (1) where it stands in what opens
 * it, become the first one's, so that both are opened alike. */
static struct slice between_calls(struct dv *v, struct parts *p, struct slice lead, struct slice s)
{
    size_t n = 0;

    buf_slice(&p->second, s);
    for (size_t at = 0; (at = dv_find(buf_view(&p->second), at, dv_id[1])) != DV_NOWHERE;)
        memcpy(p->second.p + at, dv_id[0], strlen(dv_id[0]));
    for (; n < lead.n && n < s.n && !p->second.bad; n++) {
        char want = lead.p[lead.n - 1 - n], *got = &p->second.p[s.n - 1 - n];

        if (want == '0' && *got == '1' && !p->counts) {
            *got = '0';
            p->counts = true;
        } else if (want != *got) {
            break;
        }
    }
    if (p->second.bad)
        v->rc = err_nomem(v->e, s.n);
    return buf_view(&p->second);
}

/* Where one call ends and the next begins. */
static bool find_seams(struct dv *v, struct parts *p)
{
    struct call_at c[2];
    struct slice lead, tail, s;
    size_t n;

    if (!find_lead(v, p, &lead) || !find_tail(v, p, &tail))
        return false;
    p->open = lead;
    p->close = tail;
    p->begin = p->between = p->end = dv_part(lead, 0, 0);
    if (!call_at(p, p->two, 0, 0, DV_ONE, &c[0]) ||
        !call_at(p, p->two, c[0].args_end, 1, DV_ONE, &c[1]))
        return true; // one call a turn
    v->d->parallel = true;
    s = between_calls(v, p, lead, dv_part(p->two, c[0].args_end, c[1].name));
    n = dv_common_tail(lead, s);
    p->begin = dv_part(lead, 0, lead.n - n);
    p->open = dv_part(lead, lead.n - n, lead.n);
    s.n -= n;
    n = dv_common_head(s, tail);
    p->close = dv_part(s, 0, n);
    p->between = dv_part(s, n, s.n);
    p->end = dv_part(tail, n, tail.n);
    if (p->begin.n == 0) // a turn's own end: nothing else was begun
        p->end.n = 0;
    while (p->end.n && tc_is_space(p->end.p[p->end.n - 1]))
        p->end.n--;
    return true;
}

/* -- the row --------------------------------------------------------------------------------- */

/* A layout: ids become %i, a number that counts the calls %d. */
static const char *layout(struct dv *v, struct slice t, bool counts)
{
    struct buf b = {0};
    const char *s;

    for (size_t i = 0; i < t.n && v->rc == 0;) {
        size_t id = strlen(dv_id[0]);

        if (t.n - i >= id &&
            (memcmp(t.p + i, dv_id[0], id) == 0 || memcmp(t.p + i, dv_id[1], id) == 0)) {
            buf_str(&b, "%i");
            i += id;
        } else if (counts && t.p[i] == '0') {
            buf_str(&b, "%d");
            i++;
        } else {
            buf_byte(&b, t.p[i++]);
        }
    }
    if (b.bad)
        v->rc = err_nomem(v->e, t.n);
    s = dv_keep(v, buf_view(&b));
    buf_fini(&b);
    return s;
}

/* Whether the texts between name and arguments have the calls' numbers, and else are alike. */
static bool mid_counts(const struct parts *p)
{
    struct call_at a, b;
    struct slice x, y;
    const char *zero;

    if (p->args != TOOLCALL_JSON || !call_at(p, p->two, 0, 0, DV_ONE, &a) ||
        !call_at(p, p->two, a.args_end, 1, DV_ONE, &b))
        return false;
    x = dv_part(p->two, a.name_end, a.args);
    y = dv_part(p->two, b.name_end, b.args);
    zero = x.n == y.n ? memchr(x.p, '0', x.n) : NULL;
    return zero && y.p[zero - x.p] == '1';
}

static bool has_layout(struct slice t)
{
    for (size_t i = 0; i + 1 < t.n; i++)
        if (t.p[i] == '%' && strchr("ind", t.p[i + 1]))
            return true;
    return memchr(t.p, 0, t.n) != NULL;
}

static bool write_form(struct dv *v, const struct parts *p)
{
    const struct slice all[] = {p->begin,          p->open,       p->mid,        p->close,
                                p->between,        p->end,        p->param_open, p->param_mid,
                                p->param_mid_json, p->param_close};
    struct toolcall_form *f = &v->d->format.form;

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (all[i].n > 200)
            return dv_no(v, "the text around a call is long");
        if (all[i].n && (has_layout(all[i]) || dv_find(all[i], 0, dv_name[0]) != DV_NOWHERE))
            return dv_no(v, "the text around a call repeats its name");
    }
    f->begin = dv_keep(v, p->begin);
    f->open = layout(v, p->open, p->counts);
    f->mid = layout(v, p->mid, mid_counts(p));
    f->close = layout(v, p->close, false);
    f->between = dv_keep(v, p->between);
    f->end = dv_keep(v, p->end);
    f->args = p->args;
    f->name_is_json = p->mid.n && p->mid.p[0] == '"';
    f->string_mark = dv_keep(v, p->mark);
    if (p->args == TOOLCALL_PARAMS) {
        f->param_open = dv_keep(v, p->param_open);
        f->param_mid = dv_keep(v, p->param_mid);
        f->param_mid_json = dv_keep(v, p->param_mid_json);
        f->param_close = dv_keep(v, p->param_close);
    }
    return v->rc == 0;
}

/* -- certainty ------------------------------------------------------------------------------- */

/* What the parser makes of a text is these calls, and these words before them. */
static bool reads(struct dv *v, struct slice t, const char *words, int n_calls, enum dv_args kind)
{
    struct toolcall_opts o = {.format = &v->d->format, .hold = 4096};
    const struct toolcall_event *ev;
    struct buf said = {0}, args = {0};
    struct toolcall *p = NULL;
    int rc = toolcall_new(&p, &o, v->e), calls = 0;
    bool right = true, bad = false;

    for (int round = 0; round < 2 && rc >= 0; round++) {
        rc = round ? toolcall_finish(p, &ev, v->e) : toolcall_feed(p, t, false, &ev, v->e);
        for (int i = 0; i < rc; i++) {
            json_t *want, *got;

            if (ev[i].kind == TC_TEXT)
                buf_slice(&said, ev[i].text);
            else if (ev[i].kind == TC_BEGIN)
                right = right && calls < n_calls && slice_is(ev[i].name, dv_name[calls]);
            else if (ev[i].kind == TC_ARGS)
                buf_slice(&args, ev[i].text);
            if (ev[i].kind != TC_END || !right)
                continue;
            want = dv_arguments(kind, calls++);
            got = json_loadb(buf_view(&args).p, args.n, 0, NULL);
            right = ev[i].complete && json_equal(want, got);
            json_decref(want);
            json_decref(got);
            bad = bad || args.bad;
            buf_clear(&args);
        }
    }
    v->rc = rc < 0 ? rc : v->rc;
    if (bad || said.bad)
        v->rc = err_nomem(v->e, 0);
    right = right && rc >= 0 && calls == n_calls && slice_is(dv_strip(buf_view(&said)), words);
    buf_fini(&said);
    buf_fini(&args);
    toolcall_free(p);
    return right;
}

/* The calls of a rendered turn, from the lead of the first one, or from the words before it. */
static bool reads_turn(struct dv *v, const struct parts *p, struct slice t, const char *words,
                       int n_calls, enum dv_args kind)
{
    struct call_at c = {0}, first = {0};
    size_t lead = p->begin.n + p->open.n, from;

    for (int i = 0; i < n_calls; i++) {
        if (!call_at(p, t, c.args_end, i, kind, &c))
            return false;
        first = i == 0 ? c : first;
    }
    from = *words ? dv_find(t, 0, words) : first.name >= lead ? first.name - lead : DV_NOWHERE;
    c.args_end += p->close.n + p->end.n;
    return from <= c.args_end && c.args_end <= t.n &&
           reads(v, dv_part(t, from, c.args_end), words, n_calls, kind);
}

/* What the row writes is read back. */
static bool reads_written(struct dv *v, int n_calls, enum dv_args kind)
{
    struct toolcall_call c[2];
    struct buf out = {0};
    bool right;
    int rc;

    for (int i = 0; i < n_calls; i++)
        c[i] = (struct toolcall_call){.id = slice_of(dv_id[i]),
                                      .name = slice_of(dv_name[i]),
                                      .arguments = dv_arguments(kind, i)};
    rc = toolcall_write(&v->d->format, c, (size_t)n_calls, &out, v->e);
    v->rc = rc == E_NOMEM ? rc : v->rc;
    right = rc == 0 && reads(v, buf_view(&out), "", n_calls, kind);
    for (int i = 0; i < n_calls; i++)
        json_decref((json_t *)(uintptr_t)c[i].arguments);
    buf_fini(&out);
    return right;
}

static bool is_certain(struct dv *v, const struct parts *p, const struct dv_talk *words)
{
    static const enum dv_args kinds[] = {DV_ONE, DV_THREE, DV_NESTED, DV_EMPTY};
    struct slice t = dv_render(v, words);
    size_t name = t.p ? dv_find(t, 0, dv_name[0]) : DV_NOWHERE;
    size_t text = t.p ? dv_find(t, 0, DV_TEXT) : DV_NOWHERE;

    if (!reads_turn(v, p, p->one, "", 1, DV_ONE))
        return dv_no(v, "a call that was rendered is not read back");
    if (!reads_turn(v, p, p->three, "", 1, DV_THREE))
        return dv_no(v, "a call with three arguments is not read back");
    if (v->d->parallel && !reads_turn(v, p, p->two, "", 2, DV_ONE))
        return dv_no(v, "two calls that were rendered are not read back");
    if (text < name && name != DV_NOWHERE && !v->d->format.weak &&
        !reads_turn(v, p, t, DV_TEXT, 1, DV_ONE))
        return dv_no(v, "a call behind words is not read back");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        for (int n = 1; n <= 1 + v->d->parallel; n++)
            if (!reads_written(v, n, n == 2 && kinds[i] != DV_EMPTY ? DV_ONE : kinds[i]))
                return dv_no(v, "a call that was written is not read back");
    return true;
}

int derive_calls(struct derived *d, const struct chat *c, struct err *e)
{
    const struct dv_talk one = {.n_calls = 1, .then = DV_RESULTS, .think = DV_NONE};
    const struct dv_talk two = {.n_calls = 2, .then = DV_RESULTS, .think = DV_NONE};
    const struct dv_talk three = {
        .n_calls = 1, .args = DV_THREE, .then = DV_RESULTS, .think = DV_NONE};
    const struct dv_talk words = {
        .text = DV_TEXT, .n_calls = 1, .then = DV_RESULTS, .think = DV_NONE};
    const struct dv_talk long_ids = {
        .n_calls = 1, .long_ids = true, .then = DV_RESULTS, .think = DV_NONE};
    struct dv v = {.c = c, .d = d, .e = e};
    struct parts p = {0};

    d->why = NULL;
    d->format = (struct toolcall_format){.name = "derived", .about = "as the template writes it"};
    if (jinja_spells(c->t, DV_SIGN)) {
        d->why = "the template has what calls are looked for by";
        return 0;
    }
    p.one = dv_render(&v, &one);
    if (!p.one.p) { // what is wrong may be how it tells of tools
        v.no_tools = true;
        p.one = dv_render(&v, &one);
    }
    p.three = dv_render(&v, &three);
    if (find_args(&v, &p)) {
        p.two = dv_render(&v, &two);
        d->calls =
            find_seams(&v, &p) && write_form(&v, &p) && dv_read(&v) && is_certain(&v, &p, &words);
        d->read.short_id = !dv_render(&v, &long_ids).p; // it wants those of nine characters
    }
    d->calls = d->calls && v.rc == 0;
    buf_fini(&p.second);
    dv_fini(&v);
    return v.rc;
}
