/* test_safetensors.c - files of the package safetensors, everything that must be refused, writing.
 */
#include "tests/suite.h"

#include <sys/stat.h>

#include "base/buf.h"
#include "base/mem.h"
#include "file/safetensors.h"

#define DIR "tests/golden/safetensors"

static const double numbers[] = {0, 1, 2, 3, 5, 7};

START_TEST(every_type)
{
    struct safetensors *s;
    struct err e = {0};

    ck_ok(st_open(&s, srcfile(DIR "/types.safetensors"), &e), &e);
    ck_assert_uint_eq(s->n_tensor, ST_N_TYPES + 3);
    for (int i = 0; i < ST_N_TYPES; i++) {
        const struct st_tensor *t = st_find(s, slice_of(st_type_name(i)));

        ck_assert_ptr_nonnull(t);
        ck_assert_int_eq(t->type, i);
        ck_assert(t->n_dims == 2 && t->shape[0] == 2 && t->shape[1] == 3 && t->n == 6);
        for (int k = 0; k < 6; k++)
            ck_assert(st_number(i, t->p, (uint64_t)k) ==
                      (i == ST_BOOL ? (double)((int)numbers[k] % 2) : numbers[k]));
    }
    ck_assert_uint_eq(st_find(s, SLICE("scalar"))->n_dims, 0);
    ck_assert(st_number(ST_F32, st_find(s, SLICE("scalar"))->p, 0) == 2.5);
    ck_assert_uint_eq(st_find(s, SLICE("empty"))->bytes, 0);
    ck_assert_ptr_nonnull(st_find(s, SLICE("quote \" slash \\ tab \t \xc3\xa9")));
    ck_assert_uint_eq(s->n_meta, 2);
    for (uint32_t i = 0; i < 2; i++)
        ck_assert(slice_is(s->meta[i].key, "format") ? slice_is(s->meta[i].value, "pt")
                                                     : slice_is(s->meta[i].value, "a\nb"));
    st_close(s);
}
END_TEST

START_TEST(eight_bit_floats)
{
    ck_assert(st_float8(ST_F8_E4M3, 0x7e) == 448.0f);
    ck_assert(st_float8(ST_F8_E4M3, 0x01) == 0x1p-9f);
    ck_assert(st_float8(ST_F8_E4M3, 0x88) == -0x1p-6f);
    ck_assert(st_float8(ST_F8_E4M3, 0x7f) != st_float8(ST_F8_E4M3, 0x7f));
    ck_assert(st_float8(ST_F8_E5M2, 0x7b) == 57344.0f);
    ck_assert(st_float8(ST_F8_E5M2, 0x01) == 0x1p-16f);
    ck_assert(st_float8(ST_F8_E5M2, 0xfc) < -1e38f);
}
END_TEST

START_TEST(a_directory_of_parts)
{
    struct safetensors *s;
    struct err e = {0};

    ck_ok(st_open(&s, srcfile(DIR "/split"), &e), &e);
    ck_assert_uint_eq(s->n_part, 2);
    ck_assert_uint_eq(s->n_tensor, 3);
    for (char c = 'a'; c <= 'c'; c++) {
        const struct st_tensor *t = st_find(s, (struct slice){&c, 1});

        ck_assert_ptr_nonnull(t);
        ck_assert(st_number(ST_F32, t->p, 3) == (double)c);
        ck_assert_uint_eq(t->part, c == 'c');
        st_dontneed(s, t);
    }
    st_close(s);
    ck_fails(st_open(&s, srcfile("tests/golden/arch"), &e), &e, E_NOTFOUND,
             "neither model.safetensors nor model.safetensors.index.json");
}
END_TEST

static const char *const in_dir[] = {"model.safetensors.index.json", "x", "y"};

static void remove_dir(const char *dir)
{
    char path[600];

    for (size_t i = 0; i < ARRAY_LEN(in_dir); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, in_dir[i]);
        unlink(path);
    }
    rmdir(dir);
}

/* Makes a directory with an index, and links to the two golden parts under these names. */
static void make_dir(const char *dir, const char *index, const char *a, const char *b)
{
    char path[600];

    ck_assert_int_eq(mkdir(dir, 0777), 0);
    snprintf(path, sizeof path, "%s/%s", dir, in_dir[0]);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(index, f);
    fclose(f);
    for (int i = 0; i < 2; i++) {
        const char *to = i ? b : a;

        snprintf(path, sizeof path, "%s/%s", dir, to ? to : "");
        if (to)
            ck_assert_int_eq(symlink(srcfile(i ? DIR "/split/model-00002-of-00002.safetensors"
                                               : DIR "/split/model-00001-of-00002.safetensors"),
                                     path),
                             0);
    }
}

START_TEST(bad_indexes)
{
    static const struct {
        const char *index, *a, *b, *part;
        int code;
    } bad[] = {
        {"{\"weight_map\": {\"a\": \"x\", \"c\": \"y\"}}", "x", NULL, "/y", E_NOTFOUND},
        {"{\"weight_map\": {\"a\": \"x\", \"c\": \"x\"}}", "x", NULL, "'c' is not in x", E_FORMAT},
        {"{\"weight_map\": {\"a\": \"y\", \"c\": \"x\"}}", "x", "y", "'a' is not in y", E_FORMAT},
        {"{\"weight_map\": {\"a\": \"../x\"}}", "x", NULL, "in no file of the directory", E_FORMAT},
        {"{\"weight_map\": {\"a\": 1}}", "x", NULL, "in no file of the directory", E_FORMAT},
        {"{\"weight_map\": {}}", "x", NULL, "no \"weight_map\"", E_FORMAT},
        {"{\"weight_map\": {\"a\": \"x\", \"a\": \"x\"}}", "x", NULL, "line 1", E_FORMAT},
        {"{", "x", NULL, "line 1", E_FORMAT},
    };
    const char *dir = tmpfile_path("st");

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct safetensors *s;
        struct err e = {0};

        make_dir(dir, bad[i].index, bad[i].a, bad[i].b);
        ck_fails(st_open(&s, dir, &e), &e, bad[i].code, bad[i].part);
        ck_assert_ptr_null(s);
        remove_dir(dir);
    }
}
END_TEST

/* A file of this header and that many bytes of data. */
static int open_header(struct safetensors **s, struct buf *b, const char *head, size_t n_data,
                       struct err *e)
{
    size_t n = strlen(head);

    buf_clear(b);
    for (int i = 0; i < 8; i++)
        buf_byte(b, (char)(n >> (8 * i)));
    buf_str(b, head);
    for (size_t i = 0; i < n_data; i++)
        buf_byte(b, (char)i);
    return st_open_mem(s, "x.safetensors", b->p, b->n, e);
}

#define T(type, shape, at) "{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" at "}"

START_TEST(what_is_refused)
{
    static const struct {
        const char *head;
        size_t n;
        int code; // 0: accepted
        const char *part;
    } row[] = {
        {"{}", 0, 0, ""},
        {"{}   \n", 0, 0, ""},
        {"{\"a\":" T("F32", "[2]", "[0,8]") "}", 8, 0, ""},
        {"{\"a\":" T("F32", "[]", "[0,4]") ",\"b\":" T("U8", "[0]", "[4,4]") "}", 4, 0, ""},
        {"{\"b\":" T("U8", "[3]", "[4,7]") ", \"a\" : " T("F32", "[1]", "[0,4]") "}", 7, 0, ""},
        {"{\"a\":{\"more\":[1,{\"x\":null}],\"dtype\":\"U8\",\"shape\":[1],"
         "\"data_offsets\":[0,1]}}",
         1, 0, ""},
        {"{\"__metadata__\":{\"k\":\"v\"}}", 0, 0, ""},
        {"{\"\\ud83d\\ude00\\u00e9\":" T("U8", "[1]", "[0,1]") "}", 1, 0, ""},
        {" {}", 0, E_FORMAT, "no '{'"},
        {"[]", 0, E_FORMAT, "no '{'"},
        {"{}x", 0, E_FORMAT, "more than one value"},
        {"{", 0, E_FORMAT, "a header of 1 bytes"},
        {"{\"a\":" T("F32", "[2]", "[0,8]") "}", 7, E_FORMAT, "'a': lies behind the end"},
        {"{\"a\":" T("F32", "[2]", "[0,8]") "}", 9, E_FORMAT, "1 bytes behind the last tensor"},
        {"{\"a\":" T("F32", "[2]", "[0,4]") "}", 4, E_FORMAT, "'a': its data_offsets do not fit"},
        {"{\"a\":" T("F32", "[2]", "[8,0]") "}", 8, E_FORMAT, "'a': its data_offsets do not fit"},
        {"{\"a\":" T("F32", "[1]", "[4,8]") "}", 8, E_FORMAT, "'a': leaves a hole"},
        {"{\"a\":" T("U8", "[2]", "[0,2]") ",\"b\":" T("U8", "[2]", "[1,3]") "}", 3, E_FORMAT,
         "'b': overlaps"},
        {"{\"a\":" T("U8", "[2]", "[0,2]") ",\"b\":" T("U8", "[2]", "[0,2]") "}", 2, E_FORMAT,
         "'b': overlaps"},
        {"{\"a\":" T("U8", "[1]", "[0,1]") ",\"a\":" T("U8", "[1]", "[1,2]") "}", 2, E_FORMAT,
         "'a': occurs twice"},
        {"{\"a\":" T("U8", "[1]", "[0,1]") ",\"\\u0061\":" T("U8", "[1]", "[1,2]") "}", 2, E_FORMAT,
         "'a': occurs twice"},
        {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
         E_FORMAT, "'a': says something twice"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, E_FORMAT, "'a': lacks its type"},
        {"{\"a\":" T("Q4", "[1]", "[0,1]") "}", 1, E_UNSUPPORTED, "'a': type 'Q4' is not known"},
        {"{\"a\":" T("U8", "[-1]", "[0,1]") "}", 1, E_FORMAT, "no whole number"},
        {"{\"a\":" T("U8", "[1.0]", "[0,1]") "}", 1, E_FORMAT, "a list without end"},
        {"{\"a\":" T("U8", "[01]", "[0,1]") "}", 1, E_FORMAT, "no whole number"},
        {"{\"a\":" T("U8", "[1]", "[0,1,2]") "}", 1, E_FORMAT, "too long"},
        {"{\"a\":" T("U8", "[1]", "[0]") "}", 1, E_FORMAT, "no two numbers"},
        {"{\"a\":" T("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, E_FORMAT, "too long"},
        {"{\"a\":" T("U8", "[99999999999999999999]", "[0,1]") "}", 1, E_FORMAT, "too large"},
        {"{\"a\":" T("F64", "[4294967296,4294967296]", "[0,1]") "}", 1, E_FORMAT,
         "too many numbers"},
        {"{\"a\":" T("F64", "[2305843009213693952]", "[0,0]") "}", 0, E_FORMAT, "too many numbers"},
        {"{\"__metadata__\":{\"k\":1}}", 0, E_FORMAT, "no string"},
        {"{\"__metadata__\":{\"k\":\"1\",\"k\":\"1\"}}", 0, E_FORMAT, "occurs twice"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, E_FORMAT, "occurs twice"},
        {"{\"a\xff\":" T("U8", "[1]", "[0,1]") "}", 1, E_FORMAT, "not UTF-8"},
        {"{\"\\ud800\":" T("U8", "[1]", "[0,1]") "}", 1, E_FORMAT, "surrogate"},
        {"{\"\\udc00\":" T("U8", "[1]", "[0,1]") "}", 1, E_FORMAT, "surrogate"},
        {"{\"\\x\":" T("U8", "[1]", "[0,1]") "}", 1, E_FORMAT, "escape"},
        {"{\"a\nb\":" T("U8", "[1]", "[0,1]") "}", 1, E_FORMAT, "control character"},
        {"{\"a\":" T("U8", "[1]", "[0,1]") ",}", 1, E_FORMAT, "no string"},
        {"{\"\xc0\xaf\":" T("U8", "[1]", "[0,1]") "}", 1, E_FORMAT, "not UTF-8"},
        {"{\"\xed\xa0\x80\":" T("U8", "[1]", "[0,1]") "}", 1, E_FORMAT, "not UTF-8"},
        {"{\"a\":" T("U8", "[1]", "[-1,0]") "}", 1, E_FORMAT, "no whole number"},
        {"{\"a\":" T("U8", "[1]", "[0,18446744073709551617]") "}", 1, E_FORMAT, "too large"},
        {"{\"a\":" T("U8", "[1]", "[18446744073709551615,0]") "}", 1, E_FORMAT, "do not fit"},
        {"{\"a\":" T("U8", "[4]", "[18446744073709551612,18446744073709551616]") "}", 4, E_FORMAT,
         "too large"},
        {"{\"a\":" T("U8", "[0]", "[18446744073709551615,18446744073709551615]") "}", 0, E_FORMAT,
         "'a': lies behind the end"},
        {"{\"a\":" T("F16", "[9223372036854775807,2]", "[0,1]") "}", 1, E_FORMAT,
         "too many numbers"},
        {"{\"a\":" T("f32", "[1]", "[0,4]") "}", 4, E_UNSUPPORTED, "type 'f32' is not known"},
        {"{\"a\":{\"dtype\":3,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, E_FORMAT, "no string"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":1,\"data_offsets\":[0,1]}}", 1, E_FORMAT, "no list"},
        {"{\"a\":[]}", 0, E_FORMAT, "a tensor that is no object"},
        {"{\"__metadata__\":[]}", 0, E_FORMAT, "is no object"},
        {"{\"__metadata__\":{\"k\":null}}", 0, E_FORMAT, "no string"},
        {"{\"__metadata__\":{\"k\":{\"x\":\"y\"}}}", 0, E_FORMAT, "no string"},
        {"{\"a\":{\"x\":[0,-1,2.5,1e9,-0.0E-1],\"dtype\":\"U8\",\"shape\":[1],"
         "\"data_offsets\":[0,1]}}",
         1, 0, ""},
        {"{\"a\":{\"x\":1.}}", 1, E_FORMAT, "a broken number"},
        {"{\"a\":{\"x\":--1}}", 1, E_FORMAT, "a broken number"},
        {"{\"a\":{\"x\":1e}}", 1, E_FORMAT, "a broken number"},
        {"{\"a\":{\"x\":nul}}", 1, E_FORMAT, "no value"},
        {"{\"a\":{\"x\":01}}", 1, E_FORMAT, "an object without end"},
        {"{\"a\":{\"x\":[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]}}", 1, E_FORMAT, "too deep"},
    };
    struct buf b = {0};

    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        struct safetensors *s;
        struct err e = {0};
        int rc = open_header(&s, &b, row[i].head, row[i].n, &e);

        ck_assert_msg(rc == row[i].code, "%s: %d %s", row[i].head, rc, e.text);
        ck_assert_msg(strstr(e.text, row[i].part), "%s: '%s'", row[i].head, e.text);
        ck_assert(rc == 0 || strncmp(e.text, "x.safetensors: ", 15) == 0);
        st_close(s);
    }
    buf_fini(&b);
}
END_TEST

/* A header of exactly 100 MB is the longest one. */
START_TEST(longest_header)
{
    const size_t n = 100 * 1000 * 1000 + 1;
    uint8_t *p = mem_array(n + 8, 1, NULL);
    struct safetensors *s;
    struct err e = {0};

    ck_assert_ptr_nonnull(p);
    memset(p + 8, ' ', n);
    memcpy(p + 8, "{}", 2);
    for (int more = 1; more >= 0; more--) {
        for (int i = 0; i < 8; i++)
            p[i] = (uint8_t)((n - 1 + (size_t)more) >> (8 * i));
        e = (struct err){0};
        if (more)
            ck_fails(st_open_mem(&s, "x", p, n + 8, &e), &e, E_FORMAT,
                     "a header of 100000001 bytes of 100000009");
        else
            ck_ok(st_open_mem(&s, "x", p, n + 7, &e), &e);
    }
    st_close(s);
    mem_free(p);
}
END_TEST

/* Two files of an index that both hold a tensor. */
START_TEST(a_tensor_in_two_parts)
{
    const char *dir = tmpfile_path("st2");
    char path[600];
    struct safetensors *s;
    struct err e = {0};

    make_dir(dir, "{\"weight_map\": {\"a\": \"x\", \"b\": \"y\"}}", "x", NULL);
    snprintf(path, sizeof path, "%s/y", dir);
    ck_assert_int_eq(symlink(srcfile(DIR "/split/model-00001-of-00002.safetensors"), path), 0);
    ck_fails(st_open(&s, dir, &e), &e, E_FORMAT, "y: tensor 'a' is in ");
    remove_dir(dir);
}
END_TEST

START_TEST(cut_anywhere)
{
    struct file_view v;
    struct err e = {0};
    struct safetensors *s;

    ck_ok(file_read(&v, srcfile(DIR "/types.safetensors"), 0, &e), &e);
    for (size_t n = 0; n < v.n; n++) {
        void *copy = mem_dup(v.p, n, NULL);

        e = (struct err){0};
        if (st_open_mem(&s, "x", copy, n, &e) != E_FORMAT)
            ck_abort_msg("%zu bytes: %s", n, e.text);
        mem_free(copy);
    }
    file_unmap(&v);
}
END_TEST

START_TEST(memory_runs_out)
{
    const char *path = srcfile(DIR "/split");
    struct safetensors *s;
    struct err e = {0};
    int rc = E_NOMEM;

    for (long n = 0; rc < 0; n++) {
        e = (struct err){0};
        mem_fail_after(n);
        rc = st_open(&s, path, &e);
        if (rc < 0 && rc != E_NOMEM)
            ck_abort_msg("allocation %ld: %d %s", n, rc, e.text);
        if (rc == 0 && mem_fail_hit())
            ck_abort_msg("allocation %ld failed and nothing was said", n);
    }
    mem_fail_after(-1);
    st_close(s);
    rc = -1;
    for (long n = 0; rc < 0; n++) {
        e = (struct err){0};
        file_fail_after(n);
        rc = st_open(&s, path, &e);
    }
    file_fail_after(-1);
    st_close(s);
}
END_TEST

START_TEST(what_is_written_is_read)
{
    const char *path = tmpfile_path("out.safetensors");
    const uint64_t shape[] = {2, 3};
    const float data[] = {0, 1, 2, 3, 4, 5};
    struct safetensors *s;
    struct st_out *w;
    struct err e = {0};

    ck_ok(st_create(&w, path, &e), &e);
    st_put_meta(w, "format", SLICE("pt"));
    st_put_tensor(w, SLICE("a\"b"), ST_F32, 2, shape);
    st_put_tensor(w, SLICE("c"), ST_U8, 1, shape);
    ck_ok(st_begin(w, &e), &e);
    ck_ok(st_data(w, data, sizeof data, &e), &e);
    ck_ok(st_data(w, "xy", 2, &e), &e);
    ck_ok(st_finish(w, &e), &e);
    ck_ok(st_open(&s, path, &e), &e);
    ck_assert_uint_eq(s->n_tensor, 2);
    ck_assert_int_eq(memcmp(st_find(s, SLICE("a\"b"))->p, data, sizeof data), 0);
    ck_assert_uint_eq((size_t)(s->tensor[0].p - s->part[0].view.p) % 8, 0);
    ck_assert(slice_is(s->meta[0].value, "pt"));
    st_close(s);

    ck_ok(st_create(&w, path, &e), &e);
    st_put_tensor(w, SLICE("a"), ST_F32, 2, shape);
    ck_ok(st_begin(w, &e), &e);
    ck_fails(st_data(w, data, sizeof data + 1, &e), &e, E_RANGE, "1 bytes behind");
    e = (struct err){0};
    ck_fails(st_finish(w, &e), &e, E_RANGE, "0 of 24 bytes");
    ck_ok(st_open(&s, path, &(struct err){0}), &e); /* the earlier file is still there */
    st_close(s);
    remove(path);
}
END_TEST

/* Every type, shape, name and metadata of the golden file. */
START_TEST(every_type_is_written)
{
    const char *path = tmpfile_path("types.safetensors");
    struct safetensors *a, *b;
    struct st_out *w;
    struct err e = {0};

    ck_ok(st_open(&a, srcfile(DIR "/types.safetensors"), &e), &e);
    ck_ok(st_create(&w, path, &e), &e);
    for (uint32_t i = 0; i < a->n_meta; i++) {
        char key[64];

        snprintf(key, sizeof key, "%.*s", (int)a->meta[i].key.n, a->meta[i].key.p);
        st_put_meta(w, key, a->meta[i].value);
    }
    for (uint32_t i = 0; i < a->n_tensor; i++)
        st_put_tensor(w, a->tensor[i].name, a->tensor[i].type, a->tensor[i].n_dims,
                      a->tensor[i].shape);
    ck_ok(st_begin(w, &e), &e);
    for (uint32_t i = 0; i < a->n_tensor; i++)
        ck_ok(st_data(w, a->tensor[i].p, a->tensor[i].bytes, &e), &e);
    ck_ok(st_finish(w, &e), &e);
    ck_ok(st_open(&b, path, &e), &e);
    ck_assert_uint_eq(a->n_tensor, b->n_tensor);
    ck_assert_uint_eq(a->n_meta, b->n_meta);
    for (uint32_t i = 0; i < a->n_meta; i++)
        ck_assert(slice_eq(a->meta[i].key, b->meta[i].key) &&
                  slice_eq(a->meta[i].value, b->meta[i].value));
    for (uint32_t i = 0; i < a->n_tensor; i++) {
        const struct st_tensor *t = &a->tensor[i], *u = st_find(b, t->name);

        ck_assert_ptr_nonnull(u);
        ck_assert(t->type == u->type && t->n_dims == u->n_dims && t->bytes == u->bytes);
        ck_assert_mem_eq(t->shape, u->shape, sizeof t->shape);
        ck_assert_mem_eq(t->p, u->p, t->bytes);
    }
    st_close(a);
    st_close(b);
    remove(path);
}
END_TEST

START_TEST(shapes_that_cannot_be_written)
{
    static const uint64_t huge[] = {UINT64_MAX, 2}, half[] = {1ull << 62, 4};
    const char *path = tmpfile_path("huge.safetensors");

    for (int i = 0; i < 3; i++) {
        struct st_out *w;
        struct err e = {0};

        ck_ok(st_create(&w, path, &e), &e);
        st_put_tensor(w, SLICE("a"), i == 2 ? ST_N_TYPES : ST_F32, 2, i ? half : huge);
        ck_fails(st_begin(w, &e), &e, E_RANGE, "'a': a shape or type that cannot be written");
        st_abort(w);
        ck_assert(!file_exists(path));
    }
}
END_TEST

TEST_MAIN("file/safetensors", every_type, eight_bit_floats, a_directory_of_parts, bad_indexes,
          what_is_refused, cut_anywhere, memory_runs_out, what_is_written_is_read,
          every_type_is_written, shapes_that_cannot_be_written, longest_header,
          a_tensor_in_two_parts)
