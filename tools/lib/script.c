/* script.c - see script.h. */
#include "tools/lib/script.h"

#include <jansson.h>
#include <limits.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "tools/lib/tool.h"

enum { LOOK_BACK = 4000, SCRIPT_MAX = 16 << 20 };

struct line {
    const char *when; // or NULL
    const char *text;
    int repeat;
    int finish;
};

struct script {
    json_t *json;
    struct line *line; // [n]
    size_t n;
    double prompt_s, prompt_token_s, token_s;
    int parallel, fail_after, fail_open; // -1: never
};

/* An answer that runs or waits. */
struct said {
    int number, choice;
    const struct line *line;
    int32_t *ids; // of the text, once
    size_t n_ids, at, total;
    int n_prompt;
    double next; // when its next token is due; 0: it waits for a place
    double step; // seconds of its prompt
    bool placed, begun, cancelled;
    struct buf held; // bytes of its tokens that no event has told, behind `told`
    size_t told;     // what the last event told
    void *user;
};

struct script_engine {
    const struct script *s;
    const struct rill_model *m;
    struct said **said; // [cap]
    int n, cap, running, number;
    size_t turn;
    struct rill_stats stats;
    int opened; // how often, before
};

/* -- the file -- */

static double number_of(const json_t *j, const char *key, double otherwise)
{
    const json_t *v = json_object_get(j, key);

    return json_is_number(v) && json_number_value(v) >= 0 ? json_number_value(v) : otherwise;
}

static int read_line(struct line *l, const json_t *v, const char *path, size_t i, struct err *e)
{
    const char *finish = json_string_value(json_object_get(v, "finish"));

    l->when = json_string_value(json_object_get(v, "when"));
    l->text = json_string_value(json_object_get(v, "text"));
    l->repeat = (int)number_of(v, "repeat", 1);
    l->finish = finish && strcmp(finish, "length") == 0 ? RILL_LENGTH : RILL_STOP;
    if (!l->text)
        return err_set(e, E_FORMAT, "%s: answer %zu has no text", path, i);
    return 0;
}

int script_read(struct script **out, const char *path, struct err *e)
{
    struct script *s = mem_new(sizeof *s, e);
    struct file_view v = {0};
    const json_t *list;
    json_error_t why;
    int rc = s ? file_read(&v, path, SCRIPT_MAX, e) : E_NOMEM;

    *out = NULL;
    if (rc < 0)
        goto fail;
    s->json = json_loadb((const char *)v.p, v.n, 0, &why);
    list = json_object_get(s->json, "answers");
    if (!s->json)
        rc = err_set(e, E_FORMAT, "%s: line %d: %s", path, why.line, why.text);
    else if (!json_is_array(list) || json_array_size(list) == 0)
        rc = err_set(e, E_FORMAT, "%s: it has no answers", path);
    s->n = json_array_size(list);
    if (rc == 0 && !(s->line = mem_array(s->n, sizeof *s->line, e)))
        rc = E_NOMEM;
    for (size_t i = 0; i < s->n && rc == 0; i++)
        rc = read_line(&s->line[i], json_array_get(list, i), path, i, e);
    if (rc < 0)
        goto fail;
    s->prompt_s = number_of(s->json, "prompt_ms", 0) * 1e-3;
    s->prompt_token_s = number_of(s->json, "prompt_token_us", 0) * 1e-6;
    s->token_s = number_of(s->json, "token_ms", 0) * 1e-3;
    s->parallel = (int)number_of(s->json, "parallel", 256);
    s->fail_after = (int)number_of(s->json, "fail_after", -1);
    s->fail_open = (int)number_of(s->json, "fail_open", -1);
    file_unmap(&v);
    *out = s;
    return 0;
fail:
    file_unmap(&v);
    script_free(s);
    return rc;
}

void script_free(struct script *s)
{
    if (!s)
        return;
    mem_free(s->line);
    json_decref(s->json);
    mem_free(s);
}

/* -- the engine -- */

int script_open(struct script_engine **out, const struct script *s, const struct rill_model *m,
                struct err *e)
{
    struct script_engine *g = mem_new(sizeof *g, e);

    *out = g;
    if (!g)
        return E_NOMEM;
    g->s = s;
    g->m = m;
    return 0;
}

static void said_free(struct said *a)
{
    if (!a)
        return;
    rill_free(a->ids);
    buf_fini(&a->held);
    mem_free(a);
}

void script_close(struct script_engine *g)
{
    for (int i = 0; g && i < g->n; i++)
        said_free(g->said[i]);
    if (g)
        mem_free(g->said);
    mem_free(g);
}

/* The prompt's last bytes, with the text of its control tokens. */
static void tail_of(const struct script_engine *g, const struct rill_request *r, struct buf *b)
{
    size_t from = r->n_ids, n = 0, len;

    while (from > 0 && n < LOOK_BACK) {
        rill_piece(g->m, r->ids[--from], true, &len);
        n += len;
    }
    for (; from < r->n_ids; from++) {
        const char *p = rill_piece(g->m, r->ids[from], true, &len);

        buf_add(b, p, len);
    }
}

static const struct line *choose(struct script_engine *g, const struct rill_request *r)
{
    const struct script *s = g->s;
    const struct line *found = NULL;
    struct buf tail = {0};
    size_t free_lines = 0, turn;

    tail_of(g, r, &tail);
    for (size_t i = 0; i < s->n; i++) {
        free_lines += s->line[i].when == NULL;
        if (s->line[i].when && tail.p && strstr(tail.p, s->line[i].when))
            found = &s->line[i];
    }
    buf_fini(&tail);
    if (found || free_lines == 0)
        return found ? found : &s->line[s->n - 1];
    turn = g->turn++ % free_lines;
    for (size_t i = 0; i < s->n; i++)
        if (!s->line[i].when && turn-- == 0)
            return &s->line[i];
    return &s->line[0];
}

static int say(struct script_engine *g, const struct line *l, const struct rill_request *r,
               int choice, struct err *e)
{
    struct said *a = mem_new(sizeof *a, e);
    int rc;

    if (!a)
        return E_NOMEM;
    rc = rill_tokenize(g->m, l->text, strlen(l->text), RILL_AFTER | RILL_PARSE_SPECIAL, &a->ids,
                       &a->n_ids, e);
    if (rc == 0 && g->n == g->cap) {
        int cap = g->cap ? 2 * g->cap : 64;
        struct said **p =
            mem_resize(g->said, (uint64_t)g->cap, (uint64_t)cap, sizeof(struct said *), e);

        g->said = p ? p : g->said;
        g->cap = p ? cap : g->cap;
        rc = p ? 0 : E_NOMEM;
    }
    if (rc < 0) {
        said_free(a);
        return rc;
    }
    a->line = l;
    a->number = g->number;
    a->choice = choice;
    a->n_prompt = (int)r->n_ids;
    a->user = r->user;
    a->total = a->n_ids * (size_t)l->repeat;
    if (r->max_tokens > 0 && (size_t)r->max_tokens < a->total)
        a->total = (size_t)r->max_tokens;
    a->step = g->s->prompt_s + g->s->prompt_token_s * (double)r->n_ids;
    g->said[g->n++] = a;
    g->stats.prompt_rows += r->n_ids;
    return 0;
}

int script_submit(struct script_engine *g, const struct rill_request *r, int *number, struct err *e)
{
    const struct line *l;
    int was = g->n, rc = 0;

    if (r->embed)
        return err_set(e, E_UNSUPPORTED, "a script of answers has no vectors");
    l = choose(g, r);
    g->number++;
    for (int k = 0; k < (r->n > 1 ? r->n : 1) && rc == 0; k++)
        rc = say(g, l, r, k, e);
    while (rc < 0 && g->n > was)
        said_free(g->said[--g->n]);
    *number = g->number;
    return rc;
}

void script_cancel(struct script_engine *g, int number)
{
    for (int i = 0; i < g->n; i++)
        if (g->said[i]->number == number)
            g->said[i]->cancelled = true;
}

static void place(struct script_engine *g, double now)
{
    for (int i = 0; i < g->n && g->running < g->s->parallel; i++)
        if (g->said[i]->next == 0) {
            g->said[i]->next = now + g->said[i]->step;
            g->said[i]->placed = true;
            g->running++;
        }
}

static struct rill_event event_of(const struct script_engine *g, struct said *a)
{
    struct rill_event ev = {.request = a->number,
                            .choice = a->choice,
                            .pos = a->n_prompt + (int32_t)a->at,
                            .logprob = -0.5F,
                            .text = "",
                            .user = a->user};
    const char *piece;
    size_t n;

    if (a->told && a->held.n)
        memmove(a->held.p, a->held.p + a->told, a->held.n - a->told);
    a->held.n -= a->told;
    a->told = 0;
    if (!a->begun && !a->cancelled) {
        a->begun = true;
        ev.kind = RILL_PROMPT;
        return ev;
    }
    if (a->cancelled || a->at == a->total) {
        size_t all = a->n_ids * (size_t)a->line->repeat;

        ev.kind = RILL_DONE;
        ev.finish = a->cancelled ? RILL_CANCELLED : a->at < all ? RILL_LENGTH : a->line->finish;
        return ev;
    }
    ev.kind = RILL_TOKEN;
    ev.id = a->ids[a->at++ % a->n_ids];
    piece = rill_piece(g->m, ev.id, true, &n);
    buf_add(&a->held, piece, n);
    ev.text = a->held.p ? a->held.p : "";
    ev.n_text = a->told = utf8_whole(ev.text, a->held.n);
    return ev;
}

int script_step(struct script_engine *g, struct rill_event *ev, int max, struct err *e)
{
    const struct timespec nap = {0, 500000};
    double now = clock_seconds();
    int n = 0, k = 0;

    if (g->s->fail_after >= 0 && g->stats.drawn >= (uint64_t)g->s->fail_after && g->n > 0)
        return err_set(e, E_DEVICE, "the device has failed, as the script says");
    place(g, now);
    for (int i = 0; i < g->n; i++) {
        struct said *a = g->said[i];
        bool due = a->cancelled || (a->next > 0 && (!a->begun || a->next <= now));

        if (n < max && due) {
            ev[n] = event_of(g, a);
            a->next += ev[n].kind == RILL_PROMPT ? 0 : g->s->token_s;
            g->stats.drawn += ev[n].kind == RILL_TOKEN;
            if (ev[n++].kind == RILL_DONE) {
                g->running -= a->placed;
                said_free(a); // a last event has no text
                continue;
            }
        }
        g->said[k++] = a;
    }
    g->n = k;
    g->stats.steps++;
    if (n == 0)
        nanosleep(&nap, NULL);
    return n;
}

int script_reopen(struct script_engine *g, struct err *e)
{
    if (g->s->fail_open >= 0 && g->opened >= g->s->fail_open)
        return err_set(e, E_DEVICE, "the device cannot be opened again, as the script says");
    for (int i = 0; i < g->n; i++)
        said_free(g->said[i]);
    g->n = g->running = 0;
    g->opened++;
    g->stats = (struct rill_stats){0};
    return 0;
}

void script_stats(const struct script_engine *g, struct rill_stats *out)
{
    *out = g->stats;
    out->running = g->running;
    out->waiting = g->n - g->running;
}
