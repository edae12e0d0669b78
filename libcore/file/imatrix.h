/* imatrix.h - importance matrices: how much each input column of each weight matrix counts.
 *
 * An entry holds, for one tensor, the sums of the squares of what came in at each column while a
 * model read some text, and over how many rows. Files are GGUF files with general.type "imatrix";
 * the older binary kind can be read too.
 */
#ifndef RILL_FILE_IMATRIX_H
#define RILL_FILE_IMATRIX_H

#include "base/err.h"
#include "base/map.h"
#include "base/slice.h"

struct imatrix_entry {
    char *name;    // of the tensor: "blk.0.attn_q.weight"
    uint32_t cols; // its row length
    uint32_t mats; // experts; else 1
    float *sum;    // [mats x cols] sums of squares
    float *count;  // [mats] rows summed
};

struct imatrix {
    struct imatrix_entry *entry; // [n], by name
    uint32_t n, cap;
    uint32_t chunks;     // of text read
    uint32_t chunk_size; // tokens of one
    char **dataset;      // [n_dataset] the names of the texts
    uint32_t n_dataset;
    struct map by_name;
};

int imatrix_new(struct imatrix **out, struct err *e);
void imatrix_free(struct imatrix *m); // accepts NULL

/* Sums that are not finite or below 0, and entries whose parts do not fit, are E_FORMAT. */
int imatrix_open(struct imatrix **out, const char *path, struct err *e);
int imatrix_save(const struct imatrix *m, const char *path, struct err *e);

/* NULL: there is none. Adding makes it when it is not there; other sizes are E_FORMAT. */
struct imatrix_entry *imatrix_find(const struct imatrix *m, struct slice name);
int imatrix_add(struct imatrix *m, struct slice name, uint32_t cols, uint32_t mats,
                struct imatrix_entry **out, struct err *e);
int imatrix_add_dataset(struct imatrix *m, struct slice name, struct err *e);

/* Adds the sums, counts and chunks of from. */
int imatrix_merge(struct imatrix *m, const struct imatrix *from, struct err *e);

/* The mean squares [mats x cols]: what encoders take. A matrix that was never used counts 1. */
void imatrix_means(const struct imatrix_entry *x, float *out);

#endif
