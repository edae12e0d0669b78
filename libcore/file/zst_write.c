/* zst_write.c - see zst.h: writes. Frames gather until there is work for all threads, are
 * compressed together and written in order.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>
#include <zstd.h>

#include "base/mem.h"
#include "file/zst.h"
#include "file/zst_inner.h"

enum {
    /* Trained weights are noise to a compressor but for their exponents, which any level finds:
     * docs/performance.md has what others gave. */
    LEVEL = 3,
    PER_THREAD = 4,      // frames of full size that are gathered
    MOST_GATHERED = 512, // frames of any size
};

struct piece {
    uint64_t in, n_in; // in the gathered bytes
    uint64_t out;      // room for it, compressed
    size_t n_out;      // or what libzstd said
    uint32_t sum;
};

struct zst_out {
    struct file_out *f;
    struct team *team;
    ZSTD_CCtx *ctx[ZST_THREADS];
    uint8_t *in, *out;
    uint64_t n_in, cap_in, cap_out;
    struct piece piece[MOST_GATHERED];
    uint32_t n_piece; // the last one is open while its n_in is not 0
    struct buf table;
    uint64_t n_frame;
    bool ended; // the last piece is complete
};

int zst_out_new(struct zst_out **out, struct file_out *f, int threads, struct err *e)
{
    struct zst_out *z = mem_new(sizeof *z, e);
    int n = threads < 1 ? 1 : threads < ZST_THREADS ? threads : ZST_THREADS;

    *out = NULL;
    if (!z)
        return E_NOMEM;
    z->f = f;
    z->ended = true;
    z->cap_in = (uint64_t)(n < 8 ? n : 8) * PER_THREAD * ZST_FRAME;
    /* room for pieces of every size, each with what it takes more when it does not shrink */
    z->cap_out = z->cap_in + z->cap_in / 128 + MOST_GATHERED * ZSTD_compressBound(1);
    if (!(z->in = mem_pages(z->cap_in, e)) || !(z->out = mem_pages(z->cap_out, e)) ||
        team_new(&z->team, n, e) < 0)
        goto fail;
    for (int i = 0; i < n; i++) {
        if (!(z->ctx[i] = ZSTD_createCCtx())) {
            err_nomem(e, ZST_FRAME);
            goto fail;
        }
        ZSTD_CCtx_setParameter(z->ctx[i], ZSTD_c_compressionLevel, LEVEL);
        ZSTD_CCtx_setParameter(z->ctx[i], ZSTD_c_checksumFlag, 1);
    }
    *out = z;
    return 0;
fail:
    zst_out_free(z);
    return e ? e->code : E_NOMEM;
}

static void compress_pieces(void *arg, int member, int n)
{
    struct zst_out *z = arg;

    for (uint32_t i = (uint32_t)member; i < z->n_piece; i += (uint32_t)n) {
        struct piece *p = &z->piece[i];

        p->n_out = ZSTD_compress2(z->ctx[member], z->out + p->out, ZSTD_compressBound(p->n_in),
                                  z->in + p->in, p->n_in);
        p->sum = (uint32_t)XXH64(z->in + p->in, p->n_in, 0);
    }
}

static void add_u32(struct buf *b, uint64_t v)
{
    for (int i = 0; i < 4; i++)
        buf_byte(b, (char)(v >> (8 * i)));
}

/* Compresses and writes what was gathered. */
static int flush(struct zst_out *z, struct err *e)
{
    uint64_t at = 0;
    int rc = 0;

    for (uint32_t i = 0; i < z->n_piece; i++) {
        z->piece[i].out = at;
        at += ZSTD_compressBound(z->piece[i].n_in);
    }
    team_run(z->team, compress_pieces, z);
    for (uint32_t i = 0; i < z->n_piece && rc == 0; i++) {
        const struct piece *p = &z->piece[i];

        if (ZSTD_isError(p->n_out))
            return err_set(e, E_IO, "zstd: %s", ZSTD_getErrorName(p->n_out));
        rc = file_write(z->f, z->out + p->out, p->n_out, e);
        add_u32(&z->table, p->n_out);
        add_u32(&z->table, p->n_in);
        add_u32(&z->table, p->sum);
        z->n_frame++;
    }
    z->n_piece = 0;
    z->n_in = 0;
    z->ended = true;
    return rc == 0 && z->table.bad ? err_nomem(e, z->table.n) : rc;
}

int zst_put(struct zst_out *z, const void *p, uint64_t n, struct err *e)
{
    const uint8_t *from = p;

    while (n > 0) {
        struct piece *last;
        uint64_t take;
        int rc;

        if (z->ended && (z->n_piece == MOST_GATHERED || z->cap_in - z->n_in < ZST_FRAME) &&
            (rc = flush(z, e)) < 0)
            return rc;
        if (z->ended)
            z->piece[z->n_piece++] = (struct piece){.in = z->n_in};
        last = &z->piece[z->n_piece - 1];
        take = n < ZST_FRAME - last->n_in ? n : ZST_FRAME - last->n_in;
        memcpy(z->in + z->n_in, from, (size_t)take);
        last->n_in += take;
        z->n_in += take;
        z->ended = last->n_in == ZST_FRAME;
        from += take;
        n -= take;
    }
    return 0;
}

void zst_cut(struct zst_out *z)
{
    z->ended = true;
}

int zst_end(struct zst_out *z, struct err *e)
{
    struct buf head = {0};
    int rc = flush(z, e);

    if (rc < 0)
        return rc;
    if (z->table.n > UINT32_MAX - ZST_FOOT)
        return err_set(e, E_RANGE, "too large for a table of compressed frames");
    add_u32(&head, ZST_SKIP_MAGIC);
    add_u32(&head, z->table.n + ZST_FOOT);
    add_u32(&z->table, z->n_frame);
    buf_byte(&z->table, (char)ZST_FLAG_SUMS);
    add_u32(&z->table, ZST_TABLE_MAGIC);
    if (head.bad || z->table.bad)
        rc = err_nomem(e, z->table.n);
    if (rc == 0 && (rc = file_write(z->f, head.p, head.n, e)) == 0)
        rc = file_write(z->f, z->table.p, z->table.n, e);
    buf_fini(&head);
    return rc;
}

void zst_out_free(struct zst_out *z)
{
    if (!z)
        return;
    for (int i = 0; i < ZST_THREADS; i++)
        ZSTD_freeCCtx(z->ctx[i]);
    team_free(z->team);
    mem_unpages(z->in, z->cap_in);
    mem_unpages(z->out, z->cap_out);
    buf_fini(&z->table);
    mem_free(z);
}
