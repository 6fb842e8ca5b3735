/*
 * /uploads: GGUF files that clients bring.
 *
 *   PUT -> .incoming-RANDOM/NAME, piece by piece -> flushed, looked through by `halftone inspect` in a process of its
 * own -> NAME
 *
 * A file has its name only when it is whole and sound; what was begun and not ended goes with the request, or with
 * the next start.
 */
#include "service/api/estimates.h"
#include "service/api/grants.h"
#include "service/api/job_request.h"
#include "service/api/metrics.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CHECK_SECONDS = 600, CHECK_DISK_EVERY = 64 << 20 };

struct upload {
    struct server *server;
    struct grant *grant;
    char path[PATH_MAX], folder[PATH_MAX],
        temporary[PATH_MAX]; /* the last one in a folder of its own, "" when it is not there */
    int fd;
    uint64_t size, checked; /* bytes that came; at which the disk was looked at */
    const char *failure;    /* a kind of problem */
    char detail[200];
    EVP_MD_CTX *hash;
};

static void free_upload(void *state)
{
    struct upload *u = state;
    if (u->fd >= 0) close(u->fd);
    if (*u->temporary) unlink(u->temporary);
    if (*u->folder) rmdir(u->folder);
    EVP_MD_CTX_free(u->hash);
    grant_give_back(&u->grant);
    free(u);
}

static const char removed[] = "the token or session of this upload is not valid any more";

static bool refuse(struct upload *u, const char *kind, const char *detail)
{
    u->failure = kind;
    snprintf(u->detail, sizeof u->detail, "%s", detail);
    return false;
}

static bool room_for(const struct server *server, uint64_t more)
{
    struct statvfs v;
    if (statvfs(server->uploads, &v) != 0) return false;
    uint64_t left = (uint64_t)v.f_bavail * v.f_frsize, reserve = (uint64_t)server->settings->disk_reserve;
    return left >= reserve && left - reserve >= more;
}

static bool take_piece(void *ctx, const void *data, size_t len)
{
    struct upload *u = ctx;
    if (!grant_holds(u->grant)) return refuse(u, "token-unknown", removed);
    for (size_t i = 0; i < len && u->size + i < 4; i++) /* the network may cut pieces as small as a byte */
        if (((const char *)data)[i] != "GGUF"[u->size + i])
            return refuse(u, "invalid", "this is no GGUF file: it does not begin with \"GGUF\"");
    for (size_t done = 0; done < len;) {
        ssize_t n = write(u->fd, (const char *)data + done, len - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == ENOSPC || errno == EDQUOT)) return refuse(u, "no-space", "the disk is full");
        if (n <= 0) return refuse(u, "internal", "the file could not be written");
        done += (size_t)n;
    }
    EVP_DigestUpdate(u->hash, data, len);
    u->size += len;
    if (u->size - u->checked < CHECK_DISK_EVERY) return true;
    u->checked = u->size;
    return room_for(u->server, 0) || refuse(u, "no-space", "too little of the disk is left");
}

static bool open_temporary(struct upload *u, const char *name)
{
    unsigned char r[8];
    if (getrandom(r, sizeof r, 0) != (ssize_t)sizeof r) return false;
    int n = snprintf(u->folder, sizeof u->folder, "%s/.incoming-%02x%02x%02x%02x%02x%02x%02x%02x", u->server->uploads,
                     r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7]);
    if (n >= (int)sizeof u->folder || mkdir(u->folder, 0700) != 0) {
        *u->folder = '\0';
        return false;
    }
    n = snprintf(u->temporary, sizeof u->temporary, "%s/%s", u->folder, name);
    if (n < (int)sizeof u->temporary)
        u->fd = open(u->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (u->fd < 0) *u->temporary = '\0';
    u->hash = EVP_MD_CTX_new();
    return u->fd >= 0 && u->hash && EVP_DigestInit_ex(u->hash, EVP_sha256(), NULL) == 1;
}

void api_upload_begin(struct api_call *call)
{
    struct server *server = call->server;
    const char *name = call->segments[0];
    uint64_t size = ht__http_body_size(call->request), most = (uint64_t)server->settings->upload_limit;
    struct upload *u = calloc(1, sizeof *u);
    if (u) u->fd = -1;
    call->state = u;
    call->free_state = u ? free_upload : NULL;
    if (!upload_name_allowed(name)) {
        api_problem(call, "invalid", "a file's name has letters, digits, \"._-\" and ends in .gguf");
    } else if (size == 0) {
        api_problem(call, "invalid", "the file is empty");
    } else if (size != UINT64_MAX && size > most) {
        api_problem(call, "too-large", "files of at most %llu bytes are taken", (unsigned long long)most);
    } else if (!room_for(server, size == UINT64_MAX ? 0 : size)) {
        api_problem(call, "no-space", "the disk has no room for this file");
    } else if (!u || snprintf(u->path, sizeof u->path, "%s/%s", server->uploads, name) >= (int)sizeof u->path) {
        api_problem(call, "internal", "not enough memory");
    } else if (access(u->path, F_OK) == 0) {
        api_problem(call, "conflict", "there is an upload of this name; delete it first");
    } else {
        u->server = server;
        u->grant = grants_take(call);
        if (!u->grant)
            api_problem(call, "internal", "not enough memory");
        else if (open_temporary(u, name))
            ht__http_take_body(call->request, take_piece, u, most);
        else
            api_problem(call, "internal", "the file could not be made");
    }
}

static void hex_of(EVP_MD_CTX *hash, char text[65])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    EVP_DigestFinal_ex(hash, digest, &n);
    for (unsigned i = 0; i < 32; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
}

/* The name is given only if nobody has it, in one step, and is on the disk before the client hears of it. */
static bool give_name(const struct upload *u)
{
    if (syscall(SYS_renameat2, AT_FDCWD, u->temporary, AT_FDCWD, u->path, RENAME_NOREPLACE) != 0) return false;
    int folder = open(u->server->uploads, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) {
        fsync(folder);
        close(folder);
    }
    return true;
}

static json_t *upload_json(const char *name, const struct stat *info)
{
    char time[32];
    struct tm utc;
    gmtime_r(&info->st_mtime, &utc);
    strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return json_pack("{s:s, s:I, s:s}", "name", name, "size_bytes", (json_int_t)info->st_size, "created_at", time);
}

static void check(void *ctx, struct child_stop *stop)
{
    struct api_call *call = ctx;
    struct upload *u = call->state;
    const char *arguments[] = {"inspect", "--json", u->temporary, NULL};
    struct child_settings settings = {.arguments = arguments,
                                      .timeout_seconds = CHECK_SECONDS,
                                      .nice = 5,
                                      .memory_limit = api_headers_memory(u->server)};
    struct confined confined;
    struct stat info;
    char sha256[65];
    if (fsync(u->fd) != 0 || fstat(u->fd, &info) != 0) {
        api_problem(call, "internal", "the file could not be written");
        return;
    }
    confine_child_to(&settings, &confined, u->temporary);
    json_t *inside = api_ask_child(call, &settings, stop, "the check of the file");
    if (!inside) return;
    bool holds = grant_holds(u->grant);
    if (!holds || !give_name(u)) {
        json_decref(inside);
        if (!holds)
            api_problem(call, "token-unknown", removed);
        else if (errno == EEXIST)
            api_problem(call, "conflict", "there is an upload of this name; delete it first");
        else
            api_problem(call, "internal", "the file could not be named");
        return;
    }
    *u->temporary = '\0';
    json_t *answer = upload_json(call->segments[0], &info);
    json_t *architecture = json_object_get(json_object_get(inside, "metadata"), "general.architecture");
    hex_of(u->hash, sha256);
    json_object_set_new(answer, "sha256", json_string(sha256));
    json_object_set(answer, "architecture", json_is_string(architecture) ? architecture : json_null());
    json_decref(inside);
    api_json(call, 201, answer);
}

void api_upload_end(struct api_call *call)
{
    struct upload *u = call->state;
    metrics_upload(call->server->metrics, u->size);
    if (!ht__http_body_whole(call->request)) {
        api_problem(call, u->failure ? u->failure : "bad-request", "%s",
                    u->failure ? u->detail : "the file did not come whole");
        return;
    }
    ht__http_defer(call->request);
    if (helpers_do(call->server->helpers, check, call)) return;
    api_header(call, "Retry-After", "5");
    api_problem(call, "busy", "too many files are being checked");
}

void api_uploads_list(struct api_call *call)
{
    DIR *dir = opendir(call->server->uploads);
    struct dirent *e;
    json_t *list = json_array();
    while (dir && (e = readdir(dir)) != NULL) {
        struct stat info;
        if (!upload_name_allowed(e->d_name) || fstatat(dirfd(dir), e->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (S_ISREG(info.st_mode)) json_array_append_new(list, upload_json(e->d_name, &info));
    }
    if (dir) closedir(dir);
    api_json(call, 200, json_pack("{s:o}", "uploads", list));
}

static bool remove_file(void *ctx)
{
    return unlink(ctx) == 0;
}

void api_upload_delete(struct api_call *call)
{
    char path[PATH_MAX], job[STORE_ID_SIZE] = "";
    const char *name = call->segments[0];
    if (!upload_name_allowed(name) ||
        snprintf(path, sizeof path, "%s/%s", call->server->uploads, name) >= (int)sizeof path ||
        access(path, F_OK) != 0) {
        api_problem(call, "not-found", "there is no such upload");
        return;
    }
    enum store_result result = store_unless_needed(call->server->store, path, remove_file, path, job);
    if (result == STORE_OK)
        api_empty(call, 204);
    else if (result == STORE_CONFLICT)
        api_problem(call, "conflict", "job %s needs this file: cancel the job, or wait for its end", job);
    else
        api_store_problem(call, result, "upload");
}
