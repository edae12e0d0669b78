/* constrain_in.h - what the front ends of constrain.h share. */
#ifndef RILL_TEXT_CONSTRAIN_IN_H
#define RILL_TEXT_CONSTRAIN_IN_H

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

#endif
