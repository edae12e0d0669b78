#!/usr/bin/env python3
"""Makes tests/golden/text/tokjson: small tokenizer.json files and what the library makes of texts.

Usage: ref-tokjson.py OUT TEXT              writes OUT/NAME.jsonl
       ref-tokjson.py --check N TOOL FILE... compares N texts with `TOOL -0 --special -m DIR`

With the package tokenizers (0.23). OUT/NAME.jsonl: the first line is the tokenizer.json, each other
line {"text", "ids"}, ids with the special tokens it adds. The vocabularies are trained on TEXT (the
first 60 kB); together the files use every kind of model, normalizer, pre-tokenizer, post-processor
and decoder that is read. --check takes lines of the texts beside TOOL's own and random strings, for
tokenizer.json files of any size, and prints how many differ.
"""
import json
import pathlib
import random
import subprocess
import sys
import tempfile

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, processors
from tokenizers import pre_tokenizers as pre
from tokenizers import trainers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
BYTES = pre.ByteLevel.alphabet()


def bpe(corpus, pre_tok, norm=None, size=420, special=("<s>", "</s>"), alphabet=None, **more):
    t = Tokenizer(models.BPE(**more))
    t.pre_tokenizer, t.normalizer = pre_tok, norm
    t.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(special), initial_alphabet=alphabet or [],
        show_progress=False, **{k: v for k, v in more.items() if k == "end_of_word_suffix"}))
    return t


def byte_level(corpus):
    t = bpe(corpus, pre.Sequence([pre.Split(Regex(LLAMA3), "isolated"),
                                  pre.ByteLevel(add_prefix_space=False, use_regex=False)]),
            normalizers.NFC(), alphabet=BYTES)
    t.decoder = decoders.ByteLevel()
    t.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("Thee", single_word=True)])
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])])
    return t


def gpt2(corpus):
    t = bpe(corpus, pre.ByteLevel(add_prefix_space=True), alphabet=BYTES)
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return t


def falcon(corpus):
    """Steps behind ByteLevel see letters for bytes."""
    return bpe(corpus, pre.Sequence([pre.Punctuation("contiguous"),
                                     pre.ByteLevel(add_prefix_space=False), pre.Digits(False),
                                     pre.Split(Regex("[0-9][0-9]"), "isolated")]), alphabet=BYTES)


def normalizer_bytes(corpus):
    return bpe(corpus, pre.Split(Regex("."), "merged_with_next"),
               normalizers.Sequence([normalizers.Strip(), normalizers.ByteLevel()]), alphabet=BYTES)


def spm(corpus, norm, pre_tok):
    fall = [f"<0x{i:02X}>" for i in range(256)]
    t = bpe(corpus, pre_tok, norm, 600, ["<unk>", "<s>", "</s>"] + fall, unk_token="<unk>",
            fuse_unk=True, byte_fallback=True)
    d = json.loads(t.to_str())  # the bytes are no added tokens
    d["added_tokens"] = [a for a in d["added_tokens"] if a["content"] not in fall]
    t = Tokenizer.from_str(json.dumps(d))
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(),
                                   decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return t


def llama(corpus):
    return spm(corpus, normalizers.Sequence([normalizers.Prepend("\u2581"),
                                             normalizers.Replace(" ", "\u2581")]), None)


def metaspace_first(corpus):
    return spm(corpus, None, pre.Metaspace("\u2581", "first", False))


def metaspace_split(corpus):
    return spm(corpus, None, pre.Metaspace("\u2581", "always", True))


def unigram(corpus):
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(),
                                         normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre.Sequence([pre.WhitespaceSplit(), pre.Metaspace("\u2581", "always")])
    t.decoder = decoders.Metaspace()
    t.train_from_iterator(corpus, trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False))
    t.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return t


def bert(corpus, norm=None, pre_tok=None):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=40))
    t.normalizer = norm or normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tok or pre.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    t.train_from_iterator(corpus, trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        show_progress=False))
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return t


def wordpiece(corpus):
    return bert(corpus, normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(),
                                              normalizers.Lowercase()]),
                pre.Sequence([pre.Whitespace(), pre.Punctuation("merged_with_previous"),
                              pre.Digits(True)]))


def words(corpus):
    t = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    t.normalizer = normalizers.Strip(left=True, right=False)
    t.pre_tokenizer = pre.Sequence([pre.CharDelimiterSplit(" "), pre.Punctuation("merged_with_next")])
    t.train_from_iterator(corpus, trainers.WordLevelTrainer(
        vocab_size=200, special_tokens=["[UNK]", "[X]"], show_progress=False))
    t.add_tokens([AddedToken("king", single_word=True), AddedToken("<a b>", lstrip=True),
                  AddedToken("<r>", rstrip=True, normalized=False)])
    return t


def clip(corpus):
    t = bpe(corpus, pre.Whitespace(), normalizers.Sequence([normalizers.NFD(),
                                                            normalizers.Lowercase()]),
            300, ["<unk>"], unk_token="<unk>", end_of_word_suffix="</w>")
    t.decoder = decoders.BPEDecoder()
    return t


def odd(corpus):
    t = bpe(corpus, pre.Sequence([pre.Split(Regex(r"\w+|[^\w\s]"), "removed", invert=True),
                                  pre.FixedLength(5)]),
            normalizers.Sequence([normalizers.Replace(Regex("[0-9]"), "0"),
                                  normalizers.Prepend(">")]), 200, ["<unk>"], unk_token="<unk>")
    t.add_tokens([AddedToken("Lord 1")])
    return t


MAKERS = [byte_level, gpt2, falcon, normalizer_bytes, llama, metaspace_first, metaspace_split,
          unigram, bert, wordpiece, words, clip, odd]

HARD = ["", " ", "  a  b ", "\n\n x\t\r\n", "HE'LL we'll I'm", "a<tool>b", "<s>x</s> y", " thee Thee",
        "kings king, king", "x <a b> y", "x <r>   y", "[CLS] a [MASK] b", "Lord 1 Lord 7 1999",
        "\u2581a \u2581 b", "caf\u00e9 cafe\u0301 \u00c5 \u212b \u0130", "\u4f60\u597d, \u4e16\u754c",
        "\U0001f600\u200d\U0001f44d\U0001f3fd", "4 \u00bd \u00b2 \u2167", "\u0627\u0644\u0639",
        "a\u00a0b\u3000c\u2028d", "\ufb01\u210c \uff21", "x" * 50, "a\x01b\x7fc", "...!? (a) [b]",
        "##a don't", "<0x0A>\u00e9\u0301"]


def texts(corpus, n, seed):
    rnd = random.Random(seed)
    marks = list(" \t\n  abcdefghijABCDE0123456789.,;:!?'\"()[]{}<>/|@#$%-_")
    wide = [chr(c) for a, b in ((0xa1, 0x250), (0x300, 0x345), (0x390, 0x500), (0x5d0, 0x5eb),
                                (0x905, 0x940), (0xe01, 0xe3b), (0x2010, 0x2060), (0x3041, 0x30ff),
                                (0x4e00, 0x4e80), (0xac00, 0xac80), (0xff01, 0xff60),
                                (0x1f300, 0x1f640)) for c in range(a, b)]
    for _ in range(n):
        kind = rnd.random()
        if kind < 0.4:
            yield rnd.choice(corpus)
        elif kind < 0.5:
            yield "".join(rnd.choice(HARD) for _ in range(3))
        elif kind < 0.7:
            yield "".join(rnd.choice(marks) for _ in range(rnd.randrange(1, 50)))
        else:
            yield "".join(rnd.choice(wide if rnd.random() < 0.5 else marks)
                          for _ in range(rnd.randrange(1, 40)))


def make(out, text):
    corpus = pathlib.Path(text).read_text()[:60000].split("\n")
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for fn in MAKERS:
        t = fn(corpus)
        d = json.loads(t.to_str())
        lines = [json.dumps(d, separators=(",", ":"), ensure_ascii=False)]
        for s in HARD + list(texts(corpus, 40, fn.__name__)):
            lines.append(json.dumps({"text": s, "ids": t.encode(s).ids}, separators=(",", ":")))
        (out / f"{fn.__name__}.jsonl").write_text("\n".join(lines) + "\n")
        print(f"{fn.__name__:18} {t.get_vocab_size():5} tokens, {len(lines) - 1} texts")


def check(n, tool, files):
    for name in files:
        t = Tokenizer.from_file(name)
        t.no_truncation()
        corpus = [s for s in t.get_vocab()][:2000] + HARD
        strings = [s.replace("\0", "") for s in texts(corpus, n, 1)]
        want = [e.ids for e in t.encode_batch(strings)]
        with tempfile.TemporaryDirectory() as tmp:
            (pathlib.Path(tmp) / "tokenizer.json").write_bytes(pathlib.Path(name).read_bytes())
            got = subprocess.run([tool, "-0", "--special", "-m", tmp], check=True,
                                 input=b"".join(s.encode() + b"\0" for s in strings),
                                 stdout=subprocess.PIPE).stdout.decode().split("\n")[:-1]
        assert len(got) == n
        bad = [i for i in range(n) if [int(x) for x in got[i].split()] != want[i]]
        print(f"{name}: {n} texts, {len(bad)} differ", *[repr(strings[i]) for i in bad[:2]])


if len(sys.argv) == 3:
    make(sys.argv[1], sys.argv[2])
elif len(sys.argv) > 4 and sys.argv[1] == "--check":
    check(int(sys.argv[2]), sys.argv[3], sys.argv[4:])
else:
    sys.exit(__doc__.split("\n\n")[1])
