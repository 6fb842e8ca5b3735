/*
 * Q1_0 and Q2_0 with vectors: included by small_<level>.c after vec_<level>.h. The scale of Q1_0 is a mean of
 * magnitudes in index order, which is a chain of adds: VL blocks stand in lanes for it.
 */
#include "kernels/codec.h"
#include "kernels/x86/lanes_tmpl.h"
#include "kernels/x86/rounded_tmpl.h"

#include <math.h>

enum { Q1_LEN = 128, Q2_LEN = 64, SMALL_SIZE = 18 };

/* VL blocks. */
VEC void put_q1(const float *src, uint8_t *out)
{
    float means[VL];
    vf sum = v_zero(), t[VL];
    for (int i = 0; i < Q1_LEN; i += VL) {
        v_transpose(src + i, Q1_LEN, t);
        for (int j = 0; j < VL; j++)
            sum = v_add(sum, v_abs(t[j]));
    }
    v_store(means, v_div(sum, v_set(Q1_LEN)));
    for (int b = 0; b < VL; b++, src += Q1_LEN, out += SMALL_SIZE) {
        ht__store_u16(out, half_of(means[b]));
        for (int i = 0; i < Q1_LEN; i += 32) {
            uint32_t bits = 0;
            for (int j = 0; j < 32; j += VL)
                bits |= (uint32_t)v_bits(v_le(v_zero(), v_load(src + i + j))) << j;
            memcpy(out + 2 + i / 8, &bits, sizeof bits);
        }
    }
}

VEC void encode_q1(const float *src, int64_t n_blocks, uint8_t *out)
{
    int64_t b = 0;
    for (; b + VL <= n_blocks; b += VL)
        put_q1(src + b * Q1_LEN, out + b * SMALL_SIZE);
    if (b < n_blocks) ht__codec_q1_0.encode(src + b * Q1_LEN, 1, (n_blocks - b) * Q1_LEN, NULL, out + b * SMALL_SIZE);
}

VEC void encode_q2(const float *src, int64_t n_blocks, uint8_t *out)
{
    for (int64_t b = 0; b < n_blocks; b++, src += Q2_LEN, out += SMALL_SIZE) {
        float d = block_amax(src, Q2_LEN), inverse = d > 0 ? 1.0f / d : 0;
        if (!(inverse < INFINITY)) { /* products that are not numbers clamp otherwise */
            ht__codec_q2_0.encode(src, 1, Q2_LEN, NULL, out);
            continue;
        }
        ht__store_u16(out, half_of(d));
        for (int h = 0; h < 2; h++)
            b_put_crumbs(b_add(rounded32(src + 32 * h, inverse), b_set(1)), out + 2 + 8 * h);
    }
}
