/* serve_openapi.c - see serve_in.h: what is served, described by the tables that it is served with.
 */
#include <limits.h>

#include "tools/lib/api_fields.h"
#include "tools/lib/serve_in.h"

static void put_type(struct buf *b, const struct api_field *f)
{
    static const char letters[] = "saobin";
    static const char *const names[] = {"string",  "array",   "object",
                                        "boolean", "integer", "number"};
    const char *comma = "";

    buf_str(b, "{");
    if (f->types[0]) {
        buf_str(b, "\"type\":[");
        for (const char *t = f->types; *t; t++, comma = ",")
            buf_printf(b, "%s\"%s\"", comma, names[strchr(letters, *t) - letters]);
        buf_str(b, ",\"null\"]");
        comma = ",";
    }
    if (f->lo != INT_MIN) {
        buf_printf(b, "%s\"minimum\":%d", comma, f->lo);
        comma = ",";
    }
    if (!f->effect)
        buf_printf(b, "%s\"description\":\"known, but without effect here\"", comma);
    buf_str(b, "}");
}

static void put_field(struct buf *b, const char *name, const struct api_field *f, bool *any)
{
    buf_printf(b, "%s\"%s\":", *any ? "," : "", name);
    put_type(b, f);
    *any = true;
}

static void put_body(struct buf *b, const struct route *t)
{
    struct api_field f;
    bool any = false;

    buf_str(b, ",\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{\"schema\":"
               "{\"type\":\"object\",\"properties\":{");
    for (size_t i = 0; api_field_at(i, &f); i++)
        if (f.kinds & t->fields)
            put_field(b, f.name, &f, &any);
    buf_str(b, "}}}}}");
}

static void put_method(struct buf *b, const struct route *t)
{
    bool post = strcmp(t->method, "POST") == 0;

    buf_printf(b, "\"%s\":{\"summary\":\"%s\"", post ? "post" : "get", t->about);
    if (!t->open)
        buf_str(b, ",\"security\":[{},{\"key\":[]}]");
    if (post)
        put_body(b, t);
    buf_str(b, ",\"responses\":{\"200\":{\"description\":\"done\"}");
    if (post)
        buf_str(b, ",\"400\":{\"description\":\"the request is wrong: error.message says how\"}");
    buf_str(b, "}}");
}

void openapi_write(struct buf *b)
{
    const struct route *t, *same;

    buf_printf(b,
               "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"rill-serve\",\"version\":\"%s\"},"
               "\"components\":{\"securitySchemes\":{\"key\":{\"type\":\"http\",\"scheme\":"
               "\"bearer\"}}},\"paths\":{",
               rill_version());
    for (size_t i = 0; (t = route_at(i)); i++) { // a path's methods stand one behind the other
        bool first = i == 0 || strcmp(route_at(i - 1)->path, t->path) != 0;

        if (first)
            buf_printf(b, "%s\"%s%s\":{", i ? "," : "",
                       t->kind == R_CALL || t->kind == R_MODELS ? "/v1" : "", t->path);
        put_method(b, t);
        same = route_at(i + 1);
        buf_byte(b, same && strcmp(same->path, t->path) == 0 ? ',' : '}');
    }
    buf_str(b, "}}");
}
