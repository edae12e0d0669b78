/* derive.c - see derive.h: the conversations that are rendered, and texts. */
#define _GNU_SOURCE // memmem
#include "derive_in.h"

#include "base/mem.h"

const char *const dv_name[2] = {"qzalpha", "qzbravo"};
const char *const dv_id[2] = {"qzid00001", "qzid00002"}; // nine, as Mistral's templates insist
const char *const dv_key[2] = {"qzkone", "qzktwo"};
const char *const dv_value[2] = {"qzvone", "qzvtwo"};

/* -- texts ----------------------------------------------------------------------------------- */

size_t dv_find(struct slice t, size_t from, const char *s)
{
    const char *p = from <= t.n ? memmem(t.p + from, t.n - from, s, strlen(s)) : NULL;

    return p ? (size_t)(p - t.p) : DV_NOWHERE;
}

struct slice dv_part(struct slice t, size_t from, size_t to)
{
    return (struct slice){t.p + from, to - from};
}

struct slice dv_strip(struct slice t)
{
    while (t.n && tc_is_space(t.p[0]))
        t = dv_part(t, 1, t.n);
    while (t.n && tc_is_space(t.p[t.n - 1]))
        t.n--;
    return t;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (c & 0x80);
}

/* A text may be cut before byte i: no tag is open there, no word goes on. */
static bool may_cut(struct slice t, size_t i)
{
    if (i == 0 || i == t.n)
        return true;
    if ((is_word(t.p[i - 1]) && is_word(t.p[i])) ||
        (t.p[i - 1] == t.p[i] && strchr("<>[]|@#~", t.p[i])))
        return false;
    for (size_t k = i; k-- > 0 && t.p[k] != '>' && t.p[k] != ']';)
        if (t.p[k] == '<' ||
            (t.p[k] == '[' && ((t.p[k + 1] >= 'A' && t.p[k + 1] <= 'Z') || t.p[k + 1] == '/')))
            return false;
    return true;
}

size_t dv_common_head(struct slice a, struct slice b)
{
    size_t n = 0;

    while (n < a.n && n < b.n && a.p[n] == b.p[n])
        n++;
    while (n && !(may_cut(a, n) && may_cut(b, n)))
        n--;
    return n;
}

size_t dv_common_tail(struct slice a, struct slice b)
{
    size_t n = 0;

    while (n < a.n && n < b.n && a.p[a.n - 1 - n] == b.p[b.n - 1 - n])
        n++;
    while (n && !(may_cut(a, a.n - n) && may_cut(b, b.n - n)))
        n--;
    return n;
}

size_t dv_tag(struct slice t)
{
    const char *end;
    size_t n;

    if (t.n < 3 || (t.p[0] != '<' && t.p[0] != '['))
        return 0;
    end = memchr(t.p, t.p[0] == '<' ? '>' : ']', t.n);
    n = end ? (size_t)(end - t.p) + 1 : 0;
    while (n && n < t.n && t.p[n] == *end)
        n++;
    return n;
}

const char *dv_keep(struct dv *v, struct slice t)
{
    struct derived *d = v->d;

    if (t.n == 0 || v->rc < 0 || d->n_own == DERIVE_OWN)
        return NULL;
    d->own[d->n_own] = mem_dup(t.p, t.n, v->e);
    if (!d->own[d->n_own])
        v->rc = E_NOMEM;
    return d->own[d->n_own++];
}

bool dv_no(struct dv *v, const char *why)
{
    v->d->why = why;
    return false;
}

/* -- conversations --------------------------------------------------------------------------- */

json_t *dv_arguments(enum dv_args a, int call)
{
    switch (a) {
    case DV_ONE:
        return json_pack("{ss}", dv_key[call], dv_value[call]);
    case DV_THREE:
        return json_pack("{sssiss}", dv_key[0], dv_value[0], DV_NUMBER_KEY, DV_NUMBER, dv_key[1],
                         dv_value[1]);
    case DV_NESTED:
        return json_pack("{ss s{sb s[ii]}}", dv_key[0], dv_value[0], dv_key[1], "qzdeep", 1,
                         "qzlist", 1, 2);
    default:
        return json_object();
    }
}

static json_t *answer_of(const struct dv_talk *t)
{
    json_t *m = json_pack("{ss}", "role", "assistant");

    if (t->text)
        json_object_set_new(m, "content", json_string(t->text));
    if (t->reason)
        json_object_set_new(m, "reasoning_content", json_string(t->reason));
    if (t->n_calls)
        json_object_set_new(m, "tool_calls", json_array());
    for (int i = 0; i < t->n_calls; i++)
        json_array_append_new(json_object_get(m, "tool_calls"),
                              json_pack("{ssss s{ssso}}", "id", t->long_ids ? DV_LONG_ID : dv_id[i],
                                        "type", "function", "function", "name", dv_name[i],
                                        "arguments", dv_arguments(t->args, i)));
    return m;
}

static json_t *messages_of(const struct dv_talk *t)
{
    json_t *list = json_pack("[{ssss}]", "role", "user", "content", DV_USER);

    if (!t->alone)
        json_array_append_new(list, answer_of(t));
    for (int i = 0; i < t->n_calls && t->then == DV_RESULTS; i++)
        json_array_append_new(list,
                              json_pack("{ssssss}", "role", "tool", "tool_call_id",
                                        t->long_ids ? DV_LONG_ID : dv_id[i], "content", DV_RESULT));
    if (t->then == DV_USERS)
        json_array_append_new(list, json_pack("{ssss}", "role", "user", "content", DV_NEXT));
    return list;
}

/* The tool that is told of has another name than those that are called: so these stand in the calls
 * alone. */
static json_t *tools_of(void)
{
    return json_pack("[{sss{ssss s{sss{s{ssss}}s[]}}}]", "type", "function", "function", "name",
                     "other_tool", "description", "A tool", "parameters", "type", "object",
                     "properties", "other", "type", "string", "description", "A parameter",
                     "required");
}

static json_t *variables_of(const struct dv_talk *t, json_t *tools)
{
    json_t *vars =
        json_pack("{sbsnsO}", "add_generation_prompt", t->prompt, "documents", "tools", tools);

    if (vars && t->think != DV_NONE) {
        json_object_set_new(vars, "enable_thinking", json_boolean(t->think));
        json_object_set_new(vars, "thinking", json_boolean(t->think));
    }
    return vars;
}

struct slice dv_render(struct dv *v, const struct dv_talk *t)
{
    static const struct slice none = {NULL, 0};
    struct jinja_text *out;
    json_t *messages, *tools, *vars, *fit = NULL;
    struct slice all;
    size_t at = DV_NOWHERE;
    int rc;

    if (v->rc < 0 || v->d->n_rendered >= DERIVE_RENDERINGS)
        return none;
    out = &v->text[v->d->n_rendered++];
    messages = messages_of(t);
    tools = v->no_tools ? json_null() : tools_of();
    vars = variables_of(t, tools);
    rc = messages && tools && vars ? chat_fit(v->c, messages, tools, &fit, NULL) : E_NOMEM;
    rc = rc < 0 ? rc : chat_probe(v->c, fit, vars, out);
    json_decref(messages);
    json_decref(tools);
    json_decref(vars);
    json_decref(fit);
    if (rc == E_NOMEM)
        v->rc = err_nomem(v->e, sizeof(json_t));
    if (rc < 0)
        return none;
    all = buf_view(&out->text);
    for (size_t i = 0; (i = dv_find(all, i, DV_USER)) != DV_NOWHERE; i++)
        at = i + strlen(DV_USER);
    return at == DV_NOWHERE ? none : dv_part(all, at, all.n);
}

void dv_fini(struct dv *v)
{
    for (int i = 0; i < DERIVE_RENDERINGS; i++)
        jinja_text_fini(&v->text[i]);
}

void derived_fini(struct derived *d)
{
    for (int i = 0; i < d->n_own; i++)
        mem_free(d->own[i]);
    *d = (struct derived){0};
}
