/* lora.h - a LoRA adapter: for some of a model's matrices W two thin ones, so that
 *
 *     W + s * scale * (B A)        A [rank x columns], B [rows x rank]
 *
 * is the adapted matrix; s is the user's choice (1: as trained). Read from a GGUF adapter file or
 * from a directory as PEFT writes it (adapter_config.json, adapter_model.safetensors), whose rows
 * are put in the order that the model's GGUF tensors have.
 */
#ifndef RILL_MODEL_LORA_H
#define RILL_MODEL_LORA_H

#include "model/weights.h"

struct buf;
struct gguf;
struct lora;

/* Whatever the file has them in, A and B come as F32. Experts have one A and one B each, and where
 * an adapter leaves some of a layer's experts alone theirs are zero. The table of tokens is one row
 * per token here as everywhere. */
struct lora_pair {
    char name[64]; // of the weight: "blk.0.attn_q.weight"
    int64_t n;     // matrices: experts or heads, else 1
    int64_t rank, rows, cols;
    float alpha; // as in the file
    float scale; // what comes of it: alpha / rank
    int type;    // enum fmt_id: what the file had A in
    float *a;    // [n * rank * cols]
    float *b;    // [n * rows * rank]
};

struct lora {
    char *path;
    struct lora_pair *pair; // [n_pair] in the order of the architecture's table
    uint32_t n_pair;
    struct weight_copy *copies;
};

/* path: a GGUF adapter, a PEFT directory, or hf:org/name[:file] for either. Every tensor in it must
 * belong to a matrix that a model of this architecture and these numbers may have; whether a given
 * model has it (output.weight may be tied) is for the caller to see. Adapters that are more than
 * pairs (DoRA, trained biases, whole modules) are E_UNSUPPORTED. */
int lora_open(struct lora **out, const char *path, const struct arch *a, const struct hparams *h,
              struct err *e);
/* The same for a model's GGUF head; where that has no tensors, its keys must have the size of the
 * vocabulary. arch (may be NULL) gets the architecture. */
int lora_open_for(struct lora **out, const char *path, const struct gguf *model,
                  const struct arch **arch, struct err *e);
void lora_close(struct lora *l); // accepts NULL

/* The pair of a weight; NULL: the adapter has none. */
const struct lora_pair *lora_find(const struct lora *l, struct slice name);

/* Adds s * scale * (B A) to row r of matrix m: row has p->cols numbers. */
void lora_add_row(const struct lora_pair *p, float s, int64_t m, int64_t r, float *row);

/* Writes a GGUF adapter as other programs read it. type: an enum fmt_id that weights can be encoded
 * in, or -1: as they were; rows that do not fit its blocks become F16. Pairs whose alpha is not
 * that of the first have what they differ by in their B. E_UNSUPPORTED: there is no such encoder
 * here. */
int lora_write(const struct lora *l, const struct arch *a, const char *path, int type,
               struct err *e);

/* Whether the path is a PEFT directory. *base (may be NULL) gets base_model_name_or_path, or stays
 * empty. Negative: adapter_config.json cannot be read. */
int lora_is_dir(const char *path, struct buf *base, struct err *e);

#endif
