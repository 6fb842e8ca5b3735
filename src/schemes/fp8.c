/*
 * FP8 with a scale for each row or for the whole matrix: weight F8_E4M3 [n_out, n_in]. Programs compute with
 * weight x scale, in the dtype of the scale; activations are rounded to FP8 a token at a time when the model runs.
 *
 *   compressed-tensors, float-quantized: weight_scale in the model's dtype, [n_out, 1] or [1]
 *   ModelOpt, FP8_PER_CHANNEL_PER_TOKEN: weight_scale F32 [n_out]
 */
#include "schemes/modelopt.h"
#include "schemes/scaled.h"

enum option { SCALES, CONFIG };
enum { TENSOR, CHANNEL };
enum { COMPRESSED_TENSORS, MODELOPT };

static unsigned flags_with(const struct ht__scheme_params *p)
{
    return p->option[SCALES] == TENSOR ? HT__SCHEME_NEEDS_AMAX | HT__SCHEME_SHARED : 0;
}

static void form(const struct ht__scheme_params *p, const struct ht__matrix *m, struct ht__scaled *f)
{
    bool channel = p->option[SCALES] == CHANNEL, modelopt = p->option[CONFIG] == MODELOPT;
    f->element = HT__E4M3;
    f->block_rows = channel;
    f->weight = ".weight";
    f->scale = ".weight_scale";
    f->scale_dtype = modelopt ? &ht__codec_f32 : m->dtype;
    f->scale_dims = channel && !modelopt ? 2 : 1;
    f->empty = m->dtype == &ht__codec_bf16 ? 0x1p-7f : m->dtype == &ht__codec_f16 ? 0x1p-10f : 0x1p-23f;
    f->quotient = f->value = f->scale_dtype;
    if (modelopt && !channel)
        f->unsuited =
            "ModelOpt keeps the scales of activations beside the scale of a matrix, and only calibration gives "
            "them; use scale=channel";
}

static struct ht__ct_group group(const struct ht__scheme_params *p)
{
    return (struct ht__ct_group){
        .format = "float-quantized",
        .weights = {.num_bits = 8,
                    .type = "float",
                    .strategy = p->option[SCALES] == TENSOR ? "tensor" : "channel",
                    .dynamic = "false"},
        .inputs = {.num_bits = 8, .type = "float", .strategy = "token", .dynamic = "true"},
    };
}

static void describe(const struct ht__scheme_params *p, struct ht__ct_group *out)
{
    *out = group(p);
    if (p->option[CONFIG] == MODELOPT) out->format = NULL;
}

static void modelopt_config(const struct ht__scheme_package *package, struct ht__jw *w)
{
    struct ht__ct_group g = group(package->params);
    ht__modelopt_config(package, "FP8_PER_CHANNEL_PER_TOKEN", &g, w);
}

static void side(const struct ht__scheme_package *package, struct ht__jw *w)
{
    struct ht__ct_group g = group(package->params);
    if (package->params->option[CONFIG] == MODELOPT) ht__modelopt_side(package, "FP8_PER_CHANNEL_PER_TOKEN", &g, w);
}

static const struct ht__scheme_option options[] = {
    {"scale", "what shares a scale: the whole matrix (tensor) or each row (channel)", "tensor channel",
     .otherwise = CHANNEL},
    {"config", "whose form the folder has", "compressed-tensors modelopt", .otherwise = COMPRESSED_TENSORS},
    {.name = NULL},
};

static const struct ht__scaled_scheme family = {{describe, modelopt_config}, form};

const struct ht__scheme ht__scheme_fp8 = {
    .name = "fp8",
    .label = "FP8",
    .family = "compressed-tensors",
    .about = "8-bit floats, a scale for each row; activations in 8 bits too",
    .loaders = "vLLM, transformers with compressed-tensors",
    .loaded_by = HT__LOADED_BY_TRANSFORMERS | HT__LOADED_BY_VLLM,
    .unpacked_by = HT__LOADED_BY_TRANSFORMERS,
    .options = options,
    .flags_with = flags_with,
    HT__SCALED_FUNCTIONS,
    .apart = ht__ct_apart,
    .config = ht__ct_config,
    .family_data = &family,
    .side_file = HT__MODELOPT_FILE,
    .side = side,
};
