/* eval and compare: what was measured, as a table. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

static double number(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

/* Under a cap on memory: were layers there in time, and what was read? */
static void print_layers(const json_t *m, const char *indent)
{
    char bytes[32];
    const json_t *l = json_object_get(m, "layers");
    if (!l) return;
    printf("%slayers: %.0f hits, %.0f misses; %.0f read, %.0f of them from the cache on disk, %s in all\n", indent,
           number(l, "hits"), number(l, "misses"), number(l, "reads"), number(l, "cache_reads"),
           human_bytes(number(l, "bytes_read"), bytes));
}

/* The one-model form: a figure a line. */
static void print_one(const json_t *m)
{
    char size[32], memory[32];
    const json_t *kld = json_object_get(m, "kld"),
                 *dp = json_object_get(m, "token_probability_change"), *r, *c;
    printf("%s: %s, %s, %.3f bits per weight\n", text(m, "model"), text(m, "type"),
           human_bytes(number(m, "size_bytes"), size), number(m, "bpw"));
    printf("  perplexity          %10.4f ± %.4f over %.0f tokens\n", number(m, "perplexity"),
           number(m, "perplexity_error"), number(m, "tokens"));
    if (kld) {
        printf("  against reference   %10.5f ± %.5f times its perplexity\n",
               number(m, "perplexity_ratio"), number(m, "perplexity_ratio_error"));
        printf("  KL divergence       %10.6f ± %.6f nats a token\n", number(kld, "mean"),
               number(kld, "mean_error"));
        printf("    median %.6f, 90 %% %.6f, 99 %% %.6f, 99.9 %% %.6f, most %.6f\n",
               number(kld, "median"), number(kld, "p90"), number(kld, "p99"), number(kld, "p99_9"),
               number(kld, "max"));
        printf("  same likeliest      %10.3f ± %.3f %% of tokens\n",
               100 * number(m, "top1_agreement"), 100 * number(m, "top1_agreement_error"));
        printf("  true token's change %10.3f ± %.3f %% RMS, mean %+.3f %%\n",
               100 * number(dp, "rms"), 100 * number(dp, "rms_error"), 100 * number(dp, "mean"));
    }
    if ((r = json_object_get(m, "retention")) != NULL)
        printf("  retention           %10.2f ± %.2f %% of %.0f continuations; equal for %.1f of "
               "%.0f tokens\n",
               100 * number(r, "share"), 100 * number(r, "share_error"), number(r, "continuations"),
               number(r, "mean_equal_tokens"), number(r, "tokens"));
    if ((c = json_object_get(m, "choices")) != NULL)
        printf("  multiple choice     %10.2f ± %.2f %% right, by length %.2f %%, of %.0f tasks\n",
               100 * number(c, "accuracy"), 100 * number(c, "accuracy_error"),
               100 * number(c, "accuracy_by_length"), number(c, "tasks"));
    printf("  %.0f tokens/s, %s of memory\n", number(m, "tokens_per_second"),
           human_bytes(number(m, "memory_bytes"), memory));
    print_layers(m, "  ");
}

static void print_row(const json_t *m, bool retention, bool choices)
{
    char size[32], memory[32];
    const json_t *kld = json_object_get(m, "kld");
    bool front = json_is_true(json_object_get(m, "pareto_front"));
    printf("%c %-28.28s %9s %7.3f %10.4f ±%-7.4f", front ? '*' : ' ', text(m, "label"),
           human_bytes(number(m, "size_bytes"), size), number(m, "bpw"), number(m, "perplexity"),
           number(m, "perplexity_error"));
    if (kld)
        printf(" %9.6f %9.6f %7.2f %8.4f", number(kld, "mean"), number(kld, "p99"),
               100 * number(m, "top1_agreement"), number(m, "perplexity_ratio"));
    else
        printf(" %9s %9s %7s %8s", json_object_get(m, "is_reference") ? "reference" : "", "", "",
               "");
    const json_t *kept = json_object_get(m, "retention");
    if (retention && kept) printf(" %6.1f", 100 * number(kept, "share"));
    if (retention && !kept) printf(" %6s", "");
    if (choices)
        printf(" %6.1f", 100 * number(json_object_get(m, "choices"), "accuracy_by_length"));
    printf(" %8.0f %8s\n", number(m, "tokens_per_second"),
           human_bytes(number(m, "memory_bytes"), memory));
}

static void print_table_layers(const json_t *m)
{
    char indent[96];
    snprintf(indent, sizeof indent, "%.60s, ", text(m, "label"));
    print_layers(m, indent);
}

static void print_table(const json_t *report)
{
    const json_t *models = json_object_get(report, "models"),
                 *reference = json_object_get(report, "reference"), *m;
    bool retention = false, choices = false, listed = false;
    size_t i;
    json_array_foreach(models, i, m)
    {
        retention |= json_object_get(m, "retention") != NULL;
        choices |= json_object_get(m, "choices") != NULL;
        listed |= json_object_get(m, "is_reference") != NULL;
    }
    printf("  %-28s %9s %7s %10s %-8s %9s %9s %7s %8s%s%s %8s %8s\n", "model", "size", "bpw",
           "perplexity", "", "KL mean", "KL 99 %", "same %", "ratio", retention ? "  ret.%" : "",
           choices ? " choice" : "", "tokens/s", "memory");
    if (reference && !listed) print_row(reference, retention, choices);
    json_array_foreach(models, i, m) print_row(m, retention, choices);
    if (reference && !listed) print_table_layers(reference);
    json_array_foreach(models, i, m) print_table_layers(m);
}

static void show(const json_t *report, bool compare)
{
    const json_t *models = json_object_get(report, "models");
    char memory[32];
    if (json_array_size(models) == 1 && !compare)
        print_one(json_array_get(models, 0));
    else
        print_table(report);
    printf("%s: %.0f chunks of %.0f tokens in %.1f s, peak memory %s\n", text(report, "text"),
           number(report, "chunks"), number(report, "context"), number(report, "seconds"),
           human_bytes(number(report, "peak_rss_bytes"), memory));
}

int run_eval(const struct command *c, int argc, char **argv)
{
    struct ht_job *job;
    struct arguments args = {0};
    struct ht_diag diag = {0};
    char *result = NULL;
    bool compare = strcmp(c->name, "compare") == 0;
    if (ht_job_open(&job) != HT_OK) return EXIT_RESOURCES;
    int status = parse_job_arguments(c, argc, argv, job, &args);
    if (args.help) {
        print_help(c);
    } else if (status == EXIT_DONE) {
        watch_job(job, args.json, args.quiet);
        enum ht_err err = ht_job_eval(job, compare, &result, &diag);
        progress_done();
        if (err != HT_OK) {
            status = report_error(c, err, &diag, args.json);
        } else if (args.json) {
            puts(result);
        } else {
            json_t *report = json_loads(result, 0, NULL);
            show(report, compare);
            json_decref(report);
        }
        ht_free(result);
    }
    ht_job_close(&job);
    return status;
}
