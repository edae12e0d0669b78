/* queue.c - see queue.h. */
#include "tools/lib/queue.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t more;
    void **at; // [cap] a ring
    size_t cap, head, n;
};

int queue_new(struct queue **out, struct err *e)
{
    struct queue *q = mem_new(sizeof *q, e);
    pthread_condattr_t attr;

    *out = q;
    if (!q)
        return E_NOMEM;
    pthread_mutex_init(&q->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&q->more, &attr);
    pthread_condattr_destroy(&attr);
    return 0;
}

void queue_free(struct queue *q)
{
    if (!q)
        return;
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->more);
    mem_free(q->at);
    mem_free(q);
}

/* Twice the room, the oldest first. */
static int grow(struct queue *q, struct err *e)
{
    size_t cap = q->cap ? 2 * q->cap : 64;
    void **at = mem_array(cap, sizeof *at, e);

    if (!at)
        return E_NOMEM;
    for (size_t i = 0; i < q->n; i++)
        at[i] = q->at[(q->head + i) % q->cap];
    mem_free(q->at);
    q->at = at;
    q->cap = cap;
    q->head = 0;
    return 0;
}

int queue_put(struct queue *q, void *item, struct err *e)
{
    int rc = 0;

    pthread_mutex_lock(&q->lock);
    if (q->n == q->cap)
        rc = grow(q, e);
    if (rc == 0)
        q->at[(q->head + q->n++) % q->cap] = item;
    pthread_cond_signal(&q->more);
    pthread_mutex_unlock(&q->lock);
    return rc;
}

static struct timespec after(double seconds)
{
    struct timespec t;
    double whole = floor(seconds);

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)whole;
    t.tv_nsec += (long)((seconds - whole) * 1e9);
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    return t;
}

void *queue_take(struct queue *q, double wait)
{
    struct timespec until = wait > 0 ? after(wait) : (struct timespec){0};
    void *item = NULL;
    int rc = 0;

    pthread_mutex_lock(&q->lock);
    while (q->n == 0 && wait != 0 && rc != ETIMEDOUT)
        rc = wait < 0 ? pthread_cond_wait(&q->more, &q->lock)
                      : pthread_cond_timedwait(&q->more, &q->lock, &until);
    if (q->n > 0) {
        item = q->at[q->head];
        q->head = (q->head + 1) % q->cap;
        q->n--;
    }
    pthread_mutex_unlock(&q->lock);
    return item;
}

/* -- bytes -- */

struct bytes_queue {
    pthread_mutex_t lock;
    pthread_cond_t room;
    struct buf held;
    size_t limit;
    int fd;
    bool closed;
};

int bytes_new(struct bytes_queue **out, size_t limit, struct err *e)
{
    struct bytes_queue *q = mem_new(sizeof *q, e);

    *out = q;
    if (!q)
        return E_NOMEM;
    q->limit = limit;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->room, NULL);
    q->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (q->fd < 0)
        return err_set(e, E_IO, "no descriptor for a queue");
    return 0;
}

void bytes_free(struct bytes_queue *q)
{
    if (!q)
        return;
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->room);
    buf_fini(&q->held);
    if (q->fd >= 0)
        close(q->fd);
    mem_free(q);
}

int bytes_fd(const struct bytes_queue *q)
{
    return q->fd;
}

bool bytes_put(struct bytes_queue *q, struct buf *b)
{
    const uint64_t one = 1;
    bool ok, first;

    if (b->n == 0)
        return !b->bad;
    pthread_mutex_lock(&q->lock);
    while (q->held.n > q->limit && !q->closed)
        pthread_cond_wait(&q->room, &q->lock);
    first = q->held.n == 0;
    buf_slice(&q->held, buf_view(b));
    ok = !q->held.bad && !b->bad;
    pthread_mutex_unlock(&q->lock);
    buf_clear(b);
    /* a full counter wakes the reader as well */
    if (first)
        (void)!write(q->fd, &one, sizeof one);
    return ok;
}

void bytes_take(struct bytes_queue *q, struct buf *b)
{
    struct buf held;
    uint64_t n;

    (void)!read(q->fd, &n, sizeof n); /* nothing to read: nothing to reset */
    buf_clear(b);
    pthread_mutex_lock(&q->lock);
    held = q->held;
    q->held = *b;
    pthread_cond_broadcast(&q->room);
    pthread_mutex_unlock(&q->lock);
    *b = held;
}

void bytes_close(struct bytes_queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->room);
    pthread_mutex_unlock(&q->lock);
}
