/* constrain_ref.c - what a $ref of a JSON schema means: JSON pointers and anchors of the same
 * document.
 */
#include <stdlib.h>
#include <string.h>

#include "constrain_value.h"

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

/* One token of a pointer in a fragment, unescaped into out. */
static size_t pointer_token(const char *p, size_t n, char *out)
{
    size_t k = 0, m = 0;

    for (size_t i = 0; i < n; i++) {
        if (p[i] == '%' && i + 2 < n && hex_digit(p[i + 1]) >= 0 && hex_digit(p[i + 2]) >= 0) {
            out[k++] = (char)(hex_digit(p[i + 1]) << 4 | hex_digit(p[i + 2]));
            i += 2;
        } else {
            out[k++] = p[i];
        }
    }
    for (size_t i = 0; i < k; i++) {
        if (out[i] == '~' && i + 1 < k && (out[i + 1] == '0' || out[i + 1] == '1'))
            out[m++] = out[++i] == '0' ? '~' : '/';
        else
            out[m++] = out[i];
    }
    out[m] = 0;
    return m;
}

static const json_t *by_pointer(struct js *j, const char *p, const char **path)
{
    const json_t *at = j->root;
    char *token = js_mem(j, strlen(p) + 1, 1);

    *path = "#";
    while (token && *p == '/' && at) {
        size_t n = strcspn(++p, "/"), k = pointer_token(p, n, token);

        if (json_is_array(at))
            at = k && strspn(token, "0123456789") == k
                     ? json_array_get(at, strtoul(token, NULL, 10))
                     : NULL;
        else
            at = json_object_get(at, token);
        *path = js_path(j, *path, token, k);
        p += n;
    }
    return *p ? NULL : at;
}

/* The schema of this $anchor (or "$id": "#name", before 2019). */
static const json_t *by_anchor(const json_t *s, const char *name, int depth)
{
    const char *a = json_string_value(json_object_get(s, "$anchor"));
    const char *id = json_string_value(json_object_get(s, "$id")), *key;
    const json_t *found = NULL;
    json_t *x;
    size_t i;

    if (depth > 200)
        return NULL;
    if ((a && strcmp(a, name) == 0) || (id && id[0] == '#' && strcmp(id + 1, name) == 0))
        return s;
    json_object_foreach((json_t *)(uintptr_t)s, key,
                        x) if (!found && strcmp(key, "enum") != 0 && strcmp(key, "const") != 0)
        found = by_anchor(x, name, depth + 1);
    json_array_foreach(s, i, x) if (!found) found = by_anchor(x, name, depth + 1);
    return found;
}

const json_t *schema_of_ref(struct js *j, const json_t *ref, const char *path, const char **at)
{
    const char *r = json_string_value(ref), *id = NULL, *hash;
    const json_t *to = NULL;

    *at = "#";
    if (!r) {
        js_fail(j, E_FORMAT, path, "must be a string");
        return NULL;
    }
    if (j->nested_ids) {
        js_fail(j, E_UNSUPPORTED, path, "references where parts have their own $id");
        return NULL;
    }
    id = json_string_value(json_object_get(j->root, "$id"));
    hash = strchr(r, '#');
    if (r != hash &&
        (!id || strncmp(r, id, strcspn(r, "#")) != 0 || strcspn(id, "#") != strcspn(r, "#"))) {
        js_fail(j, E_UNSUPPORTED, path, "a reference to another document");
        return NULL;
    }
    hash = hash ? hash + 1 : "";
    if (*hash == 0 || *hash == '/') {
        to = by_pointer(j, hash, at);
    } else {
        to = by_anchor(j->root, hash, 0);
        *at = js_path(j, "#", hash, strlen(hash));
    }
    if (!to || (!json_is_object(to) && !json_is_boolean(to))) {
        js_fail(j, E_FORMAT, path, "a reference to nothing");
        return NULL;
    }
    return to;
}

static bool nested_ids(const json_t *s, bool top, int depth)
{
    const char *id = json_string_value(json_object_get(s, "$id")), *key;
    json_t *x;
    size_t i;

    if (depth > 200 || (!top && id && id[0] != '#'))
        return true;
    json_object_foreach((json_t *)(uintptr_t)s, key,
                        x) if (strcmp(key, "enum") != 0 && strcmp(key, "const") != 0 &&
                               nested_ids(x, false, depth + 1)) return true;
    json_array_foreach(s, i, x) if (nested_ids(x, false, depth + 1)) return true;
    return false;
}

bool schema_nests_ids(const json_t *root)
{
    return nested_ids(root, true, 0);
}
