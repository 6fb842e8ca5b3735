/* Verification: what was written is read back by our own reader before anyone can see it. */
#include "base/hash.h"
#include "pipeline/verify.h"

#include <string.h>

enum { WINDOW = 256 << 10 }; /* what a core's cache holds until it is hashed */

static enum ht_err differs(const struct ht__plan_file *file, const char *what, struct ht_diag *diag)
{
    return ht__fail(diag, HT_ERR_VERIFY, file->path, -1, "%s is not what was planned", what);
}

static enum ht_err compare_tensor(const struct ht__plan_file *file, const struct ht__extent *e,
                                  const struct ht__tensor *t, struct ht_diag *diag)
{
    bool same =
        strcmp(e->name, t->name) == 0 && e->type == t->dtype && e->offset == t->offset && e->n_bytes == t->n_bytes;
    same = same && e->n_dims == t->n_dims && memcmp(e->shape, t->shape, (size_t)t->n_dims * sizeof e->shape[0]) == 0;
    return same ? HT_OK : differs(file, e->name, diag);
}

static enum ht_err compare_list(const struct ht__plan_file *file, const struct ht__checkpoint *ck, struct ht_diag *diag)
{
    if (ck->files[0].size != file->size) return differs(file, "the file's size", diag);
    if (ck->n_tensors != file->n_entries) return differs(file, "the number of tensors", diag);
    for (uint32_t i = 0; i < file->n_entries; i++) {
        const struct ht__tensor *t = ht__checkpoint_find(ck, file->entries[i].name);
        if (!t) return differs(file, file->entries[i].name, diag);
        HT_TRY(compare_tensor(file, &file->entries[i], t, diag));
    }
    return HT_OK;
}

/* The blocks of one tensor that lie whole in the window. */
static enum ht_err check_blocks(const struct ht__plan *plan, const struct ht__plan_file *file,
                                const struct ht__extent *e, const unsigned char *data, uint64_t start, uint64_t n,
                                struct ht_diag *diag)
{
    ht__check_fn *check = ht__checker(e->type, plan->settings->level);
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

static bool has_blocks(const struct ht__plan_file *file)
{
    for (uint32_t i = 0; i < file->n_entries; i++)
        if (file->entries[i].type->check) return true;
    return false;
}

/* The parts of the file's rest that lie in the window; *piece is the first that does not end before it. */
static bool same_rest(const struct ht__plan_file *file, const unsigned char *window, uint64_t at, uint64_t n,
                      size_t *piece, uint64_t *before)
{
    const struct ht__piece *pieces = (const struct ht__piece *)(const void *)file->rest.pieces.data;
    size_t n_pieces = file->rest.pieces.len / sizeof *pieces;
    for (; *piece < n_pieces && pieces[*piece].at + pieces[*piece].n <= at; ++*piece)
        *before += pieces[*piece].n;
    const unsigned char *bytes = file->rest.bytes.data + *before;
    for (size_t i = *piece; i < n_pieces && pieces[i].at < at + n; bytes += pieces[i++].n) {
        uint64_t from = pieces[i].at > at ? pieces[i].at : at, end = pieces[i].at + pieces[i].n;
        if (end > at + n) end = at + n;
        if (memcmp(window + (from - at), bytes + (from - pieces[i].at), end - from) != 0) return false;
    }
    return true;
}

/* One pass: the hash of every byte and the check of every block. Windows overlap by less than a block. */
static enum ht_err read_through(const struct ht__plan *plan, struct ht__plan_file *file, const struct ht__file *in,
                                unsigned char *window, struct ht__progress *progress, uint64_t *done,
                                struct ht_diag *diag)
{
    enum { LARGEST_BLOCK = 256 };
    struct ht__sha256 sha;
    uint32_t first = 0;
    size_t piece = 0;
    uint64_t before = 0;
    enum ht_err err = HT_OK;
    bool in_order = has_blocks(file); /* only GGUF files have blocks to check, and they lie in the order of the list */
    ht__sha256_begin(&sha);
    for (uint64_t at = 0; at < in->size && err == HT_OK;) {
        uint64_t n = in->size - at < WINDOW ? in->size - at : WINDOW;
        uint64_t keep = n < WINDOW || n < 2 * LARGEST_BLOCK ? n : n - LARGEST_BLOCK;
        err = ht__file_read(in, at, window, n, diag);
        if (err != HT_OK) break;
        uint64_t head = at < file->head.len ? file->head.len - at : 0;
        if (memcmp(window, file->head.data + (head ? at : 0), head < n ? head : n) != 0)
            err = differs(file, "the metadata", diag);
        if (!same_rest(file, window, at, n, &piece, &before)) err = differs(file, "what lies between tensors", diag);
        if (in_order) {
            while (first < file->n_entries && file->entries[first].offset + file->entries[first].n_bytes <= at)
                first++;
            for (uint32_t i = first; err == HT_OK && i < file->n_entries && file->entries[i].offset < at + n; i++)
                err = check_blocks(plan, file, &file->entries[i], window, at, n, diag);
        }
        ht__sha256_add(&sha, window, keep);
        at += keep;
        *done += keep;
        if (err == HT_OK && ht__progress_tell(progress, *done, file->path))
            err = ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled");
    }
    ht__sha256_end(&sha, file->sha256);
    if (err == HT_OK && !file->sha256[0]) err = ht__fail_memory(diag, file->path);
    return err;
}

enum ht_err ht__verify_file(const struct ht__plan *plan, struct ht__plan_file *file, struct ht__progress *progress,
                            uint64_t *done, struct ht_diag *diag)
{
    struct ht__checkpoint *ck = NULL;
    struct ht__file alone = {.fd = -1}; /* of a file that holds no tensors: all of it is head */
    enum ht_err err = HT_OK;
    if (file->entries) {
        HT_TRY(ht__checkpoint_open_shard(file->out.part_path, plan->run.alloc, &ck, diag));
        err = compare_list(file, ck, diag);
    } else {
        HT_TRY(ht__file_open(&alone, file->out.part_path, diag));
        if (alone.size != file->size) err = differs(file, "the file's size", diag);
    }
    unsigned char *window = ht__new_aligned(plan->run.alloc, WINDOW);
    if (!window) err = ht__fail_memory(diag, file->path);
    if (err == HT_OK) err = read_through(plan, file, ck ? &ck->files[0] : &alone, window, progress, done, diag);
    ht__free_aligned(plan->run.alloc, window);
    ht__checkpoint_close(&ck);
    ht__file_close(&alone);
    return err;
}
