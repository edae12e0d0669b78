/* control.c - see control.h. */
#include "model/control.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "file/gguf.h"
#include "quant/quant.h"

static bool is_control(const struct gguf *g)
{
    struct slice arch;

    return gguf_get_str(g, "general.architecture", &arch, NULL) > 0 &&
           slice_is(arch, "controlvector");
}

/* The layer of "direction.12", or -1. */
static int layer_of(struct slice name)
{
    const struct slice head = SLICE("direction.");
    int n = 0;

    if (!slice_starts(name, head) || name.n == head.n || name.n > head.n + 6)
        return -1;
    for (size_t i = head.n; i < name.n; i++) {
        if (name.p[i] < '0' || name.p[i] > '9')
            return -1;
        n = 10 * n + name.p[i] - '0';
    }
    return n;
}

static int take(struct control *c, const struct gguf_tensor *t, float *to, int n_embd,
                struct err *e)
{
    const int layer = layer_of(t->name), len = (int)t->name.n;

    if (layer < 1 || layer >= c->n_layer)
        return err_set(e, E_FORMAT, "%s: '%.*s' is of no layer from 1 to %d", c->path, len,
                       t->name.p, c->n_layer - 1);
    if (t->type != FMT_F32 || t->ne[0] != (uint64_t)n_embd || t->bytes != (uint64_t)n_embd * 4)
        return err_set(e, E_FORMAT, "%s: '%.*s' is not %d numbers of F32", c->path, len, t->name.p,
                       n_embd);
    if (c->dir[layer])
        return err_set(e, E_FORMAT, "%s: layer %d has two directions", c->path, layer);
    memcpy(to, t->p, (size_t)t->bytes);
    for (int i = 0; i < n_embd; i++)
        if (!isfinite(to[i]))
            return err_set(e, E_FORMAT, "%s: '%.*s' has a number that is not finite", c->path, len,
                           t->name.p);
    c->dir[layer] = to;
    c->n_dir++;
    return 0;
}

static int read_all(struct control *c, const struct gguf *g, int n_embd, struct err *e)
{
    int rc = 0;

    if (g->n_tensor == 0 || n_embd <= 0)
        return err_set(e, E_FORMAT, "%s: a control vector without directions", c->path);
    c->dir = mem_array((uint64_t)c->n_layer, sizeof *c->dir, e);
    c->data = mem_array((uint64_t)g->n_tensor * (uint64_t)n_embd, sizeof *c->data, e);
    if (!c->dir || !c->data)
        return E_NOMEM;
    for (uint32_t i = 0; i < g->n_tensor && rc == 0; i++)
        rc = take(c, &g->tensor[i], c->data + (size_t)i * (size_t)n_embd, n_embd, e);
    return rc;
}

int control_open(struct control **out, const char *path, int n_layer, int n_embd, struct err *e)
{
    struct gguf *g;
    struct control *c = NULL;
    int rc;

    *out = NULL;
    if (file_is_dir(path) || gguf_open(&g, path, 0, NULL) < 0)
        return 0; // who reads other adapters says what it is
    if (!is_control(g)) {
        gguf_close(g);
        return 0;
    }
    rc = E_NOMEM;
    if ((c = mem_new(sizeof *c, e)) && (c->path = mem_dup(path, strlen(path), e))) {
        c->n_layer = n_layer;
        rc = read_all(c, g, n_embd, e);
    }
    gguf_close(g);
    if (rc < 0)
        control_close(c);
    else
        *out = c;
    return rc;
}

void control_close(struct control *c)
{
    if (!c)
        return;
    mem_free(c->path);
    mem_free(c->dir);
    mem_free(c->data);
    mem_free(c);
}
