/* hf_vocab.h - the tokenizer of a Hugging Face directory, from whichever files it has. */
#ifndef RILL_MODEL_HF_VOCAB_H
#define RILL_MODEL_HF_VOCAB_H

#include "base/buf.h"
#include "base/file.h"
#include "file/gguf.h"
#include "text/tok.h"

struct config;
struct hf_vocab;

/* Reads the directory's tokenizer files; a directory without any gives one of ids only. */
int hf_vocab_open(struct hf_vocab **out, const char *dir, struct err *e);
void hf_vocab_close(struct hf_vocab *v); // accepts NULL

/* Puts the tokenizer.* keys a GGUF file of it has, and the chat template. */
int hf_vocab_keys(struct hf_vocab *v, struct gguf_out *w, const struct config *c, struct err *e);

/* Whether there is more to the tokenizer than the keys can say: then hf_vocab_tok makes it, once.
 */
bool hf_vocab_own(const struct hf_vocab *v);
int hf_vocab_tok(struct tok **out, struct hf_vocab *v, struct err *e);

#endif
