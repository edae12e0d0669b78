/* isa_scalar.c - one lane: the definition. */
#define V_SCALAR
#define CPU_TABLE cpu_kernels_scalar
#define CPU_NAME  "scalar"
#include "kernels/cpu/isa.inc"
