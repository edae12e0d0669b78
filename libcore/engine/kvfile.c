/* kvfile.c - see kvfile.h. */
#include "engine/kvfile.h"

#define XXH_INLINE_ALL
#include <xxhash.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "engine/seats.h"
#include "engine/step.h"

#define VERSION    1
#define SAMPLE     256 // bytes of a tensor's beginning and end that tell models apart
#define LEVEL      3   // of compression
#define NAME_BYTES 16  // of a device

enum { FLAG_ZSTD = 1 };

/* -- which model -- */

static void hash_model(const struct rill_engine *g, uint64_t out[2])
{
    XXH3_state_t s;
    XXH128_hash_t h;

    XXH3_128bits_reset(&s);
    for (int i = 0; i < g->plan->n_w; i++) {
        const struct weight *w = &g->plan->w[i];
        const int64_t shape[4] = {w->fmt, w->n, w->rows, w->cols};
        const struct mem *m = &w->part[0];
        size_t n = m->bytes < SAMPLE ? (size_t)m->bytes : SAMPLE;

        XXH3_128bits_update(&s, w->name, strlen(w->name));
        XXH3_128bits_update(&s, shape, sizeof shape);
        if (!m->host || !m->p)
            continue;
        XXH3_128bits_update(&s, m->p, n);
        XXH3_128bits_update(&s, (const char *)m->p + m->bytes - n, n);
    }
    h = XXH3_128bits_digest(&s);
    out[0] = h.low64;
    out[1] = h.high64;
}

static void hash_vocab(const struct tok *t, uint64_t out[2])
{
    XXH3_state_t s;
    XXH128_hash_t h;

    XXH3_128bits_reset(&s);
    for (uint32_t i = 0; t && i < tok_count(t); i++) {
        struct slice piece = tok_piece(t, (int32_t)i);
        const uint64_t head[2] = {piece.n, (uint64_t)tok_kind_of(t, (int32_t)i)};

        XXH3_128bits_update(&s, head, sizeof head);
        XXH3_128bits_update(&s, piece.p, piece.n);
    }
    h = XXH3_128bits_digest(&s);
    out[0] = h.low64;
    out[1] = h.high64;
}

/* -- a text's blocks -- */

/* Word by block, as the pool wants them. */
static uint32_t *paths_of(const struct rill_engine *g, const struct rill_kv *kv, struct err *e)
{
    uint32_t *paths = mem_array(kv->n / KV_PAGE + 1, sizeof *paths, e);

    for (size_t i = 0; paths && !g->lim.one_path && i < kv->n; i++)
        if (kv->made && kv->made[i])
            paths[i / KV_PAGE] |= (uint32_t)1 << (i % KV_PAGE);
    return paths;
}

static struct mem host_mem(void *p, uint64_t n)
{
    return (struct mem){.p = p, .bytes = n, .kind = MEM_HOST, .host = true};
}

/* -- writing -- */

struct out {
    struct file_out *f;
    XXH3_state_t hash;
    struct err *e;
    int rc;
};

static void put(struct out *o, const void *p, size_t n)
{
    XXH3_64bits_update(&o->hash, p, n);
    if (o->rc == 0)
        o->rc = file_write(o->f, p, n, o->e);
}

static void put_uint(struct out *o, uint64_t v, int bytes)
{
    uint8_t b[8];

    for (int i = 0; i < bytes; i++)
        b[i] = (uint8_t)(v >> (8 * i));
    put(o, b, (size_t)bytes);
}

static void put_head(struct out *o, const struct rill_engine *g, const struct rill_kv *kv)
{
    const struct plan *p = g->plan;
    uint64_t hash[4];
    char device[NAME_BYTES] = {0};

    hash_model(g, hash);
    hash_vocab(g->lim.tok, hash + 2);
    memcpy(device, g->be->name, strlen(g->be->name) < sizeof device ? strlen(g->be->name) : 15);
    put(o, KVFILE_MAGIC, 8);
    put_uint(o, VERSION, 4);
    put_uint(o, kv->compressed ? FLAG_ZSTD : 0, 4);
    for (int i = 0; i < 4; i++)
        put_uint(o, hash[i], 8);
    put(o, device, sizeof device);
    put_uint(o, (uint32_t)p->kv_type_k, 4);
    put_uint(o, (uint32_t)p->kv_type_v, 4);
    put_uint(o, p->state_bytes, 4);
    put_uint(o, (uint32_t)p->n_group, 4);
    for (int i = 0; i < p->n_group; i++) {
        put_uint(o, p->group[i].bytes, 4);
        put_uint(o, (uint32_t)p->group[i].window, 4);
    }
    put_uint(o, kv->n, 4);
    for (size_t i = 0; i < kv->n; i++)
        put_uint(o, (uint32_t)kv->ids[i], 4);
    for (size_t i = 0; i < kv->n; i++)
        put_uint(o, kv->made && kv->made[i], 1);
}

/* n bytes of the device's memory, by way of raw[]; packed: room for what they are compressed to. */
static void put_bytes(struct out *o, const struct rill_engine *g, struct mem from, uint64_t at,
                      uint32_t n, char *raw, char *packed, size_t room)
{
    size_t size = n;

    if (o->rc < 0)
        return;
    if (n && g->be->copy(g->dev, host_mem(raw, n), 0, from, at, n) < 0) {
        o->rc = err_set(o->e, E_DEVICE, "the device failed to give back keys and values");
        return;
    }
    if (n && packed) {
        size = ZSTD_compress(packed, room, raw, n, LEVEL);
        if (ZSTD_isError(size)) {
            o->rc = err_set(o->e, E_IO, "zstd: %s", ZSTD_getErrorName(size));
            return;
        }
    }
    put_uint(o, size, 4);
    put(o, packed ? packed : raw, size);
}

static uint32_t largest(const struct plan *p)
{
    uint32_t most = p->state_bytes;

    for (int i = 0; i < p->n_group; i++)
        most = p->group[i].bytes > most ? p->group[i].bytes : most;
    return most;
}

static int put_pages(struct out *o, struct rill_engine *g, int seq, const struct kv_match *m,
                     bool compressed)
{
    const struct plan *p = g->plan;
    const size_t room = ZSTD_compressBound(largest(p));
    char *raw = mem_new(largest(p) + 1, o->e);
    char *packed = compressed ? mem_new(room, o->e) : NULL;

    if (!raw || (compressed && !packed))
        o->rc = E_NOMEM;
    put_uint(o, (uint32_t)m->n_pos, 4);
    for (int i = 0; i < m->n_pos / KV_PAGE; i++)
        for (int k = 0; k < p->n_group; k++) {
            int32_t page = kv_page(g->pool, k, seq, i);

            put_bytes(o, g, g->seg.kv.pool, (uint64_t)page * 1024, page ? p->group[k].bytes : 0,
                      raw, packed, room);
        }
    put_bytes(o, g, g->seg.kv.state,
              (uint64_t)p->state_bytes * (uint64_t)(m->state > 0 ? m->state : 0),
              m->state >= 0 ? p->state_bytes : 0, raw, packed, room);
    put_uint(o, XXH3_64bits_digest(&o->hash), 8);
    mem_free(raw);
    mem_free(packed);
    return o->rc;
}

int rill_engine_kv_save(struct rill_engine *g, const struct rill_kv *kv, const char *path,
                        struct err *e)
{
    struct out o = {.e = e};
    uint32_t *paths = paths_of(g, kv, e);
    struct kv_text t = {kv->ids, paths, kv->salt};
    struct kv_match m;
    int seq = -1;

    if (!paths)
        return E_NOMEM;
    if (kv->n > INT32_MAX || (seq = kv_begin(g->pool)) < 0) {
        mem_free(paths);
        return err_set(e, E_BUSY, "keys and values cannot be saved while all sequences run");
    }
    m = kv_look(g->pool, &t, (int)kv->n, g->limits.granule);
    kv_attach(g->pool, seq, &m);
    XXH3_64bits_reset(&o.hash);
    o.rc = file_create(&o.f, path, e);
    if (o.rc == 0) {
        put_head(&o, g, kv);
        put_pages(&o, g, seq, &m, kv->compressed);
        if (o.rc == 0)
            o.rc = file_commit(o.f, e);
        else
            file_abort(o.f);
    }
    kv_drop(g->pool, seq);
    mem_free(paths);
    return o.rc;
}

void kvfile_seal(char *file, size_t n)
{
    uint64_t h = XXH3_64bits(file, n - 8);

    for (int i = 0; i < 8; i++)
        file[n - 8 + (size_t)i] = (char)(h >> (8 * i));
}

/* -- reading -- */

struct in {
    struct file_view v;
    struct cur c;
    const char *path;
    uint64_t model[2], vocab[2];
    char device[NAME_BYTES];
    uint32_t type_k, type_v, state_bytes, n_group;
    uint32_t page_bytes[KV_GROUPS], window[KV_GROUPS];
    bool packed;
};

static int bad(const struct in *f, const char *what, struct err *e)
{
    return err_set(e, E_FORMAT, "%s: %s", f->path, what);
}

static int read_head(struct in *f, struct err *e)
{
    struct slice s;
    uint32_t version, flags;
    struct cur end;

    if (f->v.n < 16 || memcmp(f->v.p, KVFILE_MAGIC, 8) != 0)
        return bad(f, "not a file of keys and values", e);
    end = (struct cur){.p = f->v.p, .n = f->v.n, .at = f->v.n - 8};
    if (cur_u64(&end) != XXH3_64bits(f->v.p, f->v.n - 8))
        return bad(f, "damaged or cut short: its checksum is wrong", e);
    f->c = (struct cur){.p = f->v.p, .n = f->v.n - 8, .at = 8};
    version = cur_u32(&f->c);
    flags = cur_u32(&f->c);
    if (version != VERSION || (flags & ~(uint32_t)FLAG_ZSTD))
        return err_set(e, E_UNSUPPORTED, "%s: version %u with flags %u is not known", f->path,
                       version, flags);
    f->packed = flags & FLAG_ZSTD;
    for (int i = 0; i < 2; i++)
        f->model[i] = cur_u64(&f->c);
    for (int i = 0; i < 2; i++)
        f->vocab[i] = cur_u64(&f->c);
    s = cur_slice(&f->c, NAME_BYTES);
    if (s.n)
        memcpy(f->device, s.p, s.n - 1); // the last byte is NUL
    f->type_k = cur_u32(&f->c);
    f->type_v = cur_u32(&f->c);
    f->state_bytes = cur_u32(&f->c);
    f->n_group = cur_u32(&f->c);
    if (f->n_group > KV_GROUPS)
        return bad(f, "too many groups of layers", e);
    for (uint32_t i = 0; i < f->n_group; i++) {
        f->page_bytes[i] = cur_u32(&f->c);
        f->window[i] = cur_u32(&f->c);
    }
    return f->c.bad ? bad(f, "its head is cut short", e) : 0;
}

static int read_ids(struct in *f, struct rill_kv *out, struct err *e)
{
    uint32_t n = cur_u32(&f->c), n_pos;
    struct slice made;

    if (f->c.bad || n > (f->c.n - f->c.at) / 5)
        return bad(f, "its tokens are cut short", e);
    out->ids = mem_array(n, sizeof *out->ids, e);
    out->made = mem_new(n, e);
    if (!out->ids || !out->made)
        return E_NOMEM;
    out->n = n;
    for (uint32_t i = 0; i < n; i++)
        out->ids[i] = (int32_t)cur_u32(&f->c);
    made = cur_slice(&f->c, n);
    if (made.n)
        memcpy(out->made, made.p, made.n);
    n_pos = cur_u32(&f->c);
    if (f->c.bad || n_pos % KV_PAGE || n_pos > n)
        return bad(f, "its positions make no sense", e);
    out->n_pos = (int)n_pos;
    out->compressed = f->packed;
    out->bytes = f->v.n;
    memcpy(out->device, f->device, sizeof out->device - 1);
    return 0;
}

static int open_file(struct in *f, const char *path, struct rill_kv *out, struct err *e)
{
    int rc;

    *f = (struct in){.path = path};
    *out = (struct rill_kv){0};
    rc = file_map(&f->v, path, e);
    if (rc < 0)
        return rc;
    rc = read_head(f, e);
    rc = rc < 0 ? rc : read_ids(f, out, e);
    if (rc < 0) {
        file_unmap(&f->v);
        rill_kv_fini(out);
    }
    return rc;
}

int rill_kv_open(struct rill_kv *out, const char *path, struct err *e)
{
    struct in f;
    int rc = open_file(&f, path, out, e);

    if (rc == 0)
        file_unmap(&f.v);
    return rc;
}

void rill_kv_fini(struct rill_kv *kv)
{
    mem_free(kv->ids);
    mem_free(kv->made);
    *kv = (struct rill_kv){0};
}

/* Whether its pages can be used as they are, by this model on this device. */
static int fits(const struct rill_engine *g, const struct in *f, const struct rill_kv *kv,
                struct err *e)
{
    const struct plan *p = g->plan;
    uint64_t model[2], vocab[2];
    bool same = f->n_group == (uint32_t)p->n_group && f->state_bytes == p->state_bytes &&
                f->type_k == (uint32_t)p->kv_type_k && f->type_v == (uint32_t)p->kv_type_v;

    hash_model(g, model);
    hash_vocab(g->lim.tok, vocab);
    if (memcmp(model, f->model, sizeof model) != 0)
        return err_set(e, E_UNSUPPORTED, "%s: made with another model", f->path);
    if (memcmp(vocab, f->vocab, sizeof vocab) != 0)
        return err_set(e, E_UNSUPPORTED, "%s: made with another vocabulary", f->path);
    if (strcmp(f->device, g->be->name) != 0)
        return err_set(e, E_UNSUPPORTED, "%s: made on device '%s', this is '%s'", f->path,
                       f->device, g->be->name);
    for (int i = 0; same && i < p->n_group; i++)
        same =
            f->page_bytes[i] == p->group[i].bytes && f->window[i] == (uint32_t)p->group[i].window;
    if (!same)
        return err_set(e, E_UNSUPPORTED, "%s: its keys and values are of other types or layers",
                       f->path);
    if (kv->n >= (size_t)g->lim.n_ctx)
        return err_set(e, E_CONTEXT, "%s: %zu tokens do not fit into the context of %d", f->path,
                       kv->n, g->lim.n_ctx);
    for (size_t i = 0; i < kv->n; i++)
        if (kv->ids[i] < 0 || kv->ids[i] >= g->lim.n_vocab)
            return err_set(e, E_FORMAT, "%s: token %zu is not in the vocabulary", f->path, i);
    return 0;
}

/* The next run of bytes, n long once unpacked, to the device; or none, where there may be none. */
static int take_bytes(struct in *f, const struct rill_engine *g, struct mem to, uint64_t at,
                      uint32_t n, char *raw, bool *none, struct err *e)
{
    uint32_t size = cur_u32(&f->c);
    struct slice s = cur_slice(&f->c, size);
    size_t got = size;

    *none = size == 0 && !f->c.bad;
    if (*none)
        return 0;
    if (f->c.bad)
        return bad(f, "its pages are cut short", e);
    if (f->packed)
        got = ZSTD_decompress(raw, n, s.p, s.n);
    else if (size == n)
        memcpy(raw, s.p, n);
    if (ZSTD_isError(got) || got != n)
        return bad(f, "a page has the wrong size", e);
    if (g->be->copy(g->dev, to, at, host_mem(raw, n), 0, n) < 0)
        return err_set(e, E_DEVICE, "the device failed to take keys and values");
    return 0;
}

static int take_pages(struct in *f, struct rill_engine *g, int seq, const struct kv_text *t,
                      int n_pos, struct err *e)
{
    const struct plan *p = g->plan;
    char *raw = mem_new(largest(p) + 1, e);
    bool none, whole = true;
    int rc = raw ? 0 : E_NOMEM;
    int slot;

    for (int i = 0; i < n_pos / KV_PAGE && rc == 0; i++)
        for (int k = 0; k < p->n_group && rc == 0; k++) {
            /* pages behind a window are not in the file, nor are they needed */
            bool needed =
                p->group[k].window == 0 || (i + 1) * KV_PAGE > n_pos - p->group[k].window + 1;

            rc = take_bytes(f, g, g->seg.kv.pool, (uint64_t)kv_page(g->pool, k, seq, i) * 1024,
                            p->group[k].bytes, raw, &none, e);
            whole &= !(none && needed);
        }
    if (rc == 0 && !whole)
        rc = bad(f, "a page is missing", e);
    if (rc == 0)
        kv_publish(g->pool, seq, t, n_pos);
    slot = rc == 0 && n_pos > 0 && p->state_bytes ? kv_checkpoint(g->pool, seq) : -1;
    if (rc == 0 && slot >= 0)
        rc = take_bytes(f, g, g->seg.kv.state, (uint64_t)p->state_bytes * (uint64_t)slot,
                        p->state_bytes, raw, &none, e);
    if (rc == 0 && slot >= 0 && none)
        rc = bad(f, "the state is missing", e);
    mem_free(raw);
    return rc;
}

int rill_engine_kv_load(struct rill_engine *g, const char *path, struct rill_kv *out, struct err *e)
{
    struct in f;
    uint32_t *paths = NULL;
    int seq = -1;
    int rc = open_file(&f, path, out, e);

    if (rc < 0)
        return rc;
    rc = fits(g, &f, out, e);
    if (rc < 0)
        goto done;
    rc = E_NOMEM;
    paths = paths_of(g, out, e);
    if (!paths)
        goto done;
    seq = kv_begin(g->pool);
    if (seq >= 0)
        kv_skip(g->pool, seq, out->n_pos); // what is behind windows stays unknown
    if (seq < 0 || !kv_reserve(g->pool, seq, 0, out->n_pos)) {
        rc = err_set(e, E_BUSY, "%s: there is no room for its %d positions now", path, out->n_pos);
        goto done;
    }
    rc = take_pages(&f, g, seq, &(struct kv_text){out->ids, paths, out->salt}, out->n_pos, e);
done:
    if (seq >= 0)
        kv_drop(g->pool, seq);
    if (rc < 0) {
        if (seq >= 0)
            kv_forget(g->pool); // nothing half read stays known
        rill_kv_fini(out);
    }
    mem_free(paths);
    file_unmap(&f.v);
    return rc;
}
