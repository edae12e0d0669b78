/* constrain_in.h - what the front ends of constrain.h share. */
#ifndef RILL_TEXT_CONSTRAIN_IN_H
#define RILL_TEXT_CONSTRAIN_IN_H

#include <jansson.h>

#include "constrain.h"
#include "constrain_gram.h"

struct con {
    struct gram g;
};

/* A front end fills the grammar with the rule for the whole text, which it returns. */
typedef int con_front(struct gram *g, void *arg, const struct con_opts *o, uint32_t *root,
                      struct err *e);
int con_compile(struct con **out, con_front *fn, void *arg, const struct con_opts *opts,
                struct err *e);

/* A rule for the JSON values of this schema (parsed; borrowed while this runs). object: for objects
 * only. Errors begin with "schema". */
int con_schema_rule(struct gram *g, const json_t *schema, bool object, const struct con_opts *o,
                    uint32_t *rule, struct err *e);

/* Text up to and with the first of the marks, and text that has none of them. Both are whole UTF-8,
 * the marks are any bytes. */
void con_free_text(struct rxs *s, const struct slice *mark, uint32_t n, rx *until, rx *none);

#endif
