/* estimate: exact sizes without writing, and what making and running them takes. */
#include "cli.h"

#include <stdio.h>

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static void print_output(const json_t *o)
{
    char size[32], run[32], weights[32], cache[32], rest[32];
    const json_t *need = json_object_get(o, "run_memory");
    printf("%-9s %9s %6.3f ", json_string_value(json_object_get(o, "type")),
           human_bytes(number(o, "size_bytes"), size), number(o, "bits_per_weight"));
    if (json_is_object(need))
        printf("%9s = %s + %s + %s", human_bytes(number(need, "with_margin_bytes"), run),
               human_bytes(number(need, "weights_bytes"), weights),
               human_bytes(number(need, "kv_cache_bytes"), cache),
               human_bytes(number(need, "overhead_bytes"), rest));
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
        printf(" = weights + cache of %.0f tokens (%s) + buffers, and a fifth to spare", number(need, "ctx"),
               json_string_value(json_object_get(need, "cache_type")));
    printf("\n");
    json_array_foreach(outputs, i, o) print_output(o);
    if (!json_is_object(need))
        printf("%s\n", json_string_value(json_object_get(json_array_get(outputs, 0), "run_memory_unknown")));
}

static void print_estimate(const json_t *e)
{
    char disk[32], left[32], memory[32], download[32], time[32];
    const json_t *reason;
    size_t i;
    print_outputs(json_object_get(e, "outputs"));
    if (number(e, "download_bytes") > 0)
        printf("to download: %s\n", human_bytes(number(e, "download_bytes"), download));
    printf("to make: disk %s (free: %s), memory %s with %.0f threads, about %s if nothing else runs\n",
           human_bytes(number(e, "disk_bytes") + number(e, "temporary_bytes"), disk),
           human_bytes(number(e, "disk_free_bytes"), left), human_bytes(number(e, "memory_bytes"), memory),
           number(e, "threads"), human_time(number(e, "seconds"), time));
    json_array_foreach(json_object_get(e, "reasons"), i, reason)
        printf("it does not fit: %s\n", json_string_value(reason));
}

int run_estimate(const struct command *c, int argc, char **argv)
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
        enum ht_err err = ht_job_estimate(job, &text, &diag);
        if (err != HT_OK) {
            status = report_error(c, err, &diag, args.json);
        } else if (args.json) {
            puts(text);
        } else {
            json_t *e = json_loads(text, 0, NULL);
            print_estimate(e);
            json_decref(e);
        }
        ht_free(text);
    }
    ht_job_close(&job);
    return status;
}
