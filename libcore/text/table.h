/* table.h - the two hash tables of a tokenizer: pieces to ids, and pairs of ids to merges.
 *
 * Both are built once and then only read. A piece of up to eight bytes is its own key, so that
 * finding a short word touches one cache line.
 */
#ifndef RILL_TEXT_TABLE_H
#define RILL_TEXT_TABLE_H

#include "base/err.h"
#include "base/mem.h"
#include "base/slice.h"

#define NO_ID UINT32_MAX

struct piece_slot {
    uint64_t key; // the bytes, or a hash of more than eight
    uint32_t id;  // NO_ID: free
    uint32_t n;   // bytes of the piece
};

struct piece_table {
    struct piece_slot *slot;
    uint32_t mask, n;
    uint64_t seed;
    const char *const
        *arena; // where the pieces lie: piece id is (*arena)[(*at)[id], (*at)[id + 1])
    const uint32_t *const *at;
};

struct pair_slot {
    uint64_t key; // left << 32 | right; UINT64_MAX: free
    uint32_t rank;
    uint32_t into;
};

struct pair_table {
    struct pair_slot *slot;
    uint32_t mask, n;
    uint64_t seed;
};

/* Room for n entries; more than that must not be put. */
int piece_table_new(struct piece_table *t, uint64_t n, struct err *e);
void piece_table_fini(struct piece_table *t);
/* Adds a piece that lies in the arena as id; false when its bytes are there already. */
bool piece_table_put(struct piece_table *t, uint32_t id);

int pair_table_new(struct pair_table *t, uint64_t n, struct err *e);
void pair_table_fini(struct pair_table *t);
/* The first rank of a pair stays. */
void pair_table_put(struct pair_table *t, uint32_t left, uint32_t right, uint32_t rank,
                    uint32_t into);

/* The first n (at most 8) bytes as a number, zeros behind them. */
static inline uint64_t load_key(const char *p, size_t n)
{
    uint64_t v = 0;

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    /* two overlapping loads: a loop over the bytes was a fifth of the time of encoding English */
    if (n >= 8) {
        memcpy(&v, p, 8);
    } else if (n >= 4) {
        uint32_t lo, hi;

        memcpy(&lo, p, 4);
        memcpy(&hi, p + n - 4, 4);
        v = lo | (uint64_t)hi << (8 * (n - 4));
    } else if (n) {
        const uint8_t *s = (const uint8_t *)p;

        v = s[0] | (uint64_t)s[n / 2] << (8 * (n / 2)) | (uint64_t)s[n - 1] << (8 * (n - 1));
    }
#else
    for (size_t i = 0; i < n && i < 8; i++)
        v |= (uint64_t)(uint8_t)p[i] << (8 * i);
#endif
    return v;
}

static inline uint64_t mix(uint64_t v)
{
    v *= 0x9e3779b97f4a7c15u;
    v ^= v >> 32;
    v *= 0xd6e8feb86659fd93u;
    return v ^ v >> 29;
}

uint64_t long_key(uint64_t seed, const char *p, size_t n); // of more than eight bytes

static inline uint64_t piece_key(const struct piece_table *t, const char *p, size_t n)
{
    return n <= 8 ? load_key(p, n) : long_key(t->seed, p, n);
}

static inline uint32_t piece_place(const struct piece_table *t, uint64_t key, size_t n)
{
    return (uint32_t)mix(key ^ t->seed ^ n) & t->mask;
}

/* Says that a piece will be looked for soon: opening a vocabulary is mostly waiting for memory. */
static inline void piece_soon(const struct piece_table *t, const char *p, size_t n)
{
    __builtin_prefetch(&t->slot[piece_place(t, piece_key(t, p, n), n)]);
}

/* The id of a piece, or NO_ID. */
static inline uint32_t piece_get(const struct piece_table *t, const char *p, size_t n)
{
    uint64_t key = piece_key(t, p, n);
    uint32_t i = piece_place(t, key, n);

    for (;; i = (i + 1) & t->mask) {
        const struct piece_slot *s = &t->slot[i];

        if (s->id == NO_ID)
            return NO_ID;
        if (s->key == key && s->n == n &&
            (n <= 8 || memcmp(*t->arena + (*t->at)[s->id], p, n) == 0))
            return s->id;
    }
}

/* The merge of a pair, or NULL. */
static inline const struct pair_slot *pair_get(const struct pair_table *t, uint32_t left,
                                               uint32_t right)
{
    uint64_t key = (uint64_t)left << 32 | right;
    uint32_t i = (uint32_t)mix(key ^ t->seed) & t->mask;

    for (;; i = (i + 1) & t->mask) {
        const struct pair_slot *s = &t->slot[i];

        if (s->key == key)
            return s;
        if (s->key == UINT64_MAX)
            return NULL;
    }
}

#endif
