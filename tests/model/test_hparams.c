/* test_hparams.c - what a file's keys say about its model. */
#include "tests/suite.h"

#include "base/mem.h"
#include "file/gguf.h"
#include "model/arch.h"

enum { LAYERS = 8 };

/* A window pattern: 'w' for a layer with a window, 'a' for one that sees all; or a number. */
struct pattern {
    const char *list; // NULL: the number
    int number;       // -1: the file has no such key
    const char *want; // what the layers are then
};

static void put_pattern(struct gguf_out *w, const struct pattern *p)
{
    bool local[LAYERS];

    for (int l = 0; l < LAYERS && p->list; l++)
        local[l] = p->list[l] == 'w';
    if (p->list)
        gguf_put_array(w, "cohere2.attention.sliding_window_pattern", GGUF_BOOL, local, LAYERS);
    else if (p->number >= 0)
        gguf_put_u32(w, "cohere2.attention.sliding_window_pattern", (uint32_t)p->number);
}

/* The numbers of a small cohere2 file. */
static int read_cohere2(struct hparams *h, const struct pattern *p, struct err *e)
{
    const char *path = tmpfile_path("hparams.gguf");
    const float table[8] = {0};
    struct gguf_out *w;
    struct gguf *g = NULL;
    int rc;

    ck_ok(gguf_create(&w, path, 0, e), e);
    gguf_put_str(w, "general.architecture", SLICE("cohere2"));
    gguf_put_u32(w, "cohere2.block_count", LAYERS);
    gguf_put_u32(w, "cohere2.embedding_length", 4);
    gguf_put_u32(w, "cohere2.context_length", 64);
    gguf_put_u32(w, "cohere2.feed_forward_length", 4);
    gguf_put_u32(w, "cohere2.attention.head_count", 2);
    gguf_put_f32(w, "cohere2.attention.layer_norm_epsilon", 1e-5f);
    gguf_put_f32(w, "cohere2.logit_scale", 1.0f);
    gguf_put_u32(w, "cohere2.attention.sliding_window", 8);
    put_pattern(w, p);
    gguf_put_tensor(w, SLICE("token_embd.weight"), 0, 2, (uint64_t[]){4, 2});
    ck_ok(gguf_begin(w, e), e);
    ck_ok(gguf_data(w, table, sizeof table, e), e);
    ck_ok(gguf_finish(w, e), e);
    ck_ok(gguf_open(&g, path, 0, e), e);
    rc = hparams_read(h, g, arch_find(SLICE("cohere2"), e), e);
    gguf_close(g);
    unlink(path);
    return rc;
}

START_TEST(window_patterns)
{
    static const struct pattern cases[] = {
        {NULL, -1, "wwwawwwa"}, // the architecture's own
        {NULL, 3, "wwawwaww"},
        {NULL, 2, "wawawawa"},
        {NULL, 1, "aaaaaaaa"},
        {NULL, 0, "wwwwwwww"},
        {"wwwwwaww", 0, "wwwwwaww"},
        {"wwwwwwww", 0, "wwwwwwww"},
        {"aaaaaaaa", 0, "aaaaaaaa"},
    };
    struct hparams *h = mem_new(sizeof *h, NULL);
    struct err e = {0};
    char got[LAYERS + 1] = "";

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ck_ok(read_cohere2(h, &cases[i], &e), &e);
        for (int l = 0; l < LAYERS; l++)
            got[l] = hparams_local(h, l) ? 'w' : 'a';
        ck_assert_msg(strcmp(got, cases[i].want) == 0, "case %zu: %s, not %s", i, got,
                      cases[i].want);
    }
    mem_free(h);
}
END_TEST

START_TEST(patterns_refused)
{
    const struct pattern odd = {"wwawwwaw", 0, NULL}, large = {NULL, 1000000, NULL};
    struct hparams *h = mem_new(sizeof *h, NULL);
    struct err e = {0}, other = {0};

    ck_fails(read_cohere2(h, &odd, &e), &e, E_UNSUPPORTED, "does not repeat itself");
    ck_fails(read_cohere2(h, &large, &other), &other, E_RANGE, "is 1000000");
    mem_free(h);
}
END_TEST

TEST_MAIN("model/hparams", window_patterns, patterns_refused)
