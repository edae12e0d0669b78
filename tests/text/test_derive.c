/* test_derive.c - formats that are derived from templates: of templates nobody has heard of, of the
 * released ones against the rows that the tables have for them, of hostile ones. */
#define _GNU_SOURCE // memmem
#include "tests/text/examples.h"

#include <time.h>

#include "base/mem.h"
#include "text/chat_in.h"
#include "text/constrain_tools.h"
#include "text/derive.h"

static struct chat *open_template(struct slice source)
{
    struct err e = {0};
    struct chat *c;

    ck_ok(chat_open(&c, "t", source, NULL, &e), &e);
    return c;
}

/* -- templates made up here -- */

#define TURNS(calls)                                                                               \
    "{% for m in messages %}{% if m.role == 'tool' %}[R]{{ m.content }}{% else %}"                 \
    "<{{ m.role }}> {{ m.content }}{% endif %}" calls "\n{% endfor %}"                             \
    "{% if tools %}{% endif %}{% if add_generation_prompt %}<assistant> {% endif %}"
#define EACH "{% for c in m.tool_calls %}{% set f = c.function %}"

static const char odd[] = TURNS("{% if m.tool_calls %}@@run@@" EACH
                                "call {{ f.name }} with {{ f.arguments | tojson }} done;"
                                "{% endfor %}"
                                "@@ok@@{% endif %}");
static const char object[] = TURNS("{% if m.tool_calls %}<|use|>[" EACH
                                   "{{ ', ' if not loop.first }}{\"id\": \"{{ c.id }}\", \"tool\": "
                                   "\"{{ f.name }}\", \"with\": {{ f.arguments | tojson }}}"
                                   "{% endfor %}]<|/use|>{% endif %}");
static const char tags[] =
    TURNS(EACH "\n<act>\n<do what=\"{{ f.name }}\">\n{% for k, v in f.arguments | items %}"
               "<with k=\"{{ k }}\">{{ v if v is string else v | tojson }}</with>\n{% endfor "
               "%}</do>\n</act>{% endfor %}");
static const char python[] = TURNS(
    "{% if m.tool_calls %}<|py|>[" EACH "{{ ', ' if not loop.first }}{{ f.name }}("
    "{% for k, v in f.arguments | items %}{{ ', ' if not loop.first }}{{ k }}="
    "{{ '\"' ~ v ~ '\"' if v is string else v }}{% endfor %}){% endfor %}]<|/py|>{% endif %}");
static const char braces[] = TURNS(
    EACH "<<tool>>call:{{ f.name }}{{ '{' }}{% for k, v in f.arguments | items %}"
         "{{ ',' if not loop.first }}{{ k }}:{{ '~~' ~ v ~ '~~' if v is string else v | tojson }}"
         "{% endfor %}{{ '}' }}<</tool>>{% endfor %}");
static const char with_id[] =
    TURNS(EACH "[CALL]{{ f.name }}[ID]{{ c.id }}[WITH]{{ f.arguments | tojson }}{% endfor %}");
static const char section[] =
    TURNS("{% if m.tool_calls %}<calls>\n" EACH "<call name={{ f.name }}>{{ f.arguments | tojson }}"
          "</call>\n{% endfor %}</calls>{% endif %}");
static const char counted[] = TURNS(
    "{% if m.tool_calls %}<|all|>" EACH "<|one|>functions.{{ f.name }}:{{ loop.index0 }}<|is|>"
    "{{ f.arguments | tojson }}<|end|>{% endfor %}<|/all|>{% endif %}");

static const struct {
    const char *name, *source;
    const char *text, *want; // an output and what is in it
} made[] = {
    {"odd", odd,
     "Well.\n@@run@@call get_weather with {\"city\": \"Oslo\", \"days\": 2} done;call now with {} "
     "done;@@ok@@",
     "text \"Well.\"\ncall get_weather {\"city\": \"Oslo\", \"days\": 2}\ncall now {}\n"},
    {"object", object,
     "<|use|>[{\"id\": \"x7\", \"tool\": \"get_weather\", \"with\": {\"days\": 3}}, {\"tool\": "
     "\"now\", \"with\": {}}]<|/use|>",
     "call get_weather #x7 {\"days\": 3}\ncall now {}\n"},
    {"tags", tags,
     "So:\n<act>\n<do what=\"get_weather\">\n<with k=\"city\">12</with>\n<with k=\"days\">12"
     "</with>\n</do>\n</act>\n<act><do what=\"now\"></do></act> Done <act>.",
     "text \"So:\"\ncall get_weather {\"city\": \"12\", \"days\": 12}\ncall now {}\n"
     "text \"Done <act>.\"\n"},
    {"python", python, "<|py|>[get_weather(city='Oslo', days=2), now()]<|/py|>",
     "call get_weather {\"city\": \"Oslo\", \"days\": 2}\ncall now {}\n"},
    {"braces", braces, "Hm <<tool>>call:get_weather{city:~~a \"b\"~~,tags:[~~x~~,1]}<</tool>>",
     "text \"Hm\"\ncall get_weather {\"city\": \"a \\\"b\\\"\", \"tags\": [\"x\", 1]}\n"},
    {"id", with_id, "[CALL]now[ID]abc123[WITH]{}[CALL]now[ID]d[WITH]{\"a\": [",
     "call now #abc123 {}\ncut now #d {\"a\": [\nerror\n"},
    {"section", section,
     "<calls>\n<call name=now>{}</call>\n<call name=get_weather>{\"days\": 1}</call>\n</calls>\nok",
     "call now {}\ncall get_weather {\"days\": 1}\ntext \"ok\"\n"},
    {"counted", counted, "<|all|><|one|>functions.now:0<|is|>{}<|end|><|/all|>",
     "call now #functions.now:0 {}\n"},
};

/* The output at once, and cut at every two places. */
START_TEST(made_up_formats)
{
    json_t *tools = json_loads(TOOLS_JSON, 0, NULL);

    for (size_t i = 0; i < ARRAY_LEN(made); i++) {
        struct chat *c = open_template(slice_of(made[i].source));
        struct toolcall_opts o = {.format = chat_calls(c), .tools = tools};
        struct slice in = slice_of(made[i].text);
        struct transcript t = {0};

        ck_assert_msg(o.format, "%s: %s", made[i].name, c->derived ? c->derived->why : "no rows");
        ck_assert_str_eq(o.format->name, "derived");
        for (size_t a = 0; a <= in.n; a++)
            for (size_t b = a; b <= in.n; b += 1 + in.n / 8) {
                const size_t at[2] = {a, b};

                ck_assert(transcript_of(&t, &o, in, at, 2, false));
                if (!slice_is(buf_view(&t.all), made[i].want))
                    ck_abort_msg("%s cut at %zu %zu\n%s\nwant\n%sgot\n%s", made[i].name, a, b,
                                 made[i].text, made[i].want, t.all.p);
            }
        transcript_fini(&t);
        chat_close(c);
    }
    json_decref(tools);
}
END_TEST

/* Arguments come as they are written. */
START_TEST(arguments_stream)
{
    static const char *const front[][2] = {
        {odd, "@@run@@call write_file with {\"content\": \""},
        {object, "<|use|>[{\"tool\": \"write_file\", \"with\": {\"content\": \""},
        {tags, "<act>\n<do what=\"write_file\">\n<with k=\"content\">"},
        {python, "<|py|>[write_file(content=\""},
        {braces, "<<tool>>call:write_file{content:~~"}};
    json_t *tools = json_loads(TOOLS_JSON, 0, NULL);

    for (size_t i = 0; i < ARRAY_LEN(front); i++) {
        struct chat *c = open_template(slice_of(front[i][0]));
        struct toolcall_opts o = {.format = chat_calls(c), .tools = tools};
        const struct toolcall_event *ev;
        struct toolcall *p;
        struct err e = {0};

        ck_ok(toolcall_new(&p, &o, &e), &e);
        ck_assert_int_ge(toolcall_feed(p, slice_of(front[i][1]), false, &ev, &e), 1);
        ck_assert_int_eq(ev[0].kind, TC_BEGIN);
        toolcall_feed(p, SLICE("y"), false, &ev, &e);
        for (int k = 0; k < 20; k++) {
            ck_assert_int_eq(toolcall_feed(p, SLICE("x"), false, &ev, &e), 1);
            ck_assert(ev[0].kind == TC_ARGS && slice_is(ev[0].text, "x"));
        }
        toolcall_free(p);
        chat_close(c);
    }
    json_decref(tools);
}
END_TEST

START_TEST(made_up_reasoning)
{
    static const struct {
        const char *source, *open, *close, *answer_open, *answer_close;
    } cases[] = {
        {"{% for m in messages %}<{{ m.role }}>{% if m.reasoning_content %}<<hm>>\n"
         "{{ m.reasoning_content }}\n<</hm>>\n\n{% endif %}{{ m.content }}{% endfor %}"
         "{% if add_generation_prompt %}<assistant>{% endif %}",
         "<<hm>>", "<</hm>>", NULL, NULL},
        {"{% for m in messages %}<{{ m.role }}>{% if m.thinking %}[MULL]{{ m.thinking }}[/MULL]"
         "<say>{% endif %}{{ m.content }}{% if m.thinking %}</say>{% endif %}<eot>{% endfor %}"
         "{% if add_generation_prompt %}<assistant>[MULL]{% endif %}",
         "[MULL]", "[/MULL]", "<say>", "</say>"},
        {"{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
         "{% if add_generation_prompt %}<assistant>{% if enable_thinking is false %}<mull>\n\n"
         "</mull>\n\n{% endif %}{% endif %}",
         "<mull>", "</mull>", NULL, NULL},
        {"{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
         "{% if add_generation_prompt %}<assistant><mull>{% if enable_thinking is false %}"
         "</mull>{% endif %}{% endif %}",
         "<mull>", "</mull>", NULL, NULL},
        {"{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{# no thinking #}", NULL,
         NULL, NULL, NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct chat *c = open_template(slice_of(cases[i].source));
        const struct reasoning *r = chat_reasoning(c);
        struct buf b = {0};

        if (!cases[i].open) {
            ck_assert_ptr_null(r);
            chat_close(c);
            continue;
        }
        ck_assert_msg(r, "%zu", i);
        ck_assert_str_eq(r->open, cases[i].open);
        ck_assert_str_eq(r->close, cases[i].close);
        ck_assert_pstr_eq(r->answer_open, cases[i].answer_open);
        ck_assert_pstr_eq(r->answer_close, cases[i].answer_close);
        ck_assert_ptr_nonnull(strstr(r->spent, cases[i].close)); // what is put in ends the block
        buf_printf(&b, "<user>u<assistant>%s\n", cases[i].open);
        ck_assert(reasoning_is_open(r, buf_view(&b)));
        ck_assert(!reasoning_is_open(r, SLICE("<user>u<assistant>")));
        buf_fini(&b);
        chat_close(c);
    }
}
END_TEST

/* -- released templates -- */

/* What is derived of the template, whatever the tables know; NULL: no such data. */
static struct chat *released(const char *name, struct derived *d,
                             const struct toolcall_format **row, const struct reasoning **marks)
{
    char path[200];
    struct file_view f;
    struct err e = {0};
    struct chat *c;
    struct slice s;

    memset(d, 0, sizeof *d);
    snprintf(path, sizeof path, "templates/%s.jinja", name);
    if (!testdata(path))
        return NULL;
    ck_ok(file_read(&f, testdata(path), 1 << 20, &e), &e);
    s = (struct slice){(const char *)f.p, f.n};
    c = open_template(s);
    *row = toolcall_detect(s);
    *marks = reasoning_detect(s);
    ck_ok(derive_reasoning(d, c, &e), &e);
    d->n_rendered = 0;
    ck_ok(derive_calls(d, c, &e), &e);
    file_unmap(&f);
    return c;
}

/* How many of the examples in the row's format the derived row reads alike. */
static int read_alike(const struct toolcall_format *row, const struct toolcall_format *derived,
                      int *of)
{
    struct examples x;
    struct example c;
    int n = 0;

    *of = 0;
    for (open_examples(&x); next_example(&x.at, x.end, &c, x.tools);) {
        if (c.o.format != row)
            continue;
        c.o.format = derived;
        ++*of;
        if (transcript_of(&x.t, &c.o, c.in, NULL, 0, c.control) &&
            slice_eq(buf_view(&x.t.all), c.want))
            n++;
    }
    close_examples(&x);
    return n;
}

/* What `writes` writes is, for `reads`, the same calls. */
static bool understands(const struct toolcall_format *reads, const struct toolcall_format *writes,
                        int n_calls)
{
    json_t *a = json_loads("{\"city\": \"Oslo\", \"days\": 2, \"tags\": [\"x\", true]}", 0, NULL);
    json_t *b = json_object(), *tools = json_loads(TOOLS_JSON, 0, NULL);
    const struct toolcall_call calls[2] = {{SLICE("abcdefghi"), SLICE("get_weather"), a},
                                           {SLICE("bcdefghij"), SLICE("now"), b}};
    struct toolcall_opts o = {.tools = tools};
    struct transcript got = {0}, want = {0};
    struct buf text = {0};
    bool same;

    ck_assert_int_eq(toolcall_write(writes, calls, (size_t)n_calls, &text, NULL), 0);
    o.format = writes;
    ck_assert(transcript_of(&want, &o, buf_view(&text), NULL, 0, false));
    o.format = reads;
    ck_assert(transcript_of(&got, &o, buf_view(&text), NULL, 0, false));
    same = slice_eq(buf_view(&got.all), buf_view(&want.all));
    buf_fini(&text);
    transcript_fini(&got);
    transcript_fini(&want);
    json_decref(a);
    json_decref(b);
    json_decref(tools);
    return same;
}

/* FULL: the derived row reads every example of the table's row as that one does, and each of the
 * two reads what the other writes. PART: calls alone, not all that models do beside (fences, other
 * marks, ids of their own). NONE: the template shows no calls, fails, or shows others than models
 * write (v2 to v7 escape quotes for HTML). */
enum how { NONE, PART, FULL };

START_TEST(released_templates)
{
    static const struct {
        const char *name;
        enum how calls;
        bool thinks;
    } want[] = {
        {"jinja/Apertus-8B-Instruct", FULL, false},
        {"jinja/ByteDance-Seed-OSS", FULL, true},
        {"jinja/CohereForAI-c4ai-command-r7b-12-2024-tool_use", FULL, true},
        {"jinja/GLM-4.6", FULL, true},
        {"jinja/GLM-4.7-Flash", FULL, true},
        {"jinja/HuggingFaceTB-SmolLM3-3B", NONE, true},
        {"jinja/Kimi-K2-Instruct", NONE, false}, // asks for what the sandbox forbids
        {"jinja/LFM2-8B-A1B", NONE, false},
        {"jinja/MiniMax-M2", FULL, true},
        {"jinja/Mistral-Small-3.2-24B-Instruct-2506", FULL, false},
        {"jinja/NVIDIA-Nemotron-Nano-v2", FULL, false},
        {"jinja/NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", FULL, false},
        {"jinja/NousResearch-Hermes-3-Llama-3.1-8B-tool_use", FULL, false},
        {"jinja/Qwen-QwQ-32B", FULL, true},
        {"jinja/Qwen-Qwen2.5-7B-Instruct", FULL, false},
        {"jinja/Qwen-Qwen3-0.6B", FULL, true},
        {"jinja/Qwen3-Coder", PART, false},
        {"jinja/deepseek-ai-DeepSeek-R1-Distill-Llama-8B", PART, false},
        {"jinja/deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", PART, true},
        {"jinja/deepseek-ai-DeepSeek-V3.1", FULL, true},
        {"jinja/fireworks-ai-llama-3-firefunction-v2", NONE, false},
        {"jinja/google-gemma-2-2b-it", NONE, false},
        {"jinja/ibm-granite-granite-3.3-2B-Instruct", NONE, false},
        {"jinja/llama-cpp-deepseek-r1", FULL, false},
        {"jinja/llama-cpp-rwkv-world", NONE, true},
        {"jinja/meetkai-functionary-medium-v3.1", FULL, false},
        {"jinja/meta-llama-Llama-3.1-8B-Instruct", PART, false},
        {"jinja/meta-llama-Llama-3.2-3B-Instruct", PART, false},
        {"jinja/meta-llama-Llama-3.3-70B-Instruct", PART, false},
        {"jinja/microsoft-Phi-3.5-mini-instruct", NONE, false},
        {"jinja/mistralai-Mistral-Nemo-Instruct-2407", FULL, false},
        {"jinja/openai-gpt-oss-120b", NONE, false}, // channels are no marks around calls
        {"jinja/unsloth-mistral-Devstral-Small-2507", PART, false},
        {"mistral-common/v1_spm", NONE, false},
        {"mistral-common/v2", NONE, false},
        {"mistral-common/v3", NONE, false},
        {"mistral-common/v3_spm", NONE, false},
        {"mistral-common/v7", NONE, false},
        {"mistral-common/v11", FULL, false},
        {"mistral-common/v13", PART, false},
        {"mistral-common/v13_think", PART, true},
    };

    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        const struct toolcall_format *row;
        const struct reasoning *marks;
        struct derived d;
        struct chat *c = released(want[i].name, &d, &row, &marks);
        enum how how = d.calls ? PART : NONE;
        int of = 0;

        if (!c)
            return;
        ck_assert_int_lt(d.n_rendered, DERIVE_RENDERINGS);
        if (d.calls && read_alike(row, &d.format, &of) == of &&
            understands(&d.format, row, 1 + d.parallel) &&
            understands(row, &d.format, 1 + d.parallel))
            how = FULL;
        ck_assert_msg(how == want[i].calls, "%s: %d: %s", want[i].name, how, d.why ? d.why : "");
        ck_assert_msg(d.thinks == want[i].thinks, "%s", want[i].name);
        if (d.thinks) {
            ck_assert_ptr_nonnull(marks);
            ck_assert_str_eq(d.reasoning.open, marks->open);
            ck_assert_str_eq(d.reasoning.close, marks->close);
        }
        /* the rows of the tables go first */
        ck_assert_ptr_eq(chat_calls(c), row);
        ck_assert_ptr_eq(chat_reasoning(c), marks);
        derived_fini(&d);
        chat_close(c);
    }
}
END_TEST

/* -- hostile templates -- */

START_TEST(hostile)
{
    static const char *const sources[] = {
        /* names in the wrong place, or everywhere */
        TURNS(EACH "<a>{{ f.arguments | tojson }}{{ f.name }}</a>{% endfor %}"),
        TURNS(EACH "{{ f.name * 1000 }}({{ f.arguments | tojson }}){% endfor %}"),
        TURNS(EACH "<{{ f.name }}>{{ f.arguments | tojson }}</{{ f.name }}>{% endfor %}"),
        "{{ messages | tojson }}{# tool_calls reasoning #}",
        "{{ messages }}{{ messages }}{# tool_calls reasoning #}",
        TURNS(EACH "[{{ f.name }}]{{ f.arguments }}{% endfor %}"),
        /* 1 MB, 1 GB, for ever */
        TURNS(EACH "<a>{{ f.name }}{{ 'x' * 1000000 }}{{ f.arguments | tojson }}{% endfor %}"),
        TURNS(EACH "<a>{{ f.name }}{% for i in range(100000) %}{% for j in range(100000) %}y"
                   "{% endfor %}{% endfor %}{{ f.arguments | tojson }}{% endfor %}"),
        TURNS("{% for i in range(1000000000) %}{{ i }}{% endfor %}" EACH
              "{{ f.name }}{% endfor %}"),
        /* it fails when looked at */
        TURNS(EACH "{{ raise_exception('tool_calls') }}{% endfor %}"),
        TURNS(EACH "<a>{{ f.name }}{{ f.arguments.qzkone.x.y }}{% endfor %}"),
        /* what is looked for, spelt */
        TURNS("qzalpha qzkone" EACH "<a>{{ f.name }} {{ f.arguments | tojson }}</a>{% endfor %}"),
        /* nothing marks the call */
        TURNS(EACH "{{ f.name }} {{ f.arguments | tojson }}{% endfor %}"),
        TURNS(EACH "{{ f.name }}{% for k, v in f.arguments | items %}{{ k }}{{ v }}{% endfor %}"
                   "{% endfor %}"),
        /* layouts' own signs; NUL */
        TURNS(EACH "<%i>{{ f.name }}<%d>{{ f.arguments | tojson }}</a>{% endfor %}"),
        TURNS(EACH "<a>{{ f.name }}{{ '\\x00' }}{{ f.arguments | tojson }}</a>{% endfor %}"),
        /* each call another way */
        TURNS(EACH "<{{ loop.index * 7 }}>{{ f.name }} {{ f.arguments | tojson }}</a>{% endfor %}"),
        TURNS("{% if m.tool_calls %}" EACH "<a>{{ f.name }}>{{ f.arguments | tojson }}"
              "{{ '</a>' if loop.first else '</b>' }}{% endfor %}{% endif %}")};
    clock_t from = clock();

    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        struct chat *c = open_template(slice_of(sources[i]));

        if (chat_calls(c))
            ck_abort_msg("%s\nderived as '%s' '%s' '%s' '%s'", sources[i],
                         chat_calls(c)->form.begin, chat_calls(c)->form.open,
                         chat_calls(c)->form.mid, chat_calls(c)->form.close);
        ck_assert_ptr_null(chat_reasoning(c));
        chat_close(c);
    }
    ck_assert_int_lt((clock() - from) * 10 / CLOCKS_PER_SEC, 40); // 18 templates, 4 s at the worst
}
END_TEST

/* Every allocation fails once: an error, or a template of which nothing was found; no leak. */
START_TEST(memory_fails)
{
    static const char *const sources[] = {odd, tags};

    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        struct chat *c = open_template(slice_of(sources[i]));

        for (long k = 0;; k++) {
            struct derived d = {0};
            struct err e = {0};
            bool hit;
            int rc;

            mem_fail_after(k);
            rc = derive_calls(&d, c, &e);
            hit = mem_fail_hit();
            mem_fail_after(-1);
            if (hit) {
                ck_assert_msg(rc == E_NOMEM, "%ld %s", k, d.why ? d.why : "");
                ck_assert_int_eq(e.code, E_NOMEM);
                ck_assert(!d.calls);
            } else {
                ck_assert(rc == 0 && d.calls);
            }
            derived_fini(&d);
            if (!hit)
                break;
        }
        chat_close(c);
    }
}
END_TEST

TEST_MAIN("text/derive", made_up_formats, arguments_stream, made_up_reasoning, released_templates,
          hostile, memory_fails)
