/* estimate: exact sizes without writing, and what making and running them takes. */
#include "cli.h"

#include <stdio.h>

static void print_output(const json_t *o)
{
    char size[32], run[32], weights[32], cache[32], rest[32];
    const json_t *need = json_object_get(o, "run_memory");
    printf("%-9s %9s %6.3f ", json_string_value(json_object_get(o, "type")),
           human_bytes(number_of(o, "size_bytes"), size), number_of(o, "bits_per_weight"));
    if (json_is_object(need))
        printf("%9s = %s + %s + %s", human_bytes(number_of(need, "with_margin_bytes"), run),
               human_bytes(number_of(need, "weights_bytes"), weights),
               human_bytes(number_of(need, "kv_cache_bytes"), cache),
               human_bytes(number_of(need, "overhead_bytes"), rest));
    else
        printf("%9s", "?");
    printf("  %s\n", json_string_value(json_object_get(o, "hint")));
}

static void print_outputs(const json_t *outputs)
{
    const json_t *o = json_array_get(outputs, 0), *need = json_object_get(o, "run_memory");
    size_t i;
    printf("%-9s %9s %6s %9s", "type", "size", "bits", "to run");
    if (json_is_object(need))
        printf(" = weights + cache of %.0f tokens (%s) + buffers, with 20 %% headroom", number_of(need, "ctx"),
               json_string_value(json_object_get(need, "cache_type")));
    printf("\n");
    json_array_foreach(outputs, i, o)
        print_output(o);
    if (!json_is_object(need))
        printf("%s\n", json_string_value(json_object_get(json_array_get(outputs, 0), "run_memory_unknown")));
}

static void print_estimate(const json_t *e)
{
    char disk[32], left[32], memory[32], download[32], time[32];
    const json_t *reason;
    size_t i;
    print_outputs(json_object_get(e, "outputs"));
    if (number_of(e, "download_bytes") > 0)
        printf("to download: %s\n", human_bytes(number_of(e, "download_bytes"), download));
    printf("to make: %s of disk (%s free), %s of memory with %.0f threads, about %s if nothing else runs\n",
           human_bytes(number_of(e, "disk_bytes") + number_of(e, "temporary_bytes"), disk),
           human_bytes(number_of(e, "disk_free_bytes"), left), human_bytes(number_of(e, "memory_bytes"), memory),
           number_of(e, "threads"), human_time(number_of(e, "seconds"), time));
    json_array_foreach(json_object_get(e, "reasons"), i, reason)
        printf("does not fit: %s\n", json_string_value(reason));
}

static void show(const struct command *c, const json_t *e, const struct arguments *args)
{
    (void)c, (void)args;
    print_estimate(e);
}

static enum ht_err run(struct ht_job *job, const struct command *c, const struct arguments *args, char **json,
                       struct ht_diag *diag)
{
    (void)c, (void)args;
    return ht_job_estimate(job, json, diag);
}

int run_estimate(const struct command *c, int argc, char **argv)
{
    static const struct job_verb verb = {.run = run, .show = show};
    return run_job(c, argc, argv, &verb);
}
