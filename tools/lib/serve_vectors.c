/* serve_vectors.c - see serve_in.h: embeddings, and the scores of a reranker. */
#include "tools/lib/api_vectors.h"
#include "tools/lib/serve_in.h"

static int read_embed(struct job *j, struct err *e)
{
    return vectors_parse(&j->r, &j->o, false, buf_view(&j->body), e);
}

static int read_rank(struct job *j, struct err *e)
{
    return vectors_parse(&j->r, &j->o, true, buf_view(&j->body), e);
}

static int begin(struct call *c, struct buf *out, struct err *e)
{
    (void)c;
    (void)out;
    (void)e;
    return 0;
}

static int event(struct call *c, struct buf *out, int prompt, const struct rill_event *ev,
                 struct err *e)
{
    (void)out;
    return vectors_take(&c->job->answer[prompt], ev, e);
}

static void end(struct call *c, struct buf *out)
{
    (void)c;
    (void)out;
}

static void whole(struct call *c, struct buf *out)
{
    vectors_reply(out, &c->job->r, &c->job->o, slice_of(c->id), c->job->answer);
}

const struct form form_embed = {.prefix = "embd-",
                                .read = read_embed,
                                .begin = begin,
                                .event = event,
                                .end = end,
                                .ping = "",
                                .whole = whole,
                                .error = form_error,
                                .by_events = true};
const struct form form_rank = {.prefix = "rerank-",
                               .read = read_rank,
                               .begin = begin,
                               .event = event,
                               .end = end,
                               .ping = "",
                               .whole = whole,
                               .error = form_error,
                               .by_events = true};
