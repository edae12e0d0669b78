/* session.h - a conversation in files: its messages as JSON lines (convo.h), and beside them its
 * keys and values, so that it goes on at once.
 *
 * The messages are the session; the other file only saves time. One that is missing, damaged, old,
 * or another model's is said and done without.
 */
#ifndef RILL_TOOLS_SESSION_H
#define RILL_TOOLS_SESSION_H

#include "rill.h"
#include "tools/lib/convo.h"

struct session {
    char *path; // of the messages; NULL: it has no name yet
    char *kv;   // of the keys and values
    bool no_kv; // they are neither read nor written
    bool stale; // there are newer ones
};
void session_fini(struct session *s);

/* A file of the state directory (XDG), whose folders are made; a name with a slash is a path. NULL
 * without a home. The caller's (mem_free). */
char *session_state_path(const char *what, const char *name, const char *suffix, struct err *e);

/* Gives it a name; what is said about files keeps to the one before until then. */
int session_name(struct session *s, const char *name, struct err *e);

/* The messages; nothing where there is no name. */
int session_save(struct session *s, const struct convo *c, const char *model, struct err *e);
/* Its messages become the conversation's, its keys and values the engine's. *rows: positions that
 * need not be computed again. */
int session_load(struct session *s, struct convo *c, struct rill_engine *g, const char *model,
                 size_t *rows, struct err *e);

/* Keys and values to a file (NULL: its own), or from one. Its own are written only if there are new
 * ones. */
int session_kv_save(struct session *s, const struct convo *c, struct rill_engine *g,
                    const char *path, struct err *e);
int session_kv_load(struct session *s, struct rill_engine *g, const char *path, size_t *rows,
                    struct err *e);
/* Removes its own, and writes none any more. */
int session_kv_drop(struct session *s, struct err *e);

/* The name of the session saved last, or NULL. The caller's (mem_free). */
char *session_last(struct err *e);
/* The saved sessions whose names begin so: calls fn with each. */
void session_each(const char *begin, void (*fn)(void *ctx, const char *name), void *ctx);

#endif
