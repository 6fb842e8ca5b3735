/* imatrix: collecting, merging and looking at importance. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

static void print_row(const json_t *s)
{
    const json_t *similarity = json_object_get(s, "similarity"), *top = json_object_get(s, "top_columns"), *column;
    size_t i;
    print_safe(text_of(s, "tensor"), 32);
    printf(" %8lld %11.4g %11.4g %7.2f %8.2f %6.2f ", (long long)json_integer_value(json_object_get(s, "n")),
           number_of(s, "sum"), number_of(s, "max"), number_of(s, "active") * 100, number_of(s, "entropy"),
           number_of(s, "z_share") * 100);
    if (json_is_null(similarity))
        printf("%9s ", "-");
    else
        printf("%9.4f ", json_number_value(similarity));
    json_array_foreach(top, i, column)
        printf(" %lld", (long long)json_integer_value(column));
    putchar('\n');
}

static void print_statistics(const json_t *report)
{
    const json_t *s;
    size_t i;
    printf("%-32s %8s %11s %11s %7s %8s %6s %9s  %s\n", "tensor", "columns", "sum", "max", "active%", "entropy", "ZD%",
           "similar", "largest columns");
    json_array_foreach(json_object_get(report, "statistics"), i, s)
        print_row(s);
}

static void print_report(const json_t *r)
{
    const char *path = json_string_value(json_object_get(r, "path"));
    long long tokens = json_integer_value(json_object_get(r, "tokens"));
    printf("%lld tensors, %lld chunks of %lld tokens", (long long)json_integer_value(json_object_get(r, "entries")),
           (long long)json_integer_value(json_object_get(r, "chunks")),
           (long long)json_integer_value(json_object_get(r, "ctx")));
    if (tokens) printf(", in %.1f s (%.0f tokens/s)", number_of(r, "seconds"), number_of(r, "tokens_per_second"));
    if (path) printf(": "), print_safe(path, 0);
    putchar('\n');
    const json_t *l = json_object_get(r, "layers");
    if (l)
        printf("layers: %.0f hits, %.0f misses; %.0f read, %.0f MB\n", number_of(l, "hits"), number_of(l, "misses"),
               number_of(l, "reads"), number_of(l, "bytes_read") / 1e6);
}

static void show(const struct command *c, const json_t *report, const struct arguments *args)
{
    (void)c, (void)args;
    if (json_array_size(json_object_get(report, "statistics"))) print_statistics(report);
    print_report(report);
}

static enum ht_err run(struct ht_job *job, const struct command *c, const struct arguments *args, char **json,
                       struct ht_diag *diag)
{
    (void)c, (void)args;
    return ht_job_imatrix(job, json, diag);
}

int run_imatrix(const struct command *c, int argc, char **argv)
{
    static const struct job_verb verb = {.run = run, .show = show};
    return run_job(c, argc, argv, &verb);
}
