#include "service/child/confine.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * Headers of the largest checkpoints (a million tensors, a tokenizer of 30 MB) take some 300 MB. A thread's stack
 * counts with its 8 MB, whatever it uses of it.
 */
#define HEADERS_MEMORY ((uint64_t)1 << 30)
#define A_THREAD ((uint64_t)16 << 20)

uint64_t confine_headers_memory(uint64_t limit)
{
    long threads = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t most = HEADERS_MEMORY + (threads > 0 ? (uint64_t)threads : 1) * A_THREAD;
    return limit && limit < most ? limit : most;
}

static void confine(struct child_settings *settings, struct confined *confined)
{
    confined->readable[0] = *confined->folder ? confined->folder : NULL;
    confined->readable[1] = NULL;
    settings->confined = true;
    settings->network = false;
    settings->readable = confined->readable;
    if (confined->more) confined->more[0] = confined->folder; /* "": there is no such file */
    if (confined->more) settings->readable = confined->more;
}

void confine_add(struct child_settings *settings, struct confined *confined, const char **more)
{
    confined->more = more;
    confine(settings, confined);
}

/* …/models--ORG--NAME/snapshots/COMMIT is full of links to …/models--ORG--NAME/blobs. */
static void repository_of(const char *path, char *folder, size_t size)
{
    const char *at = strstr(path, "/snapshots/");
    snprintf(folder, size, "%.*s", at ? (int)(at - path) : (int)strlen(path), path);
}

void confine_child(struct child_settings *settings, struct confined *confined, const struct confine_roots *roots,
                   const char *data, const json_t *request)
{
    const char *type = json_string_value(json_object_get(request, "source_type")),
               *path = json_string_value(json_object_get(request, "source_path"));
    *confined = (struct confined){.folder = ""};
    settings->readable_fds = roots->fds;
    settings->n_readable_fds = roots->n;
    if (type && strcmp(type, "upload") == 0)
        snprintf(confined->folder, sizeof confined->folder, "%s/uploads", data);
    else if (type && strcmp(type, "huggingface") == 0 && path)
        repository_of(path, confined->folder, sizeof confined->folder);
    confine(settings, confined);
}

void confine_to_repository(struct child_settings *settings, struct confined *confined, const char *path)
{
    *confined = (struct confined){.folder = ""};
    repository_of(path, confined->folder, sizeof confined->folder);
    confine(settings, confined);
}

void confine_child_to(struct child_settings *settings, struct confined *confined, const char *path)
{
    *confined = (struct confined){.folder = ""};
    snprintf(confined->folder, sizeof confined->folder, "%s", path);
    confine(settings, confined);
}
