#include "hub/cache.h"
#include "base/file.h"
#include "hub/etag.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum ht_err ht__cache_repo(struct ht__cache_repo *repo, const char *cache, const struct ht__hub_name *name,
                           struct ht_diag *diag)
{
    if (!cache || !*cache)
        return ht__fail(diag, HT_ERR_USAGE, "hub-cache", -1, "no folder was given for the hub's cache");
    if ((size_t)snprintf(repo->root, sizeof repo->root, "%s", cache) >= sizeof repo->root)
        return ht__fail(diag, HT_ERR_LIMIT, cache, -1, "the path of the cache is too long");
    ht__hub_folder_name(name, repo->folder);
    return HT_OK;
}

static enum ht_err join(char *out, struct ht_diag *diag, const char *root, const char *fmt, ...) HT_PRINTF(4, 5);
static enum ht_err join(char *out, struct ht_diag *diag, const char *root, const char *fmt, ...)
{
    va_list args;
    size_t n = (size_t)snprintf(out, HT__CACHE_PATH, "%s/", root);
    va_start(args, fmt);
    int more = vsnprintf(out + n, HT__CACHE_PATH - n, fmt, args);
    va_end(args);
    if (more >= 0 && n + (size_t)more + 16 < HT__CACHE_PATH) return HT_OK; /* room for ".incomplete" */
    return ht__fail(diag, HT_ERR_LIMIT, root, -1, "the path is too long");
}

enum ht_err ht__cache_blob(const struct ht__cache_repo *repo, const char *etag, char *out, struct ht_diag *diag)
{
    if (ht__etag_kind(etag) == HT__ETAG_NONE)
        return ht__fail(diag, HT_ERR_FORMAT, repo->folder, -1, "\"%.80s\" does not name a content", etag);
    return join(out, diag, repo->root, "%s/blobs/%s", repo->folder, etag);
}

enum ht_err ht__cache_snapshot(const struct ht__cache_repo *repo, const char *commit, char *out, struct ht_diag *diag)
{
    if (!ht__hub_is_commit(commit))
        return ht__fail(diag, HT_ERR_FORMAT, repo->folder, -1, "\"%.80s\" does not name a commit", commit);
    return join(out, diag, repo->root, "%s/snapshots/%s", repo->folder, commit);
}

static enum ht_err in_commit(const struct ht__cache_repo *repo, const char *kind, const char *commit, const char *file,
                             char *out, struct ht_diag *diag)
{
    if (!ht__hub_is_commit(commit) || !ht__hub_is_file(file))
        return ht__fail(diag, HT_ERR_FORMAT, repo->folder, -1, "\"%.120s\" does not name a file of a repository", file);
    return join(out, diag, repo->root, "%s/%s/%s/%s", repo->folder, kind, commit, file);
}

enum ht_err ht__cache_file(const struct ht__cache_repo *repo, const char *commit, const char *file, char *out,
                           struct ht_diag *diag)
{
    return in_commit(repo, "snapshots", commit, file, out, diag);
}

bool ht__cache_commit(const struct ht__cache_repo *repo, const char *revision, char commit[41])
{
    char path[HT__CACHE_PATH], text[64] = "";
    if (ht__hub_is_commit(revision)) {
        memcpy(commit, revision, 41);
        return true;
    }
    if (join(path, NULL, repo->root, "%s/refs/%s", repo->folder, revision) != HT_OK) return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n < 40) return false;
    text[n == 41 && text[40] == '\n' ? 40 : n] = '\0';
    if (!ht__hub_is_commit(text)) return false;
    memcpy(commit, text, 41);
    return true;
}

static enum ht_err make_parent(const char *path, struct ht_diag *diag)
{
    char folder[HT__CACHE_PATH];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (!slash || slash == folder) return HT_OK;
    *slash = '\0';
    return ht__make_dirs(folder, diag);
}

/* Where several programs write the same small file, each writes its own and renames it. */
static enum ht_err put(const char *path, const char *text, struct ht_diag *diag)
{
    char own[HT__CACHE_PATH + 32];
    size_t n = strlen(text);
    HT_TRY(make_parent(path, diag));
    snprintf(own, sizeof own, "%s.%ld.new", path, (long)getpid());
    int fd = open(own, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0) return ht__fail_errno(diag, errno, own, "cannot create");
    ssize_t put = write(fd, text, n);
    int error = put < 0 ? errno : ENOSPC;
    close(fd);
    if (put == (ssize_t)n && rename(own, path) == 0) return HT_OK;
    if (put == (ssize_t)n) error = errno;
    unlink(own);
    return ht__fail_errno(diag, error, path, "cannot write");
}

enum ht_err ht__cache_remember(const struct ht__cache_repo *repo, const char *revision, const char *commit,
                               struct ht_diag *diag)
{
    char path[HT__CACHE_PATH], before[41];
    if (ht__hub_is_commit(revision)) return HT_OK;
    if (ht__cache_commit(repo, revision, before) && strcmp(before, commit) == 0) return HT_OK;
    HT_TRY(join(path, diag, repo->root, "%s/refs/%s", repo->folder, revision));
    return put(path, commit, diag);
}

enum ht_err ht__cache_lacks(const struct ht__cache_repo *repo, const char *commit, const char *file,
                            struct ht_diag *diag)
{
    char path[HT__CACHE_PATH];
    HT_TRY(in_commit(repo, ".no_exist", commit, file, path, diag));
    return ht__path_exists(path) ? HT_OK : put(path, "", diag);
}

enum ht_err ht__cache_link(const struct ht__cache_repo *repo, const char *commit, const char *file, const char *etag,
                           struct ht_diag *diag)
{
    char path[HT__CACHE_PATH], own[HT__CACHE_PATH + 32], blob[HT__CACHE_PATH], target[HT__HUB_MAX_FILE * 2 + 96],
        had[160];
    HT_TRY(ht__cache_blob(repo, etag, blob, diag));
    HT_TRY(in_commit(repo, "snapshots", commit, file, path, diag));
    HT_TRY(make_parent(path, diag));
    size_t n = (size_t)snprintf(target, sizeof target, "../../");
    for (const char *p = file; (p = strchr(p, '/')) != NULL; p++)
        n += (size_t)snprintf(target + n, sizeof target - n, "../");
    snprintf(target + n, sizeof target - n, "blobs/%s", etag);
    ssize_t len = readlink(path, had, sizeof had);
    if (len == (ssize_t)strlen(target) && memcmp(had, target, (size_t)len) == 0) return HT_OK;
    snprintf(own, sizeof own, "%s.%ld.new", path, (long)getpid());
    unlink(own);
    /* without symbolic links the snapshot has the file itself, as other clients do there */
    if (symlink(target, own) != 0 && (errno != EPERM && errno != ENOTSUP))
        return ht__fail_errno(diag, errno, path, "cannot link");
    const char *from = ht__path_exists(own) || readlink(own, had, sizeof had) > 0 ? own : blob;
    if (rename(from, path) == 0) return HT_OK;
    int error = errno;
    unlink(own);
    return ht__fail_errno(diag, error, path, "cannot link");
}

static void pause_a_little(void)
{
    struct timespec t = {0, 50000000};
    nanosleep(&t, NULL);
}

enum ht_err ht__cache_lock(const struct ht__cache_repo *repo, const char *etag, struct ht__cache_lock *lock,
                           bool (*stop)(void *ctx), void *ctx, struct ht_diag *diag)
{
    char path[HT__CACHE_PATH];
    lock->fd = -1;
    HT_TRY(ht__cache_blob(repo, etag, path, diag)); /* the name is sound */
    HT_TRY(join(path, diag, repo->root, ".locks/%s/%s.lock", repo->folder, etag));
    HT_TRY(make_parent(path, diag));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0) return ht__fail_errno(diag, errno, path, "cannot open the lock");
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int error = errno;
        bool ended = stop && stop(ctx);
        if (!ended && (error == EWOULDBLOCK || error == EINTR)) {
            pause_a_little();
            continue;
        }
        close(fd);
        return ended ? ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled")
                     : ht__fail_errno(diag, error, path, "cannot lock");
    }
    lock->fd = fd;
    return HT_OK;
}

void ht__cache_unlock(struct ht__cache_lock *lock)
{
    if (lock->fd >= 0) close(lock->fd); /* the file stays, as other clients leave theirs */
    lock->fd = -1;
}
