#!/usr/bin/env python3
"""Makes tests/golden/control: control vectors and the logits that transformers gives with them.

Usage: HF=DIR ref-arch.py /tmp NAME...; ref-control.py DIR/NAME tests/golden/control   (once a model)

NAME.gguf    random directions for all layers but the first, as llama.cpp reads them
NAME.logits  f32 [40 x vocabulary] for the ids of ref-arch.py, 1.5 times each direction added to what
             its layer gives on to the next
"""
import pathlib
import sys
import zlib

import gguf
import numpy as np
import torch
import transformers as tf

src, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
out.mkdir(exist_ok=True)
m = tf.AutoModelForCausalLM.from_pretrained(src, dtype=torch.float32, attn_implementation="eager")
m.eval()
layers = m.model.layers
g = torch.Generator().manual_seed(zlib.crc32(src.name.encode()))
w = gguf.GGUFWriter(out / f"{src.name}.gguf", "controlvector")
w.add_string("controlvector.model_hint", src.name)
w.add_uint32("controlvector.layer_count", len(layers) - 1)


def hook(direction):
    def add(module, args, y):
        return (y[0] + direction, *y[1:]) if isinstance(y, tuple) else y + direction

    return add


for i in range(1, len(layers)):
    v = torch.randn(m.config.hidden_size, generator=g) * 0.7
    w.add_tensor(f"direction.{i}", v.numpy().astype(np.float32))
    layers[i].register_forward_hook(hook(1.5 * v))
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
V = m.config.vocab_size
ids = torch.tensor([[(i * 37 + 11) % V for i in range(40)]])
with torch.no_grad():
    y = m(input_ids=ids, use_cache=False).logits[0].numpy()
y.astype("<f4").tofile(out / f"{src.name}.logits")
print(src.name, len(layers), "layers", y.shape, float(np.abs(y).max()))
