/* js.c - see js.h. */
#include "tools/lib/js.h"

#include <string.h>

const char *js_str(const json_t *v, const char *key)
{
    return json_string_value(json_object_get(v, key));
}

bool js_type_is(const json_t *v, const char *type)
{
    const char *t = js_str(v, "type");

    return t && strcmp(t, type) == 0;
}

json_t *js_text(const struct buf *b)
{
    return json_stringn(b->p ? b->p : "", b->n);
}

int js_set(json_t *o, const char *key, json_t *take, struct err *e)
{
    return take && json_object_set_new(o, key, take) == 0 ? 0 : err_nomem(e, 0);
}

int js_append(json_t *list, json_t *take, struct err *e)
{
    return take && json_array_append_new(list, take) == 0 ? 0 : err_nomem(e, 0);
}
