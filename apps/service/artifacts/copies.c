/*
 * Copies of far files in the data folder, under the files' own names: for models that answer, for archives, for clients that
 * do not reach the bucket. A copy has its name only when it is whole and its hash was compared. What was used longest ago
 * goes first when there are more than may be.
 */
#include "service/artifacts/driver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void path_of(const struct artifacts *a, const char *name, char *path, size_t size)
{
    snprintf(path, size, "%s/%.1100s", a->folder, name);
}

static bool is_there(const char *path, uint64_t size)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == size;
}

static bool make_way(const char *path)
{
    char part[4352];
    snprintf(part, sizeof part, "%s", path);
    for (char *p = part + 1; (p = strchr(p, '/')) != NULL; *p++ = '/') {
        *p = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST) return false;
    }
    return true;
}

struct copying {
    int fd;
    struct artifacts_hash *hash;
    uint64_t n;
    int error;
};

static bool write_piece(void *ctx, const void *data, size_t len)
{
    struct copying *c = ctx;
    for (size_t done = 0; done < len;) {
        ssize_t n = write(c->fd, (const char *)data + done, len - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return c->error = errno, false;
        done += (size_t)n;
    }
    c->n += len;
    return artifacts__hash_add(c->hash, data, len);
}

static enum artifacts_result fetch(struct artifacts *a, const char *name, uint64_t size, const char *sha256,
                                   const char *path, struct artifacts_call *call)
{
    char part[4400], got[65];
    struct copying c = {.hash = artifacts__hash_open()};
    snprintf(part, sizeof part, "%s.part", path);
    if (!make_way(path)) artifacts__fail(call, ARTIFACTS_FAILED, "%s: %s", name, strerror(errno));
    c.fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    enum artifacts_result result = c.fd >= 0 && c.hash
                                       ? artifacts_read(a, name, 0, size, write_piece, &c, call)
                                       : artifacts__fail(call, ARTIFACTS_FAILED, "%s: %s", name, strerror(errno));
    if (c.error) result = artifacts__fail(call, ARTIFACTS_FAILED, "%s: %s", name, strerror(c.error));
    if (c.hash) artifacts__hash_end(c.hash, got);
    if (result == ARTIFACTS_OK && (c.n != size || strcmp(got, sha256) != 0))
        result = artifacts__fail(call, ARTIFACTS_FAILED, "%s is not what was published: its SHA-256 is another", name);
    if (c.fd >= 0 && close(c.fd) != 0)
        result = artifacts__fail(call, ARTIFACTS_FAILED, "%s: %s", name, strerror(errno));
    if (result == ARTIFACTS_OK && rename(part, path) != 0)
        result = artifacts__fail(call, ARTIFACTS_FAILED, "%s: %s", name, strerror(errno));
    if (result != ARTIFACTS_OK && c.fd >= 0) unlink(part);
    return result;
}

enum artifacts_result artifacts_copy(struct artifacts *a, const char *name, uint64_t size, const char *sha256,
                                     char *path, size_t path_size, struct artifacts_call *call)
{
    path_of(a, name, path, path_size);
    if (!artifacts_is_name(name)) return artifacts__fail(call, ARTIFACTS_MISSING, "that is no name");
    pthread_mutex_lock(&a->fetching); /* who waits finds it there */
    bool there = is_there(path, size);
    enum artifacts_result result = there            ? ARTIFACTS_OK
                                   : a->driver->far ? fetch(a, name, size, sha256, path, call)
                                                    : artifacts__fail(call, ARTIFACTS_MISSING, "it is not there");
    if (there && a->driver->far) utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW); /* used just now */
    pthread_mutex_unlock(&a->fetching);
    if (result == ARTIFACTS_OK && !there) artifacts_trim(a, name);
    return result;
}

void artifacts_set_copies(struct artifacts *a, uint64_t bytes)
{
    a->copies = bytes;
}

/* ---- not too many ---- */

struct copy {
    char name[1100];
    uint64_t size;
    int64_t used;
};

struct copies {
    const struct artifacts *a;
    struct copy *list;
    size_t n, room;
    uint64_t sum;
};

static bool describes(const char *name)
{
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
    return strcmp(base, "report.json") == 0 || strcmp(base, "quality.html") == 0;
}

static bool note_copy(void *ctx, const char *name, uint64_t size)
{
    struct copies *c = ctx;
    char path[4352];
    struct stat st;
    if (describes(name)) return true;
    if (c->n == c->room) {
        struct copy *more = realloc(c->list, (c->room = c->room * 2 + 64) * sizeof *more);
        if (!more) return false;
        c->list = more;
    }
    path_of(c->a, name, path, sizeof path);
    if (lstat(path, &st) != 0) return true;
    struct copy *one = &c->list[c->n++];
    snprintf(one->name, sizeof one->name, "%s", name);
    one->size = size;
    one->used = st.st_mtim.tv_sec;
    c->sum += size;
    return true;
}

static int by_use(const void *a, const void *b)
{
    const struct copy *x = a, *y = b;
    return x->used < y->used ? -1 : x->used > y->used;
}

/* Files that somebody has open stay for them. */
void artifacts_trim(struct artifacts *a, const char *keep)
{
    struct copies c = {.a = a};
    struct artifacts_call call = {0};
    const char *slash = keep ? strchr(keep, '/') : NULL, *end = slash ? strchr(slash + 1, '/') : NULL;
    size_t together = end ? (size_t)(end - keep) + 1 : 0; /* all of the folder: an archive wants its files at once */
    if (!artifacts_are_far(a)) return;
    pthread_mutex_lock(&a->fetching);
    artifacts__local.list(a, "objects", note_copy, &c, &call);
    if (c.n > 0) qsort(c.list, c.n, sizeof *c.list, by_use);
    for (size_t i = 0; i < c.n && c.sum > a->copies; i++) {
        char path[4352];
        if (keep && strncmp(keep, c.list[i].name, together) == 0) continue;
        path_of(a, c.list[i].name, path, sizeof path);
        if (unlink(path) == 0) c.sum -= c.list[i].size;
    }
    pthread_mutex_unlock(&a->fetching);
    free(c.list);
}
