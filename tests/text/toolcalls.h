/* toolcalls.h - running the tool-call parser in tests: an output in pieces, events as one text. */
#ifndef RILL_TESTS_TEXT_TOOLCALLS_H
#define RILL_TESTS_TEXT_TOOLCALLS_H

#include <stdlib.h>

#include "base/buf.h"
#include "base/rng.h"
#include "text/toolcall.h"

#define TOOLS_JSON                                                                                 \
    "[{\"type\": \"function\", \"function\": {\"name\": \"get_weather\", \"parameters\": "         \
    "{\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}, "                   \
    "\"days\": {\"type\": \"integer\"}, \"hourly\": {\"type\": \"boolean\"}, "                     \
    "\"tags\": {\"type\": \"array\"}, \"extra\": {\"$ref\": \"#/$defs/x\"}}, "                     \
    "\"$defs\": {\"x\": {\"anyOf\": [{\"type\": \"object\"}, {\"type\": \"null\"}]}}}}}, "         \
    "{\"name\": \"now\", \"parameters\": {\"type\": \"object\", \"properties\": {}}}, "            \
    "{\"name\": \"write_file\", \"parameters\": {\"properties\": {\"path\": "                      \
    "{\"type\": \"string\"}, \"content\": {\"type\": \"string\"}}}}]"

/* Events joined: adjacent deltas are one, so that the cuts of the input do not show. */
struct transcript {
    struct buf all;  // finished lines
    struct buf text; // the delta being joined
    enum toolcall_kind kind;
    struct buf call[3]; // id, name, arguments
    bool wrong;         // the call has had its error
    int index;
};

static inline void transcript_fini(struct transcript *t)
{
    buf_fini(&t->all);
    buf_fini(&t->text);
    for (int i = 0; i < 3; i++)
        buf_fini(&t->call[i]);
}

static inline void transcript_flush(struct transcript *t)
{
    if (t->text.n) {
        buf_str(&t->all, t->kind == TC_TEXT ? "text " : "reason ");
        buf_json(&t->all, buf_view(&t->text));
        buf_byte(&t->all, '\n');
    }
    buf_clear(&t->text);
}

/* Adds events; false: they break the rules (an index out of turn, a delta outside a call, ...). */
static inline bool transcript_add(struct transcript *t, const struct toolcall_event *ev, int n)
{
    for (int i = 0; i < n; i++) {
        const struct toolcall_event *e = &ev[i];
        bool delta = e->kind == TC_TEXT || e->kind == TC_REASON;

        if (!delta || e->kind != t->kind)
            transcript_flush(t);
        if (delta) {
            if (e->text.n == 0)
                return false;
            buf_slice(&t->text, e->text);
        } else if (e->kind == TC_BEGIN) {
            if (e->index != t->index + 1 || !e->name.n || !e->id.n)
                return false;
            t->index++;
            for (int k = 0; k < 3; k++)
                buf_clear(&t->call[k]);
            buf_slice(&t->call[0], e->id);
            buf_slice(&t->call[1], e->name);
        } else if (e->index != t->index || t->call[1].n == 0) { // no call is open
            return false;
        } else if (e->kind == TC_ARGS) {
            buf_slice(&t->call[2], e->text);
        } else if (e->kind == TC_END) {
            struct slice args = buf_view(&t->call[2]);

            buf_str(&t->all, e->complete ? "call " : "cut ");
            buf_slice(&t->all, buf_view(&t->call[1]));
            if (strncmp(t->call[0].p, "call_", 5) != 0)
                buf_printf(&t->all, " #%s", t->call[0].p);
            if (e->id.n)
                buf_printf(&t->all, " #%.*s", (int)e->id.n, e->id.p);
            buf_byte(&t->all, ' ');
            for (size_t k = 0; k < args.n; k++) // one line
                if (args.p[k] == '\n')
                    buf_str(&t->all, "\\n");
                else
                    buf_byte(&t->all, args.p[k]);
            buf_byte(&t->all, '\n');
            if (t->wrong)
                buf_str(&t->all, "error\n");
            t->wrong = false;
            buf_clear(&t->call[1]);
        } else if (t->wrong) {
            return false;
        } else {
            t->wrong = true;
        }
        t->kind = e->kind;
    }
    return true;
}

/* The text of the transcript when the output is cut at these places (at[i] ascending). */
static inline bool transcript_of(struct transcript *t, const struct toolcall_opts *o,
                                 struct slice in, const size_t *at, int n_at, bool control)
{
    const struct toolcall_event *ev;
    struct toolcall *p;
    struct err e = {0};
    size_t from = 0;
    bool fine = true;
    int n;

    buf_clear(&t->all);
    buf_clear(&t->text);
    t->index = -1;
    t->wrong = false;
    t->call[1].n = 0;
    if (toolcall_new(&p, o, &e) < 0)
        return false;
    for (int i = 0; i <= n_at + 1 && fine; i++) {
        size_t to = i < n_at ? at[i] : in.n;

        if (i <= n_at)
            n = toolcall_feed(p, (struct slice){in.p + from, to - from}, control, &ev, &e);
        else
            n = toolcall_finish(p, &ev, &e);
        from = to;
        fine = n >= 0 && transcript_add(t, ev, n);
    }
    transcript_flush(t);
    toolcall_free(p);
    return fine && !t->all.bad;
}

#endif
