/*
 * MXFP4 and NVFP4 with vectors: included by fp4_<level>.c after vec_<level>.h.
 *
 * llama.cpp takes the least |v * scale - x| over the sixteen values v, the first of equals. That is: the
 * magnitude's code is the number of midpoints m with |x| > m * scale, and a negative x has the sign bit unless
 * the code is 0. Exact: scales have four significant bits, so v * scale and m * scale are exact; next to a
 * midpoint the two differences are exact too (neighbours but 0 and 1 are within a factor of two; below
 * the midpoint of 0 and 1 the rounded difference to 1 is still at least one half, above it is exact). Beyond the
 * largest value rounding keeps the order of differences as long as x is not millions of times the scale.
 */
#include "kernels/codec.h"
#include "kernels/codec/fp4.h"
#include "kernels/x86/blocks_tmpl.h"

#include <math.h>
#include <string.h>

enum { MX_LEN = 32, MX_SIZE = 17, NV_LEN = 64, NV_SIZE = 36, NV_SUB = 16 };

VEC vf e2m1_codes(vf x, float scale)
{
    static const float midpoints[7] = {0.5f, 1.5f, 2.5f, 3.5f, 5, 7, 10};
    vf a = v_abs(x), code = v_zero();
    for (int i = 0; i < 7; i++)
        code = v_count(code, v_gt(a, v_set(midpoints[i] * scale)));
    vm negative = v_and(v_lt(x, v_zero()), v_gt(code, v_zero()));
    return v_pick(code, v_add(code, v_set(8)), negative);
}

/* One block whose largest magnitude is a plain number; false: the scalar code must do it. */
VEC bool put_mx(const float *x, uint8_t *out)
{
    uint32_t bits = ht__f32_bits(block_amax(x, MX_LEN)), exponent = bits >> 23;
    vf codes[MX_LEN / VL];
    if (bits == 0) {
        memset(out, 0, MX_SIZE);
        return true;
    }
    /* no subnormals or overflow in what follows; and where the logarithm may round up to the next whole number,
     * which it does at most 2^-14 below a power of two, the exponent is not llama.cpp's */
    if (exponent < 32 || exponent > 250 || (bits & 0x7ffe00) == 0x7ffe00) return false;
    out[0] = (uint8_t)(exponent - 2);
    for (int i = 0; i < MX_LEN / VL; i++)
        codes[i] = e2m1_codes(v_load(x + i * VL), ht__f32_from_bits((exponent - 3) << 23));
    b_pack_nibbles(v_bytes32(codes), out + 1);
    return true;
}

VEC void encode_mx(const float *src, int64_t n_blocks, uint8_t *out)
{
    for (int64_t b = 0; b < n_blocks; b++, src += MX_LEN, out += MX_SIZE)
        if (!put_mx(src, out)) ht__codec_mxfp4.encode(src, 1, MX_LEN, NULL, out);
}

/* Two sub-blocks; false where the largest scale falls so far short that differences round to equal ones. */
VEC bool put_nv_pair(const float *x, uint8_t scales[2], uint8_t out[NV_SUB])
{
    vf codes[2 * NV_SUB / VL];
    for (int s = 0; s < 2; s++) {
        float amax = block_amax(x + NV_SUB * s, NV_SUB);
        if (!(amax < 1e5f)) return false;
        scales[s] = ht__nv_code(amax / 6.0f);
        float scale = ht__nv_scale(scales[s]);
        if (scale == 0) scale = INFINITY; /* no magnitude is larger: all codes 0 */
        for (int i = 0; i < NV_SUB / VL; i++)
            codes[s * (NV_SUB / VL) + i] = e2m1_codes(v_load(x + NV_SUB * s + i * VL), scale);
    }
    b_pack_nibbles_16(v_bytes32(codes), out);
    return true;
}

VEC void encode_nv(const float *src, int64_t n_blocks, uint8_t *out)
{
    for (int64_t b = 0; b < n_blocks; b++, src += NV_LEN, out += NV_SIZE)
        if (!put_nv_pair(src, out, out + 4) || !put_nv_pair(src + NV_LEN / 2, out + 2, out + 4 + NV_SUB))
            ht__codec_nvfp4.encode(src, 1, NV_LEN, NULL, out);
}
