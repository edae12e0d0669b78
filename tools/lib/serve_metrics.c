/* serve_metrics.c - see serve_metrics.h. The text format of Prometheus, version 0.0.4; the names
 * that begin with vllm: are those that dashboards and gateways know. */
#include "tools/lib/serve_metrics.h"

#include "base/mem.h"

static const double bounds[METRIC_BUCKETS] = {
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300};

void histogram_add(struct histogram *h, double seconds)
{
    int i = 0;

    while (i < METRIC_BUCKETS && seconds > bounds[i])
        i++;
    h->count[i]++;
    h->sum += seconds;
}

/* The value of a label, escaped. */
static void label(struct buf *b, const char *s)
{
    buf_byte(b, '"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            buf_byte(b, '\\');
        if (*s == '\n')
            buf_str(b, "\\n");
        else
            buf_byte(b, *s);
    }
    buf_byte(b, '"');
}

static void head(struct buf *b, const char *name, const char *type, const char *help)
{
    buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void sample(struct buf *b, const char *name, const char *suffix, const char *model)
{
    buf_printf(b, "%s%s{model_name=", name, suffix);
    label(b, model);
}

static void put_histogram(struct buf *b, const char *name, const struct histogram *h,
                          const char *model)
{
    uint64_t sum = 0;

    for (int i = 0; i <= METRIC_BUCKETS; i++) {
        sum += h->count[i];
        sample(b, name, "_bucket", model);
        if (i < METRIC_BUCKETS)
            buf_printf(b, ",le=\"%g\"} %llu\n", bounds[i], (unsigned long long)sum);
        else
            buf_printf(b, ",le=\"+Inf\"} %llu\n", (unsigned long long)sum);
    }
    sample(b, name, "_sum", model);
    buf_printf(b, "} %.9g\n", h->sum);
    sample(b, name, "_count", model);
    buf_printf(b, "} %llu\n", (unsigned long long)sum);
}

/* One number of a model. */
struct view {
    const struct metrics *m;
    struct rill_stats s;
};
static double v_running(const struct view *v)
{
    return v->s.running;
}
static double v_waiting(const struct view *v)
{
    return v->m->waiting + v->s.waiting;
}
static double v_kv(const struct view *v)
{
    return v->s.kv_held;
}
static double v_prompt(const struct view *v)
{
    return (double)v->m->prompt_tokens;
}
static double v_drawn(const struct view *v)
{
    return (double)v->m->drawn_tokens;
}
static double v_cached(const struct view *v)
{
    return (double)v->m->cached_tokens;
}
static double v_steps(const struct view *v)
{
    return (double)v->s.steps;
}
static double v_preempted(const struct view *v)
{
    return (double)v->s.preempted;
}
static double v_drafted(const struct view *v)
{
    return (double)v->s.drafted;
}
static double v_accepted(const struct view *v)
{
    return (double)v->s.accepted;
}

static const struct {
    const char *name, *type, *help;
    double (*value)(const struct view *v);
} numbers[] = {
    {"rill_requests_running", "gauge", "Answers that have a place in the engine.", v_running},
    {"rill_requests_waiting", "gauge", "Those that are read or wait for a place.", v_waiting},
    {"rill_kv_used_ratio", "gauge", "Key/value memory in use, 0 to 1.", v_kv},
    {"rill_prompt_tokens_total", "counter", "Tokens of prompts.", v_prompt},
    {"rill_cached_tokens_total", "counter", "Tokens of prompts found in memory.", v_cached},
    {"rill_drawn_tokens_total", "counter", "Tokens drawn.", v_drawn},
    {"rill_steps_total", "counter", "Steps of the engine.", v_steps},
    {"rill_preempted_total", "counter", "Requests sent back to wait for memory.", v_preempted},
    {"rill_drafted_tokens_total", "counter", "Tokens proposed ahead.", v_drafted},
    {"rill_accepted_tokens_total", "counter", "Of those, tokens that were then drawn.", v_accepted},
    {"vllm:num_requests_running", "gauge", "As rill_requests_running.", v_running},
    {"vllm:num_requests_waiting", "gauge", "As rill_requests_waiting.", v_waiting},
    {"vllm:kv_cache_usage_perc", "gauge", "As rill_kv_used_ratio.", v_kv},
    {"vllm:prompt_tokens_total", "counter", "As rill_prompt_tokens_total.", v_prompt},
    {"vllm:generation_tokens_total", "counter", "As rill_drawn_tokens_total.", v_drawn},
    {"vllm:prefix_cache_queries_total", "counter", "As rill_prompt_tokens_total.", v_prompt},
    {"vllm:prefix_cache_hits_total", "counter", "As rill_cached_tokens_total.", v_cached},
};

static const struct {
    const char *name, *help;
    size_t at;
} histograms[] = {
    {"rill_time_to_first_token_seconds", "From the request to its first token.",
     offsetof(struct metrics, first_token)},
    {"rill_inter_token_seconds", "Between two tokens of an answer.",
     offsetof(struct metrics, between)},
    {"rill_request_seconds", "From the request to the end of its reply.",
     offsetof(struct metrics, total)},
    {"rill_queue_seconds", "From the request until the engine began with it.",
     offsetof(struct metrics, queue)},
    {"rill_prompt_seconds", "From when the engine began with it to the first token.",
     offsetof(struct metrics, prompt)},
    {"rill_front_seconds", "From when a token was made until it was given to the client's socket.",
     offsetof(struct metrics, front)},
    {"vllm:time_to_first_token_seconds", "As rill_time_to_first_token_seconds.",
     offsetof(struct metrics, first_token)},
    {"vllm:inter_token_latency_seconds", "As rill_inter_token_seconds.",
     offsetof(struct metrics, between)},
    {"vllm:e2e_request_latency_seconds", "As rill_request_seconds.",
     offsetof(struct metrics, total)},
    {"vllm:request_queue_time_seconds", "As rill_queue_seconds.", offsetof(struct metrics, queue)},
    {"vllm:request_prefill_time_seconds", "As rill_prompt_seconds.",
     offsetof(struct metrics, prompt)},
};

static void put_finished(struct buf *b, const struct metrics *m, struct worker *const *w, int n)
{
    static const char *const why[] = {"stop", "length", "cancelled", "failed"};

    head(b, "rill_requests_finished_total", "counter", "Requests that ended, by why.");
    for (int i = 0; i < n; i++)
        for (size_t k = 0; k < ARRAY_LEN(why); k++) {
            sample(b, "rill_requests_finished_total", "", worker_name(w[i]));
            buf_printf(b, ",reason=\"%s\"} %llu\n", why[k], (unsigned long long)m[i].finished[k]);
        }
}

static void put_keys(struct buf *b, struct keys *keys)
{
    static const char *const names[] = {"rill_key_requests_total", "rill_key_prompt_tokens_total",
                                        "rill_key_drawn_tokens_total"};

    for (size_t f = 0; f < ARRAY_LEN(names) && keys_count(keys) > 0; f++) {
        head(b, names[f], "counter", "What a key has used.");
        for (int i = 0; i < keys_count(keys); i++) {
            const struct key *k = keys_at(keys, i);
            uint64_t v = f == 0 ? k->requests : f == 1 ? k->prompt_tokens : k->drawn_tokens;

            buf_printf(b, "%s{key=", names[f]);
            label(b, k->name);
            buf_printf(b, "} %llu\n", (unsigned long long)v);
        }
    }
}

static const struct {
    const char *name, *help;
    size_t at;
} of_gpus[] = {
    {"rill_gpu_utilization_ratio", "How much of the time a GPU works, 0 to 1.",
     offsetof(struct gpu_state, busy)},
    {"rill_gpu_memory_used_bytes", "Memory of a GPU in use, by whomever.",
     offsetof(struct gpu_state, mem_used)},
    {"rill_gpu_memory_bytes", "Memory of a GPU.", offsetof(struct gpu_state, mem_total)},
    {"rill_gpu_power_watts", "Power that a GPU takes.", offsetof(struct gpu_state, watts)},
    {"rill_gpu_power_limit_watts", "Power that a GPU may take.",
     offsetof(struct gpu_state, watts_limit)},
    {"rill_gpu_sm_clock_hertz", "Clock of a GPU's processors.", offsetof(struct gpu_state, sm_hz)},
    {"rill_gpu_memory_clock_hertz", "Clock of a GPU's memory.", offsetof(struct gpu_state, mem_hz)},
    {"rill_gpu_temperature_celsius", "Temperature of a GPU.", offsetof(struct gpu_state, celsius)},
};

/* A comment says why there are none. */
static void put_gpus(struct buf *b, const struct gpus *gpus, const char *why)
{
    const int n = gpus_count(gpus);
    struct gpu_state *s = mem_array((uint64_t)n + 1, sizeof *s, NULL);

    if (n == 0)
        buf_printf(b, "# %s\n", why);
    for (int i = 0; s && i < n; i++)
        gpus_read(gpus, i, &s[i]);
    for (size_t k = 0; s && n && k < ARRAY_LEN(of_gpus); k++) {
        head(b, of_gpus[k].name, "gauge", of_gpus[k].help);
        for (int i = 0; i < n; i++) {
            const double v = *(const double *)(const void *)((char *)&s[i] + of_gpus[k].at);

            if (v < 0)
                continue;
            buf_printf(b, "%s{gpu=\"%d\",name=", of_gpus[k].name, i);
            label(b, s[i].name);
            buf_printf(b, "} %.15g\n", v);
        }
    }
    mem_free(s);
}

void metrics_write(struct buf *b, const struct metrics *m, struct worker *const *w, int n,
                   struct keys *keys, const uint64_t status[6], int connections,
                   const struct gpus *gpus, const char *no_gpus)
{
    struct view *v = mem_array((uint64_t)n, sizeof *v, NULL);

    for (int i = 0; v && i < n; i++) {
        v[i].m = &m[i];
        worker_stats(w[i], &v[i].s);
    }
    for (size_t k = 0; v && k < ARRAY_LEN(numbers); k++) {
        head(b, numbers[k].name, numbers[k].type, numbers[k].help);
        for (int i = 0; i < n; i++) {
            sample(b, numbers[k].name, "", worker_name(w[i]));
            buf_printf(b, "} %.15g\n", numbers[k].value(&v[i]));
        }
    }
    for (size_t k = 0; k < ARRAY_LEN(histograms); k++) {
        head(b, histograms[k].name, "histogram", histograms[k].help);
        for (int i = 0; i < n; i++)
            put_histogram(b, histograms[k].name,
                          (const void *)((const char *)&m[i] + histograms[k].at),
                          worker_name(w[i]));
    }
    put_finished(b, m, w, n);
    put_keys(b, keys);
    put_gpus(b, gpus, no_gpus);
    head(b, "rill_http_replies_total", "counter", "Replies, by the first digit of their status.");
    for (int i = 2; i < 6; i++)
        buf_printf(b, "rill_http_replies_total{class=\"%dxx\"} %llu\n", i,
                   (unsigned long long)status[i]);
    head(b, "rill_connections", "gauge", "Connections that are open.");
    buf_printf(b, "rill_connections %d\n", connections);
    head(b, "vllm:cache_config_info", "gauge", "How key/value memory is cut.");
    buf_str(b, "vllm:cache_config_info{block_size=\"32\"} 1\n");
    mem_free(v);
}
