/* weights.h - an architecture's table of weights, spelt out for one model, and found in its file.
 */
#ifndef RILL_MODEL_WEIGHTS_H
#define RILL_MODEL_WEIGHTS_H

#include "model/arch.h"

/* One tensor of a model as its table has it. */
struct weight_spec {
    char name[64];                // GGUF name
    const struct weight_row *row; // of the table
    int32_t layer;                // -1: once per model
    int64_t n, rows, cols;
};

/* Spells out the tables: every weight a model of these numbers has, optional ones included, in the
 * table's order, layer by layer. *out is the caller's (mem_free). */
int weights_list(struct weight_spec **out, int *n, const struct arch *a, const struct hparams *h,
                 struct err *e);

/* Memory of our own behind weights that do not lie in the file as they are needed. */
struct weight_copy {
    void *p;
    struct weight_copy *next;
};
void *weight_copy_new(struct weight_copy **list, uint64_t bytes, struct err *e); // aligned to 64
void weight_copies_free(struct weight_copy *c);

/* Finds the weights in a file: *out (the caller's) has one entry per tensor that is there, its
 * part[0] pointing into the file. A missing or misshapen tensor is E_FORMAT. Vectors come as F32,
 * converted into *copies when the file has them otherwise. */
int weights_find(struct weight **out, int *n, struct weight_copy **copies, const struct gguf *g,
                 const struct arch *a, const struct hparams *h, struct err *e);

/* Adds a weight of F32 numbers made by us; *data has n * rows * cols of them to be filled. */
int weights_add(struct weight **w, int *n, struct weight_copy **copies, const char *name, int64_t m,
                int64_t rows, int64_t cols, float **data, struct err *e);

/* Decodes row r of matrix m of a weight to F32. False: its format cannot be decoded. */
bool weight_row_f32(const struct weight *w, int64_t m, int64_t r, float *out);

#endif
