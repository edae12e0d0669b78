/* figures.h - measurements on their way out: as JSON, separated values or Markdown; compared with
 * those of an earlier run; drawn as bars.
 */
#ifndef RILL_TOOLS_FIGURES_H
#define RILL_TOOLS_FIGURES_H

#include <stdbool.h>

#include "base/err.h"

enum figures_form { FIGURES_TABLE, FIGURES_JSON, FIGURES_TSV, FIGURES_CSV, FIGURES_MARKDOWN };

/* One named figure of a measurement: its text, and whether that is words or a number. */
struct figure {
    const char *name;
    char text[64];
    bool words;
};
void figure_words(struct figure *f, const char *name, const char *text);
void figure_set(struct figure *f, const char *name, int decimals, double v);

/* Prints one measurement in any form but FIGURES_TABLE; head: the names before it, where the form
 * has such a line. */
void figures_print(enum figures_form form, const struct figure *f, int n, bool head);

/* -- an earlier run -- */

struct baseline;
/* Reads the JSON lines that rill-bench -j printed. */
int baseline_open(struct baseline **out, const char *path, struct err *e);
void baseline_close(struct baseline *b); // accepts NULL
/* tok_s of the measurement whose first n figures are the same; 0 when there is none. */
double baseline_find(const struct baseline *b, const struct figure *f, int n);

/* -- bars -- */

struct plot;
int plot_open(struct plot **out, struct err *e);
void plot_close(struct plot *p); // accepts NULL
/* note stands behind the bar: "123.4 tokens/s, 93 %". */
void plot_add(struct plot *p, const char *label, const char *note, double v);
/* What follows has a scale of its own. */
void plot_group(struct plot *p);
int plot_write(const struct plot *p, const char *title, const char *path, struct err *e);

#endif
