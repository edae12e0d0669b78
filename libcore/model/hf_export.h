/* hf_export.h - a GGUF model as a Hugging Face directory: what hfdir.h reads, written.
 *
 * Tensors get the original's names, and their rows and numbers go back to where the original has
 * them, by the architecture's table. config.json is made of the keys; when the directory does not
 * say again what the GGUF file says, it is removed and an error tells what differs. Vectors, which
 * GGUF files have in F32, get the type of the matrices where that loses nothing.
 */
#ifndef RILL_MODEL_HF_EXPORT_H
#define RILL_MODEL_HF_EXPORT_H

#include "file/source.h"

struct hf_export_opts {
    int type; // enum fmt_id: F32, F16, BF16; -1: as they are
    int (*step)(void *ctx, uint64_t done, struct err *e); // after each tensor; may be NULL
    void *ctx;
};

/* dir is made unless it is there and has no config.json. Quantized weights need a type. */
int hf_export(struct source *s, const char *dir, const struct hf_export_opts *o, struct err *e);

/* config.json (hf_export_config.c) and the tokenizer's files (hf_export_vocab.c), for hf_export.
 * made[n]: names of files that were written, for it to remove again. */
struct arch;
struct hparams;
struct exported {
    const char *dir;
    const struct gguf *g;
    const struct arch *arch;
    const struct hparams *h;
    const char *type; // "float32", "float16", "bfloat16"
    const char *made[16];
    int n_made;
    bool made_pooling; // the folder below
};
#define HF_POOLING_DIR "1_Pooling"
int hf_export_config(struct exported *x, struct err *e);
int hf_export_vocab(struct exported *x, struct err *e);
/* Writes a file of the directory. */
int hf_export_file(struct exported *x, const char *name, const void *p, size_t n, struct err *e);

#endif
