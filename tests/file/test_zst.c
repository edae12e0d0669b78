/* test_zst.c - compressed files: what other programs read and write, models in them, and files that
 * were spoilt.
 */
#include "tests/suite.h"

#include <zstd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "file/gguf.h"
#include "file/source.h"
#include "file/zst.h"

static const char *const model = "tests/golden/arch/qwen2.gguf";

/* -- bytes -- */

/* n bytes of which some repeat. */
static uint8_t *some_bytes(size_t n)
{
    uint8_t *p = mem_new(n, NULL);
    uint32_t x = 12345;

    for (size_t i = 0; i < n; i++) {
        x = x * 1664525 + 1013904223;
        p[i] = (uint8_t)(i % 4 ? x >> 24 : 0x3c);
    }
    return p;
}

/* Writes bytes in pieces of odd sizes, a frame beginning after each of cuts. */
static int write_cut(const char *path, const uint8_t *p, size_t n, const size_t *cut, int n_cut,
                     int threads, struct err *e)
{
    struct file_out *f = NULL;
    struct zst_out *z = NULL;
    int rc = file_create(&f, path, e), c = 0;

    if (rc == 0)
        rc = zst_out_new(&z, f, threads, e);
    for (size_t at = 0; at < n && rc == 0;) {
        size_t end = c < n_cut ? cut[c] : n, m = end - at < 70001 ? end - at : 70001;

        rc = zst_put(z, p + at, m, e);
        at += m;
        if (c < n_cut && at == cut[c]) {
            zst_cut(z);
            c++;
        }
    }
    if (rc == 0)
        rc = zst_end(z, e);
    zst_out_free(z);
    if (rc == 0)
        return file_commit(f, e);
    file_abort(f);
    return rc;
}

/* What libzstd, which knows nothing of the table, makes of a file. */
static void stock_gives(const char *path, const uint8_t *want, size_t n)
{
    ZSTD_DStream *d = ZSTD_createDStream();
    uint8_t *got = mem_new(n + 1, NULL);
    ZSTD_outBuffer out = {got, n + 1, 0};
    struct file_view v;
    struct err e = {0};
    size_t left = 0;

    ck_ok(file_read(&v, path, 0, &e), &e);
    for (ZSTD_inBuffer in = {v.p, v.n, 0}; in.pos < in.size;) {
        left = ZSTD_decompressStream(d, &out, &in);
        ck_assert_msg(!ZSTD_isError(left), "%s", ZSTD_getErrorName(left));
    }
    ck_assert_uint_eq(left, 0);
    ck_assert_uint_eq(out.pos, n);
    ck_assert(memcmp(got, want, n) == 0);
    file_unmap(&v);
    mem_free(got);
    ZSTD_freeDStream(d);
}

static const size_t cuts[] = {1, 100, 100 + (3 << 20), 200 + (3 << 20), (6 << 20)};

START_TEST(stock_zstd_gives_the_bytes_back)
{
    const char *path = tmpfile_path("a.zst"), *other = tmpfile_path("b.zst");
    size_t n = (9 << 20) + 17;
    uint8_t *p = some_bytes(n);
    struct file_view a, b;
    struct err e = {0};

    ck_ok(write_cut(path, p, n, cuts, 5, 1, &e), &e);
    stock_gives(path, p, n);
    ck_ok(write_cut(other, p, n, cuts, 5, 3, &e), &e);
    ck_ok(file_read(&a, path, 0, &e), &e);
    ck_ok(file_read(&b, other, 0, &e), &e);
    ck_assert_uint_eq(a.n, b.n);
    ck_assert(memcmp(a.p, b.p, a.n) == 0);
    ck_assert_uint_lt(a.n, n);
    file_unmap(&a);
    file_unmap(&b);
    ck_ok(write_cut(path, p, 0, NULL, 0, 2, &e), &e);
    stock_gives(path, p, 0);
    mem_free(p);
    unlink(path);
    unlink(other);
}
END_TEST

/* Ranges at random, each read as it lies in want. */
static void ranges_are(struct zst *z, const uint8_t *want, size_t n, int times, struct team *team)
{
    uint8_t *out = mem_new(n + 100, NULL);
    uint64_t got;
    struct err e = {0};

    for (int i = 0; i < times; i++) {
        uint64_t r = rng_bits(5, 0, (uint64_t)i, 0), from = r % (n + 50), m = (r >> 32) % (n + 50);

        if (i == 0)
            from = 0, m = n + 50;
        ck_ok(zst_read(z, from, out, m, &got, team, &e), &e);
        ck_assert_uint_eq(got, from >= n ? 0 : m < n - from ? m : n - from);
        ck_assert(memcmp(out, want + (from < n ? from : n), got) == 0);
    }
    mem_free(out);
}

START_TEST(any_range_is_read)
{
    const char *path = tmpfile_path("r.zst");
    size_t n = (5 << 20) + 17;
    static const size_t cut[] = {1, 5000, 5001, 9999, 1 << 20};
    uint8_t *p = some_bytes(n);
    struct file_view v;
    struct team *team;
    struct zst *z;
    struct err e = {0};

    ck_ok(write_cut(path, p, n, cut, 5, 2, &e), &e);
    ck_ok(file_map(&v, path, &e), &e);
    ck_assert(zst_magic(v.p, v.n));
    ck_ok(team_new(&team, 3, &e), &e);
    ck_ok(zst_open(&z, path, &v, &e), &e);
    ck_assert_uint_eq(zst_bytes(z), n);
    ck_assert_uint_eq(zst_frames(z), 5 + 3);
    ranges_are(z, p, n, 12, team);
    ranges_are(z, p, n, 6, NULL);
    zst_close(z);
    /* the same bytes as others write them: one frame, no table, with and without its size */
    file_unmap(&v);
    for (int said = 0; said < 2; said++) {
        size_t room = ZSTD_compressBound(n);
        uint8_t *packed = mem_new(room, NULL);
        ZSTD_CCtx *c = ZSTD_createCCtx();

        ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, said);
        v = (struct file_view){packed, ZSTD_compress2(c, packed, room, p, n), false, NULL};
        ZSTD_freeCCtx(c);
        ck_ok(zst_open(&z, "m", &v, &e), &e);
        ck_assert_uint_eq(zst_frames(z), 0);
        ck_assert_uint_eq(zst_bytes(z), UINT64_MAX);
        ranges_are(z, p, n, 4, team);
        zst_close(z);
        mem_free(packed);
    }
    team_free(team);
    mem_free(p);
    unlink(path);
}
END_TEST

/* -- spoilt files -- */

static void put_u32(struct buf *b, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        buf_byte(b, (char)(v >> (8 * i)));
}

/* A table of n frames of the sizes given in pairs, as others write it (without sums). */
static void add_table(struct buf *b, const uint32_t *sizes, uint32_t n)
{
    put_u32(b, 0x184D2A5E);
    put_u32(b, 8 * n + 9);
    for (uint32_t i = 0; i < 2 * n; i++)
        put_u32(b, sizes[i]);
    put_u32(b, n);
    buf_byte(b, 0);
    put_u32(b, 0x8F92EAB1);
}

/* Opens bytes and reads all there is, a million bytes at most. */
static int read_bytes(const void *p, size_t n, uint8_t **out, uint64_t *got, struct err *e)
{
    struct file_view v = {p, n, false, NULL};
    struct zst *z;
    int rc = zst_open(&z, "m", &v, e);

    *out = mem_new(1000000, NULL);
    *got = 0;
    if (rc == 0)
        rc = zst_read(z, 0, *out, 1000000, got, NULL, e);
    zst_close(z);
    return rc;
}

static void refused(const struct buf *b, int code, const char *why)
{
    struct err e = {0};
    uint8_t *out;
    uint64_t got;

    ck_fails(read_bytes(b->p, b->n, &out, &got, &e), &e, code, why);
    mem_free(out);
}

START_TEST(tables_that_lie_are_refused)
{
    uint8_t raw[600], packed[2000];
    struct buf b = {0};
    uint32_t n;

    memset(raw, 7, sizeof raw);
    n = (uint32_t)ZSTD_compress(packed, sizeof packed, raw, sizeof raw, 1);
    struct {
        uint32_t sizes[4];
        uint32_t n_frame;
        const char *why; // NULL: it is right
    } table[] = {
        {{n, 600, n, 600}, 2, NULL},
        {{n, 601, n, 599}, 2, "frame 1 of 2 is not what the table says"},
        {{n, 599, n, 601}, 2, "frame 1 of 2 is not compressed as it should"},
        {{2 * n, 1200, 0, 0}, 2, NULL},
        {{n, 600, n - 1, 600}, 2, "does not fit the file"},
        {{n, 600, n + 1, 600}, 2, "does not fit the file"},
        {{0xFFFFFFFF, 600, 1, 600}, 2, "does not fit the file"},
        {{n, 0xFFFFFFFF, n, 600}, 2, "says more of a frame than can be in it"},
        {{n, 600, 0, 0}, 1, "does not fit the file"},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct err e = {0};
        uint8_t *out;
        uint64_t got;

        buf_clear(&b);
        buf_add(&b, packed, n);
        buf_add(&b, packed, n);
        add_table(&b, table[i].sizes, table[i].n_frame);
        if (table[i].why) {
            refused(&b, E_FORMAT, table[i].why);
            continue;
        }
        ck_ok(read_bytes(b.p, b.n, &out, &got, &e), &e);
        ck_assert_uint_eq(got, 1200);
        ck_assert(out[1199] == 7);
        mem_free(out);
    }
    /* more frames than the file has bytes, a later version, a table that begins elsewhere */
    buf_clear(&b);
    buf_add(&b, packed, n);
    add_table(&b, (uint32_t[]){n, 600}, 1);
    memset(b.p + b.n - 9, 0xFF, 4);
    refused(&b, E_FORMAT, "is longer than the file");
    memcpy(b.p + b.n - 9, "\1\0\0\0\x04", 5);
    refused(&b, E_UNSUPPORTED, "is of a later kind");
    b.p[b.n - 5] = 3; /* bits that mean nothing */
    b.p[b.n - 9 - 8 - 8]++;
    refused(&b, E_FORMAT, "does not begin where it should");
    buf_fini(&b);
}
END_TEST

/* Without a table the stream itself has to end as it should. */
START_TEST(cut_and_changed_files_are_found)
{
    const char *path = tmpfile_path("s.zst");
    static const size_t cut[] = {100, 3000};
    uint8_t *p = some_bytes(9000), *out;
    struct file_view v;
    struct err e = {0};
    uint64_t got;

    ck_ok(write_cut(path, p, 9000, cut, 2, 1, &e), &e);
    ck_ok(file_read(&v, path, 0, &e), &e);
    for (size_t n = 4; n < v.n; n += n < 40 || n + 80 > v.n ? 1 : 97) {
        int rc;

        e = (struct err){0};
        rc = read_bytes(v.p, n, &out, &got, &e);
        /* without its table a whole file is one that others write */
        if (rc == 0 && (got == 9000 || got == 3000 || got == 100)) {
            if (memcmp(out, p, got) != 0)
                ck_abort_msg("other bytes of %zu", n);
        } else if (rc != E_FORMAT || strncmp(e.text, "m: ", 3) != 0) {
            ck_abort_msg("%zu bytes: %d %s", n, rc, e.text);
        }
        mem_free(out);
    }
    for (size_t i = 0; i < v.n; i += i % 50 == 0 ? 1 : 7) {
        uint8_t *bad = mem_dup(v.p, v.n, NULL);
        int rc;

        bad[i] ^= (uint8_t)(1 << i % 8);
        e = (struct err){0};
        rc = read_bytes(bad, v.n, &out, &got, &e);
        if (rc == 0 ? got != 9000 || memcmp(out, p, 9000) != 0
                    : rc != E_FORMAT && rc != E_UNSUPPORTED)
            ck_abort_msg("byte %zu changed: %d, %llu bytes: %s", i, rc, (unsigned long long)got,
                         e.text);
        mem_free(out);
        mem_free(bad);
    }
    file_unmap(&v);
    mem_free(p);
    unlink(path);
}
END_TEST

/* -- models -- */

/* Copies a model through reader and writer; parts says how many files. */
static void copy_model(const struct gguf *g, const char *path, uint32_t parts)
{
    struct err e = {0};
    uint32_t per = g->n_tensor / parts + 1;

    for (uint32_t i = 0; i < parts; i++) {
        struct gguf_out *w;
        struct buf name = {0};
        uint32_t end = (i + 1) * per < g->n_tensor ? (i + 1) * per : g->n_tensor;

        if (parts > 1)
            gguf_part_name(&name, path, i, parts);
        else
            buf_str(&name, path);
        ck_ok(gguf_create(&w, name.p, 0, &e), &e);
        for (uint32_t k = 0; k < g->n_key && i == 0; k++)
            gguf_put_key(w, &g->key[k]);
        if (parts > 1) {
            gguf_put_u32(w, "split.no", i);
            gguf_put_u32(w, "split.count", parts);
        }
        for (uint32_t k = i * per; k < end; k++)
            gguf_put_tensor(w, g->tensor[k].name, g->tensor[k].type, g->tensor[k].n_dims,
                            g->tensor[k].ne);
        gguf_threads(w, 2);
        ck_ok(gguf_begin(w, &e), &e);
        for (uint32_t k = i * per; k < end; k++)
            ck_ok(gguf_data(w, g->tensor[k].p, g->tensor[k].bytes, &e), &e);
        ck_ok(gguf_finish(w, &e), &e);
        buf_fini(&name);
    }
}

static void same_model(const char *path, const struct gguf *want)
{
    struct gguf_packing z;
    struct source *s;
    struct gguf *g;
    struct err e = {0};

    ck_ok(gguf_open(&g, path, 0, &e), &e);
    ck_assert_uint_eq(g->n_tensor, want->n_tensor);
    for (uint32_t i = 0; i < g->n_tensor; i++) {
        ck_assert(slice_eq(g->tensor[i].name, want->tensor[i].name));
        ck_assert(memcmp(g->tensor[i].p, want->tensor[i].p, want->tensor[i].bytes) == 0);
        ck_assert_uint_eq((uintptr_t)g->tensor[i].p % g->alignment, 0);
    }
    gguf_packing(g, &z);
    ck_assert(z.packed && z.bytes >= want->file_bytes && g->file_bytes < z.bytes);
    gguf_close(g);

    ck_ok(source_open(&s, path, 0, &e), &e);
    for (int turn = 0; turn < 2; turn++)
        for (uint32_t k = 0; k < want->n_tensor; k++) {
            uint32_t i = turn ? want->n_tensor - 1 - k : k;
            const struct gguf_tensor *t = &s->g->tensor[i];
            uint64_t rows = source_n_rows(t), half = rows / 2;
            uint8_t *out = mem_new(t->bytes, NULL);

            ck_assert(t->p == NULL);
            if (turn)
                ck_ok(source_begin(s, i, &e), &e);
            ck_ok(source_rows(s, i, half, rows - half, out, &e), &e);
            ck_assert(memcmp(out, want->tensor[i].p + half * source_row_bytes(t),
                             (rows - half) * source_row_bytes(t)) == 0);
            ck_assert(!turn || t->p);
            mem_free(out);
            source_done(s, i);
            ck_assert(t->p == NULL);
        }
    ck_ok(source_begin(s, 0, &e), &e); /* what is not done with is freed at the end */
    source_close(s);
}

START_TEST(models_compressed_are_the_same)
{
    const char *path = tmpfile_path("m.gguf.zst");
    struct buf part = {0};
    struct gguf *g;
    struct file_view v;
    struct err e = {0};

    ck_ok(gguf_open(&g, srcfile(model), 0, &e), &e);
    copy_model(g, path, 1);
    ck_ok(file_map(&v, srcfile(model), &e), &e);
    stock_gives(path, v.p, v.n);
    same_model(path, g);
    unlink(path);
    copy_model(g, path, 3);
    for (uint32_t i = 3; i-- > 0;) {
        buf_clear(&part);
        gguf_part_name(&part, path, i, 3);
        same_model(part.p, g);
    }
    for (uint32_t i = 0; i < 3; i++) {
        buf_clear(&part);
        gguf_part_name(&part, path, i, 3);
        ck_assert(strstr(part.p, "-of-00003.gguf.zst"));
        unlink(part.p);
    }
    buf_fini(&part);
    file_unmap(&v);
    gguf_close(g);
}
END_TEST

/* Frames that know nothing of tensors, with and without a table. */
START_TEST(models_compressed_by_others_are_the_same)
{
    const char *path = tmpfile_path("o.gguf.zst");
    struct file_view v;
    struct gguf *g;
    struct err e = {0};

    ck_ok(gguf_open(&g, srcfile(model), 0, &e), &e);
    ck_ok(file_map(&v, srcfile(model), &e), &e);
    for (size_t per = 1000; per < v.n * 40; per *= 40) {
        struct buf b = {0}, sizes = {0};
        struct file_out *f;

        for (size_t at = 0; at < v.n; at += per) {
            uint32_t n = (uint32_t)(v.n - at < per ? v.n - at : per), size[2];
            size_t room = ZSTD_compressBound(n);

            buf_reserve(&b, room);
            size[0] = (uint32_t)ZSTD_compress(b.p + b.n, room, v.p + at, n, 1);
            size[1] = n;
            b.n += size[0];
            buf_add(&sizes, size, sizeof size);
        }
        for (int table = 0; table < 2; table++) {
            if (table)
                add_table(&b, (const uint32_t *)(const void *)sizes.p, (uint32_t)(sizes.n / 8));
            ck_ok(file_create(&f, path, &e), &e);
            ck_ok(file_write(f, b.p, b.n, &e), &e);
            ck_ok(file_commit(f, &e), &e);
            same_model(path, g);
        }
        buf_fini(&b);
        buf_fini(&sizes);
    }
    file_unmap(&v);
    gguf_close(g);
    unlink(path);
}
END_TEST

static void write_file(const char *path, const void *p, size_t n)
{
    struct file_out *f;
    struct err e = {0};

    ck_ok(file_create(&f, path, &e), &e);
    ck_ok(file_write(f, p, n, &e), &e);
    ck_ok(file_commit(f, &e), &e);
}

/* Small files that would become large: nothing is allocated that is not there. */
START_TEST(bombs_are_refused)
{
    const char *path = tmpfile_path("bomb.zst");
    size_t n = 64 << 20, m;
    uint8_t *zeros = mem_new(n, NULL), *packed = mem_new(1 << 20, NULL);
    uint32_t size[2];
    struct buf b = {0};
    struct gguf *g;
    struct err e = {0};

    m = ZSTD_compress(packed, 1 << 20, zeros, n, 1);
    write_file(path, packed, m); /* 64 MB of zeros in a few KB */
    ck_fails(gguf_open(&g, path, 0, &e), &e, E_FORMAT, "not a GGUF file");

    /* a model that has no data, with zeros without end behind it */
    struct gguf_out *w;
    ck_ok(gguf_create(&w, NULL, 0, &e), &e);
    gguf_put_tensor(w, SLICE("t"), 0, 1, (uint64_t[]){8});
    ck_ok(gguf_head(w, &b, &e), &e);
    gguf_abort(w);
    memcpy(zeros, b.p, b.n);
    m = ZSTD_compress(packed, 1 << 20, zeros, n, 1);
    write_file(path, packed, m);
    e = (struct err){0};
    ck_fails(gguf_open(&g, path, 0, &e), &e, E_FORMAT, "goes on far behind its last tensor");

    /* the same with a table of 60,000 such frames: more than any memory */
    size[0] = (uint32_t)m, size[1] = (uint32_t)n;
    buf_clear(&b);
    for (int i = 0; i < 60000; i++)
        buf_add(&b, size, sizeof size);
    struct buf file = {0};
    for (int i = 0; i < 60000; i++)
        buf_add(&file, packed, m);
    add_table(&file, (const uint32_t *)(const void *)b.p, 60000);
    write_file(path, file.p, file.n);
    e = (struct err){0};
    ck_fails(gguf_open(&g, path, 0, &e), &e, E_NOMEM, "for it is compressed, and");
    buf_fini(&file);
    buf_fini(&b);
    mem_free(zeros);
    mem_free(packed);
    unlink(path);
}
END_TEST

START_TEST(every_failure_is_said)
{
    const char *path = tmpfile_path("f.gguf.zst");
    uint8_t *p = some_bytes(300000);
    static const size_t cut[] = {1000};
    struct err e = {0};
    struct gguf *g;
    int rc = -1, failed = 0;

    for (int files = 0; files < 2; files++)
        for (long i = 0, hit = 1; hit; i++) {
            e = (struct err){0};
            files ? file_fail_after(i) : mem_fail_after(i);
            rc = write_cut(path, p, 300000, cut, 1, 2, &e);
            hit = files ? file_fail_hit() : mem_fail_hit();
            files ? file_fail_after(-1) : mem_fail_after(-1);
            if (hit && (rc >= 0 || !e.text[0] || access(path, F_OK) == 0))
                ck_abort_msg("call %ld: %d %s", i, rc, e.text);
            failed += (int)hit;
            unlink(path);
        }
    ck_assert_int_gt(failed, 8);
    ck_ok(gguf_open(&g, srcfile(model), 0, &e), &e);
    copy_model(g, path, 1);
    gguf_close(g);
    failed = 0;
    for (int files = 0; files < 2; files++)
        for (long i = 0, hit = 1; hit; i++) {
            e = (struct err){0};
            files ? file_fail_after(i) : mem_fail_after(i);
            if ((rc = gguf_open(&g, path, 0, &e)) == 0)
                gguf_close(g);
            hit = files ? file_fail_hit() : mem_fail_hit();
            files ? file_fail_after(-1) : mem_fail_after(-1);
            /* a file that cannot be mapped is read; how much memory is free need not be known */
            if (rc < 0 && !e.text[0])
                ck_abort_msg("call %ld: no sentence", i);
            failed += rc < 0;
        }
    ck_assert_int_gt(failed, 8);
    mem_free(p);
    unlink(path);
}
END_TEST

TEST_MAIN("file/zst", stock_zstd_gives_the_bytes_back, any_range_is_read,
          tables_that_lie_are_refused, cut_and_changed_files_are_found,
          models_compressed_are_the_same, models_compressed_by_others_are_the_same,
          bombs_are_refused, every_failure_is_said)
