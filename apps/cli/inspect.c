/* inspect: what is inside a file. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_metadata(const json_t *metadata)
{
    const char *key;
    const json_t *v;
    json_object_foreach((json_t *)(uintptr_t)metadata, key, v) {
        char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
        printf("  %-42s %.100s%s\n", key, text ? text : "", text && strlen(text) > 100 ? "…" : "");
        free(text);
    }
}

static void print_inside(const json_t *r)
{
    char size[32];
    const char *type;
    const json_t *v, *t;
    size_t i;
    printf("%s: %s, %lld tensors, %.3f M weights, %s\n", json_string_value(json_object_get(r, "path")),
           json_string_value(json_object_get(r, "kind")),
           (long long)json_integer_value(json_object_get(r, "tensor_count")),
           (double)json_integer_value(json_object_get(r, "parameters")) / 1e6,
           human_bytes((double)json_integer_value(json_object_get(r, "bytes")), size));
    json_object_foreach(json_object_get(r, "types"), type, v)
        printf("  %-8s %5lld tensors %12s\n", type, (long long)json_integer_value(json_object_get(v, "tensors")),
               human_bytes((double)json_integer_value(json_object_get(v, "bytes")), size));
    if (json_object_get(r, "metadata")) print_metadata(json_object_get(r, "metadata"));
    json_array_foreach(json_object_get(r, "tensors"), i, t) {
        char *shape = json_dumps(json_object_get(t, "shape"), JSON_COMPACT);
        printf("  %-44s %-8s %s\n", json_string_value(json_object_get(t, "name")),
               json_string_value(json_object_get(t, "type")), shape ? shape : "");
        free(shape);
    }
    if (json_is_true(json_object_get(r, "verified"))) printf("every block is sound\n");
}

int run_inspect(const struct command *c, int argc, char **argv)
{
    unsigned flags = 0;
    bool json = false;
    const char *path = NULL;
    struct ht_diag diag = {0};
    struct ht_job *job;
    char *text;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--tensors") == 0) flags |= HT_INSPECT_TENSORS;
        else if (strcmp(argv[i], "--verify") == 0) flags |= HT_INSPECT_VERIFY;
        else if (strcmp(argv[i], "--json") == 0) json = true;
        else if (hub_flag(argv[i])) continue;
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return print_help(c), EXIT_DONE;
        else if (argv[i][0] == '-' || path) return usage_error(c, "\"%s\" was not expected", argv[i]);
        else path = argv[i];
    }
    if (!path) return usage_error(c, "no file was named");
    if (ht_job_open(&job) != HT_OK) return EXIT_RESOURCES;
    hub_from_environment(job);
    ht_job_set(job, "source", path, NULL);
    watch_job(job, false, json);
    enum ht_err err = ht_job_inspect(job, flags, &text, &diag);
    progress_done();
    ht_job_close(&job);
    if (err != HT_OK) return report_error(c, err, &diag, json);
    if (json) {
        puts(text);
    } else {
        json_t *r = json_loads(text, 0, NULL);
        print_inside(r);
        json_decref(r);
    }
    ht_free(text);
    return EXIT_DONE;
}
