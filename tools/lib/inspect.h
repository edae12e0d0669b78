/* inspect.h - the parts of rill-inspect: rows of fields, and what each option shows.
 *
 * A function that shows something returns 0, 1 when its answer is no (something was found, two
 * files differ), or a negative code.
 */
#ifndef RILL_TOOLS_INSPECT_H
#define RILL_TOOLS_INSPECT_H

#include "base/buf.h"
#include "base/err.h"
#include "file/source.h"
#include "quant/quant.h"
#include "tools/lib/model_opts.h"
#include "tools/lib/opt.h"

struct show {
    bool json, tsv; // else text
    bool full;      // whole strings and arrays
    bool verbose;   // also what is as it should be
    struct buf row; // the row in work
};

/* How a model is opened on a device. */
struct show_open {
    struct model_options open;
    int n_seq;   // 0: not given
    bool packed; // the file is compressed: weights take memory of their own
};

/* -- rows (inspect_row.c): one call per field, three ways to show it -- */

void row_begin(struct show *o, const char *kind);
void row_end(struct show *o, struct err *e);
/* A line that only people need. */
void heading(struct show *o, const char *fmt, ...) ERR_PRINTF(2, 3);

/* width: in text, filled up with spaces (numbers: in front); 0: as wide as it is. */
void field_begin(struct show *o, const char *name);
void field_text(struct show *o, const char *name, int width, struct slice s);
void field_str(struct show *o, const char *name, int width, const char *s);
void field_num(struct show *o, const char *name, int width, uint64_t v);
void field_real(struct show *o, const char *name, int width, double v); // JSON: null if not finite
void field_none(struct show *o, const char *name, int width);           // JSON: null; else "-"
void pad_to(struct show *o, size_t from, int width);

enum shown { LINE, QUOTED, LINES }; // on its line, the same in quotes, with its own lines

/* s so that it stays where it is put and does nothing to a terminal. */
void add_shown(struct buf *b, struct slice s, enum shown how);
/* At most n characters from the front of s. */
struct slice front(struct slice s, size_t n);

/* -- the head of a file (inspect_show.c) -- */

int show_file(struct show *o, const struct gguf *g, struct err *e);
int show_keys(struct show *o, const struct gguf *g, struct err *e);
int show_value(struct show *o, const struct gguf *g, const char *key, struct err *e);
int show_tensors(struct show *o, const struct gguf *g, struct err *e);
int show_totals(struct show *o, const struct gguf *g, struct err *e);
int show_tokenizer(struct show *o, const struct gguf *g, struct err *e);
int show_templates(struct show *o, const struct gguf *g, struct err *e);

/* A key's type, "u32" or "str[512]", and its value, cut unless o->full. */
const char *key_type(const struct gguf_key *k, char out[32]);
void add_value(struct show *o, const struct gguf_key *k);

const struct fmt_info *format_of(const struct gguf_tensor *t); // NULL: unknown
const char *type_name(const struct gguf_tensor *t, char out[24]);
uint64_t weights_of(const struct gguf_tensor *t);
int name_width(const struct gguf *g);
void field_shape(struct show *o, const struct gguf_tensor *t, int width);

/* -- tokens (inspect_tok.c): ids ("5", "5-9") and texts looked up -- */

int show_tokens(struct show *o, const struct source *src, const struct opt_list *ids,
                const struct opt_list *texts, struct err *e);

/* -- the weights -- */

/* A tensor's rows dealt to a team in chunks of about 64 Ki weights, none of which reaches over the
 * end of a matrix. Chunk c goes to member c mod n, so that what a chunk gives depends on no number
 * of threads. */
struct team;
struct scan {
    struct source *src;
    struct team *team;
    uint8_t **raw;   // [team] the rows in work, where the source gives none in place
    struct err *err; // [team]
    uint32_t tensor; // in work
    uint64_t per;    // rows of a chunk, at most
    int (*fn)(void *arg, const struct scan *s, int member, uint64_t chunk, uint64_t row, uint64_t n,
              const uint8_t *rows, struct err *e);
    void *arg;
};
int scan_init(struct scan *s, struct source *src, int threads, struct err *e);
void scan_fini(struct scan *s); // accepts a zeroed one
uint64_t scan_chunks(const struct gguf_tensor *t);
/* Calls fn for every chunk of tensor i. The first error in the order of members counts. */
int scan_tensor(struct scan *s, uint32_t i, struct err *e);
/* Rows [row, row + n) as they lie in memory, or read into raw. */
int scan_rows(struct source *s, uint32_t i, uint64_t row, uint64_t n, uint8_t *raw,
              const uint8_t **out, struct err *e);

int show_check(struct show *o, struct source *src, int threads, struct err *e);
int show_health(struct show *o, struct source *src, int threads, struct err *e);

/* The XXH3-128 of a tensor's bytes, as 32 hexadecimal digits. */
int hash_tensor(struct source *src, uint32_t i, char out[33], struct err *e);
int show_hashes(struct show *o, struct source *src, struct err *e);

/* Which parts of two models to compare. */
struct diff_parts {
    bool metadata, tokenizer, template, tensors;
};
int show_diff(struct show *o, struct source *a, struct source *b, const struct diff_parts *parts,
              int threads, struct err *e);

/* -- as opened on a device (inspect_model.c) -- */

int show_opened(struct show *o, const char *path, const struct show_open *how, bool memory,
                bool plan, struct err *e);
int show_fit(struct show *o, const char *path, const struct show_open *how, struct err *e);

/* Files of keys and values; model: whose vocabulary shows the text, or NULL. */
bool is_kv(const char *path);
int show_kv(struct show *o, const char *path, const char *model, struct err *e);

#endif
