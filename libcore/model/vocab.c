/* vocab.c - see vocab.h.
 *
 * GGUF leaves much to convention: what a tokenizer model adds, and which ids are special, where the
 * file does not say. Those defaults are here; what they do is in text/.
 */
#include "vocab.h"

#include <stdio.h>

#include "base/mem.h"
#include "text/pre.h"

#define KEY(name) "tokenizer.ggml." name

/* Defaults of a tokenizer model as GGUF names it. Roles that are not listed: none. */
static const struct convention {
    const char *name;
    enum tok_model model;
    int bos, eos, unk, sep, pad, mask;
    bool add_bos, add_eos, add_sep, add_space_prefix, scores;
} conventions[] = {
    {"llama", TOK_SPM, 1, 2, 0, -1, -1, -1, true, false, false, true, true},
    {"gpt2", TOK_BPE, -1, -1, -1, -1, -1, -1, false, false, false, false, false},
    {"gemma4", TOK_BPE, -1, -1, -1, -1, -1, -1, true, false, false, false, false},
    {"bert", TOK_WPM, 101, -1, 100, 102, 0, 103, true, false, true, false, false},
    {"t5", TOK_UNIGRAM, -1, 1, 2, -1, 0, -1, false, true, false, true, true},
    {"rwkv", TOK_RWKV, -1, -1, -1, -1, -1, -1, false, false, false, false, false},
    {"none", TOK_NONE, -1, -1, -1, -1, -1, -1, false, false, false, false, false},
    {"no_vocab", TOK_NONE, -1, -1, -1, -1, -1, -1, false, false, false, false, false},
};

/* Later keys win; the last three are old names. */
static const struct {
    const char *key;
    enum tok_role role;
} role_keys[] = {
    {KEY("prefix_token_id"), TOK_FIM_PRE},  {KEY("suffix_token_id"), TOK_FIM_SUF},
    {KEY("middle_token_id"), TOK_FIM_MID},  {KEY("bos_token_id"), TOK_BOS},
    {KEY("eos_token_id"), TOK_EOS},         {KEY("eot_token_id"), TOK_EOT},
    {KEY("eom_token_id"), TOK_EOM},         {KEY("unknown_token_id"), TOK_UNK},
    {KEY("seperator_token_id"), TOK_SEP},   {KEY("separator_token_id"), TOK_SEP},
    {KEY("padding_token_id"), TOK_PAD},     {KEY("cls_token_id"), TOK_CLS},
    {KEY("mask_token_id"), TOK_MASK},       {KEY("fim_pre_token_id"), TOK_FIM_PRE},
    {KEY("fim_suf_token_id"), TOK_FIM_SUF}, {KEY("fim_mid_token_id"), TOK_FIM_MID},
    {KEY("fim_pad_token_id"), TOK_FIM_PAD}, {KEY("fim_rep_token_id"), TOK_FIM_REP},
    {KEY("fim_sep_token_id"), TOK_FIM_SEP},
};

/* What is read, held until the tokenizer is built. */
struct reader {
    const struct gguf *g;
    struct err *e;
    const struct convention *c;
    struct tok_spec s;
    struct slice *piece;
    float *score;
    uint8_t *kind, *strip;
    struct slice (*merge)[2];
    char *pre;
};

static int bad(const struct reader *r, int code, const char *key, const char *what)
{
    return err_set(r->e, code, "%s: key '%s': %s", r->g->path, key, what);
}

static int read_convention(struct reader *r)
{
    struct slice name;
    char shown[64];
    int rc = gguf_get_str(r->g, KEY("model"), &name, r->e);

    if (rc <= 0)
        return rc < 0 ? rc : gguf_missing(r->g, KEY("model"), r->e);
    for (size_t i = 0; i < ARRAY_LEN(conventions); i++)
        if (slice_is(name, conventions[i].name)) {
            r->c = &conventions[i];
            r->s.model = r->c->model;
            return 0;
        }
    return err_set(r->e, E_UNSUPPORTED, "%s: tokenizer model '%s' is not supported", r->g->path,
                   gguf_show(shown, sizeof shown, name));
}

static int read_pieces(struct reader *r)
{
    struct gguf_array a;
    int rc = gguf_get_strs(r->g, KEY("tokens"), &a, r->e);

    if (rc <= 0)
        return rc < 0 ? rc : gguf_missing(r->g, KEY("tokens"), r->e);
    if (a.n == 0 || a.n >= INT32_MAX / 2)
        return bad(r, E_FORMAT, KEY("tokens"), a.n ? "too many tokens" : "no tokens");
    r->piece = mem_array(a.n, sizeof *r->piece, r->e);
    if (!r->piece)
        return E_NOMEM;
    for (uint64_t i = 0; i < a.n; i++)
        r->piece[i] = gguf_str_at(&a, i);
    r->s.n = (uint32_t)a.n;
    r->s.piece = r->piece;
    return 0;
}

static int read_kinds(struct reader *r)
{
    struct gguf_array a;
    int rc = gguf_get_ints(r->g, KEY("token_type"), &a, r->e);

    if (rc <= 0)
        return rc;
    if (a.n < r->s.n)
        return bad(r, E_FORMAT, KEY("token_type"), "shorter than the list of tokens");
    r->kind = mem_new(r->s.n, r->e);
    if (!r->kind)
        return E_NOMEM;
    for (uint32_t i = 0; i < r->s.n; i++) {
        int64_t v = gguf_int_at(&a, i);

        r->kind[i] = v >= TOK_UNDEFINED && v <= TOK_BYTE ? (uint8_t)v : TOK_UNDEFINED;
    }
    r->s.kind = r->kind;
    return 0;
}

static int read_scores(struct reader *r)
{
    struct gguf_array a;
    const struct gguf_key *k = gguf_find(r->g, KEY("scores"));
    int rc;

    if (!k)
        return r->c->scores ? gguf_missing(r->g, KEY("scores"), r->e) : 0;
    rc = k->type == GGUF_ARR && gguf_type_is_int(k->array.type)
             ? gguf_get_ints(r->g, KEY("scores"), &a, r->e)
             : gguf_get_floats(r->g, KEY("scores"), &a, r->e);
    if (rc <= 0)
        return rc;
    if (a.n < r->s.n)
        return bad(r, E_FORMAT, KEY("scores"), "shorter than the list of tokens");
    r->score = mem_array(r->s.n, sizeof *r->score, r->e);
    if (!r->score)
        return E_NOMEM;
    for (uint32_t i = 0; i < r->s.n; i++) {
        r->score[i] = (float)gguf_float_at(&a, i);
        if (r->score[i] != r->score[i])
            return bad(r, E_FORMAT, KEY("scores"), "not a number");
    }
    r->s.score = r->score;
    return 0;
}

/* "left right", cut at the first space behind the first byte. */
static int read_merges(struct reader *r)
{
    struct gguf_array a;
    int rc = gguf_get_strs(r->g, KEY("merges"), &a, r->e);

    if (rc <= 0)
        return rc; /* a vocabulary whose ids are its ranks */
    if (a.n >= INT32_MAX / 2)
        return bad(r, E_FORMAT, KEY("merges"), "too many merges");
    r->merge = mem_array(a.n, sizeof *r->merge, r->e);
    if (!r->merge)
        return E_NOMEM;
    for (uint64_t i = 0; i < a.n; i++) {
        struct slice s = gguf_str_at(&a, i);
        const char *cut = s.n > 2 ? memchr(s.p + 1, ' ', s.n - 1) : NULL;

        if (!cut || cut + 1 == s.p + s.n)
            return err_set(r->e, E_FORMAT, "%s: key '%s': element %llu is no pair", r->g->path,
                           KEY("merges"), (unsigned long long)i);
        r->merge[i][0] = (struct slice){s.p, (size_t)(cut - s.p)};
        r->merge[i][1] = (struct slice){cut + 1, s.n - (size_t)(cut - s.p) - 1};
    }
    r->s.n_merge = (uint32_t)a.n;
    r->s.merge = r->merge;
    return 0;
}

/* The pre-tokenizer, and what comes with it. */
static int read_pre(struct reader *r)
{
    const struct pre_row *row;
    struct slice name = {"", 0};
    int rc = gguf_get_str(r->g, KEY("pre"), &name, r->e);

    if (rc < 0)
        return rc;
    if (strcmp(r->c->name, "gemma4") == 0)
        name = SLICE("gemma4");
    r->pre = mem_dup(name.p, name.n, r->e);
    if (!r->pre)
        return E_NOMEM;
    row = pre_find(name.n ? r->pre : "default");
    if (!row) {
        char shown[64];

        return err_set(r->e, E_UNSUPPORTED, "%s: pre-tokenizer '%s' is not known", r->g->path,
                       gguf_show(shown, sizeof shown, name));
    }
    r->s.pre = r->pre;
    r->s.raw_bpe = row->flags & PRE_RAW;
    r->s.add_bos = r->s.add_bos || row->flags & (PRE_ADD_BOS | PRE_ADD_BOTH);
    r->s.add_eos = r->s.add_eos || row->flags & PRE_ADD_BOTH;
    return 0;
}

static int read_charsmap(struct reader *r)
{
    struct gguf_array a;
    int rc = gguf_get_array(r->g, KEY("precompiled_charsmap"), &a, r->e);

    if (rc <= 0)
        return rc;
    if (a.type != GGUF_U8 && a.type != GGUF_I8)
        return bad(r, E_FORMAT, KEY("precompiled_charsmap"), "not an array of bytes");
    if (a.n > SIZE_MAX)
        return bad(r, E_RANGE, KEY("precompiled_charsmap"), "too long");
    r->s.charsmap = (struct slice){(const char *)a.p, (size_t)a.n};
    return 0;
}

static int read_roles(struct reader *r)
{
    const struct convention *c = r->c;
    int32_t *role = r->s.role;
    const int by_default[][2] = {{TOK_BOS, c->bos}, {TOK_EOS, c->eos}, {TOK_UNK, c->unk},
                                 {TOK_SEP, c->sep}, {TOK_PAD, c->pad}, {TOK_MASK, c->mask}};

    for (size_t i = 0; i < ARRAY_LEN(by_default); i++)
        if (by_default[i][1] < (int64_t)r->s.n)
            role[by_default[i][0]] = by_default[i][1];
    for (size_t i = 0; i < ARRAY_LEN(role_keys); i++) {
        const struct gguf_key *k = gguf_find(r->g, role_keys[i].key);
        int64_t id = -1;
        bool any = k && gguf_type_is_int(k->type); /* too large for 63 bits is absent, too */
        int rc = gguf_get_i64(r->g, role_keys[i].key, &id, any ? NULL : r->e);

        if (rc < 0 && !any)
            return rc;
        if (id >= 0 && id < (int64_t)r->s.n) /* 0xffffffff says: none */
            role[role_keys[i].role] = (int32_t)id;
    }
    return 0;
}

/* Reads a flag; one that only the convention sets is dropped when its token is missing. */
static int read_add(struct reader *r, const char *key, bool *flag, enum tok_role role)
{
    int rc = gguf_get_bool(r->g, key, flag, r->e);

    if (rc == 0 && r->s.role[role] < 0 && !(role == TOK_CLS && r->s.role[TOK_BOS] >= 0))
        *flag = false;
    return rc;
}

static int read_flags(struct reader *r)
{
    struct tok_spec *s = &r->s;
    const bool wpm = s->model == TOK_WPM;
    int rc;

    if ((rc = read_add(r, KEY("add_bos_token"), &s->add_bos, wpm ? TOK_CLS : TOK_BOS)) < 0 ||
        (rc = read_add(r, KEY("add_eos_token"), &s->add_eos, TOK_EOS)) < 0 ||
        (rc = read_add(r, KEY("add_sep_token"), &s->add_sep, TOK_SEP)) < 0 ||
        (rc = gguf_get_bool(r->g, KEY("add_space_prefix"), &s->add_space_prefix, r->e)) < 0 ||
        (rc = gguf_get_bool(r->g, KEY("remove_extra_whitespaces"), &s->remove_extra_spaces, r->e)) <
            0)
        return rc;
    if (strcmp(r->c->name, "gemma4") == 0) /* published files say false by mistake */
        s->add_bos = s->role[TOK_BOS] >= 0;
    s->lowercase = true;
    if ((rc = gguf_get_bool(r->g, KEY("normalizer.lowercase"), &s->lowercase, r->e)) < 0)
        return rc;
    if ((rc = gguf_get_bool(r->g, KEY("normalizer.nfc"), &s->nfc, r->e)) < 0)
        return rc;
    s->strip_accents = s->lowercase;
    rc = gguf_get_bool(r->g, KEY("normalizer.strip_accents"), &s->strip_accents, r->e);
    return rc < 0 ? rc : 0;
}

static bool has_word(const struct gguf *g, const char *key, const char *word)
{
    struct slice s;
    size_t n = strlen(word);

    if (gguf_get_str(g, key, &s, NULL) <= 0)
        return false;
    for (size_t i = 0; i + n <= s.n; i++) {
        size_t k = 0;

        while (k < n &&
               (s.p[i + k] | (s.p[i + k] >= 'A' && s.p[i + k] <= 'Z' ? 0x20 : 0)) == word[k])
            k++;
        if (k == n)
            return true;
    }
    return false;
}

/* GGUF has no place for white space around special tokens: known models have it by name. */
static int set_strip(struct reader *r)
{
    const struct gguf *g = r->g;
    bool phi3 = has_word(g, "general.name", "phi-3") || has_word(g, "general.name", "phi3");
    bool mask = has_word(g, KEY("pre"), "jina-v2-de") || has_word(g, KEY("pre"), "jina-v2-es") ||
                has_word(g, KEY("pre"), "jina-v2-code") ||
                has_word(g, "general.architecture", "nomic-bert-moe") ||
                has_word(g, "general.architecture", "jina-bert-v3") ||
                has_word(g, "general.name", "modern-bert");

    if (!phi3 && !mask)
        return 0;
    r->strip = mem_new(r->s.n, r->e);
    if (!r->strip)
        return E_NOMEM;
    for (uint32_t i = 0; i < r->s.n; i++) {
        struct slice s = r->piece[i];
        bool special = r->kind && (r->kind[i] == TOK_CONTROL || r->kind[i] == TOK_USER);

        if (phi3 && special && !slice_is(s, "<s>") && !slice_is(s, "<|endoftext|>"))
            r->strip[i] = TOK_RSTRIP;
        if (mask && (slice_is(s, "<mask>") || slice_is(s, "[MASK]")))
            r->strip[i] = TOK_LSTRIP;
    }
    r->s.strip = r->strip;
    return 0;
}

/* A model of ids only: as many as its embedding has rows. */
static int read_none(struct reader *r)
{
    struct slice arch;
    char key[128];
    uint32_t n = 0;
    int rc = gguf_get_str(r->g, "general.architecture", &arch, r->e);

    if (rc > 0 && arch.n < 100) {
        snprintf(key, sizeof key, "%.*s.vocab_size", (int)arch.n, arch.p);
        rc = gguf_get_u32(r->g, key, &n, r->e);
    }
    if (rc < 0)
        return rc;
    if (n >= INT32_MAX / 2)
        return bad(r, E_RANGE, key, "too large");
    r->s.n = n;
    return 0;
}

static int read_all(struct reader *r)
{
    int rc;

    r->s.add_bos = r->c->add_bos;
    r->s.add_eos = r->c->add_eos;
    r->s.add_sep = r->c->add_sep;
    r->s.add_space_prefix = r->c->add_space_prefix;
    if (r->s.model == TOK_NONE)
        return read_none(r);
    if ((rc = read_pieces(r)) < 0 || (rc = read_kinds(r)) < 0 || (rc = read_scores(r)) < 0)
        return rc;
    if (r->s.model == TOK_BPE && ((rc = read_merges(r)) < 0 || (rc = read_pre(r)) < 0))
        return rc;
    if ((r->s.model == TOK_SPM || r->s.model == TOK_UNIGRAM) && (rc = read_charsmap(r)) < 0)
        return rc;
    if ((rc = read_roles(r)) < 0 || (rc = read_flags(r)) < 0)
        return rc;
    return set_strip(r);
}

int vocab_from_gguf(struct tok **out, const struct gguf *g, struct err *e)
{
    struct reader r = {.g = g, .e = e};
    int rc;

    *out = NULL;
    tok_spec_init(&r.s);
    r.s.name = g->path;
    if ((rc = read_convention(&r)) == 0 && (rc = read_all(&r)) == 0)
        rc = tok_new(out, &r.s, e);
    mem_free(r.piece);
    mem_free(r.score);
    mem_free(r.kind);
    mem_free(r.strip);
    mem_free(r.merge);
    mem_free(r.pre);
    return rc;
}
