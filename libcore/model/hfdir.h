/* hfdir.h - a Hugging Face directory as a model, and whatever a user may name as one.
 *
 * config.json, safetensors files and the tokenizer's files become a struct source with the keys
 * and tensors a GGUF file of the model has. Weights stay where they lie; what GGUF arranges
 * otherwise is arranged row by row when it is asked for.
 */
#ifndef RILL_MODEL_HFDIR_H
#define RILL_MODEL_HFDIR_H

#include "file/source.h"
#include "text/tok.h"

enum {
    HF_VOCAB_ONLY = 1 << 8, // no weights; beside the flags of gguf_open
};

/* Opens what -m names: a GGUF file, a directory with config.json, or hf:org/name[:file] out of the
 * local cache (HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub). */
int model_source(struct source **out, const char *path, unsigned flags, struct err *e);

/* Makes tensor->p of every tensor valid, in memory of the source's where it must. */
int model_source_load(struct source *s, struct err *e);

/* The tokenizer; of a directory as its own files have it. */
int model_source_vocab(struct tok **out, const struct source *s, struct err *e);

/* Tensors of a directory that the model does not use, for a note to the user; of other sources 0.
 * *first names one of them. */
uint32_t model_source_unused(const struct source *s, struct slice *first);

#endif
