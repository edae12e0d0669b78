/* jinja_method_str.c - methods of strings, as Python's str has them. */
#include "jinja_in.h"

#include "base/utf8.h"
#include "uclass.h"

#define METHOD(name)                                                                               \
    static struct jv name(struct jstate *J, struct jv v, const struct jv *a,                       \
                          const struct jargs *all)
#define UNUSED (void)J, (void)v, (void)a, (void)all

static bool absent(struct jv v)
{
    return v.type == J_MISSING || v.type == J_NONE;
}

/* A string argument; fails and gives an empty one otherwise. */
static const struct jstr *str_arg(struct jstate *J, struct jv v)
{
    if (v.type == J_STR)
        return v.u.s;
    if (v.type == J_UNDEF)
        jfail_undef(J, v);
    else
        jfail(J, "expected a string, got '%s'", jtype_name(v));
    return &jstr_empty;
}

static int64_t int_arg(struct jstate *J, struct jv v, int64_t otherwise)
{
    if (absent(v))
        return otherwise;
    if (!jv_is_int(v))
        jfail(J, "'%s' object cannot be interpreted as an integer", jtype_name(v));
    return jv_is_int(v) ? v.u.i : otherwise;
}

METHOD(m_upper)
{
    UNUSED;
    return jv_str(jstr_case(J, v.u.s, 'u'));
}

METHOD(m_lower)
{
    UNUSED;
    return jv_str(jstr_case(J, v.u.s, 'l'));
}

METHOD(m_title)
{
    UNUSED;
    return jv_str(jstr_case(J, v.u.s, 't'));
}

METHOD(m_capitalize)
{
    UNUSED;
    return jv_str(jstr_case(J, v.u.s, 'c'));
}

METHOD(m_swapcase)
{
    UNUSED;
    return jv_str(jstr_case(J, v.u.s, 's'));
}

static struct jv strip(struct jstate *J, struct jv v, struct jv chars, int sides)
{
    return jv_str(jstr_strip(J, v.u.s, absent(chars) ? NULL : str_arg(J, chars), sides));
}

METHOD(m_strip)
{
    UNUSED;
    return strip(J, v, a[0], 3);
}

METHOD(m_lstrip)
{
    UNUSED;
    return strip(J, v, a[0], 1);
}

METHOD(m_rstrip)
{
    UNUSED;
    return strip(J, v, a[0], 2);
}

/* -- splitting -- */

static bool space_at(const struct jstr *s, size_t i, size_t *n)
{
    uint32_t cp = 0;
    int k = utf8_decode(s->p + i, s->n - i, &cp);

    *n = k > 0 ? (size_t)k : 1;
    return k > 0 && ju_space(cp);
}

/* At runs of white space, none at the ends. */
static struct jlist *split_space(struct jstate *J, const struct jstr *s, int64_t most)
{
    struct jlist *l = jlist_new(J, 0);
    size_t i = 0, n = 1;

    while (!J->failed) {
        size_t start;

        while (i < s->n && space_at(s, i, &n))
            i += n;
        if (i >= s->n)
            break;
        start = i;
        if (most >= 0 && (int64_t)l->n >= most) {
            jlist_add(J, l, jv_str(jstr_sub(J, s, i, s->n - i)));
            break;
        }
        while (i < s->n && !space_at(s, i, &n))
            i += n;
        jlist_add(J, l, jv_str(jstr_sub(J, s, start, i - start)));
    }
    return l;
}

static struct jlist *rsplit_space(struct jstate *J, const struct jstr *s, int64_t most)
{
    struct jlist *all = split_space(J, s, -1), *l;
    size_t k, end = s->n;

    if (most < 0 || (int64_t)all->n <= most || J->failed)
        return all;
    l = jlist_new(J, (size_t)most + 1);
    for (k = all->n; k > all->n - (size_t)most; k--) // where the words to keep begin
        end = (size_t)(all->v[k - 1].u.s->p - s->p);
    jlist_add(J, l, jv_str(jstr_strip(J, jstr_sub(J, s, 0, end), NULL, 2)));
    for (; k < all->n; k++)
        jlist_add(J, l, all->v[k]);
    return l;
}

static struct jlist *split_at(struct jstate *J, const struct jstr *s, const struct jstr *sep,
                              int64_t most)
{
    struct jlist *l = jlist_new(J, 0);
    size_t at = 0, hit;

    while (most != 0 && jstep(J, 1) && (hit = jstr_find(s, at, s->n, sep, false)) != SIZE_MAX) {
        jlist_add(J, l, jv_str(jstr_sub(J, s, at, hit - at)));
        at = hit + sep->n;
        most--;
    }
    jlist_add(J, l, jv_str(jstr_sub(J, s, at, s->n - at)));
    return l;
}

static struct jlist *rsplit_at(struct jstate *J, const struct jstr *s, const struct jstr *sep,
                               int64_t most)
{
    struct jlist *l = jlist_new(J, 0);
    size_t end = s->n, hit;

    while (most != 0 && jstep(J, 1) && (hit = jstr_find(s, 0, end, sep, true)) != SIZE_MAX) {
        jlist_add(J, l, jv_str(jstr_sub(J, s, hit + sep->n, end - hit - sep->n)));
        end = hit;
        most--;
    }
    jlist_add(J, l, jv_str(jstr_sub(J, s, 0, end)));
    for (size_t i = 0, j = l->n - 1; l->n && i < j; i++, j--) {
        struct jv t = l->v[i];

        l->v[i] = l->v[j];
        l->v[j] = t;
    }
    return l;
}

static struct jv split(struct jstate *J, struct jv v, const struct jv *a, bool right)
{
    int64_t most = int_arg(J, a[1], -1);
    const struct jstr *sep = absent(a[0]) ? NULL : str_arg(J, a[0]);

    if (J->failed)
        return jv_none();
    if (!sep)
        return jv_list(right ? rsplit_space(J, v.u.s, most) : split_space(J, v.u.s, most));
    if (sep->n == 0)
        return jfail(J, "empty separator");
    return jv_list(right ? rsplit_at(J, v.u.s, sep, most) : split_at(J, v.u.s, sep, most));
}

METHOD(m_split)
{
    UNUSED;
    return split(J, v, a, false);
}

METHOD(m_rsplit)
{
    UNUSED;
    return split(J, v, a, true);
}

METHOD(m_splitlines)
{
    UNUSED;
    return jv_list(jstr_lines(J, v.u.s, jv_true(J, a[0])));
}

static struct jv partition(struct jstate *J, struct jv v, struct jv what, bool right)
{
    const struct jstr *s = v.u.s, *sep = str_arg(J, what);
    struct jlist *l = jlist_new(J, 3);
    size_t hit = sep->n ? jstr_find(s, 0, s->n, sep, right) : SIZE_MAX;

    if (sep->n == 0)
        return jfail(J, "empty separator");
    if (hit == SIZE_MAX) {
        jlist_add(J, l, jv_str(right ? &jstr_empty : s));
        jlist_add(J, l, jv_str(&jstr_empty));
        jlist_add(J, l, jv_str(right ? s : &jstr_empty));
    } else {
        jlist_add(J, l, jv_str(jstr_sub(J, s, 0, hit)));
        jlist_add(J, l, jv_str(jstr_sub(J, s, hit, sep->n)));
        jlist_add(J, l, jv_str(jstr_sub(J, s, hit + sep->n, s->n - hit - sep->n)));
    }
    return jv_tuple(l);
}

METHOD(m_partition)
{
    UNUSED;
    return partition(J, v, a[0], false);
}

METHOD(m_rpartition)
{
    UNUSED;
    return partition(J, v, a[0], true);
}

/* -- finding -- */

/* Bytes from and to of the characters that arguments i and i + 1 name; false: nothing is there. */
static bool window(struct jstate *J, const struct jstr *s, const struct jv *a, size_t *from,
                   size_t *to)
{
    int64_t n = (int64_t)s->n_cp, x = int_arg(J, a[0], 0), y = int_arg(J, a[1], n);

    x = x < 0 ? (x + n < 0 ? 0 : x + n) : x;
    y = y < 0 ? (y + n < 0 ? 0 : y + n) : y > n ? n : y;
    if (x > y || J->failed)
        return false;
    *from = jstr_at(s, (size_t)x);
    *to = jstr_at(s, (size_t)y);
    return jstep(J, s->n / 64);
}

static int64_t find(struct jstate *J, struct jv v, const struct jv *a, bool right)
{
    size_t from, to, hit = SIZE_MAX;

    if (window(J, v.u.s, a + 1, &from, &to))
        hit = jstr_find(v.u.s, from, to, str_arg(J, a[0]), right);
    return hit == SIZE_MAX ? -1 : (int64_t)jstr_chars(v.u.s, hit);
}

METHOD(m_find)
{
    UNUSED;
    return jv_int(find(J, v, a, false));
}

METHOD(m_rfind)
{
    UNUSED;
    return jv_int(find(J, v, a, true));
}

METHOD(m_index)
{
    int64_t i = find(J, v, a, false);

    UNUSED;
    return i < 0 ? jfail(J, "substring not found") : jv_int(i);
}

METHOD(m_rindex)
{
    int64_t i = find(J, v, a, true);

    UNUSED;
    return i < 0 ? jfail(J, "substring not found") : jv_int(i);
}

METHOD(m_count)
{
    const struct jstr *what = str_arg(J, a[0]);
    size_t from, to, hit;
    int64_t n = 0;

    UNUSED;
    if (!window(J, v.u.s, a + 1, &from, &to))
        return jv_int(0);
    if (what->n == 0)
        return jv_int((int64_t)(jstr_chars(v.u.s, to) - jstr_chars(v.u.s, from)) + 1);
    while (jstep(J, 1) && (hit = jstr_find(v.u.s, from, to, what, false)) != SIZE_MAX) {
        from = hit + what->n;
        n++;
    }
    return jv_int(n);
}

/* startswith and endswith, of one string or a tuple of them */
static struct jv begins(struct jstate *J, struct jv v, const struct jv *a, bool at_end)
{
    struct jlist one = {.v = (struct jv *)a, .n = 1}, *l = &one;
    size_t from, to;

    if (a[0].type == J_TUPLE)
        l = a[0].u.l;
    for (size_t i = 0; i < l->n && !J->failed; i++) {
        const struct jstr *what = str_arg(J, l->v[i]);

        if (J->failed || !window(J, v.u.s, a + 1, &from, &to))
            break;
        if (what->n <= to - from &&
            memcmp(v.u.s->p + (at_end ? to - what->n : from), what->p, what->n) == 0)
            return jv_bool(true);
    }
    return jv_bool(false);
}

METHOD(m_startswith)
{
    UNUSED;
    return begins(J, v, a, false);
}

METHOD(m_endswith)
{
    UNUSED;
    return begins(J, v, a, true);
}

METHOD(m_removeprefix)
{
    const struct jstr *s = v.u.s, *p = str_arg(J, a[0]);

    UNUSED;
    return jv_str(slice_starts(jstr_slice(s), jstr_slice(p)) ? jstr_sub(J, s, p->n, s->n - p->n)
                                                             : s);
}

METHOD(m_removesuffix)
{
    const struct jstr *s = v.u.s, *p = str_arg(J, a[0]);
    bool yes = p->n <= s->n && memcmp(s->p + s->n - p->n, p->p, p->n) == 0;

    UNUSED;
    return jv_str(yes ? jstr_sub(J, s, 0, s->n - p->n) : s);
}

METHOD(m_replace)
{
    UNUSED;
    return jv_str(jstr_replace(J, v.u.s, str_arg(J, a[0]), str_arg(J, a[1]), int_arg(J, a[2], -1)));
}

METHOD(m_join)
{
    struct jlist *l = jv_items(J, a[0]);

    UNUSED;
    for (size_t i = 0; i < l->n; i++)
        if (l->v[i].type != J_STR)
            return jfail(J, "sequence item %zu: expected str instance, %s found", i,
                         jtype_name(l->v[i]));
    return jv_str(jstr_join(J, v.u.s, l));
}

METHOD(m_format)
{
    UNUSED;
    return jv_str(jformat_braces(J, v.u.s, all));
}

METHOD(m_format_map)
{
    struct jargs kw = {0};

    UNUSED;
    if (a[0].type != J_DICT)
        return jfail(J, "format_map: expected a mapping");
    kw.kw = jalloc(J, a[0].u.d->n, sizeof *kw.kw);
    for (size_t i = 0; kw.kw && i < a[0].u.d->n; i++)
        if (a[0].u.d->e[i].key.type == J_STR)
            kw.kw[kw.n_kw++] = (struct jkw){a[0].u.d->e[i].key.u.s, a[0].u.d->e[i].val};
    return jv_str(jformat_braces(J, v.u.s, &kw));
}

/* -- padding -- */

static struct jv pad(struct jstate *J, struct jv v, const struct jv *a, char where)
{
    const struct jstr *s = v.u.s, *fill = absent(a[1]) ? NULL : str_arg(J, a[1]);
    int64_t width = int_arg(J, a[0], 0), n = width - (int64_t)s->n_cp, left;
    struct jbuf b = {.J = J};

    if (fill && fill->n_cp != 1)
        return jfail(J, "the fill character must be exactly one character long");
    left = where == 'r' ? n : where == 'l' ? 0 : n / 2 + (n & width & 1);
    for (int64_t i = 0; i <= n && !J->failed; i++) {
        if (i == left || (n < 0 && i == 0))
            jb_str(&b, s);
        if (i < n && fill)
            jb_str(&b, fill);
        else if (i < n)
            jb_lit(&b, " ");
    }
    return n <= 0 ? v : jb_done(&b);
}

METHOD(m_center)
{
    UNUSED;
    return pad(J, v, a, 'c');
}

METHOD(m_ljust)
{
    UNUSED;
    return pad(J, v, a, 'l');
}

METHOD(m_rjust)
{
    UNUSED;
    return pad(J, v, a, 'r');
}

METHOD(m_zfill)
{
    const struct jstr *s = v.u.s;
    int64_t n = int_arg(J, a[0], 0) - (int64_t)s->n_cp;
    size_t sign = s->n && (s->p[0] == '-' || s->p[0] == '+');
    struct jbuf b = {.J = J};

    UNUSED;
    jb_sub(&b, s, 0, sign);
    jb_fill(&b, '0', n > 0 ? (size_t)n : 0);
    jb_sub(&b, s, sign, s->n - sign);
    return jb_done(&b);
}

METHOD(m_expandtabs)
{
    int64_t tab = int_arg(J, a[0], 8), column = 0;
    struct jbuf b = {.J = J};

    UNUSED;
    for (size_t i = 0; i < v.u.s->n && !J->failed; i++) {
        char c = v.u.s->p[i];

        if (c == '\t') {
            int64_t n = tab > 0 ? tab - column % tab : 0;

            jb_fill(&b, ' ', (size_t)n);
            column += n;
            continue;
        }
        jb_sub(&b, v.u.s, i, 1);
        column = c == '\n' || c == '\r' ? 0 : column + (((unsigned char)c & 0xc0) != 0x80);
    }
    return jb_done(&b);
}

/* -- what it is made of -- */

static struct jv all_are(struct jstate *J, struct jv v, bool (*is)(uint32_t cp), bool empty)
{
    const struct jstr *s = v.u.s;

    for (size_t i = 0; i < s->n && jstep(J, 1);) {
        uint32_t cp = 0;
        int n = utf8_decode(s->p + i, s->n - i, &cp);

        if (!is(cp))
            return jv_bool(false);
        i += n > 0 ? (size_t)n : 1;
    }
    return jv_bool(s->n > 0 || empty);
}

static bool is_alpha(uint32_t cp)
{
    return uclass_of(cp) & UC_L;
}

static bool is_decimal(uint32_t cp)
{
    return uclass_of(cp) & UC_ND;
}

static bool is_numeric(uint32_t cp)
{
    return uclass_of(cp) & UC_N;
}

static bool is_alnum(uint32_t cp)
{
    return uclass_of(cp) & (UC_L | UC_N);
}

static bool is_ascii(uint32_t cp)
{
    return cp < 0x80;
}

METHOD(m_isalpha)
{
    UNUSED;
    return all_are(J, v, is_alpha, false);
}

METHOD(m_isalnum)
{
    UNUSED;
    return all_are(J, v, is_alnum, false);
}

METHOD(m_isascii)
{
    UNUSED;
    return all_are(J, v, is_ascii, true);
}

METHOD(m_isdecimal)
{
    UNUSED;
    return all_are(J, v, is_decimal, false);
}

METHOD(m_isnumeric)
{
    UNUSED;
    return all_are(J, v, is_numeric, false);
}

METHOD(m_isprintable)
{
    UNUSED;
    return all_are(J, v, ju_printable, true);
}

METHOD(m_isspace)
{
    UNUSED;
    return all_are(J, v, ju_space, false);
}

static struct jv by_test(struct jstate *J, struct jv v, const char *name)
{
    const struct jargs none = {0};

    return jcall_fn(J, jtest_find(slice_of(name)), "test", v, &none);
}

METHOD(m_islower)
{
    UNUSED;
    return by_test(J, v, "lower");
}

METHOD(m_isupper)
{
    UNUSED;
    return by_test(J, v, "upper");
}

METHOD(m_istitle)
{
    const struct jstr *t = jstr_case(J, v.u.s, 't');

    UNUSED;
    return jv_bool(jstr_eq(t, v.u.s) && !jstr_eq(t, jstr_case(J, t, 's')));
}

METHOD(m_isidentifier)
{
    UNUSED;
    for (size_t i = 0; i < v.u.s->n; i++) {
        char c = v.u.s->p[i];

        if (c != '_' && !((c | 32) >= 'a' && (c | 32) <= 'z') && !(i && c >= '0' && c <= '9') &&
            !(c & 0x80))
            return jv_bool(false);
    }
    return jv_bool(v.u.s->n > 0);
}

const struct jfn *jmethod_str_find(struct slice name)
{
    static const struct jfn table[] = {
        {"capitalize", m_capitalize, "", 0},
        {"casefold", m_lower, "", 0},
        {"center", m_center, "width fillchar", 1},
        {"count", m_count, "sub start end", 1},
        {"endswith", m_endswith, "suffix start end", 1},
        {"expandtabs", m_expandtabs, "tabsize", 0},
        {"find", m_find, "sub start end", 1},
        {"format", m_format, "*", 0},
        {"format_map", m_format_map, "mapping", 1},
        {"index", m_index, "sub start end", 1},
        {"isalnum", m_isalnum, "", 0},
        {"isalpha", m_isalpha, "", 0},
        {"isascii", m_isascii, "", 0},
        {"isdecimal", m_isdecimal, "", 0},
        {"isdigit", m_isdecimal, "", 0},
        {"isidentifier", m_isidentifier, "", 0},
        {"islower", m_islower, "", 0},
        {"isnumeric", m_isnumeric, "", 0},
        {"isprintable", m_isprintable, "", 0},
        {"isspace", m_isspace, "", 0},
        {"istitle", m_istitle, "", 0},
        {"isupper", m_isupper, "", 0},
        {"join", m_join, "iterable", 1},
        {"ljust", m_ljust, "width fillchar", 1},
        {"lower", m_lower, "", 0},
        {"lstrip", m_lstrip, "chars", 0},
        {"partition", m_partition, "sep", 1},
        {"removeprefix", m_removeprefix, "prefix", 1},
        {"removesuffix", m_removesuffix, "suffix", 1},
        {"replace", m_replace, "old new count", 2},
        {"rfind", m_rfind, "sub start end", 1},
        {"rindex", m_rindex, "sub start end", 1},
        {"rjust", m_rjust, "width fillchar", 1},
        {"rpartition", m_rpartition, "sep", 1},
        {"rsplit", m_rsplit, "sep maxsplit", 0},
        {"rstrip", m_rstrip, "chars", 0},
        {"split", m_split, "sep maxsplit", 0},
        {"splitlines", m_splitlines, "keepends", 0},
        {"startswith", m_startswith, "prefix start end", 1},
        {"strip", m_strip, "chars", 0},
        {"swapcase", m_swapcase, "", 0},
        {"title", m_title, "", 0},
        {"upper", m_upper, "", 0},
        {"zfill", m_zfill, "width", 1},
    };

    return jfn_find(table, ARRAY_LEN(table), name);
}
