/* run_attn.c - key/value memory and attention over it.
 *
 * A query's positions are cut in chunks of CPU_CHUNK, counted from position 0. Each chunk gives a
 * partial (max, sum, weighted sum of V), and partials are merged in order. Prompts are dealt out by
 * blocks of rows, which merge as they go; a few rows with long histories by chunks, which are
 * merged in a step of their own. Both do the same arithmetic in the same order.
 */
#include <string.h>

#include "kernels/batch.h"
#include "kernels/cpu/attn.h"
#include "quant/half.h"

/* Pages that rows of different sequences must have in common to be worked on together. */
#define ALIKE 4

#define OPENED   16   // queries that take a page in turn, made f32 once for all of them
#define TOGETHER 2    // pages of V that are opened at a time: sums are fetched and put back once
#define AT_ONCE  4    // likewise of V that is read as it is
#define AHEAD    4    // pages: keys and values are asked for so long before they are used
#define AT_FIRST 4096 // bytes of each of these pages, where nobody has asked before

#define CHUNK_PAGES (CPU_CHUNK / KV_PAGE)

/* Whether keys or values of a type are multiplied as they are, by whole numbers. */
static bool whole(const struct cpu_ctx *c, const struct attn_args *m, int type)
{
    return (type == FMT_Q8_0 || type == FMT_Q4_0) && c->k->whole_q && !m->v_in_k;
}

/* Whether they are opened to f32 before so many queries use them. */
static bool opened(const struct cpu_ctx *c, const struct attn_args *m, int type, int queries)
{
    return type == FMT_F16 ? queries >= OPENED : type != FMT_F32 && !whole(c, m, type);
}

void run_kv_store(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const struct plan *p = c->seg->plan;
    const struct attn_args *m = &s->op->a.attn;
    const size_t v_at = v_offset(p, m->kv);
    int64_t a, b;

    share_rows(c, ROWS_T, &a, &b);
    for (int64_t t = a; t < b; t++) {
        const int32_t pos = c->b->pos[t];
        uint8_t *page = page_at(c, m->kv, &c->b->seqs[c->b->seq[t]], pos / KV_PAGE);
        float *k = val_row(c, &s->in[0], t);

        if (turned(p, m)) {
            k = memcpy(c->own, k, (size_t)m->n_kv * (size_t)m->dk * sizeof *k);
            c->k->turn(k, m->dk, m->n_kv, false);
        }
        c->k->put_k(page, p->kv_type_k, k, m->n_kv, m->dk, pos % KV_PAGE);
        if (s->in[1].used)
            c->k->put_v(page + v_at, p->kv_type_v, val_row(c, &s->in[1], t), m->n_kv, m->dv,
                        pos % KV_PAGE);
    }
}

/* -- one piece of work: some rows, some heads that share a key/value head --
 *
 * Rows of a piece are of one sequence, or of several that begin with the same pages (a prefix that
 * the engine holds once): a page that rows have in common is read once for all of them. What is
 * computed for a row, and in what order, does not depend on who else is there. */

struct piece {
    const struct attn_args *m;
    const struct cpu_step *s;
    int64_t t0; // first row
    int n_row;
    int kv_head;
    int head, n_head;                           // query heads [head, head + n_head)
    int32_t from[CPU_QUERIES], to[CPU_QUERIES]; // positions each row sees
    float *q, *score, *part, *run;              // private memory
    float *k, *v;                               // a page of one head, TOGETHER pages
    size_t k_bytes, v_at, v_bytes;              // of a head's part of a page; V's place
    struct cpu_ask ask;
    int64_t step, soft_step;                       // of rows, of softmax
    uintptr_t asked;                               // where the next chunk is asked for already
    struct cpu_part soon[3 * CHUNK_PAGES / 4 + 4]; // what is asked for during a chunk
};

static int heads_at_once(const struct attn_args *m)
{
    return least(m->n_head / m->n_kv, CPU_HEADS);
}

static int rows_at_once(const struct attn_args *m)
{
    return CPU_QUERIES / heads_at_once(m);
}

uint64_t attn_own(const struct attn_args *m)
{
    return sizeof(float) * ((uint64_t)CPU_QUERIES * (uint64_t)(m->dk + CPU_CHUNK) +
                            2 * CPU_QUERIES * (uint64_t)part_floats(m) +
                            (uint64_t)KV_PAGE * (uint64_t)(m->dk + TOGETHER * m->dv));
}

static void piece_begin(const struct cpu_ctx *c, struct piece *p)
{
    const int dk = p->m->dk, type = c->seg->plan->kv_type_k;
    const int64_t n = (int64_t)p->n_head * dk;

    for (int i = 0; i < p->n_row; i++) {
        const float *row = val_row(c, &p->s->in[0], p->t0 + i) + (int64_t)p->head * dk;
        float *q = p->q + i * n;

        sees(c, p->m, p->t0 + i, &p->from[i], &p->to[i]);
        c->k->scale(q, row, n, p->m->scale);
        if (turned(c->seg->plan, p->m))
            c->k->turn(q, dk, p->n_head, true);
        if (whole(c, p->m, type))
            c->k->whole_q(q, type, n);
    }
}

/* Row i's places in the chunk that begins at position base: [*a, *b). */
static inline void places(const struct piece *p, int i, int32_t base, int *a, int *b)
{
    *a = least(most(p->from[i] - base, 0), CPU_CHUNK);
    *b = least(most(p->to[i] - base, *a), CPU_CHUNK);
}

/* Rows among [*i0, *i1) that see anything of places [a, b) of a chunk, in *i0 and *i1. */
static void rows_seeing(const struct piece *p, int32_t base, int a, int b, int *i0, int *i1)
{
    const int from = *i0, to = *i1;

    *i0 = to;
    *i1 = from;
    for (int i = from; i < to; i++) {
        int x, y;
        places(p, i, base, &x, &y);
        if (x < b && y > a) {
            *i0 = least(*i0, i);
            *i1 = i + 1;
        }
    }
}

/* What is done with pages [j0, j1) of a chunk, which rows [i0, i1) have in common. */
typedef void span_fn(const struct cpu_ctx *c, struct piece *p, int32_t base, int i0, int i1, int j0,
                     int j1);

/* Calls fn for spans that cover pages [j, j1) of all rows in [i0, i1), each row's in order. Rows
 * that part do not come together again: what they share is the beginning. */
static void spans(const struct cpu_ctx *c, struct piece *p, int32_t base, int i0, int i1, int j,
                  int j1, span_fn *fn)
{
    const int32_t first = base / KV_PAGE;

    for (int i = i0, end, stop; i < i1; i = end) {
        int32_t common = INT32_MAX;

        for (end = i + 1; end < i1; end++) {
            const int32_t n = batch_alike(c->b, p->t0 + end);

            if (n <= first + j)
                break;
            common = least(common, n);
        }
        stop = least(common - first, j1);
        fn(c, p, base, i, end, j, stop);
        if (stop < j1)
            spans(c, p, base, i, end, stop, j1, fn);
    }
}

static const uint8_t *span_page(const struct cpu_ctx *c, const struct piece *p, int32_t base, int i,
                                int j)
{
    return page_at(c, p->m->kv, &c->b->seqs[c->b->seq[p->t0 + i]], base / KV_PAGE + j);
}

/* The head's K of a page, in a type that kernels read: *type. */
static const void *keys_of(const struct cpu_ctx *c, const struct piece *p, const uint8_t *page,
                           int queries, int *type)
{
    const uint8_t *k = page + (size_t)p->kv_head * p->k_bytes;

    *type = c->seg->plan->kv_type_k;
    if (!opened(c, p->m, *type, queries))
        return k;
    c->k->open(p->k, k, *type, p->m->dk, true);
    *type = FMT_F32;
    return p->k;
}

/* Adds bytes at a place of pages [j, end) of the first row to what is asked for. */
static struct cpu_part *parts(const struct cpu_ctx *c, const struct piece *p, int32_t base, int j,
                              int end, size_t at, size_t bytes, struct cpu_part *to)
{
    for (; j < end; j += 4, to++) {
        to->bytes = 4 * (int64_t)bytes;
        for (int n = 0; n < 4; n++)
            to->at[n] = (uintptr_t)span_page(c, p, base, 0, least(j + n, end - 1)) + at;
    }
    return to;
}

/* Lists what is used behind the first pages of a chunk, [j0, j1): the others' keys, all values,
 * then keys of the next chunk's first pages; of rows that are worked on together the first one's.
 * The first pages are asked for at once, unless the chunk before this one has done so. Softmax asks
 * for a share of it, for it takes a share of the time: a sixteenth, or a tenth where products are
 * of whole numbers. */
static void soon(const struct cpu_ctx *c, struct piece *p, int32_t base, int j0, int j1)
{
    const size_t k = p->k_bytes, v = p->v_bytes;
    const size_t k_at = (size_t)p->kv_head * k, v_at = p->v_at + (size_t)p->kv_head * v;
    const int seen = (p->to[0] - base + KV_PAGE - 1) / KV_PAGE;
    const bool fast = whole(c, p->m, c->seg->plan->kv_type_k);
    const int ahead = j0 + AHEAD;
    struct cpu_part *to = parts(c, p, base, j0, least(ahead, j1), k_at, k, p->soon);

    if (p->soon[0].at[0] != p->asked)
        for (size_t i = 0; i < k && i < AT_FIRST; i += 64)
            for (int n = 0; n < 4; n++)
                __builtin_prefetch((const void *)(p->soon[0].at[n] + i), 0, 3);
    to = parts(c, p, base, ahead, j1, k_at, k, p->soon);
    to = parts(c, p, base, j0, v ? j1 : j0, v_at, v, to);
    *to = (struct cpu_part){.bytes = 0};
    parts(c, p, base, most(ahead, j1), least(seen, ahead - j0 + j1), k_at, k, to)->bytes = 0;
    p->asked = to->at[0];
    p->ask = (struct cpu_ask){.a = (uintptr_t)p->q, .part = p->soon};
    p->step = fast ? 64 : 60;
    p->soft_step = least((int64_t)(k + v) / (fast ? 40 : 64) / (p->n_row * p->n_head), 64);
}

static void scores(const struct cpu_ctx *c, struct piece *p, int32_t base, int i0, int i1, int j0,
                   int j1)
{
    const int dk = p->m->dk, h = p->n_head;

    for (int j = j0; j < j1; j++) {
        int x = i0, y = i1, type;
        const void *k;

        rows_seeing(p, base, j * KV_PAGE, (j + 1) * KV_PAGE, &x, &y);
        if (x >= y)
            continue;
        k = keys_of(c, p, span_page(c, p, base, i0, j), (y - x) * h, &type);
        (whole(c, p->m, type) ? c->k->whole_qk : c->k->qk)(
            p->score + (int64_t)x * h * CPU_CHUNK + j * KV_PAGE, CPU_CHUNK,
            p->q + (int64_t)x * h * dk, dk, k, type, dk, (y - x) * h, &p->ask);
    }
}

static void weights(const struct cpu_ctx *c, struct piece *p, int32_t base)
{
    const int64_t each = part_floats(p->m);

    for (int i = 0; i < p->n_row; i++) {
        int a, b;

        places(p, i, base, &a, &b);
        for (int h = 0; h < p->n_head && a < b; h++) {
            const int64_t m = (int64_t)i * p->n_head + h;
            float *part = p->part + m * each;

            part[1] = c->k->soft(p->score + m * CPU_CHUNK, a, b, p->m->softcap,
                                 p->s->vec[1] ? p->s->vec[1][p->head + h] : 0.0f,
                                 c->b->pos[p->t0 + i] - base, part, &p->ask);
            memset(part + PART_AT, 0, (size_t)p->m->dv * sizeof *part);
        }
    }
}

/* Adds V of places [a, b) to the sums of rows [i0, i1): neighbours that see the same of them go
 * together. */
static void values_in(const struct cpu_ctx *c, struct piece *p, int32_t base, int i0, int i1, int a,
                      int b, const void *const *v, int type)
{
    const int64_t each = part_floats(p->m);

    for (int i = i0, end; i < i1; i = end) {
        const int64_t m = (int64_t)i * p->n_head;
        int x, y, x2, y2;

        places(p, i, base, &x, &y);
        x = most(x, a);
        y = least(y, b);
        for (end = i + 1; end < i1; end++) {
            places(p, end, base, &x2, &y2);
            if (most(x2, a) != x || least(y2, b) != y)
                break;
        }
        if (x < y)
            (whole(c, p->m, type) ? c->k->whole_pv : c->k->pv)(
                p->part + m * each + PART_AT, each, p->score + m * CPU_CHUNK, CPU_CHUNK, v, type,
                p->m->dv, x, y, (end - i) * p->n_head, &p->ask);
    }
}

/* The head's V of a page, in a type that kernels read: *type; opened into the given place. */
static const void *values_of(const struct cpu_ctx *c, const struct piece *p, const uint8_t *page,
                             int queries, int place, int *type)
{
    const int type_v = c->seg->plan->kv_type_v;
    float *v = p->v + (int64_t)place * KV_PAGE * p->m->dv;

    *type = FMT_F32;
    if (p->m->v_in_k) {
        const void *k = keys_of(c, p, page, queries, type);
        c->k->unfold(v, k, *type, p->m->dv);
        *type = FMT_F32;
        return v;
    }
    page += p->v_at + (size_t)p->kv_head * p->v_bytes;
    if (opened(c, p->m, type_v, queries)) {
        c->k->open(v, page, type_v, p->m->dv, false);
        return v;
    }
    *type = type_v;
    return page;
}

/* A few pages at a time: sums are fetched and put back once for them. */
static void values(const struct cpu_ctx *c, struct piece *p, int32_t base, int i0, int i1, int j0,
                   int j1)
{
    const int queries = (i1 - i0) * p->n_head;
    const bool open = p->m->v_in_k || opened(c, p->m, c->seg->plan->kv_type_v, queries);
    const int step = open ? TOGETHER : AT_ONCE;
    const void *v[CPU_CHUNK / KV_PAGE] = {0};
    int type = FMT_F32;

    for (int j = j0, end; j < j1; j = end) {
        end = least((j / step + 1) * step, j1);
        for (int k = j; k < end; k++)
            v[k] = values_of(c, p, span_page(c, p, base, i0, k), queries, k % TOGETHER, &type);
        values_in(c, p, base, i0, i1, j * KV_PAGE, end * KV_PAGE, v, type);
    }
}

/* The partials of one chunk for all queries of the piece, in p->part. */
static void chunk(const struct cpu_ctx *c, struct piece *p, int32_t number)
{
    const int32_t base = number * CPU_CHUNK;
    int a = CPU_CHUNK, b = 0;

    for (int i = 0; i < p->n_row; i++) {
        int x, y;
        places(p, i, base, &x, &y);
        if (x < y) {
            a = least(a, x);
            b = most(b, y);
        }
    }
    if (a >= b)
        return;
    a /= KV_PAGE;
    b = (b + KV_PAGE - 1) / KV_PAGE;
    soon(c, p, base, a, b);
    p->ask.step = p->step;
    spans(c, p, base, 0, p->n_row, a, b, scores);
    p->ask.step = p->soft_step;
    weights(c, p, base);
    p->ask.step = p->step;
    spans(c, p, base, 0, p->n_row, a, b, values);
}

static bool row_in_chunk(const struct piece *p, int i, int32_t number)
{
    int a, b;

    places(p, i, number * CPU_CHUNK, &a, &b);
    return a < b;
}

static void empty(float *part, int dv)
{
    memset(part, 0, ((size_t)dv + PART_AT) * sizeof *part);
    part[0] = -f32_of_bits(0x7f800000u);
}

/* All chunks of a piece, merged and written out. */
static void piece_whole(const struct cpu_ctx *c, struct piece *p, int32_t first, int32_t last)
{
    const int64_t each = part_floats(p->m);
    const int dv = p->m->dv, n = p->n_row * p->n_head;

    for (int m = 0; m < n; m++)
        empty(p->run + m * each, dv);
    for (int32_t k = first; k <= last; k++) {
        chunk(c, p, k);
        for (int m = 0; m < n; m++)
            if (row_in_chunk(p, m / p->n_head, k))
                c->k->merge(p->run + m * each, p->part + m * each, dv);
    }
    for (int m = 0; m < n; m++) {
        const int h = p->head + m % p->n_head;
        c->k->settle(val_row(c, &p->s->out[0], p->t0 + m / p->n_head) + (int64_t)h * dv,
                     p->run + m * each, dv, p->s->vec[0] ? p->s->vec[0] + h : NULL);
    }
}

/* -- dealing out -- */

/* Whether row t and the one before it see the same pages first, enough of them to read them
 * together. */
static bool alike(const struct cpu_ctx *c, const struct attn_args *m, int64_t t)
{
    const int32_t n = batch_alike(c->b, t);
    int32_t from, to, from_was, to_was;

    if (n == INT32_MAX)
        return true;
    sees(c, m, t, &from, &to);
    sees(c, m, t - 1, &from_was, &to_was);
    return from / KV_PAGE == from_was / KV_PAGE && n >= from / KV_PAGE + ALIKE;
}

/* The rows from t on that go together: of one sequence, or with a beginning in common; at most as
 * many as fit. */
static int block_rows(const struct cpu_ctx *c, const struct attn_args *m, int64_t t)
{
    const int max = rows_at_once(m);
    int n = 1;

    while (n < max && t + n < c->n_t && alike(c, m, t + n))
        n++;
    return n;
}

/* First and last chunk that the rows of a block see. */
static void block_chunks(const struct cpu_ctx *c, const struct attn_args *m, int64_t t, int n,
                         int32_t *first, int32_t *last)
{
    *first = INT32_MAX;
    *last = 0;
    for (int i = 0; i < n; i++) {
        int32_t from, to;
        sees(c, m, t + i, &from, &to);
        *first = least(*first, from / CPU_CHUNK);
        *last = most(*last, (to - 1) / CPU_CHUNK);
    }
}

/* Whether chunks are dealt out, and merged later: where blocks are too few for the team and there
 * is room for every chunk's partial. *n_chunk is the room each head of each row gets, *all how many
 * pieces there are to deal out. */
static bool by_chunks(const struct cpu_ctx *c, const struct cpu_step *s, int32_t *n_chunk,
                      int64_t *all)
{
    const struct attn_args *m = &s->op->a.attn;
    const int group = m->n_head / m->n_kv;
    const int64_t work = (int64_t)m->n_kv * ((group + CPU_HEADS - 1) / CPU_HEADS);
    int64_t pieces = 0, chunks = 0;

    *n_chunk = 0;
    for (int64_t t = tiled_rows(c, s); t < c->n_t; pieces += work) {
        const int n = block_rows(c, m, t);
        int32_t first, last;

        block_chunks(c, m, t, n, &first, &last);
        *n_chunk = most(*n_chunk, last + 1);
        chunks += work * (last + 1 - first);
        t += n;
    }
    *all = pieces;
    if (c->n == 1 || pieces >= PIECES_EACH * c->n || *n_chunk == 1 ||
        (uint64_t)c->n_t * (uint64_t)m->n_head * (uint64_t)*n_chunk * (uint64_t)part_floats(m) *
                sizeof(float) >
            s->slot_bytes)
        return false;
    *all = chunks;
    return true;
}

static float *stored_part(const struct cpu_ctx *c, const struct cpu_step *s, int64_t t, int head,
                          int32_t k, int32_t n_chunk)
{
    const struct attn_args *m = &s->op->a.attn;

    return (float *)slot_ptr(c, s->slot[0]) +
           ((t * m->n_head + head) * n_chunk + k) * part_floats(m);
}

static void piece_chunk(const struct cpu_ctx *c, struct piece *p, int32_t k, int32_t n_chunk)
{
    const int64_t each = part_floats(p->m);

    chunk(c, p, k);
    for (int m = 0; m < p->n_row * p->n_head; m++)
        if (row_in_chunk(p, m / p->n_head, k))
            memcpy(stored_part(c, p->s, p->t0 + m / p->n_head, p->head + m % p->n_head, k, n_chunk),
                   p->part + m * each, ((size_t)p->m->dv + PART_AT) * sizeof(float));
}

static void piece_memory(const struct cpu_ctx *c, struct piece *p)
{
    const int64_t each = part_floats(p->m);

    p->q = (float *)c->own;
    p->score = p->q + (int64_t)CPU_QUERIES * p->m->dk;
    p->part = p->score + (int64_t)CPU_QUERIES * CPU_CHUNK;
    p->run = p->part + CPU_QUERIES * each;
    p->k = p->run + CPU_QUERIES * each;
    p->v = p->k + (int64_t)KV_PAGE * p->m->dk;
}

/* Work of a step, counted piece after piece; what of it is ours, [from, to), is taken as we come
 * to it. */
struct turn {
    int64_t at, from, to, all;
};

/* Whether the next piece is ours. */
static bool ours(const struct cpu_ctx *c, const struct cpu_step *s, struct turn *t)
{
    if (t->at == t->to && !take(c, s, t->all, 1, &t->from, &t->to))
        t->from = t->to = t->all;
    return t->at++ >= t->from;
}

/* The pieces of one block of rows for one key/value head. */
static void block(const struct cpu_ctx *c, struct piece *p, int32_t n_chunk, struct turn *turn)
{
    const int group = p->m->n_head / p->m->n_kv;
    int32_t first, last;

    block_chunks(c, p->m, p->t0, p->n_row, &first, &last);
    for (int g = 0; g < group; g += CPU_HEADS) {
        bool begun = false;

        p->head = p->kv_head * group + g;
        p->n_head = least(CPU_HEADS, group - g);
        for (int32_t k = first; k <= (n_chunk ? last : first); k++) {
            if (!ours(c, p->s, turn))
                continue;
            if (!begun)
                piece_begin(c, p);
            begun = true;
            if (n_chunk)
                piece_chunk(c, p, k, n_chunk);
            else
                piece_whole(c, p, first, last);
        }
    }
}

/* Head by head: what blocks of rows have in common is still near when the next one wants it. */
void run_attn(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const struct plan *pl = c->seg->plan;
    const struct attn_args *m = &s->op->a.attn;
    struct piece p = {.m = m,
                      .s = s,
                      .k_bytes = head_bytes(pl->kv_type_k, m->dk),
                      .v_at = v_offset(pl, m->kv),
                      .v_bytes = m->v_in_k ? 0 : head_bytes(pl->kv_type_v, m->dv)};
    struct turn turn = {0};
    int32_t n_chunk;

    if (tiled_rows(c, s))
        tiles_attn(c, s);
    if (!by_chunks(c, s, &n_chunk, &turn.all))
        n_chunk = 0;
    piece_memory(c, &p);
    for (p.kv_head = 0; p.kv_head < p.m->n_kv; p.kv_head++)
        for (p.t0 = tiled_rows(c, s); p.t0 < c->n_t; p.t0 += p.n_row) {
            p.n_row = block_rows(c, p.m, p.t0);
            block(c, &p, n_chunk, &turn);
        }
}

/* Merges what run_attn stored, if it dealt out chunks. */
void run_attn_merge(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const struct attn_args *m = &s->op->a.attn;
    float *run = (float *)c->own;
    int32_t n_chunk, from, to;
    int64_t a, b, all;

    if (!by_chunks(c, s, &n_chunk, &all))
        return;
    share_rows(c, ROWS_T, &a, &b);
    for (int64_t t = most(a, tiled_rows(c, s)); t < b; t++) {
        sees(c, m, t, &from, &to);
        for (int h = 0; h < m->n_head; h++) {
            empty(run, m->dv);
            for (int32_t k = from / CPU_CHUNK; k <= (to - 1) / CPU_CHUNK; k++)
                c->k->merge(run, stored_part(c, s, t, h, k, n_chunk), m->dv);
            c->k->settle(val_row(c, &s->out[0], t) + (int64_t)h * m->dv, run, m->dv,
                         s->vec[0] ? s->vec[0] + h : NULL);
        }
    }
}
