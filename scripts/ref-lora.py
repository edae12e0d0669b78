#!/usr/bin/env python3
"""Makes tests/golden/lora: an adapter as PEFT writes it for the model of tests/golden/hfdir, random
numbers of rank 4 for every matrix of its layers. greedy.ids: what transformers makes of "The King"
(16 ids, greedy, in F32) with the adapter added to the weights.

Usage: ref-lora.py tests/golden            (packages transformers 5, tokenizers, torch, safetensors)
"""
import json
import pathlib
import sys

import safetensors.torch
import torch
import transformers as tf
from tokenizers import Tokenizer

golden = pathlib.Path(sys.argv[1])
out = golden / "lora"
out.mkdir(exist_ok=True)
RANK, ALPHA = 4, 6
m = tf.AutoModelForCausalLM.from_pretrained(golden / "hfdir", dtype=torch.float32)
g = torch.Generator().manual_seed(3)
tensors = {}
for name, p in m.named_parameters():
    if "proj" not in name:
        continue
    a = torch.randn(RANK, p.shape[1], generator=g) / p.shape[1] ** 0.5
    b = torch.randn(p.shape[0], RANK, generator=g) / RANK ** 0.5
    stem = "base_model.model." + name.removesuffix(".weight")
    tensors[stem + ".lora_A.weight"], tensors[stem + ".lora_B.weight"] = a, b
    p.data += ALPHA / RANK * (b @ a)
safetensors.torch.save_file(tensors, out / "adapter_model.safetensors", {"format": "pt"})
(out / "adapter_config.json").write_text(json.dumps(
    {"base_model_name_or_path": "org/base", "bias": "none", "lora_alpha": ALPHA, "peft_type": "LORA",
     "r": RANK, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
                                   "down_proj"], "task_type": "CAUSAL_LM", "use_dora": False,
     "use_rslora": False}, indent=1) + "\n")
ids = Tokenizer.from_file(str(golden / "hfdir/tokenizer.json")).encode("The King").ids
n = len(ids)
with torch.no_grad():
    for _ in range(16):
        top = m(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].topk(2)
        ids.append(int(top.indices[0]))
        print(f"{ids[-1]} ahead by {float(top.values[0] - top.values[1]):.3f}")
(out / "greedy.ids").write_text(" ".join(map(str, ids[n:])) + "\n")
