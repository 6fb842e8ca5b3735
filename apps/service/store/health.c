/* Whether the store is what it was when it was opened: the folder, the pages, the room on the disk. */
#include "service/store/sql.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Kept free for the changes that end jobs or free room, on a disk that is full. */
enum { RESERVE_BYTES = 4 << 20 };

static bool database_file(const struct store *s, struct stat *info)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/halftone.db", s->folder);
    return stat(path, info) == 0;
}

void store__note_file(struct store *s)
{
    s->known = database_file(s, &s->file);
}

/* A database whose file was removed goes on being written, into a file that has no name: what is promised then is lost
 * with the process. */
bool store__is_there(struct store *s)
{
    struct stat now;
    if (!s->known) return true;
    if (!database_file(s, &now)) return errno != ENOENT && errno != ENOTDIR;
    return now.st_dev == s->file.st_dev && now.st_ino == s->file.st_ino;
}

static enum store_result write_something(struct store *s)
{
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = store__run(s, &s->writer, NULL,
                        "INSERT INTO meta(name, value) VALUES('ping', ?1) ON CONFLICT(name) DO UPDATE SET"
                        " value = excluded.value",
                        "i", store__wall());
    return store__end(s, result);
}

enum store_result store_state(struct store *s)
{
    if (atomic_load(&s->damaged)) return STORE_DAMAGED;
    if (!store__is_there(s)) return STORE_GONE;
    return atomic_load(&s->latest_write) == STORE_OK ? STORE_OK : write_something(s);
}

enum store_result store_check(struct store *s, atomic_bool *stop)
{
    struct statement *row;
    struct connection *c = store__read(s);
    if (!c) return store_failure();
    if (s->driver != &store__sqlite) { /* its pages are its own server's */
        store__read_end(s, c);
        return STORE_OK;
    }
    store__sqlite_stop_at(c, stop);
    enum store_result result = store__first(s, c, &row, "PRAGMA quick_check(1)", "");
    if (result == STORE_OK && strcmp(store__text(row, 0), "ok") != 0) {
        char why[256];
        snprintf(why, sizeof why, "database: %.200s", store__text(row, 0));
        result = store__failed(s, STORE_DAMAGED, why);
    }
    if (row) sql_reset(row);
    store__sqlite_stop_at(c, NULL);
    store__read_end(s, c);
    return result;
}

static void reserve_path(const struct store *s, char path[4096])
{
    snprintf(path, 4096, "%s/reserve", s->folder);
}

void store_keep_reserve(struct store *s)
{
    char path[4096];
    struct stat info;
    struct statvfs fs;
    if (s->driver != &store__sqlite) return; /* on this disk there is nothing to be written then */
    reserve_path(s, path);
    if (stat(path, &info) == 0 && (uint64_t)info.st_blocks * 512 >= RESERVE_BYTES) return;
    if (statvfs(s->folder, &fs) != 0 || (uint64_t)fs.f_bavail * fs.f_frsize < 4 * (uint64_t)RESERVE_BYTES) return;
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return;
    if (posix_fallocate(fd, 0, RESERVE_BYTES) != 0) unlink(path);
    close(fd);
}

bool store__use_reserve(struct store *s)
{
    char path[4096];
    reserve_path(s, path);
    return unlink(path) == 0;
}
