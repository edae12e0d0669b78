/* fuzz_constrain.c - grammars, schemas, regular expressions and tools from bytes, and texts for
 * them.
 *
 * The first byte chooses the front end (of tools, the format too); a NUL parts the source from a
 * text. Either the source is refused with a sentence, or the text is taken as far as it goes: the
 * mask must agree with what is taken, byte for byte, and memory stays below its limit.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "tests/fuzz/replay.h"
#include "text/constrain_tools.h"

static void need(bool ok)
{
    if (!ok)
        abort();
}

/* Made once. */
static const struct con_vocab *bytes(void)
{
    static struct con_vocab *kept;
    static struct tok *t;
    static char byte[256];
    static struct slice piece[256];
    struct con_vocab *v = NULL;
    struct tok_spec s;
    struct err e = {0};

    tok_spec_init(&s);
    for (int i = 0; i < 256; i++) {
        byte[i] = (char)i;
        piece[i] = (struct slice){&byte[i], 1};
    }
    s.model = TOK_BPE;
    s.n = 256;
    s.piece = piece;
    s.raw_bytes = true;
    if (!kept) {
        need(tok_new(&t, &s, &e) == 0 && con_vocab_new(&v, t, &e) == 0);
        kept = v;
    }
    return kept;
}

static void read_text(const struct con *c, struct slice text)
{
    const struct con_vocab *v = bytes();
    struct con_matcher *m;
    struct err e = {0};

    if (con_matcher_new(&m, c, v, 8 << 20, &e) == 0) {
        struct con_state s = con_begin(m);

        for (size_t i = 0; i < text.n; i++) {
            uint8_t b = (uint8_t)text.p[i];
            uint32_t mask[8];
            int took;

            if (con_mask(m, s, mask, &e) < 0)
                break;
            took = con_accept(m, &s, b, &e);
            if (took < 0)
                break;
            need(took == (int)(mask[b / 32] >> b % 32 & 1));
            if (!took)
                break;
        }
        need(con_matcher_bytes(m) <= 8 << 20);
        con_matcher_free(m);
    } else {
        need(e.text[0] != 0);
    }
}

static int tools(struct con **out, uint8_t how, struct slice src, struct err *e)
{
    struct con_tools t = {.choice = (enum con_choice)(how % 3), .parallel = how & 4};
    size_t n = 0;
    json_t *j = json_loadb(src.p, src.n, 0, NULL);
    int rc;

    while (toolcall_at(n))
        n++;
    t.format = toolcall_at(how / 8 % n);
    t.reasoning = how & 1 ? reasoning_find("think") : NULL;
    t.tools = j;
    rc = con_tools(out, &t, e);
    json_decref(j);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    const struct con_opts line = {.line = true}, any = {0};
    const uint8_t *end = n > 1 ? memchr(p + 1, 0, n - 1) : NULL;
    struct slice src = {(const char *)p + 1, 0}, text = {"", 0};
    struct con *c = NULL;
    struct err e = {0};
    int rc;

    if (n < 1)
        return 0;
    src.n = end ? (size_t)(end - p) - 1 : n - 1;
    if (end)
        text = (struct slice){(const char *)end + 1, n - src.n - 2};
    switch (*p % 5) {
    case 0:
        rc = con_gbnf(&c, src, NULL, &e);
        break;
    case 1:
        rc = con_regex(&c, src, NULL, &e);
        break;
    case 2:
        rc = tools(&c, *p / 5 * 7 % 251, src, &e);
        break;
    default:
        rc = con_schema(&c, src, *p % 5 == 3 ? &line : &any, &e);
    }
    need(rc == 0 || (e.code == rc && e.text[0]));
    if (rc == 0)
        read_text(c, text);
    con_free(c);
    return 0;
}
