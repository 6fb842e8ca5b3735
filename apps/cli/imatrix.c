/* imatrix: collecting, merging and looking at importance. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

static double number(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

static void print_row(const json_t *s)
{
    const json_t *similarity = json_object_get(s, "similarity"), *top = json_object_get(s, "top_columns"), *column;
    size_t i;
    printf("%-32s %8lld %11.4g %11.4g %7.2f %8.2f %6.2f ", json_string_value(json_object_get(s, "tensor")),
           (long long)json_integer_value(json_object_get(s, "n")), number(s, "sum"), number(s, "max"),
           number(s, "active") * 100, number(s, "entropy"), number(s, "z_share") * 100);
    if (json_is_null(similarity))
        printf("%9s ", "-");
    else
        printf("%9.4f ", json_number_value(similarity));
    json_array_foreach(top, i, column) printf(" %lld", (long long)json_integer_value(column));
    putchar('\n');
}

static void print_statistics(const json_t *report)
{
    const json_t *s;
    size_t i;
    printf("%-32s %8s %11s %11s %7s %8s %6s %9s  %s\n", "tensor", "columns", "sum", "max", "active%", "entropy", "ZD%",
           "similar", "largest columns");
    json_array_foreach(json_object_get(report, "statistics"), i, s) print_row(s);
}

static void print_report(const json_t *r)
{
    const char *path = json_string_value(json_object_get(r, "path"));
    long long tokens = json_integer_value(json_object_get(r, "tokens"));
    printf("%lld tensors, %lld chunks of %lld tokens", (long long)json_integer_value(json_object_get(r, "entries")),
           (long long)json_integer_value(json_object_get(r, "chunks")),
           (long long)json_integer_value(json_object_get(r, "ctx")));
    if (tokens) printf(", in %.1f s (%.0f tokens/s)", number(r, "seconds"), number(r, "tokens_per_second"));
    printf("%s%s\n", path ? ": " : "", path ? path : "");
    const json_t *l = json_object_get(r, "layers");
    if (l)
        printf("layers: %.0f hits, %.0f misses; %.0f read, %.0f MB\n", number(l, "hits"), number(l, "misses"),
               number(l, "reads"), number(l, "bytes_read") / 1e6);
}

static void show(const char *text, bool json, bool statistics)
{
    if (json) {
        puts(text);
        return;
    }
    json_t *report = json_loads(text, 0, NULL);
    if (statistics) print_statistics(report);
    print_report(report);
    json_decref(report);
}

static bool asks_for(int argc, char **argv, const char *flag)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], flag) == 0) return true;
    return false;
}

int run_imatrix(const struct command *c, int argc, char **argv)
{
    struct ht_job *job;
    struct arguments args = {0};
    struct ht_diag diag = {0};
    char *text = NULL;
    if (ht_job_open(&job) != HT_OK) return EXIT_RESOURCES;
    int status = parse_job_arguments(c, argc, argv, job, &args);
    if (args.help) {
        print_help(c);
    } else if (status == EXIT_DONE) {
        watch_job(job, args.json, args.quiet);
        enum ht_err err = ht_job_imatrix(job, &text, &diag);
        progress_done();
        if (err == HT_OK)
            show(text, args.json, asks_for(argc, argv, "--statistics"));
        else
            status = report_error(c, err, &diag, args.json);
        ht_free(text);
    }
    ht_job_close(&job);
    return status;
}
