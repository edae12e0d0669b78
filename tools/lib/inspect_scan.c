/* inspect_scan.c - a tensor's rows dealt to a team. */
#include "base/mem.h"
#include "base/thread.h"
#include "tools/lib/inspect.h"
#include "tools/lib/tool.h"

enum { CHUNK_WEIGHTS = 1 << 16 };

int scan_init(struct scan *s, struct source *src, int threads, struct err *e)
{
    int n = threads ? threads : thread_cpus();

    *s = (struct scan){.src = src};
    s->raw = mem_array((uint64_t)n, sizeof *s->raw, e);
    s->err = mem_array((uint64_t)n, sizeof *s->err, e);
    return s->raw && s->err ? team_new(&s->team, n, e) : E_NOMEM;
}

void scan_fini(struct scan *s)
{
    team_free(s->team);
    mem_free(s->raw);
    mem_free(s->err);
    *s = (struct scan){0};
}

int scan_rows(struct source *s, uint32_t i, uint64_t row, uint64_t n, uint8_t *raw,
              const uint8_t **out, struct err *e)
{
    const struct gguf_tensor *t = &s->g->tensor[i];

    *out = t->p ? t->p + row * source_row_bytes(t) : raw;
    return t->p ? 0 : source_rows(s, i, row, n, raw, e);
}

static uint64_t rows_per_chunk(const struct gguf_tensor *t)
{
    uint64_t n = CHUNK_WEIGHTS / t->ne[0];

    return n == 0 ? 1 : n < t->ne[1] ? n : t->ne[1];
}

static uint64_t chunks_of_matrix(const struct gguf_tensor *t)
{
    uint64_t per = rows_per_chunk(t);

    return t->ne[1] / per + (t->ne[1] % per != 0);
}

uint64_t scan_chunks(const struct gguf_tensor *t)
{
    return chunks_of_matrix(t) * t->ne[2] * t->ne[3];
}

static void scan_part(void *arg, int member, int n)
{
    struct scan *s = arg;
    const struct gguf_tensor *t = &s->src->g->tensor[s->tensor];
    uint64_t in_matrix = chunks_of_matrix(t), all = scan_chunks(t);
    struct err *e = &s->err[member];

    for (uint64_t c = (uint64_t)member; c < all && !e->code && !tool_interrupted();
         c += (uint64_t)n) {
        uint64_t first = c % in_matrix * s->per, left = t->ne[1] - first;
        uint64_t row = c / in_matrix * t->ne[1] + first, rows = left < s->per ? left : s->per;
        const uint8_t *p;

        if (scan_rows(s->src, s->tensor, row, rows, s->raw[member], &p, e) == 0)
            s->fn(s->arg, s, member, c, row, rows, p, e);
    }
}

int scan_tensor(struct scan *s, uint32_t i, struct err *e)
{
    const struct gguf_tensor *t = &s->src->g->tensor[i];
    int n = team_size(s->team), rc = source_begin(s->src, i, e);

    s->tensor = i;
    s->per = rows_per_chunk(t);
    for (int m = 0; m < n && !t->p && rc == 0; m++)
        if (!(s->raw[m] = mem_array(s->per, (size_t)source_row_bytes(t), e)))
            rc = E_NOMEM;
    if (rc == 0)
        team_run(s->team, scan_part, s);
    for (int m = 0; m < n; m++) {
        if (rc == 0 && s->err[m].code)
            rc = err_set(e, s->err[m].code, "%s", s->err[m].text);
        s->err[m] = (struct err){0};
        mem_free(s->raw[m]);
        s->raw[m] = NULL;
    }
    source_done(s->src, i);
    return rc == 0 && tool_interrupted() ? err_set(e, E_CANCELLED, "interrupted") : rc;
}
