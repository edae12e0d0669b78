/* mem.c - see mem.h. Holds the only mutable state of libcore: the failure hook and the guard. */
#include "mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static atomic_long fail_left = -1;
static atomic_bool fail_done;
static _Thread_local bool guarded;

static bool refused(void)
{
    if (unlikely(guarded)) {
        fputs("rill: allocation inside a guarded step\n", stderr);
        abort();
    }
    if (likely(atomic_load_explicit(&fail_left, memory_order_relaxed) < 0))
        return false;
    if (atomic_fetch_sub(&fail_left, 1) != 0)
        return false;
    atomic_store(&fail_done, true);
    return true;
}

void *mem_new(size_t bytes, struct err *e)
{
    void *p = refused() ? NULL : calloc(1, bytes ? bytes : 1);

    if (!p)
        err_nomem(e, bytes);
    return p;
}

void *mem_array(uint64_t n, size_t size, struct err *e)
{
    uint64_t bytes;

    if (!mul_ok(n, size, &bytes) || bytes > SIZE_MAX / 2) {
        err_nomem(e, UINT64_MAX);
        return NULL;
    }
    return mem_new((size_t)bytes, e);
}

void *mem_resize(void *p, uint64_t old_n, uint64_t n, size_t size, struct err *e)
{
    uint64_t bytes;
    char *q = NULL;

    if (mul_ok(n, size, &bytes) && bytes <= SIZE_MAX / 2 && !refused())
        q = realloc(p, bytes ? (size_t)bytes : 1);
    if (!q) {
        err_nomem(e, bytes);
        return NULL;
    }
    if (n > old_n)
        memset(q + old_n * size, 0, (n - old_n) * size);
    return q;
}

void *mem_dup(const void *p, size_t bytes, struct err *e)
{
    char *q = bytes < SIZE_MAX / 2 ? mem_new(bytes + 1, e) : NULL;

    if (q && bytes)
        memcpy(q, p, bytes);
    return q;
}

void *mem_aligned(uint64_t bytes, size_t align, struct err *e)
{
    uint64_t n;
    void *p = NULL;

    if (pad_ok(bytes ? bytes : 1, align, &n) && n <= SIZE_MAX / 2 && !refused())
        p = aligned_alloc(align, (size_t)n);
    if (!p) {
        err_nomem(e, bytes);
        return NULL;
    }
    memset(p, 0, (size_t)n);
    return p;
}

void mem_free(void *p)
{
    free(p);
}

#if defined(__SANITIZE_ADDRESS__)
#define PAGES_FROM_HEAP 1 // where the sanitizer sees what lies past their end
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PAGES_FROM_HEAP 1
#endif
#endif

#ifdef PAGES_FROM_HEAP
void *mem_pages(uint64_t bytes, struct err *e)
{
    return mem_aligned(bytes, 4096, e);
}

void mem_unpages(void *p, uint64_t bytes)
{
    (void)bytes;
    mem_free(p);
}
#else
/* Huge pages where there is enough: key/value memory and scratch are read all over. */
void *mem_pages(uint64_t bytes, struct err *e)
{
    const size_t huge = (size_t)2 << 20;
    void *p = MAP_FAILED;

    bytes = bytes ? bytes : 1;
    if (bytes <= SIZE_MAX / 2 && !refused())
        p = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        err_nomem(e, bytes);
        return NULL;
    }
    if (bytes >= 8 * huge)
        (void)madvise(p, (size_t)bytes, MADV_HUGEPAGE); // a wish
    return p;
}

void mem_unpages(void *p, uint64_t bytes)
{
    if (p)
        munmap(p, (size_t)(bytes ? bytes : 1));
}
#endif

void mem_fail_after(long n)
{
    atomic_store(&fail_done, false);
    atomic_store(&fail_left, n);
}

bool mem_fail_hit(void)
{
    return atomic_load(&fail_done);
}

bool mem_guard(bool on)
{
    bool was = guarded;

    guarded = on;
    return was;
}
