/* test_split.c - a plan dealt out over several devices, CUDA's emulated: two of them give the bytes
 * of one; a CPU beside one takes part in every architecture's plan. */
#define SPLIT_NAME "simt/split"
#define SPLIT_ONE  "cuda:0"
#define SPLIT_MANY "cuda:0=1,cuda", "cuda,experts=cuda:0"
#define SPLIT_CASES(X)                                                                             \
    X(gpt_oss, "gpt-oss")                                                                          \
    X(granitehybrid, "granitehybrid")
#include "tests/model/test_split.c"
