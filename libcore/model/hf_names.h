/* hf_names.h - what Hugging Face files call the tensors of a table (arch.h). */
#ifndef RILL_MODEL_HF_NAMES_H
#define RILL_MODEL_HF_NAMES_H

#include <stdbool.h>
#include <stdint.h>

enum { HF_MAX_NAME = 256, HF_N_NAMES = 10 };

/* "model.layers.%d.mlp.experts.%e.w1" with numbers, and "attn.x_%x" with the letter of one of
 * RWKV's mixes instead of an expert's number; false: too long. */
bool hf_spell(char out[HF_MAX_NAME], const char *pattern, int layer, int64_t expert);

/* Spelling i < HF_N_NAMES of a name: first the name itself, then as models with more than text, or
 * bare ones, have it. False: there is no such spelling of this name. */
bool hf_name(char out[HF_MAX_NAME], const char *name, int i);

#endif
