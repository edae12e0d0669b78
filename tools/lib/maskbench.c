/* maskbench.c - see maskbench.h.
 *
 * An instance is written as JSON with a blank behind : and , and tokenized; before each token the
 * mask is asked for, as when a model made the text. Times are of this thread's processor time.
 */
#include "tools/lib/maskbench.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "text/constrain.h"

struct times {
    double *v; // microseconds
    size_t n, cap;
    double sum;
};

struct reason {
    char what[64];
    int n;
};

struct bench {
    const struct tok *tok;
    struct con_vocab *vocab;
    uint32_t *mask;
    struct times compile, step;
    struct reason reason[64];
    int n_reason;
    int schemas, compiled, empty, right, wrongly_refused, wrongly_accepted, unjudged;
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static int note(struct times *t, double us, struct err *e)
{
    if (t->n == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 1024;
        double *v = mem_resize(t->v, t->cap, cap, sizeof *v, e);

        if (!v)
            return E_NOMEM;
        t->v = v;
        t->cap = cap;
    }
    t->v[t->n++] = us;
    t->sum += us;
    return 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double part(const struct times *t, double p)
{
    size_t i = (size_t)(p * (double)t->n);

    return t->n ? t->v[i < t->n ? i : t->n - 1] : 0;
}

/* The keyword of "schema, #/a/b/uniqueItems: ...", or the sentence where it names none. */
static void refused(struct bench *b, const char *text)
{
    char what[64] = "";
    const char *end = strstr(text, ": "), *p = end;

    if (strncmp(text, "schema, #/", 10) == 0 && end) {
        while (p > text && p[-1] != '/')
            p--;
        snprintf(what, sizeof what, "%.*s", (int)(end - p < 60 ? end - p : 60), p);
    } else {
        snprintf(what, sizeof what, "%.60s", end ? end + 2 : text);
    }
    for (int i = 0; i < b->n_reason; i++)
        if (strcmp(b->reason[i].what, what) == 0) {
            b->reason[i].n++;
            return;
        }
    if (b->n_reason < (int)ARRAY_LEN(b->reason)) {
        memcpy(b->reason[b->n_reason].what, what, sizeof what);
        b->reason[b->n_reason++].n = 1;
    }
}

/* Whether the text is taken to its end, token by token under the mask. */
static int says(struct bench *b, struct con_matcher *m, struct slice text, bool *yes,
                struct err *e)
{
    struct con_state s = con_begin(m);
    struct tok_ids ids = {0};
    int rc = tok_encode(b->tok, text, 0, &ids, e);

    *yes = true;
    for (size_t i = 0; rc == 0 && *yes && i <= ids.n; i++) {
        double begin = now();

        if ((rc = con_mask(m, s, b->mask, e)) < 0 ||
            (rc = note(&b->step, now() - begin, e)) < 0)
            break;
        if (i == ids.n)
            *yes = con_can_stop(m, s);
        else if (!(b->mask[ids.id[i] / 32] >> ids.id[i] % 32 & 1))
            *yes = false;
        else if ((rc = con_accept(m, &s, ids.id[i], e)) > 0)
            rc = 0;
    }
    tok_ids_fini(&ids);
    return rc;
}

static int judge(struct bench *b, struct con_matcher *m, const json_t *test, const char *name,
                 struct err *e)
{
    char *text = json_dumps(json_object_get(test, "data"),
                            JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    bool valid = json_is_true(json_object_get(test, "valid")), yes = false;
    int rc = text ? says(b, m, slice_of(text), &yes, e) : err_nomem(e, 1);

    if (rc == 0 && yes != valid)
        fprintf(stderr, "%s: wrongly %s: %.200s\n", name, yes ? "accepted" : "refused", text);
    b->right += yes == valid;
    b->wrongly_accepted += yes && !valid;
    b->wrongly_refused += !yes && valid;
    free(text);
    return rc;
}

static int one_schema(struct bench *b, const json_t *line, struct err *e)
{
    const struct con_opts o = {.line = true};
    const char *name = json_string_value(json_object_get(line, "file"));
    char *src = json_dumps(json_object_get(line, "schema"), JSON_ENCODE_ANY);
    const json_t *tests = json_object_get(line, "tests");
    struct con_matcher *m = NULL;
    struct con *c = NULL;
    struct err why = {0};
    double begin = now();
    int rc = src ? con_schema(&c, slice_of(src), &o, &why) : E_NOMEM;

    if (rc == 0)
        rc = con_matcher_new(&m, c, b->vocab, 0, &why);
    if (rc == 0)
        rc = note(&b->compile, now() - begin, e);
    else
        begin = 0;
    b->schemas++;
    if (begin == 0) {
        b->empty += strstr(why.text, "no text") != NULL;
        b->unjudged += (int)json_array_size(tests);
        refused(b, why.text);
        rc = rc == E_NOMEM ? err_nomem(e, 1) : 0;
    } else {
        b->compiled++;
        for (size_t i = 0; rc == 0 && i < json_array_size(tests); i++)
            rc = judge(b, m, json_array_get(tests, i), name ? name : "?", e);
    }
    con_matcher_free(m);
    con_free(c);
    free(src);
    return rc;
}

static int one_file(struct bench *b, const char *path, struct err *e)
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t cap = 0;
    int rc = f ? 0 : err_set(e, E_IO, "%s: cannot open", path);

    for (int n = 1; rc == 0 && getline(&line, &cap, f) > 0; n++) {
        json_error_t why;
        json_t *j = json_loads(line, 0, &why);

        if (j)
            rc = one_schema(b, j, e);
        else
            rc = err_set(e, E_FORMAT, "%s, line %d: %s", path, n, why.text);
        json_decref(j);
    }
    free(line);
    if (f)
        fclose(f);
    return rc;
}

static void show_times(const char *what, const struct times *t, bool json)
{
    printf(json ? "\"%s_us\":{\"n\":%zu,\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,"
                  "\"max\":%.1f}"
                : "%-8s %7zu times: mean %.1f us, p50 %.1f, p90 %.1f, p99 %.1f, max %.1f\n",
           what, t->n, t->n ? t->sum / (double)t->n : 0, part(t, 0.5), part(t, 0.9),
           part(t, 0.99), part(t, 1));
}

static void show(struct bench *b, bool json)
{
    qsort(b->compile.v, b->compile.n, sizeof(double), by_value);
    qsort(b->step.v, b->step.n, sizeof(double), by_value);
    if (json) {
        printf("{\"test\":\"mask\",\"tokens\":%u,\"schemas\":%d,\"compiled\":%d,"
               "\"unsatisfiable\":%d,\"right\":%d,\"wrongly_refused\":%d,\"wrongly_accepted\":%d,"
               "\"unjudged\":%d,",
               b->vocab->n, b->schemas, b->compiled, b->empty, b->right, b->wrongly_refused,
               b->wrongly_accepted, b->unjudged);
        show_times("compile", &b->compile, true);
        putchar(',');
        show_times("mask", &b->step, true);
        puts("}");
        return;
    }
    printf("%d schemas: %d compiled (%.1f %%), %d refused, of which %d allow no value\n",
           b->schemas, b->compiled, b->schemas ? 100.0 * b->compiled / b->schemas : 0,
           b->schemas - b->compiled, b->empty);
    for (int i = 0; i < b->n_reason; i++)
        printf("    refused %d: %s\n", b->reason[i].n, b->reason[i].what);
    printf("instances: %d judged right, %d wrongly refused, %d wrongly accepted, %d not judged\n",
           b->right, b->wrongly_refused, b->wrongly_accepted, b->unjudged);
    show_times("compile", &b->compile, false);
    show_times("mask", &b->step, false);
}

int mask_bench(const struct tok *t, const struct opt_list *files, bool json, struct err *e)
{
    struct bench b = {.tok = t};
    int rc = con_vocab_new(&b.vocab, t, e);

    if (rc == 0 && !(b.mask = mem_array(b.vocab->n_word, sizeof *b.mask, e)))
        rc = E_NOMEM;
    for (size_t i = 0; rc == 0 && i < files->n; i++)
        rc = one_file(&b, files->at[i].value, e);
    if (rc == 0)
        show(&b, json);
    con_vocab_free(b.vocab);
    mem_free(b.mask);
    mem_free(b.compile.v);
    mem_free(b.step.v);
    return rc;
}
