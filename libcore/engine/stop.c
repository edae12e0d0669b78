/* stop.c - see stop.h. */
#include "engine/stop.h"

#include "base/mem.h"

#define MAX_STOPS 64
#define MAX_BYTES 4096 // of one string

int stop_init(struct stop *st, const struct rill_stop *s, int n, size_t more, struct err *e)
{
    size_t bytes = 0;

    *st = (struct stop){0};
    if (n < 0 || n > MAX_STOPS)
        return err_set(e, E_RANGE, "%d stop strings: at most %d are possible", n, MAX_STOPS);
    for (int i = 0; i < n; i++) {
        if (s[i].n == 0 || s[i].n > MAX_BYTES)
            return err_set(e, E_RANGE, "a stop string of %zu bytes: must have 1 to %d", s[i].n,
                           MAX_BYTES);
        bytes += s[i].n;
    }
    st->bytes = mem_new(bytes, e);
    st->s = mem_array((uint64_t)n, sizeof *st->s, e);
    if (!st->bytes || !st->s || !buf_reserve(&st->held, more + MAX_BYTES)) {
        stop_fini(st);
        return err_nomem(e, bytes);
    }
    for (int i = 0, at = 0; i < n; at += (int)s[i++].n) {
        memcpy(st->bytes + at, s[i].p, s[i].n);
        st->s[i] = (struct slice){st->bytes + at, s[i].n};
    }
    st->n = n;
    return 0;
}

void stop_fini(struct stop *st)
{
    mem_free(st->bytes);
    mem_free(st->s);
    buf_fini(&st->held);
    *st = (struct stop){0};
}

/* Where the first stop string begins in text, or text.n; of several there the first given. */
static size_t first_stop(struct stop *st, struct slice text)
{
    for (size_t at = 0; at < text.n; at++)
        for (int i = 0; i < st->n; i++)
            if (slice_starts((struct slice){text.p + at, text.n - at}, st->s[i])) {
                st->met = i + 1;
                return at;
            }
    return text.n;
}

/* Where the first place lies from which the rest of text could become a stop string. */
static size_t first_prefix(const struct stop *st, struct slice text)
{
    for (size_t at = 0; at < text.n; at++) {
        struct slice rest = {text.p + at, text.n - at};

        for (int i = 0; i < st->n; i++)
            if (slice_starts(st->s[i], rest))
                return at;
    }
    return text.n;
}

bool stop_add(struct stop *st, struct slice text, struct buf *out)
{
    struct slice all;
    size_t show;

    if (st->n == 0) {
        buf_slice(out, text);
        return false;
    }
    buf_slice(&st->held, text);
    all = buf_view(&st->held);
    show = first_stop(st, all);
    if (show < all.n) {
        buf_add(out, all.p, show);
        buf_clear(&st->held);
        return true;
    }
    show = first_prefix(st, all);
    buf_add(out, all.p, show);
    memmove(st->held.p, st->held.p + show, st->held.n - show);
    st->held.n -= show;
    return false;
}

void stop_flush(struct stop *st, struct buf *out)
{
    buf_slice(out, buf_view(&st->held));
    buf_clear(&st->held);
}
