/* isa_amx_emulated.c - the same without a tile unit, slowly: for tests, on machines without one. */
#define TILE_EMULATED
#define TILE_TABLE cpu_tiles_amx_emulated
#include "kernels/cpu/tiles.inc"
