#!/bin/sh
# quantize.sh - whatever happens to rill-quantize, the file that was there stays, and no half of a
# new one gets its name. Run by tests/run.sh in the build directory, with the tools in PATH.
set -u
: "${SRCDIR:?}" "${LONG:=}"
model=$SRCDIR/share/rill-tales.gguf
if ! command -v rill-quantize >/dev/null || [ ! -f "$model" ]; then
    echo 'skipped: no rill-quantize or no embedded model'
    echo 'cli/quantize.sh: 0 passed, 0 failed, 1 skipped'
    exit 0
fi
T=$(pwd)/obj/check/tmp.quantize.sh
rm -rf "$T"
mkdir -p "$T"
passed=0 failed=0 skipped=0
ok() { # ok WHAT STATUS
    if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "failed: $1"; fi
}
quantize() {
    rill-quantize -q -t2 --allow-requantize "$@"
}

quantize "$model" "$T/new.gguf" Q5_K_M
ok "quantizing" $?
echo old >"$T/old"

# killed at any moment: the old file, or the whole new one
tries=6
[ -z "$LONG" ] || tries=50
i=0
while [ $i -lt $tries ]; do
    cp "$T/old" "$T/out.gguf"
    quantize "$model" "$T/out.gguf" Q5_K_M &
    pid=$!
    sleep "0.$(awk -v s="$$$i" 'BEGIN { srand(s); printf "%03d", rand() * 250 }')"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    cmp -s "$T/out.gguf" "$T/old" || cmp -s "$T/out.gguf" "$T/new.gguf"
    ok "killed ($i): $(ls -l "$T/out.gguf")" $?
    i=$((i + 1))
done 2>/dev/null
rm -f "$T"/out.gguf.tmp-*

# the same when what is written is compressed
rill-convert -q "$model" "$T/new.gguf.zst"
i=0
while [ $i -lt $tries ]; do
    cp "$T/old" "$T/out.gguf.zst"
    rill-convert -q "$model" "$T/out.gguf.zst" &
    pid=$!
    sleep "0.$(awk -v s="$$$i" 'BEGIN { srand(s); printf "%03d", rand() * 100 }')"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    cmp -s "$T/out.gguf.zst" "$T/old" || cmp -s "$T/out.gguf.zst" "$T/new.gguf.zst"
    ok "killed while compressing ($i): $(ls -l "$T/out.gguf.zst")" $?
    i=$((i + 1))
done 2>/dev/null
rm -f "$T"/out.gguf.zst*

# interrupted: the old file, no temporary, death by the signal
cp "$T/old" "$T/out.gguf"
mkfifo "$T/pipe"
env --default-signal=INT rill-quantize -q --allow-requantize - "$T/out.gguf" Q5_K_M <"$T/pipe" 2>/dev/null &
pid=$!
exec 3>"$T/pipe"
head -c 3000000 "$model" >&3
kill -INT $pid
exec 3>&-
wait $pid
got=$?
[ "$(kill -l $got)" = INT ] && cmp -s "$T/out.gguf" "$T/old" && [ -z "$(ls "$T"/out.gguf.tmp-* 2>/dev/null)" ]
ok "interrupted: status $got, $(ls "$T")" $?

# no room for more: exit 4, the old file, no temporary (a limit on file sizes stands for the disk)
cp "$T/old" "$T/out.gguf"
(trap '' XFSZ; ulimit -f 1000; quantize "$model" "$T/out.gguf" Q5_K_M) 2>"$T/err"
got=$?
[ $got -eq 4 ] && cmp -s "$T/out.gguf" "$T/old" && [ -z "$(ls "$T"/out.gguf.tmp-* 2>/dev/null)" ] &&
    grep -q 'cannot write' "$T/err"
ok "a file that must not grow: status $got, $(cat "$T/err")" $?

# a full file system, where one can be made
if mkdir "$T/fs" && mount -t tmpfs -o size=1m none "$T/fs" 2>/dev/null; then
    cp "$T/old" "$T/fs/out.gguf"
    quantize "$model" "$T/fs/out.gguf" Q5_K_M 2>"$T/err"
    got=$?
    [ $got -eq 4 ] && cmp -s "$T/fs/out.gguf" "$T/old" && [ "$(ls "$T/fs" | wc -l)" -eq 1 ]
    ok "a full disk: status $got, $(cat "$T/err")" $?
    umount "$T/fs"
else
    echo 'skipped: no file system can be mounted here'
    skipped=1
fi

quantize "$model" /dev/full Q5_K_M 2>"$T/err"
[ $? -eq 4 ]
ok "a full device: $(cat "$T/err")" $?

# from a directory through a pipe: the peak of either side is far below the model's size, which lies
# on no disk: a file with holes, in layers of 20 MB.
peak() { # peak FILE COMMAND...: kilobytes, as the kernel counted them
    out=$1
    shift
    { "$@" <&4 & } 4<&0 # a command behind & has no standard input of its own
    p=$!
    top=0
    while [ -r /proc/$p/status ]; do
        now=$(awk '/^VmHWM/ { print $2 }' /proc/$p/status 2>/dev/null)
        [ -n "$now" ] && [ "$now" -gt "$top" ] && top=$now
        sleep 0.02
    done
    echo "$top" >"$out"
    wait $p
}
mkdir -p "$T/hf"
head_json='{'
at=0
layers=8
[ -z "$LONG" ] || layers=40
add() { # add NAME ROWS COLS
    head_json="$head_json\"$1\":{\"dtype\":\"BF16\",\"shape\":[$2$3],\"data_offsets\":[$at,$((at + $4))]},"
    at=$((at + $4))
}
add model.embed_tokens.weight 256 ,1024 524288
add model.norm.weight 1024 '' 2048
l=0
while [ $l -lt $layers ]; do
    for n in q_proj k_proj v_proj o_proj; do add model.layers.$l.self_attn.$n.weight 1024 ,1024 2097152; done
    add model.layers.$l.mlp.gate_proj.weight 2048 ,1024 4194304
    add model.layers.$l.mlp.up_proj.weight 2048 ,1024 4194304
    add model.layers.$l.mlp.down_proj.weight 1024 ,2048 4194304
    for n in input_layernorm post_attention_layernorm; do add model.layers.$l.$n.weight 1024 '' 2048; done
    l=$((l + 1))
done
head_json="${head_json%,}}"
n=${#head_json}
{
    printf "\\$(printf %03o $((n & 255)))\\$(printf %03o $((n >> 8 & 255)))\\$(printf %03o $((n >> 16 & 255)))\\0\\0\\0\\0\\0"
    printf %s "$head_json"
} >"$T/hf/model.safetensors"
truncate -s $((8 + n + at)) "$T/hf/model.safetensors"
cat >"$T/hf/config.json" <<END
{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":1024,"intermediate_size":2048,
"num_hidden_layers":$layers,"num_attention_heads":16,"num_key_value_heads":16,"rms_norm_eps":1e-5,
"vocab_size":256,"max_position_embeddings":512,"tie_word_embeddings":true,"torch_dtype":"bfloat16"}
END
rill-convert -q "$T/hf" "$T/all.gguf" && rill-quantize -q -t2 "$T/all.gguf" "$T/want.gguf" Q4_K_M
ok "a large model from a file" $?
mkfifo "$T/stream"
peak "$T/peak1" rill-convert -q "$T/hf" - >"$T/stream" &
peak "$T/peak2" rill-quantize -q -t2 - "$T/got.gguf" Q4_K_M <"$T/stream"
ok "a large model through a pipe" $?
wait
cmp -s "$T/want.gguf" "$T/got.gguf"
ok "the same through a pipe" $?
size=$(($(wc -c <"$T/all.gguf") / 1024))
one=$(cat "$T/peak1") two=$(cat "$T/peak2")
echo "peak memory: rill-convert $one kB, rill-quantize $two kB, of a model of $size kB"
room=64 # MB; freed memory stays with a sanitizer for a while
grep -q '^SANITIZE = .' config.mk 2>/dev/null && room=512
[ "$two" -gt 1000 ] && [ "$two" -lt $((room * 1024)) ]
ok "rill-quantize took $two kB, of a model of $size kB" $?

rm -rf "$T"
echo "cli/quantize.sh: $passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
