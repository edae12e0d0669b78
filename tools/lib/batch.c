/* batch.c - see batch.h. */
#include "tools/lib/batch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rng.h"
#include "tools/lib/tool.h"

/* A line on its way. */
struct job {
    bool used, done, failed;
    struct api_request r;
    struct api_who who;
    struct api_answer *answer; // [n_prompt][best_of]
    struct ref *ref;           // [n_prompt] what events carry
    int left;                  // answers not finished
    struct err why;            // of a failure
    double began, first;       // first token, seconds
    int cached;
    struct buf reply;
    size_t bytes; // of its line
};

/* What a request's events lead back to. */
struct ref {
    struct job *job;
    int prompt, number;
};

struct batch {
    struct rill_engine *g, *alone; // alone: for verifying
    const struct batch_opts *o;
    struct batch_result *result;
    struct job *job;    // [n_job] a ring
    int n_job, head, n; // the oldest, and how many are on their way
    uint64_t line;      // lines read
    struct records in;
    bool end;
    int fd; // to write to, -1: standard output
    /* what the output file already answers */
    struct buf names;
    struct map seen; // "id" -> times
    struct progress progress;
    uint64_t bytes; // of lines answered
};

/* -- output -- */

static int put(struct batch *b, struct slice text, struct err *e)
{
    if (b->fd < 0) {
        errno = 0;
        fwrite(text.p, 1, text.n, stdout);
        fflush(stdout);
        return ferror(stdout) ? err_set(e, E_IO, "standard output: cannot write: %s",
                                        strerror(errno ? errno : EIO))
                              : 0;
    }
    while (text.n > 0) {
        ssize_t n = write(b->fd, text.p, text.n);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(e, E_IO, "%s: cannot write: %s", b->o->out, strerror(errno));
        text.p += n;
        text.n -= (size_t)n;
    }
    return 0;
}

/* -- resuming -- */

/* The name under which a finished line is remembered: a custom_id as JSON, or the line's number. */
static void name_of(struct buf *name, const struct api_who *who)
{
    buf_clear(name);
    if (who->custom_id)
        buf_json(name, slice_of(who->custom_id));
    else
        buf_printf(name, "%llu", (unsigned long long)who->line);
}

static int remember(struct batch *b, struct slice name, struct err *e)
{
    uint32_t times = 0;

    if (map_get(&b->seen, name, &times))
        return map_put(&b->seen, name, times + 1, e);
    name.p = mem_dup(name.p, name.n, e);
    if (!name.p)
        return E_NOMEM;
    buf_add(&b->names, &name.p, sizeof name.p);
    return b->names.bad ? E_NOMEM : map_put(&b->seen, name, 1, e);
}

/* Whether a line with this name has been answered; each answer counts for one line. */
static bool answered(struct batch *b, struct slice name)
{
    uint32_t times = 0;

    if (!map_get(&b->seen, name, &times) || times == 0)
        return false;
    map_put(&b->seen, name, times - 1, NULL);
    return true;
}

static int remember_line(struct batch *b, struct slice text, uint64_t number, struct err *e)
{
    json_error_t why;
    json_t *line = json_loadb(text.p, text.n, JSON_ALLOW_NUL, &why);
    const json_t *id = json_object_get(line, "custom_id");
    struct api_who who = {0};
    struct buf name = {0};
    int rc = 0;

    if (json_is_string(id))
        who.custom_id = json_string_value(id);
    else if (json_is_integer(id))
        who.line = (uint64_t)json_integer_value(id);
    else
        rc = err_set(e, E_FORMAT, "%s: line %llu is no reply with a custom_id", b->o->out,
                     (unsigned long long)number);
    name_of(&name, &who);
    rc = rc < 0 ? rc : remember(b, buf_view(&name), e);
    buf_fini(&name);
    json_decref(line);
    return rc;
}

/* Reads the replies that are there and cuts a last line without its end. */
static int read_answered(struct batch *b, struct err *e)
{
    struct records in = {.kind = RECORD_LINES, .fd = b->fd};
    struct slice line;
    uint64_t at = 0, number = 0;
    struct stat st;
    int rc;

    if (fstat(b->fd, &st) < 0)
        return err_set(e, E_IO, "%s: %s", b->o->out, strerror(errno));
    while ((rc = records_next(&in, &line, e)) > 0) {
        if (at + line.n + 1 > (uint64_t)st.st_size)
            break; // torn
        rc = remember_line(b, line, ++number, e);
        if (rc < 0)
            break;
        at += line.n + 1;
    }
    records_fini(&in);
    if (rc >= 0 && ftruncate(b->fd, (off_t)at) < 0)
        rc = err_set(e, E_IO, "%s: cannot cut its torn last line: %s", b->o->out, strerror(errno));
    return rc < 0 ? rc : 0;
}

static int open_out(struct batch *b, struct err *e)
{
    int flags = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | (b->o->resume ? 0 : O_TRUNC);

    b->fd = -1;
    if (!b->o->out)
        return 0;
    b->fd = open(b->o->out, flags, 0666);
    if (b->fd < 0)
        return err_set(e, E_IO, "%s: cannot open: %s", b->o->out, strerror(errno));
    return b->o->resume ? read_answered(b, e) : 0;
}

/* -- jobs -- */

static void job_fini(struct job *j)
{
    for (int i = 0; j->answer && i < j->r.n_prompt * j->r.best_of; i++)
        api_answer_fini(&j->answer[i]);
    mem_free(j->answer);
    mem_free(j->ref);
    api_fini(&j->r);
    buf_fini(&j->reply);
    *j = (struct job){0};
}

/* A request without a seed gets one from the run's and its name, so that neither batch nor shard
 * nor resume changes it. */
static uint64_t seed_of(const struct batch *b, const struct api_who *who)
{
    struct buf name = {0};
    uint64_t h;

    name_of(&name, who);
    h = XXH3_64bits(name.p ? name.p : "", name.n);
    buf_fini(&name);
    return rng_bits(b->o->seed, 2, h, 0);
}

static int submit(struct batch *b, struct job *j, struct err *e)
{
    struct rill_request *q = &j->r.q;
    int rc = 0;

    j->answer = mem_array((uint64_t)j->r.n_prompt * (uint64_t)j->r.best_of, sizeof *j->answer, e);
    j->ref = mem_array((uint64_t)j->r.n_prompt, sizeof *j->ref, e);
    if (!j->answer || !j->ref)
        return E_NOMEM;
    if (!q->sampling.has_seed)
        q->sampling.seed = seed_of(b, &j->who);
    q->sampling.has_seed = true;
    for (int i = 0; i < j->r.n_prompt && rc == 0; i++) {
        j->ref[i] = (struct ref){j, i, -1};
        q->ids = j->r.prompt[i].ids;
        q->n_ids = j->r.prompt[i].n;
        q->user = &j->ref[i];
        rc = rill_engine_submit(b->g, q, &j->ref[i].number, e);
        if (rc < 0)
            j->ref[i].number = -1;
        for (int k = 0; k < j->r.best_of && rc == 0; k++, j->left++)
            rc = api_answer_begin(&j->answer[i * j->r.best_of + k], &j->r, &b->o->api,
                                  &j->r.prompt[i], k, e);
    }
    return rc;
}

static void cancel(struct batch *b, struct job *j)
{
    for (int i = 0; j->ref && i < j->r.n_prompt; i++)
        if (j->ref[i].job && j->ref[i].number >= 0)
            rill_engine_cancel(b->g, j->ref[i].number);
}

static void fail(struct batch *b, struct job *j, const struct err *why)
{
    if (!j->failed)
        j->why = *why;
    j->failed = true;
    cancel(b, j);
}

static void finish(struct batch *b, struct job *j)
{
    char timings[200] = "";
    double now = clock_seconds();

    if (b->o->timings)
        snprintf(timings, sizeof timings,
                 ",\"timings\":{\"first_token_s\":%.6f,\"total_s\":%.6f,\"cached_tokens\":%d}",
                 j->first > 0 ? j->first - j->began : 0, now - j->began, j->cached);
    if (j->failed) {
        api_reply_error(&j->reply, &j->who, &j->why);
        b->result->failed++;
    } else {
        api_reply(&j->reply, &j->r, &b->o->api, &j->who, j->answer, timings);
    }
    j->done = true;
}

/* An event joins an answer. */
static int join(struct batch *b, struct job *j, int prompt, struct api_answer *a,
                const struct rill_event *ev, struct err *e)
{
    const struct toolcall_event *pieces;
    int rc = api_take(a, &j->r, &b->o->api, &j->r.prompt[prompt], ev, e);

    while (rc == 0 && (rc = api_pieces(a, &j->r, &pieces, e)) > 0)
        rc = 0;
    return rc;
}

/* -- verifying -- */

/* The same request by itself: the first difference, as a sentence. */
static int verify(struct batch *b, struct job *j, struct err *e)
{
    struct rill_event ev;
    int number, rc = 0;

    for (int p = 0; p < j->r.n_prompt && rc == 0; p++) {
        struct api_answer *want = j->answer + (ptrdiff_t)p * j->r.best_of;
        struct api_answer *got = mem_array((uint64_t)j->r.best_of, sizeof *got, e);

        if (!got)
            return E_NOMEM;
        j->r.q.ids = j->r.prompt[p].ids;
        j->r.q.n_ids = j->r.prompt[p].n;
        j->r.q.draft = 0;
        rc = rill_engine_submit(b->alone, &j->r.q, &number, e);
        for (int k = 0; k < j->r.best_of && rc == 0; k++)
            rc = api_answer_begin(&got[k], &j->r, &b->o->api, &j->r.prompt[p], k, e);
        while (rc == 0 && (rc = rill_engine_step(b->alone, &ev, 1, e)) > 0)
            rc = join(b, j, p, &got[ev.choice], &ev, e);
        for (int k = 0; k < j->r.best_of && rc == 0; k++)
            if (!slice_eq(buf_view(&want[k].text), buf_view(&got[k].text)) ||
                !slice_eq(buf_view(&want[k].reasoning), buf_view(&got[k].reasoning)) ||
                !slice_eq(buf_view(&want[k].calls), buf_view(&got[k].calls)) ||
                !slice_eq(buf_view(&want[k].logprobs), buf_view(&got[k].logprobs))) {
                struct buf name = {0};

                name_of(&name, &j->who);
                tool_warn("%.*s: answer %d differs from the one made alone", (int)name.n, name.p,
                          k);
                buf_fini(&name);
                b->result->differ++;
            }
        for (int k = 0; k < j->r.best_of; k++)
            api_answer_fini(&got[k]);
        mem_free(got);
    }
    return rc;
}

/* -- reading -- */

static struct job *new_job(struct batch *b)
{
    struct job *j = &b->job[(b->head + b->n++) % b->n_job];

    *j = (struct job){.used = true, .began = clock_seconds()};
    return j;
}

static bool ours(const struct batch *b)
{
    return b->o->shards <= 1 || (b->line - 1) % (uint64_t)b->o->shards + 1 == (uint64_t)b->o->shard;
}

/* A line becomes a job, is answered already, or is not ours. */
static int take_line(struct batch *b, struct slice line, struct err *e)
{
    struct job *j = new_job(b);
    struct buf name = {0};
    struct err why = {0};
    bool skip;
    int rc = api_parse(&j->r, &b->o->api, line, &why);

    j->who = (struct api_who){j->r.custom_id, b->line, j->r.batch};
    name_of(&name, &j->who);
    skip = answered(b, buf_view(&name));
    buf_fini(&name);
    j->bytes = line.n + 1;
    if (skip) {
        b->n--;
        b->progress.total -= b->progress.total > j->bytes ? j->bytes : 0;
        b->result->skipped++;
        job_fini(j);
        return 0;
    }
    b->result->lines++;
    rc = rc < 0 ? rc : submit(b, j, &why);
    if (rc < 0)
        fail(b, j, &why);
    if (rc == E_NOMEM)
        return err_set(e, E_NOMEM, "%s", why.text);
    if (j->left == 0)
        finish(b, j);
    return 0;
}

static bool blank(struct slice s)
{
    while (s.n && strchr(" \t\r", *s.p) && *s.p) {
        s.p++;
        s.n--;
    }
    return s.n == 0;
}

/* Reads lines while there is room for jobs; waits for input only when nothing else is to be done.
 */
static int fill(struct batch *b, struct err *e)
{
    while (!b->end && b->n < b->n_job) {
        struct slice line;
        int rc;

        if (b->n > 0 && !records_ready(&b->in))
            return 0;
        rc = records_next(&b->in, &line, e);
        if (rc <= 0) {
            b->end = true;
            return rc;
        }
        b->line++;
        if (b->line == 1 && line.n >= 3 && memcmp(line.p, "\xef\xbb\xbf", 3) == 0)
            line = (struct slice){line.p + 3, line.n - 3}; // a byte-order mark
        if (ours(b) && !blank(line) && (rc = take_line(b, line, e)) < 0)
            return rc;
    }
    return 0;
}

/* -- events -- */

static void take_event(struct batch *b, const struct rill_event *ev)
{
    struct ref *ref = ev->user;
    struct job *j = ref->job;
    struct api_answer *a = &j->answer[ref->prompt * j->r.best_of + ev->choice];
    struct err e = {0};

    if (ev->kind == RILL_TOKEN && j->first == 0)
        j->first = clock_seconds();
    b->progress.count += ev->kind == RILL_TOKEN;
    if (join(b, j, ref->prompt, a, ev, &e) < 0)
        fail(b, j, &e);
    if (ev->kind != RILL_DONE)
        return;
    j->cached += ev->choice == 0 ? ev->cached : 0;
    if (ev->finish == RILL_FAILED) {
        struct err why = {0};

        err_set(&why, ev->code, "%s", ev->message);
        fail(b, j, &why);
    }
    j->left--;
}

/* Writes the replies whose turn it is. */
static int flush(struct batch *b, struct err *e)
{
    for (int i = 0; i < b->n; i++) {
        struct job *j = &b->job[(b->head + i) % b->n_job];
        int rc = 0;

        if (j->used && !j->done && j->left == 0) {
            if (b->alone && !j->failed)
                rc = verify(b, j, e);
            finish(b, j);
        }
        if (rc < 0)
            return rc;
        if (j->reply.bad)
            return err_nomem(e, j->reply.n);
        if (j->done && (i == 0 || b->o->unordered)) {
            rc = put(b, buf_view(&j->reply), e);
            b->bytes += j->bytes;
            job_fini(j);
        }
        if (rc < 0)
            return rc;
        if (i == 0 && !j->used) { // the ring moves on
            b->head = (b->head + 1) % b->n_job;
            b->n--;
            i--;
        }
    }
    return 0;
}

/* -- all of it -- */

static int go(struct batch *b, struct err *e)
{
    struct rill_event ev[64];

    for (;;) {
        int n = fill(b, e);

        if (n < 0 || tool_interrupted() || (b->end && b->n == 0))
            return n < 0 ? n : 0;
        n = rill_engine_step(b->g, ev, (int)ARRAY_LEN(ev), e);
        if (n < 0)
            return n;
        for (int i = 0; i < n; i++)
            take_event(b, &ev[i]);
        n = flush(b, e);
        if (n < 0)
            return n;
        progress_at(&b->progress, b->bytes);
    }
}

/* An engine of its own to make answers alone, with the other's adapters under their numbers. */
static int open_alone(struct batch *b, struct err *e)
{
    struct rill_lora lora[RILL_LORA_MAX];
    const int n = rill_engine_lora_list(b->g, lora, RILL_LORA_MAX);
    const struct rill_engine_opts o = {.max_seq = b->o->parallel,
                                       .n_ctx = rill_engine_ctx(b->g),
                                       .max_lora = n,
                                       .no_cache = true};
    int rc = rill_engine_open(&b->alone, b->o->api.model, &o, e), id;

    for (int i = 0; i < n && rc == 0; i++)
        rc = rill_engine_lora_load(b->alone, lora[i].path, &id, e);
    return rc;
}

/* How much of standard input is there to be read by this shard; 0: nobody knows. */
static uint64_t input_bytes(const struct batch_opts *o)
{
    const off_t at = lseek(STDIN_FILENO, 0, SEEK_CUR);
    struct stat st;

    if (at < 0 || fstat(STDIN_FILENO, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < at)
        return 0;
    return (uint64_t)(st.st_size - at) / (uint64_t)(o->shards > 1 ? o->shards : 1);
}

int batch_run(struct rill_engine *g, const struct batch_opts *o, struct batch_result *out,
              struct err *e)
{
    struct batch b = {.g = g,
                      .o = o,
                      .result = out,
                      .in = {.kind = RECORD_LINES, .max = API_BODY_MAX},
                      .fd = -1};
    int rc;

    *out = (struct batch_result){0};
    b.n_job = 2 * o->parallel + 2;
    b.job = mem_array((uint64_t)b.n_job, sizeof *b.job, e);
    rc = b.job ? map_init(&b.seen, 0, e) : E_NOMEM;
    rc = rc < 0 ? rc : open_out(&b, e);
    if (rc == 0 && o->verify)
        rc = open_alone(&b, e);
    progress_begin(&b.progress, "answering", input_bytes(o), true);
    b.progress.unit = "tok";
    if (rc == 0)
        rc = go(&b, e);
    progress_end(&b.progress);
    if (b.fd >= 0 && close(b.fd) < 0 && rc == 0)
        rc = err_set(e, E_IO, "%s: cannot write: %s", o->out, strerror(errno));
    for (int i = 0; b.job && i < b.n_job; i++)
        job_fini(&b.job[i]);
    for (size_t i = 0; i + sizeof(char *) <= b.names.n; i += sizeof(char *)) {
        char *name;

        memcpy(&name, b.names.p + i, sizeof name);
        mem_free(name);
    }
    buf_fini(&b.names);
    map_fini(&b.seen);
    mem_free(b.job);
    records_fini(&b.in);
    rill_engine_close(b.alone);
    return rc;
}

/* -- shards -- */

static bool env_int(const char *name, int *out)
{
    const char *v = getenv(name);
    char *end;
    long n;

    if (!v || !*v)
        return false;
    n = strtol(v, &end, 10);
    *out = (int)n;
    return !*end && n >= 0 && n <= INT32_MAX;
}

int batch_shard(const char *text, int *shard, int *shards, struct err *e)
{
    static const struct {
        const char *id, *count, *first;
    } kinds[] = {{"SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"},
                 {"SLURM_PROCID", "SLURM_NTASKS", NULL},
                 {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", NULL},
                 {"RANK", "WORLD_SIZE", NULL}};
    char *end;
    long i, n;

    for (size_t k = 0; strcmp(text, "auto") == 0 && k < ARRAY_LEN(kinds); k++) {
        int first = 0;

        if (!env_int(kinds[k].id, shard) || !env_int(kinds[k].count, shards))
            continue;
        if (kinds[k].first && !env_int(kinds[k].first, &first))
            continue;
        *shard -= first - 1;
        if (*shard >= 1 && *shard <= *shards)
            return 0;
        return err_set(e, E_USAGE, "%s and %s name no part", kinds[k].id, kinds[k].count);
    }
    errno = 0;
    i = strtol(text, &end, 10);
    if (end == text || *end != '/')
        return err_set(e, E_USAGE,
                       "--shard '%s': must be I/N or, with a scheduler's variables, auto", text);
    n = strtol(end + 1, &end, 10);
    if (errno || *end || n < 1 || i < 1 || i > n || n > INT32_MAX)
        return err_set(e, E_USAGE, "--shard '%s': must be I/N with I from 1 to N", text);
    *shard = (int)i;
    *shards = (int)n;
    return 0;
}
