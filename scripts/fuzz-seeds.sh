#!/bin/sh
# fuzz-seeds.sh DIR - writes small well-formed files to start the fuzzers from: DIR/NAME/ for the
# entry tests/fuzz/fuzz_NAME.c. Everything is made here, so that the corpus needs no storage and no
# tools but sh and printf.
set -eu

dir=${1:?usage: fuzz-seeds.sh DIR}

# -- numbers and strings as GGUF has them ----------------------------------------------------------

# le VALUE BYTES: little-endian, VALUE below 2^63
le() {
    v=$1 n=$2
    while [ "$n" -gt 0 ]; do
        # shellcheck disable=SC2059
        printf "$(printf '\\%03o' $((v & 255)))"
        v=$((v >> 8)) n=$((n - 1))
    done
}
u8() { le "$1" 1; }
u32() { le "$1" 4; }
u64() { le "$1" 8; }
str() {
    u64 "$(printf %s "$1" | wc -c)"
    printf %s "$1"
}
zeros() {
    z=$1
    while [ "$z" -gt 0 ]; do
        printf '\000'
        z=$((z - 1))
    done
}

# head VERSION TENSORS KEYS
head() {
    printf GGUF
    u32 "$1"
    u64 "$2"
    u64 "$3"
}
# key NAME TYPE; the value follows
key() {
    str "$1"
    u32 "$2"
}
# arr NAME TYPE COUNT; the elements follow
arr() {
    key "$1" 9
    u32 "$2"
    u64 "$3"
}
# tensor NAME TYPE OFFSET DIM...
tensor() {
    str "$1"
    t=$2 o=$3
    shift 3
    u32 $#
    for d in "$@"; do u64 "$d"; done
    u32 "$t"
    u64 "$o"
}
# pad FILE ALIGNMENT DATA: zeros up to the alignment, then that much data
pad() {
    n=$(wc -c <"$1")
    zeros $(((n + $2 - 1) / $2 * $2 - n + $3)) >>"$1"
}

# -- gguf ------------------------------------------------------------------------------------------

gguf() {
    mkdir -p "$dir/gguf"
    cd "$dir/gguf"
    head 3 0 0 >empty
    head 2 0 1 >version2
    { key general.name 8 && str x; } >>version2

    # every type of value
    head 3 0 12 >keys
    {
        key k.0 0 && le 1 1
        key k.1 1 && le 255 1
        key k.2 2 && le 1 2
        key k.3 3 && le 65535 2
        key k.4 4 && le 1 4
        key k.5 5 && le 1 4
        key k.6 6 && le 1065353216 4
        key k.7 7 && le 1 1
        key k.8 8 && str text
        key k.10 10 && le 1 8
        key k.11 11 && le 1 8
        key k.12 12 && le 4607182418800017408 8
    } >>keys

    # arrays of numbers and of strings
    head 3 0 4 >arrays
    {
        arr a.4 4 3 && u32 1 && u32 2 && u32 3
        arr a.6 6 1 && u32 0
        arr a.7 7 2 && u8 1 && u8 0
        arr a.8 8 3 && str a && str '' && str bcd
    } >>arrays

    # tensors of several types and ranks, in order
    head 3 4 1 >tensors
    {
        key general.architecture 8 && str llama
        tensor a 0 0 4 2
        tensor b 2 32 32 1
        tensor c 1 64 3
        tensor d 24 96 1 1 1 5
    } >>tensors
    pad tensors 32 101

    # wide alignment; data out of order; a type nobody knows
    head 3 3 1 >aligned
    {
        key general.alignment 4 && u32 64
        tensor a 0 64 1
        tensor b 0 0 1
        tensor c 99 128 7
    } >>aligned
    pad aligned 64 128

    # super-blocks, where the first and the last block are decoded
    for t in 10 12 14 16 18 29 34 39 40; do
        head 3 1 0 >type$t
        tensor w $t 0 256 2 >>type$t
        pad type$t 32 600
    done

    # a part of a split model
    head 3 1 3 >split
    {
        key split.no 2 && le 0 2
        key split.count 2 && le 2 2
        key split.tensors.count 5 && u32 2
        tensor a 0 0 1
    } >>split
    pad split 32 4
    cd - >/dev/null
}

# -- zst: a GGUF file in frames of one block each, as it is or one byte repeated -------------------

# frame FILE: its bytes, uncompressed (magic number, one segment with a length of four bytes, block)
frame() {
    len=$(wc -c <"$1")
    u32 $((0xFD2FB528)) && u8 $((0xA0)) && u32 "$len" && le $((len << 3 | 1)) 3
    cat "$1"
}
# table BYTES...: a frame's compressed and decompressed size in turn
table() {
    u32 $((0x184D2A5E)) && u32 $((4 * $# + 9))
    for b in "$@"; do u32 "$b"; done
    u32 $(($# / 2)) && u8 0 && u32 $((0x8F92EAB1))
}
zst() {
    mkdir -p "$dir/zst"
    cd "$dir/zst"
    for f in keys tensors aligned type12; do
        all=$(wc -c <"../gguf/$f")
        frame "../gguf/$f" >"$f"
        { frame "../gguf/$f" && table $((all + 12)) "$all"; } >"$f-table"
        dd if="../gguf/$f" of=half1 bs=1 count=$((all / 2)) 2>/dev/null
        dd if="../gguf/$f" of=half2 bs=1 skip=$((all / 2)) 2>/dev/null
        {
            frame half1 && frame half2
            table $((all / 2 + 12)) $((all / 2)) $((all - all / 2 + 12)) $((all - all / 2))
        } >"$f-two"
        rm half1 half2
    done
    {
        u32 $((0xFD2FB528)) && u8 $((0xA0)) && u32 100000 && le $((100000 << 3 | 3)) 3 && u8 7
        table 13 100000
    } >repeated
    cd - >/dev/null
}

# -- tok -------------------------------------------------------------------------------------------

# token TEXT KIND SCORE: TEXT may hold octal escapes
token() {
    # shellcheck disable=SC2059
    u8 "$(printf "$1" | wc -c)" && u8 "$2" && u8 "$3"
    # shellcheck disable=SC2059
    printf "$1"
}
# begin FLAGS MODEL PRE TOKENS MERGES
begin() {
    u8 "$1" && u8 "$2" && u8 "$3" && u8 "$4" && u8 "$5"
}
mark='\342\226\201'

tok() {
    mkdir -p "$dir/tok"
    cd "$dir/tok"
    for flags in 0 3 67; do
        {
            begin $flags 1 0 9 0
            token '<unk>' 2 0 && token '<s>' 3 0 && token "$mark" 1 246 && token a 1 236
            token b 1 237 && token ab 1 253 && token "${mark}a" 1 252 && token '<x>' 4 0 && token un 5 254
            printf 'ab a<x>b un \303\251%b<s>' "$mark"
        } >spm$flags
        {
            begin $((flags | 4)) 4 0 5 0
            token '<unk>' 2 0 && token "$mark" 1 246 && token a 1 236 && token ab 1 253 && token '<x>' 4 0
            printf '  ab a  b<x> a '
        } >unigram$flags
    done
    pre=0
    while [ $pre -lt 34 ]; do # every row of the table of pre-tokenizers
        {
            begin $((pre % 3 ? 1 : 65)) 2 $pre 6 3
            token th 1 0 && token he 1 0 && token the 1 0 && token aa 1 0 && token ' t' 1 0 && token '<e>' 3 0
            u8 0 && u8 1 && u8 3 && u8 3 && u8 4 && u8 1
            printf "the  the's 12345 aaaa\n\n HTMLParser \303\251\344\270\255123\302\275 <e>"
        } >bpe$pre
        pre=$((pre + 1))
    done
    {
        begin 32 3 0 4 0
        token '[UNK]' 2 0 && token "${mark}play" 1 0 && token ing 1 0 && token "$mark," 1 0
        printf 'Playing, CAF\303\211 \344\270\255'
    } >wordpiece
    {
        begin 16 5 0 4 0
        token a 1 0 && token ab 1 0 && token '\\n' 1 0 && token '\\xff' 1 0
        printf 'abab\n\377'
    } >rwkv
    head 3 0 4 >file
    {
        key tokenizer.ggml.model 8 && str llama
        arr tokenizer.ggml.tokens 8 3 && str '<unk>' && str a && str aa
        arr tokenizer.ggml.scores 6 3 && u32 0 && u32 3212836864 && u32 3212836864
        key tokenizer.ggml.add_bos_token 7 && u8 0
    } >>file
    cd - >/dev/null
}

# -- safetensors -----------------------------------------------------------------------------------

# st FILE HEADER BYTES: a header with its length in front, then that much data
st() {
    { u64 "${#2}" && printf %s "$2" && zeros "$3"; } >"$1"
}

safetensors() {
    mkdir -p "$dir/safetensors"
    cd "$dir/safetensors"
    st empty '{}' 0
    st one '{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}' 24
    st meta '{"__metadata__":{"format":"pt","x":"\u00e9\n"}}' 0
    st two '{"a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]}, "b":{"shape":[0],"dtype":"I64","data_offsets":[2,2]}}' 2
    st more '{"a":{"x":[1,{"y":null}],"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}' 1
    cd - >/dev/null
}

# -- jinja -----------------------------------------------------------------------------------------

# template NAME: its source on stdin, then a zero byte and a context
template() {
    cat >"$1"
    printf '\000%s' '{"messages":[{"role":"user","content":"a b<c>"},{"role":"assistant","content":null,
"tool_calls":[{"function":{"name":"f","arguments":{"x":[1,2.5,null,true]}}}]}],"tools":[],"n":7,"s":"x\u00e9\n"}' >>"$1"
}

jinja() {
    mkdir -p "$dir/jinja"
    cd "$dir/jinja"
    template chat <<'END'
{{- bos_token }}{% for m in messages %}
  {%- if m.role == 'user' and loop.first %}<|{{ m['role'] }}|>{{ m.content | trim }}
  {%- elif m.tool_calls is defined %}{% for c in m.tool_calls %}{{ c.function | tojson(indent=1) }}{% endfor %}{% endif %}
{% else %}none{% endfor %}{% if add_generation_prompt %}<a>{% endif %}
END
    template macros <<'END'
{% macro m(a, b=2) %}{{ a }}{{ varargs }}{{ kwargs }}{{ caller(1) if caller }}{% endmacro %}{{ m(1, 2, 3, x=4) }}
{% call(v) m(*[1], **{'b': s}) %}{{ v }}{% endcall %}{% set ns = namespace(x=1) %}{% set ns.x = ns.x + n %}{{ ns.x }}
{% set b | upper %}x{% endset %}{{ b }}{% with q = 1 %}{{ q }}{% endwith %}{% filter replace('a', s) %}aa{% endfilter %}
END
    template loops <<'END'
{% for k, v in {'a': 1, 'b': [2, (3,)]}.items() recursive %}{{ loop.index ~ loop.previtem ~ loop.cycle(1, 2) }}{% endfor %}
{% for i in range(9, 0, -2) if i is odd %}{% if i == 3 %}{% break %}{% endif %}{% continue %}{% endfor %}{% raw %}{{ }}{% endraw %}
{% generation %}{{ s[::-1] }}{{ s[1:-1] }}{% endgeneration %}{#- c -#}{% set x, (y, z) = 1, 'ab' %}{{ x if y else z }}
END
    template filters <<'END'
{{ [3, 1, 2] | sort(reverse=true) | map('string') | join('-') }}{{ messages | selectattr('content') | map(attribute='role') | list }}
{{ s | upper | title | indent(2, true) | urlencode | e }}{{ [1, 1] | unique | list | length }}{{ 2.5 | round(1, 'ceil') | int }}
{{ messages | groupby('role') | first }}{{ {'b': 1, 'a': 2} | dictsort(by='value') | tojson(separators=(',', ':')) }}{{ n | abs | filesizeformat }}
{{ range(5) | batch(2, 0) | list }}{{ [1, 2] | sum | default(1, true) }}{{ s | truncate(3, leeway=0) | center(9) | wordcount | string | safe }}
END
    template strings <<'END'
{{ s.split() }}{{ 'a,b'.rsplit(',', 1) }}{{ s.strip('x').replace('a', 'b', 1).startswith(('a', '')) }}{{ '%5.2f|%-3s|%(a)s' }}
{{ '%05d %s %r %x' | format(n, s, 2.5, 255) }}{{ '{0:>5}{a!r:^7}{b:,.1%}'.format(1, a=s, b=0.5) }}{{ '\x41\u00e9\'' ~ 1e5 ~ 0x1f ~ -7 // 2 ** 2 }}
{{ 'ß'.upper() }}{{ s.partition(' ') }}{{ s.splitlines(true) }}{{ strftime_now('%d %b %Y %-H %G %V %j') }}{{ 1 < 2 <= 3 != 4 not in [5] }}
END
    cd - >/dev/null
}

# -- requests --------------------------------------------------------------------------------------

reqhead() {
    mkdir -p "$dir/reqhead"
    cd "$dir/reqhead"
    printf '\003GET /health?a=b HTTP/1.1\r\nHost: localhost:8080\r\nA: b\r\n\r\n' >get
    printf '\007POST /v1/%%63hat HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}' >length
    printf '\001POST http://h/v1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\nT: u\r\n\r\n' >chunked
    printf '\002GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n' >old
    cd - >/dev/null
}

# body NAME KIND FLAGS (two octal numbers): standard input as a body of that API
body() {
    # shellcheck disable=SC2059
    printf "\\$2\\$3" >"$1"
    cat >>"$1"
}

api() {
    mkdir -p "$dir/api"
    cd "$dir/api"
    body chat 000 003 <<'END'
{"messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"hi"}]}],"stream":true,"stream_options":{"include_usage":true},"n":2,"logprobs":true,"top_logprobs":2,"stop":["a","b"],"seed":7,"logit_bias":{"5":-100}}
END
    body tools 000 026 <<'END'
{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\\"x\\":1}"}}]},{"role":"tool","tool_call_id":"c","content":"y"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"x":{"type":"integer"}}}}}],"tool_choice":"required","parallel_tool_calls":false}
END
    body schema 000 000 <<'END'
{"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"object","properties":{"a":{"enum":["x",1]}},"required":["a"]}}}}
END
    body schema2 000 340 <<'END'
{"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","properties":{"a":{"type":"string","pattern":"^a+$"}}}}}}
END
    body tools2 000 366 <<'END'
{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"x":{"type":"integer"}}}}}],"tool_choice":"required"}
END
    body text 001 003 <<'END'
{"prompt":["a",[5,6]],"echo":true,"logprobs":1,"best_of":2,"n":1,"max_tokens":3,"regex":"[a-c]+"}
END
    body messages 002 027 <<'END'
{"model":"m","max_tokens":9,"system":[{"type":"text","text":"x-anthropic-a"},{"type":"text","text":"s"}],"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"s"},{"type":"tool_use","id":"i","name":"f","input":{"x":1}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"i","content":[{"type":"text","text":"y"}]}]}],"tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"any"},"thinking":{"type":"enabled","budget_tokens":1024},"stop_sequences":["z"],"stream":true}
END
    body count 003 001 <<'END'
{"messages":[{"role":"user","content":"hi"}]}
END
    body responses 004 027 <<'END'
{"input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]},{"type":"reasoning","summary":[]},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"y"}],"instructions":"i","tools":[{"type":"function","name":"f","parameters":{"type":"object"}}],"text":{"format":{"type":"json_object"}},"reasoning":{"effort":"low"},"max_output_tokens":5,"stream":true}
END
    body embed 005 001 <<'END'
{"input":["a",[5,6]],"encoding_format":"base64","dimensions":2}
END
    body rank 006 001 <<'END'
{"query":"q","documents":["a",{"text":"b"}],"top_n":1,"return_documents":true}
END
    body line 007 001 <<'END'
{"custom_id":"1","method":"POST","url":"/v1/completions","body":{"prompt":"a","temperature":0.5,"samplers":["top_k"],"grammar":"root ::= \"a\""}}
END
    cd - >/dev/null
}

# source NAME KIND TEXT: a source of constraints on standard input (fuzz_constrain.c: KIND is the
# first byte, in octal digits), and a text for it
source() {
    # shellcheck disable=SC2059
    { printf "\\$2" && printf '%s\000%s' "$(cat)" "$3"; } >"$1"
}

constrain() {
    mkdir -p "$dir/constrain"
    cd "$dir/constrain"
    source gbnf 000 '(1+x)*23' <<'END'
root ::= term (op term)*   # sums
op ::= [+*/-] | "\x5e"
term ::= [0-9]+ | [^0-9()+*/^-]{1,3} | "(" root ")" | ident?
ident ::= "a" ("b" | "c"){2} "d"{0,}
END
    source regex 001 'ab-12@x.yz' <<'END'
^(?:[a-z]+-\d{1,3}|\w*?[^\s@]{2,})@(x|y)\.[\x41-\u005aa-z]{2}$
END
    source tools 002 '{"name":"f","arguments":{"x":1}}' <<'END'
[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"x":{"type":"integer"}},"required":["x"]}}},{"type":"function","function":{"name":"g_h"}}]
END
    source tools2 052 '<tool_call>{"name":"f"' <<'END'
[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"s":{"type":"string","enum":["a","b"]}}}}}]
END
    source line 003 '{"a":[1,-2.5e3],"b":"2024-02-29"}' <<'END'
{"type":"object","properties":{"a":{"type":"array","items":{"type":"number","minimum":-9,"maximum":1000},"minItems":1,"maxItems":3,"uniqueItems":true},"b":{"type":"string","format":"date"},"c":{"$ref":"#/$defs/n"}},"required":["a"],"additionalProperties":false,"$defs":{"n":{"anyOf":[{"type":"null"},{"const":{"x":[true]}}]}}}
END
    source any 004 '[ "ab" , { "k" : null } ]' <<'END'
{"type":"array","prefixItems":[{"type":"string","pattern":"^a","minLength":1,"maxLength":4}],"items":{"oneOf":[{"type":"object","patternProperties":{"^k":{}},"minProperties":1},{"type":"integer","multipleOf":3}]},"allOf":[{"minItems":1}]}
END
    cd - >/dev/null
}

(reqhead)
(api)
(constrain)
(gguf)
(zst)
(tok)
(jinja)
(safetensors)
