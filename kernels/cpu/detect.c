/* detect.c - which instruction-set levels this machine can run.
 *
 * Asks the processor (CPUID) and what the system saves (XGETBV), not a file: emulators show less
 * there than the machine has. For tiles the kernel's permission is asked as well.
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "kernels/cpu/cpu_kernels.h"

extern const struct cpu_kernels cpu_kernels_scalar, cpu_kernels_avx2, cpu_kernels_avxvnni,
    cpu_kernels_avx512, cpu_kernels_neon;
extern const struct cpu_tiles cpu_tiles_amx, cpu_tiles_amx_emulated, cpu_tiles_bf16,
    cpu_tiles_bf16_emulated;

struct level {
    const char *name;
    const struct cpu_kernels *k; // NULL: not in this build
    bool (*here)(void);
    const struct cpu_tiles *tiles;
    bool asked; // only when asked for by name: slower than the level before it
};

static bool always(void)
{
    return true;
}

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

struct cpu_id {
    unsigned a, b, c, d;
};

static struct cpu_id ask(unsigned leaf, unsigned sub)
{
    struct cpu_id r = {0};

    __get_cpuid_count(leaf, sub, &r.a, &r.b, &r.c, &r.d);
    return r;
}

/* State components the system saves when it changes threads (XCR0). */
static bool saves(unsigned mask)
{
    unsigned low, high;

    if (!(ask(1, 0).c & 1u << 27)) // OSXSAVE
        return false;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & mask) == mask;
}

static bool has(unsigned word, const int *bits, int n)
{
    for (int i = 0; i < n; i++)
        if (!(word & 1u << bits[i]))
            return false;
    return true;
}

static bool has_avx2(void)
{
    static const int one_c[] = {12, 28, 29}; // FMA, AVX, F16C
    static const int seven_b[] = {5, 8};     // AVX2, BMI2

    return saves(0x6) && has(ask(1, 0).c, one_c, 3) && has(ask(7, 0).b, seven_b, 2);
}

static bool has_avxvnni(void)
{
    static const int one_a[] = {4}; // AVX-VNNI

    return has_avx2() && has(ask(7, 1).a, one_a, 1);
}

static bool has_avx512(void)
{
    static const int seven_b[] = {16, 17, 30, 31}; // F, DQ, BW, VL
    static const int seven_c[] = {11};             // VNNI

    return has_avx2() && saves(0xe6) && has(ask(7, 0).b, seven_b, 4) &&
           has(ask(7, 0).c, seven_c, 1);
}

/* Emulators have been seen to accept tile instructions and multiply wrongly. */
#ifdef RILL_ISA_AMX
#define AMX_WORKS cpu_tiles_amx.works
#else
#define AMX_WORKS always
#endif
#ifdef RILL_ISA_BF16
#define BF16_WORKS cpu_tiles_bf16.works
#else
#define BF16_WORKS always
#endif

static bool has_bf16(void)
{
    static const int one_a[] = {5}; // AVX512_BF16

    return has_avx512() && has(ask(7, 1).a, one_a, 1) && BF16_WORKS();
}

static bool has_amx(void)
{
    static const int seven_c[] = {1};                   // VBMI
    static const int seven_d[] = {22, 24, 25};          // BF16, TILE, INT8
    static const int one_a[] = {5};                     // AVX512_BF16, for rounding
    const long ask_permission = 0x1023, tile_data = 18; // ARCH_REQ_XCOMP_PERM

    return has_avx512() && saves(0x600e6) && has(ask(7, 0).c, seven_c, 1) &&
           has(ask(7, 0).d, seven_d, 3) && has(ask(7, 1).a, one_a, 1) &&
           syscall(SYS_arch_prctl, ask_permission, tile_data) == 0 && AMX_WORKS();
}
#else
static bool has_avx2(void)
{
    return false;
}
#define has_avxvnni has_avx2
#define has_avx512  has_avx2
#define has_amx     has_avx2
#define has_bf16    has_avx2
#endif

static const struct level levels[] = {
    {"scalar", &cpu_kernels_scalar, always},
#ifdef RILL_ISA_NEON
    {"neon", &cpu_kernels_neon, always},
#else
    {"neon", NULL, always},
#endif
#ifdef RILL_ISA_AVX2
    {"avx2", &cpu_kernels_avx2, has_avx2},
#else
    {"avx2", NULL, has_avx2},
#endif
#ifdef RILL_ISA_AVXVNNI
    {"avxvnni", &cpu_kernels_avxvnni, has_avxvnni},
#else
    {"avxvnni", NULL, has_avxvnni},
#endif
#ifdef RILL_ISA_AVX512
    {"avx512", &cpu_kernels_avx512, has_avx512},
#else
    {"avx512", NULL, has_avx512},
#endif
#ifdef RILL_ISA_BF16_EMULATED
    {"avx512-bf16-emulated", &cpu_kernels_avx512, has_avx512, &cpu_tiles_bf16_emulated, true},
#else
    {"avx512-bf16-emulated", NULL, has_avx512, NULL, true},
#endif
#ifdef RILL_ISA_BF16
    {"avx512-bf16", &cpu_kernels_avx512, has_bf16, &cpu_tiles_bf16},
#else
    {"avx512-bf16", NULL, has_bf16},
#endif
#ifdef RILL_ISA_AMX_EMULATED
    {"amx-emulated", &cpu_kernels_avx512, has_avx512, &cpu_tiles_amx_emulated, true},
#else
    {"amx-emulated", NULL, has_avx512, NULL, true},
#endif
#ifdef RILL_ISA_AMX
    {"amx", &cpu_kernels_avx512, has_amx, &cpu_tiles_amx},
#else
    {"amx", NULL, has_amx},
#endif
};

static bool runs(const struct level *l)
{
    return l->k && l->here();
}

const struct cpu_kernels *cpu_level(int i)
{
    for (size_t l = 0; l < ARRAY_LEN(levels); l++)
        if (!levels[l].tiles && runs(&levels[l]) && i-- == 0)
            return levels[l].k;
    return NULL;
}

const struct cpu_tiles *cpu_tiles_level(int i, const struct cpu_kernels **k)
{
    for (size_t l = 0; l < ARRAY_LEN(levels); l++)
        if (levels[l].tiles && runs(&levels[l]) && i-- == 0) {
            *k = levels[l].k;
            return levels[l].tiles;
        }
    return NULL;
}

static const struct level *best_level(void)
{
    size_t l = ARRAY_LEN(levels);

    while (l-- > 0)
        if (!levels[l].asked && runs(&levels[l]))
            break;
    return &levels[l]; /* the plainest runs everywhere */
}

static const struct level *named_level(const char *name, struct err *e)
{
    for (size_t l = 0; l < ARRAY_LEN(levels); l++) {
        if (strcmp(levels[l].name, name) != 0)
            continue;
        if (!levels[l].k)
            err_set(e, E_DEVICE, "RILL_CPU=%s: not in this build", name);
        else if (!levels[l].here())
            err_set(e, E_DEVICE, "RILL_CPU=%s: this machine cannot run it", name);
        else
            return &levels[l];
        return NULL;
    }
    err_set(
        e, E_USAGE,
        "RILL_CPU=%s: expected scalar, avx2, avxvnni, avx512, avx512-bf16, amx, amx-emulated or "
        "neon",
        name);
    return NULL;
}

const struct cpu_kernels *cpu_detect(const struct cpu_tiles **tiles, struct err *e)
{
    const char *name = getenv("RILL_CPU");
    const struct level *l = name && *name ? named_level(name, e) : best_level();

    if (tiles)
        *tiles = l ? l->tiles : NULL;
    return l ? l->k : NULL;
}
