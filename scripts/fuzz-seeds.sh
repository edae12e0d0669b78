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

(gguf)
