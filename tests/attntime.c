/* attntime.c - what attention takes when many sequences begin alike: attntime [SEQUENCES
 * [POSITIONS]]
 *
 * One layer of 32 query heads of 64 columns, one row a sequence, in one thread; for several counts
 * of key/value heads. Beside each other: all sequences on the same pages, each on pages of its own,
 * and one sequence alone times their number. Processor time, the best of some runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/rng.h"
#include "plan/backend.h"
#include "quant/quant.h"

enum { HEADS = 32, COLS = 64, BEST_OF = 4 };

extern const struct backend cpu_backend;

struct layer {
    struct plan plan;
    struct op op;
    struct value value[2];
    struct kv_layer kv;
    struct kv_group group;
    struct segment seg;
    uint64_t at[2];
    struct dev *dev;
    int n_seq, n_pos;
    int32_t *id, *seq, *pos, *alike;
    struct seq_in *seqs;
};

static void need(int rc, const struct err *e)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "attntime: %s\n", e->text);
    exit(4);
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void open_layer(struct layer *l, int n_kv, int n_seq, int n_pos)
{
    const int pages = (n_pos + KV_PAGE - 1) / KV_PAGE;
    const uint64_t bytes = (uint64_t)KV_PAGE * (uint64_t)n_kv * COLS * 2 * 2;
    const uint64_t cols = HEADS * COLS;
    struct rng r = {.seed = 1};
    struct err e = {0};
    uint16_t *pool;

    *l = (struct layer){.n_seq = n_seq, .n_pos = n_pos};
    l->kv = (struct kv_layer){0, n_kv, COLS, COLS, 0};
    l->group = (struct kv_group){0, 1, (uint32_t)bytes};
    l->value[0] = l->value[1] = (struct value){.rows = ROWS_T, .cols = HEADS * COLS};
    l->op = (struct op){.kind = OP_attn, .out = {{1, 0, HEADS * COLS}, {-1, 0, 0}}};
    for (int i = 0; i < 4; i++)
        l->op.in[i] = (struct ref){i ? -1 : 0, 0, i ? 0 : HEADS * COLS};
    for (int i = 0; i < 12; i++)
        l->op.w[i] = -1;
    l->op.a.attn =
        (struct attn_args){.n_head = HEADS, .n_kv = n_kv, .dk = COLS, .dv = COLS, .scale = 0.125f};
    l->plan = (struct plan){.op = &l->op,
                            .n_op = 1,
                            .value = l->value,
                            .n_value = 2,
                            .kv = &l->kv,
                            .n_kv = 1,
                            .group = &l->group,
                            .n_group = 1,
                            .kv_type_k = FMT_F16,
                            .kv_type_v = FMT_F16,
                            .logits = -1,
                            .hidden = -1,
                            .n_ctx = n_pos};
    l->seg = (struct segment){.plan = &l->plan, .to = 1, .max_t = n_seq, .max_s = 1, .at = l->at};
    l->at[1] = (uint64_t)n_seq * cols * sizeof(float);
    l->seg.kv.max_seq = n_seq;
    l->seg.kv.max_page = pages;
    need(cpu_backend.open(&l->dev, "1", &e), &e);
    need(cpu_backend.mem(l->dev, 2 * l->at[1], MEM_DEVICE, NULL, &l->seg.arena, &e), &e);
    need(cpu_backend.mem(l->dev, (1 + (uint64_t)n_seq * (uint64_t)pages) * bytes, MEM_DEVICE, NULL,
                         &l->seg.kv.pool, &e),
         &e);
    need(cpu_backend.mem(l->dev, (uint64_t)n_seq * (uint64_t)pages * 4, MEM_DEVICE, NULL,
                         &l->seg.kv.table, &e),
         &e);
    for (uint64_t i = 0; i < (uint64_t)n_seq * cols; i++)
        ((float *)l->seg.arena.p)[i] = (float)rng_next_normal(&r);
    pool = l->seg.kv.pool.p;
    for (uint64_t i = 0; i < l->seg.kv.pool.bytes / 2; i++)
        pool[i] = (uint16_t)(0x3000 | ((i * 2654435761u) >> 7 & 0x8fff)); // +- 0.125 to 1
    l->id = mem_array((uint64_t)n_seq, sizeof *l->id, &e);
    l->seq = mem_array((uint64_t)n_seq, sizeof *l->seq, &e);
    l->pos = mem_array((uint64_t)n_seq, sizeof *l->pos, &e);
    l->alike = mem_array((uint64_t)n_seq, sizeof *l->alike, &e);
    l->seqs = mem_array((uint64_t)n_seq, sizeof *l->seqs, &e);
    for (int i = 0; i < n_seq; i++) {
        l->seq[i] = i;
        l->pos[i] = n_pos - 1;
        l->seqs[i] = (struct seq_in){.slot = i, .len = n_pos, .state_read = -1, .state_write = -1};
    }
    need(cpu_backend.prepare(l->dev, &l->seg, &e), &e);
}

static void close_layer(struct layer *l)
{
    l->seg.to = 0;
    cpu_backend.prepare(l->dev, &l->seg, NULL);
    cpu_backend.unmem(l->dev, &l->seg.arena);
    cpu_backend.unmem(l->dev, &l->seg.kv.pool);
    cpu_backend.unmem(l->dev, &l->seg.kv.table);
    cpu_backend.close(l->dev);
    mem_free(l->id);
    mem_free(l->seq);
    mem_free(l->pos);
    mem_free(l->alike);
    mem_free(l->seqs);
}

/* Milliseconds of a step of n rows, whose pages are the same or not. */
static double step(struct layer *l, int n, bool same)
{
    const int pages = l->seg.kv.max_page;
    const int32_t kib = (int32_t)(l->group.bytes / 1024);
    struct batch b = {.n_g = n,
                      .n_seq = n,
                      .id = l->id,
                      .seq = l->seq,
                      .pos = l->pos,
                      .alike = l->alike,
                      .seqs = l->seqs};
    int32_t *table = l->seg.kv.table.p;
    double best = 1e9;

    for (int q = 0; q < n; q++) {
        l->alike[q] = same ? pages : 0;
        for (int i = 0; i < pages; i++)
            table[q * pages + i] = (1 + (same ? i : q * pages + i)) * kib;
    }
    for (int k = 0; k < BEST_OF; k++) {
        double t = seconds();

        cpu_backend.wait(l->dev, cpu_backend.run(l->dev, &l->seg, &b));
        t = seconds() - t;
        best = t < best ? t : best;
    }
    return 1e3 * best;
}

int main(int argc, char **argv)
{
    const int n_seq = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 64;
    const int n_pos = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 4096;
    struct layer l;

    if (n_seq < 1 || n_seq > 1024 || n_pos < 1 || n_pos > 65536) {
        fprintf(stderr, "usage: attntime [SEQUENCES [POSITIONS]]\n");
        return 2;
    }
    printf("%d sequences of %d positions, %d heads of %d: ms of processor time\n", n_seq, n_pos,
           HEADS, COLS);
    printf("%8s %9s %9s %12s %7s %7s %9s\n", "kv heads", "together", "apart", "times one", "/apart",
           "/one", "Gmac/s");
    for (int n_kv = 4; n_kv <= HEADS; n_kv *= 2) {
        double same, apart, one, macs = 2.0 * n_seq * n_pos * HEADS * COLS;

        open_layer(&l, n_kv, n_seq, n_pos);
        same = step(&l, n_seq, true);
        apart = step(&l, n_seq, false);
        one = step(&l, 1, true) * n_seq;
        printf("%8d %9.2f %9.2f %12.2f %7.2f %7.2f %9.1f\n", n_kv, same, apart, one, apart / same,
               one / same, macs / same / 1e6);
        close_layer(&l);
    }
    return 0;
}
