#!/usr/bin/env python3
"""Makes tests/golden/text/tokjson: small tokenizer.json files and what the library makes of texts.

Usage: ref-tokjson.py OUT TEXT              writes OUT/NAME.jsonl
       ref-tokjson.py --check N TOOL FILE... compares N texts with `TOOL -0 --special -m DIR`

With the package tokenizers (0.23). OUT/NAME.jsonl: the first line is the tokenizer.json, each other
line {"text", "ids"}, or {"pair", "ids", "types"} of two texts, ids with the special tokens it adds;
with "decoded" what its decoder makes of them again, where no special token is in the text; with
"decode" instead of "text" only that. The vocabularies are trained on TEXT (the first 60 kB);
together the files use every kind of model, normalizer, pre-tokenizer, post-processor and decoder
that is read. --check takes lines of the texts beside TOOL's own and random strings, for
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
        show_progress=False, **{k: v for k, v in more.items()
                                if k in ("end_of_word_suffix", "continuing_subword_prefix")}))
    return t


def byte_level(corpus):
    t = bpe(corpus, pre.Sequence([pre.Split(Regex(LLAMA3), "isolated"),
                                  pre.ByteLevel(add_prefix_space=False, use_regex=False)]),
            normalizers.NFC(), alphabet=BYTES)
    t.decoder = decoders.ByteLevel()
    t.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("Thee", single_word=True)])
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<s> $A", pair="$A:1 <s>:2 $B:0 <s>",
                                      special_tokens=[("<s>", 0)])])
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


def bert(corpus, norm=None, pre_tok=None, prefix="##"):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=40,
                                   continuing_subword_prefix=prefix))
    t.normalizer = norm or normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tok or pre.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    t.train_from_iterator(corpus, trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        continuing_subword_prefix=prefix, show_progress=False))
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


def clip_bytes(corpus):
    """As CLIP has it: words end with "</w>", in letters for bytes."""
    t = bpe(corpus, pre.Sequence([pre.Split(Regex(r"'s|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"),
                                            "removed", invert=True),
                                  pre.ByteLevel(add_prefix_space=False)]),
            normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "),
                                  normalizers.Lowercase()]),
            900, ["<s>", "</s>"], alphabet=BYTES, end_of_word_suffix="</w>")
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0), False, True)
    return t


def bpe_prefix(corpus):
    """Where in its word a character stands is told on both sides."""
    t = bpe(corpus, pre.WhitespaceSplit(), normalizers.Lowercase(), 400, ["<unk>"],
            unk_token="<unk>", fuse_unk=True, continuing_subword_prefix="##",
            end_of_word_suffix="</w>")
    t.decoder = decoders.Sequence([decoders.Replace("##", ""), decoders.BPEDecoder("</w>")])
    return t


def bpe_inside(corpus):
    t = bpe(corpus, pre.BertPreTokenizer(), None, 400, ["<unk>"], unk_token="<unk>",
            continuing_subword_prefix="@@")
    t.decoder = decoders.WordPiece("@@", False)
    return t


def no_merges(corpus):
    t = Tokenizer(models.BPE(vocab={"<unk>": 0, "a": 1, "b": 2, "ab": 3, "c": 4, " ": 5}, merges=[],
                             unk_token="<unk>"))
    t.normalizer = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False,
                                              strip_accents=True, lowercase=False)
    t.decoder = decoders.Fuse()
    return t


def wordpiece_other(corpus):
    """Another prefix, and spaces that English does not have are taken out."""
    t = bert(corpus, normalizers.BertNormalizer(strip_accents=False, lowercase=True,
                                                handle_chinese_chars=False), prefix="<>")
    t.decoder = decoders.WordPiece("<>", True)
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] [CLS] $0 [SEP]", pair="[CLS] $A [SEP] [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return t


def wordpiece_plain(corpus):
    """Pieces that go on are spelt as those that begin."""
    t = bert(corpus, normalizers.Lowercase(), pre.Split("e", "merged_with_next"), prefix="")
    t.decoder = decoders.Sequence([decoders.Replace("e", "E"), decoders.Strip("a", 0, 1)])
    return t


def unigram_scripts(corpus):
    t = Tokenizer(models.Unigram())
    t.pre_tokenizer = pre.Sequence([pre.UnicodeScripts(), pre.Metaspace("_", "first", True)])
    t.decoder = decoders.Metaspace("_", "first", True)
    t.train_from_iterator(corpus, trainers.UnigramTrainer(
        vocab_size=200, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False))
    return t


def unigram_charsmap(corpus):
    """A charsmap by SentencePiece, and what Unigram makes of spaces without Metaspace."""
    import sentencepiece
    with tempfile.TemporaryDirectory() as d:
        rules = [("ff46", "66"), ("fb01", "66 69"), ("41 30A", "C5"), ("2126", "3A9"), ("200B", ""),
                 ("BD", "74 68"), ("9", "20"), ("2581", "20"), ("0CC6 0CD5", "0CC7")]
        d = pathlib.Path(d)
        (d / "rules").write_text("".join(f"{a}\t{b}\n" for a, b in rules))
        (d / "text").write_text("\n".join(corpus))
        sentencepiece.SentencePieceTrainer.train(
            input=str(d / "text"), model_prefix=str(d / "m"), vocab_size=80, minloglevel=2,
            normalization_rule_tsv=str(d / "rules"), model_type="char")
        from sentencepiece import sentencepiece_model_pb2 as pb
        proto = pb.ModelProto()
        proto.ParseFromString((d / "m.model").read_bytes())
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)
    t.pre_tokenizer = pre.Split(" ", "isolated")
    t.train_from_iterator(corpus, trainers.UnigramTrainer(
        vocab_size=150, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False))
    t.decoder = decoders.Sequence([decoders.Replace(Regex("[aeiou]+"), "-"), decoders.Fuse(),
                                   decoders.Replace("t", "T"), decoders.Strip(" ", 1, 0)])
    return t


def ctc(corpus):
    letters = sorted(set("".join(corpus).upper()) - set(" |"))
    t = Tokenizer(models.WordLevel({c: i for i, c in enumerate(["<pad>", "<unk>", "|"] + letters)},
                                   unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.Replace("a", "A"), normalizers.Replace(" ", "|")])
    t.pre_tokenizer = pre.Split("", "isolated")
    t.decoder = decoders.CTC("<pad>", "|", True)
    return t


def words_bytes(corpus):
    """Letters for bytes, and a model that is not BPE."""
    t = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    t.pre_tokenizer = pre.Sequence([pre.Digits(True), pre.ByteLevel(add_prefix_space=False)])
    t.train_from_iterator(corpus, trainers.WordLevelTrainer(
        vocab_size=200, special_tokens=["[UNK]"], show_progress=False))
    t.decoder = decoders.ByteLevel()
    return t


def splits(corpus):
    """The ways of Split that the others do not use."""
    t = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    t.pre_tokenizer = pre.Sequence([
        pre.Split("the", "contiguous"), pre.Split(Regex("[A-Z][a-z]*"), "merged_with_previous"),
        pre.Split(Regex("[aeiou]"), "merged_with_next", invert=True), pre.Split(",", "removed"),
        pre.Punctuation("removed"), pre.Split(Regex("[0-9]+"), "contiguous", invert=True)])
    t.train_from_iterator(corpus, trainers.WordLevelTrainer(
        vocab_size=400, special_tokens=["[UNK]"], show_progress=False))
    t.add_tokens([AddedToken("<x>", lstrip=True, rstrip=True, normalized=True),
                  AddedToken("<y>", single_word=True, lstrip=True, normalized=False),
                  AddedToken("thou", single_word=True, rstrip=True)])
    t.add_special_tokens([AddedToken("<z>", lstrip=True, normalized=True)])
    return t


def odd(corpus):
    t = bpe(corpus, pre.Sequence([pre.Split(Regex(r"\w+|[^\w\s]"), "removed", invert=True),
                                  pre.FixedLength(5)]),
            normalizers.Sequence([normalizers.Replace(Regex("[0-9]"), "0"),
                                  normalizers.Prepend(">")]), 200, ["<unk>"], unk_token="<unk>")
    t.add_tokens([AddedToken("Lord 1")])
    return t


MAKERS = [byte_level, gpt2, falcon, normalizer_bytes, llama, metaspace_first, metaspace_split,
          unigram, bert, wordpiece, words, clip, clip_bytes, bpe_prefix, bpe_inside, no_merges,
          wordpiece_other, wordpiece_plain, unigram_scripts, unigram_charsmap, ctc, words_bytes,
          splits, odd]

HARD = ["", " ", "  a  b ", "\n\n x\t\r\n", "HE'LL we'll I'm", "a<tool>b", "<s>x</s> y", " thee Thee",
        "kings king, king", "x <a b> y", "x <r>   y", "[CLS] a [MASK] b", "Lord 1 Lord 7 1999",
        "\u2581a \u2581 b", "caf\u00e9 cafe\u0301 \u00c5 \u212b \u0130", "\u4f60\u597d, \u4e16\u754c",
        "\U0001f600\u200d\U0001f44d\U0001f3fd", "4 \u00bd \u00b2 \u2167", "\u0627\u0644\u0639",
        "a\u00a0b\u3000c\u2028d", "\ufb01\u210c \uff21", "x" * 50, "a\x01b\x7fc", "...!? (a) [b]",
        "##a don't", "<0x0A>\u00e9\u0301", "a <x> b<x>c <y> d<y>d", "thou  art thou.", "  <z> <z>x",
        "aab abab  cab", "\u3069\u3053\u3067 yes\u3002\u30fc no 1", " \u0416 a\u00e5A\u030a\u2126",
        "@@a b@@ <>c", "a</w> b", "A|B a|b", "it is n't . I 'm ' so '", "a\u200bb\ufb01\u0cc6\u0cd5x",
        "a\u08d3\u0323\u0301b \u1c89\ua7dc \u32ff \u1cf2a c\u1df6\u0301", "\U00010d4a7\U00010d41 \U000105c0x",
        "a\u00bd\u0897b \u00bd\u1aebc \u00bd\u0301", "\u1b4e\u2427 \U00016ea0\U00016ff4 \u0897\u0301\u0d3b \u0890"]


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


def plain(t, e):
    """Whether there is nothing special in what was encoded, so that all of it is decoded."""
    added = t.get_added_tokens_decoder()
    return not any(i in added for i, s in zip(e.ids, e.special_tokens_mask) if not s)


def rows(t, corpus, name):
    for s in HARD + list(texts(corpus, 40, name)):
        e = t.encode(s)
        row = {"text": s, "ids": e.ids}
        if t.decoder and plain(t, e) and e.ids:
            row["decoded"] = t.decode(e.ids)
        yield row
    if name == "ctc":
        word = [t.token_to_id(c) for c in "HEELLO||WORLD.!"]
        ids = [0, 0] + [i for c in word for i in ([c, c, 0] if c != 2 else [2])]
        yield {"decode": ids, "decoded": t.decode(ids)}


def pairs(t, corpus, name):
    some = HARD[:9] + list(texts(corpus, 6, name + "pair"))
    for a, b in zip(some, some[1:] + some[:1]):
        e = t.encode(a, b)
        yield {"pair": [a, b], "ids": e.ids, "types": e.type_ids}


def make(out, text):
    corpus = pathlib.Path(text).read_text()[:60000].split("\n")
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for fn in MAKERS:
        t = fn(corpus)
        d = json.loads(t.to_str())
        lines = [json.dumps(d, separators=(",", ":"), ensure_ascii=False)]
        for row in [*rows(t, corpus, fn.__name__), *pairs(t, corpus, fn.__name__)]:
            lines.append(json.dumps(row, separators=(",", ":")))
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
