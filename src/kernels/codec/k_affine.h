/* What Q4_K and Q5_K share: eight affine sub-blocks of 32 with 6-bit scales and minima. */
#ifndef HT_KERNELS_CODEC_K_AFFINE_H
#define HT_KERNELS_CODEC_K_AFFINE_H

#include "kernels/search/search.h"

#include <stdint.h>

/* Scales, minima and codes (0..levels) of one super-block. importance: 256 floats or NULL. */
void ht__k_affine_encode(const struct ht__affine_params *params, const float *x, const float *importance, uint16_t *d,
                         uint16_t *dmin, uint8_t packed[12], uint8_t codes[256]);
/* What a super-block of either type begins with: d, dmin, and the eight pairs of codes of sub-blocks. */
void ht__k_affine_get(const void *block, float *d, float *dmin, int *s, int *m);
void ht__k_affine_put(void *block, float d, float dmin, const int *s, const int *m);
/* d*s and dmin*m of every sub-block. */
void ht__k_affine_scales(uint16_t d, uint16_t dmin, const uint8_t packed[12], float scales[8], float mins[8]);

#endif
