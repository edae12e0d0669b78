/* sched.c - see sched.h. */
#include "engine/sched.h"

static bool before(const struct sched_req *a, const struct sched_req *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    return a->arrival < b->arrival;
}

/* Indices of requests in a state, best first. Insertion sort: they arrive nearly in order. */
static int sorted(const struct sched_req *req, int n, int state, int32_t *order)
{
    int k = 0;

    for (int i = 0; i < n; i++) {
        int j = k;

        if (req[i].state != state)
            continue;
        for (; j > 0 && before(&req[i], &req[order[j - 1]]); j--)
            order[j] = order[j - 1];
        order[j] = i;
        k++;
    }
    return k;
}

/* Rows of a prompt that fit: all, or a multiple of the granule; out counts rows with logits. */
static int cut(const struct sched_req *r, const struct sched_limits *lim, int left, int *out)
{
    int rows = r->rows < left ? r->rows : left;
    int last = 0;

    if (r->outputs > 0 && rows > *out)
        rows = *out;
    if (rows < r->rows)
        rows -= rows % lim->granule;
    if (rows <= 0)
        return 0;
    last = rows == r->rows;
    if (r->outputs == 0 && last && *out == 0)
        rows = r->rows - 1 - (r->rows - 1) % lim->granule; // no place for its logits row: not yet
    else
        *out -= r->outputs > 0 ? rows : last;
    return rows;
}

int sched_pick(const struct sched_req *req, int n, const struct sched_limits *lim,
               struct sched_part *part, int32_t *order)
{
    int left = lim->max_rows;
    int out = lim->max_out;
    int n_part = 0;
    int k = sorted(req, n, SCHED_DECODE, order);
    int n_decode = k < left ? k : left;

    if (n_decode > out)
        n_decode = out;
    /* decode parts are put at the end of part[] first, then moved behind the prompt parts */
    for (int i = 0; i < n_decode; i++)
        part[n - n_decode + i] = (struct sched_part){order[i], 1};
    left -= n_decode;
    out -= n_decode;
    k = sorted(req, n, SCHED_PROMPT, order);
    for (int i = 0; i < k && left > 0; i++) {
        int rows = cut(&req[order[i]], lim, left, &out);

        if (rows == 0)
            break; // first come, first served: nobody overtakes
        part[n_part++] = (struct sched_part){order[i], rows};
        left -= rows;
    }
    for (int i = 0; i < n_decode; i++)
        part[n_part + i] = part[n - n_decode + i];
    return n_part + n_decode;
}

int sched_next_waiting(const struct sched_req *req, int n)
{
    int best = -1;

    for (int i = 0; i < n; i++)
        if (req[i].state == SCHED_WAITING && (best < 0 || before(&req[i], &req[best])))
            best = i;
    return best;
}
