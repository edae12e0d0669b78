/* test_gguf_split.c - a model in several files opens as one, or says which part does not fit; and
 * opening survives each failing allocation and file operation. */
#include "tests/file/gguf_make.h"

#include <unistd.h>

/* The path of part no (from 1) of count of a model named for this process; static, per part. */
static const char *part_path(const char *stem, int no, int count)
{
    static char path[4][1024];
    char name[64];

    snprintf(name, sizeof name, "%s-%05d-of-%05d.gguf", stem, no, count);
    snprintf(path[no], sizeof path[no], "%s", tmpfile_path(name));
    return path[no];
}

/* Writes one part with two tensors t<2*no> and t<2*no+1> of 4 floats. says_no and says_count go
 * into its keys; total < 0: no such key. */
static void write_part(const char *path, int says_no, int says_count, int total, int first)
{
    struct gguf_out *w;
    struct err e = {0};
    float data[8];

    ck_ok(gguf_create(&w, path, 0, &e), &e);
    gguf_put_u32(w, "part.first", (uint32_t)first);
    if (says_count >= 0) {
        gguf_put_array(w, "unused", GGUF_U8, "x", 1);
        gguf_put_key(w, &(struct gguf_key){
                            SLICE("split.no"), GGUF_U16, {(char[]){(char)says_no, 0}, 2}, {0}});
        gguf_put_key(w,
                     &(struct gguf_key){
                         SLICE("split.count"), GGUF_U16, {(char[]){(char)says_count, 0}, 2}, {0}});
    }
    if (total >= 0)
        gguf_put_i32(w, "split.tensors.count", total);
    for (int i = 0; i < 2; i++) {
        char name[16];

        snprintf(name, sizeof name, "t%d", first + i);
        gguf_put_tensor(w, slice_of(name), 0, 1, (uint64_t[]){4});
    }
    for (int i = 0; i < 8; i++)
        data[i] = (float)(first * 10 + i);
    ck_ok(gguf_begin(w, &e), &e);
    ck_ok(gguf_data(w, data, sizeof data, &e), &e);
    ck_ok(gguf_finish(w, &e), &e);
}

static void write_three(const char *stem, int total)
{
    for (int i = 0; i < 3; i++)
        write_part(part_path(stem, i + 1, 3), i, 3, total, 2 * i);
}

static void unlink_three(const char *stem)
{
    for (int i = 0; i < 3; i++)
        unlink(part_path(stem, i + 1, 3));
}

START_TEST(any_part_opens_all)
{
    struct err e = {0};

    write_three("all", 6);
    for (int no = 1; no <= 3; no++) {
        struct gguf *g;
        uint32_t first = 99;

        ck_ok(gguf_open(&g, part_path("all", no, 3), no == 2 ? GGUF_READ : 0, &e), &e);
        ck_assert_uint_eq(g->n_part, 3);
        ck_assert_uint_eq(g->n_tensor, 6);
        ck_assert_int_eq(gguf_get_u32(g, "part.first", &first, &e), 1);
        ck_assert_uint_eq(first, 0);
        for (int i = 0; i < 6; i++) {
            char name[16];
            const struct gguf_tensor *t;
            float v;

            snprintf(name, sizeof name, "t%d", i);
            t = gguf_tensor(g, name);
            ck_assert_ptr_nonnull(t);
            ck_assert_uint_eq(t->part, (uint32_t)i / 2);
            memcpy(&v, t->p, sizeof v);
            ck_assert(v == (float)((i / 2) * 20 + (i % 2) * 4));
            gguf_willneed(g, t);
        }
        gguf_close(g);
    }
    unlink_three("all");
}
END_TEST

START_TEST(parts_that_do_not_fit)
{
    const char *one = part_path("bad", 1, 3);
    const char *lone;
    struct gguf *g;
    struct err e = {0};

    write_three("bad", 7);
    ck_fails(gguf_open(&g, one, 0, &e), &e, E_FORMAT,
             "key 'split.tensors.count': 7, the 3 parts have 6");
    write_three("bad", -1);
    write_part(part_path("bad", 3, 3), 1, 3, -1, 4);
    e = (struct err){0};
    ck_fails(gguf_open(&g, one, 0, &e), &e, E_FORMAT,
             "bad-00003-of-00003.gguf: key 'split.no': 1, expected 2 by its name");
    write_part(part_path("bad", 3, 3), 2, 4, -1, 4);
    e = (struct err){0};
    ck_fails(gguf_open(&g, one, 0, &e), &e, E_FORMAT,
             "bad-00003-of-00003.gguf: key 'split.count': 4, the name says 3");
    write_part(part_path("bad", 3, 3), -1, -1, -1, 4);
    e = (struct err){0};
    ck_fails(gguf_open(&g, one, 0, &e), &e, E_FORMAT, "key 'split.count': 0, the name says 3");
    write_part(part_path("bad", 3, 3), 2, 3, -1, 2);
    e = (struct err){0};
    ck_fails(gguf_open(&g, one, 0, &e), &e, E_FORMAT, "tensor 't2': occurs twice");
    unlink(part_path("bad", 3, 3));
    e = (struct err){0};
    ck_fails(gguf_open(&g, one, 0, &e), &e, E_NOTFOUND, "bad-00003-of-00003.gguf: ");
    lone = tmpfile_path("renamed.gguf");
    write_part(lone, 0, 3, -1, 0);
    e = (struct err){0};
    ck_fails(gguf_open(&g, lone, 0, &e), &e, E_FORMAT,
             "one of 3 parts, but its name does not end in -NNNNN-of-00003.gguf");
    unlink(lone);
    unlink_three("bad");
}
END_TEST

/* A name that looks split says nothing when the file is whole. */
START_TEST(whole_file_with_a_split_name)
{
    const char *path = part_path("whole", 2, 3);
    struct gguf *g;
    struct err e = {0};

    write_part(path, -1, -1, -1, 0);
    ck_ok(gguf_open(&g, path, 0, &e), &e);
    ck_assert_uint_eq(g->n_part, 1);
    gguf_close(g);
    write_part(path, 0, 1, 2, 0);
    ck_ok(gguf_open(&g, path, 0, &e), &e);
    gguf_close(g);
    unlink(path);
}
END_TEST

/* Opens with every allocation, then every file operation, failing once. A refused mapping is read
 * instead, so success is allowed there. */
static void fail_each(const char *path, unsigned flags)
{
    struct gguf *g;
    struct err e;

    for (int kind = 0; kind < 2; kind++) {
        for (long n = 0;; n++) {
            bool hit;
            int rc;

            e = (struct err){0};
            if (kind)
                file_fail_after(n);
            else
                mem_fail_after(n);
            rc = gguf_open(&g, path, flags, &e);
            hit = kind ? file_fail_hit() : mem_fail_hit();
            file_fail_after(-1);
            mem_fail_after(-1);
            if (rc == 0)
                gguf_close(g);
            else
                ck_assert_msg(hit && rc == (kind ? E_IO : E_NOMEM) && e.code == rc, "%d: %s", rc,
                              e.text);
            ck_assert(rc < 0 || !hit || (kind && !flags));
            if (!hit)
                break;
        }
    }
}

START_TEST(failing_memory_and_files)
{
    write_three("fail", 6);
    fail_each(part_path("fail", 2, 3), 0);
    fail_each(part_path("fail", 2, 3), GGUF_READ);
    unlink_three("fail");
}
END_TEST

START_TEST(files_that_are_none)
{
    struct gguf *g;
    struct err e = {0};

    ck_fails(gguf_open(&g, tmpfile_path("absent.gguf"), 0, &e), &e, E_NOTFOUND, "absent.gguf");
    e = (struct err){0};
    ck_fails(gguf_open(&g, "/", 0, &e), &e, E_NOTFOUND, "/: ");
    e = (struct err){0};
    ck_fails(gguf_open(&g, "/dev/null", 0, &e), &e, E_FORMAT, "/dev/null: not a GGUF file");
}
END_TEST

TEST_MAIN("file/gguf_split", any_part_opens_all, parts_that_do_not_fit,
          whole_file_with_a_split_name, failing_memory_and_files, files_that_are_none)
