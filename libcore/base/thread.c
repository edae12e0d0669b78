/* thread.c - see thread.h. */
#define _GNU_SOURCE
#include "thread.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "mem.h"

/* A member that waits spins this often (about 50 us on a 2.5 GHz machine, longer than any gap
 * between two operations of a plan) before it sleeps. With more threads than processors spinning
 * only keeps the others from working, so the count is 1 then. */
#define SPIN_COUNT 2000

struct member {
    struct team *team;
    pthread_t thread;
    int id;
    bool started;
};

struct team {
    int n;
    int spin;
    void (*fn)(void *arg, int member, int n);
    void *arg;
    bool stop;
    _Alignas(64) atomic_uint start;  // counts calls
    _Alignas(64) atomic_uint done;   // members that have finished this call
    _Alignas(64) atomic_uint here;   // members at the barrier
    _Alignas(64) atomic_uint phase;  // counts barriers passed
    atomic_int sleepers;
    struct member m[];
};

static void relax(void)
{
#if defined(__SSE2__)
    _mm_pause();
#endif
}

static void futex_wait(atomic_uint *w, unsigned seen)
{
    syscall(SYS_futex, w, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(atomic_uint *w)
{
    syscall(SYS_futex, w, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Returns when *w is no longer seen. */
static void wait_change(struct team *t, atomic_uint *w, unsigned seen)
{
    for (int i = 0; i < t->spin; i++) {
        if (atomic_load_explicit(w, memory_order_acquire) != seen)
            return;
        relax();
    }
    atomic_fetch_add(&t->sleepers, 1);
    while (atomic_load(w) == seen)
        futex_wait(w, seen);
    atomic_fetch_sub(&t->sleepers, 1);
}

static void change(struct team *t, atomic_uint *w, unsigned value)
{
    atomic_store(w, value);
    if (atomic_load(&t->sleepers) > 0)
        futex_wake(w);
}

static void finish(struct team *t)
{
    unsigned all = (unsigned)t->n;

    if (atomic_fetch_add(&t->done, 1) + 1 == all && atomic_load(&t->sleepers) > 0)
        futex_wake(&t->done);
}

static void *member_main(void *arg)
{
    struct member *m = arg;
    struct team *t = m->team;
    unsigned seen = 0;

    thread_ftz();
    for (;;) {
        wait_change(t, &t->start, seen);
        seen = atomic_load(&t->start);
        if (t->stop)
            return NULL;
        t->fn(t->arg, m->id, t->n);
        finish(t);
    }
}

int team_new(struct team **out, int n, struct err *e)
{
    struct team *t;

    if (n < 1 || n > 1024)
        return err_set(e, E_RANGE, "%d threads: must be 1 to 1024", n);
    t = mem_aligned(sizeof *t + (size_t)n * sizeof *t->m, 64, e);
    if (!t)
        return E_NOMEM;
    t->n = n;
    t->spin = n <= thread_cpus() ? SPIN_COUNT : 1;
    for (int i = 1; i < n; i++) {
        t->m[i].team = t;
        t->m[i].id = i;
        if (pthread_create(&t->m[i].thread, NULL, member_main, &t->m[i]) != 0) {
            team_free(t);
            return err_set(e, E_BUSY, "cannot start thread %d of %d", i + 1, n);
        }
        t->m[i].started = true;
    }
    *out = t;
    return 0;
}

void team_free(struct team *t)
{
    if (!t)
        return;
    t->stop = true;
    change(t, &t->start, atomic_load(&t->start) + 1);
    for (int i = 1; i < t->n; i++)
        if (t->m[i].started)
            pthread_join(t->m[i].thread, NULL);
    mem_free(t);
}

int team_size(const struct team *t)
{
    return t->n;
}

void team_run(struct team *t, void (*fn)(void *arg, int member, int n), void *arg)
{
    unsigned left;

    if (t->n == 1) {
        fn(arg, 0, 1);
        return;
    }
    t->fn = fn;
    t->arg = arg;
    atomic_store(&t->done, 0);
    change(t, &t->start, atomic_load(&t->start) + 1);
    fn(arg, 0, t->n);
    finish(t);
    while ((left = atomic_load_explicit(&t->done, memory_order_acquire)) != (unsigned)t->n)
        wait_change(t, &t->done, left);
}

void team_barrier(struct team *t)
{
    unsigned phase = atomic_load(&t->phase);

    if (t->n == 1)
        return;
    if (atomic_fetch_add(&t->here, 1) + 1 == (unsigned)t->n) {
        atomic_store(&t->here, 0);
        change(t, &t->phase, phase + 1);
        return;
    }
    wait_change(t, &t->phase, phase);
}

int thread_cpus(void)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
    return 1;
}

void thread_ieee(void)
{
#if defined(__SSE2__)
    _mm_setcsr(_mm_getcsr() & ~0x8040u);
#endif
}

void thread_ftz(void)
{
#if defined(__SSE2__)
    _mm_setcsr(_mm_getcsr() | 0x8040); // FTZ is bit 15, DAZ bit 6 of MXCSR
#endif
}
