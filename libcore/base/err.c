/* err.c - see err.h. */
#include "err.h"

#include <stdio.h>
#include <string.h>

static const struct {
    int code;
    int status;
    const char *text;
} codes[] = {
#define X(name, value, status, text) {value, status, text},
    ERR_LIST(X)
#undef X
};

int err_set(struct err *e, int code, const char *fmt, ...)
{
    va_list ap;

    if (!e || e->code)
        return code;
    e->code = code;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    return code;
}

int err_prefix(struct err *e, const char *prefix)
{
    char old[sizeof e->text];

    if (!e || !e->code)
        return e ? e->code : E_OK;
    memcpy(old, e->text, sizeof old);
    snprintf(e->text, sizeof e->text, "%.200s: %.300s", prefix, old);
    return e->code;
}

int err_nomem(struct err *e, unsigned long long bytes)
{
    return err_set(e, E_NOMEM, "out of memory (%llu bytes wanted)", bytes);
}

int err_exit_status(int code)
{
    if (code == E_OK)
        return 0;
    for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].code == code)
            return codes[i].status;
    return 4;
}

const char *err_name(int code)
{
    for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].code == code)
            return codes[i].text;
    return code ? "unknown error" : "no error";
}
