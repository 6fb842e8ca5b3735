/* GPTQ's options, by their places, and the configurations that its layout goes with. */
#ifndef HT_SCHEMES_GPTQ_H
#define HT_SCHEMES_GPTQ_H

#include "schemes/int_grid.h"

enum ht__gptq_option {
    HT__GPTQ_BITS,
    HT__GPTQ_GROUP,
    HT__GPTQ_SYM,
    HT__GPTQ_VERSION,
    HT__GPTQ_RANGE,
    HT__GPTQ_CONFIG,
    HT__GPTQ_ACT_ORDER,
    HT__GPTQ_G_IDX,
    HT__GPTQ_SCALES,
};
enum { HT__GPTQ_V1, HT__GPTQ_V2 };                         /* VERSION */
enum { HT__GPTQ_CONFIG_GPTQ, HT__GPTQ_CONFIG_AUTO_ROUND }; /* CONFIG */

/* "quantization_config" as GPTQModel, optimum and vLLM read it. */
void ht__gptq_config(const struct ht__scheme_package *package, struct ht__jw *w);

#endif
