/* inspect_row.c - rows of fields, shown as text, TSV or JSON.
 *
 * What is shown comes from files nobody vouches for, so it is escaped for terminals.
 */
#include "tools/lib/inspect.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/utf8.h"

void row_begin(struct show *o, const char *kind)
{
    buf_clear(&o->row);
    if (o->json)
        buf_printf(&o->row, "{\"kind\":\"%s\"", kind);
    else if (o->tsv)
        buf_str(&o->row, kind);
}

void field_begin(struct show *o, const char *name)
{
    if (o->json)
        buf_printf(&o->row, ",\"%s\":", name);
    else
        buf_str(&o->row, o->tsv ? "\t" : "  ");
}

void row_end(struct show *o, struct err *e)
{
    if (o->json)
        buf_byte(&o->row, '}');
    while (!o->json && !o->tsv && o->row.n && o->row.p[o->row.n - 1] == ' ')
        o->row.n--;
    buf_byte(&o->row, '\n');
    if (o->row.bad)
        err_nomem(e, o->row.n);
    else
        fwrite(o->row.p, 1, o->row.n, stdout);
}

/* A line that only people need. */
void heading(struct show *o, const char *fmt, ...)
{
    va_list ap;

    if (o->json || o->tsv)
        return;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

/* s so that it stays where it is put and does nothing to a terminal. */
void add_shown(struct buf *b, struct slice s, enum shown how)
{
    for (size_t i = 0; i < s.n;) {
        unsigned char c = (unsigned char)s.p[i];
        uint32_t cp;
        int n = utf8_decode(s.p + i, s.n - i, &cp);

        if (how == LINES && (c == '\n' || c == '\t'))
            buf_byte(b, (char)c);
        else if (c == '\n' || c == '\t')
            buf_str(b, c == '\n' ? "\\n" : "\\t");
        else if ((c == '\\' && how != LINES) || (c == '"' && how == QUOTED))
            buf_printf(b, "\\%c", c);
        else if (n > 0 && utf8_shown(cp))
            buf_add(b, s.p + i, (size_t)n);
        else
            buf_printf(b, "\\x%02x", c);
        i += n > 1 && utf8_shown(cp) ? (size_t)n : 1;
    }
}

/* At most n characters from the front of s. */
struct slice front(struct slice s, size_t n)
{
    size_t i = 0;

    for (; i < s.n && n > 0; n--) {
        uint32_t cp;
        int len = utf8_decode(s.p + i, s.n - i, &cp);

        i += len > 0 ? (size_t)len : 1;
    }
    return (struct slice){s.p, i};
}

static size_t shown_width(const struct buf *b, size_t from)
{
    size_t n = 0;

    for (size_t i = from; i < b->n; i++)
        n += ((unsigned char)b->p[i] & 0xc0) != 0x80;
    return n;
}

void pad_to(struct show *o, size_t from, int width)
{
    if (!o->json && !o->tsv)
        for (size_t n = shown_width(&o->row, from); n < (size_t)width; n++)
            buf_byte(&o->row, ' ');
}

void field_text(struct show *o, const char *name, int width, struct slice s)
{
    size_t from;

    field_begin(o, name);
    from = o->row.n;
    if (o->json)
        buf_json(&o->row, s);
    else
        add_shown(&o->row, s, LINE);
    pad_to(o, from, width);
}

void field_str(struct show *o, const char *name, int width, const char *s)
{
    field_text(o, name, width, slice_of(s));
}

void field_num(struct show *o, const char *name, int width, uint64_t v)
{
    field_begin(o, name);
    buf_printf(&o->row, "%*llu", o->json || o->tsv ? 0 : width, (unsigned long long)v);
}

void field_real(struct show *o, const char *name, int width, double v)
{
    size_t from;

    field_begin(o, name);
    from = o->row.n;
    if (isfinite(v))
        buf_printf(&o->row, "%.6g", v);
    else
        buf_str(&o->row, o->json ? "null" : isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
    pad_to(o, from, width);
}

void field_none(struct show *o, const char *name, int width)
{
    size_t from;

    field_begin(o, name);
    from = o->row.n;
    buf_str(&o->row, o->json ? "null" : "-");
    pad_to(o, from, width);
}
