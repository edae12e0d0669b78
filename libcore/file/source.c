/* source.c - see source.h: GGUF files, mapped or coming through a pipe. */
#include "file/source.h"

#include "base/mem.h"
#include "file/gguf_inner.h"

enum {
    HEAD_FIRST = 1 << 20, // bytes of a stream's head asked for first; then twice as many
    HEAD_MOST = 1 << 30,
};

struct from_pipe {
    struct source s;
    struct file_in *in;
    uint8_t *head; // what the keys and names lie in
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

static int gguf_rows(struct source *s, uint32_t i, uint64_t row, uint64_t n, void *out,
                     struct err *e)
{
    const struct gguf_tensor *t = &s->g->tensor[i];
    uint64_t bytes = source_row_bytes(t);

    (void)e;
    memcpy(out, t->p + row * bytes, n * bytes);
    return 0;
}

static void gguf_done(struct source *s, uint32_t i)
{
    gguf_dontneed(s->g, &s->g->tensor[i]);
}

static void gguf_source_close(struct source *s)
{
    if (!s->borrowed)
        gguf_close(s->g);
    mem_free(s);
}

static const struct source_ops file_ops = {gguf_rows, gguf_done, gguf_source_close};

int source_of_gguf(struct source **out, struct gguf *g, struct err *e)
{
    struct source *s = mem_new(sizeof *s, e);

    *out = s;
    if (!s)
        return E_NOMEM;
    *s = (struct source){.ops = &file_ops, .g = g, .borrowed = true};
    return 0;
}

/* -- a pipe -- */

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
            if ((rc = file_in_read(p->in, out ? out : skipped, want, &got, e)) < 0)
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
    mem_free(p->head);
    mem_free(p);
}

static const struct source_ops pipe_ops = {pipe_rows, pipe_done, pipe_close};

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
        rc = file_in_read(p->in, head + p->n_head, (size_t)(want - p->n_head), &got, e);
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
    if ((rc = pipe_head(p, path, e)) < 0) {
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
    if ((rc = gguf_open(&g, path, flags, e)) < 0)
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
