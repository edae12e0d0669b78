/* batch.h - a file of requests through one engine: lines in, a reply a line out.
 *
 * Lines are read only as far as the engine has use for them, so memory does not grow with the
 * input. Replies come in the order of the lines unless asked otherwise.
 */
#ifndef RILL_TOOLS_BATCH_H
#define RILL_TOOLS_BATCH_H

#include "tools/lib/api.h"

struct batch_opts {
    struct api_opts api;
    const char *out; // file to append to, NULL: standard output
    bool resume;     // skip what out already answers, and cut its torn last line
    bool unordered;  // replies as they are finished
    bool timings;
    bool verify;       // every answer is made once more alone and compared
    int shard, shards; // only every shards-th line, from the shard-th on (from 1); 0: all
    uint64_t seed;     // of requests without one, with their id
    int parallel;      // sequences of the engine
};

struct batch_result {
    uint64_t lines, failed, skipped, differ;
};

/* All of standard input. Negative: input, output or device failed and it could not go on. */
int batch_run(struct rill_engine *g, const struct batch_opts *o, struct batch_result *out,
              struct err *e);

/* "2/8", or "auto": from SLURM_ARRAY_TASK_ID and _COUNT and the like. */
int batch_shard(const char *text, int *shard, int *shards, struct err *e);

#endif
