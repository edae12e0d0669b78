/* arch.c - the list of architectures and what the names in their tables stand for. */
#include "model/arch.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "file/gguf.h"

#define ARCH(x) extern const struct arch arch_##x;
#include "model/arch.def"
#undef ARCH

static const struct arch *const all[] = {
#define ARCH(x) &arch_##x,
#include "model/arch.def"
#undef ARCH
};

const struct arch *arch_at(int i)
{
    return i >= 0 && i < (int)ARRAY_LEN(all) ? all[i] : NULL;
}

const struct arch *arch_by_hf(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        for (const char *const *p = all[i]->hf; p && *p; p++)
            if (slice_is(name, *p))
                return all[i];
    return NULL;
}

/* Letters two names have in common at the front, and at the back: enough to suggest one. */
static size_t likeness(struct slice a, const char *b)
{
    size_t n = strlen(b), front = 0, back = 0;

    while (front < a.n && front < n && a.p[front] == b[front])
        front++;
    while (back + front < a.n && back + front < n && a.p[a.n - 1 - back] == b[n - 1 - back])
        back++;
    return front * 2 + back;
}

/* Says what there is instead. */
static void unsupported(struct slice name, struct err *e)
{
    struct buf list = {0};
    char shown[64];
    size_t best = 0, most = 0;

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        size_t n = likeness(name, all[i]->name);
        if (n > most) {
            most = n;
            best = i;
        }
        buf_printf(&list, "%s%s", i ? " " : "", all[i]->name);
    }
    gguf_show(shown, sizeof shown, name);
    if (most > 3)
        err_set(e, E_UNSUPPORTED,
                "architecture '%s' is not supported (the nearest is '%s'); there are: %s", shown,
                all[best]->name, buf_view(&list).p);
    else
        err_set(e, E_UNSUPPORTED, "architecture '%s' is not supported; there are: %s", shown,
                buf_view(&list).p);
    buf_fini(&list);
}

const struct arch *arch_find(struct slice name, struct err *e)
{
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (slice_is(name, all[i]->name))
            return all[i];
    unsupported(name, e);
    return NULL;
}

int64_t dim_size(const struct hparams *h, int dim, int l)
{
    if (l < 0)
        l = 0;
    switch (dim) {
#define X(name, size)                                                                              \
    case D_##name:                                                                                 \
        return (size);
        DIM_LIST(X)
#undef X
    }
    return 0;
}

bool when_holds(const struct hparams *h, int when, int l)
{
    if (l < 0)
        l = 0;
    switch (when) {
#define X(name, condition)                                                                         \
    case WHEN_##name:                                                                              \
        return (condition);
        WHEN_LIST(X)
#undef X
    }
    return false;
}
