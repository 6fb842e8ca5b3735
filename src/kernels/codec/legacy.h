/* What the vector variants of Q4_0, Q4_1, Q5_0 and Q5_1 need of the scalar unit. */
#ifndef HT_KERNELS_CODEC_LEGACY_H
#define HT_KERNELS_CODEC_LEGACY_H

#include <stdbool.h>
#include <stdint.h>

/* levels: a side (8, 16) or, with a minimum, in all (15, 31); sigma2 is that of the whole row. */
struct ht__legacy {
    int levels;
    bool min, five; /* a minimum is stored; codes have fifth bits */
    int size;       /* bytes a block */
};

/* One block of 32; importance and sigma2 may be NULL and 0. */
void ht__legacy_encode_block(struct ht__legacy type, const float *x, const float *importance, float sigma2,
                             uint8_t *out);

#endif
