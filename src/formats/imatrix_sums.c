/* Reading importance files as sums, to merge them and to go on with an unfinished one. */
#include "formats/imatrix_sums.h"
#include "base/file.h"
#include "formats/checkpoint.h"
#include "formats/imatrix.h"
#include "base/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char sums_suffix[] = ".in_sum2";

struct reader {
    const char *path;
    struct ht__arena *arena;
    struct ht__sums_file *out;
    struct ht_diag *diag;
};

static enum ht_err no_memory(const struct reader *r)
{
    return ht__fail_memory(r->diag, r->path);
}

/* Sums may come from anyone: squares are finite and not negative, counts too. */
static enum ht_err check(const struct reader *r, const struct ht__sums *s)
{
    for (uint64_t i = 0; i < s->n_cols * s->n_mat; i++)
        if (!isfinite(s->sums[i]) || s->sums[i] < 0)
            return ht__fail(r->diag, HT_ERR_NONFINITE, r->path, -1,
                            "%s: the sum of column %llu is negative or not finite", s->name,
                            (unsigned long long)(i % s->n_cols));
    for (uint64_t i = 0; i < s->n_counts; i++)
        if (!isfinite(s->counts[i]) || s->counts[i] < 0)
            return ht__fail(r->diag, HT_ERR_NONFINITE, r->path, -1, "%s: a count is negative or not finite", s->name);
    return HT_OK;
}

static enum ht_err read_floats(const struct reader *r, const struct ht__checkpoint *ck, const struct ht__tensor *t,
                               double *dst)
{
    enum { WINDOW = 4096 };
    float part[WINDOW];
    for (uint64_t i = 0; i < t->n_weights; i += WINDOW) {
        uint64_t now = t->n_weights - i < WINDOW ? t->n_weights - i : WINDOW;
        HT_TRY(ht__tensor_read_raw(ck, t, i, now, part, r->diag));
        for (uint64_t k = 0; k < now; k++)
            dst[i + k] = (double)part[k];
    }
    return HT_OK;
}

/* NULL when there is none of that type. */
static enum ht_err find_beside(const struct reader *r, const struct ht__checkpoint *ck, const char *name,
                               const char *suffix, const char *type, const struct ht__tensor **out)
{
    const char *full = ht__arena_printf(r->arena, "%s%s", name, suffix);
    if (!full) return no_memory(r);
    const struct ht__tensor *t = ht__checkpoint_find(ck, full);
    *out = t && strcmp(t->dtype->name, type) == 0 ? t : NULL;
    return HT_OK;
}

static enum ht_err read_weight(const struct reader *r, const struct ht__checkpoint *ck, const struct ht__tensor *sums)
{
    struct ht__sums *s = &r->out->items[r->out->n];
    s->name = ht__arena_copy(r->arena, sums->name, strlen(sums->name) - (sizeof sums_suffix - 1));
    if (!s->name) return no_memory(r);
    const struct ht__tensor *counts = NULL, *state = NULL;
    HT_TRY(find_beside(r, ck, s->name, ".counts", "f32", &counts));
    if (!counts || strcmp(sums->dtype->name, "f32") != 0 || sums->n_dims < 1 || sums->n_weights == 0)
        return ht__fail(r->diag, HT_ERR_FORMAT, r->path, -1, "%s lacks its counts, or is not F32", sums->name);
    s->n_cols = (uint64_t)sums->shape[sums->n_dims - 1];
    s->n_mat = sums->n_weights / s->n_cols;
    s->n_counts = counts->n_weights;
    if (s->n_counts != s->n_mat && s->n_counts != 1)
        return ht__fail(r->diag, HT_ERR_FORMAT, r->path, -1, "%s: %llu counts for %llu matrices", s->name,
                        (unsigned long long)s->n_counts, (unsigned long long)s->n_mat);
    s->sums = ht__arena_array(r->arena, (size_t)(sums->n_weights + s->n_counts), sizeof(double));
    if (!s->sums) return no_memory(r);
    s->counts = s->sums + sums->n_weights;
    if (r->out->state.identity[0]) {
        HT_TRY(find_beside(r, ck, s->name, ".state", "f64", &state));
        if (!state || state->n_weights != sums->n_weights + s->n_counts)
            return ht__fail(r->diag, HT_ERR_FORMAT, r->path, -1, "%s lacks its state", s->name);
        HT_TRY(ht__tensor_read_raw(ck, state, 0, state->n_weights, s->sums, r->diag));
    } else {
        HT_TRY(read_floats(r, ck, sums, s->sums));
        HT_TRY(read_floats(r, ck, counts, s->counts));
    }
    r->out->n++;
    return check(r, s);
}

static enum ht_err read_metadata(const struct reader *r, const struct ht__checkpoint *ck)
{
    struct ht__sums_file *f = r->out;
    struct ht__str run;
    const struct ht__kv *kv = ht__kv_get(ck->kvs, "imatrix.datasets");
    ht__kv_get_u32(ck->kvs, "imatrix.chunk_count", &f->chunk_count);
    ht__kv_get_u32(ck->kvs, "imatrix.chunk_size", &f->chunk_size);
    if (ht__kv_get_str(ck->kvs, "halftone.imatrix.run", &run) && run.len == sizeof f->state.identity - 1 &&
        ht__kv_get_u32(ck->kvs, "halftone.imatrix.passes", &f->state.passes) &&
        ht__kv_get_u32(ck->kvs, "halftone.imatrix.layers", &f->state.layers))
        memcpy(f->state.identity, run.text, run.len);
    if (!kv || kv->type != HT__KV_ARR || kv->elem != HT__KV_STR) return HT_OK;
    f->datasets = ht__arena_array(r->arena, (size_t)kv->n, sizeof *f->datasets);
    if (!f->datasets) return no_memory(r);
    for (uint64_t i = 0; i < kv->n; i++) {
        f->datasets[i] = ht__arena_copy(r->arena, kv->strs[i].text, kv->strs[i].len);
        if (!f->datasets[i]) return no_memory(r);
        f->n_datasets++;
    }
    return HT_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct ht__sums *)a)->name, ((const struct ht__sums *)b)->name);
}

static enum ht_err read_gguf(const struct reader *r, const struct ht__checkpoint *ck)
{
    struct ht__sums_file *f = r->out;
    HT_TRY(read_metadata(r, ck));
    f->items = ht__arena_array(r->arena, ck->n_tensors, sizeof *f->items);
    if (!f->items) return no_memory(r);
    for (uint32_t i = 0; i < ck->n_tensors; i++)
        if (ht__ends_with(ck->tensors[i].name, sums_suffix)) HT_TRY(read_weight(r, ck, &ck->tensors[i]));
    if (f->n == 0 && !f->state.identity[0])
        return ht__fail(r->diag, HT_ERR_FORMAT, r->path, -1, "it holds no importance");
    qsort(f->items, f->n, sizeof *f->items, by_name);
    return HT_OK;
}

/* Means of squares over calls of chunk_size tokens. Experts are not distinguished: one count for all of them. */
static enum ht_err take_legacy(const struct reader *r, const struct ht__imatrix *im, uint32_t chunk_size)
{
    struct ht__sums_file *f = r->out;
    f->chunk_count = im->chunk_count;
    f->items = ht__arena_array(r->arena, im->n_entries, sizeof *f->items);
    f->datasets = ht__arena_array(r->arena, im->n_datasets, sizeof *f->datasets);
    if (!f->items || !f->datasets) return no_memory(r);
    for (size_t i = 0; i < im->n_datasets; i++)
        if (!(f->datasets[f->n_datasets++] = ht__arena_str(r->arena, im->datasets[i]))) return no_memory(r);
    for (size_t i = 0; i < im->n_entries; i++) {
        const struct ht__imatrix_entry *e = &im->entries[i];
        struct ht__sums *s = &f->items[f->n++];
        *s = (struct ht__sums){.n_cols = e->n_cols, .n_mat = e->n_mat, .n_counts = 1};
        s->name = ht__arena_str(r->arena, e->name);
        s->sums = ht__arena_array(r->arena, (size_t)(e->n_cols * e->n_mat + 1), sizeof(double));
        if (!s->name || !s->sums) return no_memory(r);
        s->counts = s->sums + e->n_cols * e->n_mat;
        s->counts[0] = (double)e->calls * chunk_size;
        for (uint64_t k = 0; k < e->n_cols * e->n_mat; k++)
            s->sums[k] = (double)e->values[k] * s->counts[0];
    }
    return HT_OK;
}

static enum ht_err is_gguf(const char *path, bool *gguf, struct ht_diag *diag)
{
    struct ht__file file;
    char magic[4] = {0};
    HT_TRY(ht__file_open(&file, path, diag));
    enum ht_err err = file.size >= sizeof magic ? ht__file_read(&file, 0, magic, sizeof magic, diag) : HT_OK;
    ht__file_close(&file);
    *gguf = memcmp(magic, "GGUF", sizeof magic) == 0;
    return err;
}

enum ht_err ht__sums_read(const char *path, uint32_t chunk_size, struct ht__arena *arena, struct ht__sums_file *out,
                          struct ht_diag *diag)
{
    *out = (struct ht__sums_file){0};
    struct reader r = {path, arena, out, diag};
    bool gguf;
    HT_TRY(is_gguf(path, &gguf, diag));
    enum ht_err err;
    if (gguf) {
        struct ht__checkpoint *ck;
        HT_TRY(ht__checkpoint_open_shard(path, arena->alloc, &ck, diag));
        err = read_gguf(&r, ck);
        ht__checkpoint_close(&ck);
    } else {
        struct ht__imatrix *im;
        HT_TRY(ht__imatrix_open(path, arena->alloc, &im, diag));
        err = take_legacy(&r, im, chunk_size);
        ht__imatrix_close(&im);
    }
    return err;
}
