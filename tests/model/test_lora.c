/* test_lora.c - adapters: of every architecture a PEFT directory with random A and B for each
 * matrix of the original must give, row by row, the product B A where the GGUF tensor has it; and
 * the same again through a GGUF adapter. Then what is refused.
 */
#include "tests/model/arch_cases.h"
#include "tests/suite.h"

#include <jansson.h>
#include <math.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/mem.h"
#include "file/gguf.h"
#include "file/safetensors.h"
#include "model/hf_names.h"
#include "model/hf_place.h"
#include "model/lora.h"
#include "quant/fmt.h"

enum { RANK = 3, MAX_MODULES = 512 };

/* A matrix of the original, [rows x cols] as the file has it, with its A and B. */
struct module {
    char name[HF_MAX_NAME];
    uint64_t rows, cols;
    float *a, *b, *delta;
};

struct made {
    struct gguf *g;
    const struct arch *arch;
    struct hparams h;
    struct weight_spec *spec;
    int n_spec;
    struct module module[MAX_MODULES];
    int n_module;
};

static float next_number(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(int32_t)(*seed >> 8 & 0xff) / 64 - 2;
}

static bool is_embedding(const char *name)
{
    return strstr(name, "embed_tokens") || strstr(name, "embed_in") || strstr(name, "wte") ||
           strstr(name, "embeddings");
}

static bool transposed(const char *name, const struct made *m)
{
    return is_embedding(name) || slice_is(slice_of(m->arch->name), "gpt2");
}

/* The matrix under its name, or NULL when nothing is trained there. */
static struct module *find_module(struct made *m, const char *name)
{
    for (int i = 0; i < m->n_module; i++)
        if (strcmp(m->module[i].name, name) == 0)
            return &m->module[i];
    return NULL;
}

static bool can_adapt(const struct weight_spec *s)
{
    int tr = s->row->transform;
    bool apart = s->row->hf && strstr(s->row->hf, "%e");

    return s->row->hf && s->rows > 1 && !(s->row->flags & WR_F32) &&
           strcmp(s->name, "position_embd.weight") != 0 &&
           strcmp(s->name, "token_types.weight") != 0 &&
           (s->n == 1 || apart || tr == TR_SPLIT_K || tr == TR_SPLIT_V);
}

/* W_hf += B A; an embedding, and a Conv1D, lie transposed. */
static void fill_module(struct module *x, bool turned, uint32_t *seed)
{
    uint64_t out = turned ? x->cols : x->rows, in = turned ? x->rows : x->cols;

    x->a = mem_array(RANK * in, sizeof(float), NULL);
    x->b = mem_array(RANK * out, sizeof(float), NULL);
    x->delta = mem_array(in * out, sizeof(float), NULL);
    for (uint64_t i = 0; i < RANK * in; i++)
        x->a[i] = next_number(seed);
    for (uint64_t i = 0; i < RANK * out; i++)
        x->b[i] = next_number(seed);
    for (uint64_t o = 0; o < out; o++)
        for (uint64_t i = 0; i < in; i++)
            for (uint64_t k = 0; k < RANK; k++)
                x->delta[turned ? i * x->cols + o : o * x->cols + i] +=
                    x->b[o * RANK + k] * x->a[k * in + i];
}

static void make_modules(struct made *m, const json_t *tensors)
{
    uint32_t seed = 1;

    for (int i = 0; i < m->n_spec; i++) {
        const struct weight_spec *s = &m->spec[i];
        bool apart = can_adapt(s) && strstr(s->row->hf, "%e");

        for (int64_t k = 0; can_adapt(s) && k < (apart ? s->n : 1); k++) {
            struct module *x = &m->module[m->n_module];
            const json_t *shape;
            char full[HF_MAX_NAME];

            if (apart && k == 1 && s->layer == 1) /* an expert that is left alone */
                continue;
            ck_assert(hf_spell(x->name, s->row->hf, s->layer, k));
            shape = NULL;
            for (int i = 0; i < HF_N_NAMES && !shape; i++)
                if (hf_name(full, x->name, i))
                    shape = json_array_get(json_object_get(tensors, full), 1);
            if (!shape || find_module(m, x->name))
                continue;
            ck_assert_uint_eq(json_array_size(shape), 2);
            x->rows = (uint64_t)json_integer_value(json_array_get(shape, 0));
            x->cols = (uint64_t)json_integer_value(json_array_get(shape, 1));
            fill_module(x, transposed(x->name, m), &seed);
            ck_assert_int_lt(++m->n_module, MAX_MODULES);
        }
    }
    ck_assert_int_gt(m->n_module, 3);
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[600];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

static void write_peft(const struct made *m, const char *dir, const char *config)
{
    char path[600], name[HF_MAX_NAME + 64];
    struct st_out *w;
    struct err e = {0};

    ck_assert_int_eq(mkdir(dir, 0777), 0);
    write_file(dir, "adapter_config.json", config);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
    ck_ok(st_create(&w, path, &e), &e);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < m->n_module; i++) {
            const struct module *x = &m->module[i];
            bool turned = transposed(x->name, m), table = is_embedding(x->name);
            uint64_t a[2] = {RANK, turned ? x->rows : x->cols};
            uint64_t b[2] = {turned ? x->cols : x->rows, RANK};
            int stem = (int)strlen(x->name) - (strstr(x->name, ".weight") ? 7 : 0);

            if (pass == 0) {
                snprintf(name, sizeof name, "base_model.model.%.*s.%s", stem, x->name,
                         table ? "lora_embedding_A" : "lora_A.weight");
                st_put_tensor(w, slice_of(name), ST_F32, 2, a);
                snprintf(name, sizeof name, "base_model.model.%.*s.%s", stem, x->name,
                         table ? "lora_embedding_B" : "lora_B.weight");
                st_put_tensor(w, slice_of(name), ST_F32, 2, b);
            } else {
                ck_ok(st_data(w, x->a, a[1] * RANK * sizeof(float), &e), &e);
                ck_ok(st_data(w, x->b, b[0] * RANK * sizeof(float), &e), &e);
            }
        }
        if (pass == 0)
            ck_ok(st_begin(w, &e), &e);
    }
    ck_ok(st_finish(w, &e), &e);
}

static void remove_peft(const char *dir)
{
    static const char *const names[] = {"adapter_config.json", "adapter_model.safetensors"};
    char path[600];

    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        remove(path);
    }
    rmdir(dir);
}

static void made_open(struct made *m, const char *name)
{
    struct err e = {0};
    struct slice arch;
    char path[128];
    json_t *root;

    memset(m, 0, sizeof *m);
    snprintf(path, sizeof path, "tests/golden/arch/%s.gguf", name);
    ck_ok(gguf_open(&m->g, srcfile(path), 0, &e), &e);
    ck_assert_int_eq(gguf_get_str(m->g, "general.architecture", &arch, &e), 1);
    m->arch = arch_find(arch, &e);
    ck_ok(hparams_read(&m->h, m->g, m->arch, &e), &e);
    ck_ok(weights_list(&m->spec, &m->n_spec, m->arch, &m->h, &e), &e);
    snprintf(path, sizeof path, "tests/golden/arch/%s.hf.json", name);
    root = json_load_file(srcfile(path), 0, NULL);
    ck_assert_msg(root != NULL, "%s", path);
    make_modules(m, json_object_get(root, "tensors"));
    json_decref(root);
}

static void made_close(struct made *m)
{
    for (int i = 0; i < m->n_module; i++) {
        mem_free(m->module[i].a);
        mem_free(m->module[i].b);
        mem_free(m->module[i].delta);
    }
    mem_free(m->spec);
    gguf_close(m->g);
}

/* Every row of every pair against the delta of the original, through hf_place number by number. */
static void check_pairs(struct made *m, const struct lora *l, float scale, const char *what)
{
    uint32_t seen = 0;

    for (int i = 0; i < m->n_spec; i++) {
        const struct weight_spec *s = &m->spec[i];
        const struct lora_pair *p = lora_find(l, slice_of(s->name));
        bool apart = s->row->hf && strstr(s->row->hf, "%e");
        float row[512];

        if (!p)
            continue;
        seen++;
        ck_assert(p->n == s->n && p->rows == s->rows && p->cols == s->cols && s->cols <= 512);
        for (int64_t k = 0; k < s->n; k++) {
            char name[HF_MAX_NAME];

            hf_spell(name, s->row->hf, s->layer, k);
            const struct module *x = find_module(m, name);
            for (int64_t r = 0; r < s->rows; r++) {
                struct hf_run run = hf_place(s, &m->h, apart, k, r);

                memset(row, 0, sizeof row);
                lora_add_row(p, 2, k, r, row);
                for (int64_t c = 0; c < s->cols; c++) {
                    float want = x ? 2 * scale * x->delta[run.base + (uint64_t)c * run.stride] : 0;

                    if (!(fabsf(row[c] - want) <= 1e-5f * (1 + fabsf(want))))
                        ck_abort_msg("%s: %s [%d %d %d]: %g, not %g", what, s->name, (int)k, (int)r,
                                     (int)c, (double)row[c], (double)want);
                }
            }
        }
    }
    ck_assert_uint_eq(seen, l->n_pair);
    ck_assert_uint_gt(seen, 3);
}

static void check_case(const char *name)
{
    const char *dir = tmpfile_path("peft");
    char file[512];
    struct made *m = mem_new(sizeof *m, NULL);
    struct lora *l;
    struct err e = {0};

    snprintf(file, sizeof file, "%s.gguf", dir);
    made_open(m, name);
    write_peft(m, dir, "{\"peft_type\":\"LORA\",\"lora_alpha\":6,\"r\":3}");
    ck_ok(lora_open(&l, dir, m->arch, &m->h, &e), &e);
    check_pairs(m, l, 2, name);
    ck_ok(lora_write(l, m->arch, file, -1, &e), &e);
    lora_close(l);
    ck_ok(lora_open(&l, file, m->arch, &m->h, &e), &e);
    check_pairs(m, l, 2, file);
    lora_close(l);
    remove(file);
    remove_peft(dir);
    made_close(m);
    mem_free(m);
}

static float opened_scale(const struct made *m, const char *config, const char *weight)
{
    const char *dir = tmpfile_path("peft");
    struct err e = {0};
    struct lora *l;
    float scale;

    write_peft(m, dir, config);
    ck_ok(lora_open(&l, dir, m->arch, &m->h, &e), &e);
    scale = lora_find(l, slice_of(weight))->scale;
    lora_close(l);
    remove_peft(dir);
    return scale;
}

START_TEST(scales)
{
    static const char patterns[] = "{\"peft_type\":\"LORA\",\"lora_alpha\":6,\"r\":3,"
                                   "\"alpha_pattern\":{\"layers.1.self_attn.v_proj\":9}}";
    const char *dir = tmpfile_path("peft");
    char file[512];
    struct made *m = mem_new(sizeof *m, NULL);
    struct err e = {0};
    struct lora *l, *again;

    snprintf(file, sizeof file, "%s.gguf", dir);
    made_open(m, "llama");
    ck_assert_float_eq_tol(opened_scale(m,
                                        "{\"peft_type\":\"LORA\",\"lora_alpha\":6,\"r\":3,"
                                        "\"use_rslora\":true}",
                                        "blk.0.attn_q.weight"),
                           6 / sqrtf(3), 1e-6f);
    ck_assert_float_eq(opened_scale(m, patterns, "blk.0.attn_v.weight"), 2);
    ck_assert_float_eq(opened_scale(m, patterns, "blk.1.attn_v.weight"), 3);
    ck_assert_float_eq(opened_scale(m, patterns, "blk.1.attn_k.weight"), 2);
    /* a GGUF file has one alpha: what differs goes into B */
    write_peft(m, dir, patterns);
    ck_ok(lora_open(&l, dir, m->arch, &m->h, &e), &e);
    ck_ok(lora_write(l, m->arch, file, -1, &e), &e);
    ck_ok(lora_open(&again, file, m->arch, &m->h, &e), &e);
    for (uint32_t i = 0; i < l->n_pair; i++) {
        float a[512] = {0}, b[512] = {0};

        lora_add_row(&l->pair[i], 1, 0, 1, a);
        lora_add_row(&again->pair[i], 1, 0, 1, b);
        for (int64_t c = 0; c < l->pair[i].cols; c++)
            ck_assert_float_eq_tol(a[c], b[c], 1e-4f);
    }
    lora_close(l);
    lora_close(again);
    remove(file);
    remove_peft(dir);
    made_close(m);
    mem_free(m);
}
END_TEST

/* F16 and Q8_0: what fits the type gets it, the rest (a rank of three) F16. */
START_TEST(types)
{
    const char *dir = tmpfile_path("peft");
    char file[512];
    struct made *m = mem_new(sizeof *m, NULL);
    const struct gguf_tensor *t;
    struct err e = {0};
    struct lora *l;
    struct gguf *g;

    snprintf(file, sizeof file, "%s.gguf", dir);
    made_open(m, "llama");
    write_peft(m, dir, "{\"peft_type\":\"LORA\",\"lora_alpha\":6,\"r\":3}");
    ck_ok(lora_open(&l, dir, m->arch, &m->h, &e), &e);
    ck_ok(lora_write(l, m->arch, file, FMT_Q8_0, &e), &e);
    ck_ok(gguf_open(&g, file, 0, &e), &e);
    t = gguf_tensor(g, "blk.0.attn_q.weight.lora_a");
    ck_assert_ptr_nonnull(t);
    ck_assert_uint_eq(t->type, FMT_Q8_0);
    t = gguf_tensor(g, "blk.0.attn_q.weight.lora_b");
    ck_assert_uint_eq(t->type, FMT_F16);
    ck_assert_uint_eq(t->ne[0], RANK);
    gguf_close(g);
    ck_ok(lora_write(l, m->arch, file, FMT_F16, &e), &e);
    lora_close(l);
    ck_ok(lora_open(&l, file, m->arch, &m->h, &e), &e);
    check_pairs(m, l, 2, "F16"); /* the numbers are multiples of 1/64 below 2 */
    lora_close(l);
    remove(file);
    remove_peft(dir);
    made_close(m);
    mem_free(m);
}
END_TEST

START_TEST(refused)
{
    static const struct {
        const char *config;
        int code;
        const char *says;
    } cases[] = {
        {"{\"peft_type\":\"IA3\",\"lora_alpha\":6}", E_UNSUPPORTED, "\"peft_type\" is not LORA"},
        {"{\"peft_type\":\"LORA\"}", E_FORMAT, "no \"lora_alpha\""},
        {"{\"peft_type\":\"LORA\",\"lora_alpha\":6,\"use_dora\":true}", E_UNSUPPORTED,
         "\"use_dora\" is not supported"},
        {"{\"peft_type\":\"LORA\",\"lora_alpha\":6,\"modules_to_save\":[\"lm_head\"]}",
         E_UNSUPPORTED, "\"modules_to_save\""},
        {"{\"peft_type\":\"LORA\",\"lora_alpha\":6,\"bias\":\"all\"}", E_UNSUPPORTED, "biases"},
        {"{\"peft_type\":\"LORA\",\"lora_alpha\":6,\"alpha_pattern\":{\"a|b\":1}}", E_UNSUPPORTED,
         "expressions"},
        {"{\"peft_type\":", E_FORMAT, "line"},
    };
    const char *dir = tmpfile_path("peft");
    struct made *m = mem_new(sizeof *m, NULL), *other = mem_new(sizeof *m, NULL);
    struct lora *l;
    struct err e;

    made_open(m, "llama");
    made_open(other, "gpt2");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        write_peft(m, dir, cases[i].config);
        e = (struct err){0};
        ck_fails(lora_open(&l, dir, m->arch, &m->h, &e), &e, cases[i].code, cases[i].says);
        remove_peft(dir);
    }
    write_peft(m, dir, "{\"peft_type\":\"LORA\",\"lora_alpha\":6}");
    e = (struct err){0};
    ck_fails(lora_open(&l, dir, other->arch, &other->h, &e), &e, E_UNSUPPORTED,
             "has no place in a model of kind gpt2");
    /* every allocation failing once leaves nothing behind */
    int rc = E_NOMEM;
    for (long n = 0; rc == E_NOMEM; n++) {
        e = (struct err){0};
        mem_fail_after(n);
        rc = lora_open(&l, dir, m->arch, &m->h, &e);
        mem_fail_after(-1);
    }
    ck_ok(rc, &e);
    lora_close(l);
    m->h.n_embd += 32;
    mem_free(m->spec);
    e = (struct err){0};
    ck_ok(weights_list(&m->spec, &m->n_spec, m->arch, &m->h, &e), &e);
    ck_fails(lora_open(&l, dir, m->arch, &m->h, &e), &e, E_FORMAT, "does not fit a matrix of");
    remove_peft(dir);
    e = (struct err){0};
    ck_fails(lora_open(&l, srcfile("tests/golden/arch/llama.gguf"), m->arch, &m->h, &e), &e,
             E_FORMAT, "'general.type' is '");
    made_close(m);
    made_close(other);
    mem_free(m);
    mem_free(other);
}
END_TEST

ARCH_CASES(ARCH_TEST)

int main(int argc, char **argv)
{
    const TTest *const all[] = {ARCH_CASES(ARCH_ITEM) scales, types, refused};

    return suite_main("model/lora", all, (int)ARRAY_LEN(all), argc, argv);
}
