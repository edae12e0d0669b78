/* serve_messages.c - see serve_in.h: Anthropic's Messages API. */
#include "base/mem.h"
#include "tools/lib/api_messages.h"
#include "tools/lib/serve_in.h"

int text_count(struct job *j, struct err *e)
{
    int rc = messages_parse(&j->r, &j->o, true, buf_view(&j->body), e);

    if (rc < 0)
        return rc;
    buf_printf(&j->reply, "{\"input_tokens\":%zu", j->r.prompt[0].n);
    api_put_warnings(&j->reply, &j->r, NULL, 0);
    buf_byte(&j->reply, '}');
    return 0;
}

static int begin(struct call *c, struct buf *out, struct err *e)
{
    c->state = mem_new(sizeof(struct messages_stream), e);
    if (!c->state)
        return E_NOMEM;
    messages_begin(c->state, out, &c->job->r, &c->job->o, slice_of(c->id));
    return 0;
}

static int event(struct call *c, struct buf *out, int prompt, const struct rill_event *ev,
                 struct err *e)
{
    (void)prompt;
    return messages_event(c->state, out, &c->job->r, &c->job->o, c->job->answer, ev, e);
}

static void end(struct call *c, struct buf *out)
{
    messages_end(c->state, out, &c->job->r, c->job->answer);
}

static void whole(struct call *c, struct buf *out)
{
    messages_reply(out, &c->job->r, &c->job->o, slice_of(c->id), c->job->answer);
}

static void error(struct buf *out, const struct api_status *s, const char *message,
                  const char *param, const char *id)
{
    (void)param;
    messages_error(out, s, message, id);
}

static void done(struct call *c)
{
    mem_free(c->state);
}

const struct form form_messages = {.prefix = "msg_",
                                   .kind = API_MESSAGES,
                                   .begin = begin,
                                   .event = event,
                                   .end = end,
                                   .ping = "event: ping\ndata: {\"type\":\"ping\"}\n\n",
                                   .whole = whole,
                                   .error = error,
                                   .anthropic = true,
                                   .done = done};
