/* isa_bf16.c - panels of bf16 by AVX512_BF16, where there is no tile unit; else AVX-512. */
#define TILE_PAIRS
#define TILE_TABLE cpu_tiles_bf16
#include "kernels/cpu/tiles.inc"
