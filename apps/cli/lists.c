/* types, archs and gpus: what the program knows. */
#include "cli.h"

#include <halftone/matrix.h>

#include <stdio.h>
#include <string.h>

/* Their only option. EXIT_DONE or a status. */
static int read_args(const struct command *c, int argc, char **argv, bool *json)
{
    *json = argc > 1 && strcmp(argv[1], "--json") == 0;
    int taken = *json ? 2 : 1;
    return argc > taken ? unknown_argument(c, argv[taken]) : EXIT_DONE;
}

typedef bool option_at(const char *owner, size_t index, struct ht_scheme_option_info *info);

static json_t *options_as_json(option_at *at, const char *owner)
{
    struct ht_scheme_option_info o = {.size = sizeof o};
    json_t *list = json_array();
    for (size_t i = 0; at(owner, i, &o); i++) {
        if (o.reading) continue;
        json_t *one = json_pack("{s:s, s:s, s:s}", "name", o.name, "about", o.about, "default", o.otherwise);
        if (o.choices)
            json_object_set_new(one, "choices", json_string(o.choices));
        else
            json_object_update_new(one, json_pack("{s:f, s:f}", "least", o.least, "most", o.most));
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *measured(const struct ht_scheme_info *s)
{
    if (!(s->divergence > 0)) return json_null();
    return json_pack("{s:f, s:f}", "divergence", s->divergence, "same_top_token", s->same_top_token);
}

static json_t *schemes_as_json(void)
{
    struct ht_scheme_info s = {.size = sizeof s};
    json_t *list = json_array();
    for (size_t i = 0; ht_scheme_at(i, &s); i++)
        if (s.can_write)
            json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "name", s.name, "family", s.family,
                                                  "about", s.about, "loaders", s.loaders, "measured", measured(&s),
                                                  "options", options_as_json(ht_scheme_option_at, s.name)));
    return list;
}

static json_t *methods_as_json(void)
{
    struct ht_method_info m = {.size = sizeof m};
    json_t *list = json_array();
    for (size_t i = 0; ht_method_at(i, &m); i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name", m.name, "about", m.about, "options",
                                              options_as_json(ht_method_option_at, m.name)));
    return list;
}

static void print_options(option_at *at, const char *owner)
{
    struct ht_scheme_option_info o = {.size = sizeof o};
    for (size_t i = 0; at(owner, i, &o); i++)
        if (!o.reading && o.choices)
            printf("  %-10s   %s=%s (default %s): %s\n", "", o.name, o.choices, o.otherwise, o.about);
        else if (!o.reading)
            printf("  %-10s   %s=%g to %g (default %s): %s\n", "", o.name, o.least, o.most, o.otherwise, o.about);
}

static void print_methods(void)
{
    struct ht_method_info m = {.size = sizeof m};
    printf("\nMethods, which choose a scheme's codes (-t gptq:bits=3@best:order=group):\n");
    for (size_t i = 0; ht_method_at(i, &m); i++) {
        printf("  %-10s %s\n", m.name, m.about);
        print_options(ht_method_option_at, m.name);
    }
}

static void print_schemes(void)
{
    struct ht_scheme_info s = {.size = sizeof s};
    printf("\nSchemes (-t), each a Hugging Face folder; options stand behind a colon (gptq:bits=3,group=64):\n");
    for (size_t i = 0; ht_scheme_at(i, &s); i++) {
        if (!s.can_write) continue;
        printf("  %-10s %s; loaded by %s\n", s.name, s.about, s.loaders);
        print_options(ht_scheme_option_at, s.name);
    }
}

static json_t *ladders_as_json(void)
{
    struct ht_ladder_info l = {.size = sizeof l};
    json_t *list = json_array();
    for (size_t i = 0; ht_ladder_at(i, &l); i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", l.name, "levels", l.levels, "about", l.about));
    return list;
}

static void print_ladders(void)
{
    struct ht_ladder_info l = {.size = sizeof l};
    printf("\nLadders of schemes (-t), in one folder: each matrix has the first level that loses little enough of it\n"
           "(--max-error); -t 'A>B>none' is one of your own:\n");
    for (size_t i = 0; ht_ladder_at(i, &l); i++)
        printf("  %-12s %s: %s\n", l.name, l.levels, l.about);
}

static json_t *types_as_json(void)
{
    struct ht_mix_info m;
    struct ht_type_info t;
    json_t *mixes = json_array(), *formats = json_array();
    for (size_t i = 0; ht_mix_at(i, &m); i++)
        json_array_append_new(mixes, json_pack("{s:s, s:i, s:s, s:s, s:b}", "name", m.name, "file_type",
                                               (int)m.file_type, "default_type", m.default_type, "about", m.about,
                                               "needs_importance", m.needs_importance));
    for (size_t i = 0; ht_type_at(i, &t); i++)
        json_array_append_new(formats,
                              json_pack("{s:s, s:i, s:i, s:i, s:f, s:b, s:b}", "name", t.name, "gguf_id",
                                        (int)t.gguf_id, "block_weights", (int)t.block_weights, "block_bytes",
                                        (int)t.block_bytes, "bpw", 8.0 * t.block_bytes / t.block_weights,
                                        "uses_importance", t.uses_importance, "needs_importance", t.needs_importance));
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "mixes", mixes, "schemes", schemes_as_json(), "methods",
                     methods_as_json(), "ladders", ladders_as_json(), "types", formats);
}

int run_types(const struct command *c, int argc, char **argv)
{
    bool json;
    struct ht_mix_info m;
    struct ht_type_info t;
    int status = read_args(c, argc, argv, &json);
    if (status != EXIT_DONE) return status;
    if (json) return print_answer(types_as_json());
    printf("Types (-t):\n");
    for (size_t i = 0; ht_mix_at(i, &m); i++)
        printf("  %-10s %s\n", m.name, m.about);
    print_schemes();
    print_methods();
    print_ladders();
    printf("\nFormats of single tensors (--tensor-type):\n");
    for (size_t i = 0; ht_type_at(i, &t); i++)
        printf("  %-8s %7.4f bits per weight, blocks of %u%s\n", t.name, 8.0 * t.block_bytes / t.block_weights,
               t.block_weights,
               t.needs_importance  ? ", needs importance"
               : t.uses_importance ? ", uses importance"
                                   : "");
    return EXIT_DONE;
}

int run_archs(const struct command *c, int argc, char **argv)
{
    bool json;
    struct ht_arch_info a;
    int status = read_args(c, argc, argv, &json);
    if (status != EXIT_DONE) return status;
    json_t *list = json_array();
    for (size_t i = 0; ht_arch_at(i, &a); i++) {
        if (!json) printf("%-12s %s\n", a.name, a.classes);
        json_array_append_new(list, json_pack("{s:s, s:s}", "name", a.name, "classes", a.classes));
    }
    if (json) return print_answer(list);
    json_decref(list);
    return EXIT_DONE;
}

int run_gpus(const struct command *c, int argc, char **argv)
{
    struct ht_gpu_info gpu;
    bool json;
    int status = read_args(c, argc, argv, &json);
    if (status != EXIT_DONE) return status;
    json_t *list = json_array();
    for (size_t i = 0; ht_gpu_at(i, &gpu); i++) {
        json_array_append_new(list,
                              json_pack("{s:s, s:I, s:I}", "name", gpu.name, "memory_bytes", (json_int_t)gpu.memory,
                                        "bandwidth_bytes_per_second", (json_int_t)gpu.bandwidth));
        if (json) continue;
        if (gpu.memory)
            printf("%-34s %4.0f GiB", gpu.name, (double)gpu.memory / (1 << 30));
        else
            printf("%-34s shared  ", gpu.name);
        printf(" %6.0f GB/s\n", (double)gpu.bandwidth / 1e9);
    }
    if (json) return print_answer(list);
    json_decref(list);
    return EXIT_DONE;
}
