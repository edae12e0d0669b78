/* api_chat.h - a model's chat template as the API needs it: messages to ids, and how the model
 * writes tool calls and reasoning. Read-only once open: any number of threads may use one.
 */
#ifndef RILL_TOOLS_API_CHAT_H
#define RILL_TOOLS_API_CHAT_H

#include <jansson.h>

#include "base/buf.h"
#include "rill.h"
#include "text/toolcall.h"

struct api_chat;

struct api_prompt {
    int32_t *ids; // [n]
    size_t n;
    unsigned char *types; // [n] of a pair of texts (rill.h), or NULL
    struct buf text;
    bool open; // it ends inside a reasoning block
};
void api_prompt_fini(struct api_prompt *p);

/* source: a template, name what errors call it; source.p NULL: the model's own, or the default.
 * format: how calls are written, one of rill-toolcalls(7), "generic" for templates that know no
 * tools; NULL: as the template has it. The model and the name must outlive the chat. */
int api_chat_open(struct api_chat **out, const struct rill_model *m, const char *name,
                  struct slice source, const char *format, struct err *e);
void api_chat_close(struct api_chat *c); // accepts NULL

/* Text that ends an answer where no token does, or NULL. */
const char *api_chat_stop(const struct api_chat *c);
bool api_chat_is_default(const struct api_chat *c);
const struct reasoning *api_chat_reasoning(const struct api_chat *c); // NULL: none
/* How calls are written; NULL: not known. */
const struct toolcall_format *api_chat_format(const struct api_chat *c);

/* The prompt for a body with messages. tools: those it is told of, or NULL (the body's own are not
 * looked at). when: what templates that tell the date are to take for now; 0: now. */
int api_chat_prompt(const struct api_chat *c, const json_t *body, const json_t *tools,
                    long long when, struct api_prompt *out, struct err *e);

/* What an answer to p may be where tools may be called: choice is the body's tool_choice or NULL,
 * form its response_format or NULL, as rill_chat_tools has them. */
int api_chat_constraint(const struct api_chat *c, const json_t *tools, const json_t *choice,
                        const json_t *form, bool one_call, const struct api_prompt *p,
                        struct rill_constraint **out, struct err *e);

/* A parser for answers to a prompt. */
int api_chat_parser(const struct api_chat *c, struct toolcall **out,
                    const struct toolcall_format *format, const json_t *tools, bool open,
                    uint64_t seed, struct err *e);
/* Whether a control token is one of the marks that the parser wants to see. */
bool api_chat_is_mark(const struct api_chat *c, int32_t id);

#endif
