#!/usr/bin/env python3
"""ref-jsonschema.py - random schemas, and what the reference (jsonschema) says of instances.

    python3 scripts/ref-jsonschema.py RILL_RUN     # writes tests/golden/text/jsonschema.jsonl

Makes random schemas of the drafts 7 and 2020-12. For each, rill-run (path given) answers under the
schema with a high temperature: every finished answer must parse and be valid, or this script fails.
Answers, random values and answers with small changes are stored with the reference's verdict, for
tests/text/test_jsonschema.c; so is what rill refuses, with the sentence. Needs jsonschema only.
"""
import json
import os
import random
import subprocess
import sys
import tempfile

import jsonschema

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "tests", "golden", "text", "jsonschema.jsonl")
DRAFTS = {
    7: ("http://json-schema.org/draft-07/schema#", jsonschema.Draft7Validator),
    2020: ("https://json-schema.org/draft/2020-12/schema", jsonschema.Draft202012Validator),
}
NAMES = ["a", "b", "c", "ab", "x1"]
WORDS = ["", "a", "ab", "x1", "b-c", "yes", "2024-02-29", "10.0.0.1", "\u00e9\u4e2d", "a\"b\n"]
PATTERNS = ["^a", "b$", "^[a-z]{2,4}$", "[0-9]", "^(yes|no)$", "^x.*1$"]
FORMATS = ["date", "ipv4", "uuid", "time"]


def number(r):
    return r.choice([0, 1, 2, 3, 5, 7, 10, -1, -4, 0.5, 2.5, 100])


def constant(r, depth=0):
    k = r.randrange(7 if depth < 2 else 5)
    if k == 5:
        return [constant(r, depth + 1) for _ in range(r.randrange(3))]
    if k == 6:
        return {n: constant(r, depth + 1) for n in r.sample(NAMES, r.randrange(3))}
    return [None, True, False, number(r), r.choice(WORDS)][k]


def scalar(r):
    k = r.randrange(4)
    if k == 0:
        s = {"type": r.choice(["integer", "number"])}
        if r.random() < 0.5:
            s[r.choice(["minimum", "exclusiveMinimum"])] = number(r)
        if r.random() < 0.5:
            s[r.choice(["maximum", "exclusiveMaximum"])] = number(r) + r.randrange(12)
        if r.random() < 0.3:
            s["multipleOf"] = r.choice([1, 2, 3, 0.5, 0.25, 10])
    elif k == 1:
        s = {"type": "string"}
        if r.random() < 0.4:
            s["minLength"] = r.randrange(3)
        if r.random() < 0.4:
            s["maxLength"] = r.randrange(1, 8)
        if r.random() < 0.3:
            s["pattern"] = r.choice(PATTERNS)
        elif r.random() < 0.2:
            s = {"type": "string", "format": r.choice(FORMATS)}
    elif k == 2:
        s = {"enum": [constant(r) for _ in range(r.randrange(1, 4))]}
    else:
        s = r.choice([{"const": constant(r)}, {"type": "boolean"}, {"type": ["null", "string"]}])
    return s


def array(r, draft, depth):
    s = {"type": "array"}
    first = [schema(r, draft, depth + 1) for _ in range(r.randrange(1, 3))]
    if r.random() < 0.7:
        s["items"] = schema(r, draft, depth + 1)
    if r.random() < 0.3 and draft == 2020:
        s["prefixItems"] = first
    elif r.random() < 0.3 and draft == 7:
        s["items"] = first
        if r.random() < 0.5:
            s["additionalItems"] = schema(r, draft, depth + 1)
    if r.random() < 0.4:
        s["minItems"] = r.randrange(3)
    if r.random() < 0.6:
        s["maxItems"] = r.randrange(1, 4)
    if r.random() < 0.2:
        s["contains"] = scalar(r)
        if draft == 2020 and r.random() < 0.5:
            s["minContains"] = r.randrange(3)
        if draft == 2020 and r.random() < 0.5:
            s["maxContains"] = r.randrange(1, 3)
    return s


def obj(r, draft, depth):
    names = r.sample(NAMES, r.randrange(1, 5))
    s = {"type": "object", "properties": {n: schema(r, draft, depth + 1) for n in names}}
    if r.random() < 0.7:
        s["required"] = r.sample(names, r.randrange(len(names) + 1))
    if r.random() < 0.8:
        s["additionalProperties"] = False if r.random() < 0.7 else scalar(r)
    if r.random() < 0.15:
        s["patternProperties"] = {r.choice(["^a", "[0-9]$"]): scalar(r)}
    if r.random() < 0.1:
        s["propertyNames"] = {"maxLength": r.randrange(1, 3)}
    if r.random() < 0.2:
        s["minProperties"] = r.randrange(1, 3)
    if r.random() < 0.2:
        s["maxProperties"] = r.randrange(1, 4)
    if r.random() < 0.15:
        key = "dependentRequired" if draft == 2020 else "dependencies"
        s[key] = {names[0]: [r.choice(names)]}
    return s


def schema(r, draft, depth=0):
    k = r.random()
    if depth >= 3 or (depth and k < 0.45):
        return scalar(r)
    if k < 0.70:
        return obj(r, draft, depth)
    if k < 0.84:
        return array(r, draft, depth)
    if k < 0.90:
        return {"anyOf": [schema(r, draft, depth + 1) for _ in range(2)]}
    if k < 0.94:
        return {"oneOf": [schema(r, draft, depth + 1) for _ in range(2)]}
    if k < 0.96:
        return {"allOf": [obj(r, draft, depth), {"type": "object", "minProperties": 1}]}
    if k < 0.98:
        name = r.choice(NAMES)
        return {"type": "object", "properties": {name: {"type": "boolean"}},
                "if": {"properties": {name: {"const": True}}, "required": [name]},
                "then": {"required": ["b"]}, "else": {"required": ["c"]},
                "additionalProperties": {"type": "integer"}}
    return {"type": "object", "properties": {"a": scalar(r), "c": {"$ref": "#"}},
            "required": ["a"], "additionalProperties": False} if depth == 0 else {
                "not": scalar(r), "type": ["integer", "string"]}


def changed(r, v):
    """v with one small change somewhere."""
    if isinstance(v, dict) and v and r.random() < 0.8:
        v = dict(v)
        k = r.choice(list(v))
        if r.random() < 0.3:
            del v[k]
        else:
            v[k] = changed(r, v[k])
        return v
    if isinstance(v, list) and v and r.random() < 0.8:
        v = list(v)
        i = r.randrange(len(v))
        if r.random() < 0.3:
            del v[i]
        elif r.random() < 0.3:
            v.append(v[i])
        else:
            v[i] = changed(r, v[i])
        return v
    if isinstance(v, dict):
        return {**v, r.choice(NAMES): constant(r)}
    return constant(r)


def plain(v):
    """No number that readers of JSON differ about."""
    if isinstance(v, dict):
        return all(map(plain, v.values()))
    if isinstance(v, list):
        return all(map(plain, v))
    return isinstance(v, (bool, str, type(None))) or abs(v) < 2**53


def answers(run, s, n):
    """Finished answers under the schema, or the sentence that refuses it."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump(s, f)
        f.flush()
        p = subprocess.run([run, "-q", "-l", "--schema", f.name, "--temp", "3", "--top-p", "1",
                            "--min-p", "0", "-n", "90"], input="\n".join("abcdefgh"[:n]) + "\n",
                           capture_output=True, text=True)
    if p.returncode not in (0, 1):
        return [], p.stderr.strip()
    return p.stdout.split("\n"), ""


def main():
    run = sys.argv[1]
    r = random.Random(2026)
    lines, n_answer, n_refused = [], 0, 0
    for i in range(160):
        draft = 7 if i % 2 else 2020
        uri, kind = DRAFTS[draft]
        s = {"$schema": uri, **schema(r, draft)}
        kind.check_schema(s)
        judge = kind(s, format_checker=kind.FORMAT_CHECKER)
        texts, refused = answers(run, s, 6)
        if refused:
            n_refused += 1
            why = refused.split(": ", 2)[-1]
            q = random.Random(i)
            tried = [constant(q) for _ in range(400)]
            tried += [{n: constant(q) for n in q.sample(NAMES, q.randrange(5))} for _ in range(4000)]
            wrong = [v for v in tried if "no text satisfies" in why and judge.is_valid(v)]
            if wrong:
                sys.exit(f"not empty: {json.dumps(s)}\n{json.dumps(wrong[0])}")
            lines.append({"schema": s, "refused": why})
            continue
        values = [constant(r) for _ in range(3)]
        for t in texts:
            try:
                v = json.loads(t)
            except ValueError:
                continue  # cut by the number of tokens
            n_answer += 1
            if not judge.is_valid(v):
                sys.exit(f"an answer that is not valid: {json.dumps(s)}\n{t}")
            values += [v, changed(r, v), changed(r, changed(r, v))]
        seen, yes, no = set(), [], []
        for v in values:
            t = json.dumps(v)
            if t not in seen and plain(v):
                seen.add(t)
                (yes if judge.is_valid(v) else no).append(v)
        lines.append({"schema": s, "valid": yes, "invalid": no})
    with open(OUT, "w") as f:
        for x in lines:
            f.write(json.dumps(x, separators=(",", ":")) + "\n")
    print(f"{len(lines)} schemas, {n_refused} refused, {n_answer} answers, all valid")


main()
