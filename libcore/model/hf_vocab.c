/* hf_vocab.c - see hf_vocab.h: finds the files, and says in GGUF's keys what is in them.
 *
 * tokenizer.json is read in full and makes the tokenizer itself; the keys are what a converter
 * writes of it. Of other files the keys are all there is, and the tokenizer is made from them.
 */
#include "model/hf_vocab.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/config.h"
#include "model/hf_files.h"
#include "text/tokjson.h"

#define T(name) "tokenizer.ggml." name

struct hf_vocab {
    char *dir;
    struct tokjson *j;           // tokenizer.json
    struct hf_pieces p;          // any other file
    json_t *config, *generation; // tokenizer_config.json, generation_config.json; or NULL
    struct file_view template;   // chat_template.jinja
    int32_t end[16];
    uint32_t n_end;
};

/* -- files -- */

static int read_json(json_t **out, const char *dir, const char *file, struct err *e)
{
    struct buf path = {0};
    struct file_view v;
    int rc = hf_path(&path, dir, file, e);

    *out = NULL;
    if (rc == 0 && file_exists(path.p) && (rc = file_read(&v, path.p, 64 << 20, e)) == 0) {
        rc = config_json(out, path.p, (struct slice){(const char *)v.p, v.n}, e);
        file_unmap(&v);
    }
    buf_fini(&path);
    return rc;
}

static int open_tokjson(struct hf_vocab *v, const char *path, struct err *e)
{
    struct file_view text;
    int rc = file_map(&text, path, e);

    if (rc < 0)
        return rc;
    rc = tokjson_open(&v->j, (struct slice){(const char *)text.p, text.n}, path, e);
    file_unmap(&text);
    return rc;
}

int hf_vocab_open(struct hf_vocab **out, const char *dir, struct err *e)
{
    struct hf_vocab *v = mem_new(sizeof *v, e);
    struct buf path = {0};
    int rc = E_NOMEM;

    *out = NULL;
    if (!v)
        return rc;
    if (!(v->dir = mem_dup(dir, strlen(dir), e)) ||
        (rc = read_json(&v->config, dir, "tokenizer_config.json", e)) < 0 ||
        (rc = read_json(&v->generation, dir, "generation_config.json", e)) < 0 ||
        (rc = hf_path(&path, dir, "chat_template.jinja", e)) < 0)
        goto done;
    if (file_exists(path.p) && (rc = file_read(&v->template, path.p, 16 << 20, e)) < 0)
        goto done;
    if ((rc = hf_path(&path, dir, "tokenizer.json", e)) < 0)
        goto done;
    if (file_exists(path.p))
        rc = open_tokjson(v, path.p, e);
    else
        rc = hf_pieces_open(&v->p, dir, v->config, e);
done:
    buf_fini(&path);
    if (rc < 0)
        hf_vocab_close(v);
    else
        *out = v;
    return rc;
}

void hf_vocab_close(struct hf_vocab *v)
{
    if (!v)
        return;
    tokjson_close(v->j);
    hf_pieces_close(&v->p);
    file_unmap(&v->template);
    json_decref(v->config);
    json_decref(v->generation);
    mem_free(v->dir);
    mem_free(v);
}

/* -- roles -- */

/* The names roles have in tokenizer_config.json, config.json and GGUF. */
static const struct {
    const char *token, *id, *key;
    int role;
} roles[] = {
    {"bos_token", "bos_token_id", T("bos_token_id"), TOK_BOS},
    {"eos_token", "eos_token_id", T("eos_token_id"), TOK_EOS},
    {"unk_token", "unk_token_id", T("unknown_token_id"), TOK_UNK},
    {"pad_token", "pad_token_id", T("padding_token_id"), TOK_PAD},
    {"sep_token", "sep_token_id", T("seperator_token_id"), TOK_SEP},
    {"cls_token", "cls_token_id", T("cls_token_id"), TOK_CLS},
    {"mask_token", "mask_token_id", T("mask_token_id"), TOK_MASK},
};

static int32_t find_id(const struct hf_vocab *v, struct slice text)
{
    if (v->j)
        return tokjson_id(v->j, text);
    for (uint32_t i = 0; i < v->p.n; i++)
        if (slice_eq(v->p.piece[i], text))
            return (int32_t)i;
    return -1;
}

/* A token's text, or {"content": text}. */
static struct slice token_text(const json_t *v)
{
    if (json_is_object(v))
        v = json_object_get(v, "content");
    return json_is_string(v) ? (struct slice){json_string_value(v), json_string_length(v)}
                             : (struct slice){"", 0};
}

static int32_t id_in(const json_t *list)
{
    const json_t *v = json_is_array(list) ? json_array_get(list, 0) : list;

    return json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) < INT32_MAX
               ? (int32_t)json_integer_value(v)
               : -1;
}

/* The id of a role: by the tokenizer's text, else by the number the configurations have. */
static int32_t role_id(const struct hf_vocab *v, const struct config *c, size_t i, uint32_t n)
{
    struct slice text = token_text(json_object_get(v->config, roles[i].token));
    int32_t id = text.n ? find_id(v, text) : -1;

    if (id < 0 && (roles[i].role == TOK_BOS || roles[i].role == TOK_EOS))
        id = id_in(json_object_get(v->generation, roles[i].id));
    if (id < 0 && c && c->root && (roles[i].role == TOK_BOS || roles[i].role == TOK_EOS))
        id = id_in(cfg_find(c, roles[i].id));
    return id >= 0 && (uint32_t)id < n ? id : -1;
}

/* Every id that ends a generation. */
static void find_ends(struct hf_vocab *v, const struct config *c, uint32_t n)
{
    const json_t *lists[2] = {json_object_get(v->generation, "eos_token_id"),
                              c && c->root ? cfg_find(c, "eos_token_id") : NULL};

    for (int k = 0; k < 2; k++) {
        size_t count = json_is_array(lists[k]) ? json_array_size(lists[k]) : 1;

        for (size_t i = 0; i < count && v->n_end < ARRAY_LEN(v->end); i++) {
            int32_t id = id_in(json_is_array(lists[k]) ? json_array_get(lists[k], i) : lists[k]);

            if (id >= 0 && (uint32_t)id < n)
                v->end[v->n_end++] = id;
        }
    }
}

/* -- keys -- */

static void put_template(const struct hf_vocab *v, struct gguf_out *w)
{
    const json_t *t = json_object_get(v->config, "chat_template");
    char key[160];

    if (v->template.n)
        gguf_put_str(w, "tokenizer.chat_template",
                     (struct slice){(const char *)v->template.p, v->template.n});
    else if (json_is_string(t))
        gguf_put_str(w, "tokenizer.chat_template", token_text(t));
    for (size_t i = 0; i < json_array_size(t); i++) {
        struct slice name = token_text(json_object_get(json_array_get(t, i), "name"));
        struct slice text = token_text(json_object_get(json_array_get(t, i), "template"));

        if (slice_is(name, "default") && !v->template.n)
            gguf_put_str(w, "tokenizer.chat_template", text);
        else if (name.n && name.n < 64 && !slice_is(name, "default")) {
            snprintf(key, sizeof key, "tokenizer.chat_template.%.*s", (int)name.n, name.p);
            gguf_put_str(w, key, text);
        }
    }
}

/* How the model's makers sample. */
static void put_sampling(const struct hf_vocab *v, struct gguf_out *w)
{
    static const struct {
        const char *name, *key;
        bool real;
    } known[] = {{"temperature", "general.sampling.temp", true},
                 {"top_p", "general.sampling.top_p", true},
                 {"min_p", "general.sampling.min_p", true},
                 {"repetition_penalty", "general.sampling.penalty_repeat", true},
                 {"top_k", "general.sampling.top_k", false}};

    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        const json_t *x = json_object_get(v->generation, known[i].name);

        if (json_is_number(x) && known[i].real)
            gguf_put_f32(w, known[i].key, (float)json_number_value(x));
        else if (json_is_integer(x) && json_integer_value(x) >= 0 &&
                 json_integer_value(x) < INT32_MAX)
            gguf_put_i32(w, known[i].key, (int32_t)json_integer_value(x));
    }
}

/* Tokens up to the rows of the embedding: files leave some out. */
static int put_tokens(struct gguf_out *w, const struct slice *piece, const uint8_t *kind,
                      const float *score, uint32_t n, int64_t n_rows, struct err *e)
{
    uint32_t all = n_rows > n && n_rows < INT32_MAX / 2 ? (uint32_t)n_rows : n;
    struct slice *s = mem_array(all, sizeof *s, e);
    int32_t *type = mem_array(all, sizeof *type, e);
    float *number = mem_array(all, sizeof *number, e);
    char *names = mem_array((uint64_t)all, 16, e);
    int rc = s && type && number && names ? 0 : E_NOMEM;

    for (uint32_t i = 0; i < all && rc == 0; i++) {
        bool gap = i >= n || !piece[i].p || kind[i] == TOK_UNUSED;

        type[i] = gap ? TOK_UNUSED : kind[i];
        number[i] = i < n && score ? score[i] : 0;
        if (i < n && piece[i].p)
            s[i] = piece[i];
        else
            s[i] = (struct slice){names + (size_t)i * 16,
                                  (size_t)snprintf(names + (size_t)i * 16, 16, "[PAD%u]", i)};
    }
    if (rc == 0) {
        gguf_put_strs(w, T("tokens"), s, all);
        if (score)
            gguf_put_array(w, T("scores"), GGUF_F32, number, all);
        gguf_put_array(w, T("token_type"), GGUF_I32, type, all);
    }
    mem_free(s);
    mem_free(type);
    mem_free(number);
    mem_free(names);
    return rc;
}

static int put_merges(struct gguf_out *w, const struct slice (*merge)[2], uint32_t n, struct err *e)
{
    struct slice *s = mem_array(n, sizeof *s, e);
    struct buf all = {0};
    size_t at = 0;

    if (!s)
        return E_NOMEM;
    for (uint32_t i = 0; i < n; i++) {
        buf_slice(&all, merge[i][0]);
        buf_byte(&all, ' ');
        buf_slice(&all, merge[i][1]);
    }
    for (uint32_t i = 0; i < n && !all.bad; i++) {
        size_t len = merge[i][0].n + 1 + merge[i][1].n;

        s[i] = (struct slice){all.p + at, len};
        at += len;
    }
    if (!all.bad)
        gguf_put_strs(w, T("merges"), s, n);
    mem_free(s);
    at = all.n;
    buf_fini(&all);
    return at || n == 0 ? 0 : err_nomem(e, at);
}

/* Scores that merge by score what the file merges by rank. */
static int rank_scores(const struct tokjson *j, float **out, struct err *e)
{
    const struct tok_spec *s = &j->spec;
    struct map ids = {0};
    struct buf both = {0};
    float *score = mem_array(s->n, sizeof *score, e);
    int rc = score ? map_init(&ids, s->n, e) : E_NOMEM;
    uint32_t id;

    for (uint32_t i = 0; i < s->n && rc == 0; i++) {
        score[i] = j->kind[i] == TOK_NORMAL ? -(float)s->n_merge - (float)i : 0;
        if (j->piece[i].n)
            rc = map_put(&ids, j->piece[i], i, e);
    }
    for (uint32_t i = s->n_merge; i-- > 0 && rc == 0;) {
        buf_clear(&both);
        buf_slice(&both, s->merge[i][0]);
        buf_slice(&both, s->merge[i][1]);
        if (map_get(&ids, buf_view(&both), &id))
            score[id] = -(float)i;
    }
    buf_fini(&both);
    map_fini(&ids);
    *out = score;
    return rc;
}

/* -- tokenizer.json as keys -- */

/* What a converter says of added tokens that are no special ones. */
static void user_kinds(const struct tokjson *j, uint8_t *kind)
{
    for (uint32_t i = 0; i < j->n_added; i++)
        if (kind[j->added[i].id] == TOK_NORMAL)
            kind[j->added[i].id] = TOK_USER;
}

static int bpe_keys(struct hf_vocab *v, struct gguf_out *w, int64_t rows, const uint8_t *kind,
                    struct err *e)
{
    const struct tokjson *j = v->j;
    char pre[64];
    float *score = NULL;
    int rc;

    if (!j->byte_level && j->spec.raw_bpe) { /* SentencePiece's BPE, told as merges */
        gguf_put_str(w, T("model"), SLICE("llama"));
        gguf_put_str(w, T("pre"), SLICE("default"));
        gguf_put_bool(w, T("add_space_prefix"), j->spec.add_space_prefix);
        if ((rc = rank_scores(j, &score, e)) == 0)
            rc = put_tokens(w, j->piece, kind, score, j->spec.n, rows, e);
        mem_free(score);
        return rc;
    }
    gguf_put_str(w, T("model"), SLICE("gpt2"));
    if ((rc = hf_pre_name(pre, &j->spec, j->byte_level && j->spec.take_pipe->fast, e)) < 0)
        return rc;
    if (*pre)
        gguf_put_str(w, T("pre"), slice_of(pre));
    if (j->spec.take_pipe->n_norm == 1 && j->spec.take_pipe->norm[0].kind == NORM_NFC)
        gguf_put_bool(w, T("normalizer.nfc"), true);
    if ((rc = put_tokens(w, j->piece, kind, NULL, j->spec.n, rows, e)) < 0)
        return rc;
    return put_merges(w, j->spec.merge, j->spec.n_merge, e);
}

/* BERT's files spell the front of a word with a mark in GGUF, and what goes on without one. */
static int wordpiece_keys(struct hf_vocab *v, struct gguf_out *w, int64_t rows, const uint8_t *kind,
                          struct err *e)
{
    const struct tokjson *j = v->j;
    struct slice *s = mem_array(j->spec.n, sizeof *s, e);
    struct buf all = {0};
    int rc;

    if (!s)
        return E_NOMEM;
    rc = hf_mark_words(s, &all, j->piece, kind, j->spec.n, e);
    gguf_put_str(w, T("model"), SLICE("bert"));
    if (rc == 0)
        rc = put_tokens(w, s, kind, NULL, j->spec.n, rows, e);
    for (int i = 0; i < j->spec.take_pipe->n_norm; i++)
        if (j->spec.take_pipe->norm[i].kind == NORM_BERT && !j->spec.take_pipe->norm[i].lower)
            gguf_put_bool(w, T("normalizer.lowercase"), false);
    mem_free(s);
    buf_fini(&all);
    return rc;
}

static int unigram_keys(struct hf_vocab *v, struct gguf_out *w, int64_t rows, const uint8_t *kind,
                        struct err *e)
{
    const struct tokjson *j = v->j;

    gguf_put_str(w, T("model"), SLICE("t5"));
    gguf_put_bool(w, T("add_space_prefix"), j->spec.add_space_prefix);
    gguf_put_bool(w, T("remove_extra_whitespaces"), j->squeeze);
    if (j->charsmap.n)
        gguf_put_array(w, T("precompiled_charsmap"), GGUF_U8, j->charsmap.p, j->charsmap.n);
    return put_tokens(w, j->piece, kind, j->score, j->spec.n, rows, e);
}

static int tokjson_keys(struct hf_vocab *v, struct gguf_out *w, int64_t rows, struct err *e)
{
    const struct tok_spec *s = &v->j->spec;
    uint8_t *kind = mem_dup(v->j->kind, s->n, e);
    int rc;

    if (!kind)
        return E_NOMEM;
    user_kinds(v->j, kind);
    switch (s->model) {
    case TOK_BPE:
        rc = bpe_keys(v, w, rows, kind, e);
        break;
    case TOK_WPM:
        rc = wordpiece_keys(v, w, rows, kind, e);
        break;
    case TOK_UNIGRAM:
        rc = unigram_keys(v, w, rows, kind, e);
        break;
    default:
        gguf_put_str(w, T("model"), SLICE("none"));
        rc = 0;
        break;
    }
    mem_free(kind);
    if (s->model == TOK_WPM)
        return rc;
    gguf_put_bool(w, T("add_bos_token"), s->n_front > 0);
    gguf_put_bool(w, T("add_eos_token"), s->n_back > 0);
    return rc;
}

/* -- other files as keys -- */

static int pieces_keys(struct hf_vocab *v, struct gguf_out *w, int64_t rows, struct err *e)
{
    const struct hf_pieces *p = &v->p;
    bool add;
    int rc;

    gguf_put_str(w, T("model"), slice_of(p->model ? p->model : "none"));
    if (!p->model)
        return 0;
    if (p->pre)
        gguf_put_str(w, T("pre"), slice_of(p->pre));
    if ((rc = put_tokens(w, p->piece, p->kind, p->score, p->n, rows, e)) < 0)
        return rc;
    if (p->merge && (rc = put_merges(w, p->merge, p->n_merge, e)) < 0)
        return rc;
    if (p->charsmap.n)
        gguf_put_array(w, T("precompiled_charsmap"), GGUF_U8, p->charsmap.p, p->charsmap.n);
    if (p->score) {
        gguf_put_bool(w, T("add_space_prefix"), p->add_space_prefix);
        gguf_put_bool(w, T("remove_extra_whitespaces"), p->remove_extra_spaces);
    }
    if (p->nfc)
        gguf_put_bool(w, T("normalizer.nfc"), true);
    if (strcmp(p->model, "bert") == 0 && !p->lowercase)
        gguf_put_bool(w, T("normalizer.lowercase"), false);
    add = p->add_bos;
    if (json_is_boolean(json_object_get(v->config, "add_bos_token")))
        add = json_is_true(json_object_get(v->config, "add_bos_token"));
    if (strcmp(p->model, "bert") != 0) {
        gguf_put_bool(w, T("add_bos_token"), add);
        gguf_put_bool(w, T("add_eos_token"),
                      p->add_eos || json_is_true(json_object_get(v->config, "add_eos_token")));
    }
    return 0;
}

/* GGUF can say of a pair's form only that the separating token stands between two texts that each
 * end as one alone does. */
static bool sep_between(const struct tok_spec *s)
{
    const uint32_t back = s->n_front + 1, second = back + s->n_back + 1;

    if (s->model == TOK_WPM || s->n_pair != second + 1 + s->n_back)
        return false;
    for (uint32_t i = 0; i < s->n_pair; i++) {
        const int32_t want = i < s->n_front    ? s->front[i]
                             : i == back - 1   ? TOK_FIRST
                             : i < second - 1  ? s->back[i - back]
                             : i == second - 1 ? s->role[TOK_SEP]
                             : i == second     ? TOK_SECOND
                                               : s->back[i - second - 1];

        if (s->pair[i].id != want)
            return false;
    }
    return true;
}

int hf_vocab_keys(struct hf_vocab *v, struct gguf_out *w, const struct config *c, struct err *e)
{
    uint32_t n = v->j ? v->j->spec.n : v->p.n;
    int64_t rows = 0;
    int rc;

    if (c && c->root)
        cfg_int(c, "vocab_size", &rows);
    put_sampling(v, w);
    rc = v->j ? tokjson_keys(v, w, rows, e) : pieces_keys(v, w, rows, e);
    if (rc < 0 || n == 0)
        return rc;
    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        int32_t id = role_id(v, c, i, n);

        if (id < 0 && v->j)
            id = v->j->spec.role[roles[i].role];
        else if (id < 0)
            id = v->p.role[roles[i].role];
        if (id < 0)
            continue;
        if (v->j)
            v->j->spec.role[roles[i].role] = id;
        gguf_put_u32(w, roles[i].key, (uint32_t)id);
    }
    if (v->j && sep_between(&v->j->spec))
        gguf_put_bool(w, T("add_sep_token"), true);
    find_ends(v, c, n);
    put_template(v, w);
    return 0;
}

bool hf_vocab_own(const struct hf_vocab *v)
{
    return v->j != NULL;
}

int hf_vocab_tok(struct tok **out, struct hf_vocab *v, struct err *e)
{
    struct tok_spec *s = &v->j->spec;
    int rc;

    s->end = v->end;
    s->n_end = v->n_end;
    rc = tok_new(out, s, e);
    s->take_pipe = NULL; /* taken */
    tokjson_close(v->j); /* large, and not needed again */
    v->j = NULL;
    return rc;
}
