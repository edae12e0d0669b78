/* jinja_format.c - "%s" % values and "{}".format(values), with the directives of numbers and
 * strings; no attributes are reached through a format. */
#include "jinja_in.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"

/* How a value is laid out. */
struct spec {
    uint32_t fill;
    char align; // '<' '>' '^' '=', 0: by kind
    char sign;  // '+', ' ', 0
    bool alt, zero, comma;
    int64_t width, precision; // -1: none
    char kind;                // 's' 'd' 'f' ..., 0
};

enum { MAX_WIDTH = 1 << 20, MAX_PRECISION = 300 };

static void emit(struct jbuf *b, const struct spec *s, const char *sign, const struct jstr *body,
                 bool number)
{
    int64_t n = s->width - (int64_t)body->n_cp - (int64_t)strlen(sign);
    char align = s->align ? s->align : s->zero && number ? '=' : number ? '>' : '<';
    uint32_t fill = s->fill ? s->fill : s->zero && number ? '0' : ' ';
    int64_t left = align == '>' ? n : align == '^' ? n / 2 : 0;

    if (n < 0)
        n = left = 0;
    for (int64_t i = 0; i < left && !b->J->failed; i++)
        jb_cp(b, fill, M_OWN);
    jb_lit(b, sign);
    for (int64_t i = 0; align == '=' && i < n && !b->J->failed; i++)
        jb_cp(b, fill, M_OWN);
    jb_str(b, body);
    for (int64_t i = left; align != '=' && i < n && !b->J->failed; i++)
        jb_cp(b, fill, M_OWN);
}

static void group(char *digits, size_t room)
{
    size_t n = strspn(digits, "0123456789"), rest = strlen(digits) - n,
           commas = n ? (n - 1) / 3 : 0;

    if (n + rest + commas + 1 > room)
        return;
    memmove(digits + n + commas, digits + n, rest + 1);
    for (size_t i = n, o = n + commas; commas > 0;) {
        for (int k = 0; k < 3; k++)
            digits[--o] = digits[--i];
        digits[--o] = ',';
        commas--;
    }
}

static void number_text(struct jbuf *b, const struct spec *s, bool negative, char *text,
                        size_t room)
{
    const char *sign = negative ? "-" : s->sign == '+' ? "+" : s->sign == ' ' ? " " : "";

    if (s->comma)
        group(text, room);
    {
        struct jbuf t = {.J = b->J};

        jb_lit(&t, text);
        emit(b, s, sign, jb_str_of(&t), true);
    }
}

static void put_int(struct jbuf *b, const struct spec *s, int64_t v)
{
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    unsigned base = s->kind == 'x' || s->kind == 'X' ? 16
                    : s->kind == 'o'                 ? 8
                    : s->kind == 'b'                 ? 2
                                                     : 10;
    const char *digits = s->kind == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    char text[MAX_PRECISION + 120], *p = text + sizeof text - 40;
    int64_t n = 0;

    p[0] = 0;
    do {
        *--p = digits[u % base];
        n++;
    } while (u /= base);
    for (; n < s->precision && n < MAX_PRECISION; n++)
        *--p = '0';
    if (s->alt && base != 10) {
        *--p = s->kind;
        *--p = '0';
    }
    number_text(b, s, v < 0, p, (size_t)(text + sizeof text - p));
}

static void put_float(struct jbuf *b, const struct spec *s, double f)
{
    char text[MAX_PRECISION + 700], kind = s->kind ? s->kind : 'g';
    int prec = (int)(s->precision < 0 ? 6 : s->precision);
    const char *suffix = "";
    bool negative = signbit(f) && !isnan(f);

    f = fabs(f);
    if (kind == '%') {
        f *= 100;
        suffix = "%";
        kind = 'f';
    }
    kind = kind == 'F' ? 'f' : kind;
    if (s->kind == 0 && s->precision < 0) {
        jfloat_repr(f, text);
    } else {
        const char fmt[] = {'%', '.', '*', kind, 0}, alt[] = {'%', '#', '.', '*', kind, 0};

        if (!strchr("eEfgG", kind)) {
            jfail(b->J, "unknown format code '%c' for a number", kind);
            return;
        }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(text, sizeof text - 2, s->alt ? alt : fmt, prec, f);
#pragma GCC diagnostic pop
    }
    memcpy(text + strlen(text), suffix, strlen(suffix) + 1);
    number_text(b, s, negative, text, sizeof text);
}

static void put_str(struct jbuf *b, const struct spec *s, const struct jstr *v)
{
    if (s->precision >= 0 && (uint64_t)s->precision < v->n_cp)
        v = jstr_sub(b->J, v, 0, jstr_at(v, (size_t)s->precision));
    emit(b, s, "", v, false);
}

static const struct jstr *repr(struct jstate *J, struct jv v)
{
    struct jbuf b = {.J = J};

    jv_write(&b, v, true);
    return jb_str_of(&b);
}

/* Digits at s[*i]; -1 when there are none. */
static int64_t digits_at(const struct jstr *s, size_t *i)
{
    int64_t v = -1;

    for (; *i < s->n && s->p[*i] >= '0' && s->p[*i] <= '9'; ++*i)
        if (v < MAX_WIDTH)
            v = (v < 0 ? 0 : v * 10) + (s->p[*i] - '0');
    return v;
}

/* -- percent -- */

static void percent_value(struct jbuf *b, struct spec *s, struct jv v)
{
    struct jstate *J = b->J;

    s->align = s->align == '<' ? '<' : '>';
    switch (s->kind) {
    case 's':
        put_str(b, s, jv_to_str(J, v));
        return;
    case 'r':
    case 'a':
        put_str(b, s, repr(J, v));
        return;
    case 'c':
        if (jv_is_int(v)) {
            struct jbuf c = {.J = J};

            if (v.u.i < 0 || v.u.i > 0x10ffff || (v.u.i >= 0xd800 && v.u.i < 0xe000))
                jfail(J, "%%c: a number is no character");
            else
                jb_cp(&c, (uint32_t)v.u.i, M_OWN);
            put_str(b, s, jb_str_of(&c));
        } else {
            put_str(b, s, jv_to_str(J, v));
        }
        return;
    default:
        break;
    }
    if (!jv_is_num(v)) {
        jfail(J, "%%%c format: a number is required, not %s", s->kind, jtype_name(v));
        return;
    }
    s->align = s->zero && s->align != '<' ? '=' : s->align;
    if (strchr("diuxXo", s->kind)) {
        double f = jv_num(v);

        if (v.type == J_FLOAT && !(fabs(f) < 9.2e18))
            jfail(J, "%%%c format: the number is too big", s->kind);
        else
            put_int(b, s, v.type == J_FLOAT ? (int64_t)f : v.u.i);
    } else {
        put_float(b, s, jv_num(v));
    }
}

/* One directive behind "%": flags, width, precision, kind. */
static size_t percent_spec(struct jstate *J, const struct jstr *f, size_t i, struct spec *s)
{
    *s = (struct spec){.width = -1, .precision = -1};
    for (; i < f->n && strchr("-+ #0", f->p[i]) && f->p[i]; i++) {
        s->align = f->p[i] == '-' ? '<' : s->align;
        s->sign = f->p[i] == '+' || (f->p[i] == ' ' && !s->sign) ? f->p[i] : s->sign;
        s->alt = s->alt || f->p[i] == '#';
        s->zero = s->zero || f->p[i] == '0';
    }
    s->width = digits_at(f, &i);
    if (i < f->n && f->p[i] == '.') {
        i++;
        s->precision = digits_at(f, &i);
        s->precision = s->precision < 0 ? 0 : s->precision;
    }
    while (i < f->n && strchr("hlL", f->p[i]) && f->p[i])
        i++;
    s->kind = i < f->n ? f->p[i] : 0;
    if (!s->kind || !strchr("diouxXeEfFgGcrsa%", s->kind))
        jfail(J, "incomplete or unsupported format directive");
    if (s->precision > MAX_PRECISION && s->kind != 's')
        jfail(J, "a format's precision is above %d", MAX_PRECISION);
    s->zero = s->zero && s->kind != 's' && s->kind != 'r';
    return i + 1;
}

const struct jstr *jformat_percent(struct jstate *J, const struct jstr *f, struct jv args)
{
    struct jlist one = {.v = &args, .n = 1};
    const struct jlist *l = args.type == J_TUPLE ? args.u.l : &one;
    struct jbuf b = {.J = J};
    size_t used = 0;
    bool named = args.type == J_DICT;

    for (size_t i = 0; i < f->n && jstep(J, 1);) {
        const char *p = memchr(f->p + i, '%', f->n - i);
        size_t at = p ? (size_t)(p - f->p) : f->n;
        struct jv v = jv_none();
        bool by_name = false;
        struct spec s;

        jb_sub(&b, f, i, at - i);
        if (!p)
            break;
        i = at + 1;
        if (i < f->n && f->p[i] == '(') {
            const char *close = memchr(f->p + i, ')', f->n - i);
            const struct jstr *key;

            if (!close || !named) {
                jfail(J, close ? "format requires a mapping" : "incomplete format key");
                break;
            }
            key = jstr_sub(J, f, i + 1, (size_t)(close - f->p) - i - 1);
            if (!jdict_get_str(J, args.u.d, key, &v))
                jfail(J, "format: no key '%.*s'", (int)(key->n < 60 ? key->n : 60), key->p);
            by_name = true;
            i = (size_t)(close - f->p) + 1;
        }
        i = percent_spec(J, f, i, &s);
        if (J->failed)
            break;
        if (s.kind == '%') {
            jb_lit(&b, "%");
            continue;
        }
        if (!by_name && used >= l->n) {
            jfail(J, "not enough arguments for format string");
            break;
        }
        percent_value(&b, &s, by_name ? v : l->v[used++]);
    }
    if (!J->failed && !named && used < l->n)
        jfail(J, "not all arguments converted during string formatting");
    return jb_str_of(&b);
}

/* -- braces -- */

static void parse_spec(struct jstate *J, const struct jstr *f, struct spec *s)
{
    uint32_t cp = 0;
    int n = utf8_decode(f->p, f->n, &cp);
    size_t i = 0;

    *s = (struct spec){.width = -1, .precision = -1};
    if (n > 0 && (size_t)n < f->n && strchr("<>^=", f->p[n]) && f->p[n]) {
        s->fill = cp;
        s->align = f->p[n];
        i = (size_t)n + 1;
    } else if (f->n && strchr("<>^=", f->p[0]) && f->p[0]) {
        s->align = f->p[0];
        i = 1;
    }
    if (i < f->n && strchr("+- ", f->p[i]) && f->p[i])
        s->sign = f->p[i++];
    if (i < f->n && f->p[i] == '#')
        s->alt = f->p[i++];
    if (i < f->n && f->p[i] == '0')
        s->zero = f->p[i++];
    s->width = digits_at(f, &i);
    if (i < f->n && (f->p[i] == ',' || f->p[i] == '_'))
        s->comma = f->p[i++] == ',';
    if (i < f->n && f->p[i] == '.') {
        i++;
        s->precision = digits_at(f, &i);
        if (s->precision < 0)
            jfail(J, "format specifier missing precision");
    }
    if (i < f->n)
        s->kind = f->p[i++];
    if (i < f->n)
        jfail(J, "invalid format specifier");
}

static void brace_value(struct jbuf *b, struct jv v, const struct jstr *spec)
{
    struct jstate *J = b->J;
    struct spec s;

    parse_spec(J, spec, &s);
    if (J->failed)
        return;
    if (jv_is_num(v) && !(v.type == J_BOOL && !s.kind)) {
        if (s.precision > MAX_PRECISION)
            jfail(J, "a format's precision is above %d", MAX_PRECISION);
        else if (v.type == J_FLOAT || (s.kind && strchr("eEfFgG%", s.kind)))
            put_float(b, &s, jv_num(v));
        else if (!s.kind || strchr("dxXob", s.kind))
            put_int(b, &s, v.u.i);
        else
            jfail(J, "unknown format code '%c' for a number", s.kind);
        return;
    }
    if (s.kind && s.kind != 's')
        jfail(J, "unknown format code '%c' for '%s'", s.kind, jtype_name(v));
    else
        put_str(b, &s, jv_to_str(J, v));
}

/* The value a field names: a number, a name, or nothing, and what follows it: .name and [key]. */
static struct jv field_value(struct jstate *J, const struct jstr *name, const struct jargs *all,
                             size_t *turn)
{
    size_t end = 0, i = 0;
    struct jv v = jv_none();
    int64_t n;

    while (end < name->n && name->p[end] != '.' && name->p[end] != '[')
        end++;
    n = digits_at(name, &i);
    if (end == 0 || (i == end && n >= 0)) {
        size_t k = end == 0 ? (*turn)++ : (size_t)n;

        if (k >= all->n_pos)
            return jfail(J, "format: no argument %zu", k);
        v = all->pos[k];
    } else {
        const struct jstr *key = jstr_sub(J, name, 0, end);

        for (i = 0; i < all->n_kw && !jstr_eq(all->kw[i].name, key); i++)
            ;
        if (i == all->n_kw)
            return jfail(J, "format: no argument '%.*s'", (int)(key->n < 60 ? key->n : 60), key->p);
        v = all->kw[i].v;
    }
    while (end < name->n && !J->failed) {
        bool item = name->p[end] == '[';
        size_t from = ++end;
        const struct jstr *key;

        while (end < name->n && (item ? name->p[end] != ']' : !strchr(".[", name->p[end])))
            end++;
        key = jstr_sub(J, name, from, end - from);
        end += item;
        i = 0;
        n = digits_at(key, &i);
        v = !item ? jv_attr(J, v, key)
                  : jv_item(J, v, i == key->n && n >= 0 ? jv_int(n) : jv_str(key));
        if (v.type == J_UNDEF && v.sub != JU_UNSAFE)
            return jfail_undef(J, v);
    }
    return v;
}

/* One field between its braces. */
static void field(struct jbuf *b, const struct jstr *f, const struct jargs *all, size_t *turn)
{
    struct jstate *J = b->J;
    size_t end = 0;
    const struct jstr *spec = &jstr_empty;
    char conv = 0;
    struct jv v;

    while (end < f->n && f->p[end] != '!' && f->p[end] != ':')
        end++;
    v = field_value(J, jstr_sub(J, f, 0, end), all, turn);
    if (end + 1 < f->n && f->p[end] == '!') {
        conv = f->p[end + 1];
        end += 2;
    }
    if (end < f->n && f->p[end] == ':')
        spec = jstr_sub(J, f, end + 1, f->n - end - 1);
    if (conv && conv != 's' && conv != 'r' && conv != 'a')
        jfail(J, "unknown conversion in a format");
    if (conv)
        v = jv_str(conv == 's' ? jv_to_str(J, v) : repr(J, v));
    if (!J->failed)
        brace_value(b, v, spec);
}

const struct jstr *jformat_braces(struct jstate *J, const struct jstr *f, const struct jargs *all)
{
    struct jbuf b = {.J = J};
    size_t turn = 0;

    for (size_t i = 0; i < f->n && jstep(J, 1); i++) {
        char c = f->p[i];
        const char *close;

        if (c != '{' && c != '}') {
            jb_sub(&b, f, i, 1);
        } else if (i + 1 < f->n && f->p[i + 1] == c) {
            jb_sub(&b, f, i++, 1);
        } else if (c == '}') {
            jfail(J, "single '}' encountered in format string");
        } else {
            close = memchr(f->p + i, '}', f->n - i);
            if (!close || memchr(f->p + i + 1, '{', (size_t)(close - f->p) - i - 1)) {
                jfail(J, "a format field is not closed, or holds another");
                break;
            }
            field(&b, jstr_sub(J, f, i + 1, (size_t)(close - f->p) - i - 1), all, &turn);
            i = (size_t)(close - f->p);
        }
    }
    return jb_str_of(&b);
}
