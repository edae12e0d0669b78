/* constrain_schema.c - JSON Schema (drafts 4 to 7 and 2020-12) as sets of values.
 *
 * What each keyword says, and which keywords are refused; constrain_value.c does the logic,
 * constrain_emit.c the grammar. Nothing that restricts a value is passed over in silence.
 */
#include "base/mem.h"
#include "constrain_regex.h"
#include "constrain_value.h"

#define MAX_SCHEMA (8u << 20) // bytes

/* -- one keyword's part ---------------------------------------------------------------------- */

static struct slice text_of(const json_t *v)
{
    return (struct slice){json_string_value(v), json_string_length(v)};
}

static const char *sub(struct js *j, const char *path, const char *key)
{
    return js_path(j, path, key, strlen(key));
}

/* A set that restricts objects, arrays only. */
static struct value with_obj(struct js *j, struct shape_obj *o)
{
    struct value v = value_all(j);

    v.obj = o;
    return v;
}

static struct value with_arr(struct js *j, struct shape_arr *a)
{
    struct value v = value_all(j);

    v.arr = a;
    return v;
}

/* Any object with room for n properties. */
static struct shape_obj *any_obj(struct js *j, uint32_t n_prop)
{
    struct shape_obj *o = obj_new(j, n_prop, 1, 0);

    if (o) {
        o->n_keys = 1;
        o->keys[0] = (struct keys){j->s->any, GOAL_ANY};
    }
    return o;
}

static struct value type_value(struct js *j, struct slice name, const char *path)
{
    struct value all = value_all(j), v = {0};

    if (slice_is(name, "null"))
        v.null = true;
    else if (slice_is(name, "boolean"))
        v.yes = v.no = true;
    else if (slice_is(name, "number"))
        v.num = all.num, v.exp = true;
    else if (slice_is(name, "integer"))
        v.num = j->integer, v.canon = true;
    else if (slice_is(name, "string"))
        v.str = all.str;
    else if (slice_is(name, "array"))
        v.arr = all.arr;
    else if (slice_is(name, "object"))
        v.obj = all.obj;
    else
        js_fail(j, E_FORMAT, path, "no known type");
    return v;
}

static struct value types_value(struct js *j, const json_t *t, const char *path)
{
    struct value v = {0};
    size_t i;
    json_t *k;

    if (json_is_string(t))
        return type_value(j, text_of(t), path);
    if (!json_is_array(t))
        js_fail(j, E_FORMAT, path, "must be a type or a list of types");
    json_array_foreach(t, i, k) {
        if (json_is_string(k))
            v = value_or(j, v, type_value(j, text_of(k), path));
        else
            js_fail(j, E_FORMAT, path, "must be a type or a list of types");
    }
    return v;
}

struct value const_value(struct js *j, const json_t *c, const char *path)
{
    struct value v = {0};
    char digits[480];
    bool negative;
    const char *key;
    json_t *x;
    size_t i;

    v.null = json_is_null(c);
    v.yes = json_is_true(c);
    v.no = json_is_false(c);
    if (json_is_string(c)) {
        v.str = rx_lit(j->s, text_of(c));
    } else if (json_is_number(c)) {
        v.canon = true;
        if (!number_text(c, digits, sizeof digits, &negative))
            js_fail(j, E_UNSUPPORTED, path, "a number out of reach");
        else
            v.num = number_equal(j->s, digits, negative);
    } else if (json_is_array(c)) {
        v.arr = arr_new(j, (uint32_t)json_array_size(c), 0);
        if (!v.arr)
            return v;
        v.arr->rest = GOAL_NONE;
        v.arr->min = v.arr->max = v.arr->n_pre = (uint32_t)json_array_size(c);
        json_array_foreach(c, i, x)
            v.arr->pre[i] = goal_const(j, x, js_path_at(j, path, i));
    } else if (json_is_object(c)) {
        v.obj = obj_new(j, (uint32_t)json_object_size(c), 0, 0);
        if (!v.obj)
            return v;
        json_object_foreach((json_t *)(uintptr_t)c, key, x) {
            struct slice name = slice_of(key);

            v.obj->prop[v.obj->n_prop++] =
                (struct prop){name, goal_const(j, x, js_path(j, path, name.p, name.n)), true};
        }
    }
    return v;
}

static struct value enum_value(struct js *j, const json_t *list, const char *path)
{
    struct value v = {0};
    struct slice *text;
    uint32_t n = 0;
    size_t i;
    json_t *x;

    if (!json_is_array(list)) {
        js_fail(j, E_FORMAT, path, "must be a list");
        return v;
    }
    text = js_mem(j, json_array_size(list), sizeof *text);
    if (!text)
        return v;
    json_array_foreach(list, i, x) {
        if (json_is_string(x))
            text[n++] = text_of(x);
        else
            v = value_or(j, v, const_value(j, x, js_path_at(j, path, i)));
    }
    v.str = rx_texts(j->s, text, n);
    return v;
}

/* -- numbers and strings --------------------------------------------------------------------- */

static struct value num_value(struct js *j, rx num)
{
    struct value v = value_all(j);

    v.num = num;
    v.exp = false;
    return v;
}

static struct value bound(struct js *j, const json_t *x, bool upper, bool exclusive,
                          const char *path)
{
    char digits[480];
    bool negative;

    if (!json_is_number(x)) {
        js_fail(j, E_FORMAT, path, "must be a number");
    } else if (number_text(x, digits, sizeof digits, &negative)) {
        return num_value(j, number_bound(j->s, digits, negative, upper, exclusive));
    } else {
        js_fail(j, E_UNSUPPORTED, path, "a number out of reach");
    }
    return value_all(j);
}

/* minimum and exclusiveMinimum; in draft 4 the second says of the first that it is exclusive. */
static struct value bounds(struct js *j, const json_t *s, const char *path)
{
    static const char *const name[2][2] = {{"minimum", "exclusiveMinimum"},
                                           {"maximum", "exclusiveMaximum"}};
    struct value v = value_all(j);

    for (int up = 0; up < 2; up++) {
        const json_t *x = json_object_get(s, name[up][0]), *ex = json_object_get(s, name[up][1]);

        if (x)
            v = value_and(j, v, bound(j, x, up, json_is_true(ex), sub(j, path, name[up][0])));
        if (ex && !json_is_boolean(ex))
            v = value_and(j, v, bound(j, ex, up, true, sub(j, path, name[up][1])));
    }
    return v;
}

static struct value multiple(struct js *j, const json_t *x, const char *path)
{
    char digits[480];
    bool negative;
    rx num = RX_NONE;

    if (!json_is_number(x) || !number_text(x, digits, sizeof digits, &negative) || negative)
        js_fail(j, E_FORMAT, path, "must be a number above 0");
    else if (!number_multiple(j->s, digits, &num))
        js_fail(j, E_UNSUPPORTED, path, "multiples of this number cannot be enforced");
    return num_value(j, num);
}

/* A count; false when it is absent. */
static bool count(struct js *j, const json_t *s, const char *key, const char *path, uint32_t *out)
{
    const json_t *x = json_object_get(s, key);
    double d = json_number_value(x);

    if (!x)
        return false;
    if (!json_is_number(x) || d < 0 || d != (double)(uint64_t)(d < 1e18 ? d : 0)) {
        js_fail(j, E_FORMAT, sub(j, path, key), "must be a count");
        return false;
    }
    *out = d >= 4e9 ? NO_LIMIT - 1 : (uint32_t)d;
    return true;
}

static struct value pattern(struct js *j, const json_t *x, const char *path)
{
    struct value v = value_all(j);
    struct err why = {0};

    if (!json_is_string(x))
        js_fail(j, E_FORMAT, path, "must be a string");
    else if (rx_parse(j->s, text_of(x), true, &v.str, &why) < 0)
        js_fail(j, why.code, path, why.text);
    return v;
}

static struct value format(struct js *j, const json_t *x, const char *path)
{
    struct value v = value_all(j);
    rx f;

    if (!json_is_string(x))
        js_fail(j, E_FORMAT, path, "must be a string");
    if (!json_is_string(x) || format_is_note(text_of(x)))
        return v;
    f = format_rx(j->s, text_of(x), NULL);
    if (f == RX_NONE)
        js_fail(j, E_UNSUPPORTED, path, "a format that is not known cannot be enforced");
    v.str = f;
    return v;
}

static struct value strings(struct js *j, const json_t *s, const char *path)
{
    struct value v = value_all(j);
    uint32_t min = 0, max = RX_INF;
    const json_t *x;
    bool counted = count(j, s, "minLength", path, &min);

    counted = count(j, s, "maxLength", path, &max) || counted;
    if (counted)
        v.str = rx_and(j->s, j->s->any, rx_len(j->s, min, max));
    if ((x = json_object_get(s, "pattern")))
        v = value_and(j, v, pattern(j, x, sub(j, path, "pattern")));
    if ((x = json_object_get(s, "format")))
        v = value_and(j, v, format(j, x, sub(j, path, "format")));
    return v;
}

/* -- arrays ---------------------------------------------------------------------------------- */

static struct value items(struct js *j, const json_t *s, const char *path)
{
    const json_t *items = json_object_get(s, "items"), *rest = items;
    const json_t *pre = json_object_get(s, "prefixItems");
    const char *at = sub(j, path, "prefixItems"), *rest_at = sub(j, path, "items");
    struct shape_arr *a;
    json_t *x;
    size_t i;

    if (json_is_array(items)) { // before 2020-12
        pre = items;
        at = rest_at;
        rest = json_object_get(s, "additionalItems");
        rest_at = sub(j, path, "additionalItems");
    }
    if (pre && !json_is_array(pre))
        js_fail(j, E_FORMAT, at, "must be a list of schemas");
    a = arr_new(j, (uint32_t)json_array_size(pre), 0);
    if (!a)
        return value_all(j);
    a->n_pre = (uint32_t)json_array_size(pre);
    json_array_foreach(pre, i, x) {
        a->pre[i] = goal_schema(j, x, js_path_at(j, at, i));
        if (a->pre[i] == GOAL_NONE && i < a->max)
            a->max = (uint32_t)i;
    }
    a->rest = rest ? goal_schema(j, rest, rest_at) : GOAL_ANY;
    if (a->rest == GOAL_NONE && a->max > a->n_pre)
        a->max = a->n_pre;
    return with_arr(j, a);
}

static struct value array_counts(struct js *j, const json_t *s, const char *path)
{
    const json_t *each = json_object_get(s, "uniqueItems");
    const bool unique = json_is_true(each);
    struct shape_arr *a = arr_new(j, 0, 1 + (unique ? KNOWN_MOST : 0));
    const json_t *x = json_object_get(s, "contains");

    if (!a)
        return value_all(j);
    if (each && !json_is_boolean(each))
        js_fail(j, E_FORMAT, sub(j, path, "uniqueItems"), "must be true or false");
    count(j, s, "minItems", path, &a->min);
    count(j, s, "maxItems", path, &a->max);
    if (x) {
        struct has h = {goal_schema(j, x, sub(j, path, "contains")), 1, NO_LIMIT, 0, false};

        if (j->draft >= 2019) {
            count(j, s, "minContains", path, &h.min);
            count(j, s, "maxContains", path, &h.max);
        }
        if (h.min > h.max)
            return with_arr(j, NULL);
        if (h.min || h.max != NO_LIMIT) {
            a->has[0] = h;
            a->n_has = 1;
        }
    }
    if (unique && a->max > 1)
        known_unique(j, s, path, a);
    return with_arr(j, a->min > a->max ? NULL : a);
}

/* -- objects --------------------------------------------------------------------------------- */

/* The keys of o split by a pattern: those that match hold what its schema says as well. */
static bool split_keys(struct js *j, struct shape_obj *o, rx pattern, uint32_t goal,
                       struct keys *old)
{
    uint32_t n = o->n_keys;

    memcpy(old, o->keys, n * sizeof *old);
    o->keys = js_mem(j, 2ull * n + 1, sizeof *o->keys);
    if (!o->keys)
        return false;
    o->n_keys = 0;
    for (uint32_t i = 0; i < n; i++) {
        rx in = rx_and(j->s, old[i].key, pattern), out = rx_minus(j->s, old[i].key, pattern);

        if (rx_live(j->s, in))
            o->keys[o->n_keys++] = (struct keys){in, goal_and(j, old[i].goal, goal)};
        if (rx_live(j->s, out))
            o->keys[o->n_keys++] = (struct keys){out, old[i].goal};
    }
    return j->rc == 0;
}

struct value schema_properties(struct js *j, const json_t *s, const char *path)
{
    const json_t *props = json_object_get(s, "properties");
    const json_t *patterns = json_object_get(s, "patternProperties");
    const json_t *more = json_object_get(s, "additionalProperties");
    struct shape_obj *o = obj_new(j, (uint32_t)json_object_size(props), 1, 0);
    const char *key, *at;
    rx named = RX_NONE;
    json_t *x;

    if ((props && !json_is_object(props)) || (patterns && !json_is_object(patterns)))
        js_fail(j, E_FORMAT, path, "properties must be an object");
    if (!o || j->rc < 0)
        return value_all(j);
    o->n_keys = 1;
    o->keys[0] = (struct keys){j->s->any, GOAL_ANY};
    at = sub(j, path, "properties");
    json_object_foreach((json_t *)(uintptr_t)props, key, x)
        o->prop[o->n_prop++] = (struct prop){
            slice_of(key), goal_schema(j, x, js_path(j, at, key, strlen(key))), false};
    at = sub(j, path, "patternProperties");
    json_object_foreach((json_t *)(uintptr_t)patterns, key, x) {
        const char *here = js_path(j, at, key, strlen(key));
        uint32_t goal = goal_schema(j, x, here);
        struct keys *old = js_mem(j, o->n_keys, sizeof *old);
        struct err why = {0};
        rx p;

        if (rx_parse(j->s, slice_of(key), true, &p, &why) < 0)
            js_fail(j, why.code, here, why.text);
        named = rx_or(j->s, named, p);
        if (!old || o->n_keys > 512 || !split_keys(j, o, p, goal, old)) {
            js_fail(j, E_RANGE, at, "too many patterns");
            return value_all(j);
        }
        for (uint32_t i = 0; i < o->n_prop; i++)
            if (rx_match(j->s, p, o->prop[i].name))
                o->prop[i].goal = goal_and(j, o->prop[i].goal, goal);
    }
    if (more) {
        uint32_t goal = goal_schema(j, more, sub(j, path, "additionalProperties"));

        /* a class is matched by a pattern as a whole or not at all */
        for (uint32_t i = 0; i < o->n_keys; i++) {
            rx out = named == RX_NONE ? o->keys[i].key : rx_minus(j->s, o->keys[i].key, named);

            if (rx_live(j->s, out))
                o->keys[i].goal = goal_and(j, o->keys[i].goal, goal);
        }
    }
    return with_obj(j, o);
}

/* Objects that have all of these properties. */
static struct shape_obj *having(struct js *j, const json_t *list, const char *first,
                                const char *path)
{
    struct shape_obj *o = any_obj(j, (uint32_t)json_array_size(list) + 1);
    size_t i;
    json_t *x;

    if (!o)
        return NULL;
    if (!json_is_array(list))
        js_fail(j, E_FORMAT, path, "must be a list of names");
    if (first)
        o->prop[o->n_prop++] = (struct prop){slice_of(first), GOAL_ANY, true};
    json_array_foreach(list, i, x) {
        struct slice name = text_of(x);
        bool known = false;

        if (!json_is_string(x)) {
            js_fail(j, E_FORMAT, path, "must be a list of names");
            break;
        }
        for (uint32_t k = 0; k < o->n_prop; k++)
            known = known || slice_eq(o->prop[k].name, name);
        if (!known)
            o->prop[o->n_prop++] = (struct prop){name, GOAL_ANY, true};
    }
    return o;
}

/* Objects with this property need more: other properties, or to satisfy a schema. */
static struct value dependency(struct js *j, const char *key, const json_t *need, const char *path)
{
    struct shape_obj *without = any_obj(j, 1), *with = any_obj(j, 1);
    struct value v, w;

    if (!without || !with)
        return value_all(j);
    without->n_prop = with->n_prop = 1;
    without->prop[0] = (struct prop){slice_of(key), GOAL_NONE, false};
    with->prop[0] = (struct prop){slice_of(key), GOAL_ANY, true};
    v = with_obj(j, without);
    if (json_is_array(need)) {
        w = (struct value){.obj = having(j, need, key, path)};
    } else {
        w = value_and(j, with_obj(j, with), goal_value(j, goal_schema(j, need, path)));
        w = (struct value){.obj = w.obj};
    }
    return value_or(j, v, w);
}

static struct value dependencies(struct js *j, const json_t *s, const char *path)
{
    static const char *const name[] = {"dependentRequired", "dependentSchemas", "dependencies"};
    struct value v = value_all(j);

    for (int i = 0; i < 3; i++) {
        const json_t *d = json_object_get(s, name[i]);
        const char *at = sub(j, path, name[i]), *key;
        json_t *x;

        if (i < 2 && j->draft < 2019)
            continue;
        if (d && !json_is_object(d))
            js_fail(j, E_FORMAT, at, "must be an object");
        json_object_foreach((json_t *)(uintptr_t)d, key, x)
            v = value_and(j, v, dependency(j, key, x, js_path(j, at, key, strlen(key))));
    }
    return v;
}

static struct value object_counts(struct js *j, const json_t *s, const char *path)
{
    struct shape_obj *o = any_obj(j, 0);

    if (!o)
        return value_all(j);
    count(j, s, "minProperties", path, &o->min);
    count(j, s, "maxProperties", path, &o->max);
    return with_obj(j, o->min > o->max ? NULL : o);
}

static struct value names(struct js *j, const json_t *x, const char *path)
{
    struct shape_obj *o = obj_new(j, 0, 1, 0);

    if (!o)
        return value_all(j);
    o->keys[0] = (struct keys){goal_value(j, goal_schema(j, x, path)).str, GOAL_ANY};
    o->n_keys = rx_live(j->s, o->keys[0].key);
    return with_obj(j, o);
}

/* -- joining schemas ------------------------------------------------------------------------- */

static bool schemas(struct js *j, const json_t *list, const char *path)
{
    if (!json_is_array(list) || json_array_size(list) == 0)
        js_fail(j, E_FORMAT, path, "must be a list of schemas");
    return j->rc == 0;
}

static struct value sub_value(struct js *j, const json_t *s, const char *path)
{
    return goal_value(j, goal_schema(j, s, path));
}

static struct value any_of(struct js *j, const json_t *list, const char *path)
{
    struct value v = {0};
    size_t i;
    json_t *x;

    if (schemas(j, list, path))
        json_array_foreach(list, i, x)
            v = value_or(j, v, sub_value(j, x, js_path_at(j, path, i)));
    return v;
}

static struct value all_of(struct js *j, const json_t *list, const char *path)
{
    struct value v = value_all(j);
    size_t i;
    json_t *x;

    if (schemas(j, list, path))
        json_array_foreach(list, i, x)
            v = value_and(j, v, sub_value(j, x, js_path_at(j, path, i)));
    return v;
}

/* Each alternative without those that it has values in common with. */
static struct value one_of(struct js *j, const json_t *s, bool closing, const char *path)
{
    const json_t *list = json_object_get(s, "oneOf");
    size_t n = json_array_size(list);
    struct value *v = js_mem(j, n, sizeof *v), r = {0};

    if (!v || !schemas(j, list, path))
        return r;
    for (size_t i = 0; i < n; i++)
        v[i] = sub_value(j, json_array_get(list, i), js_path_at(j, path, i));
    for (size_t i = 0; i < n && j->rc == 0; i++) {
        struct value one = v[i];

        for (size_t k = 0; k < n && j->rc == 0; k++) {
            struct value both;

            if (k == i)
                continue;
            both = value_and(j, v[i], v[k]);
            if (!value_empty(j, &both))
                one = value_and(j, one, value_not(j, v[k], js_path_at(j, path, k)));
        }
        if (closing)
            one = value_and(j, one, known_closed(j, s, json_array_get(list, i), NULL, path));
        r = value_or(j, r, one);
    }
    return r;
}

static struct value conditional(struct js *j, const json_t *s, bool closing, const char *path)
{
    const json_t *then = json_object_get(s, "then"), *other = json_object_get(s, "else");
    struct value yes, no;

    if (!then && !other && !closing)
        return value_all(j);
    yes = sub_value(j, json_object_get(s, "if"), sub(j, path, "if"));
    no = value_not(j, yes, sub(j, path, "if"));
    if (then)
        yes = value_and(j, yes, sub_value(j, then, sub(j, path, "then")));
    if (other)
        no = value_and(j, no, sub_value(j, other, sub(j, path, "else")));
    if (closing) {
        yes = value_and(j, yes, known_closed(j, s, json_object_get(s, "if"), then, path));
        no = value_and(j, no, known_closed(j, s, other, NULL, path));
    }
    return value_or(j, yes, no);
}

/* -- references ------------------------------------------------------------------------------ */

static struct value reference(struct js *j, const json_t *ref, const char *path)
{
    const char *at;
    const json_t *to = schema_of_ref(j, ref, path, &at);

    return to ? sub_value(j, to, at) : value_all(j);
}

/* -- a whole schema -------------------------------------------------------------------------- */

static void refuse(struct js *j, const json_t *s, const char *path)
{
    static const char *const name[] = {"$dynamicRef", "$recursiveRef"};

    for (size_t i = 0; i < ARRAY_LEN(name); i++)
        if (json_object_get(s, name[i]))
            js_fail(j, E_UNSUPPORTED, sub(j, path, name[i]), "cannot be enforced");
}

static bool has_any(const json_t *s, const char *const *name, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (json_object_get(s, name[i]))
            return true;
    return false;
}
#define HAS(s, ...)                                                                                \
    has_any(s, (const char *const[]){__VA_ARGS__},                                                 \
            ARRAY_LEN(((const char *const[]){__VA_ARGS__})))

/* What the keywords about the value itself say. */
static struct value own_keywords(struct js *j, const json_t *s, struct value v, const char *path)
{
    const json_t *x;

    if ((x = json_object_get(s, "type")))
        v = value_and(j, v, types_value(j, x, sub(j, path, "type")));
    if ((x = json_object_get(s, "enum")))
        v = value_and(j, v, enum_value(j, x, sub(j, path, "enum")));
    if ((x = json_object_get(s, "const")))
        v = value_and(j, v, const_value(j, x, sub(j, path, "const")));
    if (HAS(s, "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))
        v = value_and(j, v, bounds(j, s, path));
    if ((x = json_object_get(s, "multipleOf")))
        v = value_and(j, v, multiple(j, x, sub(j, path, "multipleOf")));
    if (HAS(s, "minLength", "maxLength", "pattern", "format"))
        v = value_and(j, v, strings(j, s, path));
    if (HAS(s, "items", "prefixItems", "additionalItems"))
        v = value_and(j, v, items(j, s, path));
    if (HAS(s, "minItems", "maxItems", "uniqueItems", "contains"))
        v = value_and(j, v, array_counts(j, s, path));
    if (HAS(s, "properties", "patternProperties", "additionalProperties"))
        v = value_and(j, v, schema_properties(j, s, path));
    if ((x = json_object_get(s, "required")) && !json_is_boolean(x))
        v = value_and(j, v, with_obj(j, having(j, x, NULL, sub(j, path, "required"))));
    if (HAS(s, "dependentRequired", "dependentSchemas", "dependencies"))
        v = value_and(j, v, dependencies(j, s, path));
    if (HAS(s, "minProperties", "maxProperties"))
        v = value_and(j, v, object_counts(j, s, path));
    if ((x = json_object_get(s, "propertyNames")))
        v = value_and(j, v, names(j, x, sub(j, path, "propertyNames")));
    return v;
}

/* unevaluatedItems, where nothing beside it evaluates items but prefixItems and items. */
static struct value other_items(struct js *j, const json_t *s, const json_t *more, const char *path)
{
    const char *at = sub(j, path, "unevaluatedItems");
    const json_t *pre = json_object_get(s, "prefixItems");
    struct shape_arr *a;

    if (json_is_array(json_object_get(s, "items")))
        pre = json_object_get(s, "items");
    else if (json_object_get(s, "items"))
        return value_all(j); // all are evaluated
    if (json_object_get(s, "additionalItems"))
        return value_all(j);
    if (HAS(s, "$ref", "allOf", "anyOf", "oneOf", "if", "contains"))
        js_fail(j, E_UNSUPPORTED, at, "cannot be enforced beside what may evaluate items");
    a = arr_new(j, (uint32_t)json_array_size(pre), 0);
    if (!a)
        return value_all(j);
    a->n_pre = (uint32_t)json_array_size(pre); // any, which is 0
    a->rest = goal_schema(j, more, at);
    if (a->rest == GOAL_NONE)
        a->max = a->n_pre;
    return with_arr(j, a);
}

struct value schema_value(struct js *j, const json_t *s, const char *path)
{
    struct value v = value_all(j);
    const json_t *x;
    char closing = 0;

    if (json_is_boolean(s))
        return json_is_true(s) ? v : (struct value){0};
    if (!json_is_object(s)) {
        js_fail(j, E_FORMAT, path, "a schema must be an object or true or false");
        return v;
    }
    refuse(j, s, path);
    if ((x = json_object_get(s, "$ref"))) {
        v = reference(j, x, sub(j, path, "$ref"));
        if (j->draft < 2019)
            return v;
    }
    v = own_keywords(j, s, v, path);
    if (j->draft >= 2019) {
        if ((x = json_object_get(s, "unevaluatedItems")) && !json_is_true(x))
            v = value_and(j, v, other_items(j, s, x, path));
        if ((x = json_object_get(s, "unevaluatedProperties")) && !json_is_true(x)) {
            closing = known_closing(j, s, path);
            if (!closing)
                v = value_and(j, v, known_closed(j, s, NULL, NULL, path));
        }
    }
    if ((x = json_object_get(s, "allOf")))
        v = value_and(j, v, all_of(j, x, sub(j, path, "allOf")));
    if ((x = json_object_get(s, "anyOf")))
        v = value_and(j, v, any_of(j, x, sub(j, path, "anyOf")));
    if (json_object_get(s, "oneOf"))
        v = value_and(j, v, one_of(j, s, closing == 'o', sub(j, path, "oneOf")));
    if (json_object_get(s, "if"))
        v = value_and(j, v, conditional(j, s, closing == 'i', path));
    if ((x = json_object_get(s, "not")))
        v = value_and(j, v, value_not(j, sub_value(j, x, sub(j, path, "not")), path));
    return v;
}

/* -- the front end --------------------------------------------------------------------------- */

/* The draft a schema says it is of; else the caller's. */
static int draft_of(struct js *j, const json_t *root)
{
    const char *s = json_string_value(json_object_get(root, "$schema"));

    if (!s)
        return j->opts.draft == 7 ? 7 : 2020;
    if (!strstr(s, "json-schema.org/"))
        js_fail(j, E_UNSUPPORTED, "#/$schema", "a dialect that is not known");
    return strstr(s, "draft-0") ? 7 : 2020;
}

static void finish(struct js *j)
{
    struct chunk *next;

    json_decref(j->made);
    mem_free(j->lit);
    mem_free(j->goal);
    for (struct chunk *c = j->mem; c; c = next) {
        next = c->next;
        mem_free(c);
    }
}

int con_schema_rule(struct gram *g, const json_t *schema, const struct con_form *form,
                    const struct con_opts *o, uint32_t *rule, struct err *e)
{
    struct js j = {.g = g, .s = &g->rx, .opts = *o, .root = schema, .n_goal = 2, .e = e};
    json_t *type = json_pack("{ss}", "type", "object");
    uint32_t goal;

    j.form = form;
    j.draft = draft_of(&j, schema);
    j.nested_ids = schema_nests_ids(schema);
    j.made = json_array();
    j.cap_goal = 64;
    j.goal = mem_array(j.cap_goal, sizeof *j.goal, e);
    j.dec = number_all(j.s);
    j.integer = number_integer(j.s);
    if (!j.goal || !type) {
        json_decref(type);
        json_decref(j.made);
        mem_free(j.goal);
        return err_nomem(e, 1);
    }
    goal = goal_schema(&j, schema, "#");
    if (form)
        goal = goal_and(&j, goal, goal_schema(&j, type, "#"));
    if (j.rc == 0)
        emit_all(&j, goal, rule);
    if (j.rc == 0 && j.s->bad)
        j.rc = rxs_error(j.s, "the schema", e);
    finish(&j);
    json_decref(type);
    return j.rc;
}

static int front_schema(struct gram *g, void *arg, const struct con_opts *o, uint32_t *root,
                        struct err *e)
{
    return con_schema_rule(g, arg, NULL, o, root, e);
}

int con_schema(struct con **out, struct slice json, const struct con_opts *opts, struct err *e)
{
    json_error_t why;
    json_t *root;
    int rc;

    if (json.n > MAX_SCHEMA)
        return err_set(e, E_RANGE, "schema: larger than %u MiB", MAX_SCHEMA >> 20);
    root = json_loadb(json.p, json.n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &why);
    if (!root)
        return err_set(e, E_FORMAT, "schema, line %d, column %d: %s", why.line, why.column,
                       why.text);
    if (!json_is_object(root) && !json_is_boolean(root))
        rc = err_set(e, E_FORMAT, "schema: must be an object or true or false");
    else
        rc = con_compile(out, front_schema, root, opts, e);
    json_decref(root);
    if (rc < 0 && e && rc != E_NOMEM && strncmp(e->text, "schema", 6) != 0)
        err_prefix(e, "schema");
    return rc;
}

int con_json_object(struct con **out, const struct con_opts *opts, struct err *e)
{
    return con_schema(out, SLICE("{\"type\":\"object\"}"), opts, e);
}
