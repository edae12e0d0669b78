#!/usr/bin/env python3
"""copier.py RILL-INSPECT IN.gguf OUT.gguf: a model that copies, at the whole cost of IN.

IN is a random llama whose output matrix and embeddings have rows of the same length (rill-bench
--synthetic with rill-quantize). In OUT what the layers add is zero, and row t + 1 of the output
matrix is row t's embedding, so that token t is followed by t + 1, and the last by the first. All
matrices are still read and multiplied. A prompt that counts is then a text that the answer repeats,
and where the prompt leaves out or changes a token the answer differs from it: what speculation
gains on edited text can be measured without a trained model (docs/performance.md has the command).
"""
import re
import struct
import subprocess
import sys

inspect, src, dst = sys.argv[1:4]
line = re.compile(r"^  (\S+)\s+(\S+)\s+(\d+) x (\d+)\s+(\d+)\s+(\d+)$", re.M)
text = subprocess.run([inspect, src], check=True, capture_output=True, text=True).stdout
tensors = {m[1]: (m[2], int(m[4]), int(m[5]), int(m[6])) for m in line.finditer(text)}
data = bytearray(open(src, "rb").read())

for name, (_, _, size, at) in tensors.items():
    if re.search(r"(attn_output|ffn_down)\.weight$", name):
        data[at : at + size] = bytes(size)

kind, rows, size, at = tensors["token_embd.weight"]
to = tensors["output.weight"]
if to[2] < size or to[1] != rows:
    sys.exit("the output matrix has no room for the embeddings")
each = size // rows
table = bytes(data[at : at + size])
data[to[3] : to[3] + size] = table[-each:] + table[:-each]

# the output matrix takes the embeddings' type
def type_place(name):
    key = struct.pack("<Q", len(name)) + name.encode()
    return data.index(key) + len(key) + 4 + 2 * 8

o, t = type_place("output.weight"), type_place("token_embd.weight")
data[o : o + 4] = data[t : t + 4]
open(dst, "wb").write(data)
