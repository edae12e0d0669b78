/* test_source.c - a GGUF file and the same bytes through a pipe give the same rows. */
#include "tests/suite.h"

#include <pthread.h>
#include <signal.h>
#include "base/mem.h"
#include "file/source.h"

static const char *const model = "tests/golden/arch/qwen2.gguf";

/* What a thread writes into standard input's pipe. */
struct feed {
    int fd;
    const uint8_t *p;
    size_t n;
};

static void *feed_run(void *arg)
{
    struct feed *f = arg;

    for (size_t at = 0; at < f->n;) {
        size_t n = f->n - at < 1000 ? f->n - at : 1000;
        ssize_t put = write(f->fd, f->p + at, n);

        if (put <= 0)
            break;
        at += (size_t)put;
    }
    close(f->fd);
    return NULL;
}

/* Makes standard input a pipe with these bytes; returns what to give to unfeed. */
struct fed {
    struct feed f;
    pthread_t thread;
    int old;
};

static void feed(struct fed *d, const uint8_t *p, size_t n)
{
    int ends[2];

    signal(SIGPIPE, SIG_IGN);
    ck_assert_int_eq(pipe(ends), 0);
    d->old = dup(STDIN_FILENO);
    ck_assert_int_ge(dup2(ends[0], STDIN_FILENO), 0);
    close(ends[0]);
    d->f = (struct feed){ends[1], p, n};
    ck_assert_int_eq(pthread_create(&d->thread, NULL, feed_run, &d->f), 0);
}

static void unfeed(struct fed *d)
{
    dup2(d->old, STDIN_FILENO); /* the pipe's last reader goes: a writer that waits gets EPIPE */
    close(d->old);
    pthread_join(d->thread, NULL);
}

static void same_rows(struct source *s, const struct gguf *g, uint64_t step)
{
    struct err e = {0};

    ck_assert_uint_eq(s->g->n_tensor, g->n_tensor);
    for (uint32_t i = 0; i < g->n_tensor; i++) {
        const struct gguf_tensor *t = &g->tensor[i];
        uint64_t n = source_n_rows(t), bytes = source_row_bytes(t);
        uint8_t *got = mem_new(t->bytes, NULL);

        ck_assert(slice_eq(s->g->tensor[i].name, t->name));
        for (uint64_t r = 0; r < n; r += step) {
            uint64_t m = n - r < step ? n - r : step;

            ck_ok(source_rows(s, i, r, m, got + r * bytes, &e), &e);
        }
        ck_assert_int_eq(memcmp(got, t->p, t->bytes), 0);
        source_done(s, i);
        mem_free(got);
    }
}

START_TEST(a_file_and_a_pipe_give_the_same)
{
    struct err e = {0};
    struct file_view v;
    struct source *s;
    struct gguf *g;
    struct fed d;

    ck_ok(gguf_open(&g, srcfile(model), 0, &e), &e);
    ck_ok(source_open(&s, srcfile(model), 0, &e), &e);
    ck_assert(!s->stream);
    same_rows(s, g, 3);
    source_close(s);

    ck_ok(file_map(&v, srcfile(model), &e), &e);
    feed(&d, v.p, v.n);
    ck_ok(source_open(&s, "-", 0, &e), &e);
    ck_assert(s->stream);
    same_rows(s, g, 5);
    source_close(s);
    unfeed(&d);
    file_unmap(&v);
    gguf_close(g);
}
END_TEST

START_TEST(a_pipe_goes_by_once)
{
    struct err e = {0};
    struct file_view v;
    struct source *s;
    struct fed d;
    uint8_t row[4096];

    ck_ok(file_map(&v, srcfile(model), &e), &e);
    feed(&d, v.p, v.n);
    ck_ok(source_open(&s, "-", 0, &e), &e);
    ck_assert_uint_le(source_row_bytes(&s->g->tensor[1]), sizeof row);
    ck_ok(source_rows(s, 1, 0, 1, row, &e), &e);
    ck_fails(source_rows(s, 0, 0, 1, row, &e), &e, E_USAGE, "has gone by");
    source_close(s);
    unfeed(&d);
    file_unmap(&v);
}
END_TEST

START_TEST(a_short_pipe_says_so)
{
    struct file_view v;
    struct err e = {0};

    ck_ok(file_map(&v, srcfile(model), &e), &e);
    for (size_t n = 0; n < v.n; n += n < 1024 ? 97 : v.n / 3) {
        struct source *s = NULL;
        struct fed d;
        uint8_t row[4096];
        int rc;

        e = (struct err){0};
        feed(&d, v.p, n);
        rc = source_open(&s, "-", 0, &e);
        for (uint32_t i = 0; rc == 0 && i < s->g->n_tensor; i++)
            rc = source_rows(s, i, source_n_rows(&s->g->tensor[i]) - 1, 1, row, &e);
        ck_fails(rc, &e, E_FORMAT, "-: ");
        source_close(s);
        unfeed(&d);
    }
    file_unmap(&v);
}
END_TEST

TEST_MAIN("file/source", a_file_and_a_pipe_give_the_same, a_pipe_goes_by_once, a_short_pipe_says_so)
