/* setkey.h - metadata from the command line: KEY=TYPE:VALUE. */
#ifndef RILL_TOOLS_SETKEY_H
#define RILL_TOOLS_SETKEY_H

#include "base/err.h"

struct gguf_out;

/* Puts the value. TYPE is int (the smallest of u32, i32, i64 that it fits), float, bool or str;
 * E_USAGE, with the option's name in front, when the text is no such thing. */
int set_key(struct gguf_out *w, const char *option, const char *text, struct err *e);

#endif
