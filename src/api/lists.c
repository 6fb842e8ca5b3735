/* The lists: types, mixes, architectures, options. */
#include "api/export.h"
#include "model/model.h"
#include "recipe/recipe.h"

#include <stdlib.h>

HT_EXPORT const char *ht_version(void)
{
    return HT_VERSION;
}

HT_EXPORT void ht_free(void *text)
{
    free(text);
}

HT_EXPORT bool ht_type_at(size_t index, struct ht_type_info *info)
{
    for (size_t i = 0; i < ht__codec_count(); i++) {
        const struct ht__codec *c = ht__codec_at(i);
        if (c->flags & HT__CODEC_SOURCE_ONLY || index-- > 0) continue;
        *info = (struct ht_type_info){
            .name = c->name,
            .gguf_id = c->ggml_id,
            .block_weights = c->block_len,
            .block_bytes = c->block_size,
            .uses_importance = (c->flags & HT__CODEC_USES_IMPORTANCE) != 0,
            .needs_importance = (c->flags & HT__CODEC_NEEDS_IMPORTANCE) != 0,
        };
        return true;
    }
    return false;
}

/* A mix whose default type this build lacks is not offered. */
HT_EXPORT bool ht_mix_at(size_t index, struct ht_mix_info *info)
{
    const struct ht__mix *mix;
    for (size_t i = 0; (mix = ht__mix_at(i)) != NULL; i++) {
        if (!ht__codec_by_name(mix->default_type) || index-- > 0) continue;
        *info = (struct ht_mix_info){mix->name, mix->ftype, mix->default_type, mix->about};
        return true;
    }
    return false;
}

HT_EXPORT bool ht_arch_at(size_t index, struct ht_arch_info *info)
{
    info->name = ht__arch_at(index, &info->classes);
    return info->name != NULL;
}

static const struct ht_option_info options[] = {
#define HT_OPT(name_, kind_, verbs_, metavar_, help_)                                              \
    {.name = name_, .kind = HT_OPTION_##kind_, .verbs = verbs_, .metavar = metavar_, .help = help_},
#include "job/options.def"
#undef HT_OPT
};

HT_EXPORT bool ht_option_at(size_t index, struct ht_option_info *info)
{
    if (index >= sizeof options / sizeof options[0]) return false;
    *info = options[index];
    return true;
}
