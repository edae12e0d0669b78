/* safetensors.c - see safetensors.h: one file's header; directories are in safetensors_dir.c.
 *
 * The header's JSON is read here by hand, front to back, without a tree: a hundred megabytes of it
 * must not become gigabytes of memory.
 */
#include "file/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "file/gguf.h"
#include "file/gguf_inner.h"
#include "file/st_inner.h"
#include "quant/half.h"

enum { MAX_DEPTH = 16 }; // of values that are skipped

/* -- types -- */

static const struct {
    const char *name;
    uint32_t bytes;
} types[] = {
#define X(name, bytes) {#name, bytes},
    ST_TYPES(X)
#undef X
};

const char *st_type_name(int type)
{
    return type >= 0 && type < ST_N_TYPES ? types[type].name : "?";
}

uint32_t st_type_bytes(int type)
{
    return type >= 0 && type < ST_N_TYPES ? types[type].bytes : 0;
}

float st_float8(int type, uint8_t v)
{
    int bits = type == ST_F8_E4M3 ? 3 : 2, bias = type == ST_F8_E4M3 ? 7 : 15;
    int exp = (v & 0x7f) >> bits, man = v & ((1 << bits) - 1);
    float x;

    if (type == ST_F8_E4M3 && (v & 0x7f) == 0x7f)
        return NAN;
    if (type == ST_F8_E5M2 && exp == 31)
        x = man ? NAN : INFINITY;
    else if (exp == 0)
        x = ldexpf((float)man, 1 - bias - bits);
    else
        x = ldexpf((float)(man + (1 << bits)), exp - bias - bits);
    return v & 0x80 ? -x : x;
}

double st_number(int type, const uint8_t *p, uint64_t i)
{
    uint32_t size = st_type_bytes(type);
    uint64_t v = 0;
    float f;
    double d;

    for (uint32_t k = 0; k < size; k++)
        v |= (uint64_t)p[i * size + k] << (8 * k);
    switch (type) {
    case ST_F64:
        memcpy(&d, &v, sizeof d);
        return d;
    case ST_F32:
        memcpy(&f, &(uint32_t){(uint32_t)v}, sizeof f);
        return (double)f;
    case ST_F16:
        return (double)f16_to_f32((uint16_t)v);
    case ST_BF16:
        return (double)bf16_to_f32((uint16_t)v);
    case ST_F8_E4M3:
    case ST_F8_E5M2:
        return (double)st_float8(type, (uint8_t)v);
    case ST_I64:
        return (double)(int64_t)v;
    case ST_I32:
        return (double)(int32_t)v;
    case ST_I16:
        return (double)(int16_t)v;
    case ST_I8:
        return (double)(int8_t)v;
    default:
        return (double)v;
    }
}

/* -- JSON, front to back -- */

struct reader {
    struct safetensors *s;
    struct err *e;
    const char *path;
    const char *p, *end, *start;
    char *names; // where the next resolved string goes; as long as the header
    uint32_t cap_tensor, cap_meta;
    struct map seen;
};

static int bad(struct reader *r, const char *what)
{
    return err_set(r->e, E_FORMAT, "%s: header: %s at byte %zu", gguf_path_tail(r->path), what,
                   (size_t)(r->p - r->start) + 8);
}

static int bad_tensor(const struct reader *r, struct slice name, int code, const char *what)
{
    char shown[96];

    return err_set(r->e, code, "%s: tensor '%s': %s", gguf_path_tail(r->path),
                   gguf_show(shown, sizeof shown, name), what);
}

static void skip_space(struct reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
        r->p++;
}

/* The next character that is no space is c: takes it. */
static bool take(struct reader *r, char c)
{
    skip_space(r);
    if (r->p >= r->end || *r->p != c)
        return false;
    r->p++;
    return true;
}

static int hex4(struct reader *r, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 4; i++) {
        char c = r->p < r->end ? *r->p++ : 0;
        int v = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;

        if (v < 0)
            return bad(r, "a broken \\u escape");
        *out = *out << 4 | (uint32_t)v;
    }
    return 0;
}

/* Behind a backslash. */
static int read_escape(struct reader *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = r->p < r->end ? *r->p++ : 0;
    const char *at = c ? strchr(from, c) : NULL;
    uint32_t cp, low;
    int rc;

    if (at) {
        *r->names++ = to[at - from];
        return 0;
    }
    if (c != 'u')
        return bad(r, "an unknown escape");
    if ((rc = hex4(r, &cp)) < 0)
        return rc;
    if (cp >= 0xd800 && cp < 0xdc00 && r->end - r->p >= 2 && r->p[0] == '\\' && r->p[1] == 'u') {
        r->p += 2;
        if ((rc = hex4(r, &low)) < 0)
            return rc;
        if (low < 0xdc00 || low > 0xdfff)
            return bad(r, "half a surrogate pair");
        cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
    }
    rc = utf8_encode(cp, r->names);
    if (rc == 0)
        return bad(r, "half a surrogate pair");
    r->names += rc;
    return 0;
}

/* A string, its escapes resolved into r->names. */
static int read_string(struct reader *r, struct slice *out)
{
    char *from = r->names;
    int rc;

    if (!take(r, '"'))
        return bad(r, "no string");
    for (;;) {
        if (r->p >= r->end)
            return bad(r, "a string without end");
        if (*r->p == '"')
            break;
        if ((uint8_t)*r->p < 0x20)
            return bad(r, "a control character in a string");
        if (*r->p != '\\') {
            *r->names++ = *r->p++;
            continue;
        }
        r->p++;
        if ((rc = read_escape(r)) < 0)
            return rc;
    }
    r->p++;
    *out = (struct slice){from, (size_t)(r->names - from)};
    return 0;
}

/* A count: digits only. */
static int read_count(struct reader *r, uint64_t *out)
{
    const char *from;

    skip_space(r);
    from = r->p;
    *out = 0;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9') {
        if (!mul_ok(*out, 10, out) || !add_ok(*out, (uint64_t)(*r->p - '0'), out))
            return bad(r, "a number that is too large");
        r->p++;
    }
    if (r->p == from || (*from == '0' && r->p - from > 1))
        return bad(r, "no whole number");
    return 0;
}

/* Up to most counts in brackets. */
static int read_counts(struct reader *r, uint64_t *out, unsigned most, unsigned *n)
{
    int rc;

    *n = 0;
    if (!take(r, '['))
        return bad(r, "no list");
    if (take(r, ']'))
        return 0;
    do {
        if (*n == most)
            return bad(r, "a list that is too long");
        if ((rc = read_count(r, &out[(*n)++])) < 0)
            return rc;
    } while (take(r, ','));
    return take(r, ']') ? 0 : bad(r, "a list without end");
}

static int skip_value(struct reader *r, int depth);

static int skip_list(struct reader *r, char close, int depth)
{
    char *names = r->names;
    struct slice key;
    int rc;

    if (depth >= MAX_DEPTH)
        return bad(r, "values nested too deep");
    if (take(r, close))
        return 0;
    do {
        if (close == '}' && (rc = read_string(r, &key)) < 0)
            return rc;
        r->names = names;
        if (close == '}' && !take(r, ':'))
            return bad(r, "no ':'");
        if ((rc = skip_value(r, depth + 1)) < 0)
            return rc;
    } while (take(r, ','));
    return take(r, close) ? 0 : bad(r, "a list or object without end");
}

static bool digits(struct reader *r)
{
    const char *from = r->p;

    while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
        r->p++;
    return r->p > from;
}

/* A number as JSON has it: no zeros in front, digits on both sides of the point. */
static int skip_number(struct reader *r)
{
    bool ok = true;

    r->p += *r->p == '-';
    if (r->p < r->end && *r->p == '0')
        r->p++;
    else
        ok = digits(r);
    if (ok && r->p < r->end && *r->p == '.') {
        r->p++;
        ok = digits(r);
    }
    if (ok && r->p < r->end && (*r->p == 'e' || *r->p == 'E')) {
        r->p++;
        r->p += r->p < r->end && (*r->p == '+' || *r->p == '-');
        ok = digits(r);
    }
    return ok ? 0 : bad(r, "a broken number");
}

/* A value we have no use for. */
static int skip_value(struct reader *r, int depth)
{
    static const char *const words[] = {"true", "false", "null"};
    char *names = r->names;
    struct slice text;
    int rc;

    if (take(r, '{'))
        return skip_list(r, '}', depth);
    if (take(r, '['))
        return skip_list(r, ']', depth);
    if (r->p < r->end && *r->p == '"') {
        rc = read_string(r, &text);
        r->names = names;
        return rc;
    }
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (slice_starts((struct slice){r->p, (size_t)(r->end - r->p)}, slice_of(words[i]))) {
            r->p += strlen(words[i]);
            return 0;
        }
    if (r->p < r->end && (*r->p == '-' || (*r->p >= '0' && *r->p <= '9')))
        return skip_number(r);
    return bad(r, "no value");
}

/* -- the header -- */

/* A name may occur once in an object. */
static int once(struct reader *r, struct slice name)
{
    uint32_t twin;

    if (map_get(&r->seen, name, &twin))
        return bad_tensor(r, name, E_FORMAT, "occurs twice");
    return map_put(&r->seen, name, 0, r->e);
}

/* Room for one more. */
static void *one_more(struct reader *r, void *list, uint32_t n, uint32_t *cap, size_t size)
{
    uint32_t want = *cap ? *cap * 2 : 64;
    void *p;

    if (n < *cap)
        return list;
    if (n >= ST_MAX_TENSORS) {
        bad(r, "more tensors than any model has");
        return NULL;
    }
    p = mem_resize(list, *cap, want, size, r->e);
    if (p)
        *cap = want;
    return p;
}

static int read_meta_item(struct reader *r, struct map *seen)
{
    struct st_meta m = {0};
    uint32_t twin;
    void *p;
    int rc;

    if ((rc = read_string(r, &m.key)) < 0)
        return rc;
    if (!take(r, ':'))
        return bad(r, "no ':'");
    if ((rc = read_string(r, &m.value)) < 0)
        return rc;
    if (map_get(seen, m.key, &twin))
        return bad(r, "a key of __metadata__ occurs twice");
    if ((rc = map_put(seen, m.key, 0, r->e)) < 0)
        return rc;
    p = one_more(r, r->s->meta, r->s->n_meta, &r->cap_meta, sizeof m);
    if (!p)
        return r->e->code;
    r->s->meta = p;
    r->s->meta[r->s->n_meta++] = m;
    return 0;
}

static int read_meta(struct reader *r)
{
    struct map seen = {0};
    int rc = map_init(&seen, 0, r->e);

    if (rc == 0 && !take(r, '{'))
        rc = bad(r, "__metadata__ is no object");
    if (rc == 0 && !take(r, '}')) {
        do
            rc = read_meta_item(r, &seen);
        while (rc == 0 && take(r, ','));
        if (rc == 0 && !take(r, '}'))
            rc = bad(r, "an object without end");
    }
    map_fini(&seen);
    return rc;
}

static int read_type(struct reader *r, struct st_tensor *t)
{
    char *names = r->names;
    struct slice text;
    char shown[48], what[80];
    int rc = read_string(r, &text);

    r->names = names;
    if (rc < 0)
        return rc;
    for (int i = 0; i < ST_N_TYPES; i++)
        if (slice_is(text, types[i].name)) {
            t->type = (uint8_t)i;
            return 0;
        }
    snprintf(what, sizeof what, "type '%s' is not known", gguf_show(shown, sizeof shown, text));
    return bad_tensor(r, t->name, E_UNSUPPORTED, what);
}

/* The size its shape asks for is the size it has. */
static int check_size(const struct reader *r, struct st_tensor *t, const uint64_t *at)
{
    uint64_t bytes;

    t->n = 1;
    for (unsigned i = 0; i < t->n_dims; i++)
        if (!mul_ok(t->n, t->shape[i], &t->n) || t->n > INT64_MAX)
            return bad_tensor(r, t->name, E_FORMAT, "has too many numbers");
    if (!mul_ok(t->n, types[t->type].bytes, &bytes) || bytes > INT64_MAX)
        return bad_tensor(r, t->name, E_FORMAT, "has too many numbers");
    if (at[0] > at[1] || at[1] - at[0] != bytes)
        return bad_tensor(r, t->name, E_FORMAT, "its data_offsets do not fit its shape");
    t->offset = at[0];
    t->bytes = bytes;
    return 0;
}

static int read_tensor(struct reader *r, struct slice name)
{
    struct st_tensor t = {.name = name};
    enum { TYPE = 1, SHAPE = 2, AT = 4 };
    unsigned have = 0, n = 0, field;
    uint64_t at[2] = {0};
    struct slice key;
    void *p;
    int rc;

    if (!take(r, '{'))
        return bad(r, "a tensor that is no object");
    do {
        char *names = r->names;

        if ((rc = read_string(r, &key)) < 0)
            return rc;
        r->names = names; /* key is only compared */
        field = slice_is(key, "dtype")          ? TYPE
                : slice_is(key, "shape")        ? SHAPE
                : slice_is(key, "data_offsets") ? AT
                                                : 0;
        if (have & field)
            return bad_tensor(r, name, E_FORMAT, "says something twice");
        have |= field;
        if (!take(r, ':'))
            return bad(r, "no ':'");
        if (field == TYPE)
            rc = read_type(r, &t);
        else if (field == SHAPE)
            rc = read_counts(r, t.shape, ST_MAX_DIMS, &n), t.n_dims = (uint8_t)n;
        else if (field == AT && (rc = read_counts(r, at, 2, &n)) == 0 && n != 2)
            rc = bad_tensor(r, name, E_FORMAT, "its data_offsets are no two numbers");
        else if (!field)
            rc = skip_value(r, 0);
        if (rc < 0)
            return rc;
    } while (take(r, ','));
    if (!take(r, '}'))
        return bad(r, "an object without end");
    if (have != (TYPE | SHAPE | AT))
        return bad_tensor(r, name, E_FORMAT, "lacks its type, shape or place");
    if ((rc = check_size(r, &t, at)) < 0)
        return rc;
    p = one_more(r, r->s->tensor, r->s->n_tensor, &r->cap_tensor, sizeof t);
    if (!p)
        return r->e->code;
    r->s->tensor = p;
    r->s->tensor[r->s->n_tensor++] = t;
    return 0;
}

static int read_header(struct reader *r)
{
    struct slice name;
    int rc;

    if (r->p >= r->end || *r->p != '{')
        return bad(r, "no '{'");
    r->p++;
    if (!take(r, '}')) {
        do {
            if ((rc = read_string(r, &name)) < 0 || (rc = once(r, name)) < 0)
                return rc;
            if (!take(r, ':'))
                return bad(r, "no ':'");
            rc = slice_is(name, "__metadata__") ? read_meta(r) : read_tensor(r, name);
            if (rc < 0)
                return rc;
        } while (take(r, ','));
        if (!take(r, '}'))
            return bad(r, "an object without end");
    }
    skip_space(r);
    return r->p == r->end ? 0 : bad(r, "more than one value");
}

static int by_offset(const void *a, const void *b)
{
    const struct st_tensor *s = a, *t = b;

    if (s->offset != t->offset)
        return s->offset < t->offset ? -1 : 1;
    if (s->bytes != t->bytes)
        return s->bytes < t->bytes ? -1 : 1;
    /* empty tensors may share a place: their names decide, so that the order is one */
    int rc = memcmp(s->name.p, t->name.p, s->name.n < t->name.n ? s->name.n : t->name.n);
    return rc ? rc : (s->name.n > t->name.n) - (s->name.n < t->name.n);
}

/* Places follow each other from the first byte of the data to the last. */
static int check_places(const struct reader *r, uint64_t n_data, const uint8_t *data)
{
    uint64_t at = 0;

    if (r->s->n_tensor)
        qsort(r->s->tensor, r->s->n_tensor, sizeof *r->s->tensor, by_offset);
    for (uint32_t i = 0; i < r->s->n_tensor; i++) {
        struct st_tensor *t = &r->s->tensor[i];

        if (t->offset > n_data || t->bytes > n_data - t->offset)
            return bad_tensor(r, t->name, E_FORMAT, "lies behind the end of the file");
        if (t->offset != at)
            return bad_tensor(r, t->name, E_FORMAT,
                              t->offset < at ? "overlaps the one before it"
                                             : "leaves a hole before it");
        t->p = data + t->offset;
        at = t->offset + t->bytes;
    }
    if (at != n_data)
        return err_set(r->e, E_FORMAT, "%s: %llu bytes behind the last tensor",
                       gguf_path_tail(r->path), (unsigned long long)(n_data - at));
    return 0;
}

int st_parse(struct safetensors *s, struct err *e)
{
    struct st_part *part = &s->part[0];
    const uint8_t *p = part->view.p;
    size_t n = part->view.n;
    struct cur c = {.p = p, .n = n};
    uint64_t n_head = cur_u64(&c);
    struct err own = {0};
    struct reader r = {.s = s, .e = e ? e : &own, .path = part->path};
    int rc;

    if (c.bad)
        return err_set(r.e, E_FORMAT, "%s: not a safetensors file: %zu bytes",
                       gguf_path_tail(r.path), n);
    if (n_head > ST_MAX_HEADER || n_head > n - 8 || n_head < 2)
        return err_set(r.e, E_FORMAT, "%s: not a safetensors file: a header of %llu bytes of %zu",
                       gguf_path_tail(r.path), (unsigned long long)n_head, n);
    r.start = r.p = (const char *)p + 8;
    r.end = r.start + n_head;
    if (!utf8_valid(r.p, (size_t)n_head))
        return err_set(r.e, E_FORMAT, "%s: header: not UTF-8", gguf_path_tail(r.path));
    if (!(part->names = mem_new((size_t)n_head, r.e)))
        return E_NOMEM;
    r.names = part->names;
    if ((rc = map_init(&r.seen, 0, r.e)) == 0)
        rc = read_header(&r);
    map_fini(&r.seen);
    return rc < 0 ? rc : check_places(&r, n - 8 - n_head, p + 8 + n_head);
}
