/* serve_vectors.c - see serve_in.h: embeddings, and the scores of a reranker. */
#include "tools/lib/api_vectors.h"
#include "tools/lib/serve_in.h"

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
                                .kind = API_EMBED,
                                .begin = begin,
                                .event = event,
                                .end = end,
                                .ping = "",
                                .whole = whole,
                                .error = form_error,
                                .by_events = true};
const struct form form_rank = {.prefix = "rerank-",
                               .kind = API_RANK,
                               .begin = begin,
                               .event = event,
                               .end = end,
                               .ping = "",
                               .whole = whole,
                               .error = form_error,
                               .by_events = true};
