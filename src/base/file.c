#include "base/file.h"
#include "base/check.h"
#include "base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static struct ht__file_state state_of(const struct stat *st)
{
    return (struct ht__file_state){
        .device = (uint64_t)st->st_dev,
        .inode = (uint64_t)st->st_ino,
        .size = (uint64_t)st->st_size,
        .written = {st->st_mtim.tv_sec, st->st_mtim.tv_nsec},
        .changed = {st->st_ctim.tv_sec, st->st_ctim.tv_nsec},
    };
}

enum ht_err ht__file_open(struct ht__file *file, const char *path, struct ht_diag *diag)
{
    file->fd = -1;
    file->backend = NULL;
    if (snprintf(file->path, sizeof file->path, "%s", path) >= (int)sizeof file->path)
        return ht__fail(diag, HT_ERR_LIMIT, path, -1, "the path is too long");
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang us */
    if (fd < 0) return ht__fail_errno(diag, errno, path, "cannot open");
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return ht__fail(diag, HT_ERR_IO, path, -1, "not a regular file");
    }
    file->fd = fd;
    file->size = (uint64_t)st.st_size;
    file->state = state_of(&st);
    return HT_OK;
}

enum ht_err ht__file_check_unchanged(const struct ht__file *file, struct ht_diag *diag)
{
    struct stat its, there;
    const struct ht__file_state *was = &file->state;
    if (file->backend || file->fd < 0) return HT_OK;
    if (fstat(file->fd, &its) != 0) return ht__fail_errno(diag, errno, file->path, "cannot look at the file");
    struct ht__file_state now = state_of(&its);
    if (now.size != was->size)
        return ht__fail(diag, HT_ERR_VERIFY, file->path, -1,
                        "the file changed while it was read: it had %llu bytes and now has %llu",
                        (unsigned long long)was->size, (unsigned long long)now.size);
    if (memcmp(now.written, was->written, sizeof now.written) != 0)
        return ht__fail(diag, HT_ERR_VERIFY, file->path, -1, "the file was written to while it was read");
    if (stat(file->path, &there) != 0)
        return ht__fail(diag, HT_ERR_VERIFY, file->path, -1, "the file was removed while it was read");
    if ((uint64_t)there.st_ino != was->inode || (uint64_t)there.st_dev != was->device)
        return ht__fail(diag, HT_ERR_VERIFY, file->path, -1, "another file took its place while it was read");
    if (memcmp(now.changed, was->changed, sizeof now.changed) != 0)
        return ht__fail(diag, HT_ERR_VERIFY, file->path, -1,
                        "the file was touched while it was read (written and its time set back, renamed, linked, or "
                        "given another owner or mode)");
    return HT_OK;
}

void ht__file_close(struct ht__file *file)
{
    if (file->fd >= 0) close(file->fd);
    if (file->backend) file->backend->close(file->ctx);
    file->fd = -1;
    file->backend = NULL;
}

/* The index in the folder of a file that is not on the disk; folder->n: it is none of them. */
static size_t remote_index(const struct ht__remote_folder *folder, const char *path)
{
    size_t len = strlen(folder->dir), i = 0;
    if (strncmp(path, folder->dir, len) != 0 || path[len] != '/' || ht__path_exists(path)) return folder->n;
    while (i < folder->n && strcmp(folder->names[i], path + len + 1) != 0)
        i++;
    return i;
}

enum ht_err ht__file_open_in(const struct ht__remote_folder *folder, struct ht__file *file, const char *path,
                             struct ht_diag *diag)
{
    size_t i = folder ? remote_index(folder, path) : 0;
    if (!folder || i == folder->n) return ht__file_open(file, path, diag);
    file->fd = -1;
    file->backend = NULL;
    if (snprintf(file->path, sizeof file->path, "%s", path) >= (int)sizeof file->path)
        return ht__fail(diag, HT_ERR_LIMIT, path, -1, "the path is too long");
    return folder->open(folder->ctx, i, file, diag);
}

bool ht__path_exists_in(const struct ht__remote_folder *folder, const char *path)
{
    return ht__path_exists(path) || (folder && remote_index(folder, path) < folder->n);
}

static enum ht_err read_at(int fd, const char *path, uint64_t offset, void *dst, uint64_t n, struct ht_diag *diag)
{
    unsigned char *p = dst;
    while (n > 0) {
        size_t ask = n < (1u << 30) ? (size_t)n : 1u << 30;
        ssize_t got = pread(fd, p, ask, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return ht__fail_errno(diag, errno, path, "cannot read");
        if (got == 0)
            return ht__fail(diag, HT_ERR_IO, path, (int64_t)offset, "the file became shorter while it was read");
        p += got;
        offset += (uint64_t)got;
        n -= (uint64_t)got;
    }
    return HT_OK;
}

enum ht_err ht__file_read(const struct ht__file *file, uint64_t offset, void *dst, uint64_t n, struct ht_diag *diag)
{
    if (!ht__range_ok(offset, n, file->size))
        return ht__fail(diag, HT_ERR_FORMAT, file->path, (int64_t)offset,
                        "expected %llu bytes here, but the file has %llu bytes: it is truncated", (unsigned long long)n,
                        (unsigned long long)file->size);
    if (HT_UNLIKELY(file->backend != NULL)) return file->backend->read(file->ctx, offset, dst, n, diag);
    return read_at(file->fd, file->path, offset, dst, n, diag);
}

void ht__file_expect(const struct ht__file *file, uint64_t offset, uint64_t n)
{
    if (!ht__range_ok(offset, n, file->size)) return;
    if (file->backend)
        file->backend->expect(file->ctx, offset, n);
    else
        (void)posix_fadvise(file->fd, (off_t)offset, (off_t)n, POSIX_FADV_WILLNEED);
}

enum ht_err ht__file_load(const char *path, uint64_t limit, struct ht__buf *out, struct ht_diag *diag)
{
    struct ht__file file;
    HT_TRY(ht__file_open(&file, path, diag));
    enum ht_err err = HT_OK;
    if (file.size > limit)
        err = ht__fail(diag, HT_ERR_LIMIT, path, -1, "%llu bytes; at most %llu are accepted",
                       (unsigned long long)file.size, (unsigned long long)limit);
    void *dst = err == HT_OK && file.size ? ht__buf_grow(out, (size_t)file.size) : NULL;
    if (err == HT_OK && file.size && !dst) err = ht__fail_memory(diag, path);
    if (dst) err = ht__file_read(&file, 0, dst, file.size, diag);
    ht__file_close(&file);
    return err;
}

bool ht__path_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool ht__path_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

enum ht_err ht__path_join(char *out, size_t size, const char *dir, const char *name, struct ht_diag *diag)
{
    size_t len = strlen(dir);
    const char *slash = len && dir[len - 1] != '/' ? "/" : "";
    if ((size_t)snprintf(out, size, "%s%s%s", dir, slash, name) >= size)
        return ht__fail(diag, HT_ERR_LIMIT, dir, -1, "the path is too long");
    return HT_OK;
}

const char *ht__path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Disk blocks for the whole file; where the file system cannot reserve, its length alone is set. */
static enum ht_err reserve(int fd, uint64_t size, const char *path, struct ht_diag *diag)
{
    if (size == 0) return HT_OK;
    if (fallocate(fd, 0, 0, (off_t)size) == 0) return HT_OK;
    if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)
        return ht__fail_errno(diag, errno, path, "cannot reserve %llu bytes", (unsigned long long)size);
    if (ftruncate(fd, (off_t)size) != 0) return ht__fail_errno(diag, errno, path, "cannot set the length");
    return HT_OK;
}

static enum ht_err refuse_existing(const char *path, bool overwrite, struct ht_diag *diag)
{
    if (overwrite || !ht__path_exists(path)) return HT_OK;
    return ht__fail(diag, HT_ERR_EXISTS, path, -1, "the file exists; --overwrite replaces it");
}

/* Does the path still lead to the open file? */
static bool is_at(int fd, const char *path)
{
    struct stat its, there;
    return fstat(fd, &its) == 0 && lstat(path, &there) == 0 && its.st_dev == there.st_dev && its.st_ino == there.st_ino;
}

/*
 * Opens and locks <final>.part. Between opening and locking another run may have renamed or removed it: then once more.
 * What a run that ended has left is not continued unless asked: it goes, and its name gets a new file.
 */
static enum ht_err open_part(struct ht__output *output, bool resume, struct ht_diag *diag)
{
    enum { ATTEMPTS = 100 };
    const char *path = output->part_path;
    bool supported = true;
    for (int i = 0; i < ATTEMPTS; i++) {
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
        bool is_new = fd >= 0;
        if (!is_new && errno == EEXIST) {
            fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
            if (fd < 0 && errno == ENOENT) continue; /* it went meanwhile */
        }
        if (fd < 0) return ht__fail_errno(diag, errno, path, "cannot create");
        enum ht_err err = ht__lock_file(fd, output->final_path, &supported, diag);
        if (err == HT_OK && is_at(fd, path)) {
            output->fd = fd;
            output->unlocked = !supported;
            output->resumed = !is_new;
            if (is_new || resume) return HT_OK;
            unlink(path);
            output->fd = -1;
        }
        close(fd);
        if (err != HT_OK) return err;
    }
    return ht__fail(diag, HT_ERR_EXISTS, path, -1, "other runs keep making and removing this file");
}

enum ht_err ht__output_open(struct ht__output *output, const char *path, uint64_t size, bool overwrite, bool resume,
                            struct ht_diag *diag)
{
    size_t room = sizeof output->part_path;
    output->fd = -1;
    output->keep = output->published = output->replaced = output->resumed = output->unlocked = false;
    if ((size_t)snprintf(output->final_path, room, "%s", path) >= room ||
        (size_t)snprintf(output->part_path, room, "%s.part", path) >= room)
        return ht__fail(diag, HT_ERR_LIMIT, path, -1, "the path is too long");
    HT_TRY(refuse_existing(path, overwrite, diag));
    HT_TRY(open_part(output, resume, diag));
    enum ht_err err = refuse_existing(path, overwrite, diag); /* another run may have just published it */
    if (err == HT_OK) err = reserve(output->fd, size, output->part_path, diag);
    if (err != HT_OK) {
        output->keep = output->resumed; /* what could not be continued now may be later */
        ht__output_close(output);
    }
    return err;
}

enum ht_err ht__output_write(const struct ht__output *output, uint64_t offset, const void *data, uint64_t n,
                             struct ht_diag *diag)
{
    const unsigned char *p = data;
    while (n > 0) {
        size_t ask = n < (1u << 30) ? (size_t)n : 1u << 30;
        ssize_t put = pwrite(output->fd, p, ask, (off_t)offset);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return ht__fail_errno(diag, put < 0 ? errno : EIO, output->final_path, "cannot write");
        p += put;
        offset += (uint64_t)put;
        n -= (uint64_t)put;
    }
    return HT_OK;
}

enum ht_err ht__output_read(const struct ht__output *output, uint64_t offset, void *data, uint64_t n,
                            struct ht_diag *diag)
{
    return read_at(output->fd, output->part_path, offset, data, n, diag);
}

enum ht_err ht__output_sync(const struct ht__output *output, struct ht_diag *diag)
{
    if (fdatasync(output->fd) != 0) return ht__fail_errno(diag, errno, output->final_path, "cannot sync");
    return HT_OK;
}

/* Without this the rename itself could be lost when the machine stops. */
static enum ht_err sync_folder_of(const char *path, struct ht_diag *diag)
{
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    else
        snprintf(folder, sizeof folder, ".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return ht__fail_errno(diag, errno, folder, "cannot open the folder");
    /* Some file systems cannot sync a folder; they order renames themselves. */
    int bad = fsync(fd) != 0 && errno != EINVAL && errno != EROFS;
    int error = errno;
    close(fd);
    return bad ? ht__fail_errno(diag, error, folder, "cannot sync the folder") : HT_OK;
}

enum ht_err ht__output_publish(struct ht__output *output, struct ht_diag *diag)
{
    if (fsync(output->fd) != 0) return ht__fail_errno(diag, errno, output->final_path, "cannot sync");
    output->replaced = ht__path_exists(output->final_path);
    if (rename(output->part_path, output->final_path) != 0)
        return ht__fail_errno(diag, errno, output->final_path, "cannot rename into place");
    output->published = true;
    close(output->fd);
    output->fd = -1;
    enum ht_err err = sync_folder_of(output->final_path, diag);
    if (err != HT_OK) ht__output_retract(output);
    return err;
}

void ht__output_retract(struct ht__output *output)
{
    if (output->published && !output->replaced) unlink(output->final_path);
    output->published = false;
}

void ht__output_close(struct ht__output *output)
{
    if (output->fd < 0) return;
    if (!output->keep) unlink(output->part_path); /* while it is locked: afterwards it may be another run's */
    close(output->fd);
    output->fd = -1;
}

enum ht_err ht__file_publish(const char *path, const void *data, size_t n, struct ht_diag *diag)
{
    struct ht__output output;
    HT_TRY(ht__output_open(&output, path, 0, true, false, diag));
    enum ht_err err = ht__output_write(&output, 0, data, n, diag);
    if (err == HT_OK) err = ht__output_publish(&output, diag);
    ht__output_close(&output);
    return err;
}

enum ht_err ht__make_dirs(const char *path, struct ht_diag *diag)
{
    char part[4096];
    if (path[0] == '\0') return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "an empty path");
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part)
        return ht__fail(diag, HT_ERR_LIMIT, path, -1, "the path is too long");
    for (char *p = part + 1;; p++) {
        if (*p != '/' && *p != '\0') continue;
        char end = *p;
        *p = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return ht__fail_errno(diag, errno, part, "cannot create the folder");
        if (end == '\0') break;
        *p = end;
    }
    if (!ht__path_is_dir(path)) return ht__fail(diag, HT_ERR_IO, path, -1, "not a folder");
    return HT_OK;
}

enum ht_err ht__disk_free(const char *path, uint64_t *bytes, struct ht_diag *diag)
{
    struct statvfs fs;
    if (statvfs(path, &fs) != 0) return ht__fail_errno(diag, errno, path, "cannot ask for free space");
    *bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    return HT_OK;
}
