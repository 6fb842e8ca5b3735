/*
 * Importance files.
 * GGUF: for each weight two F32 tensors, <name>.in_sum2 [n_mat, n_cols] (sums of squared activations) and
 *   <name>.counts [n_mat, 1] (tokens); metadata imatrix.datasets, imatrix.chunk_count, imatrix.chunk_size.
 * Legacy: i32 entries; each: i32 length, name, i32 calls, i32 values, floats (mean times calls); then
 *   i32 chunks, i32 length, dataset.
 * A matrix that no token reached counts as all ones.
 */
#include "formats/imatrix.h"
#include "base/cursor.h"
#include "base/file.h"
#include "formats/checkpoint.h"
#include "formats/imatrix_sums.h"
#include "base/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST_LEGACY = 1 << 30, MAX_ENTRIES = 1 << 20 };

static const char sums_suffix[] = ".in_sum2", counts_suffix[] = ".counts";

static enum ht_err add(struct ht__imatrix *im, const struct ht__imatrix_entry *e, const char *where,
                       struct ht_diag *diag)
{
    for (uint64_t i = 0; i < e->n_mat * e->n_cols; i++)
        if (!isfinite(e->values[i]) || e->values[i] < 0)
            return ht__fail(diag, HT_ERR_NONFINITE, where, -1,
                            "%s: importance of column %llu is negative or not finite", e->name,
                            (unsigned long long)(i % e->n_cols));
    im->entries[im->n_entries++] = *e;
    return HT_OK;
}

/* Sums and counts to means. */
static void average(float *values, const float *counts, uint64_t n_counts, struct ht__imatrix_entry *e)
{
    for (uint64_t m = 0; m < e->n_mat; m++) {
        float count = counts[n_counts == 1 ? 0 : m];
        e->n_without_data += !(count > 0);
        for (uint64_t i = m * e->n_cols; i < (m + 1) * e->n_cols; i++)
            values[i] = count > 0 ? values[i] / count : 1;
    }
}

static enum ht_err read_pair(struct ht__imatrix *im, const struct ht__checkpoint *ck, const struct ht__tensor *sums,
                             struct ht_diag *diag)
{
    size_t len = strlen(sums->name) - (sizeof sums_suffix - 1);
    const char *path = ck->files[0].path;
    char *name = ht__arena_copy(&im->arena, sums->name, len);
    char *counts_name = ht__arena_printf(&im->arena, "%.*s%s", (int)len, sums->name, counts_suffix);
    if (!name || !counts_name) return ht__fail_memory(diag, path);
    const struct ht__tensor *counts = ht__checkpoint_find(ck, counts_name);
    if (!counts || strcmp(counts->dtype->name, "f32") != 0 || strcmp(sums->dtype->name, "f32") != 0 ||
        sums->n_dims < 1 || sums->n_weights == 0)
        return ht__fail(diag, HT_ERR_FORMAT, path, -1, "%s lacks its counts, or is not F32", sums->name);
    uint64_t cols = (uint64_t)sums->shape[sums->n_dims - 1];
    struct ht__imatrix_entry e = {.name = name, .n_cols = cols, .n_mat = sums->n_weights / cols};
    if (counts->n_weights != e.n_mat && counts->n_weights != 1)
        return ht__fail(diag, HT_ERR_FORMAT, path, -1, "%s: %llu counts for %llu matrices", name,
                        (unsigned long long)counts->n_weights, (unsigned long long)e.n_mat);
    float *values = ht__arena_array(&im->arena, (size_t)sums->n_weights, sizeof *values);
    float *n = ht__arena_array(&im->arena, (size_t)counts->n_weights, sizeof *n);
    if (!values || !n) return ht__fail_memory(diag, path);
    HT_TRY(ht__tensor_read_raw(ck, sums, 0, sums->n_weights, values, diag));
    HT_TRY(ht__tensor_read_raw(ck, counts, 0, counts->n_weights, n, diag));
    average(values, n, counts->n_weights, &e);
    e.values = values;
    return add(im, &e, path, diag);
}

static enum ht_err read_datasets(struct ht__imatrix *im, const struct ht__checkpoint *ck, struct ht_diag *diag)
{
    const struct ht__kv *kv = ht__kv_get(ck->kvs, "imatrix.datasets");
    ht__kv_get_u32(ck->kvs, "imatrix.chunk_count", &im->chunk_count);
    ht__kv_get_u32(ck->kvs, "imatrix.chunk_size", &im->chunk_size);
    if (!kv || kv->type != HT__KV_ARR || kv->elem != HT__KV_STR) return HT_OK;
    im->datasets = ht__arena_array(&im->arena, (size_t)kv->n, sizeof *im->datasets);
    if (!im->datasets) return ht__fail_memory(diag, ck->files[0].path);
    for (uint64_t i = 0; i < kv->n; i++) {
        im->datasets[i] = ht__arena_copy(&im->arena, kv->strs[i].text, kv->strs[i].len);
        if (!im->datasets[i]) return ht__fail_memory(diag, ck->files[0].path);
        im->n_datasets++;
    }
    return HT_OK;
}

static enum ht_err read_gguf(struct ht__imatrix *im, const char *path, struct ht_diag *diag)
{
    struct ht__checkpoint *ck;
    HT_TRY(ht__checkpoint_open_shard(path, im->arena.alloc, &ck, diag));
    enum ht_err err = read_datasets(im, ck, diag);
    im->entries = ht__arena_array(&im->arena, ck->n_tensors, sizeof *im->entries);
    if (!im->entries) err = ht__fail_memory(diag, path);
    for (uint32_t i = 0; err == HT_OK && i < ck->n_tensors; i++)
        if (ht__ends_with(ck->tensors[i].name, sums_suffix)) err = read_pair(im, ck, &ck->tensors[i], diag);
    ht__checkpoint_close(&ck);
    return err;
}

static enum ht_err read_legacy_entry(struct ht__imatrix *im, struct ht__cursor *in, const char *path,
                                     struct ht_diag *diag)
{
    int32_t len = ht__cursor_i32(in);
    const uint8_t *text = len > 0 && len < 4096 ? ht__cursor_take(in, (uint64_t)len) : NULL;
    int32_t calls = ht__cursor_i32(in), n = ht__cursor_i32(in);
    const uint8_t *data = text && n > 0 ? ht__cursor_take(in, (uint64_t)n * sizeof(float)) : NULL;
    if (!data || memchr(text, 0, (size_t)len))
        return ht__fail(diag, HT_ERR_FORMAT, path, (int64_t)in->pos,
                        "neither a GGUF nor a legacy importance file, or cut off");
    struct ht__imatrix_entry e = {.n_mat = 1, .n_cols = (uint64_t)n, .calls = calls > 0 ? (uint32_t)calls : 1};
    float *values = ht__arena_array(&im->arena, (size_t)n, sizeof *values);
    e.name = ht__arena_copy(&im->arena, (const char *)text, (size_t)len);
    if (!values || !e.name) return ht__fail_memory(diag, path);
    memcpy(values, data, (size_t)n * sizeof *values);
    for (int32_t i = 0; calls > 0 && i < n; i++)
        values[i] /= (float)calls;
    e.values = values;
    return add(im, &e, path, diag);
}

static enum ht_err read_legacy_trailer(struct ht__imatrix *im, struct ht__cursor *in, const char *path,
                                       struct ht_diag *diag)
{
    if (ht__cursor_left(in) < 8) return HT_OK; /* the oldest files end here */
    int32_t chunks = ht__cursor_i32(in), len = ht__cursor_i32(in);
    const uint8_t *text = len > 0 ? ht__cursor_take(in, (uint64_t)len) : NULL;
    if (chunks > 0) im->chunk_count = (uint32_t)chunks;
    if (!text) return HT_OK;
    im->datasets = ht__arena_array(&im->arena, 1, sizeof *im->datasets);
    if (im->datasets) im->datasets[0] = ht__arena_copy(&im->arena, (const char *)text, (size_t)len);
    if (!im->datasets || !im->datasets[0]) return ht__fail_memory(diag, path);
    im->n_datasets = 1;
    return HT_OK;
}

static enum ht_err read_legacy(struct ht__imatrix *im, const char *path, struct ht_diag *diag)
{
    struct ht__buf file;
    ht__buf_init(&file, im->arena.alloc);
    enum ht_err err = ht__file_load(path, LARGEST_LEGACY, &file, diag);
    struct ht__cursor in = ht__cursor_of(file.data, file.len);
    int32_t n = err == HT_OK ? ht__cursor_i32(&in) : 0;
    /* an entry takes at least 17 bytes */
    if (err == HT_OK && (n < 1 || n > MAX_ENTRIES || (uint64_t)n > file.len / 17))
        err = ht__fail(diag, HT_ERR_FORMAT, path, 0, "neither a GGUF nor a legacy importance file");
    if (err == HT_OK && !(im->entries = ht__arena_array(&im->arena, (size_t)n, sizeof *im->entries)))
        err = ht__fail_memory(diag, path);
    for (int32_t i = 0; err == HT_OK && i < n; i++)
        err = read_legacy_entry(im, &in, path, diag);
    if (err == HT_OK) err = read_legacy_trailer(im, &in, path, diag);
    ht__buf_close(&file);
    return err;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct ht__imatrix_entry *)a)->name, ((const struct ht__imatrix_entry *)b)->name);
}

static enum ht_err index_names(struct ht__imatrix *im, const char *path, struct ht_diag *diag)
{
    if (im->n_entries == 0) return ht__fail(diag, HT_ERR_FORMAT, path, -1, "it holds no importance");
    qsort(im->entries, im->n_entries, sizeof *im->entries, by_name);
    for (size_t i = 0; i < im->n_entries; i++) {
        const char *name = im->entries[i].name;
        enum ht__map_put put = ht__map_put(&im->by_name, name, strlen(name), (uint32_t)i);
        if (put == HT__MAP_NO_MEMORY) return ht__fail_memory(diag, path);
        if (put == HT__MAP_PRESENT) return ht__fail(diag, HT_ERR_FORMAT, path, -1, "%s is given twice", name);
    }
    return HT_OK;
}

static enum ht_err read_any(struct ht__imatrix *im, const char *path, struct ht_diag *diag)
{
    struct ht__file file;
    char magic[4] = {0};
    HT_TRY(ht__file_open(&file, path, diag));
    enum ht_err err = file.size >= 4 ? ht__file_read(&file, 0, magic, 4, diag) : HT_OK;
    ht__file_close(&file);
    if (err != HT_OK) return err;
    HT_TRY(memcmp(magic, "GGUF", 4) == 0 ? read_gguf(im, path, diag) : read_legacy(im, path, diag));
    return index_names(im, path, diag);
}

enum ht_err ht__imatrix_open(const char *path, const struct ht__alloc *alloc, struct ht__imatrix **out,
                             struct ht_diag *diag)
{
    *out = NULL;
    struct ht__imatrix *im = ht__new(alloc, sizeof *im);
    if (!im) return ht__fail_memory(diag, path);
    ht__arena_init(&im->arena, alloc);
    ht__map_init(&im->by_name, alloc);
    enum ht_err err = read_any(im, path, diag);
    if (err != HT_OK)
        ht__imatrix_close(&im);
    else
        *out = im;
    return err;
}

static enum ht_err take_sums(struct ht__imatrix *im, const struct ht__sums *s, struct ht_diag *diag)
{
    uint64_t n = s->n_cols * s->n_mat;
    struct ht__imatrix_entry e = {.n_mat = s->n_counts, .n_cols = n / s->n_counts};
    float *values = ht__arena_array(&im->arena, (size_t)n, sizeof *values);
    float *counts = ht__arena_array(&im->arena, (size_t)s->n_counts, sizeof *counts);
    e.name = ht__arena_str(&im->arena, s->name);
    if (!values || !counts || !e.name) return ht__fail_memory(diag, s->name);
    for (uint64_t i = 0; i < n; i++)
        values[i] = (float)s->sums[i];
    for (uint64_t i = 0; i < s->n_counts; i++)
        counts[i] = (float)s->counts[i];
    average(values, counts, s->n_counts, &e);
    e.values = values;
    return add(im, &e, "importance", diag);
}

void ht__imatrix_replace(struct ht__imatrix *im, const struct ht__sums *s)
{
    uint32_t *at = ht__map_get(&im->by_name, s->name, strlen(s->name));
    struct ht__imatrix_entry *e = at ? &im->entries[*at] : NULL;
    if (!e || e->n_cols * e->n_mat != s->n_cols * s->n_mat || e->n_mat % s->n_counts) return;
    float *values = (float *)(uintptr_t)e->values; /* the arena's */
    uint64_t columns = s->n_cols * s->n_mat / s->n_counts;
    e->n_without_data = 0;
    for (uint64_t m = 0; m < s->n_counts; m++) {
        float count = (float)s->counts[m];
        e->n_without_data += !(count > 0);
        for (uint64_t i = m * columns; i < (m + 1) * columns; i++)
            values[i] = count > 0 ? (float)s->sums[i] / count : 1;
    }
}

static enum ht_err take_file(struct ht__imatrix *im, const struct ht__sums_file *f, struct ht_diag *diag)
{
    im->entries = ht__arena_array(&im->arena, f->n, sizeof *im->entries);
    im->datasets = ht__arena_array(&im->arena, f->n_datasets, sizeof *im->datasets);
    if (!im->entries || !im->datasets) return ht__fail_memory(diag, "importance");
    for (size_t i = 0; i < f->n_datasets; i++)
        if (!(im->datasets[im->n_datasets++] = ht__arena_str(&im->arena, f->datasets[i])))
            return ht__fail_memory(diag, "importance");
    im->chunk_count = f->chunk_count;
    im->chunk_size = f->chunk_size;
    for (size_t i = 0; i < f->n; i++)
        HT_TRY(take_sums(im, &f->items[i], diag));
    return index_names(im, "importance", diag);
}

enum ht_err ht__imatrix_of_sums(const struct ht__sums_file *sums, const struct ht__alloc *alloc,
                                struct ht__imatrix **out, struct ht_diag *diag)
{
    *out = NULL;
    struct ht__imatrix *im = ht__new(alloc, sizeof *im);
    if (!im) return ht__fail_memory(diag, "importance");
    ht__arena_init(&im->arena, alloc);
    ht__map_init(&im->by_name, alloc);
    enum ht_err err = take_file(im, sums, diag);
    if (err != HT_OK)
        ht__imatrix_close(&im);
    else
        *out = im;
    return err;
}

void ht__imatrix_close(struct ht__imatrix **p)
{
    struct ht__imatrix *im = *p;
    if (!im) return;
    const struct ht__alloc *alloc = im->arena.alloc;
    ht__map_close(&im->by_name);
    ht__arena_close(&im->arena);
    ht__free(alloc, im);
    *p = NULL;
}

const struct ht__imatrix_entry *ht__imatrix_find(const struct ht__imatrix *im, const char *name)
{
    const uint32_t *at = im ? ht__map_get(&im->by_name, name, strlen(name)) : NULL;
    return at ? &im->entries[*at] : NULL;
}

uint64_t ht__imatrix_memory(const struct ht__imatrix *im)
{
    return im ? im->arena.total + im->by_name.cap * sizeof(struct ht__map_slot) : 0;
}
