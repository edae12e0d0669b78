/* hub.h - what a model hub tells of a repository, which of its files are wanted, and how they are
 * put into the local cache (model/hf_cache.h). Nothing here touches the network.
 */
#ifndef RILL_TOOLS_HUB_H
#define RILL_TOOLS_HUB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct hub_file {
    const char *path; // inside the repository, checked: relative, no "..", no control characters
    const char *hash; // SHA-256 of the bytes, or 40 digits: SHA-1 of git's "blob SIZE\0" and them
    uint64_t size;
    bool wanted;
};

struct hub_repo {
    char *name;     // "org/name"
    char *revision; // "main"
    char *commit;   // 40 hexadecimal digits
    struct hub_file *file;
    size_t n;
    void *json; // what path and hash point into
    char *want; // the part behind the colon, or NULL
};

/* Reads "[hf:]org/name[:file]" or the address of a repository or file at endpoint. */
int hub_name(struct hub_repo *r, const char *arg, const char *endpoint, const char *revision,
             struct err *e);
/* Takes the hub's answer to /api/models/NAME/revision/REVISION?blobs=true. */
int hub_listing(struct hub_repo *r, struct slice json, struct err *e);
/* Marks the wanted files. include: patterns of fnmatch(3), or n 0: those that r->want names (a
 * path, a pattern, or part of a GGUF file's name, with all its splits); without it what a model
 * directory needs, or the one GGUF model there is. */
int hub_choose(struct hub_repo *r, const char *const *include, size_t n, struct err *e);
void hub_fini(struct hub_repo *r);

/* Appends the repository's folder in the cache. */
int hub_dir(const struct hub_repo *r, struct buf *out, struct err *e);
/* The access token: HF_TOKEN, or the file HF_TOKEN_PATH or HF_HOME/token; NULL: there is none. */
const char *hub_token(struct buf *hold);
bool hub_is_gguf(const char *path); // by its name, compressed or not
/* Links snapshots/<commit>/<path> to the file's blob; appends the link's path to out. */
int hub_link(const struct hub_repo *r, const struct hub_file *f, struct buf *out, struct err *e);
/* Writes refs/<revision>. */
int hub_ref(const struct hub_repo *r, struct err *e);
/* Makes a directory and those above it. */
int hub_mkdirs(const char *path, struct err *e);
/* Whether the bytes of a file have the hash that the hub told. */
int hub_check(const struct hub_file *f, const char *path, struct err *e);

#endif
