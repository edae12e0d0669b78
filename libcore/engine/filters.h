/* filters.h - what narrows a choice of tokens down, and the draw from what is left.
 *
 * Candidates are worked on in double precision and in falling order of their logits, the lower id
 * first among equals, so that every sum has one order of additions.
 *
 * Sources: top-k, Fan et al. 2018 (arXiv 1805.04833); top-p, Holtzman et al. 2019 (arXiv
 * 1904.09751); min-p, Nguyen et al. 2024 (arXiv 2407.01082); typical, Meister et al. 2022 (arXiv
 * 2202.00666); top-n-sigma, Tang et al. 2024 (arXiv 2411.07641); dynamic temperature, Zhang et al.
 * 2024 (arXiv 2403.14541), in the form with range and exponent over the normalized entropy; XTC,
 * oobabooga/text-generation-webui, pull request 6335; mirostat, Basu et al. 2020 (arXiv
 * 2007.14966): version 1 is its algorithm 1, with an exponent estimated from the 100 likeliest
 * tokens; version 2 leaves out what surprises by more than mu.
 */
#ifndef RILL_ENGINE_FILTERS_H
#define RILL_ENGINE_FILTERS_H

#include "rill.h"

struct candidate {
    float logit;
    float key;  // scratch
    int32_t id;
};

/* What one draw goes by: random numbers for the token and for whether XTC acts; the surprise in
 * bits that mirostat has come to allow, which the draw brings up to date. */
struct chances {
    double token, xtc;
    double *mu;  // NULL: no mirostat
    int n_vocab; // tokens there are
};

/* One of c[0, n), n >= 1, by the filters of s in their order. */
int32_t filters_draw(struct candidate *c, int n, const struct rill_sampling *s, struct chances u);

/* Whether order names known filters, each once. */
bool filters_order_good(const unsigned char *order);

/* Puts the largest keys of the heap behind it, so that falling order runs from the back. */
void filters_heap(struct candidate *c, int n);
int filters_pop(struct candidate *c, int n); // the new size of the heap

#endif
