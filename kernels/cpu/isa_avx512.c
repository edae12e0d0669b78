/* isa_avx512.c - 16 lanes (F, BW, VL, DQ, VNNI). */
#define CPU_TABLE cpu_kernels_avx512
#define CPU_NAME  "avx512"
#include "kernels/cpu/isa.inc"
