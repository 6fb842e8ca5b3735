/*
 * FP8 with a scale for each block of 128 x 128 weights: weight F8_E4M3 [n_out, n_in].
 *
 *   transformers, fp8:                   weight_scale_inv F32 [n_out / 128, n_in / 128]; despite the name weights are
 *                                        multiplied by it, and the product is rounded to the model's dtype
 *   compressed-tensors, float-quantized: weight_scale in the model's dtype, likewise; the last blocks may be smaller
 *   ModelOpt, FP8_PB_WO:                 weight_scale F32 [n_out / 128, 1, n_in / 128, 1]
 */
#include "schemes/hf_fp8.h"
#include "schemes/modelopt.h"
#include "schemes/scaled.h"

enum option { CONFIG, SCALES };
enum { TRANSFORMERS, COMPRESSED_TENSORS, MODELOPT };
enum { FLOATS, POWERS };
enum { BLOCK = 128 };

static void form(const struct ht__scheme_params *p, const struct ht__matrix *m, struct ht__scaled *f)
{
    int config = (int)p->option[CONFIG];
    bool powers = p->option[SCALES] == POWERS;
    f->element = HT__E4M3;
    f->block_rows = f->block_columns = BLOCK;
    f->whole_blocks = config != COMPRESSED_TENSORS;
    f->weight = ".weight";
    f->scale = config == TRANSFORMERS ? ".weight_scale_inv" : ".weight_scale";
    f->scale_dtype = powers ? &ht__codec_f8_e8m0 : config == COMPRESSED_TENSORS ? m->dtype : &ht__codec_f32;
    f->scale_dims = config == MODELOPT ? 4 : 2;
    f->scale_covers = true;
    f->empty = 1;
    f->quotient = config == COMPRESSED_TENSORS ? m->dtype : &ht__codec_f32;
    f->value = config == MODELOPT ? &ht__codec_f32 : m->dtype;
    if (powers && config != TRANSFORMERS) f->unsuited = "only config=transformers has scales=ue8m0";
}

static struct ht__ct_group group(void)
{
    return (struct ht__ct_group){
        .format = "float-quantized",
        .weights = {.num_bits = 8, .type = "float", .strategy = "block", .dynamic = "false", .block = {BLOCK, BLOCK}},
        .inputs = {.num_bits = 8, .type = "float", .strategy = "group", .dynamic = "true", .group_size = BLOCK},
    };
}

static void describe(const struct ht__scheme_params *p, struct ht__ct_group *out)
{
    *out = group();
    if (p->option[CONFIG] != COMPRESSED_TENSORS) out->format = NULL;
}

static void other_config(const struct ht__scheme_package *package, struct ht__jw *w)
{
    struct ht__ct_group g = group();
    bool powers = package->params->option[SCALES] == POWERS;
    if (package->params->option[CONFIG] == MODELOPT)
        ht__modelopt_config(package, "FP8_PB_WO", &g, w);
    else
        ht__hf_fp8_config(package, "fp8", BLOCK, BLOCK, powers ? "ue8m0" : NULL, w);
}

static void side(const struct ht__scheme_package *package, struct ht__jw *w)
{
    struct ht__ct_group g = group();
    if (package->params->option[CONFIG] == MODELOPT) ht__modelopt_side(package, "FP8_PB_WO", &g, w);
}

static const struct ht__scheme_option options[] = {
    {"config", "whose form the folder has", "transformers compressed-tensors modelopt", .otherwise = TRANSFORMERS},
    {"scales", "floats, or powers of two in a byte (ue8m0)", "float ue8m0", .otherwise = FLOATS},
    {.name = NULL},
};

static const struct ht__scaled_scheme family = {{describe, other_config}, form};

const struct ht__scheme ht__scheme_fp8_block = {
    .name = "fp8-block",
    .label = "FP8-block",
    .family = "transformers",
    .about = "8-bit floats, a scale for each block of 128 x 128; activations in 8 bits too",
    .loaders = "transformers, vLLM, SGLang",
    .loaded_by = HT__LOADED_BY_TRANSFORMERS | HT__LOADED_BY_VLLM,
    .options = options,
    HT__SCALED_FUNCTIONS,
    .apart = ht__ct_apart,
    .config = ht__ct_config,
    .family_data = &family,
    .side_file = HT__MODELOPT_FILE,
    .side = side,
};
