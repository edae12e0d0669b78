/* api_obey.c - see api_fields.h: what an answer must be. */
#include "tools/lib/api_fields.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { CHOICES_MAX = 4096 };

static int want(struct api_request *r, enum rill_constraint_kind kind, const json_t *what,
                const char *name, struct err *e)
{
    if (r->obey >= 0)
        return err_set(e, E_RANGE, "%s: the answer's form is given twice", name);
    r->obey = (int)kind;
    r->obey_what = what;
    r->obey_field = name;
    return 0;
}

int api_read_format(struct api_request *r, const char *name, const json_t *v, struct err *e)
{
    const char *type = json_string_value(json_object_get(v, "type"));
    const json_t *named = json_object_get(v, "json_schema");
    const json_t *schema = json_object_get(named ? named : v, "schema");

    if (type && strcmp(type, "text") == 0)
        return 0;
    r->obey_soft = true;
    if (type && strcmp(type, "json_object") == 0)
        return schema ? want(r, RILL_SCHEMA, schema, name, e) : want(r, RILL_JSON, v, name, e);
    if (!type || strcmp(type, "json_schema") != 0)
        return err_set(e, E_RANGE,
                       "%s: its type must be \"text\", \"json_object\" or \"json_schema\"", name);
    if (!json_is_object(schema) && !json_is_boolean(schema))
        return err_set(e, E_RANGE, "%s: json_schema needs a schema", name);
    return want(r, RILL_SCHEMA, schema, name, e);
}

/* The fields of their own, and those of structured_outputs. */
static const struct {
    const char *name;
    enum rill_constraint_kind kind;
} kinds[] = {{"grammar", RILL_GRAMMAR},      {"regex", RILL_REGEX},
             {"choices", RILL_CHOICE},       {"choice", RILL_CHOICE},
             {"json", RILL_SCHEMA},          {"json_object", RILL_JSON},
             {"guided_json", RILL_SCHEMA},   {"guided_regex", RILL_REGEX},
             {"guided_choice", RILL_CHOICE}, {"guided_grammar", RILL_GRAMMAR}};

int api_read_obey(struct api_request *r, const char *name, const json_t *v, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        bool list = kinds[i].kind == RILL_CHOICE;
        bool text = kinds[i].kind == RILL_GRAMMAR || kinds[i].kind == RILL_REGEX;

        if (strcmp(kinds[i].name, name) != 0)
            continue;
        if (kinds[i].kind == RILL_JSON)
            return json_is_true(v) ? want(r, RILL_JSON, v, name, e) : 0;
        if (list &&
            (!json_is_array(v) || json_array_size(v) == 0 || json_array_size(v) > CHOICES_MAX))
            return err_set(e, E_RANGE, "%s: must be a list of 1 to %d strings", name, CHOICES_MAX);
        for (size_t k = 0; list && k < json_array_size(v); k++)
            if (!json_is_string(json_array_get(v, k)))
                return err_set(e, E_RANGE, "%s: must be a list of strings", name);
        if (text && !json_is_string(v))
            return err_set(e, E_RANGE, "%s: must be a string", name);
        return want(r, kinds[i].kind, v, name, e);
    }
    return err_set(e, E_USAGE, "%s: no such form of an answer", name);
}

int api_read_structured(struct api_request *r, const char *name, const json_t *v, struct err *e)
{
    const char *key;
    json_t *what;

    if (!json_is_object(v))
        return err_set(e, E_RANGE, "%s: must be an object", name);
    json_object_foreach((json_t *)(uintptr_t)v, key, what)
    {
        int rc = json_is_null(what) ? 0 : api_read_obey(r, key, what, e);

        if (rc < 0)
            return rc;
    }
    return 0;
}

/* What the constraint is made from, as texts; *owned is jansson's. */
static int texts(const struct api_request *r, struct rill_stop *text, char **owned, struct err *e)
{
    const json_t *w = r->obey_what;

    if (r->obey == RILL_CHOICE) {
        for (size_t i = 0; i < json_array_size(w); i++) {
            const json_t *s = json_array_get(w, i);

            text[i] = (struct rill_stop){json_string_value(s), json_string_length(s)};
        }
        return (int)json_array_size(w);
    }
    if (json_is_string(w)) {
        text[0] = (struct rill_stop){json_string_value(w), json_string_length(w)};
    } else {
        *owned = json_dumps(w, JSON_ENCODE_ANY | JSON_COMPACT);
        if (!*owned)
            return err_nomem(e, 0);
        text[0] = (struct rill_stop){*owned, strlen(*owned)};
    }
    return 1;
}

/* The form that the fields ask for. */
static int obey_form(struct api_request *r, const struct api_opts *o, struct err *e)
{
    const struct reasoning *re = o->chat && r->chat ? api_chat_reasoning(o->chat) : NULL;
    struct rill_stop close = {re ? re->close : "", re ? strlen(re->close) : 0};
    struct rill_constraint_opts co = {.after = &close, .n_after = 1, .model = o->model};
    struct rill_stop *text = mem_array(CHOICES_MAX, sizeof *text, e);
    char *owned = NULL;
    int n = text ? texts(r, text, &owned, e) : E_NOMEM;

    r->param = r->obey_field;
    if (n > 0)
        n = rill_constraint_new(&r->constraint, (enum rill_constraint_kind)r->obey, text, n,
                                re && r->prompt[0].open ? &co : NULL, e);
    free(owned); // jansson's
    mem_free(text);
    return n < 0 ? n : 0;
}

/* What calls of tools may be, and an answer without one. A schema that cannot be enforced is no
 * reason not to answer unless a call was demanded. */
static int obey_tools(struct api_request *r, const struct api_opts *o, struct err *e)
{
    const json_t *choice = json_object_get(r->json, "tool_choice");
    const json_t *form = r->obey >= 0 ? json_object_get(r->json, r->obey_field) : NULL;
    struct err why = {0};
    int rc = E_UNSUPPORTED;

    if (form) {
        r->param = r->obey_field;
        rc = api_chat_constraint(o->chat, r->tools, choice, form, r->one_call, &r->prompt[0],
                                 &r->constraint, &why);
        if (rc == E_UNSUPPORTED)
            api_warn(r, "response_format is not enforced where tools may be called: %s", why.text);
    }
    if (rc == E_UNSUPPORTED) {
        why = (struct err){0};
        r->param = "tools";
        rc = api_chat_constraint(o->chat, r->tools, choice, NULL, r->one_call, &r->prompt[0],
                                 &r->constraint, &why);
    }
    if (rc == E_UNSUPPORTED && r->calls == API_CALLS_AUTO) {
        api_warn(r, "arguments of tools are not enforced: %s", why.text);
        return 0;
    }
    return rc < 0 ? err_set(e, rc, "%s", why.text) : 0;
}

int api_obey(struct api_request *r, const struct api_opts *o, struct err *e)
{
    int rc = 0;

    if (r->tools && (r->obey < 0 || r->obey_soft))
        rc = obey_tools(r, o, e);
    else if (r->obey >= 0)
        rc = obey_form(r, o, e);
    r->q.constraint = r->constraint;
    return rc;
}
