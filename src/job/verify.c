/* Verification: what was written is read back by our own reader before anyone can see it. */
#include "base/hash.h"
#include "job/run.h"

#include <string.h>

enum { WINDOW = 4 << 20 };

static enum ht_err differs(const struct ht__plan_file *file, const char *what, struct ht_diag *diag)
{
    return ht__fail(diag, HT_ERR_VERIFY, file->path, -1, "%s is not what was planned", what);
}

static enum ht_err compare_tensor(const struct ht__plan_file *file, const struct ht__gguf_entry *e,
                                  const struct ht__tensor *t, struct ht_diag *diag)
{
    bool same = strcmp(e->name, t->name) == 0 && e->type == t->dtype && e->offset == t->offset &&
                e->n_bytes == t->n_bytes;
    for (int i = 0; same && i < t->n_dims; i++)
        same = e->ne[i] == t->shape[t->n_dims - 1 - i];
    return same ? HT_OK : differs(file, e->name, diag);
}

static enum ht_err compare_list(const struct ht__plan_file *file, const struct ht__checkpoint *ck,
                                struct ht_diag *diag)
{
    if (ck->files[0].size != file->size) return differs(file, "the file's size", diag);
    if (ck->n_tensors != file->n_entries) return differs(file, "the number of tensors", diag);
    for (uint32_t i = 0; i < file->n_entries; i++)
        HT_TRY(compare_tensor(file, &file->entries[i], &ck->tensors[i], diag));
    return HT_OK;
}

/* The blocks of one tensor that lie whole in the window. */
static enum ht_err check_blocks(const struct ht__plan *plan, const struct ht__plan_file *file,
                                const struct ht__gguf_entry *e, const unsigned char *data,
                                uint64_t start, uint64_t n, struct ht_diag *diag)
{
    ht__check_fn *check = ht__checker(e->type, plan->level);
    uint64_t size = e->type->block_size;
    uint64_t from = e->offset > start ? e->offset - start : 0, end = e->offset + e->n_bytes;
    if (!check || end <= start) return HT_OK;
    if (start > e->offset) from = (size - (start - e->offset) % size) % size;
    uint64_t to = end - start < n ? end - start : n;
    if (from >= to) return HT_OK;
    int64_t bad = check(data + from, (int64_t)((to - from) / size));
    if (bad < 0) return HT_OK;
    return ht__fail(diag, HT_ERR_VERIFY, file->path, (int64_t)(start + from + (uint64_t)bad * size),
                    "%s holds a block that is not sound", e->name);
}

/* One pass: the hash of every byte and the check of every block. Windows overlap by less than a block. */
static enum ht_err read_through(const struct ht__plan *plan, struct ht__plan_file *file,
                                const struct ht__file *in, unsigned char *window,
                                struct ht__meter *meter, uint64_t *done, struct ht_diag *diag)
{
    enum { LARGEST_BLOCK = 256 };
    struct ht__sha256 sha;
    uint32_t first = 0;
    enum ht_err err = HT_OK;
    ht__sha256_begin(&sha);
    for (uint64_t at = 0; at < in->size && err == HT_OK;) {
        uint64_t n = in->size - at < WINDOW ? in->size - at : WINDOW;
        uint64_t keep = n < WINDOW || n < 2 * LARGEST_BLOCK ? n : n - LARGEST_BLOCK;
        err = ht__file_read(in, at, window, n, diag);
        if (err != HT_OK) break;
        if (at == 0 && memcmp(window, file->head.data, file->head.len < n ? file->head.len : n) != 0)
            err = differs(file, "the metadata", diag);
        while (first < file->n_entries && file->entries[first].offset + file->entries[first].n_bytes <= at)
            first++;
        for (uint32_t i = first; err == HT_OK && i < file->n_entries && file->entries[i].offset < at + n; i++)
            err = check_blocks(plan, file, &file->entries[i], window, at, n, diag);
        ht__sha256_add(&sha, window, keep);
        at += keep;
        *done += keep;
        if (err == HT_OK && (ht__meter_tell(meter, *done, file->path) || ht__job_cancelled(plan->job)))
            err = ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled");
    }
    ht__sha256_end(&sha, file->sha256);
    if (err == HT_OK && !file->sha256[0]) err = ht__fail_memory(diag, file->path);
    return err;
}

enum ht_err ht__verify_file(const struct ht__plan *plan, struct ht__plan_file *file,
                            struct ht__meter *meter, uint64_t *done, struct ht_diag *diag)
{
    struct ht__checkpoint *ck;
    HT_TRY(ht__checkpoint_open_shard(file->out.part_path, plan->job->alloc, &ck, diag));
    enum ht_err err = compare_list(file, ck, diag);
    unsigned char *window = ht__new_aligned(plan->job->alloc, WINDOW);
    if (!window) err = ht__fail_memory(diag, file->path);
    if (err == HT_OK) err = read_through(plan, file, &ck->files[0], window, meter, done, diag);
    ht__free_aligned(plan->job->alloc, window);
    ht__checkpoint_close(&ck);
    return err;
}
