/* estimate: exact sizes without writing. */
#include "cli.h"

#include <stdio.h>

static void print_estimate(const json_t *e)
{
    char disk[32], memory[32], size[32];
    const json_t *o;
    size_t i;
    json_array_foreach(json_object_get(e, "outputs"), i, o)
        printf("%-11s %10s  %.3f bits per weight, %lld bytes\n", json_string_value(json_object_get(o, "type")),
               human_bytes((double)json_integer_value(json_object_get(o, "size_bytes")), size),
               json_real_value(json_object_get(o, "bpw")),
               (long long)json_integer_value(json_object_get(o, "size_bytes")));
    printf("disk %s, memory %s with %lld threads\n",
           human_bytes((double)json_integer_value(json_object_get(e, "disk_bytes")), disk),
           human_bytes((double)json_integer_value(json_object_get(e, "memory_bytes")), memory),
           (long long)json_integer_value(json_object_get(e, "threads")));
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
