/* fuzz_reqhead.c - any bytes as what a client sends: a head and a chunked body. What is taken has
 * no second reading (one length, a host, plain names, no control characters), and both are the same
 * however the bytes are cut. */
#include "tests/fuzz/replay.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "tools/lib/reqhead.h"

static void need(bool ok)
{
    if (!ok)
        abort();
}

static bool inside(struct slice part, struct slice all)
{
    return part.n == 0 || (part.p >= all.p && part.p + part.n <= all.p + all.n);
}

static void check_token(struct slice s)
{
    need(s.n > 0);
    for (size_t i = 0; i < s.n; i++)
        need(isalnum((unsigned char)s.p[i]) || strchr("!#$%&'*+-.^_`|~", s.p[i]));
}

static void check_head(const struct reqhead *h, struct slice all)
{
    int lengths = 0, hosts = 0;
    char value_of[8] = "";

    check_token(h->method);
    need(h->path[0] == '/' || h->path[0] == '*' || slice_is(h->method, "OPTIONS"));
    for (const char *p = h->path; *p; p++)
        need((unsigned char)*p >= 0x20 && *p != 0x7f);
    if (reqhead_query(h, "m", value_of, sizeof value_of))
        need(h->query.n > 1 && memchr(value_of, 0, sizeof value_of));
    need(inside(h->query, all) && inside(h->host, all) && h->n_field <= REQHEAD_FIELDS);
    for (int i = 0; i < h->n_field; i++) {
        struct slice name = h->field[i].name, value = h->field[i].value;

        need(inside(name, all) && inside(value, all));
        check_token(name);
        for (size_t k = 0; k < value.n; k++)
            need((unsigned char)value.p[k] >= 0x20 || value.p[k] == '\t');
        lengths += name.n == 14 && strncasecmp(name.p, "content-length", 14) == 0;
        hosts += name.n == 4 && strncasecmp(name.p, "host", 4) == 0;
    }
    need(!(h->chunked && h->has_length));
    need(h->has_length == (lengths > 0) && (h->has_length || h->length == 0));
    need(hosts == 1 || (hosts == 0 && h->minor == 0));
    need(h->minor == 0 || h->minor == 1);
}

static void body(struct slice in, size_t cut, struct buf *out, int *rc, size_t *taken)
{
    struct reqbody b = {0};
    const char *why = NULL;
    size_t used;

    *taken = 0;
    *rc = 0;
    while (*rc == 0 && *taken < in.n) {
        struct slice piece = {in.p + *taken, in.n - *taken < cut ? in.n - *taken : cut};

        *rc = reqbody_feed(&b, piece, &used, out, 2000, &why);
        need(used <= piece.n && out->n <= 2000);
        need(*rc >= 0 || (why && (*rc == -400 || *rc == -413)));
        need(used == piece.n || *rc != 0);
        *taken += used;
    }
}

static void check_body(struct slice in, size_t cut)
{
    struct buf whole = {0}, parts = {0};
    size_t a, b;
    int ra, rb;

    body(in, in.n, &whole, &ra, &a);
    body(in, cut, &parts, &rb, &b);
    need(ra == rb);
    if (ra >= 0)
        need(slice_eq(buf_view(&whole), buf_view(&parts)) && a == b);
    buf_fini(&whole);
    buf_fini(&parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const int refusals[] = {400, 414, 417, 431, 501, 505};
    struct slice all = {(const char *)data + 1, n - 1};
    size_t seen = 0, end, by = 0, step;
    const char *why = NULL;
    struct reqhead h;
    char *copy;
    int status;
    bool known = false;

    if (n < 2)
        return 0;
    step = 1 + data[0] % 31;
    end = reqhead_end(all, &seen);
    need(end <= all.n);
    seen = 0;
    for (size_t k = step < all.n ? step : all.n; by == 0; k += step) {
        k = k < all.n ? k : all.n;
        by = reqhead_end((struct slice){all.p, k}, &seen);
        if (k == all.n)
            break;
    }
    need(by == end);
    if (end == 0) {
        check_body(all, step);
        return 0;
    }
    copy = malloc(end); // of exactly that size, for the sanitizer
    need(copy != NULL);
    memcpy(copy, all.p, end);
    status = reqhead_read(&h, (struct slice){copy, end}, &why);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        known |= status == refusals[i];
    need(status == 0 || (known && why));
    if (status == 0)
        check_head(&h, (struct slice){copy, end});
    free(copy);
    check_body((struct slice){all.p + end, all.n - end}, step);
    return 0;
}
