/* source.c - see source.h: GGUF files, mapped, compressed or coming through a pipe. */
#include "file/source.h"

#include "base/mem.h"
#include "base/thread.h"
#include "file/gguf_inner.h"
#include "file/zst.h"

enum {
    FEED_BYTES = 256 << 10, // of a compressed stream read at a time
    HEAD_FIRST = 1 << 20,   // bytes of a stream's head asked for first; then twice as many
    HEAD_MOST = 1 << 30,
};

struct from_file {
    struct source s;
    uint8_t **held;    // [n_tensor] of a compressed file: decompressed tensors
    struct team *team; // that decompresses
};

struct from_pipe {
    struct source s;
    struct file_in *in;
    struct zst_in *zst; // what comes is compressed
    uint8_t *fed;       // [FEED_BYTES] its bytes
    uint8_t peek[4];    // the first of the stream, to see what it is
    size_t n_peek;      // of them, not yet given to zst
    uint8_t *head;      // what the keys and names lie in
    uint64_t n_head;
    uint64_t data_at; // of the data section, from the start of the stream
    uint64_t at;      // the next byte that file_in_read gives
};

uint64_t source_row_bytes(const struct gguf_tensor *t)
{
    uint64_t rows = source_n_rows(t);

    return rows ? t->bytes / rows : 0;
}

uint64_t source_n_rows(const struct gguf_tensor *t)
{
    return t->ne[1] * t->ne[2] * t->ne[3];
}

/* -- a file -- */

static int file_begin(struct source *s, uint32_t i, struct err *e)
{
    struct from_file *f = CONTAINER_OF(s, struct from_file, s);
    struct gguf_tensor *t = &s->g->tensor[i];
    int n = thread_cpus() < ZST_THREADS ? thread_cpus() : ZST_THREADS, rc;

    if (t->p || !t->bytes)
        return 0;
    if (!f->held && !(f->held = mem_array(s->g->n_tensor, sizeof *f->held, e)))
        return E_NOMEM;
    if (!f->team && (rc = team_new(&f->team, n, e)) < 0)
        return rc;
    if (!(f->held[i] = mem_pages(t->bytes, e)))
        return E_NOMEM;
    if ((rc = gguf_unpack_tensor(s->g, t, f->held[i], f->team, e)) < 0) {
        mem_unpages(f->held[i], t->bytes);
        f->held[i] = NULL;
        return rc;
    }
    t->p = f->held[i];
    return 0;
}

static int file_rows(struct source *s, uint32_t i, uint64_t row, uint64_t n, void *out,
                     struct err *e)
{
    const struct gguf_tensor *t = &s->g->tensor[i];
    uint64_t bytes = source_row_bytes(t);
    int rc = file_begin(s, i, e);

    if (rc == 0)
        memcpy(out, t->p + row * bytes, n * bytes);
    return rc;
}

static void file_done(struct source *s, uint32_t i)
{
    struct from_file *f = CONTAINER_OF(s, struct from_file, s);
    struct gguf_tensor *t = &s->g->tensor[i];

    if (!f->held || !f->held[i]) {
        gguf_dontneed(s->g, t);
        return;
    }
    mem_unpages(f->held[i], t->bytes);
    f->held[i] = NULL;
    t->p = NULL;
}

static void file_close(struct source *s)
{
    struct from_file *f = CONTAINER_OF(s, struct from_file, s);

    for (uint32_t i = 0; f->held && i < s->g->n_tensor; i++)
        if (f->held[i])
            file_done(s, i);
    mem_free(f->held);
    team_free(f->team);
    if (!s->borrowed)
        gguf_close(s->g);
    mem_free(f);
}

static const struct source_ops file_ops = {file_rows, file_begin, file_done, file_close};

int source_of_gguf(struct source **out, struct gguf *g, struct err *e)
{
    struct from_file *f = mem_new(sizeof *f, e);

    *out = NULL;
    if (!f)
        return E_NOMEM;
    f->s = (struct source){.ops = &file_ops, .g = g, .borrowed = true};
    *out = &f->s;
    return 0;
}

/* -- a pipe -- */

static int feed_pipe(void *arg, const uint8_t **p, size_t *n, struct err *e)
{
    struct from_pipe *f = arg;

    if (f->n_peek) {
        *p = f->peek;
        *n = f->n_peek;
        f->n_peek = 0;
        return 0;
    }
    *p = f->fed;
    return file_in_read(f->in, f->fed, FEED_BYTES, n, e);
}

/* The next bytes of the stream, decompressed. */
static int pipe_next(struct from_pipe *p, void *out, size_t n, size_t *got, struct err *e)
{
    return p->zst ? zst_in_read(p->zst, out, n, got, e) : file_in_read(p->in, out, n, got, e);
}

/* Reads exactly n bytes (out NULL: past them). */
static int pipe_take(struct from_pipe *p, uint64_t n, uint8_t *out, struct err *e)
{
    uint8_t skipped[4096];

    while (n > 0) {
        size_t got = 0, want = (size_t)n;
        int rc;

        if (p->at < p->n_head) { /* the front of the data came with the head */
            got = p->n_head - p->at < n ? (size_t)(p->n_head - p->at) : want;
            if (out)
                memcpy(out, p->head + p->at, got);
        } else {
            if (!out && want > sizeof skipped)
                want = sizeof skipped;
            if ((rc = pipe_next(p, out ? out : skipped, want, &got, e)) < 0)
                return rc;
            if (got == 0)
                return err_set(e, E_FORMAT, "%s: ends inside the tensors' data", p->s.g->path);
        }
        p->at += got;
        n -= got;
        out = out ? out + got : NULL;
    }
    return 0;
}

static int pipe_rows(struct source *s, uint32_t i, uint64_t row, uint64_t n, void *out,
                     struct err *e)
{
    struct from_pipe *p = CONTAINER_OF(s, struct from_pipe, s);
    const struct gguf_tensor *t = &s->g->tensor[i];
    uint64_t bytes = source_row_bytes(t), from = p->data_at + t->offset + row * bytes;
    char shown[96];
    int rc;

    if (from < p->at)
        return err_set(e, E_USAGE, "%s: tensor '%s' has gone by: a pipe is read once, in order",
                       s->g->path, gguf_show(shown, sizeof shown, t->name));
    if ((rc = pipe_take(p, from - p->at, NULL, e)) < 0)
        return rc;
    return pipe_take(p, n * bytes, out, e);
}

static void pipe_done(struct source *s, uint32_t i)
{
    (void)s;
    (void)i;
}

static void pipe_close(struct source *s)
{
    struct from_pipe *p = CONTAINER_OF(s, struct from_pipe, s);

    gguf_close(s->g);
    file_in_close(p->in);
    zst_in_close(p->zst);
    mem_free(p->fed);
    mem_free(p->head);
    mem_free(p);
}

static const struct source_ops pipe_ops = {pipe_rows, NULL, pipe_done, pipe_close};

/* Fills head up to want bytes; *more: the stream goes on. */
static int pipe_fill(struct from_pipe *p, uint64_t want, bool *more, struct err *e)
{
    uint8_t *head = mem_resize(p->head, p->n_head, want, 1, e);
    size_t got = 1;
    int rc = 0;

    if (!head)
        return E_NOMEM;
    p->head = head;
    while (p->n_head < want && got > 0) {
        rc = pipe_next(p, head + p->n_head, (size_t)(want - p->n_head), &got, e);
        if (rc < 0)
            return rc;
        p->n_head += got;
    }
    *more = got > 0;
    return 0;
}

static int check_order(const struct gguf *g, struct err *e)
{
    for (uint32_t i = 1; i < g->n_tensor; i++)
        if (g->tensor[i].offset < g->tensor[i - 1].offset)
            return err_set(e, E_UNSUPPORTED,
                           "%s: its tensors are not in the order of their data, so it cannot come "
                           "through a pipe",
                           g->path);
    return 0;
}

/* Its first bytes say whether it is compressed. */
static int pipe_peek(struct from_pipe *p, const char *path, struct err *e)
{
    int rc = file_in_read(p->in, p->peek, sizeof p->peek, &p->n_peek, e);

    if (rc < 0)
        return rc;
    if (zst_magic(p->peek, p->n_peek)) {
        if (!(p->fed = mem_new(FEED_BYTES, e)))
            return E_NOMEM;
        return zst_in_open(&p->zst, path, feed_pipe, p, e);
    }
    p->head = mem_dup(p->peek, p->n_peek, e);
    p->n_head = p->n_peek;
    return p->head ? 0 : E_NOMEM;
}

/* A head of unknown length: taken in larger and larger pieces until it is whole. */
static int pipe_head(struct from_pipe *p, const char *path, struct err *e)
{
    struct err why = {0};
    bool more = true;
    int rc;

    for (uint64_t want = HEAD_FIRST; more; want *= 2) {
        if ((rc = pipe_fill(p, want, &more, e)) < 0)
            return rc;
        if (p->n_head >= 4 && !gguf_magic(p->head, p->n_head))
            more = false;
        why = (struct err){0};
        rc = gguf_open_head(&p->s.g, path, p->head, p->n_head, &p->data_at, &why);
        if (rc == 0)
            return check_order(p->s.g, e);
        if (rc != E_FORMAT || want >= HEAD_MOST)
            more = false;
    }
    return err_set(e, why.code, "%s", why.text);
}

static int open_pipe(struct source **out, struct file_in *take, const char *path, struct err *e)
{
    struct from_pipe *p = mem_new(sizeof *p, e);
    int rc;

    if (!p) {
        file_in_close(take);
        return E_NOMEM;
    }
    p->in = take;
    p->s = (struct source){.ops = &pipe_ops, .stream = true};
    if ((rc = pipe_peek(p, path, e)) < 0 || (rc = pipe_head(p, path, e)) < 0) {
        pipe_close(&p->s);
        return rc;
    }
    *out = &p->s;
    return 0;
}

/* -- public -- */

int source_open(struct source **out, const char *path, unsigned flags, struct err *e)
{
    struct file_in *in;
    struct gguf *g;
    int rc;

    *out = NULL;
    if (strcmp(path, "-") == 0) {
        if ((rc = file_in_open(&in, path, e)) < 0)
            return rc;
        if (!file_in_regular(in))
            return open_pipe(out, in, path, e);
        file_in_close(in);
    }
    if ((rc = gguf_open(&g, path, flags | GGUF_PACKED, e)) < 0)
        return rc;
    if ((rc = source_of_gguf(out, g, e)) < 0) {
        gguf_close(g);
        return rc;
    }
    (*out)->borrowed = false;
    return 0;
}

void source_close(struct source *s)
{
    if (s)
        s->ops->close(s);
}

int source_begin(struct source *s, uint32_t i, struct err *e)
{
    return s->ops->begin ? s->ops->begin(s, i, e) : 0;
}

int source_rows(struct source *s, uint32_t i, uint64_t row, uint64_t n, void *out, struct err *e)
{
    const struct gguf_tensor *t = &s->g->tensor[i];
    char shown[96];

    if (!t->bytes)
        return err_set(e, E_UNSUPPORTED, "%s: tensor '%s' has type %u, which is not supported",
                       s->g->path, gguf_show(shown, sizeof shown, t->name), t->type);
    return s->ops->rows(s, i, row, n, out, e);
}

void source_done(struct source *s, uint32_t i)
{
    s->ops->done(s, i);
}

int source_load(struct source *s, struct err *e)
{
    return s->ops == &file_ops ? gguf_unpack(s->g, e) : 0;
}
