/* Four rows of a matrix in lanes, integers: a vector holds one dword of each. See ../x86/rows_avx2.h for the same names. */
#ifndef HT_KERNELS_ROWS_NEON_H
#define HT_KERNELS_ROWS_NEON_H

#include "kernels/arm/vec_neon.h"

#include <string.h>

typedef uint32x4_t vi;

struct rows {
    const uint8_t *at[VL];
};

VEC vi i_zero(void)
{
    return vdupq_n_u32(0);
}
VEC vi i_set8(int a)
{
    return vreinterpretq_u32_u8(vdupq_n_u8((uint8_t)a));
}
VEC vi i_set32(int a)
{
    return vdupq_n_u32((uint32_t)a);
}
VEC vi i_and(vi a, vi b)
{
    return vandq_u32(a, b);
}
VEC vi i_or(vi a, vi b)
{
    return vorrq_u32(a, b);
}
VEC vi i_xor(vi a, vi b)
{
    return veorq_u32(a, b);
}
VEC vi i_add8(vi a, vi b)
{
    return vreinterpretq_u32_u8(vaddq_u8(vreinterpretq_u8_u32(a), vreinterpretq_u8_u32(b)));
}
VEC vi i_sub8(vi a, vi b)
{
    return vreinterpretq_u32_u8(vsubq_u8(vreinterpretq_u8_u32(a), vreinterpretq_u8_u32(b)));
}
VEC vi i_shl(vi a, int n)
{
    return vshlq_u32(a, vdupq_n_s32(n));
}
VEC vi i_shr(vi a, int n)
{
    return vshlq_u32(a, vdupq_n_s32(-n));
}
VEC vi i_sar(vi a, int n)
{
    return vreinterpretq_u32_s32(vshlq_s32(vreinterpretq_s32_u32(a), vdupq_n_s32(-n)));
}
VEC vi i_load(const void *p)
{
    return vreinterpretq_u32_u8(vld1q_u8(p));
}
VEC vi i_add(vi a, vi b)
{
    return vaddq_u32(a, b);
}
VEC vi i_sub(vi a, vi b)
{
    return vsubq_u32(a, b);
}
VEC vf i_floats(vi a)
{
    return vcvtq_f32_s32(vreinterpretq_s32_u32(a));
}
VEC vf i_as_floats(vi a)
{
    return vreinterpretq_f32_u32(a);
}
VEC vi i_as_bits(vf a)
{
    return vreinterpretq_u32_f32(a);
}
/* The half in the low 16 bits of each dword. */
VEC vf i_halves(vi a)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(a)));
}
/* Ones in bytes that are not below `least`, without sign. */
VEC vi i_not_below8(vi a, int least)
{
    uint8x16_t is = vcgeq_u8(vreinterpretq_u8_u32(a), vdupq_n_u8((uint8_t)least));
    return vreinterpretq_u32_u8(vandq_u8(is, vdupq_n_u8(1)));
}
/* Entry of sixteen bytes for each byte 0 … 15. */
VEC vi i_lookup(const void *table, vi a)
{
    return vreinterpretq_u32_u8(vqtbl1q_u8(vld1q_u8(table), vreinterpretq_u8_u32(a)));
}
/* Byte i is 255 where bit i of the dword is set, i < 4. */
VEC vi i_masks(vi a)
{
    const uint8x16_t low = {0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12};
    uint8x16_t bit = vreinterpretq_u8_u32(vdupq_n_u32(0x08040201));
    return vreinterpretq_u32_u8(vtstq_u8(vqtbl1q_u8(vreinterpretq_u8_u32(a), low), bit));
}
/* Dwords at base + step * index */
VEC vi i_gather(const void *base, vi index, size_t step)
{
    uint32_t at[VL], got[VL];
    vst1q_u32(at, index);
    for (int i = 0; i < VL; i++)
        memcpy(&got[i], (const uint8_t *)base + at[i] * step, sizeof got[i]);
    return vld1q_u32(got);
}
VEC vi i_gather4(const void *base, vi index)
{
    return i_gather(base, index, 4);
}
VEC vi i_gather8(const void *base, vi index)
{
    return i_gather(base, index, 8);
}

/* Dword j of four rows of 16 bytes goes to out[j]. */
VEC void turn16(const struct rows *r, size_t offset, vi out[4])
{
    vf rows[4], turned[4];
    for (int i = 0; i < 4; i++)
        rows[i] = i_as_floats(i_load(r->at[i] + offset));
    v_turn(rows, turned);
    for (int j = 0; j < 4; j++)
        out[j] = i_as_bits(turned[j]);
}

VEC void turn32(const struct rows *r, size_t offset, vi out[8])
{
    turn16(r, offset, out);
    turn16(r, offset + 16, out + 4);
}

VEC void turn64(const struct rows *r, size_t offset, vi out[16])
{
    turn32(r, offset, out);
    turn32(r, offset + 32, out + 8);
}

/* A half of each row. */
VEC vf halves(const struct rows *r, size_t offset)
{
    uint16_t h[VL];
    for (int i = 0; i < VL; i++)
        memcpy(&h[i], r->at[i] + offset, 2);
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(h)));
}

/* A dword of each row. */
VEC vi words(const struct rows *r, size_t offset)
{
    uint32_t h[VL];
    for (int i = 0; i < VL; i++)
        memcpy(&h[i], r->at[i] + offset, 4);
    return vld1q_u32(h);
}

#endif
