#!/usr/bin/env python3
"""Compares every Unicode character's treatment with the library tokenizers (development only).

Usage: check-unicode.py [NAME...]     (needs the package tokenizers, and rill-tokenize in PATH)

For each step of a tokenizer.json that asks what kind of character something is, one small file is
made and every character is encoded by the library and by rill-tokenize (of the large blocks of
ideographs, Hangul and private use, whose characters are alike, and of what is above U+20000 every
97th): behind normalizers a vocabulary of bytes shows the very text, behind pre-tokenizers and
expressions a vocabulary of "a" and a few others shows where "aXa" is cut and what goes. Prints one
line a step, with the ranges of characters that differ, and ends with 1 when there are any.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers
from tokenizers import pre_tokenizers as pre

ALIKE = ((0x3400, 0x4dbf), (0x4e00, 0x9fff), (0xac00, 0xd7a3), (0xe000, 0xf8ff), (0x17000, 0x18cff),
         (0x20000, 0x2f7ff), (0x2fa20, 0xdffff), (0xe0200, 0x10ffff))


def chars():
    for c in range(1, 0x110000):
        ends = [c in (a, b) for a, b in ALIKE if a <= c <= b]
        if not 0xd800 <= c < 0xe000 and (not ends or ends[0] or c % 97 == 0):
            yield chr(c)


CHARS = list(chars())


def bytes_of(norm):
    """The normalized text, byte by byte."""
    letters = sorted(pre.ByteLevel.alphabet())
    t = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    t.normalizer = norm
    t.pre_tokenizer = pre.ByteLevel(add_prefix_space=False, use_regex=False)
    return t


def cuts_of(step):
    """Where text is cut, and what goes."""
    known = ["[UNK]", "a", "\u4e2d", "aa", "0", "."]
    t = Tokenizer(models.WordLevel({c: i for i, c in enumerate(known)}, unk_token="[UNK]"))
    t.pre_tokenizer = step
    return t


def regex(s):
    return cuts_of(pre.Split(Regex(s), "isolated"))


def alone():
    t = cuts_of(None)
    t.add_tokens([AddedToken("aa", single_word=True)])
    return t


def stripped(side):
    t = cuts_of(None)
    t.add_tokens([AddedToken("aa", **side)])
    return t


AROUND = ["a{}a"]
N = normalizers
STEPS = {
    "NFC": (bytes_of(N.NFC()), ["{}", "a{}\u0301b", "a{}\u0323b"]),
    "NFD": (bytes_of(N.NFD()), ["{}", "a{}\u0301b", "a{}\u0323b"]),
    "NFKC": (bytes_of(N.NFKC()), ["{}", "a{}\u0301b", "a{}\u0323b"]),
    "NFKD": (bytes_of(N.NFKD()), ["{}", "a{}\u0301b", "a{}\u0323b"]),
    "NFD then NFC": (bytes_of(N.Sequence([N.NFD(), N.NFC()])), ["{}"]),
    "Lowercase": (bytes_of(N.Lowercase()), ["{}", "A{}"]),
    "StripAccents": (bytes_of(N.StripAccents()), AROUND),
    "NFD, StripAccents": (bytes_of(N.Sequence([N.NFD(), N.StripAccents()])), AROUND),
    "Nmt": (bytes_of(N.Nmt()), AROUND),
    "Strip": (bytes_of(N.Strip()), ["{}a{}"]),
    "BertNormalizer": (bytes_of(N.BertNormalizer()), AROUND),
    "BertNormalizer cased": (bytes_of(N.BertNormalizer(lowercase=False)), AROUND),
    "BertNormalizer accents": (bytes_of(N.BertNormalizer(strip_accents=False)), AROUND),
    "BertPreTokenizer": (cuts_of(pre.BertPreTokenizer()), AROUND),
    "Whitespace": (cuts_of(pre.Whitespace()), AROUND),
    "WhitespaceSplit": (cuts_of(pre.WhitespaceSplit()), AROUND),
    "Punctuation": (cuts_of(pre.Punctuation()), AROUND),
    "Digits": (cuts_of(pre.Digits()), AROUND),
    "UnicodeScripts": (cuts_of(pre.UnicodeScripts()), ["a{}a", "\u4e2d{}\u4e2d", ".{}.", "a{}.",
                                                       "\u4e2d{}a"]),
    "single_word": (alone(), ["aa{}", "{}aa", "a{}aa"]),
    "lstrip": (stripped({"lstrip": True}), ["a{}aa"]),
    "rstrip": (stripped({"rstrip": True}), ["aa{}a"]),
    "ByteLevel": (None, ["a{}a", " {}", "{}0", "  {}", "0{}0"]),
    "contractions": (regex("(?i:'s|'t|'re|'ve|'m|'ll|'d)"), ["a'{}a", "a'{}e", "a'l{}", "a'{}l"]),
}
for name in ("L", "M", "N", "P", "S", "Z", "C", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me",
             "Nd", "Nl", "No", "Pc", "Sc", "Sm", "Sk", "So", "Zs", "Cc", "Cf", "Han", "Hiragana",
             "Katakana", "Hangul", "Latin", "Greek", "Cyrillic", "Arabic", "Hebrew", "Thai",
             "Devanagari"):
    STEPS[f"\\p{{{name}}}"] = (regex(f"\\p{{{name}}}"), ["a{}a", "0{}0", ".{}.", "\u3042{}\u3042"])
for name in ("\\s", "\\S+", "\\w", "\\W", "\\d", "[^\\s\\p{L}\\p{N}]", ".", "[[:punct:]]", "\\b",
             "[[:alpha:]]", "\\h", "\\D", "\\B", "\\P{L}", "\\pL", "[[:alnum:]_]", "[[:digit:]]", "[[:space:]]",
             "[[:upper:]]", "[[:lower:]]", "[[:word:]-]", "[\\p{L}&&[^a]]", "(?i)K", "(?i)[a-z]"):
    STEPS[name] = (regex(name), ["a{}a", "0{}0", ".{}."])
STEPS["ByteLevel"] = (regex(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+"
                            r"|\s+(?!\S)|\s+"), STEPS["ByteLevel"][1])


def ours(t, texts):
    with tempfile.TemporaryDirectory() as tmp:
        (pathlib.Path(tmp) / "tokenizer.json").write_text(t.to_str())
        p = subprocess.run(["rill-tokenize", "-0", "--special", "-m", tmp], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, input=b"".join(s.encode() + b"\0" for s in texts))
    if p.returncode:
        return p.stderr.decode().strip()
    return p.stdout.decode().split("\n")[:-1]


def ranges(chars):
    out = []
    for c in sorted(map(ord, chars)):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return " ".join(f"{a:04x}" if a == b else f"{a:04x}-{b:04x}" for a, b in out)


def main(only):
    bad = 0
    for name, (t, contexts) in STEPS.items():
        if only and name not in only:
            continue
        differ = set()
        for context in contexts:
            texts = [context.replace("{}", c) for c in CHARS]
            got = ours(t, texts)
            if isinstance(got, str):
                print(f"{name:24} FAILED: {got}", flush=True)
                bad += 1
                break
            for at in range(0, len(texts), 50000):
                for i, e in enumerate(t.encode_batch_fast(texts[at:at + 50000])):
                    if " ".join(map(str, e.ids)) != got[at + i]:
                        differ.add(CHARS[at + i])
        else:
            print(f"{name:24} {len(differ):6} differ  {ranges(differ)}", flush=True)
            bad += bool(differ)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
