/* runtool.c - a child with pipes, watched. */
#include "tools/lib/runtool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tools/lib/tool.h"

enum { WORDS = 64 };

struct child {
    pid_t pid;
    int in, out; // its standard input and output
};

/* Cuts the command into words in place. */
static int split(char *s, char *argv[WORDS + 1])
{
    char *save = NULL;
    int n = 0;

    for (char *w = strtok_r(s, " \t\n", &save); w; w = strtok_r(NULL, " \t\n", &save)) {
        if (n == WORDS)
            return -1;
        argv[n++] = w;
    }
    argv[n] = NULL;
    return n;
}

static _Noreturn void be_child(char **argv, int in, int out)
{
    setpgid(0, 0);
    signal(SIGINT, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
        _exit(126);
    execvp(argv[0], argv);
    _exit(127);
}

static int start(struct child *c, char **argv, struct err *e)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1};

    if (pipe(in) < 0 || pipe(out) < 0)
        goto fail;
    for (int i = 0; i < 2; i++) {
        fcntl(in[i], F_SETFD, FD_CLOEXEC);
        fcntl(out[i], F_SETFD, FD_CLOEXEC);
    }
    fcntl(in[1], F_SETFL, O_NONBLOCK);
    fflush(NULL);
    c->pid = fork();
    if (c->pid < 0)
        goto fail;
    if (c->pid == 0)
        be_child(argv, in[0], out[1]);
    close(in[0]);
    close(out[1]);
    c->in = in[1];
    c->out = out[0];
    return 0;
fail:
    err_set(e, E_IO, "%s: %s", argv[0], strerror(errno));
    for (int i = 0; i < 2; i++) {
        if (in[i] >= 0)
            close(in[i]);
        if (out[i] >= 0)
            close(out[i]);
    }
    return E_IO;
}

/* Feeds and reads until the output ends. NULL, or why it was given up. */
static const char *talk(struct child *c, struct slice in, struct buf *out, double until,
                        bool (*stop)(void))
{
    char chunk[4096];

    for (;;) {
        struct pollfd fd[2] = {{c->out, POLLIN, 0}, {c->in, POLLOUT, 0}};
        double left = until - clock_seconds();
        ssize_t n;

        if (stop && stop())
            return "interrupted";
        if (left <= 0)
            return "it took too long";
        if (c->in >= 0 && in.n == 0) {
            close(c->in);
            c->in = -1;
        }
        if (poll(fd, c->in >= 0 ? 2 : 1, left < 0.2 ? (int)(left * 1000) + 1 : 200) < 0 &&
            errno != EINTR)
            return strerror(errno);
        if (c->in >= 0 && fd[1].revents) {
            n = write(c->in, in.p, in.n);
            if (n > 0)
                in = (struct slice){in.p + n, in.n - (size_t)n};
            else if (n < 0 && errno != EAGAIN && errno != EINTR)
                in.n = 0; // it does not want them
        }
        if (!fd[0].revents)
            continue;
        n = read(c->out, chunk, sizeof chunk);
        if (n == 0)
            return NULL;
        if (n > 0)
            buf_add(out, chunk, (size_t)n);
        if (out->n > RUNTOOL_BYTES)
            return "its result is larger than 1 MiB";
    }
}

/* The child's status; it is not waited for longer than until. */
static int reap(struct child *c, double until, const char **why, bool (*stop)(void))
{
    struct timespec nap = {0, 5000000};
    int status = 0;

    while (!*why && waitpid(c->pid, &status, WNOHANG) == 0) {
        if (stop && stop())
            *why = "interrupted";
        else if (clock_seconds() > until)
            *why = "it took too long";
        nanosleep(&nap, NULL);
    }
    if (*why) {
        kill(-c->pid, SIGKILL);
        kill(c->pid, SIGKILL);
        while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
    return status;
}

int runtool(struct runtool *r, const char *command, struct slice arguments, double seconds,
            bool (*stop)(void), struct err *e)
{
    char *argv[WORDS + 1];
    char *words = mem_dup(command, strlen(command), e);
    struct child c = {0};
    double until = clock_seconds() + seconds;
    void (*pipe_was)(int);
    const char *why;
    int status, rc;

    if (!words)
        return E_NOMEM;
    if (split(words, argv) <= 0) {
        mem_free(words);
        return err_set(e, E_USAGE, "'%.60s': no command of 1 to %d words", command, WORDS);
    }
    buf_clear(&r->result);
    pipe_was = signal(SIGPIPE, SIG_IGN);
    rc = start(&c, argv, e);
    if (rc == 0) {
        why = talk(&c, arguments, &r->result, until, stop);
        status = reap(&c, until, &why, stop);
        if (c.in >= 0)
            close(c.in);
        close(c.out);
        r->failed = why || status != 0;
        if (r->failed) {
            struct buf said = r->result;

            r->result = (struct buf){0};
            if (why)
                buf_printf(&r->result, "error: %s: %s", argv[0], why);
            else if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
                buf_printf(&r->result, "error: %s: cannot be run", argv[0]);
            else if (WIFEXITED(status))
                buf_printf(&r->result, "error: %s: exit status %d", argv[0], WEXITSTATUS(status));
            else
                buf_printf(&r->result, "error: %s: killed by signal %d", argv[0], WTERMSIG(status));
            if (said.n)
                buf_printf(&r->result, "\n%s", said.p);
            buf_fini(&said);
        }
        while (r->result.n && r->result.p[r->result.n - 1] == '\n')
            r->result.n--;
    }
    signal(SIGPIPE, pipe_was);
    mem_free(words);
    return rc < 0 ? rc : r->result.bad ? err_nomem(e, r->result.n) : 0;
}
