/* isa_amx.c - tiles of bf16 and int8 by the tile unit (AMX); the rest of the level is AVX-512's. */
#define TILE_TABLE cpu_tiles_amx
#include "kernels/cpu/tiles.inc"
