/* maskbench.h - rill-bench --mask: schemas with instances, compiled, judged and timed. */
#ifndef RILL_TOOLS_MASKBENCH_H
#define RILL_TOOLS_MASKBENCH_H

#include "text/tok.h"
#include "tools/lib/opt.h"

/* Each line of the files: {"schema": ..., "tests": [{"valid": true, "data": ...}, ...]}. */
int mask_bench(const struct tok *t, const struct opt_list *files, bool json, struct err *e);

#endif
