/* constrain_known.c - what can be told of a JSON schema without asking what its values are: the few
 * values that one allows, and which properties an object's schemas evaluate.
 */
#include <string.h>

#include "base/mem.h"
#include "constrain_value.h"

enum { DEEP = 32, MOST_SCHEMAS = 500, MOST_BRANCHES = 64 }; // looked at for one answer

static const char *sub(struct js *j, const char *path, const char *key)
{
    return js_path(j, path, key, strlen(key));
}

/* -- a few values -- */

static bool same(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b)) // 1 and 1.0
        return json_number_value(a) == json_number_value(b);
    return json_equal((json_t *)(uintptr_t)a, (json_t *)(uintptr_t)b);
}

/* Lists and objects are not added: what is equal among them need not be spelt so. */
static bool add_value(json_t *list, json_t *v)
{
    json_t *x;
    size_t i;

    if (json_is_array(v) || json_is_object(v))
        return false;
    json_array_foreach(list, i, x) if (same(x, v)) return true;
    return json_array_append(list, v) == 0;
}

static bool add_types(json_t *list, const json_t *t)
{
    const char *name = json_string_value(t);
    json_t *x;
    size_t i;

    json_array_foreach(t, i, x) if (!add_types(list, x)) return false;
    if (json_is_array(t))
        return true;
    if (name && strcmp(name, "null") == 0)
        return add_value(list, json_null());
    return name && strcmp(name, "boolean") == 0 && add_value(list, json_true()) &&
           add_value(list, json_false());
}

static bool values(struct js *j, const json_t *s, const char *path, json_t *list, int *left)
{
    static const char *const any[] = {"anyOf", "oneOf"};
    json_t *v, *x;
    const json_t *to;
    const char *at;
    size_t i;

    if (json_is_false(s))
        return true;
    if (!json_is_object(s) || --*left < 0)
        return false;
    if ((v = json_object_get(s, "const")))
        return add_value(list, v);
    if (json_is_array(v = json_object_get(s, "enum"))) {
        json_array_foreach(v, i, x) if (!add_value(list, x)) return false;
        return true;
    }
    if ((v = json_object_get(s, "$ref")) && (to = schema_of_ref(j, v, path, &at)) &&
        values(j, to, at, list, left))
        return true;
    for (size_t k = 0; k < ARRAY_LEN(any); k++) {
        bool all = json_array_size(v = json_object_get(s, any[k])) > 0;

        json_array_foreach(v, i, x) all = all && values(j, x, path, list, left);
        if (all)
            return true;
    }
    json_array_foreach(json_object_get(s, "allOf"), i,
                       x) if (values(j, x, path, list, left)) return true;
    return (v = json_object_get(s, "type")) && add_types(list, v);
}

/* All that the items can be, as far as the schemas beside say so. */
static bool item_values(struct js *j, const json_t *s, const char *path, json_t *list)
{
    int left = MOST_SCHEMAS;
    const json_t *rest = json_object_get(s, "items"), *pre = json_object_get(s, "prefixItems"), *x;
    size_t i;

    if (json_is_array(rest)) { // before 2020-12
        pre = rest;
        rest = json_object_get(s, "additionalItems");
    }
    if (!rest || !values(j, rest, sub(j, path, "items"), list, &left))
        return false;
    json_array_foreach(pre, i,
                       x) if (!values(j, x, sub(j, path, "prefixItems"), list, &left)) return false;
    return true;
}

void known_unique(struct js *j, const json_t *s, const char *path, struct shape_arr *a)
{
    json_t *list = json_array(), *x;
    const char *at = sub(j, path, "uniqueItems");
    size_t i;

    if (json_array_append_new(j->made, list) < 0) { // holds it or frees it
        js_fail(j, E_NOMEM, path, "no memory");
        return;
    }
    if (!item_values(j, s, path, list))
        js_fail(j, E_UNSUPPORTED, at, "cannot be enforced unless enum says what the items are");
    else if (json_array_size(list) > KNOWN_MOST)
        js_fail(j, E_UNSUPPORTED, at, "cannot be enforced for more than 10 values");
    if (j->rc < 0)
        return;
    json_array_foreach(list, i, x) a->has[a->n_has++] =
        (struct has){goal_const(j, x, at), 0, 1, 0, true};
    if (a->max > json_array_size(list))
        a->max = (uint32_t)json_array_size(list);
}

/* -- properties that are evaluated -- */

struct known {
    json_t *name, *pattern; // objects whose values are true
    bool all;
    bool lost; // memory, or more schemas than are looked at
    int left;  // schemas still to look at
};

static void known_fini(struct known *k)
{
    json_decref(k->name);
    json_decref(k->pattern);
}

static struct known known_new(void)
{
    struct known k = {json_object(), json_object(), false, false, MOST_SCHEMAS};

    k.lost = !k.name || !k.pattern;
    return k;
}

static void add_keys(struct known *k, json_t *to, const json_t *of)
{
    const char *key;
    json_t *x;

    json_object_foreach((json_t *)(uintptr_t)of, key, x) k->lost =
        json_object_set_new(to, key, json_true()) < 0 || k->lost;
}

/* Adds what s evaluates; maybe: what it may evaluate, by any branch. but: a group of branches of s
 * itself that is left out, or "". */
static void gather(struct js *j, struct known *k, const json_t *s, const char *path, bool maybe,
                   const char *but, int depth)
{
    static const char *const one[] = {"if", "then", "else"}, *const many[] = {"anyOf", "oneOf"};
    const char *at, *key;
    const json_t *to, *v;
    json_t *x;
    size_t i;

    if (!json_is_object(s))
        return;
    if (depth == DEEP || --k->left < 0 || k->lost) {
        k->lost = true;
        return;
    }
    add_keys(k, k->name, json_object_get(s, "properties"));
    add_keys(k, k->pattern, json_object_get(s, "patternProperties"));
    k->all = k->all || json_object_get(s, "additionalProperties") ||
             (depth > 0 && json_object_get(s, "unevaluatedProperties"));
    if ((v = json_object_get(s, "$ref")) && (to = schema_of_ref(j, v, path, &at)))
        gather(j, k, to, at, maybe, "", depth + 1);
    json_array_foreach(json_object_get(s, "allOf"), i, x)
        gather(j, k, x, path, maybe, "", depth + 1);
    for (i = 0; maybe && i < ARRAY_LEN(one) && strcmp(but, "if") != 0; i++)
        gather(j, k, json_object_get(s, one[i]), path, true, "", depth + 1);
    for (size_t m = 0; maybe && m < ARRAY_LEN(many); m++)
        json_array_foreach(json_object_get(s, many[m]), i, x) if (strcmp(but, many[m]) != 0)
            gather(j, k, x, path, true, "", depth + 1);
    json_object_foreach(maybe ? json_object_get(s, "dependentSchemas") : NULL, key, x)
        gather(j, k, x, path, true, "", depth + 1);
}

static bool within(const struct known *a, const struct known *b)
{
    const char *key;
    json_t *x;

    if (a->lost || b->lost)
        return false;
    if (b->all)
        return true;
    json_object_foreach(a->name, key, x) if (!json_object_get(b->name, key)) return false;
    json_object_foreach(a->pattern, key, x) if (!json_object_get(b->pattern, key)) return false;
    return !a->all;
}

/* Whether s and these two, where they hold, evaluate no more than they do for certain. */
static bool settled(struct js *j, const json_t *s, const json_t *a, const json_t *b,
                    const char *but, const char *path)
{
    struct known sure = known_new(), more = known_new();
    bool yes;

    for (int maybe = 0; maybe < 2; maybe++) {
        struct known *k = maybe ? &more : &sure;

        gather(j, k, s, path, maybe, but, 0);
        gather(j, k, a, path, maybe, "", 1);
        gather(j, k, b, path, maybe, "", 1);
    }
    yes = within(&more, &sure);
    known_fini(&sure);
    known_fini(&more);
    return yes;
}

char known_closing(struct js *j, const json_t *s, const char *path)
{
    const json_t *list = json_object_get(s, "oneOf");
    bool good = json_is_array(list) && json_array_size(list) <= MOST_BRANCHES;
    json_t *x;
    size_t i;

    if (settled(j, s, NULL, NULL, "", path))
        return 0;
    json_array_foreach(list, i, x) good = good && settled(j, s, x, NULL, "oneOf", path);
    if (good)
        return 'o';
    if (json_object_get(s, "if") &&
        settled(j, s, json_object_get(s, "if"), json_object_get(s, "then"), "if", path) &&
        settled(j, s, json_object_get(s, "else"), NULL, "if", path))
        return 'i';
    js_fail(j, E_UNSUPPORTED, sub(j, path, "unevaluatedProperties"),
            "cannot be enforced where several branches may evaluate properties");
    return 0;
}

struct value known_closed(struct js *j, const json_t *s, const json_t *a, const json_t *b,
                          const char *path)
{
    struct known k = known_new();
    struct value v = value_all(j);
    json_t *closed;

    gather(j, &k, s, path, false, "", 0);
    gather(j, &k, a, path, false, "", 1);
    gather(j, &k, b, path, false, "", 1);
    closed = json_pack("{sOsOsO}", "properties", k.name, "patternProperties", k.pattern,
                       "additionalProperties", json_object_get(s, "unevaluatedProperties"));
    if (json_array_append_new(j->made, closed) < 0 || k.lost) // holds it or frees it
        js_fail(j, E_UNSUPPORTED, sub(j, path, "unevaluatedProperties"), "cannot be enforced here");
    else if (!k.all)
        v = schema_properties(j, closed, sub(j, path, "unevaluatedProperties"));
    known_fini(&k);
    return v;
}
