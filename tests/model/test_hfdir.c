/* test_hfdir.c - every architecture as a Hugging Face directory: weights of the goldens are moved
 * back to where the original has them, must have its CRCs there, and the directory must give its
 * logits
 * (scripts/ref-arch.py).
 */
#include "tests/model/arch_cases.h"
#include "tests/model/runner.h"

#include <jansson.h>
#include <math.h>
#include <sys/stat.h>

#include "file/safetensors.h"
#include "model/config.h"
#include "model/hf_export.h"
#include "model/hf_names.h"
#include "model/hf_place.h"
#include "model/hfdir.h"
#include "model/vocab.h"
#include "quant/half.h"

enum { N = 40 };

static uint32_t crc32(const uint8_t *p, size_t n)
{
    uint32_t c = UINT32_MAX;

    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
    }
    return ~c;
}

/* A tensor of the directory being made. */
struct hf_tensor {
    const char *name;
    float *v;
    uint64_t n, filled;
};

struct made_dir {
    json_t *root;
    struct hf_tensor *t; // [n_t] in the order of the JSON
    size_t n_t;
};

static float back(int transform, float v)
{
    return transform == TR_ADD_ONE ? v - 1.0f : transform == TR_NEG_EXP ? logf(-v) : v;
}

/* The tensor that row r of matrix m came from. */
static struct hf_tensor *origin(struct made_dir *d, const struct weight_spec *s,
                                const char *pattern, int64_t m, int64_t r)
{
    char name[HF_MAX_NAME], full[HF_MAX_NAME];

    ck_assert(hf_spell(name, pattern, s->layer, s->row->transform == TR_EACH_ROW ? r : m));
    for (int k = 0; k < HF_N_NAMES; k++)
        for (size_t i = 0; hf_name(full, name, k) && i < d->n_t; i++)
            if (strcmp(d->t[i].name, full) == 0)
                return &d->t[i];
    ck_abort_msg("there is no '%s' for '%s'", name, s->name);
    return NULL;
}

/* Puts the numbers of one GGUF tensor where they came from. */
static void scatter(struct made_dir *d, const struct weight_spec *s, const char *pattern,
                    const struct hparams *h, const float *from)
{
    bool apart = strstr(pattern, "%e") != NULL, vec = hf_rearranged(s);

    for (int64_t m = 0; m < s->n; m++) {
        for (int64_t r = 0; r < (vec ? s->cols : s->rows); r++) {
            struct hf_run run = hf_place(s, h, apart, m, r);
            struct hf_tensor *t = origin(d, s, pattern, m, r);

            for (int64_t c = 0; c < (vec ? 1 : s->cols); c++, t->filled++) {
                uint64_t at = run.base + (uint64_t)c * run.stride;

                if (at >= t->n)
                    ck_abort_msg("%s: number %llu", t->name, (unsigned long long)at);
                t->v[at] = back(s->row->transform, *from++);
            }
        }
    }
}

static void read_json(struct made_dir *d, const char *name)
{
    char path[128];
    const char *key;
    json_t *v;
    size_t i = 0;

    snprintf(path, sizeof path, "tests/golden/arch/%s.hf.json", name);
    d->root = json_load_file(srcfile(path), 0, NULL);
    ck_assert_msg(d->root != NULL, "%s", path);
    d->n_t = json_object_size(json_object_get(d->root, "tensors"));
    d->t = mem_array(d->n_t, sizeof *d->t, NULL);
    json_object_foreach(json_object_get(d->root, "tensors"), key, v)
    {
        json_t *shape = json_array_get(v, 1);

        d->t[i].name = key;
        d->t[i].n = 1;
        for (size_t k = 0; k < json_array_size(shape); k++)
            d->t[i].n *= (uint64_t)json_integer_value(json_array_get(shape, k));
        d->t[i].v = mem_array(d->t[i].n, sizeof(float), NULL);
        i++;
    }
}

static void fill(struct made_dir *d, const char *name)
{
    struct weight_spec *spec;
    struct err e = {0};
    struct hparams h;
    struct slice arch;
    struct gguf *g;
    char path[128];
    int n;

    snprintf(path, sizeof path, "tests/golden/arch/%s.gguf", name);
    ck_ok(gguf_open(&g, srcfile(path), 0, &e), &e);
    ck_assert_int_eq(gguf_get_str(g, "general.architecture", &arch, &e), 1);
    const struct arch *a = arch_find(arch, &e);
    ck_ok(hparams_read(&h, g, a, &e), &e);
    ck_ok(weights_list(&spec, &n, a, &h, &e), &e);
    for (int i = 0; i < n; i++) {
        const struct gguf_tensor *t = gguf_tensor(g, spec[i].name);

        const char *from = spec[i].row->hf;

        if (spec[i].row->when == WHEN_FIRST && spec[i].row->flags & WR_OPT)
            continue;                          /* a copy that RWKV files have */
        if (strstr(spec[i].name, "attn_kv_b")) /* older files have what is now cut in two */
            from = "model.layers.%d.self_attn.kv_b_proj.weight";
        if (t && from)
            scatter(d, &spec[i], from, &h, (const float *)(const void *)t->p);
    }
    mem_free(spec);
    gguf_close(g);
}

/* Every number has come from somewhere, and is the one the original has there. */
static void check_contents(const struct made_dir *d, const char *name)
{
    for (size_t i = 0; i < d->n_t; i++) {
        const struct hf_tensor *t = &d->t[i];
        json_t *v = json_object_get(json_object_get(d->root, "tensors"), t->name),
               *crc = json_array_get(v, 2);

        ck_assert_msg(t->filled == t->n, "%s: %s: %llu of %llu numbers", name, t->name,
                      (unsigned long long)t->filled, (unsigned long long)t->n);
        if (json_is_integer(crc))
            ck_assert_msg(crc32((const uint8_t *)t->v, t->n * sizeof *t->v) ==
                              (uint32_t)json_integer_value(crc),
                          "%s: %s: other numbers", name, t->name);
    }
}

/* rope_parameters as files had them before: rope_theta, rope_scaling, and the local base apart. */
static void make_old(json_t *config)
{
    json_t *rope = json_incref(json_object_get(config, "rope_parameters")), *local, *v;
    static const char *const alone[] = {"rope_theta", "partial_rotary_factor"};
    const char *type;

    if (!rope)
        return;
    json_object_del(config, "rope_parameters");
    local = json_object_get(rope, "sliding_attention");
    if (local)
        json_object_set(config, "rope_local_base_freq", json_object_get(local, "rope_theta"));
    if ((v = json_object_get(rope, "full_attention")))
        json_incref(v), json_decref(rope), rope = v;
    for (size_t i = 0; i < ARRAY_LEN(alone); i++)
        if ((v = json_object_get(rope, alone[i]))) {
            json_object_set(config, alone[i], v);
            json_object_del(rope, alone[i]);
        }
    type = json_string_value(json_object_get(rope, "rope_type"));
    if (type && strcmp(type, "default") != 0) {
        json_object_set_new(rope, "type", json_string(type));
        json_object_del(rope, "rope_type");
        json_object_set(config, "rope_scaling", rope);
    } else {
        json_object_set_new(config, "rope_scaling", json_null());
    }
    json_decref(rope);
}

static void write_dir(const struct made_dir *d, const char *dir)
{
    char path[600];
    struct st_out *w;
    struct err e = {0};

    ck_assert_int_eq(mkdir(dir, 0777), 0);
    snprintf(path, sizeof path, "%s/config.json", dir);
    ck_assert_int_eq(json_dump_file(json_object_get(d->root, "config"), path, 0), 0);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    ck_ok(st_create(&w, path, &e), &e);
    for (size_t i = 0; i < d->n_t; i++) {
        json_t *shape =
            json_array_get(json_object_get(json_object_get(d->root, "tensors"), d->t[i].name), 1);
        uint64_t ne[4];

        for (size_t k = 0; k < json_array_size(shape); k++)
            ne[k] = (uint64_t)json_integer_value(json_array_get(shape, k));
        st_put_tensor(w, slice_of(d->t[i].name), ST_F32, (uint32_t)json_array_size(shape), ne);
    }
    ck_ok(st_begin(w, &e), &e);
    for (size_t i = 0; i < d->n_t; i++)
        ck_ok(st_data(w, d->t[i].v, d->t[i].n * sizeof(float), &e), &e);
    ck_ok(st_finish(w, &e), &e);
}

static void remove_dir(const char *dir)
{
    char path[600];

    snprintf(path, sizeof path, "%s/config.json", dir);
    remove(path);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    remove(path);
    rmdir(dir);
}

static void check_logits(const char *name, const char *dir)
{
    struct model_opts o = MODEL_OPTS;
    int32_t ids[N];
    struct runner r;
    char path[128];
    float *got, *want, diff = 0, most = 0;
    FILE *f;

    o.device = "cpu:1";
    o.n_ctx = 64;
    runner_open(&r, dir, &o);
    size_t n = (size_t)N * (size_t)runner_cols(&r);
    got = mem_array(n, sizeof *got, NULL);
    want = mem_array(n, sizeof *want, NULL);
    for (int i = 0; i < N; i++)
        ids[i] = (i * 37 + 11) % r.m->h.n_vocab;
    runner_list(&r, ids, N, N, false, got);
    ck_assert_int_eq(r.m->n_unknown, 0);
    runner_close(&r);
    snprintf(path, sizeof path, "tests/golden/arch/%s.logits", name);
    f = fopen(srcfile(path), "rb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fread(want, sizeof *want, n, f), n);
    fclose(f);
    for (size_t i = 0; i < n; i++) {
        float a = fabsf(got[i] - want[i]);

        diff = a > diff || isnan(a) ? a : diff;
        most = fmaxf(most, fabsf(want[i]));
    }
    ck_assert_msg(diff <= 1e-4f * most, "%s: off by %g of %g", name, (double)diff, (double)most);
    mem_free(got);
    mem_free(want);
}

static void remove_export(const char *dir)
{
    static const char *const names[] = {"tokenizer.model",
                                        "tokenizer.json",
                                        "vocab.txt",
                                        "tokenizer_config.json",
                                        "config.json",
                                        "model.safetensors",
                                        "generation_config.json",
                                        "chat_template.jinja",
                                        "modules.json",
                                        "1_Pooling/config.json",
                                        "1_Pooling"};
    char path[600];

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        remove(path);
    }
    ck_assert_int_eq(rmdir(dir), 0);
}

/* Numbers that GGUF has plus one, or as -exp, come back rounded; all others as they were. */
static bool same_number(float a, float b, bool rounded)
{
    return memcmp(&a, &b, sizeof a) == 0 || (rounded && fabsf(a - b) <= 3e-7f * (1 + fabsf(b)));
}

/* The GGUF file becomes a directory with the original's tensors, in name, shape and bytes, and the
 * same logits. */
static void check_export(const struct made_dir *d, const char *name)
{
    const struct hf_export_opts keep = {.type = -1};
    const char *dir = tmpfile_path("export");
    struct safetensors *st;
    struct source *s;
    struct err e = {0};
    char path[128];

    snprintf(path, sizeof path, "tests/golden/arch/%s.gguf", name);
    ck_ok(model_source(&s, srcfile(path), 0, &e), &e);
    if (gguf_tensor(s->g, "blk.0.attn_kv_b.weight")) { /* an older file */
        ck_fails(hf_export(s, dir, &keep, &e), &e, E_UNSUPPORTED, "has no place in a directory");
        ck_assert(!file_exists(dir));
        source_close(s);
        return;
    }
    ck_ok(hf_export(s, dir, &keep, &e), &e);
    source_close(s);
    ck_ok(st_open(&st, dir, &e), &e);
    ck_assert_uint_eq(st->n_tensor, d->n_t);
    for (size_t i = 0; i < d->n_t; i++) {
        const struct hf_tensor *want = &d->t[i];
        const struct st_tensor *t = st_find(st, slice_of(want->name));
        json_t *shape =
            json_array_get(json_object_get(json_object_get(d->root, "tensors"), want->name), 1);
        bool rounded = strstr(name, "gemma") || strstr(want->name, "A_log");

        ck_assert_msg(t && t->type == ST_F32 && t->n_dims == json_array_size(shape), "%s: %s", name,
                      want->name);
        for (uint32_t k = 0; k < t->n_dims; k++)
            ck_assert_int_eq(t->shape[k], json_integer_value(json_array_get(shape, k)));
        for (uint64_t k = 0; k < want->n; k++)
            if (!same_number(((const float *)(const void *)t->p)[k], want->v[k], rounded))
                ck_abort_msg("%s: %s: number %llu", name, want->name, (unsigned long long)k);
    }
    st_close(st);
    check_logits(name, dir);
    remove_export(dir);
}

static void check_case(const char *name)
{
    struct made_dir d = {0};
    const char *dir = tmpfile_path("hf");

    read_json(&d, name);
    fill(&d, name);
    check_contents(&d, name);
    for (int old = 0; old < 2; old++) {
        if (old)
            make_old(json_object_get(d.root, "config"));
        write_dir(&d, dir);
        check_logits(name, dir);
        remove_dir(dir);
    }
    check_export(&d, name);
    for (size_t i = 0; i < d.n_t; i++)
        mem_free(d.t[i].v);
    mem_free(d.t);
    json_decref(d.root);
}

/* What a directory's 1_Pooling/config.json makes of the key, or the error's text. */
static int pooling_said(const char *dir, const char *text, struct err *e)
{
    char path[600];
    struct source *s;
    int32_t pool = POOL_UNSAID;
    FILE *f;
    int rc;

    snprintf(path, sizeof path, "%s/1_Pooling", dir);
    ck_assert_int_eq(mkdir(path, 0777), 0);
    snprintf(path, sizeof path, "%s/1_Pooling/config.json", dir);
    f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
    rc = model_source(&s, dir, 0, e);
    if (rc == 0) {
        ck_assert_int_eq(gguf_get_i32(s->g, "bert.pooling_type", &pool, e), 1);
        source_close(s);
    }
    remove(path);
    snprintf(path, sizeof path, "%s/1_Pooling", dir);
    rmdir(path);
    return rc < 0 ? rc - 100 : pool;
}

START_TEST(pooling_of_sentence_transformers)
{
    const char *dir = tmpfile_path("hf");
    struct made_dir d = {0};
    struct err e = {0};

    read_json(&d, "bert");
    fill(&d, "bert");
    write_dir(&d, dir);
    ck_assert_int_eq(pooling_said(dir, "{\"pooling_mode_cls_token\": true}", &e), POOL_CLS);
    ck_assert_int_eq(pooling_said(dir,
                                  "{\"pooling_mode_cls_token\": false,"
                                  " \"pooling_mode_mean_tokens\": true}",
                                  &e),
                     POOL_MEAN);
    ck_assert_int_eq(pooling_said(dir, "{\"pooling_mode\": \"lasttoken\"}", &e), POOL_LAST);
    ck_assert_int_eq(pooling_said(dir, "{\"pooling_mode\": \"max\"}", &e), E_UNSUPPORTED - 100);
    ck_assert_ptr_nonnull(strstr(e.text, "1_Pooling/config.json: neither mean, first nor last"));
    e = (struct err){0};
    ck_assert_int_eq(pooling_said(dir,
                                  "{\"pooling_mode_cls_token\": true,"
                                  " \"pooling_mode_mean_tokens\": true}",
                                  &e),
                     E_UNSUPPORTED - 100);
    remove_dir(dir);
    for (size_t i = 0; i < d.n_t; i++)
        mem_free(d.t[i].v);
    mem_free(d.t);
    json_decref(d.root);
}
END_TEST

START_TEST(json_as_python_writes_it)
{
    static const char text[] =
        "{\"a\": 1000000000000000019884624838656, \"b\": [-1000000000000000019884624838656, 7],"
        " \"c\": 0.1000000000000000055511151231257827, \"d\": 1000000000000000000000000.5,"
        " \"e\": \"1000000000000000019884624838656\", \"f\": Infinity, \"g\": NaN,"
        " \"h\": 123456789012345678, \"i\": 1e30}";
    struct err e = {0};
    json_t *o;

    ck_ok(config_json(&o, "x", SLICE(text), &e), &e);
    ck_assert_int_eq(json_integer_value(json_object_get(o, "a")), 100000000000000001);
    ck_assert_int_eq(json_integer_value(json_array_get(json_object_get(o, "b"), 0)),
                     -100000000000000001);
    ck_assert_int_eq(json_integer_value(json_array_get(json_object_get(o, "b"), 1)), 7);
    ck_assert(json_real_value(json_object_get(o, "c")) == 0.1);
    ck_assert(json_real_value(json_object_get(o, "d")) == 1e24 + 0.5);
    ck_assert_str_eq(json_string_value(json_object_get(o, "e")), "1000000000000000019884624838656");
    ck_assert(json_is_null(json_object_get(o, "f")));
    ck_assert(json_real_value(json_object_get(o, "g")) == 0);
    ck_assert_int_eq(json_integer_value(json_object_get(o, "h")), 123456789012345678);
    ck_assert(json_real_value(json_object_get(o, "i")) == 1e30);
    json_decref(o);
}
END_TEST

/* 8-bit floats with a scale for each block of 16 by 16 become BF16. */
static void write_float8(const char *dir, const json_t *config, const uint8_t *codes,
                         const float *scale)
{
    const uint64_t embd[] = {64, 32}, down[] = {32, 48}, up[] = {48, 32}, q[] = {32, 32},
                   k[] = {16, 32}, one[] = {32}, blocks[] = {2, 3};
    static const struct {
        const char *name;
        int shape;
    } rest[] = {{"self_attn.q_proj", 0}, {"self_attn.o_proj", 0}, {"self_attn.k_proj", 1},
                {"self_attn.v_proj", 1}, {"mlp.gate_proj", 2},    {"mlp.up_proj", 2}};
    const uint64_t *const shapes[] = {q, k, up};
    static const float zero[64 * 48];
    struct st_out *w;
    struct err e = {0};
    char path[600], name[128];

    ck_assert_int_eq(mkdir(dir, 0777), 0);
    snprintf(path, sizeof path, "%s/config.json", dir);
    ck_assert_int_eq(json_dump_file(config, path, 0), 0);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    ck_ok(st_create(&w, path, &e), &e);
    st_put_tensor(w, SLICE("model.layers.0.mlp.down_proj.weight_scale_inv"), ST_F32, 2, blocks);
    st_put_tensor(w, SLICE("model.embed_tokens.weight"), ST_F32, 2, embd);
    st_put_tensor(w, SLICE("model.norm.weight"), ST_F32, 1, one);
    st_put_tensor(w, SLICE("model.layers.0.input_layernorm.weight"), ST_F32, 1, one);
    st_put_tensor(w, SLICE("model.layers.0.post_attention_layernorm.weight"), ST_F32, 1, one);
    for (size_t i = 0; i < ARRAY_LEN(rest); i++) {
        snprintf(name, sizeof name, "model.layers.0.%s.weight", rest[i].name);
        st_put_tensor(w, slice_of(name), ST_F32, 2, shapes[rest[i].shape]);
    }
    st_put_tensor(w, SLICE("model.layers.0.mlp.down_proj.weight"), ST_F8_E4M3, 2, down);
    ck_ok(st_begin(w, &e), &e);
    ck_ok(st_data(w, scale, 6 * sizeof *scale, &e), &e);
    ck_ok(st_data(w, zero, 64 * 32 * 4, &e), &e);
    for (int i = 0; i < 3; i++)
        ck_ok(st_data(w, zero, 32 * 4, &e), &e);
    for (size_t i = 0; i < ARRAY_LEN(rest); i++)
        ck_ok(st_data(w, zero, shapes[rest[i].shape][0] * 32 * 4, &e), &e);
    ck_ok(st_data(w, codes, 32 * 48, &e), &e);
    ck_ok(st_finish(w, &e), &e);
}

START_TEST(eight_bit_floats)
{
    const char *dir = tmpfile_path("f8");
    const float scale[6] = {0.5f, 1.0f, 3.0f, 0.25f, 7.0f, 2.0f};
    uint8_t codes[32 * 48], rows[32 * 48 * 2];
    struct made_dir d = {0};
    struct source *s;
    struct err e = {0};
    uint32_t i = 0;

    read_json(&d, "llama");
    json_t *config = json_object_get(d.root, "config");
    json_object_set_new(config, "num_hidden_layers", json_integer(1));
    for (size_t k = 0; k < sizeof codes; k++)
        codes[k] = (uint8_t)(k * 37 % 0x7f | (k & 0x80));
    write_float8(dir, config, codes, scale);
    ck_ok(model_source(&s, dir, 0, &e), &e);
    while (!slice_is(s->g->tensor[i].name, "blk.0.ffn_down.weight"))
        i++;
    ck_assert_uint_eq(s->g->tensor[i].type, FMT_BF16);
    ck_ok(source_rows(s, i, 0, 32, rows, &e), &e);
    for (size_t k = 0; k < sizeof codes; k++) {
        float v = st_float8(ST_F8_E4M3, codes[k]) * scale[k / 48 / 16 * 3 + k % 48 / 16];
        uint16_t want = f32_to_bf16(v), got = (uint16_t)(rows[2 * k] | rows[2 * k + 1] << 8);

        if (got != want)
            ck_abort_msg("number %zu: %04x, not %04x", k, got, want);
    }
    source_close(s);
    remove_dir(dir);
    for (size_t k = 0; k < d.n_t; k++)
        mem_free(d.t[k].v);
    mem_free(d.t);
    json_decref(d.root);
}
END_TEST

/* What goes around a pair of texts goes into the exported tokenizer.json. */
START_TEST(exported_pairs)
{
    const struct hf_export_opts keep = {.type = -1};
    const char *dir = tmpfile_path("pairs");
    struct source *s;
    struct tok *tok;
    struct tok_ids ids[2] = {{0}, {0}};
    struct buf types[2] = {{0}, {0}};
    struct err e = {0};

    ck_ok(model_source(&s, srcfile("tests/golden/hfdir"), 0, &e), &e);
    ck_ok(vocab_from_gguf(&tok, s->g, &e), &e);
    ck_ok(hf_export(s, dir, &keep, &e), &e);
    source_close(s);
    for (int i = 0; i < 2; i++) {
        ck_ok(tok_encode_pair(tok, SLICE("The King"), SLICE("The lord"), TOK_ADD, &ids[i],
                              &types[i], &e),
              &e);
        tok_free(tok);
        if (i == 0) {
            ck_ok(model_source(&s, dir, 0, &e), &e);
            ck_ok(model_source_vocab(&tok, s, &e), &e);
            source_close(s);
        }
    }
    ck_assert_int_eq(ids[0].id[0], 0); /* <s>, once */
    ck_assert_int_ne(ids[0].id[1], 0);
    ck_assert_uint_eq(ids[0].n, ids[1].n);
    ck_assert_mem_eq(ids[0].id, ids[1].id, ids[0].n * sizeof *ids[0].id);
    ck_assert(slice_eq(buf_view(&types[0]), buf_view(&types[1])));
    for (int i = 0; i < 2; i++) {
        tok_ids_fini(&ids[i]);
        buf_fini(&types[i]);
    }
    remove_export(dir);
}
END_TEST

ARCH_CASES(ARCH_TEST)

int main(int argc, char **argv)
{
    const TTest *const all[] = {ARCH_CASES(ARCH_ITEM) eight_bit_floats,
                                pooling_of_sentence_transformers, json_as_python_writes_it,
                                exported_pairs};

    return suite_main("model/hfdir", all, (int)ARRAY_LEN(all), argc, argv);
}
