#include "formats/table.h"

#include <string.h>

const char *ht__table_where(struct ht__checkpoint *ck, uint32_t file, const char *tensor)
{
    const char *text = ht__arena_printf(&ck->arena, "%s: %s", ht__path_base(ck->files[file].path), tensor);
    return text ? text : tensor;
}

/* Arrays double: what is not used yet is address space alone. */
static enum ht_err grow_tensors(struct ht__checkpoint *ck, const char *name, struct ht_diag *diag)
{
    uint32_t cap = ck->cap_tensors ? ck->cap_tensors * 2 : 64;
    struct ht__tensor *grown = ht__resize(ck->arena.alloc, ck->tensors, cap * sizeof *grown);
    if (!grown) return ht__fail_memory(diag, name);
    ck->tensors = grown;
    ck->cap_tensors = cap;
    return HT_OK;
}

/* Files double inside the arena: what is left behind is at most as much again. */
static enum ht_err grow_files(struct ht__checkpoint *ck, const char *path, struct ht_diag *diag)
{
    uint32_t n = ck->n_files;
    struct ht__file *grown = ht__arena_array(&ck->arena, n ? 2 * (size_t)n : 64, sizeof *grown);
    if (!grown) return ht__fail_memory(diag, path);
    if (n) memcpy(grown, ck->files, n * sizeof *grown);
    ck->files = grown;
    return HT_OK;
}

enum ht_err ht__table_add(struct ht__checkpoint *ck, const struct ht__tensor *tensor, struct ht_diag *diag)
{
    if (ck->n_tensors >= HT__MAX_TENSORS)
        return ht__fail(diag, HT_ERR_LIMIT, ck->files[tensor->file].path, -1, "more than %d tensors", HT__MAX_TENSORS);
    if (ck->n_tensors == ck->cap_tensors) HT_TRY(grow_tensors(ck, tensor->name, diag));
    switch (ht__map_put(&ck->by_name, tensor->name, strlen(tensor->name), ck->n_tensors)) {
    case HT__MAP_NO_MEMORY: return ht__fail_memory(diag, tensor->name);
    case HT__MAP_PRESENT:
        return ht__fail(diag, HT_ERR_FORMAT, ht__table_where(ck, tensor->file, tensor->name), -1,
                        "two tensors have this name");
    default: break;
    }
    ck->tensors[ck->n_tensors++] = *tensor;
    return HT_OK;
}

enum ht_err ht__table_open(struct ht__checkpoint *ck, const char *path, uint32_t *index, struct ht_diag *diag)
{
    if (ck->n_files >= HT__MAX_FILES)
        return ht__fail(diag, HT_ERR_LIMIT, path, -1, "more than %d files", HT__MAX_FILES);
    uint32_t n = ck->n_files;
    if (n == 0 || (n >= 64 && (n & (n - 1)) == 0)) HT_TRY(grow_files(ck, path, diag));
    HT_TRY(ht__file_open_in(ck->remote, &ck->files[ck->n_files], path, diag));
    *index = ck->n_files++;
    return HT_OK;
}
