/* gpu_model.c - gpu_model SHAPE:TYPE FILE: a model of random weights, made once for all that
 * gpu-check measures on it. Part of make gpu-kit.
 */
#include <stdio.h>
#include <string.h>

#include "model/random.h"

int main(int argc, char **argv)
{
    char shape[128];
    struct random_model m = {.shape = shape};
    struct err e = {0};
    char *type;

    if (argc != 3 || snprintf(shape, sizeof shape, "%s", argv[1]) >= (int)sizeof shape ||
        !(type = strrchr(shape, ':'))) {
        fprintf(stderr, "usage: gpu_model SHAPE:TYPE FILE\n");
        return 2;
    }
    *type++ = 0;
    m.type = type;
    if (random_model_write(argv[2], &m, &e) == 0)
        return 0;
    fprintf(stderr, "gpu_model: %s\n", e.text);
    return 4;
}
