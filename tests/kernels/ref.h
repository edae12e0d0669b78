/* ref.h - what the records mean, in double precision and the plainest loops: whole sequences, one
 * after the other, no memory of pages, no state but what a loop carries along.
 *
 * Written from the definitions in plan.h and ops.def, with libm; shares nothing with the kernels.
 */
#ifndef RILL_TESTS_KERNELS_REF_H
#define RILL_TESTS_KERNELS_REF_H

#include <math.h>

#include "quant/half.h"
#include "tests/kernels/rig.h"

/* One sequence being computed: all values of all its positions. */
struct world {
    const struct rig *r;
    double *v[RIG_OPS];
    double *k[4], *vv[4]; // stored keys and values
    double *w[RIG_OPS];
    int n, seq;
};

static inline double *weight_of(const struct rig *r, int i)
{
    const struct weight *w = &r->w[i];
    const struct fmt_info *f = fmt_find(w->fmt);
    const size_t total = (size_t)w->n * (size_t)w->rows * (size_t)w->cols;
    float *x = mem_array(total, sizeof *x, NULL);
    double *d = mem_array(total, sizeof *d, NULL);

    f->decode(w->part[0].p, x, total / (size_t)f->block);
    for (size_t k = 0; k < total; k++)
        d[k] = x[k];
    mem_free(x);
    return d;
}

static inline double *at(const struct world *o, struct ref r, int64_t row)
{
    return o->v[r.v] + row * o->r->value[r.v].cols + r.at;
}

static inline double act_of(int act, double x)
{
    switch (act) {
    case ACT_SILU:
        return x / (1 + exp(-x));
    case ACT_GELU:
        return x * 0.5 * erfc(-x / sqrt(2));
    case ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case ACT_RELU:
        return x > 0 ? x : 0;
    case ACT_RELU2:
        return x > 0 ? x * x : 0;
    case ACT_SIGMOID:
        return 1 / (1 + exp(-x));
    case ACT_TANH:
        return tanh(x);
    default:
        return x;
    }
}

static inline double glu_of(int act, double limit, double g, double u)
{
    if (act != ACT_SWIGLU_OAI)
        return act_of(act, g) * u;
    g = g > limit ? limit : g;
    u = u > limit ? limit : u < -limit ? -limit : u;
    return g / (1 + exp(-1.702 * g)) * (u + 1);
}

static inline double row_dot(const double *w, const double *x, int64_t n)
{
    double s = 0;

    for (int64_t i = 0; i < n; i++)
        s += w[i] * x[i];
    return s;
}

static inline double factor1(float s)
{
    return s == 0.0f ? 1.0 : s;
}

static inline void ref_norm(const struct world *o, const struct op *op)
{
    const int n = op->out[0].cols, g = op->a.norm.group ? op->a.norm.group : n;
    const struct weight *w = op->w[0] >= 0 ? &o->r->w[op->w[0]] : NULL;
    const int n_w = w ? (int)(w->rows * w->cols) : n;

    for (int t = 0; t < o->n; t++)
        for (int i = 0; i < n; i += g) {
            const double *x = at(o, op->in[0], t) + i;
            double mean = 0, var = 0;
            for (int j = 0; j < g && op->kind == OP_layernorm; j++)
                mean += x[j] / g;
            for (int j = 0; j < g; j++)
                var += (x[j] - mean) * (x[j] - mean) / g;
            for (int j = 0; j < g; j++) {
                double y = (x[j] - mean) / sqrt(var + op->a.norm.eps);
                if (w)
                    y *= o->w[op->w[0]][(i + j) % n_w];
                if (op->kind == OP_layernorm && op->w[1] >= 0)
                    y += o->w[op->w[1]][(i + j) % n_w];
                if (op->in[1].v >= 0)
                    y += at(o, op->in[1], t)[i + j];
                at(o, op->out[0], t)[i + j] = y;
            }
        }
}

static inline void ref_linear(const struct world *o, const struct op *op)
{
    const bool multi = op->kind == OP_linear_multi;
    int64_t base = 0;

    for (int k = 0; k < (multi ? 4 : 1) && op->w[k] >= 0; k++) {
        const struct weight *w = &o->r->w[op->w[k]];
        const int bias = op->w[multi ? 4 + k : 1];
        for (int t = 0; t < o->n; t++)
            for (int64_t i = 0; i < w->rows; i++) {
                double y = row_dot(o->w[op->w[k]] + i * w->cols, at(o, op->in[0], t), w->cols);
                if (bias >= 0)
                    y += o->w[bias][i];
                if (!multi) {
                    y = act_of(op->act, y) * factor1(op->a.lin.scale);
                    if (op->in[1].v >= 0)
                        y += at(o, op->in[1], t)[i];
                }
                at(o, op->out[0], t)[base + i] = y;
            }
        base += w->rows;
    }
}

static inline void ref_heads(const struct world *o, const struct op *op)
{
    const struct weight *w = &o->r->w[op->w[0]];

    for (int t = 0; t < o->n; t++)
        for (int h = 0; h < op->a.heads.n_head; h++)
            for (int64_t i = 0; i < w->rows; i++)
                at(o, op->out[0], t)[h * op->a.heads.head_out + op->a.heads.at_out + i] = row_dot(
                    o->w[op->w[0]] + (h * w->rows + i) * w->cols,
                    at(o, op->in[0], t) + h * op->a.heads.head_in + op->a.heads.at_in, w->cols);
}

/* Results of expert e's gate and up (biases, fused or not), and their product. */
static inline void ref_gate(const struct world *o, const struct op *op, int64_t e, const double *x,
                            double *out, int64_t n, int act, double limit)
{
    const struct weight *g = &o->r->w[op->w[0]];
    const bool fused = op->w[1] < 0;
    const int64_t rows = g->rows, up_rows = fused ? rows : o->r->w[op->w[1]].rows;

    for (int64_t i = 0; i < n; i++) {
        double a = row_dot(o->w[op->w[0]] + (e * rows + i) * g->cols, x, g->cols);
        const int64_t j = fused ? n + i : i;
        double b =
            row_dot(o->w[fused ? op->w[0] : op->w[1]] + (e * up_rows + j) * g->cols, x, g->cols);
        if (op->w[2] >= 0) {
            a += o->w[op->w[2]][e * rows + i];
            b += fused ? o->w[op->w[2]][e * rows + j] : 0;
        }
        if (op->w[3] >= 0)
            b += o->w[op->w[3]][e * up_rows + i];
        out[i] = glu_of(act, limit, a, b);
    }
}

static inline double ref_freq(const struct world *o, const struct op *op, int i)
{
    const struct rope_args *a = &op->a.rope;
    double f = pow(a->base, -2.0 * i / a->n_rot), low, high, ramp;

    if (op->w[0] >= 0)
        f /= o->w[op->w[0]][i];
    if (a->ext_factor == 0.0f)
        return f * a->freq_scale;
    low = a->n_rot * log(a->n_ctx_orig / (a->beta_fast * 2 * M_PI)) / (2 * log(a->base));
    high = a->n_rot * log(a->n_ctx_orig / (a->beta_slow * 2 * M_PI)) / (2 * log(a->base));
    if (!a->ramp_exact) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, a->n_rot - 1);
    ramp = fmin(1, fmax(0, (i - low) / fmax(0.001, high - low)));
    return f * a->freq_scale * (1 - (1 - ramp) * a->ext_factor) + f * (1 - ramp) * a->ext_factor;
}

static inline void ref_rope(const struct world *o, const struct op *op)
{
    const struct rope_args *a = &op->a.rope;
    const int half = a->n_rot / 2;

    for (int t = 0; t < o->n; t++)
        for (int h = 0; h < a->n_head; h++) {
            const double *x = at(o, op->in[0], t) + h * a->head_in;
            double *y = at(o, op->out[0], t) + h * a->head_out;
            for (int i = 0; i < a->head_in && a->head_in == a->head_out; i++)
                y[i] = x[i];
            for (int i = 0; i < half; i++) {
                double th = t * (double)(float)ref_freq(o, op, i), m = factor1(a->attn_factor);
                int p = a->mode == ROPE_NORM ? 2 * i : i,
                    q = a->mode == ROPE_NORM ? p + 1 : i + half;
                double c = cos(th) * m, s = sin(th) * m, u = x[a->at_in + p], v = x[a->at_in + q];
                y[a->at_out + p] = u * c - v * s;
                y[a->at_out + q] = u * s + v * c;
            }
        }
}

/* Three sequences of a, b and c positions. */
static inline struct rig *rig_three(uint64_t seed, int a, int b, int c)
{
    struct rig *r = rig_new(seed);

    r->n_seq = 3;
    r->len[0] = a;
    r->len[1] = b;
    r->len[2] = c;
    return r;
}

/* Queries, keys and values from one matrix, stored and attended to. */
static inline struct op *ref_attention(struct rig *r, const struct attn_args *args, bool sinks)
{
    struct attn_args a = *args;
    const int nq = a.n_head * a.dk, nk = a.n_kv * a.dk, nv = a.v_in_k ? 0 : a.n_kv * a.dv;
    struct ref x = rig_embed(r, 32), qkv = rig_linear(r, x, nq + nk + nv, FMT_F32);
    struct ref y;
    struct op *op;

    a.kv = rig_kv(r, a.n_kv, a.dk, a.v_in_k ? 0 : a.dv, a.window);
    op = rig_op(r, OP_kv_store, (struct ref){-1, 0, 0}, rig_cols(qkv, nq, nk));
    op->in[1] = a.v_in_k ? (struct ref){-1, 0, 0} : rig_cols(qkv, nq + nk, nv);
    op->a.attn = a;
    y = rig_value(r, ROWS_T, a.n_head * a.dv);
    op = rig_op(r, OP_attn, y, rig_cols(qkv, 0, nq));
    op->a.attn = a;
    if (sinks)
        op->w[0] = (int16_t)rig_vec(r, a.n_head);
    return op;
}

/* The definition of a Hadamard matrix: rows and columns agree in sign by the parity of the bits
 * that their numbers have in common. Its own inverse. */
static inline void ref_turn(double *x, int n)
{
    const int w = n & -n;
    double y[512];

    for (int c = 0; c < n; c += w)
        for (int i = 0; i < w; i++) {
            y[c + i] = 0;
            for (int j = 0; j < w; j++)
                y[c + i] += (__builtin_parity((unsigned)(i & j)) ? -x[c + j] : x[c + j]) / sqrt(w);
        }
    memcpy(x, y, (size_t)n * sizeof *x);
}

/* What is left of a head's n columns once they have been stored. */
static inline void ref_stored(int type, bool turned, const double *x, int n, double *out)
{
    const struct fmt_info *f = fmt_find(type);
    uint8_t b[512 * 4];
    float v[512];

    memcpy(out, x, (size_t)n * sizeof *x);
    if (type == FMT_F32)
        return;
    if (type == FMT_KV_F8) {
        for (int i = 0; i < n; i++)
            out[i] = (double)f8_to_f32(f32_to_f8((float)out[i]));
        return;
    }
    if (turned)
        ref_turn(out, n);
    for (int i = 0; i < n; i++)
        v[i] = (float)out[i];
    if (f->encode)
        f->encode(v, b, (size_t)(n / f->block));
    else
        f->encode_weighted(v, NULL, 0.0f, b, (size_t)(n / f->block));
    f->decode(b, v, (size_t)(n / f->block));
    for (int i = 0; i < n; i++)
        out[i] = (double)v[i];
    if (turned)
        ref_turn(out, n);
}

static inline void ref_kv_store(const struct world *o, const struct op *op)
{
    const struct attn_args *a = &op->a.attn;
    const struct plan *p = &o->r->p;

    for (int t = 0; t < o->n; t++) {
        for (int h = 0; h < a->n_kv; h++) {
            ref_stored(p->kv_type_k, p->kv_type_k == FMT_Q4_0 && op->in[1].v >= 0,
                       at(o, op->in[0], t) + h * a->dk, a->dk,
                       o->k[a->kv] + (t * a->n_kv + h) * a->dk);
            if (op->in[1].v >= 0)
                ref_stored(p->kv_type_v, false, at(o, op->in[1], t) + h * a->dv, a->dv,
                           o->vv[a->kv] + (t * a->n_kv + h) * a->dv);
        }
    }
}

static inline double ref_slope(const struct attn_args *a, int h)
{
    double n = pow(2, floor(log2(a->n_head)));

    return h < n ? pow(pow(2, -a->alibi / n), h + 1)
                 : pow(pow(2, -a->alibi / 2 / n), 2 * (h - n) + 1);
}

/* last: the last position each row sees, -1: its own. */
static inline void ref_attn(const struct world *o, const struct op *op, int last)
{
    const struct attn_args *a = &op->a.attn;
    double *s = mem_array((uint64_t)o->n, sizeof *s, NULL);

    for (int t = 0; t < o->n; t++)
        for (int h = 0; h < a->n_head; h++) {
            const int g = h / (a->n_head / a->n_kv), to = last < 0 ? t : last;
            const int from = a->window && t - a->window + 1 > 0 ? t - a->window + 1 : 0;
            double max = op->w[0] >= 0 ? o->w[op->w[0]][h] : -1e300, sum;
            double *y = at(o, op->out[0], t) + h * a->dv;

            for (int j = from; j <= to; j++) {
                s[j] = a->scale * row_dot(at(o, op->in[0], t) + h * a->dk,
                                          o->k[a->kv] + (j * a->n_kv + g) * a->dk, a->dk);
                if (a->softcap != 0.0f)
                    s[j] = a->softcap * tanh(s[j] / a->softcap);
                if (a->alibi != 0.0f)
                    s[j] += ref_slope(a, h) * (j - t);
                max = s[j] > max ? s[j] : max;
            }
            sum = op->w[0] >= 0 ? exp(o->w[op->w[0]][h] - max) : 0;
            for (int i = 0; i < a->dv; i++)
                y[i] = 0;
            for (int j = from; j <= to; j++) {
                const double *v = a->v_in_k ? o->k[a->kv] + (j * a->n_kv + g) * a->dk
                                            : o->vv[a->kv] + (j * a->n_kv + g) * a->dv;
                double e = exp(s[j] - max);
                sum += e;
                for (int i = 0; i < a->dv; i++)
                    y[i] += e * v[i];
            }
            for (int i = 0; i < a->dv; i++)
                y[i] /= sum;
        }
    mem_free(s);
}

static inline void ref_softmax(double *x, int n)
{
    double max = x[0], sum = 0;

    for (int i = 0; i < n; i++)
        max = fmax(max, x[i]);
    for (int i = 0; i < n; i++)
        sum += x[i] = exp(x[i] - max);
    for (int i = 0; i < n; i++)
        x[i] /= sum;
}

static inline double ref_two_best(const double *s, int n)
{
    double a = -1e300, b = -1e300;

    for (int i = 0; i < n; i++)
        if (s[i] > a) {
            b = a;
            a = s[i];
        } else if (s[i] > b) {
            b = s[i];
        }
    return n > 1 ? a + b : a;
}

static inline void ref_route(const struct world *o, const struct op *op)
{
    const struct moe_args *a = &op->a.moe;
    double p[256], s[256], sum;

    for (int t = 0; t < o->n; t++) {
        double *w = o->v[op->out[1].v] + t * a->n_used, *id = o->v[op->out[0].v] + t * a->n_used;
        for (int i = 0; i < a->n_expert; i++)
            p[i] = at(o, op->in[0], t)[i];
        if (a->gate == GATE_SOFTMAX)
            ref_softmax(p, a->n_expert);
        for (int i = 0; i < a->n_expert && a->gate == GATE_SIGMOID; i++)
            p[i] = 1 / (1 + exp(-p[i]));
        for (int i = 0; i < a->n_expert; i++)
            s[i] = p[i] + (op->w[0] >= 0 ? o->w[op->w[0]][i] : 0);
        if (a->n_group > 1) {
            const int n = a->n_expert / a->n_group;
            double best[64];
            for (int g = 0; g < a->n_group; g++)
                best[g] = ref_two_best(s + g * n, n);
            for (int k = 0; k < a->n_group - a->n_group_used;
                 k++) { // drop the worst, of equals the last
                int bad = -1;
                for (int g = 0; g < a->n_group; g++)
                    if (best[g] > -1e299 && (bad < 0 || best[g] <= best[bad]))
                        bad = g;
                best[bad] = -1e300;
                for (int i = 0; i < n; i++)
                    s[bad * n + i] = -1e300;
            }
        }
        sum = 0;
        for (int k = 0; k < a->n_used; k++) {
            int b = 0;
            for (int i = 1; i < a->n_expert; i++)
                b = s[i] > s[b] ? i : b;
            id[k] = b;
            w[k] = p[b];
            s[b] = -1e301;
        }
        if (a->gate == GATE_SOFTMAX_TOPK)
            ref_softmax(w, a->n_used);
        for (int k = 0; k < a->n_used; k++)
            sum += w[k];
        for (int k = 0; k < a->n_used; k++)
            w[k] = (a->norm ? w[k] / sum : w[k]) * factor1(a->scale);
    }
}

static inline void ref_moe_glu(const struct world *o, const struct op *op)
{
    const int u = op->a.moe.n_used;

    for (int e = 0; e < o->n * u; e++)
        ref_gate(o, op, (int64_t)o->v[op->in[1].v][e], at(o, op->in[0], e / u),
                 at(o, op->out[0], e), op->out[0].cols, op->a.moe.act, op->a.moe.limit);
}

static inline void ref_moe_down(const struct world *o, const struct op *op)
{
    const int u = op->a.moe.n_used;
    const struct weight *w = &o->r->w[op->w[0]];

    for (int t = 0; t < o->n; t++)
        for (int64_t i = 0; i < w->rows; i++) {
            double sum = 0;
            for (int k = t * u; k < (t + 1) * u; k++) {
                const int64_t e = (int64_t)o->v[op->in[1].v][k];
                double y = row_dot(o->w[op->w[0]] + (e * w->rows + i) * w->cols,
                                   at(o, op->in[0], k), w->cols);
                if (op->w[1] >= 0)
                    y += o->w[op->w[1]][e * w->rows + i];
                sum += o->v[op->in[2].v][k] * y;
            }
            at(o, op->out[0], t)[i] =
                sum * factor1(op->a.moe.scale) + (op->in[3].v >= 0 ? at(o, op->in[3], t)[i] : 0);
        }
}

static inline void ref_conv(const struct world *o, const struct op *op)
{
    const int n = op->in[0].cols, width = op->a.scan.width;

    for (int t = 0; t < o->n; t++)
        for (int i = 0; i < n; i++) {
            double s = op->w[1] >= 0 ? o->w[op->w[1]][i] : 0;
            for (int j = 0; j < width; j++)
                if (t - (width - 1) + j >= 0)
                    s += at(o, op->in[0], t - (width - 1) + j)[i] * o->w[op->w[0]][i * width + j];
            at(o, op->out[0], t)[i] = act_of(op->a.scan.act, s);
        }
}

static inline void ref_scan(const struct world *o, const struct op *op)
{
    const struct scan_args *a = &op->a.scan;
    const int inner = a->n_head * a->head_dim;

    for (int h = 0; h < a->n_head; h++) {
        double *s = mem_array((uint64_t)(a->head_dim * a->d_state), sizeof *s, NULL);
        const int g = h / (a->n_head / a->n_group);
        for (int t = 0; t < o->n; t++) {
            const double *x = at(o, op->in[0], t), *b = x + inner + g * a->d_state;
            const double *c = b + a->n_group * a->d_state;
            double dt = log1p(exp(at(o, op->in[1], t)[h] + o->w[op->w[2]][h]));
            for (int p = 0; p < a->head_dim; p++) {
                double y = o->w[op->w[1]][h] * x[h * a->head_dim + p];
                for (int k = 0; k < a->d_state; k++) {
                    double *q = &s[p * a->d_state + k];
                    *q = *q * exp(dt * o->w[op->w[0]][h]) + dt * x[h * a->head_dim + p] * b[k];
                    y += *q * c[k];
                }
                at(o, op->out[0], t)[h * a->head_dim + p] = y;
            }
        }
        mem_free(s);
    }
}

static inline void ref_rwkv(const struct world *o, const struct op *op)
{
    const struct scan_args *a = &op->a.scan;
    const int d = a->head_dim, width = a->n_head * d;
    double kk[256], key[256], y[256];

    for (int h = 0; h < a->n_head; h++) {
        double *s = mem_array((uint64_t)(d * d), sizeof *s, NULL); // [value][key]
        for (int t = 0; t < o->n; t++) {
            const double *r = at(o, op->in[0], t) + h * d, *w = r + width, *k = w + width;
            const double *v = k + width, *g = v + width;
            double norm = 0, mean = 0, var = 0, bonus = 0;
            for (int j = 0; j < d; j++) {
                kk[j] = k[j] * o->w[op->w[0]][h * d + j];
                norm += kk[j] * kk[j];
                key[j] = k[j] * (1 + (g[j] - 1) * o->w[op->w[1]][h * d + j]);
            }
            for (int i = 0; i < d; i++) {
                double sa = 0;
                y[i] = 0;
                for (int j = 0; j < d; j++)
                    sa -= kk[j] / sqrt(norm) * s[i * d + j];
                for (int j = 0; j < d; j++) {
                    s[i * d + j] = s[i * d + j] * exp(-exp(-0.5) * w[j]) + v[i] * key[j] +
                                   sa * kk[j] / sqrt(norm) * g[j];
                    y[i] += s[i * d + j] * r[j];
                }
                mean += y[i] / d;
            }
            for (int i = 0; i < d; i++) {
                var += (y[i] - mean) * (y[i] - mean) / d;
                bonus += r[i] * key[i] * o->w[op->w[2]][h * d + i];
            }
            for (int i = 0; i < d; i++)
                at(o, op->out[0], t)[h * d + i] =
                    (y[i] - mean) / sqrt(var + a->eps) * o->w[op->w[3]][h * d + i] +
                    o->w[op->w[4]][h * d + i] + bonus * v[i];
        }
        mem_free(s);
    }
}

/* Records that treat every column alike. */
static inline double ref_column(const struct world *o, const struct op *op, int t, int i)
{
    const int n = op->in[0].cols, j = i % n;
    const double x = at(o, op->in[0], t)[j];
    const double y = op->in[1].v >= 0 ? at(o, op->in[1], t)[j] : 0, s = factor1(op->a.lin.scale);

    switch (op->kind) {
    case OP_add:
        return x + y;
    case OP_mul:
        return x * act_of(op->act, y);
    case OP_scale:
        return x * s;
    case OP_act:
        return act_of(op->act, x);
    case OP_softcap:
        return s * tanh(x / s);
    case OP_shift:
        return t ? at(o, op->in[0], t - 1)[j] : 0;
    case OP_lerp:
        return x + (y - x) * (op->in[2].v >= 0 ? at(o, op->in[2], t)[i] : o->w[op->w[0]][i]);
    default:
        return x; // copy
    }
}

static inline void ref_lora(const struct world *o, const struct op *op)
{
    for (int t = 0; t < o->n; t++)
        for (int k = 0; k < o->r->n_lora && k < o->seq; k++) {
            const struct lora_mat *m = &o->r->lora[k][op->w[0]];
            const double *x = at(o, op->in[0], t);
            double *y = at(o, op->out[0], t);

            for (int i = 0; i < m->rank; i++) {
                double low = 0;
                for (int c = 0; c < op->in[0].cols; c++)
                    low += (double)m->a[(int64_t)i * op->in[0].cols + c] * x[c];
                for (int c = 0; c < op->out[0].cols; c++)
                    y[c] += (double)m->scale * (double)rig_lora_scale(o->seq, k) *
                            (double)m->b[(int64_t)c * m->rank + i] * low;
            }
        }
}

static inline void ref_op(const struct world *o, const struct op *op)
{
    switch (op->kind) {
    case OP_embed:
        for (int t = 0; t < o->n; t++)
            for (int i = 0; i < op->out[0].cols; i++) {
                double *y = &at(o, op->out[0], t)[i];
                *y = o->w[op->w[0]][rig_token(o->seq, t) * op->out[0].cols + i] *
                     factor1(op->a.lin.scale);
                *y += op->w[1] >= 0 ? o->w[op->w[1]][t * op->out[0].cols + i] : 0;
                *y += op->w[2] >= 0 ? o->w[op->w[2]][rig_type(o->seq, t) * op->out[0].cols + i] : 0;
            }
        break;
    case OP_rmsnorm:
    case OP_layernorm:
        ref_norm(o, op);
        break;
    case OP_linear:
    case OP_linear_multi:
        ref_linear(o, op);
        break;
    case OP_linear_heads:
        ref_heads(o, op);
        break;
    case OP_lora:
        ref_lora(o, op);
        break;
    case OP_glu:
        for (int t = 0; t < o->n; t++)
            ref_gate(o, op, 0, at(o, op->in[0], t), at(o, op->out[0], t), op->out[0].cols, op->act,
                     op->a.lin.limit);
        break;
    case OP_rope:
        ref_rope(o, op);
        break;
    case OP_kv_store:
        ref_kv_store(o, op);
        break;
    case OP_attn:
        ref_attn(o, op, o->r->see_all ? o->n - 1 : -1);
        break;
    case OP_moe_route:
        ref_route(o, op);
        break;
    case OP_moe_glu:
        ref_moe_glu(o, op);
        break;
    case OP_moe_down:
        ref_moe_down(o, op);
        break;
    case OP_conv1d:
        ref_conv(o, op);
        break;
    case OP_ssm_scan:
        ref_scan(o, op);
        break;
    case OP_rwkv:
        ref_rwkv(o, op);
        break;
    default:
        for (int t = 0; t < o->n; t++)
            for (int i = 0; i < op->out[0].cols; i++)
                at(o, op->out[0], t)[i] = ref_column(o, op, t, i);
    }
}

/* The rows of every sequence; want[q] is the caller's to free. */
static inline void ref_play(const struct rig *r, double *want[RIG_SEQS])
{
    struct world *o = mem_new(sizeof *o, NULL);

    o->r = r;
    for (int i = 0; i < r->p.n_w; i++)
        o->w[i] = weight_of(r, i);
    for (int q = 0; q < r->n_seq; q++) {
        o->n = r->len[q];
        o->seq = q;
        for (int v = 0; v < r->p.n_value; v++)
            o->v[v] = mem_array((uint64_t)(rig_rows(r, v, o->n) * r->value[v].cols), sizeof(double),
                                NULL);
        for (int k = 0; k < r->p.n_kv; k++) {
            o->k[k] =
                mem_array((uint64_t)(o->n * r->kv[k].n_kv * r->kv[k].dk), sizeof(double), NULL);
            o->vv[k] =
                mem_array((uint64_t)(o->n * r->kv[k].n_kv * r->kv[k].dv), sizeof(double), NULL);
        }
        for (int i = 0; i < r->p.n_op; i++)
            ref_op(o, &r->op[i]);
        want[q] = o->v[r->out];
        for (int v = 0; v < r->p.n_value; v++)
            if (v != r->out)
                mem_free(o->v[v]);
        for (int k = 0; k < r->p.n_kv; k++) {
            mem_free(o->k[k]);
            mem_free(o->vv[k]);
        }
    }
    for (int i = 0; i < r->p.n_w; i++)
        mem_free(o->w[i]);
    mem_free(o);
}

/* Plays the rig on every level: in one batch against the definition, then the same bits under other
 * schedules and team sizes. Frees the rig. */
static inline void check_rig(struct rig *r, double tol)
{
    double *want[RIG_SEQS] = {0};
    struct schedule *whole = schedule_new(r, RIG_LEN, true), *ones = schedule_new(r, 1, true);
    struct schedule *parts = schedule_ragged(r, 5), *alone = schedule_new(r, 33, false);
    const struct {
        const struct schedule *s;
        int n_thread;
    } ways[] = {{whole, 2}, {parts, 5}, {alone, 1}, {ones, 2}};

    ref_play(r, want);
    for (int l = 0; rig_level(l); l++) {
        struct played first = play(r, rig_level(l), 1, whole);
        double off = worst(r, &first, want);

        ck_assert_msg(off < tol, "%s: off by %g, allowed %g", rig_level(l), off, tol);
        for (size_t i = 0; i < ARRAY_LEN(ways) && !r->see_all; i++) {
            if (rig_leaves((int)i))
                continue;
            struct played other = play(r, rig_level(l), ways[i].n_thread, ways[i].s);
            ck_assert_msg(same_bits(r, &first, &other), "%s: schedule %d, %d threads: other bits",
                          rig_level(l), (int)i, ways[i].n_thread);
            played_free(&other);
        }
        played_free(&first);
    }
    for (int q = 0; q < r->n_seq; q++)
        mem_free(want[q]);
    mem_free(whole);
    mem_free(ones);
    mem_free(parts);
    mem_free(alone);
    rig_free(r);
}

#endif
