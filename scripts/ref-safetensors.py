#!/usr/bin/env python3
"""Makes tests/golden/safetensors: small files written by the package safetensors (0.5 or later).

Usage: ref-safetensors.py tests/golden/safetensors

types.safetensors   one tensor of every type, named after it: the numbers 0 1 2 3 5 7 (BOOL: 0 1 0
                    1 1 1) as [2 x 3], a scalar, an empty tensor, a name that JSON escapes
split/              a model in two files and its index
"""
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file

TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
         "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I64": torch.int64,
         "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U64": torch.uint64,
         "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool}


def main():
    out = pathlib.Path(sys.argv[1])
    (out / "split").mkdir(parents=True, exist_ok=True)
    numbers = torch.tensor([[0, 1, 2], [3, 5, 7]])
    all_types = {k: numbers.to(t) for k, t in TYPES.items() if k != "BOOL"}
    all_types["BOOL"] = numbers % 2 == 1
    all_types["scalar"] = torch.tensor(2.5)
    all_types["empty"] = torch.zeros(0, 4)
    all_types['quote " slash \\ tab \t \u00e9'] = torch.tensor([1.0])
    save_file(all_types, out / "types.safetensors", metadata={"format": "pt", "note": "a\nb"})

    where = {}
    for i, names in enumerate((("a", "b"), ("c",))):
        file = f"model-{i + 1:05}-of-00002.safetensors"
        save_file({n: torch.full((2, 2), float(ord(n))) for n in names}, out / "split" / file)
        where |= {n: file for n in names}
    index = {"metadata": {"total_size": 48}, "weight_map": where}
    (out / "split/model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


main()
