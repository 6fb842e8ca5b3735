/* Methods that the layers driver carries out (best.h). What it does not choose is rounded. */
#include "methods/factor.h"
#include "methods/method.h"

static bool rows(const struct ht__method_params *method, const struct ht__scheme_params *params,
                 const struct ht__matrix *matrix, const float *x, const float *importance, struct ht__codes *codes)
{
    (void)method;
    params->scheme->fit(params, matrix, x, importance, codes);
    params->scheme->nearest(params, matrix, x, codes);
    return true;
}

static const struct ht__scheme_option options[] = {
    {"order",
     "which inputs' codes are chosen first: of the largest, groups of the largest (GPTQ's group-aware order), or as "
     "they lie",
     "act group natural", .otherwise = HT__ORDER_ACT},
    {"sequential", "each matrix of a layer makes up for those before it in the layer, too (GPTQ's true_sequential)",
     "off on", .otherwise = 1},
    {.name = NULL},
};

const struct ht__method ht__method_best = {
    .name = "best",
    .about = "layer by layer, for the least error on a calibration text",
    .options = options,
    .by_layer = true,
    .rows = rows,
};

static const char *not_smooth(const struct ht__scheme_params *params)
{
    return ht__scheme_flags(params) & HT__SCHEME_INT8_INPUTS
               ? NULL
               : "SmoothQuant's scales are for activations of 8 bits (w8a8); for weights alone there is @awq";
}

const struct ht__method ht__method_smooth = {
    .name = "smooth",
    .about = "SmoothQuant's scales, folded into the model, for activations in 8 bits; then as best",
    .options = options,
    .by_layer = true,
    .unsuited = not_smooth,
    .rows = rows,
};

const struct ht__method ht__method_awq = {
    .name = "awq",
    .about = "AWQ's scales, folded into the model; then as best",
    .options = options,
    .by_layer = true,
    .rows = rows,
};
