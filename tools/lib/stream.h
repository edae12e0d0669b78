/* stream.h - how fast this machine reads memory: the limit that kernels are measured against. */
#ifndef RILL_TOOLS_STREAM_H
#define RILL_TOOLS_STREAM_H

#include <stddef.h>

#include "base/thread.h"

/* Bytes per second at which the team reads bytes at p once, every member its own part, going
 * through streams (1 to 16) places at a time. One pass; take the best of several. */
double stream_read(struct team *t, const void *p, size_t bytes, int streams);

#endif
