/* The lists: types, mixes, containers, methods, architectures, options. */
#include "api/sized.h"
#include "advise/program.h"
#include "base/escape.h"
#include "base/nearest.h"
#include "formats/container.h"
#include "methods/method.h"
#include "model/model.h"
#include "recipe/quality.h"
#include "recipe/recipe.h"

#include <stdlib.h>

const char *ht_version(void)
{
    return HT_VERSION;
}

void ht_free(void *text)
{
    free(text);
}

size_t ht_text_escape(const char *text, size_t len, char *out, size_t size)
{
    return ht__escape(text, len, out, size);
}

const char *ht_text_nearest(const char *word, ht__name_fn *name, void *ctx)
{
    return ht__nearest(word, name, ctx);
}

bool ht_type_at(size_t index, struct ht_type_info *info)
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
bool ht_mix_at(size_t index, struct ht_mix_info *info)
{
    const struct ht__mix *mix;
    for (size_t i = 0; (mix = ht__mix_at(i)) != NULL; i++) {
        if (!ht__codec_by_name(mix->default_type) || index-- > 0) continue;
        const struct ht__quality *q = ht__quality_of(mix);
        *info = (struct ht_mix_info){mix->name,
                                     mix->ftype,
                                     mix->default_type,
                                     mix->about,
                                     mix->needs_importance,
                                     q ? q->divergence : 0,
                                     q ? q->same : 0,
                                     q && q->importance};
        return true;
    }
    return false;
}

bool ht_container_at(size_t index, struct ht_container_info *info)
{
    const struct ht__container *c = ht__container_at(index);
    if (!c) return false;
    struct ht_container_info full = {.name = c->name,
                                     .suffix = c->suffix,
                                     .is_folder = c->dialect == HT__DIALECT_NATIVE,
                                     .can_write = c->lay_out != NULL,
                                     .title = c->title,
                                     .about = c->about};
    return ht__sized_give(info, &full, sizeof full);
}

bool ht_program_at(size_t index, struct ht_program_info *info)
{
    const struct ht__program *p = ht__program_at(index);
    if (!p) return false;
    struct ht_program_info full = {.name = p->name, .about = p->about, .is_folder = p->loads != 0};
    return ht__sized_give(info, &full, sizeof full);
}

bool ht_method_at(size_t index, struct ht_method_info *info)
{
    const struct ht__method *m = ht__method_at(index);
    if (!m) return false;
    struct ht_method_info full = {.name = m->name, .about = m->about};
    return ht__sized_give(info, &full, sizeof full);
}

bool ht_arch_at(size_t index, struct ht_arch_info *info)
{
    info->name = ht__arch_at(index, &info->classes);
    return info->name != NULL;
}

static const struct ht_option_info options[] = {
#define HT_OPT(name_, kind_, group_, verbs_, metavar_, help_)                                                          \
    {.name = name_, .kind = HT_OPTION_##kind_, .verbs = verbs_, .group = group_, .metavar = metavar_, .help = help_},
#include "job/options.def"
#undef HT_OPT
};

bool ht_option_at(size_t index, struct ht_option_info *info)
{
    if (index >= sizeof options / sizeof options[0]) return false;
    *info = options[index];
    return true;
}
