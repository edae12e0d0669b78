#!/usr/bin/env python3
"""Makes tests/golden/arch: tiny random models and the logits their original implementation gives.

Usage: ref-arch.py tests/golden/arch [NAME...]       (no NAME: all; "list" prints them)

For every case below a random model of the package transformers (5.23.0 with torch 2.15.0) runs
40 token ids in float32, attention written out ("eager"), without a cache. Two files come out:

NAME.gguf    the model, all tensors F32, with the names, keys and rearranged weights that the
             GGUF converter of the ggml project gives a model of this family; the names and the
             keys come from the package gguf (0.19.0)
NAME.logits  f32 little-endian, [40 x vocabulary], no header: the logits after each of the ids

The ids are (i * 37 + 11) % vocabulary for i in 0..39; the vocabulary is 64. Weights are made by
a generator seeded with the case's name, so a case can be made again alone. Matrices have spread
enough that attention is not flat, norm weights lie around 1, and biases are not 0.

Each case is run in float64 too, where the family allows; the difference is printed, so that a
case in which rounding decides something (an expert, say) is seen and gets another seed.
"""
import pathlib
import sys
import zlib

import gguf
import numpy as np
import torch
import transformers as tf

N_IDS = 40
VOCAB = 64
CASES = {}
WINDOW = 8


def case(fn):
    """A function that fills a Golden; its name is the name of the files."""
    CASES[fn.__name__.replace("_", "-")] = fn
    return fn


# -- random weights --


def randomize(model, gain, name):
    """gain(parameter's name): a factor on its spread, or None for the usual."""
    g = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    with torch.no_grad():
        for n, p in model.named_parameters():
            r = torch.randn(p.shape, generator=g, dtype=torch.float32)
            s = gain(n) if gain else None
            if p.ndim == 1:
                r *= 0.3 if s is None else s
                p.copy_(r + 1 if n.endswith("norm.weight") or ".ln_" in n and "weight" in n else r)
                continue
            if s is None:
                s = 1.7 if any(k in n for k in ("q_proj", "k_proj", "qkv", "c_attn")) else 1.1
            if "embed" in n or n.endswith((".wte.weight", ".wpe.weight")):
                r *= s / 1.1
            else:
                r *= s / p.shape[-1] ** 0.5
            p.copy_(r)


# -- the GGUF side --


def pieces(n):
    """A small SentencePiece vocabulary: three control tokens, the space mark, single letters."""
    letters = "etaoinshrdlucmfwypvbgkqjxzETAOINSHRDLUCMFWYPVBGKQJXZ0123456789.,!?'"
    return (["<unk>", "<s>", "</s>", "\u2581"] + list(letters))[:n]


def permute(w, n_head):
    """Rows of each head: halves to pairs, for rope over adjacent columns."""
    return w.reshape(n_head, 2, -1, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


class Golden:
    def __init__(self, out, name, arch, model, gain=None):
        self.out, self.name, self.model = out, name, model.eval()
        self.c = model.config.get_text_config()
        self.arch = arch
        self.w = gguf.GGUFWriter(out / f"{name}.gguf", gguf.MODEL_ARCH_NAMES[arch])
        self.map = gguf.get_tensor_name_map(arch, self.c.num_hidden_layers)
        self.done = set()
        randomize(model, gain, name)

    def keys(self):
        """What every family writes."""
        c, w = self.c, self.w
        w.add_context_length(c.max_position_embeddings)
        w.add_embedding_length(c.hidden_size)
        w.add_block_count(c.num_hidden_layers)
        w.add_head_count(c.num_attention_heads)
        for name, put in (
            ("intermediate_size", w.add_feed_forward_length),
            ("num_key_value_heads", w.add_head_count_kv),
            ("rms_norm_eps", w.add_layer_norm_rms_eps),
            ("layer_norm_eps", w.add_layer_norm_eps),
            ("norm_epsilon", w.add_layer_norm_eps),
        ):
            if getattr(c, name, None) is not None:
                put(getattr(c, name))
        w.add_file_type(gguf.LlamaFileType.ALL_F32)

    def rope(self, params):
        w = self.w
        w.add_rope_freq_base(params["rope_theta"])
        kind = params["rope_type"]
        if kind == "linear":
            w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            w.add_rope_scaling_factor(params["factor"])
        elif kind == "yarn":
            w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
            w.add_rope_scaling_factor(params["factor"])
            w.add_rope_scaling_orig_ctx_len(params["original_max_position_embeddings"])
            for key, put in (
                ("beta_fast", w.add_rope_scaling_yarn_beta_fast),
                ("beta_slow", w.add_rope_scaling_yarn_beta_slow),
            ):
                if params.get(key) is not None:
                    put(params[key])

    def tokenizer(self):
        w, n = self.w, self.c.vocab_size
        w.add_tokenizer_model("llama")
        w.add_tokenizer_pre("default")
        w.add_token_list(pieces(n))
        w.add_token_scores([0.0] * 3 + [-float(i) for i in range(n - 3)])
        w.add_token_types([2, 3, 3] + [1] * (n - 3))
        w.add_bos_token_id(1)
        w.add_eos_token_id(2)
        w.add_unk_token_id(0)

    def put(self, name, a):
        """A tensor under its GGUF name."""
        assert name not in self.done, name
        self.done.add(name)
        self.w.add_tensor(name, np.ascontiguousarray(a, dtype=np.float32))

    def put_hf(self, name, a):
        """A tensor under the name it has in the original checkpoint."""
        new = self.map.get_name(name, try_suffixes=(".weight", ".bias"))
        assert new, f"no GGUF name for {name}"
        self.put(new, a)

    def tensors(self, change=lambda n, a: [(n, a)]):
        """change(name, array) gives the tensors that one of the model's becomes."""
        for n, p in self.model.named_parameters():
            for new, a in change(n, p.detach().float().numpy()):
                self.put_hf(new, a)

    def finish(self):
        self.w.write_header_to_file()
        self.w.write_kv_data_to_file()
        self.w.write_tensors_to_file()
        self.w.close()
        ids = torch.tensor([[(i * 37 + 11) % self.c.vocab_size for i in range(N_IDS)]])
        with torch.no_grad():
            y = self.model(input_ids=ids, use_cache=False).logits[0].numpy()
            z = self.model.double()(input_ids=ids, use_cache=False).logits[0].numpy()
        assert y.shape == (N_IDS, self.c.vocab_size) and y.dtype == np.float32
        y.astype("<f4").tofile(self.out / f"{self.name}.logits")
        rel = np.abs(y - z).max() / np.abs(z).max()
        size = (self.out / f"{self.name}.gguf").stat().st_size
        print(f"{self.name:24} {size:7} bytes  rms {y.std():.2f}  f32 to f64 {rel:.1e}")


def base(**more):
    return {
        "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
        "attn_implementation": "eager", "bos_token_id": 1, "eos_token_id": 2,
        "pad_token_id": None, "attention_dropout": 0.0, **more,
    }


def rope(kind="default", theta=10000.0, **more):
    return {"rope_type": kind, "rope_theta": theta, **more}


def make(config_class, model_class, **config):
    return model_class(config_class(**config)).float()


# -- llama and what is like it --


def llama_like(out, name, more=None, cls=("LlamaConfig", "LlamaForCausalLM")):
    config = base(rope_parameters=rope(), rms_norm_eps=1e-5) | (more or {})
    g = Golden(out, name, gguf.MODEL_ARCH.LLAMA, make(*(getattr(tf, k) for k in cls), **config))
    c = g.c
    g.keys()
    g.rope(c.rope_parameters)
    g.w.add_vocab_size(c.vocab_size)
    g.w.add_rope_dimension_count(c.head_dim)
    g.tokenizer()
    if c.rope_parameters["rope_type"] == "llama3":
        f = 1 / (c.rope_parameters["rope_theta"] ** (np.arange(0, c.head_dim, 2) / c.head_dim))
        g.put("rope_freqs.weight", f / g.model.model.rotary_emb.inv_freq.numpy())
    return g


def llama_pairs(g):
    def change(n, a):
        if ".q_proj." in n:
            a = permute(a, g.c.num_attention_heads)
        elif ".k_proj." in n:
            a = permute(a, g.c.num_key_value_heads)
        return [(n, a)]

    return change


@case
def llama(out, name):
    g = llama_like(out, name, {"tie_word_embeddings": True})
    g.tensors(llama_pairs(g))
    g.finish()


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__.split("\n\n")[1])
    out = pathlib.Path(sys.argv[1])
    names = sys.argv[2:] or list(CASES)
    if names == ["list"]:
        print("\n".join(CASES))
        return
    torch.set_num_threads(1)
    for name in names:
        CASES[name](out, name)


main()
