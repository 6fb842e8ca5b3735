/* recommend and gpus: which type for this memory or that card. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

static bool is_type(const json_t *o, const json_t *answer, const char *key)
{
    return strcmp(text(o, "type"), text(json_object_get(answer, key), "type")) == 0;
}

static void print_type(const json_t *o, const json_t *answer)
{
    char size[32], run[32], lacks[32], speed[48] = "", layers[48] = "";
    const json_t *need = json_object_get(o, "run_memory"), *offload = json_object_get(o, "offload");
    bool fits = json_is_true(json_object_get(o, "fits"));
    if (json_object_get(o, "tokens_per_second_at_most"))
        snprintf(speed, sizeof speed, "  up to %.0f tokens/s", number(o, "tokens_per_second_at_most"));
    if (offload)
        snprintf(layers, sizeof layers, "  %.0f of %.0f layers fit", number(offload, "gpu_layers"),
                 number(offload, "layers"));
    printf("%s %-8s %9s %6.3f %9s %9.6f  ", is_type(o, answer, "recommended") ? ">" : " ", text(o, "type"),
           human_bytes(number(o, "size_bytes"), size), number(o, "bits_per_weight"),
           human_bytes(number(need, "with_margin_bytes"), run),
           number(json_object_get(o, "measured"), "divergence"));
    if (fits)
        printf("fits%s", speed);
    else
        printf("lacks %s%s", human_bytes(number(o, "missing_bytes"), lacks), layers);
    printf("%s\n", json_is_true(json_object_get(o, "with_importance")) ? "  (with importance)" : "");
}

static void print_place(const json_t *answer)
{
    char memory[32], ram[32];
    const json_t *place = json_object_get(answer, "place");
    if (json_object_get(place, "gpu")) printf("%.0f x %s: ", number(place, "gpu_count"), text(place, "gpu"));
    printf("%s", human_bytes(number(place, "memory_bytes"), memory));
    if (json_object_get(place, "ram_bytes"))
        printf(", and %s beside", human_bytes(number(place, "ram_bytes"), ram));
    printf("\n");
}

static void print_answer(const json_t *answer)
{
    const json_t *types = json_object_get(answer, "types"), *best = json_object_get(answer, "recommended"), *o;
    size_t i;
    print_place(answer);
    printf("\n%s\n", json_is_object(best) ? text(best, "type") : "No type fits.");
    json_array_foreach(json_object_get(answer, "reasons"), i, o) printf("  - %s\n", json_string_value(o));
    if (json_array_size(types)) printf("\n  %-8s %9s %6s %9s %9s\n", "type", "size", "bits", "to run", "loss");
    json_array_foreach(types, i, o) print_type(o, answer);
    json_array_foreach(json_object_get(answer, "not_possible"), i, o)
        printf("  %-8s %s\n", text(o, "type"), text(o, "reason"));
    if (json_is_object(best))
        printf("\nhalftone quantize %s -t %s%s\n", text(json_object_get(answer, "source"), "path"),
               text(best, "type"),
               json_is_true(json_object_get(best, "with_importance")) ? " --calibration default" : "");
}

int run_recommend(const struct command *c, int argc, char **argv)
{
    struct ht_job *job;
    struct arguments args = {0};
    struct ht_diag diag = {0};
    char *answer = NULL;
    if (ht_job_open(&job) != HT_OK) return EXIT_RESOURCES;
    int status = parse_job_arguments(c, argc, argv, job, &args);
    if (args.help) {
        print_help(c);
    } else if (status == EXIT_DONE) {
        watch_job(job, args.json, args.quiet);
        enum ht_err err = ht_job_recommend(job, &answer, &diag);
        json_t *e = err == HT_OK ? json_loads(answer, 0, NULL) : NULL;
        if (err != HT_OK)
            status = report_error(c, err, &diag, args.json);
        else if (args.json)
            puts(answer);
        else
            print_answer(e);
        json_decref(e);
        ht_free(answer);
    }
    ht_job_close(&job);
    return status;
}

int run_gpus(const struct command *c, int argc, char **argv)
{
    struct ht_gpu_info gpu;
    bool json = argc == 2 && strcmp(argv[1], "--json") == 0;
    json_t *list = json_array();
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        print_help(c);
    } else if (argc > 1 && !json) {
        json_decref(list);
        return usage_error(c, "\"%s\" was not expected", argv[1]);
    } else {
        for (size_t i = 0; ht_gpu_at(i, &gpu); i++) {
            json_array_append_new(list, json_pack("{s:s, s:I, s:I}", "name", gpu.name, "memory_bytes",
                                                  (json_int_t)gpu.memory, "bandwidth_bytes_per_second",
                                                  (json_int_t)gpu.bandwidth));
            if (json) continue;
            if (gpu.memory)
                printf("%-34s %4.0f GiB", gpu.name, (double)gpu.memory / (1 << 30));
            else
                printf("%-34s shared  ", gpu.name);
            printf(" %6.0f GB/s\n", (double)gpu.bandwidth / 1e9);
        }
        char *out = json ? json_dumps(list, JSON_COMPACT) : NULL;
        if (out) puts(out);
        free(out);
    }
    json_decref(list);
    return EXIT_DONE;
}
