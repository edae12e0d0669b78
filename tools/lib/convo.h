/* convo.h - a conversation with a model: its messages, the prompt they make, what was answered.
 *
 * Messages are JSON as the chat completions API has them. Each answer keeps the ids that were drawn
 * for it, so that the next prompt uses those where the template renders the same text. A session is
 * a file of one JSON object per line: a head, then the messages, those of the assistant with its
 * ids and where they stood ("rill": {"at", "ids"}).
 */
#ifndef RILL_TOOLS_CONVO_H
#define RILL_TOOLS_CONVO_H

#include <jansson.h>

#include "base/buf.h"
#include "rill.h"
#include "text/chat.h"
#include "text/replay.h"
#include "text/toolcall.h"

struct convo_turn; // an answer: where it stood, its ids

struct convo {
    struct chat *chat;
    const struct tok *tok;
    const struct toolcall_format *format; // of tool calls; NULL: none
    const struct reasoning *reasoning;    // NULL: none
    enum reasoning_policy policy;
    json_t *messages;
    json_t *tools;           // or NULL
    json_t *set;             // further variables of the template
    struct buf text;         // the last prompt and what was drawn behind it
    struct tok_ids ids;      // the same in tokens
    struct buf made;         // [ids.n] 1: it was drawn
    bool fresh;              // loaded, and no prompt was made yet: turns are where the file says
    struct convo_turn *turn; // [n_turn] one per message
    size_t n_turn, cap_turn;
    struct replay *store;
    uint64_t serial;
    int calls; // made so far, over all answers
};

/* name is what errors call the template, source its text (empty: the default). */
int convo_open(struct convo *c, const char *name, struct slice source, const struct tok *tok,
               struct err *e);
void convo_close(struct convo *c); // of a zeroed one too

/* Adds a message (taken, also on failure); drops all behind the first n. */
int convo_add(struct convo *c, json_t *take, struct err *e);
void convo_cut(struct convo *c, size_t n);
size_t convo_count(const struct convo *c);
const char *convo_role(const struct convo *c, size_t i); // "user"; "" past the end
/* The system message, the first; text empty: none. */
int convo_system(struct convo *c, struct slice text, struct err *e);

/* The prompt for the next answer, into ids and made. open: it ends inside a reasoning block. */
int convo_prompt(struct convo *c, bool *open, struct err *e);
/* The same for the conversation as it stands, without a turn begun: how long it is. */
int convo_measure(struct convo *c, struct err *e);
size_t convo_kept(const struct convo *c); // how many of ids were drawn

/* A JSON string; what is no UTF-8 becomes U+FFFD. */
json_t *convo_text(const struct buf *b);

/* The answer to that prompt. */
struct convo_answer {
    struct buf content, reasoning;
    json_t *calls;        // a list of {id, type, function: {name, arguments}}
    struct buf arguments; // of the call being read
};
void convo_answer_fini(struct convo_answer *a);
/* Adds an event of the parser. */
int convo_event(struct convo_answer *a, const struct toolcall_event *ev, struct err *e);
/* The answer becomes a message, with the ids that were drawn for it. */
int convo_answered(struct convo *c, const struct convo_answer *a, const int32_t *ids, size_t n,
                   struct err *e);

int convo_save(const struct convo *c, const char *path, const char *model, struct err *e);
/* Replaces the messages and variables. *model is the one the session was made with (mem_free). */
int convo_load(struct convo *c, const char *path, char **model, struct err *e);

#endif
