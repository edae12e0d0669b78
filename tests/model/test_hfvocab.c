/* test_hfvocab.c - tokenizer files of other kinds than tokenizer.json, by the vectors of the test
 * data. */
#define _GNU_SOURCE 1
#include "tests/text/vocabs.h"

#include <jansson.h>
#include <sys/stat.h>

#include "base/file.h"
#include "model/hfdir.h"

enum { MAX_FILES = 3 };

struct link {
    const char *from, *to; // in the test data; in the directory
};

static struct tok *open_dir(const char *dir)
{
    struct source *s;
    struct tok *t;
    struct err e = {0};

    ck_ok(model_source(&s, dir, HF_VOCAB_ONLY, &e), &e);
    ck_ok(model_source_vocab(&t, s, &e), &e);
    source_close(s);
    return t;
}

/* The tokenizer of a directory with these files (and text as tokenizer_config.json); NULL: skipped.
 */
static struct tok *open_files(const struct link *files, const char *config)
{
    const char *dir = tmpfile_path("vocab");
    char path[700];
    struct tok *t;

    for (int i = 0; i < MAX_FILES && files[i].from; i++)
        if (!testdata(files[i].from))
            return NULL;
    ck_assert_int_eq(mkdir(dir, 0777), 0);
    for (int i = 0; i < MAX_FILES && files[i].from; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i].to);
        ck_assert_int_eq(symlink(testdata(files[i].from), path), 0);
    }
    snprintf(path, sizeof path, "%s/tokenizer_config.json", dir);
    if (config) {
        FILE *f = fopen(path, "w");

        ck_assert_ptr_nonnull(f);
        fputs(config, f);
        fclose(f);
    }
    t = open_dir(dir);
    remove(path);
    for (int i = 0; i < MAX_FILES && files[i].from; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i].to);
        remove(path);
    }
    rmdir(dir);
    return t;
}

/* A list of {text, ids}, in some also {text_pair}. */
static void run_json(const struct tok *t, const char *name, unsigned flags, int least)
{
    json_t *list = json_load_file(testdata(name), JSON_ALLOW_NUL, NULL), *row;
    size_t i;
    int n = 0;

    ck_assert_ptr_nonnull(list);
    json_array_foreach(list, i, row)
    {
        json_t *ids = json_object_get(row, "ids"), *text = json_object_get(row, "text"),
               *pair = json_object_get(row, "text_pair");
        int32_t want[1024];

        ck_assert_uint_le(json_array_size(ids), ARRAY_LEN(want));
        for (size_t k = 0; k < json_array_size(ids); k++)
            want[k] = (int32_t)json_integer_value(json_array_get(ids, k));
        if (pair)
            expect_pair_ids(t, slice_of(json_string_value(text)), slice_of(json_string_value(pair)),
                            want, json_array_size(ids), name);
        else
            expect_ids(t, (struct slice){json_string_value(text), json_string_length(text)}, flags,
                       want, json_array_size(ids), json_string_value(json_object_get(row, "name")));
        n++;
    }
    ck_assert_int_ge(n, least);
    json_decref(list);
}

START_TEST(vocab_txt)
{
    const struct link files[MAX_FILES] = {{"tokenizers/bert-base-uncased/vocab.txt", "vocab.txt"}};
    struct tok *t = open_files(files, NULL);

    if (!t)
        return;
    run_json(t, "tokenizers/hf-vectors/Xenova__bert-base-uncased.json", TOK_ADD | TOK_PARSE, 20);
    tok_free(t);
}
END_TEST

/* RoBERTa's form of a pair survives as the key that GGUF has for it; a first text that begins as
 * the second one does keeps all its tokens. */
START_TEST(pairs)
{
    static const char *const config[] = {"{\"sep_token\": \"</s>\"}", "{}"};
    static const char *const text[] = {" the king", " the lord"};
    const char *dir = tmpfile_path("pairs");
    char path[700];
    struct file_view v;
    struct err e = {0};

    ck_ok(file_map(&v, srcfile("tests/golden/text/tokjson/gpt2.jsonl"), &e), &e);
    ck_assert_int_eq(mkdir(dir, 0777), 0);
    for (int i = 0; i < 2; i++) {
        struct source *s;
        struct tok *own, *gguf;
        struct tok_ids ids[2] = {{0}, {0}};
        struct buf types = {0};
        FILE *f;

        snprintf(path, sizeof path, "%s/tokenizer_config.json", dir);
        f = fopen(path, "w");
        ck_assert_ptr_nonnull(f);
        fputs(config[i], f);
        fclose(f);
        snprintf(path, sizeof path, "%s/tokenizer.json", dir);
        f = fopen(path, "w");
        ck_assert_ptr_nonnull(f);
        fwrite(v.p, 1, (size_t)((const uint8_t *)memchr(v.p, '\n', v.n) - v.p), f);
        fclose(f);
        ck_ok(model_source(&s, dir, HF_VOCAB_ONLY, &e), &e);
        ck_ok(model_source_vocab(&own, s, &e), &e);
        ck_ok(vocab_from_gguf(&gguf, s->g, &e), &e);
        for (int k = 0; k < 2; k++)
            ck_ok(tok_encode_pair(k ? gguf : own, slice_of(text[0]), slice_of(text[1]), TOK_ADD,
                                  &ids[k], &types, &e),
                  &e);
        /* <s> A </s></s> B </s>; without a separating token there is no way to say the second */
        ck_assert_uint_eq(ids[1].n, ids[0].n - (size_t)i);
        if (i == 0)
            ck_assert_mem_eq(ids[0].id, ids[1].id, ids[0].n * sizeof *ids[0].id);
        ck_assert_int_eq(ids[1].id[0], 0);
        ck_assert_int_eq(ids[1].id[ids[1].n - 1], 1);
        for (int k = 0; k < 2; k++)
            tok_ids_fini(&ids[k]);
        buf_fini(&types);
        tok_free(own);
        tok_free(gguf);
        source_close(s);
    }
    remove(path);
    snprintf(path, sizeof path, "%s/tokenizer_config.json", dir);
    remove(path);
    rmdir(dir);
    file_unmap(&v);
}
END_TEST

START_TEST(vocab_and_merges)
{
    const struct link files[MAX_FILES] = {{"tokenizers/qwen2/vocab.json", "vocab.json"},
                                          {"tokenizers/qwen2/merges.txt", "merges.txt"}};
    struct tok *t =
        open_files(files, "{\"tokenizer_class\": \"Qwen2Tokenizer\", "
                          "\"added_tokens_decoder\": {"
                          "\"151643\": {\"content\": \"<|endoftext|>\", \"special\": true},"
                          "\"151644\": {\"content\": \"<|im_start|>\", \"special\": true},"
                          "\"151645\": {\"content\": \"<|im_end|>\", \"special\": true}}}");

    if (!t)
        return;
    run_json(t, "tokenizers/hf-vectors/Xenova__Qwen1.5-0.5B-Chat.json", TOK_ADD | TOK_PARSE, 20);
    tok_free(t);
}
END_TEST

/* Blocks of "Sample: text" (which may span lines) and "Encoded: [ids]". */
START_TEST(tiktoken)
{
    const struct link files[MAX_FILES] = {
        {"tokenizers/tiktoken/cl100k_base.tiktoken", "cl100k_base.tiktoken"}};
    struct tok *t = open_files(files, NULL);
    struct file_view v;
    struct err e = {0};
    const char *p, *end;
    int n = 0;

    if (!t)
        return;
    ck_ok(file_map(&v, testdata("tokenizers/tiktoken/TestPlans.cl100k_base.txt"), &e), &e);
    p = (const char *)v.p;
    end = p + v.n;
    while ((p = memmem(p, (size_t)(end - p), "Sample: ", 8))) {
        const char *to = memmem(p, (size_t)(end - p), "\nEncoded: [", 11), *q = to + 11;
        int32_t want[1024];
        size_t k = 0;
        char label[32];

        ck_assert_ptr_nonnull(to);
        while (*q != ']') {
            char *next;

            ck_assert_uint_lt(k, ARRAY_LEN(want));
            want[k++] = (int32_t)strtol(q, &next, 10);
            q = next + strspn(next, ", ");
        }
        snprintf(label, sizeof label, "sample %d", ++n);
        expect_ids(t, (struct slice){p + 8, (size_t)(to - p - 8)}, 0, want, k, label);
        p = q;
    }
    ck_assert_int_ge(n, 60);
    file_unmap(&v);
    tok_free(t);
}
END_TEST

/* Every id of the samples comes back as a piece, and pieces as ids. */
static void put_token(FILE *f, const char *bytes, int n, int rank)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char four[5] = "====";
    uint32_t v = 0;

    for (int i = 0; i < 3; i++)
        v = v << 8 | (i < n ? (unsigned char)bytes[i] : 0);
    for (int i = 0; i <= n; i++)
        four[i] = digits[v >> (18 - 6 * i) & 63];
    fprintf(f, "%s{\"rank\":%d,\"token_bytes\":\"%s\",\"token_str\":null}", rank ? "," : "", rank,
            four);
}

/* The bytes, "bc", "abc", " ab", and "ab", for which there is no room: special tokens come first,
 * so ids are ranks and 3. Parts join by the rank of what they become; a whole word that is a token
 * is that token, whatever its parts would come to. */
START_TEST(tekken)
{
    static const int32_t want[] = {1, 260, 261, 3 + '9', 3 + 'x', 3 + 'y', 3 + ' ', 260},
                         euro[] = {1, 3 + 0xe2, 3 + 0x82, 3 + 0xac};
    const char *dir = tmpfile_path("tekken");
    char path[700];
    struct tok *t;
    FILE *f;

    ck_assert_int_eq(mkdir(dir, 0777), 0);
    snprintf(path, sizeof path, "%s/tekken.json", dir);
    f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs("{\"config\":{\"default_vocab_size\":262,\"default_num_special_tokens\":3,"
          "\"version\":\"v3\"},\"special_tokens\":null,\"vocab\":[",
          f);
    for (int i = 0; i < 256; i++)
        put_token(f, (char[]){(char)i}, 1, i);
    put_token(f, "bc", 2, 256);
    put_token(f, "abc", 3, 257);
    put_token(f, " ab", 3, 258);
    put_token(f, "ab", 2, 259);
    fputs("]}", f);
    fclose(f);
    t = open_dir(dir);
    ck_assert_uint_eq(tok_count(t), 262);
    expect_ids(t, SLICE("\xe2\x82\xac"), TOK_ADD, euro, ARRAY_LEN(euro), "bytes");
    expect_ids(t, SLICE("abc ab9xy abc"), TOK_ADD, want, ARRAY_LEN(want), "ranks");
    tok_free(t);
    remove(path);
    rmdir(dir);
}
END_TEST

START_TEST(sentencepiece)
{
    const struct link files[2][MAX_FILES] = {
        {{"tokenizers/mistral/tokenizer.model.v1", "tokenizer.model"}},
        {{"tokenizers/mistral/mistral_instruct_tokenizer_240323.model.v3", "tokenizer.model"}}};

    for (int i = 0; i < 2; i++) {
        struct tok *t = open_files(files[i], NULL);

        if (!t)
            return;
        ck_assert_int_eq(tok_model_of(t), TOK_SPM);
        ck_assert_uint_eq(tok_count(t), i ? 32768 : 32000);
        ck_assert_int_eq(tok_role_id(t, TOK_BOS), 1);
        ck_assert(tok_adds_bos(t) && !tok_adds_eos(t));
        expect_ids(t, SLICE("Hello world 123"), TOK_ADD,
                   i ? (const int32_t[]){1, 23325, 2294, 29473, 29508, 29518, 29538}
                     : (const int32_t[]){1, 22557, 1526, 28705, 28740, 28750, 28770},
                   7, "mistral");
        if (i)
            ck_assert_int_eq(tok_kind_of(t, tok_find(t, SLICE("[INST]"))), TOK_CONTROL);
        tok_free(t);
    }
}
END_TEST

/* A rendered conversation: newlines are <0x0A>, spaces U+2581, of which one behind each control
 * token is the one that encoding adds. */
static void run_sample(const struct tok *t, const char *dir, int version)
{
    static const char *const control[] = {"<s>",
                                          "</s>",
                                          "[INST]",
                                          "[/INST]",
                                          "[AVAILABLE_TOOLS]",
                                          "[/AVAILABLE_TOOLS]",
                                          "[TOOL_CALLS]",
                                          "[TOOL_RESULTS]",
                                          "[/TOOL_RESULTS]"};
    char path[200];
    struct file_view v;
    struct err e = {0};
    struct buf text = {0};
    json_t *list;
    int32_t want[2048];
    size_t n;

    snprintf(path, sizeof path, "tokenizers/mistral/samples/%s/text_v%d.txt", dir, version);
    ck_ok(file_map(&v, testdata(path), &e), &e);
    for (size_t i = 0; i < v.n;) {
        size_t len = 0;

        for (size_t k = 0; k < (version == 1 ? 2 : ARRAY_LEN(control)) && !len; k++)
            if (slice_starts((struct slice){(const char *)v.p + i, v.n - i}, slice_of(control[k])))
                len = strlen(control[k]);
        if (v.n - i >= 6 && memcmp(v.p + i, "<0x0A>", 6) == 0) {
            buf_byte(&text, '\n');
            i += 6;
            continue;
        }
        buf_add(&text, v.p + i, len ? len : 1);
        i += len ? len : 1;
        if (len && i + 3 <= v.n && memcmp(v.p + i, "\xe2\x96\x81", 3) == 0)
            i += 3;
    }
    snprintf(path, sizeof path, "tokenizers/mistral/samples/%s/tokens_v%d.json", dir, version);
    list = json_load_file(testdata(path), 0, NULL);
    n = json_array_size(json_object_get(list, "tokens"));
    ck_assert_uint_lt(n, ARRAY_LEN(want));
    for (size_t k = 0; k < n; k++)
        want[k] = (int32_t)json_integer_value(json_array_get(json_object_get(list, "tokens"), k));
    expect_ids(t, buf_view(&text), TOK_PARSE, want, n, dir);
    buf_fini(&text);
    json_decref(list);
    file_unmap(&v);
}

START_TEST(mistral_samples)
{
    static const char *const dirs[] = {
        "get_weather_full", "get_weather_no_history", "get_weather_no_system_prompt",
        "no_tools",         "parallel_calls",         "several_calls"};
    const struct link v1[MAX_FILES] = {
        {"tokenizers/mistral/tokenizer.model.v1", "tokenizer.model"}};
    const struct link v3[MAX_FILES] = {
        {"tokenizers/mistral/mistral_instruct_tokenizer_240323.model.v3", "tokenizer.model"}};
    struct tok *t = open_files(v1, NULL);

    if (!t)
        return;
    run_sample(t, "no_tools", 1);
    tok_free(t);
    t = open_files(v3, NULL);
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
        run_sample(t, dirs[i], 3);
    tok_free(t);
}
END_TEST

TEST_MAIN("model/hfvocab", mistral_samples, vocab_txt, vocab_and_merges, tiktoken, tekken,
          sentencepiece, pairs)
