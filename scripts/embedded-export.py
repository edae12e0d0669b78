#!/usr/bin/env python3
"""embedded-export.py - writes a checkpoint of train-embedded.py as GGUF.

    embedded-export.py model.pt share/rill-tales.gguf                 the shipped mixture
    embedded-export.py model.pt rill-tales.f32.gguf --type F32        everything in F32

Needs the Python packages gguf and torch. Norms stay F32. Every matrix has rows of a multiple of 256
values, so any block format fits.
"""

import argparse
import sys

import gguf
import numpy as np
import torch

TEMPLATE = ("{{ bos_token }}{% for message in messages %}"
            "{{ '<|' + message['role'] + '|>\\n' + message['content'] | trim + '<|end|>' }}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}")
FILE_TYPE = {"F32": gguf.LlamaFileType.ALL_F32, "F16": gguf.LlamaFileType.MOSTLY_F16, "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
             "Q5_1": gguf.LlamaFileType.MOSTLY_Q5_1, "Q5_0": gguf.LlamaFileType.MOSTLY_Q5_0, "Q4_0": gguf.LlamaFileType.MOSTLY_Q4_0}


def add_header(w, c, note):
    w.add_type("model")
    w.add_name("rill tales")
    w.add_basename("rill-tales")
    w.add_description("A small model of short stories, shipped with rill. Trained on generated text only.")
    w.add_author("the rill authors")
    w.add_license("MIT")
    w.add_languages(["en"])
    w.add_string("general.version", "1")
    w.add_string("rill.training", note)
    w.add_float32("general.sampling.temp", 0.7)
    w.add_int32("general.sampling.top_k", 40)
    w.add_float32("general.sampling.top_p", 0.95)
    w.add_vocab_size(c["n_vocab"])
    w.add_context_length(c["n_ctx"])
    w.add_embedding_length(c["dim"])
    w.add_block_count(c["n_layer"])
    w.add_feed_forward_length(c["ffn"])
    w.add_head_count(c["n_head"])
    w.add_head_count_kv(c["n_kv"])
    w.add_layer_norm_rms_eps(c["eps"])
    w.add_rope_dimension_count(c["head_dim"])
    w.add_rope_freq_base(c["rope_base"])


def add_vocab(w, pieces):
    T = gguf.TokenType
    types = [T.UNKNOWN, T.CONTROL, T.CONTROL] + [T.BYTE] * 256 + [T.CONTROL] * 4
    types += [T.NORMAL] * (len(pieces) - len(types))
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(pieces)
    # pieces stand in the order of their merges: the earlier, the better
    w.add_token_scores([0.0 if i < 263 else float(263 - i) for i in range(len(pieces))])
    w.add_token_types(types)
    w.add_unk_token_id(0)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_eot_token_id(pieces.index("<|end|>"))
    w.add_add_bos_token(True)
    w.add_add_eos_token(False)
    w.add_add_space_prefix(True)
    w.add_chat_template(TEMPLATE)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("checkpoint")
    p.add_argument("out")
    p.add_argument("--type", default="Q8_0", metavar="TYPE", choices=sorted(FILE_TYPE))
    p.add_argument("--tensor", action="append", default=[], metavar="PART=TYPE", help="another type where the name contains PART")
    a = p.parse_args()
    ck = torch.load(a.checkpoint, weights_only=True)
    w = gguf.GGUFWriter(a.out, "llama")
    add_header(w, ck["config"], ck["note"])
    w.add_file_type(FILE_TYPE[a.type])
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_vocab(w, ck["pieces"])
    for name, t in ck["state"].items():
        x = t.numpy().astype(np.float32)
        kind = a.type if x.ndim == 2 else "F32"
        for part, other in (s.split("=") for s in a.tensor):
            if part in name and x.ndim == 2:
                kind = other
        q = gguf.GGMLQuantizationType[kind]
        w.add_tensor(name, gguf.quants.quantize(x, q), raw_dtype=q)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
