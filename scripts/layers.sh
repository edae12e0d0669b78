#!/bin/sh
# layers.sh - the law of layers: which room may include which, by the #include "..." lines.
# Prints each offence as file:line: and ends like a test program (tests/run.sh).
cd "${SRCDIR:-$(dirname "$0")/..}" || exit 1

find libcore kernels tools \( -name '*.[ch]' -o -name '*.inc' -o -name '*.def' -o -name '*.cu' \
    -o -name '*.cuh' \) | sort | tr '\n' '\0' | xargs -0 awk '
BEGIN {
    law["base"] = "base"
    law["quant"] = "base quant"
    law["file"] = "base quant file"
    law["text"] = "base text"
    law["plan"] = "base quant plan"
    law["kernels"] = "base quant plan kernels"
    law["model"] = "base quant file text plan model kernels/registry.h rill.h"
    law["engine"] = "base text plan model engine rill.h"
    # the door: it answers what rill.h asks about the file too, so that the engine proper need not
    law["libcore/engine/public.c"] = law["engine"] " file quant"
    law["rill.h"] = "base"
    law["tools/lib"] = "base text tools/lib rill.h"
    law["tools/lib/hub.c"] = law["tools/lib"] " model/hf_cache.h"
    law["tools/lib/setkey.c"] = law["tools/lib"] " file"
    law["tools"] = "base tools/lib rill.h"
    many = "base quant file text tools/lib rill.h"
    law["tools/eval.c"] = many
    law["tools/tokenize.c"] = many " model/hfdir.h"
    law["tools/quantize.c"] = many " model/hfdir.h kernels/encode.h"
    law["tools/convert.c"] = law["tools/quantize.c"] " model/lora.h model/hf_export.h"
    law["tools/inspect.c"] = many " plan model/hfdir.h"
    law["tools/lib/quantize"] = many " kernels/encode.h"
    law["tools/lib/inspect"] = many " model/hfdir.h kernels/encode.h"
    law["tools/bench.c"] = law["tools"] " plan text model/random.h model/hfdir.h kernels/peak.h"
}
# the room a path belongs to: libcore/model/arch/x.c -> model
function room(path, p) {
    if (path in law) return path
    if (path ~ /^tools\/lib\/inspect/) return "tools/lib/inspect"
    if (path ~ /^tools\/lib\/quantize/) return "tools/lib/quantize"
    if (path ~ /^tools\/lib\//) return "tools/lib"
    sub(/^libcore\//, "", path)
    split(path, p, "/")
    return p[1]
}
function allowed(from, to, r, n, i) {
    n = split(law[from], r, " ")
    for (i = 1; i <= n; i++)
        if (to == r[i] || index(to, r[i] "/") == 1) return 1
    return 0
}
FNR == 1 { files++ }
/^[ \t]*#[ \t]*include[ \t]*"/ {
    to = $0
    sub(/^[^"]*"/, "", to)
    sub(/".*/, "", to)
    from = room(FILENAME)
    why = ""
    if (to ~ /(^|\/)\.\.?\//) why = "path with dots"
    else if (to !~ /\// && to != "rill.h") next # a neighbour in the same folder
    else if (!(from in law)) why = "room without a law: " from
    else if (!allowed(from, to)) why = from " may include: " law[from]
    if (why != "") { printf "%s:%d: \"%s\": %s\n", FILENAME, FNR, to, why; bad[FILENAME] = 1 }
}
END {
    for (f in bad) n++
    printf "tree/layers: %d passed, %d failed\n", files - n, n
    exit n > 0
}'
