/* What the schemes of bitsandbytes share. */
#ifndef HT_SCHEMES_BNB_H
#define HT_SCHEMES_BNB_H

#include "base/json_write.h"
#include "schemes/scheme.h"

/* "float32", "bfloat16" … as PyTorch names a dtype of floats. */
const char *ht__torch_dtype(const struct ht__codec *dtype);

/* The members of quantization_config that transformers writes for bitsandbytes, in its order. */
struct ht__bnb_config {
    bool eight_bits;
    const char *quant_type, *storage; /* "nf4", "uint8" */
    bool nested;
    double threshold;
};
void ht__bnb_config(const struct ht__scheme_package *package, const struct ht__bnb_config *config, struct ht__jw *w);

/*
 * The mean of floats as PyTorch computes it on one thread with vectors of eight: sums of four vectors side by side, added
 * up in levels. Other numbers of threads and other vectors give sums that differ in their last bit.
 */
float ht__bnb_mean(const float *x, int64_t n);
/* The 256 numbers of bitsandbytes' dynamic map, rising. */
void ht__bnb_dynamic_map(float map[256]);
/* Codes of x less offset in the dynamic map, and the largest magnitude of each block of 256 such differences. */
void ht__bnb_quantize_blockwise(const float map[256], const float *x, float offset, int64_t n, uint8_t *q,
                                float *absmax);

#endif
