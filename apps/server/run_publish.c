/*
 * Publishing: jobs/ID/out becomes models/SLUG-ID by one rename, made and recorded inside one transaction
 * that first checks the claim. A crash between the rename and the commit leaves the folder in its place
 * and the job running: the next attempt finds it there, with its report, and only records it.
 */
#include "server/dir.h"
#include "server/run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>


static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static const char *base_name(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path;
}

/* Is the file there, as long as the report says? */
static bool is_there(const char *folder, const json_t *file)
{
    char path[4700];
    struct stat st;
    const char *name = base_name(text_of(file, "path"));
    if (!name || snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return false;
    return lstat(path, &st) == 0 && S_ISREG(st.st_mode) &&
           st.st_size == json_integer_value(json_object_get(file, "size_bytes"));
}

static bool is_sha256(const char *text)
{
    return text && strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

static bool is_whole(const char *folder, const json_t *report)
{
    const json_t *output, *file;
    size_t i, j, n = 0;
    json_array_foreach (json_object_get(report, "outputs"), i, output)
        json_array_foreach (json_object_get(output, "files"), j, file) {
            if (!is_there(folder, file) || !is_sha256(text_of(file, "sha256"))) return false;
            n++;
        }
    return n > 0;
}

json_t *run__read_report(struct run *run, const char *folder)
{
    char path[4400];
    (void)run;
    snprintf(path, sizeof path, "%s/report.json", folder);
    json_t *report = run__load(path);
    if (report && is_whole(folder, report)) return report;
    json_decref(report);
    return NULL;
}

static json_t *published_row(const json_t *output, const json_t *file)
{
    json_object_del(json_object_get(output, "quality"), "model"); /* where the file lay: nobody's business */
    return json_pack("{s:s?, s:s, s:s?, s:O?, s:O?, s:s?, s:O?, s:O?}", "name", base_name(text_of(file, "path")),
                     "format", "gguf", "quant_type", text_of(output, "type"), "file_size",
                     json_object_get(file, "size_bytes"), "bits_per_weight", json_object_get(output, "bpw"), "sha256",
                     text_of(file, "sha256"), "relative_rmse", json_object_get(output, "relative_rmse"), "quality",
                     json_object_get(output, "quality"));
}

/* What people call the model: the hub's name, or the last part of a path. The caller's. */
static json_t *model_name(const json_t *request)
{
    const char *name = text_of(request, "source_model"), *kind = text_of(request, "source_type");
    size_t end = name ? strlen(name) : 0, start;
    while (end > 1 && name[end - 1] == '/')
        end--;
    start = end;
    while (start > 0 && name[start - 1] != '/')
        start--;
    if (!name || start == end || (kind && strcmp(kind, "huggingface") == 0)) return json_null();
    return json_stringn(name + start, end - start);
}

static json_t *published(const json_t *request, const json_t *report)
{
    const json_t *output, *file, *source = json_object_get(report, "source");
    size_t i, j;
    json_t *rows = json_array();
    json_array_foreach (json_object_get(report, "outputs"), i, output)
        json_array_foreach (json_object_get(output, "files"), j, file)
            json_array_append_new(rows, published_row(output, file));
    return json_pack("{s:o, s:O?, s:O?, s:o}", "name", model_name(request), "architecture",
                     json_object_get(source, "architecture"), "parameters", json_object_get(source, "parameters"),
                     "outputs", rows);
}

/* Names and contents of everything in the folder reach the disk before its new name does. The outputs were
 * synced by who wrote them; the report was not. */
static bool sync_folder(const char *folder)
{
    char path[4400];
    snprintf(path, sizeof path, "%s/report.json", folder);
    int report = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK),
        fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool done = report >= 0 && fd >= 0 && fsync(report) == 0 && fsync(fd) == 0;
    if (report >= 0) close(report);
    if (fd >= 0) close(fd);
    return done;
}

static bool move(void *ctx)
{
    struct run *run = ctx;
    if (dir_exists(run->place)) return true; /* an earlier attempt came as far as this */
    return sync_folder(run->out) && dir_move(run->out, run->place);
}

bool run__publish(struct run *run)
{
    char why[300];
    struct scheduler *s = run->scheduler;
    json_t *what = published(run->request, run->report);
    enum store_result result = store_publish(s->store, &run->claim, run->place_name, what, move, run);
    for (int i = 0; i < 20 && (result == STORE_BUSY || result == STORE_FULL) && run__may_go_on(run); i++) {
        usleep(100000); /* a commit that found the disk full may have freed its own space by now */
        result = store_publish(s->store, &run->claim, run->place_name, what, move, run);
    }
    json_decref(what);
    if (result == STORE_OK) {
        run->published = true;
        pthread_mutex_lock(&s->lock);
        s->state.completed++;
        if (run->rate > 0) s->state.weights_per_second = run->rate;
        pthread_mutex_unlock(&s->lock);
        return true;
    }
    if (result == STORE_CONFLICT) return false; /* cancelled, or another's by now */
    store_why(s->store, why, sizeof why);
    if (result == STORE_FULL) snprintf(run->failure_code, sizeof run->failure_code, "HT_ERR_NO_SPACE");
    run__fail(run, why, NULL);
    return false;
}
