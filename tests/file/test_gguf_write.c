/* test_gguf_write.c - what is written is what was asked for, byte for byte, or nothing at all. */
#include "tests/file/gguf_make.h"

#include <unistd.h>

/* The same file as mk_sample(), through the writer. */
static int write_sample(const char *path, struct err *e)
{
    static const struct slice words[] = {{"one", 3}, {"", 0}, {"three", 5}};
    struct gguf_out *w;
    uint8_t data[96 + 6];
    uint64_t u8 = 200;
    int rc = gguf_create(&w, path, 0, e);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + 1);
    gguf_put_str(w, "general.architecture", SLICE("gpt"));
    gguf_put_key(w, &(struct gguf_key){SLICE("a.u8"), GGUF_U8, {(const char *)&u8, 1}, {0}});
    gguf_put_i64(w, "a.i64", -5);
    gguf_put_str(w, "a.f32", SLICE("replaced below, its place kept"));
    gguf_put_array(w, "a.ints", GGUF_I16, (int16_t[]){-1, 0, 1}, 3);
    gguf_put_strs(w, "a.words", words, 3);
    gguf_put_bool(w, "a.yes", true);
    gguf_put_u32(w, "a.dropped", 1);
    gguf_put_f32(w, "a.f32", 1.5f);
    gguf_put_str(w, "general.architecture", SLICE("llama"));
    gguf_drop_key(w, "a.dropped");
    gguf_drop_key(w, "a.unknown");
    gguf_put_tensor(w, SLICE("t.f32"), 0, 2, (uint64_t[]){4, 2});
    gguf_put_tensor(w, SLICE("t.q4_0"), 2, 2, (uint64_t[]){32, 2});
    gguf_put_tensor(w, SLICE("t.f16"), 1, 1, (uint64_t[]){3});
    /* pieces that end inside tensors and at their ends; the hand-made data runs on through the
     * padding, which the writer fills itself */
    if ((rc = gguf_begin(w, e)) < 0 || (rc = gguf_data(w, data, 5, e)) < 0 ||
        (rc = gguf_data(w, data + 5, 27, e)) < 0 || (rc = gguf_data(w, data + 32, 36, e)) < 0 ||
        (rc = gguf_data(w, data + 96, 6, e)) < 0) {
        gguf_abort(w);
        return rc;
    }
    return gguf_finish(w, e);
}

START_TEST(same_bytes_as_by_hand)
{
    const char *path = tmpfile_path("sample.gguf");
    struct make m = {0};
    struct file_view v;
    struct err e = {0};
    size_t data;

    mk_sample(&m);
    data = m.b.n - 102;
    memset(m.b.p + data + 68, 0, 28); /* padding */
    mk_pad(&m, 32);
    ck_ok(write_sample(path, &e), &e);
    ck_ok(file_read(&v, path, 0, &e), &e);
    ck_assert_uint_eq(v.n, m.b.n);
    ck_assert_mem_eq(v.p, m.b.p, v.n);
    file_unmap(&v);
    buf_fini(&m.b);
    unlink(path);
}
END_TEST

static void keys_equal(const struct gguf *a, const struct gguf *b)
{
    ck_assert_uint_eq(a->n_key, b->n_key);
    for (uint32_t i = 0; i < a->n_key; i++) {
        const struct gguf_key *k = &a->key[i];
        const struct gguf_key *l = &b->key[i];

        ck_assert(slice_eq(k->name, l->name));
        ck_assert_uint_eq(k->type, l->type);
        ck_assert(slice_eq(k->raw, l->raw));
        ck_assert_uint_eq(k->array.type, l->array.type);
        ck_assert_uint_eq(k->array.n, l->array.n);
    }
}

/* Copies a file through reader and writer. */
static void copy_file(const struct gguf *g, const char *path, uint32_t alignment)
{
    struct gguf_out *w;
    struct err e = {0};

    ck_ok(gguf_create(&w, path, alignment, &e), &e);
    for (uint32_t i = 0; i < g->n_key; i++)
        gguf_put_key(w, &g->key[i]);
    for (uint32_t i = 0; i < g->n_tensor; i++) {
        const struct gguf_tensor *t = &g->tensor[i];

        gguf_put_tensor(w, t->name, t->type, t->n_dims, t->ne);
    }
    ck_ok(gguf_begin(w, &e), &e);
    for (uint32_t i = 0; i < g->n_tensor; i++)
        ck_ok(gguf_data(w, g->tensor[i].p, g->tensor[i].bytes, &e), &e);
    ck_ok(gguf_finish(w, &e), &e);
}

static void round_trip(const char *name)
{
    const char *path = testdata(name);
    const char *copy = tmpfile_path("copy.gguf");
    struct gguf *g;
    struct gguf *h;
    struct err e = {0};

    if (!path)
        return;
    ck_ok(gguf_open(&g, path, 0, &e), &e);
    copy_file(g, copy, 0);
    ck_ok(gguf_open(&h, copy, GGUF_READ, &e), &e);
    keys_equal(g, h);
    ck_assert_uint_eq(g->n_tensor, h->n_tensor);
    for (uint32_t i = 0; i < g->n_tensor; i++) {
        const struct gguf_tensor *t = &g->tensor[i];
        const struct gguf_tensor *u = &h->tensor[i];

        ck_assert(slice_eq(t->name, u->name));
        ck_assert_uint_eq(t->type, u->type);
        ck_assert_uint_eq(t->n_dims, u->n_dims);
        ck_assert_mem_eq(t->ne, u->ne, sizeof t->ne);
        ck_assert_uint_eq(t->bytes, u->bytes);
        ck_assert_mem_eq(t->p, u->p, t->bytes);
    }
    gguf_close(h);
    gguf_close(g);
    unlink(copy);
}

START_TEST(real_files_round_trip)
{
    round_trip("models/stories260K/stories260K.F16.gguf");
    round_trip("tokenizers/ggml-vocab/ggml-vocab-bert-bge.gguf");
}
END_TEST

START_TEST(alignment_is_kept_true)
{
    const char *path = tmpfile_path("wide.gguf");
    const char *back = tmpfile_path("narrow.gguf");
    struct gguf_out *w;
    struct gguf *g;
    struct err e = {0};
    uint32_t a = 0;

    ck_ok(gguf_create(&w, path, 4096, &e), &e);
    gguf_put_tensor(w, SLICE("a"), 0, 1, (uint64_t[]){1});
    gguf_put_tensor(w, SLICE("b"), 0, 1, (uint64_t[]){1});
    ck_ok(gguf_begin(w, &e), &e);
    ck_ok(gguf_data(w, (float[]){1, 2}, 8, &e), &e);
    ck_ok(gguf_finish(w, &e), &e);
    ck_ok(gguf_open(&g, path, 0, &e), &e);
    ck_assert_uint_eq(g->alignment, 4096);
    ck_assert_uint_eq(g->file_bytes, 3 * 4096);
    ck_assert_uint_eq((uintptr_t)g->tensor[1].p % 4096, 0);
    ck_assert(*(const float *)(const void *)g->tensor[1].p == 2);
    /* the copied key says 4096, but this writer aligns to 32 */
    copy_file(g, back, 32);
    gguf_close(g);
    ck_ok(gguf_open(&g, back, 0, &e), &e);
    ck_assert_int_eq(gguf_get_u32(g, "general.alignment", &a, &e), 1);
    ck_assert_uint_eq(a, 32);
    gguf_close(g);
    ck_fails(gguf_create(&w, path, 48, &e), &e, E_USAGE, "alignment 48");
    unlink(path);
    unlink(back);
}
END_TEST

/* A writer with one tensor of 8 bytes. */
static struct gguf_out *one_tensor(const char *path)
{
    struct gguf_out *w;
    struct err e = {0};

    ck_ok(gguf_create(&w, path, 0, &e), &e);
    gguf_put_tensor(w, SLICE("t"), 0, 1, (uint64_t[]){2});
    return w;
}

START_TEST(misuse_is_said_and_leaves_no_file)
{
    static char longest[GGUF_MAX_KEY + 2];
    const char *path = tmpfile_path("none.gguf");
    struct gguf_out *w = one_tensor(path);
    struct err e = {0};

    ck_fails(gguf_data(w, "12345678", 8, &e), &e, E_USAGE, "data before the head");
    e = (struct err){0};
    ck_ok(gguf_begin(w, &e), &e);
    ck_fails(gguf_data(w, "123456789", 9, &e), &e, E_RANGE, "1 bytes behind the last tensor");
    gguf_abort(w);

    w = one_tensor(path);
    e = (struct err){0};
    ck_fails(gguf_finish(w, &e), &e, E_RANGE, "tensor 't': only 0 of 8 bytes");

    w = one_tensor(path);
    gguf_put_tensor(w, SLICE("t"), 0, 1, (uint64_t[]){2});
    e = (struct err){0};
    ck_fails(gguf_finish(w, &e), &e, E_RANGE, "tensor 't' occurs twice");

    w = one_tensor(path);
    gguf_put_tensor(w, SLICE("u"), 2, 1, (uint64_t[]){2});
    gguf_put_u32(w, "", 1); /* the first failure is the one that is told */
    e = (struct err){0};
    ck_fails(gguf_begin(w, &e), &e, E_RANGE, "tensor 'u': its shape does not go with type 2");
    gguf_abort(w);

    memset(longest, 'k', sizeof longest - 1);
    w = one_tensor(path);
    gguf_put_u32(w, longest, 1);
    e = (struct err){0};
    ck_fails(gguf_begin(w, &e), &e, E_RANGE, "a key with a name of 65536 bytes");
    gguf_abort(w);

    w = one_tensor(path);
    gguf_put_array(w, "k", GGUF_STR, "x", 1);
    e = (struct err){0};
    ck_fails(gguf_begin(w, &e), &e, E_USAGE, "key 'k': an array of type 8");
    gguf_abort(w);
    gguf_abort(NULL);
    ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

/* Each allocation and each file operation fails once: an error, and no file under the name. */
START_TEST(failures_leave_no_file)
{
    const char *path = tmpfile_path("fail.gguf");
    struct err e;
    int rc;
    int tried = 0;

    for (int kind = 0; kind < 2; kind++) {
        for (long n = 0;; n++) {
            e = (struct err){0};
            if (kind)
                file_fail_after(n);
            else
                mem_fail_after(n);
            rc = write_sample(path, &e);
            if (!(kind ? file_fail_hit() : mem_fail_hit()))
                break;
            ck_assert_int_eq(rc, kind ? E_IO : E_NOMEM);
            ck_assert_int_eq(e.code, rc);
            ck_assert_int_ne(access(path, F_OK), 0);
            tried++;
        }
        file_fail_after(-1);
        mem_fail_after(-1);
        ck_ok(rc, &e);
        unlink(path);
    }
    ck_assert_int_gt(tried, 20);
}
END_TEST

TEST_MAIN("file/gguf_write", same_bytes_as_by_hand, real_files_round_trip, alignment_is_kept_true,
          misuse_is_said_and_leaves_no_file, failures_leave_no_file)
