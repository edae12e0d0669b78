/* kvfile.c - see kvfile.h. */
#include "engine/kvfile.h"

#include <stdio.h>

#define XXH_INLINE_ALL
#include <xxhash.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "engine/seats.h"
#include "engine/step.h"

#define VERSION    4
#define SAMPLE     256 // bytes of a tensor's beginning and end that tell models apart
#define LEVEL      3   // of compression
#define NAME_BYTES 96  // of a device

enum { FLAG_ZSTD = 1 };
enum { PAGE_NONE, PAGE_HERE, PAGE_EARLIER };

#define NO_PARENT  UINT32_MAX
#define LEAST_TEXT 28 // bytes of one without tokens

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

static const struct rill_kv *text_at(const struct rill_kv *kv, int k)
{
    return k ? &kv->more[k - 1] : kv;
}

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

/* What pages lie like, and by which instructions they were made: a file's are taken where this is
 * the same. */
static void device_of(const struct rill_engine *g, char name[NAME_BYTES])
{
    struct dev_info info = {0};

    memset(name, 0, NAME_BYTES);
    g->be->info(g->dev, &info);
    snprintf(name, NAME_BYTES, "%s%s%s", info.pages[0] ? info.pages : g->be->name,
             info.level[0] ? ", " : "", info.level);
}

static void put_head(struct out *o, const struct rill_engine *g, const struct rill_kv *kv)
{
    const struct plan *p = g->plan;
    uint64_t hash[4];
    char device[NAME_BYTES];

    hash_model(g, hash);
    hash_vocab(g->lim.tok, hash + 2);
    device_of(g, device);
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
    put_uint(o, (uint32_t)kv->n_more + 1, 4);
}

static uint32_t largest(const struct plan *p)
{
    uint32_t most = p->state_bytes;

    for (int i = 0; i < p->n_group; i++)
        most = p->group[i].bytes > most ? p->group[i].bytes : most;
    return most;
}

/* What a text's pages are put together with. */
struct pages {
    struct rill_engine *g;
    char *raw, *packed; // [largest], [room]; packed NULL: not compressed
    size_t room;
    uint32_t *owner;       // [KiB of the pool] 1 + the text that a page was first met in, 0: none
    struct buf kind, data; // of one text
};

static void pages_fini_all(struct pages *w)
{
    mem_free(w->raw);
    mem_free(w->packed);
    mem_free(w->owner);
    buf_fini(&w->kind);
    buf_fini(&w->data);
}

static int pages_start(struct pages *w, struct rill_engine *g, bool compressed, struct err *e)
{
    const uint32_t most = largest(g->plan);

    *w = (struct pages){.g = g, .room = ZSTD_compressBound(most)};
    w->raw = mem_new(most + 1, e);
    w->packed = compressed ? mem_new(w->room, e) : NULL;
    w->owner = mem_array(g->seg.kv.pool.bytes / 1024 + 1, sizeof *w->owner, e);
    return w->raw && w->owner && (w->packed || !compressed) ? 0 : E_NOMEM;
}

static void add_uint(struct buf *b, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        buf_byte(b, (char)(v >> (8 * i)));
}

/* n bytes of the device's memory. */
static int add_bytes(struct pages *w, struct mem from, uint64_t at, uint32_t n, struct err *e)
{
    size_t size = n;

    if (n && w->g->be->copy(w->g->dev, host_mem(w->raw, n), 0, from, at, n) < 0)
        return err_set(e, E_DEVICE, "the device failed to give back keys and values");
    if (n && w->packed) {
        size = ZSTD_compress(w->packed, w->room, w->raw, n, LEVEL);
        if (ZSTD_isError(size))
            return err_set(e, E_IO, "zstd: %s", ZSTD_getErrorName(size));
    }
    add_uint(&w->data, size, 4);
    buf_add(&w->data, w->packed ? w->packed : w->raw, size);
    return w->data.bad ? err_nomem(e, size) : 0;
}

/* The pages of text k, which seq has. parent and n_shared: the earlier text that it goes with for
 * the longest while. */
static int add_pages(struct pages *w, int k, int seq, const struct kv_match *m, uint32_t *parent,
                     uint32_t *n_shared, struct err *e)
{
    const struct plan *p = w->g->plan;
    int rc = 0;

    *parent = NO_PARENT;
    *n_shared = 0;
    for (int i = 0; i < m->n_pos / KV_PAGE && rc == 0; i++)
        for (int g = 0; g < p->n_group && rc == 0; g++) {
            int32_t page = kv_page(w->g->pool, g, seq, i);
            uint32_t *owner = &w->owner[page];

            buf_byte(&w->kind, (char)(!page ? PAGE_NONE : *owner ? PAGE_EARLIER : PAGE_HERE));
            if (page && *owner) {
                *parent = *owner - 1;
                *n_shared = (uint32_t)(i + 1) * KV_PAGE;
            } else if (page) {
                *owner = (uint32_t)k + 1;
                rc = add_bytes(w, w->g->seg.kv.pool, (uint64_t)page * 1024, p->group[g].bytes, e);
            }
        }
    if (rc == 0)
        rc = add_bytes(w, w->g->seg.kv.state,
                       (uint64_t)p->state_bytes * (uint64_t)(m->state > 0 ? m->state : 0),
                       m->state >= 0 ? p->state_bytes : 0, e);
    return w->kind.bad || w->data.bad ? err_nomem(e, w->data.n) : rc;
}

static int put_text(struct out *o, struct pages *w, int k, const struct rill_kv *kv, uint64_t salt)
{
    uint32_t *paths = paths_of(w->g, kv, o->e), parent, n_shared;
    const struct kv_text t = {kv->ids, paths, salt};
    struct kv_match m;
    int seq = -1;

    if (!paths)
        return E_NOMEM;
    if (kv->n > INT32_MAX || (seq = kv_begin(w->g->pool)) < 0) {
        mem_free(paths);
        return err_set(o->e, E_BUSY, "keys and values cannot be saved while all sequences run");
    }
    buf_clear(&w->kind);
    buf_clear(&w->data);
    m = kv_look(w->g->pool, &t, (int)kv->n, w->g->limits.granule);
    kv_attach(w->g->pool, seq, &m);
    o->rc = add_pages(w, k, seq, &m, &parent, &n_shared, o->e);
    kv_drop(w->g->pool, seq);
    mem_free(paths);
    if (o->rc < 0)
        return o->rc;
    put_uint(o, parent, 4);
    put_uint(o, n_shared, 4);
    put_uint(o, kv->n, 4);
    for (size_t i = 0; i < kv->n; i++)
        put_uint(o, (uint32_t)kv->ids[i], 4);
    for (size_t i = 0; i < kv->n; i++)
        put_uint(o, kv->made && kv->made[i], 1);
    put_uint(o, (uint32_t)m.n_pos, 4);
    put_uint(o, w->kind.n + w->data.n, 8);
    put(o, w->kind.p, w->kind.n);
    put(o, w->data.p, w->data.n);
    return o->rc;
}

int rill_engine_kv_save(struct rill_engine *g, const struct rill_kv *kv, const char *path,
                        struct err *e)
{
    struct out o = {.e = e};
    struct pages w;

    o.rc = pages_start(&w, g, kv->compressed, e);
    XXH3_64bits_reset(&o.hash);
    if (o.rc == 0)
        o.rc = file_create(&o.f, path, e);
    if (o.rc == 0) {
        put_head(&o, g, kv);
        for (int k = 0; k <= kv->n_more && o.rc == 0; k++)
            o.rc = put_text(&o, &w, k, text_at(kv, k), kv->salt);
        put_uint(&o, XXH3_64bits_digest(&o.hash), 8);
        if (o.rc == 0)
            o.rc = file_commit(o.f, e);
        else
            file_abort(o.f);
    }
    pages_fini_all(&w);
    return o.rc;
}

/* The text of a known block that none follows. */
static int spell(const struct rill_engine *g, int leaf, struct rill_kv *out, struct err *e)
{
    const size_t n = (size_t)kv_spell(g->pool, leaf, NULL, NULL) * KV_PAGE;
    uint32_t *paths = mem_array(n / KV_PAGE, sizeof *paths, e);

    out->ids = mem_array(n, sizeof *out->ids, e);
    out->made = mem_new(n, e);
    if (!paths || !out->ids || !out->made) {
        mem_free(paths);
        return E_NOMEM;
    }
    out->n = n;
    kv_spell(g->pool, leaf, out->ids, paths);
    for (size_t i = 0; i < n; i++)
        out->made[i] = paths[i / KV_PAGE] >> i % KV_PAGE & 1;
    mem_free(paths);
    return 0;
}

int rill_engine_kv_known(struct rill_engine *g, uint64_t salt, struct rill_kv *out, struct err *e)
{
    int n = 0, rc = 0;

    *out = (struct rill_kv){.salt = salt, .parent = -1};
    for (int i = -1; (i = kv_leaf(g->pool, i, salt)) >= 0;)
        n++;
    if (n > 1 && !(out->more = mem_array((uint64_t)n - 1, sizeof *out->more, e)))
        return E_NOMEM;
    out->n_more = n > 1 ? n - 1 : 0;
    for (int i = -1, k = 0; rc == 0 && (i = kv_leaf(g->pool, i, salt)) >= 0; k++)
        rc = spell(g, i, k ? &out->more[k - 1] : out, e);
    if (rc < 0)
        rill_kv_fini(out);
    return rc;
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
    size_t texts; // where they begin
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

/* Text k: its tokens and what is said of its pages; the pages are skipped. */
static int read_text(struct in *f, int k, const struct rill_kv *first, struct rill_kv *out,
                     struct err *e)
{
    const size_t from = f->c.at;
    uint32_t parent = cur_u32(&f->c), n_shared = cur_u32(&f->c), n = cur_u32(&f->c), n_pos;
    const struct rill_kv *up;
    struct slice made;
    uint64_t bytes;

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
    bytes = cur_u64(&f->c);
    if (f->c.bad || n_pos % KV_PAGE || n_pos > n || n > INT32_MAX || n_shared % KV_PAGE ||
        n_shared > n_pos || bytes < (uint64_t)(n_pos / KV_PAGE) * f->n_group)
        return bad(f, "its positions make no sense", e);
    if (parent == NO_PARENT ? n_shared > 0 : parent >= (uint32_t)k || !n_shared)
        return bad(f, "its texts are not in order", e);
    up = parent == NO_PARENT ? NULL : text_at(first, (int)parent);
    if (up && (up->n_pos < (int)n_shared ||
               memcmp(up->ids, out->ids, (size_t)n_shared * sizeof *out->ids) != 0))
        return bad(f, "a text does not begin as it says", e);
    cur_take(&f->c, bytes);
    if (f->c.bad)
        return bad(f, "its pages are cut short", e);
    out->n_pos = (int)n_pos;
    out->n_shared = (int)n_shared;
    out->parent = up ? (int)parent : -1;
    out->bytes = f->c.at - from;
    out->compressed = f->packed;
    memcpy(out->device, f->device, sizeof out->device - 1);
    return 0;
}

static int read_texts(struct in *f, struct rill_kv *out, struct err *e)
{
    uint32_t n = cur_u32(&f->c);
    int rc = 0;

    if (f->c.bad || n < 1 || n > (f->c.n - f->c.at) / LEAST_TEXT)
        return bad(f, "its texts are cut short", e);
    f->texts = f->c.at;
    if (n > 1 && !(out->more = mem_array(n - 1, sizeof *out->more, e)))
        return E_NOMEM;
    out->n_more = (int)n - 1;
    for (int k = 0; k < (int)n && rc == 0; k++)
        rc = read_text(f, k, out, k ? &out->more[k - 1] : out, e);
    if (rc == 0 && f->c.at != f->c.n)
        rc = bad(f, "there is more behind its texts", e);
    return rc;
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
    rc = rc < 0 ? rc : read_texts(f, out, e);
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
    for (int i = 0; i < kv->n_more; i++) {
        mem_free(kv->more[i].ids);
        mem_free(kv->more[i].made);
    }
    mem_free(kv->ids);
    mem_free(kv->made);
    mem_free(kv->more);
    *kv = (struct rill_kv){0};
}

/* Whether its pages can be used as they are, by this model on this device. */
static int fits(const struct rill_engine *g, const struct in *f, struct err *e)
{
    const struct plan *p = g->plan;
    uint64_t model[2], vocab[2];
    char device[NAME_BYTES];
    bool same = f->n_group == (uint32_t)p->n_group && f->state_bytes == p->state_bytes &&
                f->type_k == (uint32_t)p->kv_type_k && f->type_v == (uint32_t)p->kv_type_v;

    hash_model(g, model);
    hash_vocab(g->lim.tok, vocab);
    if (memcmp(model, f->model, sizeof model) != 0)
        return err_set(e, E_UNSUPPORTED, "%s: made with another model", f->path);
    if (memcmp(vocab, f->vocab, sizeof vocab) != 0)
        return err_set(e, E_UNSUPPORTED, "%s: made with another vocabulary", f->path);
    device_of(g, device);
    if (strcmp(f->device, device) != 0)
        return err_set(e, E_UNSUPPORTED, "%s: made on device '%s', this is '%s'", f->path,
                       f->device, device);
    for (int i = 0; same && i < p->n_group; i++)
        same =
            f->page_bytes[i] == p->group[i].bytes && f->window[i] == (uint32_t)p->group[i].window;
    if (!same)
        return err_set(e, E_UNSUPPORTED, "%s: its keys and values are of other types or layers",
                       f->path);
    return 0;
}

static int text_fits(const struct rill_engine *g, const struct in *f, const struct rill_kv *kv,
                     struct err *e)
{
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

/* Pages that earlier texts have go into the sequence first: nobody can give them up then. */
static int take_earlier(struct in *f, struct rill_engine *g, int seq, const struct kv_text *t,
                        int n_block, const char *kind, struct err *e)
{
    int node = -1;

    for (int i = 0; i < n_block; i++) {
        bool any = false;

        for (int k = 0; k < g->plan->n_group; k++)
            any |= kind[i * g->plan->n_group + k] == PAGE_EARLIER;
        node = i == 0 || node >= 0 ? kv_follow(g->pool, node, t, i) : -1;
        for (int k = 0; k < g->plan->n_group && any; k++)
            if (kind[i * g->plan->n_group + k] == PAGE_EARLIER &&
                (node < 0 || !kv_place(g->pool, seq, k, i, node)))
                return err_set(e, E_BUSY, "%s: there is no room for all of its texts now", f->path);
    }
    return 0;
}

/* Pages that are here. */
static int take_here(struct in *f, struct rill_engine *g, int seq, int n_pos, const char *kind,
                     char *raw, struct err *e)
{
    const struct plan *p = g->plan;
    bool none;
    int rc = 0;

    for (int i = 0; i < n_pos / KV_PAGE && rc == 0; i++)
        for (int k = 0; k < p->n_group && rc == 0; k++) {
            const char which = kind[i * p->n_group + k];
            /* pages behind a window are not in the file, nor are they needed */
            const bool needed =
                p->group[k].window == 0 || (i + 1) * KV_PAGE > n_pos - p->group[k].window + 1;

            if (which > PAGE_EARLIER || (which == PAGE_NONE && needed))
                return bad(f, "a page is missing", e);
            if (which != PAGE_HERE)
                continue;
            if (!kv_place(g->pool, seq, k, i, -1))
                return err_set(e, E_BUSY, "%s: there is no room for its %d positions now", f->path,
                               n_pos);
            rc = take_bytes(f, g, g->seg.kv.pool, (uint64_t)kv_page(g->pool, k, seq, i) * 1024,
                            p->group[k].bytes, raw, &none, e);
            if (rc == 0 && none)
                rc = bad(f, "a page is missing", e);
        }
    return rc;
}

static int take_state(struct in *f, struct rill_engine *g, int seq, int n_pos, char *raw,
                      struct err *e)
{
    const uint32_t n = g->plan->state_bytes;
    int slot = n_pos > 0 && n ? kv_checkpoint(g->pool, seq) : -1;
    bool none = false;
    int rc;

    if (slot < 0) { // there is none, or it is known
        cur_slice(&f->c, cur_u32(&f->c));
        return 0;
    }
    rc = take_bytes(f, g, g->seg.kv.state, (uint64_t)n * (uint64_t)slot, n, raw, &none, e);
    return rc == 0 && none ? bad(f, "the state is missing", e) : rc;
}

/* The next text, all of which has been read once (read_text). */
static int take_text(struct in *f, struct rill_engine *g, const struct rill_kv *kv, char *raw,
                     struct err *e)
{
    const int n_block = kv->n_pos / KV_PAGE;
    uint32_t *paths = paths_of(g, kv, e);
    const struct kv_text t = {kv->ids, paths, kv->salt};
    struct slice kind;
    int seq, rc;

    if (!paths)
        return E_NOMEM;
    seq = kv_begin(g->pool);
    if (seq < 0) {
        mem_free(paths);
        return err_set(e, E_BUSY, "%s: all sequences run", f->path);
    }
    f->c.at += 12 + 5 * kv->n + 12;
    kind = cur_slice(&f->c, (uint64_t)n_block * (uint64_t)g->plan->n_group);
    rc = take_earlier(f, g, seq, &t, n_block, kind.p, e);
    rc = rc < 0 ? rc : take_here(f, g, seq, kv->n_pos, kind.p, raw, e);
    if (rc == 0) {
        kv_publish(g->pool, seq, &t, kv->n_pos);
        rc = take_state(f, g, seq, kv->n_pos, raw, e);
    }
    kv_drop(g->pool, seq);
    mem_free(paths);
    return rc;
}

/* Whether all is still there: the last ones may have taken the place of the first. */
static int all_there(const struct in *f, struct rill_engine *g, const struct rill_kv *kv,
                     struct err *e)
{
    for (int k = 0; k <= kv->n_more; k++) {
        const struct rill_kv *one = text_at(kv, k);
        uint32_t *paths = paths_of(g, one, e);
        const struct kv_text t = {one->ids, paths, one->salt};
        int n_pos = paths ? kv_look(g->pool, &t, one->n_pos, g->limits.granule).n_pos : 0;

        mem_free(paths);
        if (!paths)
            return E_NOMEM;
        if (n_pos < one->n_pos && g->cache)
            return err_set(e, E_BUSY, "%s: there is no room for all of its texts now", f->path);
    }
    return 0;
}

int rill_engine_kv_load(struct rill_engine *g, const char *path, struct rill_kv *out, struct err *e)
{
    struct in f;
    char *raw = NULL;
    int rc = open_file(&f, path, out, e);

    if (rc < 0)
        return rc;
    rc = fits(g, &f, e);
    for (int k = 0; k <= out->n_more && rc == 0; k++)
        rc = text_fits(g, &f, text_at(out, k), e);
    if (rc == 0 && !(raw = mem_new(largest(g->plan) + 1, e)))
        rc = E_NOMEM;
    if (rc == 0) {
        f.c.at = f.texts;
        for (int k = 0; k <= out->n_more && rc == 0; k++) {
            const size_t end = f.c.at + (size_t)text_at(out, k)->bytes;

            rc = take_text(&f, g, text_at(out, k), raw, e);
            if (rc == 0 && (f.c.bad || f.c.at != end)) // the next one is read from there
                rc = bad(&f, "a text is not as long as its pages", e);
        }
        if (rc == 0)
            rc = all_there(&f, g, out, e);
        if (rc < 0)
            kv_forget(g->pool); // nothing half read stays known
    }
    mem_free(raw);
    if (rc < 0)
        rill_kv_fini(out);
    file_unmap(&f.v);
    return rc;
}
