/* talk.h - what rill-chat is made of: turns (talk_turn.c) and commands (talk_command.c) of one
 * conversation; chat.c has the options and the loop.
 */
#ifndef RILL_TOOLS_TALK_H
#define RILL_TOOLS_TALK_H

#include <jansson.h>
#include <signal.h>

#include "base/buf.h"
#include "rill.h"
#include "tools/lib/calls.h"
#include "tools/lib/convo.h"
#include "tools/lib/lineedit.h"
#include "tools/lib/model_opts.h"
#include "tools/lib/obey.h"
#include "tools/lib/opt.h"
#include "tools/lib/sampling.h"
#include "tools/lib/session.h"
#include "tools/lib/tool.h"
#include "tools/lib/wrap.h"

extern const char *const talk_policies[]; // names of enum reasoning_policy

struct talk_options {
    struct model_options model;
    struct sampling_options sampling;
    struct obey_options obeyed;
    struct opt_list execs, sets;
    const char *system, *template, *tools, *format, *resume;
    int n, budget, call_tokens;
    int policy; // index of talk_policies, or -1
    bool nul, yes, no_kv;
};

struct talk {
    const struct talk_options *opt;
    struct rill_model *model;
    struct rill_engine *engine;
    struct rill_model_info info;
    struct rill_sampling sampling;
    struct rill_chat *public;                 // the template once more, where there are tools
    struct rill_constraint *at_once, *behind; // what answers or their calls must be: from the
                                              // start, or behind their reasoning
    struct convo convo;
    struct calls calls;
    struct session session;
    struct lineedit *in;
    struct wrap out;
    struct progress reading;
    struct convo_answer answer; // that is being made
    struct buf attached;        // files that go with the next entry
    json_t *always;             // names of tools that are not asked about again
    bool terminal;
    bool reasoned; // reasoning was shown, no answer yet
    bool quit;
    char *history;
    size_t used; // positions of the last prompt and its answer
    int cached;  // of the last prompt, in memory
    size_t kept; // of the last prompt, drawn before
    size_t drawn;
    double prompt_s, decode_s;
};

/* -- talk_turn.c -- */

/* Where Ctrl-C leaves its mark; catch: from now on it stops the turn, not the tool. */
volatile sig_atomic_t *talk_catch_interrupt(bool catch);
bool talk_interrupted(void);

/* text, with the attached files in front, becomes the user's message and is answered. */
int talk_ask(struct talk *s, struct slice text, struct err *e);
/* Answers until the model calls no more tools. What cannot be answered, or is stopped before it
 * is, is taken back: the conversation then has its first n messages. */
int talk_respond(struct talk *s, size_t n, struct err *e);
/* For calls.h: asks on the terminal whether a call may run. */
bool talk_allow(void *talk, const char *name, const char *arguments);

/* Positions that the conversation takes, after a change. A template may refuse what is no whole
 * conversation: then the next prompt tells. */
void talk_measure(struct talk *s);
/* On a terminal: a dimmed line. */
void talk_show(struct talk *s, const char *before, struct slice text);

/* -- talk_command.c -- */

/* A command when it is one; false: an entry for the model. */
bool talk_command(struct talk *s, struct slice entry, int *rc, struct err *e);
/* For lineedit.h: commands, their words, files and sessions. */
void talk_offer(void *talk, const char *line, struct lineedit_words *w);

/* The session with that name becomes the conversation. */
int talk_load(struct talk *s, struct err *e);
/* The session so far is left as it is: its keys and values, too. */
int talk_leave(struct talk *s, struct err *e);

#endif
