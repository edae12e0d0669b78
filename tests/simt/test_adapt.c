/* test_adapt.c - adapters from files on the CUDA backend, whose kernels run on the host: the logits
 * of the merged model, the same bytes in company, loading and unloading, and what is refused. */
#define ADAPT_DEVICE "cuda:0"
#define ADAPT_NAME   "simt/adapt"
#define ADAPT_TOL    5e-4f
#define ADAPT_MAKE   4
#define ADAPT_TURNS  1
#define ADAPT_FAILS  41
#include "tests/engine/test_adapt.c"
