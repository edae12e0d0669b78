/* constrain_vocab.c - see constrain_vocab.h. */
#include "constrain_vocab.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

static int plain_step(int state, unsigned c)
{
    /* 0 between characters; 1, 2, 3: so many continuation bytes are left, any; 4-7: behind E0, ED,
     * F0 and F4, which bound the byte that follows (RFC 3629) */
    switch (state) {
    case 0:
        if (c < 0x80)
            return c < 0x20 || c == '"' || c == '\\' ? -1 : 0;
        if (c < 0xc2 || c > 0xf4)
            return -1;
        if (c < 0xe0)
            return 1;
        if (c < 0xf0)
            return c == 0xe0 ? 4 : c == 0xed ? 5 : 2;
        return c == 0xf0 ? 6 : c == 0xf4 ? 7 : 3;
    case 4:
        return c >= 0xa0 && c < 0xc0 ? 1 : -1;
    case 5:
        return c >= 0x80 && c < 0xa0 ? 1 : -1;
    case 6:
        return c >= 0x90 && c < 0xc0 ? 2 : -1;
    case 7:
        return c >= 0x80 && c < 0x90 ? 2 : -1;
    default:
        return c >= 0x80 && c < 0xc0 ? state - 1 : -1;
    }
}

#define CONTROL_BYTE 0xff // no UTF-8 has it

struct slice con_token_text(int32_t id, char *out)
{
    int n = snprintf(out, 16, "%c[%d]", CONTROL_BYTE, id);

    return (struct slice){out, (size_t)n};
}

int con_controls_init(struct con_controls *c, const struct tok *t, struct err *e)
{
    uint32_t n = t ? tok_count(t) : 0, k = 0;

    *c = (struct con_controls){.tok = t};
    for (uint32_t i = 0; i < n; i++)
        k += tok_kind_of(t, (int32_t)i) == TOK_CONTROL;
    c->id = mem_array(k, sizeof *c->id, e);
    if (!c->id)
        return E_NOMEM;
    for (uint32_t i = 0; i < n; i++)
        if (tok_kind_of(t, (int32_t)i) == TOK_CONTROL && tok_piece(t, (int32_t)i).n)
            c->id[c->n++] = (int32_t)i;
    return 0;
}

void con_controls_fini(struct con_controls *c)
{
    mem_free(c->id);
    *c = (struct con_controls){0};
}

/* The longest control token that text begins with, or -1. */
static int32_t control_at(const struct con_controls *c, struct slice text)
{
    size_t best = 0;
    int32_t id = -1;

    for (uint32_t i = 0; i < c->n; i++) {
        struct slice p = tok_piece(c->tok, c->id[i]);

        if (p.n > best && slice_starts(text, p)) {
            best = p.n;
            id = c->id[i];
        }
    }
    return id;
}

void con_controls_put(const struct con_controls *c, struct slice text, struct buf *out)
{
    char special[16];

    while (text.n) {
        int32_t id = control_at(c, text);
        size_t n = id >= 0 ? tok_piece(c->tok, id).n : 1;

        buf_slice(out, id >= 0 ? con_token_text(id, special) : (struct slice){text.p, 1});
        text = (struct slice){text.p + n, text.n - n};
    }
}

int slice_step(int slice, int state, unsigned c)
{
    if (slice != SLICE_WORD)
        return plain_step(state, c);
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ? 0 : -1;
}

static bool in_slice(int slice, struct slice t)
{
    int st = 0, chars = 0;

    for (size_t i = 0; i < t.n && st >= 0; i++) {
        chars += st == 0;
        st = slice_step(slice, st, (unsigned char)t.p[i]);
    }
    return st >= 0 && (slice == SLICE_LONG || chars <= SLICE_SHORT);
}

struct entry {
    struct slice text;
    int32_t id;
};

static int by_bytes(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    size_t n = x->text.n < y->text.n ? x->text.n : y->text.n;
    int d = memcmp(x->text.p, y->text.p, n);

    if (d == 0)
        d = (x->text.n > y->text.n) - (x->text.n < y->text.n);
    return d ? d : (x->id > y->id) - (x->id < y->id);
}

static size_t common(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n, i = 0;

    while (i < n && a.p[i] == b.p[i])
        i++;
    return i;
}

/* A trie of the sorted entries; of equal ones only the first is in it. */
static int trie_make(struct vocab_trie *t, const struct entry *v, uint32_t n, struct err *e)
{
    uint32_t open[VOCAB_MAX_DEPTH + 1]; // the branch last added to, by depth
    struct slice last = {"", 0};
    uint64_t nodes = 0;

    for (uint32_t i = 0; i < n; last = v[i++].text)
        nodes += v[i].text.n - common(last, v[i].text);
    t->node = mem_array(nodes + 1, sizeof *t->node, e);
    if (!t->node)
        return E_NOMEM;
    last.n = 0;
    for (uint32_t i = 0; i < n; i++) {
        size_t k = common(last, v[i].text);

        for (size_t d = k + 1; d <= last.n; d++)
            t->node[open[d]].skip = t->n;
        for (size_t d = k + 1; d <= v[i].text.n; d++) {
            open[d] = t->n;
            t->node[t->n++] = (struct vocab_node){.token = -1,
                                                  .depth = (uint16_t)d,
                                                  .byte = (uint8_t)v[i].text.p[d - 1]};
        }
        if (k < v[i].text.n)
            t->node[open[v[i].text.n]].token = v[i].id;
        last = v[i].text;
    }
    for (size_t d = 1; d <= last.n; d++)
        t->node[open[d]].skip = t->n;
    return 0;
}

/* What each token is in a text. */
static int texts(struct con_vocab *v, const struct tok *t, struct err *e)
{
    uint32_t at = 0;

    v->text = mem_array(v->n, sizeof *v->text, e);
    v->special = mem_array(v->n, 16, e);
    if (!v->text || !v->special)
        return E_NOMEM;
    for (uint32_t i = 0; i < v->n; i++) {
        enum tok_kind k = tok_kind_of(t, (int32_t)i);

        if (k == TOK_CONTROL) {
            v->text[i] = con_token_text((int32_t)i, v->special + at);
            at += 16;
        } else if (k == TOK_NORMAL || k == TOK_USER || k == TOK_BYTE) {
            v->text[i] = tok_piece(t, (int32_t)i);
            if (memchr(v->text[i].p, CONTROL_BYTE, v->text[i].n)) // it could spell a control token
                v->text[i].n = 0;
        }
        if (v->text[i].n > VOCAB_MAX_DEPTH)
            v->text[i].n = 0;
        if (v->text[i].n > v->max_len)
            v->max_len = (uint32_t)v->text[i].n;
        if (tok_is_end(t, (int32_t)i))
            v->end[i / 32] |= 1u << i % 32;
    }
    return 0;
}

static int tries(struct con_vocab *v, struct entry *all, struct entry *some, struct err *e)
{
    uint32_t n = 0;
    int rc;

    for (uint32_t i = 0; i < v->n; i++)
        if (v->text[i].n)
            all[n++] = (struct entry){v->text[i], (int32_t)i};
    qsort(all, n, sizeof *all, by_bytes);
    for (uint32_t i = 0; i < n; i++) {
        bool twin = i + 1 < n && slice_eq(all[i].text, all[i + 1].text);

        v->same[all[i].id] = twin ? all[i + 1].id : -1;
    }
    if ((rc = trie_make(&v->all, all, n, e)) < 0)
        return rc;
    for (int s = 0; s < SLICE_N; s++) {
        uint32_t k = 0;

        for (uint32_t i = 0; i < n; i++) {
            if (!in_slice(s, all[i].text))
                some[k++] = all[i];
            else
                v->slice[s][all[i].id / 32] |= 1u << all[i].id % 32;
        }
        if ((rc = trie_make(&v->rest[s], some, k, e)) < 0)
            return rc;
    }
    return 0;
}

int con_vocab_new(struct con_vocab **out, const struct tok *t, struct err *e)
{
    struct con_vocab *v = mem_new(sizeof *v, e);
    struct entry *all = NULL, *some = NULL;
    int rc = E_NOMEM;

    if (!v)
        return E_NOMEM;
    v->n = tok_count(t);
    v->n_word = (v->n + 31) / 32;
    v->end = mem_array(v->n_word, 4, e);
    v->same = mem_array(v->n, sizeof *v->same, e);
    all = mem_array(v->n, sizeof *all, e);
    some = mem_array(v->n, sizeof *some, e);
    for (int s = 0; s < SLICE_N; s++)
        if (!(v->slice[s] = mem_array(v->n_word, 4, e)))
            goto fail;
    if (!v->end || !v->same || !all || !some || (rc = texts(v, t, e)) < 0 ||
        (rc = tries(v, all, some, e)) < 0)
        goto fail;
    mem_free(all);
    mem_free(some);
    *out = v;
    return 0;
fail:
    mem_free(all);
    mem_free(some);
    con_vocab_free(v);
    return rc;
}

void con_vocab_free(struct con_vocab *v)
{
    if (!v)
        return;
    for (int s = 0; s < SLICE_N; s++) {
        mem_free(v->slice[s]);
        mem_free(v->rest[s].node);
    }
    mem_free(v->all.node);
    mem_free(v->end);
    mem_free(v->same);
    mem_free(v->text);
    mem_free(v->special);
    mem_free(v);
}
