/* fuzz_toolcall.c - any bytes as a model's output: format, reasoning, flags, cuts, the text.
 * The events are the same however the text is cut; arguments of a complete call are JSON; without
 * calls and reasoning the text is the input. */
#include "tests/fuzz/replay.h"

#include <stdlib.h>
#include <string.h>

#include "tests/text/toolcalls.h"

static void need(bool ok)
{
    if (!ok)
        abort();
}

static bool some_marks(void *ctx, struct slice mark)
{
    (void)ctx;
    return mark.p[0] == '<';
}

/* JSON that jansson does not take. */
static bool jansson_only(enum json_error_code c)
{
    return c == json_error_numeric_overflow || c == json_error_null_byte_in_key;
}

static void check(const struct toolcall_opts *o, struct slice text, bool control)
{
    struct buf args = {0}, plain = {0};
    const struct toolcall_event *ev;
    struct toolcall *p;
    struct err e = {0};
    bool other = false;

    need(toolcall_new(&p, o, &e) == 0);
    for (int round = 0; round < 2; round++) {
        int n = round ? toolcall_finish(p, &ev, &e) : toolcall_feed(p, text, control, &ev, &e);

        need(n >= 0);
        for (int i = 0; i < n; i++) {
            json_error_t je;
            json_t *v;

            if (ev[i].kind == TC_TEXT)
                buf_slice(&plain, ev[i].text);
            other = other || ev[i].kind != TC_TEXT;
            if (ev[i].kind == TC_BEGIN)
                buf_clear(&args);
            if (ev[i].kind == TC_ARGS)
                buf_slice(&args, ev[i].text);
            if (ev[i].kind != TC_END || !ev[i].complete)
                continue;
            v = json_loadb(args.p ? args.p : "", args.n, JSON_ALLOW_NUL, &je);
            need(json_is_object(v) || jansson_only(json_error_code(&je)));
            json_decref(v);
        }
    }
    if (!other && !o->reasoning && strcmp(o->format->name, "harmony") != 0) // whose marks go
        need(slice_eq(buf_view(&plain), text));
    toolcall_free(p);
    buf_fini(&args);
    buf_fini(&plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static json_t *tools;
    struct toolcall_opts o = {.seed = 1};
    struct transcript a = {0}, b = {0};
    size_t at[64], n_at = 0, n_format = 0, n_reason = 0;
    struct slice text;
    uint8_t flags;

    if (n < 4)
        return 0;
    if (!tools)
        need((tools = json_loads(TOOLS_JSON, 0, NULL)) != NULL);
    while (toolcall_at(n_format))
        n_format++;
    while (reasoning_at(n_reason))
        n_reason++;
    flags = data[2];
    o.format = toolcall_at(data[0] % n_format);
    o.reasoning = flags & 1 ? reasoning_at(data[1] % n_reason) : NULL;
    o.in_reasoning = flags & 2;
    o.tools = flags & 4 ? tools : NULL;
    o.only_known = flags & 8;
    o.is_control = flags & 16 ? some_marks : NULL;
    o.hold = flags & 64 ? 200 : 0;
    text = (struct slice){(const char *)data + 4, n - 4};
    check(&o, text, flags & 32);
    need(transcript_of(&a, &o, text, NULL, 0, flags & 32));
    for (size_t i = 1 + data[3] % 7; i < text.n && n_at < 64; i += 1 + data[3] % 7 + i % 3)
        at[n_at++] = i;
    need(transcript_of(&b, &o, text, at, (int)n_at, flags & 32));
    need(slice_eq(buf_view(&a.all), buf_view(&b.all)));
    transcript_fini(&a);
    transcript_fini(&b);
    return 0;
}
