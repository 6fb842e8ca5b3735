/* IQ4_NL and IQ4_XS at this level: see iq4_tmpl.h. */
#include "kernels/arm/vec_neon.h"
#include "kernels/codec/iq4.h"

/* How many of the 15 midpoints are not above x. */
VEC uint32x4_t midpoints_below(vf x)
{
    uint32x4_t n = vdupq_n_u32(15);
    for (int k = 0; k < 15; k++) { /* a comparison that holds is -1 */
        float midpoint = 0.5f * ((float)ht__iq4_values[k] + (float)ht__iq4_values[k + 1]);
        n = vaddq_u32(n, vcltq_f32(x, v_set(midpoint)));
    }
    return n;
}

VEC vf nearest_code(vf x)
{
    return vcvtq_f32_u32(midpoints_below(x));
}

/* The table gives 0 for the upper three bytes of each index, as they lie beyond it. */
VEC vf nearest_value(vf x)
{
    uint8x16_t table = vreinterpretq_u8_s8(vld1q_s8(ht__iq4_values));
    uint8x16_t at = vreinterpretq_u8_u32(vorrq_u32(midpoints_below(x), vdupq_n_u32(0xffffff00)));
    int32x4_t value = vreinterpretq_s32_u8(vqtbl1q_u8(table, at));
    return vcvtq_f32_s32(vshrq_n_s32(vshlq_n_s32(value, 24), 24));
}

#include "kernels/x86/iq4_tmpl.h"

void ht__iq4_nl_encode_neon(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    if (importance)
        encode_iq4(&ht__codec_iq4_nl, LEN, src, n_rows, row_len, importance, dst);
    else
        encode_iq4(&ht__codec_iq4_nl, LEN, src, n_rows, row_len, NULL, dst);
}

void ht__iq4_xs_encode_neon(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    if (importance)
        encode_iq4(&ht__codec_iq4_xs, SUPER, src, n_rows, row_len, importance, dst);
    else
        encode_iq4(&ht__codec_iq4_xs, SUPER, src, n_rows, row_len, NULL, dst);
}
