/* simt.cc - runs a block's threads as fibers; see simt.h.
 *
 * Blocks run one after the other, each to its end. Those of a launch that wants them together are
 * all there at once, and take turns in an order of the seed: each a turn, or each as far as it
 * comes. A thread that waits for another block spins; when all blocks do nothing else, the program
 * ends with a sentence.
 */
#include "tests/simt/simt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "quant/half.h"
#include "tests/simt/simt_run.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define BEFORE_SWITCH(keep, stack, n) __sanitizer_start_switch_fiber(keep, stack, n)
#define AFTER_SWITCH(kept, stack, n)  __sanitizer_finish_switch_fiber(kept, stack, n)
#else
#define BEFORE_SWITCH(keep, stack, n) ((void)(keep), (void)(stack), (void)(n))
#define AFTER_SWITCH(kept, stack, n)  ((void)(kept), (void)(stack), (void)(n))
#endif

enum { MAX_THREADS = 1024, LANES = 32, STACK = 64 << 10, MARKS = 64, SHARED_MAX = 227 << 10 };
enum { MAX_BLOCKS = 16 }; // together

enum state { READY, WAITS, DONE };

struct fiber {
    void *sp;
    char *stack;
    void *fake;
    enum state state;
    enum simt_meet what;
    struct simt_word word;
#if !defined(__x86_64__)
    ucontext_t context;
#endif
};

struct simt_place simt_now;
uint64_t simt_seed;
long simt_launches;
uint32_t simt_shared_most = 227 << 10;
uint32_t simt_first[3];
extern "C" {
void (*simt_told)(int32_t *p);
}

/* Of the block whose turn it is. */
static struct fiber *fiber; // [MAX_THREADS]
static char *shared;        // [SHARED_MAX + MARKS]
static bool moved;          // somebody did something else than look whether he may go on

static struct fiber home; // the scheduler
static struct fiber *self;
static const void *home_stack;
static size_t home_bytes;
static const struct rt_launch *now;

/* -- switching -- */

#if defined(__x86_64__)
asm(".text\n"
    "simt_switch:\n"
    "push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
    "mov %rsp, (%rdi)\n mov %rsi, %rsp\n"
    "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n");
extern "C" void simt_switch(void **save, void *to) asm("simt_switch");

static void begin(struct fiber *f, void (*fn)(void))
{
    void **sp = (void **)(f->stack + STACK) - 2;

    *sp = (void *)fn; // where ret goes; the stack is then as after a call
    sp -= 6;
    memset(sp, 0, 6 * sizeof *sp);
    f->sp = sp;
}

static void change(struct fiber *from, struct fiber *to)
{
    simt_switch(&from->sp, to->sp);
}
#else
static void begin(struct fiber *f, void (*fn)(void))
{
    ucontext_t *c = &f->context;

    getcontext(c);
    c->uc_stack.ss_sp = f->stack;
    c->uc_stack.ss_size = STACK;
    c->uc_link = NULL;
    makecontext(c, fn, 0);
}

static void change(struct fiber *from, struct fiber *to)
{
    swapcontext(&from->context, &to->context);
}
#endif

/* The order in which a warp's lanes run: turn i is lane (first + i * step) of it, step odd. */
static struct {
    struct fiber *warp;
    uint32_t first, step, i;
} order;

/* The next lane that can run, or the scheduler when this turn is over. */
static struct fiber *next(void)
{
    while (order.i < LANES) {
        struct fiber *f = &order.warp[(order.first + order.i++ * order.step) % LANES];
        if (f->state == READY)
            return f;
    }
    return &home;
}

static void go_on(struct fiber *from, bool ended)
{
    struct fiber *to = next();

    if (to != &home) {
        self = to;
        simt_now.thread.x = (uint32_t)(to - fiber);
        BEFORE_SWITCH(ended ? NULL : &from->fake, to->stack, STACK);
    } else {
        BEFORE_SWITCH(ended ? NULL : &from->fake, home_stack, home_bytes);
    }
    if (to != from)
        change(from, to);
    AFTER_SWITCH(from->fake, NULL, NULL);
}

static void thread_main(void)
{
    const void *stack = NULL;
    size_t bytes = 0;

    AFTER_SWITCH(NULL, &stack, &bytes);
    if (!home_stack) { // the first of all was started by the scheduler
        home_stack = stack;
        home_bytes = bytes;
    }
    now->k->call(now->args);
    self->state = DONE;
    moved = true;
    go_on(self, true);
}

/* Every lane of a warp that can run does, until it meets others. */
static void run_lanes(struct fiber *warp, uint32_t first, uint32_t step)
{
    order = {warp, first, step, 0};
    go_on(&home, false);
}

struct simt_word simt_meet(enum simt_meet what, struct simt_word mine)
{
    struct fiber *me = self;

    me->what = what;
    me->word = mine;
    me->state = WAITS;
    moved = moved || what != MEET_SPIN;
    go_on(me, false);
    return me->word;
}

char *simt_shared(void)
{
    return shared;
}

/* -- a block -- */

[[noreturn]] static void broken(const char *why, int thread)
{
    fprintf(stderr, "simt: %s, block %u %u %u, thread %d: %s\n", now->k->name, simt_now.block.x,
            simt_now.block.y, simt_now.block.z, thread, why);
    abort();
}

/* -- copies that nobody waits for yet -- */

struct copy {
    void *to, *bar;
    const void *from;
    uint32_t n;
    int group;
};

/* Of each thread, and those of the copy engine, which a barrier counts. */
enum { MAX_COPIES = 256, MAX_BULK = 4096 };
struct list {
    struct copy *copy; // [most]
    int n, most, group;
};
static struct list *own, *bulk; // [MAX_THREADS] and one, of the block whose turn it is

/* Barriers are words of shared memory: bytes that are to come, the turn, whether some are. */
struct barrier {
    uint32_t bytes : 30, turn : 1, open : 1;
    uint32_t sign;
};
static_assert(sizeof(struct barrier) == 8, "as large as on a device");
static const uint32_t barrier_sign = 0x62617272;

void simt_copy(void *to, const void *from, uint32_t n, void *bar)
{
    struct list *l = bar ? bulk : &own[self - fiber];

    if (l->n == l->most || (uintptr_t)to % 16 || (uintptr_t)from % 16 || n % 16 ||
        (char *)to < shared || (char *)to + n > shared + now->shared)
        broken("a copy no device makes", (int)(self - fiber));
    l->copy[l->n++] = {to, bar, from, n, l->group};
}

static void do_copy(struct list *l, int i)
{
    memcpy(l->copy[i].to, l->copy[i].from, l->copy[i].n);
    l->copy[i] = l->copy[--l->n];
}

void simt_copies_group(void)
{
    own[self - fiber].group++;
}

void simt_copies_wait(int left)
{
    struct list *l = &own[self - fiber];

    for (int i = l->n - 1; i >= 0; i--)
        if (l->copy[i].group < l->group - left)
            do_copy(l, i);
}

static struct barrier *barrier_at(void *bar)
{
    struct barrier *b = (struct barrier *)bar;

    if (b->sign != barrier_sign)
        broken("a barrier that was never opened", (int)(self - fiber));
    return b;
}

void simt_bulk_open(void *bar)
{
    *(struct barrier *)bar = {0, 0, 0, barrier_sign};
}

void simt_bulk_expect(void *bar, uint32_t bytes)
{
    struct barrier *b = barrier_at(bar);

    if (b->open)
        broken("a barrier's bytes are said twice", (int)(self - fiber));
    b->open = 1;
    b->bytes = bytes & 0x3fffffffu;
}

/* Whoever comes first has the copies made; nothing on its way is waited for in vain. */
void simt_bulk_wait(void *bar, uint32_t turn)
{
    struct barrier *b = barrier_at(bar);
    uint32_t bytes = 0;

    if (b->turn != turn)
        return;
    for (int i = bulk->n - 1; i >= 0; i--)
        if (bulk->copy[i].bar == bar) {
            bytes += bulk->copy[i].n;
            do_copy(bulk, i);
        }
    if (!b->open || bytes != b->bytes)
        broken("it waits for bytes that never come", (int)(self - fiber));
    b->open = 0;
    b->turn ^= 1;
}

static void butterflies(float *a)
{
    float b[LANES];

    for (int m = LANES / 2; m; m /= 2) {
        for (int l = 0; l < LANES; l++)
            b[l] = a[l] + a[l ^ m];
        memcpy(a, b, sizeof b);
    }
}

static void chains(struct fiber *f)
{
    const int width = f[0].word.width;

    for (int k = 0; k < f[0].word.i; k++)
        for (int l = 0; l < LANES; l++)
            for (int i = 0; i < width; i++)
                f[l].word.sums[k] += f[l / width * width + i].word.add[k];
}

/* C += A B with A of 16 rows and B of 8 columns, which lie in the lanes as ptx.cuh says. */
static void multiply(struct fiber *f)
{
    const int depth = f[0].word.i;
    int8_t a[16][32], b[8][32];

    for (int l = 0; l < LANES; l++)
        for (int h = 0; h < depth / 16; h++) {
            memcpy(&a[l / 4][16 * h + l % 4 * 4], (const int *)f[l].word.a + 2 * h, 4);
            memcpy(&a[l / 4 + 8][16 * h + l % 4 * 4], (const int *)f[l].word.a + 2 * h + 1, 4);
            memcpy(&b[l / 4][16 * h + l % 4 * 4], (const int *)f[l].word.b + h, 4);
        }
    for (int l = 0; l < LANES; l++)
        for (int k = 0; k < 4; k++) {
            int sum = 0;
            for (int i = 0; i < depth; i++)
                sum += a[l / 4 + k / 2 * 8][i] * b[l % 4 * 2 + k % 2][i];
            ((int *)f[l].word.c)[k] += sum;
        }
}

static double of_half(const void *words, int i, bool f16)
{
    uint16_t half[2];

    memcpy(half, (const char *)words + i / 2 * 4, sizeof half);
    return (double)(f16 ? f16_to_f32(half[i % 2]) : bf16_to_f32(half[i % 2]));
}

/* The same of bf16 or f16, which a device rounds and adds in an order of its own. */
static void multiply_halves(struct fiber *f)
{
    const bool f16 = f[0].word.i == 1;
    double a[16][16], b[8][16];

    for (int l = 0; l < LANES; l++)
        for (int i = 0; i < 8; i++) {
            const int k = i / 4 * 8 + l % 4 * 2 + i % 2; // words: rows g, g + 8, and 8 columns on
            a[l / 4 + i / 2 % 2 * 8][k] = of_half(f[l].word.a, i, f16);
            if (i < 4)
                b[l / 4][i / 2 * 8 + l % 4 * 2 + i % 2] = of_half(f[l].word.b, i, f16);
        }
    for (int l = 0; l < LANES; l++)
        for (int k = 0; k < 4; k++) {
            float *c = (float *)f[l].word.c + k;
            double sum = 0.0;
            for (int i = 0; i < 16; i++)
                sum += a[l / 4 + k / 2 * 8][i] * b[l % 4 * 2 + k % 2][i];
            *c = (float)((double)*c + sum);
        }
}

/* Matrices of 8 by 8 out of shared memory: rows of 16 bytes that the lanes name. */
static void load_matrices(struct fiber *f)
{
    const int n = f[0].word.i;

    for (int i = 0; i < n; i++) {
        uint16_t m[8][8];

        for (int r = 0; r < 8; r++) {
            const char *from = (const char *)f[8 * i + r].word.a;
            if ((uintptr_t)from % 16 || from < shared || from + 16 > shared + now->shared)
                broken("a row of a matrix no device loads", (int)(f - fiber) + 8 * i + r);
            memcpy(m[r], from, 16);
        }
        for (int l = 0; l < LANES; l++) {
            const int g = l / 4, t = l % 4 * 2;
            uint16_t two[2] = {m[g][t], m[g][t + 1]};

            if (f[0].word.width)
                two[0] = m[t][g], two[1] = m[t + 1][g];
            memcpy((uint32_t *)f[l].word.c + i, two, sizeof two);
        }
    }
}

static void quads(struct fiber *f)
{
    for (int l = 0; l < LANES; l += 4) {
        float top = f[l].word.f;

        for (int i = 1; i < 4; i++)
            top = fmaxf(top, f[l + i].word.f);
        for (int i = 0; i < 4; i++)
            f[l + i].word.f = top;
    }
}

static void same(struct fiber *f)
{
    int x[LANES];

    for (int l = 0; l < LANES; l++)
        x[l] = f[l].word.i;
    for (int l = 0; l < LANES; l++) {
        unsigned lanes = 0;

        for (int i = 0; i < LANES; i++)
            lanes |= x[i] == x[l] ? 1u << i : 0;
        f[l].word.i = (int)lanes;
    }
}

/* What all lanes brought, by butterflies as the device has them. */
static void exchange(struct fiber *f, enum simt_meet what)
{
    switch (what) {
    case MEET_CHAINS:
        chains(f);
        return;
    case MEET_MMA:
        f[0].word.i > 1 ? multiply(f) : multiply_halves(f);
        return;
    case MEET_LOAD:
        load_matrices(f);
        return;
    case MEET_QUAD:
        quads(f);
        return;
    case MEET_SAME:
        same(f);
        return;
    default:
        break;
    }
    const int n = what == MEET_SUM && f[0].word.sums ? f[0].word.i : 1;
    float a[LANES], top = f[0].word.f;
    int most = f[0].word.i;
    unsigned sum = 0; // wraps, as on the device

    for (int l = 0; l < LANES; l++) {
        sum += (unsigned)f[l].word.i;
        most = f[l].word.i > most ? f[l].word.i : most;
        top = fmaxf(top, f[l].word.f);
    }
    for (int k = 0; k < n && what == MEET_SUM; k++) {
        for (int l = 0; l < LANES; l++)
            a[l] = f[l].word.sums ? f[l].word.sums[k] : f[l].word.f;
        butterflies(a);
        for (int l = 0; l < LANES; l++)
            *(f[l].word.sums ? &f[l].word.sums[k] : &f[l].word.f) = a[l];
    }
    for (int l = 0; l < LANES && what != MEET_SUM; l++) {
        f[l].word.f = top;
        f[l].word.i = what == MEET_SUM_INT ? (int)sum : most;
    }
}

/* Runs a warp until all its lanes are done, at the block's barrier, or wait for a lane that spins;
 * the lanes begin with `first` and each lane's number grows by an odd step. */
static void run_warp(int w, uint32_t first, uint32_t step)
{
    struct fiber *f = &fiber[w * LANES];

    for (;;) {
        int waits = 0, spins = 0;
        run_lanes(f, first, step);
        for (int l = 0; l < LANES; l++) {
            spins += f[l].state == WAITS && f[l].what == MEET_SPIN;
            waits += f[l].state == WAITS && f[l].what != MEET_BLOCK;
        }
        if (!waits || spins)
            return;
        for (int l = 0; l < LANES; l++)
            if (f[l].state != WAITS || f[l].what != f[0].what)
                broken("a lane is missing where its warp meets", w * LANES + l);
        if (f[0].what != MEET_WARP)
            exchange(f, f[0].what);
        for (int l = 0; l < LANES; l++)
            f[l].state = READY;
    }
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 31) * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9u;
    return x ^ x >> 32;
}

/* A block that has begun. */
static struct block {
    struct fiber fiber[MAX_THREADS];
    struct list own[MAX_THREADS], bulk;
    struct copy own_copy[MAX_THREADS][MAX_COPIES], bulk_copy[MAX_BULK];
    alignas(16) char shared[SHARED_MAX + MARKS];
    struct simt_dim at;
    uint64_t turn;
    bool done;
} * block[MAX_BLOCKS];

static void stand_in(struct block *b)
{
    fiber = b->fiber;
    own = b->own;
    bulk = &b->bulk;
    shared = b->shared;
    simt_now.block = b->at;
}

static void *pages(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        abort();
    return p;
}

static void begin_block(int k, struct simt_dim at, int n)
{
    if (!block[k])
        block[k] = (struct block *)pages(sizeof *block[k]);
    block[k]->at = at;
    block[k]->turn = 0;
    block[k]->done = false;
    stand_in(block[k]);
    memset(shared, 0xff, now->shared);
    *bulk = {block[k]->bulk_copy, 0, MAX_BULK, 0};
    memset(shared + now->shared, 0xa5, MARKS);
    for (int i = 0; i < n; i++) {
        if (!fiber[i].stack) // 832: at equal distances they would share a few sets of the cache
            fiber[i].stack = (char *)pages(STACK + 64 * 832) + i % 64 * 832;
        fiber[i].state = READY;
        begin(&fiber[i], thread_main);
        own[i] = {block[k]->own_copy[i], 0, MAX_COPIES, 0};
    }
}

static void end_block(struct block *b, int n)
{
    for (int i = 0; i < MARKS; i++)
        if (shared[now->shared + i] != (char)0xa5)
            broken("wrote behind its shared memory", 0);
    for (int i = 0; i < n; i++)
        if (own[i].n || bulk->n)
            broken("it ended before its copies", i);
    b->done = true;
}

/* Every warp once, as far as it comes by itself. */
static void run_turn(struct block *b, int n)
{
    const uint64_t r = mix(simt_seed * 977 + b->turn++ * 31 + b->at.x + 1);
    const int n_warp = n / LANES;
    int done = 0, waits = 0, spins = 0;

    stand_in(b);
    for (int i = 0; i < n_warp; i++)
        run_warp((int)((r + (uint64_t)i * (simt_seed % 2 ? (uint64_t)n_warp - 1 : 1)) %
                       (uint64_t)n_warp),
                 (uint32_t)(r >> 8) % LANES, (uint32_t)(r >> 16) | 1);
    for (int i = 0; i < n; i++) {
        done += fiber[i].state == DONE;
        waits += fiber[i].state == WAITS;
        if (fiber[i].state == WAITS && fiber[i].what == MEET_SPIN) {
            spins++;
            fiber[i].state = READY;
        }
    }
    if (done == n)
        end_block(b, n);
    if (done == n || spins)
        return;
    if (waits != n)
        for (int i = 0; i < n; i++)
            if (fiber[i].state == DONE)
                broken("it ended, others wait at a barrier", i);
    for (int i = 0; i < n; i++)
        fiber[i].state = READY;
}

/* Blocks that are there at once. */
static void run_together(int g, int n)
{
    int done = 0;

    for (int k = 0; k < g; k++)
        begin_block(k, {(uint32_t)k, 0, 0}, n);
    for (uint64_t round = 0; done < g; round++) {
        const uint64_t r = mix(simt_seed * 31 + round);
        bool any = false;

        for (int i = 0; i < g; i++) {
            struct block *b = block[(r + (uint64_t)i * (g % 2 || r >> 40 & 1 ? 1 : g - 1)) % g];
            do {
                moved = false;
                if (!b->done)
                    run_turn(b, n);
                done += moved && b->done;
                any = any || moved;
            } while (moved && !b->done && simt_seed % 3);
        }
        if (!any)
            broken("all blocks wait for what none of them will do", 0);
    }
}

void simt_run(const struct rt_launch *l)
{
    const int n = (int)l->block;

    now = l;
    simt_launches++;
    if (l->block == 0 || l->block > MAX_THREADS || l->block % LANES ||
        l->shared > simt_shared_most || l->grid[1] > 65535 || l->grid[2] > 65535 || !l->grid[0] ||
        !l->grid[1] || !l->grid[2])
        broken("a launch no device takes", 0);
    simt_now.block_dim = {l->block, 1, 1};
    simt_now.grid = {l->grid[0], l->grid[1], l->grid[2]};
    if (l->k->together) {
        if (l->grid[0] > MAX_BLOCKS || l->grid[1] != 1 || l->grid[2] != 1)
            broken("more blocks than can be there at once", 0);
        run_together((int)l->grid[0], n);
        return;
    }
    for (uint32_t z = simt_first[2]; z < l->grid[2]; z++)
        for (uint32_t y = simt_first[1]; y < l->grid[1]; y++)
            for (uint32_t x = simt_first[0]; x < l->grid[0]; x++) {
                begin_block(0, {x, y, z}, n);
                while (!block[0]->done)
                    run_turn(block[0], n);
            }
}
