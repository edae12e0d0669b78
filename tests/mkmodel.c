/* mkmodel.c - writes a random model of a real shape as a GGUF file (model/random.h), or one that
 * says what a script tells it to.
 *
 * A script is lines of JSON lists of strings: the tokens of the vocabulary, each followed by the
 * next one of its list whenever it is the last of a text; the last of a list by the end token. One
 * that looks like <|this|> is a control token. So a chat template that ends a prompt with the first
 * token of a list has the model answer with the rest of it. A token that stands in two lists goes
 * on as in the first.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "file/gguf.h"
#include "model/random.h"
#include "quant/quant.h"
#include "tools/lib/tool.h"

enum { FIRST = 259, MOST = 4096, CTX = 1 << 20 }; // <unk> <s> </s>, the bytes, then the script's

static struct random_model model = {.stop = tool_interrupted};
static const char *out_path, *script_path;
static bool list;

static const struct tool_option opts[] = {
    {0, "shape", OPT_STR, &model.shape, "SHAPE",
     "a name in any case, or dim=N,layers=N,... (see --list)", .def = "tiny"},
    {0, "type", OPT_STR, &model.type, "TYPE", "format of the matrices", .def = "Q4_0"},
    {0, "embd-type", OPT_STR, &model.embd_type, "TYPE",
     "format of embedding and output, if another"},
    {0, "arch", OPT_STR, &model.arch, "NAME", "llama or qwen3, if not the shape's own"},
    {'o', "output", OPT_STR, &out_path, "FILE", "the file to write (-: stdout)"},
    {0, "seed", OPT_U64, &model.seed, "N", "another random model", .max = -1},
    {0, "script", OPT_STR, &script_path, "FILE", "a model that says what FILE has"},
    {0, "list", OPT_FLAG, &list, 0, "print the named shapes"},
    {0}};

static struct tool tool = {"mkmodel", "[--shape SHAPE] [--type TYPE] [--script FILE] -o FILE",
                           "writes a random or a scripted model", opts, 0};

/* -- models that say what they are told -- */

struct script {
    json_t *piece; // name: {"id", "next"}
    const char *name[MOST];
    int next[MOST];
    int n; // tokens, those in front of the script's included
};

static int token_of(struct script *s, const char *piece)
{
    json_t *id = json_object_get(s->piece, piece);

    if (id)
        return (int)json_integer_value(id);
    if (s->n == MOST)
        return -1;
    json_object_set_new(s->piece, piece, json_integer(s->n));
    s->name[s->n] = json_object_iter_key(json_object_iter_at(s->piece, piece));
    s->next[s->n] = 0;
    return s->n++;
}

static int script_line(struct script *s, const json_t *list)
{
    int before = -1;

    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *piece = json_string_value(json_array_get(list, i));
        int id = piece && *piece ? token_of(s, piece) : -1;

        if (id < 0)
            return -1;
        if (before >= 0 && s->next[before] == 0)
            s->next[before] = id;
        before = id;
    }
    if (before >= 0 && s->next[before] == 0)
        s->next[before] = 2;
    return before < 0 ? -1 : 0;
}

static int script_read(struct script *s, struct err *e)
{
    FILE *f = fopen(script_path, "r");
    char line[65536];
    int rc = f ? 0 : err_set(e, E_NOTFOUND, "%s: cannot be read", script_path);

    for (int i = 0; i < FIRST; i++)
        s->next[i] = 2;
    s->n = FIRST;
    s->piece = json_object();
    for (int number = 1; rc == 0 && fgets(line, sizeof line, f); number++) {
        json_t *list = json_loads(line, 0, NULL);

        if (script_line(s, list) < 0)
            rc = err_set(e, E_FORMAT, "%s:%d: no list of strings", script_path, number);
        json_decref(list);
    }
    if (f)
        fclose(f);
    return rc;
}

static void script_vocab(const struct script *s, struct gguf_out *w)
{
    static struct slice piece[MOST];
    static float score[MOST];
    static int32_t kind[MOST];
    static char byte[256][8];

    piece[0] = SLICE("<unk>");
    piece[1] = SLICE("<s>");
    piece[2] = SLICE("</s>");
    kind[0] = 2;
    kind[1] = kind[2] = 3;
    for (int i = 0; i < 256; i++) {
        snprintf(byte[i], sizeof byte[i], "<0x%02X>", i);
        piece[3 + i] = slice_of(byte[i]);
        kind[3 + i] = 6;
    }
    for (int i = FIRST; i < s->n; i++) {
        piece[i] = slice_of(s->name[i]);
        kind[i] = slice_starts(piece[i], SLICE("<|")) && strstr(piece[i].p, "|>") ? 3 : 1;
        score[i] = -(float)i;
    }
    gguf_put_str(w, "tokenizer.ggml.model", SLICE("llama"));
    gguf_put_strs(w, "tokenizer.ggml.tokens", piece, (uint64_t)s->n);
    gguf_put_array(w, "tokenizer.ggml.scores", GGUF_F32, score, (uint64_t)s->n);
    gguf_put_array(w, "tokenizer.ggml.token_type", GGUF_I32, kind, (uint64_t)s->n);
    gguf_put_u32(w, "tokenizer.ggml.bos_token_id", 1);
    gguf_put_u32(w, "tokenizer.ggml.eos_token_id", 2);
    gguf_put_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    gguf_put_bool(w, "tokenizer.ggml.add_bos_token", false);
    gguf_put_bool(w, "tokenizer.ggml.add_space_prefix", false);
}

static void script_keys(struct gguf_out *w, uint32_t dim)
{
    gguf_put_str(w, "general.architecture", SLICE("llama"));
    gguf_put_str(w, "general.name", SLICE("script"));
    gguf_put_u32(w, "llama.block_count", 1);
    gguf_put_u32(w, "llama.context_length", CTX);
    gguf_put_u32(w, "llama.embedding_length", dim);
    gguf_put_u32(w, "llama.feed_forward_length", 32);
    gguf_put_u32(w, "llama.attention.head_count", dim / 32);
    gguf_put_u32(w, "llama.attention.head_count_kv", 1);
    gguf_put_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5F);
    gguf_put_u32(w, "llama.rope.dimension_count", 32);
}

/* A token of the script is a column of its own, all others are column 0; what the column's token is
 * followed by has the one large number of the output's column. Attention and feed-forward are 0. */
static int script_tensors(const struct script *s, struct gguf_out *w, uint32_t dim, struct err *e)
{
    const uint64_t d = dim, v = (uint64_t)s->n;
    const struct {
        const char *name;
        uint64_t cols, rows;
    } t[] = {{"token_embd.weight", d, v},        {"output.weight", d, v},
             {"output_norm.weight", d, 0},       {"blk.0.attn_norm.weight", d, 0},
             {"blk.0.ffn_norm.weight", d, 0},    {"blk.0.attn_q.weight", d, d},
             {"blk.0.attn_k.weight", d, 32},     {"blk.0.attn_v.weight", d, 32},
             {"blk.0.attn_output.weight", d, d}, {"blk.0.ffn_gate.weight", d, 32},
             {"blk.0.ffn_up.weight", d, 32},     {"blk.0.ffn_down.weight", 32, d}};
    int rc;

    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        const uint64_t ne[2] = {t[i].cols, t[i].rows};

        gguf_put_tensor(w, slice_of(t[i].name), FMT_F32, t[i].rows ? 2 : 1, ne);
    }
    rc = gguf_begin(w, e);
    for (size_t i = 0; i < ARRAY_LEN(t) && rc == 0; i++) {
        const uint64_t rows = t[i].rows ? t[i].rows : 1;
        float *m = mem_array(t[i].cols * rows, sizeof *m, e);

        if (!m)
            return E_NOMEM;
        memset(m, 0, t[i].cols * rows * sizeof *m);
        for (uint64_t k = 0; k < t[i].cols && t[i].rows == 0; k++)
            m[k] = 1;
        for (uint64_t k = 0; k < v && i < 2; k++) {
            const uint64_t col = k < FIRST ? 0 : k - FIRST + 1;

            m[(i ? (uint64_t)s->next[k] : k) * d + col] = i ? 10 : 1;
        }
        rc = gguf_data(w, m, t[i].cols * rows * sizeof *m, e);
        mem_free(m);
    }
    return rc;
}

static int script_write(struct err *e)
{
    static struct script s;
    struct gguf_out *w = NULL;
    int rc = script_read(&s, e);
    uint32_t dim = ((uint32_t)(s.n - FIRST) / 32 + 1) * 32;

    if (rc == 0 && (rc = gguf_create(&w, out_path, 0, e)) == 0) {
        script_keys(w, dim);
        script_vocab(&s, w);
        if ((rc = script_tensors(&s, w, dim, e)) == 0)
            rc = gguf_finish(w, e);
        else
            gguf_abort(w);
    }
    json_decref(s.piece);
    return rc;
}

int main(int argc, char **argv)
{
    struct err e = {0};
    char line[160];

    if (tool_begin(&tool, argc, argv) != argc)
        tool_usage("no operands are taken");
    for (size_t i = 0; list && random_shape(i, line, sizeof line); i++)
        puts(line);
    if (list)
        return tool_end(0);
    if (!out_path)
        tool_usage("-o FILE is missing");
    if (script_path)
        return tool_end(script_write(&e) < 0 ? tool_fail(&e) : 0);
    return tool_end(random_model_write(out_path, &model, &e) < 0 ? tool_fail(&e) : 0);
}
