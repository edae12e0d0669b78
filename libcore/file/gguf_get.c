/* gguf_get.c - typed access to the keys and tensors of an open GGUF file. */
#include "file/gguf.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "file/gguf_inner.h"
#include "quant/quant.h"

static const struct {
    const char *name; // as tools print it
    const char *text; // as sentences say it
    uint32_t bytes;
} types[GGUF_N_TYPES] = {
#define X(name, print, id, bytes, text) [id] = {print, text, bytes},
    GGUF_TYPES(X)
#undef X
};

/* -- shared with the reader and the writer -- */

uint32_t gguf_value_bytes(uint32_t type)
{
    return type < GGUF_N_TYPES ? types[type].bytes : 0;
}

const char *gguf_path_tail(const char *path)
{
    size_t n = strlen(path);

    return n > 240 ? path + n - 240 : path;
}

bool gguf_type_shape(uint32_t type, uint32_t *block, uint32_t *bytes)
{
    const struct fmt_info *f = type <= INT32_MAX ? fmt_find((int)type) : NULL;

    if (!f)
        return false;
    *block = (uint32_t)f->block;
    *bytes = (uint32_t)f->bytes;
    return true;
}

bool gguf_tensor_bytes(uint32_t type, uint32_t n_dims, const uint64_t *ne, uint64_t *out)
{
    uint32_t block;
    uint32_t bytes;
    uint64_t n = 1;

    if (!gguf_type_shape(type, &block, &bytes) || n_dims > GGUF_MAX_DIMS)
        return false;
    if ((n_dims ? ne[0] : 1) % block)
        return false;
    for (uint32_t d = 0; d < n_dims; d++)
        if (ne[d] == 0 || !mul_ok(n, ne[d], &n))
            return false;
    return mul_ok(n / block, bytes, out) && *out <= INT64_MAX;
}

const char *gguf_show(char *out, size_t n, struct slice text)
{
    size_t at = 0;
    size_t i = 0;

    while (i < text.n) {
        char piece[5] = {0};
        uint32_t cp;
        int len = utf8_decode(text.p + i, text.n - i, &cp);

        if (len > 0 && utf8_shown(cp)) {
            memcpy(piece, text.p + i, (size_t)len);
        } else {
            snprintf(piece, sizeof piece, "\\x%02x", (unsigned char)text.p[i]);
            len = 1;
        }
        if (at + strlen(piece) + sizeof "..." > n) {
            memcpy(piece, "...", sizeof "...");
            len = (int)(text.n - i);
        }
        memcpy(out + at, piece, strlen(piece));
        at += strlen(piece);
        i += (size_t)len;
    }
    out[at] = 0;
    return out;
}

/* -- finding -- */

const struct gguf_key *gguf_find(const struct gguf *g, const char *key)
{
    uint32_t i;

    return map_get(&g->key_map, slice_of(key), &i) ? &g->key[i] : NULL;
}

const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name)
{
    uint32_t i;

    return map_get(&g->tensor_map, slice_of(name), &i) ? &g->tensor[i] : NULL;
}

int gguf_missing(const struct gguf *g, const char *key, struct err *e)
{
    return err_set(e, E_FORMAT, "%s: key '%s' is missing", gguf_path_tail(g->path), key);
}

static int wrong_type(const struct gguf *g, const struct gguf_key *k, const char *wanted,
                      struct err *e)
{
    char shown[96];
    bool array = k->type == GGUF_ARR;
    const char *is = types[array ? k->array.type : k->type].text;

    return err_set(e, E_FORMAT, "%s: key '%s' is %s%s%s, expected %s", gguf_path_tail(g->path),
                   gguf_show(shown, sizeof shown, k->name), array ? "an array (an element is " : "",
                   is, array ? ")" : "", wanted);
}

static int out_of_range(const struct gguf *g, const struct gguf_key *k, struct err *e)
{
    char shown[96];

    return err_set(e, E_FORMAT, "%s: key '%s' is out of range", gguf_path_tail(g->path),
                   gguf_show(shown, sizeof shown, k->name));
}

/* -- numbers -- */

bool gguf_type_is_int(uint32_t type)
{
    return type < GGUF_N_TYPES && type != GGUF_F32 && type != GGUF_BOOL && type != GGUF_STR &&
           type != GGUF_ARR && type != GGUF_F64;
}

static bool is_float(uint32_t type)
{
    return type == GGUF_F32 || type == GGUF_F64;
}

const char *gguf_type_name(uint32_t type)
{
    return type < GGUF_N_TYPES ? types[type].name : "?";
}

static bool is_signed(uint32_t type)
{
    return type == GGUF_I8 || type == GGUF_I16 || type == GGUF_I32 || type == GGUF_I64;
}

/* The bits of a fixed-size value at any address, signed types sign-extended. */
static uint64_t bits_at(const uint8_t *p, uint32_t type)
{
    uint32_t bytes = types[type].bytes;
    uint64_t v = 0;

    for (uint32_t i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    if (is_signed(type) && bytes < 8 && v >> (8 * bytes - 1))
        v |= UINT64_MAX << (8 * bytes);
    return v;
}

static double float_from(uint64_t bits, uint32_t type)
{
    uint32_t low = (uint32_t)bits;
    float f;
    double d;

    memcpy(&f, &low, sizeof f);
    memcpy(&d, &bits, sizeof d);
    return type == GGUF_F32 ? (double)f : d;
}

static double number_at(const uint8_t *p, uint32_t type)
{
    uint64_t v = bits_at(p, type);

    if (is_float(type))
        return float_from(v, type);
    return is_signed(type) ? (double)(int64_t)v : (double)v;
}

/* An integer (or, with bools, a truth value) as an int64 or, when it is above, as *huge. */
static int64_t int_from(const uint8_t *p, uint32_t type, bool *huge)
{
    uint64_t v = bits_at(p, type);

    *huge = type == GGUF_U64 && v > INT64_MAX;
    return (int64_t)v;
}

static bool fits(int64_t v, bool huge, int64_t min, int64_t max)
{
    return !huge && v >= min && v <= max;
}

/* The integer of a scalar key within [min, max]. */
static int get_int(const struct gguf *g, const char *key, int64_t min, int64_t max, int64_t *out,
                   struct err *e)
{
    const struct gguf_key *k = gguf_find(g, key);
    bool huge;

    if (!k)
        return 0;
    if (!gguf_type_is_int(k->type))
        return wrong_type(g, k, "an integer", e);
    *out = int_from((const uint8_t *)k->raw.p, k->type, &huge);
    return fits(*out, huge, min, max) ? 1 : out_of_range(g, k, e);
}

int gguf_get_u32(const struct gguf *g, const char *key, uint32_t *out, struct err *e)
{
    int64_t v;
    int rc = get_int(g, key, 0, UINT32_MAX, &v, e);

    if (rc > 0)
        *out = (uint32_t)v;
    return rc;
}

int gguf_get_i32(const struct gguf *g, const char *key, int32_t *out, struct err *e)
{
    int64_t v;
    int rc = get_int(g, key, INT32_MIN, INT32_MAX, &v, e);

    if (rc > 0)
        *out = (int32_t)v;
    return rc;
}

int gguf_get_i64(const struct gguf *g, const char *key, int64_t *out, struct err *e)
{
    int64_t v;
    int rc = get_int(g, key, INT64_MIN, INT64_MAX, &v, e);

    if (rc > 0)
        *out = v;
    return rc;
}

int gguf_get_u64(const struct gguf *g, const char *key, uint64_t *out, struct err *e)
{
    const struct gguf_key *k = gguf_find(g, key);
    int64_t v;
    int rc;

    if (k && k->type == GGUF_U64) { /* the one type whose values do not fit in get_int */
        *out = bits_at((const uint8_t *)k->raw.p, GGUF_U64);
        return 1;
    }
    rc = get_int(g, key, 0, INT64_MAX, &v, e);
    if (rc > 0)
        *out = (uint64_t)v;
    return rc;
}

int gguf_get_f32(const struct gguf *g, const char *key, float *out, struct err *e)
{
    const struct gguf_key *k = gguf_find(g, key);

    if (!k)
        return 0;
    if (!is_float(k->type) && !gguf_type_is_int(k->type))
        return wrong_type(g, k, "a number", e);
    *out = (float)number_at((const uint8_t *)k->raw.p, k->type);
    return 1;
}

int gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct err *e)
{
    const struct gguf_key *k = gguf_find(g, key);
    int64_t v;
    bool huge;

    if (!k)
        return 0;
    if (k->type != GGUF_BOOL && !gguf_type_is_int(k->type))
        return wrong_type(g, k, "a truth value", e);
    v = int_from((const uint8_t *)k->raw.p, k->type, &huge);
    if (!fits(v, huge, 0, 1))
        return out_of_range(g, k, e);
    *out = v == 1;
    return 1;
}

int gguf_get_str(const struct gguf *g, const char *key, struct slice *out, struct err *e)
{
    const struct gguf_key *k = gguf_find(g, key);

    if (!k)
        return 0;
    if (k->type != GGUF_STR)
        return wrong_type(g, k, "a string", e);
    *out = k->raw;
    return 1;
}

/* -- arrays -- */

int gguf_get_array(const struct gguf *g, const char *key, struct gguf_array *out, struct err *e)
{
    const struct gguf_key *k = gguf_find(g, key);

    if (!k)
        return 0;
    if (k->type != GGUF_ARR)
        return wrong_type(g, k, "an array", e);
    *out = k->array;
    return 1;
}

int gguf_get_strs(const struct gguf *g, const char *key, struct gguf_array *out, struct err *e)
{
    struct gguf_array a;
    int rc = gguf_get_array(g, key, &a, e);

    if (rc > 0 && a.type != GGUF_STR)
        return wrong_type(g, gguf_find(g, key), "an array of strings", e);
    if (rc > 0)
        *out = a;
    return rc;
}

int gguf_get_ints(const struct gguf *g, const char *key, struct gguf_array *out, struct err *e)
{
    struct gguf_array a;
    int rc = gguf_get_array(g, key, &a, e);

    if (rc > 0 && !gguf_type_is_int(a.type))
        return wrong_type(g, gguf_find(g, key), "an array of integers", e);
    if (rc > 0)
        *out = a;
    return rc;
}

int gguf_get_floats(const struct gguf *g, const char *key, struct gguf_array *out, struct err *e)
{
    struct gguf_array a;
    int rc = gguf_get_array(g, key, &a, e);

    if (rc > 0 && !is_float(a.type))
        return wrong_type(g, gguf_find(g, key), "an array of floats", e);
    if (rc > 0)
        *out = a;
    return rc;
}

struct slice gguf_str_at(const struct gguf_array *a, uint64_t i)
{
    if (a->type != GGUF_STR)
        return (struct slice){"", 0};
    /* the length between two beginnings, not the one in the file: that may have changed since */
    return (struct slice){(const char *)a->p + a->at[i] + 8, (size_t)(a->at[i + 1] - a->at[i] - 8)};
}

int64_t gguf_int_at(const struct gguf_array *a, uint64_t i)
{
    if (!gguf_type_is_int(a->type) && a->type != GGUF_BOOL)
        return 0;
    return (int64_t)bits_at(a->p + i * types[a->type].bytes, a->type);
}

double gguf_float_at(const struct gguf_array *a, uint64_t i)
{
    return a->type == GGUF_STR ? 0.0 : number_at(a->p + i * types[a->type].bytes, a->type);
}

/* -- a value per layer -- */

/* The key's values as an array: itself, or its one value. n is how many the caller wants, *step 0
 * where one value stands for all. */
static int get_list(const struct gguf *g, const char *key, uint32_t n, struct gguf_array *a,
                    uint64_t *step, struct err *e)
{
    const struct gguf_key *k = gguf_find(g, key);
    char shown[96];

    if (!k)
        return 0;
    if (k->type == GGUF_ARR)
        *a = k->array;
    else
        *a = (struct gguf_array){k->type, 1, (const uint8_t *)k->raw.p, NULL};
    *step = k->type == GGUF_ARR;
    if (*step && a->n < n)
        return err_set(e, E_FORMAT, "%s: key '%s' has %llu elements, expected %u",
                       gguf_path_tail(g->path), gguf_show(shown, sizeof shown, k->name),
                       (unsigned long long)a->n, n);
    return 1;
}

int gguf_get_u32s(const struct gguf *g, const char *key, uint32_t *out, uint32_t n, struct err *e)
{
    struct gguf_array a;
    uint64_t step;
    int rc = get_list(g, key, n, &a, &step, e);

    if (rc > 0 && !gguf_type_is_int(a.type))
        return wrong_type(g, gguf_find(g, key), "integers", e);
    for (uint32_t i = 0; rc > 0 && i < n; i++) {
        int64_t v = gguf_int_at(&a, i * step);

        if (v < 0 || v > UINT32_MAX)
            return out_of_range(g, gguf_find(g, key), e);
        out[i] = (uint32_t)v;
    }
    return rc;
}

int gguf_get_f32s(const struct gguf *g, const char *key, float *out, uint32_t n, struct err *e)
{
    struct gguf_array a;
    uint64_t step;
    int rc = get_list(g, key, n, &a, &step, e);

    if (rc > 0 && !is_float(a.type) && !gguf_type_is_int(a.type))
        return wrong_type(g, gguf_find(g, key), "numbers", e);
    for (uint32_t i = 0; rc > 0 && i < n; i++)
        out[i] = (float)gguf_float_at(&a, i * step);
    return rc;
}

int gguf_get_bools(const struct gguf *g, const char *key, bool *out, uint32_t n, struct err *e)
{
    struct gguf_array a;
    uint64_t step;
    int rc = get_list(g, key, n, &a, &step, e);

    if (rc > 0 && a.type != GGUF_BOOL && !gguf_type_is_int(a.type))
        return wrong_type(g, gguf_find(g, key), "truth values", e);
    for (uint32_t i = 0; rc > 0 && i < n; i++) {
        int64_t v = gguf_int_at(&a, i * step);

        if (v != 0 && v != 1)
            return out_of_range(g, gguf_find(g, key), e);
        out[i] = v == 1;
    }
    return rc;
}

/* -- advice -- */

void gguf_willneed(const struct gguf *g, const struct gguf_tensor *t)
{
    const struct file_view *v = &g->part[t->part].view;

    if (t->p)
        file_willneed(v, (size_t)(t->p - v->p), (size_t)t->bytes);
}

void gguf_dontneed(const struct gguf *g, const struct gguf_tensor *t)
{
    const struct file_view *v = &g->part[t->part].view;

    if (t->p)
        file_dontneed(v, (size_t)(t->p - v->p), (size_t)t->bytes);
}
