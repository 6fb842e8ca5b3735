/* quantize and convert. */
#include "ollama.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    printf("  ");
    print_safe(text_of(o, "path"), 0);
    putchar('\n');
}

/* Sizes, bits per weight, error and time. */
static void print_report(const json_t *report, bool ran)
{
    const json_t *outputs = json_object_get(report, "outputs"), *o;
    size_t i;
    bool quality = json_object_get(json_array_get(outputs, 0), "quality") != NULL;
    printf("%-11s %10s %7s%s%s  %s\n", "type", "size", "bpw", ran ? "  rel.err." : "",
           quality ? " perplexity   KL mean  same %" : "", "file");
    json_array_foreach(outputs, i, o)
        print_output(o, ran);
    if (ran)
        printf("%.1f M weights in %.2f s (%.1f M/s), peak memory %.0f MB\n",
               (double)json_integer_value(json_object_get(json_object_get(report, "source"), "parameters")) / 1e6,
               json_number_value(json_object_get(report, "seconds")),
               json_number_value(json_object_get(report, "weights_per_second")) / 1e6,
               (double)json_integer_value(json_object_get(report, "peak_rss_bytes")) / 1e6);
}

/* Size against loss, and what was taken. */
static void print_budget(const json_t *report)
{
    const json_t *b = json_object_get(report, "budget"), *point;
    const json_t *named = json_object_get(b, "named");
    char size[32];
    size_t i;
    if (!json_object_get(b, "curve")) return;
    printf("\n%10s %7s  %s\n", "size", "bpw", "KL divergence on held-out text");
    json_array_foreach(json_object_get(b, "curve"), i, point)
        printf("%10s %7.3f  about %.6f\n",
               human_bytes((double)json_integer_value(json_object_get(point, "size_bytes")), size),
               json_number_value(json_object_get(point, "bits_per_weight")),
               json_number_value(json_object_get(point, "estimated_divergence")));
    printf("this file: %.6f, measured", json_number_value(json_object_get(b, "divergence")));
    if (named)
        printf("; %s: %.6f with %s", text_of(named, "type"), json_number_value(json_object_get(named, "divergence")),
               human_bytes((double)json_integer_value(json_object_get(named, "size_bytes")), size));
    fputs("\nrecipe: ", stdout);
    print_safe(text_of(b, "recipe"), 0);
    putchar('\n');
}

static void print_types(const json_t *report)
{
    const json_t *outputs = json_object_get(report, "outputs"), *o, *t;
    size_t i, j;
    json_array_foreach(outputs, i, o) {
        printf("\n%s\n", json_string_value(json_object_get(o, "type")));
        json_array_foreach(json_object_get(o, "tensors"), j, t) {
            printf("  ");
            print_safe(text_of(t, "name"), 40);
            printf(" %s\n", text_of(t, "type"));
        }
    }
}

static void print_next(const json_t *report)
{
    const json_t *path = json_object_get(json_array_get(json_object_get(report, "outputs"), 0), "path");
    if (!isatty(STDERR_FILENO) || !path) return;
    fputs("\nnext: halftone generate ", stdout);
    print_safe(json_string_value(path), 0);
    fputs(" -p 'Once upon a time'\n", stdout);
}

/* What a method in one word made: where it is, and how much smaller. */
static void print_summary(const json_t *report)
{
    const json_t *output = json_array_get(json_object_get(report, "outputs"), 0);
    double before = number_of(json_object_get(report, "source"), "bytes"), after = number_of(output, "size_bytes");
    char size[32];
    fputs("\nOutput saved to: ", stdout);
    print_safe(text_of(output, "path"), 0);
    printf("\nOriginal size: %s\n", human_bytes(before, size));
    printf("Output size: %s\n", human_bytes(after, size));
    if (after > 0) printf("Compression ratio: %.2fx\n", before / after);
}

static void show(const struct command *c, const json_t *report, const struct arguments *args)
{
    const json_t *part = json_object_get(report, "part");
    if (part) {
        printf("part %d of %d: %d tensors, of %d some rows only; --resume or --take-from completes them\n",
               (int)number_of(part, "number"), (int)number_of(part, "of"), (int)number_of(part, "tensors"),
               (int)number_of(part, "cut"));
        return;
    }
    print_report(report, !args->dry_run);
    print_budget(report);
    if (args->dry_run)
        print_types(report);
    else if (json_object_get(json_object_get(report, "recipe"), "method"))
        print_summary(report);
    else if (strcmp(c->name, "quantize") == 0)
        print_next(report);
}

static void prepare(const struct command *c, struct ht_job *job)
{
    ht_job_set(job, "verb", c->name, NULL);
}

static enum ht_err run(struct ht_job *job, const struct command *c, const struct arguments *args, char **json,
                       struct ht_diag *diag)
{
    (void)c;
    return args->dry_run ? ht_job_estimate(job, json, diag) : ht_job_run(job, json, diag);
}

int run_quantize(const struct command *c, int argc, char **argv)
{
    static const struct job_verb verb = {
        .prepare = prepare, .check = ollama_check_outputs, .run = run, .after = ollama_send_outputs, .show = show};
    return run_job(c, argc, argv, &verb);
}
