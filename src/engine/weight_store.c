/*
 * A GGUF file without a cap is mapped, and moved into huge pages while texts are made of it. Otherwise layers have buffers: all of them, or as many as
 * the cap allows, taken in turn. A model is always run from its first layer to its last, over and
 * over: the layer that will be needed again last is the one just used, so buffers of the first
 * layers stay, and one or two are shared by the rest (dropping the least recently used would drop
 * every layer before its use). A thread reads the next layer while the current one computes.
 */
#include "engine/weight_store.h"

#include "base/free_memory.h"
#include "engine/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { STRIP = 4 << 20 }; /* weights that are read, and where need be encoded, between looks at cancellation */
/* Narrow passes that files are moved in: none of them takes long. */
enum { MOVES = 8 };

struct slot {
    uint8_t *data;
    int layer; /* whose bytes it holds, or -1 */
    bool ready;
    enum ht_err err;
    struct ht_diag diag;
};

struct ht__weight_store {
    struct ht__weights *w;
    const struct ht__alloc *alloc;
    struct ht__mapping *maps;
    uint32_t n_maps;
    size_t move; /* bytes of each narrow pass; 0: all is as it stays */
    bool asked;  /* whether there is memory for that */
    bool in_place;
    uint8_t *outside; /* the embedding and the output */
    struct slot *slots;
    uint64_t slot_bytes; /* of one that takes turns */
    int n_slots, n_kept; /* slots 0 … n_kept-1 hold those layers for good; the others take turns */
    pthread_t reader;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int wanted; /* layer for the reader, or -1 */
    struct ht__weights_stats stats;
    bool closing;
    const atomic_bool *cancelled; /* may be NULL */
    /* Layers as they were encoded, for the next time; a file without a name, -1: none. */
    int spill;
    uint64_t *spill_at;
    bool *spilled;
};

static int slot_of(const struct ht__weight_store *k, int layer)
{
    if (layer < k->n_kept || k->n_slots == k->n_kept) return layer < k->n_kept ? layer : 0;
    return k->n_kept + (layer - k->n_kept) % (k->n_slots - k->n_kept);
}

/* ---- reading ---- */

static bool is_cancelled(const struct ht__weight_store *k)
{
    return k->cancelled && atomic_load_explicit(k->cancelled, memory_order_relaxed);
}

/* n rows into their bytes; strip: room for them as floats, where they are computed. */
static enum ht_err read_rows(const struct ht__kept_matrix *m, int64_t row, int64_t n, float *strip, uint8_t *dst,
                             struct ht__arena *scratch, struct ht_diag *diag)
{
    const struct ht__rows *rows = m->weight->rows;
    dst += (size_t)row * m->row_bytes;
    if (rows->raw_type) return rows->read_raw(rows, row, n, dst, scratch, diag);
    HT_TRY(rows->read(rows, row, n, strip, scratch, diag));
    ht__encoder(m->type, ht__cpu_best())(strip, n, rows->row_len, NULL, dst);
    return HT_OK;
}

static enum ht_err read_matrix(const struct ht__weight_store *k, const struct ht__kept_matrix *m, uint8_t *dst,
                               struct ht_diag *diag)
{
    const struct ht__rows *rows = m->weight->rows;
    int64_t step = STRIP / rows->row_len > 0 ? STRIP / rows->row_len : 1;
    float *strip = rows->raw_type ? NULL : malloc((size_t)(step * rows->row_len) * sizeof *strip);
    if (!strip && !rows->raw_type) return ht__fail_memory(diag, m->weight->name);
    struct ht__arena scratch;
    enum ht_err err = HT_OK;
    ht__arena_init(&scratch, NULL);
    for (int64_t r = 0; !err && r < rows->n_rows; r += step) {
        ht__arena_reset(&scratch);
        err = is_cancelled(k)
                  ? ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled")
                  : read_rows(m, r, rows->n_rows - r < step ? rows->n_rows - r : step, strip, dst, &scratch, diag);
    }
    ht__arena_close(&scratch);
    free(strip);
    return err;
}

static void each_matrix(struct ht__layer *l, void (*fn)(void *ctx, struct ht__kept_matrix *m), void *ctx)
{
#define HT_MATRIX(field, name)                                                                                         \
    if (l->field.weight) fn(ctx, &l->field);
#include "engine/roles.def"
#undef HT_MATRIX
}

struct filling {
    const struct ht__weight_store *k;
    struct slot *slot;
};

static void fill_one(void *ctx, struct ht__kept_matrix *m)
{
    const struct filling *f = ctx;
    if (!f->slot->err) f->slot->err = read_matrix(f->k, m, f->slot->data + m->offset, &f->slot->diag);
}

static bool transfer(const struct ht__weight_store *k, int layer, uint8_t *data, bool out)
{
    uint64_t n = k->w->layers[layer].n_bytes;
    for (uint64_t done = 0; done < n;) {
        off_t at = (off_t)(k->spill_at[layer] + done);
        ssize_t got = out ? pwrite(k->spill, data + done, n - done, at) : pread(k->spill, data + done, n - done, at);
        if (got <= 0) return false;
        done += (uint64_t)got;
    }
    return true;
}

/* Reads a layer into its slot; the slot is the caller's alone meanwhile. A spill that fails is done
 * without. True where the layer came from the spill. */
static bool fill(struct ht__weight_store *k, struct slot *s, int layer)
{
    struct filling f = {k, s};
    s->err = HT_OK;
    ht__diag_clear(&s->diag);
    if (k->spill >= 0 && k->spilled[layer] && transfer(k, layer, s->data, false)) return true;
    each_matrix(&k->w->layers[layer], fill_one, &f);
    if (k->spill >= 0 && !s->err) k->spilled[layer] = transfer(k, layer, s->data, true);
    return false;
}

static void *read_ahead(void *arg)
{
    struct ht__weight_store *k = arg;
    pthread_mutex_lock(&k->lock);
    for (;;) {
        while (k->wanted < 0 && !k->closing)
            pthread_cond_wait(&k->changed, &k->lock);
        if (k->closing) break;
        int layer = k->wanted;
        struct slot *s = &k->slots[slot_of(k, layer)];
        s->layer = layer;
        s->ready = false;
        pthread_mutex_unlock(&k->lock);
        bool from_spill = fill(k, s, layer);
        pthread_mutex_lock(&k->lock);
        s->ready = true;
        k->wanted = -1;
        k->stats.layer_reads++;
        k->stats.spill_reads += from_spill;
        k->stats.bytes_read += k->w->layers[layer].n_bytes;
        pthread_cond_broadcast(&k->changed);
    }
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

/* Asks for a layer that is not there yet. The lock is held. */
static void ask(struct ht__weight_store *k, int layer)
{
    const struct slot *s = &k->slots[slot_of(k, layer)];
    if (s->layer == layer || k->wanted >= 0) return;
    k->wanted = layer;
    pthread_cond_broadcast(&k->changed);
}

enum ht_err ht__weight_store_layer(struct ht__weight_store *k, int layer, const uint8_t **base, struct ht_diag *diag)
{
    *base = NULL;
    if (k->in_place) return HT_OK;
    pthread_mutex_lock(&k->lock);
    struct slot *s = &k->slots[slot_of(k, layer)];
    if (s->layer == layer && s->ready)
        k->stats.layer_hits++;
    else
        k->stats.layer_misses++;
    while (!(s->layer == layer && s->ready)) {
        ask(k, layer);
        pthread_cond_wait(&k->changed, &k->lock);
    }
    enum ht_err err = s->err;
    if (err) {
        *diag = s->diag;
        s->layer = -1;
    }
    for (int step = 1; !err && step <= 2; step++) {
        int next = (layer < k->n_kept ? k->n_kept + step - 1 : layer + step) % k->w->hparams->n_layers;
        if (slot_of(k, next) != slot_of(k, layer)) ask(k, next);
    }
    pthread_mutex_unlock(&k->lock);
    *base = s->data;
    return err;
}

/* The whole pages of a slot, whose next reader fills them again. The lock is held. */
static void empty(struct slot *s, uint64_t n_bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)s->data + page - 1) / page * page;
    uintptr_t to = ((uintptr_t)s->data + n_bytes) / page * page;
    s->layer = -1;
    s->ready = false;
    if (to > from) (void)madvise((void *)from, to - from, MADV_DONTNEED);
}

void ht__weight_store_release(struct ht__weight_store *k, int layer)
{
    int n = k->w->hparams->n_layers;
    if (k->in_place) return;
    pthread_mutex_lock(&k->lock);
    while (k->wanted >= 0)
        pthread_cond_wait(&k->changed, &k->lock);
    if (k->n_kept < k->n_slots)
        for (int i = k->n_kept; i < k->n_slots; i++)
            empty(&k->slots[i], k->slot_bytes);
    else
        for (int i = layer; i <= layer + 1; i++)
            empty(&k->slots[i % n], k->w->layers[i % n].n_bytes);
    pthread_mutex_unlock(&k->lock);
}

void ht__weight_store_drop_outside(struct ht__weight_store *k)
{
    struct ht__kept_matrix *parts[] = {&k->w->embedding, &k->w->positions, &k->w->output};
    if (!k->outside) return;
    for (int i = 0; i < 3; i++)
        parts[i]->data = NULL;
    ht__free_aligned(k->alloc, k->outside);
    k->outside = NULL;
}

struct ht__weights_stats ht__weight_store_stats(struct ht__weight_store *k)
{
    pthread_mutex_lock(&k->lock);
    struct ht__weights_stats stats = k->stats;
    pthread_mutex_unlock(&k->lock);
    return stats;
}

/* ---- opening ---- */

static enum ht_err map_files(struct ht__weight_store *k, struct ht_diag *diag)
{
    const struct ht__checkpoint *ck = k->w->model->checkpoint;
    k->maps = ht__new_array(k->alloc, ck->n_files, sizeof *k->maps);
    if (!k->maps) return ht__fail_memory(diag, "mappings");
    for (; k->n_maps < ck->n_files; k->n_maps++)
        HT_TRY(ht__mapping_open(&k->maps[k->n_maps], &ck->files[k->n_maps], diag));
    return HT_OK;
}

static void point_into_map(void *ctx, struct ht__kept_matrix *m)
{
    const struct ht__weight_store *k = ctx;
    const struct ht__tensor *t = ht__checkpoint_find(k->w->model->checkpoint, m->weight->name);
    if (t) m->data = k->maps[t->file].base + t->offset;
}

static size_t left_to_move(const struct ht__weight_store *k)
{
    size_t left = 0;
    for (uint32_t i = 0; i < k->n_maps; i++)
        left += ht__mapping_left(&k->maps[i]);
    return left;
}

/* A quarter of what is free now must stay so: what is moved can no more be dropped and read again. */
static size_t share_to_move(const struct ht__weight_store *k)
{
    size_t left = left_to_move(k);
    if (left == 0 || !ht__mapping_can_move() || left > ht__free_memory() / 4 * 3) return 0;
    return (left + MOVES - 1) / MOVES;
}

void ht__weight_store_narrow(struct ht__weight_store *k, struct ht__pool *pool)
{
    if (!k->in_place || (k->asked && k->move == 0)) return;
    if (!k->asked) k->move = share_to_move(k);
    k->asked = true;
    size_t some = k->move;
    for (uint32_t i = 0; i < k->n_maps && some > 0 && k->move > 0; i++) {
        size_t left = ht__mapping_left(&k->maps[i]), n = left < some ? left : some;
        if (n > 0 && !ht__mapping_move(&k->maps[i], n, pool)) k->move = 0;
        some -= n;
    }
    if (left_to_move(k) == 0) k->move = 0;
}

/* A GGUF whose every matrix is stored as it is: true where mapping serves. */
static bool can_map(const struct ht__weights *w)
{
    const struct ht__checkpoint *ck = w->model->checkpoint;
    if (!w->model->from_gguf) return false;
    for (uint32_t i = 0; i < ck->n_files; i++)
        if (ck->files[i].backend) return false; /* not on this machine: it is read */
    for (uint32_t i = 0; i < ck->n_tensors; i++)
        if (ck->tensors[i].big_endian || ck->tensors[i].strides) return false;
    return true;
}

static uint64_t size_of(const struct ht__kept_matrix *m)
{
    return m->weight ? ((uint64_t)m->n_out * (uint64_t)m->n_mats * m->row_bytes + 63) / 64 * 64 : 0;
}

static enum ht_err open_outside(struct ht__weight_store *k, struct ht_diag *diag)
{
    struct ht__weights *w = k->w;
    struct ht__kept_matrix *parts[] = {&w->embedding, &w->positions, &w->output};
    bool tied = w->output.weight == w->embedding.weight;
    uint64_t size = 0, at = 0;
    for (int i = 0; i < 3 - tied; i++)
        size += size_of(parts[i]);
    k->outside = ht__new_aligned(k->alloc, size);
    if (!k->outside) return ht__fail_memory(diag, "embedding");
    for (int i = 0; i < 3 - tied; i++) {
        if (!parts[i]->weight) continue;
        HT_TRY(read_matrix(k, parts[i], k->outside + at, diag));
        parts[i]->data = k->outside + at;
        at += size_of(parts[i]);
    }
    if (tied) w->output.data = w->embedding.data;
    return HT_OK;
}

static enum ht_err plan_slots(struct ht__weight_store *k, uint64_t memory, struct ht_diag *diag)
{
    const struct ht__weights *w = k->w;
    int n = w->hparams->n_layers;
    uint64_t largest = 1, outside = size_of(&w->embedding) + size_of(&w->positions);
    if (w->output.weight != w->embedding.weight) outside += size_of(&w->output);
    for (int i = 0; i < n; i++)
        if (w->layers[i].n_bytes > largest) largest = w->layers[i].n_bytes;
    uint64_t fit = memory > outside ? (memory - outside) / largest : 0;
    k->n_slots = memory == 0 || fit >= (uint64_t)n ? n : (int)fit;
    if (k->n_slots < 1)
        return ht__fail(diag, HT_ERR_NO_MEMORY_BUDGET, "--memory", -1,
                        "the embedding and one layer need %llu MB; %llu MB are allowed",
                        (unsigned long long)((outside + largest) >> 20) + 1, (unsigned long long)(memory >> 20));
    k->n_kept = k->n_slots == n ? n : k->n_slots > 2 ? k->n_slots - 2 : 0;
    k->stats.taking_turns = k->n_slots < n;
    k->slot_bytes = largest;
    k->slots = ht__new_array(k->alloc, (size_t)k->n_slots, sizeof *k->slots);
    if (!k->slots) return ht__fail_memory(diag, "layers");
    for (int i = 0; i < k->n_slots; i++) {
        k->slots[i].layer = -1;
        k->slots[i].data = ht__new_aligned(k->alloc, k->n_slots == n ? w->layers[i].n_bytes + 1 : largest);
        if (!k->slots[i].data) return ht__fail_memory(diag, "layers");
    }
    return HT_OK;
}

/* Worth it where layers are read again and again, and reading computes. */
static enum ht_err open_spill(struct ht__weight_store *k, const char *dir, struct ht_diag *diag)
{
    int n = k->w->hparams->n_layers;
    if (!dir || k->n_slots == n || k->w->model->from_gguf) return HT_OK;
    k->spill = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (k->spill < 0) return ht__fail_errno(diag, errno, dir, "cannot keep layers here");
    k->spill_at = ht__new_array(k->alloc, (size_t)n, sizeof *k->spill_at);
    k->spilled = ht__new_array(k->alloc, (size_t)n, sizeof *k->spilled);
    if (!k->spill_at || !k->spilled) return ht__fail_memory(diag, "layers");
    for (int i = 1; i < n; i++)
        k->spill_at[i] = k->spill_at[i - 1] + k->w->layers[i - 1].n_bytes;
    return HT_OK;
}

static enum ht_err open_buffers(struct ht__weight_store *k, uint64_t memory, const char *spill_dir,
                                struct ht_diag *diag)
{
    HT_TRY(plan_slots(k, memory, diag));
    HT_TRY(open_spill(k, spill_dir, diag));
    HT_TRY(open_outside(k, diag));
    int err = pthread_create(&k->reader, NULL, read_ahead, k);
    if (err) return ht__fail_errno(diag, err, NULL, "cannot start a thread");
    k->started = true;
    return HT_OK;
}

enum ht_err ht__weight_store_open(struct ht__weights *w, const struct ht__weights_params *params,
                                  const struct ht__alloc *alloc, struct ht__weight_store **out, struct ht_diag *diag)
{
    struct ht__weight_store *k = ht__new(alloc, sizeof *k);
    if (!k) return ht__fail_memory(diag, "weights");
    *out = k;
    k->w = w;
    k->alloc = alloc;
    k->wanted = k->spill = -1;
    k->cancelled = params->cancelled;
    pthread_mutex_init(&k->lock, NULL);
    pthread_cond_init(&k->changed, NULL);
    if (params->memory > 0 || !can_map(w)) return open_buffers(k, params->memory, params->spill_dir, diag);
    HT_TRY(map_files(k, diag));
    k->in_place = true;
    for (int i = 0; i < w->hparams->n_layers; i++)
        each_matrix(&w->layers[i], point_into_map, k);
    struct ht__kept_matrix *parts[] = {&w->embedding, &w->positions, &w->output};
    for (int i = 0; i < 3; i++)
        if (parts[i]->weight) point_into_map(k, parts[i]);
    return HT_OK;
}

void ht__weight_store_close(struct ht__weight_store **store)
{
    struct ht__weight_store *k = *store;
    if (!k) return;
    if (k->started) {
        pthread_mutex_lock(&k->lock);
        k->closing = true;
        pthread_cond_broadcast(&k->changed);
        pthread_mutex_unlock(&k->lock);
        pthread_join(k->reader, NULL);
    }
    for (uint32_t i = 0; i < k->n_maps; i++)
        ht__mapping_close(&k->maps[i]);
    ht__free(k->alloc, k->maps);
    for (int i = 0; k->slots && i < k->n_slots; i++)
        ht__free_aligned(k->alloc, k->slots[i].data);
    ht__free(k->alloc, k->slots);
    if (k->spill >= 0) close(k->spill);
    ht__free(k->alloc, k->spill_at);
    ht__free(k->alloc, k->spilled);
    ht__free_aligned(k->alloc, k->outside);
    pthread_cond_destroy(&k->changed);
    pthread_mutex_destroy(&k->lock);
    ht__free(k->alloc, k);
    *store = NULL;
}
