/* test_place.c - records, values and pages dealt out over devices. */
#include "tests/suite.h"

#include "base/mem.h"
#include "plan/place.h"
#include "quant/quant.h"

#define NONE ((struct ref){-1, 0, 0})

enum { LAYERS = 4, OPS = 2 + 3 * LAYERS, COLS = 8 };

/* embed; per layer kv_store, attn, moe_glu; linear. Value i is written by record i, and read by the
 * next; the last reads the first's too. */
struct made {
    struct plan p;
    struct op op[OPS];
    struct value value[OPS];
    struct kv_layer kv[LAYERS];
    struct kv_group group[2];
};

static struct op *add(struct made *m, int kind, int layer)
{
    struct op *op = &m->op[m->p.n_op];

    *op = (struct op){.kind = (uint8_t)kind, .layer = (int16_t)layer, .out = {NONE, NONE}};
    for (int i = 0; i < 4; i++)
        op->in[i] = NONE;
    for (int i = 0; i < 12; i++)
        op->w[i] = -1;
    op->out[0] = (struct ref){m->p.n_op, 0, COLS};
    if (m->p.n_op)
        op->in[0] = (struct ref){m->p.n_op - 1, 0, COLS};
    m->value[m->p.n_op].cols = COLS;
    m->p.n_op++;
    return op;
}

static void make(struct made *m)
{
    *m = (struct made){0};
    m->p = (struct plan){.op = m->op,
                         .value = m->value,
                         .kv = m->kv,
                         .group = m->group,
                         .n_kv = LAYERS,
                         .n_group = 2,
                         .n_value = OPS};
    add(m, OP_embed, -1);
    for (int l = 0; l < LAYERS; l++) {
        m->kv[l] = (struct kv_layer){.group = l % 2, .n_kv = 1 + l % 2, .dk = 64, .dv = 64};
        add(m, OP_kv_store, l)->a.attn.kv = l;
        add(m, OP_attn, l)->a.attn.kv = l;
        add(m, OP_moe_glu, l);
    }
    add(m, OP_linear, -1)->in[1] = (struct ref){0, 0, COLS};
    ck_assert_int_eq(plan_kv_layout(&m->p, FMT_F16, FMT_F16, NULL), 0);
}

START_TEST(layers_go_in_order)
{
    static const struct {
        struct place_rule rule;
        const char *layers; // the device of each layer, of what is before and behind
    } cases[] = {
        {{1, {-1}, -1}, "000000"},      {{2, {-1, -1}, -1}, "000111"},
        {{2, {1, -1}, -1}, "001111"},   {{2, {-1, 3}, -1}, "001111"},
        {{2, {-1, 99}, -1}, "111111"},  {{3, {-1, -1, -1}, -1}, "000122"},
        {{3, {1, 1, 2}, -1}, "001222"}, {{2, {4, -1}, -1}, "000000"},
    };
    struct made m;
    uint8_t device[OPS];

    make(&m);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ck_assert_int_eq(place_records(&m.p, &cases[i].rule, device, NULL), 0);
        for (int l = 0; l < LAYERS; l++)
            for (int k = 0; k < 3; k++)
                ck_assert_msg(device[1 + 3 * l + k] == cases[i].layers[1 + l] - '0',
                              "case %d, layer %d: %d", (int)i, l, device[1 + 3 * l + k]);
        ck_assert_int_eq(device[0], cases[i].layers[0] - '0');
        ck_assert_int_eq(device[OPS - 1], cases[i].layers[5] - '0');
    }
}
END_TEST

START_TEST(too_few_places_are_told)
{
    const struct place_rule rule = {2, {1, 2}, -1};
    struct made m;
    uint8_t device[OPS];
    struct err e = {0};

    make(&m);
    ck_assert_int_eq(place_records(&m.p, &rule, device, &e), E_RANGE);
    ck_assert_str_eq(e.text, "1 of 4 layers are on no device");
}
END_TEST

/* Layer 3 looks at the keys of layer 0: there its attention runs. */
START_TEST(experts_and_keys_have_their_place)
{
    const struct place_rule rule = {2, {2, 2}, 0};
    struct made m;
    uint8_t device[OPS];

    make(&m);
    m.op[1 + 3 * 3 + 1].a.attn.kv = 0;
    ck_assert_int_eq(place_records(&m.p, &rule, device, NULL), 0);
    for (int l = 0; l < LAYERS; l++) {
        ck_assert_int_eq(device[1 + 3 * l], l / 2);
        ck_assert_int_eq(device[1 + 3 * l + 1], l == 3 ? 0 : l / 2);
        ck_assert_int_eq(device[1 + 3 * l + 2], 0);
    }
}
END_TEST

START_TEST(values_move_when_they_must)
{
    const struct place_rule rule = {2, {2, 2}, -1};
    struct placing *s;
    struct made m;
    uint8_t device[OPS];

    make(&m);
    ck_assert_int_eq(place_records(&m.p, &rule, device, NULL), 0);
    ck_assert_int_eq(place_segment(&s, &m.p, device, 0, OPS, NULL), 0);
    ck_assert_int_eq(s->n_run, 2);
    ck_assert_int_eq(s->run[0].to, 7);
    ck_assert_int_eq(s->run[1].from, 7);
    ck_assert_int_eq(s->run[0].n_move, 0);
    ck_assert_int_eq(s->run[1].n_move, 2); // what the last record before left, and the first's
    ck_assert_int_eq(s->move[0].value, 6);
    ck_assert_int_eq(s->move[1].value, 0);
    ck_assert_int_eq(s->move[1].from, 0);
    ck_assert_int_eq(s->move[1].to, 1);
    ck_assert_int_eq(s->owner[OPS - 1], 1);
    ck_assert_int_eq(s->owner[3], 0);
    placing_free(s);
    /* half of a value written here, the other half there: the first half comes along */
    m.op[7].out[0] = (struct ref){6, 0, COLS / 2};
    m.op[7].in[0] = NONE;
    ck_assert_int_eq(place_segment(&s, &m.p, device, 0, OPS, NULL), 0);
    ck_assert_int_eq(s->move[0].value, 6);
    placing_free(s);
}
END_TEST

/* Every page of every group: parts of different pages, and of a page, never overlap; each device's
 * layers fit its part, and all parts fit the page. */
START_TEST(pages_are_cut_in_proportion)
{
    static const struct place_rule rules[] = {{2, {1, 3}, -1},
                                              {2, {2, 2}, -1},
                                              {3, {1, 1, 2}, -1},
                                              {2, {4, 0}, -1},
                                              {4, {1, 1, 1, 1}, -1}};

    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        struct made m;
        uint8_t device[OPS];
        uint32_t share[PLACE_MAX];

        make(&m);
        ck_assert_int_eq(place_records(&m.p, &rules[i], device, NULL), 0);
        ck_assert_int_eq(place_pages(&m.p, device, rules[i].n, share, NULL), 0);
        for (int g = 0; g < 2; g++) {
            const uint64_t kib = m.p.group[g].bytes / 1024;
            uint64_t parts = 0;

            for (int d = 0; d < rules[i].n; d++) {
                struct kv_layer kv[LAYERS];
                uint64_t end = 0;

                memcpy(kv, m.kv, sizeof kv);
                place_layers(&m.p, device, d, kv);
                for (int l = 0; l < LAYERS; l++) {
                    const uint64_t bytes = KV_PAGE * 4 * 64 * (uint64_t)kv[l].n_kv;
                    if (kv[l].group != g || device[1 + 3 * l] != d)
                        continue;
                    ck_assert_uint_eq(kv[l].at, end);
                    end += bytes;
                }
                ck_assert_uint_le(end, place_kib(kib, share[d]) * 1024);
                parts += place_kib(kib, share[d]);
                for (uint64_t at = 0; at < 100000; at += 777)
                    ck_assert_uint_le(place_kib(at, share[d]) + place_kib(kib, share[d]),
                                      place_kib(at + kib, share[d]));
            }
            ck_assert_uint_le(parts, kib);
        }
    }
}
END_TEST

TEST_MAIN("plan/place", layers_go_in_order, too_few_places_are_told,
          experts_and_keys_have_their_place, values_move_when_they_must,
          pages_are_cut_in_proportion)
