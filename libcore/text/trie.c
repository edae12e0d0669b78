/* trie.c - see trie.h. Built breadth first from sorted keys.
 *
 * Children of a node lie in one block of 256 places, so only a block with room has to be found.
 * Only the last few blocks are looked at; that keeps building linear.
 */
#include "trie.h"

#include "base/mem.h"

#define NONE UINT32_MAX

struct range {
    uint32_t lo, hi; // keys [lo, hi) share the first depth bytes
    uint32_t depth;
    uint32_t node;
};

struct builder {
    struct trie *t;
    const struct slice *key;
    const uint32_t *value;
    uint32_t *order;     // [n] keys, sorted
    struct range *queue; // [n_queue] nodes to give children to
    uint64_t n_queue, cap_queue;
    uint64_t (*free)[4]; // [n_block] a bit for each free place
    uint32_t n_block;
    uint32_t first_open; // blocks before this one are not tried any more
    struct err *e;
};

void trie_fini(struct trie *t)
{
    mem_free(t->node);
    *t = (struct trie){0};
}

static int compare(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;

    return c ? c : a.n < b.n ? -1 : a.n > b.n;
}

/* Merge sort (stable, and no bad cases whatever the file holds). */
static int sort(uint32_t *order, const struct slice *key, uint32_t n, struct err *e)
{
    uint32_t *from = order, *to = mem_array(n, sizeof *to, e), *spare = to;

    if (!to)
        return E_NOMEM;
    for (uint64_t w = 1; w < n; w *= 2) {
        for (uint64_t lo = 0; lo < n; lo += 2 * w) {
            uint64_t mid = lo + w < n ? lo + w : n, hi = mid + w < n ? mid + w : n;
            uint64_t i = lo, j = mid;

            for (uint64_t k = lo; k < hi; k++)
                to[k] = i < mid && (j == hi || compare(key[from[i]], key[from[j]]) <= 0)
                            ? from[i++]
                            : from[j++];
        }
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != order)
        memcpy(order, from, n * sizeof *order);
    mem_free(spare);
    return 0;
}

static int add_block(struct builder *b)
{
    struct trie *t = b->t;
    struct trie_node *p;
    uint64_t(*free)[4];
    uint64_t cap = t->cap;

    if ((uint64_t)(b->n_block + 1) * 256 > cap) {
        cap = cap ? cap * 2 : 1024;
        if (cap >= NONE)
            return err_nomem(b->e, cap);
        free = mem_resize(b->free, t->cap / 256, cap / 256, sizeof *free, b->e);
        if (!free)
            return E_NOMEM;
        b->free = free;
        p = mem_resize(t->node, t->cap, cap, sizeof *p, b->e);
        if (!p)
            return E_NOMEM;
        for (uint64_t i = t->cap; i < cap; i++)
            p[i] = (struct trie_node){0, NONE, NONE};
        t->node = p;
        t->cap = (uint32_t)cap;
    }
    memset(b->free[b->n_block], 0xff, sizeof b->free[0]);
    if (b->n_block == 0)
        b->free[0][0] &= ~(uint64_t)1; /* the root */
    b->n_block++;
    return 0;
}

static bool is_free(const struct builder *b, uint32_t place)
{
    return b->free[place / 256][place / 64 % 4] >> place % 64 & 1;
}

/* A base in block k under which all n labels are free. */
static bool fits(const struct builder *b, uint32_t k, const uint8_t *label, int n, uint32_t *base)
{
    for (uint32_t w = 0; w < 4; w++)
        for (uint64_t left = b->free[k][w]; left; left &= left - 1) {
            uint32_t at = (k * 256 + w * 64 + (uint32_t)__builtin_ctzll(left)) ^ label[0];
            int i = 1;

            while (i < n && is_free(b, at ^ label[i]))
                i++;
            if (i == n) {
                *base = at;
                return true;
            }
        }
    return false;
}

static int find_base(struct builder *b, const uint8_t *label, int n, uint32_t *base)
{
    for (uint32_t k = b->first_open; k < b->n_block; k++)
        if (fits(b, k, label, n, base))
            return 0;
    *base = b->n_block * 256;
    if (b->n_block > b->first_open + 6)
        b->first_open = b->n_block - 6;
    return add_block(b);
}

static int enqueue(struct builder *b, struct range r)
{
    if (b->n_queue == b->cap_queue) {
        uint64_t cap = b->cap_queue ? b->cap_queue * 2 : 1024;
        struct range *p = mem_resize(b->queue, b->cap_queue, cap, sizeof *p, b->e);

        if (!p)
            return E_NOMEM;
        b->queue = p;
        b->cap_queue = cap;
    }
    b->queue[b->n_queue++] = r;
    return 0;
}

/* Gives a node its value and its children. */
static int expand(struct builder *b, struct range r)
{
    uint8_t label[256];
    uint32_t begin[257], base;
    int n = 0, rc;

    while (r.lo < r.hi && b->key[b->order[r.lo]].n == r.depth) {
        if (b->t->node[r.node].value == NONE && r.node != 0)
            b->t->node[r.node].value = b->value[b->order[r.lo]];
        r.lo++;
    }
    for (uint32_t i = r.lo; i < r.hi; i++) {
        uint8_t c = (uint8_t)b->key[b->order[i]].p[r.depth];

        if (n == 0 || label[n - 1] != c) {
            label[n] = c;
            begin[n++] = i;
        }
    }
    begin[n] = r.hi;
    if (n == 0)
        return 0;
    if ((rc = find_base(b, label, n, &base)) < 0)
        return rc;
    b->t->node[r.node].base = base;
    for (int i = 0; i < n; i++) {
        uint32_t place = base ^ label[i];

        b->t->node[place].parent = r.node;
        b->free[place / 256][place / 64 % 4] &= ~((uint64_t)1 << place % 64);
    }
    for (int i = 0; i < n; i++)
        if ((rc = enqueue(
                 b, (struct range){begin[i], begin[i + 1], r.depth + 1, base ^ label[i]})) < 0)
            return rc;
    return 0;
}

int trie_new(struct trie *t, const struct slice *key, const uint32_t *value, uint32_t n,
             struct err *e)
{
    struct builder b = {.t = t, .key = key, .value = value, .e = e};
    int rc;

    *t = (struct trie){0};
    b.order = mem_array(n, sizeof *b.order, e);
    if (!b.order || (rc = add_block(&b)) < 0) {
        rc = E_NOMEM;
        goto done;
    }
    for (uint32_t i = 0; i < n; i++) {
        b.order[i] = i;
        if (key[i].n)
            t->first[(uint8_t)key[i].p[0]] = true;
    }
    if ((rc = sort(b.order, key, n, e)) < 0 || (rc = enqueue(&b, (struct range){0, n, 0, 0})) < 0)
        goto done;
    for (uint64_t i = 0; i < b.n_queue; i++)
        if ((rc = expand(&b, b.queue[i])) < 0)
            goto done;
done:
    mem_free(b.order);
    mem_free(b.queue);
    mem_free(b.free);
    if (rc < 0)
        trie_fini(t);
    return rc;
}

size_t trie_longest(const struct trie *t, struct slice text, uint32_t *value)
{
    uint32_t node = 0, v;
    size_t longest = 0;

    for (size_t i = 0; i < text.n && trie_step(t, &node, (uint8_t)text.p[i], &v); i++)
        if (v != NONE) {
            longest = i + 1;
            *value = v;
        }
    return longest;
}
