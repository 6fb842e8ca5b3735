/* registry: what a server has made. */
#include "jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_tags(const json_t *model)
{
    const json_t *tag;
    size_t i;
    json_array_foreach(json_object_get(model, "tags"), i, tag) {
        printf("%s", i ? " " : "  [");
        print_safe(json_string_value(tag) ? json_string_value(tag) : "", 0);
    }
    if (i) printf("]");
}

static void print_model(const json_t *model)
{
    char size[32], run[32];
    const json_t *v;
    size_t i;
    printf("%s  ", text_of(model, "id"));
    print_safe(text_of(model, "name"), 0);
    print_tags(model);
    putchar('\n');
    json_array_foreach(json_object_get(model, "variants"), i, v) {
        const json_t *need = json_object_get(v, "run_memory");
        printf("  %s  ", text_of(v, "id"));
        print_safe(text_of(v, "quant_type"), 9);
        printf(" %9s %6.3f bits", human_bytes(number_of(v, "file_size"), size), number_of(v, "bits_per_weight"));
        if (json_is_number(json_object_get(v, "perplexity"))) printf("  perplexity %.4f", number_of(v, "perplexity"));
        if (json_is_number(json_object_get(v, "kld"))) printf("  divergence %.6f", number_of(v, "kld"));
        if (json_is_object(need)) printf("  %s to run", human_bytes(number_of(need, "with_margin_bytes"), run));
        printf("  ");
        print_safe(text_of(v, "name"), 0);
        if (json_is_array(json_object_get(v, "files")))
            printf("/ (%zu files)", json_array_size(json_object_get(v, "files")));
        putchar('\n');
    }
}

static int list(struct remote *r, int argc, char **argv)
{
    const char *search = NULL, *tag = NULL;
    json_t *page, *model;
    size_t i;
    for (int k = 1; k < argc; k++)
        if (!take_value("--search", argc, argv, &k, &search) && !take_value("--tag", argc, argv, &k, &tag))
            return unknown_argument(r->command, argv[k]);
    char *path = search && tag ? remote_path(r, "/models?limit=200&search=%s&tag=%s", search, tag)
                 : search      ? remote_path(r, "/models?limit=200&search=%s", search, NULL)
                 : tag         ? remote_path(r, "/models?limit=200&tag=%s", tag, NULL)
                               : remote_path(r, "/models?limit=200", NULL, NULL);
    int status = remote_call(r, "GET", path, NULL, &page);
    free(path);
    if (status != EXIT_DONE) return status;
    if (r->json) return print_answer(page);
    json_array_foreach(json_object_get(page, "models"), i, model)
        print_model(model);
    if (number_of(page, "total") > (double)json_array_size(json_object_get(page, "models")))
        printf("of %.0f; --search and --tag narrow it down\n", number_of(page, "total"));
    json_decref(page);
    return EXIT_DONE;
}

static int one(struct remote *r, const char *method, const char *fmt, const char *a, const char *b, json_t *body)
{
    json_t *answer = NULL;
    char *path = remote_path(r, fmt, a, b);
    int status = remote_call(r, method, path, body, &answer);
    free(path);
    if (status != EXIT_DONE || !answer) return status;
    if (r->json) return print_answer(answer);
    print_model(answer);
    json_decref(answer);
    return EXIT_DONE;
}

static int show(struct remote *r, int argc, char **argv)
{
    (void)argc;
    return one(r, "GET", "/models/%s", argv[1], NULL, NULL);
}

/* The tags that follow are all of its tags from now on. */
static int tag(struct remote *r, int argc, char **argv)
{
    json_t *tags = json_array();
    for (int i = 2; i < argc; i++)
        json_array_append_new(tags, json_string(argv[i]));
    return one(r, "PATCH", "/models/%s", argv[1], NULL, json_pack("{s:o}", "tags", tags));
}

static int delete (struct remote *r, int argc, char **argv)
{
    return one(r, "DELETE", argc > 2 ? "/models/%s/variants/%s" : "/models/%s", argv[1], argc > 2 ? argv[2] : NULL,
               NULL);
}

static int download(struct remote *r, int argc, char **argv)
{
    struct wish wish;
    json_t *model;
    int status = read_wish(r->command, argc, argv, &wish);
    if (status != EXIT_DONE) return status;
    if (!wish.name) return usage_error(r->command, "which variant? Give its id, type or name");
    char *path = remote_path(r, "/models/%s", argv[1], NULL);
    status = remote_call(r, "GET", path, NULL, &model);
    free(path);
    if (status != EXIT_DONE) return status;
    const json_t *v = find_wished(json_object_get(model, "variants"), wish.name);
    status = v ? download_item(r, remote_path(r, "/models/%s/variants/%s", argv[1], text_of(v, "id")), v, &wish)
               : usage_error(r->command, "the model has no variant \"%s\"", wish.name);
    json_decref(model);
    return status;
}

int run_registry(const struct command *c, int argc, char **argv)
{
    static const struct remote_verb verbs[] = {{"list", 0, 4, list},         {"show", 1, 1, show},
                                               {"tag", 1, 65, tag},          {"delete", 1, 2, delete},
                                               {"download", 2, 8, download}, {NULL, 0, 0, NULL}};
    return remote_main(&halftone_server, c, verbs, argc, argv);
}
