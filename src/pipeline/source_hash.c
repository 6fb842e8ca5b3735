#include "pipeline/source.h"
#include "base/hash.h"

#include <stdlib.h>

enum { WINDOW = 256 << 10 }; /* what a core's cache holds until it is hashed */

struct place {
    uint32_t file, tensor;
    uint64_t from, to; /* bytes of the file */
};

struct ht__source_hash {
    struct ht__plan *plan;
    struct ht__sum *whole; /* by tensor; the thread's until it was joined */
    struct place *places;  /* by file and offset */
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

static int by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->file != y->file) return x->file < y->file ? -1 : 1;
    return x->from < y->from ? -1 : x->from > y->from;
}

/* Tensors by where they lie. */
static enum ht_err sort_tensors(struct ht__source_hash *h, struct ht_diag *diag)
{
    const struct ht__checkpoint *ck = h->plan->checkpoint;
    h->whole = ht__arena_array(&h->plan->arena, ck->n_tensors, sizeof *h->whole);
    h->places = ht__arena_array(&h->plan->arena, ck->n_tensors, sizeof *h->places);
    if (!h->whole || !h->places) return ht__fail_memory(diag, "source");
    for (uint32_t i = 0; i < ck->n_tensors; i++) {
        const struct ht__tensor *t = &ck->tensors[i];
        h->places[i] = (struct place){t->file, i, t->offset, t->offset + t->n_bytes};
    }
    if (ck->n_tensors) qsort(h->places, ck->n_tensors, sizeof *h->places, by_place);
    return HT_OK;
}

/* Those of one file: from places[*first] up to the one that is returned. */
static const struct place *places_of(const struct ht__source_hash *h, const struct ht__file *file, uint32_t *first)
{
    const struct ht__checkpoint *ck = h->plan->checkpoint;
    uint32_t i = 0;
    while (i < ck->n_tensors && &ck->files[h->places[i].file] != file)
        i++;
    *first = i;
    while (i < ck->n_tensors && &ck->files[h->places[i].file] == file)
        i++;
    return h->places + i;
}

static void tell_done(struct ht__source_hash *h, uint64_t n, bool ended)
{
    pthread_mutex_lock(&h->lock);
    h->done += n;
    h->ended |= ended;
    if (ended) pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

/* The tensors of a file that reach into the window, which moves forward: places[*first] is the first that may. */
static void sum_tensors(struct ht__source_hash *h, uint32_t *first, const struct place *end, uint64_t at,
                        const unsigned char *window, uint64_t n)
{
    while (&h->places[*first] < end && h->places[*first].to <= at)
        ++*first;
    for (const struct place *p = &h->places[*first]; p < end && p->from < at + n; p++) {
        uint64_t from = p->from > at ? p->from : at, to = p->to < at + n ? p->to : at + n;
        if (from < to) ht__sum_add(&h->whole[p->tensor], from, window + (from - at), to - from);
    }
}

static enum ht_err hash_file(struct ht__source_hash *h, struct ht__source_file *source, unsigned char *window)
{
    const struct ht__file *file = source->file;
    struct ht__sha256 sha;
    uint32_t first;
    const struct place *end = places_of(h, file, &first);
    ht__sha256_begin(&sha);
    enum ht_err err = sha.state ? HT_OK : ht__fail_memory(&h->diag, source->path);
    for (uint64_t at = 0; at < file->size && err == HT_OK;) {
        uint64_t n = file->size - at < WINDOW ? file->size - at : WINDOW;
        if (atomic_load(&h->stop) || ht__cancelled(&h->plan->run))
            err = ht__fail(&h->diag, HT_ERR_CANCELLED, NULL, -1, "cancelled");
        else
            err = ht__file_read(file, at, window, n, &h->diag);
        if (err == HT_OK) ht__sha256_add(&sha, window, n);
        if (err == HT_OK) sum_tensors(h, &first, end, at, window, n);
        at += n;
        tell_done(h, n, false);
    }
    ht__sha256_end(&sha, source->sha256);
    if (err == HT_OK && !source->sha256[0]) err = ht__fail_memory(&h->diag, source->path);
    if (err != HT_OK) source->sha256[0] = '\0';
    return err;
}

static void *work(void *arg)
{
    struct ht__source_hash *h = arg;
    const struct ht__alloc *alloc = h->plan->run.alloc;
    unsigned char *window = ht__new_aligned(alloc, WINDOW);
    if (!window) h->err = ht__fail_memory(&h->diag, "source");
    for (size_t i = 0; h->err == HT_OK && i < h->plan->n_sources; i++)
        if (!h->plan->sources[i].sha256[0] && !h->plan->sources[i].remote)
            h->err = hash_file(h, &h->plan->sources[i], window);
    ht__free_aligned(alloc, window);
    tell_done(h, 0, true);
    return NULL;
}

enum ht_err ht__source_hash_start(struct ht__plan *plan, struct ht__source_hash **out, struct ht_diag *diag)
{
    uint64_t total = 0;
    bool wanted = false;
    *out = NULL;
    for (size_t i = 0; i < plan->n_sources; i++)
        if (!plan->sources[i].sha256[0] && !plan->sources[i].remote) {
            total += plan->sources[i].size;
            wanted = true;
        }
    if (!wanted || !plan->settings->source.hash) return HT_OK;
    struct ht__source_hash *h = ht__arena_new(&plan->arena, sizeof *h);
    if (!h) return ht__fail_memory(diag, "source");
    h->plan = plan;
    h->total = total;
    HT_TRY(sort_tensors(h, diag));
    pthread_mutex_init(&h->lock, NULL);
    ht__cond_init(&h->changed);
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
    pthread_mutex_lock(&h->lock);
    if (!h->ended) ht__cond_wait_ms(&h->changed, &h->lock, 100);
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
    struct ht__progress progress;
    uint64_t done;
    if (!h) return HT_OK;
    ht__progress_begin(&progress, &h->plan->run, "hash", "bytes", h->total);
    while (wait_a_little(h, &done))
        (void)ht__progress_tell(&progress, done, ""); /* the thread that hashes sees it when the run is cancelled */
    join(h);
    if (h->err != HT_OK && diag && diag->code == HT_OK) *diag = h->diag;
    return h->err;
}

/* Was the file of this tensor hashed, so that its sum is known? */
static bool was_hashed(const struct ht__source_hash *h, const struct ht__tensor *t)
{
    const struct ht__file *file = &h->plan->checkpoint->files[t->file];
    for (size_t i = 0; i < h->plan->n_sources; i++) {
        const struct ht__source_file *s = &h->plan->sources[i];
        if (s->file == file) return s->sha256[0] && !s->from_cache;
    }
    return false;
}

static enum ht_err compare(const struct ht__source_hash *h, const struct ht__sum *read, struct ht_diag *diag)
{
    const struct ht__checkpoint *ck = h->plan->checkpoint;
    for (uint32_t i = 0; i < ck->n_tensors; i++)
        if (read[i].bytes && was_hashed(h, &ck->tensors[i]) &&
            ht__sum_compare(&read[i], &h->whole[i]) == HT__SUM_DIFFERS)
            return ht__fail(diag, HT_ERR_VERIFY, ck->files[ck->tensors[i].file].path, -1,
                            "%s: the file changed: what was quantized is not what was hashed afterwards%s",
                            ck->tensors[i].name,
                            h->plan->settings->publish.resume ? "; run without --resume to start anew" : "");
    return HT_OK;
}

enum ht_err ht__source_hash_compare(const struct ht__source_hash *h, const struct ht__stream_result *result,
                                    struct ht_diag *diag)
{
    if (!h) return HT_OK;
    const struct ht__plan *plan = h->plan;
    struct ht__sum *read = ht__new_array(plan->run.alloc, plan->checkpoint->n_tensors + 1, sizeof *read);
    if (!read) return ht__fail_memory(diag, "source");
    for (size_t w = 0; w < plan->n_items; w++) {
        const struct ht__buf *readings = &result->stats[w].readings;
        const struct ht__reading *all = (const struct ht__reading *)(const void *)readings->data;
        for (size_t i = 0; i < readings->len / sizeof *all; i++)
            ht__sum_merge(&read[all[i].tensor], &all[i].sum);
    }
    enum ht_err err = compare(h, read, diag);
    ht__free(plan->run.alloc, read);
    return err;
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
