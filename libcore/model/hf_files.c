/* hf_files.c - see hf_files.h. Each kind of file is a reader of a few dozen lines. */
#include "model/hf_files.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "file/gguf.h"
#include "model/config.h"
#include "text/tokjson.h"

#define MARK "\xe2\x96\x81"

enum { MAX_FILE = 256 << 20, MAX_TOKENS = 1 << 24 };

int hf_path(struct buf *out, const char *dir, const char *file, struct err *e)
{
    buf_clear(out);
    buf_printf(out, "%s/%s", dir, file);
    return out->bad ? err_nomem(e, strlen(dir)) : 0;
}

/* Opens dir/file: 1; 0 when it is not there. */
static int open_file(struct file_view *v, struct buf *path, const char *dir, const char *file,
                     struct err *e)
{
    int rc = hf_path(path, dir, file, e);

    if (rc < 0 || !file_exists(path->p))
        return rc;
    rc = file_read(v, path->p, MAX_FILE, e);
    return rc < 0 ? rc : 1;
}

/* Room for n tokens; new ones are unused. */
static int grow(struct hf_pieces *p, uint64_t n, struct err *e)
{
    void *v;

    if (n <= p->n)
        return 0;
    if (n > MAX_TOKENS)
        return err_set(e, E_RANGE, "a vocabulary of %llu tokens", (unsigned long long)n);
    if (!(v = mem_resize(p->piece, p->n, n, sizeof *p->piece, e)))
        return E_NOMEM;
    p->piece = v;
    if (!(v = mem_resize(p->kind, p->n, n, 1, e)))
        return E_NOMEM;
    p->kind = v;
    if (p->score) {
        if (!(v = mem_resize(p->score, p->n, n, sizeof *p->score, e)))
            return E_NOMEM;
        p->score = v;
    }
    for (uint64_t i = p->n; i < n; i++)
        p->kind[i] = TOK_UNUSED;
    p->n = (uint32_t)n;
    return 0;
}

/* Makes the slices of pieces, which were offsets into text while it grew, pointers. */
struct spot {
    size_t at, n;
};

/* -- SentencePiece: protocol buffers -- */

struct field {
    uint32_t no;
    int wire;
    uint64_t number;    // of varints and fixed numbers
    struct slice bytes; // of wire type 2
};

static uint64_t varint(struct cur *c)
{
    uint64_t v = 0;

    for (int shift = 0; shift < 64; shift += 7) {
        uint8_t b = cur_u8(c);

        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return v;
    }
    c->bad = true;
    return 0;
}

static bool next_field(struct cur *c, struct field *f)
{
    uint64_t tag;

    if (c->bad || c->at >= c->n)
        return false;
    tag = varint(c);
    *f = (struct field){.no = (uint32_t)(tag >> 3), .wire = (int)(tag & 7)};
    switch (f->wire) {
    case 0:
        f->number = varint(c);
        break;
    case 1:
        f->number = cur_u64(c);
        break;
    case 2:
        f->bytes = cur_slice(c, varint(c));
        break;
    case 5:
        f->number = cur_u32(c);
        break;
    default:
        c->bad = true;
    }
    return !c->bad;
}

static struct cur cursor(struct slice s)
{
    return (struct cur){.p = (const uint8_t *)s.p, .n = s.n};
}

static bool spm_piece(struct slice s, struct slice *piece, float *score, uint8_t *kind)
{
    struct cur c = cursor(s);
    struct field f;
    uint32_t bits;

    *kind = TOK_NORMAL;
    *score = 0;
    while (next_field(&c, &f)) {
        bits = (uint32_t)f.number;
        if (f.no == 1)
            *piece = f.bytes;
        else if (f.no == 2)
            memcpy(score, &bits, sizeof bits);
        else if (f.no == 3)
            *kind = f.number <= TOK_BYTE ? (uint8_t)f.number : TOK_NORMAL;
    }
    return !c.bad;
}

static void spm_trainer(struct hf_pieces *p, struct slice s, int *type)
{
    static const struct {
        uint32_t no;
        int role;
    } ids[] = {{40, TOK_UNK}, {41, TOK_BOS}, {42, TOK_EOS}, {43, TOK_PAD}};
    struct cur c = cursor(s);
    struct field f;

    while (next_field(&c, &f)) {
        if (f.no == 3)
            *type = (int)f.number;
        for (size_t i = 0; i < ARRAY_LEN(ids); i++)
            if (f.no == ids[i].no)
                p->role[ids[i].role] = (int32_t)f.number;
    }
}

static void spm_normalizer(struct hf_pieces *p, struct slice s)
{
    struct cur c = cursor(s);
    struct field f;

    while (next_field(&c, &f)) {
        if (f.no == 2)
            p->charsmap = f.bytes;
        else if (f.no == 3)
            p->add_space_prefix = f.number != 0;
        else if (f.no == 4)
            p->remove_extra_spaces = f.number != 0;
    }
}

static int read_spm(struct hf_pieces *p, const char *path, struct err *e)
{
    struct slice all = {(const char *)p->view[0].p, p->view[0].n};
    struct cur c = cursor(all);
    struct field f;
    uint64_t n = 0;
    int type = 1, rc;

    p->role[TOK_UNK] = 0; /* what the format's own defaults are */
    p->role[TOK_BOS] = 1;
    p->role[TOK_EOS] = 2;
    p->add_space_prefix = p->remove_extra_spaces = true;
    while (next_field(&c, &f))
        n += f.no == 1 && f.wire == 2;
    if (c.bad || n == 0)
        return err_set(e, E_FORMAT, "%s: not a SentencePiece model", path);
    if (!(p->score = mem_array(1, sizeof *p->score, e)) || (rc = grow(p, n, e)) < 0)
        return E_NOMEM;
    n = 0;
    for (c = cursor(all); next_field(&c, &f);) {
        if (f.no == 1 && !spm_piece(f.bytes, &p->piece[n], &p->score[n], &p->kind[n]))
            return err_set(e, E_FORMAT, "%s: piece %llu is broken", path, (unsigned long long)n);
        n += f.no == 1;
        if (f.no == 2)
            spm_trainer(p, f.bytes, &type);
        else if (f.no == 3)
            spm_normalizer(p, f.bytes);
    }
    if (type != 1 && type != 2)
        return err_set(e, E_UNSUPPORTED, "%s: SentencePiece models of type %d are not supported",
                       path, type);
    p->model = type == 1 ? "t5" : "llama";
    p->pre = "default";
    p->add_bos = type == 2;
    p->add_eos = type == 1;
    if (type == 2 && p->charsmap.n) /* their BPE models map nothing */
        p->charsmap.n = 0;
    if (type == 2)
        p->remove_extra_spaces = false;
    return 0;
}

/* -- vocab.json and merges.txt -- */

static int read_vocab_json(struct hf_pieces *p, const char *path, struct err *e)
{
    struct slice text = {(const char *)p->view[0].p, p->view[0].n};
    const char *key;
    size_t n;
    json_t *v;
    int rc;

    if ((rc = config_json(&p->json, path, text, e)) < 0)
        return rc;
    json_object_keylen_foreach(p->json, key, n, v)
    {
        json_int_t id = json_integer_value(v);

        if (!json_is_integer(v) || id < 0 || id >= MAX_TOKENS)
            return err_set(e, E_FORMAT, "%s: a token's id is no number", path);
        if ((rc = grow(p, (uint64_t)id + 1, e)) < 0)
            return rc;
        p->piece[id] = (struct slice){key, n};
        p->kind[id] = TOK_NORMAL;
    }
    return 0;
}

/* The next line, without its end. */
static bool next_line(struct slice *rest, struct slice *line)
{
    const char *end;

    if (rest->n == 0)
        return false;
    end = memchr(rest->p, '\n', rest->n);
    line->p = rest->p;
    line->n = end ? (size_t)(end - rest->p) : rest->n;
    *rest = (struct slice){rest->p + line->n + (end != NULL), rest->n - line->n - (end != NULL)};
    if (line->n && line->p[line->n - 1] == '\r')
        line->n--;
    return true;
}

static int read_merges(struct hf_pieces *p, const char *path, struct err *e)
{
    struct slice rest = {(const char *)p->view[1].p, p->view[1].n}, line;
    uint64_t n = 0;

    while (next_line(&rest, &line))
        n++;
    if (!(p->merge = mem_array(n, sizeof *p->merge, e)))
        return E_NOMEM;
    rest = (struct slice){(const char *)p->view[1].p, p->view[1].n};
    for (n = 1; next_line(&rest, &line); n++) {
        const char *cut = line.n > 2 ? memchr(line.p + 1, ' ', line.n - 1) : NULL;

        if (line.n == 0 || (n == 1 && slice_starts(line, SLICE("#version"))))
            continue;
        if (!cut || cut + 1 == line.p + line.n)
            return err_set(e, E_FORMAT, "%s: line %llu is no pair", path, (unsigned long long)n);
        p->merge[p->n_merge][0] = (struct slice){line.p, (size_t)(cut - line.p)};
        p->merge[p->n_merge++][1] = (struct slice){cut + 1, line.n - (size_t)(cut - line.p) - 1};
    }
    return 0;
}

/* These files do not say how text is cut: the tokenizer's class does. */
static const char *pre_of_class(const json_t *config)
{
    static const char *const of[][2] = {{"Qwen2", "qwen2"},
                                        {"Roberta", "roberta-bpe"},
                                        {"Cohere", "command-r"},
                                        {"Llama3", "llama-bpe"}};
    const char *name = json_string_value(json_object_get(config, "tokenizer_class"));

    for (size_t i = 0; name && i < ARRAY_LEN(of); i++)
        if (strncmp(name, of[i][0], strlen(of[i][0])) == 0)
            return of[i][1];
    return "gpt-2";
}

/* -- vocab.txt -- */

int hf_mark_words(struct slice *out, struct buf *all, const struct slice *piece,
                  const uint8_t *kind, uint32_t n, struct err *e)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < n; i++)
        bytes += piece[i].n + sizeof MARK;
    if (bytes > SIZE_MAX / 2 || !buf_reserve(all, (size_t)bytes))
        return err_nomem(e, bytes);
    for (uint32_t i = 0; i < n; i++) {
        size_t from = all->n;

        if (kind[i] != TOK_NORMAL) {
            buf_slice(all, piece[i]);
        } else if (slice_starts(piece[i], SLICE("##"))) {
            buf_add(all, piece[i].p + 2, piece[i].n - 2);
        } else {
            buf_str(all, MARK);
            buf_slice(all, piece[i]);
        }
        out[i] = (struct slice){all->p + from, all->n - from};
    }
    return 0;
}

static int read_vocab_txt(struct hf_pieces *p, const json_t *config, struct err *e)
{
    static const struct {
        const char *text;
        int role;
    } special[] = {{"[PAD]", TOK_PAD},
                   {"[UNK]", TOK_UNK},
                   {"[CLS]", TOK_CLS},
                   {"[SEP]", TOK_SEP},
                   {"[MASK]", TOK_MASK}};
    struct slice rest = {(const char *)p->view[0].p, p->view[0].n}, line, *plain;
    uint64_t n = 0;
    int rc;

    while (next_line(&rest, &line))
        n++;
    if ((rc = grow(p, n, e)) < 0)
        return rc;
    if (!(plain = mem_array(n, sizeof *plain, e)))
        return E_NOMEM;
    rest = (struct slice){(const char *)p->view[0].p, p->view[0].n};
    for (uint32_t i = 0; next_line(&rest, &plain[i]); i++) {
        p->kind[i] = TOK_NORMAL;
        for (size_t k = 0; k < ARRAY_LEN(special); k++)
            if (slice_is(plain[i], special[k].text)) {
                p->kind[i] = special[k].role == TOK_UNK ? TOK_UNKNOWN : TOK_CONTROL;
                p->role[special[k].role] = (int32_t)i;
            }
    }
    rc = hf_mark_words(p->piece, &p->text, plain, p->kind, p->n, e);
    mem_free(plain);
    p->model = "bert";
    p->lowercase = !json_is_false(json_object_get(config, "do_lower_case"));
    return rc;
}

/* -- tokens by rank: .tiktoken, tekken.json -- */

/* The letters of byte-level vocabularies. */
static void add_alphabet(struct buf *out, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t b = (uint8_t)p[i];
        bool plain = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad);
        uint32_t cp = plain ? b : b <= 0x20 ? 0x100u + b : b == 0xad ? 0x143u : 0x121u + b - 0x7fu;
        char s[4];

        buf_add(out, s, (size_t)utf8_encode(cp, s));
    }
}

/* Joins the best neighbours of a token's bytes until two are left: the merge that makes it.
 * Returns where they meet, or 0. */
static size_t last_cut(const struct map *ranks, struct slice s, uint32_t rank)
{
    size_t at[258];
    size_t n = s.n;

    if (s.n < 2 || s.n > 256)
        return 0;
    for (size_t i = 0; i <= n; i++)
        at[i] = i;
    while (n > 2) {
        uint32_t best = rank;
        size_t where = 0;

        for (size_t i = 0; i + 2 <= n; i++) {
            uint32_t r;

            if (map_get(ranks, (struct slice){s.p + at[i], at[i + 2] - at[i]}, &r) && r < best) {
                best = r;
                where = i + 1;
            }
        }
        if (where == 0)
            return 0;
        memmove(&at[where], &at[where + 1], (n - where) * sizeof *at);
        n--;
    }
    return at[1];
}

/* raw: [n] the tokens' bytes by rank. Makes pieces, behind `first` others, and merges. */
static int ranks_to_pieces(struct hf_pieces *p, const struct slice *raw, uint32_t n, uint32_t first,
                           struct err *e)
{
    struct map ranks = {0};
    struct spot *spot = mem_array(n, sizeof *spot, e);
    int rc = spot ? map_init(&ranks, n, e) : E_NOMEM;

    if (rc == 0 && !(p->merge = mem_array(n, sizeof *p->merge, e)))
        rc = E_NOMEM;
    if (rc == 0)
        rc = grow(p, (uint64_t)first + n, e);
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        rc = map_put(&ranks, raw[i], i, e);
        spot[i].at = p->text.n;
        add_alphabet(&p->text, raw[i].p, raw[i].n);
        spot[i].n = p->text.n - spot[i].at;
    }
    if (rc == 0 && p->text.bad)
        rc = err_nomem(e, p->text.n);
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        struct slice all = {p->text.p + spot[i].at, spot[i].n};
        size_t cut = last_cut(&ranks, raw[i], i), letters = 0;

        p->piece[first + i] = all;
        p->kind[first + i] = raw[i].n ? TOK_NORMAL : TOK_UNUSED;
        if (!cut)
            continue;
        for (size_t k = 0; k < cut; k++) /* letters have one byte or two */
            letters += (uint8_t)all.p[letters] < 0x80 ? 1 : 2;
        p->merge[p->n_merge][0] = (struct slice){all.p, letters};
        p->merge[p->n_merge++][1] = (struct slice){all.p + letters, all.n - letters};
    }
    map_fini(&ranks);
    mem_free(spot);
    p->model = "gpt2";
    return rc;
}

/* The bytes of each line's token, by rank. */
static int read_tiktoken(struct hf_pieces *p, const char *path, struct err *e)
{
    struct slice rest = {(const char *)p->view[0].p, p->view[0].n}, line;
    struct buf bytes = {0};
    struct spot *spot = NULL;
    struct slice *raw = NULL;
    uint32_t n = 0, lines = 0;
    int rc = 0;

    while (next_line(&rest, &line))
        lines += line.n > 0;
    if (!(spot = mem_array(lines, sizeof *spot, e)) || !(raw = mem_array(lines, sizeof *raw, e)))
        rc = E_NOMEM;
    rest = (struct slice){(const char *)p->view[0].p, p->view[0].n};
    while (rc == 0 && next_line(&rest, &line)) {
        const char *cut = line.n ? memchr(line.p, ' ', line.n) : NULL;
        unsigned long rank = cut ? strtoul(cut + 1, NULL, 10) : ULONG_MAX;

        if (line.n == 0)
            continue;
        if (rank >= lines || spot[rank].n ||
            (spot[rank].at = bytes.n,
             tokjson_base64((struct slice){line.p, (size_t)(cut - line.p)}, &bytes) < 0)) {
            rc = err_set(e, E_FORMAT, "%s: line %u is no token with its rank", path, n + 1);
            break;
        }
        spot[rank].n = bytes.n - spot[rank].at;
        n++;
    }
    for (uint32_t i = 0; i < lines && rc == 0; i++)
        raw[i] = (struct slice){buf_view(&bytes).p + spot[i].at, spot[i].n};
    if (rc == 0)
        rc = bytes.bad ? err_nomem(e, bytes.n) : ranks_to_pieces(p, raw, lines, 0, e);
    buf_fini(&bytes);
    mem_free(spot);
    mem_free(raw);
    return rc;
}

/* tekken.json: special tokens come first, then as many others as the vocabulary has room for. */
static int read_tekken(struct hf_pieces *p, const char *path, struct err *e)
{
    struct slice text = {(const char *)p->view[0].p, p->view[0].n}, *raw;
    const json_t *config, *vocab, *list;
    struct buf bytes = {0};
    json_int_t all, special, n;
    size_t *at;
    int rc;

    if ((rc = config_json(&p->json, path, text, e)) < 0)
        return rc;
    config = json_object_get(p->json, "config");
    vocab = json_object_get(p->json, "vocab");
    list = json_object_get(p->json, "special_tokens");
    all = json_integer_value(json_object_get(config, "default_vocab_size"));
    special = json_integer_value(json_object_get(config, "default_num_special_tokens"));
    n = all - special;
    if (special < 0 || special > 100000 || n < 256 || n > (json_int_t)json_array_size(vocab))
        return err_set(e, E_FORMAT, "%s: %lld tokens, %lld of them special, in a list of %zu", path,
                       (long long)all, (long long)special, json_array_size(vocab));
    raw = mem_array((uint64_t)n, sizeof *raw, e);
    at = mem_array((uint64_t)n + 1, sizeof *at, e);
    rc = raw && at ? 0 : E_NOMEM;
    for (json_int_t i = 0; i < n && rc == 0; i++) {
        struct slice b = tokjson_str(json_array_get(vocab, (size_t)i), "token_bytes");

        at[i] = bytes.n;
        if (!b.p || tokjson_base64(b, &bytes) < 0)
            rc = err_set(e, E_FORMAT, "%s: token %lld has no bytes", path, (long long)i);
        at[i + 1] = bytes.n;
    }
    for (json_int_t i = 0; i < n && rc == 0; i++)
        raw[i] = (struct slice){buf_view(&bytes).p + at[i], at[i + 1] - at[i]};
    if (rc == 0)
        rc = ranks_to_pieces(p, raw, (uint32_t)n, (uint32_t)special, e);
    for (size_t i = 0; rc == 0 && i < (size_t)special; i++) {
        static const char *const first[] = {"<unk>", "<s>", "</s>"};
        struct slice name = tokjson_str(json_array_get(list, i), "token_str");

        p->piece[i] = name.p ? name : i < 3 ? slice_of(first[i]) : (struct slice){NULL, 0};
        p->kind[i] = i == 0 ? TOK_UNKNOWN : p->piece[i].p ? TOK_CONTROL : TOK_UNUSED;
    }
    p->role[TOK_UNK] = 0;
    p->role[TOK_BOS] = 1;
    p->role[TOK_EOS] = 2;
    p->add_bos = true;
    p->pre = "tekken";
    buf_fini(&bytes);
    mem_free(raw);
    mem_free(at);
    return rc;
}

/* -- tokens added later -- */

static int put_added(struct hf_pieces *p, json_int_t id, struct slice text, bool special,
                     struct err *e)
{
    int rc;

    if (id < 0 || id >= MAX_TOKENS || !text.n)
        return 0;
    if ((rc = grow(p, (uint64_t)id + 1, e)) < 0)
        return rc;
    if (!p->piece[id].p)
        p->piece[id] = text;
    p->kind[id] =
        special ? (uint8_t)(p->kind[id] == TOK_UNKNOWN ? TOK_UNKNOWN : TOK_CONTROL) : TOK_USER;
    return 0;
}

/* added_tokens_decoder of tokenizer_config.json. */
static int read_added(struct hf_pieces *p, const json_t *config, struct err *e)
{
    json_t *list = json_object_get(config, "added_tokens_decoder"), *v;
    const char *id;
    int rc = 0;

    json_object_foreach(list, id, v) if (rc == 0) rc = put_added(
        p, strtoll(id, NULL, 10), tokjson_str(v, "content"), tokjson_bool(v, "special", false), e);
    return rc;
}

/* -- which files there are -- */

/* One of the names a file of ranks has. */
static int open_ranks(struct hf_pieces *p, struct buf *path, const char *dir, struct err *e)
{
    static const char *const of[][2] = {
        {"cl100k_base.tiktoken", "dbrx"}, {"o200k_base.tiktoken", "gpt-4o"},
        {"qwen.tiktoken", "qwen2"},       {"tiktoken.model", "kimi-k2"},
        {"vocab.tiktoken", "dbrx"},       {"p50k_base.tiktoken", "gpt-2"},
        {"r50k_base.tiktoken", "gpt-2"}};
    int rc = 0;

    for (size_t i = 0; i < ARRAY_LEN(of) && rc == 0; i++) {
        rc = open_file(&p->view[0], path, dir, of[i][0], e);
        if (rc > 0) {
            p->pre = of[i][1];
            rc = read_tiktoken(p, path->p, e);
            return rc < 0 ? rc : 1;
        }
    }
    return rc;
}

/* tokenizer.model is SentencePiece's, or Llama 3's list of ranks. */
static int open_model(struct hf_pieces *p, struct buf *path, const char *dir, struct err *e)
{
    int rc = open_file(&p->view[0], path, dir, "tokenizer.model", e);

    if (rc <= 0)
        return rc;
    if (p->view[0].n > 8 && memcmp(p->view[0].p, "IQ== 0\n", 7) == 0) { /* "!" has rank 0 */
        p->pre = "llama-bpe";
        rc = read_tiktoken(p, path->p, e);
    } else {
        rc = read_spm(p, path->p, e);
    }
    return rc < 0 ? rc : 1;
}

static int open_any(struct hf_pieces *p, struct buf *path, const char *dir, const json_t *config,
                    struct err *e)
{
    int rc;

    if ((rc = open_model(p, path, dir, e)) != 0)
        return rc;
    if ((rc = open_file(&p->view[0], path, dir, "vocab.json", e)) > 0 &&
        (rc = read_vocab_json(p, path->p, e)) == 0) {
        if ((rc = open_file(&p->view[1], path, dir, "merges.txt", e)) == 0)
            rc = err_set(e, E_NOTFOUND, "%s: vocab.json without merges.txt", dir);
        p->model = "gpt2";
        p->pre = pre_of_class(config);
        p->nfc = strcmp(p->pre, "qwen2") == 0;
        return rc < 0 ? rc : read_merges(p, path->p, e);
    }
    if (rc < 0)
        return rc;
    if ((rc = open_file(&p->view[0], path, dir, "vocab.txt", e)) > 0)
        return read_vocab_txt(p, config, e);
    if (rc == 0 && (rc = open_file(&p->view[0], path, dir, "tekken.json", e)) > 0)
        return read_tekken(p, path->p, e);
    return rc < 0 ? rc : open_ranks(p, path, dir, e);
}

int hf_pieces_open(struct hf_pieces *p, const char *dir, const json_t *config, struct err *e)
{
    struct buf path = {0};
    int rc;

    *p = (struct hf_pieces){0};
    for (int i = 0; i < TOK_N_ROLE; i++)
        p->role[i] = -1;
    rc = open_any(p, &path, dir, config, e);
    if (rc >= 0 && p->model)
        rc = read_added(p, config, e);
    buf_fini(&path);
    return rc < 0 ? rc : 0;
}

void hf_pieces_close(struct hf_pieces *p)
{
    mem_free(p->piece);
    mem_free(p->score);
    mem_free(p->kind);
    mem_free(p->merge);
    json_decref(p->json);
    buf_fini(&p->text);
    file_unmap(&p->view[0]);
    file_unmap(&p->view[1]);
}
