/* fuzz_tok.c - any bytes as a vocabulary and a text. A vocabulary that can spell every byte must
 * give the text back; streams must be valid UTF-8. Input that begins with GGUF is read as a file of
 * that kind instead.
 *
 *     model, flags, pre-tokenizer, number of tokens, number of merges (a byte each)
 *     a token: length, kind, score, text      a merge: two indices of tokens      the text
 */
#include "tests/fuzz/replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/vocab.h"
#include "text/pre.h"
#include "text/tok.h"

static void need(bool ok)
{
    if (!ok)
        abort();
}

enum {
    SPELLS = 1,
    PREFIX = 2,
    COLLAPSE = 4,
    WHOLE = 8,
    RAW = 16,
    LOWER = 32,
    PARSE = 64,
    NFC = 128
};

static void try_text(const struct tok *t, struct slice text, unsigned flags, bool identity)
{
    struct tok_ids ids = {.max = 100000};
    struct buf back = {0}, shown = {0};
    struct err e = {0};
    struct detok d;
    int rc = tok_encode(t, text, flags, &ids, &e);

    need(rc == 0 || (rc == e.code && ids.n == 0));
    detok_init(&d, t, DETOK_SHOW);
    for (size_t i = 0; i < ids.n; i++) {
        need(ids.id[i] >= 0 && (uint32_t)ids.id[i] < tok_count(t));
        detok_add(&d, ids.id[i], &shown);
        need(utf8_valid(shown.p ? shown.p : "", shown.n));
    }
    detok_end(&d, &shown);
    need(utf8_valid(shown.p ? shown.p : "", shown.n));
    tok_decode(t, ids.id, ids.n, 0, &back);
    if (identity && rc == 0)
        need(slice_eq(buf_view(&back), text));
    buf_fini(&back);
    buf_fini(&shown);
    tok_ids_fini(&ids);
}

static int file(const uint8_t *p, size_t n)
{
    struct err e = {0};
    struct gguf *g;
    struct tok *t;
    uint64_t *aligned = malloc(n + 8);

    if (!aligned)
        return 0;
    memcpy(aligned, p, n);
    if (gguf_open_mem(&g, "f", aligned, n, &e) == 0) {
        if (vocab_from_gguf(&t, g, &e) == 0) {
            try_text(t, SLICE("a b  <s>\n\xff\xe2\x96\x81 12"), TOK_ADD | TOK_PARSE, false);
            tok_free(t);
        } else {
            need(strncmp(e.text, "f: ", 3) == 0 && err_exit_status(e.code) == 3);
        }
        gguf_close(g);
    }
    free(aligned);
    return 0;
}

struct vocab {
    struct tok_spec s;
    struct slice piece[512];
    float score[512];
    uint8_t kind[512];
    struct slice merge[256][2];
    char byte[256][8];
};

static void add(struct vocab *v, struct slice text, float score, uint8_t kind)
{
    v->piece[v->s.n] = text;
    v->score[v->s.n] = score;
    v->kind[v->s.n++] = kind;
}

/* Tokens that spell every byte. */
static void add_bytes(struct vocab *v)
{
    for (int i = 0; i < 256; i++) {
        int n = 1;

        if (v->s.model == TOK_BPE && !v->s.raw_bpe)
            v->byte[i][0] = (char)i;
        else
            n = snprintf(v->byte[i], sizeof v->byte[i], "<0x%02X>", i);
        add(v, (struct slice){v->byte[i], (size_t)n}, 0, n == 1 ? TOK_NORMAL : TOK_BYTE);
    }
}

static void read_vocab(struct vocab *v, struct cur *c, unsigned flags)
{
    const struct pre_row *row;
    static char name[64];
    unsigned n_token, n_merge, pre;

    tok_spec_init(&v->s);
    v->s.model = cur_u8(c) % TOK_N_MODEL;
    v->s.piece = v->piece;
    v->s.score = v->score;
    v->s.kind = v->kind;
    v->s.add_space_prefix = flags & PREFIX;
    v->s.remove_extra_spaces = flags & COLLAPSE;
    v->s.whole_first = flags & WHOLE;
    v->s.raw_bpe = flags & RAW;
    v->s.raw_bytes = !(flags & RAW);
    v->s.lowercase = v->s.strip_accents = flags & LOWER;
    v->s.nfc = flags & NFC;
    pre = cur_u8(c);
    for (size_t i = 0; (row = pre_row_at(i)); i++)
        if (i == pre) {
            size_t n = strcspn(row->names, " ");

            memcpy(name, row->names, n);
            name[n] = '\0';
            v->s.pre = name;
        }
    n_token = cur_u8(c);
    n_merge = cur_u8(c);
    for (unsigned i = 0; i < n_token && !c->bad; i++) {
        size_t len = cur_u8(c);
        uint8_t kind = cur_u8(c) % (TOK_BYTE + 1);
        float score = (int8_t)cur_u8(c);

        add(v, cur_slice(c, len), score, kind);
    }
    if (flags & SPELLS)
        add_bytes(v);
    v->s.merge = (const struct slice(*)[2])v->merge;
    for (unsigned i = 0; i < n_merge && v->s.n && !c->bad; i++) {
        v->merge[i][0] = v->piece[cur_u8(c) % v->s.n];
        v->merge[i][1] = v->piece[cur_u8(c) % v->s.n];
        v->s.n_merge++;
    }
    for (uint32_t i = 0; i < v->s.n; i++)
        if (v->kind[i] == TOK_UNKNOWN)
            v->s.role[TOK_UNK] = (int32_t)i;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static struct vocab v;
    struct cur c = {p, n, 0, false};
    struct err e = {0};
    struct slice text;
    struct tok *t;
    unsigned flags;
    bool identity;

    if (gguf_magic(p, n))
        return file(p, n);
    flags = cur_u8(&c);
    memset(&v, 0, sizeof v);
    read_vocab(&v, &c, flags);
    if (c.bad)
        return 0;
    text = cur_slice(&c, n - c.at);
    if (tok_new(&t, &v.s, &e) < 0) {
        need(err_exit_status(e.code) == 3 && e.text[0]);
        return 0;
    }
    identity = flags & SPELLS && (v.s.model == TOK_SPM || v.s.model == TOK_BPE) &&
               !(flags & (COLLAPSE | NFC)) && !(flags & PARSE);
    try_text(t, text, TOK_EXACT | (flags & PARSE ? TOK_PARSE : 0), identity);
    for (uint32_t i = 0; i < tok_count(t); i++) {
        struct slice s = tok_piece(t, (int32_t)i);
        int32_t id = s.n ? tok_find(t, s) : (int32_t)i;

        need(id >= 0 && (id == (int32_t)i || slice_eq(tok_piece(t, id), s)));
    }
    tok_free(t);
    return 0;
}
