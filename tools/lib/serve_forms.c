/* serve_forms.c - see serve_in.h: chat and text completions as OpenAI's API has them. */
#include "tools/lib/serve_in.h"

#include "base/mem.h"

/* Members that tell how it was made. */
static void put_timings(const struct call *c, struct buf *b)
{
    const struct job *j = c->job;
    double first = c->first > 0 ? c->first : c->last;
    double drawing = c->last - first;

    buf_printf(b, ",\"seed\":%lld,\"timings\":{\"queue_ms\":%.3f,\"prompt_ms\":%.3f",
               (long long)j->r.q.sampling.seed, (j->start_at - c->began) * 1e3,
               first > 0 ? (first - j->start_at) * 1e3 : 0.0);
    buf_printf(b, ",\"predicted_n\":%d,\"predicted_ms\":%.3f,\"predicted_per_second\":%.3f}",
               c->drawn, drawing * 1e3,
               drawing > 0 && c->drawn > 1 ? (c->drawn - 1) / drawing : 0.0);
}

static int begin_stream(struct call *c, struct buf *out, struct err *e)
{
    struct job *j = c->job;

    (void)out;
    return api_stream_begin(&c->stream, &j->r, &j->o, slice_of(c->id), j->answer, e);
}

static int event(struct call *c, struct buf *out, int prompt, const struct rill_event *ev,
                 struct err *e)
{
    return api_stream_event(&c->stream, out, prompt, ev, e);
}

static void end_stream(struct call *c, struct buf *out)
{
    struct buf timings = {0};

    put_timings(c, &timings);
    api_stream_end(&c->stream, out, timings.p ? timings.p : "");
    buf_fini(&timings);
}

static void whole(struct call *c, struct buf *out)
{
    struct buf timings = {0};
    struct job *j = c->job;

    put_timings(c, &timings);
    buf_byte(out, '{');
    api_body(out, &j->r, &j->o, slice_of(c->id), j->answer, timings.p ? timings.p : "");
    buf_byte(out, '}');
    buf_fini(&timings);
}

/* The text alone too, where editors look for it. */
static void whole_infill(struct call *c, struct buf *out)
{
    whole(c, out);
    out->n--;
    buf_str(out, ",\"content\":");
    buf_json(out, buf_view(&c->job->answer[0].text));
    buf_byte(out, '}');
}

void form_error(struct buf *out, const struct api_status *s, const char *message, const char *param,
                const char *id)
{
    (void)id;
    api_error(out, s, message, param);
}

const struct form form_chat = {.prefix = "chatcmpl-",
                               .kind = API_CHAT,
                               .begin = begin_stream,
                               .event = event,
                               .end = end_stream,
                               .ping = ": ping\n\n",
                               .whole = whole,
                               .error = form_error};
const struct form form_text = {.prefix = "cmpl-",
                               .kind = API_TEXT,
                               .begin = begin_stream,
                               .event = event,
                               .end = end_stream,
                               .ping = ": ping\n\n",
                               .whole = whole,
                               .error = form_error};
const struct form form_infill = {.prefix = "infill-",
                                 .kind = API_INFILL,
                                 .begin = begin_stream,
                                 .event = event,
                                 .end = end_stream,
                                 .ping = ": ping\n\n",
                                 .whole = whole_infill,
                                 .error = form_error};
