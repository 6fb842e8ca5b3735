/* The tables behind codec.h: formats from types.def, SIMD variants from variants.def. */
#include "kernels/codec.h"

#include <strings.h>

static const struct ht__codec *const codecs[] = {
#define HT_TYPE(id) &ht__codec_##id,
#include "kernels/types.def"
#undef HT_TYPE
};

enum op { OP_encode, OP_decode, OP_check };

struct variant {
    const struct ht__codec *codec;
    enum op op;
    enum ht__cpu_level level;
    union {
        ht__encode_fn *encode;
        ht__decode_fn *decode;
        ht__check_fn *check;
    } fn;
};

static const struct variant variants[] = {
#define HT_VARIANT(id, kind, lvl)                                                                                      \
    {.codec = &ht__codec_##id, .op = OP_##kind, .level = HT__CPU_##lvl, .fn.kind = ht__##id##_##kind##_##lvl},
#include "kernels/variants.def"
#undef HT_VARIANT
    {.codec = NULL},
};

size_t ht__codec_count(void)
{
    return sizeof codecs / sizeof codecs[0];
}

const struct ht__codec *ht__codec_at(size_t index)
{
    return index < ht__codec_count() ? codecs[index] : NULL;
}

const struct ht__codec *ht__codec_by_name(const char *name)
{
    for (size_t i = 0; name && i < ht__codec_count(); i++)
        if (strcasecmp(name, codecs[i]->name) == 0) return codecs[i];
    return NULL;
}

const struct ht__codec *ht__codec_by_ggml_id(uint32_t id)
{
    for (size_t i = 0; id != HT__NO_GGML_ID && i < ht__codec_count(); i++)
        if (codecs[i]->ggml_id == id) return codecs[i];
    return NULL;
}

static const struct variant *best_variant(const struct ht__codec *codec, enum op op, enum ht__cpu_level level)
{
    const struct variant *best = NULL;
    for (const struct variant *v = variants; v->codec; v++)
        if (v->codec == codec && v->op == op && v->level <= level && ht__cpu_has(v->level) &&
            (!best || v->level > best->level))
            best = v;
    return best;
}

ht__encode_fn *ht__encoder(const struct ht__codec *codec, enum ht__cpu_level level)
{
    const struct variant *v = best_variant(codec, OP_encode, level);
    return v ? v->fn.encode : codec->encode;
}

ht__decode_fn *ht__decoder(const struct ht__codec *codec, enum ht__cpu_level level)
{
    const struct variant *v = best_variant(codec, OP_decode, level);
    return v ? v->fn.decode : codec->decode;
}

ht__check_fn *ht__checker(const struct ht__codec *codec, enum ht__cpu_level level)
{
    const struct variant *v = best_variant(codec, OP_check, level);
    return v ? v->fn.check : codec->check;
}
