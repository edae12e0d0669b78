/* quantize.h - the parts of rill-quantize: types by name, which layers stay, recipes, and what it
 * prints. */
#ifndef RILL_TOOLS_QUANTIZE_H
#define RILL_TOOLS_QUANTIZE_H

#include <stdio.h>

#include "file/imatrix.h"
#include "file/source.h"
#include "quant/recipe.h"

/* -- types by name (quantize_types.c) -- */

/* E_USAGE with the nearest name when there is no such mix or format, or no encoder for it. */
int find_mix(const char *name, const struct mix **out, struct err *e);
int find_fmt(const char *name, size_t n, int *out, struct err *e);

enum list_form { FORM_TEXT, FORM_TSV, FORM_JSON };

/* The mixes, with bits per weight. */
int print_mixes(enum list_form form, struct err *e);
/* One tensor, or all of them: what it is and what it becomes. */
void print_change(enum list_form form, const char *name, const char *shape, const char *from,
                  const char *to, uint64_t before, uint64_t after, uint64_t weights);
double bits_per_weight(uint64_t bytes, uint64_t weights);

/* -- layers left out (quantize_prune.c) -- */

struct prune {
    int32_t *to;      // [n] a layer's new number, -1: left out; NULL: all stay
    uint32_t n, left; // layers before and after
};

/* text: "3", "3,7-9"; counted from 0. The model must have a block_count. */
int prune_init(struct prune *p, const char *text, const struct gguf *g, struct err *e);
void prune_fini(struct prune *p);
/* The name a tensor has afterwards, in out; false: it is left out. */
bool prune_name(const struct prune *p, struct slice name, char out[GGUF_MAX_NAME + 1]);
/* Copies a key: numbers of layers become those that are left, arrays of a value per layer lose the
 * others. */
int prune_key(const struct prune *p, struct gguf_out *w, const struct gguf_key *k, struct err *e);

/* -- recipes (quantize_recipe.c): a line "TENSOR TYPE" for each, edited by hand if wanted -- */

/* Takes wanted and to of n tensors out of a file; each must be named once. */
int recipe_read(const char *path, struct recipe_tensor *t, uint32_t n, struct err *e);
/* error: [n] as measured (below 0: it was not), or NULL. */
int recipe_write(const struct recipe_tensor *t, uint32_t n, const double *error, FILE *f,
                 struct err *e);
/* What general.file_type says of a model made so: the mix of the format most weights have. */
int recipe_file_type(const struct recipe_tensor *t, uint32_t n);

/* -- types that fit a number of bytes (quantize_size.c) -- */

struct team;
struct size_in {
    struct source *src;
    const uint32_t *from;    // [n] each tensor's place in src
    struct recipe_tensor *t; // [n] those with `chosen` keep their type
    uint32_t n;
    const struct imatrix *im; // or NULL
    struct team *team;
    uint64_t budget; // bytes of tensor data, padding included
    uint32_t alignment;
    bool search;                        // scales are searched for
    bool requantize;                    // of quantized tensors too
    bool (*may)(void *arg, uint32_t i); // tensor i may change its type
    void *arg;
    double *error; // [n] out: squared error over sum of squares, each column counted; -1: kept
};
/* Sets wanted and to so that the sum of the errors is least. The same for any team. */
int size_choose(struct size_in *s, struct err *e);

/* The importance of the columns of a tensor, [ne[2] x ne[0]]; NULL when there is none. */
int tensor_means(const struct imatrix *im, const char *path, const struct gguf_tensor *t,
                 float **out, struct err *e);

#endif
