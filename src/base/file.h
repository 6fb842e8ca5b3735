/* Files: positional reads that are whole or an error, and outputs that appear complete or not at all. */
#ifndef HT_BASE_FILE_H
#define HT_BASE_FILE_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Where bytes come from when they are not on this machine. Readers do not know. */
struct ht__file_backend {
    /* n bytes that lie within the file. Thread-safe. */
    enum ht_err (*read)(void *ctx, uint64_t offset, void *dst, uint64_t n, struct ht_diag *diag);
    void (*expect)(void *ctx, uint64_t offset, uint64_t n);
    void (*close)(void *ctx);
};

/* Identity of a file: shows whether it is still the same one, and whether it was written to. */
struct ht__file_state {
    uint64_t device, inode, size;
    int64_t written[2], changed[2]; /* seconds and nanoseconds of its contents' and of its own last change */
};

struct ht__file {
    int fd; /* -1: closed, or not on this machine */
    uint64_t size;
    struct ht__file_state state;            /* when it was opened; of a file on this machine */
    const struct ht__file_backend *backend; /* NULL: fd */
    void *ctx;                              /* of the backend */
    char path[4096];
};

/* A folder of which some files lie elsewhere: those with these names. What is on the disk goes first. */
struct ht__remote_folder {
    const char *dir;
    size_t n;
    const char *const *names;
    /* Fills size, backend and ctx. */
    enum ht_err (*open)(void *ctx, size_t index, struct ht__file *file, struct ht_diag *diag);
    void *ctx;
    uint64_t (*received)(void *ctx); /* bytes that came from there until now */
};

/* A regular file for reading; its size is taken once. */
enum ht_err ht__file_open(struct ht__file *file, const char *path, struct ht_diag *diag);
/* The same where the file may be one of the folder's; NULL: there is no such folder. */
enum ht_err ht__file_open_in(const struct ht__remote_folder *folder, struct ht__file *file, const char *path,
                             struct ht_diag *diag);
bool ht__path_exists_in(const struct ht__remote_folder *folder, const char *path);
void ht__file_close(struct ht__file *file);
/* Exactly n bytes at the offset; a file that shrank meanwhile is an error, never zeros. Thread-safe. */
enum ht_err ht__file_read(const struct ht__file *file, uint64_t offset, void *dst, uint64_t n, struct ht_diag *diag);
/* Is it as it was when it was opened, and does its path still lead to it? HT_ERR_VERIFY says what happened to it. */
HT_MUST_CHECK enum ht_err ht__file_check_unchanged(const struct ht__file *file, struct ht_diag *diag);
/* These bytes will be asked for soon, in small pieces: the system may fetch them in one go. Never fails. */
void ht__file_expect(const struct ht__file *file, uint64_t offset, uint64_t n);
/* A whole file of at most `limit` bytes, appended to the buffer. */
enum ht_err ht__file_load(const char *path, uint64_t limit, struct ht__buf *out, struct ht_diag *diag);
bool ht__path_exists(const char *path);
bool ht__path_is_dir(const char *path);
/* dir + "/" + name into out; HT_ERR_LIMIT when it does not fit. */
enum ht_err ht__path_join(char *out, size_t size, const char *dir, const char *name, struct ht_diag *diag);
/* The part after the last slash. */
const char *ht__path_base(const char *path);

/*
 * An output in the making: written under "<final>.part", synced, then renamed. Closing without
 * publishing removes it, unless `keep` (for --resume). Never overwrites a finished file unless asked.
 * The .part is locked while it is open, so that a file has one writer at a time.
 */
struct ht__output {
    int fd;
    bool keep, published;
    bool resumed;  /* an earlier run's .part, as it was */
    bool unlocked; /* the file system has no locks */
    bool replaced; /* publishing took an older file's place */
    char final_path[4096], part_path[4096];
};

/* resume: opens an existing .part as it is. Otherwise an existing .part is replaced by a new file.
 * HT_ERR_EXISTS: the final file is there, or another run writes it.
 * size > 0 reserves the space at once, so that a full disk is met before the work. */
enum ht_err ht__output_open(struct ht__output *output, const char *path, uint64_t size, bool overwrite, bool resume,
                            struct ht_diag *diag);
/* Thread-safe. */
enum ht_err ht__output_write(const struct ht__output *output, uint64_t offset, const void *data, uint64_t n,
                             struct ht_diag *diag);
/* What was written there. */
enum ht_err ht__output_read(const struct ht__output *output, uint64_t offset, void *data, uint64_t n,
                            struct ht_diag *diag);
enum ht_err ht__output_sync(const struct ht__output *output, struct ht_diag *diag);
/* fsync, rename, fsync of the folder. */
enum ht_err ht__output_publish(struct ht__output *output, struct ht_diag *diag);
/* Takes a published file away again, because what belongs to it failed. One that replaced an older file
 * stays: it is whole, and the older one cannot be brought back. */
void ht__output_retract(struct ht__output *output);
void ht__output_close(struct ht__output *output);

/* A whole small file, published atomically; overwrites. */
enum ht_err ht__file_publish(const char *path, const void *data, size_t n, struct ht_diag *diag);
/* Creates a folder and its parents. */
enum ht_err ht__make_dirs(const char *path, struct ht_diag *diag);
/* Bytes that an unprivileged writer can still put on the file system of `path`. */
enum ht_err ht__disk_free(const char *path, uint64_t *bytes, struct ht_diag *diag);

#endif
