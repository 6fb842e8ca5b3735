/*
 * What the store says is compared with what lies there. A service may be at work meanwhile: what lies there is listed first, and
 * whatever looks wrong is looked at once more, a moment later and with the store's latest word, before it is told.
 */
#include "service/admin/admin.h"

#include "service/runner/names.h"
#include "service/store/claims.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct check {
    struct store *store;
    struct artifacts *here, *far; /* far NULL: there is no bucket */
    bool quick;
    json_t *found;    /* {name: size}: files below models/, and of the bucket objects/ */
    json_t *known;    /* {name: {job_id, name, size, sha256}}: published files */
    json_t *folders;  /* {"models/SLUG-ID": true}: that have some */
    json_t *problems; /* as they are told */
    uint64_t files, bytes, of;
    const struct check_progress *progress;
};

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

static void tell(struct check *c, const char *kind, const char *name, const char *job, const char *text)
{
    json_array_append_new(c->problems, json_pack("{s:s, s:s, s:s*, s:s}", "kind", kind, "name", name, "job_id",
                                                 *job ? job : NULL, "text", text));
}

/* A service that is just publishing or removing something needs a moment for it. */
static void wait_a_moment(void)
{
    nanosleep(&(struct timespec){0, 500000000}, NULL);
}

static struct artifacts *place_of(const struct check *c, const char *name)
{
    return strncmp(name, "objects/", 8) == 0 ? c->far : c->here;
}

/* ---- what lies there ---- */

static bool note(void *ctx, const char *name, uint64_t size)
{
    json_object_set_new(((struct check *)ctx)->found, name, json_integer((json_int_t)size));
    return true;
}

static bool list_all(struct check *c, char *why, size_t size)
{
    struct artifacts_call call = {0};
    enum artifacts_result result = artifacts_list(c->here, "models", note, c, &call);
    if (result == ARTIFACTS_OK && c->far) result = artifacts_list(c->far, "objects/", note, c, &call);
    if (result != ARTIFACTS_OK) snprintf(why, size, "%s", call.why);
    return result == ARTIFACTS_OK;
}

/* ---- published files ---- */

struct reading {
    struct check *c;
    EVP_MD_CTX *hash;
    const char *name;
    uint64_t n;
};

static bool add_piece(void *ctx, const void *data, size_t len)
{
    struct reading *r = ctx;
    r->n += len;
    r->c->bytes += len;
    const struct check_progress *p = r->c->progress;
    if (p && p->tell) p->tell(p->ctx, r->name, r->c->bytes, r->c->of);
    return EVP_DigestUpdate(r->hash, data, len) == 1;
}

static enum artifacts_result hash_file(struct check *c, struct artifacts *at, const char *name, uint64_t size,
                                       char sha256[65], struct artifacts_call *call)
{
    unsigned char bytes[EVP_MAX_MD_SIZE] = {0};
    struct reading r = {.c = c, .hash = EVP_MD_CTX_new(), .name = name};
    enum artifacts_result result = ARTIFACTS_FAILED;
    if (r.hash && EVP_DigestInit_ex(r.hash, EVP_sha256(), NULL) == 1)
        result = size ? artifacts_read(at, name, 0, size, add_piece, &r, call) : ARTIFACTS_OK;
    if (r.hash) EVP_DigestFinal_ex(r.hash, bytes, NULL);
    EVP_MD_CTX_free(r.hash);
    for (int i = 0; i < 32; i++)
        snprintf(sha256 + 2 * i, 3, "%02x", bytes[i]);
    if (result == ARTIFACTS_OK && r.n != size) {
        snprintf(call->why, sizeof call->why, "it ends after %" PRIu64 " bytes", r.n);
        result = ARTIFACTS_FAILED;
    }
    return result;
}

/* "": it is well; else the kind of the problem, and text says it. */
static const char *judge_file(struct check *c, struct artifacts *at, const json_t *file, char *text, size_t room)
{
    const char *name = text_of(file, "name"), *wanted = text_of(file, "sha256");
    uint64_t size = (uint64_t)json_integer_value(json_object_get(file, "size")), there = 0;
    char sha256[65] = "";
    struct artifacts_call call = {0};
    enum artifacts_result result = at ? artifacts_look(at, name, &there, sha256, &call) : ARTIFACTS_MISSING;
    if (result == ARTIFACTS_OK && there == size && !c->quick) result = hash_file(c, at, name, size, sha256, &call);
    const char *kind = result == ARTIFACTS_MISSING              ? "missing"
                       : result != ARTIFACTS_OK                 ? "unreadable"
                       : there != size                          ? "size"
                       : *sha256 && strcmp(sha256, wanted) != 0 ? "sha256"
                                                                : "";
    if (!at)
        snprintf(text, room, "it lies in a bucket: give --artifacts");
    else if (strcmp(kind, "missing") == 0)
        snprintf(text, room, "it is published, and not there");
    else if (strcmp(kind, "size") == 0)
        snprintf(text, room, "%" PRIu64 " bytes, published were %" PRIu64, there, size);
    else if (strcmp(kind, "sha256") == 0)
        snprintf(text, room, "its SHA-256 is %.64s, published was %.64s", sha256, wanted);
    else
        snprintf(text, room, "%.200s", call.why);
    return kind;
}

static void check_file(struct check *c, const json_t *file)
{
    char text[300];
    const char *name = text_of(file, "name"), *kind = judge_file(c, place_of(c, name), file, text, sizeof text);
    c->files++;
    if (!*kind) return;
    wait_a_moment();
    if (!store_is_published(c->store, name)) return; /* it was removed meanwhile */
    kind = judge_file(c, place_of(c, name), file, text, sizeof text);
    if (*kind) tell(c, kind, name, text_of(file, "job_id"), text);
}

static bool check_published(struct check *c)
{
    char folder[300], id[STORE_ID_SIZE];
    json_t *list = store_published(c->store);
    const json_t *file;
    size_t i;
    json_array_foreach(list, i, file) {
        c->of += (uint64_t)json_integer_value(json_object_get(file, "size"));
        json_object_set(c->known, text_of(file, "name"), (json_t *)file);
        if (name_folder(text_of(file, "name"), folder, id)) json_object_set_new(c->folders, folder, json_true());
    }
    json_array_foreach(list, i, file)
        check_file(c, file);
    json_decref(list);
    return list != NULL;
}

static bool check_recorded(struct check *c)
{
    json_t *list = store_unrecorded(c->store);
    const json_t *output;
    size_t i;
    json_array_foreach(list, i, output)
        tell(c, "unrecorded", *text_of(output, "path") ? text_of(output, "path") : text_of(output, "name"),
             text_of(output, "job_id"), "the job counts it as completed, and the registry does not know it");
    json_decref(list);
    return list != NULL;
}

/* ---- what belongs to nobody ---- */

static bool describes(const char *name)
{
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
    return strcmp(base, "report.json") == 0 || strcmp(base, "quality.html") == 0;
}

static bool belongs(const struct check *c, const char *name)
{
    char folder[300], id[STORE_ID_SIZE];
    if (json_object_get(c->known, name)) return true;
    if (!name_folder(name, folder, id)) return false;
    if (json_object_get(c->folders, folder) && describes(name)) return true;
    return store_job_unfinished(c->store, id);
}

static bool is_still_there(struct check *c, const char *name)
{
    uint64_t size;
    char sha256[65];
    struct artifacts_call call = {0};
    return artifacts_look(place_of(c, name), name, &size, sha256, &call) != ARTIFACTS_MISSING;
}

static void job_of(const char *name, char id[STORE_ID_SIZE])
{
    char folder[300];
    if (!name_folder(name, folder, id)) id[0] = '\0';
}

static void check_orphans(struct check *c)
{
    const char *name;
    const json_t *size;
    json_t *candidates = json_array(), *item;
    size_t i;
    json_object_foreach(c->found, name, size)
        if (!belongs(c, name)) json_array_append_new(candidates, json_string(name));
    if (json_array_size(candidates) > 0) wait_a_moment();
    json_array_foreach(candidates, i, item) {
        char text[200], id[STORE_ID_SIZE], folder[300];
        name = json_string_value(item);
        if (belongs(c, name) || store_is_published(c->store, name) || !is_still_there(c, name)) continue;
        if (describes(name) && name_folder(name, folder, id) && store_folder_used(c->store, folder)) continue;
        job_of(name, id);
        snprintf(text, sizeof text, "%lld bytes that nothing in the registry names",
                 (long long)json_integer_value(json_object_get(c->found, name)));
        tell(c, "orphan", name, id, text);
    }
    json_decref(candidates);
}

static bool has_files(const struct check *c, const char *folder)
{
    const char *name;
    const json_t *size;
    size_t n = strlen(folder);
    json_object_foreach(c->found, name, size)
        if (strncmp(name, folder, n) == 0 && name[n] == '/') return true;
    return false;
}

/* Folders of work, jobs/ID and jobs/ID.eEPOCH, and empty ones of finished files. What files are in the latter was told. */
static void check_folders(struct check *c, const char *inside)
{
    char path[4400], name[300], id[STORE_ID_SIZE];
    bool models = strcmp(inside, "models") == 0;
    snprintf(path, sizeof path, "%s/%s", store_folder(c->store), inside);
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
        struct stat st;
        bool named = name_id(e->d_name, id);
        snprintf(name, sizeof name, "%s/%s", inside, e->d_name);
        if (e->d_name[0] == '.' || (models && (json_object_get(c->folders, name) || has_files(c, name)))) continue;
        if (named && store_job_unfinished(c->store, id)) continue;
        wait_a_moment();
        if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (named && store_job_unfinished(c->store, id)) continue;
        if (models && store_folder_used(c->store, name)) continue;
        tell(c, "orphan", name, named ? id : "",
             models ? "an empty folder" : "work of a job that is not there, or has ended");
    }
    if (dir) closedir(dir);
}

/* In front of a bucket the data folder has copies; they answer in the files' place. */
static bool check_copy(void *ctx, const char *name, uint64_t size)
{
    struct check *c = ctx;
    char text[300], id[STORE_ID_SIZE];
    const json_t *file = json_object_get(c->known, name);
    size_t n = strlen(name);
    (void)size;
    if (describes(name) || (n > 5 && strcmp(name + n - 5, ".part") == 0)) return true; /* just being made */
    job_of(name, id);
    if (!file && !store_is_published(c->store, name))
        tell(c, "orphan", name, id, "a copy of a file that nothing in the registry names");
    const char *kind = file ? judge_file(c, c->here, file, text, sizeof text) : "";
    if (*kind && strcmp(kind, "missing") != 0) tell(c, "copy", name, id, text);
    return true;
}

static void check_copies(struct check *c)
{
    struct artifacts_call call = {0};
    if (c->far) artifacts_list(c->here, "objects", check_copy, c, &call);
}

/* Ends nothing: it only listens. */
static bool note_upload(void *ctx, const char *name)
{
    struct check *c = ctx;
    char id[STORE_ID_SIZE];
    job_of(name, id);
    if (!*id || !store_job_unfinished(c->store, id))
        tell(c, "orphan", name, id, "an upload to the bucket that nobody will complete");
    return false;
}

static bool check_uploads(struct check *c, char *why, size_t size)
{
    struct artifacts_call call = {0};
    if (!c->far || artifacts_end_stale(c->far, "objects/", note_upload, c, &call) == ARTIFACTS_OK) return true;
    snprintf(why, size, "%s", call.why);
    return false;
}

json_t *check_all(struct store *store, struct artifacts *here, struct artifacts *far, bool quick,
                  const struct check_progress *progress, char *why, size_t size)
{
    struct check c = {.store = store, .here = here, .far = far, .quick = quick, .progress = progress};
    json_t *answer = NULL;
    c.found = json_object();
    c.known = json_object();
    c.folders = json_object();
    c.problems = json_array();
    bool done = list_all(&c, why, size);
    if (done && !(check_published(&c) && check_recorded(&c))) {
        store_why(store, why, size);
        done = false;
    }
    if (done) check_orphans(&c);
    if (done) check_folders(&c, "models");
    if (done) check_folders(&c, "jobs");
    if (done) check_copies(&c);
    if (done && check_uploads(&c, why, size))
        answer = json_pack("{s:b, s:I, s:I, s:O}", "agrees", json_array_size(c.problems) == 0, "files",
                           (json_int_t)c.files, "bytes", (json_int_t)c.bytes, "problems", c.problems);
    json_decref(c.found);
    json_decref(c.known);
    json_decref(c.folders);
    json_decref(c.problems);
    return answer;
}
