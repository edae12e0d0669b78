/* hf_place.c - see hf_place.h. */
#include "model/hf_place.h"

#include <math.h>

bool hf_rearranged(const struct weight_spec *s)
{
    int t = s->row->transform;

    return s->rows == 1 && (t == TR_ROPE_Q || t == TR_ROPE_K || t == TR_QKV_HEADS);
}

/* Pairs (2j, 2j + 1) of a head were (j, j + half). */
static int64_t rope_row(int64_t r, int64_t dim)
{
    int64_t head = r / dim, j = r % dim;

    return head * dim + j % 2 * (dim / 2) + j / 2;
}

/* All q, then all k, then all v were q, k, v of each head. */
static int64_t qkv_row(const struct hparams *h, int l, int64_t r)
{
    int64_t heads = h->n_head[l], dim = h->dk, part = r / (heads * dim);
    int64_t head = r / dim % heads;

    return (head * 3 + part) * dim + r % dim;
}

struct hf_run hf_place(const struct weight_spec *s, const struct hparams *h, bool apart, int64_t m,
                       int64_t r)
{
    int l = s->layer < 0 ? 0 : s->layer;
    int64_t rows = s->rows, cols = s->cols, at = 0, stride = 1, lora = h->kv_lora;
    int64_t head = h->dk_mla - h->n_rot + h->dv_mla; /* rows of kv_b_proj per head */

    if (hf_rearranged(s)) {
        rows = cols;
        cols = 1;
    }
    if (apart)
        m = 0;
    switch (s->row->transform) {
    case TR_ROPE_Q:
    case TR_ROPE_K:
        at = rope_row(r, h->dk) * cols;
        break;
    case TR_QKV_HEADS:
        at = qkv_row(h, l, r) * cols;
        break;
    case TR_TRANSPOSE:
        at = m * rows * cols + r;
        stride = rows;
        break;
    case TR_SPLIT_K:
        at = m * head * lora + r;
        stride = lora;
        break;
    case TR_SPLIT_V:
        at = (m * head + h->dk_mla - h->n_rot + r) * lora;
        break;
    case TR_FIRST_HALF:
        at = (m * 2 * rows + r) * cols;
        break;
    case TR_SECOND_HALF:
        at = (m * 2 * rows + rows + r) * cols;
        break;
    case TR_EVEN_COLS:
    case TR_ODD_COLS:
        at = m * 2 * rows * cols + 2 * r + (s->row->transform == TR_ODD_COLS);
        stride = 2 * rows;
        break;
    case TR_EVEN:
    case TR_ODD:
        at = (m * rows + r) * 2 * cols + (s->row->transform == TR_ODD);
        stride = 2;
        break;
    case TR_EACH_ROW:
        break;
    default:
        at = (m * rows + r) * cols;
        break;
    }
    return (struct hf_run){(uint64_t)at, (uint64_t)stride};
}

uint64_t hf_numbers(const struct weight_spec *s, const struct hparams *h, bool apart)
{
    uint64_t n = (uint64_t)(s->rows * s->cols) * (apart ? 1 : (uint64_t)s->n);

    switch (s->row->transform) {
    case TR_FIRST_HALF:
    case TR_SECOND_HALF:
    case TR_EVEN_COLS:
    case TR_ODD_COLS:
    case TR_EVEN:
    case TR_ODD:
        return 2 * n;
    case TR_SPLIT_K:
    case TR_SPLIT_V:
        return (uint64_t)s->n * (uint64_t)(h->dk_mla - h->n_rot + h->dv_mla) * (uint64_t)h->kv_lora;
    case TR_EACH_ROW:
        return (uint64_t)s->cols;
    default:
        return n;
    }
}

float hf_number(int transform, float v)
{
    return transform == TR_ADD_ONE ? v + 1.0f : transform == TR_NEG_EXP ? -expf(v) : v;
}
