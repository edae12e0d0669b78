/* api_fields.h - the table of a request's fields: which there are, and how each is read. */
#ifndef RILL_TOOLS_API_FIELDS_H
#define RILL_TOOLS_API_FIELDS_H

#include "tools/lib/api.h"

/* Reads one field of a body into r, which knows whether it is a chat. */
int api_field(struct api_request *r, const struct api_opts *o, const char *name, const json_t *v,
              struct err *e);
/* One more warning; fmt has one %s. */
void api_warn(struct api_request *r, const char *fmt, const char *name);
/* A whole number from lo on. */
int api_int(const char *name, const json_t *v, int lo, int *out, struct err *e);

/* The i-th field of the table; false behind the last. */
struct api_field {
    const char *name;
    unsigned kinds; // of requests that have it, enum api_kind
    bool effect;
    const char *types; // of JSON, by first letters: string, array, object, boolean, integer,
                       // number; "": any
    int lo;            // the least a number may be; INT_MIN: any
};
bool api_field_at(size_t i, struct api_field *out);

/* A body whose members are read elsewhere: whether all are known to requests of these kinds. */
int api_known(struct api_request *r, const struct api_opts *o, unsigned kinds, const json_t *body,
              struct err *e);

/* A body of the form `kind` to a chat's: fields that chats have join out, under their names; those
 * that mean something else there are left to the caller. noted gets warnings and param. */
int api_translate(json_t *out, struct api_request *noted, const struct api_opts *o,
                  enum api_kind kind, const json_t *body, struct err *e);
/* What a failure of the chat says of a field, by the name that it has in the body. */
void api_call_it(struct api_request *r, enum api_kind kind, const json_t *body, struct err *why);

/* api.c: a request with nothing in it yet; all fields of a body; its prompts, which errors call
 * name. */
void api_begin(struct api_request *r, const struct api_opts *o, enum api_kind kind);
int api_read_fields(struct api_request *r, const struct api_opts *o, const json_t *body,
                    struct err *e);
int api_read_prompts(struct api_request *r, const struct api_opts *o, const char *name,
                     const json_t *v, struct err *e);

/* After all fields: whether tools and tool_choice agree. */
int api_check_tools(struct api_request *r, struct err *e);

/* api_obey.c: fields that say what an answer must be, and the constraint they come to, which may
 * need to know how the prompt ends. */
int api_read_format(struct api_request *r, const char *name, const json_t *v, struct err *e);
int api_read_obey(struct api_request *r, const char *name, const json_t *v, struct err *e);
int api_read_structured(struct api_request *r, const char *name, const json_t *v, struct err *e);
int api_obey(struct api_request *r, const struct api_opts *o, struct err *e);

#endif
