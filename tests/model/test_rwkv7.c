/* test_rwkv7.c - trained RWKV-7 weights: the logits after three bytes, from a zero state, as the
 * project the weights come from stored them.
 *
 * The weights are in that project's own file format; this program writes them as GGUF first.
 */
#include "tests/model/runner.h"

#include <math.h>

#include "base/slice.h"
#include "file/gguf.h"

enum { MAX_TENSOR = 512, WIDTH = 64 };

struct entry {
    char name[64];
    uint32_t n_dims;
    uint64_t ne[4];
    const uint8_t *p;
    uint64_t bytes;
};

/* Their name of a tensor, behind "blocks.N.", and ours behind "blk.N.". */
static const char *const names[][2] = {
    {"ln1.weight", "attn_norm.weight"},
    {"ln1.bias", "attn_norm.bias"},
    {"ln2.weight", "attn_norm_2.weight"},
    {"ln2.bias", "attn_norm_2.bias"},
    {"att.x_rwkvag", "time_mix_lerp_fused.weight"},
    {"att.receptance.weight", "time_mix_receptance.weight"},
    {"att.key.weight", "time_mix_key.weight"},
    {"att.value.weight", "time_mix_value.weight"},
    {"att.output.weight", "time_mix_output.weight"},
    {"att.ln_x.weight", "time_mix_ln.weight"},
    {"att.ln_x.bias", "time_mix_ln.bias"},
    {"ffn.x_k", "channel_mix_lerp_k.weight"},
    {"ffn.key.weight", "channel_mix_key.weight"},
    {"ffn.value.weight", "channel_mix_value.weight"},
};
static const char *const model_names[][2] = {
    {"emb.weight", "token_embd.weight"},
    {"head.weight", "output.weight"},
    {"ln_out.weight", "output_norm.weight"},
    {"ln_out.bias", "output_norm.bias"},
    {"blocks.0.ln0.weight", "token_embd_norm.weight"},
    {"blocks.0.ln0.bias", "token_embd_norm.bias"},
};

static void rename_tensor(struct slice theirs, char out[64])
{
    char name[64];
    int layer, at = 0;

    snprintf(name, sizeof name, "%.*s", (int)theirs.n, theirs.p);
    for (size_t i = 0; i < ARRAY_LEN(model_names); i++)
        if (strcmp(name, model_names[i][0]) == 0) {
            snprintf(out, 64, "%s", model_names[i][1]);
            return;
        }
    ck_assert_msg(sscanf(name, "blocks.%d.%n", &layer, &at) == 1 && at > 0, "%s", name);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name + at, names[i][0]) == 0) {
            snprintf(out, 64, "blk.%d.%s", layer, names[i][1]);
            return;
        }
    /* att.w0 and its like */
    ck_assert_msg(strncmp(name + at, "att.", 4) == 0, "%s", name);
    snprintf(out, 64, "blk.%d.time_mix_%.40s.weight", layer, name + at + 4);
}

/* Six numbers, then per tensor: dimensions, length of its name, type, sizes, name, data. */
static int read_entries(struct cur *c, struct entry *t)
{
    int n = 0;

    ck_assert_uint_eq(cur_u32(c), 0x67676d66);
    ck_assert_uint_eq(cur_u32(c), 101);
    cur_take(c, 16);
    for (; c->at < c->n; n++, t++) {
        ck_assert_int_lt(n, MAX_TENSOR);
        memset(t, 0, sizeof *t);
        t->n_dims = cur_u32(c);
        uint32_t len = cur_u32(c), type = cur_u32(c);
        ck_assert_uint_eq(type, 0);
        ck_assert_uint_le(t->n_dims, 4);
        t->bytes = 4;
        for (uint32_t i = 0; i < t->n_dims; i++)
            t->bytes *= t->ne[i] = cur_u32(c);
        rename_tensor(cur_slice(c, len), t->name);
        t->p = cur_take(c, t->bytes);
        ck_assert_ptr_nonnull(t->p);
    }
    return n;
}

static void write_gguf(const char *path, const struct entry *t, int n, struct err *e)
{
    struct gguf_out *w;

    ck_ok(gguf_create(&w, path, 0, e), e);
    gguf_put_str(w, "general.architecture", SLICE("rwkv7"));
    gguf_put_u32(w, "rwkv7.block_count", 12);
    gguf_put_u32(w, "rwkv7.context_length", 1024);
    gguf_put_u32(w, "rwkv7.embedding_length", WIDTH);
    gguf_put_u32(w, "rwkv7.feed_forward_length", 4 * WIDTH);
    gguf_put_f32(w, "rwkv7.attention.layer_norm_epsilon", 1e-5f);
    gguf_put_u32(w, "rwkv7.wkv.head_size", WIDTH);
    gguf_put_u32(w, "rwkv7.attention.decay_lora_rank", 32);
    gguf_put_u32(w, "rwkv7.attention.iclr_lora_rank", 32);
    gguf_put_u32(w, "rwkv7.attention.value_residual_mix_lora_rank", 32);
    gguf_put_u32(w, "rwkv7.attention.gate_lora_rank", 32);
    gguf_put_u32(w, "rwkv7.attention.head_count", 0);
    gguf_put_str(w, "tokenizer.ggml.model", SLICE("none"));
    for (int i = 0; i < n; i++)
        gguf_put_tensor(w, slice_of(t[i].name), 0, t[i].n_dims, t[i].ne);
    ck_ok(gguf_begin(w, e), e);
    for (int i = 0; i < n; i++)
        ck_ok(gguf_data(w, t[i].p, t[i].bytes, e), e);
    ck_ok(gguf_finish(w, e), e);
}

START_TEST(trained_weights)
{
    static struct entry t[MAX_TENSOR];
    const char *bin = testdata("models/rwkv-tiny/tiny-rwkv-7v0-834K-FP32.bin");
    const char *expected = testdata("models/rwkv-tiny/expected-logits-7v0-834K.bin");
    static const int32_t ids[3] = {'"', 'i', 'n'};
    struct model_opts o = MODEL_OPTS;
    float got[3 * 256], want[256];
    struct file_view v, x;
    struct err e = {0};
    struct runner r;
    double sum = 0;

    if (!bin || !expected)
        return;
    ck_ok(file_map(&v, bin, &e), &e);
    ck_ok(file_map(&x, expected, &e), &e);
    ck_assert_uint_eq(x.n, sizeof want);
    memcpy(want, x.p, sizeof want);
    struct cur c = {.p = v.p, .n = v.n};
    int n = read_entries(&c, t);
    const char *path = tmpfile_path("rwkv7.gguf");
    write_gguf(path, t, n, &e);
    file_unmap(&v);
    file_unmap(&x);

    o.device = "cpu:2";
    for (int nofuse = 0; nofuse < 2; nofuse++) {
        float first[3 * 256], last[3 * 256];
        o.nofuse = nofuse;
        runner_open(&r, path, &o);
        ck_assert_int_eq(r.m->n_unknown, 0);
        ck_assert_int_eq(r.m->h.n_vocab, 256);
        runner_list(&r, ids, 3, 3, false, last);
        runner_list(&r, ids, 3, 1, false, first);
        ck_assert_int_eq(memcmp(first, last, sizeof first), 0);
        ck_assert(!nofuse || memcmp(got, last, sizeof got) == 0);
        memcpy(got, last, sizeof got);
        runner_close(&r);
    }
    unlink(path);
    for (int i = 0; i < 256; i++)
        sum += fabs((double)got[2 * 256 + i] - (double)want[i]);
    ck_assert_msg(sum < 1e-3, "sum of differences %g", sum); /* what the origin's test allows */
}
END_TEST

TEST_MAIN("model/rwkv7", trained_weights)
