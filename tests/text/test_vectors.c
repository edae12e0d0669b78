#define _GNU_SOURCE 1
/* test_vectors.c - published texts with their ids, for the five vocabulary files. */
#include "tests/text/vocabs.h"

#include <jansson.h>

#include "base/file.h"

/* Texts between lines of __ggml_vocab_test__, and a line of ids for each. */
static void run_inp(const char *name)
{
    static const char cut[] = "\n__ggml_vocab_test__\n";
    char path[200];
    struct tok *t;
    struct file_view inp, out;
    struct err e = {0};
    const char *in, *ids, *p;
    int n = 0;

    snprintf(path, sizeof path, "tokenizers/ggml-vocab/ggml-vocab-%s.gguf", name);
    t = open_vocab(path);
    if (!t)
        return;
    snprintf(path, sizeof path, "tokenizers/ggml-vocab/ggml-vocab-%s.gguf.inp", name);
    p = testdata(path);
    ck_assert_ptr_nonnull(p);
    ck_ok(file_map(&inp, p, &e), &e);
    snprintf(path, sizeof path, "tokenizers/ggml-vocab/ggml-vocab-%s.gguf.out", name);
    p = testdata(path);
    ck_assert_ptr_nonnull(p);
    ck_ok(file_map(&out, p, &e), &e);
    in = (const char *)inp.p;
    ids = (const char *)out.p;
    while (in < (const char *)inp.p + inp.n) {
        const char *stop = memmem(in, inp.n - (size_t)(in - (const char *)inp.p), cut, strlen(cut));
        size_t len = stop ? (size_t)(stop - in) : 0;
        int32_t want[512];
        size_t k = 0;
        char label[64];

        if (!stop)
            break;
        while (ids < (const char *)out.p + out.n && *ids != '\n') {
            char *next;

            want[k++] = (int32_t)strtol(ids, &next, 10);
            ids = next;
            while (*ids == ' ')
                ids++;
        }
        ids++;
        snprintf(label, sizeof label, "%s text %d", name, n);
        expect_ids(t, (struct slice){in, len}, 0, want, k, label);
        in = stop + strlen(cut);
        n++;
    }
    ck_assert_int_ge(n, 46);
    file_unmap(&inp);
    file_unmap(&out);
    tok_free(t);
}

START_TEST(llama_spm)
{
    run_inp("llama-spm");
}
END_TEST

START_TEST(gpt_2)
{
    run_inp("gpt-2");
}
END_TEST

START_TEST(falcon)
{
    run_inp("falcon");
}
END_TEST

START_TEST(deepseek_coder)
{
    run_inp("deepseek-coder");
}
END_TEST

START_TEST(bert_bge)
{
    run_inp("bert-bge");
}
END_TEST

/* Ids with the special tokens the tokenizer adds. */
static void run_hf(const char *vocab, const char *name)
{
    char path[200];
    struct tok *t;
    json_error_t je;
    json_t *list, *row;
    size_t i;

    snprintf(path, sizeof path, "tokenizers/ggml-vocab/ggml-vocab-%s.gguf", vocab);
    t = open_vocab(path);
    if (!t)
        return;
    snprintf(path, sizeof path, "tokenizers/hf-vectors/%s.json", name);
    list = json_load_file(testdata(path), JSON_ALLOW_NUL, &je);
    ck_assert_msg(list != NULL, "%s: %s", path, je.text);
    json_array_foreach(list, i, row)
    {
        json_t *ids = json_object_get(row, "ids"), *text = json_object_get(row, "text"),
               *pair = json_object_get(row, "text_pair");
        int32_t *want = mem_array(json_array_size(ids) + 1, sizeof *want, NULL);
        char label[200];

        for (size_t k = 0; k < json_array_size(ids); k++)
            want[k] = (int32_t)json_integer_value(json_array_get(ids, k));
        snprintf(label, sizeof label, "%s %s", name,
                 json_string_value(json_object_get(row, "name")));
        if (pair)
            expect_pair_ids(t, slice_of(json_string_value(text)), slice_of(json_string_value(pair)),
                            want, json_array_size(ids), label);
        else
            expect_ids(t, (struct slice){json_string_value(text), json_string_length(text)},
                       TOK_ADD | TOK_PARSE, want, json_array_size(ids), label);
        mem_free(want);
    }
    ck_assert_int_ge((int)i, 20);
    json_decref(list);
    tok_free(t);
}

START_TEST(hf_gpt2)
{
    run_hf("gpt-2", "Xenova__gpt2");
    run_hf("gpt-2", "openai-community__gpt2");
}
END_TEST

START_TEST(hf_llama)
{
    run_hf("llama-spm", "Xenova__llama-tokenizer");
}
END_TEST

START_TEST(hf_falcon)
{
    run_hf("falcon", "tiiuae__falcon-7b");
}
END_TEST

START_TEST(hf_deepseek_coder)
{
    run_hf("deepseek-coder", "Xenova__deepseek-coder-1.3b-instruct");
}
END_TEST

START_TEST(hf_bert)
{
    run_hf("bert-bge", "Xenova__bert-base-uncased"); /* the same vocabulary */
}
END_TEST

/* No token goes in front: a second text that begins as the first does keeps its beginning. */
START_TEST(pair_without_front)
{
    struct tok *t = open_vocab("tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf");
    struct tok_ids one;

    if (!t)
        return;
    one = encode(t, SLICE("fox"), 0);
    ck_assert_uint_eq(one.n, 1);
    expect_pair_ids(t, SLICE("fox"), SLICE("fox"), (const int32_t[]){one.id[0], one.id[0]}, 2,
                    "gpt-2");
    tok_ids_fini(&one);
    tok_free(t);
}
END_TEST

TEST_MAIN("text/vectors", pair_without_front, llama_spm, gpt_2, falcon, deepseek_coder, bert_bge,
          hf_gpt2, hf_llama, hf_falcon, hf_deepseek_coder, hf_bert)
