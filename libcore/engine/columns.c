/* columns.c - what comes in at the columns of each weight matrix, for importance matrices.
 *
 * Looks at the values of a step that has been run: they share no memory then, so the inputs of all
 * records are still there.
 */
#include "engine/columns.h"

/* Row i of a record's input, its own columns only. */
static const float *row_of(const struct rill_engine *g, struct ref r, int64_t i)
{
    const char *base = (const char *)g->seg.arena.p + g->at[r.v];

    return (const float *)(const void *)base + i * g->plan->value[r.v].cols + r.at;
}

static void tell(const struct rill_engine *g, int w, int which, const float *x)
{
    const struct weight *m = &g->plan->w[w];

    g->columns(g->columns_ctx, m->name, m->n, which, (int)m->cols, x);
}

/* Records whose matrices all read the same rows. */
static void plain(const struct rill_engine *g, const struct op *op, int n_w)
{
    const struct batch *b = &g->batch;
    int64_t n = plan_rows(g->plan, g->plan->value[op->in[0].v].rows, b->n_p + b->n_g, b->n_out);

    for (int w = 0; w < n_w; w++)
        for (int64_t i = 0; op->w[w] >= 0 && i < n; i++)
            tell(g, op->w[w], 0, row_of(g, op->in[0], i));
}

/* Records of experts: pair i of token and rank reads row i / per of the input. */
static void experts(const struct rill_engine *g, const struct op *op, int n_w, int per)
{
    const struct batch *b = &g->batch;
    int64_t n = (int64_t)(b->n_p + b->n_g) * g->plan->n_used;

    for (int w = 0; w < n_w; w++)
        for (int64_t i = 0; op->w[w] >= 0 && i < n; i++) {
            const int32_t *id =
                (const int32_t *)(const void *)row_of(g, op->in[1], i / g->plan->n_used);

            tell(g, op->w[w], id[i % g->plan->n_used], row_of(g, op->in[0], i / per));
        }
}

void columns_step(const struct rill_engine *g)
{
    for (int i = 0; i < g->plan->n_op; i++) {
        const struct op *op = &g->plan->op[i];

        switch (op->kind) {
        case OP_linear:
            plain(g, op, 1);
            break;
        case OP_linear_multi:
            plain(g, op, 4);
            break;
        case OP_glu:
            plain(g, op, op->a.lin.fused ? 1 : 2);
            break;
        case OP_moe_glu:
            experts(g, op, 2, g->plan->n_used);
            break;
        case OP_moe_down:
            experts(g, op, 1, 1);
            break;
        default:
            break;
        }
    }
}
