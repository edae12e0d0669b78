/* test_toolcall.c - tool calls in outputs: the examples of tests/golden/toolcalls.txt whole and cut
 * at every byte, calls written and read back in every format, detection, hostile input. */
#define _GNU_SOURCE // memmem
#include "tests/text/examples.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "text/reasoning.h"

static void expect(struct examples *x, const struct example *c, const size_t *at, int n)
{
    bool fine = transcript_of(&x->t, &c->o, c->in, at, n, c->control);

    if (!fine || !slice_eq(buf_view(&x->t.all), c->want))
        ck_abort_msg("%s, cut at %d %d%s\n%.*s\nexpected\n%.*s\ngot\n%s", c->head,
                     n > 0 ? (int)at[0] : -1, n > 1 ? (int)at[1] : -1,
                     fine ? "" : ": events out of order", (int)c->in.n, c->in.p, (int)c->want.n,
                     c->want.p, x->t.all.p ? x->t.all.p : "");
}

START_TEST(examples_whole)
{
    struct examples x;
    struct example c;
    int n = 0, bad = 0;

    for (open_examples(&x); next_example(&x.at, x.end, &c, x.tools); n++)
        if (!transcript_of(&x.t, &c.o, c.in, NULL, 0, c.control) ||
            !slice_eq(buf_view(&x.t.all), c.want)) {
            bad++;
            printf("%s\n%.*s\nexpected\n%.*sgot\n%s\n", c.head, (int)c.in.n, c.in.p, (int)c.want.n,
                   c.want.p, x.t.all.p ? x.t.all.p : "");
        }
    fflush(stdout);
    ck_assert_int_eq(bad, 0);
    ck_assert_int_ge(n, 90);
    close_examples(&x);
}
END_TEST

START_TEST(examples_cut_in_two)
{
    struct examples x;
    struct example c;

    for (open_examples(&x); next_example(&x.at, x.end, &c, x.tools);)
        for (size_t i = 0; i <= c.in.n; i++)
            expect(&x, &c, &i, 1);
    close_examples(&x);
}
END_TEST

START_TEST(examples_cut_at_random)
{
    struct rng r = {7, 0};
    struct examples x;
    struct example c;
    size_t at[4096];

    for (open_examples(&x); next_example(&x.at, x.end, &c, x.tools);) {
        for (int k = 0; k < 40; k++) {
            at[0] = rng_next(&r) % (c.in.n + 1);
            at[1] = at[0] + rng_next(&r) % (c.in.n + 1 - at[0]);
            expect(&x, &c, at, 2);
        }
        ck_assert_uint_lt(c.in.n, ARRAY_LEN(at));
        for (size_t i = 0; i < c.in.n; i++)
            at[i] = i;
        expect(&x, &c, at, (int)c.in.n);
    }
    close_examples(&x);
}
END_TEST

/* What an output without calls says: nothing is added or lost. */
START_TEST(other_text_stays)
{
    struct transcript t = {0}, want = {0};
    struct file_view f;
    struct err e = {0};

    ck_ok(file_read(&f, srcfile("libcore/text/toolcall_read.c"), 1 << 20, &e), &e);
    buf_str(&want.all, "text ");
    buf_json(&want.all, (struct slice){(const char *)f.p, f.n});
    buf_byte(&want.all, '\n');
    for (size_t i = 0; toolcall_at(i); i++) {
        struct toolcall_opts o = {.format = toolcall_at(i), .reasoning = reasoning_find("think")};

        ck_assert(transcript_of(&t, &o, (struct slice){(const char *)f.p, f.n}, NULL, 0, false));
        ck_assert_msg(slice_eq(buf_view(&t.all), buf_view(&want.all)), "%s", o.format->name);
    }
    transcript_fini(&t);
    transcript_fini(&want);
    file_unmap(&f);
}
END_TEST

/* -- written and read back -- */

static json_t *random_value(struct rng *r, int depth)
{
    static const char *const words[] = {"",
                                        "a",
                                        "Paris",
                                        "12",
                                        "true",
                                        "a \"b\" \\ c",
                                        "x\ny",
                                        "  spaced ",
                                        "<b>&amp;",
                                        "{\"k\": 1}",
                                        "\xc3\xa9\xe2\x82\xac",
                                        "None",
                                        "it's",
                                        "[1, 2]",
                                        "\xf0\x9f\x98\x80"};
    json_t *v;

    switch (rng_next(r) % (depth < 3 ? 8 : 5)) {
    case 0:
        return json_integer((json_int_t)(rng_next(r) % 20001) - 10000);
    case 1:
        return json_real((double)(int)(rng_next(r) % 1001) / 8);
    case 2:
        return json_boolean(rng_next(r) & 1);
    case 3:
        return json_null();
    case 4:
    case 5:
        return json_string(words[rng_next(r) % ARRAY_LEN(words)]);
    case 6:
        v = json_array();
        for (int n = (int)(rng_next(r) % 4); n > 0; n--)
            json_array_append_new(v, random_value(r, depth + 1));
        return v;
    default:
        v = json_object();
        for (int n = (int)(rng_next(r) % 4); n > 0; n--) {
            char key[8];

            snprintf(key, sizeof key, "k%d", (int)(rng_next(r) % 10));
            json_object_set_new(v, key, random_value(r, depth + 1));
        }
        return v;
    }
}

static json_t *random_args(struct rng *r)
{
    static const char *const keys[] = {"a", "b_c", "d1", "query", "x"};
    json_t *v = json_object();

    for (int n = (int)(rng_next(r) % 5); n > 0; n--)
        json_object_set_new(v, keys[rng_next(r) % ARRAY_LEN(keys)], random_value(r, 0));
    return v;
}

/* A tool whose schema names the types the arguments have: then every format gives them back. */
static json_t *tool_for(const char *name, const json_t *args)
{
    static const char *const types[] = {"object", "array",   "string",  "integer",
                                        "number", "boolean", "boolean", "null"};
    json_t *props = json_object();
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)args, key, v)
        json_object_set_new(props, key, json_pack("{ss}", "type", types[json_typeof(v)]));
    return json_pack("{s{ss s{ssso}}}", "function", "name", name, "parameters", "type", "object",
                     "properties", props);
}

START_TEST(written_and_read_back)
{
    struct rng r = {3, 0};
    struct err e = {0};

    for (size_t i = 0; toolcall_at(i); i++) {
        struct toolcall_opts o = {.format = toolcall_at(i)};

        for (int k = 0; k < 60; k++) {
            static const char *const names[] = {"f", "get_weather", "mcp.tool-1"};
            struct toolcall_call c[3];
            struct buf text = {0};
            const struct toolcall_event *ev;
            struct toolcall *p;
            json_t *tools = json_array();
            int n = 1 + (int)(rng_next(&r) % 3);
            struct buf got = {0}, want = {0};
            int n_ev;

            for (int j = 0; j < n; j++) {
                c[j].id = SLICE("abcdefghi");
                c[j].name = slice_of(names[j]);
                c[j].arguments = random_args(&r);
                json_array_append_new(tools, tool_for(names[j], c[j].arguments));
            }
            ck_ok(toolcall_write(o.format, c, (size_t)n, &text, &e), &e);
            o.tools = tools;
            ck_ok(toolcall_new(&p, &o, &e), &e);
            n_ev = toolcall_feed(p, buf_view(&text), false, &ev, &e);
            for (int round = 0; round < 2; round++) {
                for (int j = 0; j < n_ev; j++) {
                    if (ev[j].kind == TC_BEGIN)
                        buf_printf(&got, "\n%.*s ", (int)ev[j].name.n, ev[j].name.p);
                    else if (ev[j].kind != TC_END)
                        buf_slice(&got, ev[j].text);
                    else if (!ev[j].complete)
                        buf_str(&got, " CUT");
                }
                if (round == 0)
                    n_ev = toolcall_finish(p, &ev, &e);
            }
            for (int j = 0; j < n; j++) {
                char *s = json_dumps(c[j].arguments, 0);

                buf_printf(&want, "\n%s %s", names[j], s);
                free(s);
                json_decref((json_t *)c[j].arguments);
            }
            if (!slice_eq(buf_view(&got), buf_view(&want)))
                ck_abort_msg("%s: %s\nexpected%s\ngot%s", o.format->name, text.p, want.p,
                             got.p ? got.p : "");
            toolcall_free(p);
            buf_fini(&got);
            buf_fini(&want);
            buf_fini(&text);
            json_decref(tools);
        }
    }
}
END_TEST

/* -- detection -- */

START_TEST(detection)
{
    static const char *const want[][3] = {
        {"Qwen-Qwen2.5-7B-Instruct", "hermes", ""},
        {"Qwen-Qwen3-0.6B", "hermes", "think"},
        {"Qwen-QwQ-32B", "hermes", "think"},
        {"Qwen3-Coder", "qwen3-coder", ""},
        {"NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", "hermes", ""},
        {"NousResearch-Hermes-3-Llama-3.1-8B-tool_use", "hermes", ""},
        {"meta-llama-Llama-3.1-8B-Instruct", "llama3", ""},
        {"meta-llama-Llama-3.2-3B-Instruct", "llama3", ""},
        {"meta-llama-Llama-3.3-70B-Instruct", "llama3", ""},
        {"meetkai-functionary-medium-v3.1", "functionary", ""},
        {"fireworks-ai-llama-3-firefunction-v2", "firefunction", ""},
        {"mistralai-Mistral-Nemo-Instruct-2407", "mistral", ""},
        {"unsloth-mistral-Devstral-Small-2507", "mistral-v13", ""},
        {"Mistral-Small-3.2-24B-Instruct-2506", "mistral-v11", ""},
        {"deepseek-ai-DeepSeek-V3.1", "deepseek-v3.1", "think"},
        {"deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "deepseek-v3", "think"},
        {"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "deepseek-v3", "think"},
        {"llama-cpp-deepseek-r1", "deepseek-v3", "think"},
        {"GLM-4.6", "glm-4.5", "think"},
        {"GLM-4.7-Flash", "glm-4.5", "think"},
        {"Kimi-K2-Instruct", "kimi-k2", ""},
        {"openai-gpt-oss-120b", "harmony", "harmony"},
        {"ibm-granite-granite-3.3-2B-Instruct", "granite", "granite"},
        {"CohereForAI-c4ai-command-r7b-12-2024-tool_use", "command-r7b", "command"},
        {"MiniMax-M2", "minimax-m2", "think"},
        {"ByteDance-Seed-OSS", "seed-oss", "seed"},
        {"NVIDIA-Nemotron-Nano-v2", "nemotron", "think"},
        {"Apertus-8B-Instruct", "apertus", "apertus"},
        {"LFM2-8B-A1B", "lfm2", ""},
        {"HuggingFaceTB-SmolLM3-3B", "", "think"},
        {"google-gemma-2-2b-it", "", ""},
        {"microsoft-Phi-3.5-mini-instruct", "", ""},
        {"llama-cpp-rwkv-world", "", "think"},
    };

    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        char name[200];
        const char *path;
        struct file_view f;
        struct err e = {0};
        const struct toolcall_format *t;
        const struct reasoning *r;

        snprintf(name, sizeof name, "templates/jinja/%s.jinja", want[i][0]);
        if (!(path = testdata(name)))
            return;
        ck_ok(file_read(&f, path, 1 << 20, &e), &e);
        t = toolcall_detect((struct slice){(const char *)f.p, f.n});
        r = reasoning_detect((struct slice){(const char *)f.p, f.n});
        ck_assert_msg(strcmp(t ? t->name : "", want[i][1]) == 0, "%s: %s", want[i][0],
                      t ? t->name : "none");
        ck_assert_msg(strcmp(r ? r->name : "", want[i][2]) == 0, "%s: %s", want[i][0],
                      r ? r->name : "none");
        file_unmap(&f);
    }
}
END_TEST

START_TEST(names)
{
    struct err e = {0};

    ck_assert_ptr_eq(toolcall_find("no-such", &e), NULL);
    ck_assert_int_eq(e.code, E_USAGE);
    ck_assert_ptr_nonnull(strstr(e.text, "none of harmony kimi-k2"));
    ck_assert_ptr_nonnull(strstr(e.text, "hermes"));
    for (size_t i = 0; toolcall_at(i); i++) { // and no two have the same
        const struct toolcall_format *f = toolcall_at(i);

        ck_assert_ptr_eq(toolcall_find(f->name, &e), f);
        ck_assert_ptr_nonnull(f->about);
    }
}
END_TEST

/* rill-toolcalls(7) lists every format and every pair of reasoning marks. */
START_TEST(man_page)
{
    struct file_view f;
    struct err e = {0};
    char item[80];

    ck_ok(file_read(&f, srcfile("man/rill-toolcalls.7"), 1 << 20, &e), &e);
    for (size_t i = 0; toolcall_at(i) || reasoning_at(i); i++)
        for (int k = 0; k < 2; k++) {
            const char *name = k == 0 ? (toolcall_at(i) ? toolcall_at(i)->name : NULL)
                                      : (reasoning_at(i) ? reasoning_at(i)->name : NULL);

            if (!name)
                continue;
            snprintf(item, sizeof item, "\n.It Cm %s\n", name);
            ck_assert_msg(memmem(f.p, f.n, item, strlen(item)) != NULL, "%s is missing", name);
        }
    file_unmap(&f);
}
END_TEST

/* -- ids, cuts inside characters, memory, hostile input -- */

START_TEST(made_ids)
{
    struct err e = {0};
    struct slice in = SLICE("<tool_call>{\"name\": \"f\"}</tool_call><tool_call>{\"name\": \"f\"}");
    char id[3][64];

    for (int k = 0; k < 3; k++) {
        struct toolcall_opts o = {.format = toolcall_find("hermes", &e), .seed = k == 2 ? 9 : 5};
        const struct toolcall_event *ev;
        struct toolcall *p;
        int n, calls = 0;

        ck_ok(toolcall_new(&p, &o, &e), &e);
        n = toolcall_feed(p, in, false, &ev, &e);
        for (int i = 0; i < n; i++)
            if (ev[i].kind == TC_BEGIN) {
                ck_assert_uint_eq(ev[i].id.n, 29);
                if (calls++ == 0)
                    snprintf(id[k], sizeof id[k], "%.*s", 29, ev[i].id.p);
                else
                    ck_assert(memcmp(id[k], ev[i].id.p, 29) != 0);
            }
        ck_assert_int_eq(calls, 2);
        ck_assert_int_eq(toolcall_count(p), 2);
        toolcall_free(p);
    }
    ck_assert_str_eq(id[0], id[1]);
    ck_assert_str_ne(id[0], id[2]);
}
END_TEST

/* Deltas are whole characters however the bytes come; what is no UTF-8 stays in text and becomes
 * U+FFFD in arguments. */
START_TEST(whole_characters)
{
    struct err e = {0};
    struct toolcall_opts o = {.format = toolcall_find("hermes", &e)};
    struct slice in =
        SLICE("\xe2\x82\xac \xf0\x9f\x98\x80<tool_call>{\"name\": \"f\", \"arguments\": "
              "{\"a\": \"\xe2\x82\xac\xff\xf0\x9f\"}}</tool_call>\xc3\xa9\xff.");
    struct buf text = {0}, args = {0};
    const struct toolcall_event *ev;
    struct toolcall *p;

    ck_ok(toolcall_new(&p, &o, &e), &e);
    for (size_t i = 0; i <= in.n; i++) {
        int n = i < in.n ? toolcall_feed(p, (struct slice){in.p + i, 1}, false, &ev, &e)
                         : toolcall_finish(p, &ev, &e);

        for (int k = 0; k < n; k++) {
            if (ev[k].kind == TC_TEXT)
                buf_slice(&text, ev[k].text);
            if (ev[k].kind == TC_ARGS)
                buf_slice(&args, ev[k].text);
            if (ev[k].text.n && !memchr(ev[k].text.p, '\xff', ev[k].text.n))
                ck_assert(utf8_valid(ev[k].text.p, ev[k].text.n));
        }
    }
    ck_assert_str_eq(text.p, "\xe2\x82\xac \xf0\x9f\x98\x80\xc3\xa9\xff.");
    ck_assert_str_eq(args.p, "{\"a\": \"\xe2\x82\xac\xef\xbf\xbd\xef\xbf\xbd\"}");
    buf_fini(&text);
    buf_fini(&args);
    toolcall_free(p);
}
END_TEST

/* Arguments come as they are written, not when they are complete. */
START_TEST(arguments_stream)
{
    static const char *const front[][2] = {
        {"hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"text\": \""},
        {"mistral-v13", "[TOOL_CALLS]f[ARGS]{\"text\": \""},
        {"qwen3-coder", "<tool_call>\n<function=write_file>\n<parameter=content>\n"},
        {"pythonic", "[write_file(content=\""},
        {"functiongemma", "<start_function_call>call:f{text:<escape>"}};
    json_t *tools = json_loads(TOOLS_JSON, 0, NULL);
    struct err e = {0};

    for (size_t i = 0; i < ARRAY_LEN(front); i++) {
        struct toolcall_opts o = {.format = toolcall_find(front[i][0], &e)};
        const struct toolcall_event *ev;
        struct toolcall *p;

        o.tools = strstr(front[i][1], "write_file") ? tools : NULL;
        ck_ok(toolcall_new(&p, &o, &e), &e);
        ck_assert_int_ge(toolcall_feed(p, slice_of(front[i][1]), false, &ev, &e), 2);
        ck_assert_int_eq(toolcall_feed(p, SLICE("y"), false, &ev, &e), 1); // with a quote, or not
        for (int k = 0; k < 50; k++) {
            ck_assert_int_eq(toolcall_feed(p, SLICE("x"), false, &ev, &e), 1);
            ck_assert_int_eq(ev[0].kind, TC_ARGS);
            ck_assert(slice_is(ev[0].text, "x"));
        }
        toolcall_free(p);
    }
    json_decref(tools);
}
END_TEST

START_TEST(memory_fails)
{
    struct examples x;
    struct example c;
    int n = 0;

    for (open_examples(&x); next_example(&x.at, x.end, &c, x.tools) && n < 40; n++) {
        for (long k = 0;; k++) {
            const struct toolcall_event *ev;
            struct toolcall *p = NULL;
            struct err e = {0};
            int rc;
            bool hit;

            mem_fail_after(k);
            rc = toolcall_new(&p, &c.o, &e);
            if (rc == 0)
                rc = toolcall_feed(p, c.in, false, &ev, &e);
            if (rc >= 0)
                rc = toolcall_finish(p, &ev, &e);
            hit = mem_fail_hit();
            mem_fail_after(-1);
            toolcall_free(p);
            if (!hit)
                break;
            ck_assert_int_eq(rc, E_NOMEM);
            ck_assert_int_eq(e.code, E_NOMEM);
        }
    }
    close_examples(&x);
}
END_TEST

/* What could be read over and over, or held for ever, is neither. A second each would be too slow
 * for any of them by far. */
START_TEST(hostile)
{
    static const char *const runs[] = {"<tool_call>",
                                       "<tool_call>{\"a\":[\"",
                                       "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":[",
                                       "{\"name\":",
                                       "[f(a=[",
                                       "[",
                                       " ",
                                       "\n",
                                       "<",
                                       "```json\n{\"tool\":\"",
                                       "<think>",
                                       "</think>",
                                       "<function=f>\n<parameter=a>\n",
                                       "</parameter> ",
                                       "\xe2",
                                       "<|channel|>",
                                       "[TOOL_CALLS]",
                                       "<tool_call>f\n<arg_key>a</arg_key>",
                                       "\\",
                                       "{\"arguments\":\""};
    struct rng r = {11, 0};
    struct err e = {0};

    for (size_t i = 0; toolcall_at(i); i++) {
        for (size_t k = 0; k < ARRAY_LEN(runs); k++) {
            struct toolcall_opts o = {
                .format = toolcall_at(i), .reasoning = reasoning_find("think"), .hold = 4096};
            const struct toolcall_event *ev;
            struct buf b = {0};
            struct toolcall *p;
            size_t n = strlen(runs[k]), held = 0;

            ck_ok(toolcall_new(&p, &o, &e), &e);
            while (b.n < 20000)
                buf_add(&b, runs[k], n);
            for (size_t at = 0; at < b.n;) {
                size_t len = 1 + rng_next(&r) % 64;
                int got;

                len = len < b.n - at ? len : b.n - at;
                got = toolcall_feed(p, (struct slice){b.p + at, len}, false, &ev, &e);
                ck_assert_int_ge(got, 0);
                at += len;
                held = got ? 0 : held + len;
                if (held > 8192)
                    ck_abort_msg("%s: '%s' is held back", o.format->name, runs[k]);
            }
            ck_assert_int_ge(toolcall_finish(p, &ev, &e), 0);
            toolcall_free(p);
            buf_fini(&b);
        }
    }
}
END_TEST

START_TEST(nothing_after_the_end)
{
    struct toolcall_opts o = {0};
    const struct toolcall_event *ev;
    struct err e = {0};
    struct toolcall *p;

    ck_ok(toolcall_new(&p, &o, &e), &e);
    ck_assert_int_eq(toolcall_feed(p, SLICE("a "), false, &ev, &e), 1);
    ck_assert_int_eq(toolcall_finish(p, &ev, &e), 1);
    ck_assert_int_eq(toolcall_finish(p, &ev, &e), 0);
    ck_assert_int_eq(toolcall_feed(p, SLICE("b"), false, &ev, &e), 0);
    toolcall_free(p);
    toolcall_free(NULL);
}
END_TEST

START_TEST(instructions)
{
    json_t *tools = json_loads(TOOLS_JSON, 0, NULL);
    struct buf b = {0};
    struct err e = {0};

    ck_ok(toolcall_instructions(tools, &b, &e), &e);
    ck_assert_ptr_nonnull(strstr(b.p, "\"name\": \"get_weather\""));
    ck_assert_ptr_nonnull(strstr(b.p, "\n{\"name\": \"now\""));
    buf_fini(&b);
    json_decref(tools);
}
END_TEST

TEST_MAIN("text/toolcall", examples_whole, examples_cut_in_two, examples_cut_at_random,
          other_text_stays, written_and_read_back, detection, names, man_page, made_ids,
          whole_characters, arguments_stream, memory_fails, hostile, nothing_after_the_end,
          instructions)
