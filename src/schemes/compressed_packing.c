/* Checkpoints of compressed-tensors: some modules may be integers, others small floats. */
#include "base/text.h"
#include "schemes/float_source.h"
#include "schemes/int_source.h"

struct config {
    struct ht__int_config ints;
    struct ht__float_config floats;
};

static enum ht_err open(struct ht__packing_source *source, const struct ht__jnode *quantization, struct ht_diag *diag)
{
    const char *where = source->config_path;
    struct config *config = source->config = ht__arena_new(source->arena, sizeof *config);
    if (!config) return ht__fail_memory(diag, where);
    HT_TRY(ht__int_config(quantization, source->dtype, where, &config->ints, diag));
    HT_TRY(ht__float_config(quantization, source->dtype, where, &config->floats, diag));
    if (config->ints.method != HT__INT_NONE || config->floats.method != HT__FLOAT_NONE) return HT_OK;
    return ht__fail(
        diag, HT_ERR_UNSUPPORTED, where, -1,
        "quantization_config: no group of config_groups has weights; start from the model as it was before");
}

/* Not a weight that is stored as it is, by its name or its dtype. */
static bool is_packed(const struct ht__tensor *t)
{
    return ht__ends_with(t->name, ".weight_packed") || t->dtype == &ht__codec_i8 || t->dtype == &ht__codec_u8 ||
           t->dtype == &ht__codec_f8_e4m3;
}

static enum ht_err find(struct ht__packing_source *source, const struct ht__tensor *head, const char *module,
                        struct ht__packed_source *out, bool *found, struct ht_diag *diag)
{
    const struct config *config = source->config;
    HT_TRY(ht__int_source(&config->ints, source->ck, module, out, found, diag));
    if (!*found && config->floats.method != HT__FLOAT_NONE)
        HT_TRY(ht__float_source(&config->floats, source->ck, module, out, found, diag));
    if (*found || !is_packed(head)) return HT_OK;
    return ht__fail(diag, HT_ERR_FORMAT, head->name, -1,
                    "no group of config_groups says how it is quantized: they have no weights in %s",
                    head->dtype->label);
}

const struct ht__packing ht__packing_compressed_tensors = {
    .name = "compressed-tensors",
    .methods = "compressed-tensors",
    .heads = ".weight_packed .weight",
    .others = ".weight_scale .weight_zero_point .weight_g_idx .weight_global_scale",
    .unused = ".weight_shape",
    .open = open,
    .find = find,
};
