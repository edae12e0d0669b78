#!/usr/bin/env python3
"""embedded-check.py - reads the finished GGUF and runs it, in numpy, with no code of the trainer.

A second implementation of tokenizer and forward pass, from the file's own keys: it measures the perplexity
that share/README.md quotes, and prints greedy and sampled text to look at.

    embedded-check.py share/rill-tales.gguf --perplexity 400     held-out documents, each from BOS
    embedded-check.py share/rill-tales.gguf --greedy "Once upon a time" -n 64
    embedded-check.py share/rill-tales.gguf --chat "Tell me a story about a fox." --chat "What did the fox learn?"
"""

import argparse
import math
import os
import sys

import gguf
import jinja2
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import storygen  # noqa: E402


class Model:
    def __init__(self, path):
        r = gguf.GGUFReader(path)
        self.kv = {k: f.contents() for k, f in r.fields.items()}
        self.t = {t.name: gguf.quants.dequantize(t.data, t.tensor_type).reshape(tuple(reversed([int(n) for n in t.shape])))
                  for t in r.tensors}
        k = lambda s: self.kv["llama." + s]
        self.n_layer, self.n_head, self.n_kv = k("block_count"), k("attention.head_count"), k("attention.head_count_kv")
        self.n_ctx, self.eps = k("context_length"), k("attention.layer_norm_rms_epsilon")
        self.d_head = k("embedding_length") // self.n_head
        rd = k("rope.dimension_count")
        at = np.outer(np.arange(self.n_ctx), k("rope.freq_base") ** (-np.arange(0, rd, 2) / rd))
        self.cos, self.sin = np.cos(at).astype(np.float32), np.sin(at).astype(np.float32)
        self.pieces, self.scores = self.kv["tokenizer.ggml.tokens"], self.kv["tokenizer.ggml.scores"]
        self.types = self.kv["tokenizer.ggml.token_type"]
        self.id = {p: i for i, p in enumerate(self.pieces)}
        self.bos, self.eos, self.eot = (self.kv["tokenizer.ggml.%s_token_id" % s] for s in ("bos", "eos", "eot"))
        self.clear()

    # tokenizer: join the best-scored neighbours, over the whole text, until nothing joins

    def plain(self, text):
        w = list((" " + text).replace(" ", "\u2581"))
        while True:
            best, at = -math.inf, -1
            for i in range(len(w) - 1):
                k = self.id.get(w[i] + w[i + 1])
                if k is not None and self.types[k] == 1 and self.scores[k] > best:
                    best, at = self.scores[k], i
            if at < 0:
                break
            w[at:at + 2] = [w[at] + w[at + 1]]
        return [k for p in w for k in ([self.id[p]] if p in self.id else [self.id["<0x%02X>" % b] for b in p.encode()])]

    def encode(self, text):
        """Control tokens spelt out in the text become themselves."""
        out = []
        while text:
            hits = [(text.find(p), i) for i, p in enumerate(self.pieces) if self.types[i] == 3 and p in text]
            at, k = min(hits) if hits else (len(text), None)
            out += self.plain(text[:at]) if at else []
            if k is not None:
                out.append(k)
                at += len(self.pieces[k])
            text = text[at:]
        return out

    def decode(self, ids):
        b = b""
        for k in ids:
            p = self.pieces[k]
            b += bytes([int(p[3:5], 16)]) if self.types[k] == 6 else b"" if self.types[k] == 3 else p.replace("\u2581", " ").encode()
        return b.decode(errors="replace")

    # forward pass with a cache

    def clear(self):
        self.n = 0
        self.cache = [None] * self.n_layer

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.t[name]

    def heads(self, x, n, rotate):
        x = x.reshape(len(x), n, self.d_head).copy()
        if rotate:
            c, s = (m[self.n:self.n + len(x), None, :] for m in (self.cos, self.sin))
            a, b = x[..., 0::2].copy(), x[..., 1::2].copy()
            x[..., 0::2], x[..., 1::2] = a * c - b * s, a * s + b * c
        return x.transpose(1, 0, 2)

    def forward(self, ids):
        """Logits for every id; the ids go on from what the cache holds."""
        x = self.t["token_embd.weight"][ids].astype(np.float32)
        mask = np.triu(np.full((len(ids), self.n + len(ids)), -np.inf, np.float32), self.n + 1)
        for i in range(self.n_layer):
            w = lambda s: self.t["blk.%d.%s.weight" % (i, s)]
            n = self.norm(x, "blk.%d.attn_norm.weight" % i)
            q = self.heads(n @ w("attn_q").T, self.n_head, True)
            k, v = self.heads(n @ w("attn_k").T, self.n_kv, True), self.heads(n @ w("attn_v").T, self.n_kv, False)
            if self.cache[i]:
                k, v = np.concatenate([self.cache[i][0], k], 1), np.concatenate([self.cache[i][1], v], 1)
            self.cache[i] = k, v
            k, v = (np.repeat(m, self.n_head // self.n_kv, 0) for m in (k, v))
            s = q @ k.transpose(0, 2, 1) / math.sqrt(self.d_head) + mask
            s = np.exp(s - s.max(-1, keepdims=True))
            a = (s / s.sum(-1, keepdims=True)) @ v
            x = x + a.transpose(1, 0, 2).reshape(len(ids), -1) @ w("attn_output").T
            n = self.norm(x, "blk.%d.ffn_norm.weight" % i)
            g = n @ w("ffn_gate").T
            x = x + (g / (1 + np.exp(-g)) * (n @ w("ffn_up").T)) @ w("ffn_down").T
        self.n += len(ids)
        return self.norm(x, "output_norm.weight") @ self.t.get("output.weight", self.t["token_embd.weight"]).T

    def generate(self, ids, n, temp=0.0, rng=None):
        self.clear()
        out, z = [], self.forward(ids)[-1]
        while len(out) < n:
            if temp:
                p = np.exp((z - z.max()) / temp)
                k = int(rng.choice(len(p), p=(p / p.sum()).astype(np.float64) / (p / p.sum()).astype(np.float64).sum()))
            else:
                k = int(z.argmax())
            out.append(k)
            if k in (self.eos, self.eot) or self.n >= self.n_ctx:
                break
            z = self.forward([k])[-1]
        return out

    def render(self, messages, go):
        return jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(self.kv["tokenizer.chat_template"]).render(
            messages=messages, add_generation_prompt=go, bos_token=self.pieces[self.bos], eos_token=self.pieces[self.eos])

    def nll(self, ids, learn):
        self.clear()
        z = self.forward(ids[:-1]).astype(np.float64)
        z -= z.max(-1, keepdims=True)
        lp = z - np.log(np.exp(z).sum(-1, keepdims=True))
        w = np.array(learn[1:], bool)
        return -lp[np.arange(len(ids) - 1), ids[1:]][w].sum(), int(w.sum())


def perplexity(m, n, seed):
    """Stories: every token after BOS. Chats: what the assistant says."""
    rows = {"story": [0, 0], "chat": [0, 0]}
    for i in range(n):
        kind, what = storygen.document(seed, storygen.HELDOUT + i)
        if kind == "story":
            ids = [m.bos] + m.plain(what) + [m.eos]
            learn = [0] + [1] * (len(ids) - 1)
        else:
            ids = m.encode(m.render(what, False))
            learn, who = [], 0
            for j, k in enumerate(ids):
                learn.append(who)
                if m.pieces[k] == "<|assistant|>":
                    who = 1
                elif k == m.eot:
                    who = 0
            for j, k in enumerate(ids):          # the line break after the role is given, not said
                if m.pieces[k] == "<|assistant|>":
                    learn[j + 1] = learn[j + 2] = 0
        if len(ids) <= m.n_ctx:
            a, b = m.nll(ids, learn)
            rows[kind][0] += a
            rows[kind][1] += b
    for kind, (a, b) in rows.items():
        print("%s: perplexity %.4f over %d tokens" % (kind, math.exp(a / b), b))
    print("both: perplexity %.4f" % math.exp(sum(r[0] for r in rows.values()) / sum(r[1] for r in rows.values())))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--perplexity", type=int, default=0, metavar="N")
    p.add_argument("--greedy", metavar="PROMPT")
    p.add_argument("--sample", type=int, default=0, metavar="N")
    p.add_argument("--prompt", default="Once upon a time")
    p.add_argument("--chat", action="append", default=[], metavar="TURN")
    p.add_argument("--temp", type=float, default=0.7)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("-n", type=int, default=400)
    a = p.parse_args()
    m, rng = Model(a.model), np.random.default_rng(a.seed)
    if a.perplexity:
        perplexity(m, a.perplexity, a.seed)
    if a.greedy is not None:
        ids = m.generate([m.bos] + m.plain(a.greedy), a.n)
        print(ids)
        print(a.greedy + m.decode(ids))
    for _ in range(a.sample):
        print(a.prompt + m.decode(m.generate([m.bos] + m.plain(a.prompt), a.n, a.temp, rng)) + "\n")
    messages = []
    for turn in a.chat:
        messages.append({"role": "user", "content": turn})
        said = m.decode(m.generate(m.encode(m.render(messages, True)), a.n, a.temp, rng))
        messages.append({"role": "assistant", "content": said})
        print("> " + turn + "\n" + said)
    return 0


if __name__ == "__main__":
    sys.exit(main())
