#!/bin/sh
# pull.sh - rill-pull against a hub of our own that drops connections, is busy, sends wrong bytes,
# knows no ranges, redirects elsewhere. Run by tests/run.sh in the build directory.
set -u
: "${SRCDIR:?}"
server=$(pwd)/obj/tests/hubserver
if ! command -v rill-pull >/dev/null || ! command -v sha256sum >/dev/null; then
    echo 'skipped: no rill-pull (libcurl) or sha256sum'
    echo 'cli/pull: 0 passed, 0 failed, 1 skipped'
    exit 0
fi
T=$(pwd)/obj/check/tmp.pull
rm -rf "$T"
mkdir -p "$T/hub/api/models/org/tiny/revision" "$T/hub/api/models/org/quants/revision" "$T/hub/cdn"
passed=0 failed=0
ok() { # ok WHAT STATUS
    if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else
        failed=$((failed + 1)); echo "failed: $1"; sed 's/^/    /' "$T/err" 2>/dev/null; fi
}

# -- the hub's files: the big ones told by SHA-256, the small ones by git's hash --
commit=0123456789abcdef0123456789abcdef01234567
cdn=$T/hub/cdn
git_hash() { { printf 'blob %d\0' "$(wc -c <"$1")"; cat "$1"; } | sha1sum | cut -d' ' -f1; }
listing() { # listing MODEL FILE...
    model=$1 sep=''
    shift
    {
        printf '{"id":"%s","sha":"%s","siblings":[' "$model" "$commit"
        for f; do
            printf '%s{"rfilename":"%s","size":%d,"blobId":"%s"' "$sep" "$f" "$(wc -c <"$cdn/$f")" "$(git_hash "$cdn/$f")"
            case $f in *.safetensors | *.gguf)
                printf ',"lfs":{"sha256":"%s","size":%d}' "$(sha256sum <"$cdn/$f" | cut -d' ' -f1)" "$(wc -c <"$cdn/$f")" ;;
            esac
            printf '}'
            sep=,
        done
        printf ']}'
    } >"$T/hub/api/models/$model/revision/main"
}
mkdir -p "$cdn/onnx" "$cdn/additional_chat_templates"
seq 1 6000000 | head -c 40000000 >"$cdn/model.safetensors"
echo '{"architectures":["LlamaForCausalLM"]}' >"$cdn/config.json"
echo '{{ messages }}' >"$cdn/additional_chat_templates/tool use.jinja"
: >"$cdn/empty.txt"
echo no >"$cdn/onnx/model.onnx"
echo one >"$cdn/tiny-Q4_K_M.gguf"
echo two >"$cdn/tiny-Q8_0.gguf"
echo three >"$cdn/tiny-F16-00001-of-00002.gguf"
echo four >"$cdn/tiny-F16-00002-of-00002.gguf"
listing org/tiny model.safetensors config.json 'additional_chat_templates/tool use.jinja' empty.txt onnx/model.onnx
mkdir -p "$T/hub/api/models/org/tales/revision"
cp "$SRCDIR/share/rill-tales.gguf" "$cdn/tales-Q8_0.gguf"
listing org/tales tales-Q8_0.gguf
listing org/quants tiny-Q4_K_M.gguf tiny-Q8_0.gguf tiny-F16-00001-of-00002.gguf tiny-F16-00002-of-00002.gguf
cp "$cdn/additional_chat_templates/tool use.jinja" "$cdn/additional_chat_templates/tool%20use.jinja"

# hub FAULT... : starts one and points HF_ENDPOINT at it; hub_stop ends it
hub() {
    rm -f "$T/in" "$T/port" "$T/log"
    mkfifo "$T/in"
    "$server" "$T/hub" "$T/log" "$@" <"$T/in" >"$T/port" &
    exec 5>"$T/in"
    i=0
    while [ ! -s "$T/port" ] && [ $i -lt 100 ]; do sleep 0.05; i=$((i + 1)); done
    HF_ENDPOINT=http://127.0.0.1:$(cat "$T/port")
    export HF_ENDPOINT
}
hub_stop() { exec 5>&-; wait; }
fresh() { rm -rf "$T/home"; }
HF_HOME=$T/home no_proxy='*'
export HF_HOME no_proxy
unset HF_HUB_CACHE HF_TOKEN HF_TOKEN_PATH http_proxy https_proxy || :
repo=$T/home/hub/models--org--tiny
same() { cmp -s "$repo/snapshots/$commit/$1" "$cdn/$1"; }

hub
fresh
out=$(rill-pull org/tiny 2>"$T/err")
ok 'it prints the folder' $([ "$out" = "$repo/snapshots/$commit" ]; echo $?)
ok 'the weights are whole' $(same model.safetensors; echo $?)
ok 'a small file is whole' $(same config.json; echo $?)
ok 'an empty file is there' $(same empty.txt; echo $?)
ok 'a name with a space is there' $(same 'additional_chat_templates/tool use.jinja'; echo $?)
ok 'other formats stay away' $([ ! -e "$repo/snapshots/$commit/onnx" ]; echo $?)
ok 'the revision is noted' $([ "$(cat "$repo/refs/main")" = $commit ]; echo $?)
ok 'snapshots link to blobs' $([ -L "$repo/snapshots/$commit/config.json" ]; echo $?)
ok 'ranges were used' $(grep -q 'model.safetensors bytes=16777216-33554431' "$T/log"; echo $?)
ok 'nothing else is left' $([ -z "$(find "$T/home" -name '*.rill-part' -o -name '*.rill-map')" ]; echo $?)
: >"$T/log"
rill-pull org/tiny >"$T/out" 2>"$T/err"
ok 'what is there is not fetched again' $([ "$(grep -c cdn "$T/log")" -eq 0 ]; echo $?)
out=$(HF_TOKEN=secret rill-pull "$HF_ENDPOINT/org/quants/resolve/main/tiny-Q8_0.gguf" 2>"$T/err")
ok 'an address of a file prints its path' $([ "$(cat "$out")" = two ]; echo $?)
ok 'the token goes to the hub' $(grep -q 'resolve.* token' "$T/log"; echo $?)
ok 'the token goes nowhere else' $(! grep -q 'cdn.* token' "$T/log"; echo $?)
out=$(rill-pull hf:org/quants:q4_k_m 2>"$T/err")
ok 'part of a name will do' $([ "$(cat "$out")" = one ]; echo $?)
out=$(rill-pull org/quants:F16 2>"$T/err")
ok 'all splits come, the first is printed' $([ "$(cat "$out")" = three ] && [ "$(cat "$(dirname "$out")/tiny-F16-00002-of-00002.gguf")" = four ]; echo $?)
rill-pull org/quants >"$T/out" 2>"$T/err"
ok 'several models: a choice is asked for' $([ $? -eq 2 ] && grep -q 'tiny-Q8_0.gguf' "$T/err"; echo $?)
rill-pull org/quants:q5 >"$T/out" 2>"$T/err"
ok 'no such file: exit 3, and what there is' $([ $? -eq 3 ] && grep -q 'tiny-Q4_K_M' "$T/err"; echo $?)
rill-pull org/none >"$T/out" 2>"$T/err"
ok 'no such model: exit 3' $([ $? -eq 3 ] && [ ! -s "$T/out" ]; echo $?)
for name in org '../../etc' 'org/..' 'a/b/c' 'http://elsewhere/org/x' 'org/x:../y' 'org/x:/y'; do
    rill-pull "$name" >"$T/out" 2>"$T/err"
    ok "refused: $name" $([ $? -eq 2 ]; echo $?)
done
rill-tokenize -m hf:org/tales --count </dev/null >"$T/out" 2>"$T/err"
ok 'not there yet: it says how to get it' $([ $? -eq 3 ] && grep -q 'rill-pull org/tales fetches it' "$T/err"; echo $?)
rill-pull -q org/tales >"$T/out" 2>"$T/err"
for name in org/tales org/tales:q8_0 org/tales:tales-Q8_0.gguf; do
    rill-tokenize -m "hf:$name" --count </dev/null >"$T/out" 2>"$T/err"
    ok "what was pulled opens as hf:$name" $([ $? -eq 0 ] && [ -s "$T/out" ]; echo $?)
done
rill-tokenize -m hf:org/quants --count </dev/null >"$T/out" 2>"$T/err"
ok 'of several a choice is asked for' $([ $? -eq 2 ] && grep -q 'behind a colon' "$T/err"; echo $?)
rill-pull --list org/tiny >"$T/out" 2>"$T/err"
ok '--list shows all' $(grep -q '38.1 MiB  model.safetensors' "$T/out" && grep -q onnx "$T/out"; echo $?)
hub_stop

hub drop=5000000
fresh
timeout 100 rill-pull -q org/tiny >"$T/out" 2>"$T/err"
ok 'dropped connections are taken up again' $(same model.safetensors; echo $?)
ok 'from where they broke' $(grep -q 'bytes=5000000-' "$T/log"; echo $?)
hub_stop

# how far it is, on a terminal
if command -v script >/dev/null; then
    hub drop=5000000
    fresh
    (unset NO_COLOR; TERM=xterm timeout 100 script -qec 'rill-pull org/tiny' /dev/null </dev/null >"$T/out" 2>"$T/err")
    ok 'a bar is shown' $(tr '\r' '\n' <"$T/out" | grep -q '% \[#* *\] .*iB/s'; echo $?)
    hub_stop
fi

hub drop=1000000
fresh
timeout 100 rill-pull -q --retries 0 -J 1 org/tiny >"$T/out" 2>"$T/err"
ok 'retries end: exit 4' $([ $? -eq 4 ]; echo $?)
hub_stop

# interrupted in the middle, then again: pieces that were complete are not fetched twice
hub drop=16777216
fresh
timeout 100 rill-pull -q --retries 0 -J 1 org/tiny >"$T/out" 2>"$T/err"
hub_stop
hub
rill-pull -q org/tiny >"$T/out" 2>"$T/err"
ok 'a second call goes on' $(same model.safetensors; echo $?)
hub_stop

hub busy=3
fresh
timeout 100 rill-pull -q org/tiny >"$T/out" 2>"$T/err"
ok 'a busy hub is asked again' $(same model.safetensors && same config.json; echo $?)
hub_stop

hub wrong=1
fresh
timeout 100 rill-pull -q -J 1 org/tiny >"$T/out" 2>"$T/err"
ok 'wrong bytes are fetched once more' $(same model.safetensors && same config.json; echo $?)
hub_stop

hub wrong=1000
fresh
timeout 100 rill-pull -q org/tiny >"$T/out" 2>"$T/err"
ok 'wrong bytes twice: exit 3' $([ $? -eq 3 ] && grep -q "is not the hub's file" "$T/err"; echo $?)
ok 'and nothing under the name' $([ ! -e "$repo/snapshots/$commit/config.json" ]; echo $?)
hub_stop

hub noranges
fresh
timeout 100 rill-pull -q org/tiny >"$T/out" 2>"$T/err"
ok 'a hub without ranges will do' $(same model.safetensors; echo $?)
hub_stop

hub noranges drop=1000000
fresh
timeout 100 rill-pull -q --retries 2 org/tiny >"$T/out" 2>"$T/err"
ok 'without ranges, always cut off: it gives up' $([ $? -eq 4 ]; echo $?)
hub_stop

hub moved
fresh
timeout 100 rill-pull -q --retries 0 org/tiny >"$T/out" 2>"$T/err"
ok 'no redirect to another scheme' $([ $? -eq 4 ] && [ ! -e "$repo/snapshots" ]; echo $?)
hub_stop

# the disk ends in the middle: exit 4, nothing under the name, and later it goes on from there
hub
fresh
(trap '' XFSZ; ulimit -f 20000; exec rill-pull -q org/tiny) >"$T/out" 2>"$T/err"
ok 'a full disk: exit 4' $([ $? -eq 4 ] && grep -q 'File too large' "$T/err"; echo $?)
ok 'and nothing under the name' $([ ! -e "$repo/snapshots/$commit/model.safetensors" ]; echo $?)
rill-pull -q org/tiny >"$T/out" 2>"$T/err"
ok 'with room again it goes on' $(same model.safetensors; echo $?)
# a name that only begins like this machine's gets no token in the open
for host in localhost.invalid 127.0.0.1.invalid 127.invalid; do
    HF_ENDPOINT=http://$host:9 HF_TOKEN=secret rill-pull --retries 0 org/tiny >"$T/out" 2>"$T/err"
    ok "no token in the open to $host" $([ $? -eq 4 ] && grep -q 'the token is not sent' "$T/err"; echo $?)
done
hub_stop

hub deny
rill-pull -q org/tiny >"$T/out" 2>"$T/err"
ok 'refused: says what a token is for' $([ $? -eq 3 ] && grep -q HF_TOKEN "$T/err"; echo $?)
hub_stop

# answers that are no listing
hub
for bad in '' '[]' '{"sha":"x","siblings":[]}' "{\"sha\":\"$commit\",\"siblings\":[{\"rfilename\":\"../x\",\"size\":1,\"blobId\":\"$commit\"}]}" \
    "{\"sha\":\"$commit\",\"siblings\":[{\"rfilename\":\"x\",\"size\":-1,\"blobId\":\"$commit\"}]}" \
    "{\"sha\":\"$commit\",\"siblings\":[{\"rfilename\":\"a/../../x\",\"size\":1,\"blobId\":\"$commit\"}]}" \
    "{\"sha\":\"$commit\",\"siblings\":[{\"rfilename\":\"/x\",\"size\":1,\"blobId\":\"$commit\"}]}" \
    "{\"sha\":\"$commit\",\"siblings\":[{\"rfilename\":\"a\\u009bx\",\"size\":1,\"blobId\":\"$commit\"}]}" \
    "{\"sha\":\"$commit\",\"siblings\":[{\"rfilename\":\"x\",\"size\":999999999999999999,\"blobId\":\"$commit\"}]}" \
    "{\"sha\":\"$commit\",\"siblings\":[{\"rfilename\":\"x\",\"size\":1,\"blobId\":\"../../x\"}]}"; do
    printf '%s' "$bad" >"$T/hub/api/models/org/quants/revision/main"
    rill-pull -q org/quants >"$T/out" 2>"$T/err"
    ok "a listing like $bad: exit 3" $([ $? -eq 3 ]; echo $?)
done
hub_stop

rm -rf "$T"
echo "cli/pull: $passed passed, $failed failed"
[ $failed -eq 0 ]
