/* rng.c - see rng.h. */
#include "rng.h"

static uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t rng_bits(uint64_t seed, uint32_t choice, uint64_t position, uint32_t draw)
{
    return mix(mix(mix(seed) ^ position) ^ ((uint64_t)choice << 32 | draw));
}

double rng_unit(uint64_t seed, uint32_t choice, uint64_t position, uint32_t draw)
{
    return (double)(rng_bits(seed, choice, position, draw) >> 11) * 0x1p-53;
}

uint64_t rng_next(struct rng *r)
{
    return rng_bits(r->seed, 0, r->at++, 0);
}

double rng_next_unit(struct rng *r)
{
    return (double)(rng_next(r) >> 11) * 0x1p-53;
}

double rng_next_normal(struct rng *r)
{
    double s = -6;

    for (int i = 0; i < 12; i++)
        s += rng_next_unit(r);
    return s;
}
