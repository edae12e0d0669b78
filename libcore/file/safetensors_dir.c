/* safetensors_dir.c - opens files and directories of safetensors, and joins the parts. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "file/gguf.h"
#include "file/gguf_inner.h"
#include "file/st_inner.h"

#define INDEX  "model.safetensors.index.json"
#define SINGLE "model.safetensors"

enum { MAX_INDEX = 64 << 20 }; // bytes of an index: a million names

static struct safetensors *new_parts(uint32_t n, struct err *e)
{
    struct safetensors *s = mem_new(sizeof *s, e);

    if (s && !(s->part = mem_array(n, sizeof *s->part, e))) {
        mem_free(s);
        return NULL;
    }
    return s;
}

static int build_map(struct safetensors *s, struct err *e)
{
    int rc = map_init(&s->map, s->n_tensor, e);
    char shown[96];
    uint32_t twin;

    for (uint32_t i = 0; i < s->n_tensor && rc == 0; i++) {
        const struct st_tensor *t = &s->tensor[i];

        if (map_get(&s->map, t->name, &twin))
            rc = err_set(e, E_FORMAT, "%s: tensor '%s' is in %s too",
                         gguf_path_tail(s->part[t->part].path),
                         gguf_show(shown, sizeof shown, t->name),
                         gguf_path_tail(s->part[s->tensor[twin].part].path));
        else
            rc = map_put(&s->map, t->name, i, e);
    }
    return rc;
}

/* Opens one file as the next part of s. */
static int add_part(struct safetensors *s, const char *path, struct err *e)
{
    struct safetensors *one = new_parts(1, e);
    struct st_tensor *all;
    uint64_t n;
    int rc = E_NOMEM;

    if (!one)
        return rc;
    one->n_part = 1;
    if (!(one->part[0].path = mem_dup(path, strlen(path), e)))
        goto done;
    if ((rc = file_map(&one->part[0].view, path, e)) < 0 || (rc = st_parse(one, e)) < 0)
        goto done;
    n = (uint64_t)s->n_tensor + one->n_tensor;
    if (n > ST_MAX_TENSORS) {
        rc = err_set(e, E_FORMAT, "%s: more tensors than any model has", gguf_path_tail(path));
        goto done;
    }
    if (!(all = mem_resize(s->tensor, s->n_tensor, n, sizeof *all, e))) {
        rc = E_NOMEM;
        goto done;
    }
    s->tensor = all;
    for (uint32_t i = 0; i < one->n_tensor; i++) {
        all[s->n_tensor + i] = one->tensor[i];
        all[s->n_tensor + i].part = s->n_part;
    }
    s->n_tensor = (uint32_t)n;
    if (s->n_part == 0) {
        s->meta = one->meta;
        s->n_meta = one->n_meta;
        one->meta = NULL;
    }
    s->part[s->n_part++] = one->part[0];
    one->n_part = 0;
done:
    st_close(one);
    return rc;
}

/* -- a directory -- */

/* A part's name must be that of a file in the directory itself. */
static bool plain_name(const char *name)
{
    return *name && *name != '.' && !strchr(name, '/') && strlen(name) < 256;
}

static int file_number(json_t *files, const char *name, uint32_t *n)
{
    if (json_object_get(files, name))
        return 0;
    return json_object_set_new(files, name, json_integer((*n)++));
}

/* Every tensor the index names must be in the file it names. */
static int check_index(const struct safetensors *s, json_t *map, json_t *files, const char *path,
                       struct err *e)
{
    const char *name;
    json_t *file;

    json_object_foreach(map, name, file)
    {
        const struct st_tensor *t = st_find(s, slice_of(name));
        json_int_t part = json_integer_value(json_object_get(files, json_string_value(file)));
        char shown[96];

        if (!t || t->part != part)
            return err_set(e, E_FORMAT, "%s: tensor '%s' is not in %s", gguf_path_tail(path),
                           gguf_show(shown, sizeof shown, slice_of(name)), json_string_value(file));
    }
    return 0;
}

/* Reads an index into a new object of weights and one of file numbers. */
static int list_files(json_t *map, json_t *files, const char *path, struct err *e)
{
    const char *name;
    json_t *file;
    char shown[96];
    uint32_t n = 0;

    if (!json_is_object(map) || json_object_size(map) == 0)
        return err_set(e, E_FORMAT, "%s: no \"weight_map\"", gguf_path_tail(path));
    json_object_foreach(map, name, file)
    {
        if (!json_is_string(file) || !plain_name(json_string_value(file)))
            return err_set(e, E_FORMAT, "%s: tensor '%s' is in no file of the directory",
                           gguf_path_tail(path), gguf_show(shown, sizeof shown, slice_of(name)));
        if (file_number(files, json_string_value(file), &n) < 0)
            return err_nomem(e, 64);
    }
    if (n > ST_MAX_PARTS)
        return err_set(e, E_FORMAT, "%s: %u files", gguf_path_tail(path), n);
    return 0;
}

static int join_path(struct buf *b, const char *dir, const char *name, struct err *e)
{
    buf_clear(b);
    buf_printf(b, "%s/%s", dir, name);
    return b->bad ? err_nomem(e, strlen(dir)) : 0;
}

static int open_parts(struct safetensors **out, const char *dir, json_t *files, struct err *e)
{
    struct safetensors *s = new_parts((uint32_t)json_object_size(files), e);
    uint32_t n = (uint32_t)json_object_size(files);
    struct buf path = {0};
    const char *name;
    json_t *number;
    int rc = s ? 0 : E_NOMEM;

    *out = s;
    for (uint32_t i = 0; i < n && rc == 0; i++)
        json_object_foreach(files, name, number) /* few, and usually in order */
            if (rc == 0 && json_integer_value(number) == i &&
                (rc = join_path(&path, dir, name, e)) == 0) rc = add_part(s, path.p, e);
    buf_fini(&path);
    return rc < 0 ? rc : build_map(s, e);
}

static int open_index(struct safetensors **out, const char *dir, const char *path, struct err *e)
{
    struct file_view v;
    json_error_t why;
    json_t *root = NULL, *files = json_object(), *map;
    int rc;

    if ((rc = file_read(&v, path, MAX_INDEX, e)) < 0) {
        json_decref(files);
        return rc;
    }
    root = json_loadb((const char *)v.p, v.n, JSON_REJECT_DUPLICATES, &why);
    map = json_object_get(root, "weight_map");
    if (!root)
        rc = err_set(e, E_FORMAT, "%s: line %d: %s", gguf_path_tail(path), why.line, why.text);
    else if (!files)
        rc = err_nomem(e, 64);
    else if ((rc = list_files(map, files, path, e)) == 0 &&
             (rc = open_parts(out, dir, files, e)) == 0)
        rc = check_index(*out, map, files, path, e);
    json_decref(root);
    json_decref(files);
    file_unmap(&v);
    return rc;
}

static int open_dir(struct safetensors **out, const char *dir, struct err *e)
{
    struct buf path = {0};
    int rc = join_path(&path, dir, INDEX, e);

    if (rc == 0 && file_exists(path.p)) {
        rc = open_index(out, dir, path.p, e);
    } else if (rc == 0 && (rc = join_path(&path, dir, SINGLE, e)) == 0) {
        if (!file_exists(path.p))
            rc = err_set(e, E_NOTFOUND, "%s: neither " SINGLE " nor " INDEX, gguf_path_tail(dir));
        else
            rc = st_open(out, path.p, e);
    }
    buf_fini(&path);
    return rc;
}

/* -- public -- */

int st_open(struct safetensors **out, const char *path, struct err *e)
{
    struct safetensors *s = NULL;
    int rc;

    *out = NULL;
    if (file_is_dir(path)) {
        rc = open_dir(&s, path, e);
    } else if (!(s = new_parts(1, e))) {
        rc = E_NOMEM;
    } else if ((rc = add_part(s, path, e)) == 0) {
        rc = build_map(s, e);
    }
    if (rc < 0) {
        st_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

int st_open_mem(struct safetensors **out, const char *name, const void *p, size_t n, struct err *e)
{
    struct safetensors *s = new_parts(1, e);
    int rc = E_NOMEM;

    *out = NULL;
    if (!s)
        return rc;
    s->n_part = 1;
    s->part[0].view = (struct file_view){.p = p, .n = n};
    if (!(s->part[0].path = mem_dup(name, strlen(name), e)) || (rc = st_parse(s, e)) < 0 ||
        (rc = build_map(s, e)) < 0) {
        st_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void st_close(struct safetensors *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; s->part && i < s->n_part; i++) {
        file_unmap(&s->part[i].view);
        mem_free(s->part[i].path);
        mem_free(s->part[i].names);
    }
    map_fini(&s->map);
    mem_free(s->tensor);
    mem_free(s->meta);
    mem_free(s->part);
    mem_free(s);
}

const struct st_tensor *st_find(const struct safetensors *s, struct slice name)
{
    uint32_t i;

    return map_get(&s->map, name, &i) ? &s->tensor[i] : NULL;
}

void st_dontneed(const struct safetensors *s, const struct st_tensor *t)
{
    const struct file_view *v = &s->part[t->part].view;

    if (t->bytes)
        file_dontneed(v, (size_t)(t->p - v->p), (size_t)t->bytes);
}
