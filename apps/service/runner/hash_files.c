#include "service/runner/hash_files.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MOST_AT_ONCE = 4, PIECE = 1 << 20 }; /* more read a disk here and there, and take the processors of others */

struct work {
    struct hashed_file *files;
    size_t n;
    atomic_size_t next;
    bool (*goes_on)(void *ctx);
    void *ctx;
};

static bool hash_file(const char *path, char sha256[65], bool (*goes_on)(void *ctx), void *ctx)
{
    unsigned char digest[EVP_MAX_MD_SIZE], *piece = malloc(PIECE);
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = -1;
    bool done = piece && hash && fd >= 0 && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1;
    while (done && (n = read(fd, piece, PIECE)) > 0)
        done = EVP_DigestUpdate(hash, piece, (size_t)n) == 1 && goes_on(ctx);
    done = done && n == 0 && EVP_DigestFinal_ex(hash, digest, NULL) == 1;
    for (int i = 0; i < 32 && done; i++)
        snprintf(sha256 + 2 * i, 3, "%02x", digest[i]);
    if (fd >= 0) close(fd);
    EVP_MD_CTX_free(hash);
    free(piece);
    return done;
}

static void *hash_some(void *ctx)
{
    struct work *w = ctx;
    size_t i;
    while ((i = atomic_fetch_add(&w->next, 1)) < w->n)
        if (!hash_file(w->files[i].path, w->files[i].sha256, w->goes_on, w->ctx)) w->files[i].sha256[0] = '\0';
    return NULL;
}

/* Threads that cannot be made are done without: the caller's own takes what is left. */
void hash_files(struct hashed_file *files, size_t n, bool (*goes_on)(void *ctx), void *ctx)
{
    struct work w = {.files = files, .n = n, .goes_on = goes_on, .ctx = ctx};
    pthread_t threads[MOST_AT_ONCE - 1];
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    size_t more = 0;
    while (more < MOST_AT_ONCE - 1 && more + 1 < n && (long)more + 1 < processors &&
           pthread_create(&threads[more], NULL, hash_some, &w) == 0)
        more++;
    hash_some(&w);
    for (size_t i = 0; i < more; i++)
        pthread_join(threads[i], NULL);
}
