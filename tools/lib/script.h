/* script.h - answers from a file, with times from it, in the place of an engine: what stands
 * around a model is tried without one.
 *
 * The file is JSON: {"answers": [{"text": ...}, ...], ...} with these members, all optional but
 * answers and text:
 *
 *   prompt_ms        before the first token of an answer (0)
 *   prompt_token_us  the same, for each token of the prompt (0)
 *   token_ms         before each further token (0)
 *   parallel         answers at once (256)
 *   fail_after       tokens that are drawn before the device fails (never)
 *   fail_open        how often it can be opened again when it has failed (always)
 *   answers[].text   what is said, cut into the vocabulary's tokens
 *   answers[].when   only where the prompt ends with a text that has this in its last 4,000 bytes;
 *                    the last such entry is taken, else those without it in turn
 *   answers[].repeat how often the text is said (1)
 *   answers[].finish "stop" or "length"
 */
#ifndef RILL_TOOLS_SCRIPT_H
#define RILL_TOOLS_SCRIPT_H

#include "rill.h"

struct script;
struct script_engine;

int script_read(struct script **out, const char *path, struct err *e);
void script_free(struct script *s); // accepts NULL

/* The calls of an engine. A step waits for what is due next, at most a millisecond, and may return
 * 0 while something runs. */
int script_open(struct script_engine **out, const struct script *s, const struct rill_model *m,
                struct err *e);
void script_close(struct script_engine *g); // accepts NULL
int script_submit(struct script_engine *g, const struct rill_request *r, int *number,
                  struct err *e);
int script_step(struct script_engine *g, struct rill_event *ev, int max, struct err *e);
void script_cancel(struct script_engine *g, int number);
/* After a failed step: empty again. */
int script_reopen(struct script_engine *g, struct err *e);
void script_stats(const struct script_engine *g, struct rill_stats *out);

#endif
