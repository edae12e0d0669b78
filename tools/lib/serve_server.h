/* serve_server.h - the server: models at work behind the HTTP API.
 *
 * One thread runs the loop; the workers' threads are in worker.h.
 */
#ifndef RILL_TOOLS_SERVE_SERVER_H
#define RILL_TOOLS_SERVE_SERVER_H

#include "tools/lib/http.h"
#include "tools/lib/worker.h"

struct server;

struct server_opts {
    struct http_opts http;      // its limits; the calls are filled in
    struct worker_opts *worker; // [n_worker]
    int n_worker;
    const char *const *alias; // [n_alias] "NAME=MODEL": further names of models
    int n_alias;
    const char *host;
    int port;                // -1: none
    const char *unix_path;   // or NULL
    int first_fd, n_fd;      // sockets that were handed over
    const char *keys;        // file, or NULL: everybody may
    const char *const *cors; // [n_cors] origins of other sites' pages that may ask
    int n_cors;
    const char *const *hosts; // [n_host] further names this server is known by
    int n_host;
    bool loopback; // only names of this machine may be asked for
    bool strict, strict_model;
    int parallel, max_queue; // requests at once and waiting, of each model
    double ping_seconds, request_seconds, drain_seconds;
    const char *access_log; // file, "-": standard error; or NULL
    const char *record;     // a folder where requests are written down, or NULL
    void (*listening)(void *ctx, int port);
    void (*ready)(void *ctx, int port);
    int (*reload)(void *ctx, struct err *e); // the certificate, on SIGHUP; or NULL
    void *ctx;
};

int server_new(struct server **out, const struct server_opts *o, struct err *e);
void server_free(struct server *s); // accepts NULL
/* Until a signal has ended it and the last request is answered, or a model failed. */
int server_run(struct server *s, struct err *e);

#endif
