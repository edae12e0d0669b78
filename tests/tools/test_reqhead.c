/* test_reqhead.c - request heads that must be refused, those that must not, and chunked bodies. */
#include "base/mem.h"
#include "tests/suite.h"
#include "tests/tools/heads.h"
#include "tools/lib/reqhead.h"

static int read_head(const char *text, size_t n, struct reqhead *h)
{
    const char *why = NULL;
    size_t seen = 0, end = reqhead_end((struct slice){text, n}, &seen);
    int status;

    if (end != n)
        return 400; // another request would begin inside
    status = reqhead_read(h, (struct slice){text, n}, &why);
    ck_assert_msg(status == 0 || why != NULL, "no reason for %s", text);
    return status;
}

START_TEST(refused)
{
    struct reqhead h;

    for (size_t i = 0; i < ARRAY_LEN(bad_heads); i++) {
        int status = read_head(bad_heads[i].text, bad_heads[i].n, &h);

        ck_assert_msg(status == bad_heads[i].status, "%zu: %d, not %d: %s", i, status, bad_heads[i].status,
                      bad_heads[i].text);
    }
    ck_assert_uint_ge(ARRAY_LEN(bad_heads), 67);
}
END_TEST

static void good(const char *text, struct reqhead *h)
{
    int status = read_head(text, strlen(text), h);

    ck_assert_msg(status == 0, "%d: %s", status, text);
}

START_TEST(accepted)
{
    struct reqhead h;

    good("GET /v1/models?a=b%20c HTTP/1.1\r\nHost: localhost:80\r\nAccept:*/*\r\n\r\n", &h);
    ck_assert_str_eq(h.path, "/v1/models");
    ck_assert(slice_is(h.query, "a=b%20c") && h.keep && !h.has_length && !h.chunked);
    ck_assert(slice_is(reqhead_get(&h, "ACCEPT"), "*/*"));
    ck_assert_ptr_null(reqhead_get(&h, "x").p);
    good("\r\nPOST /a%2Fb%c3%a4 HTTP/1.1\r\nhost:\t[::1]:8080 \r\ncontent-length: 007\r\n"
         "Connection: Keep-Alive, Close\r\nexpect: 100-Continue\r\n\r\n",
         &h);
    ck_assert_str_eq(h.path, "/a/b\xc3\xa4");
    ck_assert(h.length == 7 && !h.keep && h.expects && slice_is(h.host, "[::1]:8080"));
    good("POST http://b.example/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", &h);
    ck_assert(h.chunked && slice_is(h.host, "b.example"));
    ck_assert_str_eq(h.path, "/x");
    good("GET / HTTP/1.0\r\n\r\n", &h);
    ck_assert(!h.keep && !h.host.p);
    good("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &h);
    ck_assert(h.keep);
    good("OPTIONS * HTTP/1.1\r\nHost: a\r\nX: \xc3\xa4\r\n\r\n", &h);
    ck_assert_str_eq(h.path, "*");
}
END_TEST

START_TEST(limits)
{
    struct reqhead h;
    struct buf b = {0};

    buf_str(&b, "GET /");
    for (int i = 0; i < 1023; i++)
        buf_byte(&b, 'a');
    buf_str(&b, " HTTP/1.1\r\nHost: a\r\n\r\n");
    ck_assert_int_eq(read_head(b.p, b.n, &h), 0);
    buf_clear(&b);
    buf_str(&b, "GET /");
    for (int i = 0; i < 1024; i++)
        buf_byte(&b, 'a');
    buf_str(&b, " HTTP/1.1\r\nHost: a\r\n\r\n");
    ck_assert_int_eq(read_head(b.p, b.n, &h), 414);
    buf_clear(&b);
    buf_str(&b, "GET /?");
    for (int i = 0; i < REQHEAD_TARGET; i++)
        buf_byte(&b, 'a');
    buf_str(&b, " HTTP/1.1\r\nHost: a\r\n\r\n");
    ck_assert_int_eq(read_head(b.p, b.n, &h), 414);
    buf_clear(&b);
    buf_str(&b, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < REQHEAD_FIELDS; i++)
        buf_str(&b, "A: b\r\n");
    buf_str(&b, "\r\n");
    ck_assert_int_eq(read_head(b.p, b.n, &h), 431);
    buf_fini(&b);
}
END_TEST

/* Where a head ends does not depend on the pieces it comes in. */
START_TEST(pieces)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET";
    size_t seen = 0, end = 0;

    for (size_t n = 0; n <= sizeof text - 1 && !end; n++) {
        end = reqhead_end((struct slice){text, n}, &seen);
        ck_assert_int_eq(end > 0, n >= sizeof text - 1 - 3);
    }
    ck_assert_uint_eq(end, sizeof text - 4);
}
END_TEST

/* -- chunked bodies -- */

static int body(const char *text, size_t step, size_t max, struct buf *out, size_t *left)
{
    struct reqbody b = {0};
    const char *why = NULL;
    size_t n = strlen(text), at = 0;
    int rc = 0;

    buf_clear(out);
    while (at < n && rc == 0) {
        size_t used, k = step < n - at ? step : n - at;

        rc = reqbody_feed(&b, (struct slice){text + at, k}, &used, out, max, &why);
        at += used;
    }
    *left = n - at;
    return rc;
}

START_TEST(chunked)
{
    static const char good_body[] =
        "3\r\nabc\r\n0A;x=\"y\"\r\n0123456789\r\n000\r\nT: u\r\n\r\nGET";
    static const char *const wrong[] = {
        "\r\n",     "x\r\n",           "-1\r\n",        "+1\r\n",      " 1\r\n",
        "1 \r\n",   "0x1\r\n",         "1\n",           "1\r1",        "1\r\nab",
        "1\r\na\n", "1\r\na\r0",       "123456789\r\n", "1;\n\r\n",    "1;a\x01\r\n",
        "0\r\n\n",  "0\r\nA: b\n\r\n", "0\r\n\rX",      "ffffffff\r\n"};
    struct buf out = {0};
    size_t left;

    for (size_t step = 1; step < 60; step++) {
        ck_assert_int_eq(body(good_body, step, 100, &out, &left), 1);
        ck_assert_uint_eq(left, 3); // the next request is not touched
        ck_assert_str_eq(out.p, "abc0123456789");
        for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
            ck_assert_msg(body(wrong[i], step, 100, &out, &left) < 0, "%s", wrong[i]);
        ck_assert_int_eq(body(good_body, step, 12, &out, &left), -413);
    }
    ck_assert_int_eq(body("5\r\nab", 9, 100, &out, &left), 0);
    buf_fini(&out);
}
END_TEST

TEST_MAIN("tools/reqhead", refused, accepted, limits, pieces, chunked)
