/* err.h - error codes and the sentence that goes with one.
 *
 * A function the world can fail returns 0 or a negative code and fills a struct err, passed last.
 * The sentence names the thing and the fact: "m.gguf: tensor 'x': 4096 rows, expected 2048".
 */
#ifndef RILL_BASE_ERR_H
#define RILL_BASE_ERR_H

#include <stdarg.h>

/* X(name, value, exit status of a tool, short text) */
#define ERR_LIST(X)                                                                                \
    X(E_USAGE, -1, 2, "wrong usage")                                                               \
    X(E_FORMAT, -2, 3, "malformed input")                                                          \
    X(E_UNSUPPORTED, -3, 3, "unsupported input")                                                   \
    X(E_RANGE, -4, 3, "value out of range")                                                        \
    X(E_NOMEM, -5, 4, "out of memory")                                                             \
    X(E_IO, -6, 4, "input or output error")                                                        \
    X(E_DEVICE, -7, 4, "device error")                                                             \
    X(E_BUSY, -8, 4, "no capacity at present")                                                     \
    X(E_NOTFOUND, -9, 3, "not found")                                                              \
    X(E_CANCELLED, -10, 1, "cancelled")                                                            \
    X(E_CONTEXT, -11, 3, "longer than the context")                                                \
    X(E_NUMERIC, -12, 3, "not a number in the result")                                             \
    X(E_DENIED, -13, 3, "not allowed")

enum err_code {
    E_OK = 0,
#define X(name, value, status, text) name = value,
    ERR_LIST(X)
#undef X
};

struct err {
    int code;       // an enum err_code
    char text[508]; // one sentence, lower case, no full stop
};

#if defined(__GNUC__)
#define ERR_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define ERR_PRINTF(fmt, args)
#endif

/* Fills *e (may be NULL) and returns code. The first error stays: a filled *e is left alone. */
int err_set(struct err *e, int code, const char *fmt, ...) ERR_PRINTF(3, 4);

/* Puts "prefix: " in front of a filled error's sentence and returns its code. */
int err_prefix(struct err *e, const char *prefix);

/* E_NOMEM with the number of bytes wanted. */
int err_nomem(struct err *e, unsigned long long bytes);

/* Exit status of a tool for a code (0 for E_OK, 4 for an unknown one); a few words for a code. */
int err_exit_status(int code);
const char *err_name(int code);

#endif
