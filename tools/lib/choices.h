/* choices.h - labels scored behind a prompt: which of them the model finds how likely. */
#ifndef RILL_TOOLS_CHOICES_H
#define RILL_TOOLS_CHOICES_H

#include "base/buf.h"
#include "rill.h"

#define CHOICES_MAX 128

struct choice {
    char *label;
    size_t n;
    int32_t *ids; // [n_ids] as they go on behind a prompt
    size_t n_ids;
    double logprob; // of all its tokens
    double share;   // of the labels' probability together
};

struct choices {
    struct choice *at; // [n]
    int n;
};

/* text: labels between commas; "\," is a comma in a label. E_USAGE when there are fewer than two,
 * or an empty one, or one twice. */
int choices_open(struct choices *c, const struct rill_model *m, const char *text, struct err *e);
void choices_fini(struct choices *c); // accepts a zeroed one

/* Fills in the scores for a prompt. The prompt is computed once, the labels in one step behind it;
 * base: what all its requests are like (adapters); its ids are not looked at. */
int choices_score(struct choices *c, struct rill_engine *g, const struct rill_request *base,
                  const int32_t *ids, size_t n_ids, struct err *e);

/* A line for each label: its probability among them, its log-probability, the label; or one JSON
 * object. */
void choices_put(const struct choices *c, bool json, struct buf *out);

#endif
