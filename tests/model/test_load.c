/* test_load.c - opening a model: what is refused and how it is said, what is filled in, and that no
 * damaged file does worse than fail. */
#include "tests/suite.h"

#include "base/mem.h"
#include "base/rng.h"
#include "model/blocks.h"
#include "model/model.h"
#include "quant/quant.h"

#define LLAMA "tests/golden/arch/llama.gguf"

/* What to change when a file is written again. */
struct edit {
    const char *drop_key, *drop_tensor;
    const char *arch;    // another general.architecture
    const char *u32_key; // another value of a key
    uint32_t u32;
    const char *turn;       // a tensor whose dimensions are exchanged
    const char *to_f16;     // a tensor that becomes F16
    const char *add_tensor; // one more, four numbers
};

static uint64_t put_declared(struct gguf_out *w, const struct gguf_tensor *t, const struct edit *d)
{
    uint64_t ne[GGUF_MAX_DIMS];
    bool half = d->to_f16 && slice_is(t->name, d->to_f16);

    memcpy(ne, t->ne, sizeof ne);
    if (d->turn && slice_is(t->name, d->turn)) {
        ne[0] = t->ne[1];
        ne[1] = t->ne[0];
    }
    gguf_put_tensor(w, t->name, half ? FMT_F16 : t->type, t->n_dims, ne);
    return half;
}

static int put_data(struct gguf_out *w, const struct gguf_tensor *t, bool half, struct err *e)
{
    uint64_t n = t->bytes / 4;
    uint8_t *p;
    int rc;

    if (!half)
        return gguf_data(w, t->p, t->bytes, e);
    p = mem_new(n * 2, e);
    fmt_find(FMT_F16)->encode((const float *)(const void *)t->p, p, n);
    rc = gguf_data(w, p, n * 2, e);
    mem_free(p);
    return rc;
}

/* Writes a golden file again with a change; returns its path. */
static const char *edited(const char *from, const struct edit *d)
{
    static const float four[4] = {1, 2, 3, 4};
    static const uint64_t ne[4] = {4, 1, 1, 1};
    const char *path = tmpfile_path("edited.gguf");
    struct gguf_out *w;
    struct gguf *g;
    struct err e = {0};

    ck_ok(gguf_open(&g, srcfile(from), 0, &e), &e);
    ck_ok(gguf_create(&w, path, 0, &e), &e);
    for (uint32_t i = 0; i < g->n_key; i++)
        if (!d->drop_key || !slice_is(g->key[i].name, d->drop_key))
            gguf_put_key(w, &g->key[i]);
    if (d->arch)
        gguf_put_str(w, "general.architecture", slice_of(d->arch));
    if (d->u32_key)
        gguf_put_u32(w, d->u32_key, d->u32);
    for (uint32_t i = 0; i < g->n_tensor; i++)
        if (!d->drop_tensor || !slice_is(g->tensor[i].name, d->drop_tensor))
            put_declared(w, &g->tensor[i], d);
    if (d->add_tensor)
        gguf_put_tensor(w, slice_of(d->add_tensor), FMT_F32, 1, ne);
    ck_ok(gguf_begin(w, &e), &e);
    for (uint32_t i = 0; i < g->n_tensor; i++)
        if (!d->drop_tensor || !slice_is(g->tensor[i].name, d->drop_tensor))
            ck_ok(
                put_data(w, &g->tensor[i], d->to_f16 && slice_is(g->tensor[i].name, d->to_f16), &e),
                &e);
    if (d->add_tensor)
        ck_ok(gguf_data(w, four, sizeof four, &e), &e);
    ck_ok(gguf_finish(w, &e), &e);
    gguf_close(g);
    return path;
}

static void refuses(struct edit d, int code, const char *part)
{
    const char *path = edited(LLAMA, &d);
    struct model_opts o = MODEL_OPTS;
    struct err e = {0};
    struct model *m;

    o.device = "cpu:1";
    ck_fails(model_open(&m, path, &o, &e), &e, code, part);
    ck_assert_ptr_null(m);
    ck_assert_msg(strncmp(e.text, path, strlen(path)) == 0, "'%s' does not name the file", e.text);
    unlink(path);
}

static struct model *opens(struct edit d, struct model_opts o)
{
    const char *path = edited(LLAMA, &d);
    struct err e = {0};
    struct model *m;

    o.device = "cpu:1";
    ck_ok(model_open(&m, path, &o, &e), &e);
    unlink(path);
    return m;
}

START_TEST(names_what_is_wrong)
{
    refuses((struct edit){.drop_key = "general.architecture"}, E_FORMAT,
            "key 'general.architecture' is missing");
    refuses((struct edit){.drop_key = "llama.block_count"}, E_FORMAT,
            "key 'llama.block_count' is missing");
    refuses((struct edit){.u32_key = "llama.block_count", .u32 = 100000}, E_RANGE,
            "key 'llama.block_count' is 100000, expected 1 to 512");
    refuses((struct edit){.u32_key = "llama.attention.head_count", .u32 = 3}, E_FORMAT,
            "3 heads over 2 key/value heads");
    refuses((struct edit){.drop_tensor = "blk.1.ffn_up.weight"}, E_FORMAT,
            "tensor 'blk.1.ffn_up.weight' is missing");
    refuses((struct edit){.drop_tensor = "token_embd.weight"}, E_FORMAT,
            "tensor 'token_embd.weight' is missing");
    refuses((struct edit){.turn = "blk.0.ffn_up.weight"}, E_FORMAT,
            "tensor 'blk.0.ffn_up.weight' is 32 x 48, expected 48 x 32");
    refuses((struct edit){.u32_key = "llama.expert_count", .u32 = 4}, E_FORMAT, "of 4 experts");
}
END_TEST

START_TEST(names_the_nearest_architecture)
{
    refuses((struct edit){.arch = "qwen33"}, E_UNSUPPORTED,
            "architecture 'qwen33' is not supported (the nearest is 'qwen3'); there are: bert cohere2");
    refuses((struct edit){.arch = "xyz\x1b[0m"}, E_UNSUPPORTED,
            "architecture 'xyz\\x1b[0m' is not supported; there are:");
}
END_TEST

START_TEST(fills_in_what_follows)
{
    struct model *m = opens((struct edit){0}, (struct model_opts)MODEL_OPTS);

    ck_assert_str_eq(m->arch->name, "llama");
    ck_assert_int_eq(m->n_unknown, 0);
    ck_assert_int_eq(m->h.dk, 8);
    ck_assert_int_eq(m->h.n_rot, 8);
    ck_assert_int_eq(m->h.n_head_kv[1], 2);
    ck_assert_int_eq(m->h.n_vocab, 64);
    ck_assert_int_eq(m->n_ctx, m->h.n_ctx_train);
    ck_assert_int_eq(m->plan->kv_type_k, FMT_F32); /* all matrices are */
    ck_assert_uint_eq(m->weight_bytes, m->n_param * 4);
    model_close(m);
}
END_TEST

START_TEST(a_half_matrix_makes_half_keys)
{
    struct model_opts o = MODEL_OPTS;
    struct model *m = opens((struct edit){.to_f16 = "blk.0.ffn_up.weight"}, o);

    ck_assert_int_eq(m->plan->kv_type_k, FMT_F16);
    model_close(m);
    o.kv_type[0] = o.kv_type[1] = FMT_F32;
    o.n_ctx = 100;
    m = opens((struct edit){.to_f16 = "blk.0.ffn_up.weight"}, o);
    ck_assert_int_eq(m->plan->kv_type_k, FMT_F32);
    ck_assert_int_eq(m->plan->n_ctx, 100);
    model_close(m);
}
END_TEST

START_TEST(half_vectors_are_converted)
{
    struct model *m =
        opens((struct edit){.to_f16 = "blk.0.attn_norm.weight"}, (struct model_opts)MODEL_OPTS);
    int found = 0;

    for (int i = 0; i < m->n_w; i++)
        if (strcmp(m->w[i].name, "blk.0.attn_norm.weight") == 0) {
            found++;
            ck_assert_int_eq(m->w[i].fmt, FMT_F32);
        }
    ck_assert_int_eq(found, 1);
    model_close(m);
}
END_TEST

START_TEST(unknown_tensors_are_counted)
{
    struct model *m =
        opens((struct edit){.add_tensor = "blk.0.surprise.weight"}, (struct model_opts)MODEL_OPTS);

    ck_assert_int_eq(m->n_unknown, 1);
    ck_assert(slice_is(m->unknown->name, "blk.0.surprise.weight"));
    model_close(m);
}
END_TEST

START_TEST(vocabulary_only)
{
    struct model_opts o = MODEL_OPTS;
    struct model *m;

    o.vocab_only = true;
    m = opens((struct edit){.arch = "xyz"}, o);
    ck_assert_ptr_null(m->plan);
    ck_assert_uint_eq(tok_count(m->tok), 64);
    model_close(m);
}
END_TEST

START_TEST(positions_end_with_their_table)
{
    struct model_opts o = MODEL_OPTS;
    struct err e = {0};
    struct model *m;

    o.device = "cpu:1";
    o.n_ctx = 65;
    ck_fails(model_open(&m, srcfile("tests/golden/arch/gpt2.gguf"), &o, &e), &e, E_RANGE,
             "tensor 'position_embd.weight' has 64 positions, the context is 65");
}
END_TEST

START_TEST(every_allocation_may_fail)
{
    struct model_opts o = MODEL_OPTS;
    struct model *m;
    int n = 0;

    o.device = "cpu:1";
    for (;; n++) {
        struct err e = {0};
        mem_fail_after(n);
        int rc = model_open(&m, srcfile("tests/golden/arch/deepseek2-old.gguf"), &o, &e);
        bool hit = mem_fail_hit();
        mem_fail_after(-1);
        if (rc == 0) {
            model_close(m);
            if (!hit)
                break;
        } else {
            ck_assert_msg(rc == E_NOMEM, "allocation %d: %d %s", n, rc, e.text);
        }
        ck_assert_int_lt(n, 2000);
    }
    ck_assert_int_gt(n, 20);
}
END_TEST

/* Which layers have a window, when the file says so per layer. */
static int patterned(const uint8_t *local, int n, struct model **m, struct err *e)
{
    const char *path = tmpfile_path("pattern.gguf");
    struct model_opts o = MODEL_OPTS;
    struct gguf_out *w;
    struct gguf *g;
    int rc;

    ck_ok(gguf_open(&g, srcfile("tests/golden/arch/gemma3.gguf"), 0, e), e);
    ck_ok(gguf_create(&w, path, 0, e), e);
    for (uint32_t i = 0; i < g->n_key; i++)
        gguf_put_key(w, &g->key[i]);
    gguf_put_array(w, "gemma3.attention.sliding_window_pattern", GGUF_BOOL, local, (uint64_t)n);
    for (uint32_t i = 0; i < g->n_tensor; i++)
        gguf_put_tensor(w, g->tensor[i].name, g->tensor[i].type, g->tensor[i].n_dims,
                        g->tensor[i].ne);
    ck_ok(gguf_begin(w, e), e);
    for (uint32_t i = 0; i < g->n_tensor; i++)
        ck_ok(gguf_data(w, g->tensor[i].p, g->tensor[i].bytes, e), e);
    ck_ok(gguf_finish(w, e), e);
    gguf_close(g);
    o.device = "cpu:1";
    rc = model_open(m, path, &o, e);
    unlink(path);
    return rc;
}

START_TEST(windows_layer_by_layer)
{
    static const uint8_t every_third[6] = {1, 1, 0, 1, 1, 0}, none[6] = {0},
                         all[6] = {1, 1, 1, 1, 1, 1}, odd[6] = {1, 0, 0, 1, 1, 0};
    struct err e = {0};
    struct model *m;
    int layers;

    ck_ok(patterned(every_third, 6, &m, &e), &e);
    layers = m->h.n_layer;
    ck_assert_int_ge(layers, 3);
    ck_assert_int_eq(m->h.window_every, 3);
    for (int l = 0; l < layers; l++)
        ck_assert_int_eq(hparams_local(&m->h, l), l % 3 < 2);
    model_close(m);
    ck_ok(patterned(none, 6, &m, &e), &e);
    ck_assert(!hparams_local(&m->h, 0) && !hparams_local(&m->h, 1));
    model_close(m);
    ck_ok(patterned(all, 6, &m, &e), &e);
    for (int l = 0; l < layers; l++)
        ck_assert(hparams_local(&m->h, l));
    model_close(m);
    ck_fails(patterned(odd, 6, &m, &e), &e, E_UNSUPPORTED, "does not repeat itself");
    memset(&e, 0, sizeof e);
    ck_fails(patterned(none, 1, &m, &e), &e, E_FORMAT, "sliding_window_pattern");
}
END_TEST

/* -- damaged files -- */

static const char *const files[] = {"llama",   "deepseek2",      "deepseek2-old", "granitehybrid",
                                    "gpt-oss", "rwkv7",          "gemma3",        "phi3-long",
                                    "mixtral", "command-r-norms"};

/* Opens the bytes; whatever comes of it, it must come back. */
static int try_bytes(const uint8_t *p, size_t n)
{
    struct model_opts o = MODEL_OPTS;
    struct err e = {0};
    struct model *m;
    int rc;

    o.device = "cpu:1";
    rc = model_open_mem(&m, "x", p, n, &o, &e);
    ck_assert(rc <= 0);
    ck_assert(rc == 0 || (e.code == rc && e.text[0]));
    model_close(m);
    return rc;
}

START_TEST(damaged_bytes_only_fail)
{
    int rounds = getenv("LONG") && *getenv("LONG") ? 4000 : 60, fine = 0, total = 0;
    struct rng r = {.seed = 11};

    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char name[128];
        struct file_view v;
        struct err e = {0};
        snprintf(name, sizeof name, "tests/golden/arch/%s.gguf", files[i]);
        ck_ok(file_read(&v, srcfile(name), 0, &e), &e);
        uint8_t *copy = mem_dup(v.p, v.n, NULL);
        size_t head = v.n < 8192 ? v.n : 8192; /* keys and tensor descriptions */
        for (int k = 0; k < rounds; k++, total++) {
            int changes = 1 + (int)(rng_next(&r) % 3);
            memcpy(copy, v.p, v.n);
            for (int c = 0; c < changes; c++)
                copy[24 + rng_next(&r) % (head - 24)] = (uint8_t)rng_next(&r);
            fine += try_bytes(copy, v.n) == 0;
        }
        mem_free(copy);
        file_unmap(&v);
    }
    ck_assert_int_gt(fine, 0); /* a changed token is no damage */
    ck_assert_int_lt(fine, total);
}
END_TEST

/* Every integer key of a file with values that tend to break things. */
START_TEST(strange_numbers_only_fail)
{
    static const uint32_t values[] = {0, 1, 3, 7, 255, 4096, 1048576, 0x7fffffff, 0xffffffff};

    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char name[128];
        struct gguf *g;
        struct err e = {0};
        struct file_view v;
        snprintf(name, sizeof name, "tests/golden/arch/%s.gguf", files[i]);
        ck_ok(file_read(&v, srcfile(name), 0, &e), &e);
        uint8_t *copy = mem_dup(v.p, v.n, NULL);
        ck_ok(gguf_open_mem(&g, name, copy, v.n, &e), &e);
        for (uint32_t k = 0; k < g->n_key; k++) {
            if (g->key[k].type != GGUF_U32 && g->key[k].type != GGUF_F32)
                continue;
            uint8_t *at = copy + ((const uint8_t *)g->key[k].raw.p - copy);
            for (size_t x = 0; x < ARRAY_LEN(values); x++) {
                memcpy(at, &values[x], 4);
                try_bytes(copy, v.n);
            }
            memcpy(at, v.p + (at - copy), 4);
        }
        gguf_close(g);
        mem_free(copy);
        file_unmap(&v);
    }
}
END_TEST

/* -- tables -- */

START_TEST(every_architecture_has_whole_tables)
{
    for (int i = 0; arch_at(i); i++) {
        const struct arch *a = arch_at(i);
        struct err e = {0};
        ck_assert_ptr_eq(arch_find(slice_of(a->name), &e), a);
        ck_assert_ptr_nonnull(a->build);
        ck_assert_msg(a->hf && a->hf[0], "%s: no Hugging Face name", a->name);
        for (const char *const *p = a->hf; *p; p++)
            ck_assert_ptr_eq(arch_by_hf(slice_of(*p)), a);
        for (const struct key_row *k = a->keys; k->key; k++)
            ck_assert_msg(k->min <= k->max, "%s: %s", a->name, k->key);
        ck_assert_str_eq(a->weights[0].name, "token_embd.weight");
        for (const struct weight_row *w = a->weights; w->name; w++)
            for (const struct weight_row *o = w + 1; o->name; o++)
                ck_assert_msg(strcmp(w->name, o->name) != 0 || w->when != o->when, "%s: %s twice",
                              a->name, w->name);
    }
}
END_TEST

TEST_MAIN("model/load", names_what_is_wrong, names_the_nearest_architecture, fills_in_what_follows,
          a_half_matrix_makes_half_keys, half_vectors_are_converted, unknown_tensors_are_counted,
          vocabulary_only, positions_end_with_their_table, every_allocation_may_fail,
          windows_layer_by_layer, damaged_bytes_only_fail, strange_numbers_only_fail,
          every_architecture_has_whole_tables)
