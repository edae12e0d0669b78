/* quant.c - the table of weight formats, made from formats.def.
 *
 * Knows names and sizes. Knows nothing of files, tensors or kernels.
 */
#include "quant/quant.h"

#include "base/mem.h"

#define FMT_HOOK "quant/table_fn.h"
#include "quant/formats.def"
#undef FMT_HOOK

static const struct fmt_info table[] = {
#define FMT_HOOK "quant/table_row.h"
#include "quant/formats.def"
#undef FMT_HOOK
};

const struct fmt_info *fmt_at(size_t i)
{
    return i < ARRAY_LEN(table) ? &table[i] : NULL;
}

const struct fmt_info *fmt_find(int id)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if ((int)table[i].id == id)
            return &table[i];
    return NULL;
}

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

const struct fmt_info *fmt_by_name(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const char *n = table[i].name;
        size_t j = 0;

        while (j < name.n && n[j] && upper(name.p[j]) == n[j])
            j++;
        if (j == name.n && !n[j])
            return &table[i];
    }
    return NULL;
}

/* Edits (insert, delete, replace one byte) that turn a into b: Levenshtein's distance. */
static size_t edits(struct slice a, const char *b)
{
    size_t row[16]; /* names have at most 7 bytes */
    size_t n = strlen(b);

    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; i < a.n; i++) {
        size_t corner = row[0];

        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t best = corner + (upper(a.p[i]) != b[j]);

            corner = row[j + 1];
            best = best < corner + 1 ? best : corner + 1;
            row[j + 1] = best < row[j] + 1 ? best : row[j] + 1;
        }
    }
    return row[n];
}

const struct fmt_info *fmt_nearest(struct slice name)
{
    const struct fmt_info *best = &table[0];
    size_t best_edits = SIZE_MAX;

    name.n = name.n < 64 ? name.n : 64; /* a longer one is like none */
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        size_t n = edits(name, table[i].name);

        if (n < best_edits) {
            best = &table[i];
            best_edits = n;
        }
    }
    return best;
}

bool fmt_row_bytes(int id, uint64_t cols, uint64_t *out)
{
    const struct fmt_info *f = fmt_find(id);

    return f && cols % (uint64_t)f->block == 0 &&
           mul_ok(cols / (uint64_t)f->block, (uint64_t)f->bytes, out);
}

double fmt_bpw(int id)
{
    const struct fmt_info *f = fmt_find(id);

    return f ? 8.0 * f->bytes / f->block : 0.0;
}
