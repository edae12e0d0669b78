#!/usr/bin/env python3
"""Checks that what rill-convert makes of a GGUF file is a model for transformers (development only).

Usage: check-transformers.py GOLDEN [NAME...]     GOLDEN: tests/golden/arch; rill-convert in PATH

Every NAME.gguf there becomes a Hugging Face directory, the package transformers (5.23) opens that
by its Auto class, with no weight missing or left over, and runs the 40 ids of ref-arch.py in
float32. One line each: the largest difference from NAME.logits, which came from the model the GGUF
file was made of, over the largest logit. RWKV-7 has no class in transformers: there the names and
shapes must be those of the original, which NAME.hf.json lists.

Ends with 1 when a model does not load or differs by more than 2e-5.
"""
import json
import logging
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers as tf

LIMIT = 2e-5
logging.getLogger("transformers").setLevel(logging.ERROR)


def export(gguf, out):
    p = subprocess.run(["rill-convert", "-q", gguf, out], capture_output=True, text=True)
    if p.returncode:
        raise RuntimeError(p.stderr.strip())
    return json.loads((pathlib.Path(out) / "config.json").read_text())


def headers(folder):
    """{name: shape} of all safetensors files."""
    found = {}
    for f in folder.glob("*.safetensors"):
        with f.open("rb") as h:
            n, = struct.unpack("<Q", h.read(8))
            head = json.loads(h.read(n))
        head.pop("__metadata__", None)
        found.update({k: v["shape"] for k, v in head.items()})
    return found


def names_only(folder, golden):
    want = {k: v[1] for k, v in json.loads(golden.read_text())["tensors"].items()}
    got = headers(folder)
    odd = sorted(set(want) ^ set(got)) + [k for k in want if k in got and want[k] != got[k]]
    if odd:
        raise RuntimeError(f"tensors differ: {', '.join(odd[:4])} and so on, {len(odd)} in all")
    return len(got)


def auto_class(config):
    name = config["architectures"][0]
    if name.endswith("ForSequenceClassification"):
        return tf.AutoModelForSequenceClassification
    return tf.AutoModelForCausalLM if name.endswith(("CausalLM", "LMHeadModel")) else tf.AutoModel


def run(folder, config, want):
    model, info = auto_class(config).from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    lost = [f"{k}: {v}" for k, v in info.items() if v and k != "missing_keys"]
    lost += [f"missing: {k}" for k in info["missing_keys"] if "pooler" not in k]
    if lost:
        raise RuntimeError("; ".join(lost)[:300])
    model.eval()
    ids = torch.tensor([[(i * 37 + 11) % 64 for i in range(40)]])
    more = {}
    if config["model_type"] in ("bert", "nomic_bert"):
        more["token_type_ids"] = torch.tensor([[int(i >= 25) for i in range(40)]])
    with torch.no_grad():
        out = model(input_ids=ids, **({} if more else {"use_cache": False}), **more)
    rows = out.last_hidden_state if "last_hidden_state" in out else out.logits
    got = rows[0].numpy().reshape(-1)
    want = want[-got.size:] if rows.shape[1:] == (1,) or rows.ndim == 2 else want[:got.size]
    return float(np.abs(got - want).max() / np.abs(want).max())


def main(golden, only):
    bad = 0
    for gguf in sorted(golden.glob("*.gguf")):
        name = gguf.stem
        if only and name not in only:
            continue
        with tempfile.TemporaryDirectory() as tmp:
            folder = pathlib.Path(tmp) / "m"
            try:
                folder.mkdir()
                config = export(gguf, folder)
                if config["model_type"] == "rwkv7":
                    print(f"{name:22} {names_only(folder, golden / f'{name}.hf.json')} "
                          "tensors, names and shapes as the original's")
                    continue
                want = np.fromfile(golden / f"{name}.logits", "<f4")
                worst = run(folder, config, want)
                fail = not worst <= LIMIT
                print(f"{name:22} {config['architectures'][0]:32} {worst:.1e}"
                      f"{'  DIFFERS' if fail else ''}", flush=True)
            except Exception as e:  # whatever transformers throws is what this script is to show
                fail = True
                print(f"{name:22} FAILED: {type(e).__name__}: {str(e)[:400]}", flush=True)
            bad += fail
    return 1 if bad else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__.split("\n\n")[1])
    sys.exit(main(pathlib.Path(sys.argv[1]), sys.argv[2:]))
