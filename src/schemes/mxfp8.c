/*
 * MXFP8: weight F8_E4M3 [n_out, n_in], and a power of two for every 32 weights, U8 [n_out, n_in / 32], the exponent + 127.
 *
 *   transformers, mxfp8:                 weight_scale_inv; values are rounded to the model's dtype
 *   compressed-tensors, mxfp8-quantized: weight_scale; values are bfloat16
 *   ModelOpt, MXFP8:                     weight_scale
 */
#include "schemes/hf_fp8.h"
#include "schemes/modelopt.h"
#include "schemes/scaled.h"

enum { TRANSFORMERS, COMPRESSED_TENSORS, MODELOPT };
enum { GROUP = 32 };

static void form(const struct ht__scheme_params *p, const struct ht__matrix *m, struct ht__scaled *f)
{
    int config = (int)p->option[0];
    f->element = HT__E4M3;
    f->block_rows = 1;
    f->block_columns = GROUP;
    f->whole_blocks = true;
    f->weight = ".weight";
    f->scale = config == TRANSFORMERS ? ".weight_scale_inv" : ".weight_scale";
    f->scale_dtype = &ht__codec_u8;
    f->scale_dims = 2;
    f->scale_covers = config == TRANSFORMERS; /* as it rounds itself */
    f->empty = config == TRANSFORMERS ? 1 : 0x1p-127f;
    f->quotient = m->dtype;
    f->value = config == COMPRESSED_TENSORS ? &ht__codec_bf16 : m->dtype;
}

static struct ht__ct_group group(void)
{
    return (struct ht__ct_group){
        .format = "mxfp8-quantized",
        .weights = {.num_bits = 8,
                    .type = "float",
                    .strategy = "group",
                    .dynamic = "false",
                    .group_size = GROUP,
                    .scale_dtype = "torch.uint8"},
        .inputs = {.num_bits = 8,
                   .type = "float",
                   .strategy = "group",
                   .dynamic = "true",
                   .group_size = GROUP,
                   .scale_dtype = "torch.uint8"},
    };
}

static void describe(const struct ht__scheme_params *p, struct ht__ct_group *out)
{
    *out = group();
    if (p->option[0] != COMPRESSED_TENSORS) out->format = NULL;
}

static void other_config(const struct ht__scheme_package *package, struct ht__jw *w)
{
    struct ht__ct_group g = group();
    if (package->params->option[0] == MODELOPT)
        ht__modelopt_config(package, "MXFP8", &g, w);
    else
        ht__hf_fp8_config(package, "mxfp8", 1, GROUP, "ue8m0", w);
}

static void side(const struct ht__scheme_package *package, struct ht__jw *w)
{
    struct ht__ct_group g = group();
    if (package->params->option[0] == MODELOPT) ht__modelopt_side(package, "MXFP8", &g, w);
}

static const struct ht__scheme_option options[] = {
    {"config", "whose form the folder has", "transformers compressed-tensors modelopt", .otherwise = TRANSFORMERS},
    {.name = NULL},
};

static const struct ht__scaled_scheme family = {{describe, other_config}, form};

const struct ht__scheme ht__scheme_mxfp8 = {
    .name = "mxfp8",
    .label = "MXFP8",
    .family = "transformers",
    .about = "8-bit floats, a power of two for each 32; activations in 8 bits too",
    .loaders = "transformers, vLLM",
    .loaded_by = HT__LOADED_BY_TRANSFORMERS | HT__LOADED_BY_VLLM,
    .options = options,
    HT__SCALED_FUNCTIONS,
    .apart = ht__ct_apart,
    .config = ht__ct_config,
    .family_data = &family,
    .side_file = HT__MODELOPT_FILE,
    .side = side,
};
