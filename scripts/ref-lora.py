#!/usr/bin/env python3
"""ref-lora.py OUT - a small adapter for share/rill-tales.gguf, written by the Python package gguf
(development only): tests/golden/tales-lora.gguf. Needs gguf and numpy."""
import sys

import gguf
import numpy as np

rng = np.random.default_rng(1)
w = gguf.GGUFWriter(sys.argv[1], "llama")
w.add_type("adapter")
w.add_string("adapter.type", "lora")
w.add_float32("adapter.lora.alpha", 4.0)
for name, cols, rows in (("blk.0.attn_v", 256, 256), ("blk.4.ffn_down", 512, 256)):
    for part, shape in (("lora_a", (2, cols)), ("lora_b", (rows, 2))):
        w.add_tensor(f"{name}.weight.{part}", rng.uniform(-0.3, 0.3, shape).astype(np.float16))
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
