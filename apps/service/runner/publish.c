/*
 * Publishing: jobs/ID/out becomes models/SLUG-ID by one rename, made and recorded inside one transaction
 * that first checks the claim. A crash between the rename and the commit leaves the folder in its place
 * and the job running: the next attempt finds it there, with its report, and only records it.
 */
#include "service/artifacts/dir.h"
#include "service/runner/run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

json_t *read_report(const char *folder)
{
    char path[4400];
    snprintf(path, sizeof path, "%s/report.json", folder);
    json_t *report = run__load(path);
    if (report && run__is_whole(folder, report)) return report;
    json_decref(report);
    return NULL;
}

/* What importance was collected on, or the file that it came in, without its folder; NULL: there was none. */
static const char *importance_of(const json_t *report)
{
    const json_t *recipe = json_object_get(report, "recipe");
    const char *file = text_of(recipe, "imatrix");
    if (json_object_get(recipe, "calibration_files")) return "several texts";
    return run__base_name(file ? file : text_of(recipe, "calibration"));
}

static json_t *parts_of(const json_t *output)
{
    const json_t *file;
    size_t i;
    json_t *list = json_array();
    json_array_foreach(json_object_get(output, "files"), i, file)
        json_array_append_new(list, json_pack("{s:s?, s:O?, s:O?}", "name", run__base_name(text_of(file, "path")),
                                              "size", json_object_get(file, "size_bytes"), "sha256",
                                              json_object_get(file, "sha256")));
    return list;
}

/* A row for a file, or, where that is NULL, for the output's folder. */
static json_t *published_row(const json_t *output, const json_t *file, const char *importance)
{
    const char *format = text_of(output, "format");
    json_object_del(json_object_get(output, "quality"), "model"); /* where the file lay is not published */
    json_t *row = json_pack("{s:s, s:o?, s:O?, s:O?, s:O?, s:s?}", "format", format ? format : "gguf", "quant_type",
                            run__quant_type(output), "bits_per_weight", json_object_get(output, "bpw"), "relative_rmse",
                            json_object_get(output, "relative_rmse"), "quality", json_object_get(output, "quality"),
                            "importance", importance);
    json_t *more = file ? json_pack("{s:s?, s:O?, s:s?}", "name", run__base_name(text_of(file, "path")), "file_size",
                                    json_object_get(file, "size_bytes"), "sha256", text_of(file, "sha256"))
                        : json_pack("{s:s, s:I, s:o}", "name", run__folder_of(output), "file_size",
                                    (json_int_t)run__bytes_of(output), "files", parts_of(output));
    json_object_update(row, more);
    json_decref(more);
    return row;
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
    json_array_foreach(json_object_get(report, "outputs"), i, output) {
        if (run__folder_of(output)) {
            json_array_append_new(rows, published_row(output, NULL, importance_of(report)));
            continue;
        }
        json_array_foreach(json_object_get(output, "files"), j, file)
            json_array_append_new(rows, published_row(output, file, importance_of(report)));
    }
    return json_pack("{s:o, s:O?, s:O?, s:o}", "name", model_name(request), "architecture",
                     json_object_get(source, "architecture"), "parameters", json_object_get(source, "parameters"),
                     "outputs", rows);
}

static bool sync_one(const char *path, int flags)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags);
    bool done = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    return done;
}

/* Names and contents of everything in the folder reach the disk before its new name does. The outputs' files were
 * synced by who wrote them; the report was not, and the names in folders are synced once more. */
static bool sync_folder(const char *folder, const json_t *report)
{
    char path[4700];
    const json_t *output;
    size_t i;
    json_array_foreach(json_object_get(report, "outputs"), i, output) {
        const char *name = run__folder_of(output);
        snprintf(path, sizeof path, "%s/%s", folder, name ? name : "");
        /* whose files a worker brought to the bucket is not here */
        if (name && access(path, F_OK) == 0 && !sync_one(path, O_DIRECTORY)) return false;
    }
    snprintf(path, sizeof path, "%s/report.json", folder);
    return sync_one(path, 0) && sync_one(folder, O_DIRECTORY);
}

/* The rename, and what a bucket has already: see publish_folder. */
static bool move(void *ctx)
{
    const struct publication *p = ctx;
    if (dir_exists(p->place)) return true; /* an earlier attempt came as far as this */
    return sync_folder(p->out, p->report) && dir_move(p->out, p->place);
}

/* The bytes go to the bucket, and are read back: before the store is asked, for this takes long. */
static enum store_result to_bucket(struct artifacts *artifacts, const struct publication *p, const json_t *staged,
                                   char *why, size_t size)
{
    struct artifacts_call call = {.goes_on = p->goes_on, .ctx = p->ctx};
    json_t *files = publication_files(p->report), *own = NULL;
    enum artifacts_result result = ARTIFACTS_FAILED;
    snprintf(call.why, sizeof call.why, "the report names files that are not its own");
    if (files && !staged) staged = own = artifacts_stage(artifacts, p->out, p->place_name, files, &call);
    if (files && staged) result = artifacts_publish(artifacts, p->out, p->place_name, files, staged, &call);
    if (own && result != ARTIFACTS_OK) artifacts_discard(artifacts, p->place_name, own);
    json_decref(own);
    json_decref(files);
    if (result != ARTIFACTS_OK) snprintf(why, size, "%s", call.why);
    return result == ARTIFACTS_OK ? STORE_OK : STORE_FAILED;
}

/* A database that is away comes back; a commit that found the disk full may have freed its own space by now. */
static bool may_come(enum store_result result, int tries, const struct publication *p)
{
    return result == STORE_BUSY ? p->patient || tries < 20 : result == STORE_FULL && tries < 20;
}

enum store_result publish_folder(struct store *store, struct artifacts *artifacts, const struct publication *p,
                                 const json_t *staged, char *why, size_t size)
{
    bool far = artifacts_are_far(artifacts);
    why[0] = '\0';
    if (far && to_bucket(artifacts, p, staged, why, size) != STORE_OK)
        return p->goes_on(p->ctx) ? STORE_FAILED : STORE_CONFLICT;
    json_t *what = published(p->request, p->report);
    enum store_result result = store_publish(store, p->claim, p->place_name, what, move, (void *)p);
    for (int i = 0; may_come(result, i, p) && p->goes_on(p->ctx); i++) {
        usleep(100000);
        result = store_publish(store, p->claim, p->place_name, what, move, (void *)p);
    }
    json_decref(what);
    if (far && result == STORE_CONFLICT) artifacts_remove_later(artifacts, p->place_name);
    if (far) artifacts_trim(artifacts, NULL); /* what lies here now is a copy */
    return result;
}

static bool goes_on(void *ctx)
{
    return run__may_go_on(ctx);
}

bool run__publish(struct run *run)
{
    char why[300];
    struct scheduler *s = run->scheduler;
    const struct publication publication = {&run->claim,     run->request, run->report, run->out, run->place,
                                            run->place_name, goes_on,      run,         true};
    enum store_result result = s->link->operations->publish(s->link, &publication);
    if (result == STORE_OK) {
        run->published = true;
        pthread_mutex_lock(&s->lock);
        s->state.completed++;
        if (run->rate > 0) s->state.weights_per_second = run->rate;
        pthread_mutex_unlock(&s->lock);
        return true;
    }
    if (result == STORE_CONFLICT) { /* cancelled, or another's by now */
        run__learn(run);
        return false;
    }
    s->link->operations->why(s->link, why, sizeof why);
    if (result == STORE_FULL) snprintf(run->failure_code, sizeof run->failure_code, "HT_ERR_NO_SPACE");
    run__fail(run, why, NULL);
    return false;
}
