/* test_serve_tls.c - rill-serve behind TLS: whole replies, streams, clients that end their side or
 * leave, versions and files that are refused. The certificate is made here.
 */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "base/clock.h"
#include "tests/tools/client.h"

#define SCRIPT "{\"prompt_ms\":50,\"answers\":[{\"text\":\"One two three.\"}]}"
#define CHAT   "/v1/chat/completions"
#define USER   "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static const char *cert_path, *key_path;

/* A key and a certificate of this number that it signs itself, in place of those before. */
static void make_certificate(long number)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_NAME *name = X509_get_subject_name(x);
    FILE *f;

    if (number == 1) {
        cert_path = tmpfile_path("cert.pem");
        key_path = tmpfile_path("key.pem");
    }
    ASN1_INTEGER_set(X509_get_serialNumber(x), number);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1,
                               0);
    X509_set_issuer_name(x, name);
    ck_assert(X509_sign(x, key, EVP_sha256()) > 0);
    f = fopen(cert_path, "w");
    ck_assert(f && PEM_write_X509(f, x));
    fclose(f);
    f = fopen(key_path, "w");
    ck_assert(f && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL));
    fclose(f);
    X509_free(x);
    EVP_PKEY_free(key);
}

static bool start(const char *script)
{
    const char *const with[] = {"--tls-cert", cert_path, "--tls-key", key_path, NULL};

    return serve_script(script, with);
}

static void done(void)
{
    serve_stop();
    unlink(cert_path);
    unlink(key_path);
}

static SSL *tls_dial(SSL_CTX *ctx)
{
    SSL *s = SSL_new(ctx);

    SSL_set_fd(s, dial());
    ck_assert_msg(SSL_connect(s) == 1, "%s", ERR_reason_error_string(ERR_get_error()));
    return s;
}

static void tls_close(SSL *s)
{
    int fd = SSL_get_fd(s);

    SSL_free(s);
    close(fd);
}

static void tls_ask(SSL *s, const char *path, const char *body)
{
    struct buf b = {0};

    buf_printf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\n", body ? "POST" : "GET", path);
    if (!body)
        buf_str(&b, "Connection: close\r\n");
    else
        buf_printf(&b, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
    buf_printf(&b, "\r\n%s", body ? body : "");
    ck_assert_int_eq(SSL_write(s, b.p, (int)b.n), (int)b.n);
    buf_fini(&b);
}

/* Reads until these words have come; false when the connection ends before. */
static bool tls_until(SSL *s, const char *words)
{
    struct buf b = {0};
    char c[4096];
    bool found = false;

    while (!found) {
        int n = SSL_read(s, c, sizeof c);

        if (n <= 0)
            break;
        buf_add(&b, c, (size_t)n);
        buf_byte(&b, 0);
        b.n--;
        found = strstr(b.p, words) != NULL;
    }
    buf_fini(&b);
    return found;
}

static void tls_ready(SSL_CTX *ctx)
{
    for (int i = 0; i < 500; i++) {
        SSL *s = tls_dial(ctx);
        bool ok;

        tls_ask(s, "/ready", NULL);
        ok = tls_until(s, "\"ok\"");
        tls_close(s);
        if (ok)
            return;
        client_nap(10);
    }
    ck_abort_msg("the server does not become ready");
}

START_TEST(requests)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *s;

    make_certificate(1);
    if (!start(SCRIPT))
        return;
    SSL_CTX_load_verify_file(ctx, cert_path);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    tls_ready(ctx);
    s = tls_dial(ctx);
    for (int i = 0; i < 3; i++) { // on one connection
        tls_ask(s, CHAT, i == 1 ? "{" USER ",\"stream\":true}" : "{" USER "}");
        ck_assert(tls_until(s, i == 1 ? "[DONE]\n\n\r\n0\r\n\r\n" : "predicted_per_second"));
    }
    tls_close(s);
    /* a client that ends its side gets what it asked for */
    for (int i = 0; i < 2; i++) {
        s = tls_dial(ctx);
        tls_ask(s, CHAT, i ? "{" USER ",\"stream\":true}" : "{" USER "}");
        SSL_shutdown(s);
        shutdown(SSL_get_fd(s), SHUT_WR);
        ck_assert_msg(tls_until(s, i ? "[DONE]" : "three."), "kind %d", i);
        tls_close(s);
    }
    /* without TLS there is no reply */
    {
        struct reply r;
        int fd = dial();

        put_text(fd, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
        get_head(fd, &r);
        ck_assert(!r.head.p || strncmp(r.head.p, "HTTP/", 5) != 0);
        reply_fini(&r);
        close(fd);
    }
    SSL_CTX_free(ctx);
    done();
}
END_TEST

static double running(SSL_CTX *ctx)
{
    SSL *s = tls_dial(ctx);
    char text[65536];
    const char *p;
    int n, all = 0;

    tls_ask(s, "/metrics", NULL);
    while (all < (int)sizeof text - 1 &&
           (n = SSL_read(s, text + all, (int)sizeof text - 1 - all)) > 0) {
        all += n;
        text[all] = 0;
        if (strstr(text, "cache_config_info{"))
            break;
    }
    tls_close(s);
    text[all] = 0;
    p = strstr(text, "\nrill_requests_running{");
    return p ? strtod(strchr(p, '}') + 1, NULL) : -1;
}

/* Who leaves is noticed, with and without a word of parting. */
START_TEST(leaving)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *s[8];
    double from;

    make_certificate(1);
    if (!start("{\"prompt_ms\":60000,\"answers\":[{\"text\":\"a\"}]}"))
        return;
    tls_ready(ctx);
    for (int i = 0; i < 8; i++) {
        s[i] = tls_dial(ctx);
        tls_ask(s[i], CHAT, i % 2 ? "{" USER ",\"stream\":true}" : "{" USER "}");
    }
    for (int i = 0; i < 300 && running(ctx) < 8; i++)
        client_nap(10);
    ck_assert_int_eq((int)running(ctx), 8);
    for (int i = 0; i < 8; i++) {
        if (i < 4)
            SSL_shutdown(s[i]);
        tls_close(s[i]);
    }
    from = clock_seconds();
    while (running(ctx) > 0 && clock_seconds() - from < 10)
        client_nap(10);
    ck_assert_msg(clock_seconds() - from < 5, "%.3f s", clock_seconds() - from);
    SSL_CTX_free(ctx);
    done();
}
END_TEST

/* The number of the certificate that a new connection is shown. */
static long shown(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *s = tls_dial(ctx);
    X509 *x = SSL_get1_peer_certificate(s);
    long number = ASN1_INTEGER_get(X509_get_serialNumber(x));

    X509_free(x);
    tls_close(s);
    SSL_CTX_free(ctx);
    return number;
}

static long shown_after(long old)
{
    for (int i = 0; i < 500 && shown() == old; i++)
        client_nap(10);
    return shown();
}

/* SIGHUP: new connections get the new certificate, old ones live on; a half-written one is left. */
START_TEST(renewed)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *s;

    make_certificate(1);
    if (!start(SCRIPT))
        return;
    tls_ready(ctx);
    s = tls_dial(ctx);
    ck_assert_int_eq(shown(), 1);
    make_certificate(2);
    kill(served.pid, SIGHUP);
    ck_assert_int_eq(shown_after(1), 2);
    tls_ask(s, CHAT, "{" USER "}");
    ck_assert(tls_until(s, "three."));
    make_certificate(3);
    ck_assert_int_eq(truncate(cert_path, 100), 0);
    kill(served.pid, SIGHUP);
    client_nap(100);
    ck_assert_int_eq(shown(), 2);
    make_certificate(4);
    kill(served.pid, SIGHUP);
    ck_assert_int_eq(shown_after(2), 4);
    tls_close(s);
    SSL_CTX_free(ctx);
    done();
}
END_TEST

/* Old versions, and files that do not go together. */
START_TEST(refused)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    char tool[1100], model[1100];
    const char *cert, *key;
    int status, fd;
    SSL *s;

    make_certificate(1);
    cert = cert_path;
    key = key_path;
    if (!start(SCRIPT))
        return;
    SSL_CTX_set_max_proto_version(ctx, TLS1_1_VERSION);
    s = SSL_new(ctx);
    SSL_set_fd(s, fd = dial());
    ck_assert_int_ne(SSL_connect(s), 1);
    SSL_free(s);
    close(fd);
    SSL_CTX_free(ctx);
    serve_stop();
    snprintf(tool, sizeof tool, "%s/rill-serve", RILL_BUILDDIR);
    snprintf(model, sizeof model, "%s", srcfile("share/rill-tales.gguf"));
    for (int i = 0; i < 3; i++) {
        static const int want[] = {3, 3, 2};

        if (fork() == 0) {
            if (!freopen("/dev/null", "w", stderr))
                _exit(127);
            execl(tool, "rill-serve", "-q", "--port", "0", "-m", model, "--tls-cert",
                  i == 0 ? key : cert, i == 2 ? (char *)NULL : "--tls-key", i == 1 ? cert : key,
                  (char *)NULL);
            _exit(127);
        }
        wait(&status);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == want[i], "%d: %x", i,
                      (unsigned)status);
    }
    unlink(cert);
    unlink(key);
}
END_TEST

TEST_MAIN("tools/serve_tls", requests, leaving, renewed, refused)
