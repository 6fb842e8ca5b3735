#include "job/source.h"
#include "job/hub.h"
#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WINDOW = 1 << 20, HEX_DIGITS = 64 };

struct ht__source_hash {
    struct ht__plan *plan;
    pthread_t thread;
    pthread_mutex_t lock; /* for the next two */
    pthread_cond_t changed;
    bool ended;
    uint64_t done, total; /* bytes */
    atomic_bool stop;
    bool joined;
    enum ht_err err; /* of the thread; read after it was joined */
    struct ht_diag diag;
};

/* What the reading of a folder may look at, beside the weights. */
static const char *const companions[] = {
    "config.json",         "generation_config.json",  "model.safetensors.index.json",
    "tokenizer.json",      "tokenizer_config.json",   "tokenizer.model",
    "vocab.json",          "merges.txt",              "vocab.txt",
    "added_tokens.json",   "special_tokens_map.json", "chat_template.jinja",
    "chat_template.json",  "README.md",               "pytorch_model.bin.index.json",
};

/* blobs/<64 hexadecimal digits>: large files of a hub's cache are named by their SHA-256. */
static void take_known_hash(struct ht__source_file *file)
{
    char real[4096];
    if (!realpath(file->path, real)) return;
    const char *name = ht__path_base(real);
    if (strlen(name) != HEX_DIGITS || strspn(name, "0123456789abcdef") != HEX_DIGITS) return;
    static const char folder[] = "/blobs/";
    size_t before = (size_t)(name - real), n = sizeof folder - 1;
    if (before < n || memcmp(name - n, folder, n) != 0) return;
    memcpy(file->sha256, name, HEX_DIGITS + 1);
    file->from_cache = true;
}

static enum ht_err add(struct ht__plan *plan, const char *path, enum ht__source_role role,
                       struct ht_diag *diag)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) return HT_OK; /* not there: not read either */
    struct ht__source_file *file = &plan->sources[plan->n_sources++];
    file->path = ht__arena_str(&plan->arena, path);
    if (!file->path) return ht__fail_memory(diag, path);
    file->size = (uint64_t)st.st_size;
    file->role = role;
    take_known_hash(file);
    return HT_OK;
}

/* What stays on a hub is not read a second time: the hub says what it is. */
static enum ht_err add_remote(struct ht__plan *plan, const char *path, enum ht__source_role role, struct ht_diag *diag)
{
    struct ht__source_file *file = &plan->sources[plan->n_sources++];
    file->path = ht__arena_str(&plan->arena, path);
    if (!file->path) return ht__fail_memory(diag, path);
    for (uint32_t i = 0; i < plan->checkpoint->n_files; i++)
        if (strcmp(plan->checkpoint->files[i].path, path) == 0) file->size = plan->checkpoint->files[i].size;
    file->role = role;
    file->remote = true;
    snprintf(file->sha256, sizeof file->sha256, "%s", ht__hub_sha256(plan->job, path));
    return HT_OK;
}

enum ht_err ht__sources_list(struct ht__plan *plan, struct ht_diag *diag)
{
    const struct ht__checkpoint *ck = plan->checkpoint;
    size_t n = sizeof companions / sizeof companions[0];
    plan->sources = ht__arena_array(&plan->arena, ck->n_files + n + 1, sizeof *plan->sources);
    if (!plan->sources) return ht__fail_memory(diag, "plan");
    for (uint32_t i = 0; i < ck->n_files; i++)
        HT_TRY((ck->files[i].backend ? add_remote : add)(plan, ck->files[i].path, HT__SOURCE_WEIGHTS, diag));
    for (size_t i = 0; ck->kind != HT__KIND_GGUF && i < n; i++) {
        char path[4096];
        HT_TRY(ht__path_join(path, sizeof path, ck->dir, companions[i], diag));
        HT_TRY(add(plan, path, HT__SOURCE_COMPANION, diag));
    }
    const char *imatrix = plan->job->options.imatrix ? plan->job->options.imatrix : plan->job->options.calibration;
    return imatrix ? add(plan, imatrix, HT__SOURCE_IMPORTANCE, diag) : HT_OK;
}

/* The thread's priority, not the program's: on Linux a thread has its own. */
static void step_back(void)
{
#ifdef __linux__
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19);
#endif
}

static void tell_done(struct ht__source_hash *h, uint64_t n, bool ended)
{
    pthread_mutex_lock(&h->lock);
    h->done += n;
    h->ended |= ended;
    if (ended) pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

static enum ht_err hash_file(struct ht__source_hash *h, struct ht__source_file *source, void *window)
{
    struct ht__file file;
    struct ht__sha256 sha;
    HT_TRY(ht__file_open(&file, source->path, &h->diag));
    ht__sha256_begin(&sha);
    enum ht_err err = sha.state ? HT_OK : ht__fail_memory(&h->diag, source->path);
    for (uint64_t at = 0; at < file.size && err == HT_OK;) {
        uint64_t n = file.size - at < WINDOW ? file.size - at : WINDOW;
        if (atomic_load(&h->stop) || ht__job_cancelled(h->plan->job))
            err = ht__fail(&h->diag, HT_ERR_CANCELLED, NULL, -1, "cancelled");
        else
            err = ht__file_read(&file, at, window, n, &h->diag);
        if (err == HT_OK) ht__sha256_add(&sha, window, n);
        at += n;
        tell_done(h, n, false);
    }
    ht__sha256_end(&sha, source->sha256);
    if (err == HT_OK && !source->sha256[0]) err = ht__fail_memory(&h->diag, source->path);
    if (err != HT_OK) source->sha256[0] = '\0';
    ht__file_close(&file);
    return err;
}

static void *work(void *arg)
{
    struct ht__source_hash *h = arg;
    const struct ht__alloc *alloc = h->plan->job->alloc;
    step_back();
    void *window = ht__new_aligned(alloc, WINDOW);
    if (!window) h->err = ht__fail_memory(&h->diag, "source");
    for (size_t i = 0; h->err == HT_OK && i < h->plan->n_sources; i++)
        if (!h->plan->sources[i].sha256[0] && !h->plan->sources[i].remote) h->err = hash_file(h, &h->plan->sources[i], window);
    ht__free_aligned(alloc, window);
    tell_done(h, 0, true);
    return NULL;
}

enum ht_err ht__source_hash_start(struct ht__plan *plan, struct ht__source_hash **out,
                                  struct ht_diag *diag)
{
    uint64_t total = 0;
    bool wanted = false;
    *out = NULL;
    for (size_t i = 0; i < plan->n_sources; i++)
        if (!plan->sources[i].sha256[0] && !plan->sources[i].remote) {
            total += plan->sources[i].size;
            wanted = true;
        }
    if (!wanted || plan->job->options.no_source_hash) return HT_OK;
    struct ht__source_hash *h = ht__arena_new(&plan->arena, sizeof *h);
    if (!h) return ht__fail_memory(diag, "source");
    h->plan = plan;
    h->total = total;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
    if (pthread_create(&h->thread, NULL, work, h) != 0) {
        pthread_cond_destroy(&h->changed);
        pthread_mutex_destroy(&h->lock);
        return ht__fail(diag, HT_ERR_MEMORY, "threads", -1, "no thread could be started");
    }
    *out = h;
    return HT_OK;
}

static bool wait_a_little(struct ht__source_hash *h, uint64_t *done)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&h->lock);
    if (!h->ended) pthread_cond_timedwait(&h->changed, &h->lock, &until);
    *done = h->done;
    bool ended = h->ended;
    pthread_mutex_unlock(&h->lock);
    return !ended;
}

static void join(struct ht__source_hash *h)
{
    if (!h->joined) pthread_join(h->thread, NULL);
    h->joined = true;
}

enum ht_err ht__source_hash_wait(struct ht__source_hash *h, struct ht_diag *diag)
{
    struct ht__meter meter;
    uint64_t done;
    if (!h) return HT_OK;
    ht__meter_begin(&meter, h->plan->job, "hash", "bytes", h->total);
    while (wait_a_little(h, &done))
        if (ht__meter_tell(&meter, done, "")) ht_job_cancel(h->plan->job);
    join(h);
    if (h->err != HT_OK && diag && diag->code == HT_OK) *diag = h->diag;
    return h->err;
}

void ht__source_hash_close(struct ht__source_hash **p)
{
    struct ht__source_hash *h = *p;
    if (!h) return;
    atomic_store(&h->stop, true);
    join(h);
    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->lock);
    *p = NULL;
}
