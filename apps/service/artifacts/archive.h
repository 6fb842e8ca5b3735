/*
 * A published folder as one tar archive (POSIX.1-2001), made piece by piece as it is sent: nothing is copied, and its
 * size is known before the first byte. The same files in the same order give the same bytes each time, so that a part
 * of it may be asked for later.
 */
#ifndef HT_SERVICE_ARTIFACTS_ARCHIVE_H
#define HT_SERVICE_ARTIFACTS_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct archive;

struct archive_file {
    char name[256];
    uint64_t size;
};

/*
 * Of the files in the folder `path`, each of which must be there with its size; in the archive they lie in a folder
 * called `name`. time: of all entries, in seconds since 1970. Copies. NULL: a file is not as it should be, or no memory.
 */
struct archive *archive_open(const char *path, const char *name, const struct archive_file *files, size_t n,
                             int64_t time);
void archive_close(struct archive **archive); /* NULL-safe */
uint64_t archive_size(const struct archive *archive);

/* The next piece: `data` (valid until the next call), or, where that is NULL, `len` bytes of fd from `offset` on; fd is
 * the caller's. false: that was all, or a file is no longer as it was. */
struct archive_piece {
    const void *data;
    int fd;
    uint64_t offset, len;
};
bool archive_next(struct archive *archive, struct archive_piece *piece);
/* The next piece is the rest of the one that byte `at` lies in. */
void archive_seek(struct archive *archive, uint64_t at);

#endif
