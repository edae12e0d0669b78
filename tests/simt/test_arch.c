/* test_arch.c - architectures on the CUDA backend, whose kernels run on the host: against the
 * original's logits, in one piece, in several, and with nothing fused.
 *
 * Of the 36 those that have every kind of record between them; make check-long takes all. Both
 * paths of a step are one code here, so one is enough.
 */
#include "base/mem.h"

#define ARCH_DEVICE "cuda:0"
#define ARCH_TOL    1e-3f
#define ARCH_NAME   "simt/arch"
#define ARCH_PATHS  1
#define ARCH_STEP   40 // pieces of 1 and 17
#define ARCH_SOME   (int)ARRAY_LEN(some), some
static char *some[] = {(char *)"simt/arch", (char *)"gpt_oss",       (char *)"deepseek2_groups",
                       (char *)"rwkv7",     (char *)"granitehybrid", (char *)"gemma2",
                       (char *)"bert_rank", (char *)"nomic_bert"};
#include "tests/model/test_arch.c"
