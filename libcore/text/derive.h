/* derive.h - how a template writes tool calls and reasoning, found out by rendering it.
 *
 * Small conversations that differ in one thing (a call more, an argument more, arguments of another
 * type, words before the call, reasoning) are rendered with names and values that no template has;
 * where the renderings differ is how that thing is written. What comes out is a row like those of
 * toolcall_table.c and reasoning.c. It stands only if the parser, given the row, reads every one of
 * the renderings back as what was put in, and reads what the row writes.
 *
 * At most DERIVE_RENDERINGS renderings, each within DERIVE_STEPS and DERIVE_BYTES; a template that
 * fails, says more, or says something else than it was asked is one whose format is not derived.
 */
#ifndef RILL_TEXT_DERIVE_H
#define RILL_TEXT_DERIVE_H

#include "text/chat.h"
#include "text/toolcall_in.h"

enum { DERIVE_RENDERINGS = 16, DERIVE_STEPS = 200000, DERIVE_BYTES = 4 << 20, DERIVE_OWN = 40 };

struct derived {
    struct toolcall_format format; // named "derived"
    struct toolcall_read read;     // format.read
    struct reasoning reasoning;    // named "derived"
    bool calls, thinks;            // what was found
    bool parallel;                 // and several calls in a turn were seen
    const char *why;               // no calls: because
    int n_rendered;
    char *own[DERIVE_OWN]; // texts of the rows
    int n_own;
};

/* E_NOMEM, or 0: what could not be found is not there. d is filled and must stay where it is. */
int derive_calls(struct derived *d, const struct chat *c, struct err *e);
int derive_reasoning(struct derived *d, const struct chat *c, struct err *e);
void derived_fini(struct derived *d);

#endif
