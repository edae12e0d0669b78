/* jinja_stmt.c - tokens to a syntax tree: statements. */
#include "jinja_parse.h"

enum { MAX_NEST = 150 };

static struct jnode *statements(struct jparser *p, const char *const *ends);

/* The body of a block up to one of the ends, which is left to be read. */
static struct jnode *body(struct jparser *p, const char *const *ends)
{
    jp_skip_op(p, ":"); // "{% if x: %}" is allowed
    if (!jp_block_end(p))
        return NULL;
    return statements(p, ends);
}

static struct jnode *body_to(struct jparser *p, const char *end)
{
    const char *const ends[] = {end, NULL};
    struct jnode *n = body(p, ends);

    if (!p->J->failed)
        p->tok++; // the end's name
    return n;
}

static struct jnode *target_one(struct jparser *p, bool namespaces)
{
    struct jtok *t = p->tok;
    struct jnode *n;

    if (t->kind != T_NAME) {
        jp_unexpected(p, "a name");
        return NULL;
    }
    p->tok++;
    if (slice_is(t->s, "true") || slice_is(t->s, "false") || slice_is(t->s, "none") ||
        slice_is(t->s, "True") || slice_is(t->s, "False") || slice_is(t->s, "None"))
        return jp_fail(p, t->pos, "a constant cannot be set");
    if (namespaces && jp_skip_op(p, ".")) {
        n = jp_node(p, N_NSREF, t->pos);
        if (p->tok->kind != T_NAME) {
            jp_unexpected(p, "a name");
            return NULL;
        }
        if (n) {
            n->sym = jp_symbol(p, t->s);
            n->v = jv_str(jstr_key(p->J, p->tok->s.p, p->tok->s.n, M_OWN));
        }
        p->tok++;
        return n;
    }
    n = jp_node(p, N_NAME, t->pos);
    if (n)
        n->sym = jp_symbol(p, t->s);
    return n;
}

/* What is assigned to: a name, name.attribute, or several of them, maybe in parentheses. */
static struct jnode *target(struct jparser *p, bool namespaces)
{
    uint32_t pos = p->tok->pos;
    struct jnodes l = {0};
    bool several = false;

    if (!jenter(p->J))
        return NULL;
    do {
        if (l.first && (jp_is_op(p, "=") || jp_is_op(p, ")") || jp_is_name(p, "in")))
            break; // a comma at the end
        if (jp_skip_op(p, "(")) {
            jp_add(&l, target(p, namespaces));
            if (!p->J->failed)
                jp_need_op(p, ")");
        } else {
            jp_add(&l, target_one(p, namespaces));
        }
        several = several || jp_is_op(p, ",");
    } while (!p->J->failed && jp_skip_op(p, ","));
    jleave(p->J);
    if (p->J->failed)
        return NULL;
    return several ? jp_list(jp_node(p, N_TUPLE, pos), &l) : l.first;
}

static struct jnode *st_if(struct jparser *p, uint32_t pos)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    struct jnodes l = {0};

    for (;;) {
        struct jnode *c = jp_tuple(p, false, NULL, false);
        struct jnode *b = p->J->failed ? NULL : body(p, ends);

        jp_add(&l, jp_with(p, jp_node(p, N_NOTHING, pos), c, b, NULL));
        if (p->J->failed || !jp_skip_name(p, "elif"))
            break;
    }
    if (!p->J->failed && jp_skip_name(p, "else"))
        jp_add(&l, jp_with(p, jp_node(p, N_NOTHING, pos), NULL, body_to(p, "endif"), NULL));
    else
        p->tok += !p->J->failed;
    return jp_list(jp_node(p, N_IF, pos), &l);
}

static struct jnode *st_for(struct jparser *p, uint32_t pos)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    struct jnode *n = jp_node(p, N_FOR, pos);
    struct jnode *to = target(p, false);
    struct jnode *items, *cond = NULL;
    struct jnodes l = {0};

    if (p->J->failed)
        return NULL;
    if (!jp_skip_name(p, "in")) {
        jp_unexpected(p, "'in'");
        return NULL;
    }
    items = jp_tuple(p, false, "recursive", false);
    if (!p->J->failed && jp_skip_name(p, "if"))
        cond = jp_expression(p, true);
    if (p->J->failed)
        return NULL;
    n->op = jp_skip_name(p, "recursive");
    n->sym = jp_symbol(p, SLICE("loop"));
    p->loops++;
    jp_add(&l, body(p, ends));
    p->loops--;
    if (!p->J->failed && jp_skip_name(p, "else"))
        jp_add(&l, body_to(p, "endfor"));
    else
        p->tok += !p->J->failed;
    return jp_with(p, jp_list(n, &l), to, items, cond);
}

static struct jnode *st_set(struct jparser *p, uint32_t pos)
{
    struct jnode *to = target(p, true);
    struct jnode *filter = NULL;

    if (p->J->failed)
        return NULL;
    if (jp_skip_op(p, "="))
        return jp_with(p, jp_node(p, N_SET, pos), to, jp_tuple(p, true, NULL, false), NULL);
    filter = jp_filters(p, NULL, false);
    if (p->J->failed)
        return NULL;
    return jp_with(p, jp_node(p, N_BLOCKSET, pos), to, body_to(p, "endset"), filter);
}

static bool signature(struct jparser *p, struct jnodes *l)
{
    bool defaults = false;

    if (!jp_need_op(p, "("))
        return false;
    while (!p->J->failed && !jp_is_op(p, ")")) {
        struct jnode *n;

        if (l->first && !jp_need_op(p, ","))
            return false;
        if (jp_is_op(p, ")"))
            break;
        n = target_one(p, false);
        if (p->J->failed)
            return false;
        if (jp_skip_op(p, "=")) {
            n = jp_with(p, n, jp_expression(p, true), NULL, NULL);
            defaults = true;
        } else if (defaults) {
            jp_fail(p, n->pos, "an argument without a default follows one with a default");
        }
        jp_add(l, n);
    }
    return !p->J->failed && jp_need_op(p, ")");
}

/* A macro's arguments and body. */
static struct jnode *macro(struct jparser *p, struct jnode *n, bool has_args, const char *end)
{
    struct jnode *outer = p->macro;
    int loops = p->loops;
    struct jnodes l = {0};

    if (!n)
        return NULL;
    p->macro = n;
    p->loops = 0;
    if (has_args)
        signature(p, &l);
    n->b = p->J->failed ? NULL : body_to(p, end);
    p->macro = outer;
    p->loops = loops;
    if (outer) // as the reference has it: the names count for all macros around them
        outer->op |= n->op;
    return jp_with(p, jp_list(n, &l), NULL, n->b, NULL);
}

static struct jnode *st_macro(struct jparser *p, uint32_t pos)
{
    struct jnode *n = jp_node(p, N_MACRO, pos);

    if (p->tok->kind != T_NAME) {
        jp_unexpected(p, "a name");
        return NULL;
    }
    if (n)
        n->sym = jp_symbol(p, p->tok->s);
    p->tok++;
    return macro(p, n, true, "endmacro");
}

static struct jnode *st_call(struct jparser *p, uint32_t pos)
{
    struct jnode *m = jp_node(p, N_MACRO, pos);
    struct jnode *n = jp_node(p, N_CALLBLOCK, pos);
    struct jnodes l = {0};
    struct jnode *c;
    struct jtok *at;

    if (p->J->failed)
        return NULL;
    m->sym = jp_symbol(p, SLICE("caller"));
    if (jp_is_op(p, "(")) {
        signature(p, &l);
        if (p->J->failed)
            return NULL;
    }
    at = p->tok;
    c = jp_expression(p, true);
    if (p->J->failed)
        return NULL;
    if (c->kind != N_CALL)
        return jp_fail(p, at->pos, "expected a call");
    m = macro(p, m, false, "endcall");
    if (m && l.first)
        jp_list(m, &l);
    return jp_with(p, n, c, m, NULL);
}

static struct jnode *st_filter(struct jparser *p, uint32_t pos)
{
    struct jnode *f = jp_filters(p, NULL, true);

    if (p->J->failed)
        return NULL;
    return jp_with(p, jp_node(p, N_FILTERBLOCK, pos), NULL, body_to(p, "endfilter"), f);
}

static struct jnode *st_with(struct jparser *p, uint32_t pos)
{
    struct jnodes l = {0};

    while (!p->J->failed && p->tok->kind != T_BLOCK_END) {
        struct jnode *to;

        if (l.first && !jp_need_op(p, ","))
            return NULL;
        to = target_one(p, false);
        if (p->J->failed || !jp_need_op(p, "="))
            return NULL;
        jp_add(&l, jp_with(p, jp_node(p, N_SET, pos), to, jp_expression(p, true), NULL));
    }
    return jp_with(p, jp_list(jp_node(p, N_WITH, pos), &l), NULL, body_to(p, "endwith"), NULL);
}

static struct jnode *st_print(struct jparser *p, uint32_t pos)
{
    struct jnodes l = {0};

    while (!p->J->failed && p->tok->kind != T_BLOCK_END) {
        if (l.first && !jp_need_op(p, ","))
            return NULL;
        jp_add(&l, jp_expression(p, true));
    }
    return jp_list(jp_node(p, N_OUTPUT, pos), &l);
}

static struct jnode *st_generation(struct jparser *p, uint32_t pos)
{
    return jp_with(p, jp_node(p, N_SCOPE, pos), NULL, body_to(p, "endgeneration"), NULL);
}

static struct jnode *st_autoescape(struct jparser *p, uint32_t pos)
{
    struct jnode *c = jp_expression(p, true);

    if (p->J->failed)
        return NULL;
    if (c->kind != N_CONST || c->v.type != J_BOOL || c->v.u.i)
        return jp_fail(p, pos, "autoescaping is not supported");
    return jp_with(p, jp_node(p, N_SCOPE, pos), NULL, body_to(p, "endautoescape"), NULL);
}

static struct jnode *st_jump(struct jparser *p, uint32_t pos)
{
    bool is_break = slice_is(p->tok[-1].s, "break");

    if (p->loops == 0)
        return jp_fail(p, pos, "'break' and 'continue' belong in a loop");
    return jp_node(p, is_break ? N_BREAK : N_CONTINUE, pos);
}

static struct jnode *st_refused(struct jparser *p, uint32_t pos)
{
    return jp_fail(p, pos, "blocks, inheritance and includes are not supported");
}

static struct jnode *statement(struct jparser *p)
{
    static const struct {
        const char *name;
        struct jnode *(*parse)(struct jparser *p, uint32_t pos);
    } table[] = {{"if", st_if},
                 {"for", st_for},
                 {"set", st_set},
                 {"macro", st_macro},
                 {"call", st_call},
                 {"filter", st_filter},
                 {"with", st_with},
                 {"print", st_print},
                 {"generation", st_generation},
                 {"autoescape", st_autoescape},
                 {"break", st_jump},
                 {"continue", st_jump},
                 {"block", st_refused},
                 {"extends", st_refused},
                 {"include", st_refused},
                 {"import", st_refused},
                 {"from", st_refused}};
    struct jtok *t = p->tok;

    for (size_t i = 0; t->kind == T_NAME && i < ARRAY_LEN(table); i++)
        if (slice_is(t->s, table[i].name)) {
            struct jnode *n;

            p->tok++;
            n = table[i].parse(p, t->pos);
            return p->J->failed || !jp_block_end(p) ? NULL : n;
        }
    jp_unexpected(p, "a statement");
    return NULL;
}

static bool ends_here(const struct jparser *p, const char *const *ends)
{
    if (p->tok->kind != T_BLOCK_BEGIN)
        return false;
    for (size_t i = 0; ends && ends[i]; i++)
        if (p->tok[1].kind == T_NAME && slice_is(p->tok[1].s, ends[i]))
            return true;
    return false;
}

static struct jnode *output(struct jparser *p)
{
    struct jnodes l = {0};
    uint32_t pos = p->tok++->pos;

    jp_add(&l, jp_tuple(p, true, NULL, false));
    if (p->J->failed)
        return NULL;
    if (p->tok->kind != T_VAR_END) {
        jp_unexpected(p, "'}}'");
        return NULL;
    }
    p->tok++;
    return jp_list(jp_node(p, N_OUTPUT, pos), &l);
}

/* Statements and text up to one of the ends (NULL: of the template) behind its "{%". */
static struct jnode *statements(struct jparser *p, const char *const *ends)
{
    struct jnodes l = {0};
    uint32_t pos = p->tok->pos;

    if (!jenter(p->J))
        return NULL;
    while (!p->J->failed && !ends_here(p, ends)) {
        struct jnode *n;

        if (p->tok->kind == T_END) {
            if (ends) {
                while (ends[1])
                    ends++;
                p->J->pos = p->tok->pos;
                jfail(p->J, "expected '{%% %s %%}', got the end of the template", ends[0]);
            }
            break;
        }
        if (p->tok->kind == T_TEXT) {
            n = jp_node(p, N_TEXT, p->tok->pos);
            if (n)
                n->v = jv_str(jstr_make(p->J, p->tok->s.p, p->tok->s.n, M_OWN));
            p->tok++;
            jp_add(&l, n);
        } else if (p->tok->kind == T_VAR_BEGIN) {
            jp_add(&l, output(p));
        } else {
            p->tok++;
            jp_add(&l, statement(p));
        }
    }
    jleave(p->J);
    p->tok += !p->J->failed && ends != NULL; // "{%" in front of the end
    return p->J->failed ? NULL : jp_list(jp_node(p, N_SCOPE, pos), &l);
}

void jparse(struct jstate *J, struct jinja *t)
{
    struct jparser p = {.J = J, .t = t};
    struct jtoks toks = {0};

    J->max_depth = MAX_NEST;
    jlex(J, &toks);
    if (J->failed)
        return;
    p.tok = toks.t;
    t->body = statements(&p, NULL);
}
