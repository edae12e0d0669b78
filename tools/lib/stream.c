/* stream.c - see stream.h. */
#include "tools/lib/stream.h"

#include <stdint.h>
#include <string.h>

#include "base/clock.h"
#include "tools/lib/tool.h"

enum { LINE = 64, STREAMS_MAX = 16 };

struct job {
    const char *p;
    size_t lines; // of one stream of one member
    int streams;
    uint64_t sum; // what was read, so that no compiler leaves it out
};

/* One word of it: the line comes whole, and the fewer instructions a line takes, the more lines are
 * on their way at once. Reading all of it was measured slower than matrices that do. */
static uint64_t line_word(const char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static void member_read(void *arg, int member, int n)
{
    struct job *j = (struct job *)arg;
    const char *at[STREAMS_MAX];
    uint64_t sum = 0;

    (void)n;
    for (int k = 0; k < j->streams; k++)
        at[k] = j->p + ((size_t)member * (size_t)j->streams + (size_t)k) * j->lines * LINE;
    for (size_t i = 0; i < j->lines * LINE; i += LINE)
        for (int k = 0; k < j->streams; k++)
            sum ^= line_word(at[k] + i);
    __atomic_fetch_xor(&j->sum, sum, __ATOMIC_RELAXED);
}

double stream_read(struct team *t, const void *p, size_t bytes, int streams)
{
    const size_t parts = (size_t)team_size(t) * (size_t)streams;
    struct job j = {(const char *)p, bytes / LINE / parts, streams, 0};
    const double start = clock_seconds();

    team_run(t, member_read, &j);
    return (double)(j.lines * LINE * parts) / (clock_seconds() - start);
}
