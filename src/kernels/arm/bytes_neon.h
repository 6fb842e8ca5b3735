/* 32 bytes at a time, for the templates: included by vec_neon.h. See ../x86/bytes_x86.h for the same names. */
#ifndef HT_KERNELS_BYTES_NEON_H
#define HT_KERNELS_BYTES_NEON_H

#include <string.h>

typedef uint8x16x2_t vb;

VEC vb b_of(uint8x16_t low, uint8x16_t high)
{
    return (vb){{low, high}};
}

VEC vb b_load(const uint8_t *p)
{
    return b_of(vld1q_u8(p), vld1q_u8(p + 16));
}

VEC void b_store(uint8_t *p, vb a)
{
    vst1q_u8(p, a.val[0]);
    vst1q_u8(p + 16, a.val[1]);
}

VEC vb b_set(int a)
{
    uint8x16_t v = vdupq_n_u8((uint8_t)a);
    return b_of(v, v);
}

VEC vb b_or(vb a, vb b)
{
    return b_of(vorrq_u8(a.val[0], b.val[0]), vorrq_u8(a.val[1], b.val[1]));
}

VEC vb b_add(vb a, vb b)
{
    return b_of(vaddq_u8(a.val[0], b.val[0]), vaddq_u8(a.val[1], b.val[1]));
}

VEC vb b_sub(vb a, vb b)
{
    return b_of(vsubq_u8(a.val[0], b.val[0]), vsubq_u8(a.val[1], b.val[1]));
}

VEC uint8x16_t lesser(uint8x16_t a, uint8x16_t b)
{
    return vreinterpretq_u8_s8(vminq_s8(vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b)));
}

/* Of bytes with a sign. */
VEC vb b_min(vb a, vb b)
{
    return b_of(lesser(a.val[0], b.val[0]), lesser(a.val[1], b.val[1]));
}

/* Bits `shift` on of every byte, as many as `mask` has. */
VEC vb b_bits(vb bytes, int shift, int mask)
{
    int8x16_t down = vdupq_n_s8((int8_t)-shift);
    uint8x16_t only = vdupq_n_u8((uint8_t)mask);
    return b_of(vandq_u8(vshlq_u8(bytes.val[0], down), only), vandq_u8(vshlq_u8(bytes.val[1], down), only));
}

/* Every byte moved up; none loses a bit. */
VEC vb b_up(vb bytes, int shift)
{
    int8x16_t up = vdupq_n_s8((int8_t)shift);
    return b_of(vshlq_u8(bytes.val[0], up), vshlq_u8(bytes.val[1], up));
}

/* Sixteen bytes: their low nibbles, then their high ones. */
VEC vb b_nibbles(const uint8_t *p)
{
    uint8x16_t bytes = vld1q_u8(p);
    return b_of(vandq_u8(bytes, vdupq_n_u8(15)), vshrq_n_u8(bytes, 4));
}

/* The same of each eight bytes for itself. */
VEC vb b_nibbles_16(const uint8_t *p)
{
    vb n = b_nibbles(p);
    return b_of(vcombine_u8(vget_low_u8(n.val[0]), vget_low_u8(n.val[1])),
                vcombine_u8(vget_high_u8(n.val[0]), vget_high_u8(n.val[1])));
}

/* Element i < 16 in the low half of byte i, element 16 + i in the high one. */
VEC void b_pack_nibbles(vb codes, uint8_t out[16])
{
    vst1q_u8(out, vsliq_n_u8(vandq_u8(codes.val[0], vdupq_n_u8(15)), codes.val[1], 4));
}

/* Each sixteen for itself: element i < 8 in the low half of byte i, element 8 + i in the high one. */
VEC void b_pack_nibbles_16(vb codes, uint8_t out[16])
{
    b_pack_nibbles(b_of(vcombine_u8(vget_low_u8(codes.val[0]), vget_low_u8(codes.val[1])),
                        vcombine_u8(vget_high_u8(codes.val[0]), vget_high_u8(codes.val[1]))),
                   out);
}

/* Bit i of each eight bytes. */
VEC uint8x16_t bit_of_eight(void)
{
    return (uint8x16_t){1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
}

VEC uint32_t fifth_of_sixteen(uint8x16_t codes)
{
    uint8x16_t set = vandq_u8(vtstq_u8(codes, vdupq_n_u8(16)), bit_of_eight());
    return (uint32_t)vaddv_u8(vget_low_u8(set)) | (uint32_t)vaddv_u8(vget_high_u8(set)) << 8;
}

/* The fifth bit of each code, of element 0 in bit 0. */
VEC uint32_t b_fifth_bits(vb codes)
{
    return fifth_of_sixteen(codes.val[0]) | fifth_of_sixteen(codes.val[1]) << 16;
}

/* 32 bits, each as 16 in its byte. */
VEC vb b_fifth_bits_of(uint32_t bits)
{
    const uint8x16_t low = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1}, sixteen = vdupq_n_u8(16);
    uint8x16_t bytes = vreinterpretq_u8_u32(vdupq_n_u32(bits));
    uint8x16_t a = vqtbl1q_u8(bytes, low), b = vqtbl1q_u8(bytes, vaddq_u8(low, vdupq_n_u8(2)));
    return b_of(vandq_u8(vtstq_u8(a, bit_of_eight()), sixteen), vandq_u8(vtstq_u8(b, bit_of_eight()), sixteen));
}

/* Entry of the table for each code 0 … 15. */
VEC vb b_lookup(vb codes, const int8_t table[16])
{
    uint8x16_t t = vreinterpretq_u8_s8(vld1q_s8(table));
    return b_of(vqtbl1q_u8(t, codes.val[0]), vqtbl1q_u8(t, codes.val[1]));
}

/* 32 codes of two bits in eight bytes, in order. */
VEC void b_put_crumbs(vb codes, uint8_t *out)
{
    uint16x8_t a = vreinterpretq_u16_u8(codes.val[0]), b = vreinterpretq_u16_u8(codes.val[1]);
    a = vorrq_u16(a, vshrq_n_u16(a, 6)); /* two codes in the low byte of a pair */
    b = vorrq_u16(b, vshrq_n_u16(b, 6));
    uint16x8_t twos = vreinterpretq_u16_u8(vcombine_u8(vmovn_u16(a), vmovn_u16(b)));
    vst1_u8(out, vmovn_u16(vorrq_u16(twos, vshrq_n_u16(twos, 4))));
}

/* (13 q + 242) / 243 of eight bytes q <= 242: see x86's b_spread_trits. */
VEC uint8x8_t spread_more(uint8x8_t q)
{
    uint16x8_t t = vaddq_u16(vmull_u8(q, vdup_n_u8(13)), vdupq_n_u16(242));
    uint16x4_t low = vshrn_n_u32(vmull_u16(vget_low_u16(t), vdup_n_u16(4316)), 16);
    uint16x4_t high = vshrn_n_u32(vmull_u16(vget_high_u16(t), vdup_n_u16(4316)), 16);
    return vshrn_n_u16(vcombine_u16(low, high), 4);
}

VEC uint8x16_t spread_sixteen(uint8x16_t q)
{
    return vaddq_u8(q, vcombine_u8(spread_more(vget_low_u8(q)), spread_more(vget_high_u8(q))));
}

/* (256 q + 242) / 243 of every byte q <= 242. */
VEC vb b_spread_trits(vb q)
{
    return b_of(spread_sixteen(q.val[0]), spread_sixteen(q.val[1]));
}

/* The whole parts of eight floats in 16 bits. Conversions end at the largest int, where those of x86 give a number whose low
 * bytes are 0: so does this. */
VEC uint16x8_t whole_eight(const vf v[2])
{
    uint16x4_t half[2];
    for (int i = 0; i < 2; i++) {
        uint32x4_t whole = vreinterpretq_u32_s32(vcvtq_s32_f32(v[i]));
        half[i] = vmovn_u32(vbicq_u32(whole, vceqq_u32(whole, vdupq_n_u32(INT32_MAX))));
    }
    return vcombine_u16(half[0], half[1]);
}

/* The low bytes of 32 floats' whole parts (what is out of int's range gives 0). */
VEC vb v_bytes32(const vf v[8])
{
    uint8x8_t a = vmovn_u16(whole_eight(v)), b = vmovn_u16(whole_eight(v + 2));
    uint8x8_t c = vmovn_u16(whole_eight(v + 4)), d = vmovn_u16(whole_eight(v + 6));
    return b_of(vcombine_u8(a, b), vcombine_u8(c, d));
}

/* Signed bytes as floats. */
VEC void v_floats32(vb bytes, vf out[8])
{
    for (int i = 0; i < 4; i++) {
        int8x16_t sixteen = vreinterpretq_s8_u8(bytes.val[i / 2]);
        int16x8_t eight = vmovl_s8(i % 2 ? vget_high_s8(sixteen) : vget_low_s8(sixteen));
        out[2 * i] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(eight)));
        out[2 * i + 1] = vcvtq_f32_s32(vmovl_s16(vget_high_s16(eight)));
    }
}

/* As ht__f32_to_f16 and ht__f16_to_f32, by the instruction. */
VEC uint16_t half_of(float x)
{
    return vget_lane_u16(vreinterpret_u16_f16(vcvt_f16_f32(vdupq_n_f32(x))), 0);
}

VEC float float_of(uint16_t half)
{
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half))), 0);
}

#endif
