#include "hub/fetch.h"
#include "base/check.h"
#include "base/file.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct team {
    const struct ht__fetch *fetch;
    const struct ht__selection *files; /* that are missing, the largest first */
    atomic_ullong done;
    pthread_mutex_t lock; /* for all below */
    pthread_cond_t ended;
    size_t next;
    int n_working;
    const char *file; /* the one begun last */
    enum ht_err err;
    struct ht_diag diag;
};

static bool has_blob(const struct ht__cache_repo *cache, const struct ht__repo_file *file)
{
    char path[HT__CACHE_PATH];
    struct stat st;
    return ht__cache_blob(cache, file->etag, path, NULL) == HT_OK && stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
           (uint64_t)st.st_size == file->size;
}

uint64_t ht__fetch_missing(const struct ht__cache_repo *cache, const struct ht__selection *files)
{
    uint64_t n = 0;
    for (size_t i = 0; i < files->n; i++)
        if (!has_blob(cache, files->files[i])) n += files->files[i]->size;
    return n;
}

/* The first failure ends the others soon; each part stays for the next time. */
static void leave(struct team *team, enum ht_err err, const struct ht_diag *diag)
{
    pthread_mutex_lock(&team->lock);
    if (err != HT_OK && team->err == HT_OK) {
        team->err = err;
        team->diag = *diag;
        atomic_store(&team->fetch->hub->halted, true);
    }
    team->n_working--;
    pthread_cond_signal(&team->ended);
    pthread_mutex_unlock(&team->lock);
}

static const struct ht__repo_file *take(struct team *team)
{
    const struct ht__repo_file *file = NULL;
    pthread_mutex_lock(&team->lock);
    if (team->err == HT_OK && team->next < team->files->n) {
        file = team->files->files[team->next++];
        team->file = file->name;
    }
    pthread_mutex_unlock(&team->lock);
    return file;
}

static void *work(void *arg)
{
    struct team *team = arg;
    const struct ht__fetch *f = team->fetch;
    struct ht_diag diag = {0};
    struct ht__link *link = NULL;
    enum ht_err err = ht__link_open(f->hub, &link, &diag);
    const struct ht__repo_file *file;
    while (err == HT_OK && (file = take(team)) != NULL) {
        struct ht__blob_job job = {link, f->repo, f->cache, file, &team->done};
        err = ht__blob_fetch(&job, &diag);
    }
    ht__link_close(&link);
    leave(team, err, &diag);
    return NULL;
}

/* ---- the calling thread ---- */

static bool wait_a_little(struct team *team, const char **file)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&team->lock);
    if (team->n_working) pthread_cond_timedwait(&team->ended, &team->lock, &until);
    bool going = team->n_working > 0;
    *file = team->file;
    pthread_mutex_unlock(&team->lock);
    return going;
}

static void watch(struct team *team, uint64_t total)
{
    const struct ht__fetch *f = team->fetch;
    const char *file;
    bool going;
    do {
        going = wait_a_little(team, &file);
        unsigned long long done = atomic_load(&team->done);
        if (!f->tell || !f->tell(f->ctx, done < total ? done : total, total, file)) continue;
        pthread_mutex_lock(&team->lock);
        atomic_store(&f->hub->halted, true);
        if (team->err == HT_OK) team->err = ht__fail(&team->diag, HT_ERR_CANCELLED, NULL, -1, "cancelled");
        pthread_mutex_unlock(&team->lock);
    } while (going);
}

static enum ht_err run(struct team *team, uint64_t total, struct ht_diag *diag)
{
    enum { MAX_THREADS = 32 };
    pthread_t threads[MAX_THREADS];
    int n = 0, wanted = team->fetch->hub->settings.n_parallel;
    if ((size_t)wanted > team->files->n) wanted = (int)team->files->n;
    team->n_working = wanted > MAX_THREADS ? MAX_THREADS : wanted;
    for (wanted = team->n_working; n < wanted && pthread_create(&threads[n], NULL, work, team) == 0;)
        n++;
    if (n < wanted) {
        pthread_mutex_lock(&team->lock);
        team->n_working -= wanted - n;
        if (n == 0) team->err = ht__fail(&team->diag, HT_ERR_MEMORY, "threads", -1, "no thread could be started");
        pthread_mutex_unlock(&team->lock);
    }
    watch(team, total);
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&team->fetch->hub->halted, false);
    if (team->err != HT_OK && diag && diag->code == HT_OK) *diag = team->diag;
    return team->err;
}

static int larger_first(const void *a, const void *b)
{
    const struct ht__repo_file *x = *(struct ht__repo_file *const *)a, *y = *(struct ht__repo_file *const *)b;
    return (x->size < y->size) - (x->size > y->size);
}

/* Two files of one content are one blob. */
static bool is_listed(const struct ht__selection *s, const struct ht__repo_file *file)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->files[i]->etag, file->etag) == 0) return true;
    return false;
}

/* What an earlier run left of a file needs no room. */
static uint64_t already_here(const struct ht__fetch *f, const struct ht__selection *missing)
{
    uint64_t n = 0;
    for (size_t i = 0; i < missing->n; i++) {
        char part[HT__CACHE_PATH + 16];
        struct stat st;
        if (ht__cache_blob(f->cache, missing->files[i]->etag, part, NULL) != HT_OK) continue;
        strcat(part, ".incomplete");
        if (stat(part, &st) == 0 && (uint64_t)st.st_size <= missing->files[i]->size) n += (uint64_t)st.st_size;
    }
    return n;
}

static enum ht_err check_space(const struct ht__fetch *f, uint64_t wanted, struct ht_diag *diag)
{
    uint64_t free_bytes;
    HT_TRY(ht__disk_free(f->cache->root, &free_bytes, diag));
    if (wanted <= free_bytes) return HT_OK;
    return ht__fail(diag, HT_ERR_NO_SPACE, f->cache->root, -1, "the download needs %.2f GB, but only %.2f GB are free",
                    (double)wanted / 1e9, (double)free_bytes / 1e9);
}

static enum ht_err bring(const struct ht__fetch *f, const struct ht__selection *missing, uint64_t total,
                         struct ht_diag *diag)
{
    struct team team = {.fetch = f, .files = missing, .file = ""};
    char blobs[HT__CACHE_PATH];
    if (missing->n == 0) return HT_OK;
    snprintf(blobs, sizeof blobs, "%s/%s/blobs", f->cache->root, f->cache->folder);
    HT_TRY(ht__make_dirs(blobs, diag));
    HT_TRY(check_space(f, total - already_here(f, missing), diag));
    atomic_init(&team.done, 0);
    pthread_mutex_init(&team.lock, NULL);
    pthread_cond_init(&team.ended, NULL);
    enum ht_err err = run(&team, total, diag);
    pthread_cond_destroy(&team.ended);
    pthread_mutex_destroy(&team.lock);
    return err;
}

/* Lists may be silent about sizes and hashes: then each file is asked about. */
static enum ht_err complete(const struct ht__fetch *f, const struct ht__selection *files, struct ht_diag *diag)
{
    struct ht__link *link = NULL;
    enum ht_err err = HT_OK;
    for (size_t i = 0; i < files->n && err == HT_OK; i++) {
        if (files->files[i]->etag[0]) continue;
        if (!link) err = ht__link_open(f->hub, &link, diag);
        if (err == HT_OK) err = ht__api_file(link, f->repo, files->files[i], diag);
    }
    ht__link_close(&link);
    return err;
}

enum ht_err ht__fetch_files(const struct ht__fetch *f, const struct ht__selection *files, struct ht_diag *diag)
{
    struct ht__selection missing = {0};
    uint64_t total = 0;
    HT_TRY(complete(f, files, diag));
    missing.files = ht__new_array(f->hub->alloc, files->n, sizeof *missing.files);
    if (!missing.files) return ht__fail_memory(diag, f->repo->name.id);
    for (size_t i = 0; i < files->n; i++) {
        if (has_blob(f->cache, files->files[i]) || is_listed(&missing, files->files[i])) continue;
        missing.files[missing.n++] = files->files[i];
        if (!ht__add_ok(total, files->files[i]->size, &total)) total = UINT64_MAX; /* no disk has room for it */
    }
    qsort(missing.files, missing.n, sizeof *missing.files, larger_first);
    enum ht_err err = bring(f, &missing, total, diag);
    for (size_t i = 0; i < files->n && err == HT_OK; i++)
        err = ht__cache_link(f->cache, f->repo->commit, files->files[i]->name, files->files[i]->etag, diag);
    ht__free(f->hub->alloc, missing.files);
    return err;
}
