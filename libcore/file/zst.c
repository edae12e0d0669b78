/* zst.c - see zst.h: reads. */
#include "file/zst.h"

#define XXH_INLINE_ALL
#include <xxhash.h>
#include <zstd.h>

#include "base/mem.h"
#include "file/gguf_inner.h"
#include "file/zst_inner.h"

enum {
    SKIP_BYTES = 64 << 10,  // decompressed and forgotten at a time
    BLOCK_MOST = 128 << 10, // what one block of a frame may decompress to (RFC 8878, 3.1.1.2.4)
    BLOCK_LEAST = 4,        // compressed bytes of such a block: a header and the byte it repeats
};

struct frame {
    uint64_t in, out; // where it begins, compressed and not
    uint32_t n_in, n_out;
    uint32_t sum;
};

struct zst_in {
    ZSTD_DStream *d;
    const char *name;
    zst_feed *feed;
    void *arg;
    ZSTD_inBuffer in;
    bool ended; // in front of a frame, or behind the last
};

/* Where reading frames from their front has come to. */
struct cursor {
    struct zst_in *s;
    struct slice left; // compressed bytes not given to s
    uint64_t start;    // where its frame begins, decompressed
    uint64_t at;       // the next byte, decompressed
};

struct zst {
    const char *name;
    const struct file_view *v;
    struct frame *frame; // [n_frame]
    uint32_t n_frame;
    bool table, sums;
    uint64_t bytes;
    struct cursor cursor;
    ZSTD_DCtx *ctx[ZST_THREADS];
    /* the frames in work */
    uint32_t first, n_work;
    uint8_t *to;
    size_t why[ZST_THREADS];   // what libzstd said
    uint32_t bad[ZST_THREADS]; // the first frame that is wrong, + 1
};

bool zst_magic(const void *p, size_t n)
{
    static const uint8_t frame[] = {0x28, 0xB5, 0x2F, 0xFD}, skipped[] = {0x2A, 0x4D, 0x18};
    const uint8_t *b = p;

    return n >= 4 &&
           (memcmp(b, frame, 4) == 0 || ((b[0] & 0xF0) == 0x50 && memcmp(b + 1, skipped, 3) == 0));
}

bool zst_named(const char *path)
{
    size_t n = strlen(path);

    return n > 4 && strcmp(path + n - 4, ".zst") == 0;
}

/* -- the table -- */

static uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int bad_table(const struct zst *z, const char *why, struct err *e)
{
    return err_set(e, E_FORMAT, "%s: its table of compressed frames %s", gguf_path_tail(z->name),
                   why);
}

/* A frame may claim no more than its blocks can hold, so that what is allocated for it is in
 * proportion to the file. */
static bool believable(uint32_t n_in, uint32_t n_out)
{
    return n_out == 0 || (uint64_t)n_in / BLOCK_LEAST >= (n_out - 1) / BLOCK_MOST;
}

/* The last bytes may be a table; 0 also when they are none. */
static int read_table(struct zst *z, struct err *e)
{
    const uint8_t *p = z->v->p;
    uint64_t n = z->v->n, each, body, in = 0, out = 0;
    const uint8_t *foot, *row;

    if (n < ZST_SKIP_HEAD + ZST_FOOT || u32_at(p + n - 4) != ZST_TABLE_MAGIC)
        return 0;
    foot = p + n - ZST_FOOT;
    if (foot[4] & ZST_FLAGS_RESERVED)
        return err_set(e, E_UNSUPPORTED, "%s: its table of compressed frames is of a later kind",
                       gguf_path_tail(z->name));
    z->sums = foot[4] & ZST_FLAG_SUMS;
    each = z->sums ? 12 : 8;
    z->n_frame = u32_at(foot);
    body = z->n_frame * each + ZST_FOOT;
    if (body > n - ZST_SKIP_HEAD)
        return bad_table(z, "is longer than the file", e);
    row = p + n - body;
    if (u32_at(row - 8) != ZST_SKIP_MAGIC || u32_at(row - 4) != body)
        return bad_table(z, "does not begin where it should", e);
    if (!(z->frame = mem_array(z->n_frame, sizeof *z->frame, e)))
        return E_NOMEM;
    for (uint32_t i = 0; i < z->n_frame; i++, row += each) {
        struct frame *f = &z->frame[i];

        *f = (struct frame){in, out, u32_at(row), u32_at(row + 4), z->sums ? u32_at(row + 8) : 0};
        if (!believable(f->n_in, f->n_out))
            return bad_table(z, "says more of a frame than can be in it", e);
        in += f->n_in; /* 2^32 numbers below 2^32 */
        out += f->n_out;
    }
    if (in != n - body - ZST_SKIP_HEAD)
        return bad_table(z, "does not fit the file", e);
    z->table = true;
    z->bytes = out;
    return 0;
}

int zst_open(struct zst **out, const char *name, const struct file_view *v, struct err *e)
{
    struct zst *z = mem_new(sizeof *z, e);
    int rc;

    *out = NULL;
    if (!z)
        return E_NOMEM;
    z->name = name;
    z->v = v;
    z->bytes = UINT64_MAX;
    if ((rc = read_table(z, e)) < 0) {
        zst_close(z);
        return rc;
    }
    *out = z;
    return 0;
}

void zst_close(struct zst *z)
{
    if (!z)
        return;
    for (int i = 0; i < ZST_THREADS; i++)
        ZSTD_freeDCtx(z->ctx[i]);
    zst_in_close(z->cursor.s);
    mem_free(z->frame);
    mem_free(z);
}

uint32_t zst_frames(const struct zst *z)
{
    return z->table ? z->n_frame : 0;
}

uint64_t zst_front(const struct zst *z)
{
    return zst_frames(z) ? z->frame[0].n_out : 0;
}

uint64_t zst_bytes(const struct zst *z)
{
    return z->bytes;
}

/* -- streams -- */

int zst_in_open(struct zst_in **out, const char *name, zst_feed *fn, void *arg, struct err *e)
{
    struct zst_in *s = mem_new(sizeof *s, e);

    *out = NULL;
    if (!s)
        return E_NOMEM;
    *s = (struct zst_in){.d = ZSTD_createDStream(), .name = name, .feed = fn, .arg = arg};
    if (!s->d) {
        mem_free(s);
        return err_nomem(e, ZSTD_DStreamInSize());
    }
    s->ended = true;
    *out = s;
    return 0;
}

int zst_in_read(struct zst_in *s, void *p, size_t n, size_t *got, struct err *e)
{
    ZSTD_outBuffer out = {p, n, 0};
    size_t left;
    int rc;

    *got = 0;
    for (;;) {
        if (s->in.pos == s->in.size) {
            const uint8_t *more = NULL;
            size_t n_more = 0;

            if (out.pos == n) /* what a frame ends with may be left, but it cannot be waited for */
                break;
            if ((rc = s->feed(s->arg, &more, &n_more, e)) < 0)
                return rc;
            if (!n_more && s->ended)
                break;
            if (!n_more)
                return err_set(e, E_FORMAT, "%s: ends inside its compressed data",
                               gguf_path_tail(s->name));
            s->in = (ZSTD_inBuffer){more, n_more, 0};
        }
        left = ZSTD_decompressStream(s->d, &out, &s->in);
        if (ZSTD_isError(left))
            return err_set(e, E_FORMAT, "%s: is not compressed as it should: %s",
                           gguf_path_tail(s->name), ZSTD_getErrorName(left));
        s->ended = left == 0;
        if (out.pos == n)
            break;
    }
    *got = out.pos;
    return 0;
}

void zst_in_close(struct zst_in *s)
{
    if (!s)
        return;
    ZSTD_freeDStream(s->d);
    mem_free(s);
}

/* -- from the front of a frame -- */

static int feed_cursor(void *arg, const uint8_t **p, size_t *n, struct err *e)
{
    struct cursor *c = arg;
    size_t take = c->left.n < 1 << 20 ? c->left.n : 1 << 20;

    (void)e;
    *p = (const uint8_t *)c->left.p;
    *n = take;
    c->left.p += take;
    c->left.n -= take;
    return 0;
}

/* Has the cursor stand at a byte of frame f (without a table: of the file). */
static int cursor_go(struct zst *z, const struct frame *f, uint64_t at, struct err *e)
{
    struct cursor *c = &z->cursor;
    uint8_t skipped[SKIP_BYTES];
    uint64_t start = f ? f->out : 0;
    int rc;

    if (!c->s || c->start != start || c->at > at) {
        zst_in_close(c->s);
        c->left = f ? (struct slice){(const char *)z->v->p + f->in, f->n_in}
                    : (struct slice){(const char *)z->v->p, z->v->n};
        c->start = c->at = start;
        if ((rc = zst_in_open(&c->s, z->name, feed_cursor, c, e)) < 0)
            return rc;
    }
    while (c->at < at) {
        size_t got, n = at - c->at < sizeof skipped ? (size_t)(at - c->at) : sizeof skipped;

        if ((rc = zst_in_read(c->s, skipped, n, &got, e)) < 0)
            return rc;
        c->at += got;
        if (got < n)
            break;
    }
    return 0;
}

static int cursor_read(struct zst *z, const struct frame *f, uint64_t at, uint8_t *out, uint64_t n,
                       uint64_t *got, struct err *e)
{
    size_t some = 0;
    int rc = cursor_go(z, f, at, e);

    if (rc == 0 && z->cursor.at == at)
        rc = zst_in_read(z->cursor.s, out, (size_t)n, &some, e);
    if (rc < 0) { /* nothing can be said of where it stands */
        zst_in_close(z->cursor.s);
        z->cursor.s = NULL;
        return rc;
    }
    z->cursor.at += some;
    *got = some;
    if (f && some < n)
        return err_set(e, E_FORMAT, "%s: frame %u of %u is shorter than the table says",
                       gguf_path_tail(z->name), (unsigned)(f - z->frame) + 1, z->n_frame);
    return 0;
}

/* -- whole frames -- */

static void read_frames(void *arg, int member, int n)
{
    struct zst *z = arg;

    if (member >= ZST_THREADS)
        return;
    n = n < ZST_THREADS ? n : ZST_THREADS;
    for (uint32_t i = (uint32_t)member; i < z->n_work && !z->bad[member]; i += (uint32_t)n) {
        const struct frame *f = &z->frame[z->first + i];
        uint8_t *to = z->to + (f->out - z->frame[z->first].out);
        size_t got = ZSTD_decompressDCtx(z->ctx[member], to, f->n_out, z->v->p + f->in, f->n_in);

        z->why[member] = got;
        if (got != f->n_out || (z->sums && f->n_out && (uint32_t)XXH64(to, f->n_out, 0) != f->sum))
            z->bad[member] = z->first + i + 1;
    }
}

static int whole_frames(struct zst *z, uint32_t first, uint32_t n, uint8_t *out, struct team *team,
                        struct err *e)
{
    int threads = team ? team_size(team) : 1;
    const struct frame *a = &z->frame[first], *b = &z->frame[first + n - 1];
    uint64_t bytes = b->in + b->n_in - a->in;

    for (int i = 0; i < threads && i < ZST_THREADS; i++) {
        if (!z->ctx[i] && !(z->ctx[i] = ZSTD_createDCtx()))
            return err_nomem(e, ZSTD_DStreamInSize());
        z->bad[i] = 0;
    }
    z->first = first;
    z->n_work = n;
    z->to = out;
    file_willneed(z->v, (size_t)a->in, (size_t)bytes);
    if (team)
        team_run(team, read_frames, z);
    else
        read_frames(z, 0, 1);
    file_dontneed(z->v, (size_t)a->in, (size_t)bytes);
    for (int i = 0; i < threads && i < ZST_THREADS; i++) {
        const char *what = ZSTD_isError(z->why[i]) ? ZSTD_getErrorName(z->why[i]) : NULL;

        if (z->bad[i])
            return err_set(e, E_FORMAT, "%s: frame %u of %u %s%s", gguf_path_tail(z->name),
                           z->bad[i], z->n_frame,
                           what ? "is not compressed as it should: " : "is not what the table says",
                           what ? what : "");
    }
    return 0;
}

/* The frame that holds a byte. */
static uint32_t frame_at(const struct zst *z, uint64_t at)
{
    uint32_t low = 0, high = z->n_frame;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (z->frame[mid].out + z->frame[mid].n_out <= at)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

int zst_read(struct zst *z, uint64_t at, void *out, uint64_t n, uint64_t *got, struct team *team,
             struct err *e)
{
    uint8_t *to = out;
    int rc = 0;

    *got = 0;
    if (!z->table)
        return cursor_read(z, NULL, at, to, n, got, e);
    n = at >= z->bytes ? 0 : n < z->bytes - at ? n : z->bytes - at;
    while (n > 0 && rc == 0) {
        uint32_t i = frame_at(z, at), end = i;
        uint64_t some = 0;

        while (z->frame[i].out == at && end < z->n_frame && z->frame[end].n_out <= n - some)
            some += z->frame[end++].n_out;
        if (some) {
            rc = whole_frames(z, i, end - i, to, team, e);
        } else {
            some = z->frame[i].out + z->frame[i].n_out - at;
            rc = cursor_read(z, &z->frame[i], at, to, some < n ? some : n, &some, e);
        }
        at += some;
        to += some;
        n -= some;
        *got += some;
    }
    return rc;
}
