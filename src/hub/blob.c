/* One file's content: from the hub to blobs/ETAG.incomplete, and to blobs/ETAG when it is what it should be. */
#include "base/file.h"
#include "hub/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WINDOW = 1 << 20 };

struct blob {
    const struct ht__blob_job *job;
    struct ht__hub *hub;
    char path[HT__CACHE_PATH], part[HT__CACHE_PATH + 16];
    int fd;
    uint64_t have;    /* bytes in the part, all of which the check has seen */
    uint64_t counted; /* of them, told as done */
    bool resumed;     /* some are of an earlier run */
    struct ht__etag_check check;
    char etag[160]; /* of the host that sends the content, for If-Range */
    uint64_t asked; /* the first byte of the request under way */
};

static bool stopped(void *ctx)
{
    return ht__hub_stopped(ctx);
}

static void count(struct blob *b)
{
    atomic_fetch_add(b->job->done, b->have - b->counted); /* wraps below zero where a start is made anew */
    b->counted = b->have;
}

/* ---- the part on the disk ---- */

static enum ht_err start_anew(struct blob *b, struct ht_diag *diag)
{
    ht__etag_check_drop(&b->check);
    b->have = 0;
    b->resumed = false;
    count(b);
    if (ftruncate(b->fd, 0) != 0) return ht__fail_errno(diag, errno, b->part, "cannot empty");
    return ht__etag_check_begin(&b->check, ht__etag_kind(b->job->file->etag), b->job->file->size, diag);
}

/* What an earlier run left is read again: the hash is of the whole. */
static enum ht_err take_up(struct blob *b, struct ht_diag *diag)
{
    struct stat st;
    unsigned char *window;
    if (fstat(b->fd, &st) != 0 || !S_ISREG(st.st_mode))
        return ht__fail(diag, HT_ERR_IO, b->part, -1, "not a regular file");
    if ((uint64_t)st.st_size > b->job->file->size) return start_anew(b, diag);
    HT_TRY(ht__etag_check_begin(&b->check, ht__etag_kind(b->job->file->etag), b->job->file->size, diag));
    if (!(window = ht__new_aligned(b->hub->alloc, WINDOW))) return ht__fail_memory(diag, b->part);
    enum ht_err err = HT_OK;
    while (err == HT_OK && b->have < (uint64_t)st.st_size) {
        ssize_t n = pread(b->fd, window, WINDOW, (off_t)b->have);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) err = ht__fail_errno(diag, n ? errno : EIO, b->part, "cannot read");
        if (err == HT_OK && stopped(b->hub)) err = ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled");
        if (err != HT_OK) break;
        ht__etag_check_add(&b->check, window, (size_t)n);
        b->have += (uint64_t)n;
        count(b);
    }
    b->resumed = b->have > 0;
    ht__free_aligned(b->hub->alloc, window);
    return err;
}

/* ---- the content as it comes ---- */

static enum ht_err changed(const struct blob *b, struct ht_diag *diag)
{
    return ht__fail(diag, HT_ERR_VERIFY, b->job->file->name, -1, "the file has changed on the hub: start again");
}

/* The endpoint's word about the file must be the list's; then either the rest comes, or all of it. */
static enum ht_err on_begin(void *ctx, const struct ht__reply *r, struct ht_diag *diag)
{
    struct blob *b = ctx;
    const struct ht__repo_file *f = b->job->file;
    if (r->linked_etag[0] && strcmp(r->linked_etag, f->etag) != 0) return changed(b, diag);
    if (r->linked_size != UINT64_MAX && r->linked_size != f->size) return changed(b, diag);
    uint64_t total = r->status == 206 ? r->total : r->length;
    if (total != UINT64_MAX && total != f->size)
        return ht__fail(diag, HT_ERR_VERIFY, f->name, -1, "the server sends %llu bytes, but the hub lists %llu",
                        (unsigned long long)total, (unsigned long long)f->size);
    if (r->status == 206 && r->first != b->asked)
        return ht__fail(diag, HT_ERR_FORMAT, f->name, -1, "the server answers with a range that was not asked for");
    snprintf(b->etag, sizeof b->etag, "%s", r->etag);
    return r->status == 206 || b->have == 0 ? HT_OK : start_anew(b, diag);
}

static enum ht_err on_data(void *ctx, const void *data, size_t n, struct ht_diag *diag)
{
    struct blob *b = ctx;
    const unsigned char *p = data;
    if (n > b->job->file->size - b->have)
        return ht__fail(diag, HT_ERR_VERIFY, b->job->file->name, -1,
                        "the server sends more than the %llu bytes that the hub lists",
                        (unsigned long long)b->job->file->size);
    for (size_t done = 0; done < n;) {
        ssize_t put = pwrite(b->fd, p + done, n - done, (off_t)(b->have + done));
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return ht__fail_errno(diag, put ? errno : ENOSPC, b->part, "cannot write");
        done += (size_t)put;
    }
    ht__etag_check_add(&b->check, data, n);
    b->have += n;
    count(b);
    return HT_OK;
}

/* One request. HT_OK: the content is whole, or another request may bring the rest. */
static enum ht_err one_request(struct blob *b, const char *url, struct ht__patience *patience, struct ht_diag *diag)
{
    struct ht__reply r;
    struct ht__request q = {.url = url,
                            .first = b->have,
                            .if_range = b->have && b->etag[0] ? b->etag : NULL,
                            .limit = b->job->file->size,
                            .begin = on_begin,
                            .sink = on_data,
                            .ctx = b};
    uint64_t before = b->have;
    b->asked = b->have;
    enum ht_err err = ht__link_send(b->job->link, &q, &r, diag);
    if (b->have > before) patience->failures = 0;
    if (err == HT_OK && r.status == 416 && before) return start_anew(b, diag); /* the part is of something else */
    if (err == HT_OK && (r.status == 200 || r.status == 206)) {
        if (b->have == b->job->file->size) return HT_OK;
        r.lost = true;
        err = ht__fail(diag, HT_ERR_IO, b->job->file->name, (int64_t)b->have, "the file ends early");
    } else if (err == HT_OK && !ht__reply_is_busy(&r)) {
        return ht__api_refused(b->hub, &b->job->repo->name, b->job->file->name, &r, diag);
    }
    if (err != HT_OK && !r.lost) return err;
    if (b->have > before) { /* what was cut off goes on at once */
        ht__diag_clear(diag);
        return HT_OK;
    }
    return ht__link_wait(b->job->link, patience, &r, diag);
}

static enum ht_err download(struct blob *b, struct ht_diag *diag)
{
    char url[HT__URL_MAX];
    struct ht__patience patience = {0};
    HT_TRY(ht__api_url(b->hub, b->job->repo, b->job->file->name, url, diag));
    while (b->have < b->job->file->size)
        HT_TRY(one_request(b, url, &patience, diag));
    return HT_OK;
}

/* ---- the end ---- */

static bool is_weights(const char *name)
{
    static const char *const ends[] = {".safetensors", ".bin", ".gguf", ".pt", ".pth", ".model"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (n > strlen(ends[i]) && strcmp(name + n - strlen(ends[i]), ends[i]) == 0) return true;
    return false;
}

static enum ht_err refuse_pointer(const struct blob *b, struct ht_diag *diag)
{
    char head[1024];
    if (b->have >= sizeof head || !is_weights(b->job->file->name)) return HT_OK;
    ssize_t n = pread(b->fd, head, sizeof head, 0);
    if (n <= 0 || !ht__is_lfs_pointer(head, (size_t)n)) return HT_OK;
    return ht__fail(
        diag, HT_ERR_FORMAT, b->job->file->name, -1,
        "the hub sends a Git LFS pointer instead of the weights: the model was uploaded without its large files");
}

static enum ht_err check(struct blob *b, bool *matches, struct ht_diag *diag)
{
    char hex[HT__ETAG_MAX + 1];
    ht__etag_check_end(&b->check, hex);
    if (!hex[0]) return ht__fail_memory(diag, b->job->file->name);
    *matches = strcmp(hex, b->job->file->etag) == 0;
    return HT_OK;
}

static enum ht_err fill(struct blob *b, struct ht_diag *diag)
{
    bool matches;
    HT_TRY(take_up(b, diag));
    for (;;) {
        bool resumed = b->resumed;
        HT_TRY(download(b, diag));
        HT_TRY(refuse_pointer(b, diag));
        HT_TRY(check(b, &matches, diag));
        if (matches) break;
        HT_TRY(start_anew(b, diag)); /* bad bytes must not be resumed from */
        if (!resumed)
            return ht__fail(
                diag, HT_ERR_VERIFY, b->job->file->name, -1,
                "its SHA-256 is not the %s that the hub lists: the download or the file on the hub is damaged",
                b->job->file->etag);
    }
    if (fsync(b->fd) != 0) return ht__fail_errno(diag, errno, b->part, "cannot sync");
    if (rename(b->part, b->path) != 0) return ht__fail_errno(diag, errno, b->path, "cannot rename into place");
    return HT_OK;
}

static enum ht_err fill_locked(struct blob *b, struct ht_diag *diag)
{
    struct stat st;
    if (stat(b->path, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == b->job->file->size) {
        b->have = b->job->file->size; /* another process was faster */
        count(b);
        return HT_OK;
    }
    b->fd = open(b->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (b->fd < 0) return ht__fail_errno(diag, errno, b->part, "cannot create");
    enum ht_err err = fill(b, diag);
    ht__etag_check_drop(&b->check);
    close(b->fd);
    if (err == HT_ERR_FORMAT || err == HT_ERR_VERIFY) unlink(b->part);
    return err;
}

enum ht_err ht__blob_fetch(const struct ht__blob_job *job, struct ht_diag *diag)
{
    struct blob b = {.job = job, .hub = ht__link_hub(job->link), .fd = -1};
    struct ht__cache_lock lock;
    HT_TRY(ht__cache_blob(job->cache, job->file->etag, b.path, diag));
    snprintf(b.part, sizeof b.part, "%s.incomplete", b.path);
    HT_TRY(ht__cache_lock(job->cache, job->file->etag, &lock, stopped, b.hub, diag));
    enum ht_err err = fill_locked(&b, diag);
    ht__cache_unlock(&lock);
    return err;
}
