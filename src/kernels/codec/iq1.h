/* What the scalar unit of IQ1_S and IQ1_M and its vector variants share. */
#ifndef HT_KERNELS_CODEC_IQ1_H
#define HT_KERNELS_CODEC_IQ1_H

#include <stdint.h>

/* Below these magnitudes a block counts as all zeros. */
#define HT__IQ1_S_TINY 1e-12f
#define HT__IQ1_M_TINY 1e-7f

/* One block as the search leaves it: 32 weights (IQ1_S) or 16 (IQ1_M). */
struct ht__iq1_block {
    float scale;
    /* IQ1_S: 1 if shifted down. IQ1_M: bit 1 if the first eight are shifted down, bit 0 the second
     * eight */
    int shifts;
    uint16_t points[4]; /* lattice index of every eight weights */
};

/* The eight blocks of a super-block to its bytes. */
void ht__iq1_s_pack(const struct ht__iq1_block *blocks, uint8_t *out);

/* The scale codes of sixteen blocks and the super-block's scale, before it is fitted to them; false
 * if all scales are zero. */
_Bool ht__iq1_m_codes(const struct ht__iq1_block *blocks, int codes[16], float *d);
/* The sixteen blocks to bytes; codes NULL if all scales are zero. */
void ht__iq1_m_pack(const struct ht__iq1_block *blocks, const int *codes, float d, uint8_t *out);

#endif
