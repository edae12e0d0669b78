/* reasoning.h - the marks around a model's reasoning, and what to do with what lies between.
 *
 * A row of the table names a pair of marks. Templates are asked which pair they use; the rendered
 * prompt is asked whether it ends inside an open block (many templates open it themselves). The
 * incremental reading of reasoning in an output is toolcall.h's; here is what concerns whole texts,
 * histories and budgets. Knows nothing of tokens and templates' meaning.
 */
#ifndef RILL_TEXT_REASONING_H
#define RILL_TEXT_REASONING_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

/* What a model is made to say when its time is over. */
#define REASONING_ENOUGH "\n\nI have thought about this long enough and answer now.\n"

struct reasoning {
    const char *name;   // "think"
    const char *open;   // begins a block
    const char *close;  // ends it
    const char *detect; // in a template: it uses this row; NULL: derived from one (derive.h)
    /* Marks around the answer that are no part of it, or NULL. */
    const char *answer_open;
    const char *answer_close;
    /* What to put behind the reasoning when its budget is spent: a sentence, the close mark, and
     * what the answer begins after. */
    const char *spent;
    bool trim;     // white space inside the marks belongs to them
    bool channels; // gpt-oss: blocks are messages of the channel "analysis"
};

/* A row by its name, or by index (NULL past the end). */
const struct reasoning *reasoning_find(const char *name);
const struct reasoning *reasoning_at(size_t i);

/* The row a template's source uses, or NULL. */
const struct reasoning *reasoning_detect(struct slice template_text);

/* Whether a rendered prompt ends inside an open block, so that the output begins in it. White space
 * after the open mark is allowed. */
bool reasoning_is_open(const struct reasoning *r, struct slice prompt);

/* Kept: shown apart from the answer, and part of the history. Hidden: not shown, but part of the
 * history. Stripped: neither. */
enum reasoning_policy { REASONING_KEEP, REASONING_HIDE, REASONING_STRIP };

int reasoning_policy_parse(enum reasoning_policy *out, const char *name, struct err *e);
static inline bool reasoning_shown(enum reasoning_policy p)
{
    return p == REASONING_KEEP;
}
static inline bool reasoning_in_history(enum reasoning_policy p)
{
    return p != REASONING_STRIP;
}

/* Adds text to out without its reasoning blocks (an unfinished one included), their marks and the
 * white space behind a close mark. Without a block the text is as it was. r may be NULL. */
void reasoning_strip(const struct reasoning *r, struct slice text, struct buf *out);

/* Counts a turn's reasoning tokens. */
struct reasoning_budget {
    int max; // tokens; negative: no limit
    int used;
    bool closed; // the end was injected
};

/* One more token was drawn; inside: the block is open after it. The text to inject now (make these
 * tokens the next ones instead of drawing them), or an empty slice. Injects at most once a turn. */
struct slice reasoning_count(struct reasoning_budget *b, const struct reasoning *r, bool inside);

#endif
