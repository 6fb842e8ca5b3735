/*
 * Four-bit floats (E2M1), two to a byte, the first in the lower four bits.
 *
 *   NVFP4: a scale in E4M3 for every 16 weights, and one F32 for the whole matrix, so that the scales fill the range of
 *   E4M3. Matrices that a runtime fuses share it.
 *     compressed-tensors: weight_packed U8 [n_out, n_in / 2], weight_scale F8_E4M3 [n_out, n_in / 16],
 *                         weight_global_scale F32 [1], by which the scales are divided
 *     ModelOpt:           weight, weight_scale and weight_scale_2 F32 [], by which they are multiplied
 *   MXFP4: a power of two for every 32 weights, the exponent + 127.
 *     compressed-tensors: weight_packed, weight_scale U8 [n_out, n_in / 32]
 *     gpt-oss:            of all experts of a layer, NAME_blocks U8 [experts, rows, n_in / 32, 16] and
 *                         NAME_scales U8 [experts, rows, n_in / 32]; NAME is a parameter ("mlp.experts.down_proj")
 *
 * compressed-tensors gives bfloat16 whatever the model's dtype.
 */
#include "schemes/modelopt.h"
#include "schemes/modules.h"
#include "schemes/scaled.h"

enum { COMPRESSED_TENSORS, MODELOPT, GPT_OSS = 1 };

static struct ht__ct_group group(const char *format, const char *strategy, int group_size, const char *scale_dtype)
{
    return (struct ht__ct_group){
        .format = format,
        .weights = {.num_bits = 4,
                    .type = "float",
                    .strategy = strategy,
                    .dynamic = "false",
                    .group_size = group_size,
                    .scale_dtype = scale_dtype},
    };
}

/* ---- NVFP4 ---- */

static void nvfp4_form(const struct ht__scheme_params *p, const struct ht__matrix *m, struct ht__scaled *f)
{
    bool modelopt = p->option[0] == MODELOPT;
    f->element = HT__E2M1;
    f->block_rows = 1;
    f->block_columns = 16;
    f->whole_blocks = true;
    f->weight = modelopt ? ".weight" : ".weight_packed";
    f->scale = ".weight_scale";
    f->scale_dtype = &ht__codec_f8_e4m3;
    f->scale_dims = 2;
    f->empty = 0.125f;
    f->global = modelopt ? ".weight_scale_2" : ".weight_global_scale";
    f->global_dims = modelopt ? 0 : 1;
    f->global_divides = !modelopt;
    f->quotient = &ht__codec_f32;
    f->value = modelopt ? m->dtype : &ht__codec_bf16;
}

static struct ht__ct_group nvfp4_group(void)
{
    return group("nvfp4-pack-quantized", "tensor_group", 16, NULL);
}

static void nvfp4_describe(const struct ht__scheme_params *p, struct ht__ct_group *out)
{
    *out = nvfp4_group();
    if (p->option[0] == MODELOPT) out->format = NULL;
}

static void nvfp4_modelopt(const struct ht__scheme_package *package, struct ht__jw *w)
{
    struct ht__ct_group g = nvfp4_group();
    ht__modelopt_config(package, "W4A16_NVFP4", &g, w);
}

static void nvfp4_side(const struct ht__scheme_package *package, struct ht__jw *w)
{
    struct ht__ct_group g = nvfp4_group();
    if (package->params->option[0] == MODELOPT) ht__modelopt_side(package, "W4A16_NVFP4", &g, w);
}

static const struct ht__scheme_option nvfp4_options[] = {
    {"config", "whose form the folder has", "compressed-tensors modelopt", .otherwise = COMPRESSED_TENSORS},
    {.name = NULL},
};

static const struct ht__scaled_scheme nvfp4 = {{nvfp4_describe, nvfp4_modelopt}, nvfp4_form};

const struct ht__scheme ht__scheme_nvfp4 = {
    .name = "nvfp4",
    .label = "NVFP4",
    .family = "compressed-tensors",
    .about = "4-bit floats, a scale for each 16 and one for the matrix",
    .loaders = "vLLM, transformers with compressed-tensors",
    .loaded_by = HT__LOADED_BY_TRANSFORMERS | HT__LOADED_BY_VLLM,
    .unpacked_by = HT__LOADED_BY_TRANSFORMERS,
    .flags = HT__SCHEME_NEEDS_AMAX | HT__SCHEME_SHARED,
    .options = nvfp4_options,
    HT__SCALED_FUNCTIONS,
    .apart = ht__ct_apart,
    .config = ht__ct_config,
    .family_data = &nvfp4,
    .side_file = HT__MODELOPT_FILE,
    .side = nvfp4_side,
};

/* ---- MXFP4 ---- */

static void mxfp4_form(const struct ht__scheme_params *p, const struct ht__matrix *m, struct ht__scaled *f)
{
    bool experts = p->option[0] == GPT_OSS;
    f->element = HT__E2M1;
    f->block_rows = 1;
    f->block_columns = 32;
    f->whole_blocks = true;
    f->experts = experts ? HT__EXPERT_BLOCKS : HT__NO_EXPERTS;
    f->weight = experts ? "_blocks" : ".weight_packed";
    f->scale = experts ? "_scales" : ".weight_scale";
    f->scale_dtype = &ht__codec_u8;
    f->scale_dims = 2;
    f->empty = 0x1p-127f;
    f->quotient = m->dtype;
    f->value = experts ? m->dtype : &ht__codec_bf16;
}

static void mxfp4_describe(const struct ht__scheme_params *p, struct ht__ct_group *out)
{
    *out = group(p->option[0] == GPT_OSS ? NULL : "mxfp4-pack-quantized", "group", 32, "torch.uint8");
}

static void mxfp4_gpt_oss(const struct ht__scheme_package *package, struct ht__jw *w)
{
    ht__jw_str(w, "quant_method", "mxfp4");
    ht__modules_unlike(package, "modules_to_not_convert", w);
}

static const struct ht__scheme_option mxfp4_options[] = {
    {"config", "whose form the folder has", "compressed-tensors gpt-oss", .otherwise = COMPRESSED_TENSORS},
    {.name = NULL},
};

static unsigned mxfp4_flags(const struct ht__scheme_params *p)
{
    return p->option[0] == GPT_OSS ? HT__SCHEME_STACKS : 0;
}

static const struct ht__scaled_scheme mxfp4 = {{mxfp4_describe, mxfp4_gpt_oss}, mxfp4_form};

const struct ht__scheme ht__scheme_mxfp4 = {
    .name = "mxfp4",
    .label = "MXFP4",
    .family = "compressed-tensors",
    .about = "4-bit floats, a power of two for each 32",
    .loaders =
        "vLLM, transformers with compressed-tensors; config=gpt-oss, for the experts of gpt-oss: transformers, vLLM",
    .loaded_by = HT__LOADED_BY_TRANSFORMERS | HT__LOADED_BY_VLLM,
    .unpacked_by = HT__LOADED_BY_TRANSFORMERS,
    .options = mxfp4_options,
    .flags_with = mxfp4_flags,
    HT__SCALED_FUNCTIONS,
    .apart = ht__ct_apart,
    .config = ht__ct_config,
    .family_data = &mxfp4,
};
