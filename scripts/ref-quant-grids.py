#!/usr/bin/env python3
"""Writes libcore/quant/grids.c from the codebooks in the Python package gguf (0.19.0).

Usage: ref-quant-grids.py > libcore/quant/grids.c

A point is written as one number with a digit per weight, first weight lowest: base 4 for groups of
eight, base 8 (octal) for groups of four; the macros at the head of grids.c turn digits into weights.
"""
import numpy as np
from gguf import quants

HEAD = """/* grids.c - the codebooks of the IQ formats.
 *
 * Written by scripts/ref-quant-grids.py. A point is a number with one digit per weight, lowest
 * first: two bits a digit for groups of eight, three for groups of four. The macros turn a digit
 * into the weight of its list and the whole into bytes, at compile time.
 */
#include "quant/grids.h"

/* Other rooms include this file to make their own copies, maybe of other numbers (P8 and P4). */
#ifndef GRID
#define GRID(type, name, n) const type name[n]
#endif

/* The digits' meaning: -1 0 1; 8 25 43; 4 12 20 28 36 44 52 62; 1 3 5 .. 15. */
#define W1(d)  ((d)-1)
#define W2(d)  (8 + 17 * (d) + (d) / 2)
#define W3X(d) (4 + 8 * (d) + (d) / 7 * 2)
#define W3S(d) (1 + 2 * (d))

#ifndef P8
#define B8(w, c, j) ((uint64_t)(uint8_t)w(((c) >> 2 * (j)) & 3) << 8 * (j))
#define P8(w, c)                                                                                   \\
    (B8(w, c, 0) | B8(w, c, 1) | B8(w, c, 2) | B8(w, c, 3) | B8(w, c, 4) | B8(w, c, 5) |           \\
     B8(w, c, 6) | B8(w, c, 7))
#define B4(w, c, j) ((uint32_t)(uint8_t)w(((c) >> 3 * (j)) & 7) << 8 * (j))
#define P4(w, c)    (B4(w, c, 0) | B4(w, c, 1) | B4(w, c, 2) | B4(w, c, 3))
#endif

#define A(c) P8(W1, c)
#define B(c) P8(W2, c)
#define X(c) P4(W3X, c)
#define S(c) P4(W3S, c)

GRID(int8_t, iq4_values, 16) = {-127, -104, -83, -65, -49, -35, -22, -10,
                                1,    13,   25,  38,  53,  69,  89,  113};
"""


def show(name, cls, macro, ctype):
    cls.init_grid()
    values = np.array(cls.grid_map)
    grid = cls.grid.reshape(cls.grid_shape)
    digits = np.searchsorted(values, grid).astype(np.int64)
    assert (values[digits] == grid).all()
    bits = 2 if grid.shape[1] == 8 else 3
    packed = (digits << (bits * np.arange(grid.shape[1]))).sum(axis=1)
    width = 4 if bits == 2 else 3
    items = [f"{macro}(0x{p:0{width}x})," for p in packed]
    per = 96 // (len(items[0]) + 1)
    print(f"\nGRID({ctype}, {name}, {len(items)}) = {{")
    for i in range(0, len(items), per):
        print("    " + " ".join(items[i : i + per]))
    print("};")


print(HEAD, end="")
assert quants.IQ4_NL.kvalues == (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
show("iq2_xxs_grid", quants.IQ2_XXS, "B", "uint64_t")
show("iq2_xs_grid", quants.IQ2_XS, "B", "uint64_t")
show("iq2_s_grid", quants.IQ2_S, "B", "uint64_t")
show("iq3_xxs_grid", quants.IQ3_XXS, "X", "uint32_t")
show("iq3_s_grid", quants.IQ3_S, "S", "uint32_t")
show("iq1_s_grid", quants.IQ1_S, "A", "uint64_t")
print("\n#undef A\n#undef B\n#undef X\n#undef S")
