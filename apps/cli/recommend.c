/* recommend and gpus: which type for this memory or that card. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_type(const json_t *o, const json_t *answer, const char *key)
{
    return strcmp(text_of(o, "type"), text_of(json_object_get(answer, key), "type")) == 0;
}

/* Of the column of types. */
static int width_of(const json_t *types)
{
    const json_t *o;
    size_t i, width = 8;
    json_array_foreach(types, i, o)
        if (strlen(text_of(o, "type")) > width) width = strlen(text_of(o, "type"));
    return (int)width;
}

static void print_type(const json_t *o, const json_t *answer, int width)
{
    char size[32], run[32], lacks[32], speed[48] = "", layers[48] = "";
    const json_t *need = json_object_get(o, "run_memory"), *offload = json_object_get(o, "offload");
    bool fits = json_is_true(json_object_get(o, "fits"));
    if (json_object_get(o, "tokens_per_second_at_most"))
        snprintf(speed, sizeof speed, "  up to %.0f tokens/s", number_of(o, "tokens_per_second_at_most"));
    if (offload)
        snprintf(layers, sizeof layers, "  %.0f of %.0f layers fit", number_of(offload, "gpu_layers"),
                 number_of(offload, "layers"));
    printf("%s %-*s %9s %6.3f %9s %9.6f  ", is_type(o, answer, "recommended") ? ">" : " ", width, text_of(o, "type"),
           human_bytes(number_of(o, "size_bytes"), size), number_of(o, "bits_per_weight"),
           human_bytes(number_of(need, "with_margin_bytes"), run),
           number_of(json_object_get(o, "measured"), "divergence"));
    if (fits)
        printf("fits%s", speed);
    else
        printf("needs %s more%s", human_bytes(number_of(o, "missing_bytes"), lacks), layers);
    printf("%s%s\n", json_is_true(json_object_get(o, "with_importance")) ? "  (with importance)" : "",
           json_is_true(json_object_get(o, "unpacked")) ? "  (runs as floats)" : "");
}

static void print_place(const json_t *answer)
{
    char memory[32], ram[32];
    const json_t *place = json_object_get(answer, "place");
    if (json_object_get(place, "gpu")) printf("%.0f x %s: ", number_of(place, "gpu_count"), text_of(place, "gpu"));
    printf("%s for %s", human_bytes(number_of(place, "memory_bytes"), memory), text_of(answer, "program"));
    if (json_object_get(place, "ram_bytes"))
        printf(", and %s beside it", human_bytes(number_of(place, "ram_bytes"), ram));
    printf("\n");
}

static void print_answer_of(const json_t *answer)
{
    const json_t *types = json_object_get(answer, "types"), *best = json_object_get(answer, "recommended"), *o;
    size_t i;
    int width = width_of(types);
    print_place(answer);
    printf("\n%s\n", json_is_object(best) ? text_of(best, "type") : "No type fits.");
    json_array_foreach(json_object_get(answer, "reasons"), i, o)
        printf("  - "), print_safe(json_string_value(o), 0), putchar('\n');
    if (json_array_size(types)) printf("\n  %-*s %9s %6s %9s %9s\n", width, "type", "size", "bits", "to run", "loss");
    json_array_foreach(types, i, o)
        print_type(o, answer, width);
    json_array_foreach(json_object_get(answer, "not_possible"), i, o)
        printf("  %-*s ", width, text_of(o, "type")), print_safe(text_of(o, "reason"), 0), putchar('\n');
    if (json_is_object(best)) {
        fputs("\nnext: halftone quantize ", stdout);
        print_safe(text_of(json_object_get(answer, "source"), "path"), 0);
        printf(" -t %s%s\n", text_of(best, "type"),
               json_is_true(json_object_get(best, "with_importance")) ? " --calibration default" : "");
    }
}

static void show(const struct command *c, const json_t *answer, const struct arguments *args)
{
    (void)c, (void)args;
    print_answer_of(answer);
}

static enum ht_err run(struct ht_job *job, const struct command *c, const struct arguments *args, char **json,
                       struct ht_diag *diag)
{
    (void)c, (void)args;
    return ht_job_recommend(job, json, diag);
}

/* That nothing fits is an answer, but not one that a script may take for a type. */
static int status_of(const json_t *answer)
{
    return json_is_object(json_object_get(answer, "recommended")) ? EXIT_DONE : EXIT_RESOURCES;
}

int run_recommend(const struct command *c, int argc, char **argv)
{
    static const struct job_verb verb = {.run = run, .show = show, .status = status_of};
    return run_job(c, argc, argv, &verb);
}
