#include "formats/table.h"

#include <string.h>

const char *ht__table_where(struct ht__checkpoint *ck, uint32_t file, const char *tensor)
{
    const char *text =
        ht__arena_printf(&ck->arena, "%s: %s", ht__path_base(ck->files[file].path), tensor);
    return text ? text : tensor;
}

/* Arrays double inside the arena: what is left behind is at most as much again. */
static void *wider(struct ht__arena *arena, const void *items, size_t n, size_t size)
{
    size_t cap = n ? n * 2 : 64;
    void *grown = ht__arena_array(arena, cap, size);
    if (grown && n) memcpy(grown, items, n * size);
    return grown;
}

static bool is_full(size_t n)
{
    return n == 0 || (n >= 64 && (n & (n - 1)) == 0);
}

enum ht_err ht__table_add(struct ht__checkpoint *ck, const struct ht__tensor *tensor,
                          struct ht_diag *diag)
{
    if (ck->n_tensors >= HT__MAX_TENSORS)
        return ht__fail(diag, HT_ERR_LIMIT, ck->files[tensor->file].path, -1,
                        "more than %d tensors", HT__MAX_TENSORS);
    if (is_full(ck->n_tensors)) {
        struct ht__tensor *grown =
            wider(&ck->arena, ck->tensors, ck->n_tensors, sizeof *ck->tensors);
        if (!grown) return ht__fail_memory(diag, tensor->name);
        ck->tensors = grown;
    }
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

enum ht_err ht__table_open(struct ht__checkpoint *ck, const char *path, uint32_t *index,
                           struct ht_diag *diag)
{
    if (ck->n_files >= HT__MAX_FILES)
        return ht__fail(diag, HT_ERR_LIMIT, path, -1, "more than %d files", HT__MAX_FILES);
    if (is_full(ck->n_files)) {
        struct ht__file *grown = wider(&ck->arena, ck->files, ck->n_files, sizeof *ck->files);
        if (!grown) return ht__fail_memory(diag, path);
        ck->files = grown;
    }
    HT_TRY(ht__file_open(&ck->files[ck->n_files], path, diag));
    *index = ck->n_files++;
    return HT_OK;
}
