/* ModelOpt's configuration: "quantization_config" of config.json, and hf_quant_config.json, which says the same. */
#ifndef HT_SCHEMES_MODELOPT_H
#define HT_SCHEMES_MODELOPT_H

#include "schemes/compressed_tensors.h"

#define HT__MODELOPT_FILE "hf_quant_config.json"

/* Modules with the package's own parameters are quantized by this algorithm; all others are excluded by full name. */
void ht__modelopt_config(const struct ht__scheme_package *package, const char *algorithm,
                         const struct ht__ct_group *group, struct ht__jw *w);
void ht__modelopt_side(const struct ht__scheme_package *package, const char *algorithm,
                       const struct ht__ct_group *group, struct ht__jw *w);

#endif
