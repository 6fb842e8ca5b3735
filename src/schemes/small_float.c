/*
 * Small floats in whatever form another program wrote them: every part of the form is an option, which float_source.c sets
 * by what it finds in a checkpoint. Read only: what Halftone writes are the named schemes.
 */
#include "schemes/float_source.h"
#include "schemes/scaled.h"

static void form(const struct ht__scheme_params *p, const struct ht__matrix *m, struct ht__scaled *f)
{
    static const struct ht__codec *const dtypes[] = {&ht__codec_f32,     &ht__codec_bf16, &ht__codec_f16,
                                                     &ht__codec_f8_e4m3, &ht__codec_u8,   &ht__codec_f8_e8m0};
    static const char *const weights[] = {".weight", ".weight_packed", "", "_blocks"};
    static const char *const scales[] = {".weight_scale", ".weight_scale_inv", "_scale_inv", "_scales"};
    static const char *const globals[] = {NULL, ".weight_global_scale", ".weight_scale_2"};
    int global = (int)p->option[HT__FLOAT_GLOBAL];
    f->element = p->option[HT__FLOAT_ELEMENT] == HT__E2M1 ? HT__E2M1 : HT__E4M3;
    f->block_rows = (int64_t)p->option[HT__FLOAT_ROWS];
    f->block_columns = (int64_t)p->option[HT__FLOAT_COLUMNS];
    f->experts = (enum ht__scaled_experts)p->option[HT__FLOAT_EXPERTS];
    f->weight = weights[(int)p->option[HT__FLOAT_WEIGHT]];
    f->scale = scales[(int)p->option[HT__FLOAT_SCALE]];
    f->scale_dtype = dtypes[(int)p->option[HT__FLOAT_SCALE_DTYPE]];
    f->scale_dims = (int)p->option[HT__FLOAT_SCALE_DIMS];
    f->global = globals[global];
    f->global_dims = (int)p->option[HT__FLOAT_GLOBAL_DIMS];
    f->global_divides = global == 1;
    f->quotient = &ht__codec_f32;
    f->value = dtypes[(int)p->option[HT__FLOAT_VALUE]];
}

static const struct ht__scaled_scheme family = {.form = form};

#define READING(name, choices_)                                                                                        \
    {                                                                                                                  \
        name, "of what another program wrote", .choices = choices_, .reading = true                                    \
    }
#define NUMBER(name, most_)                                                                                            \
    {                                                                                                                  \
        name, "of what another program wrote", .most = most_, .reading = true                                          \
    }
static const struct ht__scheme_option options[] = {
    [HT__FLOAT_ELEMENT] = READING("element", "e4m3 e2m1"),
    [HT__FLOAT_ROWS] = NUMBER("rows", 1 << 20),
    [HT__FLOAT_COLUMNS] = NUMBER("columns", 1 << 20),
    [HT__FLOAT_WEIGHT] = READING("weight", "weight weight_packed itself blocks"),
    [HT__FLOAT_SCALE] = READING("scale", "weight_scale weight_scale_inv scale_inv scales"),
    [HT__FLOAT_SCALE_DTYPE] = READING("dtype", "f32 bf16 f16 f8_e4m3 u8 f8_e8m0"),
    [HT__FLOAT_SCALE_DIMS] = NUMBER("dims", 4),
    [HT__FLOAT_GLOBAL] = READING("global", "none weight_global_scale weight_scale_2"),
    [HT__FLOAT_GLOBAL_DIMS] = NUMBER("global_dims", 1),
    [HT__FLOAT_VALUE] = READING("value", "f32 bf16 f16"),
    [HT__FLOAT_EXPERTS] = READING("experts", "none blocks rows"),
    {.name = NULL},
};

const struct ht__scheme ht__scheme_small_float = {
    .name = "small-float",
    .label = "small floats",
    .family = "many",
    .about = "8 and 4-bit floats with scales, as other programs write them",
    .loaders = "",
    .flags = HT__SCHEME_READ_ONLY,
    .options = options,
    .unsuited = ht__scaled_unsuited,
    .parts = ht__scaled_parts,
    .rows = ht__scaled_rows,
    .groups = ht__scaled_groups,
    .value = ht__scaled_value,
    .unpack = ht__scaled_unpack,
    .complaint = ht__scaled_complaint,
    .family_data = &family,
};
