/* rng.h - counter-based random numbers: a pure function of a key, so that no draw depends on
 * another request, on arrival order or on how often something was computed. */
#ifndef RILL_BASE_RNG_H
#define RILL_BASE_RNG_H

#include <stdint.h>

/* 64 random bits for (seed, choice, position, draw): three rounds of the splitmix64 finalizer
 * (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014) over the words. */
uint64_t rng_bits(uint64_t seed, uint32_t choice, uint64_t position, uint32_t draw);

/* Uniform in [0, 1): the top 53 bits. */
double rng_unit(uint64_t seed, uint32_t choice, uint64_t position, uint32_t draw);

/* A small stream for tests and synthetic data. */
struct rng {
    uint64_t seed;
    uint64_t at;
};
uint64_t rng_next(struct rng *r);
double rng_next_unit(struct rng *r);
double rng_next_normal(struct rng *r); // mean 0, deviation 1 (sum of 12 uniforms: bounded by 6)

#endif
