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

/* How the arguments of a call are written, for con_schema_rule; marks as the grammar has them. */
struct con_form {
    enum { FORM_JSON, FORM_PARAMS, FORM_PYTHON, FORM_GEMMA } kind;
    rx begin, end; // FORM_PARAMS, FORM_PYTHON: around the arguments; never empty
    rx open, mid, mid_json, close; // FORM_PARAMS: around names, strings, other values
    struct slice until;            // no string may contain it
    struct slice mark;             // FORM_GEMMA: around strings
};

/* A rule for the JSON values of this schema (parsed; borrowed while this runs); with a form for
 * objects only, written so. Errors begin with "schema". */
int con_schema_rule(struct gram *g, const json_t *schema, const struct con_form *form,
                    const struct con_opts *o, uint32_t *rule, struct err *e);

/* Text up to and with the first of the marks, and text that has none of them. Both are whole UTF-8,
 * the marks are any bytes. */
void con_free_text(struct rxs *s, const struct slice *mark, uint32_t n, rx *until, rx *none);

#endif
