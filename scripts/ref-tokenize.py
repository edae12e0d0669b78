#!/usr/bin/env python3
"""Compares rill-tokenize with public tokenizers on random and real text (development only).

Needs the Python packages gguf, tokenizers, sentencepiece and tiktoken, RILL_TESTDATA, and
rill-tokenize in PATH. Byte-level BPE: the GPT-2 vocabulary of the test data is written to a file
once for each pre-tokenizer name, and the same vocabulary is given to `tokenizers` with the
expressions of the published tokenizer files. SPM: against sentencepiece with the same pieces. Then
the test data's own vocabularies, each from every kind of file there is for it (NAME "files", or
one of FILES below).
Random texts have characters of all of Unicode, assigned or not.

    ref-tokenize.py [SEED [ROUNDS [NAME...]]]
    ref-tokenize.py golden DIR    writes tests/golden/text: {"text", "ids"} a line, by sentencepiece
    ref-tokenize.py bench [BYTES] speeds beside tokenizers, tiktoken and sentencepiece, one thread each
"""
import os
import random
import subprocess
import sys
import tempfile

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

DATA = os.environ.get("RILL_TESTDATA", "../shared/data")
MODE = sys.argv[1] if len(sys.argv) > 1 and not sys.argv[1].isdigit() else "compare"
SEED = int(sys.argv[1]) if len(sys.argv) > 1 and MODE == "compare" else 1
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 and MODE == "compare" else 3000
ONLY = sys.argv[3:] if MODE == "compare" else []
SHOWN = int(os.environ.get("SHOWN", "2"))  # of the texts that differ
rnd = random.Random(SEED)

S = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = S + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + TAIL
QWEN2 = S + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + TAIL
QWEN35 = S + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + TAIL
U = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
L = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
P = r"[^\r\n\p{L}\p{N}]?"
O200K = P + U + "*" + L + "+" + S + "?|" + P + U + "+" + L + "*" + S + r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + TAIL
TEKKEN = P + U + "*" + L + "+|" + P + U + "+" + L + r"*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + TAIL
DEEPSEEK = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"| ?[\p{P}\p{S}]+[\r\n]*|" + TAIL)
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
JAIS2 = (S + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)"
         r"|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}")
BAILING = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]"
           r"|\s+(?!\S)|\s+")
SEED_CODER = S + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}" "\r\n" r"]+|\s*[" "\r\n" r"]+|\s+(?!\S)|\s+"
EXAONE = (S + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]"
          r"|\s+(?!\S)|\s+")
BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"

# name: (steps, merging of whole pieces left out)
PRE = {
    "gpt-2": ([GPT2], False),
    "llama-bpe": ([LLAMA3], True),
    "dbrx": ([LLAMA3], False),
    "qwen2": ([QWEN2], False),
    "qwen35": ([QWEN35], False),
    "gpt-4o": ([O200K], False),
    "tekken": ([TEKKEN], True),
    "deepseek-v3": ([r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK], False),
    "deepseek-coder": (["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", "digits"], False),
    "starcoder": (["digits", GPT2], False),
    "falcon": (["punctuation", GPT2, "[0-9][0-9][0-9]"], False),
    "bloom": ([BLOOM], False),
    "jais-2": ([JAIS2], False),
    "bailingmoe": ([BAILING], False),
    "seed-coder": ([SEED_CODER], False),
    "exaone-moe": ([EXAONE], False),
    "superbpe": ([r"\p{N}+", r"(?=(\d{3})+(?!\d))"], False),
    "tiny_aya": ([r"\d{1,3}(?=(?:\d{3})*\b)", O200K], False),
}

COMMON = " \t\n\r  aAsStTdDmMrReEvVlL'''.,!?-/()<>$+=^~|`_\"0123456789\x0b\x1c\x01"
SOME = [0x17f, 0xe9, 0xc9, 0x1c5, 0x2b0, 0x301, 0x903, 0x5d0, 0x3042, 0x30a2, 0x4e00, 0x9fa5, 0x3007,
        0xac00, 0xff01, 0x3002, 0x2026, 0x2019, 0x2028, 0x85, 0xa0, 0x3000, 0x180e, 0x200b, 0x660, 0xbd,
        0x2160, 0x1f600, 0x20ac, 0xb2, 0xad, 0x10400, 0x212a, 0xaa, 0x964, 0x60c, 0xfffd, 0x2581]


def any_text():
    out = []
    for _ in range(rnd.randrange(1, 30)):
        k = rnd.randrange(8)
        if k < 4:
            c = rnd.choice(COMMON)
        elif k < 6:
            c = chr(rnd.choice(SOME))
        else:
            cp = rnd.randrange(1, 0x3000 if k == 6 else rnd.choice([0x20000, 0x110000]))
            c = chr(cp) if not 0xd800 <= cp < 0xe000 else "x"
        out.append(c * (rnd.randrange(1, 5) if rnd.randrange(6) == 0 else 1))
    return "".join(out)


def texts():
    out = [any_text() for _ in range(ROUNDS)]
    for name in ("tinyshakespeare.txt", "promessi_sposi.it.txt", "HumanEval.jsonl", "mt_bench.question.jsonl"):
        with open(os.path.join(DATA, "texts", name), encoding="utf-8", newline="") as f:
            s = f.read()
        for _ in range(20):
            at = rnd.randrange(len(s) - 2000)
            out.append(s[at:at + rnd.randrange(1, 2000)])
        for _ in range(ROUNDS // 8):
            at = rnd.randrange(len(s) - 200)
            out.append(s[at:at + rnd.randrange(1, 200)])
    return out


def encode(t, batch, **how):
    """The library's ids, some at a time: what it makes of each text is large."""
    out = []
    for at in range(0, len(batch), 5000):
        some = getattr(t, "_tokenizer", t).encode_batch_fast(batch[at:at + 5000], **how)
        out += [e.ids for e in some]
    return out


def ours(model, batch, *options):
    data = b"".join(t.encode() + b"\0" for t in batch)
    p = subprocess.run(["rill-tokenize", "-m", model, "-0", *options], input=data, capture_output=True)
    if p.returncode:
        raise SystemExit(p.stderr.decode())
    return [[int(x) for x in line.split()] for line in p.stdout.decode().split("\n")[:-1]]


def compare(name, batch, mine, theirs):
    bad = [i for i in range(len(batch)) if mine[i] != theirs[i]]
    order = sum(sorted(mine[i]) == sorted(theirs[i]) for i in bad)
    print(f"{name}: {len(batch) - len(bad)} of {len(batch)} equal",
          f"({order} of the others: the same tokens in another order)" * bool(bad))
    for i in bad[:SHOWN]:
        print("  text", ascii(batch[i])[:400])
        print("  ours", mine[i][:60], "\n  ref ", theirs[i][:60])
    return not bad


def gpt2_vocab():
    r = gguf.GGUFReader(os.path.join(DATA, "tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf"))
    return r.fields["tokenizer.ggml.tokens"].contents(), r.fields["tokenizer.ggml.merges"].contents(), \
        r.fields["tokenizer.ggml.token_type"].contents()


def write_gguf(path, tokens, merges, kinds, pre):
    w = gguf.GGUFWriter(path, "gpt2")
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list(tokens)
    w.add_token_types(kinds)
    w.add_token_merges(merges)
    w.add_bool("tokenizer.ggml.add_bos_token", False)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()


def step(s):
    if s == "digits":
        return pre_tokenizers.Digits(individual_digits=True)
    if s == "punctuation":
        return pre_tokenizers.Punctuation("contiguous")
    return pre_tokenizers.Split(Regex(s), "isolated")


def bpe():
    tokens, merges, kinds = gpt2_vocab()
    pairs = [tuple(m.split(" ")) for m in merges]
    ok = True
    for name, (steps, whole) in PRE.items():
        if ONLY and name not in ONLY:
            continue
        t = Tokenizer(models.BPE(vocab={k: i for i, k in enumerate(tokens)}, merges=pairs, ignore_merges=whole))
        t.pre_tokenizer = pre_tokenizers.Sequence(
            [step(s) for s in steps] + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "v.gguf")
            write_gguf(path, tokens, merges, kinds, name)
            batch = texts()
            ok &= compare(name, batch, ours(path, batch), encode(t, batch))
    return ok


KIND = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6}  # SentencePiece numbers its kinds as GGUF does


def write_spm_gguf(path, proto, model):
    w = gguf.GGUFWriter(path, "llama")
    w.add_tokenizer_model(model)
    w.add_token_list([p.piece for p in proto.pieces])
    w.add_token_scores([p.score for p in proto.pieces])
    w.add_token_types([KIND[p.type] for p in proto.pieces])
    n = proto.normalizer_spec
    w.add_add_space_prefix(n.add_dummy_prefix)
    w.add_remove_extra_whitespaces(n.remove_extra_whitespaces)
    if n.precompiled_charsmap:
        w.add_precompiled_charsmap(n.precompiled_charsmap)
    for role in ("bos", "eos", "unk"):
        i = getattr(proto.trainer_spec, role + "_id")
        if i >= 0:
            {"bos": w.add_bos_token_id, "eos": w.add_eos_token_id, "unk": w.add_unk_token_id}[role](i)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()


def sentencepieces():
    import sentencepiece as spm
    from sentencepiece import sentencepiece_model_pb2 as pb
    ok = True
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "v.gguf")
        for name, file, model in (("unigram", "sentencepiece/test_model.model", "t5"),
                                  ("spm", "mistral/tokenizer.model.v1", "llama"),
                                  ("spm-v3", "mistral/mistral_instruct_tokenizer_240323.model.v3", "llama")):
            if ONLY and name not in ONLY:
                continue
            proto = pb.ModelProto()
            with open(os.path.join(DATA, "tokenizers", file), "rb") as f:
                proto.ParseFromString(f.read())
            write_spm_gguf(path, proto, model)
            t = spm.SentencePieceProcessor(model_proto=proto.SerializeToString())
            batch = texts()
            ok &= compare(name, batch, ours(path, batch, "--no-bos"), [t.encode(x) for x in batch])
    return ok


def wordpiece():
    from tokenizers import BertWordPieceTokenizer
    if ONLY and "bert" not in ONLY:
        return True
    t = BertWordPieceTokenizer(os.path.join(DATA, "tokenizers/bert-base-uncased/vocab.txt"), lowercase=True)
    batch = texts()
    model = os.path.join(DATA, "tokenizers/ggml-vocab/ggml-vocab-bert-bge.gguf")
    return compare("bert", batch, ours(model, batch, "--no-bos"),
                   encode(t, batch, add_special_tokens=False))


def byte_bpe(vocab, merges, *steps, nfc=False, whole=False):
    t = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=whole))
    t.normalizer = normalizers.NFC() if nfc else None
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [step(s) for s in steps] + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return t


def gguf_bpe(name):
    r = gguf.GGUFReader(name).fields
    tokens = r["tokenizer.ggml.tokens"].contents()
    kinds = r["tokenizer.ggml.token_type"].contents()
    added = [AddedToken(t, normalized=False) for t, k in zip(tokens, kinds) if k == 4]
    return ({k: i for i, k in enumerate(tokens)},
            [tuple(m.split(" ")) for m in r["tokenizer.ggml.merges"].contents()], added)


def spm_unigram(path):
    """A SentencePiece model's pieces as the library `tokenizers` has them."""
    from sentencepiece import sentencepiece_model_pb2 as pb
    proto = pb.ModelProto()
    with open(path, "rb") as f:
        proto.ParseFromString(f.read())
    t = Tokenizer(models.Unigram([(p.piece, p.score) for p in proto.pieces], proto.trainer_spec.unk_id, False))
    t.normalizer = normalizers.Sequence([normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap),
                                         normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace("\u2581", "always", False)
    return t


FILES = ("gpt-neox", "gpt-2-gguf", "falcon-gguf", "deepseek-gguf", "qwen2-json", "bert-txt",
         "bert-gguf", "bert-json", "cl100k", "unigram-model", "unigram-json", "mistral-v1", "mistral-v3")


def files():
    """The test data's vocabularies as they are: all (NAME "files"), or one of FILES."""
    import shutil

    import sentencepiece as spm
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe
    from tokenizers import BertWordPieceTokenizer
    chosen = FILES if not ONLY or "files" in ONLY else [x for x in ONLY if x in FILES]
    if not chosen:
        return True
    at = os.path.join(DATA, "tokenizers")
    vocabs = os.path.join(at, "ggml-vocab", "ggml-vocab-{}.gguf")
    batch, ok = texts(), True

    def check(name, want, model, *options):
        nonlocal ok
        if name in chosen:
            ok &= compare(name, batch, ours(model, batch, *options), want())

    def folder(d, **named):
        d = os.path.join(d, str(len(os.listdir(d))))
        os.mkdir(d)
        for to, path in named.items():
            shutil.copy(os.path.join(at, path), os.path.join(d, to.replace("__", ".")))
        return d

    with tempfile.TemporaryDirectory() as d:
        t = Tokenizer.from_file(os.path.join(at, "gpt-neox-20b/20B_tokenizer.json"))
        check("gpt-neox", lambda: encode(t, batch), folder(d, tokenizer__json="gpt-neox-20b/20B_tokenizer.json"))
        for short, name, steps in (("gpt-2-gguf", "gpt-2", [GPT2]),
                                   ("falcon-gguf", "falcon", ["punctuation", GPT2, "[0-9][0-9][0-9]"]),
                                   ("deepseek-gguf", "deepseek-coder", PRE["deepseek-coder"][0])):
            vocab, merges, added = gguf_bpe(vocabs.format(name))
            g = byte_bpe(vocab, merges, *steps)
            g.add_tokens(added)
            check(short, lambda g=g: encode(g, batch), vocabs.format(name), "--no-bos")
        q = byte_bpe(*models.BPE.read_file(os.path.join(at, "qwen2/vocab.json"),
                                           os.path.join(at, "qwen2/merges.txt")), QWEN2, nfc=True)
        check("qwen2-json", lambda: encode(q, batch),
              folder(d, vocab__json="qwen2/vocab.json", merges__txt="qwen2/merges.txt",
                     tokenizer_config__json="qwen2/tokenizer_config.json"))
        b = BertWordPieceTokenizer(os.path.join(at, "bert-base-uncased/vocab.txt"), lowercase=True)
        b.save(os.path.join(d, "bert.json"))
        for name, model in (("bert-txt", folder(d, vocab__txt="bert-base-uncased/vocab.txt")),
                            ("bert-gguf", vocabs.format("bert-bge")),
                            ("bert-json", folder(d, tokenizer__json=os.path.join(d, "bert.json")))):
            check(name, lambda: encode(b, batch, add_special_tokens=False), model, "--no-bos")
        k = tiktoken.Encoding("cl100k", pat_str=LLAMA3, special_tokens={}, mergeable_ranks=load_tiktoken_bpe(
            os.path.join(at, "tiktoken/cl100k_base.tiktoken")))
        check("cl100k", lambda: [k.encode_ordinary(x) for x in batch],
              folder(d, cl100k_base__tiktoken="tiktoken/cl100k_base.tiktoken"))
        u = spm_unigram(os.path.join(at, "sentencepiece/test_model.model"))
        u.save(os.path.join(d, "unigram.json"))
        check("unigram-json", lambda: encode(u, batch), folder(d, tokenizer__json=os.path.join(d, "unigram.json")),
              "--no-bos")
        for name, file in (("unigram-model", "sentencepiece/test_model.model"),
                           ("mistral-v1", "mistral/tokenizer.model.v1"),
                           ("mistral-v3", "mistral/mistral_instruct_tokenizer_240323.model.v3")):
            s = spm.SentencePieceProcessor(model_file=os.path.join(at, file))
            check(name, lambda s=s: s.encode(batch), folder(d, tokenizer__model=file), "--no-bos")
    return ok


def goldens(to):
    import json

    import sentencepiece as spm
    for name, file in (("unigram", "sentencepiece/test_model.model"), ("spm", "mistral/tokenizer.model.v1")):
        t = spm.SentencePieceProcessor(model_file=os.path.join(DATA, "tokenizers", file))
        fixed = ["", " ", "   ", "a", "Hello world", "  two  spaces  ", "\uff26\uff55\uff4c\uff4c \u2460\ufb01",
                 "\u2581mark", "caf\u00e9 cafe\u0301", "\U0001f600\U0001f601", "line\nbreak\ttab", "aaaaaaaaaaaaaaaa"]
        with open(os.path.join(to, name + ".jsonl"), "w", encoding="utf-8") as f:
            # runs of U+2026 are left out: float sums decide there (see libcore/text/unigram.c)
            for x in fixed + [any_text() for _ in range(120)]:
                if x.count("\u2026") < 2:
                    f.write(json.dumps({"text": x, "ids": t.encode(x)}) + "\n")


def bench():
    """One thread each, the same text, processor time, best of 3; the library has it by lines."""
    import time

    import sentencepiece as spm
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe
    from tokenizers import BertWordPieceTokenizer
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 3000000
    at = os.path.join(DATA, "tokenizers")
    text = ""
    for name in ("tinyshakespeare.txt", "promessi_sposi.it.txt", "HumanEval.jsonl", "botchan.en.txt"):
        with open(os.path.join(DATA, "texts", name), encoding="utf-8", newline="") as f:
            text += f.read()
    text = (text * (size // len(text) + 1))[:size]
    lines = ["".join(part) for part in zip(*[iter(text.splitlines(keepends=True))] * 40)]
    n = sum(len(x.encode()) for x in lines)

    def best(f):
        times = []
        for _ in range(3):
            start = time.process_time()
            f()
            times.append(time.process_time() - start)
        return n / min(times) / 1e6

    small = lines[::8]

    def row(name, theirs, f, model):
        speed = best(f)
        p = subprocess.run(["rill-tokenize", "-m", model, "--bench"], input="".join(lines).encode(),
                           stdout=subprocess.PIPE, check=True).stdout.decode()
        own = float(p.split("encoded at ")[1].split(" ")[0])
        print(f"| {name} | {own:.1f} | {theirs} | {speed:.2f} | {own / speed:.1f} |", flush=True)

    print(f"{n} bytes\n\n| vocabulary | rill-tokenize MB/s | other | MB/s | ratio |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as d:
        def folder(**named):
            f = os.path.join(d, str(len(os.listdir(d))))
            os.mkdir(f)
            for to, path in named.items():
                os.symlink(os.path.abspath(os.path.join(at, path)), os.path.join(f, to.replace("__", ".")))
            return f

        q = byte_bpe(*models.BPE.read_file(os.path.join(at, "qwen2/vocab.json"),
                                           os.path.join(at, "qwen2/merges.txt")), QWEN2, nfc=True)
        row("Qwen2 (byte-level BPE, NFC)", "tokenizers", lambda: [q.encode(x) for x in lines],
            folder(vocab__json="qwen2/vocab.json", merges__txt="qwen2/merges.txt",
                   tokenizer_config__json="qwen2/tokenizer_config.json"))
        t = Tokenizer.from_file(os.path.join(at, "gpt-neox-20b/20B_tokenizer.json"))
        row("GPT-NeoX (tokenizer.json)", "tokenizers", lambda: [t.encode(x) for x in lines],
            folder(tokenizer__json="gpt-neox-20b/20B_tokenizer.json"))
        k = tiktoken.Encoding("cl100k", pat_str=LLAMA3, special_tokens={}, mergeable_ranks=load_tiktoken_bpe(
            os.path.join(at, "tiktoken/cl100k_base.tiktoken")))
        row("cl100k (.tiktoken)", "tiktoken", lambda: [k.encode_ordinary(x) for x in lines],
            folder(cl100k_base__tiktoken="tiktoken/cl100k_base.tiktoken"))
        b = BertWordPieceTokenizer(os.path.join(at, "bert-base-uncased/vocab.txt"), lowercase=True)
        row("BERT (vocab.txt)", "tokenizers", lambda: [b.encode(x) for x in lines],
            folder(vocab__txt="bert-base-uncased/vocab.txt"))
        b.save(os.path.join(d, "b.json"))
        row("BERT (tokenizer.json)", "tokenizers", lambda: [b.encode(x) for x in lines],
            folder(tokenizer__json=os.path.join(d, "b.json")))
        for name, file in (("Unigram", "sentencepiece/test_model.model"),
                           ("SentencePiece BPE", "mistral/tokenizer.model.v1")):
            s = spm.SentencePieceProcessor(model_file=os.path.join(at, file))
            row(name + " (tokenizer.model)", "sentencepiece", lambda: [s.encode(x) for x in lines],
                folder(tokenizer__model=file))
        tok = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/golden/text/tokjson")
        for name in ("llama", "metaspace_first", "unigram", "wordpiece", "clip_bytes", "words"):
            with open(os.path.join(tok, name + ".jsonl"), encoding="utf-8") as f:
                first = f.readline()
            folder_of = folder()
            with open(os.path.join(folder_of, "tokenizer.json"), "w", encoding="utf-8") as f:
                f.write(first)
            g = Tokenizer.from_str(first)
            row(f"{name} (small tokenizer.json)", "tokenizers",
                lambda: [g.encode(x) for x in small * 8], folder_of)


if __name__ == "__main__":
    if MODE == "golden":
        goldens(sys.argv[2])
        sys.exit(0)
    if MODE == "bench":
        bench()
        sys.exit(0)
    sys.exit(0 if all([bpe(), sentencepieces(), wordpiece(), files()]) else 1)
