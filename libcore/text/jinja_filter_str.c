/* jinja_filter_str.c - filters on strings. */
#include "jinja_in.h"

#include <math.h>
#include <stdio.h>

#include "base/utf8.h"
#include "uclass.h"

#define FILTER(name)                                                                               \
    static struct jv name(struct jstate *J, struct jv v, const struct jv *a,                       \
                          const struct jargs *all)
#define UNUSED (void)J, (void)v, (void)a, (void)all

FILTER(f_capitalize)
{
    UNUSED;
    return jv_str(jstr_case(J, jv_to_str(J, v), 'c'));
}

FILTER(f_lower)
{
    UNUSED;
    return jv_str(jstr_case(J, jv_to_str(J, v), 'l'));
}

FILTER(f_upper)
{
    UNUSED;
    return jv_str(jstr_case(J, jv_to_str(J, v), 'u'));
}

/* Every word in title case; words begin behind white space and - ( { [ <. */
FILTER(f_title)
{
    const struct jstr *s = jv_to_str(J, v);
    struct jbuf b = {.J = J};
    size_t start = 0;

    UNUSED;
    for (size_t i = 0; i <= s->n && !J->failed;) {
        uint32_t cp = 0;
        int n = i < s->n ? utf8_decode(s->p + i, s->n - i, &cp) : 1;
        bool splits = i == s->n || ju_space(cp) || (cp && cp < 0x80 && strchr("-({[<", (int)cp));

        n = n > 0 ? n : 1;
        if (splits && i > start) {
            const struct jstr *word = jstr_sub(J, s, start, i - start);
            size_t first = jstr_at(word, 1);

            jb_str(&b, jstr_case(J, jstr_sub(J, word, 0, first), 'u'));
            jb_str(&b, jstr_case(J, jstr_sub(J, word, first, word->n - first), 'l'));
        }
        if (splits) {
            if (i < s->n)
                jb_sub(&b, s, i, (size_t)n);
            start = i + (size_t)n;
        }
        i += (size_t)n;
    }
    return jb_done(&b);
}

FILTER(f_center)
{
    const struct jstr *s = jv_to_str(J, v);
    int64_t width = jv_is_int(a[0]) ? a[0].u.i : 80;
    int64_t pad = width - (int64_t)s->n_cp, left = pad / 2 + (pad & width & 1);
    struct jbuf b = {.J = J};

    UNUSED;
    if (pad <= 0)
        return jv_str(s);
    jb_fill(&b, ' ', (size_t)left);
    jb_str(&b, s);
    jb_fill(&b, ' ', (size_t)(pad - left));
    return jb_done(&b);
}

FILTER(f_escape)
{
    UNUSED;
    return jv_str(jstr_escape(J, jv_to_str(J, v)));
}

FILTER(f_forceescape)
{
    UNUSED;
    return jv_str(jstr_escape(J, jstr_safe(J, jv_to_str(J, v), false)));
}

FILTER(f_safe)
{
    const struct jstr *s = jv_to_str(J, v);

    UNUSED;
    return s->n ? jv_str(jstr_safe(J, s, true)) : jv_str(s);
}

FILTER(f_string)
{
    UNUSED;
    return jv_str(jv_to_str(J, v));
}

FILTER(f_filesizeformat)
{
    static const char *const dec[] = {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"};
    static const char *const bin[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"};
    bool binary = jv_true(J, a[0]);
    double base = binary ? 1024 : 1000, unit = base, f;
    struct jbuf b = {.J = J};
    char text[64];
    size_t i = 0;

    UNUSED;
    if (!jv_is_num(v))
        return jfail(J, "filesizeformat: '%s' is not a number", jtype_name(v));
    f = jv_num(v);
    if (f == 1) {
        snprintf(text, sizeof text, "1 Byte");
    } else if (f < base) {
        snprintf(text, sizeof text, "%.0f Bytes", trunc(f));
    } else {
        for (unit = base * base; i < 7 && f >= unit; i++)
            unit *= base;
        snprintf(text, sizeof text, "%.1f %s", base * f / unit, binary ? bin[i] : dec[i]);
    }
    jb_lit(&b, text);
    return jb_done(&b);
}

FILTER(f_format)
{
    struct jlist *l = jlist_new(J, all->n_pos);
    struct jdict *d = jdict_new(J, all->n_kw);

    UNUSED;
    if (all->n_pos && all->n_kw)
        return jfail(J, "format takes arguments with names or without, not both");
    for (size_t i = 0; i < all->n_pos; i++)
        jlist_add(J, l, all->pos[i]);
    for (size_t i = 0; i < all->n_kw; i++)
        jdict_put(J, d, jv_str(all->kw[i].name), all->kw[i].v);
    return jv_str(jformat_percent(J, jv_to_str(J, v), all->n_kw ? jv_dict(d) : jv_tuple(l)));
}

FILTER(f_indent)
{
    const struct jstr *s = jv_to_str(J, v);
    struct jbuf b = {.J = J}, in = {.J = J};
    const struct jstr *by;
    struct jlist *l = jstr_lines(J, s, false);
    bool blank = jv_true(J, a[2]);

    UNUSED;
    if (a[0].type == J_STR) {
        by = a[0].u.s;
    } else {
        if (a[0].type != J_MISSING && !jv_is_int(a[0]))
            return jfail(J, "indent: width must be a number or a string");
        jb_fill(&in, ' ', a[0].type == J_MISSING ? 4 : a[0].u.i > 0 ? (size_t)a[0].u.i : 0);
        by = jb_str_of(&in);
    }
    /* a newline at the end makes an empty last line, which the reference keeps */
    if (s->n == 0 || s->p[s->n - 1] == '\n')
        jlist_add(J, l, jv_str(&jstr_empty));
    for (size_t i = 0; i < l->n && !J->failed; i++) {
        const struct jstr *line = l->v[i].u.s;

        if (i)
            jb_lit(&b, "\n");
        if (i ? blank || line->n : jv_true(J, a[1]))
            jb_str(&b, by);
        jb_str(&b, line);
    }
    return jb_done(&b);
}

FILTER(f_join)
{
    struct jlist *l = jv_items(J, v), *r = l;

    UNUSED;
    if (a[1].type != J_MISSING && a[1].type != J_NONE) {
        r = jlist_new(J, l->n);
        for (size_t i = 0; i < l->n && !J->failed; i++)
            jlist_add(J, r, jv_item(J, l->v[i], a[1]));
    }
    return jv_str(jstr_join(J, a[0].type == J_MISSING ? &jstr_empty : jv_to_str(J, a[0]), r));
}

FILTER(f_replace)
{
    int64_t most = jv_is_int(a[2]) ? a[2].u.i : -1;

    UNUSED;
    return jv_str(jstr_replace(J, jv_to_str(J, v), jv_to_str(J, a[0]), jv_to_str(J, a[1]), most));
}

FILTER(f_trim)
{
    bool all_space = a[0].type == J_MISSING || a[0].type == J_NONE;

    UNUSED;
    return jv_str(jstr_strip(J, jv_to_str(J, v), all_space ? NULL : jv_to_str(J, a[0]), 3));
}

/* Without tags and comments, runs of white space as one space. */
FILTER(f_striptags)
{
    const struct jstr *s = jv_to_str(J, v), *r;
    struct jbuf b = {.J = J};
    bool space = false;

    UNUSED;
    for (size_t i = 0; i < s->n && jstep(J, 1);) {
        uint32_t cp = 0;
        int n = utf8_decode(s->p + i, s->n - i, &cp);
        const struct jstr end = {.p = "-->", .n = 3};
        bool note = slice_starts((struct slice){s->p + i, s->n - i}, SLICE("<!--"));
        size_t close = note ? jstr_find(s, i + 4, s->n, &end, false) : SIZE_MAX;

        if (close != SIZE_MAX) {
            i = close + 3;
            continue;
        }
        if (cp == '<' && memchr(s->p + i, '>', s->n - i)) {
            i = (size_t)((char *)memchr(s->p + i, '>', s->n - i) - s->p) + 1;
            continue;
        }
        if (ju_space(cp)) {
            space = b.n > 0;
        } else {
            if (space)
                jb_lit(&b, " ");
            space = false;
            jb_sub(&b, s, i, n > 0 ? (size_t)n : 1);
        }
        i += n > 0 ? (size_t)n : 1;
    }
    r = jb_str_of(&b);
    return jv_str(r);
}

FILTER(f_truncate)
{
    const struct jstr *s = jv_to_str(J, v), *end, *cut;
    int64_t length = jv_is_int(a[0]) ? a[0].u.i : 255, leeway = jv_is_int(a[3]) ? a[3].u.i : 5;
    struct jbuf b = {.J = J};
    size_t space;

    UNUSED;
    end = a[2].type == J_MISSING ? jstr_lit(J, "...") : jv_to_str(J, a[2]);
    if (length < (int64_t)end->n_cp || leeway < 0)
        return jfail(J, "truncate: length must be at least that of the end, leeway at least 0");
    if ((int64_t)s->n_cp <= length + leeway)
        return jv_str(s);
    cut = jstr_sub(J, s, 0, jstr_at(s, (size_t)length - end->n_cp));
    if (!jv_true(J, a[1])) {
        space = jstr_find(cut, 0, cut->n, &(struct jstr){.p = " ", .n = 1}, true);
        if (space != SIZE_MAX)
            cut = jstr_sub(J, cut, 0, space);
    }
    jb_str(&b, cut);
    jb_str(&b, end);
    return jb_done(&b);
}

static void quote(struct jbuf *b, const struct jstr *s, bool form)
{
    for (size_t i = 0; i < s->n && !b->J->failed; i++) {
        unsigned char c = (unsigned char)s->p[i];
        char text[4];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c && strchr(form ? "_.-~" : "_.-~/", c));

        if (plain) {
            jb_sub(b, s, i, 1);
            continue;
        }
        snprintf(text, sizeof text, "%%%02X", c);
        if (form && c == ' ')
            jb_add(b, "+", 1, jstr_mark_at(s, i));
        else
            jb_add(b, text, 3, jstr_mark_at(s, i));
    }
}

FILTER(f_urlencode)
{
    struct jbuf b = {.J = J};
    struct jlist *l;

    UNUSED;
    if (v.type != J_DICT && v.type != J_LIST && v.type != J_TUPLE) {
        quote(&b, jv_to_str(J, v), false);
        return jb_done(&b);
    }
    l = v.type == J_DICT ? jv_items(J, (struct jv){.type = J_VIEW, .sub = 'i', .u.d = v.u.d})
                         : v.u.l;
    for (size_t i = 0; i < l->n && !J->failed; i++) {
        if (l->v[i].type != J_TUPLE || l->v[i].u.l->n != 2)
            return jfail(J, "urlencode: expected pairs");
        if (i)
            jb_lit(&b, "&");
        quote(&b, jv_to_str(J, l->v[i].u.l->v[0]), true);
        jb_lit(&b, "=");
        quote(&b, jv_to_str(J, l->v[i].u.l->v[1]), true);
    }
    return jb_done(&b);
}

FILTER(f_wordcount)
{
    const struct jstr *s = jv_to_str(J, v);
    int64_t words = 0;
    bool inside = false;

    UNUSED;
    for (size_t i = 0; i < s->n && jstep(J, 1);) {
        uint32_t cp = 0;
        int n = utf8_decode(s->p + i, s->n - i, &cp);
        bool in = cp == '_' || (uclass_of(cp) & (UC_L | UC_N));

        words += in && !inside;
        inside = in;
        i += n > 0 ? (size_t)n : 1;
    }
    return jv_int(words);
}

FILTER(f_xmlattr)
{
    struct jbuf b = {.J = J};

    UNUSED;
    if (v.type != J_DICT)
        return jfail(J, "xmlattr: '%s' is not a mapping", jtype_name(v));
    for (size_t i = 0; i < v.u.d->n && !J->failed; i++) {
        const struct jentry *e = &v.u.d->e[i];
        const struct jstr *key = jv_to_str(J, e->key);

        if (e->val.type == J_NONE || e->val.type == J_UNDEF)
            continue;
        for (size_t k = 0; k < key->n; k++)
            if (strchr(" \t\n\r\f\v/>=", key->p[k]))
                return jfail(J, "xmlattr: invalid character in an attribute name");
        if (b.n || a[0].type == J_MISSING || jv_true(J, a[0]))
            jb_lit(&b, " ");
        jb_str(&b, jstr_escape(J, key));
        jb_lit(&b, "=\"");
        jb_str(&b, jstr_escape(J, jv_to_str(J, e->val)));
        jb_lit(&b, "\"");
    }
    return jb_done(&b);
}

FILTER(f_pprint)
{
    struct jbuf b = {.J = J};

    UNUSED;
    jv_write(&b, v, true);
    return jb_done(&b);
}

const struct jfn *jfilter_str_find(struct slice name)
{
    static const struct jfn table[] = {
        {"capitalize", f_capitalize, "", 0},
        {"center", f_center, "width", 0},
        {"e", f_escape, "", 0},
        {"escape", f_escape, "", 0},
        {"filesizeformat", f_filesizeformat, "binary", 0},
        {"forceescape", f_forceescape, "", 0},
        {"format", f_format, "*", 0},
        {"indent", f_indent, "width first blank", 0},
        {"join", f_join, "d attribute", 0},
        {"lower", f_lower, "", 0},
        {"pprint", f_pprint, "", 0},
        {"replace", f_replace, "old new count", 2},
        {"safe", f_safe, "", 0},
        {"string", f_string, "", 0},
        {"striptags", f_striptags, "", 0},
        {"title", f_title, "", 0},
        {"trim", f_trim, "chars", 0},
        {"truncate", f_truncate, "length killwords end leeway", 0},
        {"upper", f_upper, "", 0},
        {"urlencode", f_urlencode, "", 0},
        {"wordcount", f_wordcount, "", 0},
        {"xmlattr", f_xmlattr, "autospace", 0},
    };

    return jfn_find(table, ARRAY_LEN(table), name);
}
