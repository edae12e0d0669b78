/* test_kvpool.c - pages: nobody writes into what others hold, known blocks are what they say, and
 * all memory comes back. */
#include "engine/kvpool.h"

#include "base/mem.h"
#include "base/rng.h"
#include "tests/suite.h"

enum { SEQS = 6, MAX_POS = 1024, ROWS = 64 };

static const struct kv_group groups[2] = {
    {.window = 0, .n_layer = 2, .bytes = 40 * 1024},
    {.window = 100, .n_layer = 4, .bytes = 72 * 1024},
};

static struct kvpool *open_pool(const struct kv_group *g, int n, uint64_t bytes, bool cache)
{
    struct kv_opts o = {.group = g,
                        .n_group = n,
                        .bytes = bytes,
                        .max_seq = SEQS,
                        .max_pos = MAX_POS,
                        .max_rows = ROWS,
                        .n_state = -1,
                        .cache = cache,
                        .seed = 7};
    struct kvpool *p;
    struct err e = {0};

    ck_ok(kv_open(&p, &o, &e), &e);
    return p;
}

START_TEST(reserve_and_drop)
{
    struct kvpool *p = open_pool(groups, 1, 16 << 20, true);
    struct kv_count c;
    uint64_t bytes;
    const int32_t *t = kv_table(p, &bytes);
    int s = kv_begin(p);

    ck_assert_int_eq(s, 0);
    ck_assert(kv_reserve(p, s, 0, 40));
    kv_count(p, &c);
    ck_assert_int_eq(c.pages_used, 2);
    ck_assert_int_gt(t[0], 0);
    ck_assert_int_gt(t[1], 0);
    ck_assert_int_ne(t[0], t[1]);
    ck_assert_int_eq(t[2], 0);
    kv_trim(p, s, 32);
    ck_assert_int_eq(t[1], 0);
    ck_assert(kv_reserve(p, s, 32, 33));
    ck_assert_int_gt(t[1], 0);
    kv_drop(p, s);
    kv_count(p, &c);
    ck_assert_int_eq(c.pages_used, 0);
    ck_assert_int_eq(c.slabs_used, 0);
    kv_close(p);
}
END_TEST

START_TEST(window_gives_back)
{
    struct kvpool *p = open_pool(groups + 1, 1, 16 << 20, false);
    struct kv_count c;
    uint64_t bytes;
    const int32_t *t = kv_table(p, &bytes);

    ck_assert_int_eq(kv_begin(p), 0);
    for (int pos = 0; pos < MAX_POS; pos++) {
        kv_slide(p, 0, pos);
        ck_assert(kv_reserve(p, 0, pos, pos + 1));
        for (int seen = pos - 99 < 0 ? 0 : pos - 99; seen <= pos; seen++)
            ck_assert_int_gt(t[seen / KV_PAGE], 0);
        kv_count(p, &c);
        ck_assert_int_le(c.pages_used, 5);
    }
    kv_close(p);
}
END_TEST

START_TEST(too_small_is_said)
{
    struct kv_opts o = {.group = groups,
                        .n_group = 2,
                        .bytes = 1 << 20,
                        .max_seq = SEQS,
                        .max_pos = MAX_POS,
                        .max_rows = ROWS,
                        .n_state = -1};
    struct kvpool *p = NULL;
    struct err e = {0};

    ck_fails(kv_open(&p, &o, &e), &e, E_RANGE, "at least");
    o.bytes = kv_bytes_for(groups, 2, 1, 320, ROWS);
    memset(&e, 0, sizeof e);
    ck_ok(kv_open(&p, &o, &e), &e);
    ck_assert(!kv_possible(p, MAX_POS + 33));
    ck_assert(kv_possible(p, 320));
    ck_assert_int_eq(kv_begin(p), 0);
    ck_assert(kv_reserve(p, 0, 0, 320));
    kv_close(p);
}
END_TEST

static int n_copies;

static void count_copy(void *ctx, uint64_t to, uint64_t from, uint64_t n)
{
    uint64_t *last = ctx;

    last[0] = to;
    last[1] = from;
    last[2] = n;
    n_copies++;
}

START_TEST(a_fork_copies_what_it_writes)
{
    struct kvpool *p = open_pool(groups, 1, 16 << 20, true);
    uint64_t last[3];
    int a = kv_begin(p), b, c;

    n_copies = 0;
    ck_assert(kv_reserve(p, a, 0, 70));
    b = kv_fork(p, a, 70);
    c = kv_fork(p, a, 64);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(kv_page(p, 0, a, i), kv_page(p, 0, b, i));
    ck_assert_int_eq(kv_page(p, 0, c, 2), 0);
    ck_assert_int_eq(kv_more(p, b, 70, 71), 40);
    ck_assert(kv_reserve(p, b, 70, 71));
    kv_copies(p, count_copy, last);
    ck_assert_int_eq(n_copies, 1);
    ck_assert_uint_eq(last[0], (uint64_t)kv_page(p, 0, b, 2) * 1024);
    ck_assert_uint_eq(last[1], (uint64_t)kv_page(p, 0, a, 2) * 1024);
    ck_assert_uint_eq(last[2], groups[0].bytes);
    ck_assert(kv_reserve(p, a, 70, 71)); // alone again: no copy
    ck_assert(kv_reserve(p, c, 64, 65)); // a fresh page
    kv_copies(p, count_copy, last);
    ck_assert_int_eq(n_copies, 1);
    ck_assert_int_eq(kv_page(p, 0, a, 1), kv_page(p, 0, c, 1));
    kv_close(p);
}
END_TEST

/* -- known blocks -- */

static void numbers(int32_t *id, int n, int from)
{
    for (int i = 0; i < n; i++)
        id[i] = from + i;
}

START_TEST(published_blocks_are_found)
{
    struct kvpool *p = open_pool(groups, 1, 16 << 20, true);
    int32_t id[128], page[4];
    uint32_t paths[5] = {0};
    struct kv_text t = {id, paths, 0};
    struct kv_match m;
    struct kv_count c;
    int a = kv_begin(p), b;

    numbers(id, 128, 100);
    ck_assert(kv_reserve(p, a, 0, 100));
    kv_publish(p, a, &t, 100);
    for (int i = 0; i < 4; i++)
        page[i] = kv_page(p, 0, a, i);
    kv_count(p, &c);
    ck_assert_int_eq(c.blocks, 3);
    kv_drop(p, a);
    kv_count(p, &c);
    ck_assert_int_eq(c.idle, 3);
    ck_assert_int_eq(c.pages_used, 3);

    m = kv_look(p, &t, 95, 1);
    ck_assert_int_eq(m.n_pos, 64);
    ck_assert_int_eq(m.idle, 80);
    ck_assert_int_eq(kv_look(p, &t, 127, 1).n_pos, 96);
    ck_assert_int_eq(kv_look(p, &t, 127, 64).n_pos, 64);
    b = kv_begin(p);
    m = kv_look(p, &t, 127, 1);
    kv_attach(p, b, &m);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(kv_page(p, 0, b, i), page[i]);
    ck_assert(kv_reserve(p, b, 96, 100)); // behind the known blocks: no copy
    n_copies = 0;
    kv_copies(p, count_copy, NULL);
    ck_assert_int_eq(n_copies, 0);

    paths[1] = 1; // the second block was computed another way
    ck_assert_int_eq(kv_look(p, &t, 127, 1).n_pos, 32);
    paths[1] = 0;
    id[0]++;
    ck_assert_int_eq(kv_look(p, &t, 127, 1).n_pos, 0);
    id[0]--;
    t.key = 1;
    ck_assert_int_eq(kv_look(p, &t, 127, 1).n_pos, 0);
    kv_drop(p, b);
    kv_forget(p);
    kv_count(p, &c);
    ck_assert_int_eq(c.pages_used, 0);
    ck_assert_int_eq(c.evicted, 3);
    kv_close(p);
}
END_TEST

START_TEST(equal_blocks_are_held_once)
{
    struct kvpool *p = open_pool(groups, 1, 16 << 20, true);
    int32_t id[64];
    uint32_t paths[3] = {0};
    struct kv_text t = {id, paths, 0};
    struct kv_count c;

    numbers(id, 64, 0);
    for (int i = 0; i < SEQS; i++) {
        ck_assert_int_eq(kv_begin(p), i);
        ck_assert(kv_reserve(p, i, 0, 64));
    }
    for (int i = 0; i < SEQS; i++)
        kv_publish(p, i, &t, 64);
    kv_count(p, &c);
    ck_assert_int_eq(c.pages_used, 2);
    for (int i = 1; i < SEQS; i++)
        ck_assert_int_eq(kv_page(p, 0, i, 1), kv_page(p, 0, 0, 1));
    kv_close(p);
}
END_TEST

/* Memory for eight blocks. The one used least recently goes, a pinned one never. */
START_TEST(the_oldest_goes_first)
{
    static const struct kv_group big = {.n_layer = 1, .bytes = 1 << 20};
    struct kvpool *p = open_pool(&big, 1, (1 << 20) + (8 << 20), true);
    int32_t id[4][64];
    uint32_t paths[3] = {0};
    struct kv_count c;
    int s;

    for (int i = 0; i < 4; i++) {
        struct kv_text t = {id[i], paths, 0};

        numbers(id[i], 64, 1000 * i);
        s = kv_begin(p);
        ck_assert(kv_reserve(p, s, 0, 64));
        kv_publish(p, s, &t, 64);
        if (i == 0)
            kv_pin(p, s);
        kv_drop(p, s);
    }
    ck_assert_int_eq((int)kv_left(p), 6 * 1024);
    s = kv_begin(p);
    ck_assert(kv_reserve(p, s, 0, 96));
    kv_count(p, &c);
    ck_assert_uint_eq(c.evicted, 3);
    for (int i = 0; i < 4; i++) {
        const int want[4] = {64, 0, 32, 64};
        struct kv_text t = {id[i], paths, 0};

        ck_assert_int_eq(kv_look(p, &t, 64, 1).n_pos, want[i]);
    }
    ck_assert(!kv_reserve(p, s, 96, 256)); // the pinned ones are not to be had
    kv_drop(p, s);
    ck_assert_int_eq((int)kv_left(p), 6 * 1024);
    kv_close(p);
}
END_TEST

/* A sequence that ran past its window leaves pages behind it in the tree; they go when memory is
 * wanted, and a beginning without them is not offered. */
START_TEST(windows_in_the_tree)
{
    static const struct kv_group g[2] = {{.n_layer = 1, .bytes = 64 << 10},
                                         {.window = 40, .n_layer = 1, .bytes = 512 << 10}};
    struct kvpool *p = open_pool(g, 2, (512 << 10) + (8 << 20), true);
    int32_t id[512];
    uint32_t paths[17] = {0};
    struct kv_text t = {id, paths, 0};
    struct kv_match m;
    int a = kv_begin(p), b;

    numbers(id, 512, 0);
    for (int pos = 0; pos < 512; pos += 32) {
        kv_slide(p, a, pos);
        ck_assert(kv_reserve(p, a, pos, pos + 32));
        kv_publish(p, a, &t, pos + 32);
    }
    m = kv_look(p, &t, 511, 1);
    ck_assert_int_eq(m.n_pos, 480); // the end is in memory
    b = kv_begin(p);
    kv_attach(p, b, &m);
    ck_assert_int_eq(kv_page(p, 1, b, 0), 0);
    ck_assert_int_eq(kv_page(p, 1, b, 14), kv_page(p, 1, a, 14));
    ck_assert_int_gt(kv_page(p, 0, b, 0), 0);
    ck_assert_int_eq(kv_look(p, &t, 64, 1).n_pos, 0); // its window is gone
    kv_close(p);
}
END_TEST

START_TEST(checkpoints_of_states)
{
    struct kv_opts o = {
        .n_group = 0, .max_seq = 2, .max_pos = 256, .max_rows = 8, .n_state = 2, .cache = true};
    int32_t id[256];
    uint32_t paths[9] = {0};
    struct kv_text t = {id, paths, 0};
    struct kv_match m;
    struct kvpool *p;
    struct err e = {0};
    int a, slot;

    numbers(id, 256, 0);
    ck_ok(kv_open(&p, &o, &e), &e);
    a = kv_begin(p);
    kv_publish(p, a, &t, 64);
    slot = kv_checkpoint(p, a);
    ck_assert_int_ge(slot, 2);
    ck_assert_int_eq(kv_checkpoint(p, a), -1); // it is there
    kv_publish(p, a, &t, 160);
    m = kv_look(p, &t, 200, 1);
    ck_assert_int_eq(m.n_pos, 64);
    ck_assert_int_eq(m.state, slot);
    ck_assert_int_eq(m.known, 160);
    ck_assert_int_ne(kv_checkpoint(p, a), slot);
    ck_assert_int_eq(kv_look(p, &t, 200, 1).n_pos, 160);
    kv_publish(p, a, &t, 192);
    ck_assert_int_eq(kv_checkpoint(p, a), slot); // the one left unused longest
    ck_assert_int_eq(kv_look(p, &t, 159, 1).n_pos, 0);
    ck_assert_int_eq(kv_look(p, &t, 200, 1).n_pos, 192);
    kv_close(p);
}
END_TEST

/* -- random lives, against a model of what every sequence should find in its pages -- */

struct world {
    struct kvpool *p;
    uint64_t block;
    int len[SEQS]; // -1: free
    int32_t id[SEQS][MAX_POS];
    uint32_t paths[SEQS][MAX_POS / KV_PAGE + 1];
    uint64_t *cell[2]; // [KiB of the block] per group: what the page there holds
    int32_t copy[2 * SEQS * (MAX_POS / KV_PAGE)];
    uint64_t hits;
};

/* What row pos of a sequence with these tokens would leave in a page: depends on all before it. */
static uint64_t content(const int32_t *id, int pos)
{
    uint64_t h = 1;

    for (int i = 0; i <= pos; i++)
        h = (h ^ (uint64_t)(uint32_t)id[i]) * 0x9e3779b97f4a7c15u;
    return h;
}

static uint64_t *cell(struct world *w, int g, int32_t page, int pos)
{
    return &w->cell[g][(int64_t)page * KV_PAGE + pos % KV_PAGE];
}

static void copy_cells(void *ctx, uint64_t to, uint64_t from, uint64_t n)
{
    struct world *w = ctx;
    int g = n == groups[1].bytes;

    memcpy(cell(w, g, (int32_t)(to / 1024), 0), cell(w, g, (int32_t)(from / 1024), 0),
           KV_PAGE * sizeof(uint64_t));
}

static void copy_range(void *ctx, uint64_t at, uint64_t n)
{
    struct world *w = ctx;
    uint64_t bytes;

    memcpy((char *)w->copy + at, (const char *)kv_table(w->p, &bytes) + at, n);
}

/* Stores rows [from, to) of s and publishes; false: no memory. */
static bool grow(struct world *w, int s, int from, int to)
{
    struct kv_text t = {w->id[s], w->paths[s], 0};

    kv_slide(w->p, s, from);
    if (!kv_reserve(w->p, s, from, to))
        return false;
    kv_copies(w->p, copy_cells, w);
    for (int g = 0; g < 2; g++)
        for (int pos = from; pos < to; pos++)
            *cell(w, g, kv_page(w->p, g, s, pos / KV_PAGE), pos) = content(w->id[s], pos);
    w->len[s] = to;
    kv_publish(w->p, s, &t, to);
    return true;
}

/* Everything that rows from the end on see is what it must be. */
static void check_seq(struct world *w, int s)
{
    for (int g = 0; g < 2; g++) {
        int from = groups[g].window ? w->len[s] - groups[g].window + 1 : 0;

        for (int pos = from < 0 ? 0 : from; pos < w->len[s]; pos++) {
            int32_t page = kv_page(w->p, g, s, pos / KV_PAGE);

            /* behind scratch, which is as large as the largest page */
            if (page < 72 || (uint64_t)page * 1024 + groups[g].bytes > w->block)
                ck_abort_msg("page %d of sequence %d", page, s);
            if (*cell(w, g, page, pos) != content(w->id[s], pos))
                ck_abort_msg("position %d of sequence %d holds something else", pos, s);
        }
    }
}

static void begin(struct world *w, struct rng *r)
{
    int s = kv_begin(w->p);
    struct kv_text t;
    struct kv_match m;

    if (s < 0)
        return;
    /* few different beginnings, so that many are shared */
    for (int i = 0; i < MAX_POS; i++)
        w->id[s][i] = i % 48 == 0 ? (int32_t)(rng_next(r) % 2) : 5;
    t = (struct kv_text){w->id[s], w->paths[s], 0};
    m = kv_look(w->p, &t, MAX_POS - 1, 1);
    kv_attach(w->p, s, &m);
    w->len[s] = m.n_pos;
    w->hits += (uint64_t)m.n_pos;
}

static void act(struct world *w, struct rng *r, int s)
{
    int what = (int)(rng_next(r) % 16);
    int n = w->len[s] + 1 + (int)(rng_next(r) % ROWS);
    int other;

    if (what < 9 && n <= MAX_POS) {
        if (!grow(w, s, w->len[s], n)) { // no memory: somebody goes
            kv_drop(w->p, s);
            kv_copies(w->p, copy_cells, w);
            w->len[s] = -1;
        }
    } else if (what == 9 && w->len[s] > 3) {
        kv_trim(w->p, s, w->len[s] - 3);
        w->len[s] -= 3;
        for (int i = w->len[s]; i < MAX_POS; i++)
            w->id[s][i] = 6 + (int32_t)(rng_next(r) % 2);
    } else if (what == 10 && (other = kv_fork(w->p, s, w->len[s])) >= 0) {
        memcpy(w->id[other], w->id[s], sizeof w->id[s]);
        w->len[other] = w->len[s];
        for (int i = w->len[s]; i < MAX_POS; i++)
            w->id[other][i] = 8;
    } else if (what == 11 || n > MAX_POS) {
        kv_drop(w->p, s);
        w->len[s] = -1;
    }
}

static uint64_t random_life(uint64_t seed, uint64_t block, int steps)
{
    static struct world w;
    struct rng r = {.seed = seed};
    struct kv_count c;

    memset(&w, 0, sizeof w);
    w.block = block;
    for (int g = 0; g < 2; g++)
        w.cell[g] = calloc(block / 1024 * KV_PAGE, sizeof(uint64_t));
    w.p = open_pool(groups, 2, block, true);
    for (int s = 0; s < SEQS; s++)
        w.len[s] = -1;
    for (int step = 0; step < steps; step++) {
        int s = (int)(rng_next(&r) % SEQS);
        uint64_t bytes;

        if (w.len[s] < 0)
            begin(&w, &r);
        else
            act(&w, &r, s);
        kv_changed(w.p, copy_range, &w);
        ck_assert_mem_eq(w.copy, kv_table(w.p, &bytes), bytes);
        for (int i = 0; i < SEQS && step % 8 == 0; i++)
            if (w.len[i] >= 0)
                check_seq(&w, i);
        ck_assert_int_ge((int)kv_left(w.p), 0);
    }
    for (int s = 0; s < SEQS; s++)
        if (w.len[s] >= 0)
            kv_drop(w.p, s);
    kv_count(w.p, &c);
    ck_assert_int_eq(c.blocks, c.idle);
    kv_forget(w.p);
    kv_count(w.p, &c);
    ck_assert_int_eq(c.pages_used, 0);
    ck_assert_int_eq(c.slabs_used, 0);
    kv_close(w.p);
    free(w.cell[0]);
    free(w.cell[1]);
    return w.hits;
}

START_TEST(random_lives)
{
    uint64_t hits = 0;

    for (int i = 0; i < 6; i++)
        hits += random_life((uint64_t)i, (i % 2 ? 6u : 24u) << 20, 250);
    ck_assert_uint_gt(hits, 1000); // known beginnings were used
}
END_TEST

START_TEST(allocations_fail)
{
    struct kv_opts o = {.group = groups,
                        .n_group = 2,
                        .bytes = 16 << 20,
                        .max_seq = SEQS,
                        .max_pos = MAX_POS,
                        .max_rows = ROWS,
                        .n_state = 3,
                        .cache = true};
    bool hit = true;

    for (long n = 0; hit; n++) {
        struct kvpool *p = NULL;
        struct err e = {0};

        mem_fail_after(n);
        if (kv_open(&p, &o, &e) == 0)
            kv_close(p);
        else
            ck_assert_int_eq(e.code, E_NOMEM);
        hit = mem_fail_hit();
    }
    mem_fail_after(-1);
}
END_TEST

/* Pages in common end where one sequence writes, or holds other pages in any group; pages that only
 * one of both still has tell nothing apart. */
START_TEST(pages_in_common)
{
    struct kvpool *p = open_pool(groups, 2, 16 << 20, true);
    const int a = kv_begin(p), other = kv_begin(p);
    int b;

    ck_assert(kv_reserve(p, a, 0, 700) && kv_reserve(p, other, 0, 700));
    ck_assert_int_eq(kv_alike(p, a, other, 21), 0);
    b = kv_fork(p, a, 640);
    ck_assert(b >= 0 && kv_reserve(p, b, 640, 700));
    ck_assert_int_eq(kv_alike(p, a, b, 21), 20);
    ck_assert_int_eq(kv_alike(p, b, a, 18), 18);
    kv_slide(p, b, 500); // the window's pages up to position 400
    ck_assert_int_eq(kv_page(p, 1, b, 11), 0);
    ck_assert_int_eq(kv_alike(p, a, b, 21), 20);
    ck_assert(kv_reserve(p, b, 600, 700)); // page 18 is written anew
    ck_assert_int_eq(kv_alike(p, a, b, 21), 18);
    kv_close(p);
}
END_TEST

TEST_MAIN("engine/kvpool", reserve_and_drop, window_gives_back, too_small_is_said,
          a_fork_copies_what_it_writes, published_blocks_are_found, equal_blocks_are_held_once,
          the_oldest_goes_first, windows_in_the_tree, checkpoints_of_states, pages_in_common,
          random_lives,
          allocations_fail)
