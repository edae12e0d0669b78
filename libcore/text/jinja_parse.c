/* jinja_parse.c - tokens to a syntax tree.
 *
 * What the fields of a node hold, by kind (list: linked by next):
 *
 *   CONST v   NAME sym   LIST, TUPLE list   DICT list of pairs (a: key, b: value)
 *   ATTR a.v   ITEM a[b]   SLICE a[b : c : list]   CALL a(list)   NOT, NEG, POS a
 *   FILTER a (NULL: what the block holds) |v(list), fn   TEST a is v(list), fn
 *   COND b ? a : c   CONCAT list   COMPARE a, then list of operands (op, a)   AND ... POW a, b
 *   KW v = a, STAR *a, STARSTAR **a among arguments   NSREF sym.v as a target
 *   TEXT v   OUTPUT list   IF list of branches (a: condition or NULL, b: body)
 *   FOR a: target, b: items, c: condition or NULL, list of two SCOPEs: body, else body
 *   SET a = b   BLOCKSET a = body b through filter c   FILTERBLOCK body b through filter c
 *   MACRO sym(list of targets NAME with default a) body b, op: JM_   CALLBLOCK a: call, b: a MACRO
 *   WITH list of SETs, body b   SCOPE body list: variables set in it end with it
 */
#include "jinja_in.h"

enum { MAX_NEST = 150, MAX_HEIGHT = 400 };

struct parser {
    struct jstate *J;
    struct jinja *t;
    struct jtok *tok;    // the next one
    struct jnode *macro; // the innermost one being parsed
    int loops;           // around what is being parsed, in the same macro
};

/* -- nodes -- */

static struct jnode *node(struct parser *p, uint8_t kind, uint32_t pos)
{
    struct jnode *n = jalloc(p->J, 1, sizeof *n);

    if (n) {
        n->kind = kind;
        n->pos = pos;
        n->height = 1;
        n->v = jv_none();
    }
    return n;
}

static struct jnode *p_fail(struct parser *p, uint32_t pos, const char *what)
{
    p->J->pos = pos;
    jfail(p->J, "%s", what);
    return NULL;
}

static int height_of(const struct jnode *n)
{
    return n ? n->height : 0;
}

/* Sets a node's children and its height. */
static struct jnode *with(struct parser *p, struct jnode *n, struct jnode *a, struct jnode *b,
                          struct jnode *c)
{
    int h = height_of(a);

    if (!n || p->J->failed)
        return NULL;
    n->a = a;
    n->b = b;
    n->c = c;
    h = height_of(b) > h ? height_of(b) : h;
    h = height_of(c) > h ? height_of(c) : h;
    if (h >= n->height)
        n->height = (uint16_t)(h + 1);
    return n->height > MAX_HEIGHT ? p_fail(p, n->pos, "this is nested too deep") : n;
}

struct nodes {
    struct jnode *first, **end;
    int height;
};

static void add(struct nodes *l, struct jnode *n)
{
    if (!n)
        return;
    if (!l->end)
        l->end = &l->first;
    *l->end = n;
    l->end = &n->next;
    l->height = n->height > l->height ? n->height : l->height;
}

static struct jnode *with_list(struct jnode *n, const struct nodes *l)
{
    if (n) {
        n->list = l->first;
        n->height = (uint16_t)(l->height >= n->height ? l->height + 1 : n->height);
    }
    return n;
}

static int symbol(struct parser *p, struct slice name)
{
    struct jinja *t = p->t;

    for (size_t i = 0; i < t->n_sym; i++)
        if (slice_eq(jstr_slice(t->sym[i]), name))
            return (int)i;
    if (t->n_sym == t->cap_sym) {
        size_t cap = t->cap_sym ? t->cap_sym * 2 : 32;
        const struct jstr **sym = jgrow(p->J, t->sym, t->n_sym, cap, sizeof *sym);
        const struct jfn **global = jgrow(p->J, t->global, t->n_sym, cap, sizeof *global);

        if (!sym || !global)
            return 0;
        t->sym = sym;
        t->global = global;
        t->cap_sym = cap;
    }
    if (t->n_sym >= 4096) {
        jfail(p->J, "more than 4096 names");
        return 0;
    }
    t->sym[t->n_sym] = jstr_make(p->J, name.p, name.n, M_OWN);
    t->global[t->n_sym] = jglobal_find(name);
    return (int)t->n_sym++;
}

/* -- tokens -- */

static bool is_op(const struct parser *p, const char *op)
{
    return p->tok->kind == T_OP && strcmp(p->tok->op, op) == 0;
}

static bool is_name(const struct parser *p, const char *name)
{
    return p->tok->kind == T_NAME && slice_is(p->tok->s, name);
}

static bool skip_op(struct parser *p, const char *op)
{
    bool yes = is_op(p, op);

    p->tok += yes;
    return yes;
}

static bool skip_name(struct parser *p, const char *name)
{
    bool yes = is_name(p, name);

    p->tok += yes;
    return yes;
}

static void unexpected(struct parser *p, const char *wanted)
{
    static const char *const what[] = {[T_END] = "the end of the template",
                                       [T_TEXT] = "text",
                                       [T_BLOCK_BEGIN] = "'{%'",
                                       [T_BLOCK_END] = "'%}'",
                                       [T_VAR_BEGIN] = "'{{'",
                                       [T_VAR_END] = "'}}'",
                                       [T_INT] = "a number",
                                       [T_FLOAT] = "a number",
                                       [T_STR] = "a string"};

    p->J->pos = p->tok->pos;
    if (p->tok->kind == T_NAME)
        jfail(p->J, "expected %s, got '%.*s'", wanted, (int)(p->tok->s.n < 60 ? p->tok->s.n : 60),
              p->tok->s.p);
    else if (p->tok->kind == T_OP)
        jfail(p->J, "expected %s, got '%s'", wanted, p->tok->op);
    else
        jfail(p->J, "expected %s, got %s", wanted, what[p->tok->kind]);
}

static bool need_op(struct parser *p, const char *op)
{
    char quoted[8];

    if (skip_op(p, op))
        return true;
    memcpy(quoted, "'", 2);
    quoted[1] = op[0];
    quoted[2] = op[1] ? op[1] : '\'';
    quoted[3] = op[1] ? '\'' : 0;
    unexpected(p, quoted);
    return false;
}

static bool block_end(struct parser *p)
{
    if (p->tok->kind == T_BLOCK_END) {
        p->tok++;
        return true;
    }
    unexpected(p, "'%}'");
    return false;
}

/* -- expressions -- */

static struct jnode *expression(struct parser *p, bool cond);

static struct jnode *constant(struct parser *p, struct jv v)
{
    struct jnode *n = node(p, N_CONST, p->tok->pos);

    if (n)
        n->v = v;
    return n;
}

static struct jnode *name_node(struct parser *p, struct slice name, uint32_t pos)
{
    struct jnode *n = node(p, N_NAME, pos);

    if (n)
        n->sym = symbol(p, name);
    if (p->macro && slice_is(name, "varargs"))
        p->macro->op |= JM_VARARGS;
    if (p->macro && slice_is(name, "kwargs"))
        p->macro->op |= JM_KWARGS;
    if (p->macro && slice_is(name, "caller"))
        p->macro->op |= JM_CALLER;
    return n;
}

/* Items up to the token that ends a tuple. ends_in: "in" ends it too, and "recursive". */
static bool tuple_ends(const struct parser *p, const char *extra)
{
    return p->tok->kind == T_VAR_END || p->tok->kind == T_BLOCK_END || is_op(p, ")") ||
           (extra && is_name(p, extra));
}

static struct jnode *tuple(struct parser *p, bool cond, const char *extra, bool in_parens)
{
    struct nodes l = {0};
    uint32_t pos = p->tok->pos;
    bool is_tuple = false;

    while (!p->J->failed) {
        if (l.first && !need_op(p, ","))
            break;
        if (tuple_ends(p, extra))
            break;
        add(&l, expression(p, cond));
        if (!is_op(p, ","))
            break;
        is_tuple = true;
    }
    if (p->J->failed)
        return NULL;
    if (!is_tuple && l.first)
        return l.first;
    if (!l.first && !in_parens) {
        unexpected(p, "an expression");
        return NULL;
    }
    return with_list(node(p, N_TUPLE, pos), &l);
}

static struct jnode *list_literal(struct parser *p)
{
    struct nodes l = {0};
    uint32_t pos = p->tok[-1].pos;

    while (!p->J->failed && !is_op(p, "]")) {
        if (l.first && !need_op(p, ","))
            return NULL;
        if (is_op(p, "]"))
            break;
        add(&l, expression(p, true));
    }
    if (p->J->failed || !need_op(p, "]"))
        return NULL;
    return with_list(node(p, N_LIST, pos), &l);
}

static struct jnode *dict_literal(struct parser *p)
{
    struct nodes l = {0};
    uint32_t pos = p->tok[-1].pos;

    while (!p->J->failed && !is_op(p, "}")) {
        struct jnode *k, *v;

        if (l.first && !need_op(p, ","))
            return NULL;
        if (is_op(p, "}"))
            break;
        k = expression(p, true);
        if (p->J->failed || !need_op(p, ":"))
            return NULL;
        v = expression(p, true);
        add(&l, with(p, node(p, N_NOTHING, pos), k, v, NULL));
    }
    if (p->J->failed || !need_op(p, "}"))
        return NULL;
    return with_list(node(p, N_DICT, pos), &l);
}

static struct jnode *string_literal(struct parser *p)
{
    struct jnode *n = constant(p, p->tok->v);

    for (p->tok++; n && p->tok->kind == T_STR; p->tok++)
        n->v = jv_str(jstr_cat(p->J, n->v.u.s, p->tok->v.u.s));
    return n;
}

static struct jnode *primary(struct parser *p)
{
    static const struct {
        const char *name;
        struct jv v;
    } words[] = {{"true", {.type = J_BOOL, .u.i = 1}},
                 {"True", {.type = J_BOOL, .u.i = 1}},
                 {"false", {.type = J_BOOL, .u.i = 0}},
                 {"False", {.type = J_BOOL, .u.i = 0}},
                 {"none", {.type = J_NONE}},
                 {"None", {.type = J_NONE}}};
    struct jtok *t = p->tok;
    struct jnode *n;

    switch (t->kind) {
    case T_NAME:
        for (size_t i = 0; i < ARRAY_LEN(words); i++)
            if (slice_is(t->s, words[i].name)) {
                n = constant(p, words[i].v);
                p->tok++;
                return n;
            }
        p->tok++;
        return name_node(p, t->s, t->pos);
    case T_STR:
        return string_literal(p);
    case T_INT:
    case T_FLOAT:
        n = constant(p, t->v);
        p->tok++;
        return n;
    default:
        break;
    }
    if (skip_op(p, "(")) {
        n = tuple(p, true, NULL, true);
        return p->J->failed || !need_op(p, ")") ? NULL : n;
    }
    if (skip_op(p, "["))
        return list_literal(p);
    if (skip_op(p, "{"))
        return dict_literal(p);
    unexpected(p, "an expression");
    return NULL;
}

static bool arguments(struct parser *p, struct nodes *l)
{
    bool named = false, starred = false;

    if (!need_op(p, "("))
        return false;
    while (!p->J->failed && !is_op(p, ")")) {
        uint32_t pos = p->tok->pos;
        struct jnode *n;

        if (l->first && !need_op(p, ","))
            return false;
        if (is_op(p, ")"))
            break;
        if (skip_op(p, "**")) {
            add(l, with(p, node(p, N_STARSTAR, pos), expression(p, true), NULL, NULL));
            named = true;
        } else if (skip_op(p, "*")) {
            add(l, with(p, node(p, N_STAR, pos), expression(p, true), NULL, NULL));
            starred = true;
        } else if (p->tok->kind == T_NAME && p->tok[1].kind == T_OP &&
                   strcmp(p->tok[1].op, "=") == 0) {
            n = node(p, N_KW, pos);
            if (n)
                n->v = jv_str(jstr_make(p->J, p->tok->s.p, p->tok->s.n, M_OWN));
            p->tok += 2;
            add(l, with(p, n, expression(p, true), NULL, NULL));
            named = true;
        } else if (named || starred) {
            p_fail(p, pos, "an argument without a name follows one with a name");
        } else {
            add(l, expression(p, true));
        }
    }
    return !p->J->failed && need_op(p, ")");
}

static struct jnode *call(struct parser *p, struct jnode *f)
{
    struct nodes l = {0};
    uint32_t pos = p->tok->pos;

    if (!arguments(p, &l))
        return NULL;
    return with(p, with_list(node(p, N_CALL, pos), &l), f, NULL, NULL);
}

/* One subscript: an index, or a slice. */
static struct jnode *subscribed(struct parser *p, struct jnode *of)
{
    uint32_t pos = p->tok->pos;
    struct jnode *part[3] = {0};
    struct jnode *n;
    struct nodes step = {0};
    bool is_slice = false;

    for (int i = 0; i < 3; i++) {
        if (!is_op(p, ":") && !is_op(p, "]") && !is_op(p, ","))
            part[i] = expression(p, true);
        if (p->J->failed || i == 2 || !skip_op(p, ":"))
            break;
        is_slice = true;
    }
    if (p->J->failed)
        return NULL;
    if (!is_slice && !part[0]) {
        unexpected(p, "an expression");
        return NULL;
    }
    n = node(p, is_slice ? N_SLICE : N_ITEM, pos);
    if (part[2])
        add(&step, part[2]);
    return with(p, with_list(n, &step), of, part[0], part[1]);
}

static struct jnode *subscript(struct parser *p, struct jnode *of)
{
    struct jtok *t = p->tok;
    struct jnode *n;

    if (skip_op(p, ".")) {
        t = p->tok++;
        if (t->kind == T_NAME) {
            n = node(p, N_ATTR, t->pos);
            if (n) {
                n->v = jv_str(jstr_make(p->J, t->s.p, t->s.n, M_OWN));
                n->op = jmethod_named(t->s);
            }
            return with(p, n, of, NULL, NULL);
        }
        if (t->kind == T_INT) {
            p->tok--;
            n = constant(p, t->v);
            p->tok++;
            return with(p, node(p, N_ITEM, t->pos), of, n, NULL);
        }
        p->tok = t;
        unexpected(p, "a name or number");
        return NULL;
    }
    if (!need_op(p, "["))
        return NULL;
    n = subscribed(p, of);
    if (is_op(p, ","))
        return p_fail(p, p->tok->pos, "a subscript of several parts is not supported");
    return p->J->failed || !need_op(p, "]") ? NULL : n;
}

static struct jnode *postfix(struct parser *p, struct jnode *n)
{
    while (!p->J->failed) {
        if (is_op(p, ".") || is_op(p, "["))
            n = subscript(p, n);
        else if (is_op(p, "("))
            n = call(p, n);
        else
            break;
    }
    return n;
}

/* name, or name.name for what extensions might call so. */
static struct slice dotted(struct parser *p)
{
    struct slice s = p->tok->s;

    if (p->tok->kind != T_NAME) {
        unexpected(p, "a name");
        return (struct slice){"", 0};
    }
    p->tok++;
    while (is_op(p, ".") && p->tok[1].kind == T_NAME) {
        p->tok += 2;
        s.n = (size_t)(p->tok[-1].s.p + p->tok[-1].s.n - s.p);
    }
    return s;
}

/* Filters from here on, applied to n (NULL: to what a block holds). */
static struct jnode *filters(struct parser *p, struct jnode *n, bool inline_first)
{
    while (!p->J->failed && (inline_first || is_op(p, "|"))) {
        uint32_t pos;
        struct slice name;
        struct nodes l = {0};
        struct jnode *f;

        if (!inline_first)
            p->tok++;
        inline_first = false;
        pos = p->tok->pos;
        name = dotted(p);
        if (!p->J->failed && is_op(p, "("))
            arguments(p, &l);
        f = with_list(node(p, N_FILTER, pos), &l);
        if (f) {
            f->v = jv_str(jstr_make(p->J, name.p, name.n, M_OWN));
            f->fn = jfilter_find(name);
        }
        n = with(p, f, n, NULL, NULL);
    }
    return n;
}

static bool starts_test_argument(const struct parser *p)
{
    switch (p->tok->kind) {
    case T_STR:
    case T_INT:
    case T_FLOAT:
        return true;
    case T_OP:
        return is_op(p, "(") || is_op(p, "[") || is_op(p, "{");
    case T_NAME:
        return !is_name(p, "else") && !is_name(p, "or") && !is_name(p, "and");
    default:
        return false;
    }
}

static struct jnode *test(struct parser *p, struct jnode *of)
{
    uint32_t pos = (++p->tok)->pos;
    bool negated = skip_name(p, "not");
    struct slice name = dotted(p);
    struct nodes l = {0};
    struct jnode *n;

    if (p->J->failed)
        return NULL;
    if (is_op(p, "(")) {
        arguments(p, &l);
    } else if (starts_test_argument(p)) {
        if (is_name(p, "is"))
            return p_fail(p, p->tok->pos, "two tests cannot follow each other");
        add(&l, postfix(p, primary(p)));
    }
    n = with_list(node(p, N_TEST, pos), &l);
    if (n) {
        n->v = jv_str(jstr_make(p->J, name.p, name.n, M_OWN));
        n->fn = jtest_find(name);
    }
    n = with(p, n, of, NULL, NULL);
    return negated ? with(p, node(p, N_NOT, pos), n, NULL, NULL) : n;
}

static struct jnode *unary(struct parser *p, bool with_filter)
{
    uint32_t pos = p->tok->pos;
    struct jnode *n = NULL;

    if (!jenter(p->J))
        return NULL;
    if (skip_op(p, "-"))
        n = with(p, node(p, N_NEG, pos), unary(p, false), NULL, NULL);
    else if (skip_op(p, "+"))
        n = with(p, node(p, N_POS, pos), unary(p, false), NULL, NULL);
    else
        n = primary(p);
    n = postfix(p, n);
    while (with_filter && !p->J->failed) {
        if (is_op(p, "|"))
            n = filters(p, n, false);
        else if (is_name(p, "is"))
            n = test(p, n);
        else if (is_op(p, "("))
            n = call(p, n);
        else
            break;
    }
    jleave(p->J);
    return p->J->failed ? NULL : n;
}

struct binary {
    const char *op;
    uint8_t kind;
};

/* The operators of level 0 bind weakest. All go from the left, ** too, as in the reference. */
static const struct binary levels[][5] = {
    {{"+", N_ADD}, {"-", N_SUB}},
    {{"~", N_CONCAT}},
    {{"*", N_MUL}, {"/", N_DIV}, {"//", N_FLOORDIV}, {"%", N_MOD}},
    {{"**", N_POW}},
};

static struct jnode *arithmetic(struct parser *p, size_t level);

static struct jnode *concat(struct parser *p)
{
    struct jnode *first = arithmetic(p, 2);
    uint32_t pos = p->tok->pos;
    struct nodes l = {0};

    if (!is_op(p, "~"))
        return first;
    add(&l, first);
    while (!p->J->failed && skip_op(p, "~"))
        add(&l, arithmetic(p, 2));
    return with_list(node(p, N_CONCAT, pos), &l);
}

static struct jnode *arithmetic(struct parser *p, size_t level)
{
    struct jnode *n;

    if (level == ARRAY_LEN(levels))
        return unary(p, true);
    if (levels[level][0].kind == N_CONCAT)
        return concat(p);
    n = arithmetic(p, level + 1);
    while (!p->J->failed) {
        uint32_t pos = p->tok->pos;
        const struct binary *b = levels[level];

        while (b->op && !is_op(p, b->op))
            b++;
        if (!b->op)
            break;
        p->tok++;
        n = with(p, node(p, b->kind, pos), n, arithmetic(p, level + 1), NULL);
    }
    return n;
}

static int compare_op(struct parser *p)
{
    static const char *const ops[] = {"==", "!=", "<", "<=", ">", ">="};

    for (int i = 0; i < (int)ARRAY_LEN(ops); i++)
        if (skip_op(p, ops[i]))
            return i;
    if (skip_name(p, "in"))
        return C_IN;
    if (is_name(p, "not") && p->tok[1].kind == T_NAME && slice_is(p->tok[1].s, "in")) {
        p->tok += 2;
        return C_NOTIN;
    }
    return -1;
}

static struct jnode *compare(struct parser *p)
{
    uint32_t pos = p->tok->pos;
    struct jnode *first = arithmetic(p, 0);
    struct nodes l = {0};
    int op;

    while (!p->J->failed && (op = compare_op(p)) >= 0) {
        struct jnode *n = with(p, node(p, N_NOTHING, pos), arithmetic(p, 0), NULL, NULL);

        if (n)
            n->op = (uint8_t)op;
        add(&l, n);
    }
    if (!l.first)
        return first;
    return with(p, with_list(node(p, N_COMPARE, pos), &l), first, NULL, NULL);
}

static struct jnode *negation(struct parser *p)
{
    uint32_t pos = p->tok->pos;
    struct jnode *n;

    if (!skip_name(p, "not"))
        return compare(p);
    if (!jenter(p->J))
        return NULL;
    n = with(p, node(p, N_NOT, pos), negation(p), NULL, NULL);
    jleave(p->J);
    return n;
}

static struct jnode *conjunction(struct parser *p)
{
    struct jnode *n = negation(p);
    uint32_t pos = p->tok->pos;

    while (!p->J->failed && skip_name(p, "and"))
        n = with(p, node(p, N_AND, pos), n, negation(p), NULL);
    return n;
}

static struct jnode *disjunction(struct parser *p)
{
    struct jnode *n = conjunction(p);
    uint32_t pos = p->tok->pos;

    while (!p->J->failed && skip_name(p, "or"))
        n = with(p, node(p, N_OR, pos), n, conjunction(p), NULL);
    return n;
}

/* cond: "x if y else z" may stand here. */
static struct jnode *expression(struct parser *p, bool cond)
{
    struct jnode *n;

    if (!jenter(p->J))
        return NULL;
    n = disjunction(p);
    while (cond && !p->J->failed && is_name(p, "if")) {
        uint32_t pos = p->tok++->pos;
        struct jnode *test_node = disjunction(p);
        struct jnode *other = NULL;

        if (!p->J->failed && skip_name(p, "else"))
            other = expression(p, true);
        n = with(p, node(p, N_COND, pos), n, test_node, other);
    }
    jleave(p->J);
    return p->J->failed ? NULL : n;
}

/* -- statements -- */

static struct jnode *statements(struct parser *p, const char *const *ends);

/* The body of a block up to one of the ends, which is left to be read. */
static struct jnode *body(struct parser *p, const char *const *ends)
{
    skip_op(p, ":"); // "{% if x: %}" is allowed
    if (!block_end(p))
        return NULL;
    return statements(p, ends);
}

static struct jnode *body_to(struct parser *p, const char *end)
{
    const char *const ends[] = {end, NULL};
    struct jnode *n = body(p, ends);

    if (!p->J->failed)
        p->tok++; // the end's name
    return n;
}

static struct jnode *target_one(struct parser *p, bool namespaces)
{
    struct jtok *t = p->tok;
    struct jnode *n;

    if (t->kind != T_NAME) {
        unexpected(p, "a name");
        return NULL;
    }
    p->tok++;
    if (slice_is(t->s, "true") || slice_is(t->s, "false") || slice_is(t->s, "none") ||
        slice_is(t->s, "True") || slice_is(t->s, "False") || slice_is(t->s, "None"))
        return p_fail(p, t->pos, "a constant cannot be set");
    if (namespaces && skip_op(p, ".")) {
        n = node(p, N_NSREF, t->pos);
        if (p->tok->kind != T_NAME) {
            unexpected(p, "a name");
            return NULL;
        }
        if (n) {
            n->sym = symbol(p, t->s);
            n->v = jv_str(jstr_make(p->J, p->tok->s.p, p->tok->s.n, M_OWN));
        }
        p->tok++;
        return n;
    }
    n = node(p, N_NAME, t->pos);
    if (n)
        n->sym = symbol(p, t->s);
    return n;
}

/* What is assigned to: a name, name.attribute, or several of them, maybe in parentheses. */
static struct jnode *target(struct parser *p, bool namespaces)
{
    uint32_t pos = p->tok->pos;
    struct nodes l = {0};
    bool several = false;

    if (!jenter(p->J))
        return NULL;
    do {
        if (l.first && (is_op(p, "=") || is_op(p, ")") || is_name(p, "in")))
            break; // a comma at the end
        if (skip_op(p, "(")) {
            add(&l, target(p, namespaces));
            if (!p->J->failed)
                need_op(p, ")");
        } else {
            add(&l, target_one(p, namespaces));
        }
        several = several || is_op(p, ",");
    } while (!p->J->failed && skip_op(p, ","));
    jleave(p->J);
    if (p->J->failed)
        return NULL;
    return several ? with_list(node(p, N_TUPLE, pos), &l) : l.first;
}

static struct jnode *st_if(struct parser *p, uint32_t pos)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    struct nodes l = {0};

    for (;;) {
        struct jnode *c = tuple(p, false, NULL, false);
        struct jnode *b = p->J->failed ? NULL : body(p, ends);

        add(&l, with(p, node(p, N_NOTHING, pos), c, b, NULL));
        if (p->J->failed || !skip_name(p, "elif"))
            break;
    }
    if (!p->J->failed && skip_name(p, "else"))
        add(&l, with(p, node(p, N_NOTHING, pos), NULL, body_to(p, "endif"), NULL));
    else
        p->tok += !p->J->failed;
    return with_list(node(p, N_IF, pos), &l);
}

static struct jnode *st_for(struct parser *p, uint32_t pos)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    struct jnode *n = node(p, N_FOR, pos);
    struct jnode *to = target(p, false);
    struct jnode *items, *cond = NULL;
    struct nodes l = {0};

    if (p->J->failed)
        return NULL;
    if (!skip_name(p, "in")) {
        unexpected(p, "'in'");
        return NULL;
    }
    items = tuple(p, false, "recursive", false);
    if (!p->J->failed && skip_name(p, "if"))
        cond = expression(p, true);
    if (p->J->failed)
        return NULL;
    n->op = skip_name(p, "recursive");
    n->sym = symbol(p, SLICE("loop"));
    p->loops++;
    add(&l, body(p, ends));
    p->loops--;
    if (!p->J->failed && skip_name(p, "else"))
        add(&l, body_to(p, "endfor"));
    else
        p->tok += !p->J->failed;
    return with(p, with_list(n, &l), to, items, cond);
}

static struct jnode *st_set(struct parser *p, uint32_t pos)
{
    struct jnode *to = target(p, true);
    struct jnode *filter = NULL;

    if (p->J->failed)
        return NULL;
    if (skip_op(p, "="))
        return with(p, node(p, N_SET, pos), to, tuple(p, true, NULL, false), NULL);
    filter = filters(p, NULL, false);
    if (p->J->failed)
        return NULL;
    return with(p, node(p, N_BLOCKSET, pos), to, body_to(p, "endset"), filter);
}

static bool signature(struct parser *p, struct nodes *l)
{
    bool defaults = false;

    if (!need_op(p, "("))
        return false;
    while (!p->J->failed && !is_op(p, ")")) {
        struct jnode *n;

        if (l->first && !need_op(p, ","))
            return false;
        if (is_op(p, ")"))
            break;
        n = target_one(p, false);
        if (p->J->failed)
            return false;
        if (skip_op(p, "=")) {
            n = with(p, n, expression(p, true), NULL, NULL);
            defaults = true;
        } else if (defaults) {
            p_fail(p, n->pos, "an argument without a default follows one with a default");
        }
        add(l, n);
    }
    return !p->J->failed && need_op(p, ")");
}

/* A macro's arguments and body. */
static struct jnode *macro(struct parser *p, struct jnode *n, bool has_args, const char *end)
{
    struct jnode *outer = p->macro;
    int loops = p->loops;
    struct nodes l = {0};

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
    return with(p, with_list(n, &l), NULL, n->b, NULL);
}

static struct jnode *st_macro(struct parser *p, uint32_t pos)
{
    struct jnode *n = node(p, N_MACRO, pos);

    if (p->tok->kind != T_NAME) {
        unexpected(p, "a name");
        return NULL;
    }
    if (n)
        n->sym = symbol(p, p->tok->s);
    p->tok++;
    return macro(p, n, true, "endmacro");
}

static struct jnode *st_call(struct parser *p, uint32_t pos)
{
    struct jnode *m = node(p, N_MACRO, pos);
    struct jnode *n = node(p, N_CALLBLOCK, pos);
    struct nodes l = {0};
    struct jnode *c;
    struct jtok *at;

    if (p->J->failed)
        return NULL;
    m->sym = symbol(p, SLICE("caller"));
    if (is_op(p, "(")) {
        signature(p, &l);
        if (p->J->failed)
            return NULL;
    }
    at = p->tok;
    c = expression(p, true);
    if (p->J->failed)
        return NULL;
    if (c->kind != N_CALL)
        return p_fail(p, at->pos, "expected a call");
    m = macro(p, m, false, "endcall");
    if (m && l.first)
        with_list(m, &l);
    return with(p, n, c, m, NULL);
}

static struct jnode *st_filter(struct parser *p, uint32_t pos)
{
    struct jnode *f = filters(p, NULL, true);

    if (p->J->failed)
        return NULL;
    return with(p, node(p, N_FILTERBLOCK, pos), NULL, body_to(p, "endfilter"), f);
}

static struct jnode *st_with(struct parser *p, uint32_t pos)
{
    struct nodes l = {0};

    while (!p->J->failed && p->tok->kind != T_BLOCK_END) {
        struct jnode *to;

        if (l.first && !need_op(p, ","))
            return NULL;
        to = target_one(p, false);
        if (p->J->failed || !need_op(p, "="))
            return NULL;
        add(&l, with(p, node(p, N_SET, pos), to, expression(p, true), NULL));
    }
    return with(p, with_list(node(p, N_WITH, pos), &l), NULL, body_to(p, "endwith"), NULL);
}

static struct jnode *st_print(struct parser *p, uint32_t pos)
{
    struct nodes l = {0};

    while (!p->J->failed && p->tok->kind != T_BLOCK_END) {
        if (l.first && !need_op(p, ","))
            return NULL;
        add(&l, expression(p, true));
    }
    return with_list(node(p, N_OUTPUT, pos), &l);
}

static struct jnode *st_generation(struct parser *p, uint32_t pos)
{
    return with(p, node(p, N_SCOPE, pos), NULL, body_to(p, "endgeneration"), NULL);
}

static struct jnode *st_autoescape(struct parser *p, uint32_t pos)
{
    struct jnode *c = expression(p, true);

    if (p->J->failed)
        return NULL;
    if (c->kind != N_CONST || c->v.type != J_BOOL || c->v.u.i)
        return p_fail(p, pos, "autoescaping is not supported");
    return with(p, node(p, N_SCOPE, pos), NULL, body_to(p, "endautoescape"), NULL);
}

static struct jnode *st_jump(struct parser *p, uint32_t pos)
{
    bool is_break = slice_is(p->tok[-1].s, "break");

    if (p->loops == 0)
        return p_fail(p, pos, "'break' and 'continue' belong in a loop");
    return node(p, is_break ? N_BREAK : N_CONTINUE, pos);
}

static struct jnode *st_refused(struct parser *p, uint32_t pos)
{
    return p_fail(p, pos, "blocks, inheritance and includes are not supported");
}

static struct jnode *statement(struct parser *p)
{
    static const struct {
        const char *name;
        struct jnode *(*parse)(struct parser *p, uint32_t pos);
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
            return p->J->failed || !block_end(p) ? NULL : n;
        }
    unexpected(p, "a statement");
    return NULL;
}

static bool ends_here(const struct parser *p, const char *const *ends)
{
    if (p->tok->kind != T_BLOCK_BEGIN)
        return false;
    for (size_t i = 0; ends && ends[i]; i++)
        if (p->tok[1].kind == T_NAME && slice_is(p->tok[1].s, ends[i]))
            return true;
    return false;
}

static struct jnode *output(struct parser *p)
{
    struct nodes l = {0};
    uint32_t pos = p->tok++->pos;

    add(&l, tuple(p, true, NULL, false));
    if (p->J->failed)
        return NULL;
    if (p->tok->kind != T_VAR_END) {
        unexpected(p, "'}}'");
        return NULL;
    }
    p->tok++;
    return with_list(node(p, N_OUTPUT, pos), &l);
}

/* Statements and text up to one of the ends (NULL: of the template) behind its "{%". */
static struct jnode *statements(struct parser *p, const char *const *ends)
{
    struct nodes l = {0};
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
            n = node(p, N_TEXT, p->tok->pos);
            if (n)
                n->v = jv_str(jstr_make(p->J, p->tok->s.p, p->tok->s.n, M_OWN));
            p->tok++;
            add(&l, n);
        } else if (p->tok->kind == T_VAR_BEGIN) {
            add(&l, output(p));
        } else {
            p->tok++;
            add(&l, statement(p));
        }
    }
    jleave(p->J);
    p->tok += !p->J->failed && ends != NULL; // "{%" in front of the end
    return p->J->failed ? NULL : with_list(node(p, N_SCOPE, pos), &l);
}

void jparse(struct jstate *J, struct jinja *t)
{
    struct parser p = {.J = J, .t = t};
    struct jtoks toks = {0};

    J->max_depth = MAX_NEST;
    jlex(J, &toks);
    if (J->failed)
        return;
    p.tok = toks.t;
    t->body = statements(&p, NULL);
}
