/* The "quantization_config" of transformers' "fp8" and "mxfp8": E4M3 weights with a scale for each block. */
#ifndef HT_SCHEMES_HF_FP8_H
#define HT_SCHEMES_HF_FP8_H

#include "base/json_write.h"
#include "schemes/scheme.h"

/* scale_format: "ue8m0" for powers of two, NULL for floats. What is not quantized is listed by full name. */
void ht__hf_fp8_config(const struct ht__scheme_package *package, const char *method, int block_rows, int block_columns,
                       const char *scale_format, struct ht__jw *w);

#endif
