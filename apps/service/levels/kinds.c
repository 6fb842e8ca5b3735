#include "service/levels/kinds.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST = 4000, SECONDS = 20 };

struct known {
    struct known *next;
    char path[4096];
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
    struct kind kind;
};

struct kinds {
    pthread_mutex_t lock;
    const struct confine_roots *roots;
    struct known *list;
    size_t n;
};

struct kinds *kinds_open(const struct confine_roots *roots)
{
    struct kinds *k = calloc(1, sizeof *k);
    if (!k) return NULL;
    pthread_mutex_init(&k->lock, NULL);
    k->roots = roots;
    return k;
}

static void forget_all(struct kinds *k)
{
    while (k->list) {
        struct known *one = k->list;
        k->list = one->next;
        free(one);
    }
    k->n = 0;
}

void kinds_close(struct kinds **kinds)
{
    struct kinds *k = *kinds;
    if (!k) return;
    forget_all(k);
    pthread_mutex_destroy(&k->lock);
    free(k);
    *kinds = NULL;
}

/* ---- looking ------------------------------------------------------------------------------------ */

/* The kind that most weights have decides: embeddings and norms often stay as they were. */
static void take(const json_t *report, struct kind *kind)
{
    const json_t *model = json_object_get(report, "model"), *stored = json_object_get(model, "stored");
    const char *name, *unknown = json_string_value(json_object_get(report, "model_unknown"));
    json_t *one;
    json_int_t most = 0;
    json_object_foreach((json_t *)stored, name, one) {
        json_int_t n = json_integer_value(json_object_get(one, "weights"));
        if (n <= most) continue;
        most = n;
        snprintf(kind->type, sizeof kind->type, "%s", name);
        kind->bits = 8 * (double)json_integer_value(json_object_get(one, "bytes")) / (double)n;
    }
    if (most)
        kind->level = level_of_bits(kind->bits);
    else
        snprintf(kind->fault, sizeof kind->fault, "%s", unknown ? unknown : "it has no weights");
}

/* true: it will be the same the next time. */
static bool look(struct kinds *k, const char *path, bool file, struct child_stop *stop, struct kind *kind)
{
    const char *arguments[] = {"inspect", "--json", "--", path, NULL};
    struct child_settings settings = {.arguments = arguments,
                                      .timeout_seconds = SECONDS,
                                      .memory_limit = confine_headers_memory(0),
                                      .readable_fds = k->roots->fds,
                                      .n_readable_fds = k->roots->n};
    char folder[4096];
    struct confined confined;
    struct child_exit exit;
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (file && slash) *slash = '\0'; /* the other parts of a split file lie beside it */
    confine_to_repository(&settings, &confined, folder);
    json_t *report = child_json(&settings, stop, &exit);
    if (report)
        take(report, kind);
    else
        snprintf(kind->fault, sizeof kind->fault, "its tensors cannot be read: %.200s",
                 *exit.error_text ? exit.error_text : exit.reason);
    json_decref(report);
    return report || exit.end == CHILD_EXITED;
}

/* ---- what is known ------------------------------------------------------------------------------ */

static bool is_of(const struct known *one, const char *path, const struct stat *info)
{
    return strcmp(one->path, path) == 0 && one->device == info->st_dev && one->inode == info->st_ino &&
           one->size == info->st_size && one->changed.tv_sec == info->st_mtim.tv_sec &&
           one->changed.tv_nsec == info->st_mtim.tv_nsec;
}

static bool find(struct kinds *k, const char *path, const struct stat *info, struct kind *kind)
{
    pthread_mutex_lock(&k->lock);
    const struct known *one = k->list;
    while (one && !is_of(one, path, info))
        one = one->next;
    if (one) *kind = one->kind;
    pthread_mutex_unlock(&k->lock);
    return one != NULL;
}

static void keep(struct kinds *k, const char *path, const struct stat *info, const struct kind *kind)
{
    struct known *one = calloc(1, sizeof *one);
    if (!one) return;
    snprintf(one->path, sizeof one->path, "%s", path);
    one->device = info->st_dev;
    one->inode = info->st_ino;
    one->size = info->st_size;
    one->changed = info->st_mtim;
    one->kind = *kind;
    pthread_mutex_lock(&k->lock);
    if (k->n >= MOST) forget_all(k);
    one->next = k->list;
    k->list = one;
    k->n++;
    pthread_mutex_unlock(&k->lock);
}

void kinds_of(struct kinds *k, const char *path, struct child_stop *stop, struct kind *kind)
{
    struct stat info;
    *kind = (struct kind){.level = LEVEL_UNSET};
    if (stat(path, &info) != 0) {
        snprintf(kind->fault, sizeof kind->fault, "it is not there any more");
        return;
    }
    if (find(k, path, &info, kind)) return;
    if (look(k, path, S_ISREG(info.st_mode), stop, kind)) keep(k, path, &info, kind);
}
