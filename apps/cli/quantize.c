/* quantize and convert. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_output(const json_t *o, bool ran)
{
    char size[32];
    printf("%-11s %10s %7.3f", json_string_value(json_object_get(o, "type")),
           human_bytes((double)json_integer_value(json_object_get(o, "size_bytes")), size),
           json_real_value(json_object_get(o, "bpw")));
    const json_t *quality = json_object_get(o, "quality");
    if (ran) printf(" %9.5f", json_number_value(json_object_get(o, "relative_rmse")));
    if (quality)
        printf(" %10.4f %9.6f %7.2f", json_number_value(json_object_get(quality, "perplexity")),
               json_number_value(json_object_get(json_object_get(quality, "kld"), "mean")),
               100 * json_number_value(json_object_get(quality, "top1_agreement")));
    printf("  %s\n", json_string_value(json_object_get(o, "path")));
}

/* Sizes, bits per weight, error and time. */
static void print_report(const json_t *report, bool ran)
{
    const json_t *outputs = json_object_get(report, "outputs"), *o;
    size_t i;
    bool quality = json_object_get(json_array_get(outputs, 0), "quality") != NULL;
    printf("%-11s %10s %7s%s%s  %s\n", "type", "size", "bpw", ran ? "  rel.err." : "", quality ? " perplexity   KL mean  same %" : "", "file");
    json_array_foreach(outputs, i, o) print_output(o, ran);
    if (ran)
        printf("%.1f M weights in %.2f s (%.1f M/s), peak memory %.0f MB\n",
               (double)json_integer_value(json_object_get(json_object_get(report, "source"), "parameters")) / 1e6,
               json_number_value(json_object_get(report, "seconds")),
               json_number_value(json_object_get(report, "weights_per_second")) / 1e6,
               (double)json_integer_value(json_object_get(report, "peak_rss_bytes")) / 1e6);
}

static void print_types(const json_t *report)
{
    const json_t *outputs = json_object_get(report, "outputs"), *o, *t;
    size_t i, j;
    json_array_foreach(outputs, i, o) {
        printf("\n%s\n", json_string_value(json_object_get(o, "type")));
        json_array_foreach(json_object_get(o, "tensors"), j, t)
            printf("  %-40s %s\n", json_string_value(json_object_get(t, "name")),
                   json_string_value(json_object_get(t, "type")));
    }
}

static int show(char *text, const struct arguments *args, bool ran)
{
    json_error_t fault;
    if (args->json) {
        puts(text);
    } else {
        json_t *report = json_loads(text, 0, &fault);
        print_report(report, ran);
        if (!ran) print_types(report);
        json_decref(report);
    }
    ht_free(text);
    return EXIT_DONE;
}

int run_quantize(const struct command *c, int argc, char **argv)
{
    struct ht_job *job;
    struct arguments args = {0};
    struct ht_diag diag = {0};
    char *text = NULL;
    if (ht_job_open(&job) != HT_OK) return EXIT_RESOURCES;
    ht_job_set(job, "verb", c->name, NULL);
    int status = parse_job_arguments(c, argc, argv, job, &args);
    if (args.help) {
        print_help(c);
    } else if (status == EXIT_DONE) {
        watch_job(job, args.json, args.quiet);
        enum ht_err err = args.dry_run ? ht_job_estimate(job, &text, &diag) : ht_job_run(job, &text, &diag);
        progress_done();
        status = err == HT_OK ? show(text, &args, !args.dry_run) : report_error(c, err, &diag, args.json);
    }
    ht_job_close(&job);
    return status;
}
