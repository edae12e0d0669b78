#!/usr/bin/env python3
"""ref-gguf.py BUILD - the GGUF reader and writer against the Python package gguf (development only).

Files made by tests/mkmodel (our writer) are read by both readers, and files made by the package by
rill-inspect; every key, tensor and offset must be the same. BUILD is a build directory in which
`make all obj/tests/mkmodel` has run. Needs gguf and numpy.
"""
import json
import os
import subprocess
import sys
import tempfile

import gguf
import numpy as np

build = os.path.abspath(sys.argv[1])


def inspect(path, *options):
    cmd = [build + "/rill-inspect", "-j", "--full", *options, path]
    lines = subprocess.run(cmd, capture_output=True, check=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def equal(a, b):
    if isinstance(a, float) or isinstance(a, list) and a and isinstance(a[0], float):
        return np.array_equal(np.float32(a), np.float32(b))
    return a == b


def compare(path):
    rows = inspect(path, "--keys", "--tensors")
    ours = {r["name"]: r for r in rows if r["kind"] == "tensor"}
    keys = {r["name"]: r["value"] for r in rows if r["kind"] == "key"}
    theirs = gguf.GGUFReader(path)
    assert len(ours) == len(theirs.tensors)
    for t in theirs.tensors:
        o = ours[t.name]
        assert o["shape"] == list(map(int, t.shape)), t.name
        assert o["type"] == t.tensor_type.name, t.name
        assert (o["bytes"], o["offset"]) == (int(t.n_bytes), int(t.data_offset)), t.name
    fields = {n: f for n, f in theirs.fields.items() if not n.startswith("GGUF.")}
    assert fields.keys() == keys.keys()
    for n, f in fields.items():
        assert equal(f.contents(), keys[n]), n
    print(f"{os.path.basename(path)}: {len(keys)} keys, {len(ours)} tensors: equal")


def write_theirs(path, **options):
    w = gguf.GGUFWriter(path, "llama", **options)
    w.add_name("split or not")
    for name, add, v in [
        ("u8", w.add_uint8, 200), ("i8", w.add_int8, -1), ("u16", w.add_uint16, 65535),
        ("i16", w.add_int16, -2), ("u32", w.add_uint32, 2**32 - 1), ("i32", w.add_int32, -3),
        ("u64", w.add_uint64, 2**64 - 1), ("i64", w.add_int64, -(2**63)), ("b", w.add_bool, True),
        ("f32", w.add_float32, 1e-5), ("f64", w.add_float64, 0.1), ("s", w.add_string, "caf\u00e9"),
        ("as", w.add_array, ["x", "", "zz"]), ("ai", w.add_array, [1, -2, 3]),
        ("ab", w.add_array, [True, False]), ("af", w.add_array, [0.5, 2.0]),
    ]:
        add("a." + name, v)
    for i in range(5):
        w.add_tensor(f"t{i}", np.full((i + 1, 4), i, [np.float32, np.float16, np.int8][i % 3]))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


with tempfile.TemporaryDirectory() as d:
    for t in ["F32", "F16", "BF16", "Q4_0", "Q8_0", "Q4_K", "Q6_K", "IQ3_XXS", "MXFP4", "NVFP4"]:
        path = f"{d}/{t}.gguf"
        subprocess.run([build + "/obj/tests/mkmodel", "--type", t, "-o", path], check=True)
        compare(path)
    write_theirs(d + "/theirs.gguf")
    compare(d + "/theirs.gguf")
    write_theirs(d + "/parts.gguf", split_max_tensors=2)
    rows = inspect(d + "/parts-00003-of-00003.gguf", "--tensors")
    assert [(r["name"], r["part"]) for r in rows] == [(f"t{i}", i // 2 + 1) for i in range(5)]
    print("parts-00003-of-00003.gguf: opens as the whole")
