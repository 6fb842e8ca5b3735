/* Families of integer codes that can be read: GPTQ, AWQ, AutoRound and HQQ, whose weights int_source finds. */
#include "schemes/int_source.h"

static enum ht_err open_ints(struct ht__packing_source *source, const struct ht__jnode *quantization,
                             struct ht_diag *diag)
{
    struct ht__int_config *config = ht__arena_new(source->arena, sizeof *config);
    if (!config) return ht__fail_memory(diag, source->config_path);
    source->config = config;
    return ht__int_config(quantization, source->dtype, source->config_path, config, diag);
}

static enum ht_err find_ints(struct ht__packing_source *source, const struct ht__tensor *head, const char *module,
                             struct ht__packed_source *out, bool *found, struct ht_diag *diag)
{
    return ht__int_source(source->config, source->ck, module, out, found, diag);
}

const struct ht__packing ht__packing_gptq = {
    .name = "GPTQ",
    .methods = "gptq",
    .heads = ".qweight",
    .others = ".qzeros .scales .g_idx",
    .open = open_ints,
    .find = find_ints,
};

const struct ht__packing ht__packing_awq = {
    .name = "AWQ",
    .methods = "awq",
    .heads = ".qweight",
    .others = ".qzeros .scales",
    .open = open_ints,
    .find = find_ints,
};

const struct ht__packing ht__packing_auto_round = {
    .name = "AutoRound",
    .methods = "auto-round intel/auto-round",
    .heads = ".qweight",
    .others = ".qzeros .scales .g_idx",
    .open = open_ints,
    .find = find_ints,
};

/* Beside the weights, each module has its configuration as tensors, which says what config.json says. */
const struct ht__packing ht__packing_hqq = {
    .name = "HQQ",
    .methods = "hqq",
    .heads = ".W_q",
    .others = ".scale .zero",
    .unused =
        ".nbits .group_size .shape .axis .packing .unpack_view_dtype .view_as_float .quant_scale .quant_zero "
        ".compute_dtype .offload_meta .encoded_state_dict .stores_quant_config .channel_wise .optimize .round_zero",
    .open = open_ints,
    .find = find_ints,
};
