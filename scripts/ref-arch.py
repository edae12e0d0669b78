#!/usr/bin/env python3
"""Makes tests/golden/arch: tiny random models and the logits their original implementation gives.

Usage: ref-arch.py tests/golden/arch [NAME...]       (no NAME: all; "list" prints them)

For every case below a random model of the package transformers (5.23.0 with torch 2.15.0) runs
40 token ids in float32, attention written out ("eager"), without a cache. Two files come out:

NAME.gguf    the model, all tensors F32, with the names, keys and rearranged weights that the
             GGUF converter of the ggml project gives a model of this family; the names and the
             keys come from the package gguf (0.19.0)
NAME.logits  f32 little-endian, [40 x vocabulary], no header: the logits after each of the ids; of
             encoders the rows behind the last norm instead (token types are 0 for 25 ids, then
             1), and behind them the scores of a classifier
NAME.hf.json the same model as a Hugging Face directory, its numbers left out: "config", and for
             each tensor of the safetensors file its type, shape and the CRC-32 of its bytes (null
             where they are not those of the GGUF file moved about). With HF=DIR in the environment
             the directory itself is written too, to DIR/NAME

The ids are (i * 37 + 11) % vocabulary for i in 0..39; the vocabulary is 64. A model is opened
with a context of 64 positions: phi3-short and phi3-long stand on the two sides of that. Windows
are 8 positions. Weights are made by a generator seeded with the case's name, so a case can be
made again alone. Matrices have spread enough that attention is not flat, norm weights lie around
1, and biases are not 0.

Each case is run in float64 too; the difference is printed, so that a case in which rounding
decides something (an expert, say) is seen and gets another seed.
"""
import json
import logging
import os
import pathlib
import sys
import tempfile
import zlib

import gguf
import numpy as np
import torch
import safetensors.numpy
import transformers as tf

N_IDS = 40
VOCAB = 64
WINDOW = 8
A = gguf.MODEL_ARCH
CASES = {}


def case(fn):
    """A function that makes the files of its name; "_" stands for "-"."""
    CASES[fn.__name__.replace("_", "-")] = fn
    return fn


# -- random weights --


def randomize(model, name, gain, norm_at):
    """gain(parameter's name): spread of one, or None for the usual; norms lie around norm_at."""
    g = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    for n, p in model.named_parameters():
        r = torch.randn(p.shape, generator=g)
        s = gain(n)
        if "norm.weight" in n or ".ln_" in n and n.endswith("weight"):
            r = norm_at + r * 0.3
        elif p.ndim == 1:
            r = r * (s or 0.4)
        elif "embed" in n or "wte" in n or "wpe" in n:
            r = r * (s or 1.0)
        else:
            sharp = any(k in n for k in ("q_proj", "k_proj", "q_b_proj", "qkv", "c_attn"))
            r = r * (s or (1.7 if sharp else 1.1)) / p.shape[-1] ** 0.5
        p.data.copy_(r)


# -- the GGUF side --


def pieces(n):
    """A small SentencePiece vocabulary: three control tokens, the space mark, single letters."""
    letters = "etaoinshrdlucmfwypvbgkqjxzETAOINSHRDLUCMFWYPVBGKQJXZ0123456789.,!?'"
    return (["<unk>", "<s>", "</s>", "\u2581"] + list(letters))[:n]


def permute(w, n_head):
    """Rows of each head: halves to pairs, for rope over adjacent columns."""
    return w.reshape(n_head, 2, -1, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


class Golden:
    """One case: a model, its GGUF file, its logits."""

    def __init__(self, out, name, arch, model, gain=lambda n: None, norm_at=1.0):
        self.out, self.name, self.model = out, name, model.float().eval()
        self.norm_at = norm_at
        self.c = c = model.config
        self.n_layer = c.num_hidden_layers
        self.w = gguf.GGUFWriter(out / f"{name}.gguf", gguf.MODEL_ARCH_NAMES[arch])
        self.map = gguf.get_tensor_name_map(arch, self.n_layer)
        self.done = {}
        randomize(model, name, gain, norm_at)

    def put_each(self, *pairs):
        """Keys that stand in the file when the configuration has a value for them."""
        for field, put in pairs:
            if (v := getattr(self.c, field, None)) is not None:
                put(v)

    def keys(self):
        """What every family writes."""
        c, w = self.c, self.w
        w.add_block_count(self.n_layer)
        w.add_context_length(c.max_position_embeddings)
        w.add_embedding_length(c.hidden_size)
        self.put_each(
            ("intermediate_size", w.add_feed_forward_length),
            ("num_attention_heads", w.add_head_count),
            ("num_key_value_heads", w.add_head_count_kv),
            ("rms_norm_eps", w.add_layer_norm_rms_eps),
            ("layer_norm_eps", w.add_layer_norm_eps),
            ("norm_epsilon", w.add_layer_norm_eps),
            ("num_local_experts", w.add_expert_count),
            ("num_experts_per_tok", w.add_expert_used_count),
            ("n_group", w.add_expert_group_count),
            ("topk_group", w.add_expert_group_used_count),
        )
        self.rope_keys()
        dim = getattr(c, "head_dim", None)
        if dim and dim * c.num_attention_heads != c.hidden_size:  # else: as in older files
            w.add_key_length(dim)
            w.add_value_length(dim)
        w.add_file_type(gguf.LlamaFileType.ALL_F32)
        self.tokenizer()

    def rope_keys(self):
        w, every = self.w, self.c.rope_parameters
        p = every.get("full_attention", every)
        w.add_rope_freq_base(p["rope_theta"])
        if "sliding_attention" in every:
            w.add_rope_freq_base_swa(every["sliding_attention"]["rope_theta"])
        if p["rope_type"] == "linear":
            w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            w.add_rope_scaling_factor(p["factor"])
        elif p["rope_type"] == "yarn":
            w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
            w.add_rope_scaling_factor(p["factor"])
            w.add_rope_scaling_orig_ctx_len(p["original_max_position_embeddings"])
            if p.get("beta_fast"):
                w.add_rope_scaling_yarn_beta_fast(p["beta_fast"])
                w.add_rope_scaling_yarn_beta_slow(p["beta_slow"])

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
        self.done[name] = np.ascontiguousarray(a, dtype=np.float32)

    def put_hf(self, name, a):
        """A tensor under the name it has in the original checkpoint."""
        new = self.map.get_name(name, try_suffixes=(".weight", ".bias"))
        assert new, f"no GGUF name for {name}"
        self.put(new, a)

    def tensors(self, *changes):
        """A change(name, array) gives the list of tensors that one of the model's becomes, or
        None when it is not its business; the first that has an answer counts."""
        for n, p in self.model.named_parameters():
            a = p.detach().numpy()
            for change in changes:
                if (got := change(n, a)) is not None:
                    break
            else:
                got = [(n, a)]
            for new, b in got:
                (self.put if new.startswith("blk.") else self.put_hf)(new, b)

    def finish(self):
        def place(name):
            part = name.split(".")
            return (1, int(part[1])) if part[0] == "blk" else (name.startswith("output") * 2, 0)

        for name in sorted(self.done, key=place):
            self.w.add_tensor(name, self.done[name])
        self.w.write_header_to_file()
        self.w.write_kv_data_to_file()
        self.w.write_tensors_to_file()
        self.w.close()
        self.directory()
        y = self.run(self.model)
        z = self.run(self.model.double())
        assert y.dtype == np.float32 and (isinstance(self, Encoder)
                                          or y.shape == (N_IDS, self.c.vocab_size))
        y.astype("<f4").tofile(self.out / f"{self.name}.logits")
        rel = np.abs(y - z).max() / np.abs(z).max()
        size = (self.out / f"{self.name}.gguf").stat().st_size
        print(f"{self.name:20} {size:7} bytes  rms {y.std():6.2f}  f32 to f64 {rel:.1e}")
        assert rel < 2e-5, "rounding decides something here"

    def directory(self):
        """What save_pretrained writes."""
        with tempfile.TemporaryDirectory() as tmp:
            to = pathlib.Path(os.environ.get("HF") or tmp) / self.name
            self.model.save_pretrained(to)
            config = json.loads((to / "config.json").read_text())
            tensors = {}
            for n, a in sorted(safetensors.numpy.load_file(to / "model.safetensors").items()):
                if self.norm_at == 0.0 and n.endswith("norm.weight"):
                    a = (a + np.float32(1)) - np.float32(1)  # as one who has the GGUF file sees it
                crc = None if n.endswith("A_log") else zlib.crc32(np.ascontiguousarray(a).tobytes())
                tensors[n] = ["F32", list(a.shape), crc]
        text = ",\n".join(f"{json.dumps(n)}: {json.dumps(t)}" for n, t in tensors.items())
        (self.out / f"{self.name}.hf.json").write_text(
            f'{{"config": {json.dumps(config)},\n"tensors": {{\n{text}}}}}\n')

    def run(self, model):
        ids = torch.tensor([[(i * 37 + 11) % self.c.vocab_size for i in range(N_IDS)]])
        with torch.no_grad():
            return model(input_ids=ids, use_cache=False).logits[0].numpy()


def model(kind, **more):
    """A model of the classes KindConfig and KindForCausalLM."""
    config = {
        "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None, "rope_parameters": rope(),
    } | more
    c = getattr(tf, ("Gemma3Text" if kind == "Gemma3" else kind) + "Config")(**config)
    c._attn_implementation = c._experts_implementation = "eager"
    return getattr(tf, kind + "ForCausalLM")(c)


def rope(kind="default", theta=10000.0, **more):
    return {"rope_type": kind, "rope_theta": theta, **more}


# -- changes of tensors --


def pairs(g):
    """Query and key rows for rope over adjacent columns."""

    def change(n, a):
        if ".q_proj." in n:
            return [(n, permute(a, g.c.num_attention_heads))]
        if ".k_proj." in n:
            return [(n, permute(a, g.c.num_key_value_heads))]
        return None

    return change


def experts(n, a):
    """The stacked experts of transformers: gate and up one after the other."""
    layer = n.split(".")[2] if ".layers." in n else ""
    if n.endswith("experts.gate_up_proj"):
        gate, up = np.split(a, 2, axis=1)
        return [(f"blk.{layer}.ffn_gate_exps.weight", gate),
                (f"blk.{layer}.ffn_up_exps.weight", up)]
    if n.endswith("experts.down_proj"):
        return [(f"blk.{layer}.ffn_down_exps.weight", a)]
    if n.endswith(("mlp.gate.weight", "block_sparse_moe.gate.weight", "router.weight")):
        return [(f"blk.{layer}.ffn_gate_inp.weight", a)]
    return None


def one_more(n, a):
    """Gemma multiplies by 1 + weight."""
    return [(n, a + 1)] if n.endswith("norm.weight") else None


def only(*ends, to):
    return lambda n, a: [(n.replace(*to), a)] if n.endswith(ends) else None


# -- llama and what is like it --


def llama_like(out, name, arch=A.LLAMA, kind="Llama", **more):
    g = Golden(out, name, arch, model(kind, **more))
    c = g.c
    g.keys()
    g.w.add_vocab_size(c.vocab_size)
    dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    g.w.add_rope_dimension_count(dim)
    if c.rope_parameters["rope_type"] == "llama3":
        f = c.rope_parameters["rope_theta"] ** -(np.arange(0, dim, 2) / dim)
        g.put("rope_freqs.weight", f / g.model.model.rotary_emb.inv_freq.numpy())
    g.tensors(pairs(g), experts)
    g.finish()


@case
def llama(out, name):
    llama_like(out, name, tie_word_embeddings=True)


@case
def llama_rope3(out, name):
    llama_like(out, name, num_attention_heads=2, num_key_value_heads=1, rope_parameters=rope(
        "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=64))


@case
def llama_linear(out, name):
    llama_like(out, name, rope_parameters=rope("linear", factor=4.0))


@case
def llama_yarn(out, name):
    llama_like(out, name, num_attention_heads=2, num_key_value_heads=1,
               max_position_embeddings=12000, rope_parameters=rope(
                   "yarn", factor=4.0, original_max_position_embeddings=3000))


@case
def llama_bias(out, name):
    """And heads that together are wider than the model."""
    llama_like(out, name, attention_bias=True, mlp_bias=True, num_key_value_heads=1, head_dim=16)


@case
def mixtral(out, name):
    llama_like(out, name, kind="Mixtral", num_local_experts=4, num_experts_per_tok=2,
               intermediate_size=16, rope_parameters=rope(theta=1e5))


# -- qwen --


@case
def qwen2(out, name):
    g = Golden(out, name, A.QWEN2, model("Qwen2", rope_parameters=rope(theta=1e6)))
    g.keys()
    g.tensors()
    g.finish()


@case
def qwen3(out, name):
    g = Golden(out, name, A.QWEN3, model("Qwen3", head_dim=16, rope_parameters=rope(theta=1e6)))
    g.keys()
    g.tensors()
    g.finish()


@case
def qwen3moe(out, name):
    g = Golden(out, name, A.QWEN3MOE, model(
        "Qwen3Moe", head_dim=16, num_experts=4, num_experts_per_tok=2, norm_topk_prob=True,
        moe_intermediate_size=16, rope_parameters=rope(theta=1e6)))
    g.keys()
    g.w.add_expert_feed_forward_length(g.c.moe_intermediate_size)
    g.tensors(experts)
    g.finish()


# -- gemma: norms are stored around 0, lengths of keys always written, rope sometimes not --


def gemma_like(out, name, arch, kind, **more):
    g = Golden(out, name, arch, model(kind, tie_word_embeddings=True, **more), norm_at=0.0)
    if arch == A.GEMMA3:
        g.keys()
    else:  # without a key for the rope base
        g.rope_keys = lambda: None
        g.keys()
    g.w.add_key_length(g.c.head_dim)
    g.w.add_value_length(g.c.head_dim)
    g.put_each(
        ("attn_logit_softcapping", g.w.add_attn_logit_softcapping),
        ("final_logit_softcapping", g.w.add_final_logit_softcapping),
        ("sliding_window", g.w.add_sliding_window),
    )
    g.tensors(one_more)
    g.finish()


@case
def gemma(out, name):
    gemma_like(out, name, A.GEMMA, "Gemma", head_dim=16, num_key_value_heads=1)


@case
def gemma2(out, name):
    gemma_like(out, name, A.GEMMA2, "Gemma2", head_dim=16, query_pre_attn_scalar=16,
               sliding_window=WINDOW, attn_logit_softcapping=4.0, final_logit_softcapping=8.0)


@case
def gemma3(out, name):
    """Five layers with a window, one without; only that one stretches its positions."""
    gemma_like(out, name, A.GEMMA3, "Gemma3", head_dim=8, query_pre_attn_scalar=8,
               num_hidden_layers=6, intermediate_size=24, num_attention_heads=2,
               num_key_value_heads=1, sliding_window=WINDOW, rope_parameters={
                   "full_attention": rope("linear", theta=50000.0, factor=4.0),
                   "sliding_attention": rope(theta=1000.0)})


# -- deepseek2: latent attention, experts --


def deepseek_like(out, name, kind, old=False, **more):
    g = Golden(out, name, A.DEEPSEEK2, model(kind, **{
        "num_key_value_heads": 4, "first_k_dense_replace": 1, "moe_intermediate_size": 16,
        "intermediate_size": 32, "kv_lora_rank": 24, "qk_nope_head_dim": 12,
        "qk_rope_head_dim": 16, "v_head_dim": 16, "n_shared_experts": 1} | more))
    c, w = g.c, g.w
    del c.head_dim  # this package's own; configurations of the family have none
    g.keys()
    w.add_leading_dense_block_count(c.first_k_dense_replace)
    w.add_vocab_size(c.vocab_size)
    if c.q_lora_rank:
        w.add_q_lora_rank(c.q_lora_rank)
    w.add_kv_lora_rank(c.kv_lora_rank)
    qk = c.qk_nope_head_dim + c.qk_rope_head_dim
    if old:
        w.add_key_length(qk)
        w.add_value_length(c.v_head_dim)
    else:
        w.add_head_count_kv(1)
        w.add_key_length(c.kv_lora_rank + c.qk_rope_head_dim)
        w.add_value_length(c.kv_lora_rank)
        w.add_key_length_mla(qk)
        w.add_value_length_mla(c.v_head_dim)
    w.add_expert_feed_forward_length(c.moe_intermediate_size)
    w.add_expert_count(c.n_routed_experts)
    w.add_expert_shared_count(c.n_shared_experts)
    w.add_expert_weights_scale(c.routed_scaling_factor)
    if c.norm_topk_prob:
        w.add_expert_weights_norm(True)
    sigmoid = kind == "DeepseekV3"
    w.add_expert_gating_func(
        gguf.ExpertGatingFuncType.SIGMOID if sigmoid else gguf.ExpertGatingFuncType.SOFTMAX)
    w.add_rope_dimension_count(c.qk_rope_head_dim)
    if "mscale_all_dim" in c.rope_parameters:
        w.add_rope_scaling_yarn_log_mul(0.1 * c.rope_parameters["mscale_all_dim"])

    def split(n, a):
        if not n.endswith("kv_b_proj.weight"):
            return None
        if old:
            return [(n, a)]
        a = a.reshape(c.num_attention_heads, c.qk_nope_head_dim + c.v_head_dim, c.kv_lora_rank)
        k, v = np.split(a, [c.qk_nope_head_dim], axis=1)
        return [(n.replace("kv_b", "k_b"), k.swapaxes(1, 2)), (n.replace("kv_b", "v_b"), v)]

    gen = torch.Generator().manual_seed(5)
    for i, layer in enumerate(g.model.model.layers):
        if sigmoid and i >= c.first_k_dense_replace:
            b = layer.mlp.gate.e_score_correction_bias
            b.copy_(0.3 * torch.randn(b.shape, generator=gen))
            g.put(f"blk.{i}.exp_probs_b.bias", b.numpy())
    g.tensors(split, experts)
    g.finish()


@case
def deepseek2_lite(out, name):
    deepseek_like(out, name, "DeepseekV2", q_lora_rank=None, n_routed_experts=4,
                  num_experts_per_tok=2, topk_method="greedy", norm_topk_prob=False,
                  rope_parameters=rope(theta=50000.0))


@case
def deepseek2_old(out, name):
    """As files were before attn_k_b: heads with keys and values of their own."""
    deepseek_like(out, name, "DeepseekV2", old=True, q_lora_rank=None, n_routed_experts=4,
                  num_experts_per_tok=2, topk_method="greedy", norm_topk_prob=False,
                  rope_parameters=rope("yarn", factor=40.0, original_max_position_embeddings=4096,
                                       beta_fast=16, beta_slow=3, mscale=0.707,
                                       mscale_all_dim=0.707))


@case
def deepseek2(out, name):
    deepseek_like(out, name, "DeepseekV3", q_lora_rank=16, n_routed_experts=8,
                  num_experts_per_tok=2, n_group=4, topk_group=2, norm_topk_prob=True,
                  routed_scaling_factor=2.5,
                  rope_parameters=rope("yarn", factor=40.0, original_max_position_embeddings=4096,
                                       beta_fast=16, beta_slow=3, mscale=1.0, mscale_all_dim=1.0))


@case
def deepseek2_groups(out, name):
    """V2 ranks groups by their best expert, V3 by the sum of the two best."""
    deepseek_like(out, name, "DeepseekV2", q_lora_rank=16, n_routed_experts=8,
                  num_experts_per_tok=2, topk_method="group_limited_greedy", n_group=4,
                  topk_group=2, norm_topk_prob=False, routed_scaling_factor=4.0)


# -- granite: llama with four multipliers; experts; Mamba-2 layers --

GRANITE = {"embedding_multiplier": 3.0, "residual_multiplier": 0.4, "attention_multiplier": 0.2,
           "logits_scaling": 2.0}


def granite_keys(g):
    g.keys()
    g.w.add_vocab_size(g.c.vocab_size)
    g.w.add_rope_dimension_count(g.c.hidden_size // g.c.num_attention_heads)
    g.put_each(
        ("attention_multiplier", g.w.add_attention_scale),
        ("embedding_multiplier", g.w.add_embedding_scale),
        ("residual_multiplier", g.w.add_residual_scale),
        ("logits_scaling", g.w.add_logit_scale),
    )


def granite_changes(g):
    """Gate and up apart; a shared network is the only one where there are no experts."""
    end = "_shexp" if getattr(g.c, "num_local_experts", 0) else ""

    def change(n, a):
        layer = n.split(".")[2] if ".layers." in n else ""
        if n.endswith("shared_mlp.input_linear.weight"):
            gate, up = np.split(a, 2)
            return [(f"blk.{layer}.ffn_gate{end}.weight", gate),
                    (f"blk.{layer}.ffn_up{end}.weight", up)]
        if n.endswith("shared_mlp.output_linear.weight"):
            return [(f"blk.{layer}.ffn_down{end}.weight", a)]
        return None

    return change


@case
def granite(out, name):
    g = Golden(out, name, A.GRANITE, model(
        "Granite", tie_word_embeddings=True, rope_parameters=rope(theta=50000.0), **GRANITE))
    granite_keys(g)
    g.tensors(pairs(g))
    g.finish()


@case
def granitemoe(out, name):
    g = Golden(out, name, A.GRANITE_MOE, model(
        "GraniteMoe", num_local_experts=4, num_experts_per_tok=2, intermediate_size=16, **GRANITE))
    granite_keys(g)
    g.tensors(pairs(g), experts)
    g.finish()


@case
def granitemoe_shared(out, name):
    g = Golden(out, name, A.GRANITE_MOE, model(
        "GraniteMoeShared", num_local_experts=4, num_experts_per_tok=2, intermediate_size=16,
        shared_intermediate_size=32, num_hidden_layers=1, **GRANITE))
    granite_keys(g)
    g.w.add_expert_shared_feed_forward_length(g.c.shared_intermediate_size)
    g.tensors(pairs(g), experts, granite_changes(g))
    g.finish()


def granite_hybrid(out, name, **more):
    """Layer 1 attends (without positions), the others are Mamba-2."""
    types = ["linear_attention", "full_attention", "linear_attention"]
    g = Golden(out, name, A.GRANITE_HYBRID, model(
        "GraniteMoeHybrid", mamba_n_heads=4, mamba_d_head=16, mamba_expand=2, mamba_d_state=8,
        mamba_n_groups=2, mamba_chunk_size=16, shared_intermediate_size=16,
        num_experts_per_tok=2, position_embedding_type=None,
        layer_types=types[:more["num_hidden_layers"]],
        tie_word_embeddings=True, **GRANITE, **more),
        gain=lambda n: 1.0 if n.endswith((".D", ".dt_bias", ".A_log")) else None)
    c, w = g.c, g.w
    granite_keys(g)
    inner = c.mamba_expand * c.hidden_size
    w.add_expert_shared_feed_forward_length(c.shared_intermediate_size)
    w.add_ssm_conv_kernel(c.mamba_d_conv)
    w.add_ssm_state_size(c.mamba_d_state)
    w.add_ssm_group_count(c.mamba_n_groups)
    w.add_ssm_inner_size(inner)
    w.add_ssm_time_step_rank(c.mamba_n_heads)
    attends = [t == "full_attention" for t in c.layer_types]
    w.add_head_count_kv([c.num_key_value_heads if t else 0 for t in attends])
    w.add_rope_scaling_finetuned(False)
    w.add_context_length(2**20)

    def mamba(n, a):
        layer = n.split(".")[2] if ".layers." in n else ""
        if n.endswith("mamba.A_log"):
            return [(f"blk.{layer}.ssm_a", -np.exp(a)[:, None])]
        if n.endswith("mamba.D"):
            return [(f"blk.{layer}.ssm_d", a[:, None])]
        if n.endswith("mamba.dt_bias"):
            return [(f"blk.{layer}.ssm_dt.bias", a)]
        if n.endswith("mamba.conv1d.weight"):
            return [(n, a.squeeze(1))]
        if n.endswith("mamba.norm.weight"):
            return [(n, a.reshape(c.mamba_n_groups, -1))]
        return None

    g.tensors(mamba, pairs(g), experts, granite_changes(g))
    g.finish()


@case
def granitehybrid(out, name):
    granite_hybrid(out, name, num_hidden_layers=2, num_local_experts=4, intermediate_size=16)


@case
def granitehybrid_dense(out, name):
    granite_hybrid(out, name, num_hidden_layers=3, num_local_experts=0, intermediate_size=16)


# -- phi3: one matrix for q, k, v, one for gate and up; two lists of rope factors --


def phi3_like(out, name, orig, **more):
    dim = more["hidden_size"] // more["num_attention_heads"]
    n_rot = int(dim * more.pop("partial", 1.0))
    factors = {"short_factor": [1.0 + 0.3 * i for i in range(n_rot // 2)],
               "long_factor": [1.5 + 1.1 * i for i in range(n_rot // 2)]}
    params = rope("longrope", original_max_position_embeddings=orig,
                  partial_rotary_factor=n_rot / dim, **factors)
    g = Golden(out, name, A.PHI3, model(
        "Phi3", original_max_position_embeddings=orig, rope_parameters=params, **more))
    c, w = g.c, g.w
    g.keys()
    w.add_rope_scaling_orig_ctx_len(orig)
    w.add_rope_dimension_count(n_rot)
    w.add_sliding_window(0)
    scale = c.max_position_embeddings / orig
    w.add_rope_scaling_attn_factors(float(np.sqrt(1 + np.log(scale) / np.log(orig))))
    g.put("rope_factors_long.weight", np.array(factors["long_factor"]))
    g.put("rope_factors_short.weight", np.array(factors["short_factor"]))
    g.tensors()
    g.finish()


@case
def phi3_short(out, name):
    """64 positions are within the original context, and a quarter of a head is not rotated."""
    phi3_like(out, name, 64, hidden_size=32, num_attention_heads=2, num_key_value_heads=1,
              partial=0.75)


@case
def phi3_long(out, name):
    phi3_like(out, name, 16, hidden_size=32, num_attention_heads=4, num_key_value_heads=2)


# -- gpt2, gptneox, starcoder2: layer norms and biases --


@case
def gpt2(out, name):
    c = tf.GPT2Config(vocab_size=VOCAB, n_positions=64, n_embd=32, n_layer=2, n_head=4,
                      bos_token_id=1, eos_token_id=2)
    c._attn_implementation = "eager"
    g = Golden(out, name, A.GPT2, tf.GPT2LMHeadModel(c))
    w = g.w
    w.add_block_count(c.n_layer)
    w.add_context_length(c.n_positions)
    w.add_embedding_length(c.n_embd)
    w.add_feed_forward_length(4 * c.n_embd)
    w.add_head_count(c.n_head)
    w.add_layer_norm_eps(c.layer_norm_epsilon)
    w.add_file_type(gguf.LlamaFileType.ALL_F32)
    g.tokenizer()

    def turn(n, a):  # its linear layers are stored [inputs x outputs]
        return [(n, a.T)] if a.ndim == 2 and ".h." in n else None

    g.tensors(turn)
    g.finish()


def gptneox_like(out, name, **more):
    g = Golden(out, name, A.GPTNEOX, model(
        "GPTNeoX", rope_parameters=rope(partial_rotary_factor=0.5), **more))
    c, w = g.c, g.w
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_block_count(g.n_layer)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_rope_dimension_count(c.hidden_size // c.num_attention_heads // 2)
    w.add_head_count(c.num_attention_heads)
    w.add_parallel_residual(c.use_parallel_residual)
    w.add_layer_norm_eps(c.layer_norm_eps)
    w.add_file_type(gguf.LlamaFileType.ALL_F32)
    g.tokenizer()

    def qkv(n, a):  # head by head q, k, v: first all q, then all k, then all v
        if "query_key_value" not in n:
            return None
        b = a.reshape(c.num_attention_heads, 3, -1, *a.shape[1:])
        return [(n, b.swapaxes(0, 1).reshape(a.shape))]

    g.tensors(qkv)
    g.finish()


@case
def gptneox(out, name):
    gptneox_like(out, name, use_parallel_residual=True)


@case
def gptneox_serial(out, name):
    gptneox_like(out, name, use_parallel_residual=False)


@case
def starcoder2(out, name):
    g = Golden(out, name, A.STARCODER2, model(
        "Starcoder2", tie_word_embeddings=True, rope_parameters=rope(theta=1e5)))
    g.keys()
    g.tensors()
    g.finish()


# -- gpt-oss --


@case
def gpt_oss(out, name):
    g = Golden(out, name, A.GPT_OSS, model(
        "GptOss", head_dim=16, intermediate_size=16, num_local_experts=4, num_experts_per_tok=2,
        sliding_window=WINDOW, max_position_embeddings=16384, rope_parameters=rope(
            "yarn", theta=150000.0, factor=32.0, original_max_position_embeddings=512,
            beta_fast=32.0, beta_slow=1.0, truncate=False)),
        gain=lambda n: 5.0 if n.endswith("gate_up_proj") else 1.0 if n.endswith("sinks") else None)
    g.keys()
    g.w.add_sliding_window(g.c.sliding_window)
    g.w.add_expert_feed_forward_length(g.c.intermediate_size)

    def layout(n, a):
        layer = n.split(".")[2] if ".layers." in n else ""
        if n.endswith("sinks"):
            return [(n + ".weight", a)]
        if "experts.gate_up_proj" in n:  # columns alternate, matrices are [inputs x outputs]
            end = "bias" if n.endswith("_bias") else "weight"
            a = a if end == "bias" else a.swapaxes(1, 2)
            return [(f"blk.{layer}.ffn_gate_exps.{end}", a[:, ::2]),
                    (f"blk.{layer}.ffn_up_exps.{end}", a[:, 1::2])]
        if n.endswith("experts.down_proj_bias"):
            return [(f"blk.{layer}.ffn_down_exps.bias", a)]
        if n.endswith("experts.down_proj"):
            return [(f"blk.{layer}.ffn_down_exps.weight", a.swapaxes(1, 2))]
        return None

    g.tensors(layout)
    g.finish()


# -- encoders --


def words(n):
    """A small WordPiece vocabulary as GGUF spells it: front pieces with a mark, others without."""
    letters = "etaoinshrdlucmfwypvbgkqjxz"
    return (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + ["\u2581" + x for x in letters]
            + list(letters) + ["\u2581" + x for x in ".,!?'-0123456789"])[:n]


class Encoder(Golden):
    """Rows and scores instead of logits."""

    def __init__(self, out, name, arch, model, pooling):
        super().__init__(out, name, arch, model, gain=lambda n: 0.7 if "LayerNorm" in n else None)
        g = torch.Generator().manual_seed(zlib.crc32(name.encode()) ^ 1)
        for n, p in self.model.named_parameters():
            if "norm" in n.lower() and n.endswith("weight"):
                p.data.copy_(1 + torch.randn(p.shape, generator=g) * 0.3)
            elif "query" in n or "key" in n:
                p.data.mul_(1.5)
        self.keys()
        self.w.add_causal_attention(False)
        self.w.add_pooling_type(pooling)
        self.w.add_token_type_count(self.c.type_vocab_size)

    def tokenizer(self):
        w, n = self.w, self.c.vocab_size
        w.add_tokenizer_model("bert")
        w.add_tokenizer_pre("default")
        w.add_token_list(words(n))
        w.add_token_types([3] * 5 + [1] * (n - 5))
        for i, role in enumerate(["padding", "unknown", "cls", "seperator", "mask"]):
            w.add_uint32(f"tokenizer.ggml.{role}_token_id", i)

    def rope_keys(self):
        if p := getattr(self.c, "rope_parameters", None):
            self.w.add_rope_freq_base(p["rope_theta"])

    def run(self, model):
        ids = torch.tensor([[(i * 37 + 11) % VOCAB for i in range(N_IDS)]])
        types = torch.tensor([[int(i >= 25) for i in range(N_IDS)]])
        with torch.no_grad():
            y = getattr(model, "bert", model)(input_ids=ids, token_type_ids=types)
            rows = y.last_hidden_state[0].numpy()
            if hasattr(model, "classifier"):
                scores = model(input_ids=ids, token_type_ids=types).logits.numpy()
                return np.concatenate([rows.reshape(-1), scores.reshape(-1)])
        return rows.reshape(-1)


def bert_like(out, name, kind, pooling, **more):
    c = tf.BertConfig(vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                      num_attention_heads=4, max_position_embeddings=128, type_vocab_size=2, **more)
    c._attn_implementation = "eager"
    args = {"add_pooling_layer": False} if kind == "BertModel" else {}
    g = Encoder(out, name, A.BERT, getattr(tf, kind)(c, **args), pooling)
    if kind != "BertModel":
        g.w.add_classifier_output_labels([c.id2label[i] for i in range(c.num_labels)])
    head = {"bert.pooler.dense.": "cls.", "classifier.": "cls.output."}

    def change(n, a):
        for old, new in head.items():
            if n.startswith(old):
                g.put(n.replace(old, new), a)
                return []
        return [(n.removeprefix("bert."), a)]

    g.tensors(change)
    g.finish()


@case
def bert(out, name):
    bert_like(out, name, "BertModel", gguf.PoolingType.MEAN)


@case
def bert_rank(out, name):
    """A reranker: one score, of the first row."""
    bert_like(out, name, "BertForSequenceClassification", gguf.PoolingType.RANK, num_labels=1)


@case
def nomic_bert(out, name):
    c = tf.NomicBertConfig(vocab_size=VOCAB, hidden_size=32, intermediate_size=48,
                           num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=128,
                           type_vocab_size=2, rope_parameters=rope(theta=1000.0))
    c._attn_implementation = "eager"
    g = Encoder(out, name, A.NOMIC_BERT, tf.NomicBertModel(c), gguf.PoolingType.MEAN)
    parts = {}

    def change(n, a):
        layer = n.split(".")[1]
        if any(k in n for k in ("q_proj", "k_proj", "v_proj")):
            parts.setdefault(layer, {})[n.split(".")[-2][0]] = a
            if len(parts[layer]) < 3:
                return []
            return [(f"blk.{layer}.attn_qkv.weight",
                     np.concatenate([parts[layer][k] for k in "qkv"]))]
        for old, new in (("self_attn.o_proj", "attn_output"), ("mlp.up_proj", "ffn_up"),
                         ("mlp.gate_proj", "ffn_gate"), ("mlp.down_proj", "ffn_down"),
                         ("post_attention_layernorm", "attn_output_norm"),
                         ("post_mlp_layernorm", "layer_output_norm")):
            if old in n:
                return [(f"blk.{layer}.{new}.{n.split('.')[-1]}", a)]
        return None

    g.tensors(change)
    g.finish()


# -- command-r, cohere2, olmo2 --


def cohere_like(out, name, arch, kind, **more):
    g = Golden(out, name, arch, model(
        kind, tie_word_embeddings=True, logit_scale=0.25, rope_parameters=rope(theta=50000.0),
        **more))
    g.keys()
    g.w.add_logit_scale(g.c.logit_scale)
    if arch == A.COHERE2:
        g.w.add_sliding_window(g.c.sliding_window)
        g.w.add_vocab_size(g.c.vocab_size)
        g.w.add_rope_dimension_count(g.c.hidden_size // g.c.num_attention_heads)
    g.w.add_rope_scaling_type(gguf.RopeScalingType.NONE)
    g.tensors()
    g.finish()


@case
def command_r(out, name):
    cohere_like(out, name, A.COMMAND_R, "Cohere")


@case
def command_r_norms(out, name):
    """With norms of queries and keys, each head its own weights."""
    cohere_like(out, name, A.COMMAND_R, "Cohere", use_qk_norm=True)


@case
def cohere2(out, name):
    """Three layers with a window and rope, one with neither."""
    cohere_like(out, name, A.COHERE2, "Cohere2", num_hidden_layers=4, intermediate_size=32,
                sliding_window=WINDOW)


@case
def olmo2(out, name):
    g = Golden(out, name, A.OLMO2, model("Olmo2", rope_parameters=rope(theta=500000.0)))
    g.keys()
    g.tensors()
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
    tf.logging.set_verbosity_error()
    logging.getLogger("gguf.gguf_writer").setLevel(logging.ERROR)  # keys written a second time
    for name in names:
        CASES[name](out, name)


main()
