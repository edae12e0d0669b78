/* test_cpu.c - the CPU backend's manners: opening, memory, refusals, and how often its team meets.
 */
#include "kernels/cpu/prep.h"
#include "kernels/registry.h"
#include "tests/kernels/rig.h"

#define NONE ((struct ref){-1, 0, 0})

/* A layer as llama has it: norm, q k v, rotation, store, attention, output, norm, gate, down. */
static struct ref add_layer(struct rig *r, struct ref x, int fmt, bool sum)
{
    const int d = x.cols, dk = 32, heads = 8, n_kv = 2, f = 512;
    struct attn_args a = {.n_head = heads, .n_kv = n_kv, .dk = dk, .dv = dk, .scale = 0.2f};
    struct rope_args rot = {.n_head = heads,
                            .head_in = dk,
                            .head_out = dk,
                            .n_rot = dk,
                            .mode = ROPE_NEOX,
                            .base = 1e4f,
                            .freq_scale = 1.0f};
    struct ref n = rig_value(r, ROWS_T, d), qkv = rig_value(r, ROWS_T, (heads + 2 * n_kv) * dk);
    struct ref q = rig_value(r, ROWS_T, heads * dk), k = rig_value(r, ROWS_T, n_kv * dk);
    struct ref y = rig_value(r, ROWS_T, heads * dk), g = rig_value(r, ROWS_T, f), o;
    struct op *op = rig_op(r, OP_rmsnorm, n, x);

    op->w[0] = (int16_t)rig_vec(r, d);
    op->a.norm.eps = 1e-5f;
    op = rig_op(r, OP_linear_multi, qkv, n);
    op->w[0] = (int16_t)rig_weight_at(r, fmt, 1, heads * dk, d, 0.1, 0);
    op->w[1] = (int16_t)rig_weight_at(r, fmt, 1, n_kv * dk, d, 0.1, 0);
    op->w[2] = (int16_t)rig_weight_at(r, fmt, 1, n_kv * dk, d, 0.1, 0);
    op = rig_op(r, OP_rope, q, rig_cols(qkv, 0, heads * dk));
    op->a.rope = rot;
    op = rig_op(r, OP_rope, k, rig_cols(qkv, heads * dk, n_kv * dk));
    op->a.rope = rot;
    op->a.rope.n_head = n_kv;
    a.kv = rig_kv(r, n_kv, dk, dk, 0);
    op = rig_op(r, OP_kv_store, NONE, k);
    op->in[1] = rig_cols(qkv, (heads + n_kv) * dk, n_kv * dk);
    op->a.attn = a;
    op = rig_op(r, OP_attn, y, q);
    op->a.attn = a;
    o = rig_linear(r, y, d, fmt);
    r->op[r->p.n_op - 1].in[1] = sum ? x : NONE;
    op = rig_op(r, OP_rmsnorm, n, o);
    op->w[0] = (int16_t)rig_vec(r, d);
    op->a.norm.eps = 1e-5f;
    op = rig_op(r, OP_glu, g, n);
    op->act = ACT_SILU;
    op->w[0] = (int16_t)rig_weight_at(r, fmt, 1, f, d, 0.1, 0);
    op->w[1] = (int16_t)rig_weight_at(r, fmt, 1, f, d, 0.1, 0);
    x = rig_linear(r, g, d, fmt);
    r->op[r->p.n_op - 1].in[1] = sum ? o : NONE;
    return x;
}

static struct rig *small_model(int fmt)
{
    struct rig *r = rig_new(3);
    struct ref x = rig_embed(r, 256);

    r->n_seq = 1;
    r->len[0] = 40;
    r->p.kv_type_k = r->p.kv_type_v = FMT_F16;
    x = add_layer(r, x, fmt, true);
    add_layer(r, x, fmt, true);
    return r;
}

struct bench {
    struct rig *r;
    struct dev *d;
    struct segment s;
    uint64_t at[RIG_OPS];
    struct rows rows;
    struct batch batch;
};

/* A model prepared on some threads, and its whole sequence as one batch. */
static struct bench *bench_on(struct rig *r, const char *threads)
{
    struct bench *b = mem_new(sizeof *b, NULL);
    struct schedule *all = schedule_new(r, RIG_LEN, true);
    struct err e = {0};

    b->r = r;
    b->s = (struct segment){.plan = &r->p, .to = r->p.n_op, .max_t = 40, .max_s = 1, .at = b->at};
    ck_ok(cpu_backend.open(&b->d, threads, &e), &e);
    ck_ok(cpu_backend.mem(b->d, rig_arena(r, 40, b->at), MEM_DEVICE, NULL, &b->s.arena, &e), &e);
    rig_kv_bind(r, b->d, &b->s);
    b->batch = make_batch(r, all, 0, &b->rows);
    mem_free(all);
    return b;
}

static struct bench *bench_new(struct rig *r)
{
    return bench_on(r, "2");
}

static void bench_free(struct bench *b)
{
    b->s.to = b->s.from;
    cpu_backend.prepare(b->d, &b->s, NULL);
    cpu_backend.unmem(b->d, &b->s.arena);
    cpu_backend.unmem(b->d, &b->s.kv.pool);
    cpu_backend.unmem(b->d, &b->s.kv.table);
    cpu_backend.unmem(b->d, &b->s.kv.state);
    cpu_backend.close(b->d);
    rig_free(b->r);
    mem_free(b);
}

static int barriers(const struct segment *s)
{
    const struct cpu_seg *g = s->impl;
    int n = 0;

    for (int i = 0; i < g->n_step; i++)
        n += g->step[i].barrier;
    return n;
}

/* Both layers together, less one alone: what a further layer costs. */
START_TEST(a_layer_meets_ten_times)
{
    struct bench *b = bench_new(small_model(FMT_Q8_0));
    struct err e = {0};
    int both, first;

    ck_ok(cpu_backend.prepare(b->d, &b->s, &e), &e);
    both = barriers(&b->s);
    b->s.to = 1 + (b->s.to - 1) / 2;
    ck_ok(cpu_backend.prepare(b->d, &b->s, &e), &e);
    first = barriers(&b->s);
    ck_assert_int_eq(both - first, 10);
    bench_free(b);
}
END_TEST

/* Pieces of matrices go to whoever comes, more threads than processors among them. */
START_TEST(up_to_64_threads_change_no_bit)
{
    static const char *const threads[] = {"1", "2", "7", "64"};
    uint8_t *first = NULL;

    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        for (int again = 0; again < 2; again++) {
            struct bench *b = bench_on(small_model(FMT_Q4_K), threads[i]);
            struct err e = {0};

            ck_ok(cpu_backend.prepare(b->d, &b->s, &e), &e);
            ck_assert_int_ge(cpu_backend.run(b->d, &b->s, &b->batch), 0);
            ck_assert_int_ge(cpu_backend.run(b->d, &b->s, &b->batch), 0);
            if (!first)
                first = mem_dup(b->s.arena.p, b->s.arena.bytes, &e);
            ck_assert_mem_eq(first, b->s.arena.p, b->s.arena.bytes);
            bench_free(b);
        }
    mem_free(first);
}
END_TEST

START_TEST(a_run_allocates_nothing)
{
    struct bench *b = bench_new(small_model(FMT_Q8_0));
    struct err e = {0};

    ck_ok(cpu_backend.prepare(b->d, &b->s, &e), &e);
    mem_guard(true);
    ck_assert_int_ge(cpu_backend.run(b->d, &b->s, &b->batch), 0);
    mem_guard(false);
    bench_free(b);
}
END_TEST

START_TEST(kernels_are_named)
{
    struct bench *b = bench_new(small_model(FMT_Q8_0));
    struct err e = {0};

    ck_ok(cpu_backend.prepare(b->d, &b->s, &e), &e);
    for (int i = 0; i < b->s.to; i++)
        ck_assert_ptr_nonnull(b->s.kernel[i]);
    ck_assert_ptr_nonnull(strstr(b->s.kernel[2], "Q8_0"));
    bench_free(b);
}
END_TEST

START_TEST(prepare_survives_every_failing_allocation)
{
    struct bench *b = bench_new(small_model(FMT_Q8_0));
    struct err e = {0};
    int rc = E_NOMEM, n = 0;

    for (; rc != 0 && n < 100; n++) {
        e = (struct err){0};
        mem_fail_after(n);
        rc = cpu_backend.prepare(b->d, &b->s, &e);
        mem_fail_after(-1);
        ck_assert(rc == 0 || (rc == E_NOMEM && e.code == E_NOMEM && !b->s.impl && !b->s.kernel));
    }
    ck_assert_int_gt(n, 5);
    ck_assert_int_ge(cpu_backend.run(b->d, &b->s, &b->batch), 0);
    bench_free(b);
}
END_TEST

START_TEST(open_survives_every_failing_allocation)
{
    struct err e = {0};
    struct dev *d = NULL;
    int rc = E_NOMEM;

    for (int n = 0; rc != 0 && n < 10; n++) {
        e = (struct err){0};
        mem_fail_after(n);
        rc = cpu_backend.open(&d, "2", &e);
        mem_fail_after(-1);
        ck_assert(rc == 0 || rc == E_NOMEM);
    }
    ck_assert_int_eq(rc, 0);
    cpu_backend.close(d);
}
END_TEST

static void refuse(struct bench *b, const struct batch *bad)
{
    ck_assert_int_eq(cpu_backend.run(b->d, &b->s, bad), E_RANGE);
}

START_TEST(a_batch_with_a_wrong_number_is_refused)
{
    struct bench *b = bench_new(small_model(FMT_F32));
    struct batch bad = b->batch;
    struct err e = {0};
    int32_t out[1] = {40}, keep;

    ck_ok(cpu_backend.prepare(b->d, &b->s, &e), &e);
    bad.n_p = 41;
    refuse(b, &bad);
    bad = b->batch;
    bad.n_out = 1;
    bad.out = out;
    refuse(b, &bad);
    keep = b->rows.id[5];
    b->rows.id[5] = RIG_VOCAB;
    refuse(b, &b->batch);
    b->rows.id[5] = -1; // no sampling happens here: there is no last draw
    refuse(b, &b->batch);
    b->rows.id[5] = ID_EMBD;
    refuse(b, &b->batch);
    b->rows.id[5] = keep;
    b->rows.pos[7] = b->s.kv.max_page * KV_PAGE;
    refuse(b, &b->batch);
    b->rows.pos[7] = -1;
    refuse(b, &b->batch);
    b->rows.pos[7] = 7;
    b->rows.seq[0] = 1;
    refuse(b, &b->batch);
    b->rows.seq[0] = 0;
    b->rows.seqs[0].slot = b->s.kv.max_seq;
    refuse(b, &b->batch);
    b->rows.seqs[0].slot = 0;
    ck_assert_int_ge(cpu_backend.run(b->d, &b->s, &b->batch), 0);
    bench_free(b);
}
END_TEST

START_TEST(embeddings_take_the_place_of_tokens)
{
    struct rig *r = rig_new(9);
    struct bench *b;
    struct err e = {0};
    float *embd = mem_array(40 * 48, sizeof *embd, NULL), *row;

    r->n_seq = 1;
    r->len[0] = 40;
    rig_embed(r, 48);
    r->op[0].a.lin.scale = 7.0f;
    b = bench_new(r);
    for (int i = 0; i < 40 * 48; i++)
        embd[i] = (float)i;
    b->rows.id[3] = ID_EMBD;
    b->batch.embd = embd;
    ck_ok(cpu_backend.prepare(b->d, &b->s, &e), &e);
    ck_assert_int_ge(cpu_backend.run(b->d, &b->s, &b->batch), 0);
    row = (float *)b->s.arena.p + 3 * 48;
    ck_assert_mem_eq(row, embd + 3 * 48, 48 * sizeof(float));
    row = (float *)b->s.arena.p + 4 * 48;
    ck_assert_float_eq(row[0], 7.0f * ((float *)r->w[0].part[0].p)[rig_token(0, 4) * 48]);
    mem_free(embd);
    bench_free(b);
}
END_TEST

/* Rotary positions of their own: every row turned as the fifth is. */
START_TEST(rotary_positions_may_differ_from_places)
{
    struct rig *r = rig_new(11);
    struct ref x = rig_embed(r, 64), y = rig_value(r, ROWS_T, 64);
    struct op *op = rig_op(r, OP_rope, y, x);
    int32_t rpos[40][4];
    float tab[64], want[64];
    struct bench *b;
    struct err e = {0};

    op->a.rope = (struct rope_args){.n_head = 2,
                                    .head_in = 32,
                                    .head_out = 32,
                                    .n_rot = 32,
                                    .mode = ROPE_NEOX,
                                    .base = 1e4f,
                                    .freq_scale = 1.0f};
    r->n_seq = 1;
    r->len[0] = 40;
    b = bench_new(r);
    for (int t = 0; t < 40; t++)
        rpos[t][0] = rpos[t][1] = rpos[t][2] = rpos[t][3] = 5;
    b->batch.rpos = (const int32_t(*)[4])rpos;
    ck_ok(cpu_backend.prepare(b->d, &b->s, &e), &e);
    ck_assert_int_ge(cpu_backend.run(b->d, &b->s, &b->batch), 0);
    memcpy(tab,
           ((struct cpu_seg *)b->s.impl)->scratch + ((struct cpu_seg *)b->s.impl)->slot_at[PACKS],
           sizeof tab);
    for (int t = 0; t < 40; t++) {
        const float *in = (float *)b->s.arena.p + t * 64;
        const float *out = (float *)((char *)b->s.arena.p + b->at[y.v]) + t * 64;
        b->d->k->rope(want, in, tab, &op->a.rope);
        ck_assert_mem_eq(out, want, sizeof want);
    }
    bench_free(b);
}
END_TEST

START_TEST(records_that_make_no_sense_are_refused)
{
    struct bench *b = bench_new(small_model(FMT_F32));
    struct err e = {0};

    b->r->op[1].a.norm.group = 7;
    ck_fails(cpu_backend.prepare(b->d, &b->s, &e), &e, E_UNSUPPORTED, "record 1");
    b->r->op[1].a.norm.group = 0;
    e = (struct err){0};
    b->r->p.kv_type_v = FMT_Q4_K;
    ck_fails(cpu_backend.prepare(b->d, &b->s, &e), &e, E_UNSUPPORTED, "Q8_0 or Q4_0");
    b->r->p.kv_type_v = FMT_F16;
    e = (struct err){0};
    b->r->w[b->r->op[2].w[1]].rows = 63;
    ck_fails(cpu_backend.prepare(b->d, &b->s, &e), &e, E_UNSUPPORTED, "as wide");
    b->r->w[b->r->op[2].w[1]].rows = 64;
    e = (struct err){0};
    b->r->w[b->r->op[2].w[1]].fmt = FMT_ID_END + 1;
    ck_fails(cpu_backend.prepare(b->d, &b->s, &e), &e, E_UNSUPPORTED, "no kernel");
    ck_fails(cpu_backend.load(b->d, &b->r->w[b->r->op[2].w[1]], &e), &e, E_UNSUPPORTED,
             "no kernel");
    b->r->w[b->r->op[2].w[1]].fmt = FMT_F32;
    e = (struct err){0};
    ck_ok(cpu_backend.prepare(b->d, &b->s, &e), &e);
    bench_free(b);
}
END_TEST

START_TEST(opening)
{
    struct err e = {0};
    struct dev_info info;
    struct dev *d;

    ck_fails(cpu_backend.open(&d, "0", &e), &e, E_USAGE, "cpu:0");
    e = (struct err){0};
    ck_fails(cpu_backend.open(&d, "two", &e), &e, E_USAGE, "number of threads");
    e = (struct err){0};
    setenv("RILL_CPU", "sse9", 1);
    ck_fails(cpu_backend.open(&d, "", &e), &e, E_USAGE, "sse9");
    e = (struct err){0};
    setenv("RILL_CPU", cpu_level(0)->name, 1);
    ck_ok(cpu_backend.open(&d, "3", &e), &e);
    cpu_backend.info(d, &info);
    ck_assert_int_eq(info.units, 3);
    ck_assert(info.host && !info.samples && info.bytes_total > 0);
    ck_assert_str_eq(info.name, "cpu: scalar, 3 threads");
    cpu_backend.close(d);
    cpu_backend.close(NULL);
}
END_TEST

START_TEST(memory)
{
    struct err e = {0};
    struct dev *d;
    struct mem a, b;
    char mine[64] = "abc";

    ck_ok(cpu_backend.open(&d, "1", &e), &e);
    ck_ok(cpu_backend.mem(d, 64, MEM_DEVICE, NULL, &a, &e), &e);
    ck_ok(cpu_backend.mem(d, 64, MEM_HOST, mine, &b, &e), &e);
    ck_assert(a.host && !a.adopted && b.adopted && b.p == mine);
    for (int i = 0; i < 64; i++)
        ck_assert_int_eq(((char *)a.p)[i], 0);
    ck_assert_int_eq(cpu_backend.copy(d, a, 60, b, 0, 4), 0);
    ck_assert_str_eq((char *)a.p + 60, "abc");
    ck_assert_int_eq(cpu_backend.copy(d, a, 61, b, 0, 4), E_RANGE);
    ck_assert_int_eq(cpu_backend.copy(d, a, 0, b, UINT64_MAX, 4), E_RANGE);
    cpu_backend.unmem(d, &a);
    cpu_backend.unmem(d, &b);
    ck_assert_str_eq(mine, "abc");
    cpu_backend.close(d);
}
END_TEST

START_TEST(devices_by_name)
{
    const char *spec;
    struct err e = {0};

    ck_assert_ptr_eq(backend_find("cpu", &spec, &e), &cpu_backend);
    ck_assert_str_eq(spec, "");
    ck_assert_ptr_eq(backend_find("cpu:4", &spec, &e), &cpu_backend);
    ck_assert_str_eq(spec, "4");
    ck_assert_ptr_nonnull(backend_find(NULL, &spec, &e));
    ck_assert_ptr_null(backend_find("gpu", &spec, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "gpu"));
}
END_TEST

/* Logits that are no numbers choose experts all the same, each once. */
START_TEST(hostile_logits_choose_valid_experts)
{
    const float bad[8] = {
        __builtin_nanf(""), -__builtin_inff(), __builtin_inff(), 0, 0, -3.4e38f, 1, 1};
    const struct moe_args a = {.n_expert = 8, .n_used = 8, .n_group = 4, .n_group_used = 1};
    float w[8], tmp[16];
    int32_t id[8];

    for (int l = 0; cpu_level(l); l++)
        for (int gate = GATE_SOFTMAX; gate <= GATE_SOFTMAX_TOPK; gate++) {
            struct moe_args m = a;
            unsigned seen = 0;

            m.gate = gate;
            cpu_level(l)->route(id, w, bad, NULL, tmp, &m);
            for (int i = 0; i < 8; i++) {
                ck_assert(id[i] >= 0 && id[i] < 8);
                seen |= 1u << id[i];
            }
            ck_assert_uint_eq(seen, 255);
        }
}
END_TEST

START_TEST(equal_experts_go_by_number)
{
    const float logits[6] = {1, 2, 2, 0, 2, 1};
    const struct moe_args a = {.n_expert = 6, .n_used = 4, .gate = GATE_SOFTMAX_TOPK};
    static const int32_t want[4] = {1, 2, 4, 0};
    float w[4], tmp[12];
    int32_t id[4];

    for (int l = 0; cpu_level(l); l++) {
        cpu_level(l)->route(id, w, logits, NULL, tmp, &a);
        ck_assert_mem_eq(id, want, sizeof want);
    }
}
END_TEST

TEST_MAIN("kernels/cpu", a_layer_meets_ten_times, up_to_64_threads_change_no_bit,
          a_run_allocates_nothing, kernels_are_named,
          prepare_survives_every_failing_allocation, open_survives_every_failing_allocation,
          a_batch_with_a_wrong_number_is_refused, embeddings_take_the_place_of_tokens,
          rotary_positions_may_differ_from_places, records_that_make_no_sense_are_refused, opening,
          memory, devices_by_name, hostile_logits_choose_valid_experts, equal_experts_go_by_number)
