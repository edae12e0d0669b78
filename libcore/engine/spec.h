/* spec.h - tokens proposed ahead of the model, from text that repeats itself.
 *
 * What is proposed changes no answer: the engine computes the proposed rows with the true one,
 * draws each position with that position's own random numbers, and keeps a proposal only while it
 * is equal to what was drawn. Proposals come from the longest end of the text that occurred before,
 * in the text itself or in a corpus.
 *
 * Sources: Leviathan et al. 2023 (arXiv 2211.17192) for verification in one step; Saxena 2023,
 * "Prompt Lookup Decoding", for the text itself as a source.
 */
#ifndef RILL_ENGINE_SPEC_H
#define RILL_ENGINE_SPEC_H

#include <stdint.h>

#include "base/err.h"

#define SPEC_LEAST 2  // tokens that must have occurred before, where nobody knows better
#define SPEC_MOST  24 // tokens compared

struct corpus;

/* ids: copied. */
int corpus_new(struct corpus **out, const int32_t *ids, int n, struct err *e);
void corpus_free(struct corpus *c); // accepts NULL

/* Up to most tokens into out that may follow ids[0, n), of which the last ones, at least `least`,
 * occurred before: how many. corpus may be NULL. *lag is kept for the text from one call to the
 * next: how far back stands what it repeats, 0: nothing. Where it departs from that - a word
 * changed, put in or left out - it is taken up again nearby though the end did not occur before;
 * what a caller that wants surer proposals (least above SPEC_LEAST) gets none of. Allocates
 * nothing. */
int spec_propose(const struct corpus *corpus, const int32_t *ids, int n, int least, int most,
                 int32_t *lag, int32_t *out);

#endif
