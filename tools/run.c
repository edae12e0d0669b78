/* run.c - rill-run: a prompt in, text out.
 *
 * One prompt, or with -l and -0 one per record of standard input, answered in order; with --jsonl
 * requests of the OpenAI API, many at a time (tools/lib/batch.c). Here are the options; what they
 * open and how an answer is made is in tools/lib/run_*.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "rill.h"
#include "tools/lib/batch.h"
#include "tools/lib/record.h"
#include "tools/lib/run.h"
#include "tools/lib/tool.h"
#include "tools/lib/vectors.h"

static struct run_options opt = {.pooling = -1,
                                 .embed_format = -1,
                                 .think_fd = -1,
                                 .stats_fd = -1,
                                 .logits_fd = -1,
                                 .bias_fd = -1};

static const char *const poolings[] = {"mean", "cls", "last", "none", NULL};
static const char *const embed_formats[] = {"json", "f32", NULL};

static const struct tool_option opts[] = {
    MODEL_OPTION(opt.model),
    {'p', "prompt", OPT_LIST, &opt.pieces, "TEXT",
     "a piece of the prompt; opt.pieces are joined by newlines"},
    {'f', "file", OPT_LIST, &opt.pieces, "FILE",
     "a file as a piece of the prompt (-: standard input)"},
    {'l', "lines", OPT_FLAG, &opt.lines, 0, "answer each line of standard input, after the prompt"},
    {'0', "null", OPT_FLAG, &opt.nul, 0, "the same for pieces ended by NUL; answers end so too"},
    {'s', "system", OPT_STR, &opt.system, "TEXT", "a system message in front of the prompt"},
    {0, "messages", OPT_STR, &opt.messages, "FILE",
     "messages, or a request with them, as JSON (-: standard input)"},
    {0, "tools", OPT_STR, &opt.tools, "FILE",
     "tools the model may call, a JSON list; calls come out as JSON"},
    {0, "tool-format", OPT_STR, &opt.format, "NAME",
     "how calls are written (generic: for templates without tools)"},
    {0, "template", OPT_STR, &opt.template, "FILE", "a chat template instead of the model's"},
    {0, "set", OPT_LIST, &opt.sets, "NAME=VALUE",
     "a variable of the chat template; may be repeated"},
    {0, "prefill", OPT_STR, &opt.prefill, "TEXT", "the answer begins with TEXT, and goes on"},
    {0, "think", OPT_FLAG, &opt.think, 0, "print the reasoning, too, in front of the answer"},
    {0, "think-fd", OPT_INT, &opt.think_fd, "FD", "write the reasoning there", .min = 0,
     .max = 1023},
    {0, "think-budget", OPT_INT, &opt.budget, "N", "end the reasoning after N tokens (0: never)",
     .min = 0, .max = 1e9},
    {0, "raw", OPT_FLAG, &opt.raw, 0, "complete the prompt as it is, without a chat template"},
    {0, "special", OPT_FLAG, &opt.special, 0,
     "as --raw; control tokens written in the prompt are control tokens"},
    {0, "echo", OPT_FLAG, &opt.echo, 0, "print the prompt before the answer"},
    {0, "tokens-in", OPT_FLAG, &opt.ids_in, 0, "the prompt is token ids, separated by space"},
    {0, "tokens-out", OPT_FLAG, &opt.ids_out, 0, "print token ids instead of text"},
    {'j', "json", OPT_FLAG, &opt.json, 0, "print one JSON object per answer"},
    {'n', "max-tokens", OPT_INT, &opt.n, "N", "stop after N tokens (0: when the model ends)",
     .min = 0, .max = 1e9, .given = &opt.n_given},
    {0, "min-tokens", OPT_INT, &opt.min, "N", "do not end before N tokens", .min = 0, .max = 1e9},
    {0, "stop", OPT_LIST, &opt.stops, "TEXT", "end the answer before TEXT; may be repeated"},
    {0, "ignore-eos", OPT_FLAG, &opt.ignore_eos, 0, "go on when the model ends"},
    OBEY_OPTIONS(opt.obeyed),
    {0, "choices", OPT_STR, &opt.choices, "LABELS",
     "no answer, but how likely each of these labels is, with commas between"},
    SAMPLING_OPTIONS(opt.sampling),
    {0, "jsonl", OPT_FLAG, &opt.jsonl, 0,
     "answer requests of the OpenAI API, one per line of input", .group = "Many requests"},
    {'o', "output", OPT_STR, &opt.out, "FILE", "where the replies go (appended line by line)"},
    {0, "resume", OPT_FLAG, &opt.resume, 0, "go on where FILE ends"},
    {0, "unordered", OPT_FLAG, &opt.unordered, 0, "replies as they are finished"},
    {0, "shard", OPT_STR, &opt.shard, "I/N",
     "every N-th line, from the I-th on; auto: by scheduler"},
    {0, "lenient", OPT_FLAG, &opt.lenient, 0, "fields that are not known are warnings"},
    {0, "timings", OPT_FLAG, &opt.timings, 0, "replies tell times"},
    {0, "verify-batch", OPT_FLAG, &opt.verify, 0, "make each answer once more alone and compare"},
    {0, "replay", OPT_STR, &opt.replay, "DIR",
     "draw again for requests that rill-serve recorded, and compare"},
    {0, "parallel", OPT_INT, &opt.parallel, "N", "requests at once (16)", .min = 0, .max = 4096},
    {0, "batch-rows", OPT_INT, &opt.rows, "N", "rows of a step (512)", .min = 0, .max = 65536},
    {0, "step-ms", OPT_FLOAT, &opt.step_ms, "X",
     "prompts are cut so that a step is shorter (250; on a GPU 50)", .min = 0, .max = 1e6,
     .given = &opt.step_given},
    {0, "kv-mem", OPT_STR, &opt.kv_mem, "SIZE", "memory for keys and values"},
    {0, "swap-mem", OPT_STR, &opt.swap_mem, "SIZE", "host memory for requests that must wait"},
    {0, "no-prefix-cache", OPT_FLAG, &opt.no_cache, 0, "forget keys and values with their request"},
    {0, "embed", OPT_FLAG, &opt.embed, 0, "print the vector of each prompt, as a JSON array",
     .group = "Vectors and scores"},
    {0, "rerank", OPT_FLAG, &opt.rerank, 0,
     "print the score of each pair of the prompt and a record"},
    {0, "pooling", OPT_CHOICE, &opt.pooling, "KIND",
     "what the vector is made of (the model's own way)", .choices = poolings},
    {0, "embed-format", OPT_CHOICE, &opt.embed_format, "FORMAT",
     "text, or 32-bit numbers, little-endian (json)", .choices = embed_formats},
    {0, "no-normalize", OPT_FLAG, &opt.raw_vector, 0, "vectors keep their length"},
    MODEL_RUNNING(opt.model),
    MODEL_CTX(opt.model),
    {0, "kv", OPT_STR, &opt.kv, "FILE", "go on behind the text in FILE, with its keys and values"},
    {0, "kv-trim", OPT_INT, &opt.kv_trim, "N", "behind its first N tokens only", .min = 1,
     .max = 1e9},
    {0, "kv-save", OPT_STR, &opt.kv_save, "FILE", "write the text with its keys and values there"},
    {0, "kv-zstd", OPT_FLAG, &opt.kv_zstd, 0, "compressed"},
    {0, "lora", OPT_LIST, &opt.loras, "FILE[=SCALE]",
     "an adapter, and how much of it; may be repeated"},
    {0, "control-vector", OPT_ALIAS, 0, "lora", 0},
    {0, "draft", OPT_STR, &opt.draft_model, "MODEL", "a smaller model that proposes tokens ahead"},
    {0, "draft-max", OPT_INT, &opt.draft, "N",
     "up to N tokens ahead, from what the text repeats too", .min = 0, .max = 64,
     .given = &opt.draft_given},
    {0, "draft-corpus", OPT_STR, &opt.corpus, "FILE", "and from this text"},
    {0, "stats-fd", OPT_INT, &opt.stats_fd, "FD", "write timings there, one JSON object per answer",
     .min = 0, .max = 1023},
    {0, "logits-fd", OPT_INT, &opt.logits_fd, "FD", "write the logits of each token there, framed",
     .min = 0, .max = 1023},
    {0, "bias-fd", OPT_INT, &opt.bias_fd, "FD",
     "read what is added to the logits of each token there, framed", .min = 0, .max = 1023},
    {0, "dump", OPT_STR, &opt.dump, "FILE[:RECORDS]",
     "write the plan's values of each step, RECORDS (3 or 3-7) only"},
    {0}};

static struct tool tool = {"rill-run", "[-m MODEL] [-p TEXT]... [-f FILE]... [option]...",
                           "continues a prompt with a language model", opts};

/* What requests say themselves, or what is of one answer. */
static void check_jsonl(void)
{
    static const char *const alone[] = {
        "prompt",   "file",      "lines",      "null",       "system",   "messages",
        "tools",    "set",       "prefill",    "think",      "think-fd", "think-budget",
        "echo",     "tokens-in", "tokens-out", "min-tokens", "stop",     "ignore-eos",
        "schema",   "grammar",   "regex",      "choice",     "choices",  "kv-trim",
        "stats-fd", "logits-fd", "bias-fd",    "dump"};

    for (int i = 0; opt.jsonl && i < tool.used.n; i++)
        for (size_t k = 0; k < ARRAY_LEN(alone); k++)
            if (strcmp(tool.used.row[i]->name, alone[k]) == 0)
                tool_usage("--%s has no meaning with --jsonl, whose lines say what is wanted",
                           alone[k]);
    if (!opt.jsonl && (opt.out || opt.resume || opt.unordered || opt.shard || opt.lenient ||
                       opt.timings || opt.verify || (opt.parallel && !opt.embed && !opt.rerank)))
        tool_usage("-o, --resume, --unordered, --shard, --lenient, --timings, --verify-batch and "
                   "--parallel need --jsonl");
    if (opt.kv_save && opt.no_cache)
        tool_usage("--kv-save writes what is known: not with --no-prefix-cache");
    if (opt.kv_trim && !opt.kv)
        tool_usage("--kv-trim needs --kv");
    if (opt.kv_zstd && !opt.kv_save)
        tool_usage("--kv-zstd needs --kv-save");
    if (opt.draft_model && !opt.draft_given)
        opt.draft = 8;
    if (opt.corpus && !opt.draft)
        tool_usage("--draft-corpus needs --draft-max");
    if (opt.draft_model && !opt.draft)
        tool_usage("--draft with --draft-max 0 has no meaning");
    if (opt.loras.n > RILL_LORA_MIX)
        tool_usage("more than %d adapters", RILL_LORA_MIX);
    if (opt.loras.n && (opt.kv || opt.kv_save || opt.dump))
        tool_usage("--kv, --kv-save and --dump know nothing of --lora");
    if (opt.choices &&
        (opt.kv || opt.kv_save || opt.logits_fd >= 0 || opt.bias_fd >= 0 || opt.n_given))
        tool_usage("--choices makes no answer: not with -n, --kv, --kv-save, --logits-fd or "
                   "--bias-fd");
    if (opt.resume && !opt.out)
        tool_usage("--resume needs -o");
    if (opt.parallel == 0)
        opt.parallel = 16;
}

static void check_chat(void)
{
    bool as_it_is = opt.raw || opt.special || opt.ids_in;
    bool think = opt.think || opt.think_fd >= 0 || opt.budget;
    bool tools = opt.tools || (opt.format && !opt.jsonl);

    if (as_it_is &&
        (opt.system || opt.messages || opt.template || opt.prefill || opt.sets.n || think))
        tool_usage("-s, --messages, --template, --set, --prefill and --think... need a chat "
                   "template: not with --raw, --special or --tokens-in");
    if (opt.kv && (opt.system || opt.messages))
        tool_usage("--kv brings its own beginning: not with -s or --messages");
    if (tools && (as_it_is || opt.ids_out))
        tool_usage("--tools and --tool-format need a chat template, and text: not with --raw, "
                   "--special, --tokens-in or --tokens-out");
    if (opt.format && !opt.tools && !opt.messages && !opt.jsonl)
        tool_usage("--tool-format needs --tools, or --messages or --jsonl with tools");
    if (opt.ids_out && think)
        tool_usage("--tokens-out prints all ids as they are drawn: not with --think...");
    if (opt.messages && (opt.system || opt.pieces.n || opt.lines || opt.nul))
        tool_usage("--messages is the whole prompt: not with -s, -p, -f, -l or -0");
}

static void check_vectors(void)
{
    static const char *const known[] = {
        "model",           "prompt",     "file",       "lines",   "null",         "json",
        "special",         "parallel",   "batch-rows", "kv-mem",  "swap-mem",     "ctx",
        "no-prefix-cache", "threads",    "device",     "kv-type", "no-mmap",      "embed",
        "device-mem",      "gpu-layers", "cpu-moe",    "rerank",  "embed-format", "pooling",
        "no-normalize",    "v-type",     NULL};

    if (!opt.embed && !opt.rerank) {
        if (opt.pooling >= 0 || opt.embed_format >= 0 || opt.raw_vector)
            tool_usage("--pooling, --embed-format and --no-normalize need --embed");
        return;
    }
    tool_used_only(&tool, known, opt.embed ? "--embed" : "--rerank");
    if (opt.embed && opt.rerank)
        tool_usage("--embed and --rerank exclude each other");
    if (opt.rerank && (opt.pooling >= 0 || opt.raw_vector))
        tool_usage("--pooling and --no-normalize need --embed");
    if (opt.json && opt.embed_format == 1)
        tool_usage("-j and --embed-format f32 exclude each other");
}

static void check_replay(void)
{
    static const char *const known[] = {
        "model",   "replay",  "template",        "tool-format", "lora",       "draft",
        "threads", "device",  "device-mem",      "gpu-layers",  "cpu-moe",    "no-mmap",
        "ctx",     "kv-type", "v-type",          "kv-mem",      "batch-rows", "draft-max",
        "quiet",   "verbose", "no-prefix-cache", NULL};

    if (opt.replay)
        tool_used_only(&tool, known, "--replay");
}

static int read_options(struct run *r, struct err *e)
{
    bool stdin_piece = false;

    check_replay();
    check_vectors();
    check_jsonl();
    if (obey_kinds(&opt.obeyed) > 1)
        tool_usage("--schema, --grammar, --regex and --choice exclude each other");
    if (opt.lines && opt.nul)
        tool_usage("-l and -0 exclude each other");
    check_chat();
    for (size_t i = 0; i < opt.pieces.n; i++)
        stdin_piece |=
            opt.pieces.at[i].opt->letter == 'f' && strcmp(opt.pieces.at[i].value, "-") == 0;
    if (stdin_piece && (opt.lines || opt.nul))
        tool_usage("-f - and -l or -0 both want standard input");
    if (opt.stops.n > sizeof r->stop / sizeof *r->stop)
        tool_usage("more than %zu stop strings", sizeof r->stop / sizeof *r->stop);
    for (size_t i = 0; i < opt.stops.n; i++)
        r->stop[i] = (struct rill_stop){opt.stops.at[i].value, strlen(opt.stops.at[i].value)};
    r->n_stop = (int)opt.stops.n;
    if (opt.think_fd >= 0 && !(r->think = fdopen(opt.think_fd, "w")))
        return err_set(e, E_IO, "descriptor %d: %s", opt.think_fd, strerror(errno));
    r->tty = isatty(STDOUT_FILENO) && !opt.json;
    if (opt.stats_fd >= 0) {
        r->stats = fdopen(opt.stats_fd, "w");
        if (!r->stats)
            return err_set(e, E_IO, "descriptor %d: %s", opt.stats_fd, strerror(errno));
    }
    if (opt.logits_fd >= 0) {
        r->logits = fdopen(opt.logits_fd, "wb");
        if (!r->logits)
            return err_set(e, E_IO, "descriptor %d: %s", opt.logits_fd, strerror(errno));
    }
    if (opt.bias_fd >= 0) {
        r->bias = fdopen(opt.bias_fd, "rb");
        if (!r->bias)
            return err_set(e, E_IO, "descriptor %d: %s", opt.bias_fd, strerror(errno));
    }
    return 0;
}

static int answer_records(struct run *r, struct slice before, struct err *e)
{
    struct records in = {.kind = opt.lines ? RECORD_LINES : opt.nul ? RECORD_NUL : RECORD_WHOLE};
    struct buf prompt = {0};
    struct slice record;
    int rc;

    while ((rc = records_next(&in, &record, e)) > 0) {
        buf_clear(&prompt);
        buf_slice(&prompt, before);
        if (opt.pieces.n)
            buf_byte(&prompt, '\n');
        buf_slice(&prompt, record);
        rc = prompt.bad ? err_nomem(e, prompt.n) : run_answer(r, buf_view(&prompt), e);
        if (rc < 0 || tool_interrupted() || ferror(stdout))
            break;
    }
    buf_fini(&prompt);
    records_fini(&in);
    return rc;
}

static int answer_jsonl(struct run *r, struct err *e)
{
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    struct batch_opts o = {.api = {.model = r->model,
                                   .name = r->info.name[0] ? r->info.name : r->info.path,
                                   .sampling = r->sampling,
                                   .max_tokens = opt.n,
                                   .draft = opt.draft,
                                   .lora = r->lora,
                                   .n_lora = (int)opt.loras.n,
                                   .lenient = opt.lenient,
                                   .created = epoch ? strtoll(epoch, NULL, 10) : 0,
                                   .n_ctx = rill_engine_ctx(r->engine)},
                           .out = opt.out,
                           .resume = opt.resume,
                           .unordered = opt.unordered,
                           .timings = opt.timings,
                           .verify = opt.verify,
                           .seed = r->sampling.seed,
                           .parallel = opt.parallel};
    struct batch_result done;
    struct api_chat *chat = NULL;
    struct file_view v = {0};
    int rc = opt.shard ? batch_shard(opt.shard, &o.shard, &o.shards, e) : 0;

    if (rc == 0 && opt.template)
        rc = file_read(&v, opt.template, 4 << 20, e);
    if (rc == 0 && !opt.raw && !opt.special)
        rc = api_chat_open(&chat, r->model, opt.template,
                           (struct slice){opt.template ? (const char *)v.p : NULL, v.n}, opt.format,
                           e);
    file_unmap(&v);
    o.api.chat = chat;
    if (rc == 0)
        rc = batch_run(r->engine, &o, &done, e);
    api_chat_close(chat);
    if (rc < 0)
        return rc;
    tool_detail(1, "%llu lines answered, %llu failed, %llu skipped", (unsigned long long)done.lines,
                (unsigned long long)done.failed, (unsigned long long)done.skipped);
    r->failed = done.failed > 0 || done.differ > 0;
    return 0;
}

/* The model that the options name, at work as rill-serve has it. */
static int replay(struct run *r, struct err *e)
{
    struct worker_opts w = {.name = "model",
                            .path = tool_model(opt.model.model, e),
                            .draft = {opt.draft_model},
                            .n_draft = opt.draft_model != NULL,
                            .tool_format = opt.format,
                            .template_name = opt.template,
                            .lora = &opt.loras};
    struct file_view v = {0};
    int rc = w.path ? run_engine_opts(&opt, &w.engine, e) : e->code;

    rc = rc < 0 ? rc : model_opts_of(&opt.model, &w.model, e);
    if (rc == 0 && opt.template)
        rc = file_read(&v, opt.template, 4 << 20, e);
    w.template_text = (struct slice){opt.template ? (const char *)v.p : NULL, v.n};
    rc = rc < 0 ? rc : record_replay(opt.replay, &w, 1, e);
    file_unmap(&v);
    r->failed = rc > 0;
    return rc < 0 ? rc : 0;
}

/* Vectors of records, or scores of pairs. */
static int answer_vectors(struct run *r, struct slice prompt, struct err *e)
{
    static const int kinds[] = {RILL_EMBED_MEAN, RILL_EMBED_CLS, RILL_EMBED_LAST, RILL_EMBED_NONE};
    struct records in = {.kind = opt.lines ? RECORD_LINES : opt.nul ? RECORD_NUL : RECORD_WHOLE};
    const struct vectors_opts o = {.model = r->model,
                                   .embed = opt.rerank         ? RILL_EMBED_RANK
                                            : opt.pooling >= 0 ? kinds[opt.pooling]
                                                               : RILL_EMBED_MODEL,
                                   .raw = opt.raw_vector,
                                   .f32 = opt.embed_format == 1,
                                   .json = opt.json,
                                   .special = opt.special,
                                   .parallel = opt.parallel,
                                   .has_query = opt.pieces.n > 0};
    const bool alone = opt.pieces.n && !opt.lines && !opt.nul && !opt.rerank;
    int rc = o.f32 ? tool_not_to_terminal(STDOUT_FILENO, "vectors", e) : 0;

    if (opt.rerank && !r->info.n_score)
        rc = err_set(e, E_UNSUPPORTED, "%s: has no scores: it is no reranker", r->info.path);
    if (o.embed == RILL_EMBED_MODEL && r->info.pooling == RILL_EMBED_RANK)
        rc = err_set(e, E_UNSUPPORTED,
                     "%s: a reranker: --rerank scores pairs, --pooling says what else is wanted",
                     r->info.path);
    rc = rc < 0 ? rc : vectors_run(r->engine, &o, alone ? NULL : &in, prompt, e);
    records_fini(&in);
    return rc;
}

static int run(struct run *r, struct err *e)
{
    struct buf prompt = {0};
    double begin = clock_seconds();
    int rc = read_options(r, e);

    if (rc == 0 && opt.replay)
        return replay(r, e);
    rc = rc < 0 ? rc : run_open(r, e);
    r->load = clock_seconds() - begin;
    if (rc == 0 && opt.jsonl) {
        rc = answer_jsonl(r, e);
        return rc == 0 && opt.kv_save ? run_save_known(r, e) : rc;
    }
    rc = rc < 0 ? rc : run_fixed_prompt(r, &prompt, e);
    if (rc == 0 && (opt.embed || opt.rerank))
        rc = answer_vectors(r, buf_view(&prompt), e);
    else if (rc == 0 && !opt.messages && (opt.lines || opt.nul || (opt.pieces.n == 0 && !opt.kv)))
        rc = answer_records(r, buf_view(&prompt), e);
    else if (rc == 0)
        rc = run_answer(r, buf_view(&prompt), e);
    if (rc == 0 && opt.kv_save && (opt.lines || opt.nul))
        rc = run_save_known(r, e);
    if (r->cut && !opt.n_given)
        tool_note("the context of %d positions is full", rill_engine_ctx(r->engine));
    buf_fini(&prompt);
    return rc < 0 ? rc : 0;
}

int main(int argc, char **argv)
{
    struct run r = {.opt = &opt};
    struct err e = {0};
    int first = tool_begin(&tool, argc, argv);
    int status = 0;

    if (first < argc)
        tool_usage("unexpected operand '%s' (a prompt is given with -p)", argv[first]);
    r.verbose = tool.verbose;
    if (run(&r, &e) < 0)
        status = tool_fail(&e);
    else if (r.failed)
        status = 1;
    if (run_close(&r, &e) < 0 && status == 0)
        status = tool_fail(&e);
    opt_list_fini(&opt.sets);
    opt_list_fini(&opt.pieces);
    opt_list_fini(&opt.stops);
    opt_list_fini(&opt.loras);
    opt_list_fini(&opt.obeyed.choices);
    return tool_end(status);
}
