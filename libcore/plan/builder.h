/* builder.h - what build.c and records.c share; nobody else includes it. */
#ifndef RILL_PLAN_BUILDER_H
#define RILL_PLAN_BUILDER_H

#include "base/map.h"
#include "plan/build.h"

struct builder {
    struct plan *plan;
    struct map names; // of weights
    struct err *e;
    int code;         // sticky
    int layer;
    bool adapted;     // matrices are followed by lora records
    bool steered;     // layers are followed by steer records
    uint64_t cap_op, cap_value, cap_kv, cap_group;
};

/* A zeroed record of a kind, with every place empty, to be filled and passed to b_emit. */
struct op b_op(const struct builder *b, enum op_kind kind);

/* Appends a record whose places are filled: marks its values' lives. */
void b_emit(struct builder *b, const struct op *op);

/* n elements, whatever the shape; F32. False after a failure, also an earlier one. w < 0 is fine:
 * an absent vector. */
bool b_need_vector(struct builder *b, wref w, int64_t n);
/* One matrix (n 1) or a stack of n with this many columns; rows 0: any. Returns its rows, or 0. */
int b_need_matrix(struct builder *b, wref w, int n, int64_t rows, int64_t cols);
/* x is a value with columns; cols 0: any. */
bool b_need_value(struct builder *b, val x, int cols, const char *what);

/* Adds bytes of recurrent state, 64-aligned; returns where it begins in a slot. */
uint32_t b_state(struct builder *b, uint64_t bytes);

#endif
