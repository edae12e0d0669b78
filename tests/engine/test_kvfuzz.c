/* test_kvfuzz.c - the fuzzer's entry for files of keys and values, without a fuzzer: random files
 * and random changes of a good one. What it asks for is said there.
 */
#include "tests/fuzz/fuzz_kvfile.c"

#include "base/rng.h"
#include "tests/suite.h"

START_TEST(random_changes)
{
    const char *full = getenv("LONG");
    const int runs = full && *full ? 20000 : 400;
    struct rng r = {.seed = 11};

    for (int i = 0; i < runs; i++) {
        uint8_t in[64];
        const size_t n = 16 + rng_next(&r) % (i % 2 ? 4 : sizeof in - 16); // few changes, or many

        for (size_t k = 0; k < n; k++)
            in[k] = (uint8_t)(rng_next(&r) >> 24);
        if (i % 4) // a change of the good file, mostly not cut
            in[n - 1] |= 1;
        if (i % 4 > 1)
            in[0] &= 127;
        ck_assert_int_eq(LLVMFuzzerTestOneInput(in, n), 0);
    }
}
END_TEST

TEST_MAIN("engine/kvfuzz", random_changes)
