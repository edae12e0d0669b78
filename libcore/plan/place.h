/* place.h - a plan dealt out over devices: who runs each record, what must be moved between, and
 * which part of a page each device has.
 *
 * Layers go to devices in order, so many to each; the experts' matrices of all layers may go to one
 * of their own. Key/value layers lie where kv_store runs; attention over them runs there too.
 *
 * Knows records and values. Knows no device: a number stands for one.
 */
#ifndef RILL_PLAN_PLACE_H
#define RILL_PLAN_PLACE_H

#include "plan/plan.h"

#define PLACE_MAX   8
#define PLACE_WHOLE 65536u // a share of 1

struct place_rule {
    int n;                     // devices
    int32_t layers[PLACE_MAX]; // of each; -1: an equal part of what the others leave
    int experts;               // device of moe_glu and moe_down; -1: their layer's
};

/* Before a run: all rows of a value go from one device's memory to another's. */
struct place_move {
    int32_t value;
    uint8_t from, to;
};

/* Records [from, to) that one device runs, after moves [move, move + n_move). */
struct place_run {
    int32_t from, to;
    int32_t move, n_move;
    uint8_t device;
};

struct placing {
    struct place_run *run;
    struct place_move *move;
    int n_run, n_move;
    uint8_t *owner; // [n_value] where the last record has left it
};

/* The device of every record: device[n_op]. */
int place_records(const struct plan *p, const struct place_rule *r, uint8_t *device, struct err *e);

/* Runs and moves of records [from, to). */
int place_segment(struct placing **out, const struct plan *p, const uint8_t *device, int32_t from,
                  int32_t to, struct err *e);
void placing_free(struct placing *p); // accepts NULL

/* What part of a page, of any group, is whose: share[n], PLACE_WHOLE being all of it. A page at b
 * KiB with k KiB lies on a device at place_kib(b), and its rows of that device's layers fit
 * place_kib(k). Pages grow by some KiB where this does not come out even. */
int place_pages(struct plan *p, const uint8_t *device, int n, uint32_t *share, struct err *e);
uint64_t place_kib(uint64_t kib, uint32_t share);

/* The key/value layers of one device in its part of a page: sets at of those that are its own.
 * kv: a copy of p's. */
void place_layers(const struct plan *p, const uint8_t *device, int mine, struct kv_layer *kv);

#endif
