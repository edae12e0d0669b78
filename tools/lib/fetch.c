/* fetch.c - a lane is a connection that fetches one piece of one file at a time. */
#include "tools/lib/fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

#define PIECE     ((uint64_t)16 << 20)
#define LANES_MAX 64

enum piece { FREE = '0', DONE = '1', TAKEN = '2' };

struct target {
    const struct fetch_file *f;
    char *part, *map_path;
    int fd, map;        // open from the first piece to the last, else -1
    size_t map_head;    // bytes of the map's first line
    char *piece;        // enum piece, [n_piece]
    uint64_t n_piece, left;
    uint64_t step;      // bytes of a piece; the whole file where the server knows no ranges
    bool again;         // its bytes were wrong once already
};

struct lane {
    CURL *h;
    struct target *t; // NULL: idle
    uint64_t piece, at, end, before;
    int tries, restarts;
    double not_before; // of the monotonic clock: when to try
    bool running;
    bool no_ranges, too_much;
    int disk; // errno of a failed write
    char why[CURL_ERROR_SIZE];
};

struct fetching {
    const struct fetch *o;
    CURLM *m;
    struct lane lane[LANES_MAX];
    struct target *t;
    size_t n, first; // [0, first) are complete
    uint64_t bytes;  // complete pieces and files
    struct err *e;
    int rc;
};

/* -- requests -- */

static void common(CURL *h, const struct fetch *o, const char *url)
{
    const bool open = strncmp(o->endpoint, "http://", 7) == 0;

    curl_easy_setopt(h, CURLOPT_URL, url);
    curl_easy_setopt(h, CURLOPT_USERAGENT, "rill/" RILL_VERSION);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(h, CURLOPT_MAXREDIRS, 8L);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT, (long)o->stall);
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, (long)o->stall);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, open ? "http,https" : "https");
    curl_easy_setopt(h, CURLOPT_REDIR_PROTOCOLS_STR, open ? "http,https" : "https");
#else
    curl_easy_setopt(h, CURLOPT_PROTOCOLS, CURLPROTO_HTTPS | (open ? CURLPROTO_HTTP : 0L));
    curl_easy_setopt(h, CURLOPT_REDIR_PROTOCOLS, CURLPROTO_HTTPS | (open ? CURLPROTO_HTTP : 0L));
#endif
    if (o->token) { /* libcurl keeps it from other hosts that a redirect leads to */
        curl_easy_setopt(h, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
        curl_easy_setopt(h, CURLOPT_XOAUTH2_BEARER, o->token);
    }
}

/* An answer that trying again does not change; 0 when it may. */
static int final_answer(const struct fetch *o, long code, const char *what, struct err *e)
{
    if (code == 401 || code == 403)
        return err_set(e, E_NOTFOUND, "%s: the hub refuses (%ld): %s", what, code,
                       o->token ? "the token may not read it, or its terms must be accepted first"
                                : "it is private, gated or not there; HF_TOKEN gives a token");
    if (code == 404 || code == 410)
        return err_set(e, E_NOTFOUND, "%s: the hub has no such thing (%ld)", what, code);
    if (code >= 400 && code < 500 && code != 408 && code != 416 && code != 429)
        return err_set(e, E_IO, "%s: the hub answers %ld", what, code);
    return 0;
}

/* Seconds before the next attempt: what the server asks for, else twice as long each time. */
static double pause_before(CURL *h, int tries)
{
    curl_off_t asked = 0;
    double wait = 0.25 * (double)(1 << (tries < 7 ? tries : 7));

    curl_easy_getinfo(h, CURLINFO_RETRY_AFTER, &asked);
    if (asked > 0)
        wait = asked < 120 ? (double)asked : 120.0;
    return wait;
}

struct text {
    struct buf *out;
    size_t limit;
    CURL *h;
    bool too_much;
};

static size_t take_text(char *p, size_t one, size_t n, void *ctx)
{
    struct text *t = ctx;
    long code = 0;

    curl_easy_getinfo(t->h, CURLINFO_RESPONSE_CODE, &code);
    if (code != 200)
        return n * one;
    t->too_much = n > t->limit - t->out->n;
    if (!t->too_much)
        buf_add(t->out, p, n);
    return t->too_much || t->out->bad ? 0 : n;
}

/* Sleeps in short pieces; false when it was told to stop. */
static bool rest(const struct fetch *o, double seconds)
{
    const double until = clock_seconds() + seconds;

    while (clock_seconds() < until) {
        nanosleep(&(struct timespec){0, 50000000}, NULL);
        if (o->stop && o->stop())
            return false;
    }
    return !(o->stop && o->stop());
}

static int keep_going(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct fetch *o = ctx;

    (void)a, (void)b, (void)c, (void)d;
    return o->stop && o->stop();
}

int fetch_text(const struct fetch *o, const char *url, struct buf *out, size_t limit,
               struct err *e)
{
    struct text t = {out, limit, curl_easy_init(), false};
    char why[CURL_ERROR_SIZE] = "";
    int rc = t.h ? 0 : err_nomem(e, 0);

    for (int tries = 0; rc == 0; tries++) {
        CURLcode got;
        long code = 0;

        buf_clear(out);
        common(t.h, o, url);
        curl_easy_setopt(t.h, CURLOPT_ERRORBUFFER, why);
        curl_easy_setopt(t.h, CURLOPT_WRITEFUNCTION, take_text);
        curl_easy_setopt(t.h, CURLOPT_WRITEDATA, &t);
        curl_easy_setopt(t.h, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(t.h, CURLOPT_XFERINFOFUNCTION, keep_going);
        curl_easy_setopt(t.h, CURLOPT_XFERINFODATA, (void *)(uintptr_t)o);
        got = curl_easy_perform(t.h);
        curl_easy_getinfo(t.h, CURLINFO_RESPONSE_CODE, &code);
        if (got == CURLE_OK && code == 200)
            break;
        if (got == CURLE_ABORTED_BY_CALLBACK)
            rc = err_set(e, E_CANCELLED, "interrupted");
        else if (out->bad)
            rc = err_nomem(e, out->n);
        else if (t.too_much)
            rc = err_set(e, E_FORMAT, "%s: an answer of more than %zu bytes", url, limit);
        else if ((rc = final_answer(o, code, url, e)) == 0 && tries >= o->retries)
            rc = code >= 400 ? err_set(e, E_IO, "%s: the hub answers %ld", url, code)
                             : err_set(e, E_IO, "%s: %s", url,
                                       *why ? why : curl_easy_strerror(got));
        if (rc == 0 && !rest(o, pause_before(t.h, tries)))
            rc = err_set(e, E_CANCELLED, "interrupted");
    }
    curl_easy_cleanup(t.h);
    return rc;
}

/* -- a file's pieces -- */

static void target_close(struct target *t)
{
    if (t->fd >= 0)
        close(t->fd);
    if (t->map >= 0)
        close(t->map);
    t->fd = t->map = -1;
}

static char *joined(const char *a, const char *b, struct err *e)
{
    const size_t n = strlen(a), m = strlen(b);
    char *s = mem_new(n + m + 1, e);

    if (s) {
        memcpy(s, a, n);
        memcpy(s + n, b, m);
    }
    return s;
}

static uint64_t piece_bytes(const struct target *t, uint64_t i)
{
    const uint64_t from = i * t->step;

    return t->f->size - from < t->step ? t->f->size - from : t->step;
}

/* All pieces are to be done, of a size that the server can do. */
static void start_over(struct fetching *g, struct target *t, bool whole)
{
    for (uint64_t i = 0; i < t->n_piece; i++)
        if (t->piece[i] == DONE)
            g->bytes -= piece_bytes(t, i);
    if (whole) {
        t->step = t->f->size ? t->f->size : 1;
        t->n_piece = 1;
    }
    memset(t->piece, FREE, (size_t)t->n_piece);
    t->left = t->n_piece;
    if (t->map >= 0 && ftruncate(t->map, 0) < 0) {
        /* a map that cannot be emptied is not kept */
        close(t->map);
        t->map = -1;
        unlink(t->map_path);
    }
}

static int target_init(struct fetching *g, struct target *t, const struct fetch_file *f)
{
    *t = (struct target){.f = f, .fd = -1, .map = -1, .step = PIECE};
    t->n_piece = f->size ? (f->size + PIECE - 1) / PIECE : 1;
    t->left = t->n_piece;
    t->part = joined(f->path, ".rill-part", g->e);
    t->map_path = joined(f->path, ".rill-map", g->e);
    t->piece = mem_new((size_t)t->n_piece, g->e);
    if (!t->part || !t->map_path || !t->piece)
        return E_NOMEM;
    memset(t->piece, FREE, (size_t)t->n_piece);
    return 0;
}

/* What an earlier call left: the map is believed when it is of this size and so is the part. */
static void read_map(struct fetching *g, struct target *t, const char *head)
{
    char *old = mem_new(t->map_head + (size_t)t->n_piece, NULL);
    struct stat st;

    if (old && fstat(t->fd, &st) == 0 && (uint64_t)st.st_size == t->f->size &&
        pread(t->map, old, t->map_head + (size_t)t->n_piece, 0) ==
            (ssize_t)(t->map_head + t->n_piece) &&
        memcmp(old, head, t->map_head) == 0)
        for (uint64_t i = 0; i < t->n_piece; i++)
            if (old[t->map_head + i] == DONE) {
                t->piece[i] = DONE;
                t->left--;
                g->bytes += piece_bytes(t, i);
            }
    mem_free(old);
}

static int target_open(struct fetching *g, struct target *t)
{
    char head[64];

    t->map_head = (size_t)snprintf(head, sizeof head, "rill-part %llu %llu\n",
                                   (unsigned long long)t->f->size, (unsigned long long)t->step);
    t->fd = open(t->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    t->map = open(t->map_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (t->fd < 0 || t->map < 0)
        return err_set(g->e, E_IO, "%s: %s", t->part, strerror(errno));
    read_map(g, t, head);
    if (ftruncate(t->fd, (off_t)t->f->size) < 0)
        return err_set(g->e, E_IO, "%s: %s", t->part, strerror(errno));
    if (t->left == t->n_piece && (ftruncate(t->map, 0) < 0 ||
                                  pwrite(t->map, head, t->map_head, 0) != (ssize_t)t->map_head ||
                                  pwrite(t->map, t->piece, (size_t)t->n_piece,
                                         (off_t)t->map_head) != (ssize_t)t->n_piece))
        return err_set(g->e, E_IO, "%s: %s", t->map_path, strerror(errno));
    return 0;
}

/* All of it is there: checked, then given its name. */
static int target_finish(struct fetching *g, struct target *t)
{
    struct err why = {0};
    int rc = 0;

    if (fsync(t->fd) < 0)
        return err_set(g->e, E_IO, "%s: %s", t->part, strerror(errno));
    if (t->f->check)
        rc = t->f->check(t->f->ctx, t->part, &why);
    if (rc == E_FORMAT && !t->again) {
        t->again = true;
        start_over(g, t, t->n_piece == 1);
        if (g->o->note)
            g->o->note(g->o->ctx, why.text);
        return 0;
    }
    if (rc < 0) {
        if (rc == E_FORMAT) {
            unlink(t->part);
            unlink(t->map_path);
        }
        return err_set(g->e, rc, "%s", why.text);
    }
    target_close(t);
    if (rename(t->part, t->f->path) < 0)
        return err_set(g->e, E_IO, "%s: %s", t->f->path, strerror(errno));
    unlink(t->map_path);
    return 0;
}

/* -- lanes -- */

static size_t take(char *p, size_t one, size_t n, void *ctx)
{
    struct lane *l = ctx;
    const size_t all = n * one;
    long code = 0;

    curl_easy_getinfo(l->h, CURLINFO_RESPONSE_CODE, &code);
    if (code != 200 && code != 206)
        return all; /* the words of an error */
    if (code == 200 && (l->before > 0 || l->end < l->t->f->size)) {
        l->no_ranges = true; /* all of the file, not what was asked for */
        return 0;
    }
    if (all > l->end - l->at) {
        l->too_much = true;
        return 0;
    }
    for (size_t done = 0; done < all;) {
        ssize_t k = pwrite(l->t->fd, p + done, all - done, (off_t)(l->at + done));
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0) {
            l->disk = k < 0 ? errno : ENOSPC;
            return 0;
        }
        done += (size_t)k;
    }
    l->at += all;
    return all;
}

/* "Content-Range: bytes 0-99/1000" must be what was asked for. */
static size_t take_header(char *p, size_t one, size_t n, void *ctx)
{
    struct lane *l = ctx;
    unsigned long long from, to, of;
    char line[128];

    if (n * one > 14 && n * one < sizeof line && strncasecmp(p, "content-range:", 14) == 0) {
        memcpy(line, p + 14, n * one - 14);
        line[n * one - 14] = '\0';
        if (sscanf(line, " bytes %llu-%llu/%llu", &from, &to, &of) == 3 &&
            (from != l->at || to >= l->end || of != l->t->f->size)) {
            l->too_much = true;
            return 0;
        }
    }
    return n * one;
}

static void lane_request(struct fetching *g, struct lane *l)
{
    char range[64];

    curl_easy_reset(l->h);
    common(l->h, g->o, l->t->f->url);
    curl_easy_setopt(l->h, CURLOPT_PRIVATE, l);
    curl_easy_setopt(l->h, CURLOPT_ERRORBUFFER, l->why);
    curl_easy_setopt(l->h, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(l->h, CURLOPT_WRITEDATA, l);
    curl_easy_setopt(l->h, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(l->h, CURLOPT_HEADERDATA, l);
    if (l->at > 0 || l->end < l->t->f->size) {
        snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)l->at,
                 (unsigned long long)l->end - 1);
        curl_easy_setopt(l->h, CURLOPT_RANGE, range);
    }
    l->no_ranges = l->too_much = false;
    l->disk = 0;
    l->why[0] = '\0';
    l->before = l->at;
    l->running = true;
    curl_multi_add_handle(g->m, l->h);
}

/* The next piece that nobody has; opens its file. */
static bool lane_take(struct fetching *g, struct lane *l)
{
    while (g->first < g->n && g->t[g->first].left == 0)
        g->first++;
    for (size_t i = g->first; i < g->n; i++) {
        struct target *t = &g->t[i];

        if (t->left == 0)
            continue;
        if (t->fd < 0) {
            if ((g->rc = target_open(g, t)) < 0)
                return false;
            if (t->left == 0 && (g->rc = target_finish(g, t)) < 0)
                return false;
        }
        for (uint64_t k = 0; k < t->n_piece; k++)
            if (t->piece[k] == FREE) {
                t->piece[k] = TAKEN;
                *l = (struct lane){.h = l->h, .t = t, .piece = k, .at = k * t->step};
                l->end = l->at + piece_bytes(t, k);
                return true;
            }
    }
    return false;
}

static void lane_drop(struct fetching *g, struct lane *l)
{
    if (l->running)
        curl_multi_remove_handle(g->m, l->h);
    l->running = false;
    l->t = NULL;
}

/* Its piece is complete. */
static void lane_done(struct fetching *g, struct lane *l)
{
    struct target *t = l->t;

    fdatasync(t->fd); /* before the map says so */
    t->piece[l->piece] = DONE;
    if (t->map >= 0 && t->n_piece > 1)
        (void)!pwrite(t->map, "1", 1, (off_t)(t->map_head + l->piece));
    g->bytes += l->end - l->piece * t->step;
    l->t = NULL;
    if (--t->left == 0)
        g->rc = target_finish(g, t);
}

/* The server sends whole files only: this one is begun again, by one lane. */
static void without_ranges(struct fetching *g, struct lane *l)
{
    struct target *t = l->t;

    for (int i = 0; i < g->o->jobs; i++)
        if (g->lane[i].t == t)
            lane_drop(g, &g->lane[i]);
    start_over(g, t, true);
}

static void lane_failed(struct fetching *g, struct lane *l, CURLcode got, long code)
{
    const char *what = l->t->f->what;
    char why[CURL_ERROR_SIZE + 64];

    snprintf(why, sizeof why, "%s", l->why[0] ? l->why : curl_easy_strerror(got));
    if (got == CURLE_OK && code >= 400)
        snprintf(why, sizeof why, "the hub answers %ld", code);
    else if (got == CURLE_OK)
        snprintf(why, sizeof why, "the connection ended early");
    if (l->disk)
        g->rc = err_set(g->e, E_IO, "%s: %s", l->t->part, strerror(l->disk));
    else if (l->no_ranges)
        g->rc = err_set(g->e, E_IO, "%s: the hub cannot send a part, and all of it breaks off", what);
    else if (l->too_much)
        g->rc = err_set(g->e, E_FORMAT, "%s: the hub sends other bytes than it announced", what);
    else if ((g->rc = final_answer(g->o, code, what, g->e)) == 0) {
        l->tries = l->at > l->before ? 1 : l->tries + 1;
        l->not_before = clock_seconds() + pause_before(l->h, l->tries - 1);
        if (l->tries > g->o->retries)
            g->rc = err_set(g->e, E_IO, "%s: %s", what, why);
        else if (g->o->note) {
            struct err e = {0};

            err_set(&e, E_IO, "%s: %s; once more", what, why);
            g->o->note(g->o->ctx, e.text);
        }
    }
}

static void lane_ended(struct fetching *g, struct lane *l, CURLcode got)
{
    long code = 0;

    curl_easy_getinfo(l->h, CURLINFO_RESPONSE_CODE, &code);
    curl_multi_remove_handle(g->m, l->h);
    l->running = false;
    if (l->no_ranges && l->t->n_piece > 1)
        without_ranges(g, l);
    else if (l->no_ranges && l->restarts++ < g->o->retries) {
        l->at = 0; /* one piece, of which a part was there: only all of it can be had */
        l->not_before = 0.0;
    } else if (got == CURLE_OK && code < 300 && l->at == l->end)
        lane_done(g, l);
    else
        lane_failed(g, l, got, code);
}

/* Gives every idle lane work; false when nothing is left. */
static bool deal(struct fetching *g)
{
    bool busy = false;

    for (int i = 0; i < g->o->jobs && g->rc == 0; i++) {
        struct lane *l = &g->lane[i];

        if (!l->t && !lane_take(g, l))
            continue;
        busy = true;
        if (!l->running && clock_seconds() >= l->not_before) {
            if (!l->h && !(l->h = curl_easy_init()))
                g->rc = err_nomem(g->e, 0);
            else
                lane_request(g, l);
        }
    }
    return busy;
}

static void tell(struct fetching *g)
{
    uint64_t bytes = g->bytes;

    for (int i = 0; i < g->o->jobs; i++)
        if (g->lane[i].t)
            bytes += g->lane[i].at - g->lane[i].piece * g->lane[i].t->step;
    if (g->o->progress)
        g->o->progress(g->o->ctx, bytes);
}

static void run(struct fetching *g)
{
    CURLMsg *msg;
    int running, queued;

    while (g->rc == 0 && deal(g)) {
        if (g->rc < 0)
            break;
        curl_multi_perform(g->m, &running);
        while (g->rc == 0 && (msg = curl_multi_info_read(g->m, &queued)) != NULL)
            if (msg->msg == CURLMSG_DONE) {
                const CURLcode got = msg->data.result;
                char *of = NULL;

                curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &of);
                lane_ended(g, (struct lane *)(void *)of, got);
            }
        tell(g);
        if (g->rc == 0 && g->o->stop && g->o->stop())
            g->rc = err_set(g->e, E_CANCELLED, "interrupted; the same command goes on from here");
        if (g->rc == 0)
            curl_multi_poll(g->m, NULL, 0, 100, NULL);
    }
}

int fetch_files(const struct fetch *o, const struct fetch_file *f, size_t n, struct err *e)
{
    struct fetching *g = mem_new(sizeof *g, e);

    if (!g)
        return E_NOMEM;
    *g = (struct fetching){.o = o, .m = curl_multi_init(), .n = n, .e = e};
    g->t = mem_array(n + 1, sizeof *g->t, e);
    g->rc = g->t ? 0 : E_NOMEM;
    if (g->t && !g->m)
        g->rc = err_nomem(e, 0);
    for (size_t i = 0; i < n && g->rc == 0; i++)
        g->rc = target_init(g, &g->t[i], &f[i]);
    if (g->rc == 0)
        run(g);
    for (int i = 0; i < LANES_MAX; i++) {
        if (g->lane[i].h && g->lane[i].running)
            curl_multi_remove_handle(g->m, g->lane[i].h);
        curl_easy_cleanup(g->lane[i].h);
    }
    for (size_t i = 0; i < n && g->t; i++) {
        if (g->t[i].part)
            target_close(&g->t[i]);
        mem_free(g->t[i].part);
        mem_free(g->t[i].map_path);
        mem_free(g->t[i].piece);
    }
    curl_multi_cleanup(g->m);
    const int rc = g->rc;
    mem_free(g->t);
    mem_free(g);
    return rc;
}
