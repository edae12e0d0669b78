/* test_kvfile.c - a text saved and taken up again goes on with the same bytes; a file that is
 * damaged, or of something else, is refused with a sentence. */
#include "base/rng.h"
#include "engine/kvfile.h"
#include "tests/engine/scripted.h"

enum { PROMPT = 100, FIRST = 45, MORE = 30 };

struct run {
    int32_t id[PROMPT + FIRST + MORE + 1];
    unsigned char made[PROMPT + FIRST + MORE + 1];
    int n, cached;
};

static struct rill_engine *open_engine(struct script *s, int kind)
{
    struct rill_engine *g;
    struct err e = {0};

    script_open_kind(s, 512, 63, kind);
    ck_ok(rill_engine_open(&g, &s->model, NULL, &e), &e);
    return g;
}

/* n tokens more. */
static void go_on(struct rill_engine *g, struct run *r, int n)
{
    struct rill_request q = {
        .ids = r->id, .n_ids = (size_t)r->n, .made = r->made, .max_tokens = n, .ignore_eos = true};
    struct rill_event ev;
    struct err e = {0};
    int number;

    q.sampling = rill_sampling_defaults();
    q.sampling.temperature = 0.7f;
    q.sampling.has_seed = true;
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    while (rill_engine_step(g, &ev, 1, &e) > 0) {
        if (ev.kind == RILL_TOKEN) {
            r->made[r->n] = 1;
            r->id[r->n++] = ev.id;
        }
        if (ev.kind == RILL_DONE)
            r->cached = ev.cached;
    }
}

static void begin(struct run *r)
{
    memset(r, 0, sizeof *r);
    for (int i = 0; i < PROMPT; i++)
        r->id[i] = i * 7 % SCRIPT_V;
    r->n = PROMPT;
}

static void saved(int kind, bool compressed)
{
    const char *path = tmpfile_path("session.kv");
    struct run whole, part;
    struct script s;
    struct rill_engine *g = open_engine(&s, kind);
    struct rill_kv kv;
    struct err e = {0};

    begin(&whole);
    go_on(g, &whole, FIRST + MORE);
    rill_engine_close(g);
    script_close(&s);

    g = open_engine(&s, kind);
    begin(&part);
    go_on(g, &part, FIRST);
    kv = (struct rill_kv){
        .ids = part.id, .made = part.made, .n = (size_t)part.n, .compressed = compressed};
    ck_ok(rill_engine_kv_save(g, &kv, path, &e), &e);
    rill_engine_close(g);
    script_close(&s);

    g = open_engine(&s, kind);
    ck_ok(rill_engine_kv_load(g, path, &kv, &e), &e);
    ck_assert_uint_eq(kv.n, PROMPT + FIRST);
    ck_assert_mem_eq(kv.ids, part.id, kv.n * sizeof *kv.ids);
    ck_assert_mem_eq(kv.made, part.made, kv.n);
    ck_assert_str_eq(kv.device, "script");
    ck_assert_int_eq(kv.n_pos, kind == SCRIPT_RECURRENT || kind == SCRIPT_STATE ? 96 : 128);
    rill_kv_fini(&kv);
    go_on(g, &part, MORE);
    ck_assert_int_eq(part.cached, kind == SCRIPT_RECURRENT || kind == SCRIPT_STATE ? 96 : 128);
    ck_assert_int_eq(part.n, whole.n);
    ck_assert_mem_eq(part.id, whole.id, sizeof *whole.id * (size_t)whole.n);
    rill_engine_close(g);
    script_close(&s);
    unlink(path);
}

START_TEST(goes_on_with_the_same_bytes)
{
    for (int kind = 0; kind < SCRIPT_KINDS; kind++)
        for (int compressed = 0; compressed < 2; compressed++)
            saved(kind, compressed);
}
END_TEST

/* -- several texts -- */

enum { TEXTS = 4 };

/* One after the other: 1 begins like 0 for 70 tokens, 2 like 1 for 110, 3 is on its own. */
static void begin_tree(struct run *all)
{
    for (int k = 0; k < TEXTS; k++) {
        begin(&all[k]);
        all[k].n = k == 3 ? 40 : PROMPT + 20;
        for (int i = 0; i < all[k].n; i++)
            all[k].id[i] =
                (i * 7 + (i >= 70 && k > 0) + 2 * (i >= 110 && k == 2) + 5 * (k == 3)) % SCRIPT_V;
    }
}

static long size_of(const char *path)
{
    FILE *f = fopen(path, "rb");
    long n;

    ck_assert_ptr_nonnull(f);
    fseek(f, 0, SEEK_END);
    n = ftell(f);
    fclose(f);
    return n;
}

/* A file of texts that are known to one engine makes them known to another, with as much. */
static void tree_saved(int kind, bool compressed)
{
    const char *path = tmpfile_path("tree.kv");
    struct run all[TEXTS], want[TEXTS];
    struct rill_kv more[TEXTS - 1] = {0}, kv, got;
    struct script s;
    struct rill_engine *g = open_engine(&s, kind);
    int cached[TEXTS];
    long one;
    struct err e = {0};

    begin_tree(all);
    for (int k = 0; k < TEXTS; k++)
        go_on(g, &all[k], 3);
    kv = (struct rill_kv){
        .ids = all[0].id, .made = all[0].made, .n = (size_t)all[0].n, .compressed = compressed};
    ck_ok(rill_engine_kv_save(g, &kv, path, &e), &e);
    one = size_of(path);
    kv.more = more;
    kv.n_more = TEXTS - 1;
    for (int k = 1; k < TEXTS; k++)
        more[k - 1] =
            (struct rill_kv){.ids = all[k].id, .made = all[k].made, .n = (size_t)all[k].n};
    ck_ok(rill_engine_kv_save(g, &kv, path, &e), &e);
    for (int k = 0; k < TEXTS; k++) {
        want[k] = all[k];
        go_on(g, &want[k], 8);
        cached[k] = want[k].cached;
    }
    rill_engine_close(g);
    script_close(&s);

    ck_ok(rill_kv_open(&got, path, &e), &e);
    ck_assert_int_eq(got.n_more, TEXTS - 1);
    ck_assert_int_eq(got.parent, -1);
    ck_assert_int_eq(got.more[2].parent, -1);
    ck_assert_mem_eq(got.more[1].ids, all[2].id, sizeof *got.ids * (size_t)all[2].n);
    if (kind == SCRIPT_PLAIN) {
        ck_assert_int_eq(got.n_pos, 96);
        ck_assert_int_eq(got.more[0].parent, 0);
        ck_assert_int_eq(got.more[0].n_shared, 64);
        ck_assert_int_eq(got.more[1].parent, 1);
        ck_assert_int_eq(got.more[1].n_shared, 96);
        ck_assert_int_eq(got.more[2].n_shared, 0);
        if (!compressed) // one page more for 1, none for 2, one for 3
            ck_assert_int_lt(size_of(path), one + 2 * SCRIPT_PAGE + 3 * 5 * PROMPT + 1024);
    }
    rill_kv_fini(&got);

    g = open_engine(&s, kind);
    ck_ok(rill_engine_kv_load(g, path, &got, &e), &e);
    rill_kv_fini(&got);
    for (int k = 0; k < TEXTS; k++) {
        go_on(g, &all[k], 8);
        ck_assert_int_eq(all[k].cached, cached[k]);
        ck_assert_int_eq(all[k].n, want[k].n);
        ck_assert_mem_eq(all[k].id, want[k].id, sizeof *all[k].id * (size_t)all[k].n);
    }
    rill_engine_close(g);
    script_close(&s);
    unlink(path);
}

START_TEST(texts_form_a_tree)
{
    for (int kind = 0; kind < SCRIPT_KINDS; kind++)
        for (int compressed = 0; compressed < 2; compressed++)
            tree_saved(kind, compressed);
}
END_TEST

/* What an engine knows, whoever brought it. */
START_TEST(all_that_is_known)
{
    const char *path = tmpfile_path("known.kv");
    struct run all[TEXTS];
    struct script s;
    struct rill_engine *g = open_engine(&s, SCRIPT_PLAIN);
    struct rill_kv kv;
    struct err e = {0};
    bool found[TEXTS] = {false};

    ck_ok(rill_engine_kv_known(g, 0, &kv, &e), &e);
    ck_assert_uint_eq(kv.n, 0);
    begin_tree(all);
    for (int k = 0; k < TEXTS; k++)
        go_on(g, &all[k], 3);
    ck_ok(rill_engine_kv_known(g, 1, &kv, &e), &e);
    ck_assert_uint_eq(kv.n, 0); // of that salt there is nothing
    ck_ok(rill_engine_kv_known(g, 0, &kv, &e), &e);
    ck_assert_int_eq(kv.n_more, TEXTS - 2); // 2 shares all of its blocks with 1
    for (int i = 0; i <= kv.n_more; i++) {
        const struct rill_kv *one = i ? &kv.more[i - 1] : &kv;

        for (int k = 0; k < TEXTS; k++)
            found[k] |= memcmp(one->ids, all[k].id, one->n * sizeof *one->ids) == 0;
    }
    for (int k = 0; k < TEXTS; k++)
        ck_assert(found[k]);
    ck_ok(rill_engine_kv_save(g, &kv, path, &e), &e);
    rill_kv_fini(&kv);
    rill_engine_close(g);
    script_close(&s);

    g = open_engine(&s, SCRIPT_PLAIN);
    ck_ok(rill_engine_kv_load(g, path, &kv, &e), &e);
    rill_kv_fini(&kv);
    for (int k = 0; k < TEXTS; k++) {
        begin_tree(all);
        go_on(g, &all[k], 1);
        ck_assert_int_eq(all[k].cached, k == 3 ? 32 : 96);
    }
    for (int n = 1; n < 12; n++) { // memory runs out: nothing is lost, nothing stays
        mem_fail_after(n);
        memset(&e, 0, sizeof e);
        if (rill_engine_kv_known(g, 0, &kv, &e) == 0)
            rill_kv_fini(&kv);
        mem_fail_after(n);
        if (rill_engine_kv_load(g, path, &kv, &e) == 0)
            rill_kv_fini(&kv);
        mem_fail_after(-1);
    }
    rill_engine_close(g);
    script_close(&s);
    unlink(path);
}
END_TEST

static void write_file(const char *path, const char *p, size_t n)
{
    FILE *f = fopen(path, "wb");

    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(p, 1, n, f), n);
    fclose(f);
}

START_TEST(damage_is_found)
{
    static char good[1 << 16], bad[1 << 16];
    const char *path = tmpfile_path("damaged.kv");
    struct script s;
    struct rill_engine *g = open_engine(&s, SCRIPT_PLAIN);
    struct rill_kv kv;
    struct run r;
    struct err e = {0};
    size_t n;
    FILE *f;

    begin(&r);
    go_on(g, &r, 5);
    kv = (struct rill_kv){.ids = r.id, .made = r.made, .n = (size_t)r.n, .compressed = true};
    ck_ok(rill_engine_kv_save(g, &kv, path, &e), &e);
    f = fopen(path, "rb");
    ck_assert_ptr_nonnull(f);
    n = fread(good, 1, sizeof good, f);
    fclose(f);
    for (size_t i = 0; i < n; i += 1 + i / 12) { // a byte changed
        memcpy(bad, good, n);
        bad[i] ^= 0x20;
        write_file(path, bad, n);
        memset(&e, 0, sizeof e);
        ck_assert_int_lt(rill_engine_kv_load(g, path, &kv, &e), 0);
        ck_assert_ptr_nonnull(strstr(e.text, "damaged.kv"));
    }
    for (size_t i = 0; i < n; i += 1 + i / 6) { // cut short
        write_file(path, good, i);
        memset(&e, 0, sizeof e);
        ck_assert_int_lt(rill_kv_open(&kv, path, &e), 0);
    }
    write_file(path, good, n);
    memset(&e, 0, sizeof e);
    ck_ok(rill_kv_open(&kv, path, &e), &e);
    rill_kv_fini(&kv);
    rill_engine_close(g);
    script_close(&s);

    g = open_engine(&s, SCRIPT_WINDOW); // layers of another kind
    memset(&e, 0, sizeof e);
    ck_fails(rill_engine_kv_load(g, path, &kv, &e), &e, E_UNSUPPORTED, "layers");
    rill_engine_close(g);
    script_close(&s);
    unlink(path);
}
END_TEST

/* A file that lies about its lengths, with a checksum that is right. */
START_TEST(wrong_numbers_are_refused)
{
    const char *path = tmpfile_path("lies.kv");
    struct script s;
    struct rill_engine *g = open_engine(&s, SCRIPT_PLAIN);
    struct rng r = {.seed = 2};
    struct rill_kv kv, other;
    struct err e = {0};
    struct run run;
    static char text[1 << 16];
    size_t n;
    FILE *f;

    begin(&run);
    go_on(g, &run, 5);
    kv = (struct rill_kv){.ids = run.id, .made = run.made, .n = (size_t)run.n};
    other = (struct rill_kv){.ids = run.id, .made = run.made, .n = 70};
    kv.more = &other;
    kv.n_more = 1;
    ck_ok(rill_engine_kv_save(g, &kv, path, &e), &e);
    f = fopen(path, "rb");
    n = fread(text, 1, sizeof text, f);
    fclose(f);
    for (int turn = 0; turn < 200; turn++) {
        static char bad[1 << 16];
        size_t at = 8 + (size_t)(rng_next(&r) % (n - 16));

        memcpy(bad, text, n);
        for (int k = 0; k < 4 && at + (size_t)k < n - 8; k++)
            bad[at + (size_t)k] = (char)(rng_next(&r) % 3 ? 0xff : rng_next(&r));
        kvfile_seal(bad, n);
        write_file(path, bad, n);
        memset(&e, 0, sizeof e);
        if (rill_engine_kv_load(g, path, &kv, &e) == 0) // a page's bytes, or which tokens were made
            rill_kv_fini(&kv);
    }
    rill_engine_close(g);
    script_close(&s);
    unlink(path);
}
END_TEST

/* Two texts, the first of which says that there is more of it than its pages, or that its state is
 * longer than the file. */
START_TEST(texts_of_wrong_lengths)
{
    static const char first[8] = {-1, -1, -1, -1}; // no parent, nothing shared
    static char text[1 << 16];
    const char *path = tmpfile_path("more.kv");
    struct script s;
    struct rill_engine *g = open_engine(&s, SCRIPT_PLAIN);
    struct rill_kv kv, other;
    struct err e = {0};
    struct run run;
    size_t n, at, end;
    FILE *f;

    begin(&run);
    go_on(g, &run, 5);
    kv = (struct rill_kv){.ids = run.id, .made = run.made, .n = (size_t)run.n};
    other = (struct rill_kv){.ids = run.id, .made = run.made, .n = 70};
    kv.more = &other;
    kv.n_more = 1;
    ck_ok(rill_engine_kv_save(g, &kv, path, &e), &e);
    f = fopen(path, "rb");
    n = fread(text, 1, sizeof text - 16, f);
    fclose(f);
    for (at = 0; memcmp(text + at, first, sizeof first) != 0; at++)
        ck_assert_uint_lt(at, n - 200);
    at += 12 + 5 * kv.n + 4; // its length in bytes, less than 64 KB
    end = (unsigned char)text[at] + 256u * (unsigned char)text[at + 1];
    end += at + 8;
    memset(text + end - 4, 0xff, 4);
    kvfile_seal(text, n);
    write_file(path, text, n);
    ck_fails(rill_engine_kv_load(g, path, &kv, &e), &e, E_FORMAT, "not as long as its pages");
    memset(text + end - 4, 0, 4);
    memset(&e, 0, sizeof e);
    text[at] = (char)(text[at] + 16);
    text[at + 1] = (char)(text[at + 1] + ((unsigned char)text[at] < 16));
    memmove(text + end + 16, text + end, n - end);
    memset(text + end, 0x7f, 16);
    kvfile_seal(text, n + 16);
    write_file(path, text, n + 16);
    ck_fails(rill_engine_kv_load(g, path, &kv, &e), &e, E_FORMAT, "not as long as its pages");
    rill_engine_close(g);
    script_close(&s);
    unlink(path);
}
END_TEST

TEST_MAIN("engine/kvfile", goes_on_with_the_same_bytes, texts_form_a_tree, all_that_is_known,
          damage_is_found, wrong_numbers_are_refused, texts_of_wrong_lengths)
