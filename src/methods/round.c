/* Each weight's nearest code, under scales that fit its group. Nothing but the weights is looked at. */
#include "methods/method.h"

static bool rows(const struct ht__method_params *method, const struct ht__scheme_params *params,
                 const struct ht__matrix *matrix, const float *x, const float *importance, struct ht__codes *codes)
{
    (void)method;
    params->scheme->fit(params, matrix, x, importance, codes);
    params->scheme->nearest(params, matrix, x, codes);
    return true;
}

const struct ht__method ht__method_round = {
    .name = "round",
    .about = "to the nearest code, without calibration",
    .rows = rows,
};
