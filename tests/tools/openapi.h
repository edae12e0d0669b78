/* openapi.h - whether a JSON value is what a schema of an OpenAPI description says: types, required
 * members, enumerations, lists, references, and any, one or all of several. What the description
 * does not forbid is allowed. */
#ifndef RILL_TESTS_TOOLS_OPENAPI_H
#define RILL_TESTS_TOOLS_OPENAPI_H

#include <jansson.h>

#include "tests/suite.h"

static struct openapi {
    json_t *root;
    char why[600]; // the deepest complaint
    size_t depth;
} openapi;

/* False, which skips the test, without the test data. */
static inline bool openapi_open(void)
{
    const char *path = testdata("api/openai-openapi.json");

    if (!path)
        return false;
    openapi.root = json_load_file(path, JSON_DECODE_INT_AS_REAL, NULL);
    ck_assert_ptr_nonnull(openapi.root);
    return true;
}

static inline void openapi_close(void)
{
    json_decref(openapi.root);
    openapi.root = NULL;
}

static inline bool openapi_no(const char *path, const char *what, const char *more)
{
    if (strlen(path) >= openapi.depth) {
        openapi.depth = strlen(path);
        snprintf(openapi.why, sizeof openapi.why, "%.300s: %s %.200s", path, what, more);
    }
    return false;
}

static inline bool openapi_type(const char *t, const json_t *v)
{
    return (strcmp(t, "object") == 0 && json_is_object(v)) ||
           (strcmp(t, "array") == 0 && json_is_array(v)) ||
           (strcmp(t, "string") == 0 && json_is_string(v)) ||
           (strcmp(t, "integer") == 0 && json_is_integer(v)) ||
           (strcmp(t, "number") == 0 && json_is_number(v)) ||
           (strcmp(t, "boolean") == 0 && json_is_boolean(v)) ||
           (strcmp(t, "null") == 0 && json_is_null(v));
}

static inline bool openapi_check(const json_t *s, const json_t *v, const char *path);

static inline bool openapi_some(const json_t *list, const json_t *v, const char *path)
{
    const json_t *s;
    size_t i;

    json_array_foreach(list, i, s) if (openapi_check(s, v, path)) return true;
    return openapi_no(path, "is none of several", "");
}

static inline bool openapi_members(const json_t *s, const json_t *v, const char *path)
{
    const json_t *props = json_object_get(s, "properties");
    const json_t *more = json_object_get(s, "additionalProperties");
    const char *key;
    json_t *sub, *name;
    char deeper[400];
    size_t i;

    json_array_foreach(
        json_object_get(s, "required"), i,
        name) if (!json_object_get(v, json_string_value(name))) return openapi_no(path, "lacks",
                                                                                  json_string_value(
                                                                                      name));
    json_object_foreach((json_t *)(uintptr_t)v, key, sub)
    {
        const json_t *ps = json_object_get(props, key);

        ps = ps ? ps : json_is_object(more) ? more : NULL;
        snprintf(deeper, sizeof deeper, "%.300s.%s", path, key);
        if (ps && !openapi_check(ps, sub, deeper))
            return false;
    }
    return true;
}

static inline bool openapi_check(const json_t *s, const json_t *v, const char *path)
{
    const char *ref = json_string_value(json_object_get(s, "$ref"));
    const json_t *type = json_object_get(s, "type"), *one;
    char deeper[400];
    size_t i;

    if (ref) {
        const char *name = strrchr(ref, '/') + 1;
        const json_t *schemas =
            json_object_get(json_object_get(openapi.root, "components"), "schemas");

        ck_assert_msg(json_object_get(schemas, name) != NULL, "no schema %s", name);
        return openapi_check(json_object_get(schemas, name), v, path);
    }
    if (json_is_null(v) && json_is_true(json_object_get(s, "nullable")))
        return true;
    if (json_is_string(type) && !openapi_type(json_string_value(type), v))
        return openapi_no(path, "is not of type", json_string_value(type));
    if (json_is_array(type)) {
        bool any = false;

        json_array_foreach(type, i, one) any |= openapi_type(json_string_value(one), v);
        if (!any)
            return openapi_no(path, "is of none of the types", "");
    }
    if (json_object_get(s, "enum")) {
        bool any = false;

        json_array_foreach(json_object_get(s, "enum"), i, one) any |= json_equal(one, v);
        if (!any)
            return openapi_no(path, "is not in the enumeration, but",
                              json_is_string(v) ? json_string_value(v) : "?");
    }
    if (json_object_get(s, "anyOf") && !openapi_some(json_object_get(s, "anyOf"), v, path))
        return false;
    if (json_object_get(s, "oneOf") && !openapi_some(json_object_get(s, "oneOf"), v, path))
        return false;
    json_array_foreach(json_object_get(s, "allOf"), i,
                       one) if (!openapi_check(one, v, path)) return false;
    if (json_is_object(v) && !openapi_members(s, v, path))
        return false;
    snprintf(deeper, sizeof deeper, "%.390s[]", path);
    json_array_foreach(
        v, i, one) if (json_object_get(s, "items") &&
                       !openapi_check(json_object_get(s, "items"), one, deeper)) return false;
    return true;
}

/* The text is JSON that the schema of that name allows. */
static inline void openapi_valid(const char *schema, const char *text, size_t n)
{
    char ref[200];
    json_error_t why;
    json_t *v = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    json_t *s;

    ck_assert_msg(v != NULL, "%s in %.*s", why.text, (int)n, text);
    snprintf(ref, sizeof ref, "#/components/schemas/%s", schema);
    s = json_pack("{ss}", "$ref", ref);
    openapi.depth = 0;
    openapi.why[0] = 0;
    ck_assert_msg(openapi_check(s, v, schema), "%s in %.*s", openapi.why, (int)n, text);
    json_decref(s);
    json_decref(v);
}

#endif
