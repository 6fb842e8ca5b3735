#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    FILE *file; /* or NULL: no JSON is wanted */
    const char *path;
    struct ht__buf buf;
    struct ht__jw w;
    struct machine machine;
} report;

/* At once: not after minutes of measuring. */
static void open_file(const char *path)
{
    report.path = path;
    report.file = fopen(path, "w");
    if (!report.file) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(2);
    }
}

static void take_options(int *argc, char **argv)
{
    for (int i = 1; i + 1 < *argc; i++) {
        if (strcmp(argv[i], "--json") != 0) continue;
        open_file(argv[i + 1]);
        memmove(argv + i, argv + i + 2, (size_t)(*argc - i - 1) * sizeof *argv); /* with the NULL at the end */
        *argc -= 2;
        return;
    }
}

const struct machine *bench_begin(const char *name, int *argc, char **argv)
{
    take_options(argc, argv);
    machine_measure(&report.machine);
    machine_print(&report.machine);
    ht__buf_init(&report.buf, NULL);
    report.w = ht__jw_indented(&report.buf);
    ht__jw_object(&report.w, NULL);
    ht__jw_str(&report.w, "bench", name);
    machine_put(&report.machine, &report.w);
    ht__jw_array(&report.w, "rows");
    return &report.machine;
}

void bench_row(const struct bench_value *values)
{
    ht__jw_object(&report.w, NULL);
    for (; values->name; values++)
        if (values->text)
            ht__jw_str(&report.w, values->name, values->text);
        else
            ht__jw_digits(&report.w, values->name, values->number, 6);
    ht__jw_end(&report.w);
}

int bench_end(void)
{
    ht__jw_end(&report.w);
    ht__jw_end(&report.w);
    bool good = ht__jw_done(&report.w);
    if (report.file) {
        good = good && fwrite(report.buf.data, 1, report.buf.len, report.file) == report.buf.len &&
               fputc('\n', report.file) != EOF;
        good = fclose(report.file) == 0 && good;
        if (!good) fprintf(stderr, "%s: not written\n", report.path);
    }
    ht__buf_close(&report.buf);
    return good ? 0 : 1;
}
