#!/bin/sh
# deploy.sh - the files of share/deploy against the server and the linters there are.
# Run by tests/run.sh in the build directory.
set -u
: "${SRCDIR:?}"
D=$SRCDIR/share/deploy
if ! command -v rill-serve >/dev/null; then
    echo 'skipped: no rill-serve (libevent)'
    echo 'cli/deploy: 0 passed, 0 failed, 1 skipped'
    exit 0
fi
T=$(pwd)/obj/check/tmp.deploy
rm -rf "$T"
mkdir -p "$T"
passed=0 failed=0 skipped=0
ok() { # ok WHAT STATUS
    if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else
        failed=$((failed + 1)); echo "failed: $1"; sed 's/^/    /' "$T/out" 2>/dev/null; fi
}
skip() { echo "skipped: $1"; skipped=$((skipped + 1)); }

# -- what deploy.md explains is said somewhere --
sed -n '/^| what is said/,$s/^| [^|`]*`\([^`|]*\)`.*/\1/p' "$SRCDIR/docs/deploy.md" | sort -u >"$T/texts"
while IFS= read -r text; do
    case $text in *...*) text=${text##*...\'} ;; esac
    grep -rqF -e "$text" "$SRCDIR/tools" || echo "nothing says: $text"
done <"$T/texts" >"$T/out"
[ ! -s "$T/out" ] && [ "$(wc -l <"$T/texts")" -gt 15 ]
ok 'what deploy.md explains' $?

# -- what the dashboard and the alerts ask for is there --
echo '{"answers":[{"text":"x"}]}' >"$T/script.json"
printf a-secret-of-somebody | rill-serve --hash-key | sed 's/$/ me rate=5 concurrent=8/' >"$T/keys"
echo "$(printf a-key-for-prometheus | rill-serve --hash-key) prometheus scopes=metrics" >>"$T/keys"
rill-serve -q -m "$SRCDIR/share/rill-tales.gguf" --script "$T/script.json" --keys "$T/keys" --port 0 \
    >"$T/port" 2>"$T/out" &
server=$!
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -s "$T/port" ] && break
    sleep 0.1
done
port=$(cat "$T/port")
# get PATH KEY: a reply without its head, by the shell alone where bash is, as the image's check does
get() {
    bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" &&
        printf "GET %s HTTP/1.1\r\nHost: localhost\r\nx-api-key: %s\r\nConnection: close\r\n\r\n" "$2" "$3" >&3 &&
        cat <&3' get "$port" "$1" "$2"
}
if command -v bash >/dev/null; then
    get /metrics a-key-for-prometheus >"$T/reply" 2>"$T/out"
    head -n 1 "$T/reply" | grep -q ' 200 '
    ok 'the key of a scrape' $?
    get /v1/models a-key-for-prometheus 2>/dev/null | head -n 1 | grep -q ' 403 '
    ok 'which is good for nothing else' $?
    tr -d '\r' <"$T/reply" | sed '1,/^$/d' >"$T/metrics"
    grep -oh 'rill_[a-z_]*' "$D/grafana.json" "$D/alerts.yml" | sort -u | grep -v '^rill_gpu_' |
        while read -r name; do
            grep -q "^$name[ {]" "$T/metrics" || echo "/metrics has no $name"
        done >"$T/out"
    [ ! -s "$T/out" ]
    ok 'metrics of the dashboard and the alerts' $?
    if command -v promtool >/dev/null; then
        # the names with a colon are those of other servers' dashboards
        grep -v 'vllm:' "$T/metrics" | promtool check metrics >"$T/out" 2>&1
        ok 'promtool check metrics' $?
    fi
else
    skip 'no bash'
fi
kill "$server"
wait "$server" 2>/dev/null

# -- linters --
if command -v promtool >/dev/null; then
    promtool check rules "$D/alerts.yml" >"$T/out" 2>&1
    ok 'promtool check rules' $?
else
    skip 'no promtool'
fi
if command -v systemd-analyze >/dev/null; then
    sed "s|/usr/local/bin/rill-serve|$(command -v rill-serve)|" "$D/rill-serve@.service" >"$T/rill-serve@a.service"
    cp "$D/rill-serve@.socket" "$T/rill-serve@a.socket"
    systemd-analyze --man=no verify "$T/rill-serve@a.service" "$T/rill-serve@a.socket" >"$T/out" 2>&1 && [ ! -s "$T/out" ]
    ok 'systemd-analyze verify' $?
    systemd-analyze security --offline=true --threshold=25 "$T/rill-serve@a.service" >"$T/out" 2>&1
    ok 'systemd-analyze security: 2.5 or better' $?
else
    skip 'no systemd-analyze'
fi

# -- the image is built from what the quickstart installs, but for what only rill-pull needs --
sed -n "s/^packages='\(.*\)'/\1/p" "$SRCDIR/scripts/quickstart" | tr ' ' '\n' | grep -v curl | sort >"$T/want"
sed -n '/AS build/,/rm -rf/p' "$D/Dockerfile" | tr ' ' '\n' | grep -E '^(gcc|make|lib.*-dev)$' | sort >"$T/have"
diff "$T/want" "$T/have" >"$T/out"
ok 'packages of the image' $?

rm -rf "$T"
echo "cli/deploy: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
