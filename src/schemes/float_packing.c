/* Families of small floats that can be read, whose weights float_source finds. */
#include "schemes/float_source.h"

static enum ht_err open_floats(struct ht__packing_source *source, const struct ht__jnode *quantization,
                               struct ht_diag *diag)
{
    struct ht__float_config *config = ht__arena_new(source->arena, sizeof *config);
    if (!config) return ht__fail_memory(diag, source->config_path);
    source->config = config;
    return ht__float_config(quantization, source->dtype, source->config_path, config, diag);
}

static enum ht_err find_floats(struct ht__packing_source *source, const struct ht__tensor *head, const char *module,
                               struct ht__packed_source *out, bool *found, struct ht_diag *diag)
{
    *found = false;
    if (head->dtype->block_size != 1) return HT_OK; /* a weight that is stored as it is */
    return ht__float_source(source->config, source->ck, module, out, found, diag);
}

/* Parameters of several experts have no ".weight" at the end of their names. */
const struct ht__packing ht__packing_fp8 = {
    .name = "fp8",
    .methods = "fp8",
    .heads = ".weight *",
    .others = ".weight_scale .weight_scale_inv _scale_inv",
    .open = open_floats,
    .find = find_floats,
};

const struct ht__packing ht__packing_mxfp8 = {
    .name = "mxfp8",
    .methods = "mxfp8",
    .heads = ".weight *",
    .others = ".weight_scale .weight_scale_inv _scale_inv",
    .open = open_floats,
    .find = find_floats,
};

const struct ht__packing ht__packing_fbgemm_fp8 = {
    .name = "fbgemm_fp8",
    .methods = "fbgemm_fp8",
    .heads = ".weight",
    .others = ".weight_scale",
    .open = open_floats,
    .find = find_floats,
};

/* The experts of gpt-oss. */
const struct ht__packing ht__packing_mxfp4 = {
    .name = "mxfp4",
    .methods = "mxfp4",
    .heads = "_blocks",
    .others = "_scales",
    .open = open_floats,
    .find = find_floats,
};

const struct ht__packing ht__packing_modelopt = {
    .name = "ModelOpt",
    .methods = "modelopt modelopt_fp8 modelopt_fp4 modelopt_mxfp8 modelopt_mixed",
    .heads = ".weight",
    .others = ".weight_scale .weight_scale_2",
    .open = open_floats,
    .find = find_floats,
};
