/* types and archs. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int wants_json(const struct command *c, int argc, char **argv, bool *json)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) *json = true;
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return print_help(c), -1;
        else return usage_error(c, "\"%s\" was not expected", argv[i]);
    }
    return EXIT_DONE;
}

static int print_json(json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
    if (!text) return EXIT_RESOURCES;
    puts(text);
    free(text);
    json_decref(value);
    return EXIT_DONE;
}

static json_t *types_as_json(void)
{
    struct ht_mix_info m;
    struct ht_type_info t;
    json_t *mixes = json_array(), *formats = json_array();
    for (size_t i = 0; ht_mix_at(i, &m); i++)
        json_array_append_new(mixes, json_pack("{s:s, s:i, s:s, s:s}", "name", m.name, "file_type",
                                               (int)m.file_type, "default_type", m.default_type, "about", m.about));
    for (size_t i = 0; ht_type_at(i, &t); i++)
        json_array_append_new(formats, json_pack("{s:s, s:i, s:i, s:i, s:f, s:b, s:b}", "name", t.name, "gguf_id",
                                                 (int)t.gguf_id, "block_weights", (int)t.block_weights,
                                                 "block_bytes", (int)t.block_bytes, "bpw",
                                                 8.0 * t.block_bytes / t.block_weights, "uses_importance",
                                                 t.uses_importance, "needs_importance", t.needs_importance));
    return json_pack("{s:o, s:o}", "mixes", mixes, "types", formats);
}

int run_types(const struct command *c, int argc, char **argv)
{
    bool json = false;
    struct ht_mix_info m;
    struct ht_type_info t;
    int status = wants_json(c, argc, argv, &json);
    if (status) return status < 0 ? EXIT_DONE : status;
    if (json) return print_json(types_as_json());
    printf("Mixes (-t):\n");
    for (size_t i = 0; ht_mix_at(i, &m); i++)
        printf("  %-10s %s\n", m.name, m.about);
    printf("\nNumeric formats (--tensor-type):\n");
    for (size_t i = 0; ht_type_at(i, &t); i++)
        printf("  %-8s %7.4f bits per weight, blocks of %u%s\n", t.name, 8.0 * t.block_bytes / t.block_weights,
               t.block_weights,
               t.needs_importance ? ", needs importance" : t.uses_importance ? ", uses importance" : "");
    return EXIT_DONE;
}

int run_archs(const struct command *c, int argc, char **argv)
{
    bool json = false;
    struct ht_arch_info a;
    int status = wants_json(c, argc, argv, &json);
    if (status) return status < 0 ? EXIT_DONE : status;
    json_t *list = json_array();
    for (size_t i = 0; ht_arch_at(i, &a); i++) {
        if (!json) printf("%-12s %s\n", a.name, a.classes);
        json_array_append_new(list, json_pack("{s:s, s:s}", "name", a.name, "classes", a.classes));
    }
    if (json) return print_json(list);
    json_decref(list);
    return EXIT_DONE;
}
