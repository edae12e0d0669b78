#!/usr/bin/env python3
"""Makes tests/golden/hfdir: a tiny Llama as a Hugging Face directory in two files, random weights in
BF16, with a byte-level tokenizer.json (the one of tests/golden/text/tokjson), a chat template and a
generation_config.json. greedy.ids: what transformers makes of "The King" (16 ids, greedy, in F32).

Usage: ref-hfdir.py tests/golden            (packages transformers 5, tokenizers, torch)
"""
import json
import pathlib
import sys

import torch
import transformers as tf
from tokenizers import Tokenizer

out = pathlib.Path(sys.argv[1]) / "hfdir"
tok = (pathlib.Path(sys.argv[1]) / "text/tokjson/byte_level.jsonl").read_text().split("\n")[0]
torch.manual_seed(1)
c = tf.LlamaConfig(vocab_size=424, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                   num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
                   bos_token_id=0, eos_token_id=1, pad_token_id=None, tie_word_embeddings=True)
m = tf.LlamaForCausalLM(c).to(torch.bfloat16)
for n, p in m.named_parameters():
    p.data.copy_(torch.randn(p.shape) * (0.1 if p.ndim == 1 else 1.5 / p.shape[-1] ** 0.5)
                 + (1 if p.ndim == 1 else 0))
m.generation_config = tf.GenerationConfig(bos_token_id=0, eos_token_id=[1], do_sample=True,
                                          temperature=0.6, top_p=0.9, top_k=40)
m.save_pretrained(out, max_shard_size="40KB")
(out / "tokenizer.json").write_text(tok + "\n")
(out / "tokenizer_config.json").write_text(json.dumps(
    {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "tokenizer_class": "PreTrainedTokenizerFast"},
    indent=1) + "\n")
(out / "chat_template.jinja").write_text(
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}")
ids = Tokenizer.from_str(tok).encode("The King").ids
n = len(ids)
m = m.float()
with torch.no_grad():
    for _ in range(16):
        ids.append(int(m(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
(out / "greedy.ids").write_text(" ".join(map(str, ids[n:])) + "\n")
