/* recipe.c - the mixes, and the table of their exceptions.
 *
 * Tensors are looked at in the order of their layers, then of their names, as the field's tool
 * does: "the first eighth of the ffn_down tensors" counts in that order.
 */
#include "quant/recipe.h"

#include <stdlib.h>

#include "base/mem.h"

/* X(name, file type, format, remark) */
#define MIXES(X)                                                                                   \
    X(F32, 0, F32, "as trained, or larger")                                                        \
    X(F16, 1, F16, "half the size of F32")                                                         \
    X(BF16, 32, BF16, "half the size of F32, its range")                                           \
    X(Q8_0, 7, Q8_0, "as good as F16")                                                             \
    X(Q6_K, 18, Q6_K, "hardly any loss")                                                           \
    X(Q5_K_M, 17, Q5_K, "very small loss")                                                         \
    X(Q5_K_S, 16, Q5_K, "very small loss")                                                         \
    X(Q5_1, 9, Q5_1, "older; Q5_K_M is better")                                                    \
    X(Q5_0, 8, Q5_0, "older; Q5_K_S is better")                                                    \
    X(Q4_K_M, 15, Q4_K, "small loss: what most people use")                                        \
    X(Q4_K_S, 14, Q4_K, "small loss")                                                              \
    X(Q4_1, 3, Q4_1, "older; Q4_K_M is better")                                                    \
    X(Q4_0, 2, Q4_0, "older; Q4_K_S is better")                                                    \
    X(IQ4_NL, 25, IQ4_NL, "small loss, rows of 32")                                                \
    X(IQ4_XS, 30, IQ4_XS, "smaller than Q4_K_S, about as good")                                    \
    X(MXFP4_MOE, 38, MXFP4, "experts MXFP4, the rest Q8_0")                                        \
    X(NVFP4, 39, NVFP4, "4-bit floats, scales of 16")                                              \
    X(Q3_K_L, 13, Q3_K, "some loss")                                                               \
    X(Q3_K_M, 12, Q3_K, "some loss")                                                               \
    X(Q3_K_S, 11, Q3_K, "more loss")                                                               \
    X(IQ3_M, 27, IQ3_S, "some loss")                                                               \
    X(IQ3_S, 26, IQ3_S, "some loss")                                                               \
    X(IQ3_XS, 22, IQ3_S, "more loss")                                                              \
    X(IQ3_XXS, 23, IQ3_XXS, "more loss; wants an importance matrix")                               \
    X(Q2_K, 10, Q2_K, "much loss")                                                                 \
    X(Q2_K_S, 21, Q2_K, "much loss; wants an importance matrix")                                   \
    X(IQ2_M, 29, IQ2_S, "much loss; wants an importance matrix")                                   \
    X(IQ2_S, 28, IQ2_XS, "much loss; wants an importance matrix")                                  \
    X(IQ2_XS, 20, IQ2_XS, "much loss; wants an importance matrix")                                 \
    X(IQ2_XXS, 19, IQ2_XXS, "much loss; wants an importance matrix")                               \
    X(TQ2_0, 37, TQ2_0, "for models trained with weights -1, 0, 1")                                \
    X(TQ1_0, 36, TQ1_0, "the same, smaller and slower")                                            \
    X(IQ1_M, 31, IQ1_M, "hardly usable; wants an importance matrix")                               \
    X(IQ1_S, 24, IQ1_S, "hardly usable; wants an importance matrix")

enum mix_id {
#define X(name, type, fmt, remark) MIX_##name,
    MIXES(X)
#undef X
        N_MIX
};

static const struct mix mixes[] = {
#define X(name, type, fmt, remark) {#name, type, FMT_##fmt, remark},
    MIXES(X)
#undef X
        {"COPY", -1, FMT_COPY, "every tensor keeps its type"},
};

/* -- what a tensor is for -- */

enum role {
    EMBEDDING = 1,
    OUTPUT = 2,
    ATTN_QKV = 4,
    ATTN_KV_B = 8,
    ATTN_V = 16,
    ATTN_K = 32,
    ATTN_Q = 64,
    ATTN_OUT = 128,
    FFN_UP = 256,
    FFN_GATE = 512,
    FFN_DOWN = 1024,
    OTHER = 2048,
    VALUES = ATTN_V | ATTN_QKV | ATTN_KV_B, // what values are made with suffers most
};

static bool has(struct slice s, const char *part)
{
    size_t n = strlen(part);

    for (size_t i = 0; n <= s.n && i <= s.n - n; i++)
        if (memcmp(s.p + i, part, n) == 0)
            return true;
    return false;
}

static enum role role_of(struct slice name)
{
    static const struct {
        const char *part;
        enum role role;
    } parts[] = {
        {"attn_qkv.weight", ATTN_QKV},
        {"attn_kv_b.weight", ATTN_KV_B},
        {"attn_v.weight", ATTN_V},
        {"attn_k.weight", ATTN_K},
        {"attn_q.weight", ATTN_Q},
        {"attn_output.weight", ATTN_OUT},
        {"ffn_up", FFN_UP},
        {"ffn_gate", FFN_GATE},
        {"ffn_down", FFN_DOWN},
    };

    if (slice_is(name, "output.weight"))
        return OUTPUT;
    if (slice_is(name, "token_embd.weight") || slice_is(name, "per_layer_token_embd.weight"))
        return EMBEDDING;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (has(name, parts[i].part))
            return parts[i].role;
    return OTHER;
}

/* Small, and every error in them counts: routers, norms, positions, convolutions, the low-rank
 * matrices of recurrent models, parts of image and sound encoders. */
static bool kept(struct slice name)
{
    static const char *const parts[] = {
        "_norm.weight",
        "ffn_gate_inp.weight",
        "ffn_gate_tid2eid.weight",
        "altup",
        "laurel",
        "per_layer_model_proj",
        "ssm_conv1d",
        "shortconv.conv.weight",
        "indexer.k_proj.weight",
        "indexer.q_proj.weight",
        "time_mix_first.weight",
        "time_mix_w0.weight",
        "time_mix_w1.weight",
        "time_mix_w2.weight",
        "time_mix_v0.weight",
        "time_mix_v1.weight",
        "time_mix_v2.weight",
        "time_mix_a0.weight",
        "time_mix_a1.weight",
        "time_mix_a2.weight",
        "time_mix_g1.weight",
        "time_mix_g2.weight",
        "time_mix_decay_w1.weight",
        "time_mix_decay_w2.weight",
        "time_mix_lerp_fused.weight",
        "attn_rel_b.weight",
        ".position_embd",
        "sam.pos_embd",
        "sam.neck.",
        "sam.net_",
        ".rel_pos",
        ".patch_embd",
        ".patch_merger",
        "a.rvq.codebook",
        "mm.a.code_embd",
    };

    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (has(name, parts[i]))
            return true;
    return slice_is(name, "position_embd.weight") || slice_is(name, "token_types.weight");
}

/* May it be anything but what it is? Matrices called weight may. */
bool recipe_may_change(const struct recipe_tensor *t, bool leave_output)
{
    if (!fmt_find(t->fmt))
        return false;
    if (t->ne[1] <= 1 && t->ne[2] <= 1 && t->ne[3] <= 1)
        return false;
    if (!slice_ends(t->name, SLICE("weight")))
        return false;
    if (leave_output && slice_is(t->name, "output.weight"))
        return false;
    return !kept(t->name);
}

/* -- the exceptions -- */

/* What must hold for a row of the table; a condition and its contrary are two bits. */
enum when {
    GQA4 = 1,         // four or more query heads share a key
    FEW_SHARE = 2,    // not so
    GQA4_OR_MOE4 = 4, // or four or more experts
    EXPERTS8 = 8,     // exactly eight experts: Mixtral
    NOT_EXPERTS8 = 16,
    FALCON = 32,
    NOT_FALCON = 64,
    WEIGHTED = 128, // with an importance matrix
    UNWEIGHTED = 256,
    FIRST_2 = 512, // counted among the tensors of the role
    FIRST_4 = 1024,
    FIRST_8TH = 2048,
    FIRST_16TH = 4096,
    OUTER = 8192,    // the first and last eighth, and every third between
    MIDDLE = 16384,  // all but the first and last eighth
    FITS = 32768,    // the row is a whole number of the base format's blocks
    STACKED = 65536, // a tensor of experts
};

/* The first row that holds decides; where none does, the base format stays. */
struct exception {
    uint64_t mixes;
    unsigned roles;
    unsigned when;
    int fmt;
};

#define M(name) (1ull << MIX_##name)
#define SMALL2  (M(IQ2_XXS) | M(IQ2_XS) | M(IQ1_S) | M(IQ1_M))
#define MID2    (M(IQ2_S) | M(IQ2_M))
#define ANY     (~0ull)

static const struct exception output_rows[] = {
    {M(MXFP4_MOE), ~0u, 0, FMT_Q8_0},
    {ANY, ~0u, FALCON, FMT_Q8_0},
    {SMALL2 | MID2 | M(IQ3_XXS), ~0u, FITS, FMT_Q5_K},
    {M(Q8_0), ~0u, 0, FMT_Q8_0},
    {ANY, ~0u, FITS, FMT_Q6_K},
    {ANY, ~0u, 0, FMT_Q8_0},
};

static const struct exception rows[] = {
    {M(MXFP4_MOE), ~0u, STACKED, FMT_MXFP4},
    {M(MXFP4_MOE), ~0u, 0, FMT_Q8_0},

    {SMALL2, EMBEDDING, 0, FMT_Q2_K},
    {MID2 | M(IQ3_XXS), EMBEDDING, 0, FMT_IQ3_S},
    {M(TQ1_0) | M(TQ2_0), EMBEDDING, 0, FMT_Q4_K},

    {SMALL2 | MID2, VALUES, GQA4_OR_MOE4, FMT_Q4_K},
    {MID2, VALUES, 0, FMT_IQ3_S},
    {SMALL2, VALUES, 0, FMT_Q2_K},
    {SMALL2 | MID2, ATTN_K, EXPERTS8, FMT_Q4_K},
    {MID2, FFN_DOWN, FIRST_8TH, FMT_IQ3_S},
    {SMALL2, FFN_DOWN, FIRST_8TH, FMT_Q2_K},
    {SMALL2 | MID2, ATTN_OUT, EXPERTS8, FMT_Q5_K},
    {M(IQ1_S) | M(IQ1_M), ATTN_OUT, 0, FMT_IQ2_XXS},
    {MID2, ATTN_OUT, 0, FMT_IQ3_S},

    {ANY & ~(SMALL2 | MID2), VALUES | ATTN_K, EXPERTS8, FMT_Q8_0},
    {M(Q2_K), VALUES, GQA4, FMT_Q4_K},
    {M(Q2_K), VALUES, 0, FMT_Q3_K},
    {M(Q2_K_S) | M(IQ3_XXS) | M(IQ3_XS) | M(IQ3_S), VALUES, GQA4, FMT_Q4_K},
    {M(IQ3_XXS), VALUES, UNWEIGHTED, FMT_IQ3_S},
    {M(IQ3_M), VALUES, 0, FMT_Q4_K},
    {M(Q3_K_M), VALUES, FIRST_2, FMT_Q5_K},
    {M(Q3_K_M), VALUES, 0, FMT_Q4_K},
    {M(Q3_K_L), VALUES, 0, FMT_Q5_K},
    {M(IQ4_NL) | M(IQ4_XS), VALUES, GQA4, FMT_Q5_K},
    {M(Q4_K_M) | M(Q5_K_M), VALUES, OUTER, FMT_Q6_K},
    {M(Q4_K_S), VALUES, FIRST_4, FMT_Q5_K},

    {M(IQ3_XS), ATTN_K | ATTN_Q, 0, FMT_IQ3_XXS},
    {M(IQ3_XXS), ATTN_K | ATTN_Q, 0, FMT_IQ2_S},

    {M(Q2_K), FFN_DOWN, 0, FMT_Q3_K},
    {M(Q2_K_S), FFN_DOWN, FIRST_8TH, FMT_Q4_K},
    {M(IQ3_XXS), FFN_DOWN, UNWEIGHTED | FIRST_8TH, FMT_Q4_K},
    {M(IQ3_XXS), FFN_DOWN, UNWEIGHTED, FMT_Q3_K},
    {M(Q3_K_M), FFN_DOWN, FIRST_16TH, FMT_Q5_K},
    {M(Q3_K_M), FFN_DOWN, NOT_FALCON, FMT_Q4_K},
    {M(Q3_K_M), FFN_DOWN, OUTER, FMT_Q4_K},
    {M(IQ3_M), FFN_DOWN, FIRST_8TH, FMT_Q4_K},
    {M(IQ3_M), FFN_DOWN, EXPERTS8 | OUTER, FMT_Q4_K},
    {M(Q3_K_L), FFN_DOWN, FALCON, FMT_Q4_K},
    {M(Q3_K_L), FFN_DOWN, 0, FMT_Q5_K},
    {M(Q4_K_M), FFN_DOWN, FALCON | FIRST_16TH, FMT_Q6_K},
    {M(Q4_K_M), FFN_DOWN, FALCON | OUTER, FMT_Q5_K},
    {M(Q4_K_M), FFN_DOWN, NOT_FALCON | OUTER, FMT_Q6_K},
    {M(IQ4_NL) | M(IQ4_XS), FFN_DOWN, UNWEIGHTED | FIRST_8TH, FMT_Q5_K},
    {M(Q5_K_M), FFN_DOWN, OUTER, FMT_Q6_K},
    {M(Q4_K_S), FFN_DOWN, NOT_FALCON | FIRST_8TH, FMT_Q5_K},
    {M(Q4_0), FFN_DOWN, WEIGHTED | FIRST_8TH, FMT_Q4_1},
    {M(Q5_0), FFN_DOWN, WEIGHTED | FIRST_8TH, FMT_Q5_1},

    {M(Q2_K) | M(IQ3_XS) | M(IQ3_XXS) | M(Q3_K_S) | M(Q3_K_M) | M(IQ4_NL) | M(Q4_K_S) | M(Q4_K_M) |
         M(IQ3_S) | M(IQ3_M) | M(IQ4_XS),
     ATTN_OUT, NOT_FALCON | EXPERTS8, FMT_Q5_K},
    {M(Q2_K), ATTN_OUT, NOT_FALCON | NOT_EXPERTS8, FMT_Q3_K},
    {M(IQ3_XXS), ATTN_OUT, NOT_FALCON | NOT_EXPERTS8, FMT_IQ3_S},
    {M(Q3_K_M) | M(IQ3_M), ATTN_OUT, NOT_FALCON | NOT_EXPERTS8, FMT_Q4_K},
    {M(Q3_K_L), ATTN_OUT, NOT_FALCON | NOT_EXPERTS8, FMT_Q5_K},
    {M(Q3_K_L), ATTN_OUT, FALCON, FMT_Q4_K},

    {M(IQ3_XS), FFN_GATE | FFN_UP, MIDDLE, FMT_IQ3_XXS},
};

/* -- choosing -- */

struct chooser {
    const struct recipe_model *m;
    const struct recipe_args *a;
    uint64_t mix;                            // its bit
    unsigned always;                         // conditions that hold for every tensor
    bool tied;                               // no output.weight: the embedding is used for it
    uint32_t n_values;                       // tensors of VALUES
    uint32_t i_values, i_down, i_gate, i_up; // seen so far
};

static unsigned by_place(uint32_t i, uint32_t n)
{
    unsigned w = 0;

    if (i < 2)
        w |= FIRST_2;
    if (i < 4)
        w |= FIRST_4;
    if (i < n / 8)
        w |= FIRST_8TH;
    if (i < n / 16)
        w |= FIRST_16TH;
    if (i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2)
        w |= OUTER;
    if (i >= n / 8 && i < 7 * n / 8)
        w |= MIDDLE;
    return w;
}

/* The layer in "blk.17.x"; UINT32_MAX: none. */
static uint32_t layer_of(struct slice name)
{
    uint32_t l = 0;
    size_t i = 4;

    if (!slice_starts(name, SLICE("blk.")))
        return UINT32_MAX;
    for (; i < name.n && name.p[i] >= '0' && name.p[i] <= '9' && l < 100000; i++)
        l = l * 10 + (uint32_t)(name.p[i] - '0');
    return i > 4 && i < name.n && name.p[i] == '.' ? l : UINT32_MAX;
}

static uint32_t *counter(struct chooser *c, enum role r)
{
    return r & VALUES      ? &c->i_values
           : r == FFN_DOWN ? &c->i_down
           : r == FFN_GATE ? &c->i_gate
           : r == FFN_UP   ? &c->i_up
                           : NULL;
}

/* Where in the model a tensor lies: counted, or, as layers with experts are not always listed in
 * one piece, by the number in its name. */
static unsigned place(struct chooser *c, const struct recipe_tensor *t, enum role r)
{
    uint32_t *count = counter(c, r);
    bool low = (c->mix & (SMALL2 | MID2)) != 0;
    uint32_t i = count ? (*count)++ : 0;

    if (count && !(r & VALUES) && c->m->n_expert > 1 && !low && layer_of(t->name) != UINT32_MAX)
        i = layer_of(t->name);
    return count ? by_place(i, r & VALUES ? c->n_values : c->m->n_layer) : 0;
}

static int look_up(const struct exception *x, size_t n, uint64_t mix, unsigned role, unsigned holds,
                   int otherwise)
{
    for (size_t i = 0; i < n; i++)
        if ((x[i].mixes & mix) && (x[i].roles & role) && (x[i].when & ~holds) == 0)
            return x[i].fmt;
    return otherwise;
}

static bool is_70b(const struct recipe_model *m)
{
    return slice_is(m->arch, "llama") && m->n_layer == 80 && m->n_head != m->n_head_kv;
}

static int by_mix(struct chooser *c, const struct recipe_tensor *t, enum role r)
{
    int base = c->a->mix->fmt;
    unsigned holds = c->always;
    int to;

    if (t->ne[0] % (uint64_t)fmt_find(base)->block == 0)
        holds |= FITS;
    if (t->ne[2] > 1)
        holds |= STACKED;
    if (r == OUTPUT || (r == EMBEDDING && c->tied)) {
        if (c->a->output_fmt != FMT_COPY)
            return c->a->output_fmt;
        return look_up(output_rows, ARRAY_LEN(output_rows), c->mix, r, holds, base);
    }
    holds |= place(c, t, r);
    to = look_up(rows, ARRAY_LEN(rows), c->mix, r, holds, base);
    /* there eight heads share the values: more bits for them cost little */
    if ((r & VALUES) && is_70b(c->m) && !(c->mix & (SMALL2 | MID2)) &&
        (to == FMT_Q3_K || to == FMT_Q4_K))
        to = FMT_Q5_K;
    return to;
}

static bool is_block_format(int fmt)
{
    const struct fmt_info *f = fmt_find(fmt);

    return f && f->sub > 0;
}

int recipe_fitting(int fmt, uint64_t cols)
{
    static const int next[][2] = {
        {FMT_IQ1_S, FMT_IQ4_NL},  {FMT_IQ1_M, FMT_IQ4_NL},  {FMT_IQ2_XXS, FMT_IQ4_NL},
        {FMT_IQ2_XS, FMT_IQ4_NL}, {FMT_IQ2_S, FMT_IQ4_NL},  {FMT_IQ3_XXS, FMT_IQ4_NL},
        {FMT_IQ3_S, FMT_IQ4_NL},  {FMT_IQ4_XS, FMT_IQ4_NL}, {FMT_Q2_K, FMT_Q4_0},
        {FMT_Q3_K, FMT_Q4_0},     {FMT_TQ1_0, FMT_Q4_0},    {FMT_TQ2_0, FMT_Q4_0},
        {FMT_Q4_K, FMT_Q5_0},     {FMT_Q5_K, FMT_Q5_1},     {FMT_Q6_K, FMT_Q8_0},
        {FMT_NVFP4, FMT_MXFP4},
    };
    const struct fmt_info *f = fmt_find(fmt);

    if (!f || cols % (uint64_t)f->block == 0)
        return fmt;
    for (size_t i = 0; i < ARRAY_LEN(next); i++)
        if (next[i][0] == fmt)
            return recipe_fitting(next[i][1], cols);
    return FMT_F16;
}

bool recipe_needs_weights(struct slice name, int fmt)
{
    enum role r = role_of(name);

    if (r == OUTPUT || r == EMBEDDING)
        return false;
    return fmt == FMT_IQ3_XXS || fmt == FMT_IQ2_XXS || fmt == FMT_IQ2_XS || fmt == FMT_IQ2_S ||
           fmt == FMT_IQ1_M || fmt == FMT_IQ1_S;
}

static bool bad_without_weights(struct slice name, int fmt, const struct mix *mix)
{
    enum role r = role_of(name);

    return recipe_needs_weights(name, fmt) ||
           (fmt == FMT_Q2_K && r != OUTPUT && r != EMBEDDING && mix == &mixes[MIX_Q2_K_S]);
}

static void choose(struct chooser *c, struct recipe_tensor *t)
{
    const struct recipe_args *a = c->a;
    enum role r = role_of(t->name);
    int to = a->mix->fmt, wish = FMT_COPY;

    if (r == EMBEDDING && a->embedding_fmt != FMT_COPY)
        wish = a->embedding_fmt;
    else if (r == OUTPUT && a->output_fmt != FMT_COPY)
        wish = a->output_fmt;
    else if (a->pattern)
        wish = a->pattern(a->arg, t->name);
    if (wish != FMT_COPY)
        to = wish;
    else if (is_block_format(to) && !a->pure)
        to = by_mix(c, t, r);
    t->chosen = wish != FMT_COPY;
    t->wanted = to;
    t->to = recipe_fitting(to, t->ne[0]);
    t->needs_weights = bad_without_weights(t->name, t->to, a->mix);
}

/* layer, then name */
static int by_layer(const void *a, const void *b)
{
    const struct recipe_tensor *x = *(struct recipe_tensor *const *)a;
    const struct recipe_tensor *y = *(struct recipe_tensor *const *)b;
    int64_t lx = (int64_t)(layer_of(x->name) + 1u), ly = (int64_t)(layer_of(y->name) + 1u);
    size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
    int order;

    if (lx != ly) /* none, which the sum made 0, comes first */
        return lx < ly ? -1 : 1;
    order = memcmp(x->name.p, y->name.p, n);
    return order ? order : (x->name.n > y->name.n) - (x->name.n < y->name.n);
}

static unsigned model_conditions(const struct recipe_model *m, bool weighted)
{
    bool gqa4 = m->n_head_kv && m->n_head / m->n_head_kv >= 4;
    unsigned w = gqa4 ? GQA4 | GQA4_OR_MOE4 : FEW_SHARE;

    if (m->n_expert >= 4)
        w |= GQA4_OR_MOE4;
    w |= m->n_expert == 8 ? EXPERTS8 : NOT_EXPERTS8;
    w |= slice_is(m->arch, "falcon") ? FALCON : NOT_FALCON;
    return w | (weighted ? WEIGHTED : UNWEIGHTED);
}

int recipe_choose(struct recipe_tensor *t, uint32_t n, const struct recipe_model *m,
                  const struct recipe_args *a, struct err *e)
{
    struct recipe_tensor **order = mem_array(n, sizeof *order, e);
    size_t id = (size_t)(a->mix - mixes);
    struct chooser c = {.m = m, .a = a, .tied = true};

    if (!order)
        return E_NOMEM;
    c.mix = id < N_MIX ? 1ull << id : 0;
    c.always = model_conditions(m, a->has_weights);
    for (uint32_t i = 0; i < n; i++) {
        enum role r = role_of(t[i].name);

        order[i] = &t[i];
        c.tied = c.tied && r != OUTPUT;
        c.n_values += (r & VALUES) != 0;
    }
    qsort(order, n, sizeof *order, by_layer);
    for (uint32_t i = 0; i < n; i++) {
        order[i]->to = order[i]->wanted = order[i]->fmt;
        order[i]->chosen = order[i]->needs_weights = false;
        if (a->mix->fmt != FMT_COPY && recipe_may_change(order[i], a->leave_output))
            choose(&c, order[i]);
    }
    mem_free(order);
    return 0;
}

/* -- the list -- */

const struct mix *mix_at(size_t i)
{
    return i < ARRAY_LEN(mixes) ? &mixes[i] : NULL;
}

static bool same_name(struct slice a, const char *b)
{
    size_t i = 0;

    for (; i < a.n && b[i]; i++)
        if ((a.p[i] >= 'a' && a.p[i] <= 'z' ? a.p[i] - 'a' + 'A' : a.p[i]) != b[i])
            return false;
    return i == a.n && !b[i];
}

const struct mix *mix_by_name(struct slice name)
{
    static const struct {
        const char *name;
        enum mix_id mix;
    } others[] = {
        {"Q3_K", MIX_Q3_K_M}, {"Q4_K", MIX_Q4_K_M}, {"Q5_K", MIX_Q5_K_M},
        {"FP16", MIX_F16},    {"FP32", MIX_F32},    {"MXFP4", MIX_MXFP4_MOE},
    };

    for (size_t i = 0; i < ARRAY_LEN(mixes); i++)
        if (same_name(name, mixes[i].name))
            return &mixes[i];
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (same_name(name, others[i].name))
            return &mixes[others[i].mix];
    return NULL;
}
