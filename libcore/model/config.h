/* config.h - config.json of a Hugging Face directory, and the GGUF keys made from it.
 *
 * The tables of keys say where most numbers stand; what is said in other words there an
 * architecture's config() puts, with the functions here. Names may lead into objects ("a.b"); what
 * newer and older files call differently is found under either name, and what a model of images
 * and text keeps in "text_config" as well.
 */
#ifndef RILL_MODEL_CONFIG_H
#define RILL_MODEL_CONFIG_H

#include <jansson.h>

#include "file/gguf.h"
#include "model/arch.h"

/* A tensor no file has: it follows from the configuration. */
struct made {
    const char *name; // GGUF's
    float *v;         // [n]
    uint64_t n;
};
enum { MAX_MADE = 4 };

struct config {
    const char *path; // of config.json, for sentences
    json_t *root;
    json_t *text; // where the language model's numbers are: root or its "text_config"
    const struct arch *arch;
    struct gguf_out *w; // where keys go
    uint64_t have;      // bit k: row k of arch->keys is put
    struct made made[MAX_MADE];
    int n_made;
    struct err *e;
    int rc; // the first failure of a cfg_put_made
};

/* Reads DIR/config.json and finds the architecture. w may be NULL until keys are put. */
int config_open(struct config *c, const char *dir, struct err *e);
void config_close(struct config *c);
/* A JSON object as such files have it: what Python writes beside JSON is let through. */
int config_json(json_t **out, const char *path, struct slice text, struct err *e);

/* What every architecture's keys are, then arch->config. */
int config_keys(struct config *c, struct err *e);

/* NULL: absent, or null. */
const json_t *cfg_find(const struct config *c, const char *name);
/* False: absent or no such thing; *out is untouched then. */
bool cfg_int(const struct config *c, const char *name, int64_t *out);
bool cfg_real(const struct config *c, const char *name, double *out);
bool cfg_bool(const struct config *c, const char *name, bool *out);
const char *cfg_str(const struct config *c, const char *name); // NULL: absent
/* The same where absent is a given value. */
int64_t cfg_int_or(const struct config *c, const char *name, int64_t or_this);
double cfg_real_or(const struct config *c, const char *name, double or_this);

/* Keys behind "<architecture>.". */
void cfg_put_int(struct config *c, const char *key, int64_t v);
void cfg_put_real(struct config *c, const char *key, double v);
void cfg_put_bool(struct config *c, const char *key, bool v);
void cfg_put_str(struct config *c, const char *key, const char *v);
void cfg_put_ints(struct config *c, const char *key, const uint32_t *v, int n);

bool cfg_lacks(const struct config *c, const char *key); // a key of the table is not put yet

/* A tensor of n numbers to be filled; NULL after a failure (kept in c->rc). */
float *cfg_put_made(struct config *c, const char *name, int64_t n);

/* Whether layer l's entry in "layer_types" (or "layers_block_type") is one of these words; -1:
 * there is no such list. */
int cfg_layer_is(const struct config *c, int64_t l, const char *const *words);

#endif
