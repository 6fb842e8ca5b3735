/* eval and compare: what was measured, as a table. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

/* Under a cap on memory: were layers there in time, and what was read? */
static void print_layers(const json_t *m, const char *indent)
{
    char bytes[32];
    const json_t *l = json_object_get(m, "layers");
    if (!l) return;
    printf("%slayers: %.0f hits, %.0f misses; %.0f read, %.0f of them from the cache on disk, %s in all\n", indent,
           number_of(l, "hits"), number_of(l, "misses"), number_of(l, "reads"), number_of(l, "cache_reads"),
           human_bytes(number_of(l, "bytes_read"), bytes));
}

/* The one-model form: a figure a line. */
static void print_one(const json_t *m)
{
    char size[32], memory[32];
    const json_t *kld = json_object_get(m, "kld"), *dp = json_object_get(m, "token_probability_change"), *r, *c;
    print_safe(text_of(m, "model"), 0);
    printf(": %s, %s, %.3f bits per weight\n", text_of(m, "type"), human_bytes(number_of(m, "size_bytes"), size),
           number_of(m, "bpw"));
    printf("  perplexity          %10.4f ± %.4f over %.0f tokens\n", number_of(m, "perplexity"),
           number_of(m, "perplexity_error"), number_of(m, "tokens"));
    if (kld) {
        printf("  against reference   %10.5f ± %.5f times its perplexity\n", number_of(m, "perplexity_ratio"),
               number_of(m, "perplexity_ratio_error"));
        printf("  KL divergence       %10.6f ± %.6f nats per token\n", number_of(kld, "mean"),
               number_of(kld, "mean_error"));
        printf("    median %.6f, 90 %% %.6f, 99 %% %.6f, 99.9 %% %.6f, most %.6f\n", number_of(kld, "median"),
               number_of(kld, "p90"), number_of(kld, "p99"), number_of(kld, "p99_9"), number_of(kld, "max"));
        printf("  same top token      %10.3f ± %.3f %% of tokens\n", 100 * number_of(m, "top1_agreement"),
               100 * number_of(m, "top1_agreement_error"));
        printf("  true token's prob.  %10.3f ± %.3f %% RMS, mean %+.3f %%\n", 100 * number_of(dp, "rms"),
               100 * number_of(dp, "rms_error"), 100 * number_of(dp, "mean"));
    }
    if ((r = json_object_get(m, "retention")) != NULL)
        printf("  retention           %10.2f ± %.2f %% of %.0f continuations; equal for %.1f of "
               "%.0f tokens\n",
               100 * number_of(r, "share"), 100 * number_of(r, "share_error"), number_of(r, "continuations"),
               number_of(r, "mean_equal_tokens"), number_of(r, "tokens"));
    if ((c = json_object_get(m, "choices")) != NULL)
        printf("  multiple choice     %10.2f ± %.2f %% right, by length %.2f %%, of %.0f tasks\n",
               100 * number_of(c, "accuracy"), 100 * number_of(c, "accuracy_error"),
               100 * number_of(c, "accuracy_by_length"), number_of(c, "tasks"));
    printf("  %.0f tokens/s, %s of memory\n", number_of(m, "tokens_per_second"),
           human_bytes(number_of(m, "memory_bytes"), memory));
    print_layers(m, "  ");
}

static void print_row(const json_t *m, bool retention, bool choices)
{
    char size[32], memory[32];
    const json_t *kld = json_object_get(m, "kld");
    bool front = json_is_true(json_object_get(m, "pareto_front"));
    char label[29];
    snprintf(label, sizeof label, "%s", text_of(m, "label"));
    printf("%c ", front ? '*' : ' ');
    print_safe(label, 28);
    printf(" %9s %7.3f %10.4f ±%-7.4f", human_bytes(number_of(m, "size_bytes"), size), number_of(m, "bpw"),
           number_of(m, "perplexity"), number_of(m, "perplexity_error"));
    if (kld)
        printf(" %9.6f %9.6f %7.2f %8.4f", number_of(kld, "mean"), number_of(kld, "p99"),
               100 * number_of(m, "top1_agreement"), number_of(m, "perplexity_ratio"));
    else
        printf(" %9s %9s %7s %8s", json_object_get(m, "is_reference") ? "reference" : "", "", "", "");
    const json_t *kept = json_object_get(m, "retention");
    if (retention && kept) printf(" %6.1f", 100 * number_of(kept, "share"));
    if (retention && !kept) printf(" %6s", "");
    if (choices) printf(" %6.1f", 100 * number_of(json_object_get(m, "choices"), "accuracy_by_length"));
    printf(" %8.0f %8s\n", number_of(m, "tokens_per_second"), human_bytes(number_of(m, "memory_bytes"), memory));
}

static void print_table_layers(const json_t *m)
{
    char indent[96];
    snprintf(indent, sizeof indent, "%.60s, ", text_of(m, "label"));
    print_layers(m, indent);
}

static void print_table(const json_t *report)
{
    const json_t *models = json_object_get(report, "models"), *reference = json_object_get(report, "reference"), *m;
    bool retention = false, choices = false, listed = false;
    size_t i;
    json_array_foreach(models, i, m) {
        retention |= json_object_get(m, "retention") != NULL;
        choices |= json_object_get(m, "choices") != NULL;
        listed |= json_object_get(m, "is_reference") != NULL;
    }
    printf("  %-28s %9s %7s %10s %-8s %9s %9s %7s %8s%s%s %8s %8s\n", "model", "size", "bpw", "perplexity", "",
           "KL mean", "KL 99 %", "same %", "ratio", retention ? "  ret.%" : "", choices ? " choice" : "", "tokens/s",
           "memory");
    if (reference && !listed) print_row(reference, retention, choices);
    json_array_foreach(models, i, m)
        print_row(m, retention, choices);
    if (reference && !listed) print_table_layers(reference);
    json_array_foreach(models, i, m)
        print_table_layers(m);
}

static bool compares(const struct command *c)
{
    return strcmp(c->name, "compare") == 0;
}

static void show(const struct command *c, const json_t *report, const struct arguments *args)
{
    const json_t *models = json_object_get(report, "models");
    char memory[32];
    (void)args;
    if (json_array_size(models) == 1 && !compares(c))
        print_one(json_array_get(models, 0));
    else
        print_table(report);
    print_safe(text_of(report, "text"), 0);
    printf(": %.0f chunks of %.0f tokens in %.1f s, peak memory %s\n", number_of(report, "chunks"),
           number_of(report, "context"), number_of(report, "seconds"),
           human_bytes(number_of(report, "peak_rss_bytes"), memory));
    const json_t *part = json_object_get(report, "part");
    if (part)
        printf("part %.0f of %.0f: %.0f of the text's %.0f passes\n", number_of(part, "number"), number_of(part, "of"),
               number_of(part, "passes"), number_of(part, "passes_of_text"));
}

static enum ht_err run(struct ht_job *job, const struct command *c, const struct arguments *args, char **json,
                       struct ht_diag *diag)
{
    (void)args;
    return ht_job_eval(job, compares(c), json, diag);
}

int run_eval(const struct command *c, int argc, char **argv)
{
    static const struct job_verb verb = {.run = run, .show = show};
    return run_job(c, argc, argv, &verb);
}
