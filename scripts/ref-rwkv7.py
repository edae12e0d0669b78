#!/usr/bin/env python3
"""RWKV-7 from its definition, in numpy: a converter to GGUF and reference logits.

Usage: ref-rwkv7.py convert IN.bin OUT.gguf
       ref-rwkv7.py prove IN.bin EXPECTED.bin
       ref-rwkv7.py golden tests/golden/arch IN.bin EXPECTED.bin

convert  makes a GGUF file (F32) of a generation 7 file of the rwkv.cpp project
prove    runs the bytes '"', 'i', 'n' and compares the logits with the trained model's
golden   after that proof: rwkv7.gguf, rwkv7.logits and rwkv7.hf.json, a tiny random model with the
         conventions of ref-arch.py (40 ids (i * 37 + 11) % 64, logits [40 x 64] f32; the names
         and shapes that the model has as a directory for transformers, by the package fla)

A model is a dict of float64 arrays named as the rwkv.cpp project names them; matrices are
[outputs x inputs].
"""
import json
import pathlib
import struct
import sys
import zlib

import gguf
import numpy as np

MIXES = "rwkvag"  # the order of the rows of att.x_rwkvag
LORAS = "wavg"


# -- the definition (arXiv 2503.14456) --


def layer_norm(x, w, b, eps=1e-5):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * w + b


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def time_mix(m, p, x, last, s, v_first, n_head):
    """x: one normalized row; last: the one before it; s [head x value x key] changes in place."""
    mixed = dict(zip(MIXES, x + (last - x) * m[p + "x_rwkvag"]))
    r = m[p + "receptance.weight"] @ mixed["r"]
    k = m[p + "key.weight"] @ mixed["k"]
    v = m[p + "value.weight"] @ mixed["v"]
    w = m[p + "w0"] + m[p + "w2"] @ np.tanh(m[p + "w1"] @ mixed["w"])
    w = np.exp(-np.exp(-0.5) * sigmoid(w))
    a = sigmoid(m[p + "a0"] + m[p + "a2"] @ (m[p + "a1"] @ mixed["a"]))
    g = m[p + "g2"] @ sigmoid(m[p + "g1"] @ mixed["g"])
    if v_first is None:
        v_first = v
    else:
        v = v + (v_first - v) * sigmoid(m[p + "v0"] + m[p + "v2"] @ (m[p + "v1"] @ mixed["v"]))

    kk = (k * m[p + "k_k"]).reshape(n_head, -1)
    kk = kk / np.maximum(np.linalg.norm(kk, axis=1, keepdims=True), 1e-12)
    k = k * (1 + (a - 1) * m[p + "k_a"])
    r, k, v, w, a = (t.reshape(n_head, -1) for t in (r, k, v, w, a))
    for h in range(n_head):
        erased = s[h] @ kk[h]
        s[h] *= w[h]
        s[h] -= np.outer(erased, kk[h] * a[h])
        s[h] += np.outer(v[h], k[h])
    y = np.einsum("hvk,hk->hv", s, r)
    ones = np.ones(y.shape)
    y = layer_norm(y, ones, 0, 64e-5).ravel() * m[p + "ln_x.weight"] + m[p + "ln_x.bias"]
    bonus = (r * k * m[p + "r_k"]).sum(1, keepdims=True) * v
    return m[p + "output.weight"] @ ((y + bonus.ravel()) * g), v_first


def run(m, ids):
    n_layer = 1 + max(int(n.split(".")[1]) for n in m if n.startswith("blocks."))
    n_head, head = m["blocks.0.att.r_k"].shape
    width = m["emb.weight"].shape[1]
    last = np.zeros((n_layer, 2, width))
    state = np.zeros((n_layer, n_head, head, head))
    out = []
    for t in ids:
        p = "blocks.0.ln0."
        x = layer_norm(m["emb.weight"][t], m[p + "weight"], m[p + "bias"])
        v_first = None
        for i in range(n_layer):
            p = f"blocks.{i}."
            y = layer_norm(x, m[p + "ln1.weight"], m[p + "ln1.bias"])
            d, v_first = time_mix(m, p + "att.", y, last[i, 0], state[i], v_first, n_head)
            last[i, 0] = y
            x = x + d
            y = layer_norm(x, m[p + "ln2.weight"], m[p + "ln2.bias"])
            k = m[p + "ffn.key.weight"] @ (y + (last[i, 1] - y) * m[p + "ffn.x_k"])
            last[i, 1] = y
            x = x + m[p + "ffn.value.weight"] @ np.maximum(k, 0) ** 2
        x = layer_norm(x, m["ln_out.weight"], m["ln_out.bias"])
        out.append(m["head.weight"] @ x)
    return np.array(out)


# -- files --


def read(path):
    """A file of the rwkv.cpp project: a header of six numbers, then tensors."""
    data = pathlib.Path(path).read_bytes()
    magic, version = struct.unpack_from("<2i", data)
    if magic != 0x67676D66 or version not in (100, 101):
        sys.exit(f"{path}: not a file of the rwkv.cpp project")
    m, at = {}, 24
    while at < len(data):
        n_dim, n_name, kind = struct.unpack_from("<3i", data, at)
        at += 12
        dims = struct.unpack_from(f"<{n_dim}i", data, at)
        at += 4 * n_dim
        name = data[at : at + n_name].decode()
        at += n_name
        dtype = {0: "<f4", 1: "<f2"}.get(kind)
        if not dtype:
            sys.exit(f"{path}: {name}: only F32 and F16 are read")
        n = int(np.prod(dims))
        a = np.frombuffer(data, dtype, n, at).astype(np.float64)
        at += n * np.dtype(dtype).itemsize
        m[name] = a.reshape(dims[::-1])
    for name, a in m.items():
        if a.ndim == 3:  # the mixes of one layer are rows, other vectors columns
            m[name] = a.squeeze(1) if name.endswith("rwkvag") else a.ravel()
    return m


NAMES = {
    "ln0": "token_embd_norm", "ln1": "attn_norm", "ln2": "attn_norm_2", "att.ln_x": "time_mix_ln",
    "att.receptance": "time_mix_receptance", "att.key": "time_mix_key",
    "att.value": "time_mix_value", "att.output": "time_mix_output", "att.k_k": "time_mix_k_k",
    "att.k_a": "time_mix_k_a", "att.r_k": "time_mix_r_k", "att.x_rwkvag": "time_mix_lerp_fused",
    "ffn.x_k": "channel_mix_lerp_k", "ffn.key": "channel_mix_key",
    "ffn.value": "channel_mix_value",
} | {f"att.{c}{i}": f"time_mix_{c}{i}" for c in LORAS for i in range(3)}


def gguf_tensors(m):
    """Names and shapes as the GGUF converter of the ggml project gives them."""
    yield "token_embd.weight", m["emb.weight"]
    for name, a in m.items():
        part = name.split(".")
        if part[0] != "blocks":
            continue
        end = part.pop() if part[-1] in ("weight", "bias") else "weight"
        new = NAMES[".".join(part[2:])]
        if new == "time_mix_lerp_fused":
            a = a[:, None, None, :]
        elif new == "time_mix_r_k":
            a = a.ravel()
        layer = "" if new == "token_embd_norm" else f"blk.{part[1]}."
        yield f"{layer}{new}.{end}", a
        if part[1] == "0" and part[2] == "att" and part[3] in ("a0", "a1", "a2"):
            # the first layer has no use for v0, v1, v2, but a reader wants them
            if f"blocks.0.att.v{part[3][1]}" not in m:
                yield f"{layer}time_mix_v{part[3][1]}.weight", a
    yield "output_norm.weight", m["ln_out.weight"]
    yield "output_norm.bias", m["ln_out.bias"]
    yield "output.weight", m["head.weight"]


def write(m, path):
    w = gguf.GGUFWriter(path, "rwkv7")
    vocab, width = m["emb.weight"].shape
    p = "blocks.1.att."
    w.add_context_length(1048576)
    w.add_embedding_length(width)
    w.add_block_count(1 + max(int(n.split(".")[1]) for n in m if n.startswith("blocks.")))
    w.add_layer_norm_eps(1e-5)
    w.add_wkv_head_size(m[p + "r_k"].shape[1])
    w.add_decay_lora_rank(m[p + "w1"].shape[0])
    w.add_iclr_lora_rank(m[p + "a1"].shape[0])
    w.add_value_residual_mix_lora_rank(m[p + "v1"].shape[0])
    w.add_gate_lora_rank(m[p + "g1"].shape[0])
    w.add_feed_forward_length(m["blocks.0.ffn.key.weight"].shape[0])
    w.add_file_type(gguf.LlamaFileType.ALL_F32)
    w.add_head_count(0)
    w.add_tokenizer_model("rwkv")
    tokens = [repr(bytes([i]))[2:-1] for i in range(vocab)]
    w.add_token_list(tokens)
    w.add_token_types([gguf.TokenType.NORMAL] * vocab)
    for name, a in gguf_tensors(m):
        w.add_tensor(name, np.ascontiguousarray(a, dtype=np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def hf_tensors(m):
    """Names and shapes as the package fla gives them."""
    names = {"ln0": "pre_norm", "ln1": "attn_norm", "ln2": "ffn_norm", "att.ln_x": "attn.g_norm",
             "att.receptance": "attn.r_proj", "att.key": "attn.k_proj",
             "att.value": "attn.v_proj", "att.output": "attn.o_proj"}
    whole = {"emb": "model.embeddings", "ln_out": "model.norm", "head": "lm_head"}
    lora = {"0": "2.bias", "1": "0.weight", "2": "2.weight"}
    for name, a in m.items():
        part = name.split(".")
        if part[0] != "blocks":
            yield f"{whole[part[0]]}.{part[1]}", a
            continue
        end = "." + part.pop() if part[-1] in ("weight", "bias") else ""
        at, new = f"model.layers.{part[1]}.", ".".join(part[2:])
        if part[-1] == "x_rwkvag":
            for c, row in zip(MIXES, a):
                yield f"{at}attn.x_{c}", row[None, None]
        elif part[2] == "att" and part[3][0] in LORAS and part[3][1:] in lora:
            yield f"{at}attn.{part[3][0]}_lora.lora.{lora[part[3][1]]}", a
        else:
            yield at + names.get(new, new.replace("att.", "attn.")) + end, a


def hf_json(m, path):
    p = "blocks.1.att."
    tensors = {n: ["F32", list(a.shape), zlib.crc32(a.astype("<f4").tobytes())]
               for n, a in hf_tensors(m)}
    vocab, width = m["emb.weight"].shape
    config = {"architectures": ["RWKV7ForCausalLM"], "model_type": "rwkv7", "attn": None,
              "hidden_size": width, "vocab_size": vocab, "norm_eps": 1e-5, "norm_first": True,
              "head_dim": m[p + "r_k"].shape[1], "max_position_embeddings": 2048,
              "num_hidden_layers": 1 + max(int(n.split(".")[1]) for n in m if n[:7] == "blocks."),
              "intermediate_size": m["blocks.0.ffn.key.weight"].shape[0], "hidden_act": "sqrelu",
              "decay_low_rank_dim": m[p + "w1"].shape[0], "a_low_rank_dim": m[p + "a1"].shape[0],
              "v_low_rank_dim": m[p + "v1"].shape[0], "gate_low_rank_dim": m[p + "g1"].shape[0],
              "tie_word_embeddings": False}
    path.write_text(json.dumps({"config": config, "tensors": tensors}, separators=(", ", ": ")) + "\n")


# -- commands --


def prove(path, expected):
    y = run(read(path), b'"in')[-1]
    off = np.abs(y - np.frombuffer(pathlib.Path(expected).read_bytes(), "<f4")).sum()
    print(f"{path}: sum of differences {off:.1e}")
    if not off < 1e-3:
        sys.exit("this does not compute what the trained model does")


def random_model(vocab=64, width=32, n_layer=2, head=16, ff=64, ranks=(8, 12, 4, 16)):
    rng = np.random.default_rng(7)

    def mat(rows, cols, s=1.2):
        return rng.normal(0, s / cols**0.5, (rows, cols))

    def vec(mean, s):
        return rng.normal(mean, s, width)

    def norm(m, name):
        m[name + ".weight"], m[name + ".bias"] = vec(1, 0.3), vec(0, 0.3)

    m = {"emb.weight": rng.normal(0, 1, (vocab, width))}
    norm(m, "blocks.0.ln0")
    for i in range(n_layer):
        p = f"blocks.{i}."
        norm(m, p + "ln1")
        norm(m, p + "ln2")
        p += "att."
        norm(m, p + "ln_x")
        m[p + "x_rwkvag"] = rng.uniform(0, 1, (6, width))
        for c, rank in zip(LORAS, ranks):
            if c == "v" and i == 0:
                continue
            m[p + c + "1"], m[p + c + "2"] = mat(rank, width), mat(width, rank)
            if c != "g":
                m[p + c + "0"] = vec(-1.5 if c == "w" else 0, 1.0)
        m[p + "k_k"], m[p + "k_a"] = vec(0.9, 0.3), vec(1, 0.3)
        m[p + "r_k"] = rng.normal(0, 0.5, (width // head, head))
        for n in ("receptance", "key", "value", "output"):
            m[f"{p}{n}.weight"] = mat(width, width)
        p = f"blocks.{i}.ffn."
        m[p + "x_k"] = rng.uniform(0, 1, width)
        m[p + "key.weight"], m[p + "value.weight"] = mat(ff, width), mat(width, ff)
    norm(m, "ln_out")
    m["head.weight"] = mat(vocab, width)
    return {n: a.astype(np.float32).astype(np.float64) for n, a in m.items()}


def golden(out, *proof):
    prove(*proof)
    out = pathlib.Path(out)
    m = random_model()
    write(m, out / "rwkv7.gguf")
    y = run(m, [(i * 37 + 11) % 64 for i in range(40)])
    y.astype("<f4").tofile(out / "rwkv7.logits")
    hf_json(m, out / "rwkv7.hf.json")
    print(f"rwkv7: {(out / 'rwkv7.gguf').stat().st_size} bytes, rms {y.std():.2f}")


def convert(path, out):
    write(read(path), out)


def main():
    commands = {"convert": (convert, 2), "prove": (prove, 2), "golden": (golden, 3)}
    fn, n = commands.get(sys.argv[1] if len(sys.argv) > 1 else "", (None, 0))
    if not fn or len(sys.argv) != n + 2:
        sys.exit(__doc__)
    fn(*sys.argv[2:])


main()
