/* test_serve_vectors.c - rill-serve's vectors and scores: what they look like, which requests are
 * wrong, and that they are rill-run's. Models: BERT, a BERT with a score, the embedded one.
 */
#include <math.h>

#include "tests/tools/client.h"
#include "tests/tools/openapi.h"

#define EMBED "/v1/embeddings"
#define USER  "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static bool start(void)
{
    static char bert[1100], rank[1100];
    static const char *const more[] = {"-m", bert, "-m", rank, "-t", "1", "--strict-model", NULL};
    bool ok;

    snprintf(bert, sizeof bert, "bert=%s", srcfile("tests/golden/arch/bert.gguf"));
    snprintf(rank, sizeof rank, "rank=%s", srcfile("tests/golden/arch/bert-rank.gguf"));
    ok = serve_start(more);
    if (ok)
        wait_ready();
    return ok;
}

static json_t *reply_to(const char *path, const char *body)
{
    struct reply r;
    json_t *v;

    ask(&r, "POST", path, "", body);
    ck_assert_msg(r.status == 200, "%s: %s", body, r.body.p);
    if (openapi.root && strcmp(path, EMBED) == 0 && !strstr(body, "base64"))
        openapi_valid("CreateEmbeddingResponse", r.body.p, strlen(r.body.p));
    v = json_loads(r.body.p, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_ptr_nonnull(v);
    reply_fini(&r);
    return v;
}

/* The numbers of the i-th vector of a reply. */
static int vector(const json_t *v, int i, double *out, int max)
{
    const json_t *one = json_array_get(json_object_get(v, "data"), (size_t)i);
    const json_t *list = json_object_get(one, "embedding");
    int n = (int)json_array_size(list);

    ck_assert_int_eq((int)json_integer_value(json_object_get(one, "index")), i);
    for (int k = 0; k < n && k < max; k++)
        out[k] = json_number_value(json_array_get(list, (size_t)k));
    return n;
}

static double product(const double *a, const double *b, int n)
{
    double sum = 0;

    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

START_TEST(embeddings)
{
    double a[64], b[64], c[64];
    json_t *v, *w;
    char body[300];

    if (!start())
        return;
    openapi_open();
    v = reply_to(EMBED, "{\"model\":\"bert\",\"input\":\"the fox\"}");
    ck_assert_int_eq(vector(v, 0, a, 64), 32);
    ck_assert_double_eq_tol(product(a, a, 32), 1, 1e-5);
    ck_assert_str_eq(json_string_value(json_object_get(v, "model")), "bert");
    json_decref(v);
    /* several at once: each as alone */
    v = reply_to(EMBED, "{\"model\":\"bert\",\"input\":[\"a bear\",\"the fox\"],"
                        "\"encoding_format\":\"float\",\"user\":\"u\"}");
    vector(v, 0, c, 64);
    vector(v, 1, b, 64);
    ck_assert_int_eq(memcmp(a, b, 32 * sizeof *a), 0);
    ck_assert_double_lt(product(a, c, 32), 0.9999);
    ck_assert_int_gt(
        (int)json_integer_value(json_object_get(json_object_get(v, "usage"), "prompt_tokens")), 4);
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(v, "warnings"), 0)),
                     "field 'user' has no effect here");
    json_decref(v);
    /* tokens: those that the text has */
    v = reply_to("/tokenize", "{\"model\":\"bert\",\"prompt\":\"the fox\"}");
    {
        char *ids = json_dumps(json_object_get(v, "tokens"), JSON_COMPACT);

        snprintf(body, sizeof body, "{\"model\":\"bert\",\"input\":[%s,%s]}", ids, ids);
        free(ids);
    }
    w = reply_to(EMBED, body);
    vector(w, 1, b, 64);
    ck_assert_int_eq(memcmp(a, b, 32 * sizeof *a), 0);
    json_decref(v);
    json_decref(w);
    /* fewer dimensions: the first ones, of length 1 */
    v = reply_to(EMBED, "{\"model\":\"bert\",\"input\":\"the fox\",\"dimensions\":8}");
    ck_assert_int_eq(vector(v, 0, b, 64), 8);
    ck_assert_double_eq_tol(product(b, b, 8), 1, 1e-5);
    ck_assert_double_eq_tol(product(a, b, 8), sqrt(product(a, a, 8)), 1e-5);
    json_decref(v);
    /* a model that also writes */
    v = reply_to(EMBED, "{\"model\":\"tales\",\"input\":\"the fox\"}");
    ck_assert_int_gt(vector(v, 0, b, 64), 16);
    json_decref(v);
    openapi_close();
    serve_stop();
}
END_TEST

static int digit(char c)
{
    static const char all[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    return (int)(strchr(all, c) - all);
}

#define DIMENSIONS "{\"model\":\"bert\",\"input\":\"the fox\",\"dimensions\":%d"

START_TEST(base64)
{
    for (int n = 32; n > 29; n--) { // with both kinds of ends
        double a[32];
        unsigned char bytes[140];
        const char *text;
        char body[200];
        json_t *v, *w;
        size_t len;

        if (n == 32 && !start())
            return;
        snprintf(body, sizeof body, DIMENSIONS "}", n);
        v = reply_to(EMBED, body);
        snprintf(body, sizeof body, DIMENSIONS ",\"encoding_format\":\"base64\"}", n);
        w = reply_to(EMBED, body);
        vector(v, 0, a, 32);
        text = json_string_value(
            json_object_get(json_array_get(json_object_get(w, "data"), 0), "embedding"));
        len = strlen(text);
        ck_assert_uint_eq(len, ((size_t)n * 4 + 2) / 3 * 4);
        for (size_t i = 0; i < len; i += 4) {
            unsigned x = 0;

            for (size_t k = 0; k < 4; k++)
                x = x << 6 | (text[i + k] == '=' ? 0U : (unsigned)digit(text[i + k]));
            bytes[i / 4 * 3] = (unsigned char)(x >> 16);
            bytes[i / 4 * 3 + 1] = (unsigned char)(x >> 8);
            bytes[i / 4 * 3 + 2] = (unsigned char)x;
        }
        for (int i = 0; i < n; i++) {
            uint32_t bits = (uint32_t)bytes[4 * i] | (uint32_t)bytes[4 * i + 1] << 8 |
                            (uint32_t)bytes[4 * i + 2] << 16 | (uint32_t)bytes[4 * i + 3] << 24;
            float x;

            memcpy(&x, &bits, sizeof x);
            ck_assert_float_eq(x, (float)a[i]);
        }
        json_decref(v);
        json_decref(w);
    }
    serve_stop();
}
END_TEST

START_TEST(wrong)
{
    struct buf b = {0};

    if (!start())
        return;
    openapi_open();
    expect_status("POST", EMBED, "", "{\"model\":\"bert\"}", 400, "\"param\":\"input\"");
    expect_status("POST", EMBED, "", "{\"model\":\"bert\",\"input\":7}", 400, "input: must be");
    expect_status("POST", EMBED, "", "{\"model\":\"bert\",\"input\":[]}", 400, "input: must be");
    expect_status("POST", EMBED, "", "{\"model\":\"bert\",\"input\":[[]]}", 400, "is empty");
    expect_status("POST", EMBED, "", "{\"model\":\"bert\",\"input\":[1,99999]}", 400,
                  "the vocabulary has");
    expect_status("POST", EMBED, "", "{\"model\":\"bert\",\"input\":\"a\",\"dimensions\":33}", 400,
                  "\"param\":\"dimensions\"");
    expect_status("POST", EMBED, "", "{\"model\":\"bert\",\"input\":\"a\",\"dimensions\":0}", 400,
                  "\"param\":\"dimensions\"");
    expect_status("POST", EMBED, "",
                  "{\"model\":\"bert\",\"input\":\"a\",\"encoding_format\":\"hex\"}", 400,
                  "float or base64");
    expect_status("POST", EMBED, "", "{\"model\":\"none\",\"input\":\"a\"}", 404,
                  "model_not_found");
    buf_str(&b, "{\"model\":\"bert\",\"input\":[\"a\",\"");
    for (int i = 0; i < 3000; i++)
        buf_str(&b, "fox ");
    buf_str(&b, "\"]}");
    expect_status("POST", EMBED, "", b.p, 400, "context_length_exceeded");
    buf_fini(&b);
    /* asked to write: it cannot */
    expect_status("POST", "/v1/chat/completions", "", "{\"model\":\"bert\"," USER "}", 400,
                  "the model is an encoder: it gives vectors and cannot continue a text");
    expect_status("POST", "/v1/completions", "", "{\"model\":\"bert\",\"prompt\":\"a\"}", 400,
                  "invalid_request_error");
    expect_status("POST", "/v1/rerank", "",
                  "{\"model\":\"bert\",\"query\":\"a\",\"documents\":[\"b\"]}", 400,
                  "it is no reranker");
    expect_status("POST", "/v1/rerank", "", "{\"model\":\"rank\",\"query\":\"a\",\"documents\":[]}",
                  400, "\"param\":\"documents\"");
    expect_status("POST", "/v1/rerank", "", "{\"model\":\"rank\",\"documents\":[\"b\"]}", 400,
                  "\"param\":\"query\"");
    openapi_close();
    serve_stop();
}
END_TEST

/* The documents by falling scores, which are rill-run's through the logistic function. */
START_TEST(rerank)
{
    static const char *const documents[] = {"bear", "a fox", "the fox and the bear"};
    double score[3], last = 2;
    json_t *v;
    const json_t *one;
    size_t i;

    if (!start())
        return;
    for (int k = 0; k < 3; k++) {
        char line[40] = "", tool[1100], pair[100];
        int in[2], out[2];

        snprintf(tool, sizeof tool, "%s/rill-run", RILL_BUILDDIR);
        snprintf(pair, sizeof pair, "fox\t%s", documents[k]);
        ck_assert(pipe(in) == 0 && pipe(out) == 0);
        ck_assert(write(in[1], pair, strlen(pair)) > 0);
        close(in[1]);
        if (fork() == 0) {
            dup2(in[0], STDIN_FILENO);
            dup2(out[1], STDOUT_FILENO);
            execl(tool, "rill-run", "-q", "-t", "1", "-m",
                  srcfile("tests/golden/arch/bert-rank.gguf"), "--rerank", (char *)NULL);
            _exit(127);
        }
        close(in[0]);
        close(out[1]);
        ck_assert(read(out[0], line, sizeof line - 1) > 0);
        close(out[0]);
        wait(NULL);
        score[k] = 1 / (1 + exp(-strtod(line, NULL)));
    }
    v = reply_to("/v1/rerank", "{\"model\":\"rank\",\"query\":\"fox\",\"return_documents\":true,"
                               "\"documents\":[\"bear\",{\"text\":\"a fox\"},\"the fox and the "
                               "bear\"]}");
    ck_assert_uint_eq(json_array_size(json_object_get(v, "results")), 3);
    json_array_foreach(json_object_get(v, "results"), i, one)
    {
        int k = (int)json_integer_value(json_object_get(one, "index"));
        double x = json_number_value(json_object_get(one, "relevance_score"));

        ck_assert(k >= 0 && k < 3);
        ck_assert_double_eq_tol(x, score[k], 1e-6);
        ck_assert_double_le(x, last);
        ck_assert_str_eq(
            json_string_value(json_object_get(json_object_get(one, "document"), "text")),
            documents[k]);
        last = x;
    }
    json_decref(v);
    v = reply_to("/rerank", "{\"model\":\"rank\",\"query\":\"fox\",\"top_n\":2,\"documents\":"
                            "[\"bear\",\"a fox\",\"x\"]}");
    ck_assert_uint_eq(json_array_size(json_object_get(v, "results")), 2);
    ck_assert_ptr_null(
        json_object_get(json_array_get(json_object_get(v, "results"), 0), "document"));
    json_decref(v);
    serve_stop();
}
END_TEST

TEST_MAIN("tools/serve_vectors", embeddings, base64, wrong, rerank)
