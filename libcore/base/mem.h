/* mem.h - allocation, checked size arithmetic, and the hooks by which tests make both fail.
 *
 * All memory of libcore and kernels comes from here. Memory is zeroed.
 */
#ifndef RILL_BASE_MEM_H
#define RILL_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

#define ARRAY_LEN(a)          (sizeof(a) / sizeof *(a))
#define CONTAINER_OF(p, t, m) ((t *)((char *)(p)-offsetof(t, m)))
#if defined(__GNUC__)
#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#else
#define likely(x)   (x)
#define unlikely(x) (x)
#endif

/* Zeroed memory; NULL and *e filled (E_NOMEM) on failure. Zero bytes give a valid pointer. */
void *mem_new(size_t bytes, struct err *e);
void *mem_array(uint64_t n, size_t size, struct err *e); // n * size, checked
/* Grows or shrinks p (NULL: new) to n * size bytes; new bytes beyond old_n * size are zeroed. On
 * failure p is untouched and NULL is returned. */
void *mem_resize(void *p, uint64_t old_n, uint64_t n, size_t size, struct err *e);
void *mem_dup(const void *p, size_t bytes, struct err *e); // a copy, with one NUL byte behind it
/* Aligned to align (a power of two, at least 64); released with mem_free as well. */
void *mem_aligned(uint64_t bytes, size_t align, struct err *e);
void mem_free(void *p);
/* Large zeroed memory, aligned to 4096, that the system gives page by page as it is touched;
 * mem_unpages(p, the same bytes) gives it back. */
void *mem_pages(uint64_t bytes, struct err *e);
void mem_unpages(void *p, uint64_t bytes); // accepts NULL

/* *out = a * b or a + b; false when that does not fit. */
static inline bool mul_ok(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool add_ok(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
/* Rounds n up to a multiple of align (a power of two); false on overflow. */
static inline bool pad_ok(uint64_t n, uint64_t align, uint64_t *out)
{
    if (!add_ok(n, align - 1, out))
        return false;
    *out &= ~(align - 1);
    return true;
}

/* Test hooks. mem_fail_after(n): the n-th allocation from now (0: the next) fails, once; n < 0
 * turns that off. mem_fail_hit(): whether it has failed. mem_guard(true) on a thread: any
 * allocation by this thread aborts the process until mem_guard(false) (a step of the engine must
 * not allocate). */
void mem_fail_after(long n);
bool mem_fail_hit(void);
bool mem_guard(bool on); // returns the earlier setting

#endif
