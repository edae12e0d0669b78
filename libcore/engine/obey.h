/* obey.h - answers that obey a grammar: a request's place in it, masks, tokens it forces.
 *
 * Requests with one constraint share what its matcher has found out. The automaton is built as far
 * as it is walked, so a step of such a request may allocate, up to the matcher's limit.
 */
#ifndef RILL_ENGINE_OBEY_H
#define RILL_ENGINE_OBEY_H

#include "text/constrain.h"

#define OBEY_AHEAD 16 // forced tokens taken in one step

struct obey {
    const struct con *con;
    struct con_matcher *matcher;
    struct obey *next, **list;
    int users;
};

/* The one for this constraint in *list, or a new one; obey_leave gives it back (NULL: nothing). */
int obey_enter(struct obey **out, struct obey **list, const struct con *c,
               const struct con_vocab *v, struct err *e);
void obey_leave(struct obey *o);

/* As the functions of text/constrain.h, where allocation is guarded against. */
int obey_mask(const struct obey *o, struct con_state s, uint32_t *mask, struct err *e);
int obey_token(const struct obey *o, struct con_state *s, int32_t id, struct err *e);
int obey_forced(const struct obey *o, struct con_state s, const struct tok *t, int32_t *id,
                int max, struct err *e);
bool obey_done(const struct obey *o, struct con_state s);

#endif
