#!/usr/bin/env python3
"""ref-mirostat.py LIBLLAMA.SO >tests/golden/mirostat.txt: what mirostat 1 and 2 do, step by step.

The samplers of llama.cpp (August 2025) pick the tokens and say how many were left to pick from; the
bound mu is worked out from the formulas of arXiv 2007.14966 in double precision, which must leave as
many. A line: version tau eta, the logits' step, mu before, the random number that picks the token,
the token, mu after. The logits of a step: golden_logit() below, as in tests/engine/test_sampler.c.
"""
import ctypes
import math
import sys

V, STEPS = 400, 14


class Token(ctypes.Structure):
    _fields_ = [("id", ctypes.c_int32), ("logit", ctypes.c_float), ("p", ctypes.c_float)]


class Tokens(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.POINTER(Token)),
        ("size", ctypes.c_size_t),
        ("selected", ctypes.c_int64),
        ("sorted", ctypes.c_bool),
    ]


ll = ctypes.CDLL(sys.argv[1])
i32, u32, f32 = ctypes.c_int32, ctypes.c_uint32, ctypes.c_float
ll.llama_sampler_init_mirostat.argtypes = [i32, u32, f32, f32, i32]
ll.llama_sampler_init_mirostat_v2.argtypes = [u32, f32, f32]
ll.llama_sampler_init_mirostat.restype = ctypes.c_void_p
ll.llama_sampler_init_mirostat_v2.restype = ctypes.c_void_p
ll.llama_sampler_apply.argtypes = [ctypes.c_void_p, ctypes.POINTER(Tokens)]


def golden_logit(step, i):
    x = (i * 7919 + step * 104729) % 65537
    return ctypes.c_float(9.0 * math.exp(-((x * 17) % V) / 60.0) + (x % 1000) / 500.0).value


def left(version, p, mu):
    if version == 2:
        n = sum(-math.log2(x) <= mu for x in p)
        return max(n, 1)
    up = down = 0.0
    for i in range(min(len(p), 100) - 1):
        t = math.log((i + 2) / (i + 1))
        up += t * math.log(p[i] / p[i + 1])
        down += t * t
    s = up / down
    eps = s - 1
    return max(1, min(len(p), int((eps * 2**mu / (1 - V**-eps)) ** (1 / s))))


for version, tau, eta in ((1, 5.0, 0.1), (1, 2.0, 0.3), (2, 5.0, 0.1), (2, 1.5, 0.4)):
    if version == 1:
        smpl = ll.llama_sampler_init_mirostat(V, 11, tau, eta, 100)
    else:
        smpl = ll.llama_sampler_init_mirostat_v2(11, tau, eta)
    mu = 2 * tau
    for step in range(STEPS):
        row = [golden_logit(step, i) for i in range(V)]
        data = (Token * V)(*[Token(i, x, 0.0) for i, x in enumerate(row)])
        arr = Tokens(data, V, -1, False)
        ll.llama_sampler_apply(smpl, ctypes.byref(arr))
        chosen = arr.data[arr.selected].id
        order = sorted(range(V), key=lambda i: (-row[i], i))
        w = [math.exp(row[i] - row[order[0]]) for i in order]
        n = left(version, [x / sum(w) for x in w], mu)
        if n != arr.size:
            sys.exit(f"version {version}, step {step}: {n} and {arr.size} left")
        at, total = order.index(chosen), sum(w[:n])
        u = (sum(w[:at]) + w[at] / 2) / total
        after = mu - eta * (-math.log2(w[at] / total) - tau)
        print(version, tau, eta, step, f"{mu:.12g} {u:.12g}", chosen, f"{after:.12g}")
        mu = after
