/* hf_export_vocab.c - the tokenizer of a GGUF file as the files a Hugging Face directory has:
 * tokenizer.json for byte-level BPE, tokenizer.model for SentencePiece, vocab.txt for WordPiece;
 * and tokenizer_config.json, generation_config.json, chat_template.jinja.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "file/gguf.h"
#include "model/hf_export.h"
#include "text/pre.h"
#include "text/tok.h"

#define KEY(name) "tokenizer.ggml." name
#define MARK      "\xe2\x96\x81"

struct pieces {
    struct exported *x;
    struct gguf_array text, kind, score, merges;
    bool kinds, scores;
};

static int kind_of(const struct pieces *p, uint64_t i)
{
    return p->kinds && i < p->kind.n ? (int)gguf_int_at(&p->kind, i) : TOK_NORMAL;
}

static bool flag(const struct pieces *p, const char *key, bool or_this)
{
    bool v = or_this;

    gguf_get_bool(p->x->g, key, &v, NULL);
    return v;
}

/* The id of a role, or -1. */
static int64_t role(const struct pieces *p, const char *key)
{
    uint32_t id;

    return gguf_get_u32(p->x->g, key, &id, NULL) > 0 && id < p->text.n ? (int64_t)id : -1;
}

static json_t *text_of(const struct pieces *p, int64_t id)
{
    struct slice s = gguf_str_at(&p->text, (uint64_t)id);

    return json_stringn(s.p, s.n);
}

static int give_json(struct exported *x, const char *name, json_t *take, struct err *e)
{
    char *text = take ? json_dumps(take, JSON_INDENT(1)) : NULL;
    int rc = text ? hf_export_file(x, name, text, strlen(text), e) : err_nomem(e, 4096);

    free(text); /* jansson's */
    json_decref(take);
    return rc;
}

/* -- tokenizer.json -- */

static json_t *vocab(const struct pieces *p)
{
    json_t *all = json_object();

    for (uint64_t i = 0; i < p->text.n; i++) {
        struct slice s = gguf_str_at(&p->text, i);

        if (kind_of(p, i) != TOK_UNUSED && !json_object_getn(all, s.p, s.n))
            json_object_setn_new(all, s.p, s.n, json_integer((json_int_t)i));
    }
    return all;
}

static json_t *merges(const struct pieces *p)
{
    json_t *all = json_array();

    for (uint64_t i = 0; i < p->merges.n; i++) {
        struct slice s = gguf_str_at(&p->merges, i);

        json_array_append_new(all, json_stringn(s.p, s.n));
    }
    return all;
}

static json_t *added(const struct pieces *p)
{
    json_t *all = json_array();

    for (uint64_t i = 0; i < p->text.n; i++) {
        int kind = kind_of(p, i);

        if (kind == TOK_CONTROL || kind == TOK_USER || kind == TOK_UNKNOWN)
            json_array_append_new(all, json_pack("{sI so sb sb sb sb sb}", "id", (json_int_t)i,
                                                 "content", text_of(p, (int64_t)i), "single_word",
                                                 0, "lstrip", 0, "rstrip", 0, "normalized", 0,
                                                 "special", kind != TOK_USER));
    }
    return all;
}

/* The steps of the pre-tokenizer as expressions, then bytes as letters. */
static json_t *cuts(const struct pre_row *row)
{
    json_t *list = json_array();

    for (const char *const *s = row->steps; *s; s++)
        json_array_append_new(list, json_pack("{ss s{ss} ss sb}", "type", "Split", "pattern",
                                              "Regex", *s, "behavior", "Isolated", "invert", 0));
    json_array_append_new(list, json_pack("{ss sb sb sb}", "type", "ByteLevel", "add_prefix_space",
                                          0, "trim_offsets", 1, "use_regex", 0));
    return json_pack("{ss so}", "type", "Sequence", "pretokenizers", list);
}

static void put_special(json_t *list, const struct pieces *p, int64_t id, int type)
{
    if (id >= 0)
        json_array_append_new(
            list, json_pack("{s{so si}}", "SpecialToken", "id", text_of(p, id), "type_id", type));
}

static void put_text(json_t *list, const char *id, int type)
{
    json_array_append_new(list, json_pack("{s{ss si}}", "Sequence", "id", id, "type_id", type));
}

static void name_special(json_t *all, const struct pieces *p, int64_t id)
{
    if (id < 0)
        return;
    struct slice s = gguf_str_at(&p->text, (uint64_t)id);

    json_object_setn_new(all, s.p, s.n,
                         json_pack("{so s[I] s[o]}", "id", text_of(p, id), "ids", (json_int_t)id,
                                   "tokens", text_of(p, id)));
}

static int64_t added_role(const struct pieces *p, const char *key, const char *id)
{
    return flag(p, key, false) ? role(p, id) : -1;
}

/* BOS and EOS around a text, and what goes around a pair. */
static json_t *around(const struct pieces *p)
{
    const int64_t bos = added_role(p, KEY("add_bos_token"), KEY("bos_token_id")),
                  eos = added_role(p, KEY("add_eos_token"), KEY("eos_token_id")),
                  sep = added_role(p, KEY("add_sep_token"), KEY("seperator_token_id"));
    json_t *single = json_array(), *pair = json_array(), *names = json_object();

    put_special(single, p, bos, 0);
    put_text(single, "A", 0);
    put_special(single, p, eos, 0);
    json_array_extend(pair, single);
    put_special(pair, p, sep, 0);
    put_text(pair, "B", 1);
    put_special(pair, p, eos, 1);
    name_special(names, p, bos);
    name_special(names, p, eos);
    name_special(names, p, sep);
    return json_pack("{ss so so so}", "type", "TemplateProcessing", "single", single, "pair", pair,
                     "special_tokens", names);
}

static int write_bpe(struct pieces *p, struct err *e)
{
    struct slice name = {0};
    char pre[64], shown[96];
    const struct pre_row *row;

    gguf_get_str(p->x->g, KEY("pre"), &name, NULL);
    snprintf(pre, sizeof pre, "%.*s", (int)(name.n < 63 ? name.n : 63), name.p ? name.p : "");
    row = pre_find(*pre ? pre : "default");
    for (const char *const *s = row ? row->steps : NULL; s && *s; s++)
        if (**s == '@')
            row = NULL;
    if (!row || row->flags & PRE_RAW)
        return err_set(e, E_UNSUPPORTED, "%s: tokenizer.json cannot say how '%s' cuts text",
                       p->x->g->path, gguf_show(shown, sizeof shown, slice_of(pre)));
    return give_json(
        p->x, "tokenizer.json",
        json_pack("{ss sn sn so sn so so s{ss sb sb sb} s{ss sn sn sn sn sb sb sb so so}}",
                  "version", "1.0", "truncation", "padding", "added_tokens", added(p), "normalizer",
                  "pre_tokenizer", cuts(row), "post_processor", around(p), "decoder", "type",
                  "ByteLevel", "add_prefix_space", 1, "trim_offsets", 1, "use_regex", 1, "model",
                  "type", "BPE", "dropout", "unk_token", "continuing_subword_prefix",
                  "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0, "ignore_merges",
                  (row->flags & PRE_WHOLE_FIRST) != 0, "vocab", vocab(p), "merges", merges(p)),
        e);
}

/* -- tokenizer.model: a SentencePiece ModelProto -- */

static void put_varint(struct buf *b, uint64_t v)
{
    for (; v >= 128; v >>= 7)
        buf_byte(b, (char)(v | 128));
    buf_byte(b, (char)v);
}

/* A field of a protocol buffer: numbers are kind 0, bytes kind 2. */
static void put_field_int(struct buf *b, unsigned field, uint64_t v)
{
    put_varint(b, field << 3);
    put_varint(b, v);
}

static void put_field_bytes(struct buf *b, unsigned field, struct slice s)
{
    put_varint(b, field << 3 | 2);
    put_varint(b, s.n);
    buf_slice(b, s);
}

static void put_piece(struct buf *b, struct buf *one, const struct pieces *p, uint64_t i)
{
    float score = p->scores && i < p->score.n ? (float)gguf_float_at(&p->score, i) : 0;

    buf_clear(one);
    put_field_bytes(one, 1, gguf_str_at(&p->text, i));
    put_varint(one, 2 << 3 | 5);
    buf_add(one, &score, sizeof score);
    put_field_int(one, 3, (uint64_t)kind_of(p, i));
    put_field_bytes(b, 1, buf_view(one));
}

static void put_role(struct buf *b, const struct pieces *p, unsigned field, const char *key)
{
    int64_t id = role(p, key);

    put_field_int(b, field, (uint64_t)id); /* -1: none, in ten bytes as the format has it */
}

static int write_spm(struct pieces *p, bool unigram, struct err *e)
{
    struct gguf_array map = {0};
    struct buf all = {0}, one = {0};
    int rc;

    for (uint64_t i = 0; i < p->text.n; i++)
        put_piece(&all, &one, p, i);
    buf_clear(&one); /* TrainerSpec */
    put_field_int(&one, 3, unigram ? 1 : 2);
    put_field_int(&one, 4, p->text.n);
    put_field_int(&one, 35, !unigram);
    put_role(&one, p, 40, KEY("unknown_token_id"));
    put_role(&one, p, 41, KEY("bos_token_id"));
    put_role(&one, p, 42, KEY("eos_token_id"));
    put_role(&one, p, 43, KEY("padding_token_id"));
    put_field_bytes(&all, 2, buf_view(&one));
    buf_clear(&one); /* NormalizerSpec */
    put_field_bytes(&one, 1, unigram ? SLICE("nmt_nfkc") : SLICE("identity"));
    if (gguf_get_array(p->x->g, KEY("precompiled_charsmap"), &map, NULL) > 0)
        put_field_bytes(&one, 2, (struct slice){(const char *)map.p, (size_t)map.n});
    put_field_int(&one, 3, flag(p, KEY("add_space_prefix"), true));
    put_field_int(&one, 4, flag(p, KEY("remove_extra_whitespaces"), unigram));
    put_field_int(&one, 5, 1);
    put_field_bytes(&all, 3, buf_view(&one));
    rc = all.bad || one.bad ? err_nomem(e, all.n)
                            : hf_export_file(p->x, "tokenizer.model", all.p, all.n, e);
    buf_fini(&all);
    buf_fini(&one);
    return rc;
}

/* -- vocab.txt -- */

static int write_words(struct pieces *p, struct err *e)
{
    struct buf all = {0};
    int rc;

    for (uint64_t i = 0; i < p->text.n; i++) {
        struct slice s = gguf_str_at(&p->text, i);

        if (kind_of(p, i) != TOK_NORMAL) {
            buf_slice(&all, s);
        } else if (slice_starts(s, SLICE(MARK))) {
            buf_add(&all, s.p + 3, s.n - 3);
        } else {
            buf_str(&all, "##");
            buf_slice(&all, s);
        }
        buf_byte(&all, '\n');
    }
    rc = all.bad ? err_nomem(e, all.n) : hf_export_file(p->x, "vocab.txt", all.p, all.n, e);
    buf_fini(&all);
    return rc;
}

/* -- the other files -- */

static int write_config(struct pieces *p, const char *class, struct err *e)
{
    static const char *const roles[][2] = {
        {"bos_token", KEY("bos_token_id")},     {"eos_token", KEY("eos_token_id")},
        {"unk_token", KEY("unknown_token_id")}, {"pad_token", KEY("padding_token_id")},
        {"cls_token", KEY("cls_token_id")},     {"sep_token", KEY("seperator_token_id")},
        {"mask_token", KEY("mask_token_id")}};
    static const char *const flags[][2] = {{"add_bos_token", KEY("add_bos_token")},
                                           {"add_eos_token", KEY("add_eos_token")}};
    json_t *o = json_pack("{ss sb}", "tokenizer_class", class, "clean_up_tokenization_spaces", 0);

    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (role(p, roles[i][1]) >= 0)
            json_object_set_new(o, roles[i][0], text_of(p, role(p, roles[i][1])));
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (gguf_find(p->x->g, flags[i][1]))
            json_object_set_new(o, flags[i][0], json_boolean(flag(p, flags[i][1], false)));
    return give_json(p->x, "tokenizer_config.json", o, e);
}

static int write_ends(struct pieces *p, struct err *e)
{
    static const char *const sampling[][2] = {{"temperature", "general.sampling.temp"},
                                              {"top_p", "general.sampling.top_p"}};
    int64_t bos = role(p, KEY("bos_token_id")), eos = role(p, KEY("eos_token_id"));
    int64_t eot = role(p, KEY("eot_token_id"));
    json_t *o = json_object();
    uint32_t k;
    float v;

    if (bos >= 0)
        json_object_set_new(o, "bos_token_id", json_integer(bos));
    if (eos >= 0)
        json_object_set_new(o, "eos_token_id",
                            eot >= 0 && eot != eos
                                ? json_pack("[II]", (json_int_t)eos, (json_int_t)eot)
                                : json_integer(eos));
    for (size_t i = 0; i < ARRAY_LEN(sampling); i++)
        if (gguf_get_f32(p->x->g, sampling[i][1], &v, NULL) > 0) {
            char text[32];

            snprintf(text, sizeof text, "%.6g", (double)v);
            json_object_set_new(o, sampling[i][0], json_real(strtod(text, NULL)));
            json_object_set_new(o, "do_sample", json_true());
        }
    if (gguf_get_u32(p->x->g, "general.sampling.top_k", &k, NULL) > 0)
        json_object_set_new(o, "top_k", json_integer(k));
    return give_json(p->x, "generation_config.json", o, e);
}

int hf_export_vocab(struct exported *x, struct err *e)
{
    struct pieces p = {.x = x};
    struct slice model = {0}, template;
    const char *class = "PreTrainedTokenizerFast";
    int rc;

    if ((rc = gguf_get_str(x->g, KEY("model"), &model, e)) < 0 ||
        (rc = gguf_get_strs(x->g, KEY("tokens"), &p.text, e)) < 0)
        return rc;
    p.kinds = gguf_get_ints(x->g, KEY("token_type"), &p.kind, NULL) > 0;
    p.scores = gguf_get_floats(x->g, KEY("scores"), &p.score, NULL) > 0;
    gguf_get_strs(x->g, KEY("merges"), &p.merges, NULL);
    if (p.text.n == 0 || slice_is(model, "rwkv")) /* no files that others would read */
        return 0;
    if (slice_is(model, "gpt2")) {
        rc = write_bpe(&p, e);
    } else if (slice_is(model, "llama") || slice_is(model, "t5")) {
        class = slice_is(model, "t5") ? "T5Tokenizer" : "LlamaTokenizer";
        rc = write_spm(&p, slice_is(model, "t5"), e);
    } else if (slice_is(model, "bert")) {
        class = "BertTokenizer";
        rc = write_words(&p, e);
    } else {
        return 0;
    }
    if (rc == 0 && (rc = write_config(&p, class, e)) == 0)
        rc = write_ends(&p, e);
    if (rc == 0 && gguf_get_str(x->g, "tokenizer.chat_template", &template, NULL) > 0)
        rc = hf_export_file(x, "chat_template.jinja", template.p, template.n, e);
    return rc;
}
