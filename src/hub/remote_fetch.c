/* Requests that fill blocks: a run of neighbours each, resumed where a connection broke off. */
#include "hub/remote_parts.h"

#include <string.h>

struct run {
    struct ht__remote *remote;
    struct remote_file *file;
    struct block *blocks[MAX_RUN];
    int n;
    uint64_t first, len, have; /* bytes of the file */
    bool from_endpoint;        /* of the request under way */
};

/* The run that is due: what somebody waits for goes first, then what was wanted first. The lock is held. */
static bool take(struct ht__remote *r, struct run *run)
{
    struct block *first = NULL;
    for (int i = 0; i < r->n_blocks; i++) {
        struct block *b = &r->blocks[i];
        if (b->state != BLOCK_WANTED) continue;
        if (!first || (b->demanded && !first->demanded) || (b->demanded == first->demanded && b->order < first->order))
            first = b;
    }
    if (!first) return false;
    *run = (struct run){.remote = r, .file = first->file, .first = first->index * BLOCK};
    for (struct block *b = first; b && run->n < MAX_RUN;) {
        b->state = BLOCK_LOADING;
        run->blocks[run->n++] = b;
        run->len += block_size(b);
        const uint64_t next = b->index + 1;
        b = NULL;
        for (int i = 0; i < r->n_blocks && !b; i++)
            if (r->blocks[i].state == BLOCK_WANTED && r->blocks[i].file == run->file && r->blocks[i].index == next)
                b = &r->blocks[i];
    }
    return true;
}

static enum ht_err changed(const struct run *run, struct ht_diag *diag)
{
    return ht__fail(diag, HT_ERR_VERIFY, run->file->file->name, (int64_t)(run->first + run->have),
                    "the file on the hub changed while it was read");
}

/* Every answer must be about the same content. */
static enum ht_err on_begin(void *ctx, const struct ht__reply *reply, struct ht_diag *diag)
{
    struct run *run = ctx;
    struct ht__remote *r = run->remote;
    const struct ht__repo_file *f = run->file->file;
    uint64_t want = run->first + run->have;
    bool all = reply->status == 200 && want == 0 && run->len == f->size;
    if (reply->linked_etag[0] && strcmp(reply->linked_etag, f->etag) != 0) return changed(run, diag);
    if (reply->status == 206 ? reply->first != want : !all)
        return ht__fail(diag, HT_ERR_UNSUPPORTED, f->name, -1,
                        "the server does not support range requests: leave out --no-cache to download the whole file");
    if ((reply->status == 206 ? reply->total : reply->length) != f->size) return changed(run, diag);
    pthread_mutex_lock(&r->lock);
    char *known = run->file->etag;
    bool same = !known[0] || !reply->etag[0] || strcmp(known, reply->etag) == 0;
    if (!known[0]) memcpy(known, reply->etag, sizeof run->file->etag);
    pthread_mutex_unlock(&r->lock);
    return same ? HT_OK : changed(run, diag);
}

static enum ht_err on_data(void *ctx, const void *data, size_t n, struct ht_diag *diag)
{
    struct run *run = ctx;
    struct ht__remote *r = run->remote;
    const unsigned char *p = data;
    (void)diag;
    while (n > 0 && run->have < run->len) {
        struct block *b = run->blocks[run->have / BLOCK];
        uint64_t at = run->have % BLOCK, part = block_size(b) - at < n ? block_size(b) - at : n;
        memcpy(b->data + at, p, part);
        run->have += part;
        p += part;
        n -= part;
        bool whole = at + part == block_size(b);
        pthread_mutex_lock(&r->lock);
        r->received += part;
        if (whole) b->state = BLOCK_READY;
        if (whole) pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
    }
    return HT_OK;
}

/* Addresses away from the endpoint are signed for a while only: afterwards it is asked again. */
static bool has_expired(const struct run *run, const char *url, const struct ht__reply *reply)
{
    int s = reply->status;
    return (!run->from_endpoint || strcmp(reply->url, url) != 0) &&
           (s == 400 || s == 401 || s == 403 || s == 404 || s == 410);
}

static enum ht_err address(struct run *run, char url[HT__URL_MAX], struct ht_diag *diag)
{
    struct ht__remote *r = run->remote;
    pthread_mutex_lock(&r->lock);
    run->from_endpoint = !run->file->url;
    if (run->file->url) memcpy(url, run->file->url, strlen(run->file->url) + 1);
    pthread_mutex_unlock(&r->lock);
    return run->from_endpoint ? ht__api_url(r->hub, &r->pulled->repo, run->file->file->name, url, diag) : HT_OK;
}

static void keep_address(struct run *run, const char *url)
{
    struct ht__remote *r = run->remote;
    size_t n = url ? strlen(url) + 1 : 0;
    pthread_mutex_lock(&r->lock);
    ht__free(r->hub->alloc, run->file->url);
    run->file->url = url ? ht__new(r->hub->alloc, n) : NULL;
    if (run->file->url) memcpy(run->file->url, url, n);
    if (!url) run->file->etag[0] = '\0'; /* perhaps another host, which calls it otherwise */
    pthread_mutex_unlock(&r->lock);
}

static enum ht_err one_request(struct run *run, struct ht__link *link, struct ht__patience *patience,
                               struct ht_diag *diag)
{
    char url[HT__URL_MAX];
    struct ht__reply reply;
    uint64_t before = run->have;
    HT_TRY(address(run, url, diag));
    struct ht__request q = {.url = url,
                            .first = run->first + run->have,
                            .len = run->len - run->have,
                            .limit = run->len - run->have,
                            .begin = on_begin,
                            .sink = on_data,
                            .ctx = run};
    enum ht_err err = ht__link_send(link, &q, &reply, diag);
    if (run->have > before) patience->failures = 0;
    if (err == HT_OK && (reply.status == 200 || reply.status == 206)) {
        if (run->from_endpoint && strcmp(reply.url, url) != 0) keep_address(run, reply.url);
        if (run->have == run->len) return HT_OK;
        reply.lost = true;
        err = ht__fail(diag, HT_ERR_IO, run->file->file->name, -1, "the file ends early");
    } else if (err == HT_OK && has_expired(run, url, &reply)) {
        keep_address(run, NULL);
        return run->from_endpoint ? ht__link_wait(link, patience, &reply, diag) : HT_OK;
    } else if (err == HT_OK && !ht__reply_is_busy(&reply)) {
        return ht__api_refused(run->remote->hub, &run->remote->pulled->repo.name, run->file->file->name, &reply, diag);
    }
    if (err != HT_OK && !reply.lost) return err;
    if (reply.lost && !run->from_endpoint && run->have == before) keep_address(run, NULL); /* that host may be gone */
    if (run->have > before) { /* what was cut off goes on at once */
        ht__diag_clear(diag);
        return HT_OK;
    }
    return ht__link_wait(link, patience, &reply, diag);
}

static enum ht_err fetch(struct run *run, struct ht__link *link, struct ht_diag *diag)
{
    struct ht__patience patience = {0};
    while (run->have < run->len)
        HT_TRY(one_request(run, link, &patience, diag));
    return HT_OK;
}

/* The lock is held. */
static void fail(struct ht__remote *r, const struct run *run, enum ht_err err, const struct ht_diag *diag)
{
    if (r->err == HT_OK) {
        r->err = err;
        r->diag = *diag;
    }
    for (int i = 0; run && i < run->n; i++)
        if (run->blocks[i]->state == BLOCK_LOADING) run->blocks[i]->state = BLOCK_FAILED;
    pthread_cond_broadcast(&r->changed);
}

void *ht__remote_work(void *arg)
{
    struct ht__remote *r = arg;
    struct ht__link *link = NULL;
    struct ht_diag diag = {0};
    struct run run;
    enum ht_err err = ht__link_open(r->hub, &link, &diag);
    pthread_mutex_lock(&r->lock);
    if (err != HT_OK) fail(r, NULL, err, &diag);
    while (!r->closing && r->err == HT_OK) {
        if (!take(r, &run)) {
            pthread_cond_wait(&r->work, &r->lock);
            continue;
        }
        pthread_mutex_unlock(&r->lock);
        err = fetch(&run, link, &diag);
        pthread_mutex_lock(&r->lock);
        if (err != HT_OK) fail(r, &run, err, &diag);
    }
    pthread_mutex_unlock(&r->lock);
    ht__link_close(&link);
    return NULL;
}
