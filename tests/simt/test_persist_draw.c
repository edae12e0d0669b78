/* test_persist_draw.c - steps of one row that draw in the launch that makes them, several in one
 * go: the tokens are those of a launch for each record, whatever the settings, the order of blocks,
 * and who ends or comes meanwhile; and a wait that is missing is found. */
#include <stdlib.h>
#include <unistd.h>

#include "engine/engine.h"
#include "kernels/cuda/persist.h"
#include "model/random.h"
#include "rill.h"
#include "tests/simt/simt_run.h"
#include "tests/suite.h"

enum { MOST = 11, N_CTX = 64 };

static const char *make(const char *shape)
{
    const struct random_model m = {.shape = shape, .type = "Q8_0", .arch = "llama", .seed = 3};
    const char *path = tmpfile_path("random.gguf");
    struct err e = {0};

    ck_ok(random_model_write(path, &m, &e), &e);
    return path;
}

static const char *small(void)
{
    return make("tiny,layers=1,dim=64,heads=2,kv=1,ffn=64,vocab=304");
}

struct host {
    struct rill_model *m;
    struct rill_engine *g;
};

static void open_host(struct host *h, const char *path, const char *step, int max_seq)
{
    const struct rill_model_opts mo = {.device = "cuda:0", .n_ctx = N_CTX};
    const struct rill_engine_opts eo = {.max_seq = max_seq, .max_batch = 16, .n_ctx = N_CTX};
    struct err e = {0};

    setenv("RILL_CUDA_STEP", step, 1);
    ck_ok(rill_model_open(&h->m, path, &mo, &e), &e);
    ck_ok(rill_engine_open(&h->g, h->m, &eo, &e), &e);
    unsetenv("RILL_CUDA_STEP");
    ck_assert_int_eq(h->g->seg.in_a_row, strcmp(step, "persist") == 0 ? PERSIST_STEPS : 0);
}

static void close_host(struct host *h)
{
    rill_engine_close(h->g);
    rill_model_close(h->m);
}

/* How tokens are drawn: by settings the device knows, each with a prompt of its own. */
enum { GREEDY, TOP_K, TOP_P, MIN_P, ALL_COUNT, LAST_FOUR_COUNT, ANY, KINDS };

static void settings(struct rill_sampling *s, int kind)
{
    *s = rill_sampling_defaults();
    s->has_seed = true;
    s->seed = (uint64_t)kind;
    s->temperature = kind == GREEDY || kind == ALL_COUNT ? 0 : 1.3f;
    s->top_k = kind == TOP_K ? 40 : 0;
    s->top_p = kind == TOP_K || kind == TOP_P ? 0.9f : 1;
    s->min_p = kind == MIN_P || kind == LAST_FOUR_COUNT ? 0.02f : 0;
    if (kind == ALL_COUNT || kind == LAST_FOUR_COUNT) {
        s->repetition_penalty = 1.7f;
        s->frequency_penalty = 0.9f;
        s->penalty_last = kind == ALL_COUNT ? -1 : 4;
    }
}

static int submit(struct host *h, int kind, int n)
{
    static int32_t prompt[3];
    struct rill_request q = {.ids = prompt, .n_ids = 3, .max_tokens = n, .ignore_eos = true};
    struct err e = {0};
    int number;

    for (int i = 0; i < 3; i++)
        prompt[i] = 11 * kind + i;
    settings(&q.sampling, kind);
    ck_ok(rill_engine_submit(h->g, &q, &number, &e), &e);
    return number;
}

/* Tokens of one request; after `gone` of them it is cancelled, -1: never. Returns how many. */
static int answer(struct host *h, int kind, int n, int gone, int32_t *id)
{
    const int number = submit(h, kind, n);
    struct rill_event ev;
    struct err e = {0};
    int k = 0, rc;

    engine_guard(h->g, true);
    while ((rc = rill_engine_step(h->g, &ev, 1, &e)) > 0)
        if (ev.kind == RILL_TOKEN) {
            id[k++] = ev.id;
            if (k == gone)
                rill_engine_cancel(h->g, number);
        }
    ck_ok(rc, &e);
    engine_guard(h->g, false);
    return k;
}

static struct rill_stats stats_of(const struct host *h)
{
    struct rill_stats s;

    rill_engine_stats(h->g, &s);
    return s;
}

/* What a launch for each record draws, of the kinds in a set of bits; one engine answers all. */
static void expect(const char *path, int n, unsigned kinds, int32_t id[KINDS][MOST])
{
    struct host h;

    open_host(&h, path, "graph", 1);
    for (int kind = 0; kind < KINDS; kind++)
        if (kinds >> kind & 1)
            ck_assert_int_eq(answer(&h, kind, n, -1, id[kind]), n);
    close_host(&h);
}

START_TEST(same_tokens)
{
    const char *l = getenv("LONG");
    const unsigned kinds = l && *l ? (1u << KINDS) - 1 : 1u << TOP_P | 1u << LAST_FOUR_COUNT;
    const int end = l && *l ? 7 : 2;
    const char *path = small();
    static int32_t want[KINDS][MOST], got[MOST];

    expect(path, MOST, kinds, want);
    for (simt_seed = 1; simt_seed < (uint64_t)end; simt_seed++) {
        struct host h;

        open_host(&h, path, "persist", 1);
        for (int kind = 0; kind < KINDS; kind++) {
            if (!(kinds >> kind & 1))
                continue;
            const struct rill_stats before = stats_of(&h);
            const long launches = simt_launches;

            ck_assert_int_eq(answer(&h, kind, MOST, -1, got), MOST);
            for (int i = 0; i < MOST; i++)
                ck_assert_msg(got[i] == want[kind][i], "seed %d, kind %d: token %d is %d, not %d",
                              (int)simt_seed, kind, i, got[i], want[kind][i]);
            ck_assert_uint_eq(stats_of(&h).device_drawn - before.device_drawn, MOST);
            /* the first one comes with the prompt */
            ck_assert_uint_ge(stats_of(&h).ahead - before.ahead, MOST - 2);
#ifndef RILL_GPU
            ck_assert_int_lt(simt_launches - launches, 60 + (MOST - 1) / PERSIST_STEPS + 1);
#else
            (void)launches;
#endif
        }
        close_host(&h);
    }
    simt_seed = 0;
    unlink(path);
}
END_TEST

/* More tokens than lanes of a sum, and more candidates than a draw can put in order: then the host
 * draws in the middle, and the device goes on from there. */
START_TEST(many_tokens)
{
    enum { N = 3 };
    const char *path = make("tiny,layers=1,dim=64,heads=2,kv=1,ffn=64,vocab=3008");
    static int32_t want[KINDS][MOST], got[MOST];
    struct host h;
    struct rill_stats s;

    expect(path, N, 1u << TOP_P | 1u << ANY, want);
    open_host(&h, path, "persist", 1);
    for (int kind = TOP_P; kind < KINDS; kind += ANY - TOP_P) {
        const struct rill_stats before = stats_of(&h);

        ck_assert_int_eq(answer(&h, kind, N, -1, got), N);
        ck_assert_mem_eq(got, want[kind], N * sizeof *got);
        s = stats_of(&h);
        if (kind == ANY) // of 3,008 alike
            ck_assert_uint_eq(s.device_drawn, before.device_drawn);
        else
            ck_assert_uint_eq(s.device_drawn - before.device_drawn, N);
    }
    close_host(&h);
    unlink(path);
}
END_TEST

/* -- somebody goes, somebody comes -- */

/* A request ends in the middle of a launch: what was made behind its end disturbs nobody. */
START_TEST(ended_in_the_middle)
{
    const char *path = small();
    static int32_t want[KINDS][MOST], got[MOST];
    struct host h;

    expect(path, MOST, 1u << GREEDY | 1u << ALL_COUNT, want);
    open_host(&h, path, "persist", 1);
    ck_assert_int_eq(answer(&h, GREEDY, MOST, 4, got), 4);
    ck_assert_mem_eq(got, want[GREEDY], 4 * sizeof *got);
    ck_assert_int_eq(answer(&h, ALL_COUNT, MOST, -1, got), MOST);
    ck_assert_mem_eq(got, want[ALL_COUNT], sizeof got);
    close_host(&h);
    unlink(path);
}
END_TEST

/* Another one comes while a launch of several steps is under way. */
START_TEST(two_in_turns)
{
    const char *path = small();
    static int32_t want[KINDS][MOST];
    static int32_t got[2][MOST];
    int of[2] = {-1, -1}, n[2] = {0};
    struct rill_event ev;
    struct err e = {0};
    struct host h;
    int rc;

    expect(path, MOST, 1u << TOP_K | 1u << LAST_FOUR_COUNT, want);
    open_host(&h, path, "persist", 2);
    of[0] = submit(&h, TOP_K, MOST);
    while ((rc = rill_engine_step(h.g, &ev, 1, &e)) > 0)
        for (int i = 0; i < 2 && ev.kind == RILL_TOKEN; i++) {
            if (ev.request == of[i])
                got[i][n[i]++] = ev.id;
            if (n[0] == 5 && of[1] < 0)
                of[1] = submit(&h, LAST_FOUR_COUNT, 5);
        }
    ck_ok(rc, &e);
    ck_assert_int_eq(n[0], MOST);
    ck_assert_int_eq(n[1], 5);
    ck_assert_mem_eq(got[0], want[TOP_K], sizeof got[0]);
    ck_assert_mem_eq(got[1], want[LAST_FOUR_COUNT], 5 * sizeof *got[1]);
    close_host(&h);
    unlink(path);
}
END_TEST

/* -- draws that come back -- */

static int (*real_step)(struct dev *, struct segment *, int, int, int32_t *);
static int came_back;

static int last_comes_back(struct dev *d, struct segment *s, int ticket, int i, int32_t *id)
{
    const int rc = real_step(d, s, ticket, i, id);

    if (i == PERSIST_STEPS - 1) {
        *id = DRAW_HOST;
        came_back++;
    }
    return rc;
}

/* The last of a launch, behind which the next was started: none of that one's tokens is taken. */
START_TEST(drawn_by_the_host)
{
    const char *path = small();
    static int32_t want[KINDS][MOST], got[MOST];
    struct backend some;
    struct host h;

    expect(path, MOST, 1u << TOP_K, want);
    open_host(&h, path, "persist", 1);
    some = *h.g->be;
    real_step = some.step;
    some.step = last_comes_back;
    h.g->be = &some;
    ck_assert_int_eq(answer(&h, TOP_K, MOST, -1, got), MOST);
    ck_assert_mem_eq(got, want[TOP_K], sizeof got);
    ck_assert_int_eq(came_back, 1); // then its steps wait for each other
    close_host(&h);
    unlink(path);
}
END_TEST

#ifndef RILL_GPU
static struct rill_engine *engine;
static int told, asked;

/* The host is told of a token while the launch runs, and wants no more behind every third. */
static void say_enough(int32_t *word)
{
    asked += *word == DRAW_NONE;
    if (*word >= 0 && ++told % 3 == 0)
        for (int i = 0; i < 2; i++)
            if (engine->flight[i].n_step)
                engine->be->enough(engine->dev, engine->now, engine->flight[i].ticket);
}
#endif

START_TEST(enough_is_enough)
{
#ifndef RILL_GPU
    const char *path = small();
    static int32_t want[KINDS][MOST], got[MOST];
    struct host h;

    expect(path, MOST, 1u << ALL_COUNT, want);
    open_host(&h, path, "persist", 1);
    engine = h.g;
    simt_told = say_enough;
    ck_assert_int_eq(answer(&h, ALL_COUNT, MOST, -1, got), MOST);
    ck_assert_mem_eq(got, want[ALL_COUNT], sizeof got);
    ck_assert_int_ge(asked, 2); // launches that ended before their time
    ck_assert_int_le(told, MOST);
    simt_told = NULL;
    close_host(&h);
    unlink(path);
#endif
}
END_TEST

/* -- one launch by itself -- */

#ifndef RILL_GPU
enum { BLOCKS = 3, VOCAB = 64 };

/* A list of two entries: a block fetches the token's row of a table, all of them draw from it. Row
 * i's largest is 5 i + 3, so that step after step is known. Returns how many of them came. */
static int chain(bool waits, int n, int enough_at)
{
    static float table[VOCAB][VOCAB], row[VOCAB], work[VOCAB];
    static int32_t numbers[6], id[4], pos[4], last[2], recent[PERSIST_STEPS + 1];
    static int32_t out[PERSIST_STEPS], ticket, enough;
    static struct draw_part part[DRAW_PARTS];
    static uint32_t count[8];
    const struct step s = {
        .n = numbers, .id = id, .last = last, .pos = pos, .rot = pos + 1, .see = pos + 2};
    const struct persist_work w[2] = {{.kind = PERSIST_FETCH,
                                       .fmt = FMT_F32,
                                       .first = 2,
                                       .blocks = 1,
                                       .wait = -1,
                                       .n_y = 1,
                                       .n_z = 1,
                                       .a.fetch = {.s = s,
                                                   .w = (const uint8_t *)table,
                                                   .row_bytes = sizeof *table,
                                                   .cols = VOCAB,
                                                   .out = {row, VOCAB},
                                                   .scale = 1,
                                                   .mode = FETCH_TOKEN}},
                                      {.kind = PERSIST_DRAW,
                                       .blocks = BLOCKS,
                                       .wait = waits ? 0 : -1,
                                       .raise = 1,
                                       .want = 1,
                                       .n_y = BLOCKS,
                                       .n_z = 1}};
    struct persist_args p = {.work = w,
                             .n = 2,
                             .matrix = 2,
                             .stages = 2,
                             .stage = 1024,
                             .room = PERSIST_DRAWS,
                             .count = count,
                             .step = count + 4,
                             .draws = {.n = n,
                                       .s = s,
                                       .recent = recent,
                                       .enough = &enough,
                                       .from = {.logits = row,
                                                .ld = VOCAB,
                                                .work = work,
                                                .part = part,
                                                .ticket = &ticket,
                                                .out = out,
                                                .last = last,
                                                .n_vocab = VOCAB,
                                                .n_word = VOCAB / 32}}};
    const struct rt_launch l = {.k = &kern_persist,
                                .grid = {BLOCKS, 1, 1},
                                .block = PERSIST_THREADS,
                                .shared =
                                    persist_head_bytes() + PERSIST_DRAWS + PERSIST_WARPS * 2048,
                                .args = &p};
    int want = 7, good = 0;

    for (int i = 0; i < VOCAB; i++)
        for (int k = 0; k < VOCAB; k++)
            table[i][k] = k == (5 * i + 3) % VOCAB ? 1.0f : 0.0f;
    for (int i = 0; i < PERSIST_STEPS; i++) {
        p.draws.row[i] = (struct draw_row){.n_mask = -1, .slot = 1, .rule = {.top_p = 1}};
        out[i] = -7;
    }
    numbers[0] = numbers[1] = numbers[2] = 1;
    id[0] = want;
    memset(row, 0, sizeof row);
    memset(pos, 0, sizeof pos);
    memset(count, 0, sizeof count);
    enough = enough_at;
    simt_run(&l);
    for (int i = 0; i < n; i++) {
        want = (5 * want + 3) % VOCAB;
        if (out[i] != want)
            break;
        good++;
        ck_assert_int_eq(pos[0], pos[1]);
    }
    if (waits && good == n) {
        ck_assert_int_eq(pos[0], n - 1);
        ck_assert_uint_eq(count[4], (uint32_t)n);
        ck_assert_int_eq(last[1], want);
    }
    if (waits && good < n)
        ck_assert_int_eq(out[good], DRAW_NONE);
    return good;
}

#endif

START_TEST(steps_follow_each_other)
{
#ifndef RILL_GPU
    int lost = 0;

    for (simt_seed = 0; simt_seed < 8; simt_seed++) {
        ck_assert_int_eq(chain(true, PERSIST_STEPS, 0), PERSIST_STEPS);
        ck_assert_int_eq(chain(true, 1, 0), 1);
        ck_assert_int_eq(chain(true, 5, 1), 1);
        lost += chain(false, PERSIST_STEPS, 0) < PERSIST_STEPS;
    }
    simt_seed = 0;
    ck_assert_int_gt(lost, 0);
#endif
}
END_TEST

TEST_MAIN("simt/persist_draw", same_tokens, many_tokens, ended_in_the_middle, two_in_turns,
          drawn_by_the_host, enough_is_enough, steps_follow_each_other)
