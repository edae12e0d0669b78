#!/usr/bin/env python3
"""train-embedded.py - trains the embedded model on what storygen.py writes.

Development only (PyTorch). It learns a byte-fallback BPE vocabulary from the generator's text, then
trains a small Llama for --minutes of wall clock, and leaves a checkpoint (vocabulary, sizes, F32
weights) that embedded-export.py turns into GGUF. Every document is seen once. The same seed gives the
same data in the same order; how many steps fit into the minutes depends on the machine.

    train-embedded.py --minutes 40 --out model.pt
    train-embedded.py --minutes 20 --init model.pt --seed 2 --out better.pt      goes on, with other documents

Copying a name from far back is learned late, because most other words can be told from their neighbours:
--names and --agree make such words weigh more in the loss (share/README.md says what that did).
"""

import argparse
import collections
import math
import os
import re
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import storygen  # noqa: E402

BOS, EOS, BYTE0 = 1, 2, 3
ROLES = {"system": 259, "user": 260, "assistant": 261}
END = 262
CONTROLS = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
SPACE = "\u2581"


# The vocabulary: SentencePiece BPE, without a library. -------------------------------------------

# No piece crosses from letters to anything else, so text can be cut here before it is merged.
CHUNK = re.compile(r" ?[A-Za-z]+| ?[0-9]| ?[^A-Za-z0-9\s]+|\n| ")


def learn_bpe(texts, n_vocab):
    """Pieces in id order: <unk> <s> </s>, 256 bytes, 4 controls, merged pieces, single characters."""
    words = collections.Counter()
    for t in texts:
        words.update(c.replace(" ", SPACE) for c in CHUNK.findall(t))
    chars = [SPACE] + [chr(c) for c in range(33, 127)]
    seqs = [[list(w), n] for w, n in sorted(words.items()) if w != "\n"]
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for i, (w, n) in enumerate(seqs):
        for p in zip(w, w[1:]):
            pairs[p] += n
            where[p].add(i)
    merged = []
    while len(merged) < n_vocab - 263 - len(chars):
        best = max(pairs, key=lambda p: (pairs[p], p))
        new = best[0] + best[1]
        if new not in merged:
            merged.append(new)
        for i in sorted(where[best]):
            w, n = seqs[i]
            for p in zip(w, w[1:]):
                pairs[p] -= n
            j = 0
            while j + 1 < len(w):
                if w[j] == best[0] and w[j + 1] == best[1]:
                    w[j:j + 2] = [new]
                j += 1
            for p in zip(w, w[1:]):
                pairs[p] += n
                where[p].add(i)
        del pairs[best], where[best]
    return ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)] + CONTROLS + merged + chars


class Vocab:
    def __init__(self, pieces):
        self.pieces = pieces
        self.id = {p: i for i, p in enumerate(pieces) if i >= 263}
        self.cache = {}

    def chunk(self, c):
        ids = self.cache.get(c)
        if ids is None:
            w = list(c.replace(" ", SPACE))
            while True:        # ids grow with merge rank: the lowest id is the best score
                at = [(self.id[w[i] + w[i + 1]], i) for i in range(len(w) - 1) if w[i] + w[i + 1] in self.id]
                if not at:
                    break
                i = min(at)[1]
                w[i:i + 2] = [w[i] + w[i + 1]]
            ids = [k for p in w for k in ([self.id[p]] if p in self.id else [BYTE0 + b for b in p.encode()])]
            self.cache[c] = ids
        return ids

    def encode(self, text, prefix=True):
        return [k for c in CHUNK.findall((" " if prefix else "") + text) for k in self.chunk(c)]

    def decode(self, ids):
        out = b""
        for k in ids:
            if BYTE0 <= k < BYTE0 + 256:
                out += bytes([k - BYTE0])
            elif k >= 263:
                out += self.pieces[k].replace(SPACE, " ").encode()
        return out.decode(errors="replace")

    def document(self, doc, bare=False, answers=1):
        """(ids, what each weighs in the loss). bare: no space mark after a control token.

        answers: weight of the words that must obey the user: the beginning of what is told, and short replies.
        """
        kind, what = doc
        if kind == "story":
            ids = [BOS] + self.encode(what) + [EOS]
            return ids, [0] + [1] * (len(ids) - 1)
        ids, learn = [BOS], [0]
        for m in what:
            head = [ROLES[m["role"]]] + self.encode("\n", not bare)
            body = self.encode(m["content"], False) + [END]
            ids += head + body
            one = int(m["role"] == "assistant")
            near = min(len(body), 40 if len(body) <= 40 else 20)
            learn += [0] * len(head) + [one * answers] * near + [one] * (len(body) - near)
        return ids, learn


# The model: Llama, with ggml's rotary convention (neighbouring pairs). ----------------------------

class Norm(nn.Module):
    def __init__(self, n, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(n)), eps

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, f, kv = c["dim"], c["ffn"], c["n_kv"] * c["head_dim"]
        self.c = c
        self.attn_norm, self.ffn_norm = Norm(d, c["eps"]), Norm(d, c["eps"])
        self.attn_q = nn.Linear(d, d, bias=False)
        self.attn_k, self.attn_v = nn.Linear(d, kv, bias=False), nn.Linear(d, kv, bias=False)
        self.attn_output = nn.Linear(d, d, bias=False)
        self.ffn_gate, self.ffn_up = nn.Linear(d, f, bias=False), nn.Linear(d, f, bias=False)
        self.ffn_down = nn.Linear(f, d, bias=False)

    def heads(self, x, n):
        return x.view(x.shape[0], x.shape[1], n, -1).transpose(1, 2)

    def forward(self, x, cos, sin):
        c, n = self.c, self.attn_norm(x)
        q = rope(self.heads(self.attn_q(n), c["n_head"]), cos, sin)
        k = rope(self.heads(self.attn_k(n), c["n_kv"]), cos, sin)
        v = self.heads(self.attn_v(n), c["n_kv"])
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=c["n_head"] != c["n_kv"])
        x = x + self.attn_output(a.transpose(1, 2).reshape(x.shape))
        n = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(n)) * self.ffn_up(n))


def rope(x, cos, sin):
    z = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(z * torch.complex(cos, sin)).flatten(-2)


class Llama(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.token_embd = nn.Embedding(c["n_vocab"], c["dim"])
        self.blk = nn.ModuleList(Layer(c) for _ in range(c["n_layer"]))
        self.output_norm = Norm(c["dim"], c["eps"])
        hd = c["head_dim"]
        at = torch.outer(torch.arange(c["n_ctx"]).float(), c["rope_base"] ** (-torch.arange(0, hd, 2).float() / hd))
        self.register_buffer("cos", at.cos(), persistent=False)
        self.register_buffer("sin", at.sin(), persistent=False)
        for name, p in self.named_parameters():
            if p.ndim == 2:
                out = name.endswith(("attn_output.weight", "ffn_down.weight"))
                nn.init.normal_(p, std=0.02 / (math.sqrt(2 * c["n_layer"]) if out else 1))

    def hidden(self, ids):
        x, t = self.token_embd(ids), ids.shape[1]
        for b in self.blk:
            x = b(x, self.cos[:t], self.sin[:t])
        return self.output_norm(x)

    def forward(self, ids):
        return F.linear(self.hidden(ids), self.token_embd.weight)


class Muon:
    """Momentum whose update is made orthogonal (Newton-Schulz): for the matrices inside the layers."""

    def __init__(self, params, momentum=0.95, decay=0.02):
        self.params, self.momentum, self.decay = list(params), momentum, decay
        self.m = [torch.zeros_like(p) for p in self.params]

    @torch.no_grad()
    def step(self, lr):
        for p, m in zip(self.params, self.m):
            m.lerp_(p.grad, 1 - self.momentum)
            g = p.grad.lerp(m, self.momentum)
            x = g.T if g.shape[0] > g.shape[1] else g
            x = x / (x.norm() + 1e-7)
            for _ in range(5):
                s = x @ x.T
                x = 3.4445 * x + (-4.7750 * s + 2.0315 * s @ s) @ x
            x = x.T if g.shape[0] > g.shape[1] else x
            p.mul_(1 - lr * self.decay).add_(x, alpha=-lr * max(1, p.shape[0] / p.shape[1]) ** 0.5)


# Data and the loop. -------------------------------------------------------------------------------

def batches(vocab, seed, tokens, n_ctx, answers=1, lessons=()):
    """Endless (ids, targets, weights): documents of like length together, so that little is padding."""
    at, order = 0, storygen.Rng(seed, 1 << 50)
    while True:
        docs = []
        while len(docs) < 640:
            die = storygen.Rng(seed + 1, at).below(100)
            kind = next((k for k, upto in lessons if die < upto), None)
            ids, learn = vocab.document(storygen.document(seed, at, kind), at % 7 == 3, answers)
            if kind == "start":
                n = learn.index(answers) + 24
                ids, learn = ids[:n], learn[:n]
            at += 1
            if len(ids) <= n_ctx and any(learn):
                docs.append((ids, learn))
        docs.sort(key=lambda d: len(d[0]))
        out, row = [], []
        for d in docs:
            if row and (len(row) + 1) * len(d[0]) > tokens:
                out.append(row)
                row = []
            row.append(d)
        out.append(row)
        while out:
            rows = out.pop(order.below(len(out)))
            width = max(len(d[0]) for d in rows) - 1
            x, y = torch.zeros(len(rows), width, dtype=torch.long), torch.full((len(rows), width), -100)
            w = torch.zeros(len(rows), width)
            for i, (ids, learn) in enumerate(rows):
                n = len(ids) - 1
                x[i, :n] = torch.tensor(ids[:-1])
                y[i, :n] = torch.tensor([k if u else -100 for k, u in zip(ids[1:], learn[1:])])
                w[i, :n] = torch.tensor(learn[1:])
            yield x, y, w


def loss_of(model, x, y, by_place=None, by_piece=None):
    """Mean loss where y is set. A token weighs by where it stands and by what it is."""
    keep = y.flatten() != -100
    h, y = model.hidden(x).flatten(0, 1)[keep], y.flatten()[keep]
    loss = F.cross_entropy(F.linear(h, model.token_embd.weight), y, reduction="none")
    if by_place is None:
        return loss.mean()
    w = by_place.flatten()[keep] * by_piece[y]
    return (loss * w).sum() / w.sum()


@torch.no_grad()
def heldout_loss(model, vocab, seed, n):
    """Mean loss per learned token over held-out documents."""
    total = count = 0
    for i in range(n):
        ids, learn = vocab.document(storygen.document(seed, storygen.HELDOUT + i))
        if len(ids) > model.c["n_ctx"]:
            continue
        x = torch.tensor([ids[:-1]])
        y = torch.tensor([[k if w else -100 for k, w in zip(ids[1:], learn[1:])]])
        k = int((y != -100).sum())
        total, count = total + float(loss_of(model, x, y)) * k, count + k
    return total / count


@torch.no_grad()
def generate(model, ids, n, temp=0.0):
    ids = list(ids)
    start = len(ids)
    while len(ids) - start < n and len(ids) < model.c["n_ctx"]:
        z = model(torch.tensor([ids]))[0, -1]
        k = int(z.argmax()) if temp == 0 else int(torch.multinomial((z / temp).softmax(0), 1))
        ids.append(k)
        if k in (EOS, END):
            break
    return ids[start:]


def save(path, model, vocab, seed, note):
    part = path + ".part"
    torch.save({"config": model.c, "pieces": vocab.pieces, "seed": seed, "note": note,
                "state": {k: v.clone() for k, v in model.state_dict().items()}}, part)
    os.replace(part, path)


def name_weights(vocab, names, others):
    """What pieces weigh in the loss beyond 1: names, and the other words that must agree with what was told."""
    w = torch.zeros(len(vocab.pieces))
    agree = sorted(storygen.KINDS) + storygen.COLORS + storygen.TOYS + storygen.FOODS + storygen.RARE + "he she him her his He She His Her".split()
    for words, weight in ((agree, others), (storygen.GIRLS + storygen.BOYS, names)):
        for piece in [p + word for word in words for p in ("", SPACE)]:
            if piece in vocab.id:
                w[vocab.id[piece]] = weight - 1
    return w


def fresh(a):
    """A new vocabulary and a model of random weights."""
    texts = []
    for i in range(6000):
        kind, what = storygen.document(a.seed, i)
        texts += [" " + what] if kind == "story" else ["\n" + m["content"] for m in what]
    vocab = Vocab(learn_bpe(texts, a.vocab))
    n_tok, n_word = sum(len(vocab.encode(t, False)) for t in texts), sum(len(t.split()) for t in texts)
    print("vocabulary %d, %.3f tokens per word" % (a.vocab, n_tok / n_word))
    c = {"dim": a.dim, "ffn": a.ffn, "n_layer": a.layers, "n_head": a.heads, "n_kv": a.kv_heads, "head_dim": a.dim // a.heads,
         "n_ctx": 512, "n_vocab": a.vocab, "eps": 1e-5, "rope_base": 10000.0}
    return vocab, Llama(c)


def load(path):
    ck = torch.load(path, weights_only=True)
    model = Llama(ck["config"])
    model.load_state_dict(ck["state"])
    return Vocab(ck["pieces"]), model


def train(a):
    torch.manual_seed(a.seed)
    torch.set_num_threads(a.threads)
    vocab, model = load(a.init) if a.init else fresh(a)
    print("%d parameters" % sum(p.numel() for p in model.parameters()), flush=True)
    extra = name_weights(vocab, a.names, a.agree)
    inner = [p for n, p in model.named_parameters() if p.ndim == 2 and n.startswith("blk.")]
    other = [p for n, p in model.named_parameters() if not (p.ndim == 2 and n.startswith("blk."))]
    muon, adam = Muon(inner), torch.optim.AdamW(other, lr=a.lr_embd, betas=(0.9, 0.98), weight_decay=0.0)
    start = saved = told = time.time()
    seen = step = 0
    mean, done = None, 0.0
    lessons = [("quiz", a.quiz), ("start", a.quiz + a.start), ("short", a.quiz + a.start + a.short)]
    for x, y, place in batches(vocab, a.seed, a.batch, model.c["n_ctx"], a.answers, lessons):
        done = (time.time() - start) / (60 * a.minutes)
        if done >= 1:
            break
        rate = min(1, (step + 1) / 30) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * done)))
        loss = loss_of(model, x, y, place, 1 + extra * (1 - done))
        loss.backward()
        nn.utils.clip_grad_norm_(other, 1.0)
        muon.step(a.lr * rate)
        adam.param_groups[0]["lr"] = a.lr_embd * rate
        adam.step()
        model.zero_grad(set_to_none=True)
        step, seen = step + 1, seen + x.numel()
        mean = float(loss.detach()) if mean is None else 0.95 * mean + 0.05 * float(loss.detach())
        if time.time() - told > 30:
            told = time.time()
            print("%5.1f min  step %d  %.2f M tokens  loss %.4f" % ((told - start) / 60, step, seen / 1e6, mean), flush=True)
        if time.time() - saved > 120:
            saved = time.time()
            save(a.out, model, vocab, a.seed, "step %d, %d tokens, unfinished" % (step, seen))
    held = heldout_loss(model, vocab, a.seed, 300)
    save(a.out, model, vocab, a.seed, "%d steps, %d tokens" % (step, seen))
    print("done: %d steps, %.2f M tokens, held-out perplexity %.4f" % (step, seen / 1e6, math.exp(held)))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default="embedded.pt")
    p.add_argument("--minutes", type=float, default=40)
    p.add_argument("--init", metavar="CHECKPOINT", help="go on from here")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--names", type=float, default=1, metavar="W", help="weight of names in the loss, falling to 1 at the end")
    p.add_argument("--agree", type=float, default=1, metavar="W", help="the same for kinds, colours, things and pronouns")
    p.add_argument("--answers", type=float, default=1, metavar="W", help="weight of short replies and of how a story begins")
    p.add_argument("--start", type=int, default=0, metavar="PERCENT", help="documents that are a request and how its story begins")
    p.add_argument("--short", type=int, default=0, metavar="PERCENT", help="documents of a few sentences and questions about them")
    p.add_argument("--quiz", type=int, default=0, metavar="PERCENT", help="documents with many questions about one story")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--vocab", type=int, default=1536)
    p.add_argument("--dim", type=int, default=256)
    p.add_argument("--ffn", type=int, default=512)
    p.add_argument("--layers", type=int, default=5)
    p.add_argument("--heads", type=int, default=8)
    p.add_argument("--kv-heads", type=int, default=8)
    p.add_argument("--batch", type=int, default=3072, help="tokens per step")
    p.add_argument("--lr", type=float, default=0.02, help="of the layers' matrices")
    p.add_argument("--lr-embd", type=float, default=0.004, help="of embedding and norms")
    train(p.parse_args())
    return 0


if __name__ == "__main__":
    sys.exit(main())
