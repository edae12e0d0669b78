/* safetensors_write.c - writes safetensors files, front to back, through the atomic writer. */
#include "file/safetensors.h"

#include "base/buf.h"
#include "base/mem.h"
#include "file/gguf.h"
#include "file/gguf_inner.h"

struct st_out {
    struct file_out *file;
    char *path;
    struct buf head; // the JSON object, not closed yet
    struct buf meta; // what "__metadata__" holds
    struct err err;  // the first failure of an st_put_*
    uint64_t want;   // bytes of data declared
    uint64_t done;
    bool begun;
};

int st_create(struct st_out **out, const char *path, struct err *e)
{
    struct st_out *w = mem_new(sizeof *w, e);
    int rc = E_NOMEM;

    *out = NULL;
    if (!w)
        return rc;
    if (!(w->path = mem_dup(path, strlen(path), e)) || (rc = file_create(&w->file, path, e)) < 0) {
        st_abort(w);
        return rc;
    }
    *out = w;
    return 0;
}

void st_put_meta(struct st_out *w, const char *key, struct slice value)
{
    buf_str(&w->meta, w->meta.n ? "," : "");
    buf_json(&w->meta, slice_of(key));
    buf_byte(&w->meta, ':');
    buf_json(&w->meta, value);
}

void st_put_tensor(struct st_out *w, struct slice name, int type, uint32_t n_dims,
                   const uint64_t *shape)
{
    uint64_t n = st_type_bytes(type), end;
    bool fits = true;
    char shown[96];

    if (w->err.code)
        return;
    gguf_show(shown, sizeof shown, name);
    for (uint32_t i = 0; i < n_dims; i++)
        fits = fits && mul_ok(n, shape[i], &n);
    if (!fits || !st_type_bytes(type) || n_dims > ST_MAX_DIMS || !add_ok(w->want, n, &end) ||
        end > INT64_MAX) {
        err_set(&w->err, E_RANGE, "%s: tensor '%s': a shape or type that cannot be written",
                gguf_path_tail(w->path), shown);
        return;
    }
    buf_str(&w->head, w->head.n ? "," : "");
    buf_json(&w->head, name);
    buf_printf(&w->head, ":{\"dtype\":\"%s\",\"shape\":[", st_type_name(type));
    for (uint32_t i = 0; i < n_dims; i++)
        buf_printf(&w->head, "%s%llu", i ? "," : "", (unsigned long long)shape[i]);
    buf_printf(&w->head, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)w->want,
               (unsigned long long)end);
    w->want = end;
}

/* The length first; the header ends on a multiple of eight, filled up with spaces. */
int st_begin(struct st_out *w, struct err *e)
{
    struct buf b = {0};
    uint8_t length[8];
    uint64_t n;
    int rc;

    if (w->err.code)
        return err_set(e, w->err.code, "%s", w->err.text);
    buf_byte(&b, '{');
    if (w->meta.n) {
        buf_str(&b, "\"__metadata__\":{");
        buf_slice(&b, buf_view(&w->meta));
        buf_str(&b, w->head.n ? "}," : "}");
    }
    buf_slice(&b, buf_view(&w->head));
    buf_byte(&b, '}');
    while (b.n % 8 && !b.bad)
        buf_byte(&b, ' ');
    n = b.n;
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)(n >> (8 * i));
    if (b.bad || w->head.bad || w->meta.bad)
        rc = err_nomem(e, n);
    else if (n > ST_MAX_HEADER)
        rc = err_set(e, E_RANGE, "%s: a header of %llu bytes", gguf_path_tail(w->path),
                     (unsigned long long)n);
    else if ((rc = file_write(w->file, length, sizeof length, e)) == 0)
        rc = file_write(w->file, b.p, b.n, e);
    buf_fini(&b);
    w->begun = rc == 0;
    return rc;
}

int st_data(struct st_out *w, const void *p, uint64_t n, struct err *e)
{
    if (!w->begun)
        return err_set(e, E_USAGE, "%s: data before the header", gguf_path_tail(w->path));
    if (n > w->want - w->done)
        return err_set(e, E_RANGE, "%s: %llu bytes behind the last tensor", gguf_path_tail(w->path),
                       (unsigned long long)(n - (w->want - w->done)));
    w->done += n;
    return file_write(w->file, p, (size_t)n, e);
}

int st_finish(struct st_out *w, struct err *e)
{
    struct file_out *file = w->file;
    int rc = w->begun ? 0 : st_begin(w, e);

    if (rc == 0 && w->done < w->want)
        rc = err_set(e, E_RANGE, "%s: %llu of %llu bytes were written", gguf_path_tail(w->path),
                     (unsigned long long)w->done, (unsigned long long)w->want);
    if (rc == 0) {
        w->file = NULL;
        rc = file_commit(file, e);
    }
    st_abort(w);
    return rc;
}

void st_abort(struct st_out *w)
{
    if (!w)
        return;
    file_abort(w->file);
    buf_fini(&w->head);
    buf_fini(&w->meta);
    mem_free(w->path);
    mem_free(w);
}
