/* chat.h - a conversation in JSON to the prompt a model was trained on.
 *
 * A chat is a parsed chat template and what was found out about it by rendering small
 * conversations: whether it shows a system message, takes content in parts or only as a string,
 * wants arguments of tool calls as an object or as text, how it writes calls and reasoning.
 * Requests are brought into the form it wants.
 *
 * A request is an object as the chat completions API has it:
 *
 *   messages                a list of {role, content, name, reasoning_content, tool_calls,
 *                           tool_call_id}; content is a string, null, or a list of text parts;
 *                           roles: system, developer, user, assistant, tool, and what the template
 *                           itself spells
 *   tools, documents        lists, or null
 *   add_generation_prompt   true unless said otherwise: the assistant's turn is begun
 *   continue_final_message  the last message, the assistant's, is begun and goes on
 *   enable_thinking, reasoning_effort, date ("2025-07-10"; else today)
 *   chat_template_kwargs    an object of further variables of the template
 *
 * Where the template shows no system message, its text goes in front of the next user message, a
 * newline between.
 *
 * A rendered prompt says which bytes are content (jinja.h). chat_encode looks for control tokens in
 * the rest only: text of a message, a tool's name or description that spells "<|im_end|>" is
 * tokenized as the text it is. Roles are the template's (they are known words), so are the texts of
 * BOS and EOS. Tokens of the kind user-defined have no power over turns and are found everywhere.
 */
#ifndef RILL_TEXT_CHAT_H
#define RILL_TEXT_CHAT_H

#include "text/jinja.h"
#include "text/tok.h"
#include "text/toolcall.h"

struct chat;

/* source empty: the default, ChatML where the vocabulary has <|im_start|>, else lines that begin
 * with "User: " and "Assistant: ". name is what errors call the template. t (may be NULL: no BOS
 * and EOS) must outlive the chat. A chat is read-only afterwards. */
int chat_open(struct chat **out, const char *name, struct slice source, const struct tok *t,
              struct err *e);
void chat_close(struct chat *c); // accepts NULL

/* For templates that know no tools, before the first request: from now on the system message tells
 * of them, calls are the assistant's text in the format "generic" (toolcall.h), and results are
 * text of the user. */
void chat_prompt_tools(struct chat *c);

bool chat_is_default(const struct chat *c);
const char *chat_stop(const struct chat *c);  // text that ends an answer, or NULL (end tokens do)
bool chat_knows_tools(const struct chat *c);  // else a request with tools is E_UNSUPPORTED
/* How answers write calls and mark reasoning: a row of the tables (toolcall.h, reasoning.h), or one
 * derived from the template (derive.h), which lives as long as the chat; NULL: not known, or
 * none. */
const struct toolcall_format *chat_calls(const struct chat *c);
const struct reasoning *chat_reasoning(const struct chat *c);
bool chat_shows_system(const struct chat *c); // else system text goes into the user's
const struct jinja *chat_template(const struct chat *c);

/* now: seconds since 1970, for templates that ask for the date. On failure (E_FORMAT: the request,
 * or what the template raised; E_UNSUPPORTED: tools or parts it has no place for; E_RANGE; E_NOMEM)
 * *out is empty. */
int chat_render(const struct chat *c, const json_t *request, int64_t now, struct jinja_text *out,
                struct err *e);

/* What a request's messages add behind a conversation that stands already and ends with an answer
 * whose end token is not there yet. E_UNSUPPORTED where the template does not show answers as they
 * are. */
int chat_render_next(const struct chat *c, const json_t *request, int64_t now,
                     struct jinja_text *out, struct err *e);

/* Adds the ids of a rendered prompt to out, BOS in front where the vocabulary wants one and the
 * template has written none. Needs the tokenizer. */
int chat_encode(const struct chat *c, const struct jinja_text *text, struct tok_ids *out,
                struct err *e);

/* A request of one user message, with a system message in front where system is not NULL. */
json_t *chat_ask(const char *system, struct slice user); // NULL: no memory, or no UTF-8

#endif
