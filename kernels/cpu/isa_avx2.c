/* isa_avx2.c - 8 lanes, F16C, FMA. */
#define CPU_TABLE cpu_kernels_avx2
#define CPU_NAME  "avx2"
#include "kernels/cpu/isa.inc"
