/* hubserver.c - a hub that misbehaves on request: what rill-pull is tested against.
 *
 *     hubserver ROOT LOG [FAULT...]      prints its port, serves until standard input ends
 *
 * GET paths are files under ROOT (the query is cut off). NAME/resolve is redirected to /cdn/
 * on "localhost" where the endpoint is "127.0.0.1". LOG gets a line per request: path, range, and
 * "token" where an Authorization header came.
 *
 *     drop=N     every connection of /cdn/ ends after N bytes of body
 *     busy=N     the first N requests of /cdn/ get 503
 *     wrong=N    the first N answers of /cdn/ have one byte changed
 *     noranges   ranges are ignored
 *     moved      redirects lead to another scheme
 *     deny       everything is 401
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *root;
static FILE *log_file;
static int port;
static long drop, busy, wrong;
static bool noranges, moved, deny;
static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;

static void say(int fd, const char *s)
{
    (void)!write(fd, s, strlen(s));
}

static bool count_down(long *n)
{
    bool hit;

    pthread_mutex_lock(&one);
    hit = *n > 0 && (*n)--;
    pthread_mutex_unlock(&one);
    return hit;
}

static void plain(int fd, const char *status, const char *more)
{
    char head[1600];

    snprintf(head, sizeof head, "HTTP/1.1 %s\r\n%sContent-Length: 0\r\nConnection: close\r\n\r\n",
             status, more);
    say(fd, head);
}

static void body(int fd, FILE *f, long long from, long long n, bool cdn, bool bad)
{
    char bytes[16384];

    fseeko(f, from, SEEK_SET);
    for (long long sent = 0; sent < n;) {
        long long want = n - sent < (long long)sizeof bytes ? n - sent : (long long)sizeof bytes;
        if (cdn && drop > 0 && want > drop - sent)
            want = drop - sent;
        size_t got = fread(bytes, 1, (size_t)want, f);
        if (!got)
            return;
        if (bad)
            bytes[0] ^= 1, bad = false;
        if (write(fd, bytes, got) != (ssize_t)got)
            return;
        sent += (long long)got;
    }
}

static void file(int fd, const char *path, const char *range, bool cdn)
{
    char full[2048], head[400];
    long long from = 0, to;
    struct stat st;
    FILE *f;

    snprintf(full, sizeof full, "%s%s", root, path);
    f = strstr(path, "..") ? NULL : fopen(full, "rb");
    if (!f || fstat(fileno(f), &st) < 0 || !S_ISREG(st.st_mode)) {
        plain(fd, "404 Not Found", "");
        if (f)
            fclose(f);
        return;
    }
    to = st.st_size - 1;
    const bool part = range && !noranges && sscanf(range, "bytes=%lld-%lld", &from, &to) >= 1;
    if (part)
        snprintf(head, sizeof head,
                 "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %lld-%lld/%lld\r\n", from,
                 to, (long long)st.st_size);
    else
        snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\n");
    say(fd, head);
    snprintf(head, sizeof head, "Content-Length: %lld\r\nConnection: close\r\n\r\n",
             to - from + 1);
    say(fd, head);
    body(fd, f, from, to - from + 1, cdn, cdn && count_down(&wrong));
    fclose(f);
}

static void answer(int fd, char *request)
{
    char path[1024], where[1400], *range = NULL, *token = NULL, *cut;

    if (sscanf(request, "GET %1000s", path) != 1) {
        plain(fd, "400 Bad Request", "");
        return;
    }
    for (char *line = request; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncasecmp(line, "range: ", 7) == 0)
            range = line + 7;
        if (strncasecmp(line, "authorization: ", 15) == 0)
            token = line + 15;
    }
    pthread_mutex_lock(&one);
    fprintf(log_file, "%s %.*s%s\n", path, range ? (int)strcspn(range, "\r\n") : 1,
            range ? range : "-", token ? " token" : "");
    fflush(log_file);
    pthread_mutex_unlock(&one);
    if ((cut = strchr(path, '?')) != NULL)
        *cut = '\0';
    const bool cdn = strncmp(path, "/cdn/", 5) == 0;
    if (deny)
        plain(fd, "401 Unauthorized", "");
    else if ((cut = strstr(path, "/resolve/")) != NULL) {
        snprintf(where, sizeof where, "Location: %s://localhost:%d/cdn/%s\r\n",
                 moved ? "ftp" : "http", port, strchr(cut + 9, '/') + 1);
        plain(fd, "302 Found", where);
    } else if (cdn && count_down(&busy))
        plain(fd, "503 Service Unavailable", "");
    else
        file(fd, path, range, cdn);
}

static void *serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char request[8192] = "";
    size_t n = 0;
    ssize_t got;

    while (n < sizeof request - 1 && !strstr(request, "\r\n\r\n") &&
           (got = read(fd, request + n, sizeof request - 1 - n)) > 0)
        request[n += (size_t)got] = '\0';
    answer(fd, request);
    shutdown(fd, SHUT_WR);
    close(fd);
    return NULL;
}

static void *listen_loop(void *arg)
{
    int s = (int)(intptr_t)arg, fd;
    pthread_t t;

    while ((fd = accept(s, NULL, NULL)) >= 0)
        if (pthread_create(&t, NULL, serve, (void *)(intptr_t)fd) == 0)
            pthread_detach(t);
    return NULL;
}

int main(int argc, char **argv)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;
    int s = socket(AF_INET, SOCK_STREAM, 0);
    pthread_t t;
    char c;

    if (argc < 3)
        return 2;
    signal(SIGPIPE, SIG_IGN); // clients leave when they have had enough
    root = argv[1];
    log_file = fopen(argv[2], "a");
    for (int i = 3; i < argc; i++) {
        drop = strncmp(argv[i], "drop=", 5) == 0 ? strtol(argv[i] + 5, NULL, 10) : drop;
        busy = strncmp(argv[i], "busy=", 5) == 0 ? strtol(argv[i] + 5, NULL, 10) : busy;
        wrong = strncmp(argv[i], "wrong=", 6) == 0 ? strtol(argv[i] + 6, NULL, 10) : wrong;
        noranges |= strcmp(argv[i], "noranges") == 0;
        moved |= strcmp(argv[i], "moved") == 0;
        deny |= strcmp(argv[i], "deny") == 0;
    }
    if (!log_file || s < 0 || bind(s, (struct sockaddr *)&a, sizeof a) < 0 || listen(s, 64) < 0 ||
        getsockname(s, (struct sockaddr *)&a, &n) < 0)
        return 4;
    port = ntohs(a.sin_port);
    printf("%d\n", port);
    fflush(stdout);
    if (pthread_create(&t, NULL, listen_loop, (void *)(intptr_t)s) != 0)
        return 4;
    while (read(0, &c, 1) > 0)
        ;
    return 0;
}
