/* jinja_eval.c - goes through the syntax tree: expressions give values, statements write output. */
#include "jinja_in.h"

#include <stdio.h>

enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };
enum { SMALL_ARGS = 4 };

/* -- variables -- */

static struct jframe *frame_new(struct jstate *J, struct jframe *up)
{
    struct jframe *f = J->spare;

    if (f)
        J->spare = f->up;
    else if (!(f = jalloc(J, 1, sizeof *f)))
        return NULL;
    f->up = up;
    f->n = 0;
    return f;
}

static void frame_end(struct jstate *J, struct jframe *f)
{
    if (f->kept)
        return;
    f->up = J->spare;
    J->spare = f;
}

static void frame_keep(struct jframe *f)
{
    for (; f && !f->kept; f = f->up)
        f->kept = true;
}

static void bind(struct jstate *J, struct jframe *f, int sym, struct jv v)
{
    if (f->all) {
        f->all[sym] = v;
        return;
    }
    for (size_t i = 0; i < f->n; i++)
        if (f->bind[i].sym == sym) {
            f->bind[i].v = v;
            return;
        }
    if (f->n == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 4;
        struct jbind *p = jgrow(J, f->bind, f->cap, cap, sizeof *p);

        if (!p)
            return;
        f->bind = p;
        f->cap = cap;
    }
    f->bind[f->n++] = (struct jbind){sym, v};
}

static struct jv lookup(struct jstate *J, int sym)
{
    const struct jframe *f = J->frame;

    for (; !f->all; f = f->up)
        for (size_t i = 0; i < f->n; i++)
            if (f->bind[i].sym == sym)
                return f->bind[i].v;
    if (f->all[sym].type != J_MISSING)
        return f->all[sym];
    if (J->t->global[sym])
        return (struct jv){.type = J_FUNC, .u.fn = J->t->global[sym]};
    return jv_undef(JU_NAME, J->t->sym[sym]);
}

static size_t count(const struct jnode *n)
{
    size_t k = 0;

    for (; n; n = n->next)
        k++;
    return k;
}

static void assign(struct jstate *J, struct jframe *f, const struct jnode *to, struct jv v)
{
    const struct jnode *n = to->list;
    struct jlist *l;
    struct jv ns;

    J->pos = to->pos;
    switch (to->kind) {
    case N_NAME:
        bind(J, f, to->sym, v);
        return;
    case N_NSREF:
        ns = lookup(J, to->sym);
        if (ns.type != J_NS)
            jfail(J, "cannot assign attribute on non-namespace object");
        else if (to->v.u.s->p[0] == '_')
            jfail(J, "a namespace has no attributes that begin with an underscore");
        else
            jdict_put(J, ns.u.d, to->v, v);
        return;
    default:
        break;
    }
    l = jv_items(J, v);
    for (size_t i = 0; i < l->n && n && !J->failed; i++, n = n->next)
        assign(J, f, n, l->v[i]);
    if (n)
        jfail(J, "not enough values to unpack");
    else if (!J->failed && to->list) {
        const size_t want = count(to->list);

        if (l->n > want)
            jfail(J, "too many values to unpack (expected %zu)", want);
    }
}

/* -- calls -- */

static void put_kw(struct jstate *J, struct jargs *a, size_t room, const struct jstr *name,
                   struct jv v)
{
    for (size_t i = 0; i < a->n_kw; i++)
        if (jstr_eq(a->kw[i].name, name)) {
            jfail(J, "got multiple values for keyword argument '%.*s'",
                  (int)(name->n < 60 ? name->n : 60), name->p);
            return;
        }
    if (a->n_kw < room)
        a->kw[a->n_kw++] = (struct jkw){name, v};
}

/* *args and **kwargs may be any number: they are evaluated before places are made. */
static void count_args(struct jstate *J, const struct jnode *list, struct jv *spread, size_t *n_pos,
                       size_t *n_kw)
{
    size_t k = 0, n;

    for (const struct jnode *n_arg = list; n_arg && !J->failed; n_arg = n_arg->next) {
        if (n_arg->kind == N_STAR) {
            spread[k] = jv_list(jv_items(J, jeval(J, n_arg->a)));
            *n_pos += spread[k++].u.l->n;
        } else if (n_arg->kind == N_STARSTAR) {
            spread[k] = jeval(J, n_arg->a);
            if (spread[k].type != J_DICT)
                jfail(J, "argument after ** must be a mapping, not %s", jtype_name(spread[k]));
            else if (jv_length(J, spread[k], &n))
                *n_kw += n;
            k++;
        } else if (n_arg->kind == N_KW) {
            ++*n_kw;
        } else {
            ++*n_pos;
        }
    }
}

/* The usual case: at most SMALL_ARGS values, none by name. The callee keeps none of them. */
static bool small_args(struct jstate *J, const struct jnode *list, struct jargs *out,
                       struct jv small[SMALL_ARGS])
{
    for (const struct jnode *n = list; n && !J->failed; n = n->next)
        small[out->n_pos++] = jeval(J, n);
    out->pos = small;
    return !J->failed;
}

static bool are_small(const struct jnode *list)
{
    int n = 0;

    for (; list && n <= SMALL_ARGS; list = list->next, n++)
        if (list->kind == N_STAR || list->kind == N_STARSTAR || list->kind == N_KW)
            return false;
    return n <= SMALL_ARGS;
}

static bool eval_args(struct jstate *J, const struct jnode *list, struct jargs *out,
                      struct jv small[SMALL_ARGS], int extra_kw)
{
    struct jv spread[8];
    size_t n_pos = 0, n_kw = (size_t)extra_kw, k = 0, n_spread = 0;

    *out = (struct jargs){0};
    if (!extra_kw && are_small(list))
        return small_args(J, list, out, small);
    for (const struct jnode *n = list; n; n = n->next)
        n_spread += n->kind == N_STAR || n->kind == N_STARSTAR;
    if (n_spread > ARRAY_LEN(spread)) {
        jfail(J, "more than %zu arguments with a star", ARRAY_LEN(spread));
        return false;
    }
    count_args(J, list, spread, &n_pos, &n_kw);
    if (n_pos && !(out->pos = jalloc(J, n_pos, sizeof *out->pos)))
        return false;
    if (n_kw && !(out->kw = jalloc(J, n_kw, sizeof *out->kw)))
        return false;
    for (const struct jnode *n = list; n && !J->failed; n = n->next) {
        if (n->kind == N_STAR) {
            for (size_t i = 0; i < spread[k].u.l->n; i++)
                out->pos[out->n_pos++] = spread[k].u.l->v[i];
            k++;
        } else if (n->kind == N_STARSTAR) {
            const struct jdict *d = spread[k++].u.d;

            for (size_t i = 0; i < d->n && !J->failed; i++) {
                if (d->e[i].key.type != J_STR)
                    jfail(J, "keywords must be strings");
                else
                    put_kw(J, out, n_kw, d->e[i].key.u.s, d->e[i].val);
            }
        } else if (n->kind == N_KW) {
            put_kw(J, out, n_kw, n->v.u.s, jeval(J, n->a));
        } else {
            out->pos[out->n_pos++] = jeval(J, n);
        }
    }
    return !J->failed;
}

/* The index of a name in "a b c", or -1. */
static int arg_index(const char *names, const struct jstr *name)
{
    int i = 0;

    for (const char *p = names; *p; i++) {
        size_t n = strcspn(p, " ");

        if (slice_eq((struct slice){p, n}, jstr_slice(name)))
            return i;
        p += n + (p[n] == ' ');
    }
    return -1;
}

static int arg_count(const char *names)
{
    int n = *names != 0;

    for (; *names; names++)
        n += *names == ' ';
    return n;
}

struct jv jcall_fn(struct jstate *J, const struct jfn *fn, const char *what, struct jv self,
                   const struct jargs *all)
{
    struct jv a[J_MAX_ARGS] = {{0}};
    int n;

    if (J->failed)
        return jv_undef(JU_PLAIN, NULL);
    if (fn->args[0] == '*')
        return fn->call(J, self, a, all);
    if (all->n_pos > (size_t)fn->n_need && all->n_pos > (size_t)(n = arg_count(fn->args)))
        return jfail(J, "%s '%s' takes at most %d arguments, got %zu", what, fn->name, n,
                     all->n_pos);
    for (size_t i = 0; i < all->n_pos; i++)
        a[i] = all->pos[i];
    for (size_t i = 0; i < all->n_kw; i++) {
        int k = arg_index(fn->args, all->kw[i].name);

        if (k < 0 || a[k].type != J_MISSING)
            return jfail(J, "%s '%s' got an unexpected keyword argument '%.*s'", what, fn->name,
                         (int)(all->kw[i].name->n < 60 ? all->kw[i].name->n : 60),
                         all->kw[i].name->p);
        a[k] = all->kw[i].v;
    }
    for (int i = 0; i < fn->n_need; i++)
        if (a[i].type == J_MISSING)
            return jfail(J, "%s '%s' needs at least %d arguments", what, fn->name, fn->n_need);
    return fn->call(J, self, a, all);
}

static enum flow run_body(struct jstate *J, const struct jnode *body);

/* Runs a body in frame f with its output caught; the string it wrote. */
static const struct jstr *capture(struct jstate *J, const struct jnode *body, struct jframe *f)
{
    struct jbuf b = {.J = J};
    struct jbuf *out = J->out;
    struct jframe *was = J->frame;

    J->out = &b;
    J->frame = f;
    run_body(J, body);
    J->out = out;
    J->frame = was;
    return jb_str_of(&b);
}

static int sym_of(const struct jstate *J, const char *name)
{
    for (size_t i = 0; i < J->t->n_sym; i++)
        if (jstr_is(J->t->sym[i], name))
            return (int)i;
    return -1;
}

/* What a macro was given beyond its arguments. */
static void bind_rest(struct jstate *J, const struct jnode *m, struct jframe *f,
                      const struct jargs *args, size_t n_taken, const bool *used)
{
    struct jlist *rest = m->op & JM_VARARGS ? jlist_new(J, 0) : NULL;
    struct jdict *kw = m->op & JM_KWARGS ? jdict_new(J, 0) : NULL;
    struct jv caller = jv_undef(JU_PLAIN, NULL);

    if (m->op & JM_CALLER)
        caller = jv_undef(JU_NAME, jstr_lit(J, "caller"));
    if (!rest && args->n_pos > n_taken)
        jfail(J, "macro '%.*s' takes not more than %zu arguments", (int)J->t->sym[m->sym]->n,
              J->t->sym[m->sym]->p, n_taken);
    for (size_t i = n_taken; rest && i < args->n_pos; i++)
        jlist_add(J, rest, args->pos[i]);
    for (size_t i = 0; i < args->n_kw && !J->failed; i++) {
        if (used[i])
            continue;
        if (jstr_is(args->kw[i].name, "caller") && (m->op & JM_CALLER))
            caller = args->kw[i].v;
        else if (m->op & JM_KWARGS)
            jdict_put(J, kw, jv_str(args->kw[i].name), args->kw[i].v);
        else
            jfail(J, "macro '%s' takes no keyword argument '%.*s'", J->t->sym[m->sym]->p,
                  (int)(args->kw[i].name->n < 60 ? args->kw[i].name->n : 60), args->kw[i].name->p);
    }
    if (m->op & JM_CALLER)
        bind(J, f, sym_of(J, "caller"), caller);
    if (m->op & JM_KWARGS)
        bind(J, f, sym_of(J, "kwargs"), jv_dict(kw));
    if (m->op & JM_VARARGS)
        bind(J, f, sym_of(J, "varargs"), jv_tuple(rest));
}

static struct jv call_macro(struct jstate *J, const struct jmacro *mac, const struct jargs *args)
{
    const struct jnode *m = mac->node;
    struct jframe *f = frame_new(J, mac->frame), *was = J->frame;
    bool used[64] = {false};
    size_t taken = 0;
    struct jv r;

    if (!f)
        return jv_undef(JU_PLAIN, NULL);
    if (args->n_kw > ARRAY_LEN(used))
        return jfail(J, "more than %zu keyword arguments", ARRAY_LEN(used));
    J->frame = f;
    for (const struct jnode *a = m->list; a && !J->failed; a = a->next) {
        struct jv v = jv_undef(JU_PARAM, J->t->sym[a->sym]);
        bool given = taken < args->n_pos;

        if (given)
            v = args->pos[taken++];
        for (size_t i = 0; i < args->n_kw; i++)
            if (jstr_eq(args->kw[i].name, J->t->sym[a->sym])) {
                if (given)
                    jfail(J, "a macro got two values for one argument");
                v = args->kw[i].v;
                given = used[i] = true;
            }
        if (!given && a->a)
            v = jeval(J, a->a);
        bind(J, f, a->sym, v);
    }
    bind_rest(J, m, f, args, taken, used);
    J->frame = was;
    r = J->failed ? jv_undef(JU_PLAIN, NULL) : jv_str(capture(J, m->b, f));
    frame_end(J, f);
    return r;
}

static enum flow run_for(struct jstate *J, const struct jnode *n, struct jv items, int depth0);

static struct jv call_loop(struct jstate *J, const struct jloop *lo, const struct jargs *args)
{
    struct jbuf b = {.J = J};
    struct jbuf *out = J->out;
    struct jframe *was = J->frame;

    if (!lo->node)
        return jfail(J, "the loop is not recursive");
    if (args->n_pos != 1 || args->n_kw)
        return jfail(J, "loop() takes one argument");
    J->out = &b;
    J->frame = lo->frame;
    run_for(J, lo->node, args->pos[0], lo->depth0 + 1);
    J->out = out;
    J->frame = was;
    return jb_done(&b);
}

struct jv jcall(struct jstate *J, struct jv f, const struct jargs *args)
{
    struct jv r = jv_undef(JU_PLAIN, NULL);

    if (!jenter(J))
        return r;
    switch (f.type) {
    case J_MACRO:
        r = call_macro(J, f.u.m, args);
        break;
    case J_METHOD:
        r = jcall_fn(J, f.u.me->fn, "method", f.u.me->self, args);
        break;
    case J_FUNC:
        r = jcall_fn(J, f.u.fn, "function", jv_none(), args);
        break;
    case J_LOOP:
        r = call_loop(J, f.u.lo, args);
        break;
    case J_JOINER:
        r = f.u.cy->at++ ? f.u.cy->sep : jv_str(&jstr_empty);
        break;
    case J_UNDEF:
        jfail_undef(J, f);
        break;
    default:
        jfail(J, "'%s' object is not callable", jtype_name(f));
    }
    jleave(J);
    return r;
}

static struct jv eval_call(struct jstate *J, const struct jnode *n, const struct jv *caller)
{
    struct jv f = jeval(J, n->a), small[SMALL_ARGS];
    struct jargs args;

    J->pos = n->a->pos;
    if (f.type == J_UNDEF && !J->failed)
        return jfail_undef(J, f);
    if (!eval_args(J, n->list, &args, small, caller != NULL))
        return jv_undef(JU_PLAIN, NULL);
    if (caller)
        args.kw[args.n_kw++] = (struct jkw){jstr_lit(J, "caller"), *caller};
    J->pos = n->a->pos;
    return jcall(J, f, &args);
}

static struct jv eval_filter(struct jstate *J, const struct jnode *n, struct jv v)
{
    struct jv small[SMALL_ARGS];
    struct jargs args;

    if (!eval_args(J, n->list, &args, small, 0))
        return jv_undef(JU_PLAIN, NULL);
    J->pos = n->pos;
    if (!n->fn)
        return jfail(J, "no filter named '%.*s'", (int)(n->v.u.s->n < 60 ? n->v.u.s->n : 60),
                     n->v.u.s->p);
    return jcall_fn(J, n->fn, "filter", v, &args);
}

static struct jv eval_test(struct jstate *J, const struct jnode *n)
{
    struct jv v = jeval(J, n->a), small[SMALL_ARGS];
    struct jargs args;

    if (!eval_args(J, n->list, &args, small, 0))
        return jv_bool(false);
    J->pos = n->pos;
    if (!n->fn)
        return jfail(J, "no test named '%.*s'", (int)(n->v.u.s->n < 60 ? n->v.u.s->n : 60),
                     n->v.u.s->p);
    return jcall_fn(J, n->fn, "test", v, &args);
}

/* -- expressions -- */

static struct jv eval_list(struct jstate *J, const struct jnode *n)
{
    struct jlist *l = jlist_new(J, count(n->list));

    for (const struct jnode *i = n->list; i && !J->failed; i = i->next)
        jlist_add(J, l, jeval(J, i));
    return n->kind == N_LIST ? jv_list(l) : jv_tuple(l);
}

static struct jv eval_dict(struct jstate *J, const struct jnode *n)
{
    struct jdict *d = jdict_new(J, count(n->list));

    for (const struct jnode *i = n->list; i && !J->failed; i = i->next) {
        struct jv k = jeval(J, i->a), v = jeval(J, i->b);

        J->pos = i->a->pos;
        jdict_put(J, d, k, v);
    }
    return jv_dict(d);
}

static struct jv eval_concat(struct jstate *J, const struct jnode *n)
{
    struct jbuf b = {.J = J};

    for (const struct jnode *i = n->list; i && !J->failed; i = i->next) {
        struct jv v = jeval(J, i);

        J->pos = i->pos;
        jv_write(&b, v, false);
    }
    return jb_done(&b);
}

static struct jv eval_compare(struct jstate *J, const struct jnode *n)
{
    struct jv left = jeval(J, n->a);

    for (const struct jnode *i = n->list; i && !J->failed; i = i->next) {
        struct jv right = jeval(J, i->a);

        J->pos = i->pos;
        if (J->failed || !jop_compare(J, i->op, left, right))
            return jv_bool(false);
        left = right;
    }
    return jv_bool(true);
}

static struct jv eval_slice(struct jstate *J, const struct jnode *n)
{
    struct jv v = jeval(J, n->a);
    struct jv from = n->b ? jeval(J, n->b) : jv_none();
    struct jv to = n->c ? jeval(J, n->c) : jv_none();
    struct jv step = n->list ? jeval(J, n->list) : jv_none();

    J->pos = n->pos;
    return J->failed ? v : jv_slice(J, v, from, to, step);
}

static struct jv eval_two(struct jstate *J, const struct jnode *n)
{
    struct jv a = jeval(J, n->a), b = jeval(J, n->b);

    J->pos = n->pos;
    if (J->failed)
        return a;
    return n->kind == N_ITEM ? jv_item(J, a, b) : jop_arith(J, n->kind, a, b);
}

/* By far the most frequent ones are looked up here. */
static struct jv eval_attr(struct jstate *J, const struct jnode *n, struct jv of)
{
    struct jv v;

    if (of.type == J_DICT && !n->op)
        return jdict_get_str(J, of.u.d, n->v.u.s, &v) ? v : jv_undef(JU_ATTR + J_DICT, n->v.u.s);
    if (of.type == J_LOOP && n->sym)
        return jloop_get(of.u.lo, n->sym);
    return jv_attr(J, of, n->v.u.s);
}

static struct jv eval_one(struct jstate *J, const struct jnode *n)
{
    struct jv a = jeval(J, n->a);

    J->pos = n->pos;
    if (J->failed)
        return a;
    switch (n->kind) {
    case N_NOT:
        return jv_bool(!jv_true(J, a));
    case N_ATTR:
        return eval_attr(J, n, a);
    case N_NEG:
        return jop_neg(J, a);
    default:
        return jv_is_num(a) && a.type != J_BOOL ? a : jop_neg(J, jop_neg(J, a));
    }
}

static struct jv eval_inner(struct jstate *J, const struct jnode *n)
{
    struct jv v;

    switch (n->kind) {
    case N_LIST:
    case N_TUPLE:
        return eval_list(J, n);
    case N_DICT:
        return eval_dict(J, n);
    case N_NOT:
    case N_NEG:
    case N_POS:
    case N_ATTR:
        return eval_one(J, n);
    case N_SLICE:
        return eval_slice(J, n);
    case N_CALL:
        return eval_call(J, n, NULL);
    case N_FILTER:
        v = jeval(J, n->a);
        return J->failed ? v : eval_filter(J, n, v);
    case N_TEST:
        return eval_test(J, n);
    case N_AND:
    case N_OR:
        v = jeval(J, n->a);
        J->pos = n->pos;
        return jv_true(J, v) == (n->kind == N_OR) || J->failed ? v : jeval(J, n->b);
    case N_COND:
        v = jeval(J, n->b);
        J->pos = n->pos;
        if (jv_true(J, v))
            return jeval(J, n->a);
        return n->c && !J->failed ? jeval(J, n->c) : jv_undef(JU_PLAIN, NULL);
    case N_CONCAT:
        return eval_concat(J, n);
    case N_COMPARE:
        return eval_compare(J, n);
    default:
        return eval_two(J, n);
    }
}

struct jv jeval(struct jstate *J, const struct jnode *n)
{
    struct jv v;

    if (!jstep(J, 1))
        return jv_undef(JU_PLAIN, NULL);
    if (n->kind == N_CONST)
        return n->v;
    if (n->kind == N_NAME)
        return lookup(J, n->sym);
    J->pos = n->pos;
    if (!jenter(J))
        return jv_undef(JU_PLAIN, NULL);
    v = eval_inner(J, n);
    jleave(J);
    return J->failed ? jv_undef(JU_PLAIN, NULL) : v;
}

/* -- statements -- */

static struct jlist *chosen(struct jstate *J, const struct jnode *n, struct jlist *all)
{
    struct jlist *l;
    struct jframe *was = J->frame, *f = n->c ? frame_new(J, was) : NULL;

    if (!f)
        return all;
    l = jlist_new(J, all->n);
    J->frame = f;
    for (size_t i = 0; i < all->n && !J->failed; i++) {
        struct jv v;

        f->n = 0;
        assign(J, f, n->a, all->v[i]);
        v = jeval(J, n->c);
        if (jv_true(J, v))
            jlist_add(J, l, all->v[i]);
    }
    J->frame = was;
    frame_end(J, f);
    return l;
}

static enum flow run_for(struct jstate *J, const struct jnode *n, struct jv items, int depth0)
{
    struct jframe *was = J->frame, *f = frame_new(J, was);
    struct jloop *lo = jalloc(J, 1, sizeof *lo);
    enum flow flow = FLOW_ON;
    bool any = false;

    J->pos = n->b->pos;
    if (J->failed || !lo || !f)
        return FLOW_ON;
    *lo = (struct jloop){.items = chosen(J, n, jv_items(J, items)),
                         .depth0 = depth0,
                         .node = n->op ? n : NULL,
                         .frame = was};
    if (n->op)
        frame_keep(was);
    J->frame = f;
    for (; lo->at < lo->items->n && flow != FLOW_BREAK && !J->failed; lo->at++) {
        any = true;
        f->n = 0;
        bind(J, f, n->sym, (struct jv){.type = J_LOOP, .u.lo = lo});
        assign(J, f, n->a, lo->items->v[lo->at]);
        flow = run_body(J, n->list);
    }
    f->n = 0;
    if (!any && n->list->next && !J->failed)
        flow = run_body(J, n->list->next);
    else
        flow = FLOW_ON;
    J->frame = was;
    frame_end(J, f);
    return flow;
}

static enum flow run_if(struct jstate *J, const struct jnode *n)
{
    for (const struct jnode *i = n->list; i && !J->failed; i = i->next) {
        bool yes = !i->a;

        if (i->a) {
            struct jv v = jeval(J, i->a);

            J->pos = i->a->pos;
            yes = jv_true(J, v);
        }
        if (yes && !J->failed)
            return run_body(J, i->b);
    }
    return FLOW_ON;
}

static void run_output(struct jstate *J, const struct jnode *n)
{
    for (const struct jnode *i = n->list; i && !J->failed; i = i->next) {
        struct jv v = jeval(J, i);

        J->pos = i->pos;
        if (!J->failed)
            jv_write(J->out, v, false);
    }
}

/* A chain of filters, the last one outermost, on what a block holds. */
static struct jv filtered(struct jstate *J, const struct jnode *filter, struct jv v)
{
    if (!filter || J->failed)
        return v;
    v = filtered(J, filter->a, v);
    return J->failed ? v : eval_filter(J, filter, v);
}

static void run_block_set(struct jstate *J, const struct jnode *n)
{
    struct jframe *f = frame_new(J, J->frame);
    struct jv v;

    if (!f)
        return;
    v = jv_str(capture(J, n->b, f));
    frame_end(J, f);
    v = filtered(J, n->c, v);
    if (J->failed)
        return;
    if (n->a)
        assign(J, J->frame, n->a, v);
    else
        jv_write(J->out, v, false);
}

static struct jv macro_value(struct jstate *J, const struct jnode *n)
{
    struct jmacro *m = jalloc(J, 1, sizeof *m);

    if (!m)
        return jv_undef(JU_PLAIN, NULL);
    m->node = n;
    m->frame = J->frame;
    frame_keep(J->frame);
    return (struct jv){.type = J_MACRO, .u.m = m};
}

static enum flow run_scope(struct jstate *J, const struct jnode *n)
{
    struct jframe *was = J->frame, *f = frame_new(J, was);
    enum flow flow = FLOW_ON;

    for (const struct jnode *i = n->list; i && f && !J->failed; i = i->next)
        assign(J, f, i->a, jeval(J, i->b));
    if (f && !J->failed) {
        J->frame = f;
        flow = run_body(J, n->b);
        J->frame = was;
        frame_end(J, f);
    }
    return flow;
}

static enum flow run_statement(struct jstate *J, const struct jnode *n)
{
    struct jv v;

    switch (n->kind) {
    case N_TEXT:
        jb_str(J->out, n->v.u.s);
        break;
    case N_OUTPUT:
        run_output(J, n);
        break;
    case N_IF:
        return run_if(J, n);
    case N_FOR:
        return run_for(J, n, jeval(J, n->b), 0);
    case N_SET:
        v = jeval(J, n->b);
        if (!J->failed)
            assign(J, J->frame, n->a, v);
        break;
    case N_BLOCKSET:
    case N_FILTERBLOCK:
        run_block_set(J, n);
        break;
    case N_MACRO:
        bind(J, J->frame, n->sym, macro_value(J, n));
        break;
    case N_CALLBLOCK:
        v = macro_value(J, n->b);
        v = eval_call(J, n->a, &v);
        if (!J->failed)
            jv_write(J->out, v, false);
        break;
    case N_WITH:
    case N_SCOPE:
        return run_scope(J, n);
    case N_BREAK:
        return FLOW_BREAK;
    case N_CONTINUE:
        return FLOW_CONTINUE;
    default:
        break;
    }
    return FLOW_ON;
}

static enum flow run_body(struct jstate *J, const struct jnode *body)
{
    enum flow flow = FLOW_ON;

    if (!jenter(J))
        return FLOW_ON;
    for (const struct jnode *n = body->list; n && flow == FLOW_ON && jstep(J, 1); n = n->next) {
        J->pos = n->pos;
        flow = run_statement(J, n);
    }
    jleave(J);
    return flow;
}

void jrun(struct jstate *J)
{
    run_body(J, J->t->body);
}
