/* serve_responses.c - see serve_in.h: OpenAI's Responses API. */
#include "base/mem.h"
#include "tools/lib/api_responses.h"
#include "tools/lib/serve_in.h"

static int begin(struct call *c, struct buf *out, struct err *e)
{
    c->state = mem_new(sizeof(struct responses), e);
    if (!c->state)
        return E_NOMEM;
    responses_begin(c->state, out, &c->job->r, &c->job->o, c->id + sizeof "resp_" - 1);
    return 0;
}

static int event(struct call *c, struct buf *out, int prompt, const struct rill_event *ev,
                 struct err *e)
{
    (void)prompt;
    return responses_event(c->state, out, c->job->answer, ev, e);
}

static void end(struct call *c, struct buf *out)
{
    responses_end(c->state, out, c->job->answer);
}

static void whole(struct call *c, struct buf *out)
{
    responses_reply(c->state, out, c->job->answer);
}

static void done(struct call *c)
{
    if (c->state)
        responses_fini(c->state);
    mem_free(c->state);
}

const struct form form_responses = {.prefix = "resp_",
                                    .kind = API_RESPONSES,
                                    .begin = begin,
                                    .event = event,
                                    .end = end,
                                    .ping = ": ping\n\n",
                                    .whole = whole,
                                    .error = form_error,
                                    .by_events = true,
                                    .done = done};
