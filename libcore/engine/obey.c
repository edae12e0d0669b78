/* obey.c - see obey.h; and the constraints of rill.h. */
#include "engine/obey.h"

#include "base/mem.h"
#include "engine/public.h"
#include "rill.h"

int obey_enter(struct obey **out, struct obey **list, const struct con *c,
               const struct con_vocab *v, struct err *e)
{
    struct obey *o = *list;
    int rc;

    while (o && o->con != c)
        o = o->next;
    if (!o) {
        o = mem_new(sizeof *o, e);
        if (!o)
            return E_NOMEM;
        rc = con_matcher_new(&o->matcher, c, v, 0, e);
        if (rc < 0) {
            mem_free(o);
            return rc;
        }
        o->con = c;
        o->list = list;
        o->next = *list;
        *list = o;
    }
    o->users++;
    *out = o;
    return 0;
}

void obey_leave(struct obey *o)
{
    struct obey **at;

    if (!o || --o->users > 0)
        return;
    for (at = o->list; *at != o; at = &(*at)->next)
        ;
    *at = o->next;
    con_matcher_free(o->matcher);
    mem_free(o);
}

int obey_mask(const struct obey *o, struct con_state s, uint32_t *mask, struct err *e)
{
    bool guard = mem_guard(false);
    int rc = con_mask(o->matcher, s, mask, e);

    mem_guard(guard);
    return rc;
}

int obey_token(const struct obey *o, struct con_state *s, int32_t id, struct err *e)
{
    bool guard = mem_guard(false);
    int rc = con_accept(o->matcher, s, id, e);

    mem_guard(guard);
    return rc;
}

int obey_forced(const struct obey *o, struct con_state s, const struct tok *t, int32_t *id,
                int max, struct err *e)
{
    bool guard = mem_guard(false);
    int n = con_forced_tokens(o->matcher, s, t, id, max, e);

    mem_guard(guard);
    return n;
}

bool obey_done(const struct obey *o, struct con_state s)
{
    bool guard = mem_guard(false);
    bool done = con_is_done(o->matcher, s);

    mem_guard(guard);
    return done;
}

/* -- rill.h ---------------------------------------------------------------------------------- */

int rill_constraint_new(struct rill_constraint **out, enum rill_constraint_kind kind,
                        const struct rill_stop *text, int n, const struct rill_constraint_opts *in,
                        struct err *e)
{
    struct con_opts o = {.line = true};
    struct slice *after = NULL, one = n > 0 ? (struct slice){text[0].p, text[0].n} : SLICE("");
    struct slice *all = mem_array(n > 0 ? (uint64_t)n : 0, sizeof *all, e);
    int n_after = in ? in->n_after : 0, rc = 0;
    struct con *c = NULL;

    after = mem_array(n_after > 0 ? (uint64_t)n_after : 0, sizeof *after, e);
    if (!all || !after)
        rc = E_NOMEM;
    for (int i = 0; rc == 0 && i < n; i++)
        all[i] = (struct slice){text[i].p, text[i].n};
    for (int i = 0; rc == 0 && i < n_after; i++)
        after[i] = (struct slice){in->after[i].p, in->after[i].n};
    if (in) {
        o.after = after;
        o.n_after = (uint32_t)n_after;
        o.maybe = in->maybe;
        o.again = in->again;
        o.ordered = in->ordered;
        o.tok = in->model ? in->model->tok : NULL;
    }
    if (rc == 0 && kind == RILL_SCHEMA)
        rc = con_schema(&c, one, &o, e);
    else if (rc == 0 && kind == RILL_GRAMMAR)
        rc = con_gbnf(&c, one, &o, e);
    else if (rc == 0 && kind == RILL_REGEX)
        rc = con_regex(&c, one, &o, e);
    else if (rc == 0 && kind == RILL_JSON)
        rc = con_json_object(&c, &o, e);
    else if (rc == 0)
        rc = con_choice(&c, all, (uint32_t)(n > 0 ? n : 0), &o, e);
    mem_free(all);
    mem_free(after);
    if (rc == 0)
        *out = (struct rill_constraint *)c;
    return rc;
}

void rill_constraint_free(struct rill_constraint *c)
{
    con_free((struct con *)c);
}
