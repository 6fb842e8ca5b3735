#include "pipeline/seal.h"
#include "base/progress.h"

#include <zlib.h>

enum { WINDOW = 1 << 20 };

struct sealing {
    struct ht__plan *plan;
    struct ht__progress progress;
    uint64_t done;
    unsigned char *window;
};

static enum ht_err sum_extent(struct sealing *s, const struct ht__file *in, const struct ht__extent *e, uint32_t *crc,
                              struct ht_diag *diag)
{
    *crc = 0;
    for (uint64_t at = 0; at < e->n_bytes;) {
        uint64_t n = e->n_bytes - at < WINDOW ? e->n_bytes - at : WINDOW;
        HT_TRY(ht__file_read(in, e->offset + at, s->window, n, diag));
        *crc = (uint32_t)crc32_z(*crc, s->window, n);
        at += n;
        s->done += n;
        if (ht__progress_tell(&s->progress, s->done, e->name))
            return ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled");
    }
    return HT_OK;
}

static enum ht_err sum_file(struct sealing *s, const struct ht__plan_file *file, uint32_t *crc, struct ht_diag *diag)
{
    struct ht__file in;
    HT_TRY(ht__file_open(&in, file->out.part_path, diag));
    enum ht_err err = HT_OK;
    for (uint32_t i = 0; i < file->n_entries && err == HT_OK; i++)
        if (!file->entries[i].shares) err = sum_extent(s, &in, &file->entries[i], &crc[i], diag);
    ht__file_close(&in);
    return err;
}

static enum ht_err seal_file(struct sealing *s, const struct ht__container *container, struct ht__plan_file *file,
                             struct ht_diag *diag)
{
    const struct ht__alloc *alloc = s->plan->run.alloc;
    struct ht__layout layout = {
        .extents = file->entries, .n = file->n_entries, .head = &file->head, .rest = &file->rest};
    uint32_t *crc = ht__new_array(alloc, file->n_entries ? file->n_entries : 1, sizeof *crc);
    enum ht_err err = crc ? sum_file(s, file, crc, diag) : ht__fail_memory(diag, file->path);
    if (err == HT_OK) err = container->seal(&layout, crc, diag);
    ht__free(alloc, crc);
    if (err != HT_OK) return err;
    return ht__output_write(&file->out, 0, file->head.data, file->head.len, diag);
}

static enum ht_err write_rest(const struct ht__plan_file *file, struct ht_diag *diag)
{
    const struct ht__piece *pieces = (const struct ht__piece *)(const void *)file->rest.pieces.data;
    const unsigned char *bytes = file->rest.bytes.data;
    for (size_t i = 0; i < file->rest.pieces.len / sizeof *pieces; bytes += pieces[i++].n)
        HT_TRY(ht__output_write(&file->out, pieces[i].at, bytes, pieces[i].n, diag));
    return HT_OK;
}

static bool is_sealed(const struct ht__plan_output *out, uint32_t file)
{
    return out->target->container->seal && out->files[file].entries;
}

static uint64_t bytes_to_sum(const struct ht__plan *plan)
{
    uint64_t total = 0;
    for (size_t o = 0; o < plan->n_outputs; o++)
        for (uint32_t f = 0; f < plan->outputs[o].n_files; f++)
            if (is_sealed(&plan->outputs[o], f)) total += plan->outputs[o].files[f].size;
    return total;
}

static enum ht_err complete_all(struct sealing *s, struct ht_diag *diag)
{
    for (size_t o = 0; o < s->plan->n_outputs; o++) {
        struct ht__plan_output *out = &s->plan->outputs[o];
        for (uint32_t f = 0; f < out->n_files; f++) {
            if (is_sealed(out, f)) HT_TRY(seal_file(s, out->target->container, &out->files[f], diag));
            HT_TRY(write_rest(&out->files[f], diag));
        }
    }
    return HT_OK;
}

enum ht_err ht__seal_all(struct ht__plan *plan, struct ht_diag *diag)
{
    struct sealing s = {.plan = plan};
    uint64_t total = bytes_to_sum(plan);
    if (total > 0) ht__progress_begin(&s.progress, &plan->run, "checksum", "bytes", total);
    if (total > 0 && !(s.window = ht__new_aligned(plan->run.alloc, WINDOW))) return ht__fail_memory(diag, "checksum");
    enum ht_err err = complete_all(&s, diag);
    ht__free_aligned(plan->run.alloc, s.window);
    return err;
}
