/* What a checkpoint's weights are called. */
#include "recipe/file_type.h"
#include "recipe/recipe.h"

const char *ht__file_type_name(const struct ht__checkpoint *checkpoint)
{
    uint32_t file_type;
    const struct ht__mix *mix;
    if (checkpoint->kvs && ht__kv_get_u32(checkpoint->kvs, "general.file_type", &file_type))
        for (size_t i = 0; (mix = ht__mix_at(i)) != NULL; i++)
            if (mix->ftype == file_type) return mix->name;
    uint64_t most = 0;
    const char *name = "";
    for (uint32_t i = 0; i < checkpoint->n_tensors; i++) {
        const struct ht__tensor *t = &checkpoint->tensors[i];
        if (t->n_weights <= most) continue;
        most = t->n_weights;
        name = t->dtype->name;
    }
    return name;
}
