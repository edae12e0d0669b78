/* vocab.h - the tokenizer of a model file. */
#ifndef RILL_MODEL_VOCAB_H
#define RILL_MODEL_VOCAB_H

#include "file/gguf.h"
#include "text/tok.h"

/* Builds the tokenizer that a GGUF file's tokenizer.ggml keys describe; g may be closed afterwards.
 * Files without weights will do. Special ids outside the vocabulary count as absent. A file that
 * says it has no vocabulary gives one of model TOK_NONE. Errors name the file and the key. */
int vocab_from_gguf(struct tok **out, const struct gguf *g, struct err *e);

#endif
