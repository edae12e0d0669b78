/* ask.h - the prompts of single questions, by a model's chat template. */
#ifndef RILL_TOOLS_ASK_H
#define RILL_TOOLS_ASK_H

#include <jansson.h>

#include "base/buf.h"
#include "rill.h"
#include "text/chat.h"
#include "text/reasoning.h"
#include "text/toolcall.h"

struct ask {
    struct chat *chat;
    const struct rill_model *model;
    const struct reasoning *reasoning;    // NULL: none
    const char *name;                     // of the template, in errors
    const char *system;                   // or NULL
    const char *prefill;                  // the answer begins so; or NULL
    json_t *set;                          // further variables of the template
    const struct toolcall_format *format; // how calls are written, or NULL
    const json_t *tools;                  // that requests have, or NULL
    char *source;                         // of the template
    struct rill_chat *public;             // the same for ask_calls, once it was asked for
};

/* source: a template, name what errors call it; source.p NULL: the model's own, or the default. */
int ask_open(struct ask *a, const struct rill_model *m, const char *name, struct slice source,
             struct err *e);
void ask_close(struct ask *a); // of a zeroed one, too
/* A variable of a template: NAME, mark and VALUE, which is JSON or else a string. */
int ask_variable(json_t *set, const char *text, char mark, struct err *e);

struct ask_prompt {
    struct buf text;
    int32_t *ids; // [n]
    size_t n;
    json_t *tools; // that it tells of, or NULL
    json_t *calls; // what may be called: {"tools", "tool_choice", "parallel_tool_calls"}
    bool open;     // it ends inside a reasoning block
};
void ask_prompt_fini(struct ask_prompt *p);

/* What an answer to p may be where tools may be called: a call is one of a listed tool, with
 * arguments that its schema allows; *out is NULL where there are no tools. */
int ask_calls(struct ask *a, const struct ask_prompt *p, struct rill_constraint **out,
              struct err *e);

/* A user's message. */
int ask_user(const struct ask *a, struct slice text, struct ask_prompt *out, struct err *e);
/* The same behind a conversation whose last token is given. */
int ask_next(const struct ask *a, struct slice text, int32_t last, struct ask_prompt *out,
             struct err *e);
/* A request with messages, or a list of them, as JSON. */
int ask_messages(const struct ask *a, struct slice json, struct ask_prompt *out, struct err *e);

#endif
