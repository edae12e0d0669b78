/* ops.h - the table of record kinds: names, places, cost formulas (ops.def). */
#ifndef RILL_PLAN_OPS_H
#define RILL_PLAN_OPS_H

#include "plan/plan.h"

struct op_info {
    const char *name;
    int n_in, n_w;
    const char *text;
};
const struct op_info *op_info(int kind);
const char *op_name(int kind); // "?": none
const char *act_name(int act);

struct op_cost {
    double flops;
    double bytes;
};
/* Cost of a record for n_t rows (n_s with logits) that see n_pos positions in all; pages shared
 * between rows of one sequence count once. */
struct op_cost op_cost(const struct plan *p, const struct op *op, int64_t n_t, int64_t n_s,
                       int64_t n_pos);

#endif
