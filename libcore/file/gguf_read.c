/* gguf_read.c - opens GGUF files: every number in them is checked here, once.
 *
 * One file is parsed front to back by parse_file(); a split model is several such files joined.
 * The getters over the result are in gguf_get.c.
 */
#include "file/gguf.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "file/gguf_inner.h"
#include "file/gguf_packed.h"
#include "file/zst.h"

enum {
    HEAD_MOST = 1 << 30,                  // bytes decompressed in search of a head's end
    MIN_KEY_BYTES = 8 + 1 + 4 + 1,        // length, name, type, value
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8, // length, name, dimensions, type, offset
};

#define SPLIT_TAIL "-00001-of-00002" // of a part's name, in front of .gguf or .gguf.zst

/* -- sentences -- */

/* A failure about a named key or tensor. fmt's text follows "FILE: key 'NAME': ". */
static int bad_item(const struct gguf *g, const char *what, struct slice name, int code,
                    struct err *e, const char *fmt, ...) ERR_PRINTF(6, 7);

static int bad_item(const struct gguf *g, const char *what, struct slice name, int code,
                    struct err *e, const char *fmt, ...)
{
    char shown[96];
    char fact[192];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(fact, sizeof fact, fmt, ap);
    va_end(ap);
    return err_set(e, code, "%s: %s '%s': %s", gguf_path_tail(g->path), what,
                   gguf_show(shown, sizeof shown, name), fact);
}

static int truncated(const struct gguf *g, const char *what, uint32_t i, uint32_t n, struct err *e)
{
    return err_set(e, E_FORMAT, "%s: the file ends inside %s %u of %u", gguf_path_tail(g->path),
                   what, i + 1, n);
}

/* -- keys -- */

static bool bools_ok(const uint8_t *p, uint64_t n)
{
    uint8_t any = 0;

    for (uint64_t i = 0; i < n; i++)
        any |= p[i];
    return any <= 1;
}

/* Finds where each string of an array begins. Its count was checked against the bytes left. */
static int index_strings(const struct gguf *g, struct gguf_key *k, struct cur *c, struct err *e)
{
    struct gguf_array *a = &k->array;
    size_t start = c->at;
    uint64_t *at = mem_array(a->n + 1, sizeof *at, e);

    if (!at)
        return E_NOMEM;
    a->at = at;
    a->p = c->p + start;
    for (uint64_t i = 0; i < a->n; i++) {
        at[i] = c->at - start;
        cur_take(c, cur_u64(c));
        if (c->bad)
            return bad_item(g, "key", k->name, E_FORMAT, e,
                            "the file ends inside string %llu of %llu", (unsigned long long)i + 1,
                            (unsigned long long)a->n);
    }
    at[a->n] = c->at - start;
    k->raw = (struct slice){(const char *)a->p, c->at - start};
    return 0;
}

static int read_array(const struct gguf *g, struct gguf_key *k, struct cur *c, struct err *e)
{
    struct gguf_array *a = &k->array;
    uint32_t size;

    a->type = cur_u32(c);
    a->n = cur_u64(c);
    if (c->bad)
        return bad_item(g, "key", k->name, E_FORMAT, e, "the file ends inside its value");
    if (a->type == GGUF_ARR)
        return bad_item(g, "key", k->name, E_UNSUPPORTED, e, "arrays of arrays are not supported");
    if (a->type >= GGUF_N_TYPES)
        return bad_item(g, "key", k->name, E_FORMAT, e, "unknown element type %u", a->type);
    size = a->type == GGUF_STR ? 8 : gguf_value_bytes(a->type);
    if (a->n > (c->n - c->at) / size)
        return bad_item(g, "key", k->name, E_FORMAT, e,
                        "an array of %llu elements in the last %llu bytes of the file",
                        (unsigned long long)a->n, (unsigned long long)(c->n - c->at));
    if (a->type == GGUF_STR)
        return index_strings(g, k, c, e);
    k->raw = cur_slice(c, a->n * size);
    a->p = (const uint8_t *)k->raw.p;
    if (a->type == GGUF_BOOL && !bools_ok(a->p, a->n))
        return bad_item(g, "key", k->name, E_FORMAT, e, "a truth value is neither 0 nor 1");
    return 0;
}

static int read_value(const struct gguf *g, struct gguf_key *k, struct cur *c, struct err *e)
{
    if (k->type >= GGUF_N_TYPES)
        return bad_item(g, "key", k->name, E_FORMAT, e, "unknown type %u", k->type);
    if (k->type == GGUF_ARR)
        return read_array(g, k, c, e);
    if (k->type == GGUF_STR)
        k->raw = cur_slice(c, cur_u64(c));
    else
        k->raw = cur_slice(c, gguf_value_bytes(k->type));
    if (c->bad)
        return bad_item(g, "key", k->name, E_FORMAT, e, "the file ends inside its value");
    if (k->type == GGUF_BOOL && !bools_ok((const uint8_t *)k->raw.p, 1))
        return bad_item(g, "key", k->name, E_FORMAT, e, "a truth value is neither 0 nor 1");
    return 0;
}

static int read_key(struct gguf *g, uint32_t i, struct cur *c, struct err *e)
{
    struct gguf_key *k = &g->key[i];
    uint64_t len = cur_u64(c);
    uint32_t twin;
    int rc;

    if (!c->bad && (len == 0 || len > GGUF_MAX_KEY))
        return err_set(e, E_FORMAT, "%s: key %u of %u has a name of %llu bytes",
                       gguf_path_tail(g->path), i + 1, g->n_key, (unsigned long long)len);
    k->name = cur_slice(c, len);
    k->type = cur_u32(c);
    if (c->bad)
        return truncated(g, "key", i, g->n_key, e);
    if (map_get(&g->key_map, k->name, &twin))
        return bad_item(g, "key", k->name, E_FORMAT, e, "occurs twice");
    if ((rc = read_value(g, k, c, e)) < 0)
        return rc;
    return map_put(&g->key_map, k->name, i, e);
}

/* -- tensors -- */

static int check_tensor(const struct gguf *g, struct gguf_tensor *t, struct err *e)
{
    uint32_t block;
    uint32_t size;
    uint64_t n = 1;

    for (uint32_t d = 0; d < GGUF_MAX_DIMS; d++) {
        if (t->ne[d] == 0)
            return bad_item(g, "tensor", t->name, E_FORMAT, e, "dimension %u is 0", d);
        if (!mul_ok(n, t->ne[d], &n) || n > INT64_MAX)
            return bad_item(g, "tensor", t->name, E_FORMAT, e,
                            "%llu x %llu x %llu x %llu elements are too many",
                            (unsigned long long)t->ne[0], (unsigned long long)t->ne[1],
                            (unsigned long long)t->ne[2], (unsigned long long)t->ne[3]);
    }
    if (t->offset & (g->alignment - 1))
        return bad_item(g, "tensor", t->name, E_FORMAT, e,
                        "offset %llu is not a multiple of the alignment %u",
                        (unsigned long long)t->offset, g->alignment);
    if (!gguf_type_shape(t->type, &block, &size))
        return 0; /* can be listed, not loaded: bytes stays 0 */
    if (t->ne[0] % block)
        return bad_item(g, "tensor", t->name, E_FORMAT, e,
                        "rows of %llu elements in a type with blocks of %u",
                        (unsigned long long)t->ne[0], block);
    if (!gguf_tensor_bytes(t->type, t->n_dims, t->ne, &t->bytes))
        return bad_item(g, "tensor", t->name, E_FORMAT, e, "%llu elements are too many",
                        (unsigned long long)n);
    return 0;
}

static int read_tensor(struct gguf *g, uint32_t i, struct cur *c, struct err *e)
{
    struct gguf_tensor *t = &g->tensor[i];
    uint64_t len = cur_u64(c);

    if (!c->bad && (len == 0 || len > GGUF_MAX_NAME))
        return err_set(e, E_FORMAT, "%s: tensor %u of %u has a name of %llu bytes",
                       gguf_path_tail(g->path), i + 1, g->n_tensor, (unsigned long long)len);
    t->name = cur_slice(c, len);
    t->n_dims = cur_u32(c);
    if (!c->bad && t->n_dims > GGUF_MAX_DIMS)
        return bad_item(g, "tensor", t->name, E_FORMAT, e, "%u dimensions, at most %d are known",
                        t->n_dims, GGUF_MAX_DIMS);
    for (uint32_t d = 0; d < GGUF_MAX_DIMS; d++)
        t->ne[d] = d < t->n_dims ? cur_u64(c) : 1;
    t->type = cur_u32(c);
    t->offset = cur_u64(c);
    if (c->bad)
        return truncated(g, "tensor", i, g->n_tensor, e);
    return check_tensor(g, t, e);
}

static int by_offset(const void *a, const void *b)
{
    const struct gguf_tensor *const *s = a;
    const struct gguf_tensor *const *t = b;

    if ((*s)->offset != (*t)->offset)
        return (*s)->offset < (*t)->offset ? -1 : 1;
    return (*s)->bytes < (*t)->bytes ? -1 : (*s)->bytes > (*t)->bytes;
}

/* No two tensors may share a byte: writing one back would change the other. Files list tensors in
 * the order of their data, so the copy and the sort are the exception. */
static int check_overlap(const struct gguf *g, struct err *e)
{
    const struct gguf_tensor **order;
    const struct gguf_tensor *last = NULL;
    bool sorted = true;
    char shown[96];
    int rc = 0;

    order = mem_array(g->n_tensor, sizeof *order, e);
    if (!order)
        return E_NOMEM;
    for (uint32_t i = 0; i < g->n_tensor; i++) {
        order[i] = &g->tensor[i];
        sorted = sorted && (i == 0 || by_offset(&order[i - 1], &order[i]) <= 0);
    }
    if (!sorted)
        qsort(order, g->n_tensor, sizeof *order, by_offset);
    for (uint32_t i = 0; i < g->n_tensor && rc == 0; i++) {
        if (last && order[i]->offset - last->offset < last->bytes)
            rc = bad_item(g, "tensor", order[i]->name, E_FORMAT, e, "overlaps tensor '%s'",
                          gguf_show(shown, sizeof shown, last->name));
        /* one of unknown size claims nothing, so what it lies in still counts */
        if (!last || order[i]->bytes)
            last = order[i];
    }
    mem_free(order);
    return rc;
}

/* Gives each tensor its pointer, or says which one the file is too short for. */
static int place_tensors(struct gguf *g, struct err *e)
{
    struct gguf_part *part = &g->part[0];
    uint64_t n = part->packed ? packed_bytes(part->packed) : part->view.n;
    uint64_t left = part->data_at <= n ? n - part->data_at : 0;

    for (uint32_t i = 0; i < g->n_tensor; i++) {
        struct gguf_tensor *t = &g->tensor[i];

        if (g->head || n == UINT64_MAX) {
            if (t->offset > INT64_MAX - t->bytes)
                return bad_item(g, "tensor", t->name, E_FORMAT, e, "offset %llu",
                                (unsigned long long)t->offset);
            continue;
        }
        if (t->offset > left || t->bytes > left - t->offset)
            return bad_item(g, "tensor", t->name, E_FORMAT, e,
                            "needs %llu bytes at %llu of a data section of %llu bytes",
                            (unsigned long long)t->bytes, (unsigned long long)t->offset,
                            (unsigned long long)left);
        if (t->bytes && !part->packed)
            t->p = part->view.p + part->data_at + t->offset;
    }
    return check_overlap(g, e);
}

static int map_tensors(struct gguf *g, struct err *e)
{
    int rc = map_init(&g->tensor_map, g->n_tensor, e);
    uint32_t twin;

    for (uint32_t i = 0; i < g->n_tensor && rc == 0; i++) {
        if (map_get(&g->tensor_map, g->tensor[i].name, &twin))
            return bad_item(g, "tensor", g->tensor[i].name, E_FORMAT, e, "occurs twice");
        rc = map_put(&g->tensor_map, g->tensor[i].name, i, e);
    }
    return rc;
}

/* -- one file -- */

static int check_version(const struct gguf *g, struct err *e)
{
    uint32_t v = g->version;

    if (v == 2 || v == 3)
        return 0;
    if (v && !(v & 0xffff))
        return err_set(e, E_UNSUPPORTED, "%s: a big-endian GGUF file; only little-endian is read",
                       gguf_path_tail(g->path));
    return err_set(e, E_UNSUPPORTED, "%s: GGUF version %u; 2 and 3 are read",
                   gguf_path_tail(g->path), v);
}

/* A count must be believable from the bytes left before anything is allocated for it. */
static int check_count(const struct gguf *g, const struct cur *c, const char *what, uint64_t n,
                       uint32_t each, struct err *e)
{
    if (n <= GGUF_MAX_ITEMS && n <= (c->n - c->at) / each)
        return 0;
    return err_set(e, E_FORMAT, "%s: %llu %ss in %llu bytes%s", gguf_path_tail(g->path),
                   (unsigned long long)n, what, (unsigned long long)(c->n - c->at),
                   n > GGUF_MAX_ITEMS ? ", more than any model has" : "");
}

static int check_alignment(struct gguf *g, struct err *e)
{
    int rc;

    g->alignment = GGUF_ALIGNMENT;
    rc = gguf_get_u32(g, "general.alignment", &g->alignment, e);
    if (rc < 0)
        return rc;
    if (!gguf_alignment_ok(g->alignment))
        return bad_item(g, "key", SLICE("general.alignment"), E_FORMAT, e,
                        "%u, expected a power of two between %d and %d", g->alignment,
                        GGUF_MIN_ALIGNMENT, GGUF_MAX_ALIGNMENT);
    return 0;
}

static int parse_file(struct gguf *g, struct err *e)
{
    struct gguf_part *part = &g->part[0];
    struct cur c = {.p = part->view.p, .n = part->view.n};
    uint64_t n_key;
    uint64_t n_tensor;
    int rc;

    if (!gguf_magic(c.p, c.n))
        return err_set(e, E_FORMAT, "%s: not a GGUF file", gguf_path_tail(g->path));
    cur_u32(&c);
    g->version = cur_u32(&c);
    if (!c.bad && (rc = check_version(g, e)) < 0)
        return rc;
    n_tensor = cur_u64(&c);
    n_key = cur_u64(&c);
    if (c.bad)
        return err_set(e, E_FORMAT, "%s: the file ends inside its header", gguf_path_tail(g->path));

    if ((rc = check_count(g, &c, "key", n_key, MIN_KEY_BYTES, e)) < 0 ||
        (rc = check_count(g, &c, "tensor", n_tensor, MIN_TENSOR_BYTES, e)) < 0)
        return rc;
    if (!(g->key = mem_array(n_key, sizeof *g->key, e)))
        return E_NOMEM;
    if ((rc = map_init(&g->key_map, n_key, e)) < 0)
        return rc;
    g->n_key = (uint32_t)n_key;
    for (uint32_t i = 0; i < g->n_key; i++)
        if ((rc = read_key(g, i, &c, e)) < 0)
            return rc;
    if ((rc = check_alignment(g, e)) < 0)
        return rc;

    if ((rc = check_count(g, &c, "tensor", n_tensor, MIN_TENSOR_BYTES, e)) < 0)
        return rc;
    if (!(g->tensor = mem_array(n_tensor, sizeof *g->tensor, e)))
        return E_NOMEM;
    g->n_tensor = (uint32_t)n_tensor;
    for (uint32_t i = 0; i < g->n_tensor; i++)
        if ((rc = read_tensor(g, i, &c, e)) < 0)
            return rc;
    if (!pad_ok(c.at, g->alignment, &part->data_at))
        return err_set(e, E_FORMAT, "%s: too large", gguf_path_tail(g->path));
    return place_tensors(g, e);
}

/* A struct gguf with one part that holds no bytes yet. */
static struct gguf *new_single(const char *path, struct err *e)
{
    struct gguf *g = mem_new(sizeof *g, e);

    if (!g)
        return NULL;
    g->n_part = 1;
    g->path = mem_dup(path, strlen(path), e);
    g->part = g->path ? mem_new(sizeof *g->part, e) : NULL;
    if (g->part)
        g->part->path = mem_dup(path, strlen(path), e);
    if (g->part && g->part->path)
        return g;
    gguf_close(g);
    return NULL;
}

static void forget(struct gguf *g)
{
    for (uint32_t i = 0; i < g->n_key; i++)
        mem_free((void *)(uintptr_t)g->key[i].array.at);
    map_fini(&g->key_map);
    map_fini(&g->tensor_map);
    mem_free(g->key);
    mem_free(g->tensor);
    g->key = NULL;
    g->tensor = NULL;
    g->n_key = g->n_tensor = 0;
}

/* Of a compressed file as much is decompressed as its keys and names turn out to take. */
static int parse_packed(struct gguf *g, struct err *e)
{
    struct gguf_part *part = g->part;
    uint64_t want;
    bool more;
    int rc;

    if ((rc = packed_open(&part->packed, part->path, &part->view, e)) < 0)
        return rc;
    for (want = packed_front(part->packed);; want *= 2) {
        struct err why = {0};

        if ((rc = packed_head(part->packed, want, &part->view, &more, e)) < 0)
            return rc;
        rc = parse_file(g, &why);
        if (rc != E_FORMAT || !more || part->data_at || want >= HEAD_MOST ||
            !gguf_magic(part->view.p, part->view.n))
            return rc < 0 ? err_set(e, rc, "%s", why.text) : 0;
        forget(g);
    }
}

static int open_single(struct gguf **out, const char *path, unsigned flags, struct err *e)
{
    struct gguf *g = new_single(path, e);
    int rc = E_NOMEM;

    *out = NULL;
    if (!g)
        return rc;
    if (flags & GGUF_READ)
        rc = file_read(&g->part->view, path, 0, e);
    else
        rc = file_map(&g->part->view, path, e);
    g->file_bytes = g->part->view.n;
    if (rc == 0)
        rc = zst_magic(g->part->view.p, g->part->view.n) ? parse_packed(g, e) : parse_file(g, e);
    if (rc < 0) {
        gguf_close(g);
        return rc;
    }
    *out = g;
    return 0;
}

/* -- split models -- */

static bool digits5(const char *p, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 5; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        *out = *out * 10 + (uint32_t)(p[i] - '0');
    }
    return true;
}

/* Bytes of a path in front of .gguf or .gguf.zst; all of it where there is neither. */
static size_t without_ending(const char *path)
{
    static const char *const endings[] = {".gguf", ".gguf.zst"};
    size_t n = strlen(path);

    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        size_t m = strlen(endings[i]);

        if (n >= m && strcmp(path + n - m, endings[i]) == 0)
            return n - m;
    }
    return n;
}

/* NAME-00002-of-00003.gguf: the number (from 1), the count, and the length of NAME. */
static bool split_name(const char *path, uint32_t *no, uint32_t *count, size_t *stem)
{
    const size_t tail = sizeof SPLIT_TAIL - 1;
    size_t n = without_ending(path);
    const char *t = path + n - tail;

    if (n < tail || !path[n] || t[0] != '-' || memcmp(t + 6, "-of-", 4) != 0)
        return false;
    *stem = n - tail;
    return digits5(t + 1, no) && digits5(t + 10, count);
}

/* Checks what a part says about itself: it is number no (from 0) of count. */
static int check_part(const struct gguf *g, uint32_t no, uint32_t count, struct err *e)
{
    uint32_t says_no = UINT32_MAX;
    uint32_t says_count = 0;
    int rc;

    if ((rc = gguf_get_u32(g, "split.no", &says_no, e)) < 0 ||
        (rc = gguf_get_u32(g, "split.count", &says_count, e)) < 0)
        return rc;
    if (says_count != count)
        return bad_item(g, "key", SLICE("split.count"), E_FORMAT, e, "%u, the name says %u",
                        says_count, count);
    if (says_no != no)
        return bad_item(g, "key", SLICE("split.no"), E_FORMAT, e, "%u, expected %u by its name",
                        says_no, no);
    return 0;
}

/* Moves the bytes and tensors of from behind those of g; from is left without its bytes. */
static int join(struct gguf *g, struct gguf *from, struct err *e)
{
    uint64_t n = (uint64_t)g->n_tensor + from->n_tensor;
    void *p;

    if (n > GGUF_MAX_ITEMS)
        return err_set(e, E_FORMAT, "%s: more tensors than any model has", gguf_path_tail(g->path));
    p = mem_resize(g->tensor, g->n_tensor, n, sizeof *g->tensor, e);
    if (!p)
        return E_NOMEM;
    g->tensor = p;
    if (from->n_tensor)
        memcpy(g->tensor + g->n_tensor, from->tensor, from->n_tensor * sizeof *g->tensor);
    for (uint32_t i = g->n_tensor; i < n; i++)
        g->tensor[i].part = g->n_part;
    g->n_tensor = (uint32_t)n;
    if (from->alignment < g->alignment)
        g->alignment = from->alignment;
    g->file_bytes += from->file_bytes;
    g->part[g->n_part++] = from->part[0];
    from->n_part = 0;
    return 0;
}

static int check_total(const struct gguf *g, struct err *e)
{
    uint32_t total = g->n_tensor;
    int rc = gguf_get_u32(g, "split.tensors.count", &total, e);

    if (rc < 0)
        return rc;
    if (total != g->n_tensor)
        return bad_item(g, "key", SLICE("split.tensors.count"), E_FORMAT, e,
                        "%u, the %u parts have %u", total, g->n_part, g->n_tensor);
    return 0;
}

/* Writes the name of part no (from 0) into path, whose bytes from stem on name some part. */
static void name_part(char *path, size_t stem, uint32_t no, uint32_t count)
{
    char tail[64];

    snprintf(tail, sizeof tail, "-%05u-of-%05u", no + 1, count);
    memcpy(path + stem, tail, sizeof SPLIT_TAIL - 1);
}

/* g is part 0 of count: opens the others and joins them behind it. */
static int join_parts(struct gguf *g, size_t stem, uint32_t count, unsigned flags, struct err *e)
{
    struct gguf_part *part = mem_resize(g->part, 1, count, sizeof *part, e);
    struct gguf *next = NULL;
    char *path = NULL;
    int rc = E_NOMEM;

    if (part)
        g->part = part;
    if (part && (path = mem_dup(g->path, strlen(g->path), e)))
        rc = check_part(g, 0, count, e);
    for (uint32_t i = 1; i < count && rc >= 0; i++) {
        name_part(path, stem, i, count);
        if ((rc = open_single(&next, path, flags, e)) >= 0)
            rc = check_part(next, i, count, e);
        if (rc >= 0)
            rc = join(g, next, e);
        gguf_close(next);
        next = NULL;
    }
    mem_free(path);
    return rc < 0 ? rc : check_total(g, e);
}

/* *g is some part, opened from path, of a model in count parts; it becomes the whole. */
static int open_split(struct gguf **g, uint32_t count, unsigned flags, struct err *e)
{
    uint32_t no;
    uint32_t named;
    size_t stem;
    char *path;
    int rc = 0;

    if (!split_name((*g)->path, &no, &named, &stem) || named != count || no < 1 || no > count)
        return err_set(e, E_FORMAT,
                       "%s: one of %u parts, but its name does not end in -NNNNN-of-%05u.gguf",
                       gguf_path_tail((*g)->path), count, count);
    if (no > 1) { /* the keys are in the first part; opening this one again costs little */
        path = mem_dup((*g)->path, strlen((*g)->path), e);
        if (!path)
            return E_NOMEM;
        gguf_close(*g);
        name_part(path, stem, 0, count);
        rc = open_single(g, path, flags, e);
        mem_free(path);
    }
    return rc < 0 ? rc : join_parts(*g, stem, count, flags, e);
}

/* -- public -- */

bool gguf_magic(const void *p, size_t n)
{
    return n >= 4 && memcmp(p, "GGUF", 4) == 0;
}

int gguf_open(struct gguf **out, const char *path, unsigned flags, struct err *e)
{
    struct gguf *g;
    uint32_t count = 1;
    int rc;

    *out = NULL;
    if ((rc = open_single(&g, path, flags, e)) < 0)
        return rc;
    rc = gguf_get_u32(g, "split.count", &count, e);
    if (rc >= 0 && count > 1)
        rc = open_split(&g, count, flags, e);
    if (rc >= 0)
        rc = map_tensors(g, e);
    if (rc >= 0 && !(flags & GGUF_PACKED))
        rc = gguf_unpack(g, e);
    if (rc < 0) {
        gguf_close(g);
        return rc;
    }
    *out = g;
    return 0;
}

static int open_bytes(struct gguf **out, const char *name, const void *p, size_t n, bool head,
                      struct err *e)
{
    struct gguf *g = new_single(name, e);
    int rc;

    *out = NULL;
    if (!g)
        return E_NOMEM;
    g->borrowed = true;
    g->head = head;
    g->part->view = (struct file_view){.p = p, .n = n};
    g->file_bytes = n;
    if ((rc = parse_file(g, e)) < 0 || (rc = map_tensors(g, e)) < 0) {
        gguf_close(g);
        return rc;
    }
    *out = g;
    return 0;
}

int gguf_open_mem(struct gguf **out, const char *name, const void *p, size_t n, struct err *e)
{
    return open_bytes(out, name, p, n, false, e);
}

int gguf_open_head(struct gguf **out, const char *name, const void *p, size_t n, uint64_t *data_at,
                   struct err *e)
{
    int rc = open_bytes(out, name, p, n, true, e);

    if (rc == 0)
        *data_at = (*out)->part[0].data_at;
    return rc;
}

void gguf_part_name(struct buf *out, const char *path, uint32_t i, uint32_t n)
{
    size_t stem = without_ending(path);

    buf_printf(out, "%.*s-%05u-of-%05u%s", (int)stem, path, i + 1, n,
               path[stem] ? path + stem : ".gguf");
}

void gguf_close(struct gguf *g)
{
    if (!g)
        return;
    forget(g);
    for (uint32_t i = 0; g->part && i < g->n_part; i++) {
        if (g->part[i].packed)
            packed_close(g->part[i].packed);
        else if (!g->borrowed)
            file_unmap(&g->part[i].view);
        mem_free(g->part[i].path);
    }
    mem_free(g->part);
    mem_free(g->path);
    mem_free(g);
}
