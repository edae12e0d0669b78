/* fuzz_model.c - any bytes as a model that is opened and run: numbers, shapes and vocabularies that
 * contradict each other must fail with a sentence, or give a model that draws tokens.
 */
#include "tests/fuzz/replay.h"

#include "engine/engine.h"
#include "engine/public.h"
#include "model/model.h"

enum { CONTEXT = 96, DRAWN = 3 };

static void follow(struct rill_engine *g)
{
    const int32_t ids[5] = {1, 0, 2, 1, 3};
    struct rill_request q = {.ids = ids, .n_ids = 5, .max_tokens = DRAWN, .show_control = true};
    struct rill_event ev[4];
    struct err e = {0};
    int number;

    q.sampling = rill_sampling_defaults();
    if (rill_engine_submit(g, &q, &number, &e) < 0)
        return;
    engine_guard(g, true);
    while (rill_engine_step(g, ev, 4, &e) > 0)
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct model_opts o = MODEL_OPTS;
    struct rill_engine_opts eo = {.max_seq = 1, .max_batch = 4, .kv_bytes = 32 << 20};
    struct model *m = NULL;
    struct rill_engine *g = NULL;
    struct rill_model view = {0};
    struct err e = {0};

    o.device = "cpu:1";
    o.n_ctx = CONTEXT;
    if (model_open_mem(&m, "fuzz", p, n, &o, &e) < 0)
        return 0;
    view = (struct rill_model){
        .m = m, .be = m->be, .dev = m->dev, .plan = m->plan, .tok = m->tok, .path = "fuzz"};
    if (rill_engine_open(&g, &view, &eo, &e) == 0)
        follow(g);
    rill_engine_close(g);
    model_close(m);
    return 0;
}
