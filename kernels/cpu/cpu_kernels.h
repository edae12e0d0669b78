/* cpu_kernels.h - the table of functions an instruction-set level provides.
 *
 * Each isa_<level>.c compiles the .inc files once with its own flags and exports one table. All
 * functions are pure: no allocation, no errors, no state. Rows are contiguous unless a stride is
 * given; sizes are in elements, strides of packed data in bytes.
 */
#ifndef RILL_KERNELS_CPU_KERNELS_H
#define RILL_KERNELS_CPU_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define CPU_FMT_MAX 48 // ids of quant/quant.h are below this

/* Matrix times vectors for one weight format (linear.inc). */
struct cpu_dot {
    /* Bytes of a row of n inputs in the form the format reads (f32, or int8 with scales). */
    size_t (*packed)(int64_t n);
    /* Rounds one row of n inputs to that form, once per input whatever reads it. */
    void (*pack)(const float *restrict x, int64_t n, void *restrict out);
    /* y[i*ldy + r] = w[r,:] . x[i,:] for r in [r0, r1), i in [0, n_x). w: rows of row_bytes;
     * x: packed rows of x_bytes. A result depends in no bit on n_x, r0 or r1. */
    void (*rows)(float *restrict y, int64_t ldy, const void *restrict w, size_t row_bytes,
                 const void *restrict x, size_t x_bytes, int64_t n, int64_t r0, int64_t r1,
                 int64_t n_x);
    const char *name; // "q4_0: avx512vnni"
};

#endif
