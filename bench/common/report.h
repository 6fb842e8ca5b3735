/*
 * What every benchmark begins and ends with: a line that names the machine, and with --json FILE its rows as JSON.
 *
 *     bench_begin("bench_x", &argc, argv);
 *     BENCH_ROW({"type", .text = "q4_k"}, {"gbs", .number = 12.5});
 *     return bench_end();
 */
#ifndef HT_BENCH_REPORT_H
#define HT_BENCH_REPORT_H

#include "machine.h"

struct bench_value {
    const char *name; /* NULL ends a row */
    const char *text; /* or NULL: the number */
    double number;
};

/* Takes "--json FILE" out of the arguments. Ends the program where FILE cannot be written. */
const struct machine *bench_begin(const char *name, int *argc, char **argv);
void bench_row(const struct bench_value *values);
#define BENCH_ROW(...) bench_row((const struct bench_value[]){__VA_ARGS__, {0}})
/* An exit status. */
int bench_end(void);

#endif
