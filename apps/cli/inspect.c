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
        size_t most = 100, n = text ? strlen(text) : 0;
        while (text && n > most && most && ((unsigned char)text[most] & 0xc0) == 0x80)
            most--; /* never half a character */
        if (n > most) text[most] = '\0';
        printf("  ");
        print_safe(key, 42);
        putchar(' ');
        print_safe(text ? text : "", 0);
        printf("%s\n", n > most ? "…" : "");
        free(text);
    }
}

static void print_fact(const char *name, const char *value, const char *more)
{
    if (!*value) return;
    printf("  %-14s ", name);
    print_safe(value, 0);
    if (*more) printf(" ("), print_safe(more, 0), putchar(')');
    putchar('\n');
}

static void print_figure(const char *name, const json_t *model, const char *key)
{
    if (json_object_get(model, key)) printf("  %-14s %.0f\n", name, number_of(model, key));
}

/* A folder is known by its model; of a GGUF file the metadata follows. */
static void print_model(const json_t *r)
{
    const json_t *m = json_object_get(r, "model");
    if (!m && !json_object_get(r, "metadata")) print_fact("model", "not known", text_of(r, "model_unknown"));
    if (!m) return;
    print_fact("name", text_of(m, "name"), "");
    print_fact("architecture", text_of(m, "architecture"), "");
    print_figure("layers", m, "layers");
    print_figure("embedding", m, "embedding");
    print_figure("experts", m, "experts");
    print_figure("context", m, "context");
    print_fact("tokenizer", text_of(m, "tokenizer"), text_of(m, "pre_tokenizer"));
    print_figure("vocabulary", m, "vocabulary");
    print_fact("license", *text_of(m, "license") ? text_of(m, "license") : "not stated", "");
    putchar('\n');
}

static void print_inside(const json_t *r)
{
    char size[32];
    const char *type;
    const json_t *v, *t;
    size_t i;
    print_safe(text_of(r, "path"), 0);
    printf(": %s, %lld tensors, %.3f M weights, %s\n", json_string_value(json_object_get(r, "kind")),
           (long long)json_integer_value(json_object_get(r, "tensor_count")),
           (double)json_integer_value(json_object_get(r, "parameters")) / 1e6,
           human_bytes((double)json_integer_value(json_object_get(r, "bytes")), size));
    print_model(r);
    json_object_foreach(json_object_get(r, "types"), type, v)
        printf("  %-8s %5lld tensors %12s\n", type, (long long)json_integer_value(json_object_get(v, "tensors")),
               human_bytes((double)json_integer_value(json_object_get(v, "bytes")), size));
    if (json_object_get(r, "metadata")) print_metadata(json_object_get(r, "metadata"));
    json_array_foreach(json_object_get(r, "tensors"), i, t) {
        char *shape = json_dumps(json_object_get(t, "shape"), JSON_COMPACT);
        printf("  ");
        print_safe(text_of(t, "name"), 44);
        printf(" %-8s %s\n", text_of(t, "type"), shape ? shape : "");
        free(shape);
    }
    if (json_is_true(json_object_get(r, "verified"))) printf("every block is valid\n");
}

static void show(const struct command *c, const json_t *result, const struct arguments *args)
{
    (void)c, (void)args;
    print_inside(result);
}

static enum ht_err run(struct ht_job *job, const struct command *c, const struct arguments *args, char **json,
                       struct ht_diag *diag)
{
    (void)c;
    return ht_job_inspect(job, (args->tensors ? HT_INSPECT_TENSORS : 0) | (args->verify ? HT_INSPECT_VERIFY : 0), json,
                          diag);
}

int run_inspect(const struct command *c, int argc, char **argv)
{
    static const struct job_verb verb = {.run = run, .show = show, .needs_model = true, .one_object = true};
    return run_job(c, argc, argv, &verb);
}
