/* setkey.c - see setkey.h. */
#include "tools/lib/setkey.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "file/gguf.h"

/* NULL: the value is put; else what is wrong with it. */
static const char *put_int(struct gguf_out *w, const char *key, const char *value)
{
    char *end;
    long long v;

    errno = 0;
    v = strtoll(value, &end, 0);
    if (end == value || *end || errno)
        return "no whole number";
    if (v >= 0 && v <= UINT32_MAX)
        gguf_put_u32(w, key, (uint32_t)v);
    else if (v < 0 && v >= INT32_MIN)
        gguf_put_i32(w, key, (int32_t)v);
    else
        gguf_put_i64(w, key, v);
    return NULL;
}

static const char *put_float(struct gguf_out *w, const char *key, const char *value)
{
    char *end;
    double v = strtod(value, &end);

    if (end == value || *end || !isfinite((float)v))
        return "no number";
    gguf_put_f32(w, key, (float)v);
    return NULL;
}

static const char *put_bool(struct gguf_out *w, const char *key, const char *value)
{
    if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
        return "neither true nor false";
    gguf_put_bool(w, key, *value == 't');
    return NULL;
}

static const char *put_str(struct gguf_out *w, const char *key, const char *value)
{
    gguf_put_str(w, key, slice_of(value));
    return NULL;
}

int set_key(struct gguf_out *w, const char *option, const char *text, struct err *e)
{
    static const struct {
        const char *name;
        const char *(*put)(struct gguf_out *w, const char *key, const char *value);
    } types[] = {{"int", put_int}, {"float", put_float}, {"bool", put_bool}, {"str", put_str}};
    const char *equals = strchr(text, '='), *colon = equals ? strchr(equals, ':') : NULL;
    const char *wrong = "the type is int, float, bool or str";
    struct slice type;
    char key[256];

    if (!colon || equals == text || equals - text >= (long)sizeof key)
        return err_set(e, E_USAGE, "%s: '%.80s': expected KEY=TYPE:VALUE", option, text);
    memcpy(key, text, (size_t)(equals - text));
    key[equals - text] = 0;
    type = (struct slice){equals + 1, (size_t)(colon - equals - 1)};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (slice_is(type, types[i].name))
            wrong = types[i].put(w, key, colon + 1);
    return wrong ? err_set(e, E_USAGE, "%s: '%.80s': %s", option, text, wrong) : 0;
}
