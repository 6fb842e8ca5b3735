/* SHA-256 of several files at once: who publishes reads everything that a worker has left, and one core hashes no faster than one file. */
#ifndef HT_SERVICE_RUNNER_HASH_FILES_H
#define HT_SERVICE_RUNNER_HASH_FILES_H

#include <stdbool.h>
#include <stddef.h>

struct hashed_file {
    char *path, *name; /* malloc's */
    const char *wanted;
    char sha256[65]; /* "": it could not be read, or nobody wants it any more */
};

/* goes_on is asked by several threads. */
void hash_files(struct hashed_file *files, size_t n, bool (*goes_on)(void *ctx), void *ctx);

#endif
