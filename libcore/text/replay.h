/* replay.h - the tokens that were sampled for an assistant turn are the tokens of that turn in the
 * next prompt.
 *
 * Rendering a conversation again and tokenizing the text gives other ids than the model drew: a
 * model may spell a word in pieces the tokenizer would not choose, and templates trim, reorder and
 * strip. From the first other id on, nothing of the key/value memory can be used again. So finished
 * turns are kept (text and ids), and where the next prompt's text of that turn is the text that was
 * sampled, its ids are taken instead of tokenizing. Where the template changed it, the unchanged
 * front and back keep their ids and what is between them is tokenized: whatever the spans say, the
 * bytes of the result are the bytes of the prompt.
 *
 * Knows nothing of templates, chats or key/value memory.
 */
#ifndef RILL_TEXT_REPLAY_H
#define RILL_TEXT_REPLAY_H

#include "text/tok.h"

/* A turn as it was sampled. text: the bytes of the tokens, control tokens as they are written. */
struct replay_turn {
    struct slice text;
    const int32_t *id;   // [n]
    const uint32_t *end; // [n] where in text the token ends
    size_t n;
};

/* Where in a prompt's text the turn is, from behind the generation prompt to before what ends the
 * turn (or behind it). turn NULL: not known, tokenized. */
struct replay_span {
    size_t from, to;
    const struct replay_turn *turn;
};

/* Adds the ids of a prompt to out. Spans ascend and do not overlap (E_RANGE). content and flags as
 * for tok_encode_parts. made, where not NULL, gets a byte for each id that out gets: 1 if it was
 * sampled. On failure both are as they were. */
int replay_encode(const struct tok *t, struct slice prompt, const struct byte_span *content,
                  size_t n_content, const struct replay_span *span, size_t n, unsigned flags,
                  struct tok_ids *out, struct buf *made, struct err *e);

/* Finds the turns of a rendered prompt: each occurrence of head (what a generation prompt adds, for
 * instance "<|im_start|>assistant\n") begins one, and it goes to the next occurrence of tail (what
 * ends it; empty: to the next head or the end). turn[i], i < n_turn, goes with the i-th; NULL: not
 * known. Returns the number of spans put into out (at most n_turn). A text that contains head or
 * tail itself can make spans wrong, which costs reuse but never changes the prompt's bytes. */
size_t replay_find(struct slice prompt, struct slice head, struct slice tail,
                   const struct replay_turn *const *turn, size_t n_turn, struct replay_span *out);

/* -- finished turns, for as long as there is room -- */

struct replay;

/* Keeps at most `bytes` of turns; the one unused for longest goes first. */
int replay_new(struct replay **out, size_t bytes, struct err *e);
void replay_free(struct replay *r); // accepts NULL

/* Keeps a turn under a key the caller will have again (the answer's text and its calls' ids, say).
 * A turn of the same key is replaced. One that is larger than the store is not kept (0). */
int replay_put(struct replay *r, struct slice key, const struct tok *t, const int32_t *id, size_t n,
               struct err *e);
/* The turn, or NULL. It lives until the next replay_put. */
const struct replay_turn *replay_get(struct replay *r, struct slice key);

#endif
