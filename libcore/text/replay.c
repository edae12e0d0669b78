/* replay.c - sampled ids in the next prompt, and the store of finished turns. */
#define _GNU_SOURCE // memmem
#include "text/replay.h"

#include <string.h>

#include "base/mem.h"

/* -- encoding -- */

struct job {
    const struct tok *t;
    struct slice prompt;
    unsigned flags;
    struct tok_ids *out;
    struct err *e;
    struct byte_span *part;          // [n_content] content of the stretch being tokenized
    const struct byte_span *content; // [n_content]
    size_t n_content;
    size_t first; // content that may lie in what comes next
    struct buf *made;
    bool begun; // ids are out: what follows goes on behind them
};

/* The content of prompt[from, to), as places in it. */
static size_t content_of(struct job *j, size_t from, size_t to)
{
    size_t n = 0;

    for (size_t i = j->first; i < j->n_content && j->content[i].at < to; i++) {
        size_t at = j->content[i].at > from ? j->content[i].at : from;
        size_t end = j->content[i].at + j->content[i].n;

        if (end <= from) {
            j->first = i + 1;
            continue;
        }
        j->part[n++] = (struct byte_span){at - from, (end < to ? end : to) - at};
    }
    return n;
}

/* One more byte for each id from the n-th on. */
static int mark_made(struct job *j, size_t n, char sampled)
{
    size_t k = j->out->n - n;

    if (!j->made || k == 0)
        return 0;
    if (!buf_reserve(j->made, k))
        return err_nomem(j->e, k);
    memset(j->made->p + j->made->n, sampled, k);
    j->made->n += k;
    return 0;
}

/* Tokenizes prompt[from, to). */
static int plain(struct job *j, size_t from, size_t to)
{
    unsigned flags = (j->flags & ~(unsigned)TOK_ADD) | (j->begun ? TOK_AFTER : 0u);
    struct slice text = {j->prompt.p + from, to - from};
    const size_t before = j->out->n;
    size_t n;
    int rc;

    if (from == to)
        return 0;
    j->begun = true;
    n = content_of(j, from, to);
    rc = tok_encode_parts(j->t, text, j->part, n, flags, j->out, j->e);
    return rc < 0 ? rc : mark_made(j, before, 0);
}

static int sampled(struct job *j, const struct replay_turn *turn, size_t from, size_t to)
{
    const size_t before = j->out->n;

    for (size_t i = from; i < to; i++) {
        int rc = tok_ids_add(j->out, turn->id[i], j->e);

        if (rc < 0)
            return rc;
        j->begun = true;
    }
    return mark_made(j, before, 1);
}

static size_t same_front(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    size_t i = 0;

    while (i < n && a.p[i] == b.p[i])
        i++;
    return i;
}

static size_t same_back(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    size_t i = 0;

    while (i < n && a.p[a.n - 1 - i] == b.p[b.n - 1 - i])
        i++;
    return i;
}

static size_t token_start(const struct replay_turn *turn, size_t i)
{
    return i ? turn->end[i - 1] : 0;
}

/* One span: the ids of the turn's unchanged front, what differs, the ids of its unchanged back.
 * Returns how far in the prompt that goes through *at. */
static int one_span(struct job *j, const struct replay_span *s, size_t *at)
{
    const struct replay_turn *turn = s->turn;
    struct slice rest = {j->prompt.p + s->from, j->prompt.n - s->from};
    struct slice text, front_cut;
    size_t same = same_front(rest, turn->text);
    size_t a = 0, b, n = turn->n, back;
    int rc;

    while (a < n && turn->end[a] <= same) // tokens without text of their own included
        a++;
    if ((rc = sampled(j, turn, 0, a)) < 0)
        return rc;
    *at = s->from + token_start(turn, a);
    if (a == n || *at >= s->to)
        return 0;

    /* The turn's own end may be outside of the span. */
    text = (struct slice){j->prompt.p + *at, s->to - *at};
    while (n > a && tok_kind_of(j->t, turn->id[n - 1]) == TOK_CONTROL &&
           same_back(text, (struct slice){turn->text.p, turn->end[n - 1]}) <
               turn->end[n - 1] - token_start(turn, n - 1))
        n--;
    front_cut = (struct slice){turn->text.p + token_start(turn, a),
                               token_start(turn, n) - token_start(turn, a)};
    back = same_back(text, front_cut);
    for (b = n; b > a && token_start(turn, n) - token_start(turn, b - 1) <= back;)
        b--;
    back = token_start(turn, n) - token_start(turn, b);
    if (back == 0) // nothing of it comes back: the text goes on behind the span
        return 0;
    if ((rc = plain(j, *at, s->to - back)) < 0 || (rc = sampled(j, turn, b, n)) < 0)
        return rc;
    *at = s->to;
    return 0;
}

static int bad_span(const struct replay_span *span, size_t i, size_t n, struct err *e)
{
    if (span[i].from <= span[i].to && span[i].to <= n && (i == 0 || span[i].from >= span[i - 1].to))
        return 0;
    return err_set(e, E_RANGE, "turn %zu: bytes %zu to %zu of a prompt of %zu", i, span[i].from,
                   span[i].to, n);
}

int replay_encode(const struct tok *t, struct slice prompt, const struct byte_span *content,
                  size_t n_content, const struct replay_span *span, size_t n, unsigned flags,
                  struct tok_ids *out, struct buf *made, struct err *e)
{
    struct job j = {.t = t,
                    .prompt = prompt,
                    .flags = flags,
                    .out = out,
                    .e = e,
                    .made = made,
                    .content = content,
                    .n_content = n_content,
                    .begun = flags & TOK_AFTER};
    size_t before = out->n, made_before = made ? made->n : 0, at = 0;
    bool bos = flags & TOK_ADD && tok_adds_bos(t) && tok_role_id(t, TOK_BOS) >= 0;
    bool eos = flags & TOK_ADD && tok_adds_eos(t) && tok_role_id(t, TOK_EOS) >= 0;
    int rc = 0;

    if (n_content && !(j.part = mem_array(n_content, sizeof *j.part, e)))
        return E_NOMEM;
    if (bos)
        rc = tok_ids_add(out, tok_role_id(t, TOK_BOS), e);
    if (rc == 0)
        rc = mark_made(&j, before, 0);
    for (size_t i = 0; i < n && rc == 0; i++) {
        if ((rc = bad_span(span, i, prompt.n, e)) < 0 || !span[i].turn || span[i].from < at)
            continue;
        if ((rc = plain(&j, at, span[i].from)) == 0) {
            at = span[i].from;
            rc = one_span(&j, &span[i], &at);
        }
    }
    if (rc == 0)
        rc = plain(&j, at, prompt.n);
    if (rc == 0 && eos && (rc = tok_ids_add(out, tok_role_id(t, TOK_EOS), e)) == 0)
        rc = mark_made(&j, out->n - 1, 0);
    if (rc < 0) {
        out->n = before;
        if (made)
            made->n = made_before;
    }
    mem_free(j.part);
    return rc;
}

size_t replay_find(struct slice prompt, struct slice head, struct slice tail,
                   const struct replay_turn *const *turn, size_t n_turn, struct replay_span *out)
{
    const char *end = prompt.p + prompt.n;
    const char *p = prompt.p;
    size_t n = 0;

    while (n < n_turn && head.n && (p = memmem(p, (size_t)(end - p), head.p, head.n))) {
        struct slice stop = tail.n ? tail : head;
        const char *q;

        p += head.n;
        q = memmem(p, (size_t)(end - p), stop.p, stop.n);
        q = q ? q : end;
        out[n] = (struct replay_span){(size_t)(p - prompt.p), (size_t)(q - prompt.p), turn[n]};
        n++;
        p = q;
    }
    return n;
}

/* -- the store -- */

struct entry {
    struct replay_turn turn;
    void *memory; // the key, the text, ids and ends
    struct slice key;
    size_t bytes;
    uint64_t hash;
    uint64_t used;
};

struct replay {
    struct entry *entry; // [cap]
    size_t n, cap;
    size_t bytes, max;
    uint64_t clock;
};

int replay_new(struct replay **out, size_t bytes, struct err *e)
{
    struct replay *r = mem_new(sizeof *r, e);

    if (!r)
        return E_NOMEM;
    r->max = bytes;
    *out = r;
    return 0;
}

static void drop(struct replay *r, size_t i)
{
    r->bytes -= r->entry[i].bytes;
    mem_free(r->entry[i].memory);
    r->entry[i] = r->entry[--r->n];
}

void replay_free(struct replay *r)
{
    if (!r)
        return;
    while (r->n)
        drop(r, r->n - 1);
    mem_free(r->entry);
    mem_free(r);
}

/* FNV-1a: only to skip comparing; equal keys are compared. */
static uint64_t hash_of(struct slice s)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (uint8_t)s.p[i]) * 0x100000001b3u;
    return h;
}

static struct entry *find(struct replay *r, struct slice key)
{
    uint64_t h = hash_of(key);

    for (size_t i = 0; i < r->n; i++)
        if (r->entry[i].hash == h && slice_eq(r->entry[i].key, key))
            return &r->entry[i];
    return NULL;
}

static void make_room(struct replay *r, size_t bytes)
{
    while (r->n && r->bytes + bytes > r->max) {
        size_t old = 0;

        for (size_t i = 1; i < r->n; i++)
            if (r->entry[i].used < r->entry[old].used)
                old = i;
        drop(r, old);
    }
}

/* The entry's memory: ids, ends, text, key, in this order for alignment. */
static int fill(struct entry *x, struct slice key, const struct tok *t, const int32_t *id, size_t n,
                struct err *e)
{
    struct buf text = {0};
    uint32_t *end = NULL;
    int32_t *ids;
    char *p;
    uint64_t bytes;
    int rc = E_NOMEM;

    if (!(end = mem_array(n + 1, sizeof *end, e)))
        goto fail;
    for (size_t i = 0; i < n; i++) {
        tok_decode(t, &id[i], 1, TOK_SHOW | TOK_INSIDE, &text);
        if (text.n > UINT32_MAX) {
            rc = err_set(e, E_RANGE, "a turn of %zu bytes", text.n);
            goto fail;
        }
        end[i] = (uint32_t)text.n;
    }
    if (text.bad || !mul_ok(n, sizeof *ids + sizeof *end, &bytes) ||
        !add_ok(bytes, text.n + key.n, &bytes) || !(x->memory = mem_new(bytes, e))) {
        rc = err_nomem(e, text.n);
        goto fail;
    }
    ids = x->memory;
    if (n) {
        memcpy(ids, id, n * sizeof *ids);
        memcpy(ids + n, end, n * sizeof *end);
    }
    p = (char *)(ids + 2 * n);
    memcpy(p, text.p ? text.p : "", text.n);
    memcpy(p + text.n, key.p, key.n);
    x->turn = (struct replay_turn){{p, text.n}, ids, (uint32_t *)(ids + n), n};
    x->key = (struct slice){p + text.n, key.n};
    x->bytes = bytes + sizeof *x;
    x->hash = hash_of(key);
    rc = 0;
fail:
    buf_fini(&text);
    mem_free(end);
    return rc;
}

int replay_put(struct replay *r, struct slice key, const struct tok *t, const int32_t *id, size_t n,
               struct err *e)
{
    struct entry x = {0}, *old = find(r, key);
    int rc;

    if (old)
        drop(r, (size_t)(old - r->entry));
    if ((rc = fill(&x, key, t, id, n, e)) < 0)
        return rc;
    if (x.bytes > r->max) {
        mem_free(x.memory);
        return 0;
    }
    make_room(r, x.bytes);
    if (r->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 16;
        struct entry *p = mem_resize(r->entry, r->cap, cap, sizeof *p, e);

        if (!p) {
            mem_free(x.memory);
            return E_NOMEM;
        }
        r->entry = p;
        r->cap = cap;
    }
    x.used = ++r->clock;
    r->bytes += x.bytes;
    r->entry[r->n++] = x;
    return 0;
}

const struct replay_turn *replay_get(struct replay *r, struct slice key)
{
    struct entry *x = find(r, key);

    if (!x)
        return NULL;
    x->used = ++r->clock;
    return &x->turn;
}
