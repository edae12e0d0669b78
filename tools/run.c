/* run.c - rill-run: a prompt in, text out.
 *
 * One prompt, or with -l and -0 one per record of standard input, answered in order; with --jsonl
 * requests of the OpenAI API, many at a time (tools/lib/batch.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "rill.h"
#include "tools/lib/ask.h"
#include "tools/lib/batch.h"
#include "tools/lib/choices.h"
#include "tools/lib/obey.h"
#include "tools/lib/sampling.h"
#include "tools/lib/speak.h"
#include "tools/lib/tool.h"
#include "tools/lib/vectors.h"
#include "tools/lib/wrap.h"

static const char *opt_model, *opt_device, *opt_dump;
static int opt_logits_fd = -1, opt_kv_trim;
static const char *opt_choices;
static int opt_n, opt_ctx, opt_threads, opt_stats_fd = -1, opt_parallel, opt_rows, opt_min,
                                        opt_draft;
static const char *opt_out, *opt_shard, *opt_kv_mem, *opt_swap_mem, *opt_corpus, *opt_kv,
    *opt_kv_save, *opt_draft_model;
static double opt_step_ms;
static bool opt_jsonl, opt_resume, opt_unordered, opt_lenient, opt_timings, opt_verify, no_cache,
    opt_kv_zstd;
static const char *opt_system, *opt_messages, *opt_template, *opt_prefill;
static int opt_think_fd = -1, opt_budget;
static bool opt_think, opt_lines, opt_nul, opt_json, opt_echo, opt_raw, opt_ids_in, opt_ids_out;
static bool opt_ignore_eos, opt_special, opt_no_mmap, n_given, draft_given;
static struct opt_list sets, pieces, stops, loras;
static struct sampling_options sampling;
static struct obey_options obeyed;

static const char *const kv_types[] = {"f16", "f32", NULL};
static int kv_type = -1;
static bool opt_embed, opt_rerank, opt_raw_vector;
static const char *const poolings[] = {"mean", "cls", "last", "none", NULL};
static int pooling = -1;
static const char *const embed_formats[] = {"json", "f32", NULL};
static int embed_format = -1;

static const struct tool_option opts[] = {
    {'m', "model", OPT_STR, &opt_model, "MODEL", "the model, a GGUF file"},
    {'p', "prompt", OPT_LIST, &pieces, "TEXT",
     "a piece of the prompt; pieces are joined by newlines"},
    {'f', "file", OPT_LIST, &pieces, "FILE", "a file as a piece of the prompt (-: standard input)"},
    {'l', "lines", OPT_FLAG, &opt_lines, 0, "answer each line of standard input, after the prompt"},
    {'0', "null", OPT_FLAG, &opt_nul, 0, "the same for pieces ended by NUL; answers end so too"},
    {'s', "system", OPT_STR, &opt_system, "TEXT", "a system message in front of the prompt"},
    {0, "messages", OPT_STR, &opt_messages, "FILE",
     "messages, or a request with them, as JSON (-: standard input)"},
    {0, "template", OPT_STR, &opt_template, "FILE", "a chat template instead of the model's"},
    {0, "set", OPT_LIST, &sets, "NAME=VALUE", "a variable of the chat template; may be repeated"},
    {0, "prefill", OPT_STR, &opt_prefill, "TEXT", "the answer begins with TEXT, and goes on"},
    {0, "think", OPT_FLAG, &opt_think, 0, "print the reasoning, too, in front of the answer"},
    {0, "think-fd", OPT_INT, &opt_think_fd, "FD", "write the reasoning there", .min = 0,
     .max = 1023},
    {0, "think-budget", OPT_INT, &opt_budget, "N", "end the reasoning after N tokens (0: never)",
     .min = 0, .max = 1e9},
    {0, "raw", OPT_FLAG, &opt_raw, 0, "complete the prompt as it is, without a chat template"},
    {0, "special", OPT_FLAG, &opt_special, 0,
     "as --raw; control tokens written in the prompt are control tokens"},
    {0, "echo", OPT_FLAG, &opt_echo, 0, "print the prompt before the answer"},
    {0, "tokens-in", OPT_FLAG, &opt_ids_in, 0, "the prompt is token ids, separated by space"},
    {0, "tokens-out", OPT_FLAG, &opt_ids_out, 0, "print token ids instead of text"},
    {'j', "json", OPT_FLAG, &opt_json, 0, "print one JSON object per answer"},
    {'n', "max-tokens", OPT_INT, &opt_n, "N", "stop after N tokens (0: when the model ends)",
     .min = 0, .max = 1e9, .given = &n_given},
    {0, "min-tokens", OPT_INT, &opt_min, "N", "do not end before N tokens", .min = 0, .max = 1e9},
    {0, "stop", OPT_LIST, &stops, "TEXT", "end the answer before TEXT; may be repeated"},
    {0, "ignore-eos", OPT_FLAG, &opt_ignore_eos, 0, "go on when the model ends"},
    OBEY_OPTIONS(obeyed),
    {0, "choices", OPT_STR, &opt_choices, "LABELS",
     "no answer, but how likely each of these labels is, with commas between"},
    SAMPLING_OPTIONS(sampling),
    {0, "jsonl", OPT_FLAG, &opt_jsonl, 0,
     "answer requests of the OpenAI API, one per line of input", .group = "Many requests"},
    {'o', "output", OPT_STR, &opt_out, "FILE", "where the replies go (appended line by line)"},
    {0, "resume", OPT_FLAG, &opt_resume, 0, "go on where FILE ends"},
    {0, "unordered", OPT_FLAG, &opt_unordered, 0, "replies as they are finished"},
    {0, "shard", OPT_STR, &opt_shard, "I/N",
     "every N-th line, from the I-th on; auto: by scheduler"},
    {0, "lenient", OPT_FLAG, &opt_lenient, 0, "fields that are not known are warnings"},
    {0, "timings", OPT_FLAG, &opt_timings, 0, "replies tell times"},
    {0, "verify-batch", OPT_FLAG, &opt_verify, 0, "make each answer once more alone and compare"},
    {0, "parallel", OPT_INT, &opt_parallel, "N", "requests at once (16)", .min = 0, .max = 4096},
    {0, "batch-rows", OPT_INT, &opt_rows, "N", "rows of a step (512)", .min = 0, .max = 65536},
    {0, "step-ms", OPT_FLOAT, &opt_step_ms, "X", "prompts are cut so that a step is shorter (250)",
     .min = 0, .max = 1e6, .def = "250"},
    {0, "kv-mem", OPT_STR, &opt_kv_mem, "SIZE", "memory for keys and values"},
    {0, "swap-mem", OPT_STR, &opt_swap_mem, "SIZE", "host memory for requests that must wait"},
    {0, "no-prefix-cache", OPT_FLAG, &no_cache, 0, "forget keys and values with their request"},
    {0, "embed", OPT_FLAG, &opt_embed, 0, "print the vector of each prompt, as a JSON array",
     .group = "Vectors and scores"},
    {0, "rerank", OPT_FLAG, &opt_rerank, 0,
     "print the score of each pair of the prompt and a record"},
    {0, "pooling", OPT_CHOICE, &pooling, "KIND", "what the vector is made of (the model's own way)",
     .choices = poolings},
    {0, "embed-format", OPT_CHOICE, &embed_format, "FORMAT",
     "text, or 32-bit numbers, little-endian (json)", .choices = embed_formats},
    {0, "no-normalize", OPT_FLAG, &opt_raw_vector, 0, "vectors keep their length"},
    {'c', "ctx", OPT_INT, &opt_ctx, "N", "positions of context (0: the model's own)", .min = 0,
     .max = 1e9, .group = "Running"},
    {'t', "threads", OPT_INT, &opt_threads, "N", "threads (0: one per processor)", .min = 0,
     .max = 1024},
    {0, "device", OPT_STR, &opt_device, "DEV", "cpu, cpu:THREADS or auto"},
    {0, "kv", OPT_STR, &opt_kv, "FILE", "go on behind the text in FILE, with its keys and values"},
    {0, "kv-trim", OPT_INT, &opt_kv_trim, "N", "behind its first N tokens only", .min = 1,
     .max = 1e9},
    {0, "kv-save", OPT_STR, &opt_kv_save, "FILE", "write the text with its keys and values there"},
    {0, "kv-zstd", OPT_FLAG, &opt_kv_zstd, 0, "compressed"},
    {0, "lora", OPT_LIST, &loras, "FILE[=SCALE]",
     "an adapter, and how much of it; may be repeated"},
    {0, "draft", OPT_STR, &opt_draft_model, "MODEL", "a smaller model that proposes tokens ahead"},
    {0, "draft-max", OPT_INT, &opt_draft, "N",
     "up to N tokens ahead, from what the text repeats too", .min = 0, .max = 64,
     .given = &draft_given},
    {0, "draft-corpus", OPT_STR, &opt_corpus, "FILE", "and from this text"},
    {0, "kv-type", OPT_CHOICE, &kv_type, "TYPE", "type of stored keys and values",
     .choices = kv_types},
    {0, "no-mmap", OPT_FLAG, &opt_no_mmap, 0, "read the model instead of mapping it"},
    {0, "stats-fd", OPT_INT, &opt_stats_fd, "FD", "write timings there, one JSON object per answer",
     .min = 0, .max = 1023},
    {0, "logits-fd", OPT_INT, &opt_logits_fd, "FD", "write the logits of each token there, framed",
     .min = 0, .max = 1023},
    {0, "dump", OPT_STR, &opt_dump, "FILE[:RECORDS]",
     "write the plan's values of each step, RECORDS (3 or 3-7) only"},
    {0}};

static struct tool tool = {"rill-run", "[-m MODEL] [-p TEXT]... [-f FILE]... [option]...",
                           "continues a prompt with a language model", opts};

/* What answering needs, and what it has measured. */
struct run {
    struct rill_model *model;
    struct rill_model *draft; // --draft
    struct ask ask;           // its chat NULL: prompts are completed as they are
    struct rill_engine *engine;
    struct rill_model_info info;
    struct rill_sampling sampling;
    struct rill_constraint *constraint, *behind; // from the start, or behind the reasoning
    FILE *think;
    struct wrap dim;   // reasoning on a terminal
    struct answer *of; // whose events come
    struct rill_stop stop[64];
    struct rill_lora_use lora[RILL_LORA_MIX]; // [loras.n]
    struct rill_kv kv;                        // --kv: what stands before each prompt
    int n_stop;
    FILE *dump;
    FILE *stats;
    FILE *logits;           // --logits-fd
    struct choices choices; // --choices
    bool tty;
    double load; // seconds
    int answers;
    bool cut;    // an answer reached the end of the context unasked
    bool failed; // a line was not answered, or an answer differs
};

struct answer {
    struct buf text, reasoning;
    bool reasoned;  // the last event was reasoning
    struct buf ids; // those drawn, with --kv-save
    size_t n_prompt, n_drawn;
    int finish;
    double prompt, decode; // seconds
    double gb_s;
    uint64_t drafted, accepted;
};

/* -- the prompt -- */

static int add_file(struct buf *out, const char *path, struct err *e)
{
    struct file_view v;
    int rc = file_read(&v, path, 0, e);

    if (rc < 0)
        return rc;
    buf_add(out, v.p, v.n);
    file_unmap(&v);
    return 0;
}

/* The -p and -f pieces in the order given, a newline between. */
static int fixed_prompt(struct buf *out, struct err *e)
{
    for (size_t i = 0; i < pieces.n; i++) {
        const struct opt_piece *p = &pieces.at[i];
        int rc = 0;

        if (i)
            buf_byte(out, '\n');
        if (p->opt->letter == 'f')
            rc = add_file(out, p->value, e);
        else
            buf_str(out, p->value);
        if (rc < 0)
            return rc;
    }
    return out->bad ? err_nomem(e, out->n) : 0;
}

static int parse_ids(struct slice text, int32_t **ids, size_t *n, struct err *e)
{
    size_t room = text.n / 2 + 1;
    char *end = (char *)(uintptr_t)text.p;
    const char *stop = text.p + text.n;

    *n = 0;
    *ids = mem_array(room, sizeof **ids, e);
    if (!*ids)
        return E_NOMEM;
    for (const char *p = end; p < stop; p = end) {
        long v;

        while (p < stop && strchr(" \t\r\n,", *p) && *p)
            p++;
        if (p == stop)
            break;
        errno = 0;
        v = strtol(p, &end, 10);
        if (end == p || errno || v < 0 || v > INT32_MAX)
            return err_set(e, E_FORMAT, "the prompt: '%.20s' is no token id", p);
        (*ids)[(*n)++] = (int32_t)v;
    }
    return 0;
}

/* A chat template is used where there is one, unless something says that text is complete. */
static int open_chat(struct run *r, struct err *e)
{
    bool wanted = opt_system || opt_messages || opt_template || opt_prefill || sets.n;
    bool goes_on = opt_kv && pieces.n == 0 && !opt_lines && !opt_nul; // the text itself
    struct file_view v = {0};
    const char *stop;
    int rc = 0;

    if (opt_raw || opt_special || opt_ids_in || opt_jsonl || opt_embed || opt_rerank || goes_on ||
        !(wanted || r->info.chat_template))
        return 0;
    if (opt_template)
        rc = file_read(&v, opt_template, 4 << 20, e);
    if (rc == 0)
        rc = ask_open(&r->ask, r->model, opt_template,
                      (struct slice){opt_template ? (const char *)v.p : NULL, v.n}, e);
    file_unmap(&v);
    for (size_t i = 0; i < sets.n && rc == 0; i++)
        rc = ask_set(&r->ask, sets.at[i].value, e);
    if (rc < 0)
        return rc;
    r->ask.system = opt_system;
    r->ask.prefill = opt_prefill;
    if (chat_is_default(r->ask.chat))
        tool_note("the model has no chat template: a default is used (see rill-run(1))");
    if ((stop = chat_stop(r->ask.chat)) && r->n_stop < (int)(sizeof r->stop / sizeof *r->stop))
        r->stop[r->n_stop++] = (struct rill_stop){stop, strlen(stop)};
    return 0;
}

/* Where the model reasons, what the answer must be holds for what comes behind that. */
static int open_behind(struct run *r, struct err *e)
{
    struct rill_stop mark[2];
    struct rill_constraint_opts o = {0};

    if (r->constraint && r->ask.chat)
        o = speak_after(r->ask.reasoning, true, mark);
    o.model = r->model;
    return o.n_after ? obey_open(&r->behind, &obeyed, &o, e) : 0;
}

/* text: the user's message, or with --messages JSON. */
static int make_prompt(const struct run *r, struct slice text, struct ask_prompt *out,
                       struct err *e)
{
    unsigned flags = (r->kv.n ? 0 : RILL_ADD_SPECIAL) | (opt_special ? RILL_PARSE_SPECIAL : 0);
    int rc;

    *out = (struct ask_prompt){0};
    if (r->ask.chat && opt_messages) {
        rc = ask_messages(&r->ask, text, out, e);
        return rc < 0 ? err_prefix(e, opt_messages) : rc;
    }
    if (r->ask.chat && r->kv.n)
        return ask_next(&r->ask, text, r->kv.ids[r->kv.n - 1], out, e);
    if (r->ask.chat)
        return ask_user(&r->ask, text, out, e);
    buf_slice(&out->text, text);
    if (out->text.bad)
        return err_nomem(e, text.n);
    if (opt_ids_in)
        return parse_ids(text, &out->ids, &out->n, e);
    return rill_tokenize(r->model, text.p, text.n, flags, &out->ids, &out->n, e);
}

/* -- the answer -- */

static void put_text(struct answer *a, struct slice s)
{
    if (opt_json)
        buf_slice(&a->text, s);
    else if (!opt_ids_out && s.n) {
        fwrite(s.p, 1, s.n, stdout);
        fflush(stdout);
    }
}

static void put_id(struct answer *a, int32_t id)
{
    if (!opt_ids_out)
        return;
    if (opt_json) {
        buf_printf(&a->text, a->text.n ? ",%d" : "%d", id);
        return;
    }
    printf(a->n_drawn > 1 ? " %d" : "%d", id);
    fflush(stdout);
}

/* Reasoning: to its descriptor, with the answer, in the reply, or for a person who looks on. */
static void put_reasoning(struct run *r, struct answer *a, struct slice s)
{
    if (r->think)
        fwrite(s.p, 1, s.n, r->think);
    if (opt_think && !opt_json)
        put_text(a, s);
    else if (!r->think && !opt_json && r->dim.on)
        wrap_put(&r->dim, s, true);
    buf_slice(&a->reasoning, s);
    a->reasoned = true;
}

/* The reasoning has ended. */
static void end_reasoning(struct run *r, struct answer *a)
{
    if (!a->reasoned)
        return;
    a->reasoned = false;
    if (opt_think && !opt_json)
        put_text(a, SLICE("\n\n"));
    wrap_end(&r->dim);
    if (r->dim.on)
        wrap_line(&r->dim);
    if (r->think) {
        fputc(opt_nul ? 0 : '\n', r->think);
        fflush(r->think);
    }
}

static int hear(void *ctx, const struct toolcall_event *ev, struct err *e)
{
    struct run *r = ctx;

    (void)e;
    if (ev->kind == TC_REASON) {
        put_reasoning(r, r->of, ev->text);
    } else if (ev->kind == TC_TEXT) {
        end_reasoning(r, r->of);
        put_text(r->of, ev->text);
    }
    return 0;
}

/* A frame: answer, position, token and how many logits follow, each in 32 bits, little-endian as
 * the machine. */
static int put_logits(struct run *r, const struct rill_event *ev, struct err *e)
{
    const struct {
        uint32_t answer;
        int32_t pos, id;
        uint32_t n;
    } head = {(uint32_t)r->answers, ev->pos, ev->id, (uint32_t)ev->n_logits};

    if (fwrite(&head, sizeof head, 1, r->logits) == 1 &&
        fwrite(ev->logits, sizeof *ev->logits, head.n, r->logits) == head.n &&
        fflush(r->logits) == 0)
        return 0;
    return err_set(e, E_IO, "descriptor %d: cannot write: %s", opt_logits_fd, strerror(errno));
}

static int drew(void *ctx, const struct rill_event *ev, struct err *e)
{
    struct run *r = ctx;

    r->of->n_drawn++;
    put_id(r->of, ev->id);
    return ev->logits ? put_logits(r, ev, e) : 0;
}

static bool stopped(void)
{
    return tool_interrupted() || ferror(stdout);
}

/* An answer by the chat template: its reasoning apart from it. */
static int listen(struct run *r, struct answer *a, struct rill_request *q, bool open, struct err *e)
{
    const struct reasoning *reasoning = r->ask.reasoning;
    struct speak s = {.model = r->model,
                      .engine = r->engine,
                      .parse = {.reasoning = reasoning, .in_reasoning = open},
                      .budget = opt_budget,
                      .then = r->constraint,
                      .stop = stopped,
                      .hear = hear,
                      .drew = drew,
                      .ctx = r};
    int rc;

    if (r->behind && (open || reasoning->channels))
        q->constraint = r->behind;
    r->of = a;
    wrap_begin(&r->dim, stderr, true);
    r->dim.on = r->dim.on && tool_colour() && tool.verbose >= 0;
    rc = speak(&s, q, e);
    end_reasoning(r, a);
    a->finish = s.finish;
    if (opt_kv_save)
        buf_add(&a->ids, s.ids.id, s.ids.n * sizeof *s.ids.id);
    speak_fini(&s);
    return rc;
}

static const char *finish_name(int finish)
{
    switch (finish) {
    case RILL_STOP:
        return "stop";
    case RILL_CANCELLED:
        return "cancelled";
    default:
        return "length";
    }
}

/* One object, as the completions endpoint of the HTTP API answers. */
static void put_json(const struct run *r, const struct answer *a, struct slice prompt)
{
    struct buf b = {0};

    buf_printf(&b, "{\"id\":\"%s-%d\",\"object\":\"%s\",\"created\":0,\"model\":",
               r->ask.chat ? "chatcmpl" : "cmpl", r->answers,
               r->ask.chat ? "chat.completion" : "text_completion");
    buf_json(&b, slice_of(r->info.name[0] ? r->info.name : r->info.path));
    buf_str(&b, ",\"choices\":[{\"index\":0,");
    buf_str(&b, r->ask.chat ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"text\":");
    if (opt_ids_out) {
        buf_str(&b, r->ask.chat ? "\"\"},\"token_ids\":[" : "\"\",\"token_ids\":[");
        buf_slice(&b, buf_view(&a->text));
        buf_byte(&b, ']');
    } else {
        struct buf all = {0};

        if (opt_echo)
            buf_slice(&all, prompt);
        buf_slice(&all, buf_view(&a->text));
        buf_json(&b, buf_view(&all));
        buf_fini(&all);
        if (r->ask.chat && a->reasoning.n) {
            buf_str(&b, ",\"reasoning_content\":");
            buf_json(&b, buf_view(&a->reasoning));
        }
        if (r->ask.chat)
            buf_byte(&b, '}');
    }
    buf_printf(&b,
               ",\"logprobs\":null,\"finish_reason\":\"%s\"}],\"usage\":{\"prompt_tokens\":%zu,"
               "\"completion_tokens\":%zu,\"total_tokens\":%zu},",
               finish_name(a->finish), a->n_prompt, a->n_drawn, a->n_prompt + a->n_drawn);
    buf_printf(&b, "\"timings\":{\"load_s\":%.6f,\"prompt_s\":%.6f,\"decode_s\":%.6f}}", r->load,
               a->prompt, a->decode);
    puts(b.p ? b.p : "");
    buf_fini(&b);
}

static double rate(double n, double seconds)
{
    return seconds > 0 ? n / seconds : 0;
}

/* The first drawn token belongs to the prompt's time, the others to the decode time. */
static void report(struct run *r, const struct answer *a)
{
    double decode = rate(a->n_drawn > 0 ? (double)a->n_drawn - 1 : 0, a->decode);
    double prompt = rate((double)a->n_prompt, a->prompt);

    if (r->stats) {
        fprintf(r->stats,
                "{\"load_s\":%.6f,\"prompt_tokens\":%zu,\"prompt_s\":%.6f,\"prompt_tok_s\":%.2f,"
                "\"drawn_tokens\":%zu,\"decode_s\":%.6f,\"decode_tok_s\":%.2f,\"decode_gb_s\":%.3f,"
                "\"drafted_tokens\":%llu,\"accepted_tokens\":%llu,\"finish_reason\":\"%s\"}\n",
                r->load, a->n_prompt, a->prompt, prompt, a->n_drawn, a->decode, decode, a->gb_s,
                (unsigned long long)a->drafted, (unsigned long long)a->accepted,
                finish_name(a->finish));
        fflush(r->stats);
    }
    if (tool.verbose > 0 || (tool.verbose == 0 && isatty(STDERR_FILENO))) {
        fprintf(stderr,
                "%sload %.3f s; prompt %zu tokens, %.1f tok/s; made %zu, %.1f tok/s, %.1f GB/s\n",
                r->tty ? "\n" : "", r->load, a->n_prompt, prompt, a->n_drawn, decode, a->gb_s);
        if (a->drafted)
            fprintf(stderr, "proposed %llu tokens, %.0f %% of them accepted\n",
                    (unsigned long long)a->drafted, 100 * (double)a->accepted / (double)a->drafted);
    }
}

static void measure(struct run *r, const struct rill_stats *was, struct answer *a)
{
    struct rill_stats now;

    rill_engine_stats(r->engine, &now);
    a->drafted = now.drafted - was->drafted;
    a->accepted = now.accepted - was->accepted;
    a->prompt = now.prompt_seconds - was->prompt_seconds;
    a->decode = now.decode_seconds - was->decode_seconds;
    a->gb_s = rate((double)(now.decode_bytes - was->decode_bytes) * 1e-9, a->decode);
}

static int follow(struct run *r, struct answer *a, int number, struct err *e)
{
    struct rill_event ev;
    int rc;

    while ((rc = rill_engine_step(r->engine, &ev, 1, e)) > 0) {
        if (ev.kind == RILL_TOKEN) {
            a->n_drawn++;
            if (opt_kv_save)
                buf_add(&a->ids, &ev.id, sizeof ev.id);
            put_id(a, ev.id);
            if (ev.logits && (rc = put_logits(r, &ev, e)) < 0)
                return rc;
        }
        put_text(a, (struct slice){ev.text, ev.n_text});
        if (ev.kind == RILL_DONE) {
            a->finish = ev.finish;
            if (ev.finish == RILL_FAILED)
                return err_set(e, ev.code, "%s", ev.message);
        }
        if (tool_interrupted() || ferror(stdout))
            rill_engine_cancel(r->engine, number);
    }
    return rc;
}

/* Puts the text of --kv before the ids of a prompt; *made tells which the model made. */
static int behind(const struct run *r, int32_t **ids, size_t *n, unsigned char **made,
                  struct err *e)
{
    const size_t all = r->kv.n + *n;
    int32_t *joined = mem_array(all, sizeof *joined, e);

    *made = mem_new(all, e);
    if (!joined || !*made) {
        mem_free(joined);
        return E_NOMEM;
    }
    if (r->kv.n) {
        memcpy(joined, r->kv.ids, r->kv.n * sizeof *joined);
        memcpy(*made, r->kv.made, r->kv.n);
    }
    if (*n)
        memcpy(joined + r->kv.n, *ids, *n * sizeof *joined);
    rill_free(*ids);
    *ids = joined;
    *n = all;
    return 0;
}

/* The prompt and what was drawn behind it, to --kv-save's file. */
static int save_kv(const struct run *r, struct answer *a, const struct rill_request *q,
                   struct err *e)
{
    const size_t drawn = a->ids.n / sizeof(int32_t);
    struct rill_kv kv = {.n = q->n_ids + drawn, .compressed = opt_kv_zstd};
    int rc = E_NOMEM;

    kv.ids = mem_array(kv.n, sizeof *kv.ids, e);
    kv.made = mem_new(kv.n, e);
    if (kv.ids && kv.made) {
        memcpy(kv.ids, q->ids, q->n_ids * sizeof *kv.ids);
        memcpy(kv.made, q->made, q->n_ids);
        if (drawn)
            memcpy(kv.ids + q->n_ids, a->ids.p, a->ids.n);
        memset(kv.made + q->n_ids, 1, drawn);
        rc = rill_engine_kv_save(r->engine, &kv, opt_kv_save, e);
    }
    rill_kv_fini(&kv);
    return rc;
}

/* Labels behind a prompt instead of an answer to it. */
static int score(struct run *r, struct slice text, struct err *e)
{
    struct rill_request base = {.lora = r->lora, .n_lora = (int)loras.n, .sampling = r->sampling};
    struct ask_prompt p;
    struct buf out = {0};
    int rc = make_prompt(r, text, &p, e);

    if (rc == 0)
        rc = choices_score(&r->choices, r->engine, &base, p.ids, p.n, e);
    if (rc == 0) {
        choices_put(&r->choices, opt_json, &out);
        if (r->answers++ && !opt_json)
            putchar('\n');
        fwrite(out.p, 1, out.n, stdout);
        fflush(stdout);
    }
    buf_fini(&out);
    ask_prompt_fini(&p);
    return rc;
}

static int answer(struct run *r, struct slice text, struct err *e)
{
    struct answer a = {0};
    struct rill_stats was;
    struct rill_request q = {0};
    unsigned char *made = NULL;
    struct ask_prompt p;
    int number;
    int rc;

    if (opt_choices)
        return score(r, text, e);
    rc = make_prompt(r, text, &p, e);
    rc = rc < 0 ? rc : behind(r, &p.ids, &p.n, &made, e);
    q.ids = p.ids;
    q.n_ids = p.n;
    q.made = made;
    q.max_tokens = opt_n;
    q.min_tokens = opt_min;
    q.draft = opt_draft;
    q.lora = r->lora;
    q.n_lora = (int)loras.n;
    q.ignore_eos = opt_ignore_eos;
    q.sampling = r->sampling;
    q.logits = r->logits != NULL;
    q.constraint = r->constraint;
    q.stop = r->stop;
    q.n_stop = r->n_stop;
    a.n_prompt = q.n_ids;
    rill_engine_stats(r->engine, &was);
    if (rc == 0 && !r->ask.chat)
        rc = rill_engine_submit(r->engine, &q, &number, e);
    if (rc < 0) {
        ask_prompt_fini(&p);
        mem_free(made);
        return rc;
    }
    if (opt_echo && !opt_json && !opt_ids_out)
        fwrite(p.text.p, 1, p.text.n, stdout);
    rc = r->ask.chat ? listen(r, &a, &q, p.open, e) : follow(r, &a, number, e);
    measure(r, &was, &a);
    if (rc == 0 && opt_kv_save)
        rc = save_kv(r, &a, &q, e);
    mem_free(made);
    if (rc == 0 && opt_json)
        put_json(r, &a, buf_view(&p.text));
    else if (opt_nul && !opt_ids_out)
        putchar(0);
    else if (opt_lines || opt_nul || opt_ids_out || r->tty)
        putchar('\n');
    fflush(stdout);
    if (rc == 0)
        report(r, &a);
    r->cut |= a.finish == RILL_CONTEXT;
    if (r->constraint && (a.finish == RILL_LENGTH || a.finish == RILL_CONTEXT)) {
        tool_note("an answer was cut before it was complete");
        r->failed = true;
    }
    r->answers++;
    buf_fini(&a.text);
    buf_fini(&a.reasoning);
    buf_fini(&a.ids);
    ask_prompt_fini(&p);
    return rc;
}

/* -- setting up -- */

static void dump_value(void *ctx, int record, const char *name, int rows, int cols,
                       const float *data)
{
    struct run *r = ctx;

    fprintf(r->dump, "%d %s %d %d\n", record, name, rows, cols);
    fwrite(data, sizeof *data, (size_t)rows * (size_t)cols, r->dump);
}

/* FILE:3-7; a colon that no digits follow belongs to the name. */
static int open_dump(struct run *r, struct err *e)
{
    const char *colon = strrchr(opt_dump, ':');
    bool some = colon && colon[1] && strspn(colon + 1, "0123456789-") == strlen(colon + 1);
    char *path = mem_dup(opt_dump, some ? (size_t)(colon - opt_dump) : strlen(opt_dump), e);

    if (!path)
        return E_NOMEM;
    r->dump = fopen(path, "wb");
    mem_free(path);
    if (!r->dump)
        return err_set(e, E_IO, "%s: cannot create: %s", opt_dump, strerror(errno));
    return rill_engine_dump(r->engine, some ? colon + 1 : NULL, dump_value, r, e);
}

static int engine_opts(struct rill_engine_opts *o, struct err *e)
{
    int rc = tool_size("--kv-mem", opt_kv_mem, &o->kv_bytes, e);

    rc = rc < 0 ? rc : tool_size("--swap-mem", opt_swap_mem, &o->swap_bytes, e);
    o->max_seq = opt_jsonl || opt_embed || opt_rerank ? opt_parallel : opt_choices ? 16 : 1;
    o->embed = opt_embed;
    o->max_batch = opt_rows;
    o->max_draft = opt_draft;
    o->max_lora = (int)loras.n;
    o->no_cache = no_cache;
    o->step_seconds = opt_jsonl ? opt_step_ms / 1000 : 0;
    return rc;
}

/* FILE or FILE=SCALE; an equals sign that no number follows belongs to the name. */
static int load_lora(struct run *r, size_t i, struct err *e)
{
    const char *text = loras.at[i].value, *sign = strrchr(text, '=');
    struct rill_lora_use *u = &r->lora[i];
    char *end = NULL, *path;
    int rc;

    u->scale = sign ? strtof(sign + 1, &end) : 1;
    if (sign && (end == sign + 1 || *end)) {
        sign = NULL;
        u->scale = 1;
    }
    path = mem_dup(text, sign ? (size_t)(sign - text) : strlen(text), e);
    if (!path)
        return E_NOMEM;
    rc = rill_engine_lora_load(r->engine, path, &u->id, e);
    mem_free(path);
    return rc;
}

static int read_corpus(struct run *r, struct err *e)
{
    struct file_view v;
    int32_t *ids = NULL;
    size_t n = 0;
    int rc = file_read(&v, opt_corpus, 0, e);

    if (rc < 0)
        return rc;
    rc = rill_tokenize(r->model, (const char *)v.p, v.n, 0, &ids, &n, e);
    if (rc == 0)
        rc = rill_engine_corpus(r->engine, ids, n, e);
    rill_free(ids);
    file_unmap(&v);
    return rc;
}

static int open_all(struct run *r, struct err *e)
{
    const char *path = tool_model(opt_model, e);
    struct rill_model_opts mo = {.device = opt_device,
                                 .threads = opt_threads,
                                 .n_ctx = opt_ctx,
                                 .kv_type = kv_type < 0 ? NULL : kv_types[kv_type],
                                 .no_mmap = opt_no_mmap};
    struct rill_engine_opts eo = {0};
    int rc = engine_opts(&eo, e);

    if (rc < 0)
        return rc;
    if (!path)
        return e->code;
    rc = rill_model_open(&r->model, path, &mo, e);
    if (rc < 0)
        return rc;
    rill_model_info(r->model, &r->info);
    r->sampling = rill_sampling_of(r->model);
    sampling_apply(&sampling, &r->sampling);
    if (opt_draft_model) {
        mo.kv_type = NULL;
        rc = rill_model_open(&r->draft, opt_draft_model, &mo, e);
        eo.draft = r->draft;
    }
    rc = rc < 0 ? rc : rill_engine_open(&r->engine, r->model, &eo, e);
    for (size_t i = 0; i < loras.n && rc == 0; i++)
        rc = load_lora(r, i, e);
    if (rc == 0 && opt_kv)
        rc = rill_engine_kv_load(r->engine, opt_kv, &r->kv, e);
    if (rc == 0 && opt_kv_trim > 0 && (size_t)opt_kv_trim > r->kv.n)
        rc = err_set(e, E_RANGE, "%s: has %zu tokens, not %d", opt_kv, r->kv.n, opt_kv_trim);
    else if (opt_kv_trim > 0)
        r->kv.n = (size_t)opt_kv_trim;
    if (rc == 0 && opt_choices)
        rc = choices_open(&r->choices, r->model, opt_choices, e);
    if (rc == 0 && opt_corpus)
        rc = read_corpus(r, e);
    if (rc == 0 && opt_dump)
        rc = open_dump(r, e);
    if (rc < 0)
        return rc;
    if (rill_engine_ctx(r->engine) < r->info.n_ctx)
        tool_note("the context is %d positions instead of %d: more does not fit into free memory",
                  rill_engine_ctx(r->engine), r->info.n_ctx);
    return open_chat(r, e);
}

static void check_jsonl(void)
{
    static const char *const alone[] = {"-p and -f",   "-l",           "-0",    "--echo",
                                        "--tokens-in", "--tokens-out", "--dump"};
    const bool used[] = {pieces.n > 0,     opt_lines,      opt_nul,
                         opt_echo,         opt_ids_in,     opt_ids_out,
                         opt_dump != NULL, opt_kv != NULL, opt_kv_save != NULL};

    for (size_t i = 0; opt_jsonl && i < ARRAY_LEN(alone); i++)
        if (used[i])
            tool_usage("%s has no meaning with --jsonl", alone[i]);
    if (!opt_jsonl && (opt_out || opt_resume || opt_unordered || opt_shard || opt_lenient ||
                       opt_timings || opt_verify || (opt_parallel && !opt_embed && !opt_rerank)))
        tool_usage("-o, --resume, --unordered, --shard, --lenient, --timings, --verify-batch and "
                   "--parallel need --jsonl");
    if (opt_kv_save && (opt_lines || opt_nul || no_cache))
        tool_usage("--kv-save writes one text: not with -l, -0 or --no-prefix-cache");
    if (opt_kv_trim && !opt_kv)
        tool_usage("--kv-trim needs --kv");
    if (opt_kv_zstd && !opt_kv_save)
        tool_usage("--kv-zstd needs --kv-save");
    if (opt_draft_model && !draft_given)
        opt_draft = 8;
    if (opt_corpus && !opt_draft)
        tool_usage("--draft-corpus needs --draft-max");
    if (opt_draft_model && !opt_draft)
        tool_usage("--draft with --draft-max 0 has no meaning");
    if (loras.n > RILL_LORA_MIX)
        tool_usage("more than %d adapters", RILL_LORA_MIX);
    if (loras.n && (opt_kv || opt_kv_save || opt_dump))
        tool_usage("--kv, --kv-save and --dump know nothing of --lora");
    if (opt_choices && (opt_jsonl || opt_kv || opt_kv_save || opt_logits_fd >= 0 || n_given))
        tool_usage("--choices makes no answer: not with --jsonl, -n, --kv, --kv-save or "
                   "--logits-fd");
    if (opt_resume && !opt_out)
        tool_usage("--resume needs -o");
    if (opt_parallel == 0)
        opt_parallel = 16;
}

static void check_chat(void)
{
    bool as_it_is = opt_raw || opt_special || opt_ids_in;
    bool think = opt_think || opt_think_fd >= 0 || opt_budget;

    if (as_it_is && (opt_system || opt_messages || opt_template || opt_prefill || sets.n || think))
        tool_usage("-s, --messages, --template, --set, --prefill and --think... need a chat "
                   "template: not with --raw, --special or --tokens-in");
    if (opt_kv && (opt_system || opt_messages))
        tool_usage("--kv brings its own beginning: not with -s or --messages");
    if (opt_jsonl && (opt_prefill || sets.n || think))
        tool_usage("--set, --prefill and --think... have no meaning with --jsonl, whose lines say "
                   "it");
    if (opt_ids_out && think)
        tool_usage("--tokens-out prints all ids as they are drawn: not with --think...");
    if (opt_jsonl && (opt_system || opt_messages))
        tool_usage("-s and --messages have no meaning with --jsonl, whose lines have messages");
    if (opt_messages && (opt_system || pieces.n || opt_lines || opt_nul))
        tool_usage("--messages is the whole prompt: not with -s, -p, -f, -l or -0");
}

static void check_vectors(void)
{
    static const char *const known[] = {
        "model",           "prompt",       "file",       "lines",        "null",     "json",
        "special",         "parallel",     "batch-rows", "kv-mem",       "swap-mem", "ctx",
        "no-prefix-cache", "threads",      "device",     "kv-type",      "no-mmap",  "embed",
        "rerank",          "embed-format", "pooling",    "no-normalize", NULL};

    if (!opt_embed && !opt_rerank) {
        if (pooling >= 0 || embed_format >= 0 || opt_raw_vector)
            tool_usage("--pooling, --embed-format and --no-normalize need --embed");
        return;
    }
    tool_used_only(&tool, known, opt_embed ? "--embed" : "--rerank");
    if (opt_embed && opt_rerank)
        tool_usage("--embed and --rerank exclude each other");
    if (opt_rerank && (pooling >= 0 || opt_raw_vector))
        tool_usage("--pooling and --no-normalize need --embed");
    if (opt_json && embed_format == 1)
        tool_usage("-j and --embed-format f32 exclude each other");
}

static int read_options(struct run *r, struct err *e)
{
    bool stdin_piece = false;

    check_vectors();
    check_jsonl();
    if (obey_kinds(&obeyed) > 1)
        tool_usage("--schema, --grammar, --regex and --choice exclude each other");
    if (opt_jsonl && obey_kinds(&obeyed))
        tool_usage("--schema, --grammar, --regex and --choice have no meaning with --jsonl");
    if (opt_lines && opt_nul)
        tool_usage("-l and -0 exclude each other");
    check_chat();
    for (size_t i = 0; i < pieces.n; i++)
        stdin_piece |= pieces.at[i].opt->letter == 'f' && strcmp(pieces.at[i].value, "-") == 0;
    if (stdin_piece && (opt_lines || opt_nul))
        tool_usage("-f - and -l or -0 both want standard input");
    if (stops.n > sizeof r->stop / sizeof *r->stop)
        tool_usage("more than %zu stop strings", sizeof r->stop / sizeof *r->stop);
    for (size_t i = 0; i < stops.n; i++)
        r->stop[i] = (struct rill_stop){stops.at[i].value, strlen(stops.at[i].value)};
    r->n_stop = (int)stops.n;
    if (opt_think_fd >= 0 && !(r->think = fdopen(opt_think_fd, "w")))
        return err_set(e, E_IO, "descriptor %d: %s", opt_think_fd, strerror(errno));
    r->tty = isatty(STDOUT_FILENO) && !opt_json;
    if (opt_stats_fd >= 0) {
        r->stats = fdopen(opt_stats_fd, "w");
        if (!r->stats)
            return err_set(e, E_IO, "descriptor %d: %s", opt_stats_fd, strerror(errno));
    }
    if (opt_logits_fd >= 0) {
        r->logits = fdopen(opt_logits_fd, "wb");
        if (!r->logits)
            return err_set(e, E_IO, "descriptor %d: %s", opt_logits_fd, strerror(errno));
    }
    return 0;
}

static int answer_records(struct run *r, struct slice before, struct err *e)
{
    struct records in = {.kind = opt_lines ? RECORD_LINES : opt_nul ? RECORD_NUL : RECORD_WHOLE};
    struct buf prompt = {0};
    struct slice record;
    int rc;

    while ((rc = records_next(&in, &record, e)) > 0) {
        buf_clear(&prompt);
        buf_slice(&prompt, before);
        if (pieces.n)
            buf_byte(&prompt, '\n');
        buf_slice(&prompt, record);
        rc = prompt.bad ? err_nomem(e, prompt.n) : answer(r, buf_view(&prompt), e);
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
                                   .max_tokens = opt_n,
                                   .draft = opt_draft,
                                   .lora = r->lora,
                                   .n_lora = (int)loras.n,
                                   .lenient = opt_lenient,
                                   .created = epoch ? strtoll(epoch, NULL, 10) : 0,
                                   .n_ctx = rill_engine_ctx(r->engine)},
                           .out = opt_out,
                           .resume = opt_resume,
                           .unordered = opt_unordered,
                           .timings = opt_timings,
                           .verify = opt_verify,
                           .seed = r->sampling.seed,
                           .parallel = opt_parallel};
    struct batch_result done;
    struct api_chat *chat = NULL;
    struct file_view v = {0};
    int rc = opt_shard ? batch_shard(opt_shard, &o.shard, &o.shards, e) : 0;

    if (rc == 0 && opt_template)
        rc = file_read(&v, opt_template, 4 << 20, e);
    if (rc == 0 && !opt_raw && !opt_special)
        rc = api_chat_open(&chat, r->model, opt_template,
                           (struct slice){opt_template ? (const char *)v.p : NULL, v.n}, e);
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

/* Vectors of records, or scores of pairs. */
static int answer_vectors(struct run *r, struct slice prompt, struct err *e)
{
    static const int kinds[] = {RILL_EMBED_MEAN, RILL_EMBED_CLS, RILL_EMBED_LAST, RILL_EMBED_NONE};
    struct records in = {.kind = opt_lines ? RECORD_LINES : opt_nul ? RECORD_NUL : RECORD_WHOLE};
    const struct vectors_opts o = {.model = r->model,
                                   .embed = opt_rerank     ? RILL_EMBED_RANK
                                            : pooling >= 0 ? kinds[pooling]
                                                           : RILL_EMBED_MODEL,
                                   .raw = opt_raw_vector,
                                   .f32 = embed_format == 1,
                                   .json = opt_json,
                                   .special = opt_special,
                                   .parallel = opt_parallel,
                                   .has_query = pieces.n > 0};
    const bool alone = pieces.n && !opt_lines && !opt_nul && !opt_rerank;
    int rc = o.f32 ? tool_not_to_terminal(STDOUT_FILENO, "vectors", e) : 0;

    if (opt_rerank && !r->info.n_score)
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
    double begin = tool_now();
    int rc = read_options(r, e);

    rc = rc < 0 ? rc : obey_open(&r->constraint, &obeyed, NULL, e);
    rc = rc < 0 ? rc : open_all(r, e);
    rc = rc < 0 ? rc : open_behind(r, e);
    r->load = tool_now() - begin;
    if (rc == 0 && opt_jsonl)
        return answer_jsonl(r, e);
    rc = rc < 0 ? rc : opt_messages ? add_file(&prompt, opt_messages, e) : fixed_prompt(&prompt, e);
    if (rc == 0 && (opt_embed || opt_rerank))
        rc = answer_vectors(r, buf_view(&prompt), e);
    else if (rc == 0 && !opt_messages && (opt_lines || opt_nul || (pieces.n == 0 && !opt_kv)))
        rc = answer_records(r, buf_view(&prompt), e);
    else if (rc == 0)
        rc = answer(r, buf_view(&prompt), e);
    if (r->cut && !n_given)
        tool_note("the context of %d positions is full", rill_engine_ctx(r->engine));
    buf_fini(&prompt);
    return rc < 0 ? rc : 0;
}

int main(int argc, char **argv)
{
    struct run r = {0};
    struct err e = {0};
    int first = tool_begin(&tool, argc, argv);
    int status = 0;

    if (first < argc)
        tool_usage("unexpected operand '%s' (a prompt is given with -p)", argv[first]);
    if (run(&r, &e) < 0)
        status = tool_fail(&e);
    else if (r.failed)
        status = 1;
    rill_kv_fini(&r.kv);
    choices_fini(&r.choices);
    rill_engine_close(r.engine);
    rill_constraint_free(r.constraint);
    rill_constraint_free(r.behind);
    ask_close(&r.ask);
    wrap_fini(&r.dim);
    rill_model_close(r.draft);
    rill_model_close(r.model);
    if (r.dump && fclose(r.dump) != 0 && status == 0)
        status = tool_fail(&(struct err){E_IO, "the dump: cannot write"});
    opt_list_fini(&sets);
    opt_list_fini(&pieces);
    opt_list_fini(&stops);
    opt_list_fini(&loras);
    opt_list_fini(&obeyed.choices);
    if (r.logits && fclose(r.logits) != 0 && status == 0)
        status = tool_fail(&(struct err){E_IO, "the logits: cannot write"});
    return tool_end(status);
}
