/* isa_avxvnni.c - as avx2, and AVX-VNNI: products of bytes added to 32 bits at once. */
#define CPU_TABLE cpu_kernels_avxvnni
#define CPU_NAME  "avxvnni"
#include "kernels/cpu/isa.inc"
