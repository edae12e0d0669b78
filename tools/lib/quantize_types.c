/* quantize_types.c - types by name, and what rill-quantize prints of them. */
#include <stdio.h>

#include "base/mem.h"
#include "kernels/encode.h"
#include "tools/lib/opt.h"
#include "tools/lib/quantize.h"

/* E_USAGE with the nearest of the names at(i) gives until NULL. */
static int unknown_type(const char *name, const char *(*at)(size_t i), struct err *e)
{
    const char *names[64];
    int n = 0, near;

    while (n < 64 && (names[n] = at((size_t)n)) != NULL)
        n++;
    near = opt_nearest_of(names, n, name);
    return near < 0
               ? err_set(e, E_USAGE, "unknown type '%.40s' (--list shows all)", name)
               : err_set(e, E_USAGE, "unknown type '%.40s': did you mean %s?", name, names[near]);
}

static const char *mix_name(size_t i)
{
    return mix_at(i) ? mix_at(i)->name : NULL;
}

static const char *fmt_name(size_t i)
{
    return fmt_at(i) ? fmt_at(i)->name : NULL;
}

int find_mix(const char *name, const struct mix **out, struct err *e)
{
    *out = mix_by_name(slice_of(name));
    return *out ? 0 : unknown_type(name, mix_name, e);
}

int find_fmt(const char *name, size_t n, int *out, struct err *e)
{
    const struct fmt_info *f = fmt_by_name((struct slice){name, n});

    if (!f)
        return unknown_type(name, fmt_name, e);
    if (!encoder_exists(f->id))
        return err_set(e, E_USAGE, "weights cannot be made %s", f->name);
    *out = f->id;
    return 0;
}

/* -- printing -- */

double bits_per_weight(uint64_t bytes, uint64_t weights)
{
    return weights ? 8.0 * (double)bytes / (double)weights : 0.0;
}

void print_change(enum list_form form, const char *name, const char *shape, const char *from,
                  const char *to, uint64_t before, uint64_t after, uint64_t weights)
{
    double bits = bits_per_weight(after, weights);

    if (form == FORM_JSON) {
        struct buf b = {0};

        buf_json(&b, slice_of(name));
        printf("{\"name\":%s,\"shape\":\"%s\",\"from\":\"%s\",\"to\":\"%s\",\"bytes_before\":%llu,"
               "\"bytes\":%llu,\"bits_per_weight\":%.4f}\n",
               b.p ? b.p : "\"\"", shape, from, to, (unsigned long long)before,
               (unsigned long long)after, bits);
        buf_fini(&b);
    } else {
        printf(form == FORM_TSV ? "%s\t%s\t%s\t%s\t%llu\t%llu\t%.4f\n"
                                : "%-32s %-20s %-7s %-7s %13llu %13llu %8.4f\n",
               name, shape, from, to, (unsigned long long)before, (unsigned long long)after, bits);
    }
}

/* What a mix comes to in a model of eight billion weights, so that the numbers can be compared. */
static double typical_bpw(const struct mix *mix, struct err *e)
{
    static const struct {
        const char *name;
        uint64_t cols, rows;
    } layer[] = {
        {"attn_q", 4096, 4096},      {"attn_k", 4096, 1024},    {"attn_v", 4096, 1024},
        {"attn_output", 4096, 4096}, {"ffn_gate", 4096, 14336}, {"ffn_up", 4096, 14336},
        {"ffn_down", 14336, 4096},   {"attn_norm", 4096, 1},    {"ffn_norm", 4096, 1},
    };
    enum { LAYERS = 32, PER = ARRAY_LEN(layer), ALL = LAYERS * PER + 3 };
    struct recipe_tensor *t = mem_array(ALL, sizeof *t, e);
    char(*name)[40] = mem_array(ALL, sizeof *name, e);
    const struct recipe_model m = {SLICE("llama"), LAYERS, 32, 8, 0};
    const struct recipe_args a = {.mix = mix,
                                  .output_fmt = FMT_COPY,
                                  .embedding_fmt = FMT_COPY,
                                  .has_weights = strstr(mix->remark, "importance") != NULL};
    double bits = 0.0, weights = 0.0;

    for (uint32_t i = 0; t && name && i < ALL; i++) {
        static const char *const last[] = {"token_embd", "output", "output_norm"};
        uint32_t k = i % PER, rest = i - LAYERS * PER;
        bool in_layer = i < LAYERS * PER;

        snprintf(name[i], sizeof *name, in_layer ? "blk.%u.%s.weight" : "%.0u%s.weight",
                 in_layer ? i / PER : 0, in_layer ? layer[k].name : last[rest]);
        t[i] = (struct recipe_tensor){.name = slice_of(name[i]),
                                      .fmt = (in_layer ? layer[k].rows == 1 : rest == 2) ? FMT_F32
                                                                                         : FMT_F16,
                                      .ne = {in_layer ? layer[k].cols : 4096,
                                             in_layer    ? layer[k].rows
                                             : rest == 2 ? 1
                                                         : 128256,
                                             1, 1}};
    }
    if (t && name && recipe_choose(t, ALL, &m, &a, e) == 0)
        for (uint32_t i = 0; i < ALL; i++) {
            double n = (double)t[i].ne[0] * (double)t[i].ne[1];

            bits += n * fmt_bpw(t[i].to);
            weights += n;
        }
    mem_free(t);
    mem_free(name);
    return weights > 0.0 ? bits / weights : 0.0;
}

int print_mixes(enum list_form form, struct err *e)
{
    const struct mix *m;

    if (form == FORM_TEXT)
        printf("%-10s %13s %13s  %s\n", "type", "bits/weight", "8B model", "");
    for (size_t i = 0; (m = mix_at(i)) != NULL && !e->code; i++) {
        double base = m->fmt == FMT_COPY ? 0.0 : fmt_bpw(m->fmt);
        double all = m->fmt == FMT_COPY ? 0.0 : typical_bpw(m, e);

        printf(form == FORM_JSON
                   ? "{\"type\":\"%s\",\"bits_per_weight\":%.4f,\"bits_per_weight_8b\":%.4f,"
                     "\"remark\":\"%s\"}\n"
               : form == FORM_TSV ? "%s\t%.4f\t%.4f\t%s\n"
                                  : "%-10s %13.4f %13.4f  %s\n",
               m->name, base, all, m->remark);
    }
    return e->code;
}
