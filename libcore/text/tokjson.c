/* tokjson.c - see tokjson.h: the model, added tokens, what is added around a text. */
#include "text/tokjson.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { MAX_TOKENS = 1 << 24, MAX_PARTS = 64 }; // of a pair: texts may come again and again

/* -- fields -- */

int tokjson_bad(const struct tokjson *j, int code, const char *fmt, ...)
{
    char text[300];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(j->e, code, "%s: %s", j->name, text);
}

const char *tokjson_type(const json_t *v)
{
    const char *s = json_string_value(json_object_get(v, "type"));

    return s ? s : "?";
}

static struct slice str_of(const json_t *v)
{
    return json_is_string(v) ? (struct slice){json_string_value(v), json_string_length(v)}
                             : (struct slice){NULL, 0};
}

struct slice tokjson_str(const json_t *v, const char *key)
{
    return str_of(json_object_get(v, key));
}

bool tokjson_bool(const json_t *v, const char *key, bool or_this)
{
    const json_t *b = json_object_get(v, key);

    return json_is_boolean(b) ? json_is_true(b) : or_this;
}

/* -- the vocabulary -- */

/* Room for tokens up to id. */
static int grow(struct tokjson *j, uint64_t *cap, json_int_t id)
{
    uint64_t want;
    void *p;

    if (id < 0 || id >= MAX_TOKENS)
        return tokjson_bad(j, E_RANGE, "a token has the id %lld", (long long)id);
    if ((uint64_t)id >= j->spec.n)
        j->spec.n = (uint32_t)id + 1;
    if ((uint64_t)id < *cap)
        return 0;
    want = (uint64_t)id + 1 + *cap / 2 + 256;
    if (!(p = mem_resize(j->piece, *cap, want, sizeof *j->piece, j->e)))
        return E_NOMEM;
    j->piece = p;
    if (!(p = mem_resize(j->kind, *cap, want, 1, j->e)))
        return E_NOMEM;
    j->kind = p;
    *cap = want;
    return 0;
}

static bool is_byte(struct slice s)
{
    const char *hex = "0123456789ABCDEFabcdef";

    return s.n == 6 && memcmp(s.p, "<0x", 3) == 0 && s.p[5] == '>' && strchr(hex, s.p[3]) &&
           strchr(hex, s.p[4]) && s.p[3] && s.p[4];
}

static int put_piece(struct tokjson *j, uint64_t *cap, struct slice text, json_int_t id)
{
    int rc = grow(j, cap, id);

    if (rc < 0)
        return rc;
    if (j->kind[id])
        return tokjson_bad(j, E_FORMAT, "two tokens have the id %lld", (long long)id);
    j->piece[id] = text;
    j->kind[id] = j->byte_fallback && is_byte(text) ? TOK_BYTE : TOK_NORMAL;
    return 0;
}

/* {"text": id} */
static int read_object(struct tokjson *j, uint64_t *cap, const json_t *vocab)
{
    const char *key;
    size_t n;
    json_t *v;
    int rc = 0;

    if (!json_is_object(vocab) || json_object_size(vocab) == 0)
        return tokjson_bad(j, E_FORMAT, "the model has no vocabulary");
    json_object_keylen_foreach((json_t *)(uintptr_t)vocab, key, n, v)
    {
        if (!json_is_integer(v))
            return tokjson_bad(j, E_FORMAT, "a token's id is no number");
        if ((rc = put_piece(j, cap, (struct slice){key, n}, json_integer_value(v))) < 0)
            return rc;
    }
    return 0;
}

/* [["text", score]] */
static int read_scored(struct tokjson *j, uint64_t *cap, const json_t *vocab)
{
    size_t n = json_array_size(vocab);
    int rc;

    if (n == 0)
        return tokjson_bad(j, E_FORMAT, "the model has no vocabulary");
    if (!(j->score = mem_array(n, sizeof *j->score, j->e)))
        return E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(vocab, i), *score = json_array_get(row, 1);

        if (!json_is_string(json_array_get(row, 0)) || !json_is_number(score))
            return tokjson_bad(j, E_FORMAT, "token %zu is no text with a score", i);
        if ((rc = put_piece(j, cap, str_of(json_array_get(row, 0)), (json_int_t)i)) < 0)
            return rc;
        j->score[i] = (float)json_number_value(score);
    }
    return 0;
}

static int bad_merge(const struct tokjson *j, size_t i)
{
    return tokjson_bad(j, E_FORMAT, "merge %zu is no pair", i);
}

static int read_merges(struct tokjson *j, const json_t *list)
{
    size_t n = json_array_size(list);

    if (n > MAX_TOKENS)
        return tokjson_bad(j, E_RANGE, "%zu merges", n);
    if (!(j->merge = mem_array(n, sizeof *j->merge, j->e)))
        return E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        struct slice s = str_of(v);
        const char *cut = s.n ? memchr(s.p, ' ', s.n) : NULL;

        if (json_array_size(v) == 2) {
            j->merge[i][0] = str_of(json_array_get(v, 0));
            j->merge[i][1] = str_of(json_array_get(v, 1));
        } else if (cut) {
            j->merge[i][0] = (struct slice){s.p, (size_t)(cut - s.p)};
            j->merge[i][1] = (struct slice){cut + 1, s.n - (size_t)(cut - s.p) - 1};
        }
        if (!j->merge[i][0].n || !j->merge[i][1].n)
            return bad_merge(j, i);
    }
    j->spec.merge = j->merge;
    j->spec.n_merge = (uint32_t)n;
    return 0;
}

static int read_bpe(struct tokjson *j, uint64_t *cap, const json_t *m)
{
    int rc;

    j->spec.model = TOK_BPE;
    j->byte_fallback = tokjson_bool(m, "byte_fallback", false);
    j->spec.fuse_unknown = tokjson_bool(m, "fuse_unk", false);
    j->spec.whole_first = tokjson_bool(m, "ignore_merges", false);
    j->spec.word_end = tokjson_str(m, "end_of_word_suffix");
    j->spec.word_inside = tokjson_str(m, "continuing_subword_prefix");
    j->marked = j->spec.word_end.n || j->spec.word_inside.n;
    if (j->marked && (j->byte_fallback || j->spec.whole_first))
        return tokjson_bad(j, E_UNSUPPORTED, "BPE with a prefix or suffix and %s is not supported",
                           j->byte_fallback ? "byte_fallback" : "ignore_merges");
    if ((rc = read_object(j, cap, json_object_get(m, "vocab"))) < 0)
        return rc;
    return read_merges(j, json_object_get(m, "merges"));
}

static int read_wordpiece(struct tokjson *j, uint64_t *cap, const json_t *m)
{
    json_int_t most = json_integer_value(json_object_get(m, "max_input_chars_per_word"));

    j->spec.model = TOK_WPM;
    j->spec.plain_pieces = true;
    j->spec.max_word = most > 0 && most < 10000 ? (uint32_t)most : 100;
    j->spec.word_inside = tokjson_str(m, "continuing_subword_prefix");
    return read_object(j, cap, json_object_get(m, "vocab"));
}

static int read_model(struct tokjson *j, uint64_t *cap, const json_t *m)
{
    const char *type = json_string_value(json_object_get(m, "type"));
    const json_t *unk = json_object_get(m, "unk_id");
    int rc;

    if (!type) /* older files: what it is shows in what it has */
        type = json_object_get(m, "merges")                     ? "BPE"
               : json_is_array(json_object_get(m, "vocab"))     ? "Unigram"
               : json_object_get(m, "max_input_chars_per_word") ? "WordPiece"
               : json_is_object(json_object_get(m, "vocab"))    ? "WordLevel"
                                                                : "?";
    if (strcmp(type, "BPE") == 0) {
        rc = read_bpe(j, cap, m);
    } else if (strcmp(type, "WordPiece") == 0) {
        rc = read_wordpiece(j, cap, m);
    } else if (strcmp(type, "WordLevel") == 0) {
        j->spec.model = TOK_WORD;
        rc = read_object(j, cap, json_object_get(m, "vocab"));
    } else if (strcmp(type, "Unigram") == 0) {
        j->spec.model = TOK_UNIGRAM;
        j->byte_fallback = tokjson_bool(m, "byte_fallback", false);
        j->spec.fuse_unknown = true;
        rc = read_scored(j, cap, json_object_get(m, "vocab"));
    } else {
        return tokjson_bad(j, E_UNSUPPORTED, "model '%.40s' is not known", type);
    }
    if (rc < 0)
        return rc;
    j->unk = json_string_value(json_object_get(m, "unk_token"));
    if (j->unk)
        j->spec.role[TOK_UNK] = tokjson_id(j, slice_of(j->unk));
    else if (json_is_integer(unk) && json_integer_value(unk) < (json_int_t)j->spec.n &&
             json_integer_value(unk) >= 0)
        j->spec.role[TOK_UNK] = (int32_t)json_integer_value(unk);
    return 0;
}

/* -- added tokens -- */

static int read_added(struct tokjson *j, uint64_t *cap, const json_t *list)
{
    size_t n = json_array_size(list);
    int rc;

    if (n > MAX_TOKENS || !(j->added = mem_array(n, sizeof *j->added, j->e)))
        return n > MAX_TOKENS ? tokjson_bad(j, E_RANGE, "%zu added tokens", n) : E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i), *number = json_object_get(v, "id");
        struct added *a = &j->added[j->n_added];
        json_int_t id = json_integer_value(number);
        bool special = tokjson_bool(v, "special", false);

        *a = (struct added){.text = tokjson_str(v, "content")};
        if (!json_is_integer(number) || !a->text.p)
            return tokjson_bad(j, E_FORMAT, "added token %zu lacks its id or content", i);
        if ((rc = grow(j, cap, id)) < 0)
            return rc;
        a->id = (int32_t)id;
        a->flags = (tokjson_bool(v, "single_word", false) ? ADDED_WORD : 0u) |
                   (tokjson_bool(v, "lstrip", false) ? ADDED_LSTRIP : 0u) |
                   (tokjson_bool(v, "rstrip", false) ? ADDED_RSTRIP : 0u) |
                   (tokjson_bool(v, "normalized", !special) ? ADDED_NORMALIZED : 0u) |
                   (special ? ADDED_SPECIAL : 0u);
        /* one that is no special token and in the vocabulary can also be merged */
        if (special)
            j->kind[id] = id == j->spec.role[TOK_UNK] ? TOK_UNKNOWN : TOK_CONTROL;
        else if (!j->kind[id])
            j->kind[id] = TOK_USER;
        j->piece[id] = a->text;
        j->n_added += a->text.n > 0;
    }
    return 0;
}

int32_t tokjson_id(const struct tokjson *j, struct slice text)
{
    for (uint32_t i = 0; i < j->n_added; i++)
        if (slice_eq(j->added[i].text, text))
            return j->added[i].id;
    for (uint32_t i = 0; i < j->spec.n; i++)
        if (j->kind[i] && slice_eq(j->piece[i], text))
            return (int32_t)i;
    return -1;
}

/* The pipe has added tokens with texts of its own. */
static int pipe_added(struct tokjson *j)
{
    struct pipe *p = j->spec.take_pipe;

    if (!(p->added = mem_array(j->n_added, sizeof *p->added, j->e)))
        return E_NOMEM;
    if (j->n_added)
        memcpy(p->added, j->added, j->n_added * sizeof *p->added);
    p->n_added = j->n_added;
    return pipe_build(p, j->e);
}

/* -- what is added around a text -- */

static int put_end(struct tokjson *j, bool front, int32_t id)
{
    uint32_t n = j->spec.n_front + j->spec.n_back;
    int32_t *p = mem_resize(j->ends, n, (uint64_t)n + 1, sizeof *p, j->e);

    if (!p)
        return E_NOMEM;
    p[n] = id;
    j->ends = p;
    if (front)
        j->spec.n_front++;
    else
        j->spec.n_back++;
    return 0;
}

static int put_part(struct tokjson *j, int32_t id, json_int_t type)
{
    uint32_t n = j->spec.n_pair;
    struct tok_part *p = mem_resize(j->pair, n, (uint64_t)n + 1, sizeof *p, j->e);

    if (!p)
        return E_NOMEM;
    j->pair = p;
    if (n == MAX_PARTS)
        return tokjson_bad(j, E_RANGE, "the template of a pair has more than %d parts", MAX_PARTS);
    if (type < 0 || type > UINT8_MAX)
        return tokjson_bad(j, E_RANGE, "the template has the token type %lld", (long long)type);
    p[n] = (struct tok_part){id, (uint8_t)type};
    j->spec.n_pair++;
    return 0;
}

/* An id of a post-processor: a number that fits (that it is a token's is seen later). */
static int read_id(const struct tokjson *j, const json_t *v, int32_t *id)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > INT32_MAX)
        return tokjson_bad(j, E_FORMAT, "the post-processor has an id that is no number");
    *id = (int32_t)json_integer_value(v);
    return 0;
}

/* One item of a template: fn is called for each token of a special one. */
static int special_ids(struct tokjson *j, const json_t *v, const json_t *special,
                       int (*fn)(struct tokjson *, int32_t, json_int_t), json_int_t how)
{
    struct slice name = tokjson_str(v, "id");
    const json_t *ids = name.p ? json_object_get(json_object_get(special, name.p), "ids") : NULL;
    int32_t id;
    int rc = 0;

    if (!json_is_array(ids))
        return tokjson_bad(j, E_FORMAT, "the template names an unknown special token");
    for (size_t i = 0; i < json_array_size(ids) && rc == 0; i++)
        if ((rc = read_id(j, json_array_get(ids, i), &id)) == 0)
            rc = fn(j, id, how);
    return rc;
}

static int put_end_at(struct tokjson *j, int32_t id, json_int_t front)
{
    return put_end(j, front, id);
}

/* The template of a single text: special tokens, the text, special tokens. */
static int read_single(struct tokjson *j, const json_t *list, const json_t *special)
{
    int rc = 0, n_text = 0;

    for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) {
        const json_t *v = json_array_get(list, i);

        if (json_object_get(v, "Sequence"))
            n_text++;
        else
            rc = special_ids(j, json_object_get(v, "SpecialToken"), special, put_end_at,
                             n_text == 0);
    }
    if (rc == 0 && n_text == 0)
        return tokjson_bad(j, E_FORMAT, "the template has no place for a text");
    if (rc == 0 && n_text > 1)
        return tokjson_bad(j, E_UNSUPPORTED, "a template that repeats the text is not supported");
    return rc;
}

/* The template of two texts, each with the type of its tokens. */
static int read_pair(struct tokjson *j, const json_t *list, const json_t *special)
{
    bool has[2] = {false, false};
    int rc = 0;

    for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) {
        const json_t *v = json_array_get(list, i), *text = json_object_get(v, "Sequence");
        const bool second = text && slice_is(tokjson_str(text, "id"), "B");
        const json_t *it = text ? text : json_object_get(v, "SpecialToken");
        const json_int_t type = json_integer_value(json_object_get(it, "type_id"));

        has[second] |= text != NULL;
        rc = text ? put_part(j, second ? TOK_SECOND : TOK_FIRST, type)
                  : special_ids(j, it, special, put_part, type);
    }
    if (rc == 0 && list && (!has[0] || !has[1]))
        return tokjson_bad(j, E_FORMAT, "the template has no place for both texts of a pair");
    return rc;
}

static int read_template(struct tokjson *j, const json_t *v)
{
    const json_t *special = json_object_get(v, "special_tokens");
    int rc = read_single(j, json_object_get(v, "single"), special);

    return rc < 0 ? rc : read_pair(j, json_object_get(v, "pair"), special);
}

/* BERT: "[CLS] A [SEP] B [SEP]", the second text and what ends it of type 1. RoBERTa: "<s> A </s>
 * </s> B </s>", all of type 0. */
static int read_bert_ends(struct tokjson *j, const json_t *v, bool bert)
{
    int32_t cls, sep;
    int rc;

    if ((rc = read_id(j, json_array_get(json_object_get(v, "cls"), 1), &cls)) < 0 ||
        (rc = read_id(j, json_array_get(json_object_get(v, "sep"), 1), &sep)) < 0)
        return rc;
    const struct tok_part part[] = {{cls, 0}, {TOK_FIRST, 0},     {sep, 0},
                                    {sep, 0}, {TOK_SECOND, bert}, {sep, bert}};

    if ((rc = put_end(j, true, cls)) < 0 || (rc = put_end(j, false, sep)) < 0)
        return rc;
    for (size_t i = 0; i < ARRAY_LEN(part) && rc == 0; i++)
        if (!bert || i != 3)
            rc = put_part(j, part[i].id, part[i].type);
    return rc;
}

static int read_post(struct tokjson *j, const json_t *v)
{
    const char *type = tokjson_type(v);
    const json_t *list = json_object_get(v, "processors");
    const bool template = strcmp(type, "TemplateProcessing") == 0,
               bert = strcmp(type, "BertProcessing") == 0;
    int rc = 0;

    if (!v || json_is_null(v) || strcmp(type, "ByteLevel") == 0)
        return 0;
    if (strcmp(type, "Sequence") == 0) {
        for (size_t i = 0; i < json_array_size(list) && rc == 0; i++)
            rc = read_post(j, json_array_get(list, i));
        return rc;
    }
    if (!template && !bert && strcmp(type, "RobertaProcessing") != 0)
        return tokjson_bad(j, E_UNSUPPORTED, "post-processor '%.40s' is not known", type);
    if (j->around)
        return tokjson_bad(j, E_UNSUPPORTED, "a second post-processor '%.40s' is not supported",
                           type);
    j->around = true;
    return template ? read_template(j, v) : read_bert_ends(j, v, bert);
}

/* -- all of it -- */

/* A token of a list of ids that has a role by where it is added. */
static void guess_roles(struct tokjson *j)
{
    struct tok_spec *s = &j->spec;
    static const struct {
        const char *text;
        int role;
    } usual[] = {{"[CLS]", TOK_CLS},   {"[SEP]", TOK_SEP}, {"[PAD]", TOK_PAD},
                 {"[MASK]", TOK_MASK}, {"<pad>", TOK_PAD}, {"<mask>", TOK_MASK}};

    for (size_t i = 0; i < ARRAY_LEN(usual); i++)
        if (s->role[usual[i].role] < 0)
            s->role[usual[i].role] = tokjson_id(j, slice_of(usual[i].text));
    if (s->n_front && s->model != TOK_WPM)
        s->role[TOK_BOS] = s->front[0];
    if (s->n_back && s->model != TOK_WPM)
        s->role[TOK_EOS] = s->back[s->n_back - 1];
}

static int parse(struct tokjson *j)
{
    uint64_t cap = 0;
    int rc;

    if (!(j->spec.take_pipe = mem_new(sizeof *j->spec.take_pipe, j->e)))
        return E_NOMEM;
    if ((rc = read_model(j, &cap, json_object_get(j->root, "model"))) < 0 ||
        (rc = read_added(j, &cap, json_object_get(j->root, "added_tokens"))) < 0 ||
        (rc = tokjson_normalizer(j, json_object_get(j->root, "normalizer"))) < 0 ||
        (rc = tokjson_pre(j, json_object_get(j->root, "pre_tokenizer"))) < 0 ||
        (rc = tokjson_decoder(j, json_object_get(j->root, "decoder"))) < 0 ||
        (rc = read_post(j, json_object_get(j->root, "post_processor"))) < 0 ||
        (rc = pipe_added(j)) < 0 || (rc = tokjson_shown(j)) < 0)
        return rc;
    for (uint32_t i = 0; i < j->spec.n; i++)
        if (!j->kind[i])
            j->kind[i] = TOK_UNUSED;
    j->spec.name = j->name;
    j->spec.piece = j->piece;
    j->spec.kind = j->kind;
    if (j->score) { /* added tokens may lie behind those with scores */
        size_t n = json_array_size(json_object_get(json_object_get(j->root, "model"), "vocab"));
        float *all = mem_resize(j->score, n, j->spec.n, sizeof *all, j->e);

        if (!all)
            return E_NOMEM;
        j->score = all;
    }
    j->spec.score = j->score;
    j->spec.front = j->ends;
    j->spec.back = j->ends ? j->ends + j->spec.n_front : NULL;
    j->spec.pair = j->pair;
    guess_roles(j);
    j->spec.add_bos = j->spec.n_front > 0;
    j->spec.add_eos = j->spec.n_back > 0 && j->spec.model != TOK_WPM;
    return 0;
}

int tokjson_open(struct tokjson **out, struct slice text, const char *name, struct err *e)
{
    struct tokjson *j = mem_new(sizeof *j, e);
    json_error_t why;
    int rc = E_NOMEM;

    *out = NULL;
    if (!j)
        return rc;
    tok_spec_init(&j->spec);
    j->e = e;
    if (!(j->name = mem_dup(name, strlen(name), e)))
        goto fail;
    j->root = json_loadb(text.p, text.n, JSON_ALLOW_NUL, &why);
    if (!json_is_object(j->root)) {
        rc = j->root ? tokjson_bad(j, E_FORMAT, "no object")
                     : tokjson_bad(j, E_FORMAT, "line %d: %s", why.line, why.text);
        goto fail;
    }
    if ((rc = parse(j)) < 0)
        goto fail;
    *out = j;
    return 0;
fail:
    tokjson_close(j);
    return rc;
}

void tokjson_close(struct tokjson *j)
{
    if (!j)
        return;
    pipe_free(j->spec.take_pipe);
    tokjson_decoder_free(j);
    mem_free(j->shown);
    buf_fini(&j->shown_text);
    for (int i = 0; i < MAX_CUT; i++)
        buf_fini(&j->split_text[i]);
    mem_free(j->piece);
    mem_free(j->score);
    mem_free(j->kind);
    mem_free(j->merge);
    mem_free(j->ends);
    mem_free(j->pair);
    mem_free(j->added);
    mem_free(j->charsmap_bytes);
    mem_free((char *)(uintptr_t)j->name);
    json_decref(j->root);
    mem_free(j);
}
