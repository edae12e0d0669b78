/* jinja_parse.c - tokens to a syntax tree: nodes, tokens, expressions.
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
#include "jinja_parse.h"

enum { MAX_HEIGHT = 400 };

/* -- nodes -- */

struct jnode *jp_node(struct jparser *p, uint8_t kind, uint32_t pos)
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

struct jnode *jp_fail(struct jparser *p, uint32_t pos, const char *what)
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
struct jnode *jp_with(struct jparser *p, struct jnode *n, struct jnode *a, struct jnode *b,
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
    return n->height > MAX_HEIGHT ? jp_fail(p, n->pos, "this is nested too deep") : n;
}

void jp_add(struct jnodes *l, struct jnode *n)
{
    if (!n)
        return;
    if (!l->end)
        l->end = &l->first;
    *l->end = n;
    l->end = &n->next;
    l->height = n->height > l->height ? n->height : l->height;
}

struct jnode *jp_list(struct jnode *n, const struct jnodes *l)
{
    if (n) {
        n->list = l->first;
        n->height = (uint16_t)(l->height >= n->height ? l->height + 1 : n->height);
    }
    return n;
}

int jp_symbol(struct jparser *p, struct slice name)
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

bool jp_is_op(const struct jparser *p, const char *op)
{
    return p->tok->kind == T_OP && strcmp(p->tok->op, op) == 0;
}

bool jp_is_name(const struct jparser *p, const char *name)
{
    return p->tok->kind == T_NAME && slice_is(p->tok->s, name);
}

bool jp_skip_op(struct jparser *p, const char *op)
{
    bool yes = jp_is_op(p, op);

    p->tok += yes;
    return yes;
}

bool jp_skip_name(struct jparser *p, const char *name)
{
    bool yes = jp_is_name(p, name);

    p->tok += yes;
    return yes;
}

void jp_unexpected(struct jparser *p, const char *wanted)
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

bool jp_need_op(struct jparser *p, const char *op)
{
    char quoted[8];

    if (jp_skip_op(p, op))
        return true;
    memcpy(quoted, "'", 2);
    quoted[1] = op[0];
    quoted[2] = op[1] ? op[1] : '\'';
    quoted[3] = op[1] ? '\'' : 0;
    jp_unexpected(p, quoted);
    return false;
}

bool jp_block_end(struct jparser *p)
{
    if (p->tok->kind == T_BLOCK_END) {
        p->tok++;
        return true;
    }
    jp_unexpected(p, "'%}'");
    return false;
}

/* -- expressions -- */

static struct jnode *constant(struct jparser *p, struct jv v)
{
    struct jnode *n = jp_node(p, N_CONST, p->tok->pos);

    if (n)
        n->v = v;
    return n;
}

static struct jnode *name_node(struct jparser *p, struct slice name, uint32_t pos)
{
    struct jnode *n = jp_node(p, N_NAME, pos);

    if (n)
        n->sym = jp_symbol(p, name);
    if (p->macro && slice_is(name, "varargs"))
        p->macro->op |= JM_VARARGS;
    if (p->macro && slice_is(name, "kwargs"))
        p->macro->op |= JM_KWARGS;
    if (p->macro && slice_is(name, "caller"))
        p->macro->op |= JM_CALLER;
    return n;
}

/* Items up to the token that ends a tuple. ends_in: "in" ends it too, and "recursive". */
static bool tuple_ends(const struct jparser *p, const char *extra)
{
    return p->tok->kind == T_VAR_END || p->tok->kind == T_BLOCK_END || jp_is_op(p, ")") ||
           (extra && jp_is_name(p, extra));
}

struct jnode *jp_tuple(struct jparser *p, bool cond, const char *extra, bool in_parens)
{
    struct jnodes l = {0};
    uint32_t pos = p->tok->pos;
    bool is_tuple = false;

    while (!p->J->failed) {
        if (l.first && !jp_need_op(p, ","))
            break;
        if (tuple_ends(p, extra))
            break;
        jp_add(&l, jp_expression(p, cond));
        if (!jp_is_op(p, ","))
            break;
        is_tuple = true;
    }
    if (p->J->failed)
        return NULL;
    if (!is_tuple && l.first)
        return l.first;
    if (!l.first && !in_parens) {
        jp_unexpected(p, "an expression");
        return NULL;
    }
    return jp_list(jp_node(p, N_TUPLE, pos), &l);
}

/* A list of constants is one: lists never change. */
static struct jnode *fold_list(struct jparser *p, struct jnode *n)
{
    struct jlist *l;

    for (const struct jnode *i = n ? n->list : NULL; i; i = i->next)
        if (i->kind != N_CONST)
            return n;
    if (!n || !n->list)
        return n;
    l = jlist_new(p->J, 0);
    for (const struct jnode *i = n->list; i; i = i->next)
        jlist_add(p->J, l, i->v);
    n->kind = N_CONST;
    n->v = jv_list(l);
    n->list = NULL;
    return p->J->failed ? NULL : n;
}

static struct jnode *list_literal(struct jparser *p)
{
    struct jnodes l = {0};
    uint32_t pos = p->tok[-1].pos;

    while (!p->J->failed && !jp_is_op(p, "]")) {
        if (l.first && !jp_need_op(p, ","))
            return NULL;
        if (jp_is_op(p, "]"))
            break;
        jp_add(&l, jp_expression(p, true));
    }
    if (p->J->failed || !jp_need_op(p, "]"))
        return NULL;
    return fold_list(p, jp_list(jp_node(p, N_LIST, pos), &l));
}

static struct jnode *dict_literal(struct jparser *p)
{
    struct jnodes l = {0};
    uint32_t pos = p->tok[-1].pos;

    while (!p->J->failed && !jp_is_op(p, "}")) {
        struct jnode *k, *v;

        if (l.first && !jp_need_op(p, ","))
            return NULL;
        if (jp_is_op(p, "}"))
            break;
        k = jp_expression(p, true);
        if (p->J->failed || !jp_need_op(p, ":"))
            return NULL;
        v = jp_expression(p, true);
        jp_add(&l, jp_with(p, jp_node(p, N_NOTHING, pos), k, v, NULL));
    }
    if (p->J->failed || !jp_need_op(p, "}"))
        return NULL;
    return jp_list(jp_node(p, N_DICT, pos), &l);
}

static struct jnode *string_literal(struct jparser *p)
{
    struct jnode *n = constant(p, p->tok->v);

    for (p->tok++; n && p->tok->kind == T_STR; p->tok++)
        n->v = jv_str(jstr_cat(p->J, n->v.u.s, p->tok->v.u.s));
    return n;
}

static struct jnode *primary(struct jparser *p)
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
    if (jp_skip_op(p, "(")) {
        n = jp_tuple(p, true, NULL, true);
        return p->J->failed || !jp_need_op(p, ")") ? NULL : n;
    }
    if (jp_skip_op(p, "["))
        return list_literal(p);
    if (jp_skip_op(p, "{"))
        return dict_literal(p);
    jp_unexpected(p, "an expression");
    return NULL;
}

static bool arguments(struct jparser *p, struct jnodes *l)
{
    bool named = false, starred = false;

    if (!jp_need_op(p, "("))
        return false;
    while (!p->J->failed && !jp_is_op(p, ")")) {
        uint32_t pos = p->tok->pos;
        struct jnode *n;

        if (l->first && !jp_need_op(p, ","))
            return false;
        if (jp_is_op(p, ")"))
            break;
        if (jp_skip_op(p, "**")) {
            jp_add(l, jp_with(p, jp_node(p, N_STARSTAR, pos), jp_expression(p, true), NULL, NULL));
            named = true;
        } else if (jp_skip_op(p, "*")) {
            jp_add(l, jp_with(p, jp_node(p, N_STAR, pos), jp_expression(p, true), NULL, NULL));
            starred = true;
        } else if (p->tok->kind == T_NAME && p->tok[1].kind == T_OP &&
                   strcmp(p->tok[1].op, "=") == 0) {
            n = jp_node(p, N_KW, pos);
            if (n)
                n->v = jv_str(jstr_make(p->J, p->tok->s.p, p->tok->s.n, M_OWN));
            p->tok += 2;
            jp_add(l, jp_with(p, n, jp_expression(p, true), NULL, NULL));
            named = true;
        } else if (named || starred) {
            jp_fail(p, pos, "an argument without a name follows one with a name");
        } else {
            jp_add(l, jp_expression(p, true));
        }
    }
    return !p->J->failed && jp_need_op(p, ")");
}

static struct jnode *call(struct jparser *p, struct jnode *f)
{
    struct jnodes l = {0};
    uint32_t pos = p->tok->pos;

    if (!arguments(p, &l))
        return NULL;
    return jp_with(p, jp_list(jp_node(p, N_CALL, pos), &l), f, NULL, NULL);
}

/* A string that no type has a method of: as a key it finds an entry or nothing. */
static bool is_plain_key(const struct jnode *n)
{
    return n->kind == N_CONST && n->v.type == J_STR && !jmethod_named(jstr_slice(n->v.u.s));
}

/* One subscript: an index, or a slice. */
static struct jnode *subscribed(struct jparser *p, struct jnode *of)
{
    uint32_t pos = p->tok->pos;
    struct jnode *part[3] = {0};
    struct jnode *n;
    struct jnodes step = {0};
    bool is_slice = false;

    for (int i = 0; i < 3; i++) {
        if (!jp_is_op(p, ":") && !jp_is_op(p, "]") && !jp_is_op(p, ","))
            part[i] = jp_expression(p, true);
        if (p->J->failed || i == 2 || !jp_skip_op(p, ":"))
            break;
        is_slice = true;
    }
    if (p->J->failed)
        return NULL;
    if (!is_slice && !part[0]) {
        jp_unexpected(p, "an expression");
        return NULL;
    }
    n = jp_node(p, is_slice ? N_SLICE : N_ITEM, pos);
    if (n && !is_slice && is_plain_key(part[0])) { // x["a"] is x.a where no method has that name
        n->kind = N_ATTR;
        n->v = part[0]->v;
        n->sym = jloop_attr(jstr_slice(n->v.u.s));
        return jp_with(p, n, of, NULL, NULL);
    }
    if (part[2])
        jp_add(&step, part[2]);
    return jp_with(p, jp_list(n, &step), of, part[0], part[1]);
}

static struct jnode *subscript(struct jparser *p, struct jnode *of)
{
    struct jtok *t = p->tok;
    struct jnode *n;

    if (jp_skip_op(p, ".")) {
        t = p->tok++;
        if (t->kind == T_NAME) {
            n = jp_node(p, N_ATTR, t->pos);
            if (n) {
                n->v = jv_str(jstr_key(p->J, t->s.p, t->s.n, M_OWN));
                n->op = jmethod_named(t->s);
                n->sym = jloop_attr(t->s);
            }
            return jp_with(p, n, of, NULL, NULL);
        }
        if (t->kind == T_INT) {
            p->tok--;
            n = constant(p, t->v);
            p->tok++;
            return jp_with(p, jp_node(p, N_ITEM, t->pos), of, n, NULL);
        }
        p->tok = t;
        jp_unexpected(p, "a name or number");
        return NULL;
    }
    if (!jp_need_op(p, "["))
        return NULL;
    n = subscribed(p, of);
    if (jp_is_op(p, ","))
        return jp_fail(p, p->tok->pos, "a subscript of several parts is not supported");
    return p->J->failed || !jp_need_op(p, "]") ? NULL : n;
}

static struct jnode *postfix(struct jparser *p, struct jnode *n)
{
    while (!p->J->failed) {
        if (jp_is_op(p, ".") || jp_is_op(p, "["))
            n = subscript(p, n);
        else if (jp_is_op(p, "("))
            n = call(p, n);
        else
            break;
    }
    return n;
}

/* name, or name.name for what extensions might call so. */
static struct slice dotted(struct jparser *p)
{
    struct slice s = p->tok->s;

    if (p->tok->kind != T_NAME) {
        jp_unexpected(p, "a name");
        return (struct slice){"", 0};
    }
    p->tok++;
    while (jp_is_op(p, ".") && p->tok[1].kind == T_NAME) {
        p->tok += 2;
        s.n = (size_t)(p->tok[-1].s.p + p->tok[-1].s.n - s.p);
    }
    return s;
}

/* Filters from here on, applied to n (NULL: to what a block holds). */
struct jnode *jp_filters(struct jparser *p, struct jnode *n, bool inline_first)
{
    while (!p->J->failed && (inline_first || jp_is_op(p, "|"))) {
        uint32_t pos;
        struct slice name;
        struct jnodes l = {0};
        struct jnode *f;

        if (!inline_first)
            p->tok++;
        inline_first = false;
        pos = p->tok->pos;
        name = dotted(p);
        if (!p->J->failed && jp_is_op(p, "("))
            arguments(p, &l);
        f = jp_list(jp_node(p, N_FILTER, pos), &l);
        if (f) {
            f->v = jv_str(jstr_make(p->J, name.p, name.n, M_OWN));
            f->fn = jfilter_find(name);
        }
        n = jp_with(p, f, n, NULL, NULL);
    }
    return n;
}

static bool starts_test_argument(const struct jparser *p)
{
    switch (p->tok->kind) {
    case T_STR:
    case T_INT:
    case T_FLOAT:
        return true;
    case T_OP:
        return jp_is_op(p, "(") || jp_is_op(p, "[") || jp_is_op(p, "{");
    case T_NAME:
        return !jp_is_name(p, "else") && !jp_is_name(p, "or") && !jp_is_name(p, "and");
    default:
        return false;
    }
}

static struct jnode *test(struct jparser *p, struct jnode *of)
{
    uint32_t pos = (++p->tok)->pos;
    bool negated = jp_skip_name(p, "not");
    struct slice name = dotted(p);
    struct jnodes l = {0};
    struct jnode *n;

    if (p->J->failed)
        return NULL;
    if (jp_is_op(p, "(")) {
        arguments(p, &l);
    } else if (starts_test_argument(p)) {
        if (jp_is_name(p, "is"))
            return jp_fail(p, p->tok->pos, "two tests cannot follow each other");
        jp_add(&l, postfix(p, primary(p)));
    }
    n = jp_list(jp_node(p, N_TEST, pos), &l);
    if (n) {
        n->v = jv_str(jstr_make(p->J, name.p, name.n, M_OWN));
        n->fn = jtest_find(name);
    }
    n = jp_with(p, n, of, NULL, NULL);
    return negated ? jp_with(p, jp_node(p, N_NOT, pos), n, NULL, NULL) : n;
}

static struct jnode *unary(struct jparser *p, bool with_filter)
{
    uint32_t pos = p->tok->pos;
    struct jnode *n = NULL;

    if (!jenter(p->J))
        return NULL;
    if (jp_skip_op(p, "-"))
        n = jp_with(p, jp_node(p, N_NEG, pos), unary(p, false), NULL, NULL);
    else if (jp_skip_op(p, "+"))
        n = jp_with(p, jp_node(p, N_POS, pos), unary(p, false), NULL, NULL);
    else
        n = primary(p);
    n = postfix(p, n);
    while (with_filter && !p->J->failed) {
        if (jp_is_op(p, "|"))
            n = jp_filters(p, n, false);
        else if (jp_is_name(p, "is"))
            n = test(p, n);
        else if (jp_is_op(p, "("))
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

static struct jnode *arithmetic(struct jparser *p, size_t level);

static struct jnode *concat(struct jparser *p)
{
    struct jnode *first = arithmetic(p, 2);
    uint32_t pos = p->tok->pos;
    struct jnodes l = {0};

    if (!jp_is_op(p, "~"))
        return first;
    jp_add(&l, first);
    while (!p->J->failed && jp_skip_op(p, "~"))
        jp_add(&l, arithmetic(p, 2));
    return jp_list(jp_node(p, N_CONCAT, pos), &l);
}

static struct jnode *arithmetic(struct jparser *p, size_t level)
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

        while (b->op && !jp_is_op(p, b->op))
            b++;
        if (!b->op)
            break;
        p->tok++;
        n = jp_with(p, jp_node(p, b->kind, pos), n, arithmetic(p, level + 1), NULL);
    }
    return n;
}

static int compare_op(struct jparser *p)
{
    static const char *const ops[] = {"==", "!=", "<", "<=", ">", ">="};

    for (int i = 0; i < (int)ARRAY_LEN(ops); i++)
        if (jp_skip_op(p, ops[i]))
            return i;
    if (jp_skip_name(p, "in"))
        return C_IN;
    if (jp_is_name(p, "not") && p->tok[1].kind == T_NAME && slice_is(p->tok[1].s, "in")) {
        p->tok += 2;
        return C_NOTIN;
    }
    return -1;
}

static struct jnode *compare(struct jparser *p)
{
    uint32_t pos = p->tok->pos;
    struct jnode *first = arithmetic(p, 0);
    struct jnodes l = {0};
    int op;

    while (!p->J->failed && (op = compare_op(p)) >= 0) {
        struct jnode *n = jp_with(p, jp_node(p, N_NOTHING, pos), arithmetic(p, 0), NULL, NULL);

        if (n)
            n->op = (uint8_t)op;
        jp_add(&l, n);
    }
    if (!l.first)
        return first;
    return jp_with(p, jp_list(jp_node(p, N_COMPARE, pos), &l), first, NULL, NULL);
}

static struct jnode *negation(struct jparser *p)
{
    uint32_t pos = p->tok->pos;
    struct jnode *n;

    if (!jp_skip_name(p, "not"))
        return compare(p);
    if (!jenter(p->J))
        return NULL;
    n = jp_with(p, jp_node(p, N_NOT, pos), negation(p), NULL, NULL);
    jleave(p->J);
    return n;
}

static struct jnode *conjunction(struct jparser *p)
{
    struct jnode *n = negation(p);
    uint32_t pos = p->tok->pos;

    while (!p->J->failed && jp_skip_name(p, "and"))
        n = jp_with(p, jp_node(p, N_AND, pos), n, negation(p), NULL);
    return n;
}

static struct jnode *disjunction(struct jparser *p)
{
    struct jnode *n = conjunction(p);
    uint32_t pos = p->tok->pos;

    while (!p->J->failed && jp_skip_name(p, "or"))
        n = jp_with(p, jp_node(p, N_OR, pos), n, conjunction(p), NULL);
    return n;
}

/* cond: "x if y else z" may stand here. */
struct jnode *jp_expression(struct jparser *p, bool cond)
{
    struct jnode *n;

    if (!jenter(p->J))
        return NULL;
    n = disjunction(p);
    while (cond && !p->J->failed && jp_is_name(p, "if")) {
        uint32_t pos = p->tok++->pos;
        struct jnode *test_node = disjunction(p);
        struct jnode *other = NULL;

        if (!p->J->failed && jp_skip_name(p, "else"))
            other = jp_expression(p, true);
        n = jp_with(p, jp_node(p, N_COND, pos), n, test_node, other);
    }
    jleave(p->J);
    return p->J->failed ? NULL : n;
}
