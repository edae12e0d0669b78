/* test_control.c - control vectors on the CUDA backend, whose kernels run on the host: the logits
 * of transformers, and the same bytes in company. */
#define CONTROL_DEVICE "cuda:0"
#define CONTROL_NAME   "simt/control"
#define CONTROL_TOL    1e-4
#define CONTROL_MODELS "llama"
#include "tests/engine/test_control.c"
