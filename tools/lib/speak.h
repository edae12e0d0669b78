/* speak.h - one answer of a model, waited for: its text, reasoning and tool calls as they come.
 *
 * What is drawn goes through the parser of text/toolcall.h. When the reasoning has used up its
 * budget, the sentence and the marks that end it become the next tokens, and the answer goes on
 * behind them.
 */
#ifndef RILL_TOOLS_SPEAK_H
#define RILL_TOOLS_SPEAK_H

#include "rill.h"
#include "text/tok.h"
#include "text/toolcall.h"

enum { SPEAK_MARKS = 64 };

struct speak {
    struct rill_model *model;
    struct rill_engine *engine;
    struct toolcall_opts parse; // is_control and ctx are set here
    int budget;                 // tokens of reasoning; 0: any number
    int call_max;               // tokens of a call, behind which the answer ends; 0: any number
    /* For what comes behind a budget's end, where the request's own constraint waits for it. */
    const struct rill_constraint *then;
    bool (*stop)(void); // asked after each event; true: the answer ends
    int (*hear)(void *ctx, const struct toolcall_event *ev, struct err *e);
    int (*drew)(void *ctx, const struct rill_event *ev, struct err *e); // a token; may be NULL
    void (*reads)(void *ctx, size_t n_done); // so much of the prompt was computed; may be NULL
    void *ctx;
    /* Filled: */
    struct tok_ids ids; // drawn, or put in
    size_t n_drawn;
    int finish, cached;
    bool call_cut; // ended by call_max
    size_t call_at; // what n_drawn was when the call that is open began; 0: none is
    int32_t mark[SPEAK_MARKS]; // control tokens that the parser wants to see
    int n_mark;
};
void speak_fini(struct speak *s); // the ids

/* Submits the request (as it is but for progress and show_control) and sees it through. */
int speak(struct speak *s, const struct rill_request *q, struct err *e);

/* The constraint that an option asked for may begin only behind the reasoning. open: the prompt
 * ends inside a block; marks: [2] room for what to wait for. */
struct rill_constraint_opts speak_after(const struct reasoning *r, bool open,
                                        struct rill_stop marks[2]);

#endif
