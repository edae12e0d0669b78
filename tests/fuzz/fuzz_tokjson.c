/* fuzz_tokjson.c - any bytes as a tokenizer.json, and behind a NUL a text for it: opening must fail
 * with a sentence, or the text must be encoded and decoded, and be one of a pair.
 */
#include "tests/fuzz/replay.h"

#include <stdlib.h>
#include <string.h>

#include "text/tokjson.h"

static void need(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    const uint8_t *cut = n ? memchr(p, 0, n) : NULL;
    size_t json = cut ? (size_t)(cut - p) : n;
    struct slice text = {cut ? (const char *)cut + 1 : "a b", cut ? n - json - 1 : 3};
    struct tok_ids ids = {0};
    struct buf back = {0}, types = {0};
    struct err e = {0};
    struct tokjson *j;
    struct tok *t;

    if (tokjson_open(&j, (struct slice){(const char *)p, json}, "f", &e) < 0) {
        need(strncmp(e.text, "f: ", 3) == 0 || e.code == E_NOMEM || e.code == E_RANGE);
        return 0;
    }
    if (tok_new(&t, &j->spec, &e) == 0) {
        if (tok_encode(t, text, TOK_ADD | TOK_PARSE, &ids, &e) == 0) {
            for (size_t i = 0; i < ids.n; i++)
                need(ids.id[i] >= 0 && (uint32_t)ids.id[i] < tok_count(t));
            tok_decode(t, ids.id, ids.n, TOK_SHOW, &back);
        }
        ids.n = 0;
        if (tok_encode_pair(t, text, SLICE("b a"), TOK_ADD, &ids, &types, &e) == 0)
            need(types.n == ids.n);
        tok_free(t);
    }
    j->spec.take_pipe = NULL;
    tokjson_close(j);
    tok_ids_fini(&ids);
    buf_fini(&back);
    buf_fini(&types);
    return 0;
}
