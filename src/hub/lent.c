/* The borrowing side: files of a folder whose bytes come over a socket. */
#include "base/json.h"
#include "hub/lend_parts.h"
#include "hub/name.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct lent_file {
    struct ht__lent *lent;
    uint32_t index;
};

struct ht__lent {
    const struct ht__alloc *alloc;
    int socket;
    struct ht__remote_folder folder;
    struct lent_file *files; /* in the arena of `pulled`, as the names are */
    const struct ht__selection *weights;
    pthread_mutex_t lock; /* one request at a time: the lender reads ahead */
    uint64_t received;
    bool lost; /* an answer was cut: what follows cannot be told apart */
};

static enum ht_err lost(struct ht__lent *lent, struct ht_diag *diag)
{
    lent->lost = true;
    return ht__fail(diag, HT_ERR_IO, "hub", -1, "the process that reads from the hub has ended");
}

/* At most HT__LEND_MOST bytes. The lock is held. */
static enum ht_err read_piece(struct ht__lent *lent, const struct lend_request *q, void *dst, struct ht_diag *diag)
{
    struct lend_answer a;
    struct ht_diag theirs;
    bool ended;
    if (lent->lost || !ht__lend_send(lent->socket, q, sizeof *q) ||
        !ht__lend_receive(lent->socket, &a, sizeof a, &ended))
        return lost(lent, diag);
    lent->received = a.received;
    if (a.err == HT_OK) {
        if (a.n != q->n || !ht__lend_receive(lent->socket, dst, a.n, &ended)) return lost(lent, diag);
        return HT_OK;
    }
    if (a.n != sizeof theirs || !ht__lend_receive(lent->socket, &theirs, sizeof theirs, &ended))
        return lost(lent, diag);
    theirs.where[sizeof theirs.where - 1] = theirs.message[sizeof theirs.message - 1] = '\0';
    return ht__fail(diag, theirs.code ? theirs.code : HT_ERR_IO, theirs.where, theirs.offset, "%s", theirs.message);
}

static enum ht_err read_lent(void *ctx, uint64_t offset, void *dst, uint64_t n, struct ht_diag *diag)
{
    struct lent_file *file = ctx;
    struct ht__lent *lent = file->lent;
    unsigned char *out = dst;
    enum ht_err err = HT_OK;
    while (n > 0 && err == HT_OK) {
        struct lend_request q = {LEND_READ, file->index, offset, n < HT__LEND_MOST ? n : HT__LEND_MOST};
        pthread_mutex_lock(&lent->lock);
        err = read_piece(lent, &q, out, diag);
        pthread_mutex_unlock(&lent->lock);
        out += q.n;
        offset += q.n;
        n -= q.n;
    }
    return err;
}

static void expect_lent(void *ctx, uint64_t offset, uint64_t n)
{
    struct lent_file *file = ctx;
    struct lend_request q = {LEND_EXPECT, file->index, offset, n};
    pthread_mutex_lock(&file->lent->lock);
    if (!file->lent->lost && !ht__lend_send(file->lent->socket, &q, sizeof q)) file->lent->lost = true;
    pthread_mutex_unlock(&file->lent->lock);
}

static void close_lent_file(void *ctx)
{
    (void)ctx; /* the socket serves all of them */
}

static const struct ht__file_backend backend = {read_lent, expect_lent, close_lent_file};

static enum ht_err open_lent_file(void *ctx, size_t index, struct ht__file *file, struct ht_diag *diag)
{
    struct ht__lent *lent = ctx;
    (void)diag;
    file->size = lent->weights->files[index]->size;
    file->backend = &backend;
    file->ctx = &lent->files[index];
    return HT_OK;
}

static uint64_t received(void *ctx)
{
    struct ht__lent *lent = ctx;
    pthread_mutex_lock(&lent->lock);
    uint64_t n = lent->received;
    pthread_mutex_unlock(&lent->lock);
    return n;
}

/* ---- the greeting ---- */

static bool copy(char *out, size_t size, const struct ht__jnode *root, const char *key)
{
    const char *text = ht__jstr(root, key, NULL);
    return text && (size_t)snprintf(out, size, "%s", text) < size;
}

static enum ht_err read_weights(struct ht__lent *lent, struct ht__pulled *pulled, const struct ht__jnode *list,
                                struct ht_diag *diag)
{
    struct ht__arena *arena = &pulled->repo.arena;
    size_t n = list ? list->n : 0;
    struct ht__repo_file *files = ht__arena_array(arena, n + 1, sizeof *files),
                         **chosen = ht__arena_array(arena, n + 1, sizeof *chosen);
    const char **names = ht__arena_array(arena, n + 1, sizeof *names);
    lent->files = ht__arena_array(arena, n + 1, sizeof *lent->files);
    if (!files || !chosen || !names || !lent->files) return ht__fail_memory(diag, "hub");
    for (size_t i = 0; i < n; i++) {
        const struct ht__jnode *entry = &list->children[i];
        const char *name = ht__jstr(entry, "name", "");
        int64_t size = ht__jint(entry, "size", -1);
        if (!ht__hub_is_file(name) || size < 0 || !copy(files[i].etag, sizeof files[i].etag, entry, "etag"))
            return ht__fail(diag, HT_ERR_FORMAT, "hub", -1, "a lent file without a name, size or etag");
        if (!(files[i].name = ht__arena_str(arena, name))) return ht__fail_memory(diag, "hub");
        files[i].size = (uint64_t)size;
        chosen[i] = &files[i];
        names[i] = files[i].name;
        lent->files[i] = (struct lent_file){lent, (uint32_t)i};
    }
    pulled->repo.files = files;
    pulled->repo.n = n;
    pulled->weights = (struct ht__selection){n, chosen};
    lent->weights = &pulled->weights;
    lent->folder = (struct ht__remote_folder){pulled->folder, n, names, open_lent_file, lent, received};
    return HT_OK;
}

static enum ht_err read_greeting(struct ht__lent *lent, struct ht__pulled *pulled, struct ht_diag *diag)
{
    struct ht__arena tree;
    struct ht__jnode *root = NULL;
    uint32_t n = 0;
    bool ended;
    if (!ht__lend_receive(lent->socket, &n, sizeof n, &ended) || n > LEND_GREETING_MOST) return lost(lent, diag);
    ht__arena_init(&tree, lent->alloc);
    char *text = ht__arena_raw(&tree, n ? n : 1);
    enum ht_err err = !text                                              ? ht__fail_memory(diag, "hub")
                      : !ht__lend_receive(lent->socket, text, n, &ended) ? lost(lent, diag)
                                                                         : HT_OK;
    if (err == HT_OK) err = ht__json_parse(&tree, text, n, "hub", &root, diag);
    if (err == HT_OK && !(copy(pulled->model, sizeof pulled->model, root, "model") &&
                          copy(pulled->folder, sizeof pulled->folder, root, "folder") &&
                          copy(pulled->repo.name.id, sizeof pulled->repo.name.id, root, "id") &&
                          copy(pulled->repo.name.revision, sizeof pulled->repo.name.revision, root, "revision") &&
                          copy(pulled->repo.commit, sizeof pulled->repo.commit, root, "commit")))
        err = ht__fail(diag, HT_ERR_FORMAT, "hub", -1, "what is lent has no name");
    if (err == HT_OK) err = read_weights(lent, pulled, ht__jget(root, "weights"), diag);
    ht__arena_close(&tree);
    return err;
}

enum ht_err ht__lent_open(int socket, const struct ht__alloc *alloc, struct ht__pulled *pulled, struct ht__lent **out,
                          struct ht_diag *diag)
{
    struct ht__lent *lent = ht__new(alloc, sizeof *lent);
    struct ht__hub_name name = {.id = ""};
    memset(pulled, 0, sizeof *pulled);
    ht__repo_init(&pulled->repo, &name, alloc);
    *out = lent;
    if (!lent) return ht__fail_memory(diag, "hub");
    lent->alloc = alloc;
    lent->socket = socket;
    pthread_mutex_init(&lent->lock, NULL);
    return read_greeting(lent, pulled, diag);
}

void ht__lent_close(struct ht__lent **p)
{
    struct ht__lent *lent = *p;
    if (!lent) return;
    close(lent->socket);
    pthread_mutex_destroy(&lent->lock);
    ht__free(lent->alloc, lent);
    *p = NULL;
}

const struct ht__remote_folder *ht__lent_folder(const struct ht__lent *lent)
{
    return lent->folder.n ? &lent->folder : NULL;
}

uint64_t ht__lent_received(struct ht__lent *lent)
{
    return received(lent);
}
