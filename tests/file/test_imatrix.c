/* test_imatrix.c - importance matrices written, read, added up, and malformed ones refused. */
#include "file/imatrix.h"

#include <math.h>

#include "base/mem.h"
#include "tests/suite.h"

static struct imatrix *make(uint32_t cols, float value)
{
    struct imatrix *m;
    struct imatrix_entry *x;
    struct err e = {0};

    ck_ok(imatrix_new(&m, &e), &e);
    ck_ok(imatrix_add(m, SLICE("blk.1.ffn_down_exps.weight"), cols, 2, &x, &e), &e);
    for (uint32_t i = 0; i < 2 * cols; i++)
        x->sum[i] = value * (float)i;
    x->count[0] = 4.0f;
    ck_ok(imatrix_add(m, SLICE("blk.0.attn_q.weight"), 3, 1, &x, &e), &e);
    x->sum[0] = x->sum[1] = x->sum[2] = value;
    x->count[0] = 2.0f;
    ck_ok(imatrix_add_dataset(m, SLICE("text"), &e), &e);
    m->chunks = 5;
    m->chunk_size = 64;
    return m;
}

static const char *temp(void)
{
    static char path[64];

    snprintf(path, sizeof path, "/tmp/rill-test-imatrix-%ld", (long)getpid());
    return path;
}

START_TEST(comes_back)
{
    struct imatrix *m = make(32, 0.5f), *back;
    const struct imatrix_entry *x;
    struct err e = {0};
    float mean[64];

    ck_ok(imatrix_save(m, temp(), &e), &e);
    ck_ok(imatrix_open(&back, temp(), &e), &e);
    ck_assert_uint_eq(back->n, 2);
    ck_assert_uint_eq(back->chunks, 5);
    ck_assert_uint_eq(back->chunk_size, 64);
    ck_assert_str_eq(back->dataset[0], "text");
    x = imatrix_find(back, SLICE("blk.1.ffn_down_exps.weight"));
    ck_assert(x && x->cols == 32 && x->mats == 2);
    imatrix_means(x, mean);
    ck_assert(mean[8] == 0.5f * 8.0f / 4.0f);
    ck_assert(mean[40] == 1.0f); /* an expert that was never used */
    ck_assert(!imatrix_find(back, SLICE("other")));
    ck_ok(imatrix_merge(back, m, &e), &e);
    ck_assert(x->sum[8] == 8.0f && x->count[0] == 8.0f);
    ck_assert_uint_eq(back->chunks, 10);
    ck_assert_uint_eq(back->n_dataset, 1);
    imatrix_free(m);
    m = make(16, 1.0f);
    ck_fails(imatrix_merge(back, m, &e), &e, E_FORMAT, "2 x 32 values of importance here");
    imatrix_free(m);
    imatrix_free(back);
    unlink(temp());
}
END_TEST

static void put(const void *p, size_t n)
{
    FILE *f = fopen(temp(), "wb");

    ck_assert(f && fwrite(p, 1, n, f) == n && fclose(f) == 0);
}

START_TEST(older_files)
{
    struct {
        uint32_t n, len;
        char name[4];
        uint32_t calls, values;
        float v[2];
        uint32_t chunks, n_set;
        char set[4];
    } old = {1, 4, {'a', '.', 'w', 't'}, 4, 2, {8.0f, 2.0f}, 7, 4, {'f', 'i', 'l', 'e'}};
    struct imatrix *m;
    struct err e = {0};
    float mean[2];

    put(&old, sizeof old);
    ck_ok(imatrix_open(&m, temp(), &e), &e);
    imatrix_means(&m->entry[0], mean);
    ck_assert(mean[0] == 2.0f && mean[1] == 0.5f);
    ck_assert_uint_eq(m->chunks, 7);
    imatrix_free(m);
    put(&old, 24);
    ck_fails(imatrix_open(&m, temp(), &e), &e, E_FORMAT, "entry 1 of 1 is malformed");
    e = (struct err){0};
    old.v[1] = NAN;
    put(&old, sizeof old);
    ck_fails(imatrix_open(&m, temp(), &e), &e, E_FORMAT, "no number or below 0");
    e = (struct err){0};
    old.values = 1u << 30;
    put(&old, sizeof old);
    ck_fails(imatrix_open(&m, temp(), &e), &e, E_FORMAT, "malformed");
    unlink(temp());
}
END_TEST

START_TEST(memory_runs_out)
{
    struct imatrix *m = make(32, 1.0f), *back;
    struct err e = {0};

    ck_ok(imatrix_save(m, temp(), &e), &e);
    for (long n = 0; n < 1000; n++) {
        int rc;

        e = (struct err){0};
        mem_fail_after(n);
        rc = imatrix_open(&back, temp(), &e);
        mem_fail_after(-1);
        if (rc == 0) {
            imatrix_free(back);
            break;
        }
        ck_assert_int_eq(rc, E_NOMEM);
        ck_assert(n < 999);
    }
    imatrix_free(m);
    unlink(temp());
}
END_TEST

TEST_MAIN("file/imatrix", comes_back, older_files, memory_runs_out)
