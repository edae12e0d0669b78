/* recipe.h - the standard mixes: which format each tensor of a model gets.
 *
 * A mix such as Q4_K_M is a base format and a table of exceptions by what a tensor is for, how deep
 * in the model it lies and what kind of model it is. The choices are those of the field, so that
 * files have the sizes and the quality people expect of the name.
 */
#ifndef RILL_QUANT_RECIPE_H
#define RILL_QUANT_RECIPE_H

#include <stdbool.h>

#include "base/err.h"
#include "base/slice.h"
#include "quant/quant.h"

struct mix {
    const char *name;   // "Q4_K_M"
    int file_type;      // what general.file_type says
    int fmt;            // an enum fmt_id: what most tensors get; FMT_COPY: each its own
    const char *remark; // what it is good for
};

enum { FMT_COPY = -1 };

/* Mix i, in the order tools list them; NULL past the end. Names are matched in any case; Q3_K, Q4_K
 * and Q5_K stand for their medium mixes. */
const struct mix *mix_at(size_t i);
const struct mix *mix_by_name(struct slice name);

/* What the choice depends on beside the tensors. */
struct recipe_model {
    struct slice arch; // "llama"
    uint32_t n_layer;
    uint32_t n_head, n_head_kv; // of the first layer
    uint32_t n_expert;
};

struct recipe_tensor {
    struct slice name;
    int fmt; // what it has; an id of no known format is kept
    uint64_t ne[4];

    int to;             // out: what it gets
    int wanted;         // out: what it would get if its rows fitted; else the same
    bool chosen;        // out: by a pattern, --output-tensor-type or --token-embedding-type
    bool needs_weights; // out: bad without an importance matrix
};

struct recipe_args {
    const struct mix *mix;
    int output_fmt, embedding_fmt; // FMT_COPY: as the mix says
    bool pure;                     // the base format for all
    bool leave_output;             // output.weight keeps what it has
    bool has_weights;              // an importance matrix will be used
    /* NULL, or: the format the user wants for a tensor of this name, FMT_COPY for none */
    int (*pattern)(void *arg, struct slice name);
    void *arg;
};

/* Fills the out fields of n tensors, given in any order. */
int recipe_choose(struct recipe_tensor *t, uint32_t n, const struct recipe_model *m,
                  const struct recipe_args *a, struct err *e);

/* Whether a tensor may get another type at all: matrices may, norms, routers and the like not. */
bool recipe_may_change(const struct recipe_tensor *t, bool leave_output);
/* Whether a format is bad for a tensor without an importance matrix. */
bool recipe_needs_weights(struct slice name, int fmt);

/* The nearest format whose blocks fit rows of cols weights: fmt itself where they do. */
int recipe_fitting(int fmt, uint64_t cols);

#endif
