/* backend.h - what a device must be able to do. Declared here, by the room that calls it.
 *
 * Records are data in the plan, so a new kind never widens this. Order of use: open; mem, load;
 * prepare; then run and wait per step; unmem; close. All device memory is taken before the first
 * run. What is enqueued happens in the order of the calls. One thread at a time.
 */
#ifndef RILL_PLAN_BACKEND_H
#define RILL_PLAN_BACKEND_H

#include "plan/batch.h"
#include "plan/plan.h"

struct dev; // a backend's own

struct dev_info {
    char name[64];          // "cpu: avx512, 2 threads"
    uint64_t bytes_total;
    uint64_t bytes_free;
    int32_t units;          // threads, multiprocessors
    bool samples;           // can run a sampling plan
    bool host;              // its memory is host memory
    char pages[64];         // how pages are dealt out, where more than the backend's name says
    char level[24];         // of instructions, where results differ by it
};

/* Where key/value pages and recurrent state live. */
struct kv_bind {
    struct mem pool;        // pages of all groups
    struct mem table;       // int32 [n_group][max_seq][max_page]: a page's place in KiB, 0: scratch
    int32_t max_seq;
    int32_t max_page;
    struct mem state;       // [slots][plan.state_bytes]
};

#define LORA_RANK 512 // the largest rank of an adapter's matrices

/* An adapter: for weight i of the plan the pair mat[i], rank 0 where it has none. */
struct lora_mat {
    const float *a; // [rank x columns of the weight]
    const float *b; // [rows of the weight x rank]
    int32_t rank;
    float scale;
};
struct lora_slot {
    const struct lora_mat *mat; // [plan.n_w]; NULL: no adapter here
    const float *const *dir;    // [layers] what is added behind each, NULL: nothing; NULL: none
};

/* A run of a plan's records on one device, with the memory they use. */
struct segment {
    const struct plan *plan;
    int32_t from, to;       // records [from, to)
    int32_t max_t, max_s;   // the largest batch
    struct mem arena;
    const uint64_t *at;     // [n_value] byte offset of each value in the arena
    struct kv_bind kv;
    const struct lora_slot *lora; // [n_lora] may change between runs
    int32_t n_lora;
    bool keeps;             // set by prepare: what a slot drew last may be a row's token (batch.id)
    int32_t in_a_row;       // set by prepare: steps of one row that the device makes in one go, 0:
                            // it cannot
    bool one_path;          // set by prepare: a row gives the same bits as a prompt row and as a
                            // generated one, whatever the batch
    const char **kernel;    // [to - from] set by prepare, for people: the kernel of each record
    void *impl;             // made by prepare; prepare with to == from frees it and kernel
};

/* A draw from a row of logits; engine/sampler.h says what the numbers mean. */
struct draw_edit {
    int32_t id;
    float add;     // bias
    int32_t count; // times it was there, for penalties; 0: none; -1: it may not come
};
struct draw_rule {
    float repetition, presence, frequency;
    float temperature; // 0: the largest
    float top_p;       // 1: all
    float least;       // has_min: how far below the largest a logit may be, at most 0
    int32_t top_k;     // 0: all
    bool has_min;
    double u; // the random number
};
struct draw {
    int32_t row;                  // of the step's logits
    int32_t slot;                 // who draws: a row of the page tables
    const struct draw_edit *edit; // [n_edit] each id once
    int32_t n_edit;
    const uint32_t *mask; // bit i: token i may come; NULL: all may
    int32_t n_mask;       // tokens it has bits for; others may not come
    int32_t late;         // so many of what the slot drew last count once more, for penalties
    struct draw_rule rule;
};
#define DRAW_HOST INT32_MIN       // to be drawn from the logits on the host
#define DRAW_NONE (INT32_MIN + 1) // the step was not made

struct backend {
    const char *name;
    /* spec: what follows the colon in "cpu:4", "cuda:0"; may be empty. */
    int (*open)(struct dev **out, const char *spec, struct err *e);
    void (*close)(struct dev *d); // accepts NULL
    void (*info)(const struct dev *d, struct dev_info *out);
    /* n bytes of zeroed memory; host given: adopts that mapping instead (if the device can). */
    int (*mem)(struct dev *d, uint64_t n, enum mem_kind k, void *host, struct mem *out,
               struct err *e);
    void (*unmem)(struct dev *d, struct mem *m);
    int (*copy)(struct dev *d, struct mem to, uint64_t at, struct mem from, uint64_t from_at,
                uint64_t n);
    /* NULL, or told a plan before its weights are loaded, and each other plan of these weights: a
     * backend of several devices deals it out, and may need larger pages. */
    int (*place)(struct dev *d, struct plan *p, struct err *e);
    int (*load)(struct dev *d, struct weight *w, struct err *e); // once per weight; may repack
    bool (*can)(const struct dev *d, const struct plan *p, const struct op *op);
    /* NULL where records read segment.lora themselves; else told when a place of it has changed,
     * never in a step: what the device needs of it is brought there, or given back. */
    int (*adapt)(struct dev *d, struct segment *s, int slot, struct err *e);
    int (*prepare)(struct dev *d, struct segment *s, struct err *e);
    int (*run)(struct dev *d, struct segment *s, const struct batch *b); // returns a ticket >= 0
    int (*wait)(struct dev *d, int ticket);
    /* NULL, or bytes a second that the device reads its memory at, measured now; 0: it cannot. */
    double (*read)(struct dev *d);
    /* NULL, or the mean of the seconds that the device has waited between steps that generate. */
    double (*gap)(const struct dev *d);
    /* NULL, or n tokens drawn from the logits of the segment's last run, behind which this is
     * enqueued; in is the caller's again at once. Returns a ticket for drawn(), of which the last
     * two are good. */
    int (*draw)(struct dev *d, struct segment *s, const struct draw *in, int n);
    /* Waits for them: id[n], each the very token that the engine's sampler would draw, or
     * E_NUMERIC, or DRAW_HOST where the device cannot. */
    int (*drawn)(struct dev *d, struct segment *s, int ticket, int32_t *id, int n);
    /* NULL, or n steps of one row in one go, at most segment.in_a_row, each with a draw: step i
     * draws in[i] from row 0, and what it draws is the row of the next, one position on. Behind
     * something that is no token no step is made. b and in are the caller's again at once. Returns
     * a ticket for step() and enough(), of which, and of draw()'s, the last two are good. */
    int (*steps)(struct dev *d, struct segment *s, const struct batch *b, const struct draw *in,
                 int n);
    /* Waits for what step i drew, while those behind it go on: as drawn(), or DRAW_NONE. */
    int (*step)(struct dev *d, struct segment *s, int ticket, int i, int32_t *id);
    /* Steps that have not begun yet need not be made. */
    void (*enough)(struct dev *d, struct segment *s, int ticket);
};

#endif
