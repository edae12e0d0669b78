/* search.h - better scales for blocks that are made: layout and size stay, the error drops.
 *
 * An encoder looks for the scale of each part, and rounds scales and their common factor
 * afterwards. Here what came of it is gone over: scales and mins of the parts are moved, codes
 * rounded again, common factors fitted again, until nothing gets better. The error is the sum of
 * search_weigh()'s weights times the squared differences; no block is ever worse than it was.
 */
#ifndef RILL_QUANT_SEARCH_H
#define RILL_QUANT_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

/* Formats with scales that can be moved; others are left as they are. */
bool search_exists(int fmt);

/* How much each of the n weights of a block counts: all alike, or where columns count differently
 * by that and by their size, as encoders have it: squared differences counted by the columns alone
 * are less a measure of what the model loses (measured: docs/quality.md). */
void search_weigh(int n, const float *in, const float *column, float *weight);

/* A row of n weights (whole blocks) and the blocks its encoder made of it, which may change.
 * column: [n] how much each counts, none below 0; NULL: all alike. Needs thread_ieee(). */
void search_row(int fmt, const float *in, const float *column, uint64_t n, void *blocks);

#endif
