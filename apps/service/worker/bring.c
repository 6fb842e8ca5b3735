/* What a job has made goes to the server: each file with its hash, and then the word that this was all. */
#include "service/worker/far.h"

#include <dirent.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 1 << 20, PUBLISH_SECONDS = 3600, BUCKET_TRIES = 3 };

static bool digest_of(FILE *file, char digest[120])
{
    unsigned char bytes[EVP_MAX_MD_SIZE], *piece = malloc(PIECE);
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    size_t n;
    bool done = piece && hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1;
    while (done && (n = fread(piece, 1, PIECE, file)) > 0)
        done = EVP_DigestUpdate(hash, piece, n) == 1;
    done = done && !ferror(file) && EVP_DigestFinal_ex(hash, bytes, NULL) == 1;
    strcpy(digest, "sha-256=:");
    if (done) EVP_EncodeBlock((unsigned char *)digest + 9, bytes, 32);
    strcat(digest, ":");
    EVP_MD_CTX_free(hash);
    free(piece);
    return done;
}

/* Again while the server cannot be reached or is busy; heartbeats go on beside this and say when it is too late. */
static enum store_result insist(struct far *f, struct asked *asked, const struct publication *p)
{
    enum store_result result = STORE_FAILED;
    json_t *body = asked->body;
    struct patience patience = {0};
    while ((result == STORE_BUSY || result == STORE_FAILED) && far_again(f, &patience, p->goes_on, p->ctx)) {
        asked->body = body ? json_incref(body) : NULL;
        result = far_ask(f, asked, NULL);
    }
    json_decref(body);
    return result == STORE_NOT_FOUND ? STORE_CONFLICT : result;
}

static enum store_result bring_file(struct far *f, const struct publication *p, const char *path, const char *name)
{
    char task[80], escaped[800], target[1000], digest[120];
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    FILE *file = fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) ? fdopen(fd, "rb") : NULL;
    if (!file && fd >= 0) close(fd);
    enum store_result result = STORE_FAILED;
    if (file && digest_of(file, digest)) {
        far_task(p->claim, task);
        far_escape(name, escaped, sizeof escaped);
        snprintf(target, sizeof target, "/tasks/%s/files/%s", task, escaped);
        struct asked a = {.method = "PUT",
                          .path = target,
                          .digest = digest,
                          .file = file,
                          .size = (uint64_t)info.st_size,
                          .goes_on = p->goes_on,
                          .ctx = p->ctx};
        result = insist(f, &a, p);
    } else {
        far_fail(f, "%s cannot be read", name);
    }
    if (file) fclose(file);
    return result;
}

static bool is_scratch(const char *name)
{
    size_t n = strlen(name);
    return *name == '.' || (n > 5 && strcmp(name + n - 5, ".part") == 0) ||
           (n > 8 && strcmp(name + n - 8, ".journal") == 0);
}

static bool is_in(const json_t *files, const char *name)
{
    const json_t *file;
    size_t i;
    json_array_foreach(files, i, file)
        if (strcmp(json_string_value(json_object_get(file, "name")), name) == 0) return true;
    return false;
}

/* All but what is in the bucket. */
static enum store_result bring_folder(struct far *f, const struct publication *p, const json_t *staged,
                                      const char *folder, const char *prefix)
{
    DIR *dir = opendir(folder);
    struct dirent *e;
    enum store_result result = dir ? STORE_OK : STORE_FAILED;
    while (result == STORE_OK && (e = readdir(dir)) != NULL) {
        char path[5000], name[520];
        struct stat info;
        if (is_scratch(e->d_name)) continue;
        if (snprintf(path, sizeof path, "%s/%s", folder, e->d_name) >= (int)sizeof path || lstat(path, &info) != 0)
            continue;
        snprintf(name, sizeof name, "%s%s", prefix, e->d_name);
        if (S_ISREG(info.st_mode) && !is_in(staged, name)) result = bring_file(f, p, path, name);
        if (!S_ISDIR(info.st_mode) || *prefix) continue;
        strcat(name, "/");
        result = bring_folder(f, p, staged, path, name);
    }
    if (dir) closedir(dir);
    return result;
}

/* Everything that is not there already, and the word that this was all. Steals staged (NULL: nothing is in the bucket). */
static enum store_result finish(struct far *f, const struct publication *p, json_t *staged)
{
    char task[80], path[120];
    enum store_result result = f->share ? STORE_OK : bring_folder(f, p, staged, p->out, "");
    if (result != STORE_OK) {
        json_decref(staged);
        return result;
    }
    far_task(p->claim, task);
    snprintf(path, sizeof path, "/tasks/%s/finish", task);
    struct asked a = {.method = "POST",
                      .path = path,
                      .seconds = PUBLISH_SECONDS,
                      .goes_on = p->goes_on,
                      .ctx = p->ctx,
                      .body = json_pack("{s:s, s:o*}", "status", "completed", "staged", staged)};
    return insist(f, &a, p);
}

/* What a failed try left in the bucket may be half of it: sent anew. */
static enum store_result publish_in_bucket(struct far *f, const struct publication *p, const char *place)
{
    json_t *files = publication_files(p->report);
    enum store_result result = STORE_FAILED;
    for (int i = 0; i < BUCKET_TRIES && result == STORE_FAILED && p->goes_on(p->ctx); i++) {
        struct artifacts_call call = {.goes_on = p->goes_on, .ctx = p->ctx};
        json_t *staged = files ? artifacts_stage(f->bucket, p->out, place, files, &call) : NULL;
        if (!staged) far_fail(f, "%s", files ? call.why : "the report names files that are not its own");
        if (!staged) break;
        json_incref(staged);
        result = finish(f, p, staged);
        if (result != STORE_OK) artifacts_discard(f->bucket, place, staged);
        json_decref(staged);
    }
    json_decref(files);
    return result == STORE_FAILED && !p->goes_on(p->ctx) ? STORE_CONFLICT : result;
}

enum store_result far_publish(struct worker_link *link, const struct publication *p)
{
    struct far *f = (struct far *)link;
    char place[256];
    far_place(f, p->claim, place, sizeof place);
    return f->bucket && *place ? publish_in_bucket(f, p, place) : finish(f, p, NULL);
}
