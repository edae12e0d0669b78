/* js.h - JSON as the readers of requests take it apart and put it together. */
#ifndef RILL_TOOLS_JS_H
#define RILL_TOOLS_JS_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

const char *js_str(const json_t *v, const char *key); // a member that is a string, or NULL
bool js_type_is(const json_t *v, const char *type);   // its member "type"
json_t *js_text(const struct buf *b);
/* Sets a member, adds an element; the value is taken, and NULL is E_NOMEM. */
int js_set(json_t *o, const char *key, json_t *take, struct err *e);
int js_append(json_t *list, json_t *take, struct err *e);

#endif
