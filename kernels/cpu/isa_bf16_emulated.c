/* isa_bf16_emulated.c - the same by fused multiply-adds: for tests. */
#define TILE_EMULATED
#define TILE_PAIRS
#define TILE_TABLE cpu_tiles_bf16_emulated
#include "kernels/cpu/tiles.inc"
