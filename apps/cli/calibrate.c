/* calibrate: statistics of activations, kept, merged and shown. */
#include "cli.h"

#include <stdio.h>

static void print_site(const json_t *s)
{
    double lacking = number_of(s, "matrices_without_rows");
    if (json_object_get(s, "layer"))
        printf("%5.0f  ", number_of(s, "layer"));
    else
        printf("%5s  ", "");
    print_safe(text_of(s, "site"), 18);
    printf(" %8.0f %8.0f %9.0f %5s %9.0f %12.5g %12.5g %8.0f", number_of(s, "columns"), number_of(s, "matrices"),
           number_of(s, "rows"), json_is_true(json_object_get(s, "gram")) ? "yes" : "no", number_of(s, "held_out_rows"),
           number_of(s, "mean_square"), number_of(s, "mean_magnitude"), number_of(s, "largest_column"));
    if (lacking > 0) printf("  %.0f experts without data", lacking);
    putchar('\n');
}

static void print_sites(const json_t *report)
{
    const json_t *s;
    size_t i;
    printf("%5s  %-18s %8s %8s %9s %5s %9s %12s %12s %8s\n", "layer", "site", "columns", "matrices", "rows", "gram",
           "held out", "mean square", "mean |x|", "largest");
    json_array_foreach(json_object_get(report, "sites"), i, s)
        print_site(s);
}

static void print_text(const json_t *t)
{
    char hash[13];
    snprintf(hash, sizeof hash, "%s", text_of(t, "sha256"));
    print_safe(text_of(t, "text"), 0);
    printf(": %.0f chunks of %.0f tokens", number_of(t, "chunks"), number_of(t, "ctx"));
    if (number_of(t, "seed") > 0) printf(", seed %.0f", number_of(t, "seed"));
    printf(" (%s)\n", hash);
}

static void print_part(const json_t *part)
{
    if (!part) return;
    printf("part %.0f of %.0f: %.0f of the %.0f groups of chunks\n", number_of(part, "number"), number_of(part, "of"),
           number_of(part, "groups"), number_of(part, "groups_of_text"));
}

static void show(const struct command *c, const json_t *r, const struct arguments *args)
{
    const json_t *t;
    size_t i;
    char size[32], model[13];
    (void)c, (void)args;
    if (!*text_of(r, "path")) print_sites(r);
    snprintf(model, sizeof model, "%s", text_of(r, "model_sha256"));
    print_safe(text_of(r, "architecture"), 0);
    printf(" model %s; %zu sites, %s", model, json_array_size(json_object_get(r, "sites")),
           human_bytes(number_of(r, "size_bytes"), size));
    if (number_of(r, "tokens") > 0)
        printf("; %.0f tokens in %.1f s (%.0f tokens/s)", number_of(r, "tokens"), number_of(r, "seconds"),
               number_of(r, "tokens_per_second"));
    if (*text_of(r, "path")) printf(": "), print_safe(text_of(r, "path"), 0);
    putchar('\n');
    json_array_foreach(json_object_get(r, "texts"), i, t)
        print_text(t);
    print_part(json_object_get(r, "part"));
}

static enum ht_err run(struct ht_job *job, const struct command *c, const struct arguments *args, char **json,
                       struct ht_diag *diag)
{
    (void)c, (void)args;
    return ht_job_calibrate(job, json, diag);
}

int run_calibrate(const struct command *c, int argc, char **argv)
{
    static const struct job_verb verb = {.run = run, .show = show};
    return run_job(c, argc, argv, &verb);
}
