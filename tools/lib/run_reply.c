/* run_reply.c - see run.h: what rill-run prints of an answer when it is made. */
#include <stdio.h>
#include <unistd.h>

#include "tools/lib/run.h"

static const char *finish_name(const struct run_answer *a)
{
    switch (a->finish) {
    case RILL_STOP:
        return a->n_calls ? "tool_calls" : "stop";
    case RILL_CANCELLED:
        return "cancelled";
    default:
        return "length";
    }
}

static void put_calls(struct buf *b, const char *before, const struct run_answer *a)
{
    if (!a->n_calls)
        return;
    buf_printf(b, "%s\"tool_calls\":[", before);
    buf_slice(b, buf_view(&a->calls));
    buf_byte(b, ']');
}

void run_put_calls(const struct run *r, const struct run_answer *a)
{
    struct buf b = {0};

    if (a->texted)
        buf_byte(&b, '\n');
    put_calls(&b, "{", a);
    buf_byte(&b, '}');
    buf_byte(&b, r->opt->nul ? '\0' : '\n');
    fwrite(b.p, 1, b.n, stdout);
    buf_fini(&b);
}

void run_put_json(const struct run *r, const struct run_answer *a, struct slice prompt)
{
    struct buf b = {0};

    buf_printf(&b, "{\"id\":\"%s-%d\",\"object\":\"%s\",\"created\":0,\"model\":",
               r->ask.chat ? "chatcmpl" : "cmpl", r->answers,
               r->ask.chat ? "chat.completion" : "text_completion");
    buf_json(&b, slice_of(r->info.name[0] ? r->info.name : r->info.path));
    buf_str(&b, ",\"choices\":[{\"index\":0,");
    buf_str(&b, r->ask.chat ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"text\":");
    if (r->opt->ids_out) {
        buf_str(&b, r->ask.chat ? "\"\"},\"token_ids\":[" : "\"\",\"token_ids\":[");
        buf_slice(&b, buf_view(&a->text));
        buf_byte(&b, ']');
    } else {
        struct buf all = {0};

        if (r->opt->echo)
            buf_slice(&all, prompt);
        buf_slice(&all, buf_view(&a->text));
        if (a->n_calls && !all.n)
            buf_str(&b, "null");
        else
            buf_json(&b, buf_view(&all));
        buf_fini(&all);
        if (r->ask.chat && a->reasoning.n) {
            buf_str(&b, ",\"reasoning_content\":");
            buf_json(&b, buf_view(&a->reasoning));
        }
        put_calls(&b, ",", a);
        if (r->ask.chat)
            buf_byte(&b, '}');
    }
    buf_printf(&b,
               ",\"logprobs\":null,\"finish_reason\":\"%s\"}],\"usage\":{\"prompt_tokens\":%zu,"
               "\"completion_tokens\":%zu,\"total_tokens\":%zu},",
               finish_name(a), a->n_prompt, a->n_drawn, a->n_prompt + a->n_drawn);
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
void run_report(struct run *r, const struct run_answer *a)
{
    double decode = rate(a->n_drawn > 0 ? (double)a->n_drawn - 1 : 0, a->decode);
    double prompt = rate((double)a->n_prompt, a->prompt);

    if (r->stats) {
        fprintf(r->stats,
                "{\"load_s\":%.6f,\"prompt_tokens\":%zu,\"prompt_s\":%.6f,\"prompt_tok_s\":%.2f,"
                "\"drawn_tokens\":%zu,\"decode_s\":%.6f,\"decode_tok_s\":%.2f,\"decode_gb_s\":%.3f,"
                "\"drafted_tokens\":%llu,\"accepted_tokens\":%llu,\"finish_reason\":\"%s\"}\n",
                r->load, a->n_prompt, a->prompt, prompt, a->n_drawn, a->decode, decode, a->gb_s,
                (unsigned long long)a->drafted, (unsigned long long)a->accepted, finish_name(a));
        fflush(r->stats);
    }
    if (r->verbose > 0 || (r->verbose == 0 && isatty(STDERR_FILENO))) {
        fprintf(stderr,
                "%sload %.3f s; prompt %zu tokens, %.1f tok/s; made %zu, %.1f tok/s, %.1f GB/s\n",
                r->tty ? "\n" : "", r->load, a->n_prompt, prompt, a->n_drawn, decode, a->gb_s);
        if (a->drafted)
            fprintf(stderr, "proposed %llu tokens, %.0f %% of them accepted\n",
                    (unsigned long long)a->drafted, 100 * (double)a->accepted / (double)a->drafted);
    }
}
