/* jobs download, registry download: an output or a variant, a file or a folder. */
#include "jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int read_wish(const struct command *c, int argc, char **argv, struct wish *wish)
{
    *wish = (struct wish){0};
    for (int i = 2; i < argc; i++) {
        if (take_value("-o", argc, argv, &i, &wish->to) || take_value("--output", argc, argv, &i, &wish->to) ||
            take_value("--file", argc, argv, &i, &wish->file))
            continue;
        if (strcmp(argv[i], "--overwrite") == 0)
            wish->overwrite = true;
        else if (argv[i][0] == '-' || wish->name)
            return unknown_argument(c, argv[i]);
        else
            wish->name = argv[i];
    }
    return EXIT_DONE;
}

const json_t *find_wished(const json_t *list, const char *name)
{
    static const char *const keys[] = {"id", "name", "quant_type"};
    const json_t *item;
    size_t i, k;
    for (k = 0; k < sizeof keys / sizeof *keys; k++)
        json_array_foreach(list, i, item)
            if (strcmp(text_of(item, keys[k]), name) == 0) return item;
    return NULL;
}

static int answer(const struct remote *r, const char *path, uint64_t size, const char *sha256, const json_t *files)
{
    if (!r->json) {
        printf("%s\n", path);
        return EXIT_DONE;
    }
    json_t *o = json_pack("{s:s, s:I}", "path", path, "size_bytes", (json_int_t)size);
    if (sha256) json_object_set_new(o, "sha256", json_string(sha256));
    if (files) json_object_set(o, "files", (json_t *)files);
    return print_answer(o);
}

static int fetch_file(struct remote *r, const char *path, const char *to, uint64_t size, const char *sha256,
                      bool overwrite)
{
    struct remote_file file = {
        .path = path, .to = to, .sha256 = sha256, .size = size, .overwrite = overwrite, .quiet = r->json};
    int status = remote_download(r, &file);
    return status == EXIT_DONE ? answer(r, to, size, sha256, NULL) : status;
}

static int fetch_folder(struct remote *r, const char *path, const char *to, const json_t *item, bool overwrite)
{
    const json_t *files = json_object_get(item, "files");
    struct remote_folder folder = {.path = path, .to = to, .files = files, .overwrite = overwrite, .quiet = r->json};
    int status = remote_download_folder(r, &folder);
    return status == EXIT_DONE
               ? answer(r, to, (uint64_t)json_integer_value(json_object_get(item, "file_size")), NULL, files)
               : status;
}

/* One file of a folder. */
static int fetch_part(struct remote *r, const char *path, const json_t *item, const struct wish *wish)
{
    const json_t *file = find_wished(json_object_get(item, "files"), wish->file);
    if (!file) return usage_error(r->command, "\"%s\" has no file \"%s\"", text_of(item, "name"), wish->file);
    char *name = curl_easy_escape(r->curl, wish->file, 0), *whole = NULL;
    int status = EXIT_RESOURCES;
    if (name && asprintf(&whole, "%s/files/%s", path, name) >= 0)
        status = fetch_file(r, whole, wish->to ? wish->to : wish->file,
                            (uint64_t)json_integer_value(json_object_get(file, "size")), text_of(file, "sha256"),
                            wish->overwrite);
    free(whole);
    curl_free(name);
    return status;
}

int download_item(struct remote *r, char *path, const json_t *item, const struct wish *wish)
{
    const char *name = wish->file ? wish->file : text_of(item, "name");
    int status;
    if (!path)
        status = EXIT_RESOURCES;
    else if (!wish->to && (!*name || strchr(name, '/') || *name == '.'))
        status = usage_error(r->command, "it has no usable file name; give one with -o FILE");
    else if (wish->file)
        status = fetch_part(r, path, item, wish);
    else if (json_is_array(json_object_get(item, "files")))
        status = fetch_folder(r, path, wish->to ? wish->to : name, item, wish->overwrite);
    else
        status = fetch_file(r, path, wish->to ? wish->to : name,
                            (uint64_t)json_integer_value(json_object_get(item, "file_size")), text_of(item, "sha256"),
                            wish->overwrite);
    free(path);
    return status;
}

void print_files(const json_t *files)
{
    const json_t *file;
    size_t i;
    json_array_foreach(files, i, file) {
        char size[32];
        printf("    %9s  ", human_bytes(number_of(file, "size"), size));
        print_safe(text_of(file, "name"), 0);
        putchar('\n');
    }
}
