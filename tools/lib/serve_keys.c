/* serve_keys.c - see serve_keys.h. */
#include "tools/lib/serve_keys.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"

enum { KEYS_FILE = 4 << 20, KEYS_MAX = 255 };

struct keys {
    struct key *key; // [n]
    int n;
};

void key_hash(struct slice key, unsigned char out[KEY_HASH])
{
    SHA256((const unsigned char *)key.p, key.n, out);
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hash(struct slice w, unsigned char out[KEY_HASH])
{
    if (w.n != 2 * KEY_HASH)
        return false;
    for (size_t i = 0; i < KEY_HASH; i++) {
        int a = hex(w.p[2 * i]), b = hex(w.p[2 * i + 1]);

        if (a < 0 || b < 0)
            return false;
        out[i] = (unsigned char)(16 * a + b);
    }
    return true;
}

static bool read_number(const char *text, double least, double *out)
{
    char *end;

    *out = strtod(text, &end);
    return end != text && !*end && *out >= least && *out <= 1e12;
}

static bool read_scopes(const char *text, unsigned *out)
{
    static const struct {
        const char *name;
        unsigned scope;
    } known[] = {{"infer", KEY_INFER}, {"metrics", KEY_METRICS}, {"admin", KEY_ADMIN}};

    *out = 0;
    for (;; text++) {
        const struct slice word = {text, strcspn(text, ",")};
        size_t i = 0;

        while (i < ARRAY_LEN(known) && !slice_is(word, known[i].name))
            i++;
        if (i == ARRAY_LEN(known))
            return false;
        *out |= known[i].scope;
        text += word.n;
        if (!*text)
            return true;
    }
}

/* NAME or NAME=SCALE */
static bool read_lora(struct job_rights *r, const char *value)
{
    const char *eq = strchr(value, '=');
    size_t n = eq ? (size_t)(eq - value) : strlen(value);
    double scale = 1;

    if (n == 0 || n >= sizeof r->lora || (eq && !read_number(eq + 1, -100, &scale)) || scale > 100)
        return false;
    memcpy(r->lora, value, n);
    r->lora[n] = 0;
    r->lora_scale = (float)scale;
    return true;
}

/* N, NAME or NAME=N */
static bool read_draft(struct key *k, const char *value)
{
    const char *eq = strchr(value, '=');
    const size_t n = eq ? (size_t)(eq - value) : strlen(value);
    const bool named = eq || value[strspn(value, "0123456789")];
    double v = -1;

    if (n >= sizeof k->rights.draft || (eq && n == 0) || value[0] == '-')
        return false;
    if ((eq || !named) && !read_number(eq ? eq + 1 : value, 0, &v))
        return false;
    memcpy(k->rights.draft, value, named ? n : 0);
    k->rights.draft[named ? n : 0] = 0;
    k->draft = v > 64 ? 64 : (int)v;
    return true;
}

/* name=value */
static bool read_setting(struct key *k, const char *word)
{
    const char *eq = strchr(word, '=');
    const char *value = eq ? eq + 1 : "";
    size_t n = eq ? (size_t)(eq - word) : 0;
    struct slice name = {word, n};
    double v = 0;
    bool ok = true;

    if (!*value)
        return false;
    if (slice_is(name, "adapters"))
        return (size_t)snprintf(k->rights.adapters, sizeof k->rights.adapters, "%s", value) <
               sizeof k->rights.adapters;
    if (slice_is(name, "lora"))
        return read_lora(&k->rights, value);
    if (slice_is(name, "draft"))
        return read_draft(k, value);
    if (slice_is(name, "models"))
        return (size_t)snprintf(k->models, sizeof k->models, "%s", value) < sizeof k->models;
    if (slice_is(name, "scopes"))
        return read_scopes(value, &k->scopes);
    if (slice_is(name, "rate") && (ok = read_number(value, 0.001, &v)))
        k->rate = v;
    else if (ok && slice_is(name, "tokens") && (ok = read_number(value, 1, &v)))
        k->tokens = v;
    else if (ok && slice_is(name, "concurrent") && (ok = read_number(value, 1, &v)))
        k->concurrent = v > 1e6 ? 1000000 : (int)v;
    else if (ok && slice_is(name, "weight") && (ok = read_number(value, 0.001, &v)))
        k->weight = (float)v;
    return ok && v > 0;
}

/* Whoever has a name has its limits and counters: two keys of one name could differ in them. */
static bool is_taken(const struct keys *k, const char *name)
{
    for (int i = 0; i < k->n; i++)
        if (strcmp(k->key[i].name, name) == 0)
            return true;
    return false;
}

static int read_key(struct key *k, char *line, const char *path, int number, struct err *e)
{
    char *save = NULL;
    const char *hash = strtok_r(line, " \t\r", &save), *name = strtok_r(NULL, " \t\r", &save);

    *k = (struct key){.weight = 1, .draft = -1, .scopes = KEY_INFER | KEY_METRICS};
    if (!read_hash(slice_of(hash), k->hash))
        return err_set(e, E_FORMAT,
                       "%s: line %d does not begin with 64 hexadecimal digits (--hash-key makes "
                       "them of a key)",
                       path, number);
    if (!name || strlen(name) >= sizeof k->name || strchr(name, '=') || strchr(name, '"') ||
        strchr(name, '\\'))
        return err_set(e, E_FORMAT, "%s: line %d has no name behind the hash", path, number);
    snprintf(k->name, sizeof k->name, "%s", name);
    for (char *w = strtok_r(NULL, " \t\r", &save); w; w = strtok_r(NULL, " \t\r", &save))
        if (!read_setting(k, w))
            return err_set(e, E_FORMAT, "%s: line %d: '%.60s' is no setting of a key", path, number,
                           w);
    k->rate_left = k->rate < 1 ? 1 : k->rate;
    k->tokens_left = k->tokens;
    return 0;
}

int keys_read(struct keys **out, const char *path, struct err *e)
{
    struct keys *k = mem_new(sizeof *k, e);
    struct file_view v = {0};
    char *text = NULL, *save = NULL;
    int number = 0;
    int rc = k ? file_read(&v, path, KEYS_FILE, e) : E_NOMEM;

    *out = NULL;
    if (rc == 0 &&
        (!(text = mem_dup(v.p, v.n, e)) || !(k->key = mem_array(KEYS_MAX, sizeof *k->key, e))))
        rc = E_NOMEM;
    for (char *line = text; rc == 0 && line; line = save) {
        save = strchr(line, '\n');
        if (save)
            *save++ = 0;
        number++;
        line += strspn(line, " \t\r");
        if (!*line || *line == '#')
            continue;
        if (k->n == KEYS_MAX)
            rc = err_set(e, E_RANGE, "%s: more than %d keys", path, KEYS_MAX);
        else
            rc = read_key(&k->key[k->n], line, path, number, e);
        if (rc == 0 && is_taken(k, k->key[k->n].name))
            rc = err_set(e, E_FORMAT, "%s: line %d: there is a key called '%s' already", path,
                         number, k->key[k->n].name);
        k->n += rc == 0;
    }
    if (rc == 0 && k->n == 0)
        rc = err_set(e, E_FORMAT, "%s: no key in it", path);
    mem_free(text);
    file_unmap(&v);
    if (rc < 0) {
        keys_free(k);
        return rc;
    }
    *out = k;
    return 0;
}

void keys_free(struct keys *k)
{
    if (k)
        mem_free(k->key);
    mem_free(k);
}

void keys_inherit(struct keys *k, const struct keys *old)
{
    for (int i = 0; i < k->n; i++)
        for (int j = 0; old && j < old->n; j++) {
            const struct key *o = &old->key[j];
            struct key *n = &k->key[i];

            if (strcmp(n->name, o->name) != 0)
                continue;
            n->requests = o->requests;
            n->prompt_tokens = o->prompt_tokens;
            n->drawn_tokens = o->drawn_tokens;
            n->at = o->at;
            n->rate_left = o->rate_left < n->rate_left ? o->rate_left : n->rate_left;
            n->tokens_left = o->tokens_left < n->tokens_left ? o->tokens_left : n->tokens_left;
        }
}

int keys_find(const struct keys *k, struct slice key)
{
    unsigned char hash[KEY_HASH];
    int found = -1;

    key_hash(key, hash);
    for (int i = 0; i < k->n; i++)
        if (CRYPTO_memcmp(hash, k->key[i].hash, KEY_HASH) == 0)
            found = i;
    return found;
}

int keys_count(const struct keys *k)
{
    return k ? k->n : 0;
}

struct key *keys_at(struct keys *k, int i)
{
    return &k->key[i];
}

bool key_may(const struct key *k, const char *model)
{
    return !k->models[0] || names_have(k->models, model);
}

double key_begin(struct key *k, double now)
{
    double most = k->rate < 1 ? 1 : k->rate, past = k->at > 0 ? now - k->at : 0;

    k->at = now;
    k->rate_left += past * k->rate;
    k->rate_left = k->rate_left > most ? most : k->rate_left;
    k->tokens_left += past * k->tokens / 60;
    k->tokens_left = k->tokens_left > k->tokens ? k->tokens : k->tokens_left;
    if (k->rate > 0 && k->rate_left < 1)
        return (1 - k->rate_left) / k->rate;
    if (k->tokens > 0 && k->tokens_left <= 0)
        return (1 - k->tokens_left) * 60 / k->tokens;
    if (k->concurrent > 0 && k->running >= k->concurrent)
        return 1;
    k->rate_left -= 1;
    k->requests++;
    return 0;
}

void key_spent(struct key *k, uint64_t prompt, uint64_t drawn)
{
    k->prompt_tokens += prompt;
    k->drawn_tokens += drawn;
    k->tokens_left -= (double)(prompt + drawn);
}
