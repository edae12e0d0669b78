/* heads.h - request heads of the kind that smuggling uses: all must be refused, by the reader of
 * heads (test_reqhead.c) and by the server (test_serve_conn.c).
 */
#ifndef RILL_TESTS_TOOLS_HEADS_H
#define RILL_TESTS_TOOLS_HEADS_H

#include <stddef.h>

#define HOST "Host: a\r\n"
#define POST "POST / HTTP/1.1\r\n" HOST

/* The ways by which one program is made to see other requests than the next. */
static const struct {
    const char *text;
    size_t n;
    int status; // 0: any refusal
} bad_heads[] = {
#define B(text)                                                                                    \
    {                                                                                              \
        text, sizeof(text) - 1, 400                                                                \
    }
#define S(status, text)                                                                            \
    {                                                                                              \
        text, sizeof(text) - 1, status                                                             \
    }
    B("GET / HTTP/1.1\n" HOST "\r\n\r\n"),
    B("GET / HTTP/1.1\r\nHost: a\n\r\n\r\n"),
    B("GET / HTTP/1.1\r\r\n" HOST "\r\n"),
    B("GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n"),
    B("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n"),
    B("GET / HTTP/1.1\r\n" HOST "A: b\r\n c\r\n\r\n"),
    B("GET / HTTP/1.1\r\n" HOST "A: b\r\n\tc\r\n\r\n"),
    B("GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    B("GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    B("GET / HTTP/1.1\r\nHost\t: a\r\n\r\n"),
    B("GET / HTTP/1.1\r\n" HOST ": b\r\n\r\n"),
    B("GET / HTTP/1.1\r\n" HOST "b\r\n\r\n"),
    B("GET / HTTP/1.1\r\n" HOST "A b: c\r\n\r\n"),
    B("GET / HTTP/1.1\r\n" HOST "A\x01: c\r\n\r\n"),
    B("GET / HTTP/1.1\r\n" HOST "A: \x01\r\n\r\n"),
    B("GET / HTTP/1.1\r\n" HOST "A: \x7f\r\n\r\n"),
    B("GET / HTTP/1.1\r\n" HOST "\xc3\xa4: c\r\n\r\n"),
    B("GET / HTTP/1.1\r\n" HOST "A(x): c\r\n\r\n"),
    B("GET / HTTP/1.1\r\n" HOST "\"A\": c\r\n\r\n"),
    B("GET / HTTP/1.1\r\n\r\n"),
    B("GET / HTTP/1.1\r\n" HOST HOST "\r\n"),
    B("GET / HTTP/1.1\r\n" HOST "Host: b\r\n\r\n"),
    B("GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    B("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    B("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    B("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    B("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    B("GET  / HTTP/1.1\r\n" HOST "\r\n"),
    B("GET /  HTTP/1.1\r\n" HOST "\r\n"),
    B(" GET / HTTP/1.1\r\n" HOST "\r\n"),
    B("GET\t/ HTTP/1.1\r\n" HOST "\r\n"),
    B("GET /\tHTTP/1.1\r\n" HOST "\r\n"),
    B("GET / HTTP/1.1 \r\n" HOST "\r\n"),
    B("GET /\r\n" HOST "\r\n"),
    B("GET\r\n" HOST "\r\n"),
    B("/ HTTP/1.1\r\n" HOST "\r\n"),
    B("get / HTTP/1.1\r\n" HOST "\r\n"),
    B("G=T / HTTP/1.1\r\n" HOST "\r\n"),
    B("GET / http/1.1\r\n" HOST "\r\n"),
    B("GET / HTTP/1,1\r\n" HOST "\r\n"),
    B("GET / HTTP/11\r\n" HOST "\r\n"),
    B("GET / HTTP/1.10\r\n" HOST "\r\n"),
    B("GET / HTTP/+1.1\r\n" HOST "\r\n"),
    S(505, "GET / HTTP/2.0\r\n" HOST "\r\n"),
    S(505, "GET / HTTP/1.2\r\n" HOST "\r\n"),
    S(505, "PRI * HTTP/2.0\r\n\r\n"),
    B("GET a HTTP/1.1\r\n" HOST "\r\n"),
    B("GET /a\\b HTTP/1.1\r\n" HOST "\r\n"),
    B("GET /a#b HTTP/1.1\r\n" HOST "\r\n"),
    B("GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n"),
    B("GET /% HTTP/1.1\r\n" HOST "\r\n"),
    B("GET /%4 HTTP/1.1\r\n" HOST "\r\n"),
    B("GET /%zz HTTP/1.1\r\n" HOST "\r\n"),
    B("GET /%00 HTTP/1.1\r\n" HOST "\r\n"),
    B("GET /%0d%0aX:y HTTP/1.1\r\n" HOST "\r\n"),
    B("GET http:// HTTP/1.1\r\n" HOST "\r\n"),
    B("GET http://u@b/ HTTP/1.1\r\n" HOST "\r\n"),
    B(POST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n"),
    B(POST "Content-Length: 1\r\nContent-Length: 2\r\n\r\n"),
    B(POST "Content-Length: 1, 1\r\n\r\n"),
    B(POST "Content-Length: +1\r\n\r\n"),
    B(POST "Content-Length: -1\r\n\r\n"),
    B(POST "Content-Length: 0x1\r\n\r\n"),
    B(POST "Content-Length: 1 1\r\n\r\n"),
    B(POST "Content-Length: 1.0\r\n\r\n"),
    B(POST "Content-Length:\r\n\r\n"),
    B(POST "Content-Length: 99999999999999999999\r\n\r\n"),
    B(POST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
    B(POST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n"),
    B(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
    B(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"),
    S(501, POST "Transfer-Encoding: chunked, chunked\r\n\r\n"),
    S(501, POST "Transfer-Encoding: identity\r\n\r\n"),
    S(501, POST "Transfer-Encoding: gzip, chunked\r\n\r\n"),
    S(501, POST "Transfer-Encoding: xchunked\r\n\r\n"),
    S(501, POST "Transfer-Encoding: \"chunked\"\r\n\r\n"),
    S(501, POST "Transfer-Encoding: chunked;a\r\n\r\n"),
    S(501, POST "Transfer-Encoding:\r\n\r\n"),
    B("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    B(POST "Transfer_Encoding : chunked\r\n\r\n"),
    B(POST "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n"),
    B(POST "Content-Type: a\r\nContent-Type: b\r\n\r\n"),
    S(417, POST "Expect: 200-ok\r\n\r\n"),
};

#undef B
#undef S

#endif
