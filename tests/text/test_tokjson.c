/* test_tokjson.c - tokenizer.json files against the library that writes them (golden files by
 * scripts/ref-tokjson.py), what is refused, and the vectors of the test data.
 */
#define _GNU_SOURCE 1
#include "tests/text/vocabs.h"

#include "base/file.h"
#include "text/tokjson.h"

static struct tok *tok_of(struct slice text, const char *name, struct err *e)
{
    struct tokjson *j;
    struct tok *t = NULL;

    if (tokjson_open(&j, text, name, e) < 0)
        return NULL;
    tok_new(&t, &j->spec, e);
    j->spec.take_pipe = NULL;
    tokjson_close(j);
    return t;
}

/* What the library's decoder makes of a row's ids; but for the space behind the last word. */
static void expect_decoded(const struct tok *t, const json_t *row, const char *label)
{
    const json_t *list = json_object_get(row, "decode");
    const struct slice want = tokjson_str(row, "decoded");
    struct detok d;
    struct buf all = {0}, one = {0};
    int32_t ids[512];
    size_t n;

    if (!want.p)
        return;
    if (!list)
        list = json_object_get(row, "ids");
    n = json_array_size(list);
    ck_assert_uint_le(n, ARRAY_LEN(ids));
    detok_init(&d, t, 0);
    for (size_t i = 0; i < n; i++) {
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
        detok_add(&d, ids[i], &one);
    }
    detok_end(&d, &one);
    tok_decode(t, ids, n, 0, &all);
    if (one.n == want.n + 1 && one.p[want.n] == ' ')
        one.n--;
    ck_assert_msg(slice_eq(buf_view(&one), want), "%s: '%.*s', not '%.*s'", label, (int)one.n,
                  one.p, (int)want.n, want.p);
    buf_clear(&one);
    detok_init(&d, t, DETOK_RAW);
    for (size_t i = 0; i < n; i++)
        detok_add(&d, ids[i], &one);
    detok_end(&d, &one);
    ck_assert_msg(slice_eq(buf_view(&one), buf_view(&all)), "%s: '%.*s' as a stream, else '%.*s'",
                  label, (int)one.n, one.p, (int)all.n, all.p);
    buf_fini(&one);
    buf_fini(&all);
}

/* Two texts: ids and the types of tokens. */
static void expect_pair(const struct tok *t, const json_t *row, const char *label)
{
    const json_t *pair = json_object_get(row, "pair"), *ids = json_object_get(row, "ids"),
                 *types = json_object_get(row, "types");
    struct slice text[2];
    struct tok_ids got = {0};
    struct buf type = {0};
    struct err e = {0};

    for (size_t i = 0; i < 2; i++) {
        const json_t *v = json_array_get(pair, i);

        text[i] = (struct slice){json_string_value(v), json_string_length(v)};
    }
    /* behind others, which stay as they are */
    ck_ok(tok_ids_add(&got, 7, &e), &e);
    ck_ok(tok_encode_pair(t, text[0], text[1], TOK_ADD | TOK_PARSE, &got, &type, &e), &e);
    ck_assert_msg(got.n == json_array_size(ids) + 1 && type.n == json_array_size(types),
                  "%s: %zu ids, %zu types", label, got.n - 1, type.n);
    for (size_t i = 0; i < type.n; i++)
        ck_assert_msg(got.id[i + 1] == json_integer_value(json_array_get(ids, i)) &&
                          type.p[i] == json_integer_value(json_array_get(types, i)),
                      "%s: id %zu is %d of type %d", label, i, (int)got.id[i + 1], type.p[i]);
    ck_assert_int_eq(got.id[0], 7);
    tok_ids_fini(&got);
    buf_fini(&type);
}

static void run_golden(const char *name)
{
    char path[200], label[80];
    struct err e = {0};
    struct file_view v;
    struct tok *t = NULL;
    int n = 0;

    snprintf(path, sizeof path, "tests/golden/text/tokjson/%s.jsonl", name);
    ck_ok(file_map(&v, srcfile(path), &e), &e);
    for (const char *p = (const char *)v.p, *end = p + v.n, *nl; p < end; p = nl + 1, n++) {
        json_t *row, *ids;
        int32_t want[512];

        nl = memchr(p, '\n', (size_t)(end - p));
        ck_assert_ptr_nonnull(nl);
        if (n == 0) {
            t = tok_of((struct slice){p, (size_t)(nl - p)}, name, &e);
            ck_assert_msg(t != NULL, "%s", e.text);
            continue;
        }
        row = json_loadb(p, (size_t)(nl - p), JSON_ALLOW_NUL, NULL);
        snprintf(label, sizeof label, "%s line %d", name, n + 1);
        if (json_object_get(row, "pair")) {
            expect_pair(t, row, label);
            json_decref(row);
            continue;
        }
        expect_decoded(t, row, label);
        if (json_object_get(row, "decode")) {
            json_decref(row);
            continue;
        }
        ids = json_object_get(row, "ids");
        ck_assert_uint_le(json_array_size(ids), ARRAY_LEN(want));
        for (size_t i = 0; i < json_array_size(ids); i++)
            want[i] = (int32_t)json_integer_value(json_array_get(ids, i));
        expect_ids(t, tokjson_str(row, "text"), TOK_ADD | TOK_PARSE, want, json_array_size(ids),
                   label);
        json_decref(row);
    }
    ck_assert_int_gt(n, 60);
    tok_free(t);
    file_unmap(&v);
}

#define GOLDENS(X)                                                                                 \
    X(byte_level)                                                                                  \
    X(gpt2)                                                                                        \
    X(falcon)                                                                                      \
    X(normalizer_bytes)                                                                            \
    X(llama)                                                                                       \
    X(metaspace_first)                                                                             \
    X(metaspace_split)                                                                             \
    X(unigram)                                                                                     \
    X(bert)                                                                                        \
    X(wordpiece)                                                                                   \
    X(words)                                                                                       \
    X(clip)                                                                                        \
    X(clip_bytes)                                                                                  \
    X(bpe_prefix)                                                                                  \
    X(bpe_inside)                                                                                  \
    X(no_merges)                                                                                   \
    X(wordpiece_other)                                                                             \
    X(wordpiece_plain)                                                                             \
    X(unigram_scripts)                                                                             \
    X(unigram_charsmap)                                                                            \
    X(ctc)                                                                                         \
    X(words_bytes)                                                                                 \
    X(splits)                                                                                      \
    X(odd)

#define X(name)                                                                                    \
    START_TEST(name)                                                                               \
    {                                                                                              \
        run_golden(#name);                                                                         \
    }                                                                                              \
    END_TEST
GOLDENS(X)
#undef X

#define MODEL                                                                                      \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}"

#define BERT_ENDS "{\"type\":\"BertProcessing\",\"cls\":[\"c\",0],\"sep\":[\"s\",1]}"
#define TEXT_A    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}"
#define EIGHT(x)  x "," x "," x "," x "," x "," x "," x "," x
#define TEMPLATE(single, pair)                                                                     \
    "{\"type\":\"TemplateProcessing\",\"single\":[" single "],\"pair\":[" pair "]}"

START_TEST(what_is_refused)
{
    static const struct {
        const char *text, *part;
        int code;
    } row[] = {
        {"[]", "no object", E_FORMAT},
        {"{", "line 1", E_FORMAT},
        {"{}", "model '?' is not known", E_UNSUPPORTED},
        {"{\"model\":{\"type\":\"LSTM\"}}", "model 'LSTM' is not known", E_UNSUPPORTED},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{}}}", "no vocabulary", E_FORMAT},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":\"0\"}}}", "id is no number", E_FORMAT},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1}}}", "has the id -1", E_RANGE},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":99999999}}}", "has the id", E_RANGE},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0}}}", "two tokens", E_FORMAT},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}",
         "merge 0 is no pair", E_FORMAT},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", "no text with a score",
         E_FORMAT},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Rot13\"}}", "normalizer 'Rot13' is not known",
         E_UNSUPPORTED},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":"
         "[{\"type\":\"Jieba\"}]}}",
         "pre-tokenizer 'Jieba' is not known", E_UNSUPPORTED},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\"}}",
         "lacks its pattern", E_FORMAT},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\","
         "\"pattern\":{\"Regex\":\"(\"}}}",
         "t.json: ", E_UNSUPPORTED},
        {"{" MODEL ",\"pre_tokenizer\":{\"type\":\"Punctuation\",\"behavior\":\"Eaten\"}}",
         "behavior 'Eaten' is not known", E_UNSUPPORTED},
        {"{" MODEL ",\"decoder\":{\"type\":\"CTX\"}}", "decoder 'CTX' is not known", E_UNSUPPORTED},
        {"{" MODEL ",\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},"
         "{\"type\":\"CTC\"}]}}",
         "decoder 'CTC' behind 'Fuse' is not supported", E_UNSUPPORTED},
        {"{" MODEL ",\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},"
         "{\"type\":\"Strip\",\"content\":\"x\",\"start\":1,\"stop\":0}]}}",
         "decoder 'Strip' behind 'Fuse' is not supported", E_UNSUPPORTED},
        {"{" MODEL ",\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},"
         "{\"type\":\"Replace\",\"pattern\":{\"String\":\"ab\"},\"content\":\"\"}]}}",
         "decoder 'Replace' behind 'Fuse' is not supported", E_UNSUPPORTED},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"byte_fallback\":true,"
         "\"end_of_word_suffix\":\"</w>\"}}",
         "BPE with a prefix or suffix and byte_fallback is not supported", E_UNSUPPORTED},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"ignore_merges\":true,"
         "\"continuing_subword_prefix\":\"##\"}}",
         "BPE with a prefix or suffix and ignore_merges is not supported", E_UNSUPPORTED},
        {"{" MODEL ",\"post_processor\":{\"type\":\"X\"}}", "post-processor 'X' is not known",
         E_UNSUPPORTED},
        {"{" MODEL ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":"
         "[{\"SpecialToken\":{\"id\":\"q\"}}]}}",
         "unknown special token", E_FORMAT},
        {"{" MODEL ",\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"c\",9],"
         "\"sep\":[\"s\",1]}}",
         "an added token is 9 of 3", E_RANGE},
        {"{" MODEL ",\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"c\",0]}}",
         "an id that is no number", E_FORMAT},
        {"{" MODEL ",\"post_processor\":{\"type\":\"Sequence\",\"processors\":[" BERT_ENDS
         "," BERT_ENDS "]}}",
         "a second post-processor 'BertProcessing' is not supported", E_UNSUPPORTED},
        {"{" MODEL ",\"post_processor\":" TEMPLATE(TEXT_A "," TEXT_A, "") "}",
         "a template that repeats the text is not supported", E_UNSUPPORTED},
        {"{" MODEL ",\"post_processor\":" TEMPLATE(TEXT_A, TEXT_A "," TEXT_A) "}",
         "no place for both texts of a pair", E_FORMAT},
        {"{" MODEL ",\"post_processor\":" TEMPLATE(
             TEXT_A, TEXT_A ",{\"Sequence\":{\"id\":\"B\",\"type_id\":256}}") "}",
         "has the token type 256", E_RANGE},
        {"{" MODEL ",\"post_processor\":" TEMPLATE(
             TEXT_A, TEXT_A ",{\"SpecialToken\":{\"id\":\"q\",\"type_id\":0}}") "}",
         "unknown special token", E_FORMAT},
        {"{" MODEL ",\"post_processor\":" TEMPLATE(TEXT_A, EIGHT(EIGHT(TEXT_A)) "," TEXT_A) "}",
         "the template of a pair has more than 64 parts", E_RANGE},
        {"{" MODEL ",\"added_tokens\":[{\"id\":1}]}", "lacks its id or content", E_FORMAT},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"!!\"}}",
         "no base64", E_FORMAT},
        {"{" MODEL ",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAA\"}}",
         "precompiled_charsmap", E_FORMAT},
    };

    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        struct err e = {0};
        struct tok *t = tok_of(slice_of(row[i].text), "t.json", &e);

        ck_assert_msg(t == NULL, "accepted: %s", row[i].text);
        ck_assert_msg(e.code == row[i].code && strstr(e.text, row[i].part), "%s: %d '%s'",
                      row[i].text, e.code, e.text);
        ck_assert_msg(strncmp(e.text, "t.json: ", 8) == 0, "%s", e.text);
    }
}
END_TEST

/* Every allocation fails once: an error or, where nothing depended on it, the same ids. */
START_TEST(memory_runs_out)
{
    static const char *const names[] = {"unigram", "bert", "words", "odd"};

    for (size_t k = 0; k < ARRAY_LEN(names); k++) {
        struct err e = {0};
        struct file_view v;
        char path[200];
        struct tok *t = NULL;

        snprintf(path, sizeof path, "tests/golden/text/tokjson/%s.jsonl", names[k]);
        ck_ok(file_map(&v, srcfile(path), &e), &e);
        struct slice text = {(const char *)v.p,
                             (size_t)((const char *)memchr(v.p, '\n', v.n) - (const char *)v.p)};
        for (long n = 0; !t; n++) {
            e = (struct err){0};
            mem_fail_after(n);
            t = tok_of(text, "t.json", &e);
            if (!t && e.code != E_NOMEM)
                ck_abort_msg("allocation %ld: %d %s", n, e.code, e.text);
        }
        mem_fail_after(-1);
        for (long n = 0, rc = -1; rc < 0; n++) {
            struct tok_ids ids = {0};

            e = (struct err){0};
            mem_fail_after(n);
            rc = tok_encode(t, SLICE("King  a\xcc\x81 9?"), TOK_PARSE, &ids, &e);
            if (rc < 0 && rc != E_NOMEM)
                ck_abort_msg("allocation %ld: %ld %s", n, rc, e.text);
            tok_ids_fini(&ids);
        }
        for (long n = 0, rc = -1; rc < 0; n++) {
            struct tok_ids ids = {0};
            struct buf types = {0};

            e = (struct err){0};
            mem_fail_after(n);
            rc = tok_encode_pair(t, SLICE("King"), SLICE("a 9"), TOK_ADD, &ids, &types, &e);
            if (rc < 0 && (rc != E_NOMEM || ids.n || types.n))
                ck_abort_msg("allocation %ld: %ld %s", n, rc, e.text);
            tok_ids_fini(&ids);
            buf_fini(&types);
        }
        mem_fail_after(-1);
        tok_free(t);
        file_unmap(&v);
    }
}
END_TEST

/* What was encoded comes back, where the vocabulary can write every byte. */
START_TEST(text_comes_back)
{
    static const char *const names[] = {"byte_level", "llama", "metaspace_first"};
    static const char *const text[] = {"The King's \xe4\xbd\xa0\xe5\xa5\xbd\n\n  x", " a b", "42"};

    for (size_t k = 0; k < ARRAY_LEN(names); k++) {
        struct err e = {0};
        struct file_view v;
        char path[200];

        snprintf(path, sizeof path, "tests/golden/text/tokjson/%s.jsonl", names[k]);
        ck_ok(file_map(&v, srcfile(path), &e), &e);
        struct slice line = {(const char *)v.p,
                             (size_t)((const char *)memchr(v.p, '\n', v.n) - (const char *)v.p)};
        struct tok *t = tok_of(line, "t.json", &e);
        ck_assert_ptr_nonnull(t);
        for (size_t i = 0; i < ARRAY_LEN(text); i++)
            if (i != 1 || k != 2) /* a leading space is the one that is added there */
                expect_identity(t, slice_of(text[i]), 0);
        tok_free(t);
        file_unmap(&v);
    }
}
END_TEST

static size_t count_of(const struct tok_ids *ids, int32_t id)
{
    size_t n = 0;

    for (size_t i = 0; i < ids->n; i++)
        n += ids->id[i] == id;
    return n;
}

/* A control token spelt in content is text, wherever the content lies; others stay tokens. */
START_TEST(content_makes_no_control_token)
{
    static const struct {
        const char *file, *control;
    } with[] = {{"byte_level", "<s>"},
                {"llama", "<s>"},
                {"metaspace_first", "</s>"},
                {"unigram", "</s>"},
                {"bert", "[SEP]"}};

    for (size_t k = 0; k < ARRAY_LEN(with); k++) {
        struct err e = {0};
        struct file_view v;
        struct tok_ids one = {0}, ids = {0};
        char path[200], text[100];
        const size_t m = strlen(with[k].control);

        snprintf(path, sizeof path, "tests/golden/text/tokjson/%s.jsonl", with[k].file);
        ck_ok(file_map(&v, srcfile(path), &e), &e);
        struct slice line = {(const char *)v.p,
                             (size_t)((const char *)memchr(v.p, '\n', v.n) - (const char *)v.p)};
        struct tok *t = tok_of(line, "t.json", &e);
        ck_assert_ptr_nonnull(t);
        ck_ok(tok_encode(t, slice_of(with[k].control), TOK_PARSE, &one, &e), &e);
        ck_assert_uint_eq(one.n, 1);
        /* template's, content's, template's; and each cut of the middle one */
        snprintf(text, sizeof text, "%sa%sb%s", with[k].control, with[k].control, with[k].control);
        for (size_t at = m + 1; at < 2 * m + 1; at++)
            for (size_t n = 1; at + n <= 2 * m + 1; n++) {
                const struct byte_span span = {at, n};

                ids.n = 0;
                ck_ok(tok_encode_parts(t, slice_of(text), &span, 1, TOK_PARSE, &ids, &e), &e);
                if (count_of(&ids, one.id[0]) != 2)
                    ck_abort_msg("%s: content [%zu, +%zu): %zu of %s", with[k].file, at, n,
                                 count_of(&ids, one.id[0]), with[k].control);
            }
        const struct byte_span letters[] = {{m, 1}, {2 * m + 1, 1}};
        ids.n = 0;
        ck_ok(tok_encode_parts(t, slice_of(text), letters, 2, TOK_PARSE, &ids, &e), &e);
        ck_assert_uint_eq(count_of(&ids, one.id[0]), 3);
        tok_ids_fini(&one);
        tok_ids_fini(&ids);
        tok_free(t);
        file_unmap(&v);
    }
}
END_TEST

#define X(name) name,
TEST_MAIN("text/tokjson", GOLDENS(X) what_is_refused, memory_runs_out, text_comes_back,
          content_makes_no_control_token)
