/* mkmodel.c - writes a random model of a real shape as a GGUF file (model/random.h). */
#include <stdio.h>

#include "model/random.h"
#include "tools/lib/tool.h"

static struct random_model model = {.stop = tool_interrupted};
static const char *out_path;
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
    {0, "list", OPT_FLAG, &list, 0, "print the named shapes"},
    {0}};

static struct tool tool = {"mkmodel", "[--shape SHAPE] [--type TYPE] -o FILE",
                           "writes a random model", opts, 0};

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
    return tool_end(random_model_write(out_path, &model, &e) < 0 ? tool_fail(&e) : 0);
}
