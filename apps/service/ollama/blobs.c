/* /api/blobs: files that clients bring for models of their own, by their hash. */
#include "service/api/grants.h"
#include "service/artifacts/dir.h"
#include "service/ollama/ollama.h"
#include "service/runtime/own.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LOOK_EVERY ((uint64_t)64 << 20) /* bytes between looks at the disk */

struct blob {
    struct server *server;
    struct grant *grant;
    char path[PATH_MAX], temporary[PATH_MAX];
    int fd;
    uint64_t size, looked;
    const char *failure; /* a kind of problem */
    EVP_MD_CTX *hash;
};

static void free_blob(void *state)
{
    struct blob *b = state;
    if (b->fd >= 0) close(b->fd);
    if (*b->temporary) unlink(b->temporary);
    EVP_MD_CTX_free(b->hash);
    grant_give_back(&b->grant);
    free(b);
}

static bool room_for(const struct server *server, uint64_t more)
{
    struct statvfs v;
    if (statvfs(store_folder(server->store), &v) != 0) return false;
    uint64_t left = (uint64_t)v.f_bavail * v.f_frsize, reserve = (uint64_t)server->settings->disk_reserve;
    return left >= reserve && left - reserve >= more;
}

static bool refuse(struct blob *b, const char *kind)
{
    b->failure = kind;
    return false;
}

static bool take_piece(void *ctx, const void *data, size_t len)
{
    struct blob *b = ctx;
    if (!grant_holds(b->grant)) return refuse(b, "token-unknown");
    for (size_t done = 0; done < len;) {
        ssize_t n = write(b->fd, (const char *)data + done, len - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return refuse(b, n < 0 && (errno == ENOSPC || errno == EDQUOT) ? "no-space" : "internal");
        done += (size_t)n;
    }
    EVP_DigestUpdate(b->hash, data, len);
    b->size += len;
    if (b->size - b->looked < LOOK_EVERY) return true;
    b->looked = b->size;
    return room_for(b->server, 0) || refuse(b, "no-space");
}

static bool open_temporary(struct blob *b)
{
    uint64_t r;
    if (getrandom(&r, sizeof r, 0) != (ssize_t)sizeof r || !own_folders(store_folder(b->server->store))) return false;
    int n = snprintf(b->temporary, sizeof b->temporary, "%s/run/blobs/.incoming-%016llx",
                     store_folder(b->server->store), (unsigned long long)r);
    if (n < (int)sizeof b->temporary)
        b->fd = open(b->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (b->fd < 0) *b->temporary = '\0';
    b->hash = EVP_MD_CTX_new();
    return b->fd >= 0 && b->hash && EVP_DigestInit_ex(b->hash, EVP_sha256(), NULL) == 1;
}

void api_ollama_blob_begin(struct api_call *call)
{
    struct server *server = call->server;
    uint64_t size = ht__http_body_size(call->request), most = (uint64_t)server->settings->upload_limit;
    struct blob *b = calloc(1, sizeof *b);
    if (b) b->fd = -1;
    call->state = b;
    call->free_state = b ? free_blob : NULL;
    if (!b) {
        api_problem(call, "internal", "not enough memory");
    } else if (!own_blob(store_folder(server->store), call->segments[0], b->path, sizeof b->path)) {
        api_problem(call, "bad-request", "invalid digest format");
    } else if (size != UINT64_MAX && size > most) {
        api_problem(call, "too-large", "files of at most %llu bytes are taken", (unsigned long long)most);
    } else if (!room_for(server, size == UINT64_MAX ? 0 : size)) {
        api_problem(call, "no-space", "the disk has no room for this file");
    } else {
        b->server = server;
        b->grant = grants_take(call);
        if (b->grant && open_temporary(b))
            ht__http_take_body(call->request, take_piece, b, most);
        else
            api_problem(call, "internal", "the file could not be made");
    }
}

static bool is_digest(struct blob *b, const char *digest, char found[65])
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    EVP_DigestFinal_ex(b->hash, hash, &n);
    for (unsigned i = 0; i < 32; i++)
        snprintf(found + 2 * i, 3, "%02x", hash[i]);
    return strcasecmp(found, digest + 7) == 0;
}

void api_ollama_blob_end(struct api_call *call)
{
    struct blob *b = call->state;
    char found[65];
    bool there = access(b->path, F_OK) == 0;
    if (!ht__http_body_whole(call->request)) {
        api_problem(call, b->failure ? b->failure : "bad-request", "the file did not come whole");
    } else if (!is_digest(b, call->segments[0], found)) {
        api_problem(call, "bad-request", "digest mismatch, expected \"%s\", got \"sha256:%s\"", call->segments[0],
                    found);
    } else if (!there && (fsync(b->fd) != 0 || !dir_move(b->temporary, b->path))) {
        api_problem(call, "internal", "the file could not be named");
    } else {
        if (!there) *b->temporary = '\0';
        api_empty(call, there ? 200 : 201);
    }
}

void api_ollama_blob_there(struct api_call *call)
{
    char path[PATH_MAX];
    if (!own_blob(store_folder(call->server->store), call->segments[0], path, sizeof path))
        api_problem(call, "bad-request", "invalid digest format");
    else if (access(path, F_OK) != 0)
        api_problem(call, "not-found", "blob \"%s\" not found", call->segments[0]);
    else
        api_empty(call, 200);
}
