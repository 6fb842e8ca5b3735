/* Plots as inline SVG: points or lines over two axes, readable by eye, keyboard and screen reader. */
#ifndef HT_EVAL_PLOT_H
#define HT_EVAL_PLOT_H

#include "base/buf.h"

struct ht__series {
    const char *name; /* plain text */
    const double *x, *y;
    size_t n;
    bool points; /* each by itself; otherwise a line */
    bool marked; /* points: ringed */
    int colour;  /* class "c<colour>" of the page's style */
};

struct ht__plot {
    const char *title, *x_label, *y_label; /* plain text */
    bool log_x, log_y;                     /* decades; values that are not positive are left out */
    const struct ht__series *series;
    size_t n;
};

void ht__plot_put(const struct ht__plot *plot, struct ht__buf *out);
/* Text with &, <, > and quotes escaped. */
void ht__html_text(struct ht__buf *out, const char *text);

#endif
