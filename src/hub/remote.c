#include "hub/remote_parts.h"

#include <string.h>

/* ---- blocks; the lock is held ---- */

static struct block *find(struct ht__remote *r, const struct remote_file *file, uint64_t index)
{
    for (int i = 0; i < r->n_blocks; i++)
        if (r->blocks[i].state != BLOCK_EMPTY && r->blocks[i].file == file && r->blocks[i].index == index)
            return &r->blocks[i];
    return NULL;
}

static int count_ahead(const struct ht__remote *r)
{
    int n = 0;
    for (int i = 0; i < r->n_blocks; i++)
        n += r->blocks[i].state != BLOCK_EMPTY && r->blocks[i].fresh;
    return n;
}

/* Is `b` the better one to give up? What was read already, and then what is oldest. */
static bool goes_before(const struct block *b, const struct block *than)
{
    return b->fresh != than->fresh ? !b->fresh : b->order < than->order;
}

/* Room: an empty block, a new one, or the one that was read longest ago. */
static struct block *room(struct ht__remote *r)
{
    struct block *oldest = NULL;
    for (int i = 0; i < r->n_blocks; i++) {
        struct block *b = &r->blocks[i];
        if (b->state == BLOCK_EMPTY) return b;
        if (b->state == BLOCK_READY && b->users == 0 && (!oldest || goes_before(b, oldest))) oldest = b;
    }
    if (r->n_blocks < MAX_BLOCKS) {
        struct block *b = &r->blocks[r->n_blocks];
        b->data = ht__new_aligned(r->hub->alloc, BLOCK);
        if (b->data) return &r->blocks[r->n_blocks++];
    }
    return oldest;
}

static struct block *want(struct ht__remote *r, struct remote_file *file, uint64_t index)
{
    struct block *b = room(r);
    if (!b) return NULL;
    unsigned char *data = b->data;
    *b = (struct block){
        .file = file, .index = index, .state = BLOCK_WANTED, .fresh = true, .order = ++r->clock, .data = data};
    return b;
}

static void want_ahead(struct ht__remote *r, struct remote_file *file, uint64_t first, uint64_t last)
{
    bool any = false, goes_on = first >= file->announced && first <= file->announced_end;
    uint64_t i = goes_on ? file->announced_end : first;
    if (i > last) return;
    for (int ahead = count_ahead(r); i <= last && ahead < MAX_AHEAD; i++) {
        if (find(r, file, i)) continue;
        if (!want(r, file, i)) break;
        ahead++;
        any = true;
    }
    file->announced = goes_on ? file->announced : first;
    file->announced_end = i;
    if (any) pthread_cond_broadcast(&r->work);
}

/* The block with its bytes, held by one more user; NULL: it cannot be had. */
static struct block *get(struct ht__remote *r, struct remote_file *file, uint64_t index, enum ht_err *err,
                         struct ht_diag *diag)
{
    struct block *b;
    while (r->err == HT_OK && !(b = find(r, file, index)) && !(b = want(r, file, index)))
        pthread_cond_wait(&r->changed, &r->lock);
    if (r->err == HT_OK) {
        b->users++;
        b->demanded = true;
        if (b->state == BLOCK_WANTED) pthread_cond_broadcast(&r->work);
        while (r->err == HT_OK && b->state != BLOCK_READY)
            pthread_cond_wait(&r->changed, &r->lock);
        if (b->state == BLOCK_READY) return b;
        b->users--;
    }
    *err = r->err;
    if (diag && diag->code == HT_OK) *diag = r->diag;
    return NULL;
}

/* ---- as a file ---- */

static enum ht_err read_remote(void *ctx, uint64_t offset, void *dst, uint64_t n, struct ht_diag *diag)
{
    struct remote_file *file = ctx;
    struct ht__remote *r = file->remote;
    unsigned char *out = dst;
    enum ht_err err = HT_OK;
    if (n == 0) return HT_OK;
    pthread_mutex_lock(&r->lock);
    want_ahead(r, file, offset / BLOCK, (offset + n - 1) / BLOCK);
    while (n > 0) {
        struct block *b = get(r, file, offset / BLOCK, &err, diag);
        if (!b) break;
        uint64_t at = offset % BLOCK, part = BLOCK - at < n ? BLOCK - at : n;
        pthread_mutex_unlock(&r->lock);
        memcpy(out, b->data + at, part);
        pthread_mutex_lock(&r->lock);
        b->users--;
        b->fresh = false;
        b->order = ++r->clock;
        pthread_cond_broadcast(&r->changed);
        out += part;
        offset += part;
        n -= part;
    }
    pthread_mutex_unlock(&r->lock);
    return err;
}

static void expect_remote(void *ctx, uint64_t offset, uint64_t n)
{
    struct remote_file *file = ctx;
    if (n == 0) return;
    pthread_mutex_lock(&file->remote->lock);
    want_ahead(file->remote, file, offset / BLOCK, (offset + n - 1) / BLOCK);
    pthread_mutex_unlock(&file->remote->lock);
}

static void close_remote_file(void *ctx)
{
    (void)ctx; /* its blocks may serve another reader of the same file */
}

static const struct ht__file_backend backend = {read_remote, expect_remote, close_remote_file};

static enum ht_err open_remote_file(void *ctx, size_t index, struct ht__file *file, struct ht_diag *diag)
{
    struct ht__remote *r = ctx;
    struct remote_file *f = &r->files[index];
    if (f->file->size == UINT64_MAX)
        return ht__fail(diag, HT_ERR_FORMAT, f->file->name, -1, "the hub does not give its length");
    file->size = f->file->size;
    file->backend = &backend;
    file->ctx = f;
    return HT_OK;
}

/* ---- opening ---- */

static uint64_t received(void *ctx)
{
    struct ht__remote *r = ctx;
    pthread_mutex_lock(&r->lock);
    uint64_t n = r->received;
    pthread_mutex_unlock(&r->lock);
    return n;
}

static enum ht_err list(struct ht__remote *r, struct ht_diag *diag)
{
    const struct ht__selection *weights = &r->pulled->weights;
    struct ht__arena *arena = &r->pulled->repo.arena;
    struct ht__link *link = NULL;
    const char **names = ht__arena_array(arena, weights->n + 1, sizeof *names);
    r->files = ht__arena_array(arena, weights->n + 1, sizeof *r->files);
    if (!names || !r->files) return ht__fail_memory(diag, "remote");
    enum ht_err err = HT_OK;
    for (size_t i = 0; i < weights->n && err == HT_OK; i++) {
        r->files[i] = (struct remote_file){.remote = r, .file = weights->files[i]};
        names[i] = weights->files[i]->name;
        if (weights->files[i]->etag[0]) continue;
        if (!link) err = ht__link_open(r->hub, &link, diag);
        if (err == HT_OK) err = ht__api_file(link, &r->pulled->repo, weights->files[i], diag);
    }
    ht__link_close(&link);
    r->folder = (struct ht__remote_folder){r->pulled->folder, weights->n, names, open_remote_file, r, received};
    return err;
}

static enum ht_err start(struct ht__remote *r, struct ht_diag *diag)
{
    HT_TRY(list(r, diag));
    while (r->n_threads < MAX_FETCHERS && pthread_create(&r->threads[r->n_threads], NULL, ht__remote_work, r) == 0)
        r->n_threads++;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->folder.n && i < MAX_AHEAD / 4; i++)
        if (r->files[i].file->size && r->files[i].file->size != UINT64_MAX)
            want_ahead(r, &r->files[i], 0, 0); /* their headers */
    pthread_mutex_unlock(&r->lock);
    return r->n_threads ? HT_OK : ht__fail(diag, HT_ERR_MEMORY, "threads", -1, "no thread could be started");
}

enum ht_err ht__remote_open(struct ht__hub *hub, struct ht__pulled *pulled, struct ht__remote **out,
                            struct ht_diag *diag)
{
    struct ht__remote *r = ht__new(hub->alloc, sizeof *r);
    *out = NULL;
    if (!r) return ht__fail_memory(diag, "remote");
    r->hub = hub;
    r->pulled = pulled;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    pthread_cond_init(&r->work, NULL);
    enum ht_err err = start(r, diag);
    if (err != HT_OK)
        ht__remote_close(&r);
    else
        *out = r;
    return err;
}

void ht__remote_close(struct ht__remote **p)
{
    struct ht__remote *r = *p;
    if (!r) return;
    pthread_mutex_lock(&r->lock);
    r->closing = true;
    pthread_cond_broadcast(&r->work);
    pthread_mutex_unlock(&r->lock);
    atomic_store(&r->hub->halted, true); /* what was fetched ahead is not needed any more */
    for (int i = 0; i < r->n_threads; i++)
        pthread_join(r->threads[i], NULL);
    atomic_store(&r->hub->halted, false);
    for (int i = 0; i < r->n_blocks; i++)
        ht__free_aligned(r->hub->alloc, r->blocks[i].data);
    for (size_t i = 0; i < r->folder.n; i++)
        ht__free(r->hub->alloc, r->files[i].url);
    pthread_cond_destroy(&r->work);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    ht__free(r->hub->alloc, r);
    *p = NULL;
}

const struct ht__remote_folder *ht__remote_folder(const struct ht__remote *r)
{
    return &r->folder;
}

uint64_t ht__remote_received(struct ht__remote *r)
{
    return received(r);
}
