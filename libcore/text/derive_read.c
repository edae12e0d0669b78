/* derive_read.c - see derive.h: from how calls are written to how they are read.
 *
 * What is read is a little more than what is written: white space between marks is free, so a form
 * is cut into its marks here.
 */
#include "derive_in.h"

#include "base/mem.h"

enum { LEAST = 3 }; // bytes of a mark; less stands in any text

/* Marks in front of names, and those behind arguments. */
struct marks {
    struct slice section, call, prefix, call_end, section_end;
};

static struct slice text_of(const char *s)
{
    return slice_of(s ? s : "");
}

static struct slice strip_fence(struct slice t, bool *fenced)
{
    size_t n = slice_starts(t, SLICE("```json")) ? 7 : slice_starts(t, SLICE("```")) ? 3 : 0;

    if (n && fenced)
        *fenced = true;
    return n ? dv_strip(dv_part(t, n, t.n)) : t;
}

/* A list's bracket and a fence go from the end of t: the parser knows them by itself. */
static struct slice strip_open(struct slice t, bool *fenced)
{
    t = dv_strip(t);
    if (t.n && t.p[t.n - 1] == '[') {
        t.n--;
        t = dv_strip(t);
    }
    if (slice_ends(t, SLICE("```json"))) {
        t.n -= 7;
        *fenced = true;
    }
    return dv_strip(t);
}

static struct slice strip_close(struct slice t, bool *fenced)
{
    t = dv_strip(t);
    if (t.n && t.p[0] == ']')
        t = dv_strip(dv_part(t, 1, t.n));
    return strip_fence(t, fenced);
}

/* open is the text of a call before what is in it, list that before the first call. */
static bool find_marks(struct dv *v, struct slice list, struct slice open, struct slice close,
                       struct slice end, struct marks *m)
{
    size_t n = dv_tag(open);
    struct slice rest = dv_part(open, n, open.n), word = dv_strip(rest);

    m->section = list;
    m->call = open;
    m->call_end = close;
    m->section_end = end;
    if (n && word.n && word.p[0] != '<' && word.p[0] != '[') {
        m->call = dv_part(open, 0, n);
        m->prefix = rest; // white space and all
    } else if (n && word.n && list.n == 0) {
        size_t k = dv_tag(close);

        m->section = dv_part(open, 0, n);
        m->call = word;
        m->call_end = dv_part(close, 0, k);
        m->section_end = dv_strip(dv_part(close, k, close.n));
        if (k == 0 || m->section_end.n == 0)
            return dv_no(v, "a call has more opening marks than closing ones");
    }
    if (m->call.n == 0) {
        m->call = list;
        m->section = open;
        m->call_end = close.n ? close : end;
        m->section_end = (struct slice){"", 0};
    }
    return true;
}

static void put_marks(struct dv *v, const struct marks *m)
{
    struct toolcall_read *r = &v->d->read;

    r->section = dv_keep(v, m->section);
    r->call = dv_keep(v, m->call);
    r->prefix = dv_keep(v, m->prefix);
    r->call_end = dv_keep(v, m->call_end);
    r->section_end = m->section.n ? dv_keep(v, m->section_end) : NULL;
}

/* -- objects --------------------------------------------------------------------------------- */

static size_t before_space(struct slice t, size_t n)
{
    while (n && tc_is_space(t.p[n - 1]))
        n--;
    return n;
}

/* The key whose value begins at the end of t: "KEY": . Its bytes in *key, where it begins. */
static size_t key_before(struct slice t, struct slice *key)
{
    size_t n = before_space(t, t.n), from;

    if (n == 0 || t.p[n - 1] != ':')
        return DV_NOWHERE;
    n = before_space(t, n - 1);
    if (n < 3 || t.p[n - 1] != '"')
        return DV_NOWHERE;
    for (from = n - 1; from && t.p[from - 1] != '"';)
        from--;
    *key = dv_part(t, from, n - 1);
    return from && key->n ? from - 1 : DV_NOWHERE;
}

/* The words of a key's list: its own, then those that models write as well. */
static const char *keys(struct dv *v, struct slice own, const char *also)
{
    struct buf b = {0};
    const char *s;

    buf_slice(&b, own);
    if (*also)
        buf_printf(&b, "%s%s", own.n ? " " : "", also);
    if (b.bad)
        v->rc = err_nomem(v->e, own.n);
    s = dv_keep(v, buf_view(&b));
    buf_fini(&b);
    return s ? s : "";
}

static struct slice id_key(const struct toolcall_form *f)
{
    const char *const all[] = {f->open, f->mid, f->close};

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct slice t = text_of(all[i]), key;
        size_t at = dv_find(t, 0, "\"%i");

        at = at == DV_NOWHERE ? dv_find(t, 0, "\"%d\"") : at;
        if (at != DV_NOWHERE && key_before(dv_part(t, 0, at), &key) != DV_NOWHERE)
            return key;
    }
    return (struct slice){"", 0};
}

/* {"name": ..., "arguments": ...}, alone or in a list; 0: the form is another. */
static int read_objects(struct dv *v)
{
    const struct toolcall_form *f = &v->d->format.form;
    struct toolcall_read *r = &v->d->read;
    struct slice open = text_of(f->open), mid = text_of(f->mid), close = text_of(f->close);
    struct slice name, args, list;
    struct marks m = {0};
    size_t brace = dv_find(open, 0, "{"), end = close.n;

    while (end && close.p[end - 1] != '}')
        end--;
    if (brace == DV_NOWHERE || open.p[open.n - 1] != '"' || mid.n < 2 || mid.p[0] != '"' ||
        end == 0)
        return 0;
    if (key_before(mid, &args) == 0 && dv_strip(dv_part(open, brace + 1, open.n)).n == 1) {
        r->key_is_name = true; // {"NAME": {...}}: the name is the key
        r->key_name = r->key_args = r->key_id = "";
    } else if (slice_is(dv_strip(mid), "\":") &&
               dv_strip(dv_part(open, brace + 1, open.n)).n == 1) {
        r->key_is_name = true;
        r->key_name = r->key_args = r->key_id = "";
    } else if (key_before(dv_part(open, 0, open.n - 1), &name) == DV_NOWHERE ||
               key_before(mid, &args) == DV_NOWHERE) {
        return 0;
    } else {
        r->key_name = keys(v, name, slice_is(name, "name") ? "" : "name");
        r->key_args = keys(v, args, slice_is(args, "arguments") ? "parameters" : "arguments");
        r->key_id = keys(v, id_key(f), slice_is(id_key(f), "id") ? "tool_call_id" : "id");
    }
    r->style = READ_OBJECTS;
    list = strip_open(text_of(f->begin), &r->fenced);
    open = strip_open(dv_part(open, 0, brace), &r->fenced);
    close = strip_close(dv_part(close, end, close.n), NULL);
    if (!find_marks(v, list, open, close, strip_close(text_of(f->end), NULL), &m))
        return -1;
    if (m.prefix.n)
        return dv_no(v, "text stands between a call's mark and its object") - 1;
    if (m.call.n == 0 && m.section.n == 0) {
        if (r->fenced) {
            m.call = SLICE("```json");
            m.call_end = SLICE("```");
        }
        r->bare = v->d->format.weak = true;
    } else if (m.call.n < LEAST) {
        return dv_no(v, "nothing marks a call") - 1;
    }
    put_marks(v, &m);
    r->fenced = true; // models do, whatever their template shows
    return 1;
}

/* -- the others ------------------------------------------------------------------------------ */

static bool read_python(struct dv *v)
{
    const struct toolcall_form *f = &v->d->format.form;
    struct toolcall_read *r = &v->d->read;
    struct slice close = text_of(f->close);
    struct marks m = {0};
    bool fence = false;

    if (!slice_starts(close, SLICE(")")))
        return dv_no(v, "a call does not end with a bracket");
    close = strip_close(dv_part(close, 1, close.n), &fence);
    r->style = READ_PYTHON;
    if (!find_marks(v, strip_open(text_of(f->begin), &fence), strip_open(text_of(f->open), &fence),
                    close, strip_close(text_of(f->end), &fence), &m))
        return false;
    if (m.section.n || m.prefix.n || fence)
        return dv_no(v, "more than one mark stands before a call in Python's words");
    if (m.call.n == 0) {
        if (text_of(f->begin).n == 0)
            return dv_no(v, "nothing marks a call");
        r->bare = v->d->format.weak = true;
    } else if (m.call.n < LEAST) {
        return dv_no(v, "nothing marks a call");
    }
    put_marks(v, &m);
    return true;
}

/* The end of a name, and where an id stands behind it. */
static bool read_name_end(struct dv *v, struct slice mid)
{
    struct toolcall_read *r = &v->d->read;
    const char *open = v->d->format.form.open;
    size_t id = dv_find(mid, 0, "%i"), n = dv_find(mid, 0, "%d");
    struct slice end = dv_strip(mid);

    if (n != DV_NOWHERE) { // NAME:0, which is the id
        if (n != 1 || mid.p[0] != ':' || !open)
            return dv_no(v, "calls are counted in a way that is not known");
        r->id_is_name = true;
        end = dv_strip(dv_part(mid, 3, mid.n));
    } else if (id != DV_NOWHERE) {
        struct slice mark = dv_strip(dv_part(mid, 0, id));

        end = dv_strip(dv_part(mid, id + 2, mid.n));
        if (mark.n == 0 || end.n == 0)
            return dv_no(v, "no marks stand around the id");
        r->id_mark = dv_keep(v, mark);
    }
    if (end.n >= 3 && slice_starts(end, SLICE("```"))) {
        r->fenced = true;
        end = (struct slice){"", 0};
    } else if (end.n > 7 && slice_ends(end, SLICE("```json"))) {
        r->fenced = true;
        end = dv_strip(dv_part(end, 0, end.n - 7));
    }
    if (end.n) {
        r->name_end[0] = dv_keep(v, end);
    } else if (r->style == READ_PARAMS) {
        r->name_end[0] = r->key_open;
        r->name_end[1] = r->call_end;
        r->keep_end[0] = r->keep_end[1] = true;
    } else if (memchr(mid.p, '\n', mid.n)) {
        r->name_end[0] = "\n";
        r->name_end[1] = r->fenced ? "```" : "{";
        r->keep_end[1] = true;
    } else {
        r->name_end[0] = "{";
        r->keep_end[0] = true;
    }
    return true;
}

static bool read_params(struct dv *v)
{
    const struct toolcall_form *f = &v->d->format.form;
    struct toolcall_read *r = &v->d->read;
    struct slice mid = text_of(f->param_mid), json = text_of(f->param_mid_json), end = mid;
    struct slice open = dv_strip(text_of(f->param_open)), close = text_of(f->param_close);

    r->key_open = dv_keep(v, open);
    r->value_close = dv_keep(v, dv_strip(close));
    if (slice_eq(mid, json)) {
        const char *tag = memchr(mid.p, '>', mid.n);

        if (tag)
            end = dv_part(mid, 0, (size_t)(tag - mid.p) + 1);
        r->value_open = dv_keep(v, dv_strip(dv_part(mid, end.n, mid.n)));
        r->line_values = mid.n && mid.p[mid.n - 1] == '\n' && close.n && close.p[0] == '\n';
    } else {
        r->key_end_json = dv_keep(v, dv_strip(json));
    }
    end = dv_strip(end);
    r->key_end = dv_keep(v, end);
    return end.n && r->value_close ? true : dv_no(v, "nothing stands between a key and its value");
}

static bool read_rest(struct dv *v)
{
    const struct toolcall_form *f = &v->d->format.form;
    struct toolcall_read *r = &v->d->read;
    struct marks m = {0};
    struct slice open = dv_strip(text_of(f->open)), close = dv_strip(text_of(f->close));

    r->style = f->args == TOOLCALL_PARAMS  ? READ_PARAMS
               : f->args == TOOLCALL_GEMMA ? READ_GEMMA
                                           : READ_NAMED;
    if (dv_find(open, 0, "%i") != DV_NOWHERE || dv_find(close, 0, "%i") != DV_NOWHERE)
        return dv_no(v, "the id stands where it is not read");
    if (dv_find(text_of(f->mid), 0, "%d") != DV_NOWHERE && open.n > 10 &&
        slice_ends(open, SLICE("functions.")))
        open.n -= 10; // as the parser takes it from the id
    if (!find_marks(v, dv_strip(text_of(f->begin)), open,
                    dv_find(text_of(f->mid), 0, "```") != DV_NOWHERE ? strip_fence(close, NULL)
                                                                     : close,
                    dv_strip(text_of(f->end)), &m))
        return false;
    if (m.call.n < LEAST)
        return dv_no(v, "nothing marks a call");
    put_marks(v, &m);
    if (r->style == READ_PARAMS && !read_params(v))
        return false;
    if (r->style == READ_GEMMA) {
        r->delim = f->string_mark;
        r->name_end[0] = "{";
        r->keep_end[0] = true;
        return f->mid ? dv_no(v, "text stands between a name and its arguments") : true;
    }
    return read_name_end(v, text_of(f->mid));
}

bool dv_read(struct dv *v)
{
    const struct toolcall_form *f = &v->d->format.form;
    int objects;
    bool fine;

    v->d->read = (struct toolcall_read){.style = READ_NAMED};
    v->d->format.read = &v->d->read;
    if (f->args == TOOLCALL_PYTHON) {
        fine = read_python(v);
    } else {
        objects = f->args == TOOLCALL_JSON ? read_objects(v) : 0;
        fine = objects > 0 || (objects == 0 && read_rest(v));
    }
    return fine && v->rc == 0;
}
