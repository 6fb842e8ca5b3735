/*
 * The importance file of llama-imatrix, GGUF: for each weight, sorted by name,
 *   <name>.in_sum2  F32 [n_cols, n_mat]   sums of squares; one row of all where there is one count
 *   <name>.counts   F32 [1, n_mat]        rows summed
 * and, in an unfinished one, <name>.state F64: the sums, then the counts.
 */
#include "base/file.h"
#include "formats/container.h"
#include "formats/imatrix_sums.h"

#include <math.h>
#include <string.h>

enum { PARTS = 3 }; /* tensors a weight: sums, counts, state */

struct writer {
    const struct ht__sums_file *file;
    struct ht__arena arena;
    struct ht__kvs kvs;
    struct ht__extent *entries;
    size_t n_entries, parts;
    struct ht__buf head;
    struct ht__output out;
    uint64_t size;
};

static uint64_t n_sums(const struct ht__sums *s)
{
    return s->n_cols * s->n_mat;
}

static enum ht_err metadata(struct writer *w, struct ht_diag *diag)
{
    const struct ht__sums_file *f = w->file;
    struct ht__str *names = ht__arena_array(&w->arena, f->n_datasets, sizeof *names);
    if (!names) return ht__fail_memory(diag, "importance");
    for (size_t i = 0; i < f->n_datasets; i++)
        names[i] = (struct ht__str){f->datasets[i], strlen(f->datasets[i])};
    ht__kvs_init(&w->kvs, &w->arena);
    ht__kv_str(&w->kvs, "general.type", "imatrix");
    ht__kv_strs_ref(&w->kvs, "imatrix.datasets", names, f->n_datasets);
    ht__kv_u32(&w->kvs, "imatrix.chunk_count", f->chunk_count);
    ht__kv_u32(&w->kvs, "imatrix.chunk_size", f->chunk_size);
    if (!f->state.identity[0]) return HT_OK;
    ht__kv_str(&w->kvs, "halftone.imatrix.run", f->state.identity);
    ht__kv_u32(&w->kvs, "halftone.imatrix.passes", f->state.passes);
    ht__kv_u32(&w->kvs, "halftone.imatrix.layers", f->state.layers);
    return HT_OK;
}

static enum ht_err add_entry(struct writer *w, const char *name, const char *suffix, const char *type, uint64_t ne0,
                             uint64_t ne1, struct ht_diag *diag)
{
    struct ht__extent *e = &w->entries[w->n_entries++];
    *e = (struct ht__extent){.n_dims = ne1 > 1 ? 2 : 1, .shape = {(int64_t)ne0}, .type = ht__codec_by_name(type)};
    if (ne1 > 1) {
        e->shape[0] = (int64_t)ne1;
        e->shape[1] = (int64_t)ne0;
    }
    e->name = ht__arena_printf(&w->arena, "%s%s", name, suffix);
    return e->name ? HT_OK : ht__fail_memory(diag, "importance");
}

static enum ht_err lay_out(struct writer *w, struct ht_diag *diag)
{
    const struct ht__sums_file *f = w->file;
    w->parts = f->state.identity[0] ? PARTS : PARTS - 1;
    w->entries = ht__arena_array(&w->arena, f->n * w->parts, sizeof *w->entries);
    if (!w->entries) return ht__fail_memory(diag, "importance");
    for (size_t i = 0; i < f->n; i++) {
        const struct ht__sums *s = &f->items[i];
        HT_TRY(add_entry(w, s->name, ".in_sum2", "f32", n_sums(s) / s->n_counts, s->n_counts, diag));
        HT_TRY(add_entry(w, s->name, ".counts", "f32", 1, s->n_counts, diag));
        if (w->parts == PARTS) HT_TRY(add_entry(w, s->name, ".state", "f64", n_sums(s) + s->n_counts, 1, diag));
    }
    struct ht__layout layout = {.extents = w->entries, .n = w->n_entries, .kvs = &w->kvs, .head = &w->head};
    HT_TRY(ht__container_gguf.lay_out(&layout, diag));
    w->size = layout.size;
    return HT_OK;
}

static enum ht_err put_floats(struct writer *w, const struct ht__extent *e, const char *name, const double *v,
                              uint64_t n, struct ht_diag *diag)
{
    enum { WINDOW = 4096 };
    float part[WINDOW];
    for (uint64_t i = 0; i < n; i += WINDOW) {
        uint64_t now = n - i < WINDOW ? n - i : WINDOW;
        for (uint64_t k = 0; k < now; k++) {
            part[k] = (float)v[i + k];
            if (!isfinite(part[k]))
                return ht__fail(diag, HT_ERR_NONFINITE, name, -1, "the sum of squares of column %llu is beyond a float",
                                (unsigned long long)(i + k));
        }
        HT_TRY(ht__output_write(&w->out, e->offset + i * sizeof *part, part, now * sizeof *part, diag));
    }
    return HT_OK;
}

static enum ht_err put_weight(struct writer *w, size_t i, struct ht_diag *diag)
{
    const struct ht__sums *s = &w->file->items[i];
    const struct ht__extent *e = &w->entries[i * w->parts];
    HT_TRY(put_floats(w, &e[0], s->name, s->sums, n_sums(s), diag));
    HT_TRY(put_floats(w, &e[1], s->name, s->counts, s->n_counts, diag));
    if (w->parts < PARTS) return HT_OK;
    uint64_t bytes = n_sums(s) * sizeof(double);
    HT_TRY(ht__output_write(&w->out, e[2].offset, s->sums, bytes, diag));
    return ht__output_write(&w->out, e[2].offset + bytes, s->counts, s->n_counts * sizeof(double), diag);
}

static enum ht_err write_all(struct writer *w, const char *path, bool overwrite, struct ht_diag *diag)
{
    HT_TRY(metadata(w, diag));
    HT_TRY(lay_out(w, diag));
    HT_TRY(ht__output_open(&w->out, path, w->size, overwrite, false, diag));
    HT_TRY(ht__output_write(&w->out, 0, w->head.data, w->head.len, diag));
    for (size_t i = 0; i < w->file->n; i++)
        HT_TRY(put_weight(w, i, diag));
    return ht__output_publish(&w->out, diag);
}

enum ht_err ht__sums_write(const char *path, const struct ht__sums_file *file, bool overwrite,
                           const struct ht__alloc *alloc, struct ht_diag *diag)
{
    struct writer w = {.file = file, .out = {.fd = -1}};
    ht__arena_init(&w.arena, alloc);
    ht__buf_init(&w.head, alloc);
    enum ht_err err = write_all(&w, path, overwrite, diag);
    ht__output_close(&w.out);
    ht__buf_close(&w.head);
    ht__arena_close(&w.arena);
    return err;
}
