/* share.c - which rows of a step begin with the same pages, so that their partials of these are
 * made together (attn_many.cu).
 *
 * The engine puts such sequences side by side and says what each has in common with the one before
 * it. Here they become tiles of as many rows as a block of attention takes at once.
 */
#include "kernels/batch.h"
#include "kernels/cuda/cuda.h"

static int32_t least(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t end_of(const struct batch *b, int32_t t, int32_t n)
{
    int32_t end = t + 1;

    while (end < n && b->seq[end] == b->seq[t])
        end++;
    return end;
}

/* Whole partials that the rows from t on see, and have in common with the row before. */
static int32_t partials(const struct batch *b, int32_t t, bool first)
{
    const int32_t pages = first ? INT32_MAX : batch_alike(b, t);

    return attn_chunk_of(pages < b->pos[t] / KV_PAGE ? pages * KV_PAGE : b->pos[t]);
}

/* The end of a tile that begins with row t, and what its rows have in common: another sequence
 * comes in as long as no fewer partials are spared. */
static int32_t tile_of(const struct share_rule *r, const struct batch *b, int32_t t, int32_t n,
                       int32_t *common)
{
    int32_t end = end_of(b, t, n), n_seq = 1;

    *common = partials(b, t, true);
    if (end - t > r->run)
        *common = 0;
    while (*common > 0 && end < n) {
        const int32_t next = end_of(b, end, n), c = least(*common, partials(b, end, false));

        if (c == 0 || next - end > r->run || next - t > r->rows ||
            (end - t >= SHARE_ROWS && n_seq * c < (n_seq - 1) * *common))
            break;
        *common = c;
        end = next;
        n_seq++;
    }
    if (n_seq == 1 || end - t < SHARE_ROWS)
        *common = 0;
    return end;
}

int32_t cuda_share(const struct share_rule *r, const struct batch *b, int32_t (*tile)[4],
                   int32_t *own)
{
    const int32_t n = b->n_p + b->n_g;
    int32_t n_tile = 0, before = 0;
    int64_t spared = 0;

    for (int32_t t = 0, end, common; t < n; t = end) {
        end = tile_of(r, b, t, n, &common);
        if (n_tile && end - tile[0][0] > r->room)
            common = 0;
        for (int32_t i = t; i < end; i++)
            own[i] = common;
        if (!common)
            continue;
        tile[n_tile][0] = t;
        tile[n_tile][1] = end;
        tile[n_tile][2] = common;
        tile[n_tile++][3] = before;
        before += common;
        spared += (int64_t)(end - t) * common;
    }
    if (spared >= r->least)
        return n_tile;
    for (int32_t t = 0; t < n; t++)
        own[t] = 0;
    return 0;
}
