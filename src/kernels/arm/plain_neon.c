/* F16, BF16 and 8-bit floats at this level: see plain_tmpl.h. */
#include "kernels/arm/vec_neon.h"
#include "kernels/x86/plain_tmpl.h"

VEC void put_f16(uint8_t *out, vf x)
{
    vst1_u8(out, vreinterpret_u8_f16(vcvt_f16_f32(x)));
}

VEC vf get_f16(const uint8_t *in)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(in)));
}

/* Nearest, ties to even; NaN keeps its upper bits and becomes quiet. */
VEC void put_bf16(uint8_t *out, vf x)
{
    uint32x4_t bits = vreinterpretq_u32_f32(x), half = vshrq_n_u32(bits, 16);
    uint32x4_t odd = vandq_u32(half, vdupq_n_u32(1));
    uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    uint32x4_t quiet = vorrq_u32(half, vdupq_n_u32(64));
    half = vbslq_u32(vceqq_f32(x, x), vshrq_n_u32(rounded, 16), quiet);
    vst1_u8(out, vreinterpret_u8_u16(vmovn_u32(half)));
}

VEC vf get_bf16(const uint8_t *in)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(in)), 16));
}

/* 8-bit floats go through halves: the same bits further up, and a factor where the bias is another. The codes whose
 * magnitude is above `top` are NaN. */
VEC vf through_half(const uint8_t *in, int shift, float factor, int top)
{
    uint32_t four;
    memcpy(&four, in, sizeof four);
    uint16x4_t codes = vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four))));
    uint16x4_t magnitude = vand_u16(codes, vdup_n_u16(0x7f));
    uint16x4_t sign = vshl_n_u16(vand_u16(codes, vdup_n_u16(0x80)), 8);
    vf x = vcvt_f32_f16(vreinterpret_f16_u16(vorr_u16(sign, vshl_u16(magnitude, vdup_n_s16((int16_t)shift)))));
    int32x4_t nan = vmovl_s16(vreinterpret_s16_u16(vcgt_u16(magnitude, vdup_n_u16((uint16_t)top))));
    vf quiet = vreinterpretq_f32_u32(vdupq_n_u32(0x7fc00000));
    return v_pick(v_mul(x, v_set(factor)), quiet, vreinterpretq_u32_s32(nan));
}

VEC vf get_f8_e4m3(const uint8_t *in)
{
    return through_half(in, 7, 256, 0x7e);
}

VEC vf get_f8_e5m2(const uint8_t *in)
{
    return through_half(in, 8, 1, 0x7c);
}

ENCODER(f16, neon)
ENCODER(bf16, neon)
DECODER(f16, 2, neon)
DECODER(bf16, 2, neon)
DECODER(f8_e4m3, 1, neon)
DECODER(f8_e5m2, 1, neon)
