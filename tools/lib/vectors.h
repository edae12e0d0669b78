/* vectors.h - texts in, vectors or scores out: rill-run --embed and --rerank.
 *
 * Records are read as far ahead as there are places in the engine, worked on together, and answered
 * in their order.
 */
#ifndef RILL_TOOLS_VECTORS_H
#define RILL_TOOLS_VECTORS_H

#include "base/slice.h"
#include "rill.h"
#include "tools/lib/tool.h"

struct vectors_opts {
    const struct rill_model *model;
    int embed;      // enum rill_embed; RILL_EMBED_RANK: scores of pairs
    bool raw;       // vectors keep their length
    bool f32;       // little-endian numbers instead of text
    bool json;      // an object per record instead of an array
    bool special;   // control tokens written in a text are control tokens
    int parallel;   // requests at once
    bool has_query; // the prompt is each pair's first text; else a record is "query TAB document"
};

/* in NULL: the prompt is the only record; else it stands in front of each, a newline between where
 * it is not empty. What was answered before an error is on stdout. */
int vectors_run(struct rill_engine *g, const struct vectors_opts *o, struct records *in,
                struct slice prompt, struct err *e);

#endif
