#!/usr/bin/env python3
"""ref-encode.py LIBRARY - tests/golden/quant/<type>.wenc: what a shared library with
ggml_quantize_chunk (libggml-base.so) makes of tests/golden/quant/in.f32, cut into rows of 256
weights, with an importance of column c of ((c * 37 % 256) / 256)^2 + 1/64.

Needs numpy.
"""
import ctypes
import pathlib
import sys

import numpy as np

TYPES = {"q4_0": (2, 18, 32), "q4_1": (3, 20, 32), "q5_0": (6, 22, 32), "q5_1": (7, 24, 32),
         "q2_k": (10, 84, 256), "q3_k": (11, 110, 256), "q4_k": (12, 144, 256),
         "q5_k": (13, 176, 256), "q6_k": (14, 210, 256), "iq2_xs": (17, 74, 256),
         "iq3_xxs": (18, 98, 256), "iq1_s": (19, 50, 256), "iq4_nl": (20, 18, 32),
         "iq3_s": (21, 110, 256), "iq2_s": (22, 82, 256), "iq4_xs": (23, 136, 256),
         "iq1_m": (29, 56, 256)}

here = pathlib.Path(__file__).resolve().parent.parent / "tests/golden/quant"
lib = ctypes.CDLL(sys.argv[1])
lib.ggml_quantize_chunk.restype = ctypes.c_size_t
lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + \
    [ctypes.c_int64] * 3 + [ctypes.c_void_p]
x = np.fromfile(here / "in.f32", np.float32)
x = np.ascontiguousarray(x[:len(x) // 256 * 256]).reshape(-1, 256)
u = (np.arange(256) * 37 % 256).astype(np.float32) / np.float32(256)
w = u * u + np.float32(1 / 64)
for name, (number, size, block) in TYPES.items():
    out = np.zeros(x.size // block * size, np.uint8)
    lib.ggml_quantize_chunk(number, x.ctypes.data, out.ctypes.data, 0, len(x), 256, w.ctypes.data)
    out.tofile(here / (name + ".wenc"))
