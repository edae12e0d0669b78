/* spec.c - see spec.h. */
#include "engine/spec.h"

#include <string.h>

#include "base/mem.h"

#define LOOK_BACK 16384 // tokens of the text itself
#define NEARBY    12    // tokens that may have been put in or left out where a text goes on

struct corpus {
    int32_t *ids;  // [n]
    int32_t *rank; // [n] places, ordered by the tokens that end there, read backwards
    int32_t n;
};

/* -- the text itself -- */

/* Tokens up to and with ids[at] that equal the last ones. */
static int matching(const int32_t *ids, int at, int n)
{
    int k = 0;

    while (k < SPEC_MOST && k <= at && ids[at - k] == ids[n - 1 - k])
        k++;
    return k;
}

/* The place behind the longest earlier occurrence of the end; among equals the one at lag, then the
 * latest. *len is its length. */
static int look_back(const int32_t *ids, int n, int lag, int *len)
{
    const int first = n > LOOK_BACK ? n - LOOK_BACK : 0;
    const int here = lag > 0 && lag < n ? n - 1 - lag : -1;
    int best = here + 1;

    *len = here >= 0 ? matching(ids, here, n) : 0;
    for (int at = n - 2; at >= first && *len < SPEC_MOST; at--) {
        int k = ids[at] == ids[n - 1] ? matching(ids, at, n) : 0;

        if (k > *len) {
            *len = k;
            best = at + 1;
        }
    }
    return best;
}

/* The end is new, and the text repeated what stands lag back: where that goes on. The last token
 * is looked for around there; if it is not to be found it stands for another. */
static int resume(const int32_t *ids, int n, int lag)
{
    const int at = n - 1 - lag;

    for (int far = 1; far <= NEARBY; far++) {
        if (at + far < n - 1 && ids[at + far] == ids[n - 1])
            return at + far + 1;
        if (at - far >= 0 && ids[at - far] == ids[n - 1])
            return at - far + 1;
    }
    return at + 1;
}

/* -- a corpus -- */

/* Order of the texts a[0, a_at] and b[0, b_at], read backwards for at most SPEC_MOST tokens. */
static int backwards(const int32_t *a, int a_at, const int32_t *b, int b_at, int *same)
{
    int k = 0;

    while (k < SPEC_MOST && a_at >= k && b_at >= k && a[a_at - k] == b[b_at - k])
        k++;
    *same = k;
    if (k == SPEC_MOST || (a_at < k && b_at < k))
        return 0;
    if (a_at < k || b_at < k)
        return a_at < k ? -1 : 1;
    return a[a_at - k] < b[b_at - k] ? -1 : 1;
}

static void sift(const struct corpus *c, int n, int i)
{
    const int32_t v = c->rank[i];
    int same;

    for (int k = 2 * i + 1; k < n; k = 2 * i + 1) {
        if (k + 1 < n && backwards(c->ids, c->rank[k], c->ids, c->rank[k + 1], &same) < 0)
            k++;
        if (backwards(c->ids, c->rank[k], c->ids, v, &same) <= 0)
            break;
        c->rank[i] = c->rank[k];
        i = k;
    }
    c->rank[i] = v;
}

int corpus_new(struct corpus **out, const int32_t *ids, int n, struct err *e)
{
    struct corpus *c = mem_new(sizeof *c, e);

    if (!c)
        return E_NOMEM;
    c->n = n;
    c->ids = mem_array((uint64_t)n, sizeof *c->ids, e);
    c->rank = mem_array((uint64_t)n, sizeof *c->rank, e);
    if (!c->ids || !c->rank) {
        corpus_free(c);
        return E_NOMEM;
    }
    if (n)
        memcpy(c->ids, ids, (size_t)n * sizeof *ids);
    for (int i = 0; i < n; i++)
        c->rank[i] = i;
    for (int i = n / 2 - 1; i >= 0; i--)
        sift(c, n, i);
    for (int k = n - 1; k > 0; k--) {
        int32_t last = c->rank[0];

        c->rank[0] = c->rank[k];
        c->rank[k] = last;
        sift(c, k, 0);
    }
    *out = c;
    return 0;
}

void corpus_free(struct corpus *c)
{
    if (!c)
        return;
    mem_free(c->ids);
    mem_free(c->rank);
    mem_free(c);
}

/* As look_back: the neighbours of the end in the order are the places most like it. */
static int look_up(const struct corpus *c, const int32_t *ids, int n, int *len)
{
    int lo = 0, hi = c->n, best = -1, same;

    *len = 0;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;

        if (backwards(c->ids, c->rank[mid], ids, n - 1, &same) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (int i = lo - 1; i <= lo; i++) {
        if (i < 0 || i >= c->n || c->rank[i] + 1 >= c->n)
            continue;
        backwards(c->ids, c->rank[i], ids, n - 1, &same);
        if (same > *len) {
            *len = same;
            best = c->rank[i] + 1;
        }
    }
    return best;
}

int spec_propose(const struct corpus *corpus, const int32_t *ids, int n, int least, int most,
                 int32_t *lag, int32_t *out)
{
    int own_len = 0, len = 0;
    int from = n > 1 ? look_back(ids, n, *lag, &own_len) : 0;
    int other = corpus && n > 0 ? look_up(corpus, ids, n, &len) : -1;
    const int32_t *text = ids;
    int end = n;

    if (len > own_len && len >= least) {
        text = corpus->ids;
        end = corpus->n;
        from = other;
    } else if (own_len < least) {
        if (*lag <= 0 || *lag >= n || least > SPEC_LEAST)
            return 0;
        from = resume(ids, n, *lag);
    }
    if (text == ids)
        *lag = n - from;
    if (most > end - from)
        most = end - from;
    memcpy(out, text + from, (size_t)most * sizeof *out);
    return most;
}
