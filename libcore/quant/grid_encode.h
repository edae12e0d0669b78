/* grid_encode.h - encoding the formats whose groups of weights are points of a list: IQ1 to IQ3.
 *
 * Not every group of levels is a point of the list. A search holds, for each that is none, the
 * points around it; it is made once and read by any number of threads.
 */
#ifndef RILL_QUANT_GRID_ENCODE_H
#define RILL_QUANT_GRID_ENCODE_H

#include <stdbool.h>

#include "base/err.h"
#include "quant/quant.h"

struct grid_search;

bool grid_format(int fmt);
int grid_search_new(struct grid_search **out, int fmt, struct err *e);
void grid_search_free(struct grid_search *s); // accepts NULL

/* n blocks. column: how much each column counts; NULL: all alike, which costs much quality. */
void grid_encode(const struct grid_search *s, const float *in, const float *column, void *blocks,
                 size_t n);

#endif
