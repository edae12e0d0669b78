/* othersampler.c - a sampler that is not ours, for tests of --logits-fd and --bias-fd: othersampler
 * reads rows from standard input, and for each writes what makes the second likeliest token the one
 * that is drawn to standard output, its id to the file named.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static void put(const void *p, size_t n)
{
    if (fwrite(p, 1, n, stdout) != n)
        exit(1);
}

int main(int argc, char **argv)
{
    FILE *chosen = argc == 2 ? fopen(argv[1], "w") : NULL;
    int32_t head[4]; // answer, position, -1, how many
    float *row = NULL;
    int n = 0;

    if (!chosen)
        return 2;
    while (fread(head, sizeof head, 1, stdin) == 1) {
        const float add = 1000;
        const uint32_t one = 1;
        int32_t best = 0, second = -1;

        row = realloc(row, (size_t)head[3] * sizeof *row);
        if (!row || head[2] != -1 ||
            fread(row, sizeof *row, (size_t)head[3], stdin) != (size_t)head[3])
            return 1;
        for (int32_t i = 1; i < head[3]; i++) {
            if (row[i] > row[best]) {
                second = best;
                best = i;
            } else if (second < 0 || row[i] > row[second]) {
                second = i;
            }
        }
        put(&one, 4);
        put(&second, 4);
        put(&add, 4);
        fflush(stdout);
        fprintf(chosen, n++ ? " %d" : "%d", second);
    }
    fputc('\n', chosen);
    free(row);
    return fclose(chosen) != 0;
}
