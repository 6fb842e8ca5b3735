/* The vector layer of the templates: NEON, 4 floats, four groups of lanes. See ../x86/vec_avx2.h for the same names. */
#ifndef HT_KERNELS_VEC_NEON_H
#define HT_KERNELS_VEC_NEON_H

#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

enum { VL = 4 };
typedef float32x4_t vf;
typedef uint32x4_t vm; /* all ones or all zeros in each lane */

#define GROUPS 4 /* as many lanes side by side as AVX2 has, so that super-blocks of sixteen sub-blocks fill them */

#define VEC static inline __attribute__((always_inline))

/* clang-format off: an operation a line, to be compared at a glance. */
VEC vf v_load(const float *p)
{
    return vld1q_f32(p);
}
VEC void v_store(float *p, vf a)
{
    vst1q_f32(p, a);
}
VEC vf v_set(float a)
{
    return vdupq_n_f32(a);
}
VEC vf v_zero(void)
{
    return vdupq_n_f32(0);
}
VEC vf v_add(vf a, vf b)
{
    return vaddq_f32(a, b);
}
VEC vf v_sub(vf a, vf b)
{
    return vsubq_f32(a, b);
}
VEC vf v_mul(vf a, vf b)
{
    return vmulq_f32(a, b);
}
VEC vf v_div(vf a, vf b)
{
    return vdivq_f32(a, b);
}
VEC vf v_sqrt(vf a)
{
    return vsqrtq_f32(a);
}
/* The second of what compares alike, or not at all, as x86 has it: FMIN and FMAX would take -0 for less, and NaN. */
VEC vf v_min(vf a, vf b)
{
    return vbslq_f32(vcltq_f32(a, b), a, b);
}
VEC vf v_max(vf a, vf b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
VEC vf v_abs(vf a)
{
    return vabsq_f32(a);
}
VEC vm v_lt(vf a, vf b)
{
    return vcltq_f32(a, b);
}
VEC vm v_le(vf a, vf b)
{
    return vcleq_f32(a, b);
}
VEC vm v_gt(vf a, vf b)
{
    return vcgtq_f32(a, b);
}
VEC vm v_ne(vf a, vf b)
{
    return vmvnq_u32(vceqq_f32(a, b));
}
VEC vm v_and(vm a, vm b)
{
    return vandq_u32(a, b);
}
VEC vm v_or(vm a, vm b)
{
    return vorrq_u32(a, b);
}
VEC vm v_not(vm a)
{
    return vmvnq_u32(a);
}
VEC vm v_none(void)
{
    return vdupq_n_u32(0);
}
VEC unsigned v_bits(vm m)
{
    const uint32x4_t bit = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(m, bit));
}
VEC int v_any(vm m)
{
    return vmaxvq_u32(m) != 0;
}
/* b where m, else a */
VEC vf v_pick(vf a, vf b, vm m)
{
    return vbslq_f32(m, b, a);
}
VEC vf v_fma(vf a, vf b, vf c)
{
    return vfmaq_f32(c, a, b);
}
VEC vf v_fnma(vf a, vf b, vf c)
{
    return vfmsq_f32(c, a, b);
}

/* Dwords turned: column i of the four rows goes to out[i]. */
VEC void v_turn(const float32x4_t r[4], vf out[4])
{
    float32x4_t a = vtrn1q_f32(r[0], r[1]), b = vtrn2q_f32(r[0], r[1]);
    float32x4_t c = vtrn1q_f32(r[2], r[3]), d = vtrn2q_f32(r[2], r[3]);
    out[0] = vcombine_f32(vget_low_f32(a), vget_low_f32(c));
    out[1] = vcombine_f32(vget_low_f32(b), vget_low_f32(d));
    out[2] = vcombine_f32(vget_high_f32(a), vget_high_f32(c));
    out[3] = vcombine_f32(vget_high_f32(b), vget_high_f32(d));
}

/* 4 x 4: column i of 4 rows that are `stride` floats apart goes to out[i]. */
VEC void v_transpose(const float *src, int64_t stride, vf out[4])
{
    vf r[4];
    for (int i = 0; i < 4; i++)
        r[i] = v_load(src + i * stride);
    v_turn(r, out);
}

/* Four floats that hold whole numbers 0..255, as bytes. */
VEC void v_store_bytes(uint8_t *p, vf a)
{
    uint16x4_t s = vmovn_u32(vcvtq_u32_f32(a));
    uint32_t four = vget_lane_u32(vreinterpret_u32_u8(vmovn_u16(vcombine_u16(s, s))), 0);
    memcpy(p, &four, sizeof four);
}

/* Across lanes; which of equal zeros is not said. */
VEC float v_hmax(vf a)
{
    return vmaxvq_f32(a);
}
VEC float v_hmin(vf a)
{
    return vminvq_f32(a);
}

/* a + 1 where m */
VEC vf v_count(vf a, vm m)
{
    return vaddq_f32(a, vreinterpretq_f32_u32(vandq_u32(m, vreinterpretq_u32_f32(vdupq_n_f32(1)))));
}
/* a with the sign of b; a is not negative */
VEC vf v_signed(vf a, vf b)
{
    return vbslq_f32(vdupq_n_u32(0x80000000u), b, a);
}

/* As ht__round_even: to a whole number with the wrap of its bit mask, for quotients that may explode. */
VEC vf v_round_wrapped(vf a)
{
    uint32x4_t bits = vreinterpretq_u32_f32(vaddq_f32(a, vdupq_n_f32(12582912.0f)));
    bits = vandq_u32(bits, vdupq_n_u32(0x007fffff));
    return vcvtq_f32_s32(vreinterpretq_s32_u32(vsubq_u32(bits, vdupq_n_u32(0x00400000))));
}
/* clang-format on */

#include "kernels/arm/bytes_neon.h"

#endif
