/* test_columns.c - what rill_engine_columns tells, of experts above all: the sums of squares by
 * expert and column are those that come of dumped values, put together here by the definition. */
#include "tests/suite.h"

#include "base/mem.h"
#include "engine/engine.h"
#include "plan/ops.h"
#include "rill.h"

enum { N = 40, CTX = 64 };

/* The sums of one matrix or stack. */
struct sums {
    char name[64];
    int n, cols;
    double *sum;   // [n x cols]
    double *count; // [n]
};

struct table {
    struct sums at[256];
    int n;
};

static struct sums *entry(struct table *t, const char *name, int n, int cols)
{
    struct sums *s;

    for (int i = 0; i < t->n; i++)
        if (strcmp(t->at[i].name, name) == 0) {
            ck_assert_int_eq(t->at[i].n, n);
            ck_assert_int_eq(t->at[i].cols, cols);
            return &t->at[i];
        }
    ck_assert_int_lt(t->n, 256);
    s = &t->at[t->n++];
    snprintf(s->name, sizeof s->name, "%s", name);
    s->n = n;
    s->cols = cols;
    s->sum = mem_array((uint64_t)n * (uint64_t)cols, sizeof *s->sum, NULL);
    s->count = mem_array((uint64_t)n, sizeof *s->count, NULL);
    return s;
}

static void add(struct table *t, const char *name, int n, int which, int cols, const float *x)
{
    struct sums *s = entry(t, name, n, cols);

    ck_assert_int_ge(which, 0);
    ck_assert_int_lt(which, n);
    for (int i = 0; i < cols; i++)
        s->sum[which * cols + i] += (double)x[i] * (double)x[i];
    s->count[which]++;
}

static void table_fini(struct table *t)
{
    for (int i = 0; i < t->n; i++) {
        mem_free(t->at[i].sum);
        mem_free(t->at[i].count);
    }
}

static void on_columns(void *ctx, const char *weight, int n, int which, int cols, const float *x)
{
    add(ctx, weight, n, which, cols, x);
}

/* -- the same from a dump -- */

struct dumped {
    int rows, cols;
    float *x;
};

static void on_dump(void *ctx, int record, const char *name, int rows, int cols, const float *x)
{
    struct dumped *d = (struct dumped *)ctx + record;

    (void)name;
    ck_assert_ptr_null(d->x); /* one step */
    d->rows = rows;
    d->cols = cols;
    d->x = mem_dup(x, (size_t)rows * (size_t)cols * sizeof *x, NULL);
}

/* What a record finds in one of its places: the output of the last record that wrote it. */
static const struct dumped *input(const struct plan *p, const struct dumped *d, int record,
                                  struct ref in)
{
    for (int i = record - 1; i >= 0; i--)
        if (p->op[i].out[0].v == in.v && p->op[i].out[0].at == in.at)
            return &d[i];
    return NULL; /* a second output */
}

/* Pairs of token and rank, token by token; those of moe_down lie in that order already. */
static void add_experts(struct table *t, const struct plan *p, const struct dumped *d, int record,
                        int n_w, bool by_pair)
{
    const struct op *op = &p->op[record];
    const struct dumped *x = input(p, d, record, op->in[0]);
    const struct dumped *ids = input(p, d, record, op->in[1]);

    ck_assert_ptr_nonnull(x);
    ck_assert_ptr_nonnull(ids);
    ck_assert_int_eq(ids->cols, p->n_used);
    for (int w = 0; w < n_w; w++) {
        const struct weight *m = op->w[w] < 0 ? NULL : &p->w[op->w[w]];

        for (int token = 0; m && token < N; token++)
            for (int rank = 0; rank < p->n_used; rank++) {
                int32_t expert;

                memcpy(&expert, ids->x + token * ids->cols + rank, sizeof expert);
                add(t, m->name, m->n, expert, (int)m->cols,
                    x->x + (by_pair ? token * p->n_used + rank : token) * x->cols);
            }
    }
}

static void add_plain(struct table *t, const struct plan *p, const struct dumped *d, int record,
                      int n_w)
{
    const struct op *op = &p->op[record];
    const struct dumped *x = input(p, d, record, op->in[0]);

    for (int w = 0; x && w < n_w; w++)
        for (int row = 0; op->w[w] >= 0 && row < x->rows; row++)
            add(t, p->w[op->w[w]].name, p->w[op->w[w]].n, 0, x->cols, x->x + row * x->cols);
}

static void by_hand(struct table *t, const struct plan *p, const struct dumped *d)
{
    for (int i = 0; i < p->n_op; i++)
        switch (p->op[i].kind) {
        case OP_moe_glu:
            add_experts(t, p, d, i, 2, false);
            break;
        case OP_moe_down:
            add_experts(t, p, d, i, 1, true);
            break;
        case OP_linear:
            add_plain(t, p, d, i, 1);
            break;
        case OP_linear_multi:
            add_plain(t, p, d, i, 4);
            break;
        default:
            break;
        }
}

static void run(struct rill_engine *g)
{
    int32_t ids[N];
    struct rill_request q = {.ids = ids, .n_ids = N, .max_tokens = 1};
    struct rill_event ev[8];
    struct err e = {0};
    int number, n;

    for (int i = 0; i < N; i++)
        ids[i] = (i * 7 + i / 3) % 60;
    q.sampling = rill_sampling_defaults();
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    while ((n = rill_engine_step(g, ev, 8, &e)) > 0)
        ;
    ck_assert_msg(n == 0, "%s", e.text);
}

/* Returns how many stacks of experts were compared. */
static int compare(const struct table *got, struct table *want)
{
    int stacks = 0;

    for (int i = 0; i < want->n; i++) {
        const struct sums *w = &want->at[i], *g = NULL;
        double rows = 0.0;

        for (int k = 0; k < got->n && !g; k++)
            if (strcmp(got->at[k].name, w->name) == 0)
                g = &got->at[k];
        ck_assert_msg(g != NULL, "nothing was told of %s", w->name);
        ck_assert_int_eq(g->n, w->n);
        ck_assert_int_eq(g->cols, w->cols);
        ck_assert_msg(memcmp(g->count, w->count, (size_t)w->n * sizeof *w->count) == 0,
                      "%s: counts", w->name);
        ck_assert_msg(memcmp(g->sum, w->sum, (size_t)(w->n * w->cols) * sizeof *w->sum) == 0,
                      "%s: sums", w->name);
        for (int k = 0; k < w->n; k++)
            rows += w->count[k];
        ck_assert_msg(rows >= 1.0, "%s: no rows", w->name);
        stacks += w->n > 1;
    }
    return stacks;
}

static int check(const char *name)
{
    struct rill_model_opts mo = {.device = "cpu:2", .n_ctx = CTX};
    struct rill_engine_opts o = {.max_seq = 1, .max_batch = CTX, .no_cache = true};
    struct table got = {.n = 0}, want = {.n = 0};
    struct dumped *d;
    struct rill_model *m;
    struct rill_engine *g;
    struct err e = {0};
    char path[512];
    int stacks;

    snprintf(path, sizeof path, "%s/tests/golden/arch/%s.gguf", RILL_SRCDIR, name);
    ck_ok(rill_model_open(&m, path, &mo, &e), &e);
    ck_ok(rill_engine_open(&g, m, &o, &e), &e);
    ck_ok(rill_engine_columns(g, on_columns, &got, &e), &e);
    run(g);
    rill_engine_close(g);

    ck_ok(rill_engine_open(&g, m, &o, &e), &e);
    d = mem_array((uint64_t)g->plan->n_op, sizeof *d, &e);
    ck_assert_ptr_nonnull(d);
    ck_ok(rill_engine_dump(g, NULL, on_dump, d, &e), &e);
    run(g);
    by_hand(&want, g->plan, d);
    stacks = compare(&got, &want);
    for (int i = 0; i < g->plan->n_op; i++)
        mem_free(d[i].x);
    mem_free(d);
    rill_engine_close(g);
    rill_model_close(m);
    table_fini(&got);
    table_fini(&want);
    return stacks;
}

/* Each has layers with a stack of gates, one of ups and one of downs. */
START_TEST(experts_each_get_their_rows)
{
    static const char *const models[] = {"qwen3moe", "mixtral",   "granitemoe-shared",
                                         "gpt-oss",  "deepseek2", "granitemoe"};

    setenv("RILL_NOFUSE", "1", 1); /* as rill-eval has it */
    for (size_t i = 0; i < ARRAY_LEN(models); i++)
        ck_assert_msg(check(models[i]) >= 3, "%s: no experts", models[i]);
}
END_TEST

START_TEST(matrices_without_experts)
{
    setenv("RILL_NOFUSE", "1", 1);
    ck_assert_int_eq(check("llama"), 0);
    ck_assert_int_eq(check("gemma2"), 0);
}
END_TEST

TEST_MAIN("engine/columns", experts_each_get_their_rows, matrices_without_experts)
