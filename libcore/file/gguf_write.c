/* gguf_write.c - writes GGUF version 3 files, front to back, through the atomic writer. */
#include "file/gguf.h"

#include "base/buf.h"
#include "base/mem.h"
#include "file/gguf_inner.h"
#include "file/zst.h"

struct out_key {
    struct buf name;
    struct buf value; // the type and the value as they lie in the file
    bool dropped;
};

struct out_tensor {
    struct buf name;
    uint32_t type;
    uint32_t n_dims;
    uint64_t ne[GGUF_MAX_DIMS];
    uint64_t offset;
    uint64_t bytes;
};

struct gguf_out {
    struct file_out *file;
    struct zst_out *zst; // what is written goes through it; NULL: as it is
    uint64_t at;         // bytes written, before they are compressed
    int threads;         // 0: one per processor
    char *path;
    uint32_t alignment;
    struct err err; // the first failure of a gguf_put_*
    struct out_key *key;
    uint32_t n_key, cap_key;
    struct out_tensor *tensor;
    uint32_t n_tensor, cap_tensor;
    uint64_t data_bytes; // declared, the padding between tensors included
    uint32_t now;        // tensor the next byte belongs to
    uint64_t done;       // bytes of it written
    bool begun;
};

/* -- bytes -- */

static void add_uint(struct buf *b, uint64_t v, int bytes)
{
    uint8_t p[8];

    for (int i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> (8 * i));
    buf_add(b, p, (size_t)bytes);
}

static void add_str(struct buf *b, struct slice s)
{
    add_uint(b, s.n, 8);
    buf_slice(b, s);
}

/* n numbers of some size, little-endian whatever the machine is. */
static void add_numbers(struct buf *b, const void *v, uint64_t n, uint32_t size)
{
    const uint16_t probe = 1;
    const uint8_t *p = v;
    uint64_t bytes;

    if (!mul_ok(n, size, &bytes) || bytes > SIZE_MAX / 4) {
        b->bad = true;
    } else if (*(const uint8_t *)&probe == 1) {
        buf_add(b, p, (size_t)bytes);
    } else {
        for (uint64_t i = 0; i < n; i++)
            for (uint32_t j = size; j-- > 0;)
                buf_byte(b, (char)p[i * size + j]);
    }
}

/* -- keys -- */

/* Room for one more element in a list that grows by doubling. */
static void *grown(void *list, uint32_t n, uint32_t *cap, size_t size, struct err *e)
{
    uint32_t want = *cap ? *cap * 2 : 64;
    void *p;

    if (n < *cap)
        return list;
    p = mem_resize(list, *cap, want, size, e);
    if (p)
        *cap = want;
    return p;
}

static struct out_key *find_key(struct gguf_out *w, struct slice name)
{
    for (uint32_t i = 0; i < w->n_key; i++)
        if (slice_eq(buf_view(&w->key[i].name), name))
            return &w->key[i];
    return NULL;
}

/* The buffer to put the value of a key into, its type written; NULL after a failure. */
static struct buf *start_key(struct gguf_out *w, struct slice name, uint32_t type)
{
    struct out_key *k = find_key(w, name);
    void *p;

    if (w->err.code)
        return NULL;
    if (name.n == 0 || name.n > GGUF_MAX_KEY) {
        err_set(&w->err, E_RANGE, "%s: a key with a name of %zu bytes", gguf_path_tail(w->path),
                name.n);
        return NULL;
    }
    if (!k) {
        p = grown(w->key, w->n_key, &w->cap_key, sizeof *w->key, &w->err);
        if (!p)
            return NULL;
        w->key = p;
        k = &w->key[w->n_key++];
        buf_slice(&k->name, name);
        if (k->name.bad)
            err_nomem(&w->err, name.n);
    }
    k->dropped = false;
    buf_clear(&k->value);
    add_uint(&k->value, type, 4);
    return &k->value;
}

static void end_key(struct gguf_out *w, struct buf *b)
{
    if (b && b->bad)
        err_nomem(&w->err, b->n);
}

static void put_uint(struct gguf_out *w, const char *key, uint32_t type, uint64_t v)
{
    struct buf *b = start_key(w, slice_of(key), type);

    if (b)
        add_uint(b, v, (int)gguf_value_bytes(type));
    end_key(w, b);
}

void gguf_put_u32(struct gguf_out *w, const char *key, uint32_t v)
{
    put_uint(w, key, GGUF_U32, v);
}

void gguf_put_i32(struct gguf_out *w, const char *key, int32_t v)
{
    put_uint(w, key, GGUF_I32, (uint32_t)v);
}

void gguf_put_u64(struct gguf_out *w, const char *key, uint64_t v)
{
    put_uint(w, key, GGUF_U64, v);
}

void gguf_put_i64(struct gguf_out *w, const char *key, int64_t v)
{
    put_uint(w, key, GGUF_I64, (uint64_t)v);
}

void gguf_put_f32(struct gguf_out *w, const char *key, float v)
{
    uint32_t bits;

    memcpy(&bits, &v, sizeof bits);
    put_uint(w, key, GGUF_F32, bits);
}

void gguf_put_bool(struct gguf_out *w, const char *key, bool v)
{
    put_uint(w, key, GGUF_BOOL, v);
}

void gguf_put_str(struct gguf_out *w, const char *key, struct slice v)
{
    struct buf *b = start_key(w, slice_of(key), GGUF_STR);

    if (b)
        add_str(b, v);
    end_key(w, b);
}

static struct buf *start_array(struct gguf_out *w, struct slice name, uint32_t type, uint64_t n)
{
    struct buf *b = start_key(w, name, GGUF_ARR);

    if (b) {
        add_uint(b, type, 4);
        add_uint(b, n, 8);
    }
    return b;
}

void gguf_put_strs(struct gguf_out *w, const char *key, const struct slice *v, uint64_t n)
{
    struct buf *b = start_array(w, slice_of(key), GGUF_STR, n);

    for (uint64_t i = 0; b && i < n; i++)
        add_str(b, v[i]);
    end_key(w, b);
}

void gguf_put_array(struct gguf_out *w, const char *key, uint32_t type, const void *v, uint64_t n)
{
    uint32_t size = gguf_value_bytes(type);
    struct buf *b = NULL;

    if (!size)
        err_set(&w->err, E_USAGE, "%s: key '%s': an array of type %u", gguf_path_tail(w->path), key,
                type);
    else
        b = start_array(w, slice_of(key), type, n);
    if (b)
        add_numbers(b, v, n, size);
    end_key(w, b);
}

void gguf_put_key(struct gguf_out *w, const struct gguf_key *k)
{
    struct buf *b;

    if (k->type == GGUF_ARR)
        b = start_array(w, k->name, k->array.type, k->array.n);
    else
        b = start_key(w, k->name, k->type);
    if (b && k->type == GGUF_ARR && k->array.type == GGUF_STR) {
        for (uint64_t i = 0; i < k->array.n; i++)
            add_str(b, gguf_str_at(&k->array, i));
    } else if (b && k->type == GGUF_STR) {
        add_str(b, k->raw);
    } else if (b) {
        buf_slice(b, k->raw);
    }
    end_key(w, b);
}

void gguf_drop_key(struct gguf_out *w, const char *key)
{
    struct out_key *k = find_key(w, slice_of(key));

    if (k)
        k->dropped = true;
}

/* -- tensors -- */

void gguf_put_tensor(struct gguf_out *w, struct slice name, uint32_t type, uint32_t n_dims,
                     const uint64_t *ne)
{
    struct out_tensor *t;
    char shown[96];
    uint64_t bytes;
    uint64_t offset;
    void *p;

    if (w->err.code)
        return;
    gguf_show(shown, sizeof shown, name);
    if (name.n == 0 || name.n > GGUF_MAX_NAME) {
        err_set(&w->err, E_RANGE, "%s: a tensor with a name of %zu bytes", gguf_path_tail(w->path),
                name.n);
        return;
    }
    if (!gguf_tensor_bytes(type, n_dims, ne, &bytes)) {
        err_set(&w->err, E_RANGE, "%s: tensor '%s': its shape does not go with type %u",
                gguf_path_tail(w->path), shown, type);
        return;
    }
    if (!pad_ok(w->data_bytes, w->alignment, &offset) || !add_ok(offset, bytes, &w->data_bytes) ||
        w->n_tensor >= GGUF_MAX_ITEMS) {
        err_set(&w->err, E_RANGE, "%s: tensor '%s': too much for one file", gguf_path_tail(w->path),
                shown);
        return;
    }
    if (!(p = grown(w->tensor, w->n_tensor, &w->cap_tensor, sizeof *w->tensor, &w->err)))
        return;
    w->tensor = p;
    t = &w->tensor[w->n_tensor++];
    *t = (struct out_tensor){.type = type, .n_dims = n_dims, .offset = offset, .bytes = bytes};
    for (uint32_t d = 0; d < n_dims; d++)
        t->ne[d] = ne[d];
    buf_slice(&t->name, name);
    if (t->name.bad)
        err_nomem(&w->err, name.n);
}

/* The reader refuses a name that occurs twice, so such a file must not be written. */
static int check_names(const struct gguf_out *w, struct err *e)
{
    struct map seen;
    uint32_t twin;
    char shown[96];
    int rc = map_init(&seen, w->n_tensor, e);

    for (uint32_t i = 0; i < w->n_tensor && rc == 0; i++) {
        struct slice name = buf_view(&w->tensor[i].name);

        if (map_get(&seen, name, &twin))
            rc = err_set(e, E_RANGE, "%s: tensor '%s' occurs twice", gguf_path_tail(w->path),
                         gguf_show(shown, sizeof shown, name));
        else
            rc = map_put(&seen, name, i, e);
    }
    map_fini(&seen);
    return rc;
}

/* -- the file -- */

int gguf_create(struct gguf_out **out, const char *path, uint32_t alignment, struct err *e)
{
    struct gguf_out *w = mem_new(sizeof *w, e);
    int rc = E_NOMEM;

    *out = NULL;
    if (!w)
        return rc;
    w->alignment = alignment ? alignment : GGUF_ALIGNMENT;
    if (!gguf_alignment_ok(w->alignment)) {
        rc = err_set(e, E_USAGE, "%s: alignment %u", path ? gguf_path_tail(path) : "GGUF",
                     alignment);
        goto fail;
    }
    if (!(w->path = mem_dup(path ? path : "GGUF", path ? strlen(path) : 4, e)))
        goto fail;
    if (path && (rc = file_create(&w->file, path, e)) < 0)
        goto fail;
    *out = w;
    return 0;
fail:
    gguf_abort(w);
    return rc;
}

void gguf_threads(struct gguf_out *w, int n)
{
    w->threads = n;
}

static void add_head(struct buf *b, const struct gguf_out *w)
{
    uint64_t n_key = 0;

    for (uint32_t i = 0; i < w->n_key; i++)
        n_key += !w->key[i].dropped;
    buf_str(b, "GGUF");
    add_uint(b, 3, 4);
    add_uint(b, w->n_tensor, 8);
    add_uint(b, n_key, 8);
    for (uint32_t i = 0; i < w->n_key; i++) {
        if (w->key[i].dropped)
            continue;
        add_str(b, buf_view(&w->key[i].name));
        buf_slice(b, buf_view(&w->key[i].value));
    }
    for (uint32_t i = 0; i < w->n_tensor; i++) {
        const struct out_tensor *t = &w->tensor[i];

        add_str(b, buf_view(&t->name));
        add_uint(b, t->n_dims, 4);
        for (uint32_t d = 0; d < t->n_dims; d++)
            add_uint(b, t->ne[d], 8);
        add_uint(b, t->type, 4);
        add_uint(b, t->offset, 8);
    }
}

int gguf_head(struct gguf_out *w, struct buf *out, struct err *e)
{
    int rc;

    /* a key copied from another file may say something else */
    if (w->alignment != GGUF_ALIGNMENT || find_key(w, SLICE("general.alignment")))
        gguf_put_u32(w, "general.alignment", w->alignment);
    if (w->err.code)
        return err_set(e, w->err.code, "%s", w->err.text);
    if ((rc = check_names(w, e)) < 0)
        return rc;
    add_head(out, w);
    return out->bad ? err_nomem(e, out->n) : 0;
}

static int put(struct gguf_out *w, const void *p, uint64_t n, struct err *e)
{
    w->at += n;
    return w->zst ? zst_put(w->zst, p, n, e) : file_write(w->file, p, (size_t)n, e);
}

/* Zeros up to where the next tensor may begin. Of a compressed file a tensor begins a frame. */
static int put_padding(struct gguf_out *w, struct err *e)
{
    static const char zero[256];
    uint64_t want;
    int rc = 0;

    if (!pad_ok(w->at, w->alignment, &want))
        return err_set(e, E_RANGE, "%s: too large", gguf_path_tail(w->path));
    while (w->at < want && rc == 0)
        rc = put(w, zero, want - w->at < sizeof zero ? want - w->at : sizeof zero, e);
    if (w->zst)
        zst_cut(w->zst);
    return rc;
}

int gguf_begin(struct gguf_out *w, struct err *e)
{
    struct buf head = {0};
    int rc = gguf_head(w, &head, e);

    if (rc == 0 && zst_named(w->path))
        rc = zst_out_new(&w->zst, w->file, w->threads ? w->threads : thread_cpus(), e);
    if (rc == 0)
        rc = put(w, head.p, head.n, e);
    buf_fini(&head);
    if (rc == 0)
        rc = put_padding(w, e);
    if (rc == 0 && !w->zst)
        rc = file_expect(w->file, w->at + w->data_bytes, e);
    w->begun = rc == 0;
    return rc;
}

int gguf_data(struct gguf_out *w, const void *p, uint64_t n, struct err *e)
{
    const uint8_t *at = p;
    int rc = 0;

    if (!w->begun)
        return err_set(e, E_USAGE, "%s: data before the head", gguf_path_tail(w->path));
    while (n > 0 && rc == 0) {
        const struct out_tensor *t;
        uint64_t left;
        size_t take;

        if (w->now == w->n_tensor)
            return err_set(e, E_RANGE, "%s: %llu bytes behind the last tensor",
                           gguf_path_tail(w->path), (unsigned long long)n);
        t = &w->tensor[w->now];
        left = t->bytes - w->done;
        take = (size_t)(n < left ? n : left);
        rc = put(w, at, take, e);
        at += take;
        n -= take;
        w->done += take;
        if (rc == 0 && w->done == t->bytes) {
            w->now++;
            w->done = 0;
            rc = put_padding(w, e);
        }
    }
    return rc;
}

int gguf_finish(struct gguf_out *w, struct err *e)
{
    struct file_out *file;
    char shown[96];
    int rc = w->begun ? 0 : gguf_begin(w, e);

    if (rc == 0 && w->now < w->n_tensor)
        rc = err_set(e, E_RANGE, "%s: tensor '%s': only %llu of %llu bytes were written",
                     gguf_path_tail(w->path),
                     gguf_show(shown, sizeof shown, buf_view(&w->tensor[w->now].name)),
                     (unsigned long long)w->done, (unsigned long long)w->tensor[w->now].bytes);
    if (rc == 0 && w->zst)
        rc = zst_end(w->zst, e);
    if (rc == 0) {
        file = w->file;
        w->file = NULL;
        rc = file_commit(file, e);
    }
    gguf_abort(w);
    return rc;
}

void gguf_abort(struct gguf_out *w)
{
    if (!w)
        return;
    file_abort(w->file);
    zst_out_free(w->zst);
    for (uint32_t i = 0; i < w->n_key; i++) {
        buf_fini(&w->key[i].name);
        buf_fini(&w->key[i].value);
    }
    for (uint32_t i = 0; i < w->n_tensor; i++)
        buf_fini(&w->tensor[i].name);
    mem_free(w->key);
    mem_free(w->tensor);
    mem_free(w->path);
    mem_free(w);
}
