#!/usr/bin/env python3
"""Makes tests/golden/quant from the Python package gguf (0.19.0), the oracle of the format registry.

Usage: ref-quant.py tests/golden/quant

x.dec   blocks of format x (random bytes, scales of sane size, zero and the smallest ones among
        them), then their weights as f32: bit for bit what a decoder has to give
x.enc   what the encoder of format x has to make of in.f32
in.f32  1536 f32: plain, tiny, huge, constant, zero and one-sided blocks
"""
import pathlib
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T, quants

OUT = pathlib.Path(sys.argv[1])
OUT.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(20240607)

# where the binary16 factors of a block are
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0],
    "IQ1_S": [0], "IQ1_M": [], "IQ4_NL": [0], "IQ4_XS": [0],
    "TQ1_0": [52], "TQ2_0": [64], "MXFP4": [], "NVFP4": [],
}
# an ordinary factor, a negative one, zero, minus zero, the least and the greatest subnormal
FACTORS = [0.0123, -0.75, 0.0, -0.0, 2.0**-24, 1023 * 2.0**-24]


def dec(name, blocks):
    data = np.ascontiguousarray(blocks)
    weights = quants.dequantize(data, T[name]).astype(np.float32)
    assert np.isfinite(weights).all(), name
    (OUT / f"{name.lower()}.dec").write_bytes(data.tobytes() + weights.tobytes())


for name, at in HALVES.items():
    block, size = GGML_QUANT_SIZES[T[name]]
    n = 5 if block == 256 else 12
    b = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for i in range(n):
        for k, o in enumerate(at):
            b[i, o : o + 2] = np.frombuffer(np.float16(FACTORS[(i + k) % 6]).tobytes(), np.uint8)
    if name == "IQ1_M":  # the factor is spread over the top nibbles of four words
        for i in range(n):
            bits = int(np.float16(FACTORS[i % 6]).view(np.uint16))
            for k in range(4):
                b[i, 49 + 2 * k] = b[i, 49 + 2 * k] & 15 | (bits >> 4 * k & 15) << 4
    if name == "MXFP4":
        b[:, 0] = [0, 1, 2, 3, 100, 120, 126, 127, 128, 130, 250, 251]
    if name == "NVFP4":
        b[:, :4] = rng.permutation(256)[:48].reshape(12, 4)
        b[0, :4] = [0x00, 0x7F, 0x07, 0x7E]
        b[1, :4] = [0x80, 0xFF, 0x08, 0x01]
    dec(name, b)

h = np.array([0, 1, 2, 0x3FF, 0x400, 0x3C00, 0x3555, 0x7BFF, 0x7C00, 0x8000, 0x8001, 0xBC00, 0xFC00],
             np.uint16)
(OUT / "f16.dec").write_bytes(h.tobytes() + h.view(np.float16).astype(np.float32).tobytes())
h = np.array([0, 1, 0x7F, 0x80, 0x3F80, 0x7F7F, 0x7F80, 0x8000, 0xBF81, 0xFF80], np.uint16)
(OUT / "bf16.dec").write_bytes(h.tobytes() + quants.dequantize(h.view(np.uint8), T.BF16).tobytes())

x = rng.standard_normal(1536).astype(np.float32)
x[256:512] *= np.float32(1e-7)
x[512:768] *= np.float32(3000)
x[768:800] = 0
x[800:832] = 0.25
x[832:864] = -1.5
x[864:896] = np.abs(x[864:896]) + 2
x[896:928] = -np.abs(x[896:928])
x[928:960] = np.linspace(-127, 127, 32, dtype=np.float32) / 2
x[960:992] = 2.0 ** np.arange(-16, 16)
x[992:1024] = [65504.0, -65519.0, 65520.0, -7.0] + [0.5, 1.5, -2.5, 3.5] * 7
x[1024:1280] = np.sign(x[1024:1280]) * rng.choice([0, 0.37], 256)
(OUT / "in.f32").write_bytes(x.tobytes())
for name in ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4"]:
    with np.errstate(all="ignore"):
        (OUT / f"{name.lower()}.enc").write_bytes(quants.quantize(x, T[name]).tobytes())
