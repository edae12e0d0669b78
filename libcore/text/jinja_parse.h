/* jinja_parse.h - what the parser of expressions (jinja_parse.c) and the one of statements
 * (jinja_stmt.c) share. */
#ifndef RILL_TEXT_JINJA_PARSE_H
#define RILL_TEXT_JINJA_PARSE_H

#include "jinja_in.h"

struct jparser {
    struct jstate *J;
    struct jinja *t;
    struct jtok *tok;    // the next one
    struct jnode *macro; // the innermost one being parsed
    int loops;           // around what is being parsed, in the same macro
};

/* Nodes that are being strung together. */
struct jnodes {
    struct jnode *first, **end;
    int height;
};

struct jnode *jp_node(struct jparser *p, uint8_t kind, uint32_t pos);
/* Sets a node's children and its height. */
struct jnode *jp_with(struct jparser *p, struct jnode *n, struct jnode *a, struct jnode *b,
                      struct jnode *c);
void jp_add(struct jnodes *l, struct jnode *n);
struct jnode *jp_list(struct jnode *n, const struct jnodes *l);
int jp_symbol(struct jparser *p, struct slice name);

/* Mistakes: NULL, and the sentence. */
struct jnode *jp_fail(struct jparser *p, uint32_t pos, const char *what);
void jp_unexpected(struct jparser *p, const char *wanted);

bool jp_is_op(const struct jparser *p, const char *op);
bool jp_is_name(const struct jparser *p, const char *name);
bool jp_skip_op(struct jparser *p, const char *op);
bool jp_skip_name(struct jparser *p, const char *name);
bool jp_need_op(struct jparser *p, const char *op);
bool jp_block_end(struct jparser *p); // "%}"

/* cond: "x if y else z" may stand here. */
struct jnode *jp_expression(struct jparser *p, bool cond);
/* One expression, or several between commas. extra: a name that ends them, too. */
struct jnode *jp_tuple(struct jparser *p, bool cond, const char *extra, bool in_parens);
/* Filters from here on, applied to n (NULL: to what a block holds). */
struct jnode *jp_filters(struct jparser *p, struct jnode *n, bool inline_first);

#endif
