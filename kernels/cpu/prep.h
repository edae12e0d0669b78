/* prep.h - what turning records into steps is done with (prepare.c), for those who do it (lower.c).
 *
 * Errors are sticky: after the first one rc is set, and everything may be called on, for nothing.
 */
#ifndef RILL_KERNELS_CPU_PREP_H
#define RILL_KERNELS_CPU_PREP_H

#include "kernels/cpu/cpu.h"

#define SLOTS_MAX 64
#define TOUCH_MAX 256
#define PACKS     4 // inputs kept packed at a time

enum space { IN_ARENA, IN_SLOT, IN_KV };

struct touch {
    int space;
    uint64_t lo, hi;    // bytes of the arena; otherwise a number and the one after it
    int32_t col0, col1; // columns of a value
    uint32_t key;       // equal keys: the same rows lie in the same places
    uint8_t by;         // how rows are dealt out: 0 not by rows, else 1 + enum row_kind
    bool write;
};

struct packed {
    struct ref ref;
    void (*pack)(const float *restrict x, int64_t n, void *restrict out); // NULL: for tiles
    cpu_fn *by; // the step that packs: of all rows, or of some
    struct cpu_input x;
    int slot;
    uint32_t key;
    bool valid;
};

struct table {
    struct rope_args a;
    int16_t factors;
    int slot;
};

struct prep {
    struct segment *s;
    const struct plan *p;
    const struct cpu_kernels *k;
    const struct cpu_tiles *tiles;
    struct cpu_seg *g;
    struct err *e;
    int rc;
    int n_member, cap;
    uint64_t slot_bytes[SLOTS_MAX];
    struct touch touch[TOUCH_MAX];
    int n_touch, n_old; // [0, n_old): of steps since the last meeting; the rest: of this step
    struct packed pack[PACKS];
    int turn;
    uint32_t key;
    int32_t sorted; // value of ids that the order slot holds, -1: none
    int sort_slot, part_slot;
    struct table table[SLOTS_MAX];
    int n_table;
    uint64_t own;
};

/* A refusal: "cpu: record 12: what". prep_want: what must be true; false after any error. */
void prep_fail(struct prep *p, int code, const char *what, const struct op *op);
bool prep_want(struct prep *p, bool good, const struct op *op, const char *what);

/* Scratch: bytes of each member's own; a slot that all share; floats that live with the segment. */
void prep_own(struct prep *p, uint64_t bytes);
int prep_new_slot(struct prep *p, uint64_t bytes);
void prep_grow_slot(struct prep *p, int slot, uint64_t bytes);
float *prep_keep(struct prep *p, uint64_t n);

/* A weight as plain floats: itself when it is F32, else converted. NULL for -1; *n may be NULL. */
const float *prep_vector(struct prep *p, int w, int64_t *n);
/* Adds weight w, with its bias or -1, to the step's matrices. */
void prep_matrix(struct prep *p, struct cpu_step *s, int w, int bias);

/* The largest number of rows, and how they are dealt out (for prep_touch_*). */
int64_t prep_max_rows(const struct prep *p, int rows);
uint8_t prep_by_rows(int rows);

/* A step: begun, told what it touches, ended. prep_by_row and prep_by_column begin one that reads
 * all inputs of the record and writes its outputs. */
struct cpu_step *prep_begin(struct prep *p, cpu_fn *fn, const struct op *op);
struct cpu_step *prep_by_row(struct prep *p, cpu_fn *fn, const struct op *op);
struct cpu_step *prep_by_column(struct prep *p, cpu_fn *fn, const struct op *op);
void prep_end(struct prep *p, struct cpu_step *s);
void prep_touch_value(struct prep *p, struct ref r, uint8_t by,
                      bool write); // by: prep_by_rows or 0
void prep_touch_slot(struct prep *p, int slot, uint32_t key, uint8_t by, bool write);
void prep_touch_kv(struct prep *p, int32_t layer, bool write, uint8_t by);

/* Whether a matrix reads values as they are. */
bool prep_reads_plain(const struct prep *p, const struct cpu_mat *m);
/* in[0] in the form that matrix w wants, by a step if need be; *key names it. */
struct cpu_input prep_input_for(struct prep *p, const struct op *op, int w, uint32_t *key);
/* Whether some matrix of the plan has its prompt rows rounded: then attention may too. */
bool prep_rounds(const struct prep *p);
/* The inputs of a step whose prompt rows may go a second path, for the record's first n_w weights.
 * To be called before the step begins; prep_use tells the step, and what it touches. */
struct prep_inputs {
    const struct cpu_tiles *tiles; // NULL: no second path
    struct cpu_input x, xt;
    uint32_t key, key_t;
};
struct prep_inputs prep_inputs_for(struct prep *p, const struct op *op, int n_w);
void prep_use(struct prep *p, struct cpu_step *s, const struct prep_inputs *in);
/* For a step that has its inputs: its prompt rows' results go to `to`, packed, where that is all
 * that is read of them. */
void prep_result(struct prep *p, struct cpu_step *s);
/* A place for an input packed in some other way; stays the caller's until PACKS - 1 others came. */
int prep_pack_slot(struct prep *p);

/* Makes a record's steps (lower.c). */
bool cpu_lowers(int kind);
void cpu_lower(struct prep *p, const struct op *op);

#endif
