/* jinja_json.c - JSON to values and back: the context of a template, and the tojson filter.
 *
 * tojson writes what Python's json.dumps does, with ensure_ascii off unless asked for.
 */
#include "jinja_in.h"

#include <math.h>
#include <stdio.h>

#include "base/utf8.h"

static const struct jstr *shared_key(struct jstate *J, const char *p, size_t n, uint8_t mark)
{
    const struct jstr **last = &J->key[(n * 5 + (unsigned char)p[0]) % J_KEYS];

    if (!*last || (*last)->n != n || (*last)->mark != mark || memcmp((*last)->p, p, n) != 0)
        *last = jstr_key(J, p, n, mark);
    return *last;
}

static struct jv from_object(struct jstate *J, const json_t *j, uint8_t mark, bool message)
{
    struct jdict *d = jdict_new(J, json_object_size(j));
    json_t *mutable = (json_t *)j; // the iterators of jansson want it so; nothing is changed

    for (void *it = json_object_iter(mutable); it && !J->failed;
         it = json_object_iter_next(mutable, it)) {
        const char *key = json_object_iter_key(it);
        bool role = message && strcmp(key, "role") == 0;

        jdict_put(J, d, jv_str(shared_key(J, key, json_object_iter_key_len(it), mark)),
                  jv_from_json(J, json_object_iter_value(it),
                               role            ? JINJA_TRUSTED
                               : mark == M_OWN ? JINJA_TRUSTED
                                               : JINJA_CONTENT));
    }
    return jv_dict(d);
}

static struct jv from_array(struct jstate *J, const json_t *j, enum jinja_mark mark)
{
    struct jlist *l = jlist_new(J, json_array_size(j));

    for (size_t i = 0; i < json_array_size(j) && !J->failed; i++) {
        const json_t *v = json_array_get(j, i);

        if (mark == JINJA_MESSAGES && json_is_object(v))
            jlist_add(J, l, from_object(J, v, M_CONTENT, true));
        else
            jlist_add(J, l, jv_from_json(J, v, mark == JINJA_TRUSTED ? mark : JINJA_CONTENT));
    }
    return jv_list(l);
}

struct jv jv_from_json(struct jstate *J, const json_t *j, enum jinja_mark mark)
{
    uint8_t m = mark == JINJA_TRUSTED ? M_OWN : M_CONTENT;
    struct jv v = jv_none();

    if (!jenter(J))
        return v;
    switch (json_typeof(j)) {
    case JSON_OBJECT:
        v = from_object(J, j, m, false);
        break;
    case JSON_ARRAY:
        v = from_array(J, j, mark);
        break;
    case JSON_STRING:
        v = jv_str(jstr_make(J, json_string_value(j), json_string_length(j), m));
        J->n_text += json_string_length(j);
        break;
    case JSON_INTEGER:
        v = jv_int(json_integer_value(j));
        break;
    case JSON_REAL:
        v = jv_float(json_real_value(j));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        v = jv_bool(json_is_true(j));
        break;
    default:
        break;
    }
    jleave(J);
    return v;
}

/* -- tojson -- */

struct writer {
    struct jbuf b;
    const struct jstr *indent; // NULL: all on one line
    const struct jstr *comma, *colon;
    bool ascii, sort;
    int level;
};

static void write_string(struct writer *w, const struct jstr *s)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    size_t start = 0;

    jb_lit(&w->b, "\"");
    for (size_t i = 0; i < s->n && !w->b.J->failed;) {
        unsigned char c = (unsigned char)s->p[i];
        const char *hit;
        char text[16];
        uint32_t cp = c;
        int n = 1;

        if (likely(c >= 0x20 && c != '"' && c != '\\' && (c < 0x7f || !w->ascii))) {
            i++;
            continue;
        }
        jb_sub(&w->b, s, start, i - start);
        hit = c ? strchr(from, c) : NULL;
        if (c >= 0x80)
            n = utf8_decode(s->p + i, s->n - i, &cp);
        if (hit)
            snprintf(text, sizeof text, "\\%c", to[hit - from]);
        else if (cp < 0x10000)
            snprintf(text, sizeof text, "\\u%04x", (unsigned)cp);
        else
            snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xd800 + (unsigned)((cp - 0x10000) >> 10),
                     0xdc00 + (unsigned)((cp - 0x10000) & 0x3ff));
        jb_add(&w->b, text, strlen(text), jstr_mark_at(s, i));
        i += n > 0 ? (size_t)n : 1;
        start = i;
    }
    jb_sub(&w->b, s, start, s->n - start);
    jb_lit(&w->b, "\"");
}

static void newline(struct writer *w)
{
    if (!w->indent)
        return;
    jb_lit(&w->b, "\n");
    for (int i = 0; i < w->level; i++)
        jb_str(&w->b, w->indent);
}

static void write_value(struct writer *w, struct jv v);

static void write_list(struct writer *w, const struct jlist *l)
{
    jb_lit(&w->b, "[");
    w->level++;
    for (size_t i = 0; i < l->n && jstep(w->b.J, 1); i++) {
        if (i)
            jb_str(&w->b, w->comma);
        newline(w);
        write_value(w, l->v[i]);
    }
    w->level--;
    if (l->n)
        newline(w);
    jb_lit(&w->b, "]");
}

static void write_key(struct writer *w, struct jv key)
{
    struct jbuf b = {.J = w->b.J};
    char text[64];

    switch (key.type) {
    case J_STR:
        write_string(w, key.u.s);
        return;
    case J_NONE:
        jb_lit(&b, "null");
        break;
    case J_BOOL:
        jb_lit(&b, key.u.i ? "true" : "false");
        break;
    case J_INT:
        jv_write(&b, key, false);
        break;
    case J_FLOAT:
        jb_lit(&b, jfloat_repr(key.u.f, text));
        break;
    default:
        jfail(w->b.J, "keys must be str, int, float, bool or None, not %s", jtype_name(key));
        return;
    }
    write_string(w, jb_str_of(&b));
}

/* The order of sort_keys: stable insertion, or merging for many. */
static bool sort_entries(struct jstate *J, struct jentry *e, struct jentry *tmp, size_t n)
{
    size_t half = n / 2, i = 0, j = half, k = 0;

    if (n < 2)
        return true;
    if (!sort_entries(J, e, tmp, half) || !sort_entries(J, e + half, tmp, n - half))
        return false;
    while (i < half && j < n && jstep(J, 1))
        tmp[k++] = jv_cmp(J, e[j].key, e[i].key, "<") < 0 ? e[j++] : e[i++];
    if (J->failed)
        return false;
    while (i < half)
        tmp[k++] = e[i++];
    memcpy(e, tmp, k * sizeof *e);
    return true;
}

static void write_dict(struct writer *w, const struct jdict *d)
{
    struct jstate *J = w->b.J;
    struct jentry *e = d->e;

    if (w->sort && d->n > 1) {
        struct jentry *tmp = jalloc(J, d->n, sizeof *tmp);

        e = jalloc(J, d->n, sizeof *e);
        if (!e || !tmp)
            return;
        memcpy(e, d->e, d->n * sizeof *e);
        if (!sort_entries(J, e, tmp, d->n))
            return;
    }
    jb_lit(&w->b, "{");
    w->level++;
    for (size_t i = 0; i < d->n && jstep(J, 1); i++) {
        if (i)
            jb_str(&w->b, w->comma);
        newline(w);
        write_key(w, e[i].key);
        jb_str(&w->b, w->colon);
        write_value(w, e[i].val);
    }
    w->level--;
    if (d->n)
        newline(w);
    jb_lit(&w->b, "}");
}

static void write_float(struct writer *w, double f)
{
    char text[64];

    if (isnan(f))
        jb_lit(&w->b, "NaN");
    else if (isinf(f))
        jb_lit(&w->b, f < 0 ? "-Infinity" : "Infinity");
    else
        jb_lit(&w->b, jfloat_repr(f, text));
}

static void write_value(struct writer *w, struct jv v)
{
    struct jstate *J = w->b.J;

    if (!jenter(J))
        return;
    switch (v.type) {
    case J_NONE:
        jb_lit(&w->b, "null");
        break;
    case J_BOOL:
        jb_lit(&w->b, v.u.i ? "true" : "false");
        break;
    case J_INT:
        jv_write(&w->b, v, false);
        break;
    case J_FLOAT:
        write_float(w, v.u.f);
        break;
    case J_STR:
        write_string(w, v.u.s);
        break;
    case J_LIST:
    case J_TUPLE:
        write_list(w, v.u.l);
        break;
    case J_DICT:
        write_dict(w, v.u.d);
        break;
    default:
        jfail(J, "Object of type %s is not JSON serializable", jtype_name(v));
    }
    jleave(J);
}

static const struct jstr *indent_of(struct jstate *J, struct jv v)
{
    struct jbuf b = {.J = J};

    if (v.type == J_STR)
        return v.u.s;
    if (!jv_is_int(v)) {
        jfail(J, "tojson: indent must be a number or a string");
        return &jstr_empty;
    }
    jb_fill(&b, ' ', v.u.i < 0 ? 0 : (size_t)v.u.i);
    return jb_str_of(&b);
}

struct jv jf_tojson(struct jstate *J, struct jv v, const struct jv *a, const struct jargs *all)
{
    struct writer w = {.b = {.J = J}, .ascii = jv_true(J, a[0]), .sort = jv_true(J, a[3])};

    (void)all;
    if (a[1].type != J_MISSING && a[1].type != J_NONE)
        w.indent = indent_of(J, a[1]);
    w.comma = jstr_lit(J, w.indent ? "," : ", ");
    w.colon = jstr_lit(J, ": ");
    if (a[2].type != J_MISSING && a[2].type != J_NONE) {
        struct jlist *l = jv_items(J, a[2]);

        if (l->n != 2 || l->v[0].type != J_STR || l->v[1].type != J_STR)
            return jfail(J, "tojson: separators must be two strings");
        w.comma = l->v[0].u.s;
        w.colon = l->v[1].u.s;
    }
    write_value(&w, v);
    return jb_done(&w.b);
}
