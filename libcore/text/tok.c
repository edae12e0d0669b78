/* tok.c - builds a tokenizer from its description, and answers questions about it. */
#include "tok_in.h"

#include <stdio.h>

/* -- names ----------------------------------------------------------------------------------- */

static const char *const model_names[TOK_N_MODEL] = {"none",    "spm",  "bpe",      "wordpiece",
                                                     "unigram", "rwkv", "wordlevel"};

static const char *const role_names[TOK_N_ROLE] = {
#define X(name, text) text,
    TOK_ROLES(X)
#undef X
};

/* Tokens known by their text: what they do where the file does not say it. */
static const struct known {
    const char *text;
    int role; // -1: none
    bool end; // ends a generation
} known[] = {
    {"<|eot_id|>", TOK_EOT, true},
    {"<|im_end|>", TOK_EOT, true},
    {"<|end|>", TOK_EOT, true},
    {"<end_of_turn>", TOK_EOT, true},
    {"<|endoftext|>", TOK_EOT, true},
    {"<|end_of_text|>", TOK_EOT, true},
    {"<EOT>", TOK_EOT, true},
    {"_<EOT>", TOK_EOT, true},
    {"[EOT]", TOK_EOT, true},
    {"<\xef\xbd\x9c"
     "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
     TOK_EOT, true},
    {"<end_of_utterance>", TOK_EOT, true},
    {"<turn|>", TOK_EOT, true},
    {"<|eom_id|>", TOK_EOM, true},
    {"<|return|>", -1, true},
    {"<|call|>", -1, true},
    {"<|calls|>", -1, true},
    {"<|flush|>", -1, true},
    {"</s>", -1, true},
    {"[EOS]", -1, true},
    {"<eos>", -1, true},
    {"<|tool_response>", -1, true},
    {"[e~[", -1, true},
    {"<|fim_prefix|>", TOK_FIM_PRE, false},
    {"<fim-prefix>", TOK_FIM_PRE, false},
    {"<fim_prefix>", TOK_FIM_PRE, false},
    {"<\xef\xbd\x9c"
     "fim\xe2\x96\x81"
     "begin\xef\xbd\x9c>",
     TOK_FIM_PRE, false},
    {"<PRE>", TOK_FIM_PRE, false},
    {"\xe2\x96\x81<PRE>", TOK_FIM_PRE, false},
    {" <PRE>", TOK_FIM_PRE, false},
    {"<|code_prefix|>", TOK_FIM_PRE, false},
    {"<|prefix|>", TOK_FIM_PRE, false},
    {"<|fim_suffix|>", TOK_FIM_SUF, false},
    {"<fim-suffix>", TOK_FIM_SUF, false},
    {"<fim_suffix>", TOK_FIM_SUF, false},
    {"<\xef\xbd\x9c"
     "fim\xe2\x96\x81hole\xef\xbd\x9c>",
     TOK_FIM_SUF, false},
    {"<SUF>", TOK_FIM_SUF, false},
    {"\xe2\x96\x81<SUF>", TOK_FIM_SUF, false},
    {" <SUF>", TOK_FIM_SUF, false},
    {"<|code_suffix|>", TOK_FIM_SUF, false},
    {"<|suffix|>", TOK_FIM_SUF, false},
    {"<|fim_middle|>", TOK_FIM_MID, false},
    {"<fim-middle>", TOK_FIM_MID, false},
    {"<fim_middle>", TOK_FIM_MID, false},
    {"<\xef\xbd\x9c"
     "fim\xe2\x96\x81"
     "end\xef\xbd\x9c>",
     TOK_FIM_MID, false},
    {"<MID>", TOK_FIM_MID, false},
    {"\xe2\x96\x81<MID>", TOK_FIM_MID, false},
    {" <MID>", TOK_FIM_MID, false},
    {"<|code_middle|>", TOK_FIM_MID, false},
    {"<|middle|>", TOK_FIM_MID, false},
    {"<|fim_pad|>", TOK_FIM_PAD, true},
    {"<fim-pad>", TOK_FIM_PAD, true},
    {"<fim_pad>", TOK_FIM_PAD, true},
    {"<|fim_repo|>", TOK_FIM_REP, true},
    {"<|repo_name|>", TOK_FIM_REP, true},
    {"<fim-repo>", TOK_FIM_REP, true},
    {"<REPO>", TOK_FIM_REP, true},
    {"<reponame>", TOK_FIM_REP, true},
    {"<|file_sep|>", TOK_FIM_SEP, true},
};

/* What only `with` (each of them present) makes an ordinary token again. */
static const struct {
    const char *text, *with[3];
} not_end[] = {
    {"<|end|>", {"<|return|>", "<|call|>", NULL}},   // gpt-oss: ends a message, not the answer
    {"<|end|>", {"<|flush|>", "<|calls|>", NULL}},   // solar
    {"</s>", {"<|tool_response>", "<turn|>", NULL}}, // gemma 4: text
};

/* -- spelling -------------------------------------------------------------------------------- */

#define MARK "\xe2\x96\x81" // U+2581 stands for a space

/* The alphabet of byte-level vocabularies: printable Latin-1 stands for itself, the other 68 bytes
 * are U+0100 and on. The byte of a character, or -1. */
static int alphabet_byte(uint32_t cp)
{
    if ((cp >= 0x21 && cp <= 0x7e) || (cp >= 0xa1 && cp <= 0xff && cp != 0xad))
        return (int)cp;
    if (cp >= 0x100 && cp <= 0x120)
        return (int)(cp - 0x100);
    if (cp >= 0x121 && cp <= 0x142)
        return (int)(cp - 0x121) + 0x7f;
    return cp == 0x143 ? 0xad : -1;
}

void tok_to_alphabet(struct slice s, struct buf *out)
{
    for (size_t i = 0; i < s.n; i++) {
        uint8_t b = (uint8_t)s.p[i];
        uint32_t cp = b <= 0x20 ? 0x100u + b : b <= 0x7e ? b : b <= 0xa0 ? 0x121u + b - 0x7fu : b;
        char c[4];

        if (b == 0xad)
            cp = 0x143;
        buf_add(out, c, (size_t)utf8_encode(cp, c));
    }
}

/* Adds the bytes s is spelt for. A character outside the alphabet: the text stands for itself. */
void tok_spell_alphabet(struct slice s, struct buf *out)
{
    char *to;

    if (!buf_reserve(out, s.n))
        return;
    to = out->p + out->n;
    for (size_t i = 0; i < s.n;) {
        uint32_t cp = (uint8_t)s.p[i];
        int len = cp < 128 ? 1 : utf8_decode(s.p + i, s.n - i, &cp),
            b = len ? alphabet_byte(cp) : -1;

        if (b < 0) {
            buf_slice(out, s);
            return;
        }
        *to++ = (char)b;
        i += (size_t)len;
    }
    out->n = (size_t)(to - out->p);
}

void tok_spell_marks(struct slice s, struct buf *out)
{
    char *to;

    if (!buf_reserve(out, s.n))
        return;
    to = out->p + out->n;
    for (size_t i = 0; i < s.n;) {
        bool mark = s.n - i >= 3 && memcmp(s.p + i, MARK, 3) == 0;

        *to++ = mark ? ' ' : s.p[i];
        i += mark ? 3 : 1;
    }
    out->n = (size_t)(to - out->p);
}

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* RWKV vocabularies: \t \n \r \xNN, and any other character behind a backslash for itself. */
static void spell_escapes(struct slice s, struct buf *out)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (c == '\\' && i + 1 < s.n) {
            c = s.p[++i];
            if (c == 'x' && i + 2 < s.n && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0) {
                c = (char)(hex(s.p[i + 1]) * 16 + hex(s.p[i + 2]));
                i += 2;
            } else {
                c = c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c;
            }
        }
        buf_byte(out, c);
    }
}

/* The byte of "<0x0A>", or -1. */
static int byte_of(struct slice s)
{
    if (s.n != 6 || memcmp(s.p, "<0x", 3) != 0 || s.p[5] != '>' || hex(s.p[3]) < 0 ||
        hex(s.p[4]) < 0)
        return -1;
    return hex(s.p[3]) * 16 + hex(s.p[4]);
}

/* The text itself; what says that a word ends there, or went on, is a byte that no text has. */
static void spell_as_is(const struct tok_spec *s, struct slice piece, struct buf *out)
{
    size_t n = s->word_end.n, inside = s->word_inside.n;
    bool end = n && slice_ends(piece, s->word_end);

    if (inside && slice_starts(piece, s->word_inside)) {
        buf_byte(out, MARK_INSIDE);
        piece = (struct slice){piece.p + inside, piece.n - inside};
        end &= piece.n >= n;
    }
    buf_add(out, piece.p, piece.n - (end ? n : 0));
    if (end)
        buf_byte(out, MARK_END);
}

/* "##ing" as "ing", "the" as " the". */
static void spell_word(const struct tok_spec *s, struct slice piece, struct buf *out)
{
    struct slice inside = s->word_inside.p ? s->word_inside : SLICE("##");

    if (inside.n && slice_starts(piece, inside))
        piece = (struct slice){piece.p + inside.n, piece.n - inside.n};
    else if (inside.n)
        buf_byte(out, ' ');
    buf_slice(out, piece);
}

/* Adds the bytes a piece of this kind stands for. */
static void spell(const struct tok_spec *s, enum tok_kind kind, struct slice piece, struct buf *out)
{
    bool plain = kind != TOK_CONTROL && kind != TOK_USER && kind != TOK_UNKNOWN;
    int b = kind == TOK_BYTE ? byte_of(piece) : -1;

    if (b >= 0)
        buf_byte(out, (char)b);
    else if (s->model == TOK_RWKV && !s->raw_bytes)
        spell_escapes(piece, out);
    else if (!plain || s->raw_bytes)
        buf_slice(out, piece);
    else if (s->as_is)
        spell_as_is(s, piece, out);
    else if (s->model == TOK_WORD)
        buf_byte(out, ' '), buf_slice(out, piece);
    else if (s->model == TOK_BPE && !s->raw_bpe)
        tok_spell_alphabet(piece, out);
    else if (s->model == TOK_WPM && s->plain_pieces)
        spell_word(s, piece, out);
    else
        tok_spell_marks(piece, out);
}

enum { AHEAD = 12 }; // lookups begun before they are needed

/* -- building -------------------------------------------------------------------------------- */

struct build {
    struct tok *t;
    const struct tok_spec *s;
    const char *name;
    struct buf arena;
    uint32_t *at;
    uint64_t cap_at;
    struct err *e;
};

/* The bytes in the arena behind the last symbol become a symbol. */
static int end_symbol(struct build *b)
{
    struct tok *t = b->t;

    if (b->arena.bad)
        return err_nomem(b->e, b->arena.n);
    if (b->arena.n > UINT32_MAX)
        return err_set(b->e, E_RANGE, "%s: more than 4 GiB of tokens", b->name);
    if (t->n_sym + 2 > b->cap_at) {
        uint64_t cap = b->cap_at + b->cap_at / 2 + 512;
        uint32_t *at = mem_resize(b->at, b->cap_at, cap, sizeof *at, b->e);

        if (!at)
            return E_NOMEM;
        b->at = at;
        b->cap_at = cap;
        t->at = at;
    }
    t->arena = b->arena.p;
    b->at[++t->n_sym] = (uint32_t)b->arena.n;
    return 0;
}

static bool is_mergeable(const struct tok *t, uint32_t id)
{
    enum tok_kind k = t->kind[id];

    return t->at[id + 1] > t->at[id] &&
           (k == TOK_NORMAL || (k == TOK_UNUSED && t->model != TOK_UNIGRAM));
}

static int read_pieces(struct build *b)
{
    struct tok *t = b->t;
    const struct tok_spec *s = b->s;
    uint64_t bytes = 0;
    int rc;

    for (uint32_t i = 0; i < s->n && s->piece; i++) {
        if (s->piece[i].n > MAX_PIECE)
            return err_set(b->e, E_FORMAT, "%s: token %u has %zu bytes", b->name, (unsigned)i,
                           s->piece[i].n);
        bytes += s->piece[i].n + 1;
    }
    b->cap_at = (uint64_t)s->n + 512;
    b->at = mem_array(b->cap_at, sizeof *b->at, b->e);
    t->at = b->at;
    if (!b->at || !buf_reserve(&b->arena, bytes + 1024))
        return err_nomem(b->e, bytes);
    t->arena = b->arena.p;
    for (uint32_t i = 0; i < s->n; i++) {
        enum tok_kind kind = s->kind ? s->kind[i] : TOK_NORMAL;

        if (kind > TOK_BYTE)
            return err_set(b->e, E_FORMAT, "%s: token %u is of kind %d", b->name, (unsigned)i,
                           (int)kind);
        t->kind[i] = kind ? kind : TOK_NORMAL;
        t->score[i] = s->score ? s->score[i] : 0;
        t->flag[i] = s->strip ? s->strip[i] & (TOK_LSTRIP | TOK_RSTRIP) : 0;
        if (s->piece)
            spell(s, t->kind[i], s->piece[i], &b->arena);
        if ((rc = end_symbol(b)) < 0)
            return rc;
    }
    return 0;
}

static int fill_tables(struct build *b)
{
    struct tok *t = b->t;
    uint64_t others = 0;
    int rc;

    t->merged.arena = t->named.arena = &t->arena;
    t->merged.at = t->named.at = &t->at;
    for (uint32_t i = 0; i < t->n; i++)
        others += !is_mergeable(t, i);
    /* merges may name things that are no tokens: at most three each, counted in read_merges */
    if ((rc = piece_table_new(&t->merged, (uint64_t)t->n - others + 256, b->e)) < 0 ||
        (rc = piece_table_new(&t->named, others, b->e)) < 0)
        return rc;
    for (uint32_t i = 0; i < t->n; i++) {
        if (i + AHEAD < t->n)
            piece_soon(&t->merged, t->arena + t->at[i + AHEAD],
                       t->at[i + AHEAD + 1] - t->at[i + AHEAD]);
        if (t->at[i + 1] == t->at[i])
            continue;
        piece_table_put(is_mergeable(t, i) ? &t->merged : &t->named, i);
        if (t->kind[i] == TOK_BYTE && t->at[i + 1] - t->at[i] == 1 &&
            t->byte_id[(uint8_t)t->arena[t->at[i]]] < 0)
            t->byte_id[(uint8_t)t->arena[t->at[i]]] = (int32_t)i;
    }
    return 0;
}

/* The symbol with these bytes; a new one, no token, where there is none. *id comes in as a guess:
 * the one before. */
static int intern(struct build *b, const char *p, size_t n, uint32_t *id)
{
    struct tok *t = b->t;
    int rc;

    /* merges and the tokens they make mostly stand in the same order */
    if (++*id < t->n && t->at[*id + 1] - t->at[*id] == n && is_mergeable(t, *id) &&
        memcmp(t->arena + t->at[*id], p, n) == 0)
        return 0;
    *id = piece_get(&t->merged, p, n);
    if (*id != NO_ID)
        return 0;
    if ((uint64_t)t->merged.n * 2 > t->merged.mask) { /* full: a table twice the size */
        struct piece_table old = t->merged;

        if ((rc = piece_table_new(&t->merged, (uint64_t)old.n * 2, b->e)) < 0) {
            t->merged = old;
            return rc;
        }
        for (uint64_t i = 0; i <= old.mask; i++)
            if (old.slot[i].id != NO_ID)
                piece_table_put(&t->merged, old.slot[i].id);
        piece_table_fini(&old);
    }
    *id = t->n_sym;
    buf_add(&b->arena, p, n);
    if ((rc = end_symbol(b)) < 0)
        return rc;
    piece_table_put(&t->merged, *id);
    return 0;
}

/* Merge i of the description, spelt behind what is in text; *mid and *end are where its halves end.
 */
static int spell_merge(struct build *b, uint32_t i, struct buf *text, size_t *mid, size_t *end)
{
    const struct slice *pair = b->s->merge[i];
    size_t from = text->n;

    if (pair[0].n > MAX_PIECE || pair[1].n > MAX_PIECE)
        return err_set(b->e, E_FORMAT, "%s: merge %u is too long", b->name, (unsigned)i);
    spell(b->s, TOK_NORMAL, pair[0], text);
    *mid = text->n;
    spell(b->s, TOK_NORMAL, pair[1], text);
    *end = text->n;
    if (text->bad)
        return err_nomem(b->e, text->n);
    if (*mid == from || *end == *mid)
        return err_set(b->e, E_FORMAT, "%s: merge %u is no pair", b->name, (unsigned)i);
    return 0;
}

/* Both halves as one symbol: the second no longer goes on behind another. */
static int intern_both(struct build *b, const char *p, size_t mid, size_t n, uint32_t *id)
{
    struct buf text = {0};
    int rc;

    if (!b->s->word_inside.n || p[mid] != MARK_INSIDE)
        return intern(b, p, n, id);
    buf_add(&text, p, mid);
    buf_add(&text, p + mid + 1, n - mid - 1);
    rc = text.bad ? err_nomem(b->e, n) : intern(b, text.p, text.n, id);
    buf_fini(&text);
    return rc;
}

static int read_merges(struct build *b)
{
    struct tok *t = b->t;
    uint32_t n = b->s->n_merge, left = NO_ID - 1, right = NO_ID - 1, into = NO_ID - 1;
    size_t mid[AHEAD], end[AHEAD];
    struct buf text = {0};
    int rc = pair_table_new(&t->pair, n, b->e);

    for (uint32_t i = 0; i < n && rc == 0; i += AHEAD) {
        uint32_t k, m = n - i < AHEAD ? n - i : AHEAD;
        size_t from = 0;

        buf_clear(&text);
        for (k = 0; k < m && rc == 0; k++) {
            rc = spell_merge(b, i + k, &text, &mid[k], &end[k]);
            if (rc == 0) {
                piece_soon(&t->merged, text.p + from, mid[k] - from);
                piece_soon(&t->merged, text.p + mid[k], end[k] - mid[k]);
                from = end[k];
            }
        }
        from = 0;
        for (k = 0; k < m && rc == 0; k++, from = end[k - 1])
            if ((rc = intern(b, text.p + from, mid[k] - from, &left)) == 0 &&
                (rc = intern(b, text.p + mid[k], end[k] - mid[k], &right)) == 0 &&
                (rc = intern_both(b, text.p + from, mid[k] - from, end[k] - from, &into)) == 0)
                pair_table_put(&t->pair, left, right, i + k, into);
    }
    buf_fini(&text);
    return rc;
}

/* Better scores first; equal ones are equal. */
static uint32_t prio_of_score(float score)
{
    uint32_t u;

    if (score != score)
        return UINT32_MAX - 1;
    score += 0.0f; /* -0 is 0 */
    memcpy(&u, &score, sizeof u);
    u = u >> 31 ? ~u : u | 1u << 31; /* in the order of the numbers */
    u = ~u;
    return u < UINT32_MAX ? u : u - 1;
}

static void note_inside(struct tok *t, uint32_t id)
{
    for (uint32_t i = t->at[id]; i + 1 < t->at[id + 1]; i++) {
        uint8_t a = (uint8_t)t->arena[i], b = (uint8_t)t->arena[i + 1];

        t->inside[a * 4 + b / 64] |= (uint64_t)1 << b % 64;
    }
}

/* What merging needs beside the tables. */
static int prepare_merging(struct build *b)
{
    struct tok *t = b->t;
    int rc;

    t->by_char = t->model == TOK_SPM || b->s->raw_bpe || b->s->as_is;
    t->marks_end = b->s->word_end.n > 0;
    t->marks_inside = b->s->word_inside.n > 0;
    t->by_text = t->model == TOK_SPM || (b->s->n_merge == 0 && !b->s->take_pipe);
    t->fuse_unknown = b->s->take_pipe ? b->s->fuse_unknown : t->by_char;
    if (!t->by_text && (rc = read_merges(b)) < 0)
        return rc;
    for (int i = 0; i < 256 && t->model == TOK_BPE; i++) {
        char c = (char)i;

        t->byte_sym[i] = NO_ID - 1;
        if ((rc = intern(b, &c, 1, &t->byte_sym[i])) < 0)
            return rc;
        if (!b->s->raw_bpe && !b->s->as_is && t->byte_sym[i] < t->n)
            t->byte_id[i] = (int32_t)t->byte_sym[i];
    }
    for (int i = 0; i < 256 && t->model == TOK_BPE && !t->by_char; i++)
        t->drops |= t->byte_id[i] < 0 && t->role[TOK_UNK] < 0;
    if (t->by_text) {
        t->prio = mem_array(t->n, sizeof *t->prio, b->e);
        if (!t->prio)
            return E_NOMEM;
        for (uint32_t i = 0; i < t->n; i++)
            t->prio[i] = t->model == TOK_SPM ? prio_of_score(t->score[i]) : i;
    }
    return 0;
}

static int build_pre(struct build *b)
{
    struct tok *t = b->t;
    const char *name = b->s->pre && *b->s->pre ? b->s->pre : "default";
    const struct pre_row *row = pre_find(name);
    struct pre_row own = {.names = "", .steps = b->s->split};
    int rc;

    if (b->s->split)
        row = &own;
    if (!row)
        return err_set(b->e, E_UNSUPPORTED, "%s: pre-tokenizer '%.60s' is not known", b->name,
                       name);
    t->whole_first = b->s->whole_first || row->flags & PRE_WHOLE_FIRST;
    t->whole_some = t->whole_first || row->flags & PRE_WHOLE_NL;
    t->pre_name = b->s->split ? "" : mem_dup(name, strlen(name), b->e);
    if (!t->pre_name)
        return E_NOMEM;
    if ((rc = pre_new(&t->pre, row, true, b->e)) < 0) {
        err_prefix(b->e, b->name);
        return rc;
    }
    for (uint32_t id = 0; id < t->n && row->flags & PRE_WHOLE_NL; id++) {
        uint32_t n, i = 0;
        const char *p = sym_text(t, id, &n);

        while (i < n && p[i] == '\n')
            i++;
        if (i == n && is_mergeable(t, id))
            t->flag[id] |= FLAG_WHOLE;
    }
    return 0;
}

/* A trie of the tokens whose kind is in the set of bits. */
static int build_trie(struct build *b, struct trie *out, unsigned kinds, bool special)
{
    struct tok *t = b->t;
    struct slice *key = mem_array(t->n, sizeof *key, b->e);
    uint32_t *value = mem_array(t->n, sizeof *value, b->e), n = 0;
    int rc = key && value ? 0 : E_NOMEM;

    for (uint32_t id = 0; id < t->n && rc == 0; id++) {
        uint32_t len;
        const char *p = sym_text(t, id, &len);

        if (!(kinds >> t->kind[id] & 1) || len == 0)
            continue;
        if (special && len > MAX_SPECIAL)
            rc = err_set(b->e, E_FORMAT, "%s: special token %u has %u bytes", b->name, (unsigned)id,
                         (unsigned)len);
        key[n] = (struct slice){p, len};
        value[n++] = id;
    }
    if (rc == 0 && n)
        rc = trie_new(out, key, value, n, b->e);
    mem_free(key);
    mem_free(value);
    return rc;
}

static int build_specials(struct build *b)
{
    struct tok *t = b->t;
    unsigned always = 1u << TOK_USER, asked = always | 1u << TOK_CONTROL | 1u << TOK_UNKNOWN;
    int rc;

    if ((rc = build_trie(b, &t->special[0], always, true)) < 0 ||
        (rc = build_trie(b, &t->special[1], asked, true)) < 0)
        return rc;
    for (int i = 0; i < 2; i++)
        t->has_special[i] = t->special[i].node != NULL;
    return 0;
}

/* -- roles ----------------------------------------------------------------------------------- */

static int read_roles(struct build *b)
{
    struct tok *t = b->t;
    const struct tok_spec *s = b->s;

    for (int r = 0; r < TOK_N_ROLE; r++) {
        if (s->role[r] < -1 || s->role[r] >= (int64_t)t->n)
            return err_set(b->e, E_RANGE, "%s: the %s token is %d of %u", b->name, role_names[r],
                           (int)s->role[r], (unsigned)t->n);
        t->role[r] = s->role[r];
    }
    for (uint32_t i = 0; i < s->n_end; i++) {
        if (s->end[i] < 0 || s->end[i] >= (int64_t)t->n)
            return err_set(b->e, E_RANGE, "%s: an end token is %d of %u", b->name, (int)s->end[i],
                           (unsigned)t->n);
        t->flag[s->end[i]] |= FLAG_END;
    }
    return 0;
}

/* The first token with each of the known texts, or -1. */
static void find_known(const struct tok *t, int32_t *id)
{
    for (size_t k = 0; k < ARRAY_LEN(known); k++)
        id[k] = -1;
    for (uint32_t i = 0; i < t->n; i++) {
        struct slice s = tok_piece(t, (int32_t)i);

        if (s.n < 3 || s.n > 32 || !strchr("<[_ \xe2", s.p[0]) || !s.p[0])
            continue;
        for (size_t k = 0; k < ARRAY_LEN(known); k++)
            if (id[k] < 0 && slice_is(s, known[k].text))
                id[k] = (int32_t)i;
    }
}

static int32_t known_id(const int32_t *id, const char *text)
{
    for (size_t k = 0; k < ARRAY_LEN(known); k++)
        if (strcmp(known[k].text, text) == 0)
            return id[k];
    return -1;
}

/* Gives tokens known by their text their role, and makes them control tokens: files exist where
 * such a token is an ordinary one by mistake, and a user could then write it. */
static void use_known(struct tok *t)
{
    int32_t ids[ARRAY_LEN(known)];

    find_known(t, ids);
    for (size_t k = 0; k < ARRAY_LEN(known); k++) {
        if (ids[k] < 0)
            continue;
        if (known[k].role >= 0 && t->role[known[k].role] < 0)
            t->role[known[k].role] = ids[k];
        if (known[k].end)
            t->flag[ids[k]] |= FLAG_END;
        if (t->kind[ids[k]] == TOK_NORMAL || t->kind[ids[k]] == TOK_USER)
            t->kind[ids[k]] = TOK_CONTROL;
    }
    for (size_t i = 0; i < ARRAY_LEN(not_end); i++) {
        int32_t id = known_id(ids, not_end[i].text);
        bool all = id >= 0;

        for (int k = 0; not_end[i].with[k]; k++)
            all = all && known_id(ids, not_end[i].with[k]) >= 0;
        if (all && id != t->role[TOK_EOS]) {
            t->flag[id] &= (uint8_t)~FLAG_END;
            if (t->role[TOK_EOT] == id)
                t->role[TOK_EOT] = -1;
        }
    }
    for (enum tok_role r = TOK_EOS; r <= TOK_EOM; r++)
        if (t->role[r] >= 0)
            t->flag[t->role[r]] |= FLAG_END;
}

static int check_added(const struct build *b)
{
    const struct tok *t = b->t;
    bool wpm = t->model == TOK_WPM;

    if (t->pipe)
        return 0; /* the lists in front and behind say it */
    if (t->add_bos && t->role[wpm ? TOK_CLS : TOK_BOS] < 0)
        return err_set(b->e, E_FORMAT, "%s: a %s token is to be added and there is none", b->name,
                       wpm ? "CLS" : "BOS");
    if (t->add_eos && t->role[TOK_EOS] < 0)
        return err_set(b->e, E_FORMAT, "%s: an EOS token is to be added and there is none",
                       b->name);
    if (t->add_sep && t->role[TOK_SEP] < 0)
        return err_set(b->e, E_FORMAT, "%s: a SEP token is to be added and there is none", b->name);
    return 0;
}

/* Known tokens first: they change kinds, which the tables depend on. */
static int build_names(struct build *b)
{
    struct tok *t = b->t;
    int rc = read_roles(b);

    if (rc < 0)
        return rc;
    use_known(t);
    if (t->role[TOK_CLS] < 0)
        t->role[TOK_CLS] = t->role[TOK_BOS];
    if (t->role[TOK_SEP] < 0)
        t->role[TOK_SEP] = t->role[TOK_EOS];
    if ((rc = check_added(b)) < 0 || (rc = fill_tables(b)) < 0)
        return rc;
    if (t->role[TOK_NL] < 0)
        t->role[TOK_NL] = tok_find(t, SLICE("\n"));
    return build_specials(b);
}

static int build_model(struct build *b)
{
    struct tok *t = b->t;
    const struct tok_spec *s = b->s;
    int rc = 0;

    if (t->model == TOK_NONE)
        return 0;
    if ((t->model == TOK_SPM || t->model == TOK_BPE) && (rc = prepare_merging(b)) < 0)
        return rc;
    if (t->model == TOK_BPE && (!t->pipe || t->pipe->fast) && (rc = build_pre(b)) < 0)
        return rc;
    if (t->model == TOK_UNIGRAM || t->model == TOK_RWKV)
        rc = build_trie(b, &t->words,
                        t->model == TOK_RWKV ? ~(1u << TOK_CONTROL | 1u << TOK_UNKNOWN)
                                             : 1u << TOK_NORMAL,
                        false);
    if (rc == 0 && (t->model == TOK_UNIGRAM || t->model == TOK_RWKV) && !t->words.node)
        rc = err_set(b->e, E_FORMAT, "%s: no token stands for text", b->name);
    if (rc == 0 && s->charsmap.n) {
        rc = charsmap_check((const uint8_t *)s->charsmap.p, s->charsmap.n, b->e);
        if (rc < 0) {
            err_prefix(b->e, b->name);
            return rc;
        }
        t->charsmap = mem_dup(s->charsmap.p, s->charsmap.n, b->e);
        t->n_charsmap = s->charsmap.n;
        rc = t->charsmap ? 0 : E_NOMEM;
    }
    if (rc < 0)
        return rc;
    if (t->model == TOK_UNIGRAM) {
        t->fuse_unknown = true;
        unigram_unknown_score(t);
    }
    for (uint32_t id = 0; id < t->n_sym; id++)
        if (id >= t->n || is_mergeable(t, id)) {
            uint32_t n = t->at[id + 1] - t->at[id];

            note_inside(t, id);
            t->max_piece = n > t->max_piece ? n : t->max_piece;
        }
    return 0;
}

/* What pieces that go on are spelt with. */
static int read_inside(struct build *b)
{
    const struct tok_spec *s = b->s;
    struct slice inside = s->word_inside.p ? s->word_inside : SLICE("##");

    b->t->n_inside = inside.n;
    b->t->inside_text = mem_dup(inside.p, inside.n, b->e);
    return b->t->inside_text ? 0 : E_NOMEM;
}

static int check_end(const struct build *b, int32_t id)
{
    if (id >= 0 && (uint32_t)id < b->s->n)
        return 0;
    return err_set(b->e, E_RANGE, "%s: an added token is %d of %u", b->name, (int)id,
                   (unsigned)b->s->n);
}

/* What goes around two texts. */
static int read_pair(struct build *b)
{
    const struct tok_spec *s = b->s;
    int rc;

    if (s->n_pair == 0)
        return 0;
    for (uint32_t i = 0; i < s->n_pair; i++)
        if (s->pair[i].id != TOK_FIRST && s->pair[i].id != TOK_SECOND &&
            (rc = check_end(b, s->pair[i].id)) < 0)
            return rc;
    b->t->n_both = s->n_pair;
    b->t->both = mem_dup(s->pair, s->n_pair * sizeof *s->pair, b->e);
    return b->t->both ? 0 : E_NOMEM;
}

/* What goes around a text, when it is more than flags can say. */
static int read_ends(struct build *b)
{
    struct tok *t = b->t;
    const struct tok_spec *s = b->s;
    uint64_t n = (uint64_t)s->n_front + s->n_back;
    int rc;

    if (n == 0)
        return 0;
    for (uint64_t i = 0; i < n; i++)
        if ((rc = check_end(b, i < s->n_front ? s->front[i] : s->back[i - s->n_front])) < 0)
            return rc;
    if (!(t->ends = mem_array(n, sizeof *t->ends, b->e)))
        return E_NOMEM;
    if (s->n_front)
        memcpy(t->ends, s->front, s->n_front * sizeof *t->ends);
    if (s->n_back)
        memcpy(t->ends + s->n_front, s->back, s->n_back * sizeof *t->ends);
    t->n_front = s->n_front;
    t->n_back = s->n_back;
    return 0;
}

/* What decoding makes of the tokens, one behind the other. */
static int read_shown(struct build *b)
{
    struct tok *t = b->t;
    struct buf all = {0};

    if (!b->s->shown)
        return 0;
    if (!(t->shown_at = mem_array((uint64_t)t->n + 1, sizeof *t->shown_at, b->e)))
        return E_NOMEM;
    for (uint32_t i = 0; i < t->n; i++) {
        if (all.n + b->s->shown[i].n > UINT32_MAX) {
            buf_fini(&all);
            return err_set(b->e, E_RANGE, "%s: more than 4 GiB of text", b->name);
        }
        buf_slice(&all, b->s->shown[i]);
        t->shown_at[i + 1] = (uint32_t)all.n;
    }
    buf_byte(&all, '\0'); /* so that there is something */
    t->shown = all.p;
    return all.bad ? err_nomem(b->e, all.n) : 0;
}

static void copy_flags(struct tok *t, const struct tok_spec *s)
{
    t->model = s->model;
    t->n = s->n;
    t->add_bos = s->add_bos;
    t->add_eos = s->add_eos;
    t->add_sep = s->add_sep && s->model == TOK_WPM;
    t->sep_between = s->add_sep && s->model != TOK_WPM && s->role[TOK_SEP] >= 0;
    t->add_space_prefix = s->add_space_prefix;
    t->remove_extra_spaces = s->remove_extra_spaces;
    t->lowercase = s->lowercase;
    t->strip_accents = s->strip_accents;
    t->nfc = s->nfc;
    t->max_word = s->max_word ? s->max_word : 100; /* as in the original */
    t->pipe = s->take_pipe;
    t->no_inside = s->word_inside.p && s->word_inside.n == 0;
    t->shown_front = s->shown_front;
    t->shown_once = s->shown_once;
    for (int i = 0; i < 256; i++)
        t->byte_id[i] = -1;
}

void tok_spec_init(struct tok_spec *s)
{
    *s = (struct tok_spec){0};
    for (int i = 0; i < TOK_N_ROLE; i++)
        s->role[i] = -1;
}

int tok_new(struct tok **out, const struct tok_spec *s, struct err *e)
{
    struct tok *t = mem_new(sizeof *t, e);
    struct build b = {.t = t, .s = s, .name = s->name ? s->name : "vocabulary", .e = e};
    int rc = E_NOMEM;

    *out = NULL;
    if (!t) {
        pipe_free(s->take_pipe);
        return rc;
    }
    copy_flags(t, s);
    if (s->model >= TOK_N_MODEL || s->n >= INT32_MAX / 2 || (s->n == 0 && s->model != TOK_NONE)) {
        rc = err_set(e, E_FORMAT, "%s: %u tokens of model %d", b.name, (unsigned)s->n,
                     (int)s->model);
        goto fail;
    }
    t->kind = mem_array(t->n, sizeof *t->kind, e);
    t->flag = mem_array(t->n, sizeof *t->flag, e);
    t->score = mem_array(t->n, sizeof *t->score, e);
    if (!t->kind || !t->flag || !t->score || (rc = read_ends(&b)) < 0 || (rc = read_pair(&b)) < 0 ||
        (s->model == TOK_WPM && (rc = read_inside(&b)) < 0) || (rc = read_pieces(&b)) < 0 ||
        (rc = build_names(&b)) < 0 || (rc = build_model(&b)) < 0 || (rc = read_shown(&b)) < 0)
        goto fail;
    *out = t;
    return 0;
fail:
    if (t->arena != b.arena.p)
        buf_fini(&b.arena);
    tok_free(t);
    return rc;
}

void tok_free(struct tok *t)
{
    if (!t)
        return;
    piece_table_fini(&t->merged);
    piece_table_fini(&t->named);
    pair_table_fini(&t->pair);
    trie_fini(&t->special[0]);
    trie_fini(&t->special[1]);
    trie_fini(&t->words);
    pre_free(t->pre);
    pipe_free(t->pipe);
    mem_free(t->ends);
    mem_free(t->both);
    if (t->pre_name && *t->pre_name)
        mem_free((char *)t->pre_name);
    mem_free((char *)t->arena);
    mem_free((uint32_t *)t->at);
    mem_free(t->shown);
    mem_free(t->shown_at);
    mem_free(t->inside_text);
    mem_free(t->kind);
    mem_free(t->flag);
    mem_free(t->score);
    mem_free(t->prio);
    mem_free(t->charsmap);
    mem_free(t);
}

/* -- questions ------------------------------------------------------------------------------- */

static bool in_range(const struct tok *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->n;
}

enum tok_model tok_model_of(const struct tok *t)
{
    return t->model;
}

const char *tok_model_name(enum tok_model m)
{
    return m < TOK_N_MODEL ? model_names[m] : "?";
}

const char *tok_role_name(enum tok_role r)
{
    return r < TOK_N_ROLE ? role_names[r] : "?";
}

const char *tok_pre_name(const struct tok *t)
{
    return t->pre_name ? t->pre_name : "";
}

uint32_t tok_count(const struct tok *t)
{
    return t->n;
}

enum tok_kind tok_kind_of(const struct tok *t, int32_t id)
{
    return in_range(t, id) ? t->kind[id] : TOK_UNDEFINED;
}

float tok_score_of(const struct tok *t, int32_t id)
{
    return in_range(t, id) ? t->score[id] : 0;
}

int32_t tok_role_id(const struct tok *t, enum tok_role r)
{
    return r < TOK_N_ROLE ? t->role[r] : -1;
}

bool tok_is_end(const struct tok *t, int32_t id)
{
    return in_range(t, id) && t->flag[id] & FLAG_END;
}

bool tok_adds_bos(const struct tok *t)
{
    return t->add_bos;
}

bool tok_adds_eos(const struct tok *t)
{
    return t->add_eos;
}

struct slice tok_piece(const struct tok *t, int32_t id)
{
    if (!in_range(t, id))
        return (struct slice){"", 0};
    if (t->shown)
        return (struct slice){t->shown + t->shown_at[id], t->shown_at[id + 1] - t->shown_at[id]};
    return (struct slice){t->arena + t->at[id], t->at[id + 1] - t->at[id]};
}

int32_t tok_find(const struct tok *t, struct slice piece)
{
    uint32_t id = NO_ID;

    if (t->shown) { /* rare: no table for it */
        for (uint32_t i = 0; i < t->n; i++)
            if (slice_eq(tok_piece(t, (int32_t)i), piece) &&
                (id == NO_ID || (t->kind[i] == TOK_NORMAL && t->kind[id] != TOK_NORMAL)))
                id = i;
        return piece.n && id < t->n ? (int32_t)id : -1;
    }
    if (t->merged.slot)
        id = piece_get(&t->merged, piece.p, piece.n);
    if (id >= t->n)
        id = t->named.slot ? piece_get(&t->named, piece.p, piece.n) : NO_ID;
    return id < t->n ? (int32_t)id : -1;
}
