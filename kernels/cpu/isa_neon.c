/* isa_neon.c - 4 lanes, 64-bit ARM. */
#define CPU_TABLE cpu_kernels_neon
#define CPU_NAME  "neon"
#include "kernels/cpu/isa.inc"
